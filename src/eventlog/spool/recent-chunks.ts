/** More only takes memory: a sink that is further behind reads the disk. */
const MAX_BYTES = 8 * 1024 * 1024;

interface RecentChunk {
  segment: number;
  offset: number;
  /** Number of its first record. */
  record: number;
  chunk: Uint8Array;
  count: number;
}

/** What was appended last, in the order of its records: sinks that keep up never read the disk. */
export class RecentChunks {
  private list: RecentChunk[] = [];
  private bytes = 0;

  /** The caller leaves the chunk's bytes as they are. */
  add(entry: RecentChunk): void {
    this.list.push(entry);
    this.bytes += entry.chunk.length;
    while (this.bytes > MAX_BYTES && this.list.length > 1)
      this.bytes -= (this.list.shift() as RecentChunk).chunk.length;
  }

  /** The chunk with a record. */
  with(record: number): RecentChunk | undefined {
    const { list } = this;
    let low = 0;
    let high = list.length - 1;
    while (low <= high) {
      const middle = (low + high) >> 1;
      const each = list[middle];
      if (record < each.record) high = middle - 1;
      else if (record >= each.record + each.count) low = middle + 1;
      else return each;
    }
    return undefined;
  }

  /** The last chunk of a segment that begins with a record, or before it. */
  before(record: number, segment: number): RecentChunk | undefined {
    return this.list.findLast((each) => each.segment === segment && each.record <= record);
  }

  /** Its segment is deleted. */
  forget(segment: number): void {
    this.list = this.list.filter((each) => each.segment !== segment);
    this.bytes = this.list.reduce((sum, { chunk }) => sum + chunk.length, 0);
  }
}
