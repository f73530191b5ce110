import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { GetObjectCommand } from '@aws-sdk/client-s3';
import { s3Client } from '../shared/s3-client.ts';
import { freshBucket } from '../testing/artifact-storage.ts';
import { logFigures } from '../testing/log-figures.ts';
import { steadyPorts } from '../testing/ports.ts';
import { scriptRepository, times, until } from '../testing/script-models.ts';
import { infer, ServerProcess } from '../testing/server-process.ts';
import { SlowProxy } from '../testing/slow-proxy.ts';

const scratch = mkdtempSync(join(tmpdir(), 'payload-bucket-'));
const running = new Set<ServerProcess>();
let proxy: SlowProxy | undefined;
after(async () => {
  await Promise.all([...running].map((server) => server.stop()));
  await proxy?.close();
  rmSync(scratch, { recursive: true, force: true });
});

interface Line {
  id: string;
  payloadRef: string;
  features: { data: number[] | null }[];
}

test('payloads wait on the disk while their bucket is away, over kill -9 too, and are read back from it', {
  timeout: 240_000,
}, async () => {
  const { endpoint = '', ...access } = await freshBucket();
  const [port] = await steadyPorts(1);
  const open = () => SlowProxy.listen(port, Number(new URL(endpoint).port));
  const root = scriptRepository(scratch, { scale: { versions: { 1: times(10) } } });
  const config = join(root, 'scale/config.pbtxt');
  writeFileSync(config, readFileSync(config, 'utf8').replace('max_batch_size: 8', 'max_batch_size: 1000'));
  const s3 = { ...access, prefix: 'log/', endpoint: `http://127.0.0.1:${port}` };
  const settings = { eventLog: { enabled: true, rule: { payloadLimitBytes: 1024 }, payloads: { s3 } } };
  const file = join(scratch, 'config.yaml');
  writeFileSync(file, JSON.stringify(settings));
  const dataDir = mkdtempSync(join(scratch, 'data-'));
  const start = async () => {
    const server = await ServerProcess.start(['--config', file, '--model-repository', root], { dataDir });
    running.add(server);
    return server;
  };
  const rows = (first: number) => {
    const data = Array.from({ length: 500 }, (_, i) => first + i);
    return [{ name: 'x', datatype: 'FP32', shape: [500, 1], data }];
  };
  const lines = () => {
    const dir = join(dataDir, 'eventlog/files/files');
    if (!existsSync(dir)) return [];
    const files = readdirSync(dir).filter((name) => name.startsWith('inference-'));
    const texts = files.sort().flatMap((name) => readFileSync(join(dir, name), 'utf8').split('\n'));
    return texts.filter((text) => text !== '').map((text) => JSON.parse(text) as Line);
  };
  const onDisk = ({ payloadRef }: Line) => {
    const hex = payloadRef.slice('sha256:'.length);
    return existsSync(join(dataDir, 'eventlog/payloads/sha256', hex.slice(0, 2), hex));
  };
  const figure = async (server: ServerProcess, name: string) => (await logFigures(server)).get(name) ?? 0;
  const admin = async (server: ServerProcess, path: string, body?: object) => {
    const given = body === undefined ? {} : { method: 'POST', body: JSON.stringify(body) };
    const response = await fetch(`http://127.0.0.1:${server.ports.admin}/api/v1/${path}`, given);
    return { status: response.status, json: (await response.json()) as Record<string, unknown> };
  };

  const first = await start();
  assert.equal((await infer(first, 'scale', rows(0))).status, 200);
  await until('its record went on without the bucket', () => lines().length === 1);
  await until('it was tried', async () => (await figure(first, 'payload_send_errors_total')) > 0);
  const [away] = lines();
  assert.equal(away.features[0].data, null);
  assert.ok(onDisk(away), 'it waits on the disk');
  assert.equal((await admin(first, `log/payloads/${away.payloadRef}`)).status, 200);
  const { payloads } = (await admin(first, 'log')).json as { payloads: { lastError: string } };
  assert.match(payloads.lastError, /^s3:\/\/.* cannot be written: /);
  running.delete(first);
  first.child.kill('SIGKILL');
  await first.exited();

  proxy = await open();
  const second = await start();
  await until(
    'it arrived after the restart',
    async () => (await figure(second, 'payloads_total{result="sent"}')) === 1,
  );
  assert.ok(!onDisk(away), 'the disk is for what waits');
  assert.equal((await infer(second, 'scale', rows(1000))).status, 200);
  await until('the next one arrives, too', async () => (await figure(second, 'payloads_total{result="sent"}')) === 2);
  for (const { id, payloadRef } of lines()) {
    const hex = payloadRef.slice('sha256:'.length);
    const client = s3Client({ ...access, endpoint });
    const Key = `log/payloads/sha256/${hex.slice(0, 2)}/${hex}`;
    const { Body } = await client.send(new GetObjectCommand({ Bucket: access.bucket, Key }));
    assert.equal(
      createHash('sha256')
        .update(await Body!.transformToByteArray())
        .digest('hex'),
      hex,
    );
    client.destroy();
    const { status, json } = await admin(second, `log/payloads/${payloadRef}`);
    assert.deepEqual([status, json.id], [200, id]);
  }
  const unknown = await admin(second, `log/payloads/${'0'.repeat(64)}`);
  assert.equal(unknown.status, 404, JSON.stringify(unknown.json));

  // Training sets have the values.
  const imported = async (name: string) => {
    const source = { kind: 'log', model: 'scale', labelled: false };
    const { json } = await admin(second, 'dataset-imports', { name, source });
    const read = async () => (await admin(second, `dataset-imports/${json.id}`)).json as Record<string, unknown>;
    await until(`${name} is read`, async () => (await read()).status !== 'running');
    return read();
  };
  const whole = await imported('large');
  assert.deepEqual([whole.status, whole.rows, whole.rejects], ['succeeded', 1000, 0], JSON.stringify(whole));
  const data = await fetch(`http://127.0.0.1:${second.ports.admin}/api/v1/datasets/large/versions/1/data?format=jsonl`);
  const values = (await data.text())
    .trim()
    .split('\n')
    .map((text) => JSON.parse(text) as { x: number });
  assert.deepEqual(
    values.map(({ x }) => x).sort((a, b) => a - b),
    [...rows(0)[0].data, ...rows(1000)[0].data],
  );
  await proxy.close();
  proxy = undefined;
  const cut = await imported('cut');
  assert.equal(cut.status, 'failed', JSON.stringify(cut));
  assert.match(String(cut.error), /^s3:\/\/.* cannot be read: /);
  running.delete(second);
  await second.stop();
});
