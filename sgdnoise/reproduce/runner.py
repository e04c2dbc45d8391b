"""Runs the figures: tasks to worker processes or to any executor, records, pictures, tables and a report to files.

Each finished task is written at once to its own file under ``OUT/runs`` (see `results`); a run that was interrupted goes on
where it stopped. A task that fails costs its figure and no other.

What a figure's JSON file holds depends on the figure, the scale, the engine, the versions and the arithmetic of the machine.
The entry ``run`` is the exception: it tells how the computing went, and varies. There ``task_time_s`` is what the figure's
tasks took, in whatever run, added up. ``wall_time_s`` is the time from the figure before it, or the start, to the end of this
one's computing: over all figures it adds up to that of the run. It is None if tasks were there from an earlier run.
"""

from __future__ import annotations

import csv
import io
import json
import os
import platform
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import BrokenExecutor, Executor
from contextlib import contextmanager, suppress
from dataclasses import replace
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any, TextIO, cast

from .. import __version__
from .. import _checks as check
from .._files import atomic_write
from .engine.contract import ENGINES, SCALES, Scale, Task
from .engine.pool import n_cpus, processes
from .engine.records import from_json, to_json
from .engine.results import source_digest
from .engine.sweep import Sweep, TaskError
from .engine.verdicts import Verdict
from .report import read_records, report, stem, table, verdicts

FIGURES = (
    "fig1",
    "fig2",
    "fig3",
    "fig4",
    "fig5",
    "imagenet",
    "optimum",
    "breakdown",
    "stability",
    "lost_epochs",
    "adam",
    "samplers",
    "temperature",
    "wells",
    "annealing",
    "sgld",
)
"""Modules of `figures`, in the order in which they are run and reported."""

MAIN_RESULT = ("fig1", "fig2")


