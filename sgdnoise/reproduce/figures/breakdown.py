"""Where scaling the batch breaks down: learning rate and batch times K, up to the whole training set.

The noise scale g = eps (N/B - 1) of K eps and K B is (N - K B)/(N - B) of what it was: the linear rule loses noise as the
batch nears N, and a rule that keeps exact g asks for a learning rate that grows without bound.

(a) Logistic regression at rest near its minimum is a thermometer: its temperature, the mean of N h Var(w) over six directions,
is g f/2 while eps h is small, and exactly so in discrete time after the factor 1/(1 - eps h/2). By the linear rule the
temperature falls along (N - K B)/(N - B). By exact g it stays, until the rate itself becomes too large. With the learning rate
left as it is, it falls as 1/K and faster. (b) Training loss of the network after a fixed number of epochs, by the same rules. A
network in training is not at rest, and its learning rate ends at 2(1 + m)/h_max: there the curves part for a reason of their
own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np

from ...noise import learning_rate_for, linear_scaling_error, noise_scale
from ..engine.contract import Scale
from ..engine.verdicts import Control, Verdict, estimate, standard_error
from ..tasks.at_rest import N_POINTS, RestTask, minimum
from ..tasks.few_images import ConstantRateTask
from ..tasks.toy import MODEL
from . import Rows, Run, Verdicts
from .style import Axes, Figure, canvas, figure_style, label_ticks, points

TITLE = "Breakdown: batches near N lose noise by the linear rule, and exact g asks for too large a step"

RULES = {"linear": "linear rule: eps K", "exact": "exact g", "none": "eps left as it is"}
_RATE, _BATCH, _MOMENTUM = 0.01, 20, 0.9  # momentum in training only
_FACTORS = {"linear": (1, 2, 5, 10, 18, 25, 32, 40, 47), "exact": (5, 10, 18, 25, 32, 38, 41), "none": (2, 5)}
_NETWORK_FACTORS = {"linear": (1, 2, 5, 10, 25, 50), "exact": (2, 5, 10, 25), "none": (2, 5, 10, 25, 50)}
_STYLES = {"linear": ("#0072B2", "o"), "exact": ("#D55E00", "s"), "none": ("#777777", "^")}
_TENTH, _HALF, _ALL = 5, 25, 50  # K at which B is N/10, for both panels, N/2 and N
_PARTED = 0.9
_SOURCE = "Smith et al. 2018"


@dataclass(frozen=True, eq=False)
class Point:
    """A rule at K times the batch."""

    rule: str
    factor: int
    learning_rate: float


@dataclass(frozen=True, eq=False)
class RestPoint(Point):
    """Temperature of each replica at rest, (n_replicas,), and the exact discrete-time law's."""

    temperature: np.ndarray
    predicted: float


@dataclass(frozen=True, eq=False)
class TrainingPoint(Point):
    """Loss of each network after training, (n_seeds,)."""

    train_loss: np.ndarray


P = TypeVar("P", bound=Point)


@dataclass(frozen=True)
class Network:
    """What was trained, and how."""

    model: str
    momentum: float
    n_epochs: int


@dataclass(frozen=True, eq=False)
class Result:
    """Learning rate and batch size at K = 1, h_max of the logistic regression, and the points of both panels."""

    n_train: int
    learning_rate: float
    batch_size: int
    largest_curvature: float
    network: Network
    rest: list[RestPoint]
    training: list[TrainingPoint]


def scaled_rate(rule: str, factor: int) -> float:
    """Learning rate at K times the batch; the same with momentum, whose factor cancels."""
    if rule == "exact":
        return float(learning_rate_for(noise_scale(_RATE, _BATCH, N_POINTS), factor * _BATCH, N_POINTS))
    return _RATE * factor if rule == "linear" else _RATE


def _settings(factors: dict[str, tuple[int, ...]]) -> list[tuple[str, int, float]]:
    """Rule, K and learning rate."""
    return [(rule, k, scaled_rate(rule, k)) for rule, some in factors.items() for k in some]


