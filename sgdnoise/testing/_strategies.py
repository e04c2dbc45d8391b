"""What the checks draw their inputs from, and the same as strategies of Hypothesis."""

from __future__ import annotations

from fractions import Fraction
from typing import TYPE_CHECKING, Any

from .. import _checks as check
from ._search import Draw, Integer

if TYPE_CHECKING:
    from hypothesis.strategies import SearchStrategy

_MOMENTA = (*(Fraction(k, 8) for k in range(8)), Fraction(9, 10), Fraction(99, 100), Fraction(999, 1000))
_RATES = (Fraction(1), Fraction(1, 2), Fraction(1, 8), Fraction(2))


def a_learning_rate(integer: Integer) -> Fraction:
    """Make a learning rate."""
    return Fraction(integer(1, 1000), integer(1, 1000))


def a_momentum(integer: Integer) -> Fraction:
    """Make a momentum."""
    return _MOMENTA[integer(0, len(_MOMENTA) - 1)]


def a_batch(integer: Integer, max_n_train: int = 10**6) -> tuple[int, int]:
    """Make B and N, first N and then B."""
    n = integer(1, max_n_train)
    return integer(1, n), n


def a_sequence(integer: Integer, longest: int = 8) -> list[tuple[int, Fraction]]:
    """Make gradients and learning rates."""
    return [(signed(integer, 5), one_of(integer, _RATES)) for _ in range(integer(1, longest))]


def always(value: Any) -> Draw:
    """Draw nothing."""
    return lambda integer: value


def one_of(integer: Integer, options: Any) -> Any:
    """Choose, the first being the simplest."""
    return options[integer(0, len(options) - 1)]


def signed(integer: Integer, size: int) -> int:
    """Make a whole number from -size to size: 0, 1, -1, 2, -2, ..., the first being the simplest."""
    k = integer(0, 2 * size)
    return (k + 1) // 2 if k % 2 else -(k // 2)


def _strategy(draw_case: Draw) -> SearchStrategy[Any]:
    """Turn what the checks draw from into a strategy."""
    try:
        from hypothesis import strategies as st
    except ImportError as error:
        raise ModuleNotFoundError('strategies need Hypothesis: pip install "sgdnoise[test]"', name="hypothesis") from error
    return st.composite(lambda draw: draw_case(lambda low, high: draw(st.integers(low, high))))()


def learning_rates() -> SearchStrategy[Fraction]:
    """Strategy for learning rates: fractions of whole numbers from 1 to 1000, the simplest being 1."""
    return _strategy(a_learning_rate)


def momenta() -> SearchStrategy[Fraction]:
    """Strategy for momenta: eighths from 0 to 7/8, which floating point holds exactly, and 9/10, 99/100 and 999/1000."""
    return _strategy(a_momentum)


def batches(max_n_train: int = 10**6) -> SearchStrategy[tuple[int, int]]:
    """Strategy for pairs (batch_size, n_train): first N from 1 to `max_n_train`, then B from 1 to N."""
    largest = check.integer("max_n_train", max_n_train)
    return _strategy(lambda integer: a_batch(integer, largest))


def gradient_sequences() -> SearchStrategy[list[tuple[int, Fraction]]]:
    """Strategy for what an optimizer meets: lists of 1 to 8 pairs (gradient, learning_rate), one for each update."""
    return _strategy(a_sequence)
