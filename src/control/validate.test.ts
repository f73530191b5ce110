import assert from 'node:assert/strict';
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { cli } from '../testing/cli.ts';
import { validateAll } from './validate.ts';

async function folderWith(t: TestContext, files: Record<string, string>): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'switchyard-'));
  t.after(() => rm(folder, { recursive: true }));
  for (const [path, text] of Object.entries(files)) {
    await mkdir(join(folder, dirname(path)), { recursive: true });
    await writeFile(join(folder, path), text);
  }
  return folder;
}

const ENSEMBLE = `
platform: "ensemble"
input [ { name: "x" data_type: TYPE_FP32 dims: [ 1 ] } ]
output [ { name: "y" data_type: TYPE_FP32 dims: [ 1 ] } ]
ensemble_scheduling { step [ { model_name: "gone" model_version: -1
  input_map { key: "x" value: "x" } output_map { key: "y" value: "y" } } ] }
`;

test('every problem of the configuration and of all models is listed with its place', async (t) => {
  const folder = await folderWith(t, {
    'switchyard.yaml': 'models:\n  repositories: [models]\nadmission:\n  keysFile: keys.yaml\n',
    'keys.yaml': 'not: a list\n',
    'models/good/1/model.onnx': '',
    'models/syntax/config.pbtxt': 'name: "syntax"\nmax_batch_size: ?\n',
    'models/syntax/1/model.onnx': '',
    'models/unknown/config.pbtxt': 'backend: "onnxruntime"\n  max_batchsize: 4\n',
    'models/unknown/1/model.onnx': '',
    'models/ens/config.pbtxt': ENSEMBLE,
    'models/empty/readme.txt': '',
  });
  const { models, problems } = await validateAll(join(folder, 'switchyard.yaml'), undefined);
  assert.equal(models, 5);
  const text = problems.map((problem) => problem.replaceAll(folder, '')).sort();
  assert.equal(text.length, 6, text.join('\n'));
  assert.match(text[0], /^\/keys\.yaml:1:1: admission\.keysFile: keys: .*expected array/);
  assert.match(text[1], /^\/keys\.yaml:1:1: admission\.keysFile: unknown setting 'not'/);
  assert.match(text[2], /^\/models\/empty: holds neither/);
  assert.match(text[3], /^\/models\/ens\/config\.pbtxt: composes model "gone", which is in no repository/);
  assert.match(text[4], /^\/models\/syntax\/config\.pbtxt:2:17: /);
  assert.match(text[5], /^\/models\/unknown\/config\.pbtxt:2:3: .*max_batchsize/);
});

test('validate exits 0 without problems and 1 with them', async (t) => {
  const folder = await folderWith(t, {
    'good.yaml': 'models:\n  repositories: [models]\n',
    'bad.yaml': 'server:\n  adminHost: 0.0.0.0\n',
    'models/m/1/model.onnx': '',
  });
  const good = await cli(['validate', '--config', join(folder, 'good.yaml')]);
  assert.deepEqual([good.code, good.out, good.err], [0, 'no problems; 1 model', '']);
  const bad = await cli(['validate', '--config', join(folder, 'bad.yaml')]);
  assert.equal(bad.code, 1);
  assert.equal(bad.err.split('\n').length, 2);
  assert.match(bad.err, /bad\.yaml:2:3: server\.adminHost: .*\nerror: 1 problem found$/);
  const missing = await cli(['validate', '--config', join(folder, 'none.yaml')]);
  assert.equal(missing.code, 1);
  const repository = await cli(['validate', '--model-repository', join(folder, 'nowhere')]);
  assert.equal(repository.code, 1);
});

test('the demo is valid', async () => {
  const { code, out } = await cli(['validate', '--config', 'config/switchyard.yaml']);
  assert.deepEqual([code, out], [0, 'no problems; 1 model']);
});
