import { type ClientOptions, parseAnswer, refusedAnswer, send, unanswered } from './transport.ts';

export interface DatasetRow {
  name: string;
  version: number;
  kind: string;
  digest: string;
  mlflow_digest: string;
  size: number;
  rows: number;
  schema: { fields: { name: string; type: string }[] };
  rejects: number;
  tags: Record<string, string>;
  owner: string;
  readers: string[];
  /** Milliseconds since 1970. */
  created_at: number;
}

export interface ImportRow {
  id: string;
  status: 'running' | 'succeeded' | 'failed';
  rows: number;
  bytes: number;
  total_bytes: number | null;
  rejects: number;
  error: string;
  version: number;
}

export interface ColumnProfileRow {
  name: string;
  type: string;
  count: number;
  nulls: number;
  distinct: number;
  distinctIsLowerBound: boolean;
  top: { value: string | number | boolean; count: number }[];
  numeric?: { min: number; max: number; mean: number; std: number; quantiles: Record<string, number> };
}

export interface DatasetLineageRow {
  name: string;
  version: number;
  digest: string;
  source: { kind: string; [fact: string]: unknown };
  parents: { name: string; version: number }[];
  made_by_run: string | null;
  children: { name: string; version: number }[];
  runs: { run_id: string; run_name: string; context: string }[];
  model_versions: { name: string; version: string; aliases: string[] }[];
}

export interface ValidationRow {
  valid: boolean;
  version: number;
  rows: number;
  anomalies: { field: string; kind: string; severity: string; message: string }[];
}

const ROOT = '/api/v1/datasets';
/** Gigabytes take their time. */
const TRANSFER_MS = 24 * 3_600_000;

/** Datasets over the admin API. Every call rejects with ClientError. */
export class DatasetClient {
  private readonly options: ClientOptions;

  constructor(options: ClientOptions) {
    this.options = options;
  }

  /** Sends a file's bytes as the next version. */
  async upload(name: string, query: Record<string, string>, bytes: AsyncIterable<Uint8Array>): Promise<DatasetRow> {
    const path = `${ROOT}/${encodeURIComponent(name)}/versions?${new URLSearchParams(query)}`;
    const response = await this.raw('POST', path, ReadableStream.from(bytes) as ReadableStream<Uint8Array>);
    return parseAnswer(await response.text(), this.options.url);
  }

  startImport(wish: object): Promise<ImportRow> {
    return this.call('POST', '/api/v1/dataset-imports', wish);
  }

  getImport(id: string): Promise<ImportRow> {
    return this.call('GET', `/api/v1/dataset-imports/${encodeURIComponent(id)}`);
  }

  /** The latest version of every dataset that the filter takes, page after page. */
  list(filter: string): Promise<DatasetRow[]> {
    return this.all(ROOT, filter === '' ? {} : { filter });
  }

  versions(name: string): Promise<DatasetRow[]> {
    return this.all(`${ROOT}/${encodeURIComponent(name)}/versions`, {});
  }

  get(name: string, version: string): Promise<DatasetRow> {
    return this.call('GET', this.path(name, version));
  }

  profile(name: string, version: string): Promise<{ rows: number; columns: ColumnProfileRow[] }> {
    return this.call('GET', `${this.path(name, version)}/profile`);
  }

  /** The rows as bytes of a format, as they come. */
  async *download(name: string, version: string, format: string): AsyncGenerator<Uint8Array> {
    const response = await this.raw('GET', `${this.path(name, version)}/data?format=${encodeURIComponent(format)}`);
    if (response.body !== null) yield* response.body;
  }

  /** All rows as the arrays of an .npz, as they come. @param inputs one for each array, see docs/datasets.md */
  async *arrays(name: string, version: string, inputs: unknown): AsyncGenerator<Uint8Array> {
    const response = await this.raw('POST', `${this.path(name, version)}/npz`, JSON.stringify({ inputs }));
    if (response.body !== null) yield* response.body;
  }

  /** Has the server write the rows. */
  export(name: string, version: string, target: unknown): Promise<{ rows: number }> {
    return this.call('POST', `${this.path(name, version)}/export`, { target });
  }

  /** Where a version came from, and what was made of it. */
  lineage(name: string, version: string): Promise<DatasetLineageRow> {
    return this.call('GET', `${this.path(name, version)}/lineage`);
  }

  setTag(name: string, version: string, key: string, value: string): Promise<DatasetRow> {
    return this.call('POST', `${this.path(name, version)}/tags`, { key, value });
  }

  removeTag(name: string, version: string, key: string): Promise<DatasetRow> {
    return this.call('DELETE', `${this.path(name, version)}/tags/${encodeURIComponent(key)}`);
  }

  /** Says who may read all versions, in the place of whoever might so far. */
  share(name: string, readers: readonly string[]): Promise<DatasetRow> {
    return this.call('POST', `${ROOT}/${encodeURIComponent(name)}/share`, { readers });
  }

  /** @param wish `schema`, or `schema_ref`; `training` */
  validate(name: string, version: string, wish: object): Promise<ValidationRow> {
    return this.call('POST', `${this.path(name, version)}/validate`, wish);
  }

  private path(name: string, version: string): string {
    return `${ROOT}/${encodeURIComponent(name)}/versions/${encodeURIComponent(version)}`;
  }

  private async all(path: string, query: Record<string, string>): Promise<DatasetRow[]> {
    const rows: DatasetRow[] = [];
    let token = '';
    do {
      const search = new URLSearchParams({
        ...query,
        max_results: '1000',
        ...(token === '' ? {} : { page_token: token }),
      });
      const page = await this.call<{ datasets: DatasetRow[]; next_page_token?: string }>('GET', `${path}?${search}`);
      rows.push(...page.datasets);
      token = page.next_page_token ?? '';
    } while (token !== '');
    return rows;
  }

  private async call<T>(method: string, path: string, body?: unknown): Promise<T> {
    const options = { ...this.options, timeoutMs: this.options.timeoutMs ?? TRANSFER_MS };
    const { text } = await send(options, method, path, body === undefined ? undefined : JSON.stringify(body));
    return parseAnswer<T>(text, this.options.url);
  }

  private async raw(method: string, path: string, body?: ReadableStream<Uint8Array> | string): Promise<Response> {
    const { url, token } = this.options;
    const headers: Record<string, string> = token === undefined ? {} : { authorization: `Bearer ${token}` };
    const stream = body === undefined ? {} : { body, duplex: 'half' as const };
    let response: Response;
    try {
      const signal = AbortSignal.timeout(TRANSFER_MS);
      response = await fetch(url.replace(/\/+$/, '') + path, { method, headers, signal, redirect: 'error', ...stream });
    } catch (error) {
      throw unanswered(error as Error, url, TRANSFER_MS);
    }
    if (response.ok) return response;
    throw refusedAnswer(response, await response.text(), url);
  }
}
