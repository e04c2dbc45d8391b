"""Cooling walkers and SGD: protocols, settings, starts, and the runs against loops written out and exact variances."""

import math
from itertools import product

import numpy as np
import pytest
from scipy import stats

from sgdnoise import minibatch_covariance, noise_scale
from sgdnoise.energies import Rugged
from sgdnoise.reproduce.tasks import cooling
from sgdnoise.reproduce.tasks.cooling import COLD, DYNAMICS, HOT, LEARNING_RATE, N_EXAMPLES, PROTOCOLS, TIME_STEP, CoolingTask

PARABOLA = Rugged(13.0, (0.0, 0.0), (3.0, 1.1))
SLOPE = math.sqrt(2 * 1.5 / (10 * 499) * 0.999)  # 1.5 = g F/2 with g = 10 (1000/2 - 1) and F = s^2 1000/999
SETTINGS = list(product(("langevin", "decay", "growth"), ("hot", "cold", "steps", "slow")))


def energy(x):
    ripples = 0.8 * (1 - np.cos(2 * np.pi * x / 3)) + 0.3 * (1 - np.cos(2 * np.pi * x / 1.1))
    return 0.05 * x**2 + ripples


def force(x):
    return 0.1 * x + 0.8 * 2 * np.pi / 3 * np.sin(2 * np.pi * x / 3) + 0.3 * 2 * np.pi / 1.1 * np.sin(2 * np.pi * x / 1.1)


def test_the_settings():
    assert (N_EXAMPLES, cooling.FIRST_BATCH, TIME_STEP, LEARNING_RATE, HOT, COLD) == (1000, 2, 0.01, 10.0, 1.5, 0.1)
    assert list(product(DYNAMICS, PROTOCOLS)) == SETTINGS
    assert cooling.slope_size() == pytest.approx(SLOPE)


def test_protocols_end_cold_and_begin_hot_except_the_one_that_is_held_cold():
    fractions = np.array([0.0, 0.24, 0.26, 0.51, 0.76, 0.999])
    factor = 15 ** (1 / 3)
    assert cooling.temperature_at("steps", fractions) == pytest.approx([1.5, 1.5, 1.5 / factor, 1.5 / factor**2, 0.1, 0.1])
    assert cooling.temperature_at("slow", fractions) == pytest.approx(1.5 - 1.4 * fractions)
    assert cooling.temperature_at("hot", fractions).tolist() == [1.5] * 6
    assert cooling.temperature_at("cold", fractions) == pytest.approx([0.1] * 6)


@pytest.mark.parametrize("dynamics", ["decay", "growth"])
def test_settings_have_the_prescribed_temperature_exactly(dynamics):
    slopes = np.repeat([SLOPE, -SLOPE], 500)
    for wanted in np.linspace(COLD, HOT, 40):
        rate, b = cooling.setting_at(dynamics, wanted, slopes.var(ddof=1))
        # One update is the time rate/N and spreads by 2 T rate/N; a number of +s among b is hypergeometric.
        spread = rate**2 * (2 * SLOPE / b) ** 2 * stats.hypergeom(1000, 500, b).var()
        assert spread == pytest.approx(2 * wanted * rate / 1000, rel=1e-9)
        assert spread == pytest.approx(rate**2 * minibatch_covariance(slopes.var(ddof=1), b, 1000), rel=1e-9)
        assert wanted == pytest.approx(noise_scale(rate, b, 1000) * slopes.var(ddof=1) / 2)
        # Growth takes the batch next to N/(1 + g/10).
        g = 2 * wanted / slopes.var(ddof=1)
        assert b == (2 if dynamics == "decay" else max(2, round(1000 / (1 + g / 10))))
        assert dynamics == "decay" or 0.75 < rate / 10 < 1.3
    assert cooling.setting_at(dynamics, HOT, slopes.var(ddof=1)) == pytest.approx((10, 2))
    assert cooling.setting_at(dynamics, 2 * HOT, slopes.var(ddof=1)) == pytest.approx((20, 2))  # never fewer than two


