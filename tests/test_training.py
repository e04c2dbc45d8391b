"""The training loop: against an independent solution, its record, its reproducibility, and divergence."""

import pickle
import re
import warnings
from functools import partial
from itertools import repeat
from types import SimpleNamespace

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
    fast,
    langevin,
    load_fashion,
    make_blobs,
    make_teacher,
    minibatches,
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


# What a user's own optimizer and model return.

SINGLE = Dataset(DATA.X_train.astype(np.float32), DATA.y_train, DATA.X_test.astype(np.float32), DATA.y_test)
BOTH = pytest.mark.parametrize("training", [partial(train, rng=0), partial(fast.train, rngs=[0])], ids=["train", "fast"])
STEP = "the step that optimizer.update returns must be a float32 or float64 array of shape \\(9,\\), got "
PAIR = "what optimizer.update returns must be a pair \\(step, state\\), got "


def stateless(update):
    return Optimizer(lambda params: None, update)


@BOTH
@pytest.mark.parametrize(
    ("update", "error", "message"),
    [
        (lambda g, s, rate: (-rate * g[:1], s), ValueError, STEP + "shape \\(1,\\)"),
        (lambda g, s, rate: (-rate * g[0], s), ValueError, STEP + "shape \\(\\)"),
        (lambda g, s, rate: (-rate * g[None], s), ValueError, STEP + "shape \\(1, 9\\)"),
        (lambda g, s, rate: (-rate * g[:, None], s), ValueError, STEP + "shape \\(9, 1\\)"),
        (lambda g, s, rate: (-rate, s), TypeError, STEP + "-0.1 of type float"),
        (lambda g, s, rate: ((-rate * g).tolist(), s), TypeError, STEP + "\\["),
        (lambda g, s, rate: (None, s), TypeError, STEP + "None of type NoneType"),
        (lambda g, s, rate: (-np.sign(g).astype(int), s), TypeError, STEP + "an array of dtype int64"),
        (lambda g, s, rate: ((-rate * g).astype(np.float16), s), TypeError, STEP + "an array of dtype float16"),
        (lambda g, s, rate: (-rate * g * 1j, s), TypeError, STEP + "an array of dtype complex128"),
        (lambda g, s, rate: (np.ma.masked_less(g, 0), s), TypeError, STEP + "a masked array"),
        (lambda g, s, rate: None, TypeError, PAIR + "None of type NoneType"),
        (lambda g, s, rate: -rate * g, TypeError, PAIR + "an array of dtype float64"),
        (lambda g, s, rate: (-rate * g, s, rate), TypeError, PAIR + "\\("),
        (lambda g, s, rate: "ab", TypeError, PAIR + "'ab' of type str"),
    ],
)
def test_a_step_that_is_none_is_refused(training, update, error, message):
    with pytest.raises(error, match="^" + message):
        training(MODEL, DATA, SCHEDULE, stateless(update))


@BOTH
@pytest.mark.parametrize("data", [SINGLE, DATA], ids=["float32", "float64"])
@pytest.mark.parametrize("kind", [np.float32, np.float64])
def test_steps_of_either_precision_leave_training_in_its_own(training, data, kind):
    """A start of zeros, and steps of given numbers: their sum in the precision of the data, each rounded first."""
    dtype, numbers = data.X_train.dtype, np.random.default_rng(0).standard_normal((27, 9)).astype(kind) / 100
    seen, expected = [], np.zeros(9, dtype)
    optimizer = Optimizer(lambda params: 0, lambda g, n, rate: seen.append(g.dtype) or (numbers[n], n + 1))
    history = training(MODEL, data, SCHEDULE, optimizer, params=np.zeros(9, dtype))
    for step in numbers:
        expected = expected + step.astype(dtype)
    np.testing.assert_array_equal(np.ravel(history.params), expected)
    assert history.params.dtype == dtype
    assert set(seen) == {dtype}


