"""Figures `wells` and `sgld`: predictions against other oracles, tasks against loops written out, and what verdicts reject."""

import numpy as np
import pytest
from scipy.integrate import dblquad, quad
from scipy.optimize import minimize
from scipy.special import expit

from sgdnoise.langevin import overdamped
from sgdnoise.reproduce import SCALES, sgld, wells
from sgdnoise.reproduce.sgld_tasks import (
    EDGES,
    TOY,
    LogisticTask,
    MixtureTask,
    best_fit,
    images,
    scores_of,
    sigmoid,
    window_means,
)
from sgdnoise.reproduce.tasks import stream
from sgdnoise.reproduce.well_tasks import (
    STEP_SIZE,
    WELL,
    EscapeTask,
    OccupationTask,
    SgdTask,
    discrete_occupation,
    passage_time,
    relaxation_time,
)

WIDE, NARROW = WELL.minima


pytestmark = pytest.mark.usefixtures("few_resamples")


def energy(x):
    return float(WELL.energy(np.array([[x]]))[0])


# 1. Wells: predictions


@pytest.mark.parametrize("well", ["wide", "narrow"])
def test_passage_times_by_adaptive_quadrature(well):
    temperature, sign = 0.4, 1.0 if well == "wide" else -1.0
    begin, target = sorted((sign * WIDE, sign * NARROW))

    def inner(y):
        return quad(lambda z: np.exp(-energy(sign * z) / temperature), -6.0, y, points=[begin], limit=200)[0]

    expected = quad(lambda y: np.exp(energy(sign * y) / temperature) * inner(y), begin, target)[0] / temperature
    assert passage_time(well, temperature) == pytest.approx(expected, rel=1e-5)


def test_relaxation_time_is_that_of_two_states():
    there, back = passage_time("wide", 0.3), passage_time("narrow", 0.3)
    assert relaxation_time(0.3) == pytest.approx(there * back / (there + back))
    assert relaxation_time(4.0) == 2.0


def test_occupation_at_a_finite_step():
    """Against Euler-Maruyama itself, at a step large enough to see: 5 standard errors, where Boltzmann's law is off by 8."""
    x0 = np.repeat(WELL.minima, 15_000)[:, None]
    path = overdamped(WELL.gradient, x0, step_size=0.03, n_steps=500, temperature=1.0, rng=0, record_every=500)
    wide = np.mean(path.x[-1] < WELL.top)
    error = (wide * (1 - wide) / 30_000) ** 0.5
    assert abs(wide - discrete_occupation(1.0, 0.03)) < 5 * error
    assert abs(wide - WELL.occupation(1.0)[0]) > 8 * error


@pytest.mark.parametrize("temperature", [0.25, 1.0, 3.0])
def test_occupation_at_a_finite_step_tends_to_boltzmanns_law(temperature):
    boltzmann = WELL.occupation(temperature)[0]
    biases = [discrete_occupation(temperature, step) - boltzmann for step in (0.0025, 0.005, 0.01)]
    assert 0 < biases[2] < 0.015
    assert biases[1] / biases[0] == pytest.approx(2, rel=0.1)
    assert discrete_occupation(temperature, 0.01, 900) == pytest.approx(boltzmann + biases[2], abs=1e-4)


# 2. Wells: tasks


def test_occupation_task_is_the_scheme_written_out():
    task = OccupationTask(4.0, n_walkers=6, seed=3)
    result, rng = task.run(), stream(task)
    x = np.array([WIDE, NARROW] * 3)
    old, sides = rng.standard_normal((6, 1), dtype=np.float32)[:, 0], []
    for step in range(1, 4001):
        new = rng.standard_normal((6, 1), dtype=np.float32)[:, 0]
        x = x - STEP_SIZE * WELL.gradient(x) + (2 * 4.0 * STEP_SIZE) ** 0.5 * (old + new) / 2
        old = new
        if step % 10 == 0:
            sides.append(x < WELL.top)
    np.testing.assert_allclose(result["wide"], np.mean(sides[120:], axis=0), atol=0.03)  # single precision parts the paths
    np.testing.assert_array_equal(result["wide_at_first"], np.mean(sides[:2], axis=0))
    np.testing.assert_array_equal(result["began_wide"], [True, False] * 3)


