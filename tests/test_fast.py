"""The fast path: the reference is the oracle, over models, optimizers, samplers, schedules, precisions and numbers of replicas."""

import copy
import pickle
import tracemalloc
import warnings
from functools import cache, partial
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

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
    load_fashion,
    make_blobs,
    minibatches,
    sgd,
    train,
)
from sgdnoise import _in_place as in_place_module
from sgdnoise import _stack as stack_module
from sgdnoise.optimizers import Sgd
from sgdnoise.sampling import SAMPLINGS
from sgdnoise.testing import check_gradient, check_optimizer

METRICS = ("train_loss", "train_accuracy", "test_loss", "test_accuracy")
SHARED = ("epoch", "n_updates", "learning_rate", "batch_size")
OPTIMIZERS = {
    "sgd": sgd(),
    "momentum": sgd(0.9),
    "nesterov": sgd(0.8, nesterov=True),
    "adam": adam(),
    "adam, eps 0": adam(b1=0.5, b2=0.9, eps=0.0),
    "own": Optimizer(lambda p: np.zeros_like(p), lambda g, s, rate: (-rate * np.sign(g + s), 0.5 * s + g)),
}
BLOBS = make_blobs(60, 20, rng=0)


def in_precision(data, dtype):
    return Dataset(data.X_train.astype(dtype), data.y_train, data.X_test.astype(dtype), data.y_test)


@cache
def images(dtype=np.float32):
    """3200 to train on and 1000 to test on."""
    data = load_fashion(3200)
    return in_precision(Dataset(data.X_train, data.y_train, data.X_test[:1000], data.y_test[:1000]), dtype)


def assert_same(history, expected, rtol):
    """Equal up to rounding; a relative difference of parameters is taken from the largest of them."""
    for name in SHARED:
        np.testing.assert_array_equal(getattr(history, name), getattr(expected, name))
    for name in METRICS:
        np.testing.assert_allclose(getattr(history, name), getattr(expected, name), rtol=rtol, atol=rtol)
    np.testing.assert_allclose(history.params, expected.params, rtol=0, atol=rtol * np.abs(expected.params).max())
    assert history.params.dtype == expected.params.dtype
    assert history.diverged is expected.diverged


@st.composite
def stages(draw):
    stage = st.builds(Stage, st.integers(1, 2), st.sampled_from([0.01, 0.05, 0.2]), st.integers(1, 60))
    return Schedule(draw(st.lists(stage, min_size=1, max_size=3)))


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    hidden=st.lists(st.integers(1, 6), max_size=3),
    activation=st.sampled_from(["relu", "tanh"]),
    optimizer=st.sampled_from(sorted(OPTIMIZERS)),
    sampling=st.sampled_from(SAMPLINGS),
    schedule=stages(),
    n_replicas=st.integers(1, 5),
    l2=st.sampled_from([0.0, 0.01]),
    stack_bytes=st.sampled_from([1, 1 << 12, 1 << 22]),
    rows=st.sampled_from([7, 32, 1024]),
    block=st.sampled_from([5, 1 << 16]),
    seed=st.integers(0, 1000),
)
def test_each_replica_is_a_run_of_the_reference(
    hidden, activation, optimizer, sampling, schedule, n_replicas, l2, stack_bytes, rows, block, seed
):
    """Whatever the sizes of stacks, passes and blocks, which only decide what is computed together."""
    model, arguments = MLP(2, hidden, 3, activation), {"l2": l2, "sampling": sampling}
    rngs = range(seed, seed + n_replicas)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fast, "_STACK_BYTES", stack_bytes)
        patch.setattr(fast, "_ROWS", rows)
        patch.setattr(in_place_module, "BLOCK", block)
        history = fast.train(model, BLOBS, schedule, OPTIMIZERS[optimizer], rngs=rngs, **arguments)
    for i, rng in enumerate(rngs):
        expected = train(model, BLOBS, schedule, OPTIMIZERS[optimizer], rng=rng, **arguments)
        assert_same(history.replica(i), expected, 1e-8)


@pytest.mark.parametrize(
    ("limits", "parts"),
    [
        ({"_ROWS": 8, "_FEWEST_ROWS": 1}, [7, 7, 7, 4]),
        ({"_STACK_ROWS": 30, "_FEWEST_ROWS": 1}, [9, 9, 7]),  # 10 rows for each of 3 replicas, at most
        ({"_ROWS": 1, "_FEWEST_ROWS": 13}, [13, 12]),
        ({"_ROWS": 1, "_FEWEST_ROWS": 25}, [25]),
        ({"_ROWS": 25, "_FEWEST_ROWS": 1}, [25]),
    ],
)
@pytest.mark.parametrize("optimizer", ["sgd", "momentum", "adam"])
def test_batches_that_come_in_parts_are_those_of_the_reference(limits, parts, optimizer, monkeypatch):
    """Limits so small that batches of 25 really are split, and some into parts that are not of one size."""
    for name, value in limits.items():
        monkeypatch.setattr(fast, name, value)
    add_gradient, seen = fast.Stack.add_gradient, []

    def recorded(stack, buffers, *args, **kwargs):
        seen.append(buffers.hidden[0].shape[:2])
        add_gradient(stack, buffers, *args, **kwargs)

    monkeypatch.setattr(fast.Stack, "add_gradient", recorded)
    arguments = (MLP(2, (5,), 3), BLOBS, Schedule([Stage(3, 0.1, 25)]), OPTIMIZERS[optimizer])
    history = fast.train(*arguments, rngs=range(3), l2=0.01)
    assert seen == 6 * [(3, n_rows) for n_rows in parts]  # of 2 updates in each of 3 epochs
    for i in range(3):
        assert_same(history.replica(i), train(*arguments, rng=i, l2=0.01), 1e-10)


# An optimizer that takes the sign of gradients turns rounding into steps, so it is left out here.
@pytest.mark.parametrize("optimizer", sorted(set(OPTIMIZERS) - {"own"}))
@pytest.mark.parametrize("model", [MLP(196, (32,), 10), MLP(196, (16, 8), 10, "tanh"), LogisticRegression(196, 10)], ids=str)
def test_200_updates_of_a_real_model_to_ten_digits(model, optimizer):
    data, schedule = images(np.float64), Schedule([Stage(1, 0.01, 32), Stage(2, 0.002, 64)])
    history = fast.train(model, data, schedule, OPTIMIZERS[optimizer], rngs=[0, 1, 2], l2=1e-4)
    assert history.n_updates[-1] == 200
    for i in (0, 2):
        assert_same(history.replica(i), train(model, data, schedule, OPTIMIZERS[optimizer], rng=i, l2=1e-4), 1e-10)


