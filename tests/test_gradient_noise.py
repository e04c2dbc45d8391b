"""Measured gradient noise: every minibatch enumerated, unbiased estimators, worked cases, curvature against dense algebra."""

import itertools
import math
import re
from collections import Counter
from fractions import Fraction

import numpy as np
import pytest

from sgdnoise import MLP, LogisticRegression, load_fashion, minibatches, noise_scale
from sgdnoise.gradient_noise import (
    NoiseToSignal,
    curvature_noise_scale,
    gradient_covariance,
    gradient_noise_scale,
    gradient_noise_scale_from_norms,
    minibatch_covariance,
    top_hessian_eigenvalue,
)


def every_minibatch(n, batch_size, replace):
    """Every possible minibatch with its probability; with replacement each multiset stands for all its orders."""
    if not replace:
        draws = list(itertools.combinations(range(n), batch_size))
        return draws, [Fraction(1, len(draws))] * len(draws)
    draws = list(itertools.combinations_with_replacement(range(n), batch_size))
    orders = [math.factorial(batch_size) // math.prod(map(math.factorial, Counter(draw).values())) for draw in draws]
    assert sum(orders) == n**batch_size
    return draws, [Fraction(count, n**batch_size) for count in orders]


@pytest.mark.parametrize("n", [5, 6, 7, 8])
def test_every_minibatch_enumerated(n):
    """Cov of the rescaled summed gradient is N (N/B - 1) F, F of divisor N - 1; with replacement N^2/B F, divisor N."""
    gradients = np.random.default_rng(n).standard_normal((n, 3))
    for batch_size in range(1, n + 1):
        for replace in (False, True):
            draws, weights = every_minibatch(n, batch_size, replace)
            centred = gradients[np.array(draws)].sum(axis=1) * n / batch_size - gradients.sum(axis=0)
            enumerated = centred.T @ (np.array(weights, float)[:, None] * centred)
            F = gradient_covariance(gradients, ddof=0 if replace else 1)
            factor = n**2 / batch_size if replace else n * (n / batch_size - 1)
            scale = np.abs(F).max() * n**2 / batch_size
            np.testing.assert_allclose(enumerated, factor * F, rtol=0, atol=1e-12 * scale)
            # The same through the library's own pieces: N^2 Cov(mean), and N g / eps.
            np.testing.assert_allclose(
                n**2 * minibatch_covariance(F, batch_size, n, replace=replace), enumerated, rtol=0, atol=1e-12 * scale
            )
            assert n * noise_scale(0.5, batch_size, n, replace=replace) / 0.5 == pytest.approx(factor, rel=1e-12, abs=1e-12)


def variance_of_the_mean(gradients, batch_size, replace):
    draws, weights = every_minibatch(len(gradients), batch_size, replace)
    mean = sum(gradients) / len(gradients)
    means = [sum(gradients[i] for i in draw) / batch_size for draw in draws]
    return sum(weight * (m - mean) ** 2 for weight, m in zip(weights, means, strict=True))


@pytest.mark.parametrize("n", [5, 6, 7, 8])
def test_every_minibatch_enumerated_in_rational_arithmetic(n):
    gradients = [Fraction(k) for k in (3, -1, 4, 1, -5, 9, 2, -6)[:n]]
    mean = sum(gradients) / n
    squares = sum((g - mean) ** 2 for g in gradients)
    for batch_size in range(1, n + 1):
        variance = variance_of_the_mean(gradients, batch_size, replace=False)
        assert variance == minibatch_covariance(squares / (n - 1), batch_size, n)
        assert n**2 * variance == n * (Fraction(n, batch_size) - 1) * squares / (n - 1)
        # Negative control: with divisor N the law fails, except where both sides are 0.
        assert (variance == minibatch_covariance(squares / n, batch_size, n)) == (batch_size == n)
        variance = variance_of_the_mean(gradients, batch_size, replace=True)
        assert variance == minibatch_covariance(squares / n, batch_size, n, replace=True)
        assert n**2 * variance == Fraction(n**2, batch_size) * squares / n


def test_every_epoch_enumerated():
    """Two batches of one epoch have covariance -S/N, whichever two, also where B does not divide N."""
    gradients = np.array([3.0, -1, 4, 1, -5])
    S = float(gradient_covariance(gradients[:, None])[0, 0])
    orders = np.array(list(itertools.permutations(gradients - gradients.mean())))
    first, second = orders[:, :2].mean(axis=1), orders[:, 2:4].mean(axis=1)
    assert np.mean(first * second) == pytest.approx(-S / 5, rel=1e-12)
    assert np.mean(first**2) == pytest.approx(minibatch_covariance(S, 2, 5), rel=1e-12)


def test_two_examples_are_enough():
    assert gradient_covariance(np.array([[1.0], [3.0]])) == [[2.0]]
    assert gradient_noise_scale(np.array([[1.0], [3.0]])) == NoiseToSignal(2.0, 3.0)


def test_covariance_agrees_with_numpy():
    gradients = np.random.default_rng(0).standard_normal((50, 4)) @ np.diag([1, 2, 3, 4.0])
    for ddof in (0, 1):
        np.testing.assert_allclose(gradient_covariance(gradients, ddof=ddof), np.cov(gradients.T, ddof=ddof), rtol=1e-12)


def test_minibatch_covariance_broadcasts():
    batch_sizes = np.array([1, 10, 100])
    np.testing.assert_allclose(minibatch_covariance(2.0, batch_sizes, 100), [1.98, 0.18, 0], rtol=1e-12)
    np.testing.assert_allclose(minibatch_covariance(2.0, batch_sizes, 100, replace=True), [2, 0.2, 0.02], rtol=1e-12)
    assert minibatch_covariance(np.eye(2), 10, 100)[1, 1] == pytest.approx(0.09)
    np.testing.assert_allclose(minibatch_covariance(2.0, 0.25, np.array([0.5, 1.0])), [4, 6], rtol=1e-12)
    assert minibatch_covariance(2.0, 20, 10, replace=True) == pytest.approx(0.1)  # drawing with replacement never ends


def test_worked_case():
    estimate = gradient_noise_scale_from_norms(4.0, 1.3, 32, 512)
    assert estimate.noise == pytest.approx(92.16, abs=1e-9)
    assert estimate.signal == pytest.approx(1.12, abs=1e-9)
    assert float(estimate) == pytest.approx(82.29, abs=5e-3)
    assert not estimate.noise_dominates


# Data with known S and G: gradients of normal components.

G, STANDARD_DEVIATIONS = np.array([1.0, -0.5, 0.25]), np.array([1.0, 3.0, 0.5])
TRACE, SQUARED_NORM = float((STANDARD_DEVIATIONS**2).sum()), float(G @ G)


def draw(rng, *shape):
    return G + STANDARD_DEVIATIONS * rng.standard_normal((*shape, 3))


def test_estimates_from_per_example_gradients_are_unbiased():
    """400 independent estimates of 30 gradients each; within 4 standard errors, false-positive rate 6e-5 each.

    Two wrong formulas are rejected by 8 standard errors: |M|^2 uncorrected for noise, and the mean of ratios.
    """
    rng = np.random.default_rng(1)
    estimates = [gradient_noise_scale(draw(rng, 30)) for _ in range(400)]
    noise, signal = np.array([e.noise for e in estimates]), np.array([e.signal for e in estimates])

    def z(values, truth):
        return (values.mean() - truth) / (values.std(ddof=1) / np.sqrt(len(values)))

    assert abs(z(noise, TRACE)) < 4
    assert abs(z(signal, SQUARED_NORM)) < 4
    assert z(signal + noise / 30, SQUARED_NORM) > 8
    # Averaging before dividing recovers the truth; the error of the ratio by the delta method.
    ratio = noise.mean() / signal.mean()
    error = np.std(noise - ratio * signal, ddof=1) / signal.mean() / np.sqrt(400)
    assert abs(ratio - TRACE / SQUARED_NORM) < 4 * error
    # Averaging the ratios does not.
    with np.errstate(divide="ignore"):
        assert abs(np.mean(noise / signal) - TRACE / SQUARED_NORM) > 1


def test_estimates_from_norms_are_within_three_standard_errors_of_the_truth():
    """Many pairs of norms, averaged before dividing; error of the ratio from 20 independent replicas of the whole estimate."""
    rng = np.random.default_rng(2)

    def replica():
        small = (draw(rng, 2000, 8).mean(axis=1) ** 2).sum(axis=1)
        large = (draw(rng, 2000, 64).mean(axis=1) ** 2).sum(axis=1)
        return gradient_noise_scale_from_norms(small, large, 8, 64)

    estimates = np.array([[e.noise, e.signal, float(e)] for e in (replica() for _ in range(20))])
    error = estimates.std(axis=0, ddof=1) / np.sqrt(20)
    assert np.all(np.abs(estimates.mean(axis=0) - [TRACE, SQUARED_NORM, TRACE / SQUARED_NORM]) < 3 * error)


def test_finite_population_without_replacement():
    """tr S stays exact and |G|^2 estimates |G_N|^2 - tr(S)/N: every subset of the population enumerated."""
    population = np.random.default_rng(3).standard_normal((8, 2)) + 0.5
    trace = population.var(axis=0, ddof=1).sum()
    subsets = [gradient_noise_scale(population[list(s)]) for s in itertools.combinations(range(8), 3)]
    assert np.mean([s.noise for s in subsets]) == pytest.approx(trace, rel=1e-12)
    squared_norm = population.mean(axis=0) @ population.mean(axis=0)
    assert np.mean([s.signal for s in subsets]) == pytest.approx(squared_norm - trace / 8, rel=1e-12)
    norms = [[(population[list(s)].mean(axis=0) ** 2).sum() for s in itertools.combinations(range(8), b)] for b in (2, 5)]
    estimate = gradient_noise_scale_from_norms(*map(np.array, norms), 2, 5)
    assert (estimate.noise, estimate.signal) == pytest.approx((trace, squared_norm - trace / 8), rel=1e-12)


def test_single_precision_gradients_are_summed_in_double():
    gradients = (np.random.default_rng(5).standard_normal((500, 3)) + 10).astype(np.float32)
    assert gradient_noise_scale(gradients) == gradient_noise_scale(gradients.astype(float))


def test_the_covariance_of_a_million_gradients_in_single_precision():
    """Sums of 1e6 numbers near 0.1 in float32 make the variance a third too large."""
    gradients = (0.1 + 1e-3 * np.random.default_rng(0).standard_normal((10**6, 2))).astype(np.float32)
    first, second = gradients.T.astype(float)
    expected = [[np.cov(a, b)[0, 1] for b in (first, second)] for a in (first, second)]
    np.testing.assert_allclose(gradient_covariance(gradients), expected, rtol=1e-9)
    assert gradient_covariance(gradients)[0, 0] == pytest.approx(9.994e-7, rel=1e-4)


@pytest.mark.parametrize(("offset", "size"), [(4096.0, 1.0), (3e37, 2.0**100), (0.0, 2.0**-120)])
@pytest.mark.parametrize("ddof", [0, 1])
def test_the_covariance_in_single_precision_of_signs_is_known_exactly(offset, size, ddof):
    """Columns +s and -s by turns, of squares that float32 cannot hold, in blocks that do not divide the number of rows."""
    n, sign = 700_002, np.tile([1.0, -1.0], 350_001)
    gradients = np.stack([offset + size * sign, -2 * size * sign], axis=1).astype(np.float32)
    exact = n / (n - ddof) * size**2 * np.array([[1.0, -2.0], [-2.0, 4.0]])
    np.testing.assert_allclose(gradient_covariance(gradients, ddof=ddof), exact, rtol=1e-6)


def test_the_covariance_of_many_parameters_in_single_precision():
    """More rows than are converted at a time; numpy.cov in float64 beside it."""
    gradients = (np.random.default_rng(7).standard_normal((1500, 1100)) + 30).astype(np.float32)
    some = [0, 17, 1099]
    covariance = gradient_covariance(gradients)
    assert covariance.dtype == np.float64
    np.testing.assert_allclose(covariance[np.ix_(some, some)], np.cov(gradients[:, some].astype(float).T), rtol=1e-11)


@pytest.mark.parametrize("offset", [300.0, 2.0**83])
def test_the_curvature_noise_scale_in_single_precision(offset):
    """Gradients offset +- size along the axes by turns, and H = diag(2, 3): tr(H S) = 5 size^2 n/(n - 1)."""
    n, seen = 3000, set()
    size, sign = offset / 1024, np.tile([1.0, -1.0], n // 2)
    gradients = (offset + size * np.stack([sign, sign], axis=1)).astype(np.float32)

    def product(v):
        seen.add(v.dtype)
        return np.array([2.0, 3.0], v.dtype) * v

    estimate = curvature_noise_scale(gradients, product)
    assert estimate.noise == pytest.approx(5 * size**2 * n / (n - 1), rel=1e-6)
    assert estimate.signal == pytest.approx(5 * offset**2 - estimate.noise / n, rel=1e-6)
    assert seen == {np.dtype(np.float32)}


@pytest.mark.parametrize(("dtype", "value"), [(np.float16, 60_000), (np.float32, 3e38), (np.float64, 3e38)])
def test_norms_of_any_precision_are_averaged_in_double(dtype, value):
    norms = np.full(2000, value, dtype)
    norms[::2] = 0
    estimate = gradient_noise_scale_from_norms(norms, np.zeros(3, dtype), 2, 4)
    assert estimate.noise == pytest.approx(float(norms[1]) / 2 / (1 / 2 - 1 / 4), rel=1e-12)


def test_the_mean_of_many_norms_in_half_precision():
    norms = np.random.default_rng(0).uniform(1, 2, 10**5).astype(np.float16)
    exact = float(sum(map(Fraction, norms.astype(float).tolist())) / len(norms))
    assert gradient_noise_scale_from_norms(norms, 0.0, 1, 2).noise == pytest.approx(2 * exact, rel=1e-12)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: gradient_noise_scale_from_norms(1e308, 1e308, 32, 512), "signal must be finite, got nan"),
        (lambda: gradient_noise_scale_from_norms(1e308, 0.0, 2, 3), "noise must be finite, got inf"),
        (lambda: gradient_noise_scale_from_norms(np.full(2, 1.7e308), 1.0, 2, 4), "noise must be finite, got inf"),
        (lambda: gradient_noise_scale_from_norms(2.0, 1.0, 2**62, 2**62 + 1), "noise must be finite, got nan"),
        (lambda: gradient_noise_scale(np.array([[1e200], [-1e200]])), "noise must be finite, got inf"),
        (lambda: gradient_covariance(np.array([[1e200], [-1e200]])), "the result must be finite, got inf"),
        (lambda: minibatch_covariance(1e300, 1.0, 1e20), "the result must be finite, got inf"),
        (lambda: curvature_noise_scale(np.eye(2), lambda v: v * np.nan), "noise must be finite, got nan"),
        (
            lambda: curvature_noise_scale(np.eye(2), lambda v: v[:1]),
            "hessian_vector_product(v) must be a float32 or float64 array of shape (2,), got shape (1,)",
        ),
    ],
)
def test_what_is_not_finite_or_has_another_shape_is_refused(call, message):
    with pytest.raises(ValueError, match="^" + re.escape(message)):
        call()


