"""Annealing on a rugged landscape: how the temperature falls decides how low the walkers end.

Walkers start spread over the minima of a landscape U, and come to the same last temperature in one of four ways. Held hot they
never settle (this one alone keeps the first temperature), held cold they stay in the minimum next to where they began; lowered
in steps or slowly, they find the low ones.

SGD does the same. The cost of example i is c_i(x) = U(x)/N + a_i x with a_i = +s for one half of the examples and -s for the
other, so that the summed cost is U, F = s^2 N/(N - 1) everywhere, and k_B T = g F/2 exactly, g = eps (N/B - 1). A minibatch
drawn without replacement matters only through how many of its examples have a_i = +s, a hypergeometric number; that number is
drawn in place of the indices.

Two ways to lower g as T falls: decay of the learning rate at the first batch size, or growth of the batch. Batch sizes are
whole numbers; the learning rate then takes what rounding leaves, so that g is EXACTLY the prescribed function of the equation's
time for both. That time, eps/N an update, is what is kept equal, and with it very nearly the number of epochs, because an epoch
lasts the time eps/B = g/(N - B) at equal g. Decay pays with updates, as it takes shorter and shorter steps of that time. Growth
goes on with long ones: the largest curvature of U times eps/N is 0.13, and 0.16 where 2.5 examples are rounded to 3, which
makes the thermal part of its energies at most 9% too large. Batches of two kick by whole steps of eps s, a noise that is not
Gaussian; that is part of the comparison.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from ..boltzmann import boltzmann_density
from ..energies import Rugged
from ..langevin import overdamped
from ..noise import batch_size_for, learning_rate_for, noise_scale
from ..optimizers import sgd
from .style import figure_style, standard_error
from .tasks import Arrays, Compute, Scale
from .verdicts import Verdict, bootstrap_interval

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

TITLE = "Annealing: where slow cooling ends, by a smaller learning rate and by a larger batch"

N_TRAIN = 1000
FIRST_BATCH = 2
TIME_STEP = 0.01
LEARNING_RATE = N_TRAIN * TIME_STEP  # eps at the start: one update is the time eps/N
HOT, COLD = 1.5, 0.1
_N_STEPS = 4
_N_RECORDS = 40
_SPREAD = 9.0
PROTOCOLS = {"hot": "held hot", "cold": "held cold", "steps": "dropped in steps", "slow": "lowered slowly"}
DYNAMICS = {"langevin": "Langevin dynamics", "decay": "SGD, learning rate decays", "growth": "SGD, batch grows"}
_COLOURS = {"hot": "#D55E00", "cold": "#56B4E9", "steps": "#CC79A7", "slow": "#000000"}
_MARKERS = {"langevin": "x", "decay": "s", "growth": "o"}


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
        batch_size = max(FIRST_BATCH, round(float(batch_size_for(g, LEARNING_RATE, N_TRAIN))))
    return float(learning_rate_for(g, batch_size, N_TRAIN)), batch_size


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
        path = overdamped(
            self.landscape.gradient,
            x,
            step_size=TIME_STEP,
            n_steps=n_steps,
            temperature=temperatures,
            rng=rng,
            record_every=max(1, n_steps // _N_RECORDS),
        )
        energies = np.array([self.landscape.energy(walkers) for walkers in path.x])
        return {"time": path.time, "energy": energies, "n_updates": np.array(n_steps), "n_epochs": np.array(0.0)}

    def _sgd(self, x: np.ndarray, rng: np.random.Generator) -> Arrays:
        # F has the divisor N - 1 that belongs to batches drawn without replacement.
        s = slope()
        variance = s**2 * N_TRAIN / (N_TRAIN - 1)
        half = N_TRAIN // 2
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
            gradient = self.landscape.gradient(x) / N_TRAIN + s * (2 * n_right / batch_size - 1)
            step, state = optimizer.update(gradient, state, learning_rate)
            x = x + step
            time, n_updates, n_epochs = time + learning_rate / N_TRAIN, n_updates + 1, n_epochs + batch_size / N_TRAIN
            if time >= len(times) * self.duration / _N_RECORDS * (1 - 1e-9):
                times.append(time)
                energies.append(self.landscape.energy(x))
        return {
            "time": np.array(times),
            "energy": np.array(energies),
            "n_updates": np.array(n_updates),
            "n_epochs": np.array(n_epochs),
        }


def slope() -> float:
    """Size s of the examples' slopes: with it the first learning rate and batch size have the temperature `HOT`."""
    g = float(noise_scale(LEARNING_RATE, FIRST_BATCH, N_TRAIN))
    return float(np.sqrt(2 * HOT / g * (N_TRAIN - 1) / N_TRAIN))


