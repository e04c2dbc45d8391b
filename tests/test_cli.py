"""The command line, as a user calls it."""

import json
import os
import re
import subprocess
import sys

import numpy as np
import pytest

from sgdnoise import (
    Schedule,
    __version__,
    cosine_decay,
    exponential_decay,
    grow_batch,
    linear_decay,
    noise_scale,
    step_decay,
    warm_up,
    warmup_stable_decay,
)
from sgdnoise.cli import main
from sgdnoise.reproduce import FIGURES

CONVERT = ["convert", "--learning-rate", "0.1", "--batch-size", "128", "--n-train", "50000"]
SCHEDULE = ["schedule", "--learning-rate", "0.1", "--batch-size", "128", "--n-train", "50000", "--momentum", "0.9"]
SCHEDULE += ["--milestones", "60", "120", "160", "--n-epochs", "200", "--factor", "5"]


def call(capsys, *argv):
    """Exit status, stdout and stderr."""
    with pytest.raises(SystemExit) as exit:
        main(argv)
    return exit.value.code, *capsys.readouterr()


def test_version_and_help(capsys):
    assert call(capsys, "--version")[:2] == (0, f"sgdnoise {__version__}\n")
    for command in ([], ["reproduce"], ["check"], ["convert"], ["schedule"]):
        status, out, _ = call(capsys, *command, "--help")
        assert status == 0
        assert "examples:\n  sgdnoise " in out


