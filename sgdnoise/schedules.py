"""Schedules of learning rate and batch size, and the conversion of one kind into the other.

A `Schedule` is a sequence of `Stage` s, each so many epochs at one learning rate and one batch size. `step_decay` makes the
usual one: a constant batch size, and a learning rate divided by a factor at each milestone. `grow_batch` turns its drops into
growth: with the ratio r_i = eps_i/B_i of stage i (or its exact g_i), and the learning rate eps' of the stage before::

    B'_i = eps' / r_i,   eps'_i = eps'        while B'_i fits under the cap,
    B'_i = cap,          eps'_i = r_i cap     after: the batch grows PARTIALLY, up to the cap, and
                                              the learning rate takes the rest of the factor.

`scale_up` raises the learning rate, the momentum or both, and the batch size with them, so that eps/(B (1 - m)) stays.

Updates per epoch are N/B; whether floor, ceiling or neither depends on what becomes of the last, smaller batch.

Everything here refuses what is of the wrong type (TypeError), and what is not finite or out of its range (ValueError). So does
every use of a schedule with a training set: ``n_train``, N, must be at least the schedule's largest batch size.

References
----------
Smith, Kindermans, Ying, Le, "Don't Decay the Learning Rate, Increase the Batch Size", ICLR 2018, arXiv:1711.00489.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np

from . import _checks as check
from .noise import learning_rate_for, noise_scale


@dataclass(frozen=True)
class Stage:
    """A number of epochs at one learning rate and one batch size.

    Parameters
    ----------
    n_epochs : int
        At least 1.
    learning_rate : float
        The papers' eps, per mean gradient; positive.
    batch_size : int
        The papers' B, at least 1.

    References
    ----------
    Tutorial 4, ``tutorials/04_dont_decay.md``.

    Examples
    --------
    >>> Stage(60, 0.1, 128)
    Stage(n_epochs=60, learning_rate=0.1, batch_size=128)
    """

    n_epochs: int
    learning_rate: float
    batch_size: int

    def __post_init__(self) -> None:
        """Check and normalise the three numbers."""
        object.__setattr__(self, "n_epochs", check.integer("n_epochs", self.n_epochs))
        object.__setattr__(self, "learning_rate", float(check.number("learning_rate", self.learning_rate, above=0)))
        object.__setattr__(self, "batch_size", check.integer("batch_size", self.batch_size))


@dataclass(frozen=True)
class Schedule:
    """Stages of training, one after another.

    Iterating over a schedule gives its stages; ``str(schedule)`` is a readable table.

    Parameters
    ----------
    stages : sequence of Stage
        At least one.

    References
    ----------
    Tutorial 4, ``tutorials/04_dont_decay.md``.

    Examples
    --------
    >>> schedule = step_decay(0.1, 128, milestones=(60, 120, 160), n_epochs=200, factor=5)
    >>> print(grow_batch(schedule, 50_000))
    epochs   learning rate  batch size
    1-60               0.1         128
    61-120             0.1         640
    121-160            0.1        3200
    161-200            0.1       16000
    """

    stages: Sequence[Stage]

    def __post_init__(self) -> None:
        """Check the stages and make them a tuple."""
        if not isinstance(self.stages, Sequence) or not all(isinstance(stage, Stage) for stage in self.stages):
            raise TypeError(f"stages must be a sequence of Stage, got {self.stages!r}")
        if not self.stages:
            raise ValueError("stages must hold at least one Stage, got none")
        object.__setattr__(self, "stages", tuple(self.stages))

    def __iter__(self) -> Iterator[Stage]:
        """Iterate over the stages."""
        return iter(self.stages)

    def __len__(self) -> int:
        """Return the number of stages."""
        return len(self.stages)

    def __str__(self) -> str:
        """Return the table of the stages."""
        return self.table()

    @property
    def n_epochs(self) -> int:
        """Number of epochs of all stages."""
        return sum(stage.n_epochs for stage in self.stages)

    def stage_at(self, epoch: int) -> Stage:
        """Return the stage in force after `epoch` finished epochs, from 0 to n_epochs - 1.

        Examples
        --------
        >>> Schedule([Stage(2, 0.1, 32), Stage(1, 0.01, 32)]).stage_at(2).learning_rate
        0.01
        """
        epoch = check.integer("epoch", epoch, 0, ("n_epochs - 1", self.n_epochs - 1))
        ends = np.cumsum([stage.n_epochs for stage in self.stages])
        return self.stages[int(np.searchsorted(ends, epoch, side="right"))]

    def n_updates(self, n_train: int, drop_last: bool | None = True) -> int | float:
        """Count the parameter updates of the whole schedule.

        Parameters
        ----------
        n_train : int
            Training-set size N.
        drop_last : bool or None, default True
            What happens to an epoch's last, smaller batch: dropped (as `minibatches` and `train` do), kept with False,
            or, with None, counted as the fraction of a batch that it is; only then is the result a float.

        Examples
        --------
        >>> schedule = step_decay(0.1, 128, milestones=(60, 120, 160), n_epochs=200, factor=5)
        >>> [schedule.n_updates(50_000, drop_last) for drop_last in (True, False, None)]
        [78000, 78200, 78125.0]
        """
        n_train = self._check_n_train(n_train)
        if drop_last is None:
            return float(sum(stage.n_epochs * n_train / stage.batch_size for stage in self.stages))
        if check.flag("drop_last", drop_last):
            return sum(stage.n_epochs * (n_train // stage.batch_size) for stage in self.stages)
        return sum(stage.n_epochs * -(-n_train // stage.batch_size) for stage in self.stages)

    def noise_scale(self, n_train: int, momentum: float = 0) -> np.ndarray:
        """Return the exact noise scale g of each stage, of shape (n_stages,), in the unit of the learning rate.

        Convention: the trace form of momentum, sampling without replacement; see `sgdnoise.noise_scale`.

        Examples
        --------
        >>> Schedule([Stage(1, 0.1, 128), Stage(1, 0.1, 640)]).noise_scale(50_000, momentum=0.9).round(3)
        array([389.625,  77.125])
        """
        n_train = self._check_n_train(n_train)
        rates, batch_sizes = np.array([(s.learning_rate, s.batch_size) for s in self.stages]).T
        return np.asarray(noise_scale(rates, batch_sizes, n_train, momentum=momentum))

    def table(self, n_train: int | None = None, momentum: float = 0) -> str:
        """Lay the schedule out as text, one line a stage, without a newline at the end.

        With `n_train` there is a column with g (at this `momentum`) and one with the number of updates, last batch dropped.

        Examples
        --------
        >>> print(Schedule([Stage(60, 0.1, 128), Stage(60, 0.02, 128)]).table(50_000, momentum=0.9))
        epochs  learning rate  batch size  noise scale  updates
        1-60              0.1         128        389.6    23400
        61-120           0.02         128        77.93    23400
        """
        header = ["epochs", "learning rate", "batch size"]
        rows, first = [], 1
        for stage in self.stages:
            last = first + stage.n_epochs - 1
            rows.append([f"{first}-{last}", f"{stage.learning_rate:.6g}", str(stage.batch_size)])
            first = last + 1
        if n_train is not None:
            header += ["noise scale", "updates"]
            for row, stage, g in zip(rows, self.stages, self.noise_scale(n_train, momentum), strict=True):
                row += [f"{g:.4g}", str(stage.n_epochs * (n_train // stage.batch_size))]
        widths = [max(len(row[i]) for row in [header, *rows]) for i in range(len(header))]
        lines = [row[0].ljust(widths[0] + 2) + "  ".join(map(str.rjust, row[1:], widths[1:])) for row in [header, *rows]]
        return "\n".join(lines)

    def _check_n_train(self, n_train: int) -> int:
        n_train = check.integer("n_train", n_train)
        check.integer("batch_size", max(s.batch_size for s in self.stages), 1, ("n_train", n_train))
        return n_train


def step_decay(learning_rate: float, batch_size: int, *, milestones: Sequence[int], n_epochs: int, factor: float) -> Schedule:
    """Make the usual schedule: constant batch size, learning rate divided by a factor at each milestone.

    Parameters
    ----------
    learning_rate : float
        Initial eps.
    batch_size : int
        B, constant.
    milestones : sequence of int
        Epochs after which the learning rate drops: increasing, from 1 to n_epochs - 1. May be empty.
    n_epochs : int
        Number of epochs in all.
    factor : float
        What each milestone divides the learning rate by; above 1.

    References
    ----------
    Tutorial 4, ``tutorials/04_dont_decay.md``.

    Examples
    --------
    >>> print(step_decay(0.1, 128, milestones=(60, 120, 160), n_epochs=200, factor=5))
    epochs   learning rate  batch size
    1-60               0.1         128
    61-120            0.02         128
    121-160          0.004         128
    161-200         0.0008         128
    """
    learning_rate = float(check.number("learning_rate", learning_rate))  # its range is a matter of the stages
    n_epochs = check.integer("n_epochs", n_epochs)
    factor = float(check.number("factor", factor, above=1, hint="it divides the learning rate"))
    milestones = check.sequence("milestones", milestones, "integers", hint="for a single one write (60,)")
    last = 0
    for milestone in milestones:
        last = check.integer("milestones", milestone, last + 1, ("n_epochs - 1", n_epochs - 1), hint="they must increase")
    edges = [0, *milestones, n_epochs]
    stages = []
    for start, end in pairwise(edges):
        stages.append(Stage(int(end) - int(start), learning_rate, batch_size))
        learning_rate = learning_rate / factor
    return Schedule(stages)


def _check_schedule(schedule: Schedule, n_train: int) -> int:
    if not isinstance(schedule, Schedule):
        raise TypeError(f"schedule must be a Schedule, got {schedule!r} of type {type(schedule).__name__}")
    return schedule._check_n_train(n_train)


def grow_batch(
    schedule: Schedule,
    n_train: int,
    *,
    max_batch_size: int | None = None,
    n_drops: int | None = None,
    exact: bool = False,
) -> Schedule:
    """Turn drops of the learning rate into growth of the batch size.

    Parameters
    ----------
    schedule : Schedule
        Usually from `step_decay`.
    n_train : int
        Training-set size N.
    max_batch_size : int, optional
        The largest batch size allowed, from the schedule's first to N, which is the default. Where growth would pass it, the
        batch grows up to it and the learning rate takes the rest of the factor. The paper advises about N/10.
    n_drops : int, optional
        How many drops to convert, the first ones; the rest stay drops of the learning rate. Default: all.
        ``n_drops=1`` is the paper's hybrid schedule.
    exact : bool, default False
        Keep g = eps (N/B - 1) of each stage instead of eps N/B. The full batch, with g = 0, is then refused.

    Returns
    -------
    Schedule
        Stages of the same lengths. Batch sizes are rounded down; the learning rate of that stage takes up the rest, so that
        eps/B (or g) of each stage is that of `schedule`, and no growth raises a learning rate. Rounding is not carried over to
        the next stage.

    Notes
    -----
    Where the noise rises from one stage to the next (warm restarts), and in stages that are not converted, the batch size stays
    and the learning rate gives the stage its noise. Where `schedule` has several batch sizes, a drop is a drop of the noise.

    Convention: momentum multiplies every g alike, so it plays no part. eps/B is the paper's rule and equals g only while
    B << N; at B = N/3 exact g is a third lower. With ``exact=True`` the batch grows a little less.

    References
    ----------
    Smith et al. 2018, arXiv:1711.00489, sections 4, 5.1 and 5.2.
    Tutorial 4, ``tutorials/04_dont_decay.md``.

    Examples
    --------
    The paper's section 5.2, where the batch size may not pass 5120:

    >>> decay = step_decay(0.1, 128, milestones=(60, 120, 160), n_epochs=200, factor=5)
    >>> print(grow_batch(decay, 50_000, max_batch_size=5120).table(50_000, momentum=0.9))
    epochs   learning rate  batch size  noise scale  updates
    1-60               0.1         128        389.6    23400
    61-120             0.1         640        77.13     4680
    121-160            0.1        3200        14.63      600
    161-200          0.032        5120        2.805      360
    """
    n_train = _check_schedule(schedule, n_train)
    first = schedule.stages[0]
    cap = n_train
    if max_batch_size is not None:
        cap = check.integer("max_batch_size", max_batch_size, first.batch_size, ("n_train", n_train))
    if n_drops is not None:
        n_drops = check.integer("n_drops", n_drops, 0)
    if check.flag("exact", exact):
        hint = "the full batch has g = 0, which no learning rate keeps"
        for stage in schedule:
            check.integer("batch_size", stage.batch_size, 1, ("n_train - 1", n_train - 1), hint=hint)
        cap = min(cap, n_train - 1)

    batch_sizes = np.array([float(stage.batch_size) for stage in schedule])
    noise = noise_scale(np.array([stage.learning_rate for stage in schedule]), batch_sizes, n_train, replace=not exact)
    # The learning rate and the batch size that go from stage to stage are not rounded, or rounding would be fed back.
    rate, batch_size, level, drops, carried = first.learning_rate, float(first.batch_size), float(noise[0]), 0, []
    untouched = rate  # the rate of a stage whose batch size needs no rounding
    for target in noise.tolist():
        if math.isclose(target, level):  # rounding is not a drop
            pass
        elif target < level and (n_drops is None or drops < n_drops):
            drops += 1
            wanted = n_train / (1 + target / rate) if exact else n_train * (rate / target)
            batch_size = min(wanted, cap)
            if wanted > cap:
                rate = learning_rate_for(target, cap, n_train, replace=not exact)
            untouched, level = rate, target
        else:
            rate, untouched, level = rate * (target / level), math.nan, target
        carried.append((untouched, batch_size))
    rates, sizes = np.transpose(carried)
    whole = np.floor(sizes * (1 + 1e-9))  # down, so that no learning rate exceeds the one carried; 639.9999999999 is 640
    rest = learning_rate_for(noise, whole, n_train, replace=not exact)
    learning_rates = np.where(np.isclose(rest, rates, rtol=1e-9, atol=0), rates, rest)
    converted = zip(schedule, learning_rates.tolist(), whole.tolist(), strict=True)
    return Schedule([Stage(stage.n_epochs, eps, int(b)) for stage, eps, b in converted])


def scale_up(
    schedule: Schedule,
    n_train: int,
    *,
    learning_rate: float | None = None,
    momentum: float | None = None,
    to_momentum: float | None = None,
    max_batch_size: int | None = None,
) -> Schedule:
    """Raise the learning rate, the momentum or both, and the batch size with them: B' = B (eps'/eps) (1 - m)/(1 - m').

    Parameters
    ----------
    schedule : Schedule
        The schedule to start from.
    n_train : int
        Training-set size N.
    learning_rate : float, optional
        New learning rate of the first stage; later stages keep their ratio to it. Default: unchanged.
    momentum, to_momentum : float, optional
        Momentum before and after, both or neither, in [0, 1). The schedule does not hold it: give `to_momentum` to the
        optimizer.
    max_batch_size : int, optional
        The largest batch size allowed; default N. Where a stage would pass it, its learning rate is scaled by what is left.

    Returns
    -------
    Schedule
        Stages of the same lengths and equal eps/(B (1 - m)).

    Notes
    -----
    Convention: keeps eps N/(B (1 - m)), which is g only while B << N; see `linear_scaling_error`.

    References
    ----------
    Smith et al. 2018, arXiv:1711.00489, sections 4 and 5.2.
    Tutorial 3, ``tutorials/03_scaling_rules.md``.

    Examples
    --------
    The paper's "increased momentum" schedule:

    >>> decay = step_decay(0.1, 128, milestones=(60, 120, 160), n_epochs=200, factor=5)
    >>> large = scale_up(decay, 50_000, learning_rate=0.5, momentum=0.9, to_momentum=0.98)
    >>> print(grow_batch(large, 50_000, max_batch_size=5120))
    epochs   learning rate  batch size
    1-60               0.5        3200
    61-120            0.16        5120
    121-160          0.032        5120
    161-200         0.0064        5120
    """
    n_train = _check_schedule(schedule, n_train)
    cap = n_train if max_batch_size is None else check.integer("max_batch_size", max_batch_size, 1, ("n_train", n_train))
    rate_factor = 1.0
    if learning_rate is not None:
        rate_factor = float(check.number("learning_rate", learning_rate, above=0)) / schedule.stages[0].learning_rate
    batch_factor = rate_factor
    if momentum is not None and to_momentum is not None:
        before = float(check.number("momentum", momentum, at_least=0, below=1))
        batch_factor *= (1 - before) / (1 - float(check.number("to_momentum", to_momentum, at_least=0, below=1)))
    elif momentum is not None or to_momentum is not None:
        raise ValueError(f"momentum and to_momentum must be given together, got {momentum} and {to_momentum}")

    stages = []
    for stage in schedule:
        hint = "it is a batch size, and the change is too large for floating point"
        wanted = check.number("the result", stage.batch_size * batch_factor, above=0, hint=hint)
        batch_size = max(1, round(min(wanted, cap)))
        rest = 1.0 if math.isclose(batch_size, wanted) else batch_size / wanted
        stages.append(replace(stage, learning_rate=stage.learning_rate * rate_factor * rest, batch_size=batch_size))
    return Schedule(stages)
