"""Result files: one for each task, written atomically, trusted only when whole and the task's own.

The file's name is a hash of the task and of what computes it: the modules of the task and of the values in it, all that they
import of this package, or of what lies beside a module of the user's, the bundled data, and the versions of NumPy and SciPy.
What only draws, judges or reports is no part of it. The task stands in the file, too, and a hash of the arrays: a file that is
damaged or another task's is named and computed again.
"""

from __future__ import annotations

import ast
import hashlib
import sys
import time
from collections.abc import Iterable, Iterator
from dataclasses import fields, is_dataclass
from functools import lru_cache
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple, TextIO

import numpy as np

from ..._files import atomic_write
from .contract import Arrays, Task

_PACKAGE = Path(__file__).parents[2]


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
    source = source_digest()  # of the code that was imported, so before the task gives anyone time to edit it
    start = time.perf_counter()
    arrays = task.run()
    return Outcome(arrays, time.perf_counter() - start, source)


@lru_cache(maxsize=1)
def source_digest() -> str:
    """Hash of the whole package: a worker that has another one is found by it."""
    return _hash(_PACKAGE.rglob("*.py"))


@lru_cache
def computing_digest(modules: frozenset[str]) -> str:
    """Hash of what computes in these modules: their files, the contract, and all of this package that they import."""
    found: set[Path] = set()
    left = [Path(__file__).with_name("contract.py"), *(Path(str(sys.modules[module].__file__)) for module in modules)]
    while left:
        path = left.pop()
        if path not in found and path.is_file():
            found.add(path)
            left += _imported(path)
    return _hash(found)


def _kinds(value: object) -> Iterator[type]:
    """Give the classes of a task and of the values it is made of: an optimizer may be at home in a module of the user's."""
    module = type(value).__module__
    if hasattr(sys.modules.get(module), "__file__") and module != "numpy":  # the built-in ones have no file
        yield type(value)
    if is_dataclass(value):
        value = tuple(getattr(value, field.name) for field in fields(value))
    if isinstance(value, tuple):
        for part in value:
            yield from _kinds(part)


def _hash(sources: Iterable[Path]) -> str:
    """Hash sources, the bundled data, and the versions below them."""
    digest = hashlib.sha256(f"numpy {np.__version__} scipy {version('scipy')}".encode())
    for path in sorted({*sources, *_PACKAGE.rglob("*.npz")}):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:20]


def _imported(path: Path) -> Iterator[Path]:
    """Modules of this package that a module imports, at its top or later; of the package itself, all of it.

    Of a module of the user's also those beside it.
    """
    ours = path.is_relative_to(_PACKAGE)
    for node in ast.walk(ast.parse(path.read_bytes())):
        if not ours and isinstance(node, ast.Import):
            yield from (path.with_name(f"{alias.name.split('.')[0]}.py") for alias in node.names)
        if isinstance(node, ast.Import) and any(alias.name.split(".")[0] == _PACKAGE.name for alias in node.names):
            yield from _PACKAGE.rglob("*.py")
        if not isinstance(node, ast.ImportFrom):
            continue
        folder = path.parents[node.level - 1] if node.level else _PACKAGE.parent
        base = folder.joinpath(*(node.module or "").split("."))
        if not base.is_relative_to(_PACKAGE):
            if not ours:
                beside = path.parent.joinpath(*(node.module or "").split(".")) if not node.level else base
                yield from (beside.with_suffix(".py"), *(beside / f"{alias.name}.py" for alias in node.names))
            continue
        if base.is_dir():
            modules = [base / f"{alias.name}.py" for alias in node.names]
            yield from modules
            if not all(module.is_file() for module in modules):  # names that the package hands on
                yield from _PACKAGE.rglob("*.py") if base == _PACKAGE else [base / "__init__.py"]
        else:
            yield base.with_suffix(".py")


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
            if sum(member.file_size for member in file.zip.infolist()) > path.stat().st_size:
                raise ValueError("it would unpack to more than it is, and none of ours is packed")
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
    kinds = dict.fromkeys(_kinds(task))
    names = ", ".join(kind.__qualname__ for kind in kinds)
    return f"{task!r} of {names}, sgdnoise {computing_digest(frozenset(kind.__module__ for kind in kinds))}"


def _digest(arrays: Arrays) -> str:
    """Hash of the names, types and contents of arrays."""
    digest = hashlib.sha256()
    for name, array in sorted(arrays.items()):
        array = np.asarray(array)
        digest.update(f"{name} {array.dtype} {array.shape} ".encode() + array.tobytes())
    return digest.hexdigest()
