import type { ScannedModel } from './repository/scan.ts';

export interface RepositoryDiff {
  added: string[];
  changed: string[];
  removed: string[];
}

/** What differs between two looks at the repositories, by fingerprint. */
export function diffSnapshots(
  before: ReadonlyMap<string, Pick<ScannedModel, 'fingerprint'>>,
  after: ReadonlyMap<string, Pick<ScannedModel, 'fingerprint'>>,
): RepositoryDiff {
  const diff: RepositoryDiff = { added: [], changed: [], removed: [] };
  for (const [name, model] of after) {
    const old = before.get(name);
    if (old === undefined) diff.added.push(name);
    else if (old.fingerprint !== model.fingerprint) diff.changed.push(name);
  }
  for (const name of before.keys()) if (!after.has(name)) diff.removed.push(name);
  return diff;
}

/**
 * Runs `look` every `intervalMs`, never two at once. Scanning by size and time works on every file system, NFS and
 * object-store mounts included, where change notifications do not.
 */
export class Poller {
  private readonly look: () => Promise<void>;
  private readonly intervalMs: number;
  private timer: NodeJS.Timeout | undefined;
  private running: Promise<void> = Promise.resolve();
  private stopped = false;

  constructor(look: () => Promise<void>, intervalMs: number) {
    this.look = look;
    this.intervalMs = intervalMs;
  }

  start(): void {
    if (this.stopped) return;
    this.timer = setTimeout(() => {
      this.running = this.look().finally(() => this.start());
    }, this.intervalMs);
    this.timer.unref();
  }

  /** Resolves when a look in progress has ended. `look` must not reject. */
  async stop(): Promise<void> {
    this.stopped = true;
    clearTimeout(this.timer);
    await this.running;
  }
}
