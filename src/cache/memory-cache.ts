import { LRUCache } from 'lru-cache';
import type { Tensor } from '../tensor/tensor.ts';
import type { CacheCounters, ResponseCache } from './response-cache.ts';

/** What an entry costs beside its bytes: objects, names, the map's own node. */
const ENTRY_OVERHEAD = 256;
const TENSOR_OVERHEAD = 192;

/** Copies with buffers of their own, so that transferring one touches neither the entry nor its neighbours. */
function copyTensors(tensors: readonly Tensor[]): Tensor[] {
  const copies = new Array<Tensor>(tensors.length);
  for (let i = 0; i < tensors.length; i++) {
    const { name, datatype, shape, data } = tensors[i];
    const bytes = new Uint8Array(data.byteLength);
    bytes.set(data);
    copies[i] = { name, datatype, shape: shape.slice(), data: bytes };
  }
  return copies;
}

/** Bytes an entry is counted with. */
export function entryBytes(outputs: readonly Tensor[]): number {
  let bytes = ENTRY_OVERHEAD;
  for (let i = 0; i < outputs.length; i++) bytes += outputs[i].data.byteLength + TENSOR_OVERHEAD;
  return bytes;
}

/** Least recently used answers of one thread, bounded by bytes and age. */
export class MemoryCache implements ResponseCache {
  private readonly entries: LRUCache<string, Tensor[]>;
  private readonly maxEntryBytes: number;
  private hits = 0;
  private misses = 0;
  private oversized = 0;

  constructor(maxBytes: number, maxEntryBytes: number, ttlMs: number) {
    this.maxEntryBytes = Math.min(maxEntryBytes, maxBytes);
    this.entries = new LRUCache({ maxSize: maxBytes, ttl: ttlMs });
  }

  get(key: string): Tensor[] | undefined {
    const entry = this.entries.get(key);
    if (entry === undefined) {
      this.misses++;
      return undefined;
    }
    this.hits++;
    return copyTensors(entry);
  }

  set(key: string, outputs: readonly Tensor[]): void {
    const size = entryBytes(outputs);
    if (size > this.maxEntryBytes) {
      this.oversized++;
      return;
    }
    this.entries.set(key, copyTensors(outputs), { size });
  }

  get counters(): CacheCounters {
    const { hits, misses, oversized } = this;
    return { hits, misses, errors: 0, oversized, bytes: this.entries.calculatedSize, entries: this.entries.size };
  }

  async close(): Promise<void> {
    this.entries.clear();
  }
}
