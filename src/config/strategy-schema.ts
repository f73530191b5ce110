import { z } from 'zod';
import { name } from './match-schema.ts';
import { duration, fraction } from './units.ts';

const templates = z.array(name).min(1);
const weights = z.record(name, z.number().min(0).max(100));

const step = z
  .strictObject({
    setWeight: z.number().min(0).max(100).optional(),
    setMirror: z.strictObject({ percent: z.number().min(0).max(100) }).optional(),
    pause: z.strictObject({ duration: duration.optional() }).optional().describe('Without duration: until promoted'),
    analysis: z
      .strictObject({
        templates,
        timeout: duration.optional().describe('Then onInconclusive decides. Absent: until the deadline'),
      })
      .optional(),
  })
  .refine((entry) => Object.keys(entry).length === 1, 'a step is exactly one of setWeight, setMirror, pause, analysis');

const canary = z.strictObject({
  stable: name,
  candidate: name,
  control: z
    .enum(['matched', 'stable'])
    .default('matched')
    .describe("matched: compared with an equally large slice of stable's traffic"),
  steps: z.array(step).min(1),
  background: z.strictObject({ templates }).optional().describe('Judged from the first step that serves the candidate'),
  onFail: z
    .strictObject({ rollback: z.enum(['ramp', 'immediate']).default('ramp'), over: duration.default(30_000) })
    .prefault({}),
  onInconclusive: z.enum(['pass', 'hold', 'fail']).default('hold'),
  onPass: z.strictObject({ setAlias: name.optional() }).prefault({}),
  deadline: duration.optional().describe('Rolled back when it has not ended by then'),
});

/** Rewards come later, by decision id. */
const reward = z.strictObject({
  wait: duration.default(1_800_000),
  default: z.number().default(0),
  aggregate: z.enum(['first', 'last', 'sum', 'mean', 'max']).default('first'),
  range: z.tuple([z.number(), z.number()]).default([0, 1]).describe('Rewards outside are refused'),
  topic: z.string().min(1).optional(),
});

/** Percentiles lie strictly between 0 and 100, and few decimals keep them there as a number. */
const METRIC_NAMES = /^(reward|errors|latency\.(mean|p([1-9]\d?(\.\d{1,4})?|0\.(?!0+$)\d{1,4})))$/;
const experimentMetric = z
  .string()
  .regex(
    METRIC_NAMES,
    'allowed: reward, errors, latency.mean, and percentiles above 0 and below 100 with at most four decimals: latency.p50, latency.p99, latency.p99.9, …',
  );

const experiment = z.strictObject({
  split: weights,
  control: name.optional().describe('Absent: the first of split'),
  primary: z.strictObject({
    metric: experimentMetric,
    mde: fraction(0, 10).optional().describe('The smallest difference worth finding, relative to control'),
    test: z.enum(['asymptoticCS', 'mSPRT']).default('asymptoticCS'),
    alpha: z.number().gt(0).lt(0.5).default(0.05),
    tune: z.number().int().positive().default(5000).describe('The number of units at which it is most precise'),
  }),
  reward: reward.prefault({}).describe('For the metric reward'),
  guardrails: z
    .array(
      z.strictObject({
        metric: experimentMetric,
        nonInferiority: fraction(0, 10).describe(
          'Worse by less than this; errors: absolute, below 100%; others: relative',
        ),
        alpha: z.number().gt(0).lt(0.5).default(0.05),
      }),
    )
    .default([]),
  srm: z
    .strictObject({
      alpha: z.number().gt(0).lt(0.5).default(0.001),
      onFail: z.enum(['invalidate', 'warn']).default('invalidate'),
    })
    .prefault({}),
});

export const POLICIES = ['epsilonGreedy', 'ucb1', 'thompsonBeta', 'thompsonGaussian', 'linUCB', 'linThompson'] as const;
export type PolicyName = (typeof POLICIES)[number];

const bandit = z.strictObject({
  policy: z.enum(POLICIES),
  arms: z.array(name).min(1),
  default: name.optional().describe('Served while in apprentice mode or without statistics. Absent: the first arm'),
  context: z
    .strictObject({
      inputs: z.array(z.string().min(1)).default([]),
      headers: z
        .array(
          z
            .string()
            .min(1)
            .transform((text) => text.toLowerCase()),
        )
        .default([]),
      parameters: z.array(z.string().min(1)).default([]),
      dim: z.number().int().min(1).max(128).default(16),
    })
    .optional(),
  epsilon: z.number().min(0).max(1).default(0.1).describe('epsilonGreedy: the share drawn evenly'),
  exploration: z.number().positive().default(1).describe('ucb1, linUCB: α; linThompson: ν'),
  regularisation: z.number().positive().default(1).describe('linUCB, linThompson: ridge λ'),
  priorStrength: z
    .number()
    .positive()
    .default(1000)
    .describe('Rewards an arm is credited with when its version is replaced'),
  floor: z.number().min(0).lt(1).default(0).describe('Least probability of every arm'),
  discount: z.strictObject({ halfLife: duration }).optional(),
  refresh: duration.default(10_000),
  reward: reward.prefault({}),
  mode: z.enum(['apprentice', 'online']).default('online'),
});

/** Exactly one of them; checked with the rest of the route, which knows the variants. */
export const strategyFields = {
  weighted: weights.optional(),
  canary: canary.optional(),
  experiment: experiment.optional(),
  bandit: bandit.optional(),
};

export type CanarySpec = z.infer<typeof canary>;
export type ExperimentSpec = z.infer<typeof experiment>;
export type BanditSpec = z.infer<typeof bandit>;
export type RewardSpec = z.infer<typeof reward>;
