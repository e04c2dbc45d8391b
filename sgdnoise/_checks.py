"""Argument checks shared by every module: one place for the wording of an error.

A message names the argument, the constraint, what came and, where one helps, a hint::

    batch_size must be an integer from 1 to n_train=1000, got 2000; a batch cannot hold more than the data

Wrong kind is a `TypeError`, wrong value a `ValueError`. NaN and infinity are refused everywhere, and a bool is not a number.
"""

from __future__ import annotations

import inspect
import math
import operator
import sys
from collections.abc import Callable, Collection, Sequence
from fractions import Fraction
from functools import wraps
from numbers import Rational, Real
from typing import TYPE_CHECKING, Any, ParamSpec, TypeGuard, TypeVar, cast

import numpy as np

P = ParamSpec("P")
R = TypeVar("R")

Number = Any
"""An int, float, Fraction or numeric array: what plain arithmetic works on, and no static type says."""

Bound = Any
"""A number, or a pair (name, number) when the bound is another argument."""


if TYPE_CHECKING:
    Seed = np.random.Generator | np.random.BitGenerator | np.random.SeedSequence | Sequence[int] | int | None
    """What `generator` makes one of. (At run time it would load numpy.random, which `import sgdnoise` has no need of.)"""


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
    if isinstance(value, np.ma.MaskedArray):
        return "a masked array"
    if isinstance(value, np.ndarray):
        return f"an array of dtype {value.dtype}" if type(value) is np.ndarray else f"a {type(value).__name__}"
    return f"{_shown(value)} of type {type(value).__name__}"


def _shown(value: object, form: Callable[[object], str] = repr) -> str:
    """Return the repr, also of what has none: an integer of more digits than Python prints, or an object whose repr fails."""
    try:
        return form(value)
    except Exception:
        return "a value that cannot be shown"


def plain_array(value: object) -> TypeGuard[np.ndarray]:
    """Whether `value` is an array that does what arrays do: not a masked array, nor a matrix."""
    return isinstance(value, np.ndarray) and not isinstance(value, (np.ma.MaskedArray, np.matrix))


_PRECISIONS = (np.dtype(np.float32), np.dtype(np.float64))
_LARGEST = float(np.finfo(np.float64).max)
_RELATIONS: dict[str, Callable[[Number, Number], Any]] = {
    "above": operator.gt,
    "at least": operator.ge,
    "below": operator.lt,
    "at most": operator.le,
}


def _real(name: str, value: Any, arrays: bool) -> Number:
    """Return `value` if it is a real number, or an array of them; what NumPy would let wrap round or overflow becomes wider."""
    if isinstance(value, np.ndarray) and value.ndim == 0 and plain_array(value):
        value = value[()]
    if plain_array(value) and arrays:
        if value.dtype.kind in "iu" or value.dtype == np.float16:
            return value.astype(np.float64)
        if value.dtype.kind == "f":
            return value
    elif isinstance(value, np.integer) and _whole(value):
        return int(value)
    elif isinstance(value, np.float16):
        return float(value)
    elif isinstance(value, Real) and not isinstance(value, (bool, np.integer)):
        return value
    raise _error(TypeError, name, "a number or an array of numbers" if arrays else "a number", _typed(value))


def _finite(value: Any) -> Any:
    """Whether a number, or each of an array, is finite in double precision."""
    if isinstance(value, (float, Rational)):
        exact: Any = value
        return bool(-_LARGEST <= exact <= _LARGEST)  # False for NaN
    with np.errstate(over="ignore"):  # long double
        return np.isfinite(np.asarray(value).astype(np.float64, copy=False))


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
    """Return `value` if it is a real number (or array of them), finite in double precision and inside the bounds.

    NumPy's integers come back as int, arrays of them and half precision as float64, so that later products cannot wrap round; a
    long double as float.
    """
    if type(value) is not float:
        value = _real(name, value, arrays)
    ok = _finite(value)
    given = zip(_RELATIONS, (above, at_least, below, at_most), strict=True)
    bounds = [(relation, bound) for relation, bound in given if bound is not None]
    # Comparisons with float32 would narrow the bound; long double does not compare with Fractions.
    compared = float(value) if isinstance(value, (np.float32, np.longdouble)) else value
    for relation, bound in bounds:
        ok = ok & _RELATIONS[relation](compared, bound[1] if isinstance(bound, tuple) else bound)
    if ok is not True and not np.all(ok):
        words = " and ".join(f"{relation} {_bound(bound)[0]}" for relation, bound in bounds)
        ok = np.asarray(ok)
        came = _shown(np.broadcast_to(value, ok.shape)[~ok][0] if isinstance(value, np.ndarray) else value, str)
        raise _error(ValueError, name, "finite and " + words if words else "finite", came, hint)
    return compared if isinstance(value, np.longdouble) else value


