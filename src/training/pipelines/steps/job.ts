import { extname } from 'node:path';
import { SwitchyardError } from '../../../shared/errors.ts';
import { dataFileName } from '../../inputs/pin.ts';
import type { JobView } from '../../jobs/jobs.ts';
import type { JobDocumentInput } from '../../jobs/spec.ts';
import type { Artifact } from '../artifacts.ts';
import type { Bodies, StepInput } from '../document.ts';
import { COMMIT_TAG, PARENT_TAG } from '../tracking.ts';
import {
  artifactOf,
  digestOfInput,
  type Execution,
  type StepContext,
  type StepOutcome,
  type StepWork,
} from './context.ts';
import { noteDataset } from './data.ts';

type JobBody = Bodies['train'] | Bodies['run'];

/** Settings of a job that say where and how patiently it runs, not what it does. */
const NOT_CODE = [
  'runner',
  'resources',
  'timeoutSeconds',
  'graceSeconds',
  'retry',
  'heartbeatSeconds',
  'checkpoint',
  'resumeFrom',
  'tags',
  'experiment',
  'idempotencyKey',
];

function bodyOf({ step }: StepContext): JobBody {
  return (step.train ?? step.run) as JobBody;
}

/** Inputs of the job: one per file, so that each lies where the script expects it and its digest is checked. */
function jobInputs(context: StepContext): JobDocumentInput['spec']['inputs'] {
  return Object.entries(bodyOf(context).inputs).flatMap(([name, input]) => {
    if (typeof input !== 'string') return [{ ...input, name }];
    const { files } = artifactOf(context, input);
    if (files.length === 1) return [{ name, digest: files[0].digest, path: `inputs/${name}${extname(files[0].path)}` }];
    return files.map(({ path, digest }, i) => ({ name: `${name}-${i}`, digest, path: `inputs/${name}/${path}` }));
  });
}

/** What decides which bytes an input is. */
function inputMark(context: StepContext, input: StepInput): string {
  return typeof input === 'string' ? digestOfInput(context, input) : `${input.digest} ${dataFileName(input)}`;
}

function jobDocument(context: StepContext): JobDocumentInput {
  const { run, step, row, document, commit } = context;
  const { job, outputs } = bodyOf(context);
  const tags = {
    ...(job.tags as Record<string, string> | undefined),
    [PARENT_TAG]: run.tracking_run,
    'switchyard.pipeline': run.pipeline,
    'switchyard.pipeline_run': run.id,
    'switchyard.step': step.name,
    ...(commit === '' ? {} : { [COMMIT_TAG]: commit }),
  };
  const spec = {
    experiment: document.spec.experiment ?? run.pipeline,
    ...job,
    inputs: jobInputs(context),
    outputs: Object.entries(outputs).map(([name, path]) => ({ name, path })),
    tags,
    idempotencyKey: `pipeline/${run.id}/${step.name}/${row.job_round}`,
  };
  const name = `${run.pipeline}-${step.name}`.slice(0, 63).replace(/[^A-Za-z0-9]+$/, '');
  return { apiVersion: 'switchyard/v1', kind: 'Job', metadata: { name }, spec: spec as JobDocumentInput['spec'] };
}

async function outputArtifacts(context: StepContext, job: JobView): Promise<Record<string, Artifact>> {
  const { calls, registry } = context.services;
  const root = (await calls.artifactUri(job.runId)).replace(/^mlflow-artifacts:\/+/, '');
  const found: Record<string, Artifact> = {};
  for (const name of Object.keys(bodyOf(context).outputs)) {
    const folder = `${root}/${name}`;
    const files = await registry.storage.artifacts.filesBelow(folder);
    if (files.length === 0)
      throw new SwitchyardError(
        'failed_precondition',
        `the job ${job.id} ended well, but its run has no output ${name}`,
      );
    found[name] = {
      files: files.map(({ path, digest, size }) => ({
        path: path === folder ? name : path.slice(folder.length + 1),
        digest,
        size,
      })),
    };
  }
  return found;
}

/** Cancels the job when the run is cancelled, and not when the server stops: then the job goes on. */
async function follow(context: Execution, job: JobView): Promise<JobView> {
  const { signal, services, run } = context;
  const stopped = new Promise<never>((_, reject) => {
    const abort = (): void => reject(signal.reason);
    if (signal.aborted) abort();
    else signal.addEventListener('abort', abort, { once: true });
  });
  try {
    return await Promise.race([services.jobs.ended(job.id), stopped]);
  } catch (error) {
    if (signal.reason instanceof SwitchyardError && signal.reason.code === 'cancelled')
      await services.jobs.cancel(job.id, { actor: 'pipeline', reason: `pipeline run ${run.id} was cancelled` });
    throw error;
  }
}

function failure(job: JobView): string {
  const tail = job.logTail === undefined || job.logTail === '' ? '' : `\n${job.logTail.slice(-2000)}`;
  const next = job.nextStep === undefined ? '' : `; ${job.nextStep}`;
  return `job ${job.id} ${job.status}${job.reason === '' ? '' : `: ${job.reason}`}${next}${tail}`;
}

export const job: StepWork = {
  isJob: true,
  facts: async (context) => {
    const { job: spec, inputs, outputs } = bodyOf(context);
    const code = Object.fromEntries(Object.entries(spec).filter(([key]) => !NOT_CODE.includes(key)));
    const digests = Object.fromEntries(
      Object.entries(inputs).map(([name, input]) => [name, inputMark(context, input)]),
    );
    return { body: { code, outputs }, inputs: digests };
  },
  execute: async (context): Promise<StepOutcome> => {
    const { services, run, step, environment } = context;
    const submitted = await services.jobs.submit(jobDocument(context), {
      actor: run.actor,
      reason: `step ${step.name} of pipeline ${run.pipeline} in ${environment.name}`,
      parent: { kind: 'pipeline', id: run.id },
    });
    await context.noteJob(submitted.id, submitted.runId);
    const ended = await follow(context, submitted);
    if (ended.status !== 'succeeded') return { status: 'failed', reason: failure(ended) };
    for (const [name, reference] of Object.entries(bodyOf(context).inputs)) {
      // Of data the job's run tells itself.
      if (typeof reference !== 'string') continue;
      const label = step.train === undefined ? name : 'training';
      await noteDataset(context, ended.runId, `${run.pipeline}/${reference}`, artifactOf(context, reference), label);
    }
    const artifacts = await outputArtifacts(context, ended);
    return {
      status: 'succeeded',
      outputs: { artifacts, values: { job: ended.id, run: ended.runId, metrics: ended.metrics } },
    };
  },
};
