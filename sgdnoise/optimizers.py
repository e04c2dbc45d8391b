"""SGD, with momentum and Nesterov's, and Adam, as pairs of pure functions.

An `Optimizer` is a pair ``(init, update)``: ``init(params)`` makes the state, ``update(gradient, state, learning_rate)`` gives
the step to ADD to the parameters and the next state. Nothing is changed in place. A custom optimizer is two functions; those of
`sgd` and `adam` are values, ``sgd(0.9) == sgd(momentum=0.9)``, and refuse what is not a number (TypeError) or out of its range
(ValueError), parameters and gradients that are not float32 or float64 (TypeError), a gradient of another shape, and a step that
overflows, unless NumPy is told to ignore that, as `train` does (ValueError). They compute in the precision of the parameters::

    a <- m a + gradient                              w <- w - learning_rate * a                  (momentum, trace form)
                                                     w <- w - learning_rate * (gradient + m a)   (Nesterov, with the new a)

    u <- b1 u + (1 - b1) gradient,  s <- b2 s + (1 - b2) gradient^2                              (Adam)
                                                     w <- w - learning_rate * u^ / (sqrt(s^) + eps)

with u^ = u/(1 - b1^t), s^ = s/(1 - b2^t) after t updates. With momentum the learning rate stands OUTSIDE the accumulator. The
velocity form, v <- m v - learning_rate * gradient, is the same while the learning rate is constant and differs as soon as it
changes. Smith et al. (2018) print the trace form in equations 6 to 9 with a minus sign missing.

References
----------
S. L. Smith, P.-J. Kindermans, C. Ying, Q. V. Le, ICLR 2018, arXiv:1711.00489.
D. P. Kingma, J. Ba, "Adam: A Method for Stochastic Optimization", ICLR 2015, arXiv:1412.6980.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass, fields, is_dataclass
from typing import Any, ClassVar, NamedTuple

import numpy as np

from . import _checks as check


class Optimizer:
    """A pair of pure functions that turn gradients into steps.

    Parameters
    ----------
    init : callable
        ``init(params) -> state``.
    update : callable
        ``update(gradient, state, learning_rate) -> (step, state)``; the new parameters are ``params + step``. The step has the
        gradient's shape; training refuses another, and keeps the parameters' precision whatever the step's is.

    Notes
    -----
    Two functions are enough for `train`. An optimizer that is a value, as those of `sgd` and `adam` are, is a frozen dataclass
    (``repr=False``) that inherits from this class, with its numbers as fields and ``init`` and ``update`` as methods. Equal
    numbers then make equal optimizers, which can be hashed and pickled, and the repr is the call that makes them in lower case.

    References
    ----------
    Tutorial 9, ``tutorials/09_test_your_own.md``.

    Examples
    --------
    The sign of the gradient, without any state:

    >>> signs = Optimizer(init=lambda params: None, update=lambda g, state, lr: (-lr * np.sign(g), None))
    >>> signs.update(np.array([3.0, -0.1]), signs.init(np.zeros(2)), 0.5)[0]
    array([-0.5,  0.5])
    """

    init: Callable[[np.ndarray], Any]
    update: Callable[[np.ndarray, Any, float], tuple[np.ndarray, Any]]

    def __init__(
        self, init: Callable[[np.ndarray], Any], update: Callable[[np.ndarray, Any, float], tuple[np.ndarray, Any]]
    ) -> None:
        self.init, self.update = check.function("init", init), check.function("update", update)

    def __repr__(self) -> str:
        """Write the call that makes this optimizer."""
        name = "Optimizer" if type(self) is Optimizer else type(self).__name__.lower()
        arguments = [field.name for field in fields(self)] if is_dataclass(self) else vars(self)
        return f"{name}({', '.join(f'{argument}={getattr(self, argument)!r}' for argument in arguments)})"


class _Ours(Optimizer):
    """What `Sgd` and `Adam` share: a look at what comes from outside; `start` and `advance`, without one, do the work."""

    state_type: ClassVar[Any]
    start: Callable[[np.ndarray], Any]
    advance: Callable[[np.ndarray, Any, float], tuple[np.ndarray, Any]]

    def init(self, params: np.ndarray) -> Any:
        """Return the state before the first update, in the parameters' precision, which is that of all steps."""
        return self.start(check.floats("params", params, hint=_CONVERT))

    def update(self, gradient: np.ndarray, state: Any, learning_rate: float) -> tuple[np.ndarray, Any]:
        """Return the step and the next state."""
        if not isinstance(state, self.state_type):
            came = f"{type(state).__name__}; init makes the first, update the next"
            raise TypeError(f"state must be of type {self.state_type.__name__}, got {came}")
        like = check.floats("state", state[-1])
        for part in state[1:-1]:  # Adam's mean
            check.floats("state", part, like)
        learning_rate = check.finite("learning_rate", learning_rate)
        carry_on = np.geterr()["over"] == "ignore"  # as in `train`, which looks at the loss
        try:
            with np.errstate(over="ignore" if carry_on else "raise", invalid="ignore"):
                return self.advance(check.floats("gradient", gradient, like, hint=_CONVERT), state, learning_rate)
        except FloatingPointError:
            came = f"an overflow of {like.dtype}; the gradient, or the learning rate of {learning_rate:g}, is too large"
            raise ValueError(f"the step and the next state must be finite, got {came}") from None


