import { createReadStream, createWriteStream } from 'node:fs';
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { pipeline as pump } from 'node:stream/promises';
import type { DataSchema as KeptSchema } from '../../../config/data-schema.ts';
import { ColumnProfiler } from '../../../datasets/profile.ts';
import { invalidArgument } from '../../../shared/errors.ts';
import { findAnomalies } from '../../../validation/anomalies.ts';
import { evaluateModel } from '../../evaluation/evaluate.ts';
import { readTable, writeCsv } from '../../tables/csv.ts';
import { filesAndHttp, gather } from '../../tables/reader.ts';
import { split } from '../../tables/split.ts';
import { factsOf, type Table } from '../../tables/table.ts';
import { applyTransform, fitTransform, type Learnt } from '../../tables/transform.ts';
import { type DataSchema, describeProblem, findProblems, inferSchema } from '../../tables/validate.ts';
import type { DataFiles, Work, WorkResult } from './protocol.ts';

/** Does one piece of work. Throws SwitchyardError. Blocks its thread as long as it takes: for worker processes only. */
export async function doWork(work: Work): Promise<WorkResult> {
  switch (work.kind) {
    case 'ingest': {
      const table = await gather(filesAndHttp, work.sources, work.types);
      return { files: { data: await put(work.out, 'data', table) } };
    }
    case 'validate':
      return validate(work);
    case 'transform':
      return transform(work);
    case 'split': {
      const parts = split(await load(work.data), work.spec);
      const files: WorkResult['files'] = {};
      for (const [name, table] of parts) files[name] = await put(work.out, name, table);
      return { files };
    }
    case 'evaluate':
      return evaluate(work);
  }
}

async function validate({ data, schema, against, kept, out }: Work & { kind: 'validate' }): Promise<WorkResult> {
  const table = await load(data);
  if (kept !== undefined) return validateByKept(table, kept, out);
  const wanted =
    schema ??
    (against === undefined ? inferSchema(table) : (JSON.parse(await readFile(against, 'utf8')) as DataSchema));
  const problems = findProblems(table, wanted);
  const report = { rows: table.rows, columns: factsOf(table), problems };
  const files = {
    data: await put(out, 'data', table),
    schema: await putJson(out, 'schema', wanted),
    report: await putJson(out, 'report', report),
  };
  return { files, problems: problems.map(describeProblem) };
}

/** As datasets are validated; warnings stand in the report and fail nothing. */
async function validateByKept(table: Table, schema: KeptSchema, out: string): Promise<WorkResult> {
  const columns = table.columns.map(({ name, type, values }) => {
    const profiler = new ColumnProfiler({ name, type });
    profiler.add(values);
    return profiler.result();
  });
  const anomalies = findAnomalies({ rows: table.rows, columns }, schema);
  const files = {
    data: await put(out, 'data', table),
    schema: await putJson(out, 'schema', schema),
    report: await putJson(out, 'report', { rows: table.rows, columns: factsOf(table), problems: anomalies }),
  };
  const errors = anomalies.filter(({ severity }) => severity === 'error');
  return { files, problems: errors.map(({ field, message }) => (field === '' ? message : `${field}: ${message}`)) };
}

async function transform(work: Work & { kind: 'transform' }): Promise<WorkResult> {
  const { operations, out } = work;
  const data = await load(work.data);
  const known =
    work.state === undefined ? undefined : (JSON.parse(await readFile(work.state, 'utf8')) as { state: Learnt[] });
  const { table, state } =
    known === undefined
      ? fitTransform(data, operations)
      : { table: applyTransform(data, operations, known.state), state: known.state };
  const files: WorkResult['files'] = {
    data: await put(out, 'data', table),
    state: await putJson(out, 'state', { operations, state }),
  };
  for (const [name, other] of Object.entries(work.also))
    files[name] = await put(out, name, applyTransform(await load(other), operations, state));
  return { files };
}

async function evaluate({ model, data, spec, champion }: Work & { kind: 'evaluate' }): Promise<WorkResult> {
  const table = await load(data);
  const evaluation = await evaluateModel(model, table, spec);
  if (champion === undefined) return { files: {}, evaluation };
  // Nobody asks why the champion says what it says: its attribution is left out.
  const theirs = await evaluateModel(champion, table, { ...spec, attribution: undefined }).catch((error: Error) => ({
    error: error.message,
  }));
  return { files: {}, evaluation, champion: theirs };
}

async function load({ files, columns }: DataFiles): Promise<Table> {
  if (columns !== undefined && files.length === 1) return readTable(createReadStream(files[0]), columns);
  const sources = files.map((location) => {
    const format = formatOf(location);
    if (format === undefined)
      throw invalidArgument(`${location.split('/').pop()}: a dataset must be a .csv or .jsonl file, plain or .gz`);
    return { location, format };
  });
  return gather(filesAndHttp, sources);
}

/** By the extension; undefined: it tells nothing. */
export function formatOf(location: string): 'csv' | 'jsonl' | undefined {
  const path = location.replace(/[?#].*$/, '').replace(/\.gz$/, '');
  if (/\.csv$/i.test(path)) return 'csv';
  return /\.(jsonl|ndjson)$/i.test(path) ? 'jsonl' : undefined;
}

async function put(out: string, name: string, table: Table): Promise<WorkResult['files'][string]> {
  await mkdir(join(out, name), { recursive: true });
  const path = join(out, name, 'data.csv');
  await pump(Readable.from(writeCsv(table)), createWriteStream(path));
  return { path, columns: factsOf(table), rows: table.rows };
}

async function putJson(out: string, name: string, value: unknown): Promise<{ path: string }> {
  await mkdir(join(out, name), { recursive: true });
  const path = join(out, name, `${name}.json`);
  await writeFile(path, `${JSON.stringify(value, undefined, 2)}\n`);
  return { path };
}