def test_a_pair_may_be_a_list():
    listed = stateless(lambda g, s, rate: [-rate * g, s])
    np.testing.assert_allclose(
        train(MODEL, DATA, SCHEDULE, listed, rng=0).params, train(MODEL, DATA, SCHEDULE, sgd(), rng=0).params
    )


class Changed(LogisticRegression):
    """A model that returns something else: `change` is applied to (loss, gradient) or, named so, to (loss, accuracy)."""

    def __init__(self, change, of="loss_and_gradient"):
        super().__init__(2, 3)
        object.__setattr__(self, "change", {of: change})

    def loss_and_gradient(self, *args):
        return self.change.get("loss_and_gradient", lambda *pair: pair)(*super().loss_and_gradient(*args))

    def evaluate(self, *args):
        return self.change.get("evaluate", lambda *pair: pair)(*super().evaluate(*args))

    def init(self, *args):
        return self.change.get("init", lambda params: params)(super().init(*args))


GRADIENT = "the gradient that model.loss_and_gradient returns must be a float32 or float64 array of shape \\(9,\\), got "
LOSS = "the loss that model.loss_and_gradient returns must be a number, got "


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (lambda loss, g: (loss, g[:1]), ValueError, GRADIENT + "shape \\(1,\\)"),
        (lambda loss, g: (loss, g[0]), ValueError, GRADIENT + "shape \\(\\)"),
        (lambda loss, g: (loss, g[None]), ValueError, GRADIENT + "shape \\(1, 9\\)"),
        (lambda loss, g: (loss, np.ones(9, int)), TypeError, GRADIENT + "an array of dtype int64"),
        (lambda loss, g: (loss, g.astype(np.float16)), TypeError, GRADIENT + "an array of dtype float16"),
        (lambda loss, g: (loss, None), TypeError, GRADIENT + "None"),
        (lambda loss, g: (np.full(16, loss), g), TypeError, LOSS + "shape \\(16,\\); the mean over the examples"),
        (lambda loss, g: (np.array([loss]), g), TypeError, LOSS + "shape \\(1,\\)"),
        (lambda loss, g: ([loss], g), TypeError, LOSS + "\\[.* of type list"),
        (lambda loss, g: (None, g), TypeError, LOSS + "None"),
        (lambda loss, g: (str(loss), g), TypeError, LOSS + "'.*' of type str"),
        (lambda loss, g: (loss * 1j, g), TypeError, LOSS + ".* of type complex"),
        (lambda loss, g: (True, g), TypeError, LOSS + "True of type bool"),
        (lambda loss, g: None, TypeError, "what model.loss_and_gradient returns must be a pair \\(loss, gradient\\), got None"),
        (lambda loss, g: g, TypeError, "what model.loss_and_gradient returns must be a pair"),
    ],
)
def test_a_gradient_that_is_none_is_refused(change, error, message):
    with pytest.raises(error, match="^" + message):
        train(Changed(change), DATA, SCHEDULE, sgd(), rng=0)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda loss, accuracy: (np.full(200, loss), accuracy), "each number that model.evaluate returns must be a number"),
        (lambda loss, accuracy: (loss, np.ones(200, bool)), "each number that model.evaluate returns must be a number"),
        (lambda loss, accuracy: loss, r"what model.evaluate returns must be a pair \(loss, accuracy\), got .* of type float"),
    ],
)
def test_a_score_that_is_none_is_refused(change, message):
    with pytest.raises(TypeError, match="^" + message):
        train(Changed(change, "evaluate"), DATA, SCHEDULE, sgd(), rng=0)


@BOTH
@pytest.mark.parametrize(
    ("change", "error"),
    [
        (lambda params: params[:, None], ValueError),
        (lambda params: params[:0], ValueError),
        (lambda params: params.astype(int), TypeError),
        (lambda params: None, TypeError),
    ],
)
def test_a_start_that_is_none_is_refused(training, change, error):
    with pytest.raises(error, match=r"^what model.init returns must be a float32 or float64 array of shape"):
        training(Changed(change, "init"), DATA, SCHEDULE, sgd())


