"""What the checks draw their inputs from."""

from __future__ import annotations

from fractions import Fraction
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hypothesis.strategies import SearchStrategy


def learning_rates() -> SearchStrategy[Fraction]:
    """Strategy for learning rates: fractions of whole numbers from 1 to 1000, the simplest being 1.

    Returns
    -------
    SearchStrategy
        Of `fractions.Fraction`.
    """
    from hypothesis import strategies as st

    return st.builds(Fraction, st.integers(1, 1000), st.integers(1, 1000))


def momenta() -> SearchStrategy[Fraction]:
    """Strategy for momenta: eighths from 0 to 7/8, which floating point holds exactly.

    Returns
    -------
    SearchStrategy
        Of `fractions.Fraction`.
    """
    from hypothesis import strategies as st

    return st.integers(0, 7).map(lambda k: Fraction(k, 8))


def batches(max_n_train: int = 10**6) -> SearchStrategy[tuple[int, int]]:
    """Strategy for a batch size and a training-set size, N first and then B from 1 to N.

    Parameters
    ----------
    max_n_train : int, default 1000000
        Largest N.

    Returns
    -------
    SearchStrategy
        Of pairs (batch_size, n_train).
    """
    from hypothesis import strategies as st

    return st.integers(1, max_n_train).flatmap(lambda n: st.tuples(st.integers(1, n), st.just(n)))


def gradient_sequences() -> SearchStrategy[list[tuple[int, Fraction]]]:
    """Strategy for what an optimizer meets: a gradient and a learning rate for each of 1 to 8 updates.

    Returns
    -------
    SearchStrategy
        Of lists of pairs (gradient, learning_rate).
    """
    from hypothesis import strategies as st

    rates = st.sampled_from([Fraction(1), Fraction(1, 2), Fraction(1, 8), Fraction(2)])
    return st.lists(st.tuples(st.integers(-5, 5), rates), min_size=1, max_size=8)