def run(scale: Scale) -> Run[Result]:
    """Measure the temperature at rest, and train the network, by each rule."""
    n_replicas, n_relaxations = (20, 2.0) if scale.quick else (100, 20.0)
    n_epochs, n_seeds = (1, 1) if scale.quick else (60, 2 * scale.n_seeds)
    settings = _settings(_FACTORS | ({"exact": _FACTORS["exact"][-2:]} if scale.quick else {}))
    network_settings = _settings(_NETWORK_FACTORS)
    at_rest = [RestTask("without_replacement", rate, k * _BATCH, n_replicas, n_relaxations) for _, k, rate in settings]
    training = [
        ConstantRateTask(N_POINTS, rate, k * _BATCH, _MOMENTUM, n_epochs, n_seeds, engine=scale.engine)
        for _, k, rate in network_settings
    ]
    results = yield [*at_rest, *training]
    heat = N_POINTS * minimum().curvatures  # of a unit of variance, along each direction
    rest = [
        RestPoint(*at, (heat * r["squares"]).mean(axis=1), float((heat * task.predicted()).mean()))
        for at, task, r in zip(settings, at_rest, results, strict=False)
    ]
    trained = [TrainingPoint(*at, r["train_loss"]) for at, r in zip(network_settings, results[len(at_rest) :], strict=True)]
    network = Network(MODEL, _MOMENTUM, n_epochs)
    result = Result(N_POINTS, _RATE, _BATCH, float(minimum().curvatures[-1]), network, rest, trained)
    return result, [*rest_verdicts(rest), *training_verdicts(trained)]


def noise_ratio(rule: str, batch_sizes: np.ndarray) -> np.ndarray:
    """Noise scale at batch sizes over that at the first one."""
    linear = 1 + linear_scaling_error(batch_sizes / _BATCH, _BATCH, N_POINTS)
    ratios = {"linear": linear, "exact": np.ones(len(batch_sizes)), "none": linear * _BATCH / batch_sizes}
    return np.asarray(ratios[rule])


def parting(batch_sizes: np.ndarray, ratio: np.ndarray) -> float:
    """Batch size at which the straight line from 1 at the first one through the ratios is down at `_PARTED`; at most N."""
    x = batch_sizes - _BATCH
    slope = float((x @ (ratio - 1)) / (x @ x))
    return min(_BATCH + (_PARTED - 1) / slope, float(N_POINTS)) if slope < 0 else float(N_POINTS)


def of_rule(some: Sequence[P], rule: str) -> list[P]:
    """Points of one rule; the first of the linear rule's is K = 1, where all rules are one."""
    return [p for p in some if p.rule == rule]


def batch_sizes_of(some: Sequence[Point]) -> np.ndarray:
    """K B of each point."""
    return np.array([p.factor * _BATCH for p in some])


