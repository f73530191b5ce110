import type { Selection, View } from '../documents/catalog.ts';
import type { FeatureValue } from '../documents/values.ts';
import type { WindowView } from '../windows/events.ts';
import type { EventOutcome, WindowEvent, WindowState } from '../windows/state.ts';

/** One row to be kept: what was true of an entity at a time. */
export interface Row {
  /** As `entityKey` made it. */
  key: string;
  /** Milliseconds since 1970. */
  time: number;
  /** One for each field of the view. Null: the entity has been deleted, and has none from then on. */
  values: readonly FeatureValue[] | null;
}

/** What is kept of an entity: the fields asked for, in that order; undefined: the field was not there when it was written. */
export interface Found {
  time: number;
  values: readonly (FeatureValue | undefined)[];
}

export interface Lookup extends Selection {
  keys: readonly string[];
}

/** By lookup, then key; undefined: nothing is kept. */
export type Answers = readonly (readonly (Found | undefined)[])[];

/** How many events had which outcome. */
export type IngestCounts = Record<EventOutcome, number>;

export function noCounts(): IngestCounts {
  return { kept: 0, late: 0, duplicate: 0 };
}

/**
 * The newest values of each entity. The row with the newest event time wins, in whatever order rows come; of two with the
 * same time the later one. Of views with aggregates it keeps states of windows instead, which `read` reads as of now.
 */
export interface OnlineStore {
  readonly kind: 'memory' | 'redis';
  /** All of it in one round trip. Rejects with unavailable. */
  read(tenant: string, lookups: readonly Lookup[]): Answers | Promise<Answers>;
  /** Resolves with how many rows with values were new enough to be kept. Rejects with unavailable; some rows may be written then. */
  write(tenant: string, view: View, rows: readonly Row[]): number | Promise<number>;
  /** Takes events into the windows of their entities, each entity at once or not at all. Rejects as write does. */
  ingest(tenant: string, view: WindowView, events: readonly WindowEvent[]): IngestCounts | Promise<IngestCounts>;
  /** Puts states in the place of those there are. Rejects as write does. */
  replace(tenant: string, view: WindowView, states: ReadonlyMap<string, WindowState>): void | Promise<void>;
  close(): void;
}

/** Whose values a view's are for a caller. No tenant is named ''. */
export function ownerOf(view: View, tenant: string): string {
  return view.shared ? '' : tenant;
}
