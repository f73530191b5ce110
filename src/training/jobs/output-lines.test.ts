import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { LineReader } from './output-lines.ts';

const plain = new LineReader('stdout', undefined);

function found(line: string, reader = plain): unknown {
  const { metrics, step, progress } = reader.read(line);
  return [Object.fromEntries(metrics.map(({ key, value }) => [key, value])), step, progress];
}

test('key=value', () => {
  assert.deepEqual(found('loss=0.3 step=10'), [{ loss: 0.3 }, 10, undefined]);
  assert.deepEqual(found('INFO: val/acc=.91, epoch=3, lr=1e-4'), [{ 'val/acc': 0.91, lr: 0.0001 }, 3, undefined]);
  assert.deepEqual(found('file=model-3.onnx path=/tmp/x=1.bin retries=3rd'), [{}, undefined, undefined]);
  assert.deepEqual(found('loss=nan'), [{ loss: Number.NaN }, undefined, undefined]);
});

test("JSON lines and the dicts of Hugging Face's Trainer", () => {
  assert.deepEqual(found('{"loss": 0.25, "step": 40, "note": "x"}'), [{ loss: 0.25 }, 40, undefined]);
  assert.deepEqual(found("{'loss': 1.5, 'grad_norm': 2.0, 'learning_rate': 5e-05, 'epoch': 2.0}"), [
    { loss: 1.5, grad_norm: 2, learning_rate: 5e-5 },
    2,
    undefined,
  ]);
  // Newer ones print numbers as texts.
  assert.deepEqual(found("{'eval_loss': '0.4', 'epoch': '0.5'}"), [{ eval_loss: 0.4 }, undefined, undefined]);
  assert.deepEqual(found("{'MLFLOW_EXPERIMENT_ID': '1', 'PORT': '8080'}"), [{}, undefined, undefined]);
  const hf = new LineReader('hf', undefined);
  assert.deepEqual(found('loss=0.3', hf), [{}, undefined, undefined]);
  assert.deepEqual(found("{'loss': 1}", hf), [{ loss: 1 }, undefined, undefined]);
});

test('progress', () => {
  assert.deepEqual(found('progress=0.25'), [{}, undefined, 0.25]);
  assert.deepEqual(found('Progress: 40%'), [{}, undefined, 0.4]);
  assert.deepEqual(found(' 45%|####5     | 450/1000 [00:10<00:12, 43.9it/s]'), [{}, undefined, 0.45]);
  assert.deepEqual(found('Epoch 3/12'), [{}, undefined, 0.25]);
  assert.deepEqual(found('progress=7', new LineReader('mlflow', undefined)), [{}, undefined, 1]);
});

test('a form of its own', () => {
  const reader = new LineReader('stdout', 'epoch {step}: accuracy {accuracy} (val {val/acc})');
  assert.deepEqual(found('epoch  7: accuracy 0.5 (val 0.25)', reader), [
    { accuracy: 0.5, 'val/acc': 0.25 },
    7,
    undefined,
  ]);
  assert.deepEqual(found('>> rmse -> 1.25', new LineReader('stdout', '{name} -> {value}')), [
    { rmse: 1.25 },
    undefined,
    undefined,
  ]);
  assert.deepEqual(found('loss=1', reader), [{ loss: 1 }, undefined, undefined]);
});

test('no line is too much', () => {
  const reader = new LineReader('stdout', 'a {x} b {name} {value}');
  fc.assert(
    fc.property(fc.string({ maxLength: 200, unit: fc.constantFrom(...'a =0.1e+{}\'":,|%/') }), (line) => {
      for (const { value } of reader.read(line).metrics) assert.equal(typeof value, 'number');
    }),
  );
  for (const text of ['a'.repeat(1e6), "{'a':".repeat(1e5), '1|'.repeat(1e5), 'a=1 '.repeat(1e5)]) plain.read(text);
});
