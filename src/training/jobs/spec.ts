import { z } from 'zod';
import { requirementsProblem } from '../environments/requirements.ts';
import { jobGateSchema } from '../gates/job-gate-schema.ts';
import { asOfProblem, DATA_FORMATS, datasetOf, datasetProblem } from '../inputs/data-source.ts';
import { bytes, cores } from './quantities.ts';
import { argumentProblem, pathProblem, programProblem, ruled, variableProblem } from './text-rules.ts';

export const RUNNER_KINDS = ['process', 'kubernetes', 'trainjob', 'ray'] as const;
export type RunnerKind = (typeof RUNNER_KINDS)[number];

const MAX_FILES = 1000;
const MAX_FILE_CHARACTERS = 4 * 1024 * 1024;
const MAX_SECONDS = 30 * 86_400;

const jobName = z
  .string()
  .regex(/^[A-Za-z0-9]([\w.-]{0,61}[A-Za-z0-9])?$/, 'allowed: 1 to 63 letters, digits, "_", "." and "-"');
const label = z
  .string()
  .regex(/^([A-Za-z0-9]([\w.-]{0,61}[A-Za-z0-9])?)?$/, 'allowed: up to 63 letters, digits, "_", "." and "-"');
const argument = ruled(argumentProblem, 'a text; put numbers in quotes').pipe(z.string().max(32_768));
const program = ruled(programProblem, 'a text').pipe(z.string().max(1024));
const path = ruled(pathProblem, 'a path inside the work folder');
const variable = ruled(variableProblem, 'the name of a variable');
const seconds = z.number().positive().max(MAX_SECONDS);
const digest = z.string().regex(/^sha256:[0-9a-f]{64}$/, 'sha256: and 64 hexadecimal digits');
const oneLine = z.string().regex(/^[^\0-\x1f\x7f]*$/, 'must be one line without control characters');

export const inputFields = {
  source: z
    .string()
    .regex(
      /^(runs|models|mlflow-artifacts|datasets):\/[^\0-\x20\x7f]+$/,
      'runs:/…, models:/…, mlflow-artifacts:/… or datasets:/<name>@<version> of this registry',
    )
    .superRefine((text, context) => {
      const message = datasetProblem(text);
      if (message !== undefined) context.addIssue({ code: 'custom', message });
    })
    .optional(),
  featureView: z
    .string()
    .regex(/^[A-Za-z_][\w-]{0,62}$/, 'the name of a feature view')
    .optional()
    .describe('Of each of its entities the newest values at the time of asOf'),
  asOf: ruled(asOfProblem, 'a time as a text, such as "2026-01-31T12:00:00Z", or now')
    .optional()
    .describe('With featureView: ISO 8601 (UTC where no zone is said), or now for when the job is submitted'),
  tenant: z.string().min(1).max(128).optional().describe('With featureView: whose values; default: default'),
  format: z.enum(DATA_FORMATS).optional().describe('Of the file of a dataset or feature view; default: parquet'),
  digest: digest.optional().describe('With source: what its only file must have. Alone: any blob of the registry'),
};

interface InputFields {
  source?: string | undefined;
  featureView?: string | undefined;
  asOf?: string | undefined;
  tenant?: string | undefined;
  format?: string | undefined;
  digest?: string | undefined;
}

/** What does not fit together in an input. */
export function checkInput(input: InputFields, context: z.RefinementCtx): void {
  const report = (message: string, field?: string) =>
    context.addIssue({ code: 'custom', path: field === undefined ? [] : [field], message });
  const { source, featureView } = input;
  if (source !== undefined && featureView !== undefined) report('give source or featureView, not both');
  if (source === undefined && featureView === undefined && input.digest === undefined)
    report('give source, digest, or featureView with asOf');
  if (featureView !== undefined && input.asOf === undefined)
    report('missing: as of when are the features wanted? Give a time such as 2026-01-31T12:00:00Z, or now', 'asOf');
  for (const field of ['asOf', 'tenant'] as const)
    if (featureView === undefined && input[field] !== undefined) report('goes with featureView; leave it out', field);
  if (featureView === undefined && datasetOf(source) === undefined && input.format !== undefined)
    report('goes with a dataset or a feature view; leave it out', 'format');
}

const input = z
  .strictObject({
    name: jobName.describe('Names its folder and the variable SWITCHYARD_INPUT_<NAME>'),
    ...inputFields,
    path: path.optional().describe('Where it is put; default: inputs/<name>'),
  })
  .superRefine(checkInput);

const output = z.strictObject({
  name: jobName.describe('Its folder among the artifacts of the run'),
  path: path.describe('A file or folder that the job has written when it ends'),
  optional: z.boolean().default(false).describe('Missing is no failure'),
});

const environment = z
  .strictObject({
    requirements: z
      .union([z.string().max(MAX_FILE_CHARACTERS), z.array(oneLine)], 'lines of a requirements file: a text or a list')
      .transform((value) => (typeof value === 'string' ? value : value.join('\n')))
      .superRefine((text, context) => {
        const message = requirementsProblem(text);
        if (message !== undefined) context.addIssue({ code: 'custom', message });
      })
      .optional(),
    requirementsFile: path.optional().describe("One of the job's files"),
    python: z
      .string()
      .regex(/^[\w.-]{1,64}$/, 'one of the names in training.pythons')
      .default('default'),
    image: program.optional().describe('Of runners that run containers'),
  })
  .refine(
    ({ requirements, requirementsFile }) => requirements === undefined || requirementsFile === undefined,
    'give requirements or requirementsFile, not both',
  );

