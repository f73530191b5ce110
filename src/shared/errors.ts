/**
 * One table of everything that can go wrong at a public surface. A code is stable and documented; the HTTP and gRPC
 * statuses follow from it and are written nowhere else.
 */
export const ERROR_TABLE = {
  invalid_argument: { http: 400, grpc: 3 },
  failed_precondition: { http: 400, grpc: 9 },
  unauthenticated: { http: 401, grpc: 16 },
  permission_denied: { http: 403, grpc: 7 },
  not_found: { http: 404, grpc: 5 },
  method_not_allowed: { http: 405, grpc: 12 },
  length_required: { http: 411, grpc: 3 },
  conflict: { http: 409, grpc: 10 },
  payload_too_large: { http: 413, grpc: 8 },
  overloaded: { http: 429, grpc: 8 },
  headers_too_large: { http: 431, grpc: 8 },
  cancelled: { http: 499, grpc: 1 },
  internal: { http: 500, grpc: 13 },
  unsupported: { http: 501, grpc: 12 },
  unavailable: { http: 503, grpc: 14 },
  deadline_exceeded: { http: 504, grpc: 4 },
  insufficient_storage: { http: 507, grpc: 8 },
} as const;

export type ErrorCode = keyof typeof ERROR_TABLE;

/** What clients bring about as fast as they send. Where such an error was made, its message says well enough. */
const WITHOUT_STACK: ReadonlySet<ErrorCode> = new Set<ErrorCode>([
  'invalid_argument',
  'unauthenticated',
  'permission_denied',
  'not_found',
  'payload_too_large',
  'overloaded',
  'cancelled',
  'unavailable',
  'deadline_exceeded',
]);

export class SwitchyardError extends Error {
  readonly code: ErrorCode;
  /** Milliseconds after which a retry makes sense; becomes Retry-After (seconds, rounded up). */
  readonly retryAfterMs: number | undefined;

  constructor(code: ErrorCode, message: string, options: { retryAfterMs?: number; cause?: unknown } = {}) {
    const { stackTraceLimit } = Error;
    // Walking the stack costs more than all else of a refusal.
    if (WITHOUT_STACK.has(code)) Error.stackTraceLimit = 0;
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    Error.stackTraceLimit = stackTraceLimit;
    this.name = 'SwitchyardError';
    this.code = code;
    this.retryAfterMs = options.retryAfterMs;
  }

  get httpStatus(): number {
    return ERROR_TABLE[this.code].http;
  }

  get grpcStatus(): number {
    return ERROR_TABLE[this.code].grpc;
  }
}

/** Bad input by the client: names the offending field and value and what is allowed. */
export function invalidArgument(message: string): SwitchyardError {
  return new SwitchyardError('invalid_argument', message);
}

/** Wraps anything thrown. An unknown error becomes `internal`; its message is kept, its stack never leaves the process. */
export function toSwitchyardError(error: unknown): SwitchyardError {
  if (error instanceof SwitchyardError) return error;
  const message = error instanceof Error ? error.message : String(error);
  return new SwitchyardError('internal', message, { cause: error });
}
