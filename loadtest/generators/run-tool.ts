import { spawn } from 'node:child_process';

/** Runs a load generator to its end and returns its stdout. Throws with stderr when it fails, or names the remedy when it is absent. */
export function runTool(command: string, args: string[], remedy: string): Promise<string> {
  return new Promise((resolve, reject) => {
    const child = spawn(command, args, { stdio: ['ignore', 'pipe', 'pipe'] });
    let output = '';
    let errors = '';
    child.stdout.setEncoding('utf8').on('data', (text: string) => {
      output += text;
    });
    child.stderr.setEncoding('utf8').on('data', (text: string) => {
      errors += text;
    });
    child.once('error', (error: NodeJS.ErrnoException) => {
      reject(error.code === 'ENOENT' ? new Error(`${command} is not installed: ${remedy}`) : error);
    });
    child.once('close', (code) => {
      if (code === 0) resolve(output);
      else reject(new Error(`${command} ended with status ${code}: ${errors.trim() || output.trim()}`));
    });
  });
}
