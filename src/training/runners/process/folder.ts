import { existsSync, linkSync, mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { AttemptStatus } from '../runner.ts';
import type { ProcessId } from './proc.ts';

/** What a supervisor writes when the attempt is over. */
export type ExitRecord = AttemptStatus;

/**
 * The folder of an attempt: `log`, and `state/` with small files that appear whole or not at all. Only the supervisor
 * writes there while it lives.
 */
export class AttemptFolder {
  readonly path: string;
  readonly state: string;
  readonly log: string;

  constructor(root: string, name: string) {
    this.path = join(root, name);
    this.state = join(this.path, 'state');
    this.log = join(this.path, 'log');
  }

  create(): void {
    mkdirSync(this.state, { recursive: true, mode: 0o700 });
  }

  exists(): boolean {
    return existsSync(this.state);
  }

  /** False: another supervisor has the attempt. */
  claim(supervisor: ProcessId): boolean {
    const own = join(this.state, `.supervisor-${supervisor.pid}`);
    writeFileSync(own, JSON.stringify(supervisor));
    try {
      linkSync(own, join(this.state, 'supervisor.json'));
      return true;
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'EEXIST') return false;
      throw error;
    } finally {
      rmSync(own, { force: true });
    }
  }

  supervisor(): ProcessId | undefined {
    return this.read('supervisor.json');
  }

  /** When its processes were started. */
  putStarted(startedAt: number): void {
    this.write('started.json', { startedAt });
  }

  started(): { startedAt: number } | undefined {
    return this.read('started.json');
  }

  putCancel(graceMs: number): void {
    this.write('cancel.json', { graceMs });
  }

  cancelled(): { graceMs: number } | undefined {
    return this.read('cancel.json');
  }

  putExit(record: ExitRecord): void {
    this.write('exit.json', record);
  }

  exit(): ExitRecord | undefined {
    return this.read('exit.json');
  }

  remove(): void {
    rmSync(this.path, { recursive: true, force: true, maxRetries: 3 });
  }

  private write(file: string, value: object): void {
    const draft = join(this.state, `.${file}-${process.pid}`);
    writeFileSync(draft, JSON.stringify(value));
    renameSync(draft, join(this.state, file));
  }

  private read<T>(file: string): T | undefined {
    try {
      return JSON.parse(readFileSync(join(this.state, file), 'utf8')) as T;
    } catch {
      return undefined;
    }
  }
}
