import { randomUUID } from 'node:crypto';
import type { Logger } from 'pino';
import type { KafkaConfig } from '../../config/kafka-schema.ts';
import { type FollowedBatch, TopicFollower } from '../../kafka/follower.ts';
import type { Lag } from '../../kafka/lag.ts';
import type { FeatureSet, View } from '../documents/catalog.ts';
import type { ViewCounts } from './counts.ts';

export interface ViewFollowersParts<V extends View> {
  kafka: KafkaConfig;
  log: Logger;
  /** What is read outlives this process. */
  kept: boolean;
  /** What is logged of a view when the brokers cannot be reached. */
  trouble(view: V): string;
  /** Rejects to have the batch again. */
  take(view: V, batch: FollowedBatch): Promise<void>;
}

/** What both kinds of topics are read with. */
export interface ViewTopicsParts {
  kafka: KafkaConfig;
  log: Logger;
  /** What became of records, to be added to. */
  counts: ViewCounts;
  /** What is read outlives this process. */
  kept: boolean;
  set(): FeatureSet;
}

interface Followed<V> {
  follower: TopicFollower;
  view: V;
}

/**
 * Topics of views, each view a consumer group of its own: so a view that is new, or whose columns are others than before,
 * reads its topic from the oldest record on. Where what is read lives in memory the group is this process's own, and reads
 * so at every start.
 */
export class ViewFollowers<V extends View> {
  private readonly parts: ViewFollowersParts<V>;
  private readonly instance: string;
  private readonly following = new Map<string, Followed<V>>();
  private closing: Promise<void>[] = [];

  constructor(parts: ViewFollowersParts<V>) {
    this.parts = parts;
    this.instance = parts.kept ? '' : `.${randomUUID()}`;
  }

  /** Reads the topics of these views from now on. @param wanted by group; views without a topic are none of them */
  follow(wanted: ReadonlyMap<string, V>): void {
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

  lags(): Lag[] {
    return [...this.following.values()].flatMap(({ follower }) => follower.lags());
  }

  async close(): Promise<void> {
    const open = [...this.following.values()].map(({ follower }) => follower.close());
    this.following.clear();
    await Promise.all([...open, ...this.closing]);
  }

  private begin(group: string, view: V): Followed<V> {
    const { kafka, log, trouble } = this.parts;
    const follower = new TopicFollower({
      kafka,
      log,
      group: `${group}${this.instance}`,
      trouble: trouble(view),
      take: (batch) => this.parts.take(followed.view, batch),
    });
    const followed: Followed<V> = { follower, view };
    follower.follow([topicOf(view) as string]);
    return followed;
  }
}

export function topicOf(view: View): string | undefined {
  return view.document.spec.source.kafka?.topic;
}

/** Whose rows the topic's are. */
export function tenantOf(view: View): string {
  return view.document.spec.source.kafka?.tenant ?? 'default';
}

/** The group of a view whose columns, or whatever else decides what a record means to it, have this layout. */
export function groupOf(view: View, layout: string): string {
  return `features.${view.name}.${tenantOf(view)}.${topicOf(view)}.${layout}`;
}
