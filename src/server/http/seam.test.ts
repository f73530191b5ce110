import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import http from 'node:http';
import https from 'node:https';
import net from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { ByteWatch, tooSlow } from '../../shared/byte-floor.ts';
import { speak } from '../../testing/raw-http.ts';
import { SOCKET_LIBRARIES } from '../../testing/socket-libraries.ts';
import { chooseLibrary, freePort, httpLibrary, listen, openOnFree } from './open.ts';
import type { HttpExchange, HttpHandler, HttpServer, ListenOptions, RequestHead } from './socket.ts';

const log = { warn: () => assert.fail('no warning expected') };
const BIG = Buffer.alloc(12 << 20, 'x');
const HEAD = 'HTTP/1.1\r\nHost: x\r\n';
const NEXT = `GET /next ${HEAD}\r\n`;

/** Echoes bodies, and plays the other cases by path. Records what it saw. */
class TestHandler implements HttpHandler {
  readonly seen: string[] = [];
  aborted = 0;
  held: HttpExchange[] = [];

  onRequest(head: RequestHead, exchange: HttpExchange): void {
    this.seen.push(head.path);
    const path = head.path;
    if (path === '/throw') throw new Error('secret /etc/path');
    if (path === '/silent') return;
    if (path === '/early') exchange.respond(404, '', 'early');
    if (path === '/next') exchange.respond(200, 'X-A: b\r\nX-C: d', 'next');
    if (exchange.finished) return;
    const listener = {
      onBody: (bytes: Uint8Array, owned: boolean): void => {
        const body = owned ? bytes : Buffer.from(bytes);
        if (path === '/late') setTimeout(() => exchange.respond(200, '', body), 5);
        else if (path === '/hold') this.held.push(exchange);
        else if (path === '/big') exchange.respond(200, '', BIG);
        else if (path === '/throw-body') throw new Error('secret');
        else if (path === '/reuse') {
          const kept = Buffer.from('mine');
          exchange.respond(200, '', kept, true);
          kept.fill('!');
        } else if (path === '/stream') this.stream(exchange);
        else exchange.respond(200, '', body);
      },
      onAbort: (): void => {
        this.aborted++;
      },
    };
    exchange.receive(listener);
  }

  private stream(exchange: HttpExchange): void {
    exchange.startStream(200, 'Content-Type: text/event-stream');
    exchange.write('data: 1\n\n');
    setTimeout(() => {
      exchange.write(Buffer.from('data: 2\n\n'));
      exchange.endStream();
    }, 5);
  }
}

async function settle(condition: () => boolean): Promise<void> {
  for (let i = 0; i < 12_000 && !condition(); i++) await new Promise((resolve) => setTimeout(resolve, 5));
  assert.ok(condition(), 'the expected state was not reached');
}

