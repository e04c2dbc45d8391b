"""The papers' figures: ``sgdnoise reproduce`` and ``sgdnoise check``.

Three rooms, each of which imports only from those below it: `figures`, one module each, say what is measured, judge it and draw
it; `tasks` are what takes long; `engine` runs tasks and keeps their results. `runner` makes figures in processes or on any
``concurrent.futures.Executor`` and writes their files; `report` makes the page from those files alone; `check` measures the
laws of minibatch noise. A new figure is a module of `figures` and a line in `FIGURES`.
"""

from .engine.contract import SCALES, Scale, Task
from .engine.sweep import TaskError
from .engine.verdicts import Control, Estimate, Verdict
from .report import report, table
from .runner import FIGURES, MAIN_RESULT, run_figures
from .tasks.training import TrainingTask

__all__ = [
    "FIGURES",
    "MAIN_RESULT",
    "SCALES",
    "Control",
    "Estimate",
    "Scale",
    "Task",
    "TaskError",
    "TrainingTask",
    "Verdict",
    "report",
    "run_figures",
    "table",
]
