import { type Command, Option } from 'commander';
import type { RegistryApi } from '../client/registry.ts';
import type { Output } from './io.ts';
import { type AdminFlags, withAdmin } from './options.ts';
import { formatTable } from './table.ts';

const NO_VERSION = 'none';
/** Longer than any registry is old. */
const EVER_DAYS = 36_500;

/** Verbs that ask and tell the registry of a running server. */
export function addRegistry(program: Command, output: Output): void {
  const registry = program.command('registry').description('what the registry knows: aliases, decisions, gateways');
  const verb = (name: string, description: string): Command =>
    withAdmin(registry.command(name).description(description));
  verb('gateways', 'which gateways serve which versions')
    .argument('[model]', 'only this registered model, earlier versions included')
    .option('--all', 'also those that have been away for more than a week')
    .action((model: string | undefined, flags: AdminFlags & { all?: boolean }) => gateways(model, flags, output));
  verb('forget', 'take a gateway that is away out of the list; its history stays')
    .argument('<gateway>')
    .action(async (gateway: string, flags: AdminFlags) => {
      await (await connect(flags)).forgetGateway(gateway);
      output.out(flags.output === 'json' ? '{}' : `gateway ${gateway} is forgotten; its history stays`);
    });
  verb('history', 'all moves of an alias, newest first')
    .argument('<model>')
    .argument('<alias>')
    .action((model: string, alias: string, flags: AdminFlags) => history(model, alias, flags, output));
  verb('served', 'what an alias, or every alias of a model, meant at a time, and why')
    .argument('<model>')
    .argument('[alias]', 'default: all that pointed to a version')
    .option('--at <time>', 'such as 2026-01-31T12:00:00Z (default: now)')
    .action((model: string, alias: string | undefined, flags: AdminFlags & { at?: string }) =>
      alias === undefined ? allServed(model, flags, output) : served(model, alias, flags, output),
    );
  verb('lineage', 'where a version comes from and what became of it, as JSON')
    .argument('<model>')
    .argument('<version>')
    .action(async (model: string, version: string, flags: AdminFlags) => {
      output.out(JSON.stringify(await (await connect(flags)).lineage(model, version), undefined, 2));
    });
  verb('promote', 'point an alias to a version')
    .argument('<model>')
    .argument('<alias>')
    .argument('<version>')
    .option('--expect <version>', `only if it points to this version; "${NO_VERSION}": only if it is new`)
    .option('--reason <text>', 'kept with the move', '')
    .action((model: string, alias: string, version: string, flags: AdminFlags & { expect?: string; reason: string }) =>
      promote({ model, alias, version }, flags, output),
    );
  verb('sign', "sign a version that was registered without the registry's key")
    .argument('<model>')
    .argument('<version>')
    .action(async (model: string, version: string, flags: AdminFlags) => {
      const signed = await (await connect(flags)).sign(model, version);
      output.out(
        flags.output === 'json'
          ? JSON.stringify(signed)
          : `version ${version} of ${model} is signed with ${signed.key_id}`,
      );
    });
  verb('approve', 'approve or reject a version')
    .argument('<model>')
    .argument('<version>')
    .addOption(new Option('--state <state>').choices(['Pending', 'Approved', 'Rejected']).default('Approved'))
    .option('--reason <text>', 'kept with the decision', '')
    .action(async (model: string, version: string, flags: AdminFlags & { state: string; reason: string }) => {
      const decided = await (await connect(flags)).decide(model, version, flags.state, flags.reason);
      output.out(
        flags.output === 'json' ? JSON.stringify(decided) : `version ${version} of ${model} is ${flags.state}`,
      );
    });
}

async function connect(flags: AdminFlags): Promise<RegistryApi> {
  const { RegistryApi } = await import('../client/registry.ts');
  return new RegistryApi({ url: flags.admin, token: flags.token });
}

