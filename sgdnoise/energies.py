"""Landscapes for Langevin dynamics, with what is known about them exactly.

Each has ``energy(x)``, which takes walkers of shape (n_walkers, n_dims) and returns (n_walkers,), and ``gradient(x)`` of the
shape of x, as `langevin.overdamped` and `langevin.underdamped` want it::

    Quadratic        x' H x/2                            the law at rest is Gaussian, of covariance T H^-1
    DoubleWell       a wide and a narrow minimum         minima, barriers and curvatures in closed form
    Rugged           a parabola under two cosines        many minima, the lowest at 0
    GaussianWells    holes in a bowl                     for pictures in two dimensions
    MixturePosterior Welling and Teh's toy               a posterior with two modes

The module `boltzmann` gives their laws at rest and escape times by quadrature. Each class refuses parameters of the wrong type
(TypeError), and those that are not finite, of the wrong shape or out of range (ValueError); so do the functions of x, a
float32 or float64 array, but for NaN and infinity. An energy that overflows is refused. A gradient that does is infinite or
NaN, so that dynamics which diverges can be seen. ``temperature`` is k_B T.

References
----------
M. Welling, Y. W. Teh, "Bayesian Learning via Stochastic Gradient Langevin Dynamics", ICML 2011.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial, wraps
from typing import Any

import numpy as np

from . import _checks as check
from ._checks import Number
from .boltzmann import boltzmann_density, kramers_time

_SHORTEST = 1e-150  # lengths and variances are squared, and divided by


def _of_walkers(method: Callable[..., np.ndarray], *, finite: bool = False) -> Callable[..., np.ndarray]:
    """Make a method refuse what are no walkers and, if `finite`, walkers whose answer is beyond floating point.

    `unchecked` is the method itself, which integrators call at every step.
    """
    name = "theta" if "theta" in method.__code__.co_varnames else "x"
    has_batch = "batch" in method.__code__.co_varnames
    by_coordinate = method.__name__ == "gradient"  # of landscapes in any number of dimensions: the shape does not matter

    @wraps(method)
    def checked(self: Any, *args: Any, **kwargs: Any) -> np.ndarray:
        x: Any = args[0] if args else kwargs.get(name)
        n_dims = self._n_dims
        known = type(x) is np.ndarray and x.dtype.char in "fd"
        if not known or not (x.shape[1:] == (n_dims,) if n_dims else x.ndim == 2 or (by_coordinate and x.ndim)):
            check.float_array(name, x, ("n_walkers", n_dims or "n_dims"), finite=False)
        if has_batch and (batch := args[1] if len(args) > 1 else kwargs.get("batch")) is not None:
            check.indices("batch", batch, len(x), self.n_train)
        with np.errstate(all="ignore"):
            values = method(self, *args, **kwargs)
        if finite and (lost := ~np.isfinite(values) & np.isfinite(x).all(axis=1)).any():
            far = np.abs(x[lost]).max()
            raise ValueError(f"{name} must be where the energy is finite, got a walker as far out as {far:.3g}")
        return values

    checked.unchecked = method  # type: ignore[attr-defined]
    return checked


_energy = partial(_of_walkers, finite=True)


@dataclass(frozen=True, eq=False)
class Quadratic:
    """A parabola: U(x) = x' H x/2.

    Parameters
    ----------
    hessian : ndarray of shape (n_dims, n_dims)
        H, symmetric and positive definite.

    References
    ----------
    Tutorial 2, ``tutorials/02_sgd_as_langevin.md``.

    Examples
    --------
    >>> well = Quadratic(np.array([[2.0, 0.0], [0.0, 1.0]]))
    >>> well.energy(np.ones((1, 2))), well.gradient(np.ones((1, 2)))
    (array([1.5]), array([[2., 1.]]))
    """

    hessian: np.ndarray

    def __post_init__(self) -> None:
        """Check the matrix."""
        object.__setattr__(self, "hessian", check.symmetric_matrix("hessian", self.hessian, definite=True))

    @property
    def _n_dims(self) -> int:
        return len(self.hessian)

    @_energy
    def energy(self, x: np.ndarray) -> np.ndarray:
        """Return U, of shape (n_walkers,)."""
        values: np.ndarray = np.sum(x * (x @ self.hessian), axis=1)
        return values / 2

    @_of_walkers
    def gradient(self, x: np.ndarray) -> np.ndarray:
        """Return H x for each walker."""
        product: np.ndarray = x @ self.hessian
        return product

    @check.arithmetic
    def covariance(self, temperature: float) -> np.ndarray:
        """Return the covariance of Boltzmann's law, T H^-1."""
        inverse: np.ndarray = np.linalg.inv(self.hessian)
        return float(check.number("temperature", temperature, at_least=0)) * inverse