def test_where_noise_dominates_it_says_so():
    noisy = gradient_noise_scale(np.array([[1.0], [-1.0], [0.1]]))
    assert noisy.signal < 0
    assert noisy.noise_dominates
    assert noisy.batch_size == float("inf")
    assert str(noisy) == "noise dominates: signal -0.3333 is not above 0 (noise 1.003); average over more measurements"
    assert gradient_noise_scale_from_norms(1.0, 0.1, 2, 4).noise_dominates
    backwards = gradient_noise_scale_from_norms(1.0, 1.5, 2, 4)
    assert backwards.noise < 0
    assert np.isnan(backwards.batch_size)
    assert str(backwards) == "noise not resolved: -2 is below 0 (signal 2); average over more measurements"
    assert NoiseToSignal(0.0, 1.0).batch_size == 0  # all gradients equal: no noise, and no doubt
    assert str(NoiseToSignal(0.5, 1.0)) == "batch size 0.5 (noise 0.5 over signal 1)"
    assert str(NoiseToSignal(0.0, 1.0)) == "batch size 0 (noise 0 over signal 1)"
    assert NoiseToSignal(0.5, 0.0).batch_size == float("inf")
    assert NoiseToSignal(0.0, 1.0).noise_dominates is False
    nothing = gradient_noise_scale(np.zeros((3, 2)))
    assert not nothing.noise_dominates
    assert np.isnan(nothing.batch_size)
    assert str(nothing) == "neither noise nor signal: the gradients are all 0 (signal 0)"


