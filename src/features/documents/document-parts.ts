import { z } from 'zod';

const RESERVED = new Set(['__proto__', 'constructor', 'prototype', '@t']);

export const nameOf = (most: number) =>
  z
    .string()
    .regex(
      new RegExp(`^[A-Za-z_][\\w-]{0,${most - 1}}$`),
      `allowed: a letter or "_", then letters, digits, "_" and "-", at most ${most}`,
    )
    .refine((text) => !RESERVED.has(text), 'this name is reserved');

export const documentName = nameOf(63);
export const described = {
  description: z.string().max(2000).default(''),
  owner: z.string().max(250).default(''),
  tags: z.record(z.string().max(250), z.string().max(5000)).default({}),
};
export const head = {
  apiVersion: z.literal('switchyard/v1', "must be 'switchyard/v1'"),
  metadata: z.strictObject({ name: documentName }),
};
