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

from typing import TYPE_CHECKING, Any

import numpy as np

from ..noise import learning_rate_for, noise_scale, temperature
from .rest_tasks import N_TRAIN, LangevinRestTask, RestTask, minimum
from .style import figure_style, standard_error
from .tasks import Arrays, Compute, Scale
from .verdicts import Verdict, bootstrap_interval

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

TITLE = "Temperature: SGD near a minimum beside Langevin dynamics at k_B T = g f/2"

_NOISE_SCALES: tuple[float, ...] = (1.0, 2.0, 5.0, 10.0)
_HOT = 50.0  # anharmonic: shown, outside the verdicts
_SMALL_BATCHES = (4, 20)
_LARGE_RATES: tuple[tuple[float, int], ...] = ((0.2, 100), (0.5, 250), (1.0, 500), (1.5, 750), (2.0, 1000), (2.5, 1250))
_RATE = 0.2
_INDEPENDENT_BATCHES: tuple[int, ...] = (20, 100, 250, 500, 700, 900)
_RESHUFFLED_BATCHES: tuple[int, ...] = (20, 40, 100, 200, 500)
_ANISOTROPIC = {"smallest_scale": 0.1, "l2": 1e-4}
_COLOURS = {"4": "#D55E00", "20": "#0072B2", "langevin": "#000000", "reshuffle": "#000000", "law": "#777777"}


def run(scale: Scale, compute: Compute) -> dict[str, Any]:
    """Measure the four panels."""
    quick = scale.n_seeds == 1
    few: dict[str, Any] = {"n_replicas": 100, "n_relaxations": 15.0 if quick else 40.0}
    many: dict[str, Any] = {"n_replicas": 100, "n_relaxations": 30.0 if quick else 200.0}
    f = float(minimum().gradient_variances.mean())
    tasks: list[tuple[str, float, RestTask | LangevinRestTask]] = []
    for g in (*(_NOISE_SCALES[-1:] if quick else _NOISE_SCALES), _HOT):
        for b in _SMALL_BATCHES:
            rate = learning_rate_for(g, b, N_TRAIN)
            tasks.append(("equal_g", g, RestTask("without_replacement", rate, b, **few | {"n_replicas": 400})))
        tasks.append(("equal_g", g, LangevinRestTask(temperature(g, f), **few | {"n_replicas": 200})))
    for rate, b in _LARGE_RATES[1::2] if quick else _LARGE_RATES:
        tasks.append(("rate", rate, RestTask("with_replacement", rate, b, **many)))
    for b in _INDEPENDENT_BATCHES[::3] if quick else _INDEPENDENT_BATCHES:
        tasks.append(("batch", b / N_TRAIN, RestTask("without_replacement", _RATE, b, **few)))
    for b in _RESHUFFLED_BATCHES[2:4] if quick else _RESHUFFLED_BATCHES:
        tasks.append(("batch", b / N_TRAIN, RestTask("reshuffle", _RATE, b, **few | {"n_replicas": 400})))
    scales: dict[str, Any] = _ANISOTROPIC | ({"smallest_scale": 0.3} if quick else {})  # soft directions take long
    at = minimum(**scales)
    rate, b = 0.1, 20
    kelvin = temperature(noise_scale(rate, b, N_TRAIN, replace=True), float(at.gradient_variances.mean()))
    soft: Any = {**scales, "n_relaxations": 5.0 if quick else 10.0}
    tasks.append(("anisotropic", rate, RestTask("with_replacement", rate, b, n_replicas=200 if quick else 400, **soft)))
    tasks.append(("anisotropic", rate, LangevinRestTask(kelvin, n_replicas=50 if quick else 100, **soft)))

    results = compute([task for _, _, task in tasks])
    points = [p for (panel, x, task), result in zip(tasks, results, strict=True) for p in _points(panel, x, task, result)]
    verdicts = _verdicts(points)
    for p in points:
        del p["squares"]
    return {"n_train": N_TRAIN, "mean_gradient_variance": f, "points": points, "verdicts": verdicts}


