import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { type RawBuilder, sql } from 'kysely';
import { RegistryUnderTest } from '../../testing/registry.ts';
import { parseFilter, parseOrderBy } from '../search/filter.ts';
import { RUN_GRAMMAR } from './run-grammar.ts';
import { keysByIndex, phaseQuery, phasesOf, type RunSearch } from './run-search-plan.ts';

let registry: RegistryUnderTest;
before(async () => {
  registry = await RegistryUnderTest.open();
});
after(() => registry.close());

/** The plan of a query in words. PostgreSQL is kept from reading whole tables, which it prefers while they are empty. */
async function planOf(query: RawBuilder<unknown>): Promise<string> {
  const { database } = registry.registry;
  return database.write(async (db) => {
    if (database.kind === 'sqlite') {
      const { rows } = await sql<{ detail: string }>`EXPLAIN QUERY PLAN ${query}`.execute(db);
      return rows.map(({ detail }) => detail).join('\n');
    }
    await sql`SET LOCAL enable_seqscan = off`.execute(db);
    await sql`SET LOCAL enable_sort = off`.execute(db);
    await sql`SET LOCAL enable_bitmapscan = off`.execute(db);
    const { rows } = await sql<{ 'QUERY PLAN': string }>`EXPLAIN ${query}`.execute(db);
    return rows.map((row) => row['QUERY PLAN']).join('\n');
  });
}

function search(filter: string, orderBy: readonly string[]): RunSearch {
  return {
    kind: registry.registry.database.kind,
    experiments: [0],
    stages: ['active'],
    comparisons: parseFilter(filter, RUN_GRAMMAR),
    orders: parseOrderBy(orderBy, RUN_GRAMMAR),
  };
}

const firstPhase = (wanted: RunSearch): RawBuilder<unknown> =>
  phaseQuery(wanted, phasesOf(wanted)[0], undefined, undefined, 1000);

test('a page of runs by start, and one by a metric that is filtered by it, are read in the order of an index', async () => {
  const newest = await planOf(firstPhase(search('', [])));
  assert.match(newest, /runs_by_start/, newest);
  assert.doesNotMatch(newest, /TEMP B-TREE|(->\s+|^)(Incremental )?Sort /m, newest);
  const best = await planOf(firstPhase(search('metrics.loss < 0.5', ['metrics.loss ASC'])));
  assert.match(best, /latest_metrics_by_value/, best);
  // Of equal values only: the rest of the order is not the index's.
  assert.doesNotMatch(best, /USE TEMP B-TREE FOR ORDER BY|(->\s+|^)Sort /m, best);
});

test('what few runs have is found by an index over it', async () => {
  const ofNames = registry.registry.database.kind === 'sqlite' ? /tags_by_value/ : /runs_by_name/;
  const indexes: [string, RegExp][] = [
    ["params.lr = '0.1'", /params_by_value/],
    ["tags.team = 'a'", /tags_by_value/],
    ['metrics.loss > 3', /latest_metrics_by_value/],
    ["attributes.run_name = 'best'", ofNames],
    ["attributes.run_name IN ('best', 'second')", ofNames],
    ["attributes.status = 'FAILED'", /runs_by_status/],
    ['attributes.end_time > 5', /runs_by_end/],
  ];
  for (const [filter, index] of indexes) {
    const wanted = search(filter, []);
    const keys = keysByIndex(wanted.comparisons[0], wanted);
    assert.ok(keys !== undefined, filter);
    const plan = await planOf(keys);
    assert.match(plan, index, `${filter}: ${plan}`);
  }
});
