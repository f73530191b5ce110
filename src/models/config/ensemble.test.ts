import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { ModelConfig } from '../../config/model-config.ts';
import { ensembleProblem } from './ensemble.ts';
import { normaliseConfig, plainContext } from './normalise.ts';
import { readModelConfig } from './read.ts';

const config = (name: string, text: string): ModelConfig =>
  normaliseConfig(readModelConfig(text, `${name}/config.pbtxt`), { ...plainContext(name), files: ['model.onnx'] });

const model = (name: string, input: string, output: string, extra = 'max_batch_size: 8') =>
  config(
    name,
    `${extra} input { name: "in" data_type: ${input} dims: [3] } output { name: "out" data_type: ${output} dims: [3] }`,
  );

const step = (name: string, from: string, to: string) =>
  `{ model_name: "${name}" input_map { key: "in" value: "${from}" } output_map { key: "out" value: "${to}" } }`;

function problem(steps: string[], models: ModelConfig[], extra = 'max_batch_size: 8'): string {
  const ensemble = config(
    'e',
    `platform: "ensemble" ${extra}
     input { name: "A" data_type: TYPE_FP32 dims: [3] } output { name: "Z" data_type: TYPE_FP32 dims: [3] }
     ensemble_scheduling { step [ ${steps.join(', ')} ] }`,
  );
  const all = new Map([...models, ensemble].map((each) => [each.name, each]));
  return ensembleProblem(ensemble, (name) => all.get(name));
}

const f32 = (name: string) => model(name, 'TYPE_FP32', 'TYPE_FP32');

test('a sound chain in any order has no problem', () => {
  assert.equal(problem([step('b', 'm', 'Z'), step('a', 'A', 'm')], [f32('a'), f32('b')]), '');
});

test('problems name models and tensors', () => {
  const cases: [string[], ModelConfig[], RegExp, string?][] = [
    [[step('a', 'A', 'Z')], [], /depends on model "a", which is not available/],
    [[step('a', 'A', 'Z')], [{ ...f32('a'), decoupled: true }], /model "a", which is decoupled/],
    [
      [step('a', 'm', 'n'), step('b', 'n', 'm'), step('c', 'A', 'Z')],
      [f32('a'), f32('b'), f32('c')],
      /cycle through step 0 \(a\), step 1 \(b\) \(tensors "n", "m"\)/,
    ],
    [[step('a', 'q', 'Z')], [f32('a')], /reads tensor "q", which no step/],
    [[step('a', 'A', 'm')], [f32('a')], /output "Z" is made by no step/],
    [[step('a', 'A', 'Z'), step('b', 'A', 'Z')], [f32('a'), f32('b')], /tensor "Z" is made twice/],
    [
      [step('a', 'A', 'm'), step('b', 'm', 'Z')],
      [model('a', 'TYPE_FP32', 'TYPE_INT64'), f32('b')],
      /tensor "m" is INT64 from step 0 \(a\) output "out" but FP32 for step 1 \(b\) input "in"/,
    ],
    [
      [step('a', 'A', 'Z')],
      [model('a', 'TYPE_FP32', 'TYPE_FP32', 'max_batch_size: 4')],
      /max_batch_size 8, larger than the 4 of its model "a"/,
    ],
    [
      [`{ model_name: "a" input_map { key: "nope" value: "A" } output_map { key: "out" value: "Z" } }`],
      [f32('a')],
      /maps input "nope"/,
    ],
    [[`{ model_name: "a" output_map { key: "out" value: "Z" } }`], [f32('a')], /leaves input "in" unmapped/],
    [[step('e', 'A', 'Z')], [], /contains itself: e → e/],
    [
      [step('a', 'A', 'Z')],
      [model('a', 'TYPE_FP32', 'TYPE_FP32', '')],
      /has shape \[-1,3\] from ensemble input "A" but \[3\]/,
    ],
  ];
  for (const [steps, models, message, extra] of cases) assert.match(problem(steps, models, extra), message);
});

test('a model that is not loaded yet is checked by wiring only', () => {
  assert.equal(problem([step('a', 'A', 'Z')], [config('a', '')]), '');
});
