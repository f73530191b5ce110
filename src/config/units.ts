import { z } from 'zod';

const DURATION = /^(\d+(\.\d+)?(ms|s|m|h|d))+$/;
const UNIT_MS: Record<string, number> = { ms: 1, s: 1000, m: 60_000, h: 3_600_000, d: 86_400_000 };

/** "500ms", "10m", "2h30m" as milliseconds. */
export function parseDuration(text: string): number {
  let total = 0;
  for (const [, amount, , unit] of text.matchAll(/(\d+(\.\d+)?)(ms|s|m|h|d)/g)) total += Number(amount) * UNIT_MS[unit];
  return total;
}

export const duration = z
  .string('a duration such as 500ms, 10s, 5m or 2h30m')
  .regex(DURATION, 'a duration such as 500ms, 10s, 5m or 2h30m')
  .transform(parseDuration);

const PERCENT = /^-?\d+(\.\d+)?%$/;
const PERCENT_HINT = 'a percentage such as 5% or 0.2%, or the same as a fraction (0.05)';

/** "5%" or 0.05, as a fraction. */
export function fraction(low: number, high: number) {
  return z
    .union([z.string().regex(PERCENT, PERCENT_HINT), z.number()], PERCENT_HINT)
    .transform((value) => (typeof value === 'number' ? value : Number(value.slice(0, -1)) / 100))
    .refine((value) => value >= low && value <= high, `must lie between ${low * 100}% and ${high * 100}%`);
}
