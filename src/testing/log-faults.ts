import { spawn } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { type Admin, Kafka, logLevel } from 'kafkajs';
import { consumeIds } from './kafka-consumer.ts';
import { logFigures, total, unaccounted } from './log-figures.ts';
import { LogLoad } from './log-load.ts';
import { idsInLines, spooledIds } from './logged-ids.ts';
import { scriptRepository, times, until, x } from './script-models.ts';
import { infer, ServerProcess } from './server-process.ts';
import { SlowProxy } from './slow-proxy.ts';

const KAFKA = fileURLToPath(new URL('../../.ci/services/kafka.sh', import.meta.url));
/** Requests a second while a fault is played: few enough for the machine to have room, so that latency tells of the fault. */
const PER_SECOND = 200;
const WARM_MS = 2000;
const DRAIN_MS = 300_000;
/** A sink with fewer records before it keeps up. */
const CLOSE = 1000;
/** See .ci/services/kafka.sh. */
const PROXIED = 20;
const SLOW_BYTES = 64 * 1024;

/** What a fault did to the log and to requests. */
export interface FaultFigures {
  requests: number;
  failed: number;
  /** Records that were in the spool at some time. */
  committed: number;
  /** Committed, and not at the sink in the end; and at the sink more often than once. */
  sinks: { name: string; lost: number; duplicates: number }[];
  /** Milliseconds, of windows of five seconds: before the fault and after it, during it, while the backlog was sent. */
  p99: { calm: number[]; fault: number[]; draining: number[] };
  /** How fast the backlog was sent after the fault. Null: there was none that is worth measuring. */
  drain: { records: number; seconds: number; perSecond: number } | null;
  /** Dropped by policy, and counted so. */
  dropped: number;
  /** What the figures leave open: 0 when they add up. */
  unaccounted: number;
}

interface Bench {
  scratch: string;
  /** Of the model's records, in Kafka. */
  topic: string;
  spool: string;
  start(): Promise<ServerProcess>;
  /** Ids at each sink, each as often as it is there. */
  arrived(): Promise<{ name: string; ids: string[] }[]>;
  end(): void;
}

interface BenchOptions {
  /** Records go to Kafka. */
  broker?: string;
  /** The server finds it here instead. */
  through?: string;
  /** Records go to JSON lines. */
  files?: boolean;
  /** Where the spool lies; with the rest otherwise. */
  disk?: string;
}

/** A server with a model `scale` that logs every request. */
function bench({ broker, through, files, disk }: BenchOptions): Bench {
  const scratch = mkdtempSync(join(tmpdir(), 'switchyard-log-faults-'));
  const dataDir = join(scratch, 'data');
  const lines = join(scratch, 'lines');
  const prefix = `f${randomUUID()}.`;
  const topic = `${prefix}scale.inference`;
  const root = scriptRepository(scratch, { scale: { versions: { 1: times(10) } } });
  const file = join(scratch, 'switchyard.yaml');
  const sinks: object[] = [];
  if (files) sinks.push({ name: 'files', kind: 'files', dir: lines });
  // Without compression, what a slow way lets through is what it says.
  if (broker !== undefined)
    sinks.push({ name: 'kafka', kind: 'kafka', ...(through === undefined ? {} : { compression: 'none' }) });
  const kafka = broker === undefined ? {} : { kafka: { brokers: [through ?? broker], topicPrefix: prefix } };
  const place =
    disk === undefined
      ? { spool: { segmentBytes: 1024 * 1024 * 1024 } }
      : { dir: join(disk, 'eventlog'), spool: { segmentBytes: 1024 * 1024, whenFull: 'drop-new' } };
  // The log thread does not give way: that is the harder case for latency, and a busy machine delays no backlog.
  writeFileSync(file, JSON.stringify({ ...kafka, eventLog: { enabled: true, nice: 0, sinks, ...place } }));
  return {
    scratch,
    topic,
    spool: join(disk ?? dataDir, 'eventlog', 'spool'),
    start: () => ServerProcess.start(['--config', file, '--model-repository', root], { dataDir }),
    arrived: async () => [
      ...(files ? [{ name: 'files', ids: idsInLines(lines) }] : []),
      ...(broker === undefined ? [] : [{ name: 'kafka', ids: await consumeIds(broker, [topic]) }]),
    ],
    end: () => rmSync(scratch, { recursive: true, force: true }),
  };
}

