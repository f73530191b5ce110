import type { TensorSpec } from '../../config/model-config.ts';
import type { InferResponse } from '../../pipeline/types.ts';
import { SwitchyardError } from '../../shared/errors.ts';
import { decodeBytes } from '../../tensor/bytes.ts';
import type { Tensor } from '../../tensor/tensor.ts';

/**
 * A ClassificationResult: for each example the classes with their scores. The scores are the model's output 'scores',
 * or its only floating-point one; labels come from an output of strings of the same shape, or from the model's labels.
 */
export function toClasses(response: InferResponse, specs: readonly TensorSpec[]): object {
  const scores = pickFloats(response, 'scores', 'Classify');
  const items = scores.shape[0] ?? 1;
  const values = floats(scores);
  const classes = items === 0 ? 0 : values.length / items;
  const strings = response.outputs.find((output) => output.datatype === 'BYTES' && sameShape(output, scores));
  const texts = strings === undefined ? undefined : decodeBytes(strings.data);
  const labels = specs.find((spec) => spec.name === scores.name)?.labels;
  const classifications = [];
  for (let item = 0; item < items; item++) {
    const row = [];
    for (let i = 0; i < classes; i++) {
      const at = item * classes + i;
      const label = texts === undefined ? (labels?.[i] ?? '') : Buffer.from(texts[at]).toString('utf8');
      row.push({ label, score: values[at] });
    }
    classifications.push({ classes: row });
  }
  return { classifications };
}

/** A RegressionResult: one value for each example, from the output 'outputs' or the only floating-point one. */
export function toRegressions(response: InferResponse): object {
  const output = pickFloats(response, 'outputs', 'Regress');
  const values = floats(output);
  if (values.length !== (output.shape[0] ?? 1)) {
    throw new SwitchyardError(
      'failed_precondition',
      `Regress needs one value for each example; output '${output.name}' has shape [${output.shape}]`,
    );
  }
  return { regressions: values.map((value) => ({ value })) };
}

function pickFloats(response: InferResponse, name: string, method: string): Tensor {
  const candidates = response.outputs.filter((output) => output.datatype === 'FP32' || output.datatype === 'FP64');
  const chosen =
    candidates.find((output) => output.name === name) ?? (candidates.length === 1 ? candidates[0] : undefined);
  if (chosen !== undefined) return chosen;
  throw new SwitchyardError(
    'failed_precondition',
    `${method} needs an FP32 or FP64 output named '${name}', or a single one; model '${response.model}' has ` +
      `${candidates.length}; call Predict instead`,
  );
}

function floats(tensor: Tensor): number[] {
  const { data } = tensor;
  const view = new DataView(data.buffer, data.byteOffset, data.byteLength);
  const values: number[] = [];
  if (tensor.datatype === 'FP32') for (let at = 0; at < data.length; at += 4) values.push(view.getFloat32(at, true));
  else for (let at = 0; at < data.length; at += 8) values.push(view.getFloat64(at, true));
  return values;
}

function sameShape(a: Tensor, b: Tensor): boolean {
  return a.shape.length === b.shape.length && a.shape.every((dim, i) => dim === b.shape[i]);
}
