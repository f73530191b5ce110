import assert from 'node:assert/strict';
import { createHmac } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { MonitorsApi } from '../client/monitors.ts';
import { PipelinesApi } from '../client/pipelines.ts';
import { RecordFinder } from '../eventlog/find.ts';
import { cli } from '../testing/cli.ts';
import { scriptRepository, times, until } from '../testing/script-models.ts';
import { ServerProcess } from '../testing/server-process.ts';
import { ANY_TIME } from './record-search.ts';

const scratch = mkdtempSync(join(tmpdir(), 'switchyard-monitors-'));
const SECRET = 'not-for-others';
const heard: { action: string; data: Record<string, unknown> }[] = [];
/** Deliveries that were refused at first, and whether one is still unanswered. */
const tries = { refused: 0, unanswered: 0, unsigned: 0 };
const receiver = createServer((request, response) => {
  let text = '';
  request.setEncoding('utf8').on('data', (part: string) => {
    text += part;
  });
  request.on('end', () => {
    if (request.url === '/silent') {
      tries.unanswered++;
      return;
    }
    const { 'x-mlflow-delivery-id': id, 'x-mlflow-timestamp': at, 'x-mlflow-signature': signature } = request.headers;
    const expected = createHmac('sha256', SECRET).update(`${id}.${at}.${text}`).digest('base64');
    if (signature !== `v1,${expected}`) tries.unsigned++;
    if (tries.refused === 0) {
      tries.refused++;
      response.writeHead(503).end();
      return;
    }
    heard.push(JSON.parse(text));
    response.end();
  });
});
let server: ServerProcess | undefined;
after(async () => {
  await server?.stop();
  receiver.closeAllConnections();
  receiver.close();
  rmSync(scratch, { recursive: true, force: true });
});

const WAIT_MS = 240_000;
const ROWS = 8;

const MONITOR = `apiVersion: switchyard/v1
kind: Monitor
metadata: {name: m}
spec:
  model: m
  reference: {records: 120}
  window: {rows: 120}
  minRows: 100
  alert: {windows: 2, of: 3, clear: 2}
  quality:
    prediction: outputs.y
    window: {rows: 40}
    metrics: [{metric: mae, max: 0.5}]
  retrain:
    pipeline: again
    on: {quality: false}
    data: {minRows: 80, columns: {inputs.x: x}}
    cooldown: 1s
    breaker: {after: 2}
`;
// It registers no version, as one whose gate does not pass: retraining with it is in vain.
const PIPELINES = `apiVersion: switchyard/v1
kind: Pipeline
metadata: {name: again}
spec:
  parameters: {data: {type: string}}
  steps:
    - name: rows
      ingest: {source: ["\${parameters.data}"]}
    - name: checked
      validate: {data: rows, schema: {minRows: 80, extra: true, columns: {x: {type: number}, label: {type: number}}}}
---
apiVersion: switchyard/v1
kind: Pipeline
metadata: {name: others}
spec:
  steps: [{name: rows, ingest: {source: [SOURCE]}}]
---
apiVersion: switchyard/v1
kind: Trigger
metadata: {name: on-drift}
spec: {pipeline: others, when: {drift: {model: m}}, cooldown: 1h}
`;

async function call(path: string, body?: object): Promise<Record<string, unknown>> {
  const response = await fetch(`http://127.0.0.1:${server?.ports.admin}${path}`, {
    ...(body === undefined ? {} : { method: 'POST', body: JSON.stringify(body) }),
  });
  const text = await response.text();
  assert.equal(response.status, 200, text);
  return JSON.parse(text);
}

const ids: string[] = [];
let turn = 0;
/** Rows around a value with their labels: y = 2 x is right, `off` by how much it is not. */
async function send(requests: number, middle: number, off: number): Promise<void> {
  for (let i = 0; i < requests; i++) {
    const data = Array.from({ length: ROWS }, () => middle + (turn++ % 60) / 60);
    const response = await fetch((server as ServerProcess).url('/v2/models/m/infer'), {
      method: 'POST',
      body: JSON.stringify({ inputs: [{ name: 'x', datatype: 'FP32', shape: [ROWS, 1], data }] }),
    });
    assert.equal(response.status, 200, await response.text());
    const id = response.headers.get('x-switchyard-id');
    ids.push(id ?? '');
    const label = data.map((value) => 2 * value + off);
    await fetch((server as ServerProcess).url('/switchyard/v1/feedback'), {
      method: 'POST',
      body: JSON.stringify({ events: [{ id, model: 'm', label }] }),
    });
  }
}

