"""The figures `temperature` and `annealing`: their predictions, their tasks, and what their statistics reject."""

import math
from itertools import permutations

import numpy as np
import pytest
from scipy import integrate, stats

from sgdnoise import LogisticRegression, make_teacher, minibatch_covariance, noise_scale
from sgdnoise.energies import Rugged
from sgdnoise.reproduce import annealing, temperature
from sgdnoise.reproduce.annealing import COLD, HOT, N_TRAIN, CoolingTask
from sgdnoise.reproduce.rest_tasks import LangevinRestTask, RestTask, minimum, subsets
from sgdnoise.reproduce.tasks import stream

PARABOLA = Rugged(13.0, (0.0, 0.0), (3.0, 1.1))
SETTINGS = [(1.0, 0.01), (0.1, 1e-4)]


pytestmark = pytest.mark.usefixtures("few_resamples")


def problem(smallest_scale, l2):
    data = make_teacher(1000, 1, n_features=5, signal=1.0, rng=0)
    X = data.X_train * smallest_scale ** (np.arange(5) / 4)
    return LogisticRegression(5), X, data.y_train


# temperature: the model near its minimum


@pytest.mark.parametrize("setting", SETTINGS)
def test_coordinates_have_the_models_gradient(setting):
    model, X, y = problem(*setting)
    at = minimum(*setting)
    assert abs(model.gradient(at.params, X, y, setting[1])).max() < 1e-12
    rng = np.random.default_rng(1)
    d, batch = rng.standard_normal((4, 6)), rng.integers(1000, size=(4, 7))
    got, full = at.gradient(d, batch), at.full_gradient(d)
    for r in range(4):
        params = at.params + at.directions @ d[r]
        gradient = model.gradient(params, X[batch[r]], y[batch[r]], setting[1])
        np.testing.assert_allclose(at.directions @ got[r], gradient, atol=1e-12)  # nothing of it points anywhere else
        np.testing.assert_allclose(full[r], at.directions.T @ model.gradient(params, X, y, setting[1]), atol=1e-12)


@pytest.mark.parametrize("setting", SETTINGS)
def test_curvatures_and_gradient_variances_against_the_sigmoids_own_formulas(setting):
    model, X, y = problem(*setting)
    at = minimum(*setting)
    logits = model.logits(at.params, X)
    p = 1 / (1 + np.exp(logits[:, 0] - logits[:, 1]))
    for k in range(6):
        v = at.directions[:, k]
        slope = np.diff(model.logits(v, X), axis=1)[:, 0]
        assert at.curvatures[k] == pytest.approx((p * (1 - p) * slope**2).mean() + setting[1] * (v[:10] @ v[:10]))
        assert at.gradient_variances[k] == pytest.approx(np.var((p - y) * slope, ddof=1))
    np.testing.assert_allclose(at.gradient_variances, at.curvatures, rtol=0.1)  # the model is nearly true


def test_subsets_are_uniform_on_both_ways_of_drawing():
    for n, size in ((5, 2), (5, 3)):  # by rejection, and by permutation
        drawn = subsets(n, size, 12_000, np.random.default_rng(0))
        counts = [(drawn == wanted).all(axis=1).sum() for wanted in permutations(range(n), size)]
        assert sum(counts) == 12_000  # no index twice
        assert stats.chisquare(counts).pvalue > 1e-6


