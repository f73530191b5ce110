import { setImmediate as turn } from 'node:timers/promises';
import { recordText } from '../sinks/parquet-rows.ts';
import type { Sought } from '../sinks/partitions.ts';
import type { KeptFile, KeptFiles } from './kept-files.ts';

const CHUNK_BYTES = 256 * 1024;
/** Lines that are looked at, or rows that are read, before others have their turn. */
export const PAGE = 500;

/** Its bytes came, and are not what they should be. */
export class DamagedFile extends Error {}

/** The records of a file as JSON texts, in pages; of Parquet only those of the range, of lines all. A file that is gone has none. */
export function recordTexts(files: KeptFiles, file: KeptFile, range: Sought): AsyncGenerator<string[]> {
  return files.format === 'parquet' ? rowsOf(files, file, range) : linesOf(files, file);
}

async function* linesOf(files: KeptFiles, file: KeptFile): AsyncGenerator<string[]> {
  let rest: Uint8Array = new Uint8Array(0);
  for (let at = 0; at < file.size; ) {
    const chunk = await files.read(file, at, Math.min(file.size, at + CHUNK_BYTES));
    if (chunk === undefined || chunk.length === 0) break;
    at += chunk.length;
    const bytes = Buffer.concat([rest, chunk]);
    let begin = 0;
    let page: string[] = [];
    for (let end = bytes.indexOf(0x0a); end >= 0; end = bytes.indexOf(0x0a, begin)) {
      page.push(bytes.toString('utf8', begin, end));
      begin = end + 1;
      if (page.length < PAGE) continue;
      yield page;
      page = [];
    }
    yield page;
    rest = bytes.subarray(begin);
  }
  if (rest.length > 0) yield [Buffer.from(rest).toString('utf8')];
}

/** What tells whether a row is meant. */
const PLACE = ['time', 'model', 'route'];

async function* rowsOf(files: KeptFiles, file: KeptFile, range: Sought): AsyncGenerator<string[]> {
  const { parquetMetadataAsync, parquetReadObjects, parquetSchema } = await import('hyparquet');
  let failed: unknown;
  let gone = false;
  const slice = async (start: number, end: number = file.size): Promise<ArrayBuffer> => {
    const from = start < 0 ? file.size + start : start;
    const bytes = await files.read(file, from, end).catch((error: unknown) => {
      failed = error;
      throw error;
    });
    gone ||= bytes === undefined;
    if (bytes?.length !== end - from) throw new Error('it ends before its data does');
    return bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.length) as ArrayBuffer;
  };
  const bytes = { byteLength: file.size, slice };
  try {
    const metadata = await parquetMetadataAsync(bytes);
    const names = parquetSchema(metadata).children.map(({ element }) => element.name);
    const isMeant = (row: Record<string, unknown>): boolean => {
      const time = Number(row.time);
      if (!(time < range.to && (range.from === undefined || time >= range.from))) return false;
      return (['model', 'route'] as const).every((key) => range[key] === undefined || row[key] === range[key]);
    };
    let rowStart = 0;
    for (const { num_rows } of metadata.row_groups) {
      const rowEnd = rowStart + Number(num_rows);
      const group = { file: bytes, metadata, rowStart, rowEnd };
      const places = await parquetReadObjects({ ...group, columns: PLACE });
      const rows = places.flatMap((row, at) => (isMeant(row) ? [{ at, row }] : []));
      // One column after the other, with others' turns between: a row group may be large.
      for (const name of rows.length === 0 ? [] : names.filter((one) => !PLACE.includes(one))) {
        await turn();
        const column = await parquetReadObjects({ ...group, columns: [name] });
        for (const { at, row } of rows) row[name] = column[at][name];
      }
      for (let at = 0; at < rows.length; at += PAGE) yield rows.slice(at, at + PAGE).map(({ row }) => recordText(row));
      yield [];
      rowStart = rowEnd;
    }
  } catch (error) {
    if (failed !== undefined) throw failed;
    if (gone) return;
    throw new DamagedFile(`${file.key} is not readable as Parquet: ${(error as Error).message}`);
  }
}