@dataclass(frozen=True)
class DoubleWell:
    """A wide and a narrow minimum with a barrier between them, the same along every dimension.

    Parameters
    ----------
    barrier : float, default 1
        D, the height of the barrier over both minima when the tilt is 0; positive.
    tilt : float, default 0
        Energy of the narrow minimum minus that of the wide one, between -16/3 and 16/3 times `barrier`.
    skew : float, default 0.6
        k in [0, 1): how much steeper the right side is. At 0 the wells are mirror images; towards 1 the right one becomes ever
        narrower than the left one.

    Notes
    -----
    U(x) = V(s(x)) with the quartic V(s) = D (s^2 - 1)^2 + tilt (3 s - s^3)/4, which has its minima at s = -1 and 1 and its
    barrier at s = 3 tilt/(16 D), and the smooth map s(x) = x + k (sqrt(1 + x^2) - 1), which makes the left well wide and the
    right one narrow and leaves the energies as they are. A curvature is V'' times the square of ds/dx. In several dimensions
    U is the sum over the coordinates.

    References
    ----------
    Tutorial 2, ``tutorials/02_sgd_as_langevin.md``.

    Examples
    --------
    >>> well = DoubleWell()
    >>> wide, narrow = well.minima
    >>> round(wide, 3), round(narrow, 3)
    (-1.464, 0.823)
    >>> [round(curvature, 2) for curvature in well.curvatures], well.heights
    ([2.04, 15.26], (1.0, 1.0))

    Wide and narrow at equal energy: the wide one holds more walkers.

    >>> [round(fraction, 3) for fraction in well.occupation(0.1)]
    [0.729, 0.271]
    """

    barrier: float = 1.0
    tilt: float = 0.0
    skew: float = 0.6

    _n_dims = None

    def __post_init__(self) -> None:
        """Check and normalise the three numbers."""
        barrier = float(check.number("barrier", self.barrier, above=0))
        limit = 16 / 3 * barrier
        hint = "beyond that one of the minima is none"
        tilt = float(check.number("tilt", self.tilt, above=-limit, below=limit, hint=hint))
        skew = float(check.number("skew", self.skew, at_least=0, below=1))
        for name, value in (("barrier", barrier), ("tilt", tilt), ("skew", skew)):
            object.__setattr__(self, name, value)

    @_energy
    def energy(self, x: np.ndarray) -> np.ndarray:
        """Return U, of shape (n_walkers,): the sum over the coordinates."""
        values: np.ndarray = np.sum(self._quartic(x + self.skew * (np.sqrt(1 + x * x) - 1)), axis=1)
        return values

    @_of_walkers
    def gradient(self, x: np.ndarray) -> np.ndarray:
        """Return dU/dx, of the shape of x."""
        root = x * x
        root += 1
        np.sqrt(root, out=root)
        s = root - 1
        s *= self.skew
        s += x
        # (s^2 - 1) (4 D s - 3/4 tilt) ds/dx, in place: this is what a step of the dynamics spends its time on
        slope: np.ndarray = s * s
        slope -= 1
        s *= 4 * self.barrier
        if self.tilt:
            s -= 0.75 * self.tilt
        slope *= s
        stretch = np.divide(x, root, out=root)
        stretch *= self.skew
        stretch += 1
        slope *= stretch
        return slope

    @property
    def minima(self) -> tuple[float, float]:
        """Positions of the wide and of the narrow minimum."""
        return self._position(-1.0), self._position(1.0)

    @property
    def top(self) -> float:
        """Position of the barrier."""
        return self._position(self._top)

    @property
    def heights(self) -> tuple[float, float]:
        """Energy of the barrier above the wide and above the narrow minimum."""
        top = self._quartic(self._top)
        return top + self.tilt / 2, top - self.tilt / 2

    @property
    def curvatures(self) -> tuple[float, float]:
        """U'' at the wide and at the narrow minimum."""
        wide, narrow = (self._stretch(x) ** 2 for x in self.minima)
        return (8 * self.barrier + 1.5 * self.tilt) * wide, (8 * self.barrier - 1.5 * self.tilt) * narrow

    @property
    def top_curvature(self) -> float:
        """-U'' on the barrier, a positive number."""
        return 4 * self.barrier * (1 - self._top**2) * self._stretch(self.top) ** 2

    @check.arithmetic
    def occupation(self, temperature: float) -> tuple[float, float]:
        """Return Boltzmann's probability of being on the wide and on the narrow side of the barrier, along one coordinate."""
        temperature = float(check.number("temperature", temperature, above=0))
        low, high = self.interval(temperature)
        sides = []
        for end in (low, high):
            x, spacing = np.linspace(self.top, end, 4001, retstep=True)
            weights = np.exp(-(self.energy(x[:, None]) + abs(self.tilt) / 2) / temperature)
            weights[0] /= 2
            sides.append(float(weights.sum() * abs(spacing)))
        return sides[0] / sum(sides), sides[1] / sum(sides)

    @check.arithmetic
    def escape_times(self, temperature: float, *, mobility: float = 1.0) -> tuple[float, float]:
        """Return Kramers' time for the escape from the wide and from the narrow well; see `kramers_time`."""
        wide, narrow = (
            kramers_time(height, curvature, self.top_curvature, temperature, mobility=mobility)
            for height, curvature in zip(self.heights, self.curvatures, strict=True)
        )
        return wide, narrow

    @check.arithmetic
    def interval(self, temperature: float) -> tuple[float, float]:
        """Return an interval outside of which the energy is more than 40 temperatures above both minima."""
        temperature = float(check.number("temperature", temperature, above=0))
        s = 1.0
        while min(self._quartic(s), self._quartic(-s)) < abs(self.tilt) / 2 + 40 * temperature:
            s *= 1.1
        return self._position(-s), self._position(s)

    @property
    def _top(self) -> float:
        return 3 * self.tilt / (16 * self.barrier)

    def _quartic(self, s: Number) -> Number:
        """V(s)."""
        return self.barrier * (s * s - 1) ** 2 + self.tilt / 4 * s * (3 - s * s)

    def _position(self, s: float) -> float:
        """Return the x that is mapped to s: the root of (1 - k^2) x^2 - 2 u x + u^2 - k^2 with u = s + k."""
        k, u = self.skew, s + self.skew
        return (u - k * math.sqrt(1 + u * u - k * k)) / (1 - k * k)

    def _stretch(self, x: float) -> float:
        """ds/dx."""
        return 1 + self.skew * x / math.sqrt(1 + x * x)


