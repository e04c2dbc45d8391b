"""A figure of twenty small tasks.

``python tests/tiny.py reproduce tiny --out DIR`` is the command line with it, ``python tests/tiny.py DIR`` makes it in threads.
"""

import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from sgdnoise.__main__ import main
from sgdnoise.reproduce import Control, Verdict, runner
from sgdnoise.reproduce.engine.verdicts import estimate

TITLE = "Tiny: twenty means"


@dataclass(frozen=True)
class TinyTask:
    seed: int
    cost: float = 1.0

    def run(self):
        time.sleep(0.01)
        X = np.random.default_rng(self.seed).standard_normal((50, 50))
        return {"mean": (X @ X).mean(axis=0)}


@dataclass(frozen=True, eq=False)
class Result:
    means: np.ndarray


def run(scale):
    results = yield [TinyTask(seed) for seed in range(20)]
    means = np.array([result["mean"] for result in results])
    verdict = Verdict(
        key="small",
        claim="|small|",
        source="measured here",
        statistic="mean",
        measured=estimate(lambda draw: float(means[draw].mean()), len(means)),
        threshold=1.0,
        control=Control("2", 2.0),
    )
    return Result(means), [verdict]


def rows(result):
    return [["mean"], *([sum(mean)] for mean in result.means.tolist())]


def plot(result, verdicts):
    from matplotlib.figure import Figure

    figure = Figure()
    figure.subplots().plot(result.means.mean(axis=1))
    return figure


def register():
    """Make this module one of the figures, and the only one."""
    sys.modules["sgdnoise.reproduce.figures.tiny"] = sys.modules[__name__]
    runner.FIGURES = ("tiny",)


if __name__ == "__main__":
    register()
    if len(sys.argv) == 2:
        runner.run_figures(["tiny"], out=sys.argv[1], executor=ThreadPoolExecutor(2))
    else:
        main()
