import { Cron } from 'croner';
import { z } from 'zod';
import { duration, fraction } from '../config/units.ts';

const name = z
  .string()
  .regex(/^[A-Za-z0-9][\w.-]{0,127}$/, 'allowed: 1 to 128 letters, digits, "_", "." and "-", a letter or digit first');
const count = z.number().int().positive();
const pattern = z
  .string()
  .min(1)
  .max(200)
  .describe('A column such as inputs.age or outputs.label; * for any characters');

export const STATISTICS = ['psi', 'jensenShannon', 'lInfinity', 'wasserstein', 'ks'] as const;
export type StatisticName = (typeof STATISTICS)[number];

const thresholds = z
  .strictObject(
    Object.fromEntries(STATISTICS.map((statistic) => [statistic, z.number().positive().optional()])) as {
      [K in StatisticName]: z.ZodOptional<z.ZodNumber>;
    },
  )
  .refine((given) => Object.values(given).some((value) => value !== undefined), `give one of ${STATISTICS.join(', ')}`);

const reference = z
  .strictObject({
    records: count.min(100).max(100_000).optional().describe('The first so many rows that a version serves'),
    file: z.string().min(1).optional().describe('A CSV or JSON lines file, relative to the configuration file'),
    columns: z
      .record(z.string().min(1), z.string().min(1))
      .default({})
      .describe('With file: the column of the log for each of the file, * for the same text'),
    seasonal: z
      .enum(['hourOfDay', 'hourOfWeek'])
      .optional()
      .describe('Windows are held against the reference of their hour (UTC)'),
    learn: duration.default(0).describe('With seasonal: how long windows are added to the reference, a week at least'),
  })
  .superRefine(({ records, file, seasonal, learn }, context) => {
    if ((records === undefined) === (file === undefined))
      context.addIssue({ code: 'custom', path: [], message: 'give records or file, and not both' });
    if (seasonal !== undefined && learn === 0)
      context.addIssue({
        code: 'custom',
        path: ['learn'],
        message: 'a seasonal reference has to learn for a while, such as 14d',
      });
  });

const slice = z.strictObject({
  by: z
    .string()
    .regex(
      /^(tenant|route|variant|protocol|entity|inputs\..+|outputs\..+)$/,
      'tenant, route, variant, protocol, entity, inputs.NAME or outputs.NAME',
    )
    .describe('Rows with the same value are looked at by themselves too'),
  values: z.array(z.string()).max(50).optional().describe('Only these; absent: the 20 that come first'),
});

const QUALITY_METRICS = ['accuracy', 'errorRate', 'mae', 'rmse'] as const;
export type QualityMetric = (typeof QUALITY_METRICS)[number];

const quality = z.strictObject({
  prediction: z.string().min(1).describe('The column that labels are compared with, such as outputs.label'),
  field: z.string().min(1).optional().describe('Where the label stands when it is an object'),
  wait: duration.default(3_600_000).describe('How long a label may take'),
  pending: count.max(1_000_000).default(50_000).describe('Requests that wait for their label at most'),
  window: z.strictObject({ rows: count.min(10).default(500) }).prefault({}),
  metrics: z
    .array(
      z
        .strictObject({
          metric: z.enum(QUALITY_METRICS),
          min: z.number().optional(),
          max: z.number().optional(),
          sigmas: z
            .number()
            .positive()
            .optional()
            .describe('Outside of mean ± so many σ of the first windows of the version'),
          windows: count.min(3).max(100).default(5).describe('With sigmas: how many windows are the reference'),
        })
        .refine(
          ({ min, max, sigmas }) => min !== undefined || max !== undefined || sigmas !== undefined,
          'give min, max or sigmas',
        ),
    )
    .min(1),
});

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

