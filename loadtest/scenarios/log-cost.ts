import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { logFigures, total } from '../../src/testing/log-figures.ts';
import { ServerProcess } from '../../src/testing/server-process.ts';
import { measureRecord } from '../eventlog/record-cost.ts';
import type { GeneratorResult } from '../generators/measurement.ts';
import { oha } from '../generators/oha.ts';
import { wrk } from '../generators/wrk.ts';
import { SMALL_MLP, writeOnnxRepository } from '../mlp-model.ts';
import { v2Json } from '../payloads.ts';
import { roundOrder } from '../rounds.ts';
import { type Comparison, makeWorkload, type Panel, type Scenario } from '../scenario.ts';
import { bootstrapMedian, pairedRatios } from '../statistics.ts';
import { nicedThreads, threadCpu, usedBetween } from '../thread-cpu.ts';

const CONNECTIONS = 64;
const OFFERED = 20_000;
const WARM_SECONDS = 4;
const RECORD_BLOCKS = 120;
/** In which a backlog is to be sent once no requests come. */
const DRAIN_MS = 120_000;

interface Subject {
  name: string;
  server: ServerProcess;
  pid: number;
  gateway: number;
  log: number[];
}

/** One measurement. CPU in microseconds a request. */
interface Sample {
  requestsPerSecond: number;
  p99: number;
  gatewayCpu: number;
  logCpu: number;
}

interface Load {
  title: string;
  run(server: ServerProcess, seconds: number): Promise<GeneratorResult>;
}

/**
 * The same requests with the log off and on, in turn, every request with its payload: as many as the machine answers, and
 * at a given rate. With a broker the log goes to Kafka: in blocks where all is wanted, else a message a record.
 */
export const logCost: Scenario = {
  name: 'log-cost',
  description: 'The event log on and off, every request with its payload: CPU per request, throughput and latency',
  async run({ scratch, rounds, timing, say }) {
    const { SWITCHYARD_TEST_KAFKA_URL: broker } = process.env;
    const workload = await makeWorkload(join(scratch, 'log-cost'), SMALL_MLP, 64);
    const models = join(scratch, 'log-cost', 'models');
    writeOnnxRepository(models, SMALL_MLP, { maxBatchSize: 64, names: [workload.model] });
    const request = v2Json(workload.model, workload.row);
    const full: Load = {
      title: 'as many as are answered',
      run: ({ ports }, seconds) => wrk(ports.http, request, { connections: CONNECTIONS, seconds }, workload.scratch),
    };
    const offered: Load = {
      title: `${OFFERED.toLocaleString('en')} requests/s offered`,
      run: ({ ports }, seconds) => {
        const load = { connections: CONNECTIONS, seconds, requestsPerSecond: OFFERED };
        return oha(ports.http, request, load, workload.scratch);
      },
    };
    const kafka = { name: 'kafka', kind: 'kafka', compression: 'none' };
    const block = broker === undefined ? undefined : { ...kafka, layout: 'block', batchRecords: 10_000 };
    const record = broker === undefined ? undefined : { ...kafka, layout: 'record' };
    const lines = { name: 'lines', kind: 'files' };
    const panels: Panel[] = [];
    const alone = await measureRecord(RECORD_BLOCKS);
    const notes: string[] = [
      `in one process, without requests: ${alone.spooled.toFixed(2)} µs of CPU a record from the ring to the spool, ` +
        `${alone.sent.toFixed(2)} µs from there to its JSON line`,
    ];
    const figures: Record<string, unknown> = { record: alone };
    for (const [load, name, sink] of [
      [full, block === undefined ? 'lines' : 'block', block ?? lines],
      [offered, record === undefined ? 'lines' : 'record', record ?? lines],
    ] as const) {
      say(`log-cost, ${load.title}`);
      const started: Subject[] = [];
      try {
        started.push(await subject('off', models, scratch, {}, broker));
        started.push(await subject(name, models, scratch, { enabled: true, sinks: [sink] }, broker));
        const [off, on] = started;
        const samples = await play([off, on], load, rounds, timing.seconds, say);
        const left = await drained(on);
        const raw = { off: samples[0], [name]: samples[1], ...left };
        figures[load.title] = raw;
        const comparisons = compared(name, samples[0], samples[1]);
        panels.push({ title: `Event log, ${load.title}`, counts: 'requests', series: [], comparisons });
        const cpu = bootstrapMedian(samples[1].map(({ logCpu }) => logCpu)).value.toFixed(2);
        const line =
          `${load.title}, ${name}: log thread ${cpu} µs of CPU a request; of ${left.handed} records ${left.sent} sent, ` +
          `${left.dropped} dropped, ${left.backlog} left ${(left.drainMs / 1000).toFixed(1)} s after the last request`;
        notes.push(line);
        say(`  ${line}`);
      } finally {
        await Promise.all(started.map(({ server }) => server.stop()));
      }
    }
    return { name: 'log-cost', description: logCost.description, panels, notes, figures };
  },
};

