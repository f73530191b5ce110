import { execFileSync, spawn } from 'node:child_process';
import { mkdirSync, openSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { ServerProcess } from '../../src/testing/server-process.ts';
import type { GeneratorResult } from '../generators/measurement.ts';
import { wrk } from '../generators/wrk.ts';
import { plainJson } from '../payloads.ts';
import type { Comparison, Scenario } from '../scenario.ts';
import { bootstrapMedian, pairedRatios } from '../statistics.ts';

const ROWS = 64;
const DRIVERS = 1000;
const CONNECTIONS = 8;
const FEATURES = Array.from({ length: 10 }, (_, i) => `f${i}`);

interface Subject {
  name: string;
  port: number;
  rates: number[];
  p50: number[];
  stop(): Promise<void>;
}

/**
 * 10 features for 64 rows over Feast's REST, from Switchyard and from Feast's own Python feature server, on the same
 * Redis and on what each embeds (memory, SQLite). SWITCHYARD_TEST_REDIS_URL names a Redis, SWITCHYARD_TEST_FEAST_PYTHON
 * a Python with Feast (.ci/clients/feast/setup.sh).
 */
export const features: Scenario = {
  name: 'features',
  description: "Online features beside Feast's Python feature server: 10 features for 64 rows a request",
  async run({ scratch, rounds, timing, say }) {
    const { SWITCHYARD_TEST_REDIS_URL: redis, SWITCHYARD_TEST_FEAST_PYTHON: python } = process.env;
    if (redis === undefined || python === undefined)
      throw new Error(
        'SWITCHYARD_TEST_REDIS_URL and SWITCHYARD_TEST_FEAST_PYTHON must be set; see .ci/services/redis.sh and .ci/clients/feast/setup.sh',
      );
    const folder = join(scratch, 'features');
    mkdirSync(folder, { recursive: true });
    const redisAddress = new URL(redis).host;
    const subjects = [
      await switchyard('Switchyard, Redis', folder, { redisUrl: redis }),
      await feast('Feast, Redis', folder, python, { type: 'redis', connection_string: redisAddress }),
      await switchyard('Switchyard, memory', folder, {}),
      await feast('Feast, SQLite', folder, python, { type: 'sqlite', path: join(folder, 'online.db') }),
    ];
    const wanted = {
      features: FEATURES.map((name) => `driver_stats:${name}`),
      entities: { driver_id: Array.from({ length: ROWS }, (_, i) => 1 + ((i * 13) % DRIVERS)) },
    };
    const body = JSON.stringify(wanted);
    const request = plainJson('/get-online-features', wanted);
    const load = (subject: Subject, seconds: number): Promise<GeneratorResult> =>
      wrk(subject.port, request, { connections: CONNECTIONS, seconds }, folder);
    try {
      await checkSame(subjects, body);
      for (const subject of subjects) await load(subject, 2);
      for (let round = 0; round < rounds; round++)
        for (const subject of subjects.map((_, i) => subjects[(i + round) % subjects.length])) {
          const result = await load(subject, timing.seconds);
          subject.rates.push(result.succeeded / result.seconds);
          const times = [];
          for (let i = 0; i < 30; i++) times.push(await timed(subject.port, body));
          subject.p50.push(times.sort((a, b) => a - b)[15]);
          say(
            `  round ${round + 1}/${rounds}  ${subject.name.padEnd(18)} ${subject.rates.at(-1)?.toFixed(0)} requests/s, alone ${subject.p50.at(-1)?.toFixed(2)} ms`,
          );
        }
    } finally {
      await Promise.all(subjects.map((subject) => subject.stop()));
    }
    const comparisons = [0, 2].flatMap((i): Comparison[] => {
      const [ours, theirs] = [subjects[i], subjects[i + 1]];
      const goal = { atLeast: 5 };
      return [
        {
          text: `requests/s, ${ours.name} to ${theirs.name}`,
          estimate: bootstrapMedian(pairedRatios(ours.rates, theirs.rates)),
          unit: '×',
          goal,
        },
        {
          text: `time of one request alone, ${theirs.name} to ${ours.name}`,
          estimate: bootstrapMedian(pairedRatios(theirs.p50, ours.p50)),
          unit: '×',
        },
      ];
    });
    const notes = subjects.map(
      ({ name, rates, p50 }) =>
        `${name}: ${bootstrapMedian(rates).value.toFixed(0)} requests/s with ${CONNECTIONS} connections, ${bootstrapMedian(p50).value.toFixed(2)} ms alone; rounds ${rates.map((rate) => rate.toFixed(0)).join(', ')}`,
    );
    notes.push(
      ...comparisons.map(
        ({ text, estimate: e }) => `${text}: ${e.value.toFixed(1)} (${e.low.toFixed(1)} to ${e.high.toFixed(1)})`,
      ),
    );
    for (const note of notes) say(`  ${note}`);
    return {
      name: 'features',
      description: features.description,
      panels: [{ title: 'Online features', counts: 'requests', series: [], comparisons }],
      notes,
    };
  },
};

interface Answer {
  metadata: { feature_names: string[] };
  results: { values: unknown[] }[];
}

async function ask(port: number, body: string): Promise<Answer> {
  const response = await fetch(`http://127.0.0.1:${port}/get-online-features`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body,
  });
  if (!response.ok) throw new Error(`port ${port} answered ${response.status}: ${await response.text()}`);
  return (await response.json()) as Answer;
}

