"""One update of one network, momentum 0.9, float32, bundled data, one core: ``python benchmarks/bench_step.py``."""

from typing import Any

from sides import (
    CHECKED_UPDATES,
    check,
    fast_path,
    gather,
    jax_scan,
    jax_step,
    matrix_products,
    network,
    problem,
    reference,
    sklearn,
    torch_eager,
)
from timing import installed, is_peer, main, medians, row

SETTINGS: dict[str, tuple[tuple[int, ...], int]] = {
    "196-128-10, B 8": ((128,), 8),
    "196-128-10, B 32": ((128,), 32),
    "196-128-10, B 128": ((128,), 128),
    "196-128-10, B 640": ((128,), 640),
    "196-512-10, B 128": ((512,), 128),
    "196-10, B 128": ((), 128),
}
SIDES = {
    "fast": fast_path,
    "reference": reference,
    "torch eager": torch_eager,
    "jax jitted step": jax_step,
    "jax scan": jax_scan,
    "scikit-learn": sklearn,
}
LIMITS = {"matrix products alone": matrix_products, "gather alone": gather}


class Step:
    """A few updates by one side, in the shape that asv reads."""

    params = (tuple(SETTINGS), (*SIDES, *LIMITS))
    param_names = ("setting", "side")

    def setup(self, setting: str, side: str) -> None:
        """Make the side."""
        if not installed(side):
            raise NotImplementedError  # asv skips it
        here = problem(*SETTINGS[setting], n_updates=40)
        self.run = LIMITS[side](here) if side in LIMITS else SIDES[side](here).run

    def time_updates(self, setting: str, side: str) -> None:
        """Make the updates."""
        self.run()


def run(smallest: bool = False) -> list[dict[str, Any]]:
    """Time one update of each side; `smallest` is for tests: one small setting, without peers."""
    sides = {name: make for name, make in SIDES.items() if installed(name) and not (smallest and is_peer(name))}
    rows = []
    for hidden, batch_size in [((8,), 8)] if smallest else SETTINGS.values():
        n_updates = CHECKED_UPDATES if smallest else max(20, min(200, 12_800 // batch_size))
        here = problem(hidden, batch_size, n_updates=n_updates)
        check(here, sides)
        functions = {name: make(here).run for name, make in sides.items()} | {name: make(here) for name, make in LIMITS.items()}
        times = medians(functions, repeats=1 if smallest else 25)
        rows.append(
            row(
                "step",
                {"network": network(here), "batch size": batch_size},
                {name: seconds / n_updates for name, seconds in times.items()},
                over="fast",
                sides=(*SIDES, *LIMITS),
            )
        )
    return rows


if __name__ == "__main__":
    main(run)
