import { timingSafeEqual } from 'node:crypto';
import type { GatewayToken } from '../config/gateway-token-schema.ts';
import { SwitchyardError } from '../shared/errors.ts';
import type { GatewayClaims } from '../shared/gateway-claims.ts';

interface Entry {
  digest: Buffer;
  claims: GatewayClaims;
  /** Epoch ms; Infinity: never. */
  expiresAt: number;
}

/** Knows gateways by their tokens. The list is asked for each time, so that a reload adds and removes some. */
export class GatewayTokens {
  private readonly configured: () => readonly GatewayToken[];
  private list: readonly GatewayToken[] = [];
  private entries: Entry[] = [];

  constructor(configured: () => readonly GatewayToken[]) {
    this.configured = configured;
  }

  /**
   * Undefined: no gateway has this token. Throws unauthenticated for one that has expired.
   *
   * @param digest SHA-256 of what was sent; compared with every entry, in constant time
   */
  find(digest: Buffer, nowEpochMs: number): GatewayClaims | undefined {
    this.refresh();
    let found: Entry | undefined;
    for (const entry of this.entries) if (timingSafeEqual(entry.digest, digest)) found = entry;
    if (found !== undefined && nowEpochMs >= found.expiresAt)
      throw new SwitchyardError('unauthenticated', 'the gateway token has expired; ask for a new one');
    return found?.claims;
  }

  private refresh(): void {
    const list = this.configured();
    if (list === this.list) return;
    this.list = list;
    this.entries = list.map(({ gatewayId, sha256, expires, moveAliases }) => ({
      digest: Buffer.from(sha256, 'hex'),
      claims: { gatewayId, moveAliases },
      expiresAt: expires === undefined ? Number.POSITIVE_INFINITY : Date.parse(expires),
    }));
  }
}
