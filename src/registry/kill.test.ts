import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { sql } from 'kysely';
import { storageUnderTest } from '../testing/artifact-storage.ts';
import { RegistryUnderTest } from '../testing/registry.ts';
import { RegistryProcess } from '../testing/registry-process.ts';

/** .ci/run asks for 200. */
const KILLS = Number(process.env.SWITCHYARD_TEST_KILLS ?? 3);
const WRITERS = 6;

const dataDir = mkdtempSync(join(tmpdir(), 'registry-kill-'));
after(() => rmSync(dataDir, { recursive: true, force: true }));

// biome-ignore lint/suspicious/noExplicitAny: answers of many shapes
type Json = any;

async function call(url: string, method: string, path: string, values: Json): Promise<Json> {
  const query = method === 'GET' ? `?${new URLSearchParams(values)}` : '';
  const body = method === 'GET' ? undefined : JSON.stringify(values);
  const response = await fetch(`${url}${path.startsWith('/') ? '' : '/api/2.0/mlflow/'}${path}${query}`, {
    method,
    body,
  });
  const json = (await response.json()) as Json;
  if (response.status !== 200) throw new Error(`${path}: ${response.status} ${JSON.stringify(json)}`);
  return json;
}

/** What the servers have acknowledged: it must be there for ever after. */
const runs = new Map<string, { step: number }>();
const uploads = new Map<string, string>();
const alias = { version: '', sent: '' };
/** Every version that the alias was moved to, and was not already. */
const moves: string[] = [];

const pause = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));
const steps = (): number[] => [...runs.values()].map(({ step }) => step);

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
    moved(alias.sent);
  }
}

