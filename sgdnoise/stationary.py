r"""Exact stationary laws of SGD, and of discretised Langevin dynamics, on a quadratic loss.

The loss is w'H w/2 and every update sees the gradient H w + xi, where xi has mean zero and a covariance C that does not depend
on w. The law of w then forgets where it began, and its covariance follows from linear algebra at any learning rate l, which
stays exact where the stochastic differential equation is only a limit. An eigenvalue h of H is stable if the roots of the
characteristic polynomial of one update lie inside the unit circle; Jury's conditions give the limit::

    z^2 - (1 + m - l h) z + m:                 l h < 2 (1 + m)              momentum       (`max_stable_learning_rate`)
    z^2 - (1 + m) (1 - l h) z + m (1 - l h):   l h < 2 (1 + m)/(1 + 2 m)    Nesterov's

With independent xi the joint covariance X of (w, l a), a the accumulator, solves the discrete Lyapunov equation::

    X = A X A' + l^2 (b b') (x) C,   A = [[I - p l H, -q I], [l H, m I]],   b = (-p, 1)                      (`sgd_covariance`)

with (p, q) = (1, m) for momentum and (1 + m, m^2) for Nesterov. The modified equations replace the updates by diffusions that
agree with them to first or second order in l::

    dW = -h W dt + sqrt(l c) dB,   dW = -h (1 + l h/2) W dt + sqrt(l c) dB                                (`modified_equation`)

Epoch reshuffling draws each example once an epoch, so that the means of two batches of an epoch have covariance -S/N, S that of
the per-example gradients. After k updates, with v_j = l A^j b, along one direction::

    X_k = A^k X_0 A^k' + (S/B) sum_{j<k} v_j v_j' - (S/N) (sum_{j<k} v_j) (sum_{j<k} v_j)'            (`reshuffled_covariance`)

and X_n = X_0 after the n updates of an epoch. SGD at rest may go round. Without momentum, A = I - l H and V = Cov w, it sweeps
an area each update, and tells forwards from backwards by so many nats::

    J = (A V - V A')/2,   sigma = -(1/2) sum_ik (C^-1)_ik C_ik (x_i - x_k)^2/(x_i + x_k - x_i x_k)
                                                             (`probability_current`, `entropy_production`; x = l h, in H's axes)

Both vanish if and only if H C = C H. Where the curvature is noisy, too, w is multiplied by 1 - l h_B, and P(|w| > t) falls as
t^-alpha::

    E |1 - l h_B|^alpha = 1                                                                                      (`tail_index`)

Euler-Maruyama on Langevin dynamics is SGD with noise of variance 2 T/(mu dt) at the learning rate mu dt, so that::

    Cov w = T H^-1 (I - mu dt H/2)^-1                                                                   (`langevin_covariance`)

The functions share these arguments, with these ranges unless one of them says otherwise::

    curvature       h    positive
    hessian         H    ndarray of shape (n_params, n_params), symmetric, positive definite; or a number, which is h
    learning_rate   l    positive, on the gradient of the MEAN loss; below the limit of stability
    momentum        m    in [0, 1), of the trace form; default 0
    nesterov             whether the momentum is Nesterov's; default False

A covariance is about the minimum, and is a float where `hessian` is a number, else of the shape of `hessian`. Every function
refuses what is of the wrong type (TypeError), and what is not finite, of the wrong shape or out of its range (ValueError);
that includes a learning rate or step at or past the limit of stability, and arguments so far apart that the result is not
finite.

References
----------
P. Chaudhari, S. Soatto, "Stochastic gradient descent performs variational inference, converges to limit cycles for deep
networks", ICLR 2018, arXiv:1710.11029.
K. Liu, L. Ziyin, M. Ueda, "Noise and Fluctuation of Finite Learning Rate Stochastic Gradient Descent", ICML 2021,
arXiv:2012.03636.
Q. Li, C. Tai, W. E, "Stochastic Modified Equations and Dynamics of Stochastic Gradient Algorithms I", JMLR 2019,
arXiv:1811.01558.
"""

from __future__ import annotations

import math
import warnings
from typing import NamedTuple

import numpy as np
from scipy import linalg, optimize

from . import _checks as check
from ._checks import Number

_MOST_DOUBLINGS = 2100  # from the smallest float past the largest


