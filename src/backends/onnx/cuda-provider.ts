import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync, symlinkSync } from 'node:fs';
import { createRequire } from 'node:module';
import { basename, dirname, join } from 'node:path';
import { elfNeeds } from '../../shared/elf.ts';

/** The ONNX Runtime that onnxruntime-node carries for this platform. */
export interface CarriedRuntime {
  folder: string;
  version: string;
}

export const CUDA_PROVIDER = 'libonnxruntime_providers_cuda.so';
export const SHARED_PROVIDER = 'libonnxruntime_providers_shared.so';

export function carriedRuntime(): CarriedRuntime {
  const file = createRequire(import.meta.url).resolve('onnxruntime-node/package.json');
  const { version } = JSON.parse(readFileSync(file, 'utf8')) as { version: string };
  return { folder: join(dirname(file), 'bin/napi-v6', process.platform, process.arch), version };
}

/** Path of the runtime's library in its folder: libonnxruntime.so.1, or .1.30.0.dylib. Throws an Error without one. */
export function runtimeLibrary({ folder }: CarriedRuntime): string {
  let names: string[];
  try {
    names = readdirSync(folder);
  } catch {
    throw new Error(`onnxruntime-node has no library for ${process.platform}-${process.arch}`);
  }
  const name = names.find((each) => /^libonnxruntime\.(so\.\d+|[\d.]+dylib)$/.test(each));
  if (name === undefined) throw new Error(`there is no ONNX Runtime library in ${folder}`);
  return join(folder, name);
}

/**
 * The folder that holds the CUDA provider. `setting` (models.cuda.providerLibrary): the library itself, its folder, a folder
 * into which PyPI's onnxruntime-gpu was installed or unpacked, or an unpacked release of ONNX Runtime; '' is the carried
 * runtime's own folder. Throws an Error that says what is not there, or that names both versions where they differ.
 */
export function findCudaProvider(setting: string, runtime: CarriedRuntime): string {
  if (setting === '') return runtime.folder;
  const candidates = setting.endsWith('.so')
    ? [dirname(setting)]
    : [setting, join(setting, 'onnxruntime/capi'), join(setting, 'capi'), join(setting, 'lib')];
  const folder = candidates.find((each) => existsSync(join(each, CUDA_PROVIDER)));
  if (folder === undefined) throw new Error(`there is no ${CUDA_PROVIDER} in ${candidates.join(', nor in ')}`);
  if (!existsSync(join(folder, SHARED_PROVIDER))) throw new Error(`there is no ${SHARED_PROVIDER} in ${folder}`);
  if (folder === runtime.folder) return folder;
  const version = versionOf(folder);
  if (version === undefined) {
    throw new Error(
      `the version of ${join(folder, CUDA_PROVIDER)} is not known; use it as it lies in onnxruntime-gpu ${runtime.version}`,
    );
  }
  if (version !== runtime.version) {
    throw new Error(
      `${join(folder, CUDA_PROVIDER)} is of ONNX Runtime ${version}, the one in use is ${runtime.version}; ` +
        `they must be the same: install onnxruntime-gpu==${runtime.version}`,
    );
  }
  return folder;
}

/** What the package around a provider says of its version: a provider does not tell by itself. */
function versionOf(folder: string): string | undefined {
  const above = dirname(folder);
  // A wheel: onnxruntime/capi beside onnxruntime_gpu-1.30.0.dist-info, both in one folder.
  if (basename(folder) === 'capi' && existsSync(dirname(above))) {
    const pattern = /^onnxruntime_gpu-([\w.+]+)\.dist-info$/;
    const named = readdirSync(dirname(above)).map((name) => pattern.exec(name)?.[1]);
    const version = named.find((each) => each !== undefined);
    if (version !== undefined) return version;
    const init = textOf(join(above, '__init__.py'));
    return /^__version__ = "([\w.+]+)"/m.exec(init)?.[1];
  }
  // A release: lib beside VERSION_NUMBER.
  const number = textOf(join(above, 'VERSION_NUMBER')).trim();
  return number === '' ? undefined : number;
}

function textOf(file: string): string {
  return existsSync(file) ? readFileSync(file, 'utf8') : '';
}

/**
 * ONNX Runtime looks for providers beside its own library and nowhere else. Makes a folder of links in which they are side
 * by side, and returns the path of the library in it. Several processes may do so at once.
 */
export function linkProvider(folder: string, runtime: CarriedRuntime, into: string): string {
  const library = runtimeLibrary(runtime);
  if (folder === runtime.folder) return library;
  mkdirSync(into, { recursive: true });
  const providers = readdirSync(folder).filter((name) => /^libonnxruntime_providers_\w+\.so$/.test(name));
  const links = new Map([
    [basename(library), library],
    ...providers.map((name) => [name, join(folder, name)] as const),
  ]);
  for (const name of readdirSync(into)) if (!links.has(name)) rmSync(join(into, name), { force: true });
  for (const [name, target] of links) {
    const fresh = join(into, `.${name}.${process.pid}`);
    rmSync(fresh, { force: true });
    symlinkSync(target, fresh);
    renameSync(fresh, join(into, name));
  }
  return join(into, basename(library));
}

/** The name of the CUDA runtime library that the provider in this folder was linked with, such as libcudart.so.12. */
export function cudaRuntimeName(folder: string): string {
  const { needed } = elfNeeds(join(folder, CUDA_PROVIDER));
  return needed.find((name) => name.startsWith('libcudart.so')) ?? 'libcudart.so.12';
}
