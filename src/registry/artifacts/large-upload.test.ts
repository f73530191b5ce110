import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { RegistryFiles } from '../../client/registry-files.ts';
import { RegistryUnderTest } from '../../testing/registry.ts';
import { RegistryProcess } from '../../testing/registry-process.ts';

const MIB = 1024 * 1024;
/** An upload makes certain how far it has come every 64 MiB: the server dies behind the third time, far from the end. */
const SIZE = 320 * MIB;
const DIES_AT = 224 * MIB;
const CERTAIN = 192 * MIB;
/** Much less than the file: what was received is never in memory. */
const MEMORY = 150 * MIB;

/** Content that says where it belongs. */
async function* contentFrom(offset: number, onBytes: (end: number) => Promise<void>): AsyncGenerator<Buffer> {
  for (let at = offset; at < SIZE; ) {
    const block = Math.floor(at / MIB);
    const bytes = Buffer.alloc(MIB, `${block} `).subarray(at - block * MIB);
    at += bytes.length;
    yield bytes;
    await onBytes(at);
  }
}

test('a large upload goes on after the server was killed in its middle, from what was made certain, in flat memory', async (t) => {
  const dataDir = await mkdtemp(join(tmpdir(), 'large-'));
  const empty = await RegistryUnderTest.open(undefined, dataDir);
  await empty.close(true);
  let server = await RegistryProcess.start(dataDir, empty.database);
  const idle = server.peakMemory();
  const peaks: number[] = [];
  const from: number[] = [];
  let restarted: Promise<void> | undefined;
  const restart = async (): Promise<void> => {
    const { port } = server;
    peaks.push(server.peakMemory());
    await server.kill();
    assert.equal(server.stderr, '', 'what the first server logged as errors');
    server = await RegistryProcess.start(dataDir, empty.database, port);
  };
  const hash = createHash('sha256');
  for await (const chunk of contentFrom(0, async () => {})) hash.update(chunk);
  const digest = `sha256:${hash.digest('hex')}`;
  try {
    const client = new RegistryFiles({ url: server.url });
    const path = 'large/model.onnx';
    await client.upload({ path, size: SIZE, digest, media_type: '' }, (offset) => {
      from.push(offset);
      return contentFrom(offset, async (end) => {
        if (end < DIES_AT || restarted !== undefined) return;
        restarted = restart();
      });
    });
    await restarted;
    peaks.push(server.peakMemory());
    assert.equal(from[0], 0);
    assert.equal(from.length, 2, `began at ${from}`);
    assert.ok(from[1] >= CERTAIN && from[1] <= DIES_AT, `went on from ${from[1]}`);
    for (const peak of peaks) assert.ok(peak - idle < MEMORY, `${idle} bytes when idle, ${peak} at most`);
    t.diagnostic(`went on from ${from[1]}; memory ${[idle, ...peaks].map((bytes) => Math.round(bytes / MIB))} MiB`);
    const found = createHash('sha256');
    for await (const chunk of client.blob(digest)) found.update(chunk);
    assert.equal(`sha256:${found.digest('hex')}`, digest);
    const head = await fetch(`${server.url}/api/2.0/mlflow-artifacts/artifacts/${path}`, { method: 'HEAD' });
    assert.equal(head.headers.get('etag'), `"${digest}"`);
    await server.kill();
    assert.equal(server.stderr, '', 'what the second server logged as errors');
    const last = await RegistryUnderTest.open(empty.database, dataDir);
    await last.close();
  } finally {
    await server.kill();
    await rm(dataDir, { recursive: true, force: true });
  }
});
