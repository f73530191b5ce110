import { execFile } from 'node:child_process';
import { existsSync } from 'node:fs';
import { dirname, resolve } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Command } from 'commander';
import type { PipelineRun, PipelinesApi, RunRequest } from '../client/pipelines.ts';
import { ClientError } from '../client/transport.ts';
import { CliError, EXIT, type Output } from './io.ts';
import { type AdminFlags, positiveInteger, positiveNumber, withAdmin } from './options.ts';
import { changedLines, isOver, renderRun, tail } from './pipelines-view.ts';
import { onTerminal, redrawn } from './screen.ts';
import { formatTable } from './table.ts';

/** Exit codes of `run`, `get`, `resume` and `cancel`. */
const EXIT_HELP = `
Exit codes of run, get, resume and cancel:
  0   succeeded, or begun (--detach)
  1   failed, cancelled, or refused
  2   wrong command line
  3   held: waits for a person
  4   under way
  69  no server answered`;

const REFRESH_MS = 300;
/** A server that does not answer may be starting again. */
const PATIENCE_MS = 60_000;

export async function connectPipelines(flags: AdminFlags): Promise<PipelinesApi> {
  const { PipelinesApi } = await import('../client/pipelines.ts');
  return new PipelinesApi({ url: flags.admin, token: flags.token });
}

interface RunFlags extends AdminFlags {
  env?: string;
  param?: string[];
  reason?: string;
  name?: string;
  detach?: boolean;
  timeout?: number;
}

export function addPipelines(program: Command, output: Output, setExit: (code: number) => void): void {
  const pipelines = program
    .command('pipelines')
    .description('run pipelines and look after their runs')
    .addHelpText('after', EXIT_HELP);
  withAdmin(pipelines.command('run').description('run a pipeline, by its name or from a file, and follow it'))
    .argument('<pipeline>', 'name of a pipeline of the server, or a file')
    .option('--env <name>', 'environment; default: the one the server says')
    .option('-p, --param <name=value>', 'a parameter; may be repeated', (value: string, all: string[] = []) => [
      ...all,
      value,
    ])
    .option('--name <name>', 'which pipeline of a file that holds several')
    .option('--reason <text>', 'kept with the run')
    .option('--detach', 'print the id of the run and do not follow it')
    .option('--timeout <seconds>', 'follow no longer', positiveNumber)
    .action(async (what: string, flags: RunFlags) => setExit(await run(what, flags, output)));
  withAdmin(pipelines.command('list').description('list pipelines')).action(async (flags: AdminFlags) => {
    const rows = await (await connectPipelines(flags)).list();
    const cells = rows.map(({ name, origin, document: { spec } }) => [
      name,
      String(spec?.steps?.length ?? 0),
      origin,
      spec?.description ?? '',
    ]);
    output.out(
      flags.output === 'json'
        ? JSON.stringify(rows, undefined, 2)
        : formatTable(['name', 'steps', 'origin', 'description'], cells),
    );
  });
  withAdmin(pipelines.command('runs').description('list runs, newest first'))
    .option('--pipeline <name>')
    .option('--status <status>', 'running, succeeded, failed, held or cancelled')
    .option('--limit <count>', 'how many', positiveInteger, 20)
    .action(async (flags: AdminFlags & { pipeline?: string; status?: string; limit: number }) => {
      const rows = await (await connectPipelines(flags)).runs(
        { pipeline: flags.pipeline, status: flags.status },
        flags.limit,
      );
      const cells = rows.map((row) => [
        row.id,
        row.pipeline,
        row.environment,
        row.status,
        new Date(row.created_at).toISOString(),
        row.cause,
      ]);
      output.out(
        flags.output === 'json'
          ? JSON.stringify(rows, undefined, 2)
          : formatTable(['run', 'pipeline', 'environment', 'status', 'began', 'cause'], cells),
      );
    });
  withAdmin(pipelines.command('get').description('show one run with its steps'))
    .argument('<run>')
    .option('-w, --watch', 'follow it until it is over')
    .option('--timeout <seconds>', 'follow no longer', positiveNumber)
    .action(async (id: string, flags: AdminFlags & { watch?: boolean; timeout?: number }) => {
      const api = await connectPipelines(flags);
      const found = await api.getRun(id);
      if (flags.watch === true) return setExit(await follow(api, found, flags, output));
      setExit(show(found, flags, output));
    });
  withAdmin(pipelines.command('cancel').description('cancel a run and its jobs'))
    .argument('<run>')
    .option('--reason <text>', 'kept with the run', '')
    .action(async (id: string, flags: AdminFlags & { reason: string }) => {
      const api = await connectPipelines(flags);
      show(await api.cancel(id, flags.reason), flags, output);
    });
  withAdmin(pipelines.command('resume').description('go on with a failed, held or cancelled run, and follow it'))
    .argument('<run>')
    .option('--detach', 'do not follow it')
    .option('--timeout <seconds>', 'follow no longer', positiveNumber)
    .action(async (id: string, flags: AdminFlags & { detach?: boolean; timeout?: number }) => {
      const api = await connectPipelines(flags);
      const resumed = await api.resume(id);
      if (flags.detach === true) output.out(resumed.id);
      else setExit(await follow(api, resumed, flags, output));
    });
  addDocumentVerbs(pipelines, output);
}

