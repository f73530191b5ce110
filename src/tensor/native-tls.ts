import { createHash } from 'node:crypto';
import { DEFAULT_CIPHERS, DEFAULT_MAX_VERSION } from 'node:tls';
import type { NativeTlsOptions } from './native.ts';

const TLS_1_2 = 0x303;
const TLS_1_3 = 0x304;
const CLIENTS = { none: 0, request: 1, require: 2 };

/** PEM texts. */
export interface TlsTexts {
  cert: string | Buffer;
  key: string | Buffer;
  /** Of the authorities that sign client certificates. */
  ca?: string | Buffer;
  /** 'require' refuses connections without a certificate of `ca`; 'request' takes both. */
  clientCertificates?: 'none' | 'request' | 'require';
}

/** What node's TLS would make of the options and its own defaults, in OpenSSL's terms. */
export function nativeTls(tls: TlsTexts): NativeTlsOptions {
  const clients = tls.clientCertificates ?? 'none';
  const [cert, key, ca] = [tls.cert, tls.key, tls.ca ?? ''].map((pem) => pem.toString('utf8'));
  const policy = cipherPolicy(DEFAULT_CIPHERS, DEFAULT_MAX_VERSION);
  const parts = JSON.stringify([cert, ca, clients, policy]);
  return {
    cert,
    key,
    ca,
    clients: CLIENTS[clients],
    ...policy,
    sessionContext: createHash('sha256').update(parts).digest('hex').slice(0, 32),
  };
}

/**
 * OpenSSL has two lists where node has one (`--tls-cipher-list`), and a version that has no ciphers is not offered.
 *
 * @param list names and selectors between colons; those of TLS 1.3 begin with TLS_
 */
export function cipherPolicy(
  list: string,
  newest: string,
): Pick<NativeTlsOptions, 'ciphers' | 'suites' | 'minVersion' | 'maxVersion'> {
  const names = list.split(':').filter((name) => name !== '');
  const ciphers = names.filter((name) => !name.startsWith('TLS_')).join(':');
  const suites = names.filter((name) => name.startsWith('TLS_')).join(':');
  const maxVersion = newest === 'TLSv1.3' && suites !== '' ? TLS_1_3 : TLS_1_2;
  return { ciphers, suites, minVersion: ciphers === '' ? maxVersion : TLS_1_2, maxVersion };
}