def rest_verdicts(measured: Sequence[RestPoint]) -> list[Verdict]:
    """State what becomes of the temperature by the linear rule and at exact g."""
    (first, *linear), exact, none = (of_rule(measured, rule) for rule in RULES)
    every, b = np.arange(len(first.temperature)), batch_sizes_of(linear)
    discrete = np.array([p.predicted for p in linear]) / first.predicted / noise_ratio("linear", b)
    exact_law = np.array([p.predicted for p in exact])
    linear_law = first.predicted * noise_ratio("linear", batch_sizes_of(exact))

    def means(some: Sequence[RestPoint], draw: np.ndarray) -> np.ndarray:
        return np.array([p.temperature[draw].mean() for p in some])

    def off_law(draw: np.ndarray, rule: str = "linear") -> float:
        """Largest distance from a rule's noise, as a share of the first temperature, the factor of discrete time taken out."""
        return float(np.abs(means(linear, draw) / means([first], draw) / discrete - noise_ratio(rule, b)).max())

    def off_exact(draw: np.ndarray, law: np.ndarray = exact_law) -> float:
        """Largest relative distance of the temperature at exact g from its discrete-time law, or from another."""
        return float(np.abs(means(exact, draw) / law - 1).max())

    def parted(draw: np.ndarray, of: Sequence[RestPoint] = linear) -> float:
        """Relative distance of the batch size at which a rule has lost a tenth from where the linear one should have."""
        some = [p for p in of if p.factor * _BATCH <= N_POINTS / 2]
        size = parting(batch_sizes_of(some), means(some, draw) / means([first], draw))
        return abs(size / (_BATCH + 0.1 * (N_POINTS - _BATCH)) - 1)

    return [
        Verdict(
            key="linear rule",
            claim=f"by the linear rule the noise falls as (N - K B)/(N - B), up to K B = {b.max() / N_POINTS:g} N",
            source=f"{_SOURCE}, eq. 4",
            statistic="largest |T(K)/T(1) - law|, discrete time's factor taken out",
            measured=estimate(off_law, len(every)),
            threshold=0.1,
            control=Control("eps/B kept, so noise kept", off_law(every, "exact")),
        ),
        Verdict(
            key="a tenth lost",
            claim="it has lost a tenth at B = B_0 + 0.1 (N - B_0), just above N/10",
            source=f"{_SOURCE}, which grows B to N/10",
            statistic="|measured/predicted - 1|, by a straight line through K B <= N/2",
            measured=estimate(parted, len(every)),
            threshold=0.25,
            control=Control("where the run that does not scale has lost a tenth", parted(every, none)),
        ),
        Verdict(
            key="exact g",
            claim="exact g keeps the noise, but for the 1/(1 - eps h/2) of steps that grow without bound",
            source="exact discrete-time law",
            statistic="largest |measured/predicted - 1| of the temperature",
            measured=estimate(off_exact, len(every)),
            threshold=0.1,
            control=Control("the law of the linear rule", off_exact(every, linear_law)),
        ),
    ]


def training_verdicts(measured: Sequence[TrainingPoint]) -> list[Verdict]:
    """State up to where the network follows the linear rule, and what exact g does to it beyond."""
    loss = {(p.rule, p.factor): p.train_loss for p in measured}
    every = np.arange(len(loss["linear", 1]))

    def astray(draw: np.ndarray, factor: int = _TENTH) -> float:
        """Distance of the logarithm of the loss from that at K = 1, over the distance of the run that does not scale."""
        first = loss["linear", 1][draw].mean()
        linear, none = (abs(np.log(loss[rule, factor][draw].mean() / first)) for rule in ("linear", "none"))
        return float(linear / none)

    def worse(draw: np.ndarray, factor: int = _HALF) -> float:
        return float(loss["exact", factor][draw].mean() / loss["linear", factor][draw].mean())

    return [
        Verdict(
            key="training to N/10",
            claim="a network in training follows the linear rule up to B = N/10",
            source=_SOURCE,
            statistic="|log of the loss over that at K = 1|, over that of the run that does not scale",
            measured=estimate(astray, len(every)),
            threshold=0.1,
            control=Control("the linear rule at B = N", astray(every, _ALL)),
        ),
        Verdict(
            key="training at N/2",
            claim="at B = N/2 exact g trains it worse than the linear rule: its learning rate is too large",
            source="measured here",
            statistic="training loss, exact g over linear rule",
            measured=estimate(worse, len(every)),
            threshold=1.25,
            relation="at least",
            control=Control("the same at B = N/10", worse(every, _TENTH)),
        ),
    ]


def rows(result: Result) -> Rows:
    """One line per rule and factor."""
    lines: Rows = [["panel", "rule", "factor", "learning_rate", "batch_size", "predicted", "measured", "standard_error"]]
    at_rest = [("rest", p, p.predicted, p.temperature) for p in result.rest]
    for panel, p, predicted, values in [*at_rest, *(("training", p, "", p.train_loss) for p in result.training)]:
        setting = [panel, p.rule, p.factor, p.learning_rate, p.factor * result.batch_size]
        lines.append([*setting, predicted, float(values.mean()), float(standard_error(values))])
    return lines


