import { type FileHandle, mkdtemp, open, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { createGunzip } from 'node:zlib';
import { SwitchyardError } from '../shared/errors.ts';
import { refused } from './model-pack.ts';

/**
 * What gzip has compressed, in a file without a name: it is gone with its handle, also after a crash.
 *
 * @param what names it in errors
 * Throws invalid_argument when it is no gzip, is cut short or damaged, or has more than `maxBytes`, of which not one more
 * is written then; and what `compressed` throws.
 */
export async function inflated(compressed: AsyncIterable<Buffer>, what: string, maxBytes: number): Promise<FileHandle> {
  const folder = await mkdtemp(join(tmpdir(), 'switchyard-layer-'));
  const handle = await open(join(folder, 'layer.tar'), 'wx+', 0o600);
  const source = Readable.from(compressed);
  try {
    await rm(folder, { recursive: true });
    const gunzip = createGunzip();
    // Not by a pipeline, whose error may be that it was aborted instead of why.
    source.on('error', (error) => gunzip.destroy(error));
    let size = 0;
    for await (const chunk of source.pipe(gunzip) as AsyncIterable<Buffer>) {
      if (size + chunk.length > maxBytes) throw refused(`${what} has more than ${maxBytes} bytes uncompressed`);
      for (let from = 0; from < chunk.length; ) {
        const { bytesWritten } = await handle.write(chunk, from, chunk.length - from, size + from);
        from += bytesWritten;
      }
      size += chunk.length;
    }
    return handle;
  } catch (error) {
    source.destroy();
    await handle.close();
    const { code, message } = error as NodeJS.ErrnoException;
    if (error instanceof SwitchyardError || !code?.startsWith('Z_')) throw error;
    throw refused(`${what} is not what gzip writes: ${message}`);
  }
}
