"""Three ways to draw minibatches, which make three different kinds of noise.

`minibatches` gives the indices of one epoch, N // B batches of exactly B (a smaller last batch would have another noise
scale), for one chain of updates or for many at once. With S the covariance of the per-example gradients of divisor N - 1, and
Sigma that of divisor N, the mean over one batch has covariance

========================  ===========================  ======================================
sampling                  covariance of one batch      batches of an epoch
========================  ===========================  ======================================
``"with_replacement"``    Sigma / B                    independent
``"without_replacement"`` (1/B - 1/N) S                independent
``"reshuffle"``           (1/B - 1/N) S                each two have covariance -S/N
========================  ===========================  ======================================

"reshuffle" deals out one random permutation per epoch and is what everybody runs. If B divides N, the noise of an epoch sums to
exactly zero: to first order in the learning rate epochs cancel their noise, and only directions that forget within an epoch
obey the law g = eps (N/B - 1), which is exact for "without_replacement".
"""

from __future__ import annotations

import numpy as np

from . import _checks as check

SAMPLINGS = ("reshuffle", "without_replacement", "with_replacement")


def minibatches(
    n_train: int,
    batch_size: int,
    *,
    sampling: str = "reshuffle",
    n_chains: int | None = None,
    rng: check.Seed = None,
) -> np.ndarray:
    """Draw the minibatches of one epoch.

    Parameters
    ----------
    n_train : int
        Training-set size N.
    batch_size : int
        B, from 1 to N.
    sampling : {"reshuffle", "without_replacement", "with_replacement"}, default "reshuffle"
        One permutation dealt out over the epoch; a fresh subset for each batch; independent draws.
    n_chains : int, optional
        Draw for so many chains at once, each independent of the others.
    rng : numpy.random.Generator, BitGenerator, SeedSequence, int or None, keyword-only
        Handed to `numpy.random.default_rng`.

    Returns
    -------
    ndarray of int, shape (N // B, B) or (N // B, n_chains, B)
        One row of example indices a batch. Up to B - 1 examples are left out of each epoch, other ones each time.

    Notes
    -----
    Convention: the "-1" in g = eps (N/B - 1) is exact for ``"without_replacement"``; see the module's table.

    References
    ----------
    Smith et al. 2018, arXiv:1711.00489, equation 3, for the noise that batches make.
    Tutorial 1, ``tutorials/01_noise_scale.md``.

    Examples
    --------
    >>> batches = minibatches(7, 3, rng=0)
    >>> batches.shape, len(set(batches.ravel().tolist()))
    ((2, 3), 6)
    """
    n_train = check.integer("n_train", n_train)
    hint = "every example would be used more than once"
    batch_size = check.integer("batch_size", batch_size, 1, ("n_train", n_train), hint=hint)
    sampling = check.choice("sampling", sampling, SAMPLINGS)
    rng = check.generator(rng)
    n_updates = n_train // batch_size
    if n_chains is not None:
        return draw(rng, n_train, batch_size, n_updates, check.integer("n_chains", n_chains), sampling)
    if sampling == "reshuffle":  # the numbers of one chain of `draw`, sooner
        return rng.permutation(n_train)[: n_updates * batch_size].reshape(n_updates, batch_size)
    if sampling == "with_replacement":
        return rng.integers(n_train, size=(n_updates, batch_size))
    return np.stack([rng.choice(n_train, batch_size, replace=False, shuffle=False) for _ in range(n_updates)])


def draw(
    rng: np.random.Generator,
    n_train: int,
    batch_size: int,
    n_updates: int,
    n_chains: int,
    sampling: str,
    order: np.ndarray | None = None,
) -> np.ndarray:
    """Draw the minibatches of some updates of many chains, (n_updates, n_chains, batch_size), without a look at the arguments.

    Reshuffled, they are the batches of one epoch, or the first of them. `order`, of shape (n_chains, n_train), is then permuted
    in place; without it each epoch begins with the examples in order.
    """
    if sampling == "with_replacement":
        return rng.integers(n_train, size=(n_updates, n_chains, batch_size))
    if sampling == "without_replacement":
        return _subsets(rng, n_train, batch_size, n_updates * n_chains).reshape(n_updates, n_chains, batch_size)
    examples = np.broadcast_to(np.arange(n_train), (n_chains, n_train)) if order is None else order
    dealt = rng.permuted(examples, axis=1, out=order)[:, : n_updates * batch_size]
    return dealt.reshape(n_chains, n_updates, batch_size).swapaxes(0, 1)


def _subsets(rng: np.random.Generator, n: int, size: int, n_sets: int) -> np.ndarray:
    """Draw independent ordered subsets without replacement, (n_sets, size).

    Small ones by rejection, which is uniform and much faster than a permutation: rows that hold an index twice are drawn again.
    """
    if size * size > n:
        drawn = np.empty((n_sets, size), dtype=np.int64)
        for rows in np.array_split(drawn, -(-n_sets * n // 10**6)):  # a permutation takes n numbers, of which `size` are kept
            rows[:] = rng.permuted(np.broadcast_to(np.arange(n), (len(rows), n)), axis=1)[:, :size]
        return drawn
    drawn = rng.integers(n, size=(n_sets, size))
    twice = np.arange(n_sets)
    while len(twice):
        ordered = np.sort(drawn[twice], axis=1)
        twice = twice[(ordered[:, 1:] == ordered[:, :-1]).any(axis=1)]
        drawn[twice] = rng.integers(n, size=(len(twice), size))
    return drawn
