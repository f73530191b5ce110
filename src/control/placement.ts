import type { LoadSpec } from '../backends/backend.ts';
import { instanceDevices } from '../backends/instances.ts';
import { backendBlocks, modelBlocks } from '../backends/registry.ts';
import type { ModelConfig } from '../config/model-config.ts';

export interface PoolSizes {
  /** Threads for models that compute in the thread that calls them. */
  compute: number;
  /** Threads, at most, for models that compute elsewhere: remote ones, child processes, slots of a GPU. */
  io: number;
  /** Instances of a computing model that names none; capped at `compute`. */
  defaultInstances: number;
}

/** What a version needs: executors of one of the two kinds, and how many. */
export interface Placement {
  compute: boolean;
  count: number;
}

/**
 * A computing model gets an executor for each instance. One that computes elsewhere needs one, whatever its load: more
 * only spread its work, and, isolated, give it a child process each. In the slots of a GPU all work is one session's.
 */
export function placementOf(config: ModelConfig, sizes: PoolSizes): Placement {
  const asked = instanceDevices(config.instanceGroups).length;
  const isolated = config.isolation === 'process';
  if (!isolated && modelBlocks(config))
    return { compute: true, count: Math.min(asked > 0 ? asked : sizes.defaultInstances, sizes.compute) };
  const staged = !isolated && backendBlocks(config.backend);
  return { compute: false, count: staged ? 1 : Math.min(Math.max(asked, 1), sizes.io) };
}

/** Of executors of one kind: the `count` with the fewest versions, first those that are there longest. */
export function leastLoaded<T extends { load: number }>(executors: readonly T[], count: number): T[] {
  return executors.toSorted((a, b) => a.load - b.load).slice(0, count);
}

/** The version as its k-th executor loads it: on the device of that instance. */
export function instanceOf(spec: LoadSpec, k: number): LoadSpec {
  const devices = instanceDevices(spec.config.instanceGroups);
  return spec.device < 0 || devices.length === 0 ? spec : { ...spec, device: devices[k % devices.length] };
}

/** Where a version can be run. */
export interface Standing {
  /** Those that can run it; all that hold it, while none can: what is sent there fails, or finds it back. */
  executors: number[];
  /** Why none can, '' = one can. */
  absence: string;
}

/** @param absenceOn why an executor that holds the version cannot run it; undefined: it can */
export function standingOf(holders: readonly number[], absenceOn: (id: number) => string | undefined): Standing {
  let absence = '';
  const able = holders.filter((id) => {
    const problem = absenceOn(id);
    absence ||= problem ?? '';
    return problem === undefined;
  });
  return able.length > 0 ? { executors: able, absence: '' } : { executors: [...holders], absence };
}
