import type { RegistryDatabase } from '../registry/database/database.ts';
import type { AlertStore } from './alert-store.ts';
import type { MonitorDocument } from './document.ts';
import type { JudgedWindowStore } from './judged-window-store.ts';
import type { Lineage } from './lineage.ts';
import type { RecordSearch, RecordSource, RequestFacts } from './record-search.ts';
import type { RetrainingRow, RetrainingStore } from './retraining-store.ts';
import { type MonitorTrace, traceIn } from './trace.ts';
import { nearWindows } from './trace-store.ts';
import type { Reference } from './types.ts';

/** What a person knows of a request; for one whose record is gone, all three are wanted. */
export interface GivenFacts {
  model?: string;
  version?: string;
  /** About when it was; milliseconds since 1970. */
  time?: number;
}

/** A request, and what became of it. Times are milliseconds since 1970. */
export interface RequestTrace {
  id: string;
  /** Where its record is kept; '' = nowhere that was looked. */
  place: string;
  /** What is wanting, and what was gone by instead; '' = nothing. */
  reason: string;
  /** Of the oldest record that is kept. */
  oldest_record: number | null;
  searched: string[];
  problems: string[];
  request: RequestFacts | null;
  /** The record as the log has it. */
  record: unknown;
  /** One for each monitor of its model. */
  monitors: MonitorTrace[];
}

export interface TraceSources {
  documents: readonly MonitorDocument[];
  references(monitor: string): readonly Reference[];
  records: RecordSource;
  database: RegistryDatabase;
  judged: JudgedWindowStore;
  retrainings: RetrainingStore;
  alerts: AlertStore;
  lineage(row: RetrainingRow): Promise<Lineage>;
}

/** About a time that a person gave, or that other requests' ids tell. */
const ABOUT_MS = 600_000;

export async function traceRequest(id: string, given: GivenFacts, sources: TraceSources): Promise<RequestTrace> {
  const { database, records } = sources;
  const near = await nearWindows(database, id);
  const range =
    given.time === undefined
      ? { from: near.range.from - ABOUT_MS, to: near.range.to + ABOUT_MS }
      : { from: given.time - ABOUT_MS, to: given.time + ABOUT_MS };
  const search = await records.find(id, range);
  const { found, place, searched, problems, oldest: oldest_record } = search;
  const base = { id, place, searched, problems, oldest_record };
  if (found !== undefined) {
    const monitors = await inAll(found, true, sources);
    const reason = monitors.length > 0 ? '' : `no monitor watches model ${found.model || '(none)'}`;
    return { ...base, reason, request: found, record: JSON.parse(search.json), monitors };
  }
  const gone = whyGone(search, near.range.to);
  const nothing = { ...base, request: null, record: null };
  const { model, version, time } = given;
  if (model !== undefined && version !== undefined && time !== undefined) {
    const facts = factsFor(id, model, version, time);
    const monitors = await inAll(facts, false, sources);
    return {
      ...nothing,
      reason: `${gone}; model, version and time are those that were given`,
      request: facts,
      monitors,
    };
  }
  const monitors = await byPlace(id, near.windows, given, sources);
  const how =
    monitors.length > 0
      ? 'the windows are those between whose first and last request its id lies'
      : 'give the model, the version and the time of the request to find its window';
  return { ...nothing, reason: `${gone}; ${how}`, monitors };
}

function inAll(facts: RequestFacts, known: boolean, sources: TraceSources): Promise<MonitorTrace[]> {
  const own = sources.documents.filter(({ spec }) => spec.model === facts.model);
  return Promise.all(own.map((document) => inOne(document, facts, known, sources)));
}

function inOne(document: MonitorDocument, facts: RequestFacts, known: boolean, sources: TraceSources) {
  const references = sources.references(document.metadata.name);
  return traceIn(document, facts, known, { ...sources, references });
}

/** Without a record: a window of each monitor that has requests of the same gateway thread before and behind it. */
async function byPlace(
  id: string,
  keys: readonly number[],
  given: GivenFacts,
  sources: TraceSources,
): Promise<MonitorTrace[]> {
  const windows = (await sources.judged.byKey(keys)).filter(
    ({ kind, version }) => kind === 'drift' && (given.version === undefined || version === given.version),
  );
  const traces: MonitorTrace[] = [];
  for (const { monitor, version, from, to } of windows) {
    const document = sources.documents.find(({ metadata }) => metadata.name === monitor);
    if (document === undefined || (given.model !== undefined && document.spec.model !== given.model)) continue;
    const facts = factsFor(id, document.spec.model, version, Math.round((from + to) / 2));
    const trace = await inOne(document, facts, false, sources);
    traces.push({ ...trace, windows: trace.windows.map((window) => ({ ...window, certain: false })) });
  }
  return traces;
}

function factsFor(id: string, model: string, version: string, time: number): RequestFacts {
  const unknown = { digest: '', route: '', variant: '', status: '', tenant: '', entity: '', shadow: false };
  return { id, model, version, time, ...unknown };
}

function whyGone({ searched, oldest }: RecordSearch, before: number): string {
  if (searched.length === 0)
    return 'this server keeps no records of requests: its log is off, or has no sink that can be read';
  if (oldest === null) return 'no record of it is kept, nor any other';
  const at = new Date(oldest).toISOString();
  if (before < oldest) return `its record has left retention: the oldest that is kept is of ${at}`;
  return `no record of it is kept: it was sampled out, or never logged, or has left retention (the oldest is of ${at})`;
}
