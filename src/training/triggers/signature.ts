import { createHmac, timingSafeEqual } from 'node:crypto';
import { SwitchyardError } from '../../shared/errors.ts';

/** A request's timestamp may differ by so much from ours: an older one was recorded and is played again. */
const MAX_SKEW_MS = 5 * 60_000;
const MAX_REMEMBERED = 200;

/** What checkSignature reads. */
export const SIGNATURE_HEADERS = [
  'x-switchyard-signature',
  'x-switchyard-delivery',
  'x-switchyard-timestamp',
  'x-hub-signature-256',
] as const;

export interface SignedRequest {
  /** In lower case. */
  header(name: string): string;
  body: Uint8Array;
}

const hmac = (secret: string, ...parts: (string | Uint8Array)[]): Buffer => {
  const mac = createHmac('sha256', secret);
  for (const part of parts) mac.update(part);
  return mac.digest();
};

const equal = (a: Buffer, b: Buffer): boolean => a.length === b.length && timingSafeEqual(a, b);

/**
 * Checks that who knows the secret sent a request, and not again. Two forms: `X-Switchyard-Signature: v1,<base64>` of
 * HMAC-SHA256 over "<X-Switchyard-Delivery>.<X-Switchyard-Timestamp, seconds>.<body>"; and GitHub's
 * `X-Hub-Signature-256: sha256=<hex>` over the body.
 *
 * @param delivered ids of requests that came before
 * @returns the ids to remember now
 * @throws permission_denied for a wrong or missing signature; conflict for a request that came before
 */
export function checkSignature(
  { header, body }: SignedRequest,
  secret: string,
  delivered: readonly string[],
  now: number,
): string[] {
  const own = header('x-switchyard-signature');
  const hub = header('x-hub-signature-256');
  let delivery: string;
  if (own !== '') {
    delivery = header('x-switchyard-delivery');
    const timestamp = header('x-switchyard-timestamp');
    const given = Buffer.from(own.replace(/^v1,/, ''), 'base64');
    if (delivery === '' || !equal(given, hmac(secret, `${delivery}.${timestamp}.`, body))) throw wrong();
    if (!/^\d{1,12}$/.test(timestamp) || Math.abs(Number(timestamp) * 1000 - now) > MAX_SKEW_MS)
      throw new SwitchyardError(
        'permission_denied',
        `X-Switchyard-Timestamp ${JSON.stringify(timestamp.slice(0, 20))} is more than five minutes from now; send seconds since 1970 of when the request is made`,
      );
  } else if (hub !== '') {
    const digest = hmac(secret, body);
    if (!equal(Buffer.from(hub.replace(/^sha256=/, ''), 'hex'), digest)) throw wrong();
    // GitHub signs no id of the delivery; bodies of two events differ.
    delivery = digest.toString('hex');
  } else {
    throw new SwitchyardError(
      'permission_denied',
      'the request is not signed; send X-Switchyard-Signature with X-Switchyard-Timestamp and X-Switchyard-Delivery, or X-Hub-Signature-256',
    );
  }
  if (delivered.includes(delivery))
    throw new SwitchyardError(
      'conflict',
      `delivery ${JSON.stringify(delivery.slice(0, 80))} came before; nothing was done`,
    );
  return [...delivered, delivery].slice(-MAX_REMEMBERED);
}

function wrong(): SwitchyardError {
  return new SwitchyardError(
    'permission_denied',
    "the signature does not fit the body; sign the body as sent with the trigger's secret",
  );
}
