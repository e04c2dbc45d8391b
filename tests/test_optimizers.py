"""Optimizers: impulse responses, changes of the learning rate, and Adam against its published recursion."""

import os
import pickle
import subprocess
import sys
import warnings
from dataclasses import FrozenInstanceError, dataclass
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sgdnoise import MLP, Optimizer, Schedule, Stage, adam, fast, make_blobs, sgd, train
from sgdnoise.optimizers import AdamState, SgdState

properties = settings(max_examples=50, deadline=None, derandomize=True)


def run(optimizer, gradients, learning_rates):
    """Path of the parameters, from 0."""
    params = np.zeros_like(np.asarray(gradients[0], float))
    state, path = optimizer.init(params), []
    for gradient, learning_rate in zip(gradients, learning_rates, strict=True):
        step, state = optimizer.update(np.asarray(gradient, float), state, learning_rate)
        params = params + step
        path.append(params)
    return np.array(path)


@properties
@given(momentum=st.floats(0, 0.95), nesterov=st.booleans(), learning_rate=st.floats(1e-4, 10))
def test_an_impulse_moves_the_parameters_by_the_learning_rate_over_one_minus_m(momentum, nesterov, learning_rate):
    n = 1500
    path = run(sgd(momentum, nesterov), [[1.0]] + [[0.0]] * (n - 1), [learning_rate] * n)
    assert path[-1, 0] == pytest.approx(-learning_rate / (1 - momentum), rel=1e-9)


def exact_path(gradients, learning_rates, momentum, nesterov):
    """The impulse responses written out and summed, in rational arithmetic: no recursion."""
    path, position = [], Fraction(0)
    for t, learning_rate in enumerate(learning_rates):
        trace = sum(momentum ** (t - s) * gradients[s] for s in range(t + 1))
        position -= learning_rate * (gradients[t] + momentum * trace if nesterov else trace)
        path.append(position)
    return path


@pytest.mark.parametrize("nesterov", [False, True])
def test_a_change_of_the_learning_rate_acts_as_the_trace_form_says(nesterov):
    gradients = [Fraction(g) for g in (3, -1, 4, 1, -5, 9, 2)]
    rates = [Fraction(1, 10)] * 3 + [Fraction(1, 50)] * 4
    momentum = Fraction(1, 2)
    expected = exact_path(gradients, rates, momentum, nesterov)
    path = run(sgd(0.5, nesterov), [[float(g)] for g in gradients], [float(rate) for rate in rates])
    np.testing.assert_allclose(path[:, 0], [float(x) for x in expected], rtol=1e-13)
    # Negative control: the velocity form, learning rate inside the accumulator, agrees until the change and not after it.
    velocity, position, other = Fraction(0), Fraction(0), []
    for gradient, rate in zip(gradients, rates, strict=True):
        velocity = momentum * velocity - rate * gradient
        position += -rate * gradient + momentum * velocity if nesterov else velocity
        other.append(position)
    assert other[:3] == expected[:3]
    assert all(abs(a - b) > Fraction(1, 1000) for a, b in zip(other[3:], expected[3:], strict=True))


def test_without_momentum_all_are_plain_descent():
    gradients, rates = np.random.default_rng(0).standard_normal((5, 3)), [0.1, 0.2, 0.3, 0.2, 0.1]
    expected = -np.cumsum(gradients * np.array(rates)[:, None], axis=0)
    for optimizer in (sgd(), sgd(0.0, nesterov=True)):
        np.testing.assert_allclose(run(optimizer, gradients, rates), expected, rtol=1e-13)


@properties
@given(b1=st.floats(0, 0.95), b2=st.floats(0, 0.999), eps=st.floats(0, 0.1), seed=st.integers(0, 1000))
def test_adam_is_the_published_sum(b1, b2, eps, seed):
    """Bias-corrected moments written out as weighted means of all gradients so far: no recursion."""
    gradients = np.random.default_rng(seed).standard_normal((12, 3))
    position, expected = np.zeros(3), []
    for t in range(12):
        weights = [np.array([b ** (t - s) for s in range(t + 1)]) for b in (b1, b2)]
        mean = weights[0] @ gradients[: t + 1] / weights[0].sum()
        mean_square = weights[1] @ gradients[: t + 1] ** 2 / weights[1].sum()
        position = position - 0.1 * mean / (np.sqrt(mean_square) + eps)
        expected.append(position)
    np.testing.assert_allclose(run(adam(b1, b2, eps), gradients, [0.1] * 12), expected, rtol=1e-7, atol=1e-9)


