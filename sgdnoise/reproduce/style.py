"""How the figures look: colours for colour-blind readers too, and line styles that show curves lying on each other."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

SCHEDULES: dict[str, dict[str, Any]] = {
    "control": {"color": "#999999", "linestyle": "-", "linewidth": 1.4, "label": "control: never changes"},
    "decaying": {"color": "#0072B2", "linestyle": "-", "linewidth": 4.5, "alpha": 0.45, "label": "decaying learning rate"},
    "hybrid": {"color": "#D55E00", "linestyle": "--", "linewidth": 1.8, "label": "hybrid"},
    "increasing": {"color": "#000000", "linestyle": ":", "linewidth": 2.0, "label": "increasing batch size"},
}
"""Line style of each schedule, in drawing order: a broad band first, then dashes and dots on top of it."""


@contextmanager
def figure_style() -> Iterator[None]:
    """Set the fonts and axes of all figures."""
    import matplotlib

    settings: Any = {
        "font.size": 10,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.titlesize": 10,
        "axes.titlelocation": "left",
        "legend.frameon": False,
        "figure.dpi": 150,
        "savefig.dpi": 150,
    }
    with matplotlib.rc_context(settings):
        yield


def standard_error(values: np.ndarray) -> np.ndarray:
    """Standard error of the mean over the first axis, the seeds; 0 for a single one."""
    n = len(values)
    return values.std(axis=0, ddof=1) / np.sqrt(n) if n > 1 else np.zeros(values.shape[1:])
