import type { Parameters } from '../../pipeline/types.ts';
import { invalidArgument } from '../../shared/errors.ts';
import type { JsonCursor } from '../json/cursor.ts';

/** Refuses names that mean something to JavaScript objects, and the empty one. `what`: input, output, parameter. */
export function checkName(name: string, what: string): void {
  if (name === '') throw invalidArgument(`an ${what} has an empty name`);
  if (name === '__proto__' || name === 'constructor' || name === 'prototype') {
    throw invalidArgument(`'${name}' is not allowed as the name of an ${what}`);
  }
}

/** Below this many names, comparing all pairs is cheaper than a set. */
const FEW = 16;

/** Refuses lists in which a name appears twice. */
export function refuseRepeats(named: readonly { name: string }[], what: string): void {
  if (named.length > FEW) {
    const names = new Set<string>();
    for (const { name } of named) {
      if (names.has(name)) throw invalidArgument(`${what} '${name}' appears twice`);
      names.add(name);
    }
    return;
  }
  for (let i = 1; i < named.length; i++) {
    for (let j = 0; j < i; j++) {
      if (named[i].name === named[j].name) throw invalidArgument(`${what} '${named[i].name}' appears twice`);
    }
  }
}

/** The request parameter binary_data_output: outputs that do not say otherwise are answered as binary. */
export function binaryByDefault(parameters: Parameters): boolean {
  const value = parameters.binary_data_output;
  if (value === undefined) return false;
  if (typeof value !== 'boolean')
    throw invalidArgument(`parameter 'binary_data_output' is ${value}; it must be a boolean`);
  return value;
}

/**
 * Reads `{"name": scalar, …}` into a null-prototype object; null instead of the object, or as a value, counts as
 * absent. Integers beyond 2^53 become bigint. Throws invalid_argument for nested values and repeated names.
 */
export function readParameters(cursor: JsonCursor): Parameters | undefined {
  if (cursor.skipNull()) return undefined;
  cursor.expect(0x7b);
  const parameters: Parameters = Object.create(null);
  if (cursor.empty(0x7d)) return parameters;
  do {
    const name = cursor.key();
    checkName(name, 'entry of parameters');
    if (name in parameters) throw invalidArgument(`parameter '${name}' appears twice`);
    const c = cursor.peek();
    if (c === 0x7b || c === 0x5b) {
      throw invalidArgument(`parameter '${name}' must be a string, number or boolean, not an object or array`);
    }
    if (!cursor.skipNull()) parameters[name] = cursor.scalar();
  } while (cursor.more(0x7d));
  return parameters;
}