function addDocumentVerbs(pipelines: Command, output: Output): void {
  withAdmin(pipelines.command('apply').description('make or replace the pipelines, environments and triggers of files'))
    .argument('<files...>')
    .option('--dry-run', 'only check')
    .action(async (files: string[], flags: AdminFlags & { dryRun?: boolean }) => {
      const set = await load(files);
      const documents = [...set.pipelines.values()].map(({ document }) => document as unknown);
      documents.push(...set.environments.values(), ...set.triggers.values());
      const changed = await (await connectPipelines(flags)).apply(documents, flags.dryRun ?? false);
      output.out(flags.dryRun === true ? `no problems in ${changed.join(', ')}` : `applied ${changed.join(', ')}`);
    });
  withAdmin(pipelines.command('delete').description('remove a pipeline that was made over the API'))
    .argument('<pipeline>')
    .action(async (name: string, flags: AdminFlags) => {
      await (await connectPipelines(flags)).delete(name);
      output.out(`deleted ${name}`);
    });
  withAdmin(pipelines.command('reload').description('have the server read its pipeline files again')).action(
    async (flags: AdminFlags) => {
      await (await connectPipelines(flags)).reload();
      output.out('reloaded');
    },
  );
  withAdmin(pipelines.command('promote').description("make one environment's champion that of another"))
    .argument('<model>')
    .requiredOption('--from <environment>')
    .requiredOption('--to <environment>')
    .option('--reason <text>', 'kept in the history', '')
    .action(async (model: string, flags: AdminFlags & { from: string; to: string; reason: string }) => {
      const { from, to, reason } = flags;
      const { version, alias } = await (await connectPipelines(flags)).promote({ model, from, to, reason });
      output.out(`version ${version} of ${model} is ${alias} in ${to}`);
    });
  pipelines
    .command('validate')
    .description('check pipeline files without a server')
    .argument('<files...>')
    .action(async (files: string[]) => {
      const { pipelines: found, environments, triggers } = await load(files);
      output.out(
        `${found.size} pipelines, ${environments.size} environments and ${triggers.size} triggers, no problems`,
      );
    });
}

async function load(files: readonly string[]) {
  const { loadPipelineFiles } = await import('../training/pipelines/load.ts');
  const { ConfigError } = await import('../config/yaml-file.ts');
  try {
    return loadPipelineFiles(files);
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error;
    throw new CliError(error.problems.join('\n'));
  }
}