@pytest.mark.parametrize("optimizer", ["momentum", "nesterov", "adam"])
def test_single_precision_agrees_to_single_precision(optimizer):
    model, data, schedule = MLP(196, (32,), 10), images(), Schedule([Stage(2, 0.002, 32)])
    history = fast.train(model, data, schedule, OPTIMIZERS[optimizer], rngs=[0, 1])
    assert history.params.dtype == np.float32
    assert_same(history.replica(1), train(model, data, schedule, OPTIMIZERS[optimizer], rng=1), 1e-3)


def test_neighbours_change_nothing():
    """Replica 3 beside seven others, alone, and in a stack of another height."""
    model, schedule = MLP(2, (5,), 3), Schedule([Stage(3, 0.1, 7)])
    params = []
    for rngs, stack_bytes in ((range(8), 1 << 22), (range(8), 3 * 4 * 8 * model.n_params), ([3], 1 << 22)):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(fast, "_STACK_BYTES", stack_bytes)
            history = fast.train(model, BLOBS, schedule, sgd(0.9), rngs=rngs)
        params.append(history.params[list(rngs).index(3)])
    for other in params[1:]:
        np.testing.assert_allclose(other, params[0], rtol=1e-12)


def test_equal_logits_count_as_in_the_reference():
    """With all parameters 0 every class is as probable as another, and the first is predicted."""
    model, y = LogisticRegression(2, 3), BLOBS.y_train
    trainer = fast.Trainer(model, BLOBS.X_train, y, sgd(), np.zeros((2, 9)))
    loss, accuracy = trainer.evaluate(BLOBS.X_train, y)
    np.testing.assert_allclose(loss, np.log(3), rtol=1e-14)
    np.testing.assert_array_equal(accuracy, np.mean(y == 0))


@pytest.mark.parametrize("rows", [64, 1024])
@pytest.mark.parametrize(
    "model",
    [LogisticRegression(2, 3), MLP(2, (70,), 3), MLP(2, (6, 5, 4), 3), MLP(2, (4,), 3, "tanh"), MLP(2, (6, 5, 4), 3, "tanh")],
    ids=str,
)
def test_evaluation_is_that_of_the_reference(model, rows, monkeypatch):
    """Of 150 examples, whether they go through at once or in three passes, of which the last is short."""
    monkeypatch.setattr(fast, "_ROWS", rows)
    X, y = np.concatenate([BLOBS.X_train] * 2 + [BLOBS.X_test] * 2)[:150], np.tile(BLOBS.y_train, 3)[:150]
    params = np.stack([model.init(i) + 0.3 for i in range(3)])
    trainer = fast.Trainer(model, BLOBS.X_train, BLOBS.y_train, sgd(), params, l2=0.1)
    loss, accuracy = trainer.evaluate(X, y)
    np.testing.assert_allclose(loss, [model.loss(row, X, y) for row in params], rtol=1e-12)
    np.testing.assert_array_equal(accuracy, [np.mean(model.logits(row, X).argmax(axis=1) == y) for row in params])


@pytest.mark.parametrize("size", [1e200, np.inf])
def test_what_overflows_is_evaluated_without_a_warning(size):
    """Products beyond float64, and differences of infinities, show in the loss; the replica beside them is what it was."""
    model = MLP(2, (4,), 3)
    params = np.stack([model.init(0), np.full(model.n_params, size)])
    trainer = fast.Trainer(model, BLOBS.X_train, BLOBS.y_train, sgd(), params)
    loss, _ = trainer.evaluate(1e200 * abs(BLOBS.X_train), BLOBS.y_train)
    assert np.isfinite(loss).tolist() == [True, False]


def test_what_cannot_be_evaluated_is_refused():
    trainer = fast.Trainer(LogisticRegression(2, 3), BLOBS.X_train, BLOBS.y_train, sgd(), np.zeros((2, 9)))
    with pytest.raises(ValueError, match=r"^X must be a float32 or float64 array of shape \(n, 2\), got shape \(60, 1\)"):
        trainer.evaluate(BLOBS.X_train[:, :1], BLOBS.y_train)
    with pytest.raises(ValueError, match=r"^y must be labels from 0 to 2, got labels from \d to 3"):
        trainer.evaluate(BLOBS.X_train, BLOBS.y_train + 1)


@pytest.mark.parametrize("l2", [0.0, 0.3])
@pytest.mark.parametrize("activation", ["relu", "tanh"])
@pytest.mark.parametrize("rows", [4, 16, 1024])
def test_the_engine_returns_the_loss_before_each_update(l2, activation, rows, monkeypatch):
    """Step by step by the reference; minibatches come in two parts, one by one, and all at once but gathered in pairs."""
    monkeypatch.setattr(fast, "_ROWS", rows)
    monkeypatch.setattr(fast, "_FEWEST_ROWS", 1)
    monkeypatch.setattr(stack_module, "GATHERED", 2 * 2 * 7)
    model, X, y = MLP(2, (4, 5, 6), 3, activation), BLOBS.X_train, BLOBS.y_train
    params = np.stack([model.init(i) for i in range(2)])
    trainer = fast.Trainer(model, X, y, sgd(), params, l2=l2)
    batches = np.random.default_rng(0).integers(60, size=(2, 5, 7))
    losses = trainer.run(batches, 0.2)
    assert sorted({key[2] for key in trainer._buffers}) == ([3, 4] if rows == 4 else [7])
    for i in range(2):
        for t, batch in enumerate(batches[i]):
            assert losses[i, t] == pytest.approx(model.loss(params[i], X[batch], y[batch], l2), rel=1e-12)
            params[i] -= 0.2 * model.gradient(params[i], X[batch], y[batch], l2)
    np.testing.assert_allclose(trainer.params, params, rtol=1e-10, atol=1e-12)


def test_parameters_may_be_given_to_all_or_to_each():
    model, schedule = MLP(2, (4,), 3), Schedule([Stage(1, 0.1, 10)])
    each = np.stack([model.init(i) for i in (5, 6)])
    history = fast.train(model, BLOBS, schedule, sgd(), rngs=[1, 2], params=each)
    one = fast.train(model, BLOBS, schedule, sgd(), rngs=[1, 2], params=each[1])
    assert_same(history.replica(0), train(model, BLOBS, schedule, sgd(), rng=1, params=each[0]), 1e-12)
    np.testing.assert_allclose(one.params[1], history.params[1], rtol=1e-12)
    np.testing.assert_array_equal(each, np.stack([model.init(i) for i in (5, 6)]))


