r"""The noise scale g of SGD, its inverses, and what scaling does to it.

Smith, Kindermans, Ying and Le [1]_ read one SGD update as a time step of a stochastic differential equation for the
parameters w, with C the cost SUMMED over the N training examples::

    dw/dt = -dC/dw + eta(t),        <eta(t) eta(t')> = g F(w) delta(t - t')                     (eq. 3)

where F is the covariance of the per-example gradients. An update with learning rate eps on the MEAN gradient of a batch of B
is the time step eps/N. The minibatch estimate of dC/dw, drawn without replacement, has covariance N (N/B - 1) F. Matching
(eps/N)^2 N (N/B - 1) F to (eps/N) g F gives::

    g = eps (N/B - 1)                                                                             (`noise_scale`)
    g = eps / (1 - m) (N/B - 1)          with momentum m                                          (eqs. 4, 5)

Solving for one quantity at a time gives the inverses (`learning_rate_for`, `batch_size_for`, `momentum_for`). The well-known
"linear scaling rule", eps in proportion to B, keeps eps N/B and not g: multiplying both by K changes g by the
factor (N - K B)/(N - B) (`linear_scaling_error`). Whenever the noise changes, momentum needs about B/(N (1 - m)) epochs to
forget the old one (`lost_epochs`). Where F = f I is isotropic, g f is twice a temperature (`temperature`).

Adam has no g in this theory, so no function of g takes one. What a stochastic differential equation for Adam suggests instead
is the square-root rule [2]_ (`adam_square_root_rule`).

The functions share these arguments, with these ranges unless one of them says otherwise::

    learning_rate   eps   above 0, per mean gradient
    batch_size      B     above 0, not necessarily whole; at most N, except with replacement
    n_train         N     above 0
    momentum        m     in [0, 1), of the trace form a <- m a + gradient
    noise_scale     g     at least 0, in the unit of the learning rate
    replace               True: batches are drawn with replacement

All is plain arithmetic on ints, floats, `fractions.Fraction` or arrays that broadcast, and returns the like: Fractions in, an
exact Fraction out (but for the square roots of the last rule). Every function refuses what is not a number (TypeError; a bool
is none) and what is not finite or out of its range (ValueError).

References
----------
.. [1] S. L. Smith, P.-J. Kindermans, C. Ying, Q. V. Le, "Don't Decay the Learning Rate, Increase the Batch Size",
   ICLR 2018, arXiv:1711.00489.
.. [2] S. Malladi, K. Lyu, A. Panigrahi, S. Arora, "On the SDEs and Scaling Rules for Adaptive Gradient Algorithms",
   NeurIPS 2022, arXiv:2205.10287.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from . import _checks as check
from ._checks import Number

_TOO_LARGE = "a batch drawn without replacement cannot hold more than the data"


def _check_batch(batch_size: Number, n_train: Number, replace: bool) -> tuple[Number, Number]:
    """Check 0 < B, and B <= N unless drawn with replacement (which never runs out of examples)."""
    n_train = check.number("n_train", n_train, above=0, arrays=True)
    batch_size = check.number("batch_size", batch_size, above=0, arrays=True)
    if not check.flag("replace", replace):
        check.number("batch_size", batch_size, at_most=("n_train", n_train), arrays=True, hint=_TOO_LARGE)
    return batch_size, n_train


def _check_noisy_batch(batch_size: Number, n_train: Number, replace: bool) -> tuple[Number, Number]:
    """Check as `_check_batch` does, and that the batch makes any noise at all."""
    batch_size, n_train = _check_batch(batch_size, n_train, replace)
    if not replace:
        hint = "the full batch has no noise, whatever the learning rate and the momentum"
        check.number("batch_size", batch_size, below=("n_train", n_train), arrays=True, hint=hint)
    return batch_size, n_train


def _left_out(batch_size: Number, n_train: Number, replace: bool) -> Number:
    """Return B (N/B - 1), or B (N/B) with replacement.

    N - B comes before any division: exact for whole numbers, and without cancellation as B approaches N.
    """
    return n_train if replace else n_train - batch_size


def _positive(result: Number) -> Number:
    """Refuse a result that has become 0."""
    if not np.all(result):
        check.number("the result", result, above=0, arrays=True, hint=check.TOO_FAR)
    return result


def _at_least(bound: int, result: Number) -> Number:
    """Lift what rounding has put below a bound."""
    return np.maximum(result, bound) if isinstance(result, np.ndarray) else max(result, type(result)(bound))


def _check_momentum(momentum: Number) -> Number:
    return check.number("momentum", momentum, at_least=0, below=1, arrays=True)


def _check_learning_rate(learning_rate: Number) -> Number:
    return check.number("learning_rate", learning_rate, above=0, arrays=True)


@check.arithmetic
def noise_scale(
    learning_rate: Number, batch_size: Number, n_train: Number, *, momentum: Number = 0, replace: bool = False
) -> Number:
    """Noise scale g of minibatch SGD.

    The strength of the random force that minibatches put on the parameters. To leading order in the learning rate, and while
    B << N, training runs whose g agree at each epoch follow the same stochastic differential equation per epoch, whatever their
    learning rates and batch sizes, as long as the learning rates are stable.

    Parameters
    ----------
    learning_rate : number
        The papers' eps, per mean gradient; positive.
    batch_size : number
        B, in (0, n_train], not necessarily whole. With ``replace=True`` any positive number.
    n_train : number
        Training-set size N.
    momentum : number, default 0
        m, in [0, 1), of the trace form ``a <- m a + gradient``.
    replace : bool, default False
        Whether a batch is drawn with replacement.

    Returns
    -------
    number
        g, in the unit of the learning rate; of the arguments' type (int arguments give a float).

    Notes
    -----
    g = eps (N/B - 1)/(1 - m) without replacement, g = eps (N/B)/(1 - m) with.

    Convention: the -1 is the finite-population correction and is exact with a gradient covariance F of divisor N - 1; with
    replacement F has divisor N. The velocity form of momentum has the same g at a constant learning rate; the averaging (EMA)
    form, ``a <- m a + (1 - m) gradient``, has (1 - m) times this one. Epoch reshuffling, which is what most code does, obeys
    the law only in directions that forget within an epoch. g is not the "gradient noise scale" tr(S)/|G|^2, which is a batch
    size and knows nothing of the learning rate.

    References
    ----------
    Smith et al. 2018, arXiv:1711.00489, equations 3 to 5.
    Tutorial 1, ``tutorials/01_noise_scale.md``.

    Examples
    --------
    The paper's first stage on CIFAR-10, then the same learning rate with five times the batch:

    >>> round(noise_scale(0.1, 128, 50_000, momentum=0.9), 3)
    389.625
    >>> from fractions import Fraction
    >>> noise_scale(Fraction(1, 10), 640, 50_000, momentum=Fraction(9, 10))
    Fraction(617, 8)

    Full-batch gradient descent has no noise:

    >>> noise_scale(0.1, 1000, 1000)
    0.0
    """
    learning_rate, momentum = _check_learning_rate(learning_rate), _check_momentum(momentum)
    batch_size, n_train = _check_batch(batch_size, n_train, replace)
    return learning_rate * _left_out(batch_size, n_train, replace) / (batch_size * (1 - momentum))


@check.arithmetic
def learning_rate_for(
    noise_scale: Number, batch_size: Number, n_train: Number, *, momentum: Number = 0, replace: bool = False
) -> Number:
    """Learning rate that gives a noise scale at this batch size and momentum.

    eps = g (1 - m) B/(N - B), or g (1 - m) B/N with replacement. It may be past the largest stable learning rate: g says
    nothing about stability.

    Convention: that of `noise_scale`, which explains the other arguments too.

    Parameters
    ----------
    noise_scale : number
        The g wanted; positive.
    batch_size : number
        B, below n_train: at B = N every learning rate has g = 0. With ``replace=True`` any positive number.

    References
    ----------
    Smith et al. 2018, arXiv:1711.00489, equation 5, solved for eps.
    Tutorial 3, ``tutorials/03_scaling_rules.md``.

    Examples
    --------
    >>> from fractions import Fraction
    >>> learning_rate_for(Fraction(9, 10), 100, 1000)
    Fraction(1, 10)
    """
    noise_scale, momentum = check.number("noise_scale", noise_scale, above=0, arrays=True), _check_momentum(momentum)
    batch_size, n_train = _check_noisy_batch(batch_size, n_train, replace)
    return _positive(noise_scale * (1 - momentum) * batch_size / _left_out(batch_size, n_train, replace))


@check.arithmetic
def batch_size_for(
    noise_scale: Number, learning_rate: Number, n_train: Number, *, momentum: Number = 0, replace: bool = False
) -> Number:
    """Batch size that gives a noise scale at this learning rate and momentum.

    B = N/(1 + g (1 - m)/eps), or N/(g (1 - m)/eps) with replacement: real-valued, not rounded. Without replacement it is in
    (0, N]. A value below 1 says that this learning rate cannot make that much noise.

    Convention: that of `noise_scale`, which explains the other arguments too.

    Parameters
    ----------
    noise_scale : number
        The g wanted; at least 0 (with ``replace=True`` above 0).

    References
    ----------
    Smith et al. 2018, arXiv:1711.00489, equation 5, solved for B.
    Tutorial 3, ``tutorials/03_scaling_rules.md``.

    Examples
    --------
    The paper divides the learning rate by 5, or multiplies the batch size by 5. To keep g itself takes a little less:

    >>> g = noise_scale(0.1 / 5, 128, 50_000, momentum=0.9)
    >>> round(batch_size_for(g, 0.1, 50_000, momentum=0.9), 2)
    633.51
    """
    learning_rate, momentum = _check_learning_rate(learning_rate), _check_momentum(momentum)
    n_train = check.number("n_train", n_train, above=0, arrays=True)
    replace = check.flag("replace", replace)
    if replace:
        noise_scale = check.number("noise_scale", noise_scale, above=0, arrays=True)
        return _positive(n_train * learning_rate / (noise_scale * (1 - momentum)))
    noise_scale = check.number("noise_scale", noise_scale, at_least=0, arrays=True)
    # N over a sum that is at least 1, so that rounding cannot lift B above N.
    return _positive(n_train / (1 + noise_scale * (1 - momentum) / learning_rate))


@check.arithmetic
def momentum_for(
    noise_scale: Number, learning_rate: Number, batch_size: Number, n_train: Number, *, replace: bool = False
) -> Number:
    """Momentum that gives a noise scale at this learning rate and batch size.

    m = 1 - eps (N/B - 1)/g, or 1 - eps (N/B)/g with replacement.

    Convention: that of `noise_scale`, which explains the other arguments too; momentum is of the trace form.

    Parameters
    ----------
    noise_scale : number
        The g wanted; at least the g without momentum.
    batch_size : number
        B, below n_train. With ``replace=True`` any positive number.

    Raises
    ------
    ValueError
        If `noise_scale` is below the g without momentum: momentum only adds noise.

    References
    ----------
    Smith et al. 2018, arXiv:1711.00489, equation 5, solved for m.
    Tutorial 3, ``tutorials/03_scaling_rules.md``.

    Examples
    --------
    >>> from fractions import Fraction
    >>> momentum_for(9, Fraction(1, 10), 100, 1000)
    Fraction(9, 10)
    """
    learning_rate = _check_learning_rate(learning_rate)
    batch_size, n_train = _check_noisy_batch(batch_size, n_train, replace)
    noise_scale = check.number("noise_scale", noise_scale, above=0, arrays=True)
    without = learning_rate * _left_out(batch_size, n_train, replace) / batch_size
    momentum = 1 - without / noise_scale
    if not np.all(momentum >= -8 * check.rounding(noise_scale, without)):  # as far as rounding takes a g without momentum
        hint = "momentum only adds noise; lower the learning rate or grow the batch"
        check.number("noise_scale", noise_scale, at_least=("g without momentum", without), arrays=True, hint=hint)
    if np.any(momentum >= 1):
        largest = without / check.rounding(noise_scale, without)
        hint = "beyond it momentum cannot be told from 1"
        check.number("noise_scale", noise_scale, below=("g without momentum over rounding", largest), arrays=True, hint=hint)
    return _at_least(0, momentum)


@check.arithmetic
def linear_scaling_error(factor: Number, batch_size: Number, n_train: Number) -> Number:
    """Relative change of the exact noise scale when learning rate and batch size grow together.

    The linear scaling rule keeps eps N/B. This is what it does to g, whatever the momentum: g_after/g_before - 1 =
    (N - K B)/(N - B) - 1 = -(K - 1) B/(N - B). It is 0 for K = 1 and -1 where K B = N.

    Parameters
    ----------
    factor : number
        K, by which both eps and B are multiplied; positive, with K B at most N.
    batch_size, n_train : number
        B before, in (0, n_train), and the training-set size N.

    Notes
    -----
    Convention: sampling without replacement; with replacement the linear rule is exact.

    References
    ----------
    Follows from Smith et al. 2018, arXiv:1711.00489, equation 5.
    Tutorial 3, ``tutorials/03_scaling_rules.md``.

    Examples
    --------
    >>> linear_scaling_error(8, 128, 50_000)
    -0.01796...
    >>> linear_scaling_error(4, 100, 1000)
    -0.3333...
    """
    batch_size, n_train = _check_noisy_batch(batch_size, n_train, replace=False)
    factor = check.number("factor", factor, above=0, arrays=True)
    grown = factor * batch_size
    if np.any(
        grown > n_train * (1 + 2 * check.rounding(factor, grown))
    ):  # n_train / batch_size is a factor, also if rounded up
        check.number("factor * batch_size", grown, at_most=("n_train", n_train), arrays=True, hint=_TOO_LARGE)
    change = -(factor - 1) * batch_size / (n_train - batch_size)
    return _at_least(-1, change)


@check.arithmetic
def lost_epochs(batch_size: Number, n_train: Number, momentum: Number) -> Number:
    """Epochs that momentum takes to catch up with a change of the noise scale.

    The accumulator a averages over the last 1/(1 - m) updates. After a change of learning rate or batch size, and at the
    start, training therefore lags behind by about B/(N (1 - m)) epochs. The arguments are those of `noise_scale`.

    Notes
    -----
    After s updates of a constant gradient G the accumulator is A(s) = G/(1 - m) (1 - exp(-(1 - m) s)). The steps that are
    missing while it fills add up to m/(1 - m) exactly; the paper leaves out the m in front.

    Convention: trace-form momentum; the velocity and EMA forms lag alike.

    References
    ----------
    Smith et al. 2018, arXiv:1711.00489, section 4 and appendix A.
    Tutorial 5, ``tutorials/05_momentum_and_adam.md``.

    Examples
    --------
    Raising momentum from .9 to .98 and the batch from 640 to 3200 makes the lag 25 times longer:

    >>> round(lost_epochs(640, 50_000, 0.9), 4), round(lost_epochs(3200, 50_000, 0.98), 4)
    (0.128, 3.2)
    """
    batch_size, n_train = _check_batch(batch_size, n_train, replace=False)
    return batch_size / (n_train * (1 - _check_momentum(momentum)))


@check.arithmetic
def temperature(noise_scale: Number, gradient_variance: Number) -> Number:
    """Temperature of the Langevin equation that SGD resembles: k_B T = g f / 2.

    Parameters
    ----------
    noise_scale : number
        g, at least 0.
    gradient_variance : number
        f, the variance of the per-example gradients along any direction, in the unit of a squared per-example gradient; at
        least 0.

    Notes
    -----
    Overdamped Langevin dynamics dw/dt = -lambda dC/dw + eta with <eta eta'> = 2 lambda k_B T delta has the stationary law
    exp(-C/k_B T). SGD's equation has lambda = 1 and g F in place of 2 k_B T, so that k_B T = g f/2 where F = f I.

    Convention: C is the cost SUMMED over the training set, and f is not divided by N. For the MEAN loss the temperature is
    this divided by N. Where F is not a multiple of the identity, SGD has no temperature, only one for each direction.

    References
    ----------
    Smith et al. 2018, arXiv:1711.00489, equation 3 and the discussion of simulated annealing.
    Tutorial 2, ``tutorials/02_sgd_as_langevin.md``.

    Examples
    --------
    >>> from fractions import Fraction
    >>> temperature(Fraction(3, 2), Fraction(1, 3))
    Fraction(1, 4)
    """
    noise_scale = check.number("noise_scale", noise_scale, at_least=0, arrays=True)
    return noise_scale * check.number("gradient_variance", gradient_variance, at_least=0, arrays=True) / 2


class AdamSettings(NamedTuple):
    """What `adam_square_root_rule` returns: Adam's four numbers, named as `sgdnoise.adam` names them."""

    learning_rate: Number
    b1: Number
    b2: Number
    eps: Number


