import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ConfigError } from '../../config/yaml-file.ts';
import { parseSweep, readSweep } from './read.ts';
import { fillTemplate, trialJob } from './template.ts';

const TEXT = `apiVersion: switchyard/v1
kind: Sweep
metadata: {name: digits}
spec:
  objective: {type: maximize, metric: accuracy}
  algorithm: {name: tpe}
  parameters:
    - {name: lr, type: double, feasibleSpace: {min: "1e-4", max: 0.1, distribution: logUniform}}
    - {name: kind, type: categorical, feasibleSpace: {list: [a, b]}}
  maxTrialCount: 20
  trialTemplate:
    command: [python, train.py]
    args: [--lr, "\${params.lr}"]
    env: {KIND: "\${params.kind}"}
`;

/** Where lr stands. */
const LR = `\${params.lr}`;

/** What is told of the text with some lines changed. */
function problems(...changes: [string, string][]): string {
  let text = TEXT;
  for (const [from, to] of changes) {
    assert.ok(text.includes(from), from);
    text = text.replace(from, to);
  }
  try {
    parseSweep(text, 'sweep.yaml');
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error;
    return error.problems.join('\n');
  }
  return '';
}

test('a sweep is read with its defaults, and its trials are jobs under its run', () => {
  const document = parseSweep(TEXT, 'sweep.yaml');
  const { spec } = document;
  assert.deepEqual([spec.parallelTrialCount, spec.maxFailedTrialCount, spec.objective.strategy], [1, 3, 'latest']);
  assert.deepEqual(spec.algorithm.settings, { startupTrials: 10, candidates: 24, multivariate: true });
  const job = trialJob(document, { sweep_id: 's1', run_id: 'r1' }, 4, { lr: 1e-7, kind: 'b' });
  assert.equal(job.metadata.name, 'digits-4');
  assert.deepEqual(job.spec.args, ['--lr', '1e-7']);
  assert.deepEqual(job.spec.env, { KIND: 'b' });
  assert.deepEqual(job.spec.tags, { 'mlflow.parentRunId': 'r1', 'switchyard.sweep': 's1', 'switchyard.trial': '4' });
  assert.deepEqual([job.spec.idempotencyKey, job.spec.experiment], ['sweep:s1:4', 'digits']);
  // What was checked passes the check again.
  assert.deepEqual(readSweep(JSON.parse(JSON.stringify(document))), document);
  assert.deepEqual(fillTemplate(spec.trialTemplate, { lr: 1, kind: 'a' }).command, ['python', 'train.py']);
});

test('problems are told with line, value and what is allowed', () => {
  for (const [changes, expected] of [
    [[['name: tpe', 'name: bayes']], /sweep\.yaml:6:.*must be random, grid, tpe, asha or hyperband/],
    [[['max: 0.1', 'max: 0']], /sweep\.yaml:8:.*max: 0 is below min, which is 0\.0001/],
    [[['min: "1e-4"', 'min: -1']], /min: -1 has no logarithm/],
    [[['list: [a, b]', 'list: [a, a]']], /sweep\.yaml:9:.*"a" is in it twice/],
    [[['params.lr}', 'params.rate}']], /no parameter "rate"; there are: lr, kind[\s\S]*/],
    [[[`"${LR}"`, '"x"']], /the parameters lr are used nowhere/],
    [[[`"${LR}`, `"lr=${LR}`]], /a parameter stands for a whole argument or value/],
    [[['name: kind, type', 'name: lr, type']], /there is another parameter lr/],
    [[['name: tpe', 'name: grid']], /the grid needs a step here/],
    [[['algorithm: {name: tpe}', 'algorithm: {name: tpe, settings: {gamma: 2}}']], /unknown setting .*gamma/],
    [
      [['algorithm: {name: tpe}', 'algorithm: {name: asha, settings: {minSteps: 9, maxSteps: 9}}']],
      /maxSteps: must be above minSteps/,
    ],
    [[['type: double', 'type: float']], /must be double, int, discrete or categorical/],
    [[['list: [a, b]', 'list: ["$(id)", b]']], /list\.0: "\$\(id\)" holds "\$\("/],
    [[['    command: [python', '    hostPath: /\n    command: [python']], /hostPath is not allowed/],
    [[['    command: [python', '    idempotencyKey: x\n    command: [python']], /the sweep sets it for each trial/],
    [[['maxTrialCount: 20', 'maxTrialCount: 0']], /maxTrialCount/],
  ] as [[string, string][], RegExp][]) {
    assert.match(problems(...changes), expected);
  }
  assert.throws(() => readSweep({ kind: 'Sweep' }), { code: 'invalid_argument', message: /apiVersion/ });
  assert.throws(() => readSweep(null), { code: 'invalid_argument' });
});
