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

import numpy as np

from ...optimizers import Optimizer
from ..engine.contract import Scale
from ..engine.verdicts import Control, Verdict, estimate, standard_error
from ..tasks.toy import DATA, MODEL, N_TRAIN
from . import Rows, Run, Verdicts
from .curves import MARGIN, Curves, agreement, curve_rows, curves_of, draw_mean, same_end, stopped_accuracy, training_tasks
from .paper import GROWN, NAMES, paper_schedules
from .style import SCHEDULES, Figure, canvas, figure_style


@dataclass(frozen=True)
class Panel:
    """The schedules of section 5.1 under one optimizer.

    Parameters
    ----------
    name : str
        Of the optimizer, as it is printed.
    source : str
        The paper's figure.
    optimizer : Optimizer
        A value.
    learning_rate : float
        Of the first stage.
    control : {"never changes", "stopped at the first step"}
        What the accuracies must be told from: the control schedule, or decaying at the end of its first stage.
    """

    name: str
    source: str
    optimizer: Optimizer
    learning_rate: float = 0.1
    control: str = "never changes"


@dataclass(frozen=True)
class Final:
    """Final accuracy of a schedule, its difference from decaying, and the error of that, of independent and paired runs."""

    accuracy: float
    difference: float
    error: float
    paired_error: float


@dataclass(frozen=True, eq=False)
class PanelResult:
    """What a `Panel` says of itself, the epochs before the first drop, and what was measured."""

    name: str
    source: str
    optimizer: str
    learning_rate: float
    control: str
    first_step: int
    final: dict[str, Final]
    curves: Curves


@dataclass(frozen=True, eq=False)
class Result:
    """How it was trained, and the panels."""

    n_train: int
    model: str
    data: str
    sampling: str
    l2: float
    seeds: Sequence[int]
    panels: list[PanelResult]


def run_panels(panels: Sequence[Panel], scale: Scale) -> Run[Result]:
    """Train every schedule with every seed under every optimizer."""
    schedules = [paper_schedules(scale.n_epochs, panel.learning_rate) for panel in panels]
    tasks = [t for panel, some in zip(panels, schedules, strict=True) for t in training_tasks(some, scale, panel.optimizer)]
    results = iter((yield tasks))
    drawn, verdicts = [], list[Verdict]()
    for panel, some in zip(panels, schedules, strict=True):
        curves = curves_of(some, results, scale)
        first_step = some["decaying"].stages[0].n_epochs
        setting = panel.name, panel.source, repr(panel.optimizer), panel.learning_rate, panel.control
        final = {name: _final(curve.final, curves["decaying"].final) for name, curve in curves.items()}
        drawn.append(PanelResult(*setting, first_step, final, curves))
        verdicts += panel_verdicts(panel, curves, first_step)
    return Result(N_TRAIN, MODEL, DATA, "reshuffle", tasks[0].l2, range(scale.n_seeds), drawn), verdicts


def _final(end: np.ndarray, decaying: np.ndarray) -> Final:
    errors = (difference_error(end, decaying, paired) for paired in (False, True))
    return Final(float(end.mean()), float((end - decaying).mean()), *errors)


def panel_verdicts(panel: Panel, curves: Curves, first_step: int) -> list[Verdict]:
    """State the claims for one panel."""
    source = f"Smith et al. 2018, {panel.source}"
    decaying, grown = curves["decaying"].final, np.array([curves[name].final for name in GROWN])
    stopped = panel.control == "stopped at the first step"
    to_reject = stopped_accuracy(curves["decaying"], first_step) if stopped else curves["control"].final

    def within_one_error(kind: str, how: str, paired: bool) -> Verdict:
        errors = [difference_error(end, decaying, paired) for end in grown]  # kept while the bootstrap moves the means

        def in_errors(seeds: np.ndarray) -> float:
            return float((np.abs((grown - decaying)[:, seeds].mean(axis=1)) / errors).max())

        claim = f"{panel.name}: hybrid and increasing end within one standard error of decaying's test accuracy, {how}"
        rejected = abs(float((to_reject - decaying).mean())) / difference_error(to_reject, decaying, paired)
        return Verdict(
            key=f"{panel.name}: {kind}",
            claim=claim,
            source=source,
            statistic="larger |difference of mean final accuracy| / its standard error",
            measured=estimate(in_errors, len(decaying)),
            threshold=1.0,
            control=Control(panel.control, rejected),
        )

    one_curve = f"{panel.name}: hybrid and increasing have the training curve of decaying"
    one_end = f"{panel.name}: hybrid and increasing end at the test accuracy of decaying"
    verdicts = [
        agreement(f"{panel.name}: curve", one_curve, source, curves, GROWN, first_step),
        same_end(f"{panel.name}: points", one_end, source, grown, decaying, panel.control, to_reject),
    ]
    if len(decaying) > 1:
        kinds = (("independent", "as of independent runs", False), ("paired", "paired by seed", True))
        verdicts += [within_one_error(*kind) for kind in kinds]
    return verdicts


def difference_error(a: np.ndarray, b: np.ndarray, paired: bool) -> float:
    """Standard error of the difference of two means over seeds, of paired or of independent runs; never 0, for dividing."""
    error = standard_error(a - b) if paired else np.hypot(standard_error(a), standard_error(b))
    return max(float(error), 1e-12)


def rows(result: Result) -> Rows:
    """One line per optimizer, schedule, seed and epoch."""
    lines: Rows = [["optimizer", "schedule", "seed", "epoch", "n_updates", "train_loss", "test_accuracy"]]
    for panel in result.panels:
        lines += curve_rows(panel.curves, before=[panel.name])
    return lines


@figure_style()
def plot(result: Result, verdicts: Verdicts) -> Figure:
    """Draw test accuracy against epochs, one panel an optimizer, with bands of one standard error."""
    figure, axes = canvas(3.8, 1, len(result.panels), sharey=True)
    lowest = 1.0
    for axis, letter, panel in zip(axes, "ab", result.panels, strict=True):
        for name, style in SCHEDULES.items():
            accuracy = 100 * panel.curves[name].test_accuracy
            mean = draw_mean(axis, np.arange(1, accuracy.shape[1] + 1), accuracy, **style)
            lowest = min(lowest, mean[len(mean) // 10] / 100)
        ends = {name: 100 * panel.curves[name].final.mean() for name in NAMES}
        off = {name: abs(end - ends["decaying"]) for name, end in ends.items()}
        apart = max(off[name] for name in GROWN)
        word = "equal in the end" if apart <= 100 * MARGIN else f"accuracies {apart:.1f} points apart"
        too = ", the control's too" if off["control"] <= 100 * MARGIN else ""
        axis.set(title=f"({letter}) {panel.name}: {word}{too}", xlabel="epochs")
        note = "last tenth of the epochs:\n{}, {},\n{}, {}%".format(*(f"{name} {end:.2f}" for name, end in ends.items()))
        axis.text(0.98, 0.03, note, transform=axis.transAxes, ha="right", va="bottom", color="#666666", fontsize=9)
    axes[0].set(ylabel="test accuracy (%)", ylim=(100 * lowest - 1, None))
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=4)
    return figure
