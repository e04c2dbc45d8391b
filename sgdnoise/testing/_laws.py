"""A law, and how it is tried on many cases."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from .. import _checks as check
from ._search import Case, Draw, search


class LawError(AssertionError):
    """An implementation breaks a law.

    Parameters
    ----------
    law : str
        The law that broke.
    counterexample : dict
        The smallest input found that breaks it.
    got : object
        What the implementation gave, or the exception it raised.
    expected : object
        What the law demands.
    hint : str, default ""
        What the implementation looks like, and what it was taken for.
    """

    __module__ = "sgdnoise.testing"

    def __init__(self, law: str, counterexample: dict[str, Any], got: object, expected: object, hint: str = "") -> None:
        super().__init__(law, counterexample, got, expected, hint)
        self.law = law
        self.counterexample = counterexample
        self.got = got
        self.expected = expected
        self.hint = hint

    def with_hint(self, hint: str) -> LawError:
        """Return the same error with another hint."""
        return LawError(self.law, self.counterexample, self.got, self.expected, hint)

    def __str__(self) -> str:
        """Show the law, the counterexample, both values and the hint."""
        inputs = ", ".join(f"{name}={value}" for name, value in self.counterexample.items())
        lines = [f"law broken: {self.law}", f"counterexample: {inputs}", f"expected: {self.expected}", f"got: {self.got}"]
        return "\n  ".join([*lines, *self.hint.splitlines()])


class UndecidedError(Exception):
    """A case on which a law cannot be judged, and why."""


class Comparison(NamedTuple):
    """One case of a law."""

    get: Callable[[], Any]
    """Gives the implementation's value."""

    expected: Any
    inputs: dict[str, Any]
    """By name, for the message."""

    slack: float = 0.0
    """What rounding may change the value by, whatever its size."""


@dataclass(frozen=True)
class Law:
    """A law's name, what to try it on (in turn, if it is a sequence), and how to compare."""

    name: str
    draw: Draw | Sequence[Case] = field(repr=False)
    compare: Callable[[Case], Comparison] = field(repr=False)


def check_laws(laws: Sequence[Law], rtol: float, n_cases: int = 25) -> tuple[str, ...]:
    """Try each law on many cases, to a tolerance relative to the largest value expected; return their names."""
    for law in laws:
        _check_law(law, rtol, n_cases)
    return tuple(law.name for law in laws)


def _check_law(law: Law, rtol: float, n_cases: int) -> None:
    """Raise `LawError` with the smallest case found that breaks the law."""
    undecided: list[str] = []
    n_decided = n_returned = 0

    def failure(case: Case) -> tuple[dict[str, Any], object, object, Exception | None] | None:
        nonlocal n_decided, n_returned
        inputs: dict[str, Any] = {}
        try:
            get, expected, inputs, slack = law.compare(case)
            n_decided += 1
            try:
                got = get()
                n_returned += 1
            except (ArithmeticError, ValueError, Warning) as error:  # the input, and not only the code, has a part in it
                return inputs, f"{type(error).__name__}: {error}", expected, error
        except UndecidedError as reason:
            undecided.append(str(reason))
            return None
        except Exception as error:
            raise _with_note(error, law, inputs) from error.__cause__
        return None if close(got, expected, rtol, slack) else (inputs, got, expected, None)

    found = search(law.name, law.draw, failure, n_cases)
    if found is not None:
        inputs, got, expected, error = found
        if isinstance(error, ValueError) and not n_returned:  # it accepts nothing, which is no matter of the input
            raise _with_note(error, law, inputs)
        raise LawError(law.name, inputs, got, expected) from error
    if not n_decided:
        raise ValueError(f"{law.name}: no verdict, {undecided[0]}")


def _with_note(error: Exception, law: Law, inputs: dict[str, Any]) -> Exception:
    """Say in a note where an implementation raised an error of its own."""
    at = "".join(f"\n  {name}={value}" for name, value in inputs.items())
    error.add_note(f"while the implementation was tried on the law: {law.name}{at}")
    return error


def close(got: Any, expected: Any, rtol: float, slack: float = 0.0) -> bool:
    """Whether two numbers or arrays agree; NaN never does, nor what is no real number."""
    try:
        if not rtol:
            return bool(got == expected)
        array = np.asarray(got)
        if array.dtype.kind not in "iufO":
            return False
        got, expected = array.astype(float), np.asarray(expected, float)
    except Exception:
        return False
    if got.shape != expected.shape:
        return False
    size = float(np.max(np.abs(expected), initial=0.0))
    return bool(np.all(np.abs(got - expected) <= rtol * size + slack))


def dtype_and_rtol(dtype: Any, rtol: Any, defaults: dict[str, float]) -> tuple[np.dtype, float]:
    """Return the dtype and the tolerance to check with, by default that of the dtype."""
    dtype = check.precision("dtype", dtype)
    return dtype, defaults[dtype.name] if rtol is None else float(check.number("rtol", rtol, above=0, below=1))
