"""What figures 3 and 4 share: the three schedules and a control under one optimizer a panel, and what is said about them.

For each panel, with means over seeds:

agreement of the training loss
    As in figure 2: ``max_e |L(s, e) - L(decaying, e)| / max_e |L(control, e) - L(decaying, e)|`` over the epochs after the
    first step, the worse of s = hybrid and s = increasing; at most a tenth. The negative control takes the same curves at
    equal numbers of updates instead of equal epochs.
final test accuracy, in points
    The final accuracy of a run is its mean over the last tenth of the epochs. The worse of the two schedules differs from
    decaying by at most 0.2 points: the paper calls 94.3, 94.4 and 94.5% equal and 93.3% a loss.
final test accuracy, in standard errors
    The worse of the two differences from decaying over its standard error, at most 1: "within one standard error of their
    difference", in two readings. Of independent runs, the error is the root of the sum of the two squared errors: it says
    whether somebody who trains again would tell the curves apart. Paired by seed, it is the error of the mean of the
    differences: the runs of a seed share their initial parameters and their first stage, and what they share drops out. The
    second is strict, and two equal schedules often fail it by chance: Student's t with n - 1 degrees of freedom passes 1 with
    probability 0.39 for 4 seeds, 0.37 for 5 and never less than 0.32, and the worse of two does so up to 0.63 of the time. A
    difference that is not exactly 0, however small, fails it surely once there are seeds enough. Read it with the points.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from .style import SCHEDULES, figure_style, standard_error
from .tasks import N_TRAIN, Compute, Scale, TrainingTask, paper_schedules, updates_by_epoch
from .verdicts import Verdict, bootstrap_interval

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MARGIN = 0.002
"""Final test accuracies this far apart count as equal."""

AGREEMENT = 0.1
"""Training curves this far apart, in units of the control's distance, count as one."""

_METRICS = ("train_loss", "test_accuracy")
_GROWN = ("hybrid", "increasing")


@dataclass(frozen=True)
class Panel:
    """The schedules of section 5.1 under one optimizer.

    Parameters
    ----------
    name : str
        Of the optimizer, as it is printed.
    source : str
        The paper's figure.
    learning_rate : float
        Of the first stage.
    momentum : float
        The papers' m; nothing to Adam.
    nesterov : bool
        Whether the momentum is Nesterov's.
    adam : tuple of float, optional
        b1, b2 and eps of Adam, which takes the place of SGD.
    control : {"never changes", "stopped at the first step"}
        What the accuracies must be told from: the control schedule, or decaying at the end of its first stage.
    """

    name: str
    source: str
    learning_rate: float = 0.1
    momentum: float = 0.0
    nesterov: bool = False
    adam: tuple[float, float, float] | None = None
    control: str = "never changes"


def run_panels(panels: Sequence[Panel], scale: Scale, compute: Compute) -> dict[str, Any]:
    """Train every schedule with every seed under every optimizer."""
    seeds = list(range(scale.n_seeds))
    tasks = [
        TrainingTask(schedule, seed, panel.momentum, panel.nesterov, engine=scale.engine, adam=panel.adam)
        for panel in panels
        for schedule in paper_schedules(scale.n_epochs, panel.learning_rate).values()
        for seed in seeds
    ]
    results = iter(compute(tasks))
    drawn = []
    verdicts: list[Verdict] = []
    for panel in panels:
        curves: dict[str, dict[str, Any]] = {}
        schedules = paper_schedules(scale.n_epochs, panel.learning_rate)
        for name, schedule in schedules.items():
            runs = [next(results) for _ in seeds]
            curves[name] = {
                "stages": [[stage.n_epochs, stage.learning_rate, stage.batch_size] for stage in schedule],
                "n_updates": updates_by_epoch(schedule),
                **{metric: [run[metric].tolist() for run in runs] for metric in _METRICS},
            }
        first_step = schedules["decaying"].stages[0].n_epochs
        drawn.append({**vars(panel), "first_step": first_step, "final": _final(curves), "curves": curves})
        verdicts += panel_verdicts(panel, curves, first_step)
    return {
        "n_train": N_TRAIN,
        "model": "MLP 196-128-10, relu, float32",
        "data": "Fashion-MNIST 14x14, bundled",
        "sampling": "reshuffle",
        "l2": tasks[0].l2,
        "seeds": seeds,
        "panels": drawn,
        "verdicts": verdicts,
    }