def test_curvature_noise_scale_by_enumeration():
    """Every ordered sample of 3 of 5 gradients, with replacement: exactly unbiased for tr(H Sigma) and G'HG."""
    rng = np.random.default_rng(4)
    population = rng.standard_normal((5, 2)) + np.array([1.0, 0.0])
    H = np.array([[2.0, 0.7], [0.7, 1.0]])
    estimates = [curvature_noise_scale(population[list(s)], lambda v: H @ v) for s in itertools.product(range(5), repeat=3)]
    sigma, mean = gradient_covariance(population, ddof=0), population.mean(axis=0)
    assert np.mean([e.noise for e in estimates]) == pytest.approx(np.trace(H @ sigma), rel=1e-12)
    assert np.mean([e.signal for e in estimates]) == pytest.approx(mean @ H @ mean, rel=1e-12)


def test_best_step_on_a_quadratic_has_b_noise_in_it():
    """The gain of one step, eps G'G - eps^2/2 (G'HG + tr(HS)/B), maximised by hand over a grid of eps."""
    H, S = np.diag([1.0, 4.0]), np.diag([2.0, 0.5])
    g, batch_size = np.array([1.0, 0.5]), 3
    eps = np.linspace(1e-4, 2, 200_001)
    gain = eps * (g @ g) - eps**2 / 2 * (g @ H @ g + np.trace(H @ S) / batch_size)
    b_noise = NoiseToSignal(np.trace(H @ S), g @ H @ g).batch_size
    expected = (g @ g) / (g @ H @ g) / (1 + b_noise / batch_size)
    assert eps[gain.argmax()] == pytest.approx(expected, abs=2e-5)


