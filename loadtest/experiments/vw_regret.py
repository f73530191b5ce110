"""Plays vowpalwabbit's contextual bandits on the rewards of bandits.ts. Reads its setting from stdin, prints regrets as JSON."""
import json
import sys

import numpy as np
from vowpalwabbit import Workspace

from bandit_streams import regret, regrets_of, streams


def play(options, scenario, steps, seed):
    segments, table, rewards = streams(scenario, steps, seed)
    arms = table.shape[1]
    vw = Workspace(f"--cb_explore {arms} {options} --quiet --random_seed {seed}")
    features = [f"| s{segment}" for segment in range(scenario["segments"])]
    draws = np.random.default_rng(seed).random(steps)
    chosen = np.empty(steps, dtype=int)
    chance = np.empty(steps)
    known = 0
    batch = scenario["batch"]
    for first in range(0, steps, batch):
        # Between two refreshes nothing is learnt, so that the distribution depends on the segment alone.
        pmfs = np.array([vw.predict(text) for text in features])
        pmfs /= pmfs.sum(axis=1, keepdims=True)
        part = slice(first, first + batch)
        pmf = pmfs[segments[part]]
        chosen[part] = np.minimum((draws[part, None] >= np.cumsum(pmf, axis=1)).sum(axis=1), arms - 1)
        chance[part] = pmf[np.arange(batch), chosen[part]]
        until = first + batch - scenario["delay"]
        for step in range(known, until):
            arm = chosen[step]
            vw.learn(f"{arm + 1}:{-rewards[step, arm]}:{chance[step]} {features[segments[step]]}")
        known = max(known, until)
    vw.finish()
    return regret(table, chosen)


def main():
    setting = json.load(sys.stdin)
    policies = [
        ("vowpalwabbit cb_explore, ε 0.1", "--epsilon 0.1"),
        ("vowpalwabbit cb_explore, bag 5", "--bag 5"),
    ]
    rows = [
        {"policy": name, "regrets": regrets_of(lambda *run: play(options, *run), setting)} for name, options in policies
    ]
    json.dump(rows, sys.stdout)


main()