def _matrix(
    name: str,
    value: object,
    n: int | None = None,
    *,
    definite: bool = False,
    like: str = "hessian",
    hint: str = "a flat or descending direction has no stationary law",
) -> np.ndarray:
    """Check a positive (semi)definite matrix, or a number, which is a 1 by 1 matrix."""
    if isinstance(value, np.ndarray):
        return check.symmetric_matrix(name, value, n, definite=definite, hint=hint if definite else "")
    number = check.number(name, value, arrays=True, above=0 if definite else None, at_least=None if definite else 0)
    if n not in (None, 1):
        raise ValueError(f"{name} must be an array of shape ({n}, {n}), as {like} is, got the number {value}")
    return np.array([[float(number)]])


def _row(name: str, value: object, meaning: str, **bounds: Number) -> np.ndarray:
    """Check a number, or a row of one or more; return a row of float64."""
    length = max(1, value.size) if isinstance(value, np.ndarray) else 1
    return np.atleast_1d(check.series(name, value, length, meaning, **bounds)).astype(np.float64)


def _like(argument: object, covariance: np.ndarray) -> float | np.ndarray:
    """Return a float if the argument was a number."""
    return covariance if isinstance(argument, np.ndarray) else float(covariance[0, 0])


@check.arithmetic
def max_stable_learning_rate(curvature: Number, momentum: Number = 0.0, *, nesterov: bool = False) -> Number:
    """Learning rate at which SGD on a quadratic begins to diverge.

    The limit knows nothing of the noise, and so of the batch size. At a fixed noise scale it caps the batch size.

    Parameters
    ----------
    curvature : number
        h, the largest eigenvalue of the Hessian of the mean loss; positive.
    momentum : number, default 0.0
        m, in [0, 1).
    nesterov : bool, keyword-only, default False
        Nesterov's momentum.

    Returns
    -------
    number
        The learning rate must be below it; of the arguments' type.

    Notes
    -----
    2 (1 + m)/h with momentum, 2 (1 + m)/((1 + 2 m) h) with Nesterov's. Both are exact, and both are passed by a root at -1, an
    oscillation from update to update. Momentum nearly doubles the limit; Nesterov's lowers it, by a third as m goes to 1.

    Convention: the trace form of momentum, learning rate outside. The averaging (EMA) form has 1/(1 - m) times this limit.

    References
    ----------
    E. I. Jury, "Theory and Application of the z-Transform Method", 1964, for the conditions.
    Tutorial 6, ``tutorials/06_how_large_a_batch.md``.

    Examples
    --------
    >>> max_stable_learning_rate(2.0)
    1.0
    >>> from fractions import Fraction
    >>> max_stable_learning_rate(2, Fraction(9, 10)), max_stable_learning_rate(2, Fraction(9, 10), nesterov=True)
    (Fraction(19, 10), Fraction(19, 28))
    """
    curvature = check.number("curvature", curvature, above=0, arrays=True)
    momentum = check.number("momentum", momentum, at_least=0, below=1, arrays=True)
    return 2 * (1 + momentum) / (curvature * (1 + 2 * momentum) if check.flag("nesterov", nesterov) else curvature)


def _limit(steepest: float, momentum: float, nesterov: bool) -> tuple[str, float]:
    """Return the limit of stability in words, and in numbers."""
    name = "2 (1 + m)/((1 + 2 m) h)" if nesterov else "2 (1 + m)/h"
    return name, max_stable_learning_rate(steepest, momentum, nesterov=nesterov)


def _stable(learning_rate: object, steepest: float, momentum: float, nesterov: bool, of: str) -> float:
    """Check a learning rate against the limit of stability."""
    limit = _limit(steepest, momentum, check.flag("nesterov", nesterov))
    hint = f"updates along {of}, h={steepest:.6g}, are stable only below this limit"
    return float(check.number("learning_rate", learning_rate, above=0, below=limit, hint=hint))


def _weights(momentum: float, nesterov: bool) -> tuple[float, float]:
    """Return p and q: with the gradient g and v = l a before it, v <- m v + l g and w <- w - p l g - q v."""
    return (1 + momentum, momentum**2) if nesterov else (1.0, momentum)


