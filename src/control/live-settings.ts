import { isDeepStrictEqual } from 'node:util';
import type { Config } from '../config/schema.ts';

/**
 * Settings that take effect when the file is read again, of sections that otherwise wait for a restart: credentials, so that
 * they can be changed while the server runs. Whoever goes by them reads the configuration in use each time.
 */
const LIVE_SETTINGS: Readonly<Record<string, (config: Config) => unknown>> = {
  'server.gatewayTokens': ({ server }) => server.gatewayTokens,
  'models.registry.token': ({ models }) => models.registry.token,
};

/** Those that two configurations differ in, by name. */
export function changedLiveSettings(before: Config, after: Config): string[] {
  return Object.entries(LIVE_SETTINGS)
    .filter(([, read]) => !isDeepStrictEqual(read(before), read(after)))
    .map(([name]) => name);
}

/** A configuration with these settings of another one. */
export function withLiveSettings(base: Config, from: Config): Config {
  return {
    ...base,
    server: { ...base.server, gatewayTokens: from.server.gatewayTokens },
    models: { ...base.models, registry: { ...base.models.registry, token: from.models.registry.token } },
  };
}