def test_the_examples_in_the_help_run(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # one draws a picture
    for command in ("convert", "schedule"):
        text = call(capsys, command, "--help")[1].split("examples:\n")[1].replace("\\\n", " ")
        examples = [line.split()[1:] for line in text.splitlines() if line.strip().startswith("sgdnoise ")]
        assert len(examples) >= 2
        for example in examples:
            assert call(capsys, *example)[0] == 0


@pytest.mark.parametrize(
    ("target", "linear", "exact"),
    [
        (["--to-batch-size", "1024"], (0.8, 1024), (0.81464, 1024)),
        (["--to-learning-rate", "0.5"], (0.5, 640), (0.5, 634)),
        (["--momentum", "0.9", "--to-momentum", "0.98"], (0.1, 640), (0.1, 634)),
    ],
)
def test_convert(capsys, target, linear, exact):
    status, out, _ = call(capsys, *CONVERT, *target, "--json")
    answer = json.loads(out)
    assert status == 0
    for rule, expected in (("linear_rule", linear), ("exact_rule", exact)):
        got = answer[rule]
        assert (got["learning_rate"], got["batch_size"]) == (pytest.approx(expected[0], rel=1e-5), expected[1])
        g = noise_scale(got["learning_rate"], got["batch_size"], 50_000, momentum=got["momentum"])
        assert got["noise_scale"] == pytest.approx(g)
        assert got["noise_scale_change"] == pytest.approx(g / answer["before"]["noise_scale"] - 1, abs=1e-12)
    assert abs(answer["exact_rule"]["noise_scale_change"]) < 1e-3  # a batch is a whole number
    assert answer["warnings"] == []
    text = call(capsys, *CONVERT, *target)[1]
    assert f"{linear[1]}" in text
    assert "change of g" in text


def test_convert_says_what_the_linear_rule_loses(capsys):
    argv = ["convert", "--learning-rate", "0.1", "--batch-size", "100", "--n-train", "1000", "--to-batch-size", "400"]
    text = call(capsys, *argv)[1]
    assert "-33.33%" in text
    assert "warning: batch size above N/10 = 100" in text


def test_convert_where_a_rule_has_no_answer(capsys):
    argv = ["convert", "--learning-rate", "0.1", "--batch-size", "100", "--n-train", "1000"]
    full = json.loads(call(capsys, *argv, "--to-batch-size", "1000", "--json")[1])
    assert full["exact_rule"] is None
    assert "the full batch has no noise" in full["warnings"][0]
    huge = json.loads(call(capsys, *argv, "--to-learning-rate", "2", "--json")[1])
    assert huge["linear_rule"] is None
    assert "linear rule asks for a batch of 2000" in huge["warnings"][0]
    tiny = json.loads(call(capsys, *argv, "--to-learning-rate", "1e-5", "--json")[1])
    assert tiny["exact_rule"]["batch_size"] == 1
    assert "the nearest possible changes g by more than 1%" in tiny["warnings"][0]
    nearly = [
        "convert",
        "--learning-rate",
        "0.1",
        "--batch-size",
        "999",
        "--n-train",
        "1000",
        "--to-learning-rate",
        "1",
        "--json",
    ]
    assert json.loads(call(capsys, *nearly)[1])["exact_rule"]["batch_size"] == 999
    large = ["convert", "--learning-rate", "0.1", "--batch-size", "110000", "--n-train", "1281167", "--to-batch-size", "120000"]
    assert " 110000 " in call(capsys, *large)[1]
    assert "none" in call(capsys, *argv, "--to-batch-size", "1000")[1]


def test_schedule(capsys):
    answer = json.loads(call(capsys, *SCHEDULE, "--max-batch-size", "5120", "--json")[1])
    assert answer["decaying"]["n_updates"] == {"drop_last": 78000, "keep_last": 78200, "exact": 78125.0}
    assert answer["growing"]["n_updates"] == {"drop_last": 29040, "keep_last": 29240, "exact": 29140.625}
    assert [stage["batch_size"] for stage in answer["growing"]["stages"]] == [128, 640, 3200, 5120]
    np.testing.assert_allclose(
        [stage["noise_scale"] for stage in answer["decaying"]["stages"]], [389.6, 77.93, 15.59, 3.117], rtol=1e-3
    )
    text = call(capsys, *SCHEDULE)[1]
    assert "decaying: 78000 updates" in text
    assert "growing: 28800 updates" in text
    assert "warning: batch size above N/10" in text
    assert "above N/10" in json.loads(call(capsys, *SCHEDULE, "--json")[1])["warnings"][0]
    assert answer["momentum"] == 0.9
    capped = json.loads(call(capsys, *SCHEDULE, "--max-batch-size", "5000", "--json")[1])
    assert capped["warnings"] == []
    plain = [*SCHEDULE, "--json", "--momentum", "0.5"]
    assert json.loads(call(capsys, *plain)[1])["decaying"]["stages"][0]["noise_scale"] == pytest.approx(0.2 * 389.625)
    hybrid = json.loads(call(capsys, *SCHEDULE, "--n-drops", "1", "--json")[1])
    assert [stage["batch_size"] for stage in hybrid["growing"]["stages"]] == [128, 640, 640, 640]


SMOOTH = ["schedule", "--learning-rate", "0.4", "--batch-size", "64", "--n-train", "50000", "--n-epochs", "30"]


@pytest.mark.parametrize(
    ("options", "made"),
    [
        (["--shape", "cosine"], lambda: cosine_decay(0.4, 64, n_epochs=30)),
        (["--shape", "linear", "--final", "0.1"], lambda: linear_decay(0.4, 64, n_epochs=30, final=0.1)),
        (["--shape", "exponential", "--final", "0.1"], lambda: exponential_decay(0.4, 64, n_epochs=30, final=0.1)),
        (["--shape", "cosine", "--warm-up", "5"], lambda: warm_up(cosine_decay(0.4, 64, n_epochs=30), 5)),
        (
            ["--shape", "wsd", "--warm-up", "2", "--decay-epochs", "4"],
            lambda: warmup_stable_decay(0.4, 64, n_epochs=30, n_warm_up=2, n_decay=4),
        ),
        (["--shape", "wsd"], lambda: warmup_stable_decay(0.4, 64, n_epochs=30, n_warm_up=0, n_decay=3)),
        (["--shape", "wsd", "--warm-up", "29"], lambda: warmup_stable_decay(0.4, 64, n_epochs=30, n_warm_up=29, n_decay=1)),
        (
            ["--milestones", "10", "20", "--warm-up", "3"],
            lambda: warm_up(step_decay(0.4, 64, milestones=(10, 20), n_epochs=30, factor=5), 3),
        ),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
@pytest.mark.parametrize("rule", ["linear", "exact", "sqrt"])
def test_schedules_of_every_shape_by_every_rule(capsys, options, made, rule):
    argv = [*SMOOTH, *options, "--rule", rule, "--multiple-of", "16", "--max-batch-size", "5000", "--json"]
    text = call(capsys, *argv)[1]
    grown = grow_batch(made(), 50_000, rule=rule, multiple_of=16, max_batch_size=5000)
    assert Schedule.from_json(text) == grown
    answer = json.loads(text)
    assert Schedule.from_json(json.dumps(answer["decaying"])) == made()
    assert answer["rule"] == rule
    moving = [entry for entry in answer["growing"]["stages"] if "final_learning_rate" in entry]
    assert all(entry["final_noise_scale"] != entry["noise_scale"] for entry in moving)


def test_a_schedule_in_text_has_its_saving_in_the_last_line(capsys):
    text = call(capsys, *SMOOTH, "--shape", "cosine", "--max-batch-size", "5000")[1]
    plain, grown = (
        cosine_decay(0.4, 64, n_epochs=30),
        grow_batch(cosine_decay(0.4, 64, n_epochs=30), 50_000, max_batch_size=5000),
    )
    counts = [each.n_updates(50_000) for each in (grown, plain)]
    assert text.splitlines()[-1] == f"growing the batch leaves {counts[0]} of {counts[1]} updates, {counts[0] / counts[1]:.1%}"
    assert text.count("...") == 2  # of 30 stages some are left out, in both tables
    by_examples = call(capsys, *SMOOTH, "--shape", "cosine", "--by", "examples")[1].splitlines()
    assert by_examples[1].split()[0] == "examples"
    assert by_examples[2].split()[0] == "1-50000"
    assert call(capsys, *SMOOTH, "--milestones", "9", "--exact", "--json") == call(
        capsys, *SMOOTH, "--milestones", "9", "--rule", "exact", "--json"
    )


@pytest.mark.parametrize(("suffix", "magic"), [("png", b"\x89PNG"), ("PDF", b"%PDF"), ("svg", b"<?xml")])
def test_a_schedule_can_be_drawn(capsys, tmp_path, suffix, magic):
    path = tmp_path / f"new/schedule.{suffix}"
    status, text, _ = call(capsys, *SMOOTH, "--shape", "cosine", "--warm-up", "3", "--plot", str(path))
    assert status == 0
    assert path.read_bytes().startswith(magic)
    assert text == call(capsys, *SMOOTH, "--shape", "cosine", "--warm-up", "3")[1]


@pytest.mark.parametrize(
    ("options", "status", "message"),
    [
        ([], 2, "error: milestones must be given for steps: --milestones 60 120 160, or another --shape"),
        (["--shape", "cosine", "--milestones", "3"], 2, "error: milestones must be left out for --shape cosine, got [3]"),
        (["--shape", "cosine", "--factor", "3"], 2, "error: factor must be left out for --shape cosine, got 3.0"),
        (["--milestones", "3", "--final", "0.1"], 2, "error: final must be left out for --shape step, got 0.1"),
        (["--shape", "linear", "--decay-epochs", "3"], 2, "error: decay_epochs must be left out for --shape linear, got 3"),
        (
            ["--shape", "wsd", "--warm-up", "20", "--decay-epochs", "11"],
            2,
            "error: decay_epochs must be an integer from 0 to n_epochs - warm_up=10, got 11",
        ),
        (["--shape", "exponential"], 2, "error: final must be finite and above 0 and at most learning_rate=0.4, got 0.0"),
        (["--shape", "cosine", "--multiple-of", "48"], 2, "error: multiple_of must divide the schedule's first batch size, 64"),
        (
            ["--shape", "cosine", "--warm-up", "31"],
            2,
            "error: warm_up must be an integer from 0 to n_epochs=30, got 31",
        ),
        (["--shape", "cosine", "--momentum", "1"], 2, "error: momentum must be finite and at least 0 and below 1, got 1.0"),
        (["--shape", "cosine", "--plot", "x.doc"], 2, "error: plot must be a file that ends in .png, .pdf, .svg, got 'x.doc'"),
        (["--shape", "cosine", "--plot", f"{__file__}/x.png"], 1, "sgdnoise schedule: error: ["),
        (["--shape", "cosine", "--rule", "sqrt", "--exact"], 2, "argument --exact: not allowed with argument --rule"),
    ],
)
def test_what_is_no_schedule_is_refused(capsys, options, status, message):
    found, out, err = call(capsys, *SMOOTH, *options)
    assert (found, out) == (status, "")
    assert message in err


@pytest.mark.parametrize("n_train", [1000, 1009])
@pytest.mark.parametrize(
    ("command", "last"),
    [
        (["convert"], ["--to-batch-size"]),
        (["schedule", "--milestones", "1", "--n-epochs", "2", "--factor", "10"], ["--max-batch-size"]),
    ],
    ids=["convert", "schedule"],
)
def test_a_batch_of_a_tenth_of_the_data_is_not_yet_warned_of(capsys, command, last, n_train):
    """100 of 1000, and of 1009, whose tenth is between two whole numbers; 101 is too large for both."""
    argv = [*command, "--learning-rate", "0.1", "--batch-size", "20", "--n-train", str(n_train), *last]
    for batch_size, n_warnings in (("100", 0), ("101", 1)):
        warnings = json.loads(call(capsys, *argv, batch_size, "--json")[1])["warnings"]
        assert len(warnings) == n_warnings
        assert all(text.startswith(f"batch size above N/10 = {n_train / 10:g}") for text in warnings)
        text = call(capsys, *argv, batch_size)[1]
        assert f" {batch_size} " in text
        assert text.count("warning: batch size above N/10") == n_warnings


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        ([*CONVERT, "--to-batch-size", "60000"], "to_batch_size must be an integer from 1 to n_train=50000, got 60000"),
        ([*CONVERT, "--to-batch-size", "0"], "to_batch_size must be an integer from 1"),
        ([*CONVERT, "--to-momentum", "1.0"], "to_momentum must be"),
        ([*CONVERT, "--to-learning-rate", "nan"], "to_learning_rate must be finite"),
        ([*CONVERT], "one of the arguments --to-batch-size"),
        (
            ["convert", "--learning-rate", "0.1", "--batch-size", "9", "--n-train", "9", "--to-batch-size", "1"],
            "no noise to keep",
        ),
        (
            [*CONVERT, "--learning-rate", "1e-200", "--to-learning-rate", "1e200", "--json"],
            "the result must be finite, got inf",
        ),
        ([*CONVERT, "--learning-rate", "1e306", "--to-batch-size", "49999", "--json"], "the result must be finite, got inf"),
        ([*SCHEDULE, "--learning-rate", "1e307", "--json"], "the result must be finite, got inf"),
        ([*SCHEDULE, "--momentum", "1"], "momentum must be finite and at least 0 and below 1"),
        ([*SCHEDULE, "--factor", "1e200"], "learning_rate must be finite and above 0"),
        ([*SCHEDULE, "--factor", "0.5"], "factor must be finite and above 1"),
        ([*SCHEDULE, "--max-batch-size", "64"], "max_batch_size must be an integer from 128"),
        (
            ["reproduce", "fig99"],
            f"figure must be one of {', '.join(map(repr, FIGURES))}, got 'fig99'",
        ),
        (["reproduce", "fig1", "--jobs", "0"], "jobs must be an integer, at least 1"),
        (["reproduce", "fig1", "--jobs", "1", "--dask", "tcp://127.0.0.1:1"], "--dask: not allowed with argument --jobs"),
        (["reproduce", "fig1", "--engine", "warp"], "invalid choice: 'warp'"),
    ],
)
def test_bad_arguments_end_with_status_2_and_one_clear_line(capsys, argv, message):
    status, out, err = call(capsys, *argv)
    assert (status, out) == (2, "")
    assert re.search(message, err.splitlines()[-1])


def test_the_figures_are_listed(capsys):
    status, out, _ = call(capsys, "reproduce", "--list")
    assert status == 0
    assert [line.split()[0] for line in out.splitlines()] == list(FIGURES)
    assert "Figure 2: equal noise" in out


def test_dask_is_optional(capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "distributed", None)
    status, _, err = call(capsys, "reproduce", "fig1", "--dask", "tcp://127.0.0.1:1")
    assert status == 2
    assert '--dask needs the package distributed: pip install "sgdnoise[cluster]"' in err


def test_the_module_runs_as_a_program():
    run = subprocess.run([sys.executable, "-m", "sgdnoise", "--version"], capture_output=True, text=True, check=True)
    assert run.stdout == f"sgdnoise {__version__}\n"
    built = subprocess.run(
        [sys.executable, "-W", "error", "-m", "sgdnoise.datasets", "nowhere"], capture_output=True, text=True
    )
    assert built.returncode == 1
    assert "error: directory must hold train-images-idx3-ubyte" in built.stderr


@pytest.mark.parametrize("argv", [[*SCHEDULE, "--json"], [*CONVERT, "--to-batch-size", "256"], ["reproduce", "--list"]])
def test_a_reader_who_has_gone_is_no_error(argv):
    """As after ``sgdnoise schedule | head -1``."""
    read, write = os.pipe()
    os.close(read)
    run = subprocess.run([sys.executable, "-m", "sgdnoise", *argv], stdout=write, stderr=subprocess.PIPE, text=True)
    os.close(write)
    assert (run.returncode, run.stderr) == (141, "")
