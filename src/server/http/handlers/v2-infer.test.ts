import assert from 'node:assert/strict';
import { test } from 'node:test';
import { native, nativeProblem } from '../../../tensor/native.ts';
import { fakeServices } from '../../../testing/http-services.ts';
import type { HttpExchange, RequestHead } from '../socket.ts';
import { parseRoute } from './routes.ts';
import { DEFAULT_SETTINGS } from './settings.ts';
import { V2InferCall } from './v2-infer.ts';

const skip = native === undefined && (nativeProblem || 'SWITCHYARD_NATIVE=off');
const HEAD = {
  path: '/v2/models/echo/infer',
  inferenceHeaderLength: '',
  acceptEncoding: '',
  contentEncoding: '',
  traceparent: '',
  timeoutMs: '',
  priority: '',
} as RequestHead;

function open() {
  const services = fakeServices(1 << 26);
  services.dataPlane.held = [];
  const gateway = { services, settings: DEFAULT_SETTINGS };
  const answers: { status: number; body: string }[] = [];
  const call = (): V2InferCall => {
    const exchange = {
      receive: () => {},
      respond: (status: number, _headers: string, body: Uint8Array) =>
        answers.push({ status, body: Buffer.from(body).toString() }),
    } as unknown as HttpExchange;
    const made = new V2InferCall(gateway, exchange, parseRoute(HEAD.path), HEAD);
    made.start(HEAD);
    return made;
  };
  const settle = async (condition: () => boolean): Promise<void> => {
    for (let i = 0; i < 60_000 && !condition(); i++) await new Promise((resolve) => setTimeout(resolve, 1));
    assert.ok(condition(), 'the expected state was not reached');
  };
  return { plane: services.dataPlane, answers, call, settle };
}

function body(id: string, count: number): Buffer {
  const data = Array.from({ length: count }, (_, i) => i / 8);
  return Buffer.from(JSON.stringify({ id, inputs: [{ name: 'x', datatype: 'FP32', shape: [count], data }] }));
}

test('small requests pass large ones that came before and are still being decoded', { skip }, async () => {
  const { plane, call, settle } = open();
  call().onBody(body('large', 100_000), true);
  call().onBody(body('larger', 200_000), true);
  call().onBody(body('small', 4), true);
  assert.deepEqual(
    plane.requests.map(({ id }) => id),
    ['small'],
  );
  await settle(() => plane.requests.length === 3);
  assert.deepEqual(
    plane.requests.map(({ id, inputs }) => [id, inputs[0].data.length]),
    [
      ['small', 16],
      ['large', 400_000],
      ['larger', 800_000],
    ],
  );
});

test('bytes of the socket are copied before they are decoded beside the loop', { skip }, async () => {
  const { plane, call, settle } = open();
  const bytes = body('large', 100_000);
  call().onBody(bytes, false);
  bytes.fill(0);
  await settle(() => plane.requests.length === 1);
  assert.equal(new Float32Array(plane.requests[0].inputs[0].data.slice().buffer)[99_999], 99_999 / 8);
});

test('a client that leaves meanwhile ends its request', { skip }, async () => {
  const { plane, answers, call, settle } = open();
  const leaver = call();
  leaver.onBody(body('gone', 100_000), true);
  leaver.onAbort();
  call().onBody(body('here', 100_000), true);
  await settle(() => plane.requests.length === 1);
  assert.equal(plane.requests[0].id, 'here');
  assert.deepEqual(answers, []);
});

test('a large body that is wrong is answered as a small one', { skip }, async () => {
  const { plane, answers, call, settle } = open();
  for (const count of [4, 100_000]) {
    const wrong = body('wrong', count)
      .toString()
      .replace(`[${count}]`, `[${count + 1}]`);
    call().onBody(Buffer.from(wrong), true);
  }
  await settle(() => answers.length === 2);
  assert.deepEqual(
    answers.map(({ status }) => status),
    [400, 400],
  );
  assert.equal(answers[1].body.replaceAll('100001', '5').replaceAll('100000', '4'), answers[0].body);
  assert.equal(plane.requests.length, 0);
});
