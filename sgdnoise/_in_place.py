"""Optimizers that update in place, in few passes over memory; `fast` has `in_place` as a public name."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
from scipy.linalg.blas import get_blas_funcs

from . import _checks as check
from .optimizers import Adam, AdamState, Optimizer, Sgd, SgdState, state_for, step_of

BLOCK = 1 << 16
"""Parameters that are updated at a time, so that all arrays' blocks stay in the cache from the first pass to the last."""


class InPlace:
    """An optimizer at work on one array of parameters, which it changes; made by `in_place`.

    Parameters
    ----------
    optimizer : Optimizer
        What it does.
    params : ndarray
        The parameters, contiguous.
    step : callable
        ``step(learning_rate, n_updates, gradient, params, *slots)`` changes one-dimensional blocks in place.
    n_slots : int
        Arrays of the parameters' shape that hold the optimizer's state.
    trades : bool
        Whether `step` leaves the new state of the first slot in the place of the gradient, so that the two arrays are traded.
    """

    def __init__(
        self, optimizer: Optimizer, params: np.ndarray, step: Callable[..., object], n_slots: int, trades: bool = False
    ) -> None:
        self._optimizer, self._params, self._step, self._trades = optimizer, params, step, trades
        self._slots = [np.zeros_like(params) for _ in range(n_slots)]
        self._n_updates = 0

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle or copy it with its parameters, which the copy then changes."""
        return _restored, (self._optimizer, self._params, self.save())

    def __call__(self, gradient: np.ndarray, learning_rate: float) -> np.ndarray:
        """Update the parameters.

        Parameters
        ----------
        gradient : ndarray
            Of the shape and dtype of the parameters, contiguous. Its contents are lost.
        learning_rate : float
            Multiplies the step.

        Returns
        -------
        ndarray
            Where to put the next gradient: `gradient`, or the array for which the optimizer has kept it.

        Raises
        ------
        TypeError, ValueError
            If `gradient` is not such an array, or is the one that the optimizer has kept, or `learning_rate` is not finite.
        """
        p = self._params
        learning_rate = check.finite("learning_rate", learning_rate)
        if not ((type(gradient) is np.ndarray or check.plain_array(gradient)) and gradient.dtype == p.dtype):
            came = gradient.dtype if check.plain_array(gradient) else type(gradient).__name__
            raise TypeError(f"gradient must be an array of {p.dtype}, as params is, got {came}")
        if gradient.shape != p.shape or not gradient.flags.carray:
            shown = f"shape {gradient.shape}" if gradient.shape != p.shape else "one that is not"
            raise ValueError(f"gradient must be of shape {p.shape}, as params is, C-contiguous and writeable, got {shown}")
        if self._trades and gradient is self._slots[0]:
            raise ValueError("gradient must be put into the array that the last call returned, got the one given to it")
        with np.errstate(over="ignore", invalid="ignore"):  # what overflows is seen in the parameters
            return self.advance(gradient, learning_rate)

    def advance(self, gradient: np.ndarray, learning_rate: float) -> np.ndarray:
        """Update the parameters without a look at the gradient, for a loop whose arrays are its own."""
        self._n_updates += 1
        arrays = [array.reshape(-1) for array in (gradient, self._params, *self._slots)]
        n = len(arrays[0])
        length = n if n <= 2 * BLOCK else BLOCK
        for start in range(0, n, length):
            self._step(learning_rate, self._n_updates, *(array[start : start + length] for array in arrays))
        if self._trades:
            self._slots[0], gradient = gradient, self._slots[0]
        return gradient

    def save(self) -> Any:
        """Copy the state, without the parameters.

        Returns
        -------
        tuple
            For `load`; what is in it may change.
        """
        return self._n_updates, [slot.copy() for slot in self._slots]

    def states(self) -> list[Any]:
        """Return what `Optimizer.update` would hold now, for each row of the parameters."""
        rule, rows = self._optimizer, zip(*self._slots, strict=True)
        if isinstance(rule, Adam):
            return [AdamState(self._n_updates, u * (1 - rule.b1), s * (1 - rule.b2)) for u, s in rows]
        traces = self._slots[0] if self._slots else np.zeros_like(self._params)
        return [SgdState(trace.copy()) for trace in traces]

    def resume(self, states: Sequence[Any]) -> None:
        """Take over such states, one for each row of the parameters."""
        rule = self._optimizer
        states = [state_for(rule, row, state) for row, state in zip(self._params, states, strict=True)]
        if isinstance(rule, Adam):
            if len(counts := {state.n_updates for state in states}) > 1:
                raise ValueError(f"state must be of replicas after equally many updates, got {sorted(counts)}")
            (self._n_updates,) = counts
        for i, state in enumerate(states):
            for slot, values in zip(self._slots, state[len(state) - len(self._slots) :], strict=True):
                slot[i] = values
        if isinstance(rule, Adam):
            self._slots[0] /= 1 - rule.b1
            self._slots[1] /= 1 - rule.b2

    def load(self, saved: Any) -> None:
        """Go back to a state.

        Parameters
        ----------
        saved : tuple
            From `save`, of this optimizer.
        """
        n_updates, slots = check.two("saved", saved, "from save()")
        n_updates = check.integer("saved[0]", n_updates, 0)
        slots = check.items("saved[1]", slots, len(self._slots))
        checked = [check.floats("saved[1]", values, slot) for slot, values in zip(self._slots, slots, strict=True)]
        self._n_updates = n_updates
        for slot, values in zip(self._slots, checked, strict=True):
            slot[:] = values


def in_place(optimizer: Optimizer, params: np.ndarray) -> InPlace:
    """Return an optimizer that changes `params`, block by block, and makes no array of their size in doing so.

    Parameters
    ----------
    optimizer : Optimizer
        From `sgd` or `adam`.
    params : ndarray
        Float32 or float64, C-contiguous, of any shape. Every update changes it.

    Returns
    -------
    InPlace
        ``gradient = update(gradient, learning_rate)`` does one update and returns where to put the next gradient.

    Notes
    -----
    The same steps as ``optimizer.update``, up to rounding, in fewer passes over memory::

        a <- gradient + m a,  w <- w - learning_rate a                                    (gradient and a trade places)
        w <- w - learning_rate ((1 + m) a_new - m a_old)                                  (Nesterov: gradient + m a_new)
        U <- b1 U + gradient,  S <- b2 S + gradient^2                                     (Adam, without 1 - b1 and 1 - b2)
        w <- w - learning_rate c/r U/(sqrt(S) + eps/r),  c = (1 - b1)/(1 - b1^t),  r^2 = (1 - b2)/(1 - b2^t)

    A block of every array involved stays in the cache from the first pass to the last.

    Examples
    --------
    >>> from sgdnoise import sgd
    >>> params, gradient = np.array([1.0, 2.0]), np.array([1.0, 1.0])
    >>> update = in_place(sgd(momentum=0.5), params)
    >>> gradient = update(gradient, 0.1)
    >>> gradient[:] = 0
    >>> gradient = update(gradient, 0.1)
    >>> params
    array([0.85, 1.85])
    """
    check.attributes("optimizer", optimizer, ("init", "update"), hint="call sgd() or adam() to get one")
    check.floats("params", params)
    if not params.flags.c_contiguous:
        raise ValueError("params must be C-contiguous, got a view that is not; updates would miss it")
    if not params.flags.writeable:
        raise ValueError("params must be writeable, got a read-only array; every update changes it")
    known = _known(optimizer, params)
    if known is None:
        raise TypeError(f"optimizer must be one that sgd() or adam() made, got {optimizer!r}")
    return known


def _restored(optimizer: Optimizer, params: np.ndarray, saved: Any) -> InPlace:
    update = in_place(optimizer, params)
    update.load(saved)
    return update


def _known(optimizer: Optimizer, params: np.ndarray) -> InPlace | None:
    """Return the optimizer in place, or None if it is the user's own."""
    if type(optimizer) is Adam:  # a class that inherits from ours may have another update
        return InPlace(optimizer, params, partial(_adam_step, optimizer), 2)
    if type(optimizer) is not Sgd:
        return None
    axpy, m = get_blas_funcs("axpy", dtype=params.dtype), optimizer.momentum
    if m == 0:
        return InPlace(optimizer, params, lambda learning_rate, t, g, w: axpy(g, w, a=-learning_rate), 0)
    step = partial(_nesterov_step if optimizer.nesterov else _momentum_step, m, axpy)
    return InPlace(optimizer, params, step, 1, trades=True)


