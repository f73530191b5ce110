import { randomBytes } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { replaceFile } from '../spool/folder.ts';

interface CutsState {
  /** Told by the names of objects: which log they are of. Several servers may write to one bucket. */
  log: string;
  /** Names do not tell it: the place has this log's objects alone. */
  plain?: boolean;
  /** Number of the record behind the last one of which objects were made. */
  next: number;
  /** From which record up to which one objects were made, where the cursor may come back to. */
  cuts: [from: number, to: number][];
}

/**
 * Where a sink cut the log into objects, written down before the first byte of them leaves. After a crash between that and
 * the cursor the same records become the same objects again, by the same names, and replace what arrived.
 */
export class CutFile {
  private readonly path: string;
  private readonly saved: () => number;
  private state: CutsState;

  /**
   * @param saved up to which record the cursor is on the disk: earlier cuts never come again
   * @param plain whether a log that begins now has the place for itself
   */
  constructor(path: string, saved: () => number, plain: boolean) {
    this.path = path;
    this.saved = saved;
    const state = readState(path) ?? newState(plain);
    this.state = { ...state, cuts: state.cuts.filter(([, to]) => to > saved()) };
  }

  /** In the names of objects; '': in none. */
  get log(): string {
    return this.state.plain === true ? '' : this.state.log;
  }

  /** The log goes on with this record. Numbers that begin anew are another log's: its objects must not replace these. */
  resume(from: number): void {
    if (from < this.saved()) this.state = newState(false);
  }

  /** Where objects that begin with a record must end; undefined: where the sink likes. */
  endOf(from: number): number | undefined {
    return this.state.cuts.find(([begun]) => begun === from)?.[1];
  }

  /** The records `from` up to `to` become objects. On the disk when it returns. Throws what the disk says. */
  begin(from: number, to: number): void {
    const end = this.endOf(from);
    if (end === to) return;
    // The same, where the cursor is gone, too.
    const state = from < this.state.next && end === undefined ? newState(false) : this.state;
    const saved = this.saved();
    const kept = state.cuts.filter(([begun, ended]) => begun !== from && ended > saved);
    this.write({ ...state, next: Math.max(state.next, to), cuts: [...kept, [from, to]] });
  }

  private write(state: CutsState): void {
    replaceFile(this.path, JSON.stringify(state));
    this.state = state;
  }
}

export type Cuts = Pick<CutFile, 'log' | 'resume' | 'endOf' | 'begin'>;

/** Of files that nobody comes back to. */
export const NO_CUTS: Cuts = { log: '', resume() {}, endOf: () => undefined, begin() {} };

function newState(plain: boolean): CutsState {
  return { log: randomBytes(4).toString('hex'), ...(plain ? { plain } : {}), next: 0, cuts: [] };
}

/** Undefined: there is none, or none that can be understood. Throws when it cannot be read. */
function readState(path: string): CutsState | undefined {
  let text: string;
  try {
    text = readFileSync(path, 'utf8');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw error;
  }
  try {
    const { log, plain, next, cuts } = JSON.parse(text) as CutsState;
    const whole = [[next, next], ...cuts].every((cut) => cut.length === 2 && cut.every(Number.isSafeInteger));
    return /^[0-9a-f]{8}$/.test(log) && whole ? { log, ...(plain === true ? { plain } : {}), next, cuts } : undefined;
  } catch {
    return undefined;
  }
}
