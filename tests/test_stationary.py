"""Stationary laws: against rational arithmetic, closed equations, enumeration, and the samplers and optimizers themselves.

The oracles derive nothing from the (w, a) matrices of the module: they run `sgd`, eliminate the accumulator by hand, or count.
"""

import tracemalloc
from fractions import Fraction
from functools import cache
from itertools import permutations, product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sgdnoise import minibatches, noise_scale, sgd, stationary
from sgdnoise.optimizers import SgdState
from sgdnoise.stationary import (
    langevin_covariance,
    max_stable_learning_rate,
    modified_equation,
    reshuffled_variance,
    sgd_covariance,
)

few = settings(max_examples=25, deadline=None, derandomize=True)
seeds, sizes = st.integers(0, 2**32 - 1), st.integers(1, 6)
momenta, fractions = st.floats(0.0, 0.95), st.floats(0.01, 0.95)  # fractions of the largest stable learning rate


def problem(seed, n):
    """Draw H with eigenvalues from 0.3 to 2 and a covariance C that does not commute with it."""
    rng = np.random.default_rng(seed)
    rotation = np.linalg.qr(rng.normal(size=(n, n)))[0]
    factor = rng.normal(size=(n, n))
    H, C = (rotation * np.geomspace(0.3, 2, n)) @ rotation.T, factor @ factor.T
    return (H + H.T) / 2, (C + C.T) / 2


def rate(H, momentum, nesterov, fraction):
    return fraction * max_stable_learning_rate(float(np.linalg.eigvalsh(H)[-1]), momentum, nesterov=nesterov)


def summed_law(H, C, learning_rate, momentum, nesterov):
    """Run the optimizer on one unit impulse for each parameter, and sum G_k C G_k' over what is left of it k updates later."""
    optimizer, n = sgd(momentum, nesterov), len(H)
    params, gradient = np.zeros((n, n)), np.eye(n)
    state, total = optimizer.init(params), np.zeros((n, n))
    for _ in range(20_000):
        step, state = optimizer.update(gradient, state, learning_rate)
        params = params + step
        gradient = H @ params
        total += params @ C @ params.T
        if max(np.abs(params).max(), learning_rate * np.abs(state.trace).max()) < 1e-10:
            return total
    raise AssertionError("the impulse did not die away")


def rational_variance(h, c, learning_rate, m, nesterov):
    """Solve the Yule-Walker equations of the recursion for w alone, which eliminates the accumulator.

    w+ - w - m (w - w-) is -l g with momentum and -l ((1 + m) g - m g-) with Nesterov's, where l is the learning rate and
    g = h w + xi.
    """
    now, before = (1 + m, -m) if nesterov else (1, 0)
    phi1, phi2 = 1 + m - learning_rate * h * now, -m - learning_rate * h * before
    s, theta = c * (learning_rate * now) ** 2, Fraction(before) / now
    left = 1 - phi2**2 - phi1**2 * (1 + phi2) / (1 - phi2)
    right = phi1 * (1 + phi2) * theta * s / (1 - phi2) + s * (1 + theta**2 + theta * phi1)
    return right / left


# Values worked out elsewhere.


@pytest.mark.parametrize(
    ("call", "expected"),
    [
        (lambda: sgd_covariance(2.0, 0.7, 0.1, momentum=0.9), "0.184722"),
        (lambda: sgd_covariance(1.0, 0.5, 0.3), "0.0882353"),
        (lambda: sgd_covariance(1.0, 1.0, 1e-3, momentum=0.9), "0.00500132"),
        (lambda: sgd_covariance(1.0, 1.0, 1e-3, momentum=0.9, nesterov=True), "0.00496563"),
        (lambda: sgd_covariance(1.0, 1.0, 0.3), "0.17647"),
        (lambda: langevin_covariance(2.0, 0.3, step_size=0.4), "0.25"),
        (lambda: langevin_covariance(2.0, 0.3), "0.15"),
        (lambda: modified_equation(1.0, 1.0, 0.3, order=1).decay, "0.7408"),
        (lambda: modified_equation(1.0, 1.0, 0.3, order=2).decay, "0.7082"),
        (lambda: modified_equation(1.0, 1.0, 0.3, order=1).variance, "0.15"),
        (lambda: modified_equation(1.0, 1.0, 0.3, order=2).variance, "0.13043"),
    ],
)
def test_check_values(call, expected):
    value = call()
    assert isinstance(value, float)
    assert f"{value:.{len(expected) - expected.index('.') - 1}f}" == expected


def test_reshuffling_leaves_a_small_fraction_of_the_noise():
    independent = sgd_covariance(1.0, 1 / 10 - 1 / 100, 0.05)
    assert 0 < reshuffled_variance(1.0, 1.0, 0.05, 10, 100) < 0.03 * independent


# Largest stable learning rate.


