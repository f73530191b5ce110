import { Cron } from 'croner';
import { z } from 'zod';
import { duration } from '../../config/units.ts';
import { type DocumentProblem, issueProblems } from '../pipelines/check.ts';
import { documentName } from '../pipelines/document.ts';

const scalar = z.union([z.string(), z.number(), z.boolean()]);
const OPERATORS = ['>', '>=', '<', '<='] as const;
const threshold = { op: z.enum(OPERATORS), value: z.number() };
const secret = z
  .string()
  .regex(/^[A-Za-z_][A-Za-z0-9_]{0,127}$/)
  .describe('Environment variable of the server that holds the secret');

const schedule = z
  .strictObject({ cron: z.string().min(1).max(200), timezone: z.string().max(100).default('UTC') })
  .superRefine(({ cron, timezone }, context) => {
    try {
      new Cron(cron, { timezone, paused: true }).nextRun();
    } catch (error) {
      const message = `${JSON.stringify(cron)} in ${JSON.stringify(timezone)} is no schedule: ${(error as Error).message}; write minute, hour, day, month and weekday, such as "0 3 * * 1"`;
      context.addIssue({ code: 'custom', path: ['cron'], message });
    }
  });

const data = z.strictObject({
  path: z
    .string()
    .min(1)
    .describe('A file or folder (relative to the configuration file); it fires when something new or changed is there'),
  match: z.string().max(200).optional().describe('Only files whose name fits: * stands for any characters'),
  settle: duration.default(2_000).describe('A file counts when it has not grown for so long'),
  every: duration.default(5_000).describe('How often it is looked at'),
});

const count = z.strictObject({
  path: z.string().min(1).describe('A CSV or JSON lines file, or a folder of them'),
  match: z.string().max(200).optional(),
  rows: z.number().int().min(1).describe('It fires when so many lines have come since the last firing'),
  every: duration.default(60_000),
});

const performance = z
  .strictObject({
    metric: z.string().min(1).max(250),
    ...threshold,
    experiment: z.string().min(1).max(250).optional().describe('Runs that finish in this experiment'),
    model: z.string().min(1).max(250).optional().describe('Evaluations of versions of this model'),
    slice: z.string().optional().describe('With model: of this slice'),
  })
  .refine(
    ({ experiment, model }) => (experiment === undefined) !== (model === undefined),
    'give experiment or model, and not both',
  );

const business = z
  .strictObject({
    ...threshold,
    prometheus: z
      .strictObject({ address: z.url({ protocol: /^https?$/ }), query: z.string().min(1).max(5000) })
      .optional(),
    every: duration.default(60_000).describe('Between two queries'),
    webhook: z.strictObject({ secret }).optional().describe('The figure comes as {"value": …} in signed requests'),
  })
  .refine(
    ({ prometheus, webhook }) => (prometheus === undefined) !== (webhook === undefined),
    'give prometheus or webhook, and not both',
  );

const drift = z.strictObject({
  model: z.string().min(1).max(250).optional().describe('Only of this model'),
  level: z.enum(['warning', 'alert']).default('alert').describe('From this level on'),
});

const CAUSES = {
  schedule,
  data,
  count,
  performance,
  business,
  drift,
  ci: z.strictObject({ secret }),
  manual: z.strictObject({}),
};
export type CauseKind = keyof typeof CAUSES;
export const CAUSE_KINDS = Object.keys(CAUSES) as CauseKind[];

const when = z
  .strictObject(
    Object.fromEntries(Object.entries(CAUSES).map(([kind, schema]) => [kind, schema.optional()])) as {
      [K in CauseKind]: z.ZodOptional<(typeof CAUSES)[K]>;
    },
  )
  .refine(
    (causes) => CAUSE_KINDS.filter((kind) => causes[kind] !== undefined).length === 1,
    `exactly one of ${CAUSE_KINDS.join(', ')}`,
  );

/** One document of a pipeline file: when a pipeline runs by itself. */
export const triggerSchema = z.strictObject({
  apiVersion: z.literal('switchyard/v1', "must be 'switchyard/v1'"),
  kind: z.literal('Trigger'),
  metadata: z.strictObject({ name: documentName }),
  spec: z.strictObject({
    pipeline: documentName,
    environment: documentName.optional(),
    parameters: z.record(z.string(), scalar).default({}),
    when,
    enabled: z.boolean().default(true),
    debounce: duration.default(0).describe('It waits so long for the cause to go quiet, and fires once'),
    cooldown: duration.default(0).describe('Between the end of the run it started and the next one'),
    dailyBudget: z.number().int().min(1).max(10_000).optional().describe('Runs it starts in 24 hours at most'),
    singleFlight: z.boolean().default(true).describe('Not while a run that it started goes on'),
  }),
});

export type TriggerDocument = z.infer<typeof triggerSchema>;
export type TriggerSpec = TriggerDocument['spec'];

export function triggerProblems(raw: unknown): DocumentProblem[] {
  return (triggerSchema.safeParse(raw).error?.issues ?? []).flatMap(issueProblems);
}

export function causeOf({ when: causes }: TriggerSpec): CauseKind {
  return CAUSE_KINDS.find((kind) => causes[kind] !== undefined) as CauseKind;
}
