"""The laws of a model's derivatives."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ._laws import Comparison, Law, check_laws


def check_gradient(model: Any, *, data: tuple[np.ndarray, np.ndarray] | None = None) -> tuple[str, ...]:
    """Check a model's gradients; return the laws that hold, or raise `LawError` with the first that does not.

    Parameters
    ----------
    model : object
        With ``n_params``, ``loss(params, X, y, l2)`` and ``gradient(params, X, y, l2)``, in float64; and, if they are there,
        ``per_example_gradients(params, X, y)`` and ``hessian_vector_product(params, v, X, y, l2)``. A
        `types.SimpleNamespace` of functions will do.
    data : pair of arrays, optional
        Examples X and y, at least 3 of them. Default: normal features and random labels, for which the model needs
        ``n_features`` and ``n_classes``.

    Notes
    -----
    Derivatives are compared along random directions with central differences, extrapolated to sixth order (Richardson), to a
    relative 1e-6. A kink of relu within 1e-3 of a point would be seen; points are drawn at random and are always the same.

    Convention: the loss is the mean over the examples plus an L2 term that does not depend on how many there are.

    References
    ----------
    Tutorial 9, ``tutorials/09_test_your_own.md``.

    Examples
    --------
    >>> from sgdnoise import MLP
    >>> len(check_gradient(MLP(3, (4,), 2, "tanh")))
    6
    """
    from hypothesis import strategies as st

    if data is None:
        rng = np.random.default_rng(0)
        data = rng.standard_normal((7, model.n_features)), rng.integers(model.n_classes, size=7)
    X, y = data

    def point(seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Parameters and two directions."""
        params, v, w = np.random.default_rng(seed).standard_normal((3, model.n_params))
        return params, v / np.linalg.norm(v), w / np.linalg.norm(w)

    def slope(case: tuple[int, float]) -> Comparison:
        params, v, _ = point(case[0])
        expected = _derivative(lambda h: model.loss(params + h * v, X, y, case[1]))
        return lambda: model.gradient(params, X, y, case[1]) @ v, expected, {"seed": case[0], "l2": case[1]}

    def l2_alone(case: tuple[int, int]) -> Comparison:
        params, _, _ = point(case[0])
        rows = slice(0, case[1])

        def difference(rows: slice) -> np.ndarray:
            return np.asarray(model.gradient(params, X[rows], y[rows], 1.0) - model.gradient(params, X[rows], y[rows], 0.0))

        return lambda: difference(rows), difference(slice(None)), {"seed": case[0], "n_examples": case[1]}

    def doubled(case: int) -> Comparison:
        params, _, _ = point(case)
        twice = np.concatenate([X, X]), np.concatenate([y, y])
        return lambda: model.gradient(params, *twice, 0.0), model.gradient(params, X, y, 0.0), {"seed": case}

    def alone(case: int) -> Comparison:
        params, _, _ = point(case)
        expected = np.array([model.gradient(params, X[i : i + 1], y[i : i + 1], 0.0) for i in range(len(X))])
        return lambda: model.per_example_gradients(params, X, y), expected, {"seed": case}

    def curvature(case: tuple[int, float]) -> Comparison:
        params, v, _ = point(case[0])
        expected = _derivative(lambda h: model.gradient(params + h * v, X, y, case[1]))
        product = lambda: model.hessian_vector_product(params, v, X, y, case[1])
        return product, expected, {"seed": case[0], "l2": case[1]}

    def symmetry(case: int) -> Comparison:
        params, v, w = point(case)
        expected = v @ model.hessian_vector_product(params, w, X, y, 0.0)
        return lambda: w @ model.hessian_vector_product(params, v, X, y, 0.0), expected, {"seed": case}

    seeds, l2 = st.integers(0, 1000), st.sampled_from([0.0, 0.5])
    laws: list[Law] = [
        ("the gradient is the derivative of the loss", st.tuples(seeds, l2), slope),
        ("the loss is a mean: examples given twice change nothing", seeds, doubled),
        ("the L2 term does not depend on the batch size", st.tuples(seeds, st.integers(1, len(X) - 1)), l2_alone),
    ]
    if hasattr(model, "per_example_gradients"):
        laws.append(("each per-example gradient is the gradient of that example alone", seeds, alone))
    if hasattr(model, "hessian_vector_product"):
        laws.append(("the Hessian-vector product is the derivative of the gradient", st.tuples(seeds, l2), curvature))
        laws.append(("the Hessian is symmetric", seeds, symmetry))
    return check_laws(laws, rtol=1e-6, atol=1e-9, max_examples=15)


def _derivative(f: Callable[[float], Any], step: float = 1e-3) -> Any:
    """Derivative at 0 by central differences at three steps, extrapolated to sixth order."""
    first, second, third = ((f(h) - f(-h)) / (2 * h) for h in (step, step / 2, step / 4))
    return (64 * third - 20 * second + first) / 45