def test_predictions_of_rest_tasks_against_iterated_updates():
    """The variance after many updates of a recursion that is written down differently: a sum over impulses."""
    at = minimum()
    n, b, rate = 1000, 250, 0.3
    decay = 1 - rate * at.curvatures
    powers = decay ** np.arange(3000)[:, None]
    independent = {"with_replacement": (1 - 1 / n) / b, "without_replacement": 1 / b - 1 / n}
    for method, factor in independent.items():
        summed = rate**2 * factor * at.gradient_variances * (powers**2).sum(axis=0)
        np.testing.assert_allclose(RestTask(method, rate, b).predicted(), summed, rtol=1e-9)
    # A reshuffled epoch: batches of one epoch have covariance -S/N, other epochs none.
    weights = powers.reshape(-1, n // b, 6)
    epochs = (weights**2).sum(axis=1) / b - weights.sum(axis=1) ** 2 / n
    summed = rate**2 * at.gradient_variances * epochs.sum(axis=0)
    np.testing.assert_allclose(RestTask("reshuffle", rate, b).predicted(), summed, rtol=1e-9)
    continuous = rate * (1 - 1 / n) / b * at.gradient_variances / (2 * at.curvatures)
    np.testing.assert_allclose(RestTask("reshuffle", rate, b).continuous(), continuous, rtol=1e-12)


@pytest.mark.parametrize(("method", "batch_size"), [("with_replacement", 30), ("without_replacement", 200), ("reshuffle", 500)])
def test_rest_task_equals_a_loop_over_the_whole_model(method, batch_size):
    task = RestTask(method, 0.8, batch_size, n_replicas=2, n_relaxations=0.1, seed=3)
    model, X, y = problem(1.0, 0.01)
    at, rng = minimum(), stream(task)
    before, during = task._n_units
    params = [at.params.copy() for _ in range(2)]
    squares = np.zeros((2, 6))
    for look in range(before + during):
        for batch in task._batches(rng):
            assert batch.shape == (2, batch_size)
            for r in range(2):
                params[r] -= 0.8 * model.gradient(params[r], X[batch[r]], y[batch[r]], 0.01)
        if look >= before:
            squares += [((w - at.params) @ at.directions) ** 2 / during for w in params]
    np.testing.assert_allclose(task.run()["squares"], squares, rtol=1e-8)


def test_reshuffled_batches_use_every_example_once():
    batches = RestTask("reshuffle", 0.1, 200, n_replicas=3)._batches(np.random.default_rng(0))
    assert len(batches) == 5
    for r in range(3):
        assert sorted(np.concatenate([batch[r] for batch in batches])) == list(range(1000))


def test_langevin_rest_task_agrees_with_boltzmann_along_one_direction_and_rejects_a_factor_of_two():
    """5 standard errors from 100 independent replicas: false positives below 1e-5; twice the temperature is far outside."""
    task = LangevinRestTask(0.5, n_relaxations=60.0)
    squares = task.run()["squares"]
    error = squares.std(axis=0, ddof=1) / 10
    assert (abs(squares.mean(axis=0) - task.predicted()) < 5 * error).all()
    assert (abs(squares.mean(axis=0) - 2 * task.predicted()) > 5 * error).all()


def test_tasks_of_two_settings_share_no_random_numbers():
    one, other = RestTask("reshuffle", 0.1, 200), RestTask("reshuffle", 0.1, 200, seed=1)
    assert stream(one).integers(1 << 60) == stream(RestTask("reshuffle", 0.1, 200)).integers(1 << 60)
    first = {stream(task).integers(1 << 60) for task in (one, other, RestTask("reshuffle", 0.2, 200), LangevinRestTask(0.1))}
    assert len(first) == 4


def made_up(panel, x, dynamics="without_replacement", ratio=1.0, continuous=1.0, predicted=1.0):
    point = {"panel": panel, "x": x, "dynamics": dynamics, "predicted": predicted, "continuous": continuous}
    return point | {"squares": ratio * np.array([0.99, 1.0, 1.01])}


def verdicts_for(**changes):
    points = {
        "pairs": made_up("equal_g", 1.0),
        "hot": made_up("equal_g", 50.0, ratio=2.0),
        "langevin": made_up("equal_g", 1.0, "langevin"),
        "rate": made_up("rate", 2.0, "with_replacement", continuous=0.5),
        "batch": made_up("batch", 0.9, continuous=10.0),
        "reshuffle": made_up("batch", 0.5, "reshuffle", continuous=100.0),
        "own": made_up("anisotropic", 0.1, "with_replacement"),
        "one": made_up("anisotropic", 0.1, "langevin", predicted=20.0),
    }
    for name, change in changes.items():
        points[name] |= change
    return temperature._verdicts(list(points.values()))


def test_statistics_of_temperature_and_what_they_reject():
    verdicts = verdicts_for()
    for verdict in verdicts:
        assert verdict.holds
        assert verdict.control_flagged
        assert verdict.interval == pytest.approx((0, 0.01), abs=1e-9)
    for failing, name in enumerate(("pairs", "langevin", "rate", "batch", "reshuffle", "own")):
        for ratio in (0.85, 1.15, math.nan):
            holds = [verdict.holds for verdict in verdicts_for(**{name: {"squares": np.full(3, ratio)}})]
            assert holds == [i != failing for i in range(6)]
    # Were the wrong law as good as the exact one, the control would pass, and say so.
    wrong = {"rate": {"continuous": 1.05}, "batch": {"x": 0.05}, "reshuffle": {"continuous": 1.0}, "one": {"predicted": 1.0}}
    flagged = [verdict.control_flagged for verdict in verdicts_for(**wrong)]
    assert flagged == [True, True, False, False, False, False]


# annealing


def test_protocols_end_cold_and_begin_hot_except_the_one_that_is_held_cold():
    fractions = np.array([0.0, 0.24, 0.26, 0.51, 0.76, 0.999])
    factor = (HOT / COLD) ** (1 / 3)
    expected = [HOT, HOT, HOT / factor, HOT / factor**2, COLD, COLD]
    np.testing.assert_allclose(annealing.temperature_at("steps", fractions), expected)
    np.testing.assert_allclose(annealing.temperature_at("slow", fractions), HOT - (HOT - COLD) * fractions)
    assert set(annealing.temperature_at("hot", fractions)) == {HOT}
    np.testing.assert_allclose(annealing.temperature_at("cold", fractions), COLD)


@pytest.mark.parametrize("dynamics", ["decay", "growth"])
def test_settings_have_the_prescribed_temperature_exactly(dynamics):
    s = annealing.slope()
    slopes = np.repeat([s, -s], N_TRAIN // 2)
    for wanted in np.linspace(COLD, HOT, 40):
        rate, b = annealing.setting_at(dynamics, wanted, slopes.var(ddof=1))
        # One update is the time rate/N and spreads by 2 T rate/N; a number of +s among b is hypergeometric.
        spread = rate**2 * (2 * s / b) ** 2 * stats.hypergeom(N_TRAIN, N_TRAIN // 2, b).var()
        assert spread == pytest.approx(2 * wanted * rate / N_TRAIN, rel=1e-9)
        assert spread == pytest.approx(rate**2 * minibatch_covariance(slopes.var(ddof=1), b, N_TRAIN), rel=1e-9)
        assert wanted == pytest.approx(noise_scale(rate, b, N_TRAIN) * slopes.var(ddof=1) / 2)
        assert b == 2 if dynamics == "decay" else 0.75 < rate / annealing.LEARNING_RATE < 1.3
    assert annealing.setting_at("decay", HOT, slopes.var(ddof=1)) == pytest.approx((annealing.LEARNING_RATE, 2))


@pytest.mark.parametrize("dynamics", ["langevin", "decay", "growth"])
def test_cooling_task_on_a_parabola_has_the_exact_discrete_variance(dynamics):
    """Held cold, with curvature h = 13: energy h Var/2 = T/(2 - h dt). 5 standard errors; half of T is rejected."""
    result = CoolingTask(dynamics, "cold", 4.0, 4000, landscape=PARABOLA).run()
    rate, _ = annealing.setting_at("growth" if dynamics == "growth" else "decay", COLD, annealing.slope() ** 2 * 1000 / 999)
    step = annealing.TIME_STEP if dynamics == "langevin" else rate / N_TRAIN
    energy = result["energy"][-1]
    error = energy.std() / math.sqrt(len(energy))
    assert abs(energy.mean() - COLD / (2 - 13 * step)) < 5 * error
    assert abs(energy.mean() - COLD / 2 / (2 - 13 * step)) > 5 * error


def test_decay_and_growth_take_the_same_time_and_epochs_and_different_updates():
    decay, growth = (CoolingTask(dynamics, "slow", 5.0, 2).run() for dynamics in ("decay", "growth"))
    for result in (decay, growth):
        assert 5.0 <= result["time"][-1] + 1e-9 < 5.0 + 2 * annealing.TIME_STEP
        assert len(result["time"]) == len(result["energy"]) == 41
    assert float(growth["n_epochs"]) == pytest.approx(float(decay["n_epochs"]), rel=0.05)
    # The learning rate follows T down a line: on the average HOT/T = log(HOT/COLD)/(1 - COLD/HOT) times as many updates.
    longer = math.log(HOT / COLD) / (1 - COLD / HOT)
    assert int(decay["n_updates"]) == pytest.approx(longer * 500, rel=0.03)
    assert int(growth["n_updates"]) == pytest.approx(500, rel=0.1)


def test_boltzmann_energy_against_adaptive_quadrature():
    assert annealing.boltzmann_energy(PARABOLA, 0.7) == pytest.approx(0.35)
    landscape = CoolingTask("langevin", "hot").landscape

    def u(x):
        return 0.05 * x**2 + 0.8 * (1 - math.cos(2 * math.pi * x / 3)) + 0.3 * (1 - math.cos(2 * math.pi * x / 1.1))

    mean, norm = (integrate.quad(lambda x, k=k: u(x) ** k * math.exp(-u(x) / 0.5), -15, 15, limit=400)[0] for k in (1, 0))
    assert annealing.boltzmann_energy(landscape, 0.5) == pytest.approx(mean / norm, rel=1e-6)


ENERGIES = {"hot": 1.6, "cold": 1.4, "steps": 0.5, "slow": 0.4}


def annealing_verdicts(counts=None, **ends):
    """Verdicts on 400 walkers with a standard error of .02; each of `ends` moves the mean energy of one run."""
    scatter = np.tile([-0.4, 0.4], 200)
    runs = [(dynamics, protocol) for dynamics in annealing.DYNAMICS for protocol in annealing.PROTOCOLS]
    energies = {run: ends.get("_".join(run), ENERGIES[run[1]]) + scatter for run in runs}
    curves = [
        {"dynamics": dynamics, "protocol": protocol, "n_epochs": 50.0}
        | {"n_updates": 3000 if dynamics == "decay" and protocol != "hot" else 1000}
        | (counts or {}).get((dynamics, protocol), {})
        for dynamics, protocol in runs
    ]
    return annealing._verdicts(curves, energies, 0.06)


def test_statistics_of_annealing_and_what_they_reject():
    def fails(counts=None, **ends):
        return {i for i, verdict in enumerate(annealing_verdicts(counts, **ends)) if not verdict.holds}

    verdicts = annealing_verdicts()
    assert fails() == set()
    assert all(verdict.control_flagged for verdict in verdicts)
    assert [verdict.interval is None for verdict in verdicts] == [False] * 5 + [True] * 2  # counts are not random
    assert verdicts[0].value == pytest.approx(0.34 / 1.34)
    assert verdicts[2].interval[0] < 0.34 / 0.44 < verdicts[2].interval[1]
    assert {0, 2, 3} <= fails(decay_slow=1.0)
    assert 1 in fails(langevin_hot=0.5)
    assert 2 in fails(growth_steps=0.41)
    assert fails(growth_steps=0.6) == set()  # 3.5 standard errors
    assert fails(growth_steps=0.62) == {3, 4}
    assert fails(langevin_cold=1.27) == {4}
    assert fails(growth_slow=math.nan) >= {0, 1, 2, 3, 4}
    assert fails({("growth", "slow"): {"n_updates": 2000}}) == {5}
    assert fails({("growth", "slow"): {"n_epochs": 53.0}}) == {6}


def test_annealings_controls_are_not_flagged_where_the_protocol_makes_no_difference():
    ends = {f"{dynamics}_{protocol}": 0.5 for dynamics in annealing.DYNAMICS for protocol in annealing.PROTOCOLS}
    verdicts = annealing_verdicts(**ends)
    assert not verdicts[0].holds
    assert not verdicts[3].control_flagged


def test_annealings_control_of_lower_ends_is_measured():
    """Halves of the walkers of one protocol that end apart, under every dynamics, leave the control unflagged."""
    apart = np.repeat([-0.8, 0.8], 200)
    verdicts = annealing_verdicts(**{f"{dynamics}_cold": 1.4 + apart for dynamics in annealing.DYNAMICS})
    assert verdicts[0].control_value == pytest.approx((1.4 - 0.8 - 0.06) / (1.4 + 0.8 - 0.06))
    assert [verdict.control_flagged for verdict in verdicts[:3]] == [False, True, True]
