import { serialize } from 'node:v8';
import { type Journal, unpacked } from './journal.ts';
import type { MonitorEvent } from './types.ts';

const TABLES = `
CREATE TABLE IF NOT EXISTS windows (monitor TEXT PRIMARY KEY, print TEXT NOT NULL, state BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS events (number INTEGER PRIMARY KEY, event BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS places (source TEXT PRIMARY KEY, place BLOB NOT NULL);`;

/** An event for the control thread, until it has taken it in. */
export interface KeptEvent {
  number: number;
  event: MonitorEvent;
}

/**
 * Windows that are not full, events that nobody has taken in yet, and the place up to which records were counted for them,
 * in the monitors' journal. They are written together, so what is read again from that place on counts once.
 */
export class WindowStore {
  private readonly journal: Journal;

  /** Throws what the disk says. */
  constructor(journal: Journal) {
    this.journal = journal;
    journal.define(TABLES);
  }

  /** What was kept of a monitor. Undefined: nothing, or of other settings, which `print` tells. */
  load<T>(monitor: string, print: string): T | undefined {
    return this.journal.read(() => {
      const [row] = this.journal.all<{ print: string; state: ArrayBuffer }>(
        'SELECT print, state FROM windows WHERE monitor = ?',
        monitor,
      );
      return row?.print === print ? (unpacked(row.state) as T) : undefined;
    }, undefined);
  }

  save(monitor: string, print: string, state: unknown): void {
    this.journal.add('INSERT OR REPLACE INTO windows VALUES (?, ?, ?)', monitor, print, serialize(state));
  }

  /** A monitor is no more. */
  forget(monitor: string): void {
    this.journal.add('DELETE FROM windows WHERE monitor = ?', monitor);
  }

  /** Undefined: nothing is kept of this source. What is kept of others is forgotten: much was counted since. */
  place(source: string): unknown {
    this.journal.add('DELETE FROM places WHERE source <> ?', source);
    return this.journal.read(() => {
      const [row] = this.journal.all<{ place: ArrayBuffer }>('SELECT place FROM places WHERE source = ?', source);
      return row === undefined ? undefined : unpacked(row.place);
    }, undefined);
  }

  /** @param place undefined: nobody counts */
  setPlace(source: string, place: unknown): void {
    if (place === undefined) this.journal.add('DELETE FROM places WHERE source = ?', source);
    else this.journal.add('INSERT OR REPLACE INTO places VALUES (?, ?)', source, serialize(place));
  }

  events(): KeptEvent[] {
    const rows = this.journal.read(
      () => this.journal.all<{ number: number; event: ArrayBuffer }>('SELECT * FROM events ORDER BY number'),
      [],
    );
    return rows.map(({ number, event }) => ({ number, event: unpacked(event) as MonitorEvent }));
  }

  keep({ number, event }: KeptEvent): void {
    this.journal.add('INSERT OR REPLACE INTO events VALUES (?, ?)', number, serialize(event));
  }

  /** It was taken in. */
  drop(number: number): void {
    this.journal.add('DELETE FROM events WHERE number = ?', number);
  }
}