def test_an_optimizer_of_ones_own_may_keep_the_initial_parameters():
    """A pull whose strength is where it started; updates in place must not move that."""
    anchored = Optimizer(lambda params: params, lambda g, start, rate: (-rate * (g + 0.5 * start), start))
    model, schedule = LogisticRegression(2, 3), Schedule([Stage(2, 0.1, 10)])
    history = fast.train(model, BLOBS, schedule, anchored, rngs=[0, 1])
    assert_same(history.replica(1), train(model, BLOBS, schedule, anchored, rng=1), 1e-12)


def test_seeds_may_come_as_an_array():
    arguments = (LogisticRegression(2, 3), BLOBS, Schedule([Stage(1, 0.1, 10)]), sgd())
    expected = fast.train(*arguments, rngs=[3, 4])
    np.testing.assert_array_equal(fast.train(*arguments, rngs=np.array([3, 4])).params, expected.params)


def test_the_callback_sees_every_epoch():
    seen = []
    history = fast.train(
        LogisticRegression(2, 3), BLOBS, Schedule([Stage(3, 0.1, 10)]), sgd(), rngs=[0, 1], callback=seen.append
    )
    assert [h.train_loss.shape for h in seen] == [(2, 1), (2, 2), (2, 3)]
    np.testing.assert_array_equal(seen[1].test_loss, history.test_loss[:, :2])


# Divergence. Of these runs some replicas diverge and some do not, in the second stage, more than one segment into it.
DIVERGING = {"schedule": Schedule([Stage(1, 0.1, 1), Stage(3, 33.0, 1)]), "optimizer": sgd(0.9), "l2": 1e-3}
DIVERGING_MODEL = MLP(2, (6,), 3)


def reference(rng, on_divergence):
    settings = {"l2": DIVERGING["l2"], "on_divergence": on_divergence}
    return train(DIVERGING_MODEL, BLOBS, DIVERGING["schedule"], DIVERGING["optimizer"], rng=rng, **settings)


@pytest.mark.parametrize("stack_bytes", [1, 1 << 22])
def test_a_replica_that_diverges_stops_where_the_reference_stops_and_the_others_go_on(stack_bytes, monkeypatch):
    monkeypatch.setattr(fast, "_STACK_BYTES", stack_bytes)
    rngs = range(6)
    history = fast.train(DIVERGING_MODEL, BLOBS, **DIVERGING, rngs=rngs, on_divergence="stop")
    lengths = set()
    for i in rngs:
        expected = reference(i, "stop")
        replica = history.replica(i)
        assert replica.diverged is expected.diverged
        assert len(replica.epoch) == len(expected.epoch)
        np.testing.assert_allclose(replica.params, expected.params, rtol=1e-6)
        np.testing.assert_allclose(replica.train_loss, expected.train_loss, rtol=1e-6)
        lengths.add(len(replica.epoch))
    assert len(lengths) > 1  # or this test would show nothing


def test_a_raised_divergence_is_the_references():
    with pytest.raises(DivergenceError) as caught:
        fast.train(DIVERGING_MODEL, BLOBS, **DIVERGING, rngs=range(6))
    (note,) = caught.value.__notes__
    replica = int(note.split()[1])
    with pytest.raises(DivergenceError) as expected:
        reference(replica, "raise")
    for name in ("epoch", "update", "learning_rate", "batch_size"):
        assert getattr(caught.value, name) == getattr(expected.value, name)
    assert caught.value.loss == pytest.approx(expected.value.loss, rel=1e-6)
    np.testing.assert_allclose(caught.value.history.params, expected.value.history.params, rtol=1e-6)
    assert caught.value.history.diverged is True


def test_divergence_in_the_last_update_of_an_epoch_is_found_at_its_end():
    """One update an epoch: it is the loss on the training set that shows it."""
    schedule = Schedule([Stage(2, 0.1, 60), Stage(2, 1e5, 60)])
    with pytest.raises(DivergenceError) as caught:
        fast.train(DIVERGING_MODEL, BLOBS, schedule, sgd(), rngs=[0])
    with pytest.raises(DivergenceError) as expected:
        train(DIVERGING_MODEL, BLOBS, schedule, sgd(), rng=0)
    assert (caught.value.epoch, caught.value.update) == (expected.value.epoch, expected.value.update) == (3, 3)
    np.testing.assert_allclose(caught.value.history.params, expected.value.history.params, rtol=1e-10)


@pytest.mark.parametrize("training", [partial(train, rng=0), partial(fast.train, rngs=[0])], ids=["reference", "fast"])
def test_a_loss_of_100_times_the_first_is_not_yet_divergence(training):
    """Two examples of the same input and different classes: after one update the other one's loss is twice the learning rate.

    100 to the last bit, as softmax is saturated; the limit is 100 times 1, which is above the first loss of log 2.
    """
    X, y = np.ones((2, 1)), np.array([0, 1])
    data, start = Dataset(X, y, X, y), {"params": np.zeros(4)}
    history = training(LogisticRegression(1, 2), data, Schedule([Stage(1, 50.0, 1)]), sgd(), **start)
    np.testing.assert_allclose(np.ravel(history.train_loss), [50.0])  # the second update has turned the signs round
    with pytest.raises(DivergenceError) as caught:
        training(LogisticRegression(1, 2), data, Schedule([Stage(1, 50.0 + 1e-12, 1)]), sgd(), **start)
    assert caught.value.update == 1


def test_training_ends_when_all_replicas_have_stopped():
    seen = []
    arguments = {"rngs": [0, 1], "on_divergence": "stop", "callback": seen.append}
    history = fast.train(DIVERGING_MODEL, BLOBS, Schedule([Stage(3, 1e5, 1)]), sgd(), **arguments)
    assert history.diverged.all()
    assert history.epoch.shape == (0,)
    assert history.test_loss.shape == (2, 0)
    assert not seen


@pytest.mark.parametrize("optimizer", sorted(OPTIMIZERS))
def test_going_back_is_going_back_in_everything(optimizer):
    """The parameters, and an optimizer's accumulators, count of updates or state of its own."""
    model = MLP(2, (4,), 3)
    trainer = fast.Trainer(
        model, BLOBS.X_train, BLOBS.y_train, OPTIMIZERS[optimizer], np.stack([model.init(i) for i in (0, 1)])
    )
    first, second = np.random.default_rng(0).integers(60, size=(2, 2, 5, 6))
    trainer.run(first, 0.1)
    saved = trainer.save()
    losses = trainer.run(second, 0.1)
    end = trainer.params.copy()
    trainer.load(saved)
    np.testing.assert_array_equal(trainer.run(second, 0.1), losses)
    np.testing.assert_array_equal(trainer.params, end)


