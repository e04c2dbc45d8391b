"""Three samplers, three kinds of noise: of a single batch, and of SGD at rest.

(a) The covariance of minibatch gradients of a real network, for batches of 1 to N: Sigma/B with replacement, (1/B - 1/N) S
without, and the same for one batch of a reshuffled epoch. (b) SGD at rest on a quadratic: with independent batches its variance
is proportional to the learning rate, and so to g; a reshuffled epoch cancels most of its own noise, and what is left at its
end goes with the third power of the learning rate until eps h n, for n updates an epoch, is no longer small.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ..sampling import METHODS
from .noise_tasks import MinibatchNoiseTask, StationaryTask, batch_variance
from .style import figure_style, standard_error
from .tasks import Compute, Scale
from .verdicts import Verdict

if TYPE_CHECKING:
    from matplotlib.figure import Figure

TITLE = "Samplers: what a batch's noise is, and what an epoch leaves of it"

_BATCH_SIZES: tuple[int, ...] = (1, 2, 5, 10, 20, 50, 100, 200, 300, 400, 450, 480, 495, 500)
_LEARNING_RATES: tuple[float, ...] = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0)
_SOURCE = "Smith et al. 2018, eq. 3"
_STYLES = {
    "with_replacement": {"color": "#E69F00", "marker": "^", "label": "with replacement"},
    "without_replacement": {"color": "#0072B2", "marker": "o", "label": "without replacement"},
    "reshuffle": {"color": "#000000", "marker": "x", "label": "epoch reshuffling"},
}


def run(scale: Scale, compute: Compute) -> dict[str, Any]:
    """Measure both panels."""
    n_draws, n_replicas, batch_sizes, rates = 300, 200, _BATCH_SIZES, _LEARNING_RATES
    if scale.n_seeds == 1:
        n_draws, n_replicas, batch_sizes, rates = 20, 40, _BATCH_SIZES[::3], _LEARNING_RATES[2:]
    noise_tasks = [MinibatchNoiseTask(method, b, n_draws=n_draws) for method in METHODS for b in batch_sizes]
    rest_tasks = [
        StationaryTask(method, rate, n_replicas=n_replicas) for method in ("reshuffle", "without_replacement") for rate in rates
    ]
    results = compute([*noise_tasks, *rest_tasks])
    noise = [
        _point(task.method, task.batch_size, task.predicted(1.0), result["trace"] / result["S_trace"])
        for task, result in zip(noise_tasks, results, strict=False)
    ]
    rest = [
        _point(task.method, task.learning_rate, task.predicted(), result["squares"])
        for task, result in zip(rest_tasks, results[len(noise_tasks) :], strict=True)
    ]
    return {
        "n_train": noise_tasks[0].n_train,
        "quadratic": {"n_train": rest_tasks[0].n_train, "batch_size": rest_tasks[0].batch_size},
        "noise": noise,
        "rest": rest,
        "verdicts": _verdicts(noise, rest),
    }


def _point(method: str, x: float, predicted: float, sample: np.ndarray) -> dict[str, Any]:
    error = float(standard_error(sample))
    return {"method": method, "x": x, "predicted": predicted, "measured": float(sample.mean()), "error": error}


def _verdicts(noise: list[dict[str, Any]], rest: list[dict[str, Any]]) -> list[Verdict]:
    def worst(points: list[dict[str, Any]]) -> float:
        # At B = N the law is 0 and so is the measurement, up to rounding.
        return float(max(abs(p["measured"] - p["predicted"]) / (p["error"] + 1e-12) for p in points))

    at_slowest = {p["method"]: p for p in rest if p["x"] == rest[0]["x"]}
    slow = at_slowest["reshuffle"]
    return [
        Verdict(
            claim="minibatch gradients of a real network have the covariance of their sampler, from B = 1 to N",
            source=_SOURCE,
            statistic="largest deviation in standard errors",
            value=worst(noise),
            threshold=5.0,
        ),
        Verdict(
            claim="SGD at rest on a quadratic has the exact discrete-time variance of its sampler",
            source="discrete Lyapunov equation",
            statistic="largest deviation in standard errors",
            value=worst(rest),
            threshold=5.0,
        ),
        Verdict(
            claim=f"a reshuffled epoch cancels its noise at eps h = {slow['x']:g}: g does not describe what is left",
            source="exact law of reshuffling",
            statistic="variance over that of independent batches",
            value=slow["measured"] / at_slowest["without_replacement"]["predicted"],
            threshold=0.1,
        ),
    ]


def rows(result: dict[str, Any]) -> list[list[Any]]:
    """One line per measured point."""
    lines: list[list[Any]] = [["panel", "method", "batch_size_or_learning_rate", "predicted", "measured", "standard_error"]]
    for panel in ("noise", "rest"):
        lines += [[panel, p["method"], p["x"], p["predicted"], p["measured"], p["error"]] for p in result[panel]]
    return lines


def plot(result: dict[str, Any]) -> Figure:
    """Draw measurements as points with error bars, and the laws through them."""
    from matplotlib.figure import Figure

    n, quadratic = result["n_train"], result["quadratic"]
    with figure_style():
        figure = Figure(figsize=(9, 3.8), layout="constrained")
        noise, rest = figure.subplots(1, 2)
        batch_sizes = np.concatenate([np.geomspace(1, n / 2, 60), n - np.geomspace(n / 2, 1, 60)])
        rates = np.geomspace(_LEARNING_RATES[0], _LEARNING_RATES[-1], 80)
        for method, style in _STYLES.items():
            points = {"linestyle": "", "markersize": 5, "fillstyle": "none", **style}
            for axis, panel in ((noise, "noise"), (rest, "rest")):
                chosen = [p for p in result[panel] if p["method"] == method and p["measured"] > 1e-9]
                if chosen:
                    x, y, error = (np.array([p[key] for p in chosen]) for key in ("x", "measured", "error"))
                    axis.errorbar(x, y, _error_bars(y, error), **points)
            if method != "reshuffle":
                noise.plot(batch_sizes, batch_variance(method, batch_sizes, n, 1.0), color=style["color"], linewidth=1)
            if method != "with_replacement":
                law = [StationaryTask(method, rate, **quadratic).predicted() for rate in rates]
                rest.plot(rates, law, color=style["color"], linewidth=1)
        noise.set(xscale="log", yscale="log", ylim=(3e-6, 2), xlabel="batch size B", ylabel="Var(batch mean) / S")
        noise.set_title(f"(a) one batch of {n} examples: 1/B, or 1/B - 1/N")
        rest.set(xscale="log", yscale="log", xlabel="learning rate x curvature", ylabel="Var(w) at epoch ends")
        rest.set_title("(b) SGD at rest: reshuffled epochs cancel their noise")
        noise.legend(loc="lower left", title="points measured, lines exact")
        rest.text(0.0105, 7e-4, "independent batches: as eps", va="bottom", rotation=19, rotation_mode="anchor")
        rest.text(0.05, 2e-5, "reshuffled: as eps$^3$")
    return figure


def _error_bars(y: np.ndarray, error: np.ndarray) -> np.ndarray:
    """Error bars that stay above 0 on a logarithmic axis."""
    return np.array([np.minimum(error, 0.9 * y), error])
