"""The papers' figures, one module each.

A figure module has a `TITLE` and three functions:

``run(scale, compute)``
    Returns the figure's numbers as a JSON-able dict. ``compute(tasks)`` gives the result of each `Task`; it is the runner's
    business where and when that happens.
``plot(result)``
    Draws the figure from that dict alone.
``rows(result)``
    Gives a header and the lines of the CSV file.

`run_figures` runs any of them and writes their files.
"""

from .runner import FIGURES, MAIN_RESULT, run_figures
from .tasks import SCALES, Scale, Task, TrainingTask
from .verdicts import Verdict

__all__ = ["FIGURES", "MAIN_RESULT", "SCALES", "Scale", "Task", "TrainingTask", "Verdict", "run_figures"]