# Curvature.


@pytest.mark.parametrize("model", [LogisticRegression(4, 3), MLP(4, (5,), 3), MLP(4, (5, 4), 3, "tanh")])
@pytest.mark.parametrize("l2", [0.0, 0.1])
def test_top_eigenvalue_agrees_with_dense_algebra(model, l2):
    rng = np.random.default_rng(5)
    params, X, y = model.init(rng), rng.standard_normal((30, 4)), rng.integers(3, size=30)
    hessian = np.array([model.hessian_vector_product(params, e, X, y, l2) for e in np.eye(model.n_params)])
    top = np.linalg.eigvalsh(hessian)[-1]
    assert top_hessian_eigenvalue(model, params, X, y, l2=l2) == pytest.approx(top, rel=1e-6)
    single = params.astype(np.float32), X.astype(np.float32)
    double = [array.astype(float) for array in single]
    assert top_hessian_eigenvalue(model, *single, y, l2=l2) == top_hessian_eigenvalue(model, *double, y, l2=l2)
    assert top_hessian_eigenvalue(model, params.astype(np.float32), X, y, l2=l2) == pytest.approx(top, rel=1e-3)


def test_top_eigenvalue_converges_in_a_crowded_spectrum():
    # Isotropic data: the largest eigenvalues of logistic regression are those of X'X, and close to each other.
    model, rng = LogisticRegression(150), np.random.default_rng(6)
    params, X, y = np.zeros(model.n_params), rng.standard_normal((300, 150)), rng.integers(2, size=300)
    hessian = np.array([model.hessian_vector_product(params, e, X, y) for e in np.eye(model.n_params)])
    assert top_hessian_eigenvalue(model, params, X, y) == pytest.approx(np.linalg.eigvalsh(hessian)[-1], rel=1e-9)


