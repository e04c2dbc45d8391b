"""Three samplers, three kinds of noise: of a single batch, and of SGD at rest.

(a) The covariance of minibatch gradients of a real network, for batches of 1 to N: Sigma/B with replacement, (1/B - 1/N) S
without, and the same for one batch of a reshuffled epoch. (b) SGD at rest on a quadratic: with independent batches its variance
is proportional to the learning rate, and so to g; a reshuffled epoch cancels most of its own noise, and what is left at its
end goes with the third power of the learning rate until eps h n, for n updates an epoch, is no longer small.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from ..sampling import METHODS
from .noise_tasks import MinibatchNoiseTask, StationaryTask, batch_variance
from .style import figure_style, standard_error
from .tasks import Compute, Scale
from .verdicts import Verdict, bootstrap_interval

if TYPE_CHECKING:
    from matplotlib.figure import Figure

TITLE = "Samplers: what a batch's noise is, and what an epoch leaves of it"

NoiseTask = MinibatchNoiseTask | StationaryTask
Measured = tuple[NoiseTask, np.ndarray]
_BATCH_SIZES: tuple[int, ...] = (1, 2, 5, 10, 20, 50, 100, 200, 300, 400, 450, 480, 495, 500)
_LEARNING_RATES: tuple[float, ...] = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0)
_SOURCE = "Smith et al. 2018, eq. 3"
_STYLES: dict[str, dict[str, Any]] = {
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
    drawn, rested = results[: len(noise_tasks)], results[len(noise_tasks) :]
    noise: list[Measured] = [(task, r["trace"] / r["S_trace"]) for task, r in zip(noise_tasks, drawn, strict=True)]
    rest: list[Measured] = [(task, r["squares"]) for task, r in zip(rest_tasks, rested, strict=True)]
    return {
        "n_train": noise_tasks[0].n_train,
        "quadratic": {"n_train": rest_tasks[0].n_train, "batch_size": rest_tasks[0].batch_size},
        "noise": [_point(*measured) for measured in noise],
        "rest": [_point(*measured) for measured in rest],
        "verdicts": _verdicts(noise, rest, rates[0]),
    }


def _predicted(task: NoiseTask) -> float:
    """Its sampler's law, of gradients whose variance is 1."""
    return task.predicted(1.0) if isinstance(task, MinibatchNoiseTask) else task.predicted()


def _point(task: NoiseTask, sample: np.ndarray) -> dict[str, Any]:
    x, error = task.batch_size if isinstance(task, MinibatchNoiseTask) else task.learning_rate, float(standard_error(sample))
    return {"method": task.method, "x": x, "predicted": _predicted(task), "measured": float(sample.mean()), "error": error}


def _verdicts(noise: list[Measured], rest: list[Measured], slowest: float) -> list[Verdict]:
    def statistic(panel: list[Measured], others: dict[str, str] | None = None) -> Callable[[np.ndarray], float]:
        """Largest deviation in standard errors; from the laws of other samplers, where `others` names them."""
        tasks = [replace(task, method=others[task.method]) if others else task for task, _ in panel]
        laws, samples = np.array([_predicted(task) for task in tasks]), np.array([sample for _, sample in panel])
        # At B = N the law is 0 and so is the measurement, up to rounding.
        errors = standard_error(samples.T) + 1e-12
        return lambda draw: float(np.max(np.abs(samples[:, draw].mean(axis=1) - laws) / errors))  # NaN stays NaN, and fails

    def left(draw: np.ndarray, method: str = "reshuffle") -> float:
        """Variance at the smallest learning rate over the law of independent batches."""
        task, sample = next((t, s) for t, s in rest if t.method == method)
        return float(sample[draw].mean()) / _predicted(replace(task, method="without_replacement"))

    def claim(panel: list[Measured], others: dict[str, str], **words: str) -> Verdict:
        draws = np.arange(len(panel[0][1]))
        return Verdict(
            **words,
            statistic="largest deviation in standard errors",
            value=statistic(panel)(draws),
            threshold=5.0,
            interval=bootstrap_interval(statistic(panel), len(draws)),
            control_value=statistic(panel, others)(draws),
        )

    swapped = {
        "with_replacement": "without_replacement",
        "without_replacement": "with_replacement",
        "reshuffle": "with_replacement",
    }
    n_replicas = len(rest[0][1])
    return [
        claim(
            noise,
            swapped,
            claim="minibatch gradients of a real network have the covariance of their sampler, from B = 1 to N",
            source=_SOURCE,
            control="the laws with and without replacement exchanged",
        ),
        claim(
            rest,
            {"reshuffle": "without_replacement", "without_replacement": "reshuffle"},
            claim="SGD at rest on a quadratic has the exact discrete-time variance of its sampler",
            source="discrete Lyapunov equation",
            control="the laws of independent and of reshuffled batches exchanged",
        ),
        Verdict(
            claim=f"a reshuffled epoch cancels its noise at eps h = {slowest:g}: g does not describe what is left",
            source="exact law of reshuffling",
            statistic="variance over that of independent batches",
            value=left(np.arange(n_replicas)),
            threshold=0.1,
            interval=bootstrap_interval(left, n_replicas),
            control="independent batches",
            control_value=left(np.arange(n_replicas), "without_replacement"),
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
