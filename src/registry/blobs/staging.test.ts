import assert from 'node:assert/strict';
import { createHash, randomBytes } from 'node:crypto';
import {
  appendFile,
  mkdtemp,
  open,
  readdir,
  readFile,
  rm,
  symlink,
  truncate,
  utimes,
  writeFile,
} from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import fc from 'fast-check';
import type { AlignedBuffers } from './direct-file.ts';
import { receive } from './receive.ts';
import { StagedFile } from './staged-file.ts';
import { Staging } from './staging.ts';

const folder = await mkdtemp(join(tmpdir(), 'staging-'));
after(() => rm(folder, { recursive: true, force: true }));
const staging = await Staging.open(join(folder, 'staging'));

const sha256 = (bytes: Uint8Array): string => `sha256:${createHash('sha256').update(bytes).digest('hex')}`;

/** Copies: what is written is taken over. */
async function* source(...chunks: Uint8Array[]): AsyncIterable<Uint8Array> {
  for (const chunk of chunks) yield new Uint8Array(chunk);
}

test('any cut into chunks gives the same file and digest', async () => {
  const bytes = randomBytes(3_500_000);
  await fc.assert(
    fc.asyncProperty(fc.array(fc.nat(bytes.length), { maxLength: 12 }), async (cuts) => {
      const edges = [0, ...cuts.toSorted((a, b) => a - b), bytes.length];
      const chunks = edges.slice(1).map((end, i) => bytes.subarray(edges[i], end));
      const staged = await receive(staging, source(...chunks), { maxBytes: bytes.length });
      assert.equal(staged.digest, sha256(bytes));
      assert.equal(staged.size, bytes.length);
      assert.ok(bytes.equals(await readFile(staged.file)));
      await rm(staged.file);
    }),
    { numRuns: 20 },
  );
});

test('refuses more than the cap, and what was declared or promised otherwise; nothing stays', async () => {
  const bytes = randomBytes(2_000_000);
  const whole = (): AsyncIterable<Uint8Array> => source(bytes.subarray(0, 1_500_000), bytes.subarray(1_500_000));
  const cases: [Parameters<typeof receive>[2], string][] = [
    [{ maxBytes: 1_999_999 }, 'payload_too_large'],
    [{ maxBytes: 1_999_999, declared: 2_000_000 }, 'payload_too_large'],
    [{ maxBytes: 2_000_000, declared: 1_999_999 }, 'invalid_argument'],
    [{ maxBytes: 3_000_000, declared: 2_000_001 }, 'invalid_argument'],
    [{ maxBytes: 3_000_000, expected: `sha256:${'0'.repeat(64)}` }, 'invalid_argument'],
  ];
  for (const [limits, code] of cases) await assert.rejects(receive(staging, whole(), limits), { code });
  assert.deepEqual(await readdir(staging.folder), []);
});

test('a source that breaks leaves nothing', async () => {
  async function* broken(): AsyncIterable<Uint8Array> {
    yield randomBytes(1_200_000);
    throw new Error('connection reset');
  }
  await assert.rejects(receive(staging, broken(), { maxBytes: 1e9 }), /connection reset/);
  assert.deepEqual(await readdir(staging.folder), []);
});

test('any syncs and restarts in between, at blocks or not, give the same file and digest', async () => {
  const bytes = randomBytes(5_000_000);
  const stop = fc.record({
    at: fc.oneof(
      fc.nat(bytes.length),
      fc.nat(1220).map((n) => n * 4096),
    ),
    reopen: fc.boolean(),
  });
  await fc.assert(
    fc.asyncProperty(fc.array(stop, { maxLength: 5 }), async (stops) => {
      let file = await staging.create('stopped');
      for (const { at, reopen } of stops.toSorted((a, b) => a.at - b.at)) {
        await file.write(Buffer.from(bytes.subarray(file.size, at)));
        await file.sync();
        assert.ok(bytes.subarray(0, at).equals(await readFile(file.file)));
        if (!reopen) continue;
        await file.close();
        file = await staging.reopen('stopped', at);
      }
      await file.write(Buffer.from(bytes.subarray(file.size)));
      assert.equal((await file.finish()).digest, sha256(bytes));
      assert.ok(bytes.equals(await readFile(file.file)));
      await rm(file.file);
    }),
    { numRuns: 20 },
  );
});

