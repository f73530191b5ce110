import type { InferResponse } from '../../pipeline/types.ts';
import { invalidArgument } from '../../shared/errors.ts';
import { elementCount, type Tensor } from '../../tensor/tensor.ts';
import { type JsonOutput, threadOutput } from '../json/output.ts';
import { keepOutput, SLICE, sliceOutput } from '../json/slices.ts';
import { type ElementPrinter, elementPrinter } from '../json/tensor-print.ts';

/**
 * The body of a predict answer: `predictions` with an entry per row, or `outputs` by column. A single output goes
 * without its name. BYTES of outputs whose name ends in `_bytes` are {"b64": "…"}. Valid until the next encoding on
 * this thread. Throws invalid_argument for rows of different number and for BYTES that are not UTF-8 otherwise.
 */
export function encodePredict(response: InferResponse, format: 'row' | 'column'): Uint8Array {
  const out = threadOutput;
  out.begin();
  for (const slices = write(out, response.outputs, format); !slices.next().done; );
  return out.view();
}

/** Whether an answer has so many elements that printing them would hold the loop for long. */
export function predictNeedsSlices({ outputs }: InferResponse): boolean {
  return outputs.some(({ shape }) => elementCount(shape) > SLICE);
}

/** encodePredict in slices, each of which ends with a `yield`: other bodies may be encoded in between. */
export function* encodePredictInSlices(
  response: InferResponse,
  format: 'row' | 'column',
): Generator<undefined, Uint8Array, undefined> {
  const out = sliceOutput();
  yield* write(out, response.outputs, format);
  keepOutput(out);
  return out.view();
}

type Slices = Generator<undefined, void, undefined>;

function write(out: JsonOutput, outputs: readonly Tensor[], format: 'row' | 'column'): Slices {
  if (outputs.length === 0) throw invalidArgument('the model gave no outputs');
  return format === 'row' ? writeRows(out, outputs) : writeColumns(out, outputs);
}

function printerOf(output: Tensor): ElementPrinter {
  return elementPrinter(output, output.name.endsWith('_bytes'));
}

function* writeRows(out: JsonOutput, outputs: readonly Tensor[]): Slices {
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
  const rowSize = sizes.reduce((sum, size) => sum + size, 0);
  let printed = 0;
  out.raw('{"predictions":[');
  for (let row = 0; row < rows; row++) {
    if (row > 0) out.byte(0x2c);
    for (let i = 0; i < outputs.length; i++) {
      if (outputs.length > 1) {
        out.byte(i === 0 ? 0x7b : 0x2c);
        out.string(outputs[i].name);
        out.byte(0x3a);
      }
      if (sizes[i] > SLICE) yield* writeLarge(out, printers[i], outputs[i].shape, 1, row * sizes[i], sizes[i]);
      else writeNested(out, printers[i], outputs[i].shape, 1, row * sizes[i], sizes[i]);
    }
    if (outputs.length > 1) out.byte(0x7d);
    printed += rowSize;
    if (printed >= SLICE) {
      printed = 0;
      yield;
    }
  }
  out.raw(']}');
}

function* writeColumns(out: JsonOutput, outputs: readonly Tensor[]): Slices {
  out.raw('{"outputs":');
  for (let i = 0; i < outputs.length; i++) {
    const output = outputs[i];
    if (outputs.length > 1) {
      out.byte(i === 0 ? 0x7b : 0x2c);
      out.string(output.name);
      out.byte(0x3a);
    }
    const count = elementCount(output.shape);
    if (count > SLICE) yield* writeLarge(out, printerOf(output), output.shape, 0, 0, count);
    else writeNested(out, printerOf(output), output.shape, 0, 0, count);
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

/** writeNested of more than a slice. */
function* writeLarge(
  out: JsonOutput,
  printer: ElementPrinter,
  shape: readonly number[],
  axis: number,
  from: number,
  count: number,
): Slices {
  out.byte(0x5b);
  // Of the innermost lists, as many elements as make a slice; of others, one list after another.
  const step = axis === shape.length - 1 ? SLICE : count / shape[axis];
  let printed = 0;
  for (let at = from; at < from + count; at += step) {
    if (at > from) out.byte(0x2c);
    if (axis === shape.length - 1) printer.print(out, at, Math.min(from + count, at + step));
    else if (step > SLICE) yield* writeLarge(out, printer, shape, axis + 1, at, step);
    else writeNested(out, printer, shape, axis + 1, at, step);
    printed += step;
    if (printed >= SLICE) {
      printed = 0;
      yield;
    }
  }
  out.byte(0x5d);
}