def _momentum_step(m: float, axpy: Any, learning_rate: float, t: int, g: np.ndarray, w: np.ndarray, a: np.ndarray) -> None:
    axpy(a, g, a=m)
    axpy(g, w, a=-learning_rate)


def _nesterov_step(m: float, axpy: Any, learning_rate: float, t: int, g: np.ndarray, w: np.ndarray, a: np.ndarray) -> None:
    axpy(a, g, a=m)
    axpy(g, w, a=-learning_rate * (1 + m))
    axpy(a, w, a=learning_rate * m)


def _adam_step(rule: Adam, learning_rate: float, t: int, g: np.ndarray, w: np.ndarray, u: np.ndarray, s: np.ndarray) -> None:
    b1, b2 = rule.b1, rule.b2
    np.multiply(u, b1, out=u)
    np.add(u, g, out=u)
    np.multiply(g, g, out=g)
    np.multiply(s, b2, out=s)
    np.add(s, g, out=s)
    np.sqrt(s, out=g)
    r = math.sqrt((1 - b2) / (1 - b2**t))
    eps = g.dtype.type(rule.eps / r)
    if eps:
        np.add(g, eps, out=g)
        np.divide(u, g, out=g)
    else:  # (or too small for the dtype) a parameter whose gradients were all 0 has 0/0, and stays where it is
        np.divide(u, g, out=g, where=g != 0)
    np.multiply(g, learning_rate * (1 - b1) / (1 - b1**t) / r, out=g)
    np.subtract(w, g, out=w)


class OneByOne:
    """An optimizer of the user's own, called for one replica after another."""

    def __init__(self, optimizer: Optimizer, params: np.ndarray) -> None:
        self.params, self.optimizer = params, optimizer
        self._states = [optimizer.init(row.copy()) for row in params]  # a state may keep what it was given

    def advance(self, gradient: np.ndarray, learning_rate: float) -> np.ndarray:
        for i, row in enumerate(self.params):
            step, self._states[i] = step_of(self.optimizer, gradient[i].copy(), self._states[i], learning_rate)
            row += step
        return gradient

    def states(self) -> list[Any]:
        return list(self._states)  # they are never changed in place

    def resume(self, states: Sequence[Any]) -> None:
        self._states = [state_for(self.optimizer, row, state) for row, state in zip(self.params, states, strict=True)]

    def save(self) -> Any:
        return self.states()

    def load(self, saved: Any) -> None:
        self._states = list(check.items("saved", saved, len(self.params)))


def at_work(optimizer: Optimizer, params: np.ndarray) -> InPlace | OneByOne:
    """Return any optimizer at work on the rows of `params`: in place if it can be, or called for one row after another."""
    return _known(optimizer, params) or OneByOne(optimizer, params)
