import { cpSync, mkdirSync, renameSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { measured, SharedServer } from '../contestant.ts';
import { send } from '../generators/closed-loop.ts';
import { type Measurement, throughput } from '../generators/measurement.ts';
import { oha } from '../generators/oha.ts';
import { wrk } from '../generators/wrk.ts';
import { MID_MLP } from '../mlp-model.ts';
import type { Series } from '../rounds.ts';
import { figureOf, makeWorkload, ratioOf, type Scenario } from '../scenario.ts';
import { switchyard } from '../targets/switchyard.ts';
import type { Workload } from '../targets/target.ts';

const CONNECTIONS = 16;
/** Of the capacity: a gateway that is swapped into has to spare. */
const LOAD = 0.25;
const NAME = 'swap';
const PATIENCE_MS = 60_000;

/** Puts a version into the repository, asks for its load, and resolves when it answers; the one before the last goes. */
async function load(port: number, workload: Workload, version: number): Promise<void> {
  const folder = join(workload.scratch, NAME, 'models', workload.model);
  const staged = join(workload.scratch, NAME, 'staged');
  mkdirSync(staged);
  cpSync(workload.onnxFile, join(staged, 'model.onnx'));
  renameSync(staged, join(folder, String(version)));
  rmSync(join(folder, String(version - 2)), { recursive: true, force: true });
  const path = `/v2/repository/models/${workload.model}/load`;
  const { status, body } = await send(port, { method: 'POST', path, body: {} });
  if (status !== 200) throw new Error(`loading version ${version} was answered ${status}: ${body.slice(0, 300)}`);
  const ready = `http://127.0.0.1:${port}/v2/models/${workload.model}/versions/${version}/ready`;
  const end = performance.now() + PATIENCE_MS;
  while (!(await fetch(ready)).ok) {
    if (performance.now() > end) throw new Error(`version ${version} is not served within ${PATIENCE_MS / 1000} s`);
    await sleep(20);
  }
}

export const swap: Scenario = {
  name: NAME,
  description: `Open loop at a quarter of the capacity of a 784-2048-2048-10 MLP, binary tensors: the p99 while nothing else happens, while one new version is proven in a child process, loaded and swapped in, and while one follows the other without a pause.`,
  async run(settings) {
    settings.say(NAME);
    const workload = await makeWorkload(join(settings.scratch, NAME), MID_MLP, 64);
    const target = switchyard({ name: NAME, config: { models: { mode: 'explicit', load: ['*'] } } });
    const shared = new SharedServer(target, workload);
    const request = target.request('binary', workload);
    const phases: Record<'calm' | 'once' | 'swapping', Measurement[]> = { calm: [], once: [], swapping: [] };
    const swaps: number[] = [];
    let requestsPerSecond = 0;
    try {
      await shared.open('binary');
      const { server } = await shared.enter('binary');
      const { http } = server.ports;
      const { seconds, firstWarmupSeconds } = settings.timing;
      const closed = { connections: CONNECTIONS, seconds: firstWarmupSeconds };
      requestsPerSecond = Math.round(throughput(await wrk(http, request, closed, workload.scratch)) * LOAD);
      const drive = (): Promise<Measurement> =>
        measured(server, () =>
          oha(http, request, { connections: CONNECTIONS, seconds, requestsPerSecond }, workload.scratch),
        );
      let version = 1;
      for (let round = 0; round < settings.rounds; round++) {
        const calm = await drive();
        const single = load(http, workload, ++version);
        single.catch(() => {});
        const once = await drive();
        await single;
        let under = true;
        let loads = 0;
        const loading = (async () => {
          while (under) {
            await load(http, workload, ++version);
            loads++;
          }
        })();
        loading.catch(() => {});
        const swapping = await drive();
        under = false;
        await loading;
        phases.calm.push(calm);
        phases.once.push(once);
        phases.swapping.push(swapping);
        swaps.push(loads);
        const [before, beside, during] = [calm, once, swapping].map(({ latency }) => latency.p99.toFixed(1));
        settings.say(
          `  round ${round + 1}/${settings.rounds}  p99 ${before} ms, ${beside} ms with one load, ${during} ms during ${loads}`,
        );
      }
    } finally {
      await shared.close();
    }
    const series: Series[] = [
      { name: 'calm', role: 'limit', rounds: phases.calm },
      { name: 'one load', role: 'subject', rounds: phases.once },
      { name: 'swapping', role: 'subject', rounds: phases.swapping },
    ];
    const failed = (m: Measurement): number => m.errors + m.requests - m.succeeded;
    const comparisons = [
      ...ratioOf(series, 'one load', 'calm', 'of the calm p99 with one load in the window', { atMost: 1.5 }, p99),
      ...ratioOf(series, 'swapping', 'calm', 'of the calm p99 while versions are loaded back to back', undefined, p99),
      ...figureOf(series, 'one load', failed, 'failed requests a round with one load', 'requests', { atMost: 0 }),
      ...figureOf(series, 'swapping', failed, 'failed requests a round, back to back', 'requests', { atMost: 0 }),
    ];
    return {
      name: this.name,
      description: this.description,
      panels: [{ title: `${requestsPerSecond} requests/s`, counts: 'requests', series, comparisons }],
      notes: ['The child process that proves a version, and the load generator, share the cores with the server.'],
      figures: { swaps },
    };
  },
};

const p99 = (m: Measurement): number => m.latency.p99;
