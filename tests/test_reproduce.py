"""The figures and the runner: a smoke run, resuming, damaged files, interruption."""

import csv
import io
import json
import os
import signal
import subprocess
import sys
import time
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure

from sgdnoise import Schedule, Stage
from sgdnoise.reproduce import FIGURES, SCALES, TrainingTask, Verdict, fig2, run_figures, runner
from sgdnoise.reproduce.tasks import METRICS, paper_schedules

TASKS = [TrainingTask(Schedule([Stage(1, 0.1, 5000)]), seed) for seed in (0, 1)]


@pytest.fixture(scope="module")
def smoke(tmp_path_factory):
    """Records, report lines and folder of one quick run of all figures in two processes."""
    out, lines, progress = tmp_path_factory.mktemp("results"), [], io.StringIO()
    records = run_figures(FIGURES, scale="quick", out=out, jobs=2, report=lines.append, progress=progress)
    return records, lines, out, progress.getvalue()


def test_every_figure_writes_its_three_files(smoke):
    records, lines, out, _ = smoke
    assert set(records) == set(FIGURES)
    for name in FIGURES:
        record = json.loads((out / f"{name}-quick.json").read_text())
        assert record == json.loads(json.dumps(records[name]))
        assert {"figure", "title", "scale", "versions", "wall_time_s", "verdicts"} <= set(record)
        table = list(csv.reader((out / f"{name}-quick.csv").read_text().splitlines()))
        assert len(table) > 10
        assert len({len(row) for row in table}) == 1
        assert (out / f"{name}-quick.png").read_bytes().startswith(b"\x89PNG")
        assert any(str(out / f"{name}-quick.png") in line for line in lines)
    assert not list(out.rglob("*.tmp"))


def test_figures_replot_from_their_json_alone(smoke):
    out = smoke[2]
    for name in FIGURES:
        module = import_module(f"sgdnoise.reproduce.{name}")
        assert isinstance(module.plot(json.loads((out / f"{name}-quick.json").read_text())), Figure)


def test_figure_2_records_what_was_trained(smoke):
    record = smoke[0]["fig2"]
    schedules = paper_schedules(SCALES["quick"].n_epochs)
    for name, schedule in schedules.items():
        curve = record["curves"][name]
        assert curve["n_updates"][-1] == schedule.n_updates(50_000)
        assert np.shape(curve["train_loss"]) == (1, 5)
    decaying, increasing = (record["curves"][name] for name in ("decaying", "increasing"))
    first = record["first_step"]
    assert decaying["train_loss"][0][:first] == increasing["train_loss"][0][:first]  # one and the same stage
    assert decaying["train_loss"][0][first] != increasing["train_loss"][0][first]
    assert decaying["test_accuracy"][0][-1] > 0.8


def test_default_scale_has_the_papers_proportions():
    scale = SCALES["default"]
    schedules = paper_schedules(scale.n_epochs)
    assert [stage.n_epochs for stage in schedules["decaying"]] == [12, 12, 8, 8]
    counts = {name: schedule.n_updates(50_000) for name, schedule in schedules.items()}
    assert counts == {"decaying": 15600, "hybrid": 6864, "increasing": 5760, "control": 15600}
    assert scale.n_seeds >= 3
    assert [stage.n_epochs for stage in paper_schedules(SCALES["full"].n_epochs)["hybrid"]] == [60, 60, 40, 40]


def test_the_statistic_of_figure_2_and_what_it_rejects():
    """On made-up curves: a tenth of the control's distance passes, a schedule that follows the control does not."""

    def compute(tasks, spoilt="before"):
        lost = {
            paper_schedules(40)["control"]: 1.0,
            paper_schedules(40)["hybrid"]: 0.09,
            paper_schedules(40)["increasing"]: 1.0,
        }
        # The first epoch after the step, index 12, counts; the one before it does not, however far apart the curves are.
        spike = (np.arange(40) == 12) + 7.0 * (np.arange(40) == 11) * (spoilt == "before")
        return [{metric: 0.2 + lost.get(task.schedule, 0.0) * spike + 0.01 * task.seed for metric in METRICS} for task in tasks]

    hybrid, increasing = fig2.run(SCALES["default"], compute)["verdicts"]
    assert hybrid.value == pytest.approx(0.09)
    assert hybrid.holds
    assert increasing.value == pytest.approx(1.0)
    assert not increasing.holds
    assert "FAILS" in str(increasing)
    assert not Verdict("", "", "", float("nan"), 0.1).holds