def sgd_covariance(
    hessian: Number, gradient_covariance: Number, learning_rate: float, *, momentum: float = 0.0, nesterov: bool = False
) -> float | np.ndarray:
    """Covariance of the parameters under SGD on a quadratic, once it is stationary.

    Parameters
    ----------
    hessian : number or ndarray of shape (n_params, n_params)
        H of the mean loss: symmetric, positive definite.
    gradient_covariance : number or ndarray of shape (n_params, n_params)
        C, the covariance of ONE update's gradient: symmetric, positive semidefinite. It need not commute with H. With S the
        covariance of the per-example gradients, (1/B - 1/N) S for batches drawn without replacement.
    learning_rate : float
        l, positive and below `max_stable_learning_rate` of the largest eigenvalue of H.
    momentum, nesterov
        As for `max_stable_learning_rate`.

    Notes
    -----
    ``a <- m a + gradient; w <- w - l a``, or with Nesterov ``w <- w - l (gradient + m a)`` with the new a. For one parameter,
    with curvature h, x = l h and q = 1 - x::

        Var w = (l c/h) (1 + m)/((1 - m) (2 (1 + m) - x))                                               (momentum)
        Var w = (l c/h) [(1 + m)^2 + m^2 (1 + m q)/(1 - m q)]/(2 (1 + m) - (1 + 2 m) x)                 (Nesterov)

    Both go to l c/(2 h (1 - m)) as l goes to 0, the law of the stochastic differential equation: g F/(2 N h) with the noise
    scale g. They leave it at order l: momentum upwards, Nesterov's downwards if m is above .6028, the root of
    4 m^3 + 2 m^2 - m - 1. The law is exact at any stable l, but the Lyapunov equation is solved in floating point: the relative
    error is some 1e-16/(l h) for the smallest eigenvalue h, and grows likewise near the limit of stability. A learning rate so
    near to either end that nothing of the solution is left is refused.

    Convention: l multiplies the gradient of the MEAN loss. The noise is independent from update to update and does not depend
    on w: for epoch reshuffling see `reshuffled_covariance`.

    References
    ----------
    Liu, Ziyin and Ueda 2021, arXiv:2012.03636, for the matrix equation with momentum.
    Tutorial 2, ``tutorials/02_sgd_as_langevin.md``.

    Examples
    --------
    >>> round(sgd_covariance(2.0, 0.7, 0.1, momentum=0.9), 6)
    0.184722
    >>> sgd_covariance(np.diag([1.0, 2.0]), np.eye(2), 0.5).round(6)
    array([[0.333333, 0.      ],
           [0.      , 0.25    ]])
    """
    matrix = _matrix("hessian", hessian, definite=True)
    noise = _matrix("gradient_covariance", gradient_covariance, len(matrix))
    momentum = float(check.number("momentum", momentum, at_least=0, below=1))
    steepest = float(np.linalg.eigvalsh(matrix)[-1])
    learning_rate = _stable(learning_rate, steepest, momentum, nesterov, "the hessian's largest eigenvalue")

    p, q = _weights(momentum, nesterov)
    identity, scaled = np.eye(len(matrix)), learning_rate * matrix
    update = np.block([[identity - p * scaled, -q * identity], [scaled, momentum * identity]])
    kick = np.array([-p, 1.0])
    try:
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("error", linalg.LinAlgWarning)
            joint = linalg.solve_discrete_lyapunov(update, np.kron(np.outer(kick, kick), learning_rate**2 * noise))
    except (linalg.LinAlgWarning, linalg.LinAlgError, ValueError):
        name, limit = _limit(steepest, momentum, nesterov)
        ends = f"further from 0 and from {name}={limit:.6g}"
        raise ValueError(f"learning_rate must be {ends} for a solution in floating point, got {learning_rate}") from None
    check.number("the result", float(np.abs(joint).max()), hint=check.TOO_FAR)
    covariance = joint[: len(matrix), : len(matrix)]
    return _like(hessian, (covariance + covariance.T) / 2)


class ModifiedEquation(NamedTuple):
    """What a modified equation says of SGD: the factor of the mean per update, and the stationary variance."""

    decay: float
    variance: float


