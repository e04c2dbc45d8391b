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

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ...noise import adam_square_root_rule
from ...optimizers import Adam
from ...schedules import Schedule, Stage
from ..engine.contract import Scale
from ..engine.verdicts import Control, Verdict, estimate, standard_error
from ..tasks.toy import DATA, MODEL
from ..tasks.training import TrainingTask
from . import Rows, Run, Verdicts
from .curves import AGREEMENT, Curves, curves_of, draw_mean, same_end, stopped_accuracy, training_tasks
from .paper import ADAM, ADAM_RATE, paper_schedules
from .style import Figure, canvas, figure_style

TITLE = "Adam: where the linear rule holds, where the square-root rule, and what test accuracy hides"

KEPT = 0.25
"""A rule may leave this much of the change that growing the batch alone makes."""

_FACTOR = 8
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


@dataclass(frozen=True)
class Setting:
    """A range of B: where it starts, with which learning rate, how long the runs are, and the factors K by which B grows."""

    batch_size: int
    learning_rate: float
    n_epochs: int
    factors: tuple[int, ...] = (2, 4, _FACTOR, 32)


@dataclass(frozen=True, eq=False)
class Point:
    """What a rule gave at a factor: training loss of each seed, (n_seeds,)."""

    rule: str
    factor: int
    train_loss: np.ndarray


@dataclass(frozen=True, eq=False, kw_only=True)
class Panel(Setting):
    """A setting and its runs, first those of K = 1."""

    points: list[Point]


@dataclass(frozen=True, eq=False)
class Result:
    """How it was trained, the two ranges of B, and the curves of the schedules with the epochs before their first drop."""

    adam: list[float]
    model: str
    data: str
    seeds: Sequence[int]
    panels: list[Panel]
    first_step: int
    curves: Curves


# 2.5e-4 is what the square-root rule gives at B = 8 for the paper's 1e-3 at B = 128.
_SETTINGS = (Setting(8, 2.5e-4, 3), Setting(128, ADAM_RATE, 10))

_CLAIMS = (("square root", "linear", "Malladi et al. 2022"), ("linear", "square root", "Smith et al. 2018, fig. 4b"))
"""For each setting, the rule that is said to hold, the other one, and who says so."""


def _task(setting: Setting, rule: str, factor: int, seed: int, engine: str = "fast") -> TrainingTask:
    learning_rate, numbers = setting.learning_rate, list(vars(ADAM).values())
    if rule == "linear":
        learning_rate *= factor
    elif rule == "square root":
        learning_rate, *numbers = map(float, adam_square_root_rule(factor, learning_rate, *numbers))
    schedule = Schedule([Stage(setting.n_epochs, learning_rate, factor * setting.batch_size)])
    return TrainingTask(schedule, seed, Adam(*numbers), engine=engine)


def _arms(setting: Setting) -> list[tuple[str, int]]:
    """Rules and factors to run; the square-root rule ends where K (1 - b1) passes 1."""
    grown = [(rule, K) for K in setting.factors for rule in _RULES if rule != "square root" or K * (1 - ADAM.b1) <= 1]
    return [("unscaled", 1), *grown]


def growing_schedules(n_epochs: int) -> dict[str, Schedule]:
    """Build Adam's decaying, hybrid and control schedule of figure 4(b), and the square-root rule's version of hybrid."""
    schedules = paper_schedules(n_epochs, ADAM_RATE)
    del schedules["increasing"]
    first, *late = schedules["hybrid"].stages
    batch_size = late[0].batch_size ** 2 // first.batch_size  # once more by the factor by which hybrid grows
    schedules["square root"] = Schedule([first, *(replace(stage, batch_size=batch_size) for stage in late)])
    return schedules


