"""A claim as data: what was measured for it, how sure the measurement is, what it must reject, and whether the claim holds."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

_LEVEL = 0.95
_N_RESAMPLES = 2000


class Estimate(NamedTuple):
    """A statistic and how sure it is."""

    value: float
    """What came out."""
    interval: tuple[float, float] | None = None
    """95% bootstrap interval over the independent repetitions. None where nothing is random, or there are too few."""


class Control(NamedTuple):
    """A negative control: what the statistic of a claim was applied to that it must reject, and what came out there."""

    name: str
    value: float


def estimate(statistic: Callable[[np.ndarray], float], n_repetitions: int) -> Estimate:
    """Compute a statistic and its 95% percentile bootstrap interval over independent repetitions.

    Parameters
    ----------
    statistic : callable
        Takes an integer array of indices of repetitions and returns the statistic of those.
    n_repetitions : int
        How many there are. Fewer than three give no interval.

    Returns
    -------
    Estimate
        The statistic of all repetitions, once each, and the interval from 2000 resamples of them.

    Notes
    -----
    With n repetitions the interval is narrow by about sqrt((n - 1)/n): take it as a scale of the error. Resampling adds a noise
    of its own, which an absolute value or a largest deviation only lets grow: where the true one is 0 or near it, the interval
    of such a statistic is shifted up, and can lie wholly above the value.

    References
    ----------
    Efron and Tibshirani, "An Introduction to the Bootstrap", 1993, chapter 13.
    """
    value = float(statistic(np.arange(n_repetitions)))
    if n_repetitions < 3:
        return Estimate(value)
    draws = np.random.default_rng(0).integers(n_repetitions, size=(_N_RESAMPLES, n_repetitions))
    low, high = np.quantile([statistic(draw) for draw in draws], [(1 - _LEVEL) / 2, (1 + _LEVEL) / 2])
    return Estimate(value, (float(low), float(high)))


def standard_error(values: np.ndarray) -> np.ndarray:
    """Standard error of the mean over the first axis, the seeds; 0 for a single one."""
    n = len(values)
    return values.std(axis=0, ddof=1) / np.sqrt(n) if n > 1 else np.zeros(values.shape[1:])


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """A claim with its measured statistic, the threshold it was given beforehand, and a negative control.

    Parameters
    ----------
    key : str
        What the figure calls it; no two verdicts of a figure have the same.
    claim : str
        The statement.
    source : str
        Where it is made, with section or figure; "measured here" where no paper makes it.
    statistic : str
        What was measured, in words or as a formula.
    measured : Estimate
        What came out, and its interval.
    threshold : float
        The claim holds if the value is at most (or at least) this. Fixed before the measurement.
    relation : {"at most", "at least"}, default "at most"
        Which of the two.
    control : Control
        It is flagged if its value is on the wrong side of the threshold.
    scope : str, default ""
        The range in which the claim was tested, such as "B <= N/10", if it does not hold beyond it.
    """

    key: str
    claim: str
    source: str
    statistic: str
    measured: Estimate
    threshold: float
    relation: str = "at most"
    control: Control
    scope: str = ""

    @property
    def value(self) -> float:
        """What came out."""
        return self.measured.value

    @property
    def interval(self) -> tuple[float, float] | None:
        """Its interval."""
        return self.measured.interval

    @property
    def holds(self) -> bool:
        """Whether the claim holds; a value that is NaN does not."""
        return self._passes(self.value)

    @property
    def control_flagged(self) -> bool:
        """Whether the statistic rejects the negative control; one that is NaN was not put to the test."""
        return not np.isnan(self.control.value) and not self._passes(self.control.value)

    @property
    def word(self) -> str:
        """HOLDS, HOLDS WITHIN a stated range, or FAILS."""
        if not self.holds:
            return "FAILS"
        return f"HOLDS WITHIN {self.scope}" if self.scope else "HOLDS"

    def record(self) -> dict[str, Any]:
        """Everything as a dict, for `to_json`."""
        flat = {**self.measured._asdict(), "control": self.control.name, "control_value": self.control.value}
        words = {"holds": self.holds, "word": self.word, "control_flagged": self.control_flagged}
        return {name: value for name, value in vars(self).items() if name != "measured"} | flat | words

    @classmethod
    def read(cls, record: Mapping[str, Any]) -> Verdict:
        """Make the verdict that gave a record."""
        parts = {
            "measured": Estimate(float(record["value"]), record["interval"] and tuple(map(float, record["interval"]))),
            "control": Control(record["control"], float(record["control_value"])),
        }
        return cls(**{name: value for name, value in record.items() if name in cls.__dataclass_fields__} | parts)

    def __str__(self) -> str:
        """One line to print."""
        interval = "" if self.interval is None else f" [{self.interval[0]:.3g}, {self.interval[1]:.3g}]"
        measured = f"{self.statistic}: {self.value:.3g}{interval}, {self.relation} {self.threshold:g}"
        flagged = "flagged" if self.control_flagged else "NOT FLAGGED"
        control = f"control ({self.control.name}): {self.control.value:.3g}, {flagged}"
        return f"{self.word}: {self.claim} ({self.source}); {measured}; {control}"

    def _passes(self, value: float) -> bool:
        return bool(value <= self.threshold if self.relation == "at most" else value >= self.threshold)
