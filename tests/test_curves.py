"""Exact training curves: against enumeration of all minibatches, the covariance of all noise at once, and simulated runs.

The oracles derive nothing from the matrices of the module: they run `sgd`, minibatch by minibatch, or on unit impulses.
"""

import re
from fractions import Fraction
from itertools import combinations, pairwise, permutations, product

import numpy as np
import pytest
from scipy import linalg

from sgdnoise import Schedule, Stage, cosine_decay, curves, grow_batch, minibatches, noise_scale, sgd, stationary, step_decay
from sgdnoise.curves import ema_variance_ratio, excess_at_rest, linear_regression, quadratic
from sgdnoise.optimizers import SgdState

OPTIMIZERS = [(0.0, False), (0.7, False), (0.7, True)]
IDS = ["sgd", "heavy ball", "nesterov"]
SAMPLINGS = ["without_replacement", "reshuffle", "with_replacement"]
each_optimizer = pytest.mark.parametrize(("momentum", "nesterov"), OPTIMIZERS, ids=IDS)


def enumerated(schedule, n_train, gradient, loss, start, momentum, nesterov, sampling="without_replacement"):
    """Mean loss at the start and after each epoch, over all sequences of minibatches; they are equally likely."""
    optimizer = sgd(momentum, nesterov)
    params = np.array([start], dtype=float)
    state, losses = optimizer.init(params), [loss(params).mean()]
    for stage in schedule:
        size, per_epoch = stage.batch_size, n_train // stage.batch_size
        rates = iter(stage.learning_rates(stage.n_epochs * per_epoch).tolist())
        if sampling == "reshuffle":
            options = np.array(list(permutations(range(n_train))))[:, : per_epoch * size].reshape(-1, per_epoch, size)
        elif sampling == "with_replacement":
            options = np.array(list(product(range(n_train), repeat=size)))[:, None]
        else:
            options = np.array(list(combinations(range(n_train), size)))[:, None]
        for _ in range(stage.n_epochs):
            for _ in range(per_epoch // options.shape[1]):
                batches = np.tile(options, (len(params), 1, 1))
                params, trace = (np.repeat(part, len(options), axis=0) for part in (params, state.trace))
                state = SgdState(trace)
                for batch in batches.swapaxes(0, 1):
                    step, state = optimizer.update(gradient(params, batch), state, next(rates))
                    params = params + step
            losses.append(loss(params).mean())
    return np.array(losses)


def at_once(schedule, n_train, h, variance, start, momentum, nesterov, sampling):
    """The curve of one direction from the covariance of all noise at once: how each update's noise, a unit impulse, is felt."""
    sizes = np.concatenate([np.full(s.n_epochs * (n_train // s.batch_size), s.batch_size) for s in schedule])
    rates = np.concatenate([s.learning_rates(s.n_epochs * (n_train // s.batch_size)) for s in schedule]).tolist()
    ends = np.cumsum([0, *(n_train // s.batch_size for s in schedule for _ in range(s.n_epochs))])
    together = np.zeros((len(sizes), len(sizes)))
    if sampling == "reshuffle":
        for begin, end in pairwise(ends):
            together[begin:end, begin:end] = -variance / n_train
        together[np.diag_indices(len(sizes))] += variance / sizes
    else:
        alone = (1 / sizes - 1 / n_train) if sampling == "without_replacement" else (1 - 1 / n_train) / sizes
        together[np.diag_indices(len(sizes))] = variance * alone
    # The last column is the start, with no noise; a gradient is h w plus its own impulse.
    optimizer = sgd(momentum, nesterov)
    params = np.append(np.zeros(len(sizes)), start)
    state, losses = optimizer.init(params), [h * start**2 / 2]
    for t, rate in enumerate(rates):
        gradient = h * params
        gradient[t] += 1
        step, state = optimizer.update(gradient, state, rate)
        params = params + step
        if t + 1 in ends:
            losses.append(h * (params[-1] ** 2 + params[:-1] @ together @ params[:-1]) / 2)
    return np.array(losses)


# On a quadratic.


@pytest.mark.parametrize(
    ("momentum", "expected"),
    [(0.0, 0.0609963749), (0.9, 0.1748225558)],
)
def test_check_values_of_one_epoch(momentum, expected):
    curve = quadratic(Schedule([Stage(1, 0.1, 100)]), 1000, 1.0, 1.0, 1.0, momentum=momentum)
    assert curve.tolist() == pytest.approx([0.5, expected], abs=1e-10)


@pytest.mark.parametrize(
    ("momentum", "expected"),
    [
        (0.0, {0.01: 0.0011, 0.1: 0.0020, 0.3: 0.016, 0.5: 0.0097, 1.0: 0.0262}),
        (0.9, {0.01: 0.0009, 0.1: 0.0015, 0.3: 0.081, 0.5: 0.0312, 1.0: 0.0313}),
    ],
)
def test_check_values_of_growth_against_decay(momentum, expected):
    """Their largest distance after the first step, in units of the constant schedule's; worked out elsewhere."""
    h = 1 / np.arange(1, 1001)
    for effective, distance in expected.items():
        decay = step_decay(effective * (1 - momentum), 128, milestones=(12, 24, 32), n_epochs=40, factor=5)
        schedules = decay, grow_batch(decay), Schedule([Stage(40, effective * (1 - momentum), 128)])
        decaying, growing, constant = (quadratic(s, 50_000, h, h, 1.0, momentum=momentum)[13:] for s in schedules)
        found = np.abs(growing - decaying).max() / np.abs(constant - decaying).max()
        assert found == pytest.approx(distance, abs=0.51 * 10.0 ** -(4 if distance not in (0.016, 0.081) else 3))


def additive(n_train):
    """Three directions whose examples' gradients are h w and a constant of their own."""
    h, start = np.array([0.4, 1.0, 1.9]), np.array([1.0, -0.5, 2.0])
    shifts = np.random.default_rng(n_train).normal(size=(n_train, 3)) * [1.0, 2.0, 0.5]
    shifts -= shifts.mean(axis=0)

    def gradient(params, batch):
        return params * h + shifts[batch].mean(axis=1)

    def loss(params):
        return params**2 @ h / 2

    return h, shifts.var(axis=0, ddof=1), start, gradient, loss


GROWING = Schedule([Stage(1, 0.3, 1, 0.1), Stage(1, 0.4, 2), Stage(1, 0.2, 3, 0.5)])


@each_optimizer
@pytest.mark.parametrize("sampling", SAMPLINGS)
def test_quadratic_is_the_mean_over_all_minibatches(sampling, momentum, nesterov):
    """A batch that grows, of which the last does not divide N, and rates that move up and down and jump."""
    schedule = GROWING if sampling != "with_replacement" else Schedule([Stage(1, 0.3, 2, 0.1), Stage(1, 0.4, 3)])
    h, variance, start, gradient, loss = additive(4)
    exact = enumerated(schedule, 4, gradient, loss, start, momentum, nesterov, sampling)
    curve = quadratic(schedule, 4, h, variance, start, momentum=momentum, nesterov=nesterov, sampling=sampling)
    np.testing.assert_allclose(curve, exact, rtol=1e-12)
    for other in {*SAMPLINGS} - {sampling}:
        wrong = quadratic(schedule, 4, h, variance, start, momentum=momentum, nesterov=nesterov, sampling=other)
        assert np.abs(wrong / exact - 1).max() > 0.01


@each_optimizer
@pytest.mark.parametrize("sampling", SAMPLINGS)
def test_quadratic_is_the_covariance_of_all_noise_at_once(sampling, momentum, nesterov):
    """Epochs of 23, 11, 5 and 5 updates, at rates that are constant, fall, rise and are past the limit of stability."""
    schedule = Schedule([Stage(3, 0.2, 2), Stage(2, 0.2, 4, 0.0), Stage(2, 0.0, 9, 0.3), Stage(1, 3.0, 9)])
    h, variance, start = np.array([0.01, 0.3, 1.0, 2.5]), np.array([1.0, 0.0, 3.0, 0.2]), np.array([0.0, 1.0, -1.0, 0.5])
    settings = {"momentum": momentum, "nesterov": nesterov, "sampling": sampling}
    numbers = list(zip(h, variance, start, strict=True))
    expected = np.array([at_once(schedule, 47, *three, **settings) for three in numbers])
    for three, curve in zip(numbers, expected, strict=True):
        np.testing.assert_allclose(quadratic(schedule, 47, *three, **settings), curve, rtol=1e-11)
    np.testing.assert_allclose(quadratic(schedule, 47, h, variance, start, **settings), expected.sum(axis=0), rtol=1e-11)


@pytest.mark.parametrize("final", [None, 0.125 * (1 + 1e-15)])
def test_reshuffled_noise_that_almost_cancels(final):
    """n l h = 8e-6, where sums of squares, one less the other, would leave nothing; in rational arithmetic."""
    h, rate, n = Fraction(1, 10**6), Fraction(1, 8), 64
    powers = [(1 - rate * h) ** j for j in range(n)]
    exact = h / 2 * rate**2 * (sum(a**2 for a in powers) / 4 - sum(powers) ** 2 / 256)
    found = quadratic(Schedule([Stage(1, 0.125, 4, final)]), 256, h, 1, 0, sampling="reshuffle")[1]
    assert found == pytest.approx(float(exact), rel=1e-8)


def test_where_a_block_of_updates_ends_makes_no_difference(monkeypatch):
    schedule = cosine_decay(0.3, 3, n_epochs=3)
    h = np.array([0.1, 0.5, 2.0])
    whole = quadratic(schedule, 100, h, h, 1.0, momentum=0.8)
    for size in (1, 8, 12, 50):
        monkeypatch.setattr(curves, "_BLOCK", size)
        np.testing.assert_allclose(quadratic(schedule, 100, h, h, 1.0, momentum=0.8), whole, rtol=1e-12)


@each_optimizer
def test_a_long_stage_ends_at_the_stationary_law(momentum, nesterov):
    schedule = Schedule([Stage(3, 0.3, 5), Stage(60, 0.3, 20)])
    curve = quadratic(schedule, 1000, 1.3, 2.0, 5.0, momentum=momentum, nesterov=nesterov)
    rest = stationary.sgd_covariance(1.3, (1 / 20 - 1 / 1000) * 2.0, 0.3, momentum=momentum, nesterov=nesterov)
    assert curve[-1] == pytest.approx(1.3 * rest / 2, rel=1e-12)
    assert curve[3] != pytest.approx(curve[-1], rel=0.5)


@each_optimizer
@pytest.mark.parametrize("n_train", [100, 107])
def test_reshuffled_epochs_end_at_their_stationary_law(n_train, momentum, nesterov):
    """Whether or not B divides N; independent batches would leave twice as much or more."""
    settings = {"momentum": momentum, "nesterov": nesterov}
    schedule = Schedule([Stage(400, 0.05, 10)])
    found = quadratic(schedule, n_train, 1.3, 2.0, 0.0, sampling="reshuffle", **settings)[-1]
    rest = stationary.reshuffled_covariance(1.3, 2.0, 0.05, 10, n_train, **settings)
    assert found == pytest.approx(1.3 * rest / 2, rel=1e-11)
    assert quadratic(schedule, n_train, 1.3, 2.0, 0.0, **settings)[-1] > 2 * found


def test_numbers_arrays_and_what_they_are_summed_over():
    schedule = Schedule([Stage(2, 0.1, 10)])
    h = np.array([1, 2])
    both = quadratic(schedule, 100, h, 0.5, 1)
    assert both.shape == (3,)
    assert both.dtype == float
    apart = [quadratic(schedule, 100, each, Fraction(1, 2), 1.0) for each in (1, 2)]
    np.testing.assert_allclose(both, sum(apart), rtol=1e-15)
    np.testing.assert_allclose(quadratic(schedule, 100, h[:, None], np.full((1, 3), 0.5, "f4"), 1.0), 3 * both, rtol=1e-14)


# On linear regression.


def regression(n_train, n_features, spread=1.0, seed=0):
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n_train, n_features)) * np.geomspace(1, 0.4, n_features)
    y = X @ rng.normal(size=n_features) + spread * rng.normal(size=n_train)
    return X, y


def of_examples(X, y):
    """Gradient of a minibatch and excess loss, for many parameters at once."""
    least = np.mean((X @ np.linalg.lstsq(X, y)[0] - y) ** 2) / 2

    def gradient(params, batch):
        errors = np.einsum("rbi,ri->rb", X[batch], params) - y[batch]
        return np.einsum("rb,rbi->ri", errors, X[batch]) / batch.shape[1]

    def excess(params):
        return np.mean((params @ X.T - y) ** 2, axis=1) / 2 - least

    return gradient, excess


@each_optimizer
@pytest.mark.parametrize(
    ("shape", "spread"), [((4, 2), 1.0), ((4, 2), 0.0), ((3, 5), 1.0), ((4, 1), 1.0)], ids=["noisy", "solvable", "wide", "one"]
)
def test_linear_regression_is_the_mean_over_all_minibatches(shape, spread, momentum, nesterov):
    X, y = regression(*shape, spread)
    start = np.arange(shape[1]) - 0.5
    schedule = GROWING if shape[0] == 4 else Schedule([Stage(1, 0.3, 1, 0.1), Stage(1, 0.2, 2), Stage(1, 0.2, 3)])
    exact = enumerated(schedule, len(X), *of_examples(X, y), start, momentum, nesterov)
    curve = linear_regression(schedule, X, y, start, momentum=momentum, nesterov=nesterov)
    np.testing.assert_allclose(curve, exact, rtol=1e-11, atol=1e-13)


def test_collinear_features_and_none_at_all():
    X, y = regression(4, 2)
    twice = np.column_stack([X, X[:, 0] - 2 * X[:, 1]])
    start = np.array([1.0, 0.0, -1.0])
    exact = enumerated(GROWING, 4, *of_examples(twice, y), start, 0.7, False)
    np.testing.assert_allclose(linear_regression(GROWING, twice, y, start, momentum=0.7), exact, rtol=1e-11)
    assert linear_regression(GROWING, np.zeros((4, 2)), y, start[:2], momentum=0.7).tolist() == [0.0] * 4


def test_one_example_has_no_noise():
    curve = linear_regression(Schedule([Stage(2, 0.1, 1)]), np.ones((1, 2)), np.ones(1), np.ones(2))
    np.testing.assert_allclose(curve, [0.5, 0.5 * 0.8**2, 0.5 * 0.8**4], rtol=1e-14)


@each_optimizer
def test_with_a_constant_alone_the_noise_is_additive(momentum, nesterov):
    """The mean of y: gradients w - y_i differ by constants, so that both functions give the same."""
    y = np.random.default_rng(3).normal(size=57)
    schedule = Schedule([Stage(3, 0.2, 2), Stage(2, 0.1, 5, 0.7), Stage(2, 0.3, 19)])
    found = linear_regression(schedule, np.ones((57, 1)), y, np.array([2.0]), momentum=momentum, nesterov=nesterov)
    expected = quadratic(schedule, 57, 1.0, y.var(ddof=1), 2.0 - y.mean(), momentum=momentum, nesterov=nesterov)
    np.testing.assert_allclose(found, expected, rtol=1e-12)


def at_minimum(X, y):
    """Curvatures, variances of the examples' gradients at the minimum, and the axes, for the law of additive noise."""
    h, axes = np.linalg.eigh(X.T @ X / len(X))
    solution = np.linalg.lstsq(X, y)[0]
    gradients = X * (X @ solution - y)[:, None]
    return h, (gradients @ axes).var(axis=0, ddof=1), axes.T @ (0 - solution)


@each_optimizer
def test_linear_regression_is_the_mean_of_simulated_runs(momentum, nesterov):
    """4000 runs. Of these 24 comparisons, by chance, one passes 3 standard errors at one seed in 16, one passes 5 at 1 in 70,000.

    The law of additive noise, with the covariance at the minimum, is rejected.
    """
    X, y = regression(60, 4, 0.5)
    schedule = Schedule(
        [Stage(2, 0.2 * (1 - momentum), 3), Stage(3, 0.2 * (1 - momentum), 12), Stage(3, 0.1 * (1 - momentum), 30)]
    )
    optimizer, rng = sgd(momentum, nesterov), np.random.default_rng(2)
    gradient, excess = of_examples(X, y)
    params = np.zeros((4000, 4))
    state, losses = optimizer.init(params), []
    for stage in schedule:
        for _ in range(stage.n_epochs):
            batches = minibatches(60, stage.batch_size, sampling="without_replacement", n_chains=4000, rng=rng)
            for batch in batches:
                step, state = optimizer.update(gradient(params, batch), state, stage.learning_rate)
                params = params + step
            losses.append(excess(params))
    means, errors = np.mean(losses, axis=1), np.std(losses, axis=1, ddof=1) / 4000**0.5
    curve = linear_regression(schedule, X, y, np.zeros(4), momentum=momentum, nesterov=nesterov)
    assert np.abs((curve[1:] - means) / errors).max() < 3
    additive = quadratic(schedule, 60, *at_minimum(X, y), momentum=momentum, nesterov=nesterov)
    assert additive[0] == pytest.approx(curve[0], rel=1e-12)
    assert np.abs((additive[1:] - means) / errors).max() > 10


def test_growth_deviates_from_decay_in_the_first_order_of_the_learning_rate():
    """SGD, eps/B fixed, N/B exact: eps h_max from .1 through four halvings, at which the deviation halves."""
    X, y = regression(768, 3, 1.0)
    X = X / np.sqrt(np.linalg.eigvalsh(X.T @ X / 768)[-1])
    deviations = []
    for size in (16, 8, 4, 2, 1):
        decay = step_decay(0.1 * size / 16, size, milestones=(2,), n_epochs=4, factor=3)
        constant = Schedule([Stage(4, 0.1 * size / 16, size)])
        decaying, growing, held = (linear_regression(s, X, y, np.zeros(3))[3:] for s in (decay, grow_batch(decay), constant))
        deviations.append(np.abs(growing - decaying).max() / np.abs(held - decaying).max())
    slopes = np.diff(np.log2(deviations[::-1]))
    assert np.abs(slopes - 1).max() < 0.05, (deviations, slopes)


# At rest, and averaged.


@each_optimizer
def test_excess_at_rest_is_the_limit_of_small_steps(momentum, nesterov):
    """With the next order that its page states; H and S do not commute. Half the excess, or twice, would be rejected."""
    rng = np.random.default_rng(1)
    H, S = (root @ root.T + 0.3 * np.eye(3) for root in rng.normal(size=(2, 3, 3)))
    trace = float(np.trace(S))
    settings = {"momentum": momentum, "nesterov": nesterov}
    errors = []
    for rate in (2e-3 * (1 - momentum), 1e-3 * (1 - momentum)):
        V = stationary.sgd_covariance(H, (1 / 20 - 1 / 1000) * S, rate, **settings)
        errors.append(np.trace(H @ V) / 2 / excess_at_rest(noise_scale(rate, 20, 1000, momentum=momentum), trace, 1000) - 1)
    assert abs(errors[1]) < 0.02
    assert errors[0] / errors[1] == pytest.approx(2, rel=0.05)
    m = momentum
    kappa = 1 / (2 * (1 + m)) if not nesterov else (1 + 2 * m) / (2 * (1 + m)) - 2 * m**3 / (1 - m**2)
    next_order = quadratic(Schedule([Stage(400, 1e-3, 1)]), 100, 2.0, 1.0, 0.0, **settings)[-1]
    next_order /= excess_at_rest(noise_scale(1e-3, 1, 100, momentum=m), 1.0, 100)
    assert (next_order - 1) / (1e-3 * 2.0) == pytest.approx(kappa, rel=0.02)


def test_excess_at_rest_is_of_the_arguments_type():
    g = noise_scale(Fraction(1, 10), 10, 100)
    assert excess_at_rest(g, 4, 100) == Fraction(9, 1000)
    np.testing.assert_allclose(excess_at_rest(np.array([1.0, 2.0]), 3.0, 100), [0.0075, 0.015], rtol=1e-15)


@pytest.mark.parametrize(("x", "decay"), [(0.1, 0.9), (1.7, 0.5), (1.0, 0.99), (1e-3, 0.999), (0.3, 0.0)])
def test_variance_of_averaged_iterates_solves_their_joint_law(x, decay):
    """w' = a w + xi and z' = r z + (1 - r) w' together, as a Lyapunov equation."""
    update = np.array([[1 - x, 0], [(1 - decay) * (1 - x), decay]])
    kick = np.array([1, 1 - decay])
    joint = linalg.solve_discrete_lyapunov(update, np.outer(kick, kick))
    assert ema_variance_ratio(x / 0.01, 0.01, decay) == pytest.approx(joint[1, 1] / joint[0, 0], rel=1e-10)


def test_average_over_the_same_examples():
    """r^K beside K times the batch and the rate keeps the ratio to first order; r kept, or 1 - K (1 - r), another wording, not."""
    ratios = [
        ema_variance_ratio(2.0, 4 * rate, (1 - rate) ** 4) / ema_variance_ratio(2.0, rate, 1 - rate) for rate in (1e-2, 5e-3)
    ]
    deviations = np.abs(np.array(ratios) - 1)
    assert deviations[0] < 0.02
    assert deviations[0] / deviations[1] == pytest.approx(2, rel=0.1)
    kept = ema_variance_ratio(2.0, 4e-2, 1 - 1e-2) / ema_variance_ratio(2.0, 1e-2, 1 - 1e-2)
    assert abs(kept - 1) > 0.5


def test_ratio_is_exact_in_rational_arithmetic():
    r, a = Fraction(19, 20), 1 - Fraction(3, 10)
    found = ema_variance_ratio(Fraction(3), Fraction(1, 10), r)
    assert found == (1 - r) * (1 + a * r) / ((1 + r) * (1 - a * r))
    assert ema_variance_ratio(np.array([3.0, 1.0]), 0.1, 0.95)[0] == pytest.approx(float(found), rel=1e-14)


# What is refused.

ONE = Schedule([Stage(1, 0.1, 4)])
X4, Y4 = regression(6, 2)


@pytest.mark.parametrize(
    ("call", "kind", "message"),
    [
        (lambda: quadratic([Stage(1, 0.1, 4)], 10, 1.0, 1.0, 1.0), TypeError, "schedule must be a Schedule, got list"),
        (lambda: linear_regression(None, X4, Y4, np.ones(2)), TypeError, "schedule must be a Schedule, got NoneType"),
        (lambda: quadratic(ONE, 3, 1.0, 1.0, 1.0), ValueError, "batch_size must be an integer from 1 to n_train=3, got 4"),
        (
            lambda: linear_regression(ONE, X4[:3], Y4[:3], np.ones(2)),
            ValueError,
            "batch_size must be an integer from 1 to n_train=3",
        ),
        (lambda: quadratic(ONE, 10.0, 1.0, 1.0, 1.0), TypeError, "n_train must be an integer"),
        (lambda: quadratic(ONE, 10, -1.0, 1.0, 1.0), ValueError, "curvature must be finite and at least 0, got -1.0"),
        (
            lambda: quadratic(ONE, 10, 1.0, np.array([0.0, -0.5]), 1.0),
            ValueError,
            "gradient_variance must be finite and at least 0",
        ),
        (lambda: quadratic(ONE, 10, 1.0, 1.0, np.nan), ValueError, "start must be finite, got nan"),
        (lambda: quadratic(ONE, 10, [1.0], 1.0, 1.0), TypeError, "curvature must be a number or an array"),
        (lambda: quadratic(ONE, 10, np.ones(2), np.ones(3), 1.0), ValueError, "shapes must broadcast"),
        (lambda: quadratic(ONE, 10, np.ones(0), 1.0, 1.0), ValueError, "start must hold at least one direction, got none"),
        (
            lambda: quadratic(ONE, 10, 1.0, 1.0, 1.0, momentum=1.0),
            ValueError,
            "momentum must be finite and at least 0 and below 1",
        ),
        (
            lambda: linear_regression(ONE, X4, Y4, np.ones(2), momentum=-0.1),
            ValueError,
            "momentum must be finite and at least 0",
        ),
        (lambda: linear_regression(ONE, X4, Y4, np.ones(2), nesterov=1), TypeError, "nesterov must be True or False"),
        (lambda: quadratic(ONE, 10, 1.0, 1.0, 1.0, sampling="shuffle"), ValueError, "sampling must be one of 'reshuffle'"),
        (
            lambda: linear_regression(ONE, X4, Y4[:3], np.ones(2)),
            ValueError,
            "y must be a float32 or float64 array of shape (6,)",
        ),
        (
            lambda: linear_regression(ONE, X4, Y4, np.ones(3)),
            ValueError,
            "start must be a float32 or float64 array of shape (2,)",
        ),
        (lambda: linear_regression(ONE, X4, Y4 > 0, np.ones(2)), TypeError, "convert it with astype(float)"),
        (lambda: linear_regression(ONE, X4 > 0, Y4, np.ones(2)), TypeError, "convert it with astype(float)"),
        (lambda: linear_regression(ONE, X4, Y4, np.ones(2, int)), TypeError, "convert it with astype(float)"),
        (
            lambda: linear_regression(ONE, np.full((6, 2), 1e308), Y4, np.ones(2)),
            ValueError,
            "X's largest singular value must be finite",
        ),
        (lambda: quadratic(ONE, 10, 1e300, 1.0, 1e9), ValueError, "the result must be finite"),
        (lambda: quadratic(Schedule([Stage(99, 9.0, 1)]), 99, 1.0, 1.0, 1.0), ValueError, "past the limit of stability"),
        (
            lambda: linear_regression(Schedule([Stage(99, 9.0, 1)]), X4, Y4, np.ones(2)),
            ValueError,
            "past the limit of stability",
        ),
        (lambda: excess_at_rest(-1.0, 1.0, 100), ValueError, "noise_scale must be finite and at least 0"),
        (lambda: excess_at_rest(1.0, -1.0, 100), ValueError, "trace must be finite and at least 0"),
        (lambda: excess_at_rest(1.0, 1.0, 0), ValueError, "n_train must be finite and above 0"),
        (lambda: ema_variance_ratio(0.0, 0.1, 0.9), ValueError, "curvature must be finite and above 0"),
        (lambda: ema_variance_ratio(1.0, 0.0, 0.9), ValueError, "learning_rate must be finite and above 0"),
        (
            lambda: ema_variance_ratio(1.0, 2.0, 0.9),
            ValueError,
            "learning_rate * curvature must be finite and below 2, got 2.0",
        ),
        (lambda: ema_variance_ratio(1.0, 0.1, 1.0), ValueError, "decay must be finite and at least 0 and below 1"),
        (lambda: ema_variance_ratio(1.0, 0.1, -0.1), ValueError, "decay must be finite and at least 0"),
    ],
)
def test_what_is_refused(call, kind, message):
    with pytest.raises(kind, match=re.escape(message)):
        call()


def test_single_precision_is_read_and_not_kept():
    X, y, start = X4.astype("f4"), Y4.astype("f4"), np.ones(2, "f4")
    found = linear_regression(ONE, X, y, start)
    np.testing.assert_array_equal(found, linear_regression(ONE, X.astype(float), y.astype(float), start.astype(float)))
    assert found.dtype == quadratic(ONE, 10, np.float32(1), np.ones(2, "f4"), 1.0).dtype == np.float64
