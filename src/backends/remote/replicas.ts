import type { Clock } from '../../shared/clock.ts';

/** Figures of outlier ejection and slow start. Times in milliseconds. */
export interface ReplicaPolicy {
  consecutiveFailures: number;
  baseEjectionMs: number;
  maxEjectionMs: number;
  /** A replica that behaves this long has one earlier ejection forgotten. */
  forgiveIntervalMs: number;
  slowStartMs: number;
  /** Share of the draws a replica takes part in at the beginning of slow start. */
  slowStartFloor: number;
}

export const DEFAULT_REPLICA_POLICY: ReplicaPolicy = {
  consecutiveFailures: 5,
  baseEjectionMs: 30_000,
  maxEjectionMs: 300_000,
  forgiveIntervalMs: 10_000,
  slowStartMs: 10_000,
  slowStartFloor: 0.1,
};

/** What a failed call says of its replica: nobody answered, or somebody answered badly or too late. */
export type FailureKind = 'unreachable' | 'faulty';

export interface Replica {
  readonly index: number;
  readonly address: string;
  inflight: number;
  consecutiveFailures: number;
  /** Clock time until which it gets no calls; 0: not ejected. */
  ejectedUntil: number;
  ejectedFor: FailureKind;
  /** Multiplies the base ejection time. */
  ejections: number;
  /** Clock time of its last ejection or forgiveness. */
  forgivenAt: number;
  /** Clock time at which slow start began; -Infinity: long ago. */
  slowStartAt: number;
  /** Last verdict of the health probe. */
  healthy: boolean;
  /** Probes in a row that failed, without a call that succeeded among them. */
  missedProbes: number;
}

/** A slow answer to one probe, or two, is no sign that nobody is there. */
const AWAY_AFTER_PROBES = 3;

/** Everything decided about the replicas of one remote model. Pure but for its own state; no I/O, no timers. */
export class ReplicaSet {
  readonly replicas: readonly Replica[];
  readonly #policy: ReplicaPolicy;
  readonly #clock: Clock;
  readonly #random: () => number;
  #wasReady = true;
  /** Called when `ready` has changed. */
  onReady: () => void = () => {};

  /** @param random uniform in [0, 1) */
  constructor(addresses: readonly string[], policy: ReplicaPolicy, clock: Clock, random: () => number) {
    this.replicas = addresses.map((address, index) => ({
      index,
      address,
      inflight: 0,
      consecutiveFailures: 0,
      ejectedUntil: 0,
      ejectedFor: 'unreachable',
      ejections: 0,
      forgivenAt: clock(),
      slowStartAt: Number.NEGATIVE_INFINITY,
      healthy: true,
      missedProbes: 0,
    }));
    this.#policy = policy;
    this.#clock = clock;
    this.#random = random;
  }

  /**
   * The less loaded of two replicas drawn at random from those that are neither ejected nor unhealthy. One in slow start
   * takes part in a growing share of the draws. When no replica is left all of them count: trying is better than
   * refusing on hearsay.
   * @param avoid a replica that just failed this call; chosen only when it is the only one
   */
  pick(avoid?: Replica): Replica {
    const now = this.#clock();
    let candidates = this.replicas.filter((replica) => replica !== avoid && this.#usable(replica, now));
    if (candidates.length === 0) candidates = this.replicas.filter((replica) => replica !== avoid);
    if (candidates.length > 1) {
      const warm = candidates.filter((replica) => this.#joins(replica, now));
      if (warm.length > 0) candidates = warm;
    }
    if (candidates.length < 2) return candidates[0] ?? this.replicas[0];
    const first = Math.floor(this.#random() * candidates.length);
    const second = (first + 1 + Math.floor(this.#random() * (candidates.length - 1))) % candidates.length;
    return candidates[second].inflight < candidates[first].inflight ? candidates[second] : candidates[first];
  }

  started(replica: Replica): void {
    replica.inflight++;
  }

  succeeded(replica: Replica): void {
    replica.inflight--;
    replica.consecutiveFailures = 0;
    if (replica.missedProbes > 0) this.#noteProbe(replica, 0);
    const now = this.#clock();
    if (replica.ejections > 0 && now - replica.forgivenAt >= this.#policy.forgiveIntervalMs) {
      replica.ejections--;
      replica.forgivenAt = now;
    }
  }

  /** The call ended without a verdict on the replica: the caller's fault, or cancelled. */
  ended(replica: Replica): void {
    replica.inflight--;
  }

  /** Ejects at the limit of consecutive failures, unless it is the last usable replica. */
  failed(replica: Replica, kind: FailureKind): void {
    replica.inflight--;
    replica.consecutiveFailures++;
    const policy = this.#policy;
    if (replica.consecutiveFailures < policy.consecutiveFailures) return;
    const now = this.#clock();
    if (replica.ejectedUntil > now) return;
    if (!this.replicas.some((other) => other !== replica && this.#usable(other, now))) return;
    replica.ejections++;
    const duration = Math.min(policy.baseEjectionMs * replica.ejections, policy.maxEjectionMs);
    replica.ejectedUntil = now + duration;
    replica.ejectedFor = kind;
    replica.slowStartAt = replica.ejectedUntil;
    replica.forgivenAt = replica.ejectedUntil;
    replica.consecutiveFailures = 0;
  }

  /**
   * Verdict of a health probe. A replica that comes back starts slowly; one ejected because nobody answered is back at
   * once, while one that answered badly serves its time, as its probe may lie.
   */
  probed(replica: Replica, healthy: boolean): void {
    const now = this.#clock();
    const unreachable = replica.ejectedUntil > now && replica.ejectedFor === 'unreachable';
    if (healthy && (unreachable || !replica.healthy)) {
      replica.slowStartAt = now;
      replica.consecutiveFailures = 0;
      if (unreachable) replica.ejectedUntil = 0;
    }
    replica.healthy = healthy;
    this.#noteProbe(replica, healthy ? 0 : replica.missedProbes + 1);
  }

  /** False while every replica has failed several probes in a row, and no call to it has succeeded since. */
  ready(): boolean {
    return this.replicas.some((replica) => replica.missedProbes < AWAY_AFTER_PROBES);
  }

  #noteProbe(replica: Replica, missedProbes: number): void {
    replica.missedProbes = missedProbes;
    const ready = this.ready();
    if (ready === this.#wasReady) return;
    this.#wasReady = ready;
    this.onReady();
  }

  #usable(replica: Replica, now: number): boolean {
    return replica.healthy && replica.ejectedUntil <= now;
  }

  #joins(replica: Replica, now: number): boolean {
    const share = (now - replica.slowStartAt) / this.#policy.slowStartMs;
    return share >= 1 || this.#random() < Math.max(this.#policy.slowStartFloor, share);
  }
}
