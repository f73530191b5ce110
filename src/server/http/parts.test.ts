import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import type { Served } from '../../pipeline/types.ts';
import type { IdSource } from '../../shared/ids.ts';
import { AnswerHead, InferenceHeads, inferenceHead, splitHead, threadHead } from './answer-head.ts';
import { BodyBuffer, heldBytes } from './body.ts';
import { outputLimit, requestEncoding, responseEncoding } from './compression.ts';
import { HeadFields, parseLength } from './head.ts';
import { headerBlock } from './socket.ts';

describe('the head of a request', () => {
  it('forgets the request before', () => {
    const head = new HeadFields();
    const names = ['api-key', 'authorization', 'traceparent', 'content-encoding', 'accept-encoding', 'x-request-id'];
    const more = ['inference-header-content-length', 'x-request-timeout-ms', 'x-switchyard-priority', 'content-length'];
    for (const name of [...names, ...more]) head.add(name, '7');
    head.add('connection', 'close');
    assert.equal(head.complete(100), undefined);
    assert.equal(head.contentLength, 7);
    assert.equal(head.header('x-request-id'), '7');
    head.reset();
    const fresh = new HeadFields();
    // The arrays are written over, not emptied.
    const arrays = { names: [], values: [] };
    assert.deepEqual({ ...head, ...arrays }, { ...fresh, ...arrays });
    assert.equal(head.header('x-request-id'), '');
    assert.equal(head.complete(100), undefined);
    assert.equal(head.contentLength, -1);
  });

  it('refuses every framing but one Content-Length', () => {
    const refusal = (...headers: [string, string][]): number | undefined => {
      const head = new HeadFields();
      for (const [name, value] of headers) head.add(name, value);
      return head.complete(1000)?.status;
    };
    assert.equal(refusal(['content-length', '1000']), undefined);
    assert.equal(refusal(['content-length', '1001']), 413);
    assert.equal(refusal(['content-length', '5'], ['content-length', '5']), 400);
    assert.equal(refusal(['content-length', '']), 400);
    assert.equal(refusal(['transfer-encoding', '']), 411);
    assert.equal(refusal(['transfer-encoding', 'chunked'], ['content-length', '5']), 411);
    assert.equal(refusal(['x', 'a'.repeat(17_000)]), 431);
  });

  it('reads lengths as digits only', () => {
    fc.assert(fc.property(fc.nat(), (n) => parseLength(String(n)) === n));
    fc.assert(
      fc.property(fc.string(), (text) => {
        const plain = /^[0-9]{1,15}$/.test(text);
        assert.equal(parseLength(text), plain ? Number(text) : -1);
      }),
    );
    assert.equal(parseLength('9'.repeat(16)), -1);
  });
});

describe('BodyBuffer', () => {
  it('gives back what was added, whatever the chunks', () => {
    fc.assert(
      fc.property(fc.array(fc.uint8Array({ maxLength: 300 })), (chunks) => {
        const whole = Buffer.concat(chunks);
        const all = heldBytes({ maxBodyBytes: whole.length });
        const buffer = new BodyBuffer(whole.length, all);
        for (const chunk of chunks) buffer.add(chunk);
        assert.throws(() => buffer.add(Buffer.from('x')), { code: 'invalid_argument' });
        assert.equal(all.held, whole.length);
        assert.ok(Buffer.from(buffer.take()).equals(whole));
        buffer.release();
        assert.equal(all.held, 0);
      }),
    );
  });

  it('reserves no more than 1 MiB on a declared length alone, and grows with what comes', () => {
    const all = heldBytes({ maxBodyBytes: 1e12 });
    const small = new BodyBuffer(1e12, all);
    small.add(Buffer.alloc(10));
    assert.equal(small.take().buffer.byteLength, 1 << 20);
    const large = new BodyBuffer(1e12, all);
    large.add(Buffer.alloc(10));
    large.add(Buffer.alloc(2 << 20, 7));
    const taken = large.take();
    assert.ok(taken.buffer.byteLength <= 4 * ((2 << 20) + 10));
    assert.equal(taken[10], 7);
    assert.equal(taken.byteLength, (2 << 20) + 10);
  });

  it('takes no more than all bodies may hold together, until one is released', () => {
    const all = heldBytes({ maxBodyBytes: 100, maxHeldBytes: 150 });
    const first = new BodyBuffer(100, all);
    const second = new BodyBuffer(100, all);
    first.add(Buffer.alloc(100));
    second.add(Buffer.alloc(50));
    assert.throws(() => second.add(Buffer.alloc(1)), { code: 'overloaded', retryAfterMs: 1000 });
    first.take();
    assert.throws(() => second.add(Buffer.alloc(1)), { code: 'overloaded' });
    first.release();
    first.release();
    second.add(Buffer.alloc(50));
    assert.equal(all.held, 100);
  });
});

