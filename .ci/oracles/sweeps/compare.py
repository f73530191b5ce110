"""Our TPE and ASHA beside Optuna's: median of the best value over seeds, on standard functions and a real model.

A problem passes when our median is not above the third quartile of Optuna's seeds (lower is better everywhere).
Prints a table, writes the raw best values, and ends with 1 when a problem does not pass.
"""

import json
import math
import os
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import optuna
from sklearn.datasets import load_breast_cancer, load_digits
from sklearn.linear_model import SGDClassifier
from sklearn.model_selection import cross_val_score, train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

warnings.filterwarnings("ignore")
optuna.logging.set_verbosity(optuna.logging.WARNING)
ROOT = Path(__file__).resolve().parents[3]


def branin(p):
    x, y = p["x0"], p["x1"]
    return (
        (y - 5.1 / (4 * math.pi**2) * x**2 + 5 / math.pi * x - 6) ** 2
        + 10 * (1 - 1 / (8 * math.pi)) * math.cos(x)
        + 10
    )


HARTMANN_A = np.array(
    [[10, 3, 17, 3.5, 1.7, 8], [0.05, 10, 17, 0.1, 8, 14], [3, 3.5, 1.7, 10, 17, 8], [17, 8, 0.05, 10, 0.1, 14]]
)
HARTMANN_P = 1e-4 * np.array(
    [
        [1312, 1696, 5569, 124, 8283, 5886],
        [2329, 4135, 8307, 3736, 1004, 9991],
        [2348, 1451, 3522, 2883, 3047, 6650],
        [4047, 8828, 8732, 5743, 1091, 381],
    ]
)


def hartmann6(p):
    x = np.array([p[f"x{i}"] for i in range(6)])
    inner = (HARTMANN_A * (x - HARTMANN_P) ** 2).sum(axis=1)
    return float(-(np.array([1.0, 1.2, 3.0, 3.2]) * np.exp(-inner)).sum())


def rastrigin(p):
    return sum(10 + v * v - 10 * math.cos(2 * math.pi * v) for v in p.values())


cancer = load_breast_cancer(return_X_y=True)
digits = train_test_split(*load_digits(return_X_y=True), test_size=0.4, random_state=0)


def svm(p):
    """1 - accuracy of a support vector machine on the breast cancer data, three folds."""
    model = SVC(C=p["C"], gamma=p["gamma"], kernel=p["kernel"])
    return 1 - cross_val_score(make_pipeline(StandardScaler(), model), *cancer, cv=3).mean()


def sgd_curve(p):
    """1 - accuracy of a linear model on the digits after each pass over the training data."""
    x, x_test, y, y_test = digits
    model = SGDClassifier(
        alpha=p["alpha"], eta0=p["eta0"], learning_rate=p["schedule"], loss=p["loss"], random_state=0
    )
    for step in range(1, STEPS + 1):
        model.partial_fit(x / 16, y, classes=range(10))
        yield step, 1 - model.score(x_test / 16, y_test)


STEPS = 27


def learnt(function, spread):
    """A learning curve that ends at the function's value: steeper or flatter with the point, crossing others early."""

    def curve(p):
        end = function(p)
        pace = 2 + 3 * abs(math.sin(sum(p.values())))
        for step in range(1, STEPS + 1):
            yield step, end + spread * (math.exp(-step / pace) - math.exp(-STEPS / pace))

    return curve


def box(n, low, high):
    return [double(f"x{i}", low, high) for i in range(n)]


def double(name, low, high, distribution="uniform"):
    return {"name": name, "type": "double", "feasibleSpace": {"min": low, "max": high, "distribution": distribution}}


def choice(name, values):
    return {"name": name, "type": "categorical", "feasibleSpace": {"list": values}}


