"""Figure 5 of Smith et al. (2018), section 5.2: fewer updates, by a growing batch, a larger learning rate, more momentum.

Four schedules of equal eps N/(B (1 - m)), the batch at most 5120: the learning rate decays; the batch grows instead; the
learning rate starts at .5 and the batch at 640; the momentum is .98 besides, and the batch starts at 3200. The paper trains 200
epochs of CIFAR-10 and gives the number of updates and the final accuracy of each. Its counts follow from the schedules alone,
over the full 200 epochs whatever the length of the runs here; they are N/B an epoch, not rounded.

The accuracies are a toy's, beside the paper's. In the paper the first two changes cost nothing (94.3, 94.4 and 94.5%) and the
third costs a point (93.3%); with a margin of 0.2 points, those are the claims. A run's final accuracy is its mean over the last
tenth of the epochs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ..schedules import Schedule, grow_batch, scale_up
from .schedule_panels import MARGIN, final_accuracy
from .style import figure_style, standard_error
from .tasks import MOMENTUM, N_TRAIN, Compute, Scale, TrainingTask, paper_schedules, updates_by_epoch
from .verdicts import Verdict, bootstrap_interval

if TYPE_CHECKING:
    from matplotlib.figure import Figure

TITLE = "Figure 5: a growing batch, a larger learning rate and more momentum save updates, at a price"

MAX_BATCH_SIZE = 5120
_PAPER_EPOCHS = 200
_SOURCE = "Smith et al. 2018, sec. 5.2"

PAPER = {
    "original": ("about 80000", 94.3),
    "increasing batch": ("about 29000", 94.4),
    "raised learning rate": ("below 6500", 94.5),
    "raised momentum": ("below 2500", 93.3),
}
"""Updates and test accuracy (%) of each schedule, as the paper gives them."""

_STYLES: dict[str, dict[str, Any]] = {
    "original": {"color": "#0072B2", "linewidth": 4.0, "alpha": 0.45},
    "increasing batch": {"color": "#000000", "linestyle": ":", "linewidth": 2.0},
    "raised learning rate": {"color": "#D55E00"},
    "raised momentum": {"color": "#CC79A7"},
}
_ABOVE: dict[str, Any] = {"xytext": (0, 6), "textcoords": "offset points", "ha": "center", "va": "bottom"}
_LABELS: dict[str, dict[str, Any]] = {
    "original": {**_ABOVE, "xytext": (8, 6), "ha": "right"},
    "increasing batch": {**_ABOVE, "xytext": (4, -28), "ha": "left", "va": "top"},
    "raised learning rate": {**_ABOVE, "xytext": (8, 6), "ha": "right"},
    "raised momentum": {**_ABOVE, "xytext": (0, 6), "ha": "right"},
}
"""Where the ends of the curves are labelled."""


def schedules_of_section_5_2(n_epochs: int) -> dict[str, tuple[Schedule, float]]:
    """Build the four schedules at any length, each with its momentum."""
    original = paper_schedules(n_epochs)["decaying"]
    faster = scale_up(original, N_TRAIN, learning_rate=0.5)
    fastest = scale_up(original, N_TRAIN, learning_rate=0.5, momentum=MOMENTUM, to_momentum=0.98)
    return {
        "original": (original, MOMENTUM),
        "increasing batch": (grow_batch(original, N_TRAIN, max_batch_size=MAX_BATCH_SIZE), MOMENTUM),
        "raised learning rate": (grow_batch(faster, N_TRAIN, max_batch_size=MAX_BATCH_SIZE), MOMENTUM),
        "raised momentum": (grow_batch(fastest, N_TRAIN, max_batch_size=MAX_BATCH_SIZE), 0.98),
    }


def run(scale: Scale, compute: Compute) -> dict[str, Any]:
    """Train every schedule with every seed, and one that never changes."""
    seeds = list(range(scale.n_seeds))
    schedules = {
        **schedules_of_section_5_2(scale.n_epochs),
        "control": (paper_schedules(scale.n_epochs)["control"], MOMENTUM),
    }
    tasks = [TrainingTask(schedule, seed, m, engine=scale.engine) for schedule, m in schedules.values() for seed in seeds]
    results = iter(compute(tasks))
    curves = {}
    for name, (schedule, momentum) in schedules.items():
        runs = [next(results) for _ in seeds]
        curves[name] = {
            "stages": [[stage.n_epochs, stage.learning_rate, stage.batch_size] for stage in schedule],
            "momentum": momentum,
            "n_updates": updates_by_epoch(schedule),
            **{metric: [run[metric].tolist() for run in runs] for metric in ("train_loss", "test_accuracy")},
        }
    at_full_length = schedules_of_section_5_2(_PAPER_EPOCHS)
    counts = {
        name: {
            "paper": PAPER[name][0],
            "exact": schedule.n_updates(N_TRAIN, drop_last=None),
            "drop_last": schedule.n_updates(N_TRAIN),
            "keep_last": schedule.n_updates(N_TRAIN, drop_last=False),
        }
        for name, (schedule, _) in at_full_length.items()
    }
    return {
        "n_train": N_TRAIN,
        "model": "MLP 196-128-10, relu, float32",
        "data": "Fashion-MNIST 14x14, bundled",
        "n_epochs": scale.n_epochs,
        "paper_epochs": _PAPER_EPOCHS,
        "paper_accuracy": {name: accuracy for name, (_, accuracy) in PAPER.items()},
        "seeds": seeds,
        "counts": counts,
        "curves": curves,
        "verdicts": [*count_verdicts(), *accuracy_verdicts(curves)],
    }


def count_verdicts() -> list[Verdict]:
    """Compare the updates of 200 epochs with the paper's words; nothing in them is random."""
    original, growing, faster, fastest = (schedule for schedule, _ in schedules_of_section_5_2(_PAPER_EPOCHS).values())

    def stay(schedule: Schedule) -> Schedule:
        # The batch stays at 3200 where another factor of 5 would pass the cap, instead of growing partially up to it.
        return grow_batch(schedule, N_TRAIN, max_batch_size=3200)

    return [
        # "About" is read as half a unit of the last digit the paper gives.
        _count_verdict("original", original, 80000, 5000, "B = 256 throughout", scale_up(original, N_TRAIN, learning_rate=0.2)),
        _count_verdict(
            "increasing batch",
            growing,
            29000,
            500,
            "only the first drop becomes growth",
            grow_batch(original, N_TRAIN, n_drops=1),
        ),
        _count_verdict("raised learning rate", faster, 6500, None, "the batch stays at 3200, short of the cap", stay(faster)),
        _count_verdict("raised momentum", fastest, 2500, None, "the batch stays at 3200, short of the cap", stay(fastest)),
    ]


