"""Arguments of the wrong kind, wherever they are given: the error is a TypeError or ValueError and names the argument."""

from fractions import Fraction

import numpy as np
import pytest

from sgdnoise import MLP, Schedule, Stage, adam, make_blobs, minibatches, noise_scale, sgd, stationary, step_decay, train
from sgdnoise import _checks as check
from sgdnoise.boltzmann import boltzmann_density, kramers_time, mean_passage_time
from sgdnoise.energies import DoubleWell, GaussianWells, MixturePosterior, Quadratic, Rugged
from sgdnoise.langevin import overdamped
from sgdnoise.normals import filler

POSTERIOR = MixturePosterior(np.array([0.1, -0.3, 1.2]))
THETA = np.array([[0.1, 0.2], [0.3, -0.4]])
GRID = np.linspace(-1, 1, 5)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: GaussianWells(depths=3), "depths must be a sequence of numbers, got 3 of type int"),
        (lambda: GaussianWells(widths="ab"), "widths must be a sequence of numbers, got 'ab' of type str"),
        (lambda: GaussianWells(centres=1.0), "centres must be a sequence of points, got 1.0 of type float"),
        (lambda: GaussianWells(centres=(1.0, 2.0)), "centres must be a sequence of numbers, got 1.0 of type float"),
        (lambda: Rugged(amplitudes=b"12"), "amplitudes must be a sequence of two numbers, got b'12' of type bytes"),
        (lambda: MLP(3, b"12", 3), "hidden_layer_sizes must be "),
        (
            lambda: Stage(1, np.timedelta64(3, "s"), 4),
            "learning_rate must be a number, got np.timedelta64(3,'s') of type timedelta64",
        ),
        (lambda: Stage(np.timedelta64(3, "s"), 0.1, 4), "n_epochs must be an integer, at least 1, got np.timedelta64(3,'s')"),
        (
            lambda: noise_scale(np.array([3], "m8[s]"), 1, 10),
            "learning_rate must be a number or an array of numbers, got an array",
        ),
        (
            lambda: step_decay(0.1, 4, milestones="12", n_epochs=3, factor=2),
            "milestones must be a sequence of integers, got '12'",
        ),
        (lambda: sgd(np.ma.masked), "momentum must be a number, got a masked array"),
        (lambda: adam(b2=np.ones((1, 1)).view(np.matrix)), "b2 must be a number, got a matrix"),
        (
            lambda: Quadratic(np.ma.masked_array(np.eye(2), np.eye(2) > 0)),
            "hessian must be a float32 or float64 array of shape",
        ),
        (lambda: DoubleWell().energy(3.0), "x must be a float32 or float64 array of shape (n_walkers, n_dims), got 3.0"),
        (
            lambda: DoubleWell().gradient(np.arange(4).reshape(4, 1)),
            "x must be a float32 or float64 array of shape (n_walkers, n",
        ),
        (lambda: POSTERIOR.gradient(np.ma.masked_array(THETA, THETA > 0)), "theta must be a float32 or float64 array of shape"),
        (
            lambda: POSTERIOR.grad_log_likelihood(theta=THETA, batch=THETA),
            "batch must be an integer array of shape (2, n), got an",
        ),
        (lambda: POSTERIOR.moments(2.5), "n_points must be an integer, at least 2, got 2.5 of type float"),
        (lambda: boltzmann_density(DoubleWell().energy, 1.0, 3), "axes must be a sequence of arrays, got 3 of type int"),
        (
            lambda: boltzmann_density(lambda x: 1.0, 1.0, [GRID]),
            "energy(x) must be a float32 or float64 array of shape (5,), got 1.0",
        ),
        (lambda: boltzmann_density(3, 1.0, [GRID]), "energy must be callable, got 3 of type int"),
        (lambda: filler("normal", 0)([1.0]), "out must be a C-contiguous array of float32 or float64, got one of type list"),
        (lambda: filler("normal", 0)(np.arange(3)), "out must be a C-contiguous array of float32 or float64, got one of int64"),
        (lambda: train(3, make_blobs(9, 9, rng=0), Schedule([Stage(1, 0.1, 4)]), sgd()), "model must be an object with "),
        (lambda: minibatches(10.0, 2), "n_train must be an integer, at least 1, got 10.0 of type float"),
    ],
)
def test_a_wrong_kind_is_a_type_error_that_names_the_argument(call, message):
    with pytest.raises(TypeError) as caught:
        call()
    assert str(caught.value).startswith(message)


