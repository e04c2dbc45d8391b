"""The cost of raising momentum (Smith et al. 2018, section 4 and appendix A): progress lost while the accumulator fills.

(a) Under a constant gradient G the accumulator is ``a_s = G (1 - m^s)/(1 - m)`` after s updates, which the paper writes
``A(s) = G/(1 - m) (1 - exp(-(1 - m) s))``. What is missing of G/(1 - m), summed over all updates, is 1/(1 - m)
updates' worth: at batch size B that is B/(N (1 - m)) epochs lost, at the start and whenever the noise changes.

(b) A network is no constant gradient. Momentum is raised at equal noise and equal learning rate, and so B in proportion to
1/(1 - m). Measured is how much later, in epochs, the training loss first falls to 0.5 nats than it does with little momentum
(m .6, B 32, which loses 0.0016 epochs). B/(N (1 - m)) then goes as 1/(1 - m)^2.

The claim is read as a proportionality, exponent 1 within .2, and a size, within a factor of 2; the formula without 1 - m, B/N,
has to fail in both. Both are for the level of 0.5 nats. At higher levels, which are reached before the accumulator is full,
less is lost: under a constant force, without friction yet, the epochs to get somewhere go as the root of B/(N (1 - m)).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from ... import noise
from ...optimizers import sgd
from ..engine.contract import Scale
from ..engine.verdicts import Control, Estimate, Verdict, estimate, standard_error
from ..tasks.first_passage import LEVELS, FirstPassageTask
from ..tasks.toy import N_TRAIN
from . import Rows, Run, Verdicts
from .style import Figure, canvas, figure_style

TITLE = "Lost epochs: what raising momentum costs"

_BASE = (0.6, 32)
_RAISED = ((0.9, 128), (0.95, 256), (0.98, 640), (0.99, 1280), (0.995, 2560))
_ACCUMULATORS = (0.9, 0.98)
_NEVER = 1e6  # epochs, in place of infinity, of which no mean, interval or JSON can be had


@dataclass(frozen=True, eq=False)
class Base:
    """The setting of little momentum, and the epochs of its first passages, (n_seeds, n_levels)."""

    momentum: float
    batch_size: int
    epochs: np.ndarray


@dataclass(frozen=True, eq=False)
class Point:
    """A setting of more momentum, the epochs that the formula says it loses, and those it lost, (n_seeds, n_levels)."""

    momentum: float
    batch_size: int
    predicted: float
    delay: np.ndarray


@dataclass(frozen=True, eq=False)
class Result:
    """First passages, and accumulators by their momentum, after each update of a gradient that is always 1."""

    n_train: int
    learning_rate: float
    levels: Sequence[float]
    seeds: Sequence[int]
    base: Base
    points: list[Point]
    accumulators: dict[str, np.ndarray]


def paper_accumulator(n_updates: np.ndarray, momentum: float) -> np.ndarray:
    """The paper's A(s)/G: the accumulator after s updates of a constant gradient, in the limit of small 1 - m."""
    return (1 - np.exp(-(1 - momentum) * n_updates)) / (1 - momentum)


def run(scale: Scale) -> Run[Result]:
    """Fill accumulators, and time the first falls of the loss."""
    raised = _RAISED[:3] if scale.quick else _RAISED
    seeds = range(2 if scale.quick else 4 * scale.n_seeds)
    tasks = [FirstPassageTask(m, batch_size, seed) for m, batch_size in (_BASE, *raised) for seed in seeds]
    results = yield tasks
    base, *others = np.array([result["epochs"] for result in results]).reshape(-1, len(seeds), len(LEVELS))
    points = [
        Point(m, batch_size, float(noise.lost_epochs(batch_size, N_TRAIN, m)), delay(epochs, base))
        for (m, batch_size), epochs in zip(raised, others, strict=True)
    ]
    accumulators = {str(m): trace_of_constant_gradient(m, 400) for m in _ACCUMULATORS}
    first = Base(*_BASE, np.minimum(base, _NEVER))
    result = Result(N_TRAIN, tasks[0].learning_rate, LEVELS, seeds, first, points, accumulators)
    return result, [accumulator_verdict(accumulators), *delay_verdicts(points)]


def delay(raised: np.ndarray, base: np.ndarray) -> np.ndarray:
    """Epochs by which first passages are later; `_NEVER`, which no claim survives, where either run did not get there."""
    reached = np.isfinite(raised) & np.isfinite(base)
    return np.asarray(np.subtract(raised, base, out=np.full(raised.shape, _NEVER), where=reached))


def trace_of_constant_gradient(momentum: float, n_updates: int) -> np.ndarray:
    """Accumulator of `sgd` after each update of a gradient that is always 1."""
    optimizer, gradient = sgd(momentum), np.ones(1)
    state, trace = optimizer.init(gradient), []
    for _ in range(n_updates):
        _, state = optimizer.update(gradient, state, 1.0)
        trace.append(float(state.trace[0]))
    return np.array(trace)


