import type { ModelSignature } from '../../config/model-config.ts';
import type { InferRequest, InferResponse } from '../../pipeline/types.ts';
import { invalidArgument, SwitchyardError } from '../../shared/errors.ts';
import { countBytesElements } from '../../tensor/bytes.ts';
import { elementCount, type Tensor } from '../../tensor/tensor.ts';
import { JsonCursor } from '../json/cursor.ts';
import { type JsonOutput, threadOutput } from '../json/output.ts';
import { skipValue } from '../json/skip.ts';
import { keepOutput, SLICE, sliceOutput } from '../json/slices.ts';
import { elementPrinter } from '../json/tensor-print.ts';
import { readNamedRow, requireRows, StackedInput } from './predict-request.ts';

type Slices = Generator<undefined, void, undefined>;
type InSlices = Generator<undefined, Uint8Array, undefined>;

/** Bytes of context that may be read for all examples together: a few bytes of examples must not multiply a large one. */
const CONTEXT_LIMIT = 64 * 1024 * 1024;

/**
 * Decodes the body of TF Serving's `:classify` and `:regress`: `examples`, objects of features, and an optional
 * `context` whose features go to every example that does not have them. Each feature is an input of the model; a scalar
 * counts as a list of one, which an input declared without dims takes as a scalar. Throws invalid_argument.
 */
export function scanExamples(
  model: string,
  version: string,
  body: Uint8Array,
  signature: ModelSignature,
): InferRequest {
  const cursor = new JsonCursor(body, body.length);
  let contextAt = -1;
  let contextBytes = 0;
  let examplesAt = -1;
  cursor.expect(0x7b);
  let open = !cursor.empty(0x7d);
  while (open) {
    const key = cursor.key();
    cursor.peek();
    if (key === 'context') contextAt = cursor.pos;
    else if (key === 'examples') examplesAt = cursor.pos;
    skipValue(cursor);
    if (key === 'context') contextBytes = cursor.pos - contextAt;
    open = cursor.more(0x7d);
  }
  cursor.finish();
  if (examplesAt < 0) throw invalidArgument("the body has no 'examples'");
  const stacks: StackedInput[] = [];
  cursor.pos = examplesAt;
  cursor.expect(0x5b);
  if (cursor.empty(0x5d)) throw invalidArgument("'examples' is empty");
  let rows = 0;
  do {
    if (cursor.peek() === 0x7b && cursor.buf[cursor.pos + 1] === 0x7d) cursor.pos += 2;
    else readNamedRow(cursor, signature, stacks, true);
    rows++;
    if (rows * contextBytes > CONTEXT_LIMIT) {
      throw invalidArgument(
        `'context' of ${contextBytes} bytes, repeated for ${rows} examples or more, is beyond ${CONTEXT_LIMIT} bytes`,
      );
    }
    if (contextAt >= 0) addContext(cursor, contextAt, signature, stacks, rows);
    requireRows(stacks, rows);
  } while (cursor.more(0x5d));
  if (stacks.length === 0) throw invalidArgument("the 'examples' have no features");
  return { model, version, id: '', inputs: stacks.map(takeExample), outputs: [], parameters: undefined };
}

/** Reads the context once per example: it is small, and its values may be of any type and length. */
function addContext(
  cursor: JsonCursor,
  at: number,
  signature: ModelSignature,
  stacks: StackedInput[],
  rows: number,
): void {
  const resume = cursor.pos;
  cursor.pos = at;
  cursor.expect(0x7b);
  let open = !cursor.empty(0x7d);
  while (open) {
    const name = cursor.key();
    let stack = stacks.find((known) => known.spec.name === name);
    if (stack === undefined && rows === 1) {
      const spec = signature.inputs.find((input) => input.name === name);
      if (spec === undefined) throw invalidArgument(`the model has no input '${name}', which 'context' names`);
      stack = new StackedInput(spec);
      stacks.push(stack);
    }
    if (stack !== undefined && stack.rows < rows) stack.readRow(cursor, true);
    else skipValue(cursor);
    open = cursor.more(0x7d);
  }
  cursor.pos = resume;
}

function takeExample(stack: StackedInput): Tensor {
  const tensor = stack.take();
  if (stack.spec.dims.length === 0 && tensor.shape.length === 2 && tensor.shape[1] === 1) tensor.shape.pop();
  return tensor;
}

