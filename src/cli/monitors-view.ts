import type {
  AlertRow,
  MonitorRow,
  MonitorTraceRow,
  MonitorWindowRow,
  RequestTraceRow,
  RetrainingRow,
} from '../client/monitors.ts';
import { effectsOf, renderEffects } from './monitors-effects.ts';
import { formatTable } from './table.ts';

function time(at: number | null): string {
  return at === null || at === 0 ? '-' : new Date(at).toISOString();
}

export function renderMonitors(rows: readonly MonitorRow[]): string {
  const cells = rows.map((row) => [
    row.name,
    row.model,
    row.version || '-',
    row.level,
    row.last_window?.state ?? '-',
    retrainingOf(row),
    row.reason || '-',
  ]);
  return formatTable(['name', 'model', 'version', 'level', 'last window', 'retraining', 'reason'], cells);
}

function retrainingOf({ retraining }: MonitorRow): string {
  if (retraining === null) return '-';
  if (retraining.breaker !== '') return 'breaker open';
  if (retraining.active !== null) return `under way: ${retraining.active}`;
  return retraining.waiting === '' ? 'idle' : 'waiting';
}

export function renderMonitor(row: MonitorRow, windows: readonly MonitorWindowRow[]): string {
  const { labels, retraining } = row;
  const lines = [
    `${row.name}: ${row.level}${row.reason === '' ? '' : ` (${row.reason})`}`,
    `model ${row.model}, version ${row.version || '-'}; labels ${labels.total}, ${labels.pending} requests wait for theirs, ${labels.unmatched} labels fit none`,
  ];
  for (const { version, source, rows, columns, frozen_at } of row.references)
    lines.push(
      `reference of version ${version}: ${source}, ${rows} rows, ${columns} columns, frozen ${time(frozen_at)}`,
    );
  if (retraining !== null) {
    const { breaker, active, waiting, in_vain } = retraining;
    if (breaker !== '')
      lines.push(`retraining stopped: ${breaker}; "switchyard monitors reset ${row.name}" lets it go on`);
    else if (active !== null) lines.push(`retraining ${active} is under way`);
    else if (waiting !== '') lines.push(`retraining waits: ${waiting}`);
    else lines.push(`retraining is idle${in_vain > 0 ? `; the last ${in_vain} did not help` : ''}`);
  }
  if (row.alarms.length > 0) {
    const cells = row.alarms.map((one) => [one.signal, one.version, one.level, time(one.since), one.reason || '-']);
    lines.push('', formatTable(['signal', 'version', 'level', 'since', 'reason'], cells));
  }
  if (windows.length > 0) {
    const cells = windows.map((one) => [
      String(one.window),
      one.kind,
      one.version,
      one.state,
      String(one.rows),
      time(one.to),
      one.reason,
    ]);
    lines.push('', formatTable(['window', 'kind', 'version', 'state', 'rows', 'ended', 'reason'], cells));
    for (const kind of ['drift', 'quality']) {
      const shown = windows.find((one) => one.kind === kind && effectsOf(one).length > 0);
      if (shown !== undefined) lines.push('', renderEffects(shown));
    }
  }
  return lines.join('\n');
}

/** Each retraining as a line of descent, from requests to what serves them now. */
export function renderLineage(rows: readonly RetrainingRow[]): string {
  if (rows.length === 0) return 'nothing was retrained yet';
  return rows.map(renderRetraining).join('\n\n');
}

function renderRetraining(row: RetrainingRow): string {
  const { windows, data, promotion, rollout } = row;
  const lines = [`retraining ${row.id} of ${row.model}: ${row.status}${row.outcome === '' ? '' : `, ${row.outcome}`}`];
  const first = windows[0];
  const last = windows.at(-1);
  if (first !== undefined && last !== undefined)
    lines.push(`  requests    ${first.first_request} … ${last.last_request}`);
  for (const { window, kind, state, reason, to } of windows)
    lines.push(`  window      ${window} (${kind}) of version ${row.from_version}: ${state}, ${reason}, ${time(to)}`);
  lines.push(`  cause       ${row.cause}: ${row.reason}, ${time(row.created_at)}`);
  if (data !== null)
    lines.push(`  data        ${data.rows} labelled rows, sha256 ${data.sha256.slice(0, 12)}, ${data.file}`);
  if (data?.dataset) lines.push(`  dataset     ${data.dataset.name} version ${data.dataset.version}`);
  lines.push(`  pipeline    run ${row.pipeline_run}`);
  for (const { name, status, job, reason } of row.steps)
    lines.push(
      `    ${name.padEnd(10)}${status}${job === null ? '' : `, job ${job}`}${reason === '' ? '' : `: ${reason}`}`,
    );
  if (row.version !== '') lines.push(`  version     ${row.version} of ${row.model}`);
  if (rollout !== null) {
    lines.push(
      `  canary      route ${rollout.route}: ${rollout.phase}${rollout.reason === '' ? '' : `, ${rollout.reason}`}`,
    );
    for (const { at, message } of rollout.history) lines.push(`    ${time(at)}  ${message}`);
  }
  for (const { kind, outcome, at, actor, detail } of row.evidence)
    lines.push(`  evidence    ${kind}: ${outcome}, ${time(at)}, by ${actor}${rulesOf(detail)}`);
  if (promotion !== null)
    lines.push(
      `  promotion   ${promotion.alias}: version ${promotion.previous ?? '-'} → ${row.version}, ${time(promotion.at)}, by ${promotion.actor}: ${promotion.reason}`,
    );
  return lines.join('\n');
}

