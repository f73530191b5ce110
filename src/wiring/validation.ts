import { KeptAtDoor } from '../validation/kept-at-door.ts';
import { LiveSkew } from '../validation/live/live-skew.ts';
import { DoorFigures } from '../validation/metrics.ts';
import type { RegistryServices } from './registry.ts';
import type { Setup } from './setup.ts';
import type { Threads } from './threads.ts';

const SKEW_INTERVAL_MS = 10_000;
/** Another server of the same registry may keep the next version of a schema. */
const KEPT_SCHEMAS_INTERVAL_MS = 5000;

/** The control thread's side of the check of requests at the door. */
export interface DoorValidation {
  violations: DoorFigures;
  skew: LiveSkew;
  keptSchemas: KeptAtDoor;
}

/** Looks at statistics and kept schemas from now on, as long as the process lives. */
export function watchDoor(
  { log }: Setup,
  { fleet }: Pick<Threads, 'fleet'>,
  { datasets, schemas }: Pick<RegistryServices, 'datasets' | 'schemas'>,
): DoorValidation {
  const skew = new LiveSkew({
    now: Date.now,
    profile: async (name, version) => (await datasets()).datasets.profile(name, version, { actor: 'gateway' }),
  });
  const keptSchemas = new KeptAtDoor({
    read: async (...wish) => (await schemas()).get(...wish),
    publish: (known) => fleet.setDoorSchemas(known),
    log,
  });
  setInterval(() => void skew.refresh(), SKEW_INTERVAL_MS).unref();
  setInterval(() => void keptSchemas.refresh(), KEPT_SCHEMAS_INTERVAL_MS).unref();
  return { violations: new DoorFigures(), skew, keptSchemas };
}