@pytest.mark.parametrize("again", [lambda trainer: pickle.loads(pickle.dumps(trainer)), copy.deepcopy, copy.copy])
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize(("dtype", "stack_bytes"), [(np.float64, 1 << 22), (np.float32, 1)])
def test_a_trainer_that_was_pickled_or_copied_goes_on_alike(optimizer, again, dtype, stack_bytes, monkeypatch):
    """In the middle of training, in one stack or in three; and each goes on by itself."""
    rule = Clipped(0.9, False) if optimizer == "own" else OPTIMIZERS[optimizer]  # a lambda cannot be pickled
    monkeypatch.setattr(fast, "_STACK_BYTES", stack_bytes)
    data, model = in_precision(BLOBS, dtype), MLP(2, (4,), 3, "tanh")
    params = np.stack([model.init(i, dtype) for i in range(3)])
    trainer = fast.Trainer(model, data.X_train, data.y_train, rule, params, l2=0.01)
    first, second = np.random.default_rng(0).integers(60, size=(2, 3, 5, 6))
    trainer.run(first, 0.1)
    other = again(trainer)
    np.testing.assert_array_equal(other.params, trainer.params)
    assert (type(other), other.params.dtype) == (fast.Trainer, dtype)
    middle = trainer.params.copy()
    losses = trainer.run(second, 0.1)
    np.testing.assert_array_equal(other.params, middle)
    np.testing.assert_array_equal(other.run(second, 0.1), losses)
    np.testing.assert_array_equal(other.params, trainer.params)
    np.testing.assert_array_equal(other.evaluate(data.X_test, data.y_test), trainer.evaluate(data.X_test, data.y_test))


@pytest.mark.parametrize("again", [lambda pair: pickle.loads(pickle.dumps(pair)), copy.deepcopy])
@pytest.mark.parametrize("optimizer", [name for name in OPTIMIZERS if name != "own"])
def test_an_optimizer_in_place_is_pickled_with_its_parameters(optimizer, again):
    gradients = np.random.default_rng(0).standard_normal((6, 5))
    params = np.ones(5)
    update, gradient = fast.in_place(OPTIMIZERS[optimizer], params), np.empty(5)
    for values in gradients[:3]:
        gradient[:] = values
        gradient = update(gradient, 0.1)
    other_params, other = again((params, update))
    other_gradient = np.empty(5)
    for values in gradients[3:]:
        gradient[:] = other_gradient[:] = values
        gradient, other_gradient = update(gradient, 0.1), other(other_gradient, 0.1)
    np.testing.assert_array_equal(other_params, params)
    assert other_params is not params


def test_large_logits_do_not_overflow():
    model = LogisticRegression(2, 3)
    params = np.full(9, 500.0) * np.arange(9)
    trainer = fast.Trainer(model, BLOBS.X_train, BLOBS.y_train, sgd(), params[None])
    loss = trainer.run(np.arange(60)[None, None], 1e-3)
    np.testing.assert_allclose(loss[0, 0], model.loss(params, BLOBS.X_train, BLOBS.y_train), rtol=1e-12)
    gradient = model.gradient(params, BLOBS.X_train, BLOBS.y_train)
    np.testing.assert_allclose(params - trainer.params[0], 1e-3 * gradient, rtol=1e-6, atol=1e-9)


def test_the_l2_term_alone_can_diverge():
    """At l2 = 1e6 the first update flings the weights away; cross-entropy, with one class predicted, need not be large."""
    model, schedule = LogisticRegression(2, 3), Schedule([Stage(1, 1e-5, 20)])
    arguments = {"l2": 1e6, "params": np.full(9, 0.1)}
    with pytest.raises(DivergenceError) as caught:
        fast.train(model, BLOBS, schedule, sgd(0.9), rngs=[0], **arguments)
    with pytest.raises(DivergenceError) as expected:
        train(model, BLOBS, schedule, sgd(0.9), rng=0, **arguments)
    assert caught.value.update == expected.value.update
    assert caught.value.loss == pytest.approx(expected.value.loss)


SINGLE = in_precision(BLOBS, np.float32)


@pytest.mark.parametrize(
    ("params", "l2"),
    [
        (np.float32([0, 0, 0, 0, 0, 0, 3e38, -3e38, -3e38]), 0.0),  # cross-entropy of two classes is infinite
        (np.full(9, 1e25, np.float32), 1e-3),  # the L2 term is
    ],
)
def test_a_first_loss_that_is_infinite_is_divergence(params, l2):
    arguments = {"params": params, "l2": l2}
    schedule = Schedule([Stage(1, 0.01, 20)])
    with pytest.raises(DivergenceError) as caught:
        fast.train(LogisticRegression(2, 3), SINGLE, schedule, sgd(), rngs=[0], **arguments)
    with pytest.raises(DivergenceError) as expected:
        train(LogisticRegression(2, 3), SINGLE, schedule, sgd(), rng=0, **arguments)
    assert (caught.value.update, caught.value.loss) == (expected.value.update, expected.value.loss) == (0, np.inf)


def test_weights_whose_squares_overflow_are_no_divergence_without_an_l2_term():
    model, scale = LogisticRegression(2, 3), np.float32(1e21)
    data = Dataset(SINGLE.X_train / scale, SINGLE.y_train, SINGLE.X_test / scale, SINGLE.y_test)
    arguments = {"params": model.init(0, np.float32) * scale}
    history = fast.train(model, data, Schedule([Stage(1, 0.01, 20)]), sgd(), rngs=[0], **arguments)
    expected = train(model, data, Schedule([Stage(1, 0.01, 20)]), sgd(), rng=0, **arguments)
    assert_same(history.replica(0), expected, 1e-5)


def test_the_l2_term_of_a_replica_that_has_stopped_overflows_without_a_warning():
    model, schedule = MLP(2, (4,), 3, "tanh"), Schedule([Stage(2, 1e3, 1)])
    history = fast.train(model, SINGLE, schedule, sgd(0.9), rngs=[0], l2=0.1, on_divergence="stop")
    expected = train(model, SINGLE, schedule, sgd(0.9), rng=0, l2=0.1, on_divergence="stop")
    assert history.replica(0).diverged is expected.diverged is True
    np.testing.assert_allclose(history.params[0], expected.params, rtol=1e-4)


def test_the_l2_term_is_looked_at_after_every_update():
    """One update flings the weight away; those after it bring it back, long before the losses are looked at."""
    X, y = np.where(np.arange(64) % 2, 1000.0, -1000.0)[:, None], np.arange(64) % 2
    data, schedule = Dataset(X, y, X, y), Schedule([Stage(1, 1.0, 1)])
    arguments = {"l2": 0.5, "params": np.zeros(4)}
    with pytest.raises(DivergenceError) as expected:
        train(LogisticRegression(1, 2), data, schedule, sgd(), rng=0, **arguments)
    with pytest.raises(DivergenceError) as caught:
        fast.train(LogisticRegression(1, 2), data, schedule, sgd(), rngs=[0], **arguments)
    assert caught.value.update == expected.value.update == 1
    assert caught.value.loss == pytest.approx(expected.value.loss)


