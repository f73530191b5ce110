import type { StepKind } from '../document.ts';
import type { StepContext, StepWork } from './context.ts';
import { ingest, split, transform, validate } from './data.ts';
import { deployStep } from './deploy.ts';
import { evaluate } from './evaluate.ts';
import { gate } from './gate.ts';
import { job } from './job.ts';
import { register } from './register.ts';

/** How each kind of step is done. */
export function stepWorks(
  environments: () => ReadonlyMap<string, StepContext['environment']>,
): Readonly<Record<StepKind, StepWork>> {
  const deploy = deployStep(environments);
  return { ingest, validate, transform, split, train: job, run: job, evaluate, gate, register, deploy };
}
