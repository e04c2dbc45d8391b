"""The noise scale: exact identities in rational arithmetic, inverses, and bad input."""

import math
import re
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sgdnoise import (
    adam_square_root_rule,
    batch_size_for,
    learning_rate_for,
    linear_scaling_error,
    lost_epochs,
    momentum_for,
    noise_scale,
    temperature,
)

exact = settings(max_examples=60, deadline=None, derandomize=True)
rates = st.fractions(Fraction(1, 10_000), 10, max_denominator=10_000)
momenta = st.fractions(0, Fraction(999, 1000), max_denominator=1000)
replaces = st.booleans()


@st.composite
def batches(draw, noisy=True):
    """N, then B below N (B <= N where noise is not asked for)."""
    n_train = draw(st.integers(2, 10**7))
    return draw(st.integers(1, n_train - noisy)), n_train


# The sum of the gradients of a batch, enumerated: what the -1 means.


def enumerated_ratio(gradients, batch_size, with_replacement):
    """Variance of (N/B) * (sum over the batch), over every equally likely batch, in units of F, exactly."""
    from itertools import combinations, product

    n = len(gradients)
    draws = product(gradients, repeat=batch_size) if with_replacement else combinations(gradients, batch_size)
    sums = [Fraction(n, batch_size) * sum(draw) for draw in draws]
    mean = sum(sums) / len(sums)
    variance = sum((s - mean) ** 2 for s in sums) / len(sums)
    centre = Fraction(sum(gradients), n)
    covariance = sum((g - centre) ** 2 for g in gradients) / (n if with_replacement else n - 1)
    return variance / covariance


