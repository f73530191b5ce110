import { createReadStream } from 'node:fs';
import { type IncomingMessage, request as requestHttp } from 'node:http';
import { request as requestHttps } from 'node:https';
import type { Readable } from 'node:stream';
import type { DatasetsConfig } from '../../config/datasets-schema.ts';
import { type Destination, resolveDestination } from '../../registry/webhooks/guard.ts';
import { SwitchyardError } from '../../shared/errors.ts';

const MAX_REDIRECTS = 5;
/** Without a byte from the server. */
const IDLE_MS = 60_000;

export interface Download {
  stream: Readable;
  size: number | undefined;
}

/**
 * GET of a URL that requests may name. The address it resolves to is checked and is the one that is connected to; each
 * redirect is checked anew. Throws permission_denied, unavailable, or failed_precondition with the status.
 */
export async function download(
  url: string,
  headers: Readonly<Record<string, string>>,
  policy: DatasetsConfig['http'],
): Promise<Download> {
  let next = url;
  for (let i = 0; i <= MAX_REDIRECTS; i++) {
    const destination = await resolveDestination(next, { ...policy, subject: 'dataset', setting: 'datasets.http' });
    // What was meant for one host is not told to another one.
    const same = new URL(url).origin === destination.url.origin;
    const response = await ask(destination, 'GET', same ? headers : {});
    const { statusCode = 0, headers: answered } = response;
    if (statusCode >= 300 && statusCode < 400 && answered.location !== undefined) {
      response.destroy();
      next = new URL(answered.location, destination.url).href;
      continue;
    }
    if (statusCode === 200) {
      const length = Number(answered['content-length'] ?? Number.NaN);
      return { stream: response, size: Number.isSafeInteger(length) ? length : undefined };
    }
    response.destroy();
    throw new SwitchyardError(
      'failed_precondition',
      `${destination.url.origin}${destination.url.pathname} answered ${statusCode}; correct the address or its access`,
    );
  }
  throw new SwitchyardError(
    'failed_precondition',
    `${url} leads on to other addresses more than ${MAX_REDIRECTS} times`,
  );
}

interface File {
  path: string;
  size: number;
  mediaType: string;
}

/**
 * PUT or POST of a whole file to a URL that requests may name; any 2xx is success. Nothing is sent on to another address.
 * Throws as {@link download}.
 */
export async function upload(
  url: string,
  method: 'PUT' | 'POST',
  headers: Readonly<Record<string, string>>,
  { path, size, mediaType }: File,
  policy: DatasetsConfig['http'],
): Promise<void> {
  const destination = await resolveDestination(url, { ...policy, subject: 'dataset', setting: 'datasets.http' });
  const more = { 'Content-Type': mediaType, ...headers, 'Content-Length': String(size) };
  const response = await ask(destination, method, more, createReadStream(path));
  const { statusCode = 0 } = response;
  response.destroy();
  if (statusCode >= 200 && statusCode < 300) return;
  const place = destination.url.origin + destination.url.pathname;
  throw new SwitchyardError(
    'failed_precondition',
    `${place} answered ${statusCode} to the ${method}; correct the address, its access or the method`,
  );
}

function ask(
  { url, address, family }: Destination,
  method: string,
  headers: Readonly<Record<string, string>>,
  body?: Readable,
): Promise<IncomingMessage> {
  return new Promise((resolve, reject) => {
    const request = (url.protocol === 'https:' ? requestHttps : requestHttp)(
      url,
      {
        method,
        headers: { ...headers, 'User-Agent': 'switchyard-datasets', 'Accept-Encoding': 'identity' },
        agent: false,
        lookup: (_host, options, found) => {
          if (options.all === true) found(null, [{ address, family }]);
          else found(null, address, family);
        },
      },
      (response) => {
        response.setTimeout(IDLE_MS, () => response.destroy(stalled(url)));
        resolve(response);
      },
    );
    request.setTimeout(IDLE_MS, () => request.destroy(stalled(url)));
    request.on('error', (error: NodeJS.ErrnoException) =>
      reject(
        error instanceof SwitchyardError
          ? error
          : new SwitchyardError('unavailable', `${url.origin} cannot be reached: ${error.code ?? error.message}`),
      ),
    );
    request.once('close', () => body?.destroy());
    if (body === undefined) request.end();
    else body.once('error', (error) => request.destroy(error)).pipe(request);
  });
}

function stalled(url: URL): SwitchyardError {
  return new SwitchyardError('unavailable', `${url.origin} sent nothing for ${IDLE_MS / 1000} s; try again later`);
}