@pytest.mark.parametrize("loss_type", [np.float64, np.float32, np.array])
def test_numbers_of_other_kinds_are_losses(loss_type):
    """Gradients in double precision beside parameters in single, too: the optimizer sees single precision."""
    changed = Changed(lambda loss, g: (loss_type(loss), g.astype(float)))
    history, expected = (train(model, SINGLE, SCHEDULE, adam(), rng=0) for model in (changed, MODEL))
    np.testing.assert_array_equal(history.params, expected.params)
    assert history.params.dtype == np.float32
    np.testing.assert_array_equal(history.train_loss, expected.train_loss)


def test_a_loss_beyond_floating_point_is_divergence():
    with pytest.raises(DivergenceError, match="loss inf"):
        train(Changed(lambda loss, g: (10**400, g)), DATA, SCHEDULE, sgd(), rng=0)


def test_parameters_of_the_history_are_not_those_that_were_given():
    params = np.zeros(9)
    stopped = train(Changed(lambda loss, g: (np.nan, g)), DATA, SCHEDULE, sgd(), params=params, on_divergence="stop")
    stopped.params[:] = 1
    assert not params.any()


# Callbacks.


def thousand_epochs(callback, training):
    """1000 epochs of a model that costs nothing."""
    if training == "fast":
        data, model = make_blobs(4, 2, rng=0), LogisticRegression(2, 3)
        return fast.train(model, data, Schedule([Stage(1000, 0.01, 4)]), sgd(), rngs=[0, 1], callback=callback)
    return train(Stub(repeat(0.5), iter(np.arange(2000.0))), DATA, Schedule([Stage(1000, 0.1, 200)]), sgd(),
                 callback=callback, on_divergence="ignore")  # fmt: skip


@pytest.mark.parametrize("training", ["train", "fast"])
def test_a_callback_costs_the_same_in_every_epoch(training):
    """All that it is given are views of a few arrays, which double as they fill up; so a run is not quadratic in the epochs."""
    seen = []
    history = thousand_epochs(seen.append, training)
    columns = [name for name in vars(history) if name not in ("params", "diverged", "state")]
    assert [len(h.epoch) for h in seen] == list(range(1, 1001))
    for name in columns:
        buffers = {getattr(h, name).base.__array_interface__["data"][0] for h in seen}
        assert len(buffers) < 10
        for h in seen[::97]:  # the records that were handed over stay what they were
            np.testing.assert_array_equal(getattr(h, name), getattr(history, name)[..., : len(h.epoch)])
        assert not getattr(seen[3], name).flags.writeable
        assert getattr(history, name).flags.writeable
    assert not np.shares_memory(seen[-1].train_loss, history.train_loss)


@BOTH
def test_a_callback_cannot_change_the_run(training):
    def meddle(history):
        history.params[:] = 0
        for state in history.state if isinstance(history.state, list) else [history.state]:
            state.trace[:] = 1e9
        for name in ("train_loss", "epoch", "test_accuracy"):
            with pytest.raises(ValueError, match="read-only"):
                getattr(history, name)[...] = 0

    arguments = (MODEL, DATA, SCHEDULE, sgd(0.9))
    history, expected = training(*arguments, callback=meddle), training(*arguments)
    for name, value in vars(expected).items():
        np.testing.assert_equal(getattr(history, name), value)


def test_a_record_that_is_kept_can_be_pickled():
    seen = []
    history = thousand_epochs(seen.append, "train")
    kept = pickle.loads(pickle.dumps(seen[499]))
    np.testing.assert_array_equal(kept.train_loss, history.train_loss[:500])
    assert len(pickle.dumps(seen[0])) < 3000


# No test set.


