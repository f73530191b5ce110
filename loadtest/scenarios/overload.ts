import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { measured, SharedServer } from '../contestant.ts';
import { generatorUtilization, type Measurement, throughput } from '../generators/measurement.ts';
import { oha } from '../generators/oha.ts';
import { wrk } from '../generators/wrk.ts';
import { MID_MLP } from '../mlp-model.ts';
import type { Series } from '../rounds.ts';
import { type Comparison, figureOf, makeWorkload, type Scenario } from '../scenario.ts';
import { bootstrapMedian, median } from '../statistics.ts';
import { bareUws, inProcessArgs } from '../targets/limits.ts';
import { switchyard } from '../targets/switchyard.ts';
import type { Workload } from '../targets/target.ts';

const TIMES = 10;
const CONNECTIONS = 256;
/** Requests older than this are not served any more. */
const TIMEOUT_MS = 200;
/** Recovered: a slice with every request served and a p99 at most this many times the calm one. */
const CALM_FACTOR = 2;
const SLICE_SECONDS = 1;
const FLOOR = 'constant answers beside ONNX Runtime';
const MAX_SLICES = 20;

const QUEUE_POLICY = `dynamic_batching {
  default_queue_policy { timeout_action: REJECT default_timeout_microseconds: ${TIMEOUT_MS * 1000} max_queue_size: 64 }
}
`;

export const overload: Scenario = {
  name: 'overload',
  description: `Open loop at ${TIMES} times the capacity of a 784-2048-2048-10 MLP that takes one row at a time: what is still served, how fast the rest is refused, and how long after the storm answers are as quick as before it.`,
  async run(settings) {
    settings.say('overload');
    const workload = await makeWorkload(join(settings.scratch, 'overload'), MID_MLP, 1);
    const target = switchyard({ extraConfig: QUEUE_POLICY });
    const shared = new SharedServer(target, workload);
    const floor = new SharedServer(bareUws('binary'), workload);
    const request = target.request('binary', workload);
    const phases: Record<'calm' | 'storm' | 'after' | 'floor', Measurement[]> = {
      calm: [],
      storm: [],
      after: [],
      floor: [],
    };
    const goodput: number[] = [];
    const refusedP99: number[] = [];
    const above: number[] = [];
    const recovery: number[] = [];
    try {
      await shared.open('binary');
      await floor.open('binary');
      const { server } = await shared.enter('binary');
      const { server: bare } = await floor.enter('binary');
      const port = server.ports.http;
      const seconds = settings.timing.seconds;
      const capacity = throughput(await wrk(port, request, { connections: 16, seconds }, workload.scratch));
      const at = (times: number, length: number, to = port): ReturnType<typeof oha> =>
        oha(
          to,
          request,
          { connections: CONNECTIONS, seconds: length, requestsPerSecond: capacity * times },
          workload.scratch,
        );
      for (let round = 0; round < settings.rounds; round++) {
        const calm = await measured(server, () => at(0.5, seconds));
        let refused = Number.NaN;
        const storm = await measured(server, async () => {
          const result = await at(TIMES, seconds);
          refused = result.refused.p99;
          return result;
        });
        let slices = 0;
        let after: Measurement;
        do {
          after = await measured(server, () => at(0.5, SLICE_SECONDS));
          slices++;
        } while (slices < MAX_SLICES && !recovered(after, calm));
        const least = await besideRuns(workload, seconds, () =>
          measured(bare, () => at(TIMES, seconds, bare.ports.http)),
        );
        phases.floor.push(least);
        phases.calm.push(calm);
        phases.storm.push(storm);
        phases.after.push(after);
        goodput.push(throughput(storm) / capacity);
        if (Number.isFinite(refused)) {
          refusedP99.push(refused);
          above.push(refused - least.latency.p99);
        }
        recovery.push((slices - 1) * SLICE_SECONDS);
        settings.say(
          `  round ${round + 1}/${settings.rounds}  goodput ${Math.round(throughput(storm))}/s of ${Math.round(capacity)}/s`,
        );
      }
    } finally {
      await shared.close();
      await floor.close();
    }
    const series: Series[] = [
      { name: 'calm (0.5×)', role: 'limit', rounds: phases.calm },
      { name: `storm (${TIMES}×)`, role: 'subject', rounds: phases.storm },
      { name: 'after (0.5×)', role: 'limit', rounds: phases.after },
      { name: FLOOR, role: 'limit', rounds: phases.floor },
    ];
    const comparisons: Comparison[] = [
      {
        text: 'of its capacity served during the storm',
        estimate: bootstrapMedian(goodput),
        unit: '×',
        goal: { atLeast: 0.95 },
      },
      {
        text: 'from the end of the storm until answers are as quick as before it',
        estimate: bootstrapMedian(recovery),
        unit: 's',
        goal: { atMost: 5 },
      },
    ];
    if (refusedP99.length > 0) {
      comparisons.push({
        text: 'p99 of refusals',
        estimate: bootstrapMedian(refusedP99),
        unit: 'ms',
        goal: { atMost: 5 },
      });
    }
    comparisons.push(
      ...figureOf(series, FLOOR, (m) => m.latency.p99, 'p99 of as many constant answers beside ONNX Runtime', 'ms'),
    );
    if (above.length > 0) {
      comparisons.push({
        text: 'p99 of refusals above that of constant answers',
        estimate: bootstrapMedian(above),
        unit: 'ms',
      });
    }
    return {
      name: this.name,
      description: this.description,
      panels: [{ title: `${CONNECTIONS} connections`, counts: 'requests', series, comparisons }],
      notes: [
        'Refusals count from when their request was due, the load generator sharing the cores with the server: its own lateness is in them.',
        `The load generator was busy ${percent(phases.storm)} of the time in the storm, and ${percent(phases.floor)} against the constant answers: those are bare uWebSockets.js at the same rate, while ONNX Runtime in a process of its own runs the model row by row.`,
      ],
    };
  },
};

/** Keeps a core busy as the model's runs do. */
async function besideRuns<T>(workload: Workload, seconds: number, work: () => Promise<T>): Promise<T> {
  const runs = spawn(process.execPath, inProcessArgs(workload, seconds + 5, [1]), { stdio: 'ignore', detached: true });
  const ended = once(runs, 'exit');
  try {
    // Node's start, and the model's load.
    await sleep(500);
    return await work();
  } finally {
    runs.kill('SIGKILL');
    await ended;
  }
}

function percent(rounds: readonly Measurement[]): string {
  return `${Math.round(median(rounds.map(generatorUtilization)) * 100)} %`;
}

function recovered(after: Measurement, calm: Measurement): boolean {
  return (
    after.errors === 0 && after.succeeded === after.requests && after.latency.p99 <= calm.latency.p99 * CALM_FACTOR
  );
}
