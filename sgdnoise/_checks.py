"""Argument checks shared by every module: one place for the wording of an error.

A message names the argument, the constraint, what came and, where one helps, a hint::

    batch_size must be an integer from 1 to n_train=1000, got 2000; a batch cannot hold more than the data

Wrong kind is a `TypeError`, wrong value a `ValueError`. NaN and infinity are refused everywhere, and a bool is not a number.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from numbers import Rational, Real
from typing import Any

import numpy as np

Number = Any
"""An int, float, Fraction or numeric array: what plain arithmetic works on, and no static type says."""

Bound = Any
"""A number, or a pair (name, number) when the bound is another argument."""


def _bound(bound: Bound) -> tuple[str, Number]:
    """Split a bound into the words that describe it and its value."""
    if isinstance(bound, tuple):
        name, value = bound
        return f"{name}={value}", value
    return f"{bound}", bound


def _error(kind: type[Exception], name: str, constraint: str, came: str, hint: str = "") -> Exception:
    """Word an error."""
    came = came if len(came) <= 80 else came[:77] + "..."
    return kind(f"{name} must be {constraint}, got {came}" + (f"; {hint}" if hint else ""))


def _typed(value: object) -> str:
    """Show a value of the wrong type."""
    if isinstance(value, np.ndarray):
        return f"an array of dtype {value.dtype}"
    return f"{value!r} of type {type(value).__name__}"


def number(
    name: str,
    value: Number,
    *,
    above: Bound = None,
    at_least: Bound = None,
    below: Bound = None,
    at_most: Bound = None,
    arrays: bool = False,
    hint: str = "",
) -> Number:
    """Return `value` if it is a finite real number (or array of them) inside the bounds.

    NumPy's integers come back as int, arrays of them as float64, so that later products cannot wrap round.
    """
    kind = "a number or an array of numbers" if arrays else "a number"
    if isinstance(value, np.ndarray) and value.ndim == 0:
        value = value[()]
    if isinstance(value, np.integer):
        value = int(value)
    if isinstance(value, np.ndarray) and arrays:
        if value.dtype.kind in "iu":
            value = value.astype(np.float64)
        elif value.dtype.kind != "f":
            raise _error(TypeError, name, kind, _typed(value))
    elif isinstance(value, bool) or not isinstance(value, Real):
        raise _error(TypeError, name, kind, _typed(value))
    words, ok = [], np.asarray(True if isinstance(value, Rational) else np.isfinite(value))
    comparisons = (("above", above), ("at least", at_least), ("below", below), ("at most", at_most))
    for relation, bound in comparisons:
        if bound is None:
            continue
        text, limit = _bound(bound)
        words.append(f"{relation} {text}")
        holds = {
            "above": value > limit,
            "at least": value >= limit,
            "below": value < limit,
            "at most": value <= limit,
        }[relation]
        ok = ok & holds
    if not np.all(ok):
        constraint = " ".join(["finite", "and", " and ".join(words)] if words else ["finite"])
        came = str(np.broadcast_to(value, ok.shape)[~ok][0] if isinstance(value, np.ndarray) else value)
        raise _error(ValueError, name, constraint, came, hint)
    return value


def integer(name: str, value: object, low: int = 1, high: Bound = None, *, hint: str = "") -> int:
    """Return `value` as an int if it is an integer from `low` to `high`."""
    text, limit = _bound(high) if high is not None else ("", math.inf)
    constraint = f"an integer from {low} to {text}" if high is not None else f"an integer, at least {low}"
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)):
        raise _error(TypeError, name, constraint, _typed(value))
    if not low <= value <= limit:
        raise _error(ValueError, name, constraint, str(value), hint)
    return int(value)


def choice(name: str, value: object, options: Collection[str], hint: str = "") -> str:
    """Return `value` if it is one of the strings in `options`."""
    constraint = "one of " + ", ".join(repr(option) for option in options)
    if not isinstance(value, str):
        raise _error(TypeError, name, constraint, _typed(value))
    if value not in options:
        raise _error(ValueError, name, constraint, repr(value), hint)
    return value


def flag(name: str, value: object) -> bool:
    """Return `value` as a bool if it is one."""
    if not isinstance(value, (bool, np.bool_)):
        raise _error(TypeError, name, "True or False", _typed(value))
    return bool(value)


def float_array(name: str, value: object, shape: tuple[int | str, ...], *, finite: bool = True, hint: str = "") -> np.ndarray:
    """Return `value` if it is a float32 or float64 array of `shape`, where a name stands for any length but 0."""
    wanted = "a float32 or float64 array of shape (" + ", ".join(map(str, shape)) + (",)" if len(shape) == 1 else ")")
    if not isinstance(value, np.ndarray) or value.dtype not in (np.float32, np.float64):
        raise _error(TypeError, name, wanted, _typed(value), hint)
    fits = value.ndim == len(shape) and all(
        m > 0 if isinstance(n, str) else m == n for n, m in zip(shape, value.shape, strict=True)
    )
    if not fits:
        raise _error(ValueError, name, wanted, f"shape {value.shape}", hint)
    if finite and not np.isfinite(value).all():
        raise _error(ValueError, name, "finite", f"{np.count_nonzero(~np.isfinite(value))} values that are NaN or infinite")
    return value


def series(name: str, value: Number, length: int, meaning: str, **bounds: Any) -> float | np.ndarray:
    """Return `value` if it is a number inside the bounds, as a float, or an array of `length` such numbers."""
    value = number(name, value, arrays=True, **bounds)
    if isinstance(value, np.ndarray):
        if value.shape != (length,):
            wanted = f"a number or an array of shape ({length},)"
            raise _error(ValueError, name, wanted, f"shape {value.shape}", f"one {meaning}")
        return value
    return float(value)


def pair(name: str, value: object, **bounds: Any) -> tuple[float, float]:
    """Return `value` if it is two numbers inside the bounds."""
    if not isinstance(value, Sequence) or len(value) != 2:
        raise _error(TypeError, name, "a pair of numbers", repr(value))
    return float(number(name, value[0], **bounds)), float(number(name, value[1], **bounds))


def function(name: str, value: Any) -> Any:
    """Return `value` if it can be called."""
    if not callable(value):
        raise _error(TypeError, name, "callable", _typed(value))
    return value


def attributes(name: str, value: Any, wanted: Collection[str], hint: str = "") -> Any:
    """Return `value` if it has the attributes that will be asked of it, and is not a class that would make one."""
    missing = [attribute for attribute in wanted if not hasattr(value, attribute)]
    if missing or isinstance(value, type):
        raise _error(TypeError, name, "an object with " + ", ".join(wanted), _typed(value), hint)
    return value


def generator(rng: Any) -> np.random.Generator:
    """Return ``numpy.random.default_rng(rng)`` if `rng` is None, a Generator or a whole number from 0."""
    if rng is not None and not isinstance(rng, np.random.Generator):
        rng = integer("rng", rng, 0, hint="a seed, a numpy.random.Generator or None")
    return np.random.default_rng(rng)


def labels(name: str, value: object, n_examples: int, n_classes: int | None = None) -> np.ndarray:
    """Return `value` if it is one integer label per example, each from 0 (to n_classes - 1, if that is known)."""
    wanted = f"an integer array of shape ({n_examples},)"
    if not isinstance(value, np.ndarray) or value.dtype.kind not in "iu":
        raise _error(TypeError, name, wanted, _typed(value))
    if value.shape != (n_examples,):
        raise _error(ValueError, name, wanted, f"shape {value.shape}", "one label for each row of X")
    low, high = value.min(), value.max()
    if low < 0 or (n_classes is not None and high >= n_classes):
        wanted = "labels from 0" + ("" if n_classes is None else f" to {n_classes - 1}")
        raise _error(ValueError, name, wanted, f"labels from {low} to {high}")
    return value


def symmetric_matrix(name: str, value: object, n: int | None = None, *, definite: bool = False, hint: str = "") -> np.ndarray:
    """Return `value` as float64 if it is an n by n symmetric positive semidefinite (or definite) matrix.

    Integers will do. Symmetry and the signs of the eigenvalues are judged up to rounding; the hint is for a wrong sign.
    """
    if isinstance(value, np.ndarray) and value.dtype.kind in "iu":
        value = value.astype(np.float64)
    matrix: np.ndarray = float_array(name, value, ("n", "n") if n is None else (n, n))
    if matrix.shape[0] != matrix.shape[1]:
        raise ValueError(f"{name} must be a square matrix, got shape {matrix.shape}")
    rounding = len(matrix) * float(np.finfo(matrix.dtype).eps)
    matrix = matrix.astype(np.float64)
    asymmetry = float(np.abs(matrix - matrix.T).max())
    if asymmetry > 100 * rounding * np.abs(matrix).max():
        raise ValueError(f"{name} must be symmetric, got entries that differ from their transpose by up to {asymmetry:.3g}")
    matrix = (matrix + matrix.T) / 2
    eigenvalues = np.linalg.eigvalsh(matrix)
    lowest, scale = float(eigenvalues[0]), rounding * float(np.abs(eigenvalues).max())
    if not (lowest > scale if definite else lowest >= -100 * scale):
        constraint = "positive definite" if definite else "positive semidefinite"
        raise ValueError(f"{name} must be {constraint}, got the eigenvalue {lowest:.6g}" + (f"; {hint}" if hint else ""))
    return matrix
