import type { FallbackCause } from '../../config/route-schema.ts';
import type { SwitchyardError } from '../../shared/errors.ts';

/** A deadline this near is the client's own doing: missing it says nothing of the variant. As of remote servers. */
const FAIR_TRY_MS = 1000;

/**
 * What an error says of the variant that gave it: failures count against it, the rest is the client's or nobody's.
 * `allowedMs`: what the client's own deadline left for it; Infinity: there was none, or the route's timeout came first.
 */
export function outcomeOf(error: SwitchyardError, allowedMs: number): 'failed' | 'forgotten' {
  if (error.code === 'deadline_exceeded' && allowedMs < FAIR_TRY_MS) return 'forgotten';
  return error.httpStatus >= 500 ? 'failed' : 'forgotten';
}

/** By which of a route's fallback causes another variant may be asked; undefined: the client's own error. */
export function causeOf(error: SwitchyardError): FallbackCause | undefined {
  switch (error.code) {
    case 'deadline_exceeded':
      return 'timeout';
    case 'unavailable':
    case 'not_found':
      return 'unavailable';
    case 'overloaded':
      return 'overloaded';
    default:
      return error.httpStatus >= 500 ? '5xx' : undefined;
  }
}
