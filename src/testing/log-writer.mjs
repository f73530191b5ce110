// The event log in a process of its own, to be killed: its control side, the rings of two gateway
// threads, the log thread, spool and sinks, and nothing of the rest. It opens when its standard input says what, {dataDir,
// settings, round, perMs} as one line of JSON, prints `open`, and writes so many records a millisecond until it is killed.
// `perMs` 0: it sends what it finds, prints `drained` with its figures, and ends in good order. See log-process.ts.
import { createInterface } from 'node:readline';
import { setTimeout as sleep } from 'node:timers/promises';
import { pino } from 'pino';
import { configSchema } from '../config/schema.ts';
import { EventLog } from '../eventlog/event-log.ts';
import { countersOf, DROPPED } from '../eventlog/handover/memory.ts';
import { LogTap } from '../eventlog/handover/tap.ts';
import { DEFAULT_LOG_SETTINGS } from '../telemetry/log-settings.ts';

const version = { version: '1', cacheIdentity: 'sha256:aa' };
const entry = { name: 'scale', versions: [version], index: [], onDemand: false };
const table = { generation: 1, models: new Map([['scale', entry]]) };

function finished(id) {
  const tensor = (name, values) => ({ name, datatype: 'FP32', shape: [1, values.length], data: bytes(values) });
  const parameters = undefined;
  const request = {
    model: 'scale',
    version: '',
    id: 'client',
    inputs: [tensor('x', [1, 2, 3, 4])],
    outputs: [],
    parameters,
  };
  const response = {
    model: 'scale',
    version: '1',
    id: 'client',
    outputs: [tensor('y', [5])],
    parameters,
    timings: undefined,
  };
  const context = { protocol: 'http', tenant: 'default', receivedAt: 0, traceparent: '' };
  return {
    id,
    time: Date.now(),
    request,
    context,
    response,
    status: 'ok',
    latencyMs: 1,
    decision: undefined,
    shadow: '',
  };
}

function bytes(values) {
  return new Uint8Array(Float32Array.from(values).buffer);
}

/** One after the other, without gaps: what has no room is offered again, as the test counts on. */
async function writeRecords(log, config, ring, round, perMs) {
  const dependencies = { table: () => table, random: () => 0, sendLarge: (record) => log.large(ring, record) };
  const tap = new LogTap(log.rings[ring], config.eventLog, dependencies);
  const counters = countersOf(log.rings[ring]);
  for (let next = 0; ; await sleep(1)) {
    for (let i = 0; i < perMs; i++) {
      const dropped = counters[DROPPED];
      tap.finished(finished(`${round}.${ring}.${next}`));
      if (counters[DROPPED] === dropped) next++;
    }
  }
}

/** Each is answered before the next one is sent, and printed when it is. */
async function writeLabels(log, round) {
  const learn = async () => ({ accepted: 0, recorded: 0, rejected: 0, results: [{ id: '', result: 'unknown' }] });
  for (let i = 0; ; i++) {
    const id = `${round}.label.${i}`;
    const { results } = await log.feedback({ events: [{ id, label: i }] }, '', learn);
    if (results[0].result === 'recorded') process.stdout.write(`${id}\n`);
  }
}

async function drain(log) {
  for (;;) {
    const status = await log.status();
    if (status.waiting === 0 && status.sinks.every(({ backlog }) => backlog === 0)) return status;
    await sleep(50);
  }
}

async function main() {
  const lines = createInterface({ input: process.stdin })[Symbol.asyncIterator]();
  const { dataDir, settings, round, perMs } = JSON.parse((await lines.next()).value);
  const config = configSchema.parse({ threads: { gateways: 2 }, ...settings });
  // Smaller than anyone may ask for, so that kills meet the beginnings and the ends of segments.
  config.eventLog.spool.segmentBytes = 128 * 1024;
  const logger = pino({ level: 'error' }, pino.destination({ dest: 2, sync: true }));
  const logSettings = { ...DEFAULT_LOG_SETTINGS };
  const log = new EventLog({ config, dataDir, baseDir: dataDir, logSettings, logger, routeRules: () => [] });
  await log.start();
  process.stdout.write('open\n');
  if (perMs === 0) {
    const status = await drain(log);
    await log.close(10_000);
    process.stdout.write(`${JSON.stringify(status)}\n`);
    process.exit(0);
  }
  for (const ring of [0, 1]) void writeRecords(log, config, ring, round, perMs);
  void writeLabels(log, round);
  await lines.next();
  await log.close(10_000);
  process.exit(0);
}

void main();
