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

export interface RouteRow {
  name: string;
  origin: string;
  strategy: string;
  status: string;
  /** 0 well, 1 rolled back or invalid, 2 needs a person, 3 under way. */
  exit_status: number;
  weights: Record<string, number>;
}

export interface VariantView {
  name: string;
  model: string;
  version: string;
  weight: number;
  requests: number;
  errors: number;
  latency_ms: { p50: number; p99: number } | null;
  /** Of variants that got copies of requests. */
  shadow?: ShadowView;
}

export interface ShadowView {
  match: number;
  mismatch: number;
  failed: number;
  dropped: number;
  uncompared: number;
  mismatch_rate: number | null;
  mismatch_low: number;
  mismatch_high: number;
  max_mismatch: number | null;
  verdict: string | null;
}

/** A shadowed answer that differed. */
export interface MismatchRow {
  id: string;
  variant: string;
  version: string;
  difference: string;
}

export interface MetricReport {
  metric: string;
  verdict: string;
  requests: number;
  reason: string;
}

interface ArmView {
  requests: number;
  errors: number;
  latency_p99_ms: number | null;
}

export interface RouteView extends RouteRow {
  mirror: number;
  variants: VariantView[];
  rollout?: {
    phase: string;
    paused: boolean;
    step: number;
    steps: Record<string, unknown>[];
    weight: number;
    mirror: number;
    stable_version: string;
    candidate_version: string;
    reason: string;
    /** Why the alias cannot be moved; it is tried again. */
    problem?: string;
    reports: MetricReport[];
    history: { at: number; message: string }[];
    window: { control: ArmView; candidate: ArmView; shadow: { compared: number; mismatched: number } };
  };
  experiment?: Record<string, unknown>;
  bandit?: Record<string, unknown>;
}

/** As GET /api/v1/log answers. */
export interface LogView {
  served: number;
  feedback: number;
  sampledOut: number;
  droppedBehind: number;
  droppedDisk: number;
  droppedThread: number;
  droppedEncoding: number;
  waiting: number;
  spooled: number;
  spool: { bytes: number; setAside: number; errors: number };
  sinks: {
    name: string;
    kind: string;
    sent: number;
    refused: number;
    lost: number;
    backlog: number;
    errors: number;
    lastError: string;
  }[];
}

/** As GET /api/v1/log/replays/{id} answers. */
export interface LogReplayRow {
  id: string;
  mark: string;
  sink: string;
  source: string | null;
  status: 'running' | 'succeeded' | 'failed' | 'cancelled';
  sent: number;
  refused: number;
  unreadable: number;
  lost: number;
  errors: number;
  last_error: string;
  error: string;
}

/** The admin API. Every call rejects with ClientError. */
export interface ModelSkew {
  model: string;
  version: string;
  dataset: string;
  dataset_version: number | null;
  rows: number;
  problem: string;
  fields: {
    field: string;
    column: string;
    state: string;
    values: number;
    missing: number;
    training_missing: number | null;
    linf: number | null;
    js: number | null;
  }[];
}

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

  /** How far what a model is asked is from its training data. */
  modelSkew(name: string): Promise<{ versions: ModelSkew[] }> {
    return this.call('GET', `/api/v1/models/${encodeURIComponent(name)}/skew`);
  }

  /** Every route, page after page. */
  async listRoutes(prefix = ''): Promise<RouteRow[]> {
    const all: RouteRow[] = [];
    let token = '';
    do {
      const search = new URLSearchParams({
        name: prefix,
        limit: '1000',
        ...(token === '' ? {} : { page_token: token }),
      });
      const page = await this.call<{ routes: RouteRow[]; next_page_token?: string }>('GET', `/api/v1/routes?${search}`);
      all.push(...page.routes);
      token = page.next_page_token ?? '';
    } while (token !== '');
    return all;
  }

  getRoute(name: string): Promise<RouteView> {
    return this.call('GET', `/api/v1/routes/${encodeURIComponent(name)}`);
  }

  /** The last ones, the newest last. */
  async routeMismatches(name: string): Promise<MismatchRow[]> {
    const path = `/api/v1/routes/${encodeURIComponent(name)}/mismatches`;
    return (await this.call<{ mismatches: MismatchRow[] }>('GET', path)).mismatches;
  }

  /** All of the documents are taken, or none. */
  applyRoutes(documents: readonly unknown[], dryRun = false): Promise<{ changed: string[] }> {
    return this.call('POST', `/api/v1/routes?dry_run=${dryRun}`, { documents });
  }

  async deleteRoute(name: string): Promise<void> {
    await this.call('DELETE', `/api/v1/routes/${encodeURIComponent(name)}`);
  }

  /** A word on a rollout: promote, abort, retry, pause or resume. */
  commandRoute(name: string, verb: string, body: object = {}): Promise<RouteView> {
    return this.call('POST', `/api/v1/routes/${encodeURIComponent(name)}/${verb}`, body);
  }

  logStatus(): Promise<LogView> {
    return this.call('GET', '/api/v1/log');
  }

  /** The last records, or those from number `from` on, each as JSON text. */
  async logRecords(limit: number, from = -1): Promise<{ records: string[]; next: number }> {
    const search = new URLSearchParams({ limit: String(limit), ...(from < 0 ? {} : { from: String(from) }) });
    const page = await this.call<{ records: unknown[]; next: number }>('GET', `/api/v1/log/records?${search}`);
    return { records: page.records.map((record) => JSON.stringify(record)), next: page.next };
  }

  /** The whole record of a payload by reference. @param sha256 as the record names it, also with `sha256:` before it */
  logPayload(sha256: string): Promise<object> {
    return this.call('GET', `/api/v1/log/payloads/${encodeURIComponent(sha256)}`);
  }

  /** Sends a range of the log to one of its sinks again. */
  startLogReplay(wish: object): Promise<LogReplayRow> {
    return this.call('POST', '/api/v1/log/replays', wish);
  }

  logReplay(id: string): Promise<LogReplayRow> {
    return this.call('GET', `/api/v1/log/replays/${encodeURIComponent(id)}`);
  }

  verifyLog(): Promise<{
    segments: number;
    records: number;
    bytes: number;
    damaged: { segment: number; offset: number; bytes: number }[];
  }> {
    return this.call('POST', '/api/v1/log/verify');
  }

  private async call<T>(method: string, path: string, body?: object): Promise<T> {
    const { text } = await send(this.options, method, path, body === undefined ? undefined : JSON.stringify(body));
    return parseAnswer<T>(text, this.options.url);
  }
}
