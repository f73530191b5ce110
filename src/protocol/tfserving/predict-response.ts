import type { InferResponse } from '../../pipeline/types.ts';
import { invalidArgument } from '../../shared/errors.ts';
import { elementCount, type Tensor } from '../../tensor/tensor.ts';
import { type JsonOutput, threadOutput } from '../json/output.ts';
import { type ElementPrinter, elementPrinter } from '../json/tensor-print.ts';

/**
 * The body of a predict answer: `predictions` with an entry per row, or `outputs` by column. A single output goes
 * without its name. BYTES of outputs whose name ends in `_bytes` are {"b64": "…"}. Valid until the next encoding on
 * this thread. Throws invalid_argument for rows of different number and for BYTES that are not UTF-8 otherwise.
 */
export function encodePredict(response: InferResponse, format: 'row' | 'column'): Uint8Array {
  const out = threadOutput;
  out.begin();
  if (format === 'row') writeRows(out, response.outputs);
  else writeColumns(out, response.outputs);
  return out.view();
}

function printerOf(output: Tensor): ElementPrinter {
  return elementPrinter(output, output.name.endsWith('_bytes'));
}

function writeRows(out: JsonOutput, outputs: readonly Tensor[]): void {
  if (outputs.length === 0) throw invalidArgument('the model gave no outputs');
  const rows = outputs[0].shape[0];
  for (const output of outputs) {
    if (output.shape.length === 0 || output.shape[0] !== rows) {
      throw invalidArgument(
        `output '${output.name}' of shape [${output.shape}] cannot be split into ${rows ?? 0} predictions; ` +
          "ask by column: send 'inputs' instead of 'instances'",
      );
    }
  }
  const printers = outputs.map(printerOf);
  const sizes = outputs.map((output) => elementCount(output.shape.slice(1)));
  out.raw('{"predictions":[');
  for (let row = 0; row < rows; row++) {
    if (row > 0) out.byte(0x2c);
    for (let i = 0; i < outputs.length; i++) {
      if (outputs.length > 1) {
        out.byte(i === 0 ? 0x7b : 0x2c);
        out.string(outputs[i].name);
        out.byte(0x3a);
      }
      writeNested(out, printers[i], outputs[i].shape, 1, row * sizes[i], sizes[i]);
    }
    if (outputs.length > 1) out.byte(0x7d);
  }
  out.raw(']}');
}

function writeColumns(out: JsonOutput, outputs: readonly Tensor[]): void {
  if (outputs.length === 0) throw invalidArgument('the model gave no outputs');
  out.raw('{"outputs":');
  for (let i = 0; i < outputs.length; i++) {
    const output = outputs[i];
    if (outputs.length > 1) {
      out.byte(i === 0 ? 0x7b : 0x2c);
      out.string(output.name);
      out.byte(0x3a);
    }
    writeNested(out, printerOf(output), output.shape, 0, 0, elementCount(output.shape));
  }
  if (outputs.length > 1) out.byte(0x7d);
  out.byte(0x7d);
}

/** Prints `count` elements from `from` on, nested by the dims from `axis` on. */
function writeNested(
  out: JsonOutput,
  printer: ElementPrinter,
  shape: readonly number[],
  axis: number,
  from: number,
  count: number,
): void {
  if (axis === shape.length) {
    printer.print(out, from, from + 1);
    return;
  }
  out.byte(0x5b);
  if (axis === shape.length - 1) {
    printer.print(out, from, from + count);
  } else {
    const step = shape[axis] === 0 ? 0 : count / shape[axis];
    for (let i = 0; i < shape[axis]; i++) {
      if (i > 0) out.byte(0x2c);
      writeNested(out, printer, shape, axis + 1, from + i * step, step);
    }
  }
  out.byte(0x5d);
}
