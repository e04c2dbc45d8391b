"""Walkers and SGD in two wells: predictions against other oracles, and tasks against loops written out."""

import math

import numpy as np
import pytest
from scipy.integrate import quad

from sgdnoise.langevin import overdamped
from sgdnoise.reproduce.engine.contract import stream
from sgdnoise.reproduce.tasks.wells import (
    STEP_SIZE,
    WELL,
    EscapeTask,
    OccupationTask,
    SgdTask,
    discrete_occupation,
    passage_time,
    relaxation_time,
)

WIDE, NARROW = WELL.minima


def energy(x):
    return float(WELL.energy(np.array([[x]]))[0])


# Predictions.


@pytest.mark.parametrize("well", ["wide", "narrow"])
def test_passage_times_by_adaptive_quadrature(well):
    temperature, sign = 0.4, 1.0 if well == "wide" else -1.0
    begin, target = sorted((sign * WIDE, sign * NARROW))

    def inner(y):
        return quad(lambda z: np.exp(-energy(sign * z) / temperature), -6.0, y, points=[begin], limit=200)[0]

    expected = quad(lambda y: np.exp(energy(sign * y) / temperature) * inner(y), begin, target)[0] / temperature
    assert passage_time(well, temperature) == pytest.approx(expected, rel=1e-5)


def test_relaxation_time_is_that_of_two_states():
    there, back = passage_time("wide", 0.3), passage_time("narrow", 0.3)
    assert there < back / 2
    assert relaxation_time(0.3) == pytest.approx(there * back / (there + back))
    assert relaxation_time(4.0) == 2.0


def test_occupation_at_a_finite_step():
    """Against Euler-Maruyama itself, at a step large enough to see: 5 standard errors, where Boltzmann's law is off by 8."""
    x0 = np.repeat(WELL.minima, 15_000)[:, None]
    path = overdamped(WELL.gradient, x0, step_size=0.03, n_steps=500, temperature=1.0, rng=0, record_every=500)
    wide = np.mean(path.x[-1] < WELL.top)
    error = (wide * (1 - wide) / 30_000) ** 0.5
    assert abs(wide - discrete_occupation(1.0, 0.03)) < 5 * error
    assert abs(wide - WELL.occupation(1.0)[0]) > 8 * error


@pytest.mark.parametrize("temperature", [0.25, 1.0, 3.0])
def test_occupation_at_a_finite_step_tends_to_boltzmanns_law(temperature):
    boltzmann = WELL.occupation(temperature)[0]
    biases = [discrete_occupation(temperature, step) - boltzmann for step in (0.0025, 0.005, 0.01)]
    assert 0 < biases[2] < 0.015
    assert biases[1] / biases[0] == pytest.approx(2, rel=0.1)
    assert discrete_occupation(temperature, 0.01, 900) == pytest.approx(boltzmann + biases[2], abs=1e-4)


def test_costs():
    """Steps of 20 relaxation times, or of the mean time of an escape, times what one takes."""
    n_steps = 20 * relaxation_time(0.3) / 0.01
    assert OccupationTask(0.3, 500).cost == pytest.approx(n_steps * (1e-5 + 1.2e-8 * 500))
    assert SgdTask(20, 30, gradient_variance=1.5).cost == pytest.approx(n_steps * (3e-5 + 2e-8 * 30 * 40))  # T = 0.3 too
    assert EscapeTask("narrow", 0.2, 70).cost == pytest.approx(passage_time("narrow", 0.2) / 0.01 * (1e-5 + 0.8e-8 * 70))


# Tasks.


def leimkuhler_matthews(x, rng, temperature, n_steps):
    """Positions after each step, from a new first normal number on."""
    old = rng.standard_normal((len(x), 1), dtype=np.float32)[:, 0]
    for _ in range(n_steps):
        new = rng.standard_normal((len(x), 1), dtype=np.float32)[:, 0]
        x = x - 0.01 * WELL.gradient(x) + (2 * temperature * 0.01) ** 0.5 * (old + new) / 2
        old = new
        yield x


def test_occupation_task_is_the_scheme_written_out():
    task = OccupationTask(4.0, n_walkers=6, seed=3)
    assert STEP_SIZE == 0.01
    result, x = task.run(), np.array([WIDE, NARROW] * 3)
    sides = [x < WELL.top for x in list(leimkuhler_matthews(x, stream(task), 4.0, 4000))[9::10]]
    np.testing.assert_allclose(result["wide"], np.mean(sides[120:], axis=0), atol=0.03)  # single precision parts the paths
    np.testing.assert_array_equal(result["wide_at_first"], np.mean(sides[:2], axis=0))
    np.testing.assert_array_equal(result["began_wide"], [True, False] * 3)


