import { readFile } from 'node:fs/promises';
import { dirname, resolve } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { type Command, Option } from 'commander';
import type { SweepRow, TrialRow } from '../client/sweeps.ts';
import { CliError, EXIT, type Output } from './io.ts';
import { type AdminFlags, withAdmin } from './options.ts';
import { onTerminal, redrawn } from './screen.ts';
import { formatTable } from './table.ts';

const REFRESH_MS = 1_000;
const EXIT_HELP = `
Exit codes of get and submit:
  0   it succeeded, or was only asked for
  1   it failed or was cancelled
  2   wrong command line
  4   under way
  69  no server answered`;

interface WatchFlags {
  watch?: boolean;
}

async function connect({ admin, token }: AdminFlags) {
  const { SweepClient } = await import('../client/sweeps.ts');
  return new SweepClient({ url: admin, token });
}

export function addSweeps(program: Command, output: Output, setExit: (code: number) => void): void {
  const sweeps = program.command('sweeps').description('search hyperparameters').addHelpText('after', EXIT_HELP);
  withAdmin(sweeps.command('submit').description('begin the sweep of a file'))
    .argument('<file>')
    .option('-w, --watch', 'show it as it goes on, until it is over')
    .action(async (file: string, flags: AdminFlags & WatchFlags) => {
      const client = await connect(flags);
      const sweep = await client.submit(await readSweepFile(file));
      if (flags.watch === true) return setExit(await watch(sweep.id, flags, output));
      output.out(flags.output === 'json' ? JSON.stringify(sweep, undefined, 2) : `sweep ${sweep.id} is running`);
    });
  withAdmin(sweeps.command('list').description('list sweeps, the newest first'))
    .addOption(new Option('--status <status>', 'only these'))
    .action(async (flags: AdminFlags & { status?: string }) => {
      const rows = await (await connect(flags)).list(flags.status);
      output.out(flags.output === 'json' ? JSON.stringify(rows, undefined, 2) : formatTable(COLUMNS, rows.map(row)));
    });
  withAdmin(sweeps.command('get').description('show one sweep and its trials'))
    .argument('<id>')
    .option('-w, --watch', 'show it anew as it goes on, until it is over')
    .action(async (id: string, flags: AdminFlags & WatchFlags) => {
      if (flags.watch === true) return setExit(await watch(id, flags, output));
      const { sweep, text } = await show(id, flags);
      output.out(text);
      setExit(exitOf(sweep));
    });
  withAdmin(sweeps.command('cancel').description('stop the running trials and begin no more'))
    .argument('<id>')
    .addOption(new Option('--reason <text>', 'kept with it').default(''))
    .action(async (id: string, flags: AdminFlags & { reason: string }) => {
      const sweep = await (await connect(flags)).cancel(id, flags.reason);
      output.out(flags.output === 'json' ? JSON.stringify(sweep, undefined, 2) : `sweep ${id} is ${sweep.status}`);
    });
}

/** The sweep of a file, with the files of its sourceDir. Throws CliError with all problems. */
async function readSweepFile(file: string): Promise<unknown> {
  const { parseSweep } = await import('../training/sweeps/read.ts');
  const { packSourceDir } = await import('../training/work/source-dir.ts');
  const { ConfigError } = await import('../config/yaml-file.ts');
  try {
    const { spec, ...rest } = parseSweep(await readFile(file, 'utf8'), file);
    const { sourceDir, ...template } = spec.trialTemplate;
    const sent = sourceDir === undefined ? {} : await packSourceDir(resolve(dirname(file), sourceDir), undefined);
    return { ...rest, spec: { ...spec, trialTemplate: { ...template, files: { ...sent, ...template.files } } } };
  } catch (error) {
    if (error instanceof ConfigError) throw new CliError(error.problems.join('\n'), EXIT.usage);
    throw new CliError(`${file}: ${(error as Error).message}`, EXIT.usage);
  }
}

const COLUMNS = ['id', 'name', 'status', 'algorithm', 'trials', 'best'];

function row({ id, name, status, algorithm, trials, max_trial_count, best }: SweepRow): string[] {
  const over = trials.complete + trials.stopped + trials.failed + trials.cancelled;
  return [id, name, status, algorithm, `${over}/${max_trial_count}`, best === null ? '–' : figure(best.value)];
}

function figure(value: number | null): string {
  return value === null ? '–' : String(Number(value.toPrecision(6)));
}

async function show(id: string, flags: AdminFlags): Promise<{ sweep: SweepRow; text: string }> {
  const client = await connect(flags);
  const sweep = await client.get(id);
  const trials = await client.trials(id);
  const text =
    flags.output === 'json' ? JSON.stringify({ ...sweep, rows: trials }, undefined, 2) : render(sweep, trials);
  return { sweep, text };
}

function render(sweep: SweepRow, trials: readonly TrialRow[]): string {
  const { name, id, status, reason, objective, best, run_id } = sweep;
  const names = Object.keys(trials[0]?.params ?? {});
  const rows = trials.map((trial) => [
    `${trial.number === best?.number ? '*' : ' '}${trial.number}`,
    trial.status,
    figure(trial.value),
    ...names.map((one) => (typeof trial.params[one] === 'number' ? figure(trial.params[one]) : trial.params[one])),
    trial.reason,
  ]);
  return [
    `${name}  ${id}  ${status}${reason === '' ? '' : `: ${reason}`}`,
    `${objective.type} ${objective.metric}, ${row(sweep)[4]} trials, best ${row(sweep)[5]}, run ${run_id}`,
    ...(rows.length === 0 ? [] : ['', formatTable(['trial', 'status', objective.metric, ...names, 'why'], rows)]),
  ].join('\n');
}

function exitOf({ status }: SweepRow): number {
  if (status === 'succeeded') return EXIT.ok;
  return status === 'failed' || status === 'cancelled' ? EXIT.failed : 4;
}

/** Until it is over. Resolves with the exit code. */
async function watch(id: string, flags: AdminFlags, output: Output): Promise<number> {
  let shown = '';
  for (;;) {
    const { sweep, text } = await show(id, flags);
    if (text !== shown) output.out(onTerminal() ? redrawn(text) : text);
    shown = text;
    if (sweep.ended_at !== null) return exitOf(sweep);
    await sleep(REFRESH_MS);
  }
}