TOO_FAR = "the arguments are too far apart for floating point"


def arithmetic(function: Callable[P, R]) -> Callable[P, R]:
    """Make a function of numbers and arrays refuse a result that is not finite, and arrays that do not broadcast.

    Fractions beside arrays become floats, and NumPy does not warn of what is refused.
    """
    signature = inspect.signature(function)

    @wraps(function)
    def checked(*args: Any, **kwargs: Any) -> Any:
        if any(isinstance(value, np.ndarray) for value in (*args, *kwargs.values())):
            arguments = signature.bind(*args, **kwargs).arguments
            shapes = {name: value.shape for name, value in arguments.items() if isinstance(value, np.ndarray)}
            try:
                np.broadcast_shapes(*shapes.values())
            except ValueError:
                came = ", ".join(f"{name} {shape}" for name, shape in shapes.items())
                raise ValueError(f"shapes must broadcast, got {came}") from None
            args, kwargs = (), {name: _as_float(value) for name, value in arguments.items()}
        try:
            with np.errstate(all="ignore"):
                result = function(*args, **kwargs)
        except (OverflowError, ZeroDivisionError):
            raise ValueError(f"the result must be finite; {TOO_FAR}") from None
        for value in result if isinstance(result, tuple) else (result,):
            number("the result", value, arrays=True, hint=TOO_FAR)
        return result

    return cast(Callable[P, R], checked)


def _as_float(value: Any) -> Any:
    """Return a Fraction as a float: NumPy would make arrays of objects."""
    return float(value) if isinstance(value, Fraction) and abs(value) <= _LARGEST else value


def rounding(*values: Number) -> float:
    """Return the relative spacing of the least precise of these numbers; 0 if all are exact."""
    return max(0.0 if isinstance(value, Rational) else float(np.finfo(np.result_type(value)).eps) for value in values)


def _whole(value: Any) -> TypeGuard[int]:
    """Whether `value` is an integer: neither a bool nor a time difference, which NumPy counts among its own."""
    return type(value) is int or (isinstance(value, (int, np.integer)) and not isinstance(value, (bool, np.timedelta64)))


def integer(name: str, value: object, low: int = 1, high: Bound = None, *, hint: str = "") -> int:
    """Return `value` as an int if it is an integer from `low` to `high`."""
    if not _whole(value):
        raise _error(TypeError, name, _range(low, high), _typed(value))
    if not low <= value <= (sys.maxsize if high is None else high[1] if isinstance(high, tuple) else high):
        hint = f"it must fit into {sys.maxsize.bit_length() + 1} bits" if high is None and value > sys.maxsize else hint
        raise _error(ValueError, name, _range(low, high), _shown(int(value)), hint)
    return int(value)


def _range(low: int, high: Bound) -> str:
    return f"an integer, at least {low}" if high is None else f"an integer from {low} to {_bound(high)[0]}"


def choice(name: str, value: object, options: Collection[str], hint: str = "") -> str:
    """Return `value` if it is one of the strings in `options`."""
    constraint = "one of " + ", ".join(repr(option) for option in options)
    if not isinstance(value, str):
        raise _error(TypeError, name, constraint, _typed(value))
    if value not in options:
        raise _error(ValueError, name, constraint, repr(value), hint)
    return value


