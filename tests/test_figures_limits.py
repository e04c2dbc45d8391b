"""Figures `optimum`, `breakdown` and `stability`: their tasks against loops written out, and what their statistics reject."""

import math
from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from sgdnoise import MLP, Schedule, Stage, load_fashion, minibatches, noise_scale, sgd, train
from sgdnoise.reproduce import SCALES, breakdown, optimum, stability
from sgdnoise.reproduce.limits_tasks import WORST_LOSS, ConstantRateTask, StabilityTask, largest
from sgdnoise.reproduce.rest_tasks import RestTask

DEFAULT = SCALES["default"]


pytestmark = pytest.mark.usefixtures("few_resamples")


def failing(result):
    return {i for i, verdict in enumerate(result["verdicts"]) if not verdict.holds}


def check_sound(result):
    """Every control is flagged, and every value has an interval."""
    for verdict in result["verdicts"]:
        assert verdict.control_flagged, str(verdict)
        assert verdict.interval is not None, str(verdict)


# tasks


@pytest.mark.parametrize("engine", ["fast", "reference"])
def test_constant_rate_task_is_the_training_loop(engine):
    task = ConstantRateTask(200, 0.05, 40, 0.9, n_epochs=3, n_seeds=2, first_seed=7, engine=engine)
    result = task.run()
    data, model = load_fashion(200), MLP(196, (128,), 10)
    for i in range(2):
        history = train(model, data, Schedule([Stage(3, 0.05, 40)]), sgd(0.9), rng=7 + i)
        assert result["train_loss"][i] == pytest.approx(history.train_loss[-1], rel=1e-4)
        assert result["test_accuracy"][i] == pytest.approx(history.test_accuracy[-1], abs=5e-4)
    assert result["train_loss"][0] != result["train_loss"][1]


@pytest.mark.parametrize("engine", ["fast", "reference"])
def test_a_run_that_diverges_counts_with_the_worst_loss(engine):
    result = ConstantRateTask(100, 500.0, 10, 0.9, n_epochs=3, n_seeds=2, engine=engine).run()
    assert (result["train_loss"] == WORST_LOSS).all()
    assert (result["test_accuracy"] < 0.5).all()


def test_largest_of_a_grid():
    grid = np.arange(1.0, 50.0)
    for limit in (1.0, 2.5, 30.0, 49.0):
        assert largest(grid, lambda x, limit=limit: x <= limit) == math.floor(limit)
    assert largest(grid, lambda x: False) == 1.0


SMALL = StabilityTask(3, (0, 1), (0.5,), (1.0,), batch_size=20, n_train=60, n_updates=6)


@pytest.mark.parametrize(("batch_size", "rate"), [(60, 0.9), (20, 0.3)])
def test_the_highest_loss_of_a_trial_written_out(batch_size, rate):
    data, model = load_fashion(60), MLP(196, (128,), 10)
    start = w = model.init(np.random.default_rng(0), np.float32)
    accumulator, losses, rng, batches = np.zeros_like(w), [], np.random.default_rng((3, batch_size)), []
    for _ in range(6):
        losses.append(model.loss(w, data.X_train, data.y_train))
        if not batches:
            batches = list(minibatches(60, batch_size, method="without_replacement", rng=rng))
        batch = np.arange(60) if batch_size == 60 else batches.pop()
        accumulator = 0.5 * accumulator + model.gradient(w, data.X_train[batch], data.y_train[batch])
        w = w - rate * accumulator
    assert SMALL.highest_loss(start, rate, batch_size, 0.5) == pytest.approx(max(losses), rel=1e-4)
    assert max(losses) > losses[0]  # at this rate it rises
    assert SMALL.highest_loss(start, 0.0, batch_size, 0.5) == pytest.approx(losses[0], rel=1e-5)
    assert SMALL.highest_loss(start, 1e4, batch_size, 0.5) == math.inf


def test_the_largest_rate_is_the_last_that_passes_its_own_trial():
    result = SMALL.run()
    assert result["curvature"].shape == (2,)
    assert result["rate"].shape == result["batch"].shape == (2, 1)
    model = MLP(196, (128,), 10)
    start = model.init(np.random.default_rng(3), np.float32)
    rate = float(result["rate"][0, 0])
    limit = SMALL.highest_loss(start, 0.0, 60, 0.5) + SMALL.tolerance
    assert SMALL.highest_loss(start, rate, 60, 0.5) <= limit < SMALL.highest_loss(start, rate * 2**0.25, 60, 0.5)
    assert result["curvature"][0] != result["curvature"][1]  # the path has moved on


# optimum


