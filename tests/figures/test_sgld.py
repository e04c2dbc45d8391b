"""SGLD: what the figure runs and predicts, and what its statistics and controls are on made-up chains and scores."""

from functools import cache

import numpy as np
import pytest
from driving import drive, first_tasks, round_trip
from scipy.integrate import dblquad

from sgdnoise.reproduce import SCALES
from sgdnoise.reproduce.figures import sgld
from sgdnoise.reproduce.tasks.sgld import EDGES, TOY, LogisticTask, MixtureTask

pytestmark = pytest.mark.usefixtures("few_resamples")

KEYS = ["between 5e-4 and 1e-3", "crossing", "moments", "both modes", "over the sample", "over the best fit", "accuracy"]
MIDDLE = 5e-7**0.5
K = 127**-0.5  # error of the mean of 128 numbers, one half of which is +1 and the other -1
EPS = np.geomspace(1e-2, 1e-4, 20)  # of the windows
SCORES = {"average_loglik": -0.45, "sample_loglik": -0.6, "average_accuracy": 0.81, "sample_accuracy": 0.795}


def grid():
    """Points, energies from the mixture's formula and variances of the examples' gradients, beyond and between the figure's."""
    theta_1, theta_2 = np.meshgrid(np.linspace(-3, 4, 281), np.linspace(-6, 6, 401), indexing="ij")
    one, two = (np.exp(-((TOY.data - at[..., None]) ** 2) / 4) for at in (theta_1, theta_1 + theta_2))
    energy = theta_1**2 / 20 + theta_2**2 / 2 - np.log(one + two).sum(axis=-1)
    away_1, away_2 = (TOY.data - at[..., None] for at in (theta_1, theta_1 + theta_2))
    of_second = two / (one + two) * away_2 / 2
    gradients = one / (one + two) * away_1 / 2 + of_second, of_second  # by theta_1, which both components have, and theta_2
    return np.array([theta_1, theta_2]), energy, np.array([g.var(axis=-1) for g in gradients])


POINTS, ENERGY, VARIANCES = grid()


def law(temperature):
    """Mean, covariance and share of theta_2 > 0 of the posterior to the power 1/temperature."""
    weights = np.exp((ENERGY.min() - ENERGY) / temperature)
    weights /= weights.sum()
    mean = (weights * POINTS).sum(axis=(1, 2))
    away = POINTS - mean[:, None, None]
    upper = (weights * (POINTS[1] > 1e-9)).sum() + (weights * (abs(POINTS[1]) < 1e-9)).sum() / 2
    return mean, np.einsum("ij,kij,lij->kl", weights, away, away), float(upper)


MEAN, COVARIANCE, UPPER = law(1.0)
POSTERIOR = np.exp(ENERGY.min() - ENERGY)
CROSSINGS = 4 / (100**2 * np.average(VARIANCES.reshape(2, -1), axis=1, weights=POSTERIOR.ravel()))


def five(mean, covariance):
    """Means and second moments about the exact mean of u = theta_1 and v = theta_1 + theta_2/2."""
    turn = np.array([[1, 0], [1, 0.5]])
    about = covariance + np.outer(mean - MEAN, mean - MEAN)
    (uu, uv), (_, vv) = turn @ about @ turn.T
    return np.array([*(turn @ mean), uu, uv, vv])


def answer(crossings=CROSSINGS, away=0.0, temperature=1.0, upper=(0.0, 0.0), last=None, **scores):
    """Answers of chains that have the posterior's moments and noises, and of images with given scores, but for the changes.

    Of the chains of a task, half are 0.05 to the right and half as much to the left, with variances 0.02 larger and smaller; all
    means are `away` from theirs along theta_2.
    """
    mean, covariance, _ = law(temperature)
    mean = mean + np.array([0, away])

    def chains(task):
        n = task.n_chains
        began, sign = np.arange(n) % 2 == 0, np.where(np.arange(n) % 4 < 2, 1.0, -1.0)
        means = mean + 0.05 * sign[:, None] * [1, 0]
        off = means - MEAN  # second moments about the exact mean are to be those of the law, and 0.02 more or less
        about = covariance + np.outer(mean - MEAN, mean - MEAN) + 0.02 * sign[:, None, None] * np.eye(2)
        cross = MEAN[:, None] * off[:, None, :]
        eps = np.repeat(EPS, 10)
        both = np.ones((200, n, 2)) * (1 + 0.5 * sign[:, None])
        return {
            "mean": means,
            "second": about + np.outer(MEAN, MEAN) + cross + cross.swapaxes(1, 2),
            "upper": UPPER + np.where(began, *upper),
            "began_upper": began,
            "histogram": np.full((80, 60), (1 + task.seed) / 4800),
            "eps": eps,
            "gradient_noise": eps[:, None, None] ** 2 / np.array(crossings) * both,
            "injected_noise": eps[:, None, None] * both,
        }

    def images(task):
        n = task.n_chains
        arrays = {name: np.full((400, n), value) + 0.01 * (-1.0) ** np.arange(n) for name, value in (SCORES | scores).items()}
        arrays["sample_loglik"][:200] -= 1  # what was before the end is drawn, and not judged
        arrays["sample_loglik"][-1] += 0 if last is None else last
        return {"step": 250 * np.arange(1, 401), **arrays, "best_loglik": np.array(-0.48), "best_accuracy": np.array(0.808)}

    return lambda tasks: [chains(task) if isinstance(task, MixtureTask) else images(task) for task in tasks]


