"""What is said of the schedules under one optimizer, and what it rejects; figures 3 and 4 have two such panels each."""

import numpy as np
import pytest
from driving import committed_words, drive, round_trip, words
from scipy.stats import ttest_ind, ttest_rel

from sgdnoise import adam, sgd
from sgdnoise.reproduce import SCALES, Scale
from sgdnoise.reproduce.figures import fig3, fig4
from sgdnoise.reproduce.figures.curves import Curve
from sgdnoise.reproduce.figures.panels import Panel, difference_error, panel_verdicts

pytestmark = pytest.mark.usefixtures("few_resamples")

NAMES = ("decaying", "hybrid", "increasing", "control")
FIRST = 12
EPOCH = np.arange(40)


def curves_of(loss, accuracy, n_updates=None):
    """Curves of four schedules from arrays of shape (n_seeds, n_epochs)."""
    n_updates = n_updates or {}
    updates = {name: n_updates.get(name, 390 * (EPOCH + 1)) for name in NAMES}
    return {name: Curve([], updates[name], loss[name], accuracy[name]) for name in NAMES}


def ends(**levels):
    """Accuracies that are ``levels[name]``, of a seed each, over the last tenth of the epochs, and .5 before."""
    return {name: np.where(EPOCH >= 36, np.array(levels[name])[:, None], 0.5) for name in NAMES}


def losses(n_seeds=4, **spikes):
    """Losses that are one and the same but for the first epoch after the step."""
    return {name: 0.2 + spikes.get(name, 0.0) * (EPOCH == FIRST) + np.zeros((n_seeds, 1)) for name in NAMES}


def by_key(panel, curves):
    return {verdict.key.removeprefix(f"{panel.name}: "): verdict for verdict in panel_verdicts(panel, curves, FIRST)}


SGD = Panel("x", "fig. 0", sgd())


def test_curves_that_agree_and_curves_that_do_not():
    rng = np.random.default_rng(1)
    base = 0.2 + rng.normal(0, 0.01, (4, 40))
    before = 0.5 * (EPOCH == FIRST - 1)  # the last epoch before the step, which does not count
    spike = (EPOCH == FIRST).astype(float)
    loss = {
        "decaying": base,
        "hybrid": base + 0.05 * spike + before,
        "increasing": base - 0.08 * spike,
        "control": base + spike,
    }
    accuracy = ends(**dict.fromkeys(NAMES, (0.8, 0.81, 0.82, 0.83)))
    curve = by_key(SGD, curves_of(loss, accuracy))["curve"]
    assert curve.value == pytest.approx(0.08)
    assert curve.interval == pytest.approx((0.08, 0.08))
    assert curve.holds
    assert curve.source == "Smith et al. 2018, fig. 0"
    curve = by_key(SGD, curves_of(loss | {"increasing": loss["control"]}, accuracy))["curve"]
    assert curve.value == pytest.approx(1)
    assert not curve.holds


def test_equal_numbers_of_updates_are_flagged():
    """A loss that falls by 0.05 an epoch, and increasing with a quarter of the updates: at its epoch 40 decaying was at 10."""
    falling = 3 - 0.05 * EPOCH + np.zeros((4, 1))
    loss = dict.fromkeys(NAMES, falling) | {"control": falling + (EPOCH == FIRST)}
    n_updates = {"increasing": 100 * (EPOCH + 1), "hybrid": 200 * (EPOCH + 1), "decaying": 400 * (EPOCH + 1)}
    accuracy = ends(**dict.fromkeys(NAMES, (0.8, 0.81, 0.82, 0.83)))
    curve = by_key(SGD, curves_of(loss, accuracy, n_updates))["curve"]
    assert curve.value == pytest.approx(0, abs=1e-12)
    assert curve.control.value == pytest.approx(0.05 * 30)
    assert curve.control_flagged


