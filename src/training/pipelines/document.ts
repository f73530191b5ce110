import { z } from 'zod';
import { routeDocumentSchema } from '../../config/route-schema.ts';
import { duration } from '../../config/units.ts';
import { evaluationFields } from '../evaluation/spec.ts';
import { gateRulesSchema } from '../gates/gate.ts';
import { datasetOf } from '../inputs/data-source.ts';
import { checkInput, inputFields } from '../jobs/spec.ts';
import { COLUMN_TYPES } from '../tables/table.ts';

const VERSION = 'switchyard/v1';
const MAX_STEPS = 200;

export const documentName = z
  .string()
  .regex(/^[A-Za-z0-9]([\w.-]{0,61}[A-Za-z0-9])?$/, 'allowed: 1 to 63 letters, digits, "_", "." and "-"');
const plainName = z.string().regex(/^[A-Za-z][\w-]{0,62}$/, 'allowed: a letter, then letters, digits, "_" and "-"');
const reference = z
  .string()
  .regex(/^[A-Za-z][\w-]{0,62}(\.[A-Za-z][\w-]{0,62})?$/, 'the name of a step, or step.output')
  .describe('What another step gave: its name, or name.output');
const scalar = z.union([z.string(), z.number(), z.boolean()]);
const columns = z.array(z.string().min(1)).min(1);
const fractions = z.record(plainName, z.number().gt(0).lt(1)).refine((parts) => {
  const shares = Object.values(parts);
  return shares.length >= 2 && Math.abs(shares.reduce((a, b) => a + b, 0) - 1) < 1e-6;
}, 'at least two shares that sum up to 1, such as {train: 0.8, test: 0.2}');

const ingest = z.strictObject({
  source: z
    .union([z.string().min(1), z.array(z.string().min(1)).min(1)])
    .describe('Files (relative to the configuration file) or http:// addresses; .gz is unpacked'),
  format: z.enum(['csv', 'jsonl']).optional().describe("Default: by the source's extension"),
  delimiter: z.string().length(1).optional(),
  missing: z.array(z.string()).default([]).describe('Texts that stand for a missing value, besides nothing'),
  types: z.record(z.string(), z.enum(COLUMN_TYPES)).default({}).describe('Columns whose type is not to be inferred'),
});

const columnRule = z.strictObject({
  type: z.enum(COLUMN_TYPES).optional(),
  min: z.number().optional(),
  max: z.number().optional(),
  values: z.array(scalar).min(1).optional().describe('The vocabulary'),
  maxMissing: z.number().min(0).max(1).optional().describe('Share of missing values; default 0'),
  unique: z.boolean().optional(),
});

const validate = z.strictObject({
  data: reference,
  schema: z
    .strictObject({
      columns: z.record(z.string(), columnRule),
      extra: z.boolean().default(false).describe('Other columns are no problem'),
      minRows: z.number().int().min(1).optional(),
    })
    .optional()
    .describe('Absent, and without against: it is inferred from the data'),
  against: reference.optional().describe('The schema that another validate step gave'),
  kept: z
    .string()
    .regex(/^[A-Za-z0-9][\w.-]{0,127}(\/[1-9]\d{0,14})?$/, 'allowed: name, or name/version')
    .optional()
    .describe('A schema that the registry keeps (switchyard datasets infer-schema), instead of one of these'),
});

const operation = z.union(
  [
    z.strictObject({ select: columns }),
    z.strictObject({ drop: columns }),
    z.strictObject({ rename: z.record(z.string(), z.string().min(1)) }),
    z.strictObject({ cast: z.record(z.string(), z.enum(COLUMN_TYPES)) }),
    z.strictObject({ fill: z.record(z.string(), scalar) }),
    z.strictObject({
      scale: z.strictObject({ columns, method: z.enum(['standard', 'minMax']).default('standard') }),
    }),
    z.strictObject({
      oneHot: z.strictObject({ columns, maxValues: z.number().int().min(1).max(10_000).default(100) }),
    }),
    z.strictObject({
      hash: z.strictObject({
        columns,
        buckets: z
          .number()
          .int()
          .min(2)
          .max(2 ** 31),
      }),
    }),
  ],
  'one of select, drop, rename, cast, fill, scale, oneHot, hash, with its settings',
);

const transform = z.strictObject({
  data: reference.describe('The dataset that scale and oneHot learn from'),
  also: z.record(plainName, reference).default({}).describe('Output → dataset that is transformed by what was learnt'),
  state: reference.optional().describe('Learn nothing: apply the state that another transform step gave'),
  operations: z.array(operation).min(1).max(100),
});