const retrain = z.strictObject({
  pipeline: name.describe('Is run; its gate makes the challenger'),
  environment: name.optional(),
  parameters: z.record(z.string(), z.union([z.string(), z.number(), z.boolean()])).default({}),
  on: z
    .strictObject({
      drift: z.boolean().default(true),
      quality: z.boolean().default(true),
      labels: count.optional().describe('So many new labels'),
      schedule: schedule.optional(),
    })
    .prefault({}),
  data: z
    .strictObject({
      parameter: z.string().min(1).default('data').describe('Gets the path of the CSV file with the labelled rows'),
      rows: count.max(200_000).default(20_000).describe('The newest labelled rows that are kept'),
      minRows: count.default(1000).describe('It waits until there are so many'),
      since: z.enum(['change', 'all']).default('change').describe('change: rows from the first bad window on'),
      columns: z
        .record(z.string().min(1), z.string().min(1))
        .default({})
        .describe('New names, such as "inputs.image[*]": "p*"'),
    })
    .prefault({}),
  validate: z
    .strictObject({
      schema: name.describe('Of those that data is validated by'),
      version: count.optional().describe('Absent: the latest'),
    })
    .optional()
    .describe('What the labelled rows must pass before the pipeline is run'),
  alias: name.default('champion').describe('A version counts as promoted when it has it'),
  promoteWithin: duration.default(86_400_000).describe('After the run; then it counts as not promoted'),
  cooldown: duration.default(3_600_000).describe('From the end of a retraining to the next one'),
  dailyBudget: count.max(1000).default(4),
  breaker: z
    .strictObject({
      after: count.default(2).describe('Retrainings in a row that did not help'),
      within: duration.default(86_400_000).describe('Drift again so soon after a promotion: it did not help'),
    })
    .prefault({}),
});

/** One document of a monitor file: what is watched of a model, and what follows. */
export const monitorSchema = z.strictObject({
  apiVersion: z.literal('switchyard/v1', "must be 'switchyard/v1'"),
  kind: z.literal('Monitor', "must be 'Monitor'"),
  metadata: z.strictObject({ name }),
  spec: z
    .strictObject({
      model: z.string().min(1).max(128),
      route: z.string().min(1).max(128).optional().describe('Only requests of this route'),
      reference,
      window: z
        .strictObject({
          rows: count.max(10_000_000).default(1000).describe('A window ends with so many rows'),
          atMost: duration.default(3_600_000).describe('or when it is so old'),
        })
        .prefault({}),
      minRows: count.default(1000).describe('Windows and references with fewer are INSUFFICIENT'),
      columns: z
        .strictObject({
          include: z.array(pattern).min(1).default(['*']),
          exclude: z.array(pattern).default([]),
          batched: z.boolean().default(true).describe('The first dimension counts rows'),
          elements: count
            .max(1024)
            .default(128)
            .describe('A tensor with more elements a row is watched by mean and deviation'),
        })
        .prefault({}),
      statistics: thresholds.prefault({ psi: 0.2 }),
      falseAlarms: fraction(1e-6, 0.2)
        .default(0.01)
        .describe('Share of windows without any change in which a column may be flagged, at most'),
      slices: z.array(slice).max(5).default([]),
      alert: z
        .strictObject({
          windows: count.max(100).default(3),
          of: count.max(100).default(5),
          clear: count.max(100).default(3).describe('Good windows in a row that end it'),
        })
        .refine(({ windows, of }) => windows <= of, 'windows must not be more than of')
        .prefault({}),
      quality: quality.optional(),
      retrain: retrain.optional(),
    })
    .superRefine(({ quality: own, retrain: wanted }, context) => {
      if (wanted !== undefined && own === undefined)
        context.addIssue({
          code: 'custom',
          path: ['retrain'],
          message: 'retraining learns from labels; say in quality what they are compared with',
        });
    }),
});

export type MonitorDocument = z.infer<typeof monitorSchema>;
export type MonitorSpec = MonitorDocument['spec'];
export type RetrainSpec = NonNullable<MonitorSpec['retrain']>;
export type QualitySpec = NonNullable<MonitorSpec['quality']>;