def _final(curves: dict[str, dict[str, Any]]) -> dict[str, dict[str, float]]:
    """Final accuracy of each schedule, its difference from decaying, and the error of that, of independent and paired runs."""
    ends = {name: final_accuracy(np.array(curve["test_accuracy"])) for name, curve in curves.items()}
    decaying = ends["decaying"]
    return {
        name: {
            "accuracy": float(end.mean()),
            "difference": float((end - decaying).mean()),
            "error": difference_error(end, decaying, paired=False),
            "paired_error": difference_error(end, decaying, paired=True),
        }
        for name, end in ends.items()
    }


def agreement(claim: str, source: str, curves: dict[str, dict[str, Any]], names: Sequence[str], first_step: int) -> Verdict:
    """State that the schedules `names`, the worst of them, have the training curve of decaying."""
    losses = {name: np.array(curve["train_loss"]) for name, curve in curves.items()}
    n_updates = {name: np.array(curve["n_updates"]) for name, curve in curves.items()}

    def distance(name: str, seeds: np.ndarray, at_equal_updates: bool = False) -> float:
        loss, decaying = (losses[s][seeds].mean(axis=0) for s in (name, "decaying"))
        if at_equal_updates:
            decaying = np.interp(n_updates[name], n_updates["decaying"], decaying)
        return float(np.abs(loss - decaying)[first_step:].max())

    def statistic(seeds: np.ndarray, at_equal_updates: bool = False) -> float:
        return max(distance(name, seeds, at_equal_updates) for name in names) / distance("control", seeds)

    everyone = np.arange(len(losses["decaying"]))
    return Verdict(
        claim=claim,
        source=source,
        statistic="max |L - L(decaying)| / max |L(control) - L(decaying)|",
        value=statistic(everyone),
        threshold=AGREEMENT,
        interval=bootstrap_interval(statistic, len(everyone)),
        control="compared at equal numbers of updates",
        control_value=statistic(everyone, at_equal_updates=True),
    )


