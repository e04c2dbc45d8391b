"""The optimum batch size of Smith and Le (2018): test accuracy against B at constant learning rate and number of updates.

Every run makes about the same number of updates, whatever its batch (epochs are whole, so that it is rounded), as Smith and Le
compare them. Equal epochs would be another experiment: there a larger batch trains less. Too small a batch is too noisy to
train at all; beyond some batch size accuracy falls slowly, as noise is lost. In between lies an optimum, at one noise scale
eps N/(B (1 - m)) if noise is what decides, so that B_opt is proportional to eps, to N and to 1/(1 - m).
More examples at equal updates are fewer epochs, too: there, proportionality asks for more than it does for the other two.

B_opt is the maximum of a smooth curve through the mean accuracies that come within `_WINDOW` of the setting's best::

    accuracy(B) = A - s log2(B) - d/B^3,        B_opt = (3 d log(2)/s)^(1/3)

a slow loss at large B and a cliff at small B. Every setting has its own A and d. The cost s of a doubling of the batch is one
for all: a setting's own is too uncertain to find a maximum with. The fit is linear in A, d and s; a point weighs the less the
more its seeds scatter. (This form, the window and the learning rates were chosen on other seeds than the figure's.)

The gain over the full batch is counted for each seed at the two batch sizes that are best on the average of the OTHER seeds:
the best of many batches on the same seeds would show a gain where there is none.
"""

from __future__ import annotations

from functools import partial
from itertools import groupby
from typing import TYPE_CHECKING, Any

import numpy as np

from .limits_tasks import ConstantRateTask
from .style import figure_style, standard_error
from .tasks import Compute, Scale
from .verdicts import Verdict, bootstrap_interval

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

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
_WINDOW = 0.05
_MODEL_ERROR = 0.001  # of the curve, in accuracy
_FIRST_SEED = 200
_FACTORS = {"learning rate": "eps", "training-set size": "N", "momentum": "1/(1 - m)"}
_COLOURS = ("#E69F00", "#009E73", "#0072B2", "#CC79A7", "#000000")
_SOURCE = "Smith and Le 2018"


