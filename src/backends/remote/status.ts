import { status as grpcStatus } from '@grpc/grpc-js';
import { type ErrorCode, SwitchyardError } from '../../shared/errors.ts';

/** Index is the gRPC status a remote server answered with. */
const CODES: readonly ErrorCode[] = [
  'internal', // OK with an error object does not happen
  'cancelled',
  'internal', // UNKNOWN
  'invalid_argument',
  'deadline_exceeded',
  'unavailable', // NOT_FOUND: our model exists, its remote twin does not
  'conflict', // ALREADY_EXISTS
  'internal', // PERMISSION_DENIED: our own credentials, not the caller's
  'overloaded',
  'failed_precondition',
  'conflict', // ABORTED
  'invalid_argument', // OUT_OF_RANGE
  'unsupported',
  'internal',
  'unavailable',
  'internal', // DATA_LOSS
  'internal', // UNAUTHENTICATED: as PERMISSION_DENIED
];

/**
 * A remote server's status as our error. Triton says UNAVAILABLE for a full queue and an expired queue timeout as well
 * as for a server that is going away; only the last one may be tried elsewhere, so the words decide.
 */
export function fromStatus(status: number, details: string): SwitchyardError {
  const code = CODES[status] ?? 'internal';
  if (code === 'unavailable') {
    if (/maximum queue size/i.test(details))
      return new SwitchyardError('overloaded', remote(details), { retryAfterMs: 1000 });
    if (/request timeout expired/i.test(details)) return new SwitchyardError('deadline_exceeded', remote(details));
    // grpc-js puts addresses of the replicas into its own messages; they are no business of a client.
    if (/ECONN|connect|No connection established|Name resolution|DNS/i.test(details)) {
      return new SwitchyardError('unavailable', 'the remote server cannot be reached', {
        retryAfterMs: 1000,
        cause: details,
      });
    }
  }
  if (code === 'deadline_exceeded') return new SwitchyardError(code, 'the remote server did not answer in time');
  return new SwitchyardError(code, details === '' ? wordless(status) : remote(details));
}

function remote(details: string): string {
  return `the remote server answered: ${details}`;
}

/** Triton sends some refusals of a tensor's shape with a status alone. */
function wordless(status: number): string {
  return `the remote server answered ${grpcStatus[status] ?? status} without a message; compare the tensors with its metadata`;
}
