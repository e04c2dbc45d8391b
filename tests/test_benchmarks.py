"""The benchmarks: each runs at its smallest size without peers, its check notices a side that is wrong, and the pages show the
committed results. What a time is, is not tested."""

import importlib
import json
import os
import sys
from pathlib import Path

import pytest

from sgdnoise import adam, sgd

BENCHMARKS = Path(__file__).parent.parent / "benchmarks"


@pytest.fixture(scope="module")
def load():
    """Import a module of the benchmarks as their scripts do, and leave no trace."""
    modules, environment = set(sys.modules), dict(os.environ)
    sys.path.insert(0, str(BENCHMARKS))
    yield importlib.import_module
    sys.path.remove(str(BENCHMARKS))
    for name in set(os.environ) - set(environment):  # threadpoolctl sets one
        del os.environ[name]
    for name in set(sys.modules) - modules:
        if BENCHMARKS in Path(getattr(sys.modules[name], "__file__", None) or "/").parents:
            del sys.modules[name]


def names():
    return sorted(path.stem for path in BENCHMARKS.glob("bench_*.py") if path.stem != "bench_import")


def test_run_knows_all(load):
    assert {f"bench_{name}" for name in load("run").BENCHMARKS} == set(names())


@pytest.mark.parametrize("name", names())
def test_rows(load, name):
    rows = load(name).run(smallest=True)
    assert rows
    for row in rows:
        assert row["benchmark"] == name.removeprefix("bench_")
        assert row["setting"]
        times = {side: seconds for side, seconds in row["times"].items() if seconds is not None}
        assert len(times) >= 2
        assert all(seconds > 0 for seconds in times.values())
        assert row["ratios"]
        for pair, ratio in row["ratios"].items():
            (a, b), *others = [(a, b) for a in times for b in times if f"{a}/{b}" == pair]
            assert not others
            assert ratio == pytest.approx(times[a] / times[b])


@pytest.mark.parametrize("name", names())
def test_classes_are_in_the_shape_that_asv_reads(load, name):
    module = load(name)
    classes = [c for c in vars(module).values() if isinstance(c, type) and c.__module__ == name and hasattr(c, "param_names")]
    assert classes
    for one in classes:
        several = isinstance(one.params[0], tuple | list)
        assert len(one.param_names) == (len(one.params) if several else 1)
        assert any(method.startswith(("time_", "track_")) for method in vars(one))


def trained(load, momentum, l2, learning_rate):
    """A side written here, with numbers of its own."""
    sides = load("sides")

    def side(problem):
        def run():
            for i, batches in enumerate(problem.batches):
                accumulator = 0.0
                for batch in batches:
                    gradient = problem.model.gradient(params[i], problem.X[batch], problem.y[batch], l2)
                    accumulator = momentum * accumulator + gradient
                    params[i] -= learning_rate * accumulator

        params = problem.params.copy()
        return sides.Side(run, lambda: params)

    return side


RIGHT = {"momentum": 0.9, "l2": 1e-4, "learning_rate": 0.01}
WRONG = [{"momentum": 0.91}, {"l2": 0.0}, {"learning_rate": 0.0101}, {"learning_rate": float("nan")}]


@pytest.mark.parametrize("name", ["bench_step", "bench_replicas"])
def test_a_side_that_trains_otherwise_is_noticed(load, monkeypatch, name):
    module = load(name)
    monkeypatch.setitem(module.SIDES, "another", trained(load, **RIGHT))
    module.run(smallest=True)
    for wrong in WRONG:
        monkeypatch.setitem(module.SIDES, "another", trained(load, **RIGHT | wrong))
        with pytest.raises(load("timing").DisagreementError, match="another is off"):
            module.run(smallest=True)


@pytest.mark.parametrize(
    ("rule", "wrong"),
    [
        ("momentum", sgd(0.9, nesterov=True)),
        ("momentum", sgd(0.91)),
        ("nesterov", sgd(0.9)),
        ("adam", adam(b2=0.99)),
        ("adam", adam(eps=1e-3)),
    ],
)
def test_an_update_that_is_another_is_noticed(load, rule, wrong):
    module = load("bench_update")
    right = module.RULES[rule]

    def another(_, start):
        return module.reference(right._replace(ours=wrong), start)

    module.check(right, {"reference": module.reference, "another": module.reference})
    with pytest.raises(load("timing").DisagreementError, match="another is off"):
        module.check(right, {"reference": module.reference, "another": another})


def test_a_figure_with_other_losses_is_noticed(load):
    module = load("bench_reproduce")
    losses = {"decaying": [[2.0, 1.0], [2.0, 1.1]]}
    module.check({"fast": {"losses": {"decaying": [[2.0, 1.00001], [2.0, 1.1]]}}, "reference": {"losses": losses}})
    for wrong in ([[2.0, 1.001], [2.0, 1.1]], [[2.0, float("nan")], [2.0, 1.1]]):
        with pytest.raises(load("timing").DisagreementError, match="by the reference"):
            module.check({"fast": {"losses": {"decaying": wrong}}, "reference": {"losses": losses}})


def test_medians_are_of_interleaved_calls(load):
    calls = []
    prepare = {name: lambda name=name: calls.append(f"prepare {name}") for name in "ab"}
    times = load("timing").medians({name: lambda name=name: calls.append(name) for name in "ab"}, 2, prepare)
    assert calls == ["prepare a", "a", "prepare b", "b"] * 3
    assert set(times) == {"a", "b"}


def test_a_missing_peer_is_missing_and_nothing_else(load, capsys):
    timing = load("timing")
    row = timing.row("step", {"B": 8}, {"fast": 2e-6, "reference": 8e-6}, over="fast", sides=("fast", "torch", "reference"))
    assert row["times"] == {"fast": 2e-6, "torch": None, "reference": 8e-6}
    assert row["ratios"] == {"fast/reference": 0.25}
    timing.print_rows([row])
    assert [line.split() for line in capsys.readouterr().out.splitlines()] == [
        ["step:", "B", "8"],
        ["fast", "2.00", "\N{MICRO SIGN}s"],
        ["torch", "missing"],
        ["reference", "8.00", "\N{MICRO SIGN}s", "fast/reference", "0.25"],
    ]


def test_the_environment_names_no_host_and_no_path(load):
    found = load("timing").environment()
    assert set(found) == {"cpu", "cores_used", "system", "versions", "blas", "blas_kernel", "OPENBLAS_CORETYPE"}
    text = json.dumps(found)
    assert not any(str(path) in text for path in (Path.home(), BENCHMARKS.parent, sys.prefix))


def test_pages_show_the_committed_results(load):
    run = load("run")
    results = run.load()
    assert set(results) == set(run.BENCHMARKS)
    for path, text in run.pages(results).items():
        assert path.read_text(encoding="utf-8") == text, f"{path.name}: python benchmarks/run.py --only-render"
    figure = load("growth_figure").draw(results)
    assert all(axis.lines for axis in figure.axes)
    rows = [row for record in results.values() for row in record["rows"]]
    for row in rows:
        for pair, ratio in row["ratios"].items():
            (a, b), *_ = [(a, b) for a in row["times"] for b in row["times"] if f"{a}/{b}" == pair]
            assert ratio == pytest.approx(row["times"][a] / row["times"][b], rel=0.02)


def test_every_highlight_is_one_row(load):
    run = load("run")
    table = run.short_table(run.load())
    for *_, label in run.HIGHLIGHTS:
        assert table.count(f"| {label} |") == 1
