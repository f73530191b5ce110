import type { Readable } from 'node:stream';
import type { Serving } from '../registry/serving/serving.ts';
import type { Follow, GatewayReport, Resolution, VersionManifest } from '../registry/serving/types.ts';
import type { RegistrySource } from './source.ts';

const WAIT_MS = 60_000;

/** The registry of this process: changes are pushed, bytes are read where they lie. */
export class EmbeddedSource implements RegistrySource {
  private readonly serving: () => Promise<Serving>;

  /** @param serving rejects while the registry cannot be opened */
  constructor(serving: () => Promise<Serving>) {
    this.serving = serving;
  }

  async watch(follow: Follow, mark: string, signal: AbortSignal): Promise<Resolution> {
    return (await this.serving()).watch(follow, mark, mark === '' ? 0 : WAIT_MS, signal);
  }

  async manifest(name: string, version: string): Promise<VersionManifest> {
    return (await this.serving()).manifest(name, version);
  }

  async blob(digest: string): Promise<Readable> {
    const { open } = await (await this.serving()).blob(digest);
    return open();
  }

  async report(report: GatewayReport): Promise<void> {
    await (await this.serving()).report(report);
  }
}
