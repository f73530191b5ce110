import assert from 'node:assert/strict';
import { createHash, randomBytes } from 'node:crypto';
import { readdir } from 'node:fs/promises';
import http from 'node:http';
import net from 'node:net';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import type { StorageSettings } from '../registry/artifacts/storage.ts';
import { RegistryUnderTest } from './registry.ts';

const FILES = '/api/2.0/mlflow-artifacts/artifacts';
const ROOT = `0/${'a'.repeat(32)}/artifacts`;
const MAX_BYTES = 5_000_000;

interface Raw {
  status: number;
  headers: http.IncomingHttpHeaders;
  body: Buffer;
}

/** A request whose path goes out exactly as given; fetch would tidy "..". */
function raw(
  url: string,
  method: string,
  path: string,
  body?: Uint8Array,
  headers: http.OutgoingHttpHeaders = {},
): Promise<Raw> {
  const { hostname, port } = new URL(url);
  return new Promise((resolve, reject) => {
    const request = http.request({ hostname, port, method, path, headers }, (response) => {
      const chunks: Buffer[] = [];
      response.on('data', (chunk: Buffer) => chunks.push(chunk));
      response.on('error', reject);
      response.on('end', () =>
        resolve({ status: response.statusCode ?? 0, headers: response.headers, body: Buffer.concat(chunks) }),
      );
    });
    request.on('error', reject);
    request.end(body);
  });
}

const sha256 = (bytes: Uint8Array): string => createHash('sha256').update(bytes).digest('hex');

