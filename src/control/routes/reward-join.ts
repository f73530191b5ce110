import type { RewardSpec } from '../../config/strategy-schema.ts';
import { isOfTenant } from '../../shared/feedback-events.ts';
import type { Kept, KeptReward, WaitingJournal } from './waiting-journal.ts';

/** What became of one reward. Only 'accepted' ones are ever learnt from. */
export type RewardResult =
  | 'accepted'
  /** For a decision of another gateway, which gets it; only with several of them. */
  | 'forwarded'
  | 'unknown'
  | 'expired'
  | 'duplicate'
  /** Its event id could not be remembered, so neither it nor its repetitions count. */
  | 'tooManyIds'
  /** For an answer of another variant than the arm that was chosen, which failed. */
  | 'failedOver'
  | 'notANumber'
  | 'outOfRange';

/** What a reward is joined with: the arm that was served, and the context it was chosen in. */
export interface Awaiting {
  arm: number;
  context: number[] | undefined;
  /** The arm failed, and another variant answered: its reward is the default, whatever comes. */
  failed?: boolean;
  /** Of the unit that sticks; −1: none. */
  bucket?: number;
  /** Who asked: no other tenant's reward counts. '': not known, as of what an earlier version of the program wrote down. */
  tenant?: string;
  /** Of the arm, that was asked; '': not known, as of what an earlier version of the program wrote down. */
  version?: string;
}

interface Pending extends Awaiting {
  tenant: string;
  version: string;
  seq: number;
  due: number;
  count: number;
  /** By the aggregate: the first, the last, the sum or the greatest. */
  value: number;
  /** Ids of events that were counted, for senders that may send one twice. */
  events: Set<string> | undefined;
}

/** Decisions that wait at a time; further ones are counted as lost. */
const MAX_PENDING = 200_000;
/** Numbers of contexts that are kept at a time. */
const MAX_NUMBERS = 8_000_000;
/** Of events of one decision. */
export const MAX_EVENT_IDS = 1000;
/** Of events of all decisions of a route that wait. */
const MAX_ROUTE_EVENT_IDS = 1_000_000;
const NOBODY: ReadonlySet<string> = new Set();
/** Ids remembered after their time, to tell a late reward from one for nothing: at least so many, at most twice. */
const REMEMBERED = 50_000;

/**
 * Rewards arrive late, by decision id. A decision waits for its own as long as the route says, however early one comes:
 * counting early successes before equally old failures would favour whoever is quick. Then it counts once, with what
 * arrived or with the default.
 */
export class RewardJoin {
  /** Decisions that were not waited for because there were too many. */
  lost = 0;
  private readonly spec: RewardSpec;
  private readonly limit: number;
  /** Of the contexts that are learnt with; 0: policies without one keep none. */
  private readonly dimension: number;
  private readonly maxEventIds: number;
  /** Remembered for all that wait. */
  private eventIds = 0;
  /** In the order of their decisions, to within the time requests take. */
  private pending = new Map<string, Pending>();
  private readonly journal: WaitingJournal | undefined;
  private next = 0;
  /** Of earlier processes, until it is known what they have learnt. */
  private kept: Kept | undefined;
  /** With their tenants. */
  private young = new Map<string, string>();
  private old = new Map<string, string>();

  /**
   * @param journal where decisions outlive the process; what it holds is waited for from {@link recover} on
   * @param maxEventIds of events, for all decisions that wait together
   */
  constructor(
    spec: RewardSpec,
    dimension = 0,
    limit = MAX_PENDING,
    journal?: WaitingJournal,
    maxEventIds = MAX_ROUTE_EVENT_IDS,
  ) {
    this.spec = spec;
    this.dimension = dimension;
    this.maxEventIds = maxEventIds;
    this.limit = Math.min(limit, Math.floor(MAX_NUMBERS / Math.max(1, dimension)));
    this.journal = journal;
    const kept = journal?.read();
    this.next = kept?.next ?? 0;
    if (kept !== undefined && kept.owners.size > 0) this.kept = kept;
  }

  /** Who has to be asked what it learnt before this can go on; empty: nobody. Nothing matures meanwhile. */
  get owners(): ReadonlySet<string> {
    return this.kept?.owners ?? NOBODY;
  }

  /** Of the first decision that was not learnt: kept with what was, so that after a restart none is learnt twice. */
  get learnt(): number {
    for (const { seq } of this.pending.values()) return seq;
    return this.next;
  }

