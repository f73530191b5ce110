import type { Parameters, ParameterValue } from '../../pipeline/types.ts';
import { invalidArgument } from '../../shared/errors.ts';
import type { StringCache } from './string-cache.ts';
import { WIRE_BYTES, type WireReader } from './wire-reader.ts';

const FORBIDDEN = new Set(['__proto__', 'constructor', 'prototype']);

/**
 * Reads one entry of a map<string, InferParameter> and sets it in `into`, creating the record at need. An entry without
 * a value is refused: no client means anything by it.
 */
export function readParameter(reader: WireReader, names: StringCache, into: Parameters | undefined): Parameters {
  const outer = reader.end;
  const length = reader.length();
  reader.end = reader.pos + length;
  let key = '';
  let value: ParameterValue | undefined;
  for (let tag = reader.tag(); tag !== 0; tag = reader.tag()) {
    if (tag === ((1 << 3) | WIRE_BYTES)) {
      const size = reader.length();
      key = names.get(reader.bytes, reader.pos, reader.pos + size);
      reader.pos += size;
    } else if (tag === ((2 << 3) | WIRE_BYTES)) value = readValue(reader, value);
    else reader.skip(tag);
  }
  reader.end = outer;
  if (FORBIDDEN.has(key)) throw invalidArgument(`parameter '${key}': this name is not allowed; rename it`);
  if (value === undefined) {
    throw invalidArgument(`parameter '${key}' has no value; set bool, int64, string, double or uint64_param`);
  }
  const parameters = into ?? (Object.create(null) as Parameters);
  parameters[key] = value;
  return parameters;
}

function readValue(reader: WireReader, previous: ParameterValue | undefined): ParameterValue | undefined {
  const outer = reader.end;
  const length = reader.length();
  reader.end = reader.pos + length;
  let value = previous;
  for (let tag = reader.tag(); tag !== 0; tag = reader.tag()) {
    switch (tag) {
      case 0x08:
        reader.long();
        value = reader.lo !== 0 || reader.hi !== 0;
        break;
      case 0x10:
        reader.long();
        value = reader.exact(true);
        break;
      case 0x1a:
        value = reader.string();
        break;
      case 0x21:
        value = reader.double();
        break;
      case 0x28:
        reader.long();
        value = reader.exact(false);
        break;
      default:
        reader.skip(tag);
    }
  }
  reader.end = outer;
  return value;
}

/** Takes a non-negative integer parameter such as `timeout` (µs) or `priority`; `undefined` gives 0. */
export function integerParameter(parameters: Parameters | undefined, name: string): number {
  const value = parameters?.[name];
  if (value === undefined) return 0;
  if (typeof value !== 'number' || !Number.isSafeInteger(value) || value < 0) {
    throw invalidArgument(`parameter '${name}': got ${String(value)}; give a non-negative int64_param or uint64_param`);
  }
  return value;
}
