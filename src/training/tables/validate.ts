import type { Column, ColumnType, Table } from './table.ts';

/** What a column's values must be. What is left out is not checked. */
export interface ColumnRule {
  type?: ColumnType | undefined;
  min?: number | undefined;
  max?: number | undefined;
  /** The vocabulary. */
  values?: readonly (string | number | boolean)[] | undefined;
  /** Largest share of missing values, 0 to 1. Default 0. */
  maxMissing?: number | undefined;
  unique?: boolean | undefined;
}

export interface DataSchema {
  columns: Readonly<Record<string, ColumnRule>>;
  /** Columns beyond these are an error unless true. */
  extra?: boolean | undefined;
  minRows?: number | undefined;
}

export interface DataProblem {
  column: string;
  /** First row that has it, from 1; 0: the column as a whole. */
  row: number;
  message: string;
  /** Values that have it. */
  count: number;
}

/** A vocabulary of at most so many values is taken over when a schema is inferred. */
const MAX_VOCABULARY = 50;

/** Everything about a dataset that contradicts its schema: one problem per column and kind of mistake. */
export function findProblems(table: Table, schema: DataSchema): DataProblem[] {
  const problems: DataProblem[] = [];
  if (table.rows < (schema.minRows ?? 0))
    problems.push({
      column: '',
      row: 0,
      count: 1,
      message: `${table.rows} rows, at least ${schema.minRows} are wanted`,
    });
  for (const [name, rule] of Object.entries(schema.columns)) {
    const column = table.columns.find((one) => one.name === name);
    if (column === undefined) problems.push({ column: name, row: 0, count: 1, message: 'the column is missing' });
    else problems.push(...columnProblems(column, rule, table.rows));
  }
  if (schema.extra !== true) {
    for (const { name } of table.columns)
      if (!Object.hasOwn(schema.columns, name))
        problems.push({ column: name, row: 0, count: 1, message: 'the schema does not know the column' });
  }
  return problems;
}

function columnProblems({ name, type, values }: Column, rule: ColumnRule, rows: number): DataProblem[] {
  const found = new Map<string, DataProblem>();
  const report = (row: number, kind: string, message: string): void => {
    const known = found.get(kind);
    if (known === undefined) found.set(kind, { column: name, row, count: 1, message });
    else known.count++;
  };
  if (rule.type !== undefined && !takes(rule.type, type)) report(0, 'type', `is of type ${type}, not ${rule.type}`);
  const vocabulary = rule.values === undefined ? undefined : new Set<unknown>(rule.values);
  const seen = new Set<unknown>();
  let missing = 0;
  values.forEach((value, i) => {
    if (value === null) {
      missing++;
      return;
    }
    if (typeof value === 'number') {
      if (rule.min !== undefined && value < rule.min) report(i + 1, 'min', `${value} is below ${rule.min}`);
      if (rule.max !== undefined && value > rule.max) report(i + 1, 'max', `${value} is above ${rule.max}`);
    }
    if (vocabulary !== undefined && !vocabulary.has(value))
      report(i + 1, 'vocabulary', `${JSON.stringify(value)} is not in the vocabulary`);
    if (rule.unique !== true) return;
    if (seen.has(value)) report(i + 1, 'unique', `${JSON.stringify(value)} is there more than once`);
    seen.add(value);
  });
  const allowed = rule.maxMissing ?? 0;
  if (missing > allowed * rows) {
    const row = values.indexOf(null) + 1;
    const share = `${((100 * missing) / rows).toFixed(2)} % of the values are missing, ${100 * allowed} % may be`;
    found.set('missing', { column: name, row, count: missing, message: share });
  }
  return [...found.values()];
}

/** Whole numbers are numbers too. */
function takes(wanted: ColumnType, found: ColumnType): boolean {
  return wanted === found || (wanted === 'number' && found === 'integer');
}

/** The schema that a dataset itself suggests: its types, ranges, small vocabularies and completeness. */
export function inferSchema(table: Table): DataSchema {
  const columns: Record<string, ColumnRule> = {};
  for (const { name, type, values } of table.columns) {
    const rule: ColumnRule = { type };
    const present = values.filter((value) => value !== null);
    const missing = values.length - present.length;
    if (missing > 0) rule.maxMissing = Math.min(1, (2 * missing) / values.length);
    if (type === 'number' || type === 'integer') {
      const numbers = present as number[];
      if (numbers.length > 0) {
        rule.min = numbers.reduce((a, b) => Math.min(a, b));
        rule.max = numbers.reduce((a, b) => Math.max(a, b));
      }
    } else if (type === 'string') {
      const distinct = [...new Set(present as string[])];
      if (distinct.length <= MAX_VOCABULARY && distinct.length * 2 <= present.length) rule.values = distinct.sort();
    }
    columns[name] = rule;
  }
  return { columns };
}

/** "age, row 3: -1 is below 0 (12 values)" */
export function describeProblem({ column, row, message, count }: DataProblem): string {
  const place = column === '' ? '' : `${column}${row > 0 ? `, row ${row}` : ''}: `;
  return `${place}${message}${count > 1 ? ` (${count} values)` : ''}`;
}
