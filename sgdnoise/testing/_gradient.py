"""The laws of a model's derivatives."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Any

import numpy as np

from .. import _checks as check
from ._laws import Comparison, Law, UndecidedError, check_laws, close, dtype_and_rtol

_STEPS = {"float64": 2.0**-10, "float32": 2.0**-5}
_N_ROWS = {"float64": 50, "float32": 8}
"""Examples that a difference is taken over: fewer have fewer kinks, and single precision needs a large step."""


def check_gradient(
    model: Any,
    *,
    data: tuple[np.ndarray, np.ndarray] | None = None,
    points: int | np.ndarray = 15,
    step: float | None = None,
    rtol: float | None = None,
    dtype: Any = np.float64,
) -> tuple[str, ...]:
    """Check a model's gradients; return the laws that hold, or raise `LawError` with the first that does not.

    Parameters
    ----------
    model : object
        With ``n_params``, ``loss(params, X, y, l2)`` and ``gradient(params, X, y, l2)``; and, if they are there,
        ``per_example_gradients(params, X, y)`` and ``hessian_vector_product(params, v, X, y, l2)``. A
        `types.SimpleNamespace` of functions will do.
    data : pair of arrays, optional
        Examples X and y, at least 3 of them. Default: normal features and random labels, for which the model needs
        ``n_features`` and ``n_classes``.
    points : int or array of shape (n_points, n_params), default 15
        Where to look: at so many normal parameter vectors, always the same, or at these.
    step : float, optional
        Of the differences. Default: 2^-10 for float64, 2^-5 for float32.
    rtol : float, optional
        How far a value may be from the one expected, relative to the largest, beside the rounding of differences. Default: 1e-6
        for float64, 1e-3 for float32.
    dtype : {float64, float32}, default float64
        Of the parameters, and of X if that is of a floating type.

    Raises
    ------
    LawError
        If a law is broken.
    ValueError
        If a difference was taken across a kink at every point.

    Notes
    -----
    Derivatives, over some of the examples, are compared along random directions of length 1 with differences at three distances
    on either side, extrapolated (Richardson). Where those of the two sides disagree there is a kink, as relu has, and no
    derivative to compare with: the step is then divided by 8 as long as rounding allows, then the point is moved by 1/8, and
    then passed over.

    Convention: the loss is the mean over the examples plus an L2 term that does not depend on how many there are. Only then is
    the gradient of a minibatch an unbiased estimate, and its noise what g is about.

    References
    ----------
    Tutorial 9, ``tutorials/09_test_your_own.md``.

    Examples
    --------
    >>> from sgdnoise import MLP
    >>> len(check_gradient(MLP(3, (4,), 2, "tanh")))
    9
    """
    check.attributes("model", model, ("n_params", "loss", "gradient"), "a model or a types.SimpleNamespace of functions")
    dtype, rtol = dtype_and_rtol(dtype, rtol, {"float64": 1e-6, "float32": 1e-3})
    step = _STEPS[dtype.name] if step is None else float(check.number("step", step, above=0))
    X, y = _examples(model, data, dtype)
    n, n_params = len(X), check.integer("n_params", model.n_params)
    given = None
    if isinstance(points, np.ndarray):
        given = check.float_array("points", points, ("n_points", n_params)).astype(dtype)
    cases = range(check.integer("points", points, hint="or an array of parameters") if given is None else len(given))
    derivative = _Derivative(step, rtol, dtype)

    def point(case: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Parameters and two directions."""
        params, v, w = np.random.default_rng(case).standard_normal((3, n_params))
        params = params if given is None else given[case]
        return params.astype(dtype), (v / np.linalg.norm(v)).astype(dtype), (w / np.linalg.norm(w)).astype(dtype)

    def shown(case: int, **more: Any) -> dict[str, Any]:
        return {"seed" if given is None else "point": case, **more}

    def some(case: int, n_rows: int = 8) -> np.ndarray:
        """A few examples, from anywhere."""
        return np.random.default_rng(case).permutation(n)[:n_rows]

    def of_case(case: int) -> tuple[np.ndarray, float, dict[str, Any]]:
        """Examples and L2 coefficient of a difference."""
        rows = some(case, _N_ROWS[dtype.name])
        l2 = 0.5 if case % 2 else 0.0
        return rows, l2, shown(case, l2=l2) | ({} if len(rows) == n else {"examples": rows.tolist()})

    def gradient(params: np.ndarray, rows: Any, l2: float = 0.0) -> np.ndarray:
        value: np.ndarray = np.asarray(model.gradient(params, X[rows], y[rows], l2))
        return value

    def shape(case: str) -> Comparison:
        params, _, _ = point(0)
        get = lambda: np.shape(getattr(model, case)(params, X, y, 0.0))
        return Comparison(get, () if case == "loss" else (n_params,), shown(0, function=case))

    def slope(case: int) -> Comparison:
        rows, l2, inputs = of_case(case)
        along = lambda params: gradient(params, rows, l2) @ point(case)[1]
        loss = lambda params: np.float64(model.loss(params, X[rows], y[rows], l2))
        return derivative.compare(along, loss, point(case), inputs)

    def doubled(case: int) -> Comparison:
        params, rows = point(case)[0], some(case)
        inputs = shown(case, examples=rows.tolist())
        return Comparison(lambda: gradient(params, np.tile(rows, 2)), gradient(params, rows), inputs)

    def mean(case: int) -> Comparison:
        params, rows, size = point(case)[0], some(case), 1
        inputs = shown(case, examples=rows.tolist())
        if n > 100 and case == cases[-1]:  # and once all of them, in parts
            rows, size = np.arange(n), 100
            inputs = shown(case, n_examples=n)
        parts = [rows[i : i + size] for i in range(0, len(rows), size)]
        expected = sum(len(part) * gradient(params, part).astype(float) for part in parts) / len(rows)
        return Comparison(lambda: gradient(params, rows), expected, inputs)

    def l2_term(params: np.ndarray, rows: np.ndarray) -> np.ndarray:
        """Return the gradient of |weights|^2 / 2."""
        term: np.ndarray = gradient(params, rows, 1.0) - gradient(params, rows, 0.0)
        return term

    def l2_alone(case: int) -> Comparison:
        params, rows = point(case)[0], some(case)
        n_examples = 1 + case % (len(rows) - 1)
        return Comparison(lambda: l2_term(params, rows[:n_examples]), l2_term(params, rows), shown(case, n_examples=n_examples))

    def penalty(case: int) -> Comparison:
        (params, v, _), rows = point(case), some(case)
        high, low = ([float(model.loss(at, X[rows], y[rows], l2)) for l2 in (1.0, 0.0)] for at in (params + v, params - v))
        slack = 8 * float(np.finfo(dtype).eps) * max(map(abs, high + low))
        get = lambda: l2_term(params, rows) @ v
        # Exact at any distance, as the term is quadratic.
        return Comparison(get, (high[0] - high[1] - low[0] + low[1]) / 2, shown(case, examples=rows.tolist()), slack)

    def alone(case: int) -> Comparison:
        params, rows = point(case)[0], some(case)
        get = lambda: model.per_example_gradients(params, X[rows], y[rows])
        one_by_one = np.array([gradient(params, rows[i : i + 1]) for i in range(len(rows))])
        return Comparison(get, one_by_one, shown(case, examples=rows.tolist()))

    def curvature(case: int) -> Comparison:
        rows, l2, inputs = of_case(case)
        product = lambda params: model.hessian_vector_product(params, point(case)[1], X[rows], y[rows], l2)
        slopes = lambda params: gradient(params, rows, l2).astype(float)
        return derivative.compare(product, slopes, point(case), inputs)

    def symmetry(case: int) -> Comparison:
        (params, v, w), rows = point(case), some(case)

        def product(v: np.ndarray) -> np.ndarray:
            value: np.ndarray = np.asarray(model.hessian_vector_product(params, v, X[rows], y[rows], 0.0))
            return value

        # The two sides may nearly vanish, and the product itself be what is left of larger ones.
        size = float(np.linalg.norm(product(w)) + np.linalg.norm(gradient(params, rows)))
        slack = 100 * float(np.finfo(dtype).eps) * size
        return Comparison(lambda: w @ product(v), v @ product(w), shown(case, examples=rows.tolist()), slack)

    laws = [
        Law("the loss is a number, and the gradient has the shape of the parameters", ("loss", "gradient"), shape),
        Law("the gradient is the derivative of the loss", cases, slope),
        Law("the loss is a mean: examples given twice change nothing", cases, doubled),
        Law("the gradient of a batch is the mean of its examples' gradients", cases, mean),
        Law("the L2 term does not depend on the batch size", cases, l2_alone),
        Law("the gradient of the L2 term is its derivative", cases, penalty),
    ]
    if hasattr(model, "per_example_gradients"):
        laws.append(Law("each per-example gradient is the gradient of that example alone", cases, alone))
    if hasattr(model, "hessian_vector_product"):
        laws.append(Law("the Hessian-vector product is the derivative of the gradient", cases, curvature))
        laws.append(Law("the Hessian is symmetric", cases, symmetry))
    return check_laws(laws, rtol)


