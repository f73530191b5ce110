import type { RequestedOutput } from '../../pipeline/types.ts';
import { invalidArgument, SwitchyardError } from '../../shared/errors.ts';
import type { JsonCursor } from '../json/cursor.ts';
import { skipValue } from '../json/skip.ts';
import { checkName } from './parameters.ts';

/** Whether the output read last said itself how it wants to be sent. */
export let binaryStated = false;

/** Reads one element of `outputs`: its name and the parameters binary_data and classification. */
export function scanOutput(cursor: JsonCursor): RequestedOutput {
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
