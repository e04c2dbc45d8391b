"""The optimum batch size of Smith and Le (2018): test accuracy against B at constant learning rate and number of updates.

Every run makes about the same number of updates, whatever its batch (epochs are whole, so that it is rounded), as Smith and Le
compare them. Equal epochs would be another experiment: there a larger batch trains less. Too small a batch is too noisy to
train at all; beyond some batch size accuracy falls slowly, as noise is lost. In between lies an optimum, at one noise scale
eps N/(B (1 - m)) if noise is what decides, so that B_opt is proportional to eps, to N and to 1/(1 - m).
More examples at equal updates are fewer epochs, too: there, proportionality asks for more than it does for the other two.

B_opt is the maximum of a smooth curve through the mean accuracies that come within `_WINDOW` of the setting's best::

    accuracy(B) = A - s log2(B) - d (16/B)^3,        B_opt = 16 (3 d log(2)/s)^(1/3)

a slow loss at large B and a cliff at small B. Every setting has its own A and d. The cost s of a doubling of the batch is one
for all: a setting's own is too uncertain to find a maximum with. The fit is linear in A, d and s; a point weighs the less the
more its seeds scatter. (This form, the window and the learning rates were chosen on other seeds than the figure's.)

The gain over the full batch is counted for each seed at the two batch sizes that are best on the average of the OTHER seeds:
the best of many batches on the same seeds would show a gain where there is none.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

import numpy as np

from ..engine.contract import Scale
from ..engine.verdicts import Control, Verdict, estimate, standard_error
from ..tasks.few_images import ConstantRateTask
from ..tasks.toy import DATA, MODEL
from . import Rows, Run, Verdicts
from .style import Axes, Figure, canvas, figure_style, label_ticks, points

TITLE = "Optimum: there is a best batch size, and it grows with eps, N and 1/(1 - m)"

_N_TRAIN, _RATE, _MOMENTUM = 1000, 0.08, 0.9
_SERIES: dict[str, dict[float, tuple[int, ...]]] = {
    "learning rate": {
        0.02: (8, 11, 16, 32, 64, 128),
        0.04: (16, 23, 32, 64, 128, 256, 1000),
        0.08: (32, 45, 64, 128, 256, 1000),
        0.12: (64, 91, 128, 256, 1000),
        0.16: (64, 91, 128, 256, 512, 1000),
    },
    "training-set size": {500: (23, 32, 64, 128, 256), 1000: (), 2000: (45, 64, 128, 256, 512)},
    "momentum": {0.5: (8, 11, 16, 32, 64, 128), 0.8: (16, 23, 32, 64, 128), 0.9: (), 0.95: (64, 91, 128, 256, 512)},
}  # () where the runs are those of the first series
_FACTORS = {"learning rate": "eps", "training-set size": "N", "momentum": "1/(1 - m)"}
_WINDOW = 0.05
_MODEL_ERROR = 0.001  # of the curve, in accuracy
_FIRST_SEED = 200
_SOURCE = "Smith and Le 2018"
_COLOURS = ("#E69F00", "#009E73", "#0072B2", "#CC79A7", "#000000")
_MARKERS = {"learning rate": ("#0072B2", "o"), "training-set size": ("#D55E00", "s"), "momentum": ("#000000", "^")}


@dataclass(frozen=True, eq=False)
class Setting:
    """Test accuracies at one setting, (n_seeds, n_batch_sizes)."""

    n_train: int
    learning_rate: float
    momentum: float
    batch_sizes: list[int]
    accuracy: np.ndarray

    def factor(self, series: str) -> float:
        """What B_opt should be proportional to in a series."""
        factors = {"learning rate": self.learning_rate, "training-set size": self.n_train, "momentum": 1 / (1 - self.momentum)}
        return float(factors[series])


@dataclass(frozen=True, eq=False)
class FittedSetting(Setting):
    """A setting with its A, s and d, and its B_opt."""

    fit: np.ndarray
    best_batch: float
    interval: tuple[float, float] | None = None


S = TypeVar("S", bound=Setting)


@dataclass(frozen=True)
class Exponent:
    """Exponent of B_opt over the settings of a series."""

    value: float
    interval: tuple[float, float] | None = None


@dataclass(frozen=True, eq=False)
class Result:
    """How it was trained, the settings, and the exponents by series."""

    model: str
    data: str
    n_updates: int
    n_seeds: int
    settings: list[FittedSetting]
    exponents: dict[str, Exponent]


def run(scale: Scale) -> Run[Result]:
    """Train at every setting and batch size."""
    n_updates, n_seeds = (20, 2) if scale.quick else (1500, scale.n_seeds + 3)
    tried = {
        _setting(series, value): list(batch_sizes[-3:] if scale.quick else batch_sizes)
        for series, values in _SERIES.items()
        for value, batch_sizes in values.items()
        if batch_sizes
    }
    results = yield [
        ConstantRateTask(n, rate, b, m, max(1, round(n_updates / (n // b))), n_seeds, _FIRST_SEED, scale.engine)
        for (n, rate, m), batch_sizes in tried.items()
        for b in batch_sizes
    ]
    accuracy = iter([result["test_accuracy"] for result in results])
    settings = [Setting(*at, sizes, np.array([next(accuracy) for _ in sizes]).T) for at, sizes in tried.items()]
    optima = Optima(settings)
    best = [estimate(partial(optima.best_of, i), n_seeds) for i in range(len(settings))]
    fits = zip(settings, optima.curves(np.arange(n_seeds)), best, strict=True)
    fitted = [FittedSetting(**vars(setting), fit=fit, best_batch=at.value, interval=at.interval) for setting, fit, at in fits]
    exponents = {series: Exponent(*estimate(partial(optima.exponent, series), n_seeds)) for series in _SERIES}
    verdicts = [*gain_verdicts(_members(settings, "learning rate")), *exponent_verdicts(optima, exponents, n_seeds)]
    return Result(MODEL, DATA, n_updates, n_seeds, fitted, exponents), verdicts


def _setting(series: str, value: float) -> tuple[int, float, float]:
    """N, learning rate and momentum."""
    setting = {"training-set size": _N_TRAIN, "learning rate": _RATE, "momentum": _MOMENTUM} | {series: value}
    n_train, learning_rate, momentum = setting.values()
    return int(n_train), learning_rate, momentum


def _members(settings: Sequence[S], series: str) -> list[S]:
    """Settings of a series."""
    found = {(s.n_train, s.learning_rate, s.momentum): s for s in settings}
    return [found[_setting(series, value)] for value in _SERIES[series]]


def near_best(accuracy: np.ndarray) -> np.ndarray:
    """Which batch sizes come within `_WINDOW` of the best, in the mean over the seeds."""
    mean = accuracy.mean(axis=0)
    return np.asarray(mean >= mean.max() - _WINDOW)


class Optima:
    """Optimum batch sizes of all settings, from any of the seeds."""

    def __init__(self, settings: Sequence[Setting]) -> None:
        near = [(i, s, column) for i, s in enumerate(settings) for column in np.flatnonzero(near_best(s.accuracy))]
        rows = np.zeros((len(near), 2 * len(settings) + 1))
        for row, (i, s, column) in zip(rows, near, strict=True):
            b = s.batch_sizes[column]
            row[[i, len(settings) + i, -1]] = 1.0, -((16 / b) ** 3), -np.log2(b)
        self._settings = settings
        self._accuracy = np.array([s.accuracy[:, column] for _, s, column in near])  # (n_points, n_seeds)
        errors = np.hypot(standard_error(self._accuracy.T), _MODEL_ERROR)
        self._solve = np.linalg.pinv(rows / errors[:, None]) / errors
        self._range = np.array([(s.batch_sizes[0], s.batch_sizes[-1]) for s in settings], dtype=float).T

    def curves(self, draw: np.ndarray) -> np.ndarray:
        """A, s and d of each setting, (n_settings, 3)."""
        a, d, s = np.split(self._solve @ self._accuracy[:, draw].mean(axis=1), [len(self._settings), -1])
        return np.column_stack([a, np.full_like(a, s[0]), d])

    def best(self, draw: np.ndarray) -> np.ndarray:
        """B_opt of each setting, within the batch sizes tried: the largest of them if a larger batch costs nothing."""
        _, s, d = self.curves(draw).T
        if s[0] <= 0:
            return np.asarray(self._range[1])
        return np.asarray(np.clip(16 * (3 * np.log(2) * np.maximum(d, 0) / s) ** (1 / 3), *self._range))

    def best_of(self, setting: int, draw: np.ndarray) -> float:
        """B_opt of one setting."""
        return float(self.best(draw)[setting])

    def exponent(self, series: str, draw: np.ndarray) -> float:
        """Slope of log B_opt against the logarithm of the factor of a series."""
        best = dict(zip(self._settings, self.best(draw), strict=True))
        x, y = np.log([(s.factor(series), best[s]) for s in _members(self._settings, series)]).T
        return float(np.polyfit(x, y, 1)[0])


def smooth_accuracy(fit: np.ndarray, batch_size: np.ndarray) -> np.ndarray:
    """Accuracy by the curve of A, s and d."""
    a, s, d = fit
    return np.asarray(a - s * np.log2(batch_size) - d * (16 / batch_size) ** 3)


def gains(accuracy: np.ndarray, over: int = -1) -> np.ndarray:
    """Gain of each seed over one column, by default the full batch, in the two columns that are best for the other seeds."""
    others = (accuracy.sum(axis=0) - accuracy) / (len(accuracy) - 1)
    best = np.argsort(others, axis=1)[:, -2:]
    return np.asarray(np.take_along_axis(accuracy, best, axis=1).mean(axis=1) - accuracy[:, over])


def significance(gain: np.ndarray) -> float:
    """Mean gain in standard errors; 0 if none differs from another."""
    error = float(standard_error(gain))
    return float(gain.mean()) / error if error > 0 else 0.0


def gain_verdicts(by_rate: Sequence[Setting]) -> list[Verdict]:
    """State that the best batch is neither the full one nor the smallest, where the full one was tried."""
    accuracies = [s.accuracy for s in by_rate if s.batch_sizes[-1] == s.n_train]
    every, rng = np.arange(len(accuracies[0])), np.random.default_rng(0)
    # Without any dependence on B: each seed's accuracies near the best in an order of their own.
    shuffled = [rng.permuted(a[:, near_best(a)], axis=1) for a in accuracies]

    def third(draw: np.ndarray, over: int, tables: Sequence[np.ndarray] = accuracies) -> float:
        return sorted(significance(gains(table, over)[draw]) for table in tables)[-3]

    def beats(batch: str, claim: str, over: int) -> Verdict:
        gain = 100 * sorted(float(gains(table, over).mean()) for table in accuracies)[-3]
        return Verdict(
            key=f"{batch} batch",
            claim=f"{claim}, at three learning rates or more",
            source=_SOURCE,
            statistic=f"gain over the {batch} batch ({gain:.2f} points) in standard errors, the third largest",
            measured=estimate(partial(third, over=over), len(every)),
            threshold=3.0,
            relation="at least",
            control=Control("each seed's accuracies shuffled over B", third(every, over, shuffled)),
        )

    return [
        beats("full", "a batch smaller than the training set generalises best", -1),
        beats("smallest", "and it is not the smallest that was tried", 0),
    ]


def exponent_verdicts(optima: Optima, exponents: Mapping[str, Exponent], n_seeds: int) -> list[Verdict]:
    """State that B_opt is proportional to the factor of each series."""

    def off(series: str, draw: np.ndarray, power: float = 1.0) -> float:
        return abs(power * optima.exponent(series, draw) - 1)

    return [
        Verdict(
            key=series,
            claim=f"the optimum batch size is proportional to {factor}",
            source=_SOURCE,
            statistic=f"|exponent - 1|, the exponent being {exponents[series].value:.2f}",
            measured=estimate(partial(off, series), n_seeds),
            threshold=0.3,
            control=Control("the square root of each B_opt", off(series, np.arange(n_seeds), 0.5)),
        )
        for series, factor in _FACTORS.items()
    ]


def rows(result: Result) -> Rows:
    """One line per setting, batch size and seed."""
    lines: Rows = [["n_train", "learning_rate", "momentum", "batch_size", "seed", "test_accuracy"]]
    for s in result.settings:
        at = [s.n_train, s.learning_rate, s.momentum]
        lines += [[*at, s.batch_sizes[i], seed, float(accuracy)] for (seed, i), accuracy in np.ndenumerate(s.accuracy)]
    return lines


@figure_style()
def plot(result: Result, verdicts: Verdicts) -> Figure:
    """Draw accuracy against batch size, and the optima against what they should be proportional to."""
    figure, (accuracy, optima) = canvas(4)
    _plot_accuracy(accuracy, _members(result.settings, "learning rate"), result.n_updates)
    _plot_optima(optima, result, verdicts)
    return figure


def _plot_accuracy(axis: Axes, settings: Sequence[FittedSetting], n_updates: int) -> None:
    best = max(s.accuracy.mean(axis=0).max() for s in settings)
    for s, colour in zip(settings, _COLOURS, strict=True):
        x = np.geomspace(s.batch_sizes[0], s.batch_sizes[-1], 200)
        axis.plot(x, smooth_accuracy(s.fit, x), color=colour, linewidth=1)
        mean, error = s.accuracy.mean(axis=0), standard_error(s.accuracy)
        points(axis, s.batch_sizes, mean, error, color=colour, label=f"eps = {s.learning_rate:g}", capsize=2)
        top = smooth_accuracy(s.fit, np.array(s.best_batch))
        axis.plot(s.best_batch, top, marker="v", markersize=10, color=colour, alpha=0.6, zorder=0)
    axis.set(xscale="log", xlabel="batch size B (N = 1000)", ylabel=f"test accuracy after {n_updates} updates")
    axis.set_ylim(best - 0.035, best + 0.006)
    label_ticks(axis.xaxis, (8, 16, 32, 64, 128, 256, 512, 1000))
    axis.legend(loc="lower right", title="triangles: B$_{opt}$")
    axis.set_title("(a) an optimum batch size, larger for a larger eps")


def _plot_optima(axis: Axes, result: Result, verdicts: Verdicts) -> None:
    base = _members(result.settings, "learning rate")[list(_SERIES["learning rate"]).index(_RATE)]
    for aside, (series, (colour, marker)) in zip((1, 0.96, 1.04), _MARKERS.items(), strict=True):
        members = _members(result.settings, series)
        best = [(s.factor(series), s.best_batch, *(s.interval or (s.best_batch, s.best_batch))) for s in members]
        x, y, low, high = np.array(best).T
        exponent = result.exponents[series]
        text = f"{_FACTORS[series]}: exponent {exponent.value:.2f}"
        if exponent.interval:
            text += " ({:.2f} to {:.2f})".format(*exponent.interval)
        x, error = x / base.factor(series) * aside, np.maximum([y - low, high - y], 0)
        points(axis, x, y, error, label=text, marker=marker, markersize=6, capsize=3, color=colour)
    line = np.array([0.17, 2.4])
    axis.plot(line, base.best_batch * line, color="#777777", linewidth=1, zorder=0)
    axis.text(0.18, base.best_batch * 0.18 * 1.5, "proportional", color="#555555", rotation=38, rotation_mode="anchor")
    axis.set(xscale="log", yscale="log", xlabel="eps/0.08,  N/1000  or  0.1/(1 - m)", ylabel="optimum batch size B$_{opt}$")
    label_ticks(axis.xaxis, (0.2, 0.5, 1, 2), ("1/5", "1/2", "1", "2"))
    label_ticks(axis.yaxis, (16, 32, 64, 128, 256, 512))
    axis.legend(loc="lower right", fontsize=8.5, title="95% intervals over seeds", title_fontsize=8.5)
    proportional = [factor for series, factor in _FACTORS.items() if verdicts[series].holds]
    axis.set_title(f"(b) B$_{{opt}}$ grows in proportion to {' and '.join(proportional)}" if proportional else "(b) B$_{opt}$")
