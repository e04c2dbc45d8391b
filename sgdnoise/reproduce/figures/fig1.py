"""Figure 1 of Smith et al. (2018): the schedules, with a third panel that the paper leaves out: the noise scale itself.

The three schedules divide eps by 5, multiply B by 5, or first the latter and then the former. eps N/B is the same for all
three, and exact g nearly so: at B = 16000 = 0.32 N the "-1" in g = eps (N/B - 1)/(1 - m) takes a third of it away.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..engine.contract import Scale
from ..engine.verdicts import Control, Estimate, Verdict
from ..tasks.toy import N_TRAIN
from ..tasks.training import MOMENTUM
from . import Rows, Run, Verdicts
from .curves import stages_of
from .paper import GROWN, paper_schedules
from .style import SCHEDULES, Figure, canvas, figure_style

TITLE = "Figure 1: three schedules, one noise scale"


@dataclass(frozen=True, eq=False)
class Course:
    """One schedule: its stages (epochs, learning rate, batch size), g in each, and its updates in all."""

    stages: list[list[float]]
    noise_scale: np.ndarray
    n_updates: float


@dataclass(frozen=True, eq=False)
class Result:
    """The schedules."""

    n_train: int
    momentum: float
    schedules: dict[str, Course]


def run(scale: Scale) -> Run[Result]:
    """List the schedules; nothing is trained."""
    yield ()
    schedules = {
        name: Course(stages_of(schedule), schedule.noise_scale(N_TRAIN, MOMENTUM), schedule.n_updates(N_TRAIN))
        for name, schedule in paper_schedules(scale.n_epochs).items()
        if name != "control"
    }
    g = {name: course.noise_scale for name, course in schedules.items()}
    small = np.array([batch_size * 10 <= N_TRAIN for _, _, batch_size in schedules["increasing"].stages])

    def apart(stages: np.ndarray) -> float:
        return float(max(np.abs(g[name] / g["decaying"] - 1)[stages].max() for name in GROWN))

    verdict = Verdict(
        key="one noise scale",
        claim="the three schedules have one noise scale",
        source="Smith et al. 2018, fig. 1",
        statistic="largest relative difference of exact g from decaying",
        measured=Estimate(apart(small)),
        threshold=0.1,
        control=Control("the stages of larger batches", apart(~small)),
        scope="B <= N/10",
    )
    return Result(N_TRAIN, MOMENTUM, schedules), [verdict]


def rows(result: Result) -> Rows:
    """One line per schedule and stage."""
    lines: Rows = [["schedule", "stage", "n_epochs", "learning_rate", "batch_size", "noise_scale"]]
    for name, course in result.schedules.items():
        for i, (stage, g) in enumerate(zip(course.stages, course.noise_scale.tolist(), strict=True)):
            lines.append([name, i + 1, *stage, g])
    return lines


@figure_style()
def plot(result: Result, verdicts: Verdicts) -> Figure:
    """Draw learning rate, batch size and noise scale against epochs."""
    figure, axes = canvas(3.4, 1, 3)
    for name, course in result.schedules.items():
        n_epochs, learning_rate, batch_size = np.array(course.stages).T
        edges = np.concatenate([[0], np.cumsum(n_epochs)])
        for axis, values in zip(axes, (learning_rate, batch_size, course.noise_scale), strict=True):
            axis.step(edges, [*values, values[-1]], where="post", **SCHEDULES[name])
    titles = ("(a) learning rate", "(b) batch size B", "(c) noise scale g")
    labels = ("learning rate", "batch size (examples)", "g (unit of the learning rate)")
    for axis, title, label in zip(axes, titles, labels, strict=True):
        axis.set(title=title, xlabel="epochs", ylabel=label, yscale="log")
    axes[1].axhline(result.n_train / 10, color="#999999", linewidth=0.8)
    axes[1].text(0, result.n_train / 10, "N/10", va="bottom", color="#666666")
    last = np.array([course.noise_scale[-1] for course in result.schedules.values()])
    note = f"at B > N/10 exact g\nis {1 - last.min() / last.max():.0%} lower"
    axes[2].annotate(note, (0.02, 0.04), xycoords="axes fraction", va="bottom", color="#666666")
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=3)
    return figure
