"""Boltzmann's law and escape over barriers, by quadrature: what Langevin dynamics is measured against.

In a landscape U at temperature T (k_B = 1) overdamped dynamics of mobility lambda comes to rest at the density::

    exp(-U(x)/T)/Z                                                                                 (`boltzmann_density`)

In one dimension the mean time to get from x_0 to a point to its right, with a reflecting wall to the left, is::

    1/(lambda T) int_(x_0)^(target) dy exp(U(y)/T) int_(wall)^y dz exp(-U(z)/T)                    (`mean_passage_time`)

and tends to Kramers' law where the barrier in between is much higher than T::

    2 pi/(lambda sqrt(U''(minimum) |U''(barrier)|)) exp((U(barrier) - U(minimum))/T)               (`kramers_time`)

The functions share ``energy``, the function U, which takes an array of shape (n_points, n_dims) and returns (n_points,);
``temperature``, k_B T, positive; and ``mobility``, lambda, positive. Each refuses what is of the wrong type (TypeError), and
what is not finite or out of its range (ValueError).

References
----------
P. Hanggi, P. Talkner, M. Borkovec, "Reaction-rate theory: fifty years after Kramers", Reviews of Modern Physics 62, 251, 1990.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np

from . import _checks as check


def boltzmann_density(energy: Callable[[np.ndarray], np.ndarray], temperature: float, axes: Sequence[np.ndarray]) -> np.ndarray:
    """Boltzmann's density exp(-U/T)/Z on a grid.

    Parameters
    ----------
    energy, temperature
        See the module.
    axes : sequence of ndarray
        The evenly spaced grid points along each dimension, two or more; far enough out that the density vanishes at the ends.

    Returns
    -------
    ndarray of shape (len(axes[0]), len(axes[1]), ...)
        The density at the grid points. Times the volume of a cell it sums to 1.

    Notes
    -----
    The trapezoidal rule, which for a smooth density that vanishes at the ends converges faster than any power of the spacing.

    References
    ----------
    Tutorial 2, ``tutorials/02_sgd_as_langevin.md``.

    Examples
    --------
    >>> x = np.linspace(-12, 12, 401)
    >>> density = boltzmann_density(lambda x: x[:, 0] ** 2 / 2, 2.0, [x])
    >>> round(float((x**2 * density).sum() * (x[1] - x[0])), 12)  # T/h
    2.0
    """
    temperature = float(check.number("temperature", temperature, above=0))
    axes = [_axis(axis) for axis in check.sequence("axes", axes, "arrays")]
    if not axes:
        raise ValueError("axes must hold at least one array, got none")
    cell = math.prod(float(axis[-1] - axis[0]) / (len(axis) - 1) for axis in axes)
    check.number("axes", cell, above=0, hint="this is the volume of a cell")
    points = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1)
    values = _energies(energy, points.reshape(-1, len(axes)), temperature).reshape(points.shape[:-1])
    weights = np.exp(values.min() - values)
    density: np.ndarray = weights / (weights.sum() * cell)
    return density


@check.arithmetic
def kramers_time(
    height: float, curvature_minimum: float, curvature_barrier: float, temperature: float, *, mobility: float = 1.0
) -> float:
    """Mean time of an escape over a barrier by Kramers' law, overdamped and in one dimension.

    2 pi/(lambda sqrt(U''(minimum) |U''(barrier)|)) exp(height/T), with a relative error of order T/height. Its logarithm
    against 1/T is a line whose slope is `height`.

    Parameters
    ----------
    height : float
        Energy of the barrier above the minimum, positive; the law holds where it is much larger than the temperature.
    curvature_minimum, curvature_barrier : float
        U'' at the minimum and -U'' on the barrier, both positive.
    temperature, mobility
        See the module.

    Notes
    -----
    Convention: the time to ARRIVE in the next well. The barrier's top is reached in half of it.

    References
    ----------
    Hanggi, Talkner and Borkovec 1990, section IV.

    Examples
    --------
    >>> round(kramers_time(1.0, 8.0, 4.0, 0.2), 1)
    164.8
    """
    height = float(check.number("height", height, above=0))
    at_minimum = float(check.number("curvature_minimum", curvature_minimum, above=0))
    at_barrier = float(check.number("curvature_barrier", curvature_barrier, above=0, hint="it is -U'', not U''"))
    temperature = float(check.number("temperature", temperature, above=0))
    mobility = float(check.number("mobility", mobility, above=0))
    return 2 * math.pi / (mobility * math.sqrt(at_minimum * at_barrier)) * math.exp(height / temperature)


def mean_passage_time(
    energy: Callable[[np.ndarray], np.ndarray],
    begin: float,
    target: float,
    wall: float,
    temperature: float,
    *,
    mobility: float = 1.0,
    n_points: int = 20_001,
) -> float:
    """Mean time until an overdamped walker in one dimension first reaches a point: exact, by quadrature.

    1/(lambda T) times the integral from begin to target over y of exp(U(y)/T) times the integral from wall to y over z of
    exp(-U(z)/T).

    Parameters
    ----------
    energy, temperature, mobility
        See the module.
    begin, target : float
        Where the walker starts, and the point it is to reach.
    wall : float
        A reflecting wall on the far side of `begin`, where the energy is so high that its place does not matter.
    n_points : int, default 20001
        Points of each of the grids from `wall` to `begin` and from there to `target`.

    References
    ----------
    Hanggi, Talkner and Borkovec 1990, section VII.

    Examples
    --------
    Free diffusion from a wall over the distance 1 takes 1/2 a unit of time at lambda T = 1:

    >>> round(mean_passage_time(lambda x: 0 * x[:, 0], 0.0, 1.0, 0.0, 1.0), 6)
    0.5
    """
    begin, target, wall = (
        float(check.number(name, value)) for name, value in (("begin", begin), ("target", target), ("wall", wall))
    )
    temperature = float(check.number("temperature", temperature, above=0))
    mobility = float(check.number("mobility", mobility, above=0))
    n_points = check.integer("n_points", n_points, 3)
    if not (wall <= begin < target or wall >= begin > target):
        raise ValueError(f"begin must be between wall={wall} and target={target}, and not the target, got {begin}")
    before, after = np.linspace(wall, begin, n_points), np.linspace(begin, target, n_points)
    u_before, u_after = (_energies(energy, grid[:, None], temperature) for grid in (before, after))
    lowest = min(u_before.min(), u_after.min())
    inner = _cumulative(np.exp(lowest - u_before), before)[-1] + _cumulative(np.exp(lowest - u_after), after)
    with np.errstate(all="ignore"):
        time = _cumulative(np.exp(u_after - lowest) * inner, after)[-1] / np.float64(mobility * temperature)
    return float(check.number("the result", time, hint="the walker takes longer than floating point can say"))


def _axis(axis: np.ndarray) -> np.ndarray:
    """Return evenly spaced grid points in rising order, if these are."""
    axis = check.float_array("axes", axis, ("n",))
    steps = np.diff(axis / 2)  # no difference of halves overflows
    rounding = 2 * np.finfo(axis.dtype).eps * float(np.abs(axis / 2).max())
    if len(axis) < 2 or not (steps > 0).all() or np.ptp(steps) > 1e-2 * steps.mean() + 2 * rounding:
        raise ValueError(f"axes must be rising and evenly spaced, two points or more, got {axis[:3]}...")
    return axis


def _energies(energy: Callable[[np.ndarray], np.ndarray], points: np.ndarray, temperature: float) -> np.ndarray:
    """Return the user's energies of these points over the temperature; some may be infinite, as beyond a wall."""
    check.function("energy", energy)
    with np.errstate(over="ignore"):
        found = energy(points)
        found = found.astype(float) if check.plain_array(found) and found.dtype.kind in "iu" else found  # steps, for instance
        values: np.ndarray = check.floats("energy(x)", found, points[:, 0], "one for each point") / temperature
    if np.isnan(values).any() or abs(values.min()) == np.inf:
        raise ValueError("energy(x)/temperature must be numbers, some of them finite, got NaN, -inf or nothing but inf")
    return values


def _cumulative(values: np.ndarray, grid: np.ndarray) -> np.ndarray:
    """Integrate from the first grid point to each, by trapezia; positive also along a grid that falls."""
    spacing = abs(grid[-1] - grid[0]) / (len(grid) - 1)
    integral: np.ndarray = np.concatenate(([0.0], np.cumsum(values[1:] + values[:-1]) * (spacing / 2)))
    return integral
