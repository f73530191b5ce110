import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { parseRequirements, type Requirements, type ServingFacts, unmetRequirements } from './requirements.ts';

const HAS: ServingFacts = {
  runtimes: { onnxruntime: '1.30.0' },
  providers: ['cpu'],
  memoryBytes: 1000,
  architecture: 'x64',
  cpus: 4,
  gpus: 0,
  hasModel: (name) => name === 'tokenizer',
};
const digest = `sha256:${'a'.repeat(64)}`;
const FILES = new Map([['conda.yaml', digest]]);
const unmet = (needs: Requirements): string[] =>
  unmetRequirements(parseRequirements(JSON.stringify(needs)), HAS, FILES);

test('what a gateway has is enough', () => {
  for (const runtime of [
    'onnxruntime',
    'onnxruntime>=1.17',
    'onnxruntime >= 1.17, < 2',
    'onnxruntime==1.30',
    'onnxruntime>1.29.9,<=1.30.0',
  ])
    assert.deepEqual(unmet({ runtime }), [], runtime);
  assert.deepEqual(unmet({}), []);
  assert.deepEqual(
    unmet({
      provider: 'CPUExecutionProvider',
      memoryBytes: 1000,
      hardware: { architecture: 'x64', cpus: 4 },
      preprocessing: ['tokenizer'],
      environment: { file: 'conda.yaml', digest },
    }),
    [],
  );
});

test('each thing that is missing is named with what is here', () => {
  for (const [needs, message] of [
    [{ runtime: 'onnxruntime>=1.31' }, /needs runtime onnxruntime>=1.31; this gateway has onnxruntime 1.30.0/],
    [{ runtime: 'tensorrt' }, /needs runtime tensorrt/],
    [{ runtime: 'constructor' }, /needs runtime constructor/],
    [{ provider: 'cuda' }, /needs execution provider cuda; this gateway has cpu/],
    [{ memoryBytes: 1001 }, /needs 1001 bytes of memory; this gateway has 1000/],
    [{ hardware: { architecture: 'arm64' } }, /needs architecture arm64; this gateway has x64/],
    [{ hardware: { gpus: 1 } }, /needs 1 GPUs; this gateway has 0/],
    [{ hardware: { cpus: 5 } }, /needs 5 CPUs; this gateway has 4/],
    [{ preprocessing: ['scaler'] }, /needs the model "scaler" beside it/],
    [{ environment: { file: 'gone.yaml' } }, /"gone.yaml", which is not part of the version/],
    [{ environment: { file: 'conda.yaml', digest: `sha256:${'b'.repeat(64)}` } }, /but the version's is sha256:aaaa/],
  ] as [Requirements, RegExp][]) {
    const found = unmet(needs);
    assert.equal(found.length, 1);
    assert.match(found[0], message);
  }
  assert.equal(unmet({ provider: 'cuda', memoryBytes: 5000, hardware: { gpus: 2 } }).length, 3);
});

test('a misspelt requirement is refused with the field and what is known', () => {
  for (const [text, message] of [
    ['no json', /are not JSON; known fields: runtime, provider/],
    ['[]', /requirements: /],
    ['{"memory": 1}', /requirements: .*memory/],
    ['{"memoryBytes": -1}', /requirements\.memoryBytes: /],
    ['{"runtime": "onnxruntime ~ 1"}', /requirements\.runtime: give a runtime with bounds/],
    ['{"hardware": {"architecture": "mips"}}', /requirements\.hardware\.architecture/],
    ['{"environment": {"file": "a", "digest": "md5:1"}}', /requirements\.environment\.digest/],
  ] as const)
    assert.throws(() => parseRequirements(text), message, text);
});

test('bounds order versions as numbers', () => {
  const part = fc.integer({ min: 0, max: 40 });
  fc.assert(
    fc.property(fc.tuple(part, part, part), fc.tuple(part, part, part), (here, wanted) => {
      const facts = { ...HAS, runtimes: { r: here.join('.') } };
      const order = here[0] - wanted[0] || here[1] - wanted[1] || here[2] - wanted[2];
      const met = (operator: string): boolean =>
        unmetRequirements({ runtime: `r${operator}${wanted.join('.')}` }, facts, FILES).length === 0;
      assert.equal(met('>='), order >= 0);
      assert.equal(met('>'), order > 0);
      assert.equal(met('<='), order <= 0);
      assert.equal(met('<'), order < 0);
      assert.equal(met('=='), order === 0);
    }),
  );
});
