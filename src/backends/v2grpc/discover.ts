import { credentials } from '@grpc/grpc-js';
import type { ModelSignature } from '../../config/model-config.ts';
import { toSwitchyardError } from '../../shared/errors.ts';
import { ReplicaChannels } from '../remote/channels.ts';
import { parseUrls } from '../remote/urls.ts';
import { describeModel, repositoryIndex } from './client.ts';

const TIMEOUT_MS = 10_000;

export interface DiscoveredModel {
  name: string;
  /** Ready versions, ascending. */
  versions: string[];
  /** dims without the batch dimension where `maxBatchSize` > 0. */
  signature: ModelSignature;
  maxBatchSize: number;
  decoupled: boolean;
}

/**
 * Every ready model of a remote v2 server, so that they can be served as ours. Any replica of `url` may answer; the
 * first one that does is asked.
 * @throws SwitchyardError unavailable when none answers, unsupported when the server has no repository index
 */
export async function discoverModels(url: string): Promise<DiscoveredModel[]> {
  const { addresses, tls } = parseUrls(url, '*');
  let last: unknown;
  for (const address of addresses) {
    const channels = new ReplicaChannels(address, tls ? credentials.createSsl() : credentials.createInsecure(), 1);
    try {
      return await discoverOn(channels);
    } catch (error) {
      last = error;
    } finally {
      channels.close();
    }
  }
  throw toSwitchyardError(last);
}

async function discoverOn(channels: ReplicaChannels): Promise<DiscoveredModel[]> {
  const versions = new Map<string, string[]>();
  for (const entry of await repositoryIndex(channels, TIMEOUT_MS)) {
    // MLServer prints the name of its enumeration in front.
    if (entry.state !== '' && !/^(\w+\.)?READY$/.test(entry.state)) continue;
    const known = versions.get(entry.name);
    if (known === undefined) versions.set(entry.name, [entry.version]);
    else known.push(entry.version);
  }
  const models: DiscoveredModel[] = [];
  for (const [name, list] of versions) {
    const signature = await describeModel(channels, name, '', TIMEOUT_MS);
    const { maxBatchSize = 0, decoupled = false } = signature;
    const strip = maxBatchSize > 0 ? 1 : 0;
    const inner = (specs: typeof signature.inputs) => specs.map((spec) => ({ ...spec, dims: spec.dims.slice(strip) }));
    models.push({
      name,
      versions: list.sort((a, b) => Number(a) - Number(b)),
      signature: { inputs: inner(signature.inputs), outputs: inner(signature.outputs), maxBatchSize },
      maxBatchSize,
      decoupled,
    });
  }
  return models;
}
