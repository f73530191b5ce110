import { z } from 'zod';
import { duration } from '../../config/units.ts';
import { AGGREGATES } from '../windows/plan.ts';
import { described, documentName, head, nameOf as name } from './document-parts.ts';
import { type OnDemandDocument, onDemandFeatureViewSchema } from './on-demand-schema.ts';
import { ENTITY_TYPES, FEATURE_TYPES } from './values.ts';
import { viewWindowProblems } from './window-rules.ts';

const aggregate = z.strictObject({
  of: z.enum(AGGREGATES),
  column: name(127).optional().describe('Column of the events; only count needs none'),
  window: duration.describe('How much of the past it covers'),
  slide: duration
    .optional()
    .describe("How often a window begins; absent: the window's length, so that windows do not overlap"),
  limit: z
    .number()
    .int()
    .min(1)
    .max(4096)
    .default(256)
    .describe('countDistinct: exact up to so many different values, estimated beyond'),
});

const field = z
  .strictObject({
    name: name(127),
    type: z.enum(FEATURE_TYPES),
    length: z.number().int().min(1).max(4096).default(0).describe('A vector of so many values; absent: one value'),
    default: z
      .union([z.number(), z.string(), z.boolean()])
      .optional()
      .describe('What a model gets where there is no value; absent: 0, false or an empty text'),
    aggregate: aggregate.optional().describe('Computed of events over a window of time'),
    description: z.string().max(2000).default(''),
  })
  .superRefine(({ type, default: value }, context) => {
    const wanted = type === 'bool' ? 'boolean' : type === 'string' ? 'string' : 'number';
    if (value === undefined || typeof value === wanted) return;
    context.addIssue({ code: 'custom', path: ['default'], message: `must be a ${wanted}, as the type ${type} says` });
  });

const kafka = z.strictObject({
  topic: z.string().regex(/^[\w.-]{1,249}$/, 'allowed: 1 to 249 letters, digits, "_", "." and "-"'),
  tenant: z.string().min(1).max(128).default('default').describe('Whose values they are'),
});

const source = z.strictObject({
  push: documentName.optional().describe("Name under which POST /push takes rows; absent: the view's own"),
  kafka: kafka.optional().describe('Rows come as JSON objects from this topic'),
  file: z
    .string()
    .min(1)
    .optional()
    .describe('A CSV or JSON lines file, relative to the configuration file: what materialize reads'),
  timestamp: name(127).default('event_timestamp').describe('The column that says when a row was true'),
  id: name(127)
    .optional()
    .describe('Of aggregates: the column that tells events apart; one that comes again counts once'),
  arrival: name(127).default('arrived_at').describe('Of aggregates: the column of files that says when an event came'),
});

/** A thing that features belong to, such as a driver. */
export const entitySchema = z.strictObject({
  ...head,
  kind: z.literal('Entity'),
  spec: z.strictObject({
    joinKey: name(127).describe('The column that names one such thing'),
    type: z.enum(ENTITY_TYPES).default('int64'),
    ...described,
  }),
});

export const featureViewSchema = z.strictObject({
  ...head,
  kind: z.literal('FeatureView'),
  spec: z
    .strictObject({
      entities: z.array(documentName).min(1).max(8),
      features: z.array(field).min(1).max(2000),
      ttl: duration.default(0).describe('Older values are OUTSIDE_MAX_AGE; absent: values do not age'),
      source: source.prefault({}),
      lateness: duration
        .default(600_000)
        .describe(
          'Of aggregates: an event that comes later than this after it happened is counted as late, and left out',
        ),
      scope: z
        .enum(['tenant', 'shared'])
        .default('tenant')
        .describe("'shared': all tenants read the same values; 'tenant': each its own"),
      ...described,
    })
    .refine(
      ({ features }) => new Set(features.map((each) => each.name)).size === features.length,
      'two features have the same name',
    )
    .superRefine((spec, context) => {
      for (const { path, message } of viewWindowProblems(spec)) context.addIssue({ code: 'custom', path, message });
    }),
});

export const featureServiceSchema = z.strictObject({
  ...head,
  kind: z.literal('FeatureService'),
  spec: z.strictObject({
    features: z
      .array(
        z.strictObject({
          view: documentName,
          features: z.array(name(127)).min(1).optional().describe('Absent: all of the view'),
        }),
      )
      .min(1),
    ...described,
  }),
});

export type EntityDocument = z.infer<typeof entitySchema>;
export type FeatureViewDocument = z.infer<typeof featureViewSchema>;
export type FeatureServiceDocument = z.infer<typeof featureServiceSchema>;
export type FeatureDocument = EntityDocument | FeatureViewDocument | OnDemandDocument | FeatureServiceDocument;

export const FEATURE_KINDS = ['Entity', 'FeatureView', 'OnDemandFeatureView', 'FeatureService'] as const;
export type FeatureKind = (typeof FEATURE_KINDS)[number];

const SCHEMAS = {
  Entity: entitySchema,
  FeatureView: featureViewSchema,
  OnDemandFeatureView: onDemandFeatureViewSchema,
  FeatureService: featureServiceSchema,
};

export type DocumentResult =
  | { document: FeatureDocument; issues?: undefined }
  | { document?: undefined; issues: { path: PropertyKey[]; message: string }[] };

/** Reads one document of any of the kinds, with everything that is wrong with it by itself. */
export function readDocument(plain: unknown): DocumentResult {
  const kind = (plain as { kind?: unknown } | null)?.kind;
  if (!FEATURE_KINDS.includes(kind as FeatureKind))
    return { issues: [{ path: ['kind'], message: `must be one of ${FEATURE_KINDS.join(', ')}` }] };
  const result = SCHEMAS[kind as FeatureKind].safeParse(plain);
  if (result.success) return { document: result.data };
  const issues = result.error.issues.flatMap((issue) =>
    issue.code === 'unrecognized_keys'
      ? issue.keys.map((key) => ({ path: [...issue.path, key], message: 'unknown setting' }))
      : [{ path: issue.path as PropertyKey[], message: issue.message }],
  );
  return { issues };
}
