import { readFileSync } from 'node:fs';
import { artifactRoot } from '../../../registry/tracking/job-runs.ts';
import { invalidArgument, SwitchyardError } from '../../../shared/errors.ts';
import type { JobSpec } from '../../jobs/spec.ts';
import { CHECKPOINT_FOLDER, inputPath, resolveInput, type WorkParts } from '../../work/work-folder.ts';
import type { AttemptStatus } from '../runner.ts';
import { AGENT, AGENT_FILE, EXIT_FINAL, EXIT_PASSING, FAILED, NEXT_STEP, PLAN_FILE } from './agent.ts';

/** A file by its digest; '' as path: the place it is brought to itself. */
interface PlannedFile {
  path: string;
  digest: string;
}

/** What the agent of one attempt brings and takes away (agent.ts reads it as JSON). Nothing in it is secret. */
export interface AttemptPlan {
  attempt: number;
  graceSeconds: number;
  /** How long a call to the server is tried again: it may be starting anew. */
  patienceSeconds: number;
  /** Whether the agent passes TERM on; false where the cluster sends it to every process. */
  passSignals: boolean;
  inputs: { name: string; path: string; files: PlannedFile[] }[];
  outputs: JobSpec['outputs'];
  /** Artifact path of the run. */
  root: string;
  /** stored: artifact path for what the attempt leaves; see DRAFTS. */
  checkpoint: { path: string; files: PlannedFile[]; stored: string } | null;
  /** kept: environments stay on the node for the next job. */
  environment: { requirements: string; kept: boolean; timeoutSeconds: number; keepSeconds: number } | null;
}

/** What travels with an attempt to a cluster. */
export interface Carried {
  plan: AttemptPlan;
  /** PEM of the server's certificate; undefined: clients trust it already. */
  certificate: string | undefined;
}

/** Folder of a run's artifacts with checkpoints of attempts that are not over: "<attempt>-<random>/…", and `latest`. */
const DRAFTS = '.checkpoint';

const PATIENCE_SECONDS = 120;
/** Bytes of a plan that clusters carry. */
const MAX_PLAN_BYTES = 900_000;

/** Whether a job needs more than its command: Python in its image, that is. */
export function needsAgent(spec: JobSpec): boolean {
  const { requirements, requirementsFile } = spec.environment ?? {};
  return (
    spec.inputs.length > 0 ||
    spec.outputs.length > 0 ||
    spec.checkpoint !== undefined ||
    requirements !== undefined ||
    requirementsFile !== undefined
  );
}

export interface PlanParts extends WorkParts {
  runId: string;
  attempt: number;
  /** Run of the job that spec.resumeFrom names. */
  resumeRun: string | undefined;
  timeoutSeconds: number;
  keepDays: number;
}

/** Rejects with not_found, failed_precondition or invalid_argument naming the input. */
export async function planAttempt(spec: JobSpec, parts: PlanParts): Promise<AttemptPlan> {
  const { database, runId, attempt, timeoutSeconds, keepDays } = parts;
  const root = await database.read((db) => artifactRoot(db, runId));
  const inputs = [];
  for (const input of spec.inputs) {
    const files = (await resolveInput(input, parts)).map(({ path, digest }) => ({ path, digest }));
    inputs.push({ name: input.name, path: inputPath(input), files });
  }
  const { requirements, requirementsFile } = spec.environment ?? {};
  const text = requirements ?? (requirementsFile === undefined ? undefined : spec.files[requirementsFile]);
  return {
    attempt,
    graceSeconds: spec.graceSeconds,
    patienceSeconds: PATIENCE_SECONDS,
    passSignals: true,
    inputs,
    outputs: spec.outputs,
    root,
    checkpoint:
      spec.checkpoint === undefined
        ? null
        : {
            path: spec.checkpoint.path,
            files: await checkpointFiles(spec, root, parts),
            stored: `${root}/${DRAFTS}`,
          },
    environment:
      text === undefined
        ? null
        : { requirements: text, kept: false, timeoutSeconds, keepSeconds: Math.round(keepDays * 86_400) },
  };
}

