import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { z } from 'zod';
import { answer, orDrain } from '../../registry/artifacts/routes.ts';
import { receive } from '../../registry/blobs/receive.ts';
import { invalidParameter, shown } from '../../registry/errors.ts';
import type { Registry } from '../../registry/registry.ts';
import type { RestRoute, StreamCall } from '../../registry/rest/route.ts';
import { FIELD_TYPES } from '../batch.ts';
import { decode, encodedStream, MEDIA_TYPES } from '../formats/formats.ts';
import { RejectFile } from '../reading.ts';
import { DATASET_KINDS, type NewDataset } from './dataset.ts';
import type { Datasets } from './datasets.ts';
import { datasetJson, jsonQuery, kind, parents, readers, readFormat, readVersion, tags } from './fields.ts';
import { ROOT, VERSION } from './paths.ts';

/** Rows that may be left out where nobody says how many. */
export const DEFAULT_REJECTS = 0;

export interface ByteParts {
  datasets: Datasets;
  storage: Registry['storage'];
  maxBytes: number;
}

/** Rows of datasets in and out as files of bytes. */
export function byteRoutes(parts: ByteParts): RestRoute[] {
  const { datasets } = parts;
  return [
    {
      method: 'POST',
      path: `${ROOT}/{name}/versions`,
      operationId: 'uploadDataset',
      summary:
        'Make a version of the body: CSV, JSON lines, Parquet or Arrow IPC. The rows of the latest version again are that version',
      query: {
        format: 'csv, jsonl, parquet (default) or arrow',
        kind: DATASET_KINDS.join(', '),
        description: 'Of the name',
        tags: 'JSON object of texts',
        types: `JSON object: types of columns (${FIELD_TYPES.join(', ')})`,
        readers: 'JSON list: who may read it',
        parents: 'JSON list of {name, version}: datasets it was made of',
        run_id: 'The run that made it',
        max_rejects: 'Rows that may be left out; default 0',
        delimiter: 'CSV: between values',
        gzip: 'true: the body is packed',
      },
      stream: (call) => orDrain(call, () => upload(parts, call)),
    },
    {
      method: 'GET',
      path: `${VERSION}/data`,
      operationId: 'downloadDataset',
      summary: 'The rows of a version',
      query: { format: 'csv, jsonl, parquet (default) or arrow' },
      stream: async ({ params, query, actor, request, response }) => {
        const format = readFormat(query.get('format'));
        const version = readVersion(params.version);
        const headers = {
          'Content-Type': MEDIA_TYPES[format],
          'X-Content-Type-Options': 'nosniff',
          'Content-Disposition': `attachment; filename="${params.name.replace(/[^\w.-]/g, '_')}.${format}"`,
        };
        if (format === 'parquet') {
          const { stream, size } = await datasets.parquet(params.name, version, { actor });
          response.writeHead(200, { ...headers, 'Content-Length': String(size) });
          await send(request.method, stream, response);
          return;
        }
        const source = await datasets.open(params.name, version, { actor });
        response.writeHead(200, headers);
        await send(request.method, encodedStream(format, source), response);
      },
    },
    {
      method: 'GET',
      path: `${VERSION}/rejects`,
      operationId: 'downloadDatasetRejects',
      summary: 'The rows that did not fit, as JSON lines with line and reason',
      stream: async ({ params, actor, request, response }) => {
        const stream = await datasets.rejects(params.name, readVersion(params.version), { actor });
        response.writeHead(200, { 'Content-Type': MEDIA_TYPES.jsonl, 'X-Content-Type-Options': 'nosniff' });
        await send(request.method, stream as Readable, response);
      },
    },
  ];
}

async function send(method: string | undefined, stream: Readable, response: StreamCall['response']): Promise<void> {
  if (method !== 'HEAD') return pipeline(stream, response);
  stream.destroy();
  response.end();
}

async function upload({ datasets, storage, maxBytes }: ByteParts, call: StreamCall): Promise<void> {
  const { params, query, request, contentLength, actor } = call;
  // The answer comes when all rows have been read and written, and nothing is sent meanwhile.
  request.setTimeout(0);
  const format = readFormat(query.get('format'));
  const facts: NewDataset = {
    name: params.name,
    kind: kind.catch(() => badKind(query.get('kind'))).parse(query.get('kind') ?? undefined),
    origin: { kind: 'upload', format },
    parents: jsonQuery(query, 'parents', parents, []),
    runId: query.get('run_id') ?? '',
    tags: jsonQuery(query, 'tags', tags, {}),
    description: query.get('description') ?? undefined,
    readers: jsonQuery(query, 'readers', readers.optional(), undefined),
  };
  const types = jsonQuery(query, 'types', z.record(z.string(), z.enum(FIELD_TYPES)), {});
  const maxRejects = readCount(query.get('max_rejects'));
  const staged = await receive(storage.vault.staging, request, {
    maxBytes,
    declared: contentLength < 0 ? undefined : contentLength,
  });
  const folder = await mkdtemp(join(tmpdir(), 'switchyard-upload-'));
  const rejects = new RejectFile(join(folder, 'rejects.jsonl'), maxRejects);
  try {
    const delimiter = query.get('delimiter') ?? undefined;
    const name = query.get('gzip') === 'true' ? `${params.name}.gz` : params.name;
    const options = { types, delimiter, maxBytes, ...(maxRejects > 0 ? { rejects } : {}) };
    const source = await decode(format, { name, file: staged.file }, options);
    answer(call, datasetJson(await datasets.create(facts, source, { actor }, rejects)));
  } finally {
    await storage.vault.staging.discard(staged.file);
    await rejects.close().catch(() => {});
    await rm(folder, { recursive: true, force: true });
  }
}

function badKind(text: string | null): never {
  throw invalidParameter(`kind ${shown(text)} is not allowed; give ${DATASET_KINDS.join(', ')}`);
}

function readCount(given: string | null): number {
  if (given === null) return DEFAULT_REJECTS;
  if (/^\d{1,9}$/.test(given)) return Number(given);
  throw invalidParameter(`max_rejects ${shown(given)} is not allowed; give a whole number from 0`);
}
