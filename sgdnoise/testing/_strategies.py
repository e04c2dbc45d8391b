"""What the checks draw their inputs from."""

from __future__ import annotations

from fractions import Fraction
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hypothesis.strategies import SearchStrategy


def learning_rates() -> SearchStrategy[Fraction]:
    """Strategy for learning rates: fractions of whole numbers from 1 to 1000, the simplest being 1."""
    from hypothesis import strategies as st

    return st.builds(Fraction, st.integers(1, 1000), st.integers(1, 1000))


def momenta() -> SearchStrategy[Fraction]:
    """Strategy for momenta: fractions, eighths from 0 to 7/8, which floating point holds exactly."""
    from hypothesis import strategies as st

    return st.integers(0, 7).map(lambda k: Fraction(k, 8))


def batches(max_n_train: int = 10**6) -> SearchStrategy[tuple[int, int]]:
    """Strategy for pairs (batch_size, n_train): first N from 1 to `max_n_train`, then B from 1 to N."""
    from hypothesis import strategies as st

    return st.integers(1, max_n_train).flatmap(lambda n: st.tuples(st.integers(1, n), st.just(n)))


def gradient_sequences() -> SearchStrategy[list[tuple[int, Fraction]]]:
    """Strategy for what an optimizer meets: lists of 1 to 8 pairs (gradient, learning_rate), one for each update."""
    from hypothesis import strategies as st

    rates = st.sampled_from([Fraction(1), Fraction(1, 2), Fraction(1, 8), Fraction(2)])
    return st.lists(st.tuples(st.integers(-5, 5), rates), min_size=1, max_size=8)
