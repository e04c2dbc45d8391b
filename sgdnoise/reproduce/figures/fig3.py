"""Figure 3 of Smith et al. (2018): equal noise, equal test accuracy, with momentum (a) and Nesterov momentum (b).

The runs with momentum are those of figure 2. For the statistics see `panels`.
"""

from __future__ import annotations

from ...optimizers import sgd
from ..engine.contract import Scale
from ..tasks.training import MOMENTUM
from . import Run
from .panels import Panel, Result, plot, rows, run_panels

__all__ = ["TITLE", "Result", "plot", "rows", "run"]

TITLE = "Figure 3: test accuracy of schedules of equal noise, with momentum and Nesterov momentum"

_PANELS = (
    Panel("momentum", "fig. 3a", sgd(momentum=MOMENTUM)),
    Panel("Nesterov momentum", "fig. 3b", sgd(momentum=MOMENTUM, nesterov=True)),
)


def run(scale: Scale) -> Run[Result]:
    """Train every schedule with every seed under both optimizers."""
    return run_panels(_PANELS, scale)
