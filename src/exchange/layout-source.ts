import { createHash } from 'node:crypto';
import { constants } from 'node:fs';
import { type FileHandle, lstat, open } from 'node:fs/promises';
import { join } from 'node:path';
import { type Digest, digestOf, hexOf } from '../registry/blobs/digest.ts';
import { inflated } from './inflate.ts';
import { type Descriptor, OCI_MANIFEST, readDescriptor, refused } from './model-pack.ts';
import { tarFiles } from './tar.ts';

const MAX_DOCUMENT = 4 * 1024 * 1024;
const CHUNK = 1024 * 1024;

/** A place in a file from which bytes are read. */
interface Extent {
  handle: FileHandle;
  offset: number;
  size: number;
}

/** A file in a layer that is an archive. */
export interface ArchivedFile {
  path: string;
  size: number;
  digest: Digest;
  /** Its bytes from an offset on. */
  bytes(from: number): AsyncIterable<Uint8Array>;
}

/** An OCI image layout, as a folder or as an uncompressed tar archive. Only plain files in it are ever opened. */
export class LayoutSource {
  private readonly find: (name: string) => Promise<Extent | undefined>;
  private readonly closeSource: () => Promise<void>;
  /** Archives that were compressed, as they are without. */
  private readonly inflated: FileHandle[] = [];

  private constructor(find: (name: string) => Promise<Extent | undefined>, close: () => Promise<void>) {
    this.find = find;
    this.closeSource = close;
  }

  async close(): Promise<void> {
    for (const handle of this.inflated.splice(0)) await handle.close();
    await this.closeSource();
  }

  static async open(path: string): Promise<LayoutSource> {
    const facts = await lstat(path).catch(() => undefined);
    if (facts === undefined) throw refused(`${JSON.stringify(path)} cannot be read`);
    if (facts.isDirectory()) return openFolder(path);
    if (facts.isFile()) return openArchive(path);
    throw refused(`${JSON.stringify(path)} is neither a folder nor a file`);
  }

  static of(find: (name: string) => Promise<Extent | undefined>, close: () => Promise<void>): LayoutSource {
    return new LayoutSource(find, close);
  }

  /** The one manifest that the layout's index names. Throws invalid_argument. */
  async manifest(): Promise<{ descriptor: Descriptor; document: unknown }> {
    const layout = (await this.document('oci-layout')) as { imageLayoutVersion?: unknown } | null;
    if (layout?.imageLayoutVersion !== '1.0.0') throw refused('it is no OCI image layout of version 1.0.0');
    const { manifests } = ((await this.document('index.json')) ?? {}) as { manifests?: unknown };
    if (!Array.isArray(manifests) || manifests.length !== 1)
      throw refused('its index must name exactly one manifest; split it first');
    const descriptor = readDescriptor(manifests[0], 'the manifest');
    if (descriptor.mediaType !== OCI_MANIFEST) throw refused(`its manifest is ${JSON.stringify(descriptor.mediaType)}`);
    return { descriptor, document: parse(await this.small(descriptor), 'the manifest') };
  }

  /** A document's bytes, compared with its descriptor. */
  async small(descriptor: Pick<Descriptor, 'digest' | 'size'>): Promise<Buffer> {
    if (descriptor.size > MAX_DOCUMENT) throw refused(`${descriptor.digest} is larger than ${MAX_DOCUMENT} bytes`);
    const chunks: Buffer[] = [];
    for await (const chunk of this.blob(descriptor, 0)) chunks.push(chunk);
    return Buffer.concat(chunks);
  }

  /** Throws invalid_argument unless the blob is there with that size. Its bytes are compared when they are read. */
  async check(descriptor: Pick<Descriptor, 'digest' | 'size'>): Promise<void> {
    await this.extent(descriptor);
  }

  /**
   * The bytes of a blob from an offset on. Throws invalid_argument when they are not what the digest says, before the
   * last of them is given out; a blob read from the middle is read from its beginning for that.
   */
  async *blob({ digest, size }: Pick<Descriptor, 'digest' | 'size'>, from: number): AsyncGenerator<Buffer> {
    const { handle, offset } = await this.extent({ digest, size });
    const hash = createHash('sha256');
    let held: Buffer | undefined;
    for (let at = 0; at < size; ) {
      const buffer = Buffer.allocUnsafe(Math.min(CHUNK, size - at));
      const { bytesRead } = await handle.read(buffer, 0, buffer.length, offset + at);
      if (bytesRead === 0) throw refused(`${digest} is cut short`);
      const chunk = buffer.subarray(0, bytesRead);
      hash.update(chunk);
      if (held !== undefined && held.length > 0) yield held;
      held = chunk.subarray(Math.max(0, Math.min(chunk.length, from - at)));
      at += bytesRead;
    }
    const found = digestOf(hash.digest());
    if (found !== digest) throw refused(`the bytes of ${digest} have the digest ${found}`);
    if (held !== undefined && held.length > 0) yield held;
  }

