import type { DataSchema, FieldRule } from '../config/data-schema.ts';
import type { ColumnProfile, Profile } from '../datasets/profile.ts';
import { skewOf } from './skew.ts';

export const ANOMALY_KINDS = [
  'TOO_FEW_ROWS',
  'MISSING_COLUMN',
  'EXTRA_COLUMN',
  'TYPE',
  'MISSING_VALUES',
  'BELOW_MIN',
  'ABOVE_MAX',
  'VOCABULARY',
  'LENGTH',
  'NOT_UNIQUE',
  'SKEW',
] as const;
export type AnomalyKind = (typeof ANOMALY_KINDS)[number];

export interface Anomaly {
  /** '' = the data as a whole. */
  field: string;
  kind: AnomalyKind;
  severity: 'error' | 'warning';
  message: string;
}

/**
 * Everything about data that contradicts its schema, from its statistics alone. `training`: statistics that its skew is
 * measured against, where fields have a `maxSkew`.
 */
export function findAnomalies(profile: Profile, schema: DataSchema, training?: Profile): Anomaly[] {
  const found: Anomaly[] = [];
  if (profile.rows < schema.minRows)
    found.push({
      field: '',
      kind: 'TOO_FEW_ROWS',
      severity: 'error',
      message: `${profile.rows} rows, at least ${schema.minRows} are wanted`,
    });
  for (const [name, rule] of Object.entries(schema.fields)) {
    const column = profile.columns.find((one) => one.name === name);
    const report = (kind: AnomalyKind, message: string): void => {
      found.push({ field: name, kind, severity: rule.severity, message });
    };
    if (column === undefined) {
      if (rule.required) report('MISSING_COLUMN', 'the column is missing');
      continue;
    }
    checkColumn(column, rule, report);
    const reference = training?.columns.find((one) => one.name === name);
    if (reference !== undefined) checkSkew(column, reference, rule, report);
  }
  if (schema.extra !== 'allow')
    for (const { name } of profile.columns)
      if (!Object.hasOwn(schema.fields, name))
        found.push({
          field: name,
          kind: 'EXTRA_COLUMN',
          severity: schema.extra,
          message: 'the schema does not know the column',
        });
  return found;
}

/** The errors among them, one text each. */
export function contradictions(anomalies: readonly Anomaly[]): string[] {
  return anomalies
    .filter(({ severity }) => severity === 'error')
    .map(({ field, kind, message }) => `${field === '' ? 'data' : field}: ${kind}, ${message}`);
}

type Report = (kind: AnomalyKind, message: string) => void;

function checkColumn(column: ColumnProfile, rule: FieldRule, report: Report): void {
  const { type, count, nulls, numeric, lengths } = column;
  const rows = count + nulls;
  if (rule.type !== undefined && !takes(rule.type, type) && count > 0) {
    report('TYPE', `is of type ${type}, not ${rule.type}`);
    return;
  }
  // Not-finite numbers are no values that a model could learn from.
  const missing = nulls + (type === 'number' ? (numeric?.notFinite ?? 0) : 0);
  if (rule.maxMissing !== undefined && rows > 0 && missing / rows > rule.maxMissing)
    report(
      'MISSING_VALUES',
      `${percent(missing / rows)} of the values are missing, ${percent(rule.maxMissing)} may be`,
    );
  if (numeric !== undefined) {
    if (rule.min !== undefined && numeric.min < rule.min) report('BELOW_MIN', `${numeric.min} is below ${rule.min}`);
    if (rule.max !== undefined && numeric.max > rule.max) report('ABOVE_MAX', `${numeric.max} is above ${rule.max}`);
  }
  if (rule.values !== undefined) checkVocabulary(column, rule.values, rule.maxUnknown, report);
  if (lengths !== undefined) {
    if (rule.minLength !== undefined && lengths.min < rule.minLength)
      report('LENGTH', `the shortest has ${lengths.min}, at least ${rule.minLength} are wanted`);
    if (rule.maxLength !== undefined && lengths.max > rule.maxLength)
      report('LENGTH', `the longest has ${lengths.max}, at most ${rule.maxLength} are allowed`);
  }
  if (rule.unique === true && (column.top[0]?.count ?? 1) > 1)
    report('NOT_UNIQUE', `${JSON.stringify(column.top[0].value)} is there ${column.top[0].count} times`);
}

/** Whole numbers are numbers too. */
function takes(wanted: string, found: string): boolean {
  return wanted === found || (wanted === 'number' && found === 'integer');
}

function checkVocabulary(
  { top, count, distinct }: ColumnProfile,
  values: readonly unknown[],
  maxUnknown: number,
  report: Report,
): void {
  const known = new Set(values);
  const unknown = top.filter(({ value }) => !known.has(value));
  const rest = count - top.reduce((sum, { count: times }) => sum + times, 0);
  // Values beyond the most frequent ones are not listed; no more of them can be known than the vocabulary has left.
  const unlisted = distinct - top.length;
  const surelyUnknown = unlisted > values.length - (top.length - unknown.length) ? rest : 0;
  const times = unknown.reduce((sum, { count: one }) => sum + one, 0) + surelyUnknown;
  if (count === 0 || times / count <= maxUnknown) return;
  const shown = unknown
    .slice(0, 3)
    .map(({ value }) => JSON.stringify(value))
    .join(', ');
  report(
    'VOCABULARY',
    `${percent(times / count)} of the values are not in the vocabulary${shown === '' ? '' : `, such as ${shown}`}`,
  );
}

function checkSkew(column: ColumnProfile, training: ColumnProfile, { maxSkew }: FieldRule, report: Report): void {
  if (maxSkew === undefined) return;
  const skew = skewOf(column, training);
  if (skew === undefined) return;
  for (const measure of ['linf', 'js'] as const) {
    const most = maxSkew[measure];
    if (most !== undefined && skew[measure] > most)
      report(
        'SKEW',
        `${measure === 'js' ? 'Jensen-Shannon' : 'L-infinity'} distance to training is ${skew[measure].toFixed(4)}, at most ${most} is allowed`,
      );
  }
}

function percent(share: number): string {
  return `${(100 * share).toFixed(2)} %`;
}
