import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { after, test } from 'node:test';
import sharp from 'sharp';
import { importEnded, openDatasets } from '../../testing/datasets.ts';

const folder = mkdtempSync(join(tmpdir(), 'datasets-'));
/** The last request that brought rows. */
let received: Record<string, unknown> | undefined;
const web = createServer((request, response) => {
  if (request.method !== 'GET') {
    const { method, url, headers } = request;
    const type = headers['content-type'];
    void text(request).then((body) => {
      received = { method, url, type, length: headers['content-length'], lake: headers['x-lake'], body };
      response.writeHead(url === '/refused.csv' ? 403 : 201).end();
    });
    return;
  }
  if (request.url === '/data.csv') response.end('a,b\n1,x\n2,y\n');
  else if (request.url === '/moved.csv') response.writeHead(302, { location: 'http://169.254.169.254/latest' }).end();
  else response.writeHead(404).end();
});
await new Promise<void>((resolve) => web.listen(0, '127.0.0.1', resolve));
const host = `127.0.0.1:${(web.address() as AddressInfo).port}`;
const { server, services } = await openDatasets({
  folders: [folder],
  http: { schemes: ['http'], hosts: [], privateHosts: [host] },
});
after(async () => {
  await server.close();
  web.close();
  rmSync(folder, { recursive: true, force: true });
});

const CSV = 'id,amount,country\n1,10.5,DE\n2,,FR\n3,7,DE\n';

async function upload(name: string, body: string | Uint8Array, query: Record<string, string> = {}) {
  const search = new URLSearchParams({ format: 'csv', ...query });
  const response = await fetch(`${server.url}/api/v1/datasets/${name}/versions?${search}`, {
    method: 'POST',
    body: Buffer.from(body),
  });
  // biome-ignore lint/suspicious/noExplicitAny: answers of many shapes
  return { status: response.status, json: (await response.json()) as any };
}

async function get(path: string): Promise<{ status: number; bytes: Buffer; type: string }> {
  const response = await fetch(server.url + path);
  const bytes = Buffer.from(await response.arrayBuffer());
  return { status: response.status, bytes, type: response.headers.get('content-type') ?? '' };
}

test('a dataset is versioned by content, profiled, and comes back in every format', async () => {
  const events: string[] = [];
  const unsubscribe = server.registry.events.subscribe(({ type, data }) => {
    if (type.startsWith('dataset.')) events.push(`${type} ${data.name} ${data.version}`);
  });
  const first = await upload('payments', CSV, { tags: '{"team":"fraud"}', description: 'Card payments' });
  assert.equal(first.status, 200, JSON.stringify(first.json));
  assert.equal(first.json.version, 1);
  assert.equal(first.json.rows, 3);
  assert.deepEqual(first.json.schema.fields, [
    { name: 'id', type: 'integer' },
    { name: 'amount', type: 'number' },
    { name: 'country', type: 'string' },
  ]);
  const again = await upload('payments', CSV);
  assert.equal(again.json.version, 1);
  assert.deepEqual(again.json.tags, { team: 'fraud' });
  const second = await upload('payments', `${CSV}4,8,IT\n`);
  assert.equal(second.json.version, 2);
  assert.equal(second.json.description, 'Card payments');
  assert.notEqual(second.json.digest, first.json.digest);
  unsubscribe();
  assert.deepEqual(events, ['dataset.created payments 1', 'dataset.created payments 2']);

  const profile = await server.ok('GET', '/api/v1/datasets/payments/versions/1/profile');
  assert.equal(profile.rows, 3);
  const [id, amount, country] = profile.columns;
  assert.equal(id.distinct, 3);
  assert.deepEqual(
    [amount.count, amount.nulls, amount.numeric.min, amount.numeric.max, amount.numeric.mean],
    [2, 1, 7, 10.5, 8.75],
  );
  assert.equal(amount.numeric.quantiles['0.5'], 8.75);
  assert.deepEqual(country.top, [
    { value: 'DE', count: 2 },
    { value: 'FR', count: 1 },
  ]);

  const csv = await get('/api/v1/datasets/payments/versions/1/data?format=csv');
  assert.equal(csv.bytes.toString(), CSV);
  assert.equal(csv.type, 'text/csv; charset=utf-8');
  for (const format of ['jsonl', 'parquet', 'arrow']) {
    const { status, bytes } = await get(`/api/v1/datasets/payments/versions/1/data?format=${format}`);
    assert.equal(status, 200);
    const copy = await upload(`copy-${format}`, bytes, { format });
    assert.equal(copy.json.digest, first.json.digest, `${format}: ${JSON.stringify(copy.json)}`);
  }
});

