"""A smoke run of all figures."""

import csv
import json

import pytest
from matplotlib.figure import Figure

from sgdnoise.reproduce import FIGURES, report, table
from sgdnoise.reproduce.runner import draw

RUN_ALL = """
import json, sys
from sgdnoise.reproduce import FIGURES, run_figures
from sgdnoise.reproduce.engine import verdicts
verdicts._N_RESAMPLES = 40
records = run_figures(FIGURES, scale="quick", out=sys.argv[1] + "/results", jobs=2)
with open(sys.argv[1] + "/records.json", "w", encoding="utf-8") as file:
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
    return json.loads((out / "records.json").read_text(encoding="utf-8")), run.stdout, out / "results"


def test_every_figure_writes_its_three_files(smoke):
    records, printed, out = smoke
    assert set(records) == set(FIGURES)
    for name in FIGURES:
        record = json.loads((out / f"{name}-quick.json").read_text(encoding="utf-8"))
        assert record == records[name]
        assert {"figure", "title", "scale", "engine", "versions", "run", "verdicts"} <= set(record)
        rows = list(csv.reader((out / f"{name}-quick.csv").read_text(encoding="utf-8").splitlines()))
        assert len(rows) > 10
        assert len({len(row) for row in rows}) == 1
        assert (out / f"{name}-quick.png").read_bytes().startswith(b"\x89PNG")
        assert f"  wrote {out / f'{name}-quick.png'}\n" in printed
    assert not list(out.rglob("*.tmp"))
    assert (out / "report-quick.md").read_text(encoding="utf-8") == report([records[name] for name in FIGURES], FIGURES)
    assert printed.endswith(f"\n{table([records[name] for name in FIGURES])}\nwrote {out / 'report-quick.md'}\n")


def test_figures_replot_from_their_json_alone(smoke):
    out = smoke[2]
    for name in FIGURES:
        assert isinstance(draw(json.loads((out / f"{name}-quick.json").read_text(encoding="utf-8"))), Figure)
