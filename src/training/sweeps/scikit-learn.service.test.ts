import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { RegistryUnderTest } from '../../testing/registry.ts';
import { trainingUnderTest } from '../../testing/training.ts';
import type { SweepView } from './sweeps.ts';

/** An interpreter with mlflow-skinny and scikit-learn: .ci/oracles/sweeps/setup.sh */
const python = process.env.SWITCHYARD_TEST_SWEEP_PYTHON;

/** As people write it: it knows MLflow, and nothing of sweeps. */
const SCRIPT = `
import argparse
import mlflow
from sklearn.datasets import load_wine
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

parser = argparse.ArgumentParser()
parser.add_argument("--model", choices=["forest", "logistic"])
parser.add_argument("--depth", type=int)
parser.add_argument("--c", type=float)
args = parser.parse_args()

x, x_test, y, y_test = train_test_split(*load_wine(return_X_y=True), test_size=0.5, random_state=0)
if args.model == "forest":
    model = RandomForestClassifier(n_estimators=10, max_depth=args.depth, random_state=0)
else:
    model = make_pipeline(StandardScaler(), LogisticRegression(C=args.c))
with mlflow.start_run():
    mlflow.log_params({"model": args.model, "c": f"{args.c:.3g}"})
    model.fit(x, y)
    mlflow.log_metric("train_accuracy", model.score(x, y))
    mlflow.log_metric("accuracy", model.score(x_test, y_test))
`;

test('a sweep of 20 scikit-learn models, by a script that only knows MLflow', { timeout: 600_000 }, async () => {
  assert.ok(python, 'SWITCHYARD_TEST_SWEEP_PYTHON must name a Python with mlflow-skinny and scikit-learn');
  const registry = await RegistryUnderTest.open();
  const { training, errors } = await trainingUnderTest(registry, { process: { minFreeBytes: 0 } });
  try {
    const { id } = await training.sweeps.submit(
      {
        apiVersion: 'switchyard/v1',
        kind: 'Sweep',
        metadata: { name: 'wine' },
        spec: {
          objective: { type: 'maximize', metric: 'accuracy' },
          algorithm: { name: 'tpe', settings: { seed: 1 } },
          parameters: [
            { name: 'model', type: 'categorical', feasibleSpace: { list: ['forest', 'logistic'] } },
            { name: 'depth', type: 'int', feasibleSpace: { min: 1, max: 8 } },
            { name: 'c', type: 'double', feasibleSpace: { min: 0.0001, max: 10, distribution: 'logUniform' } },
          ],
          parallelTrialCount: 2,
          maxTrialCount: 20,
          trialTemplate: {
            command: [python, 'train.py'],
            args: ['model', 'depth', 'c'].flatMap((name) => [`--${name}`, `\${params.${name}}`]),
            files: { 'train.py': SCRIPT },
            metrics: { source: 'mlflow' },
          },
        },
      },
      { actor: 'ada', reason: '' },
    );
    let sweep: SweepView | undefined;
    do {
      await sleep(200);
      sweep = await training.sweeps.get(id);
    } while (sweep?.endedAt === null);
    const { trials } = (await training.sweeps.trials(id, {})) ?? { trials: [] };
    assert.deepEqual([sweep?.status, sweep?.trials.complete], ['succeeded', 20], JSON.stringify(trials));
    assert.deepEqual(errors, []);
    assert.ok((sweep?.best?.value ?? 0) > 0.9, `best ${sweep?.best?.value}`);
    const { runs } = await registry.ok('POST', 'runs/search', {
      experiment_ids: [sweep?.experimentId],
      filter: `tag.mlflow.parentRunId = '${sweep?.runId}'`,
      max_results: 100,
    });
    assert.equal(runs.length, 20);
    for (const { info, data } of runs) {
      assert.equal(info.status, 'FINISHED');
      const trial = trials.find(({ runId }) => runId === info.run_id);
      const values = Object.fromEntries(data.metrics.map(({ key, value }: Record<string, unknown>) => [key, value]));
      assert.equal(values.accuracy, trial?.value);
      assert.ok(values.train_accuracy > 0, JSON.stringify(values));
      const params = Object.fromEntries(data.params.map(({ key, value }: Record<string, string>) => [key, value]));
      // What the script logged in its own writing stays; what it did not log is there too.
      assert.deepEqual(
        [params.model, params.depth, params.c],
        [trial?.params.model, String(trial?.params.depth), gFormat(trial?.params.c as number)],
      );
    }
  } finally {
    await training.close();
    await registry.close();
  }
});

/** As Python's "%.3g". */
function gFormat(value: number): string {
  const exponent = Math.floor(Math.log10(Number(value.toPrecision(3))));
  if (exponent >= -4) return String(Number(value.toPrecision(3)));
  return value
    .toExponential(2)
    .replace(/\.?0+e/, 'e')
    .replace(/e-(\d)$/, 'e-0$1');
}
