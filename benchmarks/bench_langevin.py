"""One step of Langevin dynamics in the double well, two dimensions, one core: ``python benchmarks/bench_langevin.py``.

First in float32, 100 to a million walkers: Euler-Maruyama with each kind of increments, the same step in PyTorch and JAX, and
what bounds it (random numbers alone, gradient alone, reading and writing the walkers once). Then each scheme in float64, the
default, beside its random numbers and gradients.

Before anything is timed, all sides must go the same way when they are given the same increments, and with increments of their
own they must spread alike.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from itertools import count
from typing import Any

import numpy as np
from timing import DisagreementError, check_agreement, installed, is_peer, main, medians, row

from sgdnoise import langevin
from sgdnoise.energies import DoubleWell
from sgdnoise.normals import INCREMENTS, filler

WELL = DoubleWell()
STEP_SIZE, TEMPERATURE = 0.01, 0.3
AMPLITUDE = math.sqrt(2 * TEMPERATURE * STEP_SIZE)
WALKERS = (100, 1_000, 10_000, 100_000, 1_000_000)
SCHEMES = (*langevin.SCHEMES, "baoab")

Steps = Callable[[int], np.ndarray]


@dataclass(frozen=True)
class Side:
    """One way to take steps.

    Parameters
    ----------
    free : callable
        Takes a number of steps from the start with random numbers of its own; returns the walkers.
    given : callable
        Takes one step for each row of increments of shape (n_steps, n_walkers, 2); returns the walkers.
    """

    free: Steps
    given: Callable[[np.ndarray], np.ndarray]


def start(n_walkers: int) -> np.ndarray:
    """Walkers at the start."""
    return np.random.default_rng(0).standard_normal((n_walkers, 2)).astype(np.float32)


def numpy_side(increments: str, x0: np.ndarray) -> Side:
    """Take steps by `langevin.overdamped`."""
    rng = np.random.default_rng(1)

    def steps(n_steps: int, **source: Any) -> np.ndarray:
        settings = {"step_size": STEP_SIZE, "temperature": TEMPERATURE, "n_steps": n_steps, "record_every": n_steps}
        return langevin.overdamped(WELL.gradient, x0, **settings, **source).x[-1]

    return Side(
        lambda n_steps: steps(n_steps, increments=increments, rng=rng),
        lambda noise: steps(len(noise), noise=noise),
    )


def slope(x: Any, sqrt: Callable[[Any], Any]) -> Any:
    """The gradient of `WELL`, which has no tilt, as an expression."""
    root = sqrt(1 + x * x)
    s = x + WELL.skew * (root - 1)
    return (s * s - 1) * (4 * WELL.barrier * s) * (1 + WELL.skew * x / root)


def torch_eager(x0: np.ndarray) -> Side:
    """Take steps by PyTorch, in place where it can."""
    import torch

    torch.set_num_threads(1)
    torch.manual_seed(1)

    @torch.no_grad()
    def steps(increments: Any) -> np.ndarray:
        x = torch.tensor(x0)
        for xi in increments:
            x.sub_(slope(x, torch.sqrt), alpha=STEP_SIZE)
            x.add_(xi, alpha=AMPLITUDE)
        return x.numpy()

    return Side(
        lambda n_steps: steps(torch.randn(x0.shape) for _ in range(n_steps)),
        lambda noise: steps(torch.from_numpy(noise)),
    )


def _jax_step(x: Any, xi: Any) -> Any:
    import jax.numpy as jnp

    return x - STEP_SIZE * slope(x, jnp.sqrt) + AMPLITUDE * xi


def jax_step(x0: np.ndarray) -> Side:
    """Take steps by JAX, one compiled step after the other."""
    import jax

    @jax.jit
    def random_step(x: Any, key: Any) -> Any:
        key, here = jax.random.split(key)
        return _jax_step(x, jax.random.normal(here, x0.shape)), key

    given_step, keys = jax.jit(_jax_step), map(jax.random.key, count(1))

    def free(n_steps: int) -> np.ndarray:
        x, key = jax.numpy.asarray(x0), next(keys)
        for _ in range(n_steps):
            x, key = random_step(x, key)
        return np.asarray(x)

    def given(noise: np.ndarray) -> np.ndarray:
        x = jax.numpy.asarray(x0)
        for xi in noise:
            x = given_step(x, xi)
        return np.asarray(x)

    return Side(free, given)


def jax_scan(x0: np.ndarray) -> Side:
    """Take steps by JAX, with the loop over the steps compiled."""
    import jax

    keys = map(jax.random.key, count(1))

    @partial(jax.jit, static_argnums=2)
    def free(x: Any, key: Any, n_steps: int) -> Any:
        def body(_: Any, carry: Any) -> Any:
            x, key = carry
            key, here = jax.random.split(key)
            return _jax_step(x, jax.random.normal(here, x0.shape)), key

        return jax.lax.fori_loop(0, n_steps, body, (x, key))[0]

    @jax.jit
    def given(x: Any, noise: Any) -> Any:
        return jax.lax.scan(lambda x, xi: (_jax_step(x, xi), None), x, noise)[0]

    return Side(lambda n_steps: np.asarray(free(x0, next(keys), n_steps)), lambda noise: np.asarray(given(x0, noise)))


SIDES: dict[str, Callable[[np.ndarray], Side]] = {
    **{increments: partial(numpy_side, increments) for increments in INCREMENTS},
    "torch eager": torch_eager,
    "jax jitted step": jax_step,
    "jax scan": jax_scan,
}


def _repeated(function: Callable[[], object], n_steps: int) -> np.ndarray:
    for _ in range(n_steps):
        function()
    return np.empty(0)


def limits(x0: np.ndarray) -> dict[str, Steps]:
    """What a step does, each thing alone."""
    out = np.empty_like(x0)
    alone: dict[str, Callable[[], object]] = {
        f"{increments} alone": partial(filler(increments, 1), out) for increments in INCREMENTS
    }
    alone["gradient alone"] = partial(WELL.gradient, x0)
    alone["walkers read and written once"] = partial(np.negative, out, out=out)
    return {name: partial(_repeated, function) for name, function in alone.items()}


PEERS = tuple(name for name in SIDES if is_peer(name))
LIMITS = ("gradient alone", "walkers read and written once")


def check(sides: Mapping[str, Callable[[np.ndarray], Side]]) -> None:
    """Raise `DisagreementError` unless all sides take the same steps, and spread alike on random numbers of their own.

    Alike: the mean energy after 100 steps is that of float64 normals up to 6 standard errors.
    """
    x0 = start(10_000)
    made = {name: make(x0) for name, make in sides.items()}
    noise = np.random.default_rng(2).standard_normal((20, *x0.shape), dtype=np.float32)
    check_agreement(x0, {name: side.given(noise) for name, side in made.items()}, reference="normal")
    exact = WELL.energy(numpy_side("normal", x0.astype(np.float64)).free(100))
    for name, side in made.items():
        energy = WELL.energy(side.free(100).astype(np.float64))
        error = math.sqrt((energy.var() + exact.var()) / len(x0))
        if not abs(energy.mean() - exact.mean()) < 6 * error:
            raise DisagreementError(f"{name} has a mean energy of {energy.mean():.4f}, not {exact.mean():.4f} +- {error:.4f}")


class Step:
    """Some steps by one side or by one limit, in the shape that asv reads."""

    params = (WALKERS, (*SIDES, *limits(start(1))))
    param_names = ("n_walkers", "side")

    def setup(self, n_walkers: int, side: str) -> None:
        """Make the side."""
        if not installed(side):
            raise NotImplementedError  # asv skips it
        x0 = start(n_walkers)
        self.steps = SIDES[side](x0).free if side in SIDES else limits(x0)[side]

    def time_steps(self, n_walkers: int, side: str) -> None:
        """Take the steps."""
        self.steps(20)


class Scheme:
    """Some float64 steps of one scheme, in the shape that asv reads."""

    params = SCHEMES
    param_names = ("scheme",)

    def setup(self, scheme: str, n_walkers: int = 10_000) -> None:
        """Make the walkers."""
        self.x0 = start(n_walkers).astype(np.float64)
        self.integrate: Callable[..., langevin.Trajectory] = langevin.underdamped if scheme == "baoab" else langevin.overdamped
        self.settings = {"step_size": STEP_SIZE, "temperature": TEMPERATURE, "rng": 1}
        if scheme != "baoab":
            self.settings["scheme"] = scheme

    def time_steps(self, scheme: str, n_steps: int = 20) -> None:
        """Integrate."""
        self.integrate(WELL.gradient, self.x0, n_steps=n_steps, record_every=n_steps, **self.settings)

    def time_parts(self, scheme: str, n_steps: int = 20) -> None:
        """Random numbers and gradients alone, as many."""
        draw, out = filler("normal", 1), np.empty_like(self.x0)
        for _ in range(n_steps):
            WELL.gradient(self.x0)
            draw(out)


def run(smallest: bool = False) -> list[dict[str, Any]]:
    """Time one step of each side; `smallest` is for tests: 100 walkers, without peers."""
    sides = {name: make for name, make in SIDES.items() if installed(name) and not (smallest and is_peer(name))}
    check(sides)
    rows = []
    for n_walkers in WALKERS[:1] if smallest else WALKERS:
        x0, n_steps = start(n_walkers), 20 if smallest else max(20, min(1000, 2_000_000 // n_walkers))
        steps = {name: make(x0).free for name, make in sides.items()} | limits(x0)
        functions = {name: partial(function, n_steps) for name, function in steps.items()}
        seconds = medians(functions, repeats=1 if smallest else 7 if n_walkers > 100_000 else 25)
        times = {name: value / n_steps for name, value in seconds.items()}
        for increments in INCREMENTS:
            setting = {"scheme": SCHEMES[0], "dtype": "float32", "increments": increments, "walkers": n_walkers}
            own = {"step": times[increments], "increments alone": times[f"{increments} alone"]}
            more = {"nanoseconds_per_walker": {"step": round(1e9 * own["step"] / n_walkers, 2)}}
            rows.append(row("langevin", setting, times | own, over="step", sides=("step", *PEERS, *own, *LIMITS), **more))
    for scheme in SCHEMES:
        bench, n_walkers, n_steps = Scheme(), 100 if smallest else 10_000, 20 if smallest else 100
        bench.setup(scheme, n_walkers)
        functions = {"step": partial(bench.time_steps, scheme, n_steps), "parts": partial(bench.time_parts, scheme, n_steps)}
        times = {name: value / n_steps for name, value in medians(functions, repeats=1 if smallest else 15).items()}
        setting = {"scheme": scheme, "dtype": "float64", "increments": "normal", "walkers": n_walkers}
        rows.append(row("langevin", setting, times, over="step", sides=times))
    return rows


if __name__ == "__main__":
    main(run)
