import { readFileSync } from 'node:fs';
import { replaceFile } from './folder.ts';
import type { Position } from './spool.ts';

/** What a sink keeps beside its position, so that it can go on where it was. */
export interface CursorState {
  position: Position;
  /** The sink's own: the size of its open file, for one. */
  note?: Record<string, string | number>;
}

/** Up to where a sink has what was spooled, in a file that is replaced whole. */
export class CursorFile {
  private readonly path: string;

  constructor(path: string) {
    this.path = path;
  }

  /** Undefined: the sink is new, or what its file says is no cursor. Throws when there is one that cannot be read. */
  load(): CursorState | undefined {
    let text: string;
    try {
      text = readFileSync(this.path, 'utf8');
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
      throw error;
    }
    try {
      const state = JSON.parse(text) as CursorState;
      const { segment, offset, record } = state.position;
      return [segment, offset, record].every((value) => Number.isSafeInteger(value) && value >= 0) ? state : undefined;
    } catch {
      return undefined;
    }
  }

  /** On the disk when it returns. Throws what the disk says. */
  save(state: CursorState): void {
    replaceFile(this.path, JSON.stringify(state));
  }
}
