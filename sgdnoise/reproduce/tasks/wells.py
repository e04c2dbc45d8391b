"""Walkers and SGD in a landscape with a wide and a narrow minimum, as tasks.

The landscape is `DoubleWell` with the narrow minimum the deeper one. SGD gets it as a cost summed over N examples::

    c_i(x) = U(x)/N + a_i x,    sum_i a_i = 0,    sum_i c_i(x) = U(x)

so that every example's gradient is U'(x)/N + a_i, their variance F (divisor N - 1) is that of the a_i wherever x is, and theory
makes one update the time step eps/N of overdamped dynamics in U at the temperature g F/2.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from math import ceil
from typing import Any

import numpy as np

from ...boltzmann import mean_passage_time
from ...energies import DoubleWell
from ...langevin import overdamped
from ...noise import noise_scale, temperature
from ...optimizers import sgd
from ...sampling import draw
from ..engine.contract import Arrays, stream

WELL = DoubleWell(tilt=-0.6)
"""The narrow minimum is the deeper one, by 0.6 where the barrier is about 1."""

STEP_SIZE = 0.01
"""Of the walkers; and eps/N of SGD."""

_SETTLE, _MEASURE = 6, 14  # in relaxation times: what is left of the start is exp(-6) = 0.25%, or half of it from half and half


@lru_cache(maxsize=100)
def passage_time(well: str, temperature: float) -> float:
    """Exact mean time from the bottom of one well, "wide" or "narrow", to that of the other."""
    wide, narrow = WELL.minima
    low, high = WELL.interval(temperature)
    begin, target, wall = (wide, narrow, low) if well == "wide" else (narrow, wide, high)
    return mean_passage_time(WELL.energy, begin, target, wall, temperature)


def relaxation_time(temperature: float) -> float:
    """Time in which the wells' occupations forget, 1/(rate there + rate back); at least 2, for the motion inside a well."""
    return max(2.0, 1 / (1 / passage_time("wide", temperature) + 1 / passage_time("narrow", temperature)))


@lru_cache(maxsize=100)
def discrete_occupation(temperature: float, step_size: float, n_points: int = 1200) -> float:
    """Probability of the wide side at rest for Euler-Maruyama's steps, which no longer is Boltzmann's.

    The law at rest is the fixed point of one step's transition density, on a grid.
    """
    low, high = WELL.interval(temperature)
    x = np.linspace(low, high, n_points)
    drifted = x - step_size * WELL.gradient(x[:, None])[:, 0]
    transition = np.exp(-((x[:, None] - drifted) ** 2) / (4 * temperature * step_size))
    transition /= transition.sum(axis=0)
    equations = transition - np.eye(n_points)
    equations[-1] = 1.0  # one equation follows from the others; in its place, that the probabilities sum to 1
    law = np.linalg.solve(equations, np.eye(n_points)[-1])
    return float(np.interp(WELL.top, x + (x[1] - x[0]) / 2, np.cumsum(law)))  # each point stands for the cell around it


def _walk(x: np.ndarray, n_steps: int, every: int, temperature: float, rng: np.random.Generator) -> np.ndarray:
    """Positions of walkers that start at x, (n_walkers,), after every so many steps, (n_steps // every, n_walkers)."""
    setting: Any = {"step_size": STEP_SIZE, "temperature": temperature, "scheme": "leimkuhler-matthews", "rng": rng}
    path = overdamped(WELL.gradient, x[:, None], n_steps=n_steps, record_every=every, **setting)
    return path.x[1:, :, 0]


