import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import fc from 'fast-check';
import { elfFile } from '../testing/elf.ts';
import { checkGpu, gpuFacts } from './gpu.ts';
import { type LibraryPlaces, missingLibraries, systemPlaces } from './libraries.ts';

const folder = mkdtempSync(join(tmpdir(), 'switchyard-doctor-'));
after(() => rmSync(folder, { recursive: true }));

function library(name: string, needed: readonly string[], runpath = ''): string {
  const path = join(folder, name);
  mkdirSync(join(path, '..'), { recursive: true });
  writeFileSync(path, elfFile(needed, runpath));
  return path;
}

const nowhere: LibraryPlaces = { folders: [], cached: new Map() };

test('what a library needs is followed through its folders, the given ones and the cache', () => {
  const root = library('a/root.so', ['near.so', 'far.so', 'cached.so', 'lost.so.1'], '$ORIGIN/../b');
  library('b/near.so', ['lost.so.2', 'root.so']);
  library('c/far.so', ['lost.so.1', 'near.so']);
  const places = { folders: [join(folder, 'c')], cached: new Map([['cached.so', library('d/cached.so', [])]]) };
  // near.so names no folder of its own: what root.so names holds for root.so alone.
  assert.deepEqual(missingLibraries(root, places), ['lost.so.1', 'lost.so.2', 'near.so', 'root.so']);
  assert.deepEqual(missingLibraries(root, nowhere), ['cached.so', 'far.so', 'lost.so.1', 'lost.so.2', 'root.so']);
});

test('this process has all that it needs', { skip: process.platform !== 'linux' && 'ELF is of Linux' }, () => {
  assert.deepEqual(missingLibraries(process.execPath, systemPlaces()), []);
});

test('a file that is no shared library, or a damaged one, is a readable error', () => {
  const path = join(folder, 'damaged.so');
  const whole = elfFile(['x.so'], '/y');
  writeFileSync(path, 'no library');
  assert.throws(() => missingLibraries(path, nowhere), /damaged\.so: it is no ELF file/);
  fc.assert(
    fc.property(fc.nat(whole.length - 1), fc.nat(255), fc.nat(whole.length), (at, value, length) => {
      const bytes = Buffer.from(whole);
      bytes[at] = value;
      writeFileSync(path, bytes.subarray(0, length));
      try {
        missingLibraries(path, nowhere);
      } catch (error) {
        assert.ok(error instanceof Error, String(error));
      }
    }),
    { numRuns: 200 },
  );
});

test('a GPU machine is told what it lacks, by name and package', () => {
  const devices = join(folder, 'dev');
  mkdirSync(devices, { recursive: true });
  const driver = join(folder, 'version');
  const runtime = join(folder, 'ort');
  mkdirSync(runtime, { recursive: true });
  const places = { devices, driver, runtime, version: '1.30.0', provider: '', libraries: nowhere };
  const statuses = (wanted: boolean) => checkGpu(places, wanted).map(({ status }) => status);
  assert.deepEqual(statuses(false), ['missing', 'missing', 'missing', 'missing']);
  assert.deepEqual(statuses(true), ['failed', 'failed', 'failed', 'missing']);
  assert.deepEqual(gpuFacts(places), { providers: ['cpu'], gpus: 0 });

  writeFileSync(join(devices, 'nvidia0'), '');
  writeFileSync(join(devices, 'nvidiactl'), '');
  writeFileSync(driver, 'NVRM version: NVIDIA UNIX x86_64 Kernel Module  550.54.15  Tue\n');
  library('ort/libonnxruntime_providers_shared.so', []);
  library('ort/libonnxruntime_providers_cuda.so', ['libcudnn.so.9', 'libcublas.so.12', 'libcublasLt.so.12']);
  const [found, absent, cuda] = checkGpu(places, false);
  assert.equal(found.found, join(devices, 'nvidia0'));
  assert.match(absent.found, /libcuda\.so\.1 is not found; 550\.54\.15/);
  assert.equal(cuda.status, 'warning');
  assert.equal(cuda.found, 'needs libcublas.so.12, libcublasLt.so.12, libcudnn.so.9');
  assert.match(cuda.remedy, /CUDA 12 \(PyPI: nvidia-cublas-cu12\); cuDNN 9 \(PyPI: nvidia-cudnn-cu12\)$/);
  assert.deepEqual(statuses(true), ['ok', 'failed', 'failed', 'missing']);
  assert.deepEqual(gpuFacts(places), { providers: ['cpu'], gpus: 1 }, 'a provider that lacks libraries is none');

  for (const name of ['libcuda.so.1', 'libcudnn.so.9', 'libcublas.so.12', 'libcublasLt.so.12'])
    library(`cuda/${name}`, []);
  const complete = { ...places, libraries: { folders: [join(folder, 'cuda')], cached: new Map<string, string>() } };
  assert.deepEqual(
    checkGpu(complete, true).map(({ status }) => status),
    ['ok', 'ok', 'ok', 'missing'],
  );
  assert.deepEqual(gpuFacts(complete), { providers: ['cpu', 'cuda'], gpus: 1 });
  const outdated = { ...complete, driver: join(folder, 'outdated') };
  writeFileSync(outdated.driver, 'NVRM version: NVIDIA UNIX x86_64 Kernel Module  470.256.02  Thu\n');
  const refused = checkGpu(outdated, true)[2];
  assert.equal(refused.status, 'failed');
  assert.equal(
    refused.found,
    'is built with CUDA 12, which needs driver 525.60.13 or later; this machine has 470.256.02',
  );
  assert.match(refused.remedy, /install NVIDIA's driver 525\.60\.13 or later/);
  assert.deepEqual(gpuFacts(outdated), { providers: ['cpu'], gpus: 1 }, 'a driver that is too old runs none of it');
  writeFileSync(join(devices, 'nvidia1'), '');
  library('ort/libonnxruntime_providers_tensorrt.so', []);
  assert.deepEqual(gpuFacts(complete), { providers: ['cpu', 'cuda', 'tensorrt'], gpus: 2 });
  const driverless = { ...complete, libraries: { folders: [join(folder, 'none')], cached: new Map<string, string>() } };
  assert.deepEqual(gpuFacts(driverless), { providers: ['cpu'], gpus: 2 });

  // A provider that is named must be there, and of the same version.
  library('pip/onnxruntime/capi/libonnxruntime_providers_shared.so', []);
  library('pip/onnxruntime/capi/libonnxruntime_providers_cuda.so', ['libcudnn.so.9']);
  mkdirSync(join(folder, 'pip/onnxruntime_gpu-1.29.0.dist-info'));
  const named = { ...complete, provider: join(folder, 'pip') };
  const mismatch = checkGpu(named, false)[2];
  assert.equal(mismatch.status, 'failed');
  assert.match(mismatch.found, /1\.29\.0, the one in use is 1\.30\.0/);
  assert.deepEqual(gpuFacts(named), { providers: ['cpu'], gpus: 2 });
  assert.match(mismatch.remedy, /pip install .*onnxruntime-gpu==1\.30\.0/);
  const matching = checkGpu({ ...named, version: '1.29.0' }, false)[2];
  assert.equal(matching.status, 'ok');
  assert.match(matching.found, /pip\/onnxruntime\/capi/);
});