/** What each rule of a gate said. */
function rulesOf(detail: unknown): string {
  const { rules } = (detail ?? {}) as { rules?: { reason?: string }[] };
  const told = Array.isArray(rules) ? rules.flatMap(({ reason }) => (reason === undefined ? [] : [reason])) : [];
  return told.length === 0 ? '' : `: ${told.join('; ')}`;
}

export function renderAlerts(rows: readonly AlertRow[]): string {
  if (rows.length === 0) return 'nothing rang yet';
  const cells = rows.map((one) => [
    String(one.alert),
    one.signal,
    one.version,
    one.level,
    time(one.changed_at),
    time(one.begun_at),
    one.ended_at === null ? 'it goes on' : `${time(one.ended_at)}, ${one.end_reason}`,
    one.reason,
  ]);
  return formatTable(['alert', 'signal', 'version', 'level', 'changed', 'begun', 'ended', 'reason'], cells);
}

const NOT_COUNTED: Record<MonitorTraceRow['counted'], string> = {
  window: '',
  reference: 'part of the reference',
  open: 'in a window that has not ended',
  no: 'not counted',
};

/** One request, from its record to what serves now. */
export function renderTrace(trace: RequestTraceRow): string {
  const { request, place, reason, problems, searched } = trace;
  const lines = [`request ${trace.id}`];
  if (place !== '') lines.push(`  record      ${place}`);
  else lines.push(`  record      none; looked in ${searched.join(', ') || 'nothing'}`);
  if (request !== null) {
    const { model, version, route, variant, status, tenant, entity } = request;
    const by = route === '' ? '' : `, route ${route}${variant === '' ? '' : ` (${variant})`}`;
    const who = [tenant === '' ? '' : `tenant ${tenant}`, entity === '' ? '' : `entity ${entity}`].filter(Boolean);
    lines.push(`  time        ${time(request.time)}`);
    lines.push(
      `  answered    by version ${version || '-'} of ${model || '-'}${by}${status === '' ? '' : `: ${status}`}`,
    );
    if (who.length > 0) lines.push(`  for         ${who.join(', ')}`);
  }
  if (reason !== '') lines.push(`  note        ${reason}`);
  for (const problem of problems) lines.push(`  problem     ${problem}`);
  for (const monitor of trace.monitors) lines.push('', ...traced(monitor));
  return lines.join('\n');
}

function traced({ monitor, counted, reason, windows, alerts, retrainings }: MonitorTraceRow): string[] {
  const lines = [`monitor ${monitor}`];
  if (counted !== 'window') lines.push(`  counted     ${NOT_COUNTED[counted]}${reason === '' ? '' : `: ${reason}`}`);
  for (const one of windows) {
    const sure = one.certain ? '' : ' (or a neighbour)';
    const why = one.reason === '' ? '' : `, ${one.reason}`;
    lines.push(`  window      ${one.window} (${one.kind}) of version ${one.version}${sure}: ${one.state}${why}`);
  }
  for (const one of alerts) {
    const end = one.ended_at === null ? '' : `, ended ${time(one.ended_at)}: ${one.end_reason}`;
    lines.push(`  ${one.level.padEnd(12)}${one.signal}: ${one.reason}, since ${time(one.begun_at)}${end}`);
  }
  for (const row of retrainings) {
    const why = row.by.map((by) => (by === 'alert' ? 'its window rang' : 'it was learnt from')).join(', ');
    lines.push(`because ${why}:`, renderRetraining(row));
  }
  if (retrainings.length === 0) lines.push('  retraining  none followed from it');
  return lines;
}
