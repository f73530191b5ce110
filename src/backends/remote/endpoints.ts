import { readFile } from 'node:fs/promises';
import { isAbsolute, relative, resolve } from 'node:path';
import { type ChannelCredentials, credentials } from '@grpc/grpc-js';
import { invalidArgument } from '../../shared/errors.ts';
import type { LoadSpec } from '../backend.ts';
import { parseUrls } from './urls.ts';

/** Where a remote model lives and how it is asked; all from the model's `parameters`. */
export interface RemoteSettings {
  /** host:port of each replica. */
  addresses: string[];
  tls: boolean;
  /** The model's name and version over there. '' version: the remote's own choice. */
  model: string;
  version: string;
  channels: number;
  concurrency: number;
  perTryMs: number;
  tries: number;
  probeIntervalMs: number;
}

/**
 * Reads `url` (comma-separated `host:port`, `grpc://host:port` or `grpcs://host:port`), `remote_model`,
 * `remote_version` ("same": the version's own number), `channels`, `max_concurrency`, `per_try_timeout_ms`, `max_tries`, `probe_interval_ms`, `tls`.
 * @throws SwitchyardError invalid_argument naming the parameter and what is allowed
 */
export function remoteSettings(spec: LoadSpec): RemoteSettings {
  const { parameters } = spec.config;
  const { addresses, tls } = parseUrls(parameters.url ?? '', spec.model);
  return {
    addresses,
    tls: tls || parameters.tls === 'true',
    model: parameters.remote_model ?? spec.model,
    version: parameters.remote_version === 'same' ? spec.version : (parameters.remote_version ?? ''),
    channels: whole(parameters, 'channels', 2, 64),
    concurrency: whole(parameters, 'max_concurrency', 64, 65_536),
    perTryMs: whole(parameters, 'per_try_timeout_ms', 60_000, 86_400_000),
    tries: whole(parameters, 'max_tries', 2, 10),
    probeIntervalMs: whole(parameters, 'probe_interval_ms', 1000, 3_600_000),
  };
}

/** Plain, or TLS with `tls_ca`, `tls_cert` and `tls_key` (files inside the model's folder, all optional). */
export async function remoteCredentials(spec: LoadSpec, tls: boolean): Promise<ChannelCredentials> {
  if (!tls) return credentials.createInsecure();
  const read = async (key: string): Promise<Buffer | null> => {
    const name = spec.config.parameters[key];
    if (name === undefined) return null;
    const path = resolve(spec.modelDirectory, name);
    const inside = relative(spec.modelDirectory, path);
    if (spec.modelDirectory === '' || inside.startsWith('..') || isAbsolute(inside)) {
      throw invalidArgument(`parameter "${key}" of model "${spec.model}" must name a file inside the model's folder`);
    }
    return readFile(path).catch(() => {
      throw invalidArgument(`parameter "${key}" of model "${spec.model}" names "${name}", which cannot be read`);
    });
  };
  return credentials.createSsl(await read('tls_ca'), await read('tls_key'), await read('tls_cert'));
}

function whole(parameters: Readonly<Record<string, string>>, key: string, fallback: number, max: number): number {
  const text = parameters[key];
  if (text === undefined) return fallback;
  const value = Number(text);
  if (!Number.isInteger(value) || value < 1 || value > max) {
    throw invalidArgument(`parameter "${key}" is "${text}"; allowed: a whole number from 1 to ${max}`);
  }
  return value;
}
