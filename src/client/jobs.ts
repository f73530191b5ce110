import { type ClientOptions, parseAnswer, refusedAnswer, send, unanswered } from './transport.ts';

/** As the admin API writes it. */
export interface JobRow {
  id: string;
  name: string;
  runner: string;
  status: string;
  reason: string;
  next_step?: string;
  attempt: number;
  exit_code: number | null;
  run_id: string;
  experiment_id: string;
  progress: number | null;
  metrics: Record<string, number | null>;
  created_at: number;
  started_at: number | null;
  ended_at: number | null;
  log_tail?: string;
}

export interface JobFilter {
  status?: string;
  name?: string;
  limit?: number;
}

/** What a job says while somebody watches. */
export type JobEvent =
  | { type: 'job'; job: JobRow }
  | { type: 'log'; attempt: number; nextOffset: number; text: string };

/** Training jobs of a server. Every call rejects with ClientError. */
export class JobsApi {
  private readonly options: ClientOptions;

  constructor(options: ClientOptions) {
    this.options = options;
  }

  submit(document: object, reason: string, dryRun = false): Promise<JobRow> {
    const query = new URLSearchParams({ reason, dry_run: String(dryRun) });
    return this.call('POST', `?${query}`, document);
  }

  get(id: string): Promise<JobRow> {
    return this.call('GET', `/${encodeURIComponent(id)}`);
  }

  /** One page, newest first. */
  list(filter: JobFilter, pageToken = ''): Promise<{ jobs: JobRow[]; next_page_token?: string }> {
    const query = new URLSearchParams();
    for (const [key, value] of Object.entries(filter)) if (value !== undefined) query.set(key, String(value));
    if (pageToken !== '') query.set('page_token', pageToken);
    return this.call('GET', `?${query}`);
  }

  command(id: string, verb: 'cancel' | 'retry', reason: string): Promise<JobRow> {
    return this.call('POST', `/${encodeURIComponent(id)}/${verb}`, { reason });
  }

  async remove(id: string): Promise<void> {
    await this.call('DELETE', `/${encodeURIComponent(id)}`);
  }

  /** The output as it is now. */
  async logs(id: string, attempt: number | undefined): Promise<string> {
    const query = attempt === undefined ? '' : `?attempt=${attempt}`;
    return (await send(this.options, 'GET', `/api/v1/jobs/${encodeURIComponent(id)}/logs${query}`)).text;
  }

  /** Follows a job until it is over, through interruptions: each piece of output comes once. */
  async *follow(id: string, logs = true): AsyncGenerator<JobEvent> {
    let last = '';
    for (let failures = 0; ; ) {
      try {
        for await (const { event, data, eventId } of this.events(id, logs, last)) {
          failures = 0;
          if (eventId !== '') last = eventId;
          const value = JSON.parse(data) as JobRow & { attempt: number; next_offset: number; text: string };
          if (event === 'job') yield { type: 'job', job: value };
          else yield { type: 'log', attempt: value.attempt, nextOffset: value.next_offset, text: value.text };
        }
        return;
      } catch (error) {
        // A server that is started anew comes back; one that refuses will go on refusing.
        if ((error as { status?: number }).status !== 0 || ++failures > 30) throw error;
        await new Promise((resolve) => setTimeout(resolve, 1000));
      }
    }
  }

  private async *events(
    id: string,
    logs: boolean,
    last: string,
  ): AsyncGenerator<{ event: string; data: string; eventId: string }> {
    const { url, token } = this.options;
    const headers: Record<string, string> = last === '' ? {} : { 'last-event-id': last };
    if (token !== undefined) headers.authorization = `Bearer ${token}`;
    const path = `/api/v1/jobs/${encodeURIComponent(id)}/events?logs=${logs}`;
    let response: Response;
    try {
      response = await fetch(url.replace(/\/+$/, '') + path, { headers, redirect: 'error' });
    } catch (error) {
      throw unanswered(error as Error, url, 0);
    }
    if (!response.ok) throw refusedAnswer(response, await response.text(), url);
    const decoder = new TextDecoder();
    let text = '';
    try {
      for await (const chunk of response.body ?? []) {
        text += decoder.decode(chunk as Uint8Array, { stream: true });
        const blocks = text.split('\n\n');
        text = blocks.pop() as string;
        for (const block of blocks) {
          const fields = new Map(
            block.split('\n').map((line) => [line.slice(0, line.indexOf(':')), line.slice(line.indexOf(':') + 2)]),
          );
          const data = fields.get('data');
          if (data !== undefined) yield { event: fields.get('event') ?? '', data, eventId: fields.get('id') ?? '' };
        }
      }
    } catch (error) {
      throw unanswered(error as Error, url, 0);
    }
  }

  private async call<T>(method: string, path: string, body?: object): Promise<T> {
    const text = body === undefined ? undefined : JSON.stringify(body);
    return parseAnswer<T>((await send(this.options, method, `/api/v1/jobs${path}`, text)).text, this.options.url);
  }
}
