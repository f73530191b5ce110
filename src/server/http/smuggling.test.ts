import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { speak } from '../../testing/raw-http.ts';
import { SOCKET_LIBRARIES } from '../../testing/socket-libraries.ts';
import { listen } from './open.ts';
import type { HttpServer } from './socket.ts';

/**
 * Requests that two parsers may frame differently. Behind each one's head stands another request that a strict reader
 * takes for a body or refuses to reach; if it is ever served, a proxy in front can be made to speak for its clients.
 */
const hidden = (name: string): string => `GET /hidden/${encodeURIComponent(name)} HTTP/1.1\r\nHost: x\r\n\r\n`;

/** Written as the header lines of a POST whose Content-Length covers all that follows; a chunked reader stops early. */
const TRANSFER_ENCODINGS = [
  'Transfer-Encoding: chunked',
  'transfer-encoding: chunked',
  'TRANSFER-ENCODING: CHUNKED',
  'Transfer-Encoding:chunked',
  'Transfer-Encoding:\tchunked',
  'Transfer-Encoding:  chunked  ',
  'Transfer-Encoding : chunked',
  'Transfer-Encoding\t: chunked',
  ' Transfer-Encoding: chunked',
  '\tTransfer-Encoding: chunked',
  'X: y\r\n Transfer-Encoding: chunked',
  'X: y\nTransfer-Encoding: chunked',
  'X: y\rTransfer-Encoding: chunked',
  'X: y\0\r\nTransfer-Encoding: chunked',
  'Transfer-Encoding:\r\n chunked',
  'Transfer-Encoding: \x0bchunked',
  'Transfer-Encoding: chunked\x0b',
  'Transfer-Encoding: "chunked"',
  'Transfer-Encoding: xchunked',
  'Transfer-Encoding: chunkedx',
  'Transfer-Encoding: chunked, identity',
  'Transfer-Encoding: identity, chunked',
  'Transfer-Encoding: gzip, chunked',
  'Transfer-Encoding: chunked;q=1',
  'Transfer-Encoding: chunked\r\nTransfer-Encoding: identity',
  'Transfer-Encoding: identity\r\nTransfer-Encoding: chunked',
  'Transfer-Encoding: cow',
  'Transfer-Encoding:',
  'Transfer-Encoding: \xa0chunked',
  'Transfer\x00-Encoding: chunked',
  'Transfer-\x0bEncoding: chunked',
  'Transfer-Encoding\xff: chunked',
  'Foo: bar\r\n\rTransfer-Encoding: chunked',
  'Connection: Transfer-Encoding\r\nTransfer-Encoding: chunked',
  'Connection: Content-Length',
  ': y\r\nTransfer-Encoding: chunked',
];

/** Lengths that a lax reader takes for the `LEN` bytes that follow, and another for none. */
const CONTENT_LENGTHS = [
  'Content-Length: LEN\r\nContent-Length: 0',
  'Content-Length: 0\r\nContent-Length: LEN',
  'Content-Length: LEN\r\nContent-Length: LEN',
  'Content-Length: LEN, LEN',
  'Content-Length: 0, LEN',
  'Content-Length: +LEN',
  'Content-Length: -LEN',
  'Content-Length: LEN.0',
  'Content-Length: LENe0',
  'Content-Length: 0xLEN',
  'Content-Length: LEN;',
  'Content-Length: "LEN"',
  'Content-Length: LEN LEN',
  'Content-Length: \x0bLEN',
  'Content-Length: LEN\x0b',
  'Content-Length: LEN\0',
  'Content-Length: \xb2LEN',
  'Content-Length: 18446744073709551616LEN',
  'Content-Length : LEN',
  'Content-Length\t: LEN',
  ' Content-Length: LEN',
  'X: y\r\n Content-Length: LEN',
  'X: y\nContent-Length: LEN',
  'X: y\rContent-Length: LEN',
  'Content-Length:\r\n LEN',
  'Content-Length: LEN\r',
  'Content-Length\xff: LEN',
  'Content-\0Length: LEN',
  'Content-Length',
  'Content-Length LEN',
  ': LEN',
  ': y\r\nContent-Length: LEN',
];

