import assert from 'node:assert/strict';
import { test } from 'node:test';
import { SwitchyardError } from '../shared/errors.ts';
import type { Admission, Credentials, Identity } from './admission.ts';
import type { AdmissionConfig } from './admission-config.ts';
import { hashApiKey } from './api-keys.ts';
import { createAdmission } from './create-admission.ts';
import { allocateLimitTable } from './limit-table.ts';

const NONE: Credentials = { authorization: '', apiKey: '', certificateName: '' };
const key = (apiKey: string): Credentials => ({ ...NONE, apiKey });
const bearer = (token: string): Credentials => ({ ...NONE, authorization: `Bearer ${token}` });

function failsWith(code: string, pattern = /./) {
  return (error: unknown) => {
    assert.ok(error instanceof SwitchyardError, String(error));
    assert.equal(error.code, code);
    assert.match(error.message, pattern);
    if (code === 'overloaded') assert.ok(error.retryAfterMs! > 0);
    return true;
  };
}

/** Admits, and checks that no promise was needed for it. */
function admitNow(admission: Admission, identity: Identity, model: string): void {
  assert.equal(admission.admit(identity, model), undefined);
}

test('nothing configured: off, anonymous may infer and control', async () => {
  const admission = await createAdmission({});
  assert.equal(admission.enabled, false);
  const identity = admission.authenticate(bearer('meant for a proxy')) as Identity;
  assert.deepEqual(identity, { tenant: 'default', roles: ['infer', 'control'], maxPriority: 0 });
  assert.equal(admission.admit(identity, 'm'), undefined);
  admission.release(identity, 'm');
  await admission.close();
});

test('API keys: by header or bearer, with roles; unknown, absent and malformed ones are refused', async () => {
  const admission = await createAdmission({
    apiKeys: [
      { tenant: 'acme', sha256: hashApiKey('k1').toUpperCase(), roles: ['infer', 'control'], maxPriority: 2 },
      { tenant: 'globex', sha256: hashApiKey('k2') },
    ],
  });
  assert.equal(admission.enabled, true);
  assert.deepEqual(admission.authenticate(key('k1')), { tenant: 'acme', roles: ['infer', 'control'], maxPriority: 2 });
  assert.deepEqual(admission.authenticate(bearer('k2')), { tenant: 'globex', roles: ['infer'], maxPriority: 0 });
  assert.equal(admission.authenticate({ ...NONE, authorization: 'bEARER k2' }), admission.authenticate(key('k2')));
  assert.throws(() => admission.authenticate(key('k3')), failsWith('unauthenticated', /not known/));
  assert.throws(() => admission.authenticate(key('x'.repeat(100_000))), failsWith('unauthenticated'));
  assert.throws(() => admission.authenticate(bearer('k3')), failsWith('unauthenticated'));
  assert.throws(
    () => admission.authenticate({ ...NONE, authorization: 'Basic azE6' }),
    failsWith('unauthenticated', /Bearer/),
  );
  assert.throws(() => admission.authenticate(NONE), failsWith('unauthenticated', /no credentials/));
});

test('a wrong key is refused even where anonymous callers are allowed, and messages never show it', async () => {
  const admission = await createAdmission({
    apiKeys: [{ tenant: 'acme', sha256: hashApiKey('k1') }],
    anonymous: 'allow',
  });
  assert.deepEqual(admission.authenticate(NONE), { tenant: 'default', roles: ['infer'], maxPriority: 0 });
  assert.throws(
    () => admission.authenticate(key('SECRET-KEY')),
    (error: Error) => !error.message.includes('SECRET'),
  );
});

test('rotation: old and new key side by side, then the old one gone; a bad update changes nothing', async () => {
  const admission = await createAdmission({ apiKeys: [{ tenant: 'acme', sha256: hashApiKey('old') }] });
  assert.ok(admission.authenticate(key('old')));
  const both: AdmissionConfig = {
    apiKeys: ['old', 'new'].map((text) => ({ tenant: 'acme', sha256: hashApiKey(text) })),
  };
  admission.update(both);
  assert.ok(admission.authenticate(key('old')));
  assert.ok(admission.authenticate(key('new')));
  assert.throws(
    () => admission.update({ apiKeys: [{ tenant: 'acme', sha256: 'nope' }] }),
    failsWith('invalid_argument', /sha256/),
  );
  assert.ok(admission.authenticate(key('old')));
  admission.update({ apiKeys: [both.apiKeys![1]] });
  assert.throws(() => admission.authenticate(key('old')), failsWith('unauthenticated'));
  assert.ok(admission.authenticate(key('new')));
});

test('an expired key is refused, also when it was used before', async () => {
  const expires = Date.now() + 3000;
  const admission = await createAdmission({
    apiKeys: [{ tenant: 'acme', sha256: hashApiKey('k'), expires: new Date(expires).toISOString() }],
  });
  assert.ok(admission.authenticate(key('k')));
  while (Date.now() <= expires) await new Promise((resolve) => setTimeout(resolve, 20));
  assert.throws(() => admission.authenticate(key('k')), failsWith('unauthenticated', /expired/));
});