def _count_verdict(name: str, schedule: Schedule, paper: int, tolerance: int | None, control: str, wrong: Schedule) -> Verdict:
    """Say whether a count is about the paper's, within a tolerance, or below it, where there is none."""

    def statistic(schedule: Schedule) -> float:
        ratio = schedule.n_updates(N_TRAIN, drop_last=None) / paper
        return ratio if tolerance is None else abs(ratio - 1)

    return Verdict(
        claim=f"{name} takes {PAPER[name][0]} updates: {schedule.n_updates(N_TRAIN, drop_last=None):.0f}",
        source=_SOURCE,
        statistic=f"updates/{paper}" if tolerance is None else f"|updates/{paper} - 1|",
        value=statistic(schedule),
        threshold=1.0 if tolerance is None else tolerance / paper,
        control=control,
        control_value=statistic(wrong),
    )


def accuracy_verdicts(curves: dict[str, dict[str, Any]]) -> list[Verdict]:
    """Compare the toy's final accuracies with each other as the paper's compare."""
    final = {name: final_accuracy(np.array(curve["test_accuracy"])) for name, curve in curves.items()}
    n_seeds = len(final["original"])

    def lost(name: str, seeds: np.ndarray | None = None) -> float:
        return float((final["original"] - final[name])[slice(None) if seeds is None else seeds].mean())

    equal = [
        Verdict(
            claim=f"{name} ends at the test accuracy of original (paper: {PAPER[name][1]} and {PAPER['original'][1]}%)",
            source=_SOURCE,
            statistic="difference of mean final accuracy",
            value=abs(lost(name)),
            threshold=MARGIN,
            interval=bootstrap_interval(lambda seeds, name=name: abs(lost(name, seeds)), n_seeds),  # type: ignore[misc]
            control="never changes",
            control_value=abs(lost("control")),
        )
        for name in ("increasing batch", "raised learning rate")
    ]
    price = Verdict(
        claim="raised momentum costs test accuracy (paper: a point)",
        source=_SOURCE,
        statistic="mean final accuracy lost",
        value=lost("raised momentum"),
        threshold=MARGIN,
        relation="at least",
        interval=bootstrap_interval(lambda seeds: lost("raised momentum", seeds), n_seeds),
        control="increasing batch, which changes no momentum",
        control_value=lost("increasing batch"),
    )
    return [*equal, price]