test('datasets are found by filter, page after page', async () => {
  for (const i of [1, 2, 3]) await upload(`search-${i}`, `n\n${'1\n'.repeat(i)}`, { tags: `{"size":"s${i}"}` });
  const names = async (query: Record<string, unknown>) =>
    (await server.ok('GET', '/api/v1/datasets', query)).datasets.map((d: { name: string }) => d.name);
  assert.deepEqual(await names({ filter: "name LIKE 'search-%' AND rows >= 2", order_by: 'rows DESC' }), [
    'search-3',
    'search-2',
  ]);
  assert.deepEqual(await names({ filter: "tags.size = 's1'" }), ['search-1']);
  const seen: string[] = [];
  let token = '';
  do {
    const page = await server.ok('GET', '/api/v1/datasets', {
      filter: "name LIKE 'search-%'",
      max_results: 2,
      page_token: token,
    });
    seen.push(...page.datasets.map((d: { name: string }) => d.name));
    token = page.next_page_token ?? '';
  } while (token !== '');
  assert.deepEqual(seen.sort(), ['search-1', 'search-2', 'search-3']);
  const { json } = await server.call('GET', '/api/v1/datasets', { filter: 'nothing = 1' });
  assert.match(json.error, /unknown attribute "nothing"/);
});

test('tags of one version are set and removed, and one that is not there is not found', async () => {
  await upload('marked', 'n\n1\n', { tags: '{"team":"fraud"}' });
  await upload('marked', 'n\n2\n', { tags: '{"team":"geo"}' });
  const tags = '/api/v1/datasets/marked/versions/1/tags';
  await server.ok('POST', tags, { key: 'a/b c', value: '1' });
  assert.deepEqual((await server.ok('DELETE', `${tags}/a%2Fb%20c`)).tags, { team: 'fraud' });
  assert.deepEqual((await server.ok('DELETE', `${tags}/team`)).tags, {});
  const again = await server.call('DELETE', `${tags}/team`);
  assert.deepEqual([again.status, again.json.code], [404, 'not_found']);
  assert.equal(again.json.error, 'version 1 of dataset marked has no tag "team"');
  assert.equal((await server.call('DELETE', '/api/v1/datasets/marked/versions/9/tags/team')).status, 404);
  assert.deepEqual((await server.ok('GET', '/api/v1/datasets/marked/versions/2')).tags, { team: 'geo' });
});

test('what may not be is refused with the reason, and leaves nothing behind', async () => {
  assert.match((await upload('bad name', CSV)).json.error, /dataset name "bad name" is not allowed/);
  assert.match(
    (await upload('bad', 'a\n1\nx\n', { types: '{"a":"integer"}' })).json.error,
    /line 3: column "a": "x" is no integer/,
  );
  assert.match((await upload('bad', 'x', { format: 'parquet' })).json.error, /not readable as Parquet/);
  assert.match((await upload('bad', CSV, { types: '{"a":"word"}' })).json.error, /types: a/);
  assert.match((await upload('bad', CSV, { kind: 'sound' })).json.error, /kind "sound" is not allowed/);
  assert.equal((await server.call('GET', '/api/v1/datasets/bad')).json.code, 'not_found');
});

