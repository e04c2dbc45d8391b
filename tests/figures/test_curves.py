"""Training curves: distances, agreement, final accuracies, tables and lines, against numbers worked out by hand."""

import numpy as np
import pytest
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from scipy.stats import sem

from sgdnoise import Schedule, Stage, sgd
from sgdnoise.reproduce import SCALES, Scale, TrainingTask
from sgdnoise.reproduce.figures.curves import (
    Curve,
    agreement,
    curve_rows,
    curves_of,
    distance,
    draw_mean,
    final_accuracy,
    stages_of,
    stopped_accuracy,
    training_tasks,
)

pytestmark = pytest.mark.usefixtures("few_resamples")

SCHEDULES = {"a": Schedule([Stage(1, 0.1, 128), Stage(2, 0.02, 640)]), "b": Schedule([Stage(3, 0.5, 50_000)])}
EVERYONE = np.arange(2)


def curve(loss, n_updates=None, accuracy=None):
    loss = np.array(loss, float)
    n_updates = np.arange(1, loss.shape[1] + 1) if n_updates is None else np.array(n_updates)
    return Curve([], n_updates, loss, loss if accuracy is None else np.array(accuracy, float))


def test_tasks_and_curves_go_by_schedule_and_seed():
    scale = Scale(3, 2, engine="reference")
    tasks = training_tasks(SCHEDULES, scale, sgd(0.5))
    assert tasks == [TrainingTask(s, seed, sgd(0.5), 1e-4, "reference") for s in SCHEDULES.values() for seed in (0, 1)]
    results = iter([{"train_loss": 10 * i + np.arange(3), "test_accuracy": 100 + i + np.arange(3)} for i in range(5)])
    a, b = (curves := curves_of(SCHEDULES, results, scale)).values()
    assert list(curves) == ["a", "b"]
    assert next(results)["train_loss"][0] == 40  # one more than they asked for
    assert a.train_loss.tolist() == [[0, 1, 2], [10, 11, 12]]
    assert b.train_loss.tolist() == [[20, 21, 22], [30, 31, 32]]
    assert b.test_accuracy.tolist() == [[102, 103, 104], [103, 104, 105]]
    assert a.n_updates.tolist() == [390, 468, 546]
    assert b.n_updates.tolist() == [1, 2, 3]
    assert a.stages == stages_of(SCHEDULES["a"]) == [[1, 0.1, 128], [2, 0.02, 640]]
    assert a.train_accuracy is a.test_loss is a.momentum is None


def test_curves_have_the_metrics_that_are_asked_for():
    names = ("train_loss", "train_accuracy", "test_loss", "test_accuracy")
    results = iter([{name: np.full(3, i) for i, name in enumerate(names)} for _ in range(2)])
    for made in curves_of(SCHEDULES, results, SCALES["quick"], names).values():
        assert [getattr(made, name).tolist() for name in names] == [[[i] * 3] for i in range(4)]


def test_final_accuracy_is_the_mean_of_the_last_tenth():
    assert final_accuracy(np.arange(40.0)) == pytest.approx(37.5)
    assert final_accuracy(np.arange(10.0).reshape(2, 5)) == pytest.approx([4, 9])
    assert final_accuracy(np.arange(19.0)) == 18
    assert final_accuracy(np.arange(20.0)) == 18.5
    assert final_accuracy(np.arange(200.0)) == pytest.approx(189.5)
    assert curve(np.zeros((2, 20)), accuracy=np.arange(40.0).reshape(2, 20)).final == pytest.approx([18.5, 38.5])


def test_stopped_accuracy_is_that_of_the_last_epochs_before_the_step():
    accuracy = np.arange(80.0).reshape(2, 40)
    assert stopped_accuracy(curve(np.zeros((2, 40)), accuracy=accuracy), 12) == pytest.approx([9.5, 49.5])
    assert stopped_accuracy(curve(np.zeros((2, 5)), accuracy=accuracy[:, :5]), 2) == pytest.approx([1, 41])


# Three schedules of two seeds and five epochs, the step after two of them.
CURVES = {
    "decaying": curve([[9, 8, 5, 3, 2], [7, 6, 3, 3, 4]], [10, 20, 30, 40, 50]),  # mean 8, 7, 4, 3, 3
    "one": curve([[0, 0, 5, 1, 2], [0, 0, 4, 1, 4]], [10, 20, 22, 25, 40]),  # mean 0, 0, 4.5, 1, 3: 0.5, 2 and 0 apart
    "two": curve([[8, 7, 4, 3, 2], [8, 7, 4, 3, 1]], [10, 20, 25, 30, 35]),  # mean 8, 7, 4, 3, 1.5: 1.5 in the end
    "control": curve([[0, 0, 4, 3, 12], [0, 0, 4, 3, 10]], [10, 20, 30, 40, 50]),  # 8 in the end
}


def test_distance():
    """Of means over seeds, after the step, either way."""
    assert distance(CURVES, "one", 2, EVERYONE) == 2
    assert distance(CURVES, "two", 2, EVERYONE) == 1.5
    assert distance(CURVES, "two", 0, EVERYONE) == 1.5
    assert distance(CURVES, "one", 1, EVERYONE) == 7  # with an epoch before the step
    assert distance(CURVES, "control", 2, EVERYONE) == 8
    assert distance(CURVES, "one", 2, np.array([1, 1])) == 2
    assert distance(CURVES, "control", 2, np.array([0, 0, 1])) == pytest.approx((2 * 10 + 6) / 3)