def test_limits_are_exact_and_of_the_arguments_type():
    m = Fraction(9, 10)
    assert max_stable_learning_rate(Fraction(2), m) == Fraction(19, 10)
    assert max_stable_learning_rate(Fraction(2), m, nesterov=True) == Fraction(19, 28)
    assert max_stable_learning_rate(4.0) == max_stable_learning_rate(4.0, nesterov=True) == 0.5
    np.testing.assert_array_equal(max_stable_learning_rate(np.array([1, 4])), [2.0, 0.5])


@few
@given(h=st.floats(1e-3, 1e3), momentum=momenta, nesterov=st.booleans())
def test_the_optimizer_is_stable_just_below_the_limit_and_not_above(h, momentum, nesterov):
    """The update's matrix is read off `sgd` itself, one unit vector of (w, l a) at a time."""
    limit = max_stable_learning_rate(h, momentum, nesterov=nesterov)

    def spectral_radius(learning_rate):
        w, trace = np.array([1.0, 0.0]), np.array([0.0, 1 / learning_rate])
        step, state = sgd(momentum, nesterov).update(h * w, SgdState(trace), learning_rate)
        return np.abs(np.linalg.eigvals(np.stack([w + step, learning_rate * state.trace]))).max()

    assert spectral_radius(limit * (1 - 1e-5)) < 1 < spectral_radius(limit * (1 + 1e-5))
    assert spectral_radius(limit * 1e-5) < 1  # and there is no other limit on the way
    assert all(spectral_radius(limit * share) < 1 for share in np.linspace(0.05, 0.95, 19))
    assert sgd_covariance(h, 1.0, limit * (1 - 1e-5), momentum=momentum, nesterov=nesterov) > 0
    for learning_rate in (limit, limit * (1 + 1e-5)):
        with pytest.raises(ValueError, match=r"learning_rate must be .* below 2 \(1 \+ m\)/.*h="):
            sgd_covariance(h, 1.0, learning_rate, momentum=momentum, nesterov=nesterov)


def test_instability_is_of_the_largest_eigenvalue():
    with pytest.raises(ValueError, match=r"below 2 \(1 \+ m\)/h=0.95, got 1.0; .* largest eigenvalue, h=4, "):
        sgd_covariance(np.diag([1.0, 4.0, 2.0]), np.eye(3), 1.0, momentum=0.9)
    with pytest.raises(ValueError, match=r"below 2 \(1 \+ m\)/\(\(1 \+ 2 m\) h\)=0.339.*, got 0.34; .* h=4"):
        sgd_covariance(np.diag([1.0, 4.0, 2.0]), np.eye(3), 0.34, momentum=0.9, nesterov=True)
    assert sgd_covariance(np.diag([1.0, 4.0, 2.0]), np.eye(3), 0.94, momentum=0.9)[1, 1] > 0


# SGD with independent noise.


@pytest.mark.parametrize("nesterov", [False, True])
@pytest.mark.parametrize("m", [Fraction(0), Fraction(1, 2), Fraction(9, 10)])
@pytest.mark.parametrize("learning_rate", [Fraction(1, 100), Fraction(1, 10), Fraction(1, 3)])
def test_one_parameter_in_rational_arithmetic(learning_rate, m, nesterov):
    h, c = Fraction(2), Fraction(7, 10)
    exact = rational_variance(h, c, learning_rate, m, nesterov)
    got = sgd_covariance(2.0, 0.7, float(learning_rate), momentum=float(m), nesterov=nesterov)
    assert got == pytest.approx(float(exact), rel=1e-12)
    # the closed forms of the docstring
    x, q = learning_rate * h, 1 - learning_rate * h
    if nesterov:
        assert exact == learning_rate * c / h * ((1 + m) ** 2 + m**2 * (1 + m * q) / (1 - m * q)) / (
            2 * (1 + m) - (1 + 2 * m) * x
        )
    else:
        assert exact == learning_rate * c / h * (1 + m) / ((1 - m) * (2 * (1 + m) - x))


@pytest.mark.parametrize("n", [2, 3, 6])
@pytest.mark.parametrize("m", [0.0, 0.5, 0.9])
@pytest.mark.parametrize("fraction", [0.05, 0.5, 0.9])
def test_momentum_solves_the_closed_matrix_equation(n, m, fraction):
    """Liu, Ziyin and Ueda's equation for G = Cov w, with the accumulator eliminated.

    With M = (1 + m) I - l H, w+ = M w - m w- - l xi. For G1 = E w+ w' this says G1 + m G1' = M G, so that
    (1 - m^2) G1 = M G - m G M; put into E w+ w+' = G it gives the equation below.
    """
    H, C = problem(n, n)
    assert np.abs(H @ C - C @ H).max() > 0.1
    learning_rate = rate(H, m, False, fraction)
    G = sgd_covariance(H, C, learning_rate, momentum=m)
    K = learning_rate * H
    left = (1 - m) * (K @ G + G @ K) - (1 + m**2) / (1 - m**2) * K @ G @ K + m / (1 - m**2) * (K @ K @ G + G @ K @ K)
    right = learning_rate**2 * C
    assert np.abs(left - right).max() <= 1e-12 * np.abs(right).max()
    wrong = np.abs((1 - m) * (K @ G + G @ K) - right).max()  # the continuous-time equation
    assert wrong > 0.01 * np.abs(right).max()


