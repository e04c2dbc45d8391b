"""The laws of the noise scale."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Sequence
from fractions import Fraction
from typing import Any

import numpy as np

from .. import _checks as check
from ._laws import Comparison, Law, check_laws, dtype_and_rtol
from ._search import Draw, Integer
from ._strategies import a_batch, a_learning_rate, a_momentum, always, signed


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
    fn: Callable[..., Any],
    *,
    exact: bool = False,
    momentum: bool = True,
    replace: bool = True,
    rtol: float | None = None,
    dtype: Any = np.float64,
) -> tuple[str, ...]:
    """Check a function for the noise scale g; return the laws that hold, or raise `LawError` with the first that does not.

    Parameters
    ----------
    fn : callable
        ``fn(learning_rate, batch_size, n_train)``, with the keywords ``momentum`` and ``replace`` unless excluded.
    exact : bool, default False
        Call it with `fractions.Fraction` and demand equality, whatever `rtol` and `dtype`; else with floating-point numbers.
    momentum, replace : bool, default True
        Whether `fn` has the keyword.
    rtol : float, optional
        How far a value may be from the one expected, relative to it, beside what N/B and m round off. Default: 1e-9 for
        float64, 1e-5 for float32.
    dtype : {float64, float32}, default float64
        Of the learning rates and momenta that `fn` gets: Python's floats, or NumPy's of single precision.

    Notes
    -----
    The variance law: with the sum of N gradients estimated by N/B times the sum over a batch, N g/eps is the variance of that
    estimate over every possible batch, divided by the covariance F of the gradients (divisor N - 1, or N with replacement).
    It is tried for N up to 5; the formulas, with and without replacement and momentum, for N up to a million and m up to 0.999.

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
    check.function("fn", fn)
    keywords = {"momentum": check.flag("momentum", momentum), "replace": check.flag("replace", replace)}
    dtype, rtol = dtype_and_rtol(dtype, rtol, {"float64": 1e-9, "float32": 1e-5})
    rounding = 0.0 if check.flag("exact", exact) else 4 * float(np.finfo(dtype).eps)

    def number(value: Fraction) -> Any:
        return value if exact else float(value) if dtype == np.float64 else dtype.type(float(value))

    def compare(rate: Fraction, batch_size: int, n_train: int, expected: Fraction, **shown: Any) -> Comparison:
        """Compare g, called with those keywords that `fn` has; what else is shown is for the message."""
        options = {name: value for name, value in shown.items() if keywords.get(name)}
        if "momentum" in options:
            options["momentum"] = number(options["momentum"])
        # N/B - 1 may lose as much as N/B rounds off, and 1 - m as much as m.
        slack = rounding * float(rate * n_train / batch_size / (1 - shown.get("momentum", 0)) ** 2)
        inputs = {"learning_rate": rate, "batch_size": batch_size, "n_train": n_train, **shown}
        return Comparison(lambda: fn(number(rate), batch_size, n_train, **options), expected, inputs, slack)

    def full(case: tuple[Fraction, tuple[int, int], Fraction]) -> Comparison:
        rate, (_, n_train), _ = case
        return compare(rate, n_train, n_train, Fraction(0))

    def enumerated(**kind: bool) -> Callable[[tuple[Fraction, list[int], int]], Comparison]:
        def at(case: tuple[Fraction, list[int], int]) -> Comparison:
            rate, gradients, batch_size = case
            expected = rate * _enumerated_ratio(gradients, batch_size, **kind) / len(gradients)
            return compare(rate, batch_size, len(gradients), expected, **kind, gradients=gradients)

        return at

    def formula(**kind: bool) -> Callable[[tuple[Fraction, tuple[int, int], Fraction]], Comparison]:
        def at(case: tuple[Fraction, tuple[int, int], Fraction]) -> Comparison:
            rate, (batch_size, n_train), m = case
            expected = rate * (Fraction(n_train, batch_size) - (0 if kind else 1)) / (1 - m)
            return compare(rate, batch_size, n_train, expected, **kind, **({"momentum": m} if m else {}))

        return at

    plain, with_momentum = _sizes(always(Fraction(0))), _sizes(a_momentum)
    laws = [
        Law("the full batch has no noise", plain, full),
        Law(
            "g / eps is N times the batch mean's variance over every possible minibatch, in units of F",
            _population,
            enumerated(replace=False),
        ),
        Law("g = eps (N/B - 1) at any size", plain, formula()),
    ]
    if replace:
        variance = "with replacement, g / eps is N times the variance over every possible draw"
        laws.append(Law(variance, _population, enumerated(replace=True)))
        laws.append(Law("with replacement, g = eps N/B at any size", plain, formula(replace=True)))
    if momentum:
        laws.append(Law("momentum multiplies g by 1/(1 - m)", with_momentum, formula()))
    if momentum and replace:
        laws.append(Law("with replacement, too, momentum multiplies g by 1/(1 - m)", with_momentum, formula(replace=True)))
    return check_laws(laws, rtol=0.0 if exact else rtol)


def _population(integer: Integer) -> tuple[Fraction, list[int], int]:
    """Make a learning rate, the gradients of all examples, not all of them equal, as F must not be 0, and a batch size."""
    rate, n = a_learning_rate(integer), integer(2, 5)
    gradients = [signed(integer, 3) for _ in range(n)]
    if len(set(gradients)) == 1:
        gradients[-1] += 1
    return rate, gradients, integer(1, n)


def _sizes(momentum: Draw) -> Draw:
    """Make a learning rate, a batch and a momentum."""
    return lambda integer: (a_learning_rate(integer), a_batch(integer), momentum(integer))
