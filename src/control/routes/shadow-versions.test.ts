import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseRoutes } from '../../config/load-routes.ts';
import type { RouteDocument } from '../../config/route-schema.ts';
import { RouteRecorder } from '../../gateway/route-recorder.ts';
import type { ShadowOutcome } from '../../pipeline/routed/record.ts';
import { decodeSums, encodeSums, Ledger } from './ledger.ts';
import { newLive } from './live.ts';
import { renderRoutes } from './route-metrics.ts';
import type { ShadowView } from './shadow-view.ts';
import { resume } from './standing.ts';
import { routeView } from './view.ts';

const [document] = parseRoutes([
  {
    file: 'routes.yaml',
    text: `apiVersion: switchyard/v1
kind: Route
metadata: {name: m}
spec:
  variants: {stable: {model: m, version: "1"}, next: {model: m, alias: next}}
  shadow: {variant: next, compare: {maxMismatch: 5%}}
  strategy: {weighted: {stable: 100, next: 0}}
`,
  },
]).routes;

test('copies to a version that an alias named before say nothing of the one it names now', () => {
  const recorder = new RouteRecorder(0);
  const ledger = new Ledger();
  const live = newLive(document, resume(document.spec, undefined), 'this');
  live.own.sums = ledger.of('m');
  const copies = (count: number, version: string, outcome: ShadowOutcome['outcome']): void => {
    const one = { id: 'd', route: 'm', variant: 'next', model: 'm', version, outcome, latencyMs: 1, difference: '' };
    for (let i = 0; i < count; i++) recorder.shadowed(one);
    ledger.add(recorder.take()!);
  };
  const shown = (version: string): ShadowView => {
    const view = routeView(live, 'file', live.own, { stable: '1', next: version }, 0);
    return (view as { variants: { shadow: ShadowView }[] }).variants[1].shadow;
  };
  copies(1000, '2', 'mismatch');
  copies(1000, '2', 'failed');
  assert.equal(shown('2').verdict, 'fail');
  assert.deepEqual([shown('3').mismatch_rate, shown('3').verdict], [null, 'inconclusive'], 'nothing is known of it');
  copies(2000, '3', 'match');
  assert.deepEqual([shown('3').mismatch_rate, shown('3').verdict], [0, 'pass']);
  // As Redis and the database have them.
  live.own.sums = decodeSums(JSON.parse(JSON.stringify(encodeSums(live.own.sums))));
  assert.deepEqual([shown('2').verdict, shown('3').verdict], ['fail', 'pass']);

  const metrics = renderRoutes([live], () => ({ stable: '1', next: '3' }));
  assert.match(metrics, /shadow_total\{route="m",variant="next",model="m",version="2",outcome="mismatch"\} 1000/);
  assert.match(metrics, /shadow_total\{route="m",variant="next",model="m",version="3",outcome="match"\} 2000/);
  assert.match(metrics, /shadow_verdict\{route="m",variant="next",version="3",verdict="pass"\} 1/);
  assert.doesNotMatch(metrics, /verdict="fail"/, 'of a version that is not served any more');
});

test('nor do copies to the version of another model that has the same number', () => {
  const of = (model: string): RouteDocument => {
    const { next, ...others } = document.spec.variants;
    return { ...document, spec: { ...document.spec, variants: { ...others, next: { ...next, model } } } };
  };
  const recorder = new RouteRecorder(0);
  const ledger = new Ledger();
  const live = newLive(of('old'), resume(of('old').spec, undefined), 'this');
  live.own.sums = ledger.of('m');
  const copies = (count: number, model: string, outcome: ShadowOutcome['outcome']): void => {
    const one = { id: 'd', route: 'm', variant: 'next', model, version: '1', outcome, latencyMs: 1, difference: '' };
    for (let i = 0; i < count; i++) recorder.shadowed(one);
  };
  const shown = (): ShadowView => {
    const view = routeView(live, 'file', live.own, { stable: '1', next: '1' }, 0);
    return (view as { variants: { shadow: ShadowView }[] }).variants[1].shadow;
  };
  copies(1000, 'old', 'mismatch');
  ledger.add(recorder.take()!);
  assert.equal(shown().verdict, 'fail');
  // A reload: the strategy is the same, and so are the sums.
  live.document = of('new');
  assert.deepEqual([shown().mismatch_rate, shown().verdict], [null, 'inconclusive']);
  // One report of both, as after a reload.
  copies(10, 'old', 'mismatch');
  copies(1000, 'new', 'match');
  ledger.add(recorder.take()!);
  live.own.sums = decodeSums(JSON.parse(JSON.stringify(encodeSums(live.own.sums))));
  assert.deepEqual([shown().match, shown().mismatch, shown().verdict], [1000, 0, 'pass']);
  const metrics = renderRoutes([live], () => ({ stable: '1', next: '1' }));
  assert.match(metrics, /shadow_total\{route="m",variant="next",model="old",version="1",outcome="mismatch"\} 1010/);
  assert.match(metrics, /shadow_total\{route="m",variant="next",model="new",version="1",outcome="match"\} 1000/);
});