for (const library of SOCKET_LIBRARIES) {
  describe(`sockets of ${library}`, () => {
    let handler: TestHandler;
    let server: HttpServer;
    const open = (more: Partial<ListenOptions> = {}): Promise<HttpServer> =>
      listen({ host: '127.0.0.1', port: 0, maxBodyBytes: 4 << 20, ...more }, handler, library, log);
    before(async () => {
      handler = new TestHandler();
      server = await open();
    });
    after(() => server.close(0));
    const post = (path: string, body: string, more = ''): string =>
      `POST ${path} ${HEAD}Content-Length: ${body.length}\r\n${more}\r\n${body}`;
    const fetchText = async (path: string, body?: Uint8Array | string): Promise<{ status: number; text: string }> => {
      const response = await fetch(`http://127.0.0.1:${server.port}${path}`, {
        method: body === undefined ? 'GET' : 'POST',
        ...(body === undefined ? {} : { body }),
      });
      return { status: response.status, text: await response.text() };
    };
    /** The server still answers, and nothing is left in flight. */
    const healthy = async (): Promise<void> => {
      assert.deepEqual(await fetchText('/next'), { status: 200, text: 'next' });
      await settle(() => server.inFlight() === 0);
    };

    it('is the library asked for', () => assert.equal(server.kind, library));

    it('echoes bodies in one or many chunks', async () => {
      for (const size of [0, 1, 1000, 70_000, 3_000_000]) {
        const body = 'b'.repeat(size);
        const got = await fetchText('/echo', body);
        assert.equal(got.status, 200);
        assert.ok(got.text === body, `body of ${size} bytes`);
      }
      const pieces = [`POST /late ${HEAD}Content-Length: 6\r\n\r\na`, 'bc', 'de', 'f'];
      assert.match((await speak(server.port, pieces, /abcdef/)).text, /200 OK[\s\S]*\r\n\r\nabcdef$/);
      await healthy();
    });

    it('sends headers as given', async () => {
      const { text } = await speak(server.port, [NEXT], /next$/);
      assert.match(text, /\r\nX-A: b\r\n/);
      assert.match(text, /\r\nX-C: d\r\n/);
      assert.match(text, /\r\nContent-Length: 4\r\n/);
    });

    it('serves the next request after an early answer, with the body whole or in parts', async () => {
      const whole = await speak(server.port, [post('/early', 'hello') + NEXT], /next$/);
      assert.match(whole.text, /404 Not Found[\s\S]*early[\s\S]*200 OK[\s\S]*next$/);
      const parts = await speak(server.port, [`POST /early ${HEAD}Content-Length: 5\r\n\r\nhe`, `llo${NEXT}`], /next$/);
      assert.match(parts.text, /404 Not Found[\s\S]*early[\s\S]*200 OK[\s\S]*next$/);
    });

    it('serves pipelined requests that are answered at once', async () => {
      const { text } = await speak(server.port, [NEXT + post('/echo', 'one') + NEXT], /one[\s\S]*next$/);
      assert.equal(text.match(/200 OK/g)?.length, 3);
    });

    it('answers a HEAD without a body', async () => {
      const { text } = await speak(server.port, [`HEAD /next ${HEAD}\r\n${NEXT}`], /next$/);
      assert.match(text, /^HTTP\/1.1 200 OK\r\n[\s\S]*?\r\n\r\nHTTP\/1.1 200 OK/);
    });

    it('closes when the client asks', async () => {
      const result = await speak(server.port, [`GET /next ${HEAD}Connection: close\r\n\r\n`], undefined);
      assert.match(result.text, /next$/);
      assert.ok(result.closed);
    });

    it('takes the bytes of an answer before respond returns', async () => {
      assert.equal((await fetchText('/reuse', 'x')).text, 'mine');
    });

    it('turns a throwing or silent handler into a 500 that tells nothing', async () => {
      for (const path of ['/throw', '/silent', '/throw-body']) {
        const got = await fetchText(path, 'x');
        assert.equal(got.status, 500);
        assert.match(JSON.parse(got.text).error, /^internal error/);
        assert.doesNotMatch(got.text, /secret/);
      }
      await healthy();
    });

    const smuggled = 'GET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n';
    const chunked = `POST /echo ${HEAD}Transfer-Encoding: chunked\r\n\r\n`;
    const attacks: [string, string, RegExp][] = [
      ['two Content-Lengths', `POST /echo ${HEAD}Content-Length: 5\r\nContent-Length: 3\r\n\r\nhello`, /^$|400/],
      ['equal Content-Lengths', `POST /echo ${HEAD}Content-Length: 5\r\nContent-Length: 5\r\n\r\nhello`, /^$|400/],
      [
        'Content-Length and Transfer-Encoding',
        `${chunked.replace('\r\n\r\n', '\r\nContent-Length: 5\r\n\r\n')}0\r\n\r\n`,
        /400/,
      ],
      ['a chunk extension', `${chunked}5;a=b\r\nhello\r\n0\r\n\r\n`, /^$|411/],
      ['plain chunks', `${chunked}5\r\nhello\r\n0\r\n\r\n`, /^$|411/],
      ['chunks with bare line feeds', `${chunked}5\nhello\n0\n\n`, /^$|411|400/],
      ['a chunk without its line end', `${chunked}5\r\nhelloXX0\r\n\r\n`, /^$|411|400/],
      ['trailers', `${chunked}5\r\nhello\r\n0\r\nX-T: v\r\n\r\n`, /^$|411|400|505/],
      ['stacked codings', `POST /echo ${HEAD}Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n`, /^$|411|400/],
      ['an unknown coding', `POST /echo ${HEAD}Transfer-Encoding: identity\r\n\r\n`, /^$|411|400/],
      ['a list of lengths', `POST /echo ${HEAD}Content-Length: 5, 5\r\n\r\nhello`, /400/],
      ['a signed length', `POST /echo ${HEAD}Content-Length: +5\r\n\r\nhello`, /400/],
      ['a huge length', `POST /echo ${HEAD}Content-Length: 99999999999999999999999\r\n\r\nhello`, /400/],
      ['a body over the cap', `POST /echo ${HEAD}Content-Length: 4194305\r\n\r\nhello`, /^$|413/],
    ];
    for (const [name, request, expected] of attacks) {
      it(`refuses ${name}, closes, and serves nothing behind it`, async () => {
        handler.seen.length = 0;
        const alone = await speak(server.port, [request], undefined);
        assert.match(alone.text, expected);
        assert.ok(alone.closed, 'the connection must be closed');
        const behind = await speak(server.port, [request + smuggled], undefined);
        assert.ok(behind.closed, 'the connection must be closed');
        const later = await speak(server.port, [request, smuggled], undefined);
        assert.ok(later.closed, 'the connection must be closed');
        assert.ok(!handler.seen.includes('/smuggled'), 'the request behind was served');
        assert.equal(handler.seen.length, 0, 'the refused request reached the handler');
        await healthy();
      });
    }

    it('names the reason of a refusal as JSON when nothing hides behind the request', async () => {
      const { text } = await speak(server.port, [`${chunked}5\r\nhello\r\n0\r\n\r\n`], undefined);
      assert.match(text, /^HTTP\/1.1 411 Length Required\r\n/);
      assert.match(text, /content-type: application\/json\r\n/i);
      assert.match(JSON.parse(text.slice(text.indexOf('\r\n\r\n'))).error, /Content-Length/);
      const large = await speak(server.port, [`POST /echo ${HEAD}Content-Length: 9999999\r\n\r\n`], undefined);
      assert.match(large.text, /^HTTP\/1.1 413[\s\S]*9999999 bytes[\s\S]*4194304/);
    });

    it('refuses heads beyond 16 KiB', async () => {
      const request = `GET /next ${HEAD}X: ${'a'.repeat(20_000)}\r\n\r\n`;
      const result = await speak(server.port, [request], undefined);
      assert.match(result.text, /^HTTP\/1.1 431/);
      assert.ok(result.closed);
      await healthy();
    });

    it('survives garbage', async () => {
      const garbage = ['\x16\x03\x01\x02\x00\r\n\r\n', 'GET\r\n\r\n', `GET /next HTTP/9.9\r\n\r\n`, '\0'.repeat(500)];
      await Promise.all(garbage.map((text) => speak(server.port, [text], undefined, 300)));
      await healthy();
    });

    it('forgets requests whose body never comes whole, and tells their handlers', async () => {
      const before = handler.aborted;
      const sockets = Array.from({ length: 150 }, (_, i) => {
        const socket = net.connect(server.port, '127.0.0.1');
        socket.on('error', () => {});
        socket.write(`POST /echo ${HEAD}Content-Length: 1000\r\n\r\n${'x'.repeat(i)}`);
        return socket;
      });
      await settle(() => server.inFlight() === 150);
      for (const [i, socket] of sockets.entries()) {
        if (i % 2 === 0) socket.resetAndDestroy();
        else socket.destroy();
      }
      await settle(() => server.inFlight() === 0);
      assert.equal(handler.aborted - before, 150);
      await healthy();
    });

    it('tells handlers of clients that leave before the answer, and ignores the answer', async () => {
      handler.held = [];
      const before = handler.aborted;
      const sockets = Array.from({ length: 150 }, () => {
        const socket = net.connect(server.port, '127.0.0.1');
        socket.on('error', () => {});
        socket.write(post('/hold', 'x'));
        return socket;
      });
      await settle(() => handler.held.length === 150);
      for (const socket of sockets) socket.resetAndDestroy();
      await settle(() => handler.aborted - before === 150);
      for (const exchange of handler.held) {
        assert.ok(exchange.finished);
        exchange.respond(200, '', 'too late');
      }
      await healthy();
    });

    it('sends large answers whole to slow readers, and drops those who leave in the middle', async () => {
      const socket = net.connect(server.port, '127.0.0.1');
      socket.write(post('/big', 'x'));
      let received = 0;
      let head = -1;
      socket.on('data', (chunk) => {
        if (head < 0) head = chunk.indexOf('\r\n\r\n') + 4;
        received += chunk.byteLength;
        socket.pause();
        setTimeout(() => socket.resume(), 1);
      });
      await settle(() => head > 0 && received >= head + BIG.byteLength);
      assert.equal(received, head + BIG.byteLength);
      socket.destroy();

      const before = handler.aborted;
      await Promise.all(
        Array.from({ length: 100 }, async () => {
          const leaver = net.connect(server.port, '127.0.0.1');
          leaver.on('error', () => {});
          leaver.write(post('/big', 'x'));
          await once(leaver, 'readable');
          leaver.read(1);
          leaver.resetAndDestroy();
        }),
      );
      await settle(() => server.inFlight() === 0);
      assert.equal(handler.aborted - before, 100);
      await healthy();
    });

    it('takes one answer per request', async () => {
      handler.held = [];
      const reply = speak(server.port, [post('/hold', 'x')], /once$/);
      await settle(() => handler.held.length === 1);
      handler.held[0].respond(200, '', 'once');
      handler.held[0].respond(500, '', 'twice');
      handler.held[0].startStream(200, '');
      handler.held[0].write('thrice');
      handler.held[0].endStream();
      handler.held[0].destroy();
      assert.match((await reply).text, /^HTTP\/1.1 200[\s\S]*once$/);
    });

    it('streams', async () => {
      const got = await fetchText('/stream', 'x');
      assert.equal(got.text, 'data: 1\n\ndata: 2\n\n');
    });

    it('bounds what large bodies hold together, until their requests are answered', async () => {
      const bounded = await open({ maxHeldBytes: 300_000 });
      handler.held = [];
      const before = handler.aborted;
      const body = 'x'.repeat(200_000);
      const request = post('/hold', body);
      const parts = [request.slice(0, 100_000), request.slice(100_000)];
      const first = speak(bounded.port, parts, /answered$/, 60_000);
      await settle(() => handler.held.length === 1);

      const second = await speak(bounded.port, parts, undefined, 60_000);
      assert.match(second.text, /^HTTP\/1\.1 429 Too Many Requests\r\n/);
      assert.match(second.text, /\r\nRetry-After: 1\r\n/i);
      assert.match(second.text, /too many large requests are under way at once; retry later/);
      assert.ok(second.closed);
      assert.equal(handler.aborted - before, 1);
      assert.match((await speak(bounded.port, [NEXT], /next$/)).text, /200 OK/);

      handler.held[0].respond(200, '', 'answered');
      assert.match((await first).text, /200 OK/);
      await settle(() => bounded.inFlight() === 0);
      const third = speak(bounded.port, parts, /answered$/, 60_000);
      await settle(() => handler.held.length === 2);
      handler.held[1].respond(200, '', 'answered');
      assert.match((await third).text, /200 OK/);
      await settle(() => bounded.inFlight() === 0);
      await bounded.close(0);
    });

    it('bounds what one address may hold', async () => {
      const bounded = await open({ maxConnectionsPerAddress: 3 });
      handler.held = [];
      const sockets = Array.from({ length: 3 }, () => {
        const socket = net.connect(bounded.port, '127.0.0.1');
        socket.on('error', () => {});
        socket.write(post('/hold', 'x'));
        return socket;
      });
      await settle(() => handler.held.length === 3);
      const fourth = await speak(bounded.port, [NEXT], undefined);
      assert.doesNotMatch(fourth.text, /200 OK/);
      assert.ok(fourth.closed);
      for (const socket of sockets) socket.destroy();
      await settle(() => bounded.inFlight() === 0);
      await settle(() => true);
      assert.match((await speak(bounded.port, [NEXT], /next$/)).text, /200 OK/);
      await bounded.close(0);
    });

    it('closes further connections beyond the bound on all', async () => {
      const bounded = await open({ maxConnections: 2 });
      const sockets = [net.connect(bounded.port, '127.0.0.1'), net.connect(bounded.port, '127.0.0.1')];
      await Promise.all(sockets.map((socket) => once(socket, 'connect')));
      await new Promise((resolve) => setTimeout(resolve, 20));
      const third = await speak(bounded.port, [NEXT], undefined);
      assert.equal(third.text, '');
      assert.ok(third.closed);
      for (const socket of sockets) socket.destroy();
      await bounded.close(0);
    });

    it('finishes what is in flight while closing, and closes connections as it answers', async () => {
      const closing = await open();
      handler.held = [];
      const reply = speak(closing.port, [post('/hold', 'x')], undefined);
      await settle(() => handler.held.length === 1);
      const closed = closing.close(5000);
      await assert.rejects(once(net.connect(closing.port, '127.0.0.1'), 'connect'));
      handler.held[0].respond(200, '', 'drained');
      assert.equal(await closed, 0);
      const { text, closed: gone } = await reply;
      assert.match(text, /connection: close[\s\S]*drained$/i);
      assert.ok(gone);
    });

    it('cuts what outlives the grace, and counts it', async () => {
      const closing = await open();
      handler.held = [];
      const reply = speak(closing.port, [post('/hold', 'x')], undefined);
      await settle(() => handler.held.length === 1);
      assert.equal(await closing.close(10), 1);
      assert.ok((await reply).closed);
    });

    it('closes connections while the server says it is closing', async () => {
      let closing = false;
      const drained = await open({ closing: () => closing });
      const agent = new http.Agent({ keepAlive: true });
      const get = (): Promise<string | undefined> =>
        new Promise((resolve, reject) => {
          http
            .get({ port: drained.port, host: '127.0.0.1', path: '/next', agent }, (response) => {
              response.resume().on('end', () => resolve(response.headers.connection));
            })
            .on('error', reject);
        });
      assert.notEqual(await get(), 'close');
      closing = true;
      assert.equal(await get(), 'close');
      agent.destroy();
      await drained.close(0);
    });

    it('says which address it cannot bind', async () => {
      await assert.rejects(open({ port: server.port, exclusivePort: true }));
      await assert.rejects(freePort('127.0.0.1', server.port), /cannot listen on 127\.0\.0\.1/);
      assert.ok((await freePort('127.0.0.1', 0)) > 0);
    });

    it('opens on another port when the one that was free is taken meanwhile, and never on another than asked for', async () => {
      const asked: number[] = [];
      const opened = await openOnFree('127.0.0.1', 0, async (port) => {
        asked.push(port);
        if (asked.length < 3) throw new Error('taken');
        return port;
      });
      assert.equal(asked.length, 3);
      assert.equal(opened, asked[2]);
      const taken = () => Promise.reject(new Error('taken'));
      await assert.rejects(openOnFree('127.0.0.1', 0, taken), /taken/);
      const port = await freePort('127.0.0.1', 0);
      let tries = 0;
      const once = () => {
        tries++;
        return taken();
      };
      await assert.rejects(openOnFree('127.0.0.1', port, once), /taken/);
      assert.equal(tries, 1);
    });

    it('speaks TLS', async () => {
      const folder = mkdtempSync(join(tmpdir(), 'switchyard-tls-'));
      const key = join(folder, 'key.pem');
      const cert = join(folder, 'cert.pem');
      const subject = ['-subj', '/CN=localhost', '-addext', 'subjectAltName=DNS:localhost,IP:127.0.0.1'];
      execFileSync(
        'openssl',
        ['req', '-x509', '-newkey', 'rsa:2048', '-nodes', '-days', '2', '-keyout', key, '-out', cert, ...subject],
        { stdio: 'ignore' },
      );
      const secure = await open({ tls: { certFile: cert, keyFile: key } });
      const text = await new Promise<string>((resolve, reject) => {
        const request = https.request(
          { host: '127.0.0.1', port: secure.port, path: '/late', method: 'POST', ca: readFileSync(cert) },
          (response) => {
            let body = '';
            response.on('data', (chunk) => {
              body += chunk;
            });
            response.on('end', () => resolve(body));
          },
        );
        request.on('error', reject).end('over TLS');
      });
      assert.equal(text, 'over TLS');
      await secure.close(0);
      await assert.rejects(open({ tls: { certFile: `${cert}-missing`, keyFile: key } }), (error: Error) => {
        assert.match(error.message, /tls\.certFile/);
        assert.doesNotMatch(error.message, new RegExp(folder));
        return true;
      });
      rmSync(folder, { recursive: true });
    });
  });
}