async function gateways(
  model: string | undefined,
  flags: AdminFlags & { all?: boolean },
  output: Output,
): Promise<void> {
  const client = await connect(flags);
  const columns = ['gateway', 'served', 'model', 'version', 'alias', 'state', 'since', 'until', 'reason'];
  if (model !== undefined) {
    const rows = await client.modelGateways(model);
    if (flags.output === 'json') output.out(JSON.stringify({ gateways: rows }, undefined, 2));
    else
      output.out(
        formatTable(
          columns,
          rows.map((row) => servedRow(row.gateway_id, row)),
        ),
      );
    return;
  }
  const rows = await client.gateways(flags.all === true ? EVER_DAYS : undefined);
  if (flags.output === 'json') {
    output.out(JSON.stringify({ gateways: rows }, undefined, 2));
    return;
  }
  const lines = rows.flatMap(({ gateway_id, away, last_seen, models }) => {
    const name = away ? `${gateway_id} (away since ${time(last_seen)})` : gateway_id;
    if (models.length === 0) return [[name, '', '', '', '', '', '', '', '']];
    return models.map((row) => servedRow(name, row));
  });
  output.out(formatTable(columns, lines));
}

function servedRow(
  gateway: string,
  row: {
    served: string;
    name: string;
    version: string;
    alias: string;
    state: string;
    since: number;
    until: number | null;
    problem: string;
  },
): string[] {
  const { served, name, version, alias, state, since, until, problem } = row;
  return [gateway, served, name, version, alias, state, time(since), until === null ? 'now' : time(until), problem];
}

async function history(model: string, alias: string, flags: AdminFlags, output: Output): Promise<void> {
  const moves = await (await connect(flags)).history(model, alias);
  if (flags.output === 'json') {
    output.out(JSON.stringify({ moves }, undefined, 2));
    return;
  }
  const rows = moves.map(({ at, name, version, previous, actor, reason }) => [
    time(at),
    name,
    version ?? NO_VERSION,
    previous ?? NO_VERSION,
    actor,
    reason,
  ]);
  output.out(formatTable(['time', 'model', 'version', 'before', 'actor', 'reason'], rows));
}

async function allServed(model: string, flags: AdminFlags & { at?: string }, output: Output): Promise<void> {
  const answer = await (await connect(flags)).allServed(model, flags.at ?? '');
  if (flags.output === 'json') {
    output.out(JSON.stringify(answer, undefined, 2));
    return;
  }
  const rows = answer.aliases.map(({ alias, version, since, until, actor, reason, gateways }) => [
    alias,
    version ?? NO_VERSION,
    time(since),
    until === null ? 'now' : time(until),
    actor,
    reason,
    gateways.map(({ gateway_id }) => gateway_id).join(', '),
  ]);
  output.out(formatTable(['alias', 'version', 'from', 'to', 'decided by', 'reason', 'served by'], rows));
}

async function served(
  model: string,
  alias: string,
  flags: AdminFlags & { at?: string },
  output: Output,
): Promise<void> {
  const answer = await (await connect(flags)).served(model, alias, flags.at ?? '');
  if (flags.output === 'json') {
    output.out(JSON.stringify(answer, undefined, 2));
    return;
  }
  const { version, since, until, actor, reason, approvals, evidence, gateways } = answer;
  const rows = [
    ['version', version ?? NO_VERSION],
    ['from', time(since)],
    ['to', until === null ? 'now' : time(until)],
    ['decided by', actor],
    ['reason', reason],
    ...approvals.map((row) => ['approval', `${row.state} by ${row.actor} at ${time(row.at)} ${row.reason}`.trimEnd()]),
    ...evidence.map((row) => ['evidence', `${row.kind}: ${row.outcome} at ${time(row.at)}`]),
    ...gateways.map((row) => ['served by', `${row.gateway_id} as ${row.served} from ${time(row.since)}`]),
  ];
  output.out(formatTable(['what', 'is'], rows));
}

async function promote(
  { model, alias, version }: { model: string; alias: string; version: string },
  flags: AdminFlags & { expect?: string; reason: string },
  output: Output,
): Promise<void> {
  const expectedVersion = flags.expect === NO_VERSION ? null : flags.expect;
  const answer = await (await connect(flags)).promote(model, alias, {
    version,
    reason: flags.reason,
    ...(expectedVersion === undefined ? {} : { expectedVersion }),
  });
  const words = answer.moved ? 'points to' : 'pointed already to';
  output.out(flags.output === 'json' ? JSON.stringify(answer) : `${alias} of ${model} ${words} version ${version}`);
}

function time(ms: number): string {
  return new Date(ms).toISOString();
}