@pytest.mark.parametrize("batch_size", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("with_replacement", [False, True])
def test_g_is_the_variance_of_every_possible_minibatch(batch_size, with_replacement):
    # The SDE says (eps/N)^2 Var(sum) = (eps/N) g F, so Var/F = N g / eps.
    ratio = enumerated_ratio([3, -1, 4, 10, -5], batch_size, with_replacement)
    rate = Fraction(1, 7)
    assert 5 * noise_scale(rate, batch_size, 5, replace=with_replacement) / rate == ratio


@exact
@given(rate=rates, n_train=st.integers(1, 10**7), momentum=momenta)
def test_full_batch_has_no_noise(rate, n_train, momentum):
    assert noise_scale(rate, n_train, n_train, momentum=momentum) == 0


@exact
@given(rate=rates, batch=batches(), momentum=momenta, factor=rates, replace=replaces)
def test_linear_in_the_learning_rate(rate, batch, momentum, factor, replace):
    g = noise_scale(rate, *batch, momentum=momentum, replace=replace)
    assert noise_scale(factor * rate, *batch, momentum=momentum, replace=replace) == factor * g


@exact
@given(rate=rates, batch=batches(), momentum=momenta, replace=replaces)
def test_decreasing_in_the_batch_size(rate, batch, momentum, replace):
    batch_size, n_train = batch
    g = noise_scale(rate, batch_size, n_train, momentum=momentum, replace=replace)
    assert noise_scale(rate, batch_size + 1, n_train, momentum=momentum, replace=replace) < g


@exact
@given(rate=rates, batch=batches(), momentum=momenta, replace=replaces)
def test_momentum_multiplies_by_one_over_one_minus_m(rate, batch, momentum, replace):
    g = noise_scale(rate, *batch, momentum=momentum, replace=replace)
    assert g * (1 - momentum) == noise_scale(rate, *batch, replace=replace)


@exact
@given(rate=rates, batch=batches(), momentum=momenta)
def test_replacement_adds_exactly_one_learning_rate(rate, batch, momentum):
    difference = noise_scale(rate, *batch, momentum=momentum, replace=True) - noise_scale(rate, *batch, momentum=momentum)
    assert difference == rate / (1 - momentum)


@exact
@given(rate=rates, batch=batches(), momentum=momenta, replace=replaces)
def test_every_inverse_is_exact(rate, batch, momentum, replace):
    batch_size, n_train = batch
    g = noise_scale(rate, batch_size, n_train, momentum=momentum, replace=replace)
    answers = (
        learning_rate_for(g, batch_size, n_train, momentum=momentum, replace=replace),
        batch_size_for(g, rate, n_train, momentum=momentum, replace=replace),
        momentum_for(g, rate, batch_size, n_train, replace=replace),
    )
    assert answers == (rate, batch_size, momentum)
    assert all(isinstance(answer, Fraction) for answer in (g, *answers))


@exact
@given(rate=rates, batch=batches(), momentum=momenta, data=st.data())
def test_scaling_eps_and_b_by_k_multiplies_g_by_the_known_factor(rate, batch, momentum, data):
    batch_size, n_train = batch
    k = data.draw(st.fractions(Fraction(1, 100), Fraction(n_train, batch_size)))
    after = noise_scale(k * rate, k * batch_size, n_train, momentum=momentum)
    before = noise_scale(rate, batch_size, n_train, momentum=momentum)
    assert after == before * (n_train - k * batch_size) / (n_train - batch_size)
    assert linear_scaling_error(k, batch_size, n_train) == after / before - 1


@exact
@given(rate=st.floats(1e-6, 1e3), batch=batches(), momentum=st.floats(0, 0.999), replace=replaces)
def test_inverses_in_floating_point(rate, batch, momentum, replace):
    batch_size, n_train = batch
    g = noise_scale(rate, batch_size, n_train, momentum=momentum, replace=replace)
    assert learning_rate_for(g, batch_size, n_train, momentum=momentum, replace=replace) == pytest.approx(rate, rel=1e-12)
    assert batch_size_for(g, rate, n_train, momentum=momentum, replace=replace) == pytest.approx(batch_size, rel=1e-12)
    if not replace:
        # The answer of one inverse is legal input for the function itself, whatever the rounding.
        noise_scale(rate, batch_size_for(g, rate, n_train, momentum=momentum), n_train)
    assert 1 - momentum_for(g, rate, batch_size, n_train, replace=replace) == pytest.approx(1 - momentum, rel=1e-9)


def test_floating_point_agrees_with_rational_arithmetic_close_to_the_full_batch():
    n_train = 10**12
    expected = float(noise_scale(Fraction(0.1), n_train - 1, n_train, momentum=Fraction(0.9)))
    assert noise_scale(0.1, n_train - 1, n_train, momentum=0.9) == pytest.approx(expected, rel=1e-14)


def test_arrays_broadcast_and_keep_their_type():
    batch_sizes = np.array([128, 640, 3200, 16000])
    g = noise_scale(0.1, batch_sizes, 50_000, momentum=0.9)
    np.testing.assert_allclose(g, [389.625, 77.125, 14.625, 2.125], rtol=1e-12)
    table = noise_scale(np.array([[0.1], [0.2]], np.float32), batch_sizes.astype(np.float32), 50_000)
    assert table.shape == (2, 4)
    assert table.dtype == np.float32
    np.testing.assert_allclose(batch_size_for(g, 0.1, 50_000, momentum=0.9), batch_sizes, rtol=1e-12)
    # Small integer types must not wrap round.
    np.testing.assert_allclose(linear_scaling_error(2, np.array([200], np.uint8), 1000), -0.25)
    assert linear_scaling_error(np.uint64(2), 100, 1000) == pytest.approx(-1 / 9)
    assert noise_scale(np.int32(2), np.int32(1), np.int32(1610612736)) == pytest.approx(2 * 1610612735)
    assert noise_scale(np.array(0.1), np.array(10), 100) == pytest.approx(0.9)


@pytest.mark.parametrize(
    ("fn", "arguments"),
    [
        (noise_scale, ([0.1, 0.2], [10, 20], [100, 1000])),
        (lambda *a: noise_scale(*a[:3], momentum=a[3]), ([0.1, 0.2], [10, 20], [100, 1000], [0, 0.9])),
        (lambda *a: noise_scale(*a, replace=True), ([0.1, 0.2], [10, 20], [100, 1000])),
        (lambda *a: learning_rate_for(*a[:3], momentum=a[3]), ([0.0625, 2], [10, 20], [100, 1000], [0.5, 0.9])),
        (lambda *a: learning_rate_for(*a, replace=True), ([0.0625, 2], [10, 20], [100, 1000])),
        (lambda *a: batch_size_for(*a[:3], momentum=a[3]), ([0.0, 2], [0.1, 0.2], [100, 1000], [0.5, 0.9])),
        (lambda *a: batch_size_for(*a, replace=True), ([0.0625, 2], [0.1, 0.2], [100, 1000])),
        (momentum_for, ([30, 40], [0.1, 0.2], [10, 20], [100, 1000])),
        (lambda *a: momentum_for(*a, replace=True), ([30, 40], [0.1, 0.2], [10, 20], [100, 1000])),
        (linear_scaling_error, ([0.5, 2], [10, 20], [100, 1000])),
        (lost_epochs, ([10, 20], [100, 1000], [0.5, 0.9])),
        (temperature, ([0.0, 2], [0.0, 3])),
        (adam_square_root_rule, ([0.25, 2], [0.1, 0.2], [0.6, 0.9], [0.7, 0.999], [0.0, 1e-8])),
    ],
)
def test_every_function_broadcasts_over_every_argument(fn, arguments):
    grids = np.meshgrid(*map(np.array, arguments), indexing="ij", sparse=True)
    at_once = fn(*grids)
    one_by_one = np.vectorize(lambda *scalars: fn(*scalars))(*grids)
    np.testing.assert_allclose(
        np.broadcast_arrays(*np.atleast_1d(*at_once)) if isinstance(at_once, tuple) else at_once, one_by_one
    )


@pytest.mark.parametrize(
    ("batch_size", "momentum", "n_train", "expected"),
    [
        (128, 0.9, 50_000, 0.0256),
        (640, 0.9, 50_000, 0.128),
        (3200, 0.98, 50_000, 3.2),
        (8192, 0.9, 1_281_167, 0.064),
        (16384, 0.95, 1_281_167, 0.256),
        (32768, 0.975, 1_281_167, 1.023),
    ],
)
def test_lost_epochs_of_the_papers_runs(batch_size, momentum, n_train, expected):
    assert lost_epochs(batch_size, n_train, momentum) == pytest.approx(expected, abs=5e-4)


def test_lost_epochs_is_the_area_the_accumulator_lacks():
    # Sum over updates of 1 - A(s)/A(inf), with the accumulator iterated, as epochs: a second derivation of B/(N(1-m)).
    momentum, batch_size, n_train = 0.9, 100, 1000
    trace, lacking = 0.0, 0.0
    for _ in range(2000):
        lacking += 1 - trace * (1 - momentum)
        trace = momentum * trace + 1
    assert lacking * batch_size / n_train == pytest.approx(lost_epochs(batch_size, n_train, momentum), rel=1e-9)


def test_a_float_comes_back_as_a_float():
    assert {type(value) for value in adam_square_root_rule(2.0, 0.1, 0.9, 0.999, 1e-8)} == {float}


def test_temperature_is_half_of_g_times_f():
    assert temperature(Fraction(3), Fraction(1, 7)) == Fraction(3, 14)


@exact
@given(rate=st.floats(1e-6, 1), b1=st.floats(0.9, 0.999), b2=st.floats(0.9, 0.9999), eps=st.floats(1e-12, 1e-3))
def test_adam_rule_in_two_steps_is_the_rule_in_one(rate, b1, b2, eps):
    twice = adam_square_root_rule(3.0, *adam_square_root_rule(2.0, rate, b1, b2, eps))
    once = adam_square_root_rule(6.0, rate, b1, b2, eps)
    np.testing.assert_allclose(twice, once, rtol=1e-9)
    assert once.learning_rate == pytest.approx(rate * 6**0.5)
    assert 1 - once.b1 == pytest.approx(6 * (1 - b1))
    assert 1 - once.b2 == pytest.approx(6 * (1 - b2))
    assert once.eps == pytest.approx(eps / 6**0.5)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: noise_scale(float("nan"), 10, 100), ValueError, "learning_rate must be finite and above 0, got nan"),
        (lambda: noise_scale(float("inf"), 10, 100), ValueError, "learning_rate must be finite and above 0, got inf"),
        (lambda: noise_scale(-0.1, 10, 100), ValueError, "learning_rate must be finite and above 0, got -0.1"),
        (lambda: noise_scale(0, 10, 100), ValueError, "learning_rate must be finite and above 0, got 0"),
        (
            lambda: noise_scale(True, 10, 100),
            TypeError,
            "learning_rate must be a number or an array of numbers, got True of type bool",
        ),
        (
            lambda: noise_scale("0.1", 10, 100),
            TypeError,
            "learning_rate must be a number or an array of numbers, got '0.1' of type str",
        ),
        (
            lambda: noise_scale(0.1 + 0j, 10, 100),
            TypeError,
            "learning_rate must be a number or an array of numbers, got (0.1+0j) of type complex",
        ),
        (
            lambda: noise_scale(np.array(["a", "b"]), 10, 100),
            TypeError,
            "learning_rate must be a number or an array of numbers, got an array of dtype <U1",
        ),
        (
            lambda: noise_scale([0.1], 10, 100),
            TypeError,
            "learning_rate must be a number or an array of numbers, got [0.1] of type list",
        ),
        (
            lambda: noise_scale(0.1, 2000, 1000),
            ValueError,
            "batch_size must be finite and at most n_train=1000, got 2000; a batch drawn without replacement cannot hold more than the data",
        ),
        (
            lambda: noise_scale(0.1, np.array([10, 2000]), 1000),
            ValueError,
            "batch_size must be finite and at most n_train=1000, got 2000.0; a batch drawn without replacement cannot hold more than the data",
        ),
        (lambda: noise_scale(0.1, 0, 1000), ValueError, "batch_size must be finite and above 0, got 0"),
        (lambda: noise_scale(0.1, 10, 0), ValueError, "n_train must be finite and above 0, got 0"),
        (lambda: noise_scale(0.1, 10, float("nan")), ValueError, "n_train must be finite and above 0, got nan"),
        (
            lambda: noise_scale(0.1, 10, 100, momentum=1),
            ValueError,
            "momentum must be finite and at least 0 and below 1, got 1",
        ),
        (
            lambda: noise_scale(0.1, 10, 100, momentum=-0.1),
            ValueError,
            "momentum must be finite and at least 0 and below 1, got -0.1",
        ),
        (lambda: noise_scale(0.1, 10, 100, replace=1), TypeError, "replace must be True or False, got 1 of type int"),
        (
            lambda: learning_rate_for(1.0, 100, 100),
            ValueError,
            "batch_size must be finite and below n_train=100, got 100; the full batch has no noise, whatever the learning rate and the momentum",
        ),
        (lambda: learning_rate_for(0.0, 10, 100), ValueError, "noise_scale must be finite and above 0, got 0.0"),
        (lambda: batch_size_for(-1.0, 0.1, 100), ValueError, "noise_scale must be finite and at least 0, got -1.0"),
        (lambda: batch_size_for(0.0, 0.1, 100, replace=True), ValueError, "noise_scale must be finite and above 0, got 0.0"),
        (lambda: batch_size_for(float("inf"), 0.1, 100), ValueError, "noise_scale must be finite and at least 0, got inf"),
        (
            lambda: momentum_for(0.5, 0.1, 10, 100),
            ValueError,
            "noise_scale must be finite and at least g without momentum=0.9, got 0.5; momentum only adds noise; lower the learning rate or grow the batch",
        ),
        (
            lambda: momentum_for(0.5, 0.1, 100, 100),
            ValueError,
            "batch_size must be finite and below n_train=100, got 100; the full batch has no noise, whatever the learning rate and the momentum",
        ),
        (
            lambda: linear_scaling_error(20, 10, 100),
            ValueError,
            "factor * batch_size must be finite and at most n_train=100, got 200; a batch drawn without replacement cannot hold more than the data",
        ),
        (lambda: linear_scaling_error(0, 10, 100), ValueError, "factor must be finite and above 0, got 0"),
        (
            lambda: linear_scaling_error(1, 100, 100),
            ValueError,
            "batch_size must be finite and below n_train=100, got 100; the full batch has no noise, whatever the learning rate and the momentum",
        ),
        (
            lambda: lost_epochs(200, 100, 0.9),
            ValueError,
            "batch_size must be finite and at most n_train=100, got 200; a batch drawn without replacement cannot hold more than the data",
        ),
        (lambda: lost_epochs(10, 100, 1.0), ValueError, "momentum must be finite and at least 0 and below 1, got 1.0"),
        (
            lambda: learning_rate_for(0.5, 10, 100, momentum=1),
            ValueError,
            "momentum must be finite and at least 0 and below 1, got 1",
        ),
        (
            lambda: learning_rate_for(0.5, 10, 100, replace="no"),
            TypeError,
            "replace must be True or False, got 'no' of type str",
        ),
        (
            lambda: learning_rate_for(0.5, 200, 100),
            ValueError,
            "batch_size must be finite and at most n_train=100, got 200; a batch drawn without replacement cannot hold more than the data",
        ),
        (lambda: batch_size_for(0.5, -0.1, 100), ValueError, "learning_rate must be finite and above 0, got -0.1"),
        (lambda: batch_size_for(0.5, 0.1, -100), ValueError, "n_train must be finite and above 0, got -100"),
        (
            lambda: batch_size_for(0.5, 0.1, 100, momentum=-1),
            ValueError,
            "momentum must be finite and at least 0 and below 1, got -1",
        ),
        (
            lambda: batch_size_for(0.5, 0.1, 100, replace=None),
            TypeError,
            "replace must be True or False, got None of type NoneType",
        ),
        (lambda: momentum_for(9, -0.1, 10, 100), ValueError, "learning_rate must be finite and above 0, got -0.1"),
        (lambda: momentum_for(9, 0.1, 0, 100), ValueError, "batch_size must be finite and above 0, got 0"),
        (
            lambda: momentum_for("9", 0.1, 10, 100),
            TypeError,
            "noise_scale must be a number or an array of numbers, got '9' of type str",
        ),
        (lambda: lost_epochs(10, 0, 0.9), ValueError, "n_train must be finite and above 0, got 0"),
        (lambda: temperature(1, -1), ValueError, "gradient_variance must be finite and at least 0, got -1"),
        (
            lambda: noise_scale(1e308, 1, 10**9),
            ValueError,
            "the result must be finite, got inf; the arguments are too far apart for floating point",
        ),
        (
            lambda: learning_rate_for(1e308, 9, 10),
            ValueError,
            "the result must be finite, got inf; the arguments are too far apart for floating point",
        ),
        (
            lambda: batch_size_for(1e-308, 1e10, 100, replace=True),
            ValueError,
            "the result must be finite, got inf; the arguments are too far apart for floating point",
        ),
        (lambda: temperature(True, 1), TypeError, "noise_scale must be a number or an array of numbers, got True of type bool"),
        (
            lambda: adam_square_root_rule(4, -0.1, 0.9, 0.999, 0),
            ValueError,
            "learning_rate must be finite and above 0, got -0.1",
        ),
        (
            lambda: adam_square_root_rule(4, 0.1, -0.9, 0.999, 0),
            ValueError,
            "b1 must be finite and at least 0 and below 1, got -0.9",
        ),
        (
            lambda: adam_square_root_rule(4, 0.1, 0.9, 1.0, 0),
            ValueError,
            "b2 must be finite and at least 0 and below 1, got 1.0",
        ),
        (
            lambda: adam_square_root_rule(9, 0.1, 0.95, 0.8, 0),
            ValueError,
            "factor * (1 - b2) must be finite and at most 1, got 1.7999999999999996; the batch size has grown too far for the rule",
        ),
        (lambda: temperature(-1, 1), ValueError, "noise_scale must be finite and at least 0, got -1"),
        (lambda: temperature(1, float("nan")), ValueError, "gradient_variance must be finite and at least 0, got nan"),
        (
            lambda: adam_square_root_rule(20, 0.1, 0.9, 0.999, 0),
            ValueError,
            "factor * (1 - b1) must be finite and at most 1, got 1.9999999999999996; the batch size has grown too far for the rule",
        ),
        (
            lambda: adam_square_root_rule(4, 0.1, 1.0, 0.999, 0),
            ValueError,
            "b1 must be finite and at least 0 and below 1, got 1.0",
        ),
        (lambda: adam_square_root_rule(4, 0.1, 0.9, 0.999, -1), ValueError, "eps must be finite and at least 0, got -1"),
        (lambda: adam_square_root_rule(-4, 0.1, 0.9, 0.999, 0), ValueError, "factor must be finite and above 0, got -4"),
    ],
)
def test_bad_input_is_refused_by_name(call, error, message):
    with pytest.raises(error) as caught:
        call()
    assert str(caught.value) == message


