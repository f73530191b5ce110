/** Where a server is and how to prove who asks. */
export interface ClientOptions {
  /** Such as "http://127.0.0.1:8080". */
  url: string;
  /** Sent as "Authorization: Bearer …". */
  token?: string;
  /** Milliseconds for a whole call. Default 60 s. */
  timeoutMs?: number;
}

/** A call that failed: refused by the server (`status` > 0, with its code), or never answered (`status` 0). */
export class ClientError extends Error {
  readonly status: number;
  /** The server's stable error code; "unreachable" or "timeout" when there was no answer. */
  readonly code: string;

  constructor(status: number, code: string, message: string) {
    super(message);
    this.name = 'ClientError';
    this.status = status;
    this.code = code;
  }
}

/** Sends one request and resolves with the answer's text. Rejects with ClientError. */
export async function send(
  options: ClientOptions,
  method: string,
  path: string,
  body?: string,
): Promise<{ text: string; headers: Headers }> {
  const timeoutMs = options.timeoutMs ?? 60_000;
  const headers: Record<string, string> = {};
  if (options.token !== undefined) headers.authorization = `Bearer ${options.token}`;
  if (body !== undefined) headers['content-type'] = 'application/json';
  let response: Response;
  let text: string;
  try {
    const url = options.url.replace(/\/+$/, '') + path;
    response = await fetch(url, { method, headers, body, signal: AbortSignal.timeout(timeoutMs), redirect: 'error' });
    text = await response.text();
  } catch (error) {
    throw unanswered(error as Error, options.url, timeoutMs);
  }
  if (!response.ok) throw refusedAnswer(response, text, options.url);
  return { text, headers: response.headers };
}

export function unanswered(error: Error, url: string, timeoutMs: number): ClientError {
  if (error.name === 'TimeoutError')
    return new ClientError(0, 'timeout', `${url} did not answer within ${timeoutMs} ms`);
  const cause = error.cause as { code?: string; message?: string } | undefined;
  return new ClientError(
    0,
    'unreachable',
    `${url} cannot be reached: ${cause?.code ?? cause?.message ?? error.message}`,
  );
}

/** What a server refused with: our own form of errors, or MLflow's. */
export function refusedAnswer(response: Response, text: string, url: string): ClientError {
  try {
    const body = JSON.parse(text) as Record<string, unknown>;
    const message = body.error ?? body.message;
    const code = body.code ?? body.error_code;
    if (typeof message === 'string')
      return new ClientError(response.status, typeof code === 'string' ? code : `http_${response.status}`, message);
  } catch {
    // Not one of our errors: the status alone tells.
  }
  return new ClientError(response.status, `http_${response.status}`, `${url} answered ${response.status}`);
}

/** The text as JSON. Throws ClientError when it is none: something else than the server answered. */
export function parseAnswer<T>(text: string, url: string): T {
  try {
    return JSON.parse(text) as T;
  } catch {
    throw new ClientError(0, 'unreachable', `${url} did not answer with JSON; is it a Switchyard server?`);
  }
}
