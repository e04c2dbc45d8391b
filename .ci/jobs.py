"""What guards the project, from a clean checkout; each job makes the virtual environments that it needs.

``python .ci/jobs.py`` runs what one machine can, the tests last; ``python .ci/jobs.py static oldest`` runs some of it. The
workflows call the same jobs.
"""

from __future__ import annotations

import argparse
import os
import platform
import subprocess
import sys
import tarfile
import tempfile
import tomllib
import venv
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SCRIPTS = "Scripts" if os.name == "nt" else "bin"

OLD_ENOUGH = ["pyparsing<3.3"]
"""What our oldest dependencies cannot yet bear: matplotlib 3.10.0 calls names that pyparsing 3.3 deprecates."""


def run(*command: str | Path, cwd: Path = ROOT, **environment: str) -> None:
    """Run a command; an error ends the job."""
    print("$", *(f"{name}={value}" for name, value in environment.items()), *command, flush=True)
    subprocess.run(command, cwd=cwd, env=os.environ | environment, check=True)


def environment(folder: Path, *requirements: str | Path) -> Path:
    """Make a virtual environment, and return the folder of its commands."""
    venv.create(folder, with_pip=True, symlinks=os.name != "nt")  # as `python -m venv` does
    scripts = folder / SCRIPTS
    run(scripts / "python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *requirements)
    return scripts


def static(scratch: Path) -> None:
    """Lint, format, types, and what the configuration files and workflows must keep to."""
    scripts = environment(scratch / "static", "-e", f"{ROOT}[test,dev]")
    run(scripts / "ruff", "check", ".")
    run(scripts / "ruff", "format", "--check", ".")
    run(scripts / "mypy")
    run(scripts / "validate-pyproject", "pyproject.toml")
    run(scripts / "sp-repo-review", ".")
    github = ROOT / ".github"
    for schema, paths in {
        "github-workflows": sorted((github / "workflows").glob("*.yml")),
        "dependabot": [github / "dependabot.yml"],
        "github-issue-forms": sorted(path for path in (github / "ISSUE_TEMPLATE").glob("*.yml") if path.stem != "config"),
        "github-issue-config": [github / "ISSUE_TEMPLATE" / "config.yml"],
    }.items():
        run(scripts / "check-jsonschema", "--builtin-schema", f"vendor.{schema}", *paths)
    run(scripts / "zizmor", "--offline", ".github")


def _build(scratch: Path) -> dict[str, Path]:
    """Build the source distribution, and the wheel from it."""
    dist = scratch / "dist"
    if not dist.exists():
        run(environment(scratch / "build", "build") / "python", "-m", "build", "--outdir", dist, ".")
    return {path.suffix: path for path in dist.iterdir()}


def package(scratch: Path) -> None:
    """Check the distributions; from the wheel, installed elsewhere, the main result is reproduced and the laws are checked."""
    built = _build(scratch)
    tools = environment(scratch / "tools", "twine", "check-wheel-contents")
    run(tools / "twine", "check", "--strict", *built.values())
    run(tools / "check-wheel-contents", built[".whl"])

    scripts = environment(scratch / "wheel", built[".whl"])
    elsewhere = scratch / "elsewhere"
    elsewhere.mkdir()
    run(scripts / "sgdnoise", "reproduce", cwd=elsewhere)
    if "FAILS" in (elsewhere / "results" / "report.md").read_text(encoding="utf-8"):
        sys.exit("a claim that held before fails now")
    run(scripts / "sgdnoise", "check", cwd=elsewhere)
    run(scripts / "python", "benchmarks/bench_import.py")


def cluster(scratch: Path) -> None:
    """Run the same sweep on a dask cluster, a worker killed included."""
    run(environment(scratch / "cluster", f"{ROOT}[test,cluster]") / "pytest", "-q", "tests/cluster_dask.py")


def oldest(scratch: Path) -> None:
    """Test the unpacked source distribution with the oldest dependencies that it allows, on another kernel of the BLAS."""
    with tarfile.open(_build(scratch)[".gz"]) as archive:
        archive.extractall(scratch / "unpacked", filter="data")
    (source,) = (scratch / "unpacked").iterdir()
    project = tomllib.loads((source / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    asked = [*project["dependencies"], *project["optional-dependencies"]["test"]]
    constraints = scratch / "oldest.txt"
    constraints.write_text("\n".join([*(line.replace(">=", "==") for line in asked), *OLD_ENOUGH]), encoding="utf-8")
    scripts = environment(scratch / "oldest", "-c", constraints, "-e", f"{source}[test]")
    kernel = {"OPENBLAS_CORETYPE": "Prescott"} if platform.machine() in ("x86_64", "AMD64") else {}
    run(scripts / "pytest", "-q", cwd=source, **kernel)


def newest(scratch: Path) -> None:
    """Test with what is not released yet."""
    run(environment(scratch / "newest", "--pre", "-e", f"{ROOT}[test]") / "pytest", "-q")


def docs(scratch: Path) -> None:
    """Render the tutorials and hold all pages to what the code says."""
    scripts = environment(scratch / "docs", "-e", f"{ROOT}[test]")
    run(scripts / "pytest", "-q", "tests/test_readme.py", "tests/test_tutorials.py")


def tests(scratch: Path) -> None:
    """Run the tests as the README does."""
    run(environment(scratch / "tests", "-e", f"{ROOT}[test]") / "pytest")


JOBS: dict[str, Callable[[Path], None]] = {job.__name__: job for job in (static, package, cluster, oldest, newest, docs, tests)}
HERE = ("static", "package", "cluster", "oldest", "tests")
"""All but what may fail for others' reasons, and what is part of the tests."""


def main() -> None:
    """Run the jobs that are asked for."""
    parser = argparse.ArgumentParser(description="Run what guards the project.")
    parser.add_argument("jobs", nargs="*", choices=[[], *JOBS], metavar="JOB", help=f"one of {', '.join(JOBS)}")
    parser.add_argument("--keep", type=Path, metavar="DIR", help="keep the environments, and in DIR/dist the distributions")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) if args.keep is None else nullcontext(args.keep) as scratch:
        for name in args.jobs or HERE:
            print(f"\n== {name}: {JOBS[name].__doc__}", flush=True)
            try:
                JOBS[name](Path(scratch).resolve())
            except subprocess.CalledProcessError as error:
                sys.exit(f"{name} has failed: {error}")


if __name__ == "__main__":
    main()
