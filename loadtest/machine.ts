import { execFileSync } from 'node:child_process';
import { cpus, release, totalmem } from 'node:os';

/** What a reader needs to judge figures: nothing that names the machine itself. */
export interface Machine {
  cpu: string;
  cores: number;
  memoryGiB: number;
  kernel: string;
  node: string;
  commit: string;
  tools: Record<string, string>;
}

export function describeMachine(): Machine {
  return {
    cpu: cpus()[0]?.model.trim() ?? 'unknown',
    cores: cpus().length,
    memoryGiB: Math.round(totalmem() / 2 ** 30),
    kernel: release(),
    node: process.version,
    commit: firstLine('git', ['describe', '--always', '--dirty', '--abbrev=12']),
    tools: {
      wrk: firstLine('wrk', ['-v']).replace(/\s*Copyright.*/, ''),
      h2load: firstLine('h2load', ['--version']),
    },
  };
}

/** First line of output whatever the exit status (wrk -v exits 1); 'absent' when the command does not exist. */
function firstLine(command: string, args: string[]): string {
  try {
    return execFileSync(command, args, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] })
      .split('\n')[0]
      .trim();
  } catch (error) {
    const output = (error as { stdout?: string }).stdout;
    return output ? output.split('\n')[0].trim() : 'absent';
  }
}
