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

from collections.abc import Sequence
from dataclasses import dataclass, fields
from functools import partial

import numpy as np

from ...stationary import max_stable_learning_rate
from ..engine.contract import Scale
from ..engine.verdicts import Control, Verdict, estimate, standard_error
from ..tasks.few_images import StabilityTask
from ..tasks.toy import DATA, MODEL
from . import Rows, Run, Verdicts
from .style import Axes, Figure, canvas, figure_style, label_ticks, points

TITLE = "Stability: the largest learning rate beside 2(1 + m)/h, and the largest batch at fixed g"

_CHECKPOINTS, _MOMENTA, _NOISE_SCALES = (0, 1, 5, 40), (0.0, 0.5, 0.9), (0.5, 1.0, 2.0, 4.0)
_COLOURS = ("#E69F00", "#009E73", "#0072B2")
_FACTOR = 1.5


@dataclass(frozen=True)
class Path:
    """How the network is trained between the checkpoints, and what a trial may raise the loss by."""

    n_train: int
    learning_rate: float
    batch_size: int
    momentum: float
    tolerance: float


@dataclass(frozen=True, eq=False)
class Result:
    """Largest curvatures, (n_seeds, n_checkpoints), and largest learning rates and batches, with a third axis."""

    model: str
    data: str
    path: Path
    seeds: Sequence[int]
    checkpoints: Sequence[int]
    """In epochs."""
    momenta: Sequence[float]
    noise_scales: Sequence[float]
    curvature: np.ndarray
    rate: np.ndarray
    """Third axis: momenta."""
    batch: np.ndarray
    """Third axis: noise scales."""

    @property
    def odds(self) -> np.ndarray:
        """B/(N - B) of the largest batches."""
        return np.asarray(self.batch / (self.path.n_train - self.batch))

    @property
    def rate_bound(self) -> np.ndarray:
        """Limit of the learning rate by the curvature, like `rate`."""
        return np.asarray(max_stable_learning_rate(self.curvature[..., None], np.array(self.momenta)))

    @property
    def odds_bound(self) -> np.ndarray:
        """Limit of B/(N - B) by the curvature, like `batch`."""
        on_path = max_stable_learning_rate(self.curvature[..., None], self.path.momentum)
        return np.asarray(on_path / (np.array(self.noise_scales) * (1 - self.path.momentum)))


def run(scale: Scale) -> Run[Result]:
    """Follow one path for each seed."""
    epochs = _CHECKPOINTS[:3] if scale.quick else _CHECKPOINTS
    momenta, noise_scales = (_MOMENTA[::2], _NOISE_SCALES[::3]) if scale.quick else (_MOMENTA, _NOISE_SCALES)
    n_updates, seeds = (10, range(1)) if scale.quick else (40, range(2 * scale.n_seeds))
    tasks = [StabilityTask(seed, epochs, momenta, noise_scales, n_updates=n_updates) for seed in seeds]
    results = yield tasks
    path = Path(*(getattr(tasks[0], field.name) for field in fields(Path)))
    arrays = (np.array([r[name] for r in results]) for name in ("curvature", "rate", "batch"))
    result = Result(MODEL, DATA, path, seeds, epochs, momenta, noise_scales, *arrays)
    return result, _verdicts(result)


def batch_of(odds: np.ndarray, n_train: int) -> np.ndarray:
    """Batch size of B/(N - B)."""
    return np.asarray(n_train * odds / (1 + odds))


def largest_factor(logs: np.ndarray, seeds: np.ndarray) -> float:
    """Largest factor, up or down, of the geometric means over the seeds, the first axis."""
    return float(np.exp(np.abs(logs[seeds].mean(axis=0)).max()))


def smallest_ratio(logs: np.ndarray, seeds: np.ndarray) -> float:
    """Smallest of the geometric means over the seeds, the first axis."""
    return float(np.exp(logs[seeds].mean(axis=0).min()))


def _verdicts(result: Result) -> list[Verdict]:
    """Compare largest learning rates with 2(1 + m)/h_max, batches with those from the curvature, and with one another."""
    epochs, m, g = result.checkpoints, np.array(result.momenta), np.array(result.noise_scales)
    every = np.arange(len(result.seeds))
    rate_logs, batch_logs = np.log(result.rate / result.rate_bound), np.log(result.odds / result.odds_bound)
    without_m = np.log(result.rate * (1 + m) / result.rate_bound)  # were the limit 2/h at every momentum
    at_one_g = batch_logs + np.log(g[0] / g)  # were the largest batch that of the smallest g at every g
    small, large = np.log(result.batch)[:, -1, [0, -1]].T  # at the smallest g and the largest, in the end
    others = small[1:] if len(every) > 1 else small
    verdict = partial(Verdict, threshold=_FACTOR)

    def growth(logs_at_small_g: np.ndarray, logs_at_large_g: np.ndarray) -> float:
        return float(np.exp(logs_at_small_g.mean() - logs_at_large_g.mean()))

    return [
        *(
            verdict(
                key=when,
                claim=f"{when} the largest learning rate that trains is 2(1 + m)/h_max",
                source="linear stability of heavy ball",
                statistic=f"largest factor between them over momenta, at epoch {epochs[at]}",
                measured=estimate(partial(largest_factor, rate_logs[:, at]), len(every)),
                control=Control("2/h_max at every momentum", largest_factor(without_m[:, at], every)),
            )
            for when, at in (("late in training", -1), ("early in training", 1))
        ),
        verdict(
            key="untrained",
            claim="an untrained network trains at larger ones, because it leaves the sharpest direction behind",
            source="measured here",
            statistic="largest rate over 2(1 + m)/h_max at the start, the smallest over momenta",
            measured=estimate(partial(smallest_ratio, rate_logs[:, 0]), len(every)),
            relation="at least",
            control=Control(f"the same at epoch {epochs[-1]}", smallest_ratio(rate_logs[:, -1], every)),
        ),
        verdict(
            key="largest batch",
            claim="at fixed g the largest batch is N/(1 + g (1 - m)/eps_max), eps_max = 2(1 + m)/h_max",
            source="measured here",
            statistic="largest factor between measured and predicted B/(N - B), over two epochs and g",
            measured=estimate(partial(largest_factor, batch_logs[:, -2:]), len(every)),
            control=Control("a largest batch that does not depend on g", largest_factor(at_one_g[:, -2:], every)),
            scope=f"epochs {epochs[-2]} to {epochs[-1]}, g <= {g[-1]:g}",
        ),
        verdict(
            key="growth",
            claim="so batches can grow as the noise scale is lowered",
            source="Smith et al. 2018, sec. 2",
            statistic=f"largest batch at g = {g[0]:g} over that at g = {g[-1]:g}, in the end",
            measured=estimate(lambda seeds: growth(small[seeds], large[seeds]), len(every)),
            relation="at least",
            control=Control("one noise scale, one seed over the others", growth(small[:1], others)),
        ),
    ]


