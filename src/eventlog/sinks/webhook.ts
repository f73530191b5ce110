import type { WebhookSinkConfig } from '../../config/event-log-schema.ts';
import type { WebhookPolicy } from '../../registry/webhooks/guard.ts';
import { deliver } from '../../registry/webhooks/send.ts';
import { recordJson, sagemakerLine } from '../encode/json.ts';
import type { SpoolRecord } from '../spool/format.ts';
import type { Position } from '../spool/spool.ts';
import { decodeSpooled } from './decode.ts';
import { type Batch, NOTHING, type Sink, type Taken } from './sink.ts';

/**
 * Batches posted as `{"records": […]}`, signed as the registry's webhooks are. The delivery's id names the batch's place
 * in the log, so that a receiver can tell one that comes again. An answer of 4xx means never: the batch counts as
 * refused. Anything else is tried again.
 */
export class WebhookSink implements Sink {
  readonly maxRecords: number;
  private readonly config: WebhookSinkConfig;
  private readonly policy: WebhookPolicy;
  private readonly replayed: string;
  private waiting: string[] = [];
  private from: Position | undefined;
  private begunAt = 0;

  /** @param replayed a field for records that come again; '': none */
  constructor(config: WebhookSinkConfig, policy: WebhookPolicy, replayed = '') {
    this.replayed = replayed;
    this.config = config;
    this.policy = policy;
    this.maxRecords = config.batchRecords;
  }

  restore(): void {}

  async send({ records, from }: Batch): Promise<Taken> {
    if (this.from !== undefined && from.record <= this.from.record) this.from = undefined;
    if (this.from === undefined) {
      this.from = from;
      this.waiting = [];
      this.begunAt = Date.now();
    }
    let refused = 0;
    for (const record of records) {
      const line = this.lineOf(record);
      if (line === undefined) refused++;
      else if (line !== '') this.waiting.push(line);
    }
    if (this.waiting.length < this.config.batchRecords) return { settled: false, refused };
    return { settled: true, refused: refused + (await this.post()) };
  }

  async tick(now: number, force: boolean): Promise<Taken> {
    if (this.from === undefined || (!force && now - this.begunAt < this.config.every)) return NOTHING;
    return { settled: true, refused: await this.post() };
  }

  note(): undefined {
    return undefined;
  }

  async close(): Promise<void> {}

  /** How many records the receiver refused. Rejects when trying again may help. */
  private async post(): Promise<number> {
    const { name, url, secret } = this.config;
    const { waiting: lines, replayed } = this;
    const id = `${replayed === '' ? name : `${name}-replay-${replayed}`}-${this.from?.record ?? 0}`;
    this.waiting = [];
    this.from = undefined;
    if (lines.length === 0) return 0;
    const mark = replayed === '' ? '' : `"replayed":"${replayed}",`;
    const body = `{${mark}"records":[${lines.join(',')}]}`;
    const result = await deliver({ id, url, secret: secret ?? '', body }, this.policy, Date.now());
    if (result.error === '' && result.status >= 200 && result.status < 300) return 0;
    const what = result.error === '' ? `${url} answered ${result.status}` : result.error;
    if (result.passing || result.status < 400 || result.status >= 500) throw new Error(what);
    return lines.length;
  }

  /** '' where the format has no line for it; undefined: it cannot be read. */
  private lineOf(spooled: SpoolRecord): string | undefined {
    const record = decodeSpooled(spooled);
    if (record === undefined) return undefined;
    if (this.config.format !== 'sagemaker') return recordJson(record);
    return 'features' in record ? sagemakerLine(record) : '';
  }
}
