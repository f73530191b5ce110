import { isIP } from 'node:net';

const MIN_TOKEN_LENGTH = 16;

/** True for a host name or address that only this machine reaches. */
export function isLoopback(host: string): boolean {
  const name = host.toLowerCase();
  if (name === 'localhost' || name === '::1' || name === '[::1]') return true;
  return isIP(name) === 4 && name.startsWith('127.');
}

/** Why the admin port must not be opened so: anyone on the network could administer the server. Undefined: it may. */
export function adminBindingProblem(server: {
  adminHost: string;
  adminToken?: string;
}): { field: 'adminHost' | 'adminToken'; message: string } | undefined {
  const { adminHost, adminToken } = server;
  if (adminToken === undefined) {
    if (isLoopback(adminHost)) return undefined;
    const message = `${JSON.stringify(adminHost)} is reachable from other machines; set server.adminToken too, or use 127.0.0.1`;
    return { field: 'adminHost', message };
  }
  if (adminToken.length >= MIN_TOKEN_LENGTH) return undefined;
  const message = `has ${adminToken.length} characters; use at least ${MIN_TOKEN_LENGTH}, such as the output of: openssl rand -hex 32`;
  return { field: 'adminToken', message };
}
