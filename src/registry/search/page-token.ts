import { createHash } from 'node:crypto';
import { invalidParameter } from '../errors.ts';

/** Values of the sort keys of the last row given out. */
export type Position = readonly (string | number | null)[];

/** Ties a token to its query: another filter or order would go on at a place that means nothing in it. */
export function queryFingerprint(query: unknown): string {
  return createHash('sha256').update(JSON.stringify(query)).digest('base64url').slice(0, 16);
}

export function encodePageToken(fingerprint: string, position: Position): string {
  return Buffer.from(JSON.stringify([fingerprint, ...position])).toString('base64url');
}

/** @param length of the position. Throws invalid_argument for tokens of other queries and for what is no token. */
export function decodePageToken(
  token: string | null | undefined,
  fingerprint: string,
  length: number,
): Position | undefined {
  if (token === undefined || token === null || token === '') return undefined;
  let parts: unknown;
  try {
    parts = JSON.parse(Buffer.from(token, 'base64url').toString());
  } catch {
    throw invalidToken();
  }
  if (!Array.isArray(parts) || parts.length !== length + 1 || parts[0] !== fingerprint) throw invalidToken();
  const position = parts.slice(1) as Position;
  if (position.some((value) => value !== null && typeof value !== 'string' && typeof value !== 'number'))
    throw invalidToken();
  return position;
}

function invalidToken(): Error {
  return invalidParameter(
    'Invalid page token: take next_page_token of the answer before, with the same filter and order',
  );
}