test('rows that do not fit are kept with line and reason', async () => {
  const { json } = await upload('messy', 'a,b\n1,x\noops,y\n3\n4,z\n', { types: '{"a":"integer"}', max_rejects: '5' });
  assert.equal(json.rows, 2, JSON.stringify(json));
  assert.equal(json.rejects, 2);
  const { bytes } = await get('/api/v1/datasets/messy/versions/1/rejects');
  const rejects = bytes
    .toString()
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line));
  assert.deepEqual(
    rejects.map(({ line }) => line),
    [3, 4],
  );
  assert.match(rejects[0].reason, /"oops" is no integer/);
});

test('garbage collection leaves datasets alone until they are deleted', async () => {
  const { json } = await upload('kept', 'k\n1\n');
  const collect = () => server.registry.storage.collector.collect({ graceMs: -1000, deletedMs: -1000, dryRun: false });
  await collect();
  assert.equal((await get('/api/v1/datasets/kept/versions/1/data')).status, 200);
  await server.ok('DELETE', '/api/v1/datasets/kept/versions/1');
  await collect();
  assert.equal(await server.registry.storage.vault.store.stat(json.digest), undefined);
  assert.equal((await upload('kept', 'k\n1\n')).json.version, 2);
});

test('only readers read, and only the owner shares', async () => {
  const { datasets } = services;
  await upload('secret', CSV, { readers: '["anna","jobs"]' });
  const mayRead = async (actor: string) =>
    datasets.get('secret', 1, { actor }).then(
      () => true,
      () => false,
    );
  assert.deepEqual(
    [await mayRead('tester'), await mayRead('anna'), await mayRead('job 1'), await mayRead('bob')],
    [true, true, true, false],
  );
  const seenBy = async (reader: string) =>
    (await datasets.search({ filter: "name = 'secret'", allVersions: false, reader })).datasets.length;
  assert.deepEqual(
    [await seenBy('anna'), await seenBy('ann'), await seenBy('job 7'), await seenBy('bob')],
    [1, 0, 1, 0],
  );
  await assert.rejects(datasets.share('secret', ['*'], { actor: 'anna' }), { code: 'permission_denied' });
  await server.ok('POST', '/api/v1/datasets/secret/share', { readers: ['bob'] });
  assert.deepEqual([await mayRead('bob'), await mayRead('anna')], [true, false]);
});

test('lineage finds the runs that noted a dataset by its digest', async () => {
  const { json } = await upload('lineage', CSV);
  const { run } = await server.ok('POST', 'runs/create', { experiment_id: '0', run_name: 'train' });
  await server.ok('POST', 'runs/log-inputs', {
    run_id: run.info.run_id,
    datasets: [{ dataset: { name: 'lineage', digest: json.mlflow_digest, source_type: 'switchyard', source: 'x' } }],
  });
  await upload('derived', 'x\n1\n', { parents: '[{"name":"lineage","version":1}]', run_id: run.info.run_id });
  const lineage = await server.ok('GET', '/api/v1/datasets/lineage/versions/latest/lineage');
  assert.deepEqual(
    lineage.runs.map((r: { run_name: string }) => r.run_name),
    ['train'],
  );
  assert.deepEqual(lineage.children, [{ name: 'derived', version: 1 }]);
  const derived = await server.ok('GET', '/api/v1/datasets/derived/versions/1/lineage');
  assert.equal(derived.made_by_run, run.info.run_id);
});

