"""``sgdnoise check``: laws predicted against laws measured, with standard errors.

Three groups: the covariance of minibatch gradients of the real network, for the three samplers; the stationary variance of SGD
on a quadratic, for the samplers, momentum and Nesterov; and the effective temperature. Predictions are exact: the discrete-time
law at the learning rate used, not its limit. Standard errors come from independent draws or replicas. A law fails at more
than 5 of them: for all rows together the false-positive rate is below 1e-4, and the seeds are fixed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from .. import _checks as check
from ..noise import noise_scale, temperature
from ..sampling import SAMPLINGS
from .engine.contract import Arrays, Task
from .engine.pool import n_cpus, processes
from .engine.results import run_task
from .engine.verdicts import standard_error
from .tasks.minibatch_noise import MinibatchNoiseTask, StationaryTask

Z_MAX = 5.0
_ROUNDING = 1e-9  # of the prediction at B = 1: where a law predicts 0, rounding is what remains


@dataclass(frozen=True)
class Measurement:
    """A law's prediction, and what was measured.

    Parameters
    ----------
    law : str
        What was measured.
    setting : str
        For which sampler and settings.
    predicted, measured, error : float
        The law's value, the measured one, and its standard error.
    rounding : float
        Absolute difference that floating point explains.
    """

    law: str
    setting: str
    predicted: float
    measured: float
    error: float
    rounding: float = 0.0

    @property
    def z(self) -> float:
        """Difference in standard errors, after rounding."""
        difference = abs(self.measured - self.predicted)
        if difference <= self.rounding:
            return 0.0
        return float(np.copysign(difference / self.error if self.error else np.inf, self.measured - self.predicted))

    @property
    def holds(self) -> bool:
        """Whether the law is within `Z_MAX` standard errors."""
        return abs(self.z) <= Z_MAX

    def __str__(self) -> str:
        """One line of the table."""
        word = "" if self.holds else "  FAILS"
        values = f"{self.predicted:>11.4g}{self.measured:>11.4g} +- {self.error:<9.2g}{self.z:>6.1f}"
        return f"{self.law:38}{self.setting:45}{values}{word}"


HEADER = f"{'law':38}{'setting':45}{'predicted':>11}{'measured':>11}    {'error':9}{'z':>6}"


Plan = Iterator[tuple[Task, Callable[[Arrays], list[Measurement]]]]
"""Tasks, and what their results say."""


def measure(jobs: int | None = None) -> Iterator[Measurement]:
    """Measure all laws.

    Parameters
    ----------
    jobs : int, optional
        Number of processes; default: the number of CPUs this process may use.

    Yields
    ------
    Measurement
        One after another, in the same order and with the same numbers whatever `jobs` is.
    """
    plan = [*_minibatch_laws(), *_stationary_laws(), *_temperature_law()]
    with processes(n_cpus() if jobs is None else check.integer("jobs", jobs)) as executor:
        futures = [executor.submit(run_task, task) for task, _ in plan]
        for (_, interpret), future in zip(plan, futures, strict=True):
            yield from interpret(future.result().arrays)


def _minibatch_laws() -> Plan:
    """Covariance of the real network's minibatch gradients: its trace, along random directions, and between batches."""
    laws = {"trace": "tr Cov of minibatch gradients", "projected": "Var along 20 random directions"}
    for sampling in SAMPLINGS:
        for batch_size in (1, 10, 100, 250, 500):
            task = MinibatchNoiseTask(sampling, batch_size)

            def interpret(result: Arrays, task: MinibatchNoiseTask = task) -> list[Measurement]:
                n, b = task.n_train, task.batch_size
                setting = f"{task.sampling}, B={b}, N={n}"
                measured = []
                for key, law in laws.items():
                    variance = float(result[f"S_{key}"])
                    predicted, rounding = task.predicted(variance), _ROUNDING * variance
                    measured.append(_measurement(law, setting, predicted, result[key], rounding))
                if b == 100:
                    between = float(-result["S_trace"] / n) if task.sampling == "reshuffle" else 0.0
                    measured.append(_measurement("tr Cov of two batches of an epoch", setting, between, result["between"]))
                return measured

            yield task, interpret


def _stationary_laws() -> Plan:
    """Variance of SGD at rest on a quadratic."""
    tasks = [StationaryTask(sampling, learning_rate=0.1) for sampling in SAMPLINGS]
    tasks += [StationaryTask("with_replacement", 0.02, momentum=0.9, nesterov=nesterov) for nesterov in (False, True)]
    for task in tasks:

        def interpret(result: Arrays, task: StationaryTask = task) -> list[Measurement]:
            kind = f", m={task.momentum:g}" if task.momentum else ""
            setting = f"{task.sampling}{kind}{', Nesterov' if task.nesterov else ''}, eps h={task.learning_rate:g}"
            return [_measurement("stationary Var(w) on a quadratic", setting, task.predicted(), result["squares"])]

        yield task, interpret


def _temperature_law() -> Plan:
    """Effective temperature N h Var(w) of SGD, C being the summed cost, against k_B T = g F/2 and the exact step correction."""
    task = StationaryTask("without_replacement", learning_rate=0.1, batch_size=20)
    g = noise_scale(task.learning_rate, task.batch_size, task.n_train)
    exact = temperature(g, 1.0) / (1 - task.learning_rate / 2)
    law, setting = "temperature (g F/2)/(1 - eps h/2)", f"without_replacement, g={g:.3g}"
    yield task, lambda result: [_measurement(law, setting, exact, task.n_train * result["squares"])]


def _measurement(law: str, setting: str, predicted: float, sample: np.ndarray, rounding: float = 0.0) -> Measurement:
    return Measurement(law, setting, float(predicted), float(sample.mean()), float(standard_error(sample)), rounding)
