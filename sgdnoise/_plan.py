"""The command ``sgdnoise schedule``: a schedule from its options, and what it becomes, as text, JSON or a picture."""

from __future__ import annotations

import io
import textwrap
from argparse import Namespace
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from . import _checks as check
from .scaling import past_tenth
from .schedules import (
    Schedule,
    cosine_decay,
    exponential_decay,
    grow_batch,
    linear_decay,
    step_decay,
    warm_up,
    warmup_stable_decay,
)

_MAX_ROWS = 24  # of a table; smooth shapes have a stage for each epoch

_OF_SHAPES = {
    "milestones": ("step",),
    "factor": ("step",),
    "final": ("cosine", "linear", "exponential", "wsd"),
    "decay_epochs": ("wsd",),
}
"""Options that not every shape has."""

_FORMATS = (".png", ".pdf", ".svg")


@dataclass(frozen=True)
class Plan:
    """A schedule and what it becomes."""

    n_train: int
    momentum: float
    rule: str
    decaying: Schedule
    growing: Schedule

    @property
    def warnings(self) -> list[str]:
        """What to look out for."""
        found = past_tenth(self.n_train, (stage.batch_size for stage in self.growing))
        return [f"{text} (--max-batch-size)" for text in found]


def make(args: Namespace) -> Plan:
    """Make both schedules of the command's options."""
    decaying = _decaying(args)
    growing = grow_batch(
        decaying,
        args.n_train,
        max_batch_size=args.max_batch_size,
        n_drops=args.n_drops,
        rule=args.rule,
        multiple_of=args.multiple_of,
    )
    decaying.noise_scale(args.n_train, args.momentum)  # refuses what is no momentum
    return Plan(args.n_train, args.momentum, args.rule, decaying, growing)


def _decaying(args: Namespace) -> Schedule:
    at, n_epochs = (args.learning_rate, args.batch_size), check.integer("n_epochs", args.n_epochs)
    for name, shapes in _OF_SHAPES.items():
        if getattr(args, name) is not None and args.shape not in shapes:
            raise ValueError(f"{name} must be left out for --shape {args.shape}, got {getattr(args, name)}")
    check.integer("warm_up", args.warm_up, 0, ("n_epochs", n_epochs))
    final = 0.0 if args.final is None else args.final
    if args.shape == "wsd":
        n_decay = min(max(1, n_epochs // 10), n_epochs - args.warm_up) if args.decay_epochs is None else args.decay_epochs
        check.integer("decay_epochs", n_decay, 0, ("n_epochs - warm_up", n_epochs - args.warm_up))
        return warmup_stable_decay(*at, n_epochs=n_epochs, n_warm_up=args.warm_up, n_decay=n_decay, final=final)
    if args.shape == "step":
        if args.milestones is None:
            raise ValueError("milestones must be given for steps: --milestones 60 120 160, or another --shape")
        factor = 5.0 if args.factor is None else args.factor
        schedule = step_decay(*at, milestones=args.milestones, n_epochs=n_epochs, factor=factor)
    else:
        smooth = {"cosine": cosine_decay, "linear": linear_decay, "exponential": exponential_decay}
        schedule = smooth[args.shape](*at, n_epochs=n_epochs, final=final)
    return schedule if args.warm_up == 0 else warm_up(schedule, args.warm_up)


def as_text(plan: Plan, by: str) -> str:
    """Lay both schedules out, and say what the growing one saves."""
    parts = []
    n_updates = [schedule.n_updates(plan.n_train) for schedule in (plan.decaying, plan.growing)]
    for name, schedule, n in zip(("decaying", "growing"), (plan.decaying, plan.growing), n_updates, strict=True):
        table = schedule.table(plan.n_train, plan.momentum, by=by, max_rows=_MAX_ROWS)
        parts.append(f"{name}: {n} updates\n{table}\n")
    parts += [warning(text) for text in plan.warnings]
    parts.append(f"growing the batch leaves {n_updates[1]} of {n_updates[0]} updates, {n_updates[1] / n_updates[0]:.1%}")
    return "\n".join(parts)


def as_json(plan: Plan) -> dict[str, Any]:
    """Give the same as what JSON can hold; `Schedule.from_json` reads the growing schedule of it."""
    schedules = {"decaying": plan.decaying, "growing": plan.growing}
    answer = {name: _schedule_json(schedule, plan) for name, schedule in schedules.items()}
    return {"n_train": plan.n_train, "momentum": plan.momentum, "rule": plan.rule, **answer, "warnings": plan.warnings}


def _schedule_json(schedule: Schedule, plan: Plan) -> dict[str, Any]:
    first, last = (schedule.noise_scale(plan.n_train, plan.momentum, at=at).tolist() for at in ("start", "end"))
    stages: list[dict[str, Any]] = [{**stage.to_dict(), "noise_scale": g} for stage, g in zip(schedule, first, strict=True)]
    for entry, g in zip(stages, last, strict=True):
        if "final_learning_rate" in entry:
            entry["final_noise_scale"] = g
    counts = {"drop_last": True, "keep_last": False, "exact": None}
    return {"stages": stages, "n_updates": {name: schedule.n_updates(plan.n_train, value) for name, value in counts.items()}}


def warning(text: str) -> str:
    """Lay a warning out."""
    return textwrap.fill(f"warning: {text}", 98, subsequent_indent="  ")


def draw(plan: Plan, path: str) -> bytes:
    """Draw learning rate, batch size and noise scale of both schedules, in the format that the file's name asks for."""
    from .reproduce.figures.style import SCHEDULES, canvas, figure_style

    suffix = Path(path).suffix.lower()
    if suffix not in _FORMATS:
        raise ValueError(f"plot must be a file that ends in {', '.join(_FORMATS)}, got {path!r}")
    picture = io.BytesIO()
    with figure_style():
        figure, axes = canvas(3.4, 1, 3)
        growing = {"color": "#000000", "linewidth": 1.2, "label": "growing batch size"}
        for schedule, style in ((plan.decaying, SCHEDULES["decaying"]), (plan.growing, growing)):
            ends = np.cumsum([stage.n_epochs for stage in schedule])
            epochs = np.column_stack([ends - [stage.n_epochs for stage in schedule], ends]).ravel()
            noise = [schedule.noise_scale(plan.n_train, plan.momentum, at=at) for at in ("start", "end")]
            panels: tuple[Any, ...] = (
                [stage.ends for stage in schedule],
                [[stage.batch_size] * 2 for stage in schedule],
                np.transpose(noise),
            )
            for axis, values in zip(axes, panels, strict=True):
                axis.plot(epochs, np.ravel(values), **style)
        labels = ("learning rate", "batch size (examples)", "g (unit of the learning rate)")
        titles = ("(a) learning rate", "(b) batch size B", "(c) noise scale g")
        for axis, title, label in zip(axes, titles, labels, strict=True):
            axis.set(title=title, xlabel="epochs", ylabel=label)
        axes[0].set_ylim(bottom=0)
        axes[1].set_yscale("log")
        axes[2].set_ylim(bottom=0)
        figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=2)
        figure.savefig(picture, format=suffix[1:])
    return picture.getvalue()