def test_top_eigenvalue_is_the_largest_and_not_the_largest_in_absolute_value():
    """A saddle: far from the data's labels the tanh network's Hessian has a negative eigenvalue larger in absolute value."""
    model = MLP(2, (3,), 2, "tanh")
    for seed in range(200):
        rng = np.random.default_rng(seed)
        params, X, y = 2 * rng.standard_normal(model.n_params), rng.standard_normal((3, 2)), rng.integers(2, size=3)
        hessian = np.array([model.hessian_vector_product(params, e, X, y) for e in np.eye(model.n_params)])
        spectrum = np.linalg.eigvalsh(hessian)
        if -spectrum[0] > 1.5 * spectrum[-1] > 0.1:
            break
    assert -spectrum[0] > 1.5 * spectrum[-1]
    assert top_hessian_eigenvalue(model, params, X, y) == pytest.approx(spectrum[-1], rel=1e-6)


def test_top_eigenvalue_of_the_default_network_is_the_same_every_time():
    data, model = load_fashion(500), MLP(196, (128,), 10)
    params = model.init(0, np.float32)
    values = [top_hessian_eigenvalue(model, params, data.X_train, data.y_train) for _ in range(2)]
    assert values[0] == values[1] > 1
    # Along the gradient the curvature is lower.
    v = model.gradient(params, data.X_train, data.y_train)
    v /= np.linalg.norm(v)
    assert v @ model.hessian_vector_product(params, v, data.X_train, data.y_train) < values[0]


