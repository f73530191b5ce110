import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { SwitchyardError } from '../../../shared/errors.ts';
import { parseRoute, type Route, RouteCache } from './routes.ts';

function route(kind: Route['kind'], methods: Route['methods'], more: Partial<Route> = {}): Route {
  return { kind, methods, model: '', version: '', label: '', ...more };
}

const ROUTES: [string, Route][] = [
  ['/', route('v1-live', 'GET')],
  ['/v2', route('server-metadata', 'GET')],
  ['/v2/', route('server-metadata', 'GET')],
  ['/v2/health/live', route('live', 'GET')],
  ['/v2/health/ready', route('ready', 'GET')],
  ['/v2/models', route('model-list', 'GET')],
  ['/v2/models/stats', route('statistics', 'GET')],
  ['/v2/models/m', route('model-metadata', 'GET', { model: 'm' })],
  ['/v2/models/m/versions/3', route('model-metadata', 'GET', { model: 'm', version: '3' })],
  ['/v2/models/m/ready', route('model-ready', 'GET', { model: 'm' })],
  ['/v2/models/m/config', route('model-config', 'GET', { model: 'm' })],
  ['/v2/models/m/stats', route('statistics', 'GET', { model: 'm' })],
  ['/v2/models/m/infer', route('infer', 'POST', { model: 'm' })],
  ['/v2/models/m%2Dx/versions/12/infer', route('infer', 'POST', { model: 'm-x', version: '12' })],
  ['/v2/models/m/generate', route('generate', 'POST', { model: 'm' })],
  ['/v2/models/m/versions/1/generate_stream', route('generate-stream', 'POST', { model: 'm', version: '1' })],
  ['/v2/models/m/trace/setting', route('trace', 'GET, POST', { model: 'm' })],
  ['/v2/repository/index', route('repository-index', 'POST')],
  ['/v2/repository/models/m/load', route('repository-load', 'POST', { model: 'm' })],
  ['/v2/repository/models/m/unload', route('repository-unload', 'POST', { model: 'm' })],
  ['/v2/logging', route('logging', 'GET, POST')],
  ['/v2/trace/setting', route('trace', 'GET, POST')],
  ['/v2/systemsharedmemory/status', route('shared-memory-status', 'GET')],
  ['/v2/cudasharedmemory/region/a%20b/status', route('shared-memory-status', 'GET', { model: 'a b' })],
  ['/v2/systemsharedmemory/region/r/register', route('shared-memory-register', 'POST', { model: 'r' })],
  ['/v2/systemsharedmemory/unregister', route('shared-memory-unregister', 'POST')],
  ['/v1/models/m', route('tfs-status', 'GET', { model: 'm' })],
  ['/v1/models/m/versions/2', route('tfs-status', 'GET', { model: 'm', version: '2' })],
  ['/v1/models/m/labels/stable/metadata', route('tfs-metadata', 'GET', { model: 'm', label: 'stable' })],
  ['/v1/models/m:predict', route('tfs-predict', 'POST', { model: 'm' })],
  ['/v1/models/m/versions/2:classify', route('tfs-classify', 'POST', { model: 'm', version: '2' })],
  ['/v1/models/m/labels/stable:regress', route('tfs-regress', 'POST', { model: 'm', label: 'stable' })],
];

const NO_ROUTES = [
  '',
  '//',
  '/v3',
  '/v2/health',
  '/v2/health/live/x',
  '/v2/models/m/versions',
  '/v2/models/m/versions/1/trace/setting',
  '/v2/models/m/infer/x',
  '/v2/repository/models/m/erase',
  '/v2/systemsharedmemory/register',
  '/v1',
  '/v1/models',
  '/v1/models/m/metadata:predict',
  '/v1/models/m:',
  '/v1/models/m/x:predict',
];

function code(path: string): string {
  try {
    parseRoute(path);
    return 'found';
  } catch (error) {
    assert.ok(error instanceof SwitchyardError);
    return error.code;
  }
}

describe('parseRoute', () => {
  it('knows every path', () => {
    for (const [path, expected] of ROUTES) assert.deepEqual(parseRoute(path), expected, path);
  });

  it('knows no other', () => {
    for (const path of NO_ROUTES) assert.equal(code(path), 'not_found', path);
  });

  it('refuses names and versions that are not allowed', () => {
    for (const name of ['.m', '_m', 'a%2fb', '..', 'a%00b', '%2e%2e', '%', '%ff', 'a%252fb', 'ä', 'a'.repeat(129)]) {
      assert.equal(code(`/v2/models/${name}/infer`), 'invalid_argument', name);
      assert.equal(code(`/v1/models/${name}:predict`), 'invalid_argument', name);
      assert.equal(code(`/v2/repository/models/${name}/load`), 'invalid_argument', name);
    }
    for (const version of ['-1', '1.0', 'x', '1e3', '', '9'.repeat(19)]) {
      assert.equal(code(`/v2/models/m/versions/${version}/infer`), 'invalid_argument', version);
    }
  });

  it('gives a route with allowed names or a SwitchyardError for any path', () => {
    const part = fc.oneof(
      fc.string(),
      fc.constantFrom('v2', 'v1', 'models', 'm', 'versions', '1', 'infer', 'labels', '%2e'),
    );
    fc.assert(
      fc.property(fc.array(part, { maxLength: 7 }), (parts) => {
        const path = `/${parts.join('/')}`;
        if (code(path) !== 'found') return;
        const found = parseRoute(path);
        if (found.kind.startsWith('shared-memory')) return;
        assert.match(found.model, /^$|^[A-Za-z0-9][\w.-]{0,127}$/);
        assert.match(found.version, /^\d{0,18}$/);
      }),
      { numRuns: 500 },
    );
  });
});

describe('RouteCache', () => {
  it('answers as parseRoute does, before and after it overflows', () => {
    const cache = new RouteCache();
    const hot = cache.get('/v2/models/hot/infer');
    for (let i = 0; i < 5000; i++) {
      const path = `/v2/models/m${i}/infer`;
      assert.equal(cache.get(path).model, `m${i}`);
      assert.equal(cache.get(path), cache.get(path));
      assert.equal(cache.get('/v2/models/hot/infer'), hot, 'a path in use is never forgotten');
    }
    assert.deepEqual(cache.get('/v2/models/m0/infer'), parseRoute('/v2/models/m0/infer'));
    assert.throws(() => cache.get('/nothing'), SwitchyardError);
    assert.throws(() => cache.get('/nothing'), SwitchyardError);
  });
});
