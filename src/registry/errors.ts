import { type ErrorCode, SwitchyardError } from '../shared/errors.ts';

/**
 * MLflow's error codes with the HTTP status that its server answers, and our own code for the same thing. Clients
 * branch on the names and retry 429 and 5xx for minutes, so a user's mistake never gets one of those.
 */
export const REGISTRY_ERRORS = {
  INVALID_PARAMETER_VALUE: { http: 400, code: 'invalid_argument' },
  INVALID_STATE: { http: 400, code: 'failed_precondition' },
  RESOURCE_ALREADY_EXISTS: { http: 400, code: 'conflict' },
  UNAUTHENTICATED: { http: 401, code: 'unauthenticated' },
  PERMISSION_DENIED: { http: 403, code: 'permission_denied' },
  RESOURCE_DOES_NOT_EXIST: { http: 404, code: 'not_found' },
  ENDPOINT_NOT_FOUND: { http: 404, code: 'not_found' },
  RESOURCE_CONFLICT: { http: 409, code: 'conflict' },
  NOT_IMPLEMENTED: { http: 501, code: 'unsupported' },
  RESOURCE_LIMIT_EXCEEDED: { http: 413, code: 'payload_too_large' },
  CANCELLED: { http: 499, code: 'cancelled' },
  INTERNAL_ERROR: { http: 500, code: 'internal' },
  TEMPORARILY_UNAVAILABLE: { http: 503, code: 'unavailable' },
  RESOURCE_EXHAUSTED: { http: 507, code: 'insufficient_storage' },
} as const satisfies Record<string, { http: number; code: ErrorCode }>;

export type RegistryErrorCode = keyof typeof REGISTRY_ERRORS;

/** An error with MLflow's name for it. Outside MLflow's REST it is an ordinary SwitchyardError. */
export class RegistryError extends SwitchyardError {
  readonly registryCode: RegistryErrorCode;
  private readonly status: number;

  /** @param status where one code has several statuses, such as 413 and 507 of uploads. */
  constructor(
    registryCode: RegistryErrorCode,
    message: string,
    options: { status?: number; retryAfterMs?: number; cause?: unknown } = {},
  ) {
    super(REGISTRY_ERRORS[registryCode].code, message, options);
    this.name = 'RegistryError';
    this.registryCode = registryCode;
    this.status = options.status ?? REGISTRY_ERRORS[registryCode].http;
  }

  override get httpStatus(): number {
    return this.status;
  }
}

/** Bad input: the message names the parameter, its value and what is allowed. */
export function invalidParameter(message: string): RegistryError {
  return new RegistryError('INVALID_PARAMETER_VALUE', message);
}

export function doesNotExist(message: string): RegistryError {
  return new RegistryError('RESOURCE_DOES_NOT_EXIST', message);
}

export function alreadyExists(message: string): RegistryError {
  return new RegistryError('RESOURCE_ALREADY_EXISTS', message);
}

/** A value as it appears in messages: JSON, cut. */
export function shown(value: unknown): string {
  const text = JSON.stringify(value) ?? String(value);
  return text.length > 200 ? `${text.slice(0, 200)}…` : text;
}
