import { lineStarting } from '../shared/file-search.ts';
import type { AlertRow, AlertStore } from './alert-store.ts';
import type { MonitorDocument } from './document.ts';
import type { JudgedWindowStore, WindowRow } from './judged-window-store.ts';
import type { Lineage } from './lineage.ts';
import type { RequestFacts } from './record-search.ts';
import type { RetrainingRow, RetrainingStore } from './retraining-store.ts';
import type { Reference } from './types.ts';

/** Where a request was counted by one monitor, and what followed from it. */
export interface MonitorTrace {
  monitor: string;
  /** window: in those below · reference: it is part of what windows are held against · open: in one that has not ended · no */
  counted: 'window' | 'reference' | 'open' | 'no';
  reason: string;
  windows: TracedWindow[];
  alerts: AlertRow[];
  retrainings: (Lineage & { by: TraceReason[] })[];
}

/** alert: its window is one of those that rang · data: its labelled row was learnt from. */
export type TraceReason = 'alert' | 'data';

export interface TracedWindow {
  window: number;
  kind: 'drift' | 'quality';
  state: string;
  reason: string;
  version: string;
  rows: number;
  from: number;
  to: number;
  /** False: its time fits more than one window, or only nearly this one. */
  certain: boolean;
}

/** Records of several gateway threads come in an order that differs a little from that of their times. */
const SLACK_MS = 100;
const MOST_RETRAININGS = 200;

interface TraceParts {
  judged: JudgedWindowStore;
  retrainings: RetrainingStore;
  alerts: AlertStore;
  references: readonly Reference[];
  lineage(row: RetrainingRow): Promise<Lineage>;
}

/**
 * What one monitor made of a request. Nothing is kept for each request: its windows are found by its time, model and
 * version, its retrainings by the alarms of these windows and by the files that were learnt from.
 * @param known false: status, route and the like are not known, only what the asker said
 */
export async function traceIn(
  { metadata: { name }, spec }: MonitorDocument,
  facts: RequestFacts,
  known: boolean,
  { judged, retrainings: begun, alerts, references, lineage }: TraceParts,
): Promise<MonitorTrace> {
  const empty: MonitorTrace = { monitor: name, counted: 'no', reason: '', windows: [], alerts: [], retrainings: [] };
  const reason = known ? notCounted(spec, facts) : '';
  if (reason !== '') return { ...empty, reason };
  const { time, version } = facts;
  const around = await judged.between(name, version, time - SLACK_MS, time + SLACK_MS);
  const learnt = learntFrom(spec, facts, references);
  const windows = [
    ...chosen(
      around.filter(({ kind }) => kind === 'drift'),
      time,
      learnt === '',
    ),
    // Rows come into windows of quality with their labels: these overlap, and each that spans the time may have it.
    ...around.filter(({ kind, from, to }) => kind === 'quality' && from <= time && time <= to),
  ];
  const drift = windows.filter(({ kind }) => kind === 'drift');
  const traced = windows.map((window): TracedWindow => {
    const alone = windows.filter(({ kind, body }) => kind === window.kind && metricOf(body) === metricOf(window.body));
    const certain = alone.length === 1 && window.from <= time && time <= window.to;
    const { key, kind, state, reason: told, rows, from, to } = window;
    return { window: key, kind, state, reason: told, version: window.version, rows, from, to, certain };
  });
  const rang = await alertsOf(alerts, name, version, windows);
  const rows = await begun.since(name, time, MOST_RETRAININGS);
  const retrainings: MonitorTrace['retrainings'] = [];
  for (const row of rows) {
    const by: TraceReason[] = [];
    const fits = (alert: AlertRow): boolean =>
      alert.changedAt === row.changedAt && (row.cause === 'drift') === (alert.signal === 'drift');
    if ((row.cause === 'drift' || row.cause === 'quality') && row.fromVersion === version && rang.some(fits))
      by.push('alert');
    if (await wasLearnt(row, facts)) by.push('data');
    if (by.length > 0) retrainings.push({ ...(await lineage(row)), by });
  }
  const where =
    drift.length > 0 ? { counted: 'window' as const, reason: '' } : await otherwise(name, facts, learnt, judged);
  return { ...empty, ...where, windows: traced, alerts: rang, retrainings };
}