def test_distance_at_equal_updates():
    """Decaying is at 7, 4, 3, 3 after 20, 30, 40 and 50 updates, so at 6.4, 5.5, 4 and 3.5 after 22, 25, 30 and 35."""
    assert distance(CURVES, "one", 2, EVERYONE, at_equal_updates=True) == pytest.approx(4.5)  # 5.5 less 1
    assert distance(CURVES, "one", 4, EVERYONE, at_equal_updates=True) == pytest.approx(0)
    assert distance(CURVES, "two", 2, EVERYONE, at_equal_updates=True) == pytest.approx(2)  # 3.5 less 1.5
    assert distance(CURVES, "control", 2, EVERYONE, at_equal_updates=True) == pytest.approx(8)


@pytest.mark.parametrize(
    ("names", "value", "control"),
    [
        (("one",), 2 / 8, 4.5 / 8),
        (("two",), 1.5 / 8, 2 / 8),
        (("one", "two"), 2 / 8, 4.5 / 8),
        (("two", "one"), 2 / 8, 4.5 / 8),
    ],
)
def test_agreement_is_the_worst_distance_in_units_of_the_controls(names, value, control):
    verdict = agreement("k", "c", "s", CURVES, names, 2)
    assert (verdict.key, verdict.claim, verdict.source) == ("k", "c", "s")
    assert verdict.value == pytest.approx(value)
    assert verdict.control.value == pytest.approx(control)
    assert verdict.threshold == 0.1
    assert not verdict.holds
    assert verdict.control_flagged
    assert verdict.interval is None  # two seeds


def test_agreement_resamples_seeds():
    """Of ten seeds each is 0.1 or 0.3 apart and the control 2, so that the interval lies between 0.05 and 0.15."""
    zero, far = np.zeros((10, 4)), np.where(np.arange(10) < 5, 0.1, 0.3)[:, None] + np.zeros(4)
    curves = {"decaying": curve(zero), "one": curve(far), "control": curve(zero - 2)}
    verdict = agreement("k", "c", "s", curves, ("one",), 2)
    assert verdict.value == pytest.approx(0.1)
    assert 0.05 < verdict.interval[0] < 0.09
    assert 0.11 < verdict.interval[1] < 0.15
    # A control that is ten times as far in every seed, and so in every resample.
    verdict = agreement("k", "c", "s", curves | {"control": curve(-10 * far)}, ("one",), 2)
    assert (verdict.value, *verdict.interval) == pytest.approx((0.1, 0.1, 0.1))


def test_rows_of_curves():
    curves = {"a": curve([[1, 2], [3, 4]], [10, 20], [[5, 6], [7, 8]]), "b": curve([[9, 9]], [30, 40], [[9, 9]])}
    assert curve_rows(curves, ("test_accuracy", "train_loss"), ["x"]) == [
        ["x", "a", 0, 1, 10, 5.0, 1.0],
        ["x", "a", 0, 2, 20, 6.0, 2.0],
        ["x", "a", 1, 1, 10, 7.0, 3.0],
        ["x", "a", 1, 2, 20, 8.0, 4.0],
        ["x", "b", 0, 1, 30, 9.0, 9.0],
        ["x", "b", 0, 2, 40, 9.0, 9.0],
    ]
    assert curve_rows(curves, ("train_loss",))[-1] == ["b", 0, 2, 40, 9.0]
    assert {type(cell) for row in curve_rows(curves, ("train_loss",)) for cell in row} == {str, int, float}  # no NumPy ones


def test_a_band_is_one_standard_error_wide():
    values = np.random.default_rng(0).normal(size=(5, 3))
    axis, x = Figure().subplots(), np.array([1.0, 2.0, 4.0])
    mean = draw_mean(axis, x, values, color="#D55E00", linestyle="--", label="l")
    assert mean == pytest.approx(values.sum(axis=0) / 5)
    (line,), (band,) = axis.lines, axis.collections
    assert line.get_xydata() == pytest.approx(np.column_stack([x, mean]))
    assert (line.get_color(), line.get_linestyle(), line.get_label()) == ("#D55E00", "--", "l")
    assert to_hex(band.get_facecolor()[0]) == "#d55e00"
    corners = band.get_paths()[0].vertices
    for i in range(3):
        ys = corners[corners[:, 0] == x[i], 1]
        assert (ys.min(), ys.max()) == pytest.approx((mean[i] - sem(values[:, i]), mean[i] + sem(values[:, i])))


def test_one_seed_has_a_band_of_no_width():
    axis = Figure().subplots()
    assert draw_mean(axis, np.arange(3), np.array([[1.0, 2.0, 4.0]]), color="k").tolist() == [1, 2, 4]
    corners = axis.collections[0].get_paths()[0].vertices
    assert {(x, y) for x, y in corners.tolist()} == {(0, 1), (1, 2), (2, 4)}