test('imports read files and URLs within what is allowed, and tell how far they are', async () => {
  writeFileSync(join(folder, 'in.jsonl'), '{"a":1}\n{"a":2}\n');
  symlinkSync('/etc/hostname', join(folder, 'link.csv'));
  const run = async (source: object, more: object = {}) => {
    const { id } = await server.ok('POST', '/api/v1/dataset-imports', { name: 'imported', source, ...more });
    return importEnded(server, id);
  };
  const file = await run({ kind: 'file', path: 'in.jsonl' });
  assert.deepEqual([file.status, file.rows, file.bytes, file.total_bytes, file.version], ['succeeded', 2, 16, 16, 1]);
  const url = await run({ kind: 'http', url: `http://${host}/data.csv` });
  assert.deepEqual([url.status, url.rows, url.version], ['succeeded', 2, 2], JSON.stringify(url));
  for (const [source, reason] of [
    [{ kind: 'file', path: '/etc/hostname', format: 'csv' }, /in no folder that imports and exports may use/],
    [{ kind: 'file', path: '../x.csv' }, /in no folder that imports/],
    [{ kind: 'file', path: 'link.csv' }, /in no folder that imports/],
    [{ kind: 'file', path: 'missing.csv' }, /there is no such file/],
    [
      { kind: 'http', url: `http://${host}/moved.csv` },
      /169\.254\.169\.254, which is no address of the public internet.*datasets\.http\.privateHosts/,
    ],
    [{ kind: 'http', url: `http://${host}/none.csv` }, /answered 404/],
    [{ kind: 'http', url: 'https://example.com/x.csv' }, /has the scheme "https".*datasets\.http\.schemes/],
    [{ kind: 'postgres', connection: 'none', query: 'SELECT 1' }, /there is no connection "none"/],
    [{ kind: 'kafka', topic: 't' }, /no Kafka is configured/],
  ] as const) {
    const failed = await run(source);
    assert.equal(failed.status, 'failed', JSON.stringify(source));
    assert.match(String(failed.error), reason);
  }
  const list = await server.ok('GET', '/api/v1/dataset-imports');
  assert.equal(list.imports.length, 11);
});

test('images are read by reference, and broken or huge ones are rejected', async () => {
  const images = join(folder, 'images');
  mkdirSync(join(images, 'cats'), { recursive: true });
  const picture = (width: number, height: number) =>
    sharp({ create: { width, height, channels: 3, background: '#336699' } })
      .png()
      .toBuffer();
  const good = await picture(40, 30);
  writeFileSync(join(images, 'cats', 'a.png'), good);
  writeFileSync(join(images, 'cats', 'cut.png'), good.subarray(0, good.length - 30));
  writeFileSync(join(images, 'cats', 'huge.png'), await picture(8000, 7000));
  const { id } = await server.ok('POST', '/api/v1/dataset-imports', {
    name: 'pictures',
    source: { kind: 'images', folder: 'images' },
    max_rejects: 10,
  });
  const done = await importEnded(server, id);
  assert.equal(done.status, 'succeeded', JSON.stringify(done));
  const found = await server.ok('GET', '/api/v1/datasets/pictures');
  assert.deepEqual([found.kind, found.rows, found.rejects], ['images', 1, 2]);
  const { bytes } = await get('/api/v1/datasets/pictures/versions/1/data?format=jsonl');
  const row = JSON.parse(bytes.toString());
  assert.deepEqual([row.path, row.label, row.format, row.width, row.height], ['cats/a.png', 'cats', 'png', 40, 30]);
});

