import assert from 'node:assert/strict';
import type { OutgoingHttpHeaders } from 'node:http2';
import { describe, it } from 'node:test';
import type { CallStream } from './call-stream.ts';
import { Dispatcher } from './dispatcher.ts';
import type { GrpcCall } from './grpc-call.ts';

/** A stream without a transport: the test is its client. */
class TestStream implements CallStream {
  gone = false;
  requestEnded = false;
  unsentBytes = 0;
  peer = '';
  certificateName = '';
  call: GrpcCall | undefined;
  answer: OutgoingHttpHeaders | undefined;
  attach(call: GrpcCall): void {
    this.call = call;
  }
  pause(): void {}
  resume(): void {}
  respond(): void {}
  refuse(headers: OutgoingHttpHeaders): void {
    this.answer = headers;
    this.gone = true;
  }
  write(): boolean {
    return true;
  }
  end(): void {}
  reset(): void {}
}

const PREFIX = Buffer.from([0, 0, 0x10, 0, 0]);

function open(path: string, now: number): { stream: TestStream; sweep(now: number): void; refused(): string } {
  const dispatcher = new Dispatcher(4 << 20);
  dispatcher.register('/unary', { kind: 'unary', handle: () => assert.fail('no whole message came') });
  dispatcher.register('/stream', { kind: 'stream', open: () => ({ message: () => {}, cancelled: () => {} }) });
  const stream = new TestStream();
  dispatcher.open(stream, { ':method': 'POST', ':path': path, 'content-type': 'application/grpc' }, now);
  const refused = (): string =>
    stream.answer === undefined
      ? ''
      : `${stream.answer['grpc-status']} ${decodeURIComponent(String(stream.answer['grpc-message']))}`;
  return { stream, sweep: (at) => dispatcher.sweep(at), refused };
}

describe('calls whose messages do not come', () => {
  it('are ended after 30 s, where they are unary and nothing came', () => {
    const unary = open('/unary', 1000);
    const streaming = open('/stream', 1000);
    unary.sweep(31_000);
    assert.equal(unary.refused(), '');
    unary.sweep(31_001);
    assert.match(unary.refused(), /^4 the message of the call did not come/);
    streaming.sweep(3_600_000);
    assert.equal(streaming.refused(), '');
  });

  for (const path of ['/unary', '/stream']) {
    it(`are ended when only a prefix came, or part of one: ${path}`, () => {
      for (const bytes of [PREFIX, PREFIX.subarray(0, 3), Buffer.concat([PREFIX, Buffer.alloc(100_000)])]) {
        const { stream, sweep, refused } = open(path, 1000);
        stream.call!.onData(bytes);
        sweep(2000);
        sweep(11_999);
        assert.equal(refused(), '');
        sweep(32_001);
        assert.match(refused(), /^4 a message (stopped arriving|arrives slower than 1024 bytes)/);
      }
    });

    it(`are ended when bytes come too slowly, and only then: ${path}`, () => {
      const slow = open(path, 0);
      const fast = open(path, 0);
      for (const { stream } of [slow, fast]) stream.call!.onData(PREFIX);
      for (let second = 1; second <= 60; second++) {
        if (slow.refused() === '') slow.stream.call!.onData(Buffer.alloc(900));
        fast.stream.call!.onData(Buffer.alloc(1100));
        slow.sweep(second * 1000);
        fast.sweep(second * 1000);
        if (second < 11) assert.equal(slow.refused(), '');
      }
      assert.match(slow.refused(), /^4 a message arrives slower than 1024 bytes per second/);
      assert.equal(fast.refused(), '');
    });
  }

  it('count from the message that is not whole, not from the stream', () => {
    const { stream, sweep, refused } = open('/stream', 0);
    const whole = Buffer.from([0, 0, 0, 0, 1, 7]);
    for (let second = 1; second <= 200; second++) {
      stream.call!.onData(Buffer.concat([whole.subarray(3), whole, whole.subarray(0, 3)].slice(second === 1 ? 1 : 0)));
      sweep(second * 1000);
      assert.equal(refused(), '');
    }
  });
});
