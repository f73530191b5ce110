import assert from 'node:assert/strict';
import { createHash, createHmac } from 'node:crypto';
import { once } from 'node:events';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { asyncBufferFromFile, parquetReadObjects } from 'hyparquet';
import { logFigures, total, unaccounted } from '../testing/log-figures.ts';
import { scriptRepository, times, until, x } from '../testing/script-models.ts';
import { infer, ServerProcess } from '../testing/server-process.ts';

const scratch = mkdtempSync(join(tmpdir(), 'switchyard-log-'));
const running = new Set<ServerProcess>();
after(async () => {
  await Promise.all([...running].map((server) => server.stop()));
  rmSync(scratch, { recursive: true, force: true });
});

let configs = 0;
async function start(settings: object, dataDir?: string): Promise<ServerProcess> {
  const root = scriptRepository(scratch, {
    scale: { versions: { 1: times(10) } },
    broken: { versions: { 1: "throw new Error('no');\n" } },
  });
  // Wide enough for a large payload.
  const wide = readFileSync(join(root, 'scale/config.pbtxt'), 'utf8').replace(
    'max_batch_size: 8',
    'max_batch_size: 1000',
  );
  writeFileSync(join(root, 'scale/config.pbtxt'), wide);
  const file = join(scratch, `config-${configs++}.yaml`);
  writeFileSync(file, JSON.stringify(settings));
  const server = await ServerProcess.start(['--config', file, '--model-repository', root], { dataDir });
  running.add(server);
  return server;
}

interface Line {
  id: string;
  status: string;
  model: string;
  requestedModel: string;
  requestId: string;
  entity: string;
  features: { name: string; data: (number | string)[] | null }[];
  predictions: { data: number[] }[];
  rewards?: Record<string, number>;
  label?: string;
  payloadRef?: string;
  payloadSha256?: string;
}

function lines(dir: string, kind: string): Line[] {
  if (!existsSync(dir)) return [];
  return readdirSync(dir)
    .filter((name) => name.startsWith(`${kind}-`))
    .sort()
    .flatMap((name) => readFileSync(join(dir, name), 'utf8').trim().split('\n'))
    .filter((line) => line !== '')
    .map((line) => JSON.parse(line) as Line);
}

test('without further settings every request becomes a JSON line, the bad ones too, and figures add up', async () => {
  const server = await start({ eventLog: { enabled: true } });
  const dir = join(server.dataDir, 'eventlog/files/files');
  const answer = await fetch(server.url('/v2/models/scale/infer'), {
    method: 'POST',
    body: JSON.stringify({ id: 'mine', inputs: x(4) }),
  });
  assert.equal(answer.status, 200);
  const id = answer.headers.get('x-switchyard-id');
  assert.ok(id);
  assert.equal((await infer(server, 'nowhere', x(1))).status, 404);
  assert.equal((await fetch(server.url('/v2/models/scale/infer'), { method: 'POST', body: '{"inputs":' })).status, 400);
  const feedback = await fetch(server.url('/switchyard/v1/feedback'), {
    method: 'POST',
    body: JSON.stringify({ events: [{ id, reward: 0.5, label: { class: 'b' }, model: 'scale' }, { id: '' }] }),
  });
  const told = (await feedback.json()) as {
    accepted: number;
    recorded: number;
    rejected: number;
    results: { result: string }[];
  };
  assert.deepEqual([told.accepted, told.recorded, told.rejected], [0, 1, 1]);
  assert.deepEqual(
    told.results.map(({ result }) => result),
    ['recorded', 'malformed'],
  );
  await until(
    'all lines are there',
    async () => lines(dir, 'inference').length === 3 && lines(dir, 'feedback').length === 1,
  );
  const byStatus = new Map(lines(dir, 'inference').map((line) => [line.status, line]));
  assert.deepEqual([...byStatus.keys()].sort(), ['invalid_argument', 'not_found', 'ok']);
  const ok = byStatus.get('ok');
  assert.equal(ok?.id, id);
  assert.equal(ok?.requestId, 'mine');
  assert.deepEqual(ok?.features[0].data, [4]);
  assert.deepEqual(ok?.predictions[0].data, [40]);
  assert.equal(byStatus.get('not_found')?.model, '');
  assert.equal(byStatus.get('not_found')?.requestedModel, 'nowhere');
  const [label] = lines(dir, 'feedback');
  assert.equal(label.id, id);
  assert.deepEqual(label.rewards, { reward: 0.5 });
  assert.deepEqual(JSON.parse(label.label ?? ''), { class: 'b' });
  let figures = new Map<string, number>();
  // Each thread tells its own figures, in its own time.
  await until('the figures are in', async () => {
    figures = await logFigures(server);
    return total(figures, 'sink_sent_total') === 4 && figures.get('requests_total') === 3;
  });
  assert.deepEqual(unaccounted(figures), { handover: 0, '{sink="files",kind="files"}': 0 });
  // Once more after a restart: what was sent is not sent again.
  const { dataDir } = server;
  running.delete(server);
  server.child.kill('SIGTERM');
  await server.exited();
  const again = await start({ eventLog: { enabled: true } }, dataDir);
  await infer(again, 'scale', x(1));
  await until('the line of the second run', async () => lines(dir, 'inference').length === 4);
  running.delete(again);
  await again.stop();
  rmSync(dataDir, { recursive: true, force: true });
});

