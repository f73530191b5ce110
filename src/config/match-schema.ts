import { z } from 'zod';
import { compilePattern } from './pattern.ts';

/** Names that would reach an object's prototype. */
const FORBIDDEN = ['__proto__', 'constructor', 'prototype'];

export const name = z
  .string()
  .regex(/^[A-Za-z0-9][\w.-]{0,127}$/, 'allowed: 1 to 128 letters, digits, "_", "." and "-"')
  .refine((text) => !FORBIDDEN.includes(text), 'is a reserved name');

/** One way to compare a text; a plain string is compared exactly. */
const textMatch = z.union(
  [
    z.string().transform((exact): TextMatch => ({ exact })),
    z
      .strictObject({
        exact: z.string().optional(),
        prefix: z.string().min(1).optional(),
        regex: z.string().max(512).optional().describe('Runs in linear time: no lookaround, no back references'),
        present: z.boolean().optional(),
      })
      .superRefine((match, context) => {
        if (Object.keys(match).length !== 1) {
          context.addIssue({ code: 'custom', message: 'give exactly one of exact, prefix, regex, present' });
        }
        if (match.regex === undefined) return;
        try {
          compilePattern(match.regex);
        } catch (error) {
          context.addIssue({ code: 'custom', path: ['regex'], message: (error as Error).message });
        }
      }),
  ],
  'a text, or one of {exact: …}, {prefix: …}, {regex: …}, {present: …}',
);

export interface TextMatch {
  exact?: string;
  prefix?: string;
  regex?: string;
  present?: boolean;
}

const fieldName = z
  .string()
  .min(1)
  .max(256)
  .transform((text) => text.toLowerCase());
const fields = z.record(fieldName, textMatch);

/** All that is given must match. */
export const matchFields = {
  model: textMatch.optional().describe('The model name clients call'),
  path: textMatch.optional().describe('The HTTP path or the gRPC method'),
  headers: fields.optional(),
  metadata: fields.optional().describe('gRPC metadata; over HTTP the headers of the same names'),
  parameters: z.record(z.string().min(1).max(256), textMatch).optional().describe('Request parameters'),
  tenant: textMatch.optional(),
};

export const match = z
  .strictObject(matchFields)
  .refine((entry) => Object.keys(entry).length > 0, 'an empty entry would match everything; leave match out for that');

export type Match = z.infer<typeof match>;
