"""Annealing: what the figure runs, and what its statistics and controls are on made-up energies and counts."""

import math
from functools import cache

import numpy as np
import pytest
from driving import drive, first_tasks, round_trip
from matplotlib.container import ErrorbarContainer
from scipy import integrate

from sgdnoise.energies import Rugged
from sgdnoise.reproduce import SCALES
from sgdnoise.reproduce.figures import annealing
from sgdnoise.reproduce.tasks.cooling import CoolingTask

pytestmark = pytest.mark.usefixtures("few_resamples")

DYNAMICS = ["langevin", "decay", "growth"]
PROTOCOLS = ["hot", "cold", "steps", "slow"]
KEYS = ["lower than cold", "lower than hot", "lower than steps", "decay and growth", "SGD and Langevin", "updates", "epochs"]
ENERGIES = {"hot": 1.6, "cold": 1.4, "steps": 0.5, "slow": 0.4}
SCATTER = np.tile([-0.4, 0.4], 500)
ERROR = 0.4 / 999**0.5  # of its mean
APART = ERROR * 2**0.5  # error of the difference of two means


def mean_energy(temperature):
    def u(x):
        return 0.05 * x**2 + 0.8 * (1 - math.cos(2 * math.pi * x / 3)) + 0.3 * (1 - math.cos(2 * math.pi * x / 1.1))

    mean, norm = (
        integrate.quad(lambda x, k=k: u(x) ** k * math.exp(-u(x) / temperature), -40, 40, points=[0], limit=2000)[0]
        for k in (1, 0)
    )
    return mean / norm


FLOOR = mean_energy(0.1)


def answer(counts=None, **ends):
    """Answers of 1000 walkers; `ends` moves the mean energy of a run, or gives those of its walkers, `counts` what it took."""

    def of(task):
        end = ends.get(f"{task.dynamics}_{task.protocol}", ends.get(task.protocol, ENERGIES[task.protocol])) + SCATTER
        if task.duration != 100:  # in the other times it is as much higher as these are away
            end = end + 1 + task.duration / 1000
        n_updates = 3000 if task.dynamics == "decay" and task.protocol != "hot" else 1000
        taken = {"n_updates": n_updates, "n_epochs": 0.0 if task.dynamics == "langevin" else 50.0}
        taken |= (counts or {}).get((task.dynamics, task.protocol), {})
        first = np.full(1000, 2.5) + 2 * SCATTER
        energy = np.array([first, (first + end) / 2, end])
        return {"time": task.duration * np.array([0, 0.5, 1]), "energy": energy, **{k: np.array(v) for k, v in taken.items()}}

    return lambda tasks: [of(task) for task in tasks]


def made_up(counts=None, **ends):
    return drive(annealing, SCALES["default"], answer(counts, **ends))


@pytest.fixture
def made(few_resamples):
    return standard()


@cache
def standard():
    return made_up()


def test_what_is_run():
    for name, duration, n in (("quick", 25.0, 200), ("default", 100.0, 1000), ("full", 100.0, 1000)):
        others = (12.5, 50.0) if name == "quick" else (12.5, 25.0, 50.0, 200.0, 400.0)
        expected = [CoolingTask(dynamics, protocol, duration, n) for dynamics in DYNAMICS for protocol in PROTOCOLS]
        expected += [CoolingTask("langevin", protocol, other, n) for protocol in PROTOCOLS[1:] for other in others]
        assert first_tasks(annealing, SCALES[name]) == expected


def test_boltzmann_energy_against_adaptive_quadrature():
    assert annealing.boltzmann_energy(Rugged(13.0, (0.0, 0.0), (3.0, 1.1)), 0.7) == pytest.approx(0.35)
    assert annealing.boltzmann_energy(CoolingTask("langevin", "hot").landscape, 0.5) == pytest.approx(
        mean_energy(0.5), rel=1e-6
    )


def test_values_and_controls_on_made_up_energies(made):
    _, verdicts = made
    assert list(verdicts) == KEYS
    excess = {protocol: energy - FLOOR for protocol, energy in ENERGIES.items()}
    values = [*(excess["slow"] / excess[than] for than in ("cold", "hot", "steps")), 0, 0, 1 / 3, 0]
    controls = [1, 1, 1, 1 / APART, 1 / APART, 1, 2]  # 50/50 epochs over 1000/3000 updates is 3
    for verdict, value, control in zip(verdicts.values(), values, controls, strict=True):
        assert verdict.value == pytest.approx(value, rel=1e-6, abs=1e-9)
        assert verdict.control.value == pytest.approx(control)
        assert verdict.holds
        assert verdict.control_flagged
    assert [verdict.threshold for verdict in verdicts.values()] == [0.6, 0.6, 0.9, 4, 4, 0.5, 0.05]
    assert [verdict.interval is None for verdict in verdicts.values()] == [False] * 5 + [True] * 2  # counts are not random
    low, high = verdicts["lower than steps"].interval
    assert low < values[2] < high
    assert high - low < 0.2