@properties
@given(scale=st.floats(1e-6, 1e6), seed=st.integers(0, 1000))
def test_adam_without_eps_does_not_see_the_scale_of_the_gradient(scale, seed):
    gradients = np.random.default_rng(seed).standard_normal((20, 2))
    rates = [0.1] * 20
    np.testing.assert_allclose(run(adam(eps=0), scale * gradients, rates), run(adam(eps=0), gradients, rates), rtol=1e-9)
    # Negative control: with eps it does.
    assert np.abs(run(adam(eps=1.0), 100 * gradients, rates) - run(adam(eps=1.0), gradients, rates)).max() > 1e-3


def test_defaults():
    gradients, rates = [[1.0], [2.0]], [0.1, 0.1]
    np.testing.assert_array_equal(run(sgd(0.9), gradients, rates), run(sgd(0.9, nesterov=False), gradients, rates))
    np.testing.assert_array_equal(run(sgd(), gradients, rates), run(sgd(0.0), gradients, rates))
    np.testing.assert_array_equal(run(adam(), gradients, rates), run(adam(0.9, 0.999, 1e-8), gradients, rates))


def test_adam_leaves_a_parameter_without_gradient_where_it_is():
    assert not run(adam(eps=0), np.zeros((3, 2)), [0.1] * 3).any()


@pytest.mark.parametrize("optimizer", [sgd(), sgd(0.9), sgd(0.9, nesterov=True), adam()])
def test_updates_change_nothing_in_place_and_keep_float32(optimizer):
    params, gradient = np.ones(3, np.float32), np.full(3, 2, np.float32)
    state = optimizer.init(params)
    before = [np.copy(part) for part in state]
    first = optimizer.update(gradient, state, 0.1)
    again = optimizer.update(gradient, state, 0.1)
    np.testing.assert_array_equal(first[0], again[0])
    assert all(np.array_equal(a, b) for a, b in zip(before, state, strict=True))
    assert first[0].dtype == np.float32
    for part in state[-2:]:
        assert isinstance(part, int) or (part.shape == (3,) and part.dtype == np.float32 and not part.any())
    assert (gradient == 2).all()


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: sgd(1.0), ValueError, "momentum must be finite and at least 0 and below 1, got 1.0"),
        (lambda: sgd(-0.1), ValueError, "momentum must be finite and at least 0 and below 1, got -0.1"),
        (lambda: sgd(float("nan")), ValueError, "momentum must be finite and at least 0 and below 1, got nan"),
        (lambda: sgd(True), TypeError, "momentum must be a number, got True of type bool"),
        (lambda: Optimizer(1, abs), TypeError, "init must be callable, got 1 of type int"),
        (lambda: Optimizer(abs, 2), TypeError, "update must be callable, got 2 of type int"),
        (lambda: sgd(0.9, nesterov=1), TypeError, "nesterov must be True or False, got 1 of type int"),
        (lambda: adam(b1=1.0), ValueError, "b1 must be finite and at least 0 and below 1, got 1.0"),
        (lambda: adam(b2=-0.5), ValueError, "b2 must be finite and at least 0 and below 1, got -0.5"),
        (lambda: adam(eps=-1e-8), ValueError, "eps must be finite and at least 0, got -1e-08"),
        (lambda: adam(eps=float("inf")), ValueError, "eps must be finite and at least 0, got inf"),
    ],
)
def test_bad_input_is_refused_by_name(call, error, message):
    with pytest.raises(error) as caught:
        call()
    assert str(caught.value) == message


# Optimizers as values.

DIFFERENT = [
    *(sgd(), sgd(0.9), sgd(0.8), sgd(nesterov=True), sgd(0.9, nesterov=True)),
    *(adam(), adam(b1=0.8), adam(b2=0.9), adam(eps=0), adam(0.999, 0.9), adam(0.0, 0.0, 0.0)),
]