const split = z
  .strictObject({
    data: reference,
    parts: fractions,
    seed: z.number().int().min(0).default(0),
    key: z.string().optional().describe('Rows with the same value stay together, and where they are as data grows'),
    time: z.string().optional().describe('Earlier rows go to the first part'),
    stratify: z.string().optional().describe("Each part gets the same mix of this column's values"),
  })
  .refine(
    ({ key, time, stratify }) => [key, time, stratify].filter((way) => way !== undefined).length <= 1,
    'give at most one of key, time and stratify',
  );

const dataInput = z.strictObject(inputFields).superRefine((input, context) => {
  checkInput(input, context);
  if (input.source !== undefined && datasetOf(input.source) === undefined)
    context.addIssue({
      code: 'custom',
      path: ['source'],
      message: `${JSON.stringify(input.source)} is no dataset; give datasets:/<name>@<version>, or the output of a step`,
    });
});
const jobInput = z.union(
  [reference, dataInput],
  'the name of a step, step.output, {source: "datasets:/<name>@<version>"} or {featureView: <name>, asOf: <time>}',
);

const jobFields = {
  job: z
    .record(z.string(), z.unknown())
    .describe('The spec of a Job (config/job.schema.json) without inputs and outputs'),
  inputs: z
    .record(plainName, jobInput)
    .default({})
    .describe(
      'Name → what another step gave, a dataset or a feature view; at inputs/<name>, named by SWITCHYARD_INPUT_<NAME>',
    ),
  outputs: z
    .record(plainName, z.string().min(1))
    .default({})
    .describe('Name → path of a file or folder that the job writes'),
};
const train = z.strictObject({
  ...jobFields,
  outputs: jobFields.outputs.refine(
    (o) => Object.keys(o).length > 0,
    'a train step has at least one output: its model',
  ),
});
const own = z.strictObject(jobFields);

const modelSource = z
  .string()
  .regex(
    /^([A-Za-z][\w-]{0,62}(\.[A-Za-z][\w-]{0,62})?|models:\/[^\0-\x20\x7f]+)$/,
    'step, step.output, models:/<name>/<version> or models:/<name>@<alias>',
  );

const evaluate = z.strictObject({
  model: modelSource.describe(
    'What a step gave, or a registered version: models:/<name>/<version>, models:/<name>@<alias>',
  ),
  modelFile: z
    .string()
    .default('')
    .describe('Path of the ONNX file among the files of the model; default: its only one'),
  data: reference.describe('Held out: nothing the model was trained on'),
  against: z
    .array(z.literal('champion'))
    .max(1)
    .default([])
    .describe('Evaluate the champion on the same data too, so that a gate can compare'),
  name: documentName.optional().describe('The registered model, to find its champion. Default: of the register step'),
  ...evaluationFields,
});

const gate = z.strictObject({
  evaluation: reference,
  version: reference
    .optional()
    .describe('A register step: the evidence is kept with its version, and the version becomes challenger'),
  rules: gateRulesSchema,
  challenger: z.boolean().default(true).describe('With version: a version that passes gets the alias challenger'),
});

const register = z.strictObject({
  model: reference,
  name: z.string().min(1).max(250).describe('The registered model; it is made when there is none'),
  modelFile: z
    .string()
    .default('')
    .describe('Path of the ONNX file among the files of the model; default: its only one'),
  files: z
    .record(z.string().min(1).max(200), reference)
    .default({})
    .describe('Further files of the version: path → what a step gave'),
  config: z
    .string()
    .max(65_536)
    .optional()
    .describe("The version's config.pbtxt, which sets tensors and batching when it is served"),
  evaluation: reference.optional(),
  gate: reference.optional().describe('Only what passes it is registered; its evidence is kept with the version'),
  challenger: z.boolean().default(true).describe('With gate: the version gets the alias challenger'),
  description: z.string().max(5000).default(''),
  tags: z.record(z.string(), z.string()).default({}),
});

const deploy = z.strictObject({
  version: reference,
  alias: plainName.default('champion').describe("Which of the environment's aliases is moved"),
  gate: reference.optional().describe('Only what passes it is deployed'),
  route: z
    .record(z.string(), z.unknown())
    .optional()
    .describe(
      'A Route that is applied, such as a canary; $-expressions version and champion stand for the versions. The alias is left to it',
    ),
  served: z
    .strictObject({ timeout: duration.default(120_000) })
    .optional()
    .describe('Done only when a gateway serves the version'),
});

