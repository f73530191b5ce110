import { type RawBuilder, sql } from 'kysely';
import type { DatabaseKind } from '../database/database.ts';
import type { Comparison, Operator } from './grammar.ts';
import type { Position } from './page-token.ts';

const SYMBOLS: Partial<Record<Operator, RawBuilder<unknown>>> = {
  '=': sql`=`,
  '!=': sql`<>`,
  '>': sql`>`,
  '>=': sql`>=`,
  '<': sql`<`,
  '<=': sql`<=`,
};

/** As `condition`, for a column of integers: PostgreSQL takes no fraction for one. */
export function integerCondition(
  column: RawBuilder<unknown>,
  comparison: Pick<Comparison, 'operator' | 'value'>,
  kind: DatabaseKind,
): RawBuilder<boolean> {
  if (Number.isSafeInteger(comparison.value)) return condition(column, comparison, kind);
  return condition(sql`CAST(${column} AS DOUBLE PRECISION)`, comparison, kind);
}

/** A comparison of a column as a condition. LIKE minds the case, ILIKE does not, on both databases. */
export function condition(
  column: RawBuilder<unknown>,
  { operator, value }: Pick<Comparison, 'operator' | 'value'>,
  kind: DatabaseKind,
): RawBuilder<boolean> {
  switch (operator) {
    case 'IS NULL':
      return sql`${column} IS NULL`;
    case 'IS NOT NULL':
      return sql`${column} IS NOT NULL`;
    case 'IN':
      return sql`${column} IN (${sql.join(value as readonly string[])})`;
    case 'NOT IN':
      return sql`${column} NOT IN (${sql.join(value as readonly string[])})`;
    case 'LIKE':
      if (kind === 'sqlite') return sql`${column} GLOB ${likeToGlob(value as string)}`;
      return sql`${column} LIKE ${value} ESCAPE ''`;
    case 'ILIKE':
      // SQLite's own LIKE ignores the case, of ASCII letters only.
      if (kind === 'sqlite') return sql`${column} LIKE ${value}`;
      return sql`${column} ILIKE ${value} ESCAPE ''`;
    default:
      return sql`${column} ${SYMBOLS[operator]!} ${value}`;
  }
}

/** A pattern of LIKE as one of GLOB, SQLite's operator that minds the case. */
export function likeToGlob(pattern: string): string {
  return pattern.replace(/[[*?%_]/g, (sign) => (sign === '%' ? '*' : sign === '_' ? '?' : `[${sign}]`));
}

export interface SortKey {
  /** Never null: a rank in front sorts rows without a value last. */
  expression: RawBuilder<unknown>;
  ascending: boolean;
}

export function orderClause(keys: readonly SortKey[]): RawBuilder<unknown> {
  return sql.join(keys.map(({ expression, ascending }) => sql`${expression} ${ascending ? sql`ASC` : sql`DESC`}`));
}

/**
 * The condition that a row comes behind a position in the order of the keys. The first key's bound is said once more for
 * itself, so that an index can start there.
 */
export function behind(keys: readonly SortKey[], position: Position): RawBuilder<boolean> {
  const step = (i: number): RawBuilder<boolean> => {
    const { expression, ascending } = keys[i];
    const strictly = sql<boolean>`${expression} ${ascending ? sql`>` : sql`<`} ${position[i]}`;
    if (i === keys.length - 1) return strictly;
    return sql`(${strictly} OR (${expression} = ${position[i]} AND ${step(i + 1)}))`;
  };
  if (keys.length === 1) return step(0);
  const [{ expression, ascending }] = keys;
  return sql`(${expression} ${ascending ? sql`>=` : sql`<=`} ${position[0]} AND ${step(0)})`;
}
