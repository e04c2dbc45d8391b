"""Three samplers, three kinds of noise: of a single batch, and of SGD at rest.

(a) The covariance of minibatch gradients of a real network, for batches of 1 to N: Sigma/B with replacement, (1/B - 1/N) S
without, and the same for one batch of a reshuffled epoch. (b) SGD at rest on a quadratic: with independent batches its variance
is proportional to the learning rate, and so to g; a reshuffled epoch cancels most of its own noise, and what is left at its
end goes with the third power of the learning rate until eps h n, for n updates an epoch, is no longer small.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import astuple, dataclass, replace
from typing import Any

import numpy as np

from ...sampling import SAMPLINGS
from ..engine.contract import Scale
from ..engine.verdicts import Control, Verdict, estimate, standard_error
from ..tasks.minibatch_noise import MinibatchNoiseTask, StationaryTask, batch_variance
from . import Rows, Run, Verdicts
from .style import Figure, canvas, figure_style, points

TITLE = "Samplers: what a batch's noise is, and what an epoch leaves of it"

_BATCH_SIZES = (1, 2, 5, 10, 20, 50, 100, 200, 300, 400, 450, 480, 495, 500)
_LEARNING_RATES = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0)
_OTHER = {"reshuffle": "with_replacement", "without_replacement": "with_replacement", "with_replacement": "without_replacement"}
_STYLES: dict[str, dict[str, Any]] = {
    "with_replacement": {"color": "#E69F00", "marker": "^", "label": "with replacement"},
    "without_replacement": {"color": "#0072B2", "marker": "o", "label": "without replacement"},
    "reshuffle": {"color": "#000000", "marker": "x", "label": "epoch reshuffling"},
}

NoiseTasks = Sequence[MinibatchNoiseTask | StationaryTask]


@dataclass(frozen=True)
class Point:
    """The variance of a sampler's noise at x, the batch size or the learning rate: its law, and as it was measured."""

    sampling: str
    x: float
    predicted: float
    measured: float
    error: float


@dataclass(frozen=True)
class Quadratic:
    """The setting of panel (b)."""

    n_train: int
    batch_size: int


@dataclass(frozen=True)
class Result:
    """Both panels: noise over the variance of an example's gradient, and the variance at rest; and N of the first."""

    n_train: int
    quadratic: Quadratic
    noise: list[Point]
    rest: list[Point]


def run(scale: Scale) -> Run[Result]:
    """Measure both panels."""
    quick = scale.quick
    batch_sizes, rates = (_BATCH_SIZES[::3], _LEARNING_RATES[2:]) if quick else (_BATCH_SIZES, _LEARNING_RATES)
    n_draws, n_replicas = (20, 40) if quick else (300, 200)
    batches = [MinibatchNoiseTask(sampling, b, n_draws=n_draws) for sampling in SAMPLINGS for b in batch_sizes]
    independent = [StationaryTask("without_replacement", rate, n_replicas=n_replicas) for rate in rates]
    reshuffled = [replace(task, sampling="reshuffle") for task in independent]
    results = yield [*batches, *reshuffled, *independent]
    noise = np.array([result["trace"] / result["S_trace"] for result in results[: len(batches)]])
    squares = np.array([result["squares"] for result in results[len(batches) :]])

    claim = "minibatch gradients of a real network have the covariance of their sampler, from B = 1 to N"
    control = "the laws with and without replacement exchanged"
    exchanged = [replace(task, sampling=_OTHER[task.sampling]) for task in batches]
    one_batch = _agreement("one batch", claim, "Smith et al. 2018, eq. 3", batches, noise, control, exchanged)
    claim = "SGD at rest on a quadratic has the exact discrete-time variance of its sampler"
    control = "the laws of independent and of reshuffled batches exchanged"
    tasks, others = [*reshuffled, *independent], [*independent, *reshuffled]
    at_rest = _agreement("at rest", claim, "discrete Lyapunov equation", tasks, squares, control, others)

    def left(draws: np.ndarray, i: int = 0) -> float:  # the first are reshuffled, the others independent
        return float(squares[i, draws].mean()) / independent[0].predicted()

    claim = f"a reshuffled epoch cancels its noise at eps h = {rates[0]:g}: g does not describe what is left"
    source, words = "exact law of reshuffling", "variance over that of independent batches"
    measured, wrong = estimate(left, n_replicas), Control("independent batches", left(np.arange(n_replicas), len(rates)))
    cancels = Verdict(
        key="epochs cancel", claim=claim, source=source, statistic=words, measured=measured, threshold=0.1, control=wrong
    )
    drawn = _points(batches, "batch_size", noise), _points(tasks, "learning_rate", squares)
    quadratic = Quadratic(independent[0].n_train, independent[0].batch_size)
    return Result(batches[0].n_train, quadratic, *drawn), [one_batch, at_rest, cancels]