@BOTH
@pytest.mark.parametrize("on_divergence", ["raise", "stop", "ignore"])
def test_a_test_set_can_be_left_out(training, on_divergence):
    alone, seen = Dataset(DATA.X_train, DATA.y_train), []
    assert alone.X_test is None
    assert alone.n_classes == 3
    arguments = {"on_divergence": on_divergence}
    history = training(MODEL, alone, SCHEDULE, adam(), callback=seen.append, **arguments)
    expected = training(MODEL, DATA, SCHEDULE, adam(), **arguments)
    for name, value in vars(expected).items():
        if name.startswith("test_"):
            assert getattr(history, name).shape == value.shape
            assert np.isnan(getattr(history, name)).all()
        else:
            np.testing.assert_equal(getattr(history, name), value)
    assert len(seen) == 3


def test_without_a_test_set_replicas_are_as_long_as_they_were():
    schedule, model = Schedule([Stage(1, 0.1, 1), Stage(3, 33.0, 1)]), MLP(2, (6,), 3)
    data = make_blobs(60, 20, rng=0)
    arguments = {"l2": 1e-3, "rngs": range(6), "on_divergence": "stop"}
    histories = [
        fast.train(model, each, schedule, sgd(0.9), **arguments) for each in (data, Dataset(data.X_train, data.y_train))
    ]
    lengths = [[len(history.replica(i).epoch) for i in range(6)] for history in histories]
    assert lengths[0] == lengths[1]
    assert len(set(lengths[0])) > 1


def test_data_without_a_test_set_in_other_forms():
    """By name, with the number of classes; pickled; of a class of one's own. Half a test set is none."""
    given = Dataset(X_train=SINGLE.X_train, y_train=SINGLE.y_train, n_classes=7)
    assert given.n_classes == 7
    assert pickle.loads(pickle.dumps(given)).y_test is None
    own = SimpleNamespace(X_train=DATA.X_train, y_train=DATA.y_train, X_test=None, y_test=None)
    expected = train(MODEL, DATA, SCHEDULE, sgd(), rng=0)
    np.testing.assert_array_equal(train(MODEL, own, SCHEDULE, sgd(), rng=0).params, expected.params)
    with pytest.raises(TypeError, match=r"^y_test must be an integer array"):
        Dataset(DATA.X_train, DATA.y_train, DATA.X_test)
    with pytest.raises(TypeError, match=r"^X_test must be a float32 or float64 array"):
        Dataset(DATA.X_train, DATA.y_train, y_test=DATA.y_test)
    with pytest.raises(ValueError, match=r"^X_test must be"):
        Dataset(DATA.X_train, DATA.y_train, DATA.X_test[:0], DATA.y_test[:0])
    with pytest.raises(ValueError, match=r"^data must have both X_test and y_test"):
        train(MODEL, SimpleNamespace(**(vars(own) | {"X_test": DATA.X_test})), SCHEDULE, sgd())


# Random numbers.

SEEDS = {
    "SeedSequence": lambda: np.random.SeedSequence(3, spawn_key=(1,)),
    "PCG64": lambda: np.random.PCG64(3),
    "MT19937": lambda: np.random.MT19937(3),
    "Generator of Philox": lambda: np.random.Generator(np.random.Philox(3)),
    "list": lambda: [3, 4],
    "tuple": lambda: (3, 2**70),
    "array": lambda: np.array([3, 4]),
    "128 bits": lambda: 2**127 + 1,
    "numpy integer": lambda: np.uint64(2**64 - 1),
}
DRAWS = {
    "train": lambda rng: train(MODEL, DATA, SCHEDULE, sgd(), rng=rng).params,
    "fast.train": lambda rng: fast.train(MODEL, DATA, SCHEDULE, sgd(), rngs=[rng]).params,
    "minibatches": lambda rng: minibatches(20, 3, rng=rng),
    "make_blobs": lambda rng: make_blobs(5, 5, rng=rng).X_train,
    "make_teacher": lambda rng: make_teacher(5, 5, rng=rng).X_train,
    "init": lambda rng: MODEL.init(rng),
    "overdamped": lambda rng: langevin.overdamped(lambda x: x, np.zeros((2, 1)), step_size=0.1, n_steps=2, rng=rng).x,
    "sgld": lambda rng: (
        langevin.sgld(None, lambda x, batch: -x, np.zeros((2, 1)), step_size=0.1, n_steps=3, n_train=5, batch_size=2, rng=rng).x
    ),
}


