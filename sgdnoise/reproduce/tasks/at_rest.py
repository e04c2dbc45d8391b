"""SGD and Langevin dynamics at rest near the minimum of logistic regression, as tasks.

The model is linear, so that near the minimum w* a point w* + V d, with the eigenvectors of the Hessian in the columns of V, has
the logit difference c_i + A_i d on example i. Softmax over two classes moves only in the directions along which that difference
changes: one for each feature, and one for the bias. In these coordinates the gradient of the mean loss is::

    mean_i (sigmoid(c_i + A_i d) - y_i) A_i + K d + k,          K d + k the gradient of the L2 term

The exact discrete-time variance along an eigenvector of curvature h, for independent batches whose gradient has variance C
along it, is l C/(h (2 - l h)) at the learning rate l, whatever C does elsewhere.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from scipy.special import expit

from ...datasets import make_teacher
from ...gradient_noise import gradient_covariance
from ...langevin import overdamped
from ...models import LogisticRegression
from ...optimizers import sgd
from ...sampling import draw
from ...stationary import reshuffled_covariance, sgd_covariance
from ..engine.contract import Arrays, stream
from .minibatch_noise import batch_variance

N_POINTS = 1000
_N_FEATURES = 5
_BURN_IN = 4.0  # in relaxation times of the softest direction: what is missing of the variance is exp(-2 * 4) of it


class Minimum(NamedTuple):
    """The loss near its minimum, along the Hessian's stiffest eigenvectors, the softest of them first."""

    params: np.ndarray
    """w*, (n_params,)."""
    directions: np.ndarray
    """V, (n_params, 6)."""
    curvatures: np.ndarray
    """h of the mean loss, (6,)."""
    gradient_variances: np.ndarray
    """F of the per-example gradients along each direction, divisor N - 1, (6,)."""
    slopes: np.ndarray
    """A, (N, 6)."""
    offsets: np.ndarray
    """c, (N,)."""
    labels: np.ndarray
    """y, (N,), as floats."""
    ridge: np.ndarray
    """K, (6, 6)."""
    ridge_offset: np.ndarray
    """k, (6,)."""

    def gradient(self, d: np.ndarray, batch: np.ndarray) -> np.ndarray:
        """Return the mean gradient of each replica's batch: d is (n_replicas, 6), batch (n_replicas, batch_size)."""
        slopes = self.slopes[batch]
        margins = self.offsets[batch] + np.einsum("rbk,rk->rb", slopes, d)
        residuals = expit(margins) - self.labels[batch]
        mean = np.einsum("rb,rbk->rk", residuals, slopes) / batch.shape[1]
        return np.asarray(mean + d @ self.ridge + self.ridge_offset)

    def full_gradient(self, d: np.ndarray) -> np.ndarray:
        """Return the gradient of the mean loss over all examples, for each replica."""
        residuals = expit(self.offsets + d @ self.slopes.T) - self.labels
        return np.asarray(residuals @ self.slopes / len(self.slopes) + d @ self.ridge + self.ridge_offset)


@lru_cache(maxsize=8)
def minimum(smallest_scale: float = 1.0, l2: float = 0.01) -> Minimum:
    """Find the minimum by Newton's method; the features are multiplied by scales that fall from 1 to `smallest_scale`."""
    data = make_teacher(N_POINTS, 1, n_features=_N_FEATURES, n_classes=2, signal=1.0, rng=0)
    X, y = data.X_train * np.geomspace(1, smallest_scale, _N_FEATURES), data.y_train
    model = LogisticRegression(_N_FEATURES)
    units = np.eye(model.n_params)

    def hessian(params: np.ndarray, l2: float) -> np.ndarray:
        return np.array([model.hessian_vector_product(params, unit, X, y, l2) for unit in units])

    params = np.zeros(model.n_params)
    for _ in range(20):  # one direction is flat: adding a number to both biases changes nothing
        params = params - np.linalg.pinv(hessian(params, l2), hermitian=True) @ model.gradient(params, X, y, l2)
    curved = hessian(params, l2)
    per_example = gradient_covariance(model.per_example_gradients(params, X, y))
    # Six directions move the logit difference; the others move both classes alike, and only the L2 term feels them. They are
    # told apart by what they do and not by their curvature, which can be as small as the L2 term's.
    differences = np.array([np.diff(model.logits(unit, X), axis=1)[:, 0] for unit in units]).T
    basis = np.linalg.svd(differences, full_matrices=False)[2][: _N_FEATURES + 1].T
    curvatures, within = np.linalg.eigh(basis.T @ curved @ basis)
    V = basis @ within
    ridge = curved - hessian(params, 0.0)
    ridge_offset = model.gradient(params, X, y, l2) - model.gradient(params, X, y, 0.0)
    return Minimum(
        params=params,
        directions=V,
        curvatures=curvatures,
        gradient_variances=np.diag(V.T @ per_example @ V).copy(),
        slopes=differences @ V,
        offsets=differences @ params,
        labels=y.astype(float),
        ridge=V.T @ ridge @ V,
        ridge_offset=V.T @ ridge_offset,
    )


