import { repositoryIndexBody } from '../../../protocol/v2/metadata.ts';
import { invalidArgument } from '../../../shared/errors.ts';
import { shown } from './routes.ts';
import type { HttpGateway } from './settings.ts';

const FILE_PREFIX = 'file:';
const PATH_PART = /^\w[\w.-]{0,127}$/;

/** The JSON object of a request's body; an empty body is an empty object. Throws invalid_argument. */
export function readObject(body: Uint8Array): Record<string, unknown> {
  if (body.byteLength === 0) return {};
  const value = readJson(body);
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    throw invalidArgument('the body must be a JSON object');
  }
  return value as Record<string, unknown>;
}

export function readJson(body: Uint8Array, parse: (text: string) => unknown = JSON.parse): unknown {
  try {
    return parse(new TextDecoder('utf-8', { fatal: true }).decode(body));
  } catch {
    throw invalidArgument('the body is not valid JSON');
  }
}

/** `POST /v2/repository/index` */
export async function repositoryIndex(gateway: HttpGateway, body: Uint8Array): Promise<unknown> {
  const { ready } = readObject(body);
  if (ready !== undefined && typeof ready !== 'boolean') throw invalidArgument('"ready" must be true or false');
  return repositoryIndexBody(await gateway.services.control.repositoryIndex(ready === true));
}

/** `POST /v2/repository/models/{m}/load` */
export async function repositoryLoad(gateway: HttpGateway, model: string, body: Uint8Array): Promise<unknown> {
  const { config, files } = readLoadParameters(readParameters(body));
  await gateway.services.control.loadModel(model, config, files);
  return {};
}

/** `POST /v2/repository/models/{m}/unload` */
export async function repositoryUnload(gateway: HttpGateway, model: string, body: Uint8Array): Promise<unknown> {
  const dependents = readParameters(body).unload_dependents ?? false;
  if (typeof dependents !== 'boolean') throw invalidArgument('parameter "unload_dependents" must be true or false');
  await gateway.services.control.unloadModel(model, dependents);
  return {};
}

function readParameters(body: Uint8Array): Record<string, unknown> {
  const { parameters } = readObject(body);
  if (parameters === undefined || parameters === null) return {};
  if (typeof parameters !== 'object' || Array.isArray(parameters))
    throw invalidArgument('"parameters" must be an object');
  return parameters as Record<string, unknown>;
}

/** `config` (a JSON string) and `file:<version>/<name>` (base64). Throws invalid_argument. */
export function readLoadParameters(parameters: Record<string, unknown>): {
  config: string;
  files: Map<string, Uint8Array>;
} {
  let config = '';
  const files = new Map<string, Uint8Array>();
  for (const [name, value] of Object.entries(parameters)) {
    if (name !== 'config' && !name.startsWith(FILE_PREFIX)) {
      throw invalidArgument(`parameter ${shown(name)} is unknown; allowed are "config" and "file:<version>/<file>"`);
    }
    if (typeof value !== 'string') throw invalidArgument(`parameter ${shown(name)} must be a string`);
    if (name === 'config') config = value;
    else files.set(readPath(name.slice(FILE_PREFIX.length)), decodeBase64(name, value));
  }
  if (files.size > 0 && config === '') {
    throw invalidArgument('parameter "config" must be given along with files');
  }
  return { config, files };
}

function readPath(path: string): string {
  const parts = path.split('/');
  if (parts.length > 8 || !parts.every((part) => PATH_PART.test(part))) {
    throw invalidArgument(
      `file ${shown(path)} is not allowed: it must be a path inside the model's folder like "1/model.onnx"`,
    );
  }
  return path;
}

/** Buffer skips what is no base64; a wrong length of the result gives it away. */
function decodeBase64(name: string, text: string): Uint8Array {
  const padding = text.endsWith('==') ? 2 : text.endsWith('=') ? 1 : 0;
  const bytes = Buffer.from(text, 'base64');
  if (bytes.byteLength !== Math.floor(((text.length - padding) * 3) / 4)) {
    throw invalidArgument(`parameter ${shown(name)} is not valid base64`);
  }
  return bytes;
}
