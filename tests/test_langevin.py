"""Langevin dynamics and its landscapes: exact discrete-time laws, orders of convergence, Boltzmann and Kramers.

A linear scheme is known from its answer to one unit impulse of noise, which the `noise` argument lets us put in: the laws at
rest and both orders of convergence on linear equations are checked without any sampling. What is sampled says what it rejects
and how often it fails by chance.
"""

import math
import pickle
import tracemalloc
from fractions import Fraction
from functools import partial

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.linalg import expm, solve_discrete_lyapunov
from scipy.optimize import minimize_scalar

import sgdnoise
from sgdnoise.boltzmann import boltzmann_density, kramers_time, mean_passage_time
from sgdnoise.energies import DoubleWell, GaussianWells, Quadratic, Rugged
from sgdnoise.langevin import SCHEMES, TrajectoryDivergenceError, overdamped, sgd_sde, underdamped
from sgdnoise.stationary import langevin_covariance

EULER, LM = SCHEMES
H3 = np.array([[2.0, 0.6, -0.3], [0.6, 1.0, 0.4], [-0.3, 0.4, 0.5]])
F3 = np.array([[0.5, -0.2, 0.1], [-0.2, 1.5, 0.3], [0.1, 0.3, 0.8]])
MOBILITY = np.array([0.5, 1.0, 2.0])
T, DT = 0.7, 0.3

quadratic_1 = Quadratic(np.array([[2.0]]))
quadratic_3 = Quadratic(H3)


def z_scores(values, expected):
    """How many standard errors the mean over walkers (axis 0) is away from `expected`."""
    return (values.mean(axis=0) - expected) / (values.std(axis=0, ddof=1) / len(values) ** 0.5)


def products(x):
    """x x' of each walker, of which the mean over independent walkers around 0 is the covariance."""
    return x[:, :, None] * x[:, None, :]


# 1. Laws at rest on a quadratic


def response(integrate, n_dims, n_steps, extra_row=0):
    """Path after a unit impulse of noise in row 1: entry (t, i, j) is dimension j at step t when dimension i was kicked."""
    noise = np.zeros((n_steps + extra_row, n_dims, n_dims))
    noise[1] = np.eye(n_dims)
    return integrate(np.zeros((n_dims, n_dims)), n_steps=n_steps, noise=noise)


def covariance_at_rest(path):
    """The covariance at rest of a linear scheme is the sum over past impulses of (response)(response)'."""
    return np.einsum("tij,tik->jk", path, path)


def euler_law(hessian, mobility, temperature, dt):
    mobility = np.diag(np.broadcast_to(mobility, len(hessian)))
    return solve_discrete_lyapunov(np.eye(len(hessian)) - dt * mobility @ hessian, 2 * temperature * dt * mobility)


def test_the_matrices_do_not_commute():
    for other in (np.diag(MOBILITY), F3):
        assert abs(H3 @ other - other @ H3).max() > 0.1


@pytest.mark.parametrize("dt", [0.1, 0.3, 0.6])
def test_overdamped_laws_at_rest_are_exact(dt):
    """Euler-Maruyama against a discrete Lyapunov equation, Leimkuhler-Matthews against T H^-1; 1 and 3 dimensions."""
    for energy, mobility in ((quadratic_1, 1.0), (quadratic_1, 0.5), (quadratic_3, 1.0), (quadratic_3, MOBILITY)):
        n_dims = len(energy.hessian)
        laws = {}
        for scheme in SCHEMES:
            run = partial(overdamped, energy.gradient, step_size=dt, temperature=T, mobility=mobility, scheme=scheme)
            laws[scheme] = covariance_at_rest(response(run, n_dims, 2000, scheme == LM).x)
        np.testing.assert_allclose(laws[EULER], euler_law(energy.hessian, mobility, T, dt), rtol=1e-9, atol=1e-12)
        if isinstance(mobility, float):
            stationary = langevin_covariance(energy.hessian, T, mobility=mobility, step_size=dt)
            np.testing.assert_allclose(laws[EULER], stationary, rtol=1e-9)
        np.testing.assert_allclose(laws[LM], energy.covariance(T), rtol=1e-9, atol=1e-12)
        assert abs(laws[EULER] - energy.covariance(T)).max() > 0.01  # the continuous law is not Euler's


def test_euler_in_one_dimension_has_the_closed_form():
    """h = 2, T = 0.3, dt = 0.4: 0.25, where the continuous law is 0.15."""
    run = partial(overdamped, quadratic_1.gradient, step_size=0.4, temperature=0.3)
    variance = covariance_at_rest(response(run, 1, 200).x).item()
    assert variance == pytest.approx(2 * 0.3 * 0.4 / (1 - (1 - 0.4 * 2) ** 2), rel=1e-12)
    assert variance == pytest.approx(0.25, rel=1e-12)


