import { isIPv4 } from 'node:net';
import { parseUrls } from '../backends/remote/urls.ts';
import { SwitchyardError } from '../shared/errors.ts';
import { isRemote } from './config/backends.ts';
import type { RawConfig } from './config/map.ts';
import { asRawModel } from './config/raw-types.ts';

/**
 * Refuses a load request's configuration that would make the server connect to a host of the sender's choice: allowed
 * are loopback and `listed` ("host" or "host:port"). Configurations in a repository are the operator's own and are not
 * checked. Throws permission_denied naming the host, or invalid_argument for a malformed `url`.
 */
export function checkRemoteHosts(source: RawConfig, model: string, listed: readonly string[]): void {
  const raw = asRawModel(source);
  if (!isRemote(raw.backend ?? '') && !isRemote(raw.platform ?? '')) return;
  for (const address of parseUrls(raw.parameters?.url?.string_value ?? '', model).addresses) {
    if (isAllowedAddress(address, listed)) continue;
    const message =
      `model "${model}" names the remote server "${address}": the configuration of a load request may name loopback ` +
      'and hosts of models.remoteHosts; list the host there, or put the configuration into a repository';
    throw new SwitchyardError('permission_denied', message);
  }
}

/** Whether "host:port" is loopback or listed. Names are compared, never resolved: what is listed is trusted as named. */
export function isAllowedAddress(address: string, listed: readonly string[]): boolean {
  const lower = address.toLowerCase();
  const host = lower.slice(0, lower.lastIndexOf(':'));
  if (host === 'localhost' || host === '[::1]' || (isIPv4(host) && host.startsWith('127.'))) return true;
  return listed.some((entry) => entry.toLowerCase() === host || entry.toLowerCase() === lower);
}
