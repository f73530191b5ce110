#!/usr/bin/env node
import { run } from './program.ts';

// The reader of a pipe may have had enough, as `| head` does.
process.stdout.on('error', (error: NodeJS.ErrnoException) => process.exit(error.code === 'EPIPE' ? 0 : 1));

process.exitCode = await run(
  process.argv.slice(2),
  {
    out: (text) => process.stdout.write(`${text}\n`),
    err: (text) => process.stderr.write(`${text}\n`),
    stdin: async () => {
      const chunks: Buffer[] = [];
      for await (const chunk of process.stdin) chunks.push(chunk as Buffer);
      return Buffer.concat(chunks).toString('utf8');
    },
  },
  async (options, settings) => {
    const { supervise } = await import('./supervisor.ts');
    return supervise([JSON.stringify(options)], settings);
  },
);
