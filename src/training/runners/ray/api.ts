import http from 'node:http';
import https from 'node:https';
import { SwitchyardError } from '../../../shared/errors.ts';

/** A job as Ray's dashboard tells it. */
export interface RayJob {
  submission_id: string;
  status: 'PENDING' | 'RUNNING' | 'STOPPED' | 'SUCCEEDED' | 'FAILED';
  message: string | null;
  error_type: string | null;
  start_time: number | null;
  end_time: number | null;
  metadata: Record<string, string> | null;
  driver_exit_code: number | null;
}

export interface RaySubmission {
  entrypoint: string;
  submission_id: string;
  runtime_env: { working_dir?: string; env_vars: Record<string, string> };
  metadata: Record<string, string>;
  entrypoint_num_cpus: number;
  entrypoint_num_gpus: number;
  entrypoint_memory: number;
}

const TIMEOUT_MS = 30_000;

/** Ray's job API. Every call rejects with SwitchyardError: unavailable where trying again may help. */
export class RayApi {
  private readonly address: string;
  private readonly token: () => string | undefined;

  /**
   * @param address of the dashboard, such as "http://127.0.0.1:8265".
   * @param token of a cluster that asks for one, read for each call: it may be replaced while the server runs
   */
  constructor(address: string, token: () => string | undefined = () => undefined) {
    this.address = address.replace(/\/+$/, '');
    this.token = token;
  }

  async get(id: string): Promise<RayJob | undefined> {
    const response = await this.send('GET', `/api/jobs/${encodeURIComponent(id)}`);
    if (response.status === 404) return undefined;
    return parse<RayJob>(response);
  }

  async submit(submission: RaySubmission): Promise<void> {
    const body = JSON.stringify(submission);
    good(await this.send('POST', '/api/jobs/', body, 'application/json'));
  }

  /** Everything that the job has printed so far. */
  async log(id: string): Promise<Buffer> {
    const response = await this.send('GET', `/api/jobs/${encodeURIComponent(id)}/logs`);
    if (response.status === 404) return Buffer.alloc(0);
    const { logs } = parse<{ logs: string | null }>(response);
    return Buffer.from(logs ?? '');
  }

  async stop(id: string): Promise<void> {
    const response = await this.send('POST', `/api/jobs/${encodeURIComponent(id)}/stop`);
    if (response.status !== 404) good(response);
  }

  async remove(id: string): Promise<void> {
    const response = await this.send('DELETE', `/api/jobs/${encodeURIComponent(id)}`);
    if (response.status !== 404) good(response);
  }

  /** Keeps a zip with the cluster, and tells how runtime environments name it. */
  async upload(name: string, bytes: Buffer): Promise<string> {
    const path = `/api/packages/gcs/${encodeURIComponent(name)}`;
    const known = await this.send('GET', path);
    if (known.status !== 200) good(await this.send('PUT', path, bytes, 'application/octet-stream'));
    return `gcs://${name}`;
  }

  /** Not by fetch: Ray takes its sec-fetch headers for a browser's, and refuses to be written to. */
  private async send(method: string, path: string, body?: string | Buffer, type?: string): Promise<Answer> {
    const url = new URL(this.address + path);
    const token = this.token();
    const headers = {
      ...(token === undefined ? {} : { authorization: `Bearer ${token}` }),
      ...(body === undefined ? {} : { 'content-type': type, 'content-length': Buffer.byteLength(body) }),
    };
    const answer = await new Promise<Answer>((resolve, reject) => {
      const sent = (url.protocol === 'https:' ? https : http).request(
        url,
        { method, headers, timeout: TIMEOUT_MS },
        (response) => {
          const chunks: Buffer[] = [];
          response.on('data', (chunk: Buffer) => chunks.push(chunk));
          response.on('error', reject);
          response.on('end', () =>
            resolve({ status: response.statusCode ?? 0, text: Buffer.concat(chunks).toString('utf8') }),
          );
        },
      );
      sent.on('error', reject);
      sent.on('timeout', () => sent.destroy(new Error(`no answer within ${TIMEOUT_MS} ms`)));
      sent.end(body);
    }).catch((error: NodeJS.ErrnoException) => {
      const why = error.code ?? error.message;
      throw new SwitchyardError('unavailable', `Ray at ${this.address} cannot be reached: ${why}`, { cause: error });
    });
    if (answer.status === 401 || answer.status === 403)
      throw new SwitchyardError(
        'failed_precondition',
        `Ray at ${this.address} ${token === undefined ? 'asks for a token' : 'refuses the token'} (${answer.status}); give training.ray.token what the cluster's RAY_AUTH_TOKEN is`,
      );
    return answer;
  }
}

interface Answer {
  status: number;
  text: string;
}

function good(answer: Answer): Answer {
  const { status, text } = answer;
  if (status >= 200 && status < 300) return answer;
  // Ray answers a traceback; its last line says what is wrong.
  const last = text.trim().split('\n').at(-1) ?? '';
  const code = status >= 500 ? 'unavailable' : 'invalid_argument';
  throw new SwitchyardError(code, `Ray answered ${status}: ${last.slice(0, 500)}`);
}

function parse<T>(answer: Answer): T {
  const { text } = good(answer);
  try {
    return JSON.parse(text) as T;
  } catch {
    throw new SwitchyardError('unavailable', `Ray did not answer with JSON: ${text.slice(0, 200)}`);
  }
}