def _examples(model: Any, data: Any, dtype: np.dtype) -> tuple[Any, Any]:
    """Return the examples to look at."""
    if data is None:
        check.attributes("model", model, ("n_features", "n_classes"), "or data must be given")
        rng = np.random.default_rng(0)
        data = rng.standard_normal((7, model.n_features)), rng.integers(model.n_classes, size=7)
    if not isinstance(data, tuple) or len(data) != 2:
        raise TypeError(f"data must be a pair (X, y), got {type(data).__name__}")
    X, y = data
    if not len(X) == len(y) >= 3:
        raise ValueError(f"data must be at least 3 examples X and as many y, got {len(X)} and {len(y)}")
    return (X.astype(dtype) if isinstance(X, np.ndarray) and X.dtype.kind == "f" else X), y


class _Derivative:
    """Derivatives at a point along a direction, from differences that do not cross a kink."""

    def __init__(self, step: float, rtol: float, dtype: np.dtype) -> None:
        self.step, self.rtol, self.dtype, self.eps = step, rtol, dtype, float(np.finfo(dtype).eps)

    def compare(
        self,
        derivative: Callable[[np.ndarray], Any],
        f: Callable[[np.ndarray], Any],
        point: tuple[np.ndarray, np.ndarray, np.ndarray],
        inputs: dict[str, Any],
    ) -> Comparison:
        """Compare a derivative along the first direction with that of f at a point, or beside it, along the second."""
        params, v, aside = point
        for moved in (0.0, 0.125):
            at = params + self.dtype.type(moved) * aside
            got = derivative(at)
            judged = self._judged(got, self._estimates(f, at, v))
            if judged is not None:
                expected, slack = judged
                return Comparison(partial(np.asarray, got), expected, inputs | ({"moved": moved} if moved else {}), slack)
        raise UndecidedError("as at every point the differences to its two sides disagree; choose other points or another step")

    def _judged(self, got: Any, estimates: Iterable[tuple[Any, float]]) -> tuple[Any, float] | None:
        """Return the derivative, and what rounding may change it by, that decides.

        The two sides may agree by chance though there are kinks: an error is one if two steps say the same.
        """
        before = None
        for expected, slack in estimates:
            if close(got, expected, self.rtol, slack):
                return expected, slack
            if before is not None and close(before, expected, self.rtol, slack):
                return expected, slack
            before = expected
        return None

    def _estimates(self, f: Callable[[np.ndarray], Any], params: np.ndarray, v: np.ndarray) -> Iterator[tuple[Any, float]]:
        """Give the derivative, and what rounding may change it by, with smaller and smaller steps where there is no kink."""
        here = f(params)
        for step in (self.step / 8**k for k in range(6)):
            distances = (step, step / 2, step / 4)
            up, down = ([f(params + self.dtype.type(side * h) * v) for h in distances] for side in (1, -1))
            # To sixth order from both sides together, and to third from each.
            central = [(a - b) / (2 * h) for a, b, h in zip(up, down, distances, strict=True)]
            derivative = (64 * central[2] - 20 * central[1] + central[0]) / 45
            right, left = (
                side * (32 * values[2] - 12 * values[1] + values[0] - 21 * here) / (3 * step)
                for side, values in ((1, up), (-1, down))
            )
            size = float(np.max(np.abs(derivative)))
            # Of f, and of the parameters: each of the direction's components, 1/sqrt(n_params), comes with their rounding.
            slack = 16 * self.eps * (float(np.max(np.abs(here))) + float(np.linalg.norm(params)) * size) / step
            if step < self.step and slack > 0.03 * size:
                return
            if np.max(np.abs(right - left)) <= self.rtol * size / 4 + slack:
                yield derivative, slack
