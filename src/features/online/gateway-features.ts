import type { FeaturesConfig } from '../../config/features-schema.ts';
import { buildSet, emptySet, type FeatureSet } from '../documents/catalog.ts';
import type { FeatureDocument } from '../documents/schema.ts';
import { getOnlineFeatures } from '../feast/online-features.ts';
import { FeatureJoiner } from '../serving/join.ts';
import type { Transforms } from '../serving/plan.ts';
import { createOnlineStore } from '../store/create-store.ts';
import type { OnlineStore, Row } from '../store/online-store.ts';
import { hasWindows } from '../windows/events.ts';
import type { WindowEvent } from '../windows/state.ts';
import { decodeState } from '../windows/state-text.ts';

/** Rows on their way to the memory of every gateway thread. */
export interface SpreadRows {
  tenant: string;
  view: string;
  rows?: readonly Row[];
  /** Of a view with aggregates: events, or states by entity that come in the place of those there are. */
  events?: readonly WindowEvent[];
  states?: readonly (readonly [string, string])[];
}

/** The feature store as one gateway thread reads it. Nothing in it blocks: memory answers at once, Redis later. */
export class GatewayFeatures {
  readonly store: OnlineStore;
  set: FeatureSet = emptySet();
  private transforms: Transforms = new Map();
  readonly joiner: FeatureJoiner;
  private readonly maxRows: number;

  constructor(config: FeaturesConfig) {
    this.store = createOnlineStore(config);
    this.joiner = new FeatureJoiner(
      this.store,
      () => this.set,
      () => this.transforms,
    );
    this.maxRows = config.maxRows;
  }

  setDocuments(documents: readonly FeatureDocument[], transforms: Transforms): void {
    this.transforms = transforms;
    this.set = buildSet(documents).set;
  }

  /** Rows for this thread's memory. Those of a view that is gone meanwhile are dropped. */
  take({ tenant, view: name, rows, events, states }: SpreadRows): void {
    const view = this.set.views.get(name);
    if (view === undefined) return;
    if (rows !== undefined) void this.store.write(tenant, view, rows);
    if (!hasWindows(view)) return;
    if (events !== undefined) void this.store.ingest(tenant, view, events);
    if (states !== undefined)
      void this.store.replace(
        tenant,
        view,
        new Map(states.map(([key, text]) => [key, decodeState(view.windows, text)])),
      );
  }

  /** Feast's POST /get-online-features: JSON text of the answer. Throws or rejects with SwitchyardError. */
  online(tenant: string, body: Uint8Array): string | Promise<string> {
    return getOnlineFeatures(this.store, this.set, tenant, body, this.maxRows);
  }

  close(): void {
    this.store.close();
  }
}
