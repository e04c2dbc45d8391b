"""What other systems lack or do otherwise, as far as it can be imitated: Windows, macOS, and consoles of few letters."""

import ast
import json
import multiprocessing
import ntpath
import os
import platform
import re
import subprocess
import sys
from concurrent.futures import ProcessPoolExecutor
from io import StringIO
from pathlib import Path, PureWindowsPath

import numpy as np
import pytest

from sgdnoise import Schedule, Stage
from sgdnoise.cli import main
from sgdnoise.reproduce import FIGURES, TrainingTask, report, runner
from sgdnoise.reproduce.engine.pool import n_cpus
from sgdnoise.reproduce.engine.sweep import Sweep
from sgdnoise.reproduce.report import read_records

ROOT = Path(__file__).parent.parent
FOLDERS = ("sgdnoise", "tests", "tutorials", "benchmarks")
TINY = [sys.executable, str(ROOT / "tests/tiny.py"), "reproduce", "tiny", "--jobs", "1", "--out"]
RECORDS = read_records(ROOT / "tutorials/figures", FIGURES, "default")

WITHOUT = """
import multiprocessing, os, signal, sys
if "forkserver" in multiprocessing.get_all_start_methods():
    multiprocessing.set_start_method("forkserver")
for name in ("fork", "forkpty", "killpg", "getpgid", "setsid", "nice", "mkfifo", "sched_getaffinity", "sched_setaffinity"):
    delattr(os, name) if hasattr(os, name) else None
for name in ("SIGHUP", "SIGQUIT", "SIGPIPE", "SIGXFSZ", "pthread_sigmask"):
    delattr(signal, name) if hasattr(signal, name) else None
sys.modules |= dict.fromkeys(("resource", "fcntl", "pwd", "grp"))
"""
"""What Windows has not, and some of it macOS; to fork, the start method that is set here, cannot work then."""


def begin_with(folder, code):
    """An environment in which every Python, the workers' included, runs this code first."""
    (folder / "sitecustomize.py").write_text(code, encoding="utf-8")
    return os.environ | {"PYTHONPATH": os.pathsep.join([str(folder), str(ROOT)])}


def test_without_what_windows_lacks_a_figure_is_made(tmp_path):
    """Processes are spawned, whatever start method the main module has set."""
    environment = begin_with(tmp_path, WITHOUT)
    run = subprocess.run([*TINY, tmp_path / "out"], env=environment, capture_output=True, encoding="utf-8", timeout=120)
    assert run.returncode == 0, run.stderr
    assert "rror" not in run.stderr
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"runs", "tiny.png", "tiny.csv", "tiny.json", "report.md"}
    means = json.loads((tmp_path / "out/tiny.json").read_text(encoding="utf-8"))["means"]
    drawn = (np.random.default_rng(seed).standard_normal((50, 50)) for seed in range(20))
    np.testing.assert_allclose(means, [np.einsum("ij,jk->k", X, X) / 50 for X in drawn], rtol=1e-9, atol=1e-12)


@pytest.mark.skipif("forkserver" not in multiprocessing.get_all_start_methods(), reason="there is none here")
def test_a_pool_of_the_callers_may_start_its_processes_as_it_likes(tmp_path):
    task = TrainingTask(Schedule([Stage(1, 0.1, 5000)]), 0)
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("forkserver")) as executor:
        (result,) = Sweep(tmp_path, executor, fresh=False, progress=StringIO()).compute([task])
    expected = task.run()
    assert set(result) == set(expected)
    for name, array in expected.items():
        np.testing.assert_allclose(result[name], array, rtol=1e-5)  # its BLAS has the threads that it wants


@pytest.mark.parametrize(("cpus", "expected"), [(3, 3), (None, 1)])
def test_where_the_system_does_not_say_which_cpus_a_process_may_use_it_is_all(monkeypatch, cpus, expected):
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: cpus)
    assert n_cpus() == expected


@pytest.mark.parametrize("reading", [FileNotFoundError, PermissionError, "no such line\n", "model name\t: a M\xfcller\n"])
def test_the_machine_is_described_without_proc(monkeypatch, reading):
    def read_text(path, encoding, errors):
        if isinstance(reading, type):
            raise reading(path)
        return reading.encode("latin-1").decode(encoding, errors)

    monkeypatch.setattr(Path, "read_text", read_text)
    cpu = runner._machine()["cpu"]
    assert cpu == ("a M\N{REPLACEMENT CHARACTER}ller" if "ller" in str(reading) else platform.processor() or platform.machine())


def test_a_page_on_another_drive_shows_the_pictures_by_their_whole_path(tmp_path, monkeypatch):
    """There is no relative path from one drive of Windows to another."""
    with pytest.raises(ValueError, match="path is on mount 'D:', start on mount 'C:'"):
        ntpath.relpath("D:\\results", "C:\\pages")
    monkeypatch.setattr(os.path, "relpath", lambda path, start: ntpath.relpath("D:\\results", "C:\\pages"))
    assert runner._seen_from(tmp_path / "pages", tmp_path / "a (b)") == (tmp_path / "a (b)").resolve()
    page = report(RECORDS[:1], FIGURES, runner._seen_from(tmp_path / "pages", tmp_path / "a (b)"))
    (picture,) = re.findall(r"^!\[.*\]\((.*)\)$", page, flags=re.MULTILINE)
    assert picture.startswith("file:///")
    assert picture.endswith("/a%20%28b%29/fig1.png")
    assert "\\" not in picture