/** What MLflow's artifact calls and resumable uploads do, on any database and blob store. */
export function artifactContract(open: () => Promise<StorageSettings>): void {
  let registry: RegistryUnderTest;
  before(async () => {
    registry = await RegistryUnderTest.open(undefined, undefined, { ...(await open()), maxBytes: MAX_BYTES });
  });
  after(() => registry.close());

  const staged = (): Promise<string[]> => readdir(join(registry.dataDir, 'registry', 'staging'));
  const call = (method: string, path: string, body?: Uint8Array, headers?: http.OutgoingHttpHeaders): Promise<Raw> =>
    raw(registry.url, method, path, body, headers);
  const put = async (path: string, bytes: Uint8Array, headers?: http.OutgoingHttpHeaders): Promise<Raw> =>
    call('PUT', `${FILES}/${path}`, bytes, headers);
  const list = async (path: string): Promise<unknown> =>
    JSON.parse((await call('GET', `${FILES}?path=${encodeURIComponent(path)}`)).body.toString());
  const errorOf = ({ status, body }: Raw): unknown[] => [status, JSON.parse(body.toString()).error_code];

  test('bytes come back as they went in, with the headers a browser needs to stay harmless', async () => {
    const bytes = randomBytes(200_000);
    const stored = await put(`${ROOT}/model/weights.html`, bytes, { 'Content-Type': 'text/html' });
    assert.deepEqual([stored.status, stored.body.toString()], [200, '{}']);
    const got = await call('GET', `${FILES}/${ROOT}/model/weights.html`);
    assert.equal(got.status, 200);
    assert.ok(bytes.equals(got.body));
    assert.equal(got.headers['content-type'], 'text/html');
    assert.equal(got.headers['content-disposition'], 'attachment; filename="weights.html"');
    assert.equal(got.headers['x-content-type-options'], 'nosniff');
    assert.equal(got.headers.etag, `"sha256:${sha256(bytes)}"`);
    assert.equal(got.headers['content-length'], '200000');
  });

  test('overwriting gives the new bytes', async () => {
    await put(`${ROOT}/twice.txt`, Buffer.from('one'));
    await put(`${ROOT}/twice.txt`, Buffer.from('second'));
    assert.equal((await call('GET', `${FILES}/${ROOT}/twice.txt`)).body.toString(), 'second');
  });

  test('empty files, with a length and in chunks', async () => {
    assert.equal((await put(`${ROOT}/empty/a`, Buffer.alloc(0), { 'Content-Length': 0 })).status, 200);
    assert.equal((await put(`${ROOT}/empty/b`, Buffer.alloc(0), { 'Transfer-Encoding': 'chunked' })).status, 200);
    const got = await call('GET', `${FILES}/${ROOT}/empty/b`);
    assert.deepEqual([got.status, got.body.length, got.headers['content-length']], [200, 0, '0']);
  });

  test('names of every alphabet', async () => {
    const name = 'ordner/日本語 100% + & =.txt';
    const encoded = `${ROOT}/${name}`.split('/').map(encodeURIComponent).join('/');
    assert.equal((await put(encoded, Buffer.from('x'))).status, 200);
    assert.equal((await call('GET', `${FILES}/${encoded}`)).body.toString(), 'x');
    assert.deepEqual(await list(`${ROOT}/ordner`), {
      files: [{ path: '日本語 100% + & =.txt', is_dir: false, file_size: 1 }],
    });
  });

  test('lists folders one level deep, with paths relative to the folder', async () => {
    for (const path of ['a.txt', 'sub/b.txt', 'sub/deep/c.txt', 'sub-2/d.txt', 'sub.txt', 'sub0'])
      await put(`${ROOT}/listed/${path}`, Buffer.from(path));
    assert.deepEqual(await list(`${ROOT}/listed`), {
      files: [
        { path: 'a.txt', is_dir: false, file_size: 5 },
        { path: 'sub-2', is_dir: true },
        { path: 'sub.txt', is_dir: false, file_size: 7 },
        { path: 'sub', is_dir: true },
        { path: 'sub0', is_dir: false, file_size: 4 },
      ],
    });
    assert.deepEqual(await list(`${ROOT}/listed/sub/`), {
      files: [
        { path: 'b.txt', is_dir: false, file_size: 9 },
        { path: 'deep', is_dir: true },
      ],
    });
    assert.deepEqual(await list(`${ROOT}/listed/a.txt`), {});
    assert.deepEqual(await list(`${ROOT}/nothing`), {});
  });

  test('lists the artifacts of a run and of a logged model', async () => {
    const run_id = 'c'.repeat(32);
    const model_id = `m-${'d'.repeat(32)}`;
    await registry.registry.database.write(async (db) => {
      await db
        .insertInto('runs')
        .values({
          run_id,
          experiment_id: 0,
          run_name: 'r',
          user_id: 'u',
          status: 'RUNNING',
          lifecycle_stage: 'active',
          start_time: 1,
          end_time: null,
          deleted_time: null,
          artifact_uri: `mlflow-artifacts:/0/${run_id}/artifacts`,
        })
        .execute();
      await db
        .insertInto('logged_models')
        .values({
          model_id,
          experiment_id: 0,
          name: 'm',
          artifact_uri: `mlflow-artifacts:/0/models/${model_id}/artifacts`,
          model_type: '',
          source_run_id: run_id,
          status: 'READY',
          status_message: '',
          lifecycle_stage: 'active',
          creation_time: 1,
          last_update_time: 1,
        })
        .execute();
    });
    await put(`0/${run_id}/artifacts/a/b.txt`, Buffer.from('12'));
    await put(`0/models/${model_id}/artifacts/MLmodel`, Buffer.from('123'));
    assert.deepEqual(await registry.ok('GET', 'artifacts/list', { run_id }), {
      root_uri: `mlflow-artifacts:/0/${run_id}/artifacts`,
      files: [{ path: 'a', is_dir: true }],
    });
    assert.deepEqual(await registry.ok('GET', 'artifacts/list', { run_id, path: 'a' }), {
      root_uri: `mlflow-artifacts:/0/${run_id}/artifacts`,
      files: [{ path: 'a/b.txt', is_dir: false, file_size: 2 }],
    });
    assert.deepEqual(await registry.ok('GET', `logged-models/${model_id}/artifacts/directories`), {
      root_uri: `mlflow-artifacts:/0/models/${model_id}/artifacts`,
      files: [{ path: 'MLmodel', is_dir: false, file_size: 3 }],
    });
    for (const [path, values, expected] of [
      ['artifacts/list', { run_id: 'f'.repeat(32) }, [404, 'RESOURCE_DOES_NOT_EXIST']],
      ['artifacts/list', {}, [400, 'INVALID_PARAMETER_VALUE']],
      ['artifacts/list', { run_id, path: '../../1' }, [400, 'INVALID_PARAMETER_VALUE']],
      ['logged-models/m-0/artifacts/directories', {}, [404, 'RESOURCE_DOES_NOT_EXIST']],
    ] as const) {
      const { status, json } = await registry.call('GET', path, values);
      assert.deepEqual([status, json.error_code], expected);
    }
  });

  test('answers ranges, 416, 304 and HEAD', async () => {
    const bytes = randomBytes(1000);
    await put(`${ROOT}/ranged`, bytes);
    const path = `${FILES}/${ROOT}/ranged`;
    const part = await call('GET', path, undefined, { Range: 'bytes=10-19' });
    assert.deepEqual([part.status, part.headers['content-range']], [206, 'bytes 10-19/1000']);
    assert.ok(part.body.equals(bytes.subarray(10, 20)));
    const beyond = await call('GET', path, undefined, { Range: 'bytes=1000-' });
    assert.deepEqual([beyond.status, beyond.headers['content-range']], [416, 'bytes */1000']);
    const etag = part.headers.etag!;
    assert.equal((await call('GET', path, undefined, { 'If-None-Match': etag })).status, 304);
    const changed = await call('GET', path, undefined, { Range: 'bytes=0-1', 'If-Range': '"other"' });
    assert.deepEqual([changed.status, changed.body.length], [200, 1000]);
    const head = await call('HEAD', path);
    assert.deepEqual([head.status, head.body.length, head.headers['content-length']], [200, 0, '1000']);
  });

  test('gives range readers an address of its own', async () => {
    await put(`${ROOT}/pre signed`.replace(' ', '%20'), Buffer.from('hello'));
    const got = await call('GET', `/api/2.0/mlflow-artifacts/presigned/${ROOT}/pre%20signed`, undefined, {
      Authorization: 'Bearer abc',
    });
    const { url, headers, file_size } = JSON.parse(got.body.toString());
    assert.deepEqual([headers, file_size], [{ Authorization: 'Bearer abc' }, 5]);
    assert.equal(await (await fetch(url)).text(), 'hello');
  });

  test('deletes a file and a folder; a missing one is no error', async () => {
    for (const path of ['gone/a', 'gone/b/c', 'gone-not']) await put(`${ROOT}/${path}`, Buffer.from(path));
    assert.equal((await call('DELETE', `${FILES}/${ROOT}/gone/a`)).status, 200);
    assert.deepEqual(await list(`${ROOT}/gone`), { files: [{ path: 'b', is_dir: true }] });
    assert.equal((await call('DELETE', `${FILES}/${ROOT}/gone/`)).status, 200);
    assert.deepEqual(await list(`${ROOT}/gone`), {});
    assert.equal((await call('DELETE', `${FILES}/${ROOT}/gone`)).body.toString(), '{}');
    assert.equal((await call('GET', `${FILES}/${ROOT}/gone-not`)).status, 200);
    assert.deepEqual(errorOf(await call('GET', `${FILES}/${ROOT}/gone/a`)), [404, 'RESOURCE_DOES_NOT_EXIST']);
  });

  test('a file is no folder and a folder no file', async () => {
    await put(`${ROOT}/clash/a`, Buffer.from('x'));
    for (const path of ['clash', 'clash/a/b', 'clash/a/b/c'])
      assert.deepEqual(errorOf(await put(`${ROOT}/${path}`, Buffer.from('y'))), [400, 'INVALID_PARAMETER_VALUE'], path);
    assert.equal((await call('GET', `${FILES}/${ROOT}/clash/a`)).body.toString(), 'x');
    assert.deepEqual(errorOf(await call('GET', `${FILES}/${ROOT}/clash`)), [404, 'RESOURCE_DOES_NOT_EXIST']);
  });

  test('paths that lead elsewhere are refused in every verb, and nothing is stored', async () => {
    const attacks = [
      '../../etc/passwd',
      '..%2f..%2fetc%2fpasswd',
      '%2e%2e/x',
      '%2e%2e%2fx',
      '%252e%252e%252fx',
      '/etc/passwd',
      '%2fetc%2fpasswd',
      'a/..%5c..%5cx',
      'a%5cb',
      'C:%5cx',
      'C:/x',
      'a%00b',
      'a%0d%0ab',
      'a//b',
      'a/./b',
      'NUL',
      'a/con.txt',
      'x'.repeat(300),
      'x/'.repeat(800),
      'file:%2f%2f%2fetc%2fpasswd',
      '%ed%a0%80',
    ];
    const before = await list('');
    for (const attack of attacks) {
      for (const method of ['PUT', 'GET', 'DELETE', 'HEAD']) {
        const answer = await call(method, `${FILES}/${attack}`, method === 'PUT' ? Buffer.from('evil') : undefined);
        assert.ok([400, 404].includes(answer.status), `${method} ${attack}: ${answer.status}`);
        if (method === 'HEAD' || answer.status === 404) continue;
        assert.equal(JSON.parse(answer.body.toString()).error_code, 'INVALID_PARAMETER_VALUE');
      }
      // A query is decoded once more than a path.
      const { status } = await call('GET', `${FILES}?path=${encodeURIComponent(decodeSafely(attack))}`);
      assert.ok(status === 400 || attack === '%ed%a0%80' || attack.endsWith('/'), `list ${attack}: ${status}`);
      for (const verb of ['presigned', 'mpu/create', 'mpu/complete', 'mpu/abort']) {
        const answer = await call(verb === 'presigned' ? 'GET' : 'POST', `/api/2.0/mlflow-artifacts/${verb}/${attack}`);
        assert.ok([400, 404, 501].includes(answer.status), `${verb} ${attack}: ${answer.status}`);
      }
      // As a text of its own, one that does not decode is harmless.
      if (attack === '%ed%a0%80') continue;
      const upload = await registry.call('POST', '/api/v1/registry/uploads', { path: decodeSafely(attack), size: 1 });
      assert.equal(upload.status, 400, `upload ${attack}`);
    }
    assert.deepEqual(await list(''), before);
    assert.deepEqual(await staged(), []);
  });

  test('a digest that was promised is checked', async () => {
    const bytes = Buffer.from('promised');
    const good = [
      { 'X-Content-SHA256': sha256(bytes) },
      { Digest: `sha-256=${createHash('sha256').update(bytes).digest('base64')}` },
      { 'Content-Digest': `sha-256=:${createHash('sha256').update(bytes).digest('base64')}:` },
    ];
    for (const headers of good) assert.equal((await put(`${ROOT}/promised`, bytes, headers)).status, 200);
    const forged = { 'X-Content-SHA256': sha256(Buffer.from('other')) };
    for (const headers of [forged, { Digest: 'sha-256=xyz' }]) {
      const answer = await put(`${ROOT}/forged`, bytes, headers);
      assert.deepEqual(errorOf(answer), [400, 'INVALID_PARAMETER_VALUE']);
    }
    assert.deepEqual(errorOf(await call('GET', `${FILES}/${ROOT}/forged`)), [404, 'RESOURCE_DOES_NOT_EXIST']);
    assert.deepEqual(await staged(), []);
  });

  test('oversized uploads are refused, declared or not', async () => {
    const bytes = Buffer.alloc(MAX_BYTES + 1);
    for (const headers of [{}, { 'Transfer-Encoding': 'chunked' }])
      assert.deepEqual(errorOf(await put(`${ROOT}/big`, bytes, headers)), [413, 'RESOURCE_LIMIT_EXCEEDED']);
    assert.equal((await put(`${ROOT}/fits`, bytes.subarray(1))).status, 200);
    assert.deepEqual(errorOf(await call('GET', `${FILES}/${ROOT}/big`)), [404, 'RESOURCE_DOES_NOT_EXIST']);
    assert.deepEqual(await staged(), []);
  });

  test('encoded bodies and Content-Range are refused', async () => {
    for (const headers of [{ 'Content-Encoding': 'gzip' }, { 'Content-Range': 'bytes 0-3/10' }])
      assert.deepEqual(errorOf(await put(`${ROOT}/odd`, Buffer.from('x'), headers)), [400, 'INVALID_PARAMETER_VALUE']);
  });

  test('an upload that breaks off leaves nothing', async () => {
    const { hostname, port } = new URL(registry.url);
    for (const head of ['Content-Length: 3000000', 'Transfer-Encoding: chunked']) {
      const socket = net.connect(Number(port), hostname);
      socket.write(`PUT ${FILES}/${ROOT}/torn HTTP/1.1\r\nHost: x\r\n${head}\r\n\r\n`);
      if (head.startsWith('T')) socket.write('10000\r\n');
      socket.write(Buffer.alloc(0x10000));
      await until(async () => (await staged()).length > 0);
      socket.destroy();
      await until(async () => (await staged()).length === 0);
    }
    assert.deepEqual(errorOf(await call('GET', `${FILES}/${ROOT}/torn`)), [404, 'RESOURCE_DOES_NOT_EXIST']);
  });

  test('a multipart upload is answered so that the client falls back', async () => {
    const answer = await call('POST', `/api/2.0/mlflow-artifacts/mpu/create/${ROOT}/x`, Buffer.from('{}'));
    assert.deepEqual(errorOf(answer), [501, 'NOT_IMPLEMENTED']);
    assert.match(answer.body.toString(), /"Multipart upload is not supported for the current artifact repository/);
  });

  const uploads = '/api/v1/registry/uploads';
  const patch = (id: string, offset: number | string, bytes: Uint8Array): Promise<Raw> =>
    call('PATCH', `${uploads}/${id}`, bytes, { 'Upload-Offset': offset });

  test('an upload in parts becomes an artifact with its last byte', async () => {
    const bytes = randomBytes(3_000_000);
    const path = `${ROOT}/parts/model.onnx`;
    const created = await registry.ok('POST', uploads, { path, size: bytes.length, digest: `sha256:${sha256(bytes)}` });
    assert.deepEqual([created.offset, created.complete], [0, false]);
    const id = created.upload_id as string;
    for (const [from, to] of [
      [0, 1],
      [1, 1_500_000],
      [1_500_000, 1_500_000],
    ]) {
      const answer = JSON.parse((await patch(id, from, bytes.subarray(from, to))).body.toString());
      assert.deepEqual([answer.offset, answer.complete], [to, false]);
    }
    const stale = await patch(id, 0, bytes);
    assert.deepEqual([stale.status, JSON.parse(stale.body.toString()).code], [409, 'conflict']);
    assert.match(stale.body.toString(), /has reached offset 1500000/);
    const head = await call('HEAD', `${uploads}/${id}`);
    assert.deepEqual([head.headers['upload-offset'], head.headers['upload-length']], ['1500000', '3000000']);
    const last = JSON.parse((await patch(id, 1_500_000, bytes.subarray(1_500_000))).body.toString());
    assert.deepEqual([last.complete, last.digest], [true, `sha256:${sha256(bytes)}`]);
    assert.ok(bytes.equals((await call('GET', `${FILES}/${path}`)).body));
    assert.equal((await call('GET', `${uploads}/${id}`)).status, 404);
    assert.deepEqual(await staged(), []);
  });

  test('an upload in parts goes on after a broken connection', async () => {
    const bytes = randomBytes(2_000_000);
    const path = `${ROOT}/parts/broken`;
    const { upload_id } = await registry.ok('POST', uploads, { path, size: bytes.length });
    const { hostname, port } = new URL(registry.url);
    const socket = net.connect(Number(port), hostname);
    const head = `PATCH ${uploads}/${upload_id} HTTP/1.1\r\nHost: x\r\nUpload-Offset: 0\r\nContent-Length: 2000000\r\n\r\n`;
    socket.write(Buffer.concat([Buffer.from(head), bytes.subarray(0, 1_000_000)]));
    const offset = async (): Promise<number> => (await registry.ok('GET', `${uploads}/${upload_id}`)).offset;
    await until(async () => (await offset()) >= 1_000_000);
    const second = await patch(upload_id, 1_000_000, bytes.subarray(1_000_000));
    assert.equal(second.status, 409, 'the first request still appends');
    socket.destroy();
    let last = second;
    while (last.status === 409) last = await patch(upload_id, await offset(), bytes.subarray(1_000_000));
    assert.equal(JSON.parse(last.body.toString()).digest, `sha256:${sha256(bytes)}`);
  });

  test('an upload in parts that is not what was promised ends, and nothing is stored', async () => {
    const path = `${ROOT}/parts/forged`;
    const digest = `sha256:${'0'.repeat(64)}`;
    const { upload_id } = await registry.ok('POST', uploads, { path, size: 4, digest });
    const answer = await patch(upload_id, 0, Buffer.from('evil'));
    assert.deepEqual([answer.status, JSON.parse(answer.body.toString()).code], [400, 'invalid_argument']);
    assert.equal((await call('GET', `${uploads}/${upload_id}`)).status, 404);
    assert.equal((await call('GET', `${FILES}/${path}`)).status, 404);
    assert.deepEqual(await staged(), []);
  });

  test('an upload in parts takes no byte too many, no odd offset, and can be ended', async () => {
    const { upload_id } = await registry.ok('POST', uploads, { path: `${ROOT}/parts/long`, size: 4 });
    assert.equal((await patch(upload_id, 0, Buffer.from('12345'))).status, 413);
    for (const offset of ['-1', 'x', '', '1e3', '9'.repeat(20)])
      assert.equal((await patch(upload_id, offset, Buffer.from('1'))).status, 400, offset);
    assert.equal((await call('DELETE', `${uploads}/${upload_id}`)).status, 200);
    assert.equal((await patch(upload_id, 0, Buffer.from('1'))).status, 404);
    assert.equal((await registry.call('POST', uploads, { path: 'x', size: MAX_BYTES + 1 })).status, 413);
    assert.equal((await registry.call('POST', uploads, { path: 'x', size: -1 })).status, 400);
    assert.equal((await registry.call('POST', uploads, { path: 'x', size: 1, digest: 'md5:0' })).status, 400);
    assert.deepEqual(await staged(), []);
  });

  test('nothing of this was a mistake of the server', () => {
    assert.deepEqual(registry.errors, []);
  });
}

/** Waits until something is so; gives up after a time in which it must have happened. */
async function until(done: () => Promise<boolean>): Promise<void> {
  for (let i = 0; i < 2000; i++) {
    if (await done()) return;
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
  assert.fail('it did not come to pass');
}

function decodeSafely(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}
