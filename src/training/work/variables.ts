import { delimiter, join } from 'node:path';
import type { JobSpec } from '../jobs/spec.ts';
import { inputPath } from './work-folder.ts';

/** Of the server's own environment what programs need to find other programs and to print text. */
const ALWAYS_PASSED = ['PATH', 'LANG', 'LC_ALL', 'TZ', 'SSL_CERT_FILE', 'SSL_CERT_DIR'];

export interface VariableParts {
  spec: JobSpec;
  job: { id: string; name: string; attempt: number; runId: string; experimentId: string };
  tracking: { uri: string; token: string | undefined; certificate: string | undefined };
  /** Name → value of what spec.secretRefs asks for. */
  secrets: Readonly<Record<string, string>>;
}

export interface LocalParts {
  workDir: string;
  /** Of the provisioned environment. */
  environment: string | undefined;
  gpus: readonly number[];
  passed: readonly string[];
  from: Readonly<Record<string, string | undefined>>;
}

/** What every job finds in its environment, wherever it runs. Built from nothing: only what is named here gets in. */
export function jobVariables({ spec, job, tracking, secrets }: VariableParts): Record<string, string> {
  const variables: Record<string, string> = {
    MLFLOW_TRACKING_URI: tracking.uri,
    MLFLOW_RUN_ID: job.runId,
    MLFLOW_EXPERIMENT_ID: job.experimentId,
    SWITCHYARD_JOB_ID: job.id,
    SWITCHYARD_JOB_NAME: job.name,
    SWITCHYARD_ATTEMPT_NUMBER: String(job.attempt),
    PYTHONUNBUFFERED: '1',
  };
  if (tracking.token !== undefined) variables.MLFLOW_TRACKING_TOKEN = tracking.token;
  if (tracking.certificate !== undefined) variables.MLFLOW_TRACKING_SERVER_CERT_PATH = tracking.certificate;
  if (spec.checkpoint !== undefined) variables.SWITCHYARD_CHECKPOINT = spec.checkpoint.path;
  for (const input of spec.inputs)
    variables[`SWITCHYARD_INPUT_${input.name.toUpperCase().replace(/\W/g, '_')}`] = inputPath(input);
  return { ...variables, ...spec.env, ...secrets };
}

/** What it needs besides on this machine: a home of its own, the environment's programs first, its share of the hardware. */
export function localVariables(
  spec: JobSpec,
  { workDir, environment, gpus, passed, from }: LocalParts,
): Record<string, string> {
  const variables: Record<string, string> = {};
  for (const name of [...ALWAYS_PASSED, ...passed]) {
    const value = from[name];
    if (value !== undefined) variables[name] = value;
  }
  variables.PATH ??= '/usr/local/bin:/usr/bin:/bin';
  if (environment !== undefined) {
    variables.PATH = join(environment, 'bin') + delimiter + variables.PATH;
    variables.VIRTUAL_ENV = environment;
  }
  variables.LANG ??= 'C.UTF-8';
  variables.HOME = workDir;
  variables.TMPDIR = join(workDir, '.tmp');
  variables.CUDA_VISIBLE_DEVICES = gpus.join(',');
  variables.OMP_NUM_THREADS = String(Math.max(1, Math.floor(spec.resources.cpu)));
  return variables;
}
