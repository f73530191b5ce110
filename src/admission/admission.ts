/** What a transport knows of the caller before the body arrives. Empty string: absent. */
export interface Credentials {
  authorization: string;
  apiKey: string;
  /** Common name of a verified client certificate. */
  certificateName: string;
}

export interface Identity {
  tenant: string;
  /** What the caller may do: 'infer' always, 'control' for repository, trace and log settings. */
  roles: readonly string[];
  /** Highest priority the tenant may ask for; 0 = any. */
  maxPriority: number;
}

/**
 * Who may ask, and how much. Synchronous whenever the answer is known in this thread, so that the hot path pays no
 * microtask; a promise when a JWKS or Redis must be asked.
 */
export interface Admission {
  /** False: nothing is configured, callers may skip reading credentials. */
  readonly enabled: boolean;
  /** Throws or rejects: unauthenticated, unavailable. */
  authenticate(credentials: Credentials): Identity | Promise<Identity>;
  /** Takes one request from the tenant's rate and quota. Throws or rejects: overloaded with retryAfterMs, permission_denied. */
  admit(identity: Identity, model: string): void | Promise<void>;
  /** Ends a request that was admitted; once for each successful `admit`. */
  release(identity: Identity, model: string): void;
  close(): Promise<void>;
}
