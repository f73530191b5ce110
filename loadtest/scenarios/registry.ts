import { join } from 'node:path';
import { measured } from '../contestant.ts';
import { closedLoop, send } from '../generators/closed-loop.ts';
import { type JsonCall, KeepAlive } from '../generators/keep-alive.ts';
import { roundOrder, type Series } from '../rounds.ts';
import { type Panel, ratioOf, type Scenario, type Settings } from '../scenario.ts';
import { mulberry32 } from '../statistics.ts';
import { type RegistryServer, type SeedRun, startMlflow, startSwitchyard } from '../targets/registries.ts';

const CLIENTS = 8;
const PEER = 'mlflow 3.17.2';

const post = (path: string, body: unknown): JsonCall => ({ method: 'POST', path: `/api/2.0/mlflow/${path}`, body });

async function ask(port: number, call: JsonCall, wire?: KeepAlive): Promise<Record<string, never>> {
  const { status, body } = await (wire === undefined ? send(port, call) : wire.send(call));
  if (status !== 200) throw new Error(`${call.path} answered ${status}: ${body.toString().slice(0, 300)}`);
  return JSON.parse(body.toString()) as Record<string, never>;
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
  const queue = runs[Symbol.iterator]();
  const list = (values: Record<string, string>) => Object.entries(values).map(([key, value]) => ({ key, value }));
  const worker = async (): Promise<void> => {
    const wire = new KeepAlive(port);
    for (let next = queue.next(); next.done !== true; next = queue.next()) {
      const { name, start_time, metrics, params, tags } = next.value;
      const created = (await ask(
        port,
        post('runs/create', { experiment_id, user_id: 'ada', start_time, run_name: name, tags: list(tags) }),
        wire,
      )) as unknown as { run: { info: { run_id: string } } };
      const { run_id } = created.run.info;
      const points = Object.entries(metrics).map(([key, value]) => ({ key, value, timestamp: start_time, step: 0 }));
      await ask(port, post('runs/log-batch', { run_id, metrics: points, params: list(params) }), wire);
    }
    wire.close();
  };
  await Promise.all(Array.from({ length: 64 }, worker));
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
  const { seconds, warmupSeconds, firstWarmupSeconds } = settings.timing;
  for (let round = 0; round < settings.rounds; round++) {
    for (const i of roundOrder(servers.length, round)) {
      const { server, port } = servers[i];
      const warmup = round === 0 ? firstWarmupSeconds : warmupSeconds;
      await closedLoop(port, { connections: clients, seconds: warmup }, makers[i]);
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

/** Runs a scenario's panels on both servers, of which each answers from a folder of its own. */
function besideMlflow(
  name: string,
  description: string,
  panelsOf: (settings: Settings, servers: readonly RegistryServer[]) => Promise<Panel[]>,
  note: string,
): Scenario {
  return {
    name,
    description,
    async run(settings) {
      const servers: RegistryServer[] = [];
      const notes = [note];
      try {
        servers.push(await startSwitchyard(join(settings.scratch, `${name}-switchyard`)));
        if (settings.peers.length > 0) {
          await startMlflow(join(settings.scratch, `${name}-mlflow`)).then(
            (server) => servers.push(server),
            (error: Error) => notes.push(`mlflow left out: ${error.message}`),
          );
        }
        return { name, description, panels: await panelsOf(settings, servers), notes };
      } finally {
        for (const { server } of servers) await server.stop();
      }
    },
  };
}

export const registryWrites = besideMlflow(
  'registry-writes',
  "What training scripts write over MLflow's tracking API, beside MLflow's own server (SQLite store, one worker) on the same disk. Every answered write is on disk on both.",
  writes,
  'Load generator: one Node process; its share of the second core bounds the small calls.',
);

export const registrySearches = besideMlflow(
  'registry-searches',
  'What dashboards and scripts ask of 100,000 runs, beside an MLflow server with its SQLite store.',
  searches,
  'Ordering all runs by a metric is measured on Switchyard alone: one such query takes MLflow minutes.',
);

async function writes(settings: Settings, servers: readonly RegistryServer[]): Promise<Panel[]> {
  let step = 0;
  return [
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
  ];
}

async function searches(settings: Settings, servers: readonly RegistryServer[]): Promise<Panel[]> {
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
  return [
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
    // One such query takes MLflow minutes.
    await panel(
      settings,
      servers.slice(0, 1),
      { title: `all ${of} runs by a metric, best 100`, counts: 'searches', clients: 1, goal: 20 },
      (server) => search(server, { order_by: ['metrics.acc DESC'], max_results: 100 }),
    ),
  ];
}
