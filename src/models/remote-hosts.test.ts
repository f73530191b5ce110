import assert from 'node:assert/strict';
import { test } from 'node:test';
import { readModelConfig } from './config/read.ts';
import { checkRemoteHosts, isAllowedAddress } from './remote-hosts.ts';

const config = (backend: string, url: string, field = 'backend') =>
  readModelConfig(JSON.stringify({ [field]: backend, parameters: { url: { string_value: url } } }), 'm/config.json');

test('loopback is allowed in every form that is surely loopback, and in no other', () => {
  for (const host of ['localhost', 'LOCALHOST', '127.0.0.1', '127.255.3.4', '[::1]'])
    assert.equal(isAllowedAddress(`${host}:8001`, []), true, host);
  const others = [
    '169.254.169.254',
    '10.0.0.1',
    'localhost.evil.example',
    '127.0.0.1.evil.example',
    '127.1',
    '2130706433',
  ];
  for (const host of [...others, '0x7f.0.0.1', '0177.0.0.1', '[::]', '[::ffff:10.0.0.1]', '0.0.0.0', 'unix', 'dns'])
    assert.equal(isAllowedAddress(`${host}:8001`, []), false, host);
});

test('a listed host is allowed at every port, a listed address at its own only', () => {
  const listed = ['Triton.internal', '10.0.0.7:8001', '[2001:db8::1]'];
  for (const address of ['triton.internal:1', 'TRITON.INTERNAL:2', '10.0.0.7:8001', '[2001:DB8::1]:8001'])
    assert.equal(isAllowedAddress(address, listed), true, address);
  for (const address of ['10.0.0.7:8002', 'x.triton.internal:1', 'triton.internal.x:1', '[2001:db8::2]:8001'])
    assert.equal(isAllowedAddress(address, listed), false, address);
});

test('every address of every remote backend is checked, however the backend is named', () => {
  const denied = { code: 'permission_denied', message: /"169\.254\.169\.254:80".*models\.remoteHosts/ };
  for (const backend of ['triton', 'kserve', 'tfserving']) {
    for (const field of ['backend', 'platform']) {
      const url = 'grpc://127.0.0.1:1, grpc://169.254.169.254:80';
      assert.throws(() => checkRemoteHosts(config(backend, url, field), 'm', []), denied);
      checkRemoteHosts(config(backend, 'grpcs://127.0.0.1:1,grpcs://big:2', field), 'm', ['big']);
    }
  }
  assert.throws(() => checkRemoteHosts(config('triton', 'http://127.0.0.1:80/x'), 'm', []), {
    code: 'invalid_argument',
  });
});

test('a parameter of that name means nothing for a local backend', () => {
  checkRemoteHosts(config('javascript', 'http://anywhere.example/'), 'm', []);
  checkRemoteHosts(readModelConfig('{}', 'm/config.json'), 'm', []);
});
