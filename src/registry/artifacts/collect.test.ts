import assert from 'node:assert/strict';
import { randomBytes, randomUUID } from 'node:crypto';
import { readdir, utimes, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, beforeEach, test } from 'node:test';
import { SwitchyardError } from '../../shared/errors.ts';
import { storageUnderTest } from '../../testing/artifact-storage.ts';
import { stage } from '../../testing/blob-store-contract.ts';
import { RegistryUnderTest } from '../../testing/registry.ts';
import { RegistryError } from '../errors.ts';
import type { Artifact } from './tree.ts';

const HOUR = 3_600_000;
const NOTHING = { runs: 0, logged_models: 0, experiments: 0, artifacts: 0, blobs: 0, bytes: 0, uploads: 0, staged: 0 };
let served: RegistryUnderTest;
beforeEach(async () => {
  served = await RegistryUnderTest.open(undefined, undefined, await storageUnderTest());
});
afterEach(() => served.close());
/** A test that reaches behind the store into its files. */
const onFiles: (name: string, body: () => Promise<void>) => unknown =
  (await storageUnderTest()).s3 === undefined ? test : () => {};

/** A copy: what is stored is taken over. */
async function* once(bytes: Uint8Array): AsyncIterable<Uint8Array> {
  yield new Uint8Array(bytes);
}

function put(path: string, bytes: Uint8Array): Promise<Artifact> {
  return served.registry.storage.artifacts.upload(path, once(bytes), {
    mediaType: '',
    declared: undefined,
    expected: undefined,
  });
}

/** As if everything had happened that much earlier. */
async function age(ms: number): Promise<void> {
  await served.registry.database.write(async (db) => {
    for (const { digest, claimed_time } of await db.selectFrom('blobs').selectAll().execute())
      await db
        .updateTable('blobs')
        .set({ claimed_time: claimed_time - ms })
        .where('digest', '=', digest)
        .execute();
    await db
      .updateTable('artifacts')
      .set(({ eb }) => ({ created_time: eb('created_time', '-', ms) }))
      .execute();
    for (const { upload_id, touched_time } of await db.selectFrom('uploads').selectAll().execute())
      await db
        .updateTable('uploads')
        .set({ touched_time: touched_time - ms })
        .where('upload_id', '=', upload_id)
        .execute();
  });
}

const collect = (dryRun = false) =>
  served.registry.storage.collector.collect({ graceMs: HOUR, deletedMs: HOUR, dryRun });
const isStored = async ({ digest }: Artifact): Promise<boolean> =>
  (await served.registry.storage.vault.store.stat(digest)) !== undefined;

test('removes what nothing names any more, once it is old enough', async () => {
  const { artifacts } = served.registry.storage;
  const [kept, gone] = [await put('a/kept', randomBytes(1000)), await put('a/gone', randomBytes(500))];
  const shared = await put('a/shared', Buffer.from('shared'));
  await put('b/shared', Buffer.from('shared'));
  await artifacts.remove('a/gone');
  await artifacts.remove('a/shared');
  assert.equal((await collect()).blobs, 0, 'too young');
  await age(2 * HOUR);
  const planned = await collect(true);
  assert.deepEqual([planned.blobs, planned.bytes], [1, 500]);
  assert.ok(await isStored(gone), 'a dry run removes nothing');
  const done = await collect();
  assert.deepEqual([done.blobs, done.bytes], [1, 500]);
  assert.deepEqual([await isStored(gone), await isStored(kept), await isStored(shared)], [false, true, true]);
  assert.deepEqual(await collect(), NOTHING);
});

test('removes artifacts of runs that were deleted long ago, unless a registered version comes from there', async () => {
  const runs = ['1', '2', '3', '4', '5'].map((digit) => digit.repeat(32));
  const [deleted, young, , registered, bare] = runs;
  const deletedTimes = new Map([
    [deleted, 1],
    [young, Date.now()],
    [registered, 1],
    [bare, 1],
  ]);
  await served.registry.database.write(async (db) => {
    for (const run_id of runs) {
      const deleted_time = deletedTimes.get(run_id) ?? null;
      await db
        .insertInto('runs')
        .values({
          run_id,
          experiment_id: 0,
          run_name: 'r',
          user_id: 'u',
          status: 'FINISHED',
          lifecycle_stage: deleted_time === null ? 'active' : 'deleted',
          start_time: 1,
          end_time: 2,
          deleted_time,
          artifact_uri: `mlflow-artifacts:/0/${run_id}/artifacts`,
        })
        .execute();
    }
  });
  const files = await Promise.all(runs.map((id) => put(`0/${id}/artifacts/model/x`, randomBytes(10))));
  await served.ok('POST', 'registered-models/create', { name: 'm' });
  for (const source of [`runs:/${registered}/model`, `mlflow-artifacts:/0/${bare}/artifacts/model`])
    await served.ok('POST', 'model-versions/create', { name: 'm', source });
  await age(2 * HOUR);
  const planned = await collect(true);
  assert.deepEqual([planned.artifacts, planned.blobs], [1, 1]);
  const done = await collect();
  assert.deepEqual([done.artifacts, done.blobs], [1, 1]);
  assert.deepEqual(await Promise.all(files.map(isStored)), [false, true, true, true, true]);
});

