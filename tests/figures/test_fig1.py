"""Figure 1: the schedules of the paper, and what the statistic of one noise scale rejects."""

import numpy as np
import pytest
from driving import drive, first_tasks, round_trip

from sgdnoise import Schedule, Stage
from sgdnoise.reproduce import SCALES
from sgdnoise.reproduce.figures import fig1
from sgdnoise.reproduce.figures.paper import paper_schedules, updates_by_epoch

# Stages of the paper at 40 epochs.
EPOCHS = [12, 12, 8, 8]
RATES = {"decaying": [0.1, 0.02, 0.004, 0.0008], "hybrid": [0.1, 0.1, 0.02, 0.004], "increasing": [0.1, 0.1, 0.1, 0.1]}
BATCHES = {"decaying": [128] * 4, "hybrid": [128, 640, 640, 640], "increasing": [128, 640, 3200, 16000]}


def noise_scale(learning_rate, batch_size):
    """With momentum .9."""
    return 10 * learning_rate * (50_000 / batch_size - 1)


@pytest.fixture(scope="module")
def made():
    return drive(fig1, SCALES["default"], lambda tasks: [])


def test_schedules_have_the_papers_proportions():
    schedules = paper_schedules(40)
    assert list(schedules) == ["decaying", "hybrid", "increasing", "control"]
    for name, rates in RATES.items():
        assert [stage.n_epochs for stage in schedules[name]] == EPOCHS
        assert [stage.learning_rate for stage in schedules[name]] == pytest.approx(rates)
        assert [stage.batch_size for stage in schedules[name]] == BATCHES[name]
    assert schedules["control"].stages == (Stage(40, 0.1, 128),)
    counts = {name: schedule.n_updates(50_000) for name, schedule in schedules.items()}
    assert counts == {"decaying": 15600, "hybrid": 6864, "increasing": 5760, "control": 15600}
    assert [stage.n_epochs for stage in paper_schedules(SCALES["full"].n_epochs)["hybrid"]] == [60, 60, 40, 40]
    assert [stage.learning_rate for stage in paper_schedules(200, 1.0)["decaying"]] == pytest.approx([1, 0.2, 0.04, 0.008])
    assert paper_schedules(200, 1.0)["control"].stages == (Stage(200, 1.0, 128),)
    assert SCALES["default"].n_seeds >= 3


def test_updates_by_epoch_count_whole_batches():
    per_epoch = {"decaying": [390] * 40, "hybrid": [390] * 12 + [78] * 28}
    per_epoch["increasing"] = [390] * 12 + [78] * 12 + [15] * 8 + [3] * 8
    for name, n in per_epoch.items():
        assert updates_by_epoch(paper_schedules(40)[name]) == np.cumsum(n).tolist()


def test_nothing_is_trained():
    assert first_tasks(fig1, SCALES["full"]) == []


def test_the_courses(made):
    result, _ = made
    assert (result.n_train, result.momentum, list(result.schedules)) == (50_000, 0.9, ["decaying", "hybrid", "increasing"])
    for name, course in result.schedules.items():
        expected = [list(stage) for stage in zip(EPOCHS, RATES[name], BATCHES[name], strict=True)]
        assert [pytest.approx(stage) for stage in expected] == course.stages
        g = [noise_scale(rate, batch_size) for rate, batch_size in zip(RATES[name], BATCHES[name], strict=True)]
        assert course.noise_scale == pytest.approx(g)
    assert [course.n_updates for course in result.schedules.values()] == [15600, 6864, 5760]


def test_the_statistic_on_the_papers_schedules(made):
    (verdict,) = made[1].values()
    assert verdict.key == "one noise scale"
    assert verdict.value == pytest.approx(1 - noise_scale(0.1, 3200) / noise_scale(0.004, 128))  # 0.062
    assert verdict.control.value == pytest.approx(1 - noise_scale(0.1, 16000) / noise_scale(0.0008, 128))  # 0.318
    assert verdict.value == pytest.approx(1 - 0.938, abs=1e-3)
    assert verdict.control.value == pytest.approx(1 - 0.682, abs=1e-3)
    assert verdict.interval is None
    assert verdict.word == "HOLDS WITHIN B <= N/10"
    assert verdict.control_flagged


@pytest.mark.parametrize(
    ("hybrid", "increasing", "value", "control"),
    [
        ((1.0, 1.0), (1.0, 1.0), 0.0, 0.0),
        ((1.0, 1.0), (1.2, 1.05), 0.2, 0.05),  # more noise than decaying, at B = N/10, which counts
        ((0.7, 1.0), (1.2, 1.0), 0.3, 0.0),  # less, in the other schedule
        ((1.0, 0.2), (1.0, 1.5), 0.0, 0.8),
    ],
)
def test_the_statistic_on_noise_scales_in_given_proportions(monkeypatch, hybrid, increasing, value, control):
    """Of three stages, the last is beyond N/10; batches are those of increasing, rates such that g is in the proportions."""
    batches = (128, 5000, 5001)

    def schedule(proportions):
        rates = [p * 100 / noise_scale(1, b) for p, b in zip((1.0, *proportions), batches, strict=True)]
        return Schedule([Stage(1, rate, b) for rate, b in zip(rates, batches, strict=True)])

    constant = Schedule([Stage(1, 100 / noise_scale(1, 128), 128)] * 3)
    schedules = {"decaying": constant, "hybrid": schedule(hybrid), "increasing": schedule(increasing), "control": constant}
    monkeypatch.setattr(fig1, "paper_schedules", lambda n_epochs: schedules)
    verdict = drive(fig1, SCALES["default"], lambda tasks: [])[1]["one noise scale"]
    assert verdict.value == pytest.approx(value, abs=1e-12)
    assert verdict.control.value == pytest.approx(control, abs=1e-12)
    assert verdict.holds == (value <= 0.1)


def test_rows(made):
    header, *lines = fig1.rows(round_trip(fig1, *made)[0])
    assert header == ["schedule", "stage", "n_epochs", "learning_rate", "batch_size", "noise_scale"]
    assert len(lines) == 12
    assert lines[10] == ["increasing", 3, 8, pytest.approx(0.1), 3200, pytest.approx(noise_scale(0.1, 3200))]


def test_plot(made):
    figure = fig1.plot(*round_trip(fig1, *made))
    figure.draw_without_rendering()
    for axis, values in zip(figure.axes, (RATES, BATCHES, None), strict=True):
        for line, name in zip(axis.lines, RATES, strict=False):
            by_stage = values[name] if values else [noise_scale(*s) for s in zip(RATES[name], BATCHES[name], strict=True)]
            assert line.get_xdata().tolist() == [0, 12, 24, 32, 40]
            assert line.get_ydata() == pytest.approx([*by_stage, by_stage[-1]])
            assert line.get_drawstyle() == "steps-post"
    assert figure.axes[1].lines[3].get_ydata() == [5000, 5000]
    assert [text.get_text() for text in figure.axes[2].texts] == ["at B > N/10 exact g\nis 32% lower"]
