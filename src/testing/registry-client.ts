import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { FIXTURES } from './server-process.ts';

/** An ONNX model that answers what it is asked: INPUT and OUTPUT of four floats. */
export const IDENTITY = readFileSync(join(FIXTURES, 'identity_fp32/1/model.onnx'));

/** What mlflow.onnx.log_model writes, as far as a gateway reads it. */
export function mlflowFiles(salt: string, model: Uint8Array = IDENTITY): Record<string, string | Uint8Array> {
  const mlmodel = `artifact_path: model\nflavors:\n  onnx:\n    data: model.onnx\n    onnx_version: 1.20.0\n  python_function:\n    loader_module: mlflow.onnx\nsalt: ${salt}\n`;
  return { MLmodel: mlmodel, 'model.onnx': model, 'conda.yaml': 'name: env\n' };
}

let folders = 0;

/** The registry's REST API, for tests of what stands behind it. */
export class RegistryClient {
  readonly url: string;
  private readonly token: string;

  constructor(url: string, token = '') {
    this.url = url;
    this.token = token;
  }

  // biome-ignore lint/suspicious/noExplicitAny: tests reach into answers of many shapes
  async ok(method: string, path: string, body?: object | Uint8Array | string): Promise<any> {
    const raw = typeof body === 'string' || body instanceof Uint8Array;
    const response = await fetch(`${this.url}${path}`, {
      method,
      headers: this.token === '' ? {} : { authorization: `Bearer ${this.token}` },
      body: body === undefined ? null : raw ? (body as string) : JSON.stringify(body),
    });
    const text = await response.text();
    if (!response.ok) throw new Error(`${method} ${path}: ${response.status} ${text}`);
    return text === '' ? {} : JSON.parse(text);
  }

  /** Uploads files and registers them as the next version of a model, which it creates. Resolves with its number. */
  async register(name: string, files: Record<string, string | Uint8Array>): Promise<string> {
    const folder = `0/test-${process.pid}-${folders++}`;
    for (const [path, bytes] of Object.entries(files))
      await this.ok('PUT', `/api/2.0/mlflow-artifacts/artifacts/${folder}/${path}`, bytes);
    await this.ok('POST', '/api/2.0/mlflow/registered-models/create', { name }).catch((error: Error) => {
      if (!error.message.includes('RESOURCE_ALREADY_EXISTS')) throw error;
    });
    const source = `mlflow-artifacts:/${folder}`;
    const { model_version } = await this.ok('POST', '/api/2.0/mlflow/model-versions/create', { name, source });
    return model_version.version;
  }

  alias(name: string, alias: string, version: string): Promise<void> {
    return this.ok('POST', '/api/2.0/mlflow/registered-models/alias', { name, alias, version });
  }
}