test('what a registered version consists of stays when its paths are removed or written anew', async () => {
  const first = await put('0/v/model.onnx', randomBytes(100));
  await served.ok('POST', 'registered-models/create', { name: 'pinned' });
  await served.ok('POST', 'model-versions/create', { name: 'pinned', source: 'mlflow-artifacts:/0/v' });
  const manifest = async () => {
    const path = '/api/v1/registry/models/pinned/versions/1/manifest';
    return (await served.ok('GET', path)).digest as string;
  };
  const digest = await manifest();
  await put('0/v/model.onnx', randomBytes(100));
  await served.registry.storage.artifacts.remove('0/v');
  await age(2 * HOUR);
  assert.equal((await collect(true)).blobs, 1);
  assert.equal((await collect()).blobs, 1);
  assert.ok(await isStored(first));
  assert.equal(await manifest(), digest);
  await served.ok('DELETE', 'model-versions/delete', { name: 'pinned', version: '1' });
  assert.equal((await collect()).blobs, 1);
  assert.equal(await isStored(first), false);
});

test('removes what an import brought once no version comes from there', async () => {
  const [one, two, three] = [randomUUID(), randomUUID(), randomUUID()].map((id) => `imports/${id}/artifacts`);
  const files = [await put(`${one}/model.onnx`, randomBytes(100)), await put(`${two}/model.onnx`, randomBytes(50))];
  const elsewhere = await put('imports/mine/artifacts/model.onnx', randomBytes(20));
  await served.ok('POST', 'registered-models/create', { name: 'imported' });
  await served.ok('POST', 'registered-models/create', { name: 'copied' });
  await served.ok('POST', 'model-versions/create', { name: 'imported', source: `mlflow-artifacts:/${one}` });
  await served.ok('POST', 'model-versions/create', { name: 'copied', source: 'models:/imported/1' });
  assert.equal((await collect()).artifacts, 0, 'too young');
  await age(2 * HOUR);
  // An import that goes on: of its files one is old, and one comes.
  const coming = await put(`${three}/first`, randomBytes(10));
  await age(2 * HOUR);
  const { uploads } = served.registry.storage;
  const { id } = await uploads.create(`${three}/second`, 10, '', undefined);
  const planned = await collect(true);
  assert.deepEqual([planned.artifacts, planned.bytes], [1, 50]);
  const unused = await collect();
  assert.deepEqual([unused.artifacts, unused.bytes], [1, 50]);
  await served.ok('DELETE', 'model-versions/delete', { name: 'imported', version: '1' });
  assert.equal((await collect()).artifacts, 0, 'its copy comes from there');
  await served.ok('DELETE', 'registered-models/delete', { name: 'copied' });
  const done = await collect();
  assert.deepEqual([done.artifacts, done.bytes], [1, 100]);
  assert.deepEqual(await Promise.all([...files, elsewhere, coming].map(isStored)), [false, false, true, true]);
  await uploads.abort(id);
  assert.equal((await collect()).artifacts, 1);
});

test('a blob that is claimed but not yet named survives, and so does one given again', async () => {
  const { vault, artifacts } = served.registry.storage;
  const staged = await stage(vault.staging, Buffer.from('claimed'));
  await vault.keep(staged);
  const again = await put('x/again', Buffer.from('again'));
  await age(2 * HOUR);
  await artifacts.remove('x/again');
  await put('y/again', Buffer.from('again'));
  await artifacts.remove('y/again');
  const done = await collect();
  assert.equal(done.blobs, 1, 'only the claim that is two hours old');
  assert.ok(await isStored(again));
});

