import type { FeedbackRecord, LogRecord } from '../eventlog/record.ts';
import { steadyTime } from '../shared/clock.ts';
import type { MonitorSpec } from './document.ts';
import { Journal } from './journal.ts';
import { LabelStore } from './label-store.ts';
import type { Exported, MonitorEvent, Reference } from './types.ts';
import { settingsOf, Watcher, type WatcherStores } from './watcher.ts';
import { WindowStore } from './window-store.ts';

/** A monitor as the log thread needs it. */
export interface MonitorPlan {
  name: string;
  spec: MonitorSpec;
  /** Grows when a person wants it to learn its references anew. */
  generation: number;
  /** Frozen ones, by version. */
  references: Reference[];
  /** From a file: what a version without one of its own begins with. */
  base?: Reference;
}

/** Where the records come from that monitors are shown. */
export interface MonitorSource {
  readonly name: string;
  /** Where it stands: all before it was shown. */
  place(): unknown;
  /** Goes on at a place where it stood once. */
  begin(place: unknown): void;
  /** What was shown before this place outlives the process. */
  kept(place: unknown): void;
}

/** @param number 0: nobody waits to hear that it was taken in. @param again it may have been taken in already */
export type Emit = (event: MonitorEvent, number: number, again: boolean) => void;

/** What monitors keep beside the event log. */
export interface MonitorStores extends WatcherStores {
  journal: Journal;
}

/** Throws what the disk says. @param problem is told of one that refuses later on */
export function openStores(file: string, problem: (error: unknown) => void): MonitorStores {
  const journal = new Journal(file, problem);
  return { journal, labels: new LabelStore(journal), windows: new WindowStore(journal) };
}

/** Between two times that everything is kept, at least, and how much of the thread's time that may take. */
const KEEP_MS = 1000;
const KEEP_SHARE = 50;
/** Writes of the journal that make it worth while at once. */
const MANY_WRITES = 10_000;

/**
 * Monitors on the log thread: rows are counted as they come, and what was counted goes to the control thread by window.
 * Nothing here decides anything. Never throws on records.
 *
 * What is counted is kept in the journal, together with the place of the source up to which it was: a process that is
 * killed counts the records behind that place again, and no others. Windows go out when they are kept, and are kept until
 * the control thread has taken them in.
 */
export class MonitorStream {
  private monitors = new Map<string, Watcher>();
  private readonly emit: Emit;
  private readonly openStores: () => MonitorStores | undefined;
  private stores: MonitorStores | undefined;
  private opened = false;
  private source: MonitorSource | undefined;
  /** Events that are kept with the next flush, and leave behind it. */
  private leaving: { number: number; event: MonitorEvent }[] = [];
  /** Kept by a process that ended. */
  private found: { number: number; event: MonitorEvent }[] = [];
  /** Of events: rises over restarts, too. */
  private number = Date.now();
  private keepAt = 0;
  private moved = false;
  /** Monitors are known, or that there are none. */
  planned = false;

  /** @param openStores where all of it outlives the process; asked with the first monitor. Undefined: it does not */
  constructor(emit: Emit, openStores: () => MonitorStores | undefined = () => undefined) {
    this.emit = emit;
    this.openStores = openStores;
  }

  get active(): boolean {
    return this.monitors.size > 0;
  }

  /** @param now there are things that were kept: the source goes on where it was before it shows anything */
  follow(source: MonitorSource, now: boolean): void {
    this.source = source;
    if (now) this.open();
  }

  /** Monitors that are as they were go on counting. */
  set(plans: readonly MonitorPlan[]): void {
    if (plans.length > 0) this.open();
    // What is read below is of one moment, too.
    this.keep(steadyTime());
    this.planned = true;
    const next = new Map<string, Watcher>();
    for (const plan of plans) {
      const known = this.monitors.get(plan.name);
      const same = known !== undefined && settingsOf(known.plan) === settingsOf(plan);
      next.set(plan.name, same ? known : new Watcher(plan, (event) => this.leave(event), this.stores));
    }
    for (const name of this.monitors.keys()) {
      if (next.has(name)) continue;
      this.stores?.labels.forget(name);
      this.stores?.windows.forget(name);
    }
    this.monitors = next;
    for (const { number, event } of this.found.splice(0)) {
      if (this.monitors.has(monitorOf(event))) this.emit(event, number, true);
      else this.stores?.windows.drop(number);
    }
    this.moved = true;
    this.keep(steadyTime());
  }

  close(): void {
    this.keep(steadyTime());
    this.monitors = new Map();
    this.stores?.journal.close();
    this.stores = undefined;
  }

  consume(records: readonly LogRecord[]): void {
    this.moved = true;
    for (const monitor of this.monitors.values()) for (const record of records) monitor.consume(record);
  }

  feedback(records: readonly FeedbackRecord[]): void {
    this.moved = true;
    for (const monitor of this.monitors.values()) for (const record of records) monitor.feedback(record);
  }

  /** The source stands elsewhere than before, though nothing came. */
  turned(): void {
    this.moved = true;
  }

  /** The source stands behind all that was consumed: it is kept where that is due. */
  settle(now: number): void {
    const many = (this.stores?.journal.size ?? 0) > MANY_WRITES;
    if (this.leaving.length > 0 || now >= this.keepAt || many) this.keep(now);
  }

  /** Ends windows that are old enough. @param now steadyTime() */
  tick(now: number): void {
    for (const monitor of this.monitors.values()) monitor.tick(now);
    this.settle(now);
  }

  /** The control thread has taken an event in. */
  heard(number: number): void {
    this.stores?.windows.drop(number);
  }

  /** How many labelled rows of requests since a time are kept. */
  labelled(name: string, since: number): number {
    return this.monitors.get(name)?.labelledSince(since) ?? 0;
  }

  /** Labelled rows of requests since a time, as a CSV file; what is exported is kept. Throws when it cannot be written. */
  export(name: string, since: number, file: string): Exported {
    const monitor = this.monitors.get(name);
    if (monitor === undefined) throw new Error(`there is no monitor ${name}`);
    return monitor.export(since, file);
  }

  private open(): void {
    if (this.opened) return;
    this.opened = true;
    this.stores = this.openStores();
    if (this.stores === undefined) return;
    this.found = this.stores.windows.events();
    const place = this.source === undefined ? undefined : this.stores.windows.place(this.source.name);
    if (place !== undefined) this.source?.begin(place);
  }

  private leave(event: MonitorEvent): void {
    // How labels stand is told again and again.
    if (this.stores === undefined || event.kind === 'labels') {
      this.emit(event, 0, false);
      return;
    }
    const kept = { number: ++this.number, event };
    this.stores.windows.keep(kept);
    this.leaving.push(kept);
  }

  /** Everything of one moment, in one transaction. A disk that refuses it holds up no window. */
  private keep(now: number): void {
    const { source, stores } = this;
    const place = this.active ? source?.place() : undefined;
    if (stores !== undefined) {
      const begun = performance.now();
      for (const monitor of this.monitors.values()) monitor.keep();
      if (source !== undefined && this.moved) stores.windows.setPlace(source.name, place);
      this.moved = false;
      const done = stores.journal.flush();
      this.keepAt = now + Math.max(KEEP_MS, KEEP_SHARE * (performance.now() - begun));
      if (done) source?.kept(place);
    } else source?.kept(place);
    for (const { event, number } of this.leaving.splice(0)) this.emit(event, number, false);
  }
}

function monitorOf(event: MonitorEvent): string {
  if (event.kind === 'reference') return event.reference.monitor;
  return event.kind === 'labels' ? event.labels.monitor : event.window.monitor;
}
