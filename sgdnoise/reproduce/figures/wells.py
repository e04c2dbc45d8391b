"""Noise finds wide minima: walkers and SGD in a landscape with a wide and a narrow minimum, of which the narrow one is deeper.

(a) The landscape, and Boltzmann's law in it, cold and hot. (b) The share of walkers on the wide side against temperature: cold
they sit where the energy is lowest, hot where there is room. (c) The time to escape from a well grows with exp(height/T), as
Kramers says: the barrier's height is the slope of its logarithm against 1/T. (d) The same as (b) by SGD without any added
noise, its temperature g F/2 set by the batch size alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from ...boltzmann import boltzmann_density
from ..engine.contract import Arrays, Scale
from ..engine.verdicts import Control, Verdict, estimate, standard_error
from ..tasks.wells import STEP_SIZE, WELL, EscapeTask, OccupationTask, SgdTask, discrete_occupation, passage_time
from . import Rows, Run, Verdicts
from .style import Axes, Figure, canvas, figure_style, label_ticks

TITLE = "Wells: noise finds the wide minimum, and the batch size sets how much"

_TEMPERATURES: tuple[float, ...] = (0.16, 0.2, 0.3, 0.45, 0.7, 1.0, 1.5, 2.5, 4.0)
_BARRIERS: tuple[float, ...] = (4.0, 5.0, 6.0, 6.75, 7.5)  # heights of the barrier in temperatures at which escapes are timed
_BATCH_SIZES: tuple[int, ...] = (20, 16, 13, 10, 8, 6, 4, 3)
_COLD, _HOT = 0.2, 2.0
_HEIGHTS = dict(zip(("wide", "narrow"), WELL.heights, strict=True))
_SOURCE = "Smith and Le 2018, Smith et al. 2018, eq. 3"
_STYLES = ("#0072B2", "o"), ("#D55E00", "s")  # colour and marker of the wide and of the narrow well


@dataclass(frozen=True)
class Landscape:
    """What makes the landscape, and the heights of its barrier above the wide and the narrow minimum."""

    barrier: float
    tilt: float
    skew: float
    heights: Sequence[float]


@dataclass(frozen=True)
class SgdSetting:
    """What SGD has in common at every batch size."""

    n_train: int
    learning_rate: float
    gradient_variance: float


@dataclass(frozen=True)
class Share:
    """The share of the wide side: by Boltzmann's law, and measured, with the error of the mean."""

    temperature: float
    predicted: float
    measured: float
    error: float
    start_z: float
    """The difference that the start still makes, in standard errors."""


@dataclass(frozen=True)
class SgdShare(Share):
    """The same by SGD, whose finite step moves the law a little."""

    batch_size: int
    noise_scale: float
    at_this_step: float
    at_g_F: float  # noqa: N815
    """What the law says if the temperature is g F, without the 1/2."""


@dataclass(frozen=True)
class Escape:
    """The mean time to escape from a well: by Kramers' law, exactly, and measured, with the error of the mean."""

    well: str
    height: float
    temperature: float
    kramers: float
    exact: float
    measured: float
    error: float


@dataclass(frozen=True)
class Result:
    """The settings, and the points of panels (b), (c) and (d)."""

    landscape: Landscape
    step_size: float
    sgd_setting: SgdSetting
    occupation: list[Share]
    escape: list[Escape]
    sgd: list[SgdShare]


def run(scale: Scale) -> Run[Result]:
    """Measure panels (b), (c) and (d)."""
    walkers, escapers, groups = 4000, 800, 200
    temperatures, barriers, batch_sizes = _TEMPERATURES, _BARRIERS, _BATCH_SIZES
    if scale.quick:
        walkers, escapers, groups = 200, 100, 20
        temperatures, barriers, batch_sizes = _TEMPERATURES[2::2], (4.0, 4.75, 5.5), _BATCH_SIZES[2::2]
    elif scale.n_seeds > 4:
        walkers, escapers, groups = 16000, 4000, 800
    occupation = [OccupationTask(t, walkers, seed) for seed, t in enumerate(temperatures)]
    steps = list(enumerate(barriers))
    escape = [EscapeTask(well, h / barrier, escapers, seed) for well, h in _HEIGHTS.items() for seed, barrier in steps]
    sgd = [SgdTask(b, groups, seed=seed) for seed, b in enumerate(batch_sizes)]
    results = iter((yield [*occupation, *escape, *sgd]))
    occupied, escaped, by_sgd = ([next(results) for _ in tasks] for tasks in (occupation, escape, sgd))
    shares = [Share(*_share(task.temperature, arrays)) for task, arrays in zip(occupation, occupied, strict=True)]
    times = [_escape(task, arrays) for task, arrays in zip(escape, escaped, strict=True)]
    sgd_shares = [_sgd_share(task, arrays) for task, arrays in zip(sgd, by_sgd, strict=True)]
    setting = SgdSetting(sgd[0].n_train, sgd[0].learning_rate, sgd[0].gradient_variance)
    landscape = Landscape(WELL.barrier, WELL.tilt, WELL.skew, WELL.heights)
    result = Result(landscape, STEP_SIZE, setting, shares, times, sgd_shares)
    verdicts = _occupation_verdicts(result.occupation, occupied)
    return result, [*verdicts, _memory(occupied, by_sgd), _kramers(result.escape, escaped), _by_sgd(result.sgd, by_sgd)]


