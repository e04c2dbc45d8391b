"""Wells: what the figure measures, and what its statistics and controls are on shares and times of known laws."""

import math
from functools import cache

import numpy as np
import pytest
from driving import drive, first_tasks, round_trip
from matplotlib.container import ErrorbarContainer
from scipy.integrate import quad

from sgdnoise.reproduce import SCALES
from sgdnoise.reproduce.figures import wells
from sgdnoise.reproduce.tasks.wells import WELL, EscapeTask, OccupationTask, SgdTask

pytestmark = pytest.mark.usefixtures("few_resamples")

KEYS = ["Boltzmann's law", "preference", "memory", "Kramers' law", "SGD"]
TEMPERATURES = [0.16, 0.2, 0.3, 0.45, 0.7, 1.0, 1.5, 2.5, 4.0]
BATCH_SIZES = [20, 16, 13, 10, 8, 6, 4, 3]
SGD_TEMPERATURES = [0.4 * (40 / b - 1) * 1.25 / 2 for b in BATCH_SIZES]
BIAS = 0.01  # of the finite step
SCATTER = np.tile([-0.05, 0.05, 0.05, -0.05], 25)
ERROR = 0.05 / 99**0.5  # of its mean
START_ERROR = 0.05 / 7 * 2**0.5  # of the difference between two halves of 50


def energy(x):
    return float(WELL.energy(np.array([[x]]))[0])


def law(temperature):
    """The wide side's share, by adaptive quadrature."""
    wide, narrow = (
        quad(lambda x: math.exp((energy(WELL.minima[1]) - energy(x)) / temperature), *ends, limit=200)[0]
        for ends in ((-20, WELL.top), (WELL.top, 20))
    )
    return wide / (wide + narrow)


LAW, HOTTER = ({t: law(factor * t) for t in (*TEMPERATURES, *SGD_TEMPERATURES)} for factor in (1, 2))
HEIGHTS = {well: energy(WELL.top) - energy(x) for well, x in zip(("wide", "narrow"), WELL.minima, strict=True)}


def answer(shift=0.0, start=0.0, height=1.0, sgd_law=LAW, sgd_shift=0.0, soon=0.8, only=None):
    """Answers of 100 walkers that have the laws exactly but for the changes asked for."""

    def of(task):
        if isinstance(task, EscapeTask):
            factor = height if only in (None, task.well) else 1.0
            time = 3 * math.exp(factor * HEIGHTS[task.well] / task.temperature)
            return {"escaped": np.arange(100) % 2 == 0, "at_risk": np.full(100, time / 2)}
        began = np.arange(100) % 2 == 0
        here = only is None or only == task.seed
        by_sgd = isinstance(task, SgdTask)
        temperature = next(t for t in LAW if t == pytest.approx(task.temperature, rel=1e-12))
        wide = (sgd_law if by_sgd else LAW)[temperature] + SCATTER + shift * here + start * here * (began - 0.5)
        return {"wide": wide + sgd_shift * by_sgd, "began_wide": began, "wide_at_first": 0.3 + soon * began + SCATTER}

    return lambda tasks: [of(task) for task in tasks]