@pytest.mark.parametrize("worse", ["hybrid", "increasing"])
@pytest.mark.parametrize("sign", [-1, 1])
def test_points_are_the_larger_difference_either_way(worse, sign):
    """Means over seeds: the difference is that of one seed of four."""
    decaying = np.array([0.80, 0.81, 0.82, 0.83])
    levels = dict.fromkeys(NAMES, decaying) | {"hybrid": decaying + 0.0005, "increasing": decaying - 0.0005}
    levels |= {worse: decaying + sign * np.array([0.006, 0, 0, 0]), "control": decaying - 0.02}
    points = by_key(SGD, curves_of(losses(control=1), ends(**levels)))["points"]
    assert points.value == pytest.approx(0.0015)
    assert points.control.value == pytest.approx(0.02)
    assert points.threshold == 0.002
    assert points.holds
    assert points.control_flagged
    assert 0 <= points.interval[0] <= points.value <= points.interval[1] <= 0.006
    levels[worse] = decaying + sign * np.array([0.010, 0, 0, 0])
    assert not by_key(SGD, curves_of(losses(control=1), ends(**levels)))["points"].holds


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_standard_errors_are_those_of_students_tests(seed):
    rng = np.random.default_rng(seed)
    levels = {name: 0.88 + rng.normal(0, 0.001, 4) for name in NAMES}
    levels["control"] = levels["control"] - 0.02
    verdicts = by_key(SGD, curves_of(losses(control=1), ends(**levels)))
    assert list(verdicts) == ["curve", "points", "independent", "paired"]
    for key, test in (("independent", ttest_ind), ("paired", ttest_rel)):
        t = {name: abs(test(levels[name], levels["decaying"]).statistic) for name in NAMES[1:]}
        verdict = verdicts[key]
        assert verdict.value == pytest.approx(max(t["hybrid"], t["increasing"]))
        assert verdict.control.value == pytest.approx(t["control"])
        assert verdict.threshold == 1
        assert verdict.control_flagged
        assert verdict.interval[0] <= verdict.value <= verdict.interval[1]


def test_standard_errors_by_hand():
    """Decaying has variance 1e-6 over three seeds; hybrid is 1, 1 and 4 thousandths better, increasing half as much worse."""
    decaying = np.array([0.880, 0.881, 0.882])
    apart = np.array([0.001, 0.001, 0.004])  # mean .002, variance 3e-6; hybrid then is .881, .882, .886: variance 7e-6
    levels = {
        "decaying": decaying,
        "hybrid": decaying + apart,
        "increasing": decaying - apart / 2,
        "control": decaying - 3 * apart,
    }
    verdicts = by_key(SGD, curves_of(losses(3, control=1), ends(**levels)))
    assert verdicts["paired"].value == pytest.approx(0.002 / np.sqrt(3e-6 / 3))  # 2, and of all three schedules
    assert verdicts["paired"].control.value == pytest.approx(2)
    assert not verdicts["paired"].holds
    # Increasing is .8795, .8805, .880, of mean .880 and variance .25e-6: .001 over the root of 1.25e-6/3, more than hybrid's.
    assert verdicts["independent"].value == pytest.approx(0.001 / np.sqrt(1.25e-6 / 3))
    # The control is .877, .878, .870: mean .875, variance 19e-6.
    assert verdicts["independent"].control.value == pytest.approx(0.006 / np.sqrt(20e-6 / 3))


def test_the_bootstrap_moves_means_and_keeps_errors():
    """Were errors resampled, some resample would have three equal differences, an error of 0 and a value of 1e12 and more."""
    decaying = np.array([0.880, 0.881, 0.882])
    better = decaying + np.array([0.001, 0.001, 0.004])
    levels = {"decaying": decaying, "hybrid": better, "increasing": better, "control": decaying - 0.02}
    verdicts = by_key(SGD, curves_of(losses(3, control=1), ends(**levels)))
    low, high = verdicts["paired"].interval  # of a mean between .001 and .004, in units of .001
    assert 1 - 1e-6 <= low < 2 < high <= 4 + 1e-6


def test_the_other_control_of_the_accuracies_is_the_end_of_the_first_stage():
    rising = np.linspace(0.8, 0.9, 40) + 0.001 * np.arange(3)[:, None]
    loss = {name: rising + 0.01 * (name == "control") for name in NAMES}
    curves = curves_of(loss, dict.fromkeys(NAMES, rising))
    stopped = by_key(Panel("x", "fig. 0", adam(), control="stopped at the first step"), curves)
    apart = 28 * 0.1 / 39
    assert stopped["points"].control.value == pytest.approx(apart)
    assert stopped["points"].control.name == "stopped at the first step"
    assert stopped["paired"].control.value == pytest.approx(
        apart / 1e-12, rel=1e-3
    )  # the seeds' differences are one and the same
    assert stopped["independent"].control.value == pytest.approx(apart / np.sqrt(2 * 1e-6 / 3))  # seeds of variance 1e-6
    assert by_key(SGD, curves)["points"].control.value == 0
    assert by_key(SGD, curves)["points"].control.name == "never changes"