def run(scale: Scale, compute: Compute) -> dict[str, Any]:
    """Train at every setting and batch size."""
    quick = scale.n_seeds == 1
    n_updates, n_seeds = (20, 2) if quick else (1500, scale.n_seeds + 3)
    tasks = []
    for series, values in _SERIES.items():
        for value, batch_sizes in values.items():
            n, rate, m = _setting(series, value)
            for b in batch_sizes[-3:] if quick else batch_sizes:
                n_epochs = max(1, round(n_updates / (n // b)))
                tasks.append(ConstantRateTask(n, rate, b, m, n_epochs, n_seeds, _FIRST_SEED, scale.engine))
    results = compute(tasks)
    settings = []
    for (n, rate, m), pairs in groupby(
        zip(tasks, results, strict=True), key=lambda pair: (pair[0].n_train, pair[0].learning_rate, pair[0].momentum)
    ):
        runs = list(pairs)
        accuracy = np.array([result["test_accuracy"] for _, result in runs]).T
        sizes = [task.batch_size for task, _ in runs]
        settings.append(
            {"n_train": n, "learning_rate": rate, "momentum": m, "batch_sizes": sizes, "accuracy": accuracy.tolist()}
        )
    resamples = Optima(settings)
    for i, (setting, curve) in enumerate(zip(settings, resamples.curves(np.arange(n_seeds)), strict=True)):
        setting["fit"] = curve
        setting["best_batch"] = resamples.best(np.arange(n_seeds))[i]
        setting["interval"] = bootstrap_interval(partial(resamples.one, i), n_seeds)
    exponents = {
        series: {
            "value": exponent(settings, resamples, series, np.arange(n_seeds)),
            "interval": bootstrap_interval(partial(exponent, settings, resamples, series), n_seeds),
        }
        for series in _SERIES
    }
    result = {
        "model": "MLP 196-128-10, relu, float32",
        "data": "Fashion-MNIST 14x14, bundled",
        "n_updates": n_updates,
        "n_seeds": n_seeds,
        "settings": settings,
        "exponents": exponents,
    }
    return result | {"verdicts": _verdicts(result)}


def _setting(series: str, value: float) -> tuple[int, float, float]:
    """N, learning rate and momentum."""
    return (
        int(value) if series == "training-set size" else _N_TRAIN,
        value if series == "learning rate" else _RATE,
        value if series == "momentum" else _MOMENTUM,
    )


class Optima:
    """Optimum batch sizes of all settings, from any of the seeds.

    Parameters
    ----------
    settings : list of dict
        Each with its batch sizes, and the accuracies of each seed at them.
    """

    def __init__(self, settings: list[dict[str, Any]]) -> None:
        n, rows, points, errors = len(settings), [], [], []
        for i, setting in enumerate(settings):
            accuracy = np.array(setting["accuracy"])
            mean = accuracy.mean(axis=0)
            for column in np.flatnonzero(mean >= mean.max() - _WINDOW):
                b = setting["batch_sizes"][column]
                row = np.zeros(2 * n + 1)
                row[[i, n + i, 2 * n]] = 1.0, -((16 / b) ** 3), -np.log2(b)
                rows.append(row)
                points.append(accuracy[:, column])
                errors.append(np.hypot(standard_error(accuracy[:, column]), _MODEL_ERROR))
        self._accuracy = np.array(points)  # (n_points, n_seeds)
        self._solve = np.linalg.pinv(np.array(rows) / np.array(errors)[:, None]) / np.array(errors)
        self._range = np.array([(s["batch_sizes"][0], s["batch_sizes"][-1]) for s in settings], dtype=float).T

    def curves(self, draw: np.ndarray) -> list[list[float]]:
        """A, s and d (in units of 16^3) of each setting."""
        a, d, s = np.split(self._solve @ self._accuracy[:, draw].mean(axis=1), [len(self._range[0]), -1])
        return [[float(level), float(s[0]), float(cliff)] for level, cliff in zip(a, d, strict=True)]

    def best(self, draw: np.ndarray) -> np.ndarray:
        """B_opt of each setting, within the batch sizes tried: the largest of them if a larger batch costs nothing."""
        _, s, d = np.array(self.curves(draw)).T
        if s[0] <= 0:
            return np.asarray(self._range[1])
        return np.asarray(np.clip(16 * (3 * np.log(2) * np.maximum(d, 0) / s) ** (1 / 3), *self._range))

    def one(self, setting: int, draw: np.ndarray) -> float:
        """B_opt of one setting."""
        return float(self.best(draw)[setting])


def gains(accuracy: np.ndarray, over: int = -1) -> np.ndarray:
    """Gain of each seed over one column, by default the full batch, in the two columns that are best for the other seeds."""
    others = (accuracy.sum(axis=0) - accuracy) / (len(accuracy) - 1)
    best = np.argsort(others, axis=1)[:, -2:]
    return np.asarray(np.take_along_axis(accuracy, best, axis=1).mean(axis=1) - accuracy[:, over])


def significance(gain: np.ndarray) -> float:
    """Mean gain in standard errors; 0 if none differs from another."""
    error = float(standard_error(gain))
    return float(gain.mean()) / error if error > 0 else 0.0


def _members(settings: list[dict[str, Any]], series: str) -> list[int]:
    """Where the settings of a series stand."""
    found = {(s["n_train"], s["learning_rate"], s["momentum"]): i for i, s in enumerate(settings)}
    return [found[_setting(series, value)] for value in _SERIES[series]]


def _abscissa(setting: dict[str, Any], series: str) -> float:
    """The factor to which B_opt should be proportional."""
    if series == "learning rate":
        return float(setting["learning_rate"])
    return float(setting["n_train"]) if series == "training-set size" else 1 / (1 - setting["momentum"])


def exponent(settings: list[dict[str, Any]], optima: Optima, series: str, draw: np.ndarray) -> float:
    """Slope of log B_opt against the logarithm of the factor, from the seeds in `draw`."""
    members = _members(settings, series)
    x = np.log([_abscissa(settings[i], series) for i in members])
    return float(np.polyfit(x, np.log(optima.best(draw)[members]), 1)[0])


def _verdicts(result: dict[str, Any]) -> list[Verdict]:
    settings, n_seeds = result["settings"], result["n_seeds"]
    every = np.arange(n_seeds)
    members = [settings[i] for i in _members(settings, "learning rate")]
    accuracies = [np.array(s["accuracy"]) for s in members if s["batch_sizes"][-1] == s["n_train"]]
    optima = Optima(settings)
    # Without any dependence on B: each seed's accuracies near the best in an order of their own.
    rng = np.random.default_rng(0)
    shuffled = [rng.permuted(a[:, a.mean(axis=0) >= a.mean(axis=0).max() - _WINDOW], axis=1) for a in accuracies]

    def third(draw: np.ndarray, over: int, tables: list[np.ndarray] = accuracies) -> float:
        return sorted((significance(gains(table, over)[draw]) for table in tables), reverse=True)[2]

    def beats(claim: str, batch: str, over: int) -> Verdict:
        gain = 100 * sorted((float(gains(table, over).mean()) for table in accuracies), reverse=True)[2]
        return Verdict(
            claim=f"{claim}, at three learning rates or more",
            source=_SOURCE,
            statistic=f"gain over the {batch} batch ({gain:.2f} points) in standard errors, the third largest",
            value=third(every, over),
            threshold=3.0,
            relation="at least",
            interval=bootstrap_interval(partial(third, over=over), n_seeds),
            control="each seed's accuracies shuffled over B",
            control_value=third(every, over, shuffled),
        )

    verdicts = [
        beats("a batch smaller than the training set generalises best", "full", -1),
        beats("and it is not the smallest that was tried", "smallest", 0),
    ]
    for series, factor in _FACTORS.items():
        slope = result["exponents"][series]["value"]

        def off(draw: np.ndarray, power: float = 1.0, series: str = series) -> float:
            return abs(power * exponent(settings, optima, series, draw) - 1)

        verdicts.append(
            Verdict(
                claim=f"the optimum batch size is proportional to {factor}",
                source=_SOURCE,
                statistic=f"|exponent - 1|, the exponent being {slope:.2f}",
                value=off(every),
                threshold=0.3,
                interval=bootstrap_interval(off, n_seeds),
                control="the square root of each B_opt",
                control_value=off(every, 0.5),
            )
        )
    return verdicts


def rows(result: dict[str, Any]) -> list[list[Any]]:
    """One line per setting, batch size and seed."""
    lines: list[list[Any]] = [["n_train", "learning_rate", "momentum", "batch_size", "seed", "test_accuracy"]]
    for s in result["settings"]:
        for seed, accuracies in enumerate(s["accuracy"]):
            for b, accuracy in zip(s["batch_sizes"], accuracies, strict=True):
                lines.append([s["n_train"], s["learning_rate"], s["momentum"], b, seed, accuracy])
    return lines


def plot(result: dict[str, Any]) -> Figure:
    """Draw accuracy against batch size, and the optima against what they should be proportional to."""
    from matplotlib.figure import Figure

    with figure_style():
        figure = Figure(figsize=(9, 4), layout="constrained")
        accuracy, optima = figure.subplots(1, 2)
        members = [result["settings"][i] for i in _members(result["settings"], "learning rate")]
        _plot_accuracy(accuracy, members, result["n_updates"])
        _plot_optima(optima, result)
    return figure


def _plot_accuracy(axis: Axes, members: list[dict[str, Any]], n_updates: int) -> None:
    best = max(np.mean(s["accuracy"], axis=0).max() for s in members)
    for s, colour in zip(members, _COLOURS, strict=True):
        x, accuracy = np.array(s["batch_sizes"]), np.array(s["accuracy"])
        mean, error = accuracy.mean(axis=0), standard_error(accuracy)
        a, slope, d = s["fit"]
        curve = np.geomspace(x[0], x[-1], 200)
        smooth = a - slope * np.log2(curve) - d * (16 / curve) ** 3
        axis.plot(curve, smooth, color=colour, linewidth=1)
        label = f"eps = {s['learning_rate']:g}"
        style: dict[str, Any] = {"linestyle": "", "marker": "o", "markersize": 5, "fillstyle": "none", "capsize": 2}
        axis.errorbar(x, mean, error, color=colour, label=label, **style)
        top = a - slope * np.log2(s["best_batch"]) - d * (16 / s["best_batch"]) ** 3
        axis.plot(s["best_batch"], top, marker="v", markersize=10, color=colour, alpha=0.6, zorder=0)
    axis.set(xscale="log", xlabel="batch size B (N = 1000)", ylabel=f"test accuracy after {n_updates} updates")
    axis.set_ylim(best - 0.035, best + 0.006)
    ticks = [8, 16, 32, 64, 128, 256, 512, 1000]
    axis.set_xticks(ticks, [str(tick) for tick in ticks])
    axis.set_xticks([], minor=True)
    axis.legend(loc="lower right", title="triangles: B$_{opt}$")
    axis.set_title("(a) an optimum batch size, larger for a larger eps")


def _plot_optima(axis: Axes, result: dict[str, Any]) -> None:
    base = _abscissae_of_base()
    styles = {"learning rate": ("#0072B2", "o"), "training-set size": ("#D55E00", "s"), "momentum": ("#000000", "^")}
    settings = result["settings"]
    centre = settings[_members(settings, "learning rate")[list(_SERIES["learning rate"]).index(_RATE)]]["best_batch"]
    for series, (colour, marker) in styles.items():
        members = [settings[i] for i in _members(settings, series)]
        x = np.array([_abscissa(s, series) for s in members]) / base[series]
        y = np.array([s["best_batch"] for s in members])
        ends = np.array([s["interval"] or (s["best_batch"],) * 2 for s in members])
        error = np.maximum(np.abs(ends.T - y), 0) * np.array([y >= ends[:, 0], y <= ends[:, 1]])
        slope = result["exponents"][series]
        text = f"{_FACTORS[series]}: exponent {slope['value']:.2f}"
        if slope["interval"]:
            text += " ({:.2f} to {:.2f})".format(*slope["interval"])
        style: dict[str, Any] = {"linestyle": "", "marker": marker, "fillstyle": "none", "capsize": 3, "color": colour}
        axis.errorbar(x * {"o": 1, "s": 0.96, "^": 1.04}[marker], y, error, label=text, **style)
    line = np.array([0.17, 2.4])
    axis.plot(line, centre * line, color="#777777", linewidth=1, zorder=0)
    axis.text(0.18, centre * 0.18 * 1.5, "proportional", color="#555555", rotation=38, rotation_mode="anchor")
    axis.set(xscale="log", yscale="log", ylabel="optimum batch size B$_{opt}$")
    axis.set_xlabel("eps/0.08,  N/1000  or  0.1/(1 - m)")
    axis.set_xticks([0.2, 0.5, 1, 2], ["1/5", "1/2", "1", "2"])
    axis.set_xticks([], minor=True)
    ticks = [16, 32, 64, 128, 256, 512]
    axis.set_yticks(ticks, [str(tick) for tick in ticks])
    axis.set_yticks([], minor=True)
    axis.legend(loc="lower right", fontsize=8.5, title="95% intervals over seeds", title_fontsize=8.5)
    of_series = zip(_FACTORS.values(), result["verdicts"][-len(_FACTORS) :], strict=True)
    proportional = [factor for factor, verdict in of_series if verdict["holds"]]
    axis.set_title(f"(b) B$_{{opt}}$ grows in proportion to {' and '.join(proportional)}" if proportional else "(b) B$_{opt}$")


def _abscissae_of_base() -> dict[str, float]:
    base = {"n_train": _N_TRAIN, "learning_rate": _RATE, "momentum": _MOMENTUM}
    return {series: _abscissa(base, series) for series in _SERIES}