test('drift is told to webhooks, triggers and the log, starts retraining, and what is in vain ends it', async () => {
  await new Promise<void>((listening) => receiver.listen(0, '127.0.0.1', listening));
  const hook = `http://127.0.0.1:${(receiver.address() as AddressInfo).port}/`;
  const root = scriptRepository(scratch, { m: { versions: { 1: times(2) } } });
  const rows = join(scratch, 'rows.csv');
  writeFileSync(rows, 'a\n1\n2\n');
  writeFileSync(join(scratch, 'pipelines.yaml'), PIPELINES.replace('SOURCE', JSON.stringify(rows)));
  writeFileSync(join(scratch, 'monitor.yaml'), MONITOR);
  const config = join(scratch, 'switchyard.yaml');
  writeFileSync(
    config,
    `models: {repositories: [${root}]}\neventLog: {enabled: true, sinks: [{name: lines, kind: files}, {name: rows, kind: files, format: parquet}]}\nmonitoring: {files: [monitor.yaml]}\npipelines: {files: [pipelines.yaml]}\nregistry: {webhooks: {schemes: [http], privateHosts: [127.0.0.1]}}\nthreads: {gateways: 1, executors: 1}\n`,
  );
  const dataDir = join(scratch, 'data');
  server = await ServerProcess.start(['--config', config, '--no-supervise'], { dataDir });
  await call('/api/2.0/mlflow/registered-models/create', { name: 'm' });
  await call('/api/2.0/mlflow/model-versions/create', { name: 'm', source: 'mlflow-artifacts:/0/m' });
  await call('/api/2.0/mlflow/registered-models/alias', { name: 'm', alias: 'champion', version: '1' });
  const events = [
    { entity: 'DRIFT', action: 'SET' },
    { entity: 'DRIFT', action: 'DELETED' },
  ];
  await call('/api/v1/registry/webhooks', { name: 'drift', url: hook, secret: SECRET, events });
  // One that never answers holds up nothing.
  await call('/api/v1/registry/webhooks', { name: 'silent', url: `${hook}silent`, events });
  let monitors = new MonitorsApi({ url: `http://127.0.0.1:${server.ports.admin}` });
  await until('the monitor watches', async () => (await monitors.get('m')).version === '1', WAIT_MS);

  await send(45, 0, 0);
  await until(
    'quiet windows',
    async () => (await monitors.windows('m', 50)).filter(({ state }) => state === 'ok').length >= 3,
    WAIT_MS,
  );
  assert.equal((await monitors.get('m')).level, 'ok');

  await send(60, 5, 1);
  for (const wanted of ['drift', 'mae'])
    await until(
      `an alert of ${wanted}`,
      async () => (await monitors.get('m')).alarms.some(({ signal, level }) => signal === wanted && level === 'alert'),
      WAIT_MS,
    );
  await until(
    'the webhook heard of it',
    () =>
      heard.some(({ action, data }) => action.toLowerCase() === 'set' && data.level === 'alert' && data.model === 'm'),
    WAIT_MS,
  );

  assert.deepEqual([tries.refused, tries.unsigned], [1, 0], 'it was tried again, and signed each time');
  await until('the silent one was told too', () => tries.unanswered > 0, WAIT_MS);
  const alarm = await server.waitFor(({ msg, alarm }) => msg === 'a model drifts' && alarm === 'alert');
  assert.deepEqual([alarm.monitor, alarm.model, alarm.version], ['m', 'm', '1'], 'the log says so');
  const during = await (await fetch(`http://127.0.0.1:${server.ports.metrics}/metrics`)).text();
  assert.match(during, /switchyard_monitor_level\{monitor="m",signal="drift",version="1"\} 2/);
  const [rang] = (await monitors.alerts('m', 9)).filter(({ signal }) => signal === 'drift');
  assert.deepEqual([rang.level, rang.version, rang.ended_at], ['alert', '1', null]);

  const pipelines = new PipelinesApi({ url: `http://127.0.0.1:${server.ports.admin}` });
  await until(
    'the trigger fired',
    async () =>
      (await pipelines.firings('on-drift', 5)).some(
        ({ outcome, reason }) => outcome === 'fired' && /drift \(alert\) of m: /.test(reason),
      ),
    WAIT_MS,
  );

  await until('the breaker opened', async () => (await monitors.get('m')).retraining?.breaker !== '', WAIT_MS);
  const retrainings = await monitors.lineage('m', 10);
  assert.equal(retrainings.length, 2, 'two were in vain');
  for (const one of retrainings) {
    assert.equal(one.status, 'failed');
    assert.match(one.outcome, /registered no version of m/);
    assert.ok(
      one.windows.length >= 2 && one.windows.every(({ first_request }) => first_request !== ''),
      'its windows are known',
    );
    assert.deepEqual(
      one.steps.map(({ name, status }) => [name, status]),
      [
        ['rows', 'succeeded'],
        ['checked', 'succeeded'],
      ],
    );
    const lines = readFileSync(one.data?.file ?? '', 'utf8')
      .trim()
      .split('\n');
    assert.equal(lines[0], 'id,time,version,entity,x,label');
    assert.equal(lines.length - 1, one.data?.rows);
  }

  // One request, from its record to the retrainings that its window began.
  const id = ids[55];
  let trace = await monitors.trace(id);
  await until(
    'its record is in a file of a sink',
    async () => {
      trace = await monitors.trace(id);
      return trace.place !== '';
    },
    WAIT_MS,
  );
  assert.deepEqual([trace.request?.model, trace.request?.version, trace.request?.status], ['m', '1', 'ok']);
  const [of] = trace.monitors;
  assert.equal(of.counted, 'window');
  assert.ok(
    of.windows.some(({ kind, state }) => kind === 'drift' && state === 'drifted'),
    JSON.stringify(of.windows),
  );
  assert.ok(
    of.alerts.some(({ signal, level }) => signal === 'drift' && level === 'alert'),
    JSON.stringify(of.alerts),
  );
  assert.deepEqual(
    of.retrainings.map(({ by, status }) => [by, status]),
    [
      [['alert', 'data'], 'failed'],
      [['alert', 'data'], 'failed'],
    ],
  );
  const admin = `http://127.0.0.1:${server.ports.admin}`;
  const shown = await cli(['monitors', 'trace', id, '--admin', admin]);
  assert.equal(shown.code, 0, shown.err);
  for (const part of [
    `request ${id}`,
    'answered    by version 1 of m: ok',
    'drifted, ',
    'its window rang, it was learnt from',
  ])
    assert.ok(shown.out.includes(part), `${part} is missing in\n${shown.out}`);
  const effects = await cli(['monitors', 'get', 'm', '--admin', admin, '--windows', '50']);
  assert.match(effects.out, /inputs\.x +all rows +psi +[\d.]+ +[\d.]+ … [\d.]+ +0\.2/);
  const origin = await cli(['monitors', 'origin', 'm', '1', '--admin', admin]);
  assert.match(origin.out, /no retraining brought version 1 of m/);

  // A server that is started anew knows it all.
  await server.stop();
  for (const sink of ['lines', 'rows']) {
    const folders = { [sink]: join(dataDir, 'eventlog/files', sink) };
    const files = new RecordFinder({ folders, log: undefined, others: [] });
    const { found, json, place, problems, oldest } = await files.find(id, ANY_TIME);
    assert.deepEqual(problems, []);
    assert.deepEqual([found?.id, found?.model, found?.version, found?.status], [id, 'm', '1', 'ok'], place);
    assert.ok(place.includes(sink), place);
    assert.ok(oldest !== null && oldest <= (found?.time ?? 0), `${oldest} is the oldest`);
    const { features } = JSON.parse(json) as { features: { name: string; data: number[] }[] };
    assert.deepEqual([features[0].name, features[0].data.length], ['x', ROWS]);
    const nobody = await files.find('nobody', { from: 0, to: (oldest ?? 0) - 1 });
    assert.deepEqual([nobody.found, nobody.oldest, nobody.problems], [undefined, oldest, []]);
  }
  server = await ServerProcess.start(['--config', config, '--no-supervise'], { dataDir });
  monitors = new MonitorsApi({ url: `http://127.0.0.1:${server.ports.admin}` });
  let row = await monitors.get('m');
  assert.equal(row.level, 'alert');
  assert.notEqual(row.retraining?.breaker, '');
  assert.equal(row.references.length, 1);
  row = await monitors.reset('m', 'it is the new normal');
  assert.deepEqual([row.level, row.retraining?.breaker], ['ok', '']);
  assert.match(
    (await monitors.alerts('m', 9)).find(({ alert }) => alert === rang.alert)?.end_reason ?? '',
    /^reset by .*it is the new normal/,
  );
  await until(
    'the webhook heard of its end',
    () => heard.some(({ action }) => action.toLowerCase() === 'deleted'),
    WAIT_MS,
  );
  await send(40, 5, 0);
  await until(
    'a quiet window against the new reference',
    async () => {
      const [newest] = (await monitors.windows('m', 20)).filter(({ kind }) => kind === 'drift');
      return newest?.state === 'ok';
    },
    WAIT_MS,
  );
  const metrics = await (await fetch(`http://127.0.0.1:${server.ports.metrics}/metrics`)).text();
  assert.match(metrics, /switchyard_monitor_level\{monitor="m",signal="drift",version="1"\} 0/);
});
