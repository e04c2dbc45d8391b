"""The training loop: one gradient of one minibatch after another.

`train` is meant to be read. An epoch draws its minibatches, each minibatch gives a gradient, the optimizer turns it into a
step, and the step is added to the parameters (in the code with a look at what a user's own model and optimizer return)::

    loss, gradient = model.loss_and_gradient(params, X[batch], y[batch], l2)
    step, state = optimizer.update(gradient, state, learning_rate)
    params = params + step

The schedule says for how many epochs at which learning rate and batch size. The rest of this page records what happened.
Arguments of the wrong type (TypeError) and values out of range (ValueError), such as a batch larger than the training set, are
refused before any work is done; so is, when it comes, a gradient or a step that is not of the parameters' shape.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from . import _checks as check
from .optimizers import Optimizer, state_for, step_of
from .sampling import SAMPLINGS, minibatches

if TYPE_CHECKING:
    from .datasets import Dataset
    from .schedules import Schedule

DIVERGED = 100.0
"""A loss this many times the first one (or, if that is below 1, this many nats) counts as divergence, finite or not: softmax
cross-entropy grows only linearly in the parameters, so that a hopeless run need not overflow for a long time."""


class Model(Protocol):
    """What `train` asks of a model; `MLP` and `LogisticRegression` have it, and so may yours."""

    def init(self, rng: np.random.Generator, dtype: Any) -> np.ndarray:
        """Draw initial parameters."""

    def loss_and_gradient(self, params: np.ndarray, X: np.ndarray, y: np.ndarray, l2: float) -> tuple[float, np.ndarray]:
        """Mean loss over the examples plus the L2 term, and the gradient of both."""

    def evaluate(self, params: np.ndarray, X: np.ndarray, y: np.ndarray) -> tuple[float, float]:
        """Mean loss without the L2 term, and accuracy."""


@dataclass(frozen=True, eq=False)
class History:
    """What happened in training: arrays with one entry per finished epoch.

    Parameters
    ----------
    epoch : ndarray of int
        Epochs finished: 1, 2, ...
    n_updates : ndarray of int
        Parameter updates since the start.
    learning_rate, batch_size : ndarray
        In force during the epoch; of a learning rate that moves, its mean over the epoch's updates.
    train_loss, test_loss : ndarray
        Mean cross-entropy at the end of the epoch, without the L2 term, over all training and test examples; in nats. Those of
        the test set are NaN if there was none.
    train_accuracy, test_accuracy : ndarray
        Fractions predicted right at the end of the epoch; likewise.
    params : ndarray of shape (n_params,)
        The parameters at the end; if training diverged, those that gave the loss it stopped at.
    diverged : bool
        Whether training was cut short because it diverged.
    state : object
        The optimizer's at the end, for `train` to go on with.

    Notes
    -----
    From `fast.train` the losses, the accuracies, the parameters and `diverged` have a leading axis of replicas, and `state` is
    a list of theirs.

    References
    ----------
    Tutorial 4, ``tutorials/04_dont_decay.md``.
    """

    epoch: np.ndarray
    n_updates: np.ndarray
    learning_rate: np.ndarray
    batch_size: np.ndarray
    train_loss: np.ndarray
    train_accuracy: np.ndarray
    test_loss: np.ndarray
    test_accuracy: np.ndarray
    params: np.ndarray
    diverged: bool | np.ndarray = False
    state: Any = None

    def replica(self, i: int) -> History:
        """Return the history of one replica out of those of `fast.train`, as `train` would return it.

        Parameters
        ----------
        i : int
            Which one, counted from 0.

        Returns
        -------
        History
            Up to the epoch in which this replica stopped, if it diverged.

        Raises
        ------
        TypeError, ValueError
            If this is not a history of replicas, or has none of that number.
        """
        if not isinstance(self.diverged, np.ndarray):
            raise TypeError("replica(i) is for histories of several replicas, got the history of one")
        i = check.integer("i", i, 0, ("n_replicas - 1", len(self.diverged) - 1))
        # What was recorded before a replica stopped is finite, and NaN after; one that diverged unchecked may be NaN anywhere.
        n = np.count_nonzero(~np.isnan(self.train_accuracy[i])) if self.diverged[i] else len(self.epoch)
        shared = (self.epoch, self.n_updates, self.learning_rate, self.batch_size)
        metrics = (self.train_loss, self.train_accuracy, self.test_loss, self.test_accuracy)
        columns = [column[:n] for column in shared] + [metric[i, :n] for metric in metrics]
        return History(*columns, self.params[i], bool(self.diverged[i]), self.state and self.state[i])  # type: ignore[call-arg]


class Record:
    """Rows of a `History`, one for each epoch, kept as columns that grow: a look at them costs the same however long they are.

    Parameters
    ----------
    shape : tuple of int
        Of a loss or an accuracy: (), or (n_replicas,).
    """

    def __init__(self, shape: tuple[int, ...] = ()) -> None:
        shared = [np.empty(16, kind) for kind in (int, int, float, int)]
        self._columns = [*shared, *(np.empty((16, *shape)) for _ in range(4))]
        self._n_rows = 0

    def __len__(self) -> int:
        return self._n_rows

    def append(self, *row: Any) -> None:
        """Add a row, whose entries are the first eight of a `History`."""
        if self._n_rows == len(self._columns[0]):  # a new array: the columns that a callback has kept stay what they are
            self._columns = [np.concatenate([column, np.empty_like(column)]) for column in self._columns]
        for column, value in zip(self._columns, row, strict=True):
            column[self._n_rows] = value
        self._n_rows += 1

    def columns(self) -> list[np.ndarray]:
        """Return read-only views, with the epochs on the last axis."""
        views = [column[: self._n_rows].T for column in self._columns]
        for view in views:
            view.flags.writeable = False
        return views

    def copies(self) -> list[np.ndarray]:
        """Return the columns as arrays of the caller's own."""
        return [column.copy(order="K") for column in self.columns()]