@few
@given(seed=seeds, n=sizes, momentum=momenta, nesterov=st.booleans(), fraction=fractions)
def test_the_law_is_the_sum_of_all_impulses(seed, n, momentum, nesterov, fraction):
    H, C = problem(seed, n)
    learning_rate = rate(H, momentum, nesterov, fraction)
    expected = summed_law(H, C, learning_rate, momentum, nesterov)
    got = sgd_covariance(H, C, learning_rate, momentum=momentum, nesterov=nesterov)
    np.testing.assert_allclose(got, expected, rtol=0, atol=1e-9 * np.abs(expected).max())


@few
@given(seed=seeds, n=sizes, momentum=momenta, nesterov=st.booleans(), fraction=fractions, factor=st.floats(1e-3, 1e3))
def test_symmetry_positivity_linearity_and_rotation(seed, n, momentum, nesterov, fraction, factor):
    H, C = problem(seed, n)
    learning_rate = rate(H, momentum, nesterov, fraction)

    def law(H, C):
        return sgd_covariance(H, C, learning_rate, momentum=momentum, nesterov=nesterov)

    G = law(H, C)
    scale = np.abs(G).max()
    np.testing.assert_array_equal(G, G.T)
    assert np.linalg.eigvalsh(G)[0] >= -1e-12 * scale
    direction = np.random.default_rng(seed).normal(size=n)
    one = np.outer(direction, direction)  # positive semidefinite, of rank one
    np.testing.assert_allclose(law(H, factor * C + one), factor * G + law(H, one), rtol=0, atol=1e-10 * (factor + 1) * scale)
    rotation = np.linalg.qr(np.random.default_rng(seed + 1).normal(size=(n, n)))[0]
    turned = law(rotation @ H @ rotation.T, rotation @ C @ rotation.T)
    np.testing.assert_allclose(turned, rotation @ G @ rotation.T, rtol=0, atol=1e-10 * scale)


@few
@given(seed=seeds, n=sizes, momentum=momenta, nesterov=st.booleans())
def test_small_learning_rates_obey_the_stochastic_differential_equation(seed, n, momentum, nesterov):
    """H G + G H = l C/(1 - m), solved where H is diagonal; for one parameter l C/(2 h (1 - m))."""
    H, C = problem(seed, n)
    h, vectors = np.linalg.eigh(H)
    expected = vectors @ (vectors.T @ C @ vectors / np.add.outer(h, h)) @ vectors.T / (1 - momentum)
    got = sgd_covariance(H, C, 1e-7, momentum=momentum, nesterov=nesterov) / 1e-7
    np.testing.assert_allclose(got, expected, rtol=0, atol=1e-4 * np.abs(expected).max())


def test_small_learning_rates_obey_the_noise_scale():
    """g F/(2 N h), with F the covariance of one example's gradient, C = (1/B - 1/N) F, and h of the mean loss."""
    h, F, B, N, m = 3.0, 0.8, 16, 100, 0.9
    g = noise_scale(1e-5, B, N, momentum=m)
    assert sgd_covariance(h, (1 / B - 1 / N) * F, 1e-5, momentum=m) == pytest.approx(g * F / (2 * N * h), rel=1e-4)


def test_the_first_correction_changes_sign_for_nesterov_and_not_for_momentum():
    def above(m, nesterov):
        return sgd_covariance(1.0, 1.0, 1e-3, momentum=m, nesterov=nesterov) > 1e-3 / (2 * (1 - m))

    assert [above(m, True) for m in (0.0, 0.59, 0.62, 0.95)] == [True, True, False, False]
    assert all(above(m, False) for m in (0.0, 0.59, 0.62, 0.95))


# Epoch reshuffling.


@pytest.mark.parametrize(("N", "B"), [(6, 2), (6, 3), (6, 1), (6, 4), (5, 2), (5, 3), (4, 3), (4, 1), (3, 3), (1, 1)])
@pytest.mark.parametrize("learning_rate", [0.05, 0.4, 0.5, 0.8])
def test_reshuffling_by_enumeration(N, B, learning_rate):
    """Run one epoch for every permutation, from both sides of the minimum: V_0 must come back, and pass V_k on the way."""
    h, n = 2.0, N // B
    gradients = np.array([0.3, -1.0, 2.5, 4.0, -3.0, 0.9])[:N]
    S = gradients.var(ddof=1) if N > 1 else 0.0
    gradients = gradients - gradients.mean()
    start = reshuffled_variance(h, S, learning_rate, B, N)
    law = [reshuffled_variance(h, S, learning_rate, B, N, position=k) for k in range(n + 1)]
    order = np.array(list(permutations(range(N))))
    w = np.sqrt(start) * np.array([[1.0], [-1.0]])
    for k in range(n):
        w = w - learning_rate * (h * w + gradients[order[:, k * B : (k + 1) * B]].mean(axis=1))
        assert np.mean(w**2) == pytest.approx(law[k + 1], rel=1e-12, abs=1e-15)
    assert start == law[0] == pytest.approx(np.mean(w**2), rel=1e-12, abs=1e-15)
    assert (start > 0) == (B < N)


