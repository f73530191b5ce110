import { createReadStream, createWriteStream } from 'node:fs';
import { mkdtemp, rm, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { createGunzip } from 'node:zlib';
import { invalidArgument, SwitchyardError } from '../../shared/errors.ts';
import type { Source } from '../batch.ts';
import { meter, type ReadOptions, withProgress } from '../reading.ts';
import { readCsv, writeCsv } from './csv.ts';
import { readJsonLines, writeJsonLines } from './json-lines.ts';

export const FORMATS = ['csv', 'jsonl', 'parquet', 'arrow'] as const;
export type Format = (typeof FORMATS)[number];

export const MEDIA_TYPES: Readonly<Record<Format, string>> = {
  csv: 'text/csv; charset=utf-8',
  jsonl: 'application/x-ndjson',
  parquet: 'application/vnd.apache.parquet',
  arrow: 'application/vnd.apache.arrow.stream',
};

const ENDINGS: Readonly<Record<string, Format>> = {
  csv: 'csv',
  tsv: 'csv',
  jsonl: 'jsonl',
  ndjson: 'jsonl',
  parquet: 'parquet',
  arrow: 'arrow',
  arrows: 'arrow',
  feather: 'arrow',
};

/** The format that a file's name says. Throws invalid_argument. */
export function formatOf(name: string): Format {
  const ending = /\.([a-z]+)(\.gz)?$/i.exec(name.replace(/[?#].*$/, ''))?.[1].toLowerCase() ?? '';
  if (Object.hasOwn(ENDINGS, ending)) return ENDINGS[ending];
  throw invalidArgument(
    `${JSON.stringify(name.slice(-200))} does not say its format; name it: ${FORMATS.join(', ')}, or use one of the endings ${Object.keys(
      ENDINGS,
    )
      .map((one) => `.${one}`)
      .join(', ')}`,
  );
}

/** Bytes to be decoded: a file, or a stream that can be read once. */
export interface Bytes {
  /** In messages, and for the ending .gz. */
  name: string;
  file?: string | undefined;
  stream?: (() => Promise<Readable>) | undefined;
  size?: number | undefined;
}

/** Rows of bytes in a format. Errors name the place; what is opened is closed when the batches have been read. */
export async function decode(format: Format, bytes: Bytes, options: ReadOptions = {}): Promise<Source> {
  try {
    return named(
      bytes.name,
      format === 'parquet' ? await parquet(bytes, options) : await streamed(format, bytes, options),
    );
  } catch (error) {
    throw placed(bytes.name, error);
  }
}

async function streamed(format: Format, bytes: Bytes, options: ReadOptions): Promise<Source> {
  let read = 0;
  const totalBytes = bytes.size ?? (bytes.file === undefined ? undefined : (await stat(bytes.file)).size);
  let stream: Readable = bytes.file === undefined ? await openStream(bytes) : createReadStream(bytes.file);
  const chain = (next: NodeJS.ReadWriteStream & Readable): void => {
    const before = stream;
    before.on('error', (error) => next.destroy(error));
    next.on('close', () => before.destroy());
    stream = before.pipe(next) as Readable;
  };
  chain(
    meter(Number.POSITIVE_INFINITY, (count) => {
      read = count;
    }),
  );
  if (bytes.name.endsWith('.gz')) chain(createGunzip());
  chain(meter(options.maxBytes ?? Number.POSITIVE_INFINITY, () => {}));
  const tabs = format === 'csv' && options.delimiter === undefined && /\.tsv(\.gz)?$/.test(bytes.name);
  const settings = tabs ? { ...options, delimiter: '\t' } : options;
  const source = await (format === 'csv'
    ? readCsv(stream, settings)
    : format === 'jsonl'
      ? readJsonLines(stream, settings)
      : (await import('./arrow.ts')).readArrow(stream));
  return withProgress(source, () => ({ bytes: read, totalBytes }), options.onProgress);
}

/** Parquet is read from its end: what is no file becomes one for as long as it is read. */
async function parquet(
  bytes: Bytes,
  { onProgress, maxBytes = Number.POSITIVE_INFINITY }: ReadOptions,
): Promise<Source> {
  const { openFile, readParquet } = await import('./parquet.ts');
  let read = 0;
  const open = async (path: string): Promise<Source> => {
    const totalBytes = (await stat(path)).size;
    const source = await readParquet(await openFile(path), (count) => {
      read = count;
    });
    return withProgress(source, () => ({ bytes: read, totalBytes }), onProgress);
  };
  if (bytes.file !== undefined) return open(bytes.file);
  const folder = await mkdtemp(join(tmpdir(), 'switchyard-parquet-'));
  const remove = (): Promise<void> => rm(folder, { recursive: true, force: true });
  try {
    const path = join(folder, 'data.parquet');
    await pipeline(
      await openStream(bytes),
      meter(maxBytes, () => {}),
      createWriteStream(path, { mode: 0o600 }),
    );
    const source = await open(path);
    return {
      schema: source.schema,
      async *batches() {
        try {
          yield* source.batches();
        } finally {
          await remove();
        }
      },
    };
  } catch (error) {
    await remove();
    throw error;
  }
}

function openStream({ stream, name }: Bytes): Promise<Readable> {
  if (stream === undefined) throw new Error(`${name} has neither a file nor a stream`);
  return stream();
}

function named(name: string, source: Source): Source {
  return {
    schema: source.schema,
    async *batches() {
      try {
        yield* source.batches();
      } catch (error) {
        throw placed(name, error);
      }
    },
  };
}

/** An error with the name of what was read. A broken file is its owner's, not the server's. */
function placed(name: string, error: unknown): unknown {
  if (error instanceof SwitchyardError)
    return error.message.startsWith(`${name}: `) ? error : new SwitchyardError(error.code, `${name}: ${error.message}`);
  const { code, message } = error as NodeJS.ErrnoException;
  if (code === 'ENOENT') return new SwitchyardError('not_found', `${name}: there is no such file; correct the path`);
  if (code === undefined && !message.includes('incorrect header')) return error;
  if (code?.startsWith('Z_') === true)
    return invalidArgument(`${name}: not readable as gzip: ${message}; pack it again`);
  return new SwitchyardError('failed_precondition', `${name}: ${message}`, { cause: error });
}

/** Rows as bytes of a format. */
export async function* encode(format: Format, source: Source): AsyncGenerator<Uint8Array> {
  if (format === 'parquet') yield* (await import('./parquet.ts')).writeParquet(source);
  else if (format === 'arrow') yield* (await import('./arrow.ts')).writeArrow(source);
  else for await (const text of format === 'csv' ? writeCsv(source) : writeJsonLines(source)) yield Buffer.from(text);
}

/** A stream of encoded bytes, for responses and uploads. */
export function encodedStream(format: Format, source: Source): Readable {
  return Readable.from(encode(format, source), { objectMode: false });
}
