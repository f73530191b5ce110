import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { ServerProcess } from '../../testing/server-process.ts';

const h2spec = process.env.SWITCHYARD_TEST_H2SPEC ?? '';

/**
 * Where nghttp2, in the addon as in node:http2, does otherwise than h2spec asks, whatever server stands on it. Nothing of it lets a client take
 * anything: frames on closed streams are dropped in silence, or the connection ends with another code than the one asked
 * for. Those of section 5.1 pass or not by whether our answer closes the stream before the bad frame comes.
 */
const OF_NGHTTP2 = new Set([
  'http2/5.1 half closed (remote): Sends a DATA frame',
  'http2/5.1 half closed (remote): Sends a HEADERS frame',
  'http2/5.1 closed: Sends a DATA frame after sending RST_STREAM frame',
  'http2/5.1 closed: Sends a HEADERS frame after sending RST_STREAM frame',
  'http2/5.1 closed: Sends a DATA frame',
  'http2/5.1 closed: Sends a HEADERS frame',
  'http2/5.1.1 Sends stream identifier that is numerically smaller than previous',
  // The connection ends: it is an answer to no question.
  'http2/6.7 Sends a PING frame with ACK',
  // GOAWAY comes with INTERNAL_ERROR instead of FLOW_CONTROL_ERROR.
  'http2/6.9.1 Sends multiple WINDOW_UPDATE frames increasing the flow control window to above 2^31-1',
  // A request that is no gRPC is answered before its trailers come; whether it is depends on who is faster.
  'http2/8.1 Sends a second HEADERS frame without the END_STREAM flag',
  'http2/8.1.2.1 Sends a HEADERS frame that contains a pseudo-header field as trailers',
]);

const report = join(mkdtempSync(join(tmpdir(), 'switchyard-h2spec-')), 'report.xml');
let server: ServerProcess;
before(async () => {
  assert.ok(h2spec, 'set SWITCHYARD_TEST_H2SPEC; .ci/services/h2spec.sh prints it');
  server = await ServerProcess.start(['--config', 'config/switchyard.yaml']);
});
after(async () => {
  await server.stop();
  rmSync(join(report, '..'), { recursive: true });
});

/** Every case of the JUnit report as "section title", with whether it passed. */
function cases(xml: string): { name: string; passed: boolean }[] {
  return [...xml.matchAll(/<testcase package="([^"]*)" classname="([^"]*)"[^>]*>([\s\S]*?)<\/testcase>/g)].map(
    ([, section, title, body]) => ({ name: `${section} ${title}`, passed: !/<(failure|error)/.test(body) }),
  );
}

test("the gRPC port speaks HTTP/2 as h2spec asks, but for what is nghttp2's own", async () => {
  const options = ['--port', String(server.ports.grpc), '--timeout', '2', '--junit-report', report];
  await new Promise((resolve) => execFile(h2spec, options, resolve));
  const results = cases(readFileSync(report, 'utf8'));
  assert.equal(results.length, 145);
  const failed = results.filter(({ passed }) => !passed).map(({ name }) => name);
  console.log(`h2spec: ${results.length - failed.length} of ${results.length} passed`);
  assert.deepEqual(
    failed.filter((name) => !OF_NGHTTP2.has(name)),
    [],
  );
  assert.equal((await fetch(server.url('/v2/health/ready'))).status, 200);
});
