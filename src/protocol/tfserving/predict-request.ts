import type { ModelSignature, TensorSpec } from '../../config/model-config.ts';
import type { InferRequest } from '../../pipeline/types.ts';
import { invalidArgument } from '../../shared/errors.ts';
import type { Tensor } from '../../tensor/tensor.ts';
import { JsonCursor } from '../json/cursor.ts';
import { ElementSink } from '../json/element-sink.ts';
import { skipValue } from '../json/skip.ts';
import { type ElementForms, scanElements } from '../json/tensor-data.ts';

const TFS_FORMS: ElementForms = { base64: true, quotedIntegers: true };

export interface PredictRequest {
  request: InferRequest;
  /** 'row': the body had `instances` and the answer has `predictions`; 'column': `inputs` and `outputs`. */
  format: 'row' | 'column';
}

/** Collects the values of one input over the instances of a row request, or over the examples of a classify one. */
export class StackedInput {
  readonly sink: ElementSink;
  readonly spec: TensorSpec;
  rows = 0;
  private shape: number[] | undefined;

  constructor(spec: TensorSpec) {
    this.spec = spec;
    this.sink = new ElementSink(spec.name, spec.datatype, -1);
  }

  /** Reads the value of the next row; every row must have the same shape. `flat`: a scalar counts as a list of one. */
  readRow(cursor: JsonCursor, flat: boolean): void {
    scanElements(cursor, this.sink, TFS_FORMS);
    const shape = flat && this.sink.shape.length === 0 ? [1] : this.sink.shape;
    const known = this.shape;
    if (!this.sink.regular) throw ragged(this.spec.name);
    if (known === undefined) this.shape = shape;
    else if (known.length !== shape.length || known.some((dim, i) => dim !== shape[i])) {
      throw invalidArgument(
        `input '${this.spec.name}': instance ${this.rows} has shape [${shape}], those before it have [${known}]`,
      );
    }
    this.rows++;
  }

  take(): Tensor {
    const shape = [this.rows, ...(this.shape ?? [])];
    return { name: this.spec.name, datatype: this.spec.datatype, shape, data: this.sink.take() };
  }
}

/**
 * Decodes the body of TF Serving's `:predict`. Rows: `instances`, a list of values for the only input or of objects with
 * a value per input. Columns: `inputs`, a value for the only input or an object of them. Shapes follow from the nesting,
 * datatypes from the signature; strings may be {"b64": "…"}, 64-bit integers may stand in quotes. `signature_name` is
 * accepted and means nothing here. Throws invalid_argument.
 */
export function scanPredict(
  model: string,
  version: string,
  body: Uint8Array,
  signature: ModelSignature,
): PredictRequest {
  const cursor = new JsonCursor(body, body.length);
  let inputs: Tensor[] | undefined;
  let format: 'row' | 'column' = 'row';
  cursor.expect(0x7b);
  let open = !cursor.empty(0x7d);
  while (open) {
    const key = cursor.key();
    if (key === 'instances' || key === 'inputs') {
      if (inputs !== undefined) throw invalidArgument("the body must have exactly one of 'instances' and 'inputs'");
      format = key === 'instances' ? 'row' : 'column';
      inputs = format === 'row' ? readInstances(cursor, signature) : readColumns(cursor, signature);
    } else if (key === 'signature_name') {
      cursor.string();
    } else {
      skipValue(cursor);
    }
    open = cursor.more(0x7d);
  }
  cursor.finish();
  if (inputs === undefined) throw invalidArgument("the body has neither 'instances' nor 'inputs'");
  return { request: { model, version, id: '', inputs, outputs: [], parameters: undefined }, format };
}

function readInstances(cursor: JsonCursor, signature: ModelSignature): Tensor[] {
  cursor.expect(0x5b);
  if (cursor.empty(0x5d)) throw invalidArgument("'instances' is empty");
  const stacks: StackedInput[] = [];
  let rows = 0;
  do {
    if (cursor.peek() === 0x7b && !isBase64Object(cursor)) {
      readNamedRow(cursor, signature, stacks, false);
    } else {
      if (stacks.length === 0) stacks.push(new StackedInput(onlyInput(signature)));
      stacks[0].readRow(cursor, false);
    }
    rows++;
    requireRows(stacks, rows);
  } while (cursor.more(0x5d));
  return stacks.map((stack) => stack.take());
}

/** Reads `{"input": value, …}`, adding a row to each of its inputs. */
export function readNamedRow(
  cursor: JsonCursor,
  signature: ModelSignature,
  stacks: StackedInput[],
  flat: boolean,
): void {
  const row = stacks.length === 0 ? 0 : Math.max(...stacks.map((stack) => stack.rows));
  cursor.expect(0x7b);
  if (cursor.empty(0x7d)) throw invalidArgument(`instance ${row} is an empty object`);
  do {
    const name = cursor.key();
    let stack = stacks.find((known) => known.spec.name === name);
    if (stack === undefined) {
      stack = new StackedInput(inputNamed(signature, name));
      stacks.push(stack);
    }
    stack.readRow(cursor, flat);
    if (stack.rows > row + 1) throw invalidArgument(`input '${name}' appears twice in instance ${row}`);
  } while (cursor.more(0x7d));
}

/** Every input must have been in every row so far. */
export function requireRows(stacks: readonly StackedInput[], rows: number): void {
  for (const stack of stacks) {
    if (stack.rows !== rows) {
      throw invalidArgument(`instance ${rows - 1} and those before it do not all have the input '${stack.spec.name}'`);
    }
  }
}

function readColumns(cursor: JsonCursor, signature: ModelSignature): Tensor[] {
  if (cursor.peek() !== 0x7b || isBase64Object(cursor)) return [readColumn(cursor, onlyInput(signature))];
  const inputs: Tensor[] = [];
  cursor.expect(0x7b);
  if (cursor.empty(0x7d)) throw invalidArgument("'inputs' is empty");
  do {
    const name = cursor.key();
    if (inputs.some((input) => input.name === name)) throw invalidArgument(`input '${name}' appears twice`);
    inputs.push(readColumn(cursor, inputNamed(signature, name)));
  } while (cursor.more(0x7d));
  return inputs;
}

function readColumn(cursor: JsonCursor, spec: TensorSpec): Tensor {
  const sink = new ElementSink(spec.name, spec.datatype, -1);
  scanElements(cursor, sink, TFS_FORMS);
  if (!sink.regular) throw ragged(spec.name);
  return { name: spec.name, datatype: spec.datatype, shape: sink.shape, data: sink.take() };
}

function ragged(name: string): Error {
  return invalidArgument(`input '${name}': its nested lists are not of equal length and depth`);
}

function onlyInput(signature: ModelSignature): TensorSpec {
  if (signature.inputs.length === 1) return signature.inputs[0];
  throw invalidArgument(
    `the model has ${signature.inputs.length} inputs; name each value: ${signature.inputs.map((spec) => spec.name).join(', ')}`,
  );
}

function inputNamed(signature: ModelSignature, name: string): TensorSpec {
  const spec = signature.inputs.find((input) => input.name === name);
  if (spec !== undefined) return spec;
  throw invalidArgument(
    `the model has no input '${name}'; it has ${signature.inputs.map((input) => input.name).join(', ')}`,
  );
}

/** Whether the object at the cursor is {"b64": "…"} rather than values by input name; moves nothing. */
function isBase64Object(cursor: JsonCursor): boolean {
  const start = cursor.pos;
  cursor.pos++;
  const found = cursor.peek() === 0x22 && cursor.name() === 'b64';
  cursor.pos = start;
  return found;
}