@check.arithmetic
def modified_equation(curvature: float, gradient_variance: float, learning_rate: float, *, order: int) -> ModifiedEquation:
    """Decay and stationary variance of the diffusion that stands in for SGD, to compare with the exact law.

    Parameters
    ----------
    curvature, learning_rate : float
        h and l, positive. A diffusion is stable at any l, even where SGD is not.
    gradient_variance : float
        c, the variance of one update's gradient; at least 0.
    order : {1, 2}, keyword-only
        Order in l to which the equation is weakly correct over a fixed time.

    Returns
    -------
    ModifiedEquation
        ``decay``, by which one update multiplies the mean, and ``variance``.

    Notes
    -----
    One update is the time l. With the rate r = h at order 1 and r = h (1 + l h/2) at order 2, decay = exp(-l r) and
    variance = l c/(2 r). The exact values are 1 - l h and (l c/(2 h))/(1 - l h/2). Order 2 mends the mean only: its variance
    leaves that of order 1 in the wrong direction, because the force pulls more strongly and the noise stays as it was.

    Convention: no momentum; noise independent from update to update and of w; time in units of the learning rate, not of the
    papers' l/N.

    References
    ----------
    Li, Tai and E 2019, arXiv:1811.01558: the drift is that of the loss f + (l/4) |grad f|^2.

    Examples
    --------
    Exact, the decay is 0.7 and the variance 0.1765:

    >>> for order in (1, 2):
    ...     print("decay {:.4f}, variance {:.4f}".format(*modified_equation(1.0, 1.0, 0.3, order=order)))
    decay 0.7408, variance 0.1500
    decay 0.7082, variance 0.1304
    """
    curvature = float(check.number("curvature", curvature, above=0))
    gradient_variance = float(check.number("gradient_variance", gradient_variance, at_least=0))
    learning_rate = float(check.number("learning_rate", learning_rate, above=0))
    rate = curvature if check.integer("order", order, 1, 2) == 1 else curvature * (1 + learning_rate * curvature / 2)
    return ModifiedEquation(math.exp(-learning_rate * rate), learning_rate * gradient_variance / (2 * rate))


