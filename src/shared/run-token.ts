import { createHmac, timingSafeEqual } from 'node:crypto';

/** What a job may touch of the registry, and until when. */
export interface RunClaims {
  jobId: string;
  runId: string;
  experimentId: string;
  /** Milliseconds since 1970. */
  expiresAt: number;
}

const PREFIX = 'syrun1';

/** A token that says its own scope. Whoever knows `secret`, the admin token, can make and check it. */
export function signRunToken(secret: string, { jobId, runId, experimentId, expiresAt }: RunClaims): string {
  const body = [PREFIX, jobId, runId, experimentId, expiresAt.toString(36)].join('.');
  return `${body}.${mac(secret, body)}`;
}

/** Whether a text has the form of such a token. */
export function isRunToken(text: string): boolean {
  return text.startsWith(`${PREFIX}.`);
}

/** Undefined: forged, or over. */
export function verifyRunToken(secret: string, token: string, now: number): RunClaims | undefined {
  const end = token.lastIndexOf('.');
  const body = token.slice(0, end);
  const given = Buffer.from(token.slice(end + 1));
  const wanted = Buffer.from(mac(secret, body));
  if (given.length !== wanted.length || !timingSafeEqual(given, wanted)) return undefined;
  const [prefix, jobId, runId, experimentId, expires, ...more] = body.split('.');
  const expiresAt = Number.parseInt(expires ?? '', 36);
  if (prefix !== PREFIX || more.length > 0 || !(expiresAt > now)) return undefined;
  return { jobId, runId, experimentId, expiresAt };
}

function mac(secret: string, body: string): string {
  return createHmac('sha256', `run token ${secret}`).update(body).digest('base64url');
}