settings_of_runs = st.tuples(st.integers(1, 10**6), st.integers(1, 10**6), st.floats(-20, 20), st.booleans())


@given(settings_of_runs)
@settings(max_examples=300, deadline=None, derandomize=True)
def test_no_momentum_is_the_momentum_of_g_without_it(case):
    """The rate that gives g without momentum, and back: 0, where rounding takes g a little below what it must reach."""
    batch_size, more, log_g, replace = case
    g, n_train = math.exp(log_g), batch_size + more
    rate = learning_rate_for(g, batch_size, n_train, replace=replace)
    for like in (float, np.float64, lambda x: np.full(3, x)):
        momentum = momentum_for(like(g), like(rate), batch_size, n_train, replace=replace)
        assert np.all((momentum >= 0) & (momentum < 2e-15))
    with pytest.raises(ValueError, match="noise_scale must be finite and at least g without momentum="):
        momentum_for(g, rate * (1 + 1e-14), batch_size, n_train, replace=replace)
    with pytest.raises(ValueError, match="noise_scale must be finite and at least g without momentum="):
        momentum_for(Fraction(1, 10), Fraction(1, 10) + Fraction(1, 10**20), 500, 1000)  # what is exact has no rounding


@pytest.mark.parametrize(("batch_size", "n_train"), [(19, 21), (1, 3), (49, 50), (7, 10**6)])
def test_a_factor_may_reach_the_full_batch_in_spite_of_rounding(batch_size, n_train):
    """At K B = N the relative change of g is -1, also if K = N/B was rounded up."""
    for factor in (n_train / batch_size, np.nextafter(n_train / batch_size, np.inf), Fraction(n_train, batch_size)):
        assert linear_scaling_error(factor, batch_size, n_train) == pytest.approx(-1, abs=1e-15 * n_train)
        assert linear_scaling_error(factor, batch_size, n_train) >= -1
    with pytest.raises(ValueError, match="factor \\* batch_size must be finite and at most n_train"):
        linear_scaling_error(n_train / batch_size * (1 + 1e-14), batch_size, n_train)


