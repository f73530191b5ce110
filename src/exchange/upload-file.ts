import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { stat } from 'node:fs/promises';
import type { RegistryFiles } from '../client/registry-files.ts';
import { checkArtifactPath } from '../registry/artifacts/path.ts';
import { type Digest, digestOf } from '../registry/blobs/digest.ts';
import { SwitchyardError } from '../shared/errors.ts';

const CHUNK = 1024 * 1024;

/**
 * Stores a file as an artifact. It is read twice: its digest goes ahead, and the server refuses other bytes. Throws
 * invalid_argument for what is no file, and when it changes meanwhile.
 */
export async function uploadFile(
  client: RegistryFiles,
  file: string,
  to: string,
): Promise<{ path: string; bytes: number; digest: Digest }> {
  const path = checkArtifactPath(to);
  const facts = await stat(file).catch((error: Error) => {
    throw new SwitchyardError('invalid_argument', `${JSON.stringify(file)} cannot be read: ${error.message}`);
  });
  if (!facts.isFile()) throw new SwitchyardError('invalid_argument', `${JSON.stringify(file)} is not a file`);
  const hash = createHash('sha256');
  let bytes = 0;
  for await (const chunk of createReadStream(file, { highWaterMark: CHUNK })) {
    hash.update(chunk as Buffer);
    bytes += (chunk as Buffer).length;
  }
  const digest = digestOf(hash.digest());
  await client.upload({ path, size: bytes, digest, media_type: '' }, (start) =>
    createReadStream(file, { start, highWaterMark: CHUNK }),
  );
  return { path, bytes, digest };
}
