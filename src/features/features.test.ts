import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { cli } from '../testing/cli.ts';
import { DRIVER_DOCUMENTS, document } from '../testing/features.ts';
import { scriptRepository, times, until } from '../testing/script-models.ts';
import { infer, ServerProcess } from '../testing/server-process.ts';

const scratch = mkdtempSync(join(tmpdir(), 'switchyard-feature-store-'));
const running = new Set<ServerProcess>();
after(async () => {
  await Promise.all([...running].map((server) => server.stop()));
  rmSync(scratch, { recursive: true, force: true });
});

const CSV = `driver_id,event_timestamp,score,label
1,2026-01-01T00:00:00Z,0.5,a
1,2026-01-02T00:00:00Z,0.75,
2,2026-01-03 00:00:00,1,b
x,2026-01-03T00:00:00Z,1,b
`;

const JOIN = '{entities: {driver_id: driver}, inputs: {x: [driver_stats:conv_rate]}}';
const repository = scriptRepository(scratch, {
  joined: {
    versions: { 1: times(10) },
    config: `parameters { key: "switchyard.features" value { string_value: "${JOIN}" } }\n`,
  },
});

async function start(): Promise<ServerProcess> {
  const file = join(scratch, 'switchyard.yaml');
  writeFileSync(join(scratch, 'rows.csv'), CSV);
  writeFileSync(join(scratch, 'features.yaml'), DRIVER_DOCUMENTS.map((each) => JSON.stringify(each)).join('\n---\n'));
  writeFileSync(
    file,
    `features: {files: [features.yaml]}\nmodels: {repositories: [${repository}]}\neventLog: {enabled: true}\nthreads: {gateways: 2, executors: 1}\n`,
  );
  const server = await ServerProcess.start(['--config', file, '--no-supervise'], { dataDir: join(scratch, 'data') });
  running.add(server);
  return server;
}

async function feast(server: ServerProcess, path: string, body: object): Promise<{ status: number; text: string }> {
  const response = await fetch(server.url(path), { method: 'POST', body: JSON.stringify(body) });
  return { status: response.status, text: await response.text() };
}

async function read(
  server: ServerProcess,
  features: string[],
  ids: unknown[],
): Promise<{ results: { values: unknown[]; statuses: string[] }[] }> {
  const { status, text } = await feast(server, '/get-online-features', { features, entities: { driver_id: ids } });
  assert.equal(status, 200, text);
  return JSON.parse(text);
}

