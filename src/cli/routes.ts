import { setTimeout as sleep } from 'node:timers/promises';
import { type Command, Option } from 'commander';
import type { AdminClient, RouteRow, RouteView } from '../client/admin.ts';
import { CliError, type Output } from './io.ts';
import { type AdminFlags, connect, withAdmin } from './options.ts';
import { addReplay } from './routes-replay.ts';
import { renderRoute } from './routes-view.ts';
import { onTerminal, redrawn } from './screen.ts';
import { formatTable } from './table.ts';

/** Exit codes of `get`, `promote` and `apply --wait`: a script can go on from a rollout's end. */
const EXIT_HELP = `
Exit codes:
  0   well: serving, or succeeded
  1   rolled back, invalid, a guardrail violated, or refused
  2   wrong command line
  3   waits for a person: a gate, a held analysis, or paused
  4   under way
  69  no server answered`;

const REFRESH_MS = 500;

export function addRoutes(program: Command, output: Output, setExit: (code: number) => void): void {
  const routes = program
    .command('routes')
    .description('look after routes, rollouts and experiments')
    .addHelpText('after', EXIT_HELP);
  withAdmin(routes.command('list').description('list routes and where they stand'))
    .option('--name <prefix>', 'only names that start so')
    .action(async (flags: AdminFlags & { name?: string }) => {
      const rows = await (await connect(flags)).listRoutes(flags.name);
      output.out(flags.output === 'json' ? JSON.stringify(rows, undefined, 2) : formatTable(COLUMNS, rows.map(row)));
    });
  withAdmin(routes.command('get').description('show one route; the exit code follows its health'))
    .argument('<route>')
    .option('-w, --watch', 'show it anew as it changes, until its rollout is over')
    .option('--timeout <seconds>', 'watch no longer', Number)
    .action(async (name: string, flags: AdminFlags & WatchFlags) => setExit(await get(name, flags, output)));
  withAdmin(routes.command('mismatches').description('the last shadowed answers that differed, and in what'))
    .argument('<route>')
    .action(async (name: string, flags: AdminFlags) => {
      const found = await (await connect(flags)).routeMismatches(name);
      const rows = found.map(({ id, variant, version, difference }) => [id, `${variant}@${version}`, difference]);
      output.out(
        flags.output === 'json'
          ? JSON.stringify(found, undefined, 2)
          : formatTable(['request', 'shadow', 'difference'], rows),
      );
    });
  withAdmin(routes.command('apply').description('make or replace the routes and templates of a file'))
    .argument('<files...>')
    .option('--dry-run', 'only check')
    .action((files: string[], flags: AdminFlags & { dryRun?: boolean }) => apply(files, flags, output));
  withAdmin(routes.command('delete').description('remove a route that was made over the API'))
    .argument('<route>')
    .action(async (name: string, flags: AdminFlags) => {
      await (await connect(flags)).deleteRoute(name);
      output.out(`deleted ${name}`);
    });
  routes
    .command('validate')
    .description('check route files without a server')
    .argument('<files...>')
    .action(async (files: string[]) => {
      const { loadRouteFiles } = await import('../config/load-routes.ts');
      const { ConfigError } = await import('../config/yaml-file.ts');
      try {
        const set = loadRouteFiles(files);
        output.out(`${set.routes.length} routes and ${set.templates.size} templates, no problems`);
      } catch (error) {
        if (!(error instanceof ConfigError)) throw error;
        throw new CliError(error.problems.join('\n'));
      }
    });
  addReplay(routes, output, setExit);
  addCommands(routes, output, setExit);
}

