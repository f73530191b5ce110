import type { IncomingMessage, ServerResponse } from 'node:http';
import { pipeline } from 'node:stream/promises';
import type { BlobVault } from '../blobs/vault.ts';
import { attachmentHeader } from './media-type.ts';
import { readRange } from './range.ts';
import type { Artifact } from './tree.ts';

/** Answers a GET or HEAD of an artifact: whole, one range (206, 416), or not again (304). Memory stays flat. */
export async function serveFile(
  vault: BlobVault,
  artifact: Artifact,
  request: IncomingMessage,
  response: ServerResponse,
): Promise<void> {
  const { digest, size } = artifact;
  const etag = `"${digest}"`;
  const headers: string[] = [
    ...['Content-Type', artifact.mediaType],
    ...['Content-Disposition', attachmentHeader(artifact.path)],
    ...['X-Content-Type-Options', 'nosniff'],
    ...['Content-Security-Policy', "default-src 'none'; sandbox"],
    ...['Accept-Ranges', 'bytes'],
    ...['ETag', etag],
    ...['Repr-Digest', `sha-256=:${Buffer.from(digest.slice('sha256:'.length), 'hex').toString('base64')}:`],
    // The path may be given other bytes at any time, so every use asks again; the ETag makes that cheap.
    ...['Cache-Control', 'no-cache'],
  ];
  const { 'if-none-match': known = '', 'if-range': condition = etag, range: asked = '' } = request.headers;
  if (known.split(',').some((tag) => tag.trim() === etag || tag.trim() === '*')) {
    response.writeHead(304, headers).end();
    return;
  }
  const range = condition === etag ? readRange(asked, size) : undefined;
  if (range === 'unsatisfiable') {
    response.writeHead(416, [...headers, 'Content-Range', `bytes */${size}`, 'Content-Length', '0']).end();
    return;
  }
  const length = range === undefined ? size : range.end - range.start + 1;
  headers.push('Content-Length', String(length));
  if (range !== undefined) headers.push('Content-Range', `bytes ${range.start}-${range.end}/${size}`);
  // Opened before the head goes out: a blob that is not there must still become an error answer.
  const body = request.method === 'HEAD' || length === 0 ? undefined : await vault.open(digest, range);
  response.writeHead(range === undefined ? 200 : 206, headers);
  if (body === undefined) response.end();
  else await pipeline(body, response);
}
