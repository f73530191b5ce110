import type { JobPoint } from '../../registry/tracking/job-runs.ts';
import { LineReader } from './output-lines.ts';
import type { JobSpec } from './spec.ts';

/** How far the output of an attempt was read. Kept with the job, in the write that keeps what was found. */
export interface OutputProgress {
  attempt: number;
  /** Bytes read, up to the beginning of a line. */
  offset: number;
  progress: number | null;
  /** Last step of each metric that was read from output. */
  steps: Record<string, number>;
}

export type Point = JobPoint;

/** A line without an end is taken as one beyond this many bytes. */
const MAX_LINE = 64 * 1024;
/** Output of other processes than the first of several. */
const OTHER_RANK = /^\[rank \d+\] /;

export function emptyProgress(attempt: number): OutputProgress {
  return { attempt, offset: 0, progress: null, steps: {} };
}

/**
 * Reads a piece of output that begins at `before.offset`. The last line waits until it is whole, unless `last`.
 * A metric without a step gets the next one of its name.
 */
export function readOutput(
  before: OutputProgress,
  bytes: Buffer,
  metrics: JobSpec['metrics'],
  now: number,
  last: boolean,
): { after: OutputProgress; points: Point[] } {
  const end =
    last || bytes.length > MAX_LINE ? bytes.length : Math.max(bytes.lastIndexOf(10), bytes.lastIndexOf(13)) + 1;
  if (end === 0) return { after: before, points: [] };
  const reader = new LineReader(metrics.source, metrics.pattern);
  const steps = { ...before.steps };
  const points: Point[] = [];
  let { progress } = before;
  for (const line of bytes
    .subarray(0, end)
    .toString('utf8')
    .split(/[\r\n]+/)) {
    if (line === '' || OTHER_RANK.test(line)) continue;
    const found = reader.read(line);
    if (found.progress !== undefined) progress = Math.round(found.progress * 1000) / 1000;
    for (const { key, value } of found.metrics) {
      const step = found.step ?? (Object.hasOwn(steps, key) ? steps[key] + 1 : 0);
      steps[key] = step;
      points.push({ key, value, step, timestamp: now });
    }
  }
  return { after: { attempt: before.attempt, offset: before.offset + end, progress, steps }, points };
}
