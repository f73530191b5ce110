import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { pino } from 'pino';
import { configSchema } from '../../src/config/schema.ts';
import { allocateCounts, beginCounting, SENT, SPOOLED } from '../../src/eventlog/counts.ts';
import { containerOf } from '../../src/eventlog/encode/container.ts';
import { RecordEncoder } from '../../src/eventlog/encode/record-encoder.ts';
import { hashWith } from '../../src/eventlog/encode/redact.ts';
import { allocateRing, countersOf, DROPPED } from '../../src/eventlog/handover/memory.ts';
import { RingReader } from '../../src/eventlog/handover/ring-reader.ts';
import { LogTap } from '../../src/eventlog/handover/tap.ts';
import { LogPipeline } from '../../src/eventlog/pipeline.ts';
import { JsonLinesSink } from '../../src/eventlog/sinks/files.ts';
import { KafkaSink } from '../../src/eventlog/sinks/kafka.ts';
import { SinkRunner } from '../../src/eventlog/sinks/runner.ts';
import type { Sink } from '../../src/eventlog/sinks/sink.ts';
import { CursorFile } from '../../src/eventlog/spool/cursor.ts';
import { Spool } from '../../src/eventlog/spool/spool.ts';
import { kafkaClients } from '../../src/kafka/client.ts';
import type { FinishedRequest } from '../../src/pipeline/routed/record.ts';
import { fp32 } from '../../src/testing/loopback.ts';

/** About what a thread finds that is behind: several rounds of the pipeline. */
const AT_ONCE = 5000;
const RING_BYTES = 16 * 1024 * 1024;

export interface RecordCost {
  /** Microseconds of processor time a record, of the whole process, medians of blocks. */
  spooled: number;
  sent: number;
}

/** A request of the small model with a decision of a route, as the load test logs them. */
function finished(i: number): FinishedRequest {
  const values = Array.from({ length: 16 }, (_, n) => Math.fround(Math.sin(i * 16 + n)));
  const answers = Array.from({ length: 4 }, (_, n) => Math.fround(Math.cos(i * 4 + n)));
  return {
    id: `01997c1d-3b5a-7000-8000-${String(i).padStart(12, '0')}`,
    time: 1_764_460_800_000 + i,
    request: {
      model: 'small',
      version: '',
      id: '',
      inputs: [fp32('x', [1, 16], values)],
      outputs: [],
      parameters: undefined,
    },
    context: { protocol: 'http', tenant: 'default', receivedAt: 0, traceparent: '' },
    response: {
      model: 'small',
      version: '1',
      id: '',
      outputs: [fp32('y', [1, 4], answers)],
      parameters: undefined,
      timings: {
        queue: 0.011 + (i % 97) / 1e4,
        computeInput: 0.002 + (i % 89) / 1e5,
        computeInfer: 0.12 + (i % 83) / 1e4,
        computeOutput: 0.003 + (i % 79) / 1e5,
        batchSize: 1 + (i % 32),
      },
    },
    status: 'ok',
    latencyMs: 0.5 + (i % 1013) / 1000.7,
    decision: {
      route: 'small',
      model: 'small',
      stateVersion: 1,
      snapshotVersion: 1,
      propensity: 0.9,
      assigned: 'a',
      served: 'a',
      role: 'arm',
      detour: '',
      analysed: true,
      override: -1,
      bucket: (i * 7919) % 10_000,
      pmf: [0.9, 0.1],
      eligible: ['a', 'b'],
      fallbacks: [],
      proposed: undefined,
      features: undefined,
    },
    shadow: '',
  } as unknown as FinishedRequest;
}

/** Where records are sent: JSON lines in files, or a broker at `address`. */
export type Target = { kind: 'files' } | { kind: 'kafka'; layout: 'record' | 'block'; address: string };