describe('choosing a socket library', () => {
  it('reads SWITCHYARD_HTTP', () => {
    assert.equal(httpLibrary(undefined), 'auto');
    assert.equal(httpLibrary('native'), 'native');
    assert.equal(httpLibrary('uws'), 'uws');
    assert.equal(httpLibrary('node'), 'node');
    assert.throws(() => httpLibrary('nginx'), /nginx.*native, uws, node and auto/);
  });

  it('falls back to node with one warning that names the remedy', async () => {
    const options = { host: '127.0.0.1', port: 0, maxBodyBytes: 10 };
    const handler: HttpHandler = { onRequest: (_head, exchange) => exchange.respond(200, '', 'up') };
    const lacking = (reason: string) => () => Promise.reject(new Error(reason));
    const find = { native: lacking('the addon is not in use'), uws: lacking('GLIBC_2.38 not found') };
    const warnings: string[] = [];
    const warner = { warn: (fields: object, message: string) => warnings.push(JSON.stringify(fields) + message) };
    const servers = [
      await listen(options, handler, 'auto', warner, find),
      await listen(options, handler, 'auto', warner, find),
    ];
    for (const server of servers) {
      assert.equal(server.kind, 'node');
      assert.equal(await (await fetch(`http://127.0.0.1:${server.port}/`)).text(), 'up');
      await server.close(0);
    }
    assert.equal(warnings.length, 1);
    assert.match(warnings[0], /GLIBC_2\.38/);
    assert.match(warnings[0], /SWITCHYARD_HTTP=node/);
  });

  it('takes the addon, else uWS, else node; never uWS where client certificates are demanded', async () => {
    const there = () => Promise.resolve();
    const away = () => Promise.reject(new Error('not here'));
    const files = { certFile: 'a.pem', keyFile: 'a.key' };
    const chosen = (native: () => Promise<void>, uws: () => Promise<void>, tls?: typeof files & { caFile?: string }) =>
      chooseLibrary('auto', tls, undefined, { native, uws });
    assert.equal(await chosen(there, there), 'native');
    assert.equal(await chosen(there, there, { ...files, caFile: 'ca.pem' }), 'native');
    assert.equal(await chosen(away, there, files), 'uws');
    assert.equal(await chosen(away, there, { ...files, caFile: 'ca.pem' }), 'node');
    assert.equal(await chosen(away, away), 'node');
    assert.equal(await chooseLibrary('uws', { ...files, caFile: 'ca.pem' }), 'uws');
  });

  it('demands client certificates wherever it can', async () => {
    const options = { host: '127.0.0.1', port: 0, maxBodyBytes: 10 };
    const handler: HttpHandler = {
      onRequest: (head, exchange) => exchange.respond(200, '', head.certificateName()),
    };
    const folder = mkdtempSync(join(tmpdir(), 'switchyard-mtls-'));
    const file = (name: string): string => join(folder, name);
    const make = (name: string): void => {
      const subject = ['-subj', `/CN=${name}`, '-addext', 'subjectAltName=DNS:localhost,IP:127.0.0.1'];
      const files = ['-keyout', file(`${name}.key`), '-out', file(`${name}.pem`)];
      execFileSync('openssl', ['req', '-x509', '-newkey', 'rsa:2048', '-nodes', '-days', '2', ...files, ...subject], {
        stdio: 'ignore',
      });
    };
    make('client');
    make('stranger');
    make('gateway');
    const tls = { certFile: file('gateway.pem'), keyFile: file('gateway.key'), caFile: file('client.pem') };
    let secure: HttpServer;
    const get = (name: string): Promise<string> =>
      new Promise((resolve) => {
        const identity =
          name === '' ? {} : { cert: readFileSync(file(`${name}.pem`)), key: readFileSync(file(`${name}.key`)) };
        https
          .get(
            { host: '127.0.0.1', port: secure.port, ca: readFileSync(file('gateway.pem')), agent: false, ...identity },
            (response) => {
              response.once('data', (chunk) => resolve(String(chunk)));
              response.once('end', () => resolve(''));
            },
          )
          .on('error', () => resolve('refused'));
      });
    for (const kind of ['node', 'native'] as const) {
      if (!SOCKET_LIBRARIES.includes(kind)) continue;
      secure = await listen({ ...options, tls }, handler, kind, log);
      assert.equal(await get('client'), 'client');
      assert.equal(await get('stranger'), 'refused');
      assert.equal(await get(''), 'refused');
      await secure.close(0);
    }
    await assert.rejects(listen({ ...options, tls }, handler, 'uws', log), /cannot demand client certificates/);
    rmSync(folder, { recursive: true });
  });
});

describe('slow bodies and slow readers on node', () => {
  it('are cut below the floor, after ten seconds', () => {
    assert.equal(tooSlow(0, 9_999, 1024), false);
    assert.equal(tooSlow(0, 10_000, 1024), true);
    assert.equal(tooSlow(10_240, 10_000, 1024), false);
    assert.equal(tooSlow(10_239, 10_000, 1024), true);
    assert.equal(tooSlow(20_000, 20_000, 1024), true);
  });

  it('are cut ten seconds after they became slow, however quick they were before', () => {
    const watch = new ByteWatch(0);
    const cutAt = (bytes: (second: number) => number): number => {
      for (let second = 1; second < 100; second++) if (watch.tooSlow(bytes(second), second * 1000, 1024)) return second;
      return 100;
    };
    assert.equal(
      cutAt((second) => (second <= 12 ? second * 1_000_000 : 12_000_000 + second)),
      30,
    );
    const steady = new ByteWatch(0);
    for (let second = 1; second < 100; second++)
      assert.equal(steady.tooSlow(second * 1100, second * 1000, 1024), false);
  });
});
