/** Rewards that went to the other gateways together. */
export interface ForwardedLot {
  /** In the stream of rewards. */
  id: string;
  events: number;
  /** Of the machine's monotonic clock, in milliseconds. */
  sentAt: number;
}

/** What no gateway has claimed by then is for no decision of any. */
const CLAIMED_WITHIN_MS = 10_000;

/** Lots that this gateway has sent and that others may still claim, in their order. */
export class ForwardedLots {
  private lots: ForwardedLot[] = [];

  sent(id: string, events: number, now: number): void {
    this.lots.push({ id, events, sentAt: now });
  }

  /** Those whose time is over. They stay until they are settled. */
  due(now: number): ForwardedLot[] {
    const young = this.lots.findIndex(({ sentAt }) => now - sentAt < CLAIMED_WITHIN_MS);
    return this.lots.slice(0, young < 0 ? this.lots.length : young);
  }

  /** It is known what became of the first `count`. */
  settled(count: number): void {
    this.lots = this.lots.slice(count);
  }
}
