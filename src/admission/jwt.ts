import { hash } from 'node:crypto';
import {
  createLocalJWKSet,
  createRemoteJWKSet,
  decodeJwt,
  errors,
  type JSONWebKeySet,
  type JWTPayload,
  type JWTVerifyGetKey,
  jwtVerify,
} from 'jose';
import { LRUCache } from 'lru-cache';
import { SwitchyardError } from '../shared/errors.ts';
import type { Identity } from './admission.ts';
import type { JwtConfig } from './admission-config.ts';
import { checkJwksUrl, isTenantName } from './validate-config.ts';

/** Signatures by a public key only: a shared-secret algorithm would let anyone who reads the key set sign. */
const ALGORITHMS = [
  'RS256',
  'RS384',
  'RS512',
  'PS256',
  'PS384',
  'PS512',
  'ES256',
  'ES384',
  'ES512',
  'EdDSA',
  'Ed25519',
];
const MAX_TOKEN_LENGTH = 16 * 1024;

interface Verified {
  identity: Identity;
  /** Epoch ms after which the token must be verified again. */
  until: number;
}

interface Issuer {
  config: JwtConfig;
  keys: JWTVerifyGetKey;
}

function unauthenticated(message: string, cause?: unknown): SwitchyardError {
  return new SwitchyardError('unauthenticated', message, { cause });
}

/** Verifies bearer tokens of the configured issuers; replaced whole when the configuration changes. */
export class JwtVerifier {
  private readonly issuers = new Map<string, Issuer>();
  private readonly verified = new LRUCache<string, Verified>({ max: 8192 });
  private readonly pending = new Map<string, Promise<Identity>>();
  private readonly now: () => number;

  constructor(configs: readonly JwtConfig[], nowEpochMs: () => number = Date.now) {
    this.now = nowEpochMs;
    for (const config of configs) {
      const keys =
        config.jwksUrl === undefined
          ? createLocalJWKSet(config.jwks as unknown as JSONWebKeySet)
          : createRemoteJWKSet(checkJwksUrl(config.jwksUrl, 'jwksUrl'), {
              timeoutDuration: 3000,
              cooldownDuration: (config.cooldownSeconds ?? 30) * 1000,
            });
      this.issuers.set(config.issuer, { config, keys });
    }
  }

  /** Synchronous for a token verified before. Throws or rejects: unauthenticated; unavailable when the keys cannot be had. */
  verify(token: string): Identity | Promise<Identity> {
    if (token.length > MAX_TOKEN_LENGTH)
      throw unauthenticated(`the token is longer than ${MAX_TOKEN_LENGTH} characters`);
    const digest = hash('sha256', token, 'base64url');
    const known = this.verified.get(digest);
    if (known !== undefined && this.now() < known.until) return known.identity;
    let running = this.pending.get(digest);
    if (running === undefined) {
      running = this.check(token, digest).finally(() => this.pending.delete(digest));
      this.pending.set(digest, running);
    }
    return running;
  }

  private async check(token: string, digest: string): Promise<Identity> {
    const issuer = this.issuerOf(token);
    const { config } = issuer;
    let payload: JWTPayload;
    try {
      ({ payload } = await jwtVerify(token, issuer.keys, {
        algorithms: ALGORITHMS,
        issuer: config.issuer,
        audience: config.audience,
        requiredClaims: ['exp'],
        clockTolerance: config.clockToleranceSeconds ?? 5,
        currentDate: new Date(this.now()),
      }));
    } catch (error) {
      throw refusal(error);
    }
    const identity = identityOf(payload, config);
    // Roles and tenants change: a long-lived token is looked at again long before it expires.
    const expiry = (payload.exp! + (config.clockToleranceSeconds ?? 5)) * 1000;
    this.verified.set(digest, { identity, until: Math.min(expiry, this.now() + (config.cacheSeconds ?? 300) * 1000) });
    return identity;
  }

  private issuerOf(token: string): Issuer {
    let claimed: string | undefined;
    try {
      claimed = decodeJwt(token).iss;
    } catch (error) {
      throw unauthenticated('the bearer token is not a readable JWT', error);
    }
    const issuer = this.issuers.get(claimed ?? '');
    if (issuer === undefined) throw unauthenticated('the token comes from an issuer that is not configured here');
    return issuer;
  }
}

function refusal(error: unknown): SwitchyardError {
  if (error instanceof errors.JWTExpired) return unauthenticated('the token has expired; get a new one', error);
  if (error instanceof errors.JWTClaimValidationFailed) {
    return unauthenticated(`the token's claim ${JSON.stringify(error.claim)} is missing or not accepted here`, error);
  }
  if (error instanceof errors.JOSEAlgNotAllowed) return unauthenticated("the token's algorithm is not accepted", error);
  if (error instanceof errors.JWKSNoMatchingKey) return unauthenticated("the token's signing key is unknown", error);
  if (
    error instanceof errors.JWSSignatureVerificationFailed ||
    error instanceof errors.JWSInvalid ||
    error instanceof errors.JWTInvalid
  ) {
    return unauthenticated("the token's signature or form is not valid", error);
  }
  if (error instanceof errors.JWKSMultipleMatchingKeys) {
    return unauthenticated('the token names no key id and several keys fit; set "kid"', error);
  }
  return new SwitchyardError('unavailable', 'the keys to check tokens with cannot be fetched; try again', {
    retryAfterMs: 1000,
    cause: error,
  });
}

function identityOf(payload: JWTPayload, config: JwtConfig): Identity {
  const tenantClaim = config.tenantClaim ?? 'sub';
  const tenant = payload[tenantClaim];
  if (typeof tenant !== 'string' || !isTenantName(tenant)) {
    throw unauthenticated(`the token's claim ${JSON.stringify(tenantClaim)} must hold a tenant name`);
  }
  const rolesClaim = payload[config.rolesClaim ?? 'roles'];
  let roles: string[] = ['infer'];
  if (typeof rolesClaim === 'string') roles = rolesClaim.split(' ').filter((role) => role !== '');
  else if (Array.isArray(rolesClaim)) roles = rolesClaim.filter((role): role is string => typeof role === 'string');
  const priority = config.priorityClaim === undefined ? 0 : payload[config.priorityClaim];
  if (priority !== undefined && !(Number.isSafeInteger(priority) && (priority as number) >= 0)) {
    throw unauthenticated(
      `the token's claim ${JSON.stringify(config.priorityClaim)} must be a whole number, 0 or more`,
    );
  }
  return Object.freeze({ tenant, roles: Object.freeze(roles), maxPriority: (priority as number | undefined) ?? 0 });
}