def made_up(**changes):
    return drive(sgld, SCALES["default"], answer(**changes))


@cache
def standard():
    return made_up()


@pytest.fixture
def made(few_resamples):
    return standard()


def test_what_is_run():
    settings = {
        "quick": (20_000, 50, 2, 4000, 10),
        "default": (1_000_000, 64, 2, 100_000, 20),
        "full": (1_000_000, 128, 8, 400_000, 20),
    }
    for name, (n_updates, n_chains, n_tasks, n_logistic, n_predictors) in settings.items():
        mixture = [MixtureTask(n_updates, 1, 0.01, 0.0001, n_chains, True, seed) for seed in range(n_tasks)]
        assert first_tasks(sgld, SCALES[name]) == [*mixture, LogisticTask(n_logistic, n_predictors)]


# Predictions.


def test_law_of_the_mixture():
    """Against another grid, at temperature 2 against adaptive quadrature too."""
    for temperature in (1.0, 2.0):
        mean, second, upper = sgld.law(temperature)
        expected, covariance, share = law(temperature)
        np.testing.assert_allclose(mean, expected, atol=1e-6)
        np.testing.assert_allclose(second - np.outer(mean, mean), covariance, atol=1e-6)
        assert upper == pytest.approx(share, abs=1e-5)
    np.testing.assert_allclose(MEAN, TOY.moments()[0], atol=1e-6)
    np.testing.assert_allclose(COVARIANCE, TOY.moments()[1], atol=1e-6)
    lowest = TOY.energy(np.array([[0.0, 1.0]]))[0]

    def weight(theta_2, theta_1):
        return np.exp((lowest - TOY.energy(np.array([[theta_1, theta_2]]))[0]) / 2)

    options = {"epsabs": 1e-5, "epsrel": 1e-4}
    total = dblquad(weight, -2, 3, -4, 4, **options)[0]
    product = dblquad(lambda y, x: weight(y, x) * x * y, -2, 3, -4, 4, **options)[0]
    assert sgld.law(2.0)[1][0, 1] == pytest.approx(product / total, abs=2e-3)


def test_moments_of_u_and_v_written_out():
    first, second = np.array([[0.7, -0.2], [0.1, 0.4]]), np.array([[[2.0, 0.3], [0.3, 1.5]], [[1.0, -0.2], [-0.2, 3.0]]])
    mu, mv = MEAN[0], MEAN[0] + MEAN[1] / 2
    for (x, y), ((xx, xy), (_, yy)), found in zip(first, second, sgld.moments(first, second), strict=True):
        u, v, uu, uv, vv = x, x + y / 2, xx, xx + xy / 2, xx + xy + yy / 4
        expected = [u, v, uu - 2 * mu * u + mu**2, uv - mu * v - mv * u + mu * mv, vv - 2 * mv * v + mv**2]
        assert found == pytest.approx(expected, abs=1e-5)


def test_crossing_of_power_laws():
    eps = np.geomspace(1e-4, 1e-2, 9)
    assert sgld.crossing(eps, eps**2 / 3e-3, eps) == pytest.approx(3e-3)
    assert sgld.crossing(eps[::-1], 7 * eps[::-1] ** 1.5, eps[::-1]) == pytest.approx(1 / 49)