  /**
   * The files of a blob that is an archive, once its bytes are what its digest says. Throws invalid_argument for
   * everything that tarFiles refuses.
   */
  async archive(blob: Pick<Descriptor, 'digest' | 'size'>): Promise<ArchivedFile[]> {
    // From its end: read through and compared, given out nowhere.
    await this.blob(blob, blob.size).next();
    return filesOf(blob.digest, () => this.extent(blob));
  }

  /**
   * As archive, of one that gzip has compressed. It is kept without in a file that has no name, until this source is
   * closed. Throws invalid_argument when it has more than `maxBytes` then.
   */
  async gzipArchive(
    blob: Pick<Descriptor, 'digest' | 'size'>,
    maxBytes: number,
  ): Promise<{ files: ArchivedFile[]; bytes: number }> {
    const handle = await inflated(this.blob(blob, 0), blob.digest, maxBytes);
    this.inflated.push(handle);
    const extent: Extent = { handle, offset: 0, size: (await handle.stat()).size };
    return { files: await filesOf(blob.digest, async () => extent), bytes: extent.size };
  }

  private async document(name: string): Promise<unknown> {
    const found = await this.find(name);
    if (found === undefined) throw refused(`it has no ${name}`);
    if (found.size > MAX_DOCUMENT) throw refused(`${name} is larger than ${MAX_DOCUMENT} bytes`);
    const buffer = Buffer.alloc(found.size);
    await found.handle.read(buffer, 0, found.size, found.offset);
    return parse(buffer, name);
  }

  private async extent({ digest, size }: { digest: Digest; size: number }): Promise<Extent> {
    const found = await this.find(`blobs/sha256/${hexOf(digest)}`);
    if (found === undefined) throw refused(`it lacks ${digest}`);
    if (found.size !== size) throw refused(`${digest} has ${found.size} bytes, not ${size}`);
    return found;
  }
}

/** @param extentOf where the archive lies: asked anew for each read, as a source keeps one file open */
async function filesOf(digest: Digest, extentOf: () => Promise<Extent>): Promise<ArchivedFile[]> {
  const { handle, offset, size: all } = await extentOf();
  const found = await tarFiles(all, async (at, length) => {
    const buffer = Buffer.alloc(length);
    await handle.read(buffer, 0, length, offset + at);
    return buffer;
  });
  const files: ArchivedFile[] = [];
  for (const { name, offset: start, size } of found.values()) {
    const hash = createHash('sha256');
    for await (const chunk of part(digest, extentOf, start, start + size)) hash.update(chunk);
    const bytes = (from: number): AsyncGenerator<Buffer> => part(digest, extentOf, start + from, start + size);
    files.push({ path: name, size, digest: digestOf(hash.digest()), bytes });
  }
  return files;
}

async function* part(
  digest: Digest,
  extentOf: () => Promise<Extent>,
  from: number,
  to: number,
): AsyncGenerator<Buffer> {
  const { handle, offset } = await extentOf();
  for (let at = from; at < to; ) {
    const buffer = Buffer.allocUnsafe(Math.min(CHUNK, to - at));
    const { bytesRead } = await handle.read(buffer, 0, buffer.length, offset + at);
    if (bytesRead === 0) throw refused(`${digest} is cut short`);
    at += bytesRead;
    yield buffer.subarray(0, bytesRead);
  }
}

function parse(bytes: Buffer, what: string): unknown {
  try {
    return JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(bytes));
  } catch {
    throw refused(`${what} is not JSON`);
  }
}

async function openArchive(path: string): Promise<LayoutSource> {
  const handle = await open(path, constants.O_RDONLY | constants.O_NOFOLLOW);
  try {
    const { size } = await handle.stat();
    const files = await tarFiles(size, async (offset, length) => {
      const buffer = Buffer.alloc(length);
      await handle.read(buffer, 0, length, offset);
      return buffer;
    });
    const find = async (name: string): Promise<Extent | undefined> => {
      const file = files.get(name);
      return file === undefined ? undefined : { handle, offset: file.offset, size: file.size };
    };
    return LayoutSource.of(find, () => handle.close());
  } catch (error) {
    await handle.close();
    throw error;
  }
}

function openFolder(root: string): LayoutSource {
  let last: { name: string; extent: Extent } | undefined;
  const close = async (): Promise<void> => {
    await last?.extent.handle.close();
    last = undefined;
  };
  const find = async (name: string): Promise<Extent | undefined> => {
    if (last?.name === name) return last.extent;
    const parts = name.split('/');
    for (let i = 1; i <= parts.length; i++) {
      const facts = await lstat(join(root, ...parts.slice(0, i))).catch(() => undefined);
      if (facts === undefined) return undefined;
      if (i === parts.length ? !facts.isFile() : !facts.isDirectory())
        throw refused(
          `${JSON.stringify(parts.slice(0, i).join('/'))} is a link or a device; only plain files are taken`,
        );
    }
    const handle = await open(join(root, name), constants.O_RDONLY | constants.O_NOFOLLOW);
    const facts = await handle.stat();
    if (!facts.isFile()) {
      await handle.close();
      throw refused(`${JSON.stringify(name)} is no plain file`);
    }
    await close();
    last = { name, extent: { handle, offset: 0, size: facts.size } };
    return last.extent;
  };
  return LayoutSource.of(find, close);
}
