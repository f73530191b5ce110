import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, readlinkSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { after, test } from 'node:test';
import { elfFile } from '../../testing/elf.ts';
import { cudaRuntimeName, findCudaProvider, linkProvider } from './cuda-provider.ts';

const root = mkdtempSync(join(tmpdir(), 'switchyard-cuda-'));
after(() => rmSync(root, { recursive: true }));

function file(path: string, content: string | Buffer = ''): string {
  const full = join(root, path);
  mkdirSync(dirname(full), { recursive: true });
  writeFileSync(full, content);
  return full;
}

function providers(folder: string): string {
  file(`${folder}/libonnxruntime_providers_shared.so`, 'shared');
  file(`${folder}/libonnxruntime_providers_cuda.so`, 'cuda');
  return join(root, folder);
}

file('carried/libonnxruntime.so.1', 'runtime');
const runtime = { folder: join(root, 'carried'), version: '1.30.0' };

test('a provider is found in a wheel, a release, or by its own path, when it is of the very same version', () => {
  assert.equal(findCudaProvider('', runtime), runtime.folder);
  const wheel = providers('site/onnxruntime/capi');
  file('site/onnxruntime_gpu-1.30.0.dist-info/METADATA');
  for (const setting of [
    'site',
    'site/onnxruntime',
    'site/onnxruntime/capi',
    'site/onnxruntime/capi/libonnxruntime_providers_cuda.so',
  ])
    assert.equal(findCudaProvider(join(root, setting), runtime), wheel);
  const copied = providers('copied/onnxruntime/capi');
  file('copied/onnxruntime/__init__.py', '"""ONNX"""\n__version__ = "1.30.0"\n');
  assert.equal(findCudaProvider(join(root, 'copied'), runtime), copied);
  const release = providers('release/lib');
  file('release/VERSION_NUMBER', '1.30.0\n');
  assert.equal(findCudaProvider(join(root, 'release'), runtime), release);
});

test('another version is refused with both named, an unknown one too, and what is absent is said', () => {
  providers('old/onnxruntime/capi');
  file('old/onnxruntime_gpu-1.29.1.dist-info/METADATA');
  assert.throws(
    () => findCudaProvider(join(root, 'old'), runtime),
    /is of ONNX Runtime 1\.29\.1, the one in use is 1\.30\.0; .*onnxruntime-gpu==1\.30\.0/,
  );
  const bare = providers('bare');
  assert.throws(() => findCudaProvider(bare, runtime), /the version of .*bare.* is not known/);
  assert.throws(
    () => findCudaProvider(join(root, 'none'), runtime),
    /there is no libonnxruntime_providers_cuda\.so in .*none/,
  );
  file('half/libonnxruntime_providers_cuda.so');
  assert.throws(() => findCudaProvider(join(root, 'half'), runtime), /there is no libonnxruntime_providers_shared\.so/);
});

test('links put the providers beside the runtime, and follow when the provider moves', () => {
  const into = join(root, 'data/onnxruntime');
  const first = providers('first/onnxruntime/capi');
  file('first/onnxruntime/capi/libonnxruntime_providers_tensorrt.so');
  for (let again = 0; again < 2; again++)
    assert.equal(linkProvider(first, runtime, into), join(into, 'libonnxruntime.so.1'));
  assert.equal(readdirSync(into).length, 4);
  assert.equal(readFileSync(join(into, 'libonnxruntime.so.1'), 'utf8'), 'runtime');
  const second = providers('second/onnxruntime/capi');
  linkProvider(second, runtime, into);
  assert.equal(readdirSync(into).length, 3);
  assert.equal(
    readlinkSync(join(into, 'libonnxruntime_providers_cuda.so')),
    join(second, 'libonnxruntime_providers_cuda.so'),
  );
  assert.equal(linkProvider(runtime.folder, runtime, into), join(runtime.folder, 'libonnxruntime.so.1'));
});

test('the CUDA runtime is the one that the provider was linked with', () => {
  file('linked/libonnxruntime_providers_cuda.so', elfFile(['libcublas.so.13', 'libcudart.so.13']));
  assert.equal(cudaRuntimeName(join(root, 'linked')), 'libcudart.so.13');
});
