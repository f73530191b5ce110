import { ClientError, type ClientOptions, parseAnswer, refusedAnswer, send } from './transport.ts';

export interface UploadState {
  upload_id: string;
  offset: number;
  complete: boolean;
}

export interface VersionRow {
  name: string;
  version: string;
  description?: string;
  creation_timestamp: number;
  tags?: { key: string; value: string }[];
}

export interface CollectedRow {
  dry_run: boolean;
  runs: number;
  logged_models: number;
  experiments: number;
  artifacts: number;
  blobs: number;
  bytes: number;
  uploads: number;
  staged: number;
}

/** Bytes of an upload from an offset on. */
export type BytesFrom = (offset: number) => AsyncIterable<Uint8Array>;

/** So often in a row a call may fail without an upload coming further: a server has half a minute to come back. */
const TRIES = 10;
const LONGEST_WAIT_MS = 5000;
const MLFLOW = '/api/2.0/mlflow';
const OWN = '/api/v1/registry';
const ARTIFACTS = '/api/2.0/mlflow-artifacts/artifacts';

function artifactUrl(path: string): string {
  return `${ARTIFACTS}/${path.split('/').map(encodeURIComponent).join('/')}`;
}

/** The registry's part of the admin API. Every call rejects with ClientError. */
export class RegistryFiles {
  private readonly options: ClientOptions;

  constructor(options: ClientOptions) {
    this.options = options;
  }

  /** Base64 of the canonical manifest of a version, and its signatures if there are any. */
  versionManifest(
    name: string,
    version: string,
  ): Promise<{ digest: string; manifest: string; signed?: { signatures: { keyid: string; sig: string }[] } }> {
    return this.call(
      'GET',
      `${OWN}/models/${encodeURIComponent(name)}/versions/${encodeURIComponent(version)}/manifest`,
    );
  }

  async getVersion(name: string, version: string): Promise<VersionRow> {
    const query = new URLSearchParams({ name, version });
    return (await this.call<{ model_version: VersionRow }>('GET', `${MLFLOW}/model-versions/get?${query}`))
      .model_version;
  }

  /** An existing model of that name is taken as it is. */
  async ensureModel(name: string): Promise<void> {
    await this.call('POST', `${MLFLOW}/registered-models/create`, { name }).catch((error: unknown) => {
      if (!(error instanceof ClientError && error.code === 'RESOURCE_ALREADY_EXISTS')) throw error;
    });
  }

  async createVersion(wish: {
    name: string;
    source: string;
    description: string;
    tags: { key: string; value: string }[];
  }): Promise<VersionRow> {
    return (await this.call<{ model_version: VersionRow }>('POST', `${MLFLOW}/model-versions/create`, wish))
      .model_version;
  }

  async removeArtifacts(path: string): Promise<void> {
    await this.call('DELETE', artifactUrl(path));
  }

  collect(dryRun: boolean, graceSeconds?: number): Promise<CollectedRow> {
    return this.call('POST', `${OWN}/gc`, { dry_run: dryRun, ...(graceSeconds && { grace_seconds: graceSeconds }) });
  }

  /** The bytes of a blob, as they come. */
  async *blob(digest: string): AsyncGenerator<Uint8Array> {
    const response = await this.raw('GET', `${OWN}/blobs/${digest}`);
    if (response.body === null) return;
    yield* response.body;
  }

  /**
   * Uploads one artifact; what came is not sent again after a broken connection, nor after a restart of the server.
   */
  async upload(
    file: { path: string; size: number; digest: string; media_type: string },
    bytes: BytesFrom,
  ): Promise<void> {
    const patience = new Patience();
    const { upload_id } = await patience.with(() => this.call<UploadState>('POST', `${OWN}/uploads`, file));
    const path = `${OWN}/uploads/${upload_id}`;
    try {
      await this.sendAll(path, file, bytes, patience);
    } catch (error) {
      await this.abort(path);
      throw error;
    }
  }