def clipped(optimizer, gradient, state, learning_rate):
    return Sgd.update(optimizer, np.clip(gradient, -0.01, 0.01), state, learning_rate)


class Clipped(Sgd):
    """One that inherits from ours and has another update."""

    update = clipped


@pytest.mark.parametrize("optimizer", [Clipped(0.9, False), Optimizer(sgd(0.9).init, partial(clipped, sgd(0.9)))])
def test_a_changed_update_is_what_runs(optimizer):
    """An optimizer made from ours with another update, here with clipped gradients, is one of the user's own."""
    setting = (LogisticRegression(2, 3), BLOBS, Schedule([Stage(1, 0.1, 10)]))
    ours = train(*setting, sgd(0.9), rng=1)
    reference = train(*setting, optimizer, rng=1)
    assert abs(reference.params - ours.params).max() > 0.01
    assert_same(fast.train(*setting, optimizer, rngs=[1]).replica(0), reference, 1e-10)


@pytest.mark.parametrize("on_divergence", ["ignore", "stop"])
@pytest.mark.parametrize("rates", [[1e200] * 3, [0.1, 1e200, 0.1], [0.1, 0.1]])
def test_a_replica_has_the_epochs_of_the_reference_also_where_it_is_nan(rates, on_divergence):
    """Accuracies that are NaN are no end: unchecked, training goes on."""
    data, model = BLOBS, MLP(2, (6,), 3)
    schedule = Schedule([Stage(1, rate, 10) for rate in rates])
    history = fast.train(model, data, schedule, sgd(0.9), rngs=[0, 1], on_divergence=on_divergence)
    for i in (0, 1):
        alone = train(model, data, schedule, sgd(0.9), rng=i, on_divergence=on_divergence)
        replica = history.replica(i)
        assert (replica.epoch.tolist(), replica.diverged) == (alone.epoch.tolist(), alone.diverged)
        np.testing.assert_array_equal(np.isnan(replica.train_accuracy), np.isnan(alone.train_accuracy))
        np.testing.assert_allclose(replica.test_accuracy, alone.test_accuracy)


def test_ignored_divergence_runs_to_the_end_without_a_warning():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        history = fast.train(MLP(2, (6,), 3), BLOBS, Schedule([Stage(3, 1e30, 1)]), sgd(0.9), rngs=[0], on_divergence="ignore")
    assert history.train_loss.shape == (1, 3)
    assert not history.diverged.any()


# The specification, run on the fast path.


def functional(factory):
    """An `in_place` optimizer as a pair (init, update), so that the specification can be run on it."""

    def init(params):
        moved = np.zeros_like(params)
        return moved, fast.in_place(factory, moved)

    def update(gradient, state, learning_rate):
        moved, in_place = state
        before = moved.copy()
        in_place(gradient.copy(), learning_rate)
        return moved - before, state

    return Optimizer(init, update)


@pytest.mark.parametrize("block", [1, 1 << 16])
def test_optimizers_in_place_obey_the_specification(block, monkeypatch):
    monkeypatch.setattr(in_place_module, "BLOCK", block)
    assert len(check_optimizer(lambda momentum, nesterov: functional(sgd(momentum, nesterov)))) == 8
    assert len(check_optimizer(lambda b1, b2, eps: functional(adam(b1, b2, eps)))) == 7


@pytest.mark.parametrize("model", [MLP(3, (4, 5), 3), MLP(3, (4, 5), 3, "tanh"), LogisticRegression(3, 3)], ids=str)
def test_gradients_obey_the_specification(model):
    """A step of plain SGD at learning rate 1 is minus the gradient."""

    def gradient(params, X, y, l2):
        trainer = fast.Trainer(model, X, y, sgd(), params[None], l2=l2)
        trainer.run(np.arange(len(X))[None, None], 1.0)
        return params - trainer.params[0]

    under_test = SimpleNamespace(n_params=model.n_params, n_features=3, n_classes=3, loss=model.loss, gradient=gradient)
    assert len(check_gradient(under_test)) == 6


