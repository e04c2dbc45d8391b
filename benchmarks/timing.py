"""Interleaved timing: what is compared is measured in turn, so that a slow moment of the machine hits all alike."""

import statistics
import time
from collections.abc import Callable


def medians(functions: dict[str, Callable[[], object]], repeats: int) -> dict[str, float]:
    """Median wall time of each function, in seconds, after one call of each that does not count."""
    for function in functions.values():
        function()
    times: dict[str, list[float]] = {name: [] for name in functions}
    for _ in range(repeats):
        for name, function in functions.items():
            start = time.perf_counter()
            function()
            times[name].append(time.perf_counter() - start)
    return {name: statistics.median(values) for name, values in times.items()}
