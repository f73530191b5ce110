import { createReadStream, existsSync } from 'node:fs';
import { mkdir, open } from 'node:fs/promises';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { parseExact } from '../../shared/exact-json.ts';
import type { View } from '../documents/catalog.ts';
import { valueText } from '../documents/values.ts';
import type { EntityColumns } from '../online/read.ts';
import { ownerOf, type Row } from '../store/online-store.ts';
import { eventColumns, type WindowView } from '../windows/events.ts';

/**
 * Rows that were pushed for training, as JSON lines: one file for each view and tenant, appended to. A push is on disk
 * when it is answered. A line that a crash has cut is left out by readers, and the next push begins a new one.
 */
export class OfflineLog {
  private readonly folder: string;
  /** Appends to one file run one after the other. */
  private readonly writing = new Map<string, Promise<void>>();

  constructor(folder: string) {
    this.folder = folder;
  }

  append(tenant: string, view: View, rows: readonly Row[]): Promise<void> {
    return this.appendText(tenant, view, rows.map((row) => lineOf(view, row)).join(''));
  }

  /** Events of a view with aggregates, as they were pushed, and when they came. */
  appendEvents(tenant: string, view: WindowView, columns: EntityColumns, rows: number, arrived: number): Promise<void> {
    const names = eventColumns(view);
    const lines = Array.from({ length: rows }, (_, row) => {
      const cells = names.map((name) => [name, columns.get(name)?.[row] ?? null]);
      return `${JSON.stringify(Object.fromEntries([...cells, [view.windows.arrival, arrived]]))}\n`;
    });
    return this.appendText(tenant, view, lines.join(''));
  }

  private appendText(tenant: string, view: View, text: string): Promise<void> {
    const file = this.fileOf(tenant, view);
    const before = this.writing.get(file) ?? Promise.resolve();
    const done = before.catch(() => {}).then(() => this.write(file, text));
    this.writing.set(file, done);
    const forget = (): void => {
      if (this.writing.get(file) === done) this.writing.delete(file);
    };
    done.then(forget, forget);
    return done;
  }

  /** Every row as named values; a damaged line is `undefined`. */
  async *read(tenant: string, view: View): AsyncGenerator<Record<string, unknown> | undefined> {
    const file = this.fileOf(tenant, view);
    if (!existsSync(file)) return;
    for await (const line of createInterface({ input: createReadStream(file), crlfDelay: Number.POSITIVE_INFINITY }))
      if (line !== '') yield parseLine(line);
  }

  private async write(file: string, text: string): Promise<void> {
    await mkdir(this.folder, { recursive: true });
    const handle = await open(file, 'a+');
    try {
      const { size } = await handle.stat();
      const last = Buffer.alloc(1);
      if (size > 0) await handle.read(last, 0, 1, size - 1);
      // A crash cut the last line: it must not swallow the next one.
      await handle.appendFile(size > 0 && last[0] !== 10 ? `\n${text}` : text);
      await handle.datasync();
    } finally {
      await handle.close();
    }
  }

  private fileOf(tenant: string, view: View): string {
    return join(this.folder, `${view.name}@${encodeURIComponent(ownerOf(view, tenant))}.jsonl`);
  }
}

function lineOf(view: View, { key, time, values }: Row): string {
  const keys = view.joinKeys.length === 1 ? [key] : (JSON.parse(key) as string[]);
  const parts = view.joinKeys.map(
    ({ name, type }, i) => `${JSON.stringify(name)}:${type === 'string' ? JSON.stringify(keys[i]) : keys[i]}`,
  );
  parts.push(`${JSON.stringify(view.timestamp)}:${JSON.stringify(new Date(time).toISOString())}`);
  for (const [i, name] of view.names.entries()) parts.push(`${JSON.stringify(name)}:${valueText(values?.[i] ?? null)}`);
  return `{${parts.join()}}\n`;
}

export function parseLine(line: string): Record<string, unknown> | undefined {
  try {
    const value = parseExact(line);
    return typeof value === 'object' && value !== null && !Array.isArray(value)
      ? (value as Record<string, unknown>)
      : undefined;
  } catch {
    return undefined;
  }
}