@dataclass(frozen=True)
class Rugged:
    """A parabola under two cosines: many minima, the lowest at 0; the same along every dimension.

    U(x) = curvature x^2/2 + sum_j amplitude_j (1 - cos(2 pi x/wavelength_j)), summed over the coordinates.

    Parameters
    ----------
    curvature : float, default 0.05
        Of the parabola; positive.
    amplitudes : pair of float, default (1.0, 0.5)
        Half the height of each cosine's ridges; at least 0.
    wavelengths : pair of float, default (3.0, 1.1)
        Distances between the ridges; positive.

    References
    ----------
    Tutorial 8, ``tutorials/08_optimum_batch_size.md``.

    Examples
    --------
    >>> landscape = Rugged()
    >>> landscape.energy(np.array([[0.0], [1.5]])).round(3)
    array([0.   , 2.884])
    """

    curvature: float = 0.05
    amplitudes: tuple[float, float] = (1.0, 0.5)
    wavelengths: tuple[float, float] = (3.0, 1.1)

    _n_dims = None

    def __post_init__(self) -> None:
        """Check and normalise the parameters."""
        object.__setattr__(self, "curvature", float(check.number("curvature", self.curvature, above=0)))
        object.__setattr__(self, "amplitudes", check.pair("amplitudes", self.amplitudes, at_least=0))
        object.__setattr__(self, "wavelengths", check.pair("wavelengths", self.wavelengths, at_least=_SHORTEST))

    @_energy
    def energy(self, x: np.ndarray) -> np.ndarray:
        """Return U, of shape (n_walkers,): the sum over the coordinates."""
        values = self.curvature / 2 * x * x
        for amplitude, wavelength in zip(self.amplitudes, self.wavelengths, strict=True):
            values += amplitude * (1 - np.cos(2 * math.pi / wavelength * x))
        total: np.ndarray = np.sum(values, axis=1)
        return total

    @_of_walkers
    def gradient(self, x: np.ndarray) -> np.ndarray:
        """Return dU/dx, of the shape of x."""
        slope: np.ndarray = self.curvature * x
        for amplitude, wavelength in zip(self.amplitudes, self.wavelengths, strict=True):
            k = 2 * math.pi / wavelength
            slope += amplitude * k * np.sin(k * x)
        return slope


