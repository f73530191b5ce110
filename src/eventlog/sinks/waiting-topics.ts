/** What is asked of the brokers again: whether a topic has been made. */
const CHECK_MS = 5000;
/** After that one that took nothing is tried again: what waits for it is read from the disk once more. */
const TRY_MS = 30_000;

export interface WaitingTopicsParts {
  /** Names of all topics. */
  list(): Promise<readonly string[]>;
  /** Once for each that takes nothing. @param reason '': it is not there */
  tell(topic: string, reason: string): void;
}

/**
 * Topics that are not there, and that the brokers do not make, or to which they let nothing. Records of others go on; those
 * of such a one wait in the spool. When it has been made, and from time to time when it is there, the spool is read again
 * from where they wait, for what it has missed.
 */
export class WaitingTopics {
  private readonly parts: WaitingTopicsParts;
  private readonly missing = new Set<string>();
  private readonly closed = new Set<string>();
  /** Why those that are closed are. Told once, however often it is tried. */
  private readonly reasons = new Map<string, string>();
  /** When those are tried again. */
  private tryAt: number | undefined;
  /** Those that were made, and up to which record they have missed some. */
  private late: { topics: ReadonlySet<string>; until: number } | undefined;
  /** Number of the record up to which all other topics have theirs. */
  private sentTo = 0;
  private checkedAt = 0;

  constructor(parts: WaitingTopicsParts) {
    this.parts = parts;
  }

  /** Some records wait. */
  get some(): boolean {
    return this.missing.size + this.closed.size > 0;
  }

  /** Whether a topic gets what a batch has for it now. @param next number of the record behind the batch */
  wants(topic: string, next: number): boolean {
    if (this.missing.has(topic) || this.closed.has(topic)) return false;
    return this.late === undefined || next > this.late.until || this.late.topics.has(topic);
  }

  /** A batch went to every topic that wanted it. */
  sent(next: number): void {
    this.sentTo = Math.max(this.sentTo, next);
    if (this.late === undefined || next < this.late.until) return;
    for (const topic of this.late.topics) if (!this.closed.has(topic)) this.reasons.delete(topic);
    this.late = undefined;
  }

  /** A topic takes nothing, and there is a reason. */
  close(topic: string, reason: string): void {
    this.closed.add(topic);
    if (this.reasons.get(topic) === reason) return;
    this.reasons.set(topic, reason);
    this.parts.tell(topic, reason);
  }

  /** Whether some of these topics are not there, which was not known. Rejects when the brokers cannot be asked. */
  async learn(topics: readonly string[]): Promise<boolean> {
    const there = new Set(await this.parts.list());
    let more = false;
    for (const topic of topics) {
      if (there.has(topic) || this.missing.has(topic)) continue;
      this.missing.add(topic);
      this.parts.tell(topic, '');
      more = true;
    }
    return more;
  }

  /**
   * Whether some have been made, or are to be tried: then what waits is to be sent again. Rejects when the brokers cannot be
   * asked.
   */
  async again(now: number): Promise<boolean> {
    const ready = [...(await this.made(now)), ...this.tried(now)];
    if (ready.length === 0) return false;
    this.late = { topics: new Set([...ready, ...(this.late?.topics ?? [])]), until: this.sentTo };
    return true;
  }

  private async made(now: number): Promise<string[]> {
    if (this.missing.size === 0 || now - this.checkedAt < CHECK_MS) return [];
    this.checkedAt = now;
    return (await this.parts.list()).filter((topic) => this.missing.delete(topic));
  }

  private tried(now: number): string[] {
    if (this.closed.size === 0) return [];
    this.tryAt ??= now + TRY_MS;
    if (now < this.tryAt) return [];
    this.tryAt = undefined;
    const topics = [...this.closed];
    this.closed.clear();
    return topics;
  }
}
