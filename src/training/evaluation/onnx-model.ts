import type { InferenceSession, Tensor } from 'onnxruntime-node';
import { invalidArgument, SwitchyardError } from '../../shared/errors.ts';
import type { Cell } from '../tables/table.ts';
import type { Features } from './attribution.ts';

/** What one call of the model gave: row-major, `width` values per row. */
export interface Output {
  values: ArrayLike<number> | readonly string[];
  width: number;
  /** Onnx's name of the element type, such as "float32". */
  type: string;
}

interface Input {
  name: string;
  type: string;
  /** Places of its columns among the features. */
  columns: number[];
}

/** Ways to build the typed values of an input tensor. */
const MAKE: Readonly<Record<string, (cells: Iterable<Cell>, count: number) => Tensor.DataType>> = {
  float32: (cells, count) => filled(new Float32Array(count), cells, Number),
  float64: (cells, count) => filled(new Float64Array(count), cells, Number),
  int64: (cells, count) => filled(new BigInt64Array(count), cells, (cell) => BigInt(Math.round(Number(cell)))),
  int32: (cells, count) => filled(new Int32Array(count), cells, Number),
  bool: (cells, count) => filled(new Uint8Array(count), cells, (cell) => (cell === true || cell === 1 ? 1 : 0)),
  string: (cells) => Array.from(cells, (cell) => (cell === null ? '' : String(cell))),
};

function filled<T extends { [i: number]: unknown }>(into: T, cells: Iterable<Cell>, of: (cell: Cell) => unknown): T {
  let i = 0;
  // A missing number is NaN, as in the frames that models are trained on.
  for (const cell of cells)
    into[i++] = cell === null && !(into instanceof BigInt64Array) ? of(Number.NaN) : of(cell ?? 0);
  return into;
}

/** An ONNX model that is asked in batches. Blocks its thread: for child processes only. */
export class OnnxModel {
  private readonly session: InferenceSession;
  private readonly tensor: typeof Tensor;
  private readonly inputs: Input[];
  private readonly batchSize: number;

  private constructor(session: InferenceSession, tensor: typeof Tensor, inputs: Input[], batchSize: number) {
    this.session = session;
    this.tensor = tensor;
    this.inputs = inputs;
    this.batchSize = batchSize;
  }

  /**
   * @param features names of the columns, in the order of the model's one input
   * @param mapping columns of each input, for models with several. Without it, inputs are found among the features by name
   * @throws SwitchyardError failed_precondition when the file is no model; invalid_argument when features do not fit
   */
  static async load(
    file: string,
    features: readonly string[],
    mapping: Readonly<Record<string, readonly string[]>> | undefined,
    batchSize: number,
  ): Promise<OnnxModel> {
    const { InferenceSession, Tensor } = await import('onnxruntime-node');
    const session = await InferenceSession.create(file, { logSeverityLevel: 3 }).catch((error: Error) => {
      throw new SwitchyardError(
        'failed_precondition',
        `the model cannot be loaded by ONNX Runtime: ${error.message.slice(0, 500)}`,
      );
    });
    const inputs = session.inputMetadata.map((input): Input => {
      if (!input.isTensor || !Object.hasOwn(MAKE, input.type)) {
        const type = input.isTensor ? input.type : 'no tensor';
        throw invalidArgument(
          `input ${input.name} is of type ${type}; evaluation takes ${Object.keys(MAKE).join(', ')}`,
        );
      }
      return {
        name: input.name,
        type: input.type,
        columns: columnsOf(input, session.inputNames.length, features, mapping),
      };
    });
    return new OnnxModel(session, Tensor, inputs, batchSize);
  }

  get outputs(): readonly { name: string; type: string; width: number | undefined }[] {
    return this.session.outputMetadata.map((output) => {
      if (!output.isTensor) return { name: output.name, type: 'sequence', width: undefined };
      const [, ...rest] = output.shape;
      const fixed = rest.every((size): size is number => typeof size === 'number');
      return { name: output.name, type: output.type, width: fixed ? rest.reduce((a, b) => a * b, 1) : undefined };
    });
  }

  /** Asks for all rows, batch after batch. */
  async run(features: Features, wanted: readonly string[]): Promise<Map<string, Output>> {
    const rows = features[0].length;
    const found = new Map<string, { parts: (ArrayLike<number> | readonly string[])[]; width: number; type: string }>();
    for (let from = 0; from < rows; from += this.batchSize) {
      const count = Math.min(this.batchSize, rows - from);
      const feeds = Object.fromEntries(
        this.inputs.map((input) => [input.name, this.feed(input, features, from, count)]),
      );
      const answer = await this.session.run(feeds, [...wanted]).catch((error: Error) => {
        throw new SwitchyardError(
          'failed_precondition',
          `the model failed on rows ${from + 1} to ${from + count}: ${error.message.slice(0, 500)}`,
        );
      });
      for (const name of wanted) {
        const { data, type, size } = answer[name];
        if (size % count !== 0)
          throw new SwitchyardError(
            'failed_precondition',
            `output ${name} has ${size} values for ${count} rows; its first dimension must be the batch`,
          );
        const part = type === 'string' ? (data as string[]) : Float64Array.from(data as Float32Array, Number);
        const known = found.get(name) ?? { parts: [], width: size / count, type };
        known.parts.push(part);
        found.set(name, known);
      }
    }
    return new Map([...found].map(([name, { parts, width, type }]) => [name, { values: joined(parts), width, type }]));
  }

  private feed({ type, columns }: Input, features: Features, from: number, count: number): Tensor {
    const cells = function* (): Generator<Cell> {
      for (let row = from; row < from + count; row++) for (const column of columns) yield features[column][row];
    };
    const size = count * columns.length;
    return new this.tensor(type as 'float32', MAKE[type](cells(), size) as Float32Array, [count, columns.length]);
  }
}

function columnsOf(
  { name, shape }: { name: string; shape: readonly (number | string)[] },
  inputs: number,
  features: readonly string[],
  mapping: Readonly<Record<string, readonly string[]>> | undefined,
): number[] {
  const wanted = mapping === undefined ? (inputs === 1 ? features : [name]) : (mapping[name] ?? []);
  const places = wanted.map((column) => features.indexOf(column));
  const absent = wanted[places.indexOf(-1)];
  if (absent !== undefined)
    throw invalidArgument(
      `input ${name} of the model wants the column ${JSON.stringify(absent)}, which is not among the features; name its columns with inputs`,
    );
  const width = shape[shape.length - 1];
  if (shape.length !== 2 || (typeof width === 'number' && width > 0 && width !== places.length)) {
    throw invalidArgument(
      `input ${name} of the model has the shape [${shape.join(', ')}] and gets ${places.length} columns; evaluation takes [batch, columns]: choose features, or inputs, to fit`,
    );
  }
  return places;
}

function joined(parts: readonly (ArrayLike<number> | readonly string[])[]): ArrayLike<number> | readonly string[] {
  if (Array.isArray(parts[0])) return (parts as string[][]).flat();
  const all = new Float64Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts as Float64Array[]) {
    all.set(part, at);
    at += part.length;
  }
  return all;
}
