import { type Contribution, encodeContribution, withoutFolded } from './contribution.ts';
import { isControlled, type LiveRoute } from './live.ts';
import type { RewardJoin } from './reward-join.ts';
import type { Standing } from './standing.ts';

export interface StandingKeeperParts {
  routes: ReadonlyMap<string, LiveRoute>;
  /** Whether this gateway shares nothing: its counts are kept with the standings. Those of several live in Redis. */
  alone: boolean;
  leading(): boolean;
  /** What is known of a route, by all gateways together. */
  data(live: LiveRoute): Contribution;
  /** Keeps standings; `undefined` removes. */
  save(standings: ReadonlyMap<string, string | undefined>): Promise<void>;
  log(level: 'info' | 'warn' | 'error', message: string, fields: object): void;
}

/** Between two writes of what was only counted. */
const SAVE_MS = 2000;

/** Keeps in the database where routes stand: what could not be written stays unsaved, and is written with the next ones. */
export class StandingKeeper {
  private readonly parts: StandingKeeperParts;
  private restored = false;
  private savedAt = 0;
  private saving: Promise<void> | undefined;

  constructor(parts: StandingKeeperParts) {
    this.parts = parts;
  }

  /** The database has told where routes stood: what is kept must not be overwritten before it was read. */
  begin(): void {
    this.restored = true;
  }

  get begun(): boolean {
    return this.restored;
  }

  /** The next `save` does not wait for its time. */
  hurry(): void {
    this.savedAt = 0;
  }

  /** Routes that are no more. Never rejects. */
  async forget(names: readonly string[]): Promise<void> {
    if (names.length === 0) return;
    const gone = new Map(names.map((name) => [name, undefined]));
    await this.parts.save(gone).catch((error: unknown) => this.cannotSave(error));
  }

  /** Everything there is to keep, or has been tried to. Never rejects. */
  async flush(now: number): Promise<void> {
    // One that began earlier lacks what came since, and lets no second one begin.
    await this.saving;
    this.hurry();
    await this.save(now);
  }

  /** Writes what is not kept yet: now and then, at once after `hurry`. One write at a time. Never rejects. */
  async save(now: number): Promise<void> {
    // What is kept must not be overwritten before it was read.
    if (!this.restored || this.saving !== undefined || !this.parts.leading()) return;
    if (now >= this.savedAt && now - this.savedAt < SAVE_MS) return;
    this.savedAt = now;
    const standings = new Map<string, string>();
    const learnt = new Map<RewardJoin, number>();
    for (const live of this.parts.routes.values()) {
      if (!live.unsaved) continue;
      live.unsaved = false;
      // With several gateways the counts live in Redis.
      const before: Pick<Standing, 'before'> =
        this.parts.alone && isControlled(live.document)
          ? { before: encodeContribution(withoutFolded(this.parts.data(live), live.standing.totals)) }
          : {};
      standings.set(live.name, JSON.stringify({ ...live.standing, ...before }));
      if (live.join !== undefined && before.before !== undefined) learnt.set(live.join, before.before.learnt ?? 0);
    }
    if (standings.size === 0) return;
    this.saving = this.write(standings, learnt);
    await this.saving;
    this.saving = undefined;
  }

  /** Never rejects. */
  private async write(standings: ReadonlyMap<string, string>, learnt: ReadonlyMap<RewardJoin, number>): Promise<void> {
    try {
      await this.parts.save(standings);
      for (const [join, until] of learnt) join.prune(until);
    } catch (error) {
      for (const name of standings.keys()) {
        const live = this.parts.routes.get(name);
        if (live !== undefined) live.unsaved = true;
      }
      this.cannotSave(error);
    }
  }

  private cannotSave(error: unknown): void {
    this.parts.log('error', 'where routes stand cannot be kept; it is tried again', { err: error });
  }
}
