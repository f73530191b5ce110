import { existsSync, readdirSync, readFileSync, realpathSync } from 'node:fs';
import { join } from 'node:path';
import { CUDA_PROVIDER, carriedRuntime, findCudaProvider, SHARED_PROVIDER } from '../backends/onnx/cuda-provider.ts';
import { elfNeeds } from '../shared/elf.ts';
import { type Check, check, reasonOf } from './check.ts';
import { cudaMajor, driverVersion, wantedDriver } from './driver.ts';
import { findLibrary, type LibraryPlaces, missingLibraries } from './libraries.ts';

/** What is looked at; tests put their own in place. */
export interface GpuPlaces {
  devices: string;
  /** What the kernel module says of itself. */
  driver: string;
  /** Folder of libonnxruntime.so.1, where its providers are looked for when none is set. */
  runtime: string;
  /** Its version: a provider must be of the very same. */
  version: string;
  /** models.cuda.providerLibrary, absolute; '' where it is not set. */
  provider: string;
  libraries: LibraryPlaces;
}

const TENSORRT_PROVIDER = 'libonnxruntime_providers_tensorrt.so';

const PACKAGES: readonly [prefix: string, where: string][] = [
  ['libcuda.', "NVIDIA's driver"],
  ['libnvinfer', 'TensorRT 10 (PyPI: tensorrt-cu12-libs)'],
  ['libnvonnxparser', 'TensorRT 10 (PyPI: tensorrt-cu12-libs)'],
  ['libcudnn', 'cuDNN 9 (PyPI: nvidia-cudnn-cu12)'],
  ['libcublas', 'CUDA 12 (PyPI: nvidia-cublas-cu12)'],
  ['libcufft', 'CUDA 12 (PyPI: nvidia-cufft-cu12)'],
  ['libcurand', 'CUDA 12 (PyPI: nvidia-curand-cu12)'],
  ['libcudart', 'CUDA 12 (PyPI: nvidia-cuda-runtime-cu12)'],
  ['libnvrtc', 'CUDA 12 (PyPI: nvidia-cuda-nvrtc-cu12)'],
  ['libnvJitLink', 'CUDA 12 (PyPI: nvidia-nvjitlink-cu12)'],
];

export function gpuPlaces(libraries: LibraryPlaces, provider: string): GpuPlaces {
  const { folder, version } = carriedRuntime();
  return { devices: '/dev', driver: '/proc/driver/nvidia/version', runtime: folder, version, provider, libraries };
}

/** Driver, devices, and the providers of ONNX Runtime. `wanted`: what is not there is a failure, not a remark. */
export function checkGpu(places: GpuPlaces, wanted: boolean): Check[] {
  const absent = wanted ? 'failed' : 'missing';
  const devices = gpuDevices(places.devices);
  const library = findLibrary('libcuda.so.1', places.libraries);
  // With a device, whatever else is missing keeps models off it.
  const broken = wanted ? 'failed' : devices.length > 0 ? 'warning' : 'missing';
  const install = "install NVIDIA's driver; in a container, run it with the NVIDIA container toolkit (--gpus all)";
  // Whoever names a provider wants it.
  const status = places.provider === '' ? broken : 'failed';
  return [
    devices.length > 0
      ? check('gpu', 'devices', 'ok', devices.join(', '))
      : check('gpu', 'devices', absent, `no ${places.devices}/nvidia0`, install),
    library === undefined
      ? check('gpu', 'driver', broken, `libcuda.so.1 is not found; ${kernelModule(places.driver)}`, install)
      : check('gpu', 'driver', 'ok', `${library}; ${kernelModule(places.driver)}`),
    provider('CUDA provider', CUDA_PROVIDER, places, status),
    provider('TensorRT provider', TENSORRT_PROVIDER, places, 'missing'),
  ];
}

/** Providers by the names that onnxruntime-node gives them. */
const PROVIDERS: readonly [name: string, library: string][] = [
  ['cuda', CUDA_PROVIDER],
  ['tensorrt', TENSORRT_PROVIDER],
];

