import type { ServerProcess } from './server-process.ts';

/** The event log's metrics by name and labels, without the common prefix: 'sink_sent_total{sink="files",kind="files"}'. */
export async function logFigures(server: ServerProcess): Promise<Map<string, number>> {
  const text = await (await fetch(`http://127.0.0.1:${server.ports.metrics}/metrics`)).text();
  const figures = new Map<string, number>();
  for (const line of text.split('\n')) {
    const match = /^switchyard_eventlog_(\S+) (\S+)$/.exec(line);
    if (match !== null) figures.set(match[1], Number(match[2]));
  }
  return figures;
}

/** Sum over all labels. */
export function total(figures: ReadonlyMap<string, number>, name: string): number {
  let sum = 0;
  for (const [key, value] of figures) if (key === name || key.startsWith(`${name}{`)) sum += value;
  return sum;
}

/** What is left of the two identities that hold at every moment: 0, and 0 for each sink. */
export function unaccounted(figures: ReadonlyMap<string, number>): Record<string, number> {
  const of = (name: string): number => total(figures, name);
  const left: Record<string, number> = {
    handover:
      of('requests_total') +
      of('feedback_total') -
      of('sampled_out_total') -
      of('dropped_total') -
      of('waiting_records') -
      of('spooled_total'),
  };
  for (const [key, sent] of figures) {
    const match = /^sink_sent_total(\{.*\})$/.exec(key);
    if (match === null) continue;
    const own = (name: string): number => figures.get(`${name}${match[1]}`) ?? Number.NaN;
    left[match[1]] =
      own('sink_recovered_records') +
      of('spooled_total') -
      sent -
      own('sink_refused_total') -
      own('sink_lost_total') -
      own('sink_backlog_records');
  }
  return left;
}
