import { mkdtempSync, rmSync } from 'node:fs';
import http from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { StorageSettings } from '../registry/artifacts/storage.ts';
import { openRegistry, type Registry, type RegistrySettings } from '../registry/registry.ts';
import { testStorage } from './artifact-storage.ts';

export interface Answer {
  status: number;
  headers: Headers;
  /** {} for an empty body. */
  // biome-ignore lint/suspicious/noExplicitAny: tests reach into answers of many shapes
  json: any;
}

/** What the configuration's defaults say, except that webhooks may go to this machine. */
export function registrySettings(dataDir: string, database: string): RegistrySettings {
  const webhooks = { schemes: ['https', 'http'], hosts: [], privateHosts: ['127.0.0.1'] };
  return { dataDir, database, approvals: { aliases: ['approved-only'] }, webhooks, artifacts: testStorage() };
}

/** A registry over files of its own, on an HTTP port without the rest of the admin port. */
export class RegistryUnderTest {
  readonly registry: Registry;
  readonly url: string;
  readonly dataDir: string;
  readonly errors: unknown[];
  private readonly server: http.Server;

  private constructor(registry: Registry, server: http.Server, dataDir: string, errors: unknown[]) {
    this.registry = registry;
    this.server = server;
    this.dataDir = dataDir;
    this.errors = errors;
    this.url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  }

  /** @param database 'sqlite', or the URL of a PostgreSQL database that holds nothing else. */
  static async open(
    database = 'sqlite',
    dataDir = mkdtempSync(join(tmpdir(), 'registry-')),
    artifacts: StorageSettings = testStorage(),
  ): Promise<RegistryUnderTest> {
    const errors: unknown[] = [];
    const settings = { ...registrySettings(dataDir, database), artifacts };
    const registry = await openRegistry(settings, { error: (fields) => void errors.push(fields.err) });
    const server = http.createServer((request, response) => {
      const [path, query = ''] = (request.url ?? '').split('?');
      const contentLength = Number(request.headers['content-length'] ?? -1);
      const method = request.method ?? '';
      void registry.rest.serve({ method, path, query, contentLength, actor: 'tester', request, response });
    });
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    return new RegistryUnderTest(registry, server, dataDir, errors);
  }

  /** @param path below /api/2.0/mlflow/, or absolute. A GET's values travel in the query. */
  async call(method: string, path: string, values: Record<string, unknown> = {}): Promise<Answer> {
    const base = path.startsWith('/') ? this.url + path : `${this.url}/api/2.0/mlflow/${path}`;
    const query = new URLSearchParams();
    if (method === 'GET')
      for (const [key, value] of Object.entries(values))
        for (const item of Array.isArray(value) ? value : [value]) query.append(key, String(item));
    const response = await fetch(method === 'GET' && query.size > 0 ? `${base}?${query}` : base, {
      method,
      ...(method === 'GET' ? {} : { body: JSON.stringify(values) }),
    });
    const text = await response.text();
    return { status: response.status, headers: response.headers, json: text === '' ? {} : JSON.parse(text) };
  }

  /** As `call`, and throws unless the answer is 200. */
  // biome-ignore lint/suspicious/noExplicitAny: as above
  async ok(method: string, path: string, values: Record<string, unknown> = {}): Promise<any> {
    const answer = await this.call(method, path, values);
    if (answer.status !== 200) throw new Error(`${method} ${path}: ${answer.status} ${JSON.stringify(answer.json)}`);
    return answer.json;
  }

  async close(keepFiles = false): Promise<void> {
    this.server.closeAllConnections();
    await new Promise((resolve) => this.server.close(resolve));
    await this.registry.close();
    if (!keepFiles) rmSync(this.dataDir, { recursive: true, force: true });
  }
}
