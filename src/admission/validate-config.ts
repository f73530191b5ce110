import { invalidArgument } from '../shared/errors.ts';
import type { AdmissionConfig, JwtConfig, LimitsConfig } from './admission-config.ts';
import { MAX_DAILY_QUOTA } from './limit-table.ts';

const TENANT = /^[A-Za-z0-9][\w.@:/-]{0,127}$/;

/** True for a tenant name that may become a label, a key or a log field. */
export function isTenantName(name: string): boolean {
  return TENANT.test(name);
}

function checkTenant(tenant: unknown, field: string): void {
  if (typeof tenant !== 'string' || !isTenantName(tenant)) {
    throw invalidArgument(
      `${field}: ${JSON.stringify(tenant)} is no tenant name; use 1 to 128 letters, digits and . _ - @ : / starting with a letter or digit`,
    );
  }
}

function checkPositive(value: number | undefined, field: string, whole: boolean): void {
  if (value === undefined) return;
  if (!(value > 0) || !Number.isFinite(value) || (whole && !Number.isSafeInteger(value))) {
    throw invalidArgument(
      `${field}: ${value} is not allowed; give a ${whole ? 'whole ' : ''}number above 0, or leave it out`,
    );
  }
}

function checkLimits(limits: LimitsConfig | undefined, field: string): void {
  if (limits === undefined) return;
  checkPositive(limits.requestsPerSecond, `${field}.requestsPerSecond`, false);
  checkPositive(limits.burst, `${field}.burst`, true);
  checkPositive(limits.concurrency, `${field}.concurrency`, true);
  checkPositive(limits.dailyQuota, `${field}.dailyQuota`, true);
  if ((limits.requestsPerSecond ?? 1) > 1e9) {
    throw invalidArgument(`${field}.requestsPerSecond: ${limits.requestsPerSecond} is not allowed; at most 1e9`);
  }
  if ((limits.dailyQuota ?? 1) > MAX_DAILY_QUOTA) {
    throw invalidArgument(`${field}.dailyQuota: ${limits.dailyQuota} is not allowed; at most ${MAX_DAILY_QUOTA}`);
  }
  if ((limits.concurrency ?? 1) > 0x7fffffff) {
    throw invalidArgument(`${field}.concurrency: ${limits.concurrency} is not allowed; at most 2147483647`);
  }
}

function checkPriority(value: number | undefined, field: string): void {
  if (value !== undefined && !(Number.isSafeInteger(value) && value >= 0)) {
    throw invalidArgument(`${field}: ${value} is not allowed; give 0 (any) or a whole number above it`);
  }
}

/**
 * A JWKS is fetched only over https, or over http from this machine: anything else lets the network choose who is
 * trusted. Throws invalid_argument.
 */
export function checkJwksUrl(url: string, field: string): URL {
  const parsed = URL.canParse(url) ? new URL(url) : undefined;
  const loopback =
    parsed !== undefined &&
    (/^127(\.\d+){3}$/.test(parsed.hostname) || ['localhost', '[::1]'].includes(parsed.hostname));
  if (parsed === undefined || !(parsed.protocol === 'https:' || (parsed.protocol === 'http:' && loopback))) {
    throw invalidArgument(`${field}: only https URLs, or http on a loopback address, may serve signing keys`);
  }
  if (parsed.username !== '' || parsed.password !== '') {
    throw invalidArgument(`${field}: credentials do not belong into the URL`);
  }
  return parsed;
}

function checkJwt(jwt: JwtConfig, field: string): void {
  if (typeof jwt.issuer !== 'string' || jwt.issuer === '') throw invalidArgument(`${field}.issuer: must not be empty`);
  if (!Array.isArray(jwt.audience) || jwt.audience.length === 0) {
    throw invalidArgument(`${field}.audience: name at least one audience, so that tokens meant for others are refused`);
  }
  if ((jwt.jwksUrl === undefined) === (jwt.jwks === undefined)) {
    throw invalidArgument(`${field}: give exactly one of jwksUrl and jwks`);
  }
  if (jwt.jwksUrl !== undefined) checkJwksUrl(jwt.jwksUrl, `${field}.jwksUrl`);
  if (jwt.jwks !== undefined && !Array.isArray(jwt.jwks.keys)) {
    throw invalidArgument(`${field}.jwks.keys: must be an array of JSON Web Keys`);
  }
}

/** Checks the whole configuration before any of it takes effect. Throws invalid_argument naming field and value. */
export function validateAdmissionConfig(config: AdmissionConfig): void {
  const digests = new Map<string, string>();
  config.apiKeys?.forEach((key, i) => {
    const field = `apiKeys[${i}]`;
    checkTenant(key.tenant, `${field}.tenant`);
    checkPriority(key.maxPriority, `${field}.maxPriority`);
    if (typeof key.sha256 !== 'string' || !/^[0-9a-f]{64}$/i.test(key.sha256)) {
      throw invalidArgument(`${field}.sha256: must be 64 hex digits, the SHA-256 of the key`);
    }
    const owner = digests.get(key.sha256.toLowerCase());
    if (owner !== undefined) {
      throw invalidArgument(`${field}.sha256: the same key is already listed for tenant ${JSON.stringify(owner)}`);
    }
    digests.set(key.sha256.toLowerCase(), key.tenant);
    if (key.expires !== undefined && Number.isNaN(Date.parse(key.expires))) {
      throw invalidArgument(`${field}.expires: ${JSON.stringify(key.expires)} is no ISO 8601 time`);
    }
  });
  config.jwt?.forEach((jwt, i) => {
    checkJwt(jwt, `jwt[${i}]`);
  });
  const issuers = new Set(config.jwt?.map((jwt) => jwt.issuer));
  if (issuers.size !== (config.jwt?.length ?? 0)) throw invalidArgument('jwt: each issuer may be listed once');
  config.certificates?.forEach((certificate, i) => {
    if (certificate.name === '') throw invalidArgument(`certificates[${i}].name: must not be empty`);
    checkTenant(certificate.tenant, `certificates[${i}].tenant`);
    checkPriority(certificate.maxPriority, `certificates[${i}].maxPriority`);
  });
  checkLimits(config.defaultLimits, 'defaultLimits');
  for (const [name, tenant] of Object.entries(config.tenants ?? {})) {
    checkTenant(name, 'tenants');
    checkLimits(tenant.limits, `tenants.${name}.limits`);
    for (const [model, limits] of Object.entries(tenant.modelLimits ?? {})) {
      checkLimits(limits, `tenants.${name}.modelLimits.${model}`);
    }
  }
}
