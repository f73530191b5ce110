import { createReadStream } from 'node:fs';
import { stat } from 'node:fs/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import { type Command, Option } from 'commander';
import type { ColumnProfileRow, DatasetClient, DatasetRow, ImportRow } from '../client/datasets.ts';
import { addSharing, connectDatasets } from './dataset-sharing.ts';
import { readDocument, saveAs } from './documents.ts';
import { CliError, EXIT, type Output } from './io.ts';
import { type AdminFlags, collect, pairs, withAdmin } from './options.ts';
import { connectSchemas } from './schemas.ts';
import { formatTable } from './table.ts';

const FORMATS = ['csv', 'jsonl', 'parquet', 'arrow'];
const ENDINGS: Readonly<Record<string, string>> = {
  csv: 'csv',
  tsv: 'csv',
  jsonl: 'jsonl',
  ndjson: 'jsonl',
  parquet: 'parquet',
  arrow: 'arrow',
  feather: 'arrow',
};
const LOOK_MS = 500;

interface CreateFlags extends AdminFlags {
  format?: string;
  source?: string;
  kind: string;
  tag?: string[];
  type?: string[];
  description?: string;
  maxRejects: string;
}

export function addDatasets(program: Command, output: Output, setExit: (code: number) => void): void {
  const datasets = program.command('datasets').description('keep, find and share datasets');
  const show = (flags: AdminFlags, value: unknown, text: () => string): void =>
    output.out(flags.output === 'json' ? JSON.stringify(value, undefined, 2) : text());
  const format = () => new Option('--format <format>', 'default: by the ending of the name').choices(FORMATS);
  const version = () => new Option('--version <n>', 'default: the latest').default('latest');
  withAdmin(datasets.command('create').description('make a version of a file, or have the server read a source'))
    .argument('<name>')
    .argument('[file]', 'CSV, JSON lines, Parquet or Arrow, plain or .gz')
    .addOption(new Option('--source <file>', 'JSON or YAML: what the server reads, see docs/datasets.md'))
    .addOption(format())
    .addOption(new Option('--kind <kind>').choices(['tabular', 'text', 'images']).default('tabular'))
    .addOption(new Option('--tag <key=value>', 'may be repeated').argParser(collect))
    .addOption(new Option('--type <column=type>', 'may be repeated').argParser(collect))
    .option('--description <text>')
    .option('--max-rejects <n>', 'rows that may be left out', '0')
    .action(async (name: string, file: string | undefined, flags: CreateFlags) => {
      const row = await create(await connectDatasets(flags), name, file, flags, output);
      show(
        flags,
        row,
        () => `${row.name} version ${row.version}: ${row.rows} rows, ${row.rejects} rejected, ${row.digest}`,
      );
    });
  withAdmin(datasets.command('list').description('list datasets, the newest first'))
    .addOption(new Option('--filter <filter>', 'such as "tags.team = \'fraud\' AND rows > 1000"').default(''))
    .action(async (flags: AdminFlags & { filter: string }) => {
      const rows = await (await connectDatasets(flags)).list(flags.filter);
      show(flags, rows, () => formatTable(COLUMNS, rows.map(cells)));
    });
  withAdmin(datasets.command('versions').description('list the versions of a dataset, the latest first'))
    .argument('<name>')
    .action(async (name: string, flags: AdminFlags) => {
      const rows = await (await connectDatasets(flags)).versions(name);
      show(flags, rows, () => formatTable(COLUMNS, rows.map(cells)));
    });
  withAdmin(datasets.command('get').description('show one version and its columns'))
    .argument('<name>')
    .addOption(version())
    .action(async (name: string, flags: AdminFlags & { version: string }) => {
      const row = await (await connectDatasets(flags)).get(name, flags.version);
      const columns = row.schema.fields.map((field) => [field.name, field.type]);
      show(
        flags,
        row,
        () => `${formatTable(COLUMNS, [cells(row)])}\n${row.digest}\n\n${formatTable(['column', 'type'], columns)}`,
      );
    });
  withAdmin(datasets.command('profile').description('show the statistics of each column'))
    .argument('<name>')
    .addOption(version())
    .action(async (name: string, flags: AdminFlags & { version: string }) => {
      const profile = await (await connectDatasets(flags)).profile(name, flags.version);
      show(flags, profile, () => formatTable(PROFILE, profile.columns.map(profileCells)));
    });
  withAdmin(datasets.command('infer-schema').description('keep the schema that a dataset suggests'))
    .argument('<name>')
    .addOption(version())
    .addOption(new Option('--schema <name>', "its name; default: the dataset's"))
    .action(async (name: string, flags: AdminFlags & { version: string; schema?: string }) => {
      const found = await (await connectSchemas(flags)).infer(flags.schema ?? name, name, flags.version);
      show(
        flags,
        found,
        () => `schema ${found.name} version ${found.version}\n${JSON.stringify(found.schema, undefined, 2)}`,
      );
    });
  withAdmin(datasets.command('validate').description('check a dataset by a schema; exit code 1: it has errors'))
    .argument('<name>')
    .addOption(version())
    .addOption(new Option('--schema <name|file>', "a kept schema, or a JSON or YAML file; default: the dataset's name"))
    .addOption(new Option('--training <dataset>', 'also measure the skew against it'))
    .action(async (name: string, flags: AdminFlags & { version: string; schema?: string; training?: string }) => {
      const { schema = name, training } = flags;
      const wish = {
        ...(/\.(json|ya?ml)$/.test(schema) ? { schema: await readDocument(schema) } : { schema_ref: { name: schema } }),
        ...(training === undefined ? {} : { training: { name: training } }),
      };
      const found = await (await connectDatasets(flags)).validate(name, flags.version, wish);
      const rows = found.anomalies.map(({ severity, field, kind, message }) => [severity, field, kind, message]);
      show(flags, found, () =>
        rows.length === 0
          ? `${found.rows} rows are as they must be`
          : formatTable(['severity', 'field', 'kind', 'what'], rows),
      );
      if (!found.valid) setExit(EXIT.failed);
    });
  withAdmin(datasets.command('export').description('write a version to a file, or have the server write it'))
    .argument('<name>')
    .addOption(version())
    .addOption(new Option('--to <file>', 'here'))
    .addOption(new Option('--target <file>', 'JSON or YAML: where the server writes, see docs/datasets.md'))
    .addOption(format())
    .action(
      async (name: string, flags: AdminFlags & { version: string; to?: string; target?: string; format?: string }) => {
        const client = await connectDatasets(flags);
        if ((flags.to === undefined) === (flags.target === undefined))
          throw new CliError('give either --to, a file here, or --target, where the server writes', EXIT.usage);
        if (flags.target !== undefined) {
          const done = await client.export(name, flags.version, await readDocument(flags.target));
          show(flags, done, () => `${done.rows} rows written`);
          return;
        }
        const path = flags.to as string;
        const bytes = await saveAs(path, client.download(name, flags.version, flags.format ?? formatOf(path)));
        show(flags, { path, bytes }, () => `${path}: ${bytes} bytes`);
      },
    );
  withAdmin(datasets.command('arrays').description('write a version as NumPy arrays, one for each input of a model'))
    .argument('<name>')
    .addOption(version())
    .requiredOption('--inputs <file>', 'JSON or YAML: a list of inputs, see docs/datasets.md')
    .requiredOption('--to <file>', 'here, such as rows.npz')
    .action(async (name: string, flags: AdminFlags & { version: string; inputs: string; to: string }) => {
      const client = await connectDatasets(flags);
      const document = await readDocument(flags.inputs);
      const bytes = await saveAs(flags.to, client.arrays(name, flags.version, document));
      show(flags, { path: flags.to, bytes }, () => `${flags.to}: ${bytes} bytes`);
    });
  addSharing(datasets, output);
}

