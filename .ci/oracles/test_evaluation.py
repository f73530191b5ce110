"""Metrics, permutation importance and Shapley values beside scikit-learn's, and beside the exact ones of a small model."""
import itertools
import json
import math
import subprocess
from pathlib import Path

import numpy as np
import pytest
from sklearn import metrics
from sklearn.datasets import load_diabetes
from sklearn.inspection import permutation_importance
from sklearn.linear_model import LinearRegression

ROOT = Path(__file__).parents[2]


def ask(calls):
    run = subprocess.run(
        ["node", "--import", "tsx", ".ci/oracles/evaluation.mjs"],
        cwd=ROOT, input=json.dumps(calls), capture_output=True, text=True, check=True,
    )
    return json.loads(run.stdout)


def test_classification_metrics():
    random = np.random.default_rng(1)
    calls, expected = [], []
    for i in range(30):
        k = 2 if i % 2 == 0 else int(random.integers(3, 7))
        n = int(random.integers(20, 400))
        truth = np.concatenate([np.arange(k), random.integers(0, k, n - k)])
        scores = random.gamma(0.7, size=(n, k)) + 0.6 * np.eye(k)[truth]
        if i % 3 == 0:
            scores = np.round(scores, 1) + 0.01  # ties
        p = scores / scores.sum(axis=1, keepdims=True)
        predicted = p.argmax(axis=1)
        calls.append(["classificationMetrics", {
            "truth": truth.tolist(), "predicted": predicted.tolist(), "probabilities": p.ravel().tolist(), "classes": k}])
        average = "binary" if k == 2 else "macro"
        precision, recall, f1, _ = metrics.precision_recall_fscore_support(truth, predicted, average=average, zero_division=0)
        weighted = metrics.precision_recall_fscore_support(truth, predicted, average="weighted", zero_division=0)
        row = {
            "accuracy": metrics.accuracy_score(truth, predicted),
            "balancedAccuracy": metrics.balanced_accuracy_score(truth, predicted),
            "precision": precision, "recall": recall, "f1": f1,
            "precisionWeighted": weighted[0], "recallWeighted": weighted[1], "f1Weighted": weighted[2],
            "logLoss": metrics.log_loss(truth, p, labels=list(range(k))),
            "auc": metrics.roc_auc_score(truth, p[:, 1]) if k == 2
            else metrics.roc_auc_score(truth, p, multi_class="ovr", average="macro"),
        }
        if k == 2:
            row["brier"] = metrics.brier_score_loss(truth, p[:, 1])
        expected.append(row)
    for ours, theirs in zip(ask(calls), expected):
        assert set(ours) == set(theirs)
        for name, value in theirs.items():
            assert ours[name] == pytest.approx(value, rel=1e-9, abs=1e-12), name


def test_regression_metrics():
    random = np.random.default_rng(2)
    calls, expected = [], []
    for _ in range(20):
        n = int(random.integers(5, 300))
        truth = random.normal(3, 10, n)
        predicted = truth + random.normal(0.3, 2, n)
        calls.append(["regressionMetrics", {"truth": truth.tolist(), "predicted": predicted.tolist()}])
        expected.append({
            "mae": metrics.mean_absolute_error(truth, predicted),
            "mse": metrics.mean_squared_error(truth, predicted),
            "rmse": metrics.root_mean_squared_error(truth, predicted),
            "medianAbsoluteError": metrics.median_absolute_error(truth, predicted),
            "maxError": metrics.max_error(truth, predicted),
            "mape": metrics.mean_absolute_percentage_error(truth, predicted),
            "r2": metrics.r2_score(truth, predicted),
        })
    for ours, theirs in zip(ask(calls), expected):
        assert set(ours) == set(theirs)
        for name, value in theirs.items():
            assert ours[name] == pytest.approx(value, rel=1e-9), name


def test_permutation_importance():
    x, y = load_diabetes(return_X_y=True)
    model = LinearRegression().fit(x, y)
    theirs = permutation_importance(model, x, y, scoring="r2", n_repeats=60, random_state=0)
    weights = {"columns": x.T.tolist(), "truth": y.tolist(), "weights": model.coef_.tolist(), "bias": float(model.intercept_)}
    [ours] = ask([["linearImportance", {**weights, "repeats": 60, "seed": 1}]])
    for j, estimate in enumerate(ours):
        error = math.hypot(theirs.importances_std[j], theirs.importances_std[j]) / math.sqrt(60)
        assert abs(estimate["mean"] - theirs.importances_mean[j]) < 4.5 * error + 1e-9
        # The interval is Student's of 60 deals: as wide as scikit-learn's own spread says.
        half = (estimate["high"] - estimate["low"]) / 2
        assert half == pytest.approx(2.001 * theirs.importances_std[j] / math.sqrt(60), rel=0.45, abs=1e-9)


def exact_shapley(value, row, background):
    """By its definition: over all subsets, features outside the subset averaged over the background."""
    d = len(row)
    def worth(subset):
        rows = np.array(background)
        rows[:, list(subset)] = np.array(row)[list(subset)]
        return np.mean([value(one) for one in rows])
    known = {s: worth(s) for k in range(d + 1) for s in itertools.combinations(range(d), k)}
    phi = np.zeros(d)
    for j in range(d):
        rest = [i for i in range(d) if i != j]
        for k in range(d):
            for s in itertools.combinations(rest, k):
                weight = math.factorial(k) * math.factorial(d - k - 1) / math.factorial(d)
                phi[j] += weight * (known[tuple(sorted((*s, j)))] - known[s])
    return phi


def test_shapley_values_with_interactions():
    random = np.random.default_rng(3)
    rows = random.normal(size=(40, 4))
    f = lambda r: r[0] * r[1] + math.tanh(r[2]) - 0.5 * r[0] * r[2] + 0 * r[3]
    [ours] = ask([["productShapley", {"columns": rows.T.tolist(), "explained": [0, 7, 19], "samples": 6000, "seed": 5}]])
    for row, values in zip(ours["rows"], ours["values"]):
        np.testing.assert_allclose(values, exact_shapley(f, rows[row], rows), atol=0.06)
    # What the features add up to is what the model says, beside its mean.
    mean = np.mean([f(r) for r in rows])
    for row, values in zip(ours["rows"], ours["values"]):
        assert sum(values) == pytest.approx(f(rows[row]) - mean, abs=0.08)
