import { type RawBuilder, sql } from 'kysely';
import type { DatabaseKind } from '../database/database.ts';
import { inKeys } from '../database/statements.ts';
import type { LifecycleStage } from '../database/tables/tracking.ts';
import type { Comparison, OrderBy } from '../search/grammar.ts';
import type { Position } from '../search/page-token.ts';
import { behind, condition, integerCondition, orderClause, type SortKey } from '../search/sql.ts';
import { RUN_NAME_TAG } from './run-values.ts';

type Sql = RawBuilder<unknown>;
type Condition = RawBuilder<boolean>;

/** A search for runs, decided but not yet run. */
export interface RunSearch {
  kind: DatabaseKind;
  experiments: readonly number[];
  stages: readonly LifecycleStage[];
  comparisons: readonly Comparison[];
  orders: readonly OrderBy[];
}

/**
 * Rows come in phases: those that have the value which orders them first, then NaNs, then those without. In the first
 * phase an index over the values gives the order, which no single query over all of them could use.
 */
export interface Phase {
  joins: readonly Sql[];
  conditions: readonly Condition[];
  keys: readonly SortKey[];
  /** The table whose index leads, with the alias "o"; absent: runs by start. */
  leader?: string;
}

/** A comparison as a condition on the run "r". */
export function runCondition(comparison: Comparison, kind: DatabaseKind): Condition {
  const { entity, key, operator } = comparison;
  if (entity === 'attribute') {
    const column = sql.ref(`r.${key}`);
    if (key === 'run_name' && (operator === '=' || operator === 'IN')) return runNameCondition(comparison, kind);
    return key.endsWith('_time') ? integerCondition(column, comparison, kind) : condition(column, comparison, kind);
  }
  if (entity === 'datasets') {
    const column = sql.ref(key === 'context' ? 'l.context' : `d.${key}`);
    return sql`EXISTS (SELECT 1 FROM run_datasets l JOIN datasets d ON d.dataset_key = l.dataset_key
      WHERE l.run_key = r.run_key AND ${condition(column, comparison, kind)})`;
  }
  const table = sql.table(entity);
  const exists = sql<boolean>`EXISTS (SELECT 1 FROM ${table} x WHERE x.run_key = r.run_key AND x.key = ${key}`;
  if (operator === 'IS NOT NULL') return sql`${exists})`;
  if (operator === 'IS NULL') return sql`NOT ${exists})`;
  return sql`${exists} AND ${valueCondition('x', comparison, kind)})`;
}

/** Asks for how the name begins, too, which is what PostgreSQL's index has. */
function runNameCondition(comparison: Comparison, kind: DatabaseKind): Condition {
  const { operator, value } = comparison;
  const start = condition(sql`substr(r.run_name, 1, 100)`, { operator, value: startsOf(comparison) }, kind);
  return sql`(${start} AND ${condition(sql.ref('r.run_name'), { operator, value }, kind)})`;
}

function startsOf({ operator, value }: Comparison): string | string[] {
  return operator === 'IN' ? (value as readonly string[]).map(startOf) : startOf(value as string);
}

/** What substr(text, 1, 100) is in SQL: 100 code points. */
function startOf(text: string): string {
  return Array.from(text.slice(0, 200)).slice(0, 100).join('');
}

/** On the value of a metric, param or tag. NaN differs from every number and is nothing else. */
function valueCondition(alias: string, comparison: Comparison, kind: DatabaseKind): Condition {
  const holds = condition(sql.ref(`${alias}.value`), comparison, kind);
  if (comparison.entity !== 'latest_metrics') return holds;
  if (comparison.operator === '!=') return sql`(${holds} OR ${sql.ref(`${alias}.is_nan`)} = 1)`;
  return sql`${sql.ref(`${alias}.is_nan`)} = 0 AND ${holds}`;
}

/**
 * Keys of the runs that satisfy a comparison, from an index over values; undefined where no index helps. When there are
 * few, the search starts from them.
 */