FLAT = "energy(x)/temperature must be numbers, some of them finite, got NaN, -inf or nothing but inf"


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: POSTERIOR.grad_log_likelihood(THETA, np.array([[0], [-1]])),
            "batch must be indices from 0 to 2, got some from -1 to 0",
        ),
        (
            lambda: POSTERIOR.grad_log_likelihood(THETA, np.array([[0], [3]])),
            "batch must be indices from 0 to 2, got some from 0 to 3",
        ),
        (
            lambda: POSTERIOR.grad_log_likelihood(THETA, np.array([0, 1])),
            "batch must be an integer array of shape (2, n), got shape (2,)",
        ),
        (
            lambda: POSTERIOR.energy(THETA[:, :1]),
            "theta must be a float32 or float64 array of shape (n_walkers, 2), got shape (2, 1)",
        ),
        (
            lambda: Quadratic(np.eye(3)).gradient(THETA),
            "x must be a float32 or float64 array of shape (n_walkers, 3), got shape (2, 2)",
        ),
        (
            lambda: GaussianWells().energy(THETA[0]),
            "x must be a float32 or float64 array of shape (n_walkers, 2), got shape (2,)",
        ),
        (
            lambda: DoubleWell().energy(np.full((2, 1), 1e200)),
            "x must be where the energy is finite, got a walker as far out as 1e+200",
        ),
        (lambda: Rugged(wavelengths=(1e-320, 1.0)), "wavelengths must be finite and at least 1e-150, got 1e-320"),
        (lambda: DoubleWell().interval(1e308), "the result must be finite"),
        (lambda: DoubleWell().escape_times(1e-5), "the result must be finite"),
        (lambda: Quadratic(np.eye(2) * 1e-200).covariance(1e200), "the result must be finite, got inf"),
        (lambda: kramers_time(1.0, 1.0, 1.0, 1e-4), "the result must be finite"),
        (
            lambda: mean_passage_time(lambda x: x[:, 0] ** 2, 0.0, 1e16, -5.0, 1.0),
            "the result must be finite, got inf; the walker",
        ),
        (lambda: boltzmann_density(lambda x: x[:, 0] * np.nan, 1.0, [GRID]), FLAT),
        (lambda: boltzmann_density(lambda x: x[:, 0] + np.inf, 1.0, [GRID]), FLAT),
        (
            lambda: boltzmann_density(DoubleWell().energy, 1.0, [GRID[::-1]]),
            "axes must be rising and evenly spaced, two points or more",
        ),
        (
            lambda: boltzmann_density(DoubleWell().energy, 1.0, [GRID**3]),
            "axes must be rising and evenly spaced, two points or more",
        ),
        (
            lambda: boltzmann_density(DoubleWell().energy, 1.0, [GRID[:1]]),
            "axes must be rising and evenly spaced, two points or more",
        ),
        (lambda: boltzmann_density(DoubleWell().energy, 1.0, []), "axes must hold at least one array, got none"),
        (
            lambda: boltzmann_density(lambda x: x, 1.0, [GRID]),
            "energy(x) must be a float32 or float64 array of shape (5,), got shape",
        ),
        (lambda: stationary.max_stable_learning_rate(10**400), "curvature must be finite and above 0, got 1000"),
    ],
)
def test_a_wrong_value_is_a_value_error_that_names_the_argument(call, message):
    with pytest.raises(ValueError) as caught:
        call()
    assert str(caught.value).startswith(message)


