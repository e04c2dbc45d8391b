"""A law, and how it is tried on many cases."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from hypothesis.strategies import SearchStrategy

Case = Any
"""What a strategy draws."""

Comparison = tuple[Callable[[], Any], Any, dict[str, Any]]
"""How to get the implementation's value, the value expected, and the inputs by name."""

Law = tuple[str, "SearchStrategy[Any]", Callable[[Case], Comparison]]
"""A law's name, what to try it on, and how to compare."""


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
    """

    __module__ = "sgdnoise.testing"

    def __init__(self, law: str, counterexample: dict[str, Any], got: object, expected: object) -> None:
        super().__init__(law, counterexample, got, expected)
        self.law = law
        self.counterexample = counterexample
        self.got = got
        self.expected = expected

    def __str__(self) -> str:
        """Show the law, the counterexample, and both values."""
        inputs = ", ".join(f"{name}={value}" for name, value in self.counterexample.items())
        return f"law broken: {self.law}\n  counterexample: {inputs}\n  expected: {self.expected}\n  got: {self.got}"


def check_laws(laws: Sequence[Law], rtol: float, atol: float = 0.0, max_examples: int = 25) -> tuple[str, ...]:
    """Try each law on many cases, to a tolerance relative to the largest value expected; return their names."""
    for law in laws:
        _check_law(law, rtol, atol, max_examples)
    return tuple(name for name, _, _ in laws)


def _check_law(law: Law, rtol: float, atol: float, max_examples: int) -> None:
    """Raise `LawError` with the smallest case found that breaks the law."""
    from hypothesis import HealthCheck, Phase, given, settings

    name, strategy, compare = law

    @settings(
        max_examples=max_examples,
        deadline=None,
        derandomize=True,
        database=None,
        report_multiple_bugs=False,
        phases=set(Phase) - {Phase.explain},  # which would take half of the time of a failure, and is not passed on
        suppress_health_check=list(HealthCheck),
    )
    @given(strategy)
    def holds(case: Case) -> None:
        get, expected, inputs = compare(case)
        try:
            got = get()
        except Exception as error:
            raise LawError(name, inputs, f"{type(error).__name__}: {error}", expected) from error
        if not _close(got, expected, rtol, atol):
            raise LawError(name, inputs, got, expected)

    try:
        holds()
    except LawError as error:
        raise LawError(*error.args) from error.__cause__  # without the notes and the frames of the search


def _close(got: Any, expected: Any, rtol: float, atol: float) -> bool:
    """Whether two numbers or arrays agree; NaN never does."""
    if not rtol:
        return bool(got == expected)
    got, expected = np.asarray(got, float), np.asarray(expected, float)
    if got.shape != expected.shape:
        return False
    size = float(np.max(np.abs(expected), initial=0.0))
    return bool(np.all(np.abs(got - expected) <= rtol * size + atol))