def panel_verdicts(panel: Panel, curves: dict[str, dict[str, Any]], first_step: int) -> list[Verdict]:
    """State the claims for one panel."""
    n_seeds = len(curves["decaying"]["train_loss"])
    source = f"Smith et al. 2018, {panel.source}"
    accuracy = {name: np.array(curve["test_accuracy"]) for name, curve in curves.items()}
    final = {name: final_accuracy(values) for name, values in accuracy.items()}
    n_last = max(1, accuracy["decaying"].shape[1] // 10)
    stopped = accuracy["decaying"][:, first_step - n_last : first_step].mean(axis=1)
    to_reject = {"never changes": final["control"], "stopped at the first step": stopped}[panel.control]
    everyone = np.arange(n_seeds)

    def points(ends: Sequence[np.ndarray], seeds: np.ndarray) -> float:
        return max(abs(float((end - final["decaying"])[seeds].mean())) for end in ends)

    grown = [final[name] for name in _GROWN]

    verdicts = [
        agreement(
            f"{panel.name}: hybrid and increasing have the training curve of decaying", source, curves, _GROWN, first_step
        ),
        Verdict(
            claim=f"{panel.name}: hybrid and increasing end at the test accuracy of decaying",
            source=source,
            statistic="larger difference of mean final accuracy",
            value=points(grown, everyone),
            threshold=MARGIN,
            interval=bootstrap_interval(lambda seeds: points(grown, seeds), n_seeds),
            control=panel.control,
            control_value=points([to_reject], everyone),
        ),
    ]
    if n_seeds > 1:
        verdicts += [_within_one_error(panel, grown, final["decaying"], to_reject, paired) for paired in (False, True)]
    return verdicts


def _within_one_error(
    panel: Panel, grown: Sequence[np.ndarray], decaying: np.ndarray, to_reject: np.ndarray, paired: bool
) -> Verdict:
    errors = [difference_error(end, decaying, paired) for end in grown]  # kept while the bootstrap moves the means

    def in_errors(seeds: np.ndarray) -> float:
        means = [abs(float((end - decaying)[seeds].mean())) for end in grown]
        return max(mean / error for mean, error in zip(means, errors, strict=True))

    how = "paired by seed" if paired else "as of independent runs"
    return Verdict(
        claim=f"{panel.name}: hybrid and increasing end within one standard error of decaying's test accuracy, {how}",
        source=f"Smith et al. 2018, {panel.source}",
        statistic="larger |difference of mean final accuracy| / its standard error",
        value=in_errors(np.arange(len(decaying))),
        threshold=1.0,
        interval=bootstrap_interval(in_errors, len(decaying)),
        control=panel.control,
        control_value=abs(float((to_reject - decaying).mean())) / difference_error(to_reject, decaying, paired),
    )


def difference_error(a: np.ndarray, b: np.ndarray, paired: bool) -> float:
    """Standard error of the difference of two means over seeds, of paired or of independent runs; never 0, for dividing."""
    error = standard_error(a - b) if paired else np.hypot(standard_error(a), standard_error(b))
    return max(float(error), 1e-12)


def final_accuracy(accuracy: np.ndarray) -> np.ndarray:
    """Mean over the last tenth of the epochs, along the last axis."""
    last: np.ndarray = accuracy[..., -max(1, accuracy.shape[-1] // 10) :]
    return np.asarray(last.mean(axis=-1))


def panel_rows(result: dict[str, Any]) -> list[list[Any]]:
    """One line per optimizer, schedule, seed and epoch."""
    lines: list[list[Any]] = [["optimizer", "schedule", "seed", "epoch", "n_updates", *_METRICS]]
    for panel in result["panels"]:
        for name, curve in panel["curves"].items():
            for i, seed in enumerate(result["seeds"]):
                for epoch, n_updates in enumerate(curve["n_updates"]):
                    values = (curve[metric][i][epoch] for metric in _METRICS)
                    lines.append([panel["name"], name, seed, epoch + 1, n_updates, *values])
    return lines


def plot_panels(result: dict[str, Any]) -> Figure:
    """Draw test accuracy against epochs, one panel an optimizer, with bands of one standard error."""
    from matplotlib.figure import Figure

    with figure_style():
        figure = Figure(figsize=(9, 3.8), layout="constrained")
        axes = figure.subplots(1, len(result["panels"]), sharey=True)
        lowest = 1.0
        for axis, letter, panel in zip(axes, "ab", result["panels"], strict=True):
            ends = []
            for name, style in SCHEDULES.items():
                accuracy = 100 * np.array(panel["curves"][name]["test_accuracy"])
                mean, error = accuracy.mean(axis=0), standard_error(accuracy)
                epochs = np.arange(1, len(mean) + 1)
                axis.plot(epochs, mean, **style)
                axis.fill_between(epochs, mean - error, mean + error, color=style["color"], alpha=0.2, linewidth=0)
                ends.append(float(final_accuracy(mean)))
                lowest = min(lowest, mean[len(mean) // 10] / 100)
            apart = max(abs(end - ends[1]) for end in ends[2:])
            accuracy_word = "equal in the end" if apart <= 100 * MARGIN else f"accuracies {apart:.1f} points apart"
            if abs(ends[0] - ends[1]) <= 100 * MARGIN:
                accuracy_word += ", the control's too"
            axis.set(title=f"({letter}) {panel['name']}: {accuracy_word}", xlabel="epochs")
            control, decaying, hybrid, increasing = (f"{end:.2f}" for end in ends)
            note = f"last tenth of the epochs:\ndecaying {decaying}, hybrid {hybrid},\n"
            note += f"increasing {increasing}, control {control}%"
            axis.text(0.98, 0.03, note, transform=axis.transAxes, ha="right", va="bottom", color="#666666", fontsize=9)
        axes[0].set(ylabel="test accuracy (%)", ylim=(100 * lowest - 1, None))
        figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=4)
    return figure
