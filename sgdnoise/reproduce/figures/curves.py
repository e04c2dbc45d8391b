"""Training curves of schedules: from tasks to arrays, from arrays to claims, tables and lines."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ...optimizers import Optimizer
from ...schedules import Schedule
from ..engine.contract import Arrays, Scale
from ..engine.verdicts import Control, Estimate, Verdict, estimate, standard_error
from ..tasks.training import TrainingTask
from . import Rows
from .paper import updates_by_epoch
from .style import Axes

AGREEMENT = 0.1
"""Training curves this far apart, in units of the control's distance, count as one."""

MARGIN = 0.002
"""Final test accuracies this far apart count as equal."""

_METRICS = ("train_loss", "test_accuracy")


@dataclass(frozen=True, eq=False)
class Curve:
    """What the runs of one schedule gave, one a seed: metrics of shape (n_seeds, n_epochs)."""

    stages: list[list[float]]
    """Epochs, learning rate and batch size of each stage."""
    n_updates: np.ndarray
    """Since the start, at the end of each epoch, (n_epochs,)."""
    train_loss: np.ndarray
    test_accuracy: np.ndarray
    train_accuracy: np.ndarray | None = None
    test_loss: np.ndarray | None = None
    momentum: float | None = None

    @property
    def final(self) -> np.ndarray:
        """Final test accuracy of each seed."""
        return final_accuracy(self.test_accuracy)


Curves = dict[str, Curve]
"""The curves of a figure by the names of their schedules."""


def stages_of(schedule: Schedule) -> list[list[float]]:
    """Epochs, learning rate and batch size of each stage."""
    return [[stage.n_epochs, stage.learning_rate, stage.batch_size] for stage in schedule]


def training_tasks(schedules: Mapping[str, Schedule], scale: Scale, optimizer: Optimizer) -> list[TrainingTask]:
    """Train every schedule with every seed."""
    seeds = range(scale.n_seeds)
    return [TrainingTask(schedule, seed, optimizer, engine=scale.engine) for schedule in schedules.values() for seed in seeds]


def curves_of(
    schedules: Mapping[str, Schedule], results: Iterator[Arrays], scale: Scale, metrics: Sequence[str] = _METRICS
) -> Curves:
    """Take the curves of the schedules from the next results of `training_tasks`."""
    curves = {}
    for name, schedule in schedules.items():
        runs = [next(results) for _ in range(scale.n_seeds)]
        arrays: Any = {metric: np.array([run[metric] for run in runs]) for metric in metrics}
        curves[name] = Curve(stages_of(schedule), np.array(updates_by_epoch(schedule)), **arrays)
    return curves


def final_accuracy(accuracy: np.ndarray) -> np.ndarray:
    """Mean over the last tenth of the epochs, along the last axis."""
    return np.asarray(accuracy[..., -max(1, accuracy.shape[-1] // 10) :].mean(axis=-1))


def stopped_accuracy(curve: Curve, first_step: int) -> np.ndarray:
    """Accuracy of each seed at the end of the first stage, over as many epochs as the final one."""
    n_last = max(1, curve.test_accuracy.shape[1] // 10)
    return np.asarray(curve.test_accuracy[:, first_step - n_last : first_step].mean(axis=1))


def distance(curves: Curves, name: str, first_step: int, seeds: np.ndarray, at_equal_updates: bool = False) -> float:
    """Largest distance of a schedule's mean training loss from that of decaying, after the first step."""
    loss, decaying = (curves[schedule].train_loss[seeds].mean(axis=0) for schedule in (name, "decaying"))
    if at_equal_updates:
        decaying = np.interp(curves[name].n_updates, curves["decaying"].n_updates, decaying)
    return float(np.abs(loss - decaying)[first_step:].max())


def agreement(key: str, claim: str, source: str, curves: Curves, names: Sequence[str], first_step: int) -> Verdict:
    """State that the schedules `names`, the worst of them, have the training curve of decaying."""
    n_seeds = len(curves["decaying"].train_loss)

    def apart(seeds: np.ndarray, at_equal_updates: bool = False) -> float:
        far = max(distance(curves, name, first_step, seeds, at_equal_updates) for name in names)
        return far / distance(curves, "control", first_step, seeds)

    statistic = "max |L - L(decaying)| / max |L(control) - L(decaying)|"
    measured = estimate(apart, n_seeds)
    control = Control("compared at equal numbers of updates", apart(np.arange(n_seeds), at_equal_updates=True))
    return Verdict(
        key=key, claim=claim, source=source, statistic=statistic, measured=measured, threshold=AGREEMENT, control=control
    )


def same_end(
    key: str, claim: str, source: str, ends: np.ndarray, reference: np.ndarray, control: str, to_reject: np.ndarray
) -> Verdict:
    """State that final accuracies, one a seed, have the mean of a reference's; of several schedules, a row each, the worst."""

    def points(seeds: np.ndarray, ends: np.ndarray = ends) -> float:
        return float(np.abs((ends - reference)[..., seeds].mean(axis=-1)).max())

    statistic = f"{'larger ' if ends.ndim > 1 else ''}difference of mean final accuracy"
    measured, rejected = estimate(points, len(reference)), Control(control, points(np.arange(len(reference)), to_reject))
    return Verdict(
        key=key, claim=claim, source=source, statistic=statistic, measured=measured, threshold=MARGIN, control=rejected
    )


def count_verdict(
    key: str, claim: str, source: str, counts: Sequence[float], limit: int, control: str, middle: float = 0, within: float = 1.0
) -> Verdict:
    """State that the first of two counts is at most a limit, or is about `middle` times it; the second is the control's."""
    value, wrong = (abs(count / limit - middle) for count in counts)
    statistic = f"|updates/{limit} - {middle}|" if middle else f"updates/{limit}"
    measured, rejected = Estimate(value), Control(control, wrong)
    return Verdict(
        key=key, claim=claim, source=source, statistic=statistic, measured=measured, threshold=within, control=rejected
    )


def curve_rows(curves: Curves, metrics: Sequence[str] = _METRICS, before: Sequence[object] = ()) -> Rows:
    """One line per schedule, seed and epoch, each with `before` in front."""
    return [
        [*before, name, seed, epoch + 1, int(n_updates), *(float(getattr(curve, metric)[seed, epoch]) for metric in metrics)]
        for name, curve in curves.items()
        for seed in range(len(curve.train_loss))
        for epoch, n_updates in enumerate(curve.n_updates)
    ]


def draw_mean(axis: Axes, x: np.ndarray, values: np.ndarray, **style: Any) -> np.ndarray:
    """Draw the mean over the seeds, the first axis, with a band of one standard error; return the mean."""
    mean: np.ndarray = values.mean(axis=0)
    draw_band(axis, x, mean, standard_error(values), **style)
    return mean


def draw_band(axis: Axes, x: np.ndarray, mean: np.ndarray, error: np.ndarray, **style: Any) -> None:
    """Draw a line with a band around it."""
    axis.plot(x, mean, **style)
    axis.fill_between(x, mean - error, mean + error, color=style["color"], alpha=0.2, linewidth=0)
