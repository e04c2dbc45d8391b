"""Optimizers: impulse responses, changes of the learning rate, and Adam against its published recursion."""

import os
import pickle
import subprocess
import sys
from dataclasses import FrozenInstanceError, dataclass
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sgdnoise import MLP, Optimizer, Schedule, Stage, adam, fast, make_blobs, sgd, train

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
