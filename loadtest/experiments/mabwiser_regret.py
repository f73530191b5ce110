"""Plays mabwiser's policies on the rewards of bandits.ts. Reads its setting from stdin, prints regrets as JSON."""
import json
import sys
import warnings

import numpy as np

# mabwiser 2.7 still spells it as numpy 1 did.
np.Inf = np.inf
from mabwiser.mab import MAB, LearningPolicy  # noqa: E402

from bandit_streams import regret, regrets_of, streams  # noqa: E402

warnings.filterwarnings("ignore")


def play(policy, contextual, scenario, steps, seed):
    segments, table, rewards = streams(scenario, steps, seed)
    contexts = np.eye(scenario["segments"])[segments] if contextual else None
    arms = list(range(table.shape[1]))
    mab = MAB(arms, policy, seed=seed)
    # Its first predictions need something to go by: one reward of 0 per arm, as many as an unknown arm costs.
    start = np.zeros((len(arms), scenario["segments"])) if contextual else None
    mab.fit(arms, [0] * len(arms), start)
    uniform = np.random.default_rng(seed)
    chosen = np.empty(steps, dtype=int)
    known = 0
    batch = scenario["batch"]
    for first in range(0, steps, batch):
        part = slice(first, first + batch)
        if known == 0:
            chosen[part] = uniform.integers(len(arms), size=batch)
        elif contextual:
            chosen[part] = mab.predict(contexts[part])
        else:
            chosen[part] = [mab.predict() for _ in range(batch)]
        until = first + batch - scenario["delay"]
        if until > known:
            seen = slice(known, until)
            mab.partial_fit(chosen[seen], rewards[np.arange(known, until), chosen[seen]], contexts[seen] if contextual else None)
            known = until
    return regret(table, chosen)


def main():
    setting = json.load(sys.stdin)
    policies = [
        ("mabwiser EpsilonGreedy, ε 0.1", LearningPolicy.EpsilonGreedy(epsilon=0.1), False),
        ("mabwiser UCB1, α 0.5", LearningPolicy.UCB1(alpha=0.5), False),
        ("mabwiser ThompsonSampling", LearningPolicy.ThompsonSampling(), False),
        ("mabwiser LinUCB, α 0.5", LearningPolicy.LinUCB(alpha=0.5), True),
        ("mabwiser LinTS, α 0.5", LearningPolicy.LinTS(alpha=0.5), True),
    ]
    rows = [
        {"policy": name, "regrets": regrets_of(lambda *run: play(policy, contextual, *run), setting)}
        for name, policy, contextual in policies
    ]
    json.dump(rows, sys.stdout)


main()
