"""Noise finds wide minima: walkers and SGD in a landscape with a wide and a narrow minimum, of which the narrow one is deeper.

(a) The landscape, and Boltzmann's law in it, cold and hot. (b) The share of walkers on the wide side against temperature: cold
they sit where the energy is lowest, hot where there is room. (c) The time to escape from a well grows with exp(height/T), as
Kramers says: the barrier's height is the slope of its logarithm against 1/T. (d) The same as (b) by SGD without any added
noise, its temperature g F/2 set by the batch size alone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ..boltzmann import boltzmann_density
from .style import figure_style, standard_error
from .tasks import Arrays, Compute, Scale
from .verdicts import Verdict, bootstrap_interval
from .well_tasks import STEP_SIZE, WELL, EscapeTask, OccupationTask, SgdTask, discrete_occupation, passage_time

if TYPE_CHECKING:
    from matplotlib.figure import Figure

TITLE = "Wells: noise finds the wide minimum, and the batch size sets how much"

_TEMPERATURES: tuple[float, ...] = (0.16, 0.2, 0.3, 0.45, 0.7, 1.0, 1.5, 2.5, 4.0)
_BARRIERS: tuple[float, ...] = (4.0, 5.0, 6.0, 6.75, 7.5)  # heights of the barrier in temperatures at which escapes are timed
_BATCH_SIZES: tuple[int, ...] = (20, 16, 13, 10, 8, 6, 4, 3)
_COLD, _HOT = 0.2, 2.0
_SOURCE = "Smith and Le 2018, Smith et al. 2018, eq. 3"
_STYLES = {"wide": {"color": "#0072B2", "marker": "o"}, "narrow": {"color": "#D55E00", "marker": "s"}}


def run(scale: Scale, compute: Compute) -> dict[str, Any]:
    """Measure panels (b), (c) and (d)."""
    walkers, escapers, groups = 4000, 800, 200
    temperatures, barriers, batch_sizes = _TEMPERATURES, _BARRIERS, _BATCH_SIZES
    if scale.n_seeds == 1:
        walkers, escapers, groups = 400, 300, 60
        temperatures, barriers, batch_sizes = _TEMPERATURES[2::2], (4.0, 4.75, 5.5), _BATCH_SIZES[2::2]
    elif scale.n_seeds > 4:
        walkers, escapers, groups = 16000, 4000, 800
    occupation_tasks = [OccupationTask(t, walkers, seed) for seed, t in enumerate(temperatures)]
    escape_tasks = [
        EscapeTask(well, height / barrier, escapers, seed)
        for well, height in zip(("wide", "narrow"), WELL.heights, strict=True)
        for seed, barrier in enumerate(barriers)
    ]
    sgd_tasks = [SgdTask(b, groups, seed=seed) for seed, b in enumerate(batch_sizes)]
    results = compute([*occupation_tasks, *escape_tasks, *sgd_tasks])
    occupied, escaped = results[: len(occupation_tasks)], results[len(occupation_tasks) : -len(sgd_tasks)]
    by_sgd = results[-len(sgd_tasks) :]
    occupation = [
        {"temperature": task.temperature, **_share(task.temperature, result)}
        for task, result in zip(occupation_tasks, occupied, strict=True)
    ]
    escape = [_escape(task, result) for task, result in zip(escape_tasks, escaped, strict=True)]
    sgd = [
        {
            "batch_size": task.batch_size,
            "noise_scale": task.noise_scale,
            "temperature": task.temperature,
            **_share(task.temperature, result),
            "at_this_step": discrete_occupation(task.temperature, STEP_SIZE),
            "at_g_F": WELL.occupation(2 * task.temperature)[0],
        }
        for task, result in zip(sgd_tasks, by_sgd, strict=True)
    ]
    task = sgd_tasks[0]
    setting = {name: getattr(task, name) for name in ("n_train", "learning_rate", "gradient_variance")}
    return {
        "landscape": {"barrier": WELL.barrier, "tilt": WELL.tilt, "skew": WELL.skew, "heights": list(WELL.heights)},
        "step_size": STEP_SIZE,
        "sgd_setting": setting,
        "occupation": occupation,
        "escape": escape,
        "sgd": sgd,
        "verdicts": _verdicts((occupation, occupied), (escape, escaped), (sgd, by_sgd)),
    }


def _share(temperature: float, result: Arrays) -> dict[str, float]:
    """Share of the wide side: predicted, measured, and the difference that the start still makes, in standard errors."""
    began = [result["wide"][result["began_wide"] == there] for there in (True, False)]
    difference = began[0].mean() - began[1].mean()
    return {
        "predicted": WELL.occupation(temperature)[0],
        "measured": float(result["wide"].mean()),
        "error": float(standard_error(result["wide"])),
        "start_z": float(difference / np.hypot(*(standard_error(half) for half in began))),
    }


def _escape(task: EscapeTask, result: Arrays) -> dict[str, Any]:
    """Mean time from the escapes and the time at risk; the number of escapes is Poissonian."""
    n, height = int(result["escaped"].sum()), WELL.heights[task.well == "narrow"]
    time = float(result["at_risk"].sum() / n)
    return {
        "well": task.well,
        "height": height,
        "temperature": task.temperature,
        "kramers": WELL.escape_times(task.temperature)[task.well == "narrow"],
        "exact": passage_time(task.well, task.temperature),
        "measured": time,
        "error": time / n**0.5,
    }


def slope(escape: list[dict[str, Any]], well: str, key: str = "measured") -> float:
    """Slope of the logarithm of the escape time against 1/T over the height of the barrier: 1 by Kramers' law."""
    points = [p for p in escape if p["well"] == well]
    fit = np.polyfit([1 / p["temperature"] for p in points], np.log([p[key] for p in points]), 1)
    return float(fit[0] / points[0]["height"])