def test_sgd_task_is_sgd_on_the_examples_costs():
    task = SgdTask(20, n_groups=2, gradient_variance=20.0, seed=5)
    assert task.temperature == pytest.approx(0.4 * (40 / 20 - 1) * 20.0 / 2)
    assert abs(task.slopes.sum()) < 1e-12
    assert task.slopes.var(ddof=1) == pytest.approx(20.0)
    result, a, rng = task.run(), task.slopes, stream(task)
    x, sides = [[WIDE] * 2, [NARROW] * 2], []
    for update in range(1, 4001):
        orders = rng.permuted(np.tile(np.arange(40), (2, 1)), axis=1)
        for group in range(2):
            for chain in range(2):
                slope = WELL.gradient(np.array([[x[group][chain]]]))[0, 0]
                gradients = [slope / 40 + a[i] for i in orders[group][20 * chain :][:20]]
                x[group][chain] -= task.learning_rate * sum(gradients) / 20
        if update % 10 == 0:
            sides.append(np.array(x) < WELL.top)
    np.testing.assert_allclose(result["wide"], np.mean(sides[120:], axis=(0, 2)), atol=1e-9)
    np.testing.assert_array_equal(result["began_wide"], [True, False])


@pytest.mark.parametrize("well", ["wide", "narrow"])
def test_escape_task_estimates_the_mean_passage_time(well):
    """Within 3% and 5 standard errors; and every walker's time at risk is counted. False-positive rate 6e-7."""
    task = EscapeTask(well, 0.3, n_walkers=3000, seed=1)
    result = task.run()
    at_risk, escaped = result["at_risk"], result["escaped"]
    n = escaped.sum()
    assert n >= 1800
    assert at_risk.sum() / n == pytest.approx(passage_time(well, 0.3), rel=0.03 + 5 / n**0.5)
    length = at_risk.max()
    np.testing.assert_allclose(at_risk[~escaped], length)
    assert length == pytest.approx(5 * round(length / 5))
    assert (escaped & (at_risk > length - 5)).sum() > n - 1800  # without the last stretch there were not enough


# 3. Wells: verdicts on made-up data


def made_up_wells(shift=0.0, start=0.0, height=1.0, hotter=1.0, colder_side=0.0):
    """A `compute` that answers with the laws, exactly but for the changes asked for."""

    def answer(task):
        if isinstance(task, EscapeTask):
            time = passage_time(task.well, task.temperature) * np.exp(
                (height - 1) * WELL.heights[task.well == "narrow"] / task.temperature
            )
            return {"escaped": np.arange(100) % 2 == 0, "at_risk": np.full(100, time / 2)}
        factor = hotter if isinstance(task, SgdTask) else 1.0
        wide, began = WELL.occupation(factor * task.temperature)[0], np.arange(100) % 2 == 0
        scatter = np.tile([-0.05, -0.05, 0.05, 0.05], 25)
        wide = wide + shift + scatter + start * (began - 0.5) - colder_side * isinstance(task, SgdTask)
        return {"wide": wide, "began_wide": began, "wide_at_first": np.where(began, 0.9, 0.1) + scatter}

    return lambda tasks: [answer(task) for task in tasks]


@pytest.mark.parametrize(
    ("change", "fails"),
    [
        ({}, set()),
        ({"shift": 0.03}, {0}),
        ({"shift": 0.45}, {0, 1, 4}),
        ({"start": 0.2}, {2}),
        ({"height": 1.15}, {3}),
        ({"height": 0.85}, {3}),
        ({"hotter": 2.0}, {4}),
        ({"hotter": 0.5}, {4}),
        ({"colder_side": 0.029}, {4}),  # 5.8 standard errors: the finite step's bias, 0.01, excuses the other side only
    ],
)
def test_verdicts_of_wells(change, fails):
    verdicts = wells.run(SCALES["default"], made_up_wells(**change))["verdicts"]
    assert {i for i, verdict in enumerate(verdicts) if not verdict.holds} == fails
    # Were SGD's temperature g F, without the 1/2, the control would not be flagged.
    assert [verdict.control_flagged for verdict in verdicts] == [True] * 4 + [change != {"hotter": 2.0}]
    assert all(verdict.interval[0] <= verdict.value <= verdict.interval[1] for verdict in verdicts[:2])


