import type { Lag } from '../kafka/lag.ts';
import { escapeLabel } from '../telemetry/prometheus.ts';
import type { TopicCounts } from './inference-topic.ts';

/** Prometheus text of inference over topics, and of the topic of labels. */
export function renderTopics(
  inference: Readonly<Record<string, TopicCounts>>,
  labels: { taken: number; deadLetters: number; tombstones: number },
): string {
  const name = 'switchyard_topic_requests_total';
  const lines = [`# HELP ${name} Requests from topics, by what became of them`, `# TYPE ${name} counter`];
  for (const [topic, { answered, deadLetters, retries, tombstones }] of Object.entries(inference))
    for (const [result, count] of Object.entries({
      answered,
      dead_letter: deadLetters,
      retried: retries,
      tombstone: tombstones,
    }))
      lines.push(`${name}{topic="${escapeLabel(topic)}",result="${result}"} ${count}`);
  const label = 'switchyard_topic_labels_total';
  lines.push(
    `# HELP ${label} Records of the topic of labels, by what became of them`,
    `# TYPE ${label} counter`,
    `${label}{result="taken"} ${labels.taken}`,
    `${label}{result="dead_letter"} ${labels.deadLetters}`,
    `${label}{result="tombstone"} ${labels.tombstones}`,
  );
  return `${lines.join('\n')}\n`;
}

/** Prometheus text, with the name and the labels that exporters for Kafka have for it. */
export function renderLags(lags: readonly Lag[]): string {
  const name = 'kafka_consumergroup_lag';
  const lines = [
    `# HELP ${name} Records of a partition that this server reads and its group has not taken yet`,
    `# TYPE ${name} gauge`,
  ];
  for (const { group, topic, partition, records } of lags)
    lines.push(
      `${name}{consumergroup="${escapeLabel(group)}",topic="${escapeLabel(topic)}",partition="${partition}"} ${records}`,
    );
  return `${lines.join('\n')}\n`;
}