def curve(task, exponents=(1.0, 1.0, 1.0), slope=0.002, scatter=0.0):
    """Accuracy with its maximum at 100 eps/.08 N/1000 .1/(1 - m), each to its power."""
    factors = (task.learning_rate / 0.08, task.n_train / 1000, 0.1 / (1 - task.momentum))
    best = 100 * math.prod(factor**power for factor, power in zip(factors, exponents, strict=True))
    b = task.batch_size
    accuracy = 0.8 - slope * math.log2(b) - slope / (3 * math.log(2)) * (best / b) ** 3
    noise = np.random.default_rng((b, round(1e4 * task.learning_rate), task.n_train)).normal(size=task.n_seeds)
    return {"test_accuracy": accuracy + scatter * noise}


def optimum_of(**changes):
    return optimum.run(DEFAULT, lambda tasks: [curve(task, **changes) for task in tasks])


def test_optima_are_found_where_the_curves_have_their_maximum():
    result = optimum_of(scatter=1e-9)
    for setting in result["settings"]:
        best = 100 * setting["learning_rate"] / 0.08 * setting["n_train"] / 1000 * 0.1 / (1 - setting["momentum"])
        assert setting["best_batch"] == pytest.approx(best, rel=1e-3)
    assert [result["exponents"][series]["value"] for series in result["exponents"]] == pytest.approx([1, 1, 1], abs=1e-3)


def test_verdicts_of_optimum():
    result = optimum_of(scatter=2e-4)
    assert failing(result) == set()
    check_sound(result)
    assert failing(optimum_of(scatter=2e-4, exponents=(0.5, 1.0, 1.0))) == {2}
    assert failing(optimum_of(scatter=2e-4, exponents=(1.0, 0.5, 1.0))) == {3}
    assert failing(optimum_of(scatter=2e-4, exponents=(1.0, 1.0, 1.5))) == {4}
    # Without a loss at large batches there is no optimum: the largest batch is as good as any.
    assert failing(optimum_of(scatter=2e-4, slope=0.0)) >= {0, 1}
    assert 0 in failing(optimum_of(scatter=2e-2))


def test_where_the_smallest_batch_is_best_the_optimum_is_not_inside_the_range():
    def answer(task):
        accuracy = curve(task, scatter=2e-4)["test_accuracy"]
        return {
            "test_accuracy": accuracy if task.n_train != 1000 else 0.8 - 0.002 * math.log2(task.batch_size) + accuracy / 1e3
        }

    result = optimum.run(DEFAULT, lambda tasks: [answer(task) for task in tasks])
    full, smallest = result["verdicts"][:2]
    assert full.holds
    assert not smallest.holds


