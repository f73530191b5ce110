import { invalidArgument } from '../shared/errors.ts';
import { MAX_JSON_DEPTH, nestsTooDeeply } from '../shared/json-depth.ts';

export const MAX_BODY_BYTES = 64 * 1024 * 1024;

const utf8 = new TextDecoder('utf-8', { fatal: true });

/**
 * Parses a JSON body; undefined for an empty one. Throws invalid_argument, also for the key "__proto__": whatever
 * copies the value later cannot change a prototype then.
 */
export function parseJsonBody(body: Uint8Array): unknown {
  if (body.byteLength === 0) return undefined;
  let text: string;
  try {
    text = utf8.decode(body);
  } catch {
    throw invalidArgument('the body is not UTF-8 text; send JSON');
  }
  if (nestsTooDeeply(text))
    throw invalidArgument(`the body nests too deeply; at most ${MAX_JSON_DEPTH} levels are taken`);
  try {
    return JSON.parse(text, (key, value: unknown) => {
      if (key === '__proto__') throw invalidArgument('the body has the key "__proto__", which is not allowed');
      return value;
    });
  } catch (error) {
    if (error instanceof SyntaxError) throw invalidArgument(`the body is not JSON: ${error.message.slice(0, 200)}`);
    throw error;
  }
}

/** The value as an object whose keys are all in `known` (any, when left out). Throws invalid_argument naming `what`. */
export function asObject(value: unknown, what: string, known?: readonly string[]): Record<string, unknown> {
  if (typeof value !== 'object' || value === null || Array.isArray(value))
    throw invalidArgument(`${what} must be a JSON object`);
  const unknown = known === undefined ? undefined : Object.keys(value).find((key) => !known.includes(key));
  if (unknown !== undefined) {
    throw invalidArgument(
      `${what} has the unknown field ${JSON.stringify(unknown.slice(0, 100))}; known are ${known?.join(', ')}`,
    );
  }
  return value as Record<string, unknown>;
}