BRANIN = [double("x0", -5, 10), double("x1", 0, 15)]
SVM = [
    double("C", 1e-3, 1e3, "logUniform"),
    double("gamma", 1e-5, 1e1, "logUniform"),
    choice("kernel", ["rbf", "sigmoid", "poly"]),
]
SGD = [
    double("alpha", 1e-6, 1e-1, "logUniform"),
    double("eta0", 1e-3, 1e2, "logUniform"),
    choice("schedule", ["constant", "adaptive", "invscaling", "optimal"]),
    choice("loss", ["hinge", "log_loss", "modified_huber"]),
]
TPE = {"startupTrials": 10, "candidates": 24, "multivariate": True}
HALVING = {"minSteps": 1, "maxSteps": STEPS, "reductionFactor": 3, "sampler": "random", **TPE}
TPE_PROBLEMS = {
    "Branin": (branin, BRANIN, 60),
    "Hartmann 6": (hartmann6, box(6, 0, 1), 100),
    "Rastrigin 4": (rastrigin, box(4, -5.12, 5.12), 100),
    "SVM on breast cancer": (svm, SVM, 30),
}
ASHA_PROBLEMS = {
    "Branin": (learnt(branin, 40), BRANIN, 100),
    "Hartmann 6": (learnt(hartmann6, 1), box(6, 0, 1), 100),
    "Rastrigin 4": (learnt(rastrigin, 20), box(4, -5.12, 5.12), 100),
    "SGD on digits": (sgd_curve, SGD, 40),
}


class Ours:
    def __init__(self):
        command = ["node", "--import", "tsx", ".ci/oracles/sweeps/answer.mjs"]
        self.process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def say(self, message, answered=True):
        self.process.stdin.write(json.dumps(message) + "\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline()) if answered else None

    def best(self, algorithm, settings, parameters, trials, objective, curves, seed):
        spec = {"algorithm": {"name": algorithm, "settings": settings}, "parameters": parameters}
        self.say({"spec": spec, "seed": seed}, answered=False)
        best = math.inf
        for _ in range(trials):
            params = self.say({"ask": True})["params"]
            value = None if curves else objective(params)
            if curves:
                for step, seen in objective(params):
                    if self.say({"report": [step, seen]})["stop"]:
                        break
                else:
                    value = seen
            self.say({"tell": value}, answered=False)
            best = min(best, math.inf if value is None else value)
        return best


def optuna_best(algorithm, parameters, trials, objective, curves, seed):
    def suggest(trial):
        return {
            one["name"]: trial.suggest_categorical(one["name"], space["list"])
            if "list" in (space := one["feasibleSpace"])
            else trial.suggest_float(one["name"], space["min"], space["max"], log=space["distribution"] == "logUniform")
            for one in parameters
        }

    def run(trial):
        params = suggest(trial)
        if not curves:
            return objective(params)
        for step, value in objective(params):
            trial.report(value, step)
            # The whole trial's last step decides nothing: it is over.
            if step < STEPS and trial.should_prune():
                raise optuna.TrialPruned
        return value

    if algorithm == "tpe":
        study = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=seed))
    else:
        pruner = optuna.pruners.SuccessiveHalvingPruner(min_resource=1, reduction_factor=3)
        study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=seed), pruner=pruner)
    study.optimize(run, n_trials=trials)
    return study.best_value


def main(seeds):
    ours = Ours()
    rows = []
    for algorithm, settings, problems in (("tpe", TPE, TPE_PROBLEMS), ("asha", HALVING, ASHA_PROBLEMS)):
        for problem, (objective, parameters, trials) in problems.items():
            curves = algorithm == "asha"
            mine = [ours.best(algorithm, settings, parameters, trials, objective, curves, s) for s in range(seeds)]
            theirs = [optuna_best(algorithm, parameters, trials, objective, curves, s) for s in range(seeds)]
            low, middle, high = np.quantile(theirs, [0.25, 0.5, 0.75])
            row = {
                "algorithm": algorithm,
                "problem": problem,
                "trials": trials,
                "median": float(np.median(mine)),
                "optuna_median": float(middle),
                "optuna_quartiles": [float(low), float(high)],
                "passed": bool(np.median(mine) <= high + 1e-12),
                "best": mine,
                "optuna_best": theirs,
            }
            rows.append(row)
            print(
                f"{algorithm:4}  {problem:21} {trials:4} trials  ours {row['median']:.5f}"
                f"  Optuna {middle:.5f} ({low:.5f} to {high:.5f})  {'passed' if row['passed'] else 'FAILED'}",
                flush=True,
            )
    ours.process.stdin.close()
    ours.process.wait()
    if where := os.environ.get("SWITCHYARD_SWEEP_FIGURES"):
        Path(where).write_text(json.dumps({"optuna": optuna.__version__, "seeds": seeds, "rows": rows}, indent=1) + "\n")
    return 0 if all(row["passed"] for row in rows) else 1


sys.exit(main(int(sys.argv[1])))
