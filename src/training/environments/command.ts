import { spawn } from 'node:child_process';

export interface CommandResult {
  code: number | null;
  /** The last 64 KiB of both outputs. */
  output: string;
}

const TAIL = 64 * 1024;

/** Runs a program to its end, at most `timeoutMs`. A program that is not there has code null and says so. */
export function runCommand(
  program: string,
  args: readonly string[],
  options: { env: NodeJS.ProcessEnv; timeoutMs: number; signal?: AbortSignal },
): Promise<CommandResult> {
  return new Promise((resolve) => {
    let output = '';
    const child = spawn(program, args, {
      env: options.env,
      stdio: ['ignore', 'pipe', 'pipe'],
      detached: true,
      cwd: '/',
    });
    const kill = (): void => {
      try {
        if (child.pid !== undefined) process.kill(-child.pid, 'SIGKILL');
      } catch {
        // Ended meanwhile.
      }
    };
    const timer = setTimeout(() => {
      output += `\nit took longer than ${options.timeoutMs / 1000} s and was ended\n`;
      kill();
    }, options.timeoutMs);
    const done = (code: number | null): void => {
      clearTimeout(timer);
      options.signal?.removeEventListener('abort', kill);
      resolve({ code, output });
    };
    for (const stream of [child.stdout, child.stderr])
      stream.setEncoding('utf8').on('data', (text: string) => {
        output = (output + text).slice(-TAIL);
      });
    child.once('error', (error) => {
      output += error.message;
      done(null);
    });
    child.once('close', done);
    if (options.signal?.aborted === true) kill();
    options.signal?.addEventListener('abort', kill);
  });
}
