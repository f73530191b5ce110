import assert from 'node:assert/strict';
import { copyFileSync, mkdtempSync, rmSync } from 'node:fs';
import http from 'node:http';
import https from 'node:https';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { after, before, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import type { SslConfig } from '../config/ssl-schema.ts';
import { pem } from '../testing/tls.ts';
import { RegistryHttp } from './registry-http.ts';

const scratch = mkdtempSync(join(tmpdir(), 'switchyard-registry-http-'));
const file = (name: string): string => fileURLToPath(new URL(`../testing/fixtures/tls/${name}`, import.meta.url));
const alice = { certFile: file('alice.pem'), keyFile: file('alice.key') };

/** Answers with what it was asked, by whom. */
const handler: http.RequestListener = (request, response) =>
  void text(request).then((body) =>
    response.end(`${request.method} ${request.url} ${request.headers.authorization ?? ''} ${body}`),
  );
const secure = https.createServer(
  { ...{ cert: pem('localhost.pem'), key: pem('localhost.key'), ca: pem('ca.pem') }, requestCert: true },
  handler,
);
const portOf = (server: http.Server | https.Server): number => (server.address() as AddressInfo).port;
before(() => new Promise<void>((done) => secure.listen(0, '127.0.0.1', done)));
after(() => {
  secure.closeAllConnections();
  secure.close();
  rmSync(scratch, { recursive: true, force: true });
});

async function ask(ssl: SslConfig | undefined): Promise<string> {
  const client = new RegistryHttp(`https://127.0.0.1:${portOf(secure)}`, () => 'the-token', ssl);
  return text(await client.send('POST', 'a/b', { c: 1 }, AbortSignal.timeout(60_000)));
}

test('a registry whose certificate is trusted is asked, with a client certificate where it requires one', async () => {
  const answer = 'POST /api/v1/registry/a/b Bearer the-token {"c":1}';
  assert.equal(await ask({ caFile: file('ca.pem'), ...alice }), answer);
  assert.equal(await ask({ caFile: file('ca.pem'), ...alice, serverName: 'localhost' }), answer);
});

test('what either side does not trust is refused before the token goes out, with the setting to correct', async () => {
  const mistakes: [SslConfig | undefined, RegExp][] = [
    [undefined, /\((UNABLE_TO_VERIFY_LEAF_SIGNATURE|SELF_SIGNED_CERT_IN_CHAIN)\).*caFile/],
    [
      { caFile: file('other-ca.pem'), ...alice },
      /\((UNABLE_TO_VERIFY_LEAF_SIGNATURE|SELF_SIGNED_CERT_IN_CHAIN)\).*caFile/,
    ],
    [{ caFile: file('ca.pem'), ...alice, serverName: 'elsewhere' }, /\(ERR_TLS_CERT_ALTNAME_INVALID\).*serverName/],
    [{ caFile: file('ca.pem') }, /CERTIFICATE_REQUIRED.*certFile/],
    [{ caFile: file('ca.pem'), certFile: file('zoe.pem'), keyFile: file('other.key') }, /UNKNOWN_CA|ECONNRESET/],
    [
      { caFile: file('ca.pem'), certFile: file('alice.pem'), keyFile: file('other.key') },
      /KEY_VALUES_MISMATCH.*certFile/,
    ],
    [{ caFile: join(scratch, 'none.pem') }, /none\.pem of models\.registry\.ssl cannot be read \(ENOENT\)/],
  ];
  for (const [ssl, message] of mistakes) await assert.rejects(ask(ssl), { code: 'unavailable', message });
});

test('certificates that were renewed in their files are used without a restart', async () => {
  const own = { certFile: join(scratch, 'own.pem'), keyFile: join(scratch, 'own.key') };
  const put = (cert: string, key: string): void => {
    copyFileSync(file(cert), own.certFile);
    copyFileSync(file(key), own.keyFile);
  };
  const client = new RegistryHttp(`https://127.0.0.1:${portOf(secure)}`, () => '', { caFile: file('ca.pem'), ...own });
  const send = () => client.send('GET', '', undefined, AbortSignal.timeout(60_000));
  put('zoe.pem', 'other.key');
  await assert.rejects(send());
  put('alice.pem', 'alice.key');
  assert.equal(await text(await send()), 'GET /api/v1/registry/  ');
});

test('a kept connection that the registry closes just then is no failure', async () => {
  let requests = 0;
  const server = http.createServer((request, response) => {
    // Every second request of a connection finds it closed.
    if (++requests % 2 === 0 && request.socket.bytesWritten > 0) request.socket.resetAndDestroy();
    else handler(request, response);
  });
  await new Promise<void>((done) => server.listen(0, '127.0.0.1', done));
  const client = new RegistryHttp(`http://127.0.0.1:${portOf(server)}/`, () => '');
  for (let i = 0; i < 3; i++)
    assert.equal(
      await text(await client.send('GET', 'x', undefined, AbortSignal.timeout(60_000))),
      'GET /api/v1/registry/x  ',
    );
  assert.equal(requests, 5);
  server.closeAllConnections();
  server.close();
});
