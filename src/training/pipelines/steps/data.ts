import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { stat } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { invalidArgument, SwitchyardError } from '../../../shared/errors.ts';
import { type Artifact, artifactDigest, fetchFiles, storeFiles } from '../artifacts.ts';
import type { Bodies } from '../document.ts';
import { runWork } from '../worker/launcher.ts';
import type { DataFiles, Work, WorkResult } from '../worker/protocol.ts';
import { formatOf } from '../worker/work.ts';
import { artifactOf, digestOfInput, type Execution, type StepOutcome, type StepWork } from './context.ts';
import { keptSchema } from './kept-schema.ts';

/** Writes a dataset's files for a worker. */
export async function dataFiles(context: Execution, reference: string): Promise<DataFiles> {
  const artifact = artifactOf(context, reference);
  const folder = join(context.folder, 'in', reference);
  return { files: await fetchFiles(context.services.registry, artifact, folder), columns: artifact.columns };
}

/** Runs a worker and stores what it wrote. */
async function work(
  context: Execution,
  order: Work,
): Promise<{ result: WorkResult; artifacts: Record<string, Artifact> }> {
  const result = await runWork(order, context.signal);
  const artifacts: Record<string, Artifact> = {};
  for (const [name, { path, columns, rows }] of Object.entries(result.files)) {
    const files = await storeFiles(context.services.registry, path);
    artifacts[name] = { files, ...(columns === undefined ? {} : { columns, rows }) };
  }
  return { result, artifacts };
}

const out = ({ folder }: Execution): string => join(folder, 'out');

function sourcesOf({ source, format, delimiter, missing }: Bodies['ingest'], baseDir: string) {
  return [source].flat().map((location) => {
    const chosen = format ?? formatOf(location);
    if (chosen === undefined)
      throw invalidArgument(`${location}: its extension tells no format; say format: csv or format: jsonl`);
    return {
      location: isWeb(location) ? location : resolve(baseDir, location),
      format: chosen,
      ...(delimiter === undefined ? {} : { delimiter }),
      missing,
    };
  });
}

const isWeb = (location: string): boolean => /^https?:\/\//.test(location);

const digests = new Map<string, string>();
const MAX_DIGESTS = 1000;

/** Of a file's bytes; read again only when its size, time or inode changed. */
async function fileDigest(path: string): Promise<string> {
  const { size, mtimeNs, ino } = await stat(path, { bigint: true }).catch((error: NodeJS.ErrnoException) => {
    const reason = error.code === 'ENOENT' ? 'there is no such file' : error.message;
    throw new SwitchyardError('failed_precondition', `${path}: ${reason}; correct the source of the step`);
  });
  const key = `${path}\0${size}\0${mtimeNs}\0${ino}`;
  const known = digests.get(key);
  if (known !== undefined) return known;
  const hash = createHash('sha256');
  for await (const chunk of createReadStream(path)) hash.update(chunk as Buffer);
  const digest = hash.digest('hex');
  if (digests.size >= MAX_DIGESTS) digests.clear();
  digests.set(key, digest);
  return digest;
}

/** A web server's own word for the state of what it gives; undefined: it says none. */
async function etagOf(url: string): Promise<string | undefined> {
  try {
    const response = await fetch(url, { method: 'HEAD', redirect: 'error', signal: AbortSignal.timeout(10_000) });
    const etag = response.headers.get('etag');
    return response.ok && etag !== null && !etag.startsWith('W/') ? `${url} ${etag}` : undefined;
  } catch {
    return undefined;
  }
}

const datasetOf = (artifact: Artifact): string =>
  artifactDigest(artifact).slice('sha256:'.length, 'sha256:'.length + 32);

/** Tells the registry that a run read or made a dataset, so that versions are found by it. */
export async function noteDataset(
  { services, run }: Execution,
  runId: string,
  name: string,
  artifact: Artifact,
  context: string,
): Promise<void> {
  const profile = artifact.rows === undefined ? undefined : JSON.stringify({ num_rows: artifact.rows });
  const source = JSON.stringify({ digest: artifactDigest(artifact), pipeline_run: run.id });
  await services.calls.call('mlflowLogInputs', {
    run_id: runId,
    datasets: [
      {
        dataset: { name, digest: datasetOf(artifact), source_type: 'switchyard', source, profile },
        tags: [{ key: 'mlflow.data.context', value: context }],
      },
    ],
  });
}

