r"""Langevin dynamics: the equations that SGD is compared with, for any number of walkers at once.

Overdamped dynamics in a landscape U, with mobility lambda and temperature T (k_B = 1)::

    dx = -lambda grad U(x) dt + sqrt(2 lambda T) dW                                                (`overdamped`)

has Boltzmann's law exp(-U/T) at rest. One step of length dt, with independent standard normals xi_t::

    x <- x - lambda dt grad U(x) + sqrt(2 lambda T dt) xi_t                      Euler-Maruyama
    x <- x - lambda dt grad U(x) + sqrt(2 lambda T dt) (xi_t + xi_(t+1))/2       Leimkuhler-Matthews [1]_

Underdamped dynamics with momenta p, unit mass and friction gamma, whose law at rest is exp(-U/T - p^2/2T)::

    dx = p dt,    dp = -grad U(x) dt - gamma p dt + sqrt(2 gamma T) dW                             (`underdamped`)

One step of BAOAB [2]_, with c = exp(-gamma dt)::

    p <- p - dt/2 grad U(x)                  half a kick                              B
    x <- x + dt/2 p                          half a drift                             A
    p <- c p + sqrt(T (1 - c^2)) xi_t        friction and noise, solved exactly       O
    x <- x + dt/2 p                                                                   A
    p <- p - dt/2 grad U(x)                                                           B

The stochastic differential equation of SGD [3]_, with C the cost SUMMED over the N examples, F(w) the covariance of the
per-example gradients and g the noise scale, at the time step eps/N that makes one step of one update::

    dw = -grad C(w) dt + sqrt(g F(w)) dW                                                           (`sgd_sde`)
    w <- w - (eps/N) grad C(w) + sqrt(g eps/N) R(w) xi_t,        R R' = F

Where F = f I this is overdamped dynamics in C at mobility 1 and temperature g f/2. Stochastic gradient Langevin dynamics
(`sgld`) turns SGD itself into a sampler of a posterior.

What is exact, and what the schemes' orders are::

                              strong  weak  covariance at rest on U = x' H x/2
    Euler-Maruyama              1      1    solves C = A C A' + 2 lambda T dt I, A = I - lambda dt H; in one
                                            dimension 2 lambda T dt/(1 - (1 - lambda dt h)^2)
    Leimkuhler-Matthews        1/2     1    T H^-1, exact at every stable step (and averages at rest have order 2)
    BAOAB                       1      2    positions T H^-1, momenta T (I - dt^2 H/4), uncorrelated
    Euler-Maruyama, F(w)       1/2     1    (strong order 1 where F is constant)

The strong orders hold with xi_t sqrt(dt) the increment of the Wiener process over step t.

The integrators share these arguments::

    x0            the walkers' starting points; everything is computed in their dtype, float32 or float64. Not changed
    n_steps       number of steps
    record_every  steps between two records, from 1 to n_steps; default 1. There are n_steps // record_every + 1 records,
                  the start included. Memory grows with their number only, not with n_steps
    rng           handed to numpy.random.default_rng
    noise         standard normals in place of `rng`, a row for each step; the result is then a deterministic function of
                  the arguments
    increments    what is drawn for xi (see `normals`):
                  "normal"      the default
                  "box-muller"  normals to 24 bits at a third of the time, for float32 positions
                  "signs"       +1 or -1, which costs next to nothing and keeps the weak order 1 of Euler-Maruyama:
                                averages of smooth functions converge as before, paths do not

The integrators refuse what is of the wrong type (TypeError), and what is not finite, of the wrong shape or out of its range, a
`noise` together with `rng` or `increments`, increments that do not fit the scheme or the dtype, and a callable that returns
another shape (ValueError). They raise `TrajectoryDivergenceError` when a walker is no longer finite; NumPy's warnings on the
way there are silenced.

References
----------
.. [1] B. Leimkuhler, C. Matthews, M. V. Tretyakov, "On the long-time integration of stochastic gradient systems",
   Proceedings of the Royal Society A 470, 20140120, 2014.
.. [2] B. Leimkuhler, C. Matthews, "Rational construction of stochastic numerical methods for molecular sampling",
   Applied Mathematics Research eXpress 2013, 34-56, 2013.
.. [3] S. L. Smith, P.-J. Kindermans, C. Ying, Q. V. Le, "Don't Decay the Learning Rate, Increase the Batch Size",
   ICLR 2018, arXiv:1711.00489.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from . import _checks as check
from ._integrate import TrajectoryDivergenceError, checked, noise_source, per_dimension, record_steps, root_series, run, start
from .sgld import Samples, polynomial_constants, polynomial_step_size, sgld

__all__ = [
    "SCHEMES",
    "Samples",
    "Trajectory",
    "TrajectoryDivergenceError",
    "overdamped",
    "polynomial_constants",
    "polynomial_step_size",
    "sgd_sde",
    "sgld",
    "underdamped",
]

SCHEMES = ("euler-maruyama", "leimkuhler-matthews")
"""Schemes of `overdamped`."""


@dataclass(frozen=True, eq=False)
class Trajectory:
    """Recorded positions of the walkers.

    Parameters
    ----------
    step : ndarray of int, shape (n_records,)
        Steps done: 0, record_every, 2 record_every, ... A last stretch shorter than record_every is run but not recorded.
    time : ndarray of float, shape (n_records,)
        The time of the equation: `step` times the step size.
    x : ndarray of shape (n_records, n_walkers, n_dims)
        Positions; ``x[0]`` is where the walkers started.
    p : ndarray of shape (n_records, n_walkers, n_dims), or None
        Momenta, from `underdamped` only.
    """

    step: np.ndarray
    time: np.ndarray
    x: np.ndarray
    p: np.ndarray | None = None


def overdamped(
    grad_energy: Callable[[np.ndarray], np.ndarray],
    x0: np.ndarray,
    *,
    step_size: float,
    n_steps: int,
    temperature: float | np.ndarray = 1.0,
    mobility: float | np.ndarray = 1.0,
    scheme: str = "euler-maruyama",
    rng: check.Seed = None,
    noise: np.ndarray | None = None,
    increments: str = "normal",
    record_every: int = 1,
) -> Trajectory:
    """Integrate overdamped Langevin dynamics.

    Parameters
    ----------
    grad_energy : callable
        Gradient of the energy U: takes and returns an array of shape (n_walkers, n_dims).
    x0 : ndarray of shape (n_walkers, n_dims)
        Where the walkers start.
    step_size, n_steps : float, int
        Time step dt, positive, and number of steps.
    temperature : float or ndarray of shape (n_steps,), default 1
        k_B T, at least 0: one number, or one for each step (annealing).
    mobility : float or ndarray of shape (n_dims,), default 1
        lambda, positive: one number, or one for each dimension.
    scheme : {"euler-maruyama", "leimkuhler-matthews"}, default "euler-maruyama"
        See the module's table. Leimkuhler-Matthews costs the same, and has the smaller bias at rest.
    rng, increments, record_every
        See the module. Leimkuhler-Matthews takes no "signs".
    noise : ndarray of shape (n_steps, n_walkers, n_dims), optional
        Standard normals in place of `rng`. For Leimkuhler-Matthews n_steps + 1 rows: step t uses rows t and t + 1.

    Returns
    -------
    Trajectory
        n_steps // record_every + 1 records, the start included; its time is that of the equation.

    Notes
    -----
    x <- x - lambda dt grad U(x) + sqrt(2 lambda T dt) xi.

    Convention: drift and noise carry the mobility, so that the law at rest, exp(-U/T), does not depend on it. SGLD's
    convention (drift eps/2, injected variance eps) is this at T = 1, U = -log posterior and lambda dt = eps/2. On a quadratic
    the step is stable while lambda dt h < 2 for every curvature h.

    References
    ----------
    Leimkuhler, Matthews and Tretyakov 2014, section 1, for the two schemes.
    Tutorial 2, ``tutorials/02_sgd_as_langevin.md``.

    Examples
    --------
    At dt h = 0.8 Euler-Maruyama is too hot, 2 T dt/(1 - (1 - dt h)^2) = 0.25, where Leimkuhler-Matthews has T/h = 0.15:

    >>> settings = dict(step_size=0.4, n_steps=20, temperature=0.3, record_every=20, rng=0)
    >>> for scheme in SCHEMES:
    ...     print(round(overdamped(lambda x: 2 * x, np.zeros((100_000, 1)), scheme=scheme, **settings).x[-1].var(), 2))
    0.25
    0.15

    Annealing is an array of temperatures:

    >>> cooling = np.geomspace(1, 1e-6, 2000)
    >>> cold = overdamped(lambda x: 2 * x, np.ones((5, 1)), step_size=0.01, n_steps=2000, temperature=cooling, rng=0)
    >>> bool(abs(cold.x[-1]).max() < 0.01)
    True
    """
    x, n_steps, record_every = start(x0, n_steps, record_every)
    step_size = float(check.number("step_size", step_size, above=0))
    temperature = check.series("temperature", temperature, n_steps, "temperature for each step", at_least=0)
    mobility = per_dimension("mobility", mobility, x, above=0)
    averages = check.choice("scheme", scheme, SCHEMES) == "leimkuhler-matthews"
    draw = noise_source(noise, rng, (n_steps + averages, *x.shape), x.dtype, increments, signs=not averages)
    gradient = checked("grad_energy", grad_energy, x.shape)
    drift, spread = -step_size * mobility, (2 * step_size * mobility) ** 0.5
    amplitude = root_series(spread / 2 if averages else spread, temperature)
    move, xi = np.empty_like(x), (np.empty_like(x), np.empty_like(x))

    def euler_maruyama(t: int) -> None:
        np.multiply(gradient(x), drift, out=move)
        np.add(x, move, out=x)
        draw(t, move)
        np.multiply(move, amplitude(t), out=move)
        np.add(x, move, out=x)

    def leimkuhler_matthews(t: int) -> None:
        np.multiply(gradient(x), drift, out=move)
        np.add(x, move, out=x)
        old, new = xi[t % 2], xi[(t + 1) % 2]
        draw(t + 1, new)
        np.add(old, new, out=old)
        np.multiply(old, amplitude(t), out=old)
        np.add(x, old, out=x)

    if averages:
        draw(0, xi[0])
    advance = leimkuhler_matthews if averages else euler_maruyama
    (positions,) = run(advance, (x,), n_steps=n_steps, record_every=record_every, step_size=lambda t: step_size)
    step = record_steps(n_steps, record_every)
    return Trajectory(step, step_size * step, positions)


def underdamped(
    grad_energy: Callable[[np.ndarray], np.ndarray],
    x0: np.ndarray,
    *,
    step_size: float,
    n_steps: int,
    temperature: float | np.ndarray = 1.0,
    friction: float | np.ndarray = 1.0,
    p0: np.ndarray | None = None,
    rng: check.Seed = None,
    noise: np.ndarray | None = None,
    increments: str = "normal",
    record_every: int = 1,
) -> Trajectory:
    """Integrate underdamped Langevin dynamics of unit mass by BAOAB.

    Parameters
    ----------
    grad_energy : callable
        Gradient of the energy U, as for `overdamped`. Called once a step, and once before the first.
    friction : float or ndarray of shape (n_dims,), default 1
        gamma, at least 0: one number, or one for each dimension. Without friction there is no noise either, and the scheme
        is velocity Verlet.
    p0 : ndarray of shape (n_walkers, n_dims), optional
        Momenta at the start, of the dtype of `x0`; at rest if not given. Not changed.
    x0, step_size, n_steps, temperature, rng, noise, increments, record_every
        As for `overdamped`; `noise` has n_steps rows. "signs" would lower the weak order 2 to 1, and are refused.

    Returns
    -------
    Trajectory
        Records of positions and momenta.

    Notes
    -----
    dx = p dt, dp = -grad U dt - gamma p dt + sqrt(2 gamma T) dW, split into half kick (B), half drift (A), the exact
    Ornstein-Uhlenbeck step of the momenta (O), half drift, half kick.

    Convention: mass 1, and gamma is a rate: momenta forget within 1/gamma. At large gamma the positions follow `overdamped`
    with mobility 1/gamma. On a quadratic the step is stable while dt^2 h < 4 for every curvature h; below that the
    covariance of the positions at rest is exact, and a momentum's variance is T (1 - dt^2 h/4).

    References
    ----------
    Leimkuhler and Matthews 2013, the method they call BAOAB.

    Examples
    --------
    Without friction and temperature a harmonic oscillator keeps its energy, (p^2 + x^2)/2 = 1/2, up to order dt^2:

    >>> path = underdamped(lambda x: x, np.ones((1, 1)), step_size=0.01, n_steps=1000, temperature=0.0, friction=0.0)
    >>> bool(abs(path.p**2 + path.x**2 - 1).max() < 1e-4)
    True
    """
    x, n_steps, record_every = start(x0, n_steps, record_every)
    step_size = float(check.number("step_size", step_size, above=0))
    temperature = check.series("temperature", temperature, n_steps, "temperature for each step", at_least=0)
    friction = per_dimension("friction", friction, x, at_least=0)
    hint = "of the shape of x0"
    p = np.zeros_like(x) if p0 is None else check.float_array("p0", p0, x.shape, hint=hint).astype(x.dtype)
    draw = noise_source(noise, rng, (n_steps, *x.shape), x.dtype, increments)
    gradient = checked("grad_energy", grad_energy, x.shape)
    library = np if isinstance(friction, np.ndarray) else math  # a float from math leaves float32 alone
    keep = library.exp(-step_size * friction)
    amplitude = root_series((-library.expm1(-2 * step_size * friction)) ** 0.5, temperature)
    half = step_size / 2
    kick, move = np.empty_like(x), np.empty_like(x)
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        np.multiply(gradient(x), -half, out=kick)

    def baoab(t: int) -> None:
        np.add(p, kick, out=p)
        np.multiply(p, half, out=move)
        np.add(x, move, out=x)
        draw(t, move)
        np.multiply(move, amplitude(t), out=move)
        np.multiply(p, keep, out=p)
        np.add(p, move, out=p)
        np.multiply(p, half, out=move)
        np.add(x, move, out=x)
        np.multiply(gradient(x), -half, out=kick)
        np.add(p, kick, out=p)

    positions, momenta = run(baoab, (x, p), n_steps=n_steps, record_every=record_every, step_size=lambda t: step_size)
    step = record_steps(n_steps, record_every)
    return Trajectory(step, step_size * step, positions, momenta)


def sgd_sde(
    grad_cost: Callable[[np.ndarray], np.ndarray],
    noise_root: Callable[[np.ndarray], np.ndarray] | np.ndarray,
    x0: np.ndarray,
    *,
    noise_scale: float | np.ndarray,
    learning_rate: float | np.ndarray,
    n_train: int,
    n_steps: int,
    rng: check.Seed = None,
    noise: np.ndarray | None = None,
    increments: str = "normal",
    record_every: int = 1,
) -> Trajectory:
    """Integrate the stochastic differential equation of SGD by Euler-Maruyama, one step for each update.

    Parameters
    ----------
    grad_cost : callable
        Gradient of the papers' cost C, the SUM of the losses of all N examples (N times the gradient of the mean loss):
        takes and returns an array of shape (n_walkers, n_dims).
    noise_root : callable or ndarray of shape (n_dims, n_noise)
        A root R of the covariance F of the per-example gradients, ``R @ R.T == F``: Cholesky's or any other. A callable
        takes an array of shape (n_walkers, n_dims) and returns R, of shape (n_dims, n_noise), or one R for each walker, of
        shape (n_walkers, n_dims, n_noise).
    x0 : ndarray of shape (n_walkers, n_dims)
        Parameters w at the start.
    noise_scale : float or ndarray of shape (n_steps,)
        The papers' g, at least 0; from `sgdnoise.noise_scale`. One number, or one for each step.
    learning_rate : float or ndarray of shape (n_steps,)
        The papers' eps, per mean gradient; positive. It sets the time step eps/N and nothing else, so that eps/k with the
        same g and k times the steps approaches continuous time.
    n_train, n_steps : int
        Training-set size N, and number of steps.
    rng, increments, record_every
        See the module. With "signs", too, a step has the mean and the covariance of an update of plain SGD.
    noise : ndarray of shape (n_steps, n_walkers, n_noise), optional
        Standard normals in place of `rng`.

    Returns
    -------
    Trajectory
        Its time is the sum of eps/N, added up in float64.

    Notes
    -----
    w <- w - (eps/N) grad C(w) + sqrt(g eps/N) R(w) xi.

    Convention: C is the SUM and F is the covariance of single per-example gradients, of divisor N - 1 where g is that of
    sampling without replacement. A step then has the mean and the covariance of an update of plain SGD exactly, because
    g eps/N = eps^2 (1/B - 1/N): the covariance at rest on a quadratic with constant F is SGD's own, and only the shape of the
    noise, Gaussian here, differs. The equation is Ito's.

    References
    ----------
    Smith et al. 2018, arXiv:1711.00489, equation 3.
    Tutorial 2, ``tutorials/02_sgd_as_langevin.md``.

    Examples
    --------
    SGD on a mean loss x^2/2 of curvature 1 with gradient variance 0.5, at a learning rate of 0.3 and B = 1 of N = 1000:

    >>> from sgdnoise import noise_scale
    >>> g, root = noise_scale(0.3, 1, 1000), np.array([[0.5**0.5]])
    >>> w = sgd_sde(lambda w: 1000 * w, root, np.zeros((100_000, 1)), noise_scale=g, learning_rate=0.3, n_train=1000,
    ...             n_steps=30, record_every=30, rng=0).x[-1]
    >>> print(round(w.var(), 2), round(0.3 * 0.5 / (2 - 0.3), 2))  # the latter its exact variance at rest, up to 1/N
    0.09 0.09
    """
    x, n_steps, record_every = start(x0, n_steps, record_every)
    learning_rate = check.series("learning_rate", learning_rate, n_steps, "learning rate for each step", above=0)
    noise_scale = check.series("noise_scale", noise_scale, n_steps, "noise scale for each step", at_least=0)
    n_train = check.integer("n_train", n_train)
    gradient = checked("grad_cost", grad_cost, x.shape)
    root, n_noise = _root(noise_root, x)
    draw = noise_source(noise, rng, (n_steps, len(x), n_noise), x.dtype, increments, signs=True)
    eps, g = np.broadcast_to(learning_rate, n_steps), np.broadcast_to(noise_scale, n_steps)
    move, push, xi = np.empty_like(x), np.empty_like(x), np.empty((len(x), n_noise), x.dtype)

    def euler_maruyama(t: int) -> None:
        time_step = float(eps[t]) / n_train
        draw(t, xi)
        np.multiply(xi, math.sqrt(float(g[t]) * time_step), out=xi)
        here = root(x)
        if here.ndim == 2:
            np.matmul(xi, here.T, out=push)
        else:
            np.einsum("wij,wj->wi", here, xi, out=push, casting="same_kind")
        np.multiply(gradient(x), -time_step, out=move)
        np.add(move, push, out=move)
        np.add(x, move, out=x)

    def step_size(t: int) -> float:
        return float(eps[t]) / n_train

    (positions,) = run(euler_maruyama, (x,), n_steps=n_steps, record_every=record_every, step_size=step_size)
    step = record_steps(n_steps, record_every)
    if isinstance(learning_rate, np.ndarray):
        return Trajectory(step, np.concatenate(([0.0], np.cumsum(learning_rate, dtype=np.float64)))[step] / n_train, positions)
    return Trajectory(step, learning_rate / n_train * step, positions)


def _root(noise_root: object, x: np.ndarray) -> tuple[Callable[[np.ndarray], np.ndarray], int]:
    """Return the root of F as a function of the positions, and its number of columns."""
    n_walkers, n_dims = x.shape
    if isinstance(noise_root, np.ndarray):
        constant = check.float_array("noise_root", noise_root, (n_dims, "n_noise")).astype(x.dtype)
        return lambda x: constant, constant.shape[1]
    shape = getattr(check.function("noise_root", noise_root)(x), "shape", ())
    n_noise = shape[-1] if shape else 0
    if n_noise == 0 or shape not in ((n_dims, n_noise), (n_walkers, n_dims, n_noise)):
        wanted = f"({n_dims}, n_noise) or ({n_walkers}, {n_dims}, n_noise)"
        raise ValueError(f"noise_root must return an array of shape {wanted}, got shape {shape}; R such that R @ R.T is F")
    return checked("noise_root", noise_root, shape), n_noise