def _share(temperature: float, result: Arrays) -> tuple[float, float, float, float, float]:
    one, other, error = _by_start(result)
    wide, z = result["wide"], (one.mean() - other.mean()) / error
    return temperature, WELL.occupation(temperature)[0], float(wide.mean()), float(standard_error(wide)), float(z)


def _sgd_share(task: SgdTask, result: Arrays) -> SgdShare:
    t = task.temperature
    laws = discrete_occupation(t, STEP_SIZE), WELL.occupation(2 * t)[0]
    return SgdShare(*_share(t, result), task.batch_size, task.noise_scale, *laws)


def _by_start(result: Arrays, name: str = "wide") -> tuple[np.ndarray, np.ndarray, float]:
    """What came of those that began in the wide and in the narrow well, and the standard error of the difference."""
    one, other = result[name][result["began_wide"]], result[name][~result["began_wide"]]
    return one, other, float(np.hypot(standard_error(one), standard_error(other)))


def _escape(task: EscapeTask, result: Arrays) -> Escape:
    """Mean time from the escapes and the time at risk; the number of escapes is Poissonian."""
    n, t = int(result["escaped"].sum()), task.temperature
    time = float(result["at_risk"].sum() / n)
    kramers = dict(zip(_HEIGHTS, WELL.escape_times(t), strict=True))[task.well]
    return Escape(task.well, _HEIGHTS[task.well], t, kramers, passage_time(task.well, t), time, time / n**0.5)


def relative_slope(temperatures: np.ndarray, times: np.ndarray, height: float) -> float:
    """Slope of the logarithm of the escape time against 1/T over the height of the barrier: 1 by Kramers' law."""
    return float(np.polyfit(1 / temperatures, np.log(times), 1)[0] / height)


def _occupation_verdicts(points: list[Share], results: list[Arrays]) -> Iterator[Verdict]:
    temperatures, shares = [p.temperature for p in points], np.array([result["wide"] for result in results])
    coldest, hottest = int(np.argmin(temperatures)), int(np.argmax(temperatures))
    law, hotter = (np.array([WELL.occupation(factor * t)[0] for t in temperatures]) for factor in (1, 2))
    walkers = np.arange(shares.shape[1])

    def off_boltzmann(draw: np.ndarray, law: np.ndarray = law) -> float:
        return float(np.max(np.abs(shares[:, draw].mean(axis=1) - law)))

    def preference(draw: np.ndarray, cold: int = coldest, hot: int = hottest) -> float:
        return float(np.max([shares[cold, draw].mean(), 1 - shares[hot, draw].mean()]))

    key, source = "Boltzmann's law", "Boltzmann's law by quadrature"
    claim = "walkers occupy the wide and the narrow minimum as Boltzmann's law says, at every temperature"
    words = {"key": key, "claim": claim, "source": source, "statistic": "largest deviation of the wide side's share"}
    control = Control("the law at twice the temperature", off_boltzmann(walkers, hotter))
    yield Verdict(**words, measured=estimate(off_boltzmann, len(walkers)), threshold=0.02, control=control)

    claim = "cold walkers prefer the deeper narrow minimum, hot ones the wide one"
    statistic = f"larger of wide share at T = {temperatures[coldest]:g}, narrow share at T = {temperatures[hottest]:g}"
    words = {"key": "preference", "claim": claim, "source": _SOURCE, "statistic": statistic}
    control = Control("cold and hot walkers exchanged", preference(walkers, hottest, coldest))
    yield Verdict(**words, measured=estimate(preference, len(walkers)), threshold=0.45, control=control)


