"""Training on few images, as tasks: at constant learning rate, and from points of a path at the largest rate that trains.

The network is the MLP 196-128-10 of the other figures, on the first N images of the bundled data. With N of 1000 or so a batch
can grow until it is the whole training set, which is where the limits of scaling rules are.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from ... import fast
from ...datasets import Dataset
from ...gradient_noise import top_hessian_eigenvalue
from ...models import MLP
from ...noise import learning_rate_for
from ...optimizers import sgd
from ...sampling import minibatches
from ...schedules import Schedule, Stage
from ...training import train
from ..engine.contract import Arrays
from .toy import images, network

WORST_LOSS = 10.0
"""What a run that diverged is counted with, in nats: a network that knows nothing has 2.3."""

WORST_ACCURACY = 0.1
"""The same, of accuracy, if parameters are NaN: that of a guess among ten classes of equally many images."""


@dataclass(frozen=True)
class ConstantRateTask:
    """Train replicas at one constant learning rate and batch size, without L2 term.

    Parameters
    ----------
    n_train : int
        N: the first images of the bundled data.
    learning_rate, batch_size, momentum
        The setting.
    n_epochs : int
        Length.
    n_seeds : int
        Replicas; each has its own initial parameters and minibatches, and the initial parameters are the same in every setting.
    first_seed : int
        Of the first replica; the others' follow.
    engine : {"fast", "reference"}
        What trains; see `ENGINES`.
    """

    n_train: int
    learning_rate: float
    batch_size: int
    momentum: float
    n_epochs: int
    n_seeds: int
    first_seed: int = 0
    engine: str = "fast"

    @property
    def cost(self) -> float:
        """Rough cost, in seconds."""
        per_epoch = (self.n_train // self.batch_size) * (7e-5 + 2e-6 * self.batch_size)
        return self.n_seeds * self.n_epochs * per_epoch

    def run(self) -> Arrays:
        """Return accuracy on all test images and loss over the training images, both at the end, (n_seeds,)."""
        data, model = images(self.n_train), network()
        seeds = range(self.first_seed, self.first_seed + self.n_seeds)
        with np.errstate(over="ignore", invalid="ignore"):
            params = self._fast(model, data, seeds) if self.engine == "fast" else self._reference(model, data, seeds)
            on_test = np.array([model.evaluate(w, data.X_test, data.y_test) for w in params])
            on_train = np.array([model.evaluate(w, data.X_train, data.y_train) for w in params])
        accuracy = np.where(np.isnan(on_test[:, 1]), WORST_ACCURACY, on_test[:, 1])
        return {"test_accuracy": accuracy, "train_loss": np.fmin(on_train[:, 0], WORST_LOSS)}

    def _reference(self, model: MLP, data: Dataset, seeds: range) -> list[np.ndarray]:
        # It measures after every epoch; to leave out the test set saves some of that time.
        brief = Dataset(data.X_train, data.y_train)
        schedule = Schedule([Stage(self.n_epochs, self.learning_rate, self.batch_size)])
        return [train(model, brief, schedule, sgd(self.momentum), rng=seed, on_divergence="ignore").params for seed in seeds]

    def _fast(self, model: MLP, data: Dataset, seeds: range) -> np.ndarray:
        # `fast.train` without its measurements: at large batches epochs are short, and those would take as long as training.
        rngs = [np.random.default_rng(seed) for seed in seeds]
        start = np.array([model.init(rng, data.X_train.dtype) for rng in rngs])
        trainer = fast.Trainer(model, data.X_train, data.y_train, sgd(self.momentum), start)
        for _ in range(self.n_epochs):
            batches = np.array([minibatches(self.n_train, self.batch_size, rng=rng) for rng in rngs])
            trainer.run(batches, self.learning_rate)
        return trainer.params


@dataclass(frozen=True)
class StabilityTask:
    """Along one path of training: the largest curvature, the largest learning rate that trains, and the largest batch.

    At each checkpoint the path is left with a fresh optimizer, for `n_updates` updates, and "trains" means that the loss over
    all examples never rises by more than `tolerance`. The largest learning rate is searched for on a grid of quarter octaves,
    with batches of all examples; the largest batch likewise, at a fixed g, with batches drawn without replacement. There the
    noise alone makes the loss rise, whatever the batch: the tolerance is counted from the highest loss at the smallest batch.

    Parameters
    ----------
    seed : int
        Of the initial parameters and all minibatches.
    checkpoints : tuple of int
        Epochs, rising, from 0.
    momenta : tuple of float
        At which the largest learning rate is searched for.
    noise_scales : tuple of float
        At which the largest batch is searched for, with the momentum of the path.
    learning_rate, batch_size, momentum
        Of the path.
    n_train : int
        N.
    n_updates : int
        Length of a trial.
    tolerance : float
        In nats.
    """

    seed: int
    checkpoints: tuple[int, ...]
    momenta: tuple[float, ...]
    noise_scales: tuple[float, ...]
    learning_rate: float = 0.02
    batch_size: int = 50
    momentum: float = 0.9
    n_train: int = 1000
    n_updates: int = 40
    tolerance: float = 0.2

    @property
    def cost(self) -> float:
        """Rough cost, in seconds."""
        trials = len(self.checkpoints) * 6 * (len(self.momenta) + 2 * len(self.noise_scales))
        return 1 + trials * self.n_updates * 2e-3

    def run(self) -> Arrays:
        """Return curvatures, largest rates and largest batches, each with a row for every checkpoint."""
        model, data = network(), images(self.n_train)
        brief = Dataset(data.X_train, data.y_train)
        rng = np.random.default_rng((self.seed, 1))
        params = model.init(np.random.default_rng(self.seed), np.float32)
        curvatures, rates, batches = [], [], []
        for before, now in pairwise((0, *self.checkpoints)):
            if now > before:
                stage = Stage(now - before, self.learning_rate, self.batch_size)
                params = train(model, brief, Schedule([stage]), sgd(self.momentum), params=params, rng=rng).params
            curvatures.append(top_hessian_eigenvalue(model, params, data.X_train, data.y_train))
            rates.append([self.largest_rate(params, momentum) for momentum in self.momenta])
            batches.append([self.largest_batch(params, g) for g in self.noise_scales])
        return {"curvature": np.array(curvatures), "rate": np.array(rates), "batch": np.array(batches)}

    def largest_rate(self, params: np.ndarray, momentum: float) -> float:
        """Return the largest learning rate that trains with batches of all examples."""
        grid = 0.005 * 2 ** (np.arange(49) / 4)  # up to 20
        limit = self.highest_loss(params, 0.0, self.n_train, momentum) + self.tolerance
        return largest(grid, lambda rate: self.highest_loss(params, rate, self.n_train, momentum) <= limit)

    def largest_batch(self, params: np.ndarray, noise_scale: float) -> float:
        """Return the largest batch that trains at a fixed noise scale."""
        # evenly spaced in B/(N - B), to which the learning rate is proportional
        odds = 0.02 * 2 ** (np.arange(41) / 4)
        grid = np.unique(np.round(self.n_train * odds / (1 + odds)).astype(int))

        def highest(batch_size: int) -> float:
            rate = float(learning_rate_for(noise_scale, batch_size, self.n_train, momentum=self.momentum))
            return self.highest_loss(params, rate, batch_size, self.momentum)

        limit = max(highest(int(grid[0])), self.highest_loss(params, 0.0, self.n_train, 0.0)) + self.tolerance
        return largest(grid, lambda batch_size: highest(int(batch_size)) <= limit)

    def highest_loss(self, params: np.ndarray, learning_rate: float, batch_size: int, momentum: float) -> float:
        """Return the highest loss over all examples in the updates of a trial; infinite if it overflows."""
        model, data = network(), images(self.n_train)
        optimizer = sgd(momentum)
        state, rng, highest = optimizer.init(params), np.random.default_rng((self.seed, batch_size)), 0.0
        batches: list[np.ndarray] = []
        with np.errstate(over="ignore", invalid="ignore"):
            for _ in range(self.n_updates if learning_rate else 1):
                if batch_size == self.n_train:
                    loss, gradient = model.loss_and_gradient(params, data.X_train, data.y_train)
                else:
                    loss = model.loss(params, data.X_train, data.y_train)
                    if not batches:
                        batches = list(minibatches(self.n_train, batch_size, sampling="without_replacement", rng=rng))
                    batch = batches.pop()
                    gradient = model.gradient(params, data.X_train[batch], data.y_train[batch])
                if not loss < WORST_LOSS:
                    return float("inf")
                highest = max(highest, loss)
                step, state = optimizer.update(gradient, state, learning_rate)
                params = params + step
        return highest


def largest(grid: np.ndarray, passes: Callable[[float], bool]) -> float:
    """Last value of a rising grid that passes, by bisection; the first one is taken to."""
    low, high = 0, len(grid)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if passes(float(grid[middle])) else (low, middle)
    return float(grid[low])