@pytest.mark.parametrize(("N", "B"), [(20, 5), (22, 5), (7, 3), (6, 2)])
def test_reshuffling_by_the_printed_formula(N, B):
    """The epoch-end law as the module's introduction writes it, in rational arithmetic."""
    h, S, learning_rate, n = Fraction(2), Fraction(3), Fraction(1, 7), N // B
    a = 1 - learning_rate * h
    squares, total = sum(a ** (2 * j) for j in range(n)), sum(a**j for j in range(n))
    exact = learning_rate**2 * (S / B * squares - S / N * total**2) / (1 - a ** (2 * n))
    assert reshuffled_variance(2.0, 3.0, 1 / 7, B, N) == pytest.approx(float(exact), rel=1e-12)


def power_sums(x, n):
    """What `_power_sums` returns, in rational arithmetic."""
    powers = [(1 - Fraction(x)) ** j for j in range(n)]
    total = sum(powers)
    return total, sum((p - total / n) ** 2 for p in powers), sum(p * p for p in powers), (1 - Fraction(x)) ** (2 * n)


@pytest.mark.parametrize("x", [1e-12, 1e-6, 1e-3, 0.03, 0.2, 0.9, 1.0, 1.3, 1.99, 2 - 1e-9])
@pytest.mark.parametrize("n", [2, 3, 7, 40])
def test_sums_of_powers_in_closed_form(x, n, monkeypatch):
    """To 13 digits, where n x is small and the terms nearly alike, where it is large, and where the terms alternate."""
    monkeypatch.setattr(stationary, "_MOST_POWERS", 0)
    np.testing.assert_allclose(stationary._power_sums(x, n), np.array(power_sums(x, n), float), rtol=1e-13)


@pytest.mark.parametrize("learning_rate", [1e-6, 1e-4, 0.3, 1.0, 1.7])
@pytest.mark.parametrize("position", [0, 1, 500_000])
def test_where_the_sums_become_closed_forms_nothing_jumps(learning_rate, position, monkeypatch):
    arguments = (1.0, 2.0, learning_rate, 3, 3_000_001)
    added = reshuffled_variance(*arguments, position=position)
    monkeypatch.setattr(stationary, "_MOST_POWERS", 1000)
    assert reshuffled_variance(*arguments, position=position) == pytest.approx(added, rel=1e-8)


