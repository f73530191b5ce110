import { randomBytes } from 'node:crypto';

/** Ids that no other thread or process gives: 96 random bits drawn once, then a count. */
export function idSource(): () => string {
  const prefix = randomBytes(12).toString('base64url');
  let count = 0;
  return () => `${prefix}-${(count++).toString(36)}`;
}
