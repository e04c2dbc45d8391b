"""What a task is, and how much there is to compute."""

from __future__ import annotations

import hashlib
import re
import sys
from dataclasses import dataclass
from typing import Protocol

import numpy as np

ENGINES = ("fast", "reference")
"""What may train: `sgdnoise.fast`, or the readable loop. Their updates agree up to rounding; what float32 makes of it in
thousands of updates is another course, and statistics that differ by a hundredth or so, as between kernels of the BLAS."""

Arrays = dict[str, np.ndarray]
"""The result of a task."""


@dataclass(frozen=True)
class Scale:
    """How much to compute.

    Parameters
    ----------
    n_epochs : int
        Length of a training run; the learning rate drops at .3, .6 and .8 of it, as in the paper.
    n_seeds : int
        Independent repetitions.
    engine : {"fast", "reference"}, default "fast"
        What trains: for figures to hand on to every task that trains.
    """

    n_epochs: int
    n_seeds: int
    engine: str = "fast"

    @property
    def quick(self) -> bool:
        """Whether this is a smoke run, of one seed."""
        return self.n_seeds == 1


SCALES = {"default": Scale(40, 4), "quick": Scale(5, 1), "full": Scale(200, 5)}


class Task(Protocol):
    """What the runner runs: small, hashable and picklable. Equal tasks have equal reprs and equal results."""

    @property
    def cost(self) -> float:
        """Rough cost, in any unit that the tasks of a figure share, to tell the time left."""

    def run(self) -> Arrays:
        """Compute the result, a dict of arrays."""


def stream(task: Task) -> np.random.Generator:
    """Random numbers that depend on the whole task, so that no two settings share any and their errors are independent."""
    text = re.sub(r"\bsampling=", "method=", repr(task))  # the field's former name, so that the streams are what they were
    return np.random.default_rng(list(hashlib.sha256(text.encode()).digest()))


def stable(name: str, value: object) -> None:
    """Refuse a part of a task whose repr shows an address, another one in every process, or whose code is in no file."""
    if not hasattr(sys.modules.get(type(value).__module__), "__file__"):
        hint = "results are kept under a hash of the code that made them; define it in a module, not in a notebook or a shell"
        raise ValueError(f"{name} must be of a class that is in a file, got {value!r}; {hint}")
    if re.search(r"\bat 0x[0-9a-fA-F]+", repr(value)):
        hint = "results are kept under the task's repr; a frozen dataclass has one, such as sgd() and adam() make"
        raise ValueError(f"{name} must have the same repr in every process, got {value!r}; {hint}")