def _memory(walkers: list[Arrays], by_sgd: list[Arrays]) -> Verdict:
    settled = [_by_start(result) for result in (*walkers, *by_sgd)]
    at_first = [_by_start(result, "wide_at_first") for result in walkers]

    def memory(draw: np.ndarray, of: list[tuple[np.ndarray, np.ndarray, float]] = settled) -> float:
        """Largest difference between the starts in standard errors; `draw` is of pairs, one from either start."""
        found = []
        for one, other, error in of:
            some = draw[: len(one)] % len(one)  # there are fewer groups than walkers
            found.append(abs(one[some].mean() - other[some].mean()) / (error + 1e-12))
        return float(np.max(found))

    n_pairs = len(walkers[0]["wide"]) // 2
    claim = "walkers and SGD have forgotten which well they began in"
    statistic = "largest difference between starts in standard errors"
    words = {"key": "memory", "claim": claim, "source": "two starts", "statistic": statistic}
    control = Control("walkers in the first tenth of a relaxation time", memory(np.arange(n_pairs), at_first))
    return Verdict(**words, measured=estimate(memory, n_pairs), threshold=5.0, control=control)


def _kramers(points: list[Escape], results: list[Arrays]) -> Verdict:
    at_risk, escaped = (np.array([result[name] for result in results]) for name in ("at_risk", "escaped"))
    wells, temperatures = np.array([p.well for p in points]), np.array([p.temperature for p in points])

    def off_kramers(draw: np.ndarray, heights: Sequence[float] = WELL.heights) -> float:
        times = at_risk[:, draw].sum(axis=1) / escaped[:, draw].sum(axis=1)
        own = [(wells == well, height) for well, height in zip(_HEIGHTS, heights, strict=True)]
        return float(np.max([abs(relative_slope(temperatures[here], times[here], height) - 1) for here, height in own]))

    n_walkers, key = at_risk.shape[1], "Kramers' law"
    claim = "the logarithm of the escape time rises with 1/T by the height of the barrier"
    statistic = "larger of |slope/height - 1| for the wide and the narrow well"
    words = {"key": key, "claim": claim, "source": key, "statistic": statistic}
    control = Control("the heights of the two wells exchanged", off_kramers(np.arange(n_walkers), WELL.heights[::-1]))
    return Verdict(**words, measured=estimate(off_kramers, n_walkers), threshold=0.1, control=control)


def _by_sgd(points: list[SgdShare], results: list[Arrays]) -> Verdict:
    shares = np.array([result["wide"] for result in results])
    law, at_this_step, at_g_f, errors = np.array([(p.predicted, p.at_this_step, p.at_g_F, p.error) for p in points]).T

    def off_law(draw: np.ndarray, one_end: np.ndarray = law, other_end: np.ndarray = at_this_step) -> float:
        """Largest distance in standard errors from the stretch between the law and what the finite step makes of it."""
        share = shares[:, draw].mean(axis=1)
        beyond = np.maximum(np.minimum(one_end, other_end) - share, share - np.maximum(one_end, other_end))
        return float(np.max(np.maximum(beyond, 0) / errors))

    n_groups = shares.shape[1]
    claim = "SGD occupies the minima as Boltzmann's law says at k_B T = g F/2, with B the only setting that changes"
    statistic = "largest deviation in standard errors, beyond the finite step's own bias and on its side"
    words = {"key": "SGD", "claim": claim, "source": _SOURCE, "statistic": statistic}
    control = Control("k_B T = g F, without the 1/2", off_law(np.arange(n_groups), at_g_f, at_g_f))
    return Verdict(**words, measured=estimate(off_law, n_groups), threshold=5.0, control=control)


def rows(result: Result) -> Rows:
    """One line per measured point."""
    lines: Rows = [["panel", "dynamics", "temperature", "batch_size", "noise_scale", "predicted", "measured", "standard_error"]]
    lines += [["wide share", "walkers", p.temperature, "", "", p.predicted, p.measured, p.error] for p in result.occupation]
    lines += [[f"time out of {e.well}", "walkers", e.temperature, "", "", e.exact, e.measured, e.error] for e in result.escape]
    for s in result.sgd:
        lines.append(["wide share", "SGD", s.temperature, s.batch_size, s.noise_scale, s.predicted, s.measured, s.error])
    return lines