def run_figures(
    figures: Sequence[str] = MAIN_RESULT,
    *,
    scale: str = "default",
    engine: str = "fast",
    out: str | os.PathLike[str] = "results",
    page: str | os.PathLike[str] | None = None,
    jobs: int | None = None,
    executor: Executor | None = None,
    fresh: bool = False,
    echo: Callable[[str], object] = print,
    progress: TextIO | None = None,
) -> dict[str, dict[str, Any]]:
    """Run figures; write, for each, a picture (PNG), its numbers (JSON) and a table (CSV), and a report of all (Markdown).

    Work goes to processes that start anew: a script that calls this needs ``if __name__ == "__main__":`` around the call.

    Parameters
    ----------
    figures : sequence of str
        Names out of `FIGURES`; default: those of the paper's main result.
    scale : {"default", "quick", "full"}
        See `SCALES`.
    engine : {"fast", "reference"}
        What trains: the vectorised loop, or the readable one.
    out : path
        Folder for the files.
    page : path, optional
        File of the report; default: ``report.md`` in `out` (``report-quick.md`` and ``report-full.md`` at the other scales). It
        covers every figure that has a JSON file of this scale in `out`, those of earlier calls included.
    jobs : int, optional
        Number of processes; default: the number of CPUs this process may use. Results do not depend on it.
    executor : concurrent.futures.Executor, optional
        Where to run the tasks instead: a thread pool, a dask cluster, MPI. Only ``submit(function, task)`` is used, and the
        futures it returns; it is never shut down. Its workers need this version of the package and, for speed, one BLAS thread.
    fresh : bool, default False
        Compute everything again, finished tasks included.
    echo : callable, default print
        Gets each line for the reader.
    progress : text stream, optional
        Where progress goes; default: stderr.

    Returns
    -------
    dict
        For each figure what its JSON file holds.

    Raises
    ------
    TypeError, ValueError
        If a figure, a scale, an engine or `jobs` is not one of those above, or if `jobs` and `executor` are both given.
    OSError
        If a file cannot be written.
    TaskError
        If tasks failed, or the code of a figure did: after all others are done and all figures that can be are written. A claim
        that fails is a result and no error.
    ChildProcessError
        If a worker process was killed from outside.

    Examples
    --------
    In threads of this process, on a dask cluster, and on MPI (``mpiexec -n 8 python -m mpi4py.futures script.py``)::

        run_figures(FIGURES, executor=concurrent.futures.ThreadPoolExecutor(2))
        run_figures(FIGURES, executor=distributed.Client(address).get_executor(pure=False))
        run_figures(FIGURES, executor=mpi4py.futures.MPIPoolExecutor())
    """
    check_figures(figures)
    check.choice("scale", scale, SCALES)
    check.choice("engine", engine, ENGINES)
    if executor is not None and jobs is not None:
        raise ValueError(f"jobs must be left out where an executor is given, got {jobs!r}; the executor has its own workers")
    jobs = n_cpus() if jobs is None else check.integer("jobs", jobs)
    out, log, say = Path(out), cast(TextIO, _CarefulStream(progress or sys.stderr or io.StringIO())), _careful_echo(echo)
    page = out / f"{stem('report', scale)}.md" if page is None else Path(page)
    for folder in (out / "runs", page.parent):
        _try_writing(folder)  # better now than after the first long run
    workers = f"{jobs} {'process' if jobs == 1 else 'processes'}" if executor is None else type(executor).__name__
    at = replace(SCALES[scale], engine=engine)
    done, failed = {}, []

    with _sweep(out / "runs", jobs, executor, fresh=fresh, progress=log) as sweep:
        clock = time.perf_counter()
        # The first tasks of all figures, so that no worker waits for the end of one.
        runs = {name: _Run(figure(name), at, sweep) for name in figures}
        for name, run in runs.items():
            say(f"\n{run.figure.TITLE}")
            try:
                result, found = run.finish()
                before, clock = clock, time.perf_counter()
                record = {
                    "figure": name,
                    "title": run.figure.TITLE,
                    "scale": scale,
                    "engine": engine,
                    "versions": _versions(),
                    "run": {
                        "task_time_s": round(sweep.seconds(set(run.tasks)), 1),
                        "wall_time_s": round(clock - before, 1) if sweep.all_of_this_run(run.tasks) else None,
                        "workers": workers,
                        "machine": _machine(),
                    },
                    **to_json(result),
                    "verdicts": [to_json(verdict.record()) for verdict in found],
                }
                paths = _write(record, out / stem(name, scale))
                done[name] = record
                for verdict in found:
                    say(f"  {verdict}")
                for path in paths:
                    say(f"  wrote {path}")
            except (OSError, BrokenExecutor):
                raise
            except Exception as failure:  # a figure that cannot be made leaves the others alone
                if not isinstance(failure, TaskError):
                    traceback.print_exception(failure, file=log)
                reason = failure if isinstance(failure, TaskError) else f"{type(failure).__name__}: {failure}"
                failed.append(f"{name} is not made: {reason}")
                say(f"  not made: {reason}")

    if records := read_records(out, FIGURES, scale):
        with atomic_write(page) as file:
            file.write(report(records, FIGURES, _seen_from(page.parent, out)).encode())
        say(f"\n{table(records)}\nwrote {page}")
    if failed:
        raise TaskError("; ".join(failed))
    return done


def check_figures(figures: object) -> None:
    """Refuse anything but a sequence of names out of `FIGURES`."""
    if isinstance(figures, str) or not isinstance(figures, Sequence):
        raise TypeError(f"figures must be a sequence of names, got {figures!r}; for a single one write ['fig2']")
    for name in figures:
        check.choice("figure", name, FIGURES)


def figure(name: str) -> Any:
    """Return the module of a figure."""
    return import_module(f".figures.{name}", __package__)


def titles() -> dict[str, str]:
    """Title of each figure."""
    return {name: figure(name).TITLE for name in FIGURES}


def draw(record: dict[str, Any]) -> Any:
    """Draw a figure from what its JSON file holds."""
    module = figure(record["figure"])
    return module.plot(from_json(module.Result, record), {verdict.key: verdict for verdict in verdicts(record)})


