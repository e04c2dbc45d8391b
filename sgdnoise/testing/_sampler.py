"""The laws of minibatch samplers."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from .. import _checks as check
from ..sampling import SAMPLINGS
from ._laws import Comparison, Law, LawError, check_laws
from ._strategies import batches

_Z_MAX = 5.5  # two-sided normal probability 4e-8
_N_EPOCHS = 4000


def check_sampler(fn: Callable[..., Iterable[np.ndarray]], *, sampling: str = "reshuffle") -> tuple[str, ...]:
    """Check a source of minibatches; return the laws that hold, or raise `LawError` with the first that does not.

    Parameters
    ----------
    fn : callable
        ``fn(n_train, batch_size, rng=rng)`` gives the batches of one epoch, arrays of indices, drawn from a
        `numpy.random.Generator`.
    sampling : {"reshuffle", "without_replacement", "with_replacement"}, default "reshuffle"
        What it is meant to do.

    Notes
    -----
    Measured over 4000 epochs of N = 7 and B = 3: how often each example comes in each batch; and the noise of a batch, the mean
    over it of numbers of mean 0 and variance S (divisor N - 1): its variance, (1/B - 1/N) S or, with replacement,
    S (N-1)/(N B); the covariance of two batches of an epoch, -S/N if reshuffled and 0 else; and that of an epoch with the next,
    0. Each within 5.5 standard errors: 17 comparisons, false-positive rate below 1e-6 together.

    References
    ----------
    Tutorial 9, ``tutorials/09_test_your_own.md``.

    Examples
    --------
    >>> from functools import partial
    >>> from sgdnoise import minibatches
    >>> laws = check_sampler(minibatches)
    >>> laws = check_sampler(partial(minibatches, sampling="with_replacement"), sampling="with_replacement")
    """
    from hypothesis import strategies as st

    check.choice("sampling", sampling, SAMPLINGS)

    def epoch(n_train: int, batch_size: int, seed: int) -> list[list[int]]:
        return [np.asarray(batch).tolist() for batch in fn(n_train, batch_size, rng=np.random.default_rng(seed))]

    def case_inputs(case: tuple[tuple[int, int], int]) -> dict[str, Any]:
        (batch_size, n_train), seed = case
        return {"n_train": n_train, "batch_size": batch_size, "seed": seed}

    def about(property_of: Callable[[list[list[int]], int, int], Any], expected: Callable[[int, int], Any]) -> Any:
        """Compare a property of an epoch (batches, B, N) with what it has to be."""

        def compare(case: tuple[tuple[int, int], int]) -> Comparison:
            (b, n), seed = case
            return lambda: property_of(epoch(n, b, seed), b, n), expected(b, n), case_inputs(case)

        return compare

    cases = st.tuples(batches(40), st.integers(0, 1000))
    laws: list[Law] = [
        ("an epoch has N // B batches of B", cases, about(lambda e, b, n: [len(x) for x in e], lambda b, n: [b] * (n // b))),
        (
            "indices are from 0 to N - 1",
            cases,
            about(lambda e, b, n: [i for x in e for i in x if not 0 <= i < n], lambda b, n: []),
        ),
    ]
    if sampling != "with_replacement":
        laws.append(
            (
                "no example comes twice in a batch",
                cases,
                about(lambda e, b, n: [x for x in e if len(set(x)) < len(x)], lambda b, n: []),
            )
        )
    if sampling == "reshuffle":
        laws.append(
            (
                "no example comes twice in an epoch",
                cases,
                about(lambda e, b, n: len({i for x in e for i in x}), lambda b, n: n // b * b),
            )
        )
    names = check_laws(laws, rtol=0)
    return names + _check_noise(fn, sampling)


def _check_noise(fn: Callable[..., Iterable[np.ndarray]], sampling: str) -> tuple[str, ...]:
    n, b = 7, 3
    rng = np.random.default_rng(0)
    drawn = np.array([[np.asarray(batch) for batch in fn(n, b, rng=rng)] for _ in range(_N_EPOCHS)])
    counts = (drawn[..., None] == np.arange(n)).sum(axis=2)  # epoch, batch, example
    values = np.arange(n) - (n - 1) / 2
    first, second = (counts @ (values / values.std(ddof=1)) / b).T  # noise of the two batches of an epoch, with S = 1
    variance = (n - 1) / (n * b) if sampling == "with_replacement" else 1 / b - 1 / n
    within = -1 / n if sampling == "reshuffle" else 0.0
    equally_likely = "every example is equally likely in every batch"
    laws = [(equally_likely, counts[:, batch, i], b / n) for batch in (0, 1) for i in range(n)]
    laws += [
        # The two batches of an epoch are averaged first: reshuffled ones are not independent, and epochs are.
        ("the variance of a batch's noise", (first**2 + second**2) / 2, variance),
        ("the covariance of two batches of an epoch", first * second, within),
        ("an epoch is independent of the one before", (first[1:] * first[:-1] + second[1:] * second[:-1]) / 2, 0.0),
    ]
    for law, sample, expected in laws:
        error = sample.std(ddof=1) / np.sqrt(len(sample))
        if not abs(sample.mean() - expected) <= _Z_MAX * error:
            got = f"{sample.mean():.4f} +- {error:.4f} over {_N_EPOCHS} epochs"
            raise LawError(law, {"n_train": n, "batch_size": b, "sampling": sampling}, got, f"{expected:.4f}")
    return (equally_likely, *(law for law, _, _ in laws[-3:]))
