"""The layout: who imports whom, what is public, and what importing costs."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import sgdnoise

PACKAGE = Path(sgdnoise.__file__).parent

# Each module may import those named here and the private `_checks` and `_files`; nothing points up.
ALLOWED = {
    "noise": set(),
    "schedules": {"noise"},
    "sampling": set(),
    "models": set(),
    "optimizers": set(),
    "datasets": set(),
    "gradient_noise": set(),
    "stationary": set(),
    "normals": set(),
    "_integrate": {"normals"},
    "boltzmann": set(),
    "energies": {"boltzmann"},
    "sgld": {"_integrate"},
    "langevin": {"_integrate", "sgld"},
    "training": {"sampling", "optimizers"},
    "_in_place": {"optimizers"},
    "_stack": {"_in_place", "optimizers"},
    "fast": {"_in_place", "_stack", "optimizers", "sampling", "training"},
    "cli": {"noise", "schedules", "reproduce", "__version__"},
    "__main__": {"cli"},
    "_checks": set(),
    "_files": set(),
}


def siblings_imported(path, level=1):
    """Siblings that a module imports when it runs; imports for type checkers only do not count."""
    tree = ast.parse(path.read_text())
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
    return found - {"_checks", "_files"}


def top_level_imports(path):
    tree = ast.parse(path.read_text())
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
        "reproduce": set(ALLOWED) - {"cli", "__main__"} | {"__version__"},
    }
    assert {path.parent.name for path in PACKAGE.glob("*/*.py")} - {"data"} == set(allowed)
    for package, names in allowed.items():
        for path in (PACKAGE / package).glob("*.py"):
            assert siblings_imported(path, level=2) <= names, path


def test_only_numpy_scipy_and_the_standard_library_at_the_top_of_a_module():
    for path in PACKAGE.rglob("*.py"):
        foreign = {name.split(".")[0] for name in top_level_imports(path)} - set(sys.stdlib_module_names)
        own = {p.stem for p in PACKAGE.rglob("*.py")}
        assert foreign <= {"numpy", "scipy"} | own, path


def test_every_public_name_is_there_and_documented():
    assert set(sgdnoise.__all__) <= set(dir(sgdnoise))
    tree = ast.parse((PACKAGE / "__init__.py").read_text())
    for_type_checkers = {a.name for n in ast.walk(tree) if isinstance(n, ast.ImportFrom) and n.level for a in n.names}
    assert for_type_checkers == set(sgdnoise.__all__)
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
