"""Conversion at equal noise scale: both rules in rational arithmetic, where they have no answer, warnings, and bad input."""

import json
import re
from dataclasses import asdict, astuple
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from sgdnoise import convert

PAST_TENTH = "batch size above N/10 = {}: equal g need not mean equal training there; the paper grows the batch up to about N/10 and then lowers the learning rate"
TENTH, HALF = Fraction(1, 10), Fraction(1, 2)


def g_of(eps, batch_size, m, n_train):
    return eps * (Fraction(n_train, batch_size) - 1) / (1 - m)


def row(eps, batch_size, m, n_train, g):
    """All of a Setting, exactly, from the three numbers."""
    change = g_of(eps, batch_size, m, n_train) / g - 1
    lost = batch_size / (n_train * (1 - m))
    return eps, batch_size, m, g_of(eps, batch_size, m, n_train), change, n_train // batch_size, lost


def assert_equal(setting, eps, batch_size, m, n_train, g):
    expected = [float(value) for value in row(eps, batch_size, m, n_train, g)]
    assert astuple(setting) == pytest.approx(expected, rel=1e-12, abs=1e-12)
    assert (type(setting.batch_size), type(setting.updates_per_epoch)) == (int, int)


N, B, M = 50_000, 128, Fraction(9, 10)


@pytest.mark.parametrize(
    ("target", "linear", "exact"),
    [
        ({"to_batch_size": 1024}, (8 * TENTH, 1024, M), (8 * TENTH * Fraction(N - B, N - 1024), 1024, M)),
        ({"to_batch_size": 16}, (TENTH / 8, 16, M), (TENTH / 8 * Fraction(N - B, N - 16), 16, M)),
        ({"to_learning_rate": HALF}, (HALF, 640, M), (HALF, 634, M)),  # 633.5
        ({"to_learning_rate": TENTH / 3}, (TENTH / 3, 43, M), (TENTH / 3, 43, M)),  # 42.7
        ({"to_momentum": Fraction(98, 100)}, (TENTH, 640, Fraction(98, 100)), (TENTH, 634, Fraction(98, 100))),
        ({"to_momentum": 0}, (TENTH, 13, 0), (TENTH, 13, 0)),  # 12.8
    ],
)
def test_both_rules_in_rational_arithmetic(target, linear, exact):
    answer = convert(
        0.1, B, N, momentum=0.9, **{name: float(x) if name != "to_batch_size" else x for name, x in target.items()}
    )
    g = g_of(TENTH, B, M, N)
    assert answer.n_train == N
    assert_equal(answer.before, TENTH, B, M, N, g)
    assert_equal(answer.linear_rule, *linear, N, g)
    assert_equal(answer.exact_rule, *exact, N, g)


def test_momentum_is_zero_unless_given():
    assert convert(0.1, B, N, to_batch_size=256) == convert(0.1, B, N, momentum=0, to_batch_size=256)
    assert_equal(convert(0.1, B, N, to_batch_size=256).before, TENTH, B, 0, N, g_of(TENTH, B, 0, N))


rates = st.fractions(Fraction(1, 1000), 10, max_denominator=1000)
momenta = st.fractions(0, Fraction(99, 100), max_denominator=100)


@settings(max_examples=100, deadline=None, derandomize=True)
@given(rates, rates, momenta, momenta, st.integers(2, 10**6), st.data())
def test_batch_sizes_are_the_nearest_possible(eps, to_eps, m, to_m, n_train, data):
    batch_size = data.draw(st.integers(1, n_train - 1))
    g = g_of(eps, batch_size, m, n_train)
    for target, after in ({"to_learning_rate": float(to_eps)}, (to_eps, m)), ({"to_momentum": float(to_m)}, (eps, to_m)):
        answer = convert(float(eps), batch_size, n_train, momentum=float(m), **target)
        linear = batch_size * (after[0] / eps) * (1 - m) / (1 - after[1])
        exact = n_train / (1 + g * (1 - after[1]) / after[0])
        assume(abs(linear - n_train) > Fraction(1, 1000))  # rounding decides
        for got, wanted, most in (answer.linear_rule, linear, n_train), (answer.exact_rule, exact, n_train - 1):
            if got is None:
                assert wanted > most == n_train
            else:
                assert abs(got.batch_size - min(max(1, wanted), most)) <= HALF + Fraction(1, 1000)
                assert (got.learning_rate, got.momentum) == tuple(map(float, after))