def boltzmann_energy(landscape: Rugged, temperature: float) -> float:
    """Mean energy of Boltzmann's law in one dimension, by quadrature."""
    x, spacing = np.linspace(-40, 40, 16001, retstep=True)
    density = boltzmann_density(landscape.energy, temperature, [x])
    return float((density * landscape.energy(x[:, None])).sum() * spacing)


def run(scale: Scale, compute: Compute) -> dict[str, Any]:
    """Cool by each protocol under each dynamics, and by two of them in other times."""
    quick = scale.n_seeds == 1
    duration, n_walkers = (25.0, 200) if quick else (100.0, 1000)
    durations = [duration * factor for factor in ((0.5, 1, 2) if quick else (0.125, 0.25, 0.5, 1, 2, 4))]
    tasks = [CoolingTask(dynamics, protocol, duration, n_walkers) for dynamics in DYNAMICS for protocol in PROTOCOLS]
    others = [
        CoolingTask("langevin", protocol, other, n_walkers)
        for protocol in ("cold", "steps", "slow")
        for other in durations
        if other != duration
    ]
    results = compute([*tasks, *others])
    curves = [
        {
            "dynamics": task.dynamics,
            "protocol": task.protocol,
            "duration": task.duration,
            "n_updates": int(result["n_updates"]),
            "n_epochs": float(result["n_epochs"]),
            "time": result["time"].tolist(),
            "mean": result["energy"].mean(axis=1).tolist(),
            "error": standard_error(result["energy"].T).tolist(),
        }
        for task, result in zip([*tasks, *others], results, strict=True)
    ]
    floor = boltzmann_energy(tasks[0].landscape, COLD)
    ends = {(task.dynamics, task.protocol): result["energy"][-1] for task, result in zip(tasks, results, strict=False)}
    return {
        "duration": duration,
        "n_walkers": n_walkers,
        "boltzmann": {"hot": boltzmann_energy(tasks[0].landscape, HOT), "cold": floor},
        "curves": curves,
        "verdicts": _verdicts([curve for curve in curves if curve["duration"] == duration], ends, floor),
    }