@check.arithmetic
def reshuffled_covariance(
    curvature: Number,
    gradient_variance: Number,
    learning_rate: float,
    batch_size: int,
    n_train: int,
    *,
    momentum: float = 0.0,
    nesterov: bool = False,
    position: int = 0,
) -> float | np.ndarray:
    """Covariance of the parameters under SGD with epoch reshuffling, about the minimum, once it is stationary.

    Parameters
    ----------
    curvature : number, or ndarray of shape (n_directions,) or (n_params, n_params)
        h of the mean loss, of one direction or of several that share no noise; or the Hessian H.
    gradient_variance : number, or ndarray of shape (n_directions,) or (n_params, n_params)
        S, the variance of the per-EXAMPLE gradients, of divisor N - 1, at least 0, for all directions or for each; or with a
        Hessian their covariance matrix: symmetric, positive semidefinite. It need not commute with H.
    learning_rate : float
        l, positive and below `max_stable_learning_rate` of the largest curvature.
    batch_size, n_train : int
        B, from 1 to N, and the training-set size N. B need not divide N: an epoch has n = N // B updates, and the N - n B
        examples left over, different ones each epoch, are dropped.
    momentum, nesterov
        As for `max_stable_learning_rate`. The accumulator is carried over from epoch to epoch.
    position : int, keyword-only, default 0
        k, the number of updates since the epoch began, from 0 to n. Both 0 and n are the end of an epoch.

    Returns
    -------
    float or ndarray
        The variance of a direction, an array of them, or the covariance matrix of the parameters, after k updates.

    Notes
    -----
    With X_k the covariance of (w, l a), A and b as in the module's introduction, and v_j = l A^j b, which is what is left of a
    kick j updates after it::

        X_k = A^k X_0 A^k' + Q_k,   X_0 = X_n,   Q_k = (S/B) sum_{j<k} v_j v_j' - (S/N) (sum_{j<k} v_j) (sum_{j<k} v_j)'

    It is exact for any n, and whether or not B divides N. To lose no digits, and to take no time where n is large, runs of
    updates are joined, k doubling: of each, I - A^k, the mean of its v_j and their scatter about the mean are kept, since::

        Q_k = (S/B) sum_{j<k} (v_j - mean) (v_j - mean)' + (S/(k B)) (sum_{j<k} v_j) (sum_{j<k} v_j)' (N - k B)/N

    The second part is the noise of the examples not seen yet. It rises and falls like a bridge: the variance is small at the
    ends of an epoch and largest in between. Let l_e = l/(1 - m), n l_e h << 1 << n (1 - m), and B divide N. At the ends of
    epochs then::

        Var w = l_e^2 S [m^2/(B (1 - m^2)) - m^2/(N (1 - m)^2)] + l_e^3 h S n^2/(24 B)

    with m^4 for m^2 in the brackets with Nesterov's momentum. Half-way it is l_e^2 S n/(4 B), to leading order, where
    independent batches give l_e S (1/B - 1/N)/(2 h) at any time. The last term is the scatter of the factors by which an epoch
    forgets its kicks. The first is a floor: the kicks of the last 1/(1 - m) updates are still in the accumulator, and have not
    moved the parameters yet. At momentum 0.9 it may be hundreds of times the last term. It depends on m beyond l_e, so that two
    settings of equal g, and equal B, do not have equal reshuffled noise if their momenta differ.

    If B does not divide N, the r = N - n B examples left over keep the fraction r/(N - B) of the independent law alive. As
    n l_e h grows the independent law returns at every k. The relative error is some 1e-14, more with momentum near the limit of
    stability.

    Convention: S has divisor N - 1, and belongs to one example, where `sgd_covariance` takes the covariance of one update. The
    noise is additive: gradients of two examples differ by a constant.

    References
    ----------
    M. Kuehn, B. Rosenow, "Correlated Noise in Epoch-Based Stochastic Gradient Descent", arXiv:2306.05300, for the effect.
    Tutorial 2, ``tutorials/02_sgd_as_langevin.md``.

    Examples
    --------
    End and middle of an epoch, and independent batches without replacement:

    >>> [round(reshuffled_covariance(1.0, 1.0, 0.05, 10, 100, position=k), 6) for k in (0, 5)]
    [5.4e-05, 0.00055]
    >>> round(sgd_covariance(1.0, 1 / 10 - 1 / 100, 0.05), 6)
    0.002308

    Equal l/(1 - m), hence equal g, and 232 times the variance at the ends of epochs:

    >>> variances = [reshuffled_covariance(1.0, 1.0, 1e-5 * (1 - m), 10, 2000, momentum=m) for m in (0.0, 0.9)]
    >>> round(variances[1] / variances[0])
    232
    """
    several = isinstance(curvature, np.ndarray) and curvature.ndim > 0
    if not several or curvature.ndim == 1:
        of, h = "the largest curvature", _row("curvature", curvature, "direction", above=0)
        noise = check.series("gradient_variance", gradient_variance, len(h), "direction", at_least=0)
        pairs = np.arange(len(h)), np.arange(len(h))
    else:
        matrix = _matrix("curvature", curvature, definite=True)
        noise = _matrix("gradient_variance", gradient_variance, len(matrix), like="curvature")
        of, (h, vectors) = "the hessian's largest eigenvalue", np.linalg.eigh(matrix)
        pairs = np.triu_indices(len(matrix))
    momentum = float(check.number("momentum", momentum, at_least=0, below=1))
    learning_rate = _stable(learning_rate, float(h.max()), momentum, nesterov, of)
    n_train = check.integer("n_train", n_train)
    batch_size = check.integer("batch_size", batch_size, 1, ("n_train", n_train))
    n_updates = n_train // batch_size
    position = check.integer("position", position, 0, ("n_train // batch_size", n_updates)) % n_updates

    x, (p, q) = learning_rate * h, _weights(momentum, nesterov)
    # In place of w comes z = w - c v: where v would take w without a force, if that is weak, so that z alone is slow; else w.
    weak = x < (1 - momentum) ** 2
    c = np.where(weak, q / (1 - momentum), 0.0)
    loss = np.array([[(p + c) * x, (p + c) * x * c + np.where(weak, 0.0, q)], [-x, 1 - momentum - x * c]])
    kick = np.array([-p - c, np.ones_like(x)])
    update = _Run(1, np.moveaxis(loss, -1, 0), kick.T[..., None], np.zeros((len(x), 2, 1)), np.zeros((len(pairs[0]), 2, 2)))

    def noise_of(run: _Run) -> np.ndarray:  # Q_k of the docstring, over l^2 S
        unseen = run.n * (n_train - run.n * batch_size) / n_train
        return (run.scatter + unseen * _outer(run.mean, pairs)) / batch_size

    epoch = _repeated(update, n_updates, pairs)
    joint = _at_rest(epoch.loss, noise_of(epoch), pairs)
    if position > 0:
        begun = _repeated(update, position, pairs)
        joint = _through(np.eye(2) - begun.loss, joint, pairs) + noise_of(begun)
    i, k = pairs
    variances = joint[:, 0, 0] + c[k] * joint[:, 0, 1] + c[i] * joint[:, 1, 0] + c[i] * c[k] * joint[:, 1, 1]  # of w
    if not several or curvature.ndim == 1:
        variances = learning_rate * noise * variances * learning_rate
        return variances if several else float(variances[0])
    covariance = np.empty_like(matrix)
    covariance[pairs] = covariance.T[pairs] = learning_rate * (vectors.T @ noise @ vectors)[pairs] * variances * learning_rate
    covariance = vectors @ covariance @ vectors.T
    return np.asarray((covariance + covariance.T) / 2)


