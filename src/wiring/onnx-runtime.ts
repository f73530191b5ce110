import { existsSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { machineGpus } from '../backends/instances.ts';
import { CUDA_PROVIDER, carriedRuntime, findCudaProvider, linkProvider } from '../backends/onnx/cuda-provider.ts';
import { onnxRuntimeWay } from '../backends/onnx/runtime-way.ts';
import type { Config } from '../config/schema.ts';

/** What models on this machine run on. */
export interface OnnxRuntime {
  version: string;
  /** Changes when the same model may answer otherwise: verdicts of preflights hold for one. */
  id: string;
  /** Of one run, its executor counted in; all models share the others. */
  threads: number;
  /** What is wrong with the CUDA provider that the configuration names, or ''. */
  cudaProblem: string;
  /** The provider that is named and can be used, absolute; '' for the runtime's own. */
  cudaProvider: string;
  /** GPUs that KIND_AUTO may take. */
  gpus(): number;
}

/**
 * Settles how models reach ONNX Runtime, in variables of the environment that threads and child processes inherit. One
 * that was given from outside wins over the configuration.
 */
export function prepareOnnxRuntime({ models }: Config, baseDir: string, dataDir: string): OnnxRuntime {
  process.env.SWITCHYARD_ONNX_RUNTIME ||= models.onnxRuntime;
  process.env.SWITCHYARD_ONNX_THREADS ||= String(models.onnxThreads);
  const setting = models.cuda.providerLibrary;
  const named = setting === undefined ? '' : resolve(baseDir, setting);
  const cudaProblem = named === '' ? '' : prepareCuda(named, dataDir);
  const { version } = carriedRuntime();
  return {
    version,
    id: `onnxruntime ${version}${onnxRuntimeWay() === 'node' ? '' : ' shared'}`,
    threads: onnxRuntimeWay() === 'node' ? 1 : Number(process.env.SWITCHYARD_ONNX_THREADS),
    cudaProblem,
    cudaProvider: cudaProblem === '' ? named : '',
    gpus: () => gpusForAuto(named !== '', cudaProblem),
  };
}

/**
 * Puts a CUDA provider from elsewhere beside ONNX Runtime, by links in the data folder, for threads and child processes.
 * Returns what is wrong with it, or ''; models that want a GPU then say so.
 */
function prepareCuda(provider: string, dataDir: string): string {
  try {
    if (onnxRuntimeWay() === 'node')
      throw new Error('models.cuda.providerLibrary needs models.onnxRuntime to be native or auto');
    const runtime = carriedRuntime();
    const folder = findCudaProvider(provider, runtime);
    process.env.SWITCHYARD_ONNX_LIBRARY = linkProvider(folder, runtime, join(dataDir, 'onnxruntime'));
    return '';
  } catch (error) {
    process.env.SWITCHYARD_ONNX_CUDA_PROBLEM = (error as Error).message;
    return (error as Error).message;
  }
}

/** None where no CUDA provider can be used, since a model that found none would not load. */
function gpusForAuto(named: boolean, problem: string): number {
  const provider = named || existsSync(join(carriedRuntime().folder, CUDA_PROVIDER));
  return provider && problem === '' ? machineGpus().length : 0;
}
