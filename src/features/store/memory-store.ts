import { LRUCache } from 'lru-cache';
import type { View } from '../documents/catalog.ts';
import type { FeatureValue } from '../documents/values.ts';
import { type Answers, type Lookup, type OnlineStore, ownerOf, type Row } from './online-store.ts';

interface Entry {
  time: number;
  /** Of the fields that `values` are for. */
  names: readonly string[];
  values: readonly FeatureValue[];
}

/** Rows of one thread, at most so many: the least recently used go first. */
export class MemoryStore implements OnlineStore {
  readonly kind = 'memory';
  private readonly entries: LRUCache<string, Entry>;

  constructor(maxEntries: number) {
    this.entries = new LRUCache({ max: maxEntries });
  }

  read(tenant: string, lookups: readonly Lookup[]): Answers {
    return lookups.map(({ view, fields, keys }) => {
      const prefix = prefixOf(tenant, view);
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
      this.entries.set(prefix + key, { time, names: view.names, values });
      kept++;
    }
    return kept;
  }

  get size(): number {
    return this.entries.size;
  }

  close(): void {
    this.entries.clear();
  }
}

function prefixOf(tenant: string, view: View): string {
  return `${ownerOf(view, tenant)}\n${view.name}\n`;
}

/** Nearly always the same array; another one after a reload. */
function sameNames(a: readonly string[], b: readonly string[]): boolean {
  return a === b || (a.length === b.length && a.every((name, i) => name === b[i]));
}
