import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';

const SAMPLE_MS = 200;

/** Throws, in one line, where nvidia-smi finds no GPU. */
export function requireGpu(): void {
  const { error, status, stdout, stderr } = spawnSync('nvidia-smi', ['-L'], { encoding: 'utf8' });
  if (error === undefined && status === 0 && stdout.startsWith('GPU 0')) return;
  const said = error === undefined ? `nvidia-smi says: ${(stderr || stdout).trim().split('\n')[0]}` : error.message;
  throw new Error(`an NVIDIA GPU with its driver is needed (${said}); "switchyard doctor --gpu" says what is missing`);
}

/**
 * Runs `work` and watches GPU 0 meanwhile. `idle`: percent of the time in which it executed nothing, by the driver's own
 * sampling.
 */
export async function watchingGpu<T>(work: () => Promise<T>): Promise<{ result: T; idle: number }> {
  const query = ['--id=0', '--query-gpu=utilization.gpu', '--format=csv,noheader,nounits', `--loop-ms=${SAMPLE_MS}`];
  const smi = spawn('nvidia-smi', query, { stdio: ['ignore', 'pipe', 'ignore'] });
  let text = '';
  smi.stdout.setEncoding('utf8').on('data', (chunk: string) => {
    text += chunk;
  });
  const ended = once(smi, 'close');
  try {
    return { result: await work(), idle: idlePercent(text) };
  } finally {
    smi.kill();
    await ended;
  }
}

/** The mean idle share, percent, of what nvidia-smi printed: the busy percent of each sample, one a line. NaN without any. */
export function idlePercent(text: string): number {
  // The last line may have come in part.
  const samples = text.split('\n').slice(0, -1);
  const busy = samples.map((line) => line.trim()).filter((line) => /^\d+$/.test(line));
  return 100 - busy.reduce((sum, line) => sum + Number(line), 0) / busy.length;
}
