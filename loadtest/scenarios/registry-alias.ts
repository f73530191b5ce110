import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { closedLoop, send } from '../generators/closed-loop.ts';
import type { JsonCall } from '../generators/keep-alive.ts';
import type { Measurement } from '../generators/measurement.ts';
import { mlpOnnx, SMALL_MLP } from '../mlp-model.ts';
import { v2Json } from '../payloads.ts';
import type { Series } from '../rounds.ts';
import { type Comparison, figureOf, type Panel, type Scenario, type Settings } from '../scenario.ts';
import { quantile } from '../statistics.ts';
import { startFollower, startSwitchyard } from '../targets/registries.ts';
import type { ServerProcess } from '../targets/server-process.ts';

const CONNECTIONS = 8;
const MODEL = 'moved';
/** Between two looks at who answers, in milliseconds. */
const LOOK_MS = 2;
const PATIENCE_MS = 20_000;
/** Before a version is registered: what the gateway keeps ready for a moment after the last one has gone by then. */
const APART_MS = 4000;

/** What is done to the alias, by what the gateway knows of the version before. */
const KINDS = {
  warm: { moves: 10, text: 'a version that was served or foreseen' },
  fresh: { moves: 5, text: 'a version registered just before' },
  first: { moves: 3, text: 'the first version of a model registered just before' },
} as const;
type Kind = keyof typeof KINDS;

const PLACES = { embedded: 'registry in the gateway', elsewhere: 'registry elsewhere' } as const;
type Place = keyof typeof PLACES;

const ROW = new Float32Array(SMALL_MLP.layers[0]).fill(0.5);
const BODY = JSON.parse(Buffer.from(v2Json(MODEL, ROW).body).toString());

const infer = (model: string): JsonCall => ({ method: 'POST', path: `/v2/models/${model}/infer`, body: BODY });

async function mlflow(port: number, path: string, body: object): Promise<string> {
  const answer = await send(port, { method: 'POST', path: `/api/2.0/mlflow/${path}`, body });
  if (answer.status !== 200) throw new Error(`${path} answered ${answer.status}: ${answer.body.slice(0, 300)}`);
  return answer.body;
}

let made = 0;
/** Registers a version with weights that no other has, as mlflow.onnx.log_model leaves it. Resolves with its number. */
async function register(port: number, model: string): Promise<string> {
  const folder = `0/${model}-${++made}`;
  const { layers } = SMALL_MLP;
  // Another width between gives other weights.
  const mlp = { name: model, layers: [layers[0], 64 + made, layers[layers.length - 1]] };
  const files = {
    MLmodel: Buffer.from('flavors: {onnx: {data: model.onnx}}\n'),
    'model.onnx': Buffer.from(mlpOnnx(mlp)),
  };
  for (const [path, bytes] of Object.entries(files)) {
    const url = `http://127.0.0.1:${port}/api/2.0/mlflow-artifacts/artifacts/${folder}/${path}`;
    const { status } = await fetch(url, { method: 'PUT', body: bytes });
    if (status !== 200) throw new Error(`uploading ${path} was answered ${status}`);
  }
  const source = `mlflow-artifacts:/${folder}`;
  const answer = await mlflow(port, 'model-versions/create', { name: model, source });
  return (JSON.parse(answer) as { model_version: { version: string } }).model_version.version;
}

async function servedVersion(port: number, model: string): Promise<string> {
  const { status, body } = await send(port, infer(model));
  return status === 200 ? (JSON.parse(body) as { model_version: string }).model_version : '';
}

/** A gateway, the registry it follows, and what was registered there. */
interface Stage {
  place: Place;
  http: number;
  registry: number;
  /** The last two versions of the model. */
  latest: [string, string];
}

/** Moves the alias, and resolves with the milliseconds from sending that until the first answer of the version. */
async function moveAndWait({ http, registry }: Stage, model: string, version: string): Promise<number> {
  const begun = performance.now();
  await mlflow(registry, 'registered-models/alias', { name: model, alias: 'champion', version });
  while ((await servedVersion(http, model)) !== version) {
    if (performance.now() - begun > PATIENCE_MS)
      throw new Error(`version ${version} of ${model} is not served within ${PATIENCE_MS / 1000} s`);
    await sleep(LOOK_MS);
  }
  return performance.now() - begun;
}

async function moveOnce(stage: Stage, kind: Kind): Promise<number> {
  const { registry, latest } = stage;
  if (kind !== 'warm') await sleep(APART_MS);
  if (kind === 'first') {
    const model = `first-${made}`;
    await mlflow(registry, 'registered-models/create', { name: model });
    return moveAndWait(stage, model, await register(registry, model));
  }
  // There and back between the last two, or on to one more.
  stage.latest = [latest[1], kind === 'warm' ? latest[0] : await register(registry, MODEL)];
  return moveAndWait(stage, MODEL, stage.latest[1]);
}

