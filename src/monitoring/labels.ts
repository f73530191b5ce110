import { createHash } from 'node:crypto';
import { closeSync, mkdirSync, openSync, renameSync, writeSync } from 'node:fs';
import { dirname } from 'node:path';
import { renamed } from './features.ts';
import type { Value } from './statistics/bins.ts';
import type { Exported } from './types.ts';

/** A row that waits for its label. */
export interface PendingRow {
  id: string;
  time: number;
  version: string;
  entity: string;
  predicted: Value;
  columns: readonly string[];
  values: readonly Value[];
  slices: readonly string[];
}

export interface LabelledRow extends PendingRow {
  label: Value;
}

/** Rows that wait for labels that come later, bounded in number and time. The oldest give way. */
export class PendingLabels {
  unmatched = 0;
  private readonly rows = new Map<string, PendingRow[]>();
  /** Labels that came before their record: both come by ways of their own. */
  private readonly early = new Map<string, { label: unknown; at: number }>();
  private readonly most: number;
  private readonly waitMs: number;

  constructor(most: number, waitMs: number) {
    this.most = most;
    this.waitMs = waitMs;
  }

  get size(): number {
    return this.rows.size;
  }

  has(id: string): boolean {
    return this.rows.has(id);
  }

  /** Returns the rows with their labels when these are here already. */
  add(id: string, rows: PendingRow[]): LabelledRow[] {
    this.rows.set(id, rows);
    if (this.rows.size > this.most) this.rows.delete(this.rows.keys().next().value as string);
    const early = this.early.get(id);
    if (early === undefined) return [];
    this.early.delete(id);
    return this.take(id, early.label, early.at);
  }

  /** One label, or a list with one for each row of the record. */
  take(id: string, label: unknown, now: number): LabelledRow[] {
    const rows = this.rows.get(id);
    if (rows === undefined) {
      this.early.set(id, { label, at: now });
      if (this.early.size > this.most) this.loseEarly(this.early.keys().next().value as string);
      return [];
    }
    this.rows.delete(id);
    const labels = Array.isArray(label) ? label : [label];
    if (rows.length !== labels.length || !labels.every(isValue)) {
      this.unmatched++;
      return [];
    }
    return rows.map((row, i) => ({ ...row, label: labels[i] as Value }));
  }

  /** Lets go of those that waited too long. */
  expire(now: number): void {
    for (const [id, { at }] of this.early) {
      if (now - at < this.waitMs) break;
      this.loseEarly(id);
    }
    for (const [id, [row]] of this.rows) {
      if (row !== undefined && now - row.time < this.waitMs) break;
      this.rows.delete(id);
    }
  }

  private loseEarly(id: string): void {
    this.early.delete(id);
    this.unmatched++;
  }
}

function isValue(label: unknown): boolean {
  return label === null || ['number', 'string', 'boolean'].includes(typeof label);
}

/** Reads a label as feedback carries it. Undefined: it has none where `field` says. */
export function readLabel(text: string, field: string | undefined): unknown {
  try {
    const label = JSON.parse(text) as unknown;
    if (field === undefined) return label;
    return typeof label === 'object' && label !== null ? (label as Record<string, unknown>)[field] : undefined;
  } catch {
    return undefined;
  }
}

const CHUNK_ROWS = 500;

/**
 * Writes labelled rows as CSV: id, time, version, entity, the inputs by their new names, and label. The file is there
 * whole or not at all. Throws when the disk refuses.
 */
export function exportRows(
  rows: readonly LabelledRow[],
  file: string,
  rename: Readonly<Record<string, string>>,
): Exported {
  const columns = rows.at(-1)?.columns ?? [];
  // A version with other inputs has another layout: its rows are not mixed in.
  const key = columns.join('\n');
  const fitting = rows.filter((row) => row.columns === columns || row.columns.join('\n') === key);
  const inputs = columns.flatMap((name, i) => (name.startsWith('inputs.') ? [i] : []));
  const head = ['id', 'time', 'version', 'entity', ...inputs.map((i) => renamed(columns[i], rename)), 'label'];
  mkdirSync(dirname(file), { recursive: true, mode: 0o700 });
  const unfinished = `${file}.part`;
  const out = openSync(unfinished, 'w', 0o600);
  const hash = createHash('sha256');
  let bytes = 0;
  const write = (text: string): void => {
    hash.update(text);
    bytes += writeSync(out, text);
  };
  try {
    write(`${head.map(cell).join()}\n`);
    for (let i = 0; i < fitting.length; i += CHUNK_ROWS) {
      const lines = fitting.slice(i, i + CHUNK_ROWS).map(({ id, time, version, entity, values, label }) => {
        const own = inputs.map((at) => cell(values[at]));
        return `${[cell(id), time, cell(version), cell(entity), ...own, cell(label)].join()}\n`;
      });
      write(lines.join(''));
    }
  } finally {
    closeSync(out);
  }
  renameSync(unfinished, file);
  const [first, last] = [fitting[0], fitting.at(-1)];
  return {
    rows: fitting.length,
    sha256: hash.digest('hex'),
    bytes,
    firstId: first?.id ?? '',
    lastId: last?.id ?? '',
    from: first?.time ?? 0,
    to: last?.time ?? 0,
  };
}

function cell(value: Value): string {
  if (value === null) return '';
  const text = String(value);
  return /[",\n\r]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}
