import assert from 'node:assert/strict';
import net from 'node:net';
import { after, before, describe, it } from 'node:test';
import fc from 'fast-check';
import { native } from '../../tensor/native.ts';
import { type RawAnswer, readAnswers } from '../../testing/http-answers.ts';
import { listen } from './open.ts';
import type { HttpExchange, HttpHandler, HttpServer, RequestHead } from './socket.ts';

/** Answers from what the request says alone, so that two servers can be compared. */
const handler: HttpHandler = {
  onRequest(head: RequestHead, exchange: HttpExchange): void {
    const { path, method, query } = head;
    const told = `${method} ${path}?${query} ${head.requestId} ${head.header('x-more')} ${head.contentLength};`;
    if (path === '/early') exchange.respond(404, '', told);
    if (exchange.finished) return;
    exchange.receive({
      onAbort: () => {},
      onBody(bytes) {
        const body = told + Buffer.from(bytes).toString('latin1');
        if (path === '/late') setImmediate(() => exchange.respond(200, 'X-A: b', body));
        else if (path !== '/stream') exchange.respond(200, '', Buffer.from(body, 'latin1'));
        else {
          exchange.startStream(200, 'Content-Type: text/plain');
          exchange.write(told);
          setImmediate(() => {
            exchange.write(Buffer.from(body, 'latin1'));
            exchange.endStream();
          });
        }
      },
    });
  },
};

const MAX_BODY = 100_000;
const END = 'GET /end HTTP/1.1\r\nHost: x\r\n\r\n';

interface Heard {
  answers: RawAnswer[];
  /** The server closed the connection before it had answered the last request. */
  closed: boolean;
}

/**
 * Sends the pieces apart as far as the system lets them be. Resolves when all is answered or the server has closed.
 *
 * @param inTurn each piece is a request, sent when the one before is answered
 */
function speak(port: number, pieces: readonly string[], methods: readonly string[], inTurn = false): Promise<Heard> {
  return new Promise((resolve, reject) => {
    const socket = net.connect({ port, host: '127.0.0.1', noDelay: true });
    let text = '';
    let sent = 1;
    const timer = setTimeout(() => end(new Error(`no end after ${JSON.stringify(text.slice(-2000))}`)), 60_000);
    const end = (error?: Error, closed = false): void => {
      clearTimeout(timer);
      socket.destroy();
      if (error !== undefined) reject(error);
      else resolve({ answers: readAnswers(text, methods, closed), closed });
    };
    socket.on('error', () => {});
    socket.on('close', () => end(undefined, true));
    socket.on('data', (chunk) => {
      text += chunk.toString('latin1');
      const answers = readAnswers(text, methods, false);
      for (; inTurn && sent <= answers.length && sent < pieces.length; sent++) socket.write(pieces[sent], 'latin1');
      if (answers.length >= methods.length && !answers.at(-1)!.closes) end();
    });
    socket.on('connect', async () => {
      for (const piece of inTurn ? pieces.slice(0, 1) : pieces) {
        if (!socket.writable) return;
        socket.write(piece, 'latin1');
        await new Promise((next) => setImmediate(next));
      }
    });
  });
}

function cut(text: string, places: readonly number[]): string[] {
  const at = [...new Set(places.map((place) => Math.floor(place * text.length)))].sort((a, b) => a - b);
  return [0, ...at].map((from, i) => text.slice(from, at[i] ?? text.length)).filter((piece) => piece !== '');
}

const word = fc.stringMatching(/^[a-z0-9]{0,12}$/);
const request = fc
  .record({
    method: fc.constantFrom('GET', 'POST', 'HEAD', 'PUT', 'DELETE', 'OPTIONS'),
    path: fc.constantFrom('/echo', '/early', '/late', '/stream', '/v2/models/a%20b/infer'),
    query: fc.option(word, { nil: undefined }),
    version: fc.constantFrom('1.1', '1.1', '1.1', '1.0'),
    connection: fc.constantFrom('', '', '', 'keep-alive', 'close', 'Close', 'TE, close', 'upgrade-insecure'),
    size: fc.oneof(fc.constant(-1), fc.nat(40), fc.constantFrom(0, 1, 16_384, 16_385, 70_000, MAX_BODY)),
    headers: fc.array(
      fc.tuple(fc.constantFrom('X-Request-Id', 'x-more', 'X-Other'), fc.stringMatching(/^[ -~]{0,20}$/)),
      { maxLength: 3 },
    ),
    expect: fc.boolean(),
    blank: fc.constantFrom('', '', '', ' ', '\t '),
  })
  .map((each) => {
    const lines = [
      `${each.method} ${each.path}${each.query === undefined ? '' : `?${each.query}`} HTTP/${each.version}`,
    ];
    lines.push('Host: x');
    const names = new Set<string>();
    for (const [name, value] of each.headers) {
      if (names.has(name)) continue;
      names.add(name);
      lines.push(`${name}:${each.blank}${value}${each.blank}`);
    }
    if (each.connection !== '') lines.push(`Connection: ${each.connection}`);
    if (each.size >= 0) lines.push(`Content-Length: ${each.size}`);
    if (each.expect && each.size > 0) lines.push('Expect: 100-continue');
    return { method: each.method, text: `${lines.join('\r\n')}\r\n\r\n${'b'.repeat(Math.max(each.size, 0))}` };
  });

