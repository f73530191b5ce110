import { existsSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import type { FilesSinkConfig, SinkConfig } from '../../config/event-log-schema.ts';
import type { KafkaConfig } from '../../config/kafka-schema.ts';
import type { WebhookPolicy } from '../../registry/webhooks/guard.ts';
import type { Logger } from '../../telemetry/logging.ts';
import type { KeepPayload } from '../encode/record-encoder.ts';
import type { CursorFile } from '../spool/cursor.ts';
import { CutFile, NO_CUTS } from './cuts.ts';
import { parseFileName } from './file-names.ts';
import { JsonLinesSink } from './files.ts';
import type { Sink } from './sink.ts';
import { FolderStore, type ObjectStore } from './store.ts';
import { isFlat, TableSink } from './table.ts';
import { deleteUncut } from './uncut-files.ts';

export interface OpenSinksParts {
  /** Absolute: cursors, and files of sinks without a folder of their own. */
  dir: string;
  kafka: KafkaConfig;
  webhooks: WebhookPolicy;
  keep: KeepPayload;
  logger: Logger;
}

/** Makes the sinks that the configuration names. */
export class OpenSinks {
  private readonly parts: OpenSinksParts;
  /** By the names of live sinks of kind `files`: what knows the digits of their log. */
  private readonly logs = new Map<string, { readonly log: string }>();

  constructor(parts: OpenSinksParts) {
    this.parts = parts;
  }

  /** The one that has the cursor. */
  live(sink: SinkConfig, cursor: CursorFile): Promise<Sink> {
    return sink.kind === 'files' ? this.liveFiles(sink, cursor) : this.remote(sink, '');
  }

  /** One beside it that has no cursor. @param mark what its records say, not '' */
  async replaying(sink: SinkConfig, mark: string): Promise<Sink> {
    if (sink.kind !== 'files') return this.remote(sink, mark);
    const store = await this.storeOf(sink, Number.POSITIVE_INFINITY);
    return new TableSink({ config: sink, store, cuts: NO_CUTS, replayed: mark });
  }

  folderOf(sink: FilesSinkConfig): string {
    return sink.dir ?? join(this.parts.dir, 'files', sink.name);
  }

  /** How names of a live sink's files tell its log from others; '': there are no others. */
  logOf(sink: FilesSinkConfig): string {
    return this.logs.get(sink.name)?.log ?? '';
  }

  private async liveFiles(sink: FilesSinkConfig, cursor: CursorFile): Promise<Sink> {
    const folder = this.folderOf(sink);
    const flat = isFlat(sink);
    if (flat && sink.format !== 'parquet') {
      const lines = new JsonLinesSink(sink, folder);
      this.logs.set(sink.name, lines);
      return lines;
    }
    const state = cursor.load();
    if (flat && state !== undefined) deleteUncut(folder, state);
    const plain = flat && (state !== undefined || !hasParquet(folder));
    const path = join(this.parts.dir, `${sink.name}.cuts`);
    const cuts = new CutFile(path, () => cursor.load()?.position.record ?? 0, plain);
    this.logs.set(sink.name, cuts);
    return new TableSink({ config: sink, store: await this.storeOf(sink, sink.keepFiles), cuts, replayed: '' });
  }

  private async storeOf(sink: FilesSinkConfig, keepFiles: number): Promise<ObjectStore> {
    if (sink.s3 === undefined) return new FolderStore(this.folderOf(sink), keepFiles);
    const { BucketStore } = await import('./bucket-store.ts');
    return new BucketStore(sink.s3);
  }

  private async remote(sink: Exclude<SinkConfig, FilesSinkConfig>, mark: string): Promise<Sink> {
    const { kafka, webhooks, keep, logger } = this.parts;
    if (sink.kind === 'webhook') {
      const { WebhookSink } = await import('./webhook.ts');
      return new WebhookSink(sink, webhooks, mark);
    }
    const [{ KafkaSink }, { kafkaClients }] = await Promise.all([
      import('./kafka.ts'),
      import('../../kafka/client.ts'),
    ]);
    return new KafkaSink(sink, await kafkaClients(kafka, logger), keep, logger, mark);
  }
}

function hasParquet(folder: string): boolean {
  return existsSync(folder) && readdirSync(folder).some((name) => parseFileName(name)?.ending === 'parquet');
}