export function keysByIndex(comparison: Comparison, { kind, experiments }: RunSearch): Sql | undefined {
  const { entity, key, operator, value } = comparison;
  const inExperiments = inKeys(kind, 'experiment_id', experiments);
  if (entity === 'latest_metrics' && operator !== '!=') {
    return sql`SELECT run_key FROM latest_metrics x WHERE ${inExperiments} AND key = ${key}
      AND ${valueCondition('x', comparison, kind)}`;
  }
  if ((entity === 'params' || entity === 'tags') && operator === '=') {
    return sql`SELECT run_key FROM ${sql.table(entity)} x WHERE ${inExperiments} AND key = ${key}
      AND substr(value, 1, 100) = ${startOf(value as string)} AND value = ${value}`;
  }
  if (entity !== 'attribute') return undefined;
  const exact = operator === '=' || operator === 'IN';
  if (kind === 'sqlite' && exact && key === 'run_name') return keysByNameTag(comparison, inExperiments);
  const indexed =
    (exact && (key === 'run_id' || key === 'run_name' || key === 'status')) ||
    (key === 'end_time' && operator !== '!=');
  return indexed
    ? sql`SELECT run_key FROM runs r WHERE ${inExperiments} AND ${runCondition(comparison, kind)}`
    : undefined;
}

/**
 * Runs that may have a name, on SQLite. A name is the value of a tag, too, whose index leads to both: one over names
 * would change a page of its own for almost every new run, and be a quarter of what a commit of them writes.
 */
function keysByNameTag(comparison: Comparison, inExperiments: Condition): Sql {
  const { operator } = comparison;
  const starts = condition(sql`substr(value, 1, 100)`, { operator, value: startsOf(comparison) }, 'sqlite');
  return sql`SELECT run_key FROM tags x WHERE ${inExperiments} AND key = ${RUN_NAME_TAG} AND ${starts}
    UNION ALL SELECT run_key FROM runs_without_name_tag WHERE ${inExperiments}`;
}

/** The phases of a search, in the order in which their rows come. */
export function phasesOf(search: RunSearch): Phase[] {
  const { kind, comparisons, orders } = search;
  const [first, ...others] = orders;
  const rest = restKeys(others, first);
  const all = comparisons.map((comparison) => runCondition(comparison, kind));
  if (first === undefined) return [{ joins: rest.joins, conditions: all, keys: rest.keys }];
  const { entity, key, ascending } = first;
  if (entity === 'attribute') {
    const column = sql.ref(`r.${key}`);
    const keys = [{ expression: column, ascending }, ...rest.keys];
    if (key !== 'end_time') return [{ joins: rest.joins, conditions: all, keys }];
    return [
      { joins: rest.joins, conditions: [...all, sql`${column} IS NOT NULL`], keys },
      { joins: rest.joins, conditions: [...all, sql`${column} IS NULL`], keys: rest.keys },
    ];
  }
  return [
    withValue(search, first, rest),
    ...(entity === 'latest_metrics'
      ? [{ ...onlyNaN(key, rest), conditions: [...all, sql<boolean>`o.is_nan = 1`] }]
      : []),
    {
      joins: rest.joins,
      conditions: [
        ...all,
        sql`NOT EXISTS (SELECT 1 FROM ${sql.table(entity)} o WHERE o.run_key = r.run_key AND o.key = ${key})`,
      ],
      keys: rest.keys,
    },
  ];
}

interface Rest {
  joins: readonly Sql[];
  keys: readonly SortKey[];
}

function withValue(
  { kind, experiments, comparisons }: RunSearch,
  { entity, key, ascending }: OrderBy,
  rest: Rest,
): Phase {
  const metric = entity === 'latest_metrics';
  // Filters on the ordering value itself bound the stretch of the index that is read.
  const conditions = comparisons.map((comparison) =>
    comparison.entity === entity && comparison.key === key && comparison.value !== null
      ? valueCondition('o', comparison, kind)
      : runCondition(comparison, kind),
  );
  conditions.push(sql`o.key = ${key}`, among('o.experiment_id', experiments));
  if (metric) conditions.push(sql`o.is_nan = 0`);
  const value: SortKey[] = metric ? [] : [{ expression: sql`substr(o.value, 1, 100)`, ascending }];
  value.push({ expression: sql.ref('o.value'), ascending });
  return { joins: rest.joins, conditions, keys: [...value, ...rest.keys], leader: entity };
}

