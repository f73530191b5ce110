import { invalidArgument } from '../../shared/errors.ts';

/** Addresses of a comma-separated list; one scheme for all of them. */
export function parseUrls(list: string, model: string): { addresses: string[]; tls: boolean } {
  const addresses: string[] = [];
  const schemes = new Set<string>();
  for (const part of list.split(',')) {
    const text = part.trim();
    if (text === '') continue;
    const match = /^(?:(grpcs?):\/\/)?((?:[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\]):\d{1,5})\/?$/.exec(text);
    if (match === null || Number(match[2].slice(match[2].lastIndexOf(':') + 1)) > 65_535) {
      throw invalidArgument(
        `parameter "url" of model "${model}" has "${text}"; allowed: host:port, grpc://host:port or grpcs://host:port, comma-separated`,
      );
    }
    schemes.add(match[1] ?? 'grpc');
    if (!addresses.includes(match[2])) addresses.push(match[2]);
  }
  if (addresses.length === 0) {
    throw invalidArgument(
      `model "${model}" needs the parameter "url": host:port of its remote server, comma-separated`,
    );
  }
  if (schemes.size > 1) throw invalidArgument(`parameter "url" of model "${model}" mixes grpc:// and grpcs://`);
  return { addresses, tls: schemes.has('grpcs') };
}
