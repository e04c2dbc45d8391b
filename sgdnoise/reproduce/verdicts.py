"""A claim as data: what was measured for it, how sure the measurement is, what it must reject, and whether the claim holds."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

RELATIONS = ("at most", "at least")
"""How a statistic is compared with its threshold."""

_LEVEL = 0.95
_N_RESAMPLES = 2000


@dataclass(frozen=True)
class Verdict:
    """A claim with its measured statistic, the threshold it was given beforehand, and a negative control.

    Parameters
    ----------
    claim : str
        The statement.
    source : str
        Where it is made, with section or figure; "measured here" where no paper makes it.
    statistic : str
        What was measured, in words or as a formula.
    value : float
        What came out.
    threshold : float
        The claim holds if `value` is at most (or at least) this. Fixed before the measurement.
    relation : {"at most", "at least"}, default "at most"
        Which of the two.
    interval : pair of float, optional
        95% bootstrap interval of `value` over the independent repetitions. None where nothing is random.
    control : str
        The negative control: what the same statistic was applied to that it must reject.
    control_value : float
        What came out there; it is flagged if it is on the wrong side of the threshold.
    scope : str, default ""
        The range in which the claim was tested, such as "B <= N/10", if it does not hold beyond it.
    """

    claim: str
    source: str
    statistic: str
    value: float
    threshold: float
    relation: str = "at most"
    interval: tuple[float, float] | None = None
    control: str = field(kw_only=True)
    control_value: float = field(kw_only=True)
    scope: str = ""

    @property
    def holds(self) -> bool:
        """Whether the claim holds; a value that is NaN does not."""
        return self._passes(self.value)

    @property
    def control_flagged(self) -> bool:
        """Whether the statistic rejects the negative control."""
        return not self._passes(self.control_value)

    @property
    def word(self) -> str:
        """HOLDS, HOLDS WITHIN a stated range, or FAILS."""
        if not self.holds:
            return "FAILS"
        return f"HOLDS WITHIN {self.scope}" if self.scope else "HOLDS"

    def record(self) -> dict[str, object]:
        """Everything as a dict that JSON can hold."""
        return vars(self) | {"holds": self.holds, "word": self.word, "control_flagged": self.control_flagged}

    def __str__(self) -> str:
        """One line to print."""
        interval = "" if self.interval is None else f" [{self.interval[0]:.3g}, {self.interval[1]:.3g}]"
        measured = f"{self.statistic}: {self.value:.3g}{interval}, {self.relation} {self.threshold:g}"
        flagged = "flagged" if self.control_flagged else "NOT FLAGGED"
        control = f"control ({self.control}): {self.control_value:.3g}, {flagged}"
        return f"{self.word}: {self.claim} ({self.source}); {measured}; {control}"

    def _passes(self, value: float) -> bool:
        return value <= self.threshold if self.relation == "at most" else value >= self.threshold


def bootstrap_interval(statistic: Callable[[np.ndarray], float], n_seeds: int) -> tuple[float, float] | None:
    """95% percentile bootstrap interval of a statistic over independent repetitions.

    Parameters
    ----------
    statistic : callable
        Takes an integer array of indices of repetitions, drawn with replacement, and returns the statistic of those.
    n_seeds : int
        How many repetitions there are.

    Returns
    -------
    pair of float, or None
        None for fewer than three repetitions, from which no interval can be had.

    Notes
    -----
    2000 resamples. With n repetitions the interval is narrow by about sqrt((n - 1)/n): take it as a scale of the error.
    Resampling adds a noise of its own, which an absolute value or a largest deviation only lets grow: where the true one is 0
    or near it, the interval of such a statistic is shifted up, and can lie wholly above the value.

    References
    ----------
    Efron and Tibshirani, "An Introduction to the Bootstrap", 1993, chapter 13.
    """
    if n_seeds < 3:
        return None
    draws = np.random.default_rng(0).integers(n_seeds, size=(_N_RESAMPLES, n_seeds))
    values = [statistic(draw) for draw in draws]
    low, high = np.quantile(values, [(1 - _LEVEL) / 2, (1 + _LEVEL) / 2])
    return float(low), float(high)
