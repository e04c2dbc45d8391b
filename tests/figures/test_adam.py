"""The figure "adam": its rules, and what it says of training losses and accuracies that are known."""

import numpy as np
import pytest
from driving import drive, first_tasks, round_trip

from sgdnoise import Schedule, Stage
from sgdnoise import adam as adam_optimizer
from sgdnoise.reproduce import SCALES, Scale
from sgdnoise.reproduce.figures import adam, fig4
from sgdnoise.reproduce.tasks.training import TrainingTask

pytestmark = pytest.mark.usefixtures("few_resamples")

KEYS = ["square root rule", "linear rule", "loss tells", "accuracy hides", "accuracy hides all"]
SCHEDULES = ("decaying", "hybrid", "control", "square root")

ARMS = {}
"""First batch size, rule and factor of each sweep's run, by its batch size and learning rate."""
for _start, _rate in ((8, 2.5e-4), (128, 1e-3)):
    for _K in (32, 8, 4, 2, 1):
        ARMS[_K * _start, round(_K**0.5 * _rate, 8)] = (_start, "square root", _K)
        ARMS[_K * _start, round(_K * _rate, 8)] = (_start, "linear", _K)
        ARMS[_K * _start, round(_rate, 8)] = (_start, "unscaled", _K)

# log2 K times what a factor of 2 adds to the training loss: the square-root rule keeps it from B = 8, the linear from B = 128.
SLOPES = {
    (8, "unscaled"): 0.04,
    (8, "linear"): -0.02,
    (8, "square root"): 0.0,
    (128, "unscaled"): -0.05,
    (128, "linear"): 0.0,
    (128, "square root"): 0.04,
}
FAR = {"decaying": 0.0, "hybrid": 0.04, "control": -1.0, "square root": -0.3}
"""Training loss against decaying at the epoch, after the first step, where a schedule is farthest from it."""

ENDS = {"decaying": 0.88, "hybrid": 0.95, "control": 0.881, "square root": 0.8786}
"""Final test accuracies."""


def name_of(task):
    """Which schedule a task trains, or its arm of a sweep."""
    last = task.schedule.stages[-1]
    if len(task.schedule) == 4:
        return {128: "decaying", 640: "hybrid", 3200: "square root"}[last.batch_size]
    return "control" if last.n_epochs in (5, 40) else ARMS[last.batch_size, round(last.learning_rate, 8)]