class DivergenceError(ArithmeticError):
    """Training diverged: the loss is not finite, or absurdly large.

    Parameters
    ----------
    epoch : int
        The epoch it happened in, counted from 1.
    update : int
        Updates done until then.
    learning_rate : float
        In force at the time.
    batch_size : int
        In force at the time.
    loss : float
        The loss that was found.
    history : History
        The epochs finished before.
    """

    def __init__(self, epoch: int, update: int, learning_rate: float, batch_size: int, loss: float, history: History) -> None:
        super().__init__(epoch, update, learning_rate, batch_size, loss, history)
        self.epoch = epoch
        self.update = update
        self.learning_rate = learning_rate
        self.batch_size = batch_size
        self.loss = loss
        self.history = history

    def __str__(self) -> str:
        """Say what happened and what may help."""
        return (
            f"training diverged in epoch {self.epoch} after {self.update} updates: loss {self.loss:.4g} at "
            f"learning_rate={self.learning_rate:g}, batch_size={self.batch_size}; a lower learning rate may help"
        )


def train(
    model: Model,
    data: Dataset,
    schedule: Schedule,
    optimizer: Optimizer,
    *,
    l2: float = 0.0,
    sampling: str = "reshuffle",
    params: np.ndarray | None = None,
    state: Any = None,
    rng: check.Seed = None,
    callback: Callable[[History], object] | None = None,
    on_divergence: str = "raise",
) -> History:
    """Train a model by minibatch gradients.

    Parameters
    ----------
    model : Model
        `MLP`, `LogisticRegression`, or anything with their ``init``, ``loss_and_gradient`` and ``evaluate``.
    data : Dataset
        Training and, unless left out, test examples. Parameters take the dtype of ``data.X_train``.
    schedule : Schedule
        Epochs, learning rates and batch sizes.
    optimizer : Optimizer
        From `sgd` or `adam`, or a pair of functions of your own.
    l2 : float, default 0
        Coefficient of ``|weights|^2 / 2`` in the loss, at least 0.
    sampling : {"reshuffle", "without_replacement", "with_replacement"}, default "reshuffle"
        How minibatches are drawn; see `minibatches`.
    params : ndarray of shape (n_params,), optional
        Where to start; drawn by ``model.init`` if not given. Not changed. Training keeps their precision.
    state : object, optional
        The optimizer's, to go on with: `History.state` of an earlier call. Not changed. Default: a new one, from
        ``optimizer.init``.
    rng : numpy.random.Generator, BitGenerator, SeedSequence, int or None, keyword-only
        Source of the initial parameters, then of the minibatches; handed to `numpy.random.default_rng`.
    callback : callable, optional
        Called after each epoch with the `History` so far. Its columns are for reading only; `params` and `state` are copies.
    on_divergence : {"raise", "stop", "ignore"}, default "raise"
        What to do when the loss is not finite or more than 100 times the larger of 1 and the first minibatch's: raise
        `DivergenceError`, return the history so far, or go on.

    Returns
    -------
    History
        One entry per epoch.

    Raises
    ------
    DivergenceError
        If training diverges and `on_divergence` is "raise". Its attributes hold the epoch, the update, the learning rate, the
        batch size, the loss, and the history so far.
    TypeError, ValueError
        If `model` returns a loss that is not a number or a gradient, or `optimizer` a step, that is not a float32 or float64
        array of the parameters' shape.

    Notes
    -----
    Convention: gradients are of the MEAN loss; an epoch's last, smaller batch is dropped, so that every update has the noise
    scale of its stage. Where the learning rate moves, it does so by update; see `Stage`.

    To go on with training that ended, hand over all that it left, and what is left of the schedule: with a generator `rng`::

        first = train(model, data, schedule.part(0, 3), optimizer, rng=rng)
        rest = train(model, data, schedule.part(3, 6), optimizer, params=first.params, state=first.state, rng=rng)

    does what six epochs at once do, to the bit if no stage with a rate that moves is cut. The history begins anew.

    References
    ----------
    Smith et al. 2018, arXiv:1711.00489, section 5, for the schedules.
    Tutorial 4, ``tutorials/04_dont_decay.md``.

    Examples
    --------
    >>> from sgdnoise import LogisticRegression, make_blobs, sgd, step_decay
    >>> data = make_blobs(n_train=600, n_test=200, rng=0)
    >>> schedule = step_decay(0.5, 20, milestones=(2,), n_epochs=3, factor=5)
    >>> history = train(LogisticRegression(2, 3), data, schedule, sgd(), rng=1)
    >>> history.n_updates, history.learning_rate
    (array([30, 60, 90]), array([0.5, 0.5, 0.1]))
    """
    l2 = check_arguments(data, schedule, optimizer, l2, sampling, callback, on_divergence)
    wanted = ("loss_and_gradient", "evaluate") if params is not None else ("init", "loss_and_gradient", "evaluate")
    check.attributes("model", model, wanted, hint="an MLP, a LogisticRegression, or one of your own")
    X, y = data.X_train, data.y_train
    rng = check.generator(rng)
    name, params = ("params", params) if params is not None else ("what model.init returns", model.init(rng, X.dtype))
    params = check.float_array(name, params, ("n_params",)).copy()
    state = state_for(optimizer, params, state)
    n_updates, limit = 0, float("inf")
    record = Record()

    def check_loss(loss: float) -> None:
        if on_divergence != "ignore" and not (math.isfinite(loss) and loss <= limit):
            so_far = History(*record.copies(), params, True, state)  # type: ignore[call-arg]
            raise DivergenceError(len(record) + 1, n_updates, learning_rate, batch_size, loss, so_far)

    try:
        for stage in schedule:
            batch_size, per_epoch = stage.batch_size, len(X) // stage.batch_size
            for epoch in range(stage.n_epochs):
                rates = stage.learning_rates_of(epoch, per_epoch).tolist()
                batches = minibatches(len(X), batch_size, sampling=sampling, rng=rng)
                with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
                    for batch, learning_rate in zip(batches, rates, strict=True):
                        loss, gradient = _loss_and_gradient(model, params, X[batch], y[batch], l2)
                        if n_updates == 0:
                            limit = DIVERGED * max(1.0, loss)
                        check_loss(loss)
                        step, state = step_of(optimizer, gradient, state, learning_rate)
                        params = params + step
                        n_updates += 1
                    on_train = _evaluate(model, params, X, y)
                    on_test = _evaluate(model, params, data.X_test, data.y_test)
                check_loss(on_train[0])
                mean_rate = (rates[0] + rates[-1]) / 2
                record.append(len(record) + 1, n_updates, mean_rate, batch_size, *on_train, *on_test)
                if callback is not None:
                    callback(History(*record.columns(), params.copy(), False, copy.deepcopy(state)))  # type: ignore[call-arg]
    except DivergenceError as error:
        if on_divergence == "stop":
            return error.history
        raise
    return History(*record.copies(), params, False, state)  # type: ignore[call-arg]


