import type { IncomingMessage } from 'node:http';
import { z } from 'zod';
import { expectedDigest } from '../blobs/digest.ts';
import type { BlobVault } from '../blobs/vault.ts';
import type { RegistryDatabase } from '../database/database.ts';
import { doesNotExist, invalidParameter, RegistryError, shown } from '../errors.ts';
import { required, text } from '../rest/fields.ts';
import { JSON_HEADERS } from '../rest/respond.ts';
import { jsonRoute, type RestRoute, type StreamCall } from '../rest/route.ts';
import type { Artifacts } from './artifacts.ts';
import { checkArtifactPath, pathOfUri } from './path.ts';
import { serveFile } from './serve-file.ts';
import type { FolderEntry } from './tree.ts';
import { checkWritablePath } from './version-tree.ts';

const FILES = '/api/2.0/mlflow-artifacts';
/** A refused body up to here, arriving until then, is read away: a client that is still sending would miss the answer. */
const DRAIN_BYTES = 256 * 1024 * 1024;
const DRAIN_MS = 20_000;
/** The client looks for this beginning to fall back to one plain PUT. */
const NO_MULTIPART =
  'Multipart upload is not supported for the current artifact repository; send one PUT, or use /api/v1/registry/uploads';

interface Parts {
  artifacts: Artifacts;
  vault: BlobVault;
  database: RegistryDatabase;
}

/** The artifact calls of MLflow's REST API. */
export function artifactRoutes({ artifacts, vault, database }: Parts): RestRoute[] {
  return [
    {
      method: 'PUT',
      path: `${FILES}/artifacts/{path*}`,
      operationId: 'uploadArtifact',
      summary: 'Store the body as an artifact. X-Content-SHA256, Content-Digest and Digest are checked',
      stream: (call) => orDrain(call, () => upload(artifacts, call)),
    },
    {
      method: 'GET',
      path: `${FILES}/artifacts/{path*}`,
      operationId: 'downloadArtifact',
      summary: 'The bytes of an artifact, or a range of them',
      query: { verify: 'true: read the stored bytes first and refuse damaged ones' },
      stream: async ({ params, query, request, response }) => {
        const artifact = await artifacts.get(checkArtifactPath(params.path));
        if (query.get('verify') === 'true') await vault.verify(artifact.digest);
        await serveFile(vault, artifact, request, response);
      },
    },
    {
      method: 'DELETE',
      path: `${FILES}/artifacts/{path*}`,
      operationId: 'deleteArtifact',
      summary: 'Forget an artifact, or a folder with all it holds',
      stream: async (call) => {
        await artifacts.remove(checkWritablePath(call.params.path.replace(/\/$/, '')));
        answer(call, {});
      },
    },
    jsonRoute({
      method: 'GET',
      path: `${FILES}/artifacts`,
      operationId: 'listProxiedArtifacts',
      summary: 'What lies directly in a folder of artifacts',
      request: z.object({ path: text }),
      handle: async ({ path }) => ({ ...files(await artifacts.list(folderOf(path))) }),
    }),
    {
      method: 'GET',
      path: `${FILES}/presigned/{path*}`,
      operationId: 'presignArtifact',
      summary: 'Where ranges of an artifact can be read: the server itself',
      stream: async (call) => {
        const { path, size } = await artifacts.get(checkArtifactPath(call.params.path));
        answer(call, { url: urlOf(call.request, path), headers: ownCredentials(call.request), file_size: size });
      },
    },
    ...['create', 'complete', 'abort'].map(
      (verb): RestRoute => ({
        method: 'POST',
        path: `${FILES}/mpu/${verb}/{path*}`,
        operationId: `${verb}MultipartUpload`,
        summary: 'Answers NOT_IMPLEMENTED: the client sends one PUT then',
        stream: (call) =>
          orDrain(call, async () => {
            throw new RegistryError('NOT_IMPLEMENTED', NO_MULTIPART);
          }),
      }),
    ),
    jsonRoute({
      method: 'GET',
      path: '/api/2.0/mlflow/artifacts/list',
      operationId: 'listArtifacts',
      summary: 'What lies directly in a folder of a run',
      request: z.object({ run_id: text, run_uuid: text, path: text }),
      handle: async ({ run_id, run_uuid, path }) => {
        const id = run_id || run_uuid;
        if (!id) throw invalidParameter("Missing value for required parameter 'run_id'");
        const run = await database.read((db) =>
          db.selectFrom('runs').select('artifact_uri').where('run_id', '=', id).executeTakeFirst(),
        );
        if (run === undefined) throw doesNotExist(`Run with id=${shown(id)} not found`);
        return { root_uri: run.artifact_uri, ...(await listBelow(artifacts, run.artifact_uri, path ?? '')) };
      },
    }),
    jsonRoute({
      method: 'GET',
      path: '/api/2.0/mlflow/logged-models/{model_id}/artifacts/directories',
      operationId: 'listLoggedModelArtifacts',
      summary: 'What lies directly in a folder of a logged model',
      request: z.object({ model_id: required, artifact_directory_path: text }),
      handle: async ({ model_id, artifact_directory_path }) => {
        const model = await database.read((db) =>
          db.selectFrom('logged_models').select('artifact_uri').where('model_id', '=', model_id).executeTakeFirst(),
        );
        if (model === undefined) throw doesNotExist(`Logged model with ID ${shown(model_id)} not found`);
        const listed = await listBelow(artifacts, model.artifact_uri, artifact_directory_path ?? '');
        return { root_uri: model.artifact_uri, ...listed };
      },
    }),
  ];
}

