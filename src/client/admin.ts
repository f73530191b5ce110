import { type ClientOptions, parseAnswer, send } from './transport.ts';

export interface ModelRow {
  name: string;
  versions: { version: string; state: string; reason: string }[];
}

export interface ModelQuery {
  /** Only names that start so. */
  name?: string;
  /** Only models with a version in this state. */
  state?: string;
  /** Rows per page. */
  limit?: number;
}

export interface LoadOptions {
  /** ModelConfig as JSON text, in place of the folder's. */
  config?: string;
  /** Path inside the model's folder ("1/model.onnx") → bytes, in place of the folder's files. */
  files?: ReadonlyMap<string, Uint8Array>;
}

/** The admin API. Every call rejects with ClientError. */
export class AdminClient {
  private readonly options: ClientOptions;

  constructor(options: ClientOptions) {
    this.options = options;
  }

  /** One page; pass its `next_page_token` on for the next one. */
  listModels(query: ModelQuery = {}, pageToken = ''): Promise<{ models: ModelRow[]; next_page_token?: string }> {
    const search = new URLSearchParams();
    for (const [key, value] of Object.entries(query)) if (value !== undefined) search.set(key, String(value));
    if (pageToken !== '') search.set('page_token', pageToken);
    return this.call('GET', `/api/v1/models?${search}`);
  }

  /** Every model, page after page. */
  async *allModels(query: ModelQuery = {}): AsyncGenerator<ModelRow> {
    let token = '';
    do {
      const { models, next_page_token: next } = await this.listModels(query, token);
      yield* models;
      token = next ?? '';
    } while (token !== '');
  }

  loadModel(name: string, { config, files }: LoadOptions = {}): Promise<ModelRow> {
    const parameters: Record<string, string> = {};
    if (config !== undefined) parameters.config = config;
    for (const [path, bytes] of files ?? []) parameters[`file:${path}`] = Buffer.from(bytes).toString('base64');
    return this.call('POST', `/api/v1/models/${encodeURIComponent(name)}/load`, { parameters });
  }

  /** With `dependents`, an ensemble takes along what it composes and no other one needs. */
  async unloadModel(name: string, dependents = false): Promise<void> {
    const body = { parameters: { unload_dependents: dependents } };
    await this.call('POST', `/api/v1/models/${encodeURIComponent(name)}/unload`, body);
  }

  private async call<T>(method: string, path: string, body?: object): Promise<T> {
    const { text } = await send(this.options, method, path, body === undefined ? undefined : JSON.stringify(body));
    return parseAnswer<T>(text, this.options.url);
  }
}
