import type { Command } from 'commander';
import type { Output } from './io.ts';
import { type AdminFlags, positiveInteger, withAdmin } from './options.ts';
import { connectPipelines } from './pipelines.ts';
import { formatTable } from './table.ts';

export function addTriggers(program: Command, output: Output): void {
  const triggers = program.command('triggers').description('look after what starts pipelines by itself');
  withAdmin(triggers.command('list').description('list triggers and where they stand')).action(
    async (flags: AdminFlags) => {
      const rows = await (await connectPipelines(flags)).triggers();
      const cells = rows.map((row) => [
        row.name,
        row.pipeline,
        row.cause,
        row.enabled ? (row.running ? 'running' : row.pending === null ? 'quiet' : 'waiting') : 'disabled',
        row.last_run ?? '-',
        row.next_due === null ? '-' : new Date(row.next_due).toISOString(),
      ]);
      const columns = ['name', 'pipeline', 'cause', 'status', 'last run', 'next due'];
      output.out(flags.output === 'json' ? JSON.stringify(rows, undefined, 2) : formatTable(columns, cells));
    },
  );
  withAdmin(triggers.command('history').description('what a trigger did and why, newest first'))
    .argument('<trigger>')
    .option('--limit <count>', 'how many', positiveInteger, 20)
    .action(async (name: string, flags: AdminFlags & { limit: number }) => {
      const rows = await (await connectPipelines(flags)).firings(name, flags.limit);
      const cells = rows.map(({ at, outcome, run, reason }) => [
        new Date(at).toISOString(),
        outcome,
        run || '-',
        reason,
      ]);
      output.out(
        flags.output === 'json'
          ? JSON.stringify(rows, undefined, 2)
          : formatTable(['at', 'outcome', 'run', 'reason'], cells),
      );
    });
  withAdmin(triggers.command('fire').description('give a trigger a cause by hand'))
    .argument('<trigger>')
    .option('--reason <text>', 'kept in its history', '')
    .action(async (name: string, flags: AdminFlags & { reason: string }) => {
      const row = await (await connectPipelines(flags)).fire(name, flags.reason);
      const words = row.pending === null ? `fired: run ${row.last_run ?? '-'}` : `waiting: ${row.pending}`;
      output.out(flags.output === 'json' ? JSON.stringify(row, undefined, 2) : words);
    });
}
