"""Cooling walkers and SGD on a rugged landscape, as tasks.

The cost of example i is c_i(x) = U(x)/N + a_i x with a_i = +s for one half of the examples and -s for the other, so that the
summed cost is U, F = s^2 N/(N - 1) everywhere, and k_B T = g F/2 exactly, g = eps (N/B - 1). A minibatch drawn without
replacement matters only through how many of its examples have a_i = +s, a hypergeometric number, which is drawn in place of the
indices.

There are two ways to lower g as T falls: decay of the learning rate at the first batch size, or growth of the batch. Batch
sizes are whole numbers; the learning rate then takes what rounding leaves, so that g is EXACTLY the prescribed function of the
equation's time for both.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from ...energies import Rugged
from ...langevin import overdamped
from ...noise import batch_size_for, learning_rate_for, noise_scale
from ...optimizers import sgd
from ..engine.contract import Arrays

N_EXAMPLES = 1000
FIRST_BATCH = 2
TIME_STEP = 0.01
LEARNING_RATE = N_EXAMPLES * TIME_STEP  # eps at the start: one update is the time eps/N
HOT, COLD = 1.5, 0.1
_N_STEPS = 4
_N_RECORDS = 40
_SPREAD = 9.0
PROTOCOLS = {"hot": "held hot", "cold": "held cold", "steps": "dropped in steps", "slow": "lowered slowly"}
DYNAMICS = {"langevin": "Langevin dynamics", "decay": "SGD, learning rate decays", "growth": "SGD, batch grows"}


def temperature_at(protocol: str, fraction: float | np.ndarray) -> np.ndarray:
    """Temperature after a fraction of the time, in [0, 1): one of `PROTOCOLS`."""
    done = np.asarray(fraction)
    if protocol == "slow":
        progress = done
    elif protocol == "steps":  # by equal factors
        return np.asarray(HOT * (COLD / HOT) ** (np.floor(_N_STEPS * done) / (_N_STEPS - 1)))
    else:
        progress = np.full(done.shape, 0.0 if protocol == "hot" else 1.0)
    return np.asarray(HOT + (COLD - HOT) * progress)


def setting_at(dynamics: str, temperature: float, variance: float) -> tuple[float, int]:
    """Learning rate and batch size of an update that has the temperature g variance/2, exactly."""
    g = 2 * temperature / variance
    batch_size = FIRST_BATCH
    if dynamics == "growth":
        batch_size = max(FIRST_BATCH, round(float(batch_size_for(g, LEARNING_RATE, N_EXAMPLES))))
    return float(learning_rate_for(g, batch_size, N_EXAMPLES)), batch_size


@dataclass(frozen=True)
class CoolingTask:
    """Cool walkers that start spread evenly over [-9, 9], and record their energies.

    Parameters
    ----------
    dynamics : str
        One of `DYNAMICS`.
    protocol : str
        One of `PROTOCOLS`.
    duration : float
        Time of the equation.
    n_walkers : int
        Independent walkers.
    seed : int
        Of the starts and the noise.
    landscape : Rugged
        U; one dimension is used.
    """

    dynamics: str
    protocol: str
    duration: float = 100.0
    n_walkers: int = 1000
    seed: int = 0
    landscape: Rugged = field(default_factory=lambda: Rugged(0.1, (0.8, 0.3), (3.0, 1.1)))

    @property
    def cost(self) -> float:
        """Rough cost, in seconds."""
        longer = 1.0
        if self.dynamics == "decay":
            fractions = (np.arange(100) + 0.5) / 100
            longer = float(np.mean(HOT / temperature_at(self.protocol, fractions)))
        noise = 1e-8 if self.dynamics == "langevin" else 1e-7
        return self.duration / TIME_STEP * longer * (4e-5 + self.n_walkers * (6e-8 + noise))

    def run(self) -> Arrays:
        """Return the record times, the walkers' energies (n_records, n_walkers), and the updates and epochs done."""
        which = list(DYNAMICS).index(self.dynamics), list(PROTOCOLS).index(self.protocol), round(1000 * self.duration)
        rng = np.random.default_rng((self.seed, *which))  # independent walkers in every run, so that errors add
        x = rng.uniform(-_SPREAD, _SPREAD, (self.n_walkers, 1))
        return self._langevin(x, rng) if self.dynamics == "langevin" else self._sgd(x, rng)

    def _langevin(self, x: np.ndarray, rng: np.random.Generator) -> Arrays:
        n_steps = round(self.duration / TIME_STEP)
        temperatures = temperature_at(self.protocol, np.arange(n_steps) / n_steps)
        landscape, every = self.landscape, max(1, n_steps // _N_RECORDS)
        path = overdamped(
            landscape.gradient, x, step_size=TIME_STEP, n_steps=n_steps, temperature=temperatures, rng=rng, record_every=every
        )
        energies = np.array([landscape.energy(walkers) for walkers in path.x])
        return {"time": path.time, "energy": energies, "n_updates": np.array(n_steps), "n_epochs": np.array(0.0)}

    def _sgd(self, x: np.ndarray, rng: np.random.Generator) -> Arrays:
        # F has the divisor N - 1 that belongs to batches drawn without replacement.
        s = slope_size()
        variance = s**2 * N_EXAMPLES / (N_EXAMPLES - 1)
        half = N_EXAMPLES // 2
        optimizer = sgd()
        state = optimizer.init(x)
        time, n_updates, n_epochs, temperature = 0.0, 0, 0.0, HOT
        learning_rate, batch_size = setting_at(self.dynamics, temperature, variance)
        times, energies = [0.0], [self.landscape.energy(x)]
        while time < self.duration * (1 - 1e-9):
            now = float(temperature_at(self.protocol, time / self.duration))
            if now != temperature:
                temperature = now
                learning_rate, batch_size = setting_at(self.dynamics, temperature, variance)
            n_right = rng.hypergeometric(half, half, batch_size, size=x.shape)
            gradient = self.landscape.gradient(x) / N_EXAMPLES + s * (2 * n_right / batch_size - 1)
            step, state = optimizer.update(gradient, state, learning_rate)
            x = x + step
            time, n_updates, n_epochs = time + learning_rate / N_EXAMPLES, n_updates + 1, n_epochs + batch_size / N_EXAMPLES
            if time >= len(times) * self.duration / _N_RECORDS * (1 - 1e-9):
                times.append(time)
                energies.append(self.landscape.energy(x))
        counts = {"n_updates": np.array(n_updates), "n_epochs": np.array(n_epochs)}
        return {"time": np.array(times), "energy": np.array(energies), **counts}


def slope_size() -> float:
    """Size s of the examples' slopes: with it the first learning rate and batch size have the temperature `HOT`."""
    g = float(noise_scale(LEARNING_RATE, FIRST_BATCH, N_EXAMPLES))
    return float(np.sqrt(2 * HOT / g * (N_EXAMPLES - 1) / N_EXAMPLES))