@pytest.mark.parametrize("draw", DRAWS.values(), ids=DRAWS)
@pytest.mark.parametrize("seed", SEEDS.values(), ids=SEEDS)
def test_rng_is_all_that_numpy_s_default_rng_takes(draw, seed):
    np.testing.assert_array_equal(draw(seed()), draw(np.random.default_rng(seed())))


@pytest.mark.parametrize(
    "rng",
    [True, np.True_, -1, 1.5, "3", b"3", [], [1, -1], [1.5], [[1]], np.array([0.5]), np.zeros((1, 1), int),
     np.timedelta64(1, "s"), np.random.PCG64, np.random.SeedSequence, np.random.default_rng, {1: 2}],
)  # fmt: skip
@pytest.mark.parametrize("draw", [DRAWS["train"], DRAWS["minibatches"]], ids=["train", "minibatches"])
def test_what_is_no_seed_is_refused(draw, rng):
    with pytest.raises(
        (TypeError, ValueError), match=r"^rng must be an integer, at least 0, got .*; a seed, a numpy.random.Gen"
    ):
        draw(rng)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model": 3}, "model must be an object with init, loss_and_gradient, evaluate, got 3 of type int; an MLP, a Logistic"),
        ({"model": LogisticRegression}, "model must be an object with init"),
        ({"model": 3, "params": np.zeros(9)}, "model must be an object with loss_and_gradient, evaluate, got 3"),
        ({"optimizer": SimpleNamespace(init=abs, update=3)}, "optimizer.update must be callable, got 3"),
        (
            {"data": SimpleNamespace(X_train=[[1.0]], y_train=[0], X_test=None, y_test=None)},
            "data.X_train must be an object with",
        ),
    ],
)
def test_objects_of_other_kinds_are_refused_by_name(change, message):
    with pytest.raises(TypeError, match="^" + message):
        train(**({"model": MODEL, "data": DATA, "schedule": SCHEDULE, "optimizer": sgd()} | change))


def test_a_model_needs_no_init_where_the_start_is_given():
    model = SimpleNamespace(loss_and_gradient=MODEL.loss_and_gradient, evaluate=MODEL.evaluate)
    start = MODEL.init(0)
    given = [train(each, DATA, SCHEDULE, sgd(), params=start, rng=1).params for each in (model, MODEL)]
    np.testing.assert_array_equal(*given)


# A learning rate that moves.

MOVING = Schedule([Stage(2, 0.0, 6, 0.3), Stage(1, 0.3, 6), Stage(3, 0.3, 12, 0.02)])


