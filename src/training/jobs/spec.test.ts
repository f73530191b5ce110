import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import type { ConfigError } from '../../config/yaml-file.ts';
import { SwitchyardError } from '../../shared/errors.ts';
import { formatBytes } from '../format-bytes.ts';
import { parseJobs, readJob } from './read.ts';
import type { JobDocumentInput } from './spec.ts';

function job(spec: Record<string, unknown>, name = 'demo'): JobDocumentInput {
  return {
    apiVersion: 'switchyard/v1',
    kind: 'Job',
    metadata: { name },
    spec: { command: ['python', 'train.py'], ...spec },
  } as JobDocumentInput;
}

function refusal(document: unknown): string {
  try {
    readJob(document);
  } catch (error) {
    assert.ok(error instanceof SwitchyardError);
    assert.equal(error.code, 'invalid_argument');
    return error.message;
  }
  throw new assert.AssertionError({ message: 'it was taken' });
}

describe('job documents', () => {
  test('quantities become numbers, defaults are filled in, and the result passes again unchanged', () => {
    const read = readJob(job({ resources: { cpu: '500m', memory: '1.5Gi', gpu: 1 }, params: { lr: 0.1, fast: true } }));
    assert.deepEqual(read.spec.resources, { cpu: 0.5, memory: 1.5 * 2 ** 30, gpu: 1 });
    assert.deepEqual(read.spec.params, { lr: '0.1', fast: 'true' });
    assert.equal(read.spec.retry.max, 0);
    assert.deepEqual(readJob(read), read);
  });

  test('bytes as people read them', () => {
    assert.deepEqual([1, 1536, 5 * 2 ** 30].map(formatBytes), ['1 bytes', '1.5 KiB', '5 GiB']);
  });

  test('problems of a file are named with line and column, all of them', () => {
    const text = [
      'apiVersion: switchyard/v1',
      'kind: Job',
      'metadata: {name: demo}',
      'spec:',
      '  runner: slurm',
      '  command: [python, train.py]',
      '  resources: {cpu: 2, tpu: 1}',
      '  hostPath: /etc',
      '',
    ].join('\n');
    assert.throws(
      () => parseJobs(text, 'job.yaml'),
      (error: ConfigError) => {
        assert.match(error.problems[0], /^job\.yaml:5:3: spec\.runner: .*process/);
        assert.match(error.problems[1], /^job\.yaml:7:23: unknown setting 'spec\.resources\.tpu'/);
        assert.match(error.problems[2], /^job\.yaml:8:3: spec\.hostPath is not allowed/);
        return error.problems.length === 3;
      },
    );
    assert.throws(() => parseJobs('', 'empty.yaml'), /empty\.yaml:1:1: holds no document/);
  });

  test('several documents of one file', () => {
    const text = ['a', 'b']
      .map((name) => `apiVersion: switchyard/v1\nkind: Job\nmetadata: {name: ${name}}\nspec: {command: ['true']}\n`)
      .join('---\n');
    assert.deepEqual(
      parseJobs(text, 'jobs.yaml').map(({ metadata }) => metadata.name),
      ['a', 'b'],
    );
  });

  test('neither command nor image, two outputs of one name, an input of nothing', () => {
    assert.match(refusal(job({ command: undefined })), /spec\.command: missing/);
    const outputs = [1, 2].map((i) => ({ name: 'model', path: `model-${i}` }));
    assert.match(refusal(job({ outputs })), /spec\.outputs\.1\.name: there is another output model/);
    assert.match(refusal(job({ inputs: [{ name: 'data' }] })), /give source, digest, or featureView with asOf/);
  });
});

