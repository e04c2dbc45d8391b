"""Figure 2 of Smith et al. (2018), the main result: equal noise, one training curve per epoch, far fewer updates.

The statistic: with L(s, e) the mean training loss over seeds of schedule s after epoch e, and e running over the epochs after
the first step::

    max_e |L(s, e) - L(decaying, e)| / max_e |L(control, e) - L(decaying, e)|

is at most a tenth for s = hybrid and s = increasing. The control keeps learning rate and batch size throughout, and shows how
far apart the curves would be if the noise scale did not matter.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from .schedule_panels import agreement
from .style import SCHEDULES, figure_style, standard_error
from .tasks import METRICS, MOMENTUM, N_TRAIN, Compute, Scale, TrainingTask, paper_schedules, updates_by_epoch
from .verdicts import Verdict

if TYPE_CHECKING:
    from matplotlib.figure import Figure

TITLE = "Figure 2: equal noise, equal training curve, fewer updates"


def run(scale: Scale, compute: Compute) -> dict[str, Any]:
    """Train every schedule with every seed."""
    schedules = paper_schedules(scale.n_epochs)
    seeds = list(range(scale.n_seeds))
    results = iter(
        compute([TrainingTask(schedule, seed, engine=scale.engine) for schedule in schedules.values() for seed in seeds])
    )
    curves: dict[str, dict[str, Any]] = {}
    for name, schedule in schedules.items():
        runs = [next(results) for _ in seeds]
        curves[name] = {
            "stages": [[stage.n_epochs, stage.learning_rate, stage.batch_size] for stage in schedule],
            "n_updates": updates_by_epoch(schedule),
            **{metric: [run[metric].tolist() for run in runs] for metric in METRICS},
        }
    after = schedules["decaying"].stages[0].n_epochs
    example = TrainingTask(schedules["decaying"], seeds[0])
    return {
        "n_train": N_TRAIN,
        "momentum": MOMENTUM,
        "model": "MLP 196-128-10, relu, float32",
        "data": "Fashion-MNIST 14x14, bundled",
        "sampling": "reshuffle",
        "l2": example.l2,
        "nesterov": example.nesterov,
        "first_step": after,
        "seeds": seeds,
        "curves": curves,
        "verdicts": [_verdict(curves, name, after) for name in ("hybrid", "increasing")],
    }


def _verdict(curves: dict[str, dict[str, Any]], name: str, after: int) -> Verdict:
    updates, before = (curves[schedule]["n_updates"][-1] for schedule in (name, "decaying"))
    claim = f"{name} has the training curve of decaying, with {updates} updates for {before}"
    return agreement(claim, "Smith et al. 2018, fig. 2", curves, (name,), after)


def rows(result: dict[str, Any]) -> list[list[Any]]:
    """One line per schedule, seed and epoch."""
    lines: list[list[Any]] = [["schedule", "seed", "epoch", "n_updates", *METRICS]]
    for name, curve in result["curves"].items():
        for i, seed in enumerate(result["seeds"]):
            for epoch, n_updates in enumerate(curve["n_updates"]):
                lines.append([name, seed, epoch + 1, n_updates, *(curve[metric][i][epoch] for metric in METRICS)])
    return lines


def plot(result: dict[str, Any]) -> Figure:
    """Draw training loss against epochs and against updates, with bands of one standard error."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    with figure_style():
        figure = Figure(figsize=(9, 3.8), layout="constrained")
        by_epoch, by_update = figure.subplots(1, 2, sharey=True)
        for name, style in SCHEDULES.items():
            curve = result["curves"][name]
            losses = np.array(curve["train_loss"])
            mean, error = losses.mean(axis=0), standard_error(losses)
            for axis, x in ((by_epoch, np.arange(1, len(mean) + 1)), (by_update, np.array(curve["n_updates"]))):
                axis.plot(x, mean, **style)
                axis.fill_between(x, mean - error, mean + error, color=style["color"], alpha=0.2, linewidth=0)
        labels = (("increasing", (-5, -2), "right"), ("hybrid", (-2, -16), "left"), ("decaying", (0, 8), "right"))
        for name, offset, align in labels:
            curve = result["curves"][name]
            n_updates = curve["n_updates"][-1]
            end = (n_updates, np.mean(curve["train_loss"], axis=0)[-1])
            color = SCHEDULES[name]["color"]
            by_update.annotate(f"{n_updates} updates", end, offset, textcoords="offset points", ha=align, color=color)
        one_curve = "one curve" if all(verdict["holds"] for verdict in result["verdicts"]) else "NOT one curve"
        by_epoch.set(title=f"(a) against epochs: {one_curve}", xlabel="epochs", ylabel="training cross-entropy (nats)")
        by_update.set(title="(b) against updates: the growing batch takes the fewest", xlabel="parameter updates")
        by_update.xaxis.set_major_locator(MaxNLocator(5))
        by_epoch.legend(loc="upper right")
        by_epoch.set_ymargin(0.12)
        n_seeds = len(result["seeds"])
        seeds = f"mean of {n_seeds} seeds; band: one standard error" if n_seeds > 1 else "one seed"
        by_epoch.text(0.02, 0.02, seeds, transform=by_epoch.transAxes, color="#666666", fontsize=8)
    return figure