@dataclass(frozen=True)
class OccupationTask:
    """Walkers in the two wells, every other one started in the narrow well, until they have forgotten where.

    Parameters
    ----------
    temperature : float
        k_B T.
    n_walkers : int
        Independent walkers, an even number.
    seed : int
        Of the noise.
    """

    temperature: float
    n_walkers: int = 1000
    seed: int = 0

    @property
    def cost(self) -> float:
        """Rough cost, in seconds."""
        return (_SETTLE + _MEASURE) * relaxation_time(self.temperature) / STEP_SIZE * (1e-5 + 1.2e-8 * self.n_walkers)

    def run(self) -> Arrays:
        """Return, for each walker, the share of the time after settling that it spends on the wide side; and its start.

        And as a control the same share before it has settled, in the first tenth of a relaxation time.
        """
        per_record = ceil(relaxation_time(self.temperature) / 20 / STEP_SIZE)
        x = np.tile(np.array(WELL.minima, np.float32), self.n_walkers // 2)
        n_steps = 20 * (_SETTLE + _MEASURE) * per_record
        wide = _walk(x, n_steps, per_record, self.temperature, stream(self)) < WELL.top
        settled = wide[20 * _SETTLE :].mean(axis=0)
        return {"wide": settled, "wide_at_first": wide[:2].mean(axis=0), "began_wide": x < WELL.top}


@dataclass(frozen=True)
class EscapeTask:
    """Walkers that start at the bottom of a well, until six in ten have reached the bottom of the other.

    Parameters
    ----------
    well : {"wide", "narrow"}
        Where they start.
    temperature : float
        k_B T, well below the barrier.
    n_walkers : int
        Independent walkers.
    seed : int
        Of the noise.
    """

    well: str
    temperature: float
    n_walkers: int = 500
    seed: int = 0

    @property
    def cost(self) -> float:
        """Rough cost, in seconds."""
        return passage_time(self.well, self.temperature) / STEP_SIZE * (1e-5 + 0.8e-8 * self.n_walkers)

    def run(self) -> Arrays:
        """Return for each walker the time that it spent before its escape, or until the run stopped, and whether it escaped.

        Settled in its well a walker escapes at a constant rate, so that the time at risk over the number of escapes estimates
        the mean time, also from a run that stops before all are out. The first 2 units of time, to settle in, do not count.
        """
        wide, narrow = WELL.minima
        leftwards = self.well == "narrow"
        every, stretch, rng = 10, 500, stream(self)
        x = np.full(self.n_walkers, narrow if leftwards else wide, np.float32)
        x = _walk(x, 200, 200, self.temperature, rng)[-1]
        at_risk, inside = np.zeros(self.n_walkers), np.arange(self.n_walkers)
        while len(inside) > 0.4 * self.n_walkers:
            path = _walk(x, stretch, every, self.temperature, rng)
            there = path <= wide if leftwards else path >= narrow
            escaped = there.any(axis=0)
            at_risk[inside] += np.where(escaped, 1 + there.argmax(axis=0), stretch // every) * every * STEP_SIZE
            x, inside = path[-1, ~escaped], inside[~escaped]
        return {"at_risk": at_risk, "escaped": np.isin(np.arange(self.n_walkers), inside, invert=True)}


@dataclass(frozen=True)
class SgdTask:
    """SGD in the two wells, many chains at once, every other group of them started in the narrow well.

    Parameters
    ----------
    batch_size : int
        B; minibatches are drawn without replacement.
    n_groups : int
        Independent groups of N // B chains. Each update deals out one random permutation of the examples to the chains of a
        group: every chain gets the minibatches that it would draw alone, and those of one group differ.
    n_train : int
        N.
    gradient_variance : float
        F.
    seed : int
        Of the minibatches.
    """

    batch_size: int
    n_groups: int = 200
    n_train: int = 40
    gradient_variance: float = 1.25
    seed: int = 0

    @property
    def learning_rate(self) -> float:
        """The learning rate, of which one update is the time step `STEP_SIZE`."""
        return STEP_SIZE * self.n_train

    @property
    def noise_scale(self) -> float:
        """The papers' g."""
        return float(noise_scale(self.learning_rate, self.batch_size, self.n_train))

    @property
    def temperature(self) -> float:
        """Theory's k_B T = g F/2."""
        return float(temperature(self.noise_scale, self.gradient_variance))

    @property
    def slopes(self) -> np.ndarray:
        """The a_i."""
        a = np.linspace(-1.0, 1.0, self.n_train)
        return np.asarray(a * (self.gradient_variance / a.var(ddof=1)) ** 0.5)

    @property
    def cost(self) -> float:
        """Rough cost, in seconds."""
        n_updates = (_SETTLE + _MEASURE) * relaxation_time(self.temperature) / STEP_SIZE
        return n_updates * (3e-5 + 2e-8 * self.n_groups * self.n_train)

    def run(self) -> Arrays:
        """Return, for each group, the share of the time after settling that its chains are on the wide side; and its start."""
        rng, optimizer = stream(self), sgd()
        n_chains, per_record = self.n_train // self.batch_size, ceil(relaxation_time(self.temperature) / 20 / STEP_SIZE)
        a = self.slopes
        start = np.resize(WELL.minima, self.n_groups)
        x = np.repeat(start[:, None], n_chains, axis=1)
        state, wide = optimizer.init(x), np.zeros(self.n_groups)
        for record in range(20 * (_SETTLE + _MEASURE)):
            for _ in range(per_record):
                dealt = draw(rng, self.n_train, self.batch_size, n_chains, self.n_groups, "reshuffle").swapaxes(0, 1)
                noise = a[dealt].mean(axis=2)
                step, state = optimizer.update(WELL.gradient(x) / self.n_train + noise, state, self.learning_rate)
                x = x + step
            if record >= 20 * _SETTLE:
                wide += (x < WELL.top).mean(axis=1) / (20 * _MEASURE)
        return {"wide": wide, "began_wide": start < WELL.top}
