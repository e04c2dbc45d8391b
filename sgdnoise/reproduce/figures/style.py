"""How the figures look: colours for colour-blind readers too, and line styles that show curves lying on each other."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes as Axes
    from matplotlib.figure import Figure as Figure
else:
    Axes = Figure = Any  # matplotlib is imported by who draws

SCHEDULES: dict[str, dict[str, Any]] = {
    "control": {"color": "#999999", "linestyle": "-", "linewidth": 1.4, "label": "control: never changes"},
    "decaying": {"color": "#0072B2", "linestyle": "-", "linewidth": 4.5, "alpha": 0.45, "label": "decaying learning rate"},
    "hybrid": {"color": "#D55E00", "linestyle": "--", "linewidth": 1.8, "label": "hybrid"},
    "increasing": {"color": "#000000", "linestyle": ":", "linewidth": 2.0, "label": "increasing batch size"},
}
"""Line style of each schedule, in drawing order: a broad band first, then dashes and dots on top of it."""

_SETTINGS: Any = {
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 10,
    "axes.titlelocation": "left",
    "legend.frameon": False,
    "figure.dpi": 150,
    "savefig.dpi": 150,
}


@contextmanager
def figure_style() -> Iterator[None]:
    """Draw and save as all figures do, whatever the reader's own settings of matplotlib are; also a decorator of what draws."""
    backend = os.environ.pop("MPLBACKEND", None)  # it may name one that is not installed here, and no figure needs one
    try:
        from matplotlib import style
    finally:
        if backend is not None:
            os.environ["MPLBACKEND"] = backend
    with style.context(["default", _SETTINGS]):
        yield


def blank(height: float, width: float = 9.0) -> Figure:
    """Return an empty figure, sizes in inches."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")


def canvas(height: float, n_rows: int = 1, n_columns: int = 2, **options: Any) -> tuple[Figure, Any]:
    """Return an empty figure and its axes."""
    figure = blank(height)
    return figure, figure.subplots(n_rows, n_columns, **options)


def points(axis: Axes, x: Any, y: Any, error: Any = None, **style: Any) -> None:
    """Draw measurements as open markers with error bars."""
    open_circles: Any = {"linestyle": "", "marker": "o", "markersize": 5, "fillstyle": "none"}
    axis.errorbar(x, y, error, **open_circles | style)


def label_ticks(axis: Any, values: Sequence[float], labels: Sequence[str] | None = None) -> None:
    """Put ticks on an x- or y-axis, with their values as labels if none are given, and no others."""
    axis.set_ticks(values, labels or [f"{value:g}" for value in values])
    axis.set_ticks([], minor=True)
