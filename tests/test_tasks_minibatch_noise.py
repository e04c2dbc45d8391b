"""The tasks of minibatch noise: against loops, with batches drawn by NumPy and the noise written out."""

import hashlib

import numpy as np
import pytest

from sgdnoise import MLP, Schedule, Stage, load_fashion, sgd, train
from sgdnoise.reproduce.tasks.minibatch_noise import MinibatchNoiseTask, StationaryTask, batch_variance


def generator(text):
    """The stream of a task with this repr."""
    return np.random.default_rng(list(hashlib.sha256(text.encode()).digest()))


def epoch_of(sampling, rng, n, b):
    """The batches of an epoch."""
    if sampling == "reshuffle":
        order = rng.permutation(n)
        return [order[start : start + b] for start in range(0, n - b + 1, b)]
    if sampling == "with_replacement":
        return rng.integers(n, size=(n // b, b))
    return [rng.choice(n, b, replace=False, shuffle=False) for _ in range(n // b)]


def test_batch_variance_by_hand():
    assert batch_variance("with_replacement", 10, 100, 2.0) == pytest.approx(2 * 0.99 / 10)
    for sampling in ("without_replacement", "reshuffle"):
        assert batch_variance(sampling, 10, 100, 2.0) == pytest.approx(2 * (0.1 - 0.01))
        assert batch_variance(sampling, np.array([100, 1]), 100, 2.0) == pytest.approx([0, 1.98])


def test_predictions_of_minibatch_noise():
    assert MinibatchNoiseTask("with_replacement", 5, 20).predicted(3.0) == pytest.approx(3 * 0.95 / 5)
    assert MinibatchNoiseTask("reshuffle", 5, 20).predicted() == pytest.approx(0.15)
    assert isinstance(MinibatchNoiseTask("reshuffle", 5, 20).predicted(), float)


# With 31 of 60 there is no second batch.
@pytest.mark.parametrize(("sampling", "b"), [("reshuffle", 30), ("with_replacement", 7), ("without_replacement", 31)])
def test_minibatch_noise_task_equals_a_loop_over_per_example_gradients(sampling, b):
    model, data = MLP(196, (128,), 10), load_fashion(60)
    params = train(model, data, Schedule([Stage(2, 0.05, 20)]), sgd(0.9), rng=0).params.astype(float)
    gradients = model.per_example_gradients(params, data.X_train.astype(float), data.y_train)
    gradients = gradients - gradients.mean(axis=0)
    directions = np.random.default_rng(1).standard_normal((model.n_params, 20))
    along = gradients @ (directions / np.sqrt((directions**2).sum(axis=0)))
    rng = generator(f"MinibatchNoiseTask(method='{sampling}', batch_size={b}, n_train=60, n_draws=3, seed=4)")
    result = MinibatchNoiseTask(sampling, b, 60, 3, seed=4).run()
    assert sorted(result) == ["S_projected", "S_trace", "between", "projected", "trace"]
    for i in range(3):
        first, *others = epoch_of(sampling, rng, 60, b)
        noise = gradients[first].mean(axis=0)
        assert result["trace"][i] == pytest.approx((noise**2).sum())
        assert result["projected"][i] == pytest.approx((along[first].mean(axis=0) ** 2).mean())
        second = gradients[others[0]].mean(axis=0) if b <= 30 else np.zeros_like(noise)
        assert result["between"][i] == pytest.approx((noise * second).sum(), rel=1e-9)
    assert result["S_trace"] == pytest.approx((gradients**2).sum() / 59)
    assert result["S_projected"] == pytest.approx((along**2).sum() / 59 / 20)


# Epochs to forget in are 7/(learning rate/(1 - m) x updates an epoch), m = 0.5 taking 7/(0.04 x 4) = 43.75 of them, 20 or more;
# an epoch of 7 of 20 leaves 6 examples out. As many again are measured.
@pytest.mark.parametrize(
    ("sampling", "rate", "b", "momentum", "nesterov", "n_epochs"),
    [
        ("reshuffle", 0.02, 5, 0.0, False, 88),
        ("with_replacement", 0.02, 5, 0.5, False, 44),
        ("with_replacement", 0.02, 5, 0.5, True, 44),
        ("with_replacement", 0.02, 5, 0.95, False, 35),  # 1 - m is slower than the learning rate, 0.4
        ("without_replacement", 0.05, 7, 0.0, False, 70),
        ("without_replacement", 0.9, 7, 0.0, False, 20),
    ],
)
def test_stationary_task_equals_a_loop_over_replicas(sampling, rate, b, momentum, nesterov, n_epochs):
    x = np.arange(20) - 9.5
    x = x / np.sqrt((x**2).sum() / 19)
    text = f"StationaryTask(method='{sampling}', learning_rate={rate}, batch_size={b}, n_train=20, momentum={momentum}, "
    rng = generator(f"{text}nesterov={nesterov}, n_replicas=3, seed=2)")
    w, trace, seen = [0.0] * 3, [0.0] * 3, []
    for _ in range(2 * n_epochs):
        epochs = [epoch_of(sampling, rng, 20, b) for _ in range(3)]
        for r, epoch in enumerate(epochs):
            for batch in epoch:
                gradient = w[r] - x[batch].mean()
                trace[r] = momentum * trace[r] + gradient
                w[r] -= rate * (gradient + momentum * trace[r] if nesterov else trace[r])
        seen.append(np.square(w))
    result = StationaryTask(sampling, rate, b, 20, momentum, nesterov, 3, seed=2).run()
    assert list(result) == ["squares"]
    np.testing.assert_allclose(result["squares"], np.mean(seen[n_epochs:], axis=0), rtol=1e-9)


def impulses(rate, momentum, nesterov, n=2000):
    """What a unit of noise leaves after 0, 1, ... updates."""
    w, trace, left = 0.0, 0.0, []
    for k in range(n):
        gradient = w + (k == 0)
        trace = momentum * trace + gradient
        w -= rate * (gradient + momentum * trace if nesterov else trace)
        left.append(w)
    return np.array(left)


@pytest.mark.parametrize(("momentum", "nesterov"), [(0.0, False), (0.9, False), (0.9, True)])
def test_stationary_predictions_against_sums_over_impulses(momentum, nesterov):
    left = impulses(0.1, momentum, nesterov)
    for sampling, noise in (("with_replacement", 0.99 / 10), ("without_replacement", 0.1 - 0.01)):
        predicted = StationaryTask(sampling, 0.1, momentum=momentum, nesterov=nesterov).predicted()
        assert predicted == pytest.approx(noise * (left**2).sum())
    epochs = left.reshape(-1, 10)  # whose batches have covariance -1/N
    expected = ((epochs**2).sum(axis=1) / 10 - epochs.sum(axis=1) ** 2 / 100).sum()
    assert StationaryTask("reshuffle", 0.1, momentum=momentum, nesterov=nesterov).predicted() == pytest.approx(expected)


def test_costs_grow_with_batches_and_updates():
    assert MinibatchNoiseTask("reshuffle", 50, n_draws=10).cost == pytest.approx(10 * (4e-4 + 3e-4))
    assert StationaryTask("reshuffle", 0.1, n_replicas=5).cost == pytest.approx(40 * 5 * (1e-5 + 2e-6 * 10))
    assert StationaryTask("without_replacement", 0.02, n_replicas=5).cost == pytest.approx(70 * 5 * (1e-5 + 1.5e-5 * 10))
