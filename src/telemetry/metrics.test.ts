import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { allocateChunk, failureReason, MetricsBlock } from './metrics-block.ts';
import { BATCH_SLOTS, batchSlot, batchSlotSize, LATENCY_BOUNDS } from './metrics-layout.ts';
import { MetricsReader, sumRows } from './metrics-reader.ts';
import { createProcessMetrics, escapeLabel, renderPrometheus } from './prometheus.ts';
import { OVERFLOW_ROW, RowAllocator } from './row-allocator.ts';
import {
  allocateTenantBlock,
  allocateTenantNames,
  MAX_TENANTS,
  OTHER_TENANT,
  sumTenants,
  TenantBlock,
  TenantNames,
} from './tenant-metrics.ts';

const TIMINGS = { queue: 1, computeInput: 0.25, computeInfer: 2, computeOutput: 0.5, batchSize: 4 };

function threads(count: number, chunks = 1): { blocks: MetricsBlock[]; reader: MetricsReader } {
  const reader = new MetricsReader();
  const blocks = Array.from({ length: count }, (_, i) => {
    const buffers = Array.from({ length: chunks }, allocateChunk);
    for (const buffer of buffers) reader.addChunk(`t${i}`, buffer);
    return new MetricsBlock(buffers);
  });
  return { blocks, reader };
}

/** Parses the text format strictly enough to catch broken lines: name, labels, value. */
function parse(text: string): Map<string, number> {
  const series = new Map<string, number>();
  const typed = new Set<string>();
  for (const line of text.split('\n')) {
    if (line === '') continue;
    const type = /^# TYPE (\S+) (counter|gauge|histogram)$/.exec(line);
    if (type !== null) {
      assert.ok(!typed.has(type[1]), `${type[1]} declared once`);
      typed.add(type[1]);
      continue;
    }
    if (line.startsWith('# HELP ')) continue;
    const match = /^([a-zA-Z_:][\w:]*)(\{(?:[a-z_]+="(?:[^"\\\n]|\\[\\"n])*",?)*\})? (\S+)$/.exec(line);
    assert.ok(match, `not a sample: ${line}`);
    assert.ok(
      [...typed].some((name) => match[1] === name || match[1].startsWith(`${name}_`)),
      `${match[1]} has a TYPE`,
    );
    const key = match[1] + (match[2] ?? '');
    assert.ok(!series.has(key), `${key} appears once`);
    series.set(key, Number(match[3]));
  }
  return series;
}

test('statistics: threads add up, cache hits stay out of the compute counts', () => {
  const { blocks, reader } = threads(3, 2);
  const row = 300;
  blocks[0].recordSuccess(row, 4, TIMINGS, 100, 10, 1000);
  blocks[1].recordSuccess(row, 6, TIMINGS, 100, 10, 2000);
  blocks[1].recordCacheHit(row, 0.1);
  blocks[1].recordSuccess(row, 0.5, undefined, 100, 10, 3000);
  blocks[0].recordCacheMiss(row, 0.2);
  blocks[0].recordFailure(row, 'internal', 3, 5);
  blocks[2].recordBatch(row, 4, 0.25, 2, 0.5, 0.002, 0.001);
  blocks[2].recordBatch(row, 100, 1, 8, 1, 0.01, 0);
  const [stats] = sumRows(reader, [{ row, model: 'm', version: '1' }]);
  assert.deepEqual(stats, {
    name: 'm',
    version: '1',
    lastInference: 3000,
    inferenceCount: 104,
    executionCount: 2,
    inferenceStats: {
      success: { count: 3, ns: 10_500_000 },
      fail: { count: 1, ns: 3_000_000 },
      queue: { count: 2, ns: 2_000_000 },
      compute_input: { count: 2, ns: 500_000 },
      compute_infer: { count: 2, ns: 4_000_000 },
      compute_output: { count: 2, ns: 1_000_000 },
      cache_hit: { count: 1, ns: 100_000 },
      cache_miss: { count: 1, ns: 200_000 },
    },
    batchStats: [
      {
        batchSize: 4,
        computeInput: { count: 1, ns: 250_000 },
        computeInfer: { count: 1, ns: 2_000_000 },
        computeOutput: { count: 1, ns: 500_000 },
      },
      {
        batchSize: 128,
        computeInput: { count: 1, ns: 1_000_000 },
        computeInfer: { count: 1, ns: 8_000_000 },
        computeOutput: { count: 1, ns: 1_000_000 },
      },
    ],
  });
});

