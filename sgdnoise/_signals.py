"""Signals that ask a program to end: Ctrl-C, ``kill``, a terminal that was closed."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

STOPS = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGBREAK") if hasattr(signal, name)]
"""Those that this system has."""

INTERRUPTED = "interrupted; what is done is kept, run it again to go on"


@contextmanager
def held_back() -> Iterator[None]:
    """Hold these signals back: what they do is done after the block, and a process that is started in it gets none, ever."""
    came: list[int] = []
    handlers: dict[int, Any] = {}
    if threading.current_thread() is threading.main_thread():  # handlers run in no other
        handlers = {number: handler for number in STOPS if callable(handler := signal.getsignal(number))}
    blocked = None
    try:
        for number in handlers:
            signal.signal(number, lambda number, frame: came.append(number))
        if hasattr(signal, "pthread_sigmask"):  # not on Windows
            blocked = signal.pthread_sigmask(signal.SIG_BLOCK, STOPS)
        yield
    finally:
        if blocked is not None:
            signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
        for number, handler in handlers.items():
            signal.signal(number, handler)
        if came:
            signal.raise_signal(came[0])


def end_at_once() -> None:
    """Let each of these signals end this process and those that it has started, in order and at once.

    What the process ignores, as one does that a shell has put in the background, it still ignores. Nothing is raised: what is
    raised at any moment may be lost, in the callback of a weak reference, or become another error, in the import of a module in
    C; and a second signal would disturb what is done about the first. Results are safe: what writes a file holds signals back.
    """
    for number in STOPS:
        if signal.getsignal(number) in (signal.SIG_DFL, signal.default_int_handler):
            signal.signal(number, _end)


def _end(number: int, frame: object) -> None:
    with suppress(Exception):
        for process in sys.modules["multiprocessing"].active_children():
            process.kill()
    with suppress(Exception):  # it may be closed, or in the middle of a word
        sys.stdout.flush()
    with suppress(Exception):
        os.write(sys.stderr.fileno(), f"\nsgdnoise: {INTERRUPTED}\n".encode())
    os._exit(128 + number)  # as a shell says it
