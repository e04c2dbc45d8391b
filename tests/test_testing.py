"""The specification accepts ours and rejects known-wrong implementations, each for its own law."""

from fractions import Fraction
from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest

from sgdnoise import MLP, LogisticRegression, Optimizer, adam, minibatches, noise_scale, sgd
from sgdnoise.testing import LawError, check_gradient, check_noise_scale, check_optimizer, check_sampler

# Ours.


def test_our_noise_scale():
    laws = check_noise_scale(noise_scale, exact=True)
    assert laws == check_noise_scale(noise_scale)
    assert len(laws) == 5


@pytest.mark.parametrize("factory", [sgd, adam])
def test_our_optimizers(factory):
    assert len(check_optimizer(factory)) == 4


@pytest.mark.parametrize("model", [MLP(3, (), 3), MLP(3, (5, 4), 3, "tanh"), MLP(3, (6,), 2, "relu"), LogisticRegression(4)])
def test_our_models(model):
    assert len(check_gradient(model)) == 6


@pytest.mark.parametrize(("sampling", "n_laws"), [("reshuffle", 8), ("without_replacement", 7), ("with_replacement", 6)])
def test_our_samplers(sampling, n_laws):
    assert len(check_sampler(partial(minibatches, sampling=sampling), sampling=sampling)) == n_laws


# Known-wrong implementations of g.


def g(learning_rate, batch_size, n_train, *, momentum=0, replace=False):
    """Right, and short; each mutant differs from it in one place."""
    left_out = n_train if replace else n_train - batch_size
    return learning_rate * left_out / batch_size / (1 - momentum)


