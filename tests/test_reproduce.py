"""The figures: a smoke run of all, and figure 2."""

import csv
import json
from dataclasses import replace
from importlib import import_module

import numpy as np
import pytest
from matplotlib.figure import Figure

from sgdnoise.reproduce import FIGURES, SCALES, Verdict, fig1, fig2, report, samplers, table
from sgdnoise.reproduce.noise_tasks import MinibatchNoiseTask
from sgdnoise.reproduce.tasks import METRICS, paper_schedules

RUN_ALL = """
import json, sys
from sgdnoise.reproduce import FIGURES, run_figures, verdicts
verdicts._N_RESAMPLES = 40
records = run_figures(FIGURES, scale="quick", out=sys.argv[1] + "/results", jobs=2)
with open(sys.argv[1] + "/records.json", "w") as file:
    json.dump(records, file)
"""


def begin(python, out):
    return python("-c", RUN_ALL, str(out)), out


@pytest.fixture(scope="module")
def smoke(begun):
    """Records, report and folder of one quick run of all figures in two processes."""
    finished, out = begun[__name__]
    run = finished()
    assert run.returncode == 0, run.stderr
    return json.loads((out / "records.json").read_text()), run.stdout, out / "results"


def test_every_figure_writes_its_three_files(smoke):
    records, printed, out = smoke
    assert set(records) == set(FIGURES)
    for name in FIGURES:
        record = json.loads((out / f"{name}-quick.json").read_text())
        assert record == records[name]
        assert {"figure", "title", "scale", "engine", "versions", "run", "verdicts"} <= set(record)
        rows = list(csv.reader((out / f"{name}-quick.csv").read_text().splitlines()))
        assert len(rows) > 10
        assert len({len(row) for row in rows}) == 1
        assert (out / f"{name}-quick.png").read_bytes().startswith(b"\x89PNG")
        assert f"  wrote {out / f'{name}-quick.png'}\n" in printed
    assert not list(out.rglob("*.tmp"))
    assert (out / "report-quick.md").read_text() == report([records[name] for name in FIGURES], FIGURES)
    assert printed.endswith(f"\n{table([records[name] for name in FIGURES])}\nwrote {out / 'report-quick.md'}\n")


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
        level = 0.2 + 0.05 * (39 - np.arange(40))  # falls, so that the number of epochs is not that of updates
        return [
            {metric: level + lost.get(task.schedule, 0.0) * spike + 0.01 * task.seed for metric in METRICS} for task in tasks
        ]

    hybrid, increasing = fig2.run(SCALES["default"], compute)["verdicts"]
    assert hybrid.value == pytest.approx(0.09)
    assert hybrid.holds
    assert increasing.value == pytest.approx(1.0)
    assert not increasing.holds
    assert "FAILS" in str(increasing)
    for verdict in (hybrid, increasing):
        assert verdict.control_flagged
        assert verdict.interval == pytest.approx((verdict.value, verdict.value))  # seeds differ by what cancels
    assert not Verdict("", "", "", float("nan"), 0.1, control="", control_value=1.0).holds


def test_the_statistic_of_figure_1_and_what_it_rejects():
    (verdict,) = fig1.run(SCALES["default"], lambda tasks: [])["verdicts"]
    assert verdict.value == pytest.approx(1 - 0.938, abs=1e-3)  # B = 3200
    assert verdict.control_value == pytest.approx(1 - 0.682, abs=1e-3)  # B = 16000 = .32 N
    assert verdict.word == "HOLDS WITHIN B <= N/10"
    assert verdict.control_flagged


def test_the_statistics_of_samplers_and_what_they_reject(few_resamples):
    """Answers with the laws and a scatter of 1% of them; then with noise 20% too large, and with samplers mixed up."""

    def answer(task, factor=1.0, as_method=None):
        scatter = 1 + 0.01 * np.tile([-1, 1], 100)
        law = replace(task, method=as_method or task.method)
        if isinstance(task, MinibatchNoiseTask):
            return {"trace": 3 * factor * law.predicted(1.0) * scatter, "S_trace": np.array(3.0)}
        return {"squares": factor * law.predicted() * scatter}

    def fails(change):
        verdicts = samplers.run(SCALES["default"], lambda tasks: [answer(task, **change(task)) for task in tasks])["verdicts"]
        return {i for i, verdict in enumerate(verdicts) if not verdict.holds}, verdicts

    failing, verdicts = fails(lambda task: {})
    assert failing == set()
    assert all(verdict.control_flagged and verdict.interval is not None for verdict in verdicts)
    assert fails(lambda task: {"factor": 1.2 if isinstance(task, MinibatchNoiseTask) else 1.0})[0] == {0}
    assert fails(lambda task: {"factor": 1.0 if isinstance(task, MinibatchNoiseTask) else 0.8})[0] == {1}
    assert fails(lambda task: {"as_method": "without_replacement"})[0] == {0, 1, 2}
    exchanged = {"with_replacement": "without_replacement", "without_replacement": "with_replacement", "reshuffle": "reshuffle"}
    failing, verdicts = fails(
        lambda task: {"as_method": exchanged[task.method]} if isinstance(task, MinibatchNoiseTask) else {}
    )
    assert failing == {0}
    assert fails(lambda task: {"factor": np.nan})[0] == {0, 1, 2}
