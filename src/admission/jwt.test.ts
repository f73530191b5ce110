import assert from 'node:assert/strict';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { after, before, test } from 'node:test';
import { type CryptoKey, exportJWK, generateKeyPair, type JWK, SignJWT } from 'jose';
import { SwitchyardError } from '../shared/errors.ts';
import type { JwtConfig } from './admission-config.ts';
import { JwtVerifier } from './jwt.ts';

interface Pair {
  privateKey: CryptoKey;
  jwk: JWK;
}

async function pair(kid: string): Promise<Pair> {
  const { privateKey, publicKey } = await generateKeyPair('ES256', { extractable: true });
  return { privateKey, jwk: { ...(await exportJWK(publicKey)), kid, alg: 'ES256' } };
}

let a: Pair;
let b: Pair;
let published: JWK[] = [];
let fetches = 0;
let status = 200;
const server = createServer((_request, response) => {
  fetches++;
  response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify({ keys: published }));
});
let base: JwtConfig;

before(async () => {
  [a, b] = [await pair('a'), await pair('b')];
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo;
  base = {
    issuer: 'https://id.test',
    audience: ['switchyard'],
    jwksUrl: `http://127.0.0.1:${port}/jwks`,
    cooldownSeconds: 0,
  };
});
after(() => server.close());

interface Claims {
  iss?: string;
  aud?: string;
  sub?: string;
  exp?: number | string;
  [claim: string]: unknown;
}

function token(key: Pair, claims: Claims = {}): Promise<string> {
  const { iss = base.issuer, aud = 'switchyard', sub = 'acme', exp = '1h', ...rest } = claims;
  const jwt = new SignJWT(rest)
    .setProtectedHeader({ alg: 'ES256', kid: key.jwk.kid })
    .setIssuer(iss)
    .setAudience(aud)
    .setSubject(sub);
  return (exp === 0 ? jwt : jwt.setExpirationTime(exp)).sign(key.privateKey);
}

function rejectsWith(promise: unknown, code: string, pattern = /./): Promise<void> {
  return assert.rejects(
    async () => await promise,
    (error: unknown) => error instanceof SwitchyardError && error.code === code && pattern.test(error.message),
  );
}

test('a good token names tenant and roles; the second time it is known without a promise', async () => {
  published = [a.jwk];
  const verifier = new JwtVerifier([base]);
  const text = await token(a, { roles: ['infer', 'control'] });
  const [first, twin] = [verifier.verify(text), verifier.verify(text)];
  assert.equal(first, twin, 'checked once for both');
  assert.deepEqual(await first, { tenant: 'acme', roles: ['infer', 'control'], maxPriority: 0 });
  assert.equal(verifier.verify(text), await first);
});

test('claims are configurable; roles may be a string', async () => {
  published = [a.jwk];
  const verifier = new JwtVerifier([{ ...base, tenantClaim: 'org', rolesClaim: 'scope', priorityClaim: 'prio' }]);
  const identity = await verifier.verify(await token(a, { org: 'globex', scope: 'infer control', prio: 3 }));
  assert.deepEqual(identity, { tenant: 'globex', roles: ['infer', 'control'], maxPriority: 3 });
  await rejectsWith(verifier.verify(await token(a, { org: ['x'] })), 'unauthenticated', /"org"/);
  await rejectsWith(verifier.verify(await token(a, { org: 'x', prio: -1 })), 'unauthenticated', /"prio"/);
});

test('wrong audience, issuer, key, age and form are refused', async () => {
  published = [a.jwk];
  const verifier = new JwtVerifier([base]);
  await rejectsWith(verifier.verify(await token(a, { aud: 'elsewhere' })), 'unauthenticated', /"aud"/);
  await rejectsWith(verifier.verify(await token(a, { iss: 'https://evil.test' })), 'unauthenticated', /issuer/);
  await rejectsWith(
    verifier.verify(await token(a, { exp: Math.floor(Date.now() / 1000) - 60 })),
    'unauthenticated',
    /expired/,
  );
  await rejectsWith(verifier.verify(await token(a, { exp: 0 })), 'unauthenticated', /"exp"/);
  await rejectsWith(
    verifier.verify(await token({ ...b, jwk: { ...b.jwk, kid: 'a' } })),
    'unauthenticated',
    /signature/,
  );
  await rejectsWith(verifier.verify('not-a-token'), 'unauthenticated', /not a readable/);
  assert.throws(() => verifier.verify('x'.repeat(20_000)), SwitchyardError);
});

test('neither "none" nor a shared secret made from the public key passes', async () => {
  published = [a.jwk];
  const verifier = new JwtVerifier([base]);
  const good = await token(a);
  const none = `${Buffer.from('{"alg":"none"}').toString('base64url')}.${good.split('.')[1]}.`;
  await rejectsWith(verifier.verify(none), 'unauthenticated');
  const claims = { sub: 'acme', aud: 'switchyard', iss: base.issuer };
  const hmac = await new SignJWT(claims)
    .setProtectedHeader({ alg: 'HS256', kid: 'a' })
    .setExpirationTime('1h')
    .sign(Buffer.from(JSON.stringify(a.jwk)));
  await rejectsWith(verifier.verify(hmac), 'unauthenticated', /algorithm/);
});

test('a verified token is checked again after cacheSeconds, and refused once it expired', async () => {
  published = [a.jwk];
  let now = Date.now();
  const verifier = new JwtVerifier([{ ...base, cacheSeconds: 10, clockToleranceSeconds: 0 }], () => now);
  const text = await token(a, { exp: Math.floor(now / 1000) + 15 });
  const identity = await verifier.verify(text);
  now += 9_000;
  assert.equal(verifier.verify(text), identity);
  now += 2_000;
  assert.ok(verifier.verify(text) instanceof Promise);
  await verifier.verify(text);
  now += 5_000;
  await rejectsWith(verifier.verify(text), 'unauthenticated', /expired/);
});

test('key rotation: an unknown key id fetches the set again, at most once per cooldown', async () => {
  published = [a.jwk];
  fetches = 0;
  const verifier = new JwtVerifier([base]);
  await verifier.verify(await token(a));
  assert.equal(fetches, 1);
  published = [a.jwk, b.jwk];
  await verifier.verify(await token(b));
  assert.equal(fetches, 2);
  const cooling = new JwtVerifier([{ ...base, cooldownSeconds: 3600 }]);
  published = [a.jwk];
  fetches = 0;
  await cooling.verify(await token(a));
  for (let i = 0; i < 5; i++)
    await rejectsWith(cooling.verify(await token(b, { sub: `t${i}` })), 'unauthenticated', /key is unknown/);
  assert.equal(fetches, 1);
});

test('keys that cannot be fetched mean unavailable, never admitted', async () => {
  published = [a.jwk];
  status = 500;
  try {
    await rejectsWith(new JwtVerifier([base]).verify(await token(a)), 'unavailable');
    await rejectsWith(
      new JwtVerifier([{ ...base, jwksUrl: 'http://127.0.0.1:1/jwks' }]).verify(await token(a)),
      'unavailable',
    );
  } finally {
    status = 200;
  }
});

test('a local key set needs no network', async () => {
  const { jwksUrl: _, ...rest } = base;
  const verifier = new JwtVerifier([{ ...rest, jwks: { keys: [a.jwk as Record<string, unknown>] } }]);
  assert.deepEqual(await verifier.verify(await token(a)), { tenant: 'acme', roles: ['infer'], maxPriority: 0 });
});