test('a client certificate stands for its tenant; an unknown one for nobody', async () => {
  const admission = await createAdmission({ certificates: [{ name: 'billing', tenant: 'acme' }] });
  assert.equal((admission.authenticate({ ...NONE, certificateName: 'billing' }) as Identity).tenant, 'acme');
  assert.throws(() => admission.authenticate({ ...NONE, certificateName: '__proto__' }), failsWith('unauthenticated'));
});

test('concurrency: refused at the limit, free again after release, exact over two threads of one table', async () => {
  const config: AdmissionConfig = { tenants: { acme: { limits: { concurrency: 2 } } } };
  const limits = allocateLimitTable(64);
  const [one, two] = [await createAdmission(config, { limits }), await createAdmission(config, { limits })];
  const acme: Identity = { tenant: 'acme', roles: ['infer'], maxPriority: 0 };
  admitNow(one, acme, 'm');
  admitNow(two, acme, 'm');
  assert.throws(() => one.admit(acme, 'm'), failsWith('overloaded', /concurrency limit \(2\) of tenant "acme"/));
  assert.throws(() => two.admit(acme, 'm'), failsWith('overloaded'));
  admitNow(one, { ...acme, tenant: 'other' }, 'm');
  two.release(acme, 'm');
  admitNow(one, acme, 'm');
});

test('rate and quota: the burst passes, the rest is refused and gives back its place and its quota', async () => {
  const admission = await createAdmission({
    tenants: { acme: { limits: { requestsPerSecond: 0.001, burst: 2, concurrency: 5, dailyQuota: 3 } } },
  });
  const acme: Identity = { tenant: 'acme', roles: [], maxPriority: 0 };
  admitNow(admission, acme, 'm');
  admitNow(admission, acme, 'm');
  for (let i = 0; i < 10; i++) assert.throws(() => admission.admit(acme, 'm'), failsWith('overloaded', /rate limit/));
  admission.update({ tenants: { acme: { limits: { concurrency: 5, dailyQuota: 3 } } } });
  admitNow(admission, acme, 'm');
  assert.throws(() => admission.admit(acme, 'm'), failsWith('overloaded', /daily quota \(3\)/));
  admission.update({ tenants: { acme: { limits: { concurrency: 4 } } } });
  admitNow(admission, acme, 'm');
  assert.throws(() => admission.admit(acme, 'm'), failsWith('overloaded', /concurrency/));
});

test("a model's limits hold beside the tenant's, and taking them away leaves no place occupied", async () => {
  const config: AdmissionConfig = {
    tenants: { acme: { limits: { concurrency: 3 }, modelLimits: { heavy: { concurrency: 1 } } } },
  };
  const admission = await createAdmission(config);
  const acme: Identity = { tenant: 'acme', roles: [], maxPriority: 0 };
  admitNow(admission, acme, 'heavy');
  assert.throws(() => admission.admit(acme, 'heavy'), failsWith('overloaded', /on model "heavy"/));
  admitNow(admission, acme, 'light');
  admitNow(admission, acme, 'light');
  assert.throws(() => admission.admit(acme, 'light'), failsWith('overloaded'));
  admission.update({ tenants: { acme: { limits: { concurrency: 3 } } } });
  admission.release(acme, 'heavy');
  admission.update(config);
  admitNow(admission, acme, 'heavy');
});

test('models outside the list are denied; default limits reach tenants that are not listed', async () => {
  const admission = await createAdmission({
    tenants: { acme: { allowedModels: ['m'] } },
    defaultLimits: { concurrency: 1 },
  });
  const acme: Identity = { tenant: 'acme', roles: [], maxPriority: 0 };
  assert.throws(() => admission.admit(acme, 'secret'), failsWith('permission_denied', /"acme".*"secret"/));
  const stranger: Identity = { ...acme, tenant: 'toString' };
  admitNow(admission, stranger, 'secret');
  assert.throws(() => admission.admit(stranger, 'secret'), failsWith('overloaded'));
});

test('bad configurations are refused by field', async () => {
  const bad: [AdmissionConfig, RegExp][] = [
    [{ apiKeys: [{ tenant: 'a b', sha256: hashApiKey('k') }] }, /apiKeys\[0\]\.tenant/],
    [{ apiKeys: ['a', 'b'].map((tenant) => ({ tenant, sha256: hashApiKey('k') })) }, /already listed/],
    [{ apiKeys: [{ tenant: 'a', sha256: hashApiKey('k'), expires: 'soon' }] }, /expires/],
    [{ defaultLimits: { requestsPerSecond: 0 } }, /defaultLimits\.requestsPerSecond: 0/],
    [{ defaultLimits: { burst: 1.5 } }, /burst/],
    [{ tenants: { a: { modelLimits: { m: { concurrency: -1 } } } } }, /tenants\.a\.modelLimits\.m\.concurrency: -1/],
    [{ jwt: [{ issuer: 'i', audience: ['a'], jwksUrl: 'http://keys.example.com/jwks' }] }, /jwksUrl: only https/],
    [{ jwt: [{ issuer: 'i', audience: ['a'], jwksUrl: 'https://user:pw@keys.example.com/' }] }, /credentials/],
    [{ jwt: [{ issuer: 'i', audience: [], jwks: { keys: [] } }] }, /audience/],
    [{ jwt: [{ issuer: 'i', audience: ['a'] }] }, /exactly one/],
  ];
  for (const [config, pattern] of bad)
    await assert.rejects(createAdmission(config), failsWith('invalid_argument', pattern));
});
