"""Figure 3 of Smith et al. (2018): equal noise, equal test accuracy, with momentum (a) and Nesterov momentum (b).

The runs with momentum are those of figure 2. For the statistics see `schedule_panels`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .schedule_panels import Panel, panel_rows, plot_panels, run_panels
from .tasks import MOMENTUM, Compute, Scale

if TYPE_CHECKING:
    from matplotlib.figure import Figure

TITLE = "Figure 3: test accuracy of schedules of equal noise, with momentum and Nesterov momentum"

_PANELS = (
    Panel("momentum", "fig. 3a", momentum=MOMENTUM),
    Panel("Nesterov momentum", "fig. 3b", momentum=MOMENTUM, nesterov=True),
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