def test_a_thousand_million_updates_an_epoch_take_no_memory():
    """B = 1 of N = 1e9. Sums over an epoch are integrals to 9 digits: with c = n l h, at the ends and in the middle.

    Where n l h = 1e9 the noise of an epoch is forgotten within it: what is left is the independent law, l S/(h (2 - l h)).
    """
    n, c = 10**9, 1.0
    tracemalloc.start()
    ends, middle = (reshuffled_variance(1.0, 1.0, c / n, 1, n, position=k) for k in (0, n // 2))
    forgetful = reshuffled_variance(2.0, 3.0, 0.5, 1, n)
    assert tracemalloc.get_traced_memory()[1] < 1e5
    tracemalloc.stop()
    total, squares = (lambda t: 1 - np.exp(-c * t)), (lambda t: (1 - np.exp(-2 * c * t)) / 2)  # of e^-ct, over n/c
    at_ends = (squares(1) - total(1) ** 2) / (1 - np.exp(-2 * c))
    assert ends == pytest.approx(c / n * at_ends, rel=1e-6)
    assert middle == pytest.approx(c / n * (np.exp(-c) * at_ends + squares(0.5) - total(0.5) ** 2), rel=1e-6)
    assert forgetful == pytest.approx(0.5 * 3.0 / (2.0 * (2 - 1.0)), rel=1e-8)


def test_what_floating_point_cannot_hold_is_refused():
    for call in (
        lambda: reshuffled_variance(1e-200, 1.0, 1e-200, 1, 10),
        lambda: reshuffled_variance(1e-300, 1e300, 1e200, 1, 10),
        lambda: modified_equation(1e-200, 1e300, 1e200, order=1),
        lambda: max_stable_learning_rate(1e-320),
    ):
        with pytest.raises(ValueError, match="the result must be finite"):
            call()


def test_what_the_docstring_says_of_reshuffling():
    def law(learning_rate, B, N, k=0):
        return reshuffled_variance(2.0, 3.0, learning_rate, B, N, position=k)

    def independent(learning_rate, B, N):
        return sgd_covariance(2.0, 3.0 * (1 / B - 1 / N), learning_rate)

    slow, n = 1e-6, 20
    assert law(slow, 5, 100) == pytest.approx(slow**3 * 2 * 3 * (n**2 - 1) / (24 * 5), rel=1e-3)
    assert law(slow, 5, 100, k=n // 2) == pytest.approx(slow**2 * 3 * n / (4 * 5), rel=1e-3)
    assert law(slow, 5, 103) == pytest.approx(3 / 98 * independent(slow, 5, 103), rel=1e-3)
    for k in (0, 1, 500, 1000):
        assert law(0.4, 1, 1000, k) == pytest.approx(independent(0.4, 1, 1000), rel=2e-3)
    positions = [law(0.01, 5, 100, k) for k in range(n + 1)]
    assert positions[0] == pytest.approx(positions[n], rel=1e-12)
    assert 0 < np.argmax(positions) < n
    assert law(0.3, 100, 100) == 0.0  # the full batch has no noise


# The samplers and the optimizers themselves.

HESSIAN, RATE = np.array([[1.0, 0.3], [0.3, 0.5]]), 1.1  # eigenvalues 1.14 and 0.36
EXAMPLES = np.array([[3, 0], [-1, 2], [0, -4], [2, 2], [-3, 1], [1, 1], [0, 3], [-2, -3], [5, -1], [-4, 0], [1, -2], [-2, 1.0]])
PROBE = np.array([1.0, -0.7])


@cache
def batches(method, n_train, batch_size, n_replicas, n_epochs):
    """Deal `n_epochs` epochs to each replica; shape (replicas, updates, batch size)."""
    rng = np.random.default_rng(20240)
    draws = [minibatches(n_train, batch_size, sampling=method, rng=rng) for _ in range(n_replicas * n_epochs)]
    return np.array(draws).reshape(n_replicas, -1, batch_size)


def distance(squares, law):
    """How many standard errors the mean of one figure a replica lies from a law."""
    return (squares.mean() - law) / (squares.std(ddof=1) / np.sqrt(len(squares)))


@pytest.mark.parametrize(
    ("method", "momentum", "nesterov"),
    [
        ("without_replacement", 0.0, False),
        ("with_replacement", 0.0, False),
        ("without_replacement", 0.6, False),
        ("without_replacement", 0.6, True),
    ],
)
def test_simulated_sgd_obeys_the_exact_law(method, momentum, nesterov):
    """One comparison each, at 4.5 standard errors from 2000 independent replicas: false-positive rate 7e-6 each.

    Rejected by more than 8: the continuous-time law, the covariance of the other sampler, and the other momentum.
    """
    N, B, n_replicas, burn_in = len(EXAMPLES), 4, 2000, 24
    noise = (EXAMPLES - EXAMPLES.mean(axis=0))[batches(method, N, B, n_replicas, 20)].mean(axis=2)
    optimizer, params, squares = sgd(momentum, nesterov), np.zeros((n_replicas, 2)), []
    state = optimizer.init(params)
    for t in range(noise.shape[1]):
        step, state = optimizer.update(params @ HESSIAN + noise[:, t], state, RATE)
        params = params + step
        if t >= burn_in:
            squares.append((params @ PROBE) ** 2)
    per_replica = np.mean(squares, axis=0)

    without = (1 / B - 1 / N) * np.cov(EXAMPLES.T, ddof=1)
    covariances = {"without_replacement": without, "with_replacement": np.cov(EXAMPLES.T, ddof=0) / B}
    C = covariances.pop(method)
    (other,) = covariances.values()
    h, V = np.linalg.eigh(HESSIAN)
    diffusion = RATE / (1 - momentum) * V @ (V.T @ C @ V / np.add.outer(h, h)) @ V.T
    wrong = [diffusion, sgd_covariance(HESSIAN, other, RATE, momentum=momentum, nesterov=nesterov)]
    if momentum > 0:
        wrong.append(sgd_covariance(HESSIAN, C, RATE, momentum=momentum, nesterov=not nesterov))
    right = sgd_covariance(HESSIAN, C, RATE, momentum=momentum, nesterov=nesterov)
    assert abs(distance(per_replica, PROBE @ right @ PROBE)) < 4.5
    assert all(abs(distance(per_replica, PROBE @ law @ PROBE)) > 8 for law in wrong)


def test_simulated_reshuffling_obeys_its_own_law():
    """At 4.5 standard errors from 2000 independent replicas, at the ends of epochs and half-way: false-positive rate 1.4e-5.

    B does not divide N. Rejected by more than 8: independent batches at the ends, and the ends' law half-way.
    """
    N, B, h, learning_rate, burn_in = 22, 5, 1.5, 0.2, 10
    gradients = np.random.default_rng(3).exponential(size=N)
    S = gradients.var(ddof=1)
    noise = (gradients - gradients.mean())[batches("reshuffle", N, B, 2000, 20)].mean(axis=2)
    optimizer, params, trajectory = sgd(), np.zeros(2000), []
    state = optimizer.init(params)
    for t in range(noise.shape[1]):
        step, state = optimizer.update(h * params + noise[:, t], state, learning_rate)
        params = params + step
        trajectory.append(params)
    squares = np.array(trajectory).reshape(20, N // B, 2000)[burn_in:] ** 2
    middle, end = squares[:, 1].mean(axis=0), squares[:, -1].mean(axis=0)

    end_law, middle_law = (reshuffled_variance(h, S, learning_rate, B, N, position=k) for k in (0, 2))
    assert abs(distance(end, end_law)) < 4.5
    assert abs(distance(middle, middle_law)) < 4.5
    assert distance(end, sgd_covariance(h, (1 / B - 1 / N) * S, learning_rate)) < -8
    assert distance(middle, end_law) > 8


# Langevin dynamics and the modified equations.


@few
@given(seed=seeds, n=sizes, temperature=st.floats(0.1, 10), mobility=st.floats(0.1, 10), fraction=fractions)
def test_langevin_law_is_the_sum_of_all_kicks(seed, n, temperature, mobility, fraction):
    H, _ = problem(seed, n)
    step_size = fraction * 2 / (mobility * float(np.linalg.eigvalsh(H)[-1]))
    kick, total = np.sqrt(2 * mobility * temperature * step_size) * np.eye(n), np.zeros((n, n))
    while np.abs(kick).max() > 1e-10:
        total += kick @ kick.T
        kick = kick - step_size * mobility * H @ kick
    got = langevin_covariance(H, temperature, mobility=mobility, step_size=step_size)
    np.testing.assert_allclose(got, total, rtol=0, atol=1e-10 * np.abs(total).max())
    as_sgd = sgd_covariance(H, 2 * temperature / (mobility * step_size) * np.eye(n), mobility * step_size)
    np.testing.assert_allclose(got, as_sgd, rtol=0, atol=1e-10 * np.abs(total).max())
    continuous = langevin_covariance(H, temperature, mobility=mobility)
    np.testing.assert_allclose(continuous @ H, temperature * np.eye(n), rtol=0, atol=1e-12 * temperature)
    assert np.trace(got) > np.trace(continuous)


@pytest.mark.parametrize("order", [1, 2])
def test_modified_equations_are_of_their_order(order):
    """Over a fixed time 1/h the mean goes wrong by l^order; a tenth of l takes that to a tenth or a hundredth."""

    def error(learning_rate):
        n_updates = round(1 / (learning_rate * 2.0))
        return abs(
            modified_equation(2.0, 1.0, learning_rate, order=order).decay ** n_updates - (1 - 2 * learning_rate) ** n_updates
        )

    assert error(1e-2) / error(1e-3) == pytest.approx(10**order, rel=0.05)


@pytest.mark.parametrize("order", [1, 2])
def test_modified_equations_scale_as_their_units_say(order):
    scaled, plain = modified_equation(2.5, 0.7, 0.1, order=order), modified_equation(1.0, 1.0, 0.25, order=order)
    assert scaled == pytest.approx((plain.decay, 0.7 / 2.5**2 * plain.variance), rel=1e-14)


@pytest.mark.parametrize("learning_rate", [0.01, 0.3, 1.0])
def test_order_two_mends_the_mean_and_not_the_variance(learning_rate):
    first, second = (modified_equation(1.0, 1.0, learning_rate, order=order) for order in (1, 2))
    exact = sgd_covariance(1.0, 1.0, learning_rate)
    assert 1 - learning_rate < second.decay < first.decay
    assert second.variance < first.variance < exact


# What comes back, and what is refused.


def test_numbers_give_floats_and_matrices_matrices():
    assert type(sgd_covariance(2, Fraction(1, 2), np.float32(0.5))) is float
    assert type(langevin_covariance(2, 1)) is float
    assert type(reshuffled_variance(1, 1, Fraction(1, 2), np.int64(2), 10)) is float
    for H in (np.diag([1, 2]), np.diag([1.0, 2.0]).astype(np.float32)):
        before = H.copy()
        assert sgd_covariance(H, H, 0.5).dtype == langevin_covariance(H, 1.0).dtype == np.float64
        np.testing.assert_array_equal(H, before)
    assert sgd_covariance(np.eye(2), np.zeros((2, 2)), 0.5).tolist() == [[0, 0], [0, 0]]
    assert langevin_covariance(2.0, 0.0, step_size=0.1) == 0.0


def test_rounding_is_forgiven():
    H, C = problem(5, 3)
    H[0, 2] *= 1 + 1e-14
    np.testing.assert_array_equal(sgd_covariance(H, C, 0.3), sgd_covariance(H.T, C, 0.3))
    np.testing.assert_array_equal(langevin_covariance(H, 1.0), langevin_covariance(H.T, 1.0))
    gradients = np.random.default_rng(0).normal(size=(3, 40)).astype(np.float32)
    C = gradients.T @ gradients  # 37 of its eigenvalues are 0, which come out on both sides of it
    assert np.linalg.eigvalsh(C)[0] < 0
    assert np.linalg.eigvalsh(sgd_covariance(np.eye(40), C, 0.3))[0] > -1e-4


def test_the_stability_limit_broadcasts_over_the_momentum():
    np.testing.assert_allclose(max_stable_learning_rate(2.0, np.array([0.0, 0.9])), [1.0, 1.9], rtol=1e-12)


I2, LOPSIDED = np.eye(2), np.array([[1.0, 0.5], [0.0, 1.0]])


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (
            lambda: sgd_covariance([[1.0]], 1.0, 0.1),
            TypeError,
            "hessian must be a number or an array of numbers, got [[1.0]] of type list",
        ),
        (
            lambda: sgd_covariance(True, 1.0, 0.1),
            TypeError,
            "hessian must be a number or an array of numbers, got True of type bool",
        ),
        (
            lambda: sgd_covariance(I2 * 1j, I2, 0.1),
            TypeError,
            "hessian must be a float32 or float64 array of shape (n, n), got an array of dtype complex128",
        ),
        (
            lambda: sgd_covariance(I2, I2 > 0, 0.1),
            TypeError,
            "gradient_covariance must be a float32 or float64 array of shape (2, 2), got an array of dtype bool",
        ),
        (lambda: reshuffled_variance(0.0, 1.0, 0.1, 1, 10), ValueError, "curvature must be finite and above 0, got 0.0"),
        (lambda: reshuffled_variance(-1.0, 1.0, 0.1, 1, 10), ValueError, "curvature must be finite and above 0, got -1.0"),
        (lambda: sgd_covariance(0.0, 1.0, 0.1), ValueError, "hessian must be finite and above 0, got 0.0"),
        (
            lambda: sgd_covariance(np.diag([1.0, 0.0]), I2, 0.1),
            ValueError,
            "hessian must be positive definite, got the eigenvalue 0; a flat or descending direction has no stationary law",
        ),
        (
            lambda: sgd_covariance(np.diag([1.0, -1.0]), I2, 0.1),
            ValueError,
            "hessian must be positive definite, got the eigenvalue -1; a flat or descending direction has no stationary law",
        ),
        (
            lambda: sgd_covariance(LOPSIDED, I2, 0.1),
            ValueError,
            "hessian must be symmetric, got entries that differ from their transpose by up to 0.5",
        ),
        (lambda: sgd_covariance(np.ones((2, 3)), I2, 0.1), ValueError, "hessian must be a square matrix, got shape (2, 3)"),
        (
            lambda: sgd_covariance(np.ones(2), I2, 0.1),
            ValueError,
            "hessian must be a float32 or float64 array of shape (n, n), got shape (2,)",
        ),
        (
            lambda: sgd_covariance(np.nan * I2, I2, 0.1),
            ValueError,
            "hessian must be finite, got 4 values that are NaN or infinite",
        ),
        (
            lambda: sgd_covariance(I2, -I2, 0.1),
            ValueError,
            "gradient_covariance must be positive semidefinite, got the eigenvalue -1",
        ),
        (
            lambda: sgd_covariance(I2, LOPSIDED, 0.1),
            ValueError,
            "gradient_covariance must be symmetric, got entries that differ from their transpose by up to 0.5",
        ),
        (
            lambda: sgd_covariance(I2, np.eye(3), 0.1),
            ValueError,
            "gradient_covariance must be a float32 or float64 array of shape (2, 2), got shape (3, 3)",
        ),
        (
            lambda: sgd_covariance(I2, 1.0, 0.1),
            ValueError,
            "gradient_covariance must be an array of shape (2, 2), as hessian is, got the number 1.0",
        ),
        (lambda: sgd_covariance(1.0, -1.0, 0.1), ValueError, "gradient_covariance must be finite and at least 0, got -1.0"),
        (lambda: sgd_covariance(1.0, np.inf, 0.1), ValueError, "gradient_covariance must be finite and at least 0, got inf"),
        (
            lambda: sgd_covariance(1.0, 1.0, 0.0),
            ValueError,
            "learning_rate must be finite and above 0 and below 2 (1 + m)/h=2.0, got 0.0; updates along the hessian's largest eigenvalue, h=1, are stable only below this limit",
        ),
        (
            lambda: sgd_covariance(1.0, 1.0, np.nan),
            ValueError,
            "learning_rate must be finite and above 0 and below 2 (1 + m)/h=2.0, got nan; updates along the hessian's largest eigenvalue, h=1, are stable only below this limit",
        ),
        (lambda: sgd_covariance(1.0, 1.0, "0.1"), TypeError, "learning_rate must be a number, got '0.1' of type str"),
        (
            lambda: sgd_covariance(1.0, 1.0, 0.1, momentum=1.0),
            ValueError,
            "momentum must be finite and at least 0 and below 1, got 1.0",
        ),
        (
            lambda: sgd_covariance(1.0, 1.0, 0.1, momentum=-0.1),
            ValueError,
            "momentum must be finite and at least 0 and below 1, got -0.1",
        ),
        (lambda: sgd_covariance(1.0, 1.0, 0.1, nesterov=1), TypeError, "nesterov must be True or False, got 1 of type int"),
        (lambda: max_stable_learning_rate(0.0), ValueError, "curvature must be finite and above 0, got 0.0"),
        (lambda: max_stable_learning_rate(1.0, 1.0), ValueError, "momentum must be finite and at least 0 and below 1, got 1.0"),
        (
            lambda: max_stable_learning_rate(1.0, nesterov=None),
            TypeError,
            "nesterov must be True or False, got None of type NoneType",
        ),
        (lambda: modified_equation(0.0, 1.0, 0.1, order=1), ValueError, "curvature must be finite and above 0, got 0.0"),
        (
            lambda: modified_equation(1.0, -1.0, 0.1, order=1),
            ValueError,
            "gradient_variance must be finite and at least 0, got -1.0",
        ),
        (lambda: modified_equation(1.0, 1.0, 0.0, order=1), ValueError, "learning_rate must be finite and above 0, got 0.0"),
        (lambda: modified_equation(1.0, 1.0, 0.1, order=3), ValueError, "order must be an integer from 1 to 2, got 3"),
        (
            lambda: modified_equation(1.0, 1.0, 0.1, order=1.0),
            TypeError,
            "order must be an integer from 1 to 2, got 1.0 of type float",
        ),
        (lambda: reshuffled_variance(-1.0, 1.0, 0.1, 2, 10), ValueError, "curvature must be finite and above 0, got -1.0"),
        (
            lambda: reshuffled_variance(1.0, -1.0, 0.1, 2, 10),
            ValueError,
            "gradient_variance must be finite and at least 0, got -1.0",
        ),
        (
            lambda: reshuffled_variance(4.0, 1.0, 0.5, 2, 10),
            ValueError,
            "learning_rate must be finite and above 0 and below 2/curvature=0.5, got 0.5",
        ),
        (
            lambda: reshuffled_variance(1.0, 1.0, 0.1, 11, 10),
            ValueError,
            "batch_size must be an integer from 1 to n_train=10, got 11",
        ),
        (
            lambda: reshuffled_variance(1.0, 1.0, 0.1, 2.0, 10),
            TypeError,
            "batch_size must be an integer from 1 to n_train=10, got 2.0 of type float",
        ),
        (lambda: reshuffled_variance(1.0, 1.0, 0.1, 2, 0), ValueError, "n_train must be an integer, at least 1, got 0"),
        (
            lambda: reshuffled_variance(1.0, 1.0, 0.1, 3, 10, position=4),
            ValueError,
            "position must be an integer from 0 to n_train // batch_size=3, got 4",
        ),
        (
            lambda: reshuffled_variance(1.0, 1.0, 0.1, 3, 10, position=-1),
            ValueError,
            "position must be an integer from 0 to n_train // batch_size=3, got -1",
        ),
        (lambda: langevin_covariance(-1.0, 1.0), ValueError, "hessian must be finite and above 0, got -1.0"),
        (lambda: langevin_covariance(I2, -1.0), ValueError, "temperature must be finite and at least 0, got -1.0"),
        (lambda: langevin_covariance(I2, 1.0, mobility=0.0), ValueError, "mobility must be finite and above 0, got 0.0"),
        (
            lambda: langevin_covariance(I2, 1.0, step_size=0.0),
            ValueError,
            "step_size must be finite and above 0 and below 2/(mobility h)=2.0, got 0.0; steps along the hessian's largest eigenvalue, h=1, are stable only below this limit",
        ),
        (
            lambda: langevin_covariance(np.diag([1, 4]), 1.0, mobility=2.0, step_size=0.25),
            ValueError,
            "step_size must be finite and above 0 and below 2/(mobility h)=0.25, got 0.25; steps along the hessian's largest eigenvalue, h=4, are stable only below this limit",
        ),
    ],
)
def test_bad_arguments_are_refused(call, error, message):
    with pytest.raises(error) as caught:
        call()
    assert str(caught.value) == message


@pytest.mark.parametrize(("n", "momentum"), list(product([1, 2, 40], [0.0, 0.9])))
def test_nothing_warns_over_nine_decades_of_learning_rates(n, momentum):
    """Warnings are errors here; the accuracy is the docstring's, 1e-16/(l h), with room."""
    H, C = problem(7, n)
    h, V = np.linalg.eigh(H)
    for learning_rate in 10.0 ** np.arange(-9, 0):
        a, b, m = learning_rate * h[:, None], learning_rate * h, momentum
        closed = (1 - m) * (a + b) - (1 + m**2) / (1 - m**2) * a * b + m / (1 - m**2) * (a**2 + b**2)
        expected = learning_rate**2 * V @ (V.T @ C @ V / closed) @ V.T
        got = sgd_covariance(H, C, learning_rate, momentum=momentum)
        assert np.abs(got - expected).max() < 1e-14 / (learning_rate * h[0]) * np.abs(expected).max()
