import { createHash } from 'node:crypto';
import { invalidArgument } from '../../shared/errors.ts';
import { entityKey, type View } from '../documents/catalog.ts';
import { readFeature, readTime, type Scalar } from '../documents/values.ts';
import { distinctHash } from './distinct.ts';
import { MAX_TERM } from './exact-sum.ts';
import { type EventInput, MAX_AHEAD_MS, type WindowPlan } from './plan.ts';
import type { WindowEvent } from './state.ts';

export interface WindowView extends View {
  windows: WindowPlan;
}

export function hasWindows(view: View): view is WindowView {
  return view.windows !== undefined;
}

/** Columns that an event must have, if only as null. */
export function eventColumns({ joinKeys, timestamp, windows }: WindowView): string[] {
  const columns = [...joinKeys.map(({ name }) => name), timestamp, ...windows.inputs.map(({ column }) => column)];
  if (windows.id !== undefined) columns.push(windows.id);
  return [...new Set(columns)];
}

/** An event whose clock is ahead. It is refused; later it would have been taken. */
export class AheadError extends Error {}

/**
 * One event of named values. Throws invalid_argument, or AheadError; `where` says which one it is.
 * @param arrived when it came, milliseconds since 1970; undefined: when it happened
 * @param now the server's clock; Infinity for what lies in the past
 */
export function eventOf(
  view: WindowView,
  valueAt: (name: string) => unknown,
  arrived: number | undefined,
  now: number,
  where: string,
): WindowEvent {
  const { id, inputs } = view.windows;
  const time = readTime(valueAt(view.timestamp), `${where}${view.timestamp}`);
  const came = arrived ?? time;
  const ahead = Math.max(time - came, came - now);
  if (ahead > MAX_AHEAD_MS)
    throw new AheadError(
      `${where}${view.timestamp} is ${new Date(time).toISOString()}, and a clock is ${Math.round(ahead / 1000)} s ahead; ${MAX_AHEAD_MS / 1000} s are allowed`,
    );
  const event: WindowEvent = {
    key: entityKey(view, valueAt, where),
    time,
    arrived: came,
    cells: inputs.map((input) => cellOf(input, valueAt(input.column) ?? null, `${where}${input.column}`)),
  };
  if (id !== undefined) event.id = idOf(valueAt(id), `${where}${id}`);
  return event;
}

/** An event of a message or a line: every column must be named. Throws as eventOf does. */
export function eventOfObject(view: WindowView, value: unknown, arrived: number | undefined, now: number): WindowEvent {
  if (typeof value !== 'object' || value === null || Array.isArray(value))
    throw invalidArgument('an event must be a JSON object');
  const row = value as Record<string, unknown>;
  const missing = eventColumns(view).filter((name) => !Object.hasOwn(row, name));
  if (missing.length > 0)
    throw invalidArgument(`feature view ${view.name} needs ${missing.slice(0, 20).join(', ')} too, if only as null`);
  return eventOf(view, (name) => (Object.hasOwn(row, name) ? row[name] : undefined), arrived, now, '');
}

function cellOf({ type }: EventInput, value: unknown, what: string): Scalar | null {
  if (value === null) return null;
  if (type === 'present') return true;
  if (type === 'hash') {
    if (typeof value === 'object')
      throw invalidArgument(`${what} must be one value, not ${JSON.stringify(value)?.slice(0, 80)}`);
    return distinctHash(String(value));
  }
  const cell = readFeature(type, 0, value, what) as Scalar | null;
  if (typeof cell === 'number' && !(Math.abs(cell) <= MAX_TERM))
    throw invalidArgument(
      `${what} is ${cell}; finite numbers up to ${MAX_TERM} are aggregated, and null where there is none`,
    );
  // States are kept as JSON, which knows no -0.
  return typeof cell === 'number' ? cell + 0 : cell;
}

/** 72 bits of its hash: ids may be long. */
function idOf(value: unknown, what: string): string {
  if ((typeof value === 'string' && value !== '') || typeof value === 'number')
    return createHash('sha256').update(String(value)).digest().toString('base64url', 0, 9);
  throw invalidArgument(
    `${what} tells events apart, and must be a text or a number, not ${JSON.stringify(value)?.slice(0, 80)}`,
  );
}
