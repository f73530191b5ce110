"""Our figures beside those of SciPy, mabwiser, spotify-confidence, and of the Open Bandit sample computed with numpy."""
import json
import os
import subprocess
from pathlib import Path

import numpy as np

np.Inf = np.inf  # mabwiser 2.7 still spells it as numpy 1 did.

import pandas as pd
import pytest
from scipy import integrate, special, stats

ROOT = Path(__file__).parents[2]


def ask(calls):
    run = subprocess.run(
        ["node", "--import", "tsx", ".ci/oracles/answer.mjs"],
        cwd=ROOT, input=json.dumps(calls), capture_output=True, text=True, check=True,
    )
    return json.loads(run.stdout)


def test_special_functions():
    random = np.random.default_rng(1)
    a = 10 ** random.uniform(-1, 6, 300)
    b = 10 ** random.uniform(-1, 6, 300)
    x = np.clip(random.beta(a, b), 1e-12, 1 - 1e-12)
    z = random.uniform(-12, 6, 300)
    p = 10 ** random.uniform(-14, -0.001, 300)
    calls, expected = [], []
    for i in range(300):
        calls += [["logGamma", a[i]], ["betaCdf", x[i], a[i], b[i]], ["gammaLower", a[i], a[i]]]
        expected += [special.gammaln(a[i]), special.betainc(a[i], b[i], x[i]), special.gammainc(a[i], a[i])]
        calls += [["normalCdf", z[i]], ["normalQuantile", p[i]]]
        expected += [special.ndtr(z[i]), special.ndtri(p[i])]
    np.testing.assert_allclose(ask(calls), expected, rtol=1e-8, atol=1e-14)


def test_probability_of_being_best():
    random = np.random.default_rng(2)
    calls, expected = [], []
    for _ in range(25):
        arms = random.integers(2, 5)
        alpha, beta = random.uniform(1, 300, arms), random.uniform(1, 300, arms)
        calls.append(["betaBest", [{"alpha": a, "beta": b} for a, b in zip(alpha, beta)]])
        grid = np.linspace(0, 1, 200_001)
        pdf = [stats.beta.pdf(grid, a, b) for a, b in zip(alpha, beta)]
        cdf = [stats.beta.cdf(grid, a, b) for a, b in zip(alpha, beta)]
        best = [integrate.simpson(pdf[k] * np.prod([cdf[j] for j in range(arms) if j != k], axis=0), x=grid) for k in range(arms)]
        expected.append(np.array(best))
    for ours, theirs in zip(ask(calls), expected):
        np.testing.assert_allclose(ours, theirs, atol=1e-7)


def test_gaussian_best_by_drawing():
    random = np.random.default_rng(3)
    means, deviations = [0.1, 0.11, 0.09, 0.12], [0.01, 0.02, 0.03, 0.005]
    [ours] = ask([["gaussianBest", [{"mean": m, "deviation": d} for m, d in zip(means, deviations)]]])
    draws = random.normal(means, deviations, (2_000_000, 4)).argmax(axis=1)
    np.testing.assert_allclose(ours, np.bincount(draws, minlength=4) / len(draws), atol=2e-3)


def test_mann_whitney():
    random = np.random.default_rng(4)
    calls, expected = [], []
    for i in range(40):
        large = i % 2 == 0
        n, m = (random.integers(40, 90), random.integers(40, 90)) if large else (random.integers(3, 12), random.integers(3, 12))
        a = random.integers(0, 30, n) if large else random.permutation(1000)[:n]
        b = random.integers(2, 33, m) if large else random.permutation(1000)[:m] + 0.5
        calls.append(["mannWhitney", a.tolist(), b.tolist()])
        method = "asymptotic" if large else "exact"
        greater = stats.mannwhitneyu(b, a, alternative="greater", method=method)
        two = stats.mannwhitneyu(b, a, alternative="two-sided", method=method)
        expected.append((greater.statistic, greater.pvalue, two.pvalue))
    ours = [(r["u"], r["greater"], r["twoSided"]) for r in ask(calls)]
    np.testing.assert_allclose(ours, expected, rtol=1e-10)


def test_sample_ratio_beside_scipy_and_spotify_confidence():
    import spotify_confidence

    cases = [([50300, 49700], [50, 50]), ([821588, 815482], [50, 50]), ([900, 60, 45], [90, 5, 5])]
    answers = ask([["sampleRatioTest", [{"counts": c, "weights": w}]] for c, w in cases])
    for answer, (counts, weights) in zip(answers, cases):
        shares = np.array(weights) / sum(weights)
        theirs = stats.chisquare(counts, shares * sum(counts))
        assert answer["chiSquare"] == pytest.approx(theirs.statistic, rel=1e-9)
        assert answer["pValue"] == pytest.approx(theirs.pvalue, rel=1e-8)
        groups = [f"g{k}" for k in range(len(counts))]
        frame = pd.DataFrame({"group": groups, "n": counts, "sum": counts, "squares": counts})
        test = spotify_confidence.ZTest(
            frame, numerator_column="sum", numerator_sum_squares_column="squares", denominator_column="n",
            categorical_group_columns="group",
        )
        p_value, _ = test.sample_ratio_test(dict(zip(groups, shares)))
        assert answer["pValue"] == pytest.approx(p_value, rel=1e-8, abs=1e-12)