def _points(panel: str, x: float, task: RestTask | LangevinRestTask, result: Arrays) -> list[dict[str, Any]]:
    """One point for each direction."""
    at = minimum(task.smallest_scale, task.l2)
    squares = result["squares"]
    predicted = task.predicted()
    setting: dict[str, Any]
    if isinstance(task, RestTask):
        setting = {"dynamics": task.method, "learning_rate": task.learning_rate, "batch_size": task.batch_size}
        continuous = task.continuous()
    else:
        setting = {"dynamics": "langevin", "learning_rate": 0.0, "batch_size": 0}
        continuous = predicted
    columns = {
        "curvature": at.curvatures,
        "gradient_variance": at.gradient_variances,
        "predicted": predicted,
        "continuous": continuous,  # the law of the rule eps N/B in continuous time; of Langevin dynamics, the law itself
        "measured": squares.mean(axis=0),
        "error": standard_error(squares),
    }
    return [
        {"panel": panel, "x": float(x), **setting, **{name: float(values[i]) for name, values in columns.items()}}
        | {"squares": squares[:, i]}  # one number for each replica, for the intervals
        for i in range(squares.shape[1])
    ]


def _verdicts(points: list[dict[str, Any]]) -> list[Verdict]:
    def chosen(panel: str, dynamics: str) -> list[dict[str, Any]]:
        return [p for p in points if p["panel"] == panel and p["dynamics"] == dynamics and (panel, p["x"]) != ("equal_g", _HOT)]

    def claim(some: list[dict[str, Any]], claim: str, source: str, control: str, wrong: list[float]) -> Verdict:
        """Compare all points with their law, and as a control with the variances that another law gives them."""
        squares = np.array([p["squares"] for p in some]).T  # (n_replicas, n_points)

        def off(draw: np.ndarray, law: list[float] | None = None) -> float:
            measured = squares[draw].mean(axis=0)
            return float(np.max(np.abs(measured / (law or [p["predicted"] for p in some]) - 1)))  # NaN stays NaN, and fails

        every = np.arange(len(squares))
        return Verdict(
            claim=claim,
            source=source,
            statistic="largest |measured/predicted - 1|",
            value=off(every),
            threshold=0.1,
            interval=bootstrap_interval(off, len(every)),
            control=control,
            control_value=off(every, wrong),
        )

    pairs, langevin = chosen("equal_g", "without_replacement"), chosen("equal_g", "langevin")
    rates, batches = chosen("rate", "with_replacement"), chosen("batch", "without_replacement")
    reshuffled, anisotropic = chosen("batch", "reshuffle"), chosen("anisotropic", "with_replacement")
    law, exact = "Smith et al. 2018, eq. 3", "exact discrete-time law"
    return [
        claim(
            pairs,
            "pairs of equal g, B <= N/50, have the predicted variance along each of the six stiffest directions",
            law,
            "k_B T = g F, without the 1/2",
            [2 * p["predicted"] for p in pairs],
        ),
        claim(
            langevin,
            "Langevin dynamics at k_B T = g f/2 has the variance k_B T/(N h)",
            "Boltzmann's law",
            "at twice the temperature",
            [2 * p["predicted"] for p in langevin],
        ),
        claim(
            rates,
            "at large learning rates the variance grows by 1/(1 - eps h/2)",
            exact,
            "continuous time",
            [p["continuous"] for p in rates],
        ),
        claim(
            batches,
            "without replacement the variance falls by 1 - B/N",
            exact,
            "the rule eps N/B",
            [p["predicted"] / (1 - p["x"]) for p in batches],
        ),
        claim(
            reshuffled,
            "epoch reshuffling leaves the variance of its own law",
            exact,
            "the law of independent batches",
            [p["continuous"] for p in reshuffled],
        ),
        claim(
            anisotropic,
            "with anisotropic F each direction has the variance of its own temperature",
            exact,
            "one temperature for all directions",
            [p["predicted"] for p in chosen("anisotropic", "langevin")],
        ),
    ]


_COLUMNS = (
    "panel",
    "x",
    "dynamics",
    "learning_rate",
    "batch_size",
    "curvature",
    "gradient_variance",
    "predicted",
    "continuous",
)


