"""Stochastic gradient Langevin dynamics: SGD made a sampler, after Welling and Teh.

With a prior p(theta), N examples x_i and minibatches of n of them, one update is::

    theta <- theta + eps_t/2 [grad log p(theta) + N/n sum_(i in batch) grad log p(x_i|theta)] + sqrt(eps_t) xi_t       (`sgld`)

with step sizes eps_t = a (b + t)^(-gamma), gamma in (0.5, 1] (`polynomial_step_size`; `polynomial_constants` finds a and b from
the first and the last). Averages over the samples weigh each by its step (`Samples.average`)::

    <f> = sum_t eps_t f(theta_t) / sum_t eps_t

The minibatch adds noise of covariance (eps_t/2)^2 N^2 V/n to the injected eps_t, V the covariance of the examples' gradients.
It falls with eps_t^2, so that SGD turns into Langevin dynamics by itself: while the step is large the first noise rules and
the update is SGD, when it is small the second one does and the update draws from the posterior. Where neither has won, the
samples are too hot by about eps_t N^2 V/(4 n).

Arguments of the wrong type (TypeError), of the wrong shape or out of range (ValueError) are refused.

References
----------
M. Welling, Y. W. Teh, "Bayesian Learning via Stochastic Gradient Langevin Dynamics", ICML 2011.
Y. W. Teh, A. H. Thiery, S. J. Vollmer, "Consistency and Fluctuations for Stochastic Gradient Langevin Dynamics",
Journal of Machine Learning Research 17, 2016, arXiv:1409.0578.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from . import _checks as check
from ._integrate import checked, noise_source, record_steps, run, start
from .sampling import SAMPLINGS, draw

_BLOCK = 1 << 16  # indices drawn at once for independent batches: bounds the memory, and one draw serves many updates


@dataclass(frozen=True)
class _Polynomial:
    """What `polynomial_step_size` returns: a value, so that it can be compared and pickled."""

    a: float
    b: float
    gamma: float

    def __call__(self, t: int) -> float:
        value: float = self.a * (self.b + t) ** -self.gamma
        return value

    def __repr__(self) -> str:
        return f"polynomial_step_size({self.a}, {self.b}, {self.gamma})"


@dataclass(frozen=True, eq=False)
class Samples:
    """What `sgld` recorded.

    Parameters
    ----------
    step : ndarray of int, shape (n_records,)
        Updates done: 0, record_every, 2 record_every, ...
    step_size : ndarray of float, shape (n_records,)
        eps of the update that led to the record: the weight of the sample. 0 for the start, which is not a sample.
    x : ndarray of shape (n_records, n_chains, n_dims)
        The parameters theta.
    """

    step: np.ndarray
    step_size: np.ndarray
    x: np.ndarray

    def average(self, function: Callable[[np.ndarray], np.ndarray] | None = None, *, discard: int = 0) -> np.ndarray:
        """Average over the records, weighted by the step size, for each chain alone.

        Parameters
        ----------
        function : callable, optional
            What to average: takes `x`, of shape (n_records, n_chains, n_dims), and returns an array whose first two axes are
            the same. Default: `x` itself.
        discard : int, default 0
            Updates at the start to leave out (burn-in).

        Returns
        -------
        ndarray of shape (n_chains, ...)
            One average for each chain. Chains are independent, so that their scatter gives the standard error.

        Raises
        ------
        TypeError, ValueError
            If `discard` is not an integer that leaves a record, or `function` changes the first two axes.

        Notes
        -----
        sum eps f(theta) / sum eps over the records after more than `discard` updates.

        Convention: thinned by record_every, a record has the weight of the update it was made at, the last of its stretch.

        References
        ----------
        Welling and Teh 2011, section 4.

        Examples
        --------
        >>> samples = Samples(np.array([0, 1, 2]), np.array([0, 0.3, 0.1]), np.array([[[9.0]], [[1.0]], [[5.0]]]))
        >>> samples.average()
        array([[2.]])
        """
        discard = check.integer("discard", discard, 0, ("the last record's step - 1", int(self.step[-1]) - 1))
        kept = self.step > discard
        x, weights = self.x[kept], self.step_size[kept]
        values = x if function is None else np.asarray(check.function("function", function)(x))
        if values.dtype.kind not in "biuf":
            raise TypeError(f"function must return an array of numbers, got one of dtype {values.dtype}")
        if values.shape[:2] != x.shape[:2]:
            raise ValueError(f"function must return an array of shape {x.shape[:2]} + (...), got shape {values.shape}")
        average: np.ndarray = np.tensordot(weights / weights.sum(), values, axes=1)
        return average


def polynomial_step_size(a: float, b: float, gamma: float) -> Callable[[int], float]:
    """Step sizes that fall as a power of the number of updates.

    Parameters
    ----------
    a : float
        Positive.
    b : float
        Positive.
    gamma : float
        In (0.5, 1], so that the steps sum to infinity and their squares do not.

    Returns
    -------
    callable
        ``step_size(t)`` for t updates done before, also for an array of t. A value, with equality, hash, pickle and a repr
        that is the call.

    Notes
    -----
    eps_t = a (b + t)^(-gamma).

    Convention: t counts from 0; eps is Welling and Teh's, twice the step of `overdamped` at mobility 1.

    References
    ----------
    Welling and Teh 2011, below equation 2.
    Tutorial 7, ``tutorials/07_sgld.md``.

    Examples
    --------
    >>> step_size = polynomial_step_size(1.0, 4.0, 1.0)
    >>> step_size(0), step_size(6)
    (0.25, 0.1)
    """
    a = float(check.number("a", a, above=0))
    b = float(check.number("b", b, above=0))
    hint = "the steps must sum to infinity, their squares must not"
    gamma = float(check.number("gamma", gamma, above=0.5, at_most=1, hint=hint))
    return _Polynomial(a, b, gamma)


@check.arithmetic
def polynomial_constants(first: float, last: float, n_steps: int, gamma: float) -> tuple[float, float]:
    """Constants a and b with which `polynomial_step_size` falls from one step size to another.

    Parameters
    ----------
    first : float
        eps_t at t = 0.
    last : float
        eps_t at t = n_steps; positive and below `first`.
    n_steps : int
        Updates in between.
    gamma : float
        In (0.5, 1].

    Returns
    -------
    a, b : float
        The constants.

    Notes
    -----
    b = n_steps/((first/last)^(1/gamma) - 1), a = first b^gamma.

    References
    ----------
    Tutorial 7, ``tutorials/07_sgld.md``.

    Examples
    --------
    Welling and Teh's toy: from 0.01 to 0.0001 in 10000 passes over 100 examples:

    >>> a, b = polynomial_constants(0.01, 0.0001, 1_000_000, 0.55)
    >>> round(a, 6), round(b, 3)
    (0.199552, 231.066)
    """
    first = float(check.number("first", first, above=0))
    last = float(check.number("last", last, above=0, below=("first", first)))
    n_steps = check.integer("n_steps", n_steps)
    gamma = float(check.number("gamma", gamma, above=0.5, at_most=1))
    b = n_steps / ((first / last) ** (1 / gamma) - 1)
    return first * b**gamma, b


def sgld(
    grad_log_prior: Callable[[np.ndarray], np.ndarray] | None,
    grad_log_likelihood: Callable[[np.ndarray, np.ndarray], np.ndarray],
    x0: np.ndarray,
    *,
    step_size: float | np.ndarray | Callable[[int], float],
    n_steps: int,
    n_train: int,
    batch_size: int,
    sampling: str = "reshuffle",
    rng: check.Seed = None,
    noise: np.ndarray | None = None,
    increments: str = "normal",
    record_every: int = 1,
) -> Samples:
    """Sample a posterior by stochastic gradient Langevin dynamics, with many chains at once.

    Parameters
    ----------
    grad_log_prior : callable or None
        Gradient of the log prior: takes and returns an array of shape (n_chains, n_dims). None for a flat prior.
    grad_log_likelihood : callable
        ``grad_log_likelihood(theta, batch)``: theta of shape (n_chains, n_dims), batch the indices of the minibatches, of
        shape (n_chains, batch_size), one row a chain. Returns, in the shape of theta, the SUM over each chain's minibatch of
        the gradients of the examples' log likelihoods. `sgld` multiplies it by N/n.
    x0 : ndarray of shape (n_chains, n_dims)
        Where the chains start; float32 or float64, in which everything is computed. Not changed.
    step_size : float, ndarray of shape (n_steps,), or callable
        eps_t: a number, one for each update, or a function of the updates done before, such as `polynomial_step_size` makes.
    n_steps : int
        Number of updates.
    n_train : int
        Number of examples N.
    batch_size : int
        n, from 1 to N.
    sampling : {"reshuffle", "without_replacement", "with_replacement"}, default "reshuffle"
        How each chain draws its own minibatches; see `minibatches`. "reshuffle" is what Welling and Teh did. The full batch,
        n = N, is then not drawn but handed over in order.
    rng : numpy.random.Generator, BitGenerator, SeedSequence, int or None, keyword-only
        Source of the minibatches and, unless `noise` is given, of the injected noise.
    noise : ndarray of shape (n_steps, n_chains, n_dims), optional
        Standard normals to inject in place of those from `rng`, which then draws the minibatches only.
    increments : {"normal", "box-muller", "signs"}, default "normal"
        What is drawn for xi, see `normals` and `langevin.overdamped`. "box-muller": for float32 parameters. "signs": averages
        keep a bias of order eps, as an update is an Euler-Maruyama step.
    record_every : int, default 1
        Updates between two records, from 1 to n_steps. Memory does not grow with n_steps, only with the number of records.

    Returns
    -------
    Samples
        n_steps // record_every + 1 records, the start included, with the step sizes that weigh them.

    Raises
    ------
    TypeError, ValueError
        If `increments` is given together with `noise` or does not fit the dtype, a callable returns another shape, or
        `step_size` returns anything but a positive number.
    TrajectoryDivergenceError
        If a chain is not finite any more; NumPy's warnings on the way there are silenced.

    Notes
    -----
    theta <- theta + eps/2 (grad log prior + N/n sum grad log likelihood) + sqrt(eps) xi.

    Convention: the drift is eps/2 and the injected VARIANCE is eps. Libraries that drift by eps and inject 2 eps have half
    this eps. The likelihood's gradient is a sum over the minibatch, so that N/n makes it an estimate of the sum over all
    examples; a mean would want N instead.

    References
    ----------
    Welling and Teh 2011, equation 4.
    Tutorial 7, ``tutorials/07_sgld.md``.

    Examples
    --------
    The mean of 100 normal numbers of variance 1, with a prior of variance 1; the posterior is Normal(mean * 100/101, 1/101):

    >>> data = np.random.default_rng(0).normal(0.5, 1.0, 100)
    >>> samples = sgld(lambda theta: -theta, lambda theta, batch: (data[batch] - theta).sum(axis=1, keepdims=True),
    ...                np.zeros((50, 1)), step_size=1e-3, n_steps=2000, n_train=100, batch_size=10, rng=1)
    >>> bool(abs(samples.average(discard=200).mean() - data.sum() / 101) < 0.005)
    True
    """
    x, n_steps, record_every = start(x0, n_steps, record_every)
    n_train = check.integer("n_train", n_train)
    batch_size = check.integer("batch_size", batch_size, 1, ("n_train", n_train))
    eps = _step_sizes(step_size, n_steps)
    rng = check.generator(rng)
    batch_of = _batches(len(x), n_train, batch_size, check.choice("sampling", sampling, SAMPLINGS), rng)
    fill = noise_source(noise, rng, (n_steps, *x.shape), x.dtype, increments, signs=True, alone=False)
    likelihood = checked("grad_log_likelihood", grad_log_likelihood, x.shape)
    prior = None if grad_log_prior is None else checked("grad_log_prior", grad_log_prior, x.shape)
    factor = n_train / batch_size
    move, xi = np.empty_like(x), np.empty_like(x)

    def advance(t: int) -> None:
        eps_t = eps(t)
        np.multiply(likelihood(x, batch_of(t)), factor, out=move)
        if prior is not None:
            np.add(move, prior(x), out=move)
        np.multiply(move, eps_t / 2, out=move)
        fill(t, xi)
        np.multiply(xi, math.sqrt(eps_t), out=xi)
        np.add(move, xi, out=move)
        np.add(x, move, out=x)

    (theta,) = run(advance, (x,), n_steps=n_steps, record_every=record_every, step_size=eps)
    step = record_steps(n_steps, record_every)
    return Samples(step, np.array([0.0] + [eps(int(t) - 1) for t in step[1:]]), theta)


def _step_sizes(step_size: object, n_steps: int) -> Callable[[int], float]:
    """Return eps as a function of the updates done before."""
    if callable(step_size):

        def eps(t: int) -> float:
            value = check.answer("what step_size(t) returns", step_size(t), "one for all chains")
            if not 0 < value < math.inf:
                raise ValueError(f"step_size must be finite and above 0, got {value} at t = {t}")
            return value

        return eps
    values = check.series("step_size", step_size, n_steps, "step size for each update", above=0)
    if isinstance(values, np.ndarray):
        return lambda t: float(values[t])
    return lambda t: values


def _batches(
    n_chains: int, n_train: int, batch_size: int, sampling: str, rng: np.random.Generator
) -> Callable[[int], np.ndarray]:
    """Return the function t -> indices of shape (n_chains, batch_size), to be called for t = 0, 1, 2, ..."""
    order = np.tile(np.arange(n_train), (n_chains, 1)) if sampling == "reshuffle" else None
    if order is not None and batch_size == n_train:
        return lambda t: order
    per_draw = max(1, _BLOCK // (n_chains * batch_size)) if order is None else n_train // batch_size
    drawn = np.empty(0)

    def batch_of(t: int) -> np.ndarray:
        nonlocal drawn
        if t % per_draw == 0:
            drawn = draw(rng, n_train, batch_size, per_draw, n_chains, sampling, order)
        rows: np.ndarray = drawn[t % per_draw]
        return rows

    return batch_of
