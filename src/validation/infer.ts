import type { DataSchema, FieldRule } from '../config/data-schema.ts';
import type { ColumnProfile, Profile } from '../datasets/profile.ts';

/** A text column with at most so many values, each there twice on average, is a vocabulary. */
const MAX_VOCABULARY = 100;

/**
 * The schema that a reference suggests: its types, ranges, lengths, small vocabularies and completeness. Missing values are
 * allowed up to twice the share that the reference has.
 */
export function inferDataSchema({ columns }: Pick<Profile, 'columns'>): DataSchema {
  return {
    fields: Object.fromEntries(columns.map((column) => [column.name, inferField(column)])),
    extra: 'warning',
    minRows: 0,
  };
}

function inferField({
  type,
  count,
  nulls,
  distinct,
  distinctIsLowerBound,
  top,
  numeric,
  lengths,
}: ColumnProfile): FieldRule {
  const rows = count + nulls;
  const missing = nulls + (type === 'number' ? (numeric?.notFinite ?? 0) : 0);
  const rule: FieldRule = {
    type,
    required: true,
    maxMissing: rows === 0 ? 1 : Math.min(1, (2 * missing) / rows),
    maxUnknown: 0,
    severity: 'error',
  };
  if (numeric !== undefined && type !== 'timestamp') {
    rule.min = numeric.min;
    rule.max = numeric.max;
  }
  const whole = !distinctIsLowerBound && distinct === top.length && distinct <= MAX_VOCABULARY;
  if (type === 'string' && whole && distinct > 0 && distinct * 2 <= count)
    rule.values = top.map(({ value }) => value).sort();
  if (type === 'numbers' && lengths !== undefined) {
    rule.minLength = lengths.min;
    rule.maxLength = lengths.max;
  }
  return rule;
}
