import { type ClientOptions, parseAnswer, send } from './transport.ts';

export interface FeatureDocumentRow {
  name: string;
  origin: 'file' | 'api';
  document: { kind: string; metadata: { name: string }; spec: Record<string, unknown> };
}

export interface OnlineFeatures {
  metadata: { feature_names: string[] };
  results: { values: unknown[]; statuses: string[]; event_timestamps: string[] }[];
}

export interface MaterializedView {
  view: string;
  from: string;
  until: string;
  rows: number;
  kept: number;
  rejected: number;
  problems: string[];
}

export const FEATURE_PATHS = ['views', 'entities', 'services'] as const;
export type FeaturePath = (typeof FEATURE_PATHS)[number];

/** The feature store over the admin port. Calls reject with ClientError. */
export class FeaturesClient {
  private readonly options: ClientOptions;

  constructor(options: ClientOptions) {
    this.options = options;
  }

  async list(path: FeaturePath): Promise<FeatureDocumentRow[]> {
    const all: FeatureDocumentRow[] = [];
    for (let token = ''; ; ) {
      const page = await this.call<Record<string, unknown>>(
        'GET',
        `/${path}?limit=1000${token === '' ? '' : `&page_token=${token}`}`,
      );
      all.push(...(page[path] as FeatureDocumentRow[]));
      if (page.next_page_token === undefined) return all;
      token = encodeURIComponent(page.next_page_token as string);
    }
  }

  async apply(documents: readonly unknown[], dryRun: boolean): Promise<string[]> {
    const { changed } = await this.call<{ changed: string[] }>('POST', `?dry_run=${dryRun}`, { documents });
    return changed;
  }

  async delete(path: FeaturePath, name: string): Promise<void> {
    await this.call('DELETE', `/${path}/${encodeURIComponent(name)}`);
  }

  async reload(): Promise<void> {
    await this.call('POST', '/reload');
  }

  /** @param body as Feast's POST /get-online-features takes it */
  online(body: object, tenant: string): Promise<OnlineFeatures> {
    return this.call('POST', `/online?tenant=${encodeURIComponent(tenant)}`, body);
  }

  push(body: { source: string; df: unknown; to: string; tenant: string }): Promise<{ rows: number; kept: number }> {
    return this.call('POST', '/push', body);
  }

  async materialize(body: {
    views?: string[];
    from?: string;
    until?: string;
    tenant: string;
  }): Promise<MaterializedView[]> {
    return (await this.call<{ views: MaterializedView[] }>('POST', '/materialize', body)).views;
  }

  private async call<T>(method: string, path: string, body?: object): Promise<T> {
    const text = body === undefined ? undefined : JSON.stringify(body);
    const answer = await send(this.options, method, `/api/v1/features${path}`, text);
    return parseAnswer<T>(answer.text, this.options.url);
  }
}
