import { createHash } from 'node:crypto';
import { readdir, readFile, stat } from 'node:fs/promises';
import { join, relative, sep } from 'node:path';
import sharp from 'sharp';
import type { Source } from '../batch.ts';
import { type RawRow, type ReadOptions, typedRows, withProgress } from '../reading.ts';

const ENDINGS = /\.(jpe?g|png|webp|gif|tiff?|avif)$/i;
/** A larger file is no picture of a training set. */
const MAX_FILE_BYTES = 256 * 1024 * 1024;

const TYPES = {
  path: 'string',
  label: 'string',
  format: 'string',
  width: 'integer',
  height: 'integer',
  channels: 'integer',
  bytes: 'integer',
  sha256: 'string',
} as const;

/**
 * The images below a folder, by reference: one row for each with its path in the folder, the folder it lies in as its
 * label, its size and its digest. What does not decode, or has more pixels than are allowed, is rejected.
 */
export async function readImages(folder: string, maxPixels: number, options: ReadOptions): Promise<Source> {
  const paths = await listImages(folder);
  let bytes = 0;
  async function* rows(): AsyncGenerator<RawRow> {
    for (const [i, path] of paths.entries()) {
      const row = await imageRow(folder, path, i + 1, maxPixels);
      bytes += Number(row.values.bytes ?? 0);
      yield row;
    }
  }
  const source = await typedRows(rows(), { ...options, types: TYPES });
  return withProgress(source, () => ({ bytes, totalBytes: undefined }), options.onProgress);
}

async function listImages(folder: string): Promise<string[]> {
  const entries = await readdir(folder, { withFileTypes: true, recursive: true });
  return entries
    .filter((entry) => entry.isFile() && ENDINGS.test(entry.name))
    .map((entry) => relative(folder, join(entry.parentPath, entry.name)).split(sep).join('/'))
    .sort();
}

async function imageRow(folder: string, path: string, line: number, maxPixels: number): Promise<RawRow> {
  const label = path.includes('/') ? path.split('/').slice(-2)[0] : null;
  try {
    const { size } = await stat(join(folder, path));
    if (size > MAX_FILE_BYTES)
      return { line, values: { path }, problem: `has ${size} bytes; at most ${MAX_FILE_BYTES} are taken` };
    const file = await readFile(join(folder, path));
    const image = sharp(file, { limitInputPixels: maxPixels, failOn: 'error' });
    const { format, width, height, channels } = await image.metadata();
    // Only decoding it whole tells that it is whole.
    await image.stats();
    const sha256 = createHash('sha256').update(file).digest('hex');
    return { line, values: { path, label, format, width, height, channels, bytes: size, sha256 } };
  } catch (error) {
    return {
      line,
      values: { path },
      problem: `${path}: not readable as an image: ${(error as Error).message.split('\n')[0]}`,
    };
  }
}