@figure_style()
def plot(result: Result, verdicts: Verdicts) -> Figure:
    """Draw measurements as points with error bars, and the laws as lines through them."""
    figure, ((landscape, occupation), (escape, sgd)) = canvas(7, 2, 2)
    _plot_landscape(landscape)
    _plot_shares(occupation, result.occupation, "walkers")
    occupation.set(title="(b) walkers: cold ones go deep, hot ones go wide", xlabel="temperature T (the barrier is about 1)")
    _plot_escape(escape, result.escape)
    _plot_shares(sgd, result.sgd, "SGD")
    temperatures = np.geomspace(sgd.get_xlim()[0], sgd.get_xlim()[1], 80)
    wrong = [WELL.occupation(2 * t)[0] for t in temperatures]
    sgd.plot(temperatures, wrong, color="#999999", linewidth=1, linestyle=":", zorder=0)
    sgd.text(temperatures[2], wrong[2] + 0.15, "if T were g F", color="#777777", va="bottom")
    step = np.array(sorted((p.temperature, p.at_this_step) for p in result.sgd)).T
    sgd.plot(*step, color="#000000", linewidth=1, linestyle="--", label="the same, at this finite step")
    for p in result.sgd:
        at, box = (p.temperature, p.measured), {"facecolor": "white", "edgecolor": "none", "pad": 0.5}
        sgd.annotate(f"B={p.batch_size}", at, (9, -15), textcoords="offset points", ha="center", size=8, bbox=box)
    g = f"{result.sgd_setting.learning_rate:g} ({result.sgd_setting.n_train}/B - 1)"
    sgd.set(title="(d) SGD: a smaller batch does the same", xlabel=f"g F/2, with g = {g}")
    for axis in (occupation, sgd):
        axis.legend(loc="lower right")
    return figure


def _plot_landscape(axis: Axes) -> None:
    """Draw the energy, and Boltzmann's densities on a scale of their own, standing on the axis' bottom."""
    x = np.linspace(-3.2, 1.75, 400)
    axis.plot(x, WELL.energy(x[:, None]), color="#000000", linewidth=2)
    bottom, height = -2.2, 0.55
    for temperature, color, word in ((_HOT, "#E69F00", "hot"), (_COLD, "#56B4E9", "cold")):
        grid = np.linspace(*WELL.interval(temperature), 2001)
        density = np.interp(x, grid, boltzmann_density(WELL.energy, temperature, [grid]))
        label = f"{word}, T = {temperature:g}: {WELL.occupation(temperature)[0]:.0%} on the wide side"
        axis.fill_between(x, bottom, bottom + height * density, color=color, alpha=0.6, linewidth=0, label=label)
    axis.set(ylim=(bottom, 2.9), xlim=(x[0], x[-1]), xlabel="x", yticks=[0, 1, 2], ylabel="energy U; shaded: law at rest")
    axis.text(WELL.minima[0], 0.45, "wide", ha="center")
    axis.text(WELL.minima[1] + 0.32, -0.3, "narrow,\ndeeper", ha="left")
    axis.legend(loc="upper center", fontsize=9)
    axis.set_title("(a) a narrow minimum below a wide one")


def _plot_shares(axis: Axes, points: Sequence[Share], who: str) -> None:
    x, y, error = np.array([(p.temperature, p.measured, p.error) for p in points]).T
    temperatures = np.geomspace(0.85 * x.min(), 1.25 * x.max(), 80)
    law = [WELL.occupation(t)[0] for t in temperatures]
    axis.axhline(0.5, color="#999999", linewidth=0.8)
    axis.plot(temperatures, law, color="#000000", linewidth=1, label="Boltzmann's law")
    axis.errorbar(x, y, error, linestyle="", markersize=5, color="#0072B2", marker="o", fillstyle="none", label=who)
    ticks = [t for t in (0.2, 0.3, 0.5, 1, 2, 4) if temperatures[0] <= t <= temperatures[-1]]
    axis.set(xscale="log", ylim=(0, 0.8), xlim=(temperatures[0], temperatures[-1]), ylabel="share on the wide side")
    label_ticks(axis.xaxis, ticks)


def _plot_escape(axis: Axes, points: list[Escape]) -> None:
    for (well, height), (color, marker) in zip(_HEIGHTS.items(), _STYLES, strict=True):
        some = sorted((1 / p.temperature, p.kramers, p.exact, p.measured, p.error) for p in points if p.well == well)
        inverse, kramers, exact, y, error = np.array(some).T
        axis.plot(inverse, kramers, color=color, linewidth=1)
        axis.plot(inverse, exact, color=color, linewidth=1, linestyle="--")
        axis.errorbar(inverse, y, error, linestyle="", markersize=5, fillstyle="none", color=color, marker=marker)
        slope = relative_slope(1 / inverse, y, height) * height
        label = f"out of the {well} well:\nslope {slope:.2f}, height {height:.2f}"
        at, align = ((inverse[-1], 1.3 * y[0]), "right") if well == "wide" else ((inverse[0], 1.5 * y[-1]), "left")
        axis.text(*at, label, color=color, ha=align, va="bottom")
    axis.plot([], [], color="#555555", linewidth=1, label="Kramers' law")
    axis.plot([], [], color="#555555", linewidth=1, linestyle="--", label="exact, by quadrature")
    axis.legend(loc="lower right")
    axis.set(yscale="log", ylim=(30, 9000), xlabel="1/T", ylabel="mean time to escape")
    axis.set_title("(c) escapes take exp(height/T), as Kramers says")