/** Fills a ring and empties it again, as a log thread that is behind: into the spool, and from there to a sink. */
export async function measureRecord(blocks: number, target: Target = { kind: 'files' }): Promise<RecordCost> {
  const dir = mkdtempSync(join(tmpdir(), 'record-cost-'));
  const settings =
    target.kind === 'files'
      ? { kind: 'files' }
      : { kind: 'kafka', layout: target.layout, compression: 'none', batchRecords: AT_ONCE };
  const { eventLog: config, kafka } = configSchema.parse({
    eventLog: { enabled: true, sinks: [{ name: 'sink', ...settings }] },
    kafka: target.kind === 'files' ? {} : { brokers: [target.address], topicPrefix: `record-cost-${process.pid}.` },
  });
  const ring = allocateRing(RING_BYTES);
  const rings = [new RingReader(ring)];
  const table = { generation: 1, models: new Map() };
  const tap = new LogTap(ring, config, {
    table: () => table,
    random: () => 0.5,
    sendLarge: () => {
      throw new Error('no record is large here');
    },
  });
  const spool = new Spool({ dir: join(dir, 'spool'), ...config.spool });
  const hash = hashWith('salt');
  const wrap = (record: Uint8Array) => containerOf([{ u8: record, start: 0, end: record.length }], 'inference');
  const encoder = new RecordEncoder(hash, () => undefined, wrap);
  const allocated = allocateCounts(1);
  const counts = beginCounting(allocated.memory, [ring], spool);
  const pipeline = new LogPipeline(rings, encoder, spool, counts, hash);
  const [sink] = config.sinks;
  const log = pino({ level: 'warn' });
  let made: Sink;
  if (sink.kind === 'files') made = new JsonLinesSink(sink, join(dir, 'files'));
  else if (sink.kind === 'kafka') made = new KafkaSink(sink, await kafkaClients(kafka, log), () => undefined, log);
  else throw new Error('the sink is one of two kinds');
  const own = new Float64Array(allocated.sinks[0]);
  const runner = new SinkRunner(sink.name, sink.kind, made, {
    spool,
    cursor: new CursorFile(join(dir, 'sink.cursor')),
    arriving: () => 0,
    counts: own,
    spooled: 0,
    log: { info() {}, warn() {} },
  });
  runner.start();
  const requests = Array.from({ length: AT_ONCE }, (_, i) => finished(i));
  const spooled: number[] = [];
  const sent: number[] = [];
  const micros = (since: NodeJS.CpuUsage): number => {
    const { user, system } = process.cpuUsage(since);
    return (user + system) / AT_ONCE;
  };
  try {
    for (let block = 0; block < blocks; block++) {
      for (const request of requests) tap.finished(request);
      if (countersOf(ring)[DROPPED] > 0) throw new Error('the ring is too small for a block');
      const begun = process.cpuUsage();
      while (pipeline.pump() > 0);
      spooled.push(micros(begun));
      const read = process.cpuUsage();
      runner.notify();
      // A pause, not turns of the loop: while a broker answers they would be counted.
      while (own[SENT] < counts[SPOOLED]) await sleep(1);
      sent.push(micros(read));
      runner.save();
      spool.release([runner.released]);
    }
  } finally {
    await runner.stop(1000);
    spool.close();
    rmSync(dir, { recursive: true, force: true });
  }
  const median = (values: number[]): number => values.sort((a, b) => a - b)[values.length >> 1];
  // The first third is the compiler's.
  const kept = Math.ceil(blocks / 3);
  return { spooled: median(spooled.slice(kept)), sent: median(sent.slice(kept)) };
}

if (process.argv[1] === import.meta.filename) {
  const { SWITCHYARD_TEST_KAFKA_URL: address } = process.env;
  const targets: Target[] = [{ kind: 'files' }];
  if (address !== undefined)
    for (const layout of ['record', 'block'] as const) targets.push({ kind: 'kafka', layout, address });
  for (const target of targets) {
    const { spooled, sent } = await measureRecord(Number(process.argv[2] ?? 120), target);
    const name = target.kind === 'files' ? 'JSON lines' : `Kafka, layout ${target.layout}`;
    process.stdout.write(
      `${name}: µs of CPU a record: ${spooled.toFixed(2)} from the ring to the spool, ${sent.toFixed(2)} from there on\n`,
    );
  }
}
