/** Units kept at a time, over all groups. */
const CAPACITY = 16_384;

/** JSON as it is: hashes in base64, by group. */
export interface EncodedUnits {
  level: number;
  groups: [string, string][];
}

/**
 * Distinct units by group, of which a sample is kept by their hashes: at level l those of the lowest 2⁻ˡ of all hashes.
 * The level rises when there are too many, whatever group they are in, so that the sample's split over groups is that of
 * all units to within chance alone: a count estimated from registers (HyperLogLog) would add errors that a test of the
 * split takes for a mismatch. A unit stays in the group it was first seen in. Samples of several gateways merge.
 */
export class UnitSample {
  level = 0;
  private readonly capacity: number;
  private readonly groups: string[] = [];
  /** Scrambled hash → index of its group. */
  private units = new Map<number, number>();

  constructor(capacity = CAPACITY) {
    this.capacity = capacity;
  }

  get size(): number {
    return this.units.size;
  }

  /** @param hash 32 bits of the unit, which may have decided its group */
  add(group: string, hash: number): void {
    this.addScrambled(this.indexOf(group), scramble(hash));
  }

  /** Takes in the units of another sample, of the same hash. A unit that is in both keeps its group here. */
  merge(other: UnitSample): void {
    while (this.level < other.level) this.rise();
    const into = other.groups.map((group) => this.indexOf(group));
    for (const [unit, group] of other.units) this.addScrambled(into[group], unit);
  }

  /** Sampled units by group, in the order in which groups were first seen. */
  counts(): Map<string, number> {
    const counts = new Map(this.groups.map((group) => [group, 0]));
    for (const index of this.units.values()) {
      const group = this.groups[index];
      counts.set(group, (counts.get(group) ?? 0) + 1);
    }
    return counts;
  }

  /** For other nodes and the database; `decode` reads it. */
  encode(): EncodedUnits {
    const lists = this.groups.map((): number[] => []);
    for (const [unit, group] of this.units) lists[group].push(unit);
    return {
      level: this.level,
      groups: this.groups.map((group, i) => [group, Buffer.from(Uint32Array.from(lists[i]).buffer).toString('base64')]),
    };
  }

  /** A sample as `encode` wrote it. Not checked: text that is no base64 gives fewer units. */
  static decode({ level, groups }: EncodedUnits, capacity = CAPACITY): UnitSample {
    const sample = new UnitSample(capacity);
    sample.level = level;
    for (const [group, text] of groups) {
      const index = sample.indexOf(group);
      const bytes = Buffer.from(text, 'base64');
      for (let at = 0; at + 4 <= bytes.length; at += 4) sample.addScrambled(index, bytes.readUInt32LE(at));
    }
    return sample;
  }

  private indexOf(group: string): number {
    const known = this.groups.indexOf(group);
    return known >= 0 ? known : this.groups.push(group) - 1;
  }

  private addScrambled(group: number, unit: number): void {
    if (unit >= this.limit() || this.units.has(unit)) return;
    this.units.set(unit, group);
    while (this.units.size > this.capacity) this.rise();
  }

  private limit(): number {
    return 2 ** (32 - this.level);
  }

  private rise(): void {
    this.level++;
    const limit = this.limit();
    for (const unit of this.units.keys()) if (unit >= limit) this.units.delete(unit);
  }
}

/** Another hash, one to one: the bucket a unit falls into is made of the first one's highest bits. */
function scramble(hash: number): number {
  let h = hash ^ 0x5bd1_e995;
  h = Math.imul(h ^ (h >>> 16), 0x85eb_ca6b);
  h = Math.imul(h ^ (h >>> 13), 0xc2b2_ae35);
  return (h ^ (h >>> 16)) >>> 0;
}
