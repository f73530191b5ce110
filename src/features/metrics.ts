import type { FieldStatus } from './online/read.ts';
import type { JoinCounts } from './serving/join.ts';

/** What the feature store did since the program started, summed over threads. */
export interface FeatureFigures {
  pushed: number;
  kept: number;
  joins: JoinCounts;
  /** Records of topics by view and what became of them. */
  topics: ReadonlyMap<string, ReadonlyMap<string, number>>;
  /** The same of events that were pushed to views with aggregates. */
  events: ReadonlyMap<string, ReadonlyMap<string, number>>;
  /** States of windows that memory had no room for. */
  dropped: number;
}

const STATUS_LABELS: Readonly<Record<FieldStatus, string>> = {
  PRESENT: 'present',
  NULL_VALUE: 'null',
  NOT_FOUND: 'not_found',
  OUTSIDE_MAX_AGE: 'outside_max_age',
};

/** Prometheus text. */
export function renderFeatures({ pushed, kept, joins, topics, events, dropped }: FeatureFigures): string {
  const lines = [
    ...counter('rows_pushed', 'Rows that were written to the online store or came too late for it', [['', pushed]]),
    ...counter('rows_kept', 'Rows that were not older than what the online store had', [['', kept]]),
    ...counter(
      'values',
      'Values that models asked for, by what was found',
      Object.entries(joins.values).map(([status, count]) => [
        `{status="${STATUS_LABELS[status as FieldStatus]}"}`,
        count,
      ]),
    ),
    ...counter('joins', 'Requests of models that ask for features, by what became of it', [
      ['{result="joined"}', joins.joined],
      ['{result="defaulted"}', joins.defaulted],
      ['{result="failed"}', joins.failed],
    ]),
    ...counter('topic_records', 'Records of topics that feature views read, by what became of them', byView(topics)),
    ...counter(
      'window_events',
      'Events that were pushed to views with aggregates, by what became of them',
      byView(events),
    ),
    ...counter('window_states_dropped', 'Entities whose windows memory had no room for, while they were in use', [
      ['', dropped],
    ]),
  ];
  return `${lines.join('\n')}\n`;
}

function byView(counts: ReadonlyMap<string, ReadonlyMap<string, number>>): [string, number][] {
  return [...counts].flatMap(([view, of]) =>
    [...of].map(([result, count]): [string, number] => [`{view="${view}",result="${result}"}`, count]),
  );
}

function counter(name: string, help: string, values: readonly (readonly [string, number])[]): string[] {
  const full = `switchyard_feature_${name}_total`;
  return [
    `# HELP ${full} ${help}`,
    `# TYPE ${full} counter`,
    ...values.map(([labels, value]) => `${full}${labels} ${value}`),
  ];
}
