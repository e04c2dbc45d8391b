"""The paper's schedules and settings, which many figures share."""

from __future__ import annotations

import numpy as np

from ...optimizers import Adam
from ...schedules import Schedule, Stage, grow_batch, step_decay
from ..tasks.toy import N_TRAIN

ADAM = Adam(b1=0.9, b2=0.999, eps=1e-8)
"""Adam with the paper's numbers."""

ADAM_RATE = 1e-3
"""Adam's first learning rate."""

NAMES = ("decaying", "hybrid", "increasing", "control")
"""The schedules of `paper_schedules`."""

GROWN = ("hybrid", "increasing")
"""Those whose batch grows."""


def paper_schedules(n_epochs: int, learning_rate: float = 0.1) -> dict[str, Schedule]:
    """Build the schedules of section 5.1 of the paper at any length, and a control that never changes.

    Parameters
    ----------
    n_epochs : int
        200 in the paper; a multiple of 5.
    learning_rate : float, default 0.1
        Of the first stage.

    Returns
    -------
    dict of Schedule
        By `NAMES`.
    """
    milestones = [round(fraction * n_epochs) for fraction in (0.3, 0.6, 0.8)]
    decaying = step_decay(learning_rate, 128, milestones=milestones, n_epochs=n_epochs, factor=5)
    return {
        "decaying": decaying,
        "hybrid": grow_batch(decaying, N_TRAIN, n_drops=1),
        "increasing": grow_batch(decaying, N_TRAIN),
        "control": Schedule([Stage(n_epochs, learning_rate, 128)]),
    }


def updates_by_epoch(schedule: Schedule) -> list[int]:
    """Parameter updates since the start, at the end of each epoch."""
    stages = [schedule.stage_at(epoch) for epoch in range(schedule.n_epochs)]
    return [int(n) for n in np.cumsum([N_TRAIN // stage.batch_size for stage in stages])]