function onlyNaN(key: string, rest: Rest): Omit<Phase, 'conditions'> {
  const join = sql`JOIN latest_metrics o ON o.run_key = r.run_key AND o.key = ${key}`;
  return { joins: [join, ...rest.joins], keys: rest.keys };
}

/** Orders behind the first: by rank and value, so that no key is null. By start and id in the end. */
function restKeys(orders: readonly OrderBy[], first: OrderBy | undefined): Rest {
  const joins: Sql[] = [];
  const keys: SortKey[] = [];
  for (const [i, { entity, key, ascending }] of orders.entries()) {
    if (entity === 'attribute') {
      const column = sql.ref(`r.${key}`);
      if (key === 'end_time')
        keys.push({ expression: sql`CASE WHEN ${column} IS NULL THEN 1 ELSE 0 END`, ascending: true });
      keys.push({ expression: key === 'end_time' ? sql`COALESCE(${column}, 0)` : column, ascending });
      continue;
    }
    const alias = `s${i}`;
    joins.push(
      sql`LEFT JOIN ${sql.table(entity)} ${sql.ref(alias)} ON ${sql.ref(`${alias}.run_key`)} = r.run_key AND ${sql.ref(`${alias}.key`)} = ${key}`,
    );
    const value = sql.ref(`${alias}.value`);
    const metric = entity === 'latest_metrics';
    const nan = metric ? sql`WHEN ${sql.ref(`${alias}.is_nan`)} = 1 THEN 1` : sql``;
    keys.push(
      { expression: sql`CASE WHEN ${value} IS NULL THEN 2 ${nan} ELSE 0 END`, ascending: true },
      { expression: sql`COALESCE(${value}, ${metric ? sql`0` : sql`''`})`, ascending },
    );
  }
  const ordered = [first, ...orders];
  const has = (name: string): boolean => ordered.some((order) => order?.entity === 'attribute' && order.key === name);
  if (!has('start_time')) keys.push({ expression: sql.ref('r.start_time'), ascending: false });
  if (!has('run_id')) keys.push({ expression: sql.ref('r.run_id'), ascending: true });
  return { joins, keys };
}

/**
 * The query of one phase: run rows with the values of their sort keys as place_0, place_1, …
 * @param few keys of few runs to start from, see `keysByIndex`.
 */
export function phaseQuery(
  { kind, experiments, stages }: RunSearch,
  phase: Phase,
  few: Sql | undefined,
  from: Position | undefined,
  limit: number,
): Sql {
  const { leader, joins, keys } = phase;
  const conditions: Condition[] = [...phase.conditions];
  // SQLite guesses without statistics: it is told which index to use. PostgreSQL knows better.
  const hint = (text: string): Sql => (kind === 'sqlite' ? sql.raw(text) : sql``);
  let source: Sql;
  if (few !== undefined) {
    conditions.push(sql`r.run_key IN (${few})`);
    const join = leader === undefined ? sql`` : sql`JOIN ${sql.table(leader)} o ON o.run_key = r.run_key`;
    source = sql`runs r ${hint('NOT INDEXED')} ${join}`;
  } else if (leader === undefined) {
    source = sql`runs r ${hint('INDEXED BY runs_by_start')}`;
  } else {
    const index = hint(`INDEXED BY ${leader}_by_value`);
    const join = kind === 'sqlite' ? sql.raw('CROSS JOIN') : sql.raw('JOIN');
    source = sql`${sql.table(leader)} o ${index} ${join} runs r ON r.run_key = o.run_key`;
  }
  conditions.push(among('r.experiment_id', experiments), among('r.lifecycle_stage', stages));
  if (from !== undefined) conditions.push(behind(keys, from));
  const places = sql.join(keys.map(({ expression }, i) => sql`${expression} AS ${sql.ref(`place_${i}`)}`));
  return sql`SELECT r.*, ${places} FROM ${source} ${sql.join(joins, sql` `)}
    WHERE ${sql.join(conditions, sql` AND `)} ORDER BY ${orderClause(keys)} LIMIT ${limit}`;
}

/** One value as an equation: only so an index over it and more gives an order. */
function among(column: string, values: readonly (string | number)[]): Condition {
  if (values.length === 1) return sql`${sql.ref(column)} = ${values[0]}`;
  return sql`${sql.ref(column)} IN (${sql.join(values)})`;
}
