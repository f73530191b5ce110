import type { FeatureValue } from '../documents/values.ts';
import type { Row } from '../store/online-store.ts';
import type { WindowPlan } from './plan.ts';
import { applyEvent, newState, readWindows, type WindowEvent, type WindowState } from './state.ts';

/** Events in order of arrival, put into states by entity. */
class Replay {
  readonly states = new Map<string, WindowState>();
  private readonly plan: WindowPlan;
  private readonly events: readonly WindowEvent[];
  private next = 0;

  constructor(plan: WindowPlan, events: readonly WindowEvent[]) {
    this.plan = plan;
    this.events = events.toSorted((a, b) => a.arrived - b.arrived);
  }

  /** Takes what had arrived by then. */
  until(time: number): void {
    for (; this.next < this.events.length && this.events[this.next].arrived <= time; this.next++) {
      const event = this.events[this.next];
      let state = this.states.get(event.key);
      if (state === undefined) {
        state = newState();
        this.states.set(event.key, state);
      }
      applyEvent(this.plan, state, event);
    }
  }
}

/** The states that all events make. */
export function statesOf(plan: WindowPlan, events: readonly WindowEvent[]): Map<string, WindowState> {
  const replay = new Replay(plan, events);
  replay.until(Number.POSITIVE_INFINITY);
  return replay.states;
}

/** The features of every entity as of a time, from the events that had arrived by then. */
export function snapshotAt(plan: WindowPlan, events: readonly WindowEvent[], at: number): Row[] {
  const replay = new Replay(plan, events);
  replay.until(at);
  const fields = plan.reads.map((_, i) => i);
  return [...replay.states].flatMap(([key, state]) => {
    const found = readWindows(plan, state, at, fields);
    return found === undefined ? [] : [{ key, ...found }];
  });
}

/**
 * What the online store would have answered: for each label the features of its entity at its time, from the events that
 * had arrived by then. One list for each label, null where no window had an event.
 */
export function windowsAt(
  plan: WindowPlan,
  events: readonly WindowEvent[],
  keys: readonly string[],
  times: readonly number[],
  fields: readonly number[],
): (FeatureValue[] | null)[] {
  const replay = new Replay(plan, events);
  const found = new Array<FeatureValue[] | null>(keys.length).fill(null);
  for (const label of times.map((_, i) => i).sort((a, b) => times[a] - times[b])) {
    replay.until(times[label]);
    const state = replay.states.get(keys[label]);
    if (state !== undefined) found[label] = readWindows(plan, state, times[label], fields)?.values ?? null;
  }
  return found;
}