@pytest.mark.parametrize("dt", [0.1, 0.5, 1.2])
@pytest.mark.parametrize("friction", [0.7, MOBILITY])
def test_baoab_law_at_rest_is_exact(dt, friction):
    """Against a Lyapunov equation in (x, p) built from the five maps, and against the closed form they have."""
    run = partial(underdamped, quadratic_3.gradient, step_size=dt, temperature=T, friction=friction)
    path = response(run, 3, 3000)
    law = covariance_at_rest(np.concatenate([path.x, path.p], axis=2))
    one, zero = np.eye(3), np.zeros((3, 3))
    keep = np.diag(np.exp(-dt * np.broadcast_to(friction, 3)))
    kick, drift = np.block([[one, zero], [-dt / 2 * H3, one]]), np.block([[one, dt / 2 * one], [zero, one]])
    forget = np.block([[one, zero], [zero, keep]])
    noise = np.block([[zero, zero], [zero, T * (one - keep**2)]])
    after = kick @ drift
    lyapunov = solve_discrete_lyapunov(after @ forget @ drift @ kick, after @ noise @ after.T)
    np.testing.assert_allclose(law, lyapunov, rtol=1e-8, atol=1e-10)
    closed_form = np.block([[quadratic_3.covariance(T), zero], [zero, T * (one - dt**2 * H3 / 4)]])
    np.testing.assert_allclose(law, closed_form, rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("form", ["array", "callable", "one for each walker"])
def test_sgd_sde_law_at_rest_is_exact(form):
    """Hessian and gradient covariance that do not commute; the root is Cholesky's, which is not symmetric."""
    n_train, learning_rate, batch_size = 500, 0.4, 5
    g = sgdnoise.noise_scale(learning_rate, batch_size, n_train)
    root = np.linalg.cholesky(F3)
    roots = {"array": root, "callable": lambda w: root, "one for each walker": lambda w: np.tile(root, (len(w), 1, 1))}
    settings = {"noise_scale": g, "learning_rate": learning_rate, "n_train": n_train}
    run = partial(sgd_sde, lambda w: n_train * (w @ H3), roots[form], **settings)
    law = covariance_at_rest(response(run, 3, 500).x)
    # SGD itself: w <- w - eps (H w + minibatch noise of covariance (1/B - 1/N) F)
    sgd = solve_discrete_lyapunov(np.eye(3) - learning_rate * H3, learning_rate**2 * (1 / batch_size - 1 / n_train) * F3)
    np.testing.assert_allclose(law, sgd, rtol=1e-9)


def test_one_step_of_the_sde_has_the_covariance_of_one_update():
    """Enumerates all minibatches of 2 out of 6: g eps/N F is the covariance of an update, exactly."""
    from itertools import combinations

    gradients = np.random.default_rng(0).normal(size=(6, 2))
    covariance = np.cov(gradients.T)
    updates = np.array([-0.1 * gradients[list(batch)].mean(axis=0) for batch in combinations(range(6), 2)])
    settings = {"noise_scale": sgdnoise.noise_scale(0.1, 2, 6), "learning_rate": 0.1, "n_train": 6, "n_steps": 1}
    step = sgd_sde(
        lambda w: np.tile(gradients.sum(axis=0), (len(w), 1)),
        np.linalg.cholesky(covariance),
        np.zeros((3, 2)),
        noise=np.array([[[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]]]),
        **settings,
    ).x[1]
    np.testing.assert_allclose(step[0], updates.mean(axis=0), rtol=1e-12)
    columns = step[1:] - step[0]
    np.testing.assert_allclose(columns.T @ columns, np.cov(updates.T, ddof=0), rtol=1e-12)


def sampled_laws():
    """Name, final positions or momenta, their exact covariance, and a wrong one to be rejected; all walkers start at 0."""
    settings = {"n_steps": 60, "record_every": 60}
    x1, x3 = np.zeros((30_000, 1)), np.zeros((30_000, 3))
    over = partial(overdamped, temperature=0.3, step_size=0.4, **settings)
    cold = quadratic_1.covariance(0.3)
    yield "Euler, 1", over(quadratic_1.gradient, x1, rng=0).x[-1], np.array([[0.25]]), cold
    yield "LM, 1", over(quadratic_1.gradient, x1, rng=1, scheme=LM).x[-1], cold, np.array([[0.25]])
    law = euler_law(H3, MOBILITY, 0.3, 0.4)
    slow = {"n_steps": 120, "record_every": 120}
    over = partial(overdamped, quadratic_3.gradient, x3, temperature=0.3, step_size=0.4, mobility=MOBILITY, **slow)
    yield "Euler, 3", over(rng=2).x[-1], law, quadratic_3.covariance(0.3)
    yield "LM, 3", over(rng=3, scheme=LM).x[-1], quadratic_3.covariance(0.3), law
    path = underdamped(quadratic_3.gradient, x3, temperature=0.3, step_size=0.8, friction=MOBILITY, rng=4, **slow)
    yield "BAOAB, positions", path.x[-1], quadratic_3.covariance(0.3), quadratic_3.covariance(0.6)
    momenta = 0.3 * (np.eye(3) - 0.8**2 * H3 / 4)
    yield "BAOAB, momenta", path.p[-1], momenta, 0.3 * np.eye(3)
    root, g = np.linalg.cholesky(F3), sgdnoise.noise_scale(0.4, 5, 500)
    sde = {"noise_scale": g, "learning_rate": 0.4, "n_train": 500, "rng": 5}
    law = solve_discrete_lyapunov(np.eye(3) - 0.4 * H3, 0.4**2 * (1 / 5 - 1 / 500) * F3)
    with_replacement = law * (1 / 5) / (1 / 5 - 1 / 500) * 1.1
    yield "SDE", sgd_sde(lambda w: 500 * (w @ H3), root, x3, **sde, **slow).x[-1], law, with_replacement


def test_sampled_laws_at_rest():
    """30 000 independent walkers; each entry within 5 standard errors, 39 entries: false-positive rate 2.3e-5.

    Each law also rejects a wrong one, the continuous-time law of Euler at dt h = 0.8 among them.
    """
    for name, x, law, wrong in sampled_laws():
        z = z_scores(products(x), law)
        assert abs(z).max() < 5, (name, z)
        assert abs(z_scores(products(x), wrong)).max() > 8, name


def test_sampled_law_of_a_noise_that_depends_on_the_state():
    """F(w) = 1/2 + w^2: the second moment is a geometric series. 5 standard errors: false-positive rate 6e-7.

    Rejected: the root taken at w = 0.
    """
    learning_rate, g, n_train, n_steps = 0.2, 30.0, 100, 60
    gain = (1 - learning_rate) ** 2 + g * learning_rate / n_train  # of E w^2, per step; the noise adds half of the last
    expected = g * learning_rate / n_train / 2 * (1 - gain**n_steps) / (1 - gain)
    settings = {"noise_scale": g, "learning_rate": learning_rate, "n_train": n_train, "n_steps": n_steps}
    for factor, accepted in ((1.0, True), (0.0, False)):
        root = lambda w, factor=factor: np.sqrt(0.5 + factor * w**2)[:, :, None]
        w = sgd_sde(lambda w: n_train * w, root, np.zeros((40_000, 1)), record_every=n_steps, rng=6, **settings).x[-1]
        assert (abs(z_scores(w**2, expected)) < 5).all() == accepted


# 2. Orders of convergence


def slope(n_steps, errors):
    """Order of convergence: minus the slope of log(error) against log(number of steps)."""
    assert len(n_steps) == 5
    return -np.polyfit(np.log(n_steps), np.log(errors), 1)[0]


COUNTS = np.array([32, 64, 128, 256, 512])
TIME, STIFFNESS, FRICTION = 1.5, 1.3, 0.8


def linear_test(integrate, n_steps, extra_row=0):
    """Mean from x = 1 and the weights with which each normal enters the state at TIME, for U = STIFFNESS x^2/2."""
    rows = n_steps + extra_row
    settings = {"step_size": TIME / n_steps, "n_steps": n_steps, "record_every": n_steps, "temperature": T}
    gradient = lambda x: STIFFNESS * x
    mean = integrate(gradient, np.ones((1, 1)), noise=np.zeros((rows, 1, 1)), **settings)
    weights = integrate(gradient, np.zeros((rows, 1)), noise=np.eye(rows)[:, :, None], **settings)
    if mean.p is None:
        return mean.x[-1, 0], weights.x[-1]
    return np.array([mean.x[-1, 0, 0], mean.p[-1, 0, 0]]), np.concatenate([weights.x[-1], weights.p[-1]], axis=1)


LINEAR = {  # integrator, drift matrix, noise column, extra rows of noise, strong and weak order
    "euler-maruyama": (overdamped, [[-STIFFNESS]], [(2 * T) ** 0.5], 0, 1.0, 1.0),
    "leimkuhler-matthews": (partial(overdamped, scheme=LM), [[-STIFFNESS]], [(2 * T) ** 0.5], 1, 0.5, 1.0),
    "baoab": (
        partial(underdamped, friction=FRICTION),
        [[0.0, 1.0], [-STIFFNESS, -FRICTION]],
        [0.0, (2 * FRICTION * T) ** 0.5],
        0,
        1.0,
        2.0,
    ),
}


@pytest.mark.parametrize("name", LINEAR)
def test_strong_and_weak_order_on_a_linear_equation(name):
    """Exact, without sampling: the solution is Gaussian, and with xi_k = dW_k/sqrt(dt) so is its difference from the scheme.

    The solution weighs dW(s) with phi(s) = exp(A (TIME - s)) b, the scheme with w_k/sqrt(dt) throughout step k, so that the
    mean square error is the integral of |phi - w_k/sqrt(dt)|^2, here by Gauss-Legendre. Euler converges with strong order 1,
    because the noise is additive; Leimkuhler-Matthews only with 1/2, because a state holds half a normal of the next step;
    BAOAB with strong order 1 and weak order 2.
    """
    integrate, drift, column, extra_row, strong, weak = LINEAR[name]
    drift, column = np.array(drift), np.array(column)
    nodes, node_weights = np.polynomial.legendre.leggauss(6)
    strong_errors, mean_errors, variance_errors = [], [], []
    for n in COUNTS:
        mean, weights = linear_test(integrate, n, extra_row)
        dt = TIME / n
        times = (np.arange(n)[:, None] + (nodes + 1) / 2) * dt
        phi = expm(drift * (TIME - times)[..., None, None]) @ column
        cells = np.einsum("q,kqc->kc", node_weights * dt / 2, (phi - weights[:n, None] / dt**0.5) ** 2)
        strong_errors.append((cells.sum() + (weights[n:] ** 2).sum()) ** 0.5)
        exact_mean = expm(drift * TIME) @ np.eye(len(drift))[0]
        exact_variance = np.einsum("q,kqc->c", node_weights * dt / 2, phi**2)
        mean_errors.append(abs(mean - exact_mean)[0])
        variance_errors.append(abs((weights**2).sum(axis=0) - exact_variance)[0])
    assert slope(COUNTS, strong_errors) == pytest.approx(strong, abs=0.1)
    assert slope(COUNTS, mean_errors) == pytest.approx(weak, abs=0.1)
    assert slope(COUNTS, variance_errors) == pytest.approx(weak, abs=0.1)


def geometric(n_steps, noise, drift=-0.7, volatility=0.6):
    """sgd_sde on geometric Brownian motion dw = drift w dt + volatility w dW over unit time, from w = 1."""
    n_train = 10
    return sgd_sde(
        lambda w: -drift * w,
        lambda w: w[:, :, None],
        np.ones((noise.shape[1], 1)),
        noise_scale=volatility**2,
        learning_rate=n_train / n_steps,
        n_train=n_train,
        n_steps=n_steps,
        noise=noise,
        record_every=n_steps,
    ).x[-1, :, 0]


def test_strong_order_of_the_sde_with_multiplicative_noise():
    """Order 1/2, from 4000 Brownian paths coarse-grained to five step sizes; the exact solution is known on each path.

    The same paths at all step sizes: over seeds the slope scatters by 0.010, so that 0.1 is never reached by chance.
    """
    fine = 512
    increments = np.random.default_rng(7).standard_normal((fine, 4000, 1)) / fine**0.5
    exact = np.exp(-0.7 - 0.6**2 / 2 + 0.6 * increments.sum(axis=0)[:, 0])
    errors = []
    for n in COUNTS:
        coarse = increments.reshape(n, fine // n, 4000, 1).sum(axis=1)
        errors.append(np.mean((geometric(n, coarse * n**0.5) - exact) ** 2) ** 0.5)
    assert slope(COUNTS, errors) == pytest.approx(0.5, abs=0.1)


def test_weak_order_of_the_sde_with_multiplicative_noise():
    """Order 1. Exact: random signs have the first three moments of normals, and all 2^n paths of n signs are run."""
    counts = np.array([4, 6, 8, 10, 12])
    errors = []
    for n in counts:
        signs = 2.0 * ((np.arange(2**n) >> np.arange(n)[:, None]) & 1) - 1
        w = geometric(n, signs[:, :, None], drift=-0.4, volatility=0.3)
        errors.append([abs(w.mean() - np.exp(-0.4)), abs((w**2).mean() - np.exp(-0.8 + 0.09))])
    for column in np.array(errors).T:
        assert slope(counts, column) == pytest.approx(1.0, abs=0.1)


# 3. Boltzmann, equipartition, Kramers


def total_variation(x, well, temperature, n_bins=50):
    """Half the sum over bins of |fraction of walkers - Boltzmann's probability|."""
    low, high = well.interval(temperature)
    grid = np.linspace(low, high, 100 * n_bins + 1)
    midpoints = (grid[1:] + grid[:-1]) / 2
    density = boltzmann_density(well.energy, temperature, [midpoints]).reshape(n_bins, 100).sum(axis=1)
    counts = np.histogram(x, grid[::100])[0]
    return abs(counts / x.size - density / density.sum()).sum() / 2


@pytest.fixture(scope="module")
def settled():
    """1e5 walkers of each scheme in the double well at T = 1, half from each minimum, after they have settled."""
    well = DoubleWell(tilt=-0.2)
    x0 = np.repeat(np.array(well.minima, np.float32), 50_000)[:, None]
    over = partial(overdamped, well.gradient, x0)
    euler = over(step_size=0.008, n_steps=1100, rng=0, record_every=1100)
    lm = over(step_size=0.0125, n_steps=720, scheme=LM, rng=1, record_every=720)
    under = underdamped(well.gradient, x0, step_size=0.06, n_steps=350, rng=2, record_every=350)
    return well, {EULER: euler.x[-1], LM: lm.x[-1], "baoab": under.x[-1]}, under.p[-1]


@pytest.mark.parametrize("scheme", [*SCHEMES, "baoab"])
def test_boltzmann_law_of_the_double_well(settled, scheme):
    """Total variation from quadrature under 2% in 50 bins; chance explains 0.6% and Euler's step size another 0.6%.

    By McDiarmid's inequality chance exceeds its mean by 0.8% with probability exp(-2e5 * 0.008^2) = 3e-6 at most, for each of
    three. Rejected: the density at half the temperature, which a missing 2 under the root would give.
    """
    well, positions, _ = settled
    x = positions[scheme]
    assert x.dtype == np.float32
    assert total_variation(x, well, 1.0) < 0.02
    assert total_variation(x, well, 0.5) > 0.1
    wide = np.mean(x < well.top)
    assert wide == pytest.approx(well.occupation(1.0)[0], abs=0.01)


def test_equipartition(settled):
    """<x U'(x)> = T and <p^2> = T within 5 standard errors, 1e5 walkers: false-positive rate 2e-6 for the three.

    Of the discretisation, BAOAB's momenta are too cold by dt^2 <U''>/4 = 0.4%, less than a standard error, and
    Leimkuhler-Matthews and BAOAB's positions are wrong by order dt^2. Rejected: temperatures off by 10%.
    """
    well, positions, p = settled
    for values in (p.astype(float) ** 2, *(x * well.gradient(x) for x in map(np.float64, (positions[LM], positions["baoab"])))):
        z = z_scores(values, 1.0)
        assert abs(z) < 5
        assert min(abs(z_scores(values, 1.1)), abs(z_scores(values, 0.9))) > 5


def test_leimkuhler_matthews_has_the_smaller_bias_at_rest():
    """The mean energy in a double well at a large step: Euler's is 10% too high, Leimkuhler-Matthews' is right.

    40 000 walkers, 5 standard errors: false-positive rate 6e-7.
    """
    well = DoubleWell(skew=0.0)
    grid = np.linspace(*well.interval(1.0), 2001)
    density = boltzmann_density(well.energy, 1.0, [grid])
    exact = density @ well.energy(grid[:, None]) / density.sum()
    x0 = np.random.default_rng(3).choice(well.minima, (40_000, 1))
    run = partial(overdamped, well.gradient, x0, step_size=0.03, n_steps=200, rng=4, record_every=200)
    assert abs(z_scores(well.energy(run(scheme=LM).x[-1]), exact)) < 5
    assert abs(z_scores(well.energy(run(scheme=EULER).x[-1]), exact)) > 10


SETTLING = 2.0


def escape_time(well, inverse_temperature, rng, n_walkers=3000):
    """Mean time from the narrow to the wide minimum, and the number of escapes it was measured from.

    Once the walkers have settled in their well, escapes are a Poisson process: time at risk over the number of escapes is the
    maximum likelihood estimate, from a run that most walkers do not escape in.
    """
    wide, narrow = well.minima
    duration = SETTLING + 0.35 * mean_passage_time(well.energy, narrow, wide, 3.0, 1 / inverse_temperature)
    x0 = np.full((n_walkers, 1), narrow, np.float32)
    settings = {"step_size": 0.02, "n_steps": int(duration / 0.02), "temperature": 1 / inverse_temperature}
    path = overdamped(well.gradient, x0, rng=rng, record_every=10, **settings)
    there = path.x[:, :, 0] <= wide
    times = np.where(there.any(axis=0), path.time[there.argmax(axis=0)], path.time[-1])
    n_escapes = np.count_nonzero(there.any(axis=0) & (times > SETTLING))
    return np.maximum(times - SETTLING, 0).sum() / n_escapes, n_escapes


def test_kramers_slope():
    """log(escape time) against 1/T has the barrier's height as its slope, within 10%.

    About 900 escapes at each temperature: the standard error of the slope is 1.5%, and the exact slope (quadrature) is 0.96
    of the height, more than 4 standard errors inside: false-positive rate 1e-5. Each time agrees with the exact one within 5
    standard errors and the 8% that the step size takes off (1% at half of it). Rejected: the height seen from the
    other side.
    """
    well = DoubleWell(tilt=-0.3)
    inverse = np.array([3.5, 4.5, 5.5, 6.5])
    wide, narrow = well.minima
    times, n_escapes = np.transpose([escape_time(well, beta, 10 + i) for i, beta in enumerate(inverse)])
    measured = np.polyfit(inverse, np.log(times), 1)[0]
    assert measured == pytest.approx(well.heights[1], rel=0.1)
    assert measured != pytest.approx(well.heights[0], rel=0.1)
    exact = np.array([mean_passage_time(well.energy, narrow, wide, 3.0, 1 / beta) for beta in inverse])
    assert (abs(times / exact - 1) < 0.08 + 5 / n_escapes**0.5).all()


# 4. The schemes against their definitions, and the arguments


def naive(scheme, gradient, x, noise, *, dt, temperature, mobility=1.0, friction=1.0, p=None):
    """The schemes as they are defined, one line each: what the code must equal."""
    path = [x]
    for t, temp in enumerate(temperature):
        if scheme == "baoab":
            keep = np.exp(-friction * dt)
            p = p - dt / 2 * gradient(x)
            x = x + dt / 2 * p
            p = keep * p + np.sqrt(temp * (1 - keep**2)) * noise[t]
            x = x + dt / 2 * p
            p = p - dt / 2 * gradient(x)
        else:
            xi = noise[t] if scheme == EULER else (noise[t] + noise[t + 1]) / 2
            x = x - mobility * dt * gradient(x) + np.sqrt(2 * mobility * temp * dt) * xi
        path.append(x)
    return np.array(path)


@pytest.mark.parametrize("scheme", [*SCHEMES, "baoab"])
@pytest.mark.parametrize("per_dimension", [False, True])
def test_annealed_paths_equal_the_definition(scheme, per_dimension):
    """Temperatures that vary by step, mobility or friction that varies by dimension, and a landscape that is not linear."""
    rng = np.random.default_rng(8)
    n_steps, well = 40, DoubleWell(tilt=0.3)
    x0, p0 = rng.normal(size=(2, 5, 2))
    noise = rng.standard_normal((n_steps + (scheme == LM), 5, 2))
    temperature, rate = np.geomspace(2.0, 0.01, n_steps), np.array([0.4, 1.7]) if per_dimension else 0.6
    settings = {"step_size": 0.05, "n_steps": n_steps, "temperature": temperature, "noise": noise}
    if scheme == "baoab":
        path = underdamped(well.gradient, x0, friction=rate, p0=p0, **settings)
        expected = naive(scheme, well.gradient, x0, noise, dt=0.05, temperature=temperature, friction=rate, p=p0)
    else:
        path = overdamped(well.gradient, x0, mobility=rate, scheme=scheme, **settings)
        expected = naive(scheme, well.gradient, x0, noise, dt=0.05, temperature=temperature, mobility=rate)
    np.testing.assert_allclose(path.x, expected, rtol=1e-10, atol=1e-12)


def test_sde_paths_equal_the_definition():
    """Learning rates and noise scales that vary by step, and more noises than dimensions."""
    rng = np.random.default_rng(9)
    n_train, n_steps = 50, 30
    x0, noise, root = rng.normal(size=(4, 2)), rng.standard_normal((n_steps, 4, 3)), rng.normal(size=(4, 2, 3))
    eps, g = np.linspace(0.5, 0.1, n_steps), np.linspace(3.0, 0.0, n_steps)
    gradient = lambda w: n_train * np.sin(w)
    root_of = lambda w: root * np.cos(w)[:, :, None]
    path = sgd_sde(gradient, root_of, x0, noise_scale=g, learning_rate=eps, n_train=n_train, n_steps=n_steps, noise=noise)
    w = x0
    for t in range(n_steps):
        dt = eps[t] / n_train
        w = w - dt * gradient(w) + np.sqrt(g[t] * dt) * np.array([r @ xi for r, xi in zip(root_of(w), noise[t], strict=True)])
        np.testing.assert_allclose(path.x[t + 1], w, rtol=1e-10, atol=1e-12)
    np.testing.assert_array_equal(path.step, np.arange(n_steps + 1))
    np.testing.assert_allclose(path.time, np.concatenate([[0], np.cumsum(eps)]) / n_train)


def simple_sde(grad_energy, x0, *, step_size, temperature=1.0, **kwargs):
    """sgd_sde in the clothes of overdamped, which with F = I and g = 2 T it equals."""
    root = np.eye(x0.shape[1], dtype=x0.dtype)
    return sgd_sde(grad_energy, root, x0, noise_scale=2.0 * temperature, learning_rate=step_size * 7, n_train=7, **kwargs)


INTEGRATORS = {
    "euler-maruyama": overdamped,
    "leimkuhler-matthews": partial(overdamped, scheme=LM),
    "baoab": underdamped,
    "sde": simple_sde,
}
every_integrator = pytest.mark.parametrize("integrate", INTEGRATORS.values(), ids=INTEGRATORS)


@pytest.mark.parametrize(
    "rates",
    [
        np.array([1e8] + [1.0] * 1000, np.float32),
        np.array([2048] + [1.0] * 500, np.float16),
        np.full(3000, 0.1, np.float32),
        np.random.default_rng(0).uniform(0.5, 1.5, 2000).astype(np.float32),
        np.geomspace(1e-12, 1, 300),
        np.arange(1, 50),
    ],
    ids=["large-first", "half", "tenths", "uniform", "double", "integers"],
)
def test_time_is_added_up_in_double(rates):
    """The sum of eps/N in rational arithmetic, whatever the precision of the rates."""
    n = len(rates)
    settings = {"noise_scale": 0.0, "n_train": 7, "n_steps": n, "rng": 0, "record_every": n // 2}
    path = sgd_sde(lambda w: 0 * w, np.zeros((1, 1)), np.zeros((1, 1)), learning_rate=rates, **settings)
    exact = [sum(map(Fraction, rates[:k].astype(float).tolist())) / 7 for k in path.step]
    np.testing.assert_allclose(path.time, np.array(exact, float), rtol=1e-12)
    assert path.time.dtype == np.float64


def test_sgd_sde_with_isotropic_noise_is_overdamped_dynamics():
    x0, well = np.linspace(-1, 1, 6).reshape(3, 2), DoubleWell()
    settings = {"step_size": 0.02, "n_steps": 50, "temperature": 0.4, "rng": 0}
    path, same = overdamped(well.gradient, x0, **settings), simple_sde(well.gradient, x0, **settings)
    np.testing.assert_allclose(same.x, path.x, rtol=1e-12)
    np.testing.assert_allclose(same.time, path.time, rtol=1e-12)


@every_integrator
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_rng_noise_and_records(integrate, dtype):
    """The same rng gives the same path, and `noise` the one that rng would have drawn; arguments are left alone."""
    x0 = np.linspace(-1, 1, 6, dtype=dtype).reshape(3, 2)
    kept, well = x0.copy(), DoubleWell()
    run = partial(integrate, well.gradient, x0, step_size=0.01, n_steps=10)
    path = run(rng=5)
    np.testing.assert_array_equal(x0, kept)
    assert path.x.dtype == dtype
    assert path.x.shape == (11, 3, 2)
    np.testing.assert_array_equal(path.x[0], x0)
    np.testing.assert_array_equal(path.x, run(rng=np.random.default_rng(5)).x)
    assert (path.x != run(rng=6).x)[1:].all()
    rows = 10 + (integrate is INTEGRATORS[LM])
    noise = np.random.default_rng(5).standard_normal((rows, 3, 2), dtype=dtype)
    np.testing.assert_array_equal(path.x, run(noise=noise).x)
    thinned = run(rng=5, record_every=3)
    np.testing.assert_array_equal(thinned.step, [0, 3, 6, 9])
    np.testing.assert_allclose(thinned.time, [0.0, 0.03, 0.06, 0.09])
    np.testing.assert_array_equal(thinned.x, path.x[::3])
    if path.p is not None:
        np.testing.assert_array_equal(thinned.p, path.p[::3])


@every_integrator
def test_a_gradient_may_return_its_argument(integrate):
    run = partial(integrate, x0=np.ones((4, 1)), step_size=0.1, n_steps=20, rng=0)
    np.testing.assert_array_equal(run(lambda x: x).x, run(lambda x: x.copy()).x)


def test_one_walker_and_zero_temperature_is_gradient_descent():
    path = overdamped(lambda x: x, np.ones((1, 1)), step_size=0.5, n_steps=3, temperature=0.0)
    np.testing.assert_array_equal(path.x[:, 0, 0], [1, 0.5, 0.25, 0.125])
    np.testing.assert_array_equal(path.x, overdamped(lambda x: x, np.ones((1, 1)), step_size=0.5, n_steps=3, temperature=0).x)


@every_integrator
def test_memory_does_not_grow_with_the_number_of_steps(integrate):
    """Ten records in either case; what is left over is the integers that count them."""
    x0 = np.zeros((200, 2))
    peaks = []
    for n_steps in (100, 100, 2000):  # the first run warms up
        tracemalloc.start()
        integrate(lambda x: x, x0, step_size=0.01, n_steps=n_steps, record_every=n_steps // 10, rng=0)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[2] < peaks[1] + 2000


@every_integrator
def test_a_step_allocates_nothing(integrate):
    """From step 10 to step 90 the peak stays within a hundredth of one array above what is in use, gradient apart."""
    x0, calls, excess = np.zeros((10_000, 2)), 0, []

    def gradient(x):
        nonlocal calls
        calls += 1
        if calls == 10:
            tracemalloc.reset_peak()
        if calls == 90:
            excess.append(tracemalloc.get_traced_memory()[1] - tracemalloc.get_traced_memory()[0])
        return x

    tracemalloc.start()
    integrate(gradient, x0, step_size=0.01, n_steps=100, record_every=100, rng=0)
    tracemalloc.stop()
    assert excess[0] < x0.nbytes / 100


@every_integrator
def test_divergence_is_an_error_without_warnings(integrate):
    x0 = np.zeros((20, 1))
    x0[3] = 3000.0
    with pytest.raises(TrajectoryDivergenceError, match="1 of 20 walkers") as caught:  # warnings are errors here
        integrate(lambda x: x**3, x0, step_size=0.01, n_steps=5000, rng=0)
    error = caught.value
    assert (error.step, error.step_size, error.n_lost, error.n_walkers) == (100, pytest.approx(0.01), 1, 20)
    assert isinstance(error, ArithmeticError)
    assert str(pickle.loads(pickle.dumps(error))) == str(error)
    assert "step size 0.01; a smaller step" in str(error)


@every_integrator
def test_divergence_in_the_last_steps_is_noticed(integrate):
    with pytest.raises(TrajectoryDivergenceError, match="after 7 steps"):
        integrate(lambda x: x * np.inf, np.ones((2, 1)), step_size=0.01, n_steps=7, rng=0)


def test_large_but_finite_is_not_divergence():
    """The sum over walkers overflows in float32, the walkers do not."""
    x0 = np.full((100, 1), 1e38, np.float32)
    assert np.isfinite(overdamped(np.zeros_like, x0, step_size=0.01, n_steps=3, rng=0).x).all()


@pytest.mark.parametrize("scheme", [*SCHEMES, "baoab"])
def test_temperature_mobility_and_friction_are_1_where_none_is_given(scheme):
    rng = np.random.default_rng(10)
    x0, noise, well = rng.normal(size=(5, 2)), rng.standard_normal((12 + (scheme == LM), 5, 2)), DoubleWell(tilt=0.3)
    settings = {"step_size": 0.05, "n_steps": 12, "noise": noise} | ({"scheme": scheme} if scheme == LM else {})
    path = (underdamped if scheme == "baoab" else overdamped)(well.gradient, x0, **settings)
    expected = naive(scheme, well.gradient, x0, noise, dt=0.05, temperature=np.ones(12), p=np.zeros_like(x0))
    np.testing.assert_allclose(path.x, expected, rtol=1e-10, atol=1e-12)


def test_single_precision_is_computed_in_single_precision():
    """To the last bit: whatever comes in double precision is rounded first, and no number from outside makes a product double.

    Products in double precision, rounded afterwards, have another last bit in a fifth of the cases; here there are hundreds.
    """
    rng = np.random.default_rng(11)
    x0, noise = (rng.standard_normal(shape, dtype=np.float32) for shape in ((200, 3), (5, 200, 3)))
    p0, root, rate = rng.normal(size=(200, 3)), rng.normal(size=(3, 3)), rng.uniform(0.3, 2.0, 3)
    settings = {"step_size": 0.1, "n_steps": 5, "noise": noise}
    for integrate, name in ((overdamped, "mobility"), (underdamped, "friction")):
        path, rounded = (integrate(lambda x: x, x0, **settings, **{name: value}) for value in (rate, rate.astype(np.float32)))
        assert path.x.dtype == np.float32
        np.testing.assert_array_equal(path.x, rounded.x)
    path, rounded = (underdamped(lambda x: x, x0, **settings, p0=value) for value in (p0, p0.astype(np.float32)))
    assert path.p.dtype == np.float32
    np.testing.assert_array_equal(path.p, rounded.p)
    sde = partial(sgd_sde, lambda w: w, x0=x0, noise_scale=1.0, learning_rate=0.1, n_train=1, n_steps=5, noise=noise)
    np.testing.assert_array_equal(sde(noise_root=root).x, sde(noise_root=root.astype(np.float32)).x)
    # A free particle at T = 0 only forgets its momentum, by one factor a step.
    free = underdamped(np.zeros_like, x0, step_size=0.1, n_steps=1, temperature=0.0, friction=0.7, p0=x0)
    np.testing.assert_array_equal(free.p[1], x0 * np.float32(math.exp(-0.1 * 0.7)))


def test_a_root_in_double_precision_serves_parameters_in_single():
    """One root for each walker, as a callable returns it, against the same from an array."""
    x0, root = np.linspace(-1, 1, 6, dtype=np.float32).reshape(3, 2), np.array([[0.5, 0.1, 0.0], [-0.3, 0.2, 0.9]])
    settings = {"noise_scale": 1.0, "learning_rate": 0.1, "n_train": 1, "n_steps": 5, "rng": 0}
    path = sgd_sde(lambda w: w, lambda w: np.tile(root, (len(w), 1, 1)), x0, **settings)
    assert path.x.dtype == np.float32
    np.testing.assert_allclose(path.x, sgd_sde(lambda w: w, root, x0, **settings).x, rtol=1e-5, atol=1e-6)


@every_integrator
@pytest.mark.parametrize(
    "function", [lambda x: np.exp(1000 * x), lambda x: 1 / (x - x), lambda x: np.log(x - 2)], ids=["over", "divide", "invalid"]
)
def test_a_gradient_that_is_not_finite_from_the_start_is_divergence(integrate, function):
    """NumPy's warnings, errors here, are silenced in the very first call, too."""
    with pytest.raises(TrajectoryDivergenceError, match="2 of 2 walkers are not finite after 3 steps"):
        integrate(function, np.ones((2, 1)), step_size=0.01, n_steps=3, rng=0)


def test_divergence_reports_the_step_size_in_force_and_all_that_are_lost():
    """Learning rates that fall: the one of the last step before walkers were looked at, 100 of 150."""
    x0, eps = np.zeros((20, 2)), np.linspace(0.5, 0.1, 150)
    x0[[3, 8], 1] = 3000.0
    with pytest.raises(TrajectoryDivergenceError, match="2 of 20 walkers") as caught:
        sgd_sde(lambda w: w**3, np.eye(2), x0, noise_scale=0.0, learning_rate=eps, n_train=10, n_steps=150)
    error = caught.value
    assert (error.step, error.n_lost, error.n_walkers) == (100, 2, 20)
    assert error.step_size == pytest.approx(eps[99] / 10, rel=1e-12)
    assert error.args == (error.step, error.step_size, error.n_lost, error.n_walkers)
    assert str(TrajectoryDivergenceError(*error.args)) == str(error)


def test_a_callable_that_changes_its_answer_is_named():
    """In the first call, of two walkers and three steps, it gives what it should."""

    def fickle(right, wrong):
        answers = iter([right])
        return lambda w: next(answers, wrong)

    settings = {"noise_scale": 1.0, "learning_rate": 0.1, "n_train": 5, "n_steps": 3, "rng": 0}
    for gradient, root, message in (
        (lambda w: w, fickle(np.eye(2), np.eye(3)), r"noise_root must return an array of shape \(2, 2\), .* got \(3, 3\)"),
        (lambda w: w[0], np.eye(2), r"grad_cost must return an array of shape \(2, 2\), .* got \(2,\)"),
    ):
        with pytest.raises(ValueError, match="^" + message):
            sgd_sde(gradient, root, np.zeros((2, 2)), **settings)


BAD = [
    ({"step_size": 0.0}, ValueError, "step_size must be finite and above 0"),
    ({"step_size": float("nan")}, ValueError, "step_size must be finite"),
    ({"step_size": "0.1"}, TypeError, "step_size must be a number"),
    ({"n_steps": 0}, ValueError, "n_steps must be an integer, at least 1"),
    ({"n_steps": 2.0}, TypeError, "n_steps must be an integer"),
    ({"record_every": 11}, ValueError, "n_steps=10, got 11; only every record_every-th step is recorded$"),
    ({"temperature": -1.0}, ValueError, "temperature must be finite and at least 0"),
    ({"temperature": np.ones(9)}, ValueError, r"array of shape \(10,\), got shape \(9,\); one temperature"),
    ({"temperature": True}, TypeError, "temperature must be a number"),
    ({"x0": np.zeros(3)}, ValueError, r"of shape \(n_walkers, n_dims\), got shape \(3,\); one row .* write x0\[None, :\]$"),
    ({"x0": np.zeros((3, 2), int)}, TypeError, "x0 must be a float32 or float64 array"),
    ({"x0": np.array([[np.inf, 0.0]])}, ValueError, "x0 must be finite"),
    (
        {"noise": np.zeros((9, 3, 2))},
        ValueError,
        r"noise must be .*shape \(10, 3, 2\), .*; standard normals, in the order in which",
    ),
    ({"noise": np.zeros((10, 3, 2)), "rng": 0}, ValueError, "^noise must be None when rng is given, got both"),
    ({"grad_energy": None}, TypeError, "grad_energy must be callable"),
    ({"grad_energy": lambda x: x[0]}, ValueError, r"grad_energy must return an array of shape \(3, 2\), .* got \(2,\)"),
    ({"grad_energy": lambda x: 1.0}, ValueError, "grad_energy must return .* type float"),
]


@pytest.mark.parametrize("integrate", [overdamped, underdamped], ids=["overdamped", "underdamped"])
@pytest.mark.parametrize(
    ("change", "error", "message"), BAD, ids=lambda value: "-".join(value) if isinstance(value, dict) else ""
)
def test_bad_arguments(integrate, change, error, message):
    arguments = {"grad_energy": lambda x: x, "x0": np.zeros((3, 2)), "step_size": 0.1, "n_steps": 10} | change
    with pytest.raises(error, match=message):
        integrate(arguments.pop("grad_energy"), arguments.pop("x0"), **arguments)


@pytest.mark.parametrize(
    ("integrate", "change", "error", "message"),
    [
        (overdamped, {"mobility": 0.0}, ValueError, "mobility must be finite and above 0"),
        (overdamped, {"mobility": np.ones(3)}, ValueError, "one entry for each dimension"),
        (overdamped, {"scheme": "heun"}, ValueError, "scheme must be one of 'euler-maruyama', 'leimkuhler-matthews'"),
        (overdamped, {"scheme": LM, "noise": np.zeros((10, 3, 2))}, ValueError, r"shape \(11, 3, 2\)"),
        (underdamped, {"friction": -0.1}, ValueError, "friction must be finite and at least 0"),
        (underdamped, {"p0": np.zeros((3, 1))}, ValueError, "p0 must be .* of the shape of x0"),
    ],
)
def test_bad_arguments_of_one(integrate, change, error, message):
    with pytest.raises(error, match=message):
        integrate(lambda x: x, np.zeros((3, 2)), **({"step_size": 0.1, "n_steps": 10} | change))


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"noise_scale": -1.0}, ValueError, "noise_scale must be finite and at least 0"),
        ({"noise_scale": np.ones(4)}, ValueError, "one noise scale for each step"),
        ({"learning_rate": 0}, ValueError, "learning_rate must be finite and above 0"),
        ({"learning_rate": np.ones(4)}, ValueError, "one learning rate for each step"),
        ({"n_train": 0}, ValueError, "n_train must be an integer"),
        ({"noise_root": 1.0}, TypeError, "noise_root must be callable"),
        ({"noise_root": np.eye(3)}, ValueError, r"noise_root must be a float32 or float64 array of shape \(2, n_noise\)"),
        ({"noise_root": lambda w: np.ones(2)}, ValueError, r"noise_root must return .*\(2, n_noise\) or \(3, 2, n_noise\)"),
        ({"noise_root": lambda w: 1.0}, ValueError, r"noise_root must return .* got shape \(\); R such that R @ R.T is F"),
        ({"noise": np.zeros((10, 3, 1))}, ValueError, r"noise must be .*shape \(10, 3, 2\)"),
    ],
)
def test_bad_arguments_of_sgd_sde(change, error, message):
    arguments = {"noise_root": np.eye(2), "noise_scale": 1.0, "learning_rate": 0.1, "n_train": 5, "n_steps": 10} | change
    with pytest.raises(error, match=message):
        sgd_sde(lambda w: w, arguments.pop("noise_root"), np.zeros((3, 2)), **arguments)


