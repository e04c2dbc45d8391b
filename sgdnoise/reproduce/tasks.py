"""What the figures have in common: their scale, the paper's schedules, and one training run as a task."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Protocol

import numpy as np

from .. import fast
from ..datasets import Dataset, load_fashion
from ..models import MLP
from ..optimizers import adam, sgd
from ..schedules import Schedule, Stage, grow_batch, step_decay
from ..training import train

N_TRAIN = 50_000
MOMENTUM = 0.9
METRICS = ("train_loss", "train_accuracy", "test_loss", "test_accuracy")

ENGINES = ("fast", "reference")
"""What a `TrainingTask` may train with: `sgdnoise.fast`, or the readable loop. They agree up to rounding."""

Arrays = dict[str, np.ndarray]


@dataclass(frozen=True)
class Scale:
    """How much to compute.

    Parameters
    ----------
    n_epochs : int
        Length of a training run; the learning rate drops at .3, .6 and .8 of it, as in the paper.
    n_seeds : int
        Independent repetitions.
    engine : {"fast", "reference"}, default "fast"
        What trains: for figures to hand on to every `TrainingTask`.
    """

    n_epochs: int
    n_seeds: int
    engine: str = "fast"


SCALES = {"default": Scale(40, 4), "quick": Scale(5, 1), "full": Scale(200, 5)}


@dataclass(frozen=True)
class TrainingTask:
    """One training run of the MLP 196-128-10 on the bundled data.

    Small and picklable: it says what to compute, and two equal tasks have equal results.

    Parameters
    ----------
    schedule : Schedule
        Epochs, learning rates, batch sizes.
    seed : int
        Of the initial parameters and the minibatches.
    momentum : float
        The papers' m.
    nesterov : bool
        Whether the momentum is Nesterov's.
    l2 : float
        Coefficient of the L2 term.
    engine : {"fast", "reference"}
        What trains; see `ENGINES`.
    adam : tuple of float, optional
        b1, b2 and eps of Adam, which then takes the place of SGD.
    """

    schedule: Schedule
    seed: int
    momentum: float = MOMENTUM
    nesterov: bool = False
    l2: float = 1e-4
    engine: str = "fast"
    adam: tuple[float, float, float] | None = None

    @property
    def cost(self) -> float:
        """Rough cost, in epochs at batch size 128, to tell the time left."""
        return sum(stage.n_epochs * (0.4 + 0.6 * min(1.0, 128 / stage.batch_size)) for stage in self.schedule)

    def run(self) -> Arrays:
        """Train, and return the metrics after each epoch."""
        data = _data()
        model = MLP(data.n_features, (128,), data.n_classes)
        optimizer = adam(*self.adam) if self.adam else sgd(self.momentum, self.nesterov)
        if self.engine == "fast":
            history = fast.train(model, data, self.schedule, optimizer, l2=self.l2, rngs=[self.seed]).replica(0)
        else:
            history = train(model, data, self.schedule, optimizer, l2=self.l2, rng=self.seed)
        return {name: getattr(history, name) for name in METRICS}


class Task(Protocol):
    """What the runner runs: small, hashable and picklable, and equal tasks have equal results."""

    @property
    def cost(self) -> float:
        """Rough cost, in any unit that the tasks of a figure share, to tell the time left."""

    def run(self) -> Arrays:
        """Compute the result, a dict of arrays."""


Compute = Callable[[Sequence[Task]], list[Arrays]]


def stream(task: Task) -> np.random.Generator:
    """Random numbers that depend on the whole task, so that no two settings share any and their errors are independent."""
    return np.random.default_rng(list(hashlib.sha256(repr(task).encode()).digest()))


@lru_cache(maxsize=1)
def _data() -> Dataset:
    return load_fashion(N_TRAIN)


def updates_by_epoch(schedule: Schedule) -> list[int]:
    """Parameter updates since the start, at the end of each epoch."""
    stages = [schedule.stage_at(epoch) for epoch in range(schedule.n_epochs)]
    return [int(n) for n in np.cumsum([N_TRAIN // stage.batch_size for stage in stages])]


def paper_schedules(n_epochs: int, learning_rate: float = 0.1) -> dict[str, Schedule]:
    """Build the schedules of section 5.1 of the paper at any length, and a control that never changes.

    Parameters
    ----------
    n_epochs : int
        200 in the paper; a multiple of 5.
    learning_rate : float, default 0.1
        Of the first stage.

    Returns
    -------
    dict of Schedule
        "decaying", "hybrid", "increasing" and "control".
    """
    milestones = [round(fraction * n_epochs) for fraction in (0.3, 0.6, 0.8)]
    decaying = step_decay(learning_rate, 128, milestones=milestones, n_epochs=n_epochs, factor=5)
    return {
        "decaying": decaying,
        "hybrid": grow_batch(decaying, N_TRAIN, n_drops=1),
        "increasing": grow_batch(decaying, N_TRAIN),
        "control": Schedule([Stage(n_epochs, learning_rate, 128)]),
    }
