import { createHash, timingSafeEqual } from 'node:crypto';
import { adminBindingProblem, isLoopback } from '../config/admin-binding.ts';
import type { GatewayToken } from '../config/gateway-token-schema.ts';
import { ConfigError } from '../config/load.ts';
import type { Config } from '../config/schema.ts';
import { SwitchyardError } from '../shared/errors.ts';
import type { GatewayClaims } from '../shared/gateway-claims.ts';
import { isRunToken, type RunClaims, verifyRunToken } from '../shared/run-token.ts';
import { GatewayTokens } from './gateway-tokens.ts';
import type { Role } from './route.ts';

/** Refuses a server section that would let anyone on the network administer the server. Throws ConfigError. */
export function checkAdminBinding(server: Pick<Config['server'], 'adminHost' | 'adminToken'>): void {
  const problem = adminBindingProblem(server);
  if (problem !== undefined) throw new ConfigError([`server.${problem.field}: ${problem.message}`]);
}

/** What of a request decides whether it may go on. */
export interface AccessFacts {
  authorization: string;
  host: string;
  origin: string;
}

/**
 * Decides on requests to the admin port. A browser is a confused deputy: a page of another site may send requests from
 * it, so an Origin must be the server's own; and a name that its owner points at 127.0.0.1 must not become that
 * origin, so without a token only loopback names are answered.
 */
export class AccessPolicy {
  private readonly token: string | undefined;
  private readonly tokenDigest: Buffer | undefined;
  private readonly gateways: GatewayTokens;

  /** @param gatewayTokens as they are configured now */
  constructor(token: string | undefined, gatewayTokens: () => readonly GatewayToken[]) {
    this.gateways = new GatewayTokens(gatewayTokens);
    this.token = token;
    this.tokenDigest = token === undefined ? undefined : digest(token);
  }

  /**
   * As `check` for the registry, which also lets jobs and gateways in: their tokens say which run or gateway is theirs.
   * Returns what the caller may touch; undefined: everything. Throws permission_denied or unauthenticated.
   */
  checkRegistry(facts: AccessFacts): RunClaims | GatewayClaims | undefined {
    this.check('public', facts);
    const given = givenToken(facts.authorization);
    if (this.token !== undefined && given !== undefined) {
      if (isRunToken(given)) return runClaims(this.token, given);
      const gateway = this.gateways.find(digest(given), Date.now());
      if (gateway !== undefined) return gateway;
    }
    this.check('operator', facts);
    return undefined;
  }

  /** Throws permission_denied or unauthenticated. */
  check(role: Role, facts: AccessFacts): void {
    if (facts.origin !== '' && !isOwnOrigin(facts.origin, facts.host)) {
      throw new SwitchyardError(
        'permission_denied',
        `Origin ${JSON.stringify(facts.origin.slice(0, 200))} is not this server; call the admin API from a page it serves, or without a browser`,
      );
    }
    if (role !== 'operator') return;
    if (this.tokenDigest === undefined) {
      if (isLoopback(hostName(facts.host))) return;
      throw new SwitchyardError(
        'permission_denied',
        `Host ${JSON.stringify(facts.host.slice(0, 200))} is not a loopback name; use 127.0.0.1 or localhost, or set server.adminToken`,
      );
    }
    const given = givenToken(facts.authorization);
    // Digests have one length, so that the comparison tells nothing of the token's.
    if (given === undefined || !timingSafeEqual(digest(given), this.tokenDigest)) {
      throw new SwitchyardError(
        'unauthenticated',
        given === undefined
          ? 'this needs the admin token; send the header "Authorization: Bearer <server.adminToken>", or the token as the password of HTTP Basic'
          : 'this token opens nothing here; the admin token is the value of server.adminToken, and gateways have those of server.gatewayTokens',
      );
    }
  }
}

function runClaims(secret: string, token: string): RunClaims {
  const claims = verifyRunToken(secret, token, Date.now());
  if (claims !== undefined) return claims;
  throw new SwitchyardError('unauthenticated', 'the token of this job is over, or none of this server');
}

function givenToken(authorization: string): string | undefined {
  return /^Bearer +([^\s]+)$/i.exec(authorization)?.[1] ?? basicCredentials(authorization)?.password;
}

/** Who the history says it was: the user name of HTTP Basic, else "operator". The token proves the rest. */
export function actorOf(authorization: string): string {
  const user = basicCredentials(authorization)?.user ?? '';
  return /^[\w.@+-]{1,128}$/.test(user) ? user : 'operator';
}

function basicCredentials(authorization: string): { user: string; password: string } | undefined {
  const encoded = /^Basic +([A-Za-z0-9+/=_-]+)$/i.exec(authorization)?.[1];
  if (encoded === undefined) return undefined;
  const text = Buffer.from(encoded, 'base64').toString();
  const colon = text.indexOf(':');
  return colon < 0 ? undefined : { user: text.slice(0, colon), password: text.slice(colon + 1) };
}

function digest(token: string): Buffer {
  return createHash('sha256').update(token).digest();
}

function hostName(host: string): string {
  return host.replace(/:\d+$/, '');
}

function isOwnOrigin(origin: string, host: string): boolean {
  return URL.canParse(origin) && host !== '' && new URL(origin).host === host.toLowerCase();
}