const resources = z.strictObject({
  cpu: cores.default(1),
  memory: bytes.optional().describe('Of all its processes together; default: training.process.memoryBytes'),
  gpu: z.number().int().min(0).default(0),
  disk: bytes.optional().describe('Of the work folder; default: training.process.diskBytes'),
});

const metrics = z.strictObject({
  objective: z.string().min(1).max(250).optional(),
  direction: z.enum(['minimize', 'maximize']).default('minimize'),
  source: z
    .enum(['mlflow', 'stdout', 'hf'])
    .default('stdout')
    .describe('mlflow: the job reports by itself; stdout: any known form in its output; hf: dict lines only'),
  pattern: z
    .string()
    .max(500)
    .regex(/\{[A-Za-z_][\w./-]*\}/, 'needs a placeholder, such as "epoch {step}: accuracy {accuracy}"')
    .optional()
    .describe(
      'Lines with metrics of another form: {step} is a whole number, {name} {value} a pair, others are metrics',
    ),
});

/** One training job. Published as config/job.schema.json. */
export const jobSpecSchema = z
  .strictObject({
    runner: z.enum(RUNNER_KINDS).default('process'),
    image: program.optional().describe('What container runners run the command in'),
    command: z.array(argument).min(1).optional(),
    args: z.array(argument).default([]),
    env: z.record(variable, argument).default({}),
    secretRefs: z
      .record(variable, z.string().regex(/^[\w.-]{1,128}$/, 'one of the names in training.secrets'))
      .default({})
      .describe('Variable → name of a secret of the server'),
    environment: environment.optional(),
    inputs: z.array(input).max(100).default([]),
    outputs: z.array(output).max(100).default([]),
    resources: resources.prefault({}),
    nodes: z.number().int().min(1).max(1024).default(1),
    procsPerNode: z.number().int().min(1).max(64).default(1),
    timeoutSeconds: seconds.default(86_400).describe('Of one attempt'),
    graceSeconds: z.number().min(0).max(3600).default(10).describe('Between TERM and KILL'),
    retry: z
      .strictObject({
        max: z.number().int().min(0).max(100).default(0).describe('Attempts after the first'),
        backoffSeconds: z.number().min(0).max(86_400).default(10).describe('Before the second attempt; doubles'),
        maxBackoffSeconds: z.number().min(0).max(86_400).default(600),
      })
      .prefault({}),
    checkpoint: z.strictObject({ path }).optional().describe('A folder that the next attempt finds as it was left'),
    resumeFrom: z
      .string()
      .regex(/^[a-z0-9]{8,40}$/, 'the id of a job')
      .optional()
      .describe('Begins with the checkpoint of this job'),
    metrics: metrics.prefault({}),
    gate: jobGateSchema.optional().describe('Judges the version that the job registers when it has succeeded'),
    params: z
      .record(oneLine.min(1).max(250), z.union([oneLine, z.number(), z.boolean()]).transform(String))
      .default({}),
    tags: z.record(oneLine.min(1).max(250), oneLine).default({}).describe('Tags of the run'),
    heartbeatSeconds: seconds.optional().describe('Without output and metrics for so long it has failed as hung'),
    idempotencyKey: z
      .string()
      .regex(/^[\w.:/@-]{1,200}$/, 'allowed: 1 to 200 letters, digits and "_ . : / @ -"')
      .optional(),
    experiment: oneLine.min(1).max(250).optional().describe('Default: the name of the job'),
    files: z
      .record(path, z.string().max(MAX_FILE_CHARACTERS))
      .refine((files) => Object.keys(files).length <= MAX_FILES, `at most ${MAX_FILES} files`)
      .default({}),
    sourceDir: z
      .string()
      .min(1)
      .regex(/^[^\0-\x1f\x7f]*$/, 'must not hold control characters')
      .optional()
      .describe('A folder whose files become files of the job'),
  })
  .superRefine((spec, context) => {
    const report = (at: PropertyKey[], message: string) => context.addIssue({ code: 'custom', path: at, message });
    if (spec.command === undefined && spec.image === undefined && spec.environment?.image === undefined)
      report(['command'], 'missing: give command, a list of the program and its arguments, or an image');
    const first = spec.command === undefined ? undefined : programProblem(spec.command[0]);
    if (first !== undefined) report(['command', 0], `${JSON.stringify(spec.command?.[0].slice(0, 100))} ${first}`);
    for (const [name] of Object.entries(spec.secretRefs))
      if (Object.hasOwn(spec.env, name)) report(['secretRefs', name], `${name} is in env too`);
    const names = spec.inputs.map(({ name }) => name);
    for (const [i, name] of names.entries())
      if (names.indexOf(name) !== i) report(['inputs', i, 'name'], `there is another input ${name}`);
    const outputs = spec.outputs.map(({ name }) => name);
    for (const [i, name] of outputs.entries())
      if (outputs.indexOf(name) !== i) report(['outputs', i, 'name'], `there is another output ${name}`);
  });

export const jobDocumentSchema = z.strictObject({
  apiVersion: z.literal('switchyard/v1', "must be 'switchyard/v1'"),
  kind: z.literal('Job', "must be 'Job'"),
  metadata: z.strictObject({ name: jobName, labels: z.record(label.min(1), label).default({}) }),
  spec: jobSpecSchema,
});

export type JobSpec = z.output<typeof jobSpecSchema>;
/** A document that was checked: defaults are filled in, quantities are numbers. It passes the check again unchanged. */
export type JobDocument = z.output<typeof jobDocumentSchema>;
/** A document as people write it. */
export type JobDocumentInput = z.input<typeof jobDocumentSchema>;
