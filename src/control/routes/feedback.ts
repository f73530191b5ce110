import { readEvents } from '../../shared/feedback-events.ts';
import { count, type LiveRoute } from './live.ts';
import { MAX_EVENT_IDS, type RewardResult } from './reward-join.ts';

/** One reward as a client sends it. */
export interface RewardEvent {
  /** The decision's: what the answer's x-switchyard-id named. */
  id: string;
  reward: number;
  /** Of the event itself, so that sending it again does no harm. */
  event: string | undefined;
  /** Who sent it: only decisions of this tenant are rewarded. '': those of all. */
  tenant: string;
}

export type EventResult = RewardResult | 'malformed';

export interface FeedbackAnswer {
  accepted: number;
  /** Another gateway of the fleet may know their decisions. */
  forwarded: number;
  /** Kept by the event log, and learnt by nobody; 0 here. */
  recorded: number;
  rejected: number;
  /** In the order of the events. */
  results: { id: string; result: EventResult; message?: string }[];
}

export interface FeedbackDependencies {
  routes(): Iterable<LiveRoute>;
  /** Brings in decisions that threads have not reported yet. */
  flush(): Promise<void>;
  /** Resolves when accepted rewards outlive the process. */
  kept(): Promise<void>;
  /** Undefined: this gateway is alone. */
  forward: ((events: readonly RewardEvent[]) => Promise<void>) | undefined;
  /** steadyTime(), as decisions have it. */
  now(): number;
}

const MESSAGES: Record<Exclude<EventResult, 'accepted' | 'forwarded'>, string> = {
  unknown:
    'no decision of a bandit or an experiment for this tenant has this id; send the x-switchyard-id of an answer',
  expired: 'the decision was learnt from already: the reward came after the reward.wait of its route',
  duplicate: 'a reward for this decision was counted before',
  tooManyIds: `the event ids of this decision (at most ${MAX_EVENT_IDS}), or those of its route's waiting decisions, leave no room for one more, so this reward was not counted; add rewards up before they are sent, or shorten reward.wait`,
  notANumber: 'the reward is not a number',
  failedOver: 'the arm that was chosen failed and another variant answered: the arm learns its default reward',
  outOfRange: 'the reward lies outside the reward.range of its route',
  malformed: 'an event is {"id": text, "reward": number, "event": text or absent}',
};

/**
 * Joins rewards with the decisions they are for. What is wrong with one is said of that one; nothing a client sends is
 * an error of the server, and nothing but an accepted reward is ever learnt from.
 */
export class Feedback {
  /** By result, of events that no route could be found for: unknown, malformed and forwarded ones. */
  readonly counts = new Map<EventResult, number>();
  private readonly dependencies: FeedbackDependencies;

  constructor(dependencies: FeedbackDependencies) {
    this.dependencies = dependencies;
  }

  /** Throws invalid_argument when it is no list of events at all. @param tenant who sends it; '': it is for all tenants */
  async take(body: unknown, tenant: string): Promise<FeedbackAnswer> {
    // A fleet that cannot be reached: these are for nobody.
    const results = await this.takeAll(readEvents(body), tenant, false);
    const of = (which: EventResult): number => results.filter(({ result }) => result === which).length;
    const [accepted, forwarded] = [of('accepted'), of('forwarded')];
    return { accepted, forwarded, recorded: 0, rejected: results.length - accepted - forwarded, results };
  }

  /**
   * Events in any number, as a topic brings them; none is an error.
   * @param tenant who sends them; '': they are for all tenants
   * @param insist reject when events are for another gateway and none can be reached, after taking in all others
   */
  async takeAll(list: readonly unknown[], tenant: string, insist: boolean): Promise<FeedbackAnswer['results']> {
    const events = list.map((each) => readEvent(each, tenant));
    const known = events.filter((event) => event !== undefined);
    if (known.some((event) => this.find(event) === undefined)) await this.dependencies.flush();
    const strange: RewardEvent[] = [];
    const results = events.map((event, i): FeedbackAnswer['results'][number] => {
      if (event === undefined) return this.told(shownId(list[i]), 'malformed');
      const result = this.reward(event);
      if (result === 'unknown' && this.dependencies.forward !== undefined) {
        strange.push(event);
        return { id: event.id, result: 'forwarded' };
      }
      return this.told(event.id, result);
    });
    if (strange.length > 0) {
      try {
        await this.dependencies.forward?.(strange);
        this.add('forwarded', strange.length);
      } catch (error) {
        if (insist) throw error;
        for (const entry of results)
          if (entry.result === 'forwarded') Object.assign(entry, this.told(entry.id, 'unknown'));
      }
    }
    await this.dependencies.kept();
    return results;
  }

  /** One reward, as a topic or another gateway brings it. */
  reward(given: RewardEvent): RewardResult {
    const live = this.find(given);
    if (live === undefined) return 'unknown';
    const { id, reward, event, tenant } = given;
    const result = live.join!.reward(id, reward, event, this.dependencies.now(), tenant);
    count(live, result);
    live.stirred = true;
    return result;
  }

  /** So many that were forwarded are for no decision of any gateway. */
  unclaimed(count: number): void {
    this.add('unknown', count);
  }

  private add(result: EventResult, count: number): void {
    this.counts.set(result, (this.counts.get(result) ?? 0) + count);
  }

  private find({ id, tenant }: RewardEvent): LiveRoute | undefined {
    for (const live of this.dependencies.routes()) if (live.join?.knows(id, tenant) === true) return live;
    return undefined;
  }

  private told(id: string, result: EventResult): FeedbackAnswer['results'][number] {
    if (result === 'malformed' || result === 'unknown') this.add(result, 1);
    if (result === 'accepted' || result === 'forwarded') return { id, result };
    return { id, result, message: MESSAGES[result] };
  }
}

/** Undefined: malformed. A reward that is no number is one that is not a number, not a malformed event. */
export function readEvent(value: unknown, tenant: string): RewardEvent | undefined {
  if (typeof value !== 'object' || value === null) return undefined;
  const { id, reward, event } = value as Record<string, unknown>;
  if (typeof id !== 'string' || id === '' || id.length > 256) return undefined;
  if (event !== undefined && (typeof event !== 'string' || event.length > 256)) return undefined;
  const number = typeof reward === 'number' ? reward : typeof reward === 'boolean' ? Number(reward) : Number.NaN;
  return { id, reward: number, event, tenant };
}

/** One that another gateway has forwarded: it tells whose it is, unless an earlier version of the program sent it. */
export function readForwarded(value: unknown): RewardEvent | undefined {
  const { tenant } = (value ?? {}) as { tenant?: unknown };
  return readEvent(value, typeof tenant === 'string' ? tenant : '');
}

function shownId(value: unknown): string {
  const id = typeof value === 'object' && value !== null ? (value as { id?: unknown }).id : undefined;
  return typeof id === 'string' ? id.slice(0, 256) : '';
}
