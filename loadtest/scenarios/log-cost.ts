import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { ServerProcess } from '../../src/testing/server-process.ts';
import { wrk } from '../generators/wrk.ts';
import { SMALL_MLP, writeOnnxRepository } from '../mlp-model.ts';
import { v2Json } from '../payloads.ts';
import { type Comparison, makeWorkload, type Scenario } from '../scenario.ts';
import { bootstrapMedian, pairedRatios } from '../statistics.ts';
import { nicedThreads, threadCpu, usedBetween } from '../thread-cpu.ts';

const CONNECTIONS = 64;

interface Subject {
  name: string;
  server: ServerProcess;
  pid: number;
  gateway: number;
  log: number[];
  rates: number[];
  /** Microseconds of the gateway thread, of the log thread, of everything, per request. */
  gatewayCpu: number[];
  logCpu: number[];
}

/**
 * The same requests with the log off and on, in turn: what a record costs the thread that answers, and the log's own.
 * With a broker the log goes to Kafka in blocks, otherwise to JSON lines.
 */
export const logCost: Scenario = {
  name: 'log-cost',
  description: 'The event log on and off, every request with its payload: CPU per request and throughput',
  async run({ scratch, rounds, timing, say }) {
    const { SWITCHYARD_TEST_KAFKA_URL: broker } = process.env;
    const workload = await makeWorkload(join(scratch, 'log-cost'), SMALL_MLP, 64);
    const models = join(scratch, 'log-cost', 'models');
    writeOnnxRepository(models, SMALL_MLP, { maxBatchSize: 64, names: [workload.model] });
    const kafka = { name: 'kafka', kind: 'kafka', compression: 'none' };
    const sinks: Record<string, object> =
      broker === undefined
        ? { lines: { name: 'lines', kind: 'files' } }
        : { block: { ...kafka, layout: 'block', batchRecords: 10_000 }, record: kafka };
    const off = await subject('off', models, scratch, {}, broker);
    const subjects = [off];
    for (const [name, sink] of Object.entries(sinks))
      subjects.push(await subject(name, models, scratch, { enabled: true, sinks: [sink] }, broker));
    const request = v2Json(workload.model, workload.row);
    try {
      for (const { server } of subjects)
        await wrk(server.ports.http, request, { connections: CONNECTIONS, seconds: 3 }, workload.scratch);
      for (let round = 0; round < rounds; round++) {
        for (const each of subjects.map((_, i) => subjects[(i + round) % subjects.length])) {
          const before = threadCpu(each.pid);
          const load = { connections: CONNECTIONS, seconds: timing.seconds };
          const result = await wrk(each.server.ports.http, request, load, workload.scratch);
          const used = usedBetween(before, threadCpu(each.pid));
          const micros = (tid: number): number => (used.get(tid) ?? 0) / 1000 / result.requests;
          each.rates.push(result.succeeded / result.seconds);
          each.gatewayCpu.push(micros(each.gateway));
          each.logCpu.push(each.log.reduce((sum, tid) => sum + micros(tid), 0));
          say(
            `  round ${round + 1}/${rounds}  ${each.name.padEnd(7)} ${each.rates.at(-1)?.toFixed(0)} requests/s, gateway ` +
              `thread ${each.gatewayCpu.at(-1)?.toFixed(2)} µs, log thread ${each.logCpu.at(-1)?.toFixed(2)} µs a request`,
          );
        }
      }
    } finally {
      await Promise.all(subjects.map(({ server }) => server.stop()));
    }
    const comparisons: Comparison[] = subjects.slice(1).flatMap(({ name, rates, gatewayCpu }): Comparison[] => [
      {
        text: `CPU of the gateway thread per request, log (${name}) to no log`,
        estimate: bootstrapMedian(pairedRatios(gatewayCpu, off.gatewayCpu)),
        unit: '×',
        goal: { atMost: 1.05 },
      },
      {
        text: `throughput, log (${name}) to no log`,
        estimate: bootstrapMedian(pairedRatios(rates, off.rates)),
        unit: '×',
        ...(name === 'block' ? { goal: { atLeast: 0.9 } } : {}),
      },
    ]);
    const notes = comparisons.map(
      ({ text, estimate: e }) => `${text}: ${e.value.toFixed(3)} (${e.low.toFixed(3)} to ${e.high.toFixed(3)})`,
    );
    for (const { name, logCpu } of subjects.slice(1))
      notes.push(`CPU of the log thread per request (${name}): ${bootstrapMedian(logCpu).value.toFixed(2)} µs`);
    for (const note of notes) say(`  ${note}`);
    return {
      name: 'log-cost',
      description: logCost.description,
      panels: [{ title: 'Event log', counts: 'requests', series: [], comparisons }],
      notes,
    };
  },
};

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
  await new Promise((resolve) => setTimeout(resolve, 3000));
  // Health is answered by the gateway thread alone: the one that is busy now is it. The first thread is the control's.
  const before = threadCpu(pid);
  for (let i = 0; i < 3000; i++) await (await fetch(server.url('/v2/health/live'))).arrayBuffer();
  const used = [...usedBetween(before, threadCpu(pid))].filter(([tid]) => tid !== pid && !log.includes(tid));
  used.sort((a, b) => b[1] - a[1]);
  const [[gateway, most], [, next]] = used;
  if (most < 2 * next)
    throw new Error(`which thread is the gateway's cannot be told: ${most} ns and ${next} ns of CPU`);
  return { name, server, pid, gateway, log, rates: [], gatewayCpu: [], logCpu: [] };
}
