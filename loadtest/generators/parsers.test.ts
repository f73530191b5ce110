import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseH2load, parseLog } from './h2load.ts';
import { cpuMicrosPerRequest, generatorUtilization, throughput } from './measurement.ts';
import { parseOha } from './oha.ts';
import { parseWrk } from './wrk.ts';

test('wrk: refused requests are no successes, latencies become milliseconds', () => {
  const line =
    '{"requests":1000,"micros":2000000,"bytes":9,"status":100,"connect":1,"read":2,"write":0,"timeout":4,' +
    '"p50":500,"p90":900,"p99":1500,"p999":2500,"max":9000}';
  const result = parseWrk(`Running 2s test\n${line}\n`);
  assert.equal(result.succeeded, 900);
  assert.equal(result.errors, 7);
  assert.equal(result.latency.p99, 1.5);
  assert.equal(throughput(result), 450);
  assert.throws(() => parseWrk('unable to connect'), /printed no result/);
});

const H2LOAD = `finished in 2.00s, 50.00 req/s, 2KB/s
requests: 110 total, 110 started, 100 done, 100 succeeded, 0 failed, 0 errored, 0 timeout
status codes: 100 2xx, 0 3xx, 0 4xx, 0 5xx
traffic: 5KB (5000) total, 1KB (1000) headers (space savings 96.34%), 2KB (1800) data
`;

test('h2load: answers that came without a message are no successes', () => {
  assert.equal(parseH2load(H2LOAD, 2, 18, []).succeeded, 100);
  const half = parseH2load(H2LOAD, 2, 36, []);
  assert.equal(half.succeeded, 50);
  assert.equal(half.statuses['not whole'], 50);
  assert.equal(parseH2load(H2LOAD, 2, 0, []).succeeded, 100, 'an empty constant answer has no bytes to count');
  assert.throws(() => parseH2load('no', 2, 1, []), /no summary/);
});

test("h2load: latencies come from its log's third column", () => {
  assert.deepEqual(parseLog('1700\t200\t1500\n1701\t200\t2500\n\n'), [1500, 2500]);
  assert.equal(parseH2load(H2LOAD, 2, 18, [1000, 3000]).latency.p50, 2);
  assert.ok(Number.isNaN(parseH2load(H2LOAD, 2, 18, []).latency.p50));
});

test('oha: served and refused requests keep latencies of their own', () => {
  const none = { p50: null, p90: null, p99: null, 'p99.9': null };
  const result = parseOha(
    JSON.stringify({
      summary: { total: 2, slowest: 0.5 },
      latencyPercentiles: none,
      latencyPercentilesSuccessful: { p50: 0.01, p90: 0.02, p99: 0.03, 'p99.9': 0.04 },
      latencyPercentilesNotSuccessful: { p50: 0.001, p90: 0.001, p99: 0.002, 'p99.9': 0.003 },
      statusCodeDistribution: { '200': 30, '204': 1, '429': 70 },
      errorDistribution: { 'connection reset': 3 },
    }),
  );
  assert.equal(result.succeeded, 31);
  assert.equal(result.requests, 101);
  assert.equal(result.errors, 3);
  assert.deepEqual(result.refused, { p50: 1, p99: 2 });
  assert.equal(result.latency.p99, 30);
});

test('CPU figures are per answered request and per generator thread', () => {
  const m = {
    ...parseH2load(H2LOAD, 2, 18, []),
    serverCpuSeconds: 0.5,
    generatorCpuSeconds: 1,
  };
  assert.equal(cpuMicrosPerRequest(m), 5000);
  assert.equal(generatorUtilization(m), 0.5);
});
