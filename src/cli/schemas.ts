import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type Command, Option } from 'commander';
import type { SchemaClient, SchemaRow } from '../client/schemas.ts';
import { readDocument } from './documents.ts';
import { CliError, EXIT, type Output } from './io.ts';
import { type AdminFlags, withAdmin } from './options.ts';
import { formatTable } from './table.ts';

export async function connectSchemas({ admin, token }: AdminFlags): Promise<SchemaClient> {
  const { SchemaClient } = await import('../client/schemas.ts');
  return new SchemaClient({ url: admin, token });
}

export function addSchemas(program: Command, output: Output): void {
  const schemas = program.command('schemas').description('look after the schemas that data is validated by');
  const show = (flags: AdminFlags, value: unknown, text: () => string): void =>
    output.out(flags.output === 'json' ? JSON.stringify(value, undefined, 2) : text());
  const version = (what: string) => new Option('--version <n>', `${what}; default: the latest`).default('latest');
  withAdmin(schemas.command('list').description('list schemas, of each name the latest version')).action(
    async (flags: AdminFlags) => {
      const rows = await (await connectSchemas(flags)).list();
      const latest = rows.filter(({ name }, i) => name !== rows[i - 1]?.name);
      show(flags, latest, () => formatTable(COLUMNS, latest.map(cells)));
    },
  );
  withAdmin(schemas.command('versions').description('list the versions of a schema, the latest first'))
    .argument('<name>')
    .action(async (name: string, flags: AdminFlags) => {
      const client = await connectSchemas(flags);
      const rows = await client.list(name);
      // The server's own words for a name that there is not.
      if (rows.length === 0) await client.get(name, 'latest');
      show(flags, rows, () => formatTable(COLUMNS, rows.map(cells)));
    });
  withAdmin(schemas.command('get').description('show a schema as YAML, as "put" takes it'))
    .argument('<name>')
    .addOption(version('of the schema'))
    .action(async (name: string, flags: AdminFlags & { version: string }) => {
      const row = await (await connectSchemas(flags)).get(name, flags.version);
      const text = await asYaml(row);
      show(flags, row, () => text.trimEnd());
    });
  withAdmin(schemas.command('infer').description('keep what a dataset suggests as the next version'))
    .argument('<name>')
    .addOption(new Option('--dataset <name>', "default: the schema's name"))
    .addOption(version('of the dataset'))
    .action(async (name: string, flags: AdminFlags & { dataset?: string; version: string }) => {
      const row = await (await connectSchemas(flags)).infer(name, flags.dataset ?? name, flags.version);
      show(flags, row, () => told(row));
    });
  withAdmin(schemas.command('put').description('keep a file as the next version'))
    .argument('<name>')
    .argument('<file>', 'JSON or YAML')
    .action(async (name: string, file: string, flags: AdminFlags) => {
      const row = await (await connectSchemas(flags)).put(name, await readDocument(file));
      show(flags, row, () => told(row));
    });
  withAdmin(
    schemas.command('edit').description('open the latest version in $VISUAL or $EDITOR, and keep what comes out'),
  )
    .argument('<name>')
    .action(async (name: string, flags: AdminFlags) => {
      const row = await edit(await connectSchemas(flags), name);
      show(flags, row, () => told(row));
    });
}

/** A file that was not kept stays, and the error names it: what somebody wrote is not lost. */
async function edit(client: SchemaClient, name: string): Promise<SchemaRow> {
  const before = await client.get(name, 'latest');
  const editor = process.env.VISUAL || process.env.EDITOR || 'vi';
  const folder = mkdtempSync(join(tmpdir(), 'switchyard-schema-'));
  const file = join(folder, 'schema.yaml');
  const text = await asYaml(before);
  writeFileSync(file, text, { mode: 0o600 });
  // An editor may come with flags of its own, as in EDITOR="code --wait".
  const [program, ...args] = editor.split(/\s+/).filter((word) => word !== '');
  const { status, error } = spawnSync(program, [...args, file], { stdio: 'inherit' });
  if (error !== undefined || status !== 0) {
    rmSync(folder, { recursive: true, force: true });
    throw new CliError(`${editor} did not end well, and nothing was kept; name an editor in EDITOR`, EXIT.usage);
  }
  let kept = before;
  if (readFileSync(file, 'utf8') !== text)
    try {
      kept = await client.put(name, await readDocument(file));
    } catch (problem) {
      throw new CliError(`${(problem as Error).message}; what you wrote is in ${file}`);
    }
  rmSync(folder, { recursive: true, force: true });
  return kept;
}

async function asYaml({ schema }: SchemaRow): Promise<string> {
  const { stringify } = await import('yaml');
  return stringify(schema);
}

function told({ name, version }: SchemaRow): string {
  return `schema ${name} version ${version}`;
}

const COLUMNS = ['name', 'version', 'fields', 'from dataset', 'by', 'created'];

function cells({ name, version, schema, dataset, actor, created_at }: SchemaRow): string[] {
  return [
    name,
    String(version),
    String(Object.keys(schema.fields).length),
    dataset === '' ? '-' : dataset,
    actor,
    new Date(created_at).toISOString().slice(0, 19),
  ];
}