async function run(what: string, flags: RunFlags, output: Output): Promise<number> {
  const request: RunRequest = {
    ...(await source(what, flags.name)),
    environment: flags.env,
    parameters: Object.fromEntries((flags.param ?? []).map(parameterOf)),
    reason: flags.reason,
  };
  const api = await connectPipelines(flags);
  const begun = await api.run(request);
  if (flags.detach !== true) return follow(api, begun, flags, output);
  output.out(flags.output === 'json' ? JSON.stringify(begun) : begun.id);
  return EXIT.ok;
}

function parameterOf(text: string): [string, string] {
  const at = text.indexOf('=');
  if (at > 0) return [text.slice(0, at), text.slice(at + 1)];
  throw new CliError(`--param ${JSON.stringify(text)} is not allowed; write name=value`, EXIT.usage);
}

async function source(
  what: string,
  name: string | undefined,
): Promise<Pick<RunRequest, 'pipeline' | 'document' | 'commit'>> {
  if (!/\.ya?ml$/.test(what)) return { pipeline: what };
  if (!existsSync(what)) throw new CliError(`${what}: there is no such file`, EXIT.usage);
  const { pipelines } = await load([what]);
  const found = name === undefined && pipelines.size === 1 ? [...pipelines.values()][0] : pipelines.get(name ?? '');
  if (found === undefined) {
    const known = [...pipelines.keys()].join(', ') || 'none';
    throw new CliError(`${what} holds the pipelines ${known}; say which one with --name`, EXIT.usage);
  }
  const commit = await gitCommit(dirname(resolve(what)));
  return { document: found.document, ...(commit === '' ? {} : { commit }) };
}

/** Of the code that is sent along; '' = it is in no repository. */
function gitCommit(folder: string): Promise<string> {
  return new Promise((done) => {
    execFile('git', ['-C', folder, 'rev-parse', 'HEAD'], { timeout: 2000 }, (error, stdout) => {
      const commit = error === null ? stdout.trim() : '';
      done(/^[0-9a-f]{40,64}$/.test(commit) ? commit : '');
    });
  });
}

function show(found: PipelineRun, flags: AdminFlags, output: Output): number {
  output.out(flags.output === 'json' ? JSON.stringify(found, undefined, 2) : renderRun(found, Date.now()));
  return exitOf(found);
}

function exitOf({ status }: PipelineRun): number {
  if (status === 'succeeded') return EXIT.ok;
  if (status === 'held') return 3;
  return status === 'failed' || status === 'cancelled' ? EXIT.failed : 4;
}

/** Shows the run as it goes, until it is over. A server that is started again meanwhile is waited for. */
async function follow(
  api: PipelinesApi,
  first: PipelineRun,
  flags: AdminFlags & { timeout?: number },
  output: Output,
): Promise<number> {
  const live = flags.output === 'table' && onTerminal();
  const end = performance.now() + (flags.timeout ?? Number.POSITIVE_INFINITY) * 1000;
  if (flags.output === 'table' && !live) output.out(`run ${first.id} of ${first.pipeline} in ${first.environment}`);
  let shown: PipelineRun | undefined;
  for (let now = first; ; now = await next(api, first.id)) {
    if (live) output.out(redrawn(renderRun(now, Date.now())));
    else if (flags.output === 'table') for (const line of changedLines(shown, now, Date.now())) output.out(line);
    shown = now;
    if (!isOver(now) && performance.now() < end) {
      await sleep(REFRESH_MS);
      continue;
    }
    if (flags.output === 'json') output.out(JSON.stringify(now, undefined, 2));
    else if (!live) output.out([`${now.pipeline}: ${now.status}`, ...tail(now)].join('\n'));
    return exitOf(now);
  }
}

async function next(api: PipelinesApi, id: string): Promise<PipelineRun> {
  const until = performance.now() + PATIENCE_MS;
  for (;;) {
    try {
      return await api.getRun(id);
    } catch (error) {
      const away = error instanceof ClientError && (error.status === 0 || error.status === 503);
      if (!away || performance.now() > until) throw error;
      await sleep(REFRESH_MS);
    }
  }
}
