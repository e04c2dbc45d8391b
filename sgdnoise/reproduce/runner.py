"""Runs the figures: tasks over processes, results to files, progress to stderr.

Each finished task is written at once, atomically, to its own file under ``OUT/runs``; a run that was interrupted goes on where
it stopped. The file's name is a hash of the task, of this package's source and of NumPy's version, and the task stands in the
file too: a file that is damaged or belongs to another task is named and computed again.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import multiprocessing
import os
import platform
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from functools import lru_cache
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import Any, TextIO

import numpy as np

from .. import __version__
from .. import _checks as check
from .._files import atomic_write
from .tasks import SCALES, Arrays, Task

FIGURES = ("fig1", "fig2", "samplers", "temperature", "wells", "annealing", "sgld")
MAIN_RESULT = ("fig1", "fig2")
_THREADS = ("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "OMP_NUM_THREADS", "VECLIB_MAXIMUM_THREADS")


def run_figures(
    figures: Sequence[str] = MAIN_RESULT,
    *,
    scale: str = "default",
    out: str | os.PathLike[str] = "results",
    jobs: int | None = None,
    fresh: bool = False,
    report: Callable[[str], object] = print,
    progress: TextIO | None = None,
) -> dict[str, dict[str, Any]]:
    """Run figures and write, for each, a picture (PNG), its numbers (JSON) and a table (CSV).

    Work goes to processes that start anew: a script that calls this needs ``if __name__ == "__main__":`` around the call.

    Parameters
    ----------
    figures : sequence of str
        Names out of `FIGURES`; default: those of the paper's main result.
    scale : {"default", "quick", "full"}
        See `SCALES`.
    out : path
        Folder for the files.
    jobs : int, optional
        Number of processes; default: the number of CPUs this process may use. Results do not depend on it.
    fresh : bool, default False
        Compute everything again, finished tasks included.
    report : callable, default print
        Gets each line of the report.
    progress : text stream, optional
        Where progress goes; default: stderr.

    Returns
    -------
    dict
        For each figure what its JSON file holds.

    Raises
    ------
    TypeError, ValueError
        If a figure, a scale or `jobs` is not one of those above.
    OSError
        If a file cannot be written.
    ChildProcessError
        If a worker process was killed from outside.
    """
    check_figures(figures)
    check.choice("scale", scale, SCALES)
    out = Path(out)
    jobs = n_cpus() if jobs is None else check.integer("jobs", jobs)
    probe = out / "runs" / "writable"
    with atomic_write(probe):
        pass  # better now than after the first long run
    probe.unlink()
    done = {}

    with processes(jobs) as executor:

        def compute(tasks: Sequence[Task]) -> list[Arrays]:
            return run_tasks(tasks, out / "runs", executor, fresh=fresh, progress=progress or sys.stderr)

        for name in figures:
            module = import_module(f".{name}", __package__)
            start = time.perf_counter()
            result = module.run(SCALES[scale], compute)
            record = {
                "figure": name,
                "title": module.TITLE,
                "scale": scale,
                "versions": _versions(),
                "wall_time_s": round(time.perf_counter() - start, 1),
                **result,
                "verdicts": [vars(verdict) | {"holds": verdict.holds} for verdict in result["verdicts"]],
            }
            done[name] = record
            report(f"\n{module.TITLE}")
            for verdict in result["verdicts"]:
                report(f"  {verdict}")
            for path in _write(module, record, out / (name if scale == "default" else f"{name}-{scale}")):
                report(f"  wrote {path}")
    return done


def check_figures(figures: object) -> None:
    """Refuse anything but a sequence of names out of `FIGURES`."""
    if isinstance(figures, str) or not isinstance(figures, Sequence):
        raise TypeError(f"figures must be a sequence of names, got {figures!r}; for a single one write ['fig2']")
    for name in figures:
        check.choice("figure", name, FIGURES)


def _versions() -> dict[str, str]:
    packages = {name: version(name) for name in ("numpy", "scipy", "matplotlib")}
    return {"sgdnoise": __version__, "python": platform.python_version(), **packages}


def n_cpus() -> int:
    """Number of CPUs this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _write(module: Any, record: dict[str, Any], stem: Path) -> Iterator[Path]:
    """Write the JSON, CSV and PNG of one figure."""
    table = io.StringIO(newline="")
    csv.writer(table).writerows(module.rows(record))
    picture = io.BytesIO()
    module.plot(record).savefig(picture, format="png")
    contents = {"json": json.dumps(record, indent=1).encode(), "csv": table.getvalue().encode(), "png": picture.getvalue()}
    for suffix, content in contents.items():
        path = stem.with_suffix("." + suffix)
        with atomic_write(path) as file:
            file.write(content)
        yield path


