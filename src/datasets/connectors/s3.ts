import { Readable } from 'node:stream';
import { GetObjectCommand, HeadObjectCommand, paginateListObjectsV2, S3ServiceException } from '@aws-sdk/client-s3';
import { Upload } from '@aws-sdk/lib-storage';
import type { S3Connection } from '../../config/datasets-schema.ts';
import { SwitchyardError } from '../../shared/errors.ts';
import { s3Client } from '../../shared/s3-client.ts';
import type { Source } from '../batch.ts';
import { decode, type Format, formatOf } from '../formats/formats.ts';
import type { ReadOptions } from '../reading.ts';
import { chosen } from './files.ts';
import { patternOf } from './glob.ts';
import type { Download } from './http.ts';
import type { Part } from './many.ts';

/** The rows of one object. Throws not_found, permission_denied or unavailable. */
export async function openObject(
  connection: S3Connection,
  key: string,
  format: Format | undefined,
  options: ReadOptions,
): Promise<Source> {
  const kind = format ?? formatOf(key);
  const { stream, size } = await downloadObject(connection, key);
  return decode(kind, { name: key, stream: async () => stream, size }, options);
}

/**
 * The objects that keys and patterns name: key by key, those of a pattern by their names, none twice. Throws as `openObject`
 * does, not_found also where a pattern fits nothing, and invalid_argument.
 */
export async function objectParts(
  connection: S3Connection,
  keys: readonly string[],
  format: Format | undefined,
): Promise<Part[]> {
  const client = s3Client(connection);
  const { bucket } = connection;
  const sizes = new Map<string, number>();
  try {
    for (const key of keys)
      try {
        const pattern = patternOf(key);
        if (pattern === undefined) {
          const { ContentLength = 0 } = await client.send(new HeadObjectCommand({ Bucket: bucket, Key: key }));
          sizes.set(key, ContentLength);
          continue;
        }
        const found = new Map<string, number>();
        // A store's web pages leave empty objects for folders.
        for await (const { Contents = [] } of paginateListObjectsV2(
          { client },
          { Bucket: bucket, Prefix: pattern.prefix },
        ))
          for (const { Key = '', Size = 0 } of Contents)
            if (!Key.endsWith('/') && pattern.fits(Key)) found.set(Key, Size);
        for (const name of chosen([...found.keys()], `s3://${bucket}/${key}`))
          if (!sizes.has(name)) sizes.set(name, found.get(name) as number);
      } catch (error) {
        throw objectError(error, connection, key);
      }
  } finally {
    client.destroy();
  }
  return [...sizes].map(([name, size]) => {
    const kind = format ?? formatOf(name);
    return { name, size, open: (options) => openObject(connection, name, kind, options) };
  });
}

async function downloadObject(connection: S3Connection, key: string): Promise<Download> {
  const client = s3Client(connection);
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
  const client = s3Client(connection);
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