def rows(result: dict[str, Any]) -> list[list[Any]]:
    """One line per setting and direction."""
    lines: list[list[Any]] = [[*_COLUMNS, "measured", "standard_error"]]
    return lines + [[*(p[name] for name in _COLUMNS), p["measured"], p["error"]] for p in result["points"]]


def plot(result: dict[str, Any]) -> Figure:
    """Draw measurements as points with error bars, and the laws as lines."""
    from matplotlib.figure import Figure

    with figure_style():
        figure = Figure(figsize=(9, 7), layout="constrained")
        axes = figure.subplots(2, 2)
        panels = {
            name: [p for p in result["points"] if p["panel"] == name] for name in ("equal_g", "rate", "batch", "anisotropic")
        }
        _plot_equal_g(axes[0, 0], panels["equal_g"], result["n_train"], result["mean_gradient_variance"])
        _plot_rate(axes[0, 1], panels["rate"])
        _plot_batch(axes[1, 0], panels["batch"])
        _plot_anisotropic(axes[1, 1], panels["anisotropic"])
    return figure


def _plot_equal_g(axis: Axes, points: list[dict[str, Any]], n: int, f: float) -> None:
    x = np.array([0.8, 65.0])
    axis.plot(x, f * x / 2, color=_COLOURS["law"], linewidth=1)
    axis.text(1.15, f * 1.15 / 2 * 1.3, "law: g f/2", color="#555555", rotation=38, rotation_mode="anchor")
    settings: dict[str, dict[str, Any]] = {
        "4": {"marker": "s", "markersize": 9, "label": "SGD, B = 4"},
        "20": {"marker": "o", "markersize": 5.5, "label": "SGD, B = 20"},
        "langevin": {"marker": "x", "markersize": 5, "label": "Langevin dynamics"},
    }
    for key, style in settings.items():
        some = [p for p in points if (p["dynamics"] if p["dynamics"] == "langevin" else str(p["batch_size"])) == key]
        scales = sorted({p["x"] for p in some})
        heat = [
            [(n * p["curvature"] * p["measured"], n * p["curvature"] * p["error"]) for p in some if p["x"] == g] for g in scales
        ]
        mean = [np.mean([value for value, _ in group]) for group in heat]
        error = [np.sqrt(np.sum([e**2 for _, e in group])) / len(group) for group in heat]
        axis.errorbar(scales, mean, error, linestyle="", fillstyle="none", color=_COLOURS[key], **style)
    hot = [p["measured"] / p["predicted"] for p in points if p["x"] == _HOT and p["dynamics"] == "without_replacement"]
    if hot:
        text = f"too hot for a parabola:\n{100 * (np.mean(hot) - 1):+.0f}% on the exact law,\nand B = 20 steps far (b)"
        axis.text(11, 0.9, text, va="center")
        axis.plot([_HOT, _HOT], [f * _HOT / 2 * 0.85, 1.8], color=_COLOURS["law"], linewidth=0.8)
    axis.set(
        xscale="log", yscale="log", xlabel="noise scale g = eps (N/B - 1)", ylabel="temperature of SGD: mean of N h Var(w)"
    )
    axis.set_title("(a) Equal g, equal temperature: k$_B$T = g f/2")
    axis.legend(loc="upper left")


def _ratios(points: list[dict[str, Any]]) -> tuple[np.ndarray, np.ndarray]:
    measured, error, continuous = (np.array([p[key] for p in points]) for key in ("measured", "error", "continuous"))
    return measured / continuous, error / continuous


