import { type FileHandle, mkdir, open, rename, rm } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { SwitchyardError } from '../shared/errors.ts';
import { tarHeader, tarPadding } from './tar.ts';

/** Where a layout is written: names are the layout's own. Nothing is at the target until `finish`. */
export interface LayoutSink {
  put(name: string, size: number, bytes: AsyncIterable<Uint8Array>): Promise<void>;
  finish(): Promise<void>;
  /** Never rejects. */
  discard(): Promise<void>;
}

/** A `.tar` file, or a folder for any other name. Throws failed_precondition when the target exists. */
export async function openSink(target: string): Promise<LayoutSink> {
  const partial = `${target}.partial`;
  await rm(partial, { recursive: true, force: true });
  await mkdir(dirname(target), { recursive: true });
  const existing = await open(target, 'r').catch(() => undefined);
  if (existing !== undefined) {
    await existing.close();
    throw new SwitchyardError('failed_precondition', `${target} exists already; remove it or give another name`);
  }
  const discard = (): Promise<void> => rm(partial, { recursive: true, force: true }).catch(() => {});
  return target.endsWith('.tar') ? tarSink(target, partial, discard) : folderSink(target, partial, discard);
}

async function folderSink(target: string, partial: string, discard: () => Promise<void>): Promise<LayoutSink> {
  return {
    put: async (name, size, bytes) => {
      await mkdir(dirname(join(partial, name)), { recursive: true });
      const handle = await open(join(partial, name), 'wx', 0o644);
      try {
        await copy(handle, name, size, bytes);
        await handle.datasync();
      } finally {
        await handle.close();
      }
    },
    finish: () => rename(partial, target),
    discard,
  };
}

async function tarSink(target: string, partial: string, discard: () => Promise<void>): Promise<LayoutSink> {
  const handle = await open(partial, 'wx', 0o644);
  return {
    put: async (name, size, bytes) => {
      await handle.write(tarHeader(name, size));
      await copy(handle, name, size, bytes);
      await handle.write(tarPadding(size));
    },
    finish: async () => {
      await handle.write(Buffer.alloc(1024));
      await handle.datasync();
      await handle.close();
      await rename(partial, target);
    },
    discard: async () => {
      await handle.close().catch(() => {});
      await discard();
    },
  };
}

async function copy(handle: FileHandle, name: string, size: number, bytes: AsyncIterable<Uint8Array>): Promise<void> {
  let written = 0;
  for await (const chunk of bytes) {
    written += chunk.byteLength;
    await handle.writeFile(chunk);
  }
  if (written !== size) throw new SwitchyardError('failed_precondition', `${name} has ${written} bytes, not ${size}`);
}