test('rules by model, large payloads, Parquet and SageMaker’s lines', async () => {
  const server = await start({
    eventLog: {
      enabled: true,
      models: {
        scale: {
          entity: { requestId: true },
          payloadLimitBytes: 1024,
          redact: [{ field: 'outputs.*', action: 'drop' }],
        },
      },
      sinks: [
        { name: 'rows', kind: 'files', format: 'parquet', rotateAfter: '1s' },
        { name: 'capture', kind: 'files', format: 'sagemaker' },
        { name: 'lines', kind: 'files' },
      ],
    },
  });
  const dir = (sink: string): string => join(server.dataDir, 'eventlog/files', sink);
  const post = (id: string, count: number) =>
    fetch(server.url('/v2/models/scale/infer'), {
      method: 'POST',
      body: JSON.stringify({
        id,
        inputs: [{ name: 'x', datatype: 'FP32', shape: [count, 1], data: new Array(count).fill(2) }],
      }),
    });
  assert.equal((await post('small', 1)).status, 200);
  assert.equal((await post('large', 1000)).status, 200);
  let rows: Record<string, unknown>[] = [];
  // They need not come within the second after which a file is whole.
  await until('both are in Parquet files that are whole', async () => {
    const ended = readdirSync(dir('rows')).filter((name) => name.endsWith('.parquet'));
    const files = ended.sort().map(async (name) => {
      const file = await asyncBufferFromFile(join(dir('rows'), name));
      return parquetReadObjects({ file });
    });
    // Small ones first.
    rows = (await Promise.all(files)).flat().sort((one, other) => (String(one.entity) < String(other.entity) ? 1 : -1));
    return rows.length >= 2;
  });
  assert.deepEqual(
    rows.map((row) => row.entity),
    ['small', 'large'],
  );
  assert.deepEqual(JSON.parse(String(rows[0].features)), [{ name: 'x', datatype: 'FP32', shape: [1, 1], data: [2] }]);
  assert.deepEqual(JSON.parse(String(rows[0].predictions)), []);
  assert.ok(rows[0].time instanceof Date);
  await until('both lines are there', () => lines(dir('lines'), 'inference').length === 2);
  const large = lines(dir('lines'), 'inference').find(({ requestId }) => requestId === 'large') as Line;
  assert.equal(large.features[0].data, null);
  const payload = readFileSync(
    join(
      server.dataDir,
      'eventlog/payloads/sha256',
      String(large.payloadSha256).slice(0, 2),
      String(large.payloadSha256),
    ),
  );
  assert.equal(createHash('sha256').update(payload).digest('hex'), large.payloadSha256);
  const captured = () =>
    readdirSync(dir('capture')).flatMap((name) =>
      readFileSync(join(dir('capture'), name), 'utf8')
        .trim()
        .split('\n'),
    );
  await until('both are captured', () => captured().length === 2);
  assert.deepEqual(
    captured()
      .map((line) => JSON.parse(line).eventMetadata.inferenceId)
      .sort(),
    ['large', 'small'],
  );
  running.delete(server);
  await server.stop();
});

