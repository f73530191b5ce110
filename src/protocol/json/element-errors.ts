import type { JsonCursor } from './cursor.ts';
import type { ElementSink } from './element-sink.ts';
import { latin1 } from './text.ts';

/** The error for a value that is not of the sink's type. */
export function unexpectedElement(cursor: JsonCursor, sink: ElementSink): Error {
  const end = Math.min(cursor.end, cursor.pos + 16);
  const shown = latin1(cursor.buf, cursor.pos, end).replace(/[^\x20-\x7e]/g, '?');
  return cursor.fail(`input '${sink.name}' is ${sink.datatype}, but its data holds ${JSON.stringify(shown)}`);
}
