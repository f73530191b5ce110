import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { SwitchyardError } from '../../shared/errors.ts';
import { encodeStatusMessage, errorTrailers, parseTimeout } from './status.ts';

describe('encodeStatusMessage', () => {
  it('survives percent-decoding and is printable ASCII', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'grapheme', maxLength: 200 }), (text) => {
        const encoded = encodeStatusMessage(text);
        assert.match(encoded, /^[\x20-\x7e]*$/);
        assert.equal(decodeURIComponent(encoded), text);
      }),
    );
  });

  it('cuts what would not fit a header list', () => {
    assert.ok(encodeStatusMessage('x'.repeat(1 << 20)).length < 4096);
  });
});

describe('errorTrailers', () => {
  it('gives the status and a push-back in milliseconds', () => {
    const trailers = errorTrailers(new SwitchyardError('overloaded', 'later', { retryAfterMs: 12.3 }));
    assert.deepEqual(trailers, { 'grpc-status': '8', 'grpc-message': 'later', 'grpc-retry-pushback-ms': '13' });
  });
});

describe('parseTimeout', () => {
  it('reads every unit', () => {
    const read = ['2H', '3M', '4S', '5m', '6000u', '7000000n', '00000001S'].map(parseTimeout);
    assert.deepEqual(read, [7_200_000, 180_000, 4000, 5, 6, 7, 1000]);
    assert.equal(parseTimeout('99999999S'), 99_999_999_000);
  });

  it('refuses anything else', () => {
    for (const bad of ['', 'S', '5', '5x', '-5S', '5.5S', '123456789S', ' 5S', '5 S'])
      assert.ok(Number.isNaN(parseTimeout(bad)), bad);
  });
});