@pytest.mark.parametrize("optimizer", [sgd(), sgd(0.9), sgd(0.9, nesterov=True)], ids=["sgd", "momentum", "nesterov"])
def test_a_unit_impulse_through_a_moving_rate(optimizer):
    """With a_t = m^t (Nesterov: m^(t+1), and 1 + m at t = 0) the way is sum_t eps_t a_t, eps_t = eps + slope (t + 1/2)."""

    class Impulse:
        n_calls = 0

        def loss_and_gradient(self, params, X, y, l2):
            self.n_calls += 1
            return 1.0, np.array([float(self.n_calls == 1)])

        def evaluate(self, params, X, y):
            return 1.0, 0.5

    n, first, last, m = 2 * (len(DATA.X_train) // 6), 0.1, 0.4, optimizer.momentum
    schedule = Schedule([Stage(2, first, 6, last)])
    end = train(Impulse(), DATA, schedule, optimizer, params=np.zeros(1), rng=0).params[0]
    slope = (last - first) / n
    weights, ramp = (1 - m**n) / (1 - m), (m - n * m**n + (n - 1) * m ** (n + 1)) / (1 - m) ** 2  # sums of m^t and t m^t
    way = (first + slope / 2) * weights + slope * ramp
    if optimizer.nesterov:
        way = (first + slope / 2) + m * way
    assert end == pytest.approx(-way, rel=1e-12)
    wrong = -first * weights  # a rate that stays where it began
    assert abs(end - wrong) > 0.01 * abs(wrong) or m == 0


@pytest.mark.parametrize("optimizer", [sgd(), sgd(0.9), sgd(0.5, nesterov=True), adam()], ids=repr)
def test_both_loops_follow_a_rate_that_moves(optimizer):
    if optimizer == adam():
        schedule = Schedule([Stage(s.n_epochs, s.ends[0] / 10, s.batch_size, s.ends[1] / 10) for s in MOVING])
    else:
        schedule = MOVING
    fast_one = fast.train(MODEL, DATA, schedule, optimizer, rngs=[3, 4])
    for i, seed in enumerate((3, 4)):
        reference, replica = train(MODEL, DATA, schedule, optimizer, rng=seed), fast_one.replica(i)
        np.testing.assert_allclose(replica.params, reference.params, rtol=1e-9, atol=1e-12)
        np.testing.assert_allclose(replica.train_loss, reference.train_loss, rtol=1e-9)
        np.testing.assert_array_equal(replica.learning_rate, reference.learning_rate)
    flat = Schedule([Stage(s.n_epochs, sum(s.ends) / 2, s.batch_size) for s in schedule])
    assert np.abs(train(MODEL, DATA, flat, optimizer, rng=3).params - fast_one.params[0]).max() > 1e-3


def test_the_history_has_the_mean_rate_of_each_epoch():
    history = train(MODEL, DATA, MOVING, sgd(), rng=0)
    np.testing.assert_allclose(history.learning_rate, [0.075, 0.225, 0.3, 0.3 - 0.28 / 6, 0.3 - 0.28 / 2, 0.02 + 0.28 / 6])


def test_a_rate_that_moves_is_followed_update_by_update():
    """With an optimizer that writes down what it is given."""
    seen = []

    def update(gradient, state, learning_rate):
        seen.append(learning_rate)
        return np.zeros_like(gradient), state

    train(MODEL, DATA, MOVING, stateless(update), rng=0)
    n = len(DATA.X_train)
    counts = [stage.n_epochs * (n // stage.batch_size) for stage in MOVING]
    expected = [
        s.ends[0] + (s.ends[1] - s.ends[0]) * (t + 0.5) / k for s, k in zip(MOVING, counts, strict=True) for t in range(k)
    ]
    np.testing.assert_allclose(seen, expected, rtol=1e-12)
    assert all(type(rate) is float for rate in seen)


def test_a_run_that_diverges_says_at_which_rate():
    schedule = Schedule([Stage(2, 0.1, 6), Stage(8, 0.1, 6, 1e6)])
    errors = []
    for training in (
        lambda: train(MODEL, DATA, schedule, sgd(), rng=0),
        lambda: fast.train(MODEL, DATA, schedule, sgd(), rngs=[0]),
    ):
        with pytest.raises(DivergenceError) as caught:
            training()
        errors.append(caught.value)
    one, other = errors
    assert (one.epoch, one.update) == (other.epoch, other.update)
    assert one.learning_rate == pytest.approx(other.learning_rate)
    per_epoch = len(DATA.X_train) // 6
    at = one.update - 2 * per_epoch  # the loss is that before the update
    assert at % per_epoch
    assert one.learning_rate == pytest.approx(schedule.stages[1].learning_rates(8 * per_epoch)[at])


# Going on.


def heavy_ball():
    """An optimizer of the user's own, whose state is a dict."""

    def update(gradient, state, learning_rate):
        velocity = 0.8 * state["velocity"] - learning_rate * gradient
        return velocity, {"velocity": velocity, "n": state["n"] + 1}

    return Optimizer(lambda params: {"velocity": np.zeros_like(params), "n": 0}, update)


GOING_ON = {"sgd": sgd(), "momentum": sgd(0.9), "nesterov": sgd(0.9, nesterov=True), "adam": adam(), "custom": heavy_ball()}


@pytest.mark.parametrize("optimizer", GOING_ON)
def test_three_epochs_and_three_more_are_six(optimizer):
    optimizer = GOING_ON[optimizer]
    schedule = Schedule([Stage(2, 0.05, 6), Stage(1, 0.05, 6, 0.02), Stage(1, 0.02, 12), Stage(2, 0.02, 12, 0.0)])
    whole, rng = train(MODEL, DATA, schedule, optimizer, l2=1e-3, rng=5), np.random.default_rng(5)
    first = train(MODEL, DATA, schedule.part(0, 3), optimizer, l2=1e-3, rng=rng)
    rest = train(MODEL, DATA, schedule.part(3, 6), optimizer, l2=1e-3, rng=rng, params=first.params, state=first.state)
    np.testing.assert_array_equal(rest.params, whole.params)
    np.testing.assert_equal(rest.state, whole.state)
    np.testing.assert_array_equal(np.concatenate([first.train_loss, rest.train_loss]), whole.train_loss)
    if optimizer != sgd():
        rng = np.random.default_rng(5)
        forgetful = train(MODEL, DATA, schedule.part(0, 3), optimizer, l2=1e-3, rng=rng)
        forgetful = train(MODEL, DATA, schedule.part(3, 6), optimizer, l2=1e-3, rng=rng, params=forgetful.params)
        assert np.abs(forgetful.params - whole.params).max() > 1e-4

    rngs = [np.random.default_rng(seed) for seed in (5, 6)]
    begun = fast.train(MODEL, DATA, schedule.part(0, 3), optimizer, l2=1e-3, rngs=rngs)
    ended = fast.train(MODEL, DATA, schedule.part(3, 6), optimizer, l2=1e-3, rngs=rngs, params=begun.params, state=begun.state)
    np.testing.assert_allclose(ended.params[0], whole.params, rtol=1e-9, atol=1e-12)
    # From the one loop to the other.
    rng = np.random.default_rng(6)
    train(MODEL, DATA, schedule.part(0, 3), optimizer, rng=rng)  # for the generator
    across = begun.replica(1)
    across = train(MODEL, DATA, schedule.part(3, 6), optimizer, l2=1e-3, rng=rng, params=across.params, state=across.state)
    np.testing.assert_allclose(across.params, ended.params[1], rtol=1e-9, atol=1e-12)


def test_a_callback_can_save_what_is_needed_to_go_on():
    saved = []
    whole = train(
        MODEL, DATA, Schedule([Stage(4, 0.05, 6)]), adam(), rng=5, callback=lambda h: saved.append((h.params, h.state))
    )
    assert [state.n_updates for _, state in saved] == whole.n_updates.tolist()
    np.testing.assert_equal(saved[-1][1], whole.state)


@pytest.mark.parametrize(
    ("training", "state", "error", "message"),
    [
        (partial(train, optimizer=sgd()), 3, TypeError, "state must be of type SgdState, as sgd(momentum=0.0, nesterov=False) makes, got int"),
        (partial(train, optimizer=sgd()), adam().init(np.zeros(9)), TypeError, "state must be of type SgdState"),
        (partial(train, optimizer=adam()), sgd().init(np.zeros(9)), TypeError, "state must be of type AdamState"),
        (partial(train, optimizer=sgd()), sgd().init(np.zeros(8)), ValueError, "state.trace must be a float32 or float64 array of shape (9,), got shape (8,)"),
        (partial(fast.train, optimizer=sgd(0.5), rngs=[0]), sgd().init(np.zeros(9)), TypeError, "state must be of type SgdState"),
        (partial(fast.train, optimizer=sgd(0.5), rngs=[0, 1]), [sgd().init(np.zeros(9))], ValueError, "state must be a sequence of 2, as History.state gave, got one of 1"),
        (partial(fast.train, optimizer=sgd(0.5), rngs=[0]), 3, TypeError, "state must be a sequence of what History.state gave, got 3 of type int"),
        (partial(train, optimizer=adam()), adam().init(np.zeros(9))._replace(n_updates=-1), ValueError, "state.n_updates must be an integer, at least 0, got -1"),
        (partial(train, optimizer=adam()), adam().init(np.zeros(9))._replace(n_updates=True), TypeError, "state.n_updates must be an integer"),
        (partial(train, optimizer=adam()), adam().init(np.zeros(9))._replace(mean=3), TypeError, "state.mean must be a float32 or float64 array"),
        (
            partial(fast.train, optimizer=adam(), rngs=[0, 1]),
            [adam().init(np.zeros(9)), adam().init(np.zeros(9))._replace(n_updates=3)],
            ValueError,
            "state must be of replicas after equally many updates, got [0, 3]",
        ),
    ],
)  # fmt: skip
def test_a_state_that_does_not_fit_is_refused(training, state, error, message):
    with pytest.raises(error, match="^" + re.escape(message)):
        training(MODEL, DATA, SCHEDULE, state=state)


def test_a_state_is_not_changed_and_may_be_of_another_precision():
    def update(gradient, state, learning_rate):
        state["v"] += gradient  # in place
        state["n"] += 1
        return -learning_rate * state["v"], state

    in_place = Optimizer(lambda params: {"v": np.zeros_like(params), "n": 0}, update)
    state = {"v": np.ones(9), "n": 5}
    for training in (partial(train, rng=0, state=state), partial(fast.train, rngs=[0], state=[state])):
        results = [training(MODEL, DATA, SCHEDULE, in_place).params for _ in range(2)]
        np.testing.assert_array_equal(*results)
        np.testing.assert_equal(state, {"v": np.ones(9), "n": 5})
    start = MODEL.init(0, np.float32)
    for optimizer in (sgd(0.9), adam()):
        wide = optimizer.init(np.zeros(9))
        assert train(MODEL, DATA, SCHEDULE, optimizer, params=start, state=wide, rng=0).params.dtype == np.float32
        assert fast.train(MODEL, DATA, SCHEDULE, optimizer, params=start, state=[wide], rngs=[0]).params.dtype == np.float32


def test_a_state_may_be_what_cannot_be_copied():
    counting = Optimizer(lambda params: (0.5 for _ in repeat(None)), lambda g, state, rate: (-rate * next(state) * g, state))
    for training in (partial(train, rng=0), partial(fast.train, rngs=[0])):
        assert np.isfinite(training(MODEL, DATA, SCHEDULE, counting).params).all()


@pytest.mark.parametrize("optimizer", [sgd(0.9), adam()], ids=["momentum", "adam"])
@pytest.mark.parametrize("on_divergence", ["raise", "stop"])
def test_where_a_run_diverges_its_state_is_that_of_its_parameters(optimizer, on_divergence):
    schedule = Schedule([Stage(1, 0.01, 6), Stage(3, 1e4, 6)])
    found = []
    for training in (partial(train, rng=0), partial(fast.train, rngs=[0])):
        try:
            history = training(MODEL, DATA, schedule, optimizer, on_divergence=on_divergence)
        except DivergenceError as error:
            history = error.history
        found.append(history.replica(0) if isinstance(history.diverged, np.ndarray) else history)
    reference, replica = found
    assert reference.diverged
    np.testing.assert_allclose(replica.params, reference.params, rtol=1e-9)
    for one, other in zip(replica.state, reference.state, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-9)


def test_a_rate_that_moves_over_many_updates_and_blocks():
    """More updates in an epoch than the fast loop hands over at once, or gathers at once."""
    data, model = make_blobs(2400, 20, rng=1), LogisticRegression(2, 3)
    schedule = Schedule([Stage(2, 0.0, 8, 0.5), Stage(1, 0.5, 12, 0.01)])
    reference, replicas = (
        train(model, data, schedule, sgd(0.9), rng=3),
        fast.train(model, data, schedule, sgd(0.9), rngs=[3, 4]),
    )
    assert 2 * fast._SEGMENT < 2400 // 8
    np.testing.assert_allclose(replicas.params[0], reference.params, rtol=1e-9)
