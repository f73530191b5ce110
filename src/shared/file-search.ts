import { type FileHandle, open } from 'node:fs/promises';

const CHUNK_BYTES = 1024 * 1024;

export interface FoundLine {
  line: string;
  offset: number;
}

/**
 * The first line of a text file that begins with `start`, read chunk by chunk and without blocking between them.
 * Undefined: there is none. Rejects when the file cannot be read, or when `signal` says that it is enough.
 */
export async function lineStarting(path: string, start: string, signal?: AbortSignal): Promise<FoundLine | undefined> {
  const needle = Buffer.from(`\n${start}`);
  const file = await open(path, 'r');
  try {
    // The line feed before the first line, and what is kept of the chunk before.
    const buffer = Buffer.allocUnsafe(CHUNK_BYTES + needle.length);
    buffer[0] = 0x0a;
    let kept = 1;
    for (let at = 0; ; ) {
      signal?.throwIfAborted();
      const { bytesRead } = await file.read(buffer, kept, CHUNK_BYTES, at);
      if (bytesRead === 0) return undefined;
      const filled = kept + bytesRead;
      const found = buffer.subarray(0, filled).indexOf(needle);
      if (found >= 0) {
        const offset = at - kept + found + 1;
        return { line: await lineAt(file, offset), offset };
      }
      at += bytesRead;
      kept = Math.min(needle.length - 1, filled);
      buffer.copyWithin(0, filled - kept, filled);
    }
  } finally {
    await file.close();
  }
}

/** The first line of a file; '' when it is empty. */
export async function firstLine(path: string): Promise<string> {
  const file = await open(path, 'r');
  try {
    return await lineAt(file, 0);
  } finally {
    await file.close();
  }
}

async function lineAt(file: FileHandle, offset: number): Promise<string> {
  const parts: Buffer[] = [];
  for (let at = offset; ; ) {
    const { bytesRead, buffer } = await file.read(Buffer.allocUnsafe(64 * 1024), 0, 64 * 1024, at);
    const end = buffer.subarray(0, bytesRead).indexOf(0x0a);
    parts.push(buffer.subarray(0, end < 0 ? bytesRead : end));
    if (end >= 0 || bytesRead === 0) return Buffer.concat(parts).toString('utf8');
    at += bytesRead;
  }
}