def test_kramers_own_slope_is_1():
    result = wells.run(SCALES["default"], made_up_wells())
    for well in ("wide", "narrow"):
        assert wells.slope(result["escape"], well, "kramers") == pytest.approx(1, abs=1e-9)
        assert wells.slope(result["escape"], well, "exact") == pytest.approx(1, abs=0.06)


# 4. SGLD: predictions


def test_law_of_the_mixture():
    """At temperature 1 against the landscape's own moments, at 2 against adaptive quadrature."""
    mean, second, upper = sgld.law()
    exact = TOY.moments()
    np.testing.assert_allclose(mean, exact[0], atol=1e-6)
    np.testing.assert_allclose(second - np.outer(mean, mean), exact[1], atol=1e-6)
    assert 0.3 < upper < 0.7
    lowest = TOY.energy(np.array([[0.0, 1.0]]))[0]

    def weight(theta_2, theta_1):
        return np.exp((lowest - TOY.energy(np.array([[theta_1, theta_2]]))[0]) / 2)

    options = {"epsabs": 1e-5, "epsrel": 1e-4}
    total = dblquad(weight, -2, 3, -4, 4, **options)[0]
    product = dblquad(lambda y, x: weight(y, x) * x * y, -2, 3, -4, 4, **options)[0]
    assert sgld.law(2.0)[1][0, 1] == pytest.approx(product / total, abs=2e-3)


def test_crossing_of_power_laws():
    eps = np.geomspace(1e-4, 1e-2, 9)
    assert sgld.crossing(eps, eps**2 / 3e-3, eps) == pytest.approx(3e-3)
    assert sgld.crossing(eps[::-1], 7 * eps[::-1] ** 1.5, eps[::-1]) == pytest.approx(1 / 49)


# 5. SGLD: tasks


