"""Cheap increments: the law of Box-Muller from all its uniforms, signs and their weak order from all their sequences.

Box-Muller has 2^24 radii and 2^24 angles, few enough to make each of them once. What is sampled besides is a seeded check that the
pieces are put together right: thresholds are 5 standard errors, exact ones, of which a right implementation fails 6e-7 each and
3e-5 in all; the wrong formulas named below are rejected by the same tests.
"""

from itertools import product
from math import acos, ceil, cos, exp, lgamma, log, pi, sqrt
from types import SimpleNamespace

import numpy as np
import pytest
from scipy.stats import norm

from sgdnoise import normals
from sgdnoise.energies import DoubleWell, Quadratic
from sgdnoise.langevin import overdamped, sgd_sde, sgld, underdamped
from sgdnoise.normals import BLOCK, INCREMENTS, filler

M = 1 << 24
FARTHEST = sqrt(48 * log(2))
GENERATORS = (np.random.PCG64, np.random.PCG64DXSM, np.random.SFC64, np.random.Philox, np.random.MT19937)


def fill(increments, rng, shape, dtype=np.float32):
    out = np.empty(shape, dtype)
    filler(increments, rng)(out)
    return out


# 1. Box-Muller: the law, exactly


def from_integers(radius, angle):
    """Cosines and sines that the implementation makes of given integers k in [-M/2, M/2), one pair for each."""
    lows_then_highs = np.empty(2 * BLOCK, np.int32)

    def random_raw(n):
        first = slice(random_raw.done, random_raw.done + n)
        random_raw.done += n
        integers = lows_then_highs[: 2 * n]
        integers[:n], integers[n:] = radius[first] << 8, angle[first] << 8
        return integers.view(np.uint64)

    random_raw.done = 0
    out = np.empty((2, len(radius)), np.float32)
    normals._box_muller(SimpleNamespace(bit_generator=SimpleNamespace(random_raw=random_raw)))(out)
    return out


