import type { RewardSpec } from '../../config/strategy-schema.ts';
import { isOfTenant } from '../../shared/feedback-events.ts';

/** One reward of a file beside the records. */
export interface LoggedReward {
  id: string;
  reward: number;
  event: string | undefined;
  /** Who sent it; '': it is for all tenants, or not on record. */
  tenant: string;
}

/**
 * Reads one: {"id", "reward"}, or {"id", "rewards": {name: number}} as the event log writes feedback.
 * Undefined: it has no reward of this name. Throws TypeError.
 */
export function readLoggedReward(value: unknown, name: string): LoggedReward | undefined {
  if (typeof value !== 'object' || value === null) throw new TypeError('is not a JSON object');
  const { id, reward, rewards, event, tenant } = value as Record<string, unknown>;
  if (typeof id !== 'string' || id === '') throw new TypeError('id is missing; it is the x-switchyard-id of an answer');
  const many = typeof rewards === 'object' && rewards !== null ? (rewards as Record<string, unknown>) : {};
  const given = reward ?? many[name];
  if (given === undefined) return undefined;
  if (typeof given !== 'number') throw new TypeError(`reward is ${JSON.stringify(given)}; it must be a number`);
  const text = (field: unknown): string | undefined => (typeof field === 'string' ? field : undefined);
  return { id, reward: given, event: text(event), tenant: text(tenant) ?? '' };
}

/** Rewards of one decision each, as its route adds them up. The same rules as for a gateway's own. */
export class RewardTable {
  outOfRange = 0;
  duplicates = 0;
  /** Sent by another tenant than made the request. */
  foreign = 0;
  private readonly spec: Pick<RewardSpec, 'aggregate' | 'range'>;
  private readonly values = new Map<string, { count: number; value: number; events: Set<string> }>();

  private readonly askers: ReadonlyMap<string, string>;

  /** @param askers tenants of the requests, by id */
  constructor(spec: Pick<RewardSpec, 'aggregate' | 'range'>, askers: ReadonlyMap<string, string> = new Map()) {
    this.spec = spec;
    this.askers = askers;
  }

  add({ id, reward, event, tenant }: LoggedReward): void {
    const { aggregate, range } = this.spec;
    if (!isOfTenant(tenant, this.askers.get(id) ?? '')) {
      this.foreign++;
      return;
    }
    if (!(reward >= range[0] && reward <= range[1])) {
      this.outOfRange++;
      return;
    }
    const known = this.values.get(id);
    if (known === undefined) {
      this.values.set(id, { count: 1, value: reward, events: new Set(event === undefined ? [] : [event]) });
      return;
    }
    if (aggregate === 'first' || (event !== undefined && known.events.has(event))) {
      this.duplicates++;
      return;
    }
    if (event !== undefined) known.events.add(event);
    known.count++;
    if (aggregate === 'last') known.value = reward;
    else if (aggregate === 'max') known.value = Math.max(known.value, reward);
    else known.value += reward;
  }

  /** Undefined: none came. */
  of(id: string): number | undefined {
    const known = this.values.get(id);
    if (known === undefined) return undefined;
    const value = this.spec.aggregate === 'mean' ? known.value / known.count : known.value;
    return Math.min(Math.max(value, this.spec.range[0]), this.spec.range[1]);
  }
}
