"""The figure of the growth curves, from results alone."""

from typing import Any, NamedTuple

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from sgdnoise.reproduce.figures.style import figure_style

LIMIT = {"color": "#D55E00", "linestyle": "--", "linewidth": 1.6}
TRAFFIC = {"color": "#009E73", "linestyle": ":", "linewidth": 2.2}


class Curve(NamedTuple):
    """Which time to draw, what to call it, how it looks, and where its name stands: at which point, and how far from it."""

    side: str
    label: str
    style: dict[str, Any]
    at: float  # from 0, the left end, to 1
    offset: tuple[int, int]  # in points
    part: dict[str, Any] | None = None  # what else the setting of its rows has


class Panel(NamedTuple):
    """Rows of a benchmark whose setting has these entries, against another entry of the setting."""

    benchmark: str
    part: dict[str, Any]
    against: str
    title: str
    xlabel: str
    ylabel: str
    curves: list[Curve]
    scale: float = 1e6


REFERENCE = Curve("reference", "reference", {"color": "#777777", "linewidth": 1.6}, 0, (0, 7))
FAST = Curve("fast", "fast", {"color": "#0072B2", "linewidth": 2.6, "marker": "o", "markersize": 4}, 0, (0, 7))
PRODUCTS = Curve("matrix products alone", "matrix products alone", LIMIT, 0.5, (8, -18))
LIGHT = FAST.style | {"color": "#56B4E9"}
UPDATE = "time of one update (µs)"

PANELS = [
    Panel(
        "growth",
        {"against": "batch size"},
        "at",
        "196-128-10 against batch size",
        "batch size",
        UPDATE,
        [REFERENCE, FAST, PRODUCTS],
    ),
    Panel(
        "growth",
        {"against": "hidden units"},
        "at",
        "196-h-10 at batch size 128 against h",
        "hidden units h",
        UPDATE,
        [
            REFERENCE,
            FAST,
            PRODUCTS._replace(at=0, offset=(0, -16)),
            Curve("memory traffic alone", "optimizer's memory traffic alone", TRAFFIC, 0.2, (8, -12)),
        ],
    ),
    Panel(
        "growth",
        {"against": "replicas"},
        "at",
        "196-32-10 at batch size 16 against replicas",
        "replicas at once",
        "one update, per replica (µs)",
        [REFERENCE, FAST, PRODUCTS],
    ),
    Panel(
        "langevin",
        {"dtype": "float32"},
        "walkers",
        "Langevin dynamics against walkers",
        "walkers",
        "one step, per walker (ns)",
        [
            Curve("step", "step with NumPy's normals", REFERENCE.style, 0.5, (4, 7), {"increments": "normal"}),
            Curve("step", "with Box-Muller's", FAST.style, 0.5, (4, -16), {"increments": "box-muller"}),
            Curve("step", "with random signs", LIGHT, 0.75, (-60, -16), {"increments": "signs"}),
            Curve("increments alone", "NumPy's normals\nalone", LIMIT, 0, (0, -46), {"increments": "normal"}),
        ],
        1e9,
    ),
]


def draw(results: dict[str, dict[str, Any]]) -> Figure:
    """Draw times against batch size, hidden units, replicas and walkers, with limits as broken lines."""
    with figure_style():
        figure = Figure(figsize=(9.5, 7.2), layout="constrained")
        for i, panel in enumerate(PANELS):
            axis = figure.add_subplot(2, 2, i + 1)
            for curve in panel.curves:
                part = panel.part | (curve.part or {})
                rows = [row for row in results[panel.benchmark]["rows"] if part.items() <= row["setting"].items()]
                x = [row["setting"][panel.against] for row in rows]
                scale = [panel.scale / (n if panel.against == "walkers" else 1) for n in x]
                _draw(axis, curve, x, [row["times"][curve.side] * s for row, s in zip(rows, scale, strict=True)])
            axis.set_xticks(x[::2], labels=[f"{n:,}".replace(",", " ") for n in x[::2]])
            axis.minorticks_off()
            axis.set_ymargin(0.12)
            axis.set(title=panel.title, xlabel=panel.xlabel, ylabel=panel.ylabel)
    return figure


def _draw(axis: Axes, curve: Curve, x: list[float], y: list[float]) -> None:
    axis.loglog(x, y, **curve.style)
    i = round(curve.at * (len(x) - 1))
    axis.annotate(curve.label, (x[i], y[i]), curve.offset, textcoords="offset points", color=curve.style["color"], fontsize=9)
