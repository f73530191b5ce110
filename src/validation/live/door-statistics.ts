import type { ModelConfig } from '../../config/model-config.ts';
import type { ModelValidation, ValidationReference } from '../../config/model-validation.ts';
import { decodeBytes } from '../../tensor/bytes.ts';
import { numberReader } from '../../tensor/elements.ts';
import type { Tensor } from '../../tensor/tensor.ts';
import { addLive, type LiveColumn, newLiveColumn } from './sketch.ts';

/** What was asked of one version since the last message, and what it is to be held against. */
export interface LiveStatistics {
  model: string;
  version: string;
  rows: number;
  reference: ValidationReference;
  limits: Record<string, NonNullable<ModelValidation['fields'][string]['maxSkew']>>;
  columns: Record<string, LiveColumn>;
}

/** Values of one field and request that are counted, at most; of more, so many that lie evenly. */
const MAX_VALUES = 256;
const utf8 = new TextDecoder();

/** Counts the values of requests on a gateway thread, for versions whose configuration names training data. */
export class DoorStatistics {
  private kept = new Map<string, LiveStatistics>();

  add(
    model: string,
    version: string,
    config: ModelConfig,
    validation: ModelValidation,
    inputs: readonly Tensor[],
  ): void {
    if (validation.reference === undefined) return;
    const key = `${model}\0${version}`;
    let kept = this.kept.get(key);
    if (kept === undefined) {
      kept = begin(model, version, validation, validation.reference);
      this.kept.set(key, kept);
    }
    kept.rows += config.signature.maxBatchSize > 0 ? (inputs[0]?.shape[0] ?? 0) : 1;
    for (const [field, column] of Object.entries(kept.columns)) {
      const { input, at } = placeOf(field);
      const tensor = inputs.find(({ name }) => name === input);
      if (tensor !== undefined) addValues(column, tensor, at, config.signature.maxBatchSize > 0);
    }
  }

  /** What was counted since the last call. */
  take(): LiveStatistics[] {
    const all = [...this.kept.values()];
    this.kept = new Map();
    return all;
  }
}

function begin(
  model: string,
  version: string,
  { fields }: ModelValidation,
  reference: ValidationReference,
): LiveStatistics {
  const limits: LiveStatistics['limits'] = {};
  for (const [field, { maxSkew }] of Object.entries(fields)) if (maxSkew !== undefined) limits[field] = maxSkew;
  const columns = Object.fromEntries(Object.keys(fields).map((field) => [field, newLiveColumn()]));
  return { model, version, rows: 0, reference, limits, columns };
}

/** "x[3]" → x and 3; "x" → x and -1. */
export function placeOf(field: string): { input: string; at: number } {
  const [, input, column] = /^(.*)\[(\d+)\]$/.exec(field) ?? [];
  return input === undefined ? { input: field, at: -1 } : { input, at: Number(column) };
}

function addValues(column: LiveColumn, tensor: Tensor, at: number, batched: boolean): void {
  const total = tensor.shape.reduce((product, dim) => product * dim, 1);
  const rows = batched ? tensor.shape[0] : 1;
  const width = rows === 0 ? 0 : total / rows;
  if (total === 0 || at >= width) return;
  const count = at < 0 ? total : rows;
  const stride = Math.ceil(count / MAX_VALUES);
  const read = valueReader(tensor);
  for (let i = 0; i < count; i += stride) addLive(column, read(at < 0 ? i : i * width + at));
}

function valueReader(tensor: Tensor): (i: number) => number | string | boolean {
  if (tensor.datatype === 'BYTES') {
    const elements = decodeBytes(tensor.data);
    return (i) => utf8.decode(elements[i]);
  }
  const number = numberReader(tensor) as (i: number) => number;
  return tensor.datatype === 'BOOL' ? (i) => number(i) === 1 : number;
}
