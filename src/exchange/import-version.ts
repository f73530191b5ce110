import { randomUUID } from 'node:crypto';
import type { RegistryFiles } from '../client/registry-files.ts';
import { checkArtifactPath, IMPORTS } from '../registry/artifacts/path.ts';
import { type ArchivedFile, LayoutSource } from './layout-source.ts';
import { checkPaths, type PackedModel, readManifest, refused } from './model-pack.ts';

export interface ImportOptions {
  /** Absent: as the package says. */
  name?: string | undefined;
  maxBytes: number;
}

/**
 * Registers what an OCI image layout holds as the next version of a model. Everything that can be known without reading
 * the layers is checked before the first byte is sent, archives are read through, and each file's digest is compared while it
 * is sent and again by the server.
 */
export async function importVersion(
  client: RegistryFiles,
  from: string,
  { name: given, maxBytes }: ImportOptions,
): Promise<{ name: string; version: string; files: number; bytes: number }> {
  const source = await LayoutSource.open(from);
  try {
    const model = readManifest((await source.manifest()).document);
    const name = given ?? model.name;
    if (name === '') throw refused('it does not say its name; give one');
    await check(source, model, maxBytes);
    const files = await unpack(source, model, maxBytes);
    checkPaths(files);
    const bytes = files.reduce((sum, { size }) => sum + size, 0);
    const folder = `${IMPORTS}${randomUUID()}/artifacts`;
    try {
      const wanted = files.map(({ path, ...file }) => ({ ...file, path: checkArtifactPath(`${folder}/${path}`) }));
      for (const { path, digest, size, mediaType, bytes } of wanted)
        await client.upload({ path, size, digest, media_type: mediaType }, bytes);
      await client.ensureModel(name);
      const { version } = await client.createVersion({
        name,
        source: `mlflow-artifacts:/${folder}`,
        description: model.description,
        tags: Object.entries(model.tags).map(([key, value]) => ({ key, value })),
      });
      return { name, version, files: files.length, bytes };
    } catch (error) {
      await client.removeArtifacts(folder).catch(() => {});
      throw error;
    }
  } finally {
    await source.close();
  }
}

async function check(source: LayoutSource, { config, layers }: PackedModel, maxBytes: number): Promise<void> {
  const bytes = layers.reduce((sum, { size }) => sum + size, 0);
  if (bytes > maxBytes) throw refused(`its layers have ${bytes} bytes together; at most ${maxBytes} are taken`);
  await source.small(config);
  for (const layer of layers) await source.check(layer);
}

/** The files of all layers: each its own, or what an archive holds. Of `maxBytes`, uncompressed layers count as they are. */
async function unpack(
  source: LayoutSource,
  { layers }: PackedModel,
  maxBytes: number,
): Promise<(ArchivedFile & { mediaType: string })[]> {
  const files: (ArchivedFile & { mediaType: string })[] = [];
  const plain = layers.filter(({ form }) => form !== 'tar+gzip').reduce((sum, { size }) => sum + size, 0);
  let left = maxBytes - plain;
  for (const { path, digest, size, mediaType, form } of layers) {
    const blob = { digest, size };
    if (form === 'file') {
      files.push({ path, digest, size, mediaType, bytes: (from) => source.blob(blob, from) });
    } else if (form === 'tar') {
      for (const file of await source.archive(blob)) files.push({ ...file, mediaType: '' });
    } else {
      const archive = await source.gzipArchive(blob, left);
      left -= archive.bytes;
      for (const file of archive.files) files.push({ ...file, mediaType: '' });
    }
  }
  if (files.length === 0) throw refused('its layers hold no file');
  return files;
}
