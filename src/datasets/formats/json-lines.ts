import { createInterface } from 'node:readline';
import type { Readable } from 'node:stream';
import { parseBig } from '../../shared/exact-json.ts';
import type { Source } from '../batch.ts';
import { jsonValue } from '../cells.ts';
import { type RawRow, type ReadOptions, typedRows } from '../reading.ts';

const FLUSH_CHARS = 65_536;

/** One JSON object a line. What is nested, other than a list of numbers, is kept as JSON text. */
export function readJsonLines(stream: Readable, options: ReadOptions): Promise<Source> {
  return typedRows(jsonRows(stream), options);
}

async function* jsonRows(stream: Readable): AsyncGenerator<RawRow> {
  for await (const { text, line } of textLines(stream)) yield parseRow(text, line);
}

/** Lines that hold something, with their numbers from 1. */
export async function* textLines(stream: Readable): AsyncGenerator<{ text: string; line: number }> {
  const lines = createInterface({ input: stream, crlfDelay: Number.POSITIVE_INFINITY });
  let failure: Error | undefined;
  // The interface does not tell of errors of its input; it would wait for ever.
  stream.once('error', (error) => {
    failure = error;
    lines.close();
  });
  let line = 0;
  try {
    for await (const text of lines) {
      line++;
      if (text.trim() !== '') yield { text: line === 1 ? text.replace(/^\uFEFF/, '') : text, line };
    }
    if (failure !== undefined) throw failure;
  } finally {
    lines.close();
    stream.destroy();
  }
}

function parseRow(text: string, line: number): RawRow {
  try {
    const value: unknown = parseBig(text);
    if (typeof value === 'object' && value !== null && !Array.isArray(value))
      return { line, values: value as Record<string, unknown> };
    return { line, values: { raw: text }, problem: 'not a JSON object; give one a line' };
  } catch (error) {
    return { line, values: { raw: text }, problem: `not JSON: ${(error as Error).message.slice(0, 200)}` };
  }
}

export async function* writeJsonLines({ schema: { fields }, batches }: Source): AsyncGenerator<string> {
  let lines = '';
  const heads = fields.map(({ name }, i) => `${i === 0 ? '{' : ','}${JSON.stringify(name)}:`);
  for await (const { rows, columns } of batches()) {
    for (let row = 0; row < rows; row++) {
      for (let i = 0; i < columns.length; i++) {
        lines += heads[i] + JSON.stringify(jsonValue(columns[i][row], fields[i].type));
      }
      lines += '}\n';
      if (lines.length < FLUSH_CHARS) continue;
      yield lines;
      lines = '';
    }
  }
  if (lines !== '') yield lines;
}
