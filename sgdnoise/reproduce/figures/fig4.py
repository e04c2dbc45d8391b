"""Figure 4 of Smith et al. (2018): test accuracy of the same schedules with vanilla SGD (a) and Adam (b).

Vanilla SGD gets the learning rate 1 = .1/(1 - .9), at which it has the noise scale, and makes the progress, of figure 2 with
its momentum. Adam has the paper's settings, learning rate 1e-3, b1 .9, b2 .999; it has no noise scale in this theory, and the
same schedules are tried on it as they are: the batch grows by the factor by which the learning rate would have dropped. The
schedule that never changes cannot serve as the control of Adam's final accuracy, because it may well end there too: see the
figure "adam". For the statistics see `panels`.
"""

from __future__ import annotations

from ...optimizers import sgd
from ..engine.contract import Scale
from ..tasks.training import MOMENTUM
from . import Run
from .panels import Panel, Result, plot, rows, run_panels
from .paper import ADAM, ADAM_RATE

__all__ = ["TITLE", "Result", "plot", "rows", "run"]

TITLE = "Figure 4: a growing batch for a falling learning rate, with vanilla SGD and with Adam"

_PANELS = (
    Panel("vanilla SGD", "fig. 4a", sgd(), learning_rate=round(0.1 / (1 - MOMENTUM), 12)),
    Panel("Adam", "fig. 4b", ADAM, learning_rate=ADAM_RATE, control="stopped at the first step"),
)


def run(scale: Scale) -> Run[Result]:
    """Train every schedule with every seed under both optimizers."""
    return run_panels(_PANELS, scale)
