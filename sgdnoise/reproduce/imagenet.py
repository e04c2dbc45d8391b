"""Sections 5.3 and 5.4 of Smith et al. (2018): updates to train ImageNet, counted from the schedules.

Nothing is trained. N = 1281167, 90 epochs, learning rate 3 at first and divided by 10 after epochs 30, 60 and 80, momentum .9
and batch 8192, no warm-up. Growing batches stop at 81920 or 65536, and the learning rate takes the rest of the factor. More
momentum at equal noise takes a larger first batch: 16384 at .95, 32768 at .975. (The paper's text has .975 and .9875 in one
place; only .95 and .975 keep eps N/(B (1 - m)).) Updates are whole batches, the last, smaller one of an epoch dropped.

"Just over" and "just under" are read as: not beyond, and within 5%.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..schedules import Schedule, Stage, grow_batch, scale_up, step_decay
from .style import figure_style
from .tasks import MOMENTUM, Compute, Scale
from .verdicts import Verdict

if TYPE_CHECKING:
    from matplotlib.figure import Figure

TITLE = "ImageNet: the paper's update counts follow from its schedules"

N_TRAIN = 1_281_167
_SOURCE = "Smith et al. 2018, sec. 5.3"

_PAPER = {
    "decaying, m .9": ("just over", 14000),
    "to 81920, m .9": ("below", 6000),
    "to 65536, m .9": ("just under", 6000),
    "to 65536, m .95": ("below", 3500),
    "to 65536, m .975": ("below", 2500),
}
_ACCURACY = {"to 65536, m .9": "78.8", "to 65536, m .95": "78.1, 77.8", "to 65536, m .975": "77.5, 76.8"}


def imagenet_schedules() -> dict[str, tuple[Schedule, float]]:
    """Build the schedules, each with its momentum; of the last, ResNet-50's, only the batch sizes are the paper's."""
    decaying = step_decay(3.0, 8192, milestones=(30, 60, 80), n_epochs=90, factor=10)

    def grown(momentum: float, max_batch_size: int) -> tuple[Schedule, float]:
        larger = scale_up(decaying, N_TRAIN, momentum=MOMENTUM, to_momentum=momentum)
        return grow_batch(larger, N_TRAIN, max_batch_size=max_batch_size), momentum

    return {
        "decaying, m .9": (decaying, MOMENTUM),
        "to 81920, m .9": grown(MOMENTUM, 81920),
        "to 65536, m .9": grown(MOMENTUM, 65536),
        "to 65536, m .95": grown(0.95, 65536),
        "to 65536, m .975": grown(0.975, 65536),
        "ResNet-50, to 16384": (Schedule([Stage(30, 3.0, 8192), Stage(60, 3.0, 16384)]), MOMENTUM),
    }


def run(scale: Scale, compute: Compute) -> dict[str, Any]:
    """Count the updates of every schedule."""
    runs = {}
    verdicts = []
    for name, (schedule, momentum) in imagenet_schedules().items():
        runs[name] = {
            "momentum": momentum,
            "stages": [[stage.n_epochs, stage.batch_size] for stage in schedule],
            "n_updates": schedule.n_updates(N_TRAIN),
            "exact": schedule.n_updates(N_TRAIN, drop_last=None),
            "keep_last": schedule.n_updates(N_TRAIN, drop_last=False),
            "paper": " ".join(map(str, _PAPER[name])) if name in _PAPER else None,
            "paper_accuracy": _ACCURACY.get(name),
        }
        if name in _PAPER:
            verdicts.append(_verdict(name, schedule))
    return {"n_train": N_TRAIN, "n_epochs": 90, "runs": runs, "verdicts": verdicts}


def _verdict(name: str, schedule: Schedule) -> Verdict:
    word, limit = _PAPER[name]
    no_growth = Schedule([Stage(90, 3.0, schedule.stages[0].batch_size)])
    control, wrong = {
        "just over": ("twice the batch", Schedule([Stage(90, 3.0, 2 * schedule.stages[0].batch_size)])),
        "just under": ("a batch that grows to 81920", imagenet_schedules()["to 81920, m .9"][0]),
        "below": ("a batch that does not grow", no_growth),
    }[word]
    middle = {"just over": 1.025, "just under": 0.975}.get(word)

    def statistic(n_updates: float) -> float:
        return n_updates / limit if middle is None else abs(n_updates / limit - middle)

    return Verdict(
        claim=f"{name}: {word} {limit} updates: {schedule.n_updates(N_TRAIN)}",
        source=_SOURCE,
        statistic=f"updates/{limit}" if middle is None else f"|updates/{limit} - {middle}|",
        value=statistic(schedule.n_updates(N_TRAIN)),
        threshold=1.0 if middle is None else 0.025,
        control=control,
        control_value=statistic(wrong.n_updates(N_TRAIN)),
    )


def rows(result: dict[str, Any]) -> list[list[Any]]:
    """One line per schedule and stage, with the counts of the whole schedule beside the paper's."""
    counts = ("n_updates", "exact", "keep_last", "paper", "paper_accuracy")
    lines: list[list[Any]] = [["schedule", "momentum", "stage", "n_epochs", "batch_size", *counts]]
    for name, run in result["runs"].items():
        for i, stage in enumerate(run["stages"]):
            lines.append([name, run["momentum"], i + 1, *stage, *(run[count] or "" for count in counts)])
    return lines


def plot(result: dict[str, Any]) -> Figure:
    """Draw the counts as bars, and what the paper says of each beside it."""
    from matplotlib.figure import Figure

    with figure_style():
        figure = Figure(figsize=(9, 3.6), layout="constrained")
        axis = figure.subplots()
        y = [-float(i) for i in range(len(result["runs"]))]
        counts = [run["n_updates"] for run in result["runs"].values()]
        colors = ["#0072B2" if name.startswith("decaying") else "#D55E00" for name in result["runs"]]
        axis.barh(y, counts, height=0.6, color=colors, alpha=0.75)
        labels = []
        for name, run in result["runs"].items():
            sizes = list(dict.fromkeys(batch_size for _, batch_size in run["stages"]))
            growth = " to ".join(map(str, sizes)) if len(sizes) > 1 else f"{sizes[0]} throughout"
            kind = "ResNet-50, " if name.startswith("ResNet") else ""
            labels.append(f"{kind}B {growth}, m {run['momentum']:g}")
        axis.set_yticks(y, labels)
        for position, run in zip(y, result["runs"].values(), strict=True):
            paper = f"  (paper: {run['paper']})" if run["paper"] else ""
            axis.text(run["n_updates"] + 120, position, f"{run['n_updates']}{paper}", va="center")
        axis.set(xlabel=f"parameter updates in {result['n_epochs']} epochs of ImageNet", xlim=(0, 1.6 * max(counts)))
        axis.set_title(f"from {max(counts)} updates to {min(counts)} at one eps N/(B (1 - m)), counted from the schedules")
    return figure