@contextmanager
def _sweep(directory: Path, jobs: int, executor: Executor | None, **options: Any) -> Iterator[Sweep]:
    """Sweep in processes of its own, or on an executor that lives on, in which nothing is left to wait."""
    if executor is None:
        with processes(jobs) as own:
            yield Sweep(directory, own, **options)
        return
    sweep = Sweep(directory, executor, **options)
    try:
        yield sweep
    finally:
        sweep.cancel()


class _Run:
    """The making of one figure: its first tasks are handed over at once, an error of its code is kept until `finish`."""

    def __init__(self, module: Any, scale: Scale, sweep: Sweep) -> None:
        self.figure, self._sweep = module, sweep
        self.tasks: list[Task] = []
        self._error: Exception | None = None
        try:
            self._run = module.run(scale)
            self._next = next(self._run)
            sweep.submit(self._next)
        except Exception as error:
            self._error = error

    def finish(self) -> tuple[Any, list[Verdict]]:
        """Send the figure the results of its tasks, as often as it asks, and return what it makes of them."""
        if self._error is not None:
            raise self._error
        try:
            while True:
                self.tasks += self._next
                self._next = self._run.send(self._sweep.compute(self._next))
        except StopIteration as end:
            result: tuple[Any, list[Verdict]] = end.value
            return result


def _try_writing(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    with TemporaryFile(dir=folder):  # of no name that a file of the reader's could have
        pass


def _seen_from(place: Path, folder: Path) -> str | Path:
    """Return the path of a folder seen from another; between two drives of Windows there is none but the whole one."""
    try:
        return os.path.relpath(folder, place)
    except ValueError:
        return folder.resolve()


def _versions() -> dict[str, str]:
    packages = {name: version(name) for name in ("numpy", "scipy", "matplotlib")}
    return {"sgdnoise": __version__, "source": source_digest()[:8], "python": platform.python_version(), **packages}


def _machine() -> dict[str, Any]:
    """Describe the machine without naming it."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
        cpu = next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        cpu = platform.processor() or platform.machine()
    return {"cpu": cpu, "cores": n_cpus(), "system": f"{platform.system()} {platform.machine()}"}


def _picture(record: dict[str, Any]) -> bytes:
    """Draw a figure as a PNG."""
    from .figures.style import figure_style

    picture = io.BytesIO()
    with figure_style():  # settings of the reader's may be about saving, too
        draw(record).savefig(picture, format="png")
    return picture.getvalue()


def _write(record: dict[str, Any], stem: Path) -> list[Path]:
    """Write the PNG, CSV and JSON of one figure, the JSON last: where it is, the others are. Return their paths."""
    module = figure(record["figure"])
    rows = io.StringIO(newline="")
    csv.writer(rows).writerows(module.rows(from_json(module.Result, record)))
    text = json.dumps(record, indent=1, allow_nan=False)
    contents = {"png": _picture(record), "csv": rows.getvalue().encode(), "json": text.encode()}
    paths = [stem.with_suffix(f".{suffix}") for suffix in contents]
    for path, content in zip(paths, contents.values(), strict=True):
        with atomic_write(path) as file:
            file.write(content)
    return paths


def _careful_echo(echo: Callable[[str], object]) -> Callable[[str], None]:
    """Return a function that speaks if it can: no word is worth a result."""

    def say(text: str) -> None:
        with suppress(OSError, ValueError):  # the reader has gone, or the stream is closed
            try:
                echo(text)
            except UnicodeEncodeError:  # a console that lacks some of the letters
                echo(text.encode("ascii", "backslashreplace").decode())

    return say


class _CarefulStream(io.TextIOBase):
    """A stream that is written to if it can be; it has all else of the stream it stands for."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._say = _careful_echo(stream.write)

    def write(self, text: str) -> int:
        self._say(text)
        return len(text)

    def flush(self) -> None:
        with suppress(OSError, ValueError):
            self._stream.flush()

    def isatty(self) -> bool:
        return self._stream.isatty()
