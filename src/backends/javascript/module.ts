import { createHash } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { ERROR_TABLE, type ErrorCode, SwitchyardError } from '../../shared/errors.ts';
import type { LoadSpec } from '../backend.ts';
import type { ScriptInput, ScriptOutput } from './tensors.ts';

export const MODULE_FILE = 'model.mjs';

/** What `execute` learns of the request besides its tensors. */
export interface ScriptContext {
  model: string;
  version: string;
  /** Names of the wanted outputs; empty = all. */
  outputs: readonly string[];
  /** Milliseconds left until the answer is useless; Infinity: no deadline. */
  remainingMs: number;
  parameters: Readonly<Record<string, string | number | boolean>>;
  signal: AbortSignal | undefined;
}

/** What `initialize` is given. */
export interface ScriptConfig {
  model: string;
  version: string;
  /** The model's `parameters`. */
  parameters: Record<string, string>;
  /** The whole configuration with Triton's field names. */
  config: Record<string, unknown>;
  /** Folder of this version, for files beside the module. */
  directory: string;
}

type Outputs = Record<string, ScriptOutput>;

/** The exports of a user's `model.mjs`. */
export interface ScriptModule {
  initialize?(config: ScriptConfig): unknown;
  execute?(inputs: Record<string, ScriptInput>, context: ScriptContext): Outputs | Promise<Outputs>;
  executeStream?(inputs: Record<string, ScriptInput>, context: ScriptContext): AsyncIterable<Outputs>;
  finalize?(): unknown;
}

/**
 * Imports `<version>/model.mjs`. The address carries the file's digest, so changed bytes load anew and the same bytes
 * do not; what the module itself imports follows Node's rules (a sibling file changed in place is not reloaded).
 * Throws failed_precondition naming the missing file or export, or why the import failed.
 */
export async function importModule(spec: LoadSpec): Promise<{ module: ScriptModule; bytes: number }> {
  const label = `model "${spec.model}" version ${spec.version}`;
  const path = join(spec.directory, MODULE_FILE);
  let source: Buffer;
  try {
    source = await readFile(path);
  } catch (cause) {
    const code = (cause as NodeJS.ErrnoException).code ?? 'unreadable';
    throw new SwitchyardError('failed_precondition', `${label}: ${MODULE_FILE} cannot be read (${code})`, { cause });
  }
  const digest = createHash('sha256').update(source).digest('hex').slice(0, 16);
  let module: Record<string, unknown>;
  try {
    module = (await import(`${pathToFileURL(path).href}?digest=${digest}`)) as Record<string, unknown>;
  } catch (cause) {
    const reason = withoutPaths(cause, spec);
    throw new SwitchyardError('failed_precondition', `${label}: ${MODULE_FILE} cannot be imported: ${reason}`, {
      cause,
    });
  }
  const needed = spec.config.decoupled ? 'executeStream' : 'execute';
  for (const name of ['execute', 'executeStream', 'initialize', 'finalize']) {
    const value = module[name];
    if (value === undefined && name !== needed) continue;
    if (typeof value !== 'function') {
      throw new SwitchyardError(
        'failed_precondition',
        `${label}: ${MODULE_FILE} must export a function "${name}", found ${value === undefined ? 'none' : typeof value}`,
      );
    }
  }
  return { module: module as ScriptModule, bytes: source.length };
}

/**
 * What a user's function threw, under a code of the error table. A thrown error may name one itself in `code`
 * (`invalid_argument` to refuse the caller's input, say); anything else is `internal`.
 */
export function scriptError(thrown: unknown, phase: string, spec: LoadSpec): SwitchyardError {
  if (thrown instanceof SwitchyardError) return thrown;
  const own = (thrown as { code?: unknown } | null | undefined)?.code;
  const code = typeof own === 'string' && Object.hasOwn(ERROR_TABLE, own) ? (own as ErrorCode) : 'internal';
  const message = `model "${spec.model}" version ${spec.version}: ${phase} threw: ${withoutPaths(thrown, spec)}`;
  return new SwitchyardError(code, message, { cause: thrown });
}

/** The message without the repository's place on this machine. */
function withoutPaths(thrown: unknown, spec: LoadSpec): string {
  let message = thrown instanceof Error ? thrown.message : String(thrown);
  for (const folder of [spec.directory, spec.modelDirectory]) {
    if (folder === '') continue;
    message = message.replaceAll(pathToFileURL(folder).href, spec.model).replaceAll(folder, spec.model);
  }
  return message;
}