def test_how_often_the_strict_reading_fails_by_chance():
    """The documented 0.39 for 4 seeds: 4000 pairs of equal schedules, binomial standard error 0.008, 4 of them allowed."""
    pairs = np.random.default_rng(0).normal(size=(4000, 2, 4))
    failed = [abs((a - b).mean()) > difference_error(a, b, paired=True) for a, b in pairs]
    assert np.mean(failed) == pytest.approx(0.391, abs=0.031)


def test_error_of_a_difference():
    shared = np.array([0.0, 1.0, 2.0, 3.0])
    assert difference_error(shared, shared + 1, paired=True) == 1e-12
    assert difference_error(shared, shared + 1, paired=False) == pytest.approx(np.sqrt(2 * 5 / 3 / 4))
    assert difference_error(2 * shared, shared, paired=True) == pytest.approx(np.sqrt(5 / 3 / 4))
    assert difference_error(2 * shared, shared, paired=False) == pytest.approx(np.sqrt(5 * 5 / 3 / 4))


# Whole figures, on results that depend on the number of epochs and on the schedule's place in the list.


SHIFTS = np.array([0, 0.0005, -0.007, 0.02])


def answer(tasks):
    """Accuracies that rise by .4 points an epoch, with `SHIFTS`, and losses that are 0, 1, 2 and 50 apart after the step."""
    places = {}  # of a schedule among those of its optimizer, in the order of the tasks
    for task in tasks:
        places.setdefault((task.optimizer, task.schedule), sum(optimizer == task.optimizer for optimizer, _ in places))
    results = []
    for task in tasks:
        place, n = places[task.optimizer, task.schedule], task.schedule.n_epochs
        step = np.arange(n) >= task.schedule.stages[0].n_epochs if len(task.schedule) > 1 else np.arange(n) >= round(0.3 * n)
        loss = 100 - np.arange(n) + np.array([0, 1, 2, 50])[place] * step
        accuracy = 0.7 + 0.004 * np.arange(n) + SHIFTS[place] + 0.001 * task.seed * (1 + place)
        results.append({"train_loss": loss, "test_accuracy": accuracy})
    return results


@pytest.mark.parametrize(("module", "names"), [(fig3, ("momentum", "Nesterov momentum")), (fig4, ("vanilla SGD", "Adam"))])
def test_a_figure_s_panels(module, names):
    result, verdicts = drive(module, SCALES["default"], answer)
    claims = ("curve", "points", "independent", "paired")
    assert list(verdicts) == [f"{name}: {claim}" for name in names for claim in claims]
    settings = (result.n_train, result.model, result.data, result.sampling, result.l2, list(result.seeds))
    assert settings == (
        50_000,
        "MLP 196-128-10, relu, float32",
        "Fashion-MNIST 14x14, bundled",
        "reshuffle",
        1e-4,
        [0, 1, 2, 3],
    )
    assert [panel.name for panel in result.panels] == list(names)
    seeds = np.arange(4)
    for panel in result.panels:
        assert panel.first_step == 12
        assert verdicts[f"{panel.name}: curve"].value == pytest.approx(2 / 50)
        # Decaying is at 101 - u/390 after u updates, increasing at 63 in the end, after 5760, and hybrid at 62 after 6864.
        assert verdicts[f"{panel.name}: curve"].control.value == pytest.approx((101 - 5760 / 390 - 63) / 50)
        # Seeds are .001 (1 + place) apart, and their mean is 1.5 times that.
        assert verdicts[f"{panel.name}: points"].value == pytest.approx(0.007 - 1.5 * 0.002)
        decaying = 0.7 + 0.004 * 37.5 + 0.001 * seeds
        for place, name in enumerate(NAMES):
            final, shift = panel.final[name], SHIFTS[place]
            own = decaying + shift + 0.001 * seeds * place
            assert panel.curves[name].final == pytest.approx(own)
            assert final.accuracy == pytest.approx(own.mean())
            assert final.difference == pytest.approx(shift + 0.0015 * place)
            assert final.error == pytest.approx(0.001 * np.sqrt((1 + (1 + place) ** 2) * 5 / 3 / 4))
            assert final.paired_error == pytest.approx(max(0.001 * place * np.sqrt(5 / 3 / 4), 1e-12), rel=1e-3)