/** Whole beginnings of a message. What stands in them may be refused or answered; the request behind must not be. */
const CHUNKS = [
  '0\r\n\r\n',
  '00000000\r\n\r\n',
  '0;a=b\r\n\r\n',
  '0\n\n',
  '0\r\n\n',
  '0\r\r',
  '1\r\nZ\r\n0\r\n\r\n',
  '1\r\nZZ0\r\n\r\n',
  '1 \r\nZ\r\n0\r\n\r\n',
  '0x1\r\nZ\r\n0\r\n\r\n',
  '+1\r\nZ\r\n0\r\n\r\n',
  '-1\r\nZ\r\n0\r\n\r\n',
  'ffffffffffffffff1\r\nZ\r\n0\r\n\r\n',
  '10000000000000000\r\nZ\r\n0\r\n\r\n',
  '1;\n\r\nZ\r\n0\r\n\r\n',
  '1;a="\r\n"\r\nZ\r\n0\r\n\r\n',
  '0\r\nContent-Length: 5\r\n\r\n',
  '0\r\nX: y\n\r\n\r\n',
];

function corpus(): [string, string][] {
  const requests: [string, string][] = [];
  for (const line of TRANSFER_ENCODINGS) {
    const body = `0\r\n\r\n${hidden(line)}`;
    for (const [first, second] of [
      [`Content-Length: ${body.length}`, line],
      [line, `Content-Length: ${body.length}`],
    ]) {
      requests.push([line, `POST /outer HTTP/1.1\r\nHost: x\r\n${first}\r\n${second}\r\n\r\n${body}`]);
    }
  }
  for (const line of CONTENT_LENGTHS) {
    const body = hidden(line);
    requests.push([
      line,
      `POST /outer HTTP/1.1\r\nHost: x\r\n${line.replaceAll('LEN', String(body.length))}\r\n\r\n${body}`,
    ]);
  }
  for (const chunk of CHUNKS) {
    for (const version of ['1.1', '1.0']) {
      requests.push([
        chunk,
        `POST /outer HTTP/${version}\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n${chunk}${hidden(chunk)}`,
      ]);
    }
  }
  return requests;
}

for (const library of SOCKET_LIBRARIES) {
  describe(`request smuggling against ${library}`, () => {
    const served: string[] = [];
    let server: HttpServer;
    before(async () => {
      server = await listen(
        { host: '127.0.0.1', port: 0, maxBodyBytes: 1 << 20 },
        {
          onRequest(head, exchange) {
            served.push(head.path);
            exchange.receive({ onBody: () => exchange.respond(200, '', 'ok'), onAbort: () => {} });
          },
        },
        library,
        { warn: () => {} },
      );
    });
    after(() => server.close(0));

    it('a plain request in its place is served', async () => {
      const { text } = await speak(server.port, [hidden('plain')], /ok$/);
      assert.match(text, /200 OK/);
      assert.deepEqual(served.splice(0), ['/hidden/plain']);
    });

    for (const [way, cut] of [
      ['in one piece', (request: string) => [request]],
      ['head and rest apart', (request: string) => request.split(/(?<=\r\n\r\n)/)],
      ['in many pieces', (request: string) => request.match(/[\s\S]{1,17}/g) as string[]],
    ] as const) {
      it(`serves no request that hides behind another, sent ${way}`, async () => {
        const results = await Promise.all(
          corpus().map(async ([name, request]) => ({
            name,
            request,
            ...(await speak(server.port, cut(request), undefined, 700)),
          })),
        );
        assert.deepEqual(served.filter((path) => path.startsWith('/hidden')).map(decodeURIComponent), []);
        for (const { request, text } of results) {
          // uWS tells a stranger behind a refused request that it cannot be understood, as it closes.
          const [, ...further] = text.match(/^HTTP\/1\.1 \d+/gm) ?? [];
          const refused = further.every((status) => /^HTTP\/1\.1 (4\d\d|505)/.test(status));
          assert.ok(refused, `${further} behind ${JSON.stringify(request)}`);
          assert.doesNotMatch(text, /^HTTP\/1\.1 50[0-4]/m, JSON.stringify(request));
        }
        served.length = 0;
        assert.match((await speak(server.port, [hidden('next')], /ok$/)).text, /200 OK/);
        served.length = 0;
      });
    }
  });
}
