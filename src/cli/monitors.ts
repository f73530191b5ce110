import { readFileSync } from 'node:fs';
import type { Command } from 'commander';
import type { MonitorsApi } from '../client/monitors.ts';
import { CliError, type Output } from './io.ts';
import { renderAlerts, renderLineage, renderMonitor, renderMonitors, renderTrace } from './monitors-view.ts';
import { type AdminFlags, positiveInteger, withAdmin } from './options.ts';

async function connectMonitors({ admin, token }: AdminFlags): Promise<MonitorsApi> {
  const { MonitorsApi: Api } = await import('../client/monitors.ts');
  return new Api({ url: admin, ...(token === undefined ? {} : { token }) });
}

export function addMonitors(program: Command, output: Output): void {
  const monitors = program.command('monitors').description('drift and quality of models, and what followed from it');
  const print = (flags: AdminFlags, value: unknown, table: () => string): void =>
    output.out(flags.output === 'json' ? JSON.stringify(value, undefined, 2) : table());
  withAdmin(monitors.command('list').description('list monitors and where they stand')).action(
    async (flags: AdminFlags) => {
      const rows = await (await connectMonitors(flags)).list();
      print(flags, rows, () => renderMonitors(rows));
    },
  );
  withAdmin(monitors.command('get').description('one monitor: its references, alarms and last windows'))
    .argument('<monitor>')
    .option('--windows <count>', 'how many windows', positiveInteger, 10)
    .action(async (name: string, flags: AdminFlags & { windows: number }) => {
      const api = await connectMonitors(flags);
      const [row, windows] = await Promise.all([api.get(name), api.windows(name, flags.windows)]);
      print(flags, { ...row, windows }, () => renderMonitor(row, windows));
    });
  withAdmin(monitors.command('explain').description('its retrainings, from requests to the version that serves now'))
    .argument('<monitor>')
    .option('--limit <count>', 'how many', positiveInteger, 5)
    .action(async (name: string, flags: AdminFlags & { limit: number }) => {
      const rows = await (await connectMonitors(flags)).lineage(name, flags.limit);
      print(flags, rows, () => renderLineage(rows));
    });
  withAdmin(monitors.command('alerts').description('its alarms: what rang, from when on, and what ended it'))
    .argument('<monitor>')
    .option('--limit <count>', 'how many', positiveInteger, 20)
    .action(async (name: string, flags: AdminFlags & { limit: number }) => {
      const rows = await (await connectMonitors(flags)).alerts(name, flags.limit);
      print(flags, rows, () => renderAlerts(rows));
    });
  withAdmin(monitors.command('trace').description('one request: its record, window, alarm, job, version and promotion'))
    .argument('<request>', 'the x-switchyard-id of its answer')
    .option('--model <model>', 'with --version and --time: for a request whose record is gone')
    .option('--version <version>', 'of the model')
    .option('--time <time>', 'about when it was, such as 2026-01-31T12:00:00Z: less is read through')
    .action(async (id: string, flags: AdminFlags & { model?: string; version?: string; time?: string }) => {
      const { model, version, time } = flags;
      const at = time === undefined ? undefined : timeOf(time);
      const given = Object.fromEntries(
        Object.entries({ model, version, time: at }).filter(([, value]) => value !== undefined),
      );
      const trace = await (await connectMonitors(flags)).trace(id, given);
      print(flags, trace, () => renderTrace(trace));
    });
  withAdmin(monitors.command('origin').description('the requests, windows, rows and jobs that a version comes from'))
    .argument('<model>')
    .argument('<version>')
    .option('--limit <count>', 'how many retrainings', positiveInteger, 5)
    .action(async (model: string, version: string, flags: AdminFlags & { limit: number }) => {
      const rows = await (await connectMonitors(flags)).origin(model, version, flags.limit);
      print(flags, rows, () =>
        rows.length === 0 ? `no retraining brought version ${version} of ${model}` : renderLineage(rows),
      );
    });
  withAdmin(monitors.command('apply').description('make or replace the monitors of a file'))
    .argument('<file>')
    .option('--dry-run', 'only check')
    .action(async (file: string, flags: AdminFlags & { dryRun?: boolean }) => {
      const documents = await documentsOf(file);
      const changed = await (await connectMonitors(flags)).apply(documents, flags.dryRun === true);
      print(flags, changed, () => `${flags.dryRun === true ? 'can be made' : 'made'}: ${changed.join(', ')}`);
    });
  withAdmin(monitors.command('delete').description('remove a monitor that was made over the API'))
    .argument('<monitor>')
    .action(async (name: string, flags: AdminFlags) => {
      await (await connectMonitors(flags)).delete(name);
      print(flags, { deleted: name }, () => `removed: ${name}`);
    });
  withAdmin(monitors.command('reset').description('learn its references anew, end its alarms, let retraining go on'))
    .argument('<monitor>')
    .option('--reason <text>', 'kept in the log', '')
    .action(async (name: string, flags: AdminFlags & { reason: string }) => {
      const row = await (await connectMonitors(flags)).reset(name, flags.reason);
      print(flags, row, () => renderMonitor(row, []));
    });
  monitors
    .command('validate')
    .description('check monitor files without a server; problems have line and column')
    .argument('<files...>')
    .action(async (files: string[]) => {
      const { loadMonitorFiles } = await import('../monitoring/load.ts');
      const set = loadMonitorFiles(files, process.cwd());
      output.out(`valid: ${[...set.keys()].join(', ')}`);
    });
}

function timeOf(text: string): number {
  const time = /^\d{1,15}$/.test(text) ? Number(text) : Date.parse(text);
  if (Number.isFinite(time)) return time;
  throw new CliError(`--time ${JSON.stringify(text)} is no time; write one such as 2026-01-31T12:00:00Z`);
}

async function documentsOf(file: string): Promise<unknown[]> {
  const { parseAllDocuments } = await import('yaml');
  let text: string;
  try {
    text = readFileSync(file, 'utf8');
  } catch (error) {
    throw new CliError(`${file} cannot be read: ${(error as Error).message}`);
  }
  const documents = parseAllDocuments(text);
  const broken = Array.isArray(documents) ? documents.flatMap(({ errors }) => errors) : [];
  if (broken.length > 0) throw new CliError(`${file}: ${broken[0].message}`);
  return (Array.isArray(documents) ? documents : []).map((document) => document.toJS() as unknown);
}
