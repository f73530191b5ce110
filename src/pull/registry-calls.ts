import type { IncomingMessage } from 'node:http';
import type { z } from 'zod';
import type { SslConfig } from '../config/ssl-schema.ts';
import { type ErrorCode, SwitchyardError } from '../shared/errors.ts';
import { away, RegistryHttp } from './registry-http.ts';

export interface RegistryAddress {
  /** Such as "https://registry.example:8080": the admin port of the registry's server. */
  url: string;
  /** What it asks for, asked for each call since it may change; '' = none. */
  token(): string;
  /** For an https url; absent: the system's authorities, and no client certificate. */
  ssl?: SslConfig;
}

/** Ten thousand followed models are a tenth of it. */
const MAX_JSON_BYTES = 64 * 1024 * 1024;
/** Refusals that callers tell from others. */
const CODES: Readonly<Record<number, ErrorCode>> = { 404: 'not_found', 409: 'conflict' };

/** Calls of a registry's REST API, by paths below /api/v1/registry/. They reject with SwitchyardError. */
export class RegistryCalls {
  private readonly http: RegistryHttp;

  constructor({ url, token, ssl }: RegistryAddress) {
    this.http = new RegistryHttp(url, token, ssl);
  }

  /** What it answers, of the form that is relied on; unavailable when it has another one. */
  async json<T>(
    form: z.ZodType<T>,
    method: string,
    path: string,
    body: object | undefined,
    signal: AbortSignal,
  ): Promise<T> {
    const text = await textOf(await this.send(method, path, body, signal));
    try {
      return form.parse(JSON.parse(text));
    } catch {
      throw away(`the registry answered ${path} with something else: ${text.slice(0, 100)}`);
    }
  }

  /** The answer to a call that was carried out, whose body is the caller's to read or to destroy. */
  async send(method: string, path: string, body: object | undefined, signal: AbortSignal): Promise<IncomingMessage> {
    const response = await this.http.send(method, path, body, signal);
    const { statusCode: status = 0 } = response;
    if (status < 300) return response;
    const text = (await textOf(response).catch(() => '')).slice(0, 1000);
    const code = CODES[status] ?? (status < 500 ? 'failed_precondition' : 'unavailable');
    throw new SwitchyardError(code, `the registry answered ${status}: ${messageOf(text)}`);
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
