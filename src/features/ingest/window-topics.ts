import { randomUUID } from 'node:crypto';
import type { Logger } from 'pino';
import type { KafkaConfig } from '../../config/kafka-schema.ts';
import { type DeadLetter, TopicWriter } from '../../kafka/dead-letters.ts';
import { type FollowedBatch, TopicFollower } from '../../kafka/follower.ts';
import type { FeatureSet } from '../documents/catalog.ts';
import type { IngestCounts } from '../store/online-store.ts';
import { AheadError, eventOfObject, hasWindows, type WindowView } from '../windows/events.ts';
import type { WindowEvent } from '../windows/state.ts';
import { addCount, parse, topicOf, type ViewCounts } from './topics.ts';

export interface WindowTopicsParts {
  kafka: KafkaConfig;
  log: Logger;
  /** What became of records, to be added to. */
  counts: ViewCounts;
  /** Windows outlive this process. */
  kept: boolean;
  set(): FeatureSet;
  /** Rejects when the online store cannot be used: the batch comes again. */
  ingest(tenant: string, view: WindowView, events: readonly WindowEvent[]): Promise<IngestCounts>;
}

interface Followed {
  follower: TopicFollower;
  view: WindowView;
}

/**
 * Events of views with aggregates, each view a consumer group of its own: so a view that is new, or whose windows are others
 * than before, reads its topic from the oldest record on. Where windows live in memory the group is this process's own, and
 * reads so at every start. An event's arrival is its record's timestamp, so that it is late, or not, whenever it is read.
 */
export class WindowTopics {
  private readonly parts: WindowTopicsParts;
  private readonly instance: string;
  private readonly writer = new TopicWriter();
  private readonly following = new Map<string, Followed>();
  private closing: Promise<void>[] = [];

  constructor(parts: WindowTopicsParts) {
    this.parts = parts;
    this.instance = parts.kept ? '' : `.${randomUUID()}`;
  }

  /** Reads the topics that views name now. */
  follow(): void {
    const wanted = new Map<string, WindowView>();
    for (const view of this.parts.set().views.values())
      if (hasWindows(view) && topicOf(view) !== undefined) wanted.set(groupOf(view), view);
    for (const [group, { follower }] of this.following)
      if (!wanted.has(group)) {
        this.following.delete(group);
        this.closing.push(follower.close());
      }
    for (const [group, view] of wanted) {
      const known = this.following.get(group);
      if (known === undefined) this.following.set(group, this.begin(group, view));
      else known.view = view;
    }
  }

  async close(): Promise<void> {
    const open = [...this.following.values()].map(({ follower }) => follower.close());
    this.following.clear();
    await Promise.all([...open, ...this.closing]);
    await this.writer.close();
  }

  private begin(group: string, view: WindowView): Followed {
    const topic = topicOf(view) as string;
    const follower = new TopicFollower({
      kafka: this.parts.kafka,
      log: this.parts.log,
      group: `${group}${this.instance}`,
      trouble: `events of the feature view ${view.name} cannot be read`,
      take: (batch) => this.take(followed.view, batch),
    });
    const followed: Followed = { follower, view };
    follower.follow([topic]);
    return followed;
  }

  private async take(view: WindowView, { topic, partition, messages, clients }: FollowedBatch): Promise<void> {
    const now = Date.now();
    const letters: DeadLetter[] = [];
    const events: WindowEvent[] = [];
    let ahead = 0;
    for (const message of messages) {
      try {
        const value = message.value === null ? undefined : parse(message.value);
        const event = eventOfObject(view, value, Number(message.timestamp), now);
        event.origin = { source: `${topic}/${partition}`, offset: Number(message.offset) };
        events.push(event);
      } catch (error) {
        if (error instanceof AheadError) ahead++;
        letters.push({ message, code: 'invalid_argument', reason: (error as Error).message });
      }
    }
    await this.writer.setAside(clients, topic, partition, letters);
    const { kept, late, duplicate } = await this.parts.ingest(tenantOf(view), view, events);
    const results = { kept, late, duplicate, ahead, dead_letter: letters.length - ahead };
    for (const [result, count] of Object.entries(results)) addCount(this.parts.counts, view.name, result, count);
  }
}

function groupOf(view: WindowView): string {
  return `features.${view.name}.${tenantOf(view)}.${topicOf(view)}.${view.windows.layout}`;
}

export function tenantOf(view: WindowView): string {
  return view.document.spec.source.kafka?.tenant ?? 'default';
}
