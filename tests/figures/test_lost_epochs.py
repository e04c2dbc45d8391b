"""What raising momentum costs: first passages, delays and accumulators, and what their statistics reject."""

import math

import numpy as np
import pytest
from driving import drive, first_tasks, round_trip
from matplotlib.container import ErrorbarContainer

from sgdnoise import MLP, load_fashion, minibatches
from sgdnoise.reproduce import SCALES, Scale
from sgdnoise.reproduce.figures import lost_epochs
from sgdnoise.reproduce.figures.lost_epochs import Point, accumulator_verdict, delay, delay_verdicts
from sgdnoise.reproduce.tasks import first_passage
from sgdnoise.reproduce.tasks.first_passage import FirstPassageTask

pytestmark = pytest.mark.usefixtures("few_resamples")

SETTINGS = [(0.9, 128), (0.95, 256), (0.98, 640), (0.99, 1280), (0.995, 2560)]
LOST = [0.0256, 0.1024, 0.64, 2.56, 10.24]  # B/(50000 (1 - m)), which is 0.000256/(1 - m)^2
WITHOUT = [0.00256, 0.00512, 0.0128, 0.0256, 0.0512]  # B/50000


def answer(law, never=()):
    """Answers of tasks that lose ``law(B/(N (1 - m)))`` epochs, paired by seed, and at higher levels some other numbers."""

    def times(task):
        level = 0 if task.batch_size == 32 else law(task.batch_size / (50_000 * (1 - task.momentum)))
        last = np.inf if (task.momentum, task.seed) in never else level
        return {"epochs": np.array([0.5, 1, 2]) + 0.01 * task.seed + np.array([7 * level, 3 * level**2, last])}

    return lambda tasks: [times(task) for task in tasks]


# Tasks.


def test_which_settings_are_run_how_often():
    for name, settings, n_seeds in (("quick", SETTINGS[:3], 2), ("default", SETTINGS, 16), ("full", SETTINGS, 20)):
        tasks = first_tasks(lost_epochs, SCALES[name])
        assert tasks == [FirstPassageTask(m, b, seed, 0.1, 2000) for m, b in [(0.6, 32), *settings] for seed in range(n_seeds)]


def test_the_cost_goes_as_the_root_of_the_epochs_lost():
    assert FirstPassageTask(0.9, 128, 0).cost == pytest.approx(0.5 + 10 * 0.16)
    assert FirstPassageTask(0.995, 2560, 0).cost == pytest.approx(0.5 + 10 * 3.2)


def test_first_passage():
    x, values = np.array([0.0, 1.0, 2.0, 3.0]), np.array([2.0, 1.0, 1.2, 0.0])
    assert first_passage.first_passage(x, values, 1.25) == pytest.approx(0.75)
    assert first_passage.first_passage(x, values, 1.0) == 1
    assert first_passage.first_passage(x, values, 0.6) == pytest.approx(2.5)
    assert first_passage.first_passage(x, values, 3.0) == 0
    assert first_passage.first_passage(x + 4, values, 2.0) == 4
    assert first_passage.first_passage(x, values, -1.0) == np.inf
    assert first_passage.first_passage(x, np.full(4, np.nan), 1.0) == np.inf


@pytest.mark.parametrize(("batch_size", "n_updates"), [(2500, 1), (64, 2), (50, 2), (200, 1)])
def test_first_passage_task_against_a_loop_written_out(batch_size, n_updates):
    """Looked at after every so many updates, and in between taken for linear."""
    data, model, rng = load_fashion(), MLP(196, (128,), 10), np.random.default_rng(2)
    probe = np.random.default_rng(0).choice(50_000, 300, replace=False)

    def look(w):
        return model.loss(w, data.X_train[probe], data.y_train[probe])

    def updates():
        while True:
            yield from minibatches(50_000, batch_size, rng=rng)

    w = model.init(rng, np.float32)
    a, before, levels, expected = np.zeros_like(w), look(w), [1.5, 1.0, 0.5], []
    for done, batch in enumerate(updates(), start=1):
        a = np.float32(0.8) * a + model.gradient(w, data.X_train[batch], data.y_train[batch])
        w = w - np.float32(0.2) * a
        if done % n_updates == 0:
            after = look(w)
            while levels and after <= levels[0]:
                part = (before - levels.pop(0)) / (before - after)
                expected.append((done - n_updates * (1 - part)) * batch_size / 50_000)
            before = after
        if not levels:
            break
    task = FirstPassageTask(0.8, batch_size, seed=2, learning_rate=0.2, n_probe=300)
    assert task.run()["epochs"] == pytest.approx(expected, rel=1e-4)


