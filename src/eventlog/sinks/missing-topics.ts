/** What is asked of the brokers again: whether a topic has been made. */
const CHECK_MS = 5000;

export interface MissingTopicsParts {
  /** Names of all topics. */
  list(): Promise<readonly string[]>;
  /** Once for each that is not there. */
  tell(topic: string): void;
}

/**
 * Topics that are not there, and that the brokers do not make. Records of others go on; those of a missing one wait in the
 * spool. When it has been made, the spool is read again from where they wait, for what it has missed.
 */
export class MissingTopics {
  private readonly parts: MissingTopicsParts;
  private readonly missing = new Set<string>();
  /** Those that were made, and up to which record they have missed some. */
  private late: { topics: ReadonlySet<string>; until: number } | undefined;
  /** Number of the record up to which all other topics have theirs. */
  private sentTo = 0;
  private checkedAt = 0;

  constructor(parts: MissingTopicsParts) {
    this.parts = parts;
  }

  /** Some records wait. */
  get some(): boolean {
    return this.missing.size > 0;
  }

  /** Whether a topic gets what a batch has for it now. @param next number of the record behind the batch */
  wants(topic: string, next: number): boolean {
    if (this.missing.has(topic)) return false;
    return this.late === undefined || next > this.late.until || this.late.topics.has(topic);
  }

  /** A batch went to every topic that wanted it. */
  sent(next: number): void {
    this.sentTo = Math.max(this.sentTo, next);
    if (this.late !== undefined && next >= this.late.until) this.late = undefined;
  }

  /** Whether some of these topics are not there, which was not known. Rejects when the brokers cannot be asked. */
  async learn(topics: readonly string[]): Promise<boolean> {
    const there = new Set(await this.parts.list());
    let more = false;
    for (const topic of topics) {
      if (there.has(topic) || this.missing.has(topic)) continue;
      this.missing.add(topic);
      this.parts.tell(topic);
      more = true;
    }
    return more;
  }

  /** Whether some have been made: then what waits is to be sent again. Rejects when the brokers cannot be asked. */
  async made(now: number): Promise<boolean> {
    if (!this.some || now - this.checkedAt < CHECK_MS) return false;
    this.checkedAt = now;
    const there = await this.parts.list();
    const made = there.filter((topic) => this.missing.delete(topic));
    if (made.length === 0) return false;
    this.late = { topics: new Set([...made, ...(this.late?.topics ?? [])]), until: this.sentTo };
    return true;
  }
}