def test_a_slope_by_coordinate_takes_any_shape():
    for well in (DoubleWell(), Rugged()):
        x = np.linspace(-1, 1, 6)
        np.testing.assert_array_equal(well.gradient(x), well.gradient(x[:, None])[:, 0])
        np.testing.assert_array_equal(well.gradient(x.reshape(1, 2, 3)).ravel(), well.gradient(x))
        with pytest.raises(
            ValueError, match=r"^x must be a float32 or float64 array of shape \(n_walkers, n_dims\), got shape \(\)"
        ):
            well.gradient(np.array(1.0))
        with pytest.raises(
            ValueError, match=r"^x must be a float32 or float64 array of shape \(n_walkers, n_dims\), got shape \(6,\)"
        ):
            well.energy(x)


def test_divergence_can_be_seen():
    """Gradients of walkers beyond floating point, and energies of walkers that are NaN, are NaN or infinite without a warning."""
    for well, far in ((DoubleWell(), 1e200), (Rugged(), 1e309), (Quadratic(np.eye(1) * 1e200), 1e200)):
        assert not np.isfinite(well.gradient(np.full((1, 1), far))).all()
        assert np.isnan(well.energy(np.array([[np.nan]]))).all()
    assert np.isnan(POSTERIOR.energy(np.full((2, 2), np.nan))).all()


def test_a_density_may_have_walls():
    """Energies that are infinite beyond a wall: a box, of density 1/(its width)."""
    x = np.linspace(-2, 2, 401)
    density = boltzmann_density(lambda x: np.where(abs(x[:, 0]) <= 1, 0.0, np.inf), 1.0, [x])
    assert density[200] == pytest.approx(1 / 2.01, rel=1e-12)
    assert density[0] == 0


@pytest.mark.parametrize(
    "value", [0, 3, 10**20, Fraction(1, 3), 0.5, np.float32(0.5), np.float64(2), np.int8(4), np.longdouble(1)]
)
def test_numbers_pass_as_they_are_but_narrow_ones(value):
    found = check.number("x", value)
    assert found == value
    assert type(found) is (int if isinstance(value, np.integer) else float if isinstance(value, np.longdouble) else type(value))


def test_a_long_integer_is_shown_as_far_as_it_can_be():
    with pytest.raises(ValueError, match=r"^n must be an integer from 1 to 5, got 1000+\.\.\.$"):
        check.integer("n", 10**100, 1, 5)
    with pytest.raises(
        ValueError, match=r"^n must be an integer, at least 1, got a value that cannot be shown; it must fit into 64 bits$"
    ):
        check.integer("n", 10**5000)
    with pytest.raises(ValueError, match=r"^x must be finite, got a value that cannot be shown$"):
        check.number("x", 10**5000)


def test_energies_may_be_whole_numbers_and_axes_in_single_precision():
    """A step of height 2 at 0, seen by whole numbers: the same as by real ones; single precision rounds a spacing by 1e-3."""

    def step(dtype):
        return lambda x: (x[:, 0] > 0).astype(dtype) * 2

    assert mean_passage_time(step(int), 0.0, 1.0, -1.0, 1.0) == mean_passage_time(step(float), 0.0, 1.0, -1.0, 1.0)
    x = np.linspace(-4, 5, 20001, dtype=np.float32)
    np.testing.assert_allclose(
        boltzmann_density(step(int), 1.0, [x])[::1000],
        boltzmann_density(step(float), 1.0, [x.astype(float)])[::1000],
        rtol=1e-3,
    )
    assert boltzmann_density(DoubleWell().energy, 1.0, [np.linspace(100, 101, 201, dtype=np.float32)]).shape == (201,)


def test_integrators_look_at_what_a_landscape_is_given_once():
    """And not at every step, which would take a third of the time; a wrong start is refused all the same."""
    wells, x0 = GaussianWells(), np.zeros((3, 2))
    settings = {"step_size": 0.1, "n_steps": 5, "rng": 0}
    expected = overdamped(lambda x: wells.gradient(x), x0, **settings).x
    np.testing.assert_array_equal(overdamped(wells.gradient, x0, **settings).x, expected)
    with pytest.raises(
        ValueError, match=r"^x must be a float32 or float64 array of shape \(n_walkers, 2\), got shape \(3, 3\)"
    ):
        overdamped(wells.gradient, np.zeros((3, 3)), **settings)