def test_a_task_gives_up_after_so_many_epochs(monkeypatch):
    """That of full batches and no learning rate, after 40 looks; the levels that it reached remain."""
    looks = []

    class Model:
        def init(self, rng, dtype):
            return np.zeros(1, dtype)

        def loss_and_gradient(self, params, X, y):
            return 0.0, params

        def evaluate(self, params, X, y):
            looks.append(len(X))
            return 1.8 - 0.4 * (len(looks) > 11), 0.0

    monkeypatch.setattr(first_passage, "network", Model)
    epochs = FirstPassageTask(0.0, 50_000, seed=0).run()["epochs"]
    assert looks == [2000] * 41
    assert epochs.tolist() == [pytest.approx(10.75), np.inf, np.inf]  # three quarters of the way from look 10 to 11


# What is made of them.


def test_what_obeys_the_formula():
    result, verdicts = drive(lost_epochs, SCALES["default"], answer(lambda lost: 1.5 * lost))
    assert list(verdicts) == ["accumulator", "proportional", "size"]
    assert (result.n_train, result.learning_rate, list(result.levels), list(result.seeds)) == (
        50_000,
        0.1,
        [1.5, 1.0, 0.5],
        list(range(16)),
    )
    assert (result.base.momentum, result.base.batch_size) == (0.6, 32)
    np.testing.assert_allclose(result.base.epochs, np.array([0.5, 1, 2]) + 0.01 * np.arange(16)[:, None])
    assert [(point.momentum, point.batch_size) for point in result.points] == SETTINGS
    assert [point.predicted for point in result.points] == pytest.approx(LOST)
    for point, lost in zip(result.points, LOST, strict=True):
        expected = np.tile([10.5 * lost, 6.75 * lost**2, 1.5 * lost], (16, 1))
        np.testing.assert_allclose(point.delay, expected, rtol=1e-9, atol=1e-12)

    proportional, size = verdicts["proportional"], verdicts["size"]
    assert proportional.value == pytest.approx(0, abs=1e-9)
    assert proportional.interval == pytest.approx((0, 0), abs=1e-9)
    assert proportional.control.value == pytest.approx(1)  # B goes as 1/(1 - m), the delay as its square
    assert size.value == pytest.approx(1.5)
    assert size.interval == pytest.approx((1.5, 1.5))
    assert size.control.value == pytest.approx(1.5 * 200)  # 1/(1 - m) of the largest m
    assert all(verdict.holds and verdict.control_flagged for verdict in verdicts.values())


@pytest.mark.parametrize("power", [0.7, 1.3])
def test_another_power_of_the_formula_is_flagged(power):
    verdicts = drive(lost_epochs, SCALES["default"], answer(lambda lost: lost**power))[1]
    assert verdicts["proportional"].value == pytest.approx(0.3)
    assert verdicts["proportional"].control.value == pytest.approx(2 * power - 1)
    # Furthest off is the least momentum, more than the greatest: 3.0 times, not 2.0.
    assert verdicts["size"].value == pytest.approx(0.0256**-0.3)
    assert verdicts["size"].control.value == pytest.approx(10.24**power / 0.0512)
    assert not verdicts["proportional"].holds
    assert not verdicts["size"].holds


def test_b_over_n_is_flagged_and_is_what_the_control_looks_for():
    for factor in (0.8, 1.25):
        delays = [np.full((3, 3), factor * b / 50_000) for _, b in SETTINGS]
        points = [Point(m, b, lost, d) for (m, b), lost, d in zip(SETTINGS, LOST, delays, strict=True)]
        proportional, size = delay_verdicts(points)
        assert proportional.value == pytest.approx(0.5)
        assert proportional.control.value == pytest.approx(0, abs=1e-9)
        assert size.value == pytest.approx(200 / factor)
        assert size.control.value == pytest.approx(1.25)
        for verdict in (proportional, size):
            assert not verdict.holds
            assert not verdict.control_flagged


def test_the_statistics_are_of_means_over_seeds_and_of_the_lowest_level():
    """One setting alone departs, in one of three seeds: the others are the formula."""
    delays = [np.array([[5.0, 6.0, lost]] * 3) for lost in LOST]
    delays[2][:, 2] = [0.2 * 0.64, 0.7 * 0.64, 5.1 * 0.64]  # on average, twice
    points = [Point(m, b, lost, d) for (m, b), lost, d in zip(SETTINGS, LOST, delays, strict=True)]
    proportional, size = delay_verdicts(points)
    assert size.value == pytest.approx(2)
    assert size.control.value == pytest.approx(200)
    # Least squares: ln 2 in the middle moves the slope by ln 2 times its weight (x - mean x)/sum (x - mean x)^2.
    x = [math.log(lost) for lost in LOST]
    mean = sum(x) / 5
    moved = math.log(2) * (x[2] - mean) / sum((value - mean) ** 2 for value in x)
    assert proportional.value == pytest.approx(abs(moved))
    assert proportional.control.value == pytest.approx(1 + 2 * moved)  # the x of B/N are half as far apart
    low, high = size.interval
    assert low < 2 < high <= 5.1 + 1e-9


