"""Measurements of minibatch noise as tasks: of the real network's gradients, and of SGD at rest on a quadratic."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from ...gradient_noise import minibatch_covariance
from ...models import MLP
from ...optimizers import sgd
from ...sampling import minibatches
from ...schedules import Schedule, Stage
from ...stationary import reshuffled_covariance, sgd_covariance
from ...training import train
from ..engine.contract import Arrays, stream
from .toy import images, network

_N_DIRECTIONS = 20


@lru_cache(maxsize=1)
def _network(n_train: int) -> tuple[MLP, np.ndarray, np.ndarray, np.ndarray]:
    """Model, its parameters after two epochs, and the examples, in float64."""
    data, model = images(n_train), network()
    params = train(model, data, Schedule([Stage(2, 0.05, 20)]), sgd(0.9), rng=0).params
    return model, params.astype(np.float64), data.X_train.astype(np.float64), data.y_train


@lru_cache(maxsize=1)
def _directions(n_params: int) -> np.ndarray:
    """Random unit vectors, one a column."""
    directions = np.random.default_rng(1).standard_normal((n_params, _N_DIRECTIONS))
    return np.asarray(directions / np.linalg.norm(directions, axis=0))


@lru_cache(maxsize=1)
def _per_example_noise(n_train: int) -> Arrays:
    """Trace of S and its mean along the random directions, divisor N - 1, from per-example gradients."""
    model, params, X, y = _network(n_train)
    gradients = model.per_example_gradients(params, X, y)
    along = gradients @ _directions(model.n_params)
    return {"S_trace": gradients.var(axis=0, ddof=1).sum(), "S_projected": along.var(axis=0, ddof=1).mean()}


def batch_variance(sampling: str, batch_size: Any, n_train: int, variance: float) -> Any:
    """Variance of a batch's mean, by sampler, from the variance of the examples (divisor N - 1)."""
    if sampling == "with_replacement":
        return minibatch_covariance(variance * (n_train - 1) / n_train, batch_size, n_train, replace=True)
    return minibatch_covariance(variance, batch_size, n_train)


@dataclass(frozen=True)
class MinibatchNoiseTask:
    """Draw minibatches, take the real network's gradient of each, and see how far it is from the gradient of all examples.

    Parameters
    ----------
    sampling : str
        How minibatches are drawn; see `minibatches`.
    batch_size : int
        B.
    n_train : int
        N.
    n_draws : int
        Independent epochs, of which the first two batches are used.
    seed : int
        Of the minibatches.
    """

    sampling: str
    batch_size: int
    n_train: int = 500
    n_draws: int = 400
    seed: int = 0

    @property
    def cost(self) -> float:
        """Rough cost, in seconds."""
        return self.n_draws * (4e-4 + 6e-6 * self.batch_size)

    def predicted(self, variance: float = 1.0) -> float:
        """Variance of a batch's mean, from that of the per-example gradients (divisor N - 1)."""
        return float(batch_variance(self.sampling, self.batch_size, self.n_train, variance))

    def run(self) -> Arrays:
        """Return S, and for each draw the squared noise: all of it, along random directions, and between two batches."""
        model, params, X, y = _network(self.n_train)
        mean = model.gradient(params, X, y)
        rng = stream(self)
        pairs = 2 * self.batch_size <= self.n_train
        trace, projected, between = np.empty(self.n_draws), np.empty(self.n_draws), np.zeros(self.n_draws)
        for i in range(self.n_draws):
            epoch = minibatches(self.n_train, self.batch_size, sampling=self.sampling, rng=rng)
            noise = [model.gradient(params, X[batch], y[batch]) - mean for batch in epoch[: 1 + pairs]]
            trace[i] = noise[0] @ noise[0]
            projected[i] = ((noise[0] @ _directions(model.n_params)) ** 2).mean()
            if pairs:
                between[i] = noise[0] @ noise[1]
        return {"trace": trace, "projected": projected, "between": between, **_per_example_noise(self.n_train)}


@dataclass(frozen=True)
class StationaryTask:
    """Run SGD on a quadratic until it has forgotten where it began, many replicas at once, and measure its variance.

    The loss of example i is (w - x_i)^2/2: curvature 1, and gradient noise of variance S = Var(x) = 1 (divisor N - 1) that does
    not depend on w.

    Parameters
    ----------
    sampling : str
        How minibatches are drawn.
    learning_rate, batch_size, n_train, momentum, nesterov
        The setting.
    n_replicas : int
        Independent runs.
    seed : int
        Of the minibatches.
    """

    sampling: str
    learning_rate: float
    batch_size: int = 10
    n_train: int = 100
    momentum: float = 0.0
    nesterov: bool = False
    n_replicas: int = 250
    seed: int = 0

    @property
    def _n_epochs(self) -> int:
        """Epochs to forget in: 7 relaxation times, and 20 epochs or more, since momentum may take twice as long."""
        rate = self.learning_rate / (1 - self.momentum)
        return max(20, int(np.ceil(7 / min(rate, 1 - self.momentum) / (self.n_train // self.batch_size))))

    @property
    def cost(self) -> float:
        """Rough cost, in seconds."""
        per_batch = 1.5e-5 if self.sampling == "without_replacement" else 2e-6
        return 2 * self._n_epochs * self.n_replicas * (1e-5 + per_batch * self.n_train / self.batch_size)

    def predicted(self) -> float:
        """Exact discrete-time variance at epoch ends."""
        rate, b, n, momentum, nesterov = self.learning_rate, self.batch_size, self.n_train, self.momentum, self.nesterov
        if self.sampling == "reshuffle":
            return float(reshuffled_covariance(1.0, 1.0, rate, b, n, momentum=momentum, nesterov=nesterov))
        return float(sgd_covariance(1.0, batch_variance(self.sampling, b, n, 1.0), rate, momentum=momentum, nesterov=nesterov))

    def run(self) -> Arrays:
        """Return, for each replica, the mean of w^2 over the second half of its epochs' ends."""
        x = np.linspace(-1, 1, self.n_train)
        x /= x.std(ddof=1)
        rng = stream(self)
        optimizer = sgd(self.momentum, self.nesterov)
        w = np.zeros(self.n_replicas)
        state, squares = optimizer.init(w), np.zeros(self.n_replicas)
        for epoch in range(2 * self._n_epochs):
            batches = [minibatches(self.n_train, self.batch_size, sampling=self.sampling, rng=rng) for _ in w]
            for centre in x[np.array(batches)].mean(axis=2).T:
                step, state = optimizer.update(w - centre, state, self.learning_rate)
                w = w + step
            if epoch >= self._n_epochs:
                squares += w**2 / self._n_epochs
        return {"squares": squares}
