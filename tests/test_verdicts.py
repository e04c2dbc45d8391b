"""What a claim is, and estimates: bootstrap intervals against SciPy's, standard errors, and verdicts at their edges."""

import json
import math
from dataclasses import FrozenInstanceError, replace

import numpy as np
import pytest
from scipy.stats import bootstrap, chisquare, sem

from sgdnoise.reproduce.engine import verdicts as module
from sgdnoise.reproduce.engine.records import to_json
from sgdnoise.reproduce.engine.verdicts import Control, Estimate, Verdict, estimate, standard_error

# Estimates.

SKEWED = np.random.default_rng(5).exponential(size=(40, 2))
STATISTICS = {
    "mean": lambda draw: SKEWED[draw, 0].mean(),
    "variance": lambda draw: SKEWED[draw, 0].var(ddof=1),
    "ratio of means": lambda draw: SKEWED[draw, 0].mean() / SKEWED[draw, 1].mean(),
    "larger deviation": lambda draw: np.abs(SKEWED[draw].mean(axis=0) - 1).max(),
}


@pytest.mark.parametrize("name", STATISTICS)
def test_intervals_are_scipys_percentile_bootstrap(name, monkeypatch):
    """Both from 20000 resamples, in units of the standard error of the statistic.

    A 2.5% quantile of n draws of a normal variable scatters by sqrt(.025 .975/n)/.0584 of its standard deviation, .019 here, and
    the difference of two by .027; skewed ones somewhat more. Allowed is .12, four times as much and a bit: for each end a false
    alarm in about 10^5. Intervals of 90% would be .14 to .47 narrower at each end, and intervals reflected at the value off by .3
    and more for all but the mean.
    """
    monkeypatch.setattr(module, "_N_RESAMPLES", 20_000)
    statistic, n = STATISTICS[name], len(SKEWED)
    theirs = bootstrap(
        (np.arange(n),), statistic, n_resamples=20_000, method="percentile", vectorized=False, rng=np.random.default_rng(1)
    )
    ours = estimate(statistic, n)
    assert ours.value == statistic(np.arange(n))
    for mine, scipys in zip(ours.interval, theirs.confidence_interval, strict=True):
        assert mine == pytest.approx(scipys, abs=0.12 * theirs.standard_error)


def test_the_interval_is_of_2000_resamples_and_has_2_5_percent_on_either_side():
    """A statistic that counts its calls: 0 of all, then 1, 2, ..., 2000, whose quantiles are known to the last digit."""
    calls = []

    def statistic(draw):
        calls.append(draw)
        return len(calls) - 1.0

    assert estimate(statistic, 3) == (0.0, pytest.approx((1 + 0.025 * 1999, 1 + 0.975 * 1999), rel=1e-12))
    assert len(calls) == 2001


def test_resamples_are_drawn_with_replacement_and_uniformly():
    """Chi squared of 7 indices of two of them together, and of how many different ones a draw has: each fails once in 10^4."""
    draws = []
    estimate(lambda draw: draws.append(draw) or 0.0, 7)
    assert draws[0].tolist() == list(range(7))  # of all of them, once and in order
    resamples = np.array(draws[1:])
    assert resamples.shape == (2000, 7)
    assert resamples.dtype.kind == "i"
    assert chisquare(np.bincount(resamples.ravel(), minlength=7)).pvalue > 1e-4
    first, last = resamples[:, 0], resamples[:, -1]
    assert chisquare(np.bincount(7 * first + last, minlength=49)).pvalue > 1e-4  # independent of each other
    # Stirling numbers of the second kind: ways to share 7 places among k kinds.
    ways = np.array([1, 63, 301, 350, 140, 21, 1]) * np.array([7, 42, 210, 840, 2520, 5040, 5040])
    seen = np.bincount([len(set(row)) for row in resamples.tolist()], minlength=8)[1:]
    assert ways.sum() == 7**7
    assert chisquare(seen[2:], ways[2:] / ways[2:].sum() * seen[2:].sum()).pvalue > 1e-4  # fewer than three are too rare


def test_estimates_move_and_stretch_with_their_statistic():
    statistic = STATISTICS["variance"]
    value, (low, high) = estimate(statistic, 40)
    assert low < value < high
    moved = estimate(lambda draw: statistic(draw) + 100, 40)
    assert (moved.value, *moved.interval) == pytest.approx((value + 100, low + 100, high + 100), rel=1e-12)
    stretched = estimate(lambda draw: 3 * statistic(draw), 40)
    assert (stretched.value, *stretched.interval) == pytest.approx((3 * value, 3 * low, 3 * high), rel=1e-12)
    reflected = estimate(lambda draw: -statistic(draw), 40)
    assert (reflected.value, *reflected.interval) == pytest.approx((-value, -high, -low), rel=1e-12)


@pytest.mark.parametrize("n", [1, 2, 3])
def test_fewer_than_three_repetitions_have_no_interval(n):
    value, interval = estimate(lambda draw: np.float32(draw.sum()), n)
    assert value == n * (n - 1) / 2
    assert (interval is None) == (n < 3)
    assert type(value) is float
    assert interval is None or {type(end) for end in interval} == {float}


def test_repetitions_that_are_equal_have_an_interval_of_no_width():
    assert estimate(lambda draw: float(np.full(5, 0.25)[draw].mean()), 5) == (0.25, (0.25, 0.25))


def test_estimates_are_reproducible_whatever_the_global_generator_does():
    first = estimate(STATISTICS["mean"], 40)
    np.random.seed(3)  # noqa: NPY002
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    assert estimate(STATISTICS["mean"], 40) == first
    assert (np.random.get_state()[1] == before).all()  # noqa: NPY002


