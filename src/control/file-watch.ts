import { statSync } from 'node:fs';

/** A change is told when the files have been still for one look: nobody should read half a file. */
const LOOK_MS = 250;

/**
 * Looks at a few files again and again. That notices what events of a file system do not: files that are not there yet,
 * links that are swapped, folders from the network. What changes after `follow` is never missed.
 */
export class FileWatch {
  private readonly stamps = new Map<string, string>();
  private readonly onChange: () => void;
  private readonly timer: NodeJS.Timeout;
  private changing = false;

  constructor(onChange: () => void) {
    this.onChange = onChange;
    this.timer = setInterval(() => this.look(), LOOK_MS).unref();
  }

  /** Takes these in, too. Call before reading them. */
  follow(files: readonly string[]): void {
    for (const file of files) if (!this.stamps.has(file)) this.stamps.set(file, stampOf(file));
  }

  close(): void {
    clearInterval(this.timer);
  }

  private look(): void {
    let still = true;
    for (const [file, before] of this.stamps) {
      const now = stampOf(file);
      if (now === before) continue;
      this.stamps.set(file, now);
      still = false;
    }
    if (!still) this.changing = true;
    else if (this.changing) {
      this.changing = false;
      this.onChange();
    }
  }
}

function stampOf(file: string): string {
  const stat = statSync(file, { throwIfNoEntry: false, bigint: true });
  return stat === undefined ? '' : `${stat.ino} ${stat.size} ${stat.mtimeNs}`;
}
