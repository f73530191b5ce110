import { readFileSync } from 'node:fs';
import { type Command, Option } from 'commander';
import type { FeaturePath, FeaturesClient } from '../client/features.ts';
import { CliError, EXIT, type Output } from './io.ts';
import { type AdminFlags, collect, withAdmin } from './options.ts';
import { formatTable } from './table.ts';

async function connectFeatures(flags: AdminFlags): Promise<FeaturesClient> {
  const { FeaturesClient } = await import('../client/features.ts');
  return new FeaturesClient({ url: flags.admin, token: flags.token });
}

interface TenantFlags extends AdminFlags {
  tenant: string;
}

export function addFeatures(program: Command, output: Output): void {
  const features = program.command('features').description('look after feature views, and write and read their values');
  const withTenant = (command: Command): Command =>
    withAdmin(command).option('--tenant <name>', 'whose values', 'default');
  withAdmin(features.command('apply').description('make or replace the entities, views and services of files'))
    .argument('<files...>')
    .option('--dry-run', 'only check')
    .action(async (files: string[], flags: AdminFlags & { dryRun?: boolean }) => {
      const { plainFeatureFiles } = await import('../features/documents/load.ts');
      const changed = await (await connectFeatures(flags)).apply(plainFeatureFiles(files), flags.dryRun ?? false);
      output.out(flags.dryRun === true ? `no problems in ${changed.join(', ')}` : `applied ${changed.join(', ')}`);
    });
  withAdmin(features.command('list').description('list feature views, entities or services'))
    .addArgument(features.createArgument('[kind]').choices(['views', 'entities', 'services']).default('views'))
    .action(async (path: FeaturePath, flags: AdminFlags) => {
      const rows = await (await connectFeatures(flags)).list(path);
      const cells = rows.map(({ name, origin, document: { spec } }) => [
        name,
        content(path, spec),
        origin,
        String(spec.owner ?? ''),
        String(spec.description ?? ''),
      ]);
      const columns = ['name', path === 'entities' ? 'join key' : 'features', 'origin', 'owner', 'description'];
      output.out(flags.output === 'json' ? JSON.stringify(rows, undefined, 2) : formatTable(columns, cells));
    });
  withTenant(features.command('get').description('the newest values of entities'))
    .argument('[features...]', 'such as driver_stats:conv_rate')
    .option('--service <name>', 'the features of a service instead')
    .requiredOption('-e, --entity <key=values>', 'such as driver_id=1001,1002; once for each join key', collect)
    .action(async (refs: string[], flags: TenantFlags & { service?: string; entity: string[] }) => {
      const entities = Object.fromEntries(flags.entity.map(readEntity));
      const body = {
        ...(flags.service === undefined ? { features: refs } : { feature_service: flags.service }),
        entities,
        full_feature_names: new Set(refs.map((ref) => ref.split(':')[1])).size < refs.length,
      };
      const answer = await (await connectFeatures(flags)).online(body, flags.tenant);
      if (flags.output === 'json') return output.out(JSON.stringify(answer, undefined, 2));
      const rows = (answer.results[0]?.values ?? []).map((_, row) =>
        answer.results.map(({ values, statuses }) =>
          statuses[row] === 'PRESENT' ? JSON.stringify(values[row]) : statuses[row],
        ),
      );
      output.out(formatTable(answer.metadata.feature_names, rows));
    });
  withTenant(features.command('push').description('push rows to the views of a push source'))
    .argument('<source>')
    .argument('<file>', 'an object of columns, a list of rows or JSON lines; "-" reads standard input')
    .addOption(new Option('--to <where>').choices(['online', 'offline', 'online_and_offline']).default('online'))
    .action(async (source: string, file: string, flags: TenantFlags & { to: string }) => {
      const df = readFrame(file === '-' ? await output.stdin() : readText(file));
      const body = { source, df, to: flags.to, tenant: flags.tenant };
      const { rows, kept } = await (await connectFeatures(flags)).push(body);
      const words = flags.to === 'offline' ? `pushed ${rows} rows for training` : `pushed ${rows} rows, kept ${kept}`;
      output.out(flags.output === 'json' ? JSON.stringify({ rows, kept }) : words);
    });
  withTenant(features.command('materialize').description('bring rows of views from their files to the online store'))
    .argument('[views...]', 'default: all')
    .option('--from <time>', 'default: since the last time')
    .option('--until <time>', 'default: now')
    .action(async (views: string[], flags: TenantFlags & { from?: string; until?: string }) => {
      const { from, until, tenant } = flags;
      const body = { ...(views.length === 0 ? {} : { views }), from, until, tenant };
      const rows = await (await connectFeatures(flags)).materialize(body);
      const cells = rows.map((row) => [row.view, row.from, row.until, `${row.rows}`, `${row.kept}`, `${row.rejected}`]);
      output.out(
        flags.output === 'json'
          ? JSON.stringify(rows, undefined, 2)
          : formatTable(['view', 'from', 'until', 'rows', 'kept', 'rejected'], cells),
      );
      for (const problem of rows.flatMap(({ problems }) => problems)) output.err(problem);
    });
  withAdmin(features.command('delete').description('remove a document that was made over the API'))
    .addArgument(features.createArgument('<kind>').choices(['views', 'entities', 'services']))
    .argument('<name>')
    .action(async (path: FeaturePath, name: string, flags: AdminFlags) => {
      await (await connectFeatures(flags)).delete(path, name);
      output.out(`deleted ${name}`);
    });
  withAdmin(features.command('reload').description('have the server read its feature files again')).action(
    async (flags: AdminFlags) => {
      await (await connectFeatures(flags)).reload();
      output.out('reloaded');
    },
  );
}

