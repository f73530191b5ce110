"""Our drift statistics beside those of SciPy, evidently, nannyml and datasketches, on the same windows."""
import json
import subprocess
from pathlib import Path

import datasketches
import numpy as np
import pandas as pd
import pytest
from scipy import stats
from scipy.spatial import distance

ROOT = Path(__file__).parents[3]


def ask(calls):
    run = subprocess.run(
        ["node", "--import", "tsx", ".ci/oracles/drift/answer.mjs"],
        cwd=ROOT, input=json.dumps(calls), capture_output=True, text=True, check=True,
    )
    return json.loads(run.stdout)


def windows():
    """Pairs of reference and current: the same, moved, wider, skewed, with ties."""
    random = np.random.default_rng(11)
    normal = random.normal
    return [
        (normal(0, 1, 2000), normal(0, 1, 1000)),
        (normal(0, 1, 2000), normal(0.3, 1, 1500)),
        (normal(5, 2, 1200), normal(5, 3, 1200)),
        (random.exponential(2, 3000), random.exponential(2.5, 1000)),
        (random.integers(0, 17, 2000).astype(float), random.integers(2, 17, 1000).astype(float)),
        (np.where(random.random(1500) < 0.6, 0, normal(0, 1, 1500)), normal(0, 1, 1100)),
    ]


def counts(reference, current):
    """In evidently's bins."""
    if len(set(reference)) <= 20:
        keys = sorted(set(reference) | set(current))
        return np.array([(reference == k).sum() for k in keys]), np.array([(current == k).sum() for k in keys])
    edges = np.histogram_bin_edges(np.concatenate([reference, current]), bins="sturges")
    return np.histogram(reference, edges)[0], np.histogram(current, edges)[0]


def test_kolmogorov_smirnov():
    ours = ask([["ks", a.tolist(), b.tolist()] for a, b in windows()])
    for (d, p), (a, b) in zip(ours, windows()):
        theirs = stats.ks_2samp(a, b, method="asymp")
        assert d == pytest.approx(theirs.statistic, rel=1e-12)
        # SciPy's own approximation of the tail is corrected for small samples; ours is Kolmogorov's limit itself.
        limit = stats.kstwobign.sf(d * np.sqrt(len(a) * len(b) / (len(a) + len(b))))
        assert p == pytest.approx(limit, rel=1e-9, abs=1e-14)
        assert p == pytest.approx(theirs.pvalue, abs=0.02)


def test_kolmogorovs_limit():
    x = np.concatenate([np.linspace(0.2, 3, 200), [0.9999, 1, 1.0001]])
    ours = ask([["kolmogorovTail", v, 2, 2] for v in x])
    np.testing.assert_allclose(ours, stats.kstwobign.sf(x), rtol=1e-9, atol=1e-14)


def test_wasserstein_beside_scipy_and_evidently():
    from evidently.legacy.calculations.stattests.wasserstein_distance_norm import wasserstein_stat_test
    from evidently.legacy.core import ColumnType

    plain = ask([["wasserstein", a.tolist(), b.tolist()] for a, b in windows()])
    normed = ask([["normedWasserstein", a.tolist(), b.tolist()] for a, b in windows()])
    for w, n, (a, b) in zip(plain, normed, windows()):
        assert w == pytest.approx(stats.wasserstein_distance(a, b), rel=1e-10)
        theirs = wasserstein_stat_test(pd.Series(a), pd.Series(b), ColumnType.Numerical, 0.1)
        assert n == pytest.approx(theirs.drift_score, rel=1e-10)


def test_psi_beside_evidently():
    from evidently.legacy.calculations.stattests.psi import psi_stat_test
    from evidently.legacy.core import ColumnType

    calls, expected = [], []
    for a, b in windows():
        reference, current = counts(a, b)
        calls.append(["psi", reference.tolist(), current.tolist()])
        expected.append(psi_stat_test(pd.Series(a), pd.Series(b), ColumnType.Numerical, 0.1).drift_score)
    np.testing.assert_allclose(ask(calls), expected, rtol=1e-10)


def test_jensen_shannon_beside_scipy_and_nannyml():
    from nannyml.chunk import SizeBasedChunker
    from nannyml.drift.univariate.methods import (
        CategoricalJensenShannonDistance, ContinuousJensenShannonDistance, LInfinityDistance,
    )
    from nannyml.thresholds import ConstantThreshold

    def theirs(method, reference, current):
        one = method(chunker=SizeBasedChunker(chunk_size=500), threshold=ConstantThreshold(lower=None, upper=0.1))
        one._fit(pd.Series(reference, name="c"))
        return one._calculate(pd.Series(current, name="c"))

    random = np.random.default_rng(12)
    calls, expected = [], []
    for a, b in windows():
        reference, current = counts(a, b)
        calls.append(["jensenShannon", reference.tolist(), current.tolist()])
        expected.append(distance.jensenshannon(reference / len(a), current / len(b), base=2))
        edges = np.histogram_bin_edges(a, bins="doane")
        inside = np.histogram(b, edges)[0]
        calls.append(["jensenShannon", [*np.histogram(a, edges)[0].tolist(), 0], [*inside.tolist(), int(len(b) - inside.sum())]])
        expected.append(theirs(ContinuousJensenShannonDistance, a, b))
    a, b = random.choice(list("abcde"), 2000, p=[0.4, 0.3, 0.2, 0.07, 0.03]), random.choice(list("abcde"), 1000)
    columns = [[int((v == c).sum()) for c in "abcde"] for v in (a, b)]
    for name, method in (("jensenShannon", CategoricalJensenShannonDistance), ("lInfinity", LInfinityDistance)):
        calls.append([name, *columns])
        expected.append(theirs(method, a, b))
    np.testing.assert_allclose(ask(calls), expected, rtol=1e-9)