test('nothing that a redaction takes out reaches the disk, and payloads by reference are read again', async () => {
  const secret = 'S3cret-4711-which-nobody-may-see';
  const root = scriptRepository(scratch, {
    secrets: {
      versions: { 1: times(10) },
      config:
        'input [{name: "name" data_type: TYPE_STRING dims: [1]}, {name: "plain" data_type: TYPE_STRING dims: [1]}]\n',
    },
  });
  const file = join(scratch, `config-${configs++}.yaml`);
  const rule = {
    payloadLimitBytes: 1024,
    redact: [
      { field: 'inputs.name', action: 'hash' },
      { field: 'requestId', action: 'mask' },
    ],
  };
  // A rule for the model that would show more.
  const models = { secrets: { redact: [{ field: 'inputs.name', action: 'truncate', length: 1000 }] } };
  const settings = { eventLog: { enabled: true, rule, models, sinks: [] as object[] } };
  for (const format of ['jsonl', 'parquet', 'sagemaker'])
    settings.eventLog.sinks.push({ name: format, kind: 'files', format, rotateAfter: '1s' });
  writeFileSync(file, JSON.stringify(settings));
  const dataDir = mkdtempSync(join(scratch, 'secrets-'));
  const server = await ServerProcess.start(['--config', file, '--model-repository', root], { dataDir });
  running.add(server);
  const text = (name: string, value: string) => ({ name, datatype: 'BYTES', shape: [1, 1], data: [value] });
  const post = async (plain: string) => {
    const body = JSON.stringify({ id: secret, inputs: [...x(1), text('name', secret), text('plain', plain)] });
    const answer = await fetch(server.url('/v2/models/secrets/infer'), { method: 'POST', body });
    assert.equal(answer.status, 200, await answer.text());
  };
  await post('shown');
  await post('large '.repeat(1000));
  const dir = join(dataDir, 'eventlog/files');
  await until('both are written', () => lines(join(dir, 'jsonl'), 'inference').length === 2);
  const parquet = () => readdirSync(join(dir, 'parquet')).some((name) => name.endsWith('.parquet'));
  await until('the Parquet file is whole', parquet);
  const [, large] = lines(join(dir, 'jsonl'), 'inference');
  const payloads = `http://127.0.0.1:${server.ports.admin}/api/v1/log/payloads`;
  const payload = await fetch(`${payloads}/${large.payloadRef}`);
  assert.equal(payload.status, 200);
  const whole = (await payload.json()) as Line;
  assert.equal(whole.id, large.id);
  assert.deepEqual(whole.features.find(({ name }) => name === 'plain')?.data, ['large '.repeat(1000)]);
  assert.equal((await fetch(`${payloads}/${'0'.repeat(64)}`)).status, 404);
  assert.equal((await fetch(`${payloads}/..%2f..%2fsalt`)).status, 400);
  const told = await fetch(`http://127.0.0.1:${server.ports.admin}/api/v1/feedback`, {
    method: 'POST',
    body: JSON.stringify({ id: large.id, label: 'by the admin port' }),
  });
  assert.equal(((await told.json()) as { results: { result: string }[] }).results[0].result, 'recorded');
  await until('it is logged', () => lines(join(dir, 'jsonl'), 'feedback').length === 1);
  // Its temporary files are gone then.
  running.delete(server);
  await server.stop();
  const found = readdirSync(dataDir, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name));
  const holds = (word: string) => found.filter((path) => readFileSync(path).includes(word));
  assert.deepEqual(holds(secret), [], 'files with the secret');
  assert.ok(holds('shown').length >= 2, 'the spool and the lines have what is not redacted');
});

test('webhooks get signed batches, and again what they did not take', async () => {
  const got: { id: string; records: Line[] }[] = [];
  let refusals = 2;
  const receiver = createServer((request, response) => {
    let body = '';
    request.on('data', (chunk) => (body += chunk));
    request.on('end', () => {
      const id = String(request.headers['x-mlflow-delivery-id']);
      const stamp = String(request.headers['x-mlflow-timestamp']);
      const signature = `v1,${createHmac('sha256', 's3cret').update(`${id}.${stamp}.${body}`).digest('base64')}`;
      if (request.headers['x-mlflow-signature'] !== signature) response.statusCode = 400;
      else if (refusals-- > 0) response.statusCode = 503;
      else got.push({ id, records: (JSON.parse(body) as { records: Line[] }).records });
      response.end();
    });
  });
  receiver.listen(0, '127.0.0.1');
  await once(receiver, 'listening');
  const { port } = receiver.address() as AddressInfo;
  const server = await start({
    registry: { webhooks: { schemes: ['http'], privateHosts: [`127.0.0.1:${port}`] } },
    eventLog: {
      enabled: true,
      sinks: [{ name: 'hook', kind: 'webhook', url: `http://127.0.0.1:${port}/in`, secret: 's3cret', every: '100ms' }],
    },
  });
  for (let i = 0; i < 5; i++) await infer(server, 'scale', x(i));
  await until('all five arrived', async () => got.flatMap(({ records }) => records).length === 5);
  assert.deepEqual(
    // Gateway threads hand theirs over each in its own time.
    got.flatMap(({ records }) => records.map(({ features }) => Number(features[0].data?.[0]))).sort(),
    [0, 1, 2, 3, 4],
  );
  await until('the figures are in', async () => total(await logFigures(server), 'sink_sent_total') === 5);
  const figures = await logFigures(server);
  assert.equal(total(figures, 'sink_errors_total'), 2);
  assert.equal(unaccounted(figures)['{sink="hook",kind="webhook"}'], 0);
  running.delete(server);
  await server.stop();
  receiver.close();
});

test('a spool that cannot be made ends the start with the reason', async () => {
  const blocked = join(scratch, 'a-file');
  writeFileSync(blocked, '');
  const file = join(scratch, `config-${configs++}.yaml`);
  writeFileSync(file, JSON.stringify({ eventLog: { enabled: true, dir: blocked } }));
  const server = ServerProcess.launch(['--config', file]);
  assert.notEqual(await server.exited(), 0);
  assert.match(server.stderr, /the event log cannot start/);
  rmSync(server.dataDir, { recursive: true, force: true });
});
