import { z } from 'zod';
import { isDigest } from '../blobs/digest.ts';
import { invalidParameter, shown } from '../errors.ts';
import { required } from '../rest/fields.ts';
import { jsonRoute, type RestRoute, type StreamCall } from '../rest/route.ts';
import { answer, orDrain } from './routes.ts';
import type { Upload, Uploads } from './uploads.ts';
import { checkWritablePath } from './version-tree.ts';

const UPLOADS = '/api/v1/registry/uploads';

/**
 * Resumable uploads: POST announces one, PATCH appends at `Upload-Offset`, GET tells how far it has come. The PATCH that
 * brings the last byte answers the artifact. The header names are those of the tus protocol.
 */
export function uploadRoutes(uploads: Uploads): RestRoute[] {
  return [
    jsonRoute({
      method: 'POST',
      path: UPLOADS,
      operationId: 'createUpload',
      summary: 'Announce an upload in several requests: artifact path, size, and if known its sha256 digest',
      request: z.object({
        path: required,
        size: z.int().min(0),
        digest: z.string().refine(isDigest, 'use sha256: and 64 lower-case hexadecimal digits').optional(),
        media_type: z.string().max(127).default(''),
      }),
      handle: async ({ path, size, digest, media_type }) =>
        shownUpload(await uploads.create(checkWritablePath(path), size, media_type, digest)),
    }),
    {
      method: 'GET',
      path: `${UPLOADS}/{id}`,
      operationId: 'getUpload',
      summary: 'How far an upload has come; HEAD answers the same in Upload-Offset and Upload-Length',
      stream: async (call) => {
        const upload = await uploads.get(call.params.id);
        offsetHeaders(call, upload);
        answer(call, shownUpload(upload));
      },
    },
    {
      method: 'PATCH',
      path: `${UPLOADS}/{id}`,
      operationId: 'appendUpload',
      summary: 'Append the body at the header Upload-Offset. What came stays when the connection breaks',
      stream: (call) =>
        orDrain(call, async () => {
          const { upload, artifact } = await uploads.append(call.params.id, offsetOf(call), call.request);
          offsetHeaders(call, upload);
          answer(call, { ...shownUpload(upload), ...(artifact === undefined ? {} : { digest: artifact.digest }) });
        }),
    },
    {
      method: 'DELETE',
      path: `${UPLOADS}/{id}`,
      operationId: 'abortUpload',
      summary: 'End an upload and forget what came',
      stream: async (call) => {
        await uploads.abort(call.params.id);
        answer(call, {});
      },
    },
  ];
}

function shownUpload({ id, path, size, received }: Upload): object {
  return { upload_id: id, path, size, offset: received, complete: received === size };
}

function offsetHeaders({ response }: StreamCall, { received, size }: Upload): void {
  response.setHeader('Upload-Offset', String(received));
  response.setHeader('Upload-Length', String(size));
}

function offsetOf({ request }: StreamCall): number {
  const header = String(request.headers['upload-offset'] ?? '');
  if (!/^\d{1,15}$/.test(header))
    throw invalidParameter(`Upload-Offset ${shown(header)} is not allowed; send the number of bytes sent before`);
  return Number(header);
}
