import type { Source } from '../../datasets/batch.ts';
import type { KafkaClients } from '../../kafka/client.ts';
import { SwitchyardError } from '../../shared/errors.ts';
import { askRefs, askService } from '../documents/ask.ts';
import type { Columns, FeatureSet, View } from '../documents/catalog.ts';
import { readColumns } from '../feast/online-features.ts';
import { checkRequestData, derive, isOnDemand } from '../online/derive.ts';
import { type EntityColumns, rowCount } from '../online/read.ts';
import { hasWindows, type WindowView } from '../windows/events.ts';
import { snapshotAt } from '../windows/replay.ts';
import { type OfflineEvents, offlineEvents } from './events.ts';
import { type FeatureColumn, frameTimes, historicalFeatures } from './historical.ts';
import type { OfflineLog } from './log.ts';
import { type OfflineRows, offlineRows, type Span } from './rows.ts';
import { snapshot } from './snapshot.ts';

export interface TrainingDataParts {
  set(): FeatureSet;
  log: OfflineLog;
  baseDir: string;
  /** Of one question. */
  maxRows: number;
  /** Undefined: no broker is configured. */
  clients(): Promise<KafkaClients | undefined>;
}

export interface KnownWish {
  tenant: string;
  /** "view:feature" each, or the name of a feature service. */
  selection: readonly string[] | string;
  /** Columns of keys, and `event_timestamp`. */
  entities: unknown;
}

/** An entity frame as it was asked about, and what was known of each row's entity at its time. */
export interface KnownRows {
  frame: EntityColumns;
  /** Milliseconds since 1970, one for each row. */
  times: number[];
  columns: FeatureColumn[];
}

/** What views hold for training: of their files, of what was pushed for it, and of their topics. */
export class TrainingData {
  private readonly parts: TrainingDataParts;

  constructor(parts: TrainingDataParts) {
    this.parts = parts;
  }

  async rows(tenant: string, view: View, span: Span): Promise<OfflineRows> {
    return offlineRows(this.parts.log, this.parts.baseDir, tenant, view, span, await this.parts.clients());
  }

  async events(tenant: string, view: WindowView): Promise<OfflineEvents> {
    return offlineEvents(this.parts.log, this.parts.baseDir, tenant, view, await this.parts.clients());
  }

  /** The same without its topic. */
  async eventsAtHand(tenant: string, view: WindowView): Promise<OfflineEvents> {
    return offlineEvents(this.parts.log, this.parts.baseDir, tenant, view, undefined);
  }

  /** What was known of entities at given times. Rejects with invalid_argument. */
  async known({ tenant, selection, entities }: KnownWish): Promise<KnownRows> {
    const frame = readColumns(entities, 'entities');
    rowCount(frame, this.parts.maxRows);
    const times = frameTimes(frame);
    const set = this.parts.set();
    const wanted = typeof selection === 'string' ? askService(set, selection) : askRefs(set, selection);
    checkRequestData(wanted, frame);
    const span = { from: Number.NEGATIVE_INFINITY, until: Number.POSITIVE_INFINITY, now: Date.now() };
    const stored = await historicalFeatures(
      wanted.selections,
      frame,
      times,
      async (view) => (await this.rows(tenant, view, span)).rows,
      async (view) => (await this.events(tenant, view)).events,
    );
    const columnOf = (view: Columns, field: number): FeatureColumn =>
      stored.find((column) => column.view === view && column.field === field) as FeatureColumn;
    const cells = ({ view, field }: { view: Columns; field: number }) => {
      const { values } = columnOf(view, field);
      return (row: number) => values[row];
    };
    const columns = wanted.asked.flatMap(({ view, fields }) =>
      fields.map((field): FeatureColumn => {
        if (!isOnDemand(view)) return columnOf(view, field);
        return { view, field, name: view.names[field], values: derive(view, field, frame, times.length, cells) };
      }),
    );
    return { frame, times, columns };
  }

  /** Of every entity of a view its newest row up to a time, within the TTL. Rejects with failed_precondition when there is none. */
  async asOf(tenant: string, view: View, at: number): Promise<Source> {
    // Up to and with that very millisecond.
    const span = { from: Number.NEGATIVE_INFINITY, until: at + 1, now: Date.now() };
    const { rows, rejected, problems } = hasWindows(view)
      ? await this.windowRows(tenant, view, at)
      : await this.rows(tenant, view, span);
    const source = snapshot(view, rows, at);
    if (source !== undefined) return source;
    const bad = rejected === 0 ? '' : ` (${rejected} lines are no rows, the first: ${problems[0]})`;
    throw new SwitchyardError(
      'failed_precondition',
      `feature view ${view.name} has no rows for training up to ${new Date(at).toISOString()}${bad}; push rows with to: offline, give the view a file or a topic, or choose another time`,
    );
  }

  /** The same of a view of aggregates: of every entity what its windows held then. */
  private async windowRows(tenant: string, view: WindowView, at: number): Promise<OfflineRows> {
    const { events, ...rest } = await this.events(tenant, view);
    return { rows: snapshotAt(view.windows, events, at), ...rest };
  }
}
