import { createWriteStream } from 'node:fs';
import { mkdtemp, readFile, rename, rm, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import type { DatasetsConfig, PostgresConnection, S3Connection } from '../../config/datasets-schema.ts';
import type { MessageReader } from '../../eventlog/record.ts';
import type { KafkaClients } from '../../kafka/client.ts';
import { SwitchyardError } from '../../shared/errors.ts';
import type { Source } from '../batch.ts';
import type { DatasetOrigin } from '../entities/dataset.ts';
import { decode, encode, formatOf, MEDIA_TYPES } from '../formats/formats.ts';
import type { ReadOptions } from '../reading.ts';
import { allowedNewPath, allowedPath, fileParts } from './files.ts';
import { patternOf } from './glob.ts';
import { download, upload } from './http.ts';
import type { ReadPayload } from './log.ts';
import { withUnmatched } from './log-topics.ts';
import { type Part, readMany } from './many.ts';
import { partitioned } from './partitions.ts';
import type { SourceSpec, TargetSpec } from './spec.ts';

interface Parts {
  config: DatasetsConfig;
  /** Where sinks of kind files write, by their names. */
  logFolders: Readonly<Record<string, string>>;
  /** Values of logged requests that are kept by reference. */
  payload?: ReadPayload;
  /** Reads the event log's messages, and its lines. */
  messages: MessageReader;
  /** Rejects with failed_precondition where no Kafka is configured. */
  kafka(): Promise<KafkaClients>;
}

/** Opens what imports name and writes what exports name, within what the configuration allows. */
export class Connectors {
  private readonly parts: Parts;

  constructor(parts: Parts) {
    this.parts = parts;
  }

  /** Rejects with a SwitchyardError that names the place. */
  async open(spec: SourceSpec, given: ReadOptions): Promise<Source> {
    const { config } = this.parts;
    const options: ReadOptions = {
      ...given,
      maxBytes: config.maxBytes,
      ...('types' in spec ? { types: spec.types } : {}),
      ...('delimiter' in spec ? { delimiter: spec.delimiter, missing: spec.missing } : {}),
    };
    switch (spec.kind) {
      case 'file': {
        if (typeof spec.path === 'string' && patternOf(spec.path) === undefined && spec.partitions !== true) {
          const file = await allowedPath(spec.path, config.folders);
          return decode(spec.format ?? formatOf(spec.path), { name: spec.path, file }, options);
        }
        return readParts(await fileParts([spec.path].flat(), spec.format, config.folders), spec, options);
      }
      case 'http': {
        const { stream, size } = await download(spec.url, spec.headers, config.http);
        const name = new URL(spec.url);
        const bytes = { name: name.origin + name.pathname, stream: async () => stream, size };
        return decode(spec.format ?? formatOf(name.pathname), bytes, options);
      }
      case 's3': {
        const { objectParts, openObject } = await import('./s3.ts');
        const connection = this.s3(spec.connection);
        if (typeof spec.key === 'string' && patternOf(spec.key) === undefined && spec.partitions !== true)
          return openObject(connection, spec.key, spec.format, options);
        return readParts(await objectParts(connection, [spec.key].flat(), spec.format), spec, options);
      }
      case 'postgres': {
        const { readPostgres } = await import('./postgres.ts');
        return readPostgres(this.postgres(spec.connection), spec.query, options.onProgress);
      }
      case 'kafka': {
        const { readTopic } = await import('./kafka.ts');
        return readTopic(await this.parts.kafka(), spec, options);
      }
      case 'log': {
        const { readLog } = await import('./log.ts');
        const { filesOrigin, topicsOrigin } = await import('./log-origins.ts');
        const { messages, payload } = this.parts;
        const origin =
          spec.topics === undefined
            ? filesOrigin(this.logFolder(spec.sink), messages)
            : await topicsOrigin(await this.parts.kafka(), withUnmatched(spec.model, spec.topics), messages);
        return readLog(origin, spec, options, payload);
      }
      case 'images': {
        const { readImages } = await import('./images.ts');
        return readImages(await allowedPath(spec.folder, config.folders), config.maxImagePixels, options);
      }
    }
  }

  /** Resolves when the rows are there, all of them. */
  async write(target: TargetSpec, source: Source): Promise<void> {
    switch (target.kind) {
      case 'file': {
        const path = await allowedNewPath(target.path, this.parts.config.folders);
        const partial = `${path}.partial`;
        try {
          await pipeline(encode(target.format ?? formatOf(path), source), createWriteStream(partial, { mode: 0o640 }));
          await rename(partial, path);
        } finally {
          await rm(partial, { force: true });
        }
        return;
      }
      case 'http': {
        const { url, method, headers } = target;
        const format = target.format ?? formatOf(url);
        // Written first: most servers, stores with signed addresses among them, want to know the length.
        const folder = await mkdtemp(join(tmpdir(), 'switchyard-export-'));
        try {
          const path = join(folder, 'rows');
          await pipeline(encode(format, source), createWriteStream(path, { mode: 0o600 }));
          const { size } = await stat(path);
          await upload(url, method, headers, { path, size, mediaType: MEDIA_TYPES[format] }, this.parts.config.http);
        } finally {
          await rm(folder, { recursive: true, force: true });
        }
        return;
      }
      case 's3': {
        const { uploadObject } = await import('./s3.ts');
        const format = target.format ?? formatOf(target.key);
        return uploadObject(this.s3(target.connection), target.key, encode(format, source), MEDIA_TYPES[format]);
      }
      case 'postgres': {
        const { writePostgres } = await import('./postgres.ts');
        await writePostgres(this.postgres(target.connection), target.table, source);
        return;
      }
      case 'kafka': {
        const { writeTopic } = await import('./kafka.ts');
        await writeTopic(await this.parts.kafka(), target.topic, target.key, source);
      }
    }
  }

  /** The bytes of a picture that a dataset of images names, below the folder that it was read from. */
  async picture(origin: DatasetOrigin, path: string): Promise<Uint8Array> {
    const folder = origin.kind === 'images' && typeof origin.folder === 'string' ? origin.folder : undefined;
    if (folder === undefined)
      throw new SwitchyardError(
        'failed_precondition',
        'the dataset holds no pictures and names no folder of them; read one with kind: images',
      );
    return readFile(await allowedPath(join(folder, path), this.parts.config.folders));
  }

  get maxImagePixels(): number {
    return this.parts.config.maxImagePixels;
  }

  private logFolder(name: string | undefined): string {
    const folders = Object.entries(this.parts.logFolders);
    const found = name === undefined && folders.length === 1 ? folders[0] : folders.find(([one]) => one === name);
    if (found !== undefined) return found[1];
    const known = folders.map(([one]) => one).join(', ') || 'none';
    throw new SwitchyardError(
      'failed_precondition',
      `name with "sink" the files of the event log that are meant; eventLog.sinks of kind files are: ${known}`,
    );
  }

  private s3(name: string): S3Connection {
    const connection = this.connection(name);
    if (connection.kind === 's3') return connection;
    throw this.wrong(name, 's3');
  }

  private postgres(name: string): PostgresConnection {
    const connection = this.connection(name);
    if (connection.kind === 'postgres') return connection;
    throw this.wrong(name, 'postgres');
  }

  private connection(name: string): S3Connection | PostgresConnection {
    const { connections } = this.parts.config;
    if (Object.hasOwn(connections, name)) return connections[name];
    const known = Object.keys(connections).join(', ') || 'none';
    throw new SwitchyardError(
      'failed_precondition',
      `there is no connection ${JSON.stringify(name.slice(0, 100))}; datasets.connections has ${known}`,
    );
  }

  private wrong(name: string, wanted: string): SwitchyardError {
    return new SwitchyardError(
      'failed_precondition',
      `datasets.connections.${name} is no connection of kind ${wanted}`,
    );
  }
}

function readParts(
  parts: Part[],
  { partitions }: { partitions?: boolean | undefined },
  options: ReadOptions,
): Promise<Source> {
  return readMany(partitions === true ? partitioned(parts, options.types) : parts, options);
}

/** What of a source is kept with the dataset: everything but what may be secret, and all topics that are read. */
export function originOf(spec: SourceSpec): DatasetOrigin {
  if (spec.kind === 'log' && spec.topics !== undefined)
    return { ...spec, topics: withUnmatched(spec.model, spec.topics) };
  if (spec.kind !== 'http') return spec;
  const url = new URL(spec.url);
  return { kind: 'http', url: url.origin + url.pathname, format: spec.format };
}
