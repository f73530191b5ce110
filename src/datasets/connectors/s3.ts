import { Readable } from 'node:stream';
import { GetObjectCommand, S3Client, S3ServiceException } from '@aws-sdk/client-s3';
import { Upload } from '@aws-sdk/lib-storage';
import type { S3Connection } from '../../config/datasets-schema.ts';
import { SwitchyardError } from '../../shared/errors.ts';
import type { Download } from './http.ts';

function clientOf({ region, pathStyle, endpoint, accessKeyId, secretAccessKey }: S3Connection): S3Client {
  return new S3Client({
    region,
    forcePathStyle: pathStyle,
    ...(endpoint === undefined ? {} : { endpoint }),
    ...(accessKeyId === undefined || secretAccessKey === undefined
      ? {}
      : { credentials: { accessKeyId, secretAccessKey } }),
  });
}

/** One object of a bucket. Throws not_found, permission_denied or unavailable. */
export async function downloadObject(connection: S3Connection, key: string): Promise<Download> {
  const client = clientOf(connection);
  try {
    const { Body, ContentLength } = await client.send(new GetObjectCommand({ Bucket: connection.bucket, Key: key }));
    const stream = Body as Readable;
    stream.once('close', () => client.destroy());
    return { stream, size: ContentLength };
  } catch (error) {
    client.destroy();
    throw objectError(error, connection, key);
  }
}

/** Writes an object, in parts as the bytes come. It is there whole or not at all. */
export async function uploadObject(
  connection: S3Connection,
  key: string,
  bytes: AsyncIterable<Uint8Array>,
  mediaType: string,
): Promise<void> {
  const client = clientOf(connection);
  try {
    const params = {
      Bucket: connection.bucket,
      Key: key,
      Body: Readable.from(bytes, { objectMode: false }),
      ContentType: mediaType,
    };
    await new Upload({ client, params, queueSize: 2 }).done();
  } catch (error) {
    throw objectError(error, connection, key);
  } finally {
    client.destroy();
  }
}

function objectError(error: unknown, { bucket }: S3Connection, key: string): SwitchyardError {
  if (error instanceof SwitchyardError) return error;
  const place = `s3://${bucket}/${key}`;
  const status = error instanceof S3ServiceException ? (error.$metadata.httpStatusCode ?? 0) : 0;
  if (status === 404)
    return new SwitchyardError('not_found', `${place}: there is no such object or bucket; correct the key`);
  if (status === 401 || status === 403)
    return new SwitchyardError(
      'permission_denied',
      `${place}: the store refuses access; correct the connection's keys`,
    );
  return new SwitchyardError('unavailable', `${place} cannot be reached: ${(error as Error).message}`, {
    cause: error,
  });
}