@pytest.mark.parametrize("folder", ["../given", "figures", ""])
def test_a_page_on_the_same_drive_shows_them_by_where_they_are_from_it(folder):
    for path in (folder, PureWindowsPath(folder).as_posix()):
        page = report(RECORDS[:1], FIGURES, path)
        assert f"]({folder}{'/' * bool(folder)}fig1.png)" in page


def printed_by(argv, capsys):
    with pytest.raises(SystemExit):
        main(argv)
    return "".join(capsys.readouterr())


def test_what_is_printed_can_be_printed_anywhere(capsys):
    """A console or a pipe of Windows has the letters of one code page."""
    setting = ["--learning-rate", "0.1", "--batch-size", "64", "--n-train", "1000"]
    commands = [["reproduce", "--list"], ["convert", *setting, "--to-batch-size", "640"]]
    commands += [["schedule", *setting, "--milestones", "3", "--n-epochs", "9"]]
    commands += [[*command, "--help"] for command in ([], ["reproduce"], ["check"], ["convert"], ["schedule"])]
    for argv in commands:
        assert printed_by(argv, capsys).isascii(), argv
    assert runner.table(RECORDS).isascii()
    for page in (ROOT / "tutorials").glob("[0-9]*.md"):
        for output in re.findall(r"^```text\n(.*?)^```$", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL):
            assert output.isascii(), page.name


def test_a_locale_of_few_letters_loses_no_file(tmp_path):
    """A Cyrillic folder in the locale C, with Python's UTF-8 mode off; the page is in another folder and has a link to it."""
    out, page = tmp_path / "\u0440\u0435\u0437", tmp_path / "\u0441\u0442\u0440/page.md"
    environment = os.environ | {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"}
    environment.pop("PYTHONIOENCODING", None)
    run = subprocess.run([*TINY, out, "--report", page], env=environment, capture_output=True, encoding="ascii")
    assert run.returncode == 0, run.stderr
    assert "rror" not in run.stderr
    assert {path.name for path in out.iterdir()} == {"runs", "tiny.png", "tiny.csv", "tiny.json"}
    assert "](../%D1%80%D0%B5%D0%B7/tiny.png)" in page.read_text(encoding="utf-8")


def carelessly_opened(source):
    """Lines on which text is read or written in whatever encoding and with whatever line ends the system has."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.Call):
            continue
        called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
        given = {keyword.arg for keyword in node.keywords}
        values = [value.value for value in (*node.args, *(k.value for k in node.keywords)) if isinstance(value, ast.Constant)]
        binary = any(isinstance(value, str) and re.fullmatch(r"[rwax]\+?b\+?", value) for value in values)
        opens = isinstance(node.func, ast.Name) and called == "open" and not binary
        needs = {"write_text": {"encoding", "newline"}, "read_text": {"encoding"}}.get(called, {"encoding"} if opens else set())
        if not needs <= given:
            found.append(node.lineno)
    return found


def test_text_is_read_and_written_in_the_same_way_on_every_system():
    for folder in ("sgdnoise", "tutorials", "benchmarks"):
        for source in (ROOT / folder).rglob("*.py"):
            assert carelessly_opened(source.read_text(encoding="utf-8")) == [], source
    careless = ["open(a)", "open(a, 'w')", "p.read_text()", "p.write_text(a)", "p.write_text(a, encoding='utf-8')"]
    careful = ["open(a, 'rb')", "open(a, mode='xb')", "open(a, encoding='utf-8')", "gzip.open(a)", "p.read_bytes()"]
    assert carelessly_opened("\n".join(careless + careful)) == [1, 2, 3, 4, 5]


def test_files_have_names_and_line_ends_that_every_system_can_keep():
    names = [path for folder in FOLDERS for path in (ROOT / folder).rglob("*") if "__pycache__" not in path.parts]
    assert len({str(path).casefold() for path in names}) == len(names) > 100
    for path in names:
        assert not re.search(r'[<>:"|?*\\\x00-\x1f]|[. ]$', path.name), path
        assert not re.fullmatch(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", path.name, flags=re.IGNORECASE), path
        assert len(str(path.relative_to(ROOT))) < 100, path
        if path.suffix in {".py", ".pyi", ".md", ".json", ".txt"}:
            assert b"\r" not in path.read_bytes(), path


def test_what_runs_beside_the_tests_needs_nothing_that_windows_lacks(tmp_path):
    environment = begin_with(tmp_path, WITHOUT) | {"PATH": str(tmp_path)}  # where there is no command `nice`
    commands = [[5, str(tmp_path / f"{i}.json"), [sys.executable, "-c", code]] for i, code in enumerate(("print(1)", "1 / 0"))]
    (tmp_path / "lines.json").write_text(json.dumps(commands), encoding="utf-8")
    subprocess.run([sys.executable, ROOT / "tests/beside.py", tmp_path / "lines.json"], env=environment, check=True)
    first, second = (json.loads((tmp_path / f"{i}.json").read_text(encoding="utf-8")) for i in range(2))
    assert first == {"returncode": 0, "stdout": "1\n", "stderr": ""}
    assert second["returncode"] == 1
    assert second["stderr"].endswith("ZeroDivisionError: division by zero\n")
