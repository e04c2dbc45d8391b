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

# Their matrices are small, and idle threads spin against whatever else the machine does.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")


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
            return SimpleNamespace(**json.loads(path.read_text()))

        return result

    for module in dict.fromkeys(item.module for item in request.session.items if hasattr(item, "module")):
        if hasattr(module, "begin"):
            results[module.__name__] = module.begin(python, tmp_path_factory.mktemp("begun"))
    if not lines:
        yield results
        return
    (folder / "lines.json").write_text(json.dumps(lines))
    environment = os.environ | {"MPLBACKEND": "agg", "PYTHONPATH": str(request.config.rootpath)}
    command = [sys.executable, Path(__file__).with_name("beside.py"), folder / "lines.json"]
    with subprocess.Popen(command, env=environment, process_group=0) as process:
        yield results
        if process.poll() is None:  # tests were interrupted, or not all of them were chosen
            os.killpg(process.pid, signal.SIGKILL)


@pytest.fixture
def few_resamples(monkeypatch):
    """Intervals from 40 bootstrap resamples, where nothing depends on their ends."""
    monkeypatch.setattr("sgdnoise.reproduce.engine.verdicts._N_RESAMPLES", 40)