@pytest.mark.parametrize("batch_size", [1, 10])
def test_exact_crossing_is_where_the_variances_are_equal(made, batch_size):
    """(eps/2)^2 N^2 V/n = eps, V averaged over the posterior on another grid."""
    exact = sgld.noises(sgld.pooled(answer()([MixtureTask(100, 1, 0.01, 0.0001, 8)])), batch_size).exact_crossing
    assert exact == pytest.approx(batch_size * CROSSINGS, rel=1e-4)
    assert made[0].noises.exact_crossing == pytest.approx(CROSSINGS, rel=1e-4)


# Verdicts on made-up data.


def test_values_and_controls_where_the_laws_hold(made):
    _, verdicts = made
    errors = np.array([0.05, 0.05, 0.02, 0.02, 0.025]) * K
    hot = five(*law(2.0)[:2])
    values = [abs(np.log(CROSSINGS[0] / MIDDLE)), 0, 0, 0, 0.15, 0.03, 0.002]
    controls = [
        abs(np.log(CROSSINGS[0] / 2 / MIDDLE)),  # twice the noise crosses at half the step
        0.75,  # four times the noise, at a quarter
        (abs(hot - five(MEAN, COVARIANCE)) / errors).max(),
        max(UPPER, 1 - UPPER),
        0.02,  # the scatter: chains are 0.01 higher and lower by turns
        -0.6 + 0.48,
        0.013,
    ]
    assert list(verdicts) == KEYS
    for verdict, value, control in zip(verdicts.values(), values, controls, strict=True):
        assert verdict.value == pytest.approx(value, rel=2e-4, abs=1e-3)
        assert verdict.control.value == pytest.approx(control, rel=2e-4)
        assert verdict.holds
        assert verdict.interval[0] <= verdict.interval[1]
    assert [verdict.threshold for verdict in verdicts.values()] == [0.347, 0.1, 5, 0.1, 0.02, 0, 0.01]
    assert [verdict.relation for verdict in verdicts.values()] == ["at most"] * 4 + ["at least"] * 2 + ["at most"]
    assert [key for key, verdict in verdicts.items() if not verdict.control_flagged] == ["over the sample"]  # 0.02 is enough
    assert verdicts[KEYS[0]].statistic.endswith(f"at eps = {CROSSINGS[0]:.2e}")


@pytest.mark.parametrize(("factor", "holds"), [(0.8, True), (1.3, True), (0.6, False), (1.5, False)])
def test_the_claimed_interval_and_its_control(factor, holds):
    """From 5e-4 to 1e-3, on a logarithmic scale about the middle; the control has twice the noise, so half the step."""
    verdict = made_up(crossings=(factor * MIDDLE, 1e-2))[1][KEYS[0]]
    assert verdict.value == pytest.approx(abs(np.log(factor)), abs=1e-9)
    assert verdict.control.value == pytest.approx(abs(np.log(factor / 2)), abs=1e-9)
    assert verdict.holds == holds
    assert verdict.control_flagged == (factor != 1.5)


@pytest.mark.parametrize(("factors", "value"), [((1.2, 1.05), 0.2), ((0.95, 0.7), 0.3), ((1.0, 1.25), 0.25), ((0.8, 1.1), 0.2)])
def test_the_crossing_and_its_control(factors, value):
    """The larger deviation of either parameter; four times the noise has crossings at a quarter."""
    verdict = made_up(crossings=CROSSINGS * factors)[1]["crossing"]
    assert verdict.value == pytest.approx(value, rel=1e-3)
    assert verdict.control.value == pytest.approx(1 - min(factors) / 4, rel=1e-3)
    assert not verdict.holds


def test_moments_are_compared_in_their_errors():
    """Chains away by 0.02 along theta_2 are 0.01 away in v, 2.25 errors of 0.05/127^.5; at temperature 2 all are."""
    verdicts = made_up(away=0.02)[1]
    assert verdicts["moments"].value == pytest.approx(0.01 / (0.05 * K), rel=1e-3)
    verdicts = made_up(away=-0.04)[1]
    assert verdicts["moments"].value == pytest.approx(0.02 / (0.05 * K), rel=1e-3)
    verdicts = made_up(temperature=2.0)[1]
    errors = np.array([0.05, 0.05, 0.02, 0.02, 0.025]) * K
    assert verdicts["moments"].value == pytest.approx(
        (abs(five(*law(2.0)[:2]) - five(MEAN, COVARIANCE)) / errors).max(), rel=1e-3
    )
    assert verdicts["moments"].control.value == pytest.approx(0, abs=0.01)
    assert not verdicts["moments"].holds
    assert not verdicts["moments"].control_flagged


