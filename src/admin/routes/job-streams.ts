import { once } from 'node:events';
import type { ServerResponse } from 'node:http';
import { setTimeout as sleep } from 'node:timers/promises';
import { invalidArgument } from '../../shared/errors.ts';
import type { Jobs, JobView } from '../../training/jobs/jobs.ts';
import { isOver } from '../../training/jobs/state.ts';
import type { AdminStream } from '../route.ts';
import { jobJson, noSuchJob } from './job-view.ts';

const CHUNK_BYTES = 64 * 1024;
/** New output is looked for so often while somebody watches. */
const LOOK_MS = 250;
/** A comment in between, so that nobody on the way takes the silence for an end. */
const KEEP_ALIVE_MS = 15_000;

function readCount(query: URLSearchParams, name: string): number | undefined {
  const text = query.get(name);
  if (text === null || text === '') return undefined;
  if (/^\d{1,15}$/.test(text)) return Number(text);
  throw invalidArgument(`${name}: ${JSON.stringify(text.slice(0, 100))} is not allowed; give a whole number`);
}

/** Undefined: no range was asked for, or one that this does not know, which is as good. */
function readRange(header: string | undefined): { start: number; end: number } | undefined {
  const [, start, end] = /^bytes=(\d{1,15})-(\d{1,15})?$/.exec(header ?? '') ?? [];
  if (start === undefined) return undefined;
  const range = { start: Number(start), end: end === undefined ? Number.MAX_SAFE_INTEGER : Number(end) };
  return range.end < range.start ? undefined : range;
}

/** Writes at the speed of the reader. False: it went away. */
async function write(response: ServerResponse, chunk: string | Buffer): Promise<boolean> {
  if (response.destroyed) return false;
  if (response.write(chunk)) return true;
  await Promise.race([once(response, 'drain'), once(response, 'close')]).catch(() => {});
  return !response.destroyed;
}

/** The output as it is now. */
export async function sendLog({ params, query, services, request, response }: AdminStream): Promise<void> {
  const { jobs } = await services.training.get();
  const attempt = readCount(query, 'attempt');
  const range = readRange(request.headers.range);
  const start = range?.start ?? readCount(query, 'offset') ?? 0;
  const last = range?.end ?? Number.MAX_SAFE_INTEGER;
  const limit = (at: number): number => Math.min(CHUNK_BYTES, last - at + 1);
  let chunk = await jobs.logs(params.job, attempt, start, limit(start));
  const headers: Record<string, string> = {
    'Content-Type': 'text/plain; charset=utf-8',
    'Cache-Control': 'no-store',
    'X-Content-Type-Options': 'nosniff',
    'Accept-Ranges': 'bytes',
  };
  if (range !== undefined && chunk.bytes.length === 0) {
    response.writeHead(416, { ...headers, 'Content-Range': 'bytes */*' });
    response.end();
    return;
  }
  // Of a log that grows the end is not known before it is sent; a range that one chunk holds says where it ends.
  if (range !== undefined) headers['Content-Range'] = `bytes ${start}-${start + chunk.bytes.length - 1}/*`;
  response.writeHead(range === undefined ? 200 : 206, headers);
  let asked = limit(start);
  while (chunk.bytes.length > 0 && request.method !== 'HEAD') {
    if (!(await write(response, chunk.bytes)) || range !== undefined || chunk.next > last) break;
    // Less than was asked for: there is no more now.
    if (chunk.bytes.length < asked) break;
    asked = limit(chunk.next);
    chunk = await jobs.logs(params.job, attempt, chunk.next, asked);
  }
  response.end();
}

/** Where a watcher stands: which attempt's output, and how far it has read. */
interface Place {
  attempt: number;
  offset: number;
}

function readPlace({ query, request }: AdminStream): Place | undefined {
  const [, attempt, offset] = /^(\d{1,6}):(\d{1,15})$/.exec(String(request.headers['last-event-id'] ?? '')) ?? [];
  if (attempt !== undefined) return { attempt: Number(attempt), offset: Number(offset) };
  const given = readCount(query, 'attempt');
  const from = readCount(query, 'offset') ?? 0;
  return given === undefined ? undefined : { attempt: given, offset: from };
}

/** Changes and output until the job is over or the watcher has gone. */
export async function streamEvents(stream: AdminStream): Promise<void> {
  const { params, query, services, response } = stream;
  const { jobs } = await services.training.get();
  const withLogs = query.get('logs') !== 'false';
  let place = readPlace(stream);
  let job = await current(jobs, params.job);
  response.writeHead(200, {
    'Content-Type': 'text/event-stream; charset=utf-8',
    'Cache-Control': 'no-store',
    'X-Accel-Buffering': 'no',
  });
  // Somebody who watches may be silent for as long as the job is.
  stream.request.setTimeout(0);
  let shown = '';
  let quietSince = performance.now();
  let changed = false;
  let wake = (): void => {};
  const unsubscribe = jobs.subscribe(({ id }) => {
    if (id !== params.job) return;
    changed = true;
    wake();
  });
  response.once('close', () => wake());
  try {
    for (;;) {
      const text = JSON.stringify(jobJson(job));
      if (text !== shown) {
        shown = text;
        quietSince = performance.now();
        if (!(await write(response, `event: job\ndata: ${text}\n\n`))) return;
      }
      const over = isOver(job.status);
      if (withLogs) {
        place = await sendOutput(jobs, params.job, job, place, response);
        if (place === undefined && response.destroyed) return;
      }
      if (over || response.destroyed) break;
      if (performance.now() - quietSince > KEEP_ALIVE_MS) {
        quietSince = performance.now();
        if (!(await write(response, ': still there\n\n'))) return;
      }
      if (!changed) await Promise.race([sleep(LOOK_MS), new Promise<void>((resolve) => (wake = resolve))]);
      wake = () => {};
      changed = false;
      job = await current(jobs, params.job);
    }
    response.end();
  } finally {
    unsubscribe();
  }
}

/** All output there is from a place on, through the attempts that have come since. */
async function sendOutput(
  jobs: Jobs,
  id: string,
  job: JobView,
  from: Place | undefined,
  response: ServerResponse,
): Promise<Place | undefined> {
  let place = from ?? { attempt: Math.max(1, job.attempt), offset: 0 };
  const decoder = new TextDecoder();
  while (place.attempt <= job.attempt) {
    const { bytes, next } = await jobs.logs(id, place.attempt, place.offset, CHUNK_BYTES);
    if (bytes.length === 0) {
      if (place.attempt === job.attempt) break;
      place = { attempt: place.attempt + 1, offset: 0 };
      continue;
    }
    place = { attempt: place.attempt, offset: next };
    const text = decoder.decode(bytes, { stream: true });
    const data = JSON.stringify({ attempt: place.attempt, next_offset: next, text });
    if (!(await write(response, `id: ${place.attempt}:${next}\nevent: log\ndata: ${data}\n\n`))) return undefined;
  }
  return place;
}

async function current(jobs: Jobs, id: string): Promise<JobView> {
  const job = await jobs.get(id);
  if (job === undefined) throw noSuchJob(id);
  return job;
}
