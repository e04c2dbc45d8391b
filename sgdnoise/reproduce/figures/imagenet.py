"""Sections 5.3 and 5.4 of Smith et al. (2018): updates to train ImageNet, counted from the schedules.

Nothing is trained. N = 1281167, 90 epochs, learning rate 3 at first and divided by 10 after epochs 30, 60 and 80, momentum .9
and batch 8192, no warm-up. Growing batches stop at 81920 or 65536, and the learning rate takes the rest of the factor. More
momentum at equal noise takes a larger first batch: 16384 at .95, 32768 at .975. (The paper's text has .975 and .9875 in one
place; only .95 and .975 keep eps N/(B (1 - m)).) Updates are whole batches, the last, smaller one of an epoch dropped.

"Just over" and "just under" are read as: not beyond, and within 5%.
"""

from __future__ import annotations

from dataclasses import dataclass

from ...schedules import Schedule, Stage, grow_batch, scale_up, step_decay
from ..engine.contract import Scale
from ..engine.verdicts import Verdict
from ..tasks.training import MOMENTUM
from . import Rows, Run, Verdicts
from .curves import count_verdict
from .style import Figure, canvas, figure_style

TITLE = "ImageNet: the paper's update counts follow from its schedules"

N_IMAGENET = 1_281_167
_N_EPOCHS = 90
_RATE = 3.0

_PAPER = {
    "decaying, m .9": ("just over", 14000),
    "to 81920, m .9": ("below", 6000),
    "to 65536, m .9": ("just under", 6000),
    "to 65536, m .95": ("below", 3500),
    "to 65536, m .975": ("below", 2500),
}
_ACCURACY = {"to 65536, m .9": "78.8", "to 65536, m .95": "78.1, 77.8", "to 65536, m .975": "77.5, 76.8"}


@dataclass(frozen=True)
class Course:
    """One schedule: its stages (epochs, batch size), its updates, and what the paper says of them and of the accuracy (%).

    The updates are counted without an epoch's smaller last batch, with N/B an epoch, and with that batch.
    """

    momentum: float
    stages: list[list[int]]
    n_updates: float
    exact: float
    keep_last: float
    paper: str | None = None
    paper_accuracy: str | None = None


@dataclass(frozen=True)
class Result:
    """The schedules."""

    n_train: int
    n_epochs: int
    runs: dict[str, Course]


def imagenet_schedules() -> dict[str, tuple[Schedule, float]]:
    """Build the schedules, each with its momentum; of the last, ResNet-50's, only the batch sizes are the paper's."""
    decaying = step_decay(_RATE, 8192, milestones=(30, 60, 80), n_epochs=_N_EPOCHS, factor=10)

    def grown(max_batch_size: int, momentum: float = MOMENTUM) -> tuple[Schedule, float]:
        larger = scale_up(decaying, N_IMAGENET, momentum=MOMENTUM, to_momentum=momentum)
        return grow_batch(larger, N_IMAGENET, max_batch_size=max_batch_size), momentum

    return {
        "decaying, m .9": (decaying, MOMENTUM),
        "to 81920, m .9": grown(81920),
        "to 65536, m .9": grown(65536),
        "to 65536, m .95": grown(65536, 0.95),
        "to 65536, m .975": grown(65536, 0.975),
        "ResNet-50, to 16384": (Schedule([Stage(30, _RATE, 8192), Stage(60, _RATE, 16384)]), MOMENTUM),
    }


def run(scale: Scale) -> Run[Result]:
    """Count the updates of every schedule."""
    yield ()
    schedules = imagenet_schedules()
    runs = {}
    for name, (schedule, momentum) in schedules.items():
        stages = [[stage.n_epochs, stage.batch_size] for stage in schedule]
        n_updates, exact, keep_last = (schedule.n_updates(N_IMAGENET, drop_last) for drop_last in (True, None, False))
        paper = "{} {}".format(*_PAPER[name]) if name in _PAPER else None
        runs[name] = Course(momentum, stages, n_updates, exact, keep_last, paper, _ACCURACY.get(name))
    return Result(N_IMAGENET, _N_EPOCHS, runs), [_verdict(name, schedules) for name in _PAPER]


def _verdict(name: str, schedules: dict[str, tuple[Schedule, float]]) -> Verdict:
    (word, limit), (schedule, _) = _PAPER[name], schedules[name]
    first = schedule.stages[0].batch_size
    around, control, wrong = {
        "just over": ((1.025, 0.025), "twice the batch", Schedule([Stage(_N_EPOCHS, _RATE, 2 * first)])),
        "just under": ((0.975, 0.025), "a batch that grows to 81920", schedules["to 81920, m .9"][0]),
        "below": ((), "a batch that does not grow", Schedule([Stage(_N_EPOCHS, _RATE, first)])),
    }[word]
    counts = schedule.n_updates(N_IMAGENET), wrong.n_updates(N_IMAGENET)
    claim = f"{name}: {word} {limit} updates: {counts[0]}"
    return count_verdict(name, claim, "Smith et al. 2018, sec. 5.3", counts, limit, control, *around)


def rows(result: Result) -> Rows:
    """One line per schedule and stage, with the counts of the whole schedule beside the paper's."""
    counts = ("n_updates", "exact", "keep_last", "paper", "paper_accuracy")
    lines: Rows = [["schedule", "momentum", "stage", "n_epochs", "batch_size", *counts]]
    for name, course in result.runs.items():
        for i, stage in enumerate(course.stages):
            lines.append([name, course.momentum, i + 1, *stage, *(getattr(course, count) or "" for count in counts)])
    return lines


@figure_style()
def plot(result: Result, verdicts: Verdicts) -> Figure:
    """Draw the counts as bars, and what the paper says of each beside it."""
    figure, axis = canvas(3.6, 1, 1)
    labels = []
    for i, (name, course) in enumerate(result.runs.items()):
        color = "#0072B2" if name.startswith("decaying") else "#D55E00"
        axis.barh(-i, course.n_updates, height=0.6, color=color, alpha=0.75)
        paper = f"  (paper: {course.paper})" if course.paper else ""
        axis.text(course.n_updates + 120, -i, f"{course.n_updates}{paper}", va="center")
        sizes = list(dict.fromkeys(batch_size for _, batch_size in course.stages))
        growth = " to ".join(map(str, sizes)) if len(sizes) > 1 else f"{sizes[0]} throughout"
        labels.append(f"{'ResNet-50, ' * name.startswith('ResNet')}B {growth}, m {course.momentum:g}")
    axis.set_yticks([-i for i in range(len(labels))], labels)
    counts = [course.n_updates for course in result.runs.values()]
    axis.set(xlabel=f"parameter updates in {result.n_epochs} epochs of ImageNet", xlim=(0, 1.6 * max(counts)))
    axis.set_title(f"from {max(counts)} updates to {min(counts)} at one eps N/(B (1 - m)), counted from the schedules")
    return figure
