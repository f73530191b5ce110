import assert from 'node:assert/strict';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { after, before, beforeEach, test } from 'node:test';
import { SwitchyardError } from '../../../shared/errors.ts';
import { RayApi } from './api.ts';

// The answers that a real dashboard gives seldom or on purpose; runners.service.test.ts runs against a real one.
let answers: Record<string, [number, string]> = {};
let asked: { line: string; body: string; type: string | undefined }[] = [];
let tokens: (string | undefined)[] = [];
const server = createServer(async (request, response) => {
  let body = '';
  for await (const chunk of request) body += String(chunk);
  const line = `${request.method} ${request.url}`;
  tokens.push(request.headers.authorization);
  asked.push({ line, body, type: request.headers['content-type'] });
  const [status, text] = answers[line] ?? [404, 'no such job'];
  response.writeHead(status).end(text);
});
let api: RayApi;
let address = '';
before(async () => {
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  address = `http://127.0.0.1:${(server.address() as AddressInfo).port}//`;
  api = new RayApi(address);
});
beforeEach(() => {
  answers = {};
  asked = [];
  tokens = [];
});
after(() => server.close());

const refusal =
  (code: string, message: RegExp) =>
  (error: unknown): boolean =>
    error instanceof SwitchyardError && error.code === code && message.test(error.message);

test('a job that Ray does not know is none, has no log, and needs no end', async () => {
  assert.equal(await api.get('a/b'), undefined);
  assert.equal(asked[0].line, 'GET /api/jobs/a%2Fb');
  assert.equal((await api.log('a')).length, 0);
  await api.stop('a');
  await api.remove('a');
});

test('a log that is not there yet is empty', async () => {
  answers['GET /api/jobs/a/logs'] = [200, '{"logs": null}'];
  assert.equal((await api.log('a')).length, 0);
  answers['GET /api/jobs/a/logs'] = [200, '{"logs": "ü\\n"}'];
  assert.equal((await api.log('a')).toString(), 'ü\n');
});

test('a package is uploaded once', async () => {
  answers['PUT /api/packages/gcs/x.zip'] = [200, ''];
  assert.equal(await api.upload('x.zip', Buffer.from('zip')), 'gcs://x.zip');
  assert.deepEqual(asked[1], { line: 'PUT /api/packages/gcs/x.zip', body: 'zip', type: 'application/octet-stream' });
  answers['GET /api/packages/gcs/x.zip'] = [200, ''];
  await api.upload('x.zip', Buffer.from('zip'));
  assert.equal(asked.filter(({ line }) => line.startsWith('PUT')).length, 1);
});

test("the last line of a traceback is the reason, and the server's failure may pass", async () => {
  answers['GET /api/jobs/a'] = [400, 'Traceback\n  File x\nValueError: no such thing\n'];
  await assert.rejects(api.get('a'), refusal('invalid_argument', /Ray answered 400: ValueError: no such thing$/));
  answers['GET /api/jobs/a'] = [503, 'starting'];
  await assert.rejects(api.get('a'), refusal('unavailable', /503: starting/));
  answers['GET /api/jobs/a'] = [200, '<html>'];
  await assert.rejects(api.get('a'), refusal('unavailable', /did not answer with JSON: <html>/));
});

test('a cluster that is away is unavailable', async () => {
  await assert.rejects(new RayApi('http://127.0.0.1:1').get('a'), refusal('unavailable', /cannot be reached: ECONN/));
});

test('a token is read for each call and sent with it; one that is asked for or refused is said, but not shown', async () => {
  let token = 'first-token';
  const guarded = new RayApi(address, () => token);
  await guarded.get('a');
  token = 'second-token';
  await guarded.get('a');
  await api.get('a');
  assert.deepEqual(tokens, ['Bearer first-token', 'Bearer second-token', undefined]);
  answers['GET /api/jobs/a'] = [403, 'Forbidden: Invalid authentication token'];
  await assert.rejects(
    guarded.get('a'),
    refusal('failed_precondition', /refuses the token \(403\); give training\.ray/),
  );
  await assert.rejects(guarded.get('a'), (error: Error) => !error.message.includes('second-token'));
  answers['GET /api/jobs/a'] = [401, 'Unauthorized: Missing authentication token'];
  await assert.rejects(api.get('a'), refusal('failed_precondition', /asks for a token \(401\)/));
  const unreadable = new RayApi(address, () => {
    throw new SwitchyardError('failed_precondition', 'training.ray.token: its file cannot be read on the server');
  });
  await assert.rejects(unreadable.get('a'), refusal('failed_precondition', /its file cannot be read/));
});
