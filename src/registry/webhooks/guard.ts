import { lookup } from 'node:dns/promises';
import { BlockList, isIP } from 'node:net';
import { SwitchyardError } from '../../shared/errors.ts';

/** Where webhooks may go. */
export interface WebhookPolicy {
  schemes: readonly string[];
  /** "host", "host:port" or "*.suffix"; empty: any. */
  hosts: readonly string[];
  /** "host" or "host:port" that may resolve to private, loopback or link-local addresses. */
  privateHosts: readonly string[];
  /** In messages: whose URL it is, and the section of the configuration. Default: a webhook's. */
  subject?: string | undefined;
  setting?: string | undefined;
}

export interface Destination {
  url: URL;
  /** The one to connect to: resolving the name again could give another. */
  address: string;
  family: 4 | 6;
}

type Resolve = (host: string) => Promise<readonly { address: string; family: number }[]>;

const resolveByDns: Resolve = (host) => lookup(host, { all: true, verbatim: true });
const MAX_URL = 2048;

/** Every IPv4 range that is not for hosts of the public internet. */
const PRIVATE_V4 = blockList('ipv4', [
  ['0.0.0.0', 8],
  ['10.0.0.0', 8],
  ['100.64.0.0', 10],
  ['127.0.0.0', 8],
  ['169.254.0.0', 16],
  ['172.16.0.0', 12],
  ['192.0.0.0', 24],
  ['192.0.2.0', 24],
  ['192.88.99.0', 24],
  ['192.168.0.0', 16],
  ['198.18.0.0', 15],
  ['198.51.100.0', 24],
  ['203.0.113.0', 24],
  ['224.0.0.0', 3],
]);
const GLOBAL_V6 = blockList('ipv6', [['2000::', 3]]);
/** Inside the global range, but special, documentation or a wrapping of an IPv4 address. */
const SPECIAL_V6 = blockList('ipv6', [
  ['2001::', 23],
  ['2001:db8::', 32],
  ['2002::', 16],
  ['3fff::', 20],
]);

/** True for an address of the public internet. Transition forms that carry an IPv4 address never are, except mapped ones. */
export function isPublicAddress(address: string): boolean {
  if (isIP(address) === 4) return !PRIVATE_V4.check(address, 'ipv4');
  if (isIP(address) !== 6 || address.includes('%')) return false;
  const mapped = mappedV4(address);
  if (mapped !== undefined) return isPublicAddress(mapped);
  return GLOBAL_V6.check(address, 'ipv6') && !SPECIAL_V6.check(address, 'ipv6');
}

/** Reads a webhook's URL and checks what can be known without resolving it. Throws permission_denied or invalid_argument. */
export function checkWebhookUrl(text: string, policy: WebhookPolicy): URL {
  if (text.length > MAX_URL || !URL.canParse(text))
    throw refused(
      policy,
      text,
      'is not an absolute URL',
      `give ${policy.schemes[0]}://host/path of up to ${MAX_URL} characters`,
    );
  const url = new URL(text);
  const scheme = url.protocol.slice(0, -1);
  if (!policy.schemes.includes(scheme))
    throw refused(
      policy,
      text,
      `has the scheme "${scheme}"`,
      `allowed: ${policy.schemes.join(', ')} (${settingOf(policy)}.schemes)`,
    );
  if (url.username !== '' || url.password !== '')
    throw refused(policy, text, 'carries credentials', 'use a secret, which signs every delivery');
  if (url.hostname === '') throw refused(policy, text, 'names no host', `give ${scheme}://host/path`);
  if (policy.hosts.length > 0 && !policy.hosts.some((entry) => names(entry, url)))
    throw refused(
      policy,
      text,
      `names the host "${url.host}"`,
      `allowed: ${policy.hosts.join(', ')} (${settingOf(policy)}.hosts)`,
    );
  const literal = literalOf(url);
  if (literal !== undefined) checkAddress(url, literal, policy);
  return url;
}

/**
 * Resolves the destination of a delivery, once. Every address of the name must be allowed, so that an attacker's name
 * server cannot win by order. Throws permission_denied, invalid_argument, or unavailable when the name does not resolve.
 */
export async function resolveDestination(
  text: string,
  policy: WebhookPolicy,
  resolve: Resolve = resolveByDns,
): Promise<Destination> {
  const url = checkWebhookUrl(text, policy);
  const literal = literalOf(url);
  if (literal !== undefined) return { url, address: literal, family: isIP(literal) as 4 | 6 };
  const found = await resolve(url.hostname).catch((error: unknown) => {
    const code = (error as NodeJS.ErrnoException).code ?? 'no answer';
    throw new SwitchyardError(
      'unavailable',
      `${policy.subject ?? 'webhook'} host "${url.hostname}" does not resolve (${code})`,
    );
  });
  if (found.length === 0)
    throw new SwitchyardError('unavailable', `${policy.subject ?? 'webhook'} host "${url.hostname}" has no address`);
  for (const { address } of found) checkAddress(url, address, policy);
  const [{ address, family }] = found;
  return { url, address, family: family === 6 ? 6 : 4 };
}

function checkAddress(url: URL, address: string, policy: WebhookPolicy): void {
  if (isPublicAddress(address) || policy.privateHosts.some((entry) => names(entry, url))) return;
  throw refused(
    policy,
    url.href,
    `leads to ${address}, which is no address of the public internet`,
    `list the host in ${settingOf(policy)}.privateHosts if that is meant`,
  );
}

/** Whether an entry of the configuration names the URL's host. */
function names(entry: string, url: URL): boolean {
  const wanted = entry.toLowerCase();
  const host = url.hostname.replace(/\.$/, '');
  if (wanted.startsWith('*.')) return host.endsWith(wanted.slice(1));
  const port = url.port === '' ? (url.protocol === 'https:' ? '443' : '80') : url.port;
  return wanted === host || wanted === `${host}:${port}`;
}

/** The address when the host is one; URL parsing has already unified octal, hexadecimal and short forms. */
function literalOf(url: URL): string | undefined {
  const bare = url.hostname.replace(/^\[(.*)\]$/, '$1');
  return isIP(bare) === 0 ? undefined : bare;
}

/** The IPv4 address of ::ffff:a.b.c.d, in whichever notation. */
function mappedV4(address: string): string | undefined {
  const canonical = new URL(`http://[${address}]/`).hostname.slice(1, -1);
  const hex = /^::ffff:([0-9a-f]{1,4}):([0-9a-f]{1,4})$/.exec(canonical);
  if (hex === null) return undefined;
  const [high, low] = [Number.parseInt(hex[1], 16), Number.parseInt(hex[2], 16)];
  return [high >> 8, high & 255, low >> 8, low & 255].join('.');
}

function blockList(family: 'ipv4' | 'ipv6', ranges: readonly (readonly [string, number])[]): BlockList {
  const list = new BlockList();
  for (const [net, prefix] of ranges) list.addSubnet(net, prefix, family);
  return list;
}

function settingOf({ setting = 'registry.webhooks' }: WebhookPolicy): string {
  return setting;
}

function refused({ subject = 'webhook' }: WebhookPolicy, url: string, what: string, next: string): SwitchyardError {
  return new SwitchyardError(
    'permission_denied',
    `${subject} URL ${JSON.stringify(url.slice(0, 200))} ${what}; ${next}`,
  );
}