export const ingest: StepWork = {
  facts: async ({ step, services }) => {
    const body = step.ingest as Bodies['ingest'];
    const marks: string[] = [];
    for (const { location } of sourcesOf(body, services.baseDir)) {
      const mark = isWeb(location) ? await etagOf(location) : await fileDigest(location);
      if (mark === undefined) return undefined;
      marks.push(mark);
    }
    const { source, ...rest } = body;
    return {
      body: { ...rest, formats: sourcesOf(body, services.baseDir).map(({ format }) => format) },
      inputs: { marks },
    };
  },
  execute: async (context) => {
    const body = context.step.ingest as Bodies['ingest'];
    const sources = sourcesOf(body, context.services.baseDir);
    const { artifacts } = await work(context, { kind: 'ingest', sources, types: body.types, out: out(context) });
    await noteDataset(
      context,
      context.tracking.runId,
      `${context.run.pipeline}/${context.step.name}`,
      artifacts.data,
      'ingest',
    );
    return { status: 'succeeded', outputs: { artifacts, values: {} }, reason: `${artifacts.data.rows} rows` };
  },
};

const MAX_TOLD = 10;

export const validate: StepWork = {
  facts: async (context) => {
    const { data, against, kept, ...body } = context.step.validate as Bodies['validate'];
    const found = kept === undefined ? {} : { kept: await keptSchema(context.services.registry.database, kept) };
    const inputs = { data: digestOfInput(context, data), ...found };
    return { body, inputs: against === undefined ? inputs : { ...inputs, against: schemaDigest(context, against) } };
  },
  execute: async (context): Promise<StepOutcome> => {
    const { data, schema, against, kept } = context.step.validate as Bodies['validate'];
    if (kept !== undefined && (schema !== undefined || against !== undefined))
      throw invalidArgument('validate: give one of schema, against and kept');
    const found = kept === undefined ? undefined : await keptSchema(context.services.registry.database, kept);
    let file: string | undefined;
    if (against !== undefined) {
      const [name] = against.split('.');
      const known = artifactOf(context, `${name}.schema`);
      [file] = await fetchFiles(context.services.registry, known, join(context.folder, 'in', 'schema'));
    }
    const order: Work = {
      kind: 'validate',
      data: await dataFiles(context, data),
      schema,
      against: file,
      kept: found?.schema,
      out: out(context),
    };
    const { result, artifacts } = await work(context, order);
    const problems = result.problems ?? [];
    const outputs = { artifacts, values: { problems: problems.length } };
    if (problems.length === 0)
      return { status: 'succeeded', outputs, reason: `${artifacts.data.rows} rows are as they must be` };
    const more = problems.length > MAX_TOLD ? `; and ${problems.length - MAX_TOLD} more` : '';
    return {
      status: 'failed',
      outputs,
      reason: `the data is not as it must be: ${problems.slice(0, MAX_TOLD).join('; ')}${more}`,
    };
  },
};

function schemaDigest(context: Parameters<StepWork['facts']>[0], reference: string): string {
  return digestOfInput(context, `${reference.split('.')[0]}.schema`);
}

export const transform: StepWork = {
  facts: async (context) => {
    const { data, also, state, operations } = context.step.transform as Bodies['transform'];
    const inputs = {
      data: digestOfInput(context, data),
      also: Object.fromEntries(Object.entries(also).map(([name, other]) => [name, digestOfInput(context, other)])),
      state: state === undefined ? null : digestOfInput(context, `${state.split('.')[0]}.state`),
    };
    return { body: { operations }, inputs };
  },
  execute: async (context) => {
    const { data, also, state, operations } = context.step.transform as Bodies['transform'];
    let file: string | undefined;
    if (state !== undefined) {
      const known = artifactOf(context, `${state.split('.')[0]}.state`);
      [file] = await fetchFiles(context.services.registry, known, join(context.folder, 'in', 'state'));
    }
    const others: Record<string, DataFiles> = {};
    for (const [name, reference] of Object.entries(also)) others[name] = await dataFiles(context, reference);
    const order: Work = {
      kind: 'transform',
      data: await dataFiles(context, data),
      also: others,
      operations,
      state: file,
      out: out(context),
    };
    const { artifacts } = await work(context, order);
    const columns = artifacts.data.columns?.length;
    return {
      status: 'succeeded',
      outputs: { artifacts, values: {} },
      reason: `${artifacts.data.rows} rows, ${columns} columns`,
    };
  },
};

export const split: StepWork = {
  facts: async (context) => {
    const { data, ...body } = context.step.split as Bodies['split'];
    return { body, inputs: { data: digestOfInput(context, data) } };
  },
  execute: async (context) => {
    const { data, ...spec } = context.step.split as Bodies['split'];
    const { artifacts } = await work(context, {
      kind: 'split',
      data: await dataFiles(context, data),
      spec,
      out: out(context),
    });
    const rows = Object.entries(artifacts).map(([name, artifact]) => `${name} ${artifact.rows}`);
    return { status: 'succeeded', outputs: { artifacts, values: {} }, reason: `rows: ${rows.join(', ')}` };
  },
};
