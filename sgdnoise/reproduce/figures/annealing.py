"""Annealing on a rugged landscape: how the temperature falls decides how low the walkers end.

Walkers start spread over the minima of a landscape U, and come to the same last temperature in one of four ways. Held hot they
never settle (this one alone keeps the first temperature), held cold they stay in the minimum next to where they began; lowered
in steps or slowly, they find the low ones.

SGD does the same at k_B T = g F/2, on costs that sum to U and have one F everywhere (see `tasks.cooling`). There are two ways
to lower g as T falls: decay of the learning rate at the first batch size, or growth of the batch. What is kept equal is the
equation's time, eps/N an update, and with it very nearly the number of epochs, because an epoch lasts the time
eps/B = g/(N - B) at equal g. Decay pays with updates, as it takes shorter and shorter steps of that time. Growth goes on with
long ones: the largest curvature of U times eps/N is 0.13, and 0.16 where 2.5 examples are rounded to 3, which makes the thermal
part of its energies at most 9% too large. Batches of two kick by whole steps of eps s, a noise that is not Gaussian; that is
part of the comparison.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

import numpy as np

from ...boltzmann import boltzmann_density
from ...energies import Rugged
from ..engine.contract import Scale
from ..engine.verdicts import Control, Estimate, Verdict, estimate, standard_error
from ..tasks.cooling import COLD, DYNAMICS, HOT, PROTOCOLS, CoolingTask
from . import Rows, Run, Verdicts
from .curves import draw_band
from .style import Axes, Figure, blank, figure_style, label_ticks, points

TITLE = "Annealing: where slow cooling ends, by a smaller learning rate and by a larger batch"

_COOLED = ("cold", "steps", "slow")
_COLOURS = {"hot": "#D55E00", "cold": "#56B4E9", "steps": "#CC79A7", "slow": "#000000"}
_STYLES = {"langevin": ("x", "#000000"), "decay": ("s", "#0072B2"), "growth": ("o", "#D55E00")}


@dataclass(frozen=True, eq=False)
class Course:
    """How walkers cooled: mean energy at each recorded time, with its standard error, (n_records,)."""

    dynamics: str
    protocol: str
    duration: float
    n_updates: int
    n_epochs: float
    time: np.ndarray
    mean: np.ndarray
    error: np.ndarray


@dataclass(frozen=True, eq=False)
class Result:
    """The main duration, the energies of Boltzmann's law, "hot" and "cold", and the courses."""

    duration: float
    n_walkers: int
    boltzmann: dict[str, float]
    curves: list[Course]

    @property
    def main(self) -> list[Course]:
        """The courses of the main duration."""
        return [course for course in self.curves if course.duration == self.duration]


def boltzmann_energy(landscape: Rugged, temperature: float) -> float:
    """Mean energy of Boltzmann's law in one dimension, by quadrature."""
    x, spacing = np.linspace(-40, 40, 16001, retstep=True)
    density = boltzmann_density(landscape.energy, temperature, [x])
    return float((density * landscape.energy(x[:, None])).sum() * spacing)


def run(scale: Scale) -> Run[Result]:
    """Cool by each protocol under each dynamics, and by three of them in other times."""
    duration, n_walkers = (25.0, 200) if scale.quick else (100.0, 1000)
    others = [duration * factor for factor in ((0.5, 2) if scale.quick else (0.125, 0.25, 0.5, 2, 4))]
    tasks = [CoolingTask(dynamics, protocol, duration, n_walkers) for dynamics in DYNAMICS for protocol in PROTOCOLS]
    tasks += [CoolingTask("langevin", protocol, other, n_walkers) for protocol in _COOLED for other in others]
    results = yield tasks
    courses, ends = [], {}
    for task, arrays in zip(tasks, results, strict=True):
        energy, counts = arrays["energy"], (int(arrays["n_updates"]), float(arrays["n_epochs"]))
        averages = arrays["time"], energy.mean(axis=1), standard_error(energy.T)
        courses.append(Course(task.dynamics, task.protocol, task.duration, *counts, *averages))
        if task.duration == duration:
            ends[task.dynamics, task.protocol] = energy[-1]
    boltzmann = {name: boltzmann_energy(tasks[0].landscape, t) for name, t in (("hot", HOT), ("cold", COLD))}
    result = Result(duration, n_walkers, boltzmann, courses)
    return result, list(_verdicts(result, ends))


