"""The training loop made quick: many replicas at once, in place, in buffers that all updates share.

`train` computes what `training.train` computes, for several random generators at once: replica i equals
``training.train(..., rng=rngs[i])`` up to rounding, whatever is beside it, since each replica draws its own minibatches. The
reference is for reading and this is for running; the two share no line of the computation, and tests hold one to the other.

Where the time goes, and what is done about it:

- Most of it goes into products of matrices. The biases of a layer lie behind its weights in the parameter vector, so that
  ``[W; b]`` is one matrix; the inputs have a column of ones, and biases and their gradients cost no pass of their own.
- Softmax runs on transposed logits, classes by examples, along the long axis.
- A minibatch is gathered, and everything else computed, in buffers made once per batch size. Batches of many rows go through in
  parts, so that the buffers stay small and in the cache.
- Replicas are stacked on a leading axis while that pays: one call from Python then serves a whole stack of small models.
- Optimizers update in place, SGD by BLAS, over blocks that stay in the cache (`in_place`).
- Losses of minibatches are looked at after every 64 updates. Where one shows divergence, the run goes back to the start of
  those 64 and forward again to the very update, so that what is reported is what the reference reports.

`benchmarks/README.md` has the measurements. What is refused is what `training.train` refuses, and arrays of the wrong dtype,
shape or range.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from . import _checks as check
from ._in_place import InPlace, in_place
from ._stack import Buffers, Stack, layers_of, swap
from .sampling import minibatches
from .training import DIVERGED, DivergenceError, History, Record, check_arguments

if TYPE_CHECKING:
    from .datasets import Dataset
    from .models import MLP
    from .optimizers import Optimizer
    from .schedules import Schedule

__all__ = ["InPlace", "Trainer", "in_place", "train"]

_STACK_BYTES = 1 << 22  # parameters, gradient and optimizer state of a stack of replicas, to stay within the cache
_ROWS = 1024  # examples of a replica in one pass; the minibatches of so many are prepared at a time
_STACK_ROWS = 8192  # in one pass, over all replicas of a stack; beyond it a batch comes in parts ...
_FEWEST_ROWS = 128  # ... but in no more parts than this many rows of a replica would make
_SEGMENT = 64  # updates between two looks at the losses


def train(
    model: MLP,
    data: Dataset,
    schedule: Schedule,
    optimizer: Optimizer,
    *,
    rngs: Sequence[check.Seed],
    l2: float = 0.0,
    sampling: str = "reshuffle",
    params: np.ndarray | None = None,
    state: Sequence[Any] | None = None,
    callback: Callable[[History], object] | None = None,
    on_divergence: str = "raise",
) -> History:
    """Train replicas of a model by minibatch gradients, one for each random generator.

    Parameters
    ----------
    model : MLP
        Or `LogisticRegression`. A subclass is trained as the `MLP` that it is. For other models use `training.train`.
    data : Dataset
        Training and, unless left out, test examples. Parameters take the dtype of ``data.X_train``.
    schedule : Schedule
        Epochs, learning rates and batch sizes.
    optimizer : Optimizer
        From `sgd` or `adam`; one of your own is called replica by replica.
    rngs : sequence of numpy.random.Generator, BitGenerator, SeedSequence, int or None, keyword-only
        One for each replica: source of its initial parameters, then of its minibatches. No two may be equal seeds, or
        generators in the same state: their replicas would be one run counted twice.
    l2 : float, default 0
        Coefficient of ``|weights|^2 / 2`` in the loss, at least 0.
    sampling : {"reshuffle", "without_replacement", "with_replacement"}, default "reshuffle"
        How minibatches are drawn; see `minibatches`.
    params : ndarray of shape (n_params,) or (n_replicas, n_params), optional
        Where to start, all alike or each for itself; drawn by ``model.init`` if not given. Not changed.
    state : sequence, optional
        Optimizer states to go on with, one for each replica: `History.state` of an earlier call. Not changed. Default: new.
    callback : callable, optional
        Called after each epoch with the `History` so far. Its columns are for reading only; `params` and `state` are copies.
    on_divergence : {"raise", "stop", "ignore"}, default "raise"
        What to do when the loss of a replica is not finite or more than 100 times the larger of 1 and its first minibatch's:
        raise `DivergenceError`, stop this replica and go on with the others, or go on.

    Returns
    -------
    History
        Losses and accuracies of shape (n_replicas, n_epochs), NaN after a replica has stopped; parameters of shape (n_replicas,
        n_params); `diverged` of shape (n_replicas,). The epochs, updates, learning rates and batch sizes are those of all
        replicas, of shape (n_epochs,). ``history.replica(i)`` is what ``training.train(..., rng=rngs[i])`` returns.

    Raises
    ------
    DivergenceError
        If a replica diverges and `on_divergence` is "raise", for the first that does. It is the reference's error for that
        replica, and a note says which one it is.

    Notes
    -----
    Convention: as in `training.train`: gradients are of the MEAN loss; an epoch's last, smaller batch is dropped.

    Sums are added up in another order than in the reference, so that results agree up to rounding: 1e-10 relative in float64
    over hundreds of updates, 1e-4 or so in float32. A rule that turns rounding into steps (the sign of a gradient, Adam with
    eps = 0 or b2 = 0) can lead anywhere.

    A replica that has stopped is carried along and left out of the history, so that its generator goes on.

    Memory beyond the data: a copy of the training inputs; the parameters 7 to 11 times at the peak (start, gradient, optimizer
    state, and a copy to go back to); the indices of an epoch; and buffers that depend on the model, the batch size and the
    number of replicas, but not on the number of updates.

    References
    ----------
    Tutorial 8, ``tutorials/08_optimum_batch_size.md``.

    Examples
    --------
    >>> from sgdnoise import LogisticRegression, make_blobs, sgd, step_decay
    >>> data = make_blobs(n_train=600, n_test=200, rng=0)
    >>> schedule = step_decay(0.5, 20, milestones=(2,), n_epochs=3, factor=5)
    >>> history = train(LogisticRegression(2, 3), data, schedule, sgd(), rngs=range(4))
    >>> history.n_updates, history.test_accuracy.shape
    (array([30, 60, 90]), (4, 3))
    """
    l2 = check_arguments(data, schedule, optimizer, l2, sampling, callback, on_divergence)
    generators = _generators(rngs)
    params = _start(model, params, generators, data.X_train.dtype)
    trainer = Trainer(model, data.X_train, data.y_train, optimizer, params, l2=l2)
    if state is not None:
        trainer._resume(state)
    n_replicas, n_train = len(generators), len(data.X_train)
    limits = np.full(n_replicas, np.inf)
    stopped: dict[int, tuple[np.ndarray, Any]] = {}
    record = Record((n_replicas,))

    def history(columns: list[np.ndarray]) -> History:
        final, states = trainer.params.copy(), trainer._states()
        for i, (last, state) in stopped.items():
            final[i], states[i] = last, state
        gone = np.array([i in stopped for i in range(n_replicas)])
        return History(*columns, final, gone, states)  # type: ignore[call-arg]

    def stop(losses: np.ndarray, update: int, at: np.ndarray, states: list[Any]) -> None:
        for replica in np.flatnonzero(diverged(losses)):
            stopped[int(replica)] = at[replica].copy(), states[replica]
            if on_divergence == "raise":
                epoch, settings = len(record) + 1, (learning_rate, stage.batch_size)
                so_far = history(record.copies()).replica(int(replica))
                error = DivergenceError(epoch, update, *settings, float(losses[replica]), so_far)
                error.add_note(f"replica {replica} of {n_replicas}, counted from 0")
                raise error

    def diverged(losses: np.ndarray) -> np.ndarray:
        checked = [on_divergence != "ignore" and replica not in stopped for replica in range(n_replicas)]
        bad: np.ndarray = np.array(checked) & ~(np.isfinite(losses) & (losses <= limits))
        return bad

    n_updates, no_test = 0, np.full((2, n_replicas), np.nan)
    for stage in schedule:
        per_epoch = n_train // stage.batch_size
        for epoch in range(stage.n_epochs):
            batches = np.stack(
                [minibatches(n_train, stage.batch_size, sampling=sampling, rng=generator) for generator in generators]
            )
            rates = stage.learning_rates_of(epoch, per_epoch)
            for start in range(0, per_epoch, _SEGMENT):
                segment, segment_rates = batches[:, start : start + _SEGMENT], rates[start : start + _SEGMENT]
                before = trainer.save()
                losses = trainer.run(segment, segment_rates)
                if n_updates == 0:
                    limits = DIVERGED * np.fmax(1.0, losses[:, 0])
                if diverged(losses.max(axis=1)).any():
                    trainer.load(before)
                    for i, learning_rate in enumerate(segment_rates.tolist()):
                        at, states = trainer.params.copy(), trainer._states()
                        losses = trainer.run(segment[:, i : i + 1], learning_rate)[:, 0]
                        stop(losses, n_updates + i, at, states)
                n_updates += segment.shape[1]
            learning_rate = float(rates[-1])
            on_train = trainer.evaluate(data.X_train, data.y_train)
            on_test = no_test if data.X_test is None else trainer.evaluate(data.X_test, data.y_test)
            if diverged(on_train[0]).any():
                stop(on_train[0], n_updates, trainer.params, trainer._states())
            if len(stopped) == n_replicas:
                return history(record.copies())
            values = np.array([*on_train, *on_test])
            values[:, list(stopped)] = np.nan
            record.append(len(record) + 1, n_updates, (rates[0] + rates[-1]) / 2, stage.batch_size, *values)
            if callback is not None:
                so_far = history(record.columns())
                callback(replace(so_far, state=copy.deepcopy(so_far.state)))
    return history(record.copies())


def _generators(rngs: Sequence[check.Seed]) -> list[np.random.Generator]:
    """Return one generator for each replica."""
    one_axis = isinstance(rngs, Sequence) or (check.plain_array(rngs) and rngs.ndim == 1)
    if isinstance(rngs, (str, bytes, bytearray, memoryview)) or not one_axis:
        raise TypeError(f"rngs must be a sequence of seeds or generators, one for each replica, got {rngs!r}")
    if not len(rngs):
        raise ValueError("rngs must hold one seed or generator for each replica, got none")
    generators = [check.generator(rng, f"rngs[{i}]") for i, rng in enumerate(rngs)]
    first: dict[bytes, int] = {}
    for i, generator in enumerate(generators):
        numbers = copy.deepcopy(generator.bit_generator).random_raw(4).tobytes()  # the next ones; no state comes as a key
        if first.setdefault(numbers, i) != i:
            came = f"rngs[{first[numbers]}] and rngs[{i}] alike"
            raise ValueError(f"rngs must be different seeds or generators, got {came}; replicas would share their numbers")
    return generators


def _start(model: MLP, params: np.ndarray | None, generators: list[np.random.Generator], dtype: Any) -> np.ndarray:
    """Return initial parameters, one row for each replica."""
    _check_model(model)
    if params is None:
        rows = [model.init(generator, dtype) for generator in generators]
        return np.stack([check.float_array("what model.init returns", row, (model.n_params,)) for row in rows])
    if getattr(params, "ndim", 1) == 1:
        params = np.tile(check.float_array("params", params, (model.n_params,)), (len(generators), 1))
    return check.float_array("params", params, (len(generators), model.n_params))


def _check_model(model: object) -> None:
    hint = "an MLP or LogisticRegression; for other models use sgdnoise.train"
    check.attributes("model", model, ("layer_shapes", "activation", "n_params", "init", "unpack"), hint=hint)


def _restored(kind: type[Trainer], made_of: tuple[Any, ...], l2: float, saved: list[Any]) -> Trainer:
    trainer = kind(*made_of, l2=l2)
    trainer.load(saved)
    return trainer


class Trainer:
    """Replicas of a model in training: the engine of `train`, for those who bring their own minibatches.

    Parameters
    ----------
    model : MLP
        Or `LogisticRegression`.
    X : ndarray of shape (n_train, n_features)
        Training inputs; copied.
    y : ndarray of int, shape (n_train,)
        Their classes.
    optimizer : Optimizer
        How gradients become steps.
    params : ndarray of shape (n_replicas, n_params)
        Where to start; copied. Its dtype is that of the computation.
    l2 : float, default 0
        Coefficient of ``|weights|^2 / 2`` in the loss, at least 0.

    Attributes
    ----------
    params : ndarray of shape (n_replicas, n_params)
        The parameters now. Changed in place by `run`.

    Notes
    -----
    Convention: gradients are of the MEAN loss over a minibatch, plus ``l2 * weights``; biases are left out of the L2 term.

    A trainer can be pickled and copied in the middle of training, if its optimizer can, and then goes on by itself.

    Examples
    --------
    Two replicas take three updates each, at batch size 5:

    >>> from sgdnoise import LogisticRegression, make_blobs, sgd
    >>> data = make_blobs(n_train=600, n_test=200, rng=0)
    >>> trainer = Trainer(LogisticRegression(2, 3), data.X_train, data.y_train, sgd(), np.zeros((2, 9)))
    >>> batches = np.random.default_rng(0).integers(600, size=(2, 3, 5))
    >>> trainer.run(batches, 0.1)[:, 0].round(4)  # the loss before the first update is log(3)
    array([1.0986, 1.0986])
    """

    params: np.ndarray

    def __init__(
        self, model: MLP, X: np.ndarray, y: np.ndarray, optimizer: Optimizer, params: np.ndarray, *, l2: float = 0.0
    ) -> None:
        _check_model(model)
        check.float_array("params", params, ("n_replicas", model.n_params), finite=False)
        check.float_array("X", X, ("n_train", model.n_features))
        check.labels("y", y, len(X), model.n_classes)
        check.attributes("optimizer", optimizer, ("init", "update"), hint="call sgd() or adam() to get one")
        n_replicas, n_params = params.shape
        self.model, self.params = model, params.copy()
        self._y = y.astype(np.intp)
        self._X = np.ones((len(X), model.n_features + 1), params.dtype)
        with np.errstate(over="ignore"):
            self._X[:, :-1] = X
        if not np.isfinite(self._X).all():
            raise ValueError(f"X must be finite in the precision of params, {params.dtype}, got up to {np.abs(X).max():.4g}")
        self._l2, self._optimizer = float(check.number("l2", l2, at_least=0)), optimizer
        height = max(1, min(n_replicas, _STACK_BYTES // (4 * params.itemsize * n_params)))
        rows = [slice(i, min(i + height, n_replicas)) for i in range(0, n_replicas, height)]
        self._stacks = [(stack, Stack(model, self.params[stack], optimizer, self._l2)) for stack in rows]
        self._buffers: dict[tuple[int, ...], Buffers] = {}
        self._batch_size = 0

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle or copy what it was made of and the state; buffers, and views of the parameters, are made anew."""
        made_of = (self.model, self._X[:, :-1], self._y, self._optimizer, self.params)
        return _restored, (type(self), made_of, self._l2, self.save())

    def run(self, batches: np.ndarray, learning_rate: float | np.ndarray) -> np.ndarray:
        """Do one update of every replica for each of its minibatches.

        Parameters
        ----------
        batches : ndarray of int, shape (n_replicas, n_updates, batch_size)
            Indices of the examples.
        learning_rate : float, or ndarray of shape (n_updates,)
            Per mean gradient.

        Returns
        -------
        ndarray of shape (n_replicas, n_updates)
            Loss of each minibatch before its update, L2 term included.

        Notes
        -----
        Numbers that are not finite are carried along without a warning, and show in the losses.
        """
        self._check(batches)
        rates = np.broadcast_to(check.series("learning_rate", learning_rate, batches.shape[1], "update"), batches.shape[1])
        if batches.shape[2] != self._batch_size:
            self._buffers, self._batch_size = {}, batches.shape[2]
        losses = np.empty(batches.shape[:2])
        with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
            for rows, stack in self._stacks:
                self._run(stack, batches[rows], rates, losses[rows])
        return losses

    def _check(self, batches: Any) -> None:
        wanted = f"an integer array of shape ({len(self.params)}, n_updates, batch_size)"
        if not check.plain_array(batches) or batches.dtype.kind not in "iu":
            raise TypeError(f"batches must be {wanted}, got {type(batches).__name__}")
        if batches.ndim != 3 or len(batches) != len(self.params) or batches.shape[2] == 0:
            raise ValueError(f"batches must be {wanted}, got shape {batches.shape}")
        if batches.size and not (batches.min() >= 0 and batches.max() < len(self._X)):
            came = f"indices from {batches.min()} to {batches.max()}"
            raise ValueError(f"batches must be indices from 0 to n_train - 1 = {len(self._X) - 1}, got {came}")

    def _run(self, stack: Stack, batches: np.ndarray, rates: np.ndarray, losses: np.ndarray) -> None:
        n_replicas, n_updates, batch_size = batches.shape
        n_parts = -(-batch_size // max(_FEWEST_ROWS, min(_ROWS, _STACK_ROWS // n_replicas)))
        n_rows = -(-batch_size // n_parts)
        # Parts of a batch add up into one gradient, so that a batch in parts is alone.
        at_once = 1 if n_parts > 1 else max(1, _ROWS // (n_replicas * n_rows))
        weight = self.params.dtype.type(1 / batch_size)
        for first in range(0, n_updates, at_once):
            block = batches[:, first : first + at_once].swapaxes(0, 1)
            total = np.zeros(block.shape[:2])
            for start in range(0, batch_size, n_rows):
                index = block[:, :, start : start + n_rows]
                buffers = self._buffers_for(at_once, *index.shape[1:])
                buffers.find_labels(self._y, index)
                for i in range(len(block)):
                    buffers.gather(self._X, index, i)
                    stack.add_gradient(buffers, i, weight, fresh=start == 0)
                    if start + n_rows >= batch_size:
                        losses[:, first + i] = stack.penalty() if self._l2 else 0.0
                        stack.update(rates.item(first + i))
                total += buffers.losses(len(block))
            losses[:, first : first + at_once] += total.T / batch_size

    def _buffers_for(self, n_updates: int, n_replicas: int, n_rows: int) -> Buffers:
        """Make buffers of this shape, or take those there are; the last stack and the last part of a batch may be smaller."""
        key = (n_updates, n_replicas, n_rows)
        if key not in self._buffers:
            self._buffers[key] = Buffers(self.model, *key, self.params.dtype)
        return self._buffers[key]

    def evaluate(self, X: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Mean cross-entropy and accuracy of every replica.

        Parameters
        ----------
        X : ndarray of shape (n, n_features)
            The examples.
        y : ndarray of int, shape (n,)
            Their classes.

        Returns
        -------
        loss, accuracy : ndarray of shape (n_replicas,)
            Cross-entropy without the L2 term, in nats, and the fraction predicted right.

        Notes
        -----
        All replicas see the same examples, so that their first layers are one wide product.
        """
        check.float_array("X", X, ("n", self.model.n_features))
        check.labels("y", y, len(X), self.model.n_classes)
        (_, width), n_replicas = self.model.layer_shapes[0], len(self.params)
        first, *others = layers_of(self.model, self.params)
        wide = np.ascontiguousarray(first.transpose(1, 0, 2)).reshape(-1, n_replicas * width)
        n_rows = max(64, min(_ROWS, (_ROWS << 7) // (n_replicas * width)))
        buffer = np.empty((n_rows, wide.shape[1]), self.params.dtype)
        zeros = np.zeros_like(buffer)
        loss, n_right, tanh = np.zeros(n_replicas), np.zeros(n_replicas), self.model.activation == "tanh"
        with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
            for start in range(0, len(X), n_rows):
                labels = y[start : start + n_rows]
                n = len(labels)
                z = np.matmul(X[start : start + n_rows], wide[:-1], out=buffer[:n])
                z += wide[-1]
                if others and not tanh:
                    np.maximum(z, zeros[:n], out=z)
                h = z.reshape(n, n_replicas, width).transpose(1, 0, 2)
                for depth, layer in enumerate(others):
                    if tanh:
                        h = np.tanh(h, out=h)
                    elif depth:
                        h = np.maximum(h, 0, out=h)
                    h = swap(swap(layer[:, :-1]) @ swap(h) + layer[:, -1, :, None])
                logits = swap(h)
                top = logits.max(axis=1)
                n_right += np.count_nonzero(logits.argmax(axis=1) == labels, axis=1)
                picked = logits[:, labels, np.arange(n)]
                loss += (np.log(np.exp(logits - top[:, None]).sum(axis=1)) + (top - picked)).sum(axis=1, dtype=float)
        n_right[np.isnan(loss)] = np.nan
        return loss / len(X), n_right / len(X)

    def _states(self) -> list[Any]:
        """Return what the readable loop's optimizer would hold now, for each replica."""
        return [state for _, stack in self._stacks for state in stack.optimizer.states()]

    def _resume(self, states: Any) -> None:
        """Take over such states."""
        given = check.items("state", states, len(self.params), "History.state")
        for rows, stack in self._stacks:
            stack.optimizer.resume(given[rows])

    def save(self) -> list[Any]:
        """Copy the state of training: parameters and optimizers'.

        Returns
        -------
        list
            For `load`; what is in it may change.
        """
        return [stack.save() for _, stack in self._stacks]

    def load(self, saved: list[Any]) -> None:
        """Go back to a state of training.

        Parameters
        ----------
        saved : list
            From `save`, of this trainer.
        """
        for (_, stack), state in zip(self._stacks, check.items("saved", saved, len(self._stacks)), strict=True):
            stack.load(state)