# 5. The landscapes


LANDSCAPES = [
    quadratic_3,
    DoubleWell(),
    DoubleWell(barrier=2.0, tilt=-1.5, skew=0.3),
    Rugged(),
    GaussianWells(),
    GaussianWells(centres=((0.0, 1.0, 2.0),), depths=(1.0,), widths=(0.5,)),
]


@pytest.mark.parametrize("landscape", LANDSCAPES, ids=lambda landscape: type(landscape).__name__)
def test_gradients_are_those_of_the_energy(landscape):
    n_dims = {Quadratic: 3, GaussianWells: len(getattr(landscape, "centres", [[0, 0]])[0])}.get(type(landscape), 2)
    x, step = np.random.default_rng(0).normal(scale=1.5, size=(50, n_dims)), 1e-5
    numeric = [(landscape.energy(x + step * e) - landscape.energy(x - step * e)) / (2 * step) for e in np.eye(n_dims)]
    assert landscape.energy(x).shape == (50,)
    np.testing.assert_allclose(landscape.gradient(x), np.transpose(numeric), rtol=1e-6, atol=1e-7)
    if landscape is not quadratic_3:
        assert landscape.gradient(x.astype(np.float32)).dtype == np.float32


@pytest.mark.parametrize("well", [DoubleWell(), DoubleWell(2.0, -1.5, 0.3), DoubleWell(1.0, 0.8, 0.9), DoubleWell(skew=0)])
def test_double_well_is_known_in_closed_form(well):
    """Minima, barrier, energies and curvatures against a search on the energy itself."""
    energy = lambda x: well.energy(np.array([[x]]))[0]
    step = 1e-4
    curvature = lambda x: (energy(x + step) + energy(x - step) - 2 * energy(x)) / step**2
    low, high = well.interval(1.0)
    top = minimize_scalar(lambda x: -energy(x), bounds=well.minima, method="bounded", options={"xatol": 1e-10}).x
    assert well.top == pytest.approx(top, abs=1e-6)
    assert well.top_curvature == pytest.approx(-curvature(top), rel=1e-5)
    for i, bounds in enumerate([(low, top), (top, high)]):
        x = minimize_scalar(energy, bounds=bounds, method="bounded", options={"xatol": 1e-10}).x
        assert well.minima[i] == pytest.approx(x, abs=1e-6)
        assert well.heights[i] == pytest.approx(energy(top) - energy(x), abs=1e-9)
        assert well.curvatures[i] == pytest.approx(curvature(x), rel=1e-5)
    assert well.heights[0] - well.heights[1] == pytest.approx(well.tilt)
    assert min(energy(low), energy(high)) > 40


