import { createHmac } from 'node:crypto';

/** MLflow's headers of a delivery. `timestamp`: seconds since the epoch. Without a secret nothing is signed. */
export function deliveryHeaders(secret: string, id: string, timestamp: number, body: string): Record<string, string> {
  return {
    'Content-Type': 'application/json',
    'X-MLflow-Delivery-Id': id,
    'X-MLflow-Timestamp': String(timestamp),
    ...(secret === '' ? {} : { 'X-MLflow-Signature': sign(secret, id, timestamp, body) }),
  };
}

function sign(secret: string, id: string, timestamp: number, body: string): string {
  return `v1,${createHmac('sha256', secret).update(`${id}.${timestamp}.${body}`).digest('base64')}`;
}