def rows(result: Result) -> Rows:
    """One line per seed, epoch and limit."""
    lines: Rows = [["seed", "epoch", "curvature", "limit_of", "momentum", "noise_scale", "predicted", "measured"]]
    batch_bound = batch_of(result.odds_bound, result.path.n_train)
    for s, seed in enumerate(result.seeds):
        for c, epoch in enumerate(result.checkpoints):
            at = [seed, epoch, float(result.curvature[s, c])]
            rates = zip(result.momenta, result.rate_bound[s, c].tolist(), result.rate[s, c].tolist(), strict=True)
            lines += [[*at, "learning rate", m, "", predicted, measured] for m, predicted, measured in rates]
            batches = zip(result.noise_scales, batch_bound[s, c].tolist(), result.batch[s, c].tolist(), strict=True)
            lines += [[*at, "batch size", result.path.momentum, g, predicted, measured] for g, predicted, measured in batches]
    return lines


def _geometric(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Geometric mean over the seeds, and error bars of one standard error of the logarithm."""
    logs = np.log(values)
    mean, error = np.exp(logs.mean(axis=0)), standard_error(logs)
    return mean, np.array([mean * (1 - np.exp(-error)), mean * (np.exp(error) - 1)])


@figure_style()
def plot(result: Result, verdicts: Verdicts) -> Figure:
    """Draw the limits of learning rate and batch size, measured as points, from the curvature as lines."""
    figure, (of_rate, of_batch) = canvas(3.9)
    _plot_rates(of_rate, result)
    _plot_batches(of_batch, result)
    return figure


def _plot_rates(axis: Axes, result: Result) -> None:
    x = np.arange(len(result.checkpoints))
    for i, (m, colour) in enumerate(zip(result.momenta, _COLOURS[-len(result.momenta) :], strict=True)):
        mean, error = _geometric(result.rate[..., i])
        limit = _geometric(result.rate_bound[..., i])[0]
        axis.plot(x, limit, color=colour, linewidth=1.6)
        points(axis, x + 0.05 * (i - 1), mean, error, markersize=6, color=colour, capsize=3)
        axis.text(x[-1] + 0.15, limit[-1], f"m = {m:g}", color=colour, va="center")
    axis.plot([], [], color="#555555", linewidth=1.6, label="2(1 + m)/h$_{max}$, from the curvature")
    axis.plot([], [], color="#555555", linestyle="", marker="o", fillstyle="none", label="largest that trains, by trial")
    axis.legend(loc="upper right")
    axis.set(yscale="log", xlim=(-0.3, x[-1] + 0.75), ylim=(0.08, 1.6))
    axis.set(xlabel="epochs of training before", ylabel="learning rate")
    label_ticks(axis.xaxis, x.tolist(), ["untrained" if epoch == 0 else f"{epoch}" for epoch in result.checkpoints])
    label_ticks(axis.yaxis, (0.1, 0.2, 0.5, 1))
    axis.set_title("(a) late in training rates end at 2(1 + m)/h$_{max}$")


def _plot_batches(axis: Axes, result: Result) -> None:
    n, scales, epochs = result.path.n_train, np.array(result.noise_scales), result.checkpoints
    g = np.geomspace(0.7 * scales[0], 1.5 * scales[-1], 60)
    for c, colour, marker in ((-2, "#E69F00", "s"), (-1, "#0072B2", "o")):
        limit = batch_of(_geometric(result.odds_bound[:, c, 0])[0] * scales[0] / g, n)  # B/(N - B) goes with 1/g
        axis.plot(g, limit, color=colour, linewidth=1.6)
        label = f"after {epochs[c]} epochs" if epochs[c] > 1 else "after 1 epoch"
        style = {"marker": marker, "color": colour, "label": label}
        points(axis, scales, *_geometric(result.batch[:, c]), **style, markersize=6, capsize=3)
    axis.fill_between(g, limit, n, color="#0072B2", alpha=0.1, linewidth=0)
    axis.text(0.97, 0.93, "unstable", color="#0072B2", ha="right", va="top", transform=axis.transAxes)
    axis.set(xscale="log", ylim=(0, n), xlim=(g[0], g[-1]), xlabel=f"noise scale g, m = {result.path.momentum:g}")
    label_ticks(axis.xaxis, result.noise_scales)
    axis.set_ylabel(f"largest batch that trains (N = {n})")
    axis.legend(loc="lower left", title="points by trial, lines from h$_{max}$")
    axis.set_title("(b) the less noise, the larger the batch may be")
