import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { frameMessage } from '../../protocol/grpc/wire-writer.ts';
import { SwitchyardError } from '../../shared/errors.ts';
import { decompress } from './compression.ts';
import { MessageAssembler } from './message-assembler.ts';

describe('MessageAssembler', () => {
  it('gives the same messages however the bytes are cut', () => {
    const messages = fc.array(fc.uint8Array({ maxLength: 40 }), { maxLength: 6 });
    fc.assert(
      fc.property(messages, fc.array(fc.integer({ min: 1, max: 30 }), { minLength: 1 }), (wanted, cuts) => {
        const bytes = Buffer.concat(wanted.map((message) => frameMessage(message)));
        const assembler = new MessageAssembler(64);
        const got: Buffer[] = [];
        for (let at = 0, i = 0; at < bytes.length; i++) {
          const size = cuts[i % cuts.length];
          assembler.push(bytes.subarray(at, at + size));
          at += size;
          for (let frame = assembler.next(); frame !== undefined; frame = assembler.next()) got.push(frame.bytes);
        }
        assert.deepEqual(
          got,
          wanted.map((message) => Buffer.from(message)),
        );
        assert.ok(assembler.idle);
      }),
    );
  });

  it('refuses a declared length over the limit before the message arrives', () => {
    const assembler = new MessageAssembler(100);
    assembler.push(Buffer.from([0, 0, 0, 0, 101]));
    assert.throws(
      () => assembler.next(),
      (error: unknown) =>
        error instanceof SwitchyardError && error.grpcStatus === 8 && /101 bytes.*100 bytes/.test(error.message),
    );
    const largest = new MessageAssembler(100);
    largest.push(Buffer.from([0, 0, 0, 0, 100]));
    assert.equal(largest.next(), undefined);
    assert.equal(largest.idle, false);
  });

  it('refuses unknown flags', () => {
    const assembler = new MessageAssembler(100);
    assembler.push(Buffer.from([2, 0, 0, 0, 0]));
    assert.throws(() => assembler.next(), /flag 2/);
  });
});

describe('decompress', () => {
  it('stops a bomb at 256 times its input', async () => {
    const { gzipSync } = await import('node:zlib');
    const bomb = gzipSync(Buffer.alloc(64 << 20));
    await assert.rejects(decompress('gzip', bomb, 1 << 30), /unpacks to more than/);
    await assert.rejects(decompress('gzip', gzipSync(Buffer.alloc(2000)), 1000), /more than the 1000 bytes/);
    assert.equal((await decompress('gzip', gzipSync(Buffer.alloc(1 << 20)), 1 << 30)).length, 1 << 20);
  });

  it('refuses what is not compressed', async () => {
    await assert.rejects(decompress('deflate', Buffer.from('plain'), 1000), /not valid deflate/);
    await assert.rejects(decompress('identity', Buffer.from('plain'), 1000), /no grpc-encoding/);
  });
});