@pytest.fixture(scope="module", autouse=True)
def known_bias():
    """What the finite step makes of the law is tested with the tasks."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(wells, "discrete_occupation", lambda t, step: WELL.occupation(t)[0] + step)
        yield


def made_up(**changes):
    return drive(wells, SCALES["default"], answer(**changes))


@pytest.fixture
def made(few_resamples):
    return standard()


@cache
def standard():
    return made_up()


def test_what_is_run():
    sizes = {"quick": (200, 100, 20), "default": (4000, 800, 200), "full": (16000, 4000, 800)}
    for name, (walkers, escapers, groups) in sizes.items():
        quick = name == "quick"
        temperatures, batch_sizes = ([0.3, 0.7, 1.5, 4.0], [13, 8, 4]) if quick else (TEMPERATURES, BATCH_SIZES)
        barriers = [4.0, 4.75, 5.5] if quick else [4.0, 5.0, 6.0, 6.75, 7.5]
        expected = [OccupationTask(t, walkers, seed) for seed, t in enumerate(temperatures)]
        for well, height in zip(("wide", "narrow"), WELL.heights, strict=True):
            expected += [EscapeTask(well, height / barrier, escapers, seed) for seed, barrier in enumerate(barriers)]
        expected += [SgdTask(b, groups, 40, 1.25, seed) for seed, b in enumerate(batch_sizes)]
        assert first_tasks(wells, SCALES[name]) == expected


def test_everything_holds_where_the_laws_do(made):
    """Values are 0 but for the preference; controls are what the wrong law, time or height makes."""
    _, verdicts = made
    values = [0, max(LAW[0.16], 1 - LAW[4.0]), 0, 0, 0]
    in_errors = max(HOTTER[t] - LAW[t] for t in SGD_TEMPERATURES) / ERROR
    controls = [
        max(abs(HOTTER[t] - LAW[t]) for t in TEMPERATURES),
        max(LAW[4.0], 1 - LAW[0.16]),
        0.8 / START_ERROR,
        HEIGHTS["narrow"] / HEIGHTS["wide"] - 1,
        in_errors,
    ]
    assert list(verdicts) == KEYS
    for verdict, value, control in zip(verdicts.values(), values, controls, strict=True):
        assert verdict.value == pytest.approx(value, abs=1e-6)
        assert verdict.control.value == pytest.approx(control, rel=1e-5)
        assert verdict.holds
        assert verdict.control_flagged
        assert verdict.interval[0] <= verdict.interval[1]
    assert [verdict.threshold for verdict in verdicts.values()] == [0.02, 0.45, 5, 0.1, 5]
    assert verdicts["preference"].statistic == "larger of wide share at T = 0.16, narrow share at T = 4"


@pytest.mark.parametrize(
    ("changes", "values"),
    [
        ({"shift": 0.03}, {"Boltzmann's law": 0.03, "preference": 1 - LAW[4.0] - 0.03, "SGD": (0.03 - BIAS) / ERROR}),
        ({"shift": -0.019}, {"Boltzmann's law": 0.019, "preference": 1 - LAW[4.0] + 0.019, "SGD": 0.019 / ERROR}),
        ({"shift": 0.05, "only": 4}, {"Boltzmann's law": 0.05, "SGD": 0.04 / ERROR}),
        ({"shift": 0.45, "only": 0}, {"Boltzmann's law": 0.45, "preference": LAW[0.16] + 0.45, "SGD": 0.44 / ERROR}),
        ({"shift": -0.2, "only": 8}, {"Boltzmann's law": 0.2, "preference": 1 - LAW[4.0] + 0.2}),
        ({"sgd_shift": 0.009}, {"SGD": 0}),  # excused by the finite step's bias
        ({"sgd_shift": 0.05}, {"SGD": 0.04 / ERROR}),
        ({"sgd_shift": -0.029}, {"SGD": 0.029 / ERROR}),  # which excuses one side only
        ({"sgd_law": HOTTER}, {"SGD": max(HOTTER[t] - LAW[t] - BIAS for t in SGD_TEMPERATURES) / ERROR}),
        ({"start": 0.04}, {"memory": 0.04 / START_ERROR}),
        ({"start": -0.08, "only": 2}, {"memory": 0.08 / START_ERROR}),
        ({"start": 0.08, "only": 8}, {"memory": 0.08 / START_ERROR}),  # walkers
        ({"height": 1.15}, {"Kramers' law": 0.15}),
        ({"height": 0.85}, {"Kramers' law": 0.15}),
        ({"height": 1.08, "only": "wide"}, {"Kramers' law": 0.08}),
        ({"height": 0.92, "only": "narrow"}, {"Kramers' law": 0.08}),
    ],
)
def test_values_where_a_law_is_broken_by_a_known_amount(made, changes, values):
    _, verdicts = made_up(**changes)
    for key, verdict in verdicts.items():
        assert verdict.value == pytest.approx(values.get(key, made[1][key].value), abs=1e-5, rel=1e-5)
        assert verdict.holds == (
            verdict.value <= {"Boltzmann's law": 0.02, "preference": 0.45, "Kramers' law": 0.1}.get(key, 5)
        )


def test_memory_is_that_of_sgd_too():
    """Only the second batch size's groups remember, and there are fewer of them than walkers."""

    def remembering(tasks):
        results = answer()(tasks)
        chosen = results[tasks.index(next(task for task in tasks if isinstance(task, SgdTask) and task.seed == 1))]
        wide, began = chosen["wide"][:40], chosen["began_wide"][:40]
        chosen |= {"wide": wide + 0.2 * began, "began_wide": began}
        for task, result in zip(tasks, results, strict=True):
            if isinstance(task, SgdTask):
                result |= {name: result[name][:40] for name in ("wide", "began_wide")}
        return results

    verdict = drive(wells, SCALES["default"], remembering)[1]["memory"]
    assert verdict.value == pytest.approx(0.2 / (0.05 / 19**0.5 * 2**0.5))


