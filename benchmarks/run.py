"""Run the benchmarks, keep their results, and write them into the pages: ``python benchmarks/run.py [NAME ...]``.

Each benchmark is a process of its own, on one core with one thread. Results go to ``results/NAME.json`` with the environment;
from all that are there the tables in the README and in ``benchmarks/README.md`` and the figure are made anew. ``--only-render``
does that alone.
"""

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

from timing import ONE_THREAD, duration, environment, factor, pin

BENCHMARKS = ("step", "replicas", "update", "langevin", "reproduce", "growth")
HERE = Path(__file__).parent
RESULTS = HERE / "results"
START, END = "<!-- benchmarks -->", "<!-- /benchmarks -->"

Row = dict[str, Any]
Results = dict[str, dict[str, Any]]

COLUMNS = {
    "reference": ("reference",),
    "PyTorch": ("torch eager", "torch foreach", "torch fused"),
    "JAX": ("jax jitted step", "jax jitted", "jax vmapped step"),
    "JAX, whole loop compiled": ("jax scan", "jax vmapped scan"),
    "scikit-learn": ("scikit-learn",),
}
"""Columns of the short table, and the sides that belong there; the quickest one counts."""

HIGHLIGHTS: list[tuple[str, dict[str, Any], str, str]] = [
    ("step", {"network": "196-128-10", "batch size": 32}, "fast", "update of MLP 196-128-10, batch 32"),
    ("step", {"network": "196-128-10", "batch size": 128}, "fast", "the same, batch 128"),
    ("replicas", {"network": "196-16-10"}, "fast, stacked", "update of 32 replicas of 196-16-10, batch 8"),
    ("replicas", {"network": "196-32-10"}, "fast, stacked", "update of 32 replicas of 196-32-10, batch 16"),
    ("update", {"optimizer": "momentum", "parameters": 10_000_000}, "fast", "momentum alone, 10⁷ parameters"),
    ("update", {"optimizer": "adam", "parameters": 10_000_000}, "fast", "Adam alone, 10⁷ parameters"),
    ("langevin", {"increments": "box-muller", "walkers": 10_000}, "step", "Langevin step, 10⁴ walkers, Box-Muller"),
    ("langevin", {"increments": "signs", "walkers": 10_000}, "step", "Langevin step, 10⁴ walkers, random signs"),
    ("reproduce", {}, "fast", "all trainings of figure 2, quick scale"),
]
"""Rows of the short table: benchmark, part of the setting, whose time it is, and what to call it."""


def measure(name: str, smallest: bool) -> None:
    """Run one benchmark in this process and write its results."""
    pin()
    rows = import_module(f"bench_{name}").run(smallest=smallest)
    for row in rows:
        for key in ("times", "ratios"):
            row[key] = {side: value if value is None else float(f"{value:.3g}") for side, value in row[key].items()}
    record = {"benchmark": name, "environment": environment(), "rows": rows}
    RESULTS.mkdir(exist_ok=True)
    text = json.dumps(record, indent=1, ensure_ascii=False) + "\n"
    (RESULTS / f"{name}.json").write_text(text, encoding="utf-8", newline="\n")


def load() -> Results:
    """Read the results that are there, in the order of `BENCHMARKS`."""
    paths = [RESULTS / f"{name}.json" for name in BENCHMARKS]
    return {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in paths if path.exists()}


def short_table(results: Results) -> str:
    """What is for the README: a few rows, one column for each peer."""
    lines = [f"| what | time | {' | '.join(COLUMNS)} |", "|---|--:|" + "--:|" * len(COLUMNS)]
    for benchmark, part, side, label in HIGHLIGHTS:
        for row in results.get(benchmark, {"rows": []})["rows"]:
            if part.items() <= row["setting"].items():
                cells = [_ratio(row, side, others) for others in COLUMNS.values()]
                lines.append(f"| {label} | {duration(row['times'][side])} | {' | '.join(cells)} |")
    note = "From the third column on: our time over theirs; below 1 ours is the quicker. "
    return "\n".join([*lines, "", note + environments(results)])


def _ratio(row: Row, side: str, others: tuple[str, ...]) -> str:
    ratios = [row["ratios"][f"{side}/{other}"] for other in others if f"{side}/{other}" in row["ratios"]]
    return factor(max(ratios)) if ratios else "-"


