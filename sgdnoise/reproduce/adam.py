"""Adam: the linear rule against the square-root rule, and what a figure of test accuracies hides.

When B grows by K, the linear rule multiplies Adam's learning rate by K (Smith et al. 2018 use it that way); the square-root
rule by sqrt(K), and 1 - b1 and 1 - b2 by K (Malladi et al. 2022; only while K (1 - b1) < 1). Adam divides by the root mean
square of the gradient. Where noise dominates the gradient, that goes as 1/sqrt(B), and the square-root rule follows; where it
does not, an update is as long whatever B is, and the linear rule keeps the progress of an epoch. So each range of B is a
question of its own, put to runs at a constant setting:

(a) from B = 8 up, 3 epochs; (b) from B = 128 up, 10 epochs. With L(K) the mean training loss over the last third of the epochs,
the statistic is ``|L(K) - L(1)| / |L_unscaled(K) - L(1)|`` at K = 8: a rule has to undo at least three quarters of what happens
when nothing but the batch grows. In each range the other rule is the negative control.

(c) The runs of figure 4(b), and a square-root version of the hybrid schedule, whose batch grows by 25 in place of the learning
rate's first drop by 5: training losses tell the rules apart, final test accuracies hardly.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ..noise import adam_square_root_rule
from ..schedules import Schedule, Stage
from .fig4 import ADAM
from .schedule_panels import AGREEMENT, MARGIN, final_accuracy
from .style import figure_style, standard_error
from .tasks import Compute, Scale, TrainingTask, paper_schedules
from .verdicts import Verdict, bootstrap_interval

if TYPE_CHECKING:
    from matplotlib.figure import Figure

TITLE = "Adam: where the linear rule holds, where the square-root rule, and what test accuracy hides"

KEPT = 0.25
"""A rule may leave this much of the change that growing the batch alone makes."""

_FACTOR = 8
_SETTINGS: tuple[dict[str, Any], ...] = (
    # 2.5e-4 is what the square-root rule gives at B = 8 for the paper's 1e-3 at B = 128.
    {"batch_size": 8, "learning_rate": 2.5e-4, "n_epochs": 3, "factors": (2, 4, 8, 32)},
    {"batch_size": 128, "learning_rate": 1e-3, "n_epochs": 10, "factors": (2, 4, 8, 32)},
)
_RULES: dict[str, dict[str, Any]] = {
    "unscaled": {"color": "#999999", "marker": "x", "label": "only the batch grows"},
    "linear": {"color": "#D55E00", "marker": "o", "label": "linear rule"},
    "square root": {"color": "#0072B2", "marker": "s", "label": "square-root rule"},
}
_SCHEDULES: dict[str, dict[str, Any]] = {
    "control": {"color": "#999999", "linestyle": "-", "label": "never changes"},
    "decaying": {"color": "#0072B2", "linestyle": "-", "linewidth": 4.0, "alpha": 0.45, "label": "rate / 5"},
    "hybrid": {"color": "#D55E00", "linestyle": "--", "label": "batch x 5, linear"},
    "square root": {"color": "#000000", "linestyle": ":", "linewidth": 2.0, "label": "batch x 25, square root"},
}


def _task(setting: dict[str, Any], rule: str, factor: int, seed: int, engine: str = "fast") -> TrainingTask:
    learning_rate, adam = setting["learning_rate"], ADAM
    if rule == "linear":
        learning_rate *= factor
    elif rule == "square root":
        learning_rate, b1, b2, eps = adam_square_root_rule(factor, learning_rate, *ADAM)
        adam = (b1, b2, eps)
    schedule = Schedule([Stage(setting["n_epochs"], learning_rate, factor * setting["batch_size"])])
    return TrainingTask(schedule, seed, momentum=0.0, engine=engine, adam=adam)


def _arms(setting: dict[str, Any]) -> list[tuple[str, int]]:
    """Rules and factors to run; the square-root rule ends where K (1 - b1) passes 1."""
    arms = [("unscaled", 1)]
    for factor in setting["factors"]:
        arms += [(rule, factor) for rule in _RULES if rule != "square root" or factor * (1 - ADAM[0]) <= 1]
    return arms


def growing_schedules(n_epochs: int) -> dict[str, Schedule]:
    """Build Adam's decaying, hybrid and control schedule of figure 4(b), and the square-root rule's version of hybrid."""
    schedules = paper_schedules(n_epochs, 1e-3)
    del schedules["increasing"]
    decaying, hybrid = schedules["decaying"].stages, schedules["hybrid"].stages
    factor = hybrid[1].batch_size / hybrid[0].batch_size
    batch_size = round(factor * hybrid[1].batch_size)
    late = [Stage(stage.n_epochs, stage.learning_rate, batch_size) for stage in hybrid[1:]]
    schedules["square root"] = Schedule([decaying[0], *late])
    return schedules


def run(scale: Scale, compute: Compute) -> dict[str, Any]:
    """Train at every factor under every rule, and along the schedules."""
    seeds = list(range(scale.n_seeds))
    settings = _SETTINGS if scale.n_seeds > 1 else tuple({**s, "n_epochs": 1, "factors": (_FACTOR,)} for s in _SETTINGS)
    sweeps = [[(setting, rule, factor) for rule, factor in _arms(setting)] for setting in settings]
    tasks = [_task(*arm, seed, scale.engine) for sweep in sweeps for arm in sweep for seed in seeds]
    schedules = growing_schedules(scale.n_epochs)
    tasks += [TrainingTask(s, seed, momentum=0.0, engine=scale.engine, adam=ADAM) for s in schedules.values() for seed in seeds]
    results = iter(compute(tasks))

    panels = []
    for setting, sweep in zip(settings, sweeps, strict=True):
        n_last = max(1, setting["n_epochs"] // 3)
        points = []
        for _, rule, factor in sweep:
            losses = [float(next(results)["train_loss"][-n_last:].mean()) for _ in seeds]
            points.append({"rule": rule, "factor": factor, "train_loss": losses})
        panels.append({**setting, "points": points})
    curves = {}
    for name, schedule in schedules.items():
        runs = [next(results) for _ in seeds]
        curves[name] = {
            "stages": [[stage.n_epochs, stage.learning_rate, stage.batch_size] for stage in schedule],
            **{metric: [run[metric].tolist() for run in runs] for metric in ("train_loss", "test_accuracy")},
        }
    first_step = schedules["decaying"].stages[0].n_epochs
    return {
        "adam": list(ADAM),
        "model": "MLP 196-128-10, relu, float32",
        "data": "Fashion-MNIST 14x14, bundled",
        "seeds": seeds,
        "panels": panels,
        "first_step": first_step,
        "curves": curves,
        "verdicts": [*rule_verdicts(panels), *hiding_verdicts(curves, first_step)],
    }


def rule_verdicts(panels: list[dict[str, Any]]) -> list[Verdict]:
    """Say of each range of B whether its rule keeps the training loss, with the other rule as the control."""
    verdicts = []
    claims = (
        ("square root", "linear", "Malladi et al. 2022"),
        ("linear", "square root", "Smith et al. 2018, fig. 4b"),
    )
    for panel, (rule, other, source) in zip(panels, claims, strict=True):
        losses = {(p["rule"], p["factor"]): np.array(p["train_loss"]) for p in panel["points"]}
        start, unscaled = losses["unscaled", 1], losses["unscaled", _FACTOR]

        def left(seeds: np.ndarray, loss: np.ndarray, start: np.ndarray = start, unscaled: np.ndarray = unscaled) -> float:
            return float(abs((loss - start)[seeds].mean()) / abs((unscaled - start)[seeds].mean()))

        kept, rejected = losses[rule, _FACTOR], losses[other, _FACTOR]
        everyone = np.arange(len(start))
        verdicts.append(
            Verdict(
                claim=f"the {rule} rule keeps Adam's training loss",
                source=source,
                statistic=f"|L(K) - L(1)| / |L_unscaled(K) - L(1)|, K = {_FACTOR}",
                value=left(everyone, kept),
                threshold=KEPT,
                interval=bootstrap_interval(lambda seeds, kept=kept, left=left: left(seeds, kept), len(start)),  # type: ignore[misc]
                control=f"the {other} rule",
                control_value=left(everyone, rejected),
                scope=f"B from {panel['batch_size']} to {_FACTOR * panel['batch_size']}",
            )
        )
    return verdicts


def hiding_verdicts(curves: dict[str, dict[str, Any]], first_step: int) -> list[Verdict]:
    """Compare what training loss and final test accuracy say about the rules in a schedule."""
    losses = {name: np.array(curve["train_loss"]) for name, curve in curves.items()}
    accuracy = {name: np.array(curve["test_accuracy"]) for name, curve in curves.items()}
    final = {name: final_accuracy(values) for name, values in accuracy.items()}
    n_last = max(1, accuracy["decaying"].shape[1] // 10)
    stopped = accuracy["decaying"][:, first_step - n_last : first_step].mean(axis=1)
    n_seeds = len(stopped)
    everyone = np.arange(n_seeds)

    def distance(name: str, seeds: np.ndarray) -> float:
        return float(np.abs((losses[name] - losses["decaying"])[seeds].mean(axis=0))[first_step:].max())

    def told(name: str, seeds: np.ndarray) -> float:
        return distance(name, seeds) / distance("control", seeds)

    def points(end: np.ndarray, seeds: np.ndarray) -> float:
        return abs(float((end - final["decaying"])[seeds].mean()))

    return [
        Verdict(
            claim="the training loss tells a batch that grows by 25 (square root) from a learning rate that drops by 5",
            source="measured here",
            statistic="max |L - L(decaying)| / max |L(control) - L(decaying)|",
            value=told("square root", everyone),
            threshold=AGREEMENT,
            relation="at least",
            interval=bootstrap_interval(lambda seeds: told("square root", seeds), n_seeds),
            control="a batch that grows by 5 (linear)",
            control_value=told("hybrid", everyone),
        ),
        Verdict(
            claim="the final test accuracy does not tell those two apart",
            source="measured here",
            statistic="difference of mean final accuracy",
            value=points(final["square root"], everyone),
            threshold=MARGIN,
            interval=bootstrap_interval(lambda seeds: points(final["square root"], seeds), n_seeds),
            control="stopped at the first step",
            control_value=points(stopped, everyone),
        ),
        Verdict(
            claim="the final test accuracy does not even tell decaying from never changing",
            source="measured here",
            statistic="difference of mean final accuracy",
            value=points(final["control"], everyone),
            threshold=MARGIN,
            interval=bootstrap_interval(lambda seeds: points(final["control"], seeds), n_seeds),
            control="stopped at the first step",
            control_value=points(stopped, everyone),
        ),
    ]


def rows(result: dict[str, Any]) -> list[list[Any]]:
    """One line per rule, factor and seed of the sweeps."""
    lines: list[list[Any]] = [["batch_size", "factor", "rule", "seed", "train_loss"]]
    for panel in result["panels"]:
        for point in panel["points"]:
            for seed, loss in zip(result["seeds"], point["train_loss"], strict=True):
                lines.append([panel["batch_size"], point["factor"], point["rule"], seed, loss])
    for name, curve in result["curves"].items():
        for seed, loss in zip(result["seeds"], curve["train_loss"], strict=True):
            lines.append([curve["stages"][0][2], "", name, seed, loss[-1]])
    return lines


def plot(result: dict[str, Any]) -> Figure:
    """Draw the training loss against K for both ranges of B, and the training curves of the schedules."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import NullFormatter

    with figure_style():
        figure = Figure(figsize=(9, 3.6), layout="constrained")
        axes = figure.subplots(1, 3)
        for axis, letter, panel, verdict in zip(axes, "ab", result["panels"], result["verdicts"], strict=False):
            start = np.array(panel["points"][0]["train_loss"])
            axis.axhline(start.mean(), color="#000000", linewidth=0.8)
            for rule, style in _RULES.items():
                chosen = [p for p in panel["points"] if p["rule"] == rule and p["factor"] > 1]
                x = [1, *(p["factor"] for p in chosen)]
                losses = np.array([start, *(p["train_loss"] for p in chosen)]).T
                axis.errorbar(x, losses.mean(axis=0), standard_error(losses), markersize=5, linewidth=1.2, **style)
            axis.set(xscale="log", xlabel="K, by which the batch grows")
            axis.set_xticks([1, 2, 4, 8, 32], ["1", "2", "4", "8", "32"])
            axis.xaxis.set_minor_formatter(NullFormatter())
            rule = "square root" if letter == "a" else "linear"
            axis.set_title(f"({letter}) from B = {panel['batch_size']}: {rule} {'holds' if verdict['holds'] else 'fails'}")
        axes[0].set_ylabel("training loss (nats)")
        axes[0].legend(loc="upper left", fontsize=8)
        for name, style in _SCHEDULES.items():
            curve = result["curves"][name]
            loss = np.array(curve["train_loss"])
            mean, error = loss.mean(axis=0), standard_error(loss)
            epochs = np.arange(1, len(mean) + 1)
            end = 100 * final_accuracy(np.array(curve["test_accuracy"])).mean()
            axes[2].plot(epochs, mean, **{**style, "label": f"{style['label']}: {end:.1f}%"})
            axes[2].fill_between(epochs, mean - error, mean + error, color=style["color"], alpha=0.2, linewidth=0)
        hides = "hides" if result["verdicts"][3]["holds"] else "shows"
        axes[2].set(xlabel="epochs", title=f"(c) schedules: accuracy {hides} it")
        axes[2].legend(loc="upper right", fontsize=8, title="final test accuracy", title_fontsize=8)
    return figure
