"""Measured gradient noise: its covariance, its size against the gradient, and the curvature it meets.

With per-example gradients g_1 .. g_N of mean G, the covariance has two divisors, and each sampler has its own::

    S     = 1/(N-1) sum_i (g_i - G)(g_i - G)'       Cov(minibatch mean) = (1/B - 1/N) S   without replacement
    Sigma = 1/N     sum_i (g_i - G)(g_i - G)'       Cov(minibatch mean) = Sigma/B         with replacement

(`gradient_covariance`, `minibatch_covariance`). Since E|G_B|^2 = |G|^2 + tr(S)/B, a gradient mostly shows noise while B is
below McCandlish's "simple" noise scale tr(S)/|G|^2, a batch size (`gradient_noise_scale`, `gradient_noise_scale_from_norms`).
Weighted by the curvature H it is B_noise = tr(H S)/(G'HG) (`curvature_noise_scale`), and the learning rate that gains most in
one step is eps_max/(1 + B_noise/B), with eps_max = |G|^2/(G'HG). Neither is the noise scale g of SGD (`sgdnoise.noise_scale`),
which is a property of the algorithm and not of the data. `top_hessian_eigenvalue` measures the curvature that limits the
learning rate.

The numerators and denominators are unbiased; ratios of them are not. So each is averaged over measurements before
dividing. An estimate of |G|^2 can come out negative: the noise dominates, and more data are needed. It is reported as such.
Sums are added up in float64 and results are float64, whatever the precision of the gradients.

``per_example_gradients`` is always an ndarray of shape (n_examples, n_params), one gradient a row, with at least 2 rows; a
model's method of that name makes one. Every function refuses what is of the wrong type (TypeError), and what is not finite, of
the wrong shape or out of its range, or has a result that is not finite (ValueError).

References
----------
S. McCandlish, J. Kaplan, D. Amodei, "An Empirical Model of Large-Batch Training", arXiv:1812.06162.
S. L. Smith, P.-J. Kindermans, C. Ying, Q. V. Le, ICLR 2018, arXiv:1711.00489.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from dataclasses import dataclass
from functools import reduce
from typing import TYPE_CHECKING, Any

import numpy as np

from . import _checks as check
from ._checks import Number

if TYPE_CHECKING:
    from .models import MLP


@dataclass(frozen=True)
class NoiseToSignal:
    """A noise scale as a batch size: noise over signal, each an unbiased estimate. ``float(estimate)`` is its `batch_size`.

    Parameters
    ----------
    noise : float
        tr(S), or tr(H S).
    signal : float
        |G|^2, or G'HG; an estimate that can be negative.

    References
    ----------
    Tutorial 6, ``tutorials/06_how_large_a_batch.md``.

    Examples
    --------
    >>> print(NoiseToSignal(noise=92.16, signal=1.12))
    batch size 82.3 (noise 92.16 over signal 1.12)
    >>> print(NoiseToSignal(noise=3.0, signal=-0.1))
    noise dominates: signal -0.1 is not above 0 (noise 3); average over more measurements
    >>> print(NoiseToSignal(noise=-0.1, signal=3.0))
    noise not resolved: -0.1 is below 0 (signal 3); average over more measurements
    """

    noise: float
    signal: float

    def __post_init__(self) -> None:
        """Refuse what is not finite: no comparison with it would mean anything."""
        hint = "what it is made of is out of the range of floating point"
        check.number("noise", self.noise, hint=hint)
        check.number("signal", self.signal, hint=hint)

    @property
    def noise_dominates(self) -> bool:
        """Whether there is noise and the signal could not be told from 0: the batch size is unknown, and large."""
        return self.noise > 0 and not self.signal > 0

    @property
    def batch_size(self) -> float:
        """Noise over signal; infinite where noise dominates; NaN where the noise came out negative, or both are 0."""
        if not self.noise >= 0 or (self.noise == 0 and not self.signal > 0):
            return float("nan")
        return float("inf") if self.noise_dominates else self.noise / self.signal

    def __float__(self) -> float:
        """Return the batch size."""
        return self.batch_size

    def __str__(self) -> str:
        """Say what the estimate is, or why there is none."""
        again = "average over more measurements"
        if self.noise == 0 and not self.signal > 0:
            return f"neither noise nor signal: the gradients are all 0 (signal {self.signal:.4g})"
        if not self.noise >= 0:
            return f"noise not resolved: {self.noise:.4g} is below 0 (signal {self.signal:.4g}); {again}"
        if self.noise_dominates:
            return f"noise dominates: signal {self.signal:.4g} is not above 0 (noise {self.noise:.4g}); {again}"
        return f"batch size {self.batch_size:.3g} (noise {self.noise:.4g} over signal {self.signal:.4g})"


_AT_ONCE = 1 << 20  # numbers that are converted to float64 at a time


def _check_gradients(per_example_gradients: np.ndarray) -> np.ndarray:
    gradients = check.float_array("per_example_gradients", per_example_gradients, ("n_examples", "n_params"))
    if len(gradients) < 2:
        raise ValueError("per_example_gradients must have at least 2 rows, got 1; one example has no covariance")
    return gradients


@check.arithmetic
def gradient_covariance(per_example_gradients: np.ndarray, *, ddof: int = 1) -> np.ndarray:
    """Covariance matrix of per-example gradients.

    Parameters
    ----------
    per_example_gradients : ndarray of shape (n_examples, n_params)
        One gradient a row.
    ddof : {1, 0}, default 1
        1 divides by N - 1 (the S of sampling without replacement), 0 by N (the Sigma of sampling with replacement).

    Returns
    -------
    ndarray of shape (n_params, n_params), float64
        Symmetric and positive semidefinite. For a network, project the gradients on a few directions first: the variance
        along a unit vector v is ``(per_example_gradients @ v).var(ddof=ddof)``, and the trace is
        ``per_example_gradients.var(axis=0, ddof=ddof).sum()``.

    Notes
    -----
    Convention: the divisor is N - ddof. The F of g = eps (N/B - 1) has divisor N - 1; with divisor N the same covariance of
    minibatch gradients would need g = eps (N/B - 1) N/(N - 1).

    References
    ----------
    Smith et al. 2018, arXiv:1711.00489, equation 3, where F is this covariance.
    Tutorial 1, ``tutorials/01_noise_scale.md``.

    Examples
    --------
    >>> gradient_covariance(np.array([[1.0, 0.0], [3.0, 0.0]]))
    array([[2., 0.],
           [0., 0.]])
    """
    gradients = _check_gradients(per_example_gradients)
    ddof = check.integer("ddof", ddof, 0, 1)
    mean = gradients.mean(axis=0, dtype=np.float64)
    n_rows = len(gradients) if gradients.dtype == np.float64 else max(256, _AT_ONCE // len(mean))
    blocks = (gradients[i : i + n_rows] - mean for i in range(0, len(gradients), n_rows))
    covariance: np.ndarray = reduce(operator.iadd, (centred.T @ centred for centred in blocks))
    covariance /= len(gradients) - ddof
    return covariance


@check.arithmetic
def minibatch_covariance(covariance: Number, batch_size: Number, n_train: Number, *, replace: bool = False) -> Number:
    """Covariance of the mean gradient of a minibatch: (1/B - 1/N) S without replacement, Sigma/B with.

    Parameters
    ----------
    covariance : number or ndarray
        Covariance of the per-example gradients: a matrix, variances along some directions, or the trace. Divisor N - 1, or N
        with ``replace=True``. The result has the same shape.
    batch_size, n_train, replace
        B, N, and whether the batch is drawn with replacement, as for `sgdnoise.noise_scale`.

    Notes
    -----
    One batch of an epoch of reshuffling has the first covariance; two batches of the same epoch have covariance -S/N.

    Convention: for the MEAN gradient. The gradient of the papers' cost C, estimated as N times this mean, has N^2 times this
    covariance, N (N/B - 1) S.

    References
    ----------
    Smith et al. 2018, arXiv:1711.00489, equation 3, where F is this covariance.
    Tutorial 1, ``tutorials/01_noise_scale.md``.

    Examples
    --------
    >>> from fractions import Fraction
    >>> minibatch_covariance(Fraction(3), 10, 100)
    Fraction(27, 100)
    """
    covariance = check.number("covariance", covariance, arrays=True)
    n_train = check.number("n_train", n_train, above=0, arrays=True)
    most = None if check.flag("replace", replace) else ("n_train", n_train)
    batch_size = check.number("batch_size", batch_size, above=0, at_most=most, arrays=True)
    if replace:
        return covariance / batch_size
    return covariance * (n_train - batch_size) / (batch_size * n_train)


def gradient_noise_scale(per_example_gradients: np.ndarray) -> NoiseToSignal:
    """McCandlish's simple noise scale tr(S)/|G|^2, a batch size, from per-example gradients.

    Below it a minibatch gradient is mostly noise and a larger batch saves updates; far above it a larger batch only costs.
    It is NOT the noise scale g of SGD, see `sgdnoise.noise_scale`.

    Parameters
    ----------
    per_example_gradients : ndarray of shape (n_examples, n_params)
        Gradients of n examples drawn independently from the population whose mean gradient is G.

    Notes
    -----
    With the sample mean M: tr(S) = sum of the variances of divisor n - 1, |G|^2 = |M|^2 - tr(S)/n. Both are unbiased.

    Convention: if the examples are drawn without replacement from a training set of N with mean gradient G_N, tr(S) is
    unbiased as it stands and |G|^2 estimates |G_N|^2 - tr(S)/N.

    References
    ----------
    McCandlish et al. 2018, arXiv:1812.06162, section 2.2 and appendix A.1.
    Tutorial 6, ``tutorials/06_how_large_a_batch.md``.

    Examples
    --------
    >>> gradients = np.array([[2.0, 1.0], [2.0, -1.0], [4.0, 1.0], [4.0, -1.0]])
    >>> gradient_noise_scale(gradients)
    NoiseToSignal(noise=2.666..., signal=8.333...)
    """
    gradients = _check_gradients(per_example_gradients)
    with np.errstate(all="ignore"):
        noise = float(gradients.var(axis=0, ddof=1, dtype=np.float64).sum())
        mean = gradients.mean(axis=0, dtype=np.float64)
        return NoiseToSignal(noise, float(mean @ mean) - noise / len(gradients))


def gradient_noise_scale_from_norms(
    small_squared_norms: Number, large_squared_norms: Number, small_batch_size: int, large_batch_size: int
) -> NoiseToSignal:
    """McCandlish's simple noise scale from the squared norms of gradients at two batch sizes.

    For code that has no per-example gradients: in data-parallel training the small batch is one worker's and the large one is
    everybody's. It is NOT the noise scale g of SGD, see `sgdnoise.noise_scale`.

    Parameters
    ----------
    small_squared_norms, large_squared_norms : float or ndarray
        |G_B|^2 of one or many minibatches of each size, at one and the same point.
    small_batch_size, large_batch_size : int
        The two batch sizes, the first below the second.

    Notes
    -----
    |G|^2 = (B |G_B|^2 - b |G_b|^2)/(B - b), tr(S) = (|G_b|^2 - |G_B|^2)/(1/b - 1/B), with averages in place of squared norms.

    Convention: norms are averaged BEFORE the two are combined and divided: the mean of ratios is biased, and is infinite
    where |G|^2 may come out as 0. Batches drawn without replacement from N examples: see `gradient_noise_scale`.

    References
    ----------
    McCandlish et al. 2018, arXiv:1812.06162, appendix A.1.
    Tutorial 6, ``tutorials/06_how_large_a_batch.md``.

    Examples
    --------
    >>> print(gradient_noise_scale_from_norms(4.0, 1.3, 32, 512))
    batch size 82.3 (noise 92.16 over signal 1.12)
    """
    norms = []
    for name, value in (("small_squared_norms", small_squared_norms), ("large_squared_norms", large_squared_norms)):
        if isinstance(value, np.ndarray) and value.size == 0:
            raise ValueError(f"{name} must hold at least one squared norm, got none")
        with np.errstate(all="ignore"):
            norms.append(float(np.mean(check.number(name, value, at_least=0, arrays=True), dtype=np.float64)))
    small = check.integer("small_batch_size", small_batch_size)
    large = check.integer("large_batch_size", large_batch_size, small + 1, hint="it must be above small_batch_size")
    signal = (large * norms[1] - small * norms[0]) / (large - small)
    spread = 1 / small - 1 / large or math.nan  # 0: sizes that floating point cannot tell apart
    return NoiseToSignal((norms[0] - norms[1]) / spread, signal)


def curvature_noise_scale(
    per_example_gradients: np.ndarray, hessian_vector_product: Callable[[np.ndarray], np.ndarray]
) -> NoiseToSignal:
    """McCandlish's noise scale B_noise = tr(H S)/(G'HG), a batch size, with the curvature.

    The batch size at which the best single step gains half of what it gains without noise. It is NOT the noise scale g of SGD,
    see `sgdnoise.noise_scale`.

    Parameters
    ----------
    per_example_gradients : ndarray of shape (n_examples, n_params)
        Gradients of n examples.
    hessian_vector_product : callable
        ``v -> H v``, called n + 1 times; v has the dtype of the gradients.

    Notes
    -----
    tr(H S) = 1/(n-1) sum_i (g_i - M)' H (g_i - M) with the sample mean M, and G'HG = M'HM - tr(H S)/n. Both are unbiased; where
    H is not positive definite either may be negative.

    Convention: the best learning rate for one step is eps_max/(1 + B_noise/B), with eps_max = |G|^2/(G'HG); in place of |G|^2
    take the signal of `gradient_noise_scale`.

    References
    ----------
    McCandlish et al. 2018, arXiv:1812.06162, section 2.2.
    Tutorial 6, ``tutorials/06_how_large_a_batch.md``, uses tr(H S).

    Examples
    --------
    Where H is a multiple of the identity it is the simple noise scale:

    >>> gradients = np.array([[2.0, 1.0], [2.0, -1.0], [4.0, 1.0], [4.0, -1.0]])
    >>> round(curvature_noise_scale(gradients, lambda v: 2 * v).batch_size, 12)
    0.32
    """
    gradients = _check_gradients(per_example_gradients)
    check.function("hessian_vector_product", hessian_vector_product)

    def square(v: np.ndarray) -> float:
        """v'Hv, added up in float64; the user's function sees the precision of the gradients."""
        return float(v @ check.floats("hessian_vector_product(v)", hessian_vector_product(v.astype(gradients.dtype)), v))

    with np.errstate(all="ignore"):
        mean = gradients.mean(axis=0, dtype=np.float64)
        noise = sum(square(row - mean) for row in gradients) / (len(gradients) - 1)
        return NoiseToSignal(noise, square(mean) - noise / len(gradients))


def top_hessian_eigenvalue(model: MLP, params: np.ndarray, X: np.ndarray, y: np.ndarray, *, l2: float = 0.0) -> float:
    """Largest eigenvalue of the Hessian of the loss: the sharpest curvature.

    It limits the learning rate: gradient descent with momentum m is unstable along that direction past 2 (1 + m)/h.

    Parameters
    ----------
    model : MLP or LogisticRegression
        Anything with their ``hessian_vector_product``.
    params, X, y, l2
        Where to measure: parameters, examples, classes and the coefficient of the L2 term, as every method of `MLP` takes them.
        The L2 term adds l2 to the curvature along every weight.

    Returns
    -------
    float
        h_max of the MEAN loss, to about six digits; the same every time.

    Raises
    ------
    scipy.sparse.linalg.ArpackNoConvergence
        If Lanczos iteration does not converge.

    Notes
    -----
    Lanczos iteration (`scipy.sparse.linalg.eigsh`) on exact Hessian-vector products, in float64 whatever the arguments are; the
    Hessian itself is never formed.

    Convention: the largest, not the largest in absolute value. The papers' cost C has N times this curvature.

    References
    ----------
    B. A. Pearlmutter, Neural Computation 6, 1994, for the products.
    Tutorial 6, ``tutorials/06_how_large_a_batch.md``.

    Examples
    --------
    >>> from sgdnoise import LogisticRegression
    >>> X, y = np.array([[1.0], [-1.0]]), np.array([0, 1])
    >>> round(top_hessian_eigenvalue(LogisticRegression(1), np.zeros(4), X, y), 6)
    0.5
    """
    from scipy.sparse.linalg import LinearOperator, eigsh

    check.attributes("model", model, ("hessian_vector_product",), hint="an MLP, for instance")
    params = check.float_array("params", params, ("n_params",)).astype(np.float64)
    X = check.float_array("X", X, ("n", "n_features")).astype(np.float64)
    size = len(params)

    def product(v: np.ndarray) -> Any:
        answer = model.hessian_vector_product(params, v.ravel(), X, y, l2)
        return check.floats("model.hessian_vector_product(...)", answer, params)

    start = np.random.default_rng(0).standard_normal(size)  # ARPACK's own start is random
    image = product(start)
    check.number("the largest eigenvalue", float(np.abs(image).max()), hint="the Hessian is not finite there")
    if size == 1 or not image.any():  # a random start that is mapped to 0: so is all else, and ARPACK would refuse it
        return float(image[0] / start[0])
    scale = float(np.abs(image).max())
    scale = 1.0 if 1e-100 < scale < 1e100 else scale  # ARPACK takes what is very small for 0
    operator = LinearOperator((size, size), matvec=lambda v: product(v) / scale, dtype=np.float64)
    return scale * float(eigsh(operator, k=1, which="LA", v0=start, tol=1e-7, return_eigenvectors=False)[0])
