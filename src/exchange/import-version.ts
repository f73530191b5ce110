import { randomUUID } from 'node:crypto';
import type { RegistryFiles } from '../client/registry-files.ts';
import { checkArtifactPath } from '../registry/artifacts/path.ts';
import { LayoutSource } from './layout-source.ts';
import { type PackedModel, readManifest, refused } from './model-pack.ts';

export interface ImportOptions {
  /** Absent: as the package says. */
  name?: string | undefined;
  maxBytes: number;
}

/**
 * Registers what an OCI image layout holds as the next version of a model. Everything that can be known without reading
 * the layers is checked before the first byte is sent, and each layer's digest while it is sent and again by the server.
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
    const bytes = await check(source, model, maxBytes);
    const folder = `imports/${randomUUID()}/artifacts`;
    try {
      for (const { path, digest, size, mediaType } of model.files) {
        const file = { path: checkArtifactPath(`${folder}/${path}`), size, digest, media_type: mediaType };
        await client.upload(file, (offset) => source.blob({ digest, size }, offset));
      }
      await client.ensureModel(name);
      const { version } = await client.createVersion({
        name,
        source: `mlflow-artifacts:/${folder}`,
        description: model.description,
        tags: Object.entries(model.tags).map(([key, value]) => ({ key, value })),
      });
      return { name, version, files: model.files.length, bytes };
    } catch (error) {
      await client.removeArtifacts(folder).catch(() => {});
      throw error;
    }
  } finally {
    await source.close();
  }
}

async function check(source: LayoutSource, { config, files }: PackedModel, maxBytes: number): Promise<number> {
  const bytes = files.reduce((sum, { size }) => sum + size, 0);
  if (bytes > maxBytes) throw refused(`its files have ${bytes} bytes together; at most ${maxBytes} are taken`);
  await source.small(config);
  for (const file of files) await source.check(file);
  return bytes;
}