def test_occupation_of_the_double_well():
    """Against adaptive quadrature; at low temperature the ratio is that of the curvatures' roots times exp(tilt/T)."""
    well = DoubleWell(tilt=0.1)
    weight = lambda x: np.exp(-well.energy(np.array([[x]]))[0] / 0.5)
    wide, narrow = quad(weight, -8, well.top)[0], quad(weight, well.top, 4)[0]
    assert well.occupation(0.5) == pytest.approx((wide / (wide + narrow), narrow / (wide + narrow)), rel=1e-6)
    wide, narrow = well.occupation(0.01)
    gaussian = (well.curvatures[1] / well.curvatures[0]) ** 0.5 * np.exp(0.1 / 0.01)
    assert wide / narrow == pytest.approx(gaussian, rel=0.03)
    assert wide + narrow == pytest.approx(1.0)


def test_boltzmann_density_obeys_the_virial_theorem():
    """<x . grad U> = n_dims T, in one and two dimensions; and a Gaussian's covariance."""
    for landscape, axes in (
        (DoubleWell(tilt=-0.5), [np.linspace(-4, 4, 2001)]),
        (Rugged(), [np.linspace(-30, 30, 20_001)]),
        (GaussianWells(), [np.linspace(-12, 12, 801)] * 2),
    ):
        density = boltzmann_density(landscape.energy, 0.6, axes)
        points = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, len(axes))
        weights = density.ravel() * np.prod([axis[1] - axis[0] for axis in axes])
        assert weights.sum() == pytest.approx(1.0)
        virial = weights @ (points * landscape.gradient(points)).sum(axis=1)
        assert virial == pytest.approx(0.6 * len(axes), rel=1e-6)


