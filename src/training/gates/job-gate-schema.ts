import { z } from 'zod';
import { gateRulesSchema } from './gate.ts';

/** What a job says of the version that it registers. */
export const jobGateSchema = z
  .strictObject({
    model: z.string().min(1).max(256).describe('The registered model of which the job makes a version'),
    rules: gateRulesSchema.describe("All must hold, of the last values of the run's metrics"),
    challenger: z.boolean().default(true).describe('A version that passes gets the alias challenger'),
  })
  .superRefine(({ rules }, context) => {
    const problem = 'a job is judged by the metrics of its run; judge an evaluation in a pipeline for this';
    for (const [i, rule] of rules.entries()) {
      if (rule.slice !== undefined) context.addIssue({ code: 'custom', path: ['rules', i, 'slice'], message: problem });
      if (rule.minSamples !== 1)
        context.addIssue({ code: 'custom', path: ['rules', i, 'minSamples'], message: problem });
    }
  });
export type JobGate = z.output<typeof jobGateSchema>;
