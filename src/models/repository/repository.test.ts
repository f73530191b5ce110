import assert from 'node:assert/strict';
import { mkdir, mkdtemp, readdir, readFile, rm, symlink, utimes, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, beforeEach, test } from 'node:test';
import { diffSnapshots } from '../poller.ts';
import { DigestCache } from './digest.ts';
import { checkExternalData, externalLocations } from './onnx-external.ts';
import { checkOverrideFiles, materialiseOverride, removeOverrides } from './overrides.ts';
import { scanRepositories } from './scan.ts';

let root = '';
const roots: string[] = [];

beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), 'switchyard-repository-'));
  roots.push(root);
});
after(() => Promise.all(roots.map((path) => rm(path, { recursive: true, force: true }))));

async function put(path: string, content: string | Uint8Array = 'x'): Promise<string> {
  const file = join(root, path);
  await mkdir(join(file, '..'), { recursive: true });
  await writeFile(file, content);
  return file;
}

test('models, numeric versions in numeric order, files; everything else is left alone', async () => {
  await put('r/a/2/model.onnx');
  await put('r/a/10/model.onnx');
  await put('r/a/10/data/weights.bin');
  await put('r/a/01/model.onnx');
  await put('r/a/config.pbtxt');
  await put('r/a/labels.txt');
  await put('r/.hidden/1/model.onnx');
  await put('r/-bad/1/model.onnx');
  await put('r/constructor/1/model.onnx');
  await put('r/README.md');
  await put('r/empty/notes.txt');
  const { models, warnings } = await scanRepositories([join(root, 'r')]);
  assert.deepEqual([...models.keys()].sort(), ['a', 'empty']);
  const a = models.get('a')!;
  assert.deepEqual(
    a.versions.map((v) => [v.version, v.files.map((f) => f.path)]),
    [
      ['2', ['model.onnx']],
      ['10', ['data/weights.bin', 'model.onnx']],
    ],
  );
  assert.equal(a.configFile, 'config.pbtxt');
  assert.match(models.get('empty')!.error, /neither a version folder nor config.pbtxt/);
  assert.equal(warnings.length, 2);
});

test('a name in two repositories is an error naming both, without machine paths', async () => {
  await put('one/m/1/model.onnx');
  await put('two/m/1/model.onnx');
  const { models } = await scanRepositories([join(root, 'one'), join(root, 'two')]);
  const { error } = models.get('m')!;
  assert.match(error, /in two repositories, 1 \("one"\) and 2 \("two"\)/);
  assert.equal(error.includes(root), false);
});

test('links may stay inside the model, not lead out of it', async () => {
  await put('r/inside/store/model.onnx');
  await mkdir(join(root, 'r/inside/1'));
  await symlink('../store/model.onnx', join(root, 'r/inside/1/model.onnx'));
  await put('secret/model.onnx');
  await mkdir(join(root, 'r/outside/1'), { recursive: true });
  await symlink(join(root, 'secret/model.onnx'), join(root, 'r/outside/1/model.onnx'));
  await symlink(join(root, 'secret'), join(root, 'r/linked'));
  await mkdir(join(root, 'r/loop/1'), { recursive: true });
  await symlink('..', join(root, 'r/loop/1/up'));
  const { models } = await scanRepositories([join(root, 'r')]);
  assert.equal(models.get('inside')!.error, '');
  assert.match(models.get('outside')!.error, /link that leads out/);
  assert.match(models.get('linked')!.error, /link that leads out/);
  assert.notEqual(models.get('loop')!.error, '');
});

test('a repository that cannot be read keeps the models it had', async () => {
  await put('r/m/1/model.onnx');
  const before = await scanRepositories([join(root, 'r')]);
  await rm(join(root, 'r'), { recursive: true });
  const after = await scanRepositories([join(root, 'r')], before);
  assert.equal(after.models.has('m'), true);
  assert.equal(after.warnings.length, 1);
});

test('a diff tells what came, went and changed', async () => {
  await put('r/same/1/model.onnx');
  await put('r/touched/1/model.onnx');
  await put('r/gone/1/model.onnx');
  const before = await scanRepositories([join(root, 'r')]);
  await utimes(join(root, 'r/touched/1/model.onnx'), 1, 1);
  await rm(join(root, 'r/gone'), { recursive: true });
  await put('r/fresh/1/model.onnx');
  const now = await scanRepositories([join(root, 'r')]);
  assert.deepEqual(diffSnapshots(before.models, now.models), {
    added: ['fresh'],
    changed: ['touched'],
    removed: ['gone'],
  });
});

