import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { type ClientHttp2Session, connect as connectHttp2, constants } from 'node:http2';
import net from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { INFERENCE_SERVICE, serviceDefinition } from '../protocol/grpc/schema.ts';
import { frameMessage } from '../protocol/grpc/wire-writer.ts';
import { scriptRepository, sleeps, until, x } from './script-models.ts';
import { infer, ServerProcess } from './server-process.ts';

/** Aborted requests over uWebSockets.js, and a quarter of that over node:http; SWITCHYARD_SOAK_ABORTS sets another number. */
const ABORTS = Number(process.env.SWITCHYARD_SOAK_ABORTS ?? 80_000);
/** What two looks at memory may differ by the garbage collector's mood. */
const NOISE_BYTES = 48 << 20;
const CLIENTS = 48;
/** Requests the tenant may have at once: an abort that keeps its place makes the next ones be refused. */
const PLACES = 64;
const KEY = 'soak';

const scratch = mkdtempSync(join(tmpdir(), 'switchyard-aborts-'));
after(() => rmSync(scratch, { recursive: true, force: true }));

const { ModelInfer } = serviceDefinition(INFERENCE_SERVICE);
const MESSAGE = frameMessage(
  ModelInfer.requestSerialize({
    model_name: 'slow',
    inputs: [{ name: 'x', datatype: 'FP32', shape: [1, 1] }],
    raw_input_contents: [Buffer.alloc(4)],
  }),
);
const BODY = JSON.stringify({ inputs: x(1) });
const HEAD = `POST /v2/models/slow/infer HTTP/1.1\r\nHost: x\r\nX-Api-Key: ${KEY}\r\nContent-Length: ${BODY.length}\r\n\r\n`;

/** One HTTP request that is dropped: in its head, in its body, while it is queued, or as the answer may be on its way. */
function abortHttp(port: number, round: number): Promise<void> {
  return new Promise((resolve) => {
    const socket = net.connect(port, '127.0.0.1');
    const leave = (): void => {
      if (round % 2 === 0) socket.resetAndDestroy();
      else socket.destroy();
    };
    socket.on('error', () => {});
    socket.once('close', () => resolve());
    socket.once('connect', () => {
      const kind = round % 8;
      if (kind === 0) socket.write(HEAD.slice(0, 40), leave);
      else if (kind === 1) socket.write(HEAD + BODY.slice(0, 20), leave);
      else if (kind < 5) socket.write(HEAD + BODY, leave);
      else socket.write(HEAD + BODY, () => setTimeout(leave, kind - 4));
    });
  });
}

/** So many calls of one connection, each cancelled: at once, while it is queued, or as its answer may be on its way. */
async function abortGrpc(port: number, calls: number): Promise<void> {
  const session: ClientHttp2Session = connectHttp2(`http://127.0.0.1:${port}`);
  session.on('error', () => {});
  const headers = {
    ':method': 'POST',
    ':path': `/${INFERENCE_SERVICE}/ModelInfer`,
    'content-type': 'application/grpc',
    te: 'trailers',
    'x-api-key': KEY,
  };
  for (let i = 0; i < calls; i++) {
    await new Promise<void>((resolve) => {
      const stream = session.request(headers);
      stream.on('error', () => {});
      stream.once('close', () => resolve());
      stream.resume();
      stream.end(MESSAGE);
      const cancel = (): void => stream.close(constants.NGHTTP2_CANCEL);
      if (i % 3 === 0) cancel();
      else setTimeout(cancel, i % 3);
    });
  }
  session.destroy();
}

/** Resident bytes of the process that serves. */
function resident(server: ServerProcess): number {
  const [, pages] = readFileSync(`/proc/${server.servingPid()}/statm`, 'utf8').split(' ');
  return Number(pages) * 4096;
}

async function pendingRequests(server: ServerProcess): Promise<number> {
  const text = await (await fetch(`http://127.0.0.1:${server.ports.metrics}/metrics`)).text();
  const values = [...text.matchAll(/^nv_inference_pending_request_count\{[^}]*\} (\d+)/gm)];
  assert.ok(values.length > 0);
  return values.reduce((sum, [, value]) => sum + Number(value), 0);
}

for (const [library, aborts] of [
  ['native', ABORTS],
  ['uws', ABORTS / 4],
  ['node', ABORTS / 4],
] as const) {
  test(`${aborts} aborted requests over ${library} and gRPC leave no memory, no place and no request behind`, async () => {
    const root = scriptRepository(scratch, { slow: { versions: { 1: sleeps(1) } } });
    const config = join(scratch, `${library}.yaml`);
    const sha256 = createHash('sha256').update(KEY).digest('hex');
    writeFileSync(
      config,
      `models: {repositories: [${root}]}\nadmission:\n  apiKeys: [{tenant: soak, sha256: ${sha256}}]\n` +
        `  tenants: {soak: {limits: {concurrency: ${PLACES}}}}\n`,
    );
    const server = await ServerProcess.start(['--config', config], { env: { SWITCHYARD_HTTP: library } });
    after(() => server.stop());
    const pid = server.servingPid();
    const ask = (): ReturnType<typeof infer> => infer(server, 'slow', x(3), { 'x-api-key': KEY });
    let done = 0;
    const abortUntil = async (total: number): Promise<void> => {
      const clients = Array.from({ length: CLIENTS }, async (_, client) => {
        while (done < total) {
          if (client % 8 === 7) {
            done += 100;
            await abortGrpc(server.ports.grpc, 100);
          } else {
            done++;
            await abortHttp(server.ports.http, done);
          }
        }
      });
      await Promise.all(clients);
      await until('nothing is pending', async () => (await pendingRequests(server)) === 0);
    };
    // Buffers, pools and compiled code have their size after some thousands.
    await abortUntil(Math.min(30_000, aborts / 3));
    const before = done;
    const warm = resident(server);
    await abortUntil(aborts);
    const grown = resident(server) - warm;
    console.log(
      `${library}: ${done} aborts, resident ${warm >> 20} MiB after ${before}, ${grown >> 20} MiB more at the end`,
    );
    assert.ok(grown < NOISE_BYTES, `${grown} bytes more after ${done - before} aborts`);
    const answers = await Promise.all(Array.from({ length: PLACES }, ask));
    assert.deepEqual(
      answers.filter(({ status }) => status !== 200),
      [],
      'every place is free again',
    );
    assert.equal(server.servingPid(), pid, 'the process lived through it');
    assert.deepEqual(
      server.log.filter((line) => Number(line.level) >= 50),
      [],
    );
    assert.equal(await server.stop(), 0);
  });
}
