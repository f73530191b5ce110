import type { FallbackCause } from '../../config/route-schema.ts';
import type { SwitchyardError } from '../../shared/errors.ts';

/** What an error says of the variant that gave it: failures count against it, the rest is the client's or nobody's. */
export function outcomeOf(error: SwitchyardError): 'failed' | 'forgotten' {
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