const post = (headers: string, body = 'hello'): string => `POST /echo HTTP/1.1\r\nHost: x\r\n${headers}\r\n\r\n${body}`;

/** Requests that both refuse with the same status, and with which the connection ends. */
const REFUSED: Record<string, string> = {
  'Content-Length and Transfer-Encoding': post('Content-Length: 5\r\nTransfer-Encoding: chunked'),
  'Transfer-Encoding and Content-Length': post('Transfer-Encoding: chunked\r\nContent-Length: 5'),
  'chunks alone': post('Transfer-Encoding: chunked', '0\r\n\r\n'),
  'two lengths': post('Content-Length: 5\r\nContent-Length: 6'),
  'two equal lengths': post('Content-Length: 5\r\nContent-Length: 5'),
  'a list of lengths': post('Content-Length: 5, 5'),
  'a signed length': post('Content-Length: +5'),
  'an empty length': post('Content-Length:'),
  'a blank before the colon': post('X-A : b\r\nContent-Length: 5'),
  'a name with a blank': post('X A: b\r\nContent-Length: 5'),
  'a name with a bracket': post('X(A): b\r\nContent-Length: 5'),
  'no name': post(': b\r\nContent-Length: 5'),
  'no colon': post('X-A\r\nContent-Length: 5'),
  'a NUL in a value': post('X-A: b\0c\r\nContent-Length: 5'),
  'a carriage return in a value': post('X-A: b\rc\r\nContent-Length: 5'),
  'a folded line': post('X-A: b\r\n c\r\nContent-Length: 5'),
  'a body over the bound': post(`Content-Length: ${MAX_BODY + 1}`),
  'no Host': 'GET /echo HTTP/1.1\r\nX: y\r\n\r\n',
  'a head over the bound': `GET /echo HTTP/1.1\r\nHost: x\r\nX: ${'a'.repeat(17_000)}\r\n\r\n`,
  'an unknown version': 'GET /echo HTTP/1.2\r\nHost: x\r\n\r\n',
  'a target beyond ASCII': 'GET /\xe9 HTTP/1.1\r\nHost: x\r\n\r\n',
  TLS: '\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 hello\r\n\r\n',
};

/** What node:http serves and the addon refuses: another server, or a proxy, may take it for something else. */
const STRICTER: Record<string, string> = {
  'no version': 'GET /echo\r\nHost: x\r\n\r\n',
  'two Hosts': 'GET /echo HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n',
  "a proxy's target": 'GET http://x/echo HTTP/1.1\r\nHost: x\r\n\r\n',
};

const skip = native === undefined && 'the addon is not in use';

