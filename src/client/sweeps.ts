import { type ClientOptions, parseAnswer, send } from './transport.ts';

export interface TrialRow {
  number: number;
  params: Record<string, string | number>;
  status: string;
  reason: string;
  job_id: string | null;
  run_id: string | null;
  value: number | null;
  last_step: number;
  /** Milliseconds since 1970. */
  created_at: number;
  ended_at: number | null;
}

export interface SweepRow {
  id: string;
  name: string;
  status: 'running' | 'ending' | 'succeeded' | 'failed' | 'cancelled';
  reason: string;
  algorithm: string;
  objective: { type: 'minimize' | 'maximize'; metric: string; goal?: number };
  max_trial_count: number;
  trials: Record<'pending' | 'running' | 'stopping' | 'complete' | 'stopped' | 'failed' | 'cancelled', number>;
  best: TrialRow | null;
  run_id: string;
  experiment_id: string;
  actor: string;
  created_at: number;
  ended_at: number | null;
}

/** Sweeps over the admin API. Every call rejects with ClientError. */
export class SweepClient {
  private readonly options: ClientOptions;

  constructor(options: ClientOptions) {
    this.options = options;
  }

  submit(document: unknown): Promise<SweepRow> {
    return this.call('POST', '/api/v1/sweeps', document);
  }

  get(id: string): Promise<SweepRow> {
    return this.call('GET', `/api/v1/sweeps/${encodeURIComponent(id)}`);
  }

  /** Every sweep, page after page. */
  list(status?: string): Promise<SweepRow[]> {
    return this.all('/api/v1/sweeps', 'sweeps', status === undefined ? {} : { status });
  }

  /** Every trial of a sweep, page after page. */
  trials(id: string): Promise<TrialRow[]> {
    return this.all(`/api/v1/sweeps/${encodeURIComponent(id)}/trials`, 'trials', {});
  }

  cancel(id: string, reason: string): Promise<SweepRow> {
    return this.call('POST', `/api/v1/sweeps/${encodeURIComponent(id)}/cancel`, { reason });
  }

  private async all<T>(path: string, field: string, query: Record<string, string>): Promise<T[]> {
    const rows: T[] = [];
    let token = '';
    do {
      const search = new URLSearchParams({ ...query, limit: '1000', ...(token === '' ? {} : { page_token: token }) });
      const page = await this.call<Record<string, T[]> & { next_page_token?: string }>('GET', `${path}?${search}`);
      rows.push(...page[field]);
      token = page.next_page_token ?? '';
    } while (token !== '');
    return rows;
  }

  private async call<T>(method: string, path: string, body?: unknown): Promise<T> {
    const { text } = await send(this.options, method, path, body === undefined ? undefined : JSON.stringify(body));
    return parseAnswer<T>(text, this.options.url);
  }
}