describe('injection is refused', () => {
  const cases: [what: string, document: unknown, message: RegExp][] = [
    [
      'command substitution as an argument',
      job({ args: ['--out', '$(id)'] }),
      /spec\.args\.1: "\$\(id\)" holds "\$\("/,
    ],
    ['command substitution as a program', job({ command: ['`id`'] }), /spec\.command\.0: "`id`" holds/],
    ['command substitution as a value', job({ env: { OUT: '$(id)' } }), /spec\.env\.OUT: .*no shell runs here/],
    ['command substitution as an image', job({ image: '$(id)' }), /spec\.image/],
    ['command substitution as a name', job({}, '$(id)'), /metadata\.name: allowed/],
    ['a program that is an option', job({ command: ['--help'] }), /spec\.command\.0: "--help" begins with a dash/],
    ['an image that is an option', job({ image: '-v' }), /spec\.image: "-v" begins with a dash/],
    ['a name that is an option', job({}, '-rf'), /metadata\.name: allowed/],
    ['a path that is an option', job({ outputs: [{ name: 'o', path: '-rf' }] }), /outputs\.0\.path: .*dash/],
    [
      'a line break in an argument',
      job({ args: ['a\nb'] }),
      /spec\.args\.0: .*line break; put a text of several lines/,
    ],
    ['a line break in a value', job({ env: { A: 'x\nLD_PRELOAD=y' } }), /spec\.env\.A: .*line break/],
    ['NUL in an argument', job({ args: ['a\0b'] }), /spec\.args\.0: .*NUL/],
    ['NUL in a file name', job({ files: { 'a\0b': '' } }), /spec\.files.*control character/],
    ['LD_PRELOAD', job({ env: { LD_PRELOAD: '/tmp/x.so' } }), /LD_PRELOAD.*is refused: it changes how programs start/],
    ['NODE_OPTIONS', job({ env: { NODE_OPTIONS: '--require=/tmp/x' } }), /NODE_OPTIONS.*is refused/],
    ['PYTHONSTARTUP', job({ env: { PYTHONSTARTUP: '/tmp/x.py' } }), /PYTHONSTARTUP.*is refused/],
    ['BASH_ENV as a secret', job({ secretRefs: { BASH_ENV: 'x' } }), /BASH_ENV.*is refused/],
    ['a variable of the server', job({ env: { MLFLOW_TRACKING_URI: 'http://x' } }), /the server sets it/],
    ['a name that holds "="', job({ env: { 'A=B': 'c' } }), /is no name of a variable/],
    ['hostPath', job({ hostPath: '/' }), /spec\.hostPath is not allowed: a job gets no access to its machine/],
    [
      'hostPath deep inside',
      job({ resources: { volumes: [{ hostPath: '/' }] } }),
      /spec\.resources\.volumes\.0\.hostPath/,
    ],
    ['privileged', job({ privileged: true }), /spec\.privileged is not allowed/],
    ['an output outside', job({ outputs: [{ name: 'o', path: '../../etc/passwd' }] }), /outputs\.0\.path: .*"\.\."/],
    ['an output at a fixed place', job({ outputs: [{ name: 'o', path: '/etc/passwd' }] }), /is absolute/],
    [
      'an input outside',
      job({ inputs: [{ name: 'i', digest: `sha256:${'0'.repeat(64)}`, path: 'a/../../b' }] }),
      /"\.\."/,
    ],
    ['a file outside', job({ files: { '../x.py': '' } }), /spec\.files.*"\.\."/],
    ['a checkpoint outside', job({ checkpoint: { path: '..' } }), /checkpoint\.path: .*"\.\."/],
    [
      'a source outside the registry',
      job({ inputs: [{ name: 'i', source: 'file:///etc/passwd' }] }),
      /of this registry/,
    ],
  ];
  for (const [what, document, message] of cases) test(what, () => assert.match(refusal(document), message));

  test('arguments begin with dashes and hold quotes as they like', () => {
    const args = ['--lr', '0.1', '-v', 'a b', "it's", '$HOME', '*', ';', '|'];
    assert.deepEqual(readJob(job({ args })).spec.args, args);
  });
});