def rows(result: dict[str, Any]) -> list[list[Any]]:
    """One line per schedule, seed and epoch."""
    lines: list[list[Any]] = [["schedule", "seed", "epoch", "n_updates", "train_loss", "test_accuracy"]]
    for name, curve in result["curves"].items():
        for i, seed in enumerate(result["seeds"]):
            for epoch, n_updates in enumerate(curve["n_updates"]):
                values = (curve[metric][i][epoch] for metric in ("train_loss", "test_accuracy"))
                lines.append([name, seed, epoch + 1, n_updates, *values])
    return lines


def plot(result: dict[str, Any]) -> Figure:
    """Draw test accuracy against updates, and the final accuracies beside the paper's."""
    from matplotlib.figure import Figure

    with figure_style():
        figure = Figure(figsize=(9, 3.8), layout="constrained")
        by_update, price = figure.subplots(1, 2, width_ratios=(1.25, 1))
        original = final_accuracy(np.array(result["curves"]["original"]["test_accuracy"]))
        ticks: dict[float, str] = {}
        lowest = 100.0
        for row, (name, style) in enumerate(_STYLES.items()):
            curve, count, y = result["curves"][name], result["counts"][name], -float(row)
            accuracy = np.array(curve["test_accuracy"])
            mean, error = 100 * accuracy.mean(axis=0), 100 * standard_error(accuracy)
            updates = np.array(curve["n_updates"])
            by_update.plot(updates, mean, **style)
            by_update.fill_between(updates, mean - error, mean + error, color=style["color"], alpha=0.2, linewidth=0)
            by_update.plot(updates[-1], mean[-1], "o", color=style["color"], markersize=5)
            lowest = min(lowest, float(mean[-1]))
            end = f"{name}\n{updates[-1]} updates\n{100 * final_accuracy(accuracy).mean():.1f}%"
            by_update.annotate(end, (updates[-1], mean[-1]), **_LABELS[name], fontsize=8, color=style["color"])
            lost = 100 * (final_accuracy(accuracy) - original)
            bar = float(standard_error(lost))
            price.errorbar(lost.mean(), y - 0.13, xerr=bar, fmt="o", color=style["color"], markersize=5)
            paper = result["paper_accuracy"][name] - result["paper_accuracy"]["original"]
            price.plot(paper, y + 0.13, "D", color="#999999", markersize=5)
            ticks[y] = f"{name}\n{count['exact']:.0f} updates\n(paper: {count['paper']})"
        by_update.set(xscale="log", xlabel="parameter updates", ylabel="test accuracy (%)", ylim=(min(76.0, lowest - 3), 92))
        by_update.set_xlim(right=3 * max(result["curves"]["original"]["n_updates"]))  # room for a label
        by_update.set_title(f"(a) {result['n_epochs']} epochs each, equal eps N/(B (1 - m))")
        price.axvline(0, color="#999999", linewidth=0.8)
        price.set_yticks(list(ticks), list(ticks.values()), fontsize=8)
        price.set(xlabel="final test accuracy against original (points)", title="(b) the price; updates in 200 epochs")
        key = f"dots: here, {result['n_epochs']} epochs\ndiamonds: paper, CIFAR-10"
        price.text(0.03, 0.72, key, transform=price.transAxes, color="#666666")
    return figure
