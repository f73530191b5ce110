import { z } from 'zod';
import { jobSpecSchema } from '../jobs/spec.ts';
import { argumentProblem } from '../jobs/text-rules.ts';
import { gridSize } from './algorithms/grid.ts';
import type { Dimension } from './algorithms/space.ts';
import { templateProblems } from './template.ts';

const MAX_PARAMETERS = 100;
const MAX_CHOICES = 1000;
const MAX_TRIALS = 10_000;
const MAX_PARALLEL = 1000;

const name = z
  .string()
  .regex(/^[A-Za-z0-9]([\w.-]{0,57}[A-Za-z0-9])?$/, 'allowed: 1 to 59 letters, digits, "_", "." and "-"');
const parameterName = z
  .string()
  .regex(/^[A-Za-z_][\w.-]{0,99}$/, 'allowed: 1 to 100 letters, digits, "_", "." and "-"');
const count = (max: number) => z.number().int().min(1).max(max);
/** Katib writes numbers as texts. */
const number = z.union(
  [
    z.number(),
    z
      .string()
      .regex(/^-?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?$/)
      .transform(Number),
  ],
  'a number',
);
const choice = z.union([z.string().max(1000), z.number()], 'a text or a number').superRefine((value, context) => {
  const problem = argumentProblem(String(value));
  if (problem !== undefined) context.addIssue({ code: 'custom', message: `${JSON.stringify(value)} ${problem}` });
});
const distribution = z.enum(['uniform', 'logUniform']).default('uniform');

const parameter = z.discriminatedUnion(
  'type',
  [
    z.strictObject({
      name: parameterName,
      type: z.literal('double'),
      feasibleSpace: z.strictObject({ min: number, max: number, step: number.optional(), distribution }),
    }),
    z.strictObject({
      name: parameterName,
      type: z.literal('int'),
      feasibleSpace: z.strictObject({ min: number, max: number, step: number.default(1), distribution }),
    }),
    z.strictObject({
      name: parameterName,
      type: z.literal('discrete'),
      feasibleSpace: z.strictObject({ list: z.array(number).min(1).max(MAX_CHOICES) }),
    }),
    z.strictObject({
      name: parameterName,
      type: z.literal('categorical'),
      feasibleSpace: z.strictObject({
        list: z
          .array(z.union([choice, z.number()]))
          .min(1)
          .max(MAX_CHOICES),
      }),
    }),
  ],
  'must be double, int, discrete or categorical',
);

type Parameter = z.output<typeof parameter>;

const seed = z
  .number()
  .int()
  .min(0)
  .max(2 ** 31 - 1)
  .optional()
  .describe('Default: chosen once, and kept');
const tpe = {
  startupTrials: z
    .number()
    .int()
    .min(1)
    .max(MAX_TRIALS)
    .default(10)
    .describe('Drawn blindly before anything is learnt'),
  candidates: count(10_000).default(24),
  multivariate: z.boolean().default(true).describe('All parameters by one density; false: each by its own'),
};
const halving = {
  minSteps: z.number().positive().describe('Steps before the first decision'),
  maxSteps: z.number().positive().describe('Steps of a whole trial'),
  reductionFactor: z.number().int().min(2).max(100),
  sampler: z.enum(['random', 'tpe']).default('random'),
  ...tpe,
};
const algorithm = z.discriminatedUnion(
  'name',
  [
    z.strictObject({ name: z.literal('random'), settings: z.strictObject({ seed }).prefault({}) }),
    z.strictObject({ name: z.literal('grid'), settings: z.strictObject({}).prefault({}) }),
    z.strictObject({ name: z.literal('tpe'), settings: z.strictObject({ seed, ...tpe }).prefault({}) }),
    z.strictObject({
      name: z.literal('asha'),
      settings: z.strictObject({ seed, ...halving, reductionFactor: halving.reductionFactor.default(4) }),
    }),
    z.strictObject({
      name: z.literal('hyperband'),
      settings: z.strictObject({ seed, ...halving, reductionFactor: halving.reductionFactor.default(3) }),
    }),
  ],
  'must be random, grid, tpe, asha or hyperband',
);

const earlyStopping = z.strictObject({
  name: z.literal('medianStop', 'must be medianStop; asha and hyperband are algorithms'),
  settings: z
    .strictObject({
      minTrialsRequired: z.number().int().min(1).default(3).describe('Complete trials before one is stopped'),
      startStep: z.number().min(0).default(4).describe('Steps that every trial may make'),
    })
    .prefault({}),
});