def log_integral(log_density, centre, width):
    """ln of the integral of exp(log_density) around its peak."""
    top = log_density(centre)
    value, _ = integrate.quad(lambda x: np.exp(log_density(x) - top), centre - 12 * width, centre + 12 * width, limit=400, epsabs=0)
    return top + np.log(value)


def test_bernoulli_interval_by_quadrature_of_its_mixture():
    cases = [(700, 1000, 0.05, 100), (5, 50, 0.05, 50), (40, 20_000, 0.01, 5000), (930, 1000, 0.1, 1000)]
    intervals = ask([["bernoulliInterval", *case] for case in cases])
    for interval, (successes, trials, alpha, t_opt) in zip(intervals, cases):
        for p in (interval["low"], interval["high"]):
            variance = p * (1 - p)
            log = 2 * np.log(1 / 0.05)
            r = max(variance * t_opt / (log + np.log1p(log)) - variance, 1e-3 * variance)
            prior, failures = stats.beta(r / (1 - p), r / p), trials - successes
            posterior = stats.beta(r / (1 - p) + successes, r / p + failures)

            def density(q):
                if not 0 < q < 1:
                    return -np.inf
                return prior.logpdf(q) + successes * np.log(q / p) + failures * np.log((1 - q) / (1 - p))

            # At an end of the interval the mixture of likelihood ratios is 1/alpha.
            assert log_integral(density, posterior.mean(), posterior.std()) == pytest.approx(np.log(1 / alpha), abs=1e-5)


def test_asymptotic_interval_and_msprt_by_quadrature_of_their_mixtures():
    alpha = 0.05
    cases = [(1000, 5000, 1.0), (5000, 5000, 2.5), (20_000, 500, 0.3)]
    rhos = ask([["asymptoticRho", alpha, tune] for _, tune, _ in cases])
    widths = ask([["asymptoticHalfWidth", n, deviation, rho, alpha] for (n, _, deviation), rho in zip(cases, rhos)])
    for (n, _, deviation), rho, width in zip(cases, rhos, widths):
        # Robbins' mixture over both signs: exp(tilt * S - tilt**2 * n / 2) with tilt ~ N(0, rho**2).
        total = n * width / deviation
        spread = 1 / np.sqrt(n + 1 / rho**2)
        density = lambda tilt: stats.norm.logpdf(tilt, 0, rho) + tilt * total - tilt**2 * n / 2
        assert log_integral(density, total * spread**2, spread) == pytest.approx(np.log(1 / alpha), abs=1e-8)

    pairs = [(500, 0.1, 2.0, 0.1), (100, 0.4, 1.0, 0.5), (20_000, -0.01, 0.25, 0.02)]
    logs = ask([["logMsprt", *pair] for pair in pairs])
    halves = ask([["msprtHalfWidth", n, variance, tau, alpha] for n, _, variance, tau in pairs])
    for log, half, (n, difference, variance, tau) in zip(logs, halves, pairs):
        error = np.sqrt(2 * variance / n)

        def ratio(observed):
            spread = 1 / np.sqrt(1 / error**2 + 1 / tau**2)
            density = lambda effect: (
                stats.norm.logpdf(effect, 0, tau)
                + stats.norm.logpdf(observed, effect, error)
                - stats.norm.logpdf(observed, 0, error)
            )
            return log_integral(density, observed * spread**2 / error**2, spread)

        assert log == pytest.approx(ratio(difference), abs=1e-8)
        assert ratio(half) == pytest.approx(np.log(1 / alpha), abs=1e-8)


def test_cluster_robust_variance_beside_statsmodels():
    import statsmodels.api as sm

    random = np.random.default_rng(9)
    for clusters in (25, 120, 400):
        group = random.integers(0, clusters, 3000)
        values = random.normal(size=clusters)[group] + random.normal(size=3000)
        fit = sm.OLS(values, np.ones(len(values))).fit(cov_type="cluster", cov_kwds={"groups": group})
        [ours] = ask([["clusteredVariance", values.tolist(), group.tolist()]])
        assert ours == pytest.approx(fit.bse[0] ** 2, rel=1e-10)


def test_ucb1_and_epsilon_greedy_beside_mabwiser():
    from mabwiser.mab import MAB, LearningPolicy

    random = np.random.default_rng(5)
    decisions = random.integers(0, 4, 500)
    rewards = (random.random(500) < np.array([0.1, 0.2, 0.3, 0.25])[decisions]).astype(int)
    sums = [
        {"count": int(np.sum(decisions == k)), "sum": int(rewards[decisions == k].sum()), "sumSquares": int(rewards[decisions == k].sum())}
        for k in range(4)
    ]
    theirs = MAB([0, 1, 2, 3], LearningPolicy.UCB1(alpha=1.25))
    theirs.fit(decisions, rewards)
    expected = theirs.predict_expectations()
    ours, pmf = ask([["ucb1Scores", sums, 1.25], ["epsilonGreedy", sums, 0.3]])
    np.testing.assert_allclose(ours, [expected[k] for k in range(4)], rtol=1e-12)
    greedy = MAB([0, 1, 2, 3], LearningPolicy.EpsilonGreedy(epsilon=0.3), seed=1)
    greedy.fit(decisions, rewards)
    drawn = np.bincount([greedy.predict() for _ in range(20_000)], minlength=4) / 20_000
    np.testing.assert_allclose(pmf, drawn, atol=0.015)


