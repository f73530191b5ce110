import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { closedLoop, send } from '../generators/closed-loop.ts';
import type { JsonCall } from '../generators/keep-alive.ts';
import type { Measurement } from '../generators/measurement.ts';
import { mlpOnnx, SMALL_MLP } from '../mlp-model.ts';
import { v2Json } from '../payloads.ts';
import type { Series } from '../rounds.ts';
import { figureOf, type Scenario, type Settings } from '../scenario.ts';
import { quantile } from '../statistics.ts';
import { startFollower } from '../targets/registries.ts';
import type { ServerProcess } from '../targets/server-process.ts';

const CONNECTIONS = 8;
const MOVES = 10;
const MODEL = 'moved';
/** Between two looks at who answers, in milliseconds. */
const LOOK_MS = 2;
const PATIENCE_MS = 20_000;

const ROW = new Float32Array(SMALL_MLP.layers[0]).fill(0.5);
const INFER: JsonCall = {
  method: 'POST',
  path: `/v2/models/${MODEL}/infer`,
  body: JSON.parse(Buffer.from(v2Json(MODEL, ROW).body).toString()),
};

async function mlflow(port: number, path: string, body: object): Promise<void> {
  const answer = await send(port, { method: 'POST', path: `/api/2.0/mlflow/${path}`, body });
  if (answer.status !== 200) throw new Error(`${path} answered ${answer.status}: ${answer.body.slice(0, 300)}`);
}

/** Two versions with different weights, as mlflow.onnx.log_model leaves them. */
async function register(port: number): Promise<void> {
  await mlflow(port, 'registered-models/create', { name: MODEL });
  for (const version of [1, 2]) {
    const folder = `0/moved-${version}`;
    const { layers } = SMALL_MLP;
    // Another width between gives other weights.
    const mlp = { name: MODEL, layers: [layers[0], 64 + version, layers[layers.length - 1]] };
    const files = {
      MLmodel: Buffer.from('flavors: {onnx: {data: model.onnx}}\n'),
      'model.onnx': Buffer.from(mlpOnnx(mlp)),
    };
    for (const [path, bytes] of Object.entries(files)) {
      const url = `http://127.0.0.1:${port}/api/2.0/mlflow-artifacts/artifacts/${folder}/${path}`;
      const { status } = await fetch(url, { method: 'PUT', body: bytes });
      if (status !== 200) throw new Error(`uploading ${path} was answered ${status}`);
    }
    await mlflow(port, 'model-versions/create', { name: MODEL, source: `mlflow-artifacts:/${folder}` });
  }
}

async function servedVersion(port: number): Promise<string> {
  const { status, body } = await send(port, INFER);
  return status === 200 ? (JSON.parse(body) as { model_version: string }).model_version : '';
}

/** Moves the alias, and resolves with the milliseconds from sending that until the first answer of the version. */
async function moveAndWait(registryPort: number, httpPort: number, version: string): Promise<number> {
  const begun = performance.now();
  await mlflow(registryPort, 'registered-models/alias', { name: MODEL, alias: 'champion', version });
  while ((await servedVersion(httpPort)) !== version) {
    if (performance.now() - begun > PATIENCE_MS) throw new Error(`version ${version} is not served within 20 s`);
    await sleep(LOOK_MS);
  }
  return performance.now() - begun;
}

interface Round {
  moves: Measurement;
  requests: number;
  failed: number;
}

/** Moves the alias there and back under load. What is counted are the moves; requests that fail are failures of all. */
async function round(gateway: ServerProcess, registryPort: number): Promise<Round> {
  const { http } = gateway.ports;
  const begun = performance.now();
  const times: number[] = [];
  let moving = true;
  const moves = (async () => {
    await sleep(200);
    for (let i = 0; i < MOVES; i++) times.push(await moveAndWait(registryPort, http, i % 2 === 0 ? '2' : '1'));
  })().finally(() => {
    moving = false;
  });
  moves.catch(() => {});
  let requests = 0;
  let failed = 0;
  while (moving) {
    const load = await closedLoop(http, { connections: CONNECTIONS, seconds: 0.25 }, () => INFER);
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

async function play(settings: Settings, name: string, gateway: ServerProcess, registryPort: number): Promise<Series> {
  const series: Series = { name, role: 'subject', rounds: [] };
  for (let i = 0; i < settings.rounds; i++) {
    const { moves, requests, failed } = await round(gateway, registryPort);
    series.rounds.push(moves);
    const [p50, max] = [moves.latency.p50, moves.latency.max].map(Math.round);
    settings.say(
      `  round ${i + 1}/${settings.rounds}  ${name.padEnd(10)} median ${p50} ms, longest ${max} ms, ${failed} of ${requests} requests failed`,
    );
  }
  return series;
}

export const registryAlias: Scenario = {
  name: 'registry-alias',
  description: `An alias is moved to another version and back, ${MOVES} times a round, while ${CONNECTIONS} connections send requests to the model: milliseconds from sending the move until the first answer by that version. "No answer" counts failed requests.`,
  async run(settings) {
    settings.say('registry-alias');
    const scratch = join(settings.scratch, 'registry-alias');
    const started: ServerProcess[] = [];
    const series: Series[] = [];
    try {
      const embedded = await startFollower(scratch);
      started.push(embedded);
      const { admin } = embedded.ports;
      const elsewhere = await startFollower(scratch, admin);
      started.push(elsewhere);
      await register(admin);
      for (const [name, gateway] of Object.entries({ embedded, elsewhere })) {
        await moveAndWait(admin, gateway.ports.http, '1');
        series.push(await play(settings, name, gateway, admin));
      }
    } finally {
      for (const server of started) await server.stop();
    }
    const goal = { atMost: 1000 };
    const comparisons = Object.entries({
      embedded: 'registry in the gateway',
      elsewhere: 'registry elsewhere',
    }).flatMap(([name, text]) => [
      ...figureOf(series, name, (m) => m.latency.p50, `median from alias to answer, ${text}`, 'ms', goal),
      ...figureOf(series, name, (m) => m.latency.max, `longest of a round, ${text}`, 'ms', goal),
      ...figureOf(series, name, (m) => m.errors, `failed requests a round, ${text}`, 'requests', { atMost: 0 }),
    ]);
    const panels = [{ title: 'alias moved → new version answers', counts: 'moves', series, comparisons }];
    return { name: this.name, description: this.description, panels, notes: [] };
  },
};
