"""The training loop: against an independent solution, its record, its reproducibility, and divergence."""

import pickle
import warnings

import numpy as np
import pytest
from scipy.optimize import minimize

from sgdnoise import (
    MLP,
    Dataset,
    DivergenceError,
    LogisticRegression,
    Optimizer,
    Schedule,
    Stage,
    adam,
    load_fashion,
    make_blobs,
    make_teacher,
    sgd,
    step_decay,
    train,
)

DATA = make_blobs(200, 50, rng=0)
MODEL = LogisticRegression(2, 3)
SCHEDULE = Schedule([Stage(2, 0.1, 16), Stage(1, 0.05, 60)])


def test_full_batch_descent_finds_the_minimum_that_scipy_finds():
    data, model, l2 = make_teacher(300, 10, n_features=4, rng=1), LogisticRegression(4), 0.1
    found = minimize(
        lambda p: model.loss(p, data.X_train, data.y_train, l2),
        np.zeros(model.n_params),
        jac=lambda p: model.gradient(p, data.X_train, data.y_train, l2),
        tol=1e-12,
    )
    for optimizer, rate in ((sgd(), 1.0), (sgd(0.5), 0.5), (sgd(0.5, nesterov=True), 0.5), (adam(), 0.01)):
        schedule = step_decay(rate, 300, milestones=(400,), n_epochs=600, factor=10)
        history = train(model, data, schedule, optimizer, l2=l2, params=np.zeros(model.n_params))
        assert model.loss(history.params, data.X_train, data.y_train, l2) == pytest.approx(found.fun, rel=1e-7)


def test_the_loop_is_the_recipe_written_out():
    """Momentum SGD on given batches, with the velocity form, which is the same while the learning rate is constant."""
    rng = np.random.default_rng(7)
    params = MODEL.init(rng)
    velocity = np.zeros_like(params)
    for _ in range(2):
        order = rng.permutation(200)
        for i in range(200 // 16):
            batch = order[16 * i : 16 * (i + 1)]
            logits = DATA.X_train[batch] @ params[:6].reshape(2, 3) + params[6:]
            p = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True) - np.eye(3)[DATA.y_train[batch]]
            gradient = np.concatenate([(DATA.X_train[batch].T @ p).ravel(), p.sum(axis=0)]) / 16
            gradient[:6] += 0.01 * params[:6]
            velocity = 0.9 * velocity - 0.1 * gradient
            params = params + velocity
    history = train(MODEL, DATA, Schedule([Stage(2, 0.1, 16)]), sgd(0.9), l2=0.01, rng=7)
    np.testing.assert_allclose(history.params, params, rtol=1e-10)


def test_the_accumulator_survives_a_change_of_stage():
    """Two stages of one setting are one stage; with momentum forgotten between them they would not be."""
    once = train(MODEL, DATA, Schedule([Stage(2, 0.1, 16)]), sgd(0.9), rng=3)
    twice = train(MODEL, DATA, Schedule([Stage(1, 0.1, 16), Stage(1, 0.1, 16)]), sgd(0.9), rng=3)
    np.testing.assert_array_equal(once.params, twice.params)


class Stub:
    """A model of one parameter, whose losses are given: of minibatches in turn, then of evaluations in turn."""

    def __init__(self, minibatch_losses, epoch_losses=()):
        self.minibatch_losses, self.epoch_losses = iter(minibatch_losses), iter(epoch_losses)

    def init(self, rng, dtype):
        return np.zeros(1, dtype)

    def loss_and_gradient(self, params, X, y, l2):
        return next(self.minibatch_losses), np.zeros(1)

    def evaluate(self, params, X, y):
        return next(self.epoch_losses, 0.0), 0.5


@pytest.mark.parametrize(
    ("minibatch_losses", "epoch_losses", "diverges"),
    [
        ([0.5, 99.0, 0.5, 0.5], [], False),  # below 1 nat the limit is 100 nats
        ([0.5, 101.0, 0.5, 0.5], [], True),
        ([3.0, 299.0, 3.0, 3.0], [], False),  # above it 100 times the first loss
        ([3.0, 301.0, 3.0, 3.0], [], True),
        ([3.0, float("nan"), 3.0, 3.0], [], True),
        ([float("inf")] * 4, [], True),
        ([0.5] * 4, [1e6], True),  # at the end of an epoch, after its last minibatch
        ([0.5] * 4, [float("nan")], True),
    ],
)
def test_what_counts_as_divergence(minibatch_losses, epoch_losses, diverges):
    schedule = Schedule([Stage(1, 0.1, 50)])
    stopped = train(Stub(minibatch_losses, epoch_losses), DATA, schedule, sgd(), on_divergence="stop")
    assert stopped.diverged is diverges
    assert len(stopped.epoch) == (0 if diverges else 1)
    ignored = train(Stub(minibatch_losses, epoch_losses), DATA, schedule, sgd(), on_divergence="ignore")
    assert len(ignored.epoch) == 1


def test_a_batch_too_large_for_the_data_is_refused_before_anything_is_trained():
    losses = iter([0.5] * 4)
    with pytest.raises(ValueError, match="batch_size must be an integer from 1 to n_train=200, got 300"):
        train(Stub(losses), DATA, Schedule([Stage(1, 0.1, 50), Stage(1, 0.1, 300)]), sgd())
    assert len(list(losses)) == 4


