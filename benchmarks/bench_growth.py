"""How the time of one update grows, beside what bounds it: ``python benchmarks/bench_growth.py``.

Against the batch size, the parameters (hidden units of 196-h-10 at batch size 128), and the replicas (of 196-32-10 at batch
size 16; the time is for one update of one of them). Momentum 0.9, float32, one core. `bench_langevin` does walkers.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

from bench_update import RULES, TRAFFIC, traffic
from sides import CHECKED_UPDATES, Problem, check, fast_path, matrix_products, problem, reference
from timing import main, medians, row

SIDES = {"fast": fast_path, "reference": reference}
PRODUCTS = "matrix products alone"
BATCH_SIZES = (4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048)
HIDDEN = (4, 16, 64, 256, 1024, 4096)
REPLICAS = (1, 2, 4, 8, 16, 32, 64)
CURVES = {
    "batch size": [(n, {"hidden": (128,), "batch_size": n}) for n in BATCH_SIZES],
    "hidden units": [(n, {"hidden": (n,), "batch_size": 128}) for n in HIDDEN],
    "replicas": [(n, {"hidden": (32,), "batch_size": 16, "n_replicas": n}) for n in REPLICAS],
}
SMALLEST = {
    "batch size": [(4, {"hidden": (4,), "batch_size": 4})],
    "hidden units": [(4, {"hidden": (4,), "batch_size": 4})],
    "replicas": [(2, {"hidden": (4,), "batch_size": 4, "n_replicas": 2})],
}


class Growth:
    """A few updates by the fast path, in the shape that asv reads."""

    params = (tuple((curve, x) for curve, points in CURVES.items() for x, _ in points),)
    param_names = ("point",)

    def setup(self, point: tuple[str, int]) -> None:
        """Make the side."""
        curve, x = point
        self.run = fast_path(problem(**dict(CURVES[curve])[x])).run

    def time_updates(self, point: tuple[str, int]) -> None:
        """Make the updates."""
        self.run()


def _n_updates(here: Problem) -> int:
    """So many that a call takes some milliseconds."""
    n_replicas, _, batch_size = here.batches.shape
    return max(2, min(100, 2_000_000_000 // (n_replicas * batch_size * here.model.n_params * 6)))


def _repeat(function: Callable[[], object], n: int) -> None:
    for _ in range(n):
        function()


def run(smallest: bool = False) -> list[dict[str, Any]]:
    """Time one update along each curve; `smallest` is for tests: one small point each."""
    rows = []
    for curve, points in (SMALLEST if smallest else CURVES).items():
        for x, settings in points:
            here = problem(**settings)
            check(here, SIDES)
            n_updates = CHECKED_UPDATES if smallest else _n_updates(here)
            here = problem(**settings, n_updates=n_updates)
            functions = {name: make(here).run for name, make in SIDES.items()} | {PRODUCTS: matrix_products(here)}
            if curve == "hidden units":
                functions[TRAFFIC] = partial(_repeat, traffic(RULES["momentum"], here.params[0]).run, n_updates)
            times = medians(functions, repeats=1 if smallest else 9)
            seconds = {name: value / n_updates / len(here.params) for name, value in times.items()}
            setting = {"against": curve, "at": x, "parameters": here.model.n_params}
            rows.append(row("growth", setting, seconds, over="fast", sides=seconds))
    return rows


if __name__ == "__main__":
    main(run)
