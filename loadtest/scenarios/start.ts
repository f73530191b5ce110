import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { SMALL_MLP } from '../mlp-model.ts';
import { treeCpuSeconds } from '../process-cpu.ts';
import type { Series } from '../rounds.ts';
import { figureOf, type Metric, makeWorkload, type Scenario } from '../scenario.ts';
import { quantile } from '../statistics.ts';
import { ServerProcess } from '../targets/server-process.ts';
import { switchyard } from '../targets/switchyard.ts';
import type { Target } from '../targets/target.ts';

/** Starts of one round. */
const STARTS = 3;
const DEMO = join(import.meta.dirname, '..', '..', 'config', 'switchyard.yaml');

/** From an event until the server answered that it is ready, and the CPU seconds of all its processes meanwhile. */
interface Took {
  ms: number;
  cpuSeconds: number;
}

/** The demo configuration, as `npm start` serves it, with an empty data folder for each start. */
function demo(): Target {
  const plain = switchyard({ name: 'demo' });
  let starts = 0;
  return {
    ...plain,
    launch(workload, ports) {
      const launch = plain.launch(workload, ports);
      const args = launch.args.slice();
      args.splice(args.indexOf('--model-repository'), 2, '--config', DEMO);
      args[args.indexOf('--data-dir') + 1] = join(workload.scratch, `data-${starts++}`);
      return { ...launch, args, cwd: workload.scratch };
    },
  };
}

/** The process that serves: the supervisor's child. */
function servingPid(supervisor: number): number {
  return Number.parseInt(readFileSync(`/proc/${supervisor}/task/${supervisor}/children`, 'utf8'), 10);
}

async function kill(pid: number): Promise<void> {
  process.kill(pid, 'SIGKILL');
  // Until its ports are closed: what answers afterwards is its successor.
  for (;;) {
    try {
      if (/\) [ZX] /.test(readFileSync(`/proc/${pid}/stat`, 'utf8'))) return;
    } catch {
      return;
    }
    await sleep(1);
  }
}

function asMeasurement(took: readonly Took[]): Series['rounds'][number] {
  const times = took.map(({ ms }) => ms);
  const at = (q: number): number => quantile(times, q);
  return {
    ...{ requests: took.length, succeeded: took.length, seconds: times.reduce((a, b) => a + b) / 1000 },
    ...{ statuses: {}, errors: 0, generatorThreads: 1, generatorCpuSeconds: 0 },
    serverCpuSeconds: took.reduce((sum, { cpuSeconds }) => sum + cpuSeconds, 0),
    latency: { p50: at(0.5), p90: at(0.9), p99: at(0.99), p999: at(0.999), max: at(1) },
  };
}

const middle: Metric = (m) => m.latency.p50;
const cpuSeconds: Metric = (m) => m.serverCpuSeconds / m.requests;

export const start: Scenario = {
  name: 'start',
  description: `The demo configuration in an empty data folder, ${STARTS} times a round: milliseconds from starting the process until it answers that it is ready; then its gateway process is killed with -9, and it is milliseconds until its successor does. "Server CPU" is that of all its processes for one start.`,
  async run(settings) {
    settings.say('start');
    const workload = await makeWorkload(join(settings.scratch, 'start'), SMALL_MLP, 0);
    const target = demo();
    const rounds: Record<'start' | 'restart', Series['rounds']> = { start: [], restart: [] };
    const figures: Record<'start' | 'restart', Took[]> = { start: [], restart: [] };
    for (let round = 0; round < settings.rounds; round++) {
      const starts: Took[] = [];
      const restarts: Took[] = [];
      for (let i = 0; i < STARTS; i++) {
        const begun = performance.now();
        const server = await ServerProcess.start(target, workload);
        try {
          starts.push({ ms: performance.now() - begun, cpuSeconds: treeCpuSeconds(server.pid) });
          const pid = servingPid(server.pid);
          const killed = performance.now();
          await kill(pid);
          // The dead process's time is the supervisor's by now, as that of a child that ended.
          const before = treeCpuSeconds(server.pid);
          await server.waitUntilReady(target);
          restarts.push({ ms: performance.now() - killed, cpuSeconds: treeCpuSeconds(server.pid) - before });
        } finally {
          await server.stop();
        }
      }
      rounds.start.push(asMeasurement(starts));
      rounds.restart.push(asMeasurement(restarts));
      figures.start.push(...starts);
      figures.restart.push(...restarts);
      const [up, again] = [rounds.start, rounds.restart].map((list) => Math.round(list[round].latency.p50));
      settings.say(`  round ${round + 1}/${settings.rounds}  ready after ${up} ms, again ${again} ms after a kill`);
    }
    const series: Series[] = [
      { name: 'start', role: 'subject', rounds: rounds.start },
      { name: 'restart', role: 'subject', rounds: rounds.restart },
    ];
    const goal = { atMost: 1500 };
    const comparisons = [
      ...figureOf(series, 'start', middle, 'from start to ready, median', 'ms', goal),
      ...figureOf(series, 'start', cpuSeconds, 'CPU of a start', 's'),
      ...figureOf(series, 'restart', middle, 'from kill -9 to ready again, median', 'ms', goal),
      ...figureOf(series, 'restart', cpuSeconds, 'CPU of a restart', 's'),
    ];
    return {
      name: this.name,
      description: this.description,
      panels: [{ title: 'the demo, to ready', counts: 'starts', series, comparisons }],
      notes: ['Readiness is asked for every 10 ms by the process beside it, on the same cores.'],
      figures,
    };
  },
};