def test_history_records_each_epoch():
    seen = []
    history = train(MODEL, DATA, SCHEDULE, sgd(), rng=0, callback=seen.append)
    np.testing.assert_array_equal(history.epoch, [1, 2, 3])
    np.testing.assert_array_equal(history.n_updates, [12, 24, 27])
    np.testing.assert_array_equal(history.learning_rate, [0.1, 0.1, 0.05])
    np.testing.assert_array_equal(history.batch_size, [16, 16, 60])
    assert history.n_updates[-1] == SCHEDULE.n_updates(200)
    assert history.train_loss[-1] == MODEL.loss(history.params, DATA.X_train, DATA.y_train)
    assert history.test_accuracy[-1] == MODEL.accuracy(history.params, DATA.X_test, DATA.y_test)
    assert [len(h.epoch) for h in seen] == [1, 2, 3]
    np.testing.assert_array_equal(seen[1].test_loss, history.test_loss[:2])
    assert not history.diverged


@pytest.mark.parametrize("sampling", ["reshuffle", "without_replacement", "with_replacement"])
def test_equal_rng_equal_run_and_other_rng_other_run(sampling):
    runs = [train(MODEL, DATA, SCHEDULE, sgd(0.9), sampling=sampling, rng=rng).params for rng in (1, 1, 2)]
    np.testing.assert_array_equal(runs[0], runs[1])
    assert not np.array_equal(runs[0], runs[2])


def test_initial_parameters_are_used_and_left_alone():
    params = np.zeros(MODEL.n_params)
    history = train(MODEL, DATA, SCHEDULE, sgd(), params=params, rng=0)
    assert not params.any()
    still = Optimizer(init=lambda p: None, update=lambda gradient, state, rate: (0 * gradient, None))
    np.testing.assert_array_equal(train(MODEL, DATA, SCHEDULE, still, params=params, rng=0).params, params)
    assert history.params.any()


def test_float32_data_trains_in_float32():
    data = Dataset(DATA.X_train.astype(np.float32), DATA.y_train, DATA.X_test.astype(np.float32), DATA.y_test)
    for optimizer in (sgd(0.9, nesterov=True), adam()):
        assert train(MODEL, data, SCHEDULE, optimizer, rng=0).params.dtype == np.float32


@pytest.mark.parametrize(
    "optimizer", [sgd(), sgd(0.9), sgd(0.9, nesterov=True), adam()], ids=["sgd", "momentum", "nesterov", "adam"]
)
@pytest.mark.parametrize("model", [MLP(196, (32,), 10), MLP(196, (32,), 10, "tanh"), LogisticRegression(196, 10)])
def test_learning_rate_50_diverges_loudly_and_without_warnings(model, optimizer):
    data, schedule = load_fashion(2000), Schedule([Stage(3, 50.0, 32)])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(
            DivergenceError, match=r"diverged in epoch 1 after \d+ updates: loss .* learning_rate=50, batch_size=32"
        ) as caught:
            train(model, data, schedule, optimizer, rng=0)
        stopped = train(model, data, schedule, optimizer, rng=0, on_divergence="stop")
        ignored = train(model, data, schedule, optimizer, rng=0, on_divergence="ignore")
    error = caught.value
    assert (error.epoch, error.learning_rate, error.batch_size) == (1, 50.0, 32)
    assert error.update > 0
    assert error.history.diverged
    assert stopped.diverged
    assert len(stopped.epoch) == 0
    assert len(ignored.epoch) == 3
    assert str(pickle.loads(pickle.dumps(error))) == str(error)


def test_divergence_to_infinity_keeps_the_history_so_far():
    grow = Optimizer(init=lambda p: None, update=lambda g, state, rate: (np.full_like(g, 1e200 if rate > 1 else 0.0), None))
    schedule = Schedule([Stage(2, 0.1, 50), Stage(2, 2.0, 50)])
    with pytest.raises(DivergenceError) as caught:
        train(MLP(2, (4,), 3), DATA, schedule, grow, rng=0)
    assert caught.value.epoch == 3
    assert not np.isfinite(caught.value.loss)
    np.testing.assert_array_equal(caught.value.history.epoch, [1, 2])


def test_a_callback_keeps_its_own_warnings():
    with pytest.raises(RuntimeWarning):
        train(MODEL, DATA, SCHEDULE, sgd(), rng=0, callback=lambda history: np.log(np.zeros(1)))


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (
            {"schedule": Schedule([Stage(1, 0.1, 300)])},
            ValueError,
            "batch_size must be an integer from 1 to n_train=200, got 300",
        ),
        ({"l2": -1.0}, ValueError, "l2"),
        ({"l2": float("nan")}, ValueError, "l2"),
        ({"sampling": "random"}, ValueError, "sampling must be one of"),
        ({"on_divergence": "retry"}, ValueError, "on_divergence"),
        ({"model": LogisticRegression(5, 3)}, ValueError, "X must be"),
        ({"model": LogisticRegression(2, 2)}, ValueError, "y must be labels from 0 to 1"),
        ({"params": np.zeros(4)}, ValueError, "params"),
        ({"params": np.full(9, np.nan)}, ValueError, "params must be finite"),
        ({"optimizer": sgd}, TypeError, r"optimizer must be an object with init, update, .*call sgd\(\) or adam\(\)"),
        ({"optimizer": None}, TypeError, "optimizer"),
        ({"schedule": [Stage(1, 0.1, 10)]}, TypeError, "schedule must be an object with stages, n_updates"),
        ({"data": (1, 2)}, TypeError, "data must be an object with X_train"),
        ({"callback": 5}, TypeError, "callback must be callable, got 5 of type int"),
        ({"rng": "a"}, TypeError, "rng must be an integer"),
    ],
)
def test_bad_input_is_refused_by_name(change, error, message):
    arguments = {"model": MODEL, "data": DATA, "schedule": SCHEDULE, "optimizer": sgd(), "rng": 0} | change
    with pytest.raises(error, match=message):
        train(**arguments)