test('a file system that takes no direct writes gets others', async () => {
  const bytes = randomBytes(2_500_000);
  // The system refuses a buffer that does not begin at a block, with the error such a file system gives.
  const odd = new Uint8Array(2 ** 20 + 1).subarray(1);
  const buffers = { with: (use: (buffer: Uint8Array) => Promise<unknown>) => use(odd) } as unknown as AlignedBuffers;
  const path = join(folder, 'odd');
  const file = new StagedFile('odd', path, await open(path, 'wx'), buffers);
  for (let at = 0; at < bytes.length; at += 65_537) await file.write(bytes.subarray(at, at + 65_537));
  assert.equal((await file.finish()).digest, sha256(bytes));
  assert.ok(bytes.equals(await readFile(path)));
});

test('a disk that fails is told from one that is full, and what it failed to keep is not gone on with', async (t) => {
  const failing = (code: string) => (): Promise<never> => Promise.reject(Object.assign(new Error(code), { code }));
  const cases: [string, RegExp][] = [
    ['EIO', /the registry's disk fails \(EIO\)/],
    ['EROFS', /the registry's disk fails \(EROFS\)/],
    ['ENOSPC', /no room left/],
  ];
  for (const [code, message] of cases) {
    const path = join(folder, code);
    const handle = await open(path, 'wx');
    const file = new StagedFile(code, path, handle, {} as AlignedBuffers);
    await file.write(randomBytes(1000));
    t.mock.method(handle, 'datasync', failing(code), { times: 1 });
    await assert.rejects(file.sync(), { code: 'insufficient_storage', message });
    // The system may answer the next sync as if all were well.
    await assert.rejects(file.sync(), { code: 'insufficient_storage', message });
    await assert.rejects(file.finish(), { code: 'insufficient_storage', message });
    await assert.rejects(readFile(path), { code: 'ENOENT' });
  }
  const handle = await open(join(folder, 'write'), 'wx');
  const file = new StagedFile('write', join(folder, 'write'), handle, {} as AlignedBuffers);
  t.mock.method(handle, 'writev', failing('EIO'));
  await file.write(randomBytes(1000));
  await assert.rejects(file.finish(), { code: 'insufficient_storage', message: /EIO/ });
});

test('goes on where an earlier process stopped, without its torn tail', async () => {
  const bytes = randomBytes(2_500_000);
  const first = await staging.create('resumed');
  await first.write(bytes.subarray(0, 2_000_000));
  await first.sync();
  await first.close();
  await appendFile(first.file, 'a torn write');
  const second = await staging.reopen('resumed', 2_000_000);
  assert.equal(second.size, 2_000_000);
  await second.write(bytes.subarray(2_000_000));
  const staged = await second.finish();
  assert.equal(staged.digest, sha256(bytes));
  assert.ok(bytes.equals(await readFile(staged.file)));
  await rm(staged.file);
});

test('does not go on with a file that is gone, shorter, a link, or named like a path', async () => {
  await assert.rejects(staging.reopen('absent', 0), { code: 'not_found' });
  const file = await staging.create('short');
  await file.write(randomBytes(100));
  await file.close();
  await truncate(file.file, 50);
  await assert.rejects(staging.reopen('short', 100), { code: 'not_found' });
  await writeFile(join(folder, 'secret'), 'secret');
  await symlink(join(folder, 'secret'), join(staging.folder, 'link'));
  await assert.rejects(staging.reopen('link', 0), { code: 'not_found' });
  for (const id of ['../secret', 'a/b', '', '.', 'x'.repeat(65)])
    await assert.rejects(staging.reopen(id, 0), { code: 'not_found' });
  assert.equal(await readFile(join(folder, 'secret'), 'utf8'), 'secret');
  await rm(join(staging.folder, 'short'));
  await rm(join(staging.folder, 'link'));
});

test('sweeps what is old, unless it is being written or kept', async () => {
  const busy = await staging.create('busy');
  for (const id of ['old', 'kept', 'young']) await writeFile(join(staging.folder, id), id);
  for (const id of ['old', 'kept', 'busy']) await utimes(join(staging.folder, id), 1000, 1000);
  assert.equal(await staging.sweep(Date.now() - 60_000, (id) => id === 'kept'), 1);
  assert.deepEqual((await readdir(staging.folder)).sort(), ['busy', 'kept', 'young']);
  await busy.discard();
});
