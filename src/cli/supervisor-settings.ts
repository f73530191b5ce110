import { readFileSync } from 'node:fs';
import { resolve } from 'node:path';
import { parse } from 'yaml';

/** What the supervisor needs of the configuration once the server has crashed. */
export interface SupervisorSettings {
  /** Absolute; the same folder that the server uses. */
  dataDir: string;
  restart: boolean;
}

/**
 * Reads the supervisor's settings: flags and environment, then the file, then defaults. It is read at a crash, not at
 * the start, and without the schema: the server has validated the file, and the supervisor has to stay small. A file
 * that cannot be read any more counts as empty.
 */
export function readSupervisorSettings(flags: {
  config?: string;
  dataDir?: string;
  supervise: boolean;
}): SupervisorSettings {
  const file = flags.config === undefined ? {} : readFile(flags.config);
  const server = asRecord(file.server);
  const inFile = typeof file.dataDir === 'string' ? file.dataDir : undefined;
  return {
    dataDir: resolve(flags.dataDir ?? inFile ?? 'data'),
    restart: flags.supervise && server.supervise !== false,
  };
}

function readFile(path: string): Record<string, unknown> {
  try {
    return asRecord(parse(readFileSync(path, 'utf8'), { schema: 'core', maxAliasCount: 100 }));
  } catch {
    return {};
  }
}

function asRecord(value: unknown): Record<string, unknown> {
  return typeof value === 'object' && value !== null ? (value as Record<string, unknown>) : {};
}