def _plot_rate(axis: Axes, points: list[dict[str, Any]]) -> None:
    steps = np.array([p["learning_rate"] * p["curvature"] for p in points])
    ratio, error = _ratios(points)
    x = np.linspace(0, 1.05 * steps.max(), 100)
    axis.axhline(1, color=_COLOURS["law"], linestyle="--", linewidth=1)
    axis.plot(x, 1 / (1 - x / 2), color=_COLOURS["20"], linewidth=1)
    axis.errorbar(steps, ratio, error, linestyle="", marker="o", markersize=4, fillstyle="none", color=_COLOURS["20"])
    axis.text(0.75, 1.03, "continuous time: 1", color="#555555", va="bottom")
    axis.text(0.62, 1.75, "discrete time:\n1/(1 - eps h/2)", color=_COLOURS["20"], ha="right")
    axis.set(xlabel="learning rate x curvature, eps h", ylabel="Var(w) / Langevin's law", ylim=(0.8, None), xlim=(0, None))
    axis.set_title("(b) Large learning rate: hotter, by discrete time")


def _plot_batch(axis: Axes, points: list[dict[str, Any]]) -> None:
    x = np.linspace(0, 1, 2)
    axis.axhline(1, color=_COLOURS["law"], linestyle="--", linewidth=1)
    axis.plot(x, 1 - x, color=_COLOURS["20"], linewidth=1)
    for dynamics, marker in (("without_replacement", "o"), ("reshuffle", "x")):
        some = [p for p in points if p["dynamics"] == dynamics]
        colour = _COLOURS["20" if marker == "o" else "reshuffle"]
        sizes = sorted({p["x"] for p in some})
        groups = [[p for p in some if p["x"] == size] for size in sizes]
        # discrete time is taken out of the ratio: it is panel (b)'s
        rules = [np.array([p["continuous"] / (1 - p["learning_rate"] * p["curvature"] / 2) for p in group]) for group in groups]
        measured, law, errors = (
            [np.array([p[key] for p in group]) / rule for group, rule in zip(groups, rules, strict=True)]
            for key in ("measured", "predicted", "error")
        )
        mean = [ratio.mean() for ratio in measured]
        error = [np.sqrt((ratio**2).sum()) / len(ratio) for ratio in errors]
        axis.errorbar(sizes, mean, error, linestyle="", marker=marker, markersize=5, fillstyle="none", color=colour)
        if dynamics == "reshuffle":
            axis.plot(sizes, [ratio.mean() for ratio in law], color=colour, linewidth=1)
    axis.text(0.99, 1.02, "rule eps N/B: 1", color="#555555", ha="right", va="bottom")
    axis.text(0.46, 0.56, "independent batches\nwithout replacement: 1 - B/N", color=_COLOURS["20"])
    axis.text(0.13, 0.13, "reshuffled epochs, at their ends", color=_COLOURS["reshuffle"])
    axis.set(
        xlabel="batch size over training-set size, B/N", ylabel="Var(w) / law of the rule eps N/B", xlim=(0, 1), ylim=(0, 1.15)
    )
    axis.set_title("(c) B near N, or reshuffled epochs: colder")


def _plot_anisotropic(axis: Axes, points: list[dict[str, Any]]) -> None:
    labels = {
        "with_replacement": "SGD: each direction has its own,\nk$_B$T = g F/2, and F = h: one variance",
        "langevin": "Langevin: one temperature,\nVar = k$_B$T/(N h)",
    }
    for dynamics, colour, marker in (("with_replacement", _COLOURS["20"], "o"), ("langevin", _COLOURS["langevin"], "x")):
        some = sorted((p for p in points if p["dynamics"] == dynamics), key=lambda p: p["curvature"])
        h, law, measured, error = (np.array([p[key] for p in some]) for key in ("curvature", "predicted", "measured", "error"))
        axis.plot(h, law, color=colour, linewidth=1)
        axis.errorbar(h, measured, error, linestyle="", marker=marker, markersize=5, fillstyle="none", color=colour)
        if dynamics == "langevin":
            axis.text(h[1] * 1.25, law[1] * 1.1, labels[dynamics], color=colour, va="bottom")
        else:
            axis.text(h[0], law[0] * 0.85, labels[dynamics], color=colour, va="top")
    axis.set(xscale="log", yscale="log", xlabel="curvature h along the direction", ylabel="Var(w)")
    axis.set_ylim(axis.get_ylim()[0] / 3, None)
    axis.set_title("(d) Anisotropic F: a temperature for each direction")
