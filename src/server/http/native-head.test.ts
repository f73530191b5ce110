import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { setTimeout } from 'node:timers/promises';
import fc from 'fast-check';
import type { HeaderBytes } from '../../pipeline/types.ts';
import { native } from '../../tensor/native.ts';
import { readAnswers } from '../../testing/http-answers.ts';
import { speak } from '../../testing/raw-http.ts';
import { listen } from './open.ts';
import type { HttpHandler, HttpServer } from './socket.ts';

/** More than the addon has room for. */
const NAMES = Array.from({ length: 20 }, (_, i) => `x-name-${i}`);

/** Their values get no numbers. */
const UNALIKE = NAMES.filter((_, i) => i % 3 === 0);

/** Answers with what the headers say that the query names. */
const handler: HttpHandler = {
  onRequest(head, exchange): void {
    const asked = head.query.split(',');
    const kept = head.keep({ names: asked, units: UNALIKE });
    const values = asked.map((name) => head.header(name));
    const lists = asked.map((name) => head.headerList(name));
    const fields = [head.requestId, head.traceparent];
    exchange.receive({
      onAbort: () => {},
      onBody: () => {
        const again = asked.map((name) => kept.header(name) ?? '');
        const lying = asked.flatMap((name) => {
          const where = kept.bytes?.(name);
          return where === undefined ? [] : [[name, latin1(where)]];
        });
        exchange.respond(200, '', JSON.stringify([fields, values, lists, again, lying, head.header(asked[0])]));
      },
    });
  },
};

const latin1 = ({ block, at, length }: HeaderBytes): string =>
  Buffer.from(block.subarray(at, at + length)).toString('latin1');

const skip = native === undefined && 'the addon is not in use';

describe('headers that are asked for by name', { skip }, () => {
  let server: HttpServer;
  before(async () => {
    const options = { host: '127.0.0.1', port: 0, maxBodyBytes: 100 };
    server = await listen(options, handler, 'native', { warn: () => {} });
  });
  after(() => server.close(0));

  const header = fc.tuple(
    fc.constantFrom(...NAMES, 'x-request-id', 'x-name-', 'host2'),
    fc.boolean(),
    // Some come again and are told by number, the long ones never are.
    fc.oneof(fc.stringMatching(/^[!-~]{0,12}$/), fc.stringMatching(/^[a-c]$/), fc.stringMatching(/^[!-~]{63,66}$/)),
  );
  const request = fc.record({
    asked: fc.subarray([...NAMES, 'x-request-id', 'absent'], { minLength: 1 }),
    headers: fc.array(header, { maxLength: 8 }),
  });

  it('are those of this request, the first of several, known from before or not, in any number', async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(request, { minLength: 1, maxLength: 4 }), async (requests) => {
        const texts = requests.map(({ asked, headers }) => {
          const lines = headers.map(([name, upper, value]) => `${upper ? name.toUpperCase() : name}:\t${value} \r\n`);
          return `GET /?${asked.join()} HTTP/1.1\r\nHost: x\r\n${lines.join('')}\r\n`;
        });
        const whole = texts.join('');
        const methods = requests.map(() => 'GET');
        const end = { test: (text: string) => readAnswers(text, methods, false).length === requests.length };
        const { text } = await speak(server.port, [whole], end as RegExp);
        const answers = readAnswers(text, methods, false);
        assert.equal(answers.length, requests.length, text);
        for (const [i, { asked, headers }] of requests.entries()) {
          const first = (name: string): string => headers.find(([each]) => each === name)?.[2] ?? '';
          const list = (name: string): string =>
            headers.flatMap(([each, , value]) => (each === name && value !== '' ? [value] : [])).join();
          const [[requestId, traceparent], values, lists, again, lying, later] = JSON.parse(answers[i].body);
          assert.deepEqual(values, asked.map(first));
          assert.deepEqual(lists, asked.map(list));
          assert.deepEqual(again, values);
          for (const [name, value] of lying) assert.equal(value, first(name));
          assert.equal(requestId, headers.findLast(([each]) => each === 'x-request-id')?.[2] ?? '');
          assert.equal(traceparent, '');
          assert.equal(later, '', 'a head is to be gone with its callback');
        }
      }),
      { numRuns: 150 },
    );
  });

  it('are there until the answer, whoever comes meanwhile', async () => {
    const names = ['x-user', 'x-region'];
    const wanted = { names, units: ['x-user'] };
    let held: (() => void) | undefined;
    const holding: HttpHandler = {
      onRequest(head, exchange): void {
        const kept = head.keep(wanted);
        const answer = (): void => {
          const where = kept.bytes?.('x-user');
          const texts = names.map((name) => kept.header(name));
          exchange.respond(200, '', JSON.stringify([where && latin1(where), ...texts]));
        };
        const first = held === undefined && head.path === '/held';
        exchange.receive({
          onAbort: () => {},
          onBody: () => {
            if (first) held = answer;
            else answer();
          },
        });
      },
    };
    const options = { host: '127.0.0.1', port: 0, maxBodyBytes: 100 };
    const own = await listen(options, holding, 'native', { warn: () => {} });
    try {
      const ask = async (path: string, user: string): Promise<unknown> => {
        const response = await fetch(`http://127.0.0.1:${own.port}${path}`, {
          headers: { 'x-user': user, 'x-region': `of-${user}` },
        });
        return response.json();
      };
      const [ann, bob, cid] = ['ann', 'bob', 'cid'].map((user) => user.padEnd(70, '.'));
      // The names are told of from the second request on.
      assert.deepEqual(await ask('/', ann), [null, ann, `of-${ann}`]);
      const waiting = ask('/held', bob);
      while (held === undefined) await setTimeout(1);
      assert.deepEqual(await ask('/', cid), [cid, cid, `of-${cid}`]);
      held();
      assert.deepEqual(await waiting, [null, bob, `of-${bob}`]);
    } finally {
      await own.close(0);
    }
  });
});