@dataclass(frozen=True)
class GaussianWells:
    """Holes in a bowl, in any number of dimensions; by default a wide hole and a narrow, deeper one in the plane.

    U(x) = curvature |x|^2/2 - sum_j depth_j exp(-|x - centre_j|^2/(2 width_j^2)).

    Parameters
    ----------
    centres : sequence of points, default ((-1.0, 0.0), (1.2, 0.3))
        One for each hole, all with the same number n_dims of coordinates.
    depths : sequence of float, default (2.0, 2.5)
        One for each hole.
    widths : sequence of float, default (0.8, 0.3)
        Standard deviation of each hole; positive.
    curvature : float, default 0.2
        Of the bowl; positive.

    Examples
    --------
    >>> wells = GaussianWells()
    >>> wells.energy(np.array([[-1.0, 0.0], [1.2, 0.3], [0.2, 0.1]])).round(2)
    array([-1.9 , -2.39, -0.65])
    """

    centres: Sequence[Sequence[float]] = ((-1.0, 0.0), (1.2, 0.3))
    depths: Sequence[float] = (2.0, 2.5)
    widths: Sequence[float] = (0.8, 0.3)
    curvature: float = 0.2

    def __post_init__(self) -> None:
        """Check and normalise the parameters."""
        centres = tuple(check.numbers("centres", centre) for centre in check.sequence("centres", self.centres, "points"))
        depths = check.numbers("depths", self.depths)
        widths = check.numbers("widths", self.widths, at_least=_SHORTEST)
        if not len(centres) == len(depths) == len(widths) > 0 or len({len(centre) for centre in centres}) != 1:
            counts = f"{len(centres)} centres, {len(depths)} depths and {len(widths)} widths"
            raise ValueError(f"centres, depths and widths must have one entry for each hole, in one space, got {counts}")
        curvature = float(check.number("curvature", self.curvature, above=0))
        for name, values in (("centres", centres), ("depths", depths), ("widths", widths), ("curvature", curvature)):
            object.__setattr__(self, name, values)

    @_energy
    def energy(self, x: np.ndarray) -> np.ndarray:
        """Return U, of shape (n_walkers,)."""
        values: np.ndarray = self.curvature / 2 * np.sum(x * x, axis=1)
        for _, pull, width in self._holes(x):
            values = values - pull[:, 0] * width**2
        return values

    @_of_walkers
    def gradient(self, x: np.ndarray) -> np.ndarray:
        """Return the gradient, of the shape of x."""
        slope: np.ndarray = self.curvature * x
        for away, pull, _ in self._holes(x):
            slope += pull * away
        return slope

    @property
    def _n_dims(self) -> int:
        return len(self.centres[0])

    def _holes(self, x: np.ndarray) -> list[tuple[np.ndarray, np.ndarray, float]]:
        """Return for each hole x - centre, the depth over width^2 that is felt at x, and the width."""
        found = []
        for centre, depth, width in zip(self.centres, self.depths, self.widths, strict=True):
            away = x - np.array(centre, x.dtype)
            square = np.sum(away * away, axis=1, keepdims=True)
            found.append((away, depth / width**2 * np.exp(square * (-0.5 / width**2)), width))
        return found