def test_the_law_holds_for_the_real_network():
    """Minibatch gradients of an MLP on the bundled data: trace of their covariance within 5 standard errors (6e-7)."""
    data, model = load_fashion(200), MLP(196, (16,), 10)
    params = model.init(0)
    X, y = data.X_train.astype(float), data.y_train
    gradients = model.per_example_gradients(params, X, y)
    trace = gradients.var(axis=0, ddof=1).sum()
    full, rng = model.gradient(params, X, y), np.random.default_rng(0)
    batches = [minibatches(200, 50, rng=rng)[0] for _ in range(600)]
    squares = np.array([((model.gradient(params, X[b], y[b]) - full) ** 2).sum() for b in batches])
    error = squares.std(ddof=1) / np.sqrt(600)
    assert abs(squares.mean() - minibatch_covariance(trace, 50, 200)) < 5 * error
    # Negative control: without the -1 the law is a third too high.
    assert abs(squares.mean() - minibatch_covariance(trace, 50, 200, replace=True)) > 20 * error


GRADIENTS = np.ones((3, 2))


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (
            lambda: gradient_covariance(GRADIENTS[:1]),
            ValueError,
            "per_example_gradients must have at least 2 rows, got 1; one example has no covariance",
        ),
        (
            lambda: gradient_covariance(GRADIENTS[0]),
            ValueError,
            "per_example_gradients must be a float32 or float64 array of shape (n_examples, n_params), got shape (2,)",
        ),
        (
            lambda: gradient_covariance([[1.0]]),
            TypeError,
            "per_example_gradients must be a float32 or float64 array of shape (n_examples, n_params), got [[1.0]] of type list",
        ),
        (
            lambda: gradient_covariance(np.full((3, 2), np.nan)),
            ValueError,
            "per_example_gradients must be finite, got 6 values that are NaN or infinite",
        ),
        (lambda: gradient_covariance(GRADIENTS, ddof=2), ValueError, "ddof must be an integer from 0 to 1, got 2"),
        (
            lambda: gradient_covariance(GRADIENTS, ddof=True),
            TypeError,
            "ddof must be an integer from 0 to 1, got True of type bool",
        ),
        (
            lambda: minibatch_covariance(1.0, 20, 10),
            ValueError,
            "batch_size must be finite and above 0 and at most n_train=10, got 20",
        ),
        (
            lambda: minibatch_covariance(1.0, 0, 10),
            ValueError,
            "batch_size must be finite and above 0 and at most n_train=10, got 0",
        ),
        (
            lambda: top_hessian_eigenvalue(LogisticRegression(2), np.zeros((6, 1)), np.zeros((2, 2)), np.zeros(2, int)),
            ValueError,
            "params must be a float32 or float64 array of shape (n_params,), got shape (6, 1)",
        ),
        (
            lambda: top_hessian_eigenvalue(LogisticRegression(2), np.zeros(6), np.zeros(2), np.zeros(2, int)),
            ValueError,
            "X must be a float32 or float64 array of shape (n, n_features), got shape (2,)",
        ),
        (lambda: minibatch_covariance(1.0, 2, 0), ValueError, "n_train must be finite and above 0, got 0"),
        (
            lambda: minibatch_covariance(1.0, 2, True),
            TypeError,
            "n_train must be a number or an array of numbers, got True of type bool",
        ),
        (
            lambda: gradient_noise_scale_from_norms(1.0, 1.0, 0, 32),
            ValueError,
            "small_batch_size must be an integer, at least 1, got 0",
        ),
        (
            lambda: top_hessian_eigenvalue(LogisticRegression(2), np.zeros(6), np.full((2, 2), np.nan), np.zeros(2, int)),
            ValueError,
            "X must be finite, got 4 values that are NaN or infinite",
        ),
        (lambda: minibatch_covariance(float("nan"), 2, 10), ValueError, "covariance must be finite, got nan"),
        (lambda: minibatch_covariance(1.0, 2, 10, replace=1), TypeError, "replace must be True or False, got 1 of type int"),
        (
            lambda: gradient_noise_scale(GRADIENTS[:1]),
            ValueError,
            "per_example_gradients must have at least 2 rows, got 1; one example has no covariance",
        ),
        (
            lambda: gradient_noise_scale_from_norms(1.0, 1.0, 32, 32),
            ValueError,
            "large_batch_size must be an integer, at least 33, got 32; it must be above small_batch_size",
        ),
        (
            lambda: gradient_noise_scale_from_norms(-1.0, 1.0, 2, 3),
            ValueError,
            "small_squared_norms must be finite and at least 0, got -1.0",
        ),
        (
            lambda: gradient_noise_scale_from_norms(np.zeros(0), 1.0, 2, 3),
            ValueError,
            "small_squared_norms must hold at least one squared norm, got none",
        ),
        (
            lambda: gradient_noise_scale_from_norms(1.0, float("inf"), 2, 3),
            ValueError,
            "large_squared_norms must be finite and at least 0, got inf",
        ),
        (
            lambda: curvature_noise_scale(GRADIENTS[:1], lambda v: v),
            ValueError,
            "per_example_gradients must have at least 2 rows, got 1; one example has no covariance",
        ),
        (
            lambda: top_hessian_eigenvalue(LogisticRegression(2), np.zeros(3), np.zeros((2, 2)), np.zeros(2, int)),
            ValueError,
            "params must be a float32 or float64 array of shape (6,), got shape (3,)",
        ),
        (
            lambda: top_hessian_eigenvalue(LogisticRegression(2), np.zeros(6), np.zeros((2, 2)), np.zeros(2, int), l2=-1.0),
            ValueError,
            "l2 must be finite and at least 0, got -1.0",
        ),
        (
            lambda: top_hessian_eigenvalue(LogisticRegression(2), np.full(6, np.inf), np.zeros((2, 2)), np.zeros(2, int)),
            ValueError,
            "params must be finite, got 6 values that are NaN or infinite",
        ),
    ],
)
def test_bad_input_is_refused_by_name(call, error, message):
    with pytest.raises(error) as caught:
        call()
    assert str(caught.value) == message