def _verdicts(result: Result, ends: dict[tuple[str, str], np.ndarray]) -> Iterator[Verdict]:
    """Judge the final energies, `ends`, by dynamics and protocol, (n_walkers,) each, and the counts of the courses."""
    floor = result.boltzmann["cold"]
    updates = {(course.dynamics, course.protocol): float(course.n_updates) for course in result.main}
    epochs = {(course.dynamics, course.protocol): course.n_epochs for course in result.main}
    walkers = np.arange(result.n_walkers)
    cited = partial(Verdict, source="Smith et al. 2018, simulated annealing")

    def excess(draw: np.ndarray, than: str, of: str = "slow", over: np.ndarray | None = None) -> float:
        """Final energy above the cold Boltzmann energy, slow over another protocol; the largest of the dynamics."""
        over = draw if over is None else over
        return float(np.max([(ends[d, of][draw].mean() - floor) / (ends[d, than][over].mean() - floor) for d in DYNAMICS]))

    def lower_than(than: str, threshold: float) -> Verdict:
        key, claim = f"lower than {than}", f"walkers cooled slowly end lower than walkers {PROTOCOLS[than]}"
        statistic = f"energy above equilibrium, slow over {than}, the largest of three dynamics"
        measured, half = estimate(partial(excess, than=than), len(walkers)), len(walkers) // 2
        halves = excess(walkers[:half], than, than, walkers[half:])
        control = Control(f"walkers {PROTOCOLS[than]}, one half of them over the other", halves)
        return cited(key=key, claim=claim, statistic=statistic, measured=measured, threshold=threshold, control=control)

    def apart(draw: np.ndarray, pairs: tuple[tuple[str, str], ...], protocols: dict[str, str]) -> float:
        """Largest difference of final energies in standard errors, over pairs of dynamics and of protocols."""
        both = [(ends[one, a], ends[other, b]) for one, other in pairs for a, b in protocols.items()]
        errors = [np.hypot(standard_error(first), standard_error(second)) for first, second in both]
        gaps = [abs(first[draw].mean() - second[draw].mean()) for first, second in both]
        return float(np.max(np.array(gaps) / errors))  # NaN stays NaN, and fails

    def alike(key: str, claim: str, *pairs: tuple[str, str]) -> Verdict:
        statistic, same = "largest difference in standard errors, over the protocols", {name: name for name in PROTOCOLS}
        measured = estimate(partial(apart, pairs=pairs, protocols=same), len(walkers))
        control = Control("lowered slowly against held cold", apart(walkers, pairs, {"slow": "cold"}))
        return cited(key=key, claim=claim, statistic=statistic, measured=measured, threshold=4.0, control=control)

    def growth_over_decay(counts: dict[tuple[str, str], float], protocol: str) -> float:
        return counts["growth", protocol] / counts["decay", protocol]

    yield lower_than("cold", 0.6)
    yield lower_than("hot", 0.6)
    yield lower_than("steps", 0.9)
    claim = "decaying the learning rate and growing the batch at equal g end at one mean energy"
    yield alike("decay and growth", claim, ("decay", "growth"))
    claim = "SGD ends where Langevin dynamics at k_B T = g F/2 ends"
    yield alike("SGD and Langevin", claim, ("decay", "langevin"), ("growth", "langevin"))

    claim = "growing the batch takes fewer updates than decaying the learning rate, cooled slowly"
    statistic, measured = "updates, growth over decay", Estimate(growth_over_decay(updates, "slow"))
    control = Control("without cooling", growth_over_decay(updates, "hot"))
    yield cited(key="updates", claim=claim, statistic=statistic, measured=measured, threshold=0.5, control=control)

    claim, statistic = "and the same number of epochs", "|epochs, growth over decay - 1|, the largest of the protocols"
    measured = Estimate(max(abs(growth_over_decay(epochs, protocol) - 1) for protocol in PROTOCOLS))
    per_update = growth_over_decay(epochs, "slow") / growth_over_decay(updates, "slow")
    control = Control("at equal numbers of updates, cooled slowly", abs(per_update - 1))
    yield cited(key="epochs", claim=claim, statistic=statistic, measured=measured, threshold=0.05, control=control)


