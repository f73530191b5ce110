import { z } from 'zod';
import { invalidParameter, shown } from '../errors.ts';

const MAX_LIMIT = 1000;
const DEFAULT_LIMIT = 100;

/** Parameters of every list of this registry's own API. */
export const pageFields = {
  limit: z
    .union([
      z.int(),
      z
        .string()
        .regex(/^\d{1,6}$/)
        .transform(Number),
    ])
    .refine((limit) => limit >= 1 && limit <= MAX_LIMIT, `allowed: 1 to ${MAX_LIMIT}`)
    .default(DEFAULT_LIMIT),
  page_token: z.string().default(''),
};

/** Newest first: the rows before this key come next. Throws INVALID_PARAMETER_VALUE. */
export function keyBefore(token: string): number {
  if (token === '') return Number.MAX_SAFE_INTEGER;
  const text = Buffer.from(token, 'base64url').toString();
  if (/^\d{1,15}$/.test(text) && keyToken(Number(text)) === token) return Number(text);
  throw invalidToken(token);
}

export function invalidToken(token: string): Error {
  return invalidParameter(
    `Invalid value ${shown(token)} for parameter 'page_token': this server gave out no such token; start without one`,
  );
}

/** One page of rows that were read with one row more than `limit`. */
export function keyPage<T>(
  rows: readonly T[],
  limit: number,
  keyOf: (row: T) => number,
): { rows: T[]; next: { next_page_token?: string } } {
  const page = rows.slice(0, limit);
  return { rows: page, next: rows.length > limit ? { next_page_token: keyToken(keyOf(page[limit - 1])) } : {} };
}

function keyToken(key: number): string {
  return Buffer.from(String(key)).toString('base64url');
}