def run_tasks(directory, tasks=TASKS, jobs=1, fresh=False):
    progress = io.StringIO()
    with runner.processes(jobs) as executor:
        results = runner.run_tasks(tasks, directory, executor, fresh=fresh, progress=progress)
    return results, progress.getvalue()


def test_results_resume_and_damaged_or_foreign_files_are_named_and_computed_again(tmp_path):
    first, _ = run_tasks(tmp_path, jobs=2)
    paths = [runner._path(task, tmp_path) for task in TASKS]
    times = [path.stat().st_mtime_ns for path in paths]
    again, progress = run_tasks(tmp_path)
    assert "2 of 2 runs are there already" in progress
    assert [path.stat().st_mtime_ns for path in paths] == times
    paths[0].write_bytes(paths[0].read_bytes()[:-200])
    mended, progress = run_tasks(tmp_path)
    assert f"{paths[0]} is damaged" in progress
    paths[0].write_bytes(paths[1].read_bytes())
    swapped, progress = run_tasks(tmp_path)
    assert f"{paths[0]} belongs to another task" in progress
    fresh, progress = run_tasks(tmp_path, fresh=True)
    assert "already" not in progress
    for results in (again, mended, swapped, fresh):
        for a, b in zip(first, results, strict=True):
            assert all(np.array_equal(a[name], b[name]) for name in METRICS)
    assert not np.array_equal(first[0]["train_loss"], first[1]["train_loss"])


def test_every_damaged_byte_is_found(tmp_path):
    """A result file with one byte changed, at 200 places: it is computed again, or its contents are those of the task."""
    (result,), _ = run_tasks(tmp_path, TASKS[:1])
    path = runner._path(TASKS[0], tmp_path)
    whole = path.read_bytes()
    for position in np.linspace(0, len(whole) - 1, 200).astype(int):
        path.write_bytes(whole[:position] + bytes([whole[position] ^ 0xFF]) + whole[position + 1 :])
        loaded = runner._load(TASKS[0], tmp_path, io.StringIO())
        assert loaded is None or all(np.array_equal(loaded[name], result[name]) for name in METRICS)
        assert loaded is None or set(loaded) == set(result)


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


def test_a_figure_list_is_not_a_string():
    with pytest.raises(TypeError, match="figures must be a sequence of names, got 'fig1'"):
        run_figures("fig1")


def test_progress_without_tqdm_has_a_line_per_run_with_the_time_left(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "tqdm", None)
    progress = run_tasks(tmp_path)[1].splitlines()
    assert len(progress) == 2
    assert progress[0].startswith("run 1 of 2 done, ")
    assert progress[1].endswith("about 0 s left")


def test_an_error_in_a_task_keeps_what_is_done(tmp_path):
    bad = TrainingTask(Schedule([Stage(1, 50.0, 5000)]), 0)
    with pytest.raises(ArithmeticError, match="diverged"):
        run_tasks(tmp_path, [TASKS[0], bad])
    assert runner._path(TASKS[0], tmp_path).exists()
    assert not runner._path(bad, tmp_path).exists()


def test_the_environment_is_left_as_it_was(tmp_path, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    monkeypatch.delenv("OPENBLAS_NUM_THREADS", raising=False)
    run_tasks(tmp_path, TASKS[:1])
    assert os.environ["OMP_NUM_THREADS"] == "3"
    assert "OPENBLAS_NUM_THREADS" not in os.environ


def test_ctrl_c_keeps_what_is_done_and_ends_with_130(tmp_path):
    command = [sys.executable, "-m", "sgdnoise", "reproduce", "fig2", "--quick", "--jobs", "1", "--out", str(tmp_path)]
    process = subprocess.Popen(
        command,
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),  # it may be ignored where tests run
    )
    deadline = time.monotonic() + 60
    while not list((tmp_path / "runs").glob("*.npz")) and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=30)
    assert process.returncode == 130
    assert "interrupted; what is done is kept" in err
    assert "Traceback" not in err
    assert list((tmp_path / "runs").glob("*.npz"))
    assert not (tmp_path / "fig2-quick.json").exists()


def test_a_folder_that_cannot_be_written_ends_in_one_clear_line(tmp_path):
    (tmp_path / "file").write_text("")
    command = [sys.executable, "-m", "sgdnoise", "reproduce", "fig1", "--out", str(tmp_path / "file" / "results")]
    run = subprocess.run(command, capture_output=True, text=True)
    assert run.returncode == 1
    assert run.stderr.startswith("sgdnoise reproduce: error: ")
    assert len(run.stderr.splitlines()) == 1
    assert Path(tmp_path / "file").read_text() == ""
