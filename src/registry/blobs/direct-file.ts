import { constants } from 'node:fs';
import { type FileHandle, open } from 'node:fs/promises';

/** Offsets and lengths of direct writes are multiples of it: no disk has larger blocks. */
export const BLOCK_BYTES = 4096;
const BUFFER_BYTES = 1024 * 1024;
const BUFFERS = 8;
const WASM_PAGE_BYTES = 65_536;

/** The types of node leave it out. */
declare const WebAssembly: { Memory: new (size: { initial: number; maximum: number }) => { buffer: ArrayBuffer } };

/**
 * Buffers that begin at a page, as direct writes need them. The memory of WebAssembly is the only one that JavaScript can
 * have at such an address; the system gives it when it is first written to. A buffer is held for the time of one write,
 * so that uploads which wait for their clients hold none.
 */
export class AlignedBuffers {
  private readonly free: Uint8Array[];
  private readonly waiting: ((buffer: Uint8Array) => void)[] = [];

  constructor() {
    const pages = (BUFFERS * BUFFER_BYTES) / WASM_PAGE_BYTES;
    const { buffer } = new WebAssembly.Memory({ initial: pages, maximum: pages });
    this.free = Array.from({ length: BUFFERS }, (_, i) => new Uint8Array(buffer, i * BUFFER_BYTES, BUFFER_BYTES));
  }

  async with<T>(use: (buffer: Uint8Array) => Promise<T>): Promise<T> {
    const buffer = this.free.pop() ?? (await new Promise<Uint8Array>((resolve) => this.waiting.push(resolve)));
    try {
      return await use(buffer);
    } finally {
      const next = this.waiting.shift();
      if (next === undefined) this.free.push(buffer);
      else next(buffer);
    }
  }
}

/**
 * A file written past the system's page cache: an upload of gigabytes neither pushes out what the cache holds nor pays
 * for filling it, and its sync at the end finds nothing left to write.
 */
export class DirectFile {
  private readonly handle: FileHandle;
  private readonly buffers: AlignedBuffers;

  private constructor(handle: FileHandle, buffers: AlignedBuffers) {
    this.handle = handle;
    this.buffers = buffers;
  }

  /** Undefined where the system or the file system has no direct writes. */
  static async open(file: string, buffers: AlignedBuffers): Promise<DirectFile | undefined> {
    if (constants.O_DIRECT === undefined) return undefined;
    const handle = await open(file, constants.O_WRONLY | constants.O_DIRECT | constants.O_NOFOLLOW).catch(() => {});
    return handle === undefined ? undefined : new DirectFile(handle, buffers);
  }

  /** @param at like the sum of the chunks' bytes, a multiple of BLOCK_BYTES */
  async write(chunks: readonly Uint8Array[], at: number): Promise<void> {
    let [index, skip] = [0, 0];
    while (index < chunks.length) {
      await this.buffers.with(async (buffer) => {
        let filled = 0;
        while (index < chunks.length && filled < buffer.length) {
          const piece = chunks[index].subarray(skip, skip + buffer.length - filled);
          buffer.set(piece, filled);
          filled += piece.length;
          skip += piece.length;
          if (skip === chunks[index].length) [index, skip] = [index + 1, 0];
        }
        for (let done = 0; done < filled; )
          done += (await this.handle.write(buffer, done, filled - done, at + done)).bytesWritten;
        at += filled;
      });
    }
  }

  close(): Promise<void> {
    return this.handle.close();
  }
}

/** Chunks cut in two after so many bytes. */
export function cutAfter(chunks: readonly Uint8Array[], bytes: number): [Uint8Array[], Uint8Array[]] {
  const front: Uint8Array[] = [];
  for (const [i, chunk] of chunks.entries()) {
    if (chunk.length > bytes) {
      if (bytes > 0) front.push(chunk.subarray(0, bytes));
      return [front, [chunk.subarray(bytes), ...chunks.slice(i + 1)]];
    }
    front.push(chunk);
    bytes -= chunk.length;
  }
  return [front, []];
}
