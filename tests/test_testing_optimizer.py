"""The specification of optimizers accepts ours and rejects known-wrong ones, each for its own law and by its name."""

import numpy as np
import pytest

from sgdnoise import Optimizer, adam, sgd
from sgdnoise.testing import LawError, check_optimizer

SHAPES = ((5,), (2, 3), (), (1, 1, 2))


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("shapes", [((5,),), SHAPES], ids=["flat", "shapes"])
def test_our_optimizers(dtype, shapes):
    assert len(check_optimizer(sgd, dtype=dtype, shapes=shapes)) == 8
    assert len(check_optimizer(adam, dtype=dtype, shapes=shapes)) == 7


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
        ({"global_norm": True}, "each parameter has its own gradients, and moments of its own"),
    ],
    ids=["no bias correction", "eps inside the root", "no first moment", "one norm for all parameters"],
)
def test_wrong_adams_are_rejected(options, law):
    with pytest.raises(LawError) as caught:
        check_optimizer(adam_like(**options))
    assert law in caught.value.law


def test_the_tests_of_wrong_optimizers_accept_what_they_are_mutants_of():
    assert len(check_optimizer(sgd_like(trace_form))) == 8
    assert len(check_optimizer(adam_like())) == 7


# What shows only with other parameters, gradients, momenta or decays than the simplest.


def altered_sgd(gradient=lambda g: g, step=lambda s: s, momentum=lambda m: m):
    """Our SGD with its gradient, step or momentum altered."""

    def factory(momentum_, nesterov):
        inner = sgd(momentum(momentum_), nesterov)

        def update(grad, state, rate):
            moved, state = inner.update(gradient(grad), state, rate)
            return step(moved), state

        return Optimizer(inner.init, update)

    return lambda momentum, nesterov: factory(momentum, nesterov)


def altered_adam(gradient=lambda g: g, step=lambda s: s, moments=lambda b1, b2: (b1, b2)):
    def factory(b1, b2, eps):
        inner = adam(*moments(b1, b2), eps)

        def update(grad, state, rate):
            moved, state = inner.update(gradient(grad), state, rate)
            return step(moved), state

        return Optimizer(inner.init, update)

    return factory


def only(*indices):
    """Keep these parameters' steps."""

    def keep(step):
        kept = np.zeros_like(step)
        kept.flat[list(indices)] = step.flat[list(indices)]
        return kept

    return keep


def norm_clipped(largest):
    return lambda g: g * min(1.0, largest / (np.linalg.norm(g) or 1.0))


def matrices_by_sign(g):
    return np.sign(g) if g.ndim > 1 else g


OWN, WHOLE = "each parameter moves by its own gradients", "gradients large and small enter whole: nothing is clipped"
OWN_MOMENTS = "each parameter has its own gradients, and moments of its own"
SCALE = "with eps = 0 the scale of the gradient drops out"


@pytest.mark.parametrize(
    ("factory", "law"),
    [
        (altered_sgd(step=only(0)), OWN),
        (altered_sgd(step=only(0, 1, 2, 3)), OWN),
        (altered_sgd(gradient=lambda g: g.mean() * np.ones_like(g)), OWN),
        (altered_sgd(gradient=lambda g: g[::-1].copy()), OWN),
        (altered_sgd(gradient=lambda g: np.clip(g, -6, 6)), WHOLE),
        (altered_sgd(gradient=norm_clipped(100.0)), WHOLE),
        (altered_sgd(gradient=lambda g: g * (np.abs(g) > 1e-3)), WHOLE),
        (altered_sgd(momentum=lambda m: min(m, 0.9)), "each gradient enters with weight 1, the first and every later one"),
        (altered_adam(step=only(0)), OWN_MOMENTS),
        (altered_adam(gradient=lambda g: np.clip(g, -6, 6)), SCALE),
        (altered_adam(gradient=lambda g: np.clip(g, -1e5, 1e5)), SCALE),
        (altered_adam(moments=lambda b1, b2: (b1, min(b2, 0.99))), "the path is that of bias-corrected weighted means"),
        (altered_adam(moments=lambda b1, b2: (min(b1, 0.9), b2)), "the path is that of bias-corrected weighted means"),
    ],
)
def test_what_one_parameter_with_small_gradients_does_not_show(factory, law):
    with pytest.raises(LawError) as caught:
        check_optimizer(factory)
    assert caught.value.law == law


@pytest.mark.parametrize(
    ("factory", "law"),
    [
        (altered_sgd(step=only(0)), OWN),
        (altered_adam(gradient=lambda g: np.clip(g, -6, 6)), SCALE),
        (altered_sgd(step=lambda s: s * np.float32(1.001)), "without momentum it is plain descent"),
        (
            altered_adam(step=lambda s: s * np.float32(1.001)),
            "moments are corrected for bias: the first step is the learning rate",
        ),
    ],
)
def test_single_precision_shows_it_too(factory, law):
    with pytest.raises(LawError) as caught:
        check_optimizer(factory, dtype=np.float32)
    assert caught.value.law == law


