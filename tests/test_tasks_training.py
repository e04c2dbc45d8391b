"""`TrainingTask`: what it trains with, and that it is the same value in every process."""

import os
import pickle
import subprocess
import sys
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from sgdnoise import MLP, Optimizer, Schedule, Stage, adam, load_fashion, minibatches, sgd, train
from sgdnoise.reproduce import TrainingTask
from sgdnoise.reproduce.engine.results import result_path

METRICS = ("train_loss", "train_accuracy", "test_loss", "test_accuracy")
SCHEDULE = Schedule([Stage(1, 0.002, 5000)])
MODEL = MLP(196, (128,), 10)


@dataclass(frozen=True, repr=False)
class RMSProp(Optimizer):
    """One of a user's own: the gradient over the root of its mean square."""

    decay: float
    eps: float = 1e-6

    def init(self, params):
        return np.zeros_like(params)

    def update(self, gradient, state, learning_rate):
        state = self.decay * state + (1 - self.decay) * gradient**2
        return -learning_rate * gradient / (np.sqrt(state) + self.eps), state


@dataclass(frozen=True)
class Holder(Optimizer):
    """A dataclass whose repr shows what it holds."""

    function: object


OPTIMIZERS = [sgd(), sgd(0.9), sgd(0.9, nesterov=True), adam(0.5, 0.9, 1e-3), adam(), RMSProp(0.9)]


@pytest.mark.parametrize("optimizer", OPTIMIZERS[1:5], ids=repr)
def test_a_task_trains_with_the_optimizer_it_names(optimizer):
    arrays = TrainingTask(SCHEDULE, 3, optimizer, engine="reference").run()
    history = train(MODEL, load_fashion(), SCHEDULE, optimizer, l2=1e-4, rng=3)
    assert list(arrays) == list(METRICS)
    for name in METRICS:
        assert (arrays[name] == getattr(history, name)).all()


def test_the_default_is_the_papers():
    task = TrainingTask(SCHEDULE, 3)
    assert task == TrainingTask(schedule=SCHEDULE, seed=3, optimizer=sgd(momentum=0.9), l2=1e-4, engine="fast")


@pytest.mark.parametrize(("engine", "rtol"), [("reference", 1e-5), ("fast", 1e-4)])
def test_seed_l2_and_a_user_s_optimizer_are_those_of_a_loop_written_out(engine, rtol):
    """RMSProp for one epoch of ten updates, with an L2 term that is large enough to be seen; float32 rounds differently."""
    data, rng = load_fashion(), np.random.default_rng(4)
    w = MODEL.init(rng, np.float32)
    mean_square = np.zeros_like(w)
    for batch in minibatches(50_000, 5000, rng=rng):
        gradient = MODEL.gradient(w, data.X_train[batch], data.y_train[batch], 0.05)
        mean_square = 0.9 * mean_square + 0.1 * gradient**2
        w = w - 0.002 * gradient / (np.sqrt(mean_square) + 1e-6)
    arrays = TrainingTask(SCHEDULE, 4, RMSProp(0.9), 0.05, engine).run()
    assert arrays["train_loss"] == pytest.approx([MODEL.loss(w, data.X_train, data.y_train)], rel=rtol)
    assert arrays["test_loss"] == pytest.approx([MODEL.loss(w, data.X_test, data.y_test)], rel=rtol)
    assert arrays["test_accuracy"] == pytest.approx([MODEL.evaluate(w, data.X_test, data.y_test)[1]], abs=1e-3)


@pytest.mark.parametrize(
    "optimizer",
    [
        Optimizer(lambda params: None, lambda gradient, state, rate: (-rate * gradient, None)),
        Optimizer(sgd().init, lambda gradient, state, rate: (-rate * gradient, state)),
        Holder(lambda params: None),
        Holder(partial(lambda a: a, 1)),
        Holder(object()),
    ],
)
def test_an_optimizer_that_shows_an_address_is_refused_by_name(optimizer):
    """Its repr, under which results would be kept, is another one in every process."""
    with pytest.raises(ValueError) as caught:
        TrainingTask(SCHEDULE, 0, optimizer)
    assert str(caught.value) == (
        f"optimizer must have the same repr in every process, got {optimizer!r}; results are kept under the task's repr; "
        "a frozen dataclass has one, such as sgd() and adam() make"
    )
    assert " at 0x" in str(caught.value)
    with pytest.raises(ValueError, match="optimizer must have the same repr"):
        replace(TrainingTask(SCHEDULE, 0), optimizer=optimizer)


@pytest.mark.parametrize("name", ["float 0xff", "at 0x, at Ox1f", "that 0x10"])
def test_what_only_looks_like_an_address_is_not_refused(name):
    assert TrainingTask(SCHEDULE, 0, Holder(name)).optimizer == Holder(name)


def test_tasks_are_values():
    tasks = [TrainingTask(SCHEDULE, 0, optimizer) for optimizer in OPTIMIZERS]
    tasks += [replace(tasks[0], **change) for change in ({"seed": 1}, {"l2": 0.0}, {"engine": "reference"})]
    tasks += [replace(tasks[0], schedule=Schedule([Stage(1, 0.002, 2500)]))]
    assert len(set(tasks)) == len({repr(task) for task in tasks}) == len({result_path(task, Path()) for task in tasks}) == 10
    for task in tasks:
        again = TrainingTask(Schedule(list(task.schedule.stages)), task.seed, replace(task.optimizer), task.l2, task.engine)
        for other in (again, pickle.loads(pickle.dumps(task))):
            assert other is not task
            assert other == task
            assert hash(other) == hash(task)
            assert repr(other) == repr(task)
            assert result_path(other, Path()) == result_path(task, Path())


def test_the_repr_says_everything():
    assert repr(TrainingTask(SCHEDULE, 3, RMSProp(0.9))) == (
        "TrainingTask(schedule=Schedule(stages=(Stage(n_epochs=1, learning_rate=0.002, batch_size=5000),)), seed=3, "
        "optimizer=rmsprop(decay=0.9, eps=1e-06), l2=0.0001, engine='fast')"
    )


ELSEWHERE = """
from pathlib import Path
from sgdnoise import Schedule, Stage, adam, sgd
from sgdnoise.reproduce import TrainingTask
from sgdnoise.reproduce.engine.results import result_path
for optimizer in (sgd(), sgd(0.9), sgd(0.9, nesterov=True), adam(0.5, 0.9, 1e-3), adam()):
    task = TrainingTask(Schedule([Stage(1, 0.002, 5000)]), 0, optimizer)
    print(repr(task), result_path(task, Path()))
"""


@pytest.mark.parametrize("seed", ["1", "2"])
def test_reprs_and_files_are_the_same_in_another_process(seed):
    environment = os.environ | {"PYTHONHASHSEED": seed}
    printed = subprocess.run(
        [sys.executable, "-c", ELSEWHERE], env=environment, capture_output=True, text=True, check=True
    ).stdout
    tasks = [TrainingTask(SCHEDULE, 0, optimizer) for optimizer in OPTIMIZERS[:5]]
    assert printed.splitlines() == [f"{task!r} {result_path(task, Path())}" for task in tasks]


def test_cost_is_in_epochs_at_batch_size_128():
    assert TrainingTask(Schedule([Stage(3, 0.1, 128), Stage(2, 0.1, 32)]), 0).cost == pytest.approx(
        5
    )  # small ones cost no more
    assert TrainingTask(Schedule([Stage(3, 0.1, 128), Stage(2, 0.1, 256)]), 0).cost == pytest.approx(3 + 2 * 0.7)
