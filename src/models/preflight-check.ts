import { readFileSync } from 'node:fs';
import type { BackendModel } from '../backends/backend.ts';
import type { ModelConfig, ModelSignature } from '../config/model-config.ts';
import { monotonicMs } from '../shared/clock.ts';
import { SwitchyardError, toSwitchyardError } from '../shared/errors.ts';
import type { Tensor } from '../tensor/tensor.ts';
import { rowDifference } from './compare.ts';
import { completeConfig } from './config/complete.ts';
import { readExtensions } from './config/extensions.ts';
import { filledTensor, warmupRequests } from './warmup.ts';

/** Rows of the batch that is compared with its single items. */
const COMPARED_ROWS = 3;
/** Lengths tried for variable dims, until the model accepts one: a convolution refuses very short inputs. */
const VARIABLE_DIMS = [1, 16, 128];

export type Execute = (inputs: Tensor[]) => Tensor[] | Promise<Tensor[]>;

/**
 * Proves a freshly loaded model before it may serve: completes its configuration, warms it up, and checks that a batch
 * answers the same as its single items. Rejects with a reason fit for the repository index.
 * A configured warm-up must succeed; the built-in one (zeros) may be refused by a model that wants real data.
 */
export async function checkModel(model: BackendModel, config: ModelConfig): Promise<{ warmupMs: number }> {
  const complete = completeConfig(config, model.signature);
  const execute: Execute = (inputs) => model.execute(inputs, { outputs: [], deadline: Number.POSITIVE_INFINITY });
  const start = monotonicMs();
  await warmUp(execute, complete);
  const warmupMs = monotonicMs() - start;
  const compare = readExtensions(complete.parameters).preflightCompare && !complete.decoupled;
  if (compare) {
    const problem = await batchProblem(execute, complete.signature);
    if (problem !== '') {
      throw new SwitchyardError(
        'failed_precondition',
        `${problem}. Requests of this model cannot be merged: set max_batch_size: 0, or, if the difference is meant, ` +
          'the parameter switchyard.preflight_compare to "off"',
      );
    }
  }
  return { warmupMs };
}

/** As warmUp, beside requests: a model that can rehearse leaves the calling thread to them. */
export async function warmUpAside(model: BackendModel, config: ModelConfig): Promise<void> {
  const options = { outputs: [], deadline: Number.POSITIVE_INFINITY };
  await warmUp((inputs) => model.rehearse?.(inputs) ?? model.execute(inputs, options), config);
}

/** Runs the model's warm-up requests. Rejects when a configured one fails. */
async function warmUp(execute: (inputs: Tensor[]) => unknown, config: ModelConfig): Promise<void> {
  const configured = config.warmup.length > 0;
  for (const request of warmupRequests(config.warmup, config.signature, (file) => new Uint8Array(readFileSync(file)))) {
    try {
      for (let i = 0; i < request.count; i++) await execute(request.inputs);
    } catch (error) {
      if (!configured) return;
      const message = `warm-up request "${request.name}" failed: ${toSwitchyardError(error).message}`;
      throw new SwitchyardError('failed_precondition', message, { cause: error });
    }
  }
}

/**
 * Runs a few items alone and as one batch and compares. Returns what differs, '' if nothing does or nothing can be
 * said: the model does not batch, refuses synthetic data, or answers differently each time.
 */
export async function batchProblem(execute: Execute, signature: ModelSignature): Promise<string> {
  const rows = Math.min(COMPARED_ROWS, signature.maxBatchSize);
  if (rows < 2) return '';
  for (const dim of VARIABLE_DIMS) {
    const batch = signature.inputs
      .filter((input) => !input.optional)
      .map((input, i) => filledTensor(input, rows, dim, 'random', i + 1));
    let singles: Tensor[][];
    let again: Tensor[];
    try {
      singles = [];
      for (let row = 0; row < rows; row++) singles.push(await execute(batch.map((tensor) => rowOf(tensor, row, rows))));
      again = await execute(batch.map((tensor) => rowOf(tensor, 0, rows)));
    } catch {
      continue;
    }
    if (firstDifference(again, singles[0], 0, 1) !== '') return '';
    let together: Tensor[];
    try {
      together = await execute(batch);
    } catch (error) {
      return `runs single items but fails on a batch of ${rows}: ${toSwitchyardError(error).message}`;
    }
    for (let row = 0; row < rows; row++) {
      const problem = firstDifference(together, singles[row], row, rows);
      if (problem !== '') return `a batch answers differently than its single items: ${problem}`;
    }
    return '';
  }
  return '';
}

function firstDifference(batched: Tensor[], single: Tensor[], row: number, rows: number): string {
  for (const output of batched) {
    const alone = single.find((tensor) => tensor.name === output.name);
    if (alone === undefined) return `output "${output.name}" is missing for a single item`;
    const problem = rowDifference(output, alone, row, rows);
    if (problem !== '') return problem;
  }
  return '';
}

/** Random elements all have the same size, BYTES included, so a row is a slice; copied because backends want alignment. */
function rowOf(tensor: Tensor, row: number, rows: number): Tensor {
  const size = tensor.data.length / rows;
  return { ...tensor, shape: [1, ...tensor.shape.slice(1)], data: tensor.data.slice(row * size, (row + 1) * size) };
}
