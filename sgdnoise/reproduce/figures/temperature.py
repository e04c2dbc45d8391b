"""The temperature of SGD: logistic regression at rest near its minimum, beside Langevin dynamics and the exact discrete law.

C is the cost summed over N = 1000 examples, N h its curvature along an eigenvector of the Hessian, F the variance of the
per-example gradients along it, and N h Var(w) the temperature that equipartition assigns. The model is nearly the true one, so
that F is nearly h and nearly the same along the six stiffest directions, which are all that the data determine.

(a) Pairs of learning rate and batch size that share g = eps (N/B - 1), B at most N/50, have the temperature g f/2, f the mean
of F, as has Langevin dynamics that is given it. At the hottest point (g = 50) the walks are so wide that the loss is no
parabola any more: SGD and Langevin dynamics both leave the law. It is drawn, and no verdict uses it. (b) At large learning
rates the variance leaves the law by the factor 1/(1 - eps h/2) of discrete time. (Batches are drawn with replacement there, so
that B can be large, and the walk narrow, without the -1 of g.) (c) With B near N the -1 counts: batches drawn without
replacement carry 1 - B/N of the noise of the rule eps N/B. Reshuffled epochs, looked at at their ends, carry far less. (d) With
features of scales 1 to 0.1 F is as anisotropic as h. SGD then has one temperature for each direction, g F/2, and fluctuates
alike along all; Langevin dynamics has one for all, and its variance goes as 1/h.

Predictions take the noise as additive and the loss as quadratic. What they leave out, of first order in eps/B, is some 4% at
eps/B = 0.01, and more than the statistical error: deviations are therefore judged relative to the prediction.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import astuple, dataclass, fields
from typing import Any

import numpy as np

from ...noise import learning_rate_for, noise_scale, temperature
from ..engine.contract import Scale
from ..engine.verdicts import Control, Verdict, estimate, standard_error
from ..tasks.at_rest import N_POINTS, LangevinRestTask, RestTask, minimum
from . import Rows, Run, Verdicts
from .style import Axes, Figure, canvas, figure_style, points

TITLE = "Temperature: SGD near a minimum beside Langevin dynamics at k_B T = g f/2"

_NOISE_SCALES = (1.0, 2.0, 5.0, 10.0)
_HOT = 50.0  # anharmonic: shown, outside the verdicts
_SMALL_BATCHES = (4, 20)
_LARGE_RATES = ((0.2, 100), (0.5, 250), (1.0, 500), (1.5, 750), (2.0, 1000), (2.5, 1250))
_RATE = 0.2
_INDEPENDENT_BATCHES = (20, 100, 250, 500, 700, 900)
_RESHUFFLED_BATCHES = (20, 40, 100, 200, 500)
_ORANGE, _BLUE, _BLACK, _GREY = "#D55E00", "#0072B2", "#000000", "#777777"
_CLAIMS = {
    "equal g": "pairs of equal g, B <= N/50, have the predicted variance along each of the six stiffest directions",
    "Langevin": "Langevin dynamics at k_B T = g f/2 has the variance k_B T/(N h)",
    "large rates": "at large learning rates the variance grows by 1/(1 - eps h/2)",
    "large batches": "without replacement the variance falls by 1 - B/N",
    "reshuffling": "epoch reshuffling leaves the variance of its own law",
    "anisotropy": "with anisotropic F each direction has the variance of its own temperature",
}


@dataclass(frozen=True)
class Point:
    """The variance along one direction under one dynamics."""

    panel: str
    x: float
    """Noise scale, learning rate or B/N, by panel."""
    dynamics: str
    """The sampler, or "langevin", which has no learning rate and no batch size."""
    learning_rate: float
    batch_size: int
    curvature: float
    gradient_variance: float
    predicted: float
    continuous: float
    """The law of the rule eps N/B in continuous time; of Langevin dynamics, the law itself."""
    measured: float
    error: float


@dataclass(frozen=True)
class Result:
    """N, f, and what was measured."""

    n_train: int
    mean_gradient_variance: float
    points: list[Point]


Setting = tuple[str, float, RestTask | LangevinRestTask]
"""Panel, x, and what is measured there."""

Measured = list[tuple[Point, np.ndarray]]
"""Points, and the mean square of each replica there."""


def run(scale: Scale) -> Run[Result]:
    """Measure the four panels."""
    settings = _settings(scale.quick)
    results = yield [task for _, _, task in settings]
    measured = [pair for at, result in zip(settings, results, strict=True) for pair in _measured(at, result["squares"])]
    f = float(minimum().gradient_variances.mean())
    return Result(N_POINTS, f, [point for point, _ in measured]), _verdicts(measured)


def _settings(quick: bool) -> list[Setting]:
    few, many, soft = (15.0, 30.0, 5.0) if quick else (40.0, 200.0, 10.0)  # relaxation times
    f = float(minimum().gradient_variances.mean())
    settings: list[Setting] = []
    for g in (*_NOISE_SCALES[3 if quick else 0 :], _HOT):
        pair = [RestTask("without_replacement", learning_rate_for(g, b, N_POINTS), b, 400, few) for b in _SMALL_BATCHES]
        settings += [("equal_g", g, task) for task in pair]
        settings.append(("equal_g", g, LangevinRestTask(temperature(g, f), 200, few)))
    rates = _LARGE_RATES[1::2] if quick else _LARGE_RATES
    sizes = _INDEPENDENT_BATCHES[::3] if quick else _INDEPENDENT_BATCHES
    reshuffled = _RESHUFFLED_BATCHES[2:4] if quick else _RESHUFFLED_BATCHES
    settings += [("rate", rate, RestTask("with_replacement", rate, b, 100, many)) for rate, b in rates]
    settings += [("batch", b / N_POINTS, RestTask("without_replacement", _RATE, b, 100, few)) for b in sizes]
    settings += [("batch", b / N_POINTS, RestTask("reshuffle", _RATE, b, 400, few)) for b in reshuffled]
    scales = 0.3 if quick else 0.1, 1e-4  # soft directions take long
    rate, b = 0.1, 20
    kelvin = temperature(noise_scale(rate, b, N_POINTS, replace=True), float(minimum(*scales).gradient_variances.mean()))
    own = RestTask("with_replacement", rate, b, 200 if quick else 400, soft, *scales)
    one = LangevinRestTask(kelvin, 50 if quick else 100, soft, *scales)
    return [*settings, ("anisotropic", rate, own), ("anisotropic", rate, one)]


def _measured(setting: Setting, squares: np.ndarray) -> Measured:
    """One point for each direction, from the mean squares of the replicas, (n_replicas, 6)."""
    panel, x, task = setting
    at, predicted = minimum(task.smallest_scale, task.l2), task.predicted()
    dynamics, continuous = ("langevin", 0.0, 0), predicted
    if isinstance(task, RestTask):
        dynamics, continuous = (task.sampling, task.learning_rate, task.batch_size), task.continuous()
    measured = squares.mean(axis=0), standard_error(squares)
    columns = np.array([at.curvatures, at.gradient_variances, predicted, continuous, *measured])
    return [(Point(panel, x, *dynamics, *column), sample) for column, sample in zip(columns.T.tolist(), squares.T, strict=True)]


def _verdicts(measured: Measured) -> list[Verdict]:
    def chosen(panel: str, dynamics: str) -> Measured:
        return [(p, sample) for p, sample in measured if (p.panel, p.dynamics) == (panel, dynamics) and p.x != _HOT]

    pairs, langevin = chosen("equal_g", "without_replacement"), chosen("equal_g", "langevin")
    rates, batches = chosen("rate", "with_replacement"), chosen("batch", "without_replacement")
    reshuffled, anisotropic = chosen("batch", "reshuffle"), chosen("anisotropic", "with_replacement")
    one_temperature = chosen("anisotropic", "langevin")
    law, exact = "Smith et al. 2018, eq. 3", "exact discrete-time law"
    compared = {  # the points, where their law is from, and another law that they must reject
        "equal g": (pairs, law, "k_B T = g F, without the 1/2", [2 * p.predicted for p, _ in pairs]),
        "Langevin": (langevin, "Boltzmann's law", "at twice the temperature", [2 * p.predicted for p, _ in langevin]),
        "large rates": (rates, exact, "continuous time", [p.continuous for p, _ in rates]),
        "large batches": (batches, exact, "the rule eps N/B", [p.predicted / (1 - p.x) for p, _ in batches]),
        "reshuffling": (reshuffled, exact, "the law of independent batches", [p.continuous for p, _ in reshuffled]),
        "anisotropy": (anisotropic, exact, "one temperature for all directions", [p.predicted for p, _ in one_temperature]),
    }
    return [_verdict(key, *compared[key]) for key in _CLAIMS]


def _verdict(key: str, some: Measured, source: str, control: str, wrong: Sequence[float]) -> Verdict:
    """State that all points have their laws, and as a control the variances that another law gives them."""
    squares = np.array([sample for _, sample in some]).T  # (n_replicas, n_points)
    own = [p.predicted for p, _ in some]

    def off(draws: np.ndarray, law: Sequence[float] = own) -> float:
        return float(np.max(np.abs(squares[draws].mean(axis=0) / law - 1)))  # NaN stays NaN, and fails

    return Verdict(
        key=key,
        claim=_CLAIMS[key],
        source=source,
        statistic="largest |measured/predicted - 1|",
        measured=estimate(off, len(squares)),
        threshold=0.1,
        control=Control(control, off(np.arange(len(squares)), wrong)),
    )


def rows(result: Result) -> Rows:
    """One line per setting and direction."""
    names = [field.name for field in fields(Point)]
    return [[*names[:-1], "standard_error"], *(list(astuple(point)) for point in result.points)]


@figure_style()
def plot(result: Result, verdicts: Verdicts) -> Figure:
    """Draw measurements as points with error bars, and the laws as lines."""
    figure, ((equal_g, rate), (batch, anisotropic)) = canvas(7, 2, 2)
    panels = {name: [p for p in result.points if p.panel == name] for name in ("equal_g", "rate", "batch", "anisotropic")}
    _plot_equal_g(equal_g, panels["equal_g"], result.n_train, result.mean_gradient_variance)
    _plot_rate(rate, panels["rate"])
    _plot_batch(batch, panels["batch"])
    _plot_anisotropic(anisotropic, panels["anisotropic"])
    return figure


def _plot_equal_g(axis: Axes, panel: list[Point], n: int, f: float) -> None:
    x = np.array([0.8, 65.0])
    axis.plot(x, f * x / 2, color=_GREY, linewidth=1)
    axis.text(1.15, f * 1.15 / 2 * 1.3, "law: g f/2", color="#555555", rotation=38, rotation_mode="anchor")
    styles: dict[int, dict[str, Any]] = {
        4: {"color": _ORANGE, "marker": "s", "markersize": 9, "label": "SGD, B = 4"},
        20: {"color": _BLUE, "marker": "o", "markersize": 5.5, "label": "SGD, B = 20"},
        0: {"color": _BLACK, "marker": "x", "markersize": 5, "label": "Langevin dynamics"},
    }
    for batch_size, style in styles.items():
        some = [p for p in panel if p.batch_size == batch_size]
        g, mean, error, _ = _over_directions(some, [n * p.curvature for p in some])
        points(axis, g, mean, error, **style)
    hot = [p.measured / p.predicted for p in panel if p.x == _HOT and p.dynamics == "without_replacement"]
    if hot:
        text = f"too hot for a parabola:\n{100 * (np.mean(hot) - 1):+.0f}% on the exact law,\nand B = 20 steps far (b)"
        axis.text(11, 0.9, text, va="center")
        axis.plot([_HOT, _HOT], [f * _HOT / 2 * 0.85, 1.8], color=_GREY, linewidth=0.8)
    label = "temperature of SGD: mean of N h Var(w)"
    axis.set(xscale="log", yscale="log", xlabel="noise scale g = eps (N/B - 1)", ylabel=label)
    axis.set_title("(a) Equal g, equal temperature: k$_B$T = g f/2")
    axis.legend(loc="upper left")


def _over_directions(panel: list[Point], factors: Sequence[float]) -> np.ndarray:
    """For each x, means over its directions of what was measured, with error, and of the law, all times the factors."""
    columns = []
    for x in sorted({p.x for p in panel}):
        here = [np.array([p.measured, p.error, p.predicted]) * c for p, c in zip(panel, factors, strict=True) if p.x == x]
        measured, error, law = np.array(here).T
        columns.append([x, measured.mean(), np.sqrt((error**2).sum()) / len(error), law.mean()])
    return np.array(columns).T


def _plot_rate(axis: Axes, panel: list[Point]) -> None:
    steps = np.array([p.learning_rate * p.curvature for p in panel])
    ratio, error = np.array([(p.measured / p.continuous, p.error / p.continuous) for p in panel]).T
    x = np.linspace(0, 1.05 * steps.max(), 100)
    axis.axhline(1, color=_GREY, linestyle="--", linewidth=1)
    axis.plot(x, 1 / (1 - x / 2), color=_BLUE, linewidth=1)
    points(axis, steps, ratio, error, markersize=4, color=_BLUE)
    axis.text(0.75, 1.03, "continuous time: 1", color="#555555", va="bottom")
    axis.text(0.62, 1.75, "discrete time:\n1/(1 - eps h/2)", color=_BLUE, ha="right")
    axis.set(xlabel="learning rate x curvature, eps h", ylabel="Var(w) / Langevin's law", ylim=(0.8, None), xlim=(0, None))
    axis.set_title("(b) Large learning rate: hotter, by discrete time")


def _plot_batch(axis: Axes, panel: list[Point]) -> None:
    x = np.linspace(0, 1, 2)
    axis.axhline(1, color=_GREY, linestyle="--", linewidth=1)
    axis.plot(x, 1 - x, color=_BLUE, linewidth=1)
    for dynamics, marker, color in (("without_replacement", "o", _BLUE), ("reshuffle", "x", _BLACK)):
        some = [p for p in panel if p.dynamics == dynamics]
        # discrete time is taken out of the ratio: it is panel (b)'s
        factors = [(1 - p.learning_rate * p.curvature / 2) / p.continuous for p in some]
        sizes, mean, error, law = _over_directions(some, factors)
        points(axis, sizes, mean, error, marker=marker, color=color)
    axis.plot(sizes, law, color=_BLACK, linewidth=1)  # of reshuffled epochs
    axis.text(0.99, 1.02, "rule eps N/B: 1", color="#555555", ha="right", va="bottom")
    axis.text(0.46, 0.56, "independent batches\nwithout replacement: 1 - B/N", color=_BLUE)
    axis.text(0.13, 0.13, "reshuffled epochs, at their ends", color=_BLACK)
    label = "Var(w) / law of the rule eps N/B"
    axis.set(xlabel="batch size over training-set size, B/N", ylabel=label, xlim=(0, 1), ylim=(0, 1.15))
    axis.set_title("(c) B near N, or reshuffled epochs: colder")


def _plot_anisotropic(axis: Axes, panel: list[Point]) -> None:
    sgd = "SGD: each direction has its own,\nk$_B$T = g F/2, and F = h: one variance"
    langevin = "Langevin: one temperature,\nVar = k$_B$T/(N h)"
    for dynamics, color, marker in (("with_replacement", _BLUE, "o"), ("langevin", _BLACK, "x")):
        some = sorted((p.curvature, p.predicted, p.measured, p.error) for p in panel if p.dynamics == dynamics)
        h, law, measured, error = np.array(some).T
        axis.plot(h, law, color=color, linewidth=1)
        points(axis, h, measured, error, marker=marker, color=color)
        if dynamics == "langevin":
            axis.text(h[1] * 1.25, law[1] * 1.1, langevin, color=color, va="bottom")
        else:
            axis.text(h[0], law[0] * 0.85, sgd, color=color, va="top")
    axis.set(xscale="log", yscale="log", xlabel="curvature h along the direction", ylabel="Var(w)")
    axis.set_ylim(axis.get_ylim()[0] / 3, None)
    axis.set_title("(d) Anisotropic F: a temperature for each direction")