def precision(name: str, value: Any) -> np.dtype:
    """Return the dtype of float32 or float64, however it is named."""
    try:
        dtype = np.dtype(value)
    except Exception:
        dtype = None
    if value is None or dtype is None or dtype not in _PRECISIONS:
        raise _error(TypeError, name, "float32 or float64", _shown(value) if dtype is None else str(dtype))
    return cast(np.dtype, dtype)


def flag(name: str, value: object) -> bool:
    """Return `value` as a bool if it is one."""
    if not isinstance(value, (bool, np.bool_)):
        raise _error(TypeError, name, "True or False", _typed(value))
    return bool(value)


def float_array(name: str, value: object, shape: tuple[int | str, ...], *, finite: bool = True, hint: str = "") -> np.ndarray:
    """Return `value` if it is a float32 or float64 array of `shape`, where a name stands for any length but 0."""
    wanted = "a float32 or float64 array of shape (" + ", ".join(map(str, shape)) + (",)" if len(shape) == 1 else ")")
    if not plain_array(value) or value.dtype not in _PRECISIONS:
        raise _error(TypeError, name, wanted, _typed(value), hint)
    fits = value.ndim == len(shape) and all(
        m > 0 if isinstance(n, str) else m == n for n, m in zip(shape, value.shape, strict=True)
    )
    if not fits:
        raise _error(ValueError, name, wanted, f"shape {value.shape}", hint)
    if finite and not np.isfinite(value).all():
        raise _error(ValueError, name, "finite", f"{np.count_nonzero(~np.isfinite(value))} values that are NaN or infinite")
    return value


def floats(name: str, value: Any, like: Any = None, hint: str = "") -> Any:
    """Return `value` if it is a float32 or float64 array; in the precision of `like`, another one, whose shape it must have.

    That is for what users' functions return: another shape might broadcast unseen. NaN and infinity pass.
    """
    if like is not None and type(value) is np.ndarray and value.dtype is like.dtype and value.shape == like.shape:
        return value  # what comes with every update of training, at once
    wanted = "a float32 or float64 array" + ("" if like is None else f" of shape {like.shape}")
    if not (plain_array(value) or isinstance(value, np.floating)) or value.dtype not in _PRECISIONS:
        raise _error(TypeError, name, wanted, _typed(value), hint)
    if like is not None and value.shape != like.shape:
        raise _error(ValueError, name, wanted, f"shape {value.shape}", hint)
    return value if like is None else value.astype(like.dtype)


def finite(name: str, value: Number) -> float:
    """Return a finite number as a float, at once if it is one."""
    return value if type(value) is float and abs(value) <= _LARGEST else float(number(name, value))


def positive(name: str, value: Number, *, or_zero: bool = False) -> float:
    """Return a number above 0, or at least 0, as a float, at once if it is one: schedules may have many stages."""
    if type(value) is float and 0 < value <= _LARGEST:
        return value
    return float(number(name, value, at_least=0) if or_zero else number(name, value, above=0)) + 0.0  # -0.0 is 0


def answer(name: str, value: Number, hint: str = "") -> float:
    """Return a number as a float, for what users' functions return: it may be NaN or infinite."""
    if type(value) is float:
        return value
    try:
        return float(_real(name, value, arrays=False))
    except OverflowError:
        return math.inf
    except TypeError:
        came = f"shape {value.shape}" if plain_array(value) and value.ndim else _typed(value)
        raise _error(TypeError, name, "a number", came, hint) from None


def two(name: str, value: Any, wanted: str) -> tuple[Any, Any]:
    """Return `value` if it is a pair, for what users' functions return."""
    if not isinstance(value, (tuple, list)) or len(value) != 2:
        raise _error(TypeError, name, f"a pair ({wanted})", _typed(value))
    return value[0], value[1]


def series(name: str, value: Number, length: int, meaning: str, **bounds: Any) -> float | np.ndarray:
    """Return `value` if it is a number inside the bounds, as a float, or an array of `length` such numbers."""
    value = number(name, value, arrays=True, **bounds)
    if isinstance(value, np.ndarray):
        if value.shape != (length,):
            wanted = f"a number or an array of shape ({length},)"
            raise _error(ValueError, name, wanted, f"shape {value.shape}", f"one {meaning}")
        return value
    return float(value)


