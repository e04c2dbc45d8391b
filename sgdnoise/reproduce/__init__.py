"""The papers' figures, one module each.

A figure module has a `TITLE` and three functions:

``run(scale, compute)``
    Returns the figure's numbers as a JSON-able dict, "verdicts" being a list of `Verdict`. ``compute(tasks)`` gives the result
    of each `Task`; where and when that happens is the runner's business, and a task that two figures ask for is run once.
    What comes before the first call should be quick: it is run once more, to learn the tasks of all figures beforehand.
``plot(result)``
    Draws the figure from that dict alone.
``rows(result)``
    Gives a header and the lines of the CSV file.

`run_figures` runs any of them, in processes or on any ``concurrent.futures.Executor``, and writes their files; `report` makes
the page from those files alone. A new figure is a module and a line in `FIGURES`.
"""

from .report import report, table
from .runner import FIGURES, MAIN_RESULT, run_figures
from .sweep import TaskError
from .tasks import SCALES, Scale, Task, TrainingTask
from .verdicts import Verdict

__all__ = [
    "FIGURES",
    "MAIN_RESULT",
    "SCALES",
    "Scale",
    "Task",
    "TaskError",
    "TrainingTask",
    "Verdict",
    "report",
    "run_figures",
    "table",
]
