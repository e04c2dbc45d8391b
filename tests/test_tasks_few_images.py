"""Training on few images, as tasks: against loops written out."""

import math
from dataclasses import replace

import numpy as np
import pytest

from sgdnoise import MLP, Schedule, Stage, load_fashion, minibatches, sgd, top_hessian_eigenvalue, train
from sgdnoise.reproduce.tasks.few_images import WORST_LOSS, ConstantRateTask, StabilityTask, largest

MODEL = MLP(196, (128,), 10)
ENGINES = pytest.mark.parametrize("engine", ["fast", "reference"])


# at constant learning rate


@ENGINES
def test_constant_rate_task_is_the_training_loop(engine):
    result = ConstantRateTask(200, 0.05, 40, 0.9, n_epochs=3, n_seeds=2, first_seed=7, engine=engine).run()
    for i in range(2):
        history = train(MODEL, load_fashion(200), Schedule([Stage(3, 0.05, 40)]), sgd(0.9), rng=7 + i)
        assert result["train_loss"][i] == pytest.approx(history.train_loss[-1], rel=1e-4)
        assert result["test_accuracy"][i] == pytest.approx(history.test_accuracy[-1], abs=5e-4)
    assert result["train_loss"].shape == result["test_accuracy"].shape == (2,)
    assert result["train_loss"][0] != result["train_loss"][1]


@ENGINES
def test_a_run_that_diverges_counts_with_the_worst_loss(engine):
    result = ConstantRateTask(100, 500.0, 10, 0.9, n_epochs=3, n_seeds=2, engine=engine).run()
    assert WORST_LOSS == 10.0
    assert result["train_loss"].tolist() == [10.0, 10.0]
    assert result["test_accuracy"].tolist() == [0.1, 0.1]  # a guess among ten classes


def test_repr_and_cost_of_constant_rate_tasks():
    task = ConstantRateTask(200, 0.05, 40, 0.9, 3, 2)
    fields = "n_train=200, learning_rate=0.05, batch_size=40, momentum=0.9, n_epochs=3, n_seeds=2, first_seed=0, engine='fast'"
    assert repr(task) == f"ConstantRateTask({fields})"
    assert task.cost == pytest.approx(2 * 3 * 5 * (7e-5 + 8e-5))


# from points of a path

SMALL = StabilityTask(3, (0, 1, 3), (0.5,), (1.0,), batch_size=20, n_train=60, n_updates=6)


def trial(start, batch_size, rate, momentum, seed=3):
    """Losses over all examples before each of six updates of heavy ball, written out."""
    data, w, losses, batches = load_fashion(60), start, [], []
    accumulator, rng = np.zeros_like(w), np.random.default_rng((seed, batch_size))
    for _ in range(6):
        losses.append(MODEL.loss(w, data.X_train, data.y_train))
        if not batches:
            batches = list(minibatches(60, batch_size, sampling="without_replacement", rng=rng))
        batch = np.arange(60) if batch_size == 60 else batches.pop()
        accumulator = momentum * accumulator + MODEL.gradient(w, data.X_train[batch], data.y_train[batch])
        w = w - rate * accumulator
    return losses


@pytest.fixture(scope="module")
def start():
    return MODEL.init(np.random.default_rng(3), np.float32)


@pytest.fixture(scope="module")
def measured():
    return SMALL.run()


@pytest.mark.parametrize(("batch_size", "rate"), [(60, 0.7), (20, 0.3)])
def test_the_highest_loss_of_a_trial_written_out(start, batch_size, rate):
    losses = trial(start, batch_size, rate, 0.5)
    assert SMALL.highest_loss(start, rate, batch_size, 0.5) == pytest.approx(max(losses), rel=1e-4)
    assert max(losses) > losses[0]  # at this rate it rises
    assert SMALL.highest_loss(start, 0.0, batch_size, 0.5) == pytest.approx(losses[0], rel=1e-5)
    assert SMALL.highest_loss(start, 1e4, batch_size, 0.5) == math.inf
    if batch_size < 60:
        other = max(trial(start, batch_size, rate, 0.5, seed=4))
        assert replace(SMALL, seed=4).highest_loss(start, rate, batch_size, 0.5) == pytest.approx(other, rel=1e-4)
        assert other != pytest.approx(max(losses), rel=1e-3)


def test_the_largest_rate_is_the_last_of_its_grid_that_passes(start, measured):
    rate = float(measured["rate"][0, 0])
    quarters = 4 * math.log2(rate / 0.005)
    assert quarters == pytest.approx(round(quarters))
    limit = trial(start, 60, 0.0, 0.5)[0] + 0.2
    assert max(trial(start, 60, rate, 0.5)) <= limit < max(trial(start, 60, rate * 2**0.25, 0.5))


def test_the_largest_batch_is_the_last_of_its_grid_that_passes(start, measured):
    """At g = 1, momentum .9 and N = 60 the learning rate of a batch is .1 B/(60 - B)."""
    odds = [0.02 * 2 ** (k / 4) for k in range(41)]
    grid = sorted({round(60 * x / (1 + x)) for x in odds})
    b = int(measured["batch"][0, 0])
    highest = {size: max(trial(start, size, 0.1 * size / (60 - size), 0.9)) for size in (1, b, grid[grid.index(b) + 1])}
    limit = max(highest[1], trial(start, 60, 0.0, 0.9)[0]) + 0.2
    assert grid[0] == 1 < b
    assert highest[b] <= limit < max(highest.values())


def test_the_path_of_training(start, measured):
    """Its minibatches have a stream of their own, which runs on from checkpoint to checkpoint."""
    data, rng = load_fashion(60), np.random.default_rng((3, 1))
    w = start
    for checkpoint, n_epochs in enumerate((0, 1, 2)):
        if n_epochs:
            w = train(MODEL, data, Schedule([Stage(n_epochs, 0.02, 20)]), sgd(0.9), params=w, rng=rng).params
        curvature = top_hessian_eigenvalue(MODEL, w, data.X_train, data.y_train)
        assert measured["curvature"][checkpoint] == pytest.approx(curvature, rel=1e-5)
    assert {name: array.shape for name, array in measured.items()} == {"curvature": (3,), "rate": (3, 1), "batch": (3, 1)}
    assert len(set(measured["curvature"])) == 3


def test_largest_of_a_grid():
    grid = np.arange(1.0, 50.0)
    for limit in (1.0, 2.5, 30.0, 49.0):
        assert largest(grid, lambda x, limit=limit: x <= limit) == math.floor(limit)
    assert largest(grid, lambda x: False) == 1.0  # taken to pass


def test_repr_and_cost_of_stability_tasks():
    assert repr(SMALL) == (
        "StabilityTask(seed=3, checkpoints=(0, 1, 3), momenta=(0.5,), noise_scales=(1.0,), learning_rate=0.02, batch_size=20, "
        "momentum=0.9, n_train=60, n_updates=6, tolerance=0.2)"
    )
    assert SMALL.cost == pytest.approx(1 + 3 * 6 * (1 + 2) * 6 * 2e-3)