@pytest.mark.parametrize(("duration", "seed"), [(0.2, 0), (0.3, 4)])
def test_walkers_start_where_seed_dynamics_protocol_and_duration_say(duration, seed):
    """Evenly over [-9, 9], from a generator that is seeded with all four as whole numbers."""
    for i, (dynamics, protocol) in enumerate(SETTINGS):
        result = CoolingTask(dynamics, protocol, duration, 50, seed).run()
        x = np.random.default_rng((seed, i // 4, i % 4, round(1000 * duration))).uniform(-9, 9, 50)
        np.testing.assert_allclose(result["energy"][0], energy(x))
        assert result["time"][0] == 0


def test_no_two_tasks_share_their_random_numbers():
    tasks = [CoolingTask(dynamics, protocol, 0.1, 3) for dynamics, protocol in SETTINGS]
    tasks += [CoolingTask("langevin", "hot", 0.1, 3, seed=1), CoolingTask("langevin", "hot", 0.2, 3)]
    starts = [tuple(task.run()["energy"][0]) for task in tasks]
    assert len({value for start in starts for value in start}) == 3 * len(tasks)


@pytest.mark.parametrize("protocol", ["steps", "slow"])
def test_langevin_dynamics_written_out(protocol):
    result = CoolingTask("langevin", protocol, 1.0, 5, seed=3).run()
    rng = np.random.default_rng((3, 0, list(PROTOCOLS).index(protocol), 1000))
    x = rng.uniform(-9, 9, 5)
    energies = [energy(x)]
    for step in range(100):
        done = step / 100
        t = 1.5 - 1.4 * done if protocol == "slow" else 1.5 * 15 ** (-(4 * step // 100) / 3)
        x = x - 0.01 * force(x) + math.sqrt(2 * t * 0.01) * rng.standard_normal((5, 1))[:, 0]
        if (step + 1) % 2 == 0:
            energies.append(energy(x))
    np.testing.assert_allclose(result["energy"], energies)
    np.testing.assert_allclose(result["time"], np.arange(0, 101, 2) / 100)
    assert (result["n_updates"], result["n_epochs"]) == (100, 0)


@pytest.mark.parametrize("dynamics", ["decay", "growth"])
@pytest.mark.parametrize("protocol", ["steps", "slow"])
def test_sgd_written_out(dynamics, protocol):
    """Batches are drawn as numbers of examples with +s; the temperature is that of the time at which an update begins."""
    result = CoolingTask(dynamics, protocol, 1.0, 5, seed=3).run()
    rng = np.random.default_rng((3, list(DYNAMICS).index(dynamics), list(PROTOCOLS).index(protocol), 1000))
    x = rng.uniform(-9, 9, 5)
    time, n_updates, n_epochs, times, energies = 0.0, 0, 0.0, [0.0], [energy(x)]
    while time < 1 - 1e-9:
        t = 1.5 - 1.4 * time if protocol == "slow" else 1.5 * 15 ** (-math.floor(4 * time) / 3)
        g = 2 * t / (SLOPE**2 * 1000 / 999)
        b = 2 if dynamics == "decay" else max(2, round(1000 / (1 + g / 10)))
        rate = g / (1000 / b - 1)
        right = rng.hypergeometric(500, 500, b, size=(5, 1))[:, 0]
        x = x - rate * (force(x) / 1000 + (right * SLOPE - (b - right) * SLOPE) / b)
        time, n_updates, n_epochs = time + rate / 1000, n_updates + 1, n_epochs + b / 1000
        if time >= len(times) / 40 - 1e-9:
            times.append(time)
            energies.append(energy(x))
    np.testing.assert_allclose(result["time"], times)
    np.testing.assert_allclose(result["energy"], energies, rtol=1e-6)
    assert (result["n_updates"], result["n_epochs"]) == (n_updates, pytest.approx(n_epochs))


@pytest.mark.parametrize("dynamics", ["langevin", "decay", "growth"])
def test_cooling_task_on_a_parabola_has_the_exact_discrete_variance(dynamics):
    """Held cold, with curvature h = 13: energy h Var/2 = T/(2 - h dt). 5 standard errors; half of T is rejected."""
    result = CoolingTask(dynamics, "cold", 4.0, 4000, landscape=PARABOLA).run()
    g = 2 * COLD / (SLOPE**2 * 1000 / 999)
    rates = {"langevin": 10, "decay": g / 499, "growth": g / (1000 / 29 - 1)}  # B = 29 is next to 1000/(1 + g/10) = 29.15
    energies = result["energy"][-1]
    error = energies.std() / math.sqrt(len(energies))
    assert abs(energies.mean() - COLD / (2 - 13 * rates[dynamics] / 1000)) < 5 * error
    assert abs(energies.mean() - COLD / 2 / (2 - 13 * rates[dynamics] / 1000)) > 5 * error


def test_decay_and_growth_take_the_same_time_and_epochs_and_different_updates():
    decay, growth = (CoolingTask(dynamics, "slow", 5.0, 2).run() for dynamics in ("decay", "growth"))
    for result in (decay, growth):
        assert 5.0 <= result["time"][-1] + 1e-9 < 5.0 + 2 * TIME_STEP
        assert len(result["time"]) == len(result["energy"]) == 41
    assert float(growth["n_epochs"]) == pytest.approx(float(decay["n_epochs"]), rel=0.05)
    # The learning rate follows T down a line: on the average HOT/T = log(HOT/COLD)/(1 - COLD/HOT) times as many updates.
    longer = math.log(15) / (1 - 1 / 15)
    assert int(decay["n_updates"]) == pytest.approx(longer * 500, rel=0.03)
    assert int(growth["n_updates"]) == pytest.approx(500, rel=0.1)


def test_costs():
    """Updates times what one takes: decay makes HOT/T times as many, and a hypergeometric number costs more than a normal one."""
    longer = {"hot": 1, "cold": 15, "steps": (1 + 15 ** (1 / 3) + 15 ** (2 / 3) + 15) / 4, "slow": math.log(15) / (1 - 1 / 15)}
    for dynamics, protocol in SETTINGS:
        noise, factor = (1e-8, 1) if dynamics == "langevin" else (1e-7, longer[protocol] if dynamics == "decay" else 1)
        expected = 2000 * factor * (4e-5 + 300 * (6e-8 + noise))
        assert CoolingTask(dynamics, protocol, 20.0, 300).cost == pytest.approx(expected, rel=1e-3)
