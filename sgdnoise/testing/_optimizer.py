"""The laws of SGD with momentum, and of Adam."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from fractions import Fraction
from typing import Any

import numpy as np

from ..optimizers import Optimizer
from ._laws import Comparison, Law, check_laws
from ._strategies import gradient_sequences, learning_rates, momenta


def _path(optimizer: Optimizer, sequence: Sequence[tuple[Any, Any]]) -> list[float]:
    """Positions of one parameter, from 0, after each (gradient, learning rate).

    A second parameter is beside it, with a gradient of its own that must not be felt.
    """
    params = np.zeros(2)
    state, path = optimizer.init(params), []
    for gradient, learning_rate in sequence:
        step, state = optimizer.update(np.array([float(gradient), 3.0]), state, float(learning_rate))
        params = params + np.asarray(step)
        path.append(float(params[0]))
    return path


def check_optimizer(factory: Callable[..., Optimizer]) -> tuple[str, ...]:
    r"""Check SGD with momentum, or Adam; return the laws that hold, or raise `LawError` with the first that does not.

    Parameters
    ----------
    factory : callable
        Makes an optimizer with ``init(params)`` and ``update(gradient, state, learning_rate) -> (step, state)``. A factory with
        a parameter ``b1`` has to make Adam, from the keywords ``b1``, ``b2`` and ``eps``; any other factory SGD, from the
        keyword ``momentum`` and, if there is one, ``nesterov``.

    Notes
    -----
    The parameters after each update are compared with sums over all gradients so far, to nine digits; no recursion is involved.

    Convention: the trace form of momentum, ``a <- m a + gradient; w <- w - learning_rate * a``, Nesterov with the new a; Adam
    with bias correction and eps outside the root.

    References
    ----------
    Tutorial 9, ``tutorials/09_test_your_own.md``.

    Examples
    --------
    A PyTorch optimizer needs a few lines of adapter::

        def torch_sgd(momentum, nesterov):
            def init(params):
                w = torch.tensor(params, requires_grad=True)
                return w, torch.optim.SGD([w], lr=1.0, momentum=momentum, nesterov=nesterov and momentum > 0)

            def update(gradient, state, learning_rate):
                w, optimizer = state
                before = w.detach().clone()
                optimizer.param_groups[0]["lr"] = learning_rate
                w.grad = torch.tensor(gradient)
                optimizer.step()
                return (w.detach() - before).numpy(), state

            return Optimizer(init, update)

    >>> from sgdnoise import adam, sgd
    >>> print(*check_optimizer(sgd), sep="\n")
    without momentum it is plain descent
    an impulse moves the parameters by -learning_rate/(1 - m) times itself in all
    the learning rate stands outside the accumulator
    Nesterov looks ahead: w <- w - learning_rate (gradient + m a) with the new a
    >>> len(check_optimizer(adam))
    4
    """
    parameters = inspect.signature(factory).parameters
    if "b1" in parameters:
        return check_laws(_adam_laws(factory), rtol=1e-9, atol=1e-12)
    return check_laws(_sgd_laws(factory, "nesterov" in parameters), rtol=1e-9, atol=1e-12)


def _sgd_laws(factory: Callable[..., Optimizer], has_nesterov: bool) -> list[Law]:
    from hypothesis import strategies as st

    def make(momentum: Fraction, nesterov: bool) -> Optimizer:
        return factory(momentum=float(momentum), **({"nesterov": nesterov} if has_nesterov else {}))

    def written_out(momentum: Fraction, nesterov: bool, sequence: Sequence[tuple[int, Fraction]]) -> list[Fraction]:
        path, position = [], Fraction(0)
        for t, (gradient, learning_rate) in enumerate(sequence):
            trace = sum(momentum ** (t - s) * sequence[s][0] for s in range(t + 1))
            position -= learning_rate * (gradient + momentum * trace if nesterov else trace)
            path.append(position)
        return path

    def along(case: tuple[Fraction, bool, list[tuple[int, Fraction]]]) -> Comparison:
        momentum, nesterov, sequence = case
        inputs = {"momentum": momentum, "nesterov": nesterov, "gradients_and_learning_rates": _show(sequence)}
        expected = [float(x) for x in written_out(*case)]
        return lambda: _path(make(momentum, nesterov), sequence), expected, inputs

    def impulse(case: tuple[Fraction, bool, Fraction]) -> Comparison:
        momentum, nesterov, learning_rate = case
        sequence = [(1, learning_rate)] + [(0, learning_rate)] * 200  # (7/8)^200 = 3e-12
        inputs = {"momentum": momentum, "nesterov": nesterov, "learning_rate": learning_rate}
        return lambda: _path(make(momentum, nesterov), sequence)[-1], float(-learning_rate / (1 - momentum)), inputs

    kinds = st.booleans() if has_nesterov else st.just(False)
    laws: list[Law] = [
        ("without momentum it is plain descent", st.tuples(st.just(Fraction(0)), kinds, gradient_sequences()), along),
        (
            "an impulse moves the parameters by -learning_rate/(1 - m) times itself in all",
            st.tuples(momenta(), kinds, learning_rates()),
            impulse,
        ),
        ("the learning rate stands outside the accumulator", st.tuples(momenta(), st.just(False), gradient_sequences()), along),
    ]
    if has_nesterov:
        laws.append(
            (
                "Nesterov looks ahead: w <- w - learning_rate (gradient + m a) with the new a",
                st.tuples(momenta(), st.just(True), gradient_sequences()),
                along,
            )
        )
    return laws


def _adam_laws(factory: Callable[..., Optimizer]) -> list[Law]:
    from hypothesis import strategies as st

    def first(case: tuple[int, Fraction, float]) -> Comparison:
        gradient, learning_rate, eps = case
        expected = float(-learning_rate) * gradient / (abs(gradient) + eps)
        inputs = {"gradient": gradient, "learning_rate": learning_rate, "eps": eps}
        return lambda: _path(factory(b1=0.5, b2=0.875, eps=eps), [(gradient, learning_rate)])[0], expected, inputs

    def scaled(case: tuple[float, list[tuple[int, Fraction]]]) -> Comparison:
        scale, sequence = case
        optimizer = factory(b1=0.5, b2=0.75, eps=0.0)
        larger = [(scale * gradient, rate) for gradient, rate in sequence]
        expected = _path(optimizer, sequence)
        inputs = {"scale": scale, "gradients_and_learning_rates": _show(sequence)}
        return lambda: _path(optimizer, larger), expected, inputs

    def along(case: tuple[float, float, float, list[tuple[int, Fraction]]]) -> Comparison:
        b1, b2, eps, sequence = case
        position, expected = 0.0, []
        for t, (_, learning_rate) in enumerate(sequence):
            past = np.array([gradient for gradient, _ in sequence[: t + 1]], float)
            # Bias correction makes each moment a weighted mean of the past.
            mean, mean_square = (
                np.average(values, weights=b ** np.arange(t, -1, -1)) for b, values in ((b1, past), (b2, past**2))
            )
            position -= float(learning_rate) * mean / (np.sqrt(mean_square) + eps)
            expected.append(position)
        inputs = {"b1": b1, "b2": b2, "eps": eps, "gradients_and_learning_rates": _show(sequence)}
        return lambda: _path(factory(b1=b1, b2=b2, eps=eps), sequence), expected, inputs

    gradients = st.integers(-5, 5).filter(bool)
    started = st.tuples(gradients, gradient_sequences()).map(
        lambda c: [(c[0], c[1][0][1]), *c[1][1:]]
    )  # a first gradient not 0
    decays = st.sampled_from([0.5, 0.75, 0.875])
    return [
        (
            "moments are corrected for bias: the first step is the learning rate",
            st.tuples(gradients, learning_rates(), st.just(0.0)),
            first,
        ),
        ("eps stands outside the root", st.tuples(gradients, learning_rates(), st.sampled_from([1.0, 0.25])), first),
        ("with eps = 0 the scale of the gradient drops out", st.tuples(st.sampled_from([0.25, 1024.0]), started), scaled),
        ("the path is that of bias-corrected weighted means", st.tuples(decays, decays, st.just(0.25), started), along),
    ]


def _show(sequence: Sequence[tuple[Any, Fraction]]) -> str:
    return "[" + ", ".join(f"({gradient}, {rate})" for gradient, rate in sequence) + "]"
