"""The trainings of a whole figure, fig2, by both engines: ``python benchmarks/bench_reproduce.py``.

Each is a process of its own, with one thread on one core (`sgdnoise reproduce` has one such process per core). The time is
that of all its trainings, without starting Python and loading data. Beside it: the share of it that evaluation after each epoch
takes, and the peak of the process's memory, with Python, NumPy and the data in it.
"""

import json
import os
import statistics
import subprocess
import sys
from typing import Any

from timing import CLOCK, ONE_THREAD, DisagreementError, main, pin, row

ENGINES = ("fast", "reference")
REPEATS = 3

TOLERANCE = 5e-4
"""Of a loss after epochs in float32: runs part at kinks of relu, by 1.2e-4 with some kernels for products, less with others."""


def train_all(engine: str, scale: str) -> dict[str, Any]:
    """Run all training tasks of fig2 in this process, one after another; at scale "smallest" a short one instead."""
    from sgdnoise import MLP, Schedule, Stage, fast
    from sgdnoise.reproduce import SCALES, TrainingTask
    from sgdnoise.reproduce.figures.paper import paper_schedules

    if scale == "smallest":
        schedules, n_seeds = {"large batch": Schedule([Stage(2, 0.1, 1000)])}, 1
    else:
        schedules, n_seeds = paper_schedules(SCALES[scale].n_epochs), SCALES[scale].n_seeds
    TrainingTask(Schedule([Stage(1, 0.1, 1000)]), seed=0, engine=engine).run()  # loads the data
    owner: Any = fast.Trainer if engine == "fast" else MLP
    evaluate, evaluation = owner.evaluate, [0.0]

    def timed(*arguments: Any) -> Any:
        start = CLOCK()
        result = evaluate(*arguments)
        evaluation[0] += CLOCK() - start
        return result

    owner.evaluate = timed
    start = CLOCK()
    losses = {
        name: [TrainingTask(schedule, seed, engine=engine).run()["train_loss"].tolist() for seed in range(n_seeds)]
        for name, schedule in schedules.items()
    }
    seconds = CLOCK() - start
    owner.evaluate = evaluate
    return {"seconds": seconds, "evaluation": evaluation[0], "peak": peak_memory(), "losses": losses}


def peak_memory() -> float | None:
    """Largest resident size of this process so far, in MB; None where the system does not say."""
    try:
        import resource
    except ImportError:
        return None
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1e6 if sys.platform == "darwin" else 1e3)


def in_process(engine: str, scale: str) -> dict[str, Any]:
    """Run `train_all` in a new process."""
    command = [sys.executable, __file__, "--child", engine, scale]
    done = subprocess.run(command, env=os.environ | ONE_THREAD, check=True, stdout=subprocess.PIPE)
    return dict(json.loads(done.stdout))


class Figure:
    """One run of the figure, in the shape that asv reads."""

    params = ENGINES
    param_names = ("engine",)
    timeout = 600

    def setup_cache(self) -> dict[str, dict[str, Any]]:
        """Run both engines."""
        return {engine: in_process(engine, "quick") for engine in ENGINES}

    def track_seconds(self, results: dict[str, dict[str, Any]], engine: str) -> float:
        """Time of the trainings."""
        return float(results[engine]["seconds"])

    def track_peak_memory(self, results: dict[str, dict[str, Any]], engine: str) -> float | None:
        """Peak memory in MB."""
        return results[engine]["peak"]


def check(results: dict[str, dict[str, Any]]) -> None:
    """Raise unless both engines found the same losses after every epoch."""
    for name, curves in results["reference"]["losses"].items():
        for ours, right in zip(results["fast"]["losses"][name], curves, strict=True):
            for a, b in zip(ours, right, strict=True):
                if not abs(a - b) <= TOLERANCE * abs(b):
                    raise DisagreementError(f"{name}: training loss {a}, but {b} by the reference")


def run(smallest: bool = False, scale: str = "quick") -> list[dict[str, Any]]:
    """Time both engines in turn; `smallest` is for tests: two epochs."""
    scale = "smallest" if smallest else scale
    first = {engine: in_process(engine, "smallest") for engine in ENGINES}
    check(first)
    repeats = [{engine: in_process(engine, scale) for engine in ENGINES} for _ in range(REPEATS)] if not smallest else [first]
    median = {key: {e: statistics.median(r[e][key] for r in repeats) for e in ENGINES} for key in ("seconds", "evaluation")}
    peaks = {engine: repeats[0][engine]["peak"] for engine in ENGINES}
    return [
        row(
            "reproduce",
            {"figure": "fig2", "scale": scale},
            median["seconds"],
            over="fast",
            sides=ENGINES,
            evaluation_share={e: round(median["evaluation"][e] / median["seconds"][e], 3) for e in ENGINES},
            peak_memory_mb={engine: peak and round(peak) for engine, peak in peaks.items()},
        )
    ]


if __name__ == "__main__":
    if sys.argv[1:2] == ["--child"]:
        pin()
        print(json.dumps(train_all(*sys.argv[2:])))
    else:
        main(run, scale=("quick", "default", "full"))
