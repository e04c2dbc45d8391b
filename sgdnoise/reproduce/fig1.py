"""Figure 1 of Smith et al. (2018): the schedules, with a third panel that the paper leaves out: the noise scale itself.

The three schedules divide eps by 5, multiply B by 5, or first the latter and then the former. eps N/B is the same for all
three, and exact g nearly so: at B = 16000 = 0.32 N the "-1" in g = eps (N/B - 1)/(1 - m) takes a third of it away.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from .style import SCHEDULES, figure_style
from .tasks import MOMENTUM, N_TRAIN, Compute, Scale, paper_schedules
from .verdicts import Verdict

if TYPE_CHECKING:
    from matplotlib.figure import Figure

TITLE = "Figure 1: three schedules, one noise scale"


def run(scale: Scale, compute: Compute) -> dict[str, Any]:
    """List the schedules; nothing is trained."""
    schedules = {
        name: {
            "stages": [[stage.n_epochs, stage.learning_rate, stage.batch_size] for stage in schedule],
            "noise_scale": schedule.noise_scale(N_TRAIN, MOMENTUM).tolist(),
            "n_updates": schedule.n_updates(N_TRAIN),
        }
        for name, schedule in paper_schedules(scale.n_epochs).items()
        if name != "control"
    }
    g = {name: np.array(schedule["noise_scale"]) for name, schedule in schedules.items()}
    small = np.array([stage[2] * 10 <= N_TRAIN for stage in schedules["increasing"]["stages"]])

    def apart(stages: np.ndarray) -> float:
        return float(max(np.abs(g[name] / g["decaying"] - 1)[stages].max() for name in ("hybrid", "increasing")))

    verdict = Verdict(
        claim="the three schedules have one noise scale",
        source="Smith et al. 2018, fig. 1",
        statistic="largest relative difference of exact g from decaying",
        value=apart(small),
        threshold=0.1,
        control="the stages of larger batches",
        control_value=apart(~small),
        scope="B <= N/10",
    )
    return {
        "n_train": N_TRAIN,
        "momentum": MOMENTUM,
        "schedules": schedules,
        "verdicts": [verdict],
    }


def rows(result: dict[str, Any]) -> list[list[Any]]:
    """One line per schedule and stage."""
    lines: list[list[Any]] = [["schedule", "stage", "n_epochs", "learning_rate", "batch_size", "noise_scale"]]
    for name, schedule in result["schedules"].items():
        for i, (stage, g) in enumerate(zip(schedule["stages"], schedule["noise_scale"], strict=True)):
            lines.append([name, i + 1, *stage, g])
    return lines


def plot(result: dict[str, Any]) -> Figure:
    """Draw learning rate, batch size and noise scale against epochs."""
    from matplotlib.figure import Figure

    with figure_style():
        figure = Figure(figsize=(9, 3.4), layout="constrained")
        axes = figure.subplots(1, 3)
        for name, style in SCHEDULES.items():
            if name not in result["schedules"]:
                continue
            schedule = result["schedules"][name]
            n_epochs, learning_rate, batch_size = np.array(schedule["stages"]).T
            edges = np.concatenate([[0], np.cumsum(n_epochs)])
            for axis, values in zip(axes, (learning_rate, batch_size, np.array(schedule["noise_scale"])), strict=True):
                axis.step(edges, [*values, values[-1]], where="post", **style)
        titles = ("(a) learning rate", "(b) batch size B", "(c) noise scale g")
        labels = ("learning rate", "batch size (examples)", "g (unit of the learning rate)")
        for axis, title, label in zip(axes, titles, labels, strict=True):
            axis.set(title=title, xlabel="epochs", ylabel=label, yscale="log")
        axes[1].axhline(result["n_train"] / 10, color="#999999", linewidth=0.8)
        axes[1].text(0, result["n_train"] / 10, "N/10", va="bottom", color="#666666")
        last = np.array([schedule["noise_scale"][-1] for schedule in result["schedules"].values()])
        note = f"at B > N/10 exact g\nis {1 - last.min() / last.max():.0%} lower"
        axes[2].annotate(note, (0.02, 0.04), xycoords="axes fraction", va="bottom", color="#666666")
        figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=3)
    return figure
