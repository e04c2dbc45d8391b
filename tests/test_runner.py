"""The runner: executors, resuming, damaged files, failures, kills, a full disk."""

import io
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from importlib import import_module, util
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from sgdnoise import Optimizer, Schedule, Stage, sgd
from sgdnoise.reproduce import SCALES, TaskError, TrainingTask, run_figures, runner
from sgdnoise.reproduce.engine import results
from sgdnoise.reproduce.engine.pool import processes
from sgdnoise.reproduce.engine.results import load, result_path, run_task
from sgdnoise.reproduce.engine.sweep import Sweep
from sgdnoise.reproduce.tasks.training import METRICS

TASKS = [TrainingTask(Schedule([Stage(1, 0.1, 5000)]), seed) for seed in (0, 1)]
SCRIPT = Path(__file__).parent / "tiny.py"
TINY = [sys.executable, str(SCRIPT), "reproduce", "tiny", "--jobs", "1", "--out"]


@pytest.fixture
def tiny(monkeypatch):
    """The module of the small figure, registered as the only one."""
    spec = util.spec_from_file_location("sgdnoise.reproduce.figures.tiny", SCRIPT)
    module = util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, spec.name, module)
    monkeypatch.setattr(runner, "FIGURES", ("tiny",))
    spec.loader.exec_module(module)
    return module


class InOrder:
    """The least that an executor can be: runs a task when it is submitted. It has no shutdown."""

    def __init__(self):
        self.submitted = []

    def submit(self, function, task):
        self.submitted.append(task)
        future = Future()
        try:
            future.set_result(function(task))
        except Exception as error:
            future.set_exception(error)
        return future


class Backwards(InOrder):
    """Completes what was submitted last first, in another thread, and only when everything is there."""

    def __init__(self, n_tasks):
        super().__init__()
        self.n_tasks = n_tasks

    def submit(self, function, task):
        future = Future()
        self.submitted.append((future, task))
        if len(self.submitted) == self.n_tasks:
            threading.Thread(target=self._run, args=(function,)).start()
        return future

    def _run(self, function):
        for future, task in reversed(self.submitted):
            future.set_result(function(task))


def sweep(directory, tasks=TASKS, executor=None, fresh=False):
    """Results and progress."""
    progress = io.StringIO()
    results = Sweep(directory, executor or InOrder(), fresh=fresh, progress=progress).compute(tasks)
    return results, progress.getvalue()


def equal(first, second):
    return len(first) == len(second) and all(
        set(a) == set(b) and all(np.array_equal(a[name], b[name]) for name in a) for a, b in zip(first, second, strict=True)
    )


def contents(directory, name="tiny"):
    """The figure's JSON without what may vary."""
    record = json.loads((directory / f"{name}.json").read_text())
    assert set(record.pop("run")) == {"wall_time_s", "task_time_s", "workers", "machine"}
    return record


def test_results_are_the_same_bits_for_any_executor_and_order_of_completion(tmp_path):
    """Processes, one and two; threads; at once; backwards."""
    expected = [task.run() for task in TASKS]
    assert not equal(expected[:1], expected[1:])
    for jobs in (1, 2):
        with processes(jobs) as executor:
            assert equal(sweep(tmp_path / f"{jobs}", executor=executor)[0], expected)
    with ThreadPoolExecutor(2) as executor:
        assert equal(sweep(tmp_path / "threads", executor=executor)[0], expected)
        assert executor.submit(abs, -1).result() == 1  # it was not shut down
    assert equal(sweep(tmp_path / "at once")[0], expected)
    assert equal(sweep(tmp_path / "backwards", executor=Backwards(2))[0], expected)


def test_an_executor_makes_the_files_that_processes_make(tmp_path, tiny):
    subprocess.run([*TINY, tmp_path / "processes"], check=True, capture_output=True)
    executor = InOrder()
    page = tmp_path / "pages/page.md"
    run_figures(["tiny"], out=tmp_path / "given", page=page, executor=executor, echo=str, progress=io.StringIO())
    assert "(../given/tiny.png)" in page.read_text()
    assert "(tiny.png)" in (tmp_path / "processes/report.md").read_text()
    assert len(executor.submitted) == 20
    assert contents(tmp_path / "given") == contents(tmp_path / "processes")
    assert json.loads((tmp_path / "given/tiny.json").read_text())["run"]["workers"] == "InOrder"
    assert json.loads((tmp_path / "processes/tiny.json").read_text())["run"]["workers"] == "1 process"
    with pytest.raises(ValueError, match="jobs must be left out where an executor is given, got 2"):
        run_figures(["tiny"], executor=executor, jobs=2)


