import { parse } from 'yaml';
import { z } from 'zod';
import { invalidArgument } from '../shared/errors.ts';
import { fieldRule } from './data-schema.ts';
import { duration } from './units.ts';

const MAX_BYTES = 256 * 1024;
const fieldName = z
  .string()
  .regex(/^[\w.\-/: ]{1,200}(\[\d{1,6}\])?$/, 'must be the name of an input, or one of its columns such as x[3]');

const reference = z.strictObject({
  dataset: z.string().min(1).max(128).describe('What the model was trained on'),
  version: z.number().int().positive().optional().describe('Absent: the latest'),
  columns: z
    .record(fieldName, z.string().min(1))
    .default({})
    .describe("Field → the dataset's column; absent: its own name"),
  window: duration
    .default(3_600_000)
    .refine((ms) => ms >= 1000, 'must be 1s or longer')
    .describe('How much of the past is compared'),
});

const kept = z.strictObject({
  name: z.string().min(1).max(128).describe('Of a kept schema'),
  version: z.number().int().positive().optional().describe('Absent: the latest, and each later one as it is kept'),
  columns: z
    .record(fieldName, z.string().min(1))
    .default({})
    .describe("Field → the schema's column; absent: its own name"),
});

/** `switchyard.validation` of a model: what requests are checked by at the door, and what becomes of those that do not fit. */
const schema = z
  .strictObject({
    policy: z.enum(['reject', 'flag', 'log']),
    schema: kept.optional().describe('A kept schema whose rules hold for fields that have none here'),
    fields: z.record(fieldName, fieldRule).default({}),
    reference: reference.optional().describe('Training data that what is asked is compared with'),
  })
  .refine(({ fields, schema: named }) => named !== undefined || Object.keys(fields).length > 0, {
    path: ['fields'],
    message: 'name at least one, such as {x: {min: 0}}, or a kept schema, such as schema: {name: payments}',
  });

export type ModelValidation = z.output<typeof schema>;
export type KeptReference = z.output<typeof kept>;
export type ValidationReference = z.output<typeof reference>;

/** Reads the text of the parameter, YAML or JSON. Throws invalid_argument with everything that is wrong. */
export function readModelValidation(text: string, name: string): ModelValidation {
  if (text.length > MAX_BYTES) throw invalidArgument(`${name} is longer than ${MAX_BYTES} characters`);
  let plain: unknown;
  try {
    plain = parse(text, { schema: 'core', maxAliasCount: 0 });
  } catch (error) {
    throw invalidArgument(`${name} is no YAML: ${(error as Error).message.split('\n')[0]}`);
  }
  const { success, data, error } = schema.safeParse(plain);
  if (success) return data;
  const problems = error.issues.map(({ path, message }) => `${[name, ...path].join('.')}: ${message}`);
  throw invalidArgument(problems.join('; '));
}