def test_controls_move_with_what_they_are_measured_on():
    controls = {key: verdict.control.value for key, verdict in made_up(soon=-0.04)[1].items()}
    assert controls["memory"] == pytest.approx(0.04 / START_ERROR)
    # The narrow well's slope over the wide one's height is 1.5 times as large as it was.
    controls = {key: verdict.control.value for key, verdict in made_up(height=1.5)[1].items()}
    assert controls["Kramers' law"] == pytest.approx(1.5 * HEIGHTS["narrow"] / HEIGHTS["wide"] - 1)
    verdicts = made_up(sgd_law=HOTTER)[1]
    assert verdicts["SGD"].control.value == pytest.approx(0, abs=1e-4)
    assert not verdicts["SGD"].control_flagged
    # Below the wrong law it counts as above it.
    assert made_up(sgd_law=HOTTER, sgd_shift=0.03)[1]["SGD"].control.value == pytest.approx(0.03 / ERROR, rel=1e-4)


def test_what_is_no_number_holds_nowhere():
    def broken(tasks):
        return [{name: np.nan * a if a.dtype == float else a for name, a in result.items()} for result in answer()(tasks)]

    assert not any(verdict.holds for verdict in drive(wells, SCALES["default"], broken)[1].values())


def test_the_result(made):
    result, _ = made
    assert (result.landscape.barrier, result.landscape.tilt, result.landscape.skew) == (1, -0.6, 0.6)
    assert list(result.landscape.heights) == pytest.approx(list(HEIGHTS.values()))
    setting = result.sgd_setting
    assert (result.step_size, setting.n_train, setting.learning_rate, setting.gradient_variance) == (0.01, 40, 0.4, 1.25)
    for points, temperatures in ((result.occupation, TEMPERATURES), (result.sgd, SGD_TEMPERATURES)):
        assert [p.temperature for p in points] == pytest.approx(temperatures)
        assert [p.predicted for p in points] == pytest.approx([LAW[t] for t in temperatures], abs=1e-6)
        assert [p.measured for p in points] == pytest.approx([LAW[t] for t in temperatures], abs=1e-6)
        assert [p.error for p in points] == pytest.approx([ERROR] * len(points))
        assert [p.start_z for p in points] == pytest.approx([0] * len(points), abs=1e-9)
    assert [p.batch_size for p in result.sgd] == BATCH_SIZES
    assert [p.noise_scale for p in result.sgd] == pytest.approx([0.4 * (40 / b - 1) for b in BATCH_SIZES])
    assert [p.at_this_step for p in result.sgd] == pytest.approx([LAW[t] + 0.01 for t in SGD_TEMPERATURES], abs=1e-6)
    assert [p.at_g_F for p in result.sgd] == pytest.approx([HOTTER[t] for t in SGD_TEMPERATURES], abs=1e-6)
    remembering = made_up(start=-0.04)[0]
    assert [p.start_z for p in (*remembering.occupation, *remembering.sgd)] == pytest.approx([-0.04 / START_ERROR] * 17)


def test_escapes_in_the_result(made):
    """The slope of Kramers' own times is 1; the exact ones' is near it."""
    points = made[0].escape
    assert [p.well for p in points] == ["wide"] * 5 + ["narrow"] * 5
    for p in points:
        assert p.height == pytest.approx(HEIGHTS[p.well])
        assert p.measured == pytest.approx(3 * math.exp(p.height / p.temperature))  # all 100 at risk, 50 of them escaped
        assert p.error == pytest.approx(p.measured / 50**0.5)
    for some in (points[:5], points[5:]):
        inverse = [1 / p.temperature for p in some]
        assert inverse == pytest.approx(np.array([4, 5, 6, 6.75, 7.5]) / some[0].height)
        for name, within in (("kramers", 1e-9), ("exact", 0.06)):
            rise = np.polyfit(inverse, np.log([getattr(p, name) for p in some]), 1)[0]
            assert rise / some[0].height == pytest.approx(1, abs=within)
        assert all(0.7 < p.exact / p.kramers < 1.3 for p in some)