  /** @param learnt the greatest that an owner has told */
  recover(learnt: number): void {
    const { kept } = this;
    if (kept === undefined) return;
    this.kept = undefined;
    const recent = this.pending;
    this.pending = new Map();
    for (const entry of kept.entries) {
      if (!('seq' in entry)) this.recount(entry);
      else if (entry.seq < learnt) this.remember(entry);
      else this.pending.set(entry.id, { ...entry, count: 0, value: 0, events: undefined });
    }
    for (const [id, entry] of recent) this.pending.set(id, entry);
    this.journal?.begin();
  }

  /** Without bounds: only what fitted was written down, though decisions that were learnt since made room for it. */
  private recount({ id, reward, event }: KeptReward): void {
    const found = this.pending.get(id);
    if (found !== undefined && !this.isCounted(found, event)) this.count(found, reward, event);
  }

  /** Resolves when what was taken in outlives this process. Never rejects. */
  async flush(): Promise<void> {
    await this.journal?.flush();
  }

  /** What was learnt before `learnt` is kept elsewhere now. */
  prune(learnt: number): void {
    if (this.kept === undefined) this.journal?.prune(learnt);
  }

  /** The gateway counts anew under another name. */
  rename(owner: string): void {
    this.lost = 0;
    this.journal?.rename(owner);
  }

  /** Its route is gone, or has another strategy. */
  drop(): void {
    this.journal?.drop();
  }

  get waiting(): number {
    return this.pending.size;
  }

  decided(id: string, time: number, awaiting: Awaiting): void {
    const { arm, context, failed = false, bucket = -1, tenant = '', version = '' } = awaiting;
    if (this.pending.size >= this.limit) {
      this.lost++;
      return;
    }
    const due = time + this.spec.wait;
    const kept = this.dimension > 0 ? context : undefined;
    const seq = this.next++;
    const decision = { seq, due, arm, context: kept, failed, bucket, tenant, version };
    this.pending.set(id, { ...decision, count: 0, value: 0, events: undefined });
    this.journal?.decided({ ...decision, id });
  }

  /** Whether there is, or was, such a decision that this tenant may reward; '': any tenant's. */
  knows(id: string, tenant = ''): boolean {
    const asker = this.pending.get(id)?.tenant ?? this.young.get(id) ?? this.old.get(id);
    return asker !== undefined && isOfTenant(tenant, asker);
  }

  /** @param tenant who sent it; '': it speaks for all tenants */
  reward(id: string, reward: number, event: string | undefined, now: number, tenant = ''): RewardResult {
    const { range } = this.spec;
    if (!this.knows(id, tenant)) return 'unknown';
    const found = this.pending.get(id);
    if (found === undefined) return 'expired';
    if (found.due <= now) return 'expired';
    if (Number.isNaN(reward)) return 'notANumber';
    if (found.failed) return 'failedOver';
    if (reward < range[0] || reward > range[1]) return 'outOfRange';
    if (this.isCounted(found, event)) return 'duplicate';
    if (event !== undefined && !this.hasRoom(found)) return 'tooManyIds';
    this.count(found, reward, event);
    this.journal?.rewarded({ id, reward, event });
    return 'accepted';
  }

  private isCounted({ count, events }: Pending, event: string | undefined): boolean {
    if (count > 0 && this.spec.aggregate === 'first') return true;
    return event !== undefined && events?.has(event) === true;
  }

  /** For one more event id: one that was forgotten would count again when it is sent again. */
  private hasRoom({ events }: Pending): boolean {
    return (events?.size ?? 0) < MAX_EVENT_IDS && this.eventIds < this.maxEventIds;
  }

  private count(found: Pending, reward: number, event: string | undefined): void {
    const { aggregate } = this.spec;
    if (event !== undefined) {
      found.events ??= new Set();
      found.events.add(event);
      this.eventIds++;
    }
    found.count++;
    if (found.count === 1 || aggregate === 'last') found.value = reward;
    else if (aggregate === 'max') found.value = Math.max(found.value, reward);
    else found.value += reward;
  }

  /** Hands over what is due, each once. */
  mature(now: number, take: (decision: Awaiting, reward: number) => void): void {
    if (this.kept !== undefined) return;
    for (const [id, entry] of this.pending) {
      if (entry.due > now) break;
      this.pending.delete(id);
      this.eventIds -= entry.events?.size ?? 0;
      this.remember({ id, tenant: entry.tenant });
      take(entry, this.valueOf(entry));
    }
  }

  private valueOf({ count, value }: Pending): number {
    if (count === 0) return this.spec.default;
    const [low, high] = this.spec.range;
    // A sum of rewards in range may leave it.
    const total = this.spec.aggregate === 'mean' ? value / count : value;
    return Math.min(Math.max(total, low), high);
  }

  private remember({ id, tenant }: { id: string; tenant: string }): void {
    this.young.set(id, tenant);
    if (this.young.size < REMEMBERED) return;
    this.old = this.young;
    this.young = new Map();
  }
}
