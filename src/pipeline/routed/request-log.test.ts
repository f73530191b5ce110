import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import { parse } from 'yaml';
import { type RouteDocument, routeDocumentSchema } from '../../config/route-schema.ts';
import { monotonicMs } from '../../shared/clock.ts';
import { SwitchyardError } from '../../shared/errors.ts';
import type { Tensor } from '../../tensor/tensor.ts';
import { floats, fp32, Loopback } from '../../testing/loopback.ts';
import { testModelConfig } from '../../testing/model-config.ts';
import type { RequestContext, Submission } from '../types.ts';
import type { FinishedRequest } from './record.ts';
import { RoutedDataPlane } from './routed-data-plane.ts';

const opened: { close(): void }[] = [];
after(() => {
  for (const each of opened) each.close();
});

/** What is left of a finished request after the call. */
interface Seen {
  id: string;
  status: string;
  route: string;
  shadow: string;
  input: number[];
  output: number[];
}

const twice = (inputs: Tensor[]) => [
  fp32(
    'y',
    inputs[0].shape,
    floats(inputs[0]).map((v) => v * 2),
  ),
];

const ROUTE = `
apiVersion: switchyard/v1
kind: Route
metadata: {name: ranker}
spec:
  variants: {stable: {model: one}, next: {model: two}}
  shadow: {variant: next}
  strategy: {weighted: {stable: 100, next: 0}}
`;

async function logged(unwanted: readonly string[] = []) {
  const loop = new Loopback({ blocking: false });
  await loop.load(testModelConfig({ name: 'one' }, -1), twice);
  await loop.load(testModelConfig({ name: 'two' }, -1), () => {
    throw new Error('the weights are gone');
  });
  const seen: Seen[] = [];
  let ids = 0;
  const plane = new RoutedDataPlane(loop.plane, {
    ids: { prefix: 'id', next: () => ids++, text: (number) => `id${number}` },
    random: () => 0.5,
    now: monotonicMs,
    wallClock: () => 1000,
    steadyClock: () => 1000,
    taps: [],
    log: {
      wants: (route, model) => !unwanted.includes(route || model),
      finished: ({ id, status, decision, shadow, request, response }: FinishedRequest) =>
        seen.push({
          id,
          status,
          route: decision?.route ?? '',
          shadow,
          input: request.inputs.flatMap((tensor) => floats(tensor)),
          output: response?.outputs.flatMap((tensor) => floats(tensor)) ?? [],
        }),
    },
    shadowsUpTo: 1000,
  });
  plane.setRoutes({ routes: [routeDocumentSchema.parse(parse(ROUTE)) as RouteDocument] }, new Map());
  opened.push(plane, loop);
  const context: RequestContext = {
    protocol: 'http',
    tenant: 'default',
    receivedAt: monotonicMs(),
    deadline: Infinity,
    priority: 0,
    maxPriority: 0,
    traceparent: '',
    tracestate: '',
    path: '',
    headers: undefined,
    served: undefined,
  };
  /** 32,768 floats: large enough for its buffer to leave the thread with the request. */
  const ask = (model: string, count = 2) => {
    const mine = { ...context };
    const values = Array.from({ length: count }, () => 1);
    let submission: Submission | undefined;
    const answered = new Promise<RequestContext>((resolve) => {
      const done = () => resolve(mine);
      submission = plane.infer(
        { model, version: '', id: 'r', inputs: [fp32('x', [1, count], values)], outputs: [], parameters: undefined },
        mine,
        { onResponse: (_, final) => final && done(), onError: done },
      );
    });
    return { answered, cancel: () => submission?.cancel() };
  };
  return { plane, seen, ask, context };
}

test('a request without a route makes a record, whose id its caller gets', async () => {
  const { seen, ask } = await logged();
  const context = await ask('one').answered;
  const { id, variant, version } = context.served ?? {};
  assert.deepEqual({ id, variant, version }, { id: 'id0', variant: '', version: '' });
  assert.deepEqual(seen, [{ id: 'id0', status: 'ok', route: '', shadow: '', input: [1, 1], output: [2, 2] }]);
});

test('failures, unknown models, cancellations and refusals make records too', async () => {
  const { plane, seen, ask, context } = await logged();
  await ask('two').answered;
  await ask('three').answered;
  ask('one').cancel();
  const told = plane.refused('one', '', context, new SwitchyardError('overloaded', 'too many'));
  assert.deepEqual(told, { id: seen[3].id, variant: '', version: '' });
  assert.deepEqual(
    seen.map(({ status }) => status),
    ['internal', 'not_found', 'cancelled', 'overloaded'],
  );
});

test('inputs are still here when the request is over, however large', async () => {
  const { seen, ask } = await logged();
  await ask('one', 32_768).answered;
  assert.equal(seen[0].input.length, 32_768);
});

test('a routed request and its shadow make a record each', async () => {
  const { seen, ask } = await logged();
  await ask('ranker').answered;
  while (seen.length < 2) await new Promise((resolve) => setImmediate(resolve));
  const byShadow = seen.sort((a, b) => a.shadow.localeCompare(b.shadow));
  assert.deepEqual(byShadow[0], {
    id: 'id0',
    status: 'ok',
    route: 'ranker',
    shadow: '',
    input: [1, 1],
    output: [2, 2],
  });
  assert.equal(byShadow[1].id, 'id0.shadow');
  assert.equal(byShadow[1].shadow, 'next');
  assert.equal(byShadow[1].status, 'internal');
});

test('what is not wanted passes as before', async () => {
  const { seen, ask } = await logged(['one', 'ranker']);
  assert.equal((await ask('one').answered).served, undefined);
  assert.deepEqual(seen, []);
});
