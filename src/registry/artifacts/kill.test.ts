import assert from 'node:assert/strict';
import { createHash, randomBytes } from 'node:crypto';
import { mkdtemp, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { storageUnderTest } from '../../testing/artifact-storage.ts';
import { RegistryUnderTest } from '../../testing/registry.ts';
import { RegistryProcess } from '../../testing/registry-process.ts';

// .ci/run kills 200 times.
const KILLS = Number(process.env.SWITCHYARD_TEST_KILLS ?? 2);
const FILES = '/api/2.0/mlflow-artifacts/artifacts';
const PART = 600_000;

function patch(url: string, id: string, content: Buffer, from: number, to: number): Promise<Response> {
  const headers = { 'Upload-Offset': String(from) };
  return fetch(`${url}/api/v1/registry/uploads/${id}`, { method: 'PATCH', headers, body: content.subarray(from, to) });
}

test('kill -9 during uploads and collections loses nothing that was acknowledged', async () => {
  const dataDir = await mkdtemp(join(tmpdir(), 'killed-'));
  const artifacts = await storageUnderTest();
  const empty = await RegistryUnderTest.open(undefined, dataDir, artifacts);
  await empty.close(true);
  const { database } = empty;
  const acknowledged = new Map<string, string>();
  const filling = randomBytes(1_500_000);
  const contentOf = (path: string): Buffer => Buffer.concat([Buffer.from(path), filling]);
  /** By upload: where it leads, and how many of its bytes were acknowledged. */
  const partial = new Map<string, { path: string; offset: number }>();
  let resumed = 0;
  /** Reads its code while the one before is written to. */
  let next = RegistryProcess.prepare();
  /** What was cut off goes on where it was, at least from what was acknowledged, and is whole in the end. */
  const resume = async (url: string): Promise<void> => {
    for (const [id, { path, offset }] of partial) {
      const content = contentOf(path);
      const upload = await fetch(`${url}/api/v1/registry/uploads/${id}`);
      if (upload.status === 200) {
        const { offset: received } = (await upload.json()) as { offset: number };
        assert.ok(received >= offset, `${path}: ${offset} bytes were acknowledged, ${received} are there`);
        const answer = await patch(url, id, content, received, content.length);
        assert.equal(answer.status, 200, `${path} at ${received}: ${await answer.clone().text()}`);
        resumed++;
      } else assert.equal(upload.status, 404);
      const got = Buffer.from(await (await fetch(`${url}${FILES}/${path}`)).arrayBuffer());
      assert.ok(got.equals(content), path);
    }
    partial.clear();
  };
  try {
    for (let round = 0; round < KILLS; round++) {
      const server = await next.open(dataDir, database, 0, artifacts);
      next = RegistryProcess.prepare();
      const { child, url } = server;
      // Before collections run again: they end uploads that nobody goes on with.
      await resume(url);
      const upload = async (writer: number): Promise<void> => {
        for (let i = 0; ; i++) {
          const path = `r${round}/w${writer}/${i}`;
          const bytes = randomBytes(1 + ((writer * 7919 + i * 104_729) % 900_000));
          const { status } = await fetch(`${url}${FILES}/${path}`, { method: 'PUT', body: bytes });
          assert.equal(status, 200);
          acknowledged.set(path, createHash('sha256').update(bytes).digest('hex'));
        }
      };
      const collect = async (): Promise<void> => {
        for (;;) await fetch(`${url}/api/v1/registry/gc`, { method: 'POST', body: '{"grace_seconds": 60}' });
      };
      const inParts = async (): Promise<void> => {
        for (let i = 0; ; i++) {
          const path = `r${round}/parts/${i}`;
          const content = contentOf(path);
          const body = JSON.stringify({ path, size: content.length });
          const created = await fetch(`${url}/api/v1/registry/uploads`, { method: 'POST', body });
          const { upload_id } = (await created.json()) as { upload_id: string };
          for (let offset = 0; offset < content.length; offset += PART) {
            partial.set(upload_id, { path, offset });
            const answer = await patch(url, upload_id, content, offset, offset + PART);
            assert.equal(answer.status, 200);
          }
          partial.set(upload_id, { path, offset: content.length });
        }
      };
      const clients = Promise.allSettled([upload(0), upload(1), collect(), inParts()]);
      // At another moment each time: after some more acknowledged uploads than the round before.
      const until = acknowledged.size + 1 + (round % 7);
      while (acknowledged.size < until && child.exitCode === null)
        await new Promise((resolve) => setTimeout(resolve, 3 + (round % 5)));
      await server.kill();
      assert.equal(server.stderr, '', 'what the server logged as errors');
      for (const { reason } of (await clients) as PromiseRejectedResult[])
        if (reason !== undefined) assert.ok(reason instanceof TypeError, String(reason));
    }
    const served = await RegistryUnderTest.open(database, dataDir, artifacts);
    await resume(served.url);
    for (const [path, sha256] of acknowledged) {
      const got = Buffer.from(await (await fetch(`${served.url}${FILES}/${path}`)).arrayBuffer());
      assert.equal(createHash('sha256').update(got).digest('hex'), sha256, path);
    }
    const { storage } = served.registry;
    await storage.collector.collect({ graceMs: -1000, deletedMs: -1000, dryRun: false });
    assert.deepEqual(await readdir(storage.vault.staging.folder), []);
    for (const { digest } of await storage.artifacts.filesBelow('r0')) await storage.vault.verify(digest);
    assert.deepEqual(served.errors, []);
    await served.close();
  } finally {
    await next.kill();
    await rm(dataDir, { recursive: true, force: true });
  }
  assert.ok(acknowledged.size >= KILLS);
  assert.ok(resumed <= KILLS);
});
