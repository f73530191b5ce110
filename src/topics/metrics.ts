import { escapeLabel } from '../telemetry/prometheus.ts';
import type { TopicCounts } from './inference-topic.ts';

/** Prometheus text of inference over topics, and of the topic of labels. */
export function renderTopics(
  inference: Readonly<Record<string, TopicCounts>>,
  labels: { taken: number; deadLetters: number },
): string {
  const name = 'switchyard_topic_requests_total';
  const lines = [`# HELP ${name} Requests from topics, by what became of them`, `# TYPE ${name} counter`];
  for (const [topic, { answered, deadLetters, retries }] of Object.entries(inference))
    for (const [result, count] of Object.entries({ answered, dead_letter: deadLetters, retried: retries }))
      lines.push(`${name}{topic="${escapeLabel(topic)}",result="${result}"} ${count}`);
  const label = 'switchyard_topic_labels_total';
  lines.push(
    `# HELP ${label} Records of the topic of labels, by what became of them`,
    `# TYPE ${label} counter`,
    `${label}{result="taken"} ${labels.taken}`,
    `${label}{result="dead_letter"} ${labels.deadLetters}`,
  );
  return `${lines.join('\n')}\n`;
}