test('rows touch nothing of their neighbours', () => {
  const { blocks, reader } = threads(1, 2);
  for (const row of [0, 255, 256, 511]) blocks[0].recordSuccess(row, 70_000, TIMINGS, 1, 1, row + 1);
  for (let row = 0; row < 512; row++) {
    const touched = [0, 255, 256, 511].includes(row);
    assert.equal(sumRows(reader, [{ row, model: 'm', version: '1' }])[0].inferenceStats.success.count, touched ? 1 : 0);
    assert.equal(
      reader.sum(row).some((figure) => figure !== 0),
      touched,
      `row ${row}`,
    );
  }
});

test('a row without its chunk is counted as lost until the chunk arrives', () => {
  const block = new MetricsBlock();
  block.recordSuccess(0, 1, TIMINGS, 0, 0, 0);
  block.addPending(0, 1);
  assert.equal(block.lost, 2);
  block.addChunk(allocateChunk());
  block.addPending(0, 1);
  assert.equal(block.lost, 2);
});

test('batch slots: every size falls in the slot whose end is the next at or above it', () => {
  fc.assert(
    fc.property(fc.integer({ min: 1, max: 8192 }), (rows) => {
      const slot = batchSlot(rows);
      assert.ok(rows <= batchSlotSize(slot));
      if (slot > 0) assert.ok(rows > batchSlotSize(slot - 1));
    }),
  );
  assert.equal(batchSlot(1_000_000), BATCH_SLOTS - 1);
  assert.equal(batchSlot(0), 0);
});

test('buckets rise from 50 µs to 60 s', () => {
  assert.equal(LATENCY_BOUNDS.length, 24);
  assert.equal(LATENCY_BOUNDS[0], 50e-6);
  assert.equal(LATENCY_BOUNDS[23], 60);
  for (let i = 1; i < 24; i++) assert.ok(LATENCY_BOUNDS[i] > LATENCY_BOUNDS[i - 1]);
});

test('Prometheus: Triton names, units and labels; histograms are cumulative', () => {
  const { blocks, reader } = threads(2);
  const labels = 'model="m",version="2"';
  blocks[0].recordSuccess(1, 4, TIMINGS, 100, 10, 1);
  blocks[1].recordSuccess(1, 400, TIMINGS, 100, 10, 1);
  blocks[0].recordFailure(1, 'overloaded', 1, 0);
  blocks[0].addPending(1, 1);
  blocks[1].addPending(1, 2);
  blocks[0].addPending(1, -1);
  blocks[1].setQueued(1, 5);
  blocks[1].setQueued(1, 3);
  blocks[1].recordBatch(1, 4, 0, 2, 0, 0.5, 0.25);
  const series = parse(renderPrometheus(reader, [{ row: 1, model: 'm', version: '2' }]));
  const value = (name: string, extra = '') => series.get(`${name}{${labels}${extra}}`);
  assert.equal(value('nv_inference_request_success'), 2);
  assert.equal(value('nv_inference_request_failure', ',reason="REJECTED"'), 1);
  assert.equal(value('nv_inference_request_failure', ',reason="BACKEND"'), 0);
  assert.equal(value('nv_inference_count'), 4);
  assert.equal(value('nv_inference_exec_count'), 1);
  assert.equal(value('nv_inference_pending_request_count'), 2);
  assert.equal(value('nv_inference_request_duration_us'), 404_000);
  assert.equal(value('nv_inference_queue_duration_us'), 2000);
  assert.equal(value('nv_inference_compute_input_duration_us'), 500);
  assert.equal(value('nv_inference_compute_infer_duration_us'), 4000);
  assert.equal(value('nv_inference_compute_output_duration_us'), 1000);
  assert.equal(value('nv_cache_num_hits_per_model'), 0);
  assert.equal(value('nv_cache_num_misses_per_model'), 0);
  assert.equal(value('switchyard_queue_depth'), 3);
  assert.equal(value('switchyard_model_cpu_seconds_total'), 0.5);
  assert.equal(value('switchyard_model_gpu_seconds_total'), 0.25);
  let last = 0;
  for (const bound of LATENCY_BOUNDS) {
    const below = value('switchyard_stage_duration_seconds_bucket', `,stage="request",le="${bound}"`)!;
    assert.ok(below >= last);
    assert.equal(below, (bound >= 0.004 ? 1 : 0) + (bound >= 0.4 ? 1 : 0), `le ${bound}`);
    last = below;
  }
  assert.equal(value('switchyard_stage_duration_seconds_bucket', ',stage="request",le="+Inf"'), 2);
  assert.equal(value('switchyard_stage_duration_seconds_count', ',stage="request"'), 2);
  assert.equal(value('switchyard_stage_duration_seconds_sum', ',stage="request"'), 0.404);
  assert.equal(value('switchyard_batch_size_bucket', ',le="2"'), 0);
  assert.equal(value('switchyard_batch_size_bucket', ',le="4"'), 1);
  assert.equal(value('switchyard_batch_size_sum'), 4);
});