const objective = z.strictObject({
  type: z.enum(['minimize', 'maximize']),
  metric: z.string().min(1).max(250),
  goal: z.number().optional().describe('A trial that reaches it ends the sweep'),
  strategy: z.enum(['latest', 'best']).default('latest').describe("Which of a trial's values counts"),
});

const sweepSpecSchema = z
  .strictObject({
    objective,
    algorithm,
    earlyStopping: earlyStopping.optional(),
    parameters: z.array(parameter).min(1).max(MAX_PARAMETERS),
    parallelTrialCount: count(MAX_PARALLEL).default(1),
    maxTrialCount: count(MAX_TRIALS),
    maxFailedTrialCount: z.number().int().min(0).max(MAX_TRIALS).default(3).describe('One more fails the sweep'),
    trialTemplate: jobSpecSchema.describe("The spec of each trial's job; see docs/training.md for its placeholders"),
    idempotencyKey: z
      .string()
      .regex(/^[\w.:/@-]{1,200}$/, 'allowed: 1 to 200 letters, digits and "_ . : / @ -"')
      .optional(),
  })
  .superRefine((spec, context) => {
    const report = (path: PropertyKey[], message: string) => context.addIssue({ code: 'custom', path, message });
    const names = spec.parameters.map((one) => one.name);
    for (const [i, one] of spec.parameters.entries()) {
      if (names.indexOf(one.name) !== i) report(['parameters', i, 'name'], `there is another parameter ${one.name}`);
      for (const { path, message } of spaceProblems(one)) report(['parameters', i, 'feasibleSpace', ...path], message);
      if (spec.algorithm.name === 'grid' && gridSize([dimensionOf(one)]) === undefined)
        report(['parameters', i, 'feasibleSpace'], 'the grid needs a step here, or a discrete list of values');
    }
    if ('minSteps' in spec.algorithm.settings && spec.algorithm.settings.maxSteps <= spec.algorithm.settings.minSteps)
      report(['algorithm', 'settings', 'maxSteps'], 'must be above minSteps');
    if (spec.earlyStopping !== undefined && 'minSteps' in spec.algorithm.settings)
      report(['earlyStopping'], `${spec.algorithm.name} stops trials by itself; leave one of them out`);
    for (const { path, message } of templateProblems(spec.trialTemplate, names)) {
      report(['trialTemplate', ...path], message);
    }
  });

/** Published as config/sweep.schema.json. */
export const sweepDocumentSchema = z.strictObject({
  apiVersion: z.literal('switchyard/v1', "must be 'switchyard/v1'"),
  kind: z.literal('Sweep', "must be 'Sweep'"),
  metadata: z.strictObject({ name }),
  spec: sweepSpecSchema,
});

export type SweepDocument = z.output<typeof sweepDocumentSchema>;
export type SweepSpec = SweepDocument['spec'];
export type AlgorithmSpec = SweepSpec['algorithm'];

function spaceProblems({ type, feasibleSpace }: Parameter): { path: string[]; message: string }[] {
  if (type === 'categorical' || type === 'discrete') {
    const twice = feasibleSpace.list.find(
      (value, i) => feasibleSpace.list.findIndex((one) => String(one) === String(value)) !== i,
    );
    return twice === undefined ? [] : [{ path: ['list'], message: `${JSON.stringify(twice)} is in it twice` }];
  }
  const { min, max, step, distribution: kind } = feasibleSpace;
  const problems: { path: string[]; message: string }[] = [];
  if (!(max >= min)) problems.push({ path: ['max'], message: `${max} is below min, which is ${min}` });
  if (kind === 'logUniform' && !(min > 0))
    problems.push({ path: ['min'], message: `${min} has no logarithm; it must be above 0` });
  if (step !== undefined && !(step > 0)) problems.push({ path: ['step'], message: `${step} must be above 0` });
  if (kind === 'logUniform' && step !== undefined && (type === 'double' || step !== 1))
    problems.push({ path: ['step'], message: 'a logUniform parameter has no step' });
  if (type === 'int')
    for (const [key, value] of Object.entries({ min, max, step }))
      if (!Number.isSafeInteger(value)) problems.push({ path: [key], message: `${value} is no whole number` });
  return problems;
}

/** The parameter as the algorithms search it. */
export function dimensionOf({ name: own, type, feasibleSpace }: Parameter): Dimension {
  if (type === 'categorical' || type === 'discrete') return { kind: 'choice', name: own, choices: feasibleSpace.list };
  const { min, max, step, distribution: kind } = feasibleSpace;
  if (min === max) return { kind: 'choice', name: own, choices: [min] };
  const high = step === undefined ? max : min + Math.floor((max - min) / step + 1e-9) * step;
  return { kind: 'number', name: own, low: min, high, log: kind === 'logUniform', step };
}
