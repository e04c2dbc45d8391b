"""The laws of the noise scale."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Sequence
from fractions import Fraction
from typing import TYPE_CHECKING, Any

from ._laws import Comparison, Law, check_laws
from ._strategies import batches, learning_rates, momenta

if TYPE_CHECKING:
    from hypothesis.strategies import SearchStrategy


def _enumerated_ratio(gradients: Sequence[int], batch_size: int, replace: bool) -> Fraction:
    """Variance of N/B times the sum over a batch, over every possible batch, divided by F."""
    n = len(gradients)
    draws: Iterable[tuple[int, ...]] = (
        itertools.product(gradients, repeat=batch_size) if replace else itertools.combinations(gradients, batch_size)
    )
    sums = [Fraction(n, batch_size) * sum(draw) for draw in draws]
    total = sum(gradients)
    variance = sum(((s - total) ** 2 for s in sums), Fraction(0)) / len(sums)
    covariance = sum(((g - Fraction(total, n)) ** 2 for g in gradients), Fraction(0)) / (n if replace else n - 1)
    return variance / covariance


def check_noise_scale(
    fn: Callable[..., Any], *, exact: bool = False, momentum: bool = True, replace: bool = True
) -> tuple[str, ...]:
    """Check a function for the noise scale g; return the laws that hold, or raise `LawError` with the first that does not.

    Parameters
    ----------
    fn : callable
        ``fn(learning_rate, batch_size, n_train)``, with the keywords ``momentum`` and ``replace`` unless excluded.
    exact : bool, default False
        Call it with `fractions.Fraction` and demand equality; else with floats, and to nine digits.
    momentum, replace : bool, default True
        Whether `fn` has the keyword.

    Notes
    -----
    The variance law: with the sum of N gradients estimated by N/B times the sum over a batch, N g/eps is the variance of that
    estimate over every possible batch, divided by the covariance F of the gradients (divisor N - 1, or N with replacement).

    References
    ----------
    Smith et al. 2018, arXiv:1711.00489, equations 3 to 5.
    Tutorial 9, ``tutorials/09_test_your_own.md``.

    Examples
    --------
    >>> from sgdnoise import noise_scale
    >>> laws = check_noise_scale(noise_scale, exact=True)
    >>> check_noise_scale(lambda eps, B, N: eps * N / B, momentum=False, replace=False)
    Traceback (most recent call last):
        ...
    sgdnoise.testing.LawError: law broken: the full batch has no noise
      counterexample: learning_rate=1, batch_size=1, n_train=1
      expected: 0
      got: 1.0
    """
    from hypothesis import strategies as st

    tolerance = 0.0 if exact else 1e-9
    number: Callable[[Fraction], Any] = (lambda x: x) if exact else float
    keywords = {"momentum": momentum, "replace": replace}

    def g(learning_rate: Fraction, batch_size: int, n_train: int, **options: Any) -> Any:
        options = {k: number(v) if k == "momentum" else v for k, v in options.items() if keywords[k]}
        return fn(number(learning_rate), batch_size, n_train, **options)

    def inputs(rate: Fraction, batch: tuple[int, int], **more: Any) -> dict[str, Any]:
        return {"learning_rate": rate, "batch_size": batch[0], "n_train": batch[1], **more}

    def enumerated(case: tuple[Fraction, list[int], int, bool]) -> Comparison:
        rate, gradients, batch_size, with_replacement = case
        n = len(gradients)
        expected = rate * _enumerated_ratio(gradients, batch_size, with_replacement) / n
        return (
            lambda: g(rate, batch_size, n, replace=with_replacement),
            expected,
            inputs(rate, (batch_size, n), replace=with_replacement, gradients=gradients),
        )

    # Two examples and more, not all equal: F must not be 0.
    populations = st.lists(st.integers(-3, 3), min_size=2, max_size=5).filter(lambda values: len(set(values)) > 1)

    def draws(with_replacement: bool) -> SearchStrategy[tuple[Fraction, list[int], int, bool]]:
        return populations.flatmap(
            lambda values: st.tuples(learning_rates(), st.just(values), st.integers(1, len(values)), st.just(with_replacement))
        )

    laws: list[Law] = [
        (
            "the full batch has no noise",
            st.tuples(learning_rates(), batches()),
            lambda c: (lambda: g(c[0], c[1][1], c[1][1]), Fraction(0), inputs(c[0], (c[1][1], c[1][1]))),
        ),
        ("g / eps is N times the batch mean's variance over every possible minibatch, in units of F", draws(False), enumerated),
        (
            "g = eps (N/B - 1) at any size",
            st.tuples(learning_rates(), batches()),
            lambda c: (lambda: g(c[0], *c[1]), c[0] * Fraction(c[1][1], c[1][0]) - c[0], inputs(*c)),
        ),
    ]
    if replace:
        laws.append(("with replacement, g / eps is N times the variance over every possible draw", draws(True), enumerated))
    if momentum:
        laws.append(
            (
                "momentum multiplies g by 1/(1 - m)",
                st.tuples(learning_rates(), batches(), momenta()),
                lambda c: (
                    lambda: g(c[0], *c[1], momentum=c[2]),
                    c[0] * (Fraction(c[1][1], c[1][0]) - 1) / (1 - c[2]),
                    inputs(c[0], c[1], momentum=c[2]),
                ),
            )
        )
    # N/B - 1 may lose as much as eps rounds off: learning rates are at most 1000.
    return check_laws(laws, tolerance, atol=0.0 if exact else 1e-12)
