import type { Admin } from 'kafkajs';

/** How many records of a partition a group has not taken yet. */
export interface Lag {
  group: string;
  /** As the brokers know it. */
  topic: string;
  partition: number;
  records: number;
}

interface Place {
  topic: string;
  partition: number;
  /** The first offset that was not taken yet, and the one behind the newest record; undefined: not known yet. */
  next?: bigint;
  end?: bigint;
}

/**
 * Where a member of a group stands in the partitions that it reads. It hears of batches as they come, and asks the brokers
 * now and then: a partition that is not read on has no batches, and grows all the same.
 */
export class LagWatch {
  private group = '';
  private places = new Map<string, Place>();

  /** The partitions that are this member's from now on. */
  assign(group: string, assigned: Readonly<Record<string, readonly number[]>>): void {
    this.group = group;
    const before = this.places;
    this.places = new Map();
    for (const [topic, partitions] of Object.entries(assigned))
      for (const partition of partitions) {
        const key = `${topic}/${partition}`;
        this.places.set(key, before.get(key) ?? { topic, partition });
      }
  }

  /** The brokers are not spoken to any more. */
  clear(): void {
    this.places.clear();
  }

  /** A batch came, which shows the end; or it was taken, up to `next`. */
  saw(topic: string, partition: number, { next, end }: { next?: bigint; end?: bigint }): void {
    const place = this.places.get(`${topic}/${partition}`);
    if (place === undefined) return;
    if (next !== undefined) place.next = next;
    if (end !== undefined) place.end = end;
  }

  /** Asks the brokers. Rejects when they are away. */
  async look(admin: Admin): Promise<void> {
    const topics = [...new Set([...this.places.values()].map(({ topic }) => topic))];
    if (topics.length === 0) return;
    const committed = await admin.fetchOffsets({ groupId: this.group, topics });
    for (const { topic, partitions } of committed) {
      const bounds = new Map((await admin.fetchTopicOffsets(topic)).map((one) => [one.partition, one]));
      for (const { partition, offset } of partitions) {
        const place = this.places.get(`${topic}/${partition}`);
        const bound = bounds.get(partition);
        if (place === undefined || bound === undefined) continue;
        const known = BigInt(offset);
        place.end = BigInt(bound.high);
        // What was taken is committed behind it, and a group that has committed nothing begins at the oldest record.
        if (known > (place.next ?? -1n)) place.next = known;
        place.next ??= BigInt(bound.low);
        if (place.next > place.end) place.next = known < 0n ? BigInt(bound.low) : known;
      }
    }
  }

  lags(): Lag[] {
    const { group } = this;
    return [...this.places.values()].flatMap(({ topic, partition, next, end }) =>
      next === undefined || end === undefined
        ? []
        : [{ group, topic, partition, records: Number(end > next ? end - next : 0n) }],
    );
  }
}
