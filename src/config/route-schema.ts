import { z } from 'zod';
import { logRuleSchema } from './log-rule-schema.ts';
import { match, matchFields, name } from './match-schema.ts';
import { checkMetric, checkRoute } from './route-checks.ts';
import { strategyFields } from './strategy-schema.ts';
import { duration, fraction } from './units.ts';

const VERSION = 'switchyard/v1';
/** The eligible set of a decision is a 32-bit mask. */
const MAX_VARIANTS = 32;

const unitSource = z
  .strictObject({
    header: z
      .string()
      .min(1)
      .transform((text) => text.toLowerCase())
      .optional(),
    cookie: z.string().min(1).optional(),
    metadata: z
      .string()
      .min(1)
      .transform((text) => text.toLowerCase())
      .optional(),
    input: z.string().min(1).optional().describe('First element of this input tensor'),
    parameter: z.string().min(1).optional(),
    tenant: z.literal(true).optional(),
  })
  .refine(
    (source) => Object.keys(source).length === 1,
    'give exactly one of header, cookie, metadata, input, parameter, tenant',
  );

const variant = z
  .strictObject({
    model: name,
    version: z
      .union([z.string().min(1), z.number().int().positive().transform(String)])
      .optional()
      .describe('Absent, and without alias: the version policy chooses'),
    alias: name.optional().describe("Follows the registry's alias"),
    fallback: name.optional().describe("Another variant, instead of the route's fallback order"),
  })
  .refine(({ version, alias }) => version === undefined || alias === undefined, 'give a version or an alias, not both');

const shadow = z.strictObject({
  variant: name,
  sample: fraction(0, 1).default(1),
  maxInFlight: z.number().int().positive().default(64).describe('Copies under way, on each gateway thread'),
  timeout: duration.default(500),
  compare: z
    .strictObject({
      output: z.string().min(1).optional().describe('Absent: all outputs'),
      atol: z.number().min(0).default(1e-6),
      rtol: z.number().min(0).default(1e-5),
      topK: z.number().int().positive().optional().describe('Compare only which k values are largest'),
      maxMismatch: fraction(0, 1).optional(),
    })
    .prefault({}),
});

export const FALLBACK_CAUSES = ['5xx', 'timeout', 'ejected', 'unavailable', 'overloaded'] as const;

const fallback = z.strictObject({
  on: z.array(z.enum(FALLBACK_CAUSES)).min(1).default(['5xx', 'timeout', 'ejected', 'unavailable']),
  order: z.array(name).default([]),
});

const resilience = z.strictObject({
  timeout: duration.optional(),
  outlier: z
    .strictObject({
      consecutive5xx: z.number().int().positive().default(5).describe('As one gateway thread sees them'),
      interval: duration.default(10_000).describe('How often ejected variants are looked at again'),
      baseEjection: duration.default(30_000).describe('Times the number of ejections in a row'),
      maxEjection: duration.default(300_000),
    })
    .optional(),
  retryBudget: z
    .strictObject({
      percent: z
        .number()
        .min(0)
        .max(100)
        .default(20)
        .describe("Of the route's requests under way, on each gateway thread"),
      minConcurrency: z.number().int().min(0).default(3).describe('On each gateway thread'),
    })
    .optional(),
  circuitBreaker: z
    .strictObject({
      maxInFlight: z.number().int().positive().optional().describe('Of a variant, on each gateway thread'),
      failureRatio: fraction(0, 1).default(0.5),
      window: duration.default(10_000),
      minRequests: z.number().int().positive().default(20).describe('Within the window, on one gateway thread'),
      open: duration.default(5000).describe('Until a trial request is let through'),
    })
    .optional(),
});

const routeSpec = z.strictObject({
  match: z.array(match).min(1).optional().describe('Any entry may match. Absent: the model named like the route'),
  unit: z
    .strictObject({
      from: z.array(unitSource).min(1).describe('The first that a request has'),
      onMissing: z.enum(['randomUnanalysed', 'random', 'default']).default('randomUnanalysed'),
      salt: z.string().optional().describe('Absent: the name of the route'),
    })
    .optional()
    .describe('What sticks to a variant. Absent: every request is drawn anew'),
  variants: z.record(name, variant).refine((record) => {
    const count = Object.keys(record).length;
    return count >= 1 && count <= MAX_VARIANTS;
  }, `1 to ${MAX_VARIANTS} variants`),
  overrides: z
    .array(
      z.strictObject({
        ...matchFields,
        units: z.array(z.string()).optional(),
        variant: name,
        analysed: z.boolean().default(false),
      }),
    )
    .default([]),
  shadow: shadow.optional(),
  fallback: fallback.prefault({}),
  resilience: resilience.prefault({}),
  strategy: z.strictObject(strategyFields),
  log: logRuleSchema.optional().describe("Of this route's requests; wins over the settings in switchyard.yaml"),
});

const route = z.strictObject({
  apiVersion: z.literal(VERSION),
  kind: z.literal('Route'),
  metadata: z.strictObject({ name }),
  spec: routeSpec.superRefine(checkRoute),
});

const metric = z.strictObject({
  name,
  test: z.enum(['errorRate', 'latencyQuantile', 'shadowMismatch']).optional(),
  margin: fraction(0, 10)
    .optional()
    .describe(
      'Worse by less than this. errorRate and shadowMismatch: a difference of rates, below 100%; latencyQuantile: relative',
    ),
  quantile: z.number().gt(0).lt(1).optional(),
  minRequests: z.number().int().positive().default(1000),
  alpha: z.number().gt(0).lt(0.5).default(0.05),
  prometheus: z.strictObject({ address: z.url({ protocol: /^https?$/ }), query: z.string().min(1) }).optional(),
  successCondition: z.string().max(256).optional(),
  failureLimit: z.number().int().min(0).default(0).describe('Failed measurements that are let pass'),
  interval: duration.default(30_000).describe('Between two queries'),
  count: z.number().int().positive().default(1).describe('Successful measurements that make a pass'),
});

const template = z.strictObject({
  apiVersion: z.literal(VERSION),
  kind: z.literal('AnalysisTemplate'),
  metadata: z.strictObject({ name }),
  spec: z.strictObject({
    metrics: z
      .array(metric.superRefine(checkMetric))
      .min(1)
      .refine((list) => new Set(list.map((m) => m.name)).size === list.length, 'two metrics have the same name'),
  }),
});

/** One document of a route file. Published as config/route.schema.json. */
export const routeDocumentSchema = z.discriminatedUnion(
  'kind',
  [route, template],
  'kind must be Route or AnalysisTemplate',
);

export type RouteDocument = z.infer<typeof route>;
export type TemplateDocument = z.infer<typeof template>;
export type RouteSpec = z.infer<typeof routeSpec>;
export type VariantSpec = z.infer<typeof variant>;
export type UnitSource = z.infer<typeof unitSource>;
export type Metric = z.infer<typeof metric>;
export type FallbackCause = (typeof FALLBACK_CAUSES)[number];