class _Run(NamedTuple):
    """What is left after a run of n updates, for directions of curvature h and for pairs (i, k) of them; v_j = A^j b.

    Differences are kept and not formed anew, so that no digits are lost where A^n is near 1: I - A^n, and how far the mean of
    the v_j lags behind b.
    """

    n: int
    loss: np.ndarray  # I - A^n, of shape (n_directions, 2, 2)
    mean: np.ndarray  # of the v_j, (n_directions, 2, 1)
    lag: np.ndarray  # b - mean
    scatter: np.ndarray  # the sum of (v_j - mean)_i (v_j - mean)_k', (n_pairs, 2, 2)


def _through(keep: np.ndarray, joint: np.ndarray, pairs: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
    """Return A_i X_ik A_k' for each pair."""
    return np.asarray(keep[pairs[0]] @ joint @ keep[pairs[1]].swapaxes(1, 2))


def _outer(vectors: np.ndarray, pairs: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
    return np.asarray(vectors[pairs[0]] * vectors[pairs[1]].swapaxes(1, 2))


def _joined(late: _Run, early: _Run, pairs: tuple[np.ndarray, np.ndarray]) -> _Run:
    """Join two runs: the kicks of the early one then pass through the late one, too."""
    n, lost = late.n + early.n, late.loss @ early.mean
    between = early.lag - late.lag + lost  # of the two means
    scatter = _through(np.eye(2) - late.loss, early.scatter, pairs) + (late.n * early.n / n) * _outer(between, pairs)
    mean = (late.n * late.mean + early.n * (early.mean - lost)) / n
    lag = (late.n * late.lag + early.n * (early.lag + lost)) / n
    return _Run(n, late.loss + early.loss - late.loss @ early.loss, mean, lag, late.scatter + scatter)


def _repeated(update: _Run, n: int, pairs: tuple[np.ndarray, np.ndarray]) -> _Run:
    """Join n updates, by doubling."""
    if n == 1:
        return update
    half = _repeated(update, n // 2, pairs)
    run = _joined(half, half, pairs)
    return _joined(run, update, pairs) if n % 2 else run


def _at_rest(loss: np.ndarray, noise: np.ndarray, pairs: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
    """Solve X = A X A' + Q for each pair, with I - A given, by doubling the number of terms of its series."""
    for _ in range(_MOST_DOUBLINGS):
        keep = np.eye(2) - loss
        if np.abs(keep).max() < 1e-12:  # and its square below rounding
            break
        noise = noise + _through(keep, noise, pairs)
        loss = 2 * loss - loss @ loss
    else:
        check.number("the result", math.inf, hint=check.TOO_FAR)
    return noise


@check.arithmetic
def probability_current(hessian: Number, gradient_covariance: Number, learning_rate: float) -> float | np.ndarray:
    """Area that SGD on a quadratic sweeps per update about the minimum, once it is stationary.

    In equilibrium nothing goes round. SGD does, in each plane in which the noise and the curvature have different axes: its
    law at rest is a Gaussian, but no energy at any temperature gives its motion.

    Parameters
    ----------
    hessian, gradient_covariance, learning_rate
        H, C and l, as for `sgd_covariance`.

    Returns
    -------
    float or ndarray of shape (n_params, n_params)
        J, antisymmetric. SGD turns from parameter k to parameter i where J[i, k] is positive. A single parameter has none: 0.

    Notes
    -----
    J = (A V - V A')/2 = l (V H - H V)/2 with V = Cov w, which is the mean of (w'_i w_k - w_i w'_k)/2, w' one update after w.
    Along the axes of H, exactly and for small l h::

        J_ik = -l^2 C_ik (l h_i - l h_k)/(2 (l h_i + l h_k - l^2 h_i h_k)),   -l^2 C_ik (h_i - h_k)/(2 (h_i + h_k))

    It vanishes if and only if H C = C H, and does not depend on whether the noise is Gaussian.

    Convention: per update, without momentum; C is the covariance of ONE update's gradient, independent from update to update.

    References
    ----------
    Chaudhari and Soatto 2018, arXiv:1710.11029, for the currents.
    Tutorial 2, ``tutorials/02_sgd_as_langevin.md``.

    Examples
    --------
    >>> print(probability_current(np.diag([2.0, 1.0]), np.array([[1.0, 0.5], [0.5, 1.0]]), 0.1).round(6))
    [[ 0.       -0.000893]
     [ 0.000893  0.      ]]
    """
    x, c, vectors, learning_rate = _in_axes(hessian, gradient_covariance, learning_rate)
    turn = np.subtract.outer(x, x) / (2 * _pairwise(x))
    current = -(vectors @ (learning_rate * (learning_rate * c * turn)) @ vectors.T)
    return _like(hessian, (current - current.T) / 2)


@check.arithmetic
def entropy_production(hessian: Number, gradient_covariance: Number, learning_rate: float) -> float:
    """Entropy that SGD on a quadratic produces per update, once it is stationary.

    It says how well the order of time can be told from the updates: after n of them the odds that a film of SGD runs forwards
    are exp(n sigma), typically. In equilibrium they are even.

    Parameters
    ----------
    hessian, learning_rate
        H and l, as for `sgd_covariance`.
    gradient_covariance : number or ndarray of shape (n_params, n_params)
        C of Gaussian noise, as for `sgd_covariance`, but positive definite.

    Returns
    -------
    float
        sigma, in nats per update; at least 0.

    Notes
    -----
    The mean of log p(w -> w') - log p(w' -> w) over two iterates in a row is sigma = -2 tr(Q^-1 A J), with Q = l^2 C and J the
    `probability_current`. Along the axes of H, with x = l h::

        sigma = -(1/2) sum_ik (C^-1)_ik C_ik (x_i - x_k)^2/(x_i + x_k - x_i x_k)

    For two parameters and the correlation r of the noise it is r^2/(1 - r^2) (x_1 - x_2)^2/(x_1 + x_2 - x_1 x_2). It vanishes
    if and only if H C = C H, and is infinite where C is singular, which is refused.

    Convention: per update, of order l: divide by l for the rate in the time of the gradient flow. Without momentum.

    References
    ----------
    Chaudhari and Soatto 2018, arXiv:1710.11029, for the currents.
    Tutorial 2, ``tutorials/02_sgd_as_langevin.md``.

    Examples
    --------
    >>> round(entropy_production(np.diag([2.0, 1.0]), np.array([[1.0, 0.5], [0.5, 1.0]]), 0.1), 6)
    0.011905
    """
    hint = "along a direction without noise no update can be undone"
    x, c, _, _ = _in_axes(hessian, gradient_covariance, learning_rate, definite=True, hint=hint)
    c /= np.abs(c).max()
    return max(0.0, -float(np.sum(np.linalg.inv(c) * c * np.subtract.outer(x, x) ** 2 / _pairwise(x))) / 2)


def _in_axes(
    hessian: Number, gradient_covariance: Number, learning_rate: float, *, definite: bool = False, hint: str = ""
) -> tuple[np.ndarray, np.ndarray, np.ndarray, float]:
    """Return l h, and C in the axes of H, and these, and l."""
    matrix = _matrix("hessian", hessian, definite=True)
    noise = _matrix("gradient_covariance", gradient_covariance, len(matrix), definite=definite, hint=hint)
    h, vectors = np.linalg.eigh(matrix)
    learning_rate = _stable(learning_rate, float(h[-1]), 0.0, False, "the hessian's largest eigenvalue")
    return learning_rate * h, vectors.T @ noise @ vectors, vectors, learning_rate


def _pairwise(x: np.ndarray) -> np.ndarray:
    """Return 1 - a_i a_k with a = 1 - x."""
    return np.asarray(np.add.outer(x, x) - np.multiply.outer(x, x))


def tail_index(curvatures: Number, learning_rate: float, *, weights: np.ndarray | None = None) -> float:
    """Exponent alpha of the tail of SGD's law at rest where the curvature differs from minibatch to minibatch.

    Moments of the parameter exist up to the order alpha. With alpha at most 2 it has no variance, which no law of additive
    noise foretells.

    Parameters
    ----------
    curvatures : number or ndarray of shape (n_values,)
        h_B, the curvatures that a minibatch's loss may have along this parameter; of any sign.
    learning_rate : float
        l, positive.
    weights : ndarray of shape (n_values,), keyword-only, optional
        Their probabilities, or numbers in proportion to them, at least 0. Default: they are equally likely.

    Returns
    -------
    float
        alpha; positive. It is infinite if no factor |1 - l h_B| is above 1: the law then has bounded support or light tails.

    Raises
    ------
    ValueError
        If E log |1 - l h_B| is not below 0: there is no law at rest.

    Notes
    -----
    w <- (1 - l h_B) w - l xi has P(|w| > t) in proportion to t^-alpha for large t, by Kesten's theorem, with alpha the positive
    root of E |1 - l h_B|^alpha = 1. The mean of a batch has less scatter, so that alpha grows with B, and falls with l. The
    additive noise xi does not matter, as long as there is some and its own tail is lighter.

    Convention: one parameter, or one direction that no other acts upon. Minibatches are independent; no momentum.

    References
    ----------
    M. Gurbuzbalaban, U. Simsekli, L. Zhu, "The Heavy-Tail Phenomenon in SGD", ICML 2021, arXiv:2006.04740.
    Tutorial 2, ``tutorials/02_sgd_as_langevin.md``.

    Examples
    --------
    Curvatures 0.5 and 2.5, one or two examples a batch. At l = 1 the factors are 1/2 and 3/2, whose mean is 1:

    >>> round(tail_index(np.array([0.5, 2.5]), 1.0), 6)
    1.0
    >>> round(tail_index(np.array([0.5, 1.5, 2.5]), 1.0, weights=np.array([1, 2, 1])), 4)
    3.2107
    """
    h = _row("curvatures", curvatures, "value")
    learning_rate = float(check.number("learning_rate", learning_rate, above=0))
    p = 1.0 if weights is None else check.series("weights", weights, len(h), "value", at_least=0)
    p = np.broadcast_to(p, h.shape).astype(np.float64)
    check.number("weights", float(p.max()), above=0, hint="they may not all be 0")
    h, p = h[p > 0], p[p > 0] / p.max()
    p /= p.sum()
    with np.errstate(all="ignore"):
        logs = np.log(np.abs(1 - learning_rate * h))
        growth = float(p @ np.maximum(logs, -1e3))  # finite where a factor is 0
        if not growth < -1e-14 * float(p @ np.minimum(np.abs(logs), 1e3)):
            hint = "E log |1 - learning_rate h| must be below 0, or there is no law at rest"
            raise ValueError(f"learning_rate must be smaller for these curvatures, got {learning_rate}; {hint}")
        if logs.max() <= 0:
            return math.inf

        def excess(alpha: float) -> float:
            return min(1e300, float(p @ np.expm1(alpha * logs)))

        top = 1.0
        while excess(top) < 0:
            top *= 2
        while excess(top / 2) >= 0:
            top /= 2
        return float(optimize.brentq(excess, top / 2, top, xtol=1e-300, rtol=1e-14))


@check.arithmetic
def langevin_covariance(
    hessian: Number, temperature: float, *, mobility: float = 1.0, step_size: float | None = None
) -> float | np.ndarray:
    """Covariance of overdamped Langevin dynamics on a quadratic energy, once it is stationary.

    Parameters
    ----------
    hessian : number or ndarray of shape (n_params, n_params)
        H of the energy: symmetric, positive definite.
    temperature : float
        T, at least 0.
    mobility : float, keyword-only, default 1.0
        mu, positive.
    step_size : float, keyword-only, optional
        dt of the Euler-Maruyama method, positive, with mu dt h below 2 for the largest eigenvalue h. Default: continuous time.

    Notes
    -----
    ``x <- x - mu H x dt + sqrt(2 mu T dt) xi`` has the covariance V diag(T/(h (1 - mu dt h/2))) V', with H = V diag(h) V'; one
    eigenvalue is 2 mu T dt/(1 - (1 - mu dt h)^2). In continuous time it is T H^-1, which does not depend on the mobility.

    Convention: the injected variance is 2 mu T dt for a drift of mu dt. SGLD, with drift eps/2 and injected variance eps, is
    T = 1, mu = 1/2, dt = eps, on the energy of the whole posterior.

    References
    ----------
    Welling and Teh, "Bayesian Learning via Stochastic Gradient Langevin Dynamics", ICML 2011, for the two step sizes.
    Tutorial 2, ``tutorials/02_sgd_as_langevin.md``.

    Examples
    --------
    >>> round(langevin_covariance(2.0, 0.3), 6), round(langevin_covariance(2.0, 0.3, step_size=0.4), 6)
    (0.15, 0.25)
    """
    matrix = _matrix("hessian", hessian, definite=True)
    temperature = float(check.number("temperature", temperature, at_least=0))
    mobility = float(check.number("mobility", mobility, above=0))
    eigenvalues, vectors = np.linalg.eigh(matrix)
    stretch = np.ones_like(eigenvalues)
    if step_size is not None:
        steepest = float(eigenvalues[-1])
        limit = ("2/(mobility h)", 2 / (mobility * steepest))
        hint = f"steps along the hessian's largest eigenvalue, h={steepest:.6g}, are stable only below this limit"
        step_size = float(check.number("step_size", step_size, above=0, below=limit, hint=hint))
        stretch -= mobility * step_size * eigenvalues / 2
    return _like(hessian, (vectors * (temperature / (eigenvalues * stretch))) @ vectors.T)
