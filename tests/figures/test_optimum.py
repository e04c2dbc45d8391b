"""Figure `optimum`: its fit against scipy's, its gains by hand, and what its statistics say on curves that are known."""

import math
from dataclasses import replace

import numpy as np
import pytest
from driving import drive, first_tasks, round_trip
from scipy import optimize, stats

from sgdnoise.reproduce import SCALES
from sgdnoise.reproduce.figures import optimum
from sgdnoise.reproduce.tasks.few_images import ConstantRateTask

pytestmark = pytest.mark.usefixtures("few_resamples")

RATES, SIZES, MOMENTA = (0.02, 0.04, 0.08, 0.12, 0.16), (500, 1000, 2000), (0.5, 0.8, 0.9, 0.95)
TRIED = {
    (1000, 0.02, 0.9): [8, 11, 16, 32, 64, 128],
    (1000, 0.04, 0.9): [16, 23, 32, 64, 128, 256, 1000],
    (1000, 0.08, 0.9): [32, 45, 64, 128, 256, 1000],
    (1000, 0.12, 0.9): [64, 91, 128, 256, 1000],
    (1000, 0.16, 0.9): [64, 91, 128, 256, 512, 1000],
    (500, 0.08, 0.9): [23, 32, 64, 128, 256],
    (2000, 0.08, 0.9): [45, 64, 128, 256, 512],
    (1000, 0.08, 0.5): [8, 11, 16, 32, 64, 128],
    (1000, 0.08, 0.8): [16, 23, 32, 64, 128],
    (1000, 0.08, 0.95): [64, 91, 128, 256, 512],
}
SERIES = {
    "learning rate": [(1000, rate, 0.9) for rate in RATES],
    "training-set size": [(n, 0.08, 0.9) for n in SIZES],
    "momentum": [(1000, 0.08, m) for m in MOMENTA],
}


def best_of(n, rate, m, exponents=(1.0, 1.0, 1.0)):
    """Where `curve` has its maximum: 100 eps/.08 N/1000 .1/(1 - m), each to its power."""
    factors = (rate / 0.08, n / 1000, 0.1 / (1 - m))
    return 100 * math.prod(factor**power for factor, power in zip(factors, exponents, strict=True))


def curve(task, exponents=(1.0, 1.0, 1.0), slope=0.002, scatter=0.0):
    """Accuracy of .8 less `slope` for a doubling of the batch and what makes the maximum, times 1 + `scatter` by seed."""
    best = best_of(task.n_train, task.learning_rate, task.momentum, exponents)
    b = task.batch_size
    accuracy = 0.8 - slope * math.log2(b) - slope / (3 * math.log(2)) * (best / b) ** 3
    noise = np.random.default_rng((b, round(1e4 * task.learning_rate), task.n_train)).normal(size=task.n_seeds)
    return accuracy + scatter * noise


def made(answer=curve, scale="default", **changes):
    return drive(
        optimum, SCALES[scale], lambda tasks: [{"test_accuracy": np.asarray(answer(task, **changes))} for task in tasks]
    )


def failing(verdicts):
    return {key for key, verdict in verdicts.items() if not verdict.holds}