async function timed(port: number, body: string): Promise<number> {
  const begun = performance.now();
  await ask(port, body);
  return performance.now() - begun;
}

/** All say the same, or nothing is measured. */
async function checkSame(subjects: readonly Subject[], body: string): Promise<void> {
  const answers = await Promise.all(subjects.map(({ port }) => ask(port, body)));
  // By name: Feast's server answers features in an order of its own.
  const texts = answers.map(({ metadata, results }) => {
    const columns = metadata.feature_names.map((name, i) => [name, results[i].values.map(Number)] as const);
    return JSON.stringify(columns.toSorted(([a], [b]) => (a < b ? -1 : 1)));
  });
  const [first] = texts;
  for (const [i, text] of texts.entries())
    if (text !== first || text.includes('null'))
      throw new Error(`${subjects[i].name} answers otherwise: ${text.slice(0, 300)}`);
}

async function switchyard(name: string, scratch: string, store: object): Promise<Subject> {
  const folder = join(scratch, name.replace(/\W+/g, '-'));
  mkdirSync(folder, { recursive: true });
  const head = { apiVersion: 'switchyard/v1' };
  const documents = [
    { ...head, kind: 'Entity', metadata: { name: 'driver' }, spec: { joinKey: 'driver_id' } },
    {
      ...head,
      kind: 'FeatureView',
      metadata: { name: 'driver_stats' },
      spec: {
        entities: ['driver'],
        ttl: '1d',
        features: FEATURES.map((feature) => ({ name: feature, type: 'float32' })),
      },
    },
  ];
  writeFileSync(join(folder, 'features.yaml'), documents.map((document) => JSON.stringify(document)).join('\n---\n'));
  const file = join(folder, 'switchyard.yaml');
  writeFileSync(
    file,
    JSON.stringify({ threads: { gateways: 1, executors: 1 }, features: { files: ['features.yaml'], ...store } }),
  );
  const server = await ServerProcess.start(['--config', file, '--no-supervise'], { dataDir: join(folder, 'data') });
  const drivers = Array.from({ length: DRIVERS }, (_, i) => i + 1);
  const df = Object.fromEntries(FEATURES.map((feature, i) => [feature, drivers.map((driver) => driver + i / 8)]));
  const response = await fetch(server.url('/push'), {
    method: 'POST',
    body: JSON.stringify({
      push_source_name: 'driver_stats',
      df: { driver_id: drivers, event_timestamp: drivers.map(() => Date.now()), ...df },
    }),
  });
  if (!response.ok) throw new Error(`the push was answered with ${response.status}: ${await response.text()}`);
  return { name, port: server.ports.http, rates: [], p50: [], stop: async () => void (await server.stop()) };
}

async function feast(name: string, scratch: string, python: string, store: object): Promise<Subject> {
  const folder = join(scratch, name.replace(/\W+/g, '-'));
  const project = join(import.meta.dirname, '../../.ci/clients/feast/project.py');
  execFileSync(python, [project, 'write', folder, JSON.stringify(store)], { stdio: ['ignore', 'ignore', 'pipe'] });
  execFileSync(python, [project, 'fill', folder, String(DRIVERS)], { stdio: ['ignore', 'ignore', 'pipe'] });
  const port = await freePort();
  const log = openSync(join(folder, 'serve.log'), 'a');
  const args = ['-c', folder, 'serve', '--host', '127.0.0.1', '--port', String(port), '--no-access-log'];
  const child = spawn(join(python, '..', 'feast'), args, { stdio: ['ignore', log, log], detached: true });
  const pid = child.pid as number;
  const stop = async (): Promise<void> => {
    // gunicorn's workers are its children: the whole session is ended.
    process.kill(-pid, 'SIGTERM');
    await sleep(1000);
  };
  for (let tries = 0; tries < 240; tries++) {
    const up = await fetch(`http://127.0.0.1:${port}/health`).then(
      (response) => response.ok,
      () => false,
    );
    if (up) return { name, port, rates: [], p50: [], stop };
    await sleep(500);
  }
  await stop();
  throw new Error(`Feast's server did not start; see ${folder}/serve.log`);
}

function freePort(): Promise<number> {
  return new Promise((resolve, reject) => {
    const server = createServer();
    server.once('error', reject);
    server.listen(0, '127.0.0.1', () => {
      const { port } = server.address() as { port: number };
      server.close(() => resolve(port));
    });
  });
}
