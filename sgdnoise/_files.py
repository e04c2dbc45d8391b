"""Writing files so that a reader never sees half of one, and a killed writer leaves none for long."""

from __future__ import annotations

import io
import itertools
import os
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import lru_cache
from pathlib import Path

from ._signals import held_back

_MACHINE = re.sub(r"\W+", "_", os.uname().nodename) if hasattr(os, "uname") else ""  # on Windows os.kill asks nothing: it kills
_TOKEN = os.urandom(4).hex()
"""Of this process: in containers, processes one after the other have the same number."""

_NUMBERS = itertools.count()

_HOUR = 3600.0


@contextmanager
def atomic_write(path: str | os.PathLike[str]) -> Iterator[io.BytesIO]:
    """Give a buffer to write to, and make its contents the file `path` if all goes well.

    The folder is made if need be. The contents go to a temporary file beside `path`, which is then renamed. When writing fails,
    the temporary file is removed and what stood at `path` before still stands there; Ctrl-C waits until all is done; and if the
    process is killed, the next one that writes to the folder removes the temporary file.
    """
    path = Path(path)
    buffer = io.BytesIO()  # so that the temporary file is there for a moment only, and no writer of formats meets a full disk
    yield buffer
    path.parent.mkdir(parents=True, exist_ok=True)
    _once_remove_leftovers(path.parent)
    temporary = path.with_name(f".sgdnoise-{_MACHINE}-{os.getpid()}-{_TOKEN}-{next(_NUMBERS)}.tmp")
    with held_back():
        try:
            with open(temporary, "xb") as file:
                file.write(buffer.getbuffer())
            _replace(temporary, path)
        except BaseException as error:
            with suppress(OSError):
                temporary.unlink()
            if isinstance(error, OSError) and error.filename in (None, str(temporary)):  # a full disk does not say which file
                error.filename = str(path)
            raise


def remove_leftovers(folder: Path) -> None:
    """Remove the temporary files of processes that were killed while they wrote to `folder`.

    Such a process ran on this machine and does not any more, or has not touched the file for an hour: writing takes a moment.
    The second is what can be known of another machine that shares the folder, and on Windows, where a process cannot be asked.
    """
    for temporary in folder.glob(".sgdnoise-*.tmp"):
        with suppress(OSError):  # another process may be as fast
            if _is_gone(temporary.name) or time.time() - temporary.stat().st_mtime > _HOUR:
                temporary.unlink()


_once_remove_leftovers = lru_cache(maxsize=None)(remove_leftovers)


def _is_gone(name: str) -> bool:
    """Whether the process that made a temporary file is known to have ended."""
    writer = re.fullmatch(r"\.sgdnoise-(\w*)-(\d+)-(\w+)-\d+\.tmp", name)
    if writer is None or not _MACHINE or writer[1] != _MACHINE:
        return False
    if int(writer[2]) == os.getpid():
        return writer[3] != _TOKEN
    try:
        os.kill(int(writer[2]), 0)
    except (ProcessLookupError, OverflowError):
        return True
    except OSError:  # another user's
        return False
    return False


def _replace(temporary: Path, path: Path) -> None:
    """Rename; on Windows a file that is being read cannot be replaced, so wait for the reader a while."""
    for seconds in (0.01, 0.1, 1.0):
        try:
            os.replace(temporary, path)
            return
        except PermissionError:
            time.sleep(seconds)
    os.replace(temporary, path)
