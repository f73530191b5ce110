import type { WindowPlan } from './plan.ts';
import { newState, type WindowState } from './state.ts';

/** A state as it is kept in Redis and sent between threads. Integers beyond 2^53 are texts of their digits. */
export function encodeState({ arrived, panes, ids, offsets }: WindowState): string {
  const shown = {
    a: arrived,
    p: [...panes].map(([number, { time, parts }]) => [number, time, ...parts]),
    i: [...ids].map(([number, of]) => [number, ...of]),
    o: [...offsets],
  };
  return JSON.stringify(shown, (_, value: unknown) => (typeof value === 'bigint' ? String(value) : value));
}

interface Shown {
  a: number;
  p: [number, number, ...(WindowState['panes'] extends Map<number, { parts: (infer P)[] }> ? P[] : never)][];
  i: [number, ...string[]][];
  o: [string, number][];
}

/** Throws SyntaxError when the text is damaged. */
export function decodeState(plan: WindowPlan, text: string): WindowState {
  const { a, p, i, o } = JSON.parse(text) as Shown;
  const state = newState();
  state.arrived = a;
  for (const [number, time, ...parts] of p) {
    for (const [at, { kind, input }] of plan.accumulators.entries()) {
      if (input < 0 || plan.inputs[input].type !== 'int64') continue;
      const part = parts[at];
      if ((kind === 'min' || kind === 'max') && typeof part === 'string') parts[at] = BigInt(part);
      if (kind === 'last' && Array.isArray(part) && typeof part[1] === 'string')
        parts[at] = [part[0] as number, BigInt(part[1])];
    }
    state.panes.set(number, { time, parts });
  }
  for (const [number, ...of] of i) state.ids.set(number, new Set(of));
  for (const [source, offset] of o) state.offsets.set(source, offset);
  return state;
}
