import { S3Client } from '@aws-sdk/client-s3';

export interface S3Access {
  /** Absent: AWS itself. */
  endpoint?: string | undefined;
  region: string;
  /** The bucket in the path instead of the host name, as MinIO wants it. */
  pathStyle: boolean;
  /** Absent: the SDK's own chain (environment, profile, instance role). */
  accessKeyId?: string | undefined;
  secretAccessKey?: string | undefined;
}

/** @param more settings of the SDK, such as `maxAttempts` */
export function s3Client(
  { region, pathStyle, endpoint, accessKeyId, secretAccessKey }: S3Access,
  more: ConstructorParameters<typeof S3Client>[0] = {},
): S3Client {
  return new S3Client({
    ...more,
    region,
    forcePathStyle: pathStyle,
    ...(endpoint === undefined ? {} : { endpoint }),
    ...(accessKeyId === undefined || secretAccessKey === undefined
      ? {}
      : { credentials: { accessKeyId, secretAccessKey } }),
  });
}
