import { readFile } from 'node:fs/promises';
import { type ClientRequest, Agent as HttpAgent, type IncomingMessage, request as requestHttp } from 'node:http';
import { Agent as HttpsAgent, request as requestHttps } from 'node:https';
import type { ConnectionOptions } from 'node:tls';
import type { SslConfig } from '../config/ssl-schema.ts';
import { SwitchyardError } from '../shared/errors.ts';

/** OpenSSL's and Node's codes for a certificate that one of both sides does not take. */
const CERTIFICATE_PROBLEM = /CERT|SELF_SIGNED|SIGNATURE|^ERR_(SSL|TLS|OSSL)/;

/**
 * Requests to a registry's admin port. Redirects are refused: the token must go nowhere else. Files of certificates are
 * read for each request, so that renewed ones need no restart.
 */
export class RegistryHttp {
  private readonly root: string;
  private readonly token: () => string;
  private readonly ssl: SslConfig;
  private readonly agents = { http: new HttpAgent({ keepAlive: true }), https: new HttpsAgent({ keepAlive: true }) };

  /** @param token asked for each request, since it may change; '' = none */
  constructor(url: string, token: () => string, ssl: SslConfig = {}) {
    this.root = `${url.replace(/\/+$/, '')}/api/v1/registry/`;
    this.token = token;
    this.ssl = ssl;
  }

  /**
   * Resolves with the head of any answer but a redirect, whose body is the caller's to read or to destroy. Rejects with
   * unavailable.
   */
  async send(method: string, path: string, body: object | undefined, signal: AbortSignal): Promise<IncomingMessage> {
    const url = new URL(this.root + path);
    const token = this.token();
    const text = body === undefined ? '' : JSON.stringify(body);
    const headers = {
      ...(token === '' ? {} : { authorization: `Bearer ${token}` }),
      ...(body === undefined ? {} : { 'content-type': 'application/json', 'content-length': Buffer.byteLength(text) }),
    };
    const tls = url.protocol === 'https:' ? await readCertificates(this.ssl) : undefined;
    const options = { method, headers, signal };
    const begin = (): ClientRequest =>
      tls === undefined
        ? requestHttp(url, { ...options, agent: this.agents.http })
        : requestHttps(url, { ...options, ...tls, agent: this.agents.https });
    const response = await answerOf(begin, text, signal);
    const { statusCode = 0 } = response;
    if (statusCode < 300 || statusCode >= 400) return response;
    response.destroy();
    throw away(`the registry does not answer: ${url.origin} leads elsewhere (${statusCode}), which is not followed`);
  }
}

/** Sends a request that may be sent twice, and waits for the head of its answer. Rejects with unavailable. */
function answerOf(begin: () => ClientRequest, body: string, signal: AbortSignal): Promise<IncomingMessage> {
  return new Promise((resolve, reject) => {
    const ask = (): void => {
      const request = begin();
      let answered = false;
      request.once('response', (head) => {
        answered = true;
        resolve(head);
      });
      request.on('error', (error: NodeJS.ErrnoException) => {
        // What breaks off later is told by the body.
        if (answered) return;
        // The registry closed a kept connection just when this went out on it: the next one is another connection.
        if (request.reusedSocket && error.code === 'ECONNRESET' && !signal.aborted) attempt();
        else reject(doesNotAnswer(error, signal));
      });
      request.end(body);
    };
    const attempt = (): void => {
      try {
        ask();
      } catch (error) {
        // Certificates that no connection can be made with.
        reject(doesNotAnswer(error as NodeJS.ErrnoException, signal));
      }
    };
    attempt();
  });
}

/** Rejects with unavailable: a file that is being replaced is there at the next try. */
export async function readCertificates({
  caFile,
  certFile,
  keyFile,
  serverName,
}: SslConfig): Promise<ConnectionOptions> {
  const read = async (name: string, file: string | undefined): Promise<Record<string, Buffer>> => {
    if (file === undefined) return {};
    try {
      return { [name]: await readFile(file) };
    } catch (error) {
      const { code } = error as NodeJS.ErrnoException;
      throw away(`${file} of models.registry.ssl cannot be read (${code}); correct the path or its permissions`);
    }
  };
  const parts = await Promise.all([read('ca', caFile), read('cert', certFile), read('key', keyFile)]);
  return Object.assign(serverName === undefined ? {} : { servername: serverName }, ...parts);
}

function doesNotAnswer(error: NodeJS.ErrnoException, signal: AbortSignal): SwitchyardError {
  const code = signal.aborted ? (signal.reason as Error).name : (error.code ?? error.name);
  const remedy = CERTIFICATE_PROBLEM.test(code)
    ? '; models.registry.ssl says whom to trust (caFile), by which name (serverName), and who this gateway is (certFile, keyFile)'
    : '';
  return away(`the registry does not answer (${code})${remedy}`);
}

export function away(message: string): SwitchyardError {
  return new SwitchyardError('unavailable', message);
}