def test_rows(made):
    result = round_trip(wells, *made)[0]
    header, *lines = wells.rows(result)
    assert header == [
        "panel", "dynamics", "temperature", "batch_size", "noise_scale", "predicted", "measured", "standard_error",
    ]  # fmt: skip
    assert [line[:2] for line in lines] == [
        *[["wide share", "walkers"]] * 9,
        *[["time out of wide", "walkers"]] * 5,
        *[["time out of narrow", "walkers"]] * 5,
        *[["wide share", "SGD"]] * 8,
    ]
    near = [pytest.approx(LAW[0.3], abs=1e-6)] * 2
    assert lines[2][2:] == [0.3, "", "", *near, pytest.approx(ERROR)]
    p = result.escape[1]
    assert lines[10][2:] == [p.temperature, "", "", p.exact, p.measured, p.error]
    near = [pytest.approx(LAW[SGD_TEMPERATURES[-1]], abs=1e-6)] * 2
    assert lines[-1][2:] == [pytest.approx(SGD_TEMPERATURES[-1]), 3, pytest.approx(0.4 * 37 / 3), *near, pytest.approx(ERROR)]


def errorbars(axis):
    """Positions, heights and half lengths of what has error bars, one row a set."""
    found = []
    for bars in (c for c in axis.containers if isinstance(c, ErrorbarContainer)):
        x, y = bars.lines[0].get_data()
        ends = np.array([segment[:, 1] for segment in bars.lines[2][0].get_segments()])
        found.append((x, y, (ends[:, 1] - ends[:, 0]) / 2))
    return found


def test_plot(made):
    figure = wells.plot(*round_trip(wells, *made))
    figure.draw_without_rendering()
    landscape, occupation, escape, sgd = figure.axes
    x, y = landscape.lines[0].get_data()
    assert y == pytest.approx([energy(value) for value in x])
    assert f"hot, T = 2: {law(2.0):.0%} on the wide side" == landscape.get_legend().get_texts()[0].get_text()
    for axis, temperatures in ((occupation, TEMPERATURES), (sgd, SGD_TEMPERATURES)):
        ((x, y, error),) = errorbars(axis)
        assert x == pytest.approx(temperatures)
        assert y == pytest.approx([LAW[t] for t in temperatures], abs=1e-6)
        assert error == pytest.approx([ERROR] * len(x))
        at, drawn = axis.lines[1].get_data()
        assert (at[0], at[-1]) == pytest.approx((0.85 * min(temperatures), 1.25 * max(temperatures)))
        assert drawn[[0, -1]] == pytest.approx([law(at[0]), law(at[-1])], abs=1e-6)
    *_, wrong, step = sgd.lines
    at, drawn = wrong.get_data()
    assert drawn[40] == pytest.approx(law(2 * at[40]), abs=1e-6)
    assert step.get_xdata() == pytest.approx(SGD_TEMPERATURES)
    assert step.get_ydata() == pytest.approx([LAW[t] + 0.01 for t in SGD_TEMPERATURES], abs=1e-6)
    assert [text.get_text() for text in sgd.texts] == ["if T were g F", *(f"B={b}" for b in BATCH_SIZES)]
    assert sgd.get_xlabel() == "g F/2, with g = 0.4 (40/B - 1)"
    for (x, y, error), well in zip(errorbars(escape), HEIGHTS, strict=True):
        points = [p for p in made[0].escape if p.well == well]
        assert x == pytest.approx([1 / p.temperature for p in points])
        assert y == pytest.approx([p.measured for p in points])
        assert error == pytest.approx([p.error for p in points])
    labels = [f"out of the {well} well:\nslope {h:.2f}, height {h:.2f}" for well, h in HEIGHTS.items()]
    assert [text.get_text() for text in escape.texts] == labels
    slopes = wells.plot(*round_trip(wells, *made_up(height=1.1))).axes[2].texts
    assert slopes[0].get_text() == f"out of the wide well:\nslope {1.1 * HEIGHTS['wide']:.2f}, height {HEIGHTS['wide']:.2f}"
