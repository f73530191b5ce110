import assert from 'node:assert/strict';
import { test } from 'node:test';
import { cudaMajor, driverVersion, wantedDriver } from './driver.ts';

const GCC = 'GCC version:  gcc version 12.2.0 (Debian 12.2.0-14)\n';

test("the driver's version is read from the kernel module's own words, and from the library's name before them", () => {
  const closed = `NVRM version: NVIDIA UNIX x86_64 Kernel Module  525.60.13  Wed Nov 30 06:39:21 UTC 2022\n${GCC}`;
  const open = `NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  580.65.06  Release Build  (dvs-builder@U22)\n${GCC}`;
  assert.equal(driverVersion(closed, ''), '525.60.13');
  assert.equal(driverVersion(open, ''), '580.65.06');
  assert.equal(driverVersion(`NVRM version: NVIDIA UNIX aarch64 Kernel Module  535.104.  Tue\n`, ''), '535.104');
  assert.equal(driverVersion('', ''), '');
  assert.equal(driverVersion(GCC, ''), '');
  assert.equal(driverVersion(closed, '/usr/local/cuda/compat/libcuda.so.580.65.06'), '580.65.06');
  // Of Jetson and of WSL: these are no versions of a driver.
  assert.equal(driverVersion(closed, '/usr/lib/aarch64-linux-gnu/tegra/libcuda.so.1.1'), '525.60.13');
  assert.equal(driverVersion('', '/usr/lib/wsl/lib/libcuda.so.1'), '');
});

test('the CUDA that a provider was built with stands in the names of what it needs', () => {
  assert.equal(cudaMajor(['libstdc++.so.6', 'libcudnn.so.9', 'libcublasLt.so.12', 'libcufft.so.11']), '12');
  assert.equal(cudaMajor(['libcufft.so.12', 'libcudart.so.13']), '13');
  assert.equal(cudaMajor(['libcufft.so.11', 'libcudnn.so.9']), '');
});

test('a driver that is too old for that CUDA is told which one does', () => {
  assert.equal(wantedDriver('525.60.12', '12'), '525.60.13');
  assert.equal(wantedDriver('525.60', '12'), '525.60.13');
  assert.equal(wantedDriver('470.256.02', '12'), '525.60.13');
  for (const driver of ['525.60.13', '525.105.17', '1000.1', '580.65.06']) assert.equal(wantedDriver(driver, '12'), '');
  assert.equal(wantedDriver('575.57.08', '13'), '580.65.06');
  assert.equal(wantedDriver('580.82.07', '13'), '');
  assert.equal(wantedDriver('', '13'), '');
  assert.equal(wantedDriver('300.1', ''), '');
  assert.equal(wantedDriver('300.1', '14'), '');
});