def made_up(slopes=SLOPES, far=FAR, ends=ENDS):
    """Answers: what a seed has of its own, .01 times its number, is the same in all runs."""

    def run(task):
        name, n_epochs, own = name_of(task), task.schedule.n_epochs, 0.01 * task.seed
        epoch = np.arange(n_epochs)
        if not isinstance(name, str):
            start, rule, K = name
            n_last = {1: 1, 3: 1, 10: 3}[n_epochs]
            loss = np.where(epoch < n_epochs - n_last, 9.0 + K, 0.3 + slopes[start, rule] * np.log2(K) + own)
            loss[-n_last:] += np.arange(n_last) - (n_last - 1) / 2  # which the mean takes away
            return {"train_loss": loss}
        first, n_last = round(0.3 * n_epochs), max(1, n_epochs // 10)
        loss = 1 / (1 + epoch) + own
        loss[first] += far[name]
        loss[first + 1] += far[name] / 2 * (name == "control")  # not the farthest
        loss[first - 1] += 7 * (name == "hybrid")  # before the step: does not count
        accuracy = 0.5 + 0 * epoch
        accuracy[first - n_last : first] = 0.8 + (name != "decaying")
        accuracy[-n_last:] = ends[name]
        return {"train_loss": loss, "test_accuracy": accuracy + own}

    return lambda tasks: [run(task) for task in tasks]


# Tasks.


def test_the_rules():
    setting = adam.Setting(8, 2.5e-4, 3)
    assert adam._task(setting, "unscaled", 8, 1) == TrainingTask(Schedule([Stage(3, 2.5e-4, 64)]), 1, adam_optimizer())
    assert adam._task(setting, "linear", 8, 2) == TrainingTask(Schedule([Stage(3, 2e-3, 64)]), 2, adam_optimizer())
    task = adam._task(setting, "square root", 8, 3, "reference")
    assert (task.seed, task.engine) == (3, "reference")
    (stage,) = task.schedule
    assert (stage.n_epochs, stage.batch_size, stage.learning_rate) == (3, 64, pytest.approx(2.5e-4 * np.sqrt(8)))
    # 1 - 8 * .1 and 1 - 8 * .001
    assert vars(task.optimizer) == {
        "b1": pytest.approx(0.2),
        "b2": pytest.approx(0.992),
        "eps": pytest.approx(1e-8 / np.sqrt(8)),
    }
    assert type(task.optimizer) is type(adam_optimizer())


def test_the_square_root_schedule_grows_by_25():
    schedules = adam.growing_schedules(40)
    assert list(schedules) == list(SCHEDULES)
    found = {
        name: [(s.n_epochs, pytest.approx(s.learning_rate), s.batch_size) for s in schedule]
        for name, schedule in schedules.items()
    }
    assert found["square root"] == [(12, 1e-3, 128), (12, 1e-3, 3200), (8, 2e-4, 3200), (8, 4e-5, 3200)]
    assert found["hybrid"] == [(12, 1e-3, 128), (12, 1e-3, 640), (8, 2e-4, 640), (8, 4e-5, 640)]
    assert found["decaying"] == [(12, 1e-3, 128), (12, 2e-4, 128), (8, 4e-5, 128), (8, 8e-6, 128)]
    assert found["control"] == [(40, 1e-3, 128)]


def test_tasks():
    tasks = first_tasks(adam, Scale(40, 2))
    arms = [("unscaled", 1)]
    for K in (2, 4, 8):
        arms += [("unscaled", K), ("linear", K), ("square root", K)]
    arms += [("unscaled", 32), ("linear", 32)]  # 32 (1 - b1) > 1
    expected = [*((start, *arm) for start in (8, 128) for arm in arms), *SCHEDULES]
    assert [(name_of(task), task.seed) for task in tasks] == [(name, seed) for name in expected for seed in range(2)]
    for task in tasks:
        name = name_of(task)
        assert task.schedule.n_epochs == (40 if isinstance(name, str) else {8: 3, 128: 10}[name[0]])
        K = name[2] if "square root" in name[1:2] else 1
        assert vars(task.optimizer) == pytest.approx({"b1": 1 - 0.1 * K, "b2": 1 - 0.001 * K, "eps": 1e-8 / np.sqrt(K)})
    assert {task.engine for task in tasks} == {"fast"}


def test_a_smoke_run_has_the_factor_of_the_claims_alone_and_hands_the_engine_on():
    tasks = first_tasks(adam, Scale(5, 1, engine="reference"))
    arms = [("unscaled", 1), ("unscaled", 8), ("linear", 8), ("square root", 8)]
    assert [name_of(task) for task in tasks] == [*((start, *arm) for start in (8, 128) for arm in arms), *SCHEDULES]
    assert [task.schedule.n_epochs for task in tasks] == [1] * 8 + [5] * 4
    assert {task.engine for task in tasks} == {"reference"}


def test_runs_shared_with_figure_4():
    shared = set(first_tasks(adam, SCALES["default"])) & set(first_tasks(fig4, SCALES["default"]))
    expected = {(name, seed) for name in ("decaying", "hybrid", "control") for seed in range(4)}
    assert {(name_of(task), task.seed) for task in shared} == expected


# What is made of their results.


def test_points_are_means_over_the_last_third_and_curves_those_of_their_schedules():
    result, _ = drive(adam, SCALES["default"], made_up())
    assert result.adam == [0.9, 0.999, 1e-8]
    assert result.first_step == 12
    for panel, (start, rate, n_epochs) in zip(result.panels, ((8, 2.5e-4, 3), (128, 1e-3, 10)), strict=True):
        assert (panel.batch_size, panel.learning_rate, panel.n_epochs, panel.factors) == (start, rate, n_epochs, (2, 4, 8, 32))
        assert len(panel.points) == 12
        for point in panel.points:
            level = 0.3 + SLOPES[start, point.rule] * np.log2(point.factor)
            assert point.train_loss == pytest.approx(level + 0.01 * np.arange(4))
    for name in SCHEDULES:
        assert result.curves[name].train_loss[:, 12] == pytest.approx(1 / 13 + FAR[name] + 0.01 * np.arange(4))
        assert result.curves[name].final == pytest.approx(ENDS[name] + 0.01 * np.arange(4))
    assert result.curves["hybrid"].n_updates[[0, 11, 12, 39]].tolist() == [390, 4680, 4680 + 78, 4680 + 28 * 78]


@pytest.mark.parametrize("scale", ["quick", "default"])
def test_verdicts_on_what_obeys_the_claims(scale):
    _, verdicts = drive(adam, SCALES[scale], made_up())
    expected = {  # value, threshold, control
        "square root rule": (0, 0.25, 0.02 / 0.04),
        "linear rule": (0, 0.25, 0.04 / 0.05),
        "loss tells": (0.3, 0.1, 0.04),
        "accuracy hides": (0.0014, 0.002, 0.08),  # decaying: .88 in the end, .8 at the end of the first stage
        "accuracy hides all": (0.001, 0.002, 0.08),
    }
    assert list(verdicts) == list(expected) == KEYS
    for key, numbers in expected.items():
        verdict = verdicts[key]
        assert (verdict.value, verdict.threshold, verdict.control.value) == pytest.approx(numbers, abs=1e-12)
        assert verdict.holds
        assert verdict.control_flagged
        # What the seeds share drops out: no resample differs from another.
        if scale == "default":
            assert verdict.interval == pytest.approx((verdict.value, verdict.value), abs=1e-12)
        else:
            assert verdict.interval is None
    assert verdicts["square root rule"].word == "HOLDS WITHIN B from 8 to 64"
    assert verdicts["linear rule"].word == "HOLDS WITHIN B from 128 to 1024"
    assert verdicts["square root rule"].claim == "the square root rule keeps Adam's training loss"
    assert (verdicts["square root rule"].control.name, verdicts["linear rule"].control.name) == (
        "the linear rule",
        "the square root rule",
    )
    sources = ["Malladi et al. 2022", "Smith et al. 2018, fig. 4b", *["measured here"] * 3]
    assert [verdict.source for verdict in verdicts.values()] == sources


def test_verdicts_on_what_breaks_them():
    slopes = SLOPES | {(8, "square root"): -0.03, (8, "linear"): 0.0, (128, "linear"): -0.05, (128, "square root"): 0.01}
    far = FAR | {"square root": 0.05, "hybrid": -0.2}
    ends = ENDS | {"square root": 0.883, "control": 0.8765}
    _, verdicts = drive(adam, SCALES["default"], made_up(slopes, far, ends))
    values = {key: (verdict.value, verdict.control.value) for key, verdict in verdicts.items()}
    assert values == {
        "square root rule": pytest.approx((0.75, 0), abs=1e-9),
        "linear rule": pytest.approx((1, 0.2)),
        "loss tells": pytest.approx((0.05, 0.2)),
        "accuracy hides": pytest.approx((0.003, 0.08)),
        "accuracy hides all": pytest.approx((0.0035, 0.08)),
    }
    assert not any(verdict.holds for verdict in verdicts.values())
    assert [key for key, verdict in verdicts.items() if not verdict.control_flagged] == KEYS[:3]


def test_statistics_are_of_means_over_seeds():
    """Two seeds that differ from decaying, or from K = 1, in opposite ways: the differences cancel before the absolute value."""
    apart = np.array([1.0, -1.0, 1.0, -1.0])
    levels = {("unscaled", 1): 0.3, ("unscaled", 2): 5.0, ("unscaled", 8): 0.4, ("linear", 8): 0.25, ("square root", 8): 0.31}
    points = [adam.Point(rule, K, level + 0.08 * apart * (rule == "linear")) for (rule, K), level in levels.items()]
    panel = adam.Panel(16, 1e-3, 3, (2, 8), points=points)
    verdict = adam.rule_verdict(panel, "linear", "square root", "x")
    assert (verdict.value, verdict.control.value) == pytest.approx((0.5, 0.1))
    low, high = verdict.interval
    assert 0 <= low < 0.5 < high <= 1.3 + 1e-12  # the seeds have .3 and -1.3
    assert verdict.scope == "B from 16 to 128"

    result, _ = drive(adam, SCALES["default"], made_up())
    result.curves["square root"].train_loss[:, 30] += 0.5 * apart
    result.curves["control"].train_loss[:, 12] += 0.5 * apart
    result.curves["square root"].test_accuracy[...] += 0.1 * apart[:, None]
    tells, hides, _ = adam.hiding_verdicts(result.curves, 12)
    assert (tells.value, hides.value) == pytest.approx((0.3, 0.0014))
    assert hides.interval[0] <= hides.value < hides.interval[1] <= 0.1014 + 1e-12


# The files.


@pytest.mark.parametrize("scale", ["quick", "default"])
def test_table_from_json_alone(scale):
    n_seeds = SCALES[scale].n_seeds
    result, _ = round_trip(adam, *drive(adam, SCALES[scale], made_up()))
    header, *lines = adam.rows(result)
    assert header == ["batch_size", "factor", "rule", "seed", "train_loss"]
    assert len(lines) == (24 if scale == "default" else 8) * n_seeds + 4 * n_seeds
    assert lines[0] == [8, 1, "unscaled", 0, pytest.approx(0.3)]
    own = 0.01 * (n_seeds - 1)
    K = 32 if scale == "default" else 8
    rule, slope = ("linear", 0) if scale == "default" else ("square root", 0.04)
    assert lines[-4 * n_seeds - 1] == [128, K, rule, n_seeds - 1, pytest.approx(0.3 + slope * np.log2(K) + own)]
    assert lines[-3 * n_seeds - 1] == [128, "", "decaying", n_seeds - 1, pytest.approx(1 / SCALES[scale].n_epochs + own)]


def test_picture_from_json_alone():
    result, verdicts = round_trip(adam, *drive(adam, SCALES["default"], made_up()))
    figure = adam.plot(result, verdicts)
    figure.draw_without_rendering()
    small, large, by_epoch = figure.axes
    assert small.get_title(loc="left") == "(a) from B = 8: square root holds"
    assert large.get_title(loc="left") == "(b) from B = 128: linear holds"
    assert by_epoch.get_title(loc="left") == "(c) schedules: accuracy hides it"
    for axis, start in ((small, 8), (large, 128)):
        assert axis.lines[0].get_ydata() == pytest.approx([0.315, 0.315])
        for bar, rule in zip(axis.containers, ("unscaled", "linear", "square root"), strict=True):
            factors = np.array([1, 2, 4, 8] if rule == "square root" else [1, 2, 4, 8, 32])
            assert bar.lines[0].get_xdata().tolist() == factors.tolist()
            assert bar.lines[0].get_ydata() == pytest.approx(0.315 + SLOPES[start, rule] * np.log2(factors))
            # Seeds 0, .01, .02 and .03 apart: a variance of 5/3 times 1e-4, over 4.
            half = [np.ptp(segment[:, 1]) / 2 for segment in bar.lines[2][0].get_segments()]
            assert half == pytest.approx([0.01 * np.sqrt(5 / 12)] * len(factors))
    labels = [text.get_text() for text in by_epoch.get_legend().get_texts()]
    # Mean over the seeds: 1.5 points above ENDS.
    expected = ["never changes: 89.6%", "rate / 5: 89.5%", "batch x 5, linear: 96.5%", "batch x 25, square root: 89.4%"]
    assert labels == expected
    assert by_epoch.lines[0].get_xdata().tolist() == list(range(1, 41))
    assert by_epoch.lines[0].get_ydata()[12] == pytest.approx(1 / 13 - 1 + 0.015)


def test_titles_go_with_the_verdicts_of_their_panels():
    slopes = SLOPES | {(128, "linear"): -0.05}
    record = round_trip(adam, *drive(adam, SCALES["quick"], made_up(slopes, ends=ENDS | {"square root": 0.9})))
    titles = [axis.get_title(loc="left") for axis in adam.plot(*record).axes]
    expected = ["(a) from B = 8: square root holds", "(b) from B = 128: linear fails", "(c) schedules: accuracy shows it"]
    assert titles == expected
