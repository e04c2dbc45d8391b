"""The training loop: one gradient of one minibatch after another.

`train` is meant to be read. An epoch draws its minibatches, each minibatch gives a gradient, the optimizer turns it into a
step, and the step is added to the parameters::

    loss, gradient = model.loss_and_gradient(params, X[batch], y[batch], l2)
    step, state = optimizer.update(gradient, state, learning_rate)
    params = params + step

The schedule says for how many epochs at which learning rate and batch size. The rest of this page records what happened.
Arguments of the wrong type (TypeError) and values out of range (ValueError), such as a batch larger than the training set, are
refused before any work is done.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from . import _checks as check
from .optimizers import Optimizer
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
        In force during the epoch.
    train_loss, test_loss : ndarray
        Mean cross-entropy at the end of the epoch, without the L2 term, over all training and test examples; in nats.
    train_accuracy, test_accuracy : ndarray
        Fractions predicted right at the end of the epoch.
    params : ndarray of shape (n_params,)
        The parameters at the end; if training diverged, those that gave the loss it stopped at.
    diverged : bool
        Whether training was cut short because it diverged.

    Notes
    -----
    From `fast.train` the losses, the accuracies, the parameters and `diverged` have a leading axis of replicas.

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
        n = np.count_nonzero(~np.isnan(self.train_accuracy[i]))  # accuracies are fractions, and NaN only after the end
        shared = (self.epoch, self.n_updates, self.learning_rate, self.batch_size)
        metrics = (self.train_loss, self.train_accuracy, self.test_loss, self.test_accuracy)
        columns = [column[:n] for column in shared] + [metric[i, :n] for metric in metrics]
        return History(*columns, self.params[i], bool(self.diverged[i]))  # type: ignore[call-arg]


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
    rng: np.random.Generator | int | None = None,
    callback: Callable[[History], object] | None = None,
    on_divergence: str = "raise",
) -> History:
    """Train a model by minibatch gradients.

    Parameters
    ----------
    model : Model
        `MLP`, `LogisticRegression`, or anything with their ``init``, ``loss_and_gradient`` and ``evaluate``.
    data : Dataset
        Training and test examples. Parameters take the dtype of ``data.X_train``.
    schedule : Schedule
        Epochs, learning rates and batch sizes.
    optimizer : Optimizer
        From `sgd` or `adam`, or a pair of functions of your own.
    l2 : float, default 0
        Coefficient of ``|weights|^2 / 2`` in the loss, at least 0.
    sampling : {"reshuffle", "without_replacement", "with_replacement"}, default "reshuffle"
        How minibatches are drawn; see `minibatches`.
    params : ndarray of shape (n_params,), optional
        Where to start; drawn by ``model.init`` if not given. Not changed.
    rng : numpy.random.Generator, int or None, keyword-only
        Source of the initial parameters, then of the minibatches.
    callback : callable, optional
        Called with the `History` so far after each epoch.
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

    Notes
    -----
    Convention: gradients are of the MEAN loss; an epoch's last, smaller batch is dropped, so that every update has the noise
    scale of its stage.

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
    X, y = data.X_train, data.y_train
    rng = check.generator(rng)
    params = model.init(rng, X.dtype) if params is None else check.float_array("params", params, ("n_params",))
    state = optimizer.init(params)
    n_updates, limit = 0, float("inf")
    rows: list[tuple[float, ...]] = []

    def history(diverged: bool = False) -> History:
        columns: Any = zip(*rows, strict=True) if rows else [()] * 8
        return History(*map(np.array, columns), params, diverged)  # type: ignore[call-arg]

    def check_loss(loss: float) -> None:
        if on_divergence != "ignore" and not (np.isfinite(loss) and loss <= limit):
            raise DivergenceError(len(rows) + 1, n_updates, learning_rate, batch_size, loss, history(diverged=True))

    try:
        for stage in schedule:
            learning_rate, batch_size = stage.learning_rate, stage.batch_size
            for _ in range(stage.n_epochs):
                with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
                    for batch in minibatches(len(X), batch_size, sampling=sampling, rng=rng):
                        loss, gradient = model.loss_and_gradient(params, X[batch], y[batch], l2)
                        if n_updates == 0:
                            limit = DIVERGED * max(1.0, loss)
                        check_loss(loss)
                        step, state = optimizer.update(gradient, state, learning_rate)
                        params = params + step
                        n_updates += 1
                    on_train = model.evaluate(params, X, y)
                    on_test = model.evaluate(params, data.X_test, data.y_test)
                check_loss(on_train[0])
                rows.append((len(rows) + 1, n_updates, learning_rate, batch_size, *on_train, *on_test))
                if callback is not None:
                    callback(history())
    except DivergenceError as error:
        if on_divergence == "stop":
            return error.history
        raise
    return history()


def check_arguments(
    data: object, schedule: Any, optimizer: object, l2: object, sampling: object, callback: object, on_divergence: object
) -> float:
    """Refuse what neither this loop nor the fast one can work with, before any work is done; return `l2`."""
    attributes = ("X_train", "y_train", "X_test", "y_test")
    X = check.attributes("data", data, attributes, hint="a Dataset, for instance from load_fashion()").X_train
    check.attributes("optimizer", optimizer, ("init", "update"), hint="call sgd() or adam() to get one")
    check.attributes("schedule", schedule, ("stages", "n_updates"), hint="a Schedule, for instance from step_decay()")
    if callback is not None:
        check.function("callback", callback)
    check.choice("sampling", sampling, SAMPLINGS)
    check.choice("on_divergence", on_divergence, ("raise", "stop", "ignore"))
    schedule.n_updates(len(X))  # refuses a batch that is larger than the data
    return float(check.number("l2", l2, at_least=0))