def test_the_full_batch_has_no_exact_answer():
    answer = convert(0.1, 100, 1000, to_batch_size=1000)
    assert answer.exact_rule is None
    assert_equal(answer.linear_rule, Fraction(1), 1000, 0, 1000, g_of(TENTH, 100, 0, 1000))
    assert answer.linear_rule.noise_scale_change == -1
    assert answer.warnings == ("the full batch has no noise: no learning rate keeps g", PAST_TENTH.format(100))
    assert convert(0.1, 100, 1000, to_batch_size=999).exact_rule.noise_scale_change == pytest.approx(0, abs=1e-12)


def test_the_linear_rule_cannot_ask_for_more_than_all_examples():
    answer = convert(0.1, 100, 1000, to_learning_rate=2.0)
    assert (answer.linear_rule, answer.exact_rule.batch_size) == (None, 690)  # 1000/(1 + 0.9/2) = 689.7
    text = "the linear rule asks for a batch of 2000, more than there are examples"
    assert answer.warnings == (text, PAST_TENTH.format(100))
    assert convert(0.1, 100, 1000, to_learning_rate=1.0).linear_rule.batch_size == 1000
    assert convert(0.1, 100, 1000, to_learning_rate=1.001).linear_rule is None


def test_batches_stay_from_1_to_the_last_one_with_noise():
    answer = convert(0.1, 100, 1000, to_learning_rate=1e-5)
    assert (answer.linear_rule.batch_size, answer.exact_rule.batch_size) == (1, 1)
    assert convert(0.1, 999, 1000, to_learning_rate=1.0).exact_rule.batch_size == 999  # 999.9


@pytest.mark.parametrize(
    ("batch_size", "rate", "rounded", "asked"),
    [
        (99, 0.05, 50, None),  # 49.502, -0.995%
        (97, 0.05, 49, "48.5"),  # 48.502, -1.02%
        (100, 0.0504, 50, None),  # 50.402, +0.8%
        (100, 0.03043, 30, "30.4"),  # 30.432, +1.4%
    ],
)
def test_rounding_that_costs_more_than_one_percent_is_said(batch_size, rate, rounded, asked):
    answer = convert(0.1, batch_size, 10**6, to_learning_rate=rate)
    text = f"exact g asks for a batch of {asked}; the nearest possible changes g by more than 1%"
    assert answer.exact_rule.batch_size == rounded
    assert answer.warnings == ((text,) if asked else ())


@pytest.mark.parametrize(
    ("argv", "target", "tenth"),
    [
        ((0.1, 50, 1000), {"to_batch_size": 100}, None),
        ((0.1, 50, 1000), {"to_batch_size": 101}, "100"),
        ((0.1, 50, 1009), {"to_batch_size": 100}, None),
        ((0.1, 50, 1009), {"to_batch_size": 101}, "100.9"),
        ((0.1, 50, 1000), {"to_learning_rate": 0.202}, "100"),  # linear 101, exact 96
        ((0.5, 500, 1000), {"to_learning_rate": 0.1}, "100"),  # linear 100, exact 167
        ((0.1, 500, 1000), {"to_batch_size": 100}, None),  # before does not count
    ],
)
def test_a_batch_above_a_tenth_of_the_data_is_warned_of_once(argv, target, tenth):
    assert convert(*argv, **target).warnings == (() if tenth is None else (PAST_TENTH.format(tenth),))