@pytest.mark.parametrize(
    "pick", [lambda squares: squares.mean(), lambda squares: squares.flat[0], np.max], ids=["mean", "0", "max"]
)
def test_one_second_moment_for_all_parameters(pick):
    def factory(b1, b2, eps):
        def update(grad, state, rate):
            t, u, s = state[0] + 1, b1 * state[1] + (1 - b1) * grad, b2 * state[2] + (1 - b2) * pick(grad**2)
            scale = np.sqrt(s / (1 - b2**t)) + eps
            return -rate * u / (1 - b1**t) / (scale or 1), (t, u, s)

        return Optimizer(lambda params: (0, np.zeros_like(params), 0.0), update)

    with pytest.raises(LawError) as caught:
        check_optimizer(factory)
    assert caught.value.law == OWN_MOMENTS


def test_a_correction_of_the_bias_that_ends_too_early():
    """Eight updates do not show it."""

    def factory(b1, b2, eps):
        right = adam(b1, b2, eps)

        def update(grad, state, rate):
            step, after = right.update(grad, state, rate)
            if after.n_updates > 12:
                step = -rate * after.mean / (np.sqrt(after.mean_square) + eps)
            return step, after

        return Optimizer(right.init, update)

    with pytest.raises(LawError) as caught:
        check_optimizer(factory)
    assert caught.value.law == OWN_MOMENTS


@pytest.mark.parametrize("after", [13, 41, 80])
def test_an_optimizer_that_forgets_all_after_so_many_updates(after):
    def forgetful(right):
        def update(grad, state, rate):
            step, inner = right.update(grad, state[1], rate)
            return step, ((state[0] + 1, inner) if state[0] + 1 < after else (0, right.init(np.zeros_like(grad))))

        return Optimizer(lambda params: (0, right.init(params)), update)

    for factory in (
        lambda b1, b2, eps: forgetful(adam(b1, b2, eps)),
        lambda momentum, nesterov: forgetful(sgd(momentum, nesterov)),
    ):
        with pytest.raises(LawError):
            check_optimizer(factory)


@pytest.mark.parametrize("altered", [altered_sgd, altered_adam])
def test_matrices_need_a_shape_of_their_own(altered):
    wrong = altered(gradient=matrices_by_sign)
    assert check_optimizer(wrong)
    for shape in ((2, 3), (1, 4), (2, 2, 1)):
        with pytest.raises(LawError) as caught:
            check_optimizer(wrong, shapes=((5,), shape))
        assert caught.value.counterexample["shape"] == shape


# Names.


def dampened(d, first=1.0):
    """PyTorch's dampening d: the first gradient enters whole."""

    def factory(momentum, nesterov):
        def update(grad, state, rate):
            t, a = state
            a = momentum * a + (1 - d if t else first) * grad
            return -rate * (a if momentum else grad), (t + 1, a)

        return Optimizer(lambda params: (0, np.zeros_like(params)), update)

    return lambda momentum: factory(momentum, False)


def adam_variant(rule):
    """Adam with another direction, from (t, u, s, gradient, b1, b2, eps)."""

    def factory(b1, b2, eps):
        def update(grad, state, rate):
            t, u, s = state[0] + 1, b1 * state[1] + (1 - b1) * grad, b2 * state[2] + (1 - b2) * grad**2
            with np.errstate(invalid="ignore", divide="ignore"):
                direction = rule(t, u, s, grad, b1, b2, eps)
            return -rate * np.nan_to_num(direction), (t, u, s)

        return Optimizer(lambda params: (0, np.zeros_like(params), np.zeros_like(params)), update)

    return factory


def lion(b1, b2, eps):
    def update(grad, u, rate):
        return -rate * np.sign(b1 * u + (1 - b1) * grad), b2 * u + (1 - b2) * grad

    return Optimizer(np.zeros_like, update)


def efficient(t, u, s, grad, b1, b2, eps):
    """Kingma and Ba, section 2: the rate is corrected in place of the moments."""
    return np.sqrt(1 - b2**t) / (1 - b1**t) * u / (np.sqrt(s) + eps)


WEIGHT_1 = "each gradient enters with weight 1, the first and every later one"
PATH = "the path is that of bias-corrected weighted means"


