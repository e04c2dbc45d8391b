"""What the benchmarks share: interleaved timing on one core, agreement before timing, rows, and a record of the environment.

A row is a dict: "benchmark", "setting" (a dict), "times" (what -> median seconds; None if that peer is not installed) and
"ratios" ("a/b" -> time of a over time of b).
"""

import argparse
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from importlib import import_module, metadata
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

ONE_THREAD = {
    **dict.fromkeys(("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "OMP_NUM_THREADS", "VECLIB_MAXIMUM_THREADS"), "1"),
    "XLA_FLAGS": "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1",
    "JAX_PLATFORMS": "cpu",
}
"""Read by BLAS, PyTorch and JAX when they are loaded."""

CLOCK = time.process_time if hasattr(os, "sched_setaffinity") else time.perf_counter
"""On one core, CPU time of all threads: wall time but for what other processes take; wall time where cores cannot be chosen."""

PEERS = {"torch": "torch", "jax": "jax", "scikit-learn": "sklearn"}
"""The peers' distributions and modules."""

TOLERANCE = 1e-4
"""How far a side may be from the reference after a few float32 updates, over the largest distance that a parameter moved."""


class DisagreementError(AssertionError):
    """Two sides of a benchmark do not compute the same thing."""


def medians(
    functions: Mapping[str, Callable[[], object]],
    repeats: int,
    prepare: Mapping[str, Callable[[], object]] | None = None,
    clock: Callable[[], float] = CLOCK,
) -> dict[str, float]:
    """Median time of each function, in seconds: they are called in turn, so that a slow moment of the machine hits all.

    One call of each does not count. ``prepare[name]`` is called before each call of that function, outside its time.
    """
    times: dict[str, list[float]] = {name: [] for name in functions}
    for _ in range(repeats + 1):
        for name, function in functions.items():
            if prepare is not None:
                prepare[name]()
            start = clock()
            function()
            times[name].append(clock() - start)
    return {name: statistics.median(values[1:]) for name, values in times.items()}


def installed(side: str) -> bool:
    """Whether what a side needs is there; a side's name begins with that of its peer."""
    return all(find_spec(module) is not None for peer, module in PEERS.items() if side.startswith(peer))


def is_peer(side: str) -> bool:
    """Whether a side needs another library."""
    return side.startswith(tuple(PEERS))


def check_agreement(start: np.ndarray, ends: Mapping[str, np.ndarray], reference: str = "reference") -> None:
    """Raise `DisagreementError` unless every side moved the parameters from `start` to where the reference did."""
    right = ends[reference]
    moved = np.abs(right - start).max()
    for side, end in ends.items():
        error = np.abs(end - right).max() / moved
        if not error <= TOLERANCE:
            raise DisagreementError(f"{side} is off by {error:.2g} of the largest movement, more than {TOLERANCE:g}")


def row(
    benchmark: str, setting: dict[str, Any], times: Mapping[str, float], *, over: str, sides: Iterable[str], **more: Any
) -> dict[str, Any]:
    """Make a row: the time of `over` is set beside those of the other sides, missing ones included."""
    return {
        "benchmark": benchmark,
        "setting": setting,
        "times": {side: times.get(side) for side in sides},
        "ratios": {f"{over}/{side}": times[over] / times[side] for side in sides if side in times and side != over},
        **more,
    }


def duration(seconds: float | None) -> str:
    """Write a time with three digits and a unit."""
    if seconds is None:
        return "missing"
    for unit, factor in (("s", 1), ("ms", 1e3), ("µs", 1e6)):
        if seconds * factor >= 1 or unit == "µs":
            value = seconds * factor
            return f"{value:.{2 if value < 10 else 1 if value < 100 else 0}f} {unit}"
    raise AssertionError


def factor(ratio: float) -> str:
    """Write a ratio."""
    return f"{ratio:.2f}" if ratio < 10 else f"{ratio:.0f}"


def print_rows(rows: Iterable[dict[str, Any]]) -> None:
    """Print rows, for reading."""
    for one in rows:
        print(f"{one['benchmark']}: " + ", ".join(f"{key} {value}" for key, value in one["setting"].items()))
        for side, seconds in one["times"].items():
            ratios = "   ".join(f"{name} {factor(ratio)}" for name, ratio in one["ratios"].items() if name.endswith("/" + side))
            print(f"    {side:20} {duration(seconds):>10}   {ratios}")
        extra = {key: value for key, value in one.items() if key not in ("benchmark", "setting", "times", "ratios")}
        for key, value in extra.items():
            print(f"    {key}: {value}")


def pin() -> None:
    """Keep this process on one core, where the system can."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})


def main(run: Callable[..., list[dict[str, Any]]], **options: tuple[str, ...]) -> None:
    """Run one benchmark as a script: on one core, in a process whose libraries found one thread when they were loaded.

    `options` are keywords of `run`, each with its choices, the default first.
    """
    parser = argparse.ArgumentParser(description=sys.modules["__main__"].__doc__)
    parser.add_argument("--smallest", action="store_true", help="smallest sizes, without peers")
    for name, choices in options.items():
        parser.add_argument("--" + name, choices=choices, default=choices[0])
    arguments = vars(parser.parse_args())
    if any(os.environ.get(name) != value for name, value in ONE_THREAD.items()):
        sys.exit(subprocess.run([sys.executable, *sys.argv], env=os.environ | ONE_THREAD).returncode)
    pin()
    print_rows(run(**arguments))


def environment() -> dict[str, Any]:
    """What the times depend on."""
    versions = {name: _version(name) for name in ("numpy", "scipy", *PEERS)}
    blas = np.show_config(mode="dicts")["Build Dependencies"]["blas"]  # type: ignore[call-overload]
    return {
        "cpu": _cpu(),
        "cores_used": 1 if hasattr(os, "sched_setaffinity") else "one thread, not pinned",
        "system": f"{platform.system()} {platform.machine()}",
        "versions": {"python": platform.python_version(), **versions},
        "blas": f"{blas['name']} {blas['version']}",
        "blas_kernel": _kernel(),
        "OPENBLAS_CORETYPE": os.environ.get("OPENBLAS_CORETYPE", "not set"),
    }


def _version(distribution: str) -> str:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return "missing"


def _cpu() -> str:
    information = Path("/proc/cpuinfo")
    if information.exists():
        for line in information.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or "unknown"


def _kernel() -> str:
    """Kernel that NumPy's BLAS has picked for this CPU, if threadpoolctl is there to ask."""
    if find_spec("threadpoolctl") is None:
        return "unknown"
    libraries = import_module("threadpoolctl").threadpool_info()
    names = [entry["architecture"] for entry in libraries if "openblas" in entry["filepath"] and "architecture" in entry]
    return names[0] if names else "unknown"
