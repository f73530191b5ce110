import { z } from 'zod';
import { nestsTooDeeply } from '../../shared/json-depth.ts';

/**
 * Field types as protobuf's JSON writes them: 64-bit integers as numbers or text, special floats as text. Numbers beyond
 * 2^53 are refused, since JSON readers would change them.
 */
export const int64 = z.union([
  z.int(),
  z
    .string()
    .regex(/^-?\d{1,16}$/, 'not an integer')
    .transform(Number)
    .refine(Number.isSafeInteger, 'beyond 2^53'),
]);

/** NaN and infinities come as text, or were written as JSON that is not JSON and are refused before. */
export const double = z.union([
  z.number(),
  z.enum(['NaN', 'Infinity', '-Infinity']).transform(Number),
  z
    .string()
    .regex(/^-?\d+(\.\d+)?([eE][+-]?\d+)?$/, 'not a number')
    .transform(Number)
    .refine(Number.isFinite, 'beyond what a double holds'),
]);

export const flag = z.union([z.boolean(), z.enum(['true', 'false']).transform((text) => text === 'true')]);

/** A mandatory text. protobuf does not tell '' from absent. */
export const required = z.string().min(1, 'missing or empty');

/** protobuf writes an unset text as null or leaves it out. */
export const text = z.string().nullish();

export const keyValue = z.object({ key: required, value: z.string().default('') });

/** A text that somebody set as the JSON list that it should be; undefined: it is none. */
export function jsonList(text: string): unknown[] | undefined {
  if (nestsTooDeeply(text)) return undefined;
  try {
    const value: unknown = JSON.parse(text);
    return Array.isArray(value) ? value : undefined;
  } catch {
    return undefined;
  }
}
