import { type ClientOptions, parseAnswer, send } from './transport.ts';

export interface SchemaRow {
  name: string;
  version: number;
  schema: { fields: Record<string, Record<string, unknown>>; [rule: string]: unknown };
  /** "name/version" of the dataset it was inferred from; '' = written by hand. */
  dataset: string;
  actor: string;
  /** Milliseconds since 1970. */
  created_at: number;
}

const ROOT = '/api/v1/data-schemas';

/** Schemas that data is validated by, over the admin API. Every call rejects with ClientError. */
export class SchemaClient {
  private readonly options: ClientOptions;

  constructor(options: ClientOptions) {
    this.options = options;
  }

  /** By name, then the latest version first, page after page. @param name undefined: all */
  async list(name?: string): Promise<SchemaRow[]> {
    const rows: SchemaRow[] = [];
    let token = '';
    do {
      const search = new URLSearchParams({
        max_results: '1000',
        ...(name === undefined ? {} : { name }),
        ...(token === '' ? {} : { page_token: token }),
      });
      const page = await this.call<{ schemas: SchemaRow[]; next_page_token?: string }>('GET', `${ROOT}?${search}`);
      rows.push(...page.schemas);
      token = page.next_page_token ?? '';
    } while (token !== '');
    return rows;
  }

  get(name: string, version: string): Promise<SchemaRow> {
    return this.call('GET', `${ROOT}/${encodeURIComponent(name)}/versions/${encodeURIComponent(version)}`);
  }

  /** The next version; the same schema as the latest again is that version. */
  put(name: string, schema: unknown): Promise<SchemaRow> {
    return this.call('POST', `${ROOT}/${encodeURIComponent(name)}`, { schema });
  }

  /** What a dataset suggests, as the next version. @param version of the dataset, or "latest" */
  infer(name: string, dataset: string, version: string): Promise<SchemaRow> {
    const at = { name: dataset, version: version === 'latest' ? version : Number(version) };
    return this.call('POST', `${ROOT}/${encodeURIComponent(name)}`, { infer_from: at });
  }

  private async call<T>(method: string, path: string, body?: unknown): Promise<T> {
    const { text } = await send(this.options, method, path, body === undefined ? undefined : JSON.stringify(body));
    return parseAnswer<T>(text, this.options.url);
  }
}
