"""Plays mabwiser's policies on the rewards of bandits.ts. Reads its setting from stdin, prints regrets as JSON."""
import json
import sys
import warnings

import numpy as np

# mabwiser 2.7 still spells it as numpy 1 did.
np.Inf = np.inf
from mabwiser.mab import MAB, LearningPolicy  # noqa: E402

warnings.filterwarnings("ignore")


def mulberry32(seed, count):
    """The generator of loadtest/statistics.ts."""
    states = (np.uint64(seed) + np.uint64(0x6D2B79F5) * np.arange(1, count + 1, dtype=np.uint64)) & np.uint64(0xFFFFFFFF)
    mask = np.uint64(0xFFFFFFFF)
    t = states
    t = ((t ^ (t >> np.uint64(15))) * (t | np.uint64(1))) & mask
    t = t ^ ((t + (((t ^ (t >> np.uint64(7))) * (t | np.uint64(61))) & mask)) & mask)
    return ((t ^ (t >> np.uint64(14))) & mask).astype(np.float64) / 4294967296.0


def play(policy, scenario, steps, seed):
    rates = np.array(scenario["rates"])
    arms = list(range(len(rates)))
    table = np.tile(rates, (steps, 1))
    if scenario["drift"]:
        table[steps // 2:] = rates[::-1]
    rewards = (mulberry32(seed, steps * len(arms)).reshape(steps, -1) < table).astype(int)
    mab = MAB(arms, policy, seed=seed)
    # Its first predictions need something to go by: one reward of 0 per arm, as many as an unknown arm costs.
    mab.fit(arms, [0] * len(arms))
    uniform = np.random.default_rng(seed)
    chosen = np.empty(steps, dtype=int)
    known = 0
    for step in range(steps):
        chosen[step] = uniform.integers(len(arms)) if known == 0 else mab.predict()
        if (step + 1) % scenario["batch"] == 0:
            until = step + 1 - scenario["delay"]
            if until > known:
                mab.partial_fit(chosen[known:until], rewards[np.arange(known, until), chosen[known:until]])
                known = until
    return float(np.sum(table.max(axis=1) - table[np.arange(steps), chosen]))


def main():
    setting = json.load(sys.stdin)
    policies = {
        "mabwiser EpsilonGreedy, ε 0.1": LearningPolicy.EpsilonGreedy(epsilon=0.1),
        "mabwiser UCB1, α 0.5": LearningPolicy.UCB1(alpha=0.5),
        "mabwiser ThompsonSampling": LearningPolicy.ThompsonSampling(),
    }
    rows = []
    for name, policy in policies.items():
        regrets = [
            [play(policy, scenario, setting["steps"], seed + 1) for seed in range(setting["seeds"])]
            for scenario in setting["scenarios"]
        ]
        rows.append({"policy": name, "regrets": regrets})
    json.dump(rows, sys.stdout)


main()
