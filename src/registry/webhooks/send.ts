import { request as requestHttp } from 'node:http';
import { request as requestHttps } from 'node:https';
import { toSwitchyardError } from '../../shared/errors.ts';
import { resolveDestination, type WebhookPolicy } from './guard.ts';
import { deliveryHeaders } from './signature.ts';

export interface Delivery {
  id: string;
  url: string;
  /** '' = unsigned. */
  secret: string;
  body: string;
}

export interface DeliveryResult {
  /** 0: no answer. */
  status: number;
  /** The beginning of the answer. */
  text: string;
  /** '' = answered. */
  error: string;
  /** Trying again may help. */
  passing: boolean;
}

export const DELIVERY_TIMEOUT_MS = 30_000;
const MAX_ANSWER = 16 * 1024;

/**
 * Posts one delivery to the address its host resolves to now, and to no other: redirects are answers, not ways. Never
 * rejects.
 */
export async function deliver(
  delivery: Delivery,
  policy: WebhookPolicy,
  nowMs: number,
  { timeoutMs = DELIVERY_TIMEOUT_MS, signal }: { timeoutMs?: number; signal?: AbortSignal } = {},
): Promise<DeliveryResult> {
  const timeout = AbortSignal.timeout(timeoutMs);
  const until = signal === undefined ? timeout : AbortSignal.any([timeout, signal]);
  try {
    const { url, address, family } = await resolveDestination(delivery.url, policy);
    const headers = deliveryHeaders(delivery.secret, delivery.id, Math.floor(nowMs / 1000), delivery.body);
    const { status, text } = await post(url, { address, family }, headers, delivery.body, until);
    return { status, text, error: '', passing: status === 429 || status >= 500 };
  } catch (thrown) {
    const { code, message } = toSwitchyardError(thrown);
    const refused = code === 'permission_denied' || code === 'invalid_argument';
    const error = (thrown as Error).name === 'TimeoutError' ? `no answer within ${timeoutMs} ms` : message;
    return { status: 0, text: '', error, passing: !refused };
  }
}

function post(
  url: URL,
  to: { address: string; family: 4 | 6 },
  headers: Record<string, string>,
  body: string,
  signal: AbortSignal,
): Promise<{ status: number; text: string }> {
  const secure = url.protocol === 'https:';
  return new Promise((resolve, reject) => {
    const request = (secure ? requestHttps : requestHttp)(
      url,
      {
        method: 'POST',
        headers: { ...headers, 'Content-Length': String(Buffer.byteLength(body)), 'User-Agent': 'switchyard-webhook' },
        // A connection of its own: a pooled one could lead to an address that was never checked.
        agent: false,
        signal,
        lookup: (_host, options, found) => {
          if (options.all === true) found(null, [to]);
          else found(null, to.address, to.family);
        },
      },
      (response) => {
        const chunks: Buffer[] = [];
        let size = 0;
        const finish = (): void => {
          resolve({ status: response.statusCode ?? 0, text: Buffer.concat(chunks).toString('utf8') });
        };
        response.on('data', (chunk: Buffer) => {
          chunks.push(chunk.subarray(0, MAX_ANSWER - size));
          size += chunk.length;
          if (size < MAX_ANSWER) return;
          finish();
          request.destroy();
        });
        response.on('end', finish);
        response.on('error', reject);
      },
    );
    request.on('error', (error) =>
      reject((error.cause as Error | undefined)?.name === 'TimeoutError' ? error.cause : error),
    );
    request.end(body);
  });
}