def test_results_resume_and_damaged_or_foreign_files_are_named_and_computed_again(tmp_path):
    tasks = [*TASKS, TrainingTask(TASKS[0].schedule, 2)]
    first, _ = sweep(tmp_path, tasks)
    paths = [result_path(task, tmp_path) for task in tasks]
    times = [path.stat().st_mtime_ns for path in paths]
    again, progress = sweep(tmp_path, tasks)
    assert "3 of 3 runs are there already" in progress
    assert [path.stat().st_mtime_ns for path in paths] == times
    for path, length in zip(paths[:2], (200, 1), strict=True):
        path.write_bytes(path.read_bytes()[:-length])
    paths[2].write_bytes(paths[1].read_bytes()[:0])
    mended, progress = sweep(tmp_path, tasks)
    assert all(f"{path} is damaged" in progress for path in paths)
    swap = [path.read_bytes() for path in paths]
    paths[0].write_bytes(swap[1])
    swapped, progress = sweep(tmp_path, tasks)
    assert f"{paths[0]} belongs to another task" in progress
    assert "2 of 3 runs are there already" in progress
    executor = InOrder()
    fresh, progress = sweep(tmp_path, tasks, executor, fresh=True)
    assert "already" not in progress
    assert set(executor.submitted) == set(tasks)
    assert all(equal(first, results) for results in (again, mended, swapped, fresh))


def test_a_task_that_is_asked_for_twice_runs_once(tmp_path, tiny):
    """Within a figure and by two figures of a run, --fresh included."""
    tasks, executor = [tiny.TinyTask(seed) for seed in (0, 1, 0)], InOrder()
    for fresh in (False, True):
        one = Sweep(tmp_path, executor, fresh=fresh, progress=io.StringIO())
        first = one.compute(tasks)
        assert equal(first, one.compute(tasks))
        assert equal(first[:1], first[2:])
    assert sorted(task.seed for task in executor.submitted) == [0, 0, 1, 1]


def test_time_is_that_of_the_tasks_also_after_resuming(tmp_path, tiny):
    def record():
        return run_figures(["tiny"], out=tmp_path, executor=InOrder(), echo=str, progress=io.StringIO())["tiny"]["run"]

    first, second = record(), record()
    assert first["task_time_s"] == second["task_time_s"] >= 20 * 0.01
    assert first["wall_time_s"] >= first["task_time_s"]
    assert second["wall_time_s"] is None  # a part of it was done before


def test_every_damaged_byte_is_found(tmp_path):
    """A result file with one byte changed, at 200 places: it is computed again, or its contents are those of the task."""
    results, _ = sweep(tmp_path, TASKS[:1])
    path = result_path(TASKS[0], tmp_path)
    whole = path.read_bytes()
    for position in np.linspace(0, len(whole) - 1, 200).astype(int):
        path.write_bytes(whole[:position] + bytes([whole[position] ^ 0xFF]) + whole[position + 1 :])
        outcome = load(TASKS[0], tmp_path, io.StringIO())
        assert outcome is None or equal([outcome.arrays], results)
    path.write_bytes(whole)
    with np.load(path) as file:
        arrays = dict(file)
    arrays["train_loss"][0] += 1e-7  # and one whose parts are whole
    np.savez(path, **arrays)
    progress = io.StringIO()
    assert load(TASKS[0], tmp_path, progress) is None
    assert "is damaged (its contents have changed)" in progress.getvalue()


@dataclass(frozen=True)
class Bad:
    """Fails."""

    seed: int = 0
    cost: float = 1.0

    def run(self):
        raise ValueError(f"no luck with {self.seed}")


