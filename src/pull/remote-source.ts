import { Readable } from 'node:stream';
import { z } from 'zod';
import type { Follow, GatewayReport, Resolution, VersionManifest } from '../registry/serving/types.ts';
import { type RegistryAddress, RegistryCalls } from './registry-calls.ts';
import { away } from './registry-http.ts';
import type { RegistrySource } from './source.ts';

export interface RemoteOptions extends RegistryAddress {
  /** How long one wait for a change takes. */
  waitSeconds?: number;
  /** For calls that do not wait, and for silence inside a download. */
  timeoutMs?: number;
}

const WAIT_SECONDS = 25;
const TIMEOUT_MS = 15_000;

// What this program relies on, of whatever a registry answers; more than that is left out.
const DEPLOYMENT = z.object({
  name: z.string(),
  alias: z.string(),
  served: z.string(),
  version: z.string().regex(/^\d{1,15}$/),
  digest: z.string(),
  requirements: z.string(),
});
const RESOLUTION = z.object({
  mark: z.string(),
  deployments: z.array(DEPLOYMENT),
  upcoming: z.array(DEPLOYMENT),
});
const SIGNED = z.object({
  payloadType: z.string(),
  payload: z.string(),
  signatures: z.array(z.object({ keyid: z.string(), sig: z.string() })),
});
const MANIFEST = z.object({ digest: z.string(), manifest: z.string(), signed: SIGNED.optional() });
const NOTHING = z.unknown();

/** A registry behind its REST API. */
export class RemoteSource implements RegistrySource {
  private readonly options: RemoteOptions;
  private readonly calls: RegistryCalls;
  private readonly timeoutMs: number;

  constructor(options: RemoteOptions) {
    this.options = options;
    this.calls = new RegistryCalls(options);
    this.timeoutMs = options.timeoutMs ?? TIMEOUT_MS;
  }

  watch(follow: Follow, mark: string, signal: AbortSignal): Promise<Resolution> {
    const waitSeconds = mark === '' ? 0 : (this.options.waitSeconds ?? WAIT_SECONDS);
    const body = { models: follow.models, every_alias: follow.everyAlias, mark, wait_seconds: waitSeconds };
    return this.calls.json(RESOLUTION, 'POST', 'serving/watch', body, this.within(waitSeconds * 1000, signal));
  }

  manifest(name: string, version: string): Promise<VersionManifest> {
    const path = `models/${encodeURIComponent(name)}/versions/${encodeURIComponent(version)}/manifest`;
    return this.calls.json(MANIFEST, 'GET', path, undefined, this.within());
  }

  async blob(digest: string): Promise<Readable> {
    const abort = new AbortController();
    const { timeoutMs } = this;
    const silence = setTimeout(() => abort.abort(new Error(`no bytes for ${timeoutMs} ms`)), timeoutMs);
    try {
      const body = await this.calls.send('GET', `blobs/${encodeURIComponent(digest)}`, undefined, abort.signal);
      return Readable.from(watched(body, silence), { objectMode: false });
    } catch (error) {
      clearTimeout(silence);
      throw error;
    }
  }

  async report({ gateway_id, ...report }: GatewayReport): Promise<void> {
    await this.calls.json(NOTHING, 'PUT', `gateways/${encodeURIComponent(gateway_id)}`, report, this.within());
  }

  private within(waitMs = 0, signal?: AbortSignal): AbortSignal {
    const timeout = AbortSignal.timeout(waitMs + this.timeoutMs);
    return signal === undefined ? timeout : AbortSignal.any([timeout, signal]);
  }
}

/** Bytes as they come; `silence` is put off by each. A connection that breaks is told as the registry being away. */
async function* watched(body: AsyncIterable<Uint8Array>, silence: NodeJS.Timeout): AsyncIterable<Uint8Array> {
  try {
    for await (const chunk of body) {
      silence.refresh();
      yield chunk;
    }
  } catch (error) {
    throw away(`the registry's answer broke off: ${(error as Error).message}`);
  } finally {
    clearTimeout(silence);
  }
}
