import { type ChildProcess, spawn } from 'node:child_process';

/**
 * A process that has read its code and waits for a line of JSON that says what to open, so that one which is killed is
 * replaced without delay. It prints a line when it has opened.
 */
export class PreparedProcess {
  readonly child: ChildProcess;
  /** What it complained of. */
  stderr = '';
  protected stdout = '';
  private readonly over: Promise<void>;

  protected constructor(script: string, env: Record<string, string> = {}) {
    this.child = spawn(process.execPath, [script], {
      env: { ...process.env, ...env },
      stdio: ['pipe', 'pipe', 'pipe'],
    });
    this.over = new Promise((resolve) => this.child.once('close', () => resolve()));
    this.child.stderr?.setEncoding('utf8').on('data', (chunk: string) => {
      this.stderr += chunk;
    });
    this.child.stdout?.setEncoding('utf8').on('data', (chunk: string) => {
      this.stdout += chunk;
    });
    // Of one that was killed before it read what to open.
    this.child.stdin?.on('error', () => {});
  }

  /** The first line that it prints. Rejects with what it wrote when it ends before that. */
  protected firstLine(): Promise<string> {
    const { child } = this;
    return new Promise((resolve, reject) => {
      const look = (): void => {
        const end = this.stdout.indexOf('\n');
        if (end >= 0) resolve(this.stdout.slice(0, end));
      };
      child.stdout?.on('data', look);
      child.once('close', (code, signal) =>
        reject(new Error(`the process ended with ${code ?? signal} before it had opened:\n${this.stderr}`)),
      );
      look();
    });
  }

  protected say(line: object): void {
    this.child.stdin?.write(`${JSON.stringify(line)}\n`);
  }

  /** Resolves when all that it wrote is here. */
  closed(): Promise<void> {
    return this.over;
  }

  /** kill -9. Resolves when all that it wrote is here. */
  kill(): Promise<void> {
    const closed = this.closed();
    this.child.kill('SIGKILL');
    return closed;
  }
}