def test_an_answer_is_plain_data_in_a_fixed_order():
    answer = convert(np.float32(0.5), np.int64(100), np.int64(1000), momentum=np.float32(0.5), to_batch_size=np.int64(1000))
    table = json.loads(json.dumps(asdict(answer)))
    assert list(table) == ["n_train", "before", "linear_rule", "exact_rule", "warnings"]
    names = "learning_rate batch_size momentum noise_scale noise_scale_change updates_per_epoch lost_epochs"
    assert list(table["before"]) == list(table["linear_rule"]) == names.split()
    assert table["before"] == dict(zip(names.split(), [0.5, 100, 0.5, 9.0, 0.0, 10, 0.2], strict=True))
    assert table["exact_rule"] is None


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (
            {"to_batch_size": None},
            ValueError,
            "exactly one of to_batch_size, to_learning_rate and to_momentum must be given, got 0",
        ),
        (
            {"to_momentum": 0.0},
            ValueError,
            "exactly one of to_batch_size, to_learning_rate and to_momentum must be given, got 2",
        ),
        (
            {"to_learning_rate": 1.0},
            ValueError,
            "exactly one of to_batch_size, to_learning_rate and to_momentum must be given, got 2",
        ),
        ({"to_batch_size": 0}, ValueError, "to_batch_size must be an integer from 1 to n_train=1000, got 0"),
        ({"to_batch_size": 1001}, ValueError, "to_batch_size must be an integer from 1 to n_train=1000, got 1001"),
        ({"to_batch_size": 10.5}, TypeError, "to_batch_size must be an integer"),
        (
            {"batch_size": 1000},
            ValueError,
            "batch_size must be below n_train=1000, got 1000; the full batch has no noise to keep",
        ),
        ({"batch_size": 1001}, ValueError, "batch_size must be finite and at most n_train=1000"),
        ({"batch_size": 0}, ValueError, "batch_size must be finite and above 0"),
        ({"batch_size": 10.5}, TypeError, "batch_size must be an integer"),
        ({"batch_size": np.array([10, 20])}, TypeError, "batch_size must be an integer"),
        ({"n_train": 1000.5}, TypeError, "n_train must be an integer"),
        ({"learning_rate": 0}, ValueError, "learning_rate must be finite and above 0"),
        ({"learning_rate": np.array([0.1, 0.2])}, TypeError, "learning_rate must be a number"),
        ({"momentum": 1}, ValueError, "momentum must be finite and at least 0 and below 1"),
        ({"momentum": -0.1}, ValueError, "momentum must be finite and at least 0 and below 1"),
        ({"momentum": np.array([0.1, 0.2])}, TypeError, "momentum must be a number"),
        ({"to_batch_size": None, "to_learning_rate": 0.0}, ValueError, "to_learning_rate must be finite and above 0"),
        ({"to_batch_size": None, "to_learning_rate": np.array([0.1, 0.2])}, TypeError, "to_learning_rate must be a number"),
        ({"to_batch_size": None, "to_momentum": 1.0}, ValueError, "to_momentum must be finite and at least 0 and below 1"),
        ({"to_batch_size": None, "to_momentum": -0.1}, ValueError, "to_momentum must be finite and at least 0 and below 1"),
        ({"to_batch_size": None, "to_momentum": np.array([0.1, 0.2])}, TypeError, "to_momentum must be a number"),
    ],
)
def test_bad_arguments(change, error, message):
    arguments = {"learning_rate": 0.1, "batch_size": 10, "n_train": 1000, "momentum": 0.5, "to_batch_size": 100}
    with pytest.raises(error, match="^" + re.escape(message)):
        convert(**(arguments | change))


@pytest.mark.parametrize(
    ("learning_rate", "change"),
    [(1e-200, {"to_learning_rate": 1e200}), (1e306, {"to_batch_size": 999}), (1e307, {"to_momentum": 0.99})],
)
def test_what_overflows_is_refused(learning_rate, change):
    with pytest.raises(ValueError, match=r"^the result must be finite, got inf; .* too far apart for floating point"):
        convert(learning_rate, 1, 1000, **change)