def test_equal_numbers_make_equal_optimizers():
    assert sgd(0.9) == sgd(momentum=0.9) == sgd(np.float64(0.9), False)
    assert sgd() == sgd(0) == sgd(0.0, nesterov=False)
    assert adam() == adam(b1=0.9, b2=0.999, eps=1e-8) == adam(eps=np.float64(1e-8))
    assert hash(sgd(0.9)) == hash(sgd(momentum=0.9))
    assert hash(adam()) == hash(adam(0.9, 0.999, 1e-8))
    assert repr(sgd(0)) == repr(sgd(np.float64(0.0))) == "sgd(momentum=0.0, nesterov=False)"


def test_different_numbers_make_different_optimizers():
    assert len(set(DIFFERENT)) == len({repr(optimizer) for optimizer in DIFFERENT}) == len(DIFFERENT)
    for i, one in enumerate(DIFFERENT):
        assert [other for other in DIFFERENT[i + 1 :] if other == one] == []
    assert sgd() != adam(0.0, 0.0, 0.0)
    assert sgd() != Optimizer(sgd().init, sgd().update)
    assert sgd() != "sgd(momentum=0.0, nesterov=False)"


@pytest.mark.parametrize("optimizer", DIFFERENT, ids=repr)
def test_optimizers_survive_pickle_and_eval(optimizer):
    for other in (pickle.loads(pickle.dumps(optimizer)), eval(repr(optimizer), {"sgd": sgd, "adam": adam})):
        assert type(other) is type(optimizer)
        assert other == optimizer
        assert hash(other) == hash(optimizer)
        assert repr(other) == repr(optimizer)
        np.testing.assert_array_equal(run(other, [[1.0], [2.0]], [0.1] * 2), run(optimizer, [[1.0], [2.0]], [0.1] * 2))


def test_reprs_name_every_number():
    assert repr(sgd(0.9, nesterov=True)) == "sgd(momentum=0.9, nesterov=True)"
    assert repr(adam(0.5, 0.25, 0)) == "adam(b1=0.5, b2=0.25, eps=0.0)"


@pytest.mark.parametrize("seed", ["1", "2"])
def test_reprs_are_the_same_in_another_process(seed):
    code = (
        "from sgdnoise import adam, sgd\nprint(sgd(), sgd(0.9), sgd(0.9, nesterov=True), adam(), adam(0.5, 0.9, 0), sep='\\n')"
    )
    environment = os.environ | {"PYTHONHASHSEED": seed}
    printed = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True).stdout
    mine = (sgd(), sgd(0.9), sgd(0.9, nesterov=True), adam(), adam(0.5, 0.9, 0))
    assert printed.splitlines() == [repr(optimizer) for optimizer in mine]


@pytest.mark.parametrize("optimizer", [sgd(0.9), adam()], ids=repr)
def test_values_are_not_changed(optimizer):
    for name in [*vars(optimizer), "other"]:
        with pytest.raises(FrozenInstanceError):
            setattr(optimizer, name, 0.5)


@dataclass(frozen=True, repr=False)
class Signs(Optimizer):
    """One of a user's own."""

    scale: float = 2.0

    def init(self, params):
        return None

    def update(self, gradient, state, learning_rate):
        return -learning_rate * self.scale * np.sign(gradient), None


def test_a_dataclass_of_a_user_s_own_is_a_value_too():
    assert Signs() == Signs(2.0) != Signs(1.0)
    assert len({Signs(), Signs(2.0), Signs(1.0)}) == 2
    assert repr(Signs(0.5)) == "signs(scale=0.5)"
    assert pickle.loads(pickle.dumps(Signs(0.5))) == Signs(0.5)


