import type { CursorState } from '../spool/cursor.ts';
import type { SpoolRecord, SpoolRun } from '../spool/format.ts';
import type { Position } from '../spool/spool.ts';

export interface Batch {
  /** The records as they lie in the spool. */
  readonly runs: readonly SpoolRun[];
  /** The same one by one: an object for each is made when they are asked for. */
  readonly records: readonly SpoolRecord[];
  from: Position;
  next: Position;
}

export interface Taken {
  /** Everything up to the end of the batch is where it belongs; false: the sink holds some of it back. */
  settled: boolean;
  /** Records that the sink's other side will never take. */
  refused: number;
  /** Everything since the last settled place is to come again: what was held back can be sent now. */
  again?: boolean;
}

/** Nothing was held back, or it still is. */
export const NOTHING: Taken = { settled: false, refused: 0 };

/** Where records go. Each has a cursor of its own, so none waits for another. */
export interface Sink {
  readonly maxRecords: number;
  /** How long fewer records than that wait for more. Absent: not at all. */
  readonly lingerMs?: number;
  /** What it holds back waits for its other side: the end of the program does not wait for that. */
  readonly waits?: boolean;
  /** Before the first batch: goes on where the cursor was saved, which is at the record with number `from`. */
  restore(note: CursorState['note'], from: number): void;
  /** Rejects: none of it counts, and everything since the last settled place comes again. */
  send(batch: Batch): Promise<Taken>;
  /** Time passed: what was held back may be settled now. `refused`: of that. */
  tick(now: number, force: boolean): Promise<Taken>;
  /** What to save beside the position. */
  note(): CursorState['note'];
  close(): Promise<void>;
}