def every_integer():
    for first in range(-M // 2, M // 2, M // 16):
        yield np.arange(first, first + M // 16, dtype=np.int32)


def test_all_radii():
    """The mean of r^2 and of r^4, the farthest and the nearest, and how many are beyond (about) 5, 4 and 3."""
    second = fourth = 0.0
    beyond, extremes = dict.fromkeys((62, 5628, 186_378), 0), []
    for k in every_integer():
        r = from_integers(k, np.zeros_like(k))[0]  # the cosine of 0 is 1
        for j in beyond:  # between the radii of u = j/M and (j + 1)/M
            beyond[j] += np.count_nonzero(r > sqrt(-2 * log((j + 0.5) / M)))
        extremes += [r.min(), r.max()]
        squares = r.astype(float) ** 2
        second += squares.sum() / M
        fourth += squares @ squares / M
    assert max(extremes) == pytest.approx(FARTHEST, rel=1e-6)
    assert min(extremes) == 0
    assert all(beyond[j] == j for j in beyond)
    assert list(beyond) == [ceil(M * exp(-t * t / 2)) - 1 for t in (5, 4, 3)]  # the docstring's
    assert second == pytest.approx(2 * (log(M) - lgamma(M + 1) / M), rel=1e-8)  # log M! is the sum of log j
    assert second / 2 == pytest.approx(1 - log(2 * pi * M) / (2 * M), rel=1e-8)
    assert second / 2 != pytest.approx(1, rel=1e-7)  # as midpoints j - 1/2 would have it
    fourth_moment = 3 / 8 * fourth
    assert fourth_moment == pytest.approx(3 - 3 / (2 * M) * (log(M) ** 2 / 2 + log(2 * pi) * log(M) + 2.00636), rel=1e-7)


def test_all_angles():
    """Their powers average to those of the circle; cosine and sine belong to the same angle, and all quadrants occur."""
    radius = np.full(M // 16, M // 2 - 2**20, np.int32)
    r = sqrt(-2 * log(2**20 / M))
    sums, quadrants, off_circle = np.zeros(7), set(), 0.0
    for k in every_integer():
        c, s = from_integers(radius, k).astype(float) / r
        cc, ss = c * c, s * s
        sums += [c.sum(), s.sum(), cc.sum(), ss.sum(), c @ s, cc @ cc, ss @ ss]
        off_circle = max(off_circle, abs(cc + ss - 1).max())
        quadrants |= set(zip(np.sign(c[::9973]).tolist(), np.sign(s[::9973]).tolist(), strict=True))
    np.testing.assert_allclose(sums / M, [0, 0, 1 / 2, 1 / 2, 0, 3 / 8, 3 / 8], atol=1e-7)
    assert off_circle < 1e-6
    assert set(product([-1, 1], repeat=2)) <= quadrants


def test_every_angle_is_the_stated_one():
    k = np.array([0, M // 8, M // 4, -M // 4, -M // 2, 1, M // 2 - 1], np.int32)
    c, s = from_integers(np.full_like(k, M // 2 - 1), k)
    for kk, cosine, sine in zip(k, c / FARTHEST, s / FARTHEST, strict=True):
        assert cosine == pytest.approx(cos(2 * pi * kk / M), abs=1e-6)
        assert sine == pytest.approx(np.sin(2 * pi * kk / M), abs=1e-6)


def by_formula(words, sine=np.sin, turn=2 * pi, root=np.sqrt, lowest=1, shared=False):
    """Box-Muller in float64 from words of 64 bits, and its wrong relatives."""
    halves = np.stack([words & 0xFFFFFFFF, words >> 32], axis=1).astype(np.uint32).view(np.int32).reshape(-1) >> 8
    first, second = halves.reshape(2, -1).astype(float)
    u = (M // 2 - first - 1 + lowest) / M
    angle = turn * (M // 2 - first if shared else second) / M
    with np.errstate(divide="ignore", invalid="ignore"):
        r = root(-2 * np.log(u))
        return np.concatenate([r * np.cos(angle), r * sine(angle)])


@pytest.mark.parametrize("n", [1, 2, 7, 1000, 2 * BLOCK, 2 * BLOCK + 1, 5 * BLOCK + 3])
def test_box_muller_is_its_formula(n):
    """Whatever the number, odd or over several blocks, and whatever the workspace held."""
    work = filler("box-muller", np.random.Generator(np.random.PCG64(3)))
    out = np.full(n, np.nan, np.float32)
    work(out)
    n_pairs = (n + 1) // 2
    words = np.random.PCG64(3).random_raw(n_pairs)
    halves = [by_formula(words[i : i + BLOCK]).reshape(2, -1) for i in range(0, n_pairs, BLOCK)]
    expected = np.concatenate(halves, axis=1).reshape(-1)[:n]
    np.testing.assert_allclose(out, expected, atol=3e-6)
    again = np.empty(n, np.float32)
    filler("box-muller", np.random.Generator(np.random.PCG64(3)))(again)
    np.testing.assert_array_equal(out, again)


# 2. Box-Muller: samples

N = 2_000_000


def deviations(z):
    """Distances from the normal law in exact standard errors: moments, pairs, tails. `z` is cosines, then sines."""
    half, n = len(z) // 2, len(z)
    zz = z * z
    c, s, cc, ss = z[:half], z[half:], zz[:half], zz[half:]
    moments = {"mean": (z, 0, 1), "square": (zz, 1, 2), "cube": (zz * z, 0, 15), "fourth": (zz * zz, 3, 96)}
    pairs = {
        "cosine and sine": (c * s, 0, 1),
        "their squares": (cc * ss, 1, 8),
        "square and number": (cc * s, 0, 3),
        "successive": (z[1:] * z[:-1], 0, 1),
        "successive squares": (zz[2::2] * zz[1:-1:2], 1, 8),
    }
    found = {
        name: abs(values.mean() - mean) / sqrt(variance / len(values))
        for name, (values, mean, variance) in (moments | pairs).items()
    }
    for t in (3, 4):
        p = 2 * norm.sf(t)
        found[f"beyond {t}"] = abs(np.count_nonzero(abs(z) > t) - n * p) / sqrt(n * p)
    return found


@pytest.fixture(scope="module")
def words():
    return np.random.PCG64(11).random_raw(N // 2)


@pytest.mark.parametrize("bits", GENERATORS)
def test_box_muller_is_normal(bits):
    z = fill("box-muller", np.random.Generator(bits(11)), N).astype(float)
    assert max(deviations(z).values()) < 5
    assert abs(z).max() <= FARTHEST + 1e-6


WRONG = {
    "sqrt missing": ({"root": lambda x: x}, "square"),
    "the factor 2 under the root missing": ({"root": lambda x: np.sqrt(x / 2)}, "square"),
    "half a turn": ({"turn": pi}, "mean"),
    "the cosine twice": ({"sine": np.cos}, "cosine and sine"),
    "sine of twice the angle": ({"sine": lambda a: np.sin(2 * a)}, "their squares"),
    "one uniform for radius and angle": ({"shared": True}, "their squares"),
    "uniforms of 10 bits": ({}, "beyond 4"),
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_normals_are_rejected(name, words):
    variant, notices = WRONG[name]
    if name == "uniforms of 10 bits":  # the farthest is at 3.72
        words = words & np.uint64(0xFFC00000FFC00000)
    z = by_formula(words, **variant)
    assert deviations(z)[notices] > 8, deviations(z)


def test_the_right_formula_passes(words):
    assert max(deviations(by_formula(words)).values()) < 5


def test_uniforms_from_zero_would_be_infinite():
    """[0, 1) has the logarithm of 0 where (0, 1] has the farthest number."""
    word = np.array([(1 << 31) - 1 >> 8 << 8], np.uint64)
    assert np.isinf(by_formula(word, lowest=0)[0])
    assert by_formula(word)[0] == pytest.approx(FARTHEST)


def test_a_sum_of_twelve_uniforms_is_rejected():
    z = np.random.default_rng(0).random((N, 12), dtype=np.float32).sum(axis=1).astype(float) - 6
    assert deviations(z)["fourth"] > 8


def test_the_tail_of_the_docstring():
    """What is missing beyond 3, 4 and 5 sigma, from all radii."""
    r = np.sqrt(-2 * np.log(np.arange(1, 200_000) / M))
    for t, missing in ((3, 7e-6), (4, 2.6e-4), (5, 0.02)):
        p = sum(2 * acos(t / radius) / (pi * M) for radius in r[r > t].tolist())
        assert 1 - p / (2 * norm.sf(t)) == pytest.approx(missing, rel=0.08)
    assert 1 / (2 * norm.sf(FARTHEST)) == pytest.approx(1.2e8, rel=0.05)


# 3. Signs


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("n", [1, 8, 63, 64, 65, 1000])
def test_signs_are_the_bits(n, dtype):
    bits = np.unpackbits(np.random.PCG64(5).random_raw((n + 63) // 64).view(np.uint8))[:n]
    np.testing.assert_array_equal(fill("signs", np.random.Generator(np.random.PCG64(5)), n, dtype), np.where(bits, -1, 1))


@pytest.mark.parametrize("bits", GENERATORS)
def test_signs_are_balanced_and_independent(bits):
    """Mean, lags within and across bytes and words, and each place in a word; all of variance 1 exactly."""
    z = fill("signs", np.random.Generator(bits(1)), 64 * 50_000).astype(float)
    assert (abs(z) == 1).all()
    assert abs(z.mean()) * sqrt(len(z)) < 5
    for lag in (1, 2, 7, 8, 32, 64):
        assert abs((z[lag:] * z[:-lag]).mean()) * sqrt(len(z) - lag) < 5
    assert (abs(z.reshape(-1, 64).mean(axis=0)) * sqrt(50_000)).max() < 5


# Exact weak errors: the expectation over all sequences of increments of n steps, as so many walkers


def weak_error(n_steps, values=(-1.0, 1.0)):
    """E cos(X) + E sin(X) at time 1 of Euler-Maruyama less that of dX = tanh(X) dt + dW from X = 0.5.

    The solution is a mixture of normals of variance t around x + t and x - t, of weights proportional to exp(x), exp(-x).
    """
    sequences = np.array(list(product(values, repeat=n_steps)))
    x0, noise = np.full((len(sequences), 1), 0.5), np.ascontiguousarray(sequences.T)[:, :, None]
    settings = {"step_size": 1 / n_steps, "n_steps": n_steps, "temperature": 0.5, "record_every": n_steps}
    x = overdamped(lambda x: -np.tanh(x), x0, noise=noise, **settings).x[-1, :, 0]
    up = exp(0.5) / (exp(0.5) + exp(-0.5))
    exact = sum(w * (cos(m) + np.sin(m)) * exp(-0.5) for w, m in ((up, 1.5), (1 - up, -0.5)))
    return np.mean(np.cos(x) + np.sin(x)) - exact


def test_signs_have_weak_order_one_in_a_nonlinear_drift():
    errors = np.array([weak_error(n) for n in (2, 4, 8, 16)])
    orders = np.log2(abs(errors[:-1] / errors[1:]))
    assert abs(orders[-1] - 1) < 0.1
    assert abs(errors[-1]) < 0.02


def test_increments_of_another_variance_do_not_converge():
    """+-1/sqrt(3) has the variance of a uniform number in [-1, 1]."""
    errors = [abs(weak_error(n, (-sqrt(1 / 3), sqrt(1 / 3)))) for n in (8, 16)]
    assert errors[1] > 0.1
    assert errors[1] > 0.9 * errors[0]


def test_skew_increments_have_weak_order_one_half():
    """E X^3 at time 1 of dX = -X dt + dW from 0 is 0; 2 and -1/2 in the proportion 1:4 have mean 0, variance 1, third moment 3/2."""

    def third_moment(n_steps, values, probabilities):
        sequences = np.array(list(product(values, repeat=n_steps)))
        weights = np.array(list(product(probabilities, repeat=n_steps))).prod(axis=1)
        noise = np.ascontiguousarray(sequences.T)[:, :, None]
        path = overdamped(
            lambda x: x, np.zeros((len(sequences), 1)), step_size=1 / n_steps, n_steps=n_steps, temperature=0.5, noise=noise
        )
        return weights @ path.x[-1, :, 0] ** 3

    assert abs(third_moment(8, (-1.0, 1.0), (0.5, 0.5))) < 1e-12
    skew = [third_moment(n, (2.0, -0.5), (0.2, 0.8)) for n in (8, 16)]
    assert abs(np.log2(skew[0] / skew[1]) - 0.5) < 0.1


def test_signs_on_a_quadratic_keep_the_covariance_and_not_the_fourth_moment():
    """The variance after n steps, over all sequences, is Euler-Maruyama's; the fourth cumulant is -2 where it has 0."""
    n, dt, h, temperature = 10, 0.3, 1.5, 0.7
    sequences = np.array(list(product((-1.0, 1.0), repeat=n))).T[:, :, None]
    x = overdamped(
        lambda x: h * x, np.zeros((2**n, 1)), step_size=dt, n_steps=n, temperature=temperature, noise=sequences.copy()
    )
    a, amplitude = 1 - dt * h, 2 * temperature * dt
    end = x.x[-1, :, 0]
    assert np.mean(end**2) == pytest.approx(amplitude * sum(a ** (2 * k) for k in range(n)), rel=1e-12)
    assert abs(np.mean(end**3)) < 1e-12
    cumulant = np.mean(end**4) - 3 * np.mean(end**2) ** 2
    assert cumulant == pytest.approx(-2 * amplitude**2 * sum(a ** (4 * k) for k in range(n)), rel=1e-9)


def test_signs_have_weak_order_one_in_the_sde_of_sgd():
    """dw = sqrt(g) w dW without drift, Ito's: E w is constant and E w^2 grows as exp(g t); the scheme's (1 + g dt)^n is exact."""
    errors = []
    for n in (4, 8, 16):
        sequences = np.array(list(product((-1.0, 1.0), repeat=n))).T[:, :, None].copy()
        settings = {"noise_scale": 0.5, "learning_rate": 1 / n, "n_train": 1, "n_steps": n, "record_every": n}
        w = sgd_sde(np.zeros_like, lambda w: w[:, :, None], np.ones((2**n, 1)), noise=sequences, **settings).x[-1]
        assert w.mean() == pytest.approx(1, rel=1e-12)
        assert (w**2).mean() == pytest.approx((1 + 0.5 / n) ** n, rel=1e-12)
        errors.append((w**2).mean() - exp(0.5))
    assert abs(np.log2(errors[1] / errors[2]) - 1) < 0.1


# 4. The argument of the integrators

X0 = np.linspace(-1, 1, 14, dtype=np.float32).reshape(7, 2)
ROOT = np.array([[1.0, 0.0, 0.5], [0.2, 0.7, 0.0]])


def run_overdamped(**settings):
    return overdamped(DoubleWell().gradient, X0, step_size=0.01, n_steps=5, **settings).x


def run_underdamped(**settings):
    return underdamped(DoubleWell().gradient, X0, step_size=0.01, n_steps=5, **settings).x


def run_sgd_sde(**settings):
    return sgd_sde(lambda w: w, ROOT, X0, noise_scale=1.0, learning_rate=0.1, n_train=10, n_steps=5, **settings).x


def run_sgld(**settings):
    settings = {"step_size": 0.01, "n_steps": 5, "n_train": 10, "batch_size": 10} | settings
    return sgld(None, lambda theta, batch: -theta, X0, **settings).x


RUNS = [(run_overdamped, 2), (run_underdamped, 2), (run_sgd_sde, 3), (run_sgld, 2)]


@pytest.mark.parametrize(("run", "n_noise"), RUNS)
def test_integrators_use_what_the_filler_makes(run, n_noise):
    """The path is that of `noise` filled step by step; the default is the normal one."""
    refuse_signs = run is run_underdamped
    for increments in INCREMENTS[: 2 if refuse_signs else 3]:
        noise, make = np.empty((5, 7, n_noise), np.float32), filler(increments, 8)
        for row in noise:
            make(row)
        np.testing.assert_array_equal(run(increments=increments, rng=8), run(noise=noise))
    np.testing.assert_array_equal(run(rng=8), run(increments="normal", rng=8))
    if refuse_signs:
        with pytest.raises(
            ValueError, match="increments must be one of 'normal', 'box-muller', got 'signs'; signs keep the weak order"
        ):
            run(increments="signs")


def test_leimkuhler_matthews_takes_box_muller_and_no_signs():
    noise, make = np.empty((6, 7, 2), np.float32), filler("box-muller", 8)
    for row in noise:
        make(row)
    settings = {"scheme": "leimkuhler-matthews"}
    np.testing.assert_array_equal(
        run_overdamped(increments="box-muller", rng=8, **settings), run_overdamped(noise=noise, **settings)
    )
    with pytest.raises(ValueError, match="signs keep the weak order of Euler-Maruyama steps only"):
        run_overdamped(increments="signs", **settings)


@pytest.mark.parametrize("increments", ["box-muller", "signs"])
def test_the_law_at_rest_in_the_double_well(increments):
    """Walkers that start in Boltzmann's law stay in it, at 5 standard errors; with sqrt(dt) for sqrt(2 dt) they do not.

    The bias of the scheme is below one standard error at this step, which the default normals confirm.
    """
    well, temperature, rng = DoubleWell(), 0.4, np.random.default_rng(6)
    grid = np.linspace(*well.interval(temperature), 20_001)
    density = np.exp(-well.energy(grid[:, None]) / temperature)
    cumulative = np.cumsum(density) / density.sum()
    x0 = np.interp(rng.random((10_000, 2)), cumulative, grid).astype(np.float32)
    tests = {
        "x": lambda x: x,
        "x^2": lambda x: x * x,
        "U": lambda x: well.energy(x.reshape(-1, 1)),
        "right": lambda x: x > well.top,
    }

    def deviation(increments, temperature):
        run = overdamped(
            well.gradient,
            x0,
            step_size=0.002,
            n_steps=1000,
            temperature=temperature,
            increments=increments,
            rng=2,
            record_every=1000,
        )
        found = []
        for test in tests.values():
            values, exact = test(run.x[-1].astype(float).ravel()), test(grid)
            mean = density @ exact / density.sum()
            error = sqrt(density @ (exact - mean) ** 2 / density.sum() / values.size)
            found.append(abs(values.mean() - mean) / error)
        return max(found)

    assert deviation(increments, temperature) < 5
    assert deviation("normal", temperature) < 5
    assert deviation(increments, temperature / 2) > 20


def test_increments_must_fit():
    with pytest.raises(ValueError, match="increments must be one of 'normal', 'box-muller', 'signs', got 'ziggurat'"):
        run_overdamped(increments="ziggurat")
    with pytest.raises(TypeError, match="increments must be one of 'normal', 'box-muller', 'signs', got 3 of type int"):
        filler(3)
    with pytest.raises(
        ValueError, match="increments='box-muller' must come with float32 positions, got float64; its uniforms have 24 bits"
    ):
        overdamped(lambda x: x, X0.astype(float), step_size=0.1, n_steps=1, increments="box-muller")
    with pytest.raises(
        ValueError, match="increments must be 'normal' when noise is given, got 'signs'; noise holds the increments"
    ):
        run_overdamped(increments="signs", noise=np.zeros((5, 7, 2)))
    with pytest.raises(TypeError, match="out must be a C-contiguous array of float32, got one of float64"):
        fill("box-muller", 0, 4, np.float64)
    with pytest.raises(
        TypeError, match="out must be a C-contiguous array of float32 or float64, got one of float32 with strides"
    ):
        filler("signs", 0)(np.empty((4, 4), np.float32)[:, :2])


def test_signs_in_float64():
    path = overdamped(Quadratic(np.eye(2)).gradient, X0.astype(float), step_size=0.1, n_steps=3, increments="signs", rng=0)
    assert path.x.dtype == np.float64


@pytest.mark.parametrize("increments", INCREMENTS)
def test_successive_fills_go_on(increments):
    """Every fill takes whole words from where the last one stopped; no two are alike, and the generator is the caller's."""
    rng = np.random.default_rng(4)
    make, first, second = filler(increments, rng), np.empty((5, 3), np.float32), np.empty((5, 3), np.float32)
    make(first)
    make(second)
    assert not np.array_equal(first, second)
    if increments != "normal":
        make(np.empty(64, np.float32))
        reference = np.random.PCG64(4)
        reference.random_raw({"box-muller": 8 + 8 + 32, "signs": 1 + 1 + 1}[increments])
        assert rng.bit_generator.random_raw() == reference.random_raw()
