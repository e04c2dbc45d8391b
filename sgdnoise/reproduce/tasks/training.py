"""One training run of the figures' network."""

from __future__ import annotations

from dataclasses import dataclass

from ... import fast
from ...optimizers import Optimizer, sgd
from ...schedules import Schedule
from ...training import train
from ..engine.contract import Arrays, stable
from .toy import N_TRAIN, images, network

MOMENTUM = 0.9
"""The paper's m."""

METRICS = ("train_loss", "train_accuracy", "test_loss", "test_accuracy")

_PAPERS = sgd(momentum=MOMENTUM)


@dataclass(frozen=True)
class TrainingTask:
    """One training run of the figures' network on 50000 of the bundled images.

    Parameters
    ----------
    schedule : Schedule
        Epochs, learning rates, batch sizes.
    seed : int
        Of the initial parameters and the minibatches.
    optimizer : Optimizer
        A value, with the same repr in every process; default: the paper's, momentum .9.
    l2 : float
        Coefficient of the L2 term.
    engine : {"fast", "reference"}
        What trains; see `ENGINES`.

    Raises
    ------
    ValueError
        If the optimizer is no such value.
    """

    schedule: Schedule
    seed: int
    optimizer: Optimizer = _PAPERS
    l2: float = 1e-4
    engine: str = "fast"

    def __post_init__(self) -> None:
        """Refuse an optimizer that is two functions: nobody could tell its results from another's."""
        stable("optimizer", self.optimizer)

    @property
    def cost(self) -> float:
        """Rough cost, in epochs at batch size 128, to tell the time left."""
        return sum(stage.n_epochs * (0.4 + 0.6 * min(1.0, 128 / stage.batch_size)) for stage in self.schedule)

    def run(self) -> Arrays:
        """Train, and return the metrics after each epoch."""
        data, model = images(N_TRAIN), network()
        if self.engine == "fast":
            history = fast.train(model, data, self.schedule, self.optimizer, l2=self.l2, rngs=[self.seed]).replica(0)
        else:
            history = train(model, data, self.schedule, self.optimizer, l2=self.l2, rng=self.seed)
        return {name: getattr(history, name) for name in METRICS}