test('features are pushed, read by every gateway thread, materialised and kept over a restart', {
  timeout: 600_000,
}, async () => {
  let server = await start();
  assert.equal((await fetch(server.url('/health'))).status, 200);
  const df = {
    driver_id: [1, 2],
    event_timestamp: [new Date().toISOString(), Date.now()],
    conv_rate: [0.5, 0.25],
    trips: [7, null],
    active: [true, false],
    home: ['Köln', 'x'],
  };
  const push = await feast(server, '/push', { push_source_name: 'driver_stats', df, to: 'online_and_offline' });
  assert.deepEqual(push, { status: 200, text: '' });
  // Connections are spread over the threads.
  for (let i = 0; i < 16; i++) {
    await until('this thread has them', async () => {
      const { results } = await read(server, ['driver_stats:conv_rate', 'driver_stats:trips'], [1, 2, 3]);
      return (
        JSON.stringify(results[1].values) === '[0.5,0.25,null]' &&
        results[2].statuses.join() === 'PRESENT,NULL_VALUE,NOT_FOUND'
      );
    });
  }
  const unknown = await feast(server, '/push', { push_source_name: 'nothing', df });
  assert.equal(unknown.status, 422);
  assert.equal(JSON.parse(JSON.parse(unknown.text)).class, 'PushSourceNotFoundException');
  const missing = await feast(server, '/get-online-features', { features: ['riders:x'], entities: { driver_id: [1] } });
  assert.equal(missing.status, 404);
  assert.equal(JSON.parse(JSON.parse(missing.text)).class, 'FeatureViewNotFoundException');

  const admin = `http://127.0.0.1:${server.ports.admin}`;
  const driver = { name: 'driver', shape: [3, 1], datatype: 'INT64', data: [2, 9, 1] };
  const { status, body } = await infer(server, 'joined', [driver]);
  assert.deepEqual([status, body.outputs?.[0].data], [200, [2.5, 0, 5]], body.error);
  const nobody = await infer(server, 'joined', []);
  assert.equal(nobody.status, 400);
  assert.match(nobody.body.error ?? '', /input 'driver' is missing/);
  await until('the log has what the model was given', async () => {
    const { out } = await cli(['log', 'tail', '-o', 'json', '--admin', admin]);
    return out.includes('"name":"x"') && out.includes('"name":"driver"');
  });
  await until('joins are counted', async () => {
    const metrics = await (await fetch(`http://127.0.0.1:${server.ports.metrics}/metrics`)).text();
    return metrics.includes('switchyard_feature_joins_total{result="joined"} 1\n');
  });
  const view = document('FeatureView', 'scores', {
    entities: ['driver'],
    source: { file: 'rows.csv' },
    features: [
      { name: 'score', type: 'float64' },
      { name: 'label', type: 'string' },
    ],
  });
  const scores = join(scratch, 'scores.yaml');
  writeFileSync(scores, [DRIVER_DOCUMENTS[0], view].map((each) => JSON.stringify(each)).join('\n---\n'));
  const clash = await cli(['features', 'apply', scores, '--admin', admin]);
  assert.equal(clash.code, 1);
  assert.match(clash.err, /Entity driver is in a file/);
  const apply = await fetch(`${admin}/api/v1/features`, {
    method: 'POST',
    body: JSON.stringify({ documents: [view] }),
  });
  assert.equal(apply.status, 200, await apply.text());
  const rows = await cli([
    'features',
    'materialize',
    'scores',
    '--from',
    '2026-01-01',
    '--until',
    '2026-02-01',
    '--admin',
    admin,
  ]);
  assert.match(rows.out, /scores\s+2026-01-01T00:00:00\.000Z\s+2026-02-01T00:00:00\.000Z\s+3\s+2\s+1/, rows.err);
  assert.match(rows.err, /rows\.csv, row 4: driver_id must be an integer/);
  const shown = await cli([
    'features',
    'get',
    'scores:score',
    'scores:label',
    '-e',
    'driver_id=1,2,9',
    '--admin',
    admin,
  ]);
  assert.equal(
    shown.out,
    'DRIVER_ID  SCORE      LABEL\n1          0.75       NULL_VALUE\n2          1          "b"\n9          NOT_FOUND  NOT_FOUND',
  );
  assert.match((await cli(['features', 'list', '--admin', admin])).out, /scores\s+score, label\s+api/);

  const post = async (path: string, body: object) => {
    const response = await fetch(`${admin}/api/v1/features/${path}`, { method: 'POST', body: JSON.stringify(body) });
    return { status: response.status, body: JSON.parse(await response.text()) };
  };
  const frame = {
    features: ['scores:score', 'scores:label'],
    entities: {
      driver_id: [1, 1, 1, 2],
      event_timestamp: ['2025-12-31', '2026-01-01T12:00:00Z', '2026-01-02', '2026-01-02T23:59:59Z'],
    },
  };
  const known = await post('historical', { ...frame, dataset: 'score-history' });
  assert.deepEqual(known.body.columns?.score, [null, 0.5, 0.75, null], JSON.stringify(known.body));
  const large = { driver_id: ['9007199254740993'], event_timestamp: ['2026-01-02'] };
  const exact = await post('historical', { ...frame, entities: large });
  assert.deepEqual(exact.body.columns?.driver_id, ['9007199254740993'], JSON.stringify(exact.body));
  assert.deepEqual([known.body.dataset.name, known.body.dataset.version], ['score-history', 1]);
  const fit = await post('transforms', { ...frame, name: 'prep', steps: [{ feature: 'score', kind: 'minMax' }] });
  assert.deepEqual(
    fit.body.state,
    [{ feature: 'score', kind: 'minMax', min: 0.5, max: 0.75 }],
    JSON.stringify(fit.body),
  );
  const made = await post('historical', { ...frame, transform: 'prep@1' });
  assert.deepEqual(made.body.transformed.rows, [[0], [0], [1], [0]]);
  assert.equal(made.body.transformed.digest, fit.body.digest);
  assert.equal((await post('historical', { ...frame, transform: 'prep@2' })).status, 404);

  const windows = join(scratch, 'windows.yaml');
  const daily = (of: string, column?: string) => ({ of, column, window: '30d', slide: '1d' });
  const rides = document('FeatureView', 'rides', {
    entities: ['courier'],
    lateness: '7d',
    features: [
      { name: 'count', type: 'int64', aggregate: daily('count') },
      { name: 'paid', type: 'float64', aggregate: daily('sum', 'fare') },
    ],
  });
  const courier = document('Entity', 'courier', { joinKey: 'driver_id' });
  writeFileSync(windows, [courier, rides].map((each) => JSON.stringify(each)).join('\n---\n'));
  const applied = await cli(['features', 'apply', windows, '--admin', admin]);
  assert.equal(applied.out, 'applied Entity courier, FeatureView rides', applied.err);
  const DAY = 24 * 3600 * 1000;
  const events = {
    driver_id: [1, 1, 1],
    event_timestamp: [1, 2, 9].map((days) => Date.now() - days * DAY),
    fare: [0.1, 0.2, 5],
  };
  const pushed = await post('push', { source: 'rides', df: events, to: 'online_and_offline' });
  assert.deepEqual(pushed.body, { rows: 3, kept: 2 }, 'the third is late');
  const paid = async (): Promise<string> => {
    const { results } = await read(server, ['rides:count', 'rides:paid'], [1]);
    return JSON.stringify(results.slice(1).map(({ values, statuses }) => [values[0], statuses[0]]));
  };
  const wanted = '[[2,"PRESENT"],[0.30000000000000004,"PRESENT"]]';
  for (let i = 0; i < 8; i++) await until('this thread has the windows', async () => (await paid()) === wanted);
  const asked = {
    features: ['rides:count', 'rides:paid'],
    entities: { driver_id: [1, 2], event_timestamp: [Date.now(), Date.now()] },
  };
  const trained = await post('historical', asked);
  assert.deepEqual(
    [trained.body.columns.count, trained.body.columns.paid],
    [
      [2, null],
      [0.30000000000000004, null],
    ],
  );

  // Memory is empty after a restart; documents of the API and what was pushed for training are not.
  await server.stop();
  running.delete(server);
  server = await start();
  await until('documents of the database are back', async () => {
    const { status } = await feast(server, '/get-online-features', {
      features: ['scores:score'],
      entities: { driver_id: [1] },
    });
    return status === 200;
  });
  assert.deepEqual((await read(server, ['driver_stats:trips'], [1])).results[1].statuses, ['NOT_FOUND']);
  const again = await feast(server, '/materialize-incremental', { end_ts: new Date(Date.now() + 1000).toISOString() });
  assert.deepEqual(again, { status: 200, text: 'null' });
  await until('what was pushed for training is online again', async () => {
    const { results } = await read(server, ['driver_stats:home'], [1]);
    return results[1].values[0] === 'Köln';
  });
  await until('the windows are made anew', async () => (await paid()) === wanted);
});
