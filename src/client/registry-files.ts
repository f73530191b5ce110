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
  artifacts: number;
  blobs: number;
  bytes: number;
  uploads: number;
  staged: number;
}

/** Bytes of an upload from an offset on. */
export type BytesFrom = (offset: number) => AsyncIterable<Uint8Array>;

const TRIES = 5;
const MLFLOW = '/api/2.0/mlflow';
const OWN = '/api/v1/registry';

/** The registry's part of the admin API. Every call rejects with ClientError. */
export class RegistryFiles {
  private readonly options: ClientOptions;

  constructor(options: ClientOptions) {
    this.options = options;
  }

  /** Base64 of the canonical manifest of a version. */
  versionManifest(name: string, version: string): Promise<{ digest: string; manifest: string }> {
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
    const encoded = path.split('/').map(encodeURIComponent).join('/');
    await this.call('DELETE', `/api/2.0/mlflow-artifacts/artifacts/${encoded}`);
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

  /** Uploads one artifact; what came is not sent again after a broken connection. */
  async upload(
    file: { path: string; size: number; digest: string; media_type: string },
    bytes: BytesFrom,
  ): Promise<void> {
    const { upload_id } = await this.call<UploadState>('POST', `${OWN}/uploads`, file);
    const path = `${OWN}/uploads/${upload_id}`;
    let offset = 0;
    for (let attempt = 1; ; attempt++) {
      try {
        await this.raw('PATCH', path, bytes(offset), { 'upload-offset': String(offset) });
        return;
      } catch (error) {
        const broken = error instanceof ClientError && (error.status === 0 || error.status === 409);
        if (!broken || attempt === TRIES) throw error;
        await new Promise((resolve) => setTimeout(resolve, 100 * 2 ** attempt));
        ({ offset } = await this.call<UploadState>('GET', path));
      }
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
