import type { Parameters, RequestedOutput } from '../../pipeline/types.ts';
import { invalidArgument, SwitchyardError } from '../../shared/errors.ts';
import type { JsonCursor } from '../json/cursor.ts';
import { skipValue } from '../json/skip.ts';
import { binaryByDefault, checkName, refuseRepeats } from './parameters.ts';

/** The value of "outputs", and those of them that did not say how they want to be sent. */
export interface OutputList {
  all: RequestedOutput[];
  unstated: RequestedOutput[] | undefined;
}

/** Whether the output read last said itself how it wants to be sent. */
let binaryStated = false;

/** Reads the value of `outputs`; null counts as absent. */
export function scanOutputs(cursor: JsonCursor): OutputList {
  const list: OutputList = { all: [], unstated: undefined };
  if (cursor.skipNull()) return list;
  cursor.expect(0x5b);
  let more = !cursor.empty(0x5d);
  while (more) {
    const output = scanOutput(cursor);
    list.all.push(output);
    if (!binaryStated) {
      if (list.unstated === undefined) list.unstated = [output];
      else list.unstated.push(output);
    }
    more = cursor.more(0x5d);
  }
  if (list.all.length > 1) refuseRepeats(list.all, 'output');
  return list;
}

/** The outputs asked for, once the request's parameters are known. */
export function finishOutputs(list: OutputList | undefined, parameters: Parameters | undefined): RequestedOutput[] {
  if (list === undefined) return [];
  const { all, unstated } = list;
  if (parameters !== undefined && unstated !== undefined && binaryByDefault(parameters)) {
    for (let i = 0; i < unstated.length; i++) unstated[i].binary = true;
  }
  return all;
}

/** Reads one element of `outputs`: its name and the parameters binary_data and classification. */
function scanOutput(cursor: JsonCursor): RequestedOutput {
  const output: RequestedOutput = { name: '', binary: false, classification: 0 };
  binaryStated = false;
  cursor.expect(0x7b);
  let open = !cursor.empty(0x7d);
  while (open) {
    const key = cursor.key();
    if (key === 'name') {
      if (output.name !== '') throw invalidArgument(`output '${output.name}': 'name' appears twice`);
      output.name = cursor.name();
      checkName(output.name, 'output');
    } else if (key === 'parameters') {
      scanOutputParameters(cursor, output);
    } else {
      skipValue(cursor);
    }
    open = cursor.more(0x7d);
  }
  if (output.name === '') throw invalidArgument("an element of 'outputs' has no 'name'");
  return output;
}

function scanOutputParameters(cursor: JsonCursor, output: RequestedOutput): void {
  if (cursor.skipNull()) return;
  cursor.expect(0x7b);
  if (cursor.empty(0x7d)) return;
  do {
    const key = cursor.key();
    if (key === 'binary_data') {
      output.binary = cursor.boolean();
      binaryStated = true;
    } else if (key === 'classification') {
      const k = cursor.number();
      if (typeof k === 'bigint' || !Number.isSafeInteger(k) || k < 0) {
        throw invalidArgument(
          `output '${output.name}': classification is ${k}; it must be a number of classes, 0 = off`,
        );
      }
      output.classification = k;
    } else if (key.startsWith('shared_memory_')) {
      throw new SwitchyardError(
        'unsupported',
        `output '${output.name}': '${key}' asks for shared memory, which this server does not offer; use binary_data`,
      );
    } else {
      skipValue(cursor);
    }
  } while (cursor.more(0x7d));
}
