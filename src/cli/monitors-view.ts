import type { MonitorRow, MonitorWindowRow, RetrainingRow } from '../client/monitors.ts';
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
  if (promotion !== null)
    lines.push(
      `  promotion   ${promotion.alias}: version ${promotion.previous ?? '-'} → ${row.version}, ${time(promotion.at)}, by ${promotion.actor}: ${promotion.reason}`,
    );
  return lines.join('\n');
}
