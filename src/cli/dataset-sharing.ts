import { type Command, Option } from 'commander';
import type { DatasetClient, DatasetLineageRow, DatasetRow } from '../client/datasets.ts';
import { CliError, type Output } from './io.ts';
import { type AdminFlags, pairs, withAdmin } from './options.ts';
import { formatTable } from './table.ts';

export async function connectDatasets({ admin, token }: AdminFlags): Promise<DatasetClient> {
  const { DatasetClient } = await import('../client/datasets.ts');
  return new DatasetClient({ url: admin, token });
}

/** Who may read a dataset, what it is tagged with, and where it comes from. */
export function addSharing(datasets: Command, output: Output): void {
  const show = (flags: AdminFlags, value: unknown, text: () => string): void =>
    output.out(flags.output === 'json' ? JSON.stringify(value, undefined, 2) : text());
  const version = () => new Option('--version <n>', 'default: the latest').default('latest');
  withAdmin(datasets.command('share').description('let people read all versions, beside those who may already'))
    .argument('<name>')
    .argument('<readers...>', 'names of people, "jobs" for training jobs, "*" for everyone')
    .action(async (name: string, readers: string[], flags: AdminFlags) => {
      const client = await connectDatasets(flags);
      const before = await client.get(name, 'latest');
      const row = await client.share(name, [...new Set([...before.readers, ...readers])]);
      show(flags, row, () => whoReads(row));
    });
  withAdmin(datasets.command('unshare').description('take reading away; without readers, from all but the owner'))
    .argument('<name>')
    .argument('[readers...]', 'as they were given to share')
    .action(async (name: string, readers: string[], flags: AdminFlags) => {
      const client = await connectDatasets(flags);
      const { readers: before } = await client.get(name, 'latest');
      const unknown = readers.filter((reader) => !before.includes(reader));
      if (unknown.length > 0)
        throw new CliError(
          `${name} is not shared with ${unknown.join(', ')}; it is with ${before.join(', ') || 'nobody'}`,
        );
      const left = readers.length === 0 ? [] : before.filter((reader) => !readers.includes(reader));
      const row = await client.share(name, left);
      show(flags, row, () => whoReads(row));
    });
  withAdmin(datasets.command('tag').description('set tags of a version'))
    .argument('<name>')
    .argument('<tags...>', 'such as team=fraud')
    .addOption(version())
    .action(async (name: string, tags: string[], flags: AdminFlags & { version: string }) => {
      const wanted = Object.entries(pairs(tags, 'the tag'));
      const client = await connectDatasets(flags);
      // A version of its own: all tags go to the same one, whatever is made meanwhile.
      let row = await client.get(name, flags.version);
      for (const [key, value] of wanted) row = await client.setTag(name, String(row.version), key, value);
      show(flags, row, () => tagged(row));
    });
  withAdmin(datasets.command('untag').description('remove tags of a version'))
    .argument('<name>')
    .argument('<keys...>', 'such as team')
    .addOption(version())
    .action(async (name: string, keys: string[], flags: AdminFlags & { version: string }) => {
      const client = await connectDatasets(flags);
      let row = await client.get(name, flags.version);
      const unknown = keys.filter((key) => !Object.hasOwn(row.tags, key));
      if (unknown.length > 0)
        throw new CliError(
          `${name} version ${row.version} has no tag ${unknown.join(', ')}; it has ${Object.keys(row.tags).join(', ') || 'none'}`,
        );
      for (const key of new Set(keys)) row = await client.removeTag(name, String(row.version), key);
      show(flags, row, () => tagged(row));
    });
  withAdmin(datasets.command('lineage').description('where a version comes from, and what was made of it'))
    .argument('<name>')
    .addOption(version())
    .action(async (name: string, flags: AdminFlags & { version: string }) => {
      const found = await (await connectDatasets(flags)).lineage(name, flags.version);
      show(flags, found, () => formatTable(['what', 'is'], lineageRows(found)));
    });
}

function tagged({ name, version, tags }: DatasetRow): string {
  const all = Object.entries(tags).map(([key, value]) => `${key}=${value}`);
  return `${name} version ${version}: ${all.join(' ') || 'no tags'}`;
}

function whoReads({ name, owner, readers }: DatasetRow): string {
  if (readers.includes('*')) return `${name}: everyone may read it`;
  return `${name}: ${[owner, ...readers].join(', ')} may read it`;
}

function lineageRows(found: DatasetLineageRow): string[][] {
  const { kind, ...facts } = found.source;
  const names = (rows: readonly { name: string; version: string | number }[], what: string): string[][] =>
    rows.map(({ name, version }) => [what, `${name} version ${version}`]);
  return [
    ['dataset', `${found.name} version ${found.version}, ${found.digest}`],
    ['source', `${kind}${Object.keys(facts).length === 0 ? '' : ` ${JSON.stringify(facts)}`}`],
    ...names(found.parents, 'made of'),
    ...(found.made_by_run === null ? [] : [['made by run', found.made_by_run]]),
    ...names(found.children, 'became'),
    ...found.runs.map(({ run_id, run_name, context }) => [
      'used by run',
      `${run_id} ${run_name}${context === '' ? '' : ` (${context})`}`.trimEnd(),
    ]),
    ...names(found.model_versions, 'model version'),
  ];
}