test('uploads and collections running together lose nothing', async () => {
  const { artifacts, collector, vault } = served.registry.storage;
  let stop = false;
  const collecting = (async () => {
    while (!stop) {
      await age(HOUR);
      await collector.collect({ graceMs: HOUR / 2, deletedMs: HOUR / 2, dryRun: false });
    }
  })();
  // The same few contents come and go: each is again and again garbage that an upload needs at that moment.
  await Promise.all(
    Array.from({ length: 4 }, async (_, writer) => {
      for (let i = 0; i < 25; i++) {
        const path = `w${writer}/${i}`;
        const stored = await put(path, Buffer.from(`content ${i % 3}`)).catch((error: unknown) => {
          assert.equal((error as { code: string }).code, 'unavailable');
        });
        if (stored !== undefined) await vault.verify(stored.digest);
        if (i % 2 === 0) await artifacts.remove(path);
      }
    }),
  );
  stop = true;
  await collecting;
  for (const { digest } of await artifacts.filesBelow('w0')) await vault.verify(digest);
});

test('goes on where a killed collection stopped', async () => {
  const gone = await put('a/gone', Buffer.from('gone'));
  await served.registry.storage.artifacts.remove('a/gone');
  await served.registry.database.write((db) => db.updateTable('blobs').set({ deleting_time: 1 }).execute());
  await collect();
  assert.equal(await isStored(gone), false);
  assert.deepEqual(await served.registry.database.read((db) => db.selectFrom('blobs').selectAll().execute()), []);
});

test('an upload of a blob whose removal was cut off stores it again', async () => {
  await put('a/x', Buffer.from('x'));
  await served.registry.storage.artifacts.remove('a/x');
  await served.registry.database.write((db) => db.updateTable('blobs').set({ deleting_time: 1 }).execute());
  assert.ok(await isStored(await put('a/x', Buffer.from('x'))));
});

onFiles('finds bytes that the database does not know', async () => {
  const { vault } = served.registry.storage;
  const staged = await stage(vault.staging, Buffer.from('stray'));
  await vault.store.adopt(staged.digest, staged.file, staged.size);
  assert.equal((await collect()).blobs, 0);
  const hex = staged.digest.slice(7);
  await utimes(join(served.dataDir, 'registry', 'blobs', 'sha256', hex.slice(0, 2), hex), 1, 1);
  assert.equal((await collect()).blobs, 1);
});

test('ends uploads that nobody goes on with, and sweeps what broken ones left', async () => {
  const { uploads, vault } = served.registry.storage;
  const fresh = await uploads.create('a/fresh', 10, '', undefined);
  await age(0);
  const old = await uploads.create('a/old', 10, '', undefined);
  await uploads.append(old.id, 0, once(Buffer.from('12345')));
  await served.registry.database.write((db) =>
    db.updateTable('uploads').set({ touched_time: 1 }).where('upload_id', '=', old.id).execute(),
  );
  await writeFile(join(vault.staging.folder, 'left-over'), 'x');
  for (const id of ['left-over', fresh.id]) await utimes(join(vault.staging.folder, id), 1, 1);
  const done = await collect();
  assert.deepEqual([done.uploads, done.staged], [1, 1]);
  assert.deepEqual(await readdir(vault.staging.folder), [fresh.id]);
});

test('ends what was stored in parts by a process that died, a day later at the earliest', async (t) => {
  const asked: number[] = [];
  t.mock.method(served.registry.storage.vault.store, 'abortUploads', async (before: number) => {
    asked.push(Date.now() - before);
    return 3;
  });
  assert.equal((await collect()).staged, 3);
  assert.equal((await collect(true)).staged, 0);
  assert.equal(asked.length, 1);
  assert.ok(asked[0] >= 24 * HOUR, String(asked[0]));
});

test('uploads in parts outlive a restart', async () => {
  const bytes = randomBytes(300_000);
  const created = await served.registry.storage.uploads.create('a/parts', bytes.length, '', undefined);
  await served.registry.storage.uploads.append(created.id, 0, once(bytes.subarray(0, 100_000)));
  await served.close(true);
  served = await RegistryUnderTest.open(served.database, served.dataDir, served.artifacts);
  const { uploads, artifacts, vault } = served.registry.storage;
  assert.equal((await uploads.get(created.id)).received, 100_000);
  const { artifact } = await uploads.append(created.id, 100_000, once(bytes.subarray(100_000)));
  assert.equal((await artifacts.get('a/parts')).digest, artifact?.digest);
  await vault.verify(artifact!.digest);
});

