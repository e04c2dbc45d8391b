"""Result files: one for each task, written atomically, trusted only when whole and the task's own.

The file's name is a hash of the task, of this package's source and data, and of the versions of NumPy and SciPy. The task
stands in the file, too, and a hash of the arrays: a file that is damaged or another task's is named and computed again.
"""

from __future__ import annotations

import hashlib
import time
from functools import lru_cache
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple, TextIO

import numpy as np

from .._files import atomic_write
from .tasks import Arrays, Task


class Outcome(NamedTuple):
    """What a task gave."""

    arrays: Arrays
    """Its result."""
    seconds: float
    """How long it ran: it varies, and is no part of the result."""
    source: str
    """`source_digest` where it ran."""


def run_task(task: Task) -> Outcome:
    """Run a task; a function of its own because that is what can be sent to another process."""
    start = time.perf_counter()
    arrays = task.run()
    return Outcome(arrays, time.perf_counter() - start, source_digest())


@lru_cache(maxsize=1)
def source_digest() -> str:
    """Hash of the package's source and data and of the versions below it: results of others are not taken for this one's."""
    digest = hashlib.sha256(f"numpy {np.__version__} scipy {version('scipy')}".encode())
    package = Path(__file__).parents[1]
    for path in sorted([*package.rglob("*.py"), *package.rglob("*.npz")]):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:20]


def result_path(task: Task, directory: Path) -> Path:
    """Where the result of a task belongs."""
    return directory / (hashlib.sha256(_identity(task).encode()).hexdigest()[:20] + ".npz")


def save(task: Task, outcome: Outcome, directory: Path) -> None:
    """Write the result of a task."""
    labels = {"task": _identity(task), "digest": _digest(outcome.arrays), "seconds": outcome.seconds}
    with atomic_write(result_path(task, directory)) as file:
        np.savez(file, **{name: np.array(label) for name, label in labels.items()}, **outcome.arrays)  # type: ignore[arg-type]


def load(task: Task, directory: Path, progress: TextIO) -> Outcome | None:
    """Load the result of a task; None if there is none or none to be trusted, which `progress` is told."""
    path = result_path(task, directory)
    if not path.exists():
        return None
    try:
        with open(path, "rb") as opened, np.load(opened, allow_pickle=False) as file:  # np.load leaks a damaged file
            arrays = {name: file[name] for name in file.files}
        owner, digest, seconds = (arrays.pop(name).item() for name in ("task", "digest", "seconds"))
        if owner == _identity(task) and digest == _digest(arrays):
            return Outcome(arrays, float(seconds), source_digest())
        problem = "belongs to another task" if owner != _identity(task) else "is damaged (its contents have changed)"
    except Exception as error:  # a damaged zip file can raise almost anything
        problem = f"is damaged ({error})"
    print(f"{path} {problem}: computing it again", file=progress)
    return None


def _identity(task: Task) -> str:
    return f"{task!r}, sgdnoise {source_digest()}"


def _digest(arrays: Arrays) -> str:
    """Hash of the names, types and contents of arrays."""
    digest = hashlib.sha256()
    for name, array in sorted(arrays.items()):
        array = np.asarray(array)
        digest.update(f"{name} {array.dtype} {array.shape} ".encode() + array.tobytes())
    return digest.hexdigest()