@dataclass(frozen=True)
class RestTask:
    """Run SGD from the minimum of logistic regression, many replicas at once, and measure its fluctuations at rest.

    Parameters
    ----------
    sampling : str
        How minibatches are drawn; see `sgdnoise.minibatches`.
    learning_rate : float
        eps, of the gradient of the mean loss.
    batch_size : int
        B; with replacement it may exceed N.
    n_replicas : int
        Independent runs.
    n_relaxations : float
        Length of the measurement in relaxation times 1/(eps h) of the softest direction.
    smallest_scale : float
        Features are scaled by 1 down to this; below 1 the curvatures, and with them F, spread.
    l2 : float
        Coefficient of the L2 term.
    seed : int
        Of the minibatches.
    """

    sampling: str
    learning_rate: float
    batch_size: int
    n_replicas: int = 200
    n_relaxations: float = 40.0
    smallest_scale: float = 1.0
    l2: float = 0.01
    seed: int = 0

    @property
    def _unit(self) -> int:
        """Updates between two looks: one, or an epoch of reshuffled batches."""
        return N_POINTS // self.batch_size if self.sampling == "reshuffle" else 1

    @property
    def _n_units(self) -> tuple[int, int]:
        """Looks before and during the measurement."""
        softest = float(minimum(self.smallest_scale, self.l2).curvatures[0])
        relaxation = 1 / (self.learning_rate * softest * self._unit)
        return int(np.ceil(_BURN_IN * relaxation)), max(20, int(np.ceil(self.n_relaxations * relaxation)))

    @property
    def cost(self) -> float:
        """Rough cost, in seconds."""
        permuted = self.sampling == "without_replacement" and self.batch_size**2 > N_POINTS
        per_update = 1e-4 + self.n_replicas * (6e-8 * self.batch_size + (2e-5 if permuted else 0))
        return sum(self._n_units) * self._unit * per_update

    def continuous(self) -> np.ndarray:
        """Variance along each direction for batches drawn with replacement in the limit of a small learning rate, (6,)."""
        at = minimum(self.smallest_scale, self.l2)
        noise = at.gradient_variances * batch_variance("with_replacement", self.batch_size, N_POINTS, 1.0)
        return np.asarray(self.learning_rate * noise / (2 * at.curvatures))

    def predicted(self) -> np.ndarray:
        """Exact discrete-time variance along each direction, of additive noise on a quadratic, (6,)."""
        at = minimum(self.smallest_scale, self.l2)
        rate, b = self.learning_rate, self.batch_size
        if self.sampling == "reshuffle":
            return np.asarray(reshuffled_covariance(at.curvatures, at.gradient_variances, rate, b, N_POINTS))
        pairs = zip(at.curvatures.tolist(), at.gradient_variances.tolist(), strict=True)
        return np.array([sgd_covariance(h, float(batch_variance(self.sampling, b, N_POINTS, f)), rate) for h, f in pairs])

    def run(self) -> Arrays:
        """Return for each replica the mean square distance from the minimum along each direction, (n_replicas, 6)."""
        at = minimum(self.smallest_scale, self.l2)
        rng, optimizer = stream(self), sgd()
        d = np.zeros((self.n_replicas, len(at.curvatures)))
        state, squares = optimizer.init(d), np.zeros_like(d)
        before, during = self._n_units
        for unit in range(before + during):
            for batch in draw(rng, N_POINTS, self.batch_size, self._unit, self.n_replicas, self.sampling):
                step, state = optimizer.update(at.gradient(d, batch), state, self.learning_rate)
                d = d + step
            if unit >= before:
                squares += d * d
        return {"squares": squares / during}


@dataclass(frozen=True)
class LangevinRestTask:
    """Run overdamped Langevin dynamics in the SUMMED cost of the same logistic regression, and measure it at rest.

    Parameters
    ----------
    temperature : float
        k_B T, one for all directions.
    n_replicas, n_relaxations, smallest_scale, l2, seed
        See `RestTask`.
    """

    temperature: float
    n_replicas: int = 100
    n_relaxations: float = 40.0
    smallest_scale: float = 1.0
    l2: float = 0.01
    seed: int = 0

    @property
    def _step_size(self) -> float:
        """0.4 over the largest curvature of the summed cost."""
        return 0.4 / (N_POINTS * float(minimum(self.smallest_scale, self.l2).curvatures[-1]))

    @property
    def _n_steps(self) -> tuple[int, int]:
        relaxation = 1 / (self._step_size * (N_POINTS * float(minimum(self.smallest_scale, self.l2).curvatures[0])))
        return int(np.ceil(_BURN_IN * relaxation)), int(np.ceil(self.n_relaxations * relaxation))

    @property
    def cost(self) -> float:
        """Rough cost, in seconds."""
        return sum(self._n_steps) * self.n_replicas * 2e-5

    def predicted(self) -> np.ndarray:
        """T over the curvature of the summed cost: Boltzmann's law on a quadratic, and that of the scheme at any step, (6,)."""
        return np.asarray(self.temperature / (N_POINTS * minimum(self.smallest_scale, self.l2).curvatures))

    def run(self) -> Arrays:
        """Return for each replica the mean square distance from the minimum along each direction, (n_replicas, 6)."""
        at = minimum(self.smallest_scale, self.l2)
        before, during = self._n_steps
        path = overdamped(
            lambda d: N_POINTS * at.full_gradient(d),
            np.zeros((self.n_replicas, len(at.curvatures))),
            step_size=self._step_size,
            n_steps=before + during,
            temperature=self.temperature,
            scheme="leimkuhler-matthews",
            rng=stream(self),
        )
        return {"squares": (path.x[before + 1 :] ** 2).mean(axis=0)}
