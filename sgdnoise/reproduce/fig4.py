"""Figure 4 of Smith et al. (2018): test accuracy of the same schedules with vanilla SGD (a) and Adam (b).

Vanilla SGD gets the learning rate 1 = .1/(1 - .9), at which it has the noise scale, and makes the progress, of figure 2 with
its momentum. Adam has the paper's settings, learning rate 1e-3, b1 .9, b2 .999; it has no noise scale in this theory, and the
same schedules are tried on it as they are: the batch grows by the factor by which the learning rate would have dropped. The
schedule that never changes cannot serve as the control of Adam's final accuracy, because it may well end there too: see the
figure "adam". For the statistics see `schedule_panels`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .schedule_panels import Panel, panel_rows, plot_panels, run_panels
from .tasks import MOMENTUM, Compute, Scale

if TYPE_CHECKING:
    from matplotlib.figure import Figure

TITLE = "Figure 4: a growing batch for a falling learning rate, with vanilla SGD and with Adam"

ADAM = (0.9, 0.999, 1e-8)

_PANELS = (
    Panel("vanilla SGD", "fig. 4a", learning_rate=round(0.1 / (1 - MOMENTUM), 12)),
    Panel("Adam", "fig. 4b", learning_rate=1e-3, adam=ADAM, control="stopped at the first step"),
)


def run(scale: Scale, compute: Compute) -> dict[str, Any]:
    """Train every schedule with every seed under both optimizers."""
    return run_panels(_PANELS, scale, compute)


def rows(result: dict[str, Any]) -> list[list[Any]]:
    """One line per optimizer, schedule, seed and epoch."""
    return panel_rows(result)


def plot(result: dict[str, Any]) -> Figure:
    """Draw test accuracy against epochs."""
    return plot_panels(result)
