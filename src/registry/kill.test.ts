import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { after, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { RegistryUnderTest } from '../testing/registry.ts';

/** .ci/run asks for 200. */
const KILLS = Number(process.env.SWITCHYARD_TEST_KILLS ?? 3);
const SERVER = fileURLToPath(new URL('../testing/registry-server.ts', import.meta.url));
const WRITERS = 6;

const dataDir = mkdtempSync(join(tmpdir(), 'registry-kill-'));
after(() => rmSync(dataDir, { recursive: true, force: true }));

async function start(database: string): Promise<{ child: ChildProcess; url: string }> {
  const child = spawn(process.execPath, ['--import', 'tsx', SERVER, dataDir, database], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const [port] = (await once(createInterface({ input: child.stdout! }), 'line')) as [string];
  return { child, url: `http://127.0.0.1:${port}` };
}

// biome-ignore lint/suspicious/noExplicitAny: answers of many shapes
type Json = any;

async function call(url: string, method: string, path: string, values: Json): Promise<Json> {
  const query = method === 'GET' ? `?${new URLSearchParams(values)}` : '';
  const body = method === 'GET' ? undefined : JSON.stringify(values);
  const response = await fetch(`${url}/api/2.0/mlflow/${path}${query}`, { method, body });
  const json = (await response.json()) as Json;
  if (response.status !== 200) throw new Error(`${path}: ${response.status} ${JSON.stringify(json)}`);
  return json;
}

/** What the server has acknowledged: it must be there for ever after. */
const runs = new Map<string, { step: number }>();
const uploads = new Map<string, string>();
const alias = { version: '', sent: '' };

/** Writes until the server goes away: batches of ten metrics and a param, each whole or not there. */
async function writeBatches(url: string): Promise<void> {
  const { run } = await call(url, 'POST', 'runs/create', { experiment_id: '0' });
  const { run_id } = run.info;
  const known = { step: -1 };
  runs.set(run_id, known);
  for (let step = 0; ; step++) {
    const metrics = Array.from({ length: 10 }, (_, k) => ({ key: `m${k}`, value: step, timestamp: step, step }));
    await call(url, 'POST', 'runs/log-batch', { run_id, metrics, params: [{ key: `p${step}`, value: String(step) }] });
    known.step = step;
  }
}

async function moveAlias(url: string): Promise<void> {
  for (let i = 0; ; i++) {
    alias.sent = String((i % 2) + 1);
    await call(url, 'POST', 'registered-models/alias', { name: 'killed', alias: 'champion', version: alias.sent });
    alias.version = alias.sent;
  }
}

async function upload(url: string, round: number): Promise<void> {
  for (let i = 0; ; i++) {
    const path = `kills/${round}/${i}.bin`;
    const body = `${path} `.repeat(2000 + i);
    const response = await fetch(`${url}/api/2.0/mlflow-artifacts/artifacts/${path}`, { method: 'PUT', body });
    assert.equal(response.status, 200, await response.text());
    uploads.set(path, body);
  }
}

async function check(url: string): Promise<void> {
  for (const [run_id, { step }] of runs) {
    const { data } = (await call(url, 'GET', 'runs/get', { run_id })).run;
    const steps = new Set((data.metrics ?? []).map((metric: { step: number }) => metric.step));
    const params = (data.params ?? []).length;
    // All of a batch, or nothing: the one that was under way may be there.
    assert.ok(steps.size <= 1, `torn batch in ${run_id}: ${[...steps]}`);
    const last = steps.size === 0 ? -1 : ([...steps][0] as number);
    assert.ok(last === step || last === step + 1, `${run_id}: acknowledged ${step}, found ${last}`);
    assert.equal(params, last + 1);
    if (last >= 0) assert.equal(data.metrics.length, 10);
  }
  if (alias.version !== '') {
    const { model_version } = await call(url, 'GET', 'registered-models/alias', { name: 'killed', alias: 'champion' });
    const { version } = model_version;
    assert.ok([alias.version, alias.sent].includes(version), `${JSON.stringify(alias)}, found ${version}`);
    // A move that was done but not acknowledged is what the next one starts from.
    alias.version = version;
    alias.sent = version;
  }
  for (const [path, body] of [...uploads].slice(-20)) {
    const response = await fetch(`${url}/api/2.0/mlflow-artifacts/artifacts/${path}`);
    assert.equal(response.status, 200, path);
    assert.equal((await response.text()) === body, true, path);
  }
}

test(`killed ${KILLS} times under writes, the registry opens clean with all it had acknowledged`, async () => {
  // Of the kind that the environment asks for.
  const empty = await RegistryUnderTest.open(undefined, dataDir);
  await empty.close(true);
  const { database } = empty;
  let { child, url } = await start(database);
  await call(url, 'POST', 'registered-models/create', { name: 'killed' });
  for (let version = 1; version <= 2; version++)
    await call(url, 'POST', 'model-versions/create', { name: 'killed', source: 'mlflow-artifacts:/0/x/artifacts' });
  for (let round = 0; round < KILLS; round++) {
    runs.clear();
    const writers = [...Array.from({ length: WRITERS }, () => writeBatches(url)), moveAlias(url), upload(url, round)];
    const settled = Promise.allSettled(writers);
    await new Promise((resolve) => setTimeout(resolve, 30 + Math.random() * 300));
    child.kill('SIGKILL');
    await once(child, 'exit');
    // Nothing but the lost connection may have ended a writer.
    for (const result of await settled)
      assert.match(String((result as PromiseRejectedResult).reason), /fetch failed|terminated|other side/);
    ({ child, url } = await start(database));
    await check(url);
  }
  child.kill('SIGKILL');
  await once(child, 'exit');
  assert.ok(runs.size > 0);
});