def test_no_delay_at_all_fails_as_a_millionth_of_an_epoch():
    delays = [np.full((3, 3), lost) for lost in LOST]
    delays[3][:, 2] = -0.5
    points = [Point(m, b, lost, d) for (m, b), lost, d in zip(SETTINGS, LOST, delays, strict=True)]
    proportional, size = delay_verdicts(points)
    assert size.value == pytest.approx(2.56e6)
    assert not proportional.holds


def test_delay():
    inf = np.inf
    raised, base = np.array([[3.0, inf], [inf, 1.0]]), np.array([[1.0, 2.0], [inf, inf]])
    assert delay(raised, base).tolist() == [[2.0, 1e6], [1e6, 1e6]]


@pytest.mark.parametrize(
    ("never", "factor"),
    [
        ({(0.99, 3)}, (15 * 2.56 + 1e6) / 16 / 2.56),
        ({(0.98, 3)}, (15 * 0.64 + 1e6) / 16 / 0.64),
        ({(0.6, 3)}, (15 * 0.0256 + 1e6) / 16 / 0.0256),  # all settings have lost this seed
        ({(0.6, 3), (0.99, 3)}, (15 * 0.0256 + 1e6) / 16 / 0.0256),
        ({(0.6, 2), (0.995, 3)}, (15 * 0.0256 + 1e6) / 16 / 0.0256),
    ],
)
def test_a_run_that_never_reaches_the_level_fails_the_claims_and_leaves_no_nan(never, factor):
    result, verdicts = drive(lost_epochs, SCALES["default"], answer(lambda lost: lost, never))
    assert {key: verdict.holds for key, verdict in verdicts.items()} == {
        "accumulator": True,
        "proportional": False,
        "size": False,
    }
    assert verdicts["proportional"].value == 1e6
    assert verdicts["proportional"].control.value == 1e6
    assert verdicts["size"].value == pytest.approx(factor)
    for point in result.points:
        lost = [seed for seed in range(16) if {(0.6, seed), (point.momentum, seed)} & never]
        assert np.flatnonzero(point.delay[:, 2] == 1e6).tolist() == lost
        assert (point.delay[:, :2] < 1e6).all()
    assert (result.base.epochs[:, 2] == 1e6).tolist() == [(0.6, seed) in never for seed in range(16)]
    lost_epochs.plot(*round_trip(lost_epochs, result, verdicts))


def test_a_level_that_is_never_reached_can_be_drawn():
    result, verdicts = drive(lost_epochs, SCALES["default"], answer(lambda lost: lost, {(0.6, 3), (0.99, 3)}))
    lost_epochs.plot(*round_trip(lost_epochs, result, verdicts)).draw_without_rendering()


# Accumulators.


def test_accumulators_are_the_geometric_sum():
    result, _ = drive(lost_epochs, Scale(5, 1), answer(lambda lost: lost))
    assert list(result.accumulators) == ["0.9", "0.98"]
    for m in (0.9, 0.98):
        assert result.accumulators[str(m)] == pytest.approx([(1 - m**s) / (1 - m) for s in range(1, 401)])


def test_the_paper_s_formula_misses_one_over_one_minus_m_updates():
    for m in (0.9, 0.98):
        s = np.arange(100_000)
        missing = np.sum(1 - lost_epochs.paper_accumulator(s, m) * (1 - m))
        assert missing == pytest.approx(1 / (1 - math.exp(m - 1)))  # sum of exp(-(1-m) s): 1/(1-m) + 1/2 + ...
        assert missing == pytest.approx(1 / (1 - m) + 0.5, rel=1e-3)


def test_the_accumulator_s_verdict_on_sgd():
    verdict = drive(lost_epochs, SCALES["quick"], answer(lambda lost: lost))[1]["accumulator"]
    # |1 - exp(-.1 s) - (1 - .9^s)| is largest at s = 10, and with .98 five times smaller.
    assert verdict.value == pytest.approx(math.exp(-1) - 0.9**10)
    # |1 - exp(-s) - (1 - m^s)|: with m = .98, at s = 4.
    assert verdict.control.value == pytest.approx(0.98**4 - math.exp(-4))
    assert verdict.word == "HOLDS WITHIN m >= .9"
    assert verdict.control_flagged
    assert verdict.interval is None


