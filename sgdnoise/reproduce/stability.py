"""How large a learning rate trains, early and late, and what that says about the largest batch.

Along a direction of curvature h gradient descent with momentum m is stable up to the learning rate 2(1 + m)/h, so that the
largest curvature of the mean loss, h_max, sets a limit. It knows nothing of the batch size. But at a fixed noise scale g the
learning rate grows with the batch, eps = g (1 - m) B/(N - B), and a limit on eps is a limit on B::

    B_max = N / (1 + g (1 - m) h_max / (2 (1 + m)))

A schedule that needs much noise at first and little in the end can only start with small batches and grow them.

(a) At points of one path of training the curvature is measured, and the largest learning rate from there at which the loss
does not rise, by trial. From the untrained network it is several times the limit: the curvature there is that of a narrow
valley which the first updates leave. (b) The largest batch at fixed g, by trial as well, beside B_max from the curvature.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ..stationary import max_stable_learning_rate
from .limits_tasks import StabilityTask
from .style import figure_style
from .tasks import Compute, Scale
from .verdicts import Verdict, bootstrap_interval

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

TITLE = "Stability: the largest learning rate beside 2(1 + m)/h, and the largest batch at fixed g"

_CHECKPOINTS: tuple[int, ...] = (0, 1, 5, 40)
_MOMENTA: tuple[float, ...] = (0.0, 0.5, 0.9)
_NOISE_SCALES: tuple[float, ...] = (0.5, 1.0, 2.0, 4.0)
_COLOURS = ("#E69F00", "#009E73", "#0072B2")
_FACTOR = 1.5


def run(scale: Scale, compute: Compute) -> dict[str, Any]:
    """Follow one path for each seed."""
    quick = scale.n_seeds == 1
    n_updates = 10 if quick else 40
    checkpoints = _CHECKPOINTS[:3] if quick else _CHECKPOINTS
    momenta, scales = (_MOMENTA[::2], _NOISE_SCALES[::3]) if quick else (_MOMENTA, _NOISE_SCALES)
    seeds = list(range(1 if quick else 2 * scale.n_seeds))
    tasks = [StabilityTask(seed, checkpoints, momenta, scales, n_updates=n_updates) for seed in seeds]
    results = compute(tasks)
    path = {name: getattr(tasks[0], name) for name in ("n_train", "learning_rate", "batch_size", "momentum", "tolerance")}
    result = {
        "model": "MLP 196-128-10, relu, float32",
        "data": "Fashion-MNIST 14x14, bundled",
        "path": path,
        "seeds": seeds,
        "checkpoints": list(checkpoints),
        "momenta": list(momenta),
        "noise_scales": list(scales),
        **{name: [r[name].tolist() for r in results] for name in ("curvature", "rate", "batch")},
    }
    return result | {"verdicts": _verdicts(result)}


def bounds(result: dict[str, Any]) -> tuple[np.ndarray, np.ndarray]:
    """Limits by the curvature: of the learning rate, (seeds, checkpoints, momenta), and of B/(N - B), (..., noise scales)."""
    curvature, path = np.array(result["curvature"]), result["path"]
    rate = np.stack([max_stable_learning_rate(curvature, m) for m in result["momenta"]], axis=-1)
    on_path = max_stable_learning_rate(curvature, path["momentum"])
    odds = on_path[..., None] / (np.array(result["noise_scales"]) * (1 - path["momentum"]))
    return rate, odds


def batch_of(odds: Any, n_train: int) -> Any:
    """Batch size of B/(N - B)."""
    return n_train * odds / (1 + odds)


def _verdicts(result: dict[str, Any]) -> list[Verdict]:
    rate_bound, odds_bound = bounds(result)
    rates, batches = np.array(result["rate"]), np.array(result["batch"])
    odds = batches / (result["path"]["n_train"] - batches)
    epochs, momenta, scales = (np.array(result[name]) for name in ("checkpoints", "momenta", "noise_scales"))
    n_seeds = len(rates)
    on_rate, on_odds = np.log(rates / rate_bound), np.log(odds / odds_bound)
    without = np.log(rates * (1 + momenta) / rate_bound)  # were the limit 2/h at every momentum
    at_one_g = on_odds + np.log(scales[0] / scales)  # were the largest batch that of the smallest g at every g

    def largest(logs: np.ndarray) -> Any:
        def statistic(draw: np.ndarray) -> float:
            return float(np.exp(abs(logs[draw].mean(axis=0)).max()))

        return statistic

    def at_start(draw: np.ndarray) -> float:
        return float(np.exp(on_rate[draw, 0].mean(axis=0).min()))

    def later(draw: np.ndarray) -> float:
        return float(np.exp(on_rate[draw, -1].mean(axis=0).min()))

    def lowered(draw: np.ndarray, first: int = -1, before: np.ndarray | None = None) -> float:
        """Growth of the largest batch, in the end, from the largest noise scale to the smallest."""
        before = draw if before is None else before
        return float(np.exp(np.log(batches[draw, -1, 0]).mean() - np.log(batches[before, -1, first]).mean()))

    every = np.arange(n_seeds)
    source, ours = "Smith et al. 2018, sec. 2", "measured here"
    return [
        *(
            Verdict(
                claim=f"{when} the largest learning rate that trains is 2(1 + m)/h_max",
                source="linear stability of heavy ball",
                statistic=f"largest factor between them over momenta, at epoch {epochs[at]}",
                value=largest(on_rate[:, at])(every),
                threshold=_FACTOR,
                interval=bootstrap_interval(largest(on_rate[:, at]), n_seeds),
                control="2/h_max at every momentum",
                control_value=largest(without[:, at])(every),
            )
            for when, at in (("late in training", -1), ("early in training", 1))
        ),
        Verdict(
            claim="an untrained network trains at larger ones, because it leaves the sharpest direction behind",
            source=ours,
            statistic="largest rate over 2(1 + m)/h_max at the start, the smallest over momenta",
            value=at_start(every),
            threshold=_FACTOR,
            relation="at least",
            interval=bootstrap_interval(at_start, n_seeds),
            control=f"the same at epoch {epochs[-1]}",
            control_value=later(every),
        ),
        Verdict(
            claim="at fixed g the largest batch is N/(1 + g (1 - m)/eps_max), eps_max = 2(1 + m)/h_max",
            source=ours,
            statistic="largest factor between measured and predicted B/(N - B), over two epochs and g",
            value=largest(on_odds[:, -2:])(every),
            threshold=_FACTOR,
            interval=bootstrap_interval(largest(on_odds[:, -2:]), n_seeds),
            control="a largest batch that does not depend on g",
            control_value=largest(at_one_g[:, -2:])(every),
            scope=f"epochs {epochs[-2]} to {epochs[-1]}, g <= {scales[-1]:g}",
        ),
        Verdict(
            claim="so batches can grow as the noise scale is lowered",
            source=source,
            statistic=f"largest batch at g = {scales[0]:g} over that at g = {scales[-1]:g}, in the end",
            value=lowered(every),
            threshold=_FACTOR,
            relation="at least",
            interval=bootstrap_interval(lowered, n_seeds),
            control="one noise scale, one seed over the others",
            control_value=lowered(every[:1], 0, every[1:] if n_seeds > 1 else every),
        ),
    ]


def rows(result: dict[str, Any]) -> list[list[Any]]:
    """One line per seed, epoch and limit."""
    lines: list[list[Any]] = [["seed", "epoch", "curvature", "limit_of", "momentum", "noise_scale", "predicted", "measured"]]
    rate_bound, odds_bound = bounds(result)
    batch_bound = batch_of(odds_bound, result["path"]["n_train"])
    for s, seed in enumerate(result["seeds"]):
        for c, epoch in enumerate(result["checkpoints"]):
            at = [seed, epoch, result["curvature"][s][c]]
            for i, m in enumerate(result["momenta"]):
                lines.append([*at, "learning rate", m, "", float(rate_bound[s, c, i]), result["rate"][s][c][i]])
            for i, g in enumerate(result["noise_scales"]):
                predicted = float(batch_bound[s, c, i])
                lines.append([*at, "batch size", result["path"]["momentum"], g, predicted, result["batch"][s][c][i]])
    return lines


def _geometric(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Geometric mean over the seeds, and error bars of one standard error of the logarithm."""
    logs = np.log(values)
    mean = np.exp(logs.mean(axis=0))
    error = logs.std(axis=0, ddof=1) / np.sqrt(len(logs)) if len(logs) > 1 else np.zeros_like(mean)
    return mean, np.array([mean * (1 - np.exp(-error)), mean * (np.exp(error) - 1)])