test('rows become inputs of a model', async () => {
  await upload('words', 'a,b,text\n1,2.5,the cat\n3,,dog\n');
  const inputs = [
    { name: 'x', columns: ['a', 'b'] },
    { name: 't', bytes: 'text' },
    { name: 'h', hash: 'text', buckets: 4 },
  ];
  const found = await server.ok('POST', '/api/v1/datasets/words/versions/1/tensors', { inputs, from: 0, rows: 1 });
  assert.deepEqual(found.inputs.slice(0, 2), [
    { name: 'x', datatype: 'FP32', shape: [1, 2], data: [1, 2.5] },
    { name: 't', datatype: 'BYTES', shape: [1, 1], data: ['the cat'] },
  ]);
  assert.deepEqual(found.inputs[2].shape, [1, 4]);
  const image = [{ name: 'i', image: 'path', width: 2, height: 2, layout: 'NHWC', datatype: 'UINT8' }];
  const pictures = await server.ok('POST', '/api/v1/datasets/pictures/versions/latest/tensors', { inputs: image });
  assert.deepEqual(pictures.inputs[0].shape, [1, 2, 2, 3]);
  assert.deepEqual(pictures.inputs[0].data.slice(0, 3), [0x33, 0x66, 0x99]);
  // Another picture in its place, and one that is gone: neither is taken for the one that was recorded.
  const path = join(folder, 'images', 'cats', 'a.png');
  const recorded = readFileSync(path);
  const sha256 = (bytes: Buffer) => createHash('sha256').update(bytes).digest('hex');
  const other = Buffer.concat([recorded, Buffer.from('more')]);
  const tensors = (max_rejects: number) =>
    server.call('POST', '/api/v1/datasets/pictures/versions/latest/tensors', { inputs: image, max_rejects });
  writeFileSync(path, other);
  const reason = `cats/a.png has SHA-256 ${sha256(other)}, ${sha256(recorded)} was recorded`;
  const changed = await tensors(0);
  assert.equal(changed.status, 400);
  assert.ok(changed.json.error.includes(`row 1: ${reason};`), changed.json.error);
  const { rows, rejects } = (await tensors(1)).json;
  assert.deepEqual([rows, rejects], [0, [{ line: 1, reason, data: '{"path":"cats/a.png"}' }]]);
  rmSync(path);
  assert.match((await tensors(1)).json.rejects[0].reason, /cats\/a\.png": there is no such file/);
  writeFileSync(path, recorded);
  assert.equal((await tensors(0)).json.rows, 1);
  const wrong = await server.call('POST', '/api/v1/datasets/words/versions/1/tensors', {
    inputs: [{ name: 'x', columns: ['text'] }],
  });
  assert.match(wrong.json.error, /column "text" is of type string/);
});

test('exports write a file of any format into an allowed folder', async () => {
  await upload('out', CSV);
  const target = { kind: 'file', path: join(folder, 'out.parquet') };
  assert.equal((await server.ok('POST', '/api/v1/datasets/out/versions/1/export', { target })).rows, 3);
  const { id } = await server.ok('POST', '/api/v1/dataset-imports', { name: 'back', source: target });
  assert.equal((await importEnded(server, id)).rows, 3);
  const put = { kind: 'http', url: `http://${host}/sent.csv?signature=s`, headers: { 'x-lake': 'one' } };
  await server.ok('POST', '/api/v1/datasets/out/versions/1/export', { target: put });
  assert.deepEqual(received, {
    method: 'PUT',
    url: '/sent.csv?signature=s',
    type: 'text/csv; charset=utf-8',
    length: String(CSV.length),
    lake: 'one',
    body: CSV,
  });
  for (const [http, code, reason] of [
    [
      { url: `http://${host}/refused.csv`, method: 'POST' },
      'failed_precondition',
      /refused\.csv answered 403 to the POST/,
    ],
    [{ url: 'http://127.0.0.1:1/x.csv' }, 'permission_denied', /datasets\.http\.privateHosts/],
    [{ url: `http://${host}/x.bin` }, 'invalid_argument', /format/],
    [{ url: 'nowhere' }, 'invalid_argument', /nowhere/],
  ] as const) {
    const { json } = await server.call('POST', '/api/v1/datasets/out/versions/1/export', {
      target: { kind: 'http', ...http },
    });
    assert.equal(json.code, code, JSON.stringify(json));
    assert.match(json.error, reason);
  }
  const outside = { kind: 'file', path: '/tmp/out.csv' };
  const refused = await server.call('POST', '/api/v1/datasets/out/versions/1/export', { target: outside });
  assert.equal(refused.json.code, 'permission_denied');
});
