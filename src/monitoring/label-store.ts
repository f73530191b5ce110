import { serialize } from 'node:v8';
import { type Journal, unpacked } from './journal.ts';
import type { LabelledRow, PendingRow } from './labels.ts';
import type { QualityWindow } from './types.ts';

/** What a monitor knew of labels when it was last told. */
export interface KnownLabels {
  labels: number;
  unmatched: number;
  /** By version: those that are not full. */
  quality: Map<string, QualityWindow>;
  pending: { id: string; at: number; rows: PendingRow[] }[];
  /** Labels by the tenant who sent them. */
  early: { id: string; at: number; labels: Map<string, unknown> }[];
  /** Those that had their label within `wait`. */
  done: { id: string; at: number }[];
  labelled: LabelledRow[];
}

const TABLES = `
CREATE TABLE IF NOT EXISTS monitors (name TEXT PRIMARY KEY, print TEXT NOT NULL, counts BLOB);
CREATE TABLE IF NOT EXISTS layouts (number INTEGER PRIMARY KEY, columns TEXT NOT NULL UNIQUE);
CREATE TABLE IF NOT EXISTS pending (seq INTEGER PRIMARY KEY, monitor TEXT NOT NULL, id TEXT NOT NULL, at REAL NOT NULL, rows BLOB NOT NULL);
CREATE UNIQUE INDEX IF NOT EXISTS pending_id ON pending (monitor, id);
CREATE TABLE IF NOT EXISTS early (seq INTEGER PRIMARY KEY, monitor TEXT NOT NULL, id TEXT NOT NULL, at REAL NOT NULL, label BLOB NOT NULL);
CREATE UNIQUE INDEX IF NOT EXISTS early_id ON early (monitor, id);
CREATE TABLE IF NOT EXISTS labelled (seq INTEGER PRIMARY KEY, monitor TEXT NOT NULL, rows BLOB NOT NULL);
CREATE INDEX IF NOT EXISTS labelled_monitor ON labelled (monitor, seq);`;

const WRITES = {
  monitor: 'INSERT OR REPLACE INTO monitors (name, print) VALUES (?, ?)',
  noMonitor: 'DELETE FROM monitors WHERE name = ?',
  noPending: 'DELETE FROM pending WHERE monitor = ?',
  noEarly: 'DELETE FROM early WHERE monitor = ?',
  noLabelled: 'DELETE FROM labelled WHERE monitor = ?',
  layout: 'INSERT OR REPLACE INTO layouts (number, columns) VALUES (?, ?)',
  waits: 'INSERT OR REPLACE INTO pending (monitor, id, at, rows) VALUES (?, ?, ?, ?)',
  waitsNoMore: 'DELETE FROM pending WHERE monitor = ? AND id = ?',
  early: 'INSERT OR REPLACE INTO early (monitor, id, at, label) VALUES (?, ?, ?, ?)',
  earlyNoMore: 'DELETE FROM early WHERE monitor = ? AND id = ?',
  labelled: 'INSERT INTO labelled (monitor, rows) VALUES (?, ?)',
  trim: 'DELETE FROM labelled WHERE monitor = ? AND seq <= (SELECT seq FROM labelled WHERE monitor = ? ORDER BY seq DESC LIMIT 1 OFFSET ?)',
  counts: 'UPDATE monitors SET counts = ? WHERE name = ?',
};
/** Of a request that has its label. */
const NO_ROWS = new Uint8Array(0);
const ROWS = ['noPending', 'noEarly', 'noLabelled'] as const;
function nothing(): KnownLabels {
  return { labels: 0, unmatched: 0, quality: new Map(), pending: [], early: [], done: [], labelled: [] };
}

/**
 * Requests that wait for their label, labels that came first, labelled rows and what was counted of them, in the monitors'
 * journal: a process that is killed goes on where it was.
 */
export class LabelStore {
  private readonly journal: Journal;
  private readonly numbers = new WeakMap<readonly string[], number>();
  private readonly layouts = new Map<number, readonly string[]>();

  /** Throws what the disk says. */
  constructor(journal: Journal) {
    this.journal = journal;
    journal.define(TABLES);
    for (const { number, columns } of journal.all<{ number: number; columns: string }>('SELECT * FROM layouts'))
      this.layouts.set(number, JSON.parse(columns) as string[]);
  }

