import { join } from 'node:path';
import type { TrainingConfig } from '../config/training-schema.ts';
import { trainingSchema } from '../config/training-schema.ts';
import { SwitchyardError } from '../shared/errors.ts';
import type { DataSources } from '../training/inputs/data-source.ts';
import { readJob } from '../training/jobs/read.ts';
import type { JobDocumentInput } from '../training/jobs/spec.ts';
import { openTraining, type Training } from '../training/training.ts';
import type { RegistryUnderTest } from './registry.ts';

const none = (): Promise<never> => Promise.reject(new SwitchyardError('not_found', 'there is no data in this test'));
const NO_DATA: DataSources = { dataset: none, features: none, checkView: none };

/** Training over a registry under test, in the registry's data folder. */
export async function trainingUnderTest(
  registry: RegistryUnderTest,
  config: Record<string, unknown> = {},
  options: { adminToken?: string; folder?: string; data?: DataSources } = {},
): Promise<{ training: Training; errors: unknown[] }> {
  const errors: unknown[] = [];
  const log = { info: () => {}, warn: () => {}, error: (fields: object) => void errors.push(fields) };
  const settings = {
    dataDir: options.folder ?? join(registry.dataDir, 'training-data'),
    config: trainingSchema.parse(config) as TrainingConfig,
    tracking: { uri: registry.url, certificate: undefined },
    adminToken: options.adminToken,
    data: options.data ?? NO_DATA,
  };
  return { training: await openTraining(settings, registry.registry, log), errors };
}

/** A checked document of a job that runs a shell script from a file. */
export function scriptJob(script: string, spec: Record<string, unknown> = {}, name = 'demo'): JobDocumentInput {
  const document = {
    apiVersion: 'switchyard/v1',
    kind: 'Job',
    metadata: { name },
    spec: { command: ['sh', 'run.sh'], files: { 'run.sh': script }, graceSeconds: 1, ...spec },
  };
  return readJob(document);
}