@pytest.mark.parametrize("optimizer", ["sgd", "momentum", "nesterov", "adam", "adam, eps 0"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_in_place_over_many_blocks_is_the_reference_update(optimizer, dtype):
    n = 3 * in_place_module.BLOCK + 17
    rng = np.random.default_rng(0)
    params = rng.standard_normal(n).astype(dtype)
    expected, state = params.copy(), OPTIMIZERS[optimizer].init(params)
    update, room = fast.in_place(OPTIMIZERS[optimizer], params), np.empty_like(params)
    for learning_rate in (0.1, 0.1, 0.02):
        gradient = rng.standard_normal(n).astype(dtype)
        gradient[::7] = 0  # with eps = 0 these must stay
        step, state = OPTIMIZERS[optimizer].update(gradient, state, learning_rate)
        expected = expected + step
        room[:] = gradient
        room = update(room, learning_rate)
    np.testing.assert_allclose(params, expected, rtol=0, atol=20 * np.finfo(dtype).eps * np.abs(expected).max())


def test_an_eps_too_small_for_single_precision_is_none():
    """A parameter whose gradients were all 0 stays where it is, as by the reference."""
    params = np.ones(2, np.float32)
    update = fast.in_place(adam(eps=1e-50), params)
    update(np.float32([0, 3]), 0.1)
    np.testing.assert_allclose(params, [1, 0.9], rtol=1e-6)


# Memory.


def peak(trainer, batches):
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    trainer.run(batches, 0.01)
    top = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return top - before


@pytest.mark.parametrize("optimizer", ["momentum", "nesterov", "adam"])
def test_memory_does_not_grow_with_the_number_of_updates_nor_with_the_batch(optimizer):
    data, model = load_fashion(8000), MLP(196, (64,), 10)
    params = np.stack([model.init(i, np.float32) for i in range(2)])
    trainer = fast.Trainer(model, data.X_train, data.y_train, OPTIMIZERS[optimizer], params)
    rng = np.random.default_rng(0)
    few, many = (rng.integers(8000, size=(2, n, 32)) for n in (20, 4000))
    trainer.run(few, 0.01)  # makes the buffers
    grown = [peak(trainer, batches) for batches in (few, many)]
    # The losses that `run` returns are 8 bytes an update and replica. The rest is temporary, 45 kB with older versions of NumPy:
    # less than one number more for each update would be.
    assert grown[1] - grown[0] <= 8 * 2 * (4000 - 20) + 50_000
    assert grown[0] < 100_000
    # A batch that comes in unequal parts needs no new buffers for each update.
    few, many = (rng.integers(8000, size=(2, n, 2500)) for n in (2, 12))
    trainer.run(few, 0.01)
    assert abs(peak(trainer, many) - peak(trainer, few)) <= 8 * 2 * (12 - 2) + 2000
    # Buffers: _ROWS rows of inputs, and of hidden units a handful of arrays, for each replica of a stack; not the batch size.
    row = 4 * (197 + 65 * 3 + 65 + 10) + 8 * 4
    assert peak(trainer, rng.integers(8000, size=(2, 2, 4096))) < 1.5 * 2 * fast._ROWS * row


def test_training_keeps_what_it_says():
    """Beyond data and results: a copy of the inputs, the parameters four times, an epoch's indices, the buffers."""
    data, model, n_replicas = load_fashion(20_000), MLP(196, (32,), 10), 4
    schedule = Schedule([Stage(2, 0.01, 100)])
    fast.train(model, load_fashion(1000), schedule, sgd(0.9), rngs=range(n_replicas))  # imports and caches
    tracemalloc.start()
    fast.train(model, data, schedule, sgd(0.9), rngs=range(n_replicas))
    top = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    inputs = 4 * 20_000 * 197
    parameters = 4 * n_replicas * model.n_params
    indices = 8 * n_replicas * 20_000
    buffers = n_replicas * fast._ROWS * (4 * (197 + 33 * 4 + 10) + 8 * 4)
    assert inputs < top < 1.1 * (inputs + 8 * parameters + 2 * indices + 2 * buffers)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"rngs": 3}, TypeError, "rngs must be a sequence of seeds or generators, one for each replica, got 3"),
        ({"rngs": []}, ValueError, "rngs must hold one seed or generator for each replica, got none"),
        ({"rngs": [0, "a"]}, TypeError, r"rngs\[1\] must be an integer"),
        ({"rngs": b"ab"}, TypeError, "rngs must be a sequence of seeds or generators"),
        ({"rngs": np.zeros((2, 2), int)}, TypeError, "rngs must be a sequence of seeds or generators, .* got array"),
        ({"rngs": np.array(3)}, TypeError, "rngs must be a sequence of seeds or generators, one for each replica, got array"),
        ({"model": SimpleNamespace(init=None)}, TypeError, "model must be an object with layer_shapes.*use sgdnoise.train"),
        ({"model": LogisticRegression(5, 3)}, ValueError, "X must be"),
        ({"model": LogisticRegression(2, 2)}, ValueError, "y must be labels from 0 to 1"),
        ({"params": np.zeros(4)}, ValueError, "params must be"),
        ({"params": np.zeros((3, 9))}, ValueError, "params must be"),
        ({"params": "zero"}, TypeError, r"params must be a float32 or float64 array of shape \(9,\)"),
        ({"optimizer": sgd}, TypeError, r"optimizer must be an object with init, update"),
        ({"schedule": Schedule([Stage(1, 0.1, 300)])}, ValueError, "batch_size must be an integer from 1 to n_train=60"),
        ({"l2": -1.0}, ValueError, "l2"),
        ({"sampling": "random"}, ValueError, "sampling must be one of"),
        ({"on_divergence": "retry"}, ValueError, "on_divergence"),
        ({"callback": 5}, TypeError, "callback must be callable"),
        ({"data": (1, 2)}, TypeError, "data must be an object with X_train"),
    ],
)
def test_bad_input_is_refused_by_name(change, error, message):
    arguments = {"model": LogisticRegression(2, 3), "data": BLOBS, "schedule": Schedule([Stage(1, 0.1, 10)])}
    with pytest.raises(error, match="^" + message):
        fast.train(**(arguments | {"optimizer": sgd(), "rngs": [0, 1]} | change))


@pytest.mark.parametrize(
    ("batches", "error", "message"),
    [
        ([[[0]]], TypeError, r"batches must be an integer array of shape \(2, n_updates, batch_size\), got list"),
        (np.zeros((2, 1, 1)), TypeError, "batches must be an integer array"),
        (np.zeros((1, 1, 1), int), ValueError, r"got shape \(1, 1, 1\)"),
        (np.zeros((2, 1, 0), int), ValueError, r"got shape \(2, 1, 0\)"),
        (np.full((2, 1, 1), 60), ValueError, "batches must be indices from 0 to n_train - 1 = 59, got indices from 60 to 60"),
        (np.full((2, 1, 1), -1), ValueError, "got indices from -1 to -1"),
    ],
)
def test_bad_batches_are_refused(batches, error, message):
    trainer = fast.Trainer(LogisticRegression(2, 3), BLOBS.X_train, BLOBS.y_train, sgd(), np.zeros((2, 9)))
    with pytest.raises(error, match=message):
        trainer.run(batches, 0.1)
    assert not trainer.params.any()


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"model": SimpleNamespace(n_params=9)}, TypeError, "model must be .*; an MLP or LogisticRegression; for other models"),
        ({"params": np.zeros(9)}, ValueError, r"params must be .* of shape \(n_replicas, 9\), got shape \(9,\)"),
        ({"X": BLOBS.X_train[0]}, ValueError, r"X must be .* of shape \(n_train, 2\), got shape \(2,\)"),
        ({"y": BLOBS.y_train + 1}, ValueError, "y must be labels from 0 to 2"),
        (
            {"optimizer": None},
            TypeError,
            r"optimizer must be an object with init, update, .*; call sgd\(\) or adam\(\) to get one$",
        ),
        ({"l2": -0.1}, ValueError, "l2 must be finite and at least 0, got -0.1"),
    ],
)
def test_the_engine_refuses_bad_input_by_name(change, error, message):
    arguments = {"model": LogisticRegression(2, 3), "X": BLOBS.X_train, "y": BLOBS.y_train, "optimizer": sgd()}
    with pytest.raises(error, match="^" + message):
        fast.Trainer(**(arguments | {"params": np.zeros((2, 9))} | change))


def test_the_engine_refuses_a_learning_rate_that_is_not_finite():
    trainer = fast.Trainer(LogisticRegression(2, 3), BLOBS.X_train, BLOBS.y_train, sgd(), np.zeros((2, 9)))
    with pytest.raises(ValueError, match=r"^learning_rate must be finite, got nan"):
        trainer.run(np.zeros((2, 1, 1), int), np.nan)


