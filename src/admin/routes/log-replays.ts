import type { EventLog } from '../../eventlog/event-log.ts';
import { invalidArgument } from '../../shared/errors.ts';
import { asObject } from '../body.ts';
import { PAGING_QUERY, page } from '../paging.ts';
import type { AdminRoute } from '../route.ts';
import { logOf } from './log.ts';

type ReplayWish = Parameters<EventLog['startReplay']>[0];

const COUNT = { type: 'integer', minimum: 0 };
const TIME = { type: 'integer', description: 'Milliseconds since 1970' };
const MAYBE_TEXT = { type: ['string', 'null'] };
const REPLAY = {
  type: 'object',
  required: ['id', 'mark', 'sink', 'status', 'sent', 'error'],
  properties: {
    id: { type: 'string' },
    mark: { type: 'string', description: 'What its records are marked with' },
    sink: { type: 'string' },
    source: {
      ...MAYBE_TEXT,
      description: 'The sink whose files are read, and behind them the spool; null: only the spool',
    },
    status: { type: 'string', enum: ['running', 'succeeded', 'failed', 'cancelled'] },
    from: { type: ['integer', 'null'] },
    to: TIME,
    model: MAYBE_TEXT,
    route: MAYBE_TEXT,
    rate: { type: 'number' },
    sent: COUNT,
    refused: COUNT,
    unreadable: COUNT,
    lost: COUNT,
    errors: COUNT,
    last_error: { type: 'string' },
    error: { type: 'string' },
    started_at: TIME,
    ended_at: { type: ['integer', 'null'] },
  },
};
const WHEN = { type: ['integer', 'string'], description: 'Milliseconds since 1970, or ISO 8601 with a time zone' };
const FIELDS = ['sink', 'source', 'from', 'to', 'model', 'route', 'rate'];
const ISO = /^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}(:\d{2}(\.\d{1,9})?)?(Z|[+-]\d{2}:\d{2})$/;
const DEFAULT_RATE = 1000;
const MAX_RATE = 20_000;
const ROOT = '/api/v1/log/replays';

/** The event log, sent to a sink again. */
export const logReplayRoutes: readonly AdminRoute[] = [
  {
    method: 'POST',
    path: ROOT,
    role: 'operator',
    operationId: 'startLogReplay',
    summary: 'Begin to send a range of the log, as far as it is kept, to one of its sinks again',
    bodyRequired: true,
    body: {
      type: 'object',
      required: ['sink'],
      properties: {
        sink: { type: 'string', description: 'Name of one of eventLog.sinks' },
        source: {
          type: 'string',
          description:
            'The sink whose files are read: of kind files, with format jsonl or parquet; absent: one is chosen',
        },
        from: { ...WHEN, description: `${WHEN.description}; absent: the oldest record that is kept` },
        to: { ...WHEN, description: `${WHEN.description}, not included; absent: now` },
        model: { type: 'string' },
        route: { type: 'string' },
        rate: { type: 'number', exclusiveMinimum: 0, maximum: MAX_RATE, default: DEFAULT_RATE },
      },
    },
    response: REPLAY,
    errors: ['invalid_argument', 'not_found', 'conflict', 'failed_precondition', 'unavailable'],
    handle: async ({ services, body }) => ({ body: await logOf(services).startReplay(wishOf(body, Date.now())) }),
  },
  {
    method: 'GET',
    path: ROOT,
    role: 'operator',
    operationId: 'listLogReplays',
    summary: 'Replays since the log thread started, the newest first',
    query: PAGING_QUERY,
    response: {
      type: 'object',
      required: ['replays'],
      properties: { replays: { type: 'array', items: REPLAY }, next_page_token: { type: 'string' } },
    },
    errors: ['failed_precondition', 'unavailable'],
    handle: async ({ services, query }) => {
      const all = await logOf(services).replays();
      // Sorted by what grows: the newest has the smallest key.
      const keyed = all.map((view) => ({ key: `${String(1e15 - view.started_at)} ${view.id}`, view }));
      const { rows, next } = page(
        keyed.sort((a, b) => (a.key < b.key ? -1 : 1)),
        ({ key }) => key,
        query,
      );
      return {
        body: { replays: rows.map(({ view }) => view), ...(next === undefined ? {} : { next_page_token: next }) },
      };
    },
  },
  {
    method: 'GET',
    path: `${ROOT}/{id}`,
    role: 'operator',
    operationId: 'getLogReplay',
    summary: 'How far a replay has come',
    response: REPLAY,
    errors: ['not_found', 'failed_precondition', 'unavailable'],
    handle: async ({ services, params }) => ({ body: await logOf(services).replay(params.id) }),
  },
  {
    method: 'POST',
    path: `${ROOT}/{id}/cancel`,
    role: 'operator',
    operationId: 'cancelLogReplay',
    summary: 'End a replay; what it has sent stays sent',
    response: REPLAY,
    errors: ['not_found', 'failed_precondition', 'unavailable'],
    handle: async ({ services, params }) => ({ body: await logOf(services).cancelReplay(params.id) }),
  },
];

/** Throws invalid_argument. */
function wishOf(body: unknown, now: number): ReplayWish {
  const given = asObject(body, 'the body', FIELDS);
  const text = (name: string): string | undefined => {
    const value = given[name];
    if (value === undefined || value === null) return undefined;
    if (typeof value === 'string' && value !== '') return value;
    throw invalidArgument(`${name}: give a text`);
  };
  const sink = text('sink');
  if (sink === undefined) throw invalidArgument('sink: name one of eventLog.sinks');
  const from = timeOf(given.from, 'from');
  const to = Math.min(timeOf(given.to, 'to') ?? now, now);
  if (from !== undefined && from >= to)
    throw invalidArgument(
      `from: ${new Date(from).toISOString()} is not before "to", which is ${new Date(to).toISOString()} and never later than now`,
    );
  const { rate = DEFAULT_RATE } = given;
  if (typeof rate !== 'number' || !(rate > 0 && rate <= MAX_RATE))
    throw invalidArgument(`rate: give records a second, above 0 and up to ${MAX_RATE}`);
  return { sink, source: text('source'), from, to, model: text('model'), route: text('route'), rate };
}

function timeOf(value: unknown, name: string): number | undefined {
  if (value === undefined || value === null) return undefined;
  if (typeof value === 'number' && Number.isSafeInteger(value) && value >= 0 && value <= 8.64e15) return value;
  const time = typeof value === 'string' && ISO.test(value) ? Date.parse(value) : Number.NaN;
  if (!Number.isNaN(time)) return time;
  throw invalidArgument(
    `${name}: ${JSON.stringify(value).slice(0, 100)} is no time; give milliseconds since 1970, or such as 2026-11-30T13:00:00Z`,
  );
}
