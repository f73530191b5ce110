import assert from 'node:assert/strict';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { after, before, test } from 'node:test';
import { monotonicMs } from '../shared/clock.ts';
import { TraceSettingsStore } from './trace-settings.ts';
import { createTracer, NO_TRACING, type TracedRequest } from './tracing.ts';

interface OtlpSpan {
  name: string;
  traceId: string;
  spanId: string;
  parentSpanId?: string;
  traceState?: string;
  startTimeUnixNano: string;
  endTimeUnixNano: string;
  attributes: { key: string; value: Record<string, unknown> }[];
  status: { code?: number; message?: string };
}

const spans: OtlpSpan[] = [];
let resource: OtlpSpan['attributes'] = [];
const collector = createServer((request, response) => {
  const chunks: Buffer[] = [];
  request.on('data', (chunk) => chunks.push(chunk));
  request.on('end', () => {
    const body = JSON.parse(Buffer.concat(chunks).toString());
    for (const group of body.resourceSpans) {
      resource = group.resource.attributes;
      for (const scope of group.scopeSpans) spans.push(...scope.spans);
    }
    response.writeHead(200, { 'content-type': 'application/json' }).end('{}');
  });
});
let url: string;

before(async () => {
  await new Promise<void>((resolve) => collector.listen(0, '127.0.0.1', resolve));
  url = `http://127.0.0.1:${(collector.address() as AddressInfo).port}/v1/traces`;
});
after(() => {
  collector.closeAllConnections();
  collector.close();
});

const PARENT = '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01';

function request(overrides: Partial<TracedRequest> = {}): TracedRequest {
  const endedAt = monotonicMs();
  return {
    protocol: 'http',
    tenant: 'acme',
    model: 'm',
    version: '1',
    requestId: 'r1',
    traceparent: '',
    tracestate: '',
    receivedAt: endedAt - 20,
    queuedAt: endedAt - 18,
    endedAt,
    timings: { queue: 4, computeInput: 1, computeInfer: 8, computeOutput: 2, batchSize: 3 },
    error: undefined,
    ...overrides,
  };
}

const config = () => ({ url, serviceVersion: '0.0.0', instanceId: 'i' });

test('phases arrive at the collector as children of the request, one after the other, under the caller', async () => {
  const store = new TraceSettingsStore({ on: true, rate: 1, count: -1 });
  const tracer = await createTracer(config(), store.state, store.counters);
  spans.length = 0;
  tracer.record(request({ traceparent: PARENT, tracestate: 'rojo=00f067aa0ba902b7,congo=t61rcWkgMzE' }));
  tracer.record(request({ requestId: 'r2', timings: undefined, error: 'deadline_exceeded' }));
  await tracer.flush();
  const root = spans.find((span) => span.parentSpanId === 'b7ad6b7169203331')!;
  assert.equal(root.traceId, '0af7651916cd43dd8448eb211c80319c');
  assert.equal(root.name, 'infer');
  assert.equal(root.traceState, 'rojo=00f067aa0ba902b7,congo=t61rcWkgMzE');
  const attribute = (key: string) => Object.values(root.attributes.find((entry) => entry.key === key)!.value)[0];
  assert.equal(attribute('switchyard.tenant'), 'acme');
  assert.equal(Number(attribute('switchyard.batch.size')), 3);
  const phases = spans.filter((span) => span.parentSpanId === root.spanId);
  assert.deepEqual(
    phases.map(({ name }) => name),
    ['queue', 'compute_input', 'compute_infer', 'compute_output'],
  );
  const ms = (span: OtlpSpan) => Number(BigInt(span.endTimeUnixNano) - BigInt(span.startTimeUnixNano)) / 1e6;
  for (const [i, length] of [4, 1, 8, 2].entries()) {
    assert.ok(Math.abs(ms(phases[i]) - length) < 0.01, `${phases[i].name} ${ms(phases[i])}`);
  }
  assert.ok(Math.abs(ms(root) - 20) < 0.01);
  for (const [i, phase] of phases.entries()) {
    const previous = i === 0 ? root.startTimeUnixNano : phases[i - 1].endTimeUnixNano;
    assert.ok(BigInt(phase.startTimeUnixNano) >= BigInt(previous) - 1000n);
    assert.ok(BigInt(phase.endTimeUnixNano) <= BigInt(root.endTimeUnixNano));
  }
  const failed = spans.filter((span) => span.status.code === 2);
  assert.deepEqual(
    failed.map((span) => [span.name, span.status.message, span.parentSpanId ?? '']),
    [['infer', 'deadline_exceeded', '']],
  );
  assert.ok(resource.some(({ key, value }) => key === 'service.name' && value.stringValue === 'switchyard'));
  await tracer.close();
});

test('sampling: the caller decides, else one in trace_rate; switched by settings', async () => {
  const store = new TraceSettingsStore({ on: true, rate: 4, count: -1 });
  let random = 0;
  const tracer = await createTracer(config(), store.state, store.counters, () => random);
  const notSampled = `${PARENT.slice(0, -2)}00`;
  random = 0.24;
  assert.equal(tracer.sample('m', ''), true);
  assert.equal(tracer.sample('m', notSampled), false);
  random = 0.25;
  assert.equal(tracer.sample('m', ''), false);
  assert.equal(tracer.sample('m', PARENT), true);
  store.update('loud', { trace_rate: '1' });
  store.update('', { trace_level: 'OFF' });
  tracer.apply(store.state);
  assert.equal(tracer.sample('m', PARENT), false);
  assert.equal(tracer.sample('loud', ''), false, 'the level is inherited');
  store.update('loud', { trace_level: 'TIMESTAMPS' });
  tracer.apply(store.state);
  assert.equal(tracer.sample('loud', ''), true);
  assert.equal(tracer.enabled, true);
  store.update('loud', { trace_level: null, trace_rate: null });
  tracer.apply(store.state);
  assert.equal(tracer.enabled, false);
  await tracer.close();
});

test('trace_count is counted down over all threads, and starts anew when it is set', async () => {
  const store = new TraceSettingsStore({ on: true, rate: 1, count: 3 });
  const tracers = await Promise.all([0, 1].map(() => createTracer(config(), store.state, store.counters)));
  const taken = (model: string) =>
    Array.from({ length: 10 }, (_, i) => tracers[i % 2].sample(model, '')).filter(Boolean).length;
  assert.equal(taken('m'), 3);
  store.update('own', { trace_count: '2' });
  for (const tracer of tracers) tracer.apply(store.state);
  assert.equal(taken('own'), 2);
  assert.equal(taken('m'), 0);
  store.update('', { trace_count: '4' });
  for (const tracer of tracers) tracer.apply(store.state);
  assert.equal(taken('m'), 4);
  assert.equal(taken('own'), 0);
  await Promise.all(tracers.map((tracer) => tracer.close()));
});

test('a collector that is away costs nothing but the spans', async () => {
  const store = new TraceSettingsStore({ on: true, rate: 1, count: -1 });
  const tracer = await createTracer({ ...config(), url: 'http://127.0.0.1:1/v1/traces' }, store.state, store.counters);
  tracer.record(request());
  await tracer.close();
});

test('switched off: no exporter behind it', async () => {
  const store = new TraceSettingsStore({ on: false, rate: 0, count: -1 });
  assert.equal(await createTracer(undefined, store.state, store.counters), NO_TRACING);
  assert.equal(NO_TRACING.sample('m', PARENT), false);
});
