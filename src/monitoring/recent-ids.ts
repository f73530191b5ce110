/** Ids seen lately, as many as are remembered: between once and twice `most`. */
export class RecentIds {
  private readonly most: number;
  private newer = new Set<string>();
  private older = new Set<string>();

  constructor(most: number) {
    this.most = most;
  }

  /** False: it was seen lately. */
  add(id: string): boolean {
    if (this.newer.has(id) || this.older.has(id)) return false;
    this.newer.add(id);
    if (this.newer.size < this.most) return true;
    this.older = this.newer;
    this.newer = new Set();
    return true;
  }
}