def run_tasks(tasks: Sequence[Task], directory: Path, executor: Executor, *, fresh: bool, progress: TextIO) -> list[Arrays]:
    """Submit the tasks that have no result file yet to `executor`; return all results in the tasks' order."""
    results: dict[Task, Arrays] = {}
    for task in tasks:
        if not fresh and (arrays := _load(task, directory, progress)) is not None:
            results[task] = arrays
    missing = [task for task in tasks if task not in results]
    if results:
        print(f"{len(results)} of {len(tasks)} runs are there already", file=progress)
    missing.sort(key=lambda task: -task.cost)  # long ones first, so that the processes end together
    futures = {executor.submit(task_result, task): task for task in missing}
    for future in _with_progress(futures, progress):
        task = futures[future]
        results[task] = future.result()
        _save(task, results[task], directory)
    return [results[task] for task in tasks]


def task_result(task: Task) -> Arrays:
    """Run a task; a function of its own because that is what can be sent to another process."""
    return task.run()


def _start_worker() -> None:
    """Let Ctrl-C end a worker at once, and end it, too, when its parent is gone without a word."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    parent = multiprocessing.parent_process()

    def follow() -> None:
        if parent is not None:
            parent.join()
            os._exit(1)

    threading.Thread(target=follow, daemon=True).start()


@contextmanager
def processes(n: int) -> Iterator[ProcessPoolExecutor]:
    """Worker processes with one BLAS thread each; on Ctrl-C or an error they are ended at once."""
    before = {name: os.environ.get(name) for name in _THREADS}
    os.environ.update(dict.fromkeys(_THREADS, "1"))  # read when a worker loads BLAS: many threads per core are 10 times slower
    others = set(multiprocessing.active_children())
    executor = ProcessPoolExecutor(n, mp_context=multiprocessing.get_context("spawn"), initializer=_start_worker)
    try:
        yield executor
    except BaseException as error:
        executor.shutdown(wait=False, cancel_futures=True)
        for process in set(multiprocessing.active_children()) - others:
            process.terminate()
        if isinstance(error, BrokenProcessPool):
            hint = "finished runs are kept; if memory ran out, --jobs 1 needs less"
            raise ChildProcessError(f"a worker process was killed; {hint}") from error
        raise
    finally:
        executor.shutdown()
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def _with_progress(futures: dict[Future[Arrays], Task], stream: TextIO) -> Iterator[Future[Arrays]]:
    """Pass on futures as they complete, with the time left on `stream`."""
    if not futures:
        return
    try:
        from tqdm import tqdm
    except ImportError:
        pass
    else:
        yield from tqdm(as_completed(futures), total=len(futures), unit="run", file=stream)
        return
    start, done, total = time.perf_counter(), 0.0, sum(task.cost for task in futures.values())
    for i, future in enumerate(as_completed(futures)):
        yield future
        done += futures[future].cost
        elapsed = time.perf_counter() - start
        left = elapsed * (total - done) / done
        print(f"run {i + 1} of {len(futures)} done, {elapsed:.0f} s, about {left:.0f} s left", file=stream, flush=True)


@lru_cache(maxsize=1)
def _source_digest() -> str:
    """Hash of the package's source: results of other code are not taken for this one's."""
    digest = hashlib.sha256()
    for path in sorted(Path(__file__).parents[1].rglob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()


def _path(task: Task, directory: Path) -> Path:
    identity = f"{task!r} sgdnoise {_source_digest()} numpy {np.__version__}"
    return directory / (hashlib.sha256(identity.encode()).hexdigest()[:20] + ".npz")


def _save(task: Task, arrays: Arrays, directory: Path) -> None:
    with atomic_write(_path(task, directory)) as file:
        np.savez(file, task=np.array(repr(task)), digest=np.array(_digest(arrays)), **arrays)  # type: ignore[arg-type]


def _digest(arrays: Arrays) -> str:
    """Hash of the names, types and contents of arrays."""
    digest = hashlib.sha256()
    for name, array in sorted(arrays.items()):
        array = np.asarray(array)
        digest.update(f"{name} {array.dtype} {array.shape} ".encode() + array.tobytes())
    return digest.hexdigest()


def _load(task: Task, directory: Path, progress: TextIO) -> Arrays | None:
    """Load the result of a task; None if there is none, or none that can be trusted."""
    path = _path(task, directory)
    if not path.exists():
        return None
    try:
        with open(path, "rb") as opened, np.load(opened, allow_pickle=False) as file:  # np.load leaks a damaged file
            arrays = {name: file[name] for name in file.files}
        owner, digest = str(arrays.pop("task")), str(arrays.pop("digest"))
        if owner == repr(task) and digest == _digest(arrays):
            return arrays
        problem = "belongs to another task" if owner != repr(task) else "is damaged (its contents have changed)"
    except Exception as error:  # a damaged zip file can raise almost anything
        problem = f"is damaged ({error})"
    print(f"{path} {problem}: computing it again", file=progress)
    return None
