import { createHash } from 'node:crypto';
import { closeSync, mkdirSync, openSync, renameSync, writeSync } from 'node:fs';
import { dirname } from 'node:path';
import { isOfTenant } from '../shared/feedback-events.ts';
import { renamed } from './features.ts';
import type { KnownLabels, LabelJournal } from './label-store.ts';
import type { Value } from './statistics/bins.ts';
import type { Exported } from './types.ts';

/** A row that waits for its label. */
export interface PendingRow {
  id: string;
  time: number;
  /** Who asked. */
  tenant: string;
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

/** What came before its record. */
interface EarlyLabels {
  /** Of the first of them. */
  at: number;
  /** By the tenant who sent it: whose the request is shows when its record comes. The newest last. */
  labels: Map<string, unknown>;
}

/** Tenants whose early label for one id is kept. */
const MOST_TELLERS = 8;

/**
 * Rows that wait for labels that come later, bounded in number and time. The oldest give way. Time is that of their arrival
 * here: records of a backlog are old by their own, and clocks of gateways differ. What a tenant says of another one's
 * requests is counted as unmatched, and changes nothing.
 */
export class PendingLabels {
  unmatched = 0;
  private readonly rows = new Map<string, { at: number; rows: PendingRow[] }>();
  /** Labels that came before their record: both come by ways of their own. */
  private readonly early = new Map<string, EarlyLabels>();
  /** Rows that have theirs, and when: both may come again, as from a topic. */
  private readonly done = new Map<string, number>();
  private readonly most: number;
  private readonly waitMs: number;
  private readonly journal: LabelJournal | undefined;

  /** @param known what was there when the process ended */
  constructor(most: number, waitMs: number, journal?: LabelJournal, known?: KnownLabels) {
    this.most = most;
    this.waitMs = waitMs;
    this.journal = journal;
    if (known === undefined) return;
    this.unmatched = known.unmatched;
    for (const { id, at, rows } of known.pending) this.rows.set(id, { at, rows });
    for (const { id, at, labels } of known.early) this.early.set(id, { labels, at });
    for (const { id, at } of known.done) this.done.set(id, at);
  }

  get size(): number {
    return this.rows.size;
  }

  /** Rows of this record wait, or have had their label. */
  has(id: string): boolean {
    return this.rows.has(id) || this.done.has(id);
  }

  /** Returns the rows with their labels when these are here already. */
  add(id: string, rows: PendingRow[], now: number): LabelledRow[] {
    this.rows.set(id, { at: now, rows });
    const early = this.early.get(id);
    if (early !== undefined) {
      this.early.delete(id);
      this.journal?.earlyNoMore(id);
      const own = [...early.labels].filter(([teller]) => isOfTenant(teller, rows[0].tenant));
      this.unmatched += early.labels.size - own.length;
      // The last that was told.
      for (const [teller, label] of own.slice(-1)) return this.take(id, label, teller, now);
    }
    this.journal?.waits(id, now, rows);
    if (this.rows.size > this.most) this.lose(this.rows.keys().next().value as string);
    return [];
  }

  /** One label, or a list with one for each row of the record. @param teller the tenant who sent it; '': it is for all */
  take(id: string, label: unknown, teller: string, now: number): LabelledRow[] {
    const found = this.rows.get(id);
    if (found === undefined) {
      if (this.done.has(id)) return [];
      this.keepEarly(id, label, teller, now);
      return [];
    }
    if (!isOfTenant(teller, found.rows[0].tenant)) {
      this.unmatched++;
      return [];
    }
    this.rows.delete(id);
    this.done.set(id, now);
    this.journal?.done(id, now);
    if (this.done.size > this.most) this.loseDone(this.done.keys().next().value as string);
    const { rows } = found;
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
      // In the order of their arrival; a clock that was set back only puts this off.
      if (now - at < this.waitMs) break;
      this.loseEarly(id);
    }
    for (const [id, { at }] of this.rows) {
      if (now - at < this.waitMs) break;
      this.lose(id);
    }
    for (const [id, at] of this.done) {
      if (now - at < this.waitMs) break;
      this.loseDone(id);
    }
  }

  private keepEarly(id: string, label: unknown, teller: string, now: number): void {
    const { at, labels } = this.early.get(id) ?? { at: now, labels: new Map<string, unknown>() };
    labels.delete(teller);
    labels.set(teller, label);
    if (labels.size > MOST_TELLERS) {
      labels.delete(labels.keys().next().value as string);
      this.unmatched++;
    }
    this.early.set(id, { at, labels });
    this.journal?.early(id, at, labels);
    if (this.early.size > this.most) this.loseEarly(this.early.keys().next().value as string);
  }

  private lose(id: string): void {
    this.rows.delete(id);
    this.journal?.waitsNoMore(id);
  }

  private loseDone(id: string): void {
    this.done.delete(id);
    this.journal?.waitsNoMore(id);
  }

  private loseEarly(id: string): void {
    this.unmatched += this.early.get(id)?.labels.size ?? 0;
    this.early.delete(id);
    this.journal?.earlyNoMore(id);
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
