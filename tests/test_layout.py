"""The layout: who imports whom, what is public, and what importing costs."""

import ast
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import sgdnoise

PACKAGE = Path(sgdnoise.__file__).parent

# Each module may import those named here and the private `_checks`, `_files` and `_signals`; nothing points up.
ALLOWED = {
    "noise": set(),
    "schedules": {"noise"},
    "sampling": set(),
    "models": set(),
    "optimizers": set(),
    "datasets": set(),
    "gradient_noise": set(),
    "stationary": set(),
    "curves": {"schedules"},
    "normals": set(),
    "_integrate": {"normals"},
    "boltzmann": set(),
    "energies": {"boltzmann"},
    "scaling": {"noise"},
    "sgld": {"_integrate", "sampling"},
    "langevin": {"_integrate", "sgld"},
    "training": {"sampling", "optimizers"},
    "_in_place": {"optimizers"},
    "_stack": {"_in_place"},
    "fast": {"_in_place", "_stack", "sampling", "training"},
    "_plan": {"scaling", "schedules", "reproduce"},
    "cli": {"_plan", "scaling", "reproduce", "__version__"},
    "__main__": {"cli"},
    "_checks": set(),
    "_files": set(),
    "_signals": set(),
}


ROOMS = {
    "__init__": {"engine", "tasks", "runner", "report"},
    "runner": {"engine", "figures", "report"},
    "report": {"engine"},
    "check": {"engine", "tasks"},
    "figures": {"engine", "tasks"},
    "tasks": {"engine"},
    "engine": set(),
}
"""What each room of `reproduce`, a folder or a module, may import of the others: runner on figures on tasks on engine."""

COMPUTES = {"engine": {"_checks", "_files", "_signals"}, "tasks": set(ALLOWED) - {"cli", "__main__", "scaling"}}
"""What those rooms may import of the package above: the engine knows no physics."""


