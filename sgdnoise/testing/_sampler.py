"""The laws of minibatch samplers."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import numpy as np

from .. import _checks as check
from ..sampling import SAMPLINGS
from ._laws import Comparison, Law, LawError, check_laws
from ._search import Integer
from ._strategies import a_batch

_Z_MAX = 6.0  # two-sided normal probability 2e-9, and 4e-8 for the t distribution of 99 degrees of freedom
_SMALL = (7, 3, 4000)  # N, B and epochs: few examples, so that each is followed
_LARGE = (1500, 16, 100)  # and many, for what shows only beyond the size of a buffer or a shard

Batches = list[np.ndarray]


def check_sampler(
    fn: Callable[..., Iterable[np.ndarray]], *, sampling: str = "reshuffle", drop_last: bool = True
) -> tuple[str, ...]:
    """Check a source of minibatches; return the laws that hold, or raise `LawError` with the first that does not.

    Parameters
    ----------
    fn : callable
        ``fn(n_train, batch_size, rng=rng)`` gives the batches of one epoch, arrays of indices, drawn from a
        `numpy.random.Generator`.
    sampling : {"reshuffle", "without_replacement", "with_replacement"}, default "reshuffle"
        What it is meant to do.
    drop_last : bool, default True
        Whether an epoch ends where there are fewer than B examples left; else with a smaller batch.

    Notes
    -----
    The laws of single epochs are tried for N up to 300. Measured over 4000 epochs of N = 7 and B = 3 are how often each example
    comes in each batch; and the noise of a batch, the mean over it of numbers of mean 0 and variance S (divisor N - 1): its
    variance, (1/B - 1/N) S or, with replacement, S (N-1)/(N B); the covariance of two batches of an epoch, -S/N if reshuffled
    and 0 else; and that of an epoch with the next, 0. Measured over 100 epochs of N = 1500 and B = 16 are the correlation of an
    example's index with its place in the epoch; the variance again; how many pairs of a batch have indices that differ by a
    multiple of 5, 7, 9 or 16; and no batch may come twice in all of them. Each measured number has to be within 6 standard
    errors: at most 27 of them, false-positive rate below 1e-6 together. A shuffle buffer of more than 1000 is not seen.

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
    check.function("fn", fn)
    check.choice("sampling", sampling, SAMPLINGS)
    drop_last = check.flag("drop_last", drop_last)

    def lengths(n: int, b: int, drop_last: bool) -> list[int]:
        return [b] * (n // b) + ([n % b] if n % b and not drop_last else [])

    def epoch(n_train: int, batch_size: int, rng: np.random.Generator) -> Batches:
        return [np.asarray(batch) for batch in fn(n_train, batch_size, rng=rng)]

    def about(property_of: Callable[[Batches, int], Any], expected: Callable[[int, int], Any]) -> Any:
        """Compare a property of an epoch (batches, N) with what it has to be (N, B)."""

        def compare(case: tuple[tuple[int, int], int]) -> Comparison:
            (b, n), seed = case
            inputs = {"n_train": n, "batch_size": b, "seed": seed}
            return Comparison(lambda: property_of(epoch(n, b, np.random.default_rng(seed)), n), expected(n, b), inputs)

        return compare

    def cases(integer: Integer) -> tuple[tuple[int, int], int]:
        return a_batch(integer, 300), integer(0, 1000)

    def no(n: int, b: int) -> list[Any]:
        return []

    of_what_size = "an epoch has N // B batches of B" + ("" if drop_last else ", and one of what is left")
    laws = [
        Law(
            "batches are arrays of whole numbers, of an integer type",
            cases,
            about(lambda e, n: [f"{x.dtype} of shape {x.shape}" for x in e if x.ndim != 1 or x.dtype.kind not in "iu"][:1], no),
        ),
        Law(of_what_size, cases, about(lambda e, n: [len(x) for x in e], lambda n, b: lengths(n, b, drop_last))),
        Law(
            "indices are from 0 to N - 1",
            cases,
            about(lambda e, n: [i for x in e for i in x.tolist() if not 0 <= i < n], no),
        ),
    ]
    if sampling != "with_replacement":
        twice = about(lambda e, n: [x.tolist() for x in e if len(set(x.tolist())) < len(x)], no)
        laws.append(Law("no example comes twice in a batch", cases, twice))
    if sampling == "reshuffle":
        different = about(lambda e, n: len({i for x in e for i in x.tolist()}), lambda n, b: sum(lengths(n, b, drop_last)))
        laws.append(Law("no example comes twice in an epoch", cases, different))
    try:
        names = check_laws(laws, rtol=0)
    except LawError as error:
        n, b = error.counterexample["n_train"], error.counterexample["batch_size"]
        if error.law == of_what_size and error.got == lengths(n, b, not drop_last):
            hint = f"looks like: what drop_last={not drop_last} checks"
            raise error.with_hint(hint) from None
        raise
    rng = np.random.default_rng(0)
    for n, b, n_epochs, look in ((*_SMALL, _small), (*_LARGE, _large)):
        drawn = [np.concatenate(epoch(n, b, rng)) for _ in range(n_epochs)]
        measured = look(np.array(drawn), n, b, sampling)
        for law, sample, expected, what in measured:
            standard_error = sample.std(ddof=1) / np.sqrt(len(sample))
            if not abs(sample.mean() - expected) <= _Z_MAX * standard_error:
                got = f"{what}{sample.mean():.4f} +- {standard_error:.4f} over {n_epochs} epochs"
                raise LawError(law, {"n_train": n, "batch_size": b, "sampling": sampling}, got, f"{expected:.4f}")
        names += tuple(dict.fromkeys(measure.law for measure in measured if measure.law not in names))
    return names


class _Measured(NamedTuple):
    """A number measured in every epoch, or every pair of epochs, and what its mean has to be."""

    law: str
    sample: np.ndarray
    expected: float
    what: str = ""
    """What was measured, where the law does not say it."""


_EQUALLY = "every example is equally likely in every batch"
_VARIANCE = "the variance of a batch's noise"
_STEPS = (5, 7, 9, 16)  # 16 stands for 2, 4 and 8, too, 9 for 3, and 5 for 10


def _noise(drawn: np.ndarray, n: int, b: int) -> np.ndarray:
    """Return the means over each full batch of numbers, one an example, that have mean 0 and S = 1: (epochs, batches)."""
    values = np.arange(n) - (n - 1) / 2
    full = drawn[:, : n // b * b].reshape(len(drawn), n // b, b)
    means: np.ndarray = (values / values.std(ddof=1))[full].mean(axis=2)
    return means


def _variance(n: int, b: int, sampling: str) -> float:
    return (n - 1) / (n * b) if sampling == "with_replacement" else 1 / b - 1 / n


def _small(drawn: np.ndarray, n: int, b: int, sampling: str) -> list[_Measured]:
    """Measure epochs of two full batches."""
    batches = np.split(drawn, range(b, drawn.shape[1], b), axis=1)
    measured = [
        _Measured(_EQUALLY, (batch == i).sum(axis=1), batch.shape[1] / n)
        for batch in batches
        for i in range(n)
        if len(batches) > 1
    ]
    first, second = _noise(drawn, n, b).T
    within = -1 / n if sampling == "reshuffle" else 0.0
    epochs = (first[1:] * first[:-1] + second[1:] * second[:-1]) / 2
    return [
        *measured,
        # The two batches of an epoch are averaged first: reshuffled ones are not independent, and epochs are.
        _Measured(_VARIANCE, (first**2 + second**2) / 2, _variance(n, b, sampling)),
        _Measured("the covariance of two batches of an epoch", first * second, within),
        _Measured("an epoch is independent of the one before", epochs, 0.0),
    ]


def _large(drawn: np.ndarray, n: int, b: int, sampling: str) -> list[_Measured]:
    """Measure epochs of many batches, none of which may come twice."""
    index, place = (np.linspace(-1, 1, length) for length in (n, drawn.shape[1]))
    order = (index[drawn] * place).sum(axis=1) / np.sqrt(len(place) * (place**2).sum() * (index**2).mean())
    full = drawn[:, : n // b * b].reshape(len(drawn), n // b, b)
    pairs, expected = np.zeros(len(drawn)), 0.0
    for step in _STEPS:
        here = (full[..., None] % step == np.arange(step)).sum(axis=2)  # epoch, batch, remainder
        everywhere = (np.arange(n)[:, None] % step == np.arange(step)).sum(axis=0)
        pairs += (here * (here - 1)).sum(axis=2).mean(axis=1) / (b * (b - 1))
        if sampling == "with_replacement":
            expected += float((everywhere**2).sum() / n**2)
        else:
            expected += float((everywhere * (everywhere - 1)).sum() / (n * (n - 1)))
    return [
        _Measured(_EQUALLY, order, 0.0, "a correlation of index and place of "),
        _Measured(_VARIANCE, (_noise(drawn, n, b) ** 2).mean(axis=1), _variance(n, b, sampling)),
        _Measured("any two examples are equally likely to meet in a batch", pairs, expected),
        _Measured("each batch is drawn anew: none repeats another", _repeats(full), 0.0),
    ]


def _repeats(full: np.ndarray) -> np.ndarray:
    """Count, for each epoch, the batches that were there before, in whatever order."""
    seen: set[bytes] = set()
    counts = np.zeros(len(full))
    for epoch, batches in enumerate(np.sort(full, axis=2)):
        for batch in batches:
            counts[epoch] += batch.tobytes() in seen
            seen.add(batch.tobytes())
    return counts
