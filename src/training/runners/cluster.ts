import { invalidArgument } from '../../shared/errors.ts';
import type { JobSpec } from '../jobs/spec.ts';
import { needsAgent } from './remote/plan.ts';
import type { AttemptStatus, LogChunk } from './runner.ts';

/** What the runners of clusters have in common. */

/** Throws for what only a runner on this machine can do. */
export function checkRemote(spec: JobSpec, kind: string): void {
  const refuse = (field: string, why: string): never => {
    throw invalidArgument(`spec.${field}: the ${kind} runner ${why}`);
  };
  if (spec.command === undefined && needsAgent(spec))
    refuse('command', 'needs it to bring inputs, requirements and checkpoints, and to take outputs; name the program');
  const python = spec.environment?.python ?? 'default';
  if (python !== 'default')
    refuse('environment.python', `has no ${JSON.stringify(python)} of this server; it takes the python3 that it finds`);
}

/** A status of one that goes on, or that ended as `phase` says. */
export function statusOf(
  phase: AttemptStatus['phase'],
  fields: Partial<Omit<AttemptStatus, 'phase'>> = {},
): AttemptStatus {
  return { phase, exitCode: null, signal: null, reason: '', startedAt: null, endedAt: null, ...fields };
}

/** As exit codes of shells tell: 128 and the number of the signal. */
const SIGNALS: Readonly<Record<number, string>> = {
  129: 'SIGHUP',
  130: 'SIGINT',
  134: 'SIGABRT',
  135: 'SIGBUS',
  136: 'SIGFPE',
  137: 'SIGKILL',
  139: 'SIGSEGV',
  143: 'SIGTERM',
};

export function signalOf(exitCode: number | null): string | null {
  return exitCode === null ? null : (SIGNALS[exitCode] ?? null);
}

/** Why a program ended, in the words of the runner on this machine. */
export function exitReason(exitCode: number): string {
  const signal = signalOf(exitCode);
  return signal === null ? `exit code ${exitCode}` : `killed by ${signal}`;
}

/** Values that must not show, written over by as many stars: offsets stay what they are. */
export function masked(log: Buffer, secrets: readonly string[]): Buffer {
  const bytes = Buffer.from(log);
  for (const secret of secrets) {
    const needle = Buffer.from(secret);
    if (needle.length < 4) continue;
    for (let at = bytes.indexOf(needle); at >= 0; at = bytes.indexOf(needle, at + needle.length))
      bytes.fill('*', at, at + needle.length);
  }
  return bytes;
}

/** A part of a log that is there as a whole. */
export function slice(log: Buffer, offset: number, limit: number, over: boolean): LogChunk {
  const bytes = log.subarray(offset, offset + limit);
  const next = offset + bytes.length;
  return { bytes, next: Math.max(offset, next), end: over && next >= log.length };
}

/** Milliseconds since 1970 of an API's time. */
export function timeOf(value: Date | string | undefined | null): number | null {
  return value === undefined || value === null ? null : new Date(value).getTime();
}