function addCommands(routes: Command, output: Output, setExit: (code: number) => void): void {
  const verbs: [string, string][] = [
    ['retry', 'begin a rollout that was rolled back anew'],
    ['pause', "stop a rollout's steps; a failing verdict still rolls it back"],
    ['resume', "let a rollout's steps go on"],
  ];
  const run = async (name: string, verb: string, body: object, flags: AdminFlags): Promise<void> => {
    const route = await (await connect(flags)).commandRoute(name, verb, body);
    output.out(flags.output === 'json' ? JSON.stringify(route, undefined, 2) : renderRoute(route));
    setExit(exitOf(route));
  };
  withAdmin(routes.command('promote').description("go on past a rollout's gate or present step"))
    .argument('<route>')
    .option('--full', 'past all that is left')
    .action((name: string, flags: AdminFlags & { full?: boolean }) =>
      run(name, 'promote', { full: flags.full ?? false }, flags),
    );
  withAdmin(routes.command('abort').description('roll a rollout back'))
    .argument('<route>')
    .addOption(new Option('--reason <text>', 'kept in its history'))
    .action((name: string, flags: AdminFlags & { reason?: string }) =>
      run(name, 'abort', flags.reason === undefined ? {} : { reason: flags.reason }, flags),
    );
  for (const [verb, description] of verbs) {
    withAdmin(routes.command(verb).description(description))
      .argument('<route>')
      .action((name: string, flags: AdminFlags) => run(name, verb, {}, flags));
  }
}

const COLUMNS = ['name', 'strategy', 'status', 'shares', 'origin'];

function row({ name, strategy, status, weights, origin }: RouteRow): string[] {
  const shares = Object.entries(weights).map(([variant, weight]) => `${variant} ${Math.round(weight * 1000) / 10} %`);
  return [name, strategy, status, shares.join(', '), origin];
}

/** The server counts from a rollout's point of view; 2 is "wrong command line" here. */
function exitOf({ exit_status }: RouteRow): number {
  return exit_status < 2 ? exit_status : exit_status + 1;
}

interface WatchFlags {
  watch?: boolean;
  timeout?: number;
}

async function get(name: string, flags: AdminFlags & WatchFlags, output: Output): Promise<number> {
  const client = await connect(flags);
  const show = (route: RouteView): string => (flags.output === 'json' ? JSON.stringify(route) : renderRoute(route));
  if (flags.watch !== true) {
    const route = await client.getRoute(name);
    output.out(flags.output === 'json' ? JSON.stringify(route, undefined, 2) : show(route));
    return exitOf(route);
  }
  const inPlace = flags.output !== 'json' && onTerminal();
  return watch(client, name, (route) => output.out(inPlace ? redrawn(show(route)) : show(route)), flags.timeout);
}

/** Until the rollout is over, or for ever where there is none. Resolves with the exit code. */
export async function watch(
  client: AdminClient,
  name: string,
  show: (route: RouteView) => void,
  timeoutSeconds = Number.POSITIVE_INFINITY,
): Promise<number> {
  const end = performance.now() + timeoutSeconds * 1000;
  let shown = '';
  for (;;) {
    const route = await client.getRoute(name);
    const text = JSON.stringify(route);
    if (text !== shown) show(route);
    shown = text;
    const phase = route.rollout?.phase;
    if (phase === 'succeeded' || phase === 'rolledBack' || performance.now() >= end) return exitOf(route);
    await sleep(REFRESH_MS);
  }
}

async function apply(files: string[], flags: AdminFlags & { dryRun?: boolean }, output: Output): Promise<void> {
  const { readRouteDocuments, readRouteFiles } = await import('../config/load-routes.ts');
  const { ConfigError } = await import('../config/yaml-file.ts');
  let documents: unknown[];
  try {
    // Here the lines are known; the server gets no text.
    documents = readRouteDocuments(readRouteFiles(files));
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error;
    throw new CliError(error.problems.join('\n'));
  }
  const { changed } = await (await connect(flags)).applyRoutes(documents, flags.dryRun ?? false);
  output.out(flags.dryRun === true ? `no problems in ${changed.join(', ')}` : `applied ${changed.join(', ')}`);
}