/** Raised when a step of that kind would give something else for the same inputs than before. */
export const KIND_VERSIONS = {
  ingest: 1,
  validate: 1,
  transform: 1,
  split: 1,
  train: 1,
  run: 1,
  evaluate: 1,
  gate: 1,
  register: 1,
  deploy: 1,
} as const;
export type StepKind = keyof typeof KIND_VERSIONS;
export const STEP_KINDS = Object.keys(KIND_VERSIONS) as StepKind[];

const BODIES = { ingest, validate, transform, split, train, run: own, evaluate, gate, register, deploy };

const stepFields = {
  name: plainName.describe('Other steps refer to it'),
  needs: z.array(plainName).default([]).describe('Steps that come first, besides those it refers to'),
  cache: z.boolean().default(true).describe('Skip the step when it was done before with the same inputs'),
  retry: z
    .strictObject({ max: z.number().int().min(0).max(20).default(0), backoff: duration.default(5_000) })
    .prefault({})
    .describe('Of built-in steps; jobs have their own'),
  ...(Object.fromEntries(Object.entries(BODIES).map(([kind, body]) => [kind, body.optional()])) as {
    [K in StepKind]: z.ZodOptional<(typeof BODIES)[K]>;
  }),
};

const step = z.strictObject(stepFields).superRefine((value, context) => {
  const kinds = STEP_KINDS.filter((kind) => value[kind] !== undefined);
  if (kinds.length === 1) return;
  const found = kinds.length === 0 ? 'none' : kinds.join(' and ');
  context.addIssue({
    code: 'custom',
    message: `a step does exactly one of ${STEP_KINDS.join(', ')}; this one has ${found}`,
  });
});

const parameter = z.union([
  scalar,
  z.strictObject({
    type: z.enum(['string', 'number', 'integer', 'boolean']),
    default: scalar.optional().describe('Absent: every run must give it'),
    values: z.array(scalar).min(1).optional().describe('Nothing else is allowed'),
    description: z.string().optional(),
  }),
]);

const pipelineSpec = z.strictObject({
  description: z.string().max(5000).default(''),
  experiment: z.string().min(1).max(250).optional().describe('Of the runs. Default: the name of the pipeline'),
  parameters: z
    .record(plainName, parameter)
    .default({})
    .describe('Name → default, or its type; an expression parameters.name stands for its value'),
  maxParallel: z.number().int().min(1).max(100).default(4),
  steps: z.array(step).min(1).max(MAX_STEPS),
});

const metadata = z.strictObject({ name: documentName });

const pipeline = z.strictObject({
  apiVersion: z.literal(VERSION, `must be '${VERSION}'`),
  kind: z.literal('Pipeline'),
  metadata,
  spec: pipelineSpec,
});

const environmentSpec = z.strictObject({
  aliases: z
    .record(plainName, z.string().min(1).max(255))
    .default({})
    .describe('champion, challenger and others → the alias of the registry that they are here'),
  job: z
    .record(z.string(), z.unknown())
    .default({})
    .describe('Fields of job specs that are so here: runner, resources, env, environment, image, nodes …'),
  data: z.record(plainName, z.string()).default({}).describe('Where data lies, for expressions environment.data.name'),
  settings: z
    .record(plainName, scalar)
    .default({})
    .describe('Anything else, for expressions environment.settings.name'),
  approval: z.boolean().default(false).describe('Deploy only versions that a person has approved'),
  promotesFrom: documentName
    .optional()
    .describe('Deploy only versions that this environment has as its champion, or had'),
});

const environment = z.strictObject({
  apiVersion: z.literal(VERSION, `must be '${VERSION}'`),
  kind: z.literal('PipelineEnvironment'),
  metadata,
  spec: environmentSpec,
});

/** One document of a pipeline file. Published as config/pipeline.schema.json. */
export const pipelineSchema = pipeline;
export const environmentSchema = environment;

export type PipelineDocument = z.infer<typeof pipeline>;
export type EnvironmentDocument = z.infer<typeof environment>;
export type EnvironmentSpec = z.infer<typeof environmentSpec>;
export type ParameterSpec = z.infer<typeof parameter>;
export type Step = z.infer<typeof step>;
/** What a step that is a job reads: a reference to another step, or data. */
export type StepInput = z.infer<typeof jobInput>;
export type Bodies = { [K in StepKind]: z.infer<(typeof BODIES)[K]> };

/** Throws ZodError: a route inside a deploy step is checked when its versions are known. */
export const parseRoute = (value: unknown) => routeDocumentSchema.parse(value);

export function kindOf(step: object): StepKind | undefined {
  return STEP_KINDS.find((kind) => (step as Record<string, unknown>)[kind] !== undefined);
}
