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

Epoch reshuffling draws each example once an epoch. The means of two batches of an epoch have covariance -S/N, so that after k
updates, with a = 1 - l h::

    V_k = a^(2k) V_0 + l^2 [(S/B) sum_{j<k} a^(2j) - (S/N) (sum_{j<k} a^j)^2]                           (`reshuffled_variance`)

and V_n = V_0 fixes V_0. Euler-Maruyama on Langevin dynamics is SGD with noise of variance 2 T/(mu dt) at the learning rate
mu dt, so that::

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
from scipy import linalg

from . import _checks as check
from ._checks import Number

_MOST_POWERS = 1 << 20  # powers that are added up one by one


def _matrix(name: str, value: object, n: int | None = None, *, definite: bool = False) -> np.ndarray:
    """Check a positive (semi)definite matrix, or a number, which is a 1 by 1 matrix."""
    if isinstance(value, np.ndarray):
        hint = "a flat or descending direction has no stationary law" if definite else ""
        return check.symmetric_matrix(name, value, n, definite=definite, hint=hint)
    number = check.number(name, value, arrays=True, above=0 if definite else None, at_least=None if definite else 0)
    if n not in (None, 1):
        raise ValueError(f"{name} must be an array of shape ({n}, {n}), as hessian is, got the number {value}")
    return np.array([[float(number)]])


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
    scale g. They leave it at order l: momentum upwards, Nesterov's downwards if m is above 0.604. The law is exact at any
    stable l, but the Lyapunov equation is solved in floating point: the relative error is some 1e-16/(l h) for the smallest
    eigenvalue h, and grows likewise near the limit of stability. A learning rate so near to either end that nothing of the
    solution is left is refused.

    Convention: l multiplies the gradient of the MEAN loss. The noise is independent from update to update and does not depend
    on w: for epoch reshuffling see `reshuffled_variance`.

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
    limit = max_stable_learning_rate(steepest, momentum, nesterov=nesterov)
    name = "2 (1 + m)/((1 + 2 m) h)" if nesterov else "2 (1 + m)/h"
    hint = f"updates along the hessian's largest eigenvalue, h={steepest:.6g}, are stable only below this limit"
    learning_rate = float(check.number("learning_rate", learning_rate, above=0, below=(name, limit), hint=hint))

    # g = gradient, v = l a:  v <- m v + l g  and  w <- w - p l g - q v, in terms of the old v
    p, q = (1 + momentum, momentum**2) if nesterov else (1.0, momentum)
    identity, scaled = np.eye(len(matrix)), learning_rate * matrix
    update = np.block([[identity - p * scaled, -q * identity], [scaled, momentum * identity]])
    kick = np.array([-p, 1.0])
    try:
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("error", linalg.LinAlgWarning)
            joint = linalg.solve_discrete_lyapunov(update, np.kron(np.outer(kick, kick), learning_rate**2 * noise))
    except (linalg.LinAlgWarning, linalg.LinAlgError, ValueError):
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
def reshuffled_variance(
    curvature: float, gradient_variance: float, learning_rate: float, batch_size: int, n_train: int, *, position: int = 0
) -> float:
    """Variance of a parameter under SGD with epoch reshuffling, about the minimum, once it is stationary.

    Parameters
    ----------
    curvature, learning_rate : float
        h of the mean loss along this parameter, and l, positive and below 2/h.
    gradient_variance : float
        S, the variance of the per-EXAMPLE gradients, of divisor N - 1; at least 0.
    batch_size, n_train : int
        B, from 1 to N, and the training-set size N. B need not divide N: an epoch has n = N // B updates, and the N - n B
        examples left over, different ones each epoch, are dropped.
    position : int, keyword-only, default 0
        k, the number of updates since the epoch began, from 0 to n. Both 0 and n are the end of an epoch.

    Notes
    -----
    With a = 1 - l h and the noise of k updates Q_k = (S/B) sum_{j<k} a^(2j) - (S/N) (sum_{j<k} a^j)^2,
    V_0 = l^2 Q_n/(1 - a^(2n)) and V_k = a^(2k) V_0 + l^2 Q_k, whether or not B divides N. To avoid cancellation Q_k is
    computed as follows, in closed form from 2^20 updates on::

        Q_k = (S/B) sum_{j<k} (a^j - mean)^2 + (S/(k B)) (sum_{j<k} a^j)^2 (N - k B)/N

    The second part is the noise of the examples not seen yet. It rises and falls like a bridge: the variance is small at the
    ends of an epoch and largest in between. For n l h << 1 it is l^2 S n/(4 B) half-way if B divides N, but
    l^3 h S (n^2 - 1)/(24 B) at the ends, where independent batches give l S (1/B - 1/N)/(2 h). If B does not divide N, the
    r = N - n B examples left over keep the fraction r/(N - B) of the independent law alive. As n l h grows the independent law
    returns at every k.

    Convention: S has divisor N - 1, and belongs to one example, where `sgd_covariance` takes the covariance of one update.
    No momentum. The noise is additive: gradients of two examples differ by a constant.

    References
    ----------
    M. Kuehn, B. Rosenow, "Correlated Noise in Epoch-Based Stochastic Gradient Descent", arXiv:2306.05300, for the effect.
    Tutorial 2, ``tutorials/02_sgd_as_langevin.md``.

    Examples
    --------
    End and middle of an epoch, and independent batches without replacement:

    >>> [round(reshuffled_variance(1.0, 1.0, 0.05, 10, 100, position=k), 6) for k in (0, 5)]
    [5.4e-05, 0.00055]
    >>> round(sgd_covariance(1.0, 1 / 10 - 1 / 100, 0.05), 6)
    0.002308
    """
    curvature = float(check.number("curvature", curvature, above=0))
    gradient_variance = float(check.number("gradient_variance", gradient_variance, at_least=0))
    limit = max_stable_learning_rate(curvature)
    learning_rate = float(check.number("learning_rate", learning_rate, above=0, below=("2/curvature", limit)))
    n_train = check.integer("n_train", n_train)
    batch_size = check.integer("batch_size", batch_size, 1, ("n_train", n_train))
    n_updates = n_train // batch_size
    position = check.integer("position", position, 0, ("n_train // batch_size", n_updates))
    x = learning_rate * curvature

    def after(k: int, variance: float) -> float:
        total, scatter, _, kept = _power_sums(x, k)
        unseen = (n_train - k * batch_size) / n_train
        return kept * variance + float((scatter + total**2 / k * unseen) / batch_size)

    forgotten = x * (2 - x) * float(_power_sums(x, n_updates)[2])  # = 1 - a^(2n)
    variance = after(n_updates, 0.0) / forgotten
    if position > 0:
        variance = after(position, variance)
    return learning_rate**2 * gradient_variance * variance


