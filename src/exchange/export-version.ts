import { createHash } from 'node:crypto';
import type { RegistryFiles } from '../client/registry-files.ts';
import { type Digest, digestOf, hexOf } from '../registry/blobs/digest.ts';
import { manifestDigest, parseManifest } from '../registry/manifest/manifest.ts';
import { SwitchyardError } from '../shared/errors.ts';
import { type LayoutSink, openSink } from './layout-sink.ts';
import { layersOf, modelConfig, OCI_INDEX, OCI_MANIFEST, ociManifest, type VersionFacts } from './model-pack.ts';

/**
 * Writes a model version as an OCI image layout in ModelPack's form: each file is one raw layer, so layers have the
 * digests that the files have in the registry. The same version gives the same bytes every time.
 */
export async function exportVersion(
  client: RegistryFiles,
  name: string,
  version: string,
  target: string,
): Promise<{ digest: Digest; files: number; bytes: number }> {
  const answer = await client.versionManifest(name, version);
  const manifest = parseManifest(Buffer.from(answer.manifest, 'base64'));
  if (manifestDigest(manifest) !== answer.digest || manifest.name !== name)
    throw new SwitchyardError('failed_precondition', 'the server answered a manifest that is not the one it names');
  const row = await client.getVersion(name, version);
  const facts: VersionFacts = {
    name,
    version: manifest.version,
    description: row.description ?? '',
    tags: Object.fromEntries((row.tags ?? []).map(({ key, value }) => [key, value]).sort()),
    createdAt: row.creation_timestamp,
    signatures: answer.signed?.signatures ?? [],
  };
  const sink = await openSink(target);
  try {
    await sink.put('oci-layout', ...text({ imageLayoutVersion: '1.0.0' }));
    const sizes = new Map(manifest.files.map(({ digest, size }) => [digest, size]));
    for (const [digest, size] of sizes) await sink.put(blobName(digest), size, checked(client.blob(digest), digest));
    const config = await putDocument(sink, modelConfig(facts, manifest.files), sizes);
    const packed = await putDocument(sink, ociManifest(config, layersOf(manifest.files), facts), sizes);
    const reference = { 'org.opencontainers.image.ref.name': facts.version };
    const index = {
      schemaVersion: 2,
      mediaType: OCI_INDEX,
      manifests: [{ mediaType: OCI_MANIFEST, ...packed, annotations: reference }],
    };
    await sink.put('index.json', ...text(index));
    await sink.finish();
    const bytes = manifest.files.reduce((sum, { size }) => sum + size, 0);
    return { digest: packed.digest, files: manifest.files.length, bytes };
  } catch (error) {
    await sink.discard();
    throw error;
  }
}

function blobName(digest: Digest): string {
  return `blobs/sha256/${hexOf(digest)}`;
}

function text(document: object): [number, AsyncIterable<Uint8Array>] {
  const bytes = Buffer.from(JSON.stringify(document));
  return [bytes.length, once(bytes)];
}

async function putDocument(
  sink: LayoutSink,
  document: object,
  written: ReadonlyMap<Digest, number>,
): Promise<{ digest: Digest; size: number }> {
  const bytes = Buffer.from(JSON.stringify(document));
  const digest = digestOf(createHash('sha256').update(bytes).digest());
  if (!written.has(digest)) await sink.put(blobName(digest), bytes.length, once(bytes));
  return { digest, size: bytes.length };
}

async function* once(bytes: Uint8Array): AsyncGenerator<Uint8Array> {
  yield bytes;
}

async function* checked(source: AsyncIterable<Uint8Array>, digest: Digest): AsyncGenerator<Uint8Array> {
  const hash = createHash('sha256');
  for await (const chunk of source) {
    hash.update(chunk);
    yield chunk;
  }
  const found = digestOf(hash.digest());
  if (found !== digest)
    throw new SwitchyardError('failed_precondition', `the server sent bytes with the digest ${found} for ${digest}`);
}