def _loss_and_gradient(model: Model, params: np.ndarray, X: np.ndarray, y: np.ndarray, l2: float) -> tuple[float, np.ndarray]:
    """Return what the model does: a number, and an array like the parameters; another shape might broadcast unseen."""
    answer = model.loss_and_gradient(params, X, y, l2)
    loss, gradient = check.two("what model.loss_and_gradient returns", answer, "loss, gradient")
    loss = check.answer("the loss that model.loss_and_gradient returns", loss, "the mean over the examples")
    return loss, check.floats("the gradient that model.loss_and_gradient returns", gradient, params)


def _evaluate(model: Model, params: np.ndarray, X: np.ndarray | None, y: np.ndarray | None) -> tuple[float, float]:
    """Return loss and accuracy, NaN where there are no examples."""
    if X is None or y is None:
        return float("nan"), float("nan")
    scores = check.two("what model.evaluate returns", model.evaluate(params, X, y), "loss, accuracy")
    loss, accuracy = (check.answer("each number that model.evaluate returns", score) for score in scores)
    return loss, accuracy


def check_arguments(
    data: object, schedule: Any, optimizer: object, l2: object, sampling: object, callback: object, on_divergence: object
) -> float:
    """Refuse what neither this loop nor the fast one can work with, before any work is done; return `l2`."""
    attributes = ("X_train", "y_train", "X_test", "y_test")
    X = check.attributes("data", data, attributes, hint="a Dataset, for instance from load_fashion()").X_train
    if (data.X_test is None) != (data.y_test is None):  # type: ignore[attr-defined]
        raise ValueError("data must have both X_test and y_test, or None in place of both, got one of them")
    check.attributes("data.X_train", X, ("dtype", "__len__", "__getitem__"), hint="an array of floats")
    check.attributes("optimizer", optimizer, ("init", "update"), hint="call sgd() or adam() to get one")
    for name in ("init", "update"):
        check.function(f"optimizer.{name}", getattr(optimizer, name))
    check.attributes("schedule", schedule, ("stages", "n_updates"), hint="a Schedule, for instance from step_decay()")
    if callback is not None:
        check.function("callback", callback)
    check.choice("sampling", sampling, SAMPLINGS)
    check.choice("on_divergence", on_divergence, ("raise", "stop", "ignore"))
    schedule.n_updates(len(X))  # refuses a batch that is larger than the data
    return float(check.number("l2", l2, at_least=0))