def test_two_functions_are_an_optimizer():
    """Heavy ball written out as two functions trains as `sgd` does, in the reference and in `fast`."""
    data, model, schedule = make_blobs(200, 50, rng=0), MLP(2, (5,), 3), Schedule([Stage(2, 0.1, 16), Stage(1, 0.02, 50)])
    mine = Optimizer(np.zeros_like, lambda gradient, a, rate: (-rate * (0.9 * a + gradient), 0.9 * a + gradient))
    expected = train(model, data, schedule, sgd(0.9), rng=3)
    for history in (
        train(model, data, schedule, mine, rng=3),
        fast.train(model, data, schedule, mine, rngs=[3]).replica(0),
        fast.train(model, data, schedule, mine, rngs=[5, 3]).replica(1),
    ):
        np.testing.assert_allclose(history.params, expected.params, rtol=1e-9)
        np.testing.assert_allclose(history.train_loss, expected.train_loss, rtol=1e-9)
    other = train(model, data, schedule, sgd(0.8), rng=3)
    assert np.abs(other.params - expected.params).max() > 1e-2
    assert repr(mine).startswith("Optimizer(init=<function zeros_like at 0x")
    assert mine != Optimizer(mine.init, mine.update)  # two functions are themselves and nothing else
    assert mine == mine
    assert hash(mine) == hash(mine)


# Precisions, shapes, and results that are not finite.

ALL = pytest.mark.parametrize("optimizer", [sgd(), sgd(0.9), sgd(0.9, nesterov=True), adam(), adam(eps=0.0)], ids=repr)


@ALL
@pytest.mark.parametrize(
    "gradient",
    [
        np.array([100_000], np.int32),
        np.array([100], np.uint8),
        np.array([1000], np.float16),
        np.array([True]),
        np.array([1 + 1j]),
        np.array([Fraction(1)]),
        np.array([1.0], ">f8"),
        np.ma.masked_equal([1.0], 2.0),
        np.ones((1, 1)).view(np.matrix),
        [1.0],
        1.0,
        None,
    ],
    ids=lambda value: f"{type(value).__name__} {getattr(value, 'dtype', '')}",
)
def test_what_is_neither_float32_nor_float64_is_refused(optimizer, gradient):
    """For integers and half precision the squares of Adam wrap round or overflow without a word."""
    with pytest.raises(
        TypeError, match=r"^gradient must be a float32 or float64 array of shape \(1,\), got .*; convert it with"
    ):
        optimizer.update(gradient, optimizer.init(np.zeros(1)), 0.1)
    with pytest.raises(TypeError, match=r"^params must be a float32 or float64 array, got .*; convert it with astype\(float\)"):
        optimizer.init(gradient)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("size", [1e-3, 1.0, 100_000.0, 1e15])
def test_the_first_step_of_adam_is_the_sign_whatever_the_gradient_s_size(dtype, size):
    gradient = np.array([size, -size], dtype)
    step, _ = adam().update(gradient, adam().init(gradient), 0.1)
    assert step.dtype == dtype
    np.testing.assert_allclose(step, [-0.1, 0.1], rtol=2e-5)


@ALL
@pytest.mark.parametrize(
    "rate", [np.float64(0.25), np.float32(0.25), Fraction(1, 4), np.array(0.25), np.float16(0.25)], ids=repr
)
@pytest.mark.parametrize("precision", [np.float32, np.float64])
def test_steps_have_the_precision_of_the_parameters(optimizer, rate, precision):
    """Whatever the learning rate is written as, and whatever the gradient comes in."""
    params, gradients = np.zeros(3, precision), np.random.default_rng(0).standard_normal((4, 3)).astype(np.float32)
    states, paths = [optimizer.init(params) for _ in range(2)], ([], [])
    for gradient in gradients:
        for i, (slope, learning_rate) in enumerate([(gradient.astype(precision), 0.25), (gradient.astype(float), rate)]):
            step, states[i] = optimizer.update(slope, states[i], learning_rate)
            paths[i].append(step)
            assert step.dtype == states[i][-1].dtype == precision
    np.testing.assert_array_equal(*paths)


@ALL
@pytest.mark.parametrize(
    ("params", "gradient"), [(np.zeros(3), np.ones(1)), (np.zeros(1), np.ones(3)), (np.zeros((2, 3)), np.ones(3)),
                             (np.zeros(2), np.float64(1.0))]
)  # fmt: skip
def test_a_gradient_of_another_shape_is_refused(optimizer, params, gradient):
    """It would broadcast, and move all parameters alike."""
    with pytest.raises(ValueError, match=r"^gradient must be a float32 or float64 array of shape .*, got shape \("):
        optimizer.update(gradient, optimizer.init(params), 0.1)