interface Round {
  moves: Measurement;
  requests: number;
  failed: number;
}

/** Moves the alias under load. What is counted are the moves; requests that fail are failures of all. */
async function round(stage: Stage, kind: Kind): Promise<Round> {
  const begun = performance.now();
  const times: number[] = [];
  let moving = true;
  const moves = (async () => {
    await sleep(200);
    for (let i = 0; i < KINDS[kind].moves; i++) times.push(await moveOnce(stage, kind));
  })().finally(() => {
    moving = false;
  });
  moves.catch(() => {});
  let requests = 0;
  let failed = 0;
  while (moving) {
    const load = await closedLoop(stage.http, { connections: CONNECTIONS, seconds: 0.25 }, () => infer(MODEL));
    requests += load.requests + load.errors;
    failed += load.requests - load.succeeded + load.errors;
  }
  await moves;
  const at = (q: number): number => quantile(times, q);
  return {
    moves: {
      ...{ requests: times.length, succeeded: times.length, seconds: (performance.now() - begun) / 1000 },
      ...{ statuses: {}, errors: failed, generatorThreads: 1, serverCpuSeconds: 0, generatorCpuSeconds: 0 },
      latency: { p50: at(0.5), p90: at(0.9), p99: at(0.99), p999: at(0.999), max: at(1) },
    },
    requests,
    failed,
  };
}

/** Plays all rounds of one place: in each, the kinds of moves one after the other. */
async function play(settings: Settings, stage: Stage): Promise<Record<Kind, Series>> {
  const kinds = Object.keys(KINDS) as Kind[];
  const seriesOf = (): Series => ({ name: stage.place, role: 'subject', rounds: [] });
  const series = { warm: seriesOf(), fresh: seriesOf(), first: seriesOf() };
  for (let i = 0; i < settings.rounds; i++)
    for (const kind of kinds) {
      const { moves, requests, failed } = await round(stage, kind);
      series[kind].rounds.push(moves);
      const [p50, max] = [moves.latency.p50, moves.latency.max].map(Math.round);
      settings.say(
        `  round ${i + 1}/${settings.rounds}  ${stage.place.padEnd(10)} ${kind.padEnd(6)} median ${p50} ms, longest ${max} ms, ${failed} of ${requests} requests failed`,
      );
    }
  return series;
}

/** A gateway beside its registry, or one that follows a server which serves nothing itself. */
async function playAt(place: Place, settings: Settings, scratch: string): Promise<Record<Kind, Series>> {
  const started: ServerProcess[] = [];
  try {
    if (place === 'elsewhere') started.push((await startSwitchyard(join(scratch, 'registry'))).server);
    const gateway = await startFollower(scratch, started[0]?.ports.admin);
    started.push(gateway);
    const registry = started[0].ports.admin;
    await mlflow(registry, 'registered-models/create', { name: MODEL });
    const latest: Stage['latest'] = [await register(registry, MODEL), await register(registry, MODEL)];
    const stage: Stage = { place, http: gateway.ports.http, registry, latest };
    // Before the first round: both have been served.
    for (const version of latest) await moveAndWait(stage, MODEL, version);
    return await play(settings, stage);
  } finally {
    for (const server of started.reverse()) await server.stop();
  }
}

function panelOf(kind: Kind, series: Series[]): Panel {
  const goal = { atMost: 1000 };
  const comparisons = Object.entries(PLACES).flatMap(([name, text]): Comparison[] => [
    ...figureOf(series, name, (m) => m.latency.p50, `median from alias to answer, ${text}`, 'ms', goal),
    ...figureOf(series, name, (m) => m.latency.max, `longest of a round, ${text}`, 'ms', goal),
    ...figureOf(series, name, (m) => m.errors, `failed requests a round, ${text}`, 'requests', { atMost: 0 }),
  ]);
  return { title: `alias moved to ${KINDS[kind].text} → it answers`, counts: 'moves', series, comparisons };
}

export const registryAlias: Scenario = {
  name: 'registry-alias',
  description: `An alias is set while ${CONNECTIONS} connections send requests to the model: milliseconds from sending that until the first answer by the version. In a round, ${Object.values(
    KINDS,
  )
    .map(({ moves, text }) => `${moves} × to ${text}`)
    .join(', ')}. What is registered just before gets the alias at once. "No answer" counts failed requests.`,
  async run(settings) {
    settings.say('registry-alias');
    const scratch = join(settings.scratch, 'registry-alias');
    const places = Object.keys(PLACES) as Place[];
    const played: Record<Kind, Series>[] = [];
    for (const place of places) played.push(await playAt(place, settings, scratch));
    const panels = (Object.keys(KINDS) as Kind[]).map((kind) =>
      panelOf(
        kind,
        played.map((series) => series[kind]),
      ),
    );
    return { name: this.name, description: this.description, panels, notes: [] };
  },
};
