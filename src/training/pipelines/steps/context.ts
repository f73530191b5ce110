import type { RouteDocument } from '../../../config/route-schema.ts';
import type { Happening } from '../../../registry/commit.ts';
import type { Registry } from '../../../registry/registry.ts';
import { SwitchyardError } from '../../../shared/errors.ts';
import type { Evaluations } from '../../evaluation/store.ts';
import type { Jobs } from '../../jobs/jobs.ts';
import { type Artifact, artifactDigest } from '../artifacts.ts';
import type { EnvironmentSpec, PipelineDocument, Step } from '../document.ts';
import { outputsOf } from '../graph.ts';
import type { RunRow, StepOutputs, StepRow } from '../store.ts';
import type { RegistryCalls } from '../tracking.ts';

/** What steps work with. */
export interface StepServices {
  registry: Registry;
  calls: RegistryCalls;
  jobs: Jobs;
  evaluations: Evaluations;
  /** Applies a route document. Rejects with SwitchyardError. */
  applyRoute(document: RouteDocument): Promise<void>;
  /** What relative paths of documents are relative to. */
  baseDir: string;
  now(): number;
}

export interface StepContext {
  services: StepServices;
  run: RunRow;
  document: PipelineDocument;
  environment: { name: string; spec: EnvironmentSpec };
  step: Step;
  row: StepRow;
  /** What the steps before gave. */
  outputs: ReadonlyMap<string, StepOutputs>;
  /** Git commit of the pipeline; '' = unknown. */
  commit: string;
  signal: AbortSignal;
}

/** As StepContext, while the step is being done. */
export interface Execution extends StepContext {
  /** Empty, and removed afterwards. */
  folder: string;
  /** The step's own run in the registry; steps that are jobs have none but their job's. */
  tracking: { runId: string; artifactUri: string };
  /** Keeps which job does the step. */
  noteJob(jobId: string, trackingRun: string): Promise<void>;
}

export type StepOutcome = (
  | { status: 'succeeded'; outputs: StepOutputs; reason?: string }
  | { status: 'held' | 'failed'; reason: string; outputs?: StepOutputs }
) & {
  /** What webhooks hear in the write that keeps the outcome, besides that the step is over. */
  happenings?: readonly Happening[];
};

/** How a kind of step is done. */
export interface StepWork {
  /** All that decides what it gives; undefined: nobody can tell, so it is done every time. */
  facts(context: StepContext): Promise<{ body: unknown; inputs: Record<string, unknown> } | undefined>;
  /** Whether what it gave before still is there, besides its files. */
  stillThere?(context: StepContext, outputs: StepOutputs): Promise<boolean>;
  /** True: the step is a job, and the job's run is the step's. */
  isJob?: true;
  execute(context: Execution): Promise<StepOutcome>;
}

/** The file or dataset that a reference names. */
export function artifactOf({ outputs, document }: StepContext, reference: string): Artifact {
  const [name, output = ''] = reference.split('.');
  const step = document.spec.steps.find((one) => one.name === name);
  const wanted = output || outputsOf(step)[0];
  const found = outputs.get(name)?.artifacts[wanted];
  if (found !== undefined) return found;
  throw new SwitchyardError('failed_precondition', `step ${name} gave no ${wanted}`);
}

/** A plain value that a step gave, such as a version. */
export function stepValue<T>({ outputs }: StepContext, reference: string, value: string): T {
  const [name] = reference.split('.');
  const values = outputs.get(name)?.values ?? {};
  if (Object.hasOwn(values, value)) return values[value] as T;
  throw new SwitchyardError('failed_precondition', `step ${name} gave no ${value}`);
}

export function digestOfInput(context: StepContext, reference: string): string {
  return artifactDigest(artifactOf(context, reference));
}
