"""How long a network takes until its training loss first falls to a level."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass

import numpy as np

from ...optimizers import sgd
from ...sampling import minibatches
from ..engine.contract import Arrays
from .toy import N_TRAIN, images, network

LEVELS = (1.5, 1.0, 0.5)
"""In nats, falling."""

_MAX_EPOCHS = 40


@dataclass(frozen=True)
class FirstPassageTask:
    """Epochs until the training loss of the MLP 196-128-10 first falls to each of `LEVELS`, at a constant setting.

    Parameters
    ----------
    momentum, batch_size : float and int
        The papers' m and B.
    seed : int
        Of the initial parameters and the minibatches.
    learning_rate : float
        Constant.
    n_probe : int
        Training examples that the loss is measured on, the same for all tasks.
    """

    momentum: float
    batch_size: int
    seed: int
    learning_rate: float = 0.1
    n_probe: int = 2000

    @property
    def cost(self) -> float:
        """Rough cost, in epochs at batch size 128."""
        return 0.5 + 10 * math.sqrt(self.batch_size / (N_TRAIN * (1 - self.momentum)))

    def run(self) -> Arrays:
        """Train until the lowest level is reached, looking about every 128 examples; interpolate in between."""
        data, model, optimizer = images(N_TRAIN), network(), sgd(self.momentum)
        X, y = data.X_train, data.y_train
        probe = np.random.default_rng(0).choice(len(X), self.n_probe, replace=False)
        X_probe, y_probe = X[probe], y[probe]
        rng = np.random.default_rng(self.seed)
        params = model.init(rng, X.dtype)
        state = optimizer.init(params)
        batches = (batch for _ in itertools.count() for batch in minibatches(len(X), self.batch_size, rng=rng))
        every = max(1, 128 // self.batch_size)
        epochs, losses = [0.0], [model.evaluate(params, X_probe, y_probe)[0]]
        while losses[-1] > LEVELS[-1] and epochs[-1] < _MAX_EPOCHS:
            for batch in itertools.islice(batches, every):
                _, gradient = model.loss_and_gradient(params, X[batch], y[batch])
                step, state = optimizer.update(gradient, state, self.learning_rate)
                params = params + step
            epochs.append(len(epochs) * every * self.batch_size / len(X))
            losses.append(model.evaluate(params, X_probe, y_probe)[0])
        return {"epochs": np.array([first_passage(np.array(epochs), np.array(losses), level) for level in LEVELS])}


def first_passage(x: np.ndarray, values: np.ndarray, level: float) -> float:
    """Where `values`, linear between the points `x`, first fall to `level`; infinity if they do not."""
    below = np.flatnonzero(values <= level)
    if len(below) == 0:
        return float("inf")
    last = slice(max(0, below[0] - 1), below[0] + 1)  # the point above the level, if there is one, and the first that is not
    return float(np.interp(-level, -values[last], x[last]))