def test_a_failing_task_costs_its_figure_and_no_other(tmp_path, tiny, monkeypatch):
    def run(scale):
        yield [Bad(0), *(tiny.TinyTask(seed) for seed in range(20)), Bad(1)]

    monkeypatch.setitem(sys.modules, "sgdnoise.reproduce.figures.bad", SimpleNamespace(TITLE="Bad", run=run))
    monkeypatch.setattr(runner, "FIGURES", ("bad", "tiny"))
    executor, lines = InOrder(), []
    message = r"^bad is not made: 2 of 22 runs failed, Bad\(seed=0, cost=1.0\) with ValueError: no luck with 0$"
    with pytest.raises(TaskError, match=message):
        run_figures(["bad", "tiny"], out=tmp_path, executor=executor, echo=lines.append, progress=io.StringIO())
    assert len(executor.submitted) == 22  # the others went on, and tiny needed none of them again
    assert (tmp_path / "tiny.json").exists()
    assert not (tmp_path / "bad.json").exists()
    assert "Not here: bad." in (tmp_path / "report.md").read_text()
    assert any(line.startswith("  not made: 2 of 22 runs failed") for line in lines)


@pytest.mark.parametrize("part", ["run", "begin", "rows", "plot"])
def test_an_error_in_a_figures_own_code_costs_that_figure_and_no_other(tmp_path, tiny, monkeypatch, part):
    def fail(*arguments):
        raise KeyError("no such thing")

    def run(scale):
        if part == "begin":
            fail()
        result = yield from tiny.run(scale)
        return fail() if part == "run" else result

    parts = vars(tiny) | {"TITLE": "Bad", "run": run, part: run if part == "run" else fail}
    monkeypatch.setitem(sys.modules, "sgdnoise.reproduce.figures.bad", SimpleNamespace(**parts))
    monkeypatch.setattr(runner, "FIGURES", ("bad", "tiny"))
    progress = io.StringIO()
    with pytest.raises(TaskError, match=r"^bad is not made: KeyError: 'no such thing'$"):
        run_figures(["bad", "tiny"], out=tmp_path, executor=InOrder(), echo=lambda line: None, progress=progress)
    assert "in fail" in progress.getvalue()  # where it happened
    assert (tmp_path / "tiny.json").exists()
    assert not (tmp_path / "bad.json").exists()
    assert "Not here: bad." in (tmp_path / "report.md").read_text()


def test_an_error_in_a_process_keeps_what_is_done(tmp_path):
    bad = TrainingTask(Schedule([Stage(1, 50.0, 5000)]), 0)
    with processes(2) as executor, pytest.raises(TaskError, match=r"1 of 2 runs failed, Train.*seed=0.* DivergenceError: "):
        sweep(tmp_path, [TASKS[0], bad], executor)
    assert result_path(TASKS[0], tmp_path).exists()
    assert not result_path(bad, tmp_path).exists()


def test_the_command_reports_failed_tasks_and_ends_with_status_1(tmp_path):
    script = tmp_path / "failing.py"
    script.write_text(SCRIPT.read_text().replace("time.sleep(0.01)", "assert self.seed != 3, 'not 3'"))
    run = subprocess.run([sys.executable, script, *TINY[2:], tmp_path], capture_output=True, text=True)
    assert run.returncode == 1
    error = "sgdnoise reproduce: error: tiny is not made: 1 of 20 runs failed, TinyTask(seed=3, cost=1.0) with AssertionError: not 3"
    assert run.stderr.splitlines()[-1] == error
    assert "Traceback" not in run.stderr
    assert len(list((tmp_path / "runs").glob("*.npz"))) == 19


def test_a_claim_that_fails_is_no_error(tmp_path):
    script = tmp_path / "failing.py"
    script.write_text(SCRIPT.read_text().replace("threshold=1.0", "threshold=-1.0"))
    run = subprocess.run([sys.executable, script, *TINY[2:], tmp_path], capture_output=True, text=True, check=True)
    assert "FAILS: |small|" in run.stdout
    assert "Claims: 1 FAILS." in run.stdout


def test_a_worker_with_other_source_is_found(tmp_path):
    class Elsewhere(InOrder):
        def submit(self, function, task):
            return super().submit(lambda task: function(task)._replace(source="other"), task)

    with pytest.raises(TaskError, match="another version of sgdnoise or NumPy"):
        sweep(tmp_path, TASKS[:1], Elsewhere())
    assert not list(tmp_path.glob("*.npz"))