def plot(result: dict[str, Any]) -> Figure:
    """Draw the limits of learning rate and batch size, measured as points, from the curvature as lines."""
    from matplotlib.figure import Figure

    with figure_style():
        figure = Figure(figsize=(9, 3.9), layout="constrained")
        of_rate, of_batch = figure.subplots(1, 2)
        _plot_rates(of_rate, result)
        _plot_batches(of_batch, result)
    return figure


def _plot_rates(axis: Axes, result: dict[str, Any]) -> None:
    rates, (bound, _) = np.array(result["rate"]), bounds(result)
    x = np.arange(len(result["checkpoints"]))
    for i, (m, colour) in enumerate(zip(result["momenta"], _COLOURS[-len(result["momenta"]) :], strict=True)):
        mean, error = _geometric(rates[..., i])
        limit = _geometric(bound[..., i])[0]
        axis.plot(x, limit, color=colour, linewidth=1.6)
        axis.errorbar(x + 0.05 * (i - 1), mean, error, linestyle="", marker="o", fillstyle="none", capsize=3, color=colour)
        axis.text(x[-1] + 0.15, limit[-1], f"m = {m:g}", color=colour, va="center")
    axis.plot([], [], color="#555555", linewidth=1.6, label="2(1 + m)/h$_{max}$, from the curvature")
    axis.plot([], [], color="#555555", linestyle="", marker="o", fillstyle="none", label="largest that trains, by trial")
    axis.legend(loc="upper right")
    names = ["untrained" if epoch == 0 else f"{epoch}" for epoch in result["checkpoints"]]
    axis.set_xticks(x, names)
    axis.set(yscale="log", xlim=(-0.3, x[-1] + 0.75), xlabel="epochs of training before", ylabel="learning rate")
    ticks = [0.1, 0.2, 0.5, 1.0]
    axis.set_ylim(0.08, 1.6)
    axis.set_yticks(ticks, [f"{tick:g}" for tick in ticks])
    axis.set_yticks([], minor=True)
    axis.set_title("(a) late in training rates end at 2(1 + m)/h$_{max}$")


