import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { after, test } from 'node:test';
import { digestOf } from '../registry/blobs/digest.ts';
import { canonicalManifest, type Manifest, makeManifest, manifestDigest } from '../registry/manifest/manifest.ts';
import type { Deployment } from '../registry/serving/types.ts';
import { mlflowFiles } from '../testing/registry-client.ts';
import type { RegistrySource } from './source.ts';
import { type LocalVersion, VersionStore } from './version-store.ts';

const scratch = mkdtempSync(join(tmpdir(), 'switchyard-store-'));
after(() => rmSync(scratch, { recursive: true, force: true }));

const bytesOf = new Map<string, Buffer>();
const manifests = new Map<string, Manifest>();
function register(version: string, files: Record<string, string | Uint8Array>): Deployment {
  const list = Object.entries(files).map(([path, content]) => {
    const bytes = Buffer.from(content as string);
    const digest = digestOf(createHash('sha256').update(bytes).digest());
    bytesOf.set(digest, bytes);
    return { path, digest, size: bytes.byteLength, mediaType: 'application/octet-stream' };
  });
  const manifest = makeManifest('m', version, list);
  manifests.set(version, manifest);
  return { name: 'm', alias: 'champion', served: 'm', version, digest: manifestDigest(manifest), requirements: '' };
}

const SOURCE: RegistrySource = {
  watch: () => assert.fail('nobody waits here'),
  report: async () => {},
  manifest: async (_name, version) => {
    const manifest = manifests.get(version)!;
    return { digest: manifestDigest(manifest), manifest: canonicalManifest(manifest).toString('base64') };
  },
  blob: async (digest) => Readable.from([bytesOf.get(digest)!], { objectMode: false }),
};

let folders = 0;
const store = (): VersionStore => new VersionStore(join(scratch, String(folders++)), []);

function assertWhole({ scanned, files }: LocalVersion): void {
  for (const [path, digest] of files)
    assert.deepEqual(readFileSync(join(scanned.directory, path)), bytesOf.get(digest), path);
}

test('whoever wants a version at the same time finds the one folder that the first has made', async () => {
  const deployment = register('1', mlflowFiles('one'));
  for (let i = 0; i < 10; i++) {
    const folder = store();
    let made: number | undefined;
    const prepared = await Promise.all(
      Array.from({ length: 4 }, async () => {
        const local = await folder.prepare(deployment, SOURCE);
        const { ino } = statSync(local.scanned.directory);
        made ??= ino;
        assert.equal(ino, made, 'nobody replaces what another one reads');
        return local;
      }),
    );
    for (const local of prepared) assertWhole(local);
  }
});

test('what is brought while the rest is cleaned away stays', async () => {
  const first = register('1', mlflowFiles('one'));
  const second = register('2', mlflowFiles('two'));
  for (let turns = 0; turns < 30; turns++) {
    const folder = store();
    const wanted = new Set<string>();
    const old = await folder.prepare(first, SOURCE);
    const cleaned = [folder.keepOnly(() => wanted), folder.keepOnly(() => wanted)];
    for (let i = 0; i < turns; i++) await new Promise((resolve) => setImmediate(resolve));
    const brought = folder.prepare(second, SOURCE).then((local) => {
      wanted.add(second.digest);
      return local;
    });
    const [local] = await Promise.all([brought, ...cleaned]);
    assertWhole(local);
    await folder.keepOnly(() => wanted);
    assertWhole(local);
    assert.equal(statSync(old.scanned.directory, { throwIfNoEntry: false }), undefined, 'the other one is gone');
  }
});