def test_a_killed_worker_is_reported_in_one_line_and_orphans_end(tmp_path):
    command = [sys.executable, "-m", "sgdnoise", "reproduce", "fig2", "--quick", "--jobs", "1", "--out", str(tmp_path)]

    def workers(pid):
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        return [int(c) for c in children if b"spawn_main" in Path(f"/proc/{c}/cmdline").read_bytes()]

    def started():
        process = subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        deadline = time.monotonic() + 60
        while not (found := workers(process.pid)) and time.monotonic() < deadline:
            time.sleep(0.02)
        time.sleep(0.5)
        return process, found[0]

    process, worker = started()
    os.kill(worker, signal.SIGKILL)
    _, err = process.communicate(timeout=30)
    assert process.returncode == 1
    assert err.splitlines()[-1].startswith("sgdnoise reproduce: error: a worker process was killed; finished runs are kept")
    assert "Traceback" not in err
    process, worker = started()
    process.kill()
    process.communicate(timeout=30)
    deadline = time.monotonic() + 20
    while Path(f"/proc/{worker}").exists() and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not Path(f"/proc/{worker}").exists()


def test_after_an_error_nothing_that_waits_in_a_given_executor_is_run(tmp_path, tiny, monkeypatch):
    """As on Ctrl-C: what was submitted to an executor that lives on is cancelled."""

    def interrupted(*args):
        raise KeyboardInterrupt

    monkeypatch.setattr("sgdnoise.reproduce.engine.sweep.save", interrupted)
    with ThreadPoolExecutor(1) as executor:
        submitted = []
        monkeypatch.setattr(
            executor, "submit", lambda *call: submitted.append(ThreadPoolExecutor.submit(executor, *call)) or submitted[-1]
        )
        with pytest.raises(KeyboardInterrupt):
            run_figures(["tiny"], out=tmp_path, executor=executor, echo=str, progress=io.StringIO())
    assert len(submitted) == 20
    assert sum(future.cancelled() for future in submitted) >= 10


def test_tasks_of_all_figures_are_there_before_the_first_figure_is_made(tmp_path, tiny, monkeypatch):
    """So that no worker is idle at the end of each; and what is asked for afterwards is run all the same."""

    def run(scale):
        (first,) = yield [tiny.TinyTask(100)]
        result, verdicts = yield from tiny.run(scale)
        return replace(result, means=np.array([first["mean"], *result.means])), verdicts

    two = SimpleNamespace(**vars(tiny) | {"TITLE": "Two", "run": run})
    monkeypatch.setitem(sys.modules, "sgdnoise.reproduce.figures.two", two)
    monkeypatch.setattr(runner, "FIGURES", ("tiny", "two"))
    executor, n_submitted = InOrder(), []
    monkeypatch.setattr(
        tiny, "plot", lambda *drawn, plot=tiny.plot: n_submitted.append(len(executor.submitted)) or plot(*drawn)
    )
    records = run_figures(["tiny", "two"], out=tmp_path, executor=executor, echo=str, progress=io.StringIO())
    assert n_submitted == [21]
    assert executor.submitted[-1].seed == 100
    assert records["two"]["means"] == [tiny.TinyTask(100).run()["mean"].tolist(), *records["tiny"]["means"]]


def test_a_folder_that_cannot_be_written_ends_in_one_clear_line(tmp_path):
    (tmp_path / "file").write_text("")
    command = [sys.executable, "-m", "sgdnoise", "reproduce", "fig1", "--out", str(tmp_path / "file" / "results")]
    run = subprocess.run(command, capture_output=True, text=True)
    assert run.returncode == 1
    assert run.stderr.startswith("sgdnoise reproduce: error: ")
    assert len(run.stderr.splitlines()) == 1
    assert Path(tmp_path / "file").read_text() == ""


def test_trying_to_write_touches_no_file_that_is_there(tmp_path, tiny):
    (tmp_path / "writable").write_text("mine")
    run_figures(["tiny"], out=tmp_path, executor=InOrder(), echo=str, progress=io.StringIO())
    assert (tmp_path / "writable").read_text() == "mine"
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {"writable", "runs", "tiny.png", "tiny.csv", "tiny.json", "report.md"}