_CONVERT = "convert it with astype(float)"


class SgdState(NamedTuple):
    """State of `sgd`: the accumulator a, of the parameters' shape."""

    trace: np.ndarray


@dataclass(frozen=True, repr=False)
class Sgd(_Ours):
    """What `sgd` makes; `fast` reads its numbers and computes the same in place."""

    momentum: float
    nesterov: bool
    state_type: ClassVar[Any] = SgdState

    def start(self, params: np.ndarray) -> SgdState:
        """Return an empty accumulator."""
        return SgdState(np.zeros_like(params))

    def advance(self, gradient: np.ndarray, state: SgdState, learning_rate: float) -> tuple[np.ndarray, SgdState]:
        """Return the step and the next state."""
        trace = self.momentum * state.trace + gradient
        direction = gradient + self.momentum * trace if self.nesterov else trace
        return -learning_rate * direction, SgdState(trace)


class AdamState(NamedTuple):
    """State of `adam`: the number t of updates done, and the two moments u and s, not yet corrected for bias."""

    n_updates: int
    mean: np.ndarray
    mean_square: np.ndarray


@dataclass(frozen=True, repr=False)
class Adam(_Ours):
    """What `adam` makes; `fast` reads its numbers and computes the same in place."""

    b1: float
    b2: float
    eps: float
    state_type: ClassVar[Any] = AdamState

    def start(self, params: np.ndarray) -> AdamState:
        """Return moments of 0, after no update."""
        return AdamState(0, np.zeros_like(params), np.zeros_like(params))

    def advance(self, gradient: np.ndarray, state: AdamState, learning_rate: float) -> tuple[np.ndarray, AdamState]:
        """Return the step and the next state."""
        b1, b2, eps = self.b1, self.b2, self.eps
        n_updates = state.n_updates + 1
        mean = b1 * state.mean + (1 - b1) * gradient
        mean_square = b2 * state.mean_square + (1 - b2) * gradient**2
        scale = np.sqrt(mean_square / (1 - b2**n_updates)) + eps
        # With eps = 0 a parameter whose gradients were all 0 (or so small that their squares are) has 0/0, and stays as it is.
        direction = np.divide(mean / (1 - b1**n_updates), scale, out=np.zeros_like(mean), where=scale != 0)
        return -learning_rate * direction, AdamState(n_updates, mean, mean_square)


