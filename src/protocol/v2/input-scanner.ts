import { invalidArgument, SwitchyardError } from '../../shared/errors.ts';
import { checkedCount } from '../../tensor/check.ts';
import { DATA_TYPES, type DataType, MAX_RANK, type Tensor } from '../../tensor/tensor.ts';
import type { JsonCursor } from '../json/cursor.ts';
import { ElementSink } from '../json/element-sink.ts';
import { skipValue } from '../json/skip.ts';
import { scanElements, V2_FORMS } from '../json/tensor-data.ts';
import { checkName } from './parameters.ts';

const KNOWN_TYPES: ReadonlySet<string> = new Set(DATA_TYPES);
const NO_DATA = new Uint8Array(0);

const NAME = 1;
const DATATYPE = 2;
const SHAPE = 4;
const DATA = 8;
const PARAMETERS = 16;

/** `binary_data_size` of the input read last; -1 where its elements came as JSON. */
export let binarySize = -1;

/**
 * Reads one element of `inputs`. Elements in `data` are decoded at once when name, datatype and shape came before them;
 * otherwise they are passed over and decoded at the end of the object. The data of an input with a `binarySize` is left
 * empty: the caller cuts it from what follows the JSON.
 */
export function scanInput(cursor: JsonCursor): Tensor {
  let name = '';
  let datatype = '';
  let shape: number[] | undefined;
  let data: Uint8Array | undefined;
  let dataAt = -1;
  let seen = 0;
  binarySize = -1;
  cursor.expect(0x7b);
  let open = !cursor.empty(0x7d);
  while (open) {
    const key = cursor.key();
    let bit = 0;
    if (key === 'name') {
      bit = NAME;
      name = cursor.name();
      checkName(name, 'input');
    } else if (key === 'datatype') {
      bit = DATATYPE;
      datatype = cursor.name();
    } else if (key === 'shape') {
      bit = SHAPE;
      shape = scanShape(cursor, name);
    } else if (key === 'data') {
      bit = DATA;
      if ((seen & (NAME | DATATYPE | SHAPE)) === (NAME | DATATYPE | SHAPE)) {
        data = scanData(cursor, name, datatype, shape!);
      } else {
        cursor.peek();
        dataAt = cursor.pos;
        skipValue(cursor);
      }
    } else if (key === 'parameters') {
      bit = PARAMETERS;
      scanInputParameters(cursor, name);
    } else {
      skipValue(cursor);
    }
    if ((seen & bit) !== 0) throw invalidArgument(`input '${name}': '${key}' appears twice`);
    seen |= bit;
    open = cursor.more(0x7d);
  }
  if (name === '') throw invalidArgument("an input has no 'name'");
  if (!KNOWN_TYPES.has(datatype)) throw unknownType(name, datatype);
  if (shape === undefined) throw invalidArgument(`input '${name}' has no 'shape'`);
  if ((seen & DATA) !== 0 && binarySize >= 0) {
    throw invalidArgument(`input '${name}' has both 'data' and 'binary_data_size'; send exactly one`);
  }
  if (dataAt >= 0) {
    const resume = cursor.pos;
    cursor.pos = dataAt;
    data = scanData(cursor, name, datatype, shape);
    cursor.pos = resume;
  }
  if (data === undefined) {
    if (binarySize < 0) {
      throw invalidArgument(`input '${name}' has no elements; send 'data', or binary data with 'binary_data_size'`);
    }
    data = NO_DATA;
  }
  return { name, datatype: datatype as DataType, shape, data };
}

function unknownType(name: string, datatype: string): SwitchyardError {
  if (datatype === '')
    return invalidArgument(`input '${name}' has no 'datatype'; allowed are ${DATA_TYPES.join(', ')}`);
  return invalidArgument(
    `input '${name}': datatype '${datatype.slice(0, 40)}' is unknown; allowed are ${DATA_TYPES.join(', ')}`,
  );
}

function scanData(cursor: JsonCursor, name: string, datatype: string, shape: readonly number[]): Uint8Array {
  if (!KNOWN_TYPES.has(datatype)) throw unknownType(name, datatype);
  if (datatype === 'FP16' || datatype === 'BF16') {
    throw invalidArgument(
      `input '${name}': ${datatype} has no JSON form; send it as binary data with 'binary_data_size', or as FP32`,
    );
  }
  if (cursor.peek() !== 0x5b) throw cursor.fail(`input '${name}': 'data' must be an array`);
  const count = checkedCount(name, shape);
  // Each element takes at least a digit and a comma: a larger shape cannot be filled, so nothing is allocated for it.
  const possible = count <= (cursor.end - cursor.pos) / 2 + 1;
  const sink = new ElementSink(name, datatype as DataType, possible ? count : 0);
  scanElements(cursor, sink, V2_FORMS);
  if (sink.count !== count) {
    throw invalidArgument(`input '${name}': shape [${shape}] takes ${count} elements, 'data' holds ${sink.count}`);
  }
  return sink.take();
}

function scanShape(cursor: JsonCursor, name: string): number[] {
  cursor.expect(0x5b);
  const shape: number[] = [];
  if (cursor.empty(0x5d)) return shape;
  do {
    // Single digits are nearly all dims there are.
    const c = cursor.peek();
    const next = cursor.buf[cursor.pos + 1];
    let dim: number | bigint;
    if (c >= 0x30 && c <= 0x39 && (next === 0x2c || next === 0x5d)) {
      dim = c - 0x30;
      cursor.pos++;
    } else {
      dim = cursor.number();
    }
    if (typeof dim === 'bigint' || dim < 0 || !Number.isSafeInteger(dim)) {
      throw invalidArgument(
        `input '${name}': ${dim} is not allowed in 'shape'; each dimension is an integer from 0 on`,
      );
    }
    if (shape.length === MAX_RANK)
      throw invalidArgument(`input '${name}': 'shape' has more than ${MAX_RANK} dimensions`);
    shape.push(dim);
  } while (cursor.more(0x5d));
  return shape;
}

function scanInputParameters(cursor: JsonCursor, name: string): void {
  if (cursor.skipNull()) return;
  cursor.expect(0x7b);
  if (cursor.empty(0x7d)) return;
  do {
    const key = cursor.key();
    if (key === 'binary_data_size') {
      const size = cursor.number();
      if (typeof size === 'bigint' || !Number.isSafeInteger(size) || size < 0) {
        throw invalidArgument(`input '${name}': binary_data_size is ${size}; it must be an integer from 0 on`);
      }
      if (binarySize >= 0) throw invalidArgument(`input '${name}': 'binary_data_size' appears twice`);
      binarySize = size;
    } else if (key.startsWith('shared_memory_')) {
      throw new SwitchyardError(
        'unsupported',
        `input '${name}': '${key}' asks for shared memory, which this server does not offer; send the bytes as binary data`,
      );
    } else {
      skipValue(cursor);
    }
  } while (cursor.more(0x7d));
}