  private async sendAll(
    path: string,
    file: { path: string; digest: string },
    bytes: BytesFrom,
    patience: Patience,
  ): Promise<void> {
    let offset = 0;
    for (let first = true; ; first = false) {
      if (!first) {
        const reached = await patience.with(() => this.reached(path, file));
        if (reached === undefined) return;
        if (reached > offset) patience.restore();
        offset = reached;
      }
      try {
        await this.raw('PATCH', path, bytes(offset), { 'upload-offset': String(offset) });
        return;
      } catch (error) {
        await patience.after(error);
      }
    }
  }

  /** Leaves nothing of an upload that failed for good; a server that is away expires it by itself. */
  private async abort(path: string): Promise<void> {
    for (let attempt = 1; attempt <= 5; attempt++) {
      try {
        await this.call('DELETE', path);
        return;
      } catch (error) {
        // The server may not have noticed yet that the request broke off.
        if (!(error instanceof ClientError && error.status === 409)) return;
        await new Promise((resolve) => setTimeout(resolve, 100 * attempt));
      }
    }
  }

  /** The offset to go on from; undefined: the upload had ended, only its answer was lost. */
  private async reached(path: string, file: { path: string; digest: string }): Promise<number | undefined> {
    try {
      return (await this.call<UploadState>('GET', path)).offset;
    } catch (error) {
      if (!(error instanceof ClientError && error.status === 404)) throw error;
      const stored = await this.raw('HEAD', artifactUrl(file.path)).catch((other: unknown) => {
        throw other instanceof ClientError && other.status === 404 ? error : other;
      });
      if (stored.headers.get('etag') !== `"${file.digest}"`) throw error;
      return undefined;
    }
  }

  private async call<T>(method: string, path: string, body?: object): Promise<T> {
    const { text } = await send(this.options, method, path, body === undefined ? undefined : JSON.stringify(body));
    return parseAnswer<T>(text, this.options.url);
  }

  private async raw(
    method: string,
    path: string,
    body?: AsyncIterable<Uint8Array>,
    headers: Record<string, string> = {},
  ): Promise<Response> {
    const { url, token } = this.options;
    const request: RequestInit & { duplex?: 'half' } = {
      method,
      redirect: 'error',
      headers: { ...headers, ...(token === undefined ? {} : { authorization: `Bearer ${token}` }) },
    };
    let failure: unknown;
    if (body !== undefined) {
      // fetch hides why a body failed to come: what the source threw is what went wrong.
      request.duplex = 'half';
      request.body = remember(body, (error) => {
        failure = error;
      }) as unknown as NonNullable<RequestInit['body']>;
    }
    const response = await fetch(url.replace(/\/+$/, '') + path, request).catch((error: Error) => {
      if (failure !== undefined) throw failure;
      const cause = error.cause as { code?: string; message?: string } | undefined;
      throw new ClientError(
        0,
        'unreachable',
        `${url} cannot be reached: ${cause?.code ?? cause?.message ?? error.message}`,
      );
    });
    if (!response.ok) throw refusedAnswer(response, await response.text(), url);
    return response;
  }
}

/** Waits longer after each failure in a row, for a server that is away or busy, and gives up after some. */
class Patience {
  private failures = 0;

  restore(): void {
    this.failures = 0;
  }

  /** Waits, or throws what failed: it will not pass, or has not for too long. */
  async after(error: unknown): Promise<void> {
    const passing = error instanceof ClientError && [0, 409, 502, 503, 504].includes(error.status);
    if (!passing || ++this.failures === TRIES) throw error;
    const wait = Math.min(100 * 2 ** this.failures, LONGEST_WAIT_MS);
    await new Promise((resolve) => setTimeout(resolve, wait));
  }

  async with<T>(call: () => Promise<T>): Promise<T> {
    for (;;) {
      try {
        return await call();
      } catch (error) {
        await this.after(error);
      }
    }
  }
}

async function* remember(
  source: AsyncIterable<Uint8Array>,
  onError: (error: unknown) => void,
): AsyncGenerator<Uint8Array> {
  try {
    yield* source;
  } catch (error) {
    onError(error);
    throw error;
  }
}