/** Classes printed in one turn of the loop: each has two texts, that are printed one by one. */
const CLASSES_SLICE = SLICE / 16;

/**
 * The `results` of classify: per example the list of [label, score]. Scores come from the output `scores`, or the first
 * float output; labels from the output `classes`, or the declared labels, or are left empty. Valid until the next
 * encoding on this thread.
 */
export function encodeClassify(response: InferResponse, signature: ModelSignature): Uint8Array {
  threadOutput.begin();
  for (const slices = writeClasses(threadOutput, response, signature); !slices.next().done; );
  return threadOutput.view();
}

/** Whether an answer has so many results that printing them would hold the loop for long. */
export function classesNeedSlices({ outputs }: InferResponse): boolean {
  return outputs.some(({ shape }) => elementCount(shape) > CLASSES_SLICE);
}

/** encodeClassify in slices, each of which ends with a `yield`: other bodies may be encoded in between. */
export function* encodeClassifyInSlices(response: InferResponse, signature: ModelSignature): InSlices {
  const out = sliceOutput();
  yield* writeClasses(out, response, signature);
  keepOutput(out);
  return out.view();
}

function* writeClasses(out: JsonOutput, response: InferResponse, signature: ModelSignature): Slices {
  const scores = floatOutput(response, 'scores');
  const classes = response.outputs.find((output) => output.name === 'classes' && output.datatype === 'BYTES');
  const declared = signature.outputs.find((spec) => spec.name === scores.name)?.labels;
  const rows = scores.shape[0] ?? 1;
  const each = elementCount(scores.shape.slice(1));
  if (classes !== undefined && countBytesElements(classes.data) !== rows * each) {
    throw new SwitchyardError(
      'internal',
      `the outputs 'classes' and '${scores.name}' differ in their number of elements`,
    );
  }
  const scorePrinter = elementPrinter(scores);
  const labelPrinter = classes === undefined ? undefined : elementPrinter(classes);
  out.raw('{"results":[');
  for (let row = 0, printed = 0; row < rows; row++) {
    out.raw(row === 0 ? '[' : ',[');
    for (let i = 0; i < each; i++) {
      out.raw(i === 0 ? '[' : ',[');
      const index = row * each + i;
      if (labelPrinter !== undefined) labelPrinter.print(out, index, index + 1);
      else out.string(declared?.[i] ?? '');
      out.byte(0x2c);
      scorePrinter.print(out, index, index + 1);
      out.byte(0x5d);
      if (++printed % CLASSES_SLICE === 0) yield;
    }
    out.byte(0x5d);
  }
  out.raw(']}');
}

/** The `results` of regress: one value per example, from the output `outputs`, or the first float output. */
export function encodeRegress(response: InferResponse): Uint8Array {
  threadOutput.begin();
  for (const slices = writeValues(threadOutput, response); !slices.next().done; );
  return threadOutput.view();
}

/** encodeRegress in slices, where predictNeedsSlices. */
export function* encodeRegressInSlices(response: InferResponse): InSlices {
  const out = sliceOutput();
  yield* writeValues(out, response);
  keepOutput(out);
  return out.view();
}

function* writeValues(out: JsonOutput, response: InferResponse): Slices {
  const values = floatOutput(response, 'outputs');
  const rows = values.shape[0] ?? 1;
  const count = elementCount(values.shape);
  if (count !== rows) {
    throw new SwitchyardError(
      'failed_precondition',
      `output '${values.name}' of shape [${values.shape}] holds more than one value per example; use :predict`,
    );
  }
  const printer = elementPrinter(values);
  out.raw('{"results":[');
  for (let from = 0; from < count; from += SLICE) {
    if (from > 0) out.byte(0x2c);
    printer.print(out, from, Math.min(count, from + SLICE));
    if (from + SLICE < count) yield;
  }
  out.raw(']}');
}

function floatOutput(response: InferResponse, preferred: string): Tensor {
  const floats = response.outputs.filter((output) => output.datatype === 'FP32' || output.datatype === 'FP64');
  const chosen = floats.find((output) => output.name === preferred) ?? floats[0];
  if (chosen !== undefined) return chosen;
  throw new SwitchyardError('failed_precondition', `model '${response.model}' has no float output; use :predict`);
}
