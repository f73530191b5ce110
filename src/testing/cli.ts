import { run } from '../cli/program.ts';
import type { Serve } from '../cli/serve.ts';

export interface CliResult {
  code: number;
  out: string;
  err: string;
}

const noServe: Serve = () => Promise.reject(new Error('this test serves nothing'));

/** Runs one command line in this process, with `stdin` as its standard input. */
export async function cli(args: readonly string[], stdin = '', serve: Serve = noServe): Promise<CliResult> {
  const out: string[] = [];
  const err: string[] = [];
  const output = {
    out: (text: string) => void out.push(text),
    err: (text: string) => void err.push(text),
    stdin: async () => stdin,
  };
  const code = await run(args, output, serve);
  return { code, out: out.join('\n'), err: err.join('\n') };
}