function moved(version: string): void {
  if (version !== alias.version) moves.push(version);
  alias.version = version;
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

type Known = readonly (readonly [string, { step: number }])[];

async function checkRuns(url: string, known: Known): Promise<void> {
  for (const [run_id, acknowledged] of known) {
    const { data } = (await call(url, 'GET', 'runs/get', { run_id })).run;
    const steps = new Set((data.metrics ?? []).map((metric: { step: number }) => metric.step));
    const params = (data.params ?? []).length;
    // All of a batch, or nothing: the one that was under way may be there.
    assert.ok(steps.size <= 1, `torn batch in ${run_id}: ${[...steps]}`);
    const { step } = acknowledged;
    const last = steps.size === 0 ? -1 : ([...steps][0] as number);
    assert.ok(last === step || last === step + 1, `${run_id}: acknowledged ${step}, found ${last}`);
    assert.equal(params, last + 1);
    if (last >= 0) assert.equal(data.metrics.length, 10);
    // Nobody writes to it any more: what is there now must stay.
    acknowledged.step = last;
  }
}

/** Every point of two of the metrics of a run, page by page. */
async function checkMetricHistories(url: string): Promise<void> {
  for (const [run_id, { step }] of runs) {
    for (const metric_key of ['m0', 'm9']) {
      const steps: number[] = [];
      let page_token = '';
      do {
        const page = await call(url, 'GET', 'metrics/get-history', {
          run_id,
          metric_key,
          max_results: '500',
          page_token,
        });
        for (const metric of page.metrics ?? []) {
          assert.equal(metric.value, metric.step, `${metric_key} of ${run_id}`);
          steps.push(metric.step);
        }
        page_token = page.next_page_token ?? '';
      } while (page_token !== '');
      const wanted = Array.from({ length: step + 1 }, (_, i) => i);
      assert.equal(steps.sort((a, b) => a - b).join(' '), wanted.join(' '), `${metric_key} of ${run_id}`);
    }
  }
}

async function checkAlias(url: string): Promise<void> {
  if (alias.sent === '') return;
  const { aliases } = await call(url, 'GET', '/api/v1/registry/models/killed/aliases', {});
  const version = aliases[0]?.version ?? '';
  assert.ok([alias.version, alias.sent].includes(version), `${JSON.stringify(alias)}, found ${version}`);
  // A move that was done but not acknowledged is what the next one starts from.
  if (version !== '') moved(version);
  alias.sent = version;
}

async function checkUploads(url: string, known: readonly (readonly [string, string])[]): Promise<void> {
  for (const [path, body] of known) {
    const response = await fetch(`${url}/api/2.0/mlflow-artifacts/artifacts/${path}`);
    assert.equal(response.status, 200, path);
    assert.equal((await response.text()) === body, true, path);
  }
}

/** The history has every move once, in its order. */
async function checkHistory(url: string): Promise<void> {
  const path = '/api/v1/registry/models/killed/aliases/champion/history';
  const found: { version: string; previous: string | null }[] = [];
  let page_token = '';
  do {
    const page = await call(url, 'GET', path, { limit: '1000', page_token });
    found.push(...page.moves);
    page_token = page.next_page_token ?? '';
  } while (page_token !== '');
  const chain = found.toReversed();
  assert.equal(chain.map(({ version }) => version).join(' '), moves.join(' '));
  for (const [i, { previous }] of chain.entries()) assert.equal(previous, i === 0 ? null : chain[i - 1].version);
}

/** What the database itself finds: every page of SQLite's, every index of PostgreSQL's against its table. */
async function checkIntegrity({ registry }: RegistryUnderTest): Promise<void> {
  const { database } = registry;
  await database.write(async (db) => {
    if (database.kind === 'sqlite') {
      const { rows } = await sql<{ integrity_check: string }>`PRAGMA integrity_check`.execute(db);
      assert.deepEqual(
        rows.map((row) => row.integrity_check),
        ['ok'],
      );
      return;
    }
    await sql`CREATE EXTENSION IF NOT EXISTS amcheck`.execute(db);
    await sql`SELECT bt_index_check(i.indexrelid::regclass, true) FROM pg_index i
      JOIN pg_class c ON c.oid = i.indexrelid JOIN pg_namespace n ON n.oid = c.relnamespace
      JOIN pg_am a ON a.oid = c.relam WHERE n.nspname = 'public' AND a.amname = 'btree'`.execute(db);
  });
}

/** kill -9; the server must have had nothing to complain of until then. */
async function kill(server: RegistryProcess): Promise<void> {
  await server.kill();
  assert.equal(server.stderr, '', 'what a server logged as errors');
}

test(`killed ${KILLS} times under writes, the registry opens clean with all it had acknowledged`, async (t) => {
  // Of the kind that the environment asks for.
  const artifacts = await storageUnderTest();
  const empty = await RegistryUnderTest.open(undefined, dataDir, artifacts);
  await empty.close(true);
  const { database } = empty;
  let server = await RegistryProcess.start(dataDir, database, 0, artifacts);
  /** Reads its code while the one before is written to. */
  let next = RegistryProcess.prepare();
  const started = (): Promise<RegistryProcess> => {
    const prepared = next;
    next = RegistryProcess.prepare();
    return prepared.open(dataDir, database, 0, artifacts);
  };
  t.after(() => Promise.all([server.kill(), next.kill()]));
  await call(server.url, 'POST', 'registered-models/create', { name: 'killed' });
  for (let version = 1; version <= 2; version++)
    await call(server.url, 'POST', 'model-versions/create', {
      name: 'killed',
      source: 'mlflow-artifacts:/0/x/artifacts',
    });
  for (let round = 0; round < KILLS; round++) {
    const { url } = server;
    const [runsBefore, uploadsBefore] = [runs.size, uploads.size];
    const writers = [...Array.from({ length: WRITERS }, () => writeBatches(url)), moveAlias(url), upload(url, round)];
    const settled = Promise.allSettled(writers);
    await pause(20 + Math.random() * 200);
    // On a slow machine too there is something of each kind that must not be lost.
    while (round === 0 && (Math.max(...steps()) < 0 || uploads.size === 0 || moves.length === 0)) await pause(10);
    await kill(server);
    // Nothing but the lost connection may have ended a writer.
    for (const result of await settled)
      assert.match(String((result as PromiseRejectedResult).reason), /fetch failed|terminated|other side/);
    if (round % 10 === 5) {
      // While it opens, too.
      const opening = next;
      next = RegistryProcess.prepare();
      opening.launch(dataDir, database, 0, artifacts);
      await pause(Math.random() * 400);
      await kill(opening);
    }
    server = await started();
    await checkRuns(server.url, [...runs].slice(runsBefore));
    await checkAlias(server.url);
    await checkUploads(server.url, [...uploads].slice(uploadsBefore));
  }
  await checkRuns(server.url, [...runs]);
  await checkMetricHistories(server.url);
  await checkUploads(server.url, [...uploads]);
  await checkHistory(server.url);
  await kill(server);
  const last = await RegistryUnderTest.open(database, dataDir, artifacts);
  await checkIntegrity(last);
  assert.deepEqual(last.errors, []);
  await last.close();
});