def test_linucb_beside_mabwiser():
    from mabwiser.mab import MAB, LearningPolicy

    random = np.random.default_rng(6)
    arms, dim, count = 3, 6, 400
    contexts = random.normal(size=(count, dim))
    decisions = random.integers(0, arms, count)
    rewards = (contexts * random.normal(size=(arms, dim))[decisions]).sum(axis=1) + random.normal(size=count)
    queries = random.normal(size=(20, dim))
    theirs = MAB(list(range(arms)), LearningPolicy.LinUCB(alpha=1.25, l2_lambda=0.7))
    theirs.fit(decisions, rewards, contexts)
    expected = [[scores[k] for k in range(arms)] for scores in theirs.predict_expectations(queries)]
    observations = [[int(d), float(r), x.tolist()] for d, r, x in zip(decisions, rewards, contexts)]
    [ours] = ask([["linUcbScores", observations, queries.tolist(), arms, dim, 0.7, 1.25]])
    np.testing.assert_allclose([o["summed"] for o in ours], expected, rtol=1e-9)
    np.testing.assert_allclose([o["online"] for o in ours], expected, rtol=1e-9)


def test_uniform_policy_on_the_open_bandit_sample():
    log = pd.read_csv(Path(os.environ["OPEN_BANDIT"]) / "bts" / "men" / "men.csv", index_col=0)
    [ours] = ask([["uniformPolicy", log.item_id.tolist(), log.propensity_score.tolist(), log.click.tolist(), 34]])
    assert ours["ips"]["value"] == pytest.approx(0.00300862632726, rel=1e-10)
    assert ours["snips"]["value"] == pytest.approx(0.00318942316228, rel=1e-10)
    assert ours["meanWeight"] == pytest.approx(0.9433137, abs=1e-7)
    assert ours["effectiveSamples"] == pytest.approx(655.70981, abs=5e-5)
    weights = (1 / 34) / log.propensity_score
    error = (weights * log.click).std(ddof=1) / np.sqrt(len(log))
    assert ours["ips"]["high"] == pytest.approx((weights * log.click).mean() + stats.norm.ppf(0.975) * error, rel=1e-9)
    assert ours["refusal"] == ""
    # What the same items earned when they were drawn evenly lies within the intervals.
    even = pd.read_csv(Path(os.environ["OPEN_BANDIT"]) / "random" / "men" / "men.csv", index_col=0)
    assert ours["snips"]["low"] <= even.click.mean() <= ours["snips"]["high"]


@pytest.mark.parametrize("sampled", [False, True])
def test_doubly_robust_with_given_predictions(sampled):
    random = np.random.default_rng(16)
    count, arms = 3000, 5
    logging = random.dirichlet(np.full(arms, 2.0), count)
    targets = random.dirichlet(np.full(arms, 3.0), count)
    actions = np.array([random.choice(arms, p=p) for p in logging])
    rows = np.arange(count)
    truth = random.uniform(0.1, 0.9, (count, arms))
    rewards = random.binomial(1, truth[rows, actions])
    # A model that is wrong: DR must still be unbiased, and these formulas exact.
    predicted = np.clip(truth + random.normal(0.1, 0.2, truth.shape), 0, 1)
    samples = random.choice([1.0, 4.0], count) if sampled else np.ones(count)
    propensities = logging[rows, actions]
    arguments = [v.tolist() for v in (actions, propensities, rewards, targets, predicted)]
    [ours] = ask([["doublyRobust", *arguments, samples.tolist() if sampled else None]])
    share = samples / samples.mean()
    weights = share * targets[rows, actions] / propensities
    direct = (targets * predicted).sum(axis=1)
    values = share * direct + weights * (rewards - predicted[rows, actions])
    half = stats.norm.ppf(0.975) * values.std(ddof=1) / np.sqrt(count)
    assert ours["dr"]["value"] == pytest.approx(values.mean(), rel=1e-10)
    assert ours["dr"]["low"] == pytest.approx(values.mean() - half, rel=1e-9)
    assert ours["dr"]["high"] == pytest.approx(values.mean() + half, rel=1e-9)
    assert ours["ips"]["value"] == pytest.approx((weights * rewards).mean(), rel=1e-10)
    assert ours["effectiveSamples"] == pytest.approx(weights.sum() ** 2 / (weights**2).sum(), rel=1e-10)
    truly = (share * (targets * truth).sum(axis=1)).mean()
    assert ours["dr"]["value"] == pytest.approx(truly, abs=3 * half)
    assert ours["dr"]["high"] - ours["dr"]["low"] < ours["ips"]["high"] - ours["ips"]["low"]
