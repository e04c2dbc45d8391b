"""Draw cases until one breaks a law, and shrink it.

A case is made from whole numbers, each within bounds: the sequence of these numbers is what is drawn, and what shrinks. Nothing
is read but the name of the law, so that a law meets the same cases in every process, whatever else is imported.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from random import Random
from typing import Any, TypeVar

Case = Any
"""What a law is tried on."""

Integer = Callable[[int, int], int]
"""``integer(low, high)`` gives a whole number from low to high; `low` is the simplest."""

Draw = Callable[[Integer], Case]
"""Makes a case out of whole numbers."""

Failure = TypeVar("Failure")

_MAX_TRIES = 500
"""Simpler cases tried: more would rarely help, and an implementation may be slow."""


class _Source:
    """An `Integer` that repeats `replay`, numbers above the least one allowed, and then draws or gives the least."""

    def __init__(self, random: Random | None, replay: Sequence[int] = ()) -> None:
        self.random, self.replay = random, replay
        self.made: list[int] = []

    def __call__(self, low: int, high: int) -> int:
        width, at = high - low, len(self.made)
        if at < len(self.replay):
            offset = min(self.replay[at], width)
        else:
            offset = 0 if self.random is None else _drawn(self.random, width)
        self.made.append(offset)
        return low + offset


def _drawn(random: Random, width: int) -> int:
    """Draw from 0 to `width`, the ends often, and of a wide range small numbers as often as large ones."""
    if width < 10:
        return random.randint(0, width)
    if (end := random.randint(0, 9)) < 2:
        return (0, width)[end]
    return int((width + 1) ** random.random()) - 1


def search(name: str, draw: Draw | Sequence[Case], failure: Callable[[Case], Failure | None], n_cases: int) -> Failure | None:
    """Return the failure of the smallest case found to have one; of a sequence of cases, that of the first."""
    if not callable(draw):
        return next((found for case in draw if (found := failure(case)) is not None), None)
    random, seen = Random(name), set()
    for i in range(n_cases):
        source = _Source(random if i else None)  # the simplest case comes first
        case = draw(source)
        if (made := tuple(source.made)) in seen:
            continue
        seen.add(made)
        found = failure(case)
        if found is not None:
            return _shrunk(draw, failure, made, found)
    return None


def _shrunk(draw: Draw, failure: Callable[[Case], Failure | None], best: tuple[int, ...], found: Failure) -> Failure:
    """Go to a simpler case that fails as long as there is one: of fewer numbers, or of smaller ones from the first on."""
    tried = {best}

    def step() -> bool:
        nonlocal best, found
        for candidate in _simpler(best):
            if len(tried) > _MAX_TRIES:
                return False
            source = _Source(None, candidate)
            case = draw(source)
            made = tuple(source.made)
            if made in tried or (len(made), made) >= (len(best), best):
                continue
            tried.add(made)
            if (worse := failure(case)) is not None:
                best, found = made, worse
                return True
        return False

    while step():
        pass
    return found


def _simpler(numbers: tuple[int, ...]) -> Iterator[tuple[int, ...]]:
    """Give candidates, the boldest first."""
    n = len(numbers)
    for at, value in enumerate(numbers):
        for bits in range(value.bit_length()):
            yield (*numbers[:at], value - (value >> bits), *numbers[at + 1 :])
    for size in (4, 2, 1):
        for at in range(n - size + 1):
            rest = numbers[at + size :]
            for length in range(min(at, 4)):  # a length near the front goes down with what is left out
                if numbers[length]:
                    yield (*numbers[:length], numbers[length] - 1, *numbers[length + 1 : at], *rest)
    for at in range(n - 1):
        for other in range(at + 1, min(at + 4, n)):
            if numbers[at] and numbers[other]:
                lower = list(numbers)
                lower[at] -= 1
                lower[other] -= 1
                yield tuple(lower)