def test_chi_square_and_proportions():
    from evidently.legacy.calculations.stattests.z_stattest import proportions_diff_z_stat_ind, proportions_diff_z_test

    random = np.random.default_rng(13)
    calls, expected = [], []
    for _ in range(20):
        a, b = random.multinomial(2000, random.dirichlet(np.full(8, 3))), random.multinomial(900, random.dirichlet(np.full(8, 3)))
        calls.append(["chiSquareTwoSample", a.tolist(), b.tolist()])
        theirs = stats.chi2_contingency([a, b], correction=False)
        expected.append((theirs.statistic, theirs.pvalue))
    ours = ask(calls)
    np.testing.assert_allclose([(o["statistic"], o["pValue"]) for o in ours], expected, rtol=1e-8, atol=1e-300)
    for hits, total, others, rest in ((300, 1000, 350, 1000), (20, 1500, 11, 1100), (500, 1000, 500, 1000)):
        [ours] = ask([["proportionTest", {"hits": hits, "total": total}, {"hits": others, "total": rest}]])
        a = pd.Series([1] * hits + [0] * (total - hits))
        b = pd.Series([1] * others + [0] * (rest - others))
        z = proportions_diff_z_stat_ind(a, b)
        # Theirs is the reference minus the current.
        assert ours["z"] == pytest.approx(-z, rel=1e-9, abs=1e-12)
        assert ours["pValue"] == pytest.approx(proportions_diff_z_test(z), rel=1e-8)


def test_bands_beside_nannyml():
    from nannyml.thresholds import StandardDeviationThreshold

    chunks = np.random.default_rng(14).normal(0.9, 0.02, 25)
    [ours] = ask([["bandOf", chunks.tolist()]])
    low, high = StandardDeviationThreshold().thresholds(chunks)
    assert ours["low"] == pytest.approx(low, rel=1e-12)
    assert ours["high"] == pytest.approx(high, rel=1e-12)


def test_kll_beside_datasketches_and_the_values_themselves():
    """Both sketches promise 1.33 % for one rank and 1.65 % for all ranks at k = 200."""
    bound = datasketches.kll_doubles_sketch.get_normalized_rank_error(200, False)
    for values in (np.random.default_rng(15).normal(0, 1, 50_000), np.random.default_rng(16).exponential(1, 30_000)):
        for parts in (1, 7):
            [ours] = ask([["sketch", values.tolist(), parts]])
            theirs = datasketches.kll_doubles_sketch(200)
            theirs.update(values)
            assert ours["n"] == len(values) == sum(ours["weights"])
            assert len(ours["values"]) < 900
            points = np.quantile(values, np.linspace(0.02, 0.98, 49))
            exact = np.array([(values <= x).mean() for x in points])
            kept, weights = np.array(ours["values"]), np.array(ours["weights"])
            ranks = np.array([weights[kept <= x].sum() for x in points]) / len(values)
            own_bound = datasketches.kll_doubles_sketch.get_normalized_rank_error(200, True)
            assert np.abs(ranks - exact).max() <= own_bound
            assert np.abs(ranks - np.array([theirs.get_rank(x, True) for x in points])).max() <= own_bound + bound


def test_statistics_of_sketches_are_those_of_the_values():
    bound = 2 * datasketches.kll_doubles_sketch.get_normalized_rank_error(200, True)
    random = np.random.default_rng(17)
    for shift in (0, 0.2, 1):
        a, b = random.normal(0, 1, 20_000), random.normal(shift, 1, 20_000)
        [ours] = ask([["sketched", a.tolist(), b.tolist(), 5]])
        assert ours["ks"] == pytest.approx(stats.ks_2samp(a, b).statistic, abs=bound)
        assert ours["wasserstein"] == pytest.approx(stats.wasserstein_distance(a, b) / a.std(), abs=0.05)


def test_intervals_beside_scipys_bootstrap():
    """Ours draw Poisson counts, SciPy draws samples anew: both ends within a tenth of the interval's width."""
    random = np.random.default_rng(18)
    p, q = (np.array(x) for x in ([300, 250, 150, 100], [200, 250, 200, 150]))
    rows = [np.repeat(np.arange(4), counts) for counts in (p, q)]

    def shares(x):
        return np.bincount(x, minlength=4) / len(x)

    def root_of_psi(x, y):
        before, now = shares(x), shares(y)
        return np.sqrt(((now - before) * np.log(now / before)).sum())

    def jensen_shannon(x, y):
        return distance.jensenshannon(shares(x), shares(y), base=2)

    answers = ask([["psiInterval", p.tolist(), q.tolist()], ["jsInterval", p.tolist(), q.tolist()]])
    for ours, statistic, power in zip(answers, (root_of_psi, jensen_shannon), (2, 1)):
        drawn = stats.bootstrap(rows, statistic, vectorized=False, n_resamples=4000, method="basic", random_state=random)
        replicates = drawn.bootstrap_distribution
        middle = 2 * statistic(*rows) - replicates.mean()
        half = stats.norm.ppf(0.975) * replicates.std(ddof=1)
        low, high = max(0, middle - half) ** power, (middle + half) ** power
        assert ours["low"] == pytest.approx(low, abs=0.1 * (high - low))
        assert ours["high"] == pytest.approx(high, abs=0.1 * (high - low))