def test_occupation_task_records_20_times_in_a_relaxation_time():
    """At T = 0.6, of relaxation time 4.5: every 23 steps."""
    task = OccupationTask(0.6, n_walkers=4, seed=1)
    every = math.ceil(relaxation_time(0.6) / 0.01 / 20)
    assert every > 20
    path = leimkuhler_matthews(np.array([WIDE, NARROW] * 2), stream(task), 0.6, 2 * every)
    sides = [x < WELL.top for x in list(path)[every - 1 :: every]]
    result = task.run()
    np.testing.assert_array_equal(result["wide_at_first"], np.mean(sides, axis=0))
    assert 280 * result["wide"] == pytest.approx(np.round(280 * result["wide"]))


def test_sgd_task_is_sgd_on_the_examples_costs():
    task = SgdTask(20, n_groups=2, gradient_variance=20.0, seed=5)
    assert task.learning_rate == pytest.approx(0.4)
    assert task.noise_scale == pytest.approx(0.4 * (40 / 20 - 1))
    assert task.temperature == pytest.approx(0.4 * (40 / 20 - 1) * 20.0 / 2)
    assert abs(task.slopes.sum()) < 1e-12
    assert task.slopes.var(ddof=1) == pytest.approx(20.0)
    assert np.diff(task.slopes) == pytest.approx([task.slopes[-1] * 2 / 39] * 39)
    result, a, rng = task.run(), task.slopes, stream(task)
    x, sides = [[WIDE] * 2, [NARROW] * 2], []
    for update in range(1, 4001):
        orders = rng.permuted(np.tile(np.arange(40), (2, 1)), axis=1)
        for group in range(2):
            for chain in range(2):
                slope = WELL.gradient(np.array([[x[group][chain]]]))[0, 0]
                gradients = [slope / 40 + a[i] for i in orders[group][20 * chain :][:20]]
                x[group][chain] -= task.learning_rate * sum(gradients) / 20
        if update % 10 == 0:
            sides.append(np.array(x) < WELL.top)
    np.testing.assert_allclose(result["wide"], np.mean(sides[120:], axis=(0, 2)), atol=1e-9)
    np.testing.assert_array_equal(result["began_wide"], [True, False])


@pytest.mark.parametrize("well", ["wide", "narrow"])
def test_escape_task_written_out(well):
    """Settle for 200 steps; then stretches of 500, looked at every 10, until at most two in five are inside."""
    task = EscapeTask(well, 0.4, 20, seed=2)
    result, rng = task.run(), stream(task)
    begin = WIDE if well == "wide" else NARROW
    *_, x = leimkuhler_matthews(np.full(20, begin), rng, 0.4, 200)
    at_risk, escaped, inside, n_stretches = np.zeros(20), np.zeros(20, bool), list(range(20)), 0
    while len(inside) > 8:
        n_stretches += 1
        path = list(leimkuhler_matthews(x, rng, 0.4, 500))[9::10]
        for column, walker in enumerate(inside):
            for here in path:
                at_risk[walker] += 0.1
                if here[column] >= NARROW if well == "wide" else here[column] <= WIDE:
                    escaped[walker] = True
                    break
        x = path[-1][~escaped[inside]]
        inside = [walker for walker in inside if not escaped[walker]]
    assert n_stretches > 1
    np.testing.assert_array_equal(result["escaped"], escaped)
    np.testing.assert_allclose(result["at_risk"], at_risk)


@pytest.mark.parametrize("well", ["wide", "narrow"])
def test_escape_task_estimates_the_mean_passage_time(well):
    """Within 3% and 5 standard errors; and every walker's time at risk is counted. False-positive rate 6e-7."""
    task = EscapeTask(well, 0.3, n_walkers=3000, seed=1)
    result = task.run()
    at_risk, escaped = result["at_risk"], result["escaped"]
    n = escaped.sum()
    assert n >= 1800
    assert at_risk.sum() / n == pytest.approx(passage_time(well, 0.3), rel=0.03 + 5 / n**0.5)
    length = at_risk.max()
    np.testing.assert_allclose(at_risk[~escaped], length)
    assert length == pytest.approx(5 * round(length / 5))
    assert (escaped & (at_risk > length - 5)).sum() > n - 1800  # without the last stretch there were not enough
