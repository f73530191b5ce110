import { setTimeout as sleep } from 'node:timers/promises';
import type { Command } from 'commander';
import type { LogReplayRow, LogView } from '../client/admin.ts';
import { CliError, type Output } from './io.ts';
import { type AdminFlags, connect, positiveNumber, withAdmin } from './options.ts';
import { formatTable } from './table.ts';

const FOLLOW_MS = 500;
const PAGE = 1000;
/** Between two words on how far a replay is. */
const TELL_MS = 5000;

interface ReplayFlags extends AdminFlags {
  sink: string;
  source?: string;
  from?: string;
  to?: string;
  model?: string;
  route?: string;
  rate: number;
  detach?: boolean;
}

export function addLog(program: Command, output: Output): void {
  const log = program.command('log').description('look at the event log: records of requests');
  withAdmin(log.command('status').description('figures of the log, its spool and its sinks')).action(
    async (flags: AdminFlags) => {
      const status = await (await connect(flags)).logStatus();
      output.out(flags.output === 'json' ? JSON.stringify(status, undefined, 2) : render(status));
    },
  );
  withAdmin(log.command('tail').description('the last records, as JSON lines'))
    .option('-n, --lines <count>', 'how many', Number, 10)
    .option('-f, --follow', 'go on with those that come')
    .action(async (flags: AdminFlags & { lines: number; follow?: boolean }) => {
      const client = await connect(flags);
      let page = await client.logRecords(flags.lines);
      for (;;) {
        for (const line of page.records) output.out(line);
        if (flags.follow !== true) return;
        if (page.records.length < PAGE) await sleep(FOLLOW_MS);
        page = await client.logRecords(PAGE, page.next);
      }
    });
  withAdmin(log.command('payload').description('the whole record of a request whose values are kept by reference'))
    .argument('<sha256>', 'payloadRef or payloadSha256 of the record')
    .action(async (sha256: string, flags: AdminFlags) => {
      output.out(JSON.stringify(await (await connect(flags)).logPayload(sha256)));
    });
  withAdmin(log.command('replay').description('send a range of the log to one of its sinks again'))
    .requiredOption('--sink <name>', 'one of eventLog.sinks')
    .option('--source <name>', 'the sink whose files are read; default: one is chosen')
    .option('--from <time>', 'such as 2026-11-30T13:00:00Z; default: the oldest record that is kept')
    .option('--to <time>', 'not included; default: now')
    .option('--model <name>', 'of this model only')
    .option('--route <name>', 'of this route only')
    .option('--rate <n>', 'records a second, at most', positiveNumber, 1000)
    .option('--detach', 'do not wait for its end')
    .action(async (flags: ReplayFlags) => {
      const client = await connect(flags);
      const { sink, source, from, to, model, route, rate } = flags;
      let row = await client.startLogReplay({ sink, source, from, to, model, route, rate });
      let told = 0;
      while (row.status === 'running' && flags.detach !== true) {
        if (Date.now() - told >= TELL_MS) {
          told = Date.now();
          output.err(`${row.sent} records sent${row.last_error === '' ? '' : `; ${row.last_error}`}`);
        }
        await sleep(FOLLOW_MS);
        row = await client.logReplay(row.id);
      }
      if (row.status === 'failed' || row.status === 'cancelled')
        throw new CliError(`the replay ${row.status === 'failed' ? `failed: ${row.error}` : 'was cancelled'}`);
      output.out(flags.output === 'json' ? JSON.stringify(row, undefined, 2) : renderReplay(row));
    });
  withAdmin(log.command('verify').description('read the whole spool and check every record')).action(
    async (flags: AdminFlags) => {
      const { records, segments, bytes, damaged } = await (await connect(flags)).verifyLog();
      for (const place of damaged)
        output.err(`segment ${place.segment}: ${place.bytes} damaged bytes at offset ${place.offset}`);
      if (damaged.length > 0) throw new CliError(`${damaged.length} damaged places beside ${records} good records`);
      output.out(`${records} records in ${segments} segments (${bytes} bytes), no damage`);
    },
  );
}

function renderReplay({ id, status, sent, sink, mark, refused, unreadable, lost }: LogReplayRow): string {
  if (status === 'running') return `replay ${id} runs; its records are marked ${mark}`;
  const left = [
    ...(refused > 0 ? [`${refused} refused`] : []),
    ...(unreadable > 0 ? [`${unreadable} unreadable`] : []),
    ...(lost > 0 ? [`${lost} gone meanwhile`] : []),
  ];
  return [`${sent} records sent to ${sink}, marked ${mark}`, ...left].join('; ');
}

function render(status: LogView): string {
  const { served, feedback, sampledOut, droppedBehind, droppedDisk, droppedThread, droppedEncoding, spool } = status;
  const dropped = droppedBehind + droppedDisk + droppedThread + droppedEncoding;
  const figures = [
    ['requests', served],
    ['feedback', feedback],
    ['sampled out', sampledOut],
    ['dropped', dropped],
    ['waiting', status.waiting],
    ['spooled', status.spooled],
    ['spool bytes', spool.bytes],
    ['damaged', spool.setAside],
    ['disk errors', spool.errors],
  ];
  const sinks = status.sinks.map((sink) => [
    sink.name,
    sink.kind,
    String(sink.sent),
    String(sink.backlog),
    String(sink.lost + sink.refused),
    String(sink.errors),
    sink.lastError,
  ]);
  return [
    formatTable(
      ['FIGURE', 'VALUE'],
      figures.map(([name, value]) => [String(name), String(value)]),
    ),
    formatTable(['SINK', 'KIND', 'SENT', 'BACKLOG', 'LOST', 'ERRORS', 'LAST ERROR'], sinks),
  ].join('\n\n');
}
