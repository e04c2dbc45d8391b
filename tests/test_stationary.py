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

from sgdnoise import minibatches, noise_scale, sgd
from sgdnoise.optimizers import SgdState
from sgdnoise.stationary import (
    entropy_production,
    langevin_covariance,
    max_stable_learning_rate,
    modified_equation,
    probability_current,
    reshuffled_covariance,
    sgd_covariance,
    tail_index,
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
    assert 0 < reshuffled_covariance(1.0, 1.0, 0.05, 10, 100) < 0.03 * independent


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
    start = reshuffled_covariance(h, S, learning_rate, B, N)
    law = [reshuffled_covariance(h, S, learning_rate, B, N, position=k) for k in range(n + 1)]
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
    assert reshuffled_covariance(2.0, 3.0, 1 / 7, B, N) == pytest.approx(float(exact), rel=1e-12)


def impulses(H, learning_rate, momentum, nesterov, least=1e-11):
    """Run the optimizer on one unit of noise for each parameter: what is left of it after 1, 2, ... updates."""
    optimizer, params, gradient = sgd(momentum, nesterov), np.zeros_like(H), np.eye(len(H))
    state, left = optimizer.init(params), []
    while not left or max(np.abs(params).max(), learning_rate * np.abs(state.trace).max()) > least * np.abs(left[0]).max():
        step, state = optimizer.update(gradient, state, learning_rate)
        params = params + step
        gradient = H @ params
        left.append(params)
    return np.array(left)


def enumerated_laws(H, examples, learning_rate, B, momentum, nesterov, least=1e-11):
    """The law at each position: what impulses leave, under the covariances of an epoch's kicks over all orders of the examples.

    Epochs are independent of each other.
    """
    N, n = len(examples), len(examples) // B
    orders = np.array(list(permutations(range(N))))[:, : n * B].reshape(-1, n, B)
    kicks = (examples - examples.mean(axis=0))[orders].mean(axis=2)
    together = np.einsum("ona,omb->namb", kicks, kicks) / len(kicks)
    left = impulses(H, learning_rate, momentum, nesterov, least)
    left = np.concatenate([left, np.zeros((-len(left) % n + n, *H.shape))])

    def of_an_epoch(last):  # whose last kick has left this
        return np.einsum("nai,nimj,mbj->ab", last[::-1], together[: len(last), :, : len(last)], last[::-1])

    laws = []
    for k in range(n + 1):
        whole = sum(of_an_epoch(left[begin : begin + n]) for begin in range(k, len(left) - n + 1, n))
        laws.append(whole + (of_an_epoch(left[:k]) if k else 0.0))
    return np.array(laws)


ALL_KINDS = pytest.mark.parametrize(
    ("momentum", "nesterov"), [(0.0, False), (0.3, False), (0.9, False), (0.3, True), (0.9, True)]
)


@ALL_KINDS
@pytest.mark.parametrize(("N", "B"), [(6, 2), (6, 1), (6, 4), (5, 2), (5, 1), (4, 3), (3, 3)])
@pytest.mark.parametrize("fraction", [0.1, 0.5, 0.9])
def test_reshuffling_with_momentum_by_enumeration_at_every_position(N, B, fraction, momentum, nesterov):
    examples = np.array([[0.3, -1.0, 2.5, 4.0, -3.0, 0.9][:N]]).T
    learning_rate = rate(np.array([[2.0]]), momentum, nesterov, fraction)
    laws = enumerated_laws(np.array([[2.0]]), examples, learning_rate, B, momentum, nesterov)[:, 0, 0]
    S = examples.var(ddof=1)
    got = [
        reshuffled_covariance(2.0, S, learning_rate, B, N, momentum=momentum, nesterov=nesterov, position=k)
        for k in range(N // B + 1)
    ]
    np.testing.assert_allclose(got, laws, rtol=1e-12, atol=1e-15)


@ALL_KINDS
@pytest.mark.parametrize(("N", "B"), [(6, 2), (5, 1), (5, 3), (4, 2)])
def test_reshuffling_under_a_hessian_by_enumeration_at_every_position(N, B, momentum, nesterov):
    """Three parameters, and noise whose axes are not the Hessian's."""
    H, _ = problem(3, 3)
    examples = np.random.default_rng(2).normal(size=(N, 3))
    S = np.cov(examples.T, ddof=1)
    assert np.abs(H @ S - S @ H).max() > 0.1
    learning_rate = rate(H, momentum, nesterov, 0.4)
    laws = enumerated_laws(H, examples, learning_rate, B, momentum, nesterov)
    for k, law in enumerate(laws):
        got = reshuffled_covariance(H, S, learning_rate, B, N, momentum=momentum, nesterov=nesterov, position=k)
        np.testing.assert_allclose(got, law, rtol=0, atol=1e-12 * np.abs(laws).max())
        np.testing.assert_array_equal(got, got.T)
    wrong = sgd_covariance(H, (1 / B - 1 / N) * S, learning_rate, momentum=momentum, nesterov=nesterov)
    assert N // B == 1 or np.abs(wrong - laws[0]).max() > 0.01 * np.abs(laws[0]).max()  # independent batches


def solved(rows, right):
    """Solve linear equations in rational arithmetic."""
    rows = [[*row, r] for row, r in zip(rows, right, strict=True)]
    for i in range(len(rows)):
        pivot = next(k for k in range(i, len(rows)) if rows[k][i])
        rows[i], rows[pivot] = rows[pivot], rows[i]
        rows[i] = [entry / rows[i][i] for entry in rows[i]]
        rows = [row if k == i else [a - row[i] * b for a, b in zip(row, rows[i], strict=True)] for k, row in enumerate(rows)]
    return [row[-1] for row in rows]


def rational_law(h, S, learning_rate, B, N, m, nesterov):
    """Law at epochs' ends in rational arithmetic: the updates themselves are run on unit vectors of (w, a) and on unit kicks."""
    h, S, learning_rate, m = map(Fraction, (h, S, learning_rate, m))

    def updated(w, a, kick):
        gradient = h * w + kick
        a = m * a + gradient
        return w - learning_rate * (gradient + m * a if nesterov else a), a

    n, passed, kicks = N // B, [(1, 0), (0, 1)], [updated(0, 0, 1)]
    for _ in range(n):
        passed = [updated(*vector, 0) for vector in passed]
        kicks.append(updated(*kicks[-1], 0))
    kicks, two = kicks[:n], range(2)
    noise = [
        S / B * sum(v[i] * v[k] for v in kicks) - S / N * sum(v[i] for v in kicks) * sum(v[k] for v in kicks)
        for i, k in product(two, two)
    ]
    rows = [[((i, k) == (j, o)) - passed[j][i] * passed[o][k] for j, o in product(two, two)] for i, k in product(two, two)]
    return float(solved(rows, noise)[0])


@ALL_KINDS
@pytest.mark.parametrize("fraction", [1e-11, 1e-7, 1e-3, 0.3, 0.97])
@pytest.mark.parametrize(("N", "B"), [(14, 2), (15, 2), (13, 13)])
def test_reshuffling_loses_no_digits_at_any_learning_rate(N, B, fraction, momentum, nesterov):
    """Twelve digits, where an epoch forgets a part in 1e12 of what was, too."""
    learning_rate = rate(np.array([[1.5]]), momentum, nesterov, fraction)
    exact = rational_law(1.5, 2.0, learning_rate, B, N, momentum, nesterov)
    got = reshuffled_covariance(1.5, 2.0, learning_rate, B, N, momentum=momentum, nesterov=nesterov)
    assert got == pytest.approx(exact, rel=1e-12)
    assert (got > 0) == (B < N)


@pytest.mark.parametrize(("momentum", "nesterov"), [(0.0, False), (0.9, False), (0.9, True)])
@pytest.mark.parametrize("position", [0, 3])
def test_directions_numbers_and_matrices_obey_one_law(momentum, nesterov, position):
    def law(curvature, variance, n_train=23):
        return reshuffled_covariance(
            curvature, variance, 0.1, 5, n_train, momentum=momentum, nesterov=nesterov, position=position
        )

    h, S = np.array([2.0, 1e-9, 0.3, 5.0]), np.array([1.0, 3.0, 0.0, 2.0])
    each = np.array([law(*pair) for pair in zip(h.tolist(), S.tolist(), strict=True)])
    np.testing.assert_allclose(law(h, S), each, rtol=1e-13)
    np.testing.assert_allclose(law(h, 2.0), 2 * law(h, 1.0), rtol=1e-13)
    np.testing.assert_allclose(law(np.diag(h), np.diag(S)), np.diag(each), rtol=1e-11, atol=0)
    H, C = problem(1, 4)
    rotation = np.linalg.qr(np.random.default_rng(0).normal(size=(4, 4)))[0]
    G = law(H, C)
    np.testing.assert_allclose(law(rotation @ H @ rotation.T, rotation @ C @ rotation.T), rotation @ G @ rotation.T, atol=1e-12)
    direction = np.linalg.eigh(H)[1][:, 1]
    along = law(float(direction @ H @ direction), float(direction @ C @ direction))
    assert direction @ G @ direction == pytest.approx(along, rel=1e-11)
    assert law(np.array([2, 1]), np.array([1, 1])).dtype == law(np.float32([2, 1]), 1).dtype == np.float64
    assert law(H.astype(np.float32), C.astype(np.float32)).dtype == np.float64
    assert type(law(np.array(2.0), 1)) is float
    assert law(np.array([2.0]), np.array([1.0])).tolist() == [law(2.0, 1.0)]


@pytest.mark.parametrize(("m", "nesterov"), [(0.5, False), (0.9, False), (0.5, True), (0.9, True)])
@pytest.mark.parametrize(("n", "forgotten"), [(200, 1e-5), (100_000_000, 1e-8)])  # n l_e h
def test_momentum_has_a_floor_under_reshuffling(m, nesterov, n, forgotten):
    """Its leading terms, to 1%; the floor is m^4 and not m^2 with Nesterov's."""
    B, h, S = 3, 0.5, 2.0
    N, l_e = n * B, forgotten / (n * h)
    floor = l_e**2 * S * (m**2 / (B * (1 - m**2)) - m**2 / (N * (1 - m) ** 2)) * (m**2 if nesterov else 1)
    scatter = l_e**3 * h * S * n**2 / (24 * B)
    got = reshuffled_covariance(h, S, l_e * (1 - m), B, N, momentum=m, nesterov=nesterov)
    assert got == pytest.approx(floor + scatter, rel=0.01)
    assert abs(got / (floor * (m**-2 if nesterov else m**2) + scatter) - 1) > 0.1
    middle = reshuffled_covariance(h, S, l_e * (1 - m), B, N, momentum=m, nesterov=nesterov, position=n // 2)
    assert middle == pytest.approx(l_e**2 * S * n / (4 * B), rel=0.1)


def test_equal_noise_scales_do_not_leave_equal_noise():
    """At n l_e h = 1e-3 the floor is 460 times the scatter; where an epoch forgets, equal g is equal noise again."""

    def ratio(l_e, N):
        with_momentum, without = (reshuffled_covariance(1.0, 1.0, l_e * (1 - m), 10, N, momentum=m) for m in (0.9, 0.0))
        return with_momentum / without

    assert ratio(1e-3 / 200, 2000) == pytest.approx(1 + 462.98, rel=0.01)
    assert ratio(1e-3, 10_000_000) == pytest.approx(1.0, rel=0.01)


@ALL_KINDS
def test_long_epochs_obey_the_law_of_independent_batches_with_momentum(momentum, nesterov):
    N = 10**9
    expected = sgd_covariance(2.0, 3.0 * (1 - 1 / N), 0.1, momentum=momentum, nesterov=nesterov)
    for k in (0, 10**8 + 1):
        got = reshuffled_covariance(2.0, 3.0, 0.1, 1, N, momentum=momentum, nesterov=nesterov, position=k)
        assert got == pytest.approx(expected, rel=1e-7)


def test_a_thousand_million_updates_an_epoch_take_no_memory():
    """B = 1 of N = 1e9. Sums over an epoch are integrals to 9 digits: with c = n l h, at the ends and in the middle.

    Where n l h = 1e9 the noise of an epoch is forgotten within it: what is left is the independent law, l S/(h (2 - l h)).
    """
    n, c = 10**9, 1.0
    tracemalloc.start()
    ends, middle = (reshuffled_covariance(1.0, 1.0, c / n, 1, n, position=k) for k in (0, n // 2))
    forgetful = reshuffled_covariance(2.0, 3.0, 0.5, 1, n)
    assert tracemalloc.get_traced_memory()[1] < 1e5
    tracemalloc.stop()
    total, squares = (lambda t: 1 - np.exp(-c * t)), (lambda t: (1 - np.exp(-2 * c * t)) / 2)  # of e^-ct, over n/c
    at_ends = (squares(1) - total(1) ** 2) / (1 - np.exp(-2 * c))
    assert ends == pytest.approx(c / n * at_ends, rel=1e-6)
    assert middle == pytest.approx(c / n * (np.exp(-c) * at_ends + squares(0.5) - total(0.5) ** 2), rel=1e-6)
    assert forgetful == pytest.approx(0.5 * 3.0 / (2.0 * (2 - 1.0)), rel=1e-8)


def test_what_floating_point_cannot_hold_is_refused():
    for call in (
        lambda: reshuffled_covariance(1e-200, 1.0, 1e-200, 1, 10),
        lambda: reshuffled_covariance(1e-300, 1e300, 1e200, 1, 10),
        lambda: modified_equation(1e-200, 1e300, 1e200, order=1),
        lambda: max_stable_learning_rate(1e-320),
    ):
        with pytest.raises(ValueError, match="the result must be finite"):
            call()


def test_what_the_docstring_says_of_reshuffling():
    def law(learning_rate, B, N, k=0):
        return reshuffled_covariance(2.0, 3.0, learning_rate, B, N, position=k)

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


# Currents, entropy and tails.


@few
@given(seed=seeds, n=sizes, fraction=fractions)
def test_the_current_is_the_mean_area_between_two_iterates(seed, n, fraction):
    """With w = sum_j G_j xi_j, each G_j run by the optimizer, the mean of w' w' is the sum of G_(j+1) C G_j'."""
    H, C = problem(seed, n)
    learning_rate = rate(H, 0.0, False, fraction)
    left = impulses(H, learning_rate, 0.0, False)
    after = (left[1:] @ C @ left[:-1].swapaxes(1, 2)).sum(axis=0)  # of w'_i w_k
    current = probability_current(H, C, learning_rate)
    expected = (after - after.T) / 2
    scale = learning_rate**2 * np.abs(C).max()
    np.testing.assert_allclose(current, expected, rtol=0, atol=1e-9 * scale)
    np.testing.assert_array_equal(current, -current.T)
    assert n == 1 or np.abs(current).max() > 1e-6 * scale
    V = sgd_covariance(H, C, learning_rate)
    np.testing.assert_allclose(current, learning_rate * (V @ H - H @ V) / 2, rtol=0, atol=1e-9 * scale)


def test_the_leading_term_of_the_current():
    h, c, learning_rate = np.array([3.0, 1.0]), 0.4, 1e-6
    C = np.array([[2.0, c], [c, 1.0]])
    expected = -(learning_rate**2) * c * (h[0] - h[1]) / (2 * h.sum())
    assert probability_current(np.diag(h), C, learning_rate)[0, 1] == pytest.approx(expected, rel=1e-5)


@few
@given(seed=seeds, n=st.integers(2, 6), fraction=fractions)
def test_entropy_tells_a_film_from_the_same_film_backwards(seed, n, fraction):
    """The Kullback-Leibler divergence of the Gaussians (w, w') and (w', w), over two iterates in a row."""
    H, C = problem(seed, n)
    C += np.eye(n)
    learning_rate = rate(H, 0.0, False, fraction)
    left = impulses(H, learning_rate, 0.0, False)
    V = (left @ C @ left.swapaxes(1, 2)).sum(axis=0)
    after = (left[1:] @ C @ left[:-1].swapaxes(1, 2)).sum(axis=0)
    forwards, backwards = np.block([[V, after.T], [after, V]]), np.block([[V, after], [after.T, V]])
    expected = (np.trace(np.linalg.solve(backwards, forwards)) - 2 * n) / 2  # the determinants are equal
    produced = entropy_production(H, C, learning_rate)
    assert produced == pytest.approx(expected, rel=1e-6, abs=1e-9)
    assert produced > 0
    A, J = np.eye(n) - learning_rate * H, probability_current(H, C, learning_rate)
    assert produced == pytest.approx(-2 * np.trace(np.linalg.solve(learning_rate**2 * C, A @ J)), rel=1e-6)
    assert entropy_production(H, 1e-300 * C, learning_rate) == pytest.approx(produced, rel=1e-9)


def test_entropy_of_two_parameters():
    r, (x1, x2) = 0.6, (0.3, 0.05)
    C = np.array([[4.0, 2 * r], [2 * r, 1.0]])
    expected = r**2 / (1 - r**2) * (x1 - x2) ** 2 / (x1 + x2 - x1 * x2)
    assert entropy_production(np.diag([3.0, 0.5]), C, 0.1) == pytest.approx(expected, rel=1e-12)


@few
@given(seed=seeds, n=sizes, fraction=fractions)
def test_nothing_goes_round_where_noise_and_curvature_have_the_same_axes(seed, n, fraction):
    """Though temperatures differ from axis to axis."""
    H, _ = problem(seed, n)
    C = H @ H + 0.1 * np.eye(n)
    learning_rate = rate(H, 0.0, False, fraction)
    assert np.abs(probability_current(H, C, learning_rate)).max() < 1e-13 * learning_rate**2 * np.abs(C).max()
    assert 0 <= entropy_production(H, C, learning_rate) < 1e-13
    assert probability_current(2.0, 3.0, 0.1) == entropy_production(2.0, 3.0, 0.1) == 0.0


def gaussian_curvatures(B):
    """Values and weights of the mean of B squared standard normals, by quadrature over its root, split where the factor is 0."""
    nodes, weights = np.polynomial.legendre.leggauss(200)
    edges = np.sqrt(B / 0.8) * np.linspace(0, 8, 9)
    r = (edges[:-1, None] + edges[1:, None] + np.diff(edges)[:, None] * nodes) / 2
    return r.ravel() ** 2 / B, (weights * r ** (B - 1) * np.exp(-(r**2) / 2)).ravel()


@pytest.mark.parametrize(("B", "printed"), [(1, "1.55"), (2, "2.83"), (4, "5.07"), (8, "9.25")])
def test_tail_index_of_squared_normals(B, printed):
    curvatures, weights = gaussian_curvatures(B)
    assert weights @ curvatures / weights.sum() == pytest.approx(1.0, rel=1e-12)
    assert f"{tail_index(curvatures, 0.8, weights=weights):.2f}" == printed


@pytest.mark.parametrize("alpha", [0.01, 0.5, 1.0, 2.0, 7.0, 60.0])
@pytest.mark.parametrize("small", [0.0, 0.3, -0.9])
def test_tail_index_of_two_factors(alpha, small):
    """One factor and its probability give the other: p |small|^alpha + (1 - p) large^alpha = 1."""
    p = 0.75
    large = ((1 - p * abs(small) ** alpha) / (1 - p)) ** (1 / alpha)
    h = (1 - np.array([small, large, -large])) / 0.5
    got = tail_index(h, 0.5, weights=np.array([6.0, 1.0, 1.0]))
    assert got == pytest.approx(alpha, rel=1e-9)
    assert tail_index(np.repeat(h, [6, 1, 1]), 0.5) == pytest.approx(alpha, rel=1e-9)
    assert tail_index(np.append(h, 1e9), 0.5, weights=np.array([6.0, 1.0, 1.0, 0.0])) == pytest.approx(alpha, rel=1e-9)
    assert tail_index(h * 0.25, 2.0, weights=np.array([6, 1, 1])) == pytest.approx(alpha, rel=1e-9)


def test_larger_batches_have_lighter_tails_and_larger_rates_heavier_ones():
    """The batches of six examples with replacement, all of them."""
    curvatures = np.array([0.1, 0.2, 0.4, 0.8, 1.6, 3.0])
    index = [tail_index(np.array(list(product(curvatures, repeat=B))).mean(axis=1), 0.8) for B in (1, 2, 3, 4)]
    assert np.all(np.diff(index) > 0)
    assert np.all(np.diff([tail_index(curvatures, rate) for rate in (0.7, 0.8, 0.9, 1.0)]) < 0)


def test_a_law_has_no_tail_or_there_is_none():
    assert tail_index(0.5, 1.0) == tail_index(np.array([0, 1, 2]), 1.0) == np.inf
    assert tail_index(np.array([1.0, 1.0, 1 + 1e-12]), 1.0) == np.inf
    barely = np.array([1.0, -1e-9])  # factors 0 and 1 + 1e-9
    assert tail_index(barely, 1.0) == pytest.approx(np.log(2) / np.log1p(1e-9), rel=1e-6)
    assert tail_index(np.array([0.5]), 1.0) == np.inf
    for curvatures in (3.0, np.array([-0.5, -0.1, 0.05]), np.array([0.5, 3.0]), 2.0):  # the third: factors 1/2 and 2
        with pytest.raises(ValueError, match=r"learning_rate must be smaller .* got 1\.0; E log .* must be below 0"):
            tail_index(curvatures, 1.0)


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

    end_law, middle_law = (reshuffled_covariance(h, S, learning_rate, B, N, position=k) for k in (0, 2))
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
    assert type(reshuffled_covariance(1, 1, Fraction(1, 2), np.int64(2), 10)) is float
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
        (lambda: reshuffled_covariance(0.0, 1.0, 0.1, 1, 10), ValueError, "curvature must be finite and above 0, got 0.0"),
        (lambda: reshuffled_covariance(-1.0, 1.0, 0.1, 1, 10), ValueError, "curvature must be finite and above 0, got -1.0"),
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
        (lambda: reshuffled_covariance(-1.0, 1.0, 0.1, 2, 10), ValueError, "curvature must be finite and above 0, got -1.0"),
        (
            lambda: reshuffled_covariance(np.array([1.0, 0.0]), 1.0, 0.1, 2, 10),
            ValueError,
            "curvature must be finite and above 0, got 0.0",
        ),
        (
            lambda: reshuffled_covariance(np.array([]), 1.0, 0.1, 2, 10),
            ValueError,
            "curvature must be a number or an array of shape (1,), got shape (0,); one direction",
        ),
        (
            lambda: reshuffled_covariance(np.ones(3), np.ones(1), 0.1, 2, 10),
            ValueError,
            "gradient_variance must be a number or an array of shape (3,), got shape (1,); one direction",
        ),
        (
            lambda: reshuffled_covariance(np.ones(2), I2, 0.1, 2, 10),
            ValueError,
            "gradient_variance must be a number or an array of shape (2,), got shape (2, 2); one direction",
        ),
        (
            lambda: reshuffled_covariance(I2, 1.0, 0.1, 2, 10),
            ValueError,
            "gradient_variance must be an array of shape (2, 2), as curvature is, got the number 1.0",
        ),
        (
            lambda: reshuffled_covariance(I2, -I2, 0.1, 2, 10),
            ValueError,
            "gradient_variance must be positive semidefinite, got the eigenvalue -1",
        ),
        (
            lambda: reshuffled_covariance(np.diag([1.0, -1.0]), I2, 0.1, 2, 10),
            ValueError,
            "curvature must be positive definite, got the eigenvalue -1; a flat or descending direction has no stationary law",
        ),
        (
            lambda: reshuffled_covariance(np.diag([1.0, 4.0]), I2, 0.34, 2, 10, momentum=0.9, nesterov=True),
            ValueError,
            "learning_rate must be finite and above 0 and below 2 (1 + m)/((1 + 2 m) h)=0.3392857142857143, got 0.34; updates along the hessian's largest eigenvalue, h=4, are stable only below this limit",
        ),
        (
            lambda: reshuffled_covariance(1.0, 1.0, 0.1, 2, 10, momentum=1.0),
            ValueError,
            "momentum must be finite and at least 0 and below 1, got 1.0",
        ),
        (
            lambda: reshuffled_covariance(1.0, 1.0, 0.1, 2, 10, nesterov=1),
            TypeError,
            "nesterov must be True or False, got 1 of type int",
        ),
        (
            lambda: probability_current(I2, I2, 2.0),
            ValueError,
            "learning_rate must be finite and above 0 and below 2 (1 + m)/h=2.0, got 2.0; updates along the hessian's largest eigenvalue, h=1, are stable only below this limit",
        ),
        (
            lambda: probability_current(I2, -I2, 0.1),
            ValueError,
            "gradient_covariance must be positive semidefinite, got the eigenvalue -1",
        ),
        (
            lambda: entropy_production(I2, np.diag([1.0, 0.0]), 0.1),
            ValueError,
            "gradient_covariance must be positive definite, got the eigenvalue 0; along a direction without noise no update can be undone",
        ),
        (lambda: entropy_production(0.0, 1.0, 0.1), ValueError, "hessian must be finite and above 0, got 0.0"),
        (lambda: entropy_production(1.0, 0.0, 0.1), ValueError, "gradient_covariance must be finite and above 0, got 0.0"),
        (
            lambda: tail_index(np.array([]), 0.1),
            ValueError,
            "curvatures must be a number or an array of shape (1,), got shape (0,); one value",
        ),
        (lambda: tail_index(np.array([np.nan]), 0.1), ValueError, "curvatures must be finite, got nan"),
        (lambda: tail_index(np.ones(2), 0.0), ValueError, "learning_rate must be finite and above 0, got 0.0"),
        (
            lambda: tail_index(np.ones(2), 0.1, weights=np.ones(3)),
            ValueError,
            "weights must be a number or an array of shape (2,), got shape (3,); one value",
        ),
        (
            lambda: tail_index(np.ones(2), 0.1, weights=np.array([1.0, -1.0])),
            ValueError,
            "weights must be finite and at least 0, got -1.0",
        ),
        (
            lambda: tail_index(np.ones(2), 0.1, weights=np.zeros(2)),
            ValueError,
            "weights must be finite and above 0, got 0.0; they may not all be 0",
        ),
        (
            lambda: reshuffled_covariance(1.0, -1.0, 0.1, 2, 10),
            ValueError,
            "gradient_variance must be finite and at least 0, got -1.0",
        ),
        (
            lambda: reshuffled_covariance(4.0, 1.0, 0.5, 2, 10),
            ValueError,
            "learning_rate must be finite and above 0 and below 2 (1 + m)/h=0.5, got 0.5; updates along the largest curvature, h=4, are stable only below this limit",
        ),
        (
            lambda: reshuffled_covariance(1.0, 1.0, 0.1, 11, 10),
            ValueError,
            "batch_size must be an integer from 1 to n_train=10, got 11",
        ),
        (
            lambda: reshuffled_covariance(1.0, 1.0, 0.1, 2.0, 10),
            TypeError,
            "batch_size must be an integer from 1 to n_train=10, got 2.0 of type float",
        ),
        (lambda: reshuffled_covariance(1.0, 1.0, 0.1, 2, 0), ValueError, "n_train must be an integer, at least 1, got 0"),
        (
            lambda: reshuffled_covariance(1.0, 1.0, 0.1, 3, 10, position=4),
            ValueError,
            "position must be an integer from 0 to n_train // batch_size=3, got 4",
        ),
        (
            lambda: reshuffled_covariance(1.0, 1.0, 0.1, 3, 10, position=-1),
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