def test_settings_are_compared_at_equal_updates():
    seen = []
    optimum.run(DEFAULT, lambda tasks: [seen.append(task) or curve(task) for task in tasks])
    updates = [task.n_epochs * (task.n_train // task.batch_size) for task in seen]
    assert all(0.95 * 1500 <= n <= 1.05 * 1500 for n in updates)
    full = {task.learning_rate for task in seen if task.batch_size == task.n_train}
    assert len(full) == 4
    assert len({(task.n_seeds, task.first_seed) for task in seen}) == 1


def test_the_gain_is_0_on_average_where_there_is_none():
    """2000 tables of pure noise: 5 standard errors, false positives below 1e-6. The best of all on the same seeds is far off."""
    tables = np.random.default_rng(0).normal(size=(2000, 6, 5))
    honest = np.array([optimum.gains(table).mean() for table in tables])
    naive = np.array([(table.mean(axis=0).max() - table[:, -1].mean()) for table in tables])
    assert abs(honest.mean()) < 5 * stats.sem(honest)
    assert naive.mean() > 20 * stats.sem(naive)


def test_gains_by_hand():
    accuracy = np.array([[0.1, 0.5, 0.4, 0.2], [0.1, 0.3, 0.4, 0.1], [0.9, 0.6, 0.6, 0.3]])
    # Means of the other seeds: (.5, .45, .5, .2), (.5, .55, .505, .25), (.1, .4, .405, .15); the best two are columns
    # 0 and 2, 1 and 2, 1 and 2.
    accuracy[0, 2] += 0.01
    assert optimum.gains(accuracy) == pytest.approx([(0.1 + 0.41) / 2 - 0.2, (0.3 + 0.4) / 2 - 0.1, 0.6 - 0.3])


# breakdown


def test_rates_of_the_rules():
    g = noise_scale(0.01, 20, 1000)
    for k in (2, 25, 41):
        assert breakdown.rate("linear", k) == pytest.approx(0.01 * k)
        assert noise_scale(breakdown.rate("exact", k), 20 * k, 1000) == pytest.approx(g)
        assert noise_scale(breakdown.rate("exact", k), 20 * k, 1000, momentum=0.9) == pytest.approx(10 * g)
        assert breakdown.rate("none", k) == 0.01
        for rule in breakdown.RULES:
            exact = noise_scale(breakdown.rate(rule, k), 20 * k, 1000) / g
            assert breakdown.law(rule, 20.0 * k, 1000, 20) == pytest.approx(exact)


def test_parting_of_a_straight_line():
    b = np.array([40.0, 100.0, 500.0])
    assert breakdown.parting(b, 1 - (b - 20) / 980, 20, 1000) == pytest.approx(118)
    assert breakdown.parting(b, 1 + (b - 20) / 980, 20, 1000) == 1000  # never


def breakdown_of(loss=None, heat=lambda task: 1.0):
    """Answers with the exact laws; `heat` spoils the temperature, `loss` gives the network's by (learning rate, batch size)."""

    def answer(task):
        if isinstance(task, RestTask):
            scatter = 1 + 0.02 * np.tile([-1, 1], task.n_replicas // 2)
            return {"squares": heat(task) * scatter[:, None] * task.predicted()}
        scatter = 1 + 0.02 * np.tile([-1, 1], task.n_seeds // 2)
        value = (loss or network_loss)(task.learning_rate, task.batch_size)
        return {"train_loss": value * scatter}

    return breakdown.run(DEFAULT, lambda tasks: [answer(task) for task in tasks])


def network_loss(rate, batch_size):
    """It falls with the distance that a run covers, and rises past a learning rate of .3."""
    return 0.02 * (0.01 * batch_size / 20 / rate) ** 0.5 * (1 + 10 * max(0.0, rate - 0.3))


def test_verdicts_of_breakdown():
    result = breakdown_of()
    assert failing(result) == set()
    check_sound(result)
    # Noise that the linear rule keeps, and noise that goes with the temperature of the rule eps/B.
    kept = breakdown_of(heat=lambda task: 1 / breakdown.law("linear", task.batch_size, 1000, 20))
    assert failing(kept) >= {0, 1, 2}
    assert failing(breakdown_of(heat=lambda task: 1.15 if task.learning_rate > 0.3 else 1.0)) == {2}
    assert failing(breakdown_of(loss=lambda rate, b: 0.02 * b / 20 * (1 + (rate > 0.4)))) == {3}
    assert failing(breakdown_of(loss=lambda rate, b: 0.02 * (0.01 * b / 20 / rate) ** 0.5)) == {4}


# stability


def stability_of(rate=lambda epoch, m: 8.0 if epoch == 0 else 1.0, batch=lambda g: 1.0):
    """Answers with the limits by the curvature, times factors; for batches the factor is of B/(N - B)."""

    def answer(task):
        curvature = np.array([20.0, 12.0, 9.0, 7.0]) * (1 + 0.02 * (-1) ** task.seed)
        limit = 2 * (1 + np.array(task.momenta)) / curvature[:, None]
        factors = np.array([[rate(epoch, m) for m in task.momenta] for epoch in task.checkpoints])
        g = np.array(task.noise_scales)
        odds = 3.8 / curvature[:, None] / (0.1 * g) * np.array([batch(value) for value in g])
        return {"curvature": curvature, "rate": limit * factors, "batch": 1000 * odds / (1 + odds)}

    return stability.run(DEFAULT, lambda tasks: [answer(task) for task in tasks])


def test_verdicts_of_stability():
    result = stability_of()
    assert failing(result) == set()
    check_sound(result)
    for factor in (1.6, 1 / 1.6):
        assert failing(stability_of(rate=lambda epoch, m, f=factor: {0: 8.0, 40: f}.get(epoch, 1.0))) == {0}
        assert failing(stability_of(rate=lambda epoch, m, f=factor: {0: 8.0, 1: f}.get(epoch, 1.0))) == {1}
    # Momentum that made no difference to the limit.
    assert failing(stability_of(rate=lambda epoch, m: (8.0 if epoch == 0 else 1.0) / (1 + m))) == {0, 1}
    assert failing(stability_of(rate=lambda epoch, m: 1.0)) == {2}
    assert 3 in failing(stability_of(batch=lambda g: 1.6))
    assert failing(stability_of(batch=lambda g: g)) == {3, 4}  # one largest batch for all g


def test_the_control_of_growing_batches_is_measured():
    """Seeds that differ by more than the threshold at one noise scale are no evidence of its effect."""
    result = stability_of()
    batch = np.array(result["batch"])
    batch[1:, -1] /= 1.7
    control = stability._verdicts(result | {"batch": batch.tolist()})[4]
    assert not control.control_flagged
    others = np.exp(np.log(batch[1:, -1, 0]).mean())
    assert control.control_value == pytest.approx(batch[0, -1, 0] / others)


def test_bounds_of_stability():
    result = stability_of()
    rate, odds = stability.bounds(result)
    h = 20.0 * 1.02
    assert rate[0, 0] == pytest.approx([2 / h, 3 / h, 3.8 / h])
    b = stability.batch_of(odds[0, 0], 1000)
    # at the largest batch, exact g makes the learning rate reach its limit
    assert [noise_scale(3.8 / h, size, 1000, momentum=0.9) for size in b] == pytest.approx(result["noise_scales"])


def test_tasks_depend_on_the_seed_alone_where_they_should():
    assert replace(SMALL, seed=4) != SMALL
    assert SMALL.cost > 0
    assert ConstantRateTask(200, 0.05, 40, 0.9, 3, 2).cost > 0
