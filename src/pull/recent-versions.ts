import type { Deployment } from '../registry/serving/types.ts';

/** Which versions stay at hand: a rollback finds them on this machine. Known by their digests, per served model. */
export class RecentVersions {
  private readonly kept: number;
  /** Digests that were served or may soon be, newest last. */
  private digests = new Map<string, string[]>();

  /** @param kept that nothing points to any more, per served model */
  constructor(kept: number) {
    this.kept = kept;
  }

  restore(list: readonly [string, string[]][]): void {
    this.digests = new Map(list);
  }

  list(): [string, string[]][] {
    return [...this.digests];
  }

  remember({ served, digest }: Deployment): void {
    const others = (this.digests.get(served) ?? []).filter((known) => known !== digest);
    this.digests.set(served, [...others, digest].slice(-this.kept - 1));
  }

  /** Digests of what is served, may soon be, or stays at hand. Models that are not among these are forgotten. */
  atHand(deployments: readonly Deployment[]): Set<string> {
    const all = new Set(deployments.map(({ digest }) => digest));
    const names = new Set(deployments.map(({ served }) => served));
    for (const [name, list] of this.digests) {
      if (names.has(name)) for (const digest of list) all.add(digest);
      else this.digests.delete(name);
    }
    return all;
  }
}