@pytest.mark.parametrize(
    ("factory", "law", "name"),
    [
        (dampened(0.1), WEIGHT_1, "dampening: the first gradient enters with weight 1, later ones with 0.9 = 1 - dampening"),
        (dampened(0.75), WEIGHT_1, "dampening: the first gradient enters with weight 1, later ones with 0.25"),
        (dampened(1.0), WEIGHT_1, "later ones with 0 = 1 - dampening"),
        (dampened(0.3, first=0.7), "an impulse moves the parameters by", "the first gradient enters with weight 0.7"),
        (sgd_like(velocity), "the learning rate stands outside", "the velocity form"),
        (sgd_like(ema), "an impulse moves the parameters by", "an average in place of a sum"),
        (sgd_like(old_accumulator), "Nesterov looks ahead", "momentum without a look ahead"),
        (sgd_like(sign_missing), "plain descent", "a step of the wrong sign"),
        (adam_variant(efficient), "eps is added after the moments are corrected for bias", "Kingma's efficient Adam"),
        (lion, PATH, "Lion: the sign of an average of gradients"),
        (lambda b1, b2, eps: lion(b1, b1, eps), PATH, "Lion"),
        (adam_variant(lambda t, u, s, g, b1, b2, eps: u / (1 - b1**t)), "moments are corrected for bias", ""),
        (adam_like(root_of_eps=True), "eps stands outside the root", "Adam with eps inside the root"),
        (adam_like(correct=False), "moments are corrected for bias", "Adam without correction of the bias"),
        (adam_like(decay_on_gradient=False), PATH, "RMSprop"),
    ],
)
def test_a_known_variant_is_named(factory, law, name):
    with pytest.raises(LawError) as caught:
        check_optimizer(factory)
    assert law in caught.value.law
    assert name in caught.value.hint
    assert bool(name) == ("looks like: " in str(caught.value))


@pytest.mark.parametrize(
    ("factory", "name"), [(dampened(0.1), "0.9 = 1 - dampening"), (lion, "Lion"), (sgd_like(ema), "an average")]
)
def test_a_variant_is_named_in_single_precision(factory, name):
    with pytest.raises(LawError) as caught:
        check_optimizer(factory, dtype=np.float32)
    assert name in caught.value.hint


# Which of the two it is taken for.


def beta_names(beta_1, beta_2, epsilon):
    return adam(beta_1, beta_2, epsilon)


def test_a_factory_of_any_keywords_is_what_the_caller_says():
    assert len(check_optimizer(lambda **kw: sgd(**kw), kind="sgd")) == 8
    assert len(check_optimizer(lambda **kw: adam(**kw), kind="adam")) == 7
    assert len(check_optimizer(lambda momentum, **kw: sgd(momentum, **kw))) == 8
    with pytest.raises(LawError, match="Nesterov looks ahead"):
        check_optimizer(lambda **kw: sgd_like(without_look_ahead)(**kw), kind="sgd")


@pytest.mark.parametrize(
    ("factory", "kind", "message"),
    [
        (
            lambda **kw: sgd(**kw),
            None,
            r"momentum \(SGD\) or b1 \(Adam\), or kind must be given, got the parameters \(\*\*kw\)",
        ),
        (beta_names, None, r"kind must be given, got the parameters \(beta_1, beta_2, epsilon\)"),
        (
            beta_names,
            "adam",
            r'must take the keywords b1, b2, eps .* kind="adam", got the parameters \(beta_1, beta_2, epsilon\)',
        ),
        (beta_names, "sgd", "must take the keywords momentum"),
        (lambda b1, b2: adam(b1, b2), None, "must take the keywords b1, b2, eps"),
        (sgd, "adam", "must take the keywords b1, b2, eps"),
    ],
)
def test_a_factory_that_cannot_be_called_so(factory, kind, message):
    with pytest.raises(TypeError, match=message):
        check_optimizer(factory, kind=kind)


def test_what_was_assumed_is_said():
    with pytest.raises(LawError) as caught:
        check_optimizer(lambda momentum: sgd_like(velocity)(momentum, False))
    assert 'taken for: kind="sgd", by its parameter momentum; Nesterov not checked' in str(caught.value)
    with pytest.raises(LawError) as caught:
        check_optimizer(adam_like(correct=False))
    assert 'taken for: kind="adam", by its parameter b1' in str(caught.value)
    with pytest.raises(LawError) as caught:
        check_optimizer(adam_like(correct=False), kind="adam")
    assert "taken for" not in str(caught.value)
    with pytest.raises(TypeError) as error:
        check_optimizer(lambda momentum=0.5, b1=0.5, b2=0.5, eps=0.1: sgd(b1, "yes"))
    assert 'taken for: kind="adam"' in error.value.__notes__[-1]


# What is no optimizer.


@pytest.mark.parametrize(
    "update", [lambda g, state, rate: None, lambda g, state, rate: -rate * g, lambda g, state, rate: (g, state, 1)]
)
def test_update_returns_a_pair(update):
    with pytest.raises(TypeError, match=r"what optimizer.update returns must be a pair \(step, state\), got"):
        check_optimizer(lambda momentum: Optimizer(np.zeros_like, update))


@pytest.mark.parametrize("shaped", [lambda g: g[:1], lambda g: g[:, None], np.sum])
def test_a_step_of_another_shape_is_not_broadcast(shaped):
    with pytest.raises(LawError, match="a step has the shape of the parameters"):
        check_optimizer(lambda momentum: Optimizer(np.zeros_like, lambda g, state, rate: (-rate * shaped(g), state)))


def test_rtol_is_the_callers():
    off = altered_sgd(step=lambda s: s * (1 + 1e-6))
    assert len(check_optimizer(off, rtol=1e-5)) == 8
    with pytest.raises(LawError, match="plain descent"):
        check_optimizer(off)
    assert len(check_optimizer(sgd, rtol=1e-13)) == 8