@figure_style()
def plot(result: Result, verdicts: Verdicts) -> Figure:
    """Draw temperature and training loss against B/N."""
    figure, (rest, training) = canvas(4)
    _plot_rest(rest, result)
    _plot_training(training, result)
    for axis in (rest, training):
        axis.axvline(0.1, color="#999999", linewidth=0.8, linestyle=":")
        axis.set_xlabel("scaled batch size over training-set size, K B/N")
    return figure


def _plot_rest(axis: Axes, result: Result) -> None:
    n = result.n_train
    share = np.linspace(result.batch_size / n, 1, 200)
    first, exact = of_rule(result.rest, "linear")[0], of_rule(result.rest, "exact")
    for rule, (colour, marker) in _STYLES.items():
        axis.plot(share, noise_ratio(rule, share * n), color=colour, linewidth=1)
        some = of_rule(result.rest, rule)
        temperature = np.array([p.temperature for p in some]).T / first.temperature.mean()
        error = standard_error(temperature)
        points(axis, batch_sizes_of(some) / n, temperature.mean(axis=0), error, color=colour, marker=marker)
    colour = _STYLES["exact"][0]
    steps = [p.predicted / first.predicted for p in (first, *exact)]
    axis.plot(batch_sizes_of([first, *exact]) / n, steps, color=colour, linewidth=1, linestyle="--")
    limit = 1 / (1 + noise_scale(result.learning_rate, result.batch_size, n) * result.largest_curvature / 2)
    axis.axvspan(limit, 1, color=colour, alpha=0.12, linewidth=0)
    unstable = "exact g unstable:\neps > 2/h"
    axis.text(0.74, 0.97, unstable, color=colour, ha="right", va="top", transform=axis.get_xaxis_transform())
    axis.text(0.14, 1.17, "exact g; dashed:\nits finite steps", color=colour, va="bottom")
    axis.text(0.53, 0.52, "linear rule:\n(N - K B)/(N - B)", color=_STYLES["linear"][0])
    axis.text(0.2, 0.12, "learning rate left as it is", color="#555555")
    axis.text(0.11, 1.93, "N/10", color="#666666", va="top")
    axis.set(xlim=(0, 1), ylim=(0, 2), ylabel="temperature over that at K = 1")
    axis.set_title("(a) at rest: the linear rule loses noise, exact g ends")


def _plot_training(axis: Axes, result: Result) -> None:
    first = of_rule(result.training, "linear")[0]
    line: dict[str, Any] = {"linestyle": "-", "linewidth": 1.2, "capsize": 2}
    for rule, (colour, marker) in _STYLES.items():
        some = [first, *(p for p in of_rule(result.training, rule) if p is not first)]
        loss = np.array([p.train_loss for p in some]).T
        mean = loss.mean(axis=0)
        error, x = np.minimum(standard_error(loss), 0.9 * mean), batch_sizes_of(some) / result.n_train
        points(axis, x, mean, error, color=colour, marker=marker, label=RULES[rule], **line)
    axis.axhline(first.train_loss.mean(), color="#999999", linewidth=0.8)
    axis.set(xscale="log", yscale="log", ylabel=f"training loss (nats) after {result.network.n_epochs} epochs")
    axis.text(0.104, 0.03, "N/10", color="#666666", transform=axis.get_xaxis_transform())
    label_ticks(axis.xaxis, (0.02, 0.05, 0.1, 0.2, 0.5, 1), ("1/50", "1/20", "1/10", "1/5", "1/2", "1"))
    axis.legend(loc="upper left")
    axis.set_title("(b) in training: the linear rule holds up to N/10")
