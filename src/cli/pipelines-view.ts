import type { PipelineRun, PipelineStepRow } from '../client/pipelines.ts';
import { formatTable } from './table.ts';

const MARKS: Readonly<Record<string, string>> = {
  waiting: '·',
  running: '▸',
  succeeded: '✓',
  skipped: '=',
  failed: '✗',
  held: '?',
  cancelled: '✗',
};
const OVER = new Set(['succeeded', 'failed', 'held', 'cancelled']);
const MAX_REASON = 100;

export function isOver({ status }: PipelineRun): boolean {
  return OVER.has(status);
}

/** The run as a table of its steps. */
export function renderRun(run: PipelineRun, now: number): string {
  const took = seconds(run.created_at, run.ended_at ?? now);
  const done = run.steps.filter(({ status }) => status === 'succeeded' || status === 'skipped').length;
  const head = `${run.pipeline} in ${run.environment}: ${run.status}, ${done} of ${run.steps.length} steps, ${took} (run ${run.id})`;
  const rows = run.steps.map((step) => [
    `${MARKS[step.status] ?? ' '} ${step.name}`,
    step.kind,
    step.status + (step.progress === undefined ? '' : ` ${Math.round(100 * step.progress)} %`),
    step.started_at === null ? '' : seconds(step.started_at, step.ended_at ?? now),
    firstLine(step.reason),
  ]);
  return [head, formatTable(['step', 'does', 'status', 'took', 'why'], rows), ...tail(run)].join('\n');
}

/** What changed of the steps since the last look, a line each: for output that is no terminal. */
export function changedLines(before: PipelineRun | undefined, run: PipelineRun, now: number): string[] {
  const known = new Map(before?.steps.map((step) => [step.name, step.status]));
  const changed = run.steps.filter((step) => step.status !== (known.get(step.name) ?? 'waiting'));
  return changed.map((step) => stepLine(step, now));
}

function stepLine(step: PipelineStepRow, now: number): string {
  const over = step.ended_at !== null && step.started_at !== null;
  const took = over ? ` in ${seconds(step.started_at as number, step.ended_at ?? now)}` : '';
  const reason = firstLine(step.reason);
  return `${MARKS[step.status] ?? ' '} ${step.name}: ${step.status}${took}${reason === '' ? '' : `: ${reason}`}`;
}

export function tail(run: PipelineRun): string[] {
  if (run.status === 'succeeded' || !isOver(run)) return [];
  const stuck = run.steps.filter(({ status }) => status === 'failed' || status === 'held');
  const reasons = stuck.map(({ name, reason }) => `${name}: ${reason}`);
  return ['', ...reasons, ...(run.next_step === undefined ? [] : [`next: ${run.next_step}`])];
}

function firstLine(text: string): string {
  const line = text.split('\n')[0];
  return line.length > MAX_REASON ? `${line.slice(0, MAX_REASON)}…` : line;
}

function seconds(from: number, to: number): string {
  const ms = Math.max(0, to - from);
  if (ms < 1000) return `${ms} ms`;
  if (ms < 120_000) return `${(ms / 1000).toFixed(1)} s`;
  return `${Math.floor(ms / 60_000)} min ${Math.round((ms % 60_000) / 1000)} s`;
}