/** What the last attempt left, else what the job left that this one resumes from. */
async function checkpointFiles(spec: JobSpec, root: string, parts: PlanParts): Promise<PlannedFile[]> {
  const own = parts.attempt > 1 ? await filesOf(root, parts) : [];
  const { resumeRun } = parts;
  if (own.length > 0 || resumeRun === undefined) return own;
  const other = await filesOf(await parts.database.read((db) => artifactRoot(db, resumeRun)), parts);
  if (other.length === 0)
    throw new SwitchyardError('failed_precondition', `spec.resumeFrom: job ${spec.resumeFrom} has left no checkpoint`);
  return other;
}

async function filesOf(root: string, { storage }: WorkParts): Promise<PlannedFile[]> {
  const folder = `${root}/${CHECKPOINT_FOLDER}`;
  const files = await storage.artifacts.filesBelow(folder);
  return files.map(({ path, digest }) => ({ path: path.slice(folder.length + 1), digest }));
}

/** The agent, its plan and what it trusts, by the names under which it looks for them. Throws invalid_argument. */
export function agentFiles({ plan, certificate }: Carried): Record<string, string> {
  const text = JSON.stringify(plan);
  const bytes = Buffer.byteLength(text);
  if (bytes > MAX_PLAN_BYTES)
    throw invalidArgument(
      `spec.inputs: the list of their files has ${bytes} bytes, more than the ${MAX_PLAN_BYTES} that clusters carry; pack them into fewer files`,
    );
  return { [AGENT_FILE]: AGENT, [PLAN_FILE]: text, ...(certificate === undefined ? {} : { 'ca.pem': certificate }) };
}

/** Undefined: it cannot be read, so that clients go by their own list. */
export function readCertificate(file: string | undefined): string | undefined {
  if (file === undefined) return undefined;
  try {
    return readFileSync(file, 'utf8');
  } catch {
    return undefined;
  }
}

/** Makes what an attempt's agent has stored the checkpoint of the run, in one write. None that is whole: the last one stays. */
export async function settleCheckpoint(root: string, attempt: number, { storage }: WorkParts): Promise<void> {
  const { artifacts, vault } = storage;
  const drafts = `${root}/${DRAFTS}`;
  const latest = await artifacts.get(`${drafts}/latest`).catch(() => undefined);
  if (latest === undefined || latest.size > 100) return;
  const chunks: Buffer[] = [];
  for await (const chunk of await vault.open(latest.digest)) chunks.push(chunk as Buffer);
  const name = Buffer.concat(chunks).toString('utf8');
  // Of an attempt that was given up and still ran: not this one's.
  if (!/^\d+-[0-9a-f]{8}$/.test(name) || !name.startsWith(`${attempt}-`)) return;
  await artifacts.move(`${drafts}/${name}`, `${root}/${CHECKPOINT_FOLDER}`);
  await artifacts.remove(drafts);
}

/** Why the agent failed, by the end of the log; undefined: it did not, the command did. */
export function agentFailure(
  { phase, exitCode }: AttemptStatus,
  tail: string,
): { reason: string; nextStep: string; again: boolean } | undefined {
  if (phase !== 'failed' || (exitCode !== EXIT_FINAL && exitCode !== EXIT_PASSING)) return undefined;
  const lines = tail.split(/\r?\n/);
  const find = (start: string): string =>
    lines
      .findLast((line) => line.startsWith(start))
      ?.slice(start.length)
      .trim() ?? '';
  const reason = find(FAILED);
  if (reason === '') return undefined;
  const again = exitCode === EXIT_PASSING;
  return { reason, nextStep: find(NEXT_STEP) || 'read the end of the log', again };
}