def sequence(name: str, value: Any, of: str, hint: str = "") -> Sequence[Any]:
    """Return `value` if it is a tuple, a list or the like, or a plain array."""
    if isinstance(value, (str, bytes)) or not (isinstance(value, Sequence) or (plain_array(value) and value.ndim)):
        raise _error(TypeError, name, f"a sequence of {of}", _typed(value), hint)
    return cast(Sequence[Any], value)


def items(name: str, value: Any, length: int, source: str = "save()") -> Sequence[Any]:
    """Return `value` if it is a sequence of this length, for what was saved."""
    if len(sequence(name, value, f"what {source} gave")) != length:
        raise _error(ValueError, name, f"a sequence of {length}, as {source} gave", f"one of {len(value)}")
    return cast(Sequence[Any], value)


def numbers(name: str, value: Any, **bounds: Any) -> tuple[float, ...]:
    """Return `value` as a tuple if it is a sequence of numbers inside the bounds."""
    return tuple(float(number(name, each, **bounds)) for each in sequence(name, value, "numbers"))


def pair(name: str, value: Any, **bounds: Any) -> tuple[float, float]:
    """Return `value` if it is two numbers inside the bounds."""
    if len(sequence(name, value, "two numbers")) != 2:
        raise _error(TypeError, name, "a pair of numbers", _typed(value))
    first, second = numbers(name, value, **bounds)
    return first, second


def indices(name: str, value: Any, n_rows: int, n: int) -> None:
    """Refuse what are not rows of indices of n things; a negative index would wrap round."""
    wanted = f"an integer array of shape ({n_rows}, n)"
    if not plain_array(value) or value.dtype.kind not in "iu":
        raise _error(TypeError, name, wanted, _typed(value))
    if value.ndim != 2 or len(value) != n_rows or not value.size:
        raise _error(ValueError, name, wanted, f"shape {value.shape}")
    if value.astype(np.int64, copy=False).view(np.uint64).max() >= n:  # a negative one is a large one
        raise _error(ValueError, name, f"indices from 0 to {n - 1}", f"some from {value.min()} to {value.max()}")


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


def generator(rng: Any, name: str = "rng") -> np.random.Generator:
    """Return ``numpy.random.default_rng(rng)`` of what that is documented to take, except legacy generators."""
    if rng is not None and not isinstance(rng, (np.random.Generator, np.random.BitGenerator, np.random.SeedSequence)):
        several = isinstance(rng, (list, tuple)) or (plain_array(rng) and rng.ndim == 1)
        for seed in rng if several and len(rng) else [rng]:
            whole = _whole(seed)
            if not whole or seed < 0:  # a seed may have more than 64 bits
                hint = "a seed, a numpy.random.Generator, BitGenerator or SeedSequence, or None"
                came = _shown(int(seed)) if whole else _typed(seed)
                raise _error(ValueError if whole else TypeError, name, "an integer, at least 0", came, hint)
    return np.random.default_rng(rng)


def labels(name: str, value: object, n_examples: int, n_classes: int | None = None) -> np.ndarray:
    """Return `value` if it is one integer label per example, each from 0 (to n_classes - 1, if that is known)."""
    wanted = f"an integer array of shape ({n_examples},)"
    if not plain_array(value) or value.dtype.kind not in "iu":
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
    matrix = matrix / 2 + matrix.T / 2
    largest = float(np.abs(matrix).max()) or 1.0  # divided by, so that no square overflows
    eigenvalues = np.linalg.eigvalsh(matrix / largest)
    lowest, scale = float(eigenvalues[0]), rounding * float(np.abs(eigenvalues).max())
    if not (lowest > scale if definite else lowest >= -100 * scale):
        constraint = "positive definite" if definite else "positive semidefinite"
        raise ValueError(
            f"{name} must be {constraint}, got the eigenvalue {lowest * largest:.6g}" + (f"; {hint}" if hint else "")
        )
    return matrix
