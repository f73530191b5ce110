import { parse } from 'yaml';
import { z } from 'zod';
import { invalidArgument } from '../shared/errors.ts';

const MAX_BYTES = 64 * 1024;
const reference = z
  .string()
  .regex(/^[A-Za-z_][\w-]{0,62}:[A-Za-z_][\w-]{0,126}$/, 'must be "view:feature", such as driver_stats:conv_rate');

const references = z.array(reference).min(1).max(2000);
const input = z
  .union([
    references,
    z.strictObject({
      features: references,
      transform: z
        .string()
        .regex(/^[A-Za-z_][\w-]{0,62}@[1-9]\d{0,8}$/, 'must be name@version of a fitted transform')
        .describe('Makes the columns from the features'),
    }),
  ])
  .transform((value) => (Array.isArray(value) ? { features: value, transform: undefined } : value));

/** `switchyard.features` of a model: which of its inputs come from the feature store, and by which keys. */
const schema = z.strictObject({
  entities: z
    .record(z.string().min(1), z.string().min(1))
    .refine((map) => Object.keys(map).length > 0, 'name at least one, such as {driver_id: driver}')
    .describe('Join key → input of the request that names the things, one for each row'),
  inputs: z
    .record(z.string().min(1), input)
    .refine((map) => Object.keys(map).length > 0, 'name at least one, such as {x: [driver_stats:conv_rate]}')
    .describe('Input of the model → the features that are its columns, or that a transform makes them from'),
  missing: z
    .enum(['default', 'reject'])
    .default('default')
    .describe('Where there is no value, or only one that is too old'),
  failure: z
    .enum(['default', 'reject'])
    .default('reject')
    .describe('When the online store cannot be asked, or does not answer in time'),
  timeoutMs: z.number().positive().max(60_000).default(50),
});

export type FeatureJoin = z.output<typeof schema>;

/** Reads the text of the parameter, YAML or JSON. Throws invalid_argument with everything that is wrong. */
export function readFeatureJoin(text: string, name: string): FeatureJoin {
  if (text.length > MAX_BYTES) throw invalidArgument(`${name} is longer than ${MAX_BYTES} characters`);
  let plain: unknown;
  try {
    plain = parse(text, { schema: 'core', maxAliasCount: 0 });
  } catch (error) {
    throw invalidArgument(`${name} is no YAML: ${(error as Error).message.split('\n')[0]}`);
  }
  const result = schema.safeParse(plain);
  if (result.success) return result.data;
  const problems = result.error.issues.map((issue) => {
    const [deepest = issue] = issue.code === 'invalid_union' ? issue.errors.map(([first]) => first) : [];
    const path = deepest === issue ? issue.path : [...issue.path, ...deepest.path];
    return `${[name, ...path].join('.')}: ${deepest.message}`;
  });
  throw invalidArgument(problems.join('; '));
}