@pytest.mark.parametrize("factor", [0.7, 1.3])
def test_the_accumulator_s_verdict_on_made_up_ones(factor):
    s = np.arange(1, 401)
    right, wrong = (1 - np.exp(-0.1 * s)) / 0.1, (1 - np.exp(-s)) / 0.1
    assert accumulator_verdict({"0.9": right}).value == pytest.approx(0, abs=1e-12)
    assert accumulator_verdict({"0.9": wrong}).control.value == pytest.approx(0, abs=1e-12)
    both = {"0.9": right, "0.95": factor * (1 - np.exp(-0.05 * s)) / 0.05}
    for accumulators in (both, dict(reversed(both.items()))):  # the worse of two, whichever it is
        verdict = accumulator_verdict(accumulators)
        assert verdict.value == pytest.approx(0.3, rel=1e-6)
        assert not verdict.holds


# Table and picture.


@pytest.mark.parametrize("scale", ["default", "quick"])
def test_plot_and_rows_from_json_alone(scale):
    made = drive(lost_epochs, SCALES[scale], answer(lambda lost: 1.5 * lost))
    result, verdicts = round_trip(lost_epochs, *made)
    assert (verdicts["size"].interval is None) == (scale == "quick")
    header, *lines = lost_epochs.rows(result)
    assert header == ["momentum", "batch_size", "predicted_epochs", "seed", "loss_level", "delay_epochs"]
    n_seeds = {"default": 16, "quick": 2}[scale]
    assert [tuple(line[:2]) for line in lines[:: 3 * n_seeds]] == SETTINGS[: {"default": 5, "quick": 3}[scale]]
    assert [line[3:5] for line in lines[: 3 * n_seeds]] == [[i, level] for i in range(n_seeds) for level in (1.5, 1.0, 0.5)]
    assert lines[3 * n_seeds + 5] == [0.95, 256, pytest.approx(0.1024), 1, 0.5, pytest.approx(0.1536)]

    figure = lost_epochs.plot(result, verdicts)
    figure.draw_without_rendering()
    filling, lost = figure.axes
    for line, points, m in zip(filling.lines[::2], filling.lines[1::2], (0.9, 0.98), strict=True):
        assert line.get_ydata() == pytest.approx(1 - np.exp(-(1 - m) * np.arange(1, 401)))
        assert points.get_ydata() == pytest.approx(1 - m ** points.get_xdata())
        assert points.get_xdata()[[0, -1]].tolist() == [1, 400]
    assert lost.get_title(loc="left") == "(b) a network: in proportion until 0.5 nats"
    drawn = [part for part in lost.containers if isinstance(part, ErrorbarContainer)]
    assert [part.get_label() for part in drawn] == ["until 1.5 nats", "until 1.0 nats", "until 0.5 nats"]
    predicted = np.array(LOST[: len(result.points)])
    for part, expected in zip(drawn, (10.5 * predicted, 6.75 * predicted**2, 1.5 * predicted), strict=True):
        assert part.lines[0].get_xdata() == pytest.approx(predicted)
        assert part.lines[0].get_ydata() == pytest.approx(expected)
    identity, without = (line.get_xydata().T for line in lost.lines if line.get_linestyle() in ("-", "--"))
    assert identity[0] == pytest.approx(identity[1])
    assert without[1] == pytest.approx(WITHOUT[: len(result.points)])


@pytest.mark.parametrize(
    ("law", "word", "size"),
    [(lambda lost: 2.5 * lost, "in", False), (lambda lost: 0.6 * lost**0.75, "not in", True)],
)
def test_the_title_says_whether_it_is_in_proportion_whatever_the_size(law, word, size):
    result, verdicts = drive(lost_epochs, SCALES["quick"], answer(law))
    lost = lost_epochs.plot(*round_trip(lost_epochs, result, verdicts)).axes[1]
    assert lost.get_title(loc="left") == f"(b) a network: {word} proportion until 0.5 nats"
    assert verdicts["size"].holds == size


def test_error_bars_are_of_one_standard_error_and_delays_lost_in_it_are_not_drawn():
    """Sixteen seeds, d either side of their mean: of standard deviation d sqrt(16/15), a quarter of which is the error."""
    result, verdicts = drive(lost_epochs, SCALES["default"], answer(lambda lost: lost))
    sides = np.tile([-1, 1], 8)
    result.points[0].delay[:, 2] = 1 + 3 * sides  # an error of .77: not twice as far from 0
    result.points[1].delay[:, 2] = 1.5 + 0.5 * sides
    drawn = lost_epochs.plot(result, verdicts).axes[1].containers[2]
    expected = [[0.1024, 1.5], *([lost, lost] for lost in LOST[2:])]
    assert drawn.lines[0].get_xydata() == pytest.approx(np.array(expected))
    (bars,) = drawn.lines[2]
    error = 0.5 * math.sqrt(16 / 15) / 4
    assert bars.get_segments()[0] == pytest.approx(np.array([[0.1024, 1.5 - error], [0.1024, 1.5 + error]]))
