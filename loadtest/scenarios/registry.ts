import http from 'node:http';
import { join } from 'node:path';
import { measured } from '../contestant.ts';
import { closedLoop, type JsonCall, send } from '../generators/closed-loop.ts';
import { roundOrder, type Series } from '../rounds.ts';
import { type Panel, ratioOf, type Scenario, type Settings } from '../scenario.ts';
import { mulberry32 } from '../statistics.ts';
import { type RegistryServer, type SeedRun, startMlflow, startSwitchyard } from '../targets/registries.ts';

const CLIENTS = 8;
const PEER = 'mlflow 3.17.2';

const post = (path: string, body: unknown): JsonCall => ({ method: 'POST', path: `/api/2.0/mlflow/${path}`, body });

async function ask(port: number, call: JsonCall, agent?: http.Agent): Promise<Record<string, never>> {
  const { status, body } = await send(agent, port, call);
  if (status !== 200) throw new Error(`${call.path} answered ${status}: ${body.slice(0, 300)}`);
  return JSON.parse(body) as Record<string, never>;
}

/** The same runs for everyone: five metrics, five params, three tags. */
function* seedRuns(count: number): Generator<SeedRun> {
  const random = mulberry32(7);
  for (let i = 0; i < count; i++) {
    const id = (i + 1).toString(16).padStart(32, '0');
    const name = `run-${i}`;
    yield {
      ...{ id, name, start_time: 1_700_000_000_000 + i * 1000 },
      metrics: Object.fromEntries(['acc', 'loss', 'f1', 'auc', 'seconds'].map((key) => [key, random()])),
      params: Object.fromEntries(
        ['lr', 'depth', 'seed', 'batch', 'optimizer'].map((key, k) => [key, String((i * (k + 1)) % 97)]),
      ),
      tags: { 'mlflow.runName': name, 'mlflow.user': 'ada', 'mlflow.source.name': 'train.py' },
    };
  }
}

async function seedByRest(port: number, experiment_id: string, runs: Iterable<SeedRun>): Promise<void> {
  const agent = new http.Agent({ keepAlive: true, maxSockets: 64 });
  const queue = runs[Symbol.iterator]();
  const list = (values: Record<string, string>) => Object.entries(values).map(([key, value]) => ({ key, value }));
  const worker = async (): Promise<void> => {
    for (let next = queue.next(); next.done !== true; next = queue.next()) {
      const { name, start_time, metrics, params, tags } = next.value;
      const created = (await ask(
        port,
        post('runs/create', { experiment_id, user_id: 'ada', start_time, run_name: name, tags: list(tags) }),
        agent,
      )) as unknown as { run: { info: { run_id: string } } };
      const { run_id } = created.run.info;
      const points = Object.entries(metrics).map(([key, value]) => ({ key, value, timestamp: start_time, step: 0 }));
      await ask(port, post('runs/log-batch', { run_id, metrics: points, params: list(params) }), agent);
    }
  };
  await Promise.all(Array.from({ length: 64 }, worker));
  agent.destroy();
}

/** Measures one kind of call on everyone, in interleaved rounds. */
async function panel(
  settings: Settings,
  servers: readonly RegistryServer[],
  { title, counts, clients, goal }: { title: string; counts: string; clients: number; goal: number },
  calls: (server: RegistryServer) => Promise<(connection: number, n: number) => JsonCall>,
): Promise<Panel> {
  settings.say(`registry, ${title}`);
  const series: Series[] = servers.map(({ name, role }) => ({ name, role, rounds: [] }));
  const makers: ((connection: number, n: number) => JsonCall)[] = [];
  for (const server of servers) makers.push(await calls(server));
  const { seconds, warmupSeconds } = settings.timing;
  for (let round = 0; round < settings.rounds; round++) {
    for (const i of roundOrder(servers.length, round)) {
      const { server, port } = servers[i];
      await closedLoop(port, { connections: clients, seconds: warmupSeconds }, makers[i]);
      const before = process.cpuUsage();
      const measurement = await measured(server, () => closedLoop(port, { connections: clients, seconds }, makers[i]));
      // The generator runs in this process, not in a child.
      const { user, system } = process.cpuUsage(before);
      measurement.generatorCpuSeconds = (user + system) / 1e6;
      series[i].rounds.push(measurement);
      const rate = (measurement.succeeded / measurement.seconds).toFixed(1);
      settings.say(`  round ${round + 1}/${settings.rounds}  ${servers[i].name.padEnd(18)} ${rate.padStart(9)}/s`);
    }
  }
  const comparisons = ratioOf(series, 'switchyard', PEER, `of ${PEER}`, { atLeast: goal });
  return { title, counts, series, comparisons };
}

