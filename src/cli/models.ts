import { readFile } from 'node:fs/promises';
import { type Command, Option } from 'commander';
import type { ModelRow } from '../client/admin.ts';
import { CliError, EXIT, type Output } from './io.ts';
import { type AdminFlags, connect, positiveInteger, withAdmin } from './options.ts';
import { formatTable } from './table.ts';

interface ListFlags extends AdminFlags {
  name?: string;
  state?: string;
  limit?: number;
  pageToken?: string;
}

interface LoadFlags extends AdminFlags {
  config?: string;
  file?: string[];
}

export function addModels(program: Command, output: Output): void {
  const models = program.command('models').description('look after the models of a running server');
  withAdmin(models.command('list').description('list models, versions and states'))
    .option('--name <prefix>', 'only names that start so')
    .addOption(
      new Option('--state <state>', 'only models with a version in this state').choices([
        'UNKNOWN',
        'LOADING',
        'READY',
        'UNLOADING',
        'UNAVAILABLE',
      ]),
    )
    .addOption(
      new Option('--limit <n>', 'one page of so many models (default: all of them)').argParser(positiveInteger),
    )
    .option('--page-token <token>', 'go on after the page that named this token')
    .action((flags: ListFlags) => list(flags, output));
  withAdmin(models.command('skew').description('how far what a model is asked is from its training data'))
    .argument('<model>')
    .action((model: string, flags: AdminFlags) => skew(model, flags, output));
  withAdmin(models.command('load').description('load or reload a model (model control mode explicit)'))
    .argument('<model>')
    .option('--config <file>', 'ModelConfig as JSON, in place of the one in the repository')
    .option('--file <path=local...>', "file in place of the repository's, such as 1/model.onnx=./model.onnx")
    .action((model: string, flags: LoadFlags) => load(model, flags, output));
  withAdmin(models.command('unload').description('unload a model (model control mode explicit)'))
    .argument('<model>')
    .option('--dependents', 'also what an ensemble composes and no other one needs')
    .action((model: string, flags: AdminFlags & { dependents?: boolean }) => unload(model, flags, output));
}

async function list(flags: ListFlags, output: Output): Promise<void> {
  const client = await connect(flags);
  const query = { name: flags.name, state: flags.state, limit: flags.limit };
  let models: ModelRow[] = [];
  let next: string | undefined;
  if (flags.limit !== undefined || flags.pageToken !== undefined) {
    ({ models, next_page_token: next } = await client.listModels(query, flags.pageToken));
  } else {
    for await (const model of client.allModels({ ...query, limit: 1000 })) models.push(model);
  }
  if (flags.output === 'json') {
    output.out(JSON.stringify({ models, ...(next === undefined ? {} : { next_page_token: next }) }, undefined, 2));
    return;
  }
  output.out(formatTable(['name', 'version', 'state', 'reason'], models.flatMap(modelRows)));
  if (next !== undefined) output.err(`more: --page-token ${next}`);
}

function modelRows(model: ModelRow): string[][] {
  if (model.versions.length === 0) return [[model.name, '', '', '']];
  return model.versions.map(({ version, state, reason }) => [model.name, version, state, reason]);
}

async function load(name: string, flags: LoadFlags, output: Output): Promise<void> {
  const files = new Map<string, Uint8Array>();
  for (const pair of flags.file ?? []) {
    const equals = pair.indexOf('=');
    if (equals < 1)
      throw new CliError(
        `--file ${pair}: give <path in the model>=<local file>, such as 1/model.onnx=a.onnx`,
        EXIT.usage,
      );
    files.set(pair.slice(0, equals), await read(pair.slice(equals + 1), '--file'));
  }
  const config = flags.config === undefined ? undefined : (await read(flags.config, '--config')).toString('utf8');
  const model = await (await connect(flags)).loadModel(name, { config, files });
  output.out(
    flags.output === 'json'
      ? JSON.stringify(model, undefined, 2)
      : formatTable(['name', 'version', 'state', 'reason'], modelRows(model)),
  );
}

/** Exit code 1: a field is further from the training data than its limit. */
async function skew(name: string, flags: AdminFlags, output: Output): Promise<void> {
  const answer = await (await connect(flags)).modelSkew(name);
  const share = (value: number | null): string => (value === null ? '' : value.toFixed(4));
  const rows = answer.versions.flatMap(({ version, dataset, dataset_version, fields }) =>
    fields.map((field) => [
      version,
      `${dataset}@${dataset_version ?? 'latest'}`,
      field.field,
      field.state,
      `${field.values}`,
      share(field.missing),
      share(field.training_missing),
      share(field.linf),
      share(field.js),
    ]),
  );
  const columns = ['version', 'training', 'field', 'state', 'values', 'missing', 'there', 'linf', 'js'];
  output.out(flags.output === 'json' ? JSON.stringify(answer, undefined, 2) : formatTable(columns, rows));
  for (const { version, problem } of answer.versions) if (problem !== '') output.err(`version ${version}: ${problem}`);
  if (answer.versions.length === 0)
    output.err(`no version of ${name} that names training data (reference in switchyard.validation) was asked`);
  if (answer.versions.some(({ fields }) => fields.some(({ state }) => state === 'skewed')))
    throw new CliError('what the model is asked is further from its training data than is allowed', EXIT.failed);
}

async function unload(name: string, flags: AdminFlags & { dependents?: boolean }, output: Output): Promise<void> {
  await (await connect(flags)).unloadModel(name, flags.dependents ?? false);
  output.out(flags.output === 'json' ? JSON.stringify({ name }) : `unloaded ${name}`);
}

async function read(file: string, flag: string): Promise<Buffer> {
  try {
    return await readFile(file);
  } catch (error) {
    throw new CliError(`${flag} ${file}: cannot be read (${(error as NodeJS.ErrnoException).code})`, EXIT.usage);
  }
}
