import type { ServingModel, ServingVersion } from './types.ts';

/** The version that takes requests without one: the highest that can answer; while none can, the highest loaded. */
export function chosenVersion({ versions }: ServingModel): ServingVersion | undefined {
  for (let i = 0; i < versions.length; i++) if (versions[i].absence === '') return versions[i];
  return versions[0];
}

/** Whether a request for the model would be answered now, '' = by any version, or has it loaded first. */
export function isModelReady({ versions, onDemand }: ServingModel, version: string = ''): boolean {
  if (version === '' && onDemand) return true;
  return versions.some((loaded) => loaded.absence === '' && (version === '' || loaded.version === version));
}
