"""Three ways to draw minibatches, which make three different kinds of noise.

`minibatches` gives the indices of one epoch, N // B batches of exactly B (a smaller last batch would have another noise
scale). With S the covariance of the per-example gradients of divisor N - 1, and Sigma that of divisor N, the mean over one
batch has covariance

========================  ===========================  ======================================
method                    covariance of one batch      batches of an epoch
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

METHODS = ("reshuffle", "without_replacement", "with_replacement")


def minibatches(
    n_train: int,
    batch_size: int,
    *,
    method: str = "reshuffle",
    rng: np.random.Generator | int | None = None,
) -> np.ndarray:
    """Draw the minibatches of one epoch.

    Parameters
    ----------
    n_train : int
        Training-set size N.
    batch_size : int
        B, from 1 to N.
    method : {"reshuffle", "without_replacement", "with_replacement"}, default "reshuffle"
        One permutation dealt out over the epoch; a fresh subset for each batch; independent draws.
    rng : numpy.random.Generator, int or None, keyword-only
        Handed to `numpy.random.default_rng`.

    Returns
    -------
    ndarray of int, shape (N // B, B)
        One row of example indices a batch. Up to B - 1 examples are left out of each epoch, other ones each time.

    Raises
    ------
    TypeError
        If an argument is of the wrong kind.
    ValueError
        If a number is out of range or `method` is unknown.

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
    method = check.choice("method", method, METHODS)
    rng = check.generator(rng)
    n_updates = n_train // batch_size
    if method == "reshuffle":
        return rng.permutation(n_train)[: n_updates * batch_size].reshape(n_updates, batch_size)
    if method == "with_replacement":
        return rng.integers(n_train, size=(n_updates, batch_size))
    return np.stack([rng.choice(n_train, batch_size, replace=False, shuffle=False) for _ in range(n_updates)])
