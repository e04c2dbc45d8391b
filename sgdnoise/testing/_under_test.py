"""An optimizer under test: how it is made, and the path it takes."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np

from .. import _checks as check
from ..optimizers import Optimizer
from ._laws import Comparison, Law
from ._search import Draw, Integer
from ._strategies import a_sequence, one_of

Steps = Sequence[tuple[Any, Any]]
"""Gradients of one parameter and learning rates, one pair for each update."""

Shape = tuple[int, ...]

SCALES = (Fraction(2**20), Fraction(1, 2**20))
"""Large and small gradients, whose squares single precision still holds."""


@dataclass(frozen=True)
class UnderTest:
    """A factory, and on what parameters it is tried."""

    factory: Callable[..., Optimizer]
    has_nesterov: bool
    shapes: list[Shape]
    dtype: np.dtype

    def step_shape_law(self, **keywords: Any) -> Law:
        """Make the law that a step is no scalar or single row that is broadcast."""

        def compare(shape: Shape) -> Comparison:
            def first_step() -> Shape:
                optimizer = self._make(keywords)
                return np.shape(
                    self._update(optimizer, np.ones(shape, self.dtype), optimizer.init(np.zeros(shape, self.dtype)), 1)[0]
                )

            return Comparison(first_step, shape, {**keywords, "shape": shape})

        return Law("a step has the shape of the parameters", self.shapes, compare)

    def _make(self, keywords: Mapping[str, Any]) -> Optimizer:
        taken = {name: value for name, value in keywords.items() if name != "nesterov" or self.has_nesterov}
        optimizer: Optimizer = check.attributes("what factory returns", self.factory(**taken), ("init", "update"))
        return optimizer

    @staticmethod
    def _update(optimizer: Optimizer, gradient: np.ndarray, state: Any, rate: Any) -> tuple[np.ndarray, Any]:
        answer = optimizer.update(gradient, state, float(rate))
        step, state = check.two("what optimizer.update returns", answer, "step, state")
        return np.asarray(step), state

    def path(self, keywords: Mapping[str, Any], shape: Shape, gradients: Any, rates: Sequence[Any]) -> np.ndarray:
        """Return the positions of all parameters, in a row, from 0, after each update by what the factory makes."""
        optimizer, params = self._make(keywords), np.zeros(shape, self.dtype)
        state, path = optimizer.init(params.copy()), []
        for gradient, rate in zip(gradients, rates, strict=True):
            step, state = self._update(optimizer, np.array(gradient, self.dtype).reshape(shape), state, rate)
            if step.shape != shape:
                raise ValueError(f"update must return a step of the shape {shape} of the parameters, got shape {step.shape}")
            params = params + step
            path.append(params.ravel())
        return np.array(path)

    def alike(self, keywords: Mapping[str, Any], shape: Shape, steps: Steps, scale: Any = 1) -> list[float]:
        """Return the path of the first of some parameters that all have the same gradients, those of `steps` times a scale."""
        gradients = [[float(gradient * scale)] * math.prod(shape) for gradient, _ in steps]
        path: list[float] = self.path(keywords, shape, gradients, [rate for _, rate in steps])[:, 0].tolist()
        return path

    def scalar_path(self, steps: Steps, **keywords: Any) -> np.ndarray | None:
        """Return the path of the first parameter, for a diagnosis; None if that raises anything."""
        try:
            return np.array(self.alike(keywords, self.shapes[0], steps))
        except Exception:
            return None

    def inputs(self, shape: Shape, steps: Steps | None = None, **more: Any) -> dict[str, Any]:
        """Name the inputs for a message."""
        shown = {} if self.shapes == [shape] else {"shape": shape}
        sequence = {} if steps is None else {"gradients_and_learning_rates": show(steps)}
        return {**more, **shown, **sequence}

    def drawing(self, *draws: Draw) -> Draw:
        """Draw a shape, and then the others."""
        return lambda integer: (*(draw(integer) for draw in draws), one_of(integer, self.shapes))

    def own_gradients(self, keywords: Mapping[str, Any], shape: Shape, steps: Steps, index: int) -> list[float]:
        """Return the path of the parameter of that index when each has gradients of its own, and this one those of `steps`.

        The others have the same, but later or earlier ones, and times 1, -2 or 3.
        """
        shifts = np.arange(math.prod(shape)) - index
        own = np.array([float(gradient) for gradient, _ in steps])
        gradients = own[(np.arange(len(own))[:, None] + shifts) % len(own)] * np.array([1.0, -2.0, 3.0])[shifts % 3]
        path: list[float] = self.path(keywords, shape, gradients, [r for _, r in steps])[:, index].tolist()
        return path

    def index_and_steps(self, integer: Integer) -> tuple[Shape, int, list[tuple[int, Fraction]]]:
        """Draw a shape, one of its parameters, and a long sequence for it."""
        shape = one_of(integer, self.shapes)
        return shape, integer(0, math.prod(shape) - 1), a_sequence(integer, 100)


def show(steps: Steps) -> str:
    """Show gradients and learning rates."""
    return "[" + ", ".join(f"({gradient}, {rate})" for gradient, rate in steps) + "]"