def _verdicts(curves: list[dict[str, Any]], ends: dict[tuple[str, str], np.ndarray], floor: float) -> list[Verdict]:
    """Judge the final energies, `ends`, by dynamics and protocol, (n_walkers,) each, and the counts in the curves."""
    updates = {(c["dynamics"], c["protocol"]): c["n_updates"] for c in curves}
    epochs = {(c["dynamics"], c["protocol"]): c["n_epochs"] for c in curves}
    walkers = np.arange(len(next(iter(ends.values()))))
    source = "Smith et al. 2018, simulated annealing"

    def excess(draw: np.ndarray, than: str, of: str = "slow", over: np.ndarray | None = None) -> float:
        """Final energy above the cold Boltzmann energy, slow over another protocol; the largest of the dynamics."""
        over = draw if over is None else over
        return float(np.max([(ends[d, of][draw].mean() - floor) / (ends[d, than][over].mean() - floor) for d in DYNAMICS]))

    def lower_than(than: str, threshold: float) -> Verdict:
        return Verdict(
            claim=f"walkers cooled slowly end lower than walkers {PROTOCOLS[than]}",
            source=source,
            statistic=f"energy above equilibrium, slow over {than}, the largest of three dynamics",
            value=excess(walkers, than),
            threshold=threshold,
            interval=bootstrap_interval(partial(excess, than=than), len(walkers)),
            control=f"walkers {PROTOCOLS[than]}, one half of them over the other",
            control_value=excess(walkers[: len(walkers) // 2], than, than, walkers[len(walkers) // 2 :]),
        )

    def apart(draw: np.ndarray, pairs: tuple[tuple[str, str], ...], protocols: dict[str, str]) -> float:
        """Largest difference of final energies in standard errors, over pairs of dynamics and of protocols."""
        found = []
        for one, other in pairs:
            for a, b in protocols.items():
                first, second = ends[one, a], ends[other, b]
                error = np.hypot(standard_error(first), standard_error(second))
                found.append(abs(first[draw].mean() - second[draw].mean()) / error)
        return float(np.max(found))  # NaN stays NaN, and fails

    def alike(claim: str, *pairs: tuple[str, str]) -> Verdict:
        same = {protocol: protocol for protocol in PROTOCOLS}
        return Verdict(
            claim=claim,
            source=source,
            statistic="largest difference in standard errors, over the protocols",
            value=apart(walkers, pairs, same),
            threshold=4.0,
            interval=bootstrap_interval(partial(apart, pairs=pairs, protocols=same), len(walkers)),
            control="lowered slowly against held cold",
            control_value=apart(walkers, pairs, {"slow": "cold"}),
        )

    def more(protocol: str) -> float:
        return float(updates["growth", protocol] / updates["decay", protocol])

    return [
        lower_than("cold", 0.6),
        lower_than("hot", 0.6),
        lower_than("steps", 0.9),
        alike("decaying the learning rate and growing the batch at equal g end at one mean energy", ("decay", "growth")),
        alike("SGD ends where Langevin dynamics at k_B T = g F/2 ends", ("decay", "langevin"), ("growth", "langevin")),
        Verdict(
            claim="growing the batch takes fewer updates than decaying the learning rate, cooled slowly",
            source=source,
            statistic="updates, growth over decay",
            value=more("slow"),
            threshold=0.5,
            control="without cooling",
            control_value=more("hot"),
        ),
        Verdict(
            claim="and the same number of epochs",
            source=source,
            statistic="|epochs, growth over decay - 1|, the largest of the protocols",
            value=max(abs(epochs["growth", p] / epochs["decay", p] - 1) for p in PROTOCOLS),
            threshold=0.05,
            control="at equal numbers of updates, cooled slowly",
            control_value=abs(epochs["growth", "slow"] / epochs["decay", "slow"] / more("slow") - 1),
        ),
    ]


def rows(result: dict[str, Any]) -> list[list[Any]]:
    """One line per record of a run."""
    head = ["dynamics", "protocol", "duration", "n_updates", "n_epochs"]
    lines: list[list[Any]] = [[*head, "time", "mean_energy", "standard_error"]]
    for c in result["curves"]:
        records = zip(c["time"], c["mean"], c["error"], strict=True)
        lines += [[*(c[name] for name in head), *record] for record in records]
    return lines


def plot(result: dict[str, Any]) -> Figure:
    """Draw the energy against time, the final energy against the time taken, and what decay and growth end with."""
    from matplotlib.figure import Figure

    main = [c for c in result["curves"] if c["duration"] == result["duration"]]
    with figure_style():
        figure = Figure(figsize=(9, 6.6), layout="constrained")
        grid = figure.add_gridspec(2, 2, height_ratios=(1.1, 1))
        _plot_courses(figure.add_subplot(grid[0, 0]), main, result["boltzmann"])
        _plot_durations(figure.add_subplot(grid[0, 1]), result["curves"], result["boltzmann"])
        _plot_ends(figure.add_subplot(grid[1, :]), main, result["boltzmann"])
    return figure


def _floor(axis: Axes, boltzmann: dict[str, float], x: float) -> None:
    axis.axhline(boltzmann["cold"], color="#777777", linestyle="--", linewidth=1)
    axis.text(x, boltzmann["cold"] + 0.03, f"equilibrium at k$_B$T = {COLD:g}", color="#555555", va="bottom")


def _plot_courses(axis: Axes, curves: list[dict[str, Any]], boltzmann: dict[str, float]) -> None:
    for c in (c for c in curves if c["dynamics"] == "langevin"):
        colour = _COLOURS[c["protocol"]]
        time, mean, error = (np.array(c[key]) for key in ("time", "mean", "error"))
        axis.plot(time, mean, color=colour)
        axis.fill_between(time, mean - error, mean + error, color=colour, alpha=0.3, linewidth=0)
        axis.text(
            1.02 * time[-1], mean[-1], PROTOCOLS[c["protocol"]], color=colour, va="top" if c["protocol"] == "slow" else "bottom"
        )
    start = curves[0]["mean"][0]
    axis.set(xlabel="time of the equation", ylabel="mean energy of the walkers", ylim=(0, 1.15 * start))
    end = curves[0]["time"][-1]
    axis.set_xlim(0, 1.42 * end)
    axis.set_xticks(np.linspace(0, end, 6))
    _floor(axis, boltzmann, 0.02 * end)
    axis.set_title(f"(a) Langevin dynamics cooled from k$_B$T = {HOT:g} to {COLD:g}")


def _plot_durations(axis: Axes, curves: list[dict[str, Any]], boltzmann: dict[str, float]) -> None:
    for protocol in ("cold", "steps", "slow"):
        some = sorted(
            (c for c in curves if (c["dynamics"], c["protocol"]) == ("langevin", protocol)), key=lambda c: c["duration"]
        )
        x, mean, error = [c["duration"] for c in some], [c["mean"][-1] for c in some], [c["error"][-1] for c in some]
        axis.errorbar(x, mean, error, color=_COLOURS[protocol], marker="o", markersize=4, label=PROTOCOLS[protocol])
    durations = sorted({c["duration"] for c in curves})
    axis.set(xscale="log", xlabel="time taken", ylabel="final mean energy", ylim=(0, None))
    axis.set_xticks(durations, [f"{duration:g}" for duration in durations])
    axis.set_xticks([], minor=True)
    _floor(axis, boltzmann, durations[0])
    axis.legend(loc="best")
    axis.set_title("(b) Where cooling ends, against the time it takes")


def _plot_ends(axis: Axes, curves: list[dict[str, Any]], boltzmann: dict[str, float]) -> None:
    sgd_colours = {"langevin": "#000000", "decay": "#0072B2", "growth": "#D55E00"}
    for j, (dynamics, label) in enumerate(DYNAMICS.items()):
        ends = {c["protocol"]: c for c in curves if c["dynamics"] == dynamics}
        x = np.arange(len(PROTOCOLS)) + 0.16 * (j - 1)
        mean, error = ([ends[p][key][-1] for p in PROTOCOLS] for key in ("mean", "error"))
        style: dict[str, Any] = {
            "marker": _MARKERS[dynamics],
            "markersize": 6,
            "fillstyle": "none",
            "color": sgd_colours[dynamics],
        }
        axis.errorbar(x, mean, error, linestyle="", capsize=3, label=label, **style)
        if dynamics != "langevin":
            for position, protocol in zip(x, PROTOCOLS, strict=True):
                if protocol != "hot":
                    text = f"{ends[protocol]['n_updates']} updates"
                    y = ends[protocol]["mean"][-1] + (0.12 if dynamics == "decay" else -0.12)
                    align = "bottom" if dynamics == "decay" else "top"
                    axis.text(position, y, text, color=sgd_colours[dynamics], ha="center", va=align)
    axis.set_xticks(np.arange(len(PROTOCOLS)), PROTOCOLS.values())
    axis.set(ylabel="final mean energy", ylim=(-0.1, None), xlim=(-0.5, len(PROTOCOLS) - 0.5))
    _floor(axis, boltzmann, -0.48)
    axis.legend(loc="upper right")
    axis.set_title("(c) At equal g(t), decaying the learning rate and growing the batch end alike; growing takes fewer updates")
