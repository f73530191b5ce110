import { Readable } from 'node:stream';
import type { ReadableStream } from 'node:stream/web';
import type { Follow, GatewayReport, Resolution, VersionManifest } from '../registry/serving/types.ts';
import { SwitchyardError } from '../shared/errors.ts';
import type { RegistrySource } from './source.ts';

export interface RemoteOptions {
  /** Such as "https://registry.example:8080": the admin port of the registry's server. */
  url: string;
  /** Its admin token; '' = none. */
  token: string;
  /** How long one wait for a change takes. */
  waitSeconds?: number;
  /** For calls that do not wait, and for silence inside a download. */
  timeoutMs?: number;
}

const WAIT_SECONDS = 25;
const TIMEOUT_MS = 15_000;

/** A registry behind its REST API. Redirects are refused: the token must go nowhere else. */
export class RemoteSource implements RegistrySource {
  private readonly options: RemoteOptions;

  constructor(options: RemoteOptions) {
    this.options = options;
  }

  watch(follow: Follow, mark: string, signal: AbortSignal): Promise<Resolution> {
    const waitSeconds = mark === '' ? 0 : (this.options.waitSeconds ?? WAIT_SECONDS);
    const body = { models: follow.models, every_alias: follow.everyAlias, mark, wait_seconds: waitSeconds };
    return this.json('POST', 'serving/watch', body, waitSeconds * 1000, signal);
  }

  manifest(name: string, version: string): Promise<VersionManifest> {
    return this.json('GET', `models/${encodeURIComponent(name)}/versions/${encodeURIComponent(version)}/manifest`);
  }

  async blob(digest: string): Promise<Readable> {
    const abort = new AbortController();
    const timeoutMs = this.options.timeoutMs ?? TIMEOUT_MS;
    const silence = setTimeout(() => abort.abort(new Error(`no bytes for ${timeoutMs} ms`)), timeoutMs);
    const response = await this.send('GET', `blobs/${encodeURIComponent(digest)}`, undefined, abort.signal);
    if (response.body === null) throw new SwitchyardError('unavailable', 'the registry sent no body');
    const body = Readable.fromWeb(response.body as ReadableStream<Uint8Array>);
    body.on('data', () => silence.refresh());
    body.on('close', () => clearTimeout(silence));
    // 'data' would start the flow before the reader is there.
    return body.pause();
  }

  async report({ gateway_id, ...report }: GatewayReport): Promise<void> {
    await this.json('PUT', `gateways/${encodeURIComponent(gateway_id)}`, report);
  }

  private async json<T>(method: string, path: string, body?: object, waitMs = 0, signal?: AbortSignal): Promise<T> {
    const timeout = AbortSignal.timeout(waitMs + (this.options.timeoutMs ?? TIMEOUT_MS));
    const either = signal === undefined ? timeout : AbortSignal.any([timeout, signal]);
    const response = await this.send(method, path, body, either);
    return (await response.json()) as T;
  }

  private async send(method: string, path: string, body: object | undefined, signal: AbortSignal): Promise<Response> {
    const { url, token } = this.options;
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
      throw new SwitchyardError(
        'unavailable',
        `the registry does not answer (${cause?.code ?? (error as Error).name})`,
      );
    }
    if (response.ok) return response;
    const text = (await response.text().catch(() => '')).slice(0, 500);
    const code = response.status === 404 ? 'not_found' : response.status < 500 ? 'failed_precondition' : 'unavailable';
    throw new SwitchyardError(code, `the registry answered ${response.status}: ${messageOf(text)}`);
  }
}

function messageOf(text: string): string {
  try {
    const { error, message } = JSON.parse(text) as { error?: unknown; message?: unknown };
    return String(error ?? message ?? text);
  } catch {
    return text;
  }
}