def _power_sums(x: float, n: int) -> tuple[Number, Number, Number, float]:
    """Return, with a = 1 - x, the sum of a^j over j < n, that of (a^j - mean)^2, that of a^(2j), and a^(2n)."""
    if n <= _MOST_POWERS:
        powers = (1 - x) ** np.arange(n)
        return powers.sum(), np.sum((powers - powers.mean()) ** 2), np.sum(powers**2), (1 - x) ** (2 * n)
    # In closed form, with u = -log|a|. The second is squares - total^2/n, and total^2/squares = tanh(n u/2)/tanh(u/2).
    u = -math.log1p(-x) if x < 1 else math.inf if x == 1 else -math.log(x - 1)
    odd = x > 1 and n % 2 == 1
    total = (1 + math.exp(-n * u) if odd else -math.expm1(-n * u)) / x
    squares, kept = -math.expm1(-2 * n * u) / (x * (2 - x)), math.exp(-2 * n * u)
    if x >= 1:
        return total, squares - total**2 / n, squares, kept
    rest = _tanh_deficit(u / 2)
    return total, squares * (_tanh_deficit(n * u / 2) - rest) / (1 - rest), squares, kept


def _tanh_deficit(z: float) -> float:
    """Return 1 - tanh(z)/z, without cancellation: below 1 by Lambert's continued fraction, z^2/(3 + z^2/(5 + ...))."""
    if z >= 1:
        return 1 - math.tanh(z) / z
    fraction = 0.0
    for odd in range(21, 1, -2):
        fraction = z * z / (odd + fraction)
    return fraction / (1 + fraction)


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
