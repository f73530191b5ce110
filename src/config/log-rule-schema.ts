import { z } from 'zod';
import { fraction } from './units.ts';

/** 'inputs.NAME', 'outputs.NAME' and 'rewards.NAME' with NAME or *, one of the record's own texts, or the label of feedback. */
const FIELD = /^((inputs|outputs|rewards)\.(\*|[^.*\s][^*\s]{0,255})|entity|tenant|requestId|label)$/;
const FIELD_HINT =
  'allowed: inputs.NAME, outputs.NAME, rewards.NAME, inputs.*, outputs.*, rewards.*, label, entity, tenant, requestId';

const redaction = z
  .strictObject({
    field: z.string().regex(FIELD, FIELD_HINT),
    action: z.enum(['drop', 'mask', 'hash', 'truncate']),
    length: z
      .number()
      .int()
      .min(0)
      .max(1024)
      .optional()
      .describe('truncate: characters kept of texts, decimals kept of numbers'),
  })
  .superRefine(({ field, action, length }, context) => {
    if (field.startsWith('rewards.') && action !== 'drop' && action !== 'truncate')
      context.addIssue({
        code: 'custom',
        path: ['action'],
        message: `a reward is a number: drop or truncate, not ${action}`,
      });
    if ((action === 'truncate') === (length !== undefined)) return;
    context.addIssue({
      code: 'custom',
      path: ['length'],
      message: action === 'truncate' ? 'truncate needs a length' : `only truncate has a length, not ${action}`,
    });
  });

const entity = z
  .strictObject({
    input: z.string().min(1).optional().describe('First element of this input tensor'),
    parameter: z.string().min(1).optional(),
    tenant: z.literal(true).optional(),
    requestId: z.literal(true).optional(),
  })
  .refine((source) => Object.keys(source).length === 1, 'give exactly one of input, parameter, tenant, requestId');

const names = z.array(z.string().min(1)).describe('Absent: all; []: none');

/** What is logged of a request, and how. Absent settings come from the less specific rule. */
export const logRuleSchema = z.strictObject({
  enabled: z.boolean().optional(),
  sample: fraction(0, 1).optional().describe('Share of requests that make a record'),
  inputs: names.optional(),
  outputs: names.optional(),
  redact: z.array(redaction).max(256).optional(),
  entity: entity.optional().describe('What the request is about: key of its record'),
  payloadLimitBytes: z
    .number()
    .int()
    .min(1024)
    .max(512 * 1024, 'at most 524288: a broker takes messages of up to 1 MiB')
    .optional()
    .describe('Inputs and outputs above it are kept by reference'),
});

export type LogRule = z.infer<typeof logRuleSchema>;
export type Redaction = z.infer<typeof redaction>;
export type EntitySource = z.infer<typeof entity>;
