"""Schedules of learning rate and batch size, and the conversion of one kind into the other.

A `Schedule` is a sequence of `Stage` s, each so many epochs at one batch size and at a learning rate that is constant or moves
linearly, update by update. `step_decay` divides the rate by a factor at each milestone; `cosine_decay`, `linear_decay`,
`exponential_decay` and `warmup_stable_decay` are made of stages of one epoch; `warm_up` lets any schedule's rate rise first.

`grow_batch` turns the fall of a learning rate into growth of the batch. A rule says what is kept, at both ends of each stage::

    "linear"   eps/B             the paper's rule, for SGD with or without momentum
    "exact"    eps (N/B - 1)     g itself, which the linear rule keeps while B << N
    "sqrt"     eps/sqrt(B)       for Adam

With r the larger end of a stage by that rule, and eps' the learning rate that went before, the batch is the one at which eps'
gives r. It grows PARTIALLY where a cap stops it, and the learning rate takes the rest of the factor::

    B' = eps'/r,  eps'' = eps'       while that fits under the cap,
    B' = cap,     eps'' = r cap      after (here for the linear rule).

`scale_up` raises the learning rate, the momentum or both, and the batch size with them, so that eps/(B (1 - m)) stays.

Updates per epoch are N/B; whether floor, ceiling or neither depends on what becomes of the last, smaller batch.

Everything here refuses what is of the wrong type (TypeError), and what is not finite or out of its range (ValueError). So does
every use of a schedule with a training set: ``n_train``, N, must be at least the schedule's largest batch size.

References
----------
Smith, Kindermans, Ying, Le, "Don't Decay the Learning Rate, Increase the Batch Size", ICLR 2018, arXiv:1711.00489.
Goyal et al., "Accurate, Large Minibatch SGD", 2017, arXiv:1706.02677, for the warm-up.
Malladi, Lyu, Panigrahi, Arora, "On the SDEs and Scaling Rules for Adaptive Gradient Algorithms", 2022, arXiv:2205.10287.
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields, replace
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from . import _checks as check
from .noise import noise_scale


@dataclass(frozen=True)
class Stage:
    """A number of epochs at one batch size, and at one learning rate or one that moves linearly, update by update.

    Parameters
    ----------
    n_epochs : int
        At least 1.
    learning_rate : float
        The papers' eps, per mean gradient; positive. The rate at the start, if it moves; it may then be 0.
    batch_size : int
        The papers' B, at least 1.
    final_learning_rate : float, optional
        The rate at the end, at least 0; not 0 if the one at the start is. Default: the rate is constant.

    Notes
    -----
    Update t of n, counted from 0, has the rate at the middle of its stretch, (t + 1/2)/n of the way from the start to the end.
    So the mean is the middle of both ends, no update has a rate of 0, and cut into stages of one epoch the rates are the same.

    References
    ----------
    Tutorial 4, ``tutorials/04_dont_decay.md``.

    Examples
    --------
    >>> Stage(60, 0.1, 128)
    Stage(n_epochs=60, learning_rate=0.1, batch_size=128)
    >>> Stage(5, 0, 128, final_learning_rate=0.1).learning_rates(4)
    array([0.0125, 0.0375, 0.0625, 0.0875])
    """

    n_epochs: int
    learning_rate: float
    batch_size: int
    final_learning_rate: float | None = None

    def __post_init__(self) -> None:
        """Check and normalise the numbers."""
        object.__setattr__(self, "n_epochs", check.integer("n_epochs", self.n_epochs))
        object.__setattr__(self, "batch_size", check.integer("batch_size", self.batch_size))
        final = self.final_learning_rate
        if final is None:
            object.__setattr__(self, "learning_rate", check.positive("learning_rate", self.learning_rate))
            return
        rate = check.positive("learning_rate", self.learning_rate, or_zero=True)
        final = check.positive("final_learning_rate", final, or_zero=True)
        if not max(rate, final):
            raise ValueError("final_learning_rate must be above 0 where learning_rate is 0, got 0")
        object.__setattr__(self, "learning_rate", rate)
        object.__setattr__(self, "final_learning_rate", None if final == rate else final)

    def __repr__(self) -> str:
        """Write the call that makes this stage."""
        final = "" if self.final_learning_rate is None else f", final_learning_rate={self.final_learning_rate!r}"
        return f"Stage(n_epochs={self.n_epochs}, learning_rate={self.learning_rate!r}, batch_size={self.batch_size}{final})"

    @property
    def ends(self) -> tuple[float, float]:
        """The learning rate at the start and at the end."""
        return self.learning_rate, self.learning_rate if self.final_learning_rate is None else self.final_learning_rate

    def to_dict(self) -> dict[str, int | float]:
        """Return the arguments that make this stage, by name; the final rate only if the rate moves."""
        return {name: value for name, value in vars(self).items() if value is not None}

    def learning_rates(self, n_updates: int, start: int = 0, stop: int | None = None) -> np.ndarray:
        """Return the learning rates of the updates from `start` to `stop`, of n_updates in the whole stage; default: of all.

        Examples
        --------
        >>> Stage(1, 0.1, 128, 0.3).learning_rates(4)
        array([0.125, 0.175, 0.225, 0.275])
        >>> Stage(1, 0.1, 128, 0.3).learning_rates(4, 2)
        array([0.225, 0.275])
        """
        n_updates = check.integer("n_updates", n_updates)
        stop = n_updates if stop is None else check.integer("stop", stop, 0, ("n_updates", n_updates))
        start = check.integer("start", start, 0, ("stop", stop))
        first, last = self.ends
        return first + (last - first) * ((np.arange(start, stop) + 0.5) / n_updates)

    def learning_rates_of(self, epoch: int, n_updates: int) -> np.ndarray:
        """Return the learning rates of one epoch, counted from 0 in this stage, if each has n_updates.

        Examples
        --------
        >>> Stage(2, 0.1, 128, 0.3).learning_rates_of(1, 2)
        array([0.225, 0.275])
        """
        n_updates = check.integer("n_updates", n_updates)
        epoch = check.integer("epoch", epoch, 0, ("n_epochs - 1", self.n_epochs - 1))
        return self.learning_rates(self.n_epochs * n_updates, epoch * n_updates, (epoch + 1) * n_updates)


@dataclass(frozen=True)
class Schedule:
    """Stages of training, one after another.

    Iterating over a schedule gives its stages; ``str(schedule)`` is a readable table.

    Parameters
    ----------
    stages : sequence of Stage
        At least one.

    Notes
    -----
    A loop of your own, in any framework, needs no more of a schedule than this::

        for stage in schedule:
            n_updates = n_train // stage.batch_size
            rates = iter(stage.learning_rates(stage.n_epochs * n_updates).tolist())
            for _ in range(stage.n_epochs):
                order = rng.permutation(n_train)[: n_updates * stage.batch_size]
                for batch in order.reshape(n_updates, stage.batch_size):
                    update(batch, next(rates))

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

    def noise_scale(self, n_train: int, momentum: float = 0, *, at: str = "start") -> np.ndarray:
        """Return the exact noise scale g of each stage, of shape (n_stages,), in the unit of the learning rate.

        Convention: the trace form of momentum, sampling without replacement; see `sgdnoise.noise_scale`.

        Parameters
        ----------
        n_train : int
            Training-set size N.
        momentum : float, default 0
            The papers' m.
        at : {"start", "end"}, default "start"
            Which end of each stage; they differ where the learning rate moves.

        Examples
        --------
        >>> Schedule([Stage(1, 0.1, 128), Stage(1, 0.1, 640)]).noise_scale(50_000, momentum=0.9).round(3)
        array([389.625,  77.125])
        """
        n_train = self._check_n_train(n_train)
        check.choice("at", at, ("start", "end"))
        rates, sizes = np.array([(stage.ends[at == "end"], stage.batch_size) for stage in self.stages]).T
        # Where the rate is 0, so is g, which noise_scale refuses.
        return np.asarray(noise_scale(np.where(rates > 0, rates, 1.0), sizes, n_train, momentum=momentum) * (rates > 0))

    def table(self, n_train: int | None = None, momentum: float = 0, *, by: str = "epochs", max_rows: int | None = None) -> str:
        """Lay the schedule out as text, one line a stage, without a newline at the end.

        With `n_train` there is a column with g (at this `momentum`) and one with the number of updates, last batch dropped, and
        the first column may be ``by="examples"``, N to an epoch. Where the learning rate moves, both ends are shown. Of more
        than `max_rows` stages the middle ones are left out.

        Examples
        --------
        >>> print(Schedule([Stage(60, 0.1, 128), Stage(60, 0.02, 128, 0.01)]).table(50_000, momentum=0.9))
        epochs  learning rate  batch size     noise scale  updates
        1-60              0.1         128           389.6    23400
        61-120   0.02 to 0.01         128  77.93 to 38.96    23400
        """
        per_epoch = 1
        if check.choice("by", by, ("epochs", "examples")) == "examples":
            if n_train is None:
                raise ValueError('n_train must be given where by is "examples", got None')
            per_epoch = self._check_n_train(n_train)
        header = [by, "learning rate", "batch size"]
        columns = [[_both(stage.ends, ".6g") for stage in self.stages], [str(stage.batch_size) for stage in self.stages]]
        if n_train is not None:
            header += ["noise scale", "updates"]
            noise = [self.noise_scale(n_train, momentum, at=at).tolist() for at in ("start", "end")]
            columns.append([_both(ends, ".4g") for ends in zip(*noise, strict=True)])
            columns.append([str(stage.n_epochs * (n_train // stage.batch_size)) for stage in self.stages])
        last = np.cumsum([stage.n_epochs for stage in self.stages]).tolist()
        spans = [
            f"{(end - stage.n_epochs) * per_epoch + 1}-{end * per_epoch}" for end, stage in zip(last, self.stages, strict=True)
        ]
        rows = [list(row) for row in zip(spans, *columns, strict=True)]
        if max_rows is not None and len(rows) > (kept := check.integer("max_rows", max_rows, 2)):
            rows[kept // 2 : len(rows) - (kept - kept // 2)] = [["...", *("" for _ in columns)]]
        widths = [max(len(row[i]) for row in [header, *rows]) for i in range(len(header))]
        lines = [row[0].ljust(widths[0] + 2) + "  ".join(map(str.rjust, row[1:], widths[1:])) for row in [header, *rows]]
        return "\n".join(line.rstrip() for line in lines)

    def by_examples(self, n_train: int) -> list[tuple[int, float, float, int]]:
        """List the stages in examples: how many were seen before it, learning rate, final learning rate, batch size.

        An epoch counts as N examples. Where there are no epochs, as in one pass over tokens, let a stage's "epoch" be any
        amount, and give that as `n_train`.

        Examples
        --------
        >>> Schedule([Stage(2, 0.1, 32), Stage(1, 0.1, 160, 0.0)]).by_examples(50_000)
        [(0, 0.1, 0.1, 32), (100000, 0.1, 0.0, 160)]
        """
        n_train = self._check_n_train(n_train)
        starts = np.cumsum([0, *(stage.n_epochs for stage in self.stages)]).tolist()
        return [(start * n_train, *stage.ends, stage.batch_size) for start, stage in zip(starts, self.stages, strict=False)]

    def part(self, start: int, stop: int) -> Schedule:
        """Return the epochs from `start` to `stop` as a schedule, for example to resume.

        Examples
        --------
        >>> print(step_decay(0.1, 128, milestones=(60,), n_epochs=90, factor=5).part(50, 90))
        epochs  learning rate  batch size
        1-10              0.1         128
        11-40            0.02         128
        """
        stop = check.integer("stop", stop, 1, ("n_epochs", self.n_epochs))
        start = check.integer("start", start, 0, ("stop - 1", stop - 1))
        stages, end = [], 0
        for stage in self.stages:
            before, end = end, end + stage.n_epochs
            if (first := max(start, before)) < (last := min(stop, end)):
                if stage.final_learning_rate is None or last - first == stage.n_epochs:
                    stages.append(replace(stage, n_epochs=last - first))
                else:
                    at, until = (_between(stage.ends, (epoch - before) / stage.n_epochs) for epoch in (first, last))
                    stages.append(Stage(last - first, at, stage.batch_size, until))
        return Schedule(stages)

    def to_json(self) -> str:
        """Write the schedule as JSON.

        Examples
        --------
        >>> Schedule([Stage(60, 0.1, 128)]).to_json()
        '{"stages": [{"n_epochs": 60, "learning_rate": 0.1, "batch_size": 128}]}'
        """
        return json.dumps({"stages": [stage.to_dict() for stage in self.stages]})

    @classmethod
    def from_json(cls, text: str) -> Schedule:
        """Read a schedule from what `to_json` wrote, or from what ``sgdnoise schedule --json`` printed: its growing one.

        Raises
        ------
        TypeError, ValueError
            If the text is no JSON, or not that of a schedule.

        Examples
        --------
        >>> Schedule.from_json('{"stages": [{"n_epochs": 5, "learning_rate": 0.1, "batch_size": 32}]}')
        Schedule(stages=(Stage(n_epochs=5, learning_rate=0.1, batch_size=32),))
        """
        if not isinstance(text, (str, bytes, bytearray)):
            raise TypeError(f"text must be a string of JSON, got {text!r} of type {type(text).__name__}")
        try:
            found = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise ValueError(f"text must be JSON, got {error}") from None
        found = found.get("growing", found) if isinstance(found, dict) else found
        stages = found.get("stages") if isinstance(found, dict) else None
        known, asked = {field.name for field in fields(Stage)}, {"n_epochs", "learning_rate", "batch_size"}
        if not isinstance(stages, list) or not all(isinstance(entry, dict) and asked <= set(entry) for entry in stages):
            wanted = ", ".join(sorted(asked))
            raise ValueError(f'text must be an object with "stages", a list of objects with {wanted}, got {text[:80]!r}')
        if unknown := {name for entry in stages for name in entry} - known - {"noise_scale", "final_noise_scale"}:
            raise ValueError(f"text must have stages of {', '.join(sorted(known))}, got {min(unknown)!r} in one")
        return cls([Stage(**{name: value for name, value in entry.items() if name in known}) for entry in stages])

    @classmethod
    def from_learning_rates(cls, learning_rates: Sequence[float], batch_size: int, *, moving: bool = False) -> Schedule:
        """Make a schedule from learning rates, epoch by epoch.

        Parameters
        ----------
        learning_rates : sequence of float, or ndarray of one axis
            The rate of each epoch; or, if it moves, those at the start of the first and at the end of each.
        batch_size : int
            B, constant.
        moving : bool, default False
            Whether the rate moves, linearly within each epoch.

        Examples
        --------
        >>> Schedule.from_learning_rates([0.1, 0.05], 32).stages
        (Stage(n_epochs=1, learning_rate=0.1, batch_size=32), Stage(n_epochs=1, learning_rate=0.05, batch_size=32))
        >>> Schedule.from_learning_rates([0.1, 0.05], 32, moving=True).stages
        (Stage(n_epochs=1, learning_rate=0.1, batch_size=32, final_learning_rate=0.05),)
        """
        rates = check.numbers("learning_rates", learning_rates)
        if not check.flag("moving", moving):
            return cls([Stage(1, rate, batch_size) for rate in rates])
        if len(rates) < 2:
            raise ValueError(f"learning_rates must be at least two where they move, got {len(rates)}")
        return cls([Stage(1, first, batch_size, last) for first, last in pairwise(rates)])

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


def linear_decay(learning_rate: float, batch_size: int, *, n_epochs: int, final: float = 0.0) -> Schedule:
    """Make a schedule whose learning rate falls in a straight line.

    Parameters
    ----------
    learning_rate : float
        Initial eps.
    batch_size : int
        B, constant.
    n_epochs : int
        Number of epochs in all, each a stage.
    final : float, default 0
        The rate at the end, from 0 to `learning_rate`.

    References
    ----------
    Tutorial 4, ``tutorials/04_dont_decay.md``.

    Examples
    --------
    >>> print(linear_decay(0.1, 32, n_epochs=2))
    epochs  learning rate  batch size
    1-1       0.1 to 0.05          32
    2-2         0.05 to 0          32
    """
    return _decay(lambda share: 1 - share, learning_rate, batch_size, n_epochs, final)


def cosine_decay(learning_rate: float, batch_size: int, *, n_epochs: int, final: float = 0.0) -> Schedule:
    """Make a schedule whose learning rate falls as half a period of a cosine.

    Parameters
    ----------
    learning_rate : float
        Initial eps.
    batch_size : int
        B, constant.
    n_epochs : int
        Number of epochs in all, each a stage: where they meet, the rate is the formula's, and a straight line lies between.
    final : float, default 0
        The rate at the end, from 0 to `learning_rate`.

    Notes
    -----
    After a share t of the epochs: final + (learning_rate - final) (1 + cos(pi t))/2.

    References
    ----------
    Loshchilov and Hutter, "SGDR", 2017, arXiv:1608.03983, equation 5.
    Tutorial 4, ``tutorials/04_dont_decay.md``.

    Examples
    --------
    >>> print(cosine_decay(0.1, 32, n_epochs=4))
    epochs             learning rate  batch size
    1-1             0.1 to 0.0853553          32
    2-2            0.0853553 to 0.05          32
    3-3            0.05 to 0.0146447          32
    4-4               0.0146447 to 0          32
    """
    return _decay(lambda share: (1 + np.cos(np.pi * share)) / 2, learning_rate, batch_size, n_epochs, final)


def exponential_decay(learning_rate: float, batch_size: int, *, n_epochs: int, final: float) -> Schedule:
    """Make a schedule whose learning rate falls by the same factor in each epoch.

    Parameters
    ----------
    learning_rate : float
        Initial eps.
    batch_size : int
        B, constant.
    n_epochs : int
        Number of epochs in all, each a stage: where they meet, the rate is the formula's, and a straight line lies between.
    final : float
        The rate at the end, above 0, at most `learning_rate`.

    Notes
    -----
    After a share t of the epochs: learning_rate (final/learning_rate)^t. The chords lie above the curve: with k the logarithm
    of the factor per epoch, the mean rate is larger by k^2/12 of itself.

    References
    ----------
    Tutorial 4, ``tutorials/04_dont_decay.md``.

    Examples
    --------
    >>> print(exponential_decay(0.1, 32, n_epochs=2, final=0.001))
    epochs  learning rate  batch size
    1-1       0.1 to 0.01          32
    2-2     0.01 to 0.001          32
    """
    learning_rate = check.positive("learning_rate", learning_rate)
    final = float(check.number("final", final, above=0, at_most=("learning_rate", learning_rate)))
    n_epochs = check.integer("n_epochs", n_epochs)
    falls = np.exp(np.linspace(math.log(learning_rate), math.log(final), n_epochs + 1))
    rates = [learning_rate, *np.clip(falls[1:-1], final, learning_rate).tolist(), final]
    return Schedule.from_learning_rates(rates, batch_size, moving=True)


def warmup_stable_decay(
    learning_rate: float, batch_size: int, *, n_epochs: int, n_warm_up: int, n_decay: int, final: float = 0.0
) -> Schedule:
    """Make a schedule whose learning rate rises in a straight line, stays, and falls in a straight line.

    Parameters
    ----------
    learning_rate : float
        The papers' eps between rise and fall.
    batch_size : int
        B, constant.
    n_epochs : int
        Number of epochs in all.
    n_warm_up, n_decay : int
        Epochs of the rise, from a rate of 0, and of the fall; at least 0, together at most `n_epochs`.
    final : float, default 0
        The rate at the end, from 0 to `learning_rate`.

    References
    ----------
    Hu et al., "MiniCPM", 2024, arXiv:2404.06395, section 4, for the shape.
    Tutorial 4, ``tutorials/04_dont_decay.md``.

    Examples
    --------
    >>> print(warmup_stable_decay(0.1, 32, n_epochs=9, n_warm_up=2, n_decay=2))
    epochs  learning rate  batch size
    1-2          0 to 0.1          32
    3-7               0.1          32
    8-8       0.1 to 0.05          32
    9-9         0.05 to 0          32
    """
    n_epochs = check.integer("n_epochs", n_epochs)
    n_warm_up = check.integer("n_warm_up", n_warm_up, 0, ("n_epochs", n_epochs))
    n_decay = check.integer("n_decay", n_decay, 0, ("n_epochs - n_warm_up", n_epochs - n_warm_up))
    rate = check.positive("learning_rate", learning_rate)
    stages = [Stage(n_warm_up, 0.0, batch_size, rate)] if n_warm_up else []
    if n_stable := n_epochs - n_warm_up - n_decay:
        stages.append(Stage(n_stable, rate, batch_size))
    final = _final(final, rate)
    return Schedule([*stages, *(linear_decay(rate, batch_size, n_epochs=n_decay, final=final) if n_decay else ())])


def warm_up(schedule: Schedule, n_epochs: int, *, start: float = 0.0) -> Schedule:
    """Let the learning rate rise linearly, update by update, in the first epochs of a schedule; its length stays.

    Parameters
    ----------
    schedule : Schedule
        Any.
    n_epochs : int
        Epochs of the rise, from 1 to those of the schedule.
    start : float, default 0
        The rate that the first update rises from; at most the rate of the schedule at the end of the rise.

    Returns
    -------
    Schedule
        The batch sizes are those of `schedule`, and so are the learning rates after `n_epochs`.

    Notes
    -----
    What it is for: at the start the loss is so sharply curved that a large learning rate is not stable, eps > 2 (1 + m)/h.

    References
    ----------
    Goyal et al. 2017, arXiv:1706.02677, section 2.2, "gradual warmup".
    Tutorial 4, ``tutorials/04_dont_decay.md``.

    Examples
    --------
    >>> print(warm_up(step_decay(0.5, 640, milestones=(60,), n_epochs=90, factor=5), 5))
    epochs  learning rate  batch size
    1-5          0 to 0.5         640
    6-60              0.5         640
    61-90             0.1         640
    """
    _check_schedule(schedule, None)
    n_epochs = check.integer("n_epochs", n_epochs, 1, ("schedule.n_epochs", schedule.n_epochs))
    risen = schedule.part(0, n_epochs)
    rest = schedule.part(n_epochs, schedule.n_epochs).stages if n_epochs < schedule.n_epochs else ()
    top = rest[0].learning_rate if rest else risen.stages[-1].ends[1]
    if top == 0:
        raise ValueError(f"n_epochs must end where the schedule has a learning rate above 0 to rise to, got {n_epochs}")
    ends = float(check.number("start", start, at_least=0, at_most=("the rate that it rises to", top))), top
    at = np.cumsum([0, *(stage.n_epochs for stage in risen)]) / n_epochs
    rates = [_between(ends, share) for share in at.tolist()]
    rising = [
        replace(stage, learning_rate=a, final_learning_rate=b) for stage, (a, b) in zip(risen, pairwise(rates), strict=True)
    ]
    return Schedule([*rising, *rest])


def _final(final: float, learning_rate: float) -> float:
    return float(check.number("final", final, at_least=0, at_most=("learning_rate", learning_rate)))


def _decay(
    shape: Callable[[np.ndarray], np.ndarray], learning_rate: float, batch_size: int, n_epochs: int, final: float
) -> Schedule:
    """Make stages of one epoch; `shape` falls from 1 to 0 as the share of the epochs goes from 0 to 1."""
    learning_rate = check.positive("learning_rate", learning_rate)
    n_epochs = check.integer("n_epochs", n_epochs)
    fallen = shape(np.linspace(0, 1, n_epochs + 1))
    rates = learning_rate * fallen + _final(final, learning_rate) * (1 - fallen)
    return Schedule.from_learning_rates(rates.tolist(), batch_size, moving=True)


def _check_schedule(schedule: Schedule, n_train: int | None) -> int | None:
    if not isinstance(schedule, Schedule):
        raise TypeError(f"schedule must be a Schedule, got {schedule!r} of type {type(schedule).__name__}")
    return None if n_train is None else schedule._check_n_train(n_train)


def _both(ends: tuple[float, float], form: str) -> str:
    first, last = (f"{end:{form}}" for end in ends)
    return first if ends[0] == ends[1] else f"{first} to {last}"


def _between(ends: tuple[float, float], share: float) -> float:
    return ends[0] * (1 - share) + ends[1] * share


def _scaled(stage: Stage, factor: float, batch_size: int, largest: float | None = None) -> Stage:
    """Return a stage of other rates and another batch; its larger end becomes `largest`, if that is given."""
    first, last = stage.ends
    if factor != 1:
        peak = max(first, last)
        first, last = (largest if end == peak and largest is not None else end * factor for end in (first, last))
    return Stage(stage.n_epochs, first, batch_size, None if stage.final_learning_rate is None else last)


_ROUNDING = 1e-10
"""Relative difference of numbers that differ by rounding alone."""


class _Rule(NamedTuple):
    """What is kept where the batch size changes: the learning rate over a function of the batch size."""

    of_batch: Callable[[float], float]
    batch_of: Callable[[float], float]
    """Its inverse."""


def _rule_of(rule: str, n_train: int | None) -> _Rule:
    check.choice("rule", rule, ("linear", "exact", "sqrt"))
    if rule == "linear":
        return _Rule(lambda b: b, lambda x: x)
    if rule == "sqrt":
        return _Rule(lambda b: b**0.5, lambda x: x**2)
    if n_train is None:
        raise ValueError('n_train must be given where rule is "exact", got None; g has N in it, the linear rule has not')
    return _Rule(lambda b: b / (n_train - b), lambda x: n_train / (1 + 1 / x) if x else 0.0)


def grow_batch(
    schedule: Schedule,
    n_train: int | None = None,
    *,
    max_batch_size: int | None = None,
    n_drops: int | None = None,
    rule: str = "linear",
    multiple_of: int = 1,
) -> Schedule:
    """Turn the fall of the learning rate into growth of the batch size.

    Parameters
    ----------
    schedule : Schedule
        Any: of drops, or of a rate that moves.
    n_train : int, optional
        Training-set size N. The linear rule and the square-root rule do without, and then know no largest batch.
    max_batch_size : int, optional
        The largest batch size allowed, from the schedule's first to N, which is the default. Where growth would pass it, the
        batch grows up to it and the learning rate takes the rest of the factor. The paper advises about N/10.
    n_drops : int, optional
        How many drops to convert, the first ones; the rest stay drops of the learning rate. Default: all. ``n_drops=1`` is the
        paper's hybrid schedule. A drop is a stage whose noise, at its larger end, is below that of the stage before.
    rule : {"linear", "exact", "sqrt"}, default "linear"
        What each stage keeps: eps/B, the paper's; g = eps (N/B - 1), the same while B << N (full batches, which have g = 0, are
        refused); or eps/sqrt(B), for Adam: a halved learning rate becomes a batch four times as large.
    multiple_of : int, default 1
        Batch sizes are multiples of this: the number of workers, or of examples in a micro-batch. So must the first one be.

    Returns
    -------
    Schedule
        Stages of the same lengths. Batch sizes are rounded down; the learning rate of that stage takes up the rest, so that
        what the rule keeps is that of `schedule`, at both ends of each stage, and no learning rate exceeds the schedule's
        largest. Rounding is not carried over to the next stage.

    Notes
    -----
    A batch size stands for a whole stage. Where the rate falls within a stage it still does, by the same factor, from the rate
    that was carried; stages of one epoch, as those of `cosine_decay`, make little of that.

    Where the noise rises from one stage to the next (warm-up, warm restarts) the batch shrinks first, but not below the first
    one or, if that is smaller, the stage's own; then the learning rate rises. In drops that are not converted the batch size
    stays. Only the noise of `schedule` counts: a batch that grows in it together with the learning rate comes back constant.

    By the linear rule and without a cap the updates left are the mean of the learning rate over its largest. Each epoch has the
    batch of its start, and batches are rounded down, which costs a little: a half cosine over 200 epochs from B = 32 leaves
    50.8% and not 50%. With larger batches and more epochs both costs vanish.

    Convention: momentum multiplies every g alike, so it plays no part. At B = N/3 exact g is a third below eps N/B; by
    ``rule="exact"`` the batch grows a little less.

    References
    ----------
    Smith et al. 2018, arXiv:1711.00489, sections 4, 5.1 and 5.2. The square root: Malladi et al. 2022, arXiv:2205.10287.
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

    A cosine, in batches for 8 workers:

    >>> print(grow_batch(cosine_decay(0.1, 32, n_epochs=4), 50_000, multiple_of=8))
    epochs             learning rate  batch size
    1-1             0.1 to 0.0853553          32
    2-2          0.0853553 to 0.05            32
    3-3               0.1 to 0.0292893        64
    4-4         0.0988515 to 0               216
    """
    n_train = _check_schedule(schedule, n_train)
    keep, first = _rule_of(rule, n_train), schedule.stages[0].batch_size
    cap: float = math.inf if n_train is None else n_train
    if n_drops is not None:
        n_drops = check.integer("n_drops", n_drops, 0)
    multiple_of = check.integer("multiple_of", multiple_of, 1, ("the smallest batch size", min(s.batch_size for s in schedule)))
    if first % multiple_of:
        raise ValueError(f"multiple_of must divide the schedule's first batch size, {first}, got {multiple_of}")
    if max_batch_size is not None:
        cap = check.integer("max_batch_size", max_batch_size, first, None if n_train is None else ("n_train", n_train))
    if rule == "exact" and n_train is not None:
        hint = "the full batch has g = 0, which no learning rate keeps"
        for stage in schedule:
            check.integer("batch_size", stage.batch_size, 1, ("n_train - 1", n_train - 1), hint=hint)
        cap = min(cap, n_train - 1)

    # The learning rate and the batch size that go from stage to stage are not rounded, or rounding would be fed back.
    rate, size, level, drops, stages = max(schedule.stages[0].ends), float(first), None, 0, []
    held = rate  # the one that growth holds
    for stage in schedule:
        peak, own = max(stage.ends), keep.of_batch(stage.batch_size)
        target = peak / own
        level = target if level is None else level
        if math.isclose(target, level, rel_tol=_ROUNDING):  # that is not a drop
            pass
        elif target < level and n_drops is not None and drops >= n_drops:
            rate, held, level = rate * (target / level), math.nan, target
        else:
            low = 0 if target < level else min(first, stage.batch_size, size) // multiple_of * multiple_of
            high = cap if target < level else size
            drops, level = drops + (target < level), target
            try:
                wanted = keep.batch_of(rate / target)
            except (ZeroDivisionError, OverflowError):
                wanted = math.inf
            size = max(min(wanted, high), low)
            if size > sys.maxsize:
                came = f"{size:.4g} from schedule; give max_batch_size"
                raise ValueError(f"the batch size must fit into {sys.maxsize.bit_length() + 1} bits, got {came}")
            if size != wanted:
                rate = target * keep.of_batch(size)
            held = rate
        # Down, so that no learning rate exceeds the one carried; 639.9999999999 is 640.
        whole = round(size) if math.isclose(round(size), size, rel_tol=_ROUNDING) else int(size)
        whole = whole // multiple_of * multiple_of
        factor = keep.of_batch(whole) / own
        untouched = held if math.isclose(peak * factor, held, rel_tol=_ROUNDING) else None
        stages.append(_scaled(stage, factor, whole, untouched))
    return Schedule(stages)


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
        New largest learning rate; all others keep their ratio to it. Default: unchanged.
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
    n_train = check.integer("n_train", n_train)
    _check_schedule(schedule, n_train)
    cap = n_train if max_batch_size is None else check.integer("max_batch_size", max_batch_size, 1, ("n_train", n_train))
    rate_factor = 1.0
    if learning_rate is not None:
        rate_factor = check.positive("learning_rate", learning_rate) / max(max(stage.ends) for stage in schedule)
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
        stages.append(_scaled(stage, rate_factor * rest, batch_size))
    return Schedule(stages)