export const registry: Scenario = {
  name: 'registry',
  description:
    "The calls that training scripts and dashboards make of MLflow's tracking API, beside MLflow's own server (SQLite store, one worker) on the same disk. Every answered write is on disk on both.",
  async run(settings) {
    const servers: RegistryServer[] = [];
    const notes: string[] = [];
    const panels: Panel[] = [];
    try {
      servers.push(await startSwitchyard(join(settings.scratch, 'registry-switchyard')));
      if (settings.peers.length > 0) {
        await startMlflow(join(settings.scratch, 'registry-mlflow')).then(
          (server) => servers.push(server),
          (error: Error) => notes.push(`mlflow left out: ${error.message}`),
        );
      }
      let step = 0;
      panels.push(
        await panel(
          settings,
          servers,
          { title: 'log_batch of 10 metrics, 8 clients', counts: 'batches', clients: CLIENTS, goal: 40 },
          async ({ port }) => {
            const ids: string[] = [];
            for (let i = 0; i < CLIENTS; i++) {
              const created = await ask(port, post('runs/create', { experiment_id: '0', start_time: i + 1 }));
              ids.push((created as unknown as { run: { info: { run_id: string } } }).run.info.run_id);
            }
            return (connection) => {
              step++;
              const metrics = Array.from({ length: 10 }, (_, k) => ({
                key: `metric_${k}`,
                value: Math.random(),
                timestamp: 1_700_000_000_000 + step,
                step,
              }));
              return post('runs/log-batch', { run_id: ids[connection], metrics });
            };
          },
        ),
        await panel(
          settings,
          servers,
          { title: 'runs created, 8 clients', counts: 'runs', clients: CLIENTS, goal: 40 },
          async () => (_, n) => {
            const tags = [
              { key: 'mlflow.user', value: 'ada' },
              { key: 'mlflow.source.name', value: 'train.py' },
            ];
            return post('runs/create', { experiment_id: '0', user_id: 'ada', start_time: 1_700_000_000_000 + n, tags });
          },
        ),
      );
      const count = settings.quick ? 2_000 : 100_000;
      const experiments = new Map<RegistryServer, string>();
      for (const server of servers) {
        const created = await ask(server.port, post('experiments/create', { name: 'many' }));
        const id = (created as unknown as { experiment_id: string }).experiment_id;
        experiments.set(server, id);
        settings.say(`  ${count} runs into ${server.name}`);
        if (server.seed === undefined) await seedByRest(server.port, id, seedRuns(count));
        else await server.seed(id, seedRuns(count));
      }
      const of = count.toLocaleString('en');
      const search = async (server: RegistryServer, body: object) => () =>
        post('runs/search', { experiment_ids: [experiments.get(server)], ...body });
      panels.push(
        await panel(
          settings,
          servers,
          { title: `a page of 1,000 of ${of} runs`, counts: 'pages', clients: 1, goal: 15 },
          (server) => search(server, { max_results: 1000 }),
        ),
        await panel(
          settings,
          servers,
          { title: `runs by metric and param among ${of}, best 100`, counts: 'searches', clients: 1, goal: 20 },
          (server) =>
            search(server, {
              filter: "metrics.acc > 0.5 AND params.lr = '13'",
              order_by: ['metrics.acc DESC'],
              max_results: 100,
            }),
        ),
      );
    } finally {
      for (const { server } of servers) await server.stop();
    }
    notes.push(
      'Ordering all 100,000 runs by a metric is left out: one such query takes MLflow minutes, and Switchyard some 15 ms.',
    );
    notes.push('Load generator: one Node process; its share of the second core bounds the small calls.');
    return { name: this.name, description: this.description, panels, notes };
  },
};