def siblings_imported(path, level=1):
    """Siblings that a module imports when it runs; imports for type checkers only do not count."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    skipped = {
        id(node)
        for block in ast.walk(tree)
        if isinstance(block, ast.If) and ast.unparse(block.test) == "TYPE_CHECKING"
        for node in ast.walk(block)
    }
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.level == level and id(node) not in skipped:
            found |= {node.module.split(".")[0]} if node.module else {alias.name for alias in node.names}
    return found - {"_checks", "_files", "_signals"}


def out_of_order(reproduce):
    """Imports inside `reproduce`, and from its engine and tasks to the rest of the package, that point where they must not."""
    wrong = []
    for path in sorted(reproduce.rglob("*.py")):
        folder = path.relative_to(reproduce).parts[0] if path.parent != reproduce else None
        room, depth = folder or path.stem, 1 + (folder is not None)
        wrong += [f"{room}: {name}" for name in siblings_imported(path, depth) - ROOMS[room] - {room}]
        if folder in COMPUTES:
            wrong += [f"{room}: ...{name}" for name in siblings_imported(path, depth + 1) - COMPUTES[folder]]
        text = path.read_text(encoding="utf-8")
        wrong += [
            f"{room}: sgdnoise by its own name" for _ in re.findall(r"^\s*(?:from|import) sgdnoise\b", text, re.MULTILINE)
        ]
    return wrong


def top_level_imports(path):
    tree = ast.parse(path.read_text(encoding="utf-8"))
    names = [alias.name for node in tree.body if isinstance(node, ast.Import) for alias in node.names]
    return names + [node.module for node in tree.body if isinstance(node, ast.ImportFrom) and node.module]


def test_imports_point_down():
    modules = {path.stem for path in PACKAGE.glob("*.py")} - {"__init__"}
    assert modules == set(ALLOWED)
    for name in modules:
        assert siblings_imported(PACKAGE / f"{name}.py") <= ALLOWED[name], name


def test_subpackages_import_down_too():
    allowed = {
        "testing": {"optimizers", "sampling"},
        "reproduce": set(ALLOWED) - {"cli", "__main__", "scaling"} | {"__version__"},
    }
    assert {path.parent.name for path in PACKAGE.glob("*/*.py")} - {"data"} == set(allowed)
    for package, names in allowed.items():
        for path in (PACKAGE / package).rglob("*.py"):
            level = 1 + len(path.relative_to(PACKAGE).parts) - 1
            assert siblings_imported(path, level) <= names, path


def test_runner_on_figures_on_tasks_on_engine():
    assert {path.stem for path in (PACKAGE / "reproduce").iterdir() if path.stem != "__pycache__"} == set(ROOMS)
    assert out_of_order(PACKAGE / "reproduce") == []


@pytest.mark.parametrize(
    ("path", "line", "found"),
    [
        ("tasks/wells.py", "from ..figures.style import figure_style", "tasks: figures"),
        ("tasks/wells.py", "    from .. import runner", "tasks: runner"),
        ("engine/results.py", "from ..tasks.toy import network", "engine: tasks"),
        ("engine/verdicts.py", "from ...noise import noise_scale", "engine: ...noise"),
        ("figures/fig2.py", "from ..runner import FIGURES", "figures: runner"),
        ("report.py", "from .figures import fig2", "report: figures"),
        ("check.py", "from sgdnoise.reproduce.figures import style", "check: sgdnoise by its own name"),
    ],
)
def test_an_import_against_the_order_is_found(tmp_path, path, line, found):
    copy = tmp_path / "reproduce"
    shutil.copytree(PACKAGE / "reproduce", copy)
    with open(copy / path, "a", encoding="utf-8") as file:
        file.write(f"\n\ndef later():\n    {line.strip()}\n")
    assert out_of_order(copy) == [found]


def test_only_numpy_scipy_and_the_standard_library_at_the_top_of_a_module():
    for path in PACKAGE.rglob("*.py"):
        foreign = {name.split(".")[0] for name in top_level_imports(path)} - set(sys.stdlib_module_names)
        own = {p.stem for p in PACKAGE.rglob("*.py")} | {p.name for p in PACKAGE.rglob("*") if p.is_dir()}
        assert foreign <= {"numpy", "scipy"} | own, path


def test_every_public_name_is_there_and_documented():
    assert set(sgdnoise.__all__) <= set(dir(sgdnoise))
    tree = ast.parse((PACKAGE / "__init__.pyi").read_text(encoding="utf-8"))
    imports = [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]  # for type checkers
    assert {alias.name for node in imports if node.module for alias in node.names} == set(sgdnoise.__all__)
    assert {alias.name for node in imports if not node.module for alias in node.names} == set(sgdnoise._PUBLIC)
    for name in sgdnoise.__all__:
        assert getattr(sgdnoise, name).__doc__, name
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        sgdnoise.nothing  # noqa: B018


def test_public_functions_name_the_tutorial_that_is_about_them():
    without = {"Dataset", "load_fashion", "load_idx", "make_blobs", "make_teacher", "LogisticRegression", "DivergenceError"}
    for name in set(sgdnoise.__all__) - without:
        links = re.findall(r"``(tutorials/\w+\.md)``", getattr(sgdnoise, name).__doc__)
        assert links, name
        assert all((PACKAGE.parent / link).exists() for link in links), name


def test_importing_and_training_need_no_matplotlib_and_no_scipy():
    code = (
        "import sys, sgdnoise as s; d = s.make_blobs(50, 10, rng=0);"
        "s.train(s.LogisticRegression(2, 3), d, s.Schedule([s.Stage(1, .1, 10)]), s.adam(), rng=0);"
        "print([m for m in ('matplotlib', 'scipy', 'hypothesis', 'pytest') if m in sys.modules])"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


def test_global_random_state_is_left_alone():
    state = np.random.get_state()[1].copy()  # noqa: NPY002
    data = sgdnoise.make_teacher(50, 10, rng=0)
    sgdnoise.train(
        sgdnoise.LogisticRegression(20), data, sgdnoise.Schedule([sgdnoise.Stage(1, 0.1, 10)]), sgdnoise.sgd(), rng=0
    )
    np.testing.assert_array_equal(state, np.random.get_state()[1])  # noqa: NPY002


def test_the_map_names_every_module():
    page = (PACKAGE.parent / "CONTRIBUTING.md").read_text(encoding="utf-8")
    table = page.partition("## The map")[2].partition("## ")[0]
    named = {name.split(".")[-1] for name in re.findall(r"`([\w.]+)`", table)}
    rooms = {path.name for path in (PACKAGE / "reproduce").iterdir() if (path / "__init__.py").exists()}
    assert set(ALLOWED) - {"__main__"} | rooms | {"testing", "data"} <= named


def test_the_version_stands_in_one_place():
    root = PACKAGE.parent
    changelog = (root / "CHANGELOG.md").read_text(encoding="utf-8")
    assert re.search(r"^## (\S+)", changelog, flags=re.MULTILINE)[1] == sgdnoise.__version__
    for name in ("pyproject.toml", "CITATION.cff"):
        assert sgdnoise.__version__ not in (root / name).read_text(encoding="utf-8"), name
