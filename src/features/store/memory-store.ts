import { LRUCache } from 'lru-cache';
import type { View } from '../documents/catalog.ts';
import type { FeatureValue } from '../documents/values.ts';
import { hasWindows, type WindowView } from '../windows/events.ts';
import { applyEvent, expiryOf, newState, readWindows, type WindowEvent, type WindowState } from '../windows/state.ts';
import {
  type Answers,
  type Found,
  type IngestCounts,
  type Lookup,
  noCounts,
  type OnlineStore,
  ownerOf,
  type Row,
} from './online-store.ts';

interface Entry {
  time: number;
  /** Of the fields that `values` are for. */
  names: readonly string[];
  values: readonly FeatureValue[];
}

interface KeptWindows {
  state: WindowState;
  expires: number;
}

/** Rows of one thread, at most so many: the least recently used go first. As many states of windows beside them. */
export class MemoryStore implements OnlineStore {
  readonly kind = 'memory';
  /** States of windows that were dropped before they expired: their entities' aggregates are too small since. */
  dropped = 0;
  private readonly entries: LRUCache<string, Entry>;
  private readonly windows: LRUCache<string, KeptWindows>;
  private readonly now: () => number;

  constructor(maxEntries: number, now: () => number = Date.now) {
    this.now = now;
    this.entries = new LRUCache({ max: maxEntries });
    this.windows = new LRUCache({
      max: maxEntries,
      dispose: ({ expires }, _key, reason) => {
        if (reason === 'evict' && expires > this.now()) this.dropped++;
      },
    });
  }

  read(tenant: string, lookups: readonly Lookup[]): Answers {
    const now = this.now();
    return lookups.map(({ view, fields, keys }) => {
      const prefix = prefixOf(tenant, view);
      if (hasWindows(view))
        return keys.map((key): Found | undefined => this.readState(view, prefix + key, now, fields));
      return keys.map((key) => {
        const entry = this.entries.get(prefix + key);
        if (entry === undefined) return undefined;
        const { time, names, values } = entry;
        if (sameNames(names, view.names)) return { time, values: fields.map((field) => values[field]) };
        // The view has changed since.
        return { time, values: fields.map((field) => values[names.indexOf(view.names[field])]) };
      });
    });
  }

  write(tenant: string, view: View, rows: readonly Row[]): number {
    const prefix = prefixOf(tenant, view);
    let kept = 0;
    for (const { key, time, values } of rows) {
      const before = this.entries.peek(prefix + key);
      if (before !== undefined && before.time > time) continue;
      // What is deleted is remembered: an older row that comes later must not bring it back.
      this.entries.set(
        prefix + key,
        values === null ? { time, names: [], values: [] } : { time, names: view.names, values },
      );
      if (values !== null) kept++;
    }
    return kept;
  }

  ingest(tenant: string, view: WindowView, events: readonly WindowEvent[]): IngestCounts {
    const prefix = prefixOf(tenant, view);
    const counts = noCounts();
    for (const event of events) {
      const state = this.windows.peek(prefix + event.key)?.state ?? newState();
      counts[applyEvent(view.windows, state, event)]++;
      this.windows.set(prefix + event.key, { state, expires: expiryOf(view.windows, state) });
    }
    return counts;
  }

  replace(tenant: string, view: WindowView, states: ReadonlyMap<string, WindowState>): void {
    const prefix = prefixOf(tenant, view);
    for (const [key, state] of states)
      this.windows.set(prefix + key, { state, expires: expiryOf(view.windows, state) });
  }

  private readState(view: WindowView, key: string, now: number, fields: readonly number[]): Found | undefined {
    const kept = this.windows.get(key);
    if (kept === undefined) return undefined;
    if (kept.expires >= now) return readWindows(view.windows, kept.state, now, fields);
    this.windows.delete(key);
    return undefined;
  }

  get size(): number {
    return this.entries.size;
  }

  close(): void {
    this.entries.clear();
    this.windows.clear();
  }
}

function prefixOf(tenant: string, view: View): string {
  return `${ownerOf(view, tenant)}\n${view.name}\n${view.windows === undefined ? '' : `${view.windows.layout}\n`}`;
}

/** Nearly always the same array; another one after a reload. */
function sameNames(a: readonly string[], b: readonly string[]): boolean {
  return a === b || (a.length === b.length && a.every((name, i) => name === b[i]));
}