@pytest.mark.parametrize("n_bytes", [100, 4000])
def test_a_disk_that_fills_up_ends_in_one_clear_line_and_leaves_no_half_file(tmp_path, tiny, n_bytes):
    """A limit on the size of files: result files are longer than 100 bytes, the picture is longer than 4000."""
    run = subprocess.run(
        [*TINY, tmp_path],
        capture_output=True,
        text=True,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (n_bytes, n_bytes)),
    )
    assert run.returncode == 1
    lines = [line for line in run.stderr.splitlines() if line and not line.startswith("run ") and "run/s" not in line]
    assert len(lines) == 1, run.stderr
    assert lines[0].startswith(f"sgdnoise reproduce: error: [Errno 27] File too large: '{tmp_path}/")
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert {path.parent.name for path in files} <= {"runs"}
    assert all(path.suffix == ".npz" for path in files)
    assert len(files) == (0 if n_bytes == 100 else 20)
    executor = InOrder()
    run_figures(["tiny"], out=tmp_path, executor=executor, echo=str, progress=io.StringIO())  # with more space it goes on
    assert len(executor.submitted) == 20 - len(files)
    assert (tmp_path / "tiny.png").exists()


def test_a_figure_list_is_not_a_string():
    with pytest.raises(TypeError, match="figures must be a sequence of names, got 'fig1'"):
        run_figures("fig1")


def test_progress_without_tqdm_has_a_line_per_run_with_the_time_left(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "tqdm", None)
    progress = sweep(tmp_path)[1].splitlines()
    assert len(progress) == 2
    assert progress[0].startswith("run 1 of 2 done, ")
    assert progress[1].endswith("about 0 s left")


