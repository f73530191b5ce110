import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { createHash, randomBytes } from 'node:crypto';
import { cp, mkdir, mkdtemp, readdir, readFile, rename, rm, symlink, truncate, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { gunzipSync, gzipSync } from 'node:zlib';
import { storageUnderTest } from '../testing/artifact-storage.ts';
import { cli } from '../testing/cli.ts';
import { RegistryUnderTest } from '../testing/registry.ts';
import { tarHeader } from './tar.ts';

const FILES = '/api/2.0/mlflow-artifacts/artifacts';
const folder = await mkdtemp(join(tmpdir(), 'exchange-'));
const contents = new Map<string, Buffer>([
  ['MLmodel', Buffer.from('flavors: {}\n')],
  ['model.onnx', randomBytes(3_000_000)],
  ['data/weights with spaces ü.bin', randomBytes(1000)],
  ['data/copy.bin', Buffer.alloc(0)],
  ['README.md', Buffer.from('# model\n')],
]);
let served: RegistryUnderTest;
const layout = join(folder, 'layout');

before(async () => {
  served = await RegistryUnderTest.open(undefined, undefined, await storageUnderTest());
  for (const [path, body] of contents) {
    const encoded = path.split('/').map(encodeURIComponent).join('/');
    await fetch(`${served.url}${FILES}/models/iris/artifacts/${encoded}`, { method: 'PUT', body });
  }
  await served.ok('POST', 'registered-models/create', { name: 'iris' });
  await served.ok('POST', 'model-versions/create', {
    name: 'iris',
    source: 'mlflow-artifacts:/models/iris/artifacts',
    description: 'Blüten',
    tags: [{ key: 'team', value: 'botany' }],
  });
  await run('export', 'iris', '1', '--to', layout);
});
after(async () => {
  await served.close();
  await rm(folder, { recursive: true, force: true });
});

async function run(...args: string[]): Promise<string> {
  const { code, out, err } = await cli(['registry', ...args, '--admin', served.url]);
  assert.equal(code, 0, err);
  return out;
}

/** The words of a refusal. */
async function refusal(...args: string[]): Promise<string> {
  const before = await state();
  const { code, err } = await cli(['registry', 'import', ...args, '--admin', served.url]);
  assert.equal(code, 1, `${args.join(' ')} was taken`);
  assert.deepEqual(await state(), before, 'a refused import leaves nothing');
  return err;
}

async function state(): Promise<unknown> {
  const { database } = served.registry;
  return database.read(async (db) => [
    await db.selectFrom('artifacts').select('path').orderBy('path').execute(),
    await db.selectFrom('model_versions').select(['model_key', 'version']).execute(),
    await db.selectFrom('registered_models').select('name').execute(),
    await db.selectFrom('uploads').select('path').execute(),
    await readdir(served.registry.storage.vault.staging.folder),
  ]);
}

const sha256 = (bytes: Uint8Array): string => createHash('sha256').update(bytes).digest('hex');

test('a version goes out and comes in again, byte by byte', async () => {
  const out = await run('import', layout, '--name', 'rose', '-o', 'json');
  assert.deepEqual(JSON.parse(out), { name: 'rose', version: '1', files: 5, bytes: 3_001_020 });
  const { model_version } = await served.ok('GET', 'model-versions/get', { name: 'rose', version: '1' });
  assert.equal(model_version.description, 'Blüten');
  assert.deepEqual(model_version.tags, [{ key: 'team', value: 'botany' }]);
  const { artifact_uri } = await served.ok('GET', 'model-versions/get-download-uri', { name: 'rose', version: '1' });
  for (const [path, bytes] of contents) {
    const encoded = path.split('/').map(encodeURIComponent).join('/');
    const got = await fetch(`${served.url}${FILES}/${artifact_uri.replace('mlflow-artifacts:/', '')}/${encoded}`);
    assert.ok(bytes.equals(Buffer.from(await got.arrayBuffer())), path);
  }
});

test('what a version brought is collected after its model', async () => {
  await run('import', layout, '--name', 'wilted');
  const doomed = async (): Promise<number> => {
    // As if the grace time were over.
    const found = await served.registry.storage.collector.collect({ graceMs: -1000, deletedMs: -1000, dryRun: true });
    return found.artifacts;
  };
  const before = await doomed();
  await served.ok('DELETE', 'registered-models/delete', { name: 'wilted' });
  assert.equal((await doomed()) - before, contents.size);
});

test('the layout is ModelPack: raw layers with the digests of the files', async () => {
  const read = async (name: string) => JSON.parse(await readFile(join(layout, name), 'utf8'));
  assert.deepEqual(await read('oci-layout'), { imageLayoutVersion: '1.0.0' });
  const [descriptor] = (await read('index.json')).manifests;
  const manifest = await read(`blobs/sha256/${descriptor.digest.slice(7)}`);
  assert.equal(manifest.artifactType, 'application/vnd.cncf.model.manifest.v1+json');
  const layers = new Map(
    manifest.layers.map((layer: { annotations: Record<string, string> }) => [
      layer.annotations['org.cncf.model.filepath'],
      layer,
    ]),
  );
  for (const [path, bytes] of contents) {
    const { digest, size } = layers.get(path) as { digest: string; size: number };
    assert.deepEqual([digest, size], [`sha256:${sha256(bytes)}`, bytes.length]);
    assert.ok(bytes.equals(await readFile(join(layout, 'blobs/sha256', digest.slice(7)))));
  }
  const kind = (path: string): string => (layers.get(path) as { mediaType: string }).mediaType;
  assert.equal(kind('model.onnx'), 'application/vnd.cncf.model.weight.v1.raw');
  assert.equal(kind('MLmodel'), 'application/vnd.cncf.model.weight.config.v1.raw');
  assert.equal(kind('README.md'), 'application/vnd.cncf.model.doc.v1.raw');
  const config = await read(`blobs/sha256/${manifest.config.digest.slice(7)}`);
  assert.deepEqual([config.descriptor.name, config.config.format, config.modelfs.type], ['iris', 'onnx', 'layers']);
});

test('the same version gives the same bytes, and what goes out after coming in has the same layers', async () => {
  const first = await run('export', 'iris', '1', '--to', join(folder, 'a.tar'), '-o', 'json');
  const second = await run('export', 'iris', '1', '--to', join(folder, 'b.tar'), '-o', 'json');
  assert.equal(JSON.parse(first).digest, JSON.parse(second).digest);
  assert.ok((await readFile(join(folder, 'a.tar'))).equals(await readFile(join(folder, 'b.tar'))), 'equal archives');
  await run('import', join(folder, 'a.tar'), '--name', 'returned');
  const back = join(folder, 'returned');
  await run('export', 'returned', '1', '--to', back);
  assert.deepEqual(await layersIn(back), await layersIn(layout));
});

async function layersIn(path: string): Promise<unknown> {
  const [{ digest }] = JSON.parse(await readFile(join(path, 'index.json'), 'utf8')).manifests;
  return JSON.parse(await readFile(join(path, 'blobs/sha256', digest.slice(7)), 'utf8')).layers;
}

test('a tar of ours is a tar, and one that the system made is taken', async () => {
  const listed = execFileSync('tar', ['tf', join(folder, 'a.tar')], { encoding: 'utf8' }).split('\n');
  assert.ok(listed.includes('oci-layout') && listed.includes('index.json'));
  for (const format of ['ustar', 'pax', 'gnu']) {
    const file = join(folder, `${format}.tar`);
    execFileSync('tar', ['cf', file, `--format=${format}`, '-C', layout, '.']);
    await run('import', file, '--name', format);
  }
  await run('import', join(folder, 'a.tar'), '--name', 'own');
});

test('a file is stored as an artifact', async () => {
  const file = join(folder, 'big.bin');
  await writeFile(file, contents.get('model.onnx')!);
  const out = await run('upload', file, '0/files/big.bin', '-o', 'json');
  const digest = `sha256:${sha256(contents.get('model.onnx')!)}`;
  assert.deepEqual(JSON.parse(out), { path: '0/files/big.bin', bytes: 3_000_000, digest });
  const got = await fetch(`${served.url}${FILES}/0/files/big.bin`);
  assert.ok(contents.get('model.onnx')!.equals(Buffer.from(await got.arrayBuffer())), 'the artifact has the bytes');
  for (const bad of [
    [join(folder, 'none'), '0/x'],
    [folder, '0/x'],
    [file, '../x'],
    [file, 'model-version-files/1/1/x'],
  ]) {
    const { code, err } = await cli(['registry', 'upload', ...bad, '--admin', served.url]);
    assert.equal(code, 1, err);
  }
});

test('an existing target is not written over', async () => {
  const { code, err } = await cli(['registry', 'export', 'iris', '1', '--to', layout, '--admin', served.url]);
  assert.equal(code, 1);
  assert.match(err, /exists already/);
  assert.ok(!(await readdir(folder)).some((name) => name.endsWith('.partial')));
});

let copies = 0;
/** A copy of the good layout, changed. */
async function changed(change: (path: string) => Promise<unknown>): Promise<string> {
  const path = join(folder, `changed-${copies++}`);
  await cp(layout, path, { recursive: true });
  await change(path);
  return path;
}

/** A copy whose manifest is another, consistent up to the index. */
function forged(
  edit: (
    manifest: { layers: Record<string, unknown>[]; annotations: Record<string, string> } & Record<string, unknown>,
  ) => void,
): Promise<string> {
  return changed(async (path) => {
    const index = JSON.parse(await readFile(join(path, 'index.json'), 'utf8'));
    const manifest = JSON.parse(await readFile(join(path, 'blobs/sha256', index.manifests[0].digest.slice(7)), 'utf8'));
    edit(manifest);
    const bytes = Buffer.from(JSON.stringify(manifest));
    await writeFile(join(path, 'blobs/sha256', sha256(bytes)), bytes);
    index.manifests[0].digest = `sha256:${sha256(bytes)}`;
    index.manifests[0].size = bytes.length;
    await writeFile(join(path, 'index.json'), JSON.stringify(index));
  });
}

const onnx = `blobs/sha256/${sha256(contents.get('model.onnx')!)}`;

test('refuses links and devices, wherever they are', async () => {
  const secret = join(folder, 'secret');
  await writeFile(secret, contents.get('model.onnx')!);
  const cases = [
    changed(async (path) => {
      await rm(join(path, onnx));
      await symlink(secret, join(path, onnx));
    }),
    changed(async (path) => {
      await rename(join(path, 'blobs'), join(path, 'real'));
      await symlink('real', join(path, 'blobs'));
    }),
    changed(async (path) => {
      await rm(join(path, 'index.json'));
      await symlink(join(layout, 'index.json'), join(path, 'index.json'));
    }),
    changed(async (path) => {
      await rm(join(path, onnx));
      execFileSync('mkfifo', [join(path, onnx)]);
    }),
    changed(async (path) => {
      await rm(join(path, onnx));
      await mkdir(join(path, onnx));
    }),
  ];
  for (const path of await Promise.all(cases)) assert.match(await refusal(path), /only plain files are taken/);
  await symlink(layout, join(folder, 'to-layout'));
  assert.match(await refusal(join(folder, 'to-layout')), /neither a folder nor a file/);
});

test('refuses bytes that are not what their digest says', async () => {
  const longer = changed((path) =>
    writeFile(join(path, onnx), Buffer.concat([contents.get('model.onnx')!, Buffer.from('x')])),
  );
  assert.match(await refusal(await longer), /has 3000001 bytes, not 3000000/);
  const shorter = changed((path) => truncate(join(path, onnx), 10));
  assert.match(await refusal(await shorter), /has 10 bytes, not 3000000/);
  const other = changed((path) => writeFile(join(path, onnx), Buffer.alloc(3_000_000)));
  assert.match(await refusal(await other), /have the digest/);
  const missing = changed((path) => rm(join(path, onnx)));
  assert.match(await refusal(await missing), /lacks sha256:/);
  const manifest = changed(async (path) => {
    const index = JSON.parse(await readFile(join(path, 'index.json'), 'utf8'));
    const file = join(path, 'blobs/sha256', index.manifests[0].digest.slice(7));
    const text = await readFile(file, 'utf8');
    await writeFile(file, text.replace('botany', 'Botany'));
  });
  assert.match(await refusal(await manifest), /have the digest/);
});

test('refuses paths that lead elsewhere, paths twice, and other kinds of layers and artifacts', async () => {
  const key = 'org.cncf.model.filepath';
  const path = (text: string) =>
    forged(({ layers }) => {
      layers[0].annotations = { [key]: text };
    });
  for (const text of [
    '../x',
    '/etc/passwd',
    'a/../../x',
    'a\\b',
    'C:\\x',
    'a\0b',
    '%2e%2e/x',
    'NUL',
    '',
    'x'.repeat(2000),
  ])
    assert.match(await refusal(await path(text)), /Invalid path/, text);
  assert.match(await refusal(await path('model.onnx')), /occurs twice/);
  const tar = forged(({ layers }) => {
    layers[0].mediaType = 'application/vnd.cncf.model.weight.v1.tar+zstd';
  });
  assert.match(await refusal(await tar), /with tar or tar\+gzip layers/);
  const image = forged((manifest) => {
    manifest.artifactType = 'application/vnd.oci.image.config.v1+json';
    (manifest.config as { mediaType: string }).mediaType = 'application/vnd.oci.image.config.v1+json';
  });
  assert.match(await refusal(await image), /not a model/);
  const digest = forged(({ layers }) => {
    layers[0].digest = 'sha256:../../../../etc/passwd';
  });
  assert.match(await refusal(await digest), /no sha256 digest/);
  for (const size of [-1, 1e300, '5', null]) {
    const odd = forged(({ layers }) => {
      layers[0].size = size;
    });
    assert.match(await refusal(await odd), /has no size/);
  }
  const empty = forged((manifest) => {
    manifest.layers = [];
  });
  assert.match(await refusal(await empty), /no layers/);
});

/** A copy of the layout in which the second layer's place is taken by an archive. */
async function withArchive(bytes: Buffer, digest = `sha256:${sha256(bytes)}`, form = 'tar'): Promise<string> {
  const path = await forged(({ layers }) => {
    const annotations = { 'org.cncf.model.filepath': 'packed' };
    layers.push({ mediaType: `application/vnd.cncf.model.weight.v1.${form}`, digest, size: bytes.length, annotations });
  });
  await writeFile(join(path, 'blobs/sha256', digest.slice(7)), bytes);
  return path;
}

test('takes layers that are archives, as modctl writes them, and what is wrong with them is found', async () => {
  const tree = join(folder, 'tree');
  await mkdir(join(tree, 'packed/deep'), { recursive: true });
  const large = randomBytes(2_500_001);
  await writeFile(join(tree, 'packed/large.bin'), large);
  await writeFile(join(tree, 'packed/deep/empty.txt'), '');
  const archive = join(folder, 'layer.tar');
  execFileSync('tar', ['cf', archive, '-C', tree, 'packed']);
  const bytes = await readFile(archive);
  const out = await run('import', await withArchive(bytes), '--name', 'tarred', '-o', 'json');
  assert.deepEqual(JSON.parse(out), { name: 'tarred', version: '1', files: 7, bytes: 3_001_020 + large.length });
  const { artifact_uri } = await served.ok('GET', 'model-versions/get-download-uri', { name: 'tarred', version: '1' });
  const got = await fetch(`${served.url}${FILES}/${artifact_uri.replace('mlflow-artifacts:/', '')}/packed/large.bin`);
  assert.ok(large.equals(Buffer.from(await got.arrayBuffer())), 'the file from the archive has its bytes');
  const damaged = Buffer.from(bytes);
  damaged[5000] ^= 1;
  assert.match(await refusal(await withArchive(damaged, `sha256:${sha256(bytes)}`)), /have the digest/);
  await symlink('/etc/passwd', join(tree, 'packed/link'));
  execFileSync('tar', ['cf', archive, '-C', tree, 'packed']);
  assert.match(await refusal(await withArchive(await readFile(archive))), /only plain files are taken/);
  execFileSync('tar', ['cf', archive, '-C', layout, 'index.json', '--transform', 's/index.json/model.onnx/']);
  assert.match(await refusal(await withArchive(await readFile(archive))), /occurs twice/);
  execFileSync('tar', ['cPf', archive, '-C', layout, 'index.json', '--transform', 's,index.json,../x,']);
  assert.match(await refusal(await withArchive(await readFile(archive))), /leads elsewhere/);
});

/** As withArchive, of one that gzip has compressed. */
const withGzip = (bytes: Buffer, digest = `sha256:${sha256(bytes)}`): Promise<string> =>
  withArchive(bytes, digest, 'tar+gzip');

test('takes layers that gzip has compressed, in bounds, and refuses in them what it refuses in others', async () => {
  const tree = join(folder, 'gzip-tree');
  await mkdir(join(tree, 'zipped'), { recursive: true });
  const large = randomBytes(2_000_001);
  await writeFile(join(tree, 'zipped/large.bin'), large);
  const archive = join(folder, 'gzip-layer.tar');
  const packed = async (...args: string[]): Promise<Buffer> => {
    execFileSync('tar', [args[0], archive, ...args.slice(1)]);
    return gzipSync(await readFile(archive));
  };
  const bytes = await packed('cf', '-C', tree, 'zipped');
  const out = await run('import', await withGzip(bytes), '--name', 'zipped', '-o', 'json');
  assert.deepEqual(JSON.parse(out), { name: 'zipped', version: '1', files: 6, bytes: 3_001_020 + large.length });
  const { artifact_uri } = await served.ok('GET', 'model-versions/get-download-uri', { name: 'zipped', version: '1' });
  const got = await fetch(`${served.url}${FILES}/${artifact_uri.replace('mlflow-artifacts:/', '')}/zipped/large.bin`);
  assert.ok(large.equals(Buffer.from(await got.arrayBuffer())), 'the file from the archive has its bytes');

  const damaged = Buffer.from(bytes);
  damaged[5000] ^= 1;
  assert.match(await refusal(await withGzip(damaged, `sha256:${sha256(bytes)}`)), /have the digest/);
  assert.match(await refusal(await withGzip(damaged)), /is not what gzip writes/);
  assert.match(await refusal(await withGzip(bytes.subarray(0, 9000))), /is not what gzip writes/);
  assert.match(await refusal(await withGzip(gunzipSync(bytes))), /is not what gzip writes/);
  // 40 kB that become 40 MB.
  const bomb = gzipSync(Buffer.alloc(40_000_000));
  assert.match(await refusal(await withGzip(bomb), '--max-bytes', '8000000'), /has more than \d+ bytes uncompressed/);
  assert.match(await refusal(await withGzip(gzipSync('no archive'))), /its end is missing/);
  await symlink('/etc/passwd', join(tree, 'zipped/link'));
  assert.match(await refusal(await withGzip(await packed('cf', '-C', tree, 'zipped'))), /only plain files are taken/);
  const renamed = (to: string) => packed('cPf', '-C', layout, 'index.json', '--transform', `s,index.json,${to},`);
  assert.match(await refusal(await withGzip(await renamed('model.onnx'))), /occurs twice/);
  assert.match(await refusal(await withGzip(await renamed('../x'))), /leads elsewhere/);
});

test('refuses more than it was told to take, and endless documents', async () => {
  assert.match(await refusal(layout, '--max-bytes', '1000'), /at most 1000/);
  const index = changed((path) => truncate(join(path, 'index.json'), 2 ** 40));
  assert.match(await refusal(await index), /larger than/);
  const notJson = changed((path) => writeFile(join(path, 'index.json'), '{'));
  assert.match(await refusal(await notJson), /is not JSON/);
});

test('refuses archives with links, devices, odd names, doubles and torn ends', async () => {
  const write = async (...parts: Uint8Array[]): Promise<string> => {
    const file = join(folder, `evil-${copies++}.tar`);
    await writeFile(file, Buffer.concat([...parts, Buffer.alloc(1024)]));
    return file;
  };
  const entry = (name: string, type: string, link = ''): Buffer => {
    const header = tarHeader(name, 0);
    header.write(type, 156);
    header.write(link, 157);
    header.write('        ', 148);
    const sum = header.reduce((total, byte) => total + byte, 0);
    header.write(`${sum.toString(8).padStart(6, '0')}\0 `, 148);
    return header;
  };
  for (const type of ['1', '2', '3', '4', '6', '7', 'L', 'S'])
    assert.match(await refusal(await write(entry('blobs', type, '/etc'))), /only plain files are taken/, type);
  for (const name of ['../x', '/etc/passwd', 'a/../../b', 'a//b', 'C:x', 'a\\b'])
    assert.match(await refusal(await write(entry(name, '0'))), /leads elsewhere/, name);
  assert.match(await refusal(await write(entry('x', '0'), entry('./x', '0'))), /occurs twice/);
  assert.match(await refusal(await write(tarHeader('x', 2 ** 40))), /cut short/);
  const damaged = entry('x', '0');
  damaged[0] ^= 1;
  assert.match(await refusal(await write(damaged)), /header is damaged/);
  const whole = await readFile(join(folder, 'a.tar'));
  for (const length of [0, 100, 512, 2000, whole.length - 1024]) {
    const file = join(folder, 'torn.tar');
    await writeFile(file, whole.subarray(0, length));
    await refusal(file);
  }
});