/** Samples of each subject, one a round. */
async function play(
  subjects: readonly Subject[],
  load: Load,
  rounds: number,
  seconds: number,
  say: (line: string) => void,
): Promise<Sample[][]> {
  const samples: Sample[][] = subjects.map(() => []);
  for (const { server } of subjects) await load.run(server, WARM_SECONDS);
  for (let round = 0; round < rounds; round++) {
    for (const i of roundOrder(subjects.length, round)) {
      const { server, pid, name, gateway, log } = subjects[i];
      const before = threadCpu(pid);
      const result = await load.run(server, seconds);
      const used = usedBetween(before, threadCpu(pid));
      const micros = (tid: number): number => (used.get(tid) ?? 0) / 1000 / result.requests;
      const sample: Sample = {
        requestsPerSecond: result.succeeded / result.seconds,
        p99: result.latency.p99,
        gatewayCpu: micros(gateway),
        logCpu: log.reduce((sum, tid) => sum + micros(tid), 0),
      };
      samples[i].push(sample);
      say(
        `  round ${round + 1}/${rounds}  ${name.padEnd(7)} ${sample.requestsPerSecond.toFixed(0)} requests/s, p99 ` +
          `${sample.p99.toFixed(2)} ms, gateway thread ${sample.gatewayCpu.toFixed(2)} µs, log thread ${sample.logCpu.toFixed(2)} µs`,
      );
    }
  }
  return samples;
}

function compared(name: string, off: readonly Sample[], on: readonly Sample[]): Comparison[] {
  const ratio = (of: (sample: Sample) => number) => bootstrapMedian(pairedRatios(on.map(of), off.map(of)));
  return [
    {
      text: `CPU of the gateway thread per request, log (${name}) to no log`,
      estimate: ratio(({ gatewayCpu }) => gatewayCpu),
      unit: '×',
      goal: { atMost: 1.05 },
    },
    {
      text: `throughput, log (${name}) to no log`,
      estimate: ratio(({ requestsPerSecond }) => requestsPerSecond),
      unit: '×',
      ...(name === 'block' ? { goal: { atLeast: 0.9 } } : {}),
    },
    {
      text: `p99, log (${name}) to no log`,
      estimate: ratio(({ p99 }) => p99),
      unit: '×',
      ...(name === 'record' ? { goal: { atMost: 1.1 } } : {}),
    },
  ];
}

/** Waits until what was logged is sent, and says what came of it. */
async function drained({ server }: Subject) {
  const begun = performance.now();
  for (;;) {
    // Figures are up to a quarter of a second old.
    await sleep(300);
    const figures = await logFigures(server);
    const of = (what: string): number => total(figures, what);
    const backlog = of('sink_backlog_records') + of('waiting_records');
    const drainMs = performance.now() - begun;
    if (backlog > 0 && drainMs < DRAIN_MS) continue;
    const [handed, sent, dropped] = [of('requests_total'), of('sink_sent_total'), of('dropped_total')];
    return { handed, sent, dropped, lost: of('sink_lost_total'), errors: of('sink_errors_total'), backlog, drainMs };
  }
}

async function subject(
  name: string,
  models: string,
  scratch: string,
  eventLog: object,
  broker: string | undefined,
): Promise<Subject> {
  const folder = join(scratch, 'log-cost', name);
  mkdirSync(folder, { recursive: true });
  const file = join(folder, 'switchyard.yaml');
  const kafka =
    broker === undefined ? {} : { kafka: { brokers: [broker], topicPrefix: `cost-${process.pid}-${name}.` } };
  writeFileSync(file, JSON.stringify({ threads: { gateways: 1, executors: 1 }, ...kafka, eventLog }));
  const args = ['--config', file, '--model-repository', models];
  const server = await ServerProcess.start(args, { dataDir: join(folder, 'data') });
  const pid = server.servingPid();
  const log = nicedThreads(pid);
  // What a start leaves to do is done first: a compiler thread that is still busy would be taken for the gateway's.
  await sleep(3000);
  // Health is answered by the gateway thread alone: the one that is busy now is it. The first thread is the control's.
  const before = threadCpu(pid);
  for (let i = 0; i < 3000; i++) await (await fetch(server.url('/v2/health/live'))).arrayBuffer();
  const used = [...usedBetween(before, threadCpu(pid))].filter(([tid]) => tid !== pid && !log.includes(tid));
  used.sort((a, b) => b[1] - a[1]);
  const [[gateway, most], [, next]] = used;
  if (most < 2 * next)
    throw new Error(`which thread is the gateway's cannot be told: ${most} ns and ${next} ns of CPU`);
  return { name, server, pid, gateway, log };
}