def _points(tasks: NoiseTasks, x: str, samples: np.ndarray) -> list[Point]:
    measured = [(float(sample.mean()), float(standard_error(sample))) for sample in samples]
    return [Point(t.sampling, getattr(t, x), t.predicted(), *found) for t, found in zip(tasks, measured, strict=True)]


def _agreement(
    key: str, claim: str, source: str, tasks: NoiseTasks, samples: np.ndarray, control: str, others: NoiseTasks
) -> Verdict:
    """State that samples, (n_tasks, n_repetitions), have the laws of `tasks`; the control are those of `others`."""
    laws, wrong = (np.array([task.predicted() for task in some]) for some in (tasks, others))
    errors = standard_error(samples.T) + 1e-12  # at B = N the law is 0 and so is the measurement, up to rounding

    def farthest(draws: np.ndarray, laws: np.ndarray = laws) -> float:
        return float(np.max(np.abs(samples[:, draws].mean(axis=1) - laws) / errors))  # NaN stays NaN, and fails

    n = samples.shape[1]
    words, measured = "largest deviation in standard errors", estimate(farthest, n)
    rejected = Control(control, farthest(np.arange(n), wrong))
    return Verdict(key=key, claim=claim, source=source, statistic=words, measured=measured, threshold=5.0, control=rejected)


def rows(result: Result) -> Rows:
    """One line per measured point."""
    lines: Rows = [["panel", "sampling", "batch_size_or_learning_rate", "predicted", "measured", "standard_error"]]
    for panel in ("noise", "rest"):
        lines += [[panel, *astuple(point)] for point in getattr(result, panel)]
    return lines


@figure_style()
def plot(result: Result, verdicts: Verdicts) -> Figure:
    """Draw measurements as points with error bars, and the laws through them."""
    n, quadratic = result.n_train, result.quadratic
    figure, (noise, rest) = canvas(3.8)
    batch_sizes = np.concatenate([np.geomspace(1, n / 2, 60), n - np.geomspace(n / 2, 1, 60)])
    rates = np.geomspace(_LEARNING_RATES[0], _LEARNING_RATES[-1], 80)
    for sampling, style in _STYLES.items():
        for axis, some in ((noise, result.noise), (rest, result.rest)):
            seen = [(p.x, p.measured, p.error) for p in some if p.sampling == sampling and p.measured > 1e-9]
            if seen:
                x, y, error = np.array(seen).T
                points(axis, x, y, [np.minimum(error, 0.9 * y), error], **style)  # bars above 0 on a logarithmic axis
        if sampling != "reshuffle":
            noise.plot(batch_sizes, batch_variance(sampling, batch_sizes, n, 1.0), color=style["color"], linewidth=1)
        if sampling != "with_replacement":
            tasks = [StationaryTask(sampling, rate, quadratic.batch_size, quadratic.n_train) for rate in rates]
            rest.plot(rates, [task.predicted() for task in tasks], color=style["color"], linewidth=1)
    noise.set(xscale="log", yscale="log", ylim=(3e-6, 2), xlabel="batch size B", ylabel="Var(batch mean) / S")
    noise.set_title(f"(a) one batch of {n} examples: 1/B, or 1/B - 1/N")
    rest.set(xscale="log", yscale="log", xlabel="learning rate x curvature", ylabel="Var(w) at epoch ends")
    rest.set_title("(b) SGD at rest: reshuffled epochs cancel their noise")
    noise.legend(loc="lower left", title="points measured, lines exact")
    rest.text(0.0105, 7e-4, "independent batches: as eps", va="bottom", rotation=19, rotation_mode="anchor")
    rest.text(0.05, 2e-5, "reshuffled: as eps$^3$")
    return figure
