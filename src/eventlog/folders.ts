import { join, resolve } from 'node:path';
import type { Config } from '../config/schema.ts';

/** Where sinks of kind `files` write records that this server can read back, by the sinks' names. */
export function eventLogFolders(
  { enabled, dir, sinks }: Config['eventLog'],
  dataDir: string,
  baseDir: string,
): Record<string, string> {
  if (!enabled) return {};
  const root = eventLogRoot(dir, dataDir, baseDir);
  if (sinks.length === 0) return { files: join(root, 'files', 'files') };
  const folders: Record<string, string> = {};
  for (const sink of sinks)
    if (sink.kind === 'files' && sink.format !== 'sagemaker' && sink.s3 === undefined)
      folders[sink.name] = sink.dir === undefined ? join(root, 'files', sink.name) : resolve(baseDir, sink.dir);
  return folders;
}

/** Where a server keeps payloads by reference. @param root of its event log */
export function payloadFolder(root: string): string {
  return join(root, 'payloads');
}

/** Where a server keeps everything of its event log that has no place of its own. @param dir of the configuration */
export function eventLogRoot(dir: string | undefined, dataDir: string, baseDir: string): string {
  return dir === undefined ? join(dataDir, 'eventlog') : resolve(baseDir, dir);
}
