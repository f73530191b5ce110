import type { IncomingMessage } from 'node:http';
import { Readable } from 'node:stream';
import { z } from 'zod';
import type { SslConfig } from '../config/ssl-schema.ts';
import type { Follow, GatewayReport, Resolution, VersionManifest } from '../registry/serving/types.ts';
import { SwitchyardError } from '../shared/errors.ts';
import { away, RegistryHttp } from './registry-http.ts';
import type { RegistrySource } from './source.ts';

export interface RemoteOptions {
  /** Such as "https://registry.example:8080": the admin port of the registry's server. */
  url: string;
  /** What it asks for, asked for each call since it may change; '' = none. */
  token(): string;
  /** For an https url; absent: the system's authorities, and no client certificate. */
  ssl?: SslConfig;
  /** How long one wait for a change takes. */
  waitSeconds?: number;
  /** For calls that do not wait, and for silence inside a download. */
  timeoutMs?: number;
}

const WAIT_SECONDS = 25;
const TIMEOUT_MS = 15_000;
/** Ten thousand followed models are a tenth of it. */
const MAX_JSON_BYTES = 64 * 1024 * 1024;

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
  private readonly http: RegistryHttp;

  constructor(options: RemoteOptions) {
    this.options = options;
    this.http = new RegistryHttp(options.url, () => options.token(), options.ssl);
  }

  watch(follow: Follow, mark: string, signal: AbortSignal): Promise<Resolution> {
    const waitSeconds = mark === '' ? 0 : (this.options.waitSeconds ?? WAIT_SECONDS);
    const body = { models: follow.models, every_alias: follow.everyAlias, mark, wait_seconds: waitSeconds };
    return this.json(RESOLUTION, 'POST', 'serving/watch', body, waitSeconds * 1000, signal);
  }

  manifest(name: string, version: string): Promise<VersionManifest> {
    const path = `models/${encodeURIComponent(name)}/versions/${encodeURIComponent(version)}/manifest`;
    return this.json(MANIFEST, 'GET', path);
  }

  async blob(digest: string): Promise<Readable> {
    const abort = new AbortController();
    const timeoutMs = this.options.timeoutMs ?? TIMEOUT_MS;
    const silence = setTimeout(() => abort.abort(new Error(`no bytes for ${timeoutMs} ms`)), timeoutMs);
    try {
      const body = await this.send('GET', `blobs/${encodeURIComponent(digest)}`, undefined, abort.signal);
      return Readable.from(watched(body, silence), { objectMode: false });
    } catch (error) {
      clearTimeout(silence);
      throw error;
    }
  }

  async report({ gateway_id, ...report }: GatewayReport): Promise<void> {
    await this.json(NOTHING, 'PUT', `gateways/${encodeURIComponent(gateway_id)}`, report);
  }

  private async json<T>(
    form: z.ZodType<T>,
    method: string,
    path: string,
    body?: object,
    waitMs = 0,
    signal?: AbortSignal,
  ): Promise<T> {
    const timeout = AbortSignal.timeout(waitMs + (this.options.timeoutMs ?? TIMEOUT_MS));
    const either = signal === undefined ? timeout : AbortSignal.any([timeout, signal]);
    const response = await this.send(method, path, body, either);
    const text = await textOf(response);
    try {
      return form.parse(JSON.parse(text));
    } catch {
      throw away(`the registry answered ${path} with something else: ${text.slice(0, 100)}`);
    }
  }

  private async send(
    method: string,
    path: string,
    body: object | undefined,
    signal: AbortSignal,
  ): Promise<IncomingMessage> {
    const response = await this.http.send(method, path, body, signal);
    const { statusCode: status = 0 } = response;
    if (status < 300) return response;
    const text = (await textOf(response).catch(() => '')).slice(0, 500);
    const code = status === 404 ? 'not_found' : status < 500 ? 'failed_precondition' : 'unavailable';
    throw new SwitchyardError(code, `the registry answered ${status}: ${messageOf(text)}`);
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

/** A whole body, unless it is longer than any honest one. */
async function textOf(body: AsyncIterable<Uint8Array>): Promise<string> {
  const chunks: Uint8Array[] = [];
  let size = 0;
  try {
    for await (const chunk of body) {
      size += chunk.byteLength;
      if (size > MAX_JSON_BYTES) throw new Error(`more than ${MAX_JSON_BYTES} bytes`);
      chunks.push(chunk);
    }
  } catch (error) {
    throw away(`the registry's answer is not whole: ${(error as Error).message}`);
  }
  return Buffer.concat(chunks).toString();
}

function messageOf(text: string): string {
  try {
    const { error, message } = JSON.parse(text) as { error?: unknown; message?: unknown };
    return String(error ?? message ?? text);
  } catch {
    return text;
  }
}
