import { readdirSync } from 'node:fs';
import type { InstanceGroup, ModelConfig } from '../config/model-config.ts';

/** Numbers of this machine's GPUs, as the driver's device files name them. */
export function machineGpus(folder = '/dev'): number[] {
  try {
    return readdirSync(folder)
      .map((name) => /^nvidia(\d+)$/.exec(name)?.[1])
      .filter((number) => number !== undefined)
      .map(Number)
      .sort((a, b) => a - b);
  } catch {
    return [];
  }
}

/**
 * The device of each instance that the groups ask for: a GPU's number, or -1 for the CPU. As Triton counts: `count` instances
 * on each GPU that is listed, on every GPU of the machine where none is. [] leaves the number to the executor pool.
 */
export function instanceDevices(
  groups: readonly InstanceGroup[],
  gpus: () => readonly number[] = machineGpus,
): number[] {
  const devices: number[] = [];
  for (const { kind, count, gpus: listed } of groups) {
    if (kind !== 'gpu') {
      for (let i = 0; i < count; i++) devices.push(-1);
      continue;
    }
    const all = listed.length > 0 ? listed : gpus();
    // Without a GPU the first is asked for, so that the model says what is missing.
    for (const device of all.length > 0 ? all : [0]) {
      for (let i = 0; i < Math.max(1, count); i++) devices.push(device);
    }
  }
  return devices;
}

/** Slots of a model on one GPU that has so many instances there: one runs while the next one's inputs are on their way. */
export function slotsFor(instances: number): number {
  return Math.min(3, Math.max(2, instances + 1));
}

/** The GPUs that every instance of the model is on, each once with the number of its instances; [] when some are elsewhere. */
export function gpuInstances(devices: readonly number[]): { device: number; instances: number }[] {
  if (devices.some((device) => device < 0)) return [];
  const counts = new Map<number, number>();
  for (const device of devices) counts.set(device, (counts.get(device) ?? 0) + 1);
  return [...counts].map(([device, instances]) => ({ device, instances }));
}

/**
 * Whether a model's batches can lie in slots of fixed size: every tensor has a fixed width and known dims, and all instances
 * are on GPUs.
 */
export function hasFixedTensors({ signature, decoupled }: ModelConfig): boolean {
  const all = [...signature.inputs, ...signature.outputs];
  return (
    signature.inputs.length > 0 &&
    signature.outputs.length > 0 &&
    !decoupled &&
    all.every(
      ({ datatype, dims, optional, ragged, reshape }) =>
        datatype !== 'BYTES' && !optional && !ragged && reshape === undefined && dims.every((dim) => dim >= 1),
    )
  );
}