@pytest.mark.parametrize(
    ("ends", "values"),
    [
        (
            {"decay_slow": 1.0},  # the largest of the dynamics
            {
                "lower than cold": (1 - FLOOR) / (1.4 - FLOOR),
                "lower than hot": (1 - FLOOR) / (1.6 - FLOOR),
                "lower than steps": (1 - FLOOR) / (0.5 - FLOOR),
                "decay and growth": 0.6 / APART,
                "SGD and Langevin": 0.6 / APART,
            },
        ),
        ({"langevin_hot": 0.5}, {"lower than hot": (0.4 - FLOOR) / (0.5 - FLOOR), "SGD and Langevin": 1.1 / APART}),
        (
            {"growth_steps": 0.45},
            {
                "lower than steps": (0.4 - FLOOR) / (0.45 - FLOOR),
                "decay and growth": 0.05 / APART,
                "SGD and Langevin": 0.05 / APART,
            },
        ),
        ({"growth_steps": 0.56}, {"decay and growth": 0.06 / APART, "SGD and Langevin": 0.06 / APART}),  # 3.4 standard errors
        ({"growth_steps": 0.58}, {"decay and growth": 0.08 / APART, "SGD and Langevin": 0.08 / APART}),  # 4.5
        ({"langevin_steps": 0.6}, {"SGD and Langevin": 0.1 / APART}),
        ({"decay_steps": 0.6, "growth_steps": 0.6}, {"SGD and Langevin": 0.1 / APART}),
        ({"decay_steps": 0.6, "langevin_steps": 0.6}, {"decay and growth": 0.1 / APART, "SGD and Langevin": 0.1 / APART}),
    ],
)
def test_values_where_one_end_differs(made, ends, values):
    for key, verdict in made_up(**ends)[1].items():
        assert verdict.value == pytest.approx(values.get(key, made[1][key].value), rel=1e-6, abs=1e-9)
        assert verdict.holds == (verdict.value <= verdict.threshold)


def test_where_the_protocol_makes_no_difference_nothing_is_lower_and_no_control_is_flagged():
    verdicts = made_up(hot=0.5, cold=0.5, steps=0.5, slow=0.5)[1]
    for key in KEYS[:3]:
        assert verdicts[key].value == pytest.approx(1)
        assert not verdicts[key].holds
    for key in KEYS[3:5]:
        assert verdicts[key].control.value == pytest.approx(0, abs=1e-9)
        assert not verdicts[key].control_flagged


@pytest.mark.parametrize("than", ["cold", "hot", "steps"])
def test_the_control_of_lower_ends_is_one_half_of_the_walkers_over_the_other(than):
    halves = np.repeat([-0.3, 0.1], 500)
    verdicts = made_up(**{than: ENERGIES[than] + halves})[1]
    expected = (ENERGIES[than] - 0.3 - FLOOR) / (ENERGIES[than] + 0.1 - FLOOR)
    assert verdicts[f"lower than {than}"].control.value == pytest.approx(expected)
    others = [verdict.control.value for key, verdict in verdicts.items() if key in KEYS[:3] and key != f"lower than {than}"]
    assert others == pytest.approx([1, 1])


def test_controls_of_equal_ends_compare_slow_with_cold_across_the_dynamics():
    ends = {"decay_slow": 0.4, "growth_cold": 1.0, "langevin_cold": 0.8, "growth_slow": 0.9}
    verdicts = made_up(**ends)[1]
    assert verdicts["decay and growth"].control.value == pytest.approx(0.6 / APART)
    assert verdicts["SGD and Langevin"].control.value == pytest.approx(0.4 / APART)  # of decay; growth's is 0.1


def test_errors_are_those_of_the_differences():
    """Of two runs of 0.4 and 0.8 times the square root of 1000/999."""
    verdicts = made_up(growth_steps=0.6 + SCATTER)[1]
    assert verdicts["decay and growth"].value == pytest.approx(0.1 / (0.4**2 + 0.8**2) ** 0.5 * 999**0.5)


def test_counts():
    counts = {("growth", "slow"): {"n_updates": 2000, "n_epochs": 53.0}, ("growth", "hot"): {"n_updates": 900}}
    verdicts = made_up(counts)[1]
    assert verdicts["updates"].value == pytest.approx(2 / 3)
    assert verdicts["updates"].control.value == pytest.approx(0.9)
    assert verdicts["epochs"].value == pytest.approx(0.06)
    assert verdicts["epochs"].control.value == pytest.approx(1.06 * 1.5 - 1)
    assert [key for key, verdict in verdicts.items() if not verdict.holds] == ["updates", "epochs"]
    fewer = made_up({("growth", "cold"): {"n_epochs": 46.0}, ("growth", "slow"): {"n_updates": 6000}})[1]
    assert fewer["epochs"].value == pytest.approx(0.08)
    assert fewer["epochs"].control.value == pytest.approx(0.5)