def rows(result: Result) -> Rows:
    """One line per record of a run."""
    lines: Rows = [["dynamics", "protocol", "duration", "n_updates", "n_epochs", "time", "mean_energy", "standard_error"]]
    for c in result.curves:
        records = np.array([c.time, c.mean, c.error]).T.tolist()
        lines += [[c.dynamics, c.protocol, c.duration, c.n_updates, c.n_epochs, *record] for record in records]
    return lines


@figure_style()
def plot(result: Result, verdicts: Verdicts) -> Figure:
    """Draw the energy against time, the final energy against the time taken, and what decay and growth end with."""
    figure = blank(6.6)
    grid = figure.add_gridspec(2, 2, height_ratios=(1.1, 1))
    _plot_courses(figure.add_subplot(grid[0, 0]), result)
    _plot_durations(figure.add_subplot(grid[0, 1]), result)
    _plot_ends(figure.add_subplot(grid[1, :]), result)
    return figure


def _floor(axis: Axes, result: Result, x: float) -> None:
    floor = result.boltzmann["cold"]
    axis.axhline(floor, color="#777777", linestyle="--", linewidth=1)
    axis.text(x, floor + 0.03, f"equilibrium at k$_B$T = {COLD:g}", color="#555555", va="bottom")


def _plot_courses(axis: Axes, result: Result) -> None:
    langevin = [course for course in result.main if course.dynamics == "langevin"]
    for c in langevin:
        color, align = _COLOURS[c.protocol], "top" if c.protocol == "slow" else "bottom"
        draw_band(axis, c.time, c.mean, c.error, color=color)
        axis.text(1.02 * c.time[-1], c.mean[-1], PROTOCOLS[c.protocol], color=color, va=align)
    start, end = langevin[0].mean[0], langevin[0].time[-1]
    axis.set(xlabel="time of the equation", ylabel="mean energy of the walkers", ylim=(0, 1.15 * start), xlim=(0, 1.42 * end))
    axis.set_xticks(np.linspace(0, end, 6))
    _floor(axis, result, 0.02 * end)
    axis.set_title(f"(a) Langevin dynamics cooled from k$_B$T = {HOT:g} to {COLD:g}")


def _plot_durations(axis: Axes, result: Result) -> None:
    for protocol in _COOLED:
        some = [c for c in result.curves if (c.dynamics, c.protocol) == ("langevin", protocol)]
        x, mean, error = np.array(sorted((c.duration, c.mean[-1], c.error[-1]) for c in some)).T
        axis.errorbar(x, mean, error, color=_COLOURS[protocol], marker="o", markersize=4, label=PROTOCOLS[protocol])
    axis.set(xscale="log", xlabel="time taken", ylabel="final mean energy", ylim=(0, None))
    label_ticks(axis.xaxis, x.tolist())
    _floor(axis, result, x[0])
    axis.legend(loc="best")
    axis.set_title("(b) Where cooling ends, against the time it takes")


def _plot_ends(axis: Axes, result: Result) -> None:
    for j, (dynamics, label) in enumerate(DYNAMICS.items()):
        ends = {c.protocol: c for c in result.main if c.dynamics == dynamics}
        x = np.arange(len(PROTOCOLS)) + 0.16 * (j - 1)
        mean, error = np.array([(ends[protocol].mean[-1], ends[protocol].error[-1]) for protocol in PROTOCOLS]).T
        marker, color = _STYLES[dynamics]
        points(axis, x, mean, error, marker=marker, color=color, label=label, markersize=6, capsize=3)
        away, align = (0.12, "bottom") if dynamics == "decay" else (-0.12, "top")
        for at, y, protocol in zip(x, mean, PROTOCOLS, strict=True):
            if dynamics != "langevin" and protocol != "hot":
                axis.text(at, y + away, f"{ends[protocol].n_updates} updates", color=color, ha="center", va=align)
    axis.set_xticks(np.arange(len(PROTOCOLS)), PROTOCOLS.values())
    axis.set(ylabel="final mean energy", ylim=(-0.1, None), xlim=(-0.5, len(PROTOCOLS) - 0.5))
    _floor(axis, result, -0.48)
    axis.legend(loc="upper right")
    axis.set_title("(c) At equal g(t), decaying the learning rate and growing the batch end alike; growing takes fewer updates")
