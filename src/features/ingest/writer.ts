import { invalidArgument, SwitchyardError } from '../../shared/errors.ts';
import { type FeatureSet, type View, viewOf } from '../documents/catalog.ts';
import { readColumns } from '../feast/online-features.ts';
import type { OfflineEvents } from '../offline/events.ts';
import type { OfflineLog } from '../offline/log.ts';
import type { TrainingData } from '../offline/training-data.ts';
import type { SpreadRows } from '../online/gateway-features.ts';
import type { EntityColumns } from '../online/read.ts';
import type { IngestCounts, OnlineStore, Row } from '../store/online-store.ts';
import { hasWindows, type WindowView } from '../windows/events.ts';
import { statesOf } from '../windows/replay.ts';
import type { WindowEvent } from '../windows/state.ts';
import { encodeState } from '../windows/state-text.ts';
import { Turns } from '../windows/turns.ts';
import { addCount, type ViewCounts } from './counts.ts';
import { eventsOf, rowsOf } from './rows.ts';

export interface FeatureWriterParts {
  set(): FeatureSet;
  store: OnlineStore;
  offline: OfflineLog;
  /** Of one push. */
  maxRows: number;
  /** Puts rows into the memory of every gateway thread. */
  spread(rows: SpreadRows): void;
  data: Pick<TrainingData, 'eventsAtHand'>;
}

export interface PushResult {
  /** Rows that came, and those of them that were not older than what is kept. */
  rows: number;
  kept: number;
}

const DESTINATIONS = ['online', 'offline', 'online_and_offline'] as const;
type Destination = (typeof DESTINATIONS)[number];

/** All that changes what is kept of features: pushes, rows and events of topics, windows made anew. */
export class FeatureWriter {
  readonly counts = { pushed: 0, kept: 0 };
  /** Pushed events, by view and what became of them. */
  readonly events: ViewCounts = new Map();
  private readonly parts: FeatureWriterParts;
  /** Who changes the windows of a view. */
  private readonly turns = new Turns();

  constructor(parts: FeatureWriterParts) {
    this.parts = parts;
  }

  /** Rows for the views with this push source. @param df columns by name */
  async push(tenant: string, source: string, df: unknown, to: unknown): Promise<PushResult> {
    if (!DESTINATIONS.includes(to as Destination))
      throw invalidArgument(
        `to: ${JSON.stringify(to)?.slice(0, 100)} is not a supported push format; allowed: ${DESTINATIONS.join(', ')}`,
      );
    const views = [...this.parts.set().views.values()].filter((view) => pushName(view) === source);
    if (views.length === 0) {
      const there = [...new Set([...this.parts.set().views.values()].map(pushName))].slice(0, 20).join(', ') || 'none';
      throw new SwitchyardError(
        'not_found',
        `Unable to find push source ${JSON.stringify(source)}; there are ${there}`,
      );
    }
    const columns = readColumns(df, 'df');
    // All of them are checked before any is written.
    const writes = views.map((view) => this.writeOf(tenant, view, columns, to as Destination));
    const result: PushResult = { rows: 0, kept: 0 };
    for (const write of writes) {
      const { rows, kept } = await write();
      result.rows += rows;
      result.kept += kept;
    }
    return result;
  }

  /** Rows for one view, into the online store. @param df columns by name */
  async write(tenant: string, name: string, df: unknown): Promise<PushResult> {
    const view = viewOf(this.parts.set(), name);
    const columns = new Map(readColumns(df, 'df'));
    // Feast's own clients call it so, whatever the source's column is called.
    const time = columns.get('event_timestamp');
    if (!columns.has(view.timestamp) && time !== undefined) columns.set(view.timestamp, time);
    return this.writeOf(tenant, view, columns, 'online')();
  }

  /** Checks rows; the returned function writes them. Throws invalid_argument. */
  private writeOf(tenant: string, view: View, columns: EntityColumns, to: Destination): () => Promise<PushResult> {
    if (hasWindows(view)) return this.eventWrite(tenant, view, columns, to);
    const rows = rowsOf(view, columns, this.parts.maxRows, Date.now());
    return async () => {
      if (to !== 'online') await this.parts.offline.append(tenant, view, rows);
      return { rows: rows.length, kept: to === 'offline' ? 0 : await this.put(tenant, view, rows) };
    };
  }

  /** The same for events of a view with aggregates. */
  private eventWrite(
    tenant: string,
    view: WindowView,
    columns: EntityColumns,
    to: Destination,
  ): () => Promise<PushResult> {
    const now = Date.now();
    const events = eventsOf(view, columns, this.parts.maxRows, now);
    return () =>
      this.turns.take(view.name, async () => {
        if (to !== 'online') await this.parts.offline.appendEvents(tenant, view, columns, events.length, now);
        if (to === 'offline') return { rows: events.length, kept: 0 };
        const counts = await this.ingest(tenant, view, events);
        for (const [result, count] of Object.entries(counts)) addCount(this.events, view.name, result, count);
        return { rows: events.length, kept: counts.kept };
      });
  }

  /** Events that were checked before, into the windows of their entities. */
  async ingest(tenant: string, view: WindowView, events: readonly WindowEvent[]): Promise<IngestCounts> {
    const counts = await this.parts.store.ingest(tenant, view, events);
    if (this.parts.store.kind === 'memory') this.parts.spread({ tenant, view: view.name, events });
    this.counts.pushed += events.length;
    this.counts.kept += counts.kept;
    return counts;
  }

  /** Rows that were checked before, such as those of a topic. Resolves with how many were kept. */
  async put(tenant: string, view: View, rows: readonly Row[]): Promise<number> {
    const kept = await this.parts.store.write(tenant, view, rows);
    if (this.parts.store.kind === 'memory') this.parts.spread({ tenant, view: view.name, rows });
    this.counts.pushed += rows.length;
    this.counts.kept += kept;
    return kept;
  }

  /** Makes the windows of a view anew, of its file and what was pushed for training. */
  async rebuild(tenant: string, view: WindowView): Promise<OfflineEvents & { kept: number }> {
    if (view.document.spec.source.kafka !== undefined)
      return { events: [], rejected: 0, problems: [`the windows of ${view.name} are made of its topic`], kept: 0 };
    return this.turns.take(view.name, async () => {
      const found = await this.parts.data.eventsAtHand(tenant, view);
      const states = statesOf(view.windows, found.events);
      await this.parts.store.replace(tenant, view, states);
      if (this.parts.store.kind === 'memory') {
        const texts = [...states].map(([key, state]) => [key, encodeState(state)] as const);
        this.parts.spread({ tenant, view: view.name, states: texts });
      }
      return { ...found, kept: found.events.length };
    });
  }
}

function pushName({ name, document }: View): string {
  return document.spec.source.push ?? name;
}