def _plot_batches(axis: Axes, result: dict[str, Any]) -> None:
    n, scales, epochs = result["path"]["n_train"], np.array(result["noise_scales"]), result["checkpoints"]
    batches, (_, odds) = np.array(result["batch"]), bounds(result)
    g = np.geomspace(0.7 * scales[0], 1.5 * scales[-1], 60)
    shown = [(c, colour, marker) for c, colour, marker in ((-2, "#E69F00", "s"), (-1, "#0072B2", "o")) if epochs[c] > 0]
    for c, colour, marker in shown:
        at_one = np.exp(np.log(odds[:, c, 0]).mean()) * scales[0]  # B/(N - B) goes with 1/g
        axis.plot(g, batch_of(at_one / g, n), color=colour, linewidth=1.6)
        mean, error = _geometric(batches[:, c])
        label = f"after {epochs[c]} epochs" if epochs[c] > 1 else "after 1 epoch"
        style: dict[str, Any] = {"linestyle": "", "marker": marker, "fillstyle": "none", "capsize": 3, "color": colour}
        axis.errorbar(scales, mean, error, label=label, **style)
        if c == -1:
            axis.fill_between(g, batch_of(at_one / g, n), n, color=colour, alpha=0.1, linewidth=0)
    axis.text(0.97, 0.93, "unstable", color="#0072B2", ha="right", va="top", transform=axis.transAxes)
    axis.set(xscale="log", ylim=(0, n), xlim=(g[0], g[-1]), xlabel=f"noise scale g, m = {result['path']['momentum']:g}")
    axis.set_xticks(scales, [f"{value:g}" for value in scales])
    axis.set_xticks([], minor=True)
    axis.set_ylabel(f"largest batch that trains (N = {n})")
    axis.legend(loc="lower left", title="points by trial, lines from h$_{max}$")
    axis.set_title("(b) the less noise, the larger the batch may be")