describe('what the addon and node:http answer to the same bytes', { skip }, () => {
  const servers: Record<'native' | 'node', HttpServer | undefined> = { native: undefined, node: undefined };
  before(async () => {
    for (const library of ['native', 'node'] as const) {
      const options = { host: '127.0.0.1', port: 0, maxBodyBytes: MAX_BODY };
      servers[library] = await listen(options, handler, library, { warn: () => {} });
    }
  });
  after(async () => {
    await Promise.all(Object.values(servers).map((server) => server?.close(0)));
  });
  // node is asked one request at a time, each in one piece: what it has not read when it closes would take its answer back.
  const both = (requests: readonly string[], places: readonly number[], methods: string[]): Promise<[Heard, Heard]> =>
    Promise.all([
      speak(servers.native!.port, cut(requests.join(''), places), methods),
      speak(servers.node!.port, requests, methods, true),
    ]);
  const places = fc.array(fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true }), { maxLength: 12 });

  it('is the same for requests in a row, wherever their bytes are cut', async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(request, { minLength: 1, maxLength: 5 }), places, async (requests, cuts) => {
        const methods = [...requests.map(({ method }) => method), 'GET'];
        const [native, node] = await both([...requests.map(({ text }) => text), END], cuts, methods);
        assert.deepEqual(native, node);
      }),
      { numRuns: 60 },
    );
  });

  for (const [name, text] of Object.entries(REFUSED)) {
    it(`is a refusal and the connection's end for ${name}, alone and behind a request`, async () => {
      await fc.assert(
        fc.asyncProperty(places, fc.boolean(), async (cuts, behind) => {
          const methods = behind ? ['GET', 'POST', 'GET'] : ['POST', 'GET'];
          const [native, node] = await both(behind ? [END, text] : [text], cuts, methods);
          const statuses = (heard: Heard): number[] => heard.answers.map(({ status }) => status);
          assert.deepEqual(statuses(native), statuses(node));
          assert.ok(native.closed && node.closed, 'a connection stays open');
          assert.ok(statuses(native).at(-1)! >= 400, `${statuses(native)}`);
          assert.equal(typeof JSON.parse(native.answers.at(-1)!.body).error, 'string');
        }),
        { numRuns: 4 },
      );
    });
  }

  for (const [name, text] of Object.entries(STRICTER)) {
    it(`differs for ${name}: the addon refuses it`, async () => {
      const native = await speak(servers.native!.port, [text], ['GET', 'GET']);
      assert.deepEqual(native, {
        answers: [{ status: 400, body: native.answers[0]?.body, closes: true }],
        closed: true,
      });
      const [node] = (await speak(servers.node!.port, [text], ['GET'])).answers;
      assert.equal(node.status, 200);
    });
  }

  it('is never crossed: many connections at a time hear the answers of their own requests', async () => {
    await Promise.all(
      Array.from({ length: 40 }, async (_, client) => {
        const texts = Array.from({ length: 12 }, (_, i) => {
          const path = ['/echo', '/late', '/stream', '/early'][(client + i) % 4];
          const body = `${client}.${i} `.repeat(i === 11 ? 15_000 : 20);
          return `POST ${path}?${client}.${i} HTTP/1.1\r\nHost: x\r\nContent-Length: ${body.length}\r\n\r\n${body}`;
        });
        const places = Array.from({ length: client % 7 }, (_, i) => (i + client / 40) / 7);
        const methods = texts.map(() => 'POST');
        const { answers } = await speak(servers.native!.port, cut(texts.join(''), places), methods);
        assert.equal(answers.length, texts.length);
        for (const [i, { body }] of answers.entries()) {
          assert.ok(
            body.startsWith(`POST ${/ (\S+) HTTP/.exec(texts[i])![1]} `),
            `${client}.${i} heard ${body.slice(0, 40)}`,
          );
        }
      }),
    );
    assert.equal(servers.native!.inFlight(), 0);
  });

  it('closes connections that are idle, and those whose head does not come, in time', async () => {
    const options = { host: '127.0.0.1', port: 0, maxBodyBytes: 1000, headerTimeoutMs: 1500, keepAliveTimeoutMs: 1500 };
    const server = await listen(options, handler, 'native', { warn: () => {} });
    const heard = await Promise.all([
      speak(server.port, [''], ['GET']),
      speak(server.port, ['\r\n'], ['GET']),
      speak(server.port, [END], ['GET', 'GET']),
      speak(server.port, ['GET /end HTTP/1.1\r\nHo'], ['GET', 'GET']),
      speak(server.port, [`${END}G`], ['GET', 'GET', 'GET']),
    ]);
    assert.deepEqual(
      heard.map(({ answers, closed }) => [closed, ...answers.map(({ status }) => status)]),
      [[true], [true], [true, 200], [true, 408], [true, 200, 408]],
    );
    await server.close(0);
  });

  it('waits for the first request no longer than for a head', async () => {
    const options = {
      host: '127.0.0.1',
      port: 0,
      maxBodyBytes: 1000,
      headerTimeoutMs: 1000,
      keepAliveTimeoutMs: 3.6e6,
    };
    const server = await listen(options, handler, 'native', { warn: () => {} });
    assert.deepEqual(await speak(server.port, [''], ['GET']), { answers: [], closed: true });
    await server.close(0);
  });

  it('tells handlers of requests in flight when the server closes, and takes their answers no more', async () => {
    const held: HttpExchange[] = [];
    let aborted = 0;
    const holder: HttpHandler = {
      onRequest(_head, exchange) {
        exchange.receive({ onBody: () => held.push(exchange), onAbort: () => aborted++ });
      },
    };
    const options = { host: '127.0.0.1', port: 0, maxBodyBytes: 1000 };
    const server = await listen(options, holder, 'native', { warn: () => {} });
    const clients = Array.from({ length: 20 }, () => speak(server.port, [END], ['GET', 'GET']));
    while (held.length < 20) await new Promise((resolve) => setImmediate(resolve));
    assert.equal(await server.close(1), 20);
    assert.equal(aborted, 20);
    for (const exchange of held) {
      exchange.respond(200, '', 'late');
      exchange.startStream(200, '');
      exchange.write('late');
      exchange.endStream();
      exchange.destroy();
    }
    assert.equal(server.inFlight(), 0);
    for (const { answers, closed } of await Promise.all(clients)) assert.deepEqual([answers.length, closed], [0, true]);
  });
});
