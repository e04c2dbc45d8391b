"""Worker processes: one BLAS thread each, gone when their parent is.

Each has a pipe of its own, and nothing is shared: a worker may be killed at any moment, in the middle of an answer, too, and no
lock stays taken, no reader waits for the rest, and no semaphore is left. Signals that ask to end are the parent's business.
"""

from __future__ import annotations

import multiprocessing
import os
import pickle
import signal
import threading
import traceback
from collections.abc import Callable, Iterator
from concurrent.futures import BrokenExecutor, Executor, Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection
from queue import SimpleQueue
from typing import Any

from ..._signals import STOPS, held_back

_THREADS = ("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "OMP_NUM_THREADS", "VECLIB_MAXIMUM_THREADS")


def n_cpus() -> int:
    """Number of CPUs this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@contextmanager
def processes(n: int) -> Iterator[Executor]:
    """At most `n` worker processes with one BLAS thread each; at the end, on Ctrl-C or an error they are ended at once."""
    before = {name: os.environ.get(name) for name in _THREADS}
    os.environ.update(dict.fromkeys(_THREADS, "1"))  # read when a worker loads BLAS: many threads per core are 10 times slower
    pool = _Processes(n)
    try:
        yield pool
    except BrokenExecutor as error:
        raise ChildProcessError(str(error)) from error
    finally:
        with held_back():
            pool.end()
            for name, value in before.items():
                if value is None:
                    os.environ.pop(name, None)
                else:
                    os.environ[name] = value


class _Processes(ThreadPoolExecutor):
    """Threads, each of which hands a call to a process and waits for what it answers."""

    def __init__(self, n: int) -> None:
        super().__init__(n)
        self._n = n
        self._workers: list[_Worker] = []
        self._idle: SimpleQueue[_Worker] = SimpleQueue()

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Hand over a call; a process is started if there may be another one."""
        if another := len(self._workers) < self._n:
            _start_tracker()
        with held_back():
            if another:
                self._workers.append(_Worker())
                self._idle.put(self._workers[-1])
            return super().submit(self._elsewhere, (fn, args, kwargs))

    def _elsewhere(self, call: object) -> Any:
        worker = self._idle.get()
        try:
            return worker.run(call)
        finally:
            self._idle.put(worker)

    def end(self) -> None:
        """End all processes, and the threads, which then have nothing to wait for."""
        for worker in self._workers:
            worker.process.kill()
        self.shutdown(cancel_futures=True)
        for worker in self._workers:
            worker.process.join()


class _Worker:
    """A process and this end of its pipe."""

    def __init__(self) -> None:
        context = multiprocessing.get_context("spawn")  # the one way to start processes that is the same everywhere
        self._connection, theirs = context.Pipe()
        self.process = context.Process(target=_work, args=(theirs,))
        self.process.start()
        theirs.close()  # or the end of the process would not end the pipe
        self._works = False

    def run(self, call: object) -> Any:
        """Let the process make a call, and return or raise what it did."""
        message = pickle.dumps(call)
        try:
            if not self._works:
                self._connection.recv_bytes()
                self._works = True
            self._connection.send_bytes(message)
            answer = self._connection.recv_bytes()
        except (EOFError, OSError):
            raise self._lost() from None
        done, value = pickle.loads(answer)
        if done:
            return value
        raise value

    def _lost(self) -> BrokenExecutor:
        while (status := self.process.exitcode) is None:  # another thread may be the one that collects it
            self.process.join(0.1)
        if status > 0 and not self._works:  # it has ended by itself
            hint = "what a script runs must stand under \"if __name__ == '__main__':\", and the script in a file"
            return BrokenExecutor(f"a worker process could not be started; {hint}")
        return BrokenExecutor("a worker process was killed; finished runs are kept; if memory ran out, --jobs 1 needs less")


def _start_tracker() -> None:
    """Start the process that multiprocessing keeps beside others: in doing so it unblocks signals, for a worker as well."""
    if os.name == "posix":
        with held_back():
            resource_tracker.ensure_running()


def _work(connection: Connection) -> None:
    """Answer calls, as a worker does, until the parent is gone."""
    for number in STOPS:  # they are blocked already where they can be
        signal.signal(number, signal.SIG_IGN)
    threading.Thread(target=_follow, daemon=True).start()
    with suppress(EOFError, OSError):
        connection.send_bytes(b"works")
        while True:
            connection.send_bytes(_answer(connection.recv_bytes()))


def _follow() -> None:
    """End this process when its parent is gone without a word."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _answer(message: bytes) -> bytes:
    """Make a call, and tell what it returned or raised."""
    try:
        function, args, kwargs = pickle.loads(message)
        return pickle.dumps((True, function(*args, **kwargs)))
    except BaseException as error:
        error.add_note("In a worker process:\n" + traceback.format_exc())
        try:
            return pickle.dumps((False, error))
        except Exception:  # it holds what cannot be sent
            return pickle.dumps((False, RuntimeError(f"{type(error).__name__}: {error}")))
