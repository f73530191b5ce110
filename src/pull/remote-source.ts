import { Readable } from 'node:stream';
import { z } from 'zod';
import type { Follow, GatewayReport, Resolution, VersionManifest } from '../registry/serving/types.ts';
import { SwitchyardError } from '../shared/errors.ts';
import type { RegistrySource } from './source.ts';

export interface RemoteOptions {
  /** Such as "https://registry.example:8080": the admin port of the registry's server. */
  url: string;
  /** What it asks for, asked for each call since it may change; '' = none. */
  token(): string;
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

/** A registry behind its REST API. Redirects are refused: the token must go nowhere else. */
export class RemoteSource implements RegistrySource {
  private readonly options: RemoteOptions;

  constructor(options: RemoteOptions) {
    this.options = options;
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
      const { body } = await this.send('GET', `blobs/${encodeURIComponent(digest)}`, undefined, abort.signal);
      return Readable.from(watched(body ?? [], silence), { objectMode: false });
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

  private async send(method: string, path: string, body: object | undefined, signal: AbortSignal): Promise<Response> {
    const { url } = this.options;
    const token = this.options.token();
    let response: Response;
    try {
      response = await fetch(`${url.replace(/\/+$/, '')}/api/v1/registry/${path}`, {
        method,
        signal,
        redirect: 'error',
        headers: {
          ...(token === '' ? {} : { authorization: `Bearer ${token}` }),
          ...(body === undefined ? {} : { 'content-type': 'application/json' }),
        },
        body: body === undefined ? null : JSON.stringify(body),
      });
    } catch (error) {
      const cause = (error as Error).cause as { code?: string } | undefined;
      throw away(`the registry does not answer (${cause?.code ?? (error as Error).name})`);
    }
    if (response.ok) return response;
    const text = (await textOf(response).catch(() => '')).slice(0, 500);
    const code = response.status === 404 ? 'not_found' : response.status < 500 ? 'failed_precondition' : 'unavailable';
    throw new SwitchyardError(code, `the registry answered ${response.status}: ${messageOf(text)}`);
  }
}

/** Bytes as they come; `silence` is put off by each. A connection that breaks is told as the registry being away. */
async function* watched(
  body: AsyncIterable<Uint8Array> | Uint8Array[],
  silence: NodeJS.Timeout,
): AsyncIterable<Uint8Array> {
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
async function textOf({ body }: Response): Promise<string> {
  const chunks: Uint8Array[] = [];
  let size = 0;
  try {
    for await (const chunk of body ?? []) {
      size += chunk.byteLength;
      if (size > MAX_JSON_BYTES) throw new Error(`more than ${MAX_JSON_BYTES} bytes`);
      chunks.push(chunk);
    }
  } catch (error) {
    throw away(`the registry's answer is not whole: ${(error as Error).message}`);
  }
  return Buffer.concat(chunks).toString();
}

function away(message: string): SwitchyardError {
  return new SwitchyardError('unavailable', message);
}

function messageOf(text: string): string {
  try {
    const { error, message } = JSON.parse(text) as { error?: unknown; message?: unknown };
    return String(error ?? message ?? text);
  } catch {
    return text;
  }
}
