"""Figure 2 of Smith et al. (2018), the main result: equal noise, one training curve per epoch, far fewer updates.

The statistic: with L(s, e) the mean training loss over seeds of schedule s after epoch e, and e running over the epochs after
the first step::

    max_e |L(s, e) - L(decaying, e)| / max_e |L(control, e) - L(decaying, e)|

is at most a tenth for s = hybrid and s = increasing. The control keeps learning rate and batch size throughout, and shows how
far apart the curves would be if the noise scale did not matter.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ...optimizers import sgd
from ..engine.contract import Scale
from ..tasks.toy import DATA, MODEL, N_TRAIN
from ..tasks.training import METRICS, MOMENTUM
from . import Rows, Run, Verdicts
from .curves import Curves, agreement, curve_rows, curves_of, draw_mean, training_tasks
from .paper import GROWN, paper_schedules
from .style import SCHEDULES, Figure, canvas, figure_style

TITLE = "Figure 2: equal noise, equal training curve, fewer updates"

_OPTIMIZER = sgd(momentum=MOMENTUM)


@dataclass(frozen=True, eq=False)
class Result:
    """How it was trained, and the curves."""

    n_train: int
    model: str
    data: str
    sampling: str
    optimizer: str
    l2: float
    first_step: int
    """Epochs before the first drop."""
    seeds: Sequence[int]
    curves: Curves


def run(scale: Scale) -> Run[Result]:
    """Train every schedule with every seed."""
    schedules = paper_schedules(scale.n_epochs)
    tasks = training_tasks(schedules, scale, _OPTIMIZER)
    results = yield tasks
    curves = curves_of(schedules, iter(results), scale, METRICS)
    first_step = schedules["decaying"].stages[0].n_epochs
    verdicts = []
    for name in GROWN:
        updates, before = (curves[schedule].n_updates[-1] for schedule in (name, "decaying"))
        claim = f"{name} has the training curve of decaying, with {updates} updates for {before}"
        verdicts.append(agreement(name, claim, "Smith et al. 2018, fig. 2", curves, (name,), first_step))
    seeds = range(scale.n_seeds)
    return Result(N_TRAIN, MODEL, DATA, "reshuffle", repr(_OPTIMIZER), tasks[0].l2, first_step, seeds, curves), verdicts


def rows(result: Result) -> Rows:
    """One line per schedule, seed and epoch."""
    return [["schedule", "seed", "epoch", "n_updates", *METRICS], *curve_rows(result.curves, METRICS)]


@figure_style()
def plot(result: Result, verdicts: Verdicts) -> Figure:
    """Draw training loss against epochs and against updates, with bands of one standard error."""
    from matplotlib.ticker import MaxNLocator

    figure, (by_epoch, by_update) = canvas(3.8, sharey=True)
    for name, style in SCHEDULES.items():
        curve = result.curves[name]
        for axis, x in ((by_epoch, np.arange(1, len(curve.n_updates) + 1)), (by_update, curve.n_updates)):
            draw_mean(axis, x, curve.train_loss, **style)
    labels = (("increasing", (-5, -2), "right"), ("hybrid", (-2, -16), "left"), ("decaying", (0, 8), "right"))
    for name, offset, align in labels:
        curve = result.curves[name]
        n_updates = curve.n_updates[-1]
        end = (n_updates, curve.train_loss.mean(axis=0)[-1])
        color = SCHEDULES[name]["color"]
        by_update.annotate(f"{n_updates} updates", end, offset, textcoords="offset points", ha=align, color=color)
    one_curve = "one curve" if all(verdict.holds for verdict in verdicts.values()) else "NOT one curve"
    by_epoch.set(title=f"(a) against epochs: {one_curve}", xlabel="epochs", ylabel="training cross-entropy (nats)")
    by_update.set(title="(b) against updates: the growing batch takes the fewest", xlabel="parameter updates")
    by_update.xaxis.set_major_locator(MaxNLocator(5))
    by_epoch.legend(loc="upper right")
    by_epoch.set_ymargin(0.12)
    n_seeds = len(result.seeds)
    seeds = f"mean of {n_seeds} seeds; band: one standard error" if n_seeds > 1 else "one seed"
    by_epoch.text(0.02, 0.02, seeds, transform=by_epoch.transAxes, color="#666666", fontsize=8)
    return figure