/** The GPUs of this machine, and the execution providers that models can use on it: "cpu", and what has all it needs. */
export function gpuFacts(places: GpuPlaces): { providers: string[]; gpus: number } {
  const gpus = gpuDevices(places.devices).length;
  const usable = gpus > 0 && findLibrary('libcuda.so.1', places.libraries) !== undefined;
  const whole = ([name, library]: readonly [string, string]): boolean =>
    usable && provider(name, library, places, 'missing').status === 'ok';
  return { providers: ['cpu', ...PROVIDERS.filter(whole).map(([name]) => name)], gpus };
}

function gpuDevices(folder: string): string[] {
  return readdirSync(folder)
    .filter((name) => /^nvidia\d+$/.test(name))
    .sort()
    .map((name) => join(folder, name));
}

function kernelModule(file: string): string {
  if (!existsSync(file)) return 'no kernel module is loaded';
  return driverVersion(readFileSync(file, 'utf8'), '') || 'kernel module of unknown version';
}

/** Of what CUDA would ask here; '' = none, or it does not say. */
function driverHere({ driver, libraries }: GpuPlaces): string {
  const library = findLibrary('libcuda.so.1', libraries);
  const text = existsSync(driver) ? readFileSync(driver, 'utf8') : '';
  return driverVersion(text, library !== undefined && existsSync(library) ? realpathSync(library) : '');
}

function provider(name: string, library: string, places: GpuPlaces, absent: Check['status']): Check {
  const remedy =
    `pip install --no-deps --target FOLDER onnxruntime-gpu==${places.version}, and set models.cuda.providerLibrary: FOLDER; ` +
    'or, without the addon, ONNXRUNTIME_NODE_INSTALL=cuda12 npm rebuild onnxruntime-node';
  let folder: string;
  try {
    folder = findCudaProvider(places.provider, { folder: places.runtime, version: places.version });
  } catch (error) {
    return check('gpu', name, absent, reasonOf(error), remedy);
  }
  const file = join(folder, library);
  const lacking = [file, join(folder, SHARED_PROVIDER)].filter((path) => !existsSync(path));
  if (lacking.length > 0) return check('gpu', name, absent, `not there: ${lacking.join(', ')}`, remedy);
  try {
    const unfit = absent === 'missing' ? 'warning' : absent;
    const missing = missingLibraries(file, places.libraries);
    if (missing.length > 0) {
      const remedy = `have the loader find them (LD_LIBRARY_PATH, ldconfig): ${sources(missing).join('; ')}`;
      return check('gpu', name, unfit, `needs ${missing.join(', ')}`, remedy);
    }
    const driver = driverHere(places);
    const major = cudaMajor(elfNeeds(file).needed);
    const wanted = wantedDriver(driver, major);
    if (wanted === '') return check('gpu', name, 'ok', `${file}, and all that it needs`);
    const found = `is built with CUDA ${major}, which needs driver ${wanted} or later; this machine has ${driver}`;
    return check(
      'gpu',
      name,
      unfit,
      found,
      `install NVIDIA's driver ${wanted} or later, or a provider for an older CUDA`,
    );
  } catch (error) {
    return check('gpu', name, 'failed', reasonOf(error), 'replace the file');
  }
}

/** Who carries the missing libraries, each once. */
function sources(missing: readonly string[]): string[] {
  const carriers = missing.map(
    (name) => PACKAGES.find(([prefix]) => name.startsWith(prefix))?.[1] ?? `what has ${name}`,
  );
  // Providers are linked with CUDA 12 or 13; the packages of 13 have no suffix.
  const newer = missing.some((name) => /^lib(cublas|cublasLt|cudart)\.so\.13$/.test(name));
  const named = newer ? carriers.map(ofCuda13) : carriers;
  return [...new Set(named)];
}

function ofCuda13(carrier: string): string {
  const renamed = carrier.replace('CUDA 12', 'CUDA 13').replace(/(cudnn|tensorrt)-cu12/, '$1-cu13');
  return renamed.replace('-cu12', '');
}
