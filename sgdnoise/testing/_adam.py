"""The laws of Adam."""

from __future__ import annotations

from fractions import Fraction

import numpy as np

from ._laws import Comparison, Law
from ._search import Draw, Integer
from ._strategies import a_learning_rate, a_sequence, always, one_of, signed
from ._under_test import SCALES, Shape, Steps, UnderTest

Decays = tuple[float, float]

_DECAYS = ((0.5, 0.5), (0.9, 0.999), (0.5, 0.875), (0.875, 0.5), (0.75, 0.99), (0.99, 0.75))


def adam_laws(under_test: UnderTest) -> list[Law]:
    """Compare with weighted means of all gradients so far."""

    def written_out(b1: float, b2: float, eps: float, steps: Steps) -> list[float]:
        position, path = 0.0, []
        for t, (_, rate) in enumerate(steps):
            past = np.array([float(gradient) for gradient, _ in steps[: t + 1]])
            # Bias correction makes each moment a weighted mean of the past.
            mean, mean_square = (
                np.average(values, weights=b ** np.arange(t, -1, -1)) for b, values in ((b1, past), (b2, past**2))
            )
            scale = np.sqrt(mean_square) + eps
            position -= float(rate) * mean / scale if scale else 0.0
            path.append(float(position))
        return path

    def first(case: tuple[Decays, int, Fraction, float, Shape]) -> Comparison:
        (b1, b2), gradient, rate, eps, shape = case
        expected = float(-rate) * gradient / (abs(gradient) + eps)
        inputs = under_test.inputs(shape, gradient=gradient, learning_rate=rate, b1=b1, b2=b2, eps=eps)
        get = lambda: under_test.alike({"b1": b1, "b2": b2, "eps": eps}, shape, [(gradient, rate)])[0]
        return Comparison(get, expected, inputs)

    def scaled(case: tuple[Decays, Fraction, list[tuple[int, Fraction]], Shape]) -> Comparison:
        (b1, b2), scale, steps, shape = case
        keywords = {"b1": b1, "b2": b2, "eps": 0.0}
        expected = under_test.alike(keywords, shape, steps)
        inputs = under_test.inputs(shape, steps, scale=scale, b1=b1, b2=b2)
        return Comparison(lambda: under_test.alike(keywords, shape, steps, scale), expected, inputs)

    def along(case: tuple[Decays, list[tuple[int, Fraction]], Shape]) -> Comparison:
        (b1, b2), steps, shape = case
        inputs = under_test.inputs(shape, steps, b1=b1, b2=b2, eps=0)
        get = lambda: under_test.alike({"b1": b1, "b2": b2, "eps": 0.0}, shape, steps)
        return Comparison(get, written_out(b1, b2, 0.0, steps), inputs)

    def settled(case: tuple[int, float, Shape]) -> Comparison:
        gradient, eps, shape = case
        n = 50  # the correction of the bias is over: 2^-50

        def last_step() -> float:
            path = under_test.alike({"b1": 0.5, "b2": 0.5, "eps": eps}, shape, [(gradient, 1)] * n)
            return path[-1] - path[-2]

        inputs = under_test.inputs(shape, gradient=gradient, learning_rate=1, b1=0.5, b2=0.5, eps=eps, update=n)
        return Comparison(last_step, -gradient / (abs(gradient) + eps), inputs)

    def own(case: tuple[tuple[Shape, int, list[tuple[int, Fraction]]], Decays, float]) -> Comparison:
        (shape, index, steps), (b1, b2), eps = case
        inputs = under_test.inputs(shape, steps, b1=b1, b2=b2, eps=eps, parameter=index)
        get = lambda: under_test.own_gradients({"b1": b1, "b2": b2, "eps": eps}, shape, steps, index)
        return Comparison(get, written_out(b1, b2, eps, steps), inputs)

    def gradient(integer: Integer) -> int:
        return signed(integer, 5) or 1

    def started(integer: Integer) -> list[tuple[int, Fraction]]:
        """Begin with a gradient that is not 0, as eps = 0 demands."""
        (first, rate), *rest = a_sequence(integer)
        return [(first or 1, rate), *rest]

    def decays(integer: Integer) -> tuple[float, float]:
        b1, b2 = one_of(integer, _DECAYS)
        return b1, b2

    drawing = under_test.drawing
    some_eps: Draw = lambda integer: one_of(integer, (1.0, 0.25))
    small_or_not: Draw = lambda integer: one_of(integer, (0.25, 1e-8))
    one_by_one: Draw = lambda integer: (under_test.index_and_steps(integer), decays(integer), small_or_not(integer))
    scales: Draw = lambda integer: one_of(integer, SCALES)
    bias = "moments are corrected for bias: the first step is the learning rate"
    return [
        under_test.step_shape_law(b1=0.5, b2=0.5, eps=0.25),
        Law(bias, drawing(decays, gradient, a_learning_rate, always(0.0)), first),
        Law("with eps = 0 the scale of the gradient drops out", drawing(decays, scales, started), scaled),
        Law("the path is that of bias-corrected weighted means", drawing(decays, started), along),
        Law("eps stands outside the root", drawing(gradient, some_eps), settled),
        Law(
            "eps is added after the moments are corrected for bias",
            drawing(decays, gradient, a_learning_rate, some_eps),
            first,
        ),
        Law("each parameter has its own gradients, and moments of its own", one_by_one, own),
    ]