def test_what_is_no_number_holds_nowhere():
    verdicts = made_up(growth_slow=math.nan)[1]
    assert [verdict.holds for verdict in verdicts.values()] == [False] * 5 + [True] * 2


def test_the_result(made):
    result, _ = made
    assert (result.duration, result.n_walkers, len(result.curves), len(result.main)) == (100, 1000, 27, 12)
    assert result.boltzmann == pytest.approx({"hot": mean_energy(1.5), "cold": FLOOR})
    assert [(c.dynamics, c.protocol) for c in result.main] == [(d, p) for d in DYNAMICS for p in PROTOCOLS]
    c = result.curves[7]
    assert (c.dynamics, c.protocol, c.duration, c.n_updates, c.n_epochs) == ("decay", "slow", 100, 3000, 50)
    assert c.time.tolist() == [0, 50, 100]
    assert c.mean == pytest.approx([2.5, 1.45, 0.4])
    assert c.error == pytest.approx([2 * ERROR, 1.5 * ERROR, ERROR])


def test_rows(made):
    header, *lines = annealing.rows(round_trip(annealing, *made)[0])
    assert header == ["dynamics", "protocol", "duration", "n_updates", "n_epochs", "time", "mean_energy", "standard_error"]
    assert len(lines) == 3 * 27
    assert lines[22] == ["decay", "slow", 100, 3000, 50, 50, pytest.approx(1.45), pytest.approx(1.5 * ERROR)]
    assert lines[-1] == ["langevin", "slow", 400, 1000, 0, 400, pytest.approx(1.8), pytest.approx(ERROR)]


def errorbars(axis):
    """Positions, heights and half lengths of what has error bars, one row a set."""
    found = []
    for bars in (c for c in axis.containers if isinstance(c, ErrorbarContainer)):
        ends = np.array([segment[:, 1] for segment in bars.lines[2][0].get_segments()])
        found.append((*bars.lines[0].get_data(), (ends[:, 1] - ends[:, 0]) / 2))
    return found


def test_plot():
    made = made_up(growth_steps=0.6)
    figure = annealing.plot(*round_trip(annealing, *made))
    figure.draw_without_rendering()
    courses, durations, ends = figure.axes
    for line, band, protocol in zip(courses.lines, courses.collections, PROTOCOLS, strict=False):
        assert line.get_xdata().tolist() == [0, 50, 100]
        assert line.get_ydata() == pytest.approx([2.5, (2.5 + ENERGIES[protocol]) / 2, ENERGIES[protocol]])
        corners = band.get_paths()[0].vertices
        at_end = corners[corners[:, 0] == 100][:, 1]
        assert (at_end.min(), at_end.max()) == pytest.approx((ENERGIES[protocol] - ERROR, ENERGIES[protocol] + ERROR))
    words = ["held hot", "held cold", "dropped in steps", "lowered slowly"]
    assert [text.get_text() for text in courses.texts] == [*words, "equilibrium at k$_B$T = 0.1"]
    assert (courses.get_ylim()[1], courses.get_xlim()[1]) == pytest.approx((1.15 * 2.5, 142))
    times = [12.5, 25, 50, 100, 200, 400]
    for (x, y, error), protocol in zip(errorbars(durations), PROTOCOLS[1:], strict=True):
        assert x.tolist() == times
        assert y == pytest.approx([ENERGIES[protocol] + (t != 100) * (1 + t / 1000) for t in times])
        assert error == pytest.approx([ERROR] * 6)
    for j, (x, y, error) in enumerate(errorbars(ends)):
        assert x == pytest.approx(np.arange(4) + 0.16 * (j - 1))
        assert y == pytest.approx([1.6, 1.4, 0.6 if j == 2 else 0.5, 0.4])
        assert error == pytest.approx([ERROR] * 4)
    for axis in figure.axes:
        assert any(line.get_ydata() == pytest.approx([FLOOR, FLOOR]) for line in axis.lines if len(line.get_ydata()) == 2)
    placed = [(text.get_text(), text.get_position()) for text in ends.texts[:6]]
    expected = [("3000 updates", (i, ENERGIES[p] + 0.12)) for i, p in ((1, "cold"), (2, "steps"), (3, "slow"))]
    expected += [("1000 updates", (i + 0.16, y - 0.12)) for i, y in ((1, 1.4), (2, 0.6), (3, 0.4))]
    for (text, at), (wanted, where) in zip(placed, expected, strict=True):
        assert (text, at) == (wanted, pytest.approx(where))
