"""Tasks to an executor, their results to files, progress to a stream."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from concurrent.futures import BrokenExecutor, Executor, Future, as_completed
from pathlib import Path
from typing import TextIO

from .results import Outcome, load, result_path, run_task, save, source_digest
from .tasks import Arrays, Task


class TaskError(RuntimeError):
    """Tasks failed; all others were run, and what they gave is kept."""


class Sweep:
    """Computes tasks, each once, and keeps count.

    Parameters
    ----------
    directory : Path
        Folder of the result files.
    executor : concurrent.futures.Executor
        Where tasks run; only ``submit(function, task)`` is used.
    lent : bool
        Whether the executor lives on after an error or Ctrl-C, so that what waits in it has to be cancelled. (One whose
        processes are about to be ended is left alone: it sets all its futures itself, and does not expect cancelled ones.)
    fresh : bool
        Compute again what is there from an earlier run.
    progress : text stream
        Where progress goes.

    Attributes
    ----------
    seconds : float
        What all tasks took that were asked for so far, added up; those that are there from an earlier run took it then.
    n_earlier : int
        How many of them were there from an earlier run.
    """

    def __init__(self, directory: Path, executor: Executor, *, lent: bool, fresh: bool, progress: TextIO) -> None:
        self.seconds = 0.0
        self.n_earlier = 0
        self._directory = directory
        self._executor = executor
        self._lent = lent
        self._fresh = fresh
        self._progress = progress
        self._of_this_run: set[Task] = set()

    def compute(self, tasks: Sequence[Task]) -> list[Arrays]:
        """Return the tasks' results in their order.

        Raises
        ------
        TaskError
            After all are done, if tasks failed.
        """
        unique = dict.fromkeys(tasks)
        done = {}
        for task in unique:
            if self._fresh and task not in self._of_this_run:
                result_path(task, self._directory).unlink(missing_ok=True)
            elif (outcome := load(task, self._directory, self._progress)) is not None:
                done[task] = outcome
        if done:
            print(f"{len(done)} of {len(unique)} runs are there already", file=self._progress)
        self.n_earlier += sum(task not in self._of_this_run for task in done)
        done |= self._run([task for task in unique if task not in done])
        self.seconds += sum(outcome.seconds for outcome in done.values())
        return [done[task].arrays for task in tasks]

    def _run(self, tasks: list[Task]) -> dict[Task, Outcome]:
        """Run tasks and save what they give."""
        done: dict[Task, Outcome] = {}
        failed: dict[Task, Exception] = {}
        tasks = sorted(tasks, key=lambda task: -task.cost)  # long ones first, so that the workers end together
        futures = {self._executor.submit(run_task, task): task for task in tasks}
        try:
            for future in _with_progress(futures, self._progress):
                task = futures[future]
                try:
                    outcome = future.result()
                except BrokenExecutor:
                    raise
                except Exception as problem:  # whatever it is, the others go on
                    failed[task] = problem
                    continue
                if outcome.source != source_digest():
                    failed[task] = ImportError("the worker that ran it has another version of sgdnoise or NumPy")
                    continue
                save(task, outcome, self._directory)
                self._of_this_run.add(task)
                done[task] = outcome
        except BaseException:
            if self._lent:
                for future in futures:
                    future.cancel()
            raise
        if failed:
            first = next(task for task in tasks if task in failed)
            error = failed[first]
            number = f"{len(failed)} of {len(tasks)} runs failed"
            raise TaskError(f"{number}, {first!r} with {type(error).__name__}: {error}") from error
        return done


def _with_progress(futures: dict[Future[Outcome], Task], stream: TextIO) -> Iterator[Future[Outcome]]:
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