@pytest.mark.parametrize(
    ("upper", "value"),
    [((0.04, -0.07), 0.07), ((0.08, 0.0), 0.08), ((-0.2, 0.1), 0.2), ((1 - UPPER, -UPPER), max(UPPER, 1 - UPPER))],
)
def test_modes(upper, value):
    """The last are chains that stay where they begin, which is the control."""
    verdict = made_up(upper=upper)[1]["both modes"]
    assert verdict.value == pytest.approx(value, abs=1e-5)
    assert verdict.control.value == pytest.approx(max(UPPER, 1 - UPPER), abs=1e-5)
    assert verdict.holds == (value <= 0.1)


def test_a_gain_over_the_last_samples():
    """Chains of odd number have samples 0.05 worse: the even half is then 0.07 above the odd one, 0.02 of it by the scatter."""
    verdict = made_up(last=np.where(np.arange(20) % 2, -0.05, 0.0))[1]["over the sample"]
    assert verdict.value == pytest.approx(0.15 + 0.025)
    assert verdict.control.value == pytest.approx(0.07)
    flagged = made_up(last=np.where(np.arange(20) % 2, 0.015, 0.0))[1]["over the sample"]
    assert flagged.control.value == pytest.approx(0.005)
    assert flagged.control_flagged
    assert not made_up(sample_loglik=-0.46)[1]["over the sample"].holds


def test_a_gain_over_the_best_fit():
    verdict = made_up(average_loglik=-0.5, sample_loglik=-0.47)[1]["over the best fit"]
    assert verdict.value == pytest.approx(-0.02)
    assert verdict.control.value == pytest.approx(0.01)
    assert not verdict.holds
    assert not verdict.control_flagged


def test_accuracy_either_way():
    for accuracy, sample, value, control in ((0.79, 0.83, 0.018, 0.022), (0.83, 0.79, 0.022, 0.018), (0.8, 0.81, 0.008, 0.002)):
        verdict = made_up(average_accuracy=accuracy, sample_accuracy=sample)[1]["accuracy"]
        assert verdict.value == pytest.approx(value)
        assert verdict.control.value == pytest.approx(control)


# Result, table and picture.


def test_the_result(made):
    mixture, noise, logistic = made[0].mixture, made[0].noises, made[0].logistic
    setting = mixture.n_updates, mixture.batch_size, mixture.first, mixture.last, mixture.n_chains
    assert setting == (1_000_000, 1, 0.01, 0.0001, 128)
    assert list(mixture.moments) == ["mean of u", "mean of v", "variance of u", "covariance of u, v", "variance of v"]
    assert mixture.measured == pytest.approx(five(MEAN, COVARIANCE), abs=1e-5)
    assert mixture.errors == pytest.approx(np.array([0.05, 0.05, 0.02, 0.02, 0.025]) * K)
    assert mixture.exact == pytest.approx(five(MEAN, COVARIANCE), abs=1e-5)
    assert mixture.at_temperature_2 == pytest.approx(five(*law(2.0)[:2]), abs=1e-5)
    assert mixture.exact_upper == pytest.approx(UPPER, abs=1e-5)
    assert mixture.histogram == pytest.approx(np.full((80, 60), 0.0003125))  # of 1/4800 and 2/4800, to seven places
    shares = made_up(upper=(0.04, -0.07))[0].mixture
    assert shares.upper == pytest.approx([UPPER + 0.04, UPPER - 0.07])
    assert shares.upper_errors == pytest.approx([0, 0], abs=1e-9)
    assert noise.eps == pytest.approx(EPS)
    assert noise.injected_noise == pytest.approx(np.array([EPS, EPS]))
    assert noise.gradient_noise == pytest.approx(EPS**2 / CROSSINGS[:, None])
    assert noise.crossing == pytest.approx(CROSSINGS)
    assert (logistic.n_train, logistic.n_components, logistic.n_chains) == (400, 50, 20)
    assert (logistic.best_loglik, logistic.best_accuracy) == (-0.48, 0.808)
    assert (logistic.step[0], logistic.step[-1]) == (250, 100_000)
    assert np.all(np.diff(np.log(logistic.step[20:])) == pytest.approx(np.log(400) / 39, rel=0.2))
    early = logistic.step <= 50_000
    for name, value in SCORES.items():
        mean, scatter = logistic.scores(name)
        assert mean == pytest.approx(np.where(early & (name == "sample_loglik"), value - 1, value))
        assert scatter == pytest.approx([0.01 * (20 / 19) ** 0.5] * len(mean))


