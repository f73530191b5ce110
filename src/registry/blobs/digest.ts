import { invalidArgument } from '../../shared/errors.ts';

/** A blob's name: `sha256:` and 64 lower-case hexadecimal digits, as OCI writes it. */
export type Digest = `sha256:${string}`;

export function isDigest(text: string): text is Digest {
  return /^sha256:[0-9a-f]{64}$/.test(text);
}

export function digestOf(sha256: Buffer): Digest {
  return `sha256:${sha256.toString('hex')}`;
}

/** The 64 digits, safe as a file name. Throws invalid_argument for anything else, so that no text becomes a path unchecked. */
export function hexOf(digest: string): string {
  if (!isDigest(digest)) {
    throw invalidArgument(
      `digest ${JSON.stringify(digest.slice(0, 100))} is not allowed: use sha256: and 64 lower-case hexadecimal digits`,
    );
  }
  return digest.slice('sha256:'.length);
}

/** What a client may send along to have its upload checked; header names in lower case. */
export const DIGEST_HEADERS = ['x-content-sha256', 'content-digest', 'repr-digest', 'digest'] as const;

/**
 * The digest that a request's headers promise: `X-Content-SHA256: <hex>`, `Content-Digest: sha-256=:<base64>:`
 * (RFC 9530) or `Digest: sha-256=<base64>` (RFC 3230). Undefined when none names SHA-256. Throws invalid_argument for a
 * value that is none of these: a check that was asked for must not be left out silently.
 */
export function expectedDigest(header: (name: string) => string): Digest | undefined {
  let found: Digest | undefined;
  for (const name of DIGEST_HEADERS) {
    const digest = readDigest(name, header(name));
    if (digest === undefined) continue;
    if (found !== undefined && found !== digest) throw invalidArgument(`${name} contradicts another digest header`);
    found = digest;
  }
  return found;
}

function readDigest(name: string, value: string): Digest | undefined {
  if (value === '') return undefined;
  if (name === 'x-content-sha256') {
    const hex = value.replace(/^sha256:/, '').toLowerCase();
    if (/^[0-9a-f]{64}$/.test(hex)) return `sha256:${hex}`;
    throw badDigest(name, value, '64 hexadecimal digits');
  }
  for (const item of value.split(',')) {
    const entry = /^\s*sha-256\s*=(.*)$/i.exec(item);
    if (entry === null) continue;
    const base64 = entry[1].trim().replace(/^:(.*):$/, '$1');
    const bytes = Buffer.from(base64, 'base64');
    if (bytes.length !== 32 || bytes.toString('base64') !== base64) throw badDigest(name, value, 'base64 of 32 bytes');
    return digestOf(bytes);
  }
  if (/^\s*sha-256\b/i.test(value)) throw badDigest(name, value, 'sha-256=<base64>');
  return undefined;
}

function badDigest(name: string, value: string, allowed: string): Error {
  return invalidArgument(`${name} ${JSON.stringify(value.slice(0, 120))} is not allowed; give ${allowed}`);
}