def full_tables(results: Results) -> str:
    """All rows: tables of those that have the same columns."""
    parts = [environments(results)]
    for name, record in results.items():
        parts.append(f"### {name}")
        groups: dict[tuple[str, ...], list[Row]] = {}
        for row in record["rows"]:
            groups.setdefault((*row["setting"], *row["times"]), []).append(row)
        parts += ["\n".join(_table(rows)) for rows in groups.values()]
    return "\n\n".join(parts)


def _table(rows: list[Row]) -> Iterator[str]:
    """Rows with the same columns; what they all share in their setting stands above."""
    settings = [row["setting"] for row in rows]
    shared = {key: value for key, value in settings[0].items() if all(s[key] == value for s in settings) and len(rows) > 1}
    if shared:
        yield ", ".join(f"{key} {value}" for key, value in shared.items()) + ":\n"
    keys = [key for key in settings[0] if key not in shared]
    sides = list(rows[0]["times"])
    more = [key for key in rows[0] if key not in ("benchmark", "setting", "times", "ratios")]
    yield f"| {' | '.join([*keys, *sides, *(key.replace('_', ' ') for key in more)])} |"
    yield "|" + "--:|" * (len(keys) + len(sides) + len(more))
    for row in rows:
        cells = [str(row["setting"][key]) for key in keys]
        cells += [_cell(row, side) for side in sides]
        cells += [", ".join(f"{side} {value}" for side, value in row[key].items()) for key in more]
        yield f"| {' | '.join(cells)} |"


def _cell(row: Row, side: str) -> str:
    ratios = [factor(value) for name, value in row["ratios"].items() if name.endswith(f"/{side}")]
    return duration(row["times"][side]) + (f" ({', '.join(ratios)})" if ratios else "")


def environments(results: Results) -> str:
    """Say where the results were measured; once, if all were measured alike."""
    where: dict[str, list[str]] = {}
    for name, record in results.items():
        e = record["environment"]
        versions = ", ".join(f"{package} {version}" for package, version in e["versions"].items())
        coretype = "" if e["OPENBLAS_CORETYPE"] == "not set" else f", by OPENBLAS_CORETYPE={e['OPENBLAS_CORETYPE']}"
        machine = f"{e['cpu']}, {e['system']}, cores used: {e['cores_used']}"
        text = f"{machine}; {versions}; {e['blas']} (kernel {e['blas_kernel']}{coretype})."
        where.setdefault(text, []).append(name)
    if len(where) == 1:
        return "Measured on: " + next(iter(where))
    return " ".join(f"Measured on ({', '.join(names)}): {text}" for text, names in where.items())


def with_tables(page: str, tables: str) -> str:
    """Put tables between the two markers of a page."""
    before, _, rest = page.partition(START)
    _, end, after = rest.partition(END)
    if not end:
        raise ValueError(f"the page has no {START} ... {END}")
    return f"{before}{START}\n\n{tables}\n\n{END}{after}"


def pages(results: Results) -> dict[Path, str]:
    """The text that each page should have."""
    tables = {HERE.parent / "README.md": short_table(results), HERE / "README.md": full_tables(results)}
    return {path: with_tables(path.read_text(encoding="utf-8"), table) for path, table in tables.items()}


def render() -> None:
    """Write the pages and draw the figure, from the results that are there."""
    results = load()
    for path, text in pages(results).items():
        path.write_text(text, encoding="utf-8", newline="\n")
    import_module("growth_figure").draw(results).savefig(RESULTS / "growth.png")


def main() -> int:
    """Measure, then render."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"out of {', '.join(BENCHMARKS)}; default: all")
    parser.add_argument("--only-render", action="store_true", help="make tables and figure from the results that are there")
    parser.add_argument("--smallest", action="store_true", help="smallest sizes, without peers: to see that everything runs")
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if unknown := set(arguments.names) - set(BENCHMARKS):
        parser.error(f"no such benchmark: {', '.join(sorted(unknown))}")
    if arguments.child:
        measure(arguments.names[0], arguments.smallest)
        return 0
    failed = []
    for name in () if arguments.only_render else arguments.names or BENCHMARKS:
        print(f"{name} ...", flush=True)
        command = [sys.executable, __file__, "--child", name, *(["--smallest"] if arguments.smallest else [])]
        if subprocess.run(command, env=os.environ | ONE_THREAD).returncode:
            failed.append(name)
    render()
    if failed:
        print(f"failed: {', '.join(failed)}", file=sys.stderr)
    return int(bool(failed))


if __name__ == "__main__":
    sys.exit(main())