/** Waits until every sink is within `within` records of the end. */
async function drained(server: ServerProcess, within: number): Promise<void> {
  const done = async (): Promise<boolean> => {
    const figures = await logFigures(server);
    return total(figures, 'waiting_records') <= within && total(figures, 'sink_backlog_records') <= within;
  };
  // The figures are up to a quarter of a second old.
  await sleep(600);
  await until('the sink has everything', done, DRAIN_MS);
}

/** Waits until sinks keep up again, and says how many records a second they took until then. */
async function drainRateOf(server: ServerProcess): Promise<FaultFigures['drain']> {
  // Figures are up to a quarter of a second old, and drained waits that out first: a short drain is faster than this says.
  const before = await logFigures(server);
  const begun = performance.now();
  await drained(server, CLOSE);
  const records = total(await logFigures(server), 'sink_sent_total') - total(before, 'sink_sent_total');
  const seconds = (performance.now() - begun) / 1000;
  if (total(before, 'sink_backlog_records') <= CLOSE) return null;
  return { records, seconds, perSecond: records / seconds };
}

function compare(committed: ReadonlySet<string>, arrived: readonly { name: string; ids: string[] }[]) {
  return arrived.map(({ name, ids }) => {
    const seen = new Set(ids);
    let lost = 0;
    for (const id of committed) if (!seen.has(id)) lost++;
    return { name, lost, duplicates: ids.length - seen.size };
  });
}

/** The whole program is killed with -9 at random moments under load, and started again. Without a broker: files alone. */
export async function killedAtRandom(kills: number, broker?: string): Promise<FaultFigures> {
  const here = bench({ broker, files: true });
  const committed = new Set<string>();
  let requests = 0;
  try {
    for (let i = 0; i < kills; i++) {
      const server = await here.start();
      const load = new LogLoad(server);
      // Something is committed in one round at least, however slow the machine.
      while (i === 0 && spooledIds(here.spool).length === 0) await sleep(10);
      await sleep(100 + Math.random() * 900);
      const killed = server.kill();
      await load.stop();
      await killed;
      requests += load.requests;
      for (const id of spooledIds(here.spool)) committed.add(id);
    }
    const last = await here.start();
    await infer(last, 'scale', x(1));
    await drained(last, 0);
    const left = unaccounted(await logFigures(last));
    await last.stop();
    return {
      ...{ requests, failed: 0, committed: committed.size, dropped: 0 },
      sinks: compare(committed, await here.arrived()),
      p99: { calm: [], fault: [], draining: [] },
      drain: null,
      unaccounted: sum(left),
    };
  } finally {
    here.end();
  }
}

/** A fault while requests come at an even pace: calm for `calmMs`, the fault, the backlog sent, and calm again. */
async function underLoad(
  options: BenchOptions,
  calmMs: number,
  fault: (server: ServerProcess, here: Bench) => Promise<void>,
): Promise<FaultFigures> {
  const here = bench(options);
  const server = await here.start();
  try {
    const load = new LogLoad(server, PER_SECOND);
    await sleep(WARM_MS);
    await until('records arrive', async () => total(await logFigures(server), 'sink_sent_total') > 0, DRAIN_MS);
    load.p99s();
    await sleep(calmMs);
    const calm = load.p99s();
    await fault(server, here);
    const during = load.p99s();
    const drain = await drainRateOf(server);
    const draining = load.p99s();
    await sleep(calmMs);
    calm.push(...load.p99s());
    await load.stop();
    await drained(server, 0);
    const figures = await logFigures(server);
    // Nothing was deleted yet: its segments are larger than the test. On a small disk the figures say it.
    const committed = options.disk === undefined ? new Set(spooledIds(here.spool)) : undefined;
    const arrived = await here.arrived();
    const spooled = total(figures, 'spooled_total');
    const { requests, failed } = load;
    return {
      ...{ requests, failed, committed: committed?.size ?? spooled, dropped: total(figures, 'dropped_total') },
      sinks:
        committed === undefined
          ? arrived.map(({ name, ids }) => {
              const distinct = new Set(ids).size;
              return { name, lost: spooled - distinct, duplicates: ids.length - distinct };
            })
          : compare(committed, arrived),
      p99: { calm, fault: during, draining },
      drain,
      unaccounted: sum(unaccounted(figures)),
    };
  } finally {
    await server.stop();
    here.end();
  }
}