@pytest.mark.parametrize("shape", [(), (1,), (2, 3)])
def test_any_shape_is_a_shape(shape):
    for optimizer in (sgd(0.9), adam()):
        params = np.ones(shape)[()]
        state = optimizer.init(params)
        for _ in range(2):
            step, state = optimizer.update(np.ones(shape)[()], state, 0.1)
        flat = run(optimizer, [[1.0], [1.0]], [0.1, 0.1])[:, 0]
        np.testing.assert_allclose(step, np.full(shape, flat[1] - flat[0]), rtol=1e-12)


@pytest.mark.parametrize(
    ("optimizer", "state", "error", "message"),
    [
        (sgd(), adam().init(np.zeros(2)), TypeError, "state must be of type SgdState, got AdamState; init makes the first"),
        (adam(), sgd().init(np.zeros(2)), TypeError, "state must be of type AdamState, got SgdState"),
        (sgd(), None, TypeError, "state must be of type SgdState, got NoneType"),
        (sgd(), SgdState(np.zeros(2, int)), TypeError, "state must be a float32 or float64 array, got an array of dtype int64"),
        (adam(), AdamState(0, np.zeros(1), np.zeros(2)), ValueError, r"state must be .* of shape \(2,\), got shape \(1,\)"),
    ],
)
def test_a_state_of_another_optimizer_is_refused(optimizer, state, error, message):
    with pytest.raises(error, match="^" + message):
        optimizer.update(np.ones(2), state, 0.1)


@ALL
@pytest.mark.parametrize(
    ("rate", "error"),
    [(np.nan, ValueError), (np.inf, ValueError), (10**400, ValueError), (np.array([0.1]), TypeError), (None, TypeError),
     ("0.1", TypeError), (True, TypeError), (0.1j, TypeError)],
)  # fmt: skip
def test_what_is_no_learning_rate_is_refused(optimizer, rate, error):
    with pytest.raises(error, match=r"^learning_rate must be"):
        optimizer.update(np.ones(1), optimizer.init(np.ones(1)), rate)


@pytest.mark.parametrize(
    ("optimizer", "params", "gradient", "rate"),
    [
        (adam(), np.zeros(1), np.array([1e200]), 0.1),  # its square overflows, and the step would be 0
        (adam(), np.zeros(1, np.float32), np.array([1e20], np.float32), 0.1),
        (sgd(), np.zeros(1), np.array([1e300]), 1e10),
        (sgd(0.9, nesterov=True), np.zeros(1), np.array([1.5e308]), 1.0),
        (sgd(), np.zeros(1, np.float32), np.array([1e300]), 0.1),
    ],
)
def test_a_step_that_overflows_is_refused_or_carried_along(optimizer, params, gradient, rate):
    with pytest.raises(ValueError, match=f"^the step and the next state must be finite, got an overflow of {params.dtype}"):
        optimizer.update(gradient, optimizer.init(params), rate)
    with np.errstate(over="ignore"):
        step, state = optimizer.update(gradient, optimizer.init(params), rate)
    assert not (np.isfinite(step).all() and np.isfinite(state[-1]).all())


@ALL
@pytest.mark.parametrize("lost", [np.nan, np.inf])
def test_what_was_lost_before_is_carried_along_without_a_warning(optimizer, lost):
    state = optimizer.init(np.zeros(2))
    for gradient in (np.array([1.0, lost]), np.array([1.0, -lost]), np.ones(2)):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            step, state = optimizer.update(gradient, state, 0.1)
        assert np.isfinite(step[0])
    assert not np.isfinite(state[-1][1])


def test_what_overflows_in_training_is_carried_along_whoever_calls_the_optimizer():
    """One of ours inside one of the user's own: `on_divergence` decides, not the optimizer."""
    data, model, schedule = make_blobs(60, 20, rng=0), MLP(2, (4,), 3), Schedule([Stage(3, 1e160, 1)])
    wrapped = Optimizer(sgd(0.9).init, lambda gradient, state, rate: sgd(0.9).update(gradient, state, rate))
    for optimizer in (sgd(0.9), wrapped):
        for training in ({"rng": 0}, {"rngs": [0, 1]}):
            history = (train if "rng" in training else fast.train)(
                model, data, schedule, optimizer, on_divergence="ignore", l2=1e300, **training
            )
            assert len(history.epoch) == 3
            assert not np.isfinite(history.params).all()
