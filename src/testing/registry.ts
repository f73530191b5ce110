import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import http from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import pg from 'pg';
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

/**
 * A database that holds nothing yet: embedded, or one of the PostgreSQL server that SWITCHYARD_TEST_POSTGRES_URL names.
 * So the suites of the registry run on both, see .ci/run.
 */
async function emptyDatabase(): Promise<{ database: string; drop(): Promise<void> }> {
  const server = process.env.SWITCHYARD_TEST_POSTGRES_URL;
  return server === undefined || server === '' ? { database: 'sqlite', drop: async () => {} } : emptyPostgres(server);
}

/** An empty database of the PostgreSQL server with this URL. */
export async function emptyPostgres(server: string): Promise<{ database: string; drop(): Promise<void> }> {
  const name = `test_${process.pid}_${Math.random().toString(36).slice(2, 10)}`;
  const onServer = async (text: string): Promise<void> => {
    const client = new pg.Client(server);
    await client.connect();
    await client.query(text);
    await client.end();
  };
  await onServer(`CREATE DATABASE ${name}`);
  const url = new URL(server);
  url.pathname = `/${name}`;
  return { database: url.href, drop: () => onServer(`DROP DATABASE ${name} WITH (FORCE)`) };
}

/** A registry over files of its own, on an HTTP port without the rest of the admin port. */
export class RegistryUnderTest {
  readonly registry: Registry;
  readonly url: string;
  readonly dataDir: string;
  readonly errors: unknown[];
  /** What the registry was opened with, to open it again. */
  readonly database: string;
  readonly artifacts: StorageSettings;
  private readonly server: http.Server;
  private readonly drop: () => Promise<void>;

  private constructor(
    registry: Registry,
    server: http.Server,
    files: { dataDir: string; database: string; artifacts: StorageSettings; drop(): Promise<void> },
    errors: unknown[],
  ) {
    this.registry = registry;
    this.server = server;
    this.dataDir = files.dataDir;
    this.database = files.database;
    this.artifacts = files.artifacts;
    this.drop = files.drop;
    this.errors = errors;
    this.url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  }

  /** @param database default: an empty one. Given: one that `close(true)` of another has kept, with its files. */
  static async open(
    database?: string,
    dataDir = mkdtempSync(join(tmpdir(), 'registry-')),
    artifacts: StorageSettings = testStorage(),
    more: Parameters<typeof openRegistry>[2] = () => [],
    settings: Partial<RegistrySettings> = {},
  ): Promise<RegistryUnderTest> {
    const errors: unknown[] = [];
    const store = database === undefined ? await emptyDatabase() : { database, drop: async () => {} };
    const all = { ...registrySettings(dataDir, store.database), artifacts, ...settings };
    const registry = await openRegistry(all, { error: (fields) => void errors.push(fields.err) }, more);
    const server = http.createServer((request, response) => {
      const [path, query = ''] = (request.url ?? '').split('?');
      const contentLength = Number(request.headers['content-length'] ?? -1);
      const method = request.method ?? '';
      void registry.rest.serve({ method, path, query, contentLength, actor: 'tester', request, response });
    });
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    return new RegistryUnderTest(registry, server, { dataDir, artifacts, ...store }, errors);
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

  /** Asserts that a call is refused with a code and a status below 500, and gives its message. */
  async refused(method: string, path: string, values: Record<string, unknown>, code: string): Promise<string> {
    const { status, json } = await this.call(method, path, values);
    assert.equal(json.error_code, code, `${method} ${path} ${status} ${json.message}`);
    assert.ok(status >= 400 && status < 500);
    return json.message;
  }

  async close(keep = false): Promise<void> {
    this.server.closeAllConnections();
    await new Promise((resolve) => this.server.close(resolve));
    await this.registry.close();
    if (keep) return;
    await this.drop();
    rmSync(this.dataDir, { recursive: true, force: true });
  }
}