test('digests follow content, not time, and known files are not read again', async () => {
  const file = await put('v/model.onnx', 'abc');
  const cache = new DigestCache(join(root, 'digests.json'));
  const fact = { path: 'model.onnx', size: 3, mtimeMs: 1 };
  const digest = await cache.ofFiles(join(root, 'v'), [fact]);
  assert.equal(await cache.ofFiles(join(root, 'v'), [{ ...fact, mtimeMs: 2 }]), digest);
  await cache.save();
  await writeFile(file, 'xyz');
  const again = new DigestCache(join(root, 'digests.json'));
  await again.load();
  assert.equal(await again.ofFiles(join(root, 'v'), [{ ...fact, mtimeMs: 2 }]), digest);
  assert.notEqual(await again.ofFiles(join(root, 'v'), [{ ...fact, mtimeMs: 3 }]), digest);
});

test('a torn cache file is no cache, not a failure', async () => {
  const path = await put('digests.json', '{"a": {');
  await new DigestCache(path).load();
});

/** A protobuf field holding bytes. */
function field(number: number, ...content: (string | Uint8Array)[]): Uint8Array {
  const body = Buffer.concat(content.map((part) => Buffer.from(part as Uint8Array)));
  const varint = (value: number): number[] => (value < 128 ? [value] : [(value & 127) | 128, ...varint(value >>> 7)]);
  return Buffer.concat([Buffer.from(varint(number * 8 + 2)), Buffer.from(varint(body.length)), body]);
}
const external = (location: string) => field(13, field(1, Buffer.from('location')), field(2, Buffer.from(location)));
const onnxWith = (location: string) =>
  Buffer.concat([
    Buffer.from([8, 8]),
    field(7, field(2, Buffer.from('g')), field(5, field(9, Buffer.alloc(200_000)), external(location))),
  ]);

test('external data is found in initializers and in nested graphs', async () => {
  const nested = field(7, field(1, field(5, field(6, field(5, external('deep.bin'))), field(5, external('attr.bin')))));
  const path = await put('m.onnx', Buffer.concat([onnxWith('w.bin'), nested]));
  assert.deepEqual(externalLocations(path).sort(), ['attr.bin', 'deep.bin', 'w.bin']);
});

test('external data must be a regular file inside the version', async () => {
  await put('secret.bin');
  const check = async (location: string) => checkExternalData(await put('v/model.onnx', onnxWith(location)));
  await put('v/data/ok.bin');
  await check('data/ok.bin');
  await symlink(join(root, 'secret.bin'), join(root, 'v/link.bin'));
  await symlink(root, join(root, 'v/dir'));
  for (const location of [
    '../secret.bin',
    join(root, 'secret.bin'),
    'link.bin',
    'dir/secret.bin',
    'data',
    'missing.bin',
    'a\\b',
    '',
  ]) {
    await assert.rejects(check(location), { code: 'failed_precondition' }, location);
  }
});

test('a file that is not ONNX, or is cut short, is refused', async () => {
  for (const content of ['not a model at all', onnxWith('w.bin').subarray(0, 1000), Buffer.from([0xff])]) {
    const path = await put('bad.onnx', content);
    assert.throws(() => externalLocations(path), /not an ONNX model, or it is cut short/);
  }
});

test('files of a load request become a folder of our own; bad paths do not', async () => {
  const files = new Map([
    ['1/model.onnx', Buffer.from('a')],
    ['1/data/w.bin', Buffer.from('b')],
  ]);
  const directory = await materialiseOverride(root, 'm', files);
  assert.equal(await readFile(join(directory, '1/data/w.bin'), 'utf8'), 'b');
  assert.equal(await materialiseOverride(root, 'm', files), directory);
  const other = await materialiseOverride(root, 'm', new Map([['1/model.onnx', Buffer.from('c')]]));
  await removeOverrides(root, 'm', other);
  assert.equal((await readdir(join(root, 'overrides/m'))).length, 1);
  for (const path of [
    '../x',
    '/etc/x',
    '1/../../x',
    'model.onnx',
    '1/',
    '1//x',
    'x/model.onnx',
    '1/a\0b',
    '01/m',
    '1\\m',
  ]) {
    assert.throws(() => checkOverrideFiles(new Map([[path, Buffer.alloc(1)]])), { code: 'invalid_argument' }, path);
  }
  assert.throws(
    () =>
      checkOverrideFiles(
        new Map([
          ['1/a', Buffer.alloc(1)],
          ['1/a/b', Buffer.alloc(1)],
        ]),
      ),
    /also the folder/,
  );
  await assert.rejects(materialiseOverride(root, '../m', files), { code: 'invalid_argument' });
});
