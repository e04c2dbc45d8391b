"""What a wrong optimizer looks like: known variants, told by the path of one parameter.

Recursions here, and not sums: they name a variant, and decide nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from ._laws import close

_STEPS = [(3, 1.0), (-1, 0.5), (4, 2.0), (1, 0.25), (-5, 1.0), (2, 0.5)]
_M, _B1, _B2, _EPS = 0.75, 0.75, 0.875, 0.25

Path = Callable[..., "np.ndarray | None"]
"""``path(steps, **keywords)``: the positions of one parameter, from 0."""


def sgd_hint(path: Path, rtol: float) -> str:
    """Say which variant of SGD this is, if it is a known one."""
    plain = path(_STEPS, momentum=_M, nesterov=False)
    ahead = path(_STEPS, momentum=_M, nesterov=True)
    return _named([*_sgd_variants(plain, False), *_sgd_variants(ahead, True)], rtol)


def adam_hint(path: Path, rtol: float) -> str:
    """Say which variant of Adam this is, if it is a known one."""
    got = path(_STEPS, b1=_B1, b2=_B2, eps=_EPS)
    return _named([(name, got, _adam(variant)) for name, variant in _ADAMS.items()], rtol)


def _named(variants: list[tuple[str, Any, list[float]]], rtol: float) -> str:
    for name, got, expected in variants:
        if got is not None and close(got, expected, rtol):
            return f"looks like: {name}"
    return ""


def _sgd_variants(got: Any, nesterov: bool) -> Iterator[tuple[str, Any, list[float]]]:
    """Give name, path and the path of a variant."""
    if got is None or len(got) < 2:
        return
    where = "with nesterov=True: " if nesterov else ""
    yield f"{where}the velocity form, v <- m v - learning_rate gradient; w <- w + v", got, _sgd(nesterov, inside=True)
    yield f"{where}an average in place of a sum, a <- m a + (1 - m) gradient", got, _sgd(nesterov, first=1 - _M, later=1 - _M)
    if nesterov:
        yield "momentum without a look ahead, as gradient + m a is with the old a", got, _sgd(False)
        return
    yield "a step of the wrong sign", got, _sgd(False, first=-1, later=-1)
    # What the first two steps say about the weights of their gradients.
    (g0, r0), (g1, r1) = _STEPS[:2]
    first = -got[0] / (r0 * g0)
    later = (-(got[1] - got[0]) / r1 - _M * first * g0) / g1
    if -1e-6 < later < 1 - 1e-6:
        weights = f"{first:.3g}, later ones with {abs(later):.3g} = 1 - dampening"
        yield f"dampening: the first gradient enters with weight {weights}", got, _sgd(False, first=first, later=later)


def _sgd(nesterov: bool, *, first: float = 1.0, later: float = 1.0, inside: bool = False) -> list[float]:
    """Return the path of SGD with other weights or with the learning rate inside the accumulator."""
    a, position, path = 0.0, 0.0, []
    for t, (gradient, rate) in enumerate(_STEPS):
        entering = gradient * (later if t else first) * (rate if inside else 1.0)
        a = _M * a + entering
        position -= (entering + _M * a if nesterov else a) * (1.0 if inside else rate)
        path.append(position)
    return path


_ADAMS = {
    "Adam without correction of the bias": "uncorrected",
    "Adam with eps inside the root": "inside",
    "Kingma's efficient Adam: eps outside the root, but added before the correction of the bias": "efficient",
    "AMSGrad, the largest mean square so far": "amsgrad",
    "Lion: the sign of an average of gradients": "lion",
    "RMSprop: the gradient itself in place of its mean": "rmsprop",
}


def _adam(variant: str) -> list[float]:
    u = s = largest = position = 0.0
    path = []
    for t, (gradient, rate) in enumerate(_STEPS, start=1):
        average = _B1 * u + (1 - _B1) * gradient
        u = _B2 * u + (1 - _B2) * gradient if variant == "lion" else average
        s = _B2 * s + (1 - _B2) * gradient**2
        largest = max(largest, s)
        bias1, bias2 = 1 - _B1**t, 1 - _B2**t
        direction = {
            "uncorrected": u / (s**0.5 + _EPS),
            "inside": u / bias1 / (s / bias2 + _EPS) ** 0.5,
            "efficient": u / bias1 * bias2**0.5 / (s**0.5 + _EPS),
            "amsgrad": u / bias1 / ((largest / bias2) ** 0.5 + _EPS),
            "lion": float(np.sign(average)),
            "rmsprop": gradient / ((s / bias2) ** 0.5 + _EPS),
        }[variant]
        position -= rate * direction
        path.append(position)
    return path
