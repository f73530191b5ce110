/** Tenants with figures of their own; all later ones are counted as 'other'. Bounds labels, not service. */
export const MAX_TENANTS = 100;
export const OTHER_TENANT = MAX_TENANTS;
const NAME_BYTES = 128;
const ENTRY_WORDS = 2 + NAME_BYTES / 4;

export const TenantColumn = {
  requests: 0,
  failures: 1,
  bytesIn: 2,
  bytesOut: 3,
  cpuSeconds: 4,
  gpuSeconds: 5,
  memoryByteSeconds: 6,
} as const;
export const TENANT_COLUMNS = 7;

/** One for all threads of the process. */
export function allocateTenantNames(): SharedArrayBuffer {
  return new SharedArrayBuffer(MAX_TENANTS * ENTRY_WORDS * 4);
}

/** One per writing thread. */
export function allocateTenantBlock(): SharedArrayBuffer {
  return new SharedArrayBuffer((MAX_TENANTS + 1) * TENANT_COLUMNS * 8);
}

/**
 * The tenants seen so far, first come first named, the same in all threads: an entry's state word goes from 0 (free)
 * through 1 (its name is being written) to 2 (readable), each step by one compare-exchange.
 */
export class TenantNames {
  private readonly words: Int32Array;
  private readonly bytes: Uint8Array;
  private readonly slots = new Map<string, number>();
  private last = '';
  private lastSlot = OTHER_TENANT;

  constructor(buffer: SharedArrayBuffer) {
    this.words = new Int32Array(buffer);
    this.bytes = new Uint8Array(buffer);
  }

  /** The tenant's slot, or OTHER_TENANT when the table is full or the name too long. */
  slotOf(tenant: string): number {
    if (tenant === this.last) return this.lastSlot;
    const known = this.slots.get(tenant);
    if (known !== undefined) {
      this.last = tenant;
      this.lastSlot = known;
      return known;
    }
    // A tenant that calls itself so would write the same series twice.
    if (this.slots.size >= MAX_TENANTS || tenant === 'other' || tenant === '') return OTHER_TENANT;
    return this.find(tenant);
  }

  private find(tenant: string): number {
    const name = Buffer.from(tenant);
    if (name.length > NAME_BYTES) return OTHER_TENANT;
    for (let slot = 0; slot < MAX_TENANTS; slot++) {
      const state = Atomics.compareExchange(this.words, slot * ENTRY_WORDS, 0, 1);
      if (state === 0) {
        this.bytes.set(name, (slot * ENTRY_WORDS + 2) * 4);
        this.words[slot * ENTRY_WORDS + 1] = name.length;
        Atomics.store(this.words, slot * ENTRY_WORDS, 2);
        this.slots.set(tenant, slot);
        return slot;
      }
      // Another thread is naming this entry, perhaps for the same tenant: a few requests go to 'other' meanwhile.
      if (state === 1) return OTHER_TENANT;
      const found = this.nameOf(slot);
      this.slots.set(found, slot);
      if (found === tenant) return slot;
    }
    return OTHER_TENANT;
  }

  /** '' for a slot nobody has yet. */
  nameOf(slot: number): string {
    if (slot === OTHER_TENANT) return 'other';
    if (Atomics.load(this.words, slot * ENTRY_WORDS) !== 2) return '';
    const start = (slot * ENTRY_WORDS + 2) * 4;
    return Buffer.from(this.bytes.slice(start, start + this.words[slot * ENTRY_WORDS + 1])).toString();
  }
}

/** One thread's figures per tenant; only this thread writes them. */
export class TenantBlock {
  private readonly figures: Float64Array;

  constructor(buffer: SharedArrayBuffer) {
    this.figures = new Float64Array(buffer);
  }

  /** One request of the tenant, with its share of the batch's CPU and GPU seconds, and of the memory that it kept in use. */
  record(
    slot: number,
    ok: boolean,
    bytesIn: number,
    bytesOut: number,
    cpuSeconds: number,
    gpuSeconds: number,
    memoryByteSeconds: number,
  ): void {
    const at = slot * TENANT_COLUMNS;
    this.figures[at + TenantColumn.requests]++;
    if (!ok) this.figures[at + TenantColumn.failures]++;
    this.figures[at + TenantColumn.bytesIn] += bytesIn;
    this.figures[at + TenantColumn.bytesOut] += bytesOut;
    this.figures[at + TenantColumn.cpuSeconds] += cpuSeconds;
    this.figures[at + TenantColumn.gpuSeconds] += gpuSeconds;
    this.figures[at + TenantColumn.memoryByteSeconds] += memoryByteSeconds;
  }
}

export interface TenantFigures {
  tenant: string;
  /** TENANT_COLUMNS sums. */
  figures: Float64Array;
}

/** Sums over threads, of tenants that asked anything. */
export function sumTenants(names: TenantNames, blocks: readonly SharedArrayBuffer[]): TenantFigures[] {
  const tenants: TenantFigures[] = [];
  const views = blocks.map((block) => new Float64Array(block));
  for (let slot = 0; slot <= MAX_TENANTS; slot++) {
    const tenant = names.nameOf(slot);
    if (tenant === '') continue;
    const figures = new Float64Array(TENANT_COLUMNS);
    for (const view of views) {
      for (let c = 0; c < TENANT_COLUMNS; c++) figures[c] += view[slot * TENANT_COLUMNS + c];
    }
    if (figures[TenantColumn.requests] > 0) tenants.push({ tenant, figures });
  }
  return tenants;
}
