import { type ClientOptions, parseAnswer, send } from './transport.ts';

export interface PipelineStepRow {
  name: string;
  kind: string;
  status: string;
  reason: string;
  job_id: string | null;
  run_id: string | null;
  started_at: number | null;
  ended_at: number | null;
  /** Of a job under way: 0 to 1. */
  progress?: number;
  outputs: Record<string, { digest: string; files: number; bytes: number; rows?: number }>;
}

export interface PipelineRunRow {
  id: string;
  pipeline: string;
  environment: string;
  status: string;
  reason: string;
  actor: string;
  cause: string;
  run_id: string;
  created_at: number;
  ended_at: number | null;
}

export interface PipelineRun extends PipelineRunRow {
  steps: PipelineStepRow[];
  next_step?: string;
}

export interface RunRequest {
  pipeline?: string;
  document?: object;
  environment?: string;
  parameters?: Record<string, string>;
  reason?: string;
  commit?: string;
}

export interface TriggerRow {
  name: string;
  pipeline: string;
  cause: string;
  enabled: boolean;
  pending: string | null;
  running: boolean;
  last_run: string | null;
  next_due: number | null;
}

export interface FiringRow {
  at: number;
  outcome: string;
  reason: string;
  run: string;
}

export interface EvaluationRow {
  id: string;
  model: string;
  version: string;
  dataset_name: string;
  dataset_digest: string;
  created_at: number;
  result: {
    samples: number;
    metrics: Record<string, number>;
    slices: { name: string; samples: number; metrics: Record<string, number> }[];
    attribution?: { method: string; features: { feature: string; mean: number; low: number; high: number }[] };
  };
}

export interface ComparisonAnswer {
  model: string;
  dataset: { digest: string; name: string } | null;
  versions: { version: string; samples: number }[];
  missing: string[];
  metrics: { metric: string; slice: string | null; values: Record<string, number | null>; best: string | null }[];
}

/** Pipelines, their runs, triggers and evaluations. Every call rejects with ClientError. */
export class PipelinesApi {
  private readonly options: ClientOptions;

  constructor(options: ClientOptions) {
    this.options = options;
  }

  list(): Promise<
    { name: string; origin: string; document: { spec?: { description?: string; steps?: unknown[] } } }[]
  > {
    return this.all('pipelines', 'pipelines', {});
  }

  async apply(documents: readonly unknown[], dryRun: boolean): Promise<string[]> {
    return (await this.call<{ changed: string[] }>('POST', `pipelines?dry_run=${dryRun}`, { documents })).changed;
  }

  async delete(name: string): Promise<void> {
    await this.call('DELETE', `pipelines/${encodeURIComponent(name)}`);
  }

  async reload(): Promise<void> {
    await this.call('POST', 'pipelines-reload');
  }

  run(request: RunRequest): Promise<PipelineRun> {
    return this.call('POST', 'pipeline-runs', request);
  }

  /** The newest ones, at most `limit`. */
  async runs(query: { pipeline?: string; status?: string }, limit: number): Promise<PipelineRunRow[]> {
    const search = new URLSearchParams({ limit: String(limit) });
    for (const [key, value] of Object.entries(query)) if (value !== undefined) search.set(key, value);
    return (await this.call<{ runs: PipelineRunRow[] }>('GET', `pipeline-runs?${search}`)).runs;
  }

  getRun(id: string): Promise<PipelineRun> {
    return this.call('GET', `pipeline-runs/${encodeURIComponent(id)}`);
  }

  cancel(id: string, reason: string): Promise<PipelineRun> {
    return this.call('POST', `pipeline-runs/${encodeURIComponent(id)}/cancel`, { reason });
  }

  resume(id: string): Promise<PipelineRun> {
    return this.call('POST', `pipeline-runs/${encodeURIComponent(id)}/resume`);
  }

  promote(wish: {
    model: string;
    from: string;
    to: string;
    reason: string;
  }): Promise<{ version: string; alias: string }> {
    return this.call('POST', 'pipeline-promotions', wish);
  }

  triggers(): Promise<TriggerRow[]> {
    return this.all('triggers', 'triggers', {});
  }

  async firings(name: string, limit: number): Promise<FiringRow[]> {
    const path = `triggers/${encodeURIComponent(name)}/firings?limit=${limit}`;
    return (await this.call<{ firings: FiringRow[] }>('GET', path)).firings;
  }

  fire(name: string, reason: string): Promise<TriggerRow> {
    return this.call('POST', `triggers/${encodeURIComponent(name)}/fire`, { reason });
  }

  async evaluations(query: { model?: string; version?: string }, limit: number): Promise<EvaluationRow[]> {
    const search = new URLSearchParams({ limit: String(limit) });
    for (const [key, value] of Object.entries(query)) if (value !== undefined) search.set(key, value);
    return (await this.call<{ evaluations: EvaluationRow[] }>('GET', `evaluations?${search}`)).evaluations;
  }

  evaluation(id: string): Promise<EvaluationRow> {
    return this.call('GET', `evaluations/${encodeURIComponent(id)}`);
  }

  compare(model: string, versions: readonly string[]): Promise<ComparisonAnswer> {
    const search = new URLSearchParams({ versions: versions.join(',') });
    return this.call('GET', `evaluations-compare/${encodeURIComponent(model)}?${search}`);
  }

  private async all<K extends string, T>(path: string, key: K, query: Record<string, string>): Promise<T[]> {
    const rows: T[] = [];
    let token = '';
    do {
      const search = new URLSearchParams({ ...query, limit: '1000', ...(token === '' ? {} : { page_token: token }) });
      const page = await this.call<{ [P in K]: T[] } & { next_page_token?: string }>('GET', `${path}?${search}`);
      rows.push(...page[key]);
      token = page.next_page_token ?? '';
    } while (token !== '');
    return rows;
  }

  private async call<T>(method: string, path: string, body?: object): Promise<T> {
    const text = body === undefined ? undefined : JSON.stringify(body);
    return parseAnswer<T>((await send(this.options, method, `/api/v1/${path}`, text)).text, this.options.url);
  }
}
