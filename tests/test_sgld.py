"""Stochastic gradient Langevin dynamics: its definition, its exact law on a Gaussian, and Welling and Teh's toy."""

import copy
import pickle
import tracemalloc
from fractions import Fraction

import numpy as np
import pytest
from scipy import stats

from sgdnoise.boltzmann import boltzmann_density
from sgdnoise.energies import MixturePosterior
from sgdnoise.langevin import (
    Samples,
    TrajectoryDivergenceError,
    overdamped,
    polynomial_constants,
    polynomial_step_size,
    sgld,
)
from sgdnoise.sampling import SAMPLINGS

TOY = MixturePosterior.draw(100, rng=3)
"""Data on which the two modes stand apart: on the ridge between them theta_2's density falls to about half of the peak."""


def z_scores(values, expected):
    """How many standard errors the mean over chains (axis 0) is away from `expected`."""
    return (values.mean(axis=0) - expected) / (values.std(axis=0, ddof=1) / len(values) ** 0.5)


# 1. The definition


@pytest.mark.parametrize("sampling", SAMPLINGS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_paths_equal_the_definition(sampling, dtype):
    """theta + eps/2 (grad log prior + N/n sum grad log likelihood) + sqrt(eps) xi, written out, on the minibatches drawn."""
    rng = np.random.default_rng(0)
    x0, noise = rng.normal(size=(4, 2)).astype(dtype), rng.standard_normal((60, 4, 2))
    step_size, batches, kept = polynomial_step_size(0.05, 3.0, 0.6), [], x0.copy()

    def likelihood(theta, batch):
        batches.append(batch.copy())
        return TOY.grad_log_likelihood(theta, batch)

    settings = {"n_steps": 60, "n_train": 100, "batch_size": 7, "sampling": sampling, "rng": 1, "noise": noise}
    samples = sgld(TOY.grad_log_prior, likelihood, x0, step_size=step_size, **settings)
    np.testing.assert_array_equal(x0, kept)
    assert samples.x.dtype == dtype
    theta = x0.astype(float)
    for t in range(60):
        eps = 0.05 * (3.0 + t) ** -0.6
        examples = TOY.per_example_gradients(theta)
        gradient = np.array([examples[chain, batches[t][chain]].sum(axis=0) for chain in range(4)])
        prior = -theta / [10.0, 1.0]
        theta = theta + eps / 2 * (prior + 100 / 7 * gradient) + np.sqrt(eps) * noise[t]
        tolerance = {"rtol": 1e-9} if dtype == np.float64 else {"rtol": 1e-3, "atol": 1e-4}
        np.testing.assert_allclose(samples.x[t + 1], theta, **tolerance)
        assert samples.step_size[t + 1] == pytest.approx(eps)


def test_the_full_batch_is_overdamped_dynamics():
    """Half the step, temperature 1 and U = -log posterior; and a flat prior is none."""
    x0, noise = np.zeros((3, 2)), np.random.default_rng(1).standard_normal((50, 3, 2))
    settings = {"n_steps": 50, "n_train": 100, "batch_size": 100, "step_size": 0.01, "noise": noise}
    samples = sgld(TOY.grad_log_prior, TOY.grad_log_likelihood, x0, **settings)
    path = overdamped(TOY.gradient, x0, step_size=0.005, n_steps=50, noise=noise)
    np.testing.assert_allclose(samples.x, path.x, rtol=1e-10, atol=1e-12)
    flat = sgld(None, TOY.grad_log_likelihood, x0, **settings)
    path = overdamped(lambda theta: -TOY.grad_log_likelihood(theta), x0, step_size=0.005, n_steps=50, noise=noise)
    np.testing.assert_allclose(flat.x, path.x, rtol=1e-10, atol=1e-12)


def drawn(n_steps, n_train, batch_size, sampling, n_chains=3, rng=0):
    """The minibatches that sgld draws, (n_steps, n_chains, batch_size)."""
    batches = []

    def likelihood(theta, batch):
        batches.append(batch.copy())
        return np.zeros_like(theta)

    settings = {"step_size": 1.0, "n_steps": n_steps, "n_train": n_train, "batch_size": batch_size, "sampling": sampling}
    sgld(None, likelihood, np.zeros((n_chains, 1)), rng=rng, **settings)
    return np.array(batches)


def test_reshuffled_batches_are_a_permutation_in_each_pass():
    batches = drawn(n_steps=12, n_train=11, batch_size=3, sampling="reshuffle")  # 3 updates a pass, 2 examples left over
    passes = batches.reshape(4, 3, 3, 3).transpose(0, 2, 1, 3).reshape(12, 9)
    assert all(len(set(row)) == 9 for row in passes.tolist())
    assert len({tuple(row) for row in passes.tolist()}) == 12  # no two chains, no two passes alike
    assert set(batches.ravel().tolist()) == set(range(11))
    np.testing.assert_array_equal(batches, drawn(12, 11, 3, "reshuffle"))
    np.testing.assert_array_equal(drawn(2, 5, 5, "reshuffle"), np.tile(np.arange(5), (2, 3, 1)))


def test_a_batch_of_all_examples_is_all_of_them_unless_drawn_with_replacement():
    """12 batches of 5 of 5; one drawn with replacement holds all with probability 5!/5^5, half of them with 3e-6."""
    assert (np.sort(drawn(4, 5, 5, "without_replacement"), axis=2) == np.arange(5)).all()
    assert (np.sort(drawn(4, 5, 5, "with_replacement"), axis=2) != np.arange(5)).any(axis=2).mean() > 0.5


@pytest.mark.parametrize("sampling", SAMPLINGS)
def test_batches_are_uniform(sampling):
    """Chi-squared over pairs of neighbours in a batch of one chain; false-positive rate 1e-6 each."""
    batches = drawn(n_steps=4000, n_train=6, batch_size=2, sampling=sampling, rng=2)[:, 1]
    counts = np.bincount(6 * batches[:, 0] + batches[:, 1], minlength=36).reshape(6, 6)
    if sampling != "with_replacement":
        assert np.trace(counts) == 0
        counts = counts[~np.eye(6, dtype=bool)]
    assert stats.chisquare(counts.ravel()).pvalue > 1e-6


# 2. The exact law on a Gaussian

DATA = np.random.default_rng(4).normal(1.0, 1.5, 12)
VARIANCE, PRIOR_VARIANCE, EPS = 2.0, 3.0, 0.1
STIFFNESS = 1 / PRIOR_VARIANCE + len(DATA) / VARIANCE
EXACT_MEAN = DATA.sum() / VARIANCE / STIFFNESS


def gaussian_prior(theta):
    return -theta / PRIOR_VARIANCE


def gaussian_likelihood(theta, batch):
    return (DATA[batch] - theta).sum(axis=1, keepdims=True) / VARIANCE


def exact_variance(batch_size, sampling):
    """Variance at rest after a whole number of passes, of the linear recursion theta <- a theta + eps/2 N/n sum + noise."""
    n_train, a = len(DATA), 1 - EPS / 2 * STIFFNESS
    factor = EPS / 2 * n_train / VARIANCE  # multiplies the minibatch mean
    if sampling == "with_replacement":
        return (EPS + factor**2 * DATA.var() / batch_size) / (1 - a**2)
    if sampling == "without_replacement":
        return (EPS + factor**2 * DATA.var(ddof=1) * (1 / batch_size - 1 / n_train)) / (1 - a**2)
    powers, variance = a ** np.arange(n_train // batch_size), DATA.var(ddof=1)
    minibatches = variance / batch_size * (powers**2).sum() - variance / n_train * powers.sum() ** 2
    return (EPS * (powers**2).sum() + factor**2 * minibatches) / (1 - a ** (2 * len(powers)))


SLIPS = {
    "none": {},
    "N/n forgotten": {"likelihood": lambda n: n / len(DATA)},
    "divided by n twice": {"likelihood": lambda n: 1 / n},
    "eps for sqrt(eps)": {"noise": EPS**0.5},
    "drift eps": {"likelihood": lambda n: 2.0, "prior": 2.0},
    "injected 2 eps": {"noise": 2**0.5},
    "prior counted once a minibatch": {"prior": len(DATA) / 3},
}


@pytest.mark.parametrize("sampling", SAMPLINGS)
@pytest.mark.parametrize("slip", SLIPS)
def test_law_at_rest_on_a_gaussian(slip, sampling):
    """Mean and variance of 40 000 chains within 5 standard errors of the exact discrete-time law, minibatch noise included.

    Four numbers: false-positive rate 2.3e-6. Each slip of the pen, put in from outside, is rejected by 10.
    """
    wrong, batch_size, n_steps = SLIPS[slip], 3, 40
    scale = wrong.get("likelihood", lambda n: 1.0)(batch_size)
    theta = sgld(
        lambda theta: wrong.get("prior", 1.0) * gaussian_prior(theta),
        lambda theta, batch: scale * gaussian_likelihood(theta, batch),
        np.full((40_000, 1), EXACT_MEAN),
        step_size=EPS,
        n_steps=n_steps,
        n_train=len(DATA),
        batch_size=batch_size,
        sampling=sampling,
        rng=5,
        noise=wrong.get("noise", 1.0) * np.random.default_rng(6).standard_normal((n_steps, 40_000, 1)),
        record_every=n_steps,
    ).x[-1, :, 0]
    variance = exact_variance(batch_size, sampling)
    z = np.array([z_scores(theta, EXACT_MEAN), z_scores((theta - EXACT_MEAN) ** 2, variance)])
    assert (abs(z) < 5).all() if slip == "none" else abs(z).max() > 10


# 3. Welling and Teh's toy


def test_constants_of_welling_and_teh():
    """From 0.01 to 0.0001 in 10 000 passes over 100 examples with gamma = 0.55."""
    a, b = polynomial_constants(0.01, 0.0001, 1_000_000, 0.55)
    assert (a, b) == (pytest.approx(0.199552, rel=1e-5), pytest.approx(231.066, rel=1e-5))
    step_size = polynomial_step_size(a, b, 0.55)
    np.testing.assert_allclose(step_size(np.array([0, 1_000_000])), [0.01, 0.0001])


def test_gradients_of_the_toy():
    theta, step = np.random.default_rng(7).normal(size=(20, 2)), 1e-6
    examples = TOY.per_example_gradients(theta)
    for log_density, gradient in (
        (TOY.log_prior, TOY.grad_log_prior(theta)),
        (TOY.log_likelihood, TOY.grad_log_likelihood(theta)),
        (TOY.energy, TOY.gradient(theta)),
    ):
        numeric = [(log_density(theta + step * e) - log_density(theta - step * e)) / (2 * step) for e in np.eye(2)]
        np.testing.assert_allclose(gradient, np.transpose(numeric), rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(examples.sum(axis=1), TOY.grad_log_likelihood(theta))
    batch = np.random.default_rng(8).integers(100, size=(20, 5))
    sums = np.take_along_axis(examples, batch[:, :, None], axis=1).sum(axis=1)
    np.testing.assert_allclose(TOY.grad_log_likelihood(theta, batch), sums)
    far = np.array([[1e4, 50.0], [-1e4, 50.0]])
    assert np.isfinite(TOY.gradient(far)).all()


def test_the_toy_has_two_modes_and_its_moments_do_not_depend_on_the_grid():
    theta_1, theta_2 = np.linspace(-1, 2, 301), np.linspace(-3, 3, 121)
    density = boltzmann_density(TOY.energy, 1.0, [theta_1, theta_2])
    profile = density.max(axis=0)
    peaks = 1 + np.flatnonzero((profile[1:-1] > profile[:-2]) & (profile[1:-1] > profile[2:]))
    modes = [(theta_1[density[:, i].argmax()], theta_2[i]) for i in peaks]
    np.testing.assert_allclose(modes, [(1, -1), (0, 1)], atol=0.35)
    for coarse, fine in zip(TOY.moments(121), TOY.moments(), strict=True):
        np.testing.assert_allclose(coarse, fine, rtol=1e-6, atol=1e-9)
    assert TOY.moments()[1][0, 1] < -0.2  # negatively correlated


def gradient_noise(theta, eps, **kwargs):
    """Mean square over chains of what minibatches of one example add to one update of `sgld`, measured from it."""
    settings = {"step_size": eps, "n_steps": 1, "n_train": 100, "noise": np.zeros((1, *theta.shape))}
    step = sgld(TOY.grad_log_prior, TOY.grad_log_likelihood, theta, batch_size=1, rng=9, **settings).x[1]
    full = sgld(TOY.grad_log_prior, TOY.grad_log_likelihood, theta, batch_size=100, **settings).x[1]
    return (step - full).T @ (step - full) / len(theta)


def test_the_two_noises_cross_where_theory_says():
    """Gradient noise (eps/2)^2 N^2 V/n and injected noise, both measured from single updates along Welling and Teh's steps.

    20 000 chains spread over the posterior. theta_1's noises, and those along the noisiest direction, cross between 5e-4 and
    1e-3, at updates of the order of 3e4; V from all examples predicts where, within 5% (5 standard errors: false-positive
    rate 6e-7). theta_2's noise is three to four times smaller, and crosses near 3e-3.
    """
    axes = np.linspace(-2, 3, 101), np.linspace(-4, 4, 51)
    weights = boltzmann_density(TOY.energy, 1.0, axes).ravel()
    points = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 2)
    theta = points[np.random.default_rng(10).choice(len(points), 20_000, p=weights / weights.sum())]
    examples = TOY.per_example_gradients(points)
    examples -= examples.mean(axis=1, keepdims=True)
    v = np.einsum("p,pik,pil->kl", weights / weights.sum(), examples, examples, optimize=True) / 100

    a, b = polynomial_constants(0.01, 0.0001, 1_000_000, 0.55)
    step_size = polynomial_step_size(a, b, 0.55)
    times = np.array([0, 1_000, 10_000, 30_000, 100_000, 1_000_000])
    noises = np.array([gradient_noise(theta, step_size(t)) for t in times])
    still = {"n_steps": 1, "n_train": 100, "batch_size": 100, "rng": 11}
    injected = [sgld(None, lambda x, _: 0 * x, theta, step_size=step_size(t), **still).x[1] - theta for t in times]
    injected = np.array([np.mean(step**2) for step in injected])
    np.testing.assert_allclose(injected, step_size(times), rtol=5 / 20_000**0.5)

    measured = {"theta_1": noises[:, 0, 0], "theta_2": noises[:, 1, 1], "noisiest": np.linalg.eigvalsh(noises)[:, 1]}
    predicted = {"theta_1": v[0, 0], "theta_2": v[1, 1], "noisiest": np.linalg.eigvalsh(v)[1]}
    crossing = {}
    for name, noise in measured.items():
        assert noise[0] > injected[0]
        assert noise[-1] < injected[-1]
        crossing[name] = np.exp(np.interp(0.0, -np.log(noise / injected), np.log(step_size(times))))
        assert crossing[name] == pytest.approx(4 / (100**2 * predicted[name]), rel=0.05)
    assert 5e-4 < crossing["noisiest"] < crossing["theta_1"] < 1e-3
    assert 2e-3 < crossing["theta_2"] < 4e-3
    assert 2e4 < (a / crossing["noisiest"]) ** (1 / 0.55) - b < 4e4


ROTATED = np.array([[1.0, 0.5], [0.0, 1.0]])
"""theta_1 + theta_2/2, the mean of the mixture, is narrow and single-peaked; theta_2 is wide and has the two modes."""


def sample_toy(n_chains, n_steps, likelihood=1.0, prior=1.0, noise=None):
    """Chains that start in the two modes by turns, with step sizes from 0.02 to 0.0005; factors to put slips in."""
    a, b = polynomial_constants(0.02, 0.0005, n_steps, 1.0)
    step_size = polynomial_step_size(a, b, 1.0)
    if noise is not None:
        factor = noise(step_size(np.arange(n_steps)))[:, None, None]
        noise = factor * np.random.default_rng(12).standard_normal((n_steps, n_chains, 2))
    return sgld(
        lambda theta: prior * TOY.grad_log_prior(theta),
        lambda theta, batch: likelihood * TOY.grad_log_likelihood(theta, batch),
        np.tile([[0.0, 1.0], [1.0, -1.0]], (n_chains // 2, 1)),
        step_size=step_size,
        n_steps=n_steps,
        n_train=100,
        batch_size=20,
        rng=13,
        noise=noise,
        record_every=20,
    )


@pytest.fixture(scope="module")
def posterior():
    """Mean and covariance by quadrature, in the rotated parameters."""
    mean, covariance = TOY.moments()
    return ROTATED @ mean, ROTATED @ covariance @ ROTATED.T


def scores(samples, posterior):
    """z-scores of mean (2) and covariance (3) of the rotated parameters over the second half, from the scatter of chains."""
    mean, covariance = posterior
    z = lambda x: x @ ROTATED.T - mean
    discard = int(samples.step[-1]) // 2
    first = samples.average(z, discard=discard)
    second = samples.average(lambda x: z(x)[..., :, None] * z(x)[..., None, :], discard=discard)
    return np.concatenate([z_scores(first, 0.0), z_scores(second, covariance)[np.triu_indices(2)]])


def test_sgld_samples_the_posterior(posterior):
    """Means and covariance within 5 standard errors of quadrature, from the scatter of 300 chains.

    Five numbers. The standard errors are 1% and 5% of the standard deviations for the means, 1.4% of the narrow variance and
    4% of the wide one. The bias, from a run with ten times as many chains: the finite step and the minibatches make the
    narrow variance 1% too large, less than a standard error. False-positive rate 2e-5, that bias included.
    """
    samples = sample_toy(300, 4000)
    assert abs(scores(samples, posterior)).max() < 5
    for start in (0, 1):  # chains from either mode end in both
        assert 0.2 < np.mean(samples.x[-1, start::2, 1] > 0) < 0.8


@pytest.mark.parametrize(
    "slip",
    [
        {"likelihood": 20 / 100},  # N/n forgotten
        {"likelihood": 1 / 20},  # divided by n twice
        {"noise": np.sqrt},  # eps for sqrt(eps)
        {"likelihood": 2.0, "prior": 2.0},  # drift eps
        {"noise": lambda eps: np.full_like(eps, 2**0.5)},  # injected 2 eps
    ],
)
def test_slips_miss_the_posterior(slip, posterior):
    """What `test_sgld_samples_the_posterior` accepts by less than 5 is off by more than 10, with fewer chains and updates."""
    assert abs(scores(sample_toy(200, 2000, **slip), posterior)).max() > 10


# 4. Records, averages, arguments


def toy_run(**change):
    arguments = {
        "grad_log_prior": TOY.grad_log_prior,
        "grad_log_likelihood": TOY.grad_log_likelihood,
        "x0": np.zeros((3, 2)),
        "step_size": 0.001,
        "n_steps": 10,
        "n_train": 100,
        "batch_size": 5,
        "rng": 0,
    } | change
    return sgld(arguments.pop("grad_log_prior"), arguments.pop("grad_log_likelihood"), arguments.pop("x0"), **arguments)


def test_three_forms_of_the_step_size():
    values = 0.002 / (1 + np.arange(10))
    samples = toy_run(step_size=values)
    np.testing.assert_array_equal(samples.x, toy_run(step_size=lambda t: 0.002 / (1 + t)).x)
    np.testing.assert_array_equal(samples.step_size, [0.0, *values])
    np.testing.assert_array_equal(toy_run().x, toy_run(step_size=np.full(10, 0.001)).x)


def ordered(x, batch):
    return 0 * x


@pytest.mark.parametrize("constants", [(1.0, 4.0, 1.0), (1, 2, 0.75), (*polynomial_constants(0.01, 0.0001, 1000, 0.55), 0.55)])
def test_polynomial_step_sizes_are_values(constants):
    """So that they can go to other processes, be compared, be keys and be printed."""
    step_size = polynomial_step_size(*constants)
    a, b, gamma = constants
    for same in (pickle.loads(pickle.dumps(step_size)), copy.deepcopy(step_size), eval(repr(step_size))):
        assert same == step_size
        assert hash(same) == hash(step_size)
        assert [same(t) for t in (0, 5, 10**6)] == [a * (b + t) ** -gamma for t in (0, 5, 10**6)]
    assert step_size != polynomial_step_size(a, b + 1, gamma)
    settings = {"n_steps": 20, "n_train": 30, "batch_size": 4, "rng": 0, "record_every": 5}
    paths = [sgld(None, ordered, np.ones((2, 1)), step_size=s, **settings) for s in (step_size, same)]
    np.testing.assert_array_equal(paths[0].x, paths[1].x)


def test_what_sgld_returns_can_be_pickled():
    samples = sgld(None, ordered, np.ones((2, 1)), step_size=0.1, n_steps=4, n_train=30, batch_size=4, rng=0)
    again = pickle.loads(pickle.dumps(samples))
    np.testing.assert_array_equal(again.x, samples.x)
    np.testing.assert_array_equal(again.average(), samples.average())


@pytest.mark.parametrize(
    ("sampling", "batch_size"), [("with_replacement", 50), ("with_replacement", 1), ("without_replacement", 50)]
)
@pytest.mark.parametrize("n_chains", [1, 3])
def test_independent_batches_of_a_thousand_million_examples_take_no_table(sampling, batch_size, n_chains):
    """A table of 1e9 indices would take 7 GiB for each chain; what is drawn at a time takes half a MiB."""
    highest = []

    def likelihood(x, batch):
        highest.append(batch.max())
        return 0 * x

    settings = {"step_size": 0.1, "n_steps": 30, "n_train": 10**9, "batch_size": batch_size, "sampling": sampling}
    tracemalloc.start()
    sgld(None, likelihood, np.zeros((n_chains, 1)), rng=0, **settings)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 4e6
    assert 8e8 < max(highest) < 10**9  # each of the 30 batches or more below 8e8: 0.8**30 = 1e-3, at this seed not


def test_records_and_reproducibility():
    samples, thinned = toy_run(), toy_run(record_every=4)
    np.testing.assert_array_equal(thinned.step, [0, 4, 8])
    np.testing.assert_array_equal(thinned.x, samples.x[[0, 4, 8]])
    np.testing.assert_array_equal(samples.x, toy_run(rng=np.random.default_rng(0)).x)
    assert (samples.x != toy_run(rng=1).x)[1:].all()
    assert len({row.tobytes() for row in samples.x[1]}) == 3  # chains differ


def test_averages_are_weighted_by_the_step_size():
    step_size = np.array([0.0, 0.4, 0.3, 0.2, 0.1])
    x = np.random.default_rng(14).normal(size=(5, 3, 2))
    samples = Samples(np.arange(5) * 10, step_size, x)
    np.testing.assert_allclose(samples.average(), np.average(x[1:], axis=0, weights=step_size[1:]))
    np.testing.assert_allclose(samples.average(discard=20), (0.2 * x[3] + 0.1 * x[4]) / 0.3)
    np.testing.assert_allclose(samples.average(discard=19), np.average(x[2:], axis=0, weights=step_size[2:]))
    squares = samples.average(lambda x: x[..., 0] ** 2)
    np.testing.assert_allclose(squares, np.average(x[1:, :, 0] ** 2, axis=0, weights=step_size[1:]))
    np.testing.assert_allclose(samples.average(discard=39), x[4])
    with pytest.raises(ValueError, match="discard must be an integer from 0 to the last record's step - 1=39, got 40"):
        samples.average(discard=40)
    every = Samples(np.arange(5), step_size, x)  # the first update is a sample, too
    np.testing.assert_allclose(every.average(), np.average(x[1:], axis=0, weights=step_size[1:]))
    with pytest.raises(ValueError, match=r"function must return an array of shape \(4, 3\)"):
        samples.average(np.sum)


@pytest.mark.parametrize("sampling", ["reshuffle", "with_replacement"])
def test_memory_does_not_grow_with_the_number_of_steps(sampling):
    peaks = []
    for n_steps in (1000, 1000, 4000):  # the first run warms up
        tracemalloc.start()
        toy_run(n_steps=n_steps, record_every=n_steps // 10, sampling=sampling, batch_size=1)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[2] < peaks[1] + 2000


def test_divergence_is_an_error_without_warnings():
    with pytest.raises(TrajectoryDivergenceError, match="3 of 3 walkers") as caught:  # warnings are errors here
        toy_run(step_size=100.0, n_steps=2000)
    assert caught.value.step_size == 100.0


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"step_size": 0.0}, ValueError, "step_size must be finite and above 0"),
        ({"step_size": np.ones(9)}, ValueError, "one step size for each update"),
        ({"step_size": lambda t: 1.0 - t}, ValueError, "step_size must be finite and above 0, got 0.0 at t = 1"),
        ({"step_size": lambda t: np.inf}, ValueError, "step_size must be finite and above 0, got inf at t = 0"),
        ({"n_steps": 0}, ValueError, "n_steps must be"),
        ({"record_every": 11}, ValueError, "record_every must be"),
        ({"batch_size": 101}, ValueError, "batch_size must be an integer from 1 to n_train=100"),
        ({"n_train": 0}, ValueError, "n_train must be"),
        ({"sampling": "shuffle"}, ValueError, "sampling must be one of 'reshuffle', 'without_replacement', 'with_replacement'"),
        ({"x0": np.zeros(2)}, ValueError, "x0 must be"),
        ({"noise": np.zeros((10, 3, 1))}, ValueError, "noise must be"),
        ({"grad_log_prior": 0.0}, TypeError, "grad_log_prior must be callable"),
        ({"grad_log_prior": lambda theta: theta[0]}, ValueError, "grad_log_prior must return"),
        ({"grad_log_likelihood": lambda theta, batch: theta[:, :1]}, ValueError, "grad_log_likelihood must return"),
    ],
)
def test_bad_arguments(change, error, message):
    with pytest.raises(error, match=message):
        toy_run(**change)


@pytest.mark.parametrize(
    ("answer", "error", "message"),
    [
        (lambda t: np.array([0.001]), TypeError, r"what step_size\(t\) returns must be a number, got shape \(1,\); one"),
        (lambda t: np.full((50, 1), 0.001), TypeError, r"what step_size\(t\) returns must be a number, got shape \(50, 1\)"),
        (lambda t: [0.001], TypeError, r"what step_size\(t\) returns must be a number, got \[0.001\] of type list"),
        (lambda t: None, TypeError, r"what step_size\(t\) returns must be a number, got None of type NoneType"),
        (lambda t: "0.001", TypeError, r"what step_size\(t\) returns must be a number, got '0.001' of type str"),
        (lambda t: True, TypeError, r"what step_size\(t\) returns must be a number, got True of type bool"),
        (lambda t: 0.001j, TypeError, r"what step_size\(t\) returns must be a number"),
        (lambda t: 0.001 if t < 3 else np.float64("nan"), ValueError, "step_size must be .* above 0, got nan at t = 3"),
        (lambda t: 10**400, ValueError, "step_size must be finite and above 0, got inf at t = 0"),
    ],
)
def test_a_function_that_gives_no_step_size_is_refused(answer, error, message):
    with pytest.raises(error, match="^" + message):
        toy_run(step_size=answer)


@pytest.mark.parametrize("kind", [np.float64, np.array, Fraction, lambda value: np.array(value)[()]])
def test_a_step_size_may_be_any_kind_of_number(kind):
    np.testing.assert_array_equal(toy_run(step_size=lambda t: kind(0.001)).x, toy_run(step_size=0.001).x)


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: polynomial_step_size(0.0, 1.0, 1.0), ValueError, "a must be finite and above 0"),
        (lambda: polynomial_step_size(1.0, 0.0, 1.0), ValueError, "b must be finite and above 0"),
        (lambda: polynomial_step_size(1.0, 1.0, 0.5), ValueError, "gamma must be .* above 0.5 .*; the steps must sum to inf"),
        (lambda: polynomial_step_size(1.0, 1.0, 1.5), ValueError, "gamma must be finite and above 0.5 and at most 1, got 1.5"),
        (lambda: polynomial_constants(0.0, 0.1, 10, 1.0), ValueError, "first must be finite and above 0, got 0.0"),
        (lambda: polynomial_constants(0.1, 0.1, 10, 1.0), ValueError, "last must be .* below first=0.1"),
        (lambda: polynomial_constants(0.1, 0.0, 10, 1.0), ValueError, "last must be finite and above 0 and .*, got 0.0"),
        (lambda: polynomial_constants(0.1, 0.01, 0, 1.0), ValueError, "n_steps must be an integer, at least 1, got 0"),
        (lambda: polynomial_constants(0.1, 0.01, 10, 0.5), ValueError, "gamma must be finite and above 0.5 .*, got 0.5"),
        (lambda: polynomial_constants(0.1, 0.01, 10, 1.5), ValueError, "gamma must be finite and .* at most 1, got 1.5"),
        (lambda: MixturePosterior(np.zeros((3, 1))), ValueError, "data must be"),
        (lambda: MixturePosterior(np.zeros(3), prior_variances=(1.0, 0.0)), ValueError, "prior_variances must be"),
        (lambda: MixturePosterior(np.zeros(3), variance=-1.0), ValueError, "variance must be"),
        (lambda: MixturePosterior.draw(0), ValueError, "n_train must be"),
    ],
)
def test_bad_toys(make, error, message):
    with pytest.raises(error, match="^" + message):
        make()
