import { randomBytes } from 'node:crypto';
import { SwitchyardError } from '../../shared/errors.ts';
import type { Sink } from '../sinks/sink.ts';
import type { Position, Spool } from '../spool/spool.ts';
import { markOf, type ReplayView, type ReplayWish, replay } from './replay.ts';
import { type ReplayOrigin, ReplaySource } from './source.ts';

const MAX_REMEMBERED = 100;

export interface ReplaysParts {
  spool: Spool;
  sinks: readonly string[];
  /** The files that are read for a replay to a sink. Rejects where those that are asked for cannot be. */
  origin(sink: string, source: string | undefined): Promise<(ReplayOrigin & { name: string }) | undefined>;
  /** A sink beside the live one: what it sends is marked, and moves no cursor. */
  open(sink: string, mark: string): Promise<Sink>;
}

interface Running {
  view: ReplayView;
  abort: AbortController;
  ended: Promise<void>;
}

/** Replays of the log to its sinks, one at a time; remembered as long as the log thread lives. */
export class Replays {
  private readonly parts: ReplaysParts;
  private readonly views = new Map<string, ReplayView>();
  private running: Running | undefined;
  private starting = false;
  /** Of the replay that is running, or starting. */
  private source: ReplaySource | undefined;

  constructor(parts: ReplaysParts) {
    this.parts = parts;
  }

  /** From here on the spool is still needed. */
  get released(): Position | undefined {
    return this.source?.position;
  }

  /** Rejects with not_found for an unknown sink, conflict while another one runs, failed_precondition for what is not kept. */
  async start(wish: ReplayWish): Promise<ReplayView> {
    const { sinks, spool, origin: originOf, open } = this.parts;
    if (!sinks.includes(wish.sink))
      throw new SwitchyardError(
        'not_found',
        `there is no sink ${JSON.stringify(wish.sink.slice(0, 100))}; eventLog.sinks has ${sinks.join(', ')}`,
      );
    if (this.running !== undefined || this.starting)
      throw new SwitchyardError('conflict', 'another replay is running; wait for its end, or cancel it');
    this.starting = true;
    try {
      const origin = await originOf(wish.sink, wish.source);
      const source = new ReplaySource(spool, origin);
      this.source = source;
      await source.open();
      const kept = await source.keptSince();
      if (wish.from !== undefined && kept !== undefined && wish.from < kept)
        throw new SwitchyardError(
          'failed_precondition',
          `the log keeps records since ${new Date(kept).toISOString()}, and older ones are asked for; begin there, or leave "from" out${
            origin === undefined ? '; sinks of kind files with format jsonl or parquet keep them longer' : ''
          }`,
        );
      const mark = markOf(wish);
      const sink = await open(wish.sink, mark);
      const view = viewOf(wish, mark, origin?.name);
      const abort = new AbortController();
      const ended = replay(view, wish, source, sink, abort.signal).then(() => {
        this.running = undefined;
        this.source = undefined;
      });
      this.running = { view, abort, ended };
      this.views.set(view.id, view);
      for (const id of this.views.keys()) if (this.views.size > MAX_REMEMBERED) this.views.delete(id);
      return { ...view };
    } finally {
      this.starting = false;
      if (this.running === undefined) {
        this.source?.close();
        this.source = undefined;
      }
    }
  }

  /** The newest first. */
  list(): ReplayView[] {
    return [...this.views.values()].reverse();
  }

  /** Throws not_found. */
  get(id: string): ReplayView {
    const view = this.views.get(id);
    if (view !== undefined) return view;
    throw new SwitchyardError(
      'not_found',
      `no replay ${JSON.stringify(id.slice(0, 100))}; a restart forgets them, and ends those that run`,
    );
  }

  /** Ends one that runs; of another one nothing changes. Throws not_found. */
  async cancel(id: string): Promise<ReplayView> {
    const view = this.get(id);
    if (this.running?.view === view) await this.stop();
    return view;
  }

  async stop(): Promise<void> {
    this.running?.abort.abort();
    await this.running?.ended;
  }
}

function viewOf({ sink, from, to, model, route, rate }: ReplayWish, mark: string, source = ''): ReplayView {
  return {
    id: randomBytes(10).toString('hex'),
    mark,
    sink,
    source: source === '' ? null : source,
    status: 'running',
    from: from ?? null,
    to,
    model: model ?? null,
    route: route ?? null,
    rate,
    sent: 0,
    refused: 0,
    unreadable: 0,
    lost: 0,
    errors: 0,
    last_error: '',
    error: '',
    started_at: Date.now(),
    ended_at: null,
  };
}
