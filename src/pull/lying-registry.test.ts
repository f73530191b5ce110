import assert from 'node:assert/strict';
import { createHash, generateKeyPairSync } from 'node:crypto';
import {
  existsSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import http from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { digestOf } from '../registry/blobs/digest.ts';
import { canonicalManifest, type Manifest, makeManifest, manifestDigest } from '../registry/manifest/manifest.ts';
import { signingKey, signManifest, trustedKey } from '../registry/manifest/signature.ts';
import type { ServingFacts } from '../registry/serving/requirements.ts';
import type { Deployment } from '../registry/serving/types.ts';
import type { SwitchyardError } from '../shared/errors.ts';
import { mlflowFiles } from '../testing/registry-client.ts';
import { RegistryFollower } from './follower.ts';
import { RemoteSource } from './remote-source.ts';
import { VersionStore } from './version-store.ts';

type Reply = (response: http.ServerResponse, request: http.IncomingMessage) => void;

const scratch = mkdtempSync(join(tmpdir(), 'switchyard-lies-'));
const TOKEN = 'the-token-of-the-registry';
/** What the registry answers on its paths; a test puts its lie there. */
let manifestReply: Reply;
let blobReply: (digest: string) => Reply;
let asked: string[] = [];
/** Somebody else's server, and what it was sent. */
const stolen: (string | undefined)[] = [];
const thief = http.createServer((request, response) => {
  stolen.push(request.headers.authorization);
  response.end('{}');
});
const registry = http.createServer((request, response) => {
  const path = decodeURIComponent((request.url ?? '').replace('/api/v1/registry/', ''));
  asked.push(path);
  assert.equal(request.headers.authorization, `Bearer ${TOKEN}`);
  if (path.startsWith('blobs/')) blobReply(path.slice('blobs/'.length))(response, request);
  else manifestReply(response, request);
});
const urlOf = (server: http.Server): string => `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
let source: RemoteSource;
before(async () => {
  for (const server of [registry, thief]) await new Promise<void>((done) => server.listen(0, '127.0.0.1', done));
  source = new RemoteSource({ url: urlOf(registry), token: () => TOKEN, timeoutMs: 60_000 });
});
after(() => {
  for (const server of [registry, thief]) {
    server.closeAllConnections();
    server.close();
  }
  rmSync(scratch, { recursive: true, force: true });
});

const digestOfBytes = (bytes: Uint8Array) => digestOf(createHash('sha256').update(bytes).digest());
const bytesOf = new Map<string, Buffer>();
function manifestFor(files: Record<string, string | Uint8Array>, version = '1'): Manifest {
  const list = Object.entries(files).map(([path, content]) => {
    const bytes = Buffer.from(content as string);
    const digest = digestOfBytes(bytes);
    bytesOf.set(digest, bytes);
    return { path, digest, size: bytes.byteLength, mediaType: 'application/octet-stream' };
  });
  return makeManifest('m', version, list);
}
const MANIFEST = manifestFor(mlflowFiles('one'));
const deploymentOf = (manifest: Manifest): Deployment => ({
  name: 'm',
  alias: 'champion',
  served: 'm',
  version: manifest.version,
  digest: manifestDigest(manifest),
  requirements: '',
});
const json =
  (value: object): Reply =>
  (response) =>
    void response.end(JSON.stringify(value));
const plain = (manifest: Manifest) => ({
  digest: manifestDigest(manifest),
  manifest: canonicalManifest(manifest).toString('base64'),
});
const honestBlob =
  (digest: string): Reply =>
  (response) =>
    void response.end(bytesOf.get(digest));

let folders = 0;
function store(trusted: ReturnType<typeof trustedKey>[] = []): { folder: string; store: VersionStore } {
  const folder = join(scratch, String(folders++));
  manifestReply = json(plain(MANIFEST));
  blobReply = honestBlob;
  asked = [];
  return { folder, store: new VersionStore(folder, trusted) };
}

/** Nothing was put up as a version, and no blob stays under a digest it does not have. */
function assertClean(folder: string): void {
  const versions = join(folder, 'versions');
  assert.deepEqual(existsSync(versions) ? readdirSync(versions) : [], []);
  const blobs = join(folder, 'blobs');
  for (const name of existsSync(blobs) ? readdirSync(blobs) : [])
    assert.equal(digestOfBytes(readFileSync(join(blobs, name))), `sha256:${name}`);
}

async function refused(
  { folder, store }: { folder: string; store: VersionStore },
  code: string,
  reason: RegExp,
  deployment = deploymentOf(MANIFEST),
): Promise<void> {
  await assert.rejects(store.prepare(deployment, source), (error: SwitchyardError) => {
    assert.match(error.message, reason);
    assert.equal(error.code, code, error.message);
    assert.ok(!error.message.includes(TOKEN), error.message);
    return true;
  });
  assertClean(folder);
}

test('an honest registry is believed, and asked no second time', async () => {
  const { folder, store: first } = store();
  const local = await first.prepare(deploymentOf(MANIFEST), source);
  assert.deepEqual(readFileSync(join(local.scanned.directory, 'model.onnx')), mlflowFiles('one')['model.onnx']);
  asked = [];
  await new VersionStore(folder, []).prepare(deploymentOf(MANIFEST), source);
  assert.deepEqual(asked, []);
});

test('bytes that are not those of the digest are refused', async () => {
  const liar = store();
  blobReply = (digest) => (response) => {
    const bytes = Buffer.from(bytesOf.get(digest) as Buffer);
    bytes[0] ^= 1;
    response.end(bytes);
  };
  await refused(liar, 'failed_precondition', /sent bytes with the digest sha256:[0-9a-f]{64} for sha256:/);
  // It tells the truth in the end: nothing of the lie is left.
  blobReply = honestBlob;
  await liar.store.prepare(deploymentOf(MANIFEST), source);
});

test('more bytes than were named are not taken, however many come', async () => {
  const liar = store();
  blobReply = (digest) => (response) => {
    response.write(bytesOf.get(digest));
    const more = setInterval(() => response.write('x'.repeat(65_536)), 1);
    response.on('close', () => clearInterval(more));
  };
  await refused(liar, 'failed_precondition', /more than the \d+ bytes it named/);
});

test('fewer bytes than were named, and a connection that is cut, are worth another try', async () => {
  const short = store();
  blobReply = (digest) => (response) => void response.end((bytesOf.get(digest) as Buffer).subarray(1));
  await refused(short, 'unavailable', /broke off after \d+ of \d+ bytes/);
  const cut = store();
  blobReply = (digest) => (response) => {
    const bytes = bytesOf.get(digest) as Buffer;
    response.writeHead(200, { 'Content-Length': bytes.byteLength });
    response.write(bytes.subarray(1), () => response.destroy());
  };
  await refused(cut, 'unavailable', /broke off/);
});

test('the manifest of another version is refused, and no byte of it is fetched', async () => {
  const other = manifestFor(mlflowFiles('two'), '2');
  for (const lie of [plain(other), { ...plain(other), digest: manifestDigest(MANIFEST) }]) {
    const liar = store();
    manifestReply = json(lie);
    await refused(liar, 'failed_precondition', /has the digest sha256:[0-9a-f]{64}, not sha256:/);
    assert.deepEqual(asked, ['models/m/versions/1/manifest']);
  }
});

test('manifests that would write elsewhere, or are none, are refused before anything is fetched', async () => {
  const file = MANIFEST.files[0];
  const paths = ['../../escaped', '/etc/escaped', 'a/../../escaped', 'a\\..\\escaped', 'C:/escaped', '', 'a//b', '.'];
  for (const path of paths) {
    const liar = store();
    const manifest = makeManifest('m', '1', [{ ...file, path }]);
    manifestReply = json(plain(manifest));
    await refused(liar, 'failed_precondition', /plain/, deploymentOf(manifest));
    assert.deepEqual(asked, ['models/m/versions/1/manifest'], path);
  }
  const twice = store();
  const both = makeManifest('m', '1', [
    { ...file, path: 'a' },
    { ...file, path: 'a/b' },
  ]);
  manifestReply = json(plain(both));
  await refused(twice, 'failed_precondition', /is a file and a folder/, deploymentOf(both));
});

test('answers that are not what was asked for are the registry being away, not a crash', async () => {
  const rubbish: Reply[] = [
    json({}),
    json({ manifest: 7 }),
    json([]),
    (response) => void response.end('<html>'),
    (response) => void response.end(),
    (response) => void response.writeHead(500).end('x'.repeat(10_000)),
  ];
  for (const reply of rubbish) {
    const liar = store();
    manifestReply = reply;
    await refused(liar, 'unavailable', /the registry/);
  }
  const deployment = deploymentOf(MANIFEST);
  const watch = async (answer: object): Promise<unknown> => {
    manifestReply = json(answer);
    return source.watch({ models: [], everyAlias: 'champion' }, '', new AbortController().signal);
  };
  for (const answer of [
    {},
    { mark: 1, deployments: [], upcoming: [] },
    { mark: 'a', deployments: {}, upcoming: [] },
    { mark: 'a', deployments: [{ ...deployment, version: '../../etc' }], upcoming: [] },
    { mark: 'a', deployments: [{ ...deployment, digest: undefined }], upcoming: [] },
  ])
    await assert.rejects(watch(answer), { code: 'unavailable' }, JSON.stringify(answer));
  const good = { mark: 'a', deployments: [deployment], upcoming: [] };
  assert.deepEqual(await watch(good), good);
});

test('an answer without an end is not collected', async () => {
  const liar = store();
  manifestReply = (response) => {
    const chunk = Buffer.alloc(4 * 1024 * 1024, ' ');
    const write = (): void => {
      while (!response.destroyed && response.write(chunk));
    };
    response.on('drain', write);
    write();
  };
  await refused(liar, 'unavailable', /more than \d+ bytes/);
});

test('a redirect is not followed: the token goes nowhere else', async () => {
  for (const status of [301, 302, 303, 307, 308]) {
    const liar = store();
    const away: Reply = (response) => void response.writeHead(status, { Location: urlOf(thief) }).end();
    manifestReply = away;
    await refused(liar, 'unavailable', /the registry does not answer/);
    manifestReply = json(plain(MANIFEST));
    blobReply = () => away;
    await refused(liar, 'unavailable', /the registry does not answer/);
  }
  assert.deepEqual(stolen, []);
});

test('where keys are trusted, no manifest is taken that none of them has signed for this very version', async () => {
  const pair = generateKeyPairSync('ed25519');
  const key = signingKey(pair.privateKey.export({ type: 'pkcs8', format: 'pem' }));
  const trusted = trustedKey(pair.publicKey.export({ type: 'spki', format: 'pem' }));
  const foreign = signingKey(generateKeyPairSync('ed25519').privateKey.export({ type: 'pkcs8', format: 'pem' }));
  const signed = signManifest(MANIFEST, key);
  const newer = manifestFor(mlflowFiles('two'), '2');
  const lies: [object, RegExp, Manifest?][] = [
    [plain(MANIFEST), /is not signed/],
    [{ ...plain(MANIFEST), signed: signManifest(MANIFEST, foreign) }, /no trusted key has signed it/],
    [{ ...plain(MANIFEST), signed: { ...signed, signatures: [] } }, /no trusted key has signed it/],
    // A foreign signature under the trusted key's name.
    [
      {
        ...plain(MANIFEST),
        signed: { ...signed, signatures: [{ ...signManifest(MANIFEST, foreign).signatures[0], keyid: key.id }] },
      },
      /no trusted key has signed it/,
    ],
    // A genuine signature of an earlier version, shown for a later one.
    [{ ...plain(newer), signed }, /./, newer],
  ];
  for (const [lie, reason, wanted] of lies) {
    const liar = store([trusted]);
    manifestReply = json(lie);
    await refused(liar, 'failed_precondition', reason, deploymentOf(wanted ?? MANIFEST));
    assert.equal(asked.length, 1, 'no byte is fetched');
  }
  const honest = store([trusted]);
  manifestReply = json({ ...plain(MANIFEST), signed });
  await honest.store.prepare(deploymentOf(MANIFEST), source);
});

test('a file of a version that was replaced by another of its size is found out at the next load', async () => {
  const { folder, store: first } = store();
  const { scanned } = await first.prepare(deploymentOf(MANIFEST), source);
  const path = join(scanned.directory, 'model.onnx');
  const right = readFileSync(path);
  const forged = Buffer.from(right);
  forged[forged.byteLength - 1] ^= 1;
  const aside = join(folder, 'forged');
  const forge = (): void => {
    writeFileSync(aside, forged, { mode: 0o600 });
    renameSync(aside, path);
  };
  for (const again of [first, new VersionStore(folder, [])]) {
    forge();
    await again.prepare(deploymentOf(MANIFEST), source);
    assert.deepEqual(readFileSync(path), right);
  }
  assert.equal(statSync(path).nlink, 2, 'linked to the checked bytes');
});

test('a version that was copied, where files cannot be linked, is read through like the rest', async () => {
  const { folder, store: first } = store();
  const { scanned } = await first.prepare(deploymentOf(MANIFEST), source);
  const path = join(scanned.directory, 'model.onnx');
  // As the copy of a file system without links: the same bytes in a file of its own.
  writeFileSync(join(folder, 'copy'), readFileSync(path), { mode: 0o600 });
  renameSync(join(folder, 'copy'), path);
  const copy = statSync(path).ino;
  await new VersionStore(folder, []).prepare(deploymentOf(MANIFEST), source);
  assert.equal(statSync(path).ino, copy, 'right as it is');
});

test('a registry that answers every wait at once is not asked without a pause', async () => {
  const { folder, store: versions } = store();
  manifestReply = json({ mark: 'the same', deployments: [], upcoming: [] });
  const follower = new RegistryFollower({
    source,
    store: versions,
    follow: { models: [], everyAlias: 'champion' },
    folder,
    keepVersions: 0,
    facts: (): ServingFacts => assert.fail('nothing is served'),
    provide: async () => {},
    index: async () => [],
    traffic: () => ({ routes: [], decisions: [] }),
    onMoved: async () => {},
    prove: async () => {},
    gateway: { gateway_id: 'g', host: 'h', program_version: '1', started_at: 1 },
    log: () => {},
  });
  await follower.restore();
  follower.start();
  await sleep(1000);
  await follower.stop();
  const waits = asked.filter((path) => path === 'serving/watch').length;
  assert.ok(waits < 10, `asked ${waits} times in a second`);
});
