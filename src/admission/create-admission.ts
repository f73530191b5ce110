import { SwitchyardError } from '../shared/errors.ts';
import type { Admission, Credentials, Identity } from './admission.ts';
import { type AdmissionConfig, hasCredentials, hasLimits } from './admission-config.ts';
import { ApiKeyDirectory } from './api-keys.ts';
import { JwtVerifier } from './jwt.ts';
import { allocateLimitTable, LimitTable } from './limit-table.ts';
import type { RedisLimits } from './redis-limits.ts';
import { TenantLimits } from './tenant-limits.ts';
import { validateAdmissionConfig } from './validate-config.ts';

export interface SharedAdmission {
  /** One for all gateway threads of the process (allocateLimitTable); absent: limits count in this thread alone. */
  limits?: SharedArrayBuffer;
  /** Counts rates and quotas for a fleet. While Redis is away, each process enforces the limits alone. */
  redisUrl?: string;
}

/** Admission that takes a new configuration while it runs. */
export interface UpdatableAdmission extends Admission {
  /** Swaps keys, issuers, tenants and limits at once; counters go on. Throws invalid_argument and keeps the old one. */
  update(config: AdmissionConfig): void;
  /** Requests whose limits were decided without Redis. */
  readonly redisFallbacks: number;
}

const CREDENTIAL_HELP = 'send an API key as "x-api-key" or "Authorization: Bearer", or a token of a configured issuer';

class TenantAdmission implements UpdatableAdmission {
  private readonly limits: TenantLimits;
  private readonly redis: RedisLimits | undefined;
  private keys!: ApiKeyDirectory;
  private jwt: JwtVerifier | undefined;
  private certificates!: Map<string, Identity>;
  private anonymous: Identity | undefined;
  private checks = false;
  private limited = false;
  enabled = false;

  constructor(config: AdmissionConfig, table: LimitTable, redis: RedisLimits | undefined) {
    validateAdmissionConfig(config);
    this.limits = new TenantLimits(table, config);
    this.redis = redis;
    this.apply(config);
  }

  get redisFallbacks(): number {
    return this.redis?.fallbacks ?? 0;
  }

  update(config: AdmissionConfig): void {
    validateAdmissionConfig(config);
    this.limits.update(config);
    this.apply(config);
  }

  private apply(config: AdmissionConfig): void {
    const credentials = hasCredentials(config);
    this.keys = new ApiKeyDirectory(config.apiKeys ?? []);
    this.jwt = (config.jwt?.length ?? 0) > 0 ? new JwtVerifier(config.jwt!) : undefined;
    this.certificates = new Map(
      (config.certificates ?? []).map(({ name, tenant, roles, maxPriority }) => [
        name,
        Object.freeze({ tenant, roles: Object.freeze([...(roles ?? ['infer'])]), maxPriority: maxPriority ?? 0 }),
      ]),
    );
    this.checks = credentials;
    const allowed = config.anonymous === undefined ? !credentials : config.anonymous === 'allow';
    const roles = config.anonymousRoles ?? (credentials ? ['infer'] : ['infer', 'control']);
    this.anonymous = allowed
      ? Object.freeze({ tenant: 'default', roles: Object.freeze(roles), maxPriority: 0 })
      : undefined;
    // Once true it stays so: a request admitted before the limits went away still gives its place back.
    this.limited ||= hasLimits(config);
    this.enabled = this.limited || credentials || !allowed;
  }

  authenticate(credentials: Credentials): Identity | Promise<Identity> {
    // Nothing to check a credential against: headers meant for a proxy must not lock anyone out.
    if (!this.checks && this.anonymous !== undefined) return this.anonymous;
    if (credentials.apiKey !== '') return this.byKey(credentials.apiKey);
    if (credentials.authorization !== '') return this.byAuthorization(credentials.authorization);
    if (credentials.certificateName !== '') {
      const identity = this.certificates.get(credentials.certificateName);
      if (identity !== undefined) return identity;
    }
    if (this.anonymous === undefined)
      throw new SwitchyardError('unauthenticated', `no credentials; ${CREDENTIAL_HELP}`);
    return this.anonymous;
  }

  private byKey(key: string): Identity {
    const identity = this.keys.find(key);
    if (identity === undefined) throw new SwitchyardError('unauthenticated', 'the API key is not known here');
    return identity;
  }

  private byAuthorization(header: string): Identity | Promise<Identity> {
    if (header.length < 8 || header.charCodeAt(6) !== 32 || header.slice(0, 6).toLowerCase() !== 'bearer') {
      throw new SwitchyardError(
        'unauthenticated',
        `the Authorization header is not of the form "Bearer …"; ${CREDENTIAL_HELP}`,
      );
    }
    const token = header.slice(7);
    const identity = this.keys.find(token);
    if (identity !== undefined) return identity;
    if (this.jwt === undefined) throw new SwitchyardError('unauthenticated', 'the API key is not known here');
    return this.jwt.verify(token);
  }

  admit(identity: Identity, model: string): void | Promise<void> {
    if (!this.limited) return;
    const state = this.limits.enter(identity.tenant, model);
    if (this.redis !== undefined) {
      const limits = state.models?.get(model);
      const counts = state.own.intervalNs > 0 || state.own.dailyQuota > 0 || limits !== undefined;
      if (counts && this.redis.usable()) return this.admitByRedis(this.redis, identity.tenant, model);
      if (counts) this.redis.fallbacks++;
    }
    try {
      this.limits.consume(state, identity.tenant, model);
    } catch (error) {
      this.limits.leave(identity.tenant, model);
      throw error;
    }
  }

  private async admitByRedis(redis: RedisLimits, tenant: string, model: string): Promise<void> {
    const state = this.limits.stateOf(tenant);
    try {
      if (await redis.consume(state, tenant, model)) return;
      redis.fallbacks++;
      this.limits.consume(state, tenant, model);
    } catch (error) {
      this.limits.leave(tenant, model);
      throw error;
    }
  }

  release(identity: Identity, model: string): void {
    if (this.limited) this.limits.leave(identity.tenant, model);
  }

  async close(): Promise<void> {
    await this.redis?.close();
  }
}

/**
 * The admission of one gateway thread. Rejects with invalid_argument for a bad configuration; waits at most a second
 * for Redis, and starts without it.
 */
export async function createAdmission(
  config: AdmissionConfig,
  shared: SharedAdmission = {},
): Promise<UpdatableAdmission> {
  validateAdmissionConfig(config);
  const redis = shared.redisUrl === undefined ? undefined : await openRedis(shared.redisUrl);
  return new TenantAdmission(config, new LimitTable(shared.limits ?? allocateLimitTable(4096)), redis);
}

/** Loads the client's libraries too: most threads start without them. */
async function openRedis(url: string): Promise<RedisLimits> {
  const { RedisLimits } = await import('./redis-limits.ts');
  const redis = new RedisLimits(url);
  await redis.connected(1000);
  return redis;
}