def eigenvalue(matrix):
    """Of a model whose Hessian is this matrix."""

    class Bowl:
        def hessian_vector_product(self, params, v, X, y, l2=0.0):
            return matrix @ v

    n = len(matrix)
    return top_hessian_eigenvalue(Bowl(), np.zeros(n), np.ones((1, 1)), np.zeros(1, int))


def test_the_eigenvalue_of_a_saturated_model_is_0():
    X, y, params = np.array([[1.0], [-1.0]]), np.array([0, 1]), np.array([1000.0, -1000, 0, 0])
    assert top_hessian_eigenvalue(LogisticRegression(1), params, X, y) == 0.0
    assert top_hessian_eigenvalue(LogisticRegression(1), params, X, y, l2=0.25) == pytest.approx(0.25, rel=1e-6)


@pytest.mark.parametrize("n", [1, 2, 3, 40])
@pytest.mark.parametrize("scale", [0.0, 1e-290, 1e-120, 1e-5, 1.0, 1e120])
def test_eigenvalues_of_any_size_and_in_any_dimension(n, scale):
    rotation = np.linalg.qr(np.random.default_rng(n).standard_normal((n, n)))[0]
    values = np.linspace(-2, 3, n) if n > 1 else np.array([3.0])
    matrix = scale * (rotation * values) @ rotation.T
    assert eigenvalue((matrix + matrix.T) / 2) == pytest.approx(3 * scale, rel=1e-6, abs=0)


