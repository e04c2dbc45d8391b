r"""Exact expected training curves of SGD under a schedule, on a quadratic loss and on linear regression.

Where the loss is quadratic, the mean loss after any number of updates obeys a recursion that closes, at any learning rate and
from any start. No run, no seed and no stochastic differential equation is needed. So "equal noise scale, equal curve" can be
looked at with all the digits there are: the curves of two schedules differ, and by how much comes out.

Let w be the distance from the minimum along one eigenvector of the Hessian, h its curvature, a the accumulator of momentum,
and xi what the minibatch adds to the gradient h w. One update at the learning rate l is, in the trace form::

    x = (w, a):   x' = A x + b xi,   A = [[1 - p l h, -q l], [h, m]],   b = (-p l, 1)

with (p, q) = (1, m) for momentum and (1 + m, m^2) for Nesterov's. The accumulator is multiplied by the rate in force, so that
it stays as it is where the rate changes. With additive noise, xi of variance v whatever w is, the second moments go by
X' = A X A' + v b b', and an epoch of n updates by::

    X' = P X P' + Q,   P = A_n ... A_1,   Q = Cov(sum of v_j xi_j),   v_j = A_n ... A_{j+1} b_j             (`quadratic`)

where Q is all that the sampler decides. With S of divisor N - 1 and r = N - n B examples left out of each epoch::

    "without_replacement"   Q = (1/B - 1/N) S sum v_j v_j'
    "with_replacement"      Q = (1 - 1/N) (S/B) sum v_j v_j'
    "reshuffle"             Q = (S/B) sum v_j v_j' - (S/N) (sum v_j) (sum v_j)'
                              = (S/B) [scatter of the v_j + (r/(n N)) (sum v_j) (sum v_j)']

Reshuffled noise is not independent within an epoch, but it is from epoch to epoch: at epochs' ends its law closes, too, with
the momentum that is carried over.

Linear regression has another noise: an example's gradient is x (x'w - r), with r its residual at the minimum, so that the
noise falls with the loss. Its covariance needs no more than mean and second moment of w, which close again. With
s_i = E (x_i'w - r_i)^2 = x_i' E[w w'] x_i - 2 r_i x_i' E[w] + r_i^2::

    Cov xi = (N - B)/(B (N - 1)) [mean of s_i x_i x_i' - H E[w w'] H]                              (`linear_regression`)

Once at rest, and for small steps, all of this is one number. The noise holds the loss above its minimum by::

    excess = g tr S/(4 N),   g = l (N/B - 1)/(1 - m)                                                  (`excess_at_rest`)

in which no curvature stands. It is why the training loss drops at each step of a schedule, whether the learning rate falls or
the batch grows. An average over the last iterates is a third way down::

    Var(average)/Var(w) = (1 - r) (1 + r a)/((1 + r) (1 - r a)),   a = 1 - l h                    (`ema_variance_ratio`)

Every function refuses what is of the wrong type (TypeError), and what is not finite, of the wrong shape or out of its range
(ValueError), a result that is not finite among it. Learning rates past the limit of stability are no error: the curve rises.

References
----------
S. L. Smith, P.-J. Kindermans, C. Ying, Q. V. Le, "Don't Decay the Learning Rate, Increase the Batch Size", ICLR 2018,
arXiv:1711.00489.
D. Busbridge et al., "How to Scale Your EMA", NeurIPS 2023, arXiv:2307.13813.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from . import _checks as check
from ._checks import Number
from .schedules import Schedule

_BLOCK = 1 << 13
"""Updates times directions that are worked on at once where the learning rate moves: what fits into a cache."""

_LAWS: dict[str, Callable[[int, int], tuple[float, float]]] = {
    "reshuffle": lambda n_train, size: (1 / size, n_train % size / n_train),
    "without_replacement": lambda n_train, size: ((n_train - size) / (n_train * size), 1.0),
    "with_replacement": lambda n_train, size: ((n_train - 1) / (n_train * size), 1.0),
}
"""The variance of one update's noise for S = 1 beside the scatter of the v_j, and the share of it that goes with their mean."""