async function create(
  client: DatasetClient,
  name: string,
  file: string | undefined,
  flags: CreateFlags,
  output: Output,
): Promise<DatasetRow> {
  if ((file === undefined) === (flags.source === undefined))
    throw new CliError('give either a file, or --source with what the server reads', EXIT.usage);
  const tags = pairs(flags.tag ?? [], '--tag');
  if (file !== undefined) {
    const query = {
      format: flags.format ?? formatOf(file),
      kind: flags.kind,
      tags: JSON.stringify(tags),
      types: JSON.stringify(pairs(flags.type ?? [], '--type')),
      max_rejects: flags.maxRejects,
      gzip: String(file.endsWith('.gz')),
      ...(flags.description === undefined ? {} : { description: flags.description }),
      ...(/\.tsv(\.gz)?$/.test(file) ? { delimiter: '\t' } : {}),
    };
    await stat(file).catch((error: NodeJS.ErrnoException) => {
      throw new CliError(`${file}: ${error.code === 'ENOENT' ? 'there is no such file' : error.message}`, EXIT.usage);
    });
    return client.upload(name, query, createReadStream(file, { highWaterMark: 256 * 1024 }));
  }
  const document = (await readDocument(flags.source as string)) as { source?: unknown; joins?: unknown } | null;
  const { source = document, joins } = document ?? {};
  const { kind, description } = flags;
  const { id } = await client.startImport({
    name,
    source,
    joins,
    kind,
    tags,
    description,
    max_rejects: Number(flags.maxRejects),
  });
  const done = await follow(client, id, output);
  if (done.status === 'failed') throw new CliError(done.error);
  return client.get(name, String(done.version));
}