def walk(n_updates, batch_size, n_chains, seed, gamma=0.55, first=0.01, last=0.0001):
    """SGLD on the mixture, written out: paths (n + 1, chains, 2), steps (n,), and both noises (n, chains, 2)."""
    rng, order = np.random.default_rng(seed), np.tile(np.arange(100), (n_chains, 1))
    b = n_updates / ((first / last) ** (1 / gamma) - 1)
    eps = first * (1 + np.arange(n_updates) / b) ** -gamma
    theta = [np.array([[0.0, 1.0], [1.0, -1.0]] * (n_chains // 2))]
    gradient_noise, injected = [], []
    for t in range(n_updates):
        i = t % (100 // batch_size)
        if i == 0:
            order = rng.permuted(order, axis=1)
        examples = TOY.per_example_gradients(theta[-1])
        chosen = order[:, i * batch_size : (i + 1) * batch_size]
        likelihood = np.array([100 * examples[chain, chosen[chain]].mean(axis=0) for chain in range(n_chains)])
        gradient_noise.append((eps[t] / 2 * (likelihood - examples.sum(axis=1))) ** 2)
        noise = eps[t] ** 0.5 * rng.standard_normal((n_chains, 2))
        injected.append(noise**2)
        theta.append(theta[-1] + eps[t] / 2 * (likelihood - theta[-1] / [10.0, 1.0]) + noise)
    return np.array(theta), eps, np.array(gradient_noise), np.array(injected)


def test_mixture_task_is_sgld_written_out():
    result = MixtureTask(300, 5, 0.01, 0.0001, n_chains=4, noises=True, seed=2).run()
    theta, eps, gradient_noise, injected = walk(300, 5, 4, seed=2)
    records = np.arange(80, 301, 10)
    x, weights = theta[records], eps[records - 1] / eps[records - 1].sum()
    np.testing.assert_allclose(result["mean"], np.einsum("t,tck->ck", weights, x))
    np.testing.assert_allclose(result["second"], np.einsum("t,tck,tcl->ckl", weights, x, x))
    np.testing.assert_allclose(result["upper"], weights @ (x[..., 1] > 0))
    np.testing.assert_array_equal(result["began_upper"], [True, False, True, False])
    in_cell = (
        (x[..., 0] >= EDGES[0][20]) & (x[..., 0] < EDGES[0][45]) & (x[..., 1] >= EDGES[1][35]) & (x[..., 1] < EDGES[1][45])
    )
    assert result["histogram"][20:45, 35:45].sum() == pytest.approx((weights[:, None] * in_cell).sum() / 4)
    watched = abs(eps[:, None] - result["eps"]).argmin(axis=0)
    np.testing.assert_allclose(eps[watched], result["eps"])
    assert set(watched[:20]) == set(range(20))
    np.testing.assert_allclose(result["gradient_noise"], gradient_noise[watched])
    np.testing.assert_allclose(result["injected_noise"], injected[watched], rtol=1e-6, atol=1e-12)
    means = window_means(result)
    assert len(means["eps"]) == len(watched) // 10
    np.testing.assert_allclose(means["gradient_noise"][1], gradient_noise[watched[10:20]].mean(axis=0))


def test_best_fit_by_another_method():
    X, y, X_test, y_test = images(400, 50)
    assert X.shape == (400, 51)
    assert len(y_test) == len(X_test) == 2000
    np.testing.assert_allclose(X[:, 1:].T @ X[:, 1:] / 400, np.eye(50), atol=1e-9)

    def loss(theta):
        z = X @ theta
        return np.sum(np.logaddexp(0, z) - y * z) + theta @ theta / 2, X.T @ (expit(z) - y) + theta

    found = minimize(loss, np.zeros(51), jac=True, method="BFGS", options={"gtol": 1e-6}).x
    np.testing.assert_allclose(best_fit(X, y), found, atol=1e-5)


def test_logistic_task_is_sgld_written_out():
    result = LogisticTask(60, n_chains=2, seed=4).run()
    X, y, X_test, y_test = images(400, 50)
    rng, order = np.random.default_rng(4), np.tile(np.arange(400), (2, 1))
    b = 60 / (100 ** (1 / 0.55) - 1)
    eps = 0.01 * (1 + np.arange(60) / b) ** -0.55
    theta, predicted = np.zeros((2, 51)), []
    for t in range(60):
        if t % 40 == 0:
            order = rng.permuted(order, axis=1)
        chosen = order[:, t % 40 * 10 :][:, :10]
        gradient = np.array([(y[i] - expit(X[i] @ w)) @ X[i] for i, w in zip(chosen, theta, strict=True)])
        theta = theta + eps[t] / 2 * (40 * gradient - theta) + eps[t] ** 0.5 * rng.standard_normal((2, 51))
        predicted.append(expit(theta @ X_test.T))
    average = np.average(predicted, axis=0, weights=eps)
    for kind, p in (("sample", predicted[-1]), ("average", average)):
        loglik = np.mean(y_test * np.log(p) + (1 - y_test) * np.log1p(-p), axis=1)
        np.testing.assert_allclose(result[f"{kind}_loglik"][-1], loglik, rtol=1e-6)
        np.testing.assert_allclose(result[f"{kind}_accuracy"][-1], np.mean((p > 0.5) == (y_test == 1), axis=1))
    assert result["best_loglik"] == pytest.approx(scores_of(expit(X_test @ best_fit(X, y)), y_test)[0])


def test_sigmoid_and_scores_do_not_overflow():
    np.testing.assert_allclose(sigmoid(np.array([-800.0, 0.0, 2.0, 800.0])), [0, 0.5, expit(2), 1], atol=1e-15)
    loglik, accuracy = scores_of(np.array([0.0, 1.0, 0.25]), np.array([1.0, 1.0, 0.0]))
    assert loglik == pytest.approx((np.log(1e-300) + np.log(0.75)) / 3)
    assert accuracy == pytest.approx(2 / 3)


# 6. SGLD: verdicts on made-up data


def made_up_sgld(hot=0.0, variance=1.0, one_mode=False, sample=-0.6, average=-0.45, accuracy=0.81):
    mean, second, upper = sgld.law()
    hot_mean, hot_second, _ = sgld.law(2.0)
    lowest = sgld.noises([_noises(np.ones(2))], 1)["exact_crossing"]

    def answer(task):
        if isinstance(task, LogisticTask):
            shape = (400, task.n_chains)
            scores = {
                "average_loglik": average,
                "sample_loglik": sample,
                "average_accuracy": accuracy,
                "sample_accuracy": 0.795,
            }
            arrays = {name: np.full(shape, value) for name, value in scores.items()}
            return {"step": np.arange(1, 401), **arrays, "best_loglik": -0.48, "best_accuracy": 0.81}
        rng, n, began = np.random.default_rng(task.seed), task.n_chains, np.arange(task.n_chains) % 2 == 0
        spread = rng.normal(scale=0.05, size=(n, 2))
        return {
            "mean": mean + hot * (hot_mean - mean) + spread,
            "second": second + hot * (hot_second - second) + np.einsum("ck,l->ckl", spread, mean)
            + np.einsum("ck,l->clk", spread, mean) + 0.02 * spread[:, :1, None] * np.eye(2),
            "upper": np.where(began, 1.0, 0.0) if one_mode else np.full(n, upper),
            "began_upper": began,
            "histogram": np.full((80, 60), 1 / 4800),
            **_noises(variance / np.array(lowest), n),
        }  # fmt: skip

    return lambda tasks: [answer(task) for task in tasks]


def _noises(factor, n_chains=6):
    eps = np.repeat(np.geomspace(1e-2, 1e-4, 20), 10)
    ones = np.ones((200, n_chains, 2))
    injected = eps[:, None, None] * ones
    return {"eps": eps, "gradient_noise": eps[:, None, None] ** 2 * factor * ones, "injected_noise": injected}


@pytest.mark.parametrize(
    ("change", "fails"),
    [
        ({}, set()),
        ({"variance": 4.0}, {0, 1}),
        ({"variance": 0.25}, {0, 1}),
        ({"variance": 1.2}, {1}),
        ({"hot": 1.0}, {2}),
        ({"one_mode": True}, {3}),
        ({"sample": -0.46}, {4}),
        ({"average": -0.5}, {5}),
        ({"accuracy": 0.79}, {6}),
    ],
)
def test_verdicts_of_sgld(change, fails):
    verdicts = sgld.run(SCALES["default"], made_up_sgld(**change))["verdicts"]
    assert {i for i, verdict in enumerate(verdicts) if not verdict.holds} == fails
    assert all(verdict.interval is not None for verdict in verdicts)
    if not change:
        assert all(verdict.control_flagged for verdict in verdicts)


def test_the_control_of_the_averages_is_measured():
    """Chains whose last samples differ between the halves by more than the threshold leave the control unflagged."""

    def compute(tasks):
        results = made_up_sgld()(tasks)
        results[-1]["sample_loglik"][-1, 1::2] -= 0.03
        return results

    gain = sgld.run(SCALES["default"], compute)["verdicts"][4]
    assert gain.control_value == pytest.approx(0.03)
    assert not gain.control_flagged


def test_exact_crossing_is_where_the_variances_are_equal():
    """(eps/2)^2 N^2 V/n = eps, V averaged over draws from the posterior in place of a grid."""
    rng = np.random.default_rng(0)
    points = rng.uniform([-1.5, -4.0], [3.0, 4.0], size=(60_000, 2))
    weights = np.exp(TOY.energy(np.array([[0.0, 1.0]]))[0] - TOY.energy(points))
    v = np.average(TOY.per_example_gradients(points).var(axis=1), axis=0, weights=weights)
    for n in (1, 10):
        eps = np.array(sgld.noises([_noises(np.ones(2))], n)["exact_crossing"])
        np.testing.assert_allclose((eps / 2) ** 2 * 100**2 * v / n, eps, rtol=0.05)