def test_the_tasks():
    """All settings at equal updates: 1500, up to whole epochs."""
    tasks = first_tasks(optimum, SCALES["default"])
    expected = [(n, rate, b, m) for (n, rate, m), sizes in TRIED.items() for b in sizes]
    assert [(task.n_train, task.learning_rate, task.batch_size, task.momentum) for task in tasks] == expected
    assert tasks[6] == ConstantRateTask(1000, 0.04, 16, 0.9, 24, 7, 200, "fast")  # 62 updates an epoch
    for task in tasks:
        assert task == replace(tasks[6], **{k: getattr(task, k) for k in ("n_train", "learning_rate", "batch_size", "momentum")},
                               n_epochs=task.n_epochs)  # fmt: skip
        assert abs(task.n_epochs * (task.n_train // task.batch_size) - 1500) <= (task.n_train // task.batch_size) / 2
    assert sum(task.batch_size == task.n_train for task in tasks) == 4
    quick = first_tasks(optimum, SCALES["quick"])
    assert [task.batch_size for task in quick] == [b for sizes in TRIED.values() for b in sizes[-3:]]
    assert {task.n_seeds for task in quick} == {2}
    assert [task.n_epochs for task in quick[:6]] == [1, 1, 3, 3, 7, 20]  # about 20 updates; 31, 15, 7, 7, 3 and 1 an epoch
    assert {task.engine for task in first_tasks(optimum, replace(SCALES["default"], engine="reference"))} == {"reference"}


def test_the_result_on_curves_of_the_fitted_form():
    result, _ = made()
    assert (result.n_updates, result.n_seeds) == (1500, 7)
    assert [(s.n_train, s.learning_rate, s.momentum) for s in result.settings] == list(TRIED)
    for setting, (at, sizes) in zip(result.settings, TRIED.items(), strict=True):
        assert setting.batch_sizes == sizes
        assert setting.accuracy.shape == (7, len(sizes))
        best = best_of(*at)
        assert setting.fit == pytest.approx([0.8, 0.002, 0.002 / (3 * math.log(2)) * (best / 16) ** 3])
        assert setting.best_batch == pytest.approx(best)
        assert setting.interval == pytest.approx((best, best))
        # the maximum of the fitted curve, found by search
        found = optimize.minimize_scalar(lambda x, s=setting: -optimum.smooth_accuracy(s.fit, np.exp(x)), (3, 5))
        assert math.exp(found.x) == pytest.approx(best, rel=1e-4)
    assert {name: exponent.value for name, exponent in result.exponents.items()} == pytest.approx(dict.fromkeys(SERIES, 1))


def noisy_settings():
    """Two settings of 5 seeds and their own batch sizes; the first batch of the first is far below the rest."""
    rng = np.random.default_rng(3)
    settings = []
    for sizes, a, d in (([8, 16, 32, 64, 256], 0.8, 0.012), ([32, 64, 128, 512], 0.85, 0.2)):
        x = np.array(sizes)
        mean = a - 0.004 * np.log2(x) - d * (16 / x) ** 3
        scatter = rng.normal(size=(5, len(x))) * np.linspace(0.001, 0.006, len(x))
        settings.append(optimum.Setting(1000, 0.08, 0.9, sizes, mean + scatter))
    return settings


def scipys_fit(settings, draw):
    """A of each setting, their d, and one s, by weighted least squares over the points within .05 of their setting's best."""
    points = []
    for i, setting in enumerate(settings):
        means = setting.accuracy.mean(axis=0)
        for b, column in zip(setting.batch_sizes, setting.accuracy.T, strict=True):
            if column.mean() >= means.max() - 0.05:
                points.append((i, b, column[draw].mean(), math.hypot(stats.sem(column), 0.001)))
    i, b, y, error = np.array(points).T
    own = i[:, None] == np.arange(len(settings))

    def model(x, *p):
        a, d = own @ p[:2], own @ p[2:4]
        return a - p[4] * np.log2(b) - d * (16 / b) ** 3

    a0, a1, d0, d1, s = optimize.curve_fit(model, b, y, p0=[0.8, 0.8, 0.1, 0.1, 0.01], sigma=error)[0]
    assert len(points) == 8
    return np.array([[a0, s, d0], [a1, s, d1]])


@pytest.mark.parametrize("draw", [[0, 1, 2, 3, 4], [3, 3, 0, 1, 3]])
def test_the_fit_is_scipys_weighted_one_to_the_seeds_drawn(draw):
    """Weights and window are those of all seeds."""
    settings = noisy_settings()
    optima, expected = optimum.Optima(settings), scipys_fit(settings, draw)
    assert optima.curves(np.array(draw)) == pytest.approx(expected, rel=1e-5, abs=1e-6)
    best = 16 * (3 * expected[:, 2] * math.log(2) / expected[:, 1]) ** (1 / 3)
    assert optima.best(np.array(draw)) == pytest.approx(best, rel=1e-4)


@pytest.mark.parametrize(
    ("slope", "cliff", "best"),
    [
        (0.002, 0.002 / (3 * math.log(2)) * 2**3, 32),
        (0.002, 0.002 / (3 * math.log(2)) / 4**3, 16),  # it would be 4
        (0.002, -0.002, 16),  # it has none
        (0.0002, 0.0002 / (3 * math.log(2)) * 100**3 / 1e4, 16 * (100**3 / 1e4) ** (1 / 3)),
        (0.00001, 0.00001 / (3 * math.log(2)) * 20**3, 256),  # it would be 320
        (-0.002, 0.002, 256),  # a larger batch costs nothing
    ],
)
def test_the_optimum_is_one_of_the_range_tried(slope, cliff, best):
    sizes = [16, 32, 64, 256]
    accuracy = [0.8 - slope * math.log2(b) - cliff * (16 / b) ** 3 for b in sizes]
    setting = optimum.Setting(1000, 0.08, 0.9, sizes, np.array([accuracy] * 4))
    assert optimum.Optima([setting]).best(np.arange(4)) == pytest.approx([best])


@pytest.mark.parametrize(
    "exponents", [(1.0, 1.0, 1.0), (0.5, 1.0, 1.0), (1.0, 0.5, 1.0), (1.0, 1.0, 1.5), (0.8, 1.2, 0.6), (1.0, 0.1, 1.0)]
)
def test_exponents(exponents):
    result, verdicts = made(exponents=exponents)
    for series, exponent in zip(SERIES, exponents, strict=True):
        assert result.exponents[series].value == pytest.approx(exponent, abs=1e-6)
        assert verdicts[series].value == pytest.approx(abs(exponent - 1), abs=1e-6)
        assert verdicts[series].control.value == pytest.approx(abs(exponent / 2 - 1), abs=1e-6)
        assert verdicts[series].statistic == f"|exponent - 1|, the exponent being {exponent:.2f}"
        assert verdicts[series].holds == (abs(exponent - 1) <= 0.3)
        assert verdicts[series].control_flagged == (exponent != 1.5)


def test_verdicts():
    _, verdicts = made(scatter=2e-4)
    assert list(verdicts) == ["full batch", "smallest batch", "learning rate", "training-set size", "momentum"]
    assert failing(verdicts) == set()
    for verdict in verdicts.values():
        assert verdict.control_flagged, str(verdict)
        assert verdict.interval[0] < verdict.interval[1], str(verdict)
    # Without a loss at large batches there is no optimum: the largest batch is as good as any.
    assert failing(made(scatter=2e-4, slope=0.0)[1]) >= {"full batch", "smallest batch"}
    assert "full batch" in failing(made(scatter=2e-2)[1])


# gains


def test_gains_by_hand():
    accuracy = np.array([[0.1, 0.5, 0.41, 0.2], [0.1, 0.3, 0.4, 0.1], [0.9, 0.6, 0.6, 0.3]])
    # Means of the other seeds: (.5, .45, .5, .2), (.5, .55, .505, .25), (.1, .4, .405, .15); the best two are columns
    # 0 and 2, 1 and 2, 1 and 2.
    assert optimum.gains(accuracy) == pytest.approx([(0.1 + 0.41) / 2 - 0.2, (0.3 + 0.4) / 2 - 0.1, 0.6 - 0.3])
    assert optimum.gains(accuracy, 0) == pytest.approx([(0.1 + 0.41) / 2 - 0.1, (0.3 + 0.4) / 2 - 0.1, 0.6 - 0.9])


def test_significance():
    assert optimum.significance(np.array([1.0, 2.0, 3.0])) == pytest.approx(2 * 3**0.5)
    assert optimum.significance(np.array([2.0, 2.0, 2.0])) == 0


def test_the_gain_is_0_on_average_where_there_is_none():
    """2000 tables of pure noise: 5 standard errors, false positives below 1e-6. The best of all on the same seeds is far off."""
    tables = np.random.default_rng(0).normal(size=(2000, 6, 5))
    honest = np.array([optimum.gains(table).mean() for table in tables])
    naive = np.array([(table.mean(axis=0).max() - table[:, -1].mean()) for table in tables])
    assert abs(honest.mean()) < 5 * stats.sem(honest)
    assert naive.mean() > 20 * stats.sem(naive)


FULL_GAIN = {0.04: 0.03, 0.08: 0.01, 0.12: 0.04, 0.16: 0.02}
SMALLEST_GAIN = {0.04: 0.004, 0.08: 0.012, 0.12: 0.016, 0.16: 0.002}
ABOUT_0 = np.arange(-3, 4)  # over seven seeds; its standard error is sqrt(28/6)/sqrt(7), the root of 2/3


def table(task):
    """.8 at all batch sizes but the full one and the smallest, whose accuracies scatter about .8 less the gain over them."""
    if task.batch_size == 1000:
        return 0.8 - FULL_GAIN[task.learning_rate] - 0.003 * ABOUT_0
    smallest = task.batch_size == TRIED[task.n_train, task.learning_rate, task.momentum][0]
    gain = SMALLEST_GAIN.get(task.learning_rate, 0.0)
    return 0.8 - gain + 0.002 * ABOUT_0 if smallest else np.full(7, 0.8)


def test_gains_of_the_figure_by_hand():
    """The third largest of four: .02 over the full batch, .004 over the smallest. Other settings have no full batch."""
    _, verdicts = made(table)
    assert verdicts["full batch"].value == pytest.approx(0.02 / 0.003 / (2 / 3) ** 0.5)
    assert verdicts["smallest batch"].value == pytest.approx(0.004 / 0.002 / (2 / 3) ** 0.5)  # 2.4
    assert verdicts["full batch"].statistic == "gain over the full batch (2.00 points) in standard errors, the third largest"
    assert "(0.40 points)" in verdicts["smallest batch"].statistic
    assert verdicts["full batch"].holds
    assert not verdicts["smallest batch"].holds


def gain_in_errors(accuracy, over):
    """Written out: for each seed the mean of its two columns that are best for the others, less column `over`."""
    found = []
    for i, row in enumerate(accuracy):
        others = [np.mean([accuracy[j][c] for j in range(len(accuracy)) if j != i]) for c in range(len(row))]
        first, second = sorted(range(len(row)), key=lambda c: others[c])[-2:]
        found.append((row[first] + row[second]) / 2 - row[over])
    return np.mean(found) / stats.sem(found)


def test_gains_and_their_control_written_out():
    """The control takes each seed's accuracies that are, in the mean, within .05 of the best, in an order of their own."""
    result, verdicts = made(lambda task: curve(task, scatter=3e-3) - 0.1 * (task.batch_size in (16, 91)))
    tables = [s.accuracy for s in result.settings if s.batch_sizes[-1] == s.n_train]
    rng, shuffled = np.random.default_rng(0), []
    for accuracy in tables:
        means = accuracy.mean(axis=0)
        near = [column for column, mean in zip(accuracy.T, means, strict=True) if mean >= means.max() - 0.05]
        shuffled.append(rng.permuted(np.array(near).T, axis=1))
    assert [a.shape[1] for a in tables] == [7, 6, 5, 6]
    assert [a.shape[1] for a in shuffled] == [6, 6, 4, 5]  # three are left out
    for key, over in (("full batch", -1), ("smallest batch", 0)):
        assert verdicts[key].value == pytest.approx(sorted(gain_in_errors(a, over) for a in tables)[1])
        assert verdicts[key].control.value == pytest.approx(sorted(gain_in_errors(a, over) for a in shuffled)[1])


def test_where_the_smallest_batch_is_best_the_optimum_is_not_inside_the_range():
    def falling(task):
        accuracy = curve(task, scatter=2e-4)
        return accuracy if task.n_train != 1000 else 0.8 - 0.002 * math.log2(task.batch_size) + accuracy / 1e3

    _, verdicts = made(falling)
    assert verdicts["full batch"].holds
    assert not verdicts["smallest batch"].holds


# table and picture


def test_rows():
    result, verdicts = made(scatter=1e-3)
    header, *lines = optimum.rows(round_trip(optimum, result, verdicts)[0])
    assert header == ["n_train", "learning_rate", "momentum", "batch_size", "seed", "test_accuracy"]
    assert len(lines) == 7 * sum(len(sizes) for sizes in TRIED.values())
    accuracy = curve(ConstantRateTask(1000, 0.04, 23, 0.9, 1, 7), scatter=1e-3)
    assert lines[7 * 6 + 7 * 2 + 1] == [1000, 0.04, 0.9, 23, 2, pytest.approx(accuracy[2])]


def test_plot():
    result, verdicts = made(exponents=(1.0, 0.5, 1.0), scatter=2e-4)
    figure = optimum.plot(*round_trip(optimum, result, verdicts))
    figure.draw_without_rendering()
    left, right = figure.axes
    curves = [line for line in left.lines if len(line.get_xdata()) == 200]
    triangles = [line for line in left.lines if line.get_marker() == "v"]
    for i, setting in enumerate(result.settings[:5]):
        points, sizes = left.containers[i].lines[0], np.array(setting.batch_sizes)
        assert points.get_xdata().tolist() == setting.batch_sizes
        assert points.get_ydata() == pytest.approx(setting.accuracy.mean(axis=0))
        bars = [segment[1][1] - segment[0][1] for segment in left.containers[i].lines[2][0].get_segments()]
        assert bars == pytest.approx(2 * stats.sem(setting.accuracy), rel=1e-6)
        x, y = curves[i].get_data()
        a, s, d = setting.fit
        assert (x[0], x[-1]) == pytest.approx((sizes[0], sizes[-1]))
        assert y == pytest.approx(a - s * np.log(x) / math.log(2) - d * 4096 / x**3)
        b = setting.best_batch
        assert triangles[i].get_xdata() == [b]
        assert triangles[i].get_ydata() == pytest.approx([a - s * math.log2(b) - d * (16 / b) ** 3])
    found = {(s.n_train, s.learning_rate, s.momentum): s for s in result.settings}
    factors = ([r / 0.08 for r in RATES], [n / 1000 for n in SIZES], [0.1 / (1 - m) for m in MOMENTA])
    for container, aside, at, x in zip(right.containers, (1, 0.96, 1.04), SERIES.values(), factors, strict=True):
        members = [found[setting] for setting in at]
        assert container.lines[0].get_xdata() == pytest.approx(np.array(x) * aside)
        assert container.lines[0].get_ydata() == pytest.approx([s.best_batch for s in members])
        for segment, s in zip(container.lines[2][0].get_segments(), members, strict=True):
            low, high = min(s.interval[0], s.best_batch), max(s.interval[1], s.best_batch)
            assert segment[:, 1] == pytest.approx([low, high])
    labels = [text.get_text() for text in right.get_legend().get_texts()]
    exponent = result.exponents["training-set size"]
    low, high = exponent.interval
    assert labels[1] == f"N: exponent {exponent.value:.2f} ({low:.2f} to {high:.2f})"
    line = right.lines[-1]
    assert line.get_ydata() / line.get_xdata() == pytest.approx(found[1000, 0.08, 0.9].best_batch)
    assert right.get_title(loc="left") == "(b) B$_{opt}$ grows in proportion to eps and 1/(1 - m)"


def test_plot_of_the_quick_scale_where_nothing_is_in_proportion():
    result, verdicts = made(scale="quick", exponents=(0.1, 0.1, 0.1))
    verdicts = {key: replace(verdict, threshold=0.0) for key, verdict in verdicts.items()}
    figure = optimum.plot(*round_trip(optimum, result, verdicts))
    assert figure.axes[1].get_title(loc="left") == "(b) B$_{opt}$"
    texts = [text.get_text() for text in figure.axes[1].get_legend().get_texts()]
    assert texts[0] == f"eps: exponent {result.exponents['learning rate'].value:.2f}"
    assert figure.axes[0].get_ylabel() == "test accuracy after 20 updates"