_DIVERGED = "a learning rate past the limit of stability, or arguments that are too far apart for floating point"

_CONVERT = "convert it with astype(float)"


class _Momentum(NamedTuple):
    """The numbers of one update; `size` is that of its matrix, 1 where there is no accumulator to follow."""

    m: float
    p: float
    q: float
    size: int

    def update(self, rate: float | np.ndarray, curvature: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return A of shape (size, size, ...) and b of shape (size, ...), for each rate and curvature, which broadcast."""
        shape = np.broadcast_shapes(np.shape(rate), curvature.shape)
        push, kick = np.empty((2, 2, *shape)), np.empty((2, *shape))
        push[0, 0], push[0, 1] = 1 - self.p * rate * curvature, -self.q * rate
        push[1, 0], push[1, 1] = curvature, self.m
        kick[0], kick[1] = -self.p * rate, 1
        return push[: self.size, : self.size], kick[: self.size]


def _momentum(momentum: float, nesterov: bool) -> _Momentum:
    m = float(check.number("momentum", momentum, at_least=0, below=1))
    p, q = (1 + m, m**2) if check.flag("nesterov", nesterov) else (1.0, m)
    return _Momentum(m, p, q, 2 if m else 1)


def _times(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Multiply matrices that stand on the first two axes: one for each direction, which np.matmul would take one by one."""
    product: np.ndarray = np.einsum("ij...,jk...->ik...", first, second)
    return product


def _carried(push: np.ndarray, square: np.ndarray) -> np.ndarray:
    """Return P X P'."""
    return _times(_times(push, square), push.swapaxes(0, 1))


def _square(vector: np.ndarray) -> np.ndarray:
    """Return v v'."""
    square: np.ndarray = vector[:, None] * vector
    return square


class _Updates(NamedTuple):
    """What `count` updates do: x -> P x + sum of v_j xi_j. Of the v_j their mean and their scatter about it are enough.

    Not the sum of squares: reshuffled noise is little more than the scatter, and the difference of two sums would lose it.
    """

    count: Number
    push: np.ndarray
    mean: np.ndarray
    scatter: np.ndarray

    def then(self, later: _Updates) -> _Updates:
        """Return what both do, one after the other."""
        count = self.count + later.count
        moved = np.einsum("ij...,j...->i...", later.push, self.mean)
        apart = moved - later.mean
        scatter = _carried(later.push, self.scatter) + later.scatter + self.count * later.count / count * _square(apart)
        return _Updates(count, _times(later.push, self.push), later.mean + self.count / count * apart, scatter)


def _single(push: np.ndarray, kick: np.ndarray, count: Number = 1) -> _Updates:
    return _Updates(count, push, kick, np.zeros_like(push))


def _repeated(once: _Updates, n: int) -> _Updates:
    """Return what n updates at one learning rate do, by squaring."""
    done = None
    while True:
        if n & 1:
            done = once if done is None else done.then(once)
        n >>= 1
        if not n:
            return done  # type: ignore[return-value]  # n was at least 1
        once = once.then(once)


def _in_order(rates: np.ndarray, curvature: np.ndarray, momentum: _Momentum) -> _Updates:
    """Return what updates at these learning rates do: blocks of them, each joined pair by pair."""
    block, done = max(1, _BLOCK // len(curvature)), None
    for begin in range(0, len(rates), block):
        some = rates[begin : begin + block, None]
        run = _single(*momentum.update(some, curvature), np.ones_like(some))
        while (n := run.push.shape[-2]) > 1:
            pairs = [_Updates(*(part[..., first : n - n % 2 : 2, :] for part in run)) for first in (0, 1)]
            joined, rest = pairs[0].then(pairs[1]), [part[..., n - n % 2 :, :] for part in run]
            run = _Updates(*(np.concatenate(both, axis=-2) for both in zip(joined, rest, strict=True)))
        run = _Updates(*(part[..., 0, :] for part in run))
        done = run if done is None else done.then(run)
    return done  # type: ignore[return-value]  # an epoch has at least one update


def _check_schedule(schedule: Schedule, n_train: int) -> int:
    if not isinstance(schedule, Schedule):
        raise TypeError(f"schedule must be a Schedule, got {type(schedule).__name__}; for instance from step_decay()")
    schedule.n_updates(n_train)  # refuses a batch that is larger than the data
    return int(n_train)


def _curve(losses: list[float]) -> np.ndarray:
    curve = np.array(losses)
    check.number("the result", curve, arrays=True, hint=_DIVERGED)
    return curve


@check.arithmetic
def quadratic(
    schedule: Schedule,
    n_train: int,
    curvature: Number,
    gradient_variance: Number,
    start: Number,
    *,
    momentum: float = 0.0,
    nesterov: bool = False,
    sampling: str = "without_replacement",
) -> np.ndarray:
    """Exact expected excess loss after each epoch, on a quadratic loss with additive noise.

    Parameters
    ----------
    schedule : Schedule
        Epochs, learning rates and batch sizes. Rates that move do so by update.
    n_train : int
        Training-set size N, at least the largest batch size.
    curvature : number or ndarray
        h, the eigenvalues of the Hessian of the mean loss, one for each direction; at least 0.
    gradient_variance : number or ndarray
        S along these directions, the variance of the per-EXAMPLE gradients, of divisor N - 1; at least 0.
    start : number or ndarray
        Where w is at the start, as a distance from the minimum; if it is drawn at random, the root of its mean square.
    momentum : float, keyword-only, default 0.0
        m, in [0, 1), of the trace form. The accumulator is empty at the start.
    nesterov : bool, keyword-only, default False
        Nesterov's momentum.
    sampling : {"without_replacement", "reshuffle", "with_replacement"}, keyword-only
        How minibatches are drawn; see `minibatches`.

    Returns
    -------
    ndarray of shape (n_epochs + 1,)
        The sum of h E[w^2]/2 over the directions, at the start and after each epoch.

    Notes
    -----
    X' = P X P' + Q for each epoch and direction; the module's page has P and Q. Where the learning rate is constant, what an
    epoch does is a power, and costs hardly more at a thousand updates than at ten; where it moves, each update costs. Arrays
    broadcast, and are summed over.

    The error is that of rounding, but for epoch reshuffling without momentum along directions that hardly move in an epoch of n
    updates, n l h << 1: their noise almost cancels, and has a relative error of some 1e-15/(n l h).

    Convention: S has divisor N - 1, and belongs to one example; l multiplies the gradient of the MEAN loss. An epoch has N // B
    updates, as in `train`, and the examples left over are others each time. The noise does not depend on w: gradients of two
    examples differ by a constant. Where they do not, see `linear_regression`.

    References
    ----------
    Smith et al. 2018, arXiv:1711.00489, for the schedules.
    Tutorial 4, ``tutorials/04_dont_decay.md``.

    Examples
    --------
    >>> from sgdnoise import Schedule, Stage
    >>> epoch = Schedule([Stage(1, 0.1, 100)])
    >>> quadratic(epoch, 1000, 1.0, 1.0, 1.0).round(6), quadratic(epoch, 1000, 1.0, 1.0, 1.0, momentum=0.9).round(6)
    (array([0.5     , 0.060996]), array([0.5     , 0.174823]))

    A hundred directions. After four epochs the learning rate falls, or the batch grows: the loss drops by almost the same.

    >>> from sgdnoise import grow_batch, step_decay
    >>> h = 1 / np.arange(1, 101)
    >>> decaying = step_decay(0.5, 100, milestones=(4,), n_epochs=6, factor=5)
    >>> for schedule in (decaying, grow_batch(decaying)):
    ...     print(quadratic(schedule, 10_000, h, 10 * h, 1.0).round(4))
    [2.5937 0.1774 0.0944 0.0769 0.0723 0.0268 0.0212]
    [2.5937 0.1774 0.0944 0.0769 0.0723 0.0272 0.0217]
    """
    n_train = _check_schedule(schedule, n_train)
    numbers = {"curvature": (curvature, 0), "gradient_variance": (gradient_variance, 0), "start": (start, None)}
    checked = [check.number(name, value, at_least=low, arrays=True) for name, (value, low) in numbers.items()]
    h, variance, w = (part.ravel() for part in np.broadcast_arrays(*(np.asarray(value, dtype=float) for value in checked)))
    if not len(h):
        raise ValueError("curvature, gradient_variance and start must hold at least one direction, got none")
    settings, law = _momentum(momentum, nesterov), _LAWS[check.choice("sampling", sampling, _LAWS)]

    moments = np.zeros((settings.size, settings.size, len(h)))
    moments[0, 0] = w**2
    losses = [float(h @ moments[0, 0]) / 2]
    for stage in schedule:
        per_epoch = n_train // stage.batch_size
        alone, share = law(n_train, stage.batch_size)
        for epoch in range(stage.n_epochs):
            if epoch == 0 or stage.final_learning_rate is not None:
                if stage.final_learning_rate is None:
                    run = _repeated(_single(*settings.update(stage.learning_rate, h)), per_epoch)
                else:
                    run = _in_order(stage.learning_rates_of(epoch, per_epoch), h, settings)
                noise = alone * variance * (run.scatter + share * per_epoch * _square(run.mean))
            moments = _carried(run.push, moments) + noise
            losses.append(float(h @ moments[0, 0]) / 2)
    return _curve(losses)


@np.errstate(all="ignore")
def linear_regression(
    schedule: Schedule, X: np.ndarray, y: np.ndarray, start: np.ndarray, *, momentum: float = 0.0, nesterov: bool = False
) -> np.ndarray:
    """Exact expected excess loss after each epoch, for linear regression on these examples.

    The loss is half the mean square of X w - y, and the excess what it is above the least possible. Minibatches are drawn
    without replacement, each independent of the others.

    Parameters
    ----------
    schedule : Schedule
        Epochs, learning rates and batch sizes. Rates that move do so by update.
    X : ndarray of float, shape (n_examples, n_features)
        Features. A column of ones makes a constant; none is added.
    y : ndarray of float, shape (n_examples,)
        Targets.
    start : ndarray of float, shape (n_features,)
        The parameters at the start.
    momentum : float, keyword-only, default 0.0
        m, in [0, 1), of the trace form. The accumulator is empty at the start.
    nesterov : bool, keyword-only, default False
        Nesterov's momentum.

    Returns
    -------
    ndarray of shape (n_epochs + 1,)
        tr(H E[w w'])/2, with w measured from a minimum, at the start and after each epoch.

    Notes
    -----
    The mean of (w, a) goes by A. Their second moment goes by A M A' plus b b' times::

        (N - B)/(B (N - 1)) [mean of s_i x_i x_i' - H E[w w'] H],   s_i = E (x_i'w - r_i)^2

    where r_i are the residuals at the minimum. Both are computed in the axes of H, and only along those in which the examples
    reach: features may be collinear, or more than the examples. Each update costs some 4 N n_features^2 operations.

    The noise is largest far from the minimum, and what is left of it there is that of the residuals. If X w = y has a solution,
    nothing is left, and at a stable learning rate the loss falls to 0 without any decay or growth.

    Convention: the loss is the MEAN over the examples, with a half. An epoch has N // B updates, as in `train`.

    References
    ----------
    Tutorial 4, ``tutorials/04_dont_decay.md``.

    Examples
    --------
    >>> from sgdnoise import Schedule, Stage
    >>> rng = np.random.default_rng(0)
    >>> X, noise = rng.normal(size=(100, 3)), rng.normal(size=100)
    >>> schedule = Schedule([Stage(2, 0.1, 4), Stage(2, 0.1, 20)])
    >>> linear_regression(schedule, X, X @ np.ones(3) + noise, np.zeros(3)).round(3)
    array([1.361, 0.021, 0.015, 0.007, 0.004])
    """
    X = check.float_array("X", X, ("n_examples", "n_features"), hint=_CONVERT).astype(float)
    y = check.float_array("y", y, (len(X),), hint=_CONVERT).astype(float)
    start = check.float_array("start", start, (X.shape[1],), hint=_CONVERT).astype(float)
    settings, n_train = _momentum(momentum, nesterov), _check_schedule(schedule, len(X))

    left, scales, right = np.linalg.svd(X, full_matrices=False)
    check.number("X's largest singular value", scales[0])
    reached = scales > scales[0] * max(X.shape) * np.finfo(float).eps
    left, scales, right = left[:, reached], scales[reached], right[reached]
    examples, curvature = left * scales, scales**2 / n_train  # in the axes of H
    residuals = y - left @ (left.T @ y)
    offset = right @ start - left.T @ y / scales

    mean = np.zeros((settings.size, len(scales)))
    mean[0] = offset
    moments = np.zeros((settings.size, settings.size, len(scales), len(scales)))
    moments[0, 0] = np.outer(offset, offset)
    losses = [float(curvature @ offset**2) / 2]
    for stage in schedule:
        per_epoch, size = n_train // stage.batch_size, stage.batch_size
        alone = (n_train - size) / (size * max(n_train - 1, 1))  # the only batch of one example has no noise
        for epoch in range(stage.n_epochs):
            for rate in stage.learning_rates_of(epoch, per_epoch).tolist():
                push, kick = settings.update(rate, curvature)
                square = moments[0, 0]
                errors = np.einsum("ni,ni->n", examples @ square, examples)  # then the expected squares of x_i'w - r_i
                errors += residuals**2 - 2 * residuals * (examples @ mean[0])
                noise = (examples.T * errors) @ examples / n_train - np.outer(curvature, curvature) * square
                moments = np.einsum("suij,tuj->stij", np.einsum("sui,utij->stij", push, moments), push)
                moments += alone * _square(kick)[..., None] * noise
                mean = np.einsum("sui,ui->si", push, mean)
            losses.append(float(curvature @ moments[0, 0].diagonal()) / 2)
    return _curve(losses)


@check.arithmetic
def excess_at_rest(noise_scale: Number, trace: Number, n_train: Number) -> Number:
    """Loss by which SGD at rest stays above the minimum, for small learning rates: g tr S/(4 N).

    Parameters
    ----------
    noise_scale : number
        g, as `sgdnoise.noise_scale` gives it; at least 0.
    trace : number
        tr S, the sum of the variances of the per-EXAMPLE gradients over all parameters, of divisor N - 1; at least 0.
    n_train : number
        Training-set size N, above 0.

    Returns
    -------
    number
        Expected excess of the mean loss; of the arguments' type.

    Notes
    -----
    One update's noise has the covariance C = (1/B - 1/N) S. With momentum it moves the parameters by l/(1 - m) in all, so that
    for small steps the covariance V at rest solves H V + V H = (l/(1 - m)) C. The excess is tr(H V)/2, and the trace of
    both sides is 2 tr(H V) = (l/(1 - m)) tr C. Hence::

        excess = l (1/B - 1/N) tr S/(4 (1 - m)) = g tr S/(4 N)

    The curvature drops out, and H and S need not commute: steep directions spread less, and weigh more. So this is what the
    loss falls by where a step of a schedule takes the noise away, (g - g') tr S/(4 N) with g' what is left, soon after that
    step, whether the learning rate fell or the batch grew. Along an eigenvector of curvature h the next order multiplies it by
    1 + l h/2 without momentum, 1 + l h/(2 (1 + m)) with it, and 1 + l h [(1 + 2 m)/(2 (1 + m)) - 2 m^3/(1 - m^2)] with
    Nesterov's. It is by these that growth and decay differ at equal g.

    Convention: the MEAN loss; g for batches drawn without replacement. Directions that have not come to rest, or, with
    epoch reshuffling, that do not forget within an epoch, have another excess: see `quadratic`.

    References
    ----------
    Smith et al. 2018, arXiv:1711.00489, figure 2, for the drops.
    Tutorial 4, ``tutorials/04_dont_decay.md``.

    Examples
    --------
    Two of four drops in the paper's schedule, if tr S were 40:

    >>> from sgdnoise import noise_scale
    >>> excess = [excess_at_rest(noise_scale(rate, 128, 50_000, momentum=0.9), 40.0, 50_000) for rate in (0.1, 0.02, 0.004)]
    >>> [round(before - after, 5) for before, after in zip(excess, excess[1:])]
    [0.06234, 0.01247]
    """
    noise_scale = check.number("noise_scale", noise_scale, at_least=0, arrays=True)
    trace = check.number("trace", trace, at_least=0, arrays=True)
    return noise_scale * trace / (4 * check.number("n_train", n_train, above=0, arrays=True))


@check.arithmetic
def ema_variance_ratio(curvature: Number, learning_rate: Number, decay: Number) -> Number:
    """Variance of an exponential moving average of the iterates, over that of the iterates themselves, at rest.

    The same ratio holds for the excess loss along this direction: averaging is a third way to lower the noise, beside a
    lower learning rate and a larger batch.

    Parameters
    ----------
    curvature, learning_rate : number
        h and l, positive, with l h below 2.
    decay : number
        r, in [0, 1): ``average <- r average + (1 - r) w`` after each update. Some 1/(1 - r) updates are averaged over.

    Returns
    -------
    number
        (1 - r) (1 + r a)/((1 + r) (1 - r a)), a = 1 - l h; of the arguments' type.

    Notes
    -----
    At rest the iterates of two updates that are k apart have the covariance a^k Var(w), and the average holds the iterate of k
    updates ago with the weight (1 - r) r^k. For small l h and 1 - r the ratio is (1 - r)/(1 - r + l h): directions that forget
    within the average lose their noise, the others keep it, and lag behind by as much.

    A batch K times as large has K times fewer updates. For an average over the same examples the decay becomes r^K; together
    with K times the learning rate (the linear rule), that leaves the ratio as it is, to first order in l h and 1 - r.

    Convention: no momentum; noise independent from update to update and of w. Whether the average takes the iterate before or
    after the update makes no difference at rest.

    References
    ----------
    Busbridge et al. 2023, arXiv:2307.13813, for r^K.

    Examples
    --------
    >>> from fractions import Fraction
    >>> ema_variance_ratio(1, Fraction(1, 10), Fraction(9, 10))
    Fraction(181, 361)

    With four times the batch and the learning rate:

    >>> round(ema_variance_ratio(1.0, 0.001, 0.99), 3), round(ema_variance_ratio(1.0, 0.004, 0.99**4), 3)
    (0.909, 0.909)
    """
    curvature = check.number("curvature", curvature, above=0, arrays=True)
    learning_rate = check.number("learning_rate", learning_rate, above=0, arrays=True)
    decay = check.number("decay", decay, at_least=0, below=1, arrays=True)
    x = check.number("learning_rate * curvature", learning_rate * curvature, below=2, arrays=True)
    return (1 - decay) * (1 + decay - decay * x) / ((1 + decay) * (1 - decay + decay * x))
