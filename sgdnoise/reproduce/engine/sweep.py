"""Tasks to an executor, their results to files, progress to a stream."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, Executor, Future, wait
from pathlib import Path
from typing import TextIO

from ..._files import remove_leftovers
from .contract import Arrays, Task
from .results import Outcome, load, result_path, run_task, save, source_digest


class TaskError(RuntimeError):
    """Tasks failed; all others were run, and what they gave is kept."""


class Sweep:
    """Computes tasks, each once.

    Parameters
    ----------
    directory : Path
        Folder of the result files.
    executor : concurrent.futures.Executor
        Where tasks run; only ``submit(function, task)`` is used.
    fresh : bool
        Compute again what is there from an earlier run.
    progress : text stream
        Where progress goes.
    """

    def __init__(self, directory: Path, executor: Executor, *, fresh: bool, progress: TextIO) -> None:
        self._directory = directory
        self._executor = executor
        self._fresh = fresh
        self._progress = progress
        self._done: dict[Task, Outcome] = {}
        self._failed: dict[Task, Exception] = {}
        self._running: dict[Future[Outcome], Task] = {}
        self._earlier: set[Task] = set()
        remove_leftovers(directory)
        source_digest()  # of the code that was imported, so before a task gives anyone time to edit it

    def submit(self, tasks: Sequence[Task]) -> None:
        """Hand the tasks to the executor; results that already exist are left out."""
        known = {*self._done, *self._failed, *self._running.values()}
        new = [task for task in dict.fromkeys(tasks) if task not in known]
        for task in sorted(new, key=lambda task: -task.cost):  # long ones first, so that the workers end together
            if self._fresh:
                result_path(task, self._directory).unlink(missing_ok=True)
            elif (outcome := load(task, self._directory, self._progress)) is not None:
                self._done[task] = outcome
                self._earlier.add(task)
                continue
            self._running[self._executor.submit(run_task, task)] = task

    def compute(self, tasks: Sequence[Task]) -> list[Arrays]:
        """Return the tasks' results in their order.

        Raises
        ------
        TaskError
            After all are done, if tasks failed.
        """
        self.submit(tasks)
        unique = dict.fromkeys(tasks)
        if n_earlier := len(self._earlier & set(unique)):
            print(f"{n_earlier} of {len(unique)} runs are there already", file=self._progress)
        left = [task for task in unique if task not in self._done and task not in self._failed]
        for _ in _with_progress(self._finished(left), left, self._progress):
            pass
        if failed := [task for task in unique if task in self._failed]:
            error = self._failed[failed[0]]
            number = f"{len(failed)} of {len(unique)} runs failed"
            raise TaskError(f"{number}, {failed[0]!r} with {type(error).__name__}: {error}") from error
        return [self._done[task].arrays for task in tasks]

    def seconds(self, tasks: Collection[Task]) -> float:
        """Add up what these tasks took, in an earlier run or in this one."""
        return sum(self._done[task].seconds for task in tasks)

    def all_of_this_run(self, tasks: Collection[Task]) -> bool:
        """Whether none of these tasks was there from an earlier run."""
        return self._earlier.isdisjoint(tasks)

    def cancel(self) -> None:
        """Cancel what the executor has not begun."""
        for future in self._running:
            future.cancel()

    def _finished(self, tasks: Sequence[Task]) -> Iterator[Task]:
        """Wait for these tasks, and pass each on when it is finished; save whatever finishes meanwhile, too."""
        left = set(tasks)
        while left:
            # On Windows Ctrl-C is heard between waits, and not while one goes on.
            for future in wait(self._running, timeout=1.0, return_when=FIRST_COMPLETED).done:
                task = self._running.pop(future)
                self._receive(task, future)
                if task in left:
                    left.remove(task)
                    yield task

    def _receive(self, task: Task, future: Future[Outcome]) -> None:
        try:
            outcome = future.result()
            if outcome.source != source_digest():
                raise ImportError("the worker that ran it has another version of sgdnoise or NumPy")
        except BrokenExecutor:
            raise
        except Exception as error:  # whatever it is, the others go on
            self._failed[task] = error
        else:
            save(task, outcome, self._directory)
            self._done[task] = outcome


def _with_progress(finished: Iterator[Task], tasks: Sequence[Task], stream: TextIO) -> Iterator[Task]:
    """Pass on tasks as they finish, with the time left on `stream`."""
    if not tasks:
        return
    try:
        from tqdm import tqdm
    except ImportError:
        pass
    else:
        yield from tqdm(finished, total=len(tasks), unit="run", file=stream)
        return
    start, done, total = time.perf_counter(), 0.0, sum(task.cost for task in tasks)
    for i, task in enumerate(finished):
        yield task
        done += task.cost
        elapsed = time.perf_counter() - start
        left = elapsed * (total - done) / done
        print(f"run {i + 1} of {len(tasks)} done, {elapsed:.0f} s, about {left:.0f} s left", file=stream, flush=True)
