"""32 replicas at once against one after another, momentum 0.9, float32, one core: ``python benchmarks/bench_replicas.py``.

Times are for one update of all replicas.
"""

from typing import Any

from sides import CHECKED_UPDATES, check, fast_one_by_one, fast_path, jax_scan, jax_step, network, problem, reference
from timing import installed, is_peer, main, medians, row

N_REPLICAS = 32
SETTINGS: dict[str, tuple[tuple[int, ...], int]] = {
    "196-16-10, B 8": ((16,), 8),
    "196-32-10, B 16": ((32,), 16),
    "196-128-10, B 128": ((128,), 128),
}
SIDES = {
    "fast, stacked": fast_path,
    "fast, one by one": fast_one_by_one,
    "reference": reference,
    "jax vmapped step": jax_step,
    "jax vmapped scan": jax_scan,
}


class Replicas:
    """A few updates of all replicas by one side, in the shape that asv reads."""

    params = (tuple(SETTINGS), tuple(SIDES))
    param_names = ("setting", "side")

    def setup(self, setting: str, side: str) -> None:
        """Make the side."""
        if not installed(side):
            raise NotImplementedError  # asv skips it
        self.run = SIDES[side](problem(*SETTINGS[setting], N_REPLICAS, n_updates=20)).run

    def time_updates(self, setting: str, side: str) -> None:
        """Make the updates."""
        self.run()


def run(smallest: bool = False) -> list[dict[str, Any]]:
    """Time one update of all replicas; `smallest` is for tests: one small setting, without peers."""
    sides = {name: make for name, make in SIDES.items() if installed(name) and not (smallest and is_peer(name))}
    rows = []
    for hidden, batch_size in [((4,), 4)] if smallest else SETTINGS.values():
        n_replicas = 3 if smallest else N_REPLICAS
        here = problem(hidden, batch_size, n_replicas, n_updates=CHECKED_UPDATES)
        check(here, sides)
        times = medians({name: make(here).run for name, make in sides.items()}, repeats=1 if smallest else 25)
        rows.append(
            row(
                "replicas",
                {"network": network(here), "batch size": batch_size, "replicas": n_replicas},
                {name: seconds / CHECKED_UPDATES for name, seconds in times.items()},
                over="fast, stacked",
                sides=SIDES,
            )
        )
    return rows


if __name__ == "__main__":
    main(run)
