import { join } from 'node:path';
import type { Runner } from '../runners/runner.ts';
import { CHECKPOINT_FOLDER, lookInside, storeFiles, type WorkParts } from '../work/work-folder.ts';
import type { JobSpec } from './spec.ts';

const CHUNK_BYTES = 256 * 1024;
const TAIL_BYTES = 4096;

/** The last lines of an attempt's output, whose length in bytes is `end`. */
export async function readTail(runner: Runner, attempt: string, end: number): Promise<string> {
  const from = Math.max(0, end - TAIL_BYTES);
  const { bytes } = await runner.logs(attempt, from, TAIL_BYTES);
  const text = bytes.toString('utf8');
  return from === 0 ? text : text.slice(text.indexOf('\n') + 1);
}

/** Keeps declared outputs under the artifacts of a run (`root`). Resolves with what is missing; '' = all are there. */
export async function storeOutputs(
  workDir: string,
  outputs: JobSpec['outputs'],
  root: string,
  work: WorkParts,
): Promise<string> {
  for (const { name, path, optional } of outputs) {
    const found = await lookInside(workDir, path);
    if (found === 'missing' && optional) continue;
    if (found === 'missing') return `output ${JSON.stringify(name)}: it has not written ${JSON.stringify(path)}`;
    if (found === 'link')
      return `output ${JSON.stringify(name)}: ${JSON.stringify(path)} is a link or behind one; write a file or folder`;
    const target = found === 'folder' ? `${root}/${name}` : `${root}/${name}/${path.slice(path.lastIndexOf('/') + 1)}`;
    await storeFiles(join(workDir, path), target, work);
  }
  return '';
}

/** Replaces the checkpoint that a run has by what lies at `path`, if there is something. */
export async function storeCheckpoint(workDir: string, path: string, root: string, work: WorkParts): Promise<void> {
  const found = await lookInside(workDir, path);
  if (found !== 'folder' && found !== 'file') return;
  await work.storage.artifacts.remove(`${root}/${CHECKPOINT_FOLDER}`);
  await storeFiles(join(workDir, path), `${root}/${CHECKPOINT_FOLDER}`, work);
}

/** Keeps the whole output of an attempt. @param target as of logArtifact */
export async function storeLog(runner: Runner, attempt: string, target: string, work: WorkParts): Promise<void> {
  const read = async function* (): AsyncGenerator<Buffer> {
    for (let offset = 0; ; ) {
      const { bytes, next } = await runner.logs(attempt, offset, CHUNK_BYTES);
      if (bytes.length === 0) return;
      yield bytes;
      offset = next;
    }
  };
  const facts = { mediaType: 'text/plain', declared: undefined, expected: undefined };
  await work.storage.artifacts.upload(target, read(), facts);
}

/** Where the log of an attempt is kept with its run. */
export function logArtifact(root: string, attempt: number): string {
  return `${root}/logs/attempt-${attempt}.log`;
}
