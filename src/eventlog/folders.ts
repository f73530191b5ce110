import { join, resolve } from 'node:path';
import type { Config } from '../config/schema.ts';

/** Where sinks of kind `files` write records that can be read back, by the sinks' names. */
export function eventLogFolders(
  { enabled, dir, sinks }: Config['eventLog'],
  dataDir: string,
  baseDir: string,
): Record<string, string> {
  if (!enabled) return {};
  const root = rootOf(dir, dataDir, baseDir);
  if (sinks.length === 0) return { files: join(root, 'files', 'files') };
  const folders: Record<string, string> = {};
  for (const sink of sinks)
    if (sink.kind === 'files' && sink.format !== 'sagemaker')
      folders[sink.name] = sink.dir === undefined ? join(root, 'files', sink.name) : resolve(baseDir, sink.dir);
  return folders;
}

/** Where this server keeps payloads by reference. */
export function payloadFolder({ dir }: Config['eventLog'], dataDir: string, baseDir: string): string {
  return join(rootOf(dir, dataDir, baseDir), 'payloads');
}

function rootOf(dir: string | undefined, dataDir: string, baseDir: string): string {
  return dir === undefined ? join(dataDir, 'eventlog') : resolve(baseDir, dir);
}