/** Why a monitor leaves out such a request; '' = it does not. The same rules as in stream.ts. */
function notCounted({ model, route }: MonitorDocument['spec'], facts: RequestFacts): string {
  if (facts.model !== model) return `it was for model ${facts.model || '(none)'}`;
  if (facts.status !== 'ok') return `it failed (${facts.status}): only answered requests count`;
  if (facts.shadow) return 'it is a copy to a shadow';
  if (route !== undefined && facts.route !== route)
    return `the monitor counts route ${route}, and it came by ${facts.route || 'no route'}`;
  return '';
}

/** The windows whose times hold it; none: the nearest one, if that may have it. */
function chosen(windows: readonly WindowRow[], time: number, nearly: boolean): WindowRow[] {
  const within = windows.filter(({ from, to }) => from <= time && time <= to);
  if (within.length > 0 || !nearly) return within;
  const gap = ({ from, to }: WindowRow): number => Math.max(from - time, time - to);
  return [...windows].sort((a, b) => gap(a) - gap(b)).slice(0, 1);
}

/** Why it is part of the reference when no window has it; '' = it is not. One from a file has no requests in it. */
function learntFrom(
  { reference }: MonitorDocument['spec'],
  { time, version, digest }: RequestFacts,
  references: readonly Reference[],
): string {
  if (reference.records === undefined) return '';
  const own = references.find((one) => one.version === version && (digest === '' || one.digest === digest));
  if (own === undefined)
    return `version ${version} has no reference yet, or it was reset: the request is part of the one that is learnt`;
  return time <= own.frozenAt ? `it came before the reference was frozen, which is ${own.source}` : '';
}

/** Where it is when no window has it. */
async function otherwise(
  monitor: string,
  { time, version }: RequestFacts,
  learnt: string,
  judged: JudgedWindowStore,
): Promise<Pick<MonitorTrace, 'counted' | 'reason'>> {
  if (learnt !== '') return { counted: 'reference', reason: learnt };
  const newer = await judged.between(monitor, version, time, Number.MAX_SAFE_INTEGER);
  if (newer.some(({ kind, from }) => kind === 'drift' && from > time))
    return { counted: 'no', reason: 'no window of that time is kept: see monitoring.keepWindows' };
  return { counted: 'open', reason: 'its window has not ended, or the server ended before it did' };
}

/** The alarms that windows belong to, each once. */
async function alertsOf(
  alerts: AlertStore,
  monitor: string,
  version: string,
  windows: readonly WindowRow[],
): Promise<AlertRow[]> {
  const found = new Map<number, AlertRow>();
  for (const { kind, state, body, from, to } of windows) {
    if (state !== 'drifted' && state !== 'bad') continue;
    const signal = kind === 'drift' ? 'drift' : metricOf(body);
    for (const alert of await alerts.during(monitor, version, from, to))
      if (alert.signal === signal) found.set(alert.key, alert);
  }
  return [...found.values()];
}

function metricOf(body: unknown): string {
  return String((body as { metric?: string } | null)?.metric ?? '');
}

/** Whether the file of a retraining has a row of the request. */
async function wasLearnt({ dataset }: RetrainingRow, { id, time }: RequestFacts): Promise<boolean> {
  if (dataset === null || time < dataset.from - SLACK_MS || time > dataset.to + SLACK_MS) return false;
  if (id === dataset.firstId || id === dataset.lastId) return true;
  // The file may have been taken away: it is only a copy.
  return (await lineStarting(dataset.file, `${id},`).catch(() => undefined)) !== undefined;
}
