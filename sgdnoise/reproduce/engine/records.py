"""Dataclasses of numbers and arrays to JSON and back. What is None is left out; JSON has no NaN: "nan", "inf" stand for it."""

from __future__ import annotations

import math
from dataclasses import fields, is_dataclass
from types import NoneType, UnionType
from typing import Any, TypeVar, cast, get_args, get_origin, get_type_hints

import numpy as np

Value = TypeVar("Value")


def to_json(value: Any) -> Any:
    """Turn a dataclass, and what is in it, into dicts, lists and numbers."""
    if is_dataclass(value):
        found = ((field.name, getattr(value, field.name)) for field in fields(value))
        return {name: to_json(part) for name, part in found if part is not None}
    if isinstance(value, dict):
        return {key: to_json(part) for key, part in value.items()}
    if isinstance(value, (list, tuple, range)):
        return [to_json(part) for part in value]
    if isinstance(value, (np.ndarray, np.generic)):
        return to_json(value.tolist())
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


def from_json(kind: type[Value], data: Any) -> Value:
    """Make a value of a kind from what `to_json` gave: a dataclass, an array, or a list, tuple or dict of such."""
    return _read(kind, data)  # type: ignore[no-any-return]


def _read(kind: Any, data: Any) -> Any:
    if get_origin(kind) is UnionType:
        (kind,) = (option for option in get_args(kind) if option is not NoneType)
    if is_dataclass(kind):
        hints, make = get_type_hints(kind), cast(Any, kind)
        return make(**{field.name: _read(hints[field.name], data[field.name]) for field in fields(kind) if field.name in data})
    if get_origin(kind) is dict:
        return {key: _read(get_args(kind)[1], part) for key, part in data.items()}
    if get_origin(kind) in (list, tuple):
        return get_origin(kind)(_read(get_args(kind)[0], part) for part in data)
    if kind is np.ndarray:
        array = np.array(data)
        return array.astype(float) if array.dtype.kind == "U" else array
    return float(data) if kind is float and isinstance(data, str) else data
