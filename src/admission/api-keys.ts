import { hash } from 'node:crypto';
import { LRUCache } from 'lru-cache';
import { SwitchyardError } from '../shared/errors.ts';
import type { Identity } from './admission.ts';
import type { ApiKeyConfig } from './admission-config.ts';

const MAX_KEY_LENGTH = 512;

interface Entry {
  identity: Identity;
  /** Epoch ms; Infinity: never. */
  expiresAt: number;
}

/** SHA-256 of a key as the configuration lists it. */
export function hashApiKey(key: string): string {
  return hash('sha256', key, 'hex');
}

/**
 * Knows the keys of one configuration; replaced whole when it changes. Keys are found by their digest, so the time a
 * lookup takes says nothing about a key. Only good keys are remembered by their text, so guesses displace nothing.
 */
export class ApiKeyDirectory {
  private readonly byDigest = new Map<string, Entry>();
  private readonly recent = new LRUCache<string, Entry>({ max: 4096 });

  constructor(keys: readonly ApiKeyConfig[]) {
    for (const key of keys) {
      const identity: Identity = Object.freeze({
        tenant: key.tenant,
        roles: Object.freeze([...(key.roles ?? ['infer'])]),
        maxPriority: key.maxPriority ?? 0,
      });
      const expiresAt = key.expires === undefined ? Number.POSITIVE_INFINITY : Date.parse(key.expires);
      this.byDigest.set(key.sha256.toLowerCase(), { identity, expiresAt });
    }
  }

  /** Undefined: no such key. Throws unauthenticated for one that has expired. */
  find(key: string, nowEpochMs: () => number = Date.now): Identity | undefined {
    let entry = this.recent.get(key);
    if (entry === undefined) {
      if (key.length > MAX_KEY_LENGTH) return undefined;
      entry = this.byDigest.get(hashApiKey(key));
      if (entry === undefined) return undefined;
      this.recent.set(key, entry);
    }
    if (entry.expiresAt !== Number.POSITIVE_INFINITY && nowEpochMs() >= entry.expiresAt) {
      throw new SwitchyardError('unauthenticated', 'the API key has expired; ask for a new one');
    }
    return entry.identity;
  }
}
