import assert from 'node:assert/strict';
import { test } from 'node:test';
import { attachmentHeader, mediaTypeOf } from './media-type.ts';
import { readRange } from './range.ts';

test('reads one range of bytes', () => {
  const cases: [string, unknown][] = [
    ['bytes=0-0', { start: 0, end: 0 }],
    ['bytes=5-', { start: 5, end: 9 }],
    ['bytes=5-100', { start: 5, end: 9 }],
    ['bytes=-3', { start: 7, end: 9 }],
    ['bytes=-30', { start: 0, end: 9 }],
    ['bytes=10-', 'unsatisfiable'],
    ['bytes=-0', 'unsatisfiable'],
    ['bytes=5-4', undefined],
    ['bytes=0-1,3-4', undefined],
    ['lines=0-1', undefined],
    ['bytes=-', undefined],
    ['bytes=a-b', undefined],
    ['', undefined],
  ];
  for (const [header, range] of cases) assert.deepEqual(readRange(header, 10), range, header);
  assert.equal(readRange('bytes=0-', 0), 'unsatisfiable');
  assert.equal(readRange('bytes=-1', 0), 'unsatisfiable');
});

test('takes the declared media type, or guesses as MLflow does', () => {
  assert.equal(mediaTypeOf('x/model.onnx', 'Application/X-Onnx'), 'application/x-onnx');
  assert.equal(mediaTypeOf('x/notes.txt', 'text/plain; charset=utf-8'), 'text/plain; charset=utf-8');
  for (const bad of ['text', 'text/plain\r\nX: y', 'a/b/c', '*/*', `a/${'b'.repeat(200)}`])
    assert.equal(mediaTypeOf('x/model.onnx', bad), 'application/octet-stream', bad);
  assert.equal(mediaTypeOf('x/MLmodel'), 'text/plain');
  assert.equal(mediaTypeOf('conda.yaml'), 'text/plain');
  assert.equal(mediaTypeOf('plot.PNG'), 'image/png');
  assert.equal(mediaTypeOf('model.pkl'), 'application/octet-stream');
});

test('file names cannot break out of the Content-Disposition header', () => {
  assert.equal(attachmentHeader('a/model.onnx'), 'attachment; filename="model.onnx"');
  assert.equal(attachmentHeader('a/we"ird.txt'), 'attachment; filename="we_ird.txt"; filename*=UTF-8\'\'we%22ird.txt');
  assert.equal(attachmentHeader('日.txt'), 'attachment; filename="_.txt"; filename*=UTF-8\'\'%E6%97%A5.txt');
});
