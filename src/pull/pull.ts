import { readFileSync } from 'node:fs';
import { hostname, totalmem } from 'node:os';
import type { PullConfig } from '../config/pull-schema.ts';
import { trustedKey } from '../registry/manifest/signature.ts';
import type { ServingFacts } from '../registry/serving/requirements.ts';
import type { Serving } from '../registry/serving/serving.ts';
import { USABLE_CORES } from '../shared/usable-cores.ts';
import { EmbeddedSource } from './embedded-source.ts';
import { type FollowerParts, RegistryFollower } from './follower.ts';
import { gatewayIdOf, pullFolder } from './gateway-id.ts';
import { readCertificates } from './registry-http.ts';
import { RemoteSource } from './remote-source.ts';
import { VersionStore } from './version-store.ts';

export interface PullParts extends Pick<FollowerParts, 'provide' | 'index' | 'prove' | 'traffic' | 'onMoved' | 'log'> {
  dataDir: string;
  /** For the registry of another server, as it is configured now; '' = none. */
  registryToken(): string;
  /** The registry of this process, for a configuration without url. */
  serving(): Promise<Serving>;
  programVersion: string;
  /** Name → version. */
  runtimes: Readonly<Record<string, string>>;
  providers: readonly string[];
  gpus: number;
  /** Whether a model of this name is served here. */
  hasModel(name: string): boolean;
  /** 0: no limit. */
  memoryBudgetBytes: number;
}

/** A gateway's side of the registry, wired. Paths of keys and certificates are absolute. Rejects when one cannot be read. */
export async function createPull(config: PullConfig, parts: PullParts): Promise<RegistryFollower> {
  const folder = pullFolder(parts.dataDir);
  const source =
    config.url === undefined
      ? new EmbeddedSource(parts.serving)
      : new RemoteSource({ url: config.url, token: parts.registryToken, ssl: config.ssl });
  // Told at the start, not when the registry is asked first.
  if (config.ssl !== undefined) await readCertificates(config.ssl);
  const keys = config.trustedKeys.map((file) => trustedKey(readFileSync(file)));
  const follow = {
    models: config.follow.map(({ name, alias, served = name }) => ({ name, alias, served })),
    everyAlias: config.follow.length === 0 ? config.alias : '',
  };
  const { provide, index, prove, traffic, onMoved, log } = parts;
  return new RegistryFollower({
    source,
    store: new VersionStore(folder, keys),
    follow,
    folder,
    keepVersions: config.keepVersions,
    facts: () => factsOf(parts),
    provide,
    index,
    prove,
    traffic,
    onMoved,
    log,
    gateway: {
      gateway_id: await gatewayIdOf(config, parts.dataDir),
      host: hostname(),
      program_version: parts.programVersion,
      started_at: Date.now(),
    },
  });
}

function factsOf({ runtimes, providers, gpus, memoryBudgetBytes, hasModel }: PullParts): ServingFacts {
  return {
    runtimes,
    providers,
    memoryBytes: memoryBudgetBytes > 0 ? memoryBudgetBytes : totalmem(),
    architecture: process.arch,
    cpus: USABLE_CORES,
    gpus,
    hasModel,
  };
}