describe('compression', () => {
  it('bounds what a body may become', () => {
    assert.equal(outputLimit(10, 1 << 30), 1 << 20);
    assert.equal(outputLimit(1 << 20, 1 << 30), 100 << 20);
    assert.equal(outputLimit(1 << 20, 5 << 20), 5 << 20);
  });

  it('takes one known coding of a request', () => {
    assert.equal(requestEncoding('GZIP'), 'gzip');
    assert.equal(requestEncoding('identity'), '');
    for (const other of ['br', 'gzip,gzip', 'zstd', ' ']) assert.throws(() => requestEncoding(other), /not supported/);
  });

  it('compresses for those who ask, when it pays', () => {
    const choose = (accept: string, bytes: number, binary = false): string =>
      responseEncoding(accept, bytes, binary, 16_384);
    assert.equal(choose('gzip', 1024), 'gzip');
    assert.equal(choose('gzip', 1023), '');
    assert.equal(choose('deflate', 5000, true), 'deflate');
    assert.equal(choose('gzip, deflate', 16_383), '');
    assert.equal(choose('gzip, deflate', 16_384), 'gzip');
    assert.equal(choose('gzip, deflate', 1e6, true), '');
    assert.equal(choose('br;q=1, deflate;q=0.5', 1e6), 'deflate');
    assert.equal(choose('gzip;q=0, deflate;q=0.0', 1e6), '');
    assert.equal(choose('gzip;q=0.001, deflate', 1e6), 'gzip');
    assert.equal(choose('*', 1e6), '');
  });
});

describe('header values', () => {
  it('cannot break out of their line', () => {
    assert.equal(
      headerBlock([
        ['A', 'b'],
        ['C', 'd'],
      ]),
      'A: b\r\nC: d',
    );
    for (const bad of ['a\r\nSet-Cookie: x', 'a\nb', 'a\0b']) assert.throws(() => headerBlock([['A', bad]]));
  });

  it('format durations to the microsecond', () => {
    const timings = { queue: 0, computeInput: 0, computeInfer: 0, computeOutput: 0, batchSize: 3 };
    const text = (queue: number) =>
      splitHead(
        threadHead
          .begin(200)
          .serverTiming({ ...timings, queue })
          .view(),
      ).headers;
    const queueOf = (queue: number) => /^Server-Timing: queue;dur=([^,]*), .*, batch;desc="3"$/.exec(text(queue))?.[1];
    fc.assert(
      fc.property(fc.double({ min: 0, max: 1e6, noNaN: true }), (ms) => {
        const printed = queueOf(ms);
        assert.match(String(printed), /^\d+(\.\d{3})?$/);
        assert.ok(Math.abs(Number(printed) - ms) <= 0.000501, `${ms} → ${printed}`);
      }),
    );
    assert.equal(queueOf(-1), '0');
    assert.equal(queueOf(Number.NaN), '0');
  });

  it('make a head of any length', () => {
    const long = `X-Long: ${'a'.repeat(5000)}`;
    const head = threadHead.begin(503).line(long).integerLine('X-Count', 12).view();
    assert.deepEqual(splitHead(head), { status: 503, headers: `${long}\r\nX-Count: 12` });
    assert.deepEqual(splitHead(threadHead.begin(200).view()), { status: 200, headers: '' });
  });
});

describe('heads of inferences', () => {
  it('are those that would be printed anew, whatever came before', () => {
    const heads = new InferenceHeads();
    const few = fc.constantFrom(0, 0.5, 1.25);
    const timings = fc.record({
      queue: few,
      computeInput: few,
      computeInfer: few,
      computeOutput: few,
      batchSize: fc.integer({ min: 1, max: 2 }),
    });
    const texts = fc.constantFrom('', 'p-0', 'p-zz').map((id): Pick<Served, 'id' | 'ids' | 'number'> => ({ id }));
    const ids: IdSource[] = ['p-', 'q-'].map((prefix) => ({
      prefix,
      next: () => 0,
      text: (number) => prefix + number.toString(36),
    }));
    const number = fc.oneof(fc.nat(40), fc.nat(36 ** 4), fc.nat(2 ** 31 - 1), fc.maxSafeNat());
    const numbers = fc
      .tuple(fc.constantFrom(...ids), number)
      .map(([source, each]) => ({ id: source.text(each), ids: source, number: each }));
    const decided = fc.record({
      // The last two share a place among the lines that are kept.
      variant: fc.constantFrom('', 'stable', 'next', 'text'),
      version: fc.constantFrom('', '3'),
      anomalies: fc.constantFrom(undefined, 'age: out of range'),
    });
    const served = fc.tuple(fc.oneof(texts, numbers), decided).map(([id, rest]): Served => ({ ...id, ...rest }));
    const absent = { nil: undefined };
    const asked = fc.tuple(fc.constantFrom(-1, 0, 70), fc.option(timings, absent), fc.option(served, absent));
    fc.assert(
      fc.property(fc.array(asked, { maxLength: 40 }), (drawn) => {
        for (const [jsonLength, times, by] of drawn) {
          const anew = inferenceHead(new AnswerHead(), jsonLength);
          if (times !== undefined) anew.serverTiming(times);
          if (by !== undefined) anew.served(by);
          const given = by === undefined ? heads.of(jsonLength, times) : heads.ofRouted(jsonLength, times, by);
          assert.equal(Buffer.from(given).toString(), Buffer.from(anew.view()).toString());
        }
      }),
    );
  });
});
