"""The papers' figures, one module each.

A figure module has a `TITLE`, a dataclass `Result` of the numbers that its JSON file holds, and three functions:

``run(scale)``
    A generator: it yields tasks, is sent their results in the same order, and returns a `Result` and a list of `Verdict`::

        results = yield tasks

    Where and when the tasks run is the runner's business, and a task that two figures ask for is run once.
``plot(result, verdicts)``
    Draws the figure from what the JSON file holds, `verdicts` being a dict by key.
``rows(result)``
    Gives a header and the lines of the CSV file.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from typing import TypeVar

from ..engine.contract import Arrays, Task
from ..engine.verdicts import Verdict

R = TypeVar("R")
Run = Generator[Sequence[Task], list[Arrays], tuple[R, list[Verdict]]]
"""What `run` of a figure returns."""

Rows = list[list[object]]
"""A header and the lines of a table."""

Verdicts = dict[str, Verdict]
"""The verdicts of a figure by their keys."""