@check.arithmetic
def adam_square_root_rule(factor: Number, learning_rate: Number, b1: Number, b2: Number, eps: Number) -> AdamSettings:
    """Adam's settings for a batch size multiplied by a factor, by the square-root rule.

    The learning rate times sqrt(K), 1 - b1 and 1 - b2 times K, eps divided by sqrt(K).

    Parameters
    ----------
    factor : number
        K, by which the batch size is multiplied; positive.
    learning_rate : number
        Before the change; positive.
    b1, b2 : number
        Decay rates of Adam's two moments before the change, in [0, 1).
    eps : number
        Adam's own eps before the change, at least 0. (The papers' eps is the learning rate.)

    Returns
    -------
    AdamSettings
        ``(learning_rate, b1, b2, eps)`` after the change.

    Raises
    ------
    ValueError
        If K (1 - b1) or K (1 - b2) exceeds 1: so few updates remain that the moments would have to forget faster than at once.

    Notes
    -----
    Convention: derived where gradient noise dominates the gradient. Smith et al. scale the learning rate linearly instead and
    report that it works. This package takes neither for granted: no function of g takes Adam.

    References
    ----------
    Malladi et al. 2022, arXiv:2205.10287.
    Tutorial 5, ``tutorials/05_momentum_and_adam.md``.

    Examples
    --------
    >>> [round(value, 12) for value in adam_square_root_rule(4, 0.001, 0.9, 0.999, 1e-8)]
    [0.002, 0.6, 0.996, 5e-09]
    """
    factor = check.number("factor", factor, above=0, arrays=True)
    learning_rate = _check_learning_rate(learning_rate)
    eps = check.number("eps", eps, at_least=0, arrays=True)
    decays = []
    for name, b in (("b1", b1), ("b2", b2)):
        forgets = factor * (1 - check.number(name, b, at_least=0, below=1, arrays=True))
        if np.any(forgets > 1 + factor * check.rounding(factor, b)):  # .95 is rounded, and so is 20 (1 - .95) = 1
            hint = "the batch size has grown too far for the rule"
            check.number(f"factor * (1 - {name})", forgets, at_most=1, arrays=True, hint=hint)
        decays.append(_at_least(0, 1 - forgets))
    root = np.sqrt(factor) if isinstance(factor, np.ndarray) else math.sqrt(factor)
    return AdamSettings(learning_rate * root, decays[0], decays[1], eps / root)
