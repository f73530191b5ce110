/** Limits of one tenant, or of one tenant on one model. Everything left out is unlimited. Plain data: crosses threads. */
export interface LimitsConfig {
  requestsPerSecond?: number;
  /** Requests at once after idling; default: one second's worth, at least 1. Means nothing without requestsPerSecond. */
  burst?: number;
  /** Requests in flight in this process. */
  concurrency?: number;
  /** Requests per UTC day. */
  dailyQuota?: number;
}

export interface TenantConfig {
  /** Default: `defaultLimits` of the admission configuration. */
  limits?: LimitsConfig;
  /** Model name → further limits; a request passes both these and the tenant's own. */
  modelLimits?: Record<string, LimitsConfig>;
  /** Models the tenant may call; absent: all. */
  allowedModels?: string[];
}

export interface ApiKeyConfig {
  tenant: string;
  /** SHA-256 of the key, 64 hex digits. The key itself is never stored. */
  sha256: string;
  /** Default ['infer']. */
  roles?: string[];
  /** Highest priority the caller may ask for; 0 or absent: any. */
  maxPriority?: number;
  /** ISO 8601 time after which the key is refused. */
  expires?: string;
}

export interface JwtConfig {
  issuer: string;
  /** Accepted audiences; a token must name one of them. */
  audience: string[];
  /** https, or http on a loopback address. Exactly one of `jwksUrl` and `jwks` is set. */
  jwksUrl?: string;
  /** The key set itself, read from a local file by whoever loads the configuration. */
  jwks?: { keys: Record<string, unknown>[] };
  /** Claim holding the tenant. Default 'sub'. */
  tenantClaim?: string;
  /** Claim holding the roles, an array or a space-separated string. Default 'roles'; a token without it gets ['infer']. */
  rolesClaim?: string;
  /** Claim holding the highest priority. Default: none, any priority. */
  priorityClaim?: string;
  /** Seconds of clock difference forgiven. Default 5. */
  clockToleranceSeconds?: number;
  /** A verified token is not checked again for this long (never past its expiry). Default 300. */
  cacheSeconds?: number;
  /** At most one fetch of the key set in this time for unknown key ids. Default 30. */
  cooldownSeconds?: number;
}

export interface CertificateConfig {
  /** Common name of the client certificate. */
  name: string;
  tenant: string;
  roles?: string[];
  maxPriority?: number;
}

export interface AdmissionConfig {
  apiKeys?: ApiKeyConfig[];
  jwt?: JwtConfig[];
  certificates?: CertificateConfig[];
  /** Callers without credentials: 'allow' as tenant 'default', or 'deny'. Default: 'allow' while no credentials are configured. */
  anonymous?: 'allow' | 'deny';
  /** Default: ['infer', 'control'] while no credentials are configured, else ['infer']. */
  anonymousRoles?: string[];
  tenants?: Record<string, TenantConfig>;
  /** For tenants that are not listed, or listed without limits. */
  defaultLimits?: LimitsConfig;
}

/** True when the configuration asks callers who they are. */
export function hasCredentials(config: AdmissionConfig): boolean {
  return (config.apiKeys?.length ?? 0) > 0 || (config.jwt?.length ?? 0) > 0 || (config.certificates?.length ?? 0) > 0;
}

/** True when the configuration limits anyone. */
export function hasLimits(config: AdmissionConfig): boolean {
  return config.defaultLimits !== undefined || Object.keys(config.tenants ?? {}).length > 0;
}