@pytest.mark.parametrize(("factor", "b"), [(20, 0.95), (10, 0.9), (3, 2 / 3), (1000, 0.999), (7, np.float64(6 / 7))])
def test_decays_may_reach_0_in_spite_of_rounding(factor, b):
    b1, b2 = adam_square_root_rule(factor, 1e-3, b, b, 1e-8)[1:3]
    assert 0 <= b1 == b2 < factor * 3e-16
    with pytest.raises(ValueError, match="factor \\* \\(1 - b1\\) must be finite and at most 1"):
        adam_square_root_rule(factor * (1 + 1e-12), 1e-3, b, b, 1e-8)


FAR = "the arguments are too far apart for floating point"


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: momentum_for(1e20, 0.1, 100, 1000), "noise_scale must be finite and below g without momentum over rounding="),
        (
            lambda: momentum_for(np.array([2.0, 1e20]), 0.1, 100, 1000),
            "noise_scale must be finite and below g without momentum",
        ),
        (lambda: batch_size_for(1e300, 1e-10, 1000), f"the result must be finite and above 0, got 0.0; {FAR}"),
        (lambda: learning_rate_for(5e-324, 1, 1000), f"the result must be finite and above 0, got 0.0; {FAR}"),
        (lambda: temperature(1e308, 1e308), f"the result must be finite, got inf; {FAR}"),
        (lambda: temperature(np.array([1e308]), 1e308), f"the result must be finite, got inf; {FAR}"),
        (lambda: lost_epochs(1e308, 1e-308, 0.9), "batch_size must be finite and at most n_train=1e-308"),
        (lambda: linear_scaling_error(1e308, 1e10, 1e308), "factor * batch_size must be finite and at most n_train=1e+308"),
        (lambda: noise_scale(10**400, 32, 1000), "learning_rate must be finite and above 0, got 1000"),
        (lambda: noise_scale(Fraction(10**400), 32, 1000), "learning_rate must be finite and above 0, got 1000"),
        (lambda: noise_scale(np.float32(1e38), 1, 10**6), f"the result must be finite, got inf; {FAR}"),
        (
            lambda: noise_scale(0.1, np.array([1, 2]), np.array([5, 6, 7])),
            "shapes must broadcast, got batch_size (2,), n_train (3,)",
        ),
    ],
)
def test_what_floating_point_cannot_hold_is_refused_without_a_warning(call, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        call()


@pytest.mark.parametrize(
    "value",
    [np.timedelta64(3, "s"), np.ma.masked_array([1.0, 2.0], [0, 1]), np.ma.masked, np.ones((1, 1)).view(np.matrix), b"1"],
)
def test_what_is_no_number_is_refused(value):
    for i, name in enumerate(("learning_rate", "batch_size", "n_train")):
        arguments = [0.1, 10, 1000]
        arguments[i] = value
        with pytest.raises(TypeError, match=f"^{name} must be a number or an array of numbers, got "):
            noise_scale(*arguments)


def test_half_precision_is_computed_in_double():
    assert noise_scale(np.float16(60000), 1, 1000) == 60000.0 * 999
    np.testing.assert_array_equal(noise_scale(np.array([60000, 0.5], np.float16), 1, 1000), [59940000.0, 499.5])
    np.testing.assert_array_equal(noise_scale(Fraction(1, 2), np.array([1.0, 4.0]), 8), [3.5, 0.5])