Panel = tuple[list[dict[str, Any]], list[Arrays]]
"""Points of a panel, and the results they were made from."""


def _verdicts(occupation: Panel, escape: Panel, sgd: Panel) -> list[Verdict]:
    by_walkers, by_escapes, by_sgd = occupation[0], escape[0], sgd[0]
    shares, sgd_shares = (np.array([result["wide"] for result in panel[1]]) for panel in (occupation, sgd))
    times, escapes = (np.array([result[name] for result in escape[1]], dtype=float) for name in ("at_risk", "escaped"))
    coldest, hottest = (pick(range(len(by_walkers)), key=lambda i: by_walkers[i]["temperature"]) for pick in (min, max))
    heights = {well: next(p["height"] for p in by_escapes if p["well"] == well) for well in _STYLES}
    walkers, groups, escapers = (np.arange(table.shape[1]) for table in (shares, sgd_shares, times))

    laws = {factor: np.array([WELL.occupation(factor * p["temperature"])[0] for p in by_walkers]) for factor in (1, 2)}

    def off_boltzmann(draw: np.ndarray, hotter: int = 1) -> float:
        return float(np.max(np.abs(shares[:, draw].mean(axis=1) - laws[hotter])))

    def preference(draw: np.ndarray, cold: int = coldest, hot: int = hottest) -> float:
        return float(max(shares[cold, draw].mean(), 1 - shares[hot, draw].mean()))

    def starts(panel: Panel, name: str) -> list[tuple[np.ndarray, np.ndarray, float]]:
        """What came of either start, and the standard error of the difference."""
        halves = [(result[name][result["began_wide"]], result[name][~result["began_wide"]]) for result in panel[1]]
        return [(one, other, float(np.hypot(standard_error(one), standard_error(other)) + 1e-12)) for one, other in halves]

    settled, at_first = [*starts(occupation, "wide"), *starts(sgd, "wide")], starts(occupation, "wide_at_first")

    def memory(draw: np.ndarray, of: list[tuple[np.ndarray, np.ndarray, float]] = settled) -> float:
        """Largest difference between the starts in standard errors; `draw` is of pairs, one from either start."""
        found = []
        for one, other, error in of:
            some = draw[: len(one)] % len(one)  # there are fewer groups than walkers
            found.append(abs(one[some].mean() - other[some].mean()) / error)
        return float(np.max(found))

    def off_kramers(draw: np.ndarray, other: bool = False) -> float:
        mean = times[:, draw].sum(axis=1) / escapes[:, draw].sum(axis=1)
        points = [p | {"drawn": value} for p, value in zip(by_escapes, mean, strict=True)]
        wells = list(_STYLES)
        against = dict(zip(wells, wells[::-1] if other else wells, strict=True))
        ratios = [slope(points, well, "drawn") * heights[well] / heights[against[well]] for well in wells]
        return float(np.max(np.abs(np.array(ratios) - 1)))

    def off_sgd(draw: np.ndarray, law: str = "predicted") -> float:
        """Largest distance in standard errors from the stretch between the law and what the finite step makes of it."""
        found = []
        for p, share in zip(by_sgd, sgd_shares[:, draw].mean(axis=1), strict=True):
            ends = (p["predicted"], p["at_this_step"]) if law == "predicted" else (p[law], p[law])
            found.append(max(min(ends) - share, share - max(ends), 0.0) / p["error"])
        return float(np.max(found))

    pairs = np.arange(len(walkers) // 2)
    return [
        Verdict(
            claim="walkers occupy the wide and the narrow minimum as Boltzmann's law says, at every temperature",
            source="Boltzmann's law by quadrature",
            statistic="largest deviation of the wide side's share",
            value=off_boltzmann(walkers),
            threshold=0.02,
            interval=bootstrap_interval(off_boltzmann, len(walkers)),
            control="the law at twice the temperature",
            control_value=off_boltzmann(walkers, 2),
        ),
        Verdict(
            claim="cold walkers prefer the deeper narrow minimum, hot ones the wide one",
            source=_SOURCE,
            statistic=f"larger of wide share at T = {by_walkers[coldest]['temperature']:g}, "
            f"narrow share at T = {by_walkers[hottest]['temperature']:g}",
            value=preference(walkers),
            threshold=0.45,
            interval=bootstrap_interval(preference, len(walkers)),
            control="cold and hot walkers exchanged",
            control_value=preference(walkers, hottest, coldest),
        ),
        Verdict(
            claim="walkers and SGD have forgotten which well they began in",
            source="two starts",
            statistic="largest difference between starts in standard errors",
            value=memory(pairs),
            threshold=5.0,
            interval=bootstrap_interval(memory, len(pairs)),
            control="walkers in the first tenth of a relaxation time",
            control_value=memory(pairs, at_first),
        ),
        Verdict(
            claim="the logarithm of the escape time rises with 1/T by the height of the barrier",
            source="Kramers' law",
            statistic="larger of |slope/height - 1| for the wide and the narrow well",
            value=off_kramers(escapers),
            threshold=0.1,
            interval=bootstrap_interval(off_kramers, len(escapers)),
            control="the heights of the two wells exchanged",
            control_value=off_kramers(escapers, other=True),
        ),
        Verdict(
            claim="SGD occupies the minima as Boltzmann's law says at k_B T = g F/2, with B the only setting that changes",
            source=_SOURCE,
            statistic="largest deviation in standard errors, beyond the finite step's own bias and on its side",
            value=off_sgd(groups),
            threshold=5.0,
            interval=bootstrap_interval(off_sgd, len(groups)),
            control="k_B T = g F, without the 1/2",
            control_value=off_sgd(groups, "at_g_F"),
        ),
    ]


def rows(result: dict[str, Any]) -> list[list[Any]]:
    """One line per measured point."""
    lines: list[list[Any]] = [
        ["panel", "dynamics", "temperature", "batch_size", "noise_scale", "predicted", "measured", "standard_error"]
    ]
    for p in result["occupation"]:
        lines.append(["wide share", "walkers", p["temperature"], "", "", p["predicted"], p["measured"], p["error"]])
    for p in result["escape"]:
        lines.append([f"time out of {p['well']}", "walkers", p["temperature"], "", "", p["exact"], p["measured"], p["error"]])
    for p in result["sgd"]:
        noise = [p["temperature"], p["batch_size"], p["noise_scale"]]
        lines.append(["wide share", "SGD", *noise, p["predicted"], p["measured"], p["error"]])
    return lines


def plot(result: dict[str, Any]) -> Figure:
    """Draw measurements as points with error bars, and the laws as lines through them."""
    from matplotlib.figure import Figure

    with figure_style():
        figure = Figure(figsize=(9, 7), layout="constrained")
        (landscape, occupation), (escape, sgd) = figure.subplots(2, 2)
        _plot_landscape(landscape)
        _plot_share(occupation, result["occupation"], "walkers")
        occupation.set_title("(b) walkers: cold ones go deep, hot ones go wide")
        occupation.set_xlabel("temperature T (the barrier is about 1)")
        _plot_escape(escape, result["escape"])
        _plot_share(sgd, result["sgd"], "SGD")
        temperatures = np.geomspace(sgd.get_xlim()[0], sgd.get_xlim()[1], 80)
        wrong = [WELL.occupation(2 * t)[0] for t in temperatures]
        sgd.plot(temperatures, wrong, color="#999999", linewidth=1, linestyle=":", zorder=0)
        sgd.text(temperatures[2], wrong[2] + 0.15, "if T were g F", color="#777777", va="bottom")
        step = sorted((p["temperature"], p["at_this_step"]) for p in result["sgd"])
        sgd.plot(*zip(*step, strict=True), color="#000000", linewidth=1, linestyle="--", label="the same, at this finite step")
        for p in result["sgd"]:
            at, box = (p["temperature"], p["measured"]), {"facecolor": "white", "edgecolor": "none", "pad": 0.5}
            sgd.annotate(f"B={p['batch_size']}", at, (9, -15), textcoords="offset points", ha="center", size=8, bbox=box)
        setting = result["sgd_setting"]
        sgd.set_title("(d) SGD: a smaller batch does the same")
        sgd.set_xlabel(f"g F/2, with g = {setting['learning_rate']:g} ({setting['n_train']}/B - 1)")
        sgd.legend(loc="lower right")
        occupation.legend(loc="lower right")
    return figure


def _plot_landscape(axis: Any) -> None:
    """Draw the energy, and Boltzmann's densities on a scale of their own, standing on the axis' bottom."""
    x = np.linspace(-3.2, 1.75, 400)
    energy = WELL.energy(x[:, None])
    axis.plot(x, energy, color="#000000", linewidth=2)
    bottom, height = -2.2, 0.55
    for temperature, color, word in ((_HOT, "#E69F00", "hot"), (_COLD, "#56B4E9", "cold")):
        low, high = WELL.interval(temperature)
        grid = np.linspace(low, high, 2001)
        density = np.interp(x, grid, boltzmann_density(WELL.energy, temperature, [grid]))
        label = f"{word}, T = {temperature:g}: {WELL.occupation(temperature)[0]:.0%} on the wide side"
        axis.fill_between(x, bottom, bottom + height * density, color=color, alpha=0.6, linewidth=0, label=label)
    axis.set(ylim=(bottom, 2.9), xlim=(x[0], x[-1]), xlabel="x", yticks=[0, 1, 2])
    axis.set_ylabel("energy U; shaded: law at rest")
    axis.text(WELL.minima[0], 0.45, "wide", ha="center")
    axis.text(WELL.minima[1] + 0.32, -0.3, "narrow,\ndeeper", ha="left")
    axis.legend(loc="upper center", fontsize=9)
    axis.set_title("(a) a narrow minimum below a wide one")


def _plot_share(axis: Any, points: list[dict[str, Any]], who: str) -> None:
    x, y, error = (np.array([p[key] for p in points]) for key in ("temperature", "measured", "error"))
    temperatures = np.geomspace(0.85 * x.min(), 1.25 * x.max(), 80)
    law = [WELL.occupation(t)[0] for t in temperatures]
    axis.axhline(0.5, color="#999999", linewidth=0.8)
    axis.plot(temperatures, law, color="#000000", linewidth=1, label="Boltzmann's law")
    axis.errorbar(x, y, error, linestyle="", markersize=5, color="#0072B2", marker="o", fillstyle="none", label=who)
    ticks = [t for t in (0.2, 0.3, 0.5, 1, 2, 4) if temperatures[0] <= t <= temperatures[-1]]
    axis.set(xscale="log", ylim=(0, 0.8), xlim=(temperatures[0], temperatures[-1]), ylabel="share on the wide side")
    axis.set_xticks(ticks, [f"{t:g}" for t in ticks])
    axis.minorticks_off()


def _plot_escape(axis: Any, points: list[dict[str, Any]]) -> None:
    for well, style in _STYLES.items():
        chosen = sorted((p for p in points if p["well"] == well), key=lambda p: -p["temperature"])
        inverse, kramers, exact, y, error = (
            np.array([p[key] for p in chosen]) for key in ("temperature", "kramers", "exact", "measured", "error")
        )
        inverse = 1 / inverse
        axis.plot(inverse, kramers, color=style["color"], linewidth=1)
        axis.plot(inverse, exact, color=style["color"], linewidth=1, linestyle="--")
        axis.errorbar(inverse, y, error, linestyle="", markersize=5, fillstyle="none", **style)
        label = (
            f"out of the {well} well:\nslope {slope(points, well) * chosen[0]['height']:.2f}, height {chosen[0]['height']:.2f}"
        )
        if well == "wide":
            axis.text(inverse[-1], 1.3 * y[0], label, color=style["color"], ha="right", va="bottom")
        else:
            axis.text(inverse[0], 1.5 * y[-1], label, color=style["color"], ha="left", va="bottom")
    axis.plot([], [], color="#555555", linewidth=1, label="Kramers' law")
    axis.plot([], [], color="#555555", linewidth=1, linestyle="--", label="exact, by quadrature")
    axis.legend(loc="lower right")
    axis.set(yscale="log", ylim=(30, 9000), xlabel="1/T", ylabel="mean time to escape")
    axis.set_title("(c) escapes take exp(height/T), as Kramers says")
