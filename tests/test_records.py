"""Dataclasses to JSON and back: what each kind of value becomes, and that what was written is what is read."""

import json
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pytest

from sgdnoise.reproduce.engine.records import from_json, to_json


@dataclass(frozen=True, eq=False)
class Leaf:
    name: str
    values: np.ndarray
    momentum: float | None = None
    extra: np.ndarray | None = None


@dataclass(frozen=True, eq=False)
class Tree:
    n: int
    leaf: Leaf
    leaves: list[Leaf]
    by_name: dict[str, Leaf]
    pair: tuple[float, ...]
    seeds: Sequence[int]
    deep: dict[str, list[np.ndarray]]
    maybe: Leaf | None = None
    flag: bool = True


def through(kind, value):
    return from_json(kind, json.loads(json.dumps(to_json(value), allow_nan=False)))


def tree(**changes):
    leaf = Leaf("a", np.array([[1.0, 2.0], [3.0, 4.0]]))
    other = Leaf("b", np.array([0.1]), momentum=0.9, extra=np.arange(3))
    parts = {"n": 3, "leaf": leaf, "leaves": [leaf, other], "by_name": {"x": other}, "pair": (1.5, 2.5), "seeds": range(3)}
    return Tree(**parts | {"deep": {"k": [np.zeros(2), np.ones((1, 2))]}} | changes)


def test_what_is_written():
    assert to_json(tree()) == {
        "n": 3,
        "leaf": {"name": "a", "values": [[1.0, 2.0], [3.0, 4.0]]},
        "leaves": [
            {"name": "a", "values": [[1.0, 2.0], [3.0, 4.0]]},
            {"name": "b", "values": [0.1], "momentum": 0.9, "extra": [0, 1, 2]},
        ],
        "by_name": {"x": {"name": "b", "values": [0.1], "momentum": 0.9, "extra": [0, 1, 2]}},
        "pair": [1.5, 2.5],
        "seeds": [0, 1, 2],
        "deep": {"k": [[0.0, 0.0], [[1.0, 1.0]]]},
        "flag": True,
    }
    assert list(to_json(tree())) == ["n", "leaf", "leaves", "by_name", "pair", "seeds", "deep", "flag"]  # in their order


@pytest.mark.parametrize(
    ("value", "written"),
    [
        (np.float64(0.1), 0.1),
        (np.float32(0.5), 0.5),
        (np.int64(7), 7),
        (np.bool_(True), True),
        (np.str_("x"), "x"),
        (np.array(3), 3),
        (np.array([], int), []),
        (range(2, 5), [2, 3, 4]),
        ((np.int32(1), [np.float64(2.0)]), [1, [2.0]]),
        ({"a": (np.array([1]), None)}, {"a": [[1], None]}),
        ("text", "text"),
        (False, False),
        (0, 0),
        (1.5, 1.5),
    ],
)
def test_each_kind_of_value(value, written):
    made = to_json(value)
    assert made == written
    assert type(made) is type(written)
    json.dumps(made)


def test_a_none_is_left_out_of_a_dataclass_and_nothing_else_that_is_false():
    empty = tree(n=0, leaves=[], by_name={}, pair=(), seeds=range(0), deep={}, flag=False, leaf=Leaf("", np.zeros(0), 0.0))
    assert to_json(empty) == {
        **{"n": 0, "leaf": {"name": "", "values": [], "momentum": 0.0}, "leaves": [], "by_name": {}},
        **{"pair": [], "seeds": [], "deep": {}, "flag": False},
    }


def test_what_is_read_is_what_was_written():
    back = through(Tree, tree(maybe=Leaf("m", np.array([5]))))
    assert (type(back), type(back.leaf), type(back.maybe)) == (Tree, Leaf, Leaf)
    assert [type(leaf) for leaf in (*back.leaves, *back.by_name.values())] == [Leaf] * 3
    assert (back.n, back.pair, list(back.seeds), back.flag) == (3, (1.5, 2.5), [0, 1, 2], True)
    assert (back.leaf.name, back.leaf.momentum, back.leaf.extra) == ("a", None, None)
    assert (back.leaves[1].momentum, back.leaves[1].extra.tolist()) == (0.9, [0, 1, 2])
    for array, shape in ((back.leaf.values, (2, 2)), (back.deep["k"][0], (2,)), (back.deep["k"][1], (1, 2))):
        assert isinstance(array, np.ndarray)
        assert array.shape == shape
    assert back.by_name["x"].extra.dtype.kind == "i"
    assert back.maybe.values.tolist() == [5]
    assert to_json(back) == to_json(tree(maybe=Leaf("m", np.array([5]))))


def test_numbers_come_back_to_the_last_digit():
    values = np.random.default_rng(0).standard_normal(100) * 10.0 ** np.arange(-50, 50)
    assert (through(Leaf, Leaf("", values)).values == values).all()
    single = values[40:60].astype(np.float32)
    assert (through(Leaf, Leaf("", single)).values.astype(np.float32) == single).all()


def test_more_than_the_dataclass_knows_is_passed_over_and_less_is_an_error():
    assert from_json(Leaf, {"name": "a", "values": [1], "verdicts": [], "title": "T"}).values.tolist() == [1]
    assert from_json(Leaf, {"name": "a", "values": [1], "momentum": None}).momentum is None
    with pytest.raises(TypeError, match="values"):
        from_json(Leaf, {"name": "a"})


def test_kinds_that_are_no_dataclass():
    assert from_json(list[tuple[int, ...]], [[1, 2], [3]]) == [(1, 2), (3,)]
    read = from_json(dict[str, np.ndarray], {"a": [1.0, 2.0], "b": [[3.0]]})
    assert {name: array.shape for name, array in read.items()} == {"a": (2,), "b": (1, 1)}
    assert from_json(float, 0.5) == 0.5


def test_what_is_not_finite_is_written_as_a_word_and_read_as_a_number():
    """JSON has neither NaN nor infinity, and a measurement that gave one is a result, too."""
    leaf = Leaf("nan", np.array([[1.0, np.nan], [-np.inf, 4.0]]), momentum=np.inf)
    odd = tree(leaf=leaf, pair=(np.nan, np.float64(-np.inf)), deep={"k": [np.array(np.nan)]})
    back = through(Tree, odd)
    assert (back.leaf.name, back.leaf.momentum) == ("nan", np.inf)
    np.testing.assert_array_equal(back.leaf.values, leaf.values)
    np.testing.assert_array_equal(back.pair, odd.pair)
    assert np.isnan(back.deep["k"][0])
    assert to_json(odd)["leaf"]["values"] == [[1.0, "nan"], ["-inf", 4.0]]