def run(scale: Scale) -> Run[Result]:
    """Train at every factor under every rule, and along the schedules."""
    seeds = range(scale.n_seeds)
    settings = [replace(s, n_epochs=1, factors=(_FACTOR,)) if scale.quick else s for s in _SETTINGS]
    schedules = growing_schedules(scale.n_epochs)
    tasks = [_task(s, *arm, seed, scale.engine) for s in settings for arm in _arms(s) for seed in seeds]
    results = iter((yield [*tasks, *training_tasks(schedules, scale, ADAM)]))

    panels = []
    for setting in settings:
        last = max(1, setting.n_epochs // 3)
        points = [Point(*arm, np.array([next(results)["train_loss"][-last:].mean() for _ in seeds])) for arm in _arms(setting)]
        panels.append(Panel(**vars(setting), points=points))
    curves = curves_of(schedules, results, scale)
    first_step = schedules["decaying"].stages[0].n_epochs
    verdicts = [*map(rule_verdict, panels, *zip(*_CLAIMS, strict=True)), *hiding_verdicts(curves, first_step)]
    return Result(list(vars(ADAM).values()), MODEL, DATA, seeds, panels, first_step, curves), verdicts


def rule_verdict(panel: Panel, rule: str, other: str, source: str) -> Verdict:
    """Say of a range of B whether a rule keeps the training loss, with the other rule as the control."""
    losses = {(point.rule, point.factor): point.train_loss for point in panel.points}
    start = losses["unscaled", 1]

    def left(seeds: np.ndarray, rule: str = rule) -> float:
        moved, unscaled = (float((losses[name, _FACTOR] - start)[seeds].mean()) for name in (rule, "unscaled"))
        return abs(moved) / abs(unscaled)

    key, claim = f"{rule} rule", f"the {rule} rule keeps Adam's training loss"
    words = f"|L(K) - L(1)| / |L_unscaled(K) - L(1)|, K = {_FACTOR}"
    measured, control = estimate(left, len(start)), Control(f"the {other} rule", left(np.arange(len(start)), other))
    scope = f"B from {panel.batch_size} to {_FACTOR * panel.batch_size}"
    return Verdict(
        key=key, claim=claim, source=source, statistic=words, measured=measured, threshold=KEPT, control=control, scope=scope
    )


def hiding_verdicts(curves: Curves, first_step: int) -> list[Verdict]:
    """Compare what training loss and final test accuracy say about the rules in a schedule."""
    decaying = curves["decaying"]
    n_seeds = len(decaying.final)

    def distance(name: str, seeds: np.ndarray) -> float:
        return float(np.abs((curves[name].train_loss - decaying.train_loss)[seeds].mean(axis=0))[first_step:].max())

    def told(seeds: np.ndarray, name: str = "square root") -> float:
        return distance(name, seeds) / distance("control", seeds)

    tells = Verdict(
        key="loss tells",
        claim="the training loss tells a batch that grows by 25 (square root) from a learning rate that drops by 5",
        source="measured here",
        statistic="max |L - L(decaying)| / max |L(control) - L(decaying)|",
        measured=estimate(told, n_seeds),
        threshold=AGREEMENT,
        relation="at least",
        control=Control("a batch that grows by 5 (linear)", told(np.arange(n_seeds), "hybrid")),
    )
    claims = (
        ("accuracy hides", "square root", "the final test accuracy does not tell those two apart"),
        ("accuracy hides all", "control", "the final test accuracy does not even tell decaying from never changing"),
    )
    stopped = "stopped at the first step", stopped_accuracy(decaying, first_step)
    hides = [same_end(key, claim, "measured here", curves[name].final, decaying.final, *stopped) for key, name, claim in claims]
    return [tells, *hides]


def rows(result: Result) -> Rows:
    """One line per rule, factor and seed of the sweeps, and per schedule and seed, with the loss in the end."""
    lines: Rows = [["batch_size", "factor", "rule", "seed", "train_loss"]]
    for panel in result.panels:
        for point in panel.points:
            lines += [[panel.batch_size, point.factor, point.rule, *end] for end in enumerate(point.train_loss.tolist())]
    for name, curve in result.curves.items():
        lines += [[curve.stages[0][2], "", name, *end] for end in enumerate(curve.train_loss[:, -1].tolist())]
    return lines


@figure_style()
def plot(result: Result, verdicts: Verdicts) -> Figure:
    """Draw the training loss against K for both ranges of B, and the training curves of the schedules."""
    figure, (*ranges, by_epoch) = canvas(3.6, 1, 3)
    for axis, letter, panel, (claimed, _, _) in zip(ranges, "ab", result.panels, _CLAIMS, strict=True):
        start = panel.points[0]
        axis.axhline(start.train_loss.mean(), color="#000000", linewidth=0.8)
        for rule, style in _RULES.items():
            chosen = [start, *(point for point in panel.points if point.rule == rule and point.factor > 1)]
            losses = np.array([point.train_loss for point in chosen]).T
            x = [point.factor for point in chosen]
            axis.errorbar(x, losses.mean(axis=0), standard_error(losses), markersize=5, linewidth=1.2, **style)
        axis.set(xscale="log", xlabel="K, by which the batch grows")
        axis.set_xticks([1, 2, 4, 8, 32], ["1", "2", "4", "8", "32"])
        axis.xaxis.set_minor_formatter("")
        word = "holds" if verdicts[f"{claimed} rule"].holds else "fails"
        axis.set_title(f"({letter}) from B = {panel.batch_size}: {claimed} {word}")
    ranges[0].set_ylabel("training loss (nats)")
    ranges[0].legend(loc="upper left", fontsize=8)
    for name, style in _SCHEDULES.items():
        curve = result.curves[name]
        label = f"{style['label']}: {100 * curve.final.mean():.1f}%"
        draw_mean(by_epoch, np.arange(1, curve.train_loss.shape[1] + 1), curve.train_loss, **style | {"label": label})
    word = "hides" if verdicts["accuracy hides"].holds else "shows"
    by_epoch.set(xlabel="epochs", title=f"(c) schedules: accuracy {word} it")
    by_epoch.legend(loc="upper right", fontsize=8, title="final test accuracy", title_fontsize=8)
    return figure