async function upload(artifacts: Artifacts, call: StreamCall): Promise<void> {
  const { params, request, contentLength } = call;
  const path = checkWritablePath(params.path);
  const header = (name: string): string => String(request.headers[name] ?? '');
  const encoding = header('content-encoding');
  if (encoding !== '' && encoding !== 'identity')
    throw invalidParameter(`Content-Encoding ${shown(encoding)} is not allowed; artifacts are stored as they come`);
  if (header('content-range') !== '')
    throw invalidParameter('Content-Range is not allowed with PUT; use /api/v1/registry/uploads to send parts');
  await artifacts.upload(path, request, {
    mediaType: header('content-type'),
    declared: contentLength < 0 ? undefined : contentLength,
    expected: expectedDigest(header),
  });
  answer(call, {});
}

/** Runs a handler; when it throws, reads what is left of the body within bounds before the error is answered. */
export async function orDrain(call: StreamCall, run: () => Promise<void>): Promise<void> {
  try {
    await run();
  } catch (error) {
    if (!call.request.destroyed && call.contentLength <= DRAIN_BYTES) await drain(call.request);
    throw error;
  }
}

function drain(request: IncomingMessage): Promise<void> {
  if (request.complete) return Promise.resolve();
  return new Promise((resolve) => {
    let bytes = 0;
    const done = (): void => {
      clearTimeout(timer);
      resolve();
    };
    const timer = setTimeout(done, DRAIN_MS);
    request.on('data', (chunk: Buffer) => {
      bytes += chunk.length;
      if (bytes > DRAIN_BYTES) done();
    });
    request.once('close', done);
    request.once('end', done);
    request.resume();
  });
}

export function answer({ response, request }: StreamCall, body: object, status = 200): void {
  const bytes = Buffer.from(JSON.stringify(body));
  response.writeHead(status, [...JSON_HEADERS, 'Content-Length', String(bytes.length)]);
  response.end(request.method === 'HEAD' ? undefined : bytes);
}

function folderOf(path: string | null | undefined): string {
  const folder = (path ?? '').replace(/\/$/, '');
  return folder === '' ? '' : checkArtifactPath(folder);
}

/** Paths as the caller of that API wants them: empty lists are left out, as everywhere in MLflow's answers. */
function files(entries: readonly FolderEntry[], prefix = ''): object {
  if (entries.length === 0) return {};
  return {
    files: entries.map(({ name, isFolder, size }) =>
      isFolder ? { path: prefix + name, is_dir: true } : { path: prefix + name, is_dir: false, file_size: size },
    ),
  };
}

async function listBelow(artifacts: Artifacts, uri: string, path: string): Promise<object> {
  const root = pathOfUri(uri);
  if (root === undefined)
    throw invalidParameter(`artifacts at ${shown(uri)} are not in this registry; list them where they are`);
  const folder = folderOf(path);
  const entries = await artifacts.list(folder === '' ? root : `${root}/${folder}`);
  return files(entries, folder === '' ? '' : `${folder}/`);
}

function urlOf(request: IncomingMessage, path: string): string {
  const scheme = 'encrypted' in request.socket ? 'https' : 'http';
  const encoded = path.split('/').map(encodeURIComponent).join('/');
  return `${scheme}://${request.headers.host ?? 'localhost'}${FILES}/artifacts/${encoded}`;
}

/** What let the caller in will let its range requests in. */
function ownCredentials(request: IncomingMessage): Record<string, string> {
  const { authorization } = request.headers;
  return authorization === undefined ? {} : { Authorization: authorization };
}
