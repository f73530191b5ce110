import type { FieldStatus } from './online/read.ts';
import type { JoinCounts } from './serving/join.ts';

/** What the feature store did since the program started, summed over threads. */
export interface FeatureFigures {
  pushed: number;
  kept: number;
  joins: JoinCounts;
  /** Records of topics by view and what became of them. */
  topics: ReadonlyMap<string, ReadonlyMap<string, number>>;
}

const STATUS_LABELS: Readonly<Record<FieldStatus, string>> = {
  PRESENT: 'present',
  NULL_VALUE: 'null',
  NOT_FOUND: 'not_found',
  OUTSIDE_MAX_AGE: 'outside_max_age',
};

/** Prometheus text. */
export function renderFeatures({ pushed, kept, joins, topics }: FeatureFigures): string {
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
    ...counter(
      'topic_records',
      'Records of topics that feature views read, by what became of them',
      [...topics].flatMap(([view, counts]) =>
        [...counts].map(([result, count]): [string, number] => [`{view="${view}",result="${result}"}`, count]),
      ),
    ),
  ];
  return `${lines.join('\n')}\n`;
}

function counter(name: string, help: string, values: readonly (readonly [string, number])[]): string[] {
  const full = `switchyard_feature_${name}_total`;
  return [
    `# HELP ${full} ${help}`,
    `# TYPE ${full} counter`,
    ...values.map(([labels, value]) => `${full}${labels} ${value}`),
  ];
}
