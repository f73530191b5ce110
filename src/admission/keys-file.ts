import { readFile } from 'node:fs/promises';
import { type FSWatcher, watch } from 'chokidar';
import { parse } from 'yaml';
import { invalidArgument, type SwitchyardError, toSwitchyardError } from '../shared/errors.ts';
import type { ApiKeyConfig } from './admission-config.ts';
import { validateAdmissionConfig } from './validate-config.ts';

const MAX_BYTES = 8 * 1024 * 1024;
const FIELDS = new Set(['tenant', 'sha256', 'roles', 'maxPriority', 'expires']);

/** Parses `keys: [{tenant, sha256, …}]` or the bare list, YAML or JSON. Throws invalid_argument; never quotes the text. */
export function parseKeysFile(text: string): ApiKeyConfig[] {
  if (text.length > MAX_BYTES) throw invalidArgument(`keys file: larger than ${MAX_BYTES} bytes`);
  let document: unknown;
  try {
    document = parse(text, { maxAliasCount: 0, schema: 'core' });
  } catch {
    throw invalidArgument('keys file: not readable as YAML or JSON');
  }
  const list = Array.isArray(document) ? document : (document as { keys?: unknown } | null)?.keys;
  if (!Array.isArray(list)) throw invalidArgument('keys file: expected a list, or an object with the list "keys"');
  const keys = list.map((item: unknown, i): ApiKeyConfig => {
    if (typeof item !== 'object' || item === null) throw invalidArgument(`keys file: keys[${i}] must be an object`);
    for (const field of Object.keys(item)) {
      if (!FIELDS.has(field)) {
        throw invalidArgument(
          `keys file: keys[${i}] has the unknown field ${JSON.stringify(field)}; allowed: ${[...FIELDS].join(', ')}`,
        );
      }
    }
    return item as ApiKeyConfig;
  });
  validateAdmissionConfig({ apiKeys: keys });
  return keys;
}

/** Reads and parses the file. Rejects with invalid_argument, or unavailable when it cannot be read. */
export async function readKeysFile(path: string): Promise<ApiKeyConfig[]> {
  return parseKeysFile(await readFile(path, 'utf8'));
}

export interface KeysFileWatch {
  /** Resolves when changes are being seen. */
  readonly ready: Promise<void>;
  close(): Promise<void>;
}

/**
 * Calls `onKeys` whenever the file's content changed and is valid, `onError` when it is not (the last good keys stay in
 * use). For the control thread, which merges the keys into the configuration it pushes to the gateway threads.
 */
export function watchKeysFile(
  path: string,
  onKeys: (keys: ApiKeyConfig[]) => void,
  onError: (error: SwitchyardError) => void,
): KeysFileWatch {
  let reads = 0;
  const reread = async () => {
    const read = ++reads;
    try {
      const keys = await readKeysFile(path);
      if (read === reads) onKeys(keys);
    } catch (error) {
      if (read === reads) onError(toSwitchyardError(error));
    }
  };
  const watcher: FSWatcher = watch(path, {
    ignoreInitial: true,
    awaitWriteFinish: { stabilityThreshold: 50, pollInterval: 20 },
  });
  watcher.on('add', () => void reread());
  watcher.on('change', () => void reread());
  const ready = new Promise<void>((resolve) => watcher.once('ready', () => resolve()));
  return { ready, close: () => watcher.close() };
}