@pytest.mark.parametrize("activation", ["relu", "tanh"])
def test_all_arrays_have_the_precision_of_the_parameters(activation):
    """Each number in double precision beside single precision would be room and time for nothing."""
    model = MLP(2, (4, 3), 3, activation)
    trainer = fast.Trainer(model, BLOBS.X_train, BLOBS.y_train, sgd(), model.init(0, np.float32)[None])
    trainer.run(np.zeros((1, 2, 5), int), 0.1)
    (buffers,) = trainer._buffers.values()
    fields = [field for holder in (trainer, buffers, trainer._stacks[0][1]) for field in vars(holder).values()]
    arrays = [a for field in fields for a in (field if isinstance(field, list) else [field]) if isinstance(a, np.ndarray)]
    slopes = {np.dtype(bool)} if activation == "relu" else set()
    assert {a.dtype for a in arrays} == {np.dtype(np.float32), np.dtype(np.intp)} | slopes


def test_losses_in_single_precision_are_added_up_in_double():
    """60 times the same number, float32's log(3): its mean is that number to the last bit, which a sum in float32 loses."""
    log_3 = np.log(np.float32(3))
    assert float(np.full(60, log_3).sum()) / 60 != float(log_3)
    trainer = fast.Trainer(LogisticRegression(2, 3), SINGLE.X_train, SINGLE.y_train, sgd(), np.zeros((1, 9), np.float32))
    assert trainer.evaluate(SINGLE.X_train, SINGLE.y_train)[0][0] == float(log_3)
    assert trainer.run(np.arange(60)[None, None], 0.1)[0, 0] == float(log_3)


@pytest.mark.parametrize(
    ("n_numbers", "dtype", "heights"),
    [(0, np.float64, [1] * 5), (2 * 4 * 9, np.float64, [2, 2, 1]), (2 * 4 * 9, np.float32, [4, 1]), (10**6, np.float64, [5])],
)
def test_stacks_are_as_high_as_the_cache_allows(n_numbers, dtype, heights, monkeypatch):
    """Parameters, gradient and two arrays of state of each replica, 9 numbers each; `n_numbers` of float64 fit in."""
    monkeypatch.setattr(fast, "_STACK_BYTES", 8 * n_numbers)
    trainer = fast.Trainer(LogisticRegression(2, 3), BLOBS.X_train, BLOBS.y_train, sgd(), np.zeros((5, 9), dtype))
    assert [len(stack.params) for _, stack in trainer._stacks] == heights


@pytest.mark.parametrize("optimizer", sorted(OPTIMIZERS))
def test_our_optimizers_work_in_place_on_few_arrays(optimizer):
    """Nesterov, momentum and plain SGD trade no more than two arrays, whose views are made once."""
    trainer = fast.Trainer(LogisticRegression(2, 3), BLOBS.X_train, BLOBS.y_train, OPTIMIZERS[optimizer], np.zeros((2, 9)))
    trainer.run(np.zeros((2, 20, 5), int), 0.1)
    (_, stack), *_ = trainer._stacks
    assert isinstance(stack.optimizer, fast.InPlace) == (optimizer != "own")
    assert stack._view(stack.gradient) is stack._view(stack.gradient)
    assert len(stack.views) <= 3


def test_buffers_are_kept_for_one_batch_size():
    trainer = fast.Trainer(LogisticRegression(2, 3), BLOBS.X_train, BLOBS.y_train, sgd(), np.zeros((2, 9)))
    kept = []
    for batch_size in (5, 5, 10):
        trainer.run(np.zeros((2, 1, batch_size), int), 0.1)
        kept.append(dict(trainer._buffers))
    assert kept[0] == kept[1]
    assert {n_rows for _, _, n_rows in kept[2]} == {10}


def test_in_place_refuses_what_it_could_not_change():
    with pytest.raises(ValueError, match=r"^params must be C-contiguous, got a view that is not; updates would miss it$"):
        fast.in_place(sgd(), np.zeros((4, 4))[:, ::2])
    hint = r"call sgd\(\) or adam\(\) to get one"
    with pytest.raises(TypeError, match=f"^optimizer must be an object with init, update, got None of type NoneType; {hint}$"):
        fast.in_place(None, np.zeros(3))
    with pytest.raises(TypeError, match=r"^params must be a float32 or float64 array, got \[1.0\] of type list"):
        fast.in_place(sgd(), [1.0])
    with pytest.raises(TypeError, match=r"^params must be a float32 or float64 array, got an array of dtype int64"):
        fast.in_place(adam(), np.ones(3, int))
    with pytest.raises(TypeError, match=r"^params must be a float32 or float64 array, got a masked array"):
        fast.in_place(adam(), np.ma.masked_equal([1.0], 2.0))
    with pytest.raises(TypeError, match=r"optimizer must be one that sgd\(\) or adam\(\) made"):
        fast.in_place(OPTIMIZERS["own"], np.zeros(3))


READ_ONLY = np.zeros(4)
READ_ONLY.flags.writeable = False


@pytest.mark.parametrize("optimizer", ["sgd", "momentum", "adam"])
@pytest.mark.parametrize(
    ("gradient", "error", "message"),
    [
        ([1.0] * 4, TypeError, "gradient must be an array of float64, as params is, got list"),
        (np.ones(4, np.float32), TypeError, "got float32"),
        (
            np.ones(3),
            ValueError,
            r"gradient must be of shape \(4,\), as params is, C-contiguous and writeable, got shape \(3,\)",
        ),
        (np.ones(8)[::2], ValueError, "got one that is not"),
        (READ_ONLY, ValueError, "got one that is not"),
    ],
)
def test_a_gradient_that_would_be_taken_wrongly_is_refused(optimizer, gradient, error, message):
    """BLAS would work on a copy of it."""
    params = np.zeros(4)
    update = fast.in_place(OPTIMIZERS[optimizer], params)
    with pytest.raises(error, match=message):
        update(gradient, 0.1)
    assert not params.any()


def test_read_only_parameters_are_left_alone():
    with pytest.raises(ValueError, match=r"^params must be writeable, got a read-only array; every update changes it$"):
        fast.in_place(sgd(), READ_ONLY)


def test_a_gradient_in_the_array_that_the_optimizer_has_kept_is_refused():
    params, gradient = np.zeros(4), np.ones(4)
    update = fast.in_place(sgd(0.5), params)
    assert update(gradient, 0.1) is not gradient
    with pytest.raises(ValueError, match=r"^gradient must be put into the array that the last call returned, got the one g"):
        update(gradient, 0.1)
    plain = fast.in_place(sgd(), params)
    assert plain(gradient, 0.1) is gradient


def test_the_history_of_one_has_no_replicas():
    history = train(LogisticRegression(2, 3), BLOBS, Schedule([Stage(1, 0.1, 10)]), sgd(), rng=0)
    with pytest.raises(TypeError, match="for histories of several replicas"):
        history.replica(0)
    several = fast.train(LogisticRegression(2, 3), BLOBS, Schedule([Stage(1, 0.1, 10)]), sgd(), rngs=[0])
    with pytest.raises(ValueError, match="i must be an integer from 0 to n_replicas - 1=0, got 1"):
        several.replica(1)


