import { spawn } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { readHead } from '../eventlog/encode/record-decoder.ts';
import { FEEDBACK, parseRecords } from '../eventlog/spool/format.ts';
import { consumeAll } from './kafka-consumer.ts';
import { logFigures, total, unaccounted } from './log-figures.ts';
import { scriptRepository, times, until, x } from './script-models.ts';
import { infer, ServerProcess } from './server-process.ts';

const KAFKA = fileURLToPath(new URL('../../.ci/services/kafka.sh', import.meta.url));
const CLIENTS = 4;
const DRAIN_MS = 120_000;

/** What a fault did to the log and to requests. */
export interface FaultFigures {
  requests: number;
  failed: number;
  /** Records that were in the spool at some time. */
  committed: number;
  /** Committed, and not at the sink in the end. */
  lost: number;
  /** At the sink more often than once. */
  duplicates: number;
  /** Milliseconds, before the fault and during it. */
  p99Before: number;
  p99During: number;
  /** Dropped by policy, and counted so. */
  dropped: number;
  /** What the figures leave open: 0 when they add up. */
  unaccounted: number;
}

/** Requests without a pause, from several clients, until `stop`. */
class Load {
  requests = 0;
  failed = 0;
  private latencies: number[] = [];
  private running = true;
  private readonly clients: Promise<void>[];

  constructor(server: ServerProcess) {
    this.clients = Array.from({ length: CLIENTS }, async () => {
      while (this.running) {
        const begun = performance.now();
        const status = await infer(server, 'scale', x(1)).then(
          (answer) => answer.status,
          () => 0,
        );
        // The moment the server is killed fails what is on its way.
        if (!this.running) return;
        this.requests++;
        if (status !== 200) this.failed++;
        else this.latencies.push(performance.now() - begun);
      }
    });
  }

  /** Of the requests since the last call. */
  p99(): number {
    const sorted = this.latencies.sort((a, b) => a - b);
    this.latencies = [];
    return sorted[Math.floor(sorted.length * 0.99)] ?? 0;
  }

  async stop(): Promise<void> {
    this.running = false;
    await Promise.all(this.clients);
  }
}

interface Bench {
  scratch: string;
  dataDir: string;
  start(): Promise<ServerProcess>;
  /** Ids at the sink, each as often as it is there. */
  arrived(): Promise<string[]>;
  end(): void;
}

/** A server whose log goes to Kafka when a broker is named, else to JSON lines. */
function bench(broker: string | undefined, eventLog: object = {}): Bench {
  const scratch = mkdtempSync(join(tmpdir(), 'switchyard-log-faults-'));
  const dataDir = join(scratch, 'data');
  const prefix = `f${randomUUID()}.`;
  const root = scriptRepository(scratch, { scale: { versions: { 1: times(10) } } });
  const file = join(scratch, 'switchyard.yaml');
  const sink =
    broker === undefined
      ? { name: 'sink', kind: 'files', dir: join(scratch, 'lines') }
      : { name: 'sink', kind: 'kafka' };
  const kafka = broker === undefined ? {} : { kafka: { brokers: [broker], topicPrefix: prefix } };
  writeFileSync(file, JSON.stringify({ ...kafka, eventLog: { enabled: true, sinks: [sink], ...eventLog } }));
  return {
    scratch,
    dataDir,
    start: () => ServerProcess.start(['--config', file, '--model-repository', root], { dataDir }),
    arrived: async () => {
      if (broker !== undefined)
        return (await consumeAll(broker, [`${prefix}scale.inference`])).map(({ record }) => record.id);
      const folder = join(scratch, 'lines');
      return readdirSync(folder)
        .flatMap((name) => readFileSync(join(folder, name), 'utf8').split('\n'))
        .filter((line) => line !== '')
        .map((line) => (JSON.parse(line) as { id: string }).id);
    },
    end: () => rmSync(scratch, { recursive: true, force: true }),
  };
}

/** Ids of all whole records that lie in a spool. */
function spooledIds(dir: string): string[] {
  return readdirSync(dir)
    .filter((name) => name.endsWith('.spool'))
    .flatMap((name) => parseRecords(readFileSync(join(dir, name)), 0, Number.POSITIVE_INFINITY).records)
    .map(({ kind, body }) => readHead(body, kind === FEEDBACK).id);
}

async function drained(server: ServerProcess): Promise<void> {
  const done = async (): Promise<boolean> => {
    const figures = await logFigures(server);
    return total(figures, 'waiting_records') === 0 && total(figures, 'sink_backlog_records') === 0;
  };
  // The figures are up to a quarter of a second old.
  await sleep(600);
  await until('the sink has everything', done, DRAIN_MS);
}