def state_for(optimizer: Optimizer, params: np.ndarray, state: Any = None) -> Any:
    """Return the state to begin with: a new one, or a copy of `state`, which of our own must fit these parameters."""
    if state is None:
        return optimizer.init(params.copy())  # it may keep what it is given
    if type(optimizer) not in (Sgd, Adam):
        return copy.deepcopy(state)
    wanted = optimizer.state_type  # type: ignore[attr-defined]
    if not isinstance(state, wanted):
        came = f"{type(state).__name__}; History.state is one"
        raise TypeError(f"state must be of type {wanted.__name__}, as {optimizer!r} makes, got {came}")
    parts = {}
    for name, part in state._asdict().items():
        if name == "n_updates":
            parts[name] = check.integer("state.n_updates", part, 0)
        else:
            parts[name] = check.floats(f"state.{name}", part, params).copy()
    return wanted(**parts)


def step_of(optimizer: Optimizer, gradient: np.ndarray, state: Any, learning_rate: float) -> tuple[np.ndarray, Any]:
    """Return what ``optimizer.update`` does; from a user's own, a step in the gradient's precision and of its shape or none."""
    if type(optimizer) in (Sgd, Adam):
        return optimizer.advance(gradient, state, learning_rate)  # type: ignore[attr-defined, no-any-return]
    answer = optimizer.update(gradient, state, learning_rate)
    step, state = check.two("what optimizer.update returns", answer, "step, state")
    return check.floats("the step that optimizer.update returns", step, gradient), state


def sgd(momentum: float = 0.0, nesterov: bool = False) -> Optimizer:
    """Stochastic gradient descent, with momentum in the trace form.

    Parameters
    ----------
    momentum : float, default 0
        The papers' m, in [0, 1).
    nesterov : bool, default False
        Look ahead by one step of momentum.

    Returns
    -------
    Optimizer
        With state `SgdState`.

    Notes
    -----
    ``a <- m a + gradient``; step ``-learning_rate * a``, or with Nesterov ``-learning_rate * (gradient + m a)``.

    Convention: a gradient moves the parameters by -learning_rate/(1 - m) times itself in all, which is where the 1/(1 - m) of
    the noise scale comes from. Nesterov does not need momentum above 0, and is then plain SGD.

    References
    ----------
    Smith et al. 2018, arXiv:1711.00489, equations 4 to 9 (with the sign put right).
    Tutorial 5, ``tutorials/05_momentum_and_adam.md``.

    Examples
    --------
    >>> optimizer = sgd(momentum=0.5)
    >>> state = optimizer.init(np.zeros(1))
    >>> for gradient in (1.0, 0.0, 0.0):
    ...     step, state = optimizer.update(np.array([gradient]), state, 0.1)
    ...     print(step)
    [-0.1]
    [-0.05]
    [-0.025]
    """
    momentum = float(check.number("momentum", momentum, at_least=0, below=1))
    return Sgd(momentum, check.flag("nesterov", nesterov))


def adam(b1: float = 0.9, b2: float = 0.999, eps: float = 1e-8) -> Optimizer:
    """Adam.

    Parameters
    ----------
    b1, b2 : float, default 0.9 and 0.999
        Decay rates of the mean and of the mean square of the gradient, in [0, 1).
    eps : float, default 1e-8
        Added to the root of the mean square, at least 0. (Not the learning rate, which the papers call eps.)

    Returns
    -------
    Optimizer
        With state `AdamState`.

    Notes
    -----
    Step ``-learning_rate * u^ / (sqrt(s^) + eps)``, both moments corrected for bias, eps outside the root. With eps = 0 the
    scale of the gradient drops out, as long as its square does not underflow.

    Convention: Adam has no noise scale g in this theory.

    References
    ----------
    Kingma and Ba 2015, arXiv:1412.6980, algorithm 1.
    Tutorial 5, ``tutorials/05_momentum_and_adam.md``.

    Examples
    --------
    The first step is the sign of the gradient times the learning rate:

    >>> optimizer = adam()
    >>> optimizer.update(np.array([5.0, -0.01]), optimizer.init(np.zeros(2)), 0.1)[0].round(6)
    array([-0.1,  0.1])
    """
    b1 = float(check.number("b1", b1, at_least=0, below=1))
    b2 = float(check.number("b2", b2, at_least=0, below=1))
    eps = float(check.number("eps", eps, at_least=0))
    return Adam(b1, b2, eps)
