import assert from 'node:assert/strict';
import { mkdtempSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { exportJWK, generateKeyPair, SignJWT } from 'jose';
import { hashApiKey } from '../admission/api-keys.ts';
import { scriptRepository, times, until, x } from '../testing/script-models.ts';
import { infer, ServerProcess } from '../testing/server-process.ts';

const scratch = mkdtempSync(join(tmpdir(), 'switchyard-reload-'));
const file = join(scratch, 'switchyard.yaml');
let server: ServerProcess;
let root: string;

interface Status {
  generation: number;
  problems: string[];
  applied: string[];
  restart_needed: string[];
}

/** As editors and orchestrators do: nobody sees half a file. */
function write(name: string, text: string): void {
  writeFileSync(join(scratch, `${name}.new`), text);
  renameSync(join(scratch, `${name}.new`), join(scratch, name));
}

const key = (tenant: string, secret: string) => `- {tenant: ${tenant}, sha256: ${hashApiKey(secret)}}\n`;
const config = (admission: string, rest = '') => `models: {repositories: [${root}]}\nadmission:\n${admission}${rest}`;

async function ask(headers: Record<string, string>): Promise<number> {
  return (await infer(server, 'scale', x(1), headers)).status;
}

const answers = (headers: Record<string, string>, status: number) =>
  until(`${JSON.stringify(headers).slice(0, 40)} is answered ${status}`, async () => (await ask(headers)) === status);

async function admin(method: string, path: string): Promise<Status> {
  const response = await fetch(`http://127.0.0.1:${server.ports.admin}/api/v1/config/${path}`, { method });
  return (await response.json()) as Status;
}

before(async () => {
  root = scriptRepository(scratch, { scale: { versions: { 1: times(2) } } });
  write('switchyard.yaml', config('  anonymous: allow\n'));
  server = await ServerProcess.start(['--config', file]);
});
after(async () => {
  await server.stop();
  rmSync(scratch, { recursive: true, force: true });
});

test('keys in a file that a reload names are rotated by changing that file alone', async () => {
  write('keys.yaml', key('a', 'first'));
  write('switchyard.yaml', config('  keysFile: keys.yaml\n'));
  await answers({}, 401);
  assert.equal(await ask({ 'x-api-key': 'first' }), 200);
  write('keys.yaml', `keys:\n  ${key('a', 'second')}`);
  await answers({ 'x-api-key': 'second' }, 200);
  assert.equal(await ask({ 'x-api-key': 'first' }), 401);
  const from = server.log.length;
  write('keys.yaml', `${key('a', 'third')}- {tenant: b, secret: hunter2}\n`);
  const refusal = await server.waitFor((line) => Array.isArray(line.problems), from);
  assert.match(String(refusal.problems), /keys\.yaml:2:\d+: admission\.keysFile: .*unknown setting '1\.secret'/);
  assert.ok(!JSON.stringify(refusal).includes('hunter2'), 'no value of a file of keys is told');
  assert.equal(await ask({ 'x-api-key': 'second' }), 200, 'the last good keys go on');
  write('keys.yaml', key('a', 'third'));
  await answers({ 'x-api-key': 'third' }, 200);
});

test('a key set in a file is rotated by changing that file alone, also where it was missing at first', async () => {
  const issue = async (id: string) => {
    const { publicKey, privateKey } = await generateKeyPair('ES256');
    const claims = new SignJWT({}).setProtectedHeader({ alg: 'ES256', kid: id }).setIssuer('issuer');
    const token = await claims.setAudience('switchyard').setSubject('a').setExpirationTime('1h').sign(privateKey);
    return { token, jwks: JSON.stringify({ keys: [{ ...(await exportJWK(publicKey)), kid: id, alg: 'ES256' }] }) };
  };
  const [one, two] = [await issue('one'), await issue('two')];
  const from = server.log.length;
  write('switchyard.yaml', config('  jwt: [{issuer: issuer, audience: [switchyard], jwksFile: jwks.json}]\n'));
  const refusal = await server.waitFor((line) => Array.isArray(line.problems), from);
  assert.match(String(refusal.problems), /jwks\.json: cannot be read/);
  write('jwks.json', one.jwks);
  await answers({ authorization: `Bearer ${one.token}` }, 200);
  assert.equal(await ask({ authorization: `Bearer ${two.token}` }), 401);
  write('jwks.json', two.jwks);
  await answers({ authorization: `Bearer ${two.token}` }, 200);
  assert.equal(await ask({ authorization: `Bearer ${one.token}` }), 401, 'also a token that was verified before');
});

test('a change of several sections says what is in force and what waits for a restart', async () => {
  const rest = `
kafka: {brokers: ['127.0.0.1:1']}
training: {sourceDirs: [jobs]}
cache: {ttlSeconds: 7}
server: {drainSeconds: 7}
`;
  write('switchyard.yaml', config('  redisUrl: redis://127.0.0.1:1\n  anonymous: deny\n', rest));
  const mixed = await admin('POST', 'reload');
  assert.deepEqual(mixed.problems, []);
  assert.deepEqual(mixed.applied, ['admission']);
  assert.deepEqual(mixed.restart_needed.toSorted(), ['admission.redisUrl', 'cache', 'kafka', 'server', 'training']);
  assert.equal(await ask({}), 401);
  const line = await server.waitFor(
    ({ msg, restartNeeded }) => /waits for a restart/.test(String(msg)) && String(restartNeeded).includes('kafka'),
  );
  assert.deepEqual(line.applied, ['admission']);
  const again = await admin('POST', 'reload');
  assert.deepEqual(again.restart_needed, mixed.restart_needed, 'what waits is named until it is in force');
  write('switchyard.yaml', config('  anonymous: allow\n'));
  const back = await admin('POST', 'reload');
  assert.deepEqual([back.applied, back.restart_needed], [['admission'], []]);
  assert.equal(await ask({}), 200);
});