  /** What is known of a monitor's labels; nothing where they were joined by other settings: `print` tells these. */
  load(monitor: string, print: string): KnownLabels {
    return this.journal.read(() => this.read(monitor, print), nothing());
  }

  private read(monitor: string, print: string): KnownLabels {
    const known = nothing();
    const [row] = this.journal.all<{ print: string; counts: ArrayBuffer | null }>(
      'SELECT print, counts FROM monitors WHERE name = ?',
      monitor,
    );
    if (row?.print !== print) {
      this.journal.add(WRITES.monitor, monitor, print);
      for (const what of ROWS) this.journal.add(WRITES[what], monitor);
      return known;
    }
    if (row.counts !== null) Object.assign(known, unpacked(row.counts) as object);
    const rowsOf = (rows: ArrayBuffer): LabelledRow[] =>
      (unpacked(rows) as (Omit<LabelledRow, 'columns'> & { columns: number })[]).map((each) => ({
        ...each,
        // An earlier version of the program did not write it down.
        tenant: each.tenant ?? '',
        columns: this.layouts.get(each.columns) ?? [],
      }));
    const list = <T>(table: string): T[] =>
      this.journal.all<T>(`SELECT * FROM ${table} WHERE monitor = ? ORDER BY seq`, monitor);
    for (const { id, at, rows } of list<{ id: string; at: number; rows: ArrayBuffer }>('pending'))
      if (rows.byteLength === 0) known.done.push({ id, at });
      else known.pending.push({ id, at, rows: rowsOf(rows) });
    for (const { id, at, label } of list<{ id: string; at: number; label: ArrayBuffer }>('early'))
      known.early.push({ id, at, labels: labelsOf(unpacked(label)) });
    for (const { rows } of list<{ rows: ArrayBuffer }>('labelled')) known.labelled.push(...rowsOf(rows));
    return known;
  }

  /** A monitor is no more. */
  forget(monitor: string): void {
    for (const what of [...ROWS, 'noMonitor'] as const) this.journal.add(WRITES[what], monitor);
  }

  /** What a monitor tells. */
  of(monitor: string): LabelJournal {
    const add = (what: keyof typeof WRITES, ...parameters: (string | number | Uint8Array)[]): void =>
      this.journal.add(WRITES[what], ...parameters);
    return {
      waits: (id, at, rows) => add('waits', monitor, id, at, this.packed(rows)),
      done: (id, at) => add('waits', monitor, id, at, NO_ROWS),
      waitsNoMore: (id) => add('waitsNoMore', monitor, id),
      early: (id, at, labels) => add('early', monitor, id, at, serialize(labels)),
      earlyNoMore: (id) => add('earlyNoMore', monitor, id),
      labelled: (rows) => {
        for (const row of rows) add('labelled', monitor, this.packed([row]));
      },
      trim: (rows) => add('trim', monitor, monitor, rows),
      counts: (counts) => add('counts', serialize(counts), monitor),
    };
  }

  /** Rows share the names of their columns: each has the number of these. */
  private packed(rows: readonly PendingRow[]): Uint8Array {
    return serialize(rows.map((row) => ({ ...row, columns: this.numberOf(row.columns) })));
  }

  private numberOf(columns: readonly string[]): number {
    const known = this.numbers.get(columns);
    if (known !== undefined) return known;
    const key = columns.join('\n');
    const same = [...this.layouts].find(([, each]) => each.join('\n') === key);
    const number = same?.[0] ?? this.layouts.size + 1;
    if (same === undefined) {
      this.layouts.set(number, columns);
      this.journal.add(WRITES.layout, number, JSON.stringify(columns));
    }
    this.numbers.set(columns, number);
    return number;
  }
}

/** An earlier version of the program kept one label, whoever sent it. */
function labelsOf(kept: unknown): Map<string, unknown> {
  return kept instanceof Map ? kept : new Map([['', kept]]);
}

/** What one monitor writes down of its labels, with the journal's next flush. */
export interface LabelJournal {
  waits(id: string, at: number, rows: readonly PendingRow[]): void;
  /** It has its label. */
  done(id: string, at: number): void;
  waitsNoMore(id: string): void;
  early(id: string, at: number, labels: ReadonlyMap<string, unknown>): void;
  earlyNoMore(id: string): void;
  labelled(rows: readonly LabelledRow[]): void;
  /** Only so many of the newest are kept. */
  trim(rows: number): void;
  counts(counts: Pick<KnownLabels, 'labels' | 'unmatched' | 'quality'>): void;
}