function content(path: FeaturePath, spec: Record<string, unknown>): string {
  if (path === 'entities') return `${String(spec.joinKey)} (${String(spec.type)})`;
  const features = spec.features as { name?: string; view?: string; features?: string[] }[];
  if (path === 'views') return features.map(({ name }) => name).join(', ');
  return features.map(({ view, features: names }) => `${view}:${names?.join('+') ?? '*'}`).join(', ');
}

/** "driver_id=1001,1002": digits are numbers. */
function readEntity(text: string): [string, unknown[]] {
  const [, name, values] = /^([^=]+)=(.+)$/.exec(text) ?? [];
  if (name === undefined || values === undefined)
    throw new CliError(`--entity ${text}: write it as join_key=value,value`, EXIT.usage);
  return [name, values.split(',').map((value) => (/^-?\d{1,15}$/.test(value) ? Number(value) : value))];
}

function readText(file: string): string {
  try {
    return readFileSync(file, 'utf8');
  } catch (error) {
    throw new CliError(`${file} cannot be read: ${(error as Error).message}`);
  }
}

/** Columns by name of any of the forms that rows come in. */
function readFrame(text: string): Record<string, unknown[]> {
  let rows: unknown;
  try {
    rows = JSON.parse(text);
    if (typeof rows === 'object' && rows !== null && Object.values(rows).every(Array.isArray) && !Array.isArray(rows))
      return rows as Record<string, unknown[]>;
    if (!Array.isArray(rows)) rows = [rows];
  } catch {
    rows = text
      .split('\n')
      .filter((line) => line.trim() !== '')
      .map((line, i) => {
        try {
          return JSON.parse(line) as unknown;
        } catch {
          throw new CliError(`line ${i + 1} is not JSON`);
        }
      });
  }
  const columns: Record<string, unknown[]> = Object.create(null);
  for (const [i, row] of (rows as unknown[]).entries()) {
    if (typeof row !== 'object' || row === null || Array.isArray(row)) throw new CliError(`row ${i + 1} is no object`);
    for (const [name, value] of Object.entries(row)) {
      columns[name] ??= new Array<unknown>(i).fill(null);
      columns[name].push(value);
    }
    for (const column of Object.values(columns)) if (column.length === i) column.push(null);
  }
  return columns;
}