test('an upload in parts that died between storing its bytes and naming them ends with an empty request', async () => {
  const bytes = randomBytes(50_000);
  const { uploads: before, vault } = served.registry.storage;
  const { id } = await before.create('a/cut', bytes.length, 'text/plain', undefined);
  await before.append(id, 0, once(bytes.subarray(0, 20_000)));
  await before.close();
  const { digest } = await vault.put(once(bytes), { maxBytes: bytes.length });
  await vault.staging.discardId(id);
  await served.registry.database.write((db) =>
    db.updateTable('uploads').set({ received: bytes.length, expected: digest }).where('upload_id', '=', id).execute(),
  );
  await served.close(true);
  served = await RegistryUnderTest.open(served.database, served.dataDir, served.artifacts);
  const { uploads, artifacts } = served.registry.storage;
  assert.equal((await uploads.get(id)).received, bytes.length);
  const { artifact } = await uploads.append(id, bytes.length, once(Buffer.alloc(0)));
  assert.deepEqual(await artifacts.get('a/cut'), { ...artifact!, mediaType: 'text/plain' });
  assert.equal(artifact?.digest, digest);
  await assert.rejects(uploads.get(id), { code: 'not_found' });
});

test('an upload in parts whose bytes are nowhere any more says so, and its end too', async () => {
  const { uploads, vault } = served.registry.storage;
  const { id } = await uploads.create('a/lost', 3, '', undefined);
  await vault.staging.discardId(id);
  const digest = `sha256:${'0'.repeat(64)}`;
  await served.registry.database.write((db) =>
    db.updateTable('uploads').set({ received: 3, expected: digest }).where('upload_id', '=', id).execute(),
  );
  await assert.rejects(uploads.append(id, 3, once(Buffer.alloc(0))), { code: 'not_found' });
});

test('an upload in parts outlives a store that is away when its last byte comes', async (t) => {
  const { uploads, artifacts, vault } = served.registry.storage;
  const { id } = await uploads.create('a/away', 3, '', undefined);
  const away = (): Promise<void> => Promise.reject(new SwitchyardError('unavailable', 'the store is away'));
  t.mock.method(vault.store, 'adopt', away, { times: 1 });
  await assert.rejects(uploads.append(id, 0, once(Buffer.from('abc'))), { code: 'unavailable' });
  assert.equal((await uploads.get(id)).received, 3);
  await uploads.append(id, 3, once(Buffer.alloc(0)));
  await vault.verify((await artifacts.get('a/away')).digest);
});

test('an upload in parts outlives a database that is away while it notes how far it came', async (t) => {
  const { uploads, artifacts, vault } = served.registry.storage;
  const mib = 1024 * 1024;
  const size = 65 * mib;
  const { id } = await uploads.create('a/noted', size, '', undefined);
  async function* from(offset: number): AsyncIterable<Uint8Array> {
    for (let at = offset; at < size; at += mib) yield new Uint8Array(mib).fill(at / mib);
  }
  const away = (): Promise<never> => Promise.reject(new RegistryError('TEMPORARILY_UNAVAILABLE', 'it is away'));
  // Away when the 64th MiB is noted, and still when that failed.
  t.mock.method(served.registry.database, 'write', away, { times: 2 });
  await assert.rejects(uploads.append(id, 0, from(0)), { code: 'unavailable' });
  const { received } = await uploads.get(id);
  assert.equal(received, 64 * mib);
  await uploads.append(id, received, from(received));
  await vault.verify((await artifacts.get('a/noted')).digest);
  assert.equal((await artifacts.get('a/noted')).size, size);
});

onFiles('damaged bytes are found when a download asks for it', async () => {
  const { digest } = await put('a/sound', Buffer.from('sound'));
  const hex = digest.slice(7);
  const file = join(served.dataDir, 'registry', 'blobs', 'sha256', hex.slice(0, 2), hex);
  const url = '/api/2.0/mlflow-artifacts/artifacts/a/sound?verify=true';
  assert.equal(await (await fetch(served.url + url)).text(), 'sound');
  const { chmod } = await import('node:fs/promises');
  await chmod(file, 0o600);
  await writeFile(file, 'sounD');
  const { status, json } = await served.call('GET', url);
  assert.deepEqual([status, json.error_code], [400, 'INVALID_STATE']);
});

test('the admin route answers what it did', async () => {
  const answer = await served.ok('POST', '/api/v1/registry/gc', { dry_run: true });
  assert.deepEqual(answer, { dry_run: true, ...NOTHING });
  assert.equal((await served.call('POST', '/api/v1/registry/gc', { grace_seconds: 1 })).status, 400);
});