def accumulator_verdict(accumulators: dict[str, np.ndarray]) -> Verdict:
    """Compare accumulators with the paper's formula."""

    def error(formula: Callable[[np.ndarray, float], np.ndarray]) -> float:
        filled = ((float(m), np.arange(1, len(trace) + 1), trace) for m, trace in accumulators.items())
        return max(float(np.abs(formula(s, m) - trace).max()) * (1 - m) for m, s, trace in filled)

    return Verdict(
        key="accumulator",
        claim="the accumulator fills as A(s) = G/(1-m) (1 - exp(-(1-m) s))",
        source="Smith et al. 2018, app. A",
        statistic="largest error over s, in units of G/(1-m)",
        measured=Estimate(error(paper_accumulator)),
        threshold=0.05,
        control=Control("exp(-s), without 1-m", error(lambda s, m: (1 - np.exp(-s)) / (1 - m))),
        scope="m >= .9",
    )


def delay_verdicts(points: Sequence[Point]) -> list[Verdict]:
    """Compare the delays at the lowest level with B/(N (1 - m)) and, as the control, with B/N."""
    delays = np.array([point.delay[:, -1] for point in points])
    predicted = np.array([point.predicted for point in points])
    without = np.array([point.batch_size / N_TRAIN for point in points])
    n_seeds = delays.shape[1]

    def log_mean(seeds: np.ndarray) -> np.ndarray:
        mean = delays[:, seeds].mean(axis=1)
        return np.asarray(np.log(np.maximum(mean, 1e-6)))  # a delay that is lost in the noise is no delay, and fails

    def exponent(seeds: np.ndarray, law: np.ndarray = predicted) -> float:
        if (delays[:, seeds] == _NEVER).any():  # in the middle of the settings the slope would not notice
            return _NEVER
        return abs(float(np.polyfit(np.log(law), log_mean(seeds), 1)[0]) - 1)

    def factor(seeds: np.ndarray, law: np.ndarray = predicted) -> float:
        return float(np.exp(np.abs(log_mean(seeds) - np.log(law)).max()))

    def verdict(key: str, relation: str, words: str, statistic: Callable[..., float], threshold: float) -> Verdict:
        claim = f"epochs lost until a loss of {LEVELS[-1]} nats are {relation} B/(N(1-m))"
        source, measured = "Smith et al. 2018, sec. 4", estimate(statistic, n_seeds)
        control = Control("B/N, without 1-m", statistic(np.arange(n_seeds), without))
        return Verdict(
            key=key, claim=claim, source=source, statistic=words, measured=measured, threshold=threshold, control=control
        )

    return [
        verdict("proportional", "proportional to", "|exponent of the delay - 1|", exponent, 0.2),
        verdict("size", "about", "largest factor between delay and formula", factor, 2.0),
    ]


def rows(result: Result) -> Rows:
    """One line per momentum, seed and level."""
    lines: Rows = [["momentum", "batch_size", "predicted_epochs", "seed", "loss_level", "delay_epochs"]]
    for point in result.points:
        for seed, delays in zip(result.seeds, point.delay.tolist(), strict=True):
            for level, epochs in zip(result.levels, delays, strict=True):
                lines.append([point.momentum, point.batch_size, point.predicted, seed, level, epochs])
    return lines


@figure_style()
def plot(result: Result, verdicts: Verdicts) -> Figure:
    """Draw the filling of two accumulators, and delays against the formula."""
    figure, (filling, lost) = canvas(3.8)
    for (momentum, trace), color in zip(result.accumulators.items(), ("#0072B2", "#D55E00"), strict=True):
        m, s = float(momentum), np.arange(1, len(trace) + 1)
        filling.plot(s, paper_accumulator(s, m) * (1 - m), color=color)
        chosen = np.unique(np.geomspace(1, len(s), 24).astype(int)) - 1
        filling.plot(s[chosen], trace[chosen] * (1 - m), "o", color=color, fillstyle="none", markersize=5)
        filling.annotate(f"m = {m:g}", (1.1 / (1 - m), 0.63), (6, -4), textcoords="offset points", color=color)
    filling.set(xscale="log", xlabel="updates s", ylabel="accumulator over G/(1 - m)")
    filling.set_title("(a) a constant gradient: points sgd, lines the paper's A(s)")
    predicted = np.array([point.predicted for point in result.points])
    delays = np.array([point.delay for point in result.points])
    styles = (("#56B4E9", "v"), ("#009E73", "s"), ("#000000", "o"))
    for i, (level, (color, marker)) in enumerate(zip(result.levels, styles, strict=True)):
        mean, error = delays[:, :, i].mean(axis=1), standard_error(delays[:, :, i].T)
        seen = mean > 2 * error
        lost.errorbar(predicted[seen], mean[seen], error[seen], fmt=marker, color=color, label=f"until {level} nats")
    ends = np.array([predicted.min() / 1.5, predicted.max() * 1.5])
    lost.plot(ends, ends, color="#000000", linewidth=1)
    lost.annotate("B/(N(1 - m))", (predicted[-2], predicted[-2]), (12, -12), textcoords="offset points")
    batch = np.array([point.batch_size for point in result.points]) / result.n_train
    lost.plot(predicted, batch, color="#999999", linestyle="--", linewidth=1)
    lost.text(predicted[-1], batch[-1], "B/N ", color="#666666", ha="right", va="bottom")
    lost.set(xscale="log", yscale="log", xlabel="B/(N(1 - m)) (epochs)", ylabel="delay of the training loss (epochs)")
    word = "in" if verdicts["proportional"].holds else "not in"
    lost.set_title(f"(b) a network: {word} proportion until {result.levels[-1]} nats")
    lost.legend(loc="upper left")
    return figure