def test_the_environment_is_left_as_it_was(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    monkeypatch.delenv("OPENBLAS_NUM_THREADS", raising=False)
    with processes(1) as executor:
        assert executor.submit(os.getenv, "OPENBLAS_NUM_THREADS").result() == "1"
    assert os.environ["OMP_NUM_THREADS"] == "3"
    assert "OPENBLAS_NUM_THREADS" not in os.environ


def test_the_engine_reaches_the_tasks():
    """Of every figure that trains, and its result file is another's."""
    fast, reference = (TrainingTask(TASKS[0].schedule, 0, engine=engine) for engine in ("fast", "reference"))
    assert result_path(fast, Path()) != result_path(reference, Path())
    for engine in ("fast", "reference"):
        at = replace(SCALES["quick"], engine=engine)
        asked = [task for name in runner.FIGURES for task in next(runner.figure(name).run(at))]
        assert {task.engine for task in asked if hasattr(task, "engine")} == {engine}


def test_the_engines_agree_and_each_is_used(monkeypatch):
    fast, reference = (TrainingTask(TASKS[0].schedule, 0, engine=engine) for engine in ("fast", "reference"))
    results = [run_task(task).arrays for task in (fast, reference)]
    assert set(results[0]) == set(results[1]) == set(METRICS)
    for name in METRICS:
        np.testing.assert_allclose(results[0][name], results[1][name], rtol=1e-4)
    monkeypatch.setattr("sgdnoise.reproduce.tasks.training.train", None)
    assert equal([run_task(fast).arrays], results[:1])
    with pytest.raises(TypeError):
        run_task(reference)


MADE_UP = {
    "task.py": "from sgdnoise.reproduce.engine.contract import stream\nfrom sgdnoise import fast\nfrom helper import f\n",
    "later.py": "def run():\n    from sgdnoise.sgld import sgld\n",
    "whole.py": "import sgdnoise.models\n",
    "handed_on.py": "from sgdnoise import train\n",
}


@pytest.fixture
def imported(tmp_path, monkeypatch):
    """What a made-up module of tasks imports of this package, as names relative to it."""

    def names(name):
        path = tmp_path / name
        path.write_text(MADE_UP[name])
        return {str(found.relative_to(results._PACKAGE)) for found in results._imported(path) if found.is_file()}

    return names


def test_what_computes_a_task_is_followed_through_its_imports(imported):
    everything = {str(path.relative_to(results._PACKAGE)) for path in results._PACKAGE.rglob("*.py")}
    assert imported("task.py") == {"reproduce/engine/contract.py", "fast.py"}
    assert imported("later.py") == {"sgld.py"}
    assert imported("whole.py") == imported("handed_on.py") == everything  # they may use any of it


def computing(name, monkeypatch):
    """Sources that the name of a result of a module of tasks depends on."""
    hashed = []
    monkeypatch.setattr(results, "_hash", lambda sources: hashed.extend(sources) or "")
    import_module(f"sgdnoise.reproduce.tasks.{name}")
    results.computing_digest.__wrapped__(frozenset([f"sgdnoise.reproduce.tasks.{name}"]))
    return {str(path.relative_to(results._PACKAGE)) for path in hashed}


def test_a_result_depends_on_what_computes_it_and_on_nothing_that_draws_or_judges(monkeypatch):
    """Every module of tasks: what Python itself imports for it is there, and no figure, verdict, report or command line is."""
    for path in sorted((results._PACKAGE / "reproduce/tasks").glob("[a-z]*.py")):
        found = computing(path.stem, monkeypatch)
        assert {f"reproduce/tasks/{path.name}", "reproduce/engine/contract.py"} <= found
        above = (
            "reproduce/figures",
            "reproduce/runner",
            "reproduce/report",
            "reproduce/check",
            "cli",
            "reproduce/engine/verdicts",
        )
        assert not [name for name in found if name.startswith(above)]
        code = (
            f"import sys, sgdnoise.reproduce.tasks.{path.stem}; print(*[m for m in sys.modules if m.startswith('sgdnoise.')])"
        )
        loaded = subprocess.run([sys.executable, "-c", LONE + code], capture_output=True, text=True, check=True).stdout.split()
        names = {module.removeprefix("sgdnoise.").replace(".", "/") + ".py" for module in loaded}
        assert {name for name in names if (results._PACKAGE / name).is_file()} <= found, path.name
    training = computing("training", monkeypatch)
    assert {"fast.py", "_stack.py", "_in_place.py", "training.py", "models.py", "sampling.py", "optimizers.py"} <= training
    assert "langevin.py" not in training


LONE = """
import sys, types
for name in ("sgdnoise.reproduce",):  # without what the package's __init__ hands on
    package = types.ModuleType(name)
    import sgdnoise, os
    package.__path__ = [os.path.join(os.path.dirname(sgdnoise.__file__), "reproduce")]
    sys.modules[name] = package
"""


PATHS = """
from pathlib import Path
from sgdnoise.reproduce import SCALES
from sgdnoise.reproduce.engine.results import result_path, source_digest
from sgdnoise.reproduce.figures import fig2
print(source_digest(), fig2.TITLE, *(result_path(task, Path()) for task in next(fig2.run(SCALES["quick"]))), sep="\\n")
"""


def test_an_edited_label_leaves_results_valid_and_an_edited_task_does_not(tmp_path):
    """On a copy of the package: where the results of a figure are looked for, before and after an edit."""
    package = tmp_path / "sgdnoise"
    shutil.copytree(results._PACKAGE, package, ignore=shutil.ignore_patterns("__pycache__"))

    def edited(name, before, after):
        text = (package / name).read_text()
        assert before in text
        (package / name).write_text(text.replace(before, after))
        return paths()

    def paths():
        run = subprocess.run([sys.executable, "-c", PATHS], cwd=tmp_path, capture_output=True, text=True, check=True)
        source, title, *found = run.stdout.splitlines()
        assert len(set(found)) == 4
        return source, title, found

    source, title, before = paths()
    other, label, after = edited("reproduce/figures/fig2.py", "(a) against epochs", "(a) by epochs")
    assert (label, after) == (title, before)
    assert other != source  # a worker that has it not is found all the same
    *_, after = edited("reproduce/tasks/training.py", "Rough cost", "About the cost")
    assert not set(after) & set(before)
    *_, again = edited("_stack.py", "np.exp(p, p)", "np.exp(p, out=p)")  # what the task imports, three modules down
    assert not set(again) & {*after, *before}


PLAIN = """
from dataclasses import dataclass
from sgdnoise.optimizers import Optimizer
import besides
def factor():
    from further import FACTOR
    return FACTOR

@dataclass(frozen=True, repr=False)
class Plain(Optimizer):
    factor: float
    def init(self, params): return None
    def update(self, gradient, state, learning_rate): return -self.factor * learning_rate * gradient, None

class Stateful(Optimizer):
    def __init__(self, factor): self.factor = factor
    def __repr__(self): return f"Stateful({self.factor})"
    def init(self, params): return None
    def update(self, gradient, state, learning_rate): return -self.factor * learning_rate * gradient, None
"""


@pytest.mark.parametrize("kind", ["Plain", "Stateful"])
@pytest.mark.parametrize("edited", ["plain", "besides", "further"])
def test_a_result_depends_on_the_module_of_the_optimizer_in_the_task(tmp_path, monkeypatch, kind, edited):
    """One of the user's own, a dataclass or not, whose code, or what it imports, changes while its name and numbers stay."""
    sources = {"plain": PLAIN, "besides": "ONE = 1\n", "further": "FACTOR = 2\n"}
    for name, source in sources.items():
        (tmp_path / f"{name}.py").write_text(source)
        sys.modules.pop(name, None)
    monkeypatch.syspath_prepend(tmp_path)
    results.computing_digest.cache_clear()
    task = replace(TASKS[0], optimizer=getattr(import_module("plain"), kind)(0.5))
    first = result_path(task, tmp_path)
    results.computing_digest.cache_clear()
    assert result_path(task, tmp_path) == first
    (tmp_path / f"{edited}.py").write_text(sources[edited] + "# edited\n")
    results.computing_digest.cache_clear()
    assert result_path(task, tmp_path) != first


def test_an_optimizer_of_a_notebook_is_refused(monkeypatch):
    """Its code is in no file whose hash could tell that it changed."""
    monkeypatch.setitem(sys.modules, "cell", SimpleNamespace())
    mine = type("Mine", (sgd(0.9).__class__,), {"__module__": "cell"})(0.9, False)
    with pytest.raises(ValueError, match="optimizer must be of a class that is in a file, got mine"):
        replace(TASKS[0], optimizer=mine)


def test_optimizers_that_look_alike_have_results_of_their_own(tmp_path):
    """Two classes whose reprs differ in case only, and fields that are no entries of ``vars``."""

    def path(optimizer):
        return result_path(replace(TASKS[0], optimizer=optimizer), tmp_path)

    @dataclass(frozen=True, repr=False)
    class Rule(type(sgd(0.9))):
        pass

    @dataclass(frozen=True, repr=False)
    class RULE(type(sgd(0.9))):
        pass

    @dataclass(frozen=True, repr=False)
    class Cached(type(sgd(0.9))):
        @cached_property
        def halved(self):
            return self.momentum / 2

    assert repr(Rule(0.9, False)) == repr(RULE(0.9, False))
    assert path(Rule(0.9, False)) != path(RULE(0.9, False))
    cached = Cached(0.9, False)
    before = path(cached)
    assert cached.halved == 0.45
    assert path(cached) == before


@dataclass(frozen=True, repr=False, slots=True)
class Slotted(Optimizer):
    decay: float


def test_an_optimizer_with_slots_shows_its_numbers():
    assert (repr(Slotted(0.9)), repr(Slotted(0.5))) == ("slotted(decay=0.9)", "slotted(decay=0.5)")


def test_source_is_that_of_the_code_which_was_imported(tmp_path, monkeypatch):
    """An edit while a task runs neither loses its result nor puts the new code's results under the old name."""
    versions = iter(["old", "new", "newer"])
    digest = lru_cache(lambda: next(versions))
    monkeypatch.setattr(results, "source_digest", digest)
    outcome = run_task(SimpleNamespace(run=dict))  # a worker's first task
    assert outcome.source == "old"
    monkeypatch.setattr("sgdnoise.reproduce.engine.sweep.source_digest", digest)
    Sweep(tmp_path, InOrder(), fresh=False, progress=io.StringIO())
    digest.cache_clear()
    seen = []

    class Late(InOrder):
        def submit(self, function, task):
            seen.append(digest.cache_info().currsize)
            return super().submit(function, task)

    sweep(tmp_path, TASKS[:1], Late())
    assert seen == [1]


def test_a_task_that_could_not_be_handed_over_is_handed_over_again(tmp_path):
    """Another figure asks for it, too: it must not wait for what nobody runs."""

    class OnceBroken(InOrder):
        broken = True

        def submit(self, function, task):
            if self.broken:
                self.broken = False
                raise OSError("no more processes")
            return super().submit(function, task)

    shared = Sweep(tmp_path, OnceBroken(), fresh=False, progress=io.StringIO())
    with pytest.raises(OSError, match="no more processes"):
        shared.submit(TASKS)
    assert equal(shared.compute(TASKS), [task.run() for task in TASKS])


@pytest.mark.parametrize("source", ["file", "standard input"])
def test_a_script_that_starts_itself_again_is_told_what_to_write(tmp_path, source):
    """Processes are spawned, and so import the main module: there is no memory to blame."""
    text = "from sgdnoise.reproduce.engine.pool import processes\nwith processes(1) as executor: executor.submit(abs, -1).result()\n"
    (tmp_path / "script.py").write_text(text)
    command = [sys.executable, "script.py"] if source == "file" else [sys.executable, "-"]
    run = subprocess.run(command, cwd=tmp_path, input=text, capture_output=True, text=True)
    assert run.returncode == 1
    last = run.stderr.rstrip().splitlines()[-1]
    assert last.startswith(
        'ChildProcessError: a worker process could not be started; what a script runs must stand under "if __name__'
    )


def test_a_console_that_lacks_the_letters_loses_nothing(tmp_path):
    out = tmp_path / "\u0440\u0435\u0437"
    environment = os.environ | {"PYTHONIOENCODING": "cp1252"}
    run = subprocess.run([*TINY, out], capture_output=True, text=True, env=environment, encoding="cp1252")
    assert (run.returncode, contents(out)["figure"]) == (0, "tiny")
    assert {path.name for path in out.iterdir()} == {"runs", "tiny.png", "tiny.csv", "tiny.json", "report.md"}
    assert "\\u0440\\u0435\\u0437" in run.stdout
    assert "rror" not in run.stderr


@pytest.mark.parametrize("closed", [("stdout",), ("stdout", "stderr")])
def test_a_reader_who_has_gone_loses_nothing(tmp_path, closed):
    """As after ``sgdnoise reproduce | head -1``, with and without ``2>&1``."""
    read, write = os.pipe()
    os.close(read)
    streams = dict.fromkeys(closed, write)
    environment = os.environ | {"PYTHONUNBUFFERED": ""}
    run = subprocess.run([*TINY, tmp_path], **({"stderr": subprocess.PIPE} | streams), text=True, env=environment)
    os.close(write)
    assert run.returncode == 0
    assert "rror" not in (run.stderr or "")
    assert {path.name for path in tmp_path.iterdir()} == {"runs", "tiny.png", "tiny.csv", "tiny.json", "report.md"}


def test_a_callers_echo_may_fail(tmp_path, tiny, monkeypatch):
    def echo(text):
        raise OSError("gone")

    done = run_figures(["tiny"], out=tmp_path, executor=InOrder(), echo=echo, progress=io.StringIO())
    assert set(done) == {"tiny"}
    closed = io.StringIO()
    closed.close()
    run_figures(["tiny"], out=tmp_path, executor=InOrder(), echo=str, progress=closed)
    monkeypatch.setattr(sys, "stderr", None)  # as it is where it was closed from the start
    run_figures(["tiny"], out=tmp_path, executor=InOrder(), echo=str)


def test_a_readers_settings_of_matplotlib_change_no_picture(tmp_path):
    """A backend that is not installed, as a Jupyter shell may name one, TeX that is not there, and how pictures are saved."""
    settings = ["text.usetex: True", "font.size: 30", "savefig.bbox: tight", "savefig.dpi: 30", "axes.facecolor: red"]
    (tmp_path / "matplotlibrc").write_text("\n".join(settings))
    record = SCRIPT.parents[1] / "tutorials/figures/fig1.json"
    code = "import json, sys; from sgdnoise.reproduce import runner; sys.stdout.buffer.write(runner._picture(json.load(open(sys.argv[1]))))"
    environment = os.environ | {"MPLBACKEND": "module://nowhere.backend", "MATPLOTLIBRC": str(tmp_path)}
    run = subprocess.run([sys.executable, "-c", code, record], capture_output=True, env=environment, check=True)
    assert run.stdout == runner._picture(json.loads(record.read_text()))