def test_the_index_stream_is_that_of_the_samplers():
    """One update of one epoch on given batches, through `Trainer`, is the epoch that `train` runs."""
    model, rng = LogisticRegression(2, 3), np.random.default_rng(4)
    params = model.init(rng)
    batches = minibatches(60, 10, rng=rng)
    trainer = fast.Trainer(model, BLOBS.X_train, BLOBS.y_train, sgd(0.9), params[None])
    trainer.run(batches[None], 0.1)
    history = fast.train(model, BLOBS, Schedule([Stage(1, 0.1, 10)]), sgd(0.9), rngs=[4])
    np.testing.assert_allclose(history.params, trainer.params, rtol=1e-12)


# Replicas that would be one.


def spent(seed, n):
    """A generator that has given n numbers."""
    generator = np.random.default_rng(seed)
    generator.random(n)
    return generator


BITS, ONE = np.random.PCG64(0), np.random.default_rng(0)


@pytest.mark.parametrize(
    ("rngs", "same"),
    [
        ([0, 0, 0, 0], (0, 1)),
        ([3, 1, 4, 1, 5], (1, 3)),
        (np.array([3, 4, 3]), (0, 2)),
        ([7, np.uint8(7)], (0, 1)),
        ([ONE, 1, ONE], (0, 2)),
        ([np.random.Generator(BITS), np.random.Generator(BITS)], (0, 1)),
        ([BITS, np.random.Generator(BITS)], (0, 1)),
        ([5, np.random.default_rng(5)], (0, 1)),
        ([np.random.SeedSequence(9), 9], (0, 1)),
        ([np.random.SeedSequence(9, spawn_key=(1,)), np.random.SeedSequence(9).spawn(2)[1]], (0, 1)),
        ([spent(2, 10), 2, spent(2, 10)], (0, 2)),
        ([np.random.MT19937(1), np.random.PCG64(1), np.random.MT19937(1)], (0, 2)),
        ([np.random.Philox(1), np.random.Philox(1)], (0, 1)),
        ([np.random.SFC64(1), np.random.SFC64(1)], (0, 1)),
        ([[1, 2], (1, 2)], (0, 1)),
        ([2**100, 2**100], (0, 1)),
    ],
)
@pytest.mark.parametrize("params", [None, np.zeros((1, 9))], ids=["drawn", "given"])
def test_equal_seeds_are_refused(rngs, same, params):
    """Their replicas are one run, and a standard error over them would be too small."""
    start = None if params is None else np.tile(params, (len(rngs), 1))
    came = r"got rngs\[{}\] and rngs\[{}\] alike".format(*same)
    with pytest.raises(ValueError, match=f"^rngs must be different seeds or generators, {came}; replicas would share"):
        fast.train(LogisticRegression(2, 3), BLOBS, Schedule([Stage(1, 0.1, 10)]), sgd(), rngs=rngs, params=start)


@pytest.mark.parametrize(
    "rngs",
    [
        lambda: [None, None],
        lambda: range(3),
        lambda: np.random.SeedSequence(0).spawn(3),
        lambda: [spent(2, 10), 2, spent(2, 11)],
        lambda: [np.random.PCG64(1), np.random.MT19937(1), np.random.Philox(1)],
        lambda: [[1, 2], [2, 1], 1],
        lambda: [BITS, np.random.Generator(BITS.jumped())],
    ],
)
def test_different_seeds_train_different_replicas_and_are_not_used_up(rngs):
    arguments = (LogisticRegression(2, 3), BLOBS, Schedule([Stage(1, 0.1, 10)]), sgd())
    history = fast.train(*arguments, rngs=rngs())
    assert len(np.unique(history.train_loss)) == len(rngs())
    if isinstance(rngs(), range):
        np.testing.assert_allclose(history.params[2], train(*arguments, rng=2).params, rtol=1e-10)


# Precision.


def test_features_that_overflow_the_parameters_precision_are_refused():
    X = np.where(np.arange(120).reshape(60, 2) == 7, 1e39, 1.0)
    with pytest.raises(ValueError, match=r"^X must be finite in the precision of params, float32, got up to 1e\+39$"):
        fast.Trainer(LogisticRegression(2, 3), X, BLOBS.y_train, sgd(), np.zeros((1, 9), np.float32))
    trainer = fast.Trainer(LogisticRegression(2, 3), X, BLOBS.y_train, sgd(), np.zeros((1, 9)))
    np.testing.assert_allclose(trainer.run(np.arange(60)[None, None], 0.0), np.log(3))


@pytest.mark.parametrize("rate", [np.nan, np.array([0.1]), "0.1", None, True], ids=repr)
@pytest.mark.parametrize("optimizer", ["sgd", "nesterov", "adam"])
def test_in_place_refuses_what_is_no_learning_rate(optimizer, rate):
    params = np.zeros(3)
    update = fast.in_place(OPTIMIZERS[optimizer], params)
    with pytest.raises((TypeError, ValueError), match=r"^learning_rate must be (finite|a number), got"):
        update(np.ones(3), rate)
    assert not params.any()


@pytest.mark.parametrize("rate", [np.float64(0.25), np.float32(0.25), np.float16(0.25)], ids=repr)
@pytest.mark.parametrize("optimizer", ["momentum", "adam"])
def test_in_place_takes_a_learning_rate_of_any_precision(optimizer, rate):
    params = np.zeros((2, 3), np.float32)
    for row, learning_rate in zip(params, (0.25, rate), strict=True):
        fast.in_place(OPTIMIZERS[optimizer], row)(np.ones(3, np.float32), learning_rate)
    np.testing.assert_array_equal(params[0], params[1])


@pytest.mark.parametrize("model", [LogisticRegression(3), MLP(3, (4,), 2), MLP(3, (4, 5), 2, "tanh")])
def test_a_replica_that_is_nan_has_no_accuracy(model):
    """As the reference, which counts no class for it; its neighbours keep theirs."""
    rng = np.random.default_rng(0)
    X, y = rng.standard_normal((300, 3)), rng.integers(2, size=300)
    params = np.stack([model.init(seed) for seed in range(3)])
    params[1, -1] = np.nan
    loss, accuracy = fast.Trainer(model, X, y, sgd(), params).evaluate(X, y)
    assert np.isnan(loss).tolist() == np.isnan(accuracy).tolist() == [False, True, False]
    assert accuracy[::2].tolist() == [model.accuracy(w, X, y) for w in params[::2]]
