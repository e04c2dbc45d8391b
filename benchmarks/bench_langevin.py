"""One step of each integrator over its random numbers plus its gradient alone: ``python benchmarks/bench_langevin.py``.

1e4 walkers in 2 dimensions in the double well, float64, one thread.
"""

from collections.abc import Callable
from functools import partial

import numpy as np
from timing import medians

from sgdnoise import langevin
from sgdnoise.energies import DoubleWell


class Step:
    """A step of one scheme, in the shape that asv reads."""

    params = ("euler-maruyama", "leimkuhler-matthews", "baoab")
    param_names = ("scheme",)
    n_steps = 200

    def setup(self, scheme: str) -> None:
        """Make the walkers."""
        self.gradient = DoubleWell().gradient
        self.x0 = np.random.default_rng(0).standard_normal((10_000, 2))
        self.integrate: Callable[..., langevin.Trajectory] = langevin.underdamped if scheme == "baoab" else langevin.overdamped
        self.settings = {"step_size": 0.01, "temperature": 0.3, "rng": 0}
        if scheme != "baoab":
            self.settings["scheme"] = scheme

    def time_step(self, scheme: str) -> None:
        """Integrate."""
        self.integrate(self.gradient, self.x0, n_steps=self.n_steps, record_every=self.n_steps, **self.settings)

    def time_parts(self, scheme: str) -> None:
        """Random numbers and gradients alone, as many."""
        rng, noise = np.random.default_rng(0), np.empty_like(self.x0)
        for _ in range(self.n_steps):
            self.gradient(self.x0)
            rng.standard_normal(out=noise)


if __name__ == "__main__":
    for scheme in Step.params:
        bench = Step()
        bench.setup(scheme)
        times = medians({"step": partial(bench.time_step, scheme), "parts": partial(bench.time_parts, scheme)}, repeats=15)
        step, parts = (times[name] / bench.n_steps for name in ("step", "parts"))
        print(f"{scheme:20} {1e6 * step:6.0f} us a step, {1e6 * parts:6.0f} us its parts: {step / parts:.2f}")
