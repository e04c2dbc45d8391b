"""What the integrators share: where their noise comes from, what they record, and how they notice that they diverged."""

from __future__ import annotations

import math
from collections.abc import Callable
from types import MethodType
from typing import Any

import numpy as np

from . import _checks as check
from .normals import INCREMENTS, filler

CHECK_EVERY = 100
"""Steps between two looks for values that are not finite. Such values do not go away, so that looking late loses nothing."""


class TrajectoryDivergenceError(FloatingPointError):
    """A trajectory diverged: some walkers are not finite any more.

    Like `sgdnoise.DivergenceError`, which training raises, it is an `ArithmeticError`.

    Parameters
    ----------
    step : int
        Steps done when it was found, at most 99 steps after it happened.
    step_size : float
        In force at that step.
    n_lost, n_walkers : int
        Walkers that are not finite, and all walkers.
    """

    def __init__(self, step: int, step_size: float, n_lost: int, n_walkers: int) -> None:
        super().__init__(step, step_size, n_lost, n_walkers)
        self.step = step
        self.step_size = step_size
        self.n_lost = n_lost
        self.n_walkers = n_walkers

    def __str__(self) -> str:
        """Say what happened and what may help."""
        return (
            f"the trajectory diverged: {self.n_lost} of {self.n_walkers} walkers are not finite after {self.step} steps at "
            f"step size {self.step_size:g}; a smaller step may help"
        )


def start(x0: object, n_steps: object, record_every: object) -> tuple[np.ndarray, int, int]:
    """Check what every integrator takes; return a C-contiguous copy of `x0`, and the two integers."""
    hint = "one row a walker; for one walker write x0[None, :]"
    x = check.float_array("x0", x0, ("n_walkers", "n_dims"), hint=hint).copy(order="C")
    n_steps = check.integer("n_steps", n_steps)
    hint = "only every record_every-th step is recorded"
    return x, n_steps, check.integer("record_every", record_every, 1, ("n_steps", n_steps), hint=hint)


def per_dimension(name: str, value: Any, like: np.ndarray, **bounds: Any) -> float | np.ndarray:
    """Return a float, or an array with one entry for each dimension in the dtype of `like`."""
    value = check.series(name, value, like.shape[1], "entry for each dimension", **bounds)
    return value.astype(like.dtype) if isinstance(value, np.ndarray) else value


def root_series(factor: Any, value: float | np.ndarray) -> Callable[[int], Any]:
    """Return the function t -> factor * sqrt(value at step t)."""
    if isinstance(value, np.ndarray):
        return lambda t: factor * math.sqrt(value[t])
    constant = factor * math.sqrt(value)
    return lambda t: constant


def checked(name: str, function: Any, shape: tuple[int, ...]) -> Callable[..., np.ndarray]:
    """Wrap a function of the user's so that an answer of another shape, which might broadcast unseen, is refused.

    A method of `energies` looks at its arguments in the first step only: in all others they are arrays of the integrator's own.
    """
    check.function(name, function)
    method = getattr(function, "unchecked", None)
    later = function if method is None else MethodType(method, function.__self__)

    def call(*args: np.ndarray) -> np.ndarray:
        nonlocal function
        answer, function = function(*args), later
        if getattr(answer, "shape", None) != shape:
            came = getattr(answer, "shape", None) or f"type {type(answer).__name__}"
            raise ValueError(f"{name} must return an array of shape {shape}, one row a walker, got {came}")
        return answer  # type: ignore[no-any-return]

    return call


def noise_source(
    noise: object,
    rng: check.Seed,
    shape: tuple[int, ...],
    dtype: np.dtype,
    increments: object,
    *,
    signs: bool = False,
    alone: bool = True,
) -> Callable[[int, np.ndarray], None]:
    """Return the function (row, out) that fills `out`, of `dtype`, with increments, drawn or taken from rows of `noise`.

    `signs` says whether the scheme keeps its weak order with random signs.
    """
    options = tuple(name for name in INCREMENTS if signs or name != "signs")
    increments = check.choice("increments", increments, options, "signs keep the weak order of Euler-Maruyama steps only")
    if increments == "box-muller" and dtype != np.float32:
        raise ValueError(f"increments='box-muller' must come with float32 positions, got {dtype}; its uniforms have 24 bits")
    if noise is None:
        fill = filler(increments, rng)
        return lambda row, out: fill(out)
    if increments != "normal":
        raise ValueError(f"increments must be 'normal' when noise is given, got {increments!r}; noise holds the increments")
    if alone and rng is not None:
        raise ValueError("noise must be None when rng is given, got both; the numbers come from one of them")
    rows = check.float_array("noise", noise, shape, hint="standard normals, in the order in which they are used")
    return lambda row, out: np.copyto(out, rows[row])


def run(
    advance: Callable[[int], object],
    states: tuple[np.ndarray, ...],
    *,
    n_steps: int,
    record_every: int,
    step_size: Callable[[int], float],
) -> list[np.ndarray]:
    """Call ``advance(t)`` for t = 0 .. n_steps - 1, which changes `states` in place, and return the records of each state.

    Records are of the states at the start and after record_every, 2 record_every, ... steps. Nothing else is kept.
    """
    records = [np.empty((n_steps // record_every + 1, *state.shape), state.dtype) for state in states]
    for record, state in zip(records, states, strict=True):
        record[0] = state
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        for step in range(1, n_steps + 1):
            advance(step - 1)
            if step % record_every == 0:
                for record, state in zip(records, states, strict=True):
                    record[step // record_every] = state
            if step % CHECK_EVERY == 0 or step == n_steps:
                for state in states:
                    if not math.isfinite(state.sum()):
                        _refuse_infinite(state, step, step_size(step - 1))
    return records


def _refuse_infinite(state: np.ndarray, step: int, step_size: float) -> None:
    """Raise if `state` holds anything that is not finite (its sum alone may have overflowed)."""
    n_lost = int(np.count_nonzero(~np.isfinite(state).all(axis=1)))
    if n_lost:
        raise TrajectoryDivergenceError(step, step_size, n_lost, len(state))


def record_steps(n_steps: int, record_every: int) -> np.ndarray:
    """Steps done at each record."""
    return np.arange(0, n_steps + 1, record_every)
