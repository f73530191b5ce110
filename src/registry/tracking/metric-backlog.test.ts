import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import fc from 'fast-check';
import { metricPoints } from '../../testing/metric-points.ts';
import { RegistryUnderTest } from '../../testing/registry.ts';
import type { Db, RegistryDatabase } from '../database/database.ts';
import { openSqlite } from '../database/sqlite.ts';
import { appendMetrics, moveAll, readMetrics } from './metric-backlog.ts';
import { insertMetricsOfRuns, type Metric, type RunMetrics } from './metrics.ts';

const scratch = mkdtempSync(join(tmpdir(), 'backlog-'));
let database: RegistryDatabase;
before(async () => {
  database = await openSqlite(join(scratch, 'metrics.db'));
});
after(async () => {
  await database.close();
  rmSync(scratch, { recursive: true, force: true });
});

const point = metricPoints('acc', 'loss', '"ü');

async function stored(db: Db, from: number): Promise<{ history: object[]; latest: object[] }> {
  const of = (table: 'metrics' | 'latest_metrics') =>
    db
      .selectFrom(table)
      .selectAll()
      .where('run_key', '>=', from)
      .where('run_key', '<', from + 10)
      .execute();
  const relative = <Row extends { run_key: number }>(rows: readonly Row[]): Row[] =>
    rows.map((row) => ({ ...row, run_key: row.run_key - from }));
  return { history: relative(await of('metrics')), latest: relative(await of('latest_metrics')) };
}

test('points that wait in the backlog are read as if each had been written at once', async () => {
  let firstKey = 0;
  const batch = fc.record({
    run: fc.integer({ min: 0, max: 2 }),
    metrics: fc.array(point, { maxLength: 6 }),
    next: fc.constantFrom('nothing', 'nothing', 'read', 'write that reads'),
  });
  await fc.assert(
    fc.asyncProperty(fc.array(batch, { maxLength: 12 }), async (batches) => {
      firstKey += 20;
      const [direct, appended] = [firstKey, firstKey + 10];
      const at = (from: number, run: number, metrics: readonly Metric[]): RunMetrics[] => [
        { run: { run_key: from + run, experiment_id: 0 }, metrics },
      ];
      const same = async (): Promise<void> =>
        assert.deepEqual(
          await readMetrics(database, (db) => stored(db, appended)),
          await database.read((db) => stored(db, direct)),
        );
      for (const { run, metrics, next } of batches) {
        await database.write((db) => insertMetricsOfRuns(db, at(direct, run, metrics)));
        await database.write((db) => appendMetrics(db, at(appended, run, metrics)));
        if (next === 'read') await same();
        if (next === 'write that reads') await database.write(moveAll);
      }
      await same();
    }),
    { numRuns: 40 },
  );
});

test('more batches than one write moves are all read', async () => {
  const run = { run_key: 1_000_000, experiment_id: 0 };
  await database.write(async (db) => {
    for (let step = 0; step < 700; step++)
      await appendMetrics(db, [{ run, metrics: [{ key: 'loss', value: step, isNan: 0, timestamp: 1, step }] }]);
  });
  const { history, latest } = await readMetrics(database, (db) => stored(db, run.run_key));
  assert.equal(history.length, 700);
  assert.equal((latest[0] as { value: number }).value, 699);
});

test('what one process has left in the backlog, the next one reads', async () => {
  const first = await RegistryUnderTest.open();
  const { run_id } = (await first.ok('POST', 'runs/create', { experiment_id: '0' })).run.info;
  const metrics = [
    { key: 'loss', value: 0.25, timestamp: 5, step: 1 },
    { key: 'loss', value: 0.5, timestamp: 4, step: 0 },
  ];
  await first.ok('POST', 'runs/log-batch', { run_id, metrics });
  await first.ok('POST', 'runs/log-batch', { run_id, metrics });
  await first.close(true);
  const second = await RegistryUnderTest.open(first.database, first.dataDir);
  const history = await second.ok('GET', 'metrics/get-history', { run_id, metric_key: 'loss' });
  assert.deepEqual(history.metrics, [metrics[1], metrics[0]]);
  const found = await second.ok('POST', 'runs/search', { experiment_ids: ['0'], filter: 'metrics.loss < 0.3' });
  assert.deepEqual(found.runs[0].data.metrics, [metrics[0]]);
  assert.deepEqual(second.errors, []);
  await second.close();
});
