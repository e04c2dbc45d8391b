"""The laws of SGD with momentum."""

from __future__ import annotations

from fractions import Fraction

from ._laws import Comparison, Law
from ._search import Draw, Integer
from ._strategies import a_learning_rate, a_momentum, a_sequence, always, one_of
from ._under_test import SCALES, Shape, Steps, UnderTest


def sgd_laws(under_test: UnderTest) -> list[Law]:
    """Compare with sums, in rational numbers, over all gradients so far."""

    def written_out(momentum: Fraction, nesterov: bool, steps: Steps) -> list[float]:
        path, position = [], Fraction(0)
        for t, (gradient, rate) in enumerate(steps):
            trace = sum(momentum ** (t - s) * steps[s][0] for s in range(t + 1))
            position -= rate * (gradient + momentum * trace if nesterov else trace)
            path.append(float(position))
        return path

    def along(case: tuple[Fraction, bool, list[tuple[int, Fraction]], Shape]) -> Comparison:
        m, nesterov, steps, shape = case
        inputs = under_test.inputs(shape, steps, momentum=m, nesterov=nesterov)
        get = lambda: under_test.alike({"momentum": float(m), "nesterov": nesterov}, shape, steps)
        return Comparison(get, written_out(m, nesterov, steps), inputs)

    def impulse(case: tuple[Fraction, bool, Fraction, Shape]) -> Comparison:
        m, nesterov, rate, shape = case
        inputs = under_test.inputs(shape, momentum=m, nesterov=nesterov, learning_rate=rate)
        steps = [(1, rate)] + [(0, rate)] * 100
        get = lambda: under_test.alike({"momentum": float(m), "nesterov": nesterov}, shape, steps)[-1]
        return Comparison(get, float(-rate / (1 - m)), inputs, float(rate * m**100 / (1 - m)))

    def own(case: tuple[tuple[Shape, int, list[tuple[int, Fraction]]], Fraction, bool]) -> Comparison:
        (shape, index, steps), m, nesterov = case
        inputs = under_test.inputs(shape, steps, momentum=m, nesterov=nesterov, parameter=index)
        keywords = {"momentum": float(m), "nesterov": nesterov}
        get = lambda: under_test.own_gradients(keywords, shape, steps, index)
        return Comparison(get, written_out(m, nesterov, steps), inputs)

    def scaled(case: tuple[Fraction, list[tuple[int, Fraction]], Fraction, Shape]) -> Comparison:
        m, drawn, scale, shape = case
        steps = [(gradient * scale, rate) for gradient, rate in drawn]
        inputs = under_test.inputs(shape, steps, momentum=m)
        get = lambda: under_test.alike({"momentum": float(m), "nesterov": False}, shape, steps)
        return Comparison(get, written_out(m, False, steps), inputs)

    def short(integer: Integer) -> Fraction:
        """Make a momentum that has all but forgotten an impulse after 100 updates."""
        return Fraction(integer(0, 7), 8)

    def kinds(integer: Integer) -> bool:
        return under_test.has_nesterov and bool(integer(0, 1))

    def steady(integer: Integer) -> list[tuple[int, Fraction]]:
        steps = a_sequence(integer)
        return [(gradient, steps[0][1]) for gradient, _ in steps]

    drawing = under_test.drawing
    laws = [
        under_test.step_shape_law(momentum=0.5, nesterov=False),
        Law("without momentum it is plain descent", drawing(always(Fraction(0)), kinds, a_sequence), along),
        Law(
            "an impulse moves the parameters by -learning_rate/(1 - m) times itself in all",
            drawing(short, kinds, a_learning_rate),
            impulse,
        ),
        Law(
            "each gradient enters with weight 1, the first and every later one",
            drawing(a_momentum, always(False), steady),
            along,
        ),
        Law("the learning rate stands outside the accumulator", drawing(a_momentum, always(False), a_sequence), along),
    ]
    if under_test.has_nesterov:
        nesterov = "Nesterov looks ahead: w <- w - learning_rate (gradient + m a) with the new a"
        laws.append(Law(nesterov, drawing(a_momentum, always(True), a_sequence), along))
    one_by_one: Draw = lambda integer: (under_test.index_and_steps(integer), a_momentum(integer), kinds(integer))
    laws.append(Law("each parameter moves by its own gradients", one_by_one, own))
    scales: Draw = lambda integer: one_of(integer, SCALES)
    whole = "gradients large and small enter whole: nothing is clipped"
    laws.append(Law(whole, drawing(a_momentum, a_sequence, scales), scaled))
    return laws
