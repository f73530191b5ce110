import assert from 'node:assert/strict';
import { test } from 'node:test';
import { takeCores } from '../../tensor/cores.ts';
import { native } from '../../tensor/native.ts';
import { coreLists } from '../../testing/core-lists.ts';
import { fixtureSpec } from '../../testing/load-spec.ts';
import { OnnxBackend } from './backend.ts';
import { sharedProblem } from './shared-session.ts';

const usable = native?.usableCores() ?? [];
const skip = usable.length < 2 && 'Linux, the addon and two cores only';
const [first, second] = usable.map(String);

/** A model with two threads of its own. */
function withThreads() {
  const spec = fixtureSpec('mlp_small');
  return { ...spec, config: { ...spec.config, parameters: { ...spec.config.parameters, intra_op_thread_count: '3' } } };
}

test("threads of ONNX Runtime do not inherit an executor's core", { skip }, async () => {
  process.env.SWITCHYARD_ONNX_THREADS = '3';
  const known = new Set(coreLists(process.pid).keys());
  const self = takeCores({ own: [usable[0]], runs: [usable[1]], shared: usable.slice(1) });
  /** Those of threads that were not there before. */
  function fresh(): string[] {
    const lists = [...coreLists(process.pid)].filter(([thread]) => !known.has(thread));
    for (const [thread] of lists) known.add(thread);
    return lists.map(([, list]) => list);
  }
  assert.equal(sharedProblem(), '');
  const pools = fresh();
  assert.ok(pools.length >= 2, String(pools));
  assert.deepEqual(new Set(pools), new Set([second]));
  for (const way of ['native', 'node'] as const) {
    const model = await new OnnxBackend(way).load(withThreads());
    const lists = fresh();
    assert.ok(lists.length >= 2, `${way}: ${lists}`);
    for (const list of lists) assert.notEqual(list, first, way);
    await model.unload();
  }
  assert.equal(coreLists(process.pid).get(self), first);
});
