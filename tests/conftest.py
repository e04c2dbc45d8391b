"""For all tests: one BLAS thread, and a second core that is not idle."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

# Their matrices are small, and idle threads spin against whatever else the machine does. NumPy's own wheels have OpenBLAS, and
# on macOS Accelerate.
for name in ("OPENBLAS_NUM_THREADS", "VECLIB_MAXIMUM_THREADS"):
    os.environ.setdefault(name, "1")


@pytest.fixture(scope="session", autouse=True)
def begun(request, tmp_path_factory):
    """What modules run in processes of their own, begun before the first test: what ``begin(python, out)`` returned, by module.

    ``python(*arguments)`` is a run of Python as a reader would, warnings being errors, and calling it waits for what came out.
    All of them give way to the tests, and those of a later module to those of an earlier one: they take the core that the tests
    leave free, and are done, or nearly, when their own tests come.
    """
    folder, lines, results = tmp_path_factory.mktemp("beside"), [], {}

    def python(*arguments):
        path = folder / f"{len(lines)}.json"
        lines.append((5 + 10 * len(results), str(path), [sys.executable, "-W", "error", *arguments]))

        def result():
            while not path.exists():
                assert process.poll() is None or path.exists(), "what runs beside the tests has ended too early"
                time.sleep(0.02)
            return SimpleNamespace(**json.loads(path.read_text(encoding="utf-8")))

        return result

    for module in dict.fromkeys(item.module for item in request.session.items if hasattr(item, "module")):
        if hasattr(module, "begin"):
            results[module.__name__] = module.begin(python, tmp_path_factory.mktemp("begun"))
    if not lines:
        yield results
        return
    (folder / "lines.json").write_text(json.dumps(lines), encoding="utf-8")
    environment = os.environ | {"MPLBACKEND": "agg", "PYTHONPATH": str(request.config.rootpath), "PYTHONIOENCODING": "utf-8"}
    command = [sys.executable, Path(__file__).with_name("beside.py"), folder / "lines.json"]
    with subprocess.Popen(command, env=environment, process_group=0) as process:
        yield results
        if process.poll() is None:  # tests were interrupted, or not all of them were chosen
            end_with_children(process)


def end_with_children(process):
    """End a process that leads a group of its own, and what it has begun."""
    if hasattr(os, "killpg"):
        os.killpg(process.pid, signal.SIGKILL)
    else:  # Windows has no groups to be ended, but knows whose child a process is
        subprocess.run(["taskkill", "/F", "/T", "/PID", str(process.pid)], capture_output=True)


@pytest.fixture
def few_resamples(monkeypatch):
    """Intervals from 40 bootstrap resamples, where nothing depends on their ends."""
    monkeypatch.setattr("sgdnoise.reproduce.engine.verdicts._N_RESAMPLES", 40)
