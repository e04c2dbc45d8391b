"""A claim, what was measured for it, and whether it holds."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Verdict:
    """A claim with its measured statistic and the threshold it was given beforehand.

    Parameters
    ----------
    claim : str
        The statement.
    source : str
        Where it is made.
    statistic : str
        What was measured, in words or as a formula.
    value : float
        What came out.
    threshold : float
        The claim holds if `value` is at most this.
    """

    claim: str
    source: str
    statistic: str
    value: float
    threshold: float

    @property
    def holds(self) -> bool:
        """Whether the claim holds; a value that is NaN does not."""
        return self.value <= self.threshold

    def __str__(self) -> str:
        """One line to print."""
        word = "HOLDS" if self.holds else "FAILS"
        return f"{word}: {self.claim} ({self.source}): {self.statistic} = {self.value:.3f}, at most {self.threshold:g}"
