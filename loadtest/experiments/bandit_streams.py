"""The rewards and users of bandits.ts, for scripts that play other libraries' policies on them."""
import numpy as np


def mulberry32(seed, count):
    """The generator of loadtest/statistics.ts."""
    states = (np.uint64(seed) + np.uint64(0x6D2B79F5) * np.arange(1, count + 1, dtype=np.uint64)) & np.uint64(0xFFFFFFFF)
    mask = np.uint64(0xFFFFFFFF)
    t = states
    t = ((t ^ (t >> np.uint64(15))) * (t | np.uint64(1))) & mask
    t = t ^ ((t + (((t ^ (t >> np.uint64(7))) * (t | np.uint64(61))) & mask)) & mask)
    return ((t ^ (t >> np.uint64(14))) & mask).astype(np.float64) / 4294967296.0


def streams(scenario, steps, seed):
    """Segments of the users, rates and rewards, by step."""
    rates = np.array(scenario["rates"])
    segments = (mulberry32(seed + 2_000_000, steps) * scenario["segments"]).astype(int)
    table = np.tile(rates, (steps, 1))
    if scenario["drift"]:
        table[steps // 2:] = rates[::-1]
    order = (np.arange(len(rates))[None, :] + segments[:, None]) % len(rates)
    table = np.take_along_axis(table, order, axis=1)
    rewards = (mulberry32(seed, steps * len(rates)).reshape(steps, -1) < table).astype(int)
    return segments, table, rewards


def regret(table, chosen):
    return float(np.sum(table.max(axis=1) - table[np.arange(len(chosen)), chosen]))


def regrets_of(play, setting):
    return [
        [play(scenario, setting["steps"], seed + 1) for seed in range(setting["seeds"])]
        for scenario in setting["scenarios"]
    ]