def test_passage_times():
    """Free diffusion L^2/2D from a wall, also mirrored and from the middle; Kramers' law in the limit of low temperature."""
    flat = lambda x: np.zeros(len(x))
    assert mean_passage_time(flat, 0.0, 2.0, 0.0, 0.5, mobility=4.0) == pytest.approx(1.0)
    assert mean_passage_time(flat, 0.0, -2.0, 0.0, 2.0) == pytest.approx(1.0)
    assert mean_passage_time(flat, 1.0, 2.0, 0.0, 1.0) == pytest.approx((4 - 1) / 2)
    well = DoubleWell(tilt=-0.2)
    wide, narrow = well.minima
    for begin, target, wall, i in ((wide, narrow, -4.0, 0), (narrow, wide, 3.0, 1)):
        errors = []
        for temperature in (0.08, 0.04):
            exact = mean_passage_time(well.energy, begin, target, wall, temperature, mobility=2.0)
            errors.append(exact / well.escape_times(temperature, mobility=2.0)[i] - 1)
        assert 0.01 < errors[0] < 0.1
        assert errors[0] / errors[1] == pytest.approx(2, abs=0.3)  # of order T/height


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: Quadratic(np.ones((2, 3))), ValueError, "hessian must be a square matrix"),
        (lambda: Quadratic(np.array([[1.0, 2.0], [0.0, 1.0]])), ValueError, "hessian must be symmetric"),
        (lambda: Quadratic(-np.eye(2)), ValueError, "hessian must be positive definite"),
        (lambda: DoubleWell(0.0), ValueError, "barrier must be finite and above 0"),
        (lambda: DoubleWell(tilt=6.0), ValueError, "tilt must be .* one of the minima is none"),
        (lambda: DoubleWell(skew=1.0), ValueError, "skew must be .* below 1"),
        (lambda: DoubleWell().occupation(0.0), ValueError, "temperature must be finite and above 0"),
        (lambda: Rugged(curvature=0.0), ValueError, "curvature must be"),
        (lambda: Rugged(amplitudes=(1.0,)), TypeError, "amplitudes must be a pair"),
        (lambda: Rugged(wavelengths=(1.0, 0.0)), ValueError, "wavelengths must be"),
        (lambda: GaussianWells(depths=(1.0,)), ValueError, "one entry for each hole"),
        (lambda: GaussianWells(widths=(1.0, 0.0)), ValueError, "widths must be"),
        (lambda: boltzmann_density(DoubleWell().energy, 0.0, [np.arange(3.0)]), ValueError, "temperature must be"),
        (lambda: boltzmann_density(DoubleWell().energy, 1.0, [[0.0, 1.0]]), TypeError, "axes must be"),
        (lambda: kramers_time(1.0, 1.0, -1.0, 1.0), ValueError, "it is -U'', not U''"),
        (lambda: mean_passage_time(DoubleWell().energy, 0.0, 1.0, 0.5, 1.0), ValueError, "begin must be between"),
    ],
)
def test_bad_landscapes(make, error, message):
    with pytest.raises(error, match=message):
        make()