/** The broker is ended with -9, stays away for `awayMs`, and comes back with its data. */
export function brokerAway(broker: string, awayMs: number, calmMs: number): Promise<FaultFigures> {
  return underLoad({ broker }, calmMs, async () => {
    await run(KAFKA, ['kill', portOf(broker)]);
    await sleep(awayMs);
    await run(KAFKA, ['start', portOf(broker)]);
  });
}

/** The broker ends in good order and starts again: leaders resign and are elected anew. */
export function brokerRestarted(broker: string, calmMs: number): Promise<FaultFigures> {
  return underLoad({ broker }, calmMs, () => run(KAFKA, ['restart', portOf(broker)]));
}

/** The topic gets more partitions, a second broker joins, all partitions move to it, and back before it leaves. */
export function rebalanced(broker: string, calmMs: number): Promise<FaultFigures> {
  return underLoad({ broker }, calmMs, async (_, { topic }) => {
    const client = new Kafka({ brokers: [broker], logLevel: logLevel.NOTHING, retry: { retries: 20 } });
    const admin = client.admin();
    await admin.connect();
    try {
      const partitions = await admin.fetchTopicMetadata({ topics: [topic] });
      const count = partitions.topics[0].partitions.length * 2;
      await admin.createPartitions({ topicPartitions: [{ topic, count }] });
      await run(KAFKA, ['join', portOf(broker)]);
      for (const leader of [2, 1]) {
        await moveTo(admin, topic, count, leader);
        await sleep(calmMs / 2);
      }
      await run(KAFKA, ['leave', portOf(broker)]);
    } finally {
      await admin.disconnect();
    }
  });
}

async function moveTo(admin: Admin, topic: string, count: number, leader: number): Promise<void> {
  const partitionAssignment = Array.from({ length: count }, (_, partition) => ({ partition, replicas: [leader] }));
  await admin.alterPartitionReassignments({ topics: [{ topic, partitionAssignment }] });
  await until(
    `broker ${leader} leads the topic`,
    async () => {
      const { topics } = await admin.fetchTopicMetadata({ topics: [topic] });
      return topics[0].partitions.every((partition) => partition.leader === leader);
    },
    DRAIN_MS,
  );
}

/** The way to the broker carries a sixth of what comes. */
export async function brokerSlow(broker: string, slowMs: number, calmMs: number): Promise<FaultFigures> {
  const port = Number(portOf(broker)) + PROXIED;
  const proxy = await SlowProxy.listen(port + 1, port);
  try {
    return await underLoad({ broker, through: `127.0.0.1:${port + 1}` }, calmMs, async () => {
      proxy.bytesPerSecond = SLOW_BYTES;
      await sleep(slowMs);
      proxy.bytesPerSecond = 0;
    });
  } finally {
    await proxy.close();
  }
}

/** The disk of the spool fills up, stays full for `fullMs`, and has room again. `disk`: a small file system of its own. */
export async function diskFull(disk: string, fullMs: number, calmMs: number): Promise<FaultFigures> {
  const filler = join(disk, 'filler');
  try {
    return await underLoad({ files: true, disk }, calmMs, async (server) => {
      await run('dd', ['if=/dev/zero', `of=${filler}`, 'bs=4096']);
      const dropping = async (): Promise<boolean> => total(await logFigures(server), 'dropped_total') > 0;
      await until('records are dropped', dropping, DRAIN_MS);
      await sleep(fullMs);
      rmSync(filler);
      const at = total(await logFigures(server), 'spooled_total');
      await until('the log goes on', async () => total(await logFigures(server), 'spooled_total') > at, DRAIN_MS);
    });
  } finally {
    rmSync(join(disk, 'eventlog'), { recursive: true, force: true });
    rmSync(filler, { force: true });
  }
}

function portOf(broker: string): string {
  return broker.split(':')[1];
}

/** Waits beside the load, not in its way: clients that stand still lose their connections. dd fails when the disk is full. */
async function run(command: string, args: readonly string[]): Promise<void> {
  await once(spawn(command, args, { stdio: 'ignore' }), 'exit');
}

function sum(left: Record<string, number>): number {
  return Object.values(left).reduce((all, value) => all + Math.abs(value), 0);
}