def test_an_estimate_of_what_is_not_random_is_its_value():
    assert Estimate(0.5) == (0.5, None)


@pytest.mark.parametrize("shape", [(2,), (5,), (4, 3), (6, 2, 3)])
def test_standard_errors_are_scipys(shape):
    values = np.random.default_rng(1).normal(size=shape)
    np.testing.assert_allclose(standard_error(values), sem(values), rtol=1e-12)


def test_the_standard_error_by_hand_and_of_one_seed():
    assert standard_error(np.array([1.0, 2.0, 6.0])) == pytest.approx(np.sqrt(7 / 3))  # squared deviations 4, 1 and 9
    assert standard_error(np.ones((1, 3, 2))).tolist() == [[0, 0]] * 3
    assert standard_error(np.ones(1)) == 0


# Verdicts.


def verdict(value=0.1, threshold=0.1, control_value=0.3, **more):
    given = {"measured": Estimate(value), "control": Control("what is wrong", control_value)} | more
    return Verdict(key="k", claim="the claim", source="P, fig. 1", statistic="|a|", threshold=threshold, **given)


ABOVE, BELOW = math.nextafter(0.1, 1), math.nextafter(0.1, 0)


@pytest.mark.parametrize(
    ("relation", "value", "passes"),
    [
        ("at most", 0.1, True),
        ("at most", ABOVE, False),
        ("at most", BELOW, True),
        ("at most", -np.inf, True),
        ("at most", np.inf, False),
        ("at least", 0.1, True),
        ("at least", ABOVE, True),
        ("at least", BELOW, False),
        ("at least", np.inf, True),
        ("at least", -np.inf, False),
        ("at most", np.nan, False),
        ("at least", np.nan, False),
    ],
)
def test_a_claim_holds_where_its_control_is_not_flagged(relation, value, passes):
    assert verdict(value, relation=relation).holds is passes
    flagged = not passes and not np.isnan(value)  # one that could not be computed was not put to the test
    assert verdict(0.0, relation=relation, control_value=value).control_flagged is flagged


def test_the_ends_of_the_interval_decide_nothing():
    assert verdict(measured=Estimate(0.1, (0.2, 0.3))).holds
    assert not verdict(measured=Estimate(0.2, (0.0, 0.1))).holds
    assert not verdict(0.2).holds
    assert verdict(0.2, relation="at least").holds


def test_the_default_relation_is_at_most():
    assert verdict().relation == "at most"


def test_words():
    assert verdict().word == "HOLDS"
    assert verdict(scope="B <= N/10").word == "HOLDS WITHIN B <= N/10"
    assert verdict(0.2).word == verdict(0.2, scope="B <= N/10").word == verdict(np.nan).word == "FAILS"


def test_the_line_to_print():
    made = verdict(0.04567, measured=Estimate(0.04567, (0.03, 0.05678)))
    line = "the claim (P, fig. 1); |a|: 0.0457 [0.03, 0.0568], at most 0.1; control (what is wrong): 0.3, flagged"
    assert str(made) == f"HOLDS: {line}"
    made = verdict(2, 3, relation="at least", control_value=4.0)
    line = "the claim (P, fig. 1); |a|: 2, at least 3; control (what is wrong): 4, NOT FLAGGED"
    assert str(made) == f"FAILS: {line}"


def test_a_record_has_everything():
    made = verdict(measured=Estimate(0.05, (0.04, 0.06)), scope="s")
    assert made.record() == {
        "key": "k",
        "claim": "the claim",
        "source": "P, fig. 1",
        "statistic": "|a|",
        "value": 0.05,
        "interval": (0.04, 0.06),
        "threshold": 0.1,
        "relation": "at most",
        "control": "what is wrong",
        "control_value": 0.3,
        "scope": "s",
        "holds": True,
        "word": "HOLDS WITHIN s",
        "control_flagged": True,
    }


@pytest.mark.parametrize("interval", [None, (0.04, 0.06), (0.0, 0.0)])
@pytest.mark.parametrize("changes", [{}, {"relation": "at least", "scope": "B <= N/10", "control_value": -1.0}])
def test_verdicts_survive_json(interval, changes):
    made = verdict(measured=Estimate(0.05, interval), **changes)
    back = Verdict.read(json.loads(json.dumps(to_json(made.record()), allow_nan=False)))
    assert back == made
    assert (back.value, back.interval) == (0.05, interval)
    assert type(back.measured) is Estimate
    assert back.record() == made.record()


def test_a_verdict_that_is_not_finite_survives_json():
    made = verdict(measured=Estimate(np.inf, (0.1, np.inf)), control_value=np.nan)
    back = Verdict.read(json.loads(json.dumps(to_json(made.record()), allow_nan=False)))
    assert back.measured == made.measured
    assert np.isnan(back.control.value)
    assert not back.holds
    assert not back.control_flagged


def test_what_was_judged_is_judged_again_when_it_is_read():
    record = verdict(0.2).record() | {"holds": True, "word": "HOLDS", "unknown": 1}
    assert not Verdict.read(record).holds


def test_verdicts_are_values():
    assert verdict() == verdict()
    assert hash(verdict()) == hash(verdict())
    assert verdict() != replace(verdict(), key="another")
    with pytest.raises(FrozenInstanceError):
        verdict().threshold = 1.0
    with pytest.raises(TypeError):
        Verdict("k", "c", "s", "x", Estimate(0.0), 1.0, control=Control("", 1.0))  # by name only