function compare(committed: ReadonlySet<string>, arrived: readonly string[]) {
  const seen = new Set(arrived);
  let lost = 0;
  for (const id of committed) if (!seen.has(id)) lost++;
  return { committed: committed.size, lost, duplicates: arrived.length - seen.size };
}

/** The whole program is killed with -9 at random moments under load, and started again. */
export async function killedAtRandom(kills: number, broker: string | undefined): Promise<FaultFigures> {
  const here = bench(broker);
  const committed = new Set<string>();
  const spool = join(here.dataDir, 'eventlog', 'spool');
  let requests = 0;
  try {
    for (let i = 0; i < kills; i++) {
      const server = await here.start();
      const load = new Load(server);
      await sleep(100 + Math.random() * 900);
      const pid = server.servingPid();
      server.child.kill('SIGKILL');
      process.kill(pid, 'SIGKILL');
      await server.exited();
      await load.stop();
      requests += load.requests;
      while (isAlive(pid)) await sleep(5);
      for (const id of spooledIds(spool)) committed.add(id);
    }
    const last = await here.start();
    await infer(last, 'scale', x(1));
    await drained(last);
    const left = unaccounted(await logFigures(last));
    await last.stop();
    return {
      ...compare(committed, await here.arrived()),
      ...{ requests, failed: 0, p99Before: 0, p99During: 0, dropped: 0 },
      unaccounted: sum(left),
    };
  } finally {
    here.end();
  }
}

/** The broker is ended with -9 under load, stays away for `awayMs`, and comes back with its data. */
export async function brokerAway(broker: string, awayMs: number): Promise<FaultFigures> {
  const here = bench(broker);
  const port = broker.split(':')[1];
  const server = await here.start();
  try {
    const load = new Load(server);
    await sleep(2000);
    load.p99();
    await sleep(3000);
    const p99Before = load.p99();
    await run(KAFKA, ['kill', port]);
    await sleep(awayMs);
    const p99During = load.p99();
    await run(KAFKA, ['start', port]);
    await sleep(2000);
    await load.stop();
    await drained(server);
    const figures = await logFigures(server);
    const committed = new Set(spooledIds(join(here.dataDir, 'eventlog', 'spool')));
    const { requests, failed } = load;
    const dropped = total(figures, 'dropped_total');
    return {
      ...compare(committed, await here.arrived()),
      ...{ requests, failed, p99Before, p99During, dropped },
      unaccounted: sum(unaccounted(figures)),
    };
  } finally {
    await server.stop();
    here.end();
  }
}

/** The disk of the spool fills up under load, and has room again later. `disk`: a small file system of its own. */
export async function diskFull(disk: string): Promise<FaultFigures> {
  const dir = join(disk, 'eventlog');
  const filler = join(disk, 'filler');
  const here = bench(undefined, { dir, spool: { segmentBytes: 1024 * 1024, whenFull: 'drop-new' } });
  const server = await here.start();
  try {
    const load = new Load(server);
    await sleep(2000);
    load.p99();
    await sleep(2000);
    const p99Before = load.p99();
    await run('dd', ['if=/dev/zero', `of=${filler}`, 'bs=4096']);
    await until('records are dropped', async () => total(await logFigures(server), 'dropped_total') > 0, 30_000);
    await sleep(2000);
    const p99During = load.p99();
    rmSync(filler);
    const at = total(await logFigures(server), 'spooled_total');
    await until('the log goes on', async () => total(await logFigures(server), 'spooled_total') > at, 30_000);
    await load.stop();
    await drained(server);
    const figures = await logFigures(server);
    const arrived = await here.arrived();
    const { requests, failed } = load;
    const spooled = total(figures, 'spooled_total');
    return {
      committed: spooled,
      lost: spooled - new Set(arrived).size,
      duplicates: arrived.length - new Set(arrived).size,
      ...{ requests, failed, p99Before, p99During, dropped: total(figures, 'dropped_total') },
      unaccounted: sum(unaccounted(figures)),
    };
  } finally {
    await server.stop();
    rmSync(dir, { recursive: true, force: true });
    rmSync(filler, { force: true });
    here.end();
  }
}

/** Waits beside the load, not in its way: clients that stand still lose their connections. dd fails when the disk is full. */
async function run(command: string, args: readonly string[]): Promise<void> {
  await once(spawn(command, args, { stdio: 'ignore' }), 'exit');
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}

function sum(left: Record<string, number>): number {
  return Object.values(left).reduce((all, value) => all + Math.abs(value), 0);
}
