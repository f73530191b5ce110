import { type ClientOptions, parseAnswer, send } from './transport.ts';

export interface MonitorRow {
  name: string;
  model: string;
  origin: string;
  level: 'ok' | 'warning' | 'alert';
  reason: string;
  version: string;
  references: { version: string; frozen_at: number; source: string; rows: number; columns: number }[];
  alarms: { signal: string; version: string; level: string; since: number; reason: string }[];
  last_window: { state: string; reason: string; rows: number; to: number } | null;
  labels: { total: number; pending: number; unmatched: number; kept: number };
  retraining: { active: string | null; waiting: string; breaker: string; last: string | null; in_vain: number } | null;
}

export interface MonitorWindowRow {
  window: number;
  kind: string;
  version: string;
  state: string;
  reason: string;
  rows: number;
  from: number;
  to: number;
  first_request: string;
  last_request: string;
  /** Of drift: columns by slice. Of quality: the metric. */
  detail?: unknown;
}

export interface AlertRow {
  alert: number;
  version: string;
  signal: string;
  level: string;
  reason: string;
  window: number;
  changed_at: number;
  begun_at: number;
  alert_at: number | null;
  ended_at: number | null;
  end_reason: string;
}

/** What one monitor made of a request. */
export interface MonitorTraceRow {
  monitor: string;
  counted: 'window' | 'reference' | 'open' | 'no';
  reason: string;
  windows: {
    window: number;
    kind: string;
    state: string;
    reason: string;
    version: string;
    from: number;
    to: number;
    certain: boolean;
  }[];
  alerts: AlertRow[];
  retrainings: (RetrainingRow & { by: string[] })[];
}

export interface RequestTraceRow {
  id: string;
  /** '' = its record is nowhere that was looked. */
  place: string;
  reason: string;
  oldest_record: number | null;
  searched: string[];
  problems: string[];
  request: {
    time: number;
    model: string;
    version: string;
    route: string;
    variant: string;
    status: string;
    tenant: string;
    entity: string;
  } | null;
  record: unknown;
  monitors: MonitorTraceRow[];
}

/** What is known of a request whose record is gone. */
export interface GivenFacts {
  model?: string;
  version?: string;
  time?: number;
}

export interface RetrainingRow {
  id: string;
  model: string;
  cause: string;
  reason: string;
  status: string;
  outcome: string;
  created_at: number;
  ended_at: number | null;
  from_version: string;
  windows: {
    window: number;
    kind: string;
    state: string;
    reason: string;
    from: number;
    to: number;
    first_request: string;
    last_request: string;
  }[];
  data: {
    rows: number;
    sha256: string;
    file: string;
    first_request: string;
    last_request: string;
    /** That has the same rows; null for what was learnt before there was one. */
    dataset: { name: string; version: number } | null;
  } | null;
  pipeline_run: string;
  steps: { name: string; kind: string; status: string; reason: string; job: string | null; run: string | null }[];
  version: string;
  rollout: {
    route: string;
    phase: string;
    reason: string;
    history: { at: number; message: string }[];
  } | null;
  evidence: { kind: string; outcome: string; at: number; actor: string; detail: unknown }[];
  promotion: { alias: string; at: number; actor: string; reason: string; previous: string | null } | null;
}

/** Monitors of a server. Every call rejects with ClientError. */
export class MonitorsApi {
  private readonly options: ClientOptions;

  constructor(options: ClientOptions) {
    this.options = options;
  }

  async list(): Promise<MonitorRow[]> {
    const rows: MonitorRow[] = [];
    let token = '';
    do {
      const search = token === '' ? '' : `?page_token=${encodeURIComponent(token)}`;
      const page = await this.call<{ monitors: MonitorRow[]; next_page_token?: string }>('GET', search);
      rows.push(...page.monitors);
      token = page.next_page_token ?? '';
    } while (token !== '');
    return rows;
  }

  get(name: string): Promise<MonitorRow> {
    return this.call('GET', `/${encodeURIComponent(name)}`);
  }

  /** The newest ones. */
  async windows(name: string, limit: number): Promise<MonitorWindowRow[]> {
    const path = `/${encodeURIComponent(name)}/windows?limit=${limit}`;
    return (await this.call<{ windows: MonitorWindowRow[] }>('GET', path)).windows;
  }

  /** The newest ones. */
  async lineage(name: string, limit: number): Promise<RetrainingRow[]> {
    const path = `/${encodeURIComponent(name)}/lineage?limit=${limit}`;
    return (await this.call<{ retrainings: RetrainingRow[] }>('GET', path)).retrainings;
  }

  /** The newest ones. */
  async alerts(name: string, limit: number): Promise<AlertRow[]> {
    const path = `/${encodeURIComponent(name)}/alerts?limit=${limit}`;
    return (await this.call<{ alerts: AlertRow[] }>('GET', path)).alerts;
  }

  /** The way of one request, by its x-switchyard-id. */
  trace(id: string, given: GivenFacts = {}): Promise<RequestTraceRow> {
    const query = new URLSearchParams(
      Object.entries(given).map(([name, value]): [string, string] => [name, String(value)]),
    );
    return this.send('GET', `/api/v1/lineage/requests/${encodeURIComponent(id)}?${query}`);
  }

  /** The newest retrainings that brought a version. */
  async origin(model: string, version: string, limit: number): Promise<RetrainingRow[]> {
    const path = `/api/v1/lineage/models/${encodeURIComponent(model)}/versions/${encodeURIComponent(version)}?limit=${limit}`;
    return (await this.send<{ retrainings: RetrainingRow[] }>('GET', path)).retrainings;
  }

  async apply(documents: readonly unknown[], dryRun: boolean): Promise<string[]> {
    return (await this.call<{ changed: string[] }>('POST', `?dry_run=${dryRun}`, { documents })).changed;
  }

  async delete(name: string): Promise<void> {
    await this.call('DELETE', `/${encodeURIComponent(name)}`);
  }

  reset(name: string, reason: string): Promise<MonitorRow> {
    return this.call('POST', `/${encodeURIComponent(name)}/reset`, { reason });
  }

  private call<T>(method: string, path: string, body?: object): Promise<T> {
    return this.send(method, `/api/v1/monitors${path}`, body);
  }

  private async send<T>(method: string, path: string, body?: object): Promise<T> {
    const text = body === undefined ? undefined : JSON.stringify(body);
    return parseAnswer<T>((await send(this.options, method, path, text)).text, this.options.url);
  }
}