@dataclass(frozen=True, eq=False)
class MixturePosterior:
    """Welling and Teh's toy: the posterior of two parameters of a mixture, with two modes.

    Parameters
    ----------
    data : ndarray of shape (n_train,)
        The observed numbers, float64; `MixturePosterior.draw` makes some.
    prior_variances : pair of float, default (10.0, 1.0)
        Of theta_1 and theta_2; positive.
    variance : float, default 2
        Of each component; positive.

    Notes
    -----
    theta_1 ~ N(0, 10), theta_2 ~ N(0, 1), x_i ~ N(theta_1, 2)/2 + N(theta_1 + theta_2, 2)/2. Exchanging the components,
    (theta_1, theta_2) -> (theta_1 + theta_2, -theta_2), leaves the likelihood as it is, so that data drawn at (0, 1) make a
    second mode near (1, -1); only the prior tells them apart.

    Convention: variances, not standard deviations. `energy` is -log of prior times likelihood, constants left out; at
    temperature 1 Boltzmann's law is the posterior. Arguments theta have shape (n_chains, 2).

    References
    ----------
    Welling and Teh 2011, section 5.1.
    Tutorial 7, ``tutorials/07_sgld.md``.

    Examples
    --------
    >>> posterior = MixturePosterior.draw(100, rng=0)
    >>> theta = np.array([[0.0, 1.0], [1.0, -1.0]])
    >>> posterior.log_likelihood(theta).round(6).tolist() == posterior.log_likelihood(theta[::-1]).round(6).tolist()
    True
    """

    data: np.ndarray
    prior_variances: tuple[float, float] = (10.0, 1.0)
    variance: float = 2.0

    _n_dims = 2

    def __post_init__(self) -> None:
        """Check the parameters."""
        check.float_array("data", self.data, ("n_train",))
        object.__setattr__(self, "prior_variances", check.pair("prior_variances", self.prior_variances, at_least=_SHORTEST))
        object.__setattr__(self, "variance", float(check.number("variance", self.variance, at_least=_SHORTEST)))

    @classmethod
    def draw(cls, n_train: int = 100, theta: tuple[float, float] = (0.0, 1.0), *, rng: check.Seed = None) -> MixturePosterior:
        """Draw data at `theta`, by default at Welling and Teh's, and return their posterior."""
        rng, theta = check.generator(rng), check.pair("theta", theta)
        second = rng.integers(2, size=check.integer("n_train", n_train))
        return cls(theta[0] + second * theta[1] + math.sqrt(2.0) * rng.standard_normal(n_train))

    @property
    def n_train(self) -> int:
        """Number of examples N."""
        return len(self.data)

    @_energy
    def log_prior(self, theta: np.ndarray) -> np.ndarray:
        """Return the log prior, constants left out, of shape (n_chains,)."""
        values: np.ndarray = np.sum(theta**2 / (-2 * np.array(self.prior_variances)), axis=1)
        return values

    @_energy
    def log_likelihood(self, theta: np.ndarray) -> np.ndarray:
        """Return the log likelihood of all data, constants left out, of shape (n_chains,)."""
        first, second = self._distances(theta, self.data)
        log_densities = first**2 / (-2 * self.variance), second**2 / (-2 * self.variance)
        values: np.ndarray = np.sum(np.logaddexp(*log_densities), axis=1)
        return values

    @_of_walkers
    def grad_log_prior(self, theta: np.ndarray) -> np.ndarray:
        """Return the gradient of the log prior, of the shape of theta."""
        gradient: np.ndarray = theta * (-1 / np.array(self.prior_variances, theta.dtype))
        return gradient

    @_of_walkers
    def grad_log_likelihood(self, theta: np.ndarray, batch: np.ndarray | None = None) -> np.ndarray:
        """Return the gradient of the log likelihood, summed over each chain's minibatch: what `sgdnoise.langevin.sgld` wants.

        `batch` holds indices of examples, of shape (n_chains, batch_size); by default all examples count.
        """
        gradient = np.empty_like(theta)
        for column, part in enumerate(self._parts(theta, self.data if batch is None else self.data.take(batch))):
            np.add.reduce(part, axis=1, out=gradient[:, column])
        return gradient

    @_of_walkers
    def per_example_gradients(self, theta: np.ndarray) -> np.ndarray:
        """Return the gradients of each example's log likelihood, of shape (n_chains, n_train, 2)."""
        gradients: np.ndarray = np.stack(self._parts(theta, self.data), axis=-1)
        return gradients

    @_energy
    def energy(self, theta: np.ndarray) -> np.ndarray:
        """Return -log prior - log likelihood, of shape (n_chains,)."""
        negative: np.ndarray = self.log_prior(theta) + self.log_likelihood(theta)
        return -negative

    @_of_walkers
    def gradient(self, theta: np.ndarray) -> np.ndarray:
        """Return the gradient of `energy`, of the shape of theta."""
        gradient: np.ndarray = -self.grad_log_prior(theta) - self.grad_log_likelihood(theta)
        return gradient

    def moments(self, n_points: int = 201) -> tuple[np.ndarray, np.ndarray]:
        """Return the posterior's mean (2,) and covariance (2, 2), by quadrature on a square grid of [-4, 5] times [-5, 5]."""
        check.integer("n_points", n_points, 2)
        axes = np.linspace(-4, 5, n_points), np.linspace(-5, 5, n_points)
        weights = boltzmann_density(self.energy, 1.0, axes)
        weights /= weights.sum()
        points = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1)
        mean = np.einsum("ij,ijk->k", weights, points)
        return mean, np.einsum("ij,ijk,ijl->kl", weights, points - mean, points - mean)

    def _distances(self, theta: np.ndarray, data: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the data minus the mean of the first and of the second component, of shape (n_chains, n)."""
        first = data - theta[:, :1]
        return first, first - theta[:, 1:]

    def _parts(self, theta: np.ndarray, data: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return each example's derivative by theta_1 and by theta_2."""
        first, second = self._distances(theta, data)
        share = first + second  # the second component's share of an example: 1/(1 + exp(-z)), without overflow
        share *= theta[:, 1:]
        share *= 0.25 / self.variance
        np.tanh(share, out=share)
        share += 1
        share *= 0.5 / self.variance
        by_second = share * second
        # first (1 - share) + second share = first - theta_2 share
        share *= theta[:, 1:]
        first *= 1 / self.variance
        first -= share
        return first, by_second