/** Shows how far an import is until it is over. */
async function follow(client: DatasetClient, id: string, output: Output): Promise<ImportRow> {
  let shown = '';
  for (;;) {
    const state = await client.getImport(id);
    if (state.status !== 'running') return state;
    const share = state.total_bytes
      ? ` of ${state.total_bytes} (${((100 * state.bytes) / state.total_bytes).toFixed(0)} %)`
      : '';
    const text = `${state.rows} rows, ${state.bytes} bytes${share}, ${state.rejects} rejected`;
    if (text !== shown) output.err(text);
    shown = text;
    await sleep(LOOK_MS);
  }
}

function formatOf(path: string): string {
  const ending = /\.([a-z]+)(\.gz)?$/i.exec(path)?.[1].toLowerCase() ?? '';
  if (Object.hasOwn(ENDINGS, ending)) return ENDINGS[ending];
  throw new CliError(`${path}: the ending tells no format; say --format ${FORMATS.join(', ')}`, EXIT.usage);
}

const COLUMNS = ['name', 'version', 'kind', 'rows', 'columns', 'bytes', 'rejects', 'owner', 'created', 'tags'];

function cells(row: DatasetRow): string[] {
  const tags = Object.entries(row.tags).map(([key, value]) => `${key}=${value}`);
  return [
    row.name,
    String(row.version),
    row.kind,
    String(row.rows),
    String(row.schema.fields.length),
    String(row.size),
    String(row.rejects),
    row.owner,
    new Date(row.created_at).toISOString().slice(0, 19),
    tags.join(' '),
  ];
}

const PROFILE = [
  'column',
  'type',
  'there',
  'missing',
  'distinct',
  'min',
  'mean',
  'median',
  'max',
  'std',
  'most frequent',
];

function profileCells({
  name,
  type,
  count,
  nulls,
  distinct,
  distinctIsLowerBound,
  numeric,
  top,
}: ColumnProfileRow): string[] {
  const time = (value: number): string => new Date(value).toISOString();
  const figure = (value: number | undefined): string => {
    if (value === undefined) return '–';
    return type === 'timestamp' ? time(value) : String(Number(value.toPrecision(6)));
  };
  return [
    name,
    type,
    String(count),
    String(nulls),
    `${distinctIsLowerBound ? '≥ ' : ''}${distinct}`,
    figure(numeric?.min),
    figure(numeric?.mean),
    figure(numeric?.quantiles['0.5']),
    figure(numeric?.max),
    type === 'timestamp' ? '–' : figure(numeric?.std),
    top
      .slice(0, 3)
      .map(({ value, count: times }) => `${String(value)} (${times})`)
      .join(' '),
  ];
}