def test_the_largest_eigenvalue_may_be_negative_or_degenerate():
    assert eigenvalue(-np.diag([1.0, 2.0, 4.0])) == pytest.approx(-1, rel=1e-6)
    assert eigenvalue(np.eye(5)) == pytest.approx(1, rel=1e-6)
    assert eigenvalue(np.diag([0.0, 0.0, 0.0, -1.0])) == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize(
    ("product", "error", "message"),
    [
        (lambda v: v * np.nan, ValueError, "the largest eigenvalue must be finite, got nan; the Hessian is not finite there"),
        (
            lambda v: v[:1],
            ValueError,
            "model.hessian_vector_product(...) must be a float32 or float64 array of shape (4,), got shape",
        ),
        (
            lambda v: None,
            TypeError,
            "model.hessian_vector_product(...) must be a float32 or float64 array of shape (4,), got None",
        ),
    ],
)
def test_products_of_another_kind_are_refused(product, error, message):
    class Model:
        def hessian_vector_product(self, params, v, X, y, l2=0.0):
            return product(v)

    with pytest.raises(error, match="^" + re.escape(message)):
        top_hessian_eigenvalue(Model(), np.zeros(4), np.ones((1, 1)), np.zeros(1, int))
    with pytest.raises(TypeError, match=r"^model must be an object with hessian_vector_product, got 0.5 of type float; an MLP"):
        top_hessian_eigenvalue(0.5, np.zeros(4), np.ones((1, 1)), np.zeros(1, int))
