import { fileURLToPath } from 'node:url';
import type { LogStatus } from '../eventlog/messages.ts';
import { inDist } from './in-dist.ts';
import { PreparedProcess } from './prepared-process.ts';

const WRITER = fileURLToPath(new URL('./log-writer.mjs', import.meta.url));

/** An event log that writes in a process of its own, to be killed. Build first. */
export class LogProcess extends PreparedProcess {
  /** A process that has its code and opens nothing yet. */
  static prepare(): LogProcess {
    return new LogProcess(inDist(WRITER));
  }

  /** Lets it open without waiting. @param perMs records a millisecond and ring; 0: it only sends what it finds */
  launch(dataDir: string, settings: object, round: number, perMs: number): void {
    this.say({ dataDir, settings, round, perMs });
  }

  /** Resolves when it writes. */
  async open(...what: Parameters<LogProcess['launch']>): Promise<void> {
    const opened = this.firstLine();
    this.launch(...what);
    await opened;
  }

  /** Asks it to end in good order, without waiting. */
  end(): void {
    this.say({});
  }

  /** Ids of labels that were answered for, whole lines only. */
  get acknowledged(): string[] {
    return this.lines.filter((line) => line.includes('.label.'));
  }

  /** What one that only sends says at its end. */
  get figures(): LogStatus {
    return JSON.parse(this.lines.at(-1) as string) as LogStatus;
  }

  private get lines(): string[] {
    return this.stdout.split('\n').slice(1, -1);
  }
}
