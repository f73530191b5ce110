import { setTimeout as sleep } from 'node:timers/promises';

/** Long enough for a client on a busy machine to send what it connected for, and for the event loop to read it. */
const QUIET_MS = 250;
const STEP_MS = 5;

/**
 * Resolves when nothing has been in flight for a moment, or after `graceMs`. A connection that was accepted just before
 * the port closed may hold a request that nobody has read yet: closing at the first idle instant would cut it.
 */
export async function quiet(inFlight: () => number, graceMs: number): Promise<void> {
  const end = performance.now() + graceMs;
  let since = performance.now();
  for (let now = since; now < end && now - since < QUIET_MS; now = performance.now()) {
    if (inFlight() > 0) since = now;
    await sleep(STEP_MS);
  }
}
