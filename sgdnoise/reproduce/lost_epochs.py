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

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import noise
from ..models import MLP
from ..optimizers import sgd
from ..sampling import minibatches
from .style import figure_style, standard_error
from .tasks import N_TRAIN, Arrays, Compute, Scale, _data
from .verdicts import Verdict, bootstrap_interval

if TYPE_CHECKING:
    from matplotlib.figure import Figure

TITLE = "Lost epochs: what raising momentum costs"

LEVELS = (1.5, 1.0, 0.5)
_BASE = (0.6, 32)
_RAISED = ((0.9, 128), (0.95, 256), (0.98, 640), (0.99, 1280), (0.995, 2560))
_ACCUMULATORS = (0.9, 0.98)
_SOURCE = "Smith et al. 2018, sec. 4"
_MAX_EPOCHS = 40
_NEVER = 1e6  # epochs, in place of infinity, of which no mean, interval or JSON can be had


@dataclass(frozen=True)
class FirstPassageTask:
    """Epochs until the training loss of the MLP 196-128-10 first falls to each of `LEVELS`, at a constant setting.

    Parameters
    ----------
    momentum, batch_size : float and int
        The papers' m and B.
    seed : int
        Of the initial parameters and the minibatches.
    learning_rate : float
        Constant.
    n_probe : int
        Training examples that the loss is measured on, the same for all tasks.
    """

    momentum: float
    batch_size: int
    seed: int
    learning_rate: float = 0.1
    n_probe: int = 2000

    @property
    def cost(self) -> float:
        """Rough cost, in epochs at batch size 128."""
        return 0.5 + 10 * math.sqrt(self.batch_size / (N_TRAIN * (1 - self.momentum)))

    def run(self) -> Arrays:
        """Train until the lowest level is reached, looking about every 128 examples; interpolate in between."""
        data = _data()
        X, y = data.X_train, data.y_train
        probe = np.random.default_rng(0).choice(len(X), self.n_probe, replace=False)
        X_probe, y_probe = X[probe], y[probe]
        rng = np.random.default_rng(self.seed)
        model = MLP(data.n_features, (128,), data.n_classes)
        optimizer = sgd(self.momentum)
        params = model.init(rng, X.dtype)
        state = optimizer.init(params)
        every = max(1, 128 // self.batch_size)
        epochs, losses = [0.0], [model.evaluate(params, X_probe, y_probe)[0]]
        n_updates = 0
        while losses[-1] > LEVELS[-1] and epochs[-1] < _MAX_EPOCHS:
            for batch in minibatches(len(X), self.batch_size, rng=rng):
                _, gradient = model.loss_and_gradient(params, X[batch], y[batch])
                step, state = optimizer.update(gradient, state, self.learning_rate)
                params = params + step
                n_updates += 1
                if n_updates % every == 0:
                    epochs.append(n_updates * self.batch_size / len(X))
                    losses.append(model.evaluate(params, X_probe, y_probe)[0])
                    if losses[-1] <= LEVELS[-1]:
                        break
        return {"epochs": np.array([first_passage(np.array(epochs), np.array(losses), level) for level in LEVELS])}


def first_passage(x: np.ndarray, values: np.ndarray, level: float) -> float:
    """Where `values`, linear between the points `x`, first fall to `level`; infinity if they do not."""
    below = np.flatnonzero(values <= level)
    if len(below) == 0:
        return float("inf")
    i = int(below[0])
    if i == 0:
        return float(x[0])
    return float(np.interp(-level, -values[i - 1 : i + 1], x[i - 1 : i + 1]))


def paper_accumulator(n_updates: np.ndarray, momentum: float) -> np.ndarray:
    """The paper's A(s)/G: the accumulator after s updates of a constant gradient, in the limit of small 1 - m."""
    return (1 - np.exp(-(1 - momentum) * n_updates)) / (1 - momentum)


def run(scale: Scale, compute: Compute) -> dict[str, Any]:
    """Fill accumulators, and time the first falls of the loss."""
    raised = _RAISED if scale.n_seeds > 1 else _RAISED[:3]
    seeds = list(range(4 * scale.n_seeds if scale.n_seeds > 1 else 2))
    settings = (_BASE, *raised)
    results = iter(compute([FirstPassageTask(m, batch_size, seed) for m, batch_size in settings for seed in seeds]))
    times = {setting: np.array([next(results)["epochs"] for _ in seeds]) for setting in settings}
    points = [
        {
            "momentum": m,
            "batch_size": batch_size,
            "predicted": float(noise.lost_epochs(batch_size, N_TRAIN, m)),
            "delay": delay(times[m, batch_size], times[_BASE]).tolist(),
        }
        for m, batch_size in raised
    ]
    accumulators = {str(m): _trace_of_constant_gradient(m, 400).tolist() for m in _ACCUMULATORS}
    return {
        "n_train": N_TRAIN,
        "learning_rate": FirstPassageTask(0.0, 1, 0).learning_rate,
        "levels": list(LEVELS),
        "seeds": seeds,
        "base": {"momentum": _BASE[0], "batch_size": _BASE[1], "epochs": np.minimum(times[_BASE], _NEVER).tolist()},
        "points": points,
        "accumulators": accumulators,
        "verdicts": [_accumulator_verdict(accumulators), *delay_verdicts(points)],
    }


def delay(raised: np.ndarray, base: np.ndarray) -> np.ndarray:
    """Epochs by which first passages are later; `_NEVER`, which no claim survives, where either run did not get there."""
    reached = np.isfinite(raised) & np.isfinite(base)
    return np.asarray(np.subtract(raised, base, out=np.full(raised.shape, _NEVER), where=reached))


def _trace_of_constant_gradient(momentum: float, n_updates: int) -> np.ndarray:
    """Accumulator of `sgd` after each update of a gradient that is always 1."""
    optimizer = sgd(momentum)
    gradient = np.ones(1)
    state = optimizer.init(gradient)
    trace = []
    for _ in range(n_updates):
        _, state = optimizer.update(gradient, state, 1.0)
        trace.append(float(state.trace[0]))
    return np.array(trace)


def _accumulator_verdict(accumulators: dict[str, list[float]]) -> Verdict:
    def error(forget_rate_of_one: bool = False) -> float:
        worst = 0.0
        for momentum, trace in accumulators.items():
            m, s = float(momentum), np.arange(1, len(trace) + 1)
            formula = (1 - np.exp(-s)) / (1 - m) if forget_rate_of_one else paper_accumulator(s, m)
            worst = max(worst, float(np.abs(formula - trace).max()) * (1 - m))
        return worst

    return Verdict(
        claim="the accumulator fills as A(s) = G/(1-m) (1 - exp(-(1-m) s))",
        source="Smith et al. 2018, app. A",
        statistic="largest error over s, in units of G/(1-m)",
        value=error(),
        threshold=0.05,
        control="exp(-s), without 1-m",
        control_value=error(forget_rate_of_one=True),
        scope="m >= .9",
    )


def delay_verdicts(points: list[dict[str, Any]]) -> list[Verdict]:
    """Compare the delays at the lowest level with B/(N (1 - m)) and, as the control, with B/N."""
    delays = np.array([p["delay"] for p in points])[:, :, -1]
    predicted = np.array([p["predicted"] for p in points])
    without = np.array([p["batch_size"] / N_TRAIN for p in points])
    n_seeds = delays.shape[1]
    everyone = np.arange(n_seeds)

    def exponent(seeds: np.ndarray, law: np.ndarray = predicted) -> float:
        if (delays[:, seeds] == _NEVER).any():  # in the middle of the settings the slope would not notice
            return _NEVER
        return abs(_slope(np.log(law), _log_mean(delays[:, seeds])) - 1)

    def factor(seeds: np.ndarray, law: np.ndarray = predicted) -> float:
        return float(np.exp(np.abs(_log_mean(delays[:, seeds]) - np.log(law)).max()))

    return [
        Verdict(
            claim=f"epochs lost until a loss of {LEVELS[-1]} nats are proportional to B/(N(1-m))",
            source=_SOURCE,
            statistic="|exponent of the delay - 1|",
            value=exponent(everyone),
            threshold=0.2,
            interval=bootstrap_interval(exponent, n_seeds),
            control="B/N, without 1-m",
            control_value=exponent(everyone, without),
        ),
        Verdict(
            claim=f"epochs lost until a loss of {LEVELS[-1]} nats are about B/(N(1-m))",
            source=_SOURCE,
            statistic="largest factor between delay and formula",
            value=factor(everyone),
            threshold=2.0,
            interval=bootstrap_interval(factor, n_seeds),
            control="B/N, without 1-m",
            control_value=factor(everyone, without),
        ),
    ]


def _log_mean(delays: np.ndarray) -> np.ndarray:
    mean: np.ndarray = np.maximum(delays.mean(axis=1), 1e-6)  # a delay that is lost in the noise is no delay, and fails
    return np.asarray(np.log(mean))


def _slope(x: np.ndarray, y: np.ndarray) -> float:
    return float(np.polyfit(x, y, 1)[0])


def rows(result: dict[str, Any]) -> list[list[Any]]:
    """One line per momentum, seed and level."""
    lines: list[list[Any]] = [["momentum", "batch_size", "predicted_epochs", "seed", "loss_level", "delay_epochs"]]
    for point in result["points"]:
        for seed, delays in zip(result["seeds"], point["delay"], strict=True):
            for level, delay in zip(result["levels"], delays, strict=True):
                lines.append([point["momentum"], point["batch_size"], point["predicted"], seed, level, delay])
    return lines


def plot(result: dict[str, Any]) -> Figure:
    """Draw the filling of two accumulators, and delays against the formula."""
    from matplotlib.figure import Figure

    with figure_style():
        figure = Figure(figsize=(9, 3.8), layout="constrained")
        filling, lost = figure.subplots(1, 2)
        for (momentum, trace), color in zip(result["accumulators"].items(), ("#0072B2", "#D55E00"), strict=True):
            m, s = float(momentum), np.arange(1, len(trace) + 1)
            filling.plot(s, paper_accumulator(s, m) * (1 - m), color=color)
            chosen = np.unique(np.geomspace(1, len(s), 24).astype(int)) - 1
            filling.plot(s[chosen], np.array(trace)[chosen] * (1 - m), "o", color=color, fillstyle="none", markersize=5)
            filling.annotate(f"m = {m:g}", (1.1 / (1 - m), 0.63), (6, -4), textcoords="offset points", color=color)
        filling.set(xscale="log", xlabel="updates s", ylabel="accumulator over G/(1 - m)")
        filling.set_title("(a) a constant gradient: points sgd, lines the paper's A(s)")
        predicted = np.array([p["predicted"] for p in result["points"]])
        styles = (("#56B4E9", "v"), ("#009E73", "s"), ("#000000", "o"))
        for i, (level, (color, marker)) in enumerate(zip(result["levels"], styles, strict=True)):
            delays = np.array([p["delay"] for p in result["points"]])[:, :, i]
            mean, error = delays.mean(axis=1), standard_error(delays.T)
            seen = mean > 2 * error
            bars = np.array([np.minimum(error, 0.9 * mean), error])[:, seen]
            label = f"until {level} nats"
            lost.errorbar(predicted[seen], mean[seen], bars, color=color, marker=marker, linestyle="", label=label)
        ends = np.array([predicted.min() / 1.5, predicted.max() * 1.5])
        lost.plot(ends, ends, color="#000000", linewidth=1)
        lost.annotate("B/(N(1 - m))", (predicted[-2], predicted[-2]), (12, -12), textcoords="offset points")
        in_proportion = result["verdicts"][1]["holds"]
        batch = np.array([p["batch_size"] for p in result["points"]]) / result["n_train"]
        lost.plot(predicted, batch, color="#999999", linestyle="--", linewidth=1)
        lost.text(predicted[-1], batch[-1], "B/N ", color="#666666", ha="right", va="bottom")
        lost.set(xscale="log", yscale="log", xlabel="B/(N(1 - m)) (epochs)", ylabel="delay of the training loss (epochs)")
        word = "in" if in_proportion else "not in"
        lost.set_title(f"(b) a network: {word} proportion until {result['levels'][-1]} nats")
        lost.legend(loc="upper left")
    return figure