NOISE_SCALES = {
    "eps N/B for the exact law": (
        lambda eps, B, N, momentum=0, replace=False: eps * N / B / (1 - momentum),
        "the full batch has no noise",
    ),
    "F of divisor N": (
        lambda eps, B, N, **options: g(eps, B, N, **options) * (1 if options.get("replace") or N == 1 else N / (N - 1)),
        "variance over every possible minibatch",
    ),
    "N/B without the learning rate": (lambda eps, B, N, **options: N / B, "the full batch has no noise"),
    "B/N - 1": (lambda eps, B, N, momentum=0, replace=False: eps * (B / N - 1) / (1 - momentum), "variance over every"),
    "1 + m for 1 - m": (
        lambda eps, B, N, momentum=0, replace=False: g(eps, B, N, replace=replace) / (1 + momentum),
        "momentum multiplies g by 1/(1 - m)",
    ),
    "no momentum": (lambda eps, B, N, momentum=0, replace=False: g(eps, B, N, replace=replace), "momentum multiplies g"),
    "replacement forgotten": (lambda eps, B, N, momentum=0, replace=False: g(eps, B, N, momentum=momentum), "with replacement"),
    "one half": (lambda eps, B, N, **options: g(eps, B, N, **options) / 2, "variance over every possible minibatch"),
    "whole-number division": (
        lambda eps, B, N, **options: g(eps, B, N, **options) if N < 10 else eps * (N // B - 1),
        "any size",
    ),
}


@pytest.mark.parametrize("mutant", NOISE_SCALES)
def test_wrong_noise_scales_are_rejected(mutant):
    fn, law = NOISE_SCALES[mutant]
    with pytest.raises(LawError) as caught:
        check_noise_scale(fn)
    assert law in caught.value.law


def test_the_test_of_the_mutants_accepts_what_they_are_mutants_of():
    assert len(check_noise_scale(g)) == 5
    for form in (lambda eps, B, N: eps * (N / B - 1), lambda eps, B, N: eps * N / B - eps):
        assert len(check_noise_scale(form, momentum=False, replace=False)) == 3


# Known-wrong optimizers.


def sgd_like(rule):
    """Optimizer factory from ``rule(gradient, state, learning_rate, m, nesterov) -> (step, state)``."""

    def factory(momentum, nesterov):
        return Optimizer(np.zeros_like, lambda grad, state, rate: rule(grad, state, rate, momentum, nesterov))

    return factory


def trace_form(grad, a, rate, m, nesterov):
    a = m * a + grad
    return -rate * (grad + m * a if nesterov else a), a


def ema(grad, a, rate, m, nesterov):
    a = m * a + (1 - m) * grad
    return -rate * ((1 - m) * grad + m * a if nesterov else a), a


def velocity(grad, v, rate, m, nesterov):
    v = m * v - rate * grad
    return -rate * grad + m * v if nesterov else v, v


def without_look_ahead(grad, a, rate, m, nesterov):
    return trace_form(grad, a, rate, m, False)


def old_accumulator(grad, a, rate, m, nesterov):
    new = m * a + grad
    return -rate * (grad + m * a if nesterov else new), new


def sign_missing(grad, a, rate, m, nesterov):
    step, a = trace_form(grad, a, rate, m, nesterov)
    return -step, a


SGDS = {
    "EMA momentum": (ema, "an impulse moves the parameters by"),
    "velocity form": (velocity, "the learning rate stands outside the accumulator"),
    "Nesterov without look-ahead": (without_look_ahead, "Nesterov looks ahead"),
    "Nesterov with the old accumulator": (old_accumulator, "Nesterov looks ahead"),
    "the paper's sign": (sign_missing, "without momentum it is plain descent"),
}


@pytest.mark.parametrize("mutant", SGDS)
def test_wrong_sgds_are_rejected(mutant):
    rule, law = SGDS[mutant]
    with pytest.raises(LawError) as caught:
        check_optimizer(sgd_like(rule))
    # Nesterov with the old accumulator lacks a part of the impulse, too.
    assert law in caught.value.law or (mutant == "Nesterov with the old accumulator" and "impulse" in caught.value.law)


def adam_like(correct=True, root_of_eps=False, decay_on_gradient=True, global_norm=False):
    def factory(b1, b2, eps):
        def update(grad, state, rate):
            squares = (grad**2).mean() if global_norm else grad**2
            t, u, s = state[0] + 1, b1 * state[1] + (1 - b1) * grad, b2 * state[2] + (1 - b2) * squares
            u_hat, s_hat = (u / (1 - b1**t), s / (1 - b2**t)) if correct else (u, s)
            scale = np.sqrt(s_hat + eps) if root_of_eps else np.sqrt(s_hat) + eps
            mean = u_hat if decay_on_gradient else grad
            return -rate * mean / np.where(scale > 0, scale, 1), (t, u, s)

        return Optimizer(lambda params: (0, np.zeros_like(params), np.zeros_like(params)), update)

    return factory


@pytest.mark.parametrize(
    ("options", "law"),
    [
        ({"correct": False}, "moments are corrected for bias"),
        ({"root_of_eps": True}, "eps stands outside the root"),
        ({"decay_on_gradient": False}, "bias-corrected weighted means"),
        ({"global_norm": True}, "the first step is the learning rate"),
    ],
    ids=["no bias correction", "eps inside the root", "no first moment", "one norm for all parameters"],
)
def test_wrong_adams_are_rejected(options, law):
    with pytest.raises(LawError) as caught:
        check_optimizer(adam_like(**options))
    assert law in caught.value.law


def test_the_tests_of_wrong_optimizers_accept_what_they_are_mutants_of():
    assert len(check_optimizer(sgd_like(trace_form))) == 4
    assert len(check_optimizer(adam_like())) == 4


# Known-wrong gradients.

MODEL = MLP(3, (4,), 2, "tanh")


def scaled_l2(l2, y):
    return l2 / len(y)


MODELS = {
    "a loss that is the sum": (
        SimpleNamespace(
            loss=lambda p, X, y, l2: (len(y) - 1) * MODEL.loss(p, X, y) + MODEL.loss(p, X, y, l2),
            gradient=lambda p, X, y, l2: (
                len(y) * MODEL.gradient(p, X, y) + MODEL.gradient(p, X, y, l2) - MODEL.gradient(p, X, y)
            ),
        ),
        "the loss is a mean: examples given twice change nothing",
    ),
    "the mean for every example": (
        SimpleNamespace(
            loss=MODEL.loss,
            gradient=MODEL.gradient,
            per_example_gradients=lambda p, X, y: np.tile(MODEL.gradient(p, X, y), (len(y), 1)),
        ),
        "each per-example gradient is the gradient of that example alone",
    ),
    "L2 divided by the batch size": (
        SimpleNamespace(
            loss=lambda p, X, y, l2: MODEL.loss(p, X, y, scaled_l2(l2, y)),
            gradient=lambda p, X, y, l2: MODEL.gradient(p, X, y, scaled_l2(l2, y)),
        ),
        "the L2 term does not depend on the batch size",
    ),
    "sum for the mean": (
        SimpleNamespace(loss=MODEL.loss, gradient=lambda p, X, y, l2: len(y) * MODEL.gradient(p, X, y, l2)),
        "the gradient is the derivative of the loss",
    ),
    "L2 forgotten": (
        SimpleNamespace(loss=MODEL.loss, gradient=lambda p, X, y, l2: MODEL.gradient(p, X, y)),
        "the gradient is the derivative of the loss",
    ),
    "per-example gradients divided by n": (
        SimpleNamespace(
            loss=MODEL.loss,
            gradient=MODEL.gradient,
            per_example_gradients=lambda p, X, y: MODEL.per_example_gradients(p, X, y) / len(y),
        ),
        "each per-example gradient is the gradient of that example alone",
    ),
    "Gauss-Newton for the Hessian": (
        SimpleNamespace(
            loss=MODEL.loss,
            gradient=MODEL.gradient,
            hessian_vector_product=lambda p, v, X, y, l2: (
                MODEL.per_example_gradients(p, X, y).T @ (MODEL.per_example_gradients(p, X, y) @ v) / len(y) + l2 * v
            ),
        ),
        "the Hessian-vector product is the derivative of the gradient",
    ),
}


@pytest.mark.parametrize("mutant", MODELS)
def test_wrong_gradients_are_rejected(mutant):
    model, law = MODELS[mutant]
    rng = np.random.default_rng(1)
    data = rng.standard_normal((6, 3)), rng.integers(2, size=6)
    model = SimpleNamespace(n_params=MODEL.n_params, **vars(model))
    with pytest.raises(LawError) as caught:
        check_gradient(model, data=data)
    assert caught.value.law == law


# Known-wrong samplers.


def repeats_its_permutation(n, b, rng):
    return np.random.default_rng(1).permutation(n)[: n // b * b].reshape(-1, b)


def neighbours(n, b, rng):
    order = (np.arange(n) + rng.integers(n)) % n
    return order[: n // b * b].reshape(-1, b)


def never_the_last(n, b, rng):
    """Shuffles all but the last example to the front whenever there is a last batch to leave it out of."""
    order = rng.permutation(n - 1) if n % b else rng.permutation(n)
    return order[: n // b * b].reshape(-1, b)


SAMPLERS = {
    "with replacement posing as without": (
        partial(minibatches, sampling="with_replacement"),
        "without_replacement",
        "no example comes twice in a batch",
    ),
    "fresh subsets posing as a reshuffle": (
        partial(minibatches, sampling="without_replacement"),
        "reshuffle",
        "no example comes twice in an epoch",
    ),
    "a reshuffle posing as fresh subsets": (minibatches, "without_replacement", "the covariance of two batches of an epoch"),
    "without posing as with replacement": (
        partial(minibatches, sampling="without_replacement"),
        "with_replacement",
        "the variance of a batch's noise",
    ),
    "a reshuffle that repeats its permutation": (
        repeats_its_permutation,
        "reshuffle",
        "every example is equally likely in every batch",
    ),
    "neighbours in place of a permutation": (neighbours, "reshuffle", "the variance of a batch's noise"),
    "an example that never comes": (never_the_last, "reshuffle", "every example is equally likely in every batch"),
    "keeps the last, smaller batch": (
        lambda n, b, rng: np.array_split(rng.permutation(n), range(b, n, b)),
        "reshuffle",
        "an epoch has N // B batches of B",
    ),
    "counts from 1": (lambda n, b, rng: minibatches(n, b, rng=rng) + 1, "reshuffle", "indices are from 0 to N - 1"),
}


@pytest.mark.parametrize("mutant", SAMPLERS)
def test_wrong_samplers_are_rejected(mutant):
    fn, sampling, law = SAMPLERS[mutant]
    with pytest.raises(LawError) as caught:
        check_sampler(fn, sampling=sampling)
    assert caught.value.law == law


def test_an_epoch_dealt_twice_is_not_independent():
    """Each permutation is right, but comes twice: only the comparison between epochs can see it."""
    kept = {}

    def twice(n, b, rng):
        if (n, b) in kept:
            return kept.pop((n, b))
        kept[n, b] = minibatches(n, b, rng=rng)
        return kept[n, b]

    with pytest.raises(LawError) as caught:
        check_sampler(twice)
    assert caught.value.law == "an epoch is independent of the one before"


# What a failure says.


def test_a_failure_names_the_law_the_smallest_counterexample_and_the_expected_value():
    with pytest.raises(LawError) as caught:
        check_noise_scale(lambda eps, B, N, momentum=0: g(eps, B, N) / (1 + momentum), replace=False)
    assert caught.value.counterexample == {
        "learning_rate": 1,
        "batch_size": 1,
        "n_train": 2,
        "momentum": Fraction(1, 8),
    }
    assert caught.value.expected == Fraction(8, 7)
    assert str(caught.value) == (
        "law broken: momentum multiplies g by 1/(1 - m)\n"
        "  counterexample: learning_rate=1, batch_size=1, n_train=2, momentum=1/8\n"
        "  expected: 8/7\n"
        "  got: 0.8888888888888888"
    )
    assert not getattr(caught.value, "__notes__", [])


def test_an_exception_in_the_implementation_is_a_broken_law():
    with pytest.raises(LawError, match="got: ZeroDivisionError") as caught:
        check_noise_scale(lambda eps, B, N: eps / (N - B), momentum=False, replace=False)
    assert isinstance(caught.value.__cause__, ZeroDivisionError)


def test_bad_arguments():
    with pytest.raises(ValueError, match="sampling must be one of"):
        check_sampler(minibatches, sampling="shuffled")