@pytest.mark.parametrize(("name", "module"), [("fig3", fig3), ("fig4", fig4)])
def test_the_words_are_those_of_the_committed_results(name, module):
    verdicts = drive(module, SCALES["default"], answer)[1]
    assert words(verdicts.values()) == committed_words(name)


def test_two_seeds_are_enough_for_a_standard_error():
    verdicts = drive(fig3, Scale(40, 2), answer)[1]
    assert [key.split(": ")[1] for key in verdicts] == ["curve", "points", "independent", "paired"] * 2


@pytest.mark.parametrize("module", [fig3, fig4])
def test_one_seed_has_no_standard_error_and_no_verdict_that_needs_one(module):
    verdicts = drive(module, SCALES["quick"], answer)[1]
    assert [key.split(": ")[1] for key in verdicts] == ["curve", "points"] * 2
    assert all(verdict.interval is None for verdict in verdicts.values())


@pytest.mark.parametrize("scale", ["default", "quick"])
def test_plot_and_rows_from_json_alone(scale):
    result, verdicts = round_trip(fig3, *drive(fig3, SCALES[scale], answer))
    n_epochs, n_seeds = SCALES[scale].n_epochs, SCALES[scale].n_seeds
    header, *lines = fig3.rows(result)
    assert header == ["optimizer", "schedule", "seed", "epoch", "n_updates", "train_loss", "test_accuracy"]
    assert len(lines) == 2 * 4 * n_seeds * n_epochs
    assert lines[0] == ["momentum", "decaying", 0, 1, 390, 100.0, pytest.approx(0.7)]
    expected = 0.7 + 0.004 * (n_epochs - 1) + 0.02 + 0.004 * (n_seeds - 1)
    assert lines[-1] == [
        *["Nesterov momentum", "control", n_seeds - 1, n_epochs, 390 * n_epochs],
        *[pytest.approx(151 - n_epochs), pytest.approx(expected)],
    ]
    figure = fig3.plot(result, verdicts)
    figure.draw_without_rendering()
    for axis in figure.axes:
        for line, place in zip(axis.lines, (3, 0, 1, 2), strict=True):
            mean = 0.001 * (1 + place) * (n_seeds - 1) / 2 + SHIFTS[place]
            assert line.get_xdata().tolist() == list(range(1, n_epochs + 1))
            assert line.get_ydata() == pytest.approx(100 * (0.7 + 0.004 * np.arange(n_epochs) + mean))


@pytest.mark.parametrize(
    ("hybrid", "increasing", "control", "title"),
    [
        (0.0005, -0.0015, 0.02, "equal in the end"),
        (0.0005, -0.0044, 0.02, "accuracies 0.4 points apart"),
        (0.0104, 0.0, -0.02, "accuracies 1.0 points apart"),
        (0.0, 0.0, 0.0015, "equal in the end, the control's too"),
    ],
)
def test_titles_say_how_far_apart_the_accuracies_end(hybrid, increasing, control, title):
    result, verdicts = drive(fig3, SCALES["quick"], answer)
    levels = {"decaying": 0.85, "hybrid": 0.85 + hybrid, "increasing": 0.85 + increasing, "control": 0.85 + control}
    for panel in result.panels:
        for name, curve in panel.curves.items():
            curve.test_accuracy[:] = levels[name]
    axis = fig3.plot(result, verdicts).axes[1]
    assert axis.get_title(loc="left") == f"(b) Nesterov momentum: {title}"
    note = "last tenth of the epochs:\ndecaying {decaying:.2f}, hybrid {hybrid:.2f},\n"
    note += "increasing {increasing:.2f}, control {control:.2f}%"
    assert axis.texts[0].get_text() == note.format(**{name: 100 * level for name, level in levels.items()})
