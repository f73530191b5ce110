import { invalidArgument } from '../shared/errors.ts';
import type { Schema } from './route.ts';

export const MAX_LIMIT = 1000;
const DEFAULT_LIMIT = 100;

export const PAGING_QUERY: Readonly<Record<string, Schema>> = {
  limit: { type: 'integer', minimum: 1, maximum: MAX_LIMIT, default: DEFAULT_LIMIT, description: 'Rows per page' },
  page_token: { type: 'string', description: 'next_page_token of the page before' },
};

/**
 * One page of rows that are sorted by `keyOf`. A token names the last key given out, so that rows which come and go
 * between two pages neither repeat nor hide others. Throws invalid_argument.
 */
export function page<T>(
  rows: readonly T[],
  keyOf: (row: T) => string,
  query: URLSearchParams,
): { rows: T[]; next: string | undefined } {
  const limit = readLimit(query);
  const token = query.get('page_token') ?? '';
  const after = token === '' ? undefined : Buffer.from(token, 'base64url').toString();
  if (after !== undefined && encode(after) !== token)
    throw invalidArgument('page_token: not one that this server gave out; start without one');
  const start = after === undefined ? 0 : rows.findIndex((row) => keyOf(row) > after);
  const found = start < 0 ? [] : rows.slice(start, start + limit);
  const more = start >= 0 && start + limit < rows.length;
  return { rows: found, next: more ? encode(keyOf(found[found.length - 1])) : undefined };
}

/** Rows per page. Throws invalid_argument. */
export function readLimit(query: URLSearchParams): number {
  const text = query.get('limit') ?? String(DEFAULT_LIMIT);
  const limit = /^\d{1,6}$/.test(text) ? Number(text) : 0;
  if (limit >= 1 && limit <= MAX_LIMIT) return limit;
  throw invalidArgument(`limit: ${JSON.stringify(text)} is not allowed; give 1 to ${MAX_LIMIT}`);
}

function encode(key: string): string {
  return Buffer.from(key).toString('base64url');
}
