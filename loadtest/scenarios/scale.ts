import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { ServerProcess } from '../../src/testing/server-process.ts';
import { wrk } from '../generators/wrk.ts';
import { SMALL_MLP, writeOnnxRepository } from '../mlp-model.ts';
import { v2Json } from '../payloads.ts';
import { costsOf, recordMicros, type Sample, sample } from '../scale/measure-costs.ts';
import { messageMicros } from '../scale/message-cost.ts';
import { type Costs, type Machine, type Outcome, simulate } from '../scale/simulate.ts';
import { makeWorkload, type Scenario } from '../scenario.ts';
import { median } from '../statistics.ts';

const MAX_BATCH = 64;
const CONNECTIONS_PER_GATEWAY = 256;
const NETWORK_MICROS = 50;
const CORES = [2, 4, 8, 16, 32, 64];
/** What a model without `instance_group` gets. */
const DEFAULT_INSTANCES = 4;

/**
 * What the structure allows on machines that are not here: the CPU each step costs is measured on this one, and threads
 * with a core each are simulated with it.
 */
export const scale: Scenario = {
  name: 'scale',
  description:
    'CPU a request on each thread, measured at two loads; then, simulated with it, machines of up to 64 cores, the generator elsewhere: requests/s at the best split of threads, and how busy the busiest thread of each kind is.',
  async run({ scratch, rounds, timing, say }) {
    say('scale');
    const workload = await makeWorkload(join(scratch, 'scale'), SMALL_MLP, MAX_BATCH);
    const models = join(scratch, 'scale', 'models');
    writeOnnxRepository(models, SMALL_MLP, { maxBatchSize: MAX_BATCH, names: [workload.model] });
    const request = v2Json(workload.model, workload.row);
    const server = await ServerProcess.start(['--model-repository', models], {
      dataDir: join(scratch, 'scale', 'data'),
    });
    const samples: Record<'small' | 'large', Sample[]> = { small: [], large: [] };
    try {
      const batches = async () => {
        const answer = await fetch(server.url(`/v2/models/${workload.model}/stats`));
        const { model_stats } = (await answer.json()) as {
          model_stats: { inference_count: number; execution_count: number }[];
        };
        return { rows: model_stats[0].inference_count, runs: model_stats[0].execution_count };
      };
      const load = (connections: number, seconds: number) =>
        wrk(server.ports.http, request, { connections, seconds }, workload.scratch);
      await load(64, timing.firstWarmupSeconds);
      for (let round = 0; round < rounds; round++) {
        samples.small.push(await sample(server.servingPid(), batches, () => load(16, timing.seconds)));
        samples.large.push(await sample(server.servingPid(), batches, () => load(256, timing.seconds)));
      }
    } finally {
      await server.stop();
    }
    const costs = costsOf(middle(samples.small), middle(samples.large), await messageMicros());
    const config = join(scratch, 'scale', 'log.yaml');
    writeFileSync(config, 'eventLog: {enabled: true, sinks: [{name: lines, kind: files}]}\n');
    const logging = await ServerProcess.start(['--config', config, '--model-repository', models], {
      dataDir: join(scratch, 'scale', 'log-data'),
    });
    const records: number[] = [];
    try {
      const load = () =>
        wrk(logging.ports.http, request, { connections: 256, seconds: timing.seconds }, workload.scratch);
      await load();
      for (let round = 0; round < rounds; round++) records.push(await recordMicros(logging.servingPid(), load));
    } finally {
      await logging.stop();
    }
    const record = median(records);
    const best = CORES.map((cores) => bestSplit(costs, cores, cores));
    const byDefault = CORES.map((cores) => bestSplit(costs, cores, DEFAULT_INSTANCES));
    const notes = [
      `Measured, CPU µs: a request on its gateway thread ${costs.request.toFixed(1)}, its answer ${costs.answer.toFixed(1)}, a message on each side ${costs.message.toFixed(1)}, a batch ${costs.batch.toFixed(1)}, a row of it ${costs.row.toFixed(2)}.`,
      'Simulated, an executor holds the model on every executor thread:',
      ...best.map((each) => tell(each, best[0], record)),
      `Simulated with the default of ${DEFAULT_INSTANCES} instances a model, all requests to one model:`,
      ...byDefault.map((each) => tell(each, byDefault[0], record)),
      `Records are one thread's work, whatever the number of gateway threads: in JSON lines, at ${record.toFixed(2)} µs each, it takes ` +
        `${Math.round(1e6 / record).toLocaleString('en')} a second; in blocks for Kafka several times as many (log-cost). What comes beyond that is dropped and counted: log a sample there.`,
      "Not simulated: the control thread, which is on no request's way, and what threads share: memory bandwidth, the arena of ONNX Runtime, the kernel's network stack.",
    ];
    return {
      name: this.name,
      description: this.description,
      panels: [],
      notes,
      figures: { samples, costs, records, best, byDefault },
    };
  },
};

interface Split {
  cores: number;
  machine: Machine;
  outcome: Outcome;
}

/** The division of the cores between the two kinds of threads that answers most. */
function bestSplit(costs: Costs, cores: number, instances: number): Split {
  let found: Split | undefined;
  for (let executors = 1; executors < cores; executors = Math.max(executors + 1, Math.floor(executors * 1.25))) {
    const machine = { gateways: cores - executors, executors, instances, maxBatch: MAX_BATCH };
    const connections = CONNECTIONS_PER_GATEWAY * machine.gateways;
    const load = { connections, networkMicros: NETWORK_MICROS, requests: Math.max(20_000, connections * 12) };
    const outcome = simulate(costs, machine, load);
    if (found === undefined || outcome.requestsPerSecond > found.outcome.requestsPerSecond)
      found = { cores, machine, outcome };
  }
  return found!;
}

function tell({ cores, machine, outcome }: Split, two: Split, record: number): string {
  const times = outcome.requestsPerSecond / two.outcome.requestsPerSecond;
  return (
    `${cores} cores (${machine.gateways} gateway threads, ${machine.executors} executors): ` +
    `${Math.round(outcome.requestsPerSecond).toLocaleString('en')} requests/s, ${times.toFixed(1)} × two cores, ` +
    `batches of ${outcome.meanBatch.toFixed(1)}, p50 ${(outcome.p50Micros / 1000).toFixed(2)} ms, busiest gateway ` +
    `${(outcome.gatewayBusy * 100).toFixed(0)} %, busiest executor ${(outcome.executorBusy * 100).toFixed(0)} %; with every request in JSON lines, the log thread ` +
    `${((outcome.requestsPerSecond * record) / 1e4).toFixed(0)} %.`
  );
}

function middle(samples: readonly Sample[]): Sample {
  const of = (field: keyof Sample): number => median(samples.map((each) => each[field]));
  return { gateway: of('gateway'), executor: of('executor'), meanBatch: of('meanBatch') };
}
