"""Worker processes: one BLAS thread each, gone when their parent is."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing.context import SpawnContext, SpawnProcess
from multiprocessing.process import BaseProcess
from typing import Any

_THREADS = ("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "OMP_NUM_THREADS", "VECLIB_MAXIMUM_THREADS")


def n_cpus() -> int:
    """Number of CPUs this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class _Spawn(SpawnContext):
    """The way to start processes that is the same everywhere; it knows those that it has started."""

    def __init__(self) -> None:
        super().__init__()
        self.workers: list[BaseProcess] = []

    def Process(self, *args: Any, **kwargs: Any) -> Any:  # type: ignore[override]  # noqa: N802
        """Start a process."""
        self.workers.append(SpawnProcess(*args, **kwargs))
        return self.workers[-1]


@contextmanager
def processes(n: int) -> Iterator[ProcessPoolExecutor]:
    """Worker processes with one BLAS thread each; on Ctrl-C or an error they are ended at once."""
    before = {name: os.environ.get(name) for name in _THREADS}
    os.environ.update(dict.fromkeys(_THREADS, "1"))  # read when a worker loads BLAS: many threads per core are 10 times slower
    others = set(multiprocessing.active_children())
    context = _Spawn()
    executor = ProcessPoolExecutor(n, mp_context=context, initializer=_start_worker)
    try:
        yield executor
    except BaseException as error:
        # Of a broken pool all processes have ended; how is known for sure when the executor's thread has collected them, too.
        executor.shutdown(wait=isinstance(error, BrokenProcessPool), cancel_futures=True)
        for process in set(multiprocessing.active_children()) - others:
            process.terminate()
        if isinstance(error, BrokenProcessPool):
            if any((worker.exitcode or 0) > 0 for worker in context.workers):  # it has ended by itself, before it could work
                hint = "what a script runs must stand under \"if __name__ == '__main__':\", and the script in a file"
                raise ChildProcessError(f"a worker process could not be started; {hint}") from error
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


def _start_worker() -> None:
    """Let Ctrl-C end a worker at once, and end it, too, when its parent is gone without a word."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    parent = multiprocessing.parent_process()

    def follow() -> None:
        if parent is not None:
            parent.join()
            os._exit(1)

    threading.Thread(target=follow, daemon=True).start()
