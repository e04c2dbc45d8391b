"""Stochastic gradient Langevin dynamics as tasks: on Welling and Teh's mixture, and on logistic regression with real images."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from scipy.special import expit

from ...energies import MixturePosterior
from ...sgld import polynomial_constants, polynomial_step_size, sgld
from ..engine.contract import Arrays
from .toy import images

TOY = MixturePosterior.draw(100, rng=3)
"""100 points drawn at (0, 1), on which the two modes stand apart: between them theta_2's density falls to half of the peak."""

GAMMA = 0.55
EDGES = np.linspace(-1.5, 2.5, 81), np.linspace(-3.0, 3.0, 61)
"""Edges of the histogram's cells."""

_N_WINDOWS, _WINDOW = 40, 10  # moments at which the noises are measured, and the updates that each lasts


@dataclass(frozen=True)
class MixtureTask:
    """Chains of SGLD on the mixture; half of them start in each mode.

    Parameters
    ----------
    n_updates : int
        Length of a chain.
    batch_size : int
        n.
    first, last : float
        Step size of the first update and after the last, eps = a (b + t)^(-0.55) in between.
    n_chains : int
        Independent chains, an even number.
    noises : bool
        Whether to measure gradient noise and injected noise along the way.
    seed : int
        Of everything random.
    """

    n_updates: int
    batch_size: int
    first: float
    last: float
    n_chains: int
    noises: bool = False
    seed: int = 0

    @property
    def cost(self) -> float:
        """Rough cost, in seconds."""
        return self.n_updates * (3e-5 + 1e-8 * self.n_chains * (4 + self.batch_size))

    def run(self) -> Arrays:
        """Return each chain's weighted moments and share in the upper mode, the pooled histogram, and the noises if wanted.

        Moments, share and histogram are of the updates after the first quarter.
        """
        a, b = polynomial_constants(self.first, self.last, self.n_updates, GAMMA)
        step_size = polynomial_step_size(a, b, GAMMA)
        likelihood, noises = self._watched(step_size)
        start = np.tile([[0.0, 1.0], [1.0, -1.0]], (self.n_chains // 2, 1))
        settings: Any = {"n_steps": self.n_updates, "n_train": TOY.n_train, "batch_size": self.batch_size, "rng": self.seed}
        every = max(10, self.n_updates // 5000)
        samples = sgld(TOY.grad_log_prior, likelihood, start, step_size=step_size, record_every=every, **settings)
        discard = self.n_updates // 4
        kept = samples.step > discard
        weights = np.repeat(samples.step_size[kept], self.n_chains)
        theta_1, theta_2 = samples.x[kept].reshape(-1, 2).T
        histogram = np.histogram2d(theta_1, theta_2, bins=list(EDGES), weights=weights)[0]
        return {
            "mean": samples.average(discard=discard),
            "second": samples.average(lambda x: x[..., :, None] * x[..., None, :], discard=discard),
            "upper": samples.average(lambda x: (x[..., 1] > 0).astype(float), discard=discard),
            "began_upper": samples.x[0, :, 1] > 0,
            "histogram": histogram / weights.sum(),
            **{name: np.array(values) for name, values in noises.items()},
        }

    def _watched(self, step_size: Any) -> tuple[Any, dict[str, list[Any]]]:
        """Return the likelihood's gradient, and lists that it fills in some windows of consecutive updates.

        What an update adds beyond the drift by all examples is its gradient noise; what the chain then has moved beyond the
        drift by the minibatch is the injected noise. Both are measured from what is handed to the likelihood: twice per update,
        before and after.
        """
        if not self.noises:
            return TOY.grad_log_likelihood, {}
        noises: dict[str, list[Any]] = {"eps": [], "gradient_noise": [], "injected_noise": []}
        starts = np.unique(np.geomspace(1, self.n_updates - 2 * _WINDOW, _N_WINDOWS).astype(int) // _WINDOW) * _WINDOW
        watched = {int(t) for start in starts for t in range(start, start + _WINDOW)}
        t, drifted = 0, None

        def likelihood(theta: np.ndarray, batch: np.ndarray) -> np.ndarray:
            nonlocal t, drifted
            if drifted is not None:
                noises["injected_noise"].append((theta - drifted) ** 2)
                drifted = None
            gradient = TOY.grad_log_likelihood(theta, batch)
            if t in watched:
                eps = step_size(t)
                estimate = gradient * (TOY.n_train / self.batch_size)
                noises["eps"].append(eps)
                noises["gradient_noise"].append((eps / 2 * (estimate - TOY.grad_log_likelihood(theta))) ** 2)
                drifted = theta + eps / 2 * (TOY.grad_log_prior(theta) + estimate)
            t += 1
            return gradient

        return likelihood, noises


def window_means(result: Arrays) -> Arrays:
    """Reduce the noises of single updates to one variance for each window: eps (w,), and the others (w, n_chains, 2)."""
    noises = {name: result[name] for name in ("eps", "gradient_noise", "injected_noise")}
    return {name: noise.reshape(-1, _WINDOW, *noise.shape[1:]).mean(axis=1) for name, noise in noises.items()}


@lru_cache(maxsize=1)
def shirts(n_train: int, n_components: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """T-shirts (0) against shirts (1): a constant and standardised principal components of the training images, and labels."""
    data = images()
    train, test = (np.flatnonzero((y == 0) | (y == 6)) for y in (data.y_train, data.y_test))
    X, X_test = data.X_train[train[:n_train]].astype(float), data.X_test[test].astype(float)
    mean = X.mean(axis=0)
    _, scale, components = np.linalg.svd(X - mean, full_matrices=False)
    basis = components[:n_components].T / (scale[:n_components] / n_train**0.5)
    features, features_test = (np.column_stack([np.ones(len(pixels)), (pixels - mean) @ basis]) for pixels in (X, X_test))
    return features, (data.y_train[train[:n_train]] == 6) * 1.0, features_test, (data.y_test[test] == 6) * 1.0


@dataclass(frozen=True)
class LogisticTask:
    """Chains of SGLD on Bayesian logistic regression, and what each predicts on the test images as it goes.

    Standard normal prior on every weight, started from 0; minibatches of 10.

    Parameters
    ----------
    n_updates : int
        Length of a chain; steps fall from 0.01 to 0.0001.
    n_chains : int
        Independent chains.
    n_train, n_components : int
        Number of training images, and of their principal components.
    seed : int
        Of everything random.
    """

    n_updates: int
    n_chains: int
    n_train: int = 400
    n_components: int = 50
    seed: int = 0

    @property
    def cost(self) -> float:
        """Rough cost, in seconds."""
        return 3 + self.n_updates * (2e-5 + 1.2e-6 * self.n_chains)

    def run(self) -> Arrays:
        """Return log likelihood and accuracy on the test images at each record: of the average so far, and of one sample.

        Arrays have shape (n_records, n_chains). The average weighs predictions by the step size, from the first update on.
        And the same of the best fit, two numbers.
        """
        X, y, X_test, y_test = shirts(self.n_train, self.n_components)
        a, b = polynomial_constants(0.01, 0.0001, self.n_updates, GAMMA)

        def likelihood(theta: np.ndarray, batch: np.ndarray) -> np.ndarray:
            rows = X[batch]
            residual = y[batch] - expit(np.matmul(rows, theta[:, :, None])[:, :, 0])
            return np.asarray(np.matmul(residual[:, None, :], rows)[:, 0])

        start, step_size = np.zeros((self.n_chains, self.n_components + 1)), polynomial_step_size(a, b, GAMMA)
        settings: Any = {"n_steps": self.n_updates, "n_train": self.n_train, "batch_size": 10, "rng": self.seed}
        every = max(1, self.n_updates // 400)
        samples = sgld(lambda theta: -theta, likelihood, start, step_size=step_size, record_every=every, **settings)
        scores = []
        total, weight = np.zeros((self.n_chains, len(y_test))), 0.0
        for theta, eps in zip(samples.x[1:], samples.step_size[1:], strict=True):
            single = expit(theta @ X_test.T)
            total += eps * single
            weight += eps
            scores.append([*scores_of(total / weight, y_test), *scores_of(single, y_test)])
        names = ("average_loglik", "average_accuracy", "sample_loglik", "sample_accuracy")
        best_loglik, best_accuracy = scores_of(expit(X_test @ best_fit(X, y)), y_test)
        best = {"best_loglik": best_loglik, "best_accuracy": best_accuracy}
        return {"step": samples.step[1:], **best, **dict(zip(names, np.stack(scores, axis=1), strict=True))}


def scores_of(predicted: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean log likelihood and accuracy of predicted probabilities (..., n_examples) of class 1; probability at least 1e-300."""
    of_truth = np.where(y == 1, predicted, 1 - predicted)
    return np.log(np.maximum(of_truth, 1e-300)).mean(axis=-1), ((predicted > 0.5) == y).mean(axis=-1)


def best_fit(X: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Weights of largest posterior density, standard normal prior, by Newton's method."""
    theta = np.zeros(X.shape[1])
    for _ in range(50):
        p = expit(X @ theta)
        gradient = X.T @ (y - p) - theta
        hessian = X.T @ (X * (p * (1 - p))[:, None]) + np.eye(len(theta))
        theta += np.linalg.solve(hessian, gradient)
        if np.abs(gradient).max() < 1e-9:
            break
    return theta