test('label values are escaped so that they can be read back', () => {
  fc.assert(
    fc.property(fc.string(), (text) => {
      const escaped = escapeLabel(text);
      assert.ok(!escaped.includes('\n'));
      assert.match(escaped, /^(?:[^"\\\n]|\\[\\"n])*$/);
      assert.equal(
        escaped.replace(/\\(.)/g, (_, c) => (c === 'n' ? '\n' : c)),
        text,
      );
    }),
  );
  parse(renderPrometheus(threads(1).reader, [{ row: 0, model: 'a"b\\c\nd', version: '1' }]));
});

test('failures carry the reason Triton gives', () => {
  assert.equal(failureReason('overloaded'), 'REJECTED');
  assert.equal(failureReason('cancelled'), 'CANCELED');
  assert.equal(failureReason('unavailable'), 'BACKEND');
  assert.equal(failureReason('invalid_argument'), 'OTHER');
});

test('rows: same version same row; a released row passes on after the grace time, cleared', () => {
  let now = 0;
  const cleared: number[] = [];
  const rows = new RowAllocator(
    (row) => cleared.push(row),
    3,
    100,
    () => now,
  );
  const a = rows.acquire('a', '1');
  const b = rows.acquire('b', '1');
  assert.notEqual(a, b);
  assert.equal(rows.acquire('a', '1'), a);
  rows.release('a', '1');
  assert.equal(rows.acquire('c', '1'), OVERFLOW_ROW, 'a is still held');
  assert.ok(rows.names().some(({ model }) => model === 'other'));
  rows.release('a', '1');
  assert.equal(rows.acquire('c', '1'), OVERFLOW_ROW, 'a may come back');
  assert.equal(rows.acquire('a', '1'), a);
  rows.release('a', '1');
  now = 100;
  assert.equal(rows.acquire('c', '1'), a);
  assert.deepEqual(cleared, [a]);
  assert.deepEqual(
    rows.names().map(({ model }) => model),
    ['b', 'c', 'other'],
  );
});

test('tenants: the same slot in all threads, a bounded number, the rest as other', () => {
  const names = allocateTenantNames();
  const [one, two] = [new TenantNames(names), new TenantNames(names)];
  const blocks = [allocateTenantBlock(), allocateTenantBlock()];
  const writers = blocks.map((block) => new TenantBlock(block));
  for (let i = 0; i < 3 * MAX_TENANTS; i++) {
    const slot = one.slotOf(`tenant-${i}`);
    assert.equal(two.slotOf(`tenant-${i}`), slot);
    assert.equal(slot === OTHER_TENANT, i >= MAX_TENANTS);
    writers[0].record(slot, true, 1, 2, 0.5, 0, 100);
    writers[1].record(slot, false, 1, 2, 0.5, 0.25, 0);
  }
  assert.equal(one.slotOf('other'), OTHER_TENANT);
  const sums = sumTenants(two, blocks);
  assert.equal(sums.length, MAX_TENANTS + 1);
  assert.deepEqual([...sums.find(({ tenant }) => tenant === 'tenant-7')!.figures], [2, 1, 2, 4, 1, 0.25, 100]);
  assert.equal(sums.find(({ tenant }) => tenant === 'other')!.figures[0], 4 * MAX_TENANTS);
  const series = parse(renderPrometheus(threads(1).reader, [], sums));
  assert.equal(series.get('switchyard_tenant_requests_total{tenant="tenant-7"}'), 2);
});

test('process metrics come from prom-client in the same format', async () => {
  const metrics = createProcessMetrics();
  assert.match(await metrics.text(), /^process_cpu_seconds_total /m);
  metrics.close();
});