def test_errors_of_shares():
    """Of those of either start, 32 in each of two tasks, one half 0.3 higher than the other."""
    results = answer()([MixtureTask(100, 1, 0.01, 0.0001, 64, seed=seed) for seed in (0, 1)])
    for result in results:
        result["upper"] += np.where(result["began_upper"], 0.3, 0.1) * (np.arange(64) % 4 < 2)
    task, pool = MixtureTask(100, 1, 0.01, 0.0001, 64), sgld.pooled(results)
    mixture = sgld._mixture(task, pool, results[0]["histogram"])
    assert mixture.upper == pytest.approx([UPPER + 0.15, UPPER + 0.05])
    assert mixture.upper_errors == pytest.approx([0.15 / 63**0.5, 0.05 / 63**0.5])


def test_rows(made):
    header, *lines = sgld.rows(round_trip(sgld, *made)[0])
    assert header == ["panel", "quantity", "step_size_or_updates", "predicted", "measured", "standard_error"]
    at, (u, v, *_) = pytest.approx, five(MEAN, COVARIANCE)
    assert lines[1] == ["posterior", "mean of v", "", at(v, abs=1e-5), at(v, abs=1e-5), at(0.05 * K)]
    assert lines[0][1:4] == ["mean of u", "", at(u, abs=1e-5)]
    predicted = [at(EPS[1] ** 2 / c, rel=1e-4) for c in CROSSINGS]
    assert lines[7] == ["noises", "gradient noise, theta_1", at(EPS[1]), predicted[0], predicted[0], ""]
    assert lines[8] == ["noises", "injected noise, theta_1", at(EPS[1]), at(EPS[1]), at(EPS[1]), ""]
    assert lines[47] == ["noises", "gradient noise, theta_2", at(EPS[1]), predicted[1], predicted[1], ""]
    scores = lines[85:]
    n = len(made[0].logistic.step)
    names = ["average_loglik", "average_accuracy", "sample_loglik", "sample_accuracy"]
    assert [line[1] for line in scores] == [name for name in names for _ in range(n)]
    assert scores[n - 1] == ["logistic", "average_loglik", 100_000, "", at(-0.45), at(0.01 / 19**0.5)]


def test_plot(made):
    figure = sgld.plot(*round_trip(sgld, *made))
    figure.draw_without_rendering()
    samples, noise, loglik, accuracy = figure.axes
    shade, contours = samples.collections
    assert shade.get_array().shape == (60, 80)
    assert shade.get_coordinates()[0, -1].tolist() == [EDGES[0][-1], EDGES[1][0]]
    # Above each level lies its share of the posterior.
    density = POSTERIOR / POSTERIOR.max()
    ordered = np.sort(density.ravel())[::-1]
    mass = np.cumsum(ordered) / ordered.sum()
    wanted = [ordered[np.searchsorted(mass, share)] for share in (0.95, 0.8, 0.5, 0.2)]
    levels = contours.levels / sgld.posterior().max()
    assert levels == pytest.approx(wanted, rel=0.02)
    lines = noise.lines
    assert lines[0].get_ydata() == pytest.approx([1e-4, 1e-2])
    assert lines[1].get_ydata() == pytest.approx(EPS)
    for k in (0, 1):
        assert lines[2 + 2 * k].get_ydata() == pytest.approx(np.array([1e-8, 1e-4]) / CROSSINGS[k], rel=1e-4)
        assert lines[3 + 2 * k].get_ydata() == pytest.approx(EPS**2 / CROSSINGS[k])
    assert noise.texts[1].get_text() == f"equal at eps = {1e4 * CROSSINGS[0]:.1f}e-4"
    assert noise.texts[1].xy == pytest.approx((CROSSINGS[0], CROSSINGS[0]))
    for axis, score, best in ((loglik, "loglik", -0.48), (accuracy, "accuracy", 0.808)):
        at, sample, average = axis.lines
        assert at.get_ydata() == [best, best]
        for line, kind, band in zip((sample, average), ("sample", "average"), axis.collections, strict=True):
            assert line.get_xdata().tolist() == made[0].logistic.step.tolist()
            value = SCORES[f"{kind}_{score}"]
            assert line.get_ydata()[-1] == pytest.approx(value)
            corners = band.get_paths()[0].vertices
            at_end = corners[corners[:, 0] == 100_000][:, 1]
            scatter = 0.01 * (20 / 19) ** 0.5
            assert (at_end.min(), at_end.max()) == pytest.approx((value - scatter, value + scatter))
