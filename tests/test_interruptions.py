"""What comes in the middle: kills, Ctrl-C and other signals at any moment, leftovers of those killed, a full disk."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
import tomllib
import tracemalloc
import zipfile
from concurrent.futures import BrokenExecutor, ThreadPoolExecutor
from dataclasses import dataclass
from importlib import util
from io import BytesIO, StringIO
from pathlib import Path
from pickle import PicklingError
from types import SimpleNamespace

import numpy as np
import pytest

from sgdnoise import _files
from sgdnoise._files import atomic_write, remove_leftovers
from sgdnoise._signals import STOPS, held_back
from sgdnoise.reproduce.engine.pool import processes
from sgdnoise.reproduce.engine.results import Outcome, load, result_path, save

ROOT = Path(__file__).parent.parent
TINY = [sys.executable, str(ROOT / "tests/tiny.py"), "reproduce", "tiny", "--jobs", "1", "--out"]
SAID = "sgdnoise: interrupted; what is done is kept, run it again to go on"
posix = pytest.mark.skipif(sys.platform == "win32", reason="no process sends these signals to another on Windows")


def started(out, interrupt=signal.SIG_DFL):
    """The small figure, with Ctrl-C as a shell leaves it to what is in the foreground, or in the background."""
    out.parent.mkdir(exist_ok=True)
    with open(f"{out}.txt", "a") as said:
        return subprocess.Popen(
            [*TINY, out], stdout=said, stderr=said, process_group=0, preexec_fn=lambda: signal.signal(signal.SIGINT, interrupt)
        )


def n_left(process):
    """Whether of a process and those it started any is left, after a moment."""
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        try:
            os.killpg(process.pid, 0)
        except ProcessLookupError:
            return 0
        time.sleep(0.01)
    return 1


@posix
def test_ended_at_random_and_resumed_by_two_at_once_the_numbers_are_right(tmp_path):
    """SIGKILL and signals to the process or to its group, as a terminal sends them, once it has a result more."""
    out, rng = tmp_path / "out", np.random.default_rng(0)
    seen = []
    for end in ("INT group twice", "KILL", "TERM", "KILL", "HUP group"):
        n_before = len(list(out.glob("runs/*.npz")))
        process = started(out)
        while process.poll() is None and len(list(out.glob("runs/*.npz"))) <= n_before:
            time.sleep(0.001)
        time.sleep(rng.uniform(0, 0.05))
        number = signal.Signals[f"SIG{end.split()[0]}"]
        for _ in range(1 + ("twice" in end)):
            if process.poll() is None:
                (os.killpg if "group" in end else os.kill)(process.pid, number)
        seen.append(process.wait(timeout=30))
        assert seen[-1] in (-9 if number == signal.SIGKILL else 128 + number, 0), end
        assert not n_left(process), end
        for path in list(out.glob("runs/*.npz"))[12:]:  # so that there is something left to do
            path.unlink()
    assert seen.count(0) <= 1  # they were ended, and not over before
    text = Path(f"{out}.txt").read_text(encoding="utf-8")
    assert text.count(SAID) == sum(status > 0 for status in seen)
    runs = [started(out, signal.SIG_IGN) for _ in range(2)]
    while any(run.poll() is None for run in runs):
        for run in runs:
            if run.poll() is None:
                os.killpg(run.pid, signal.SIGINT)  # which a process in the background has been told to ignore
        time.sleep(0.1)
    assert [run.returncode for run in runs] == [0, 0]
    spec = util.spec_from_file_location("tiny", TINY[1])
    tiny = util.module_from_spec(spec)
    spec.loader.exec_module(tiny)
    record = json.loads((out / "tiny.json").read_text(encoding="utf-8"))
    assert record["means"] == [tiny.TinyTask(seed).run()["mean"].tolist() for seed in range(20)]
    assert {path.name for path in out.iterdir()} == {"runs", "tiny.png", "tiny.csv", "tiny.json", "report.md"}
    assert all(path.suffix == ".npz" for path in (out / "runs").iterdir())
    assert len(list((out / "runs").iterdir())) == 20
    for word in ("Traceback", "rror", "ignored", "leaked", "arning"):
        assert word not in Path(f"{out}.txt").read_text(encoding="utf-8")


AT_IMPORT = """
import signal, sys
class Finder:
    def find_spec(self, name, path, target=None):
        if name == {name!r}:
            signal.raise_signal(signal.{signal})
sys.meta_path.insert(0, Finder())
"""
IN_A_CALLBACK = """
import signal
class Dying:
    def __del__(self):
        signal.raise_signal(signal.{signal})
        for i in range(10): pass
def show(*args, shown=print):
    Dying()
    shown(*args)
import builtins
builtins.print = show
"""


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM"])
@pytest.mark.parametrize(
    "code",
    [
        AT_IMPORT.replace("{name!r}", "'argparse'"),
        AT_IMPORT.replace("{name!r}", "'numpy'"),
        AT_IMPORT.replace("{name!r}", "'datetime'"),  # by a module in C, which makes another error of what is raised
        IN_A_CALLBACK,
    ],
    ids=["argparse", "numpy", "datetime", "callback"],
)
def test_a_signal_ends_the_command_wherever_it_comes(code, name):
    code = code.replace("{signal}", name) + "import sys; from sgdnoise.__main__ import main; main()"
    if name == "SIGINT":  # it may be ignored where tests run
        code = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)" + code
    setting = ["--learning-rate", "0.1", "--batch-size", "64", "--n-train", "1000", "--to-batch-size", "128"]
    run = subprocess.run([sys.executable, "-c", code, "convert", *setting], capture_output=True, text=True, cwd=ROOT)
    assert (run.returncode, run.stdout, run.stderr) == (128 + signal.Signals[name], "", f"\n{SAID}\n")


def test_the_command_takes_over_its_signals_before_it_imports_anything():
    scripts = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["scripts"]
    assert scripts == {"sgdnoise": "sgdnoise.__main__:main"}
    code = "import sys, sgdnoise.__main__; print({'numpy', 'argparse', 'multiprocessing', 'json'} & set(sys.modules))"
    run = subprocess.run([sys.executable, "-S", "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    assert run.stdout == "set()\n"


@pytest.fixture
def handled():
    """The numbers of signals that have come, each of which raises as Ctrl-C does."""
    came = []

    def handler(number, frame):
        came.append(number)
        raise KeyboardInterrupt

    before = {number: signal.signal(number, handler) for number in STOPS}
    yield came
    for number, old in before.items():
        signal.signal(number, old)


@pytest.mark.parametrize("number", STOPS)
def test_a_signal_is_held_back_until_the_block_is_over(handled, number):
    done = []

    @held_back()
    def block():
        signal.raise_signal(number)
        signal.raise_signal(number)
        done.extend([list(handled)])

    with pytest.raises(KeyboardInterrupt):
        block()
    assert (done, handled) == ([[]], [number])
    with pytest.raises(KeyboardInterrupt):  # and not for longer
        signal.raise_signal(number)


@pytest.mark.parametrize("number", STOPS)
def test_what_is_ignored_stays_ignored_and_errors_come_first(handled, number):
    signal.signal(number, signal.SIG_IGN)
    with held_back():
        signal.raise_signal(number)
    assert signal.getsignal(number) == signal.SIG_IGN
    with ThreadPoolExecutor(1) as executor, executor.submit(held_back).result():  # handlers run in the main thread only
        pass
    other = next(other for other in STOPS if other != number)

    @held_back()
    def block():
        signal.raise_signal(other)
        raise ValueError("first")

    with pytest.raises(KeyboardInterrupt) as interrupt:
        block()
    assert str(interrupt.value.__context__) == "first"
    assert handled == [other]


@pytest.mark.parametrize("call", ["open", "replace"])
def test_an_interrupted_file_is_whole(tmp_path, monkeypatch, handled, call):
    def interrupted(*args, before=os.replace if call == "replace" else open):
        signal.raise_signal(signal.SIGINT)
        return before(*args)

    monkeypatch.setattr(*((os, "replace") if call == "replace" else (_files, "open")), interrupted, raising=False)
    with pytest.raises(KeyboardInterrupt), atomic_write(tmp_path / "a") as file:
        file.write(b"whole")
    assert [path.name for path in tmp_path.iterdir()] == ["a"]
    assert (tmp_path / "a").read_bytes() == b"whole"


def test_what_fails_before_it_is_written_touches_nothing(tmp_path):
    with pytest.raises(ZeroDivisionError), atomic_write(tmp_path / "new/a") as file:
        file.write(b"half" * (1 // 0))
    assert not list(tmp_path.iterdir())


WRITE = """
import os, signal, sys
from pathlib import Path
from pickle import PicklingError
from sgdnoise._files import atomic_write
if sys.argv[2] == "killed":
    os.replace = lambda *paths: (print(os.getpid(), flush=True), sys.stdin.read(), os.kill(os.getpid(), 9))
with atomic_write(sys.argv[1]) as file:
    file.write(b"whole")
"""


@posix
@pytest.mark.parametrize("name", ["a", "b" * 255])
def test_the_next_run_removes_what_a_killed_one_left_and_nothing_of_one_that_lives(tmp_path, name):
    command = [sys.executable, "-c", WRITE, tmp_path / name]
    killed = subprocess.Popen([*command, "killed"], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    killed.stdout.readline()
    (temporary,) = tmp_path.iterdir()
    subprocess.run([*command, "well"], check=True, cwd=ROOT)
    assert temporary.read_bytes() == b"whole"  # it is being written
    killed.communicate()
    assert killed.returncode == -9
    assert temporary.exists()
    subprocess.run([*command, "well"], check=True, cwd=ROOT)
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_a_leftover_is_known_by_its_process_or_by_its_age(tmp_path, monkeypatch):
    over = subprocess.Popen([sys.executable, "-S", "-c", ""])
    over.wait()
    machine = os.uname().nodename if hasattr(os, "uname") else "m"
    monkeypatch.setattr(_files, "_MACHINE", _files._MACHINE or "m")
    here, us, them = _files._MACHINE, os.getpid(), os.getppid()
    assert len(here) == len(machine)
    stays = [f"{here}-{us}-{_files._TOKEN}-0", f"{here}-{them}-0a-0", f"elsewhere-{over.pid}-0a-0", f"-{over.pid}-0a-0", "0"]
    goes = [f"{here}-{over.pid}-0a-3", f"{here}-{us}-0a-0", f"{here}-{10**30}-0a-0"]
    old = [f"elsewhere-{us}-0a-1", f"{here}-{them}-0a-1", "1"]
    for name in stays + goes + old:
        (tmp_path / f".sgdnoise-{name}.tmp").touch()
    for name in old:
        os.utime(tmp_path / f".sgdnoise-{name}.tmp", (time.time() - 3700,) * 2)
    for name in ("mine.tmp", ".mine.tmp", ".sgdnoise", "sgdnoise-0.tmp"):
        (tmp_path / name).touch()
        os.utime(tmp_path / name, (0, 0))
        stays.append(name)
    remove_leftovers(tmp_path)
    left = {path.name.removeprefix(".sgdnoise-").removesuffix(".tmp") for path in tmp_path.iterdir()}
    assert left == {name.removeprefix(".sgdnoise-").removesuffix(".tmp") for name in stays}
    monkeypatch.setattr(_files, "_MACHINE", "")  # Windows: a process cannot be asked
    assert not _files._is_gone(f".sgdnoise--{over.pid}-0a-0.tmp")


def test_writers_of_one_file_do_not_disturb_each_other(tmp_path):
    path, contents, seen, over = tmp_path / "a", [bytes([i]) * 50_000 for i in range(4)], set(), threading.Event()

    def write(content):
        for _ in range(25):
            with atomic_write(path) as file:
                file.write(content)

    def read():
        while not over.is_set():
            seen.add(path.read_bytes())

    write(contents[0])
    with ThreadPoolExecutor(5) as executor:
        reader = executor.submit(read)
        try:
            for done in [executor.submit(write, content) for content in contents]:
                done.result()
        finally:
            over.set()
        reader.result()
    assert seen <= set(contents)
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("n_times", [1, 2, 9])
def test_a_file_that_is_being_read_on_windows_is_replaced_a_moment_later(tmp_path, monkeypatch, n_times):
    left, waited = [n_times], []

    def replace(*paths, before=os.replace):
        left[0] -= 1
        if left[0] >= 0:
            raise PermissionError(13, "Access is denied", str(paths[0]))
        before(*paths)

    monkeypatch.setattr(os, "replace", replace)
    monkeypatch.setattr(time, "sleep", waited.append)
    (tmp_path / "a").write_bytes(b"old")
    if n_times == 9:  # it stays open, in a spreadsheet for one
        with pytest.raises(PermissionError) as refused, atomic_write(tmp_path / "a") as file:
            file.write(b"new")
        assert refused.value.filename == str(tmp_path / "a")
    else:
        with atomic_write(tmp_path / "a") as file:
            file.write(b"new")
    assert (tmp_path / "a").read_bytes() == (b"old" if n_times == 9 else b"new")
    assert [path.name for path in tmp_path.iterdir()] == ["a"]
    assert sum(waited) < 2


@dataclass(frozen=True)
class Plain:
    """Of one array, and so a result file with a name."""

    cost: float = 1.0


def bomb(path, *, overlap):
    """A small zip file that unpacks to 64 MiB: packed, or with one mebibyte that 64 members share."""
    header = BytesIO()
    n_bytes = 2**20 if overlap else 2**26
    np.lib.format.write_array_header_1_0(header, {"descr": "|u1", "fortran_order": False, "shape": (n_bytes,)})
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED if overlap else zipfile.ZIP_DEFLATED) as archive:
        with archive.open("a.npy", "w") as member:
            member.write(header.getvalue())
            for _ in range(n_bytes // 2**20):
                member.write(bytes(2**20))
        if overlap:
            archive.filelist += [archive.filelist[0]] * 63


@pytest.mark.parametrize("overlap", [False, True])
def test_a_result_file_that_would_unpack_to_more_than_it_is_is_not_read(tmp_path, overlap):
    path, progress = result_path(Plain(), tmp_path), StringIO()
    bomb(path, overlap=overlap)
    assert path.stat().st_size < 2**21
    tracemalloc.start()
    try:
        assert load(Plain(), tmp_path, progress) is None
        assert tracemalloc.get_traced_memory()[1] < 2**20
    finally:
        tracemalloc.stop()
    assert f"{path} is damaged (it would unpack to more than it is" in progress.getvalue()


@pytest.mark.parametrize(
    "array", [np.zeros(0), np.zeros(10**6), np.arange(3) > 1, np.array("a"), np.ones((2, 3, 4), np.float32)]
)
def test_every_result_of_ours_is_as_long_as_it_says(tmp_path, array):
    save(Plain(), Outcome({"a": array, "b": array[..., None]}, 1.5, ""), tmp_path)
    outcome = load(Plain(), tmp_path, StringIO())
    assert outcome.seconds == 1.5
    np.testing.assert_array_equal(outcome.arrays["a"], array)


UNPICKLABLE = "raise type('Mine', (ValueError,), {})('of a class that is nowhere')"
HALF_AN_ANSWER = """
import gc, os, struct
from multiprocessing.connection import Connection
(pipe,) = [found for found in gc.get_objects() if isinstance(found, Connection)]
os.write(pipe.fileno(), struct.pack("!i", 10**6) + bytes(1000))
os.kill(os.getpid(), 9)
"""


@posix
def test_a_worker_hands_over_any_error_and_may_die_in_the_middle_of_an_answer():
    def work():
        with processes(1) as executor:
            assert executor.submit(divmod, 7, 2).result() == (3, 1)
            with pytest.raises(ZeroDivisionError) as error:
                executor.submit(divmod, 7, 0).result()
            assert any("In a worker process:\nTraceback" in note for note in error.value.__notes__)
            with pytest.raises(RuntimeError, match="Mine: of a class that is nowhere"):
                executor.submit(exec, UNPICKLABLE).result()
            with pytest.raises((AttributeError, PicklingError), match="local object"):
                executor.submit(lambda: 1).result()
            assert executor.submit(signal.pthread_sigmask, signal.SIG_BLOCK, []).result() >= set(STOPS)  # from its start
            broken, later = executor.submit(exec, HALF_AN_ANSWER), executor.submit(abs, -1)
            with pytest.raises(BrokenExecutor):
                later.result(timeout=30)
            broken.result(timeout=30)

    with pytest.raises(ChildProcessError, match="a worker process was killed; finished runs are kept"):
        work()


def test_a_pool_starts_no_more_processes_than_there_is_work_and_ends_all(monkeypatch):
    class Worker:
        begun, ended = 0, []

        def __init__(self):
            Worker.begun += 1
            self.process = SimpleNamespace(kill=lambda: None, join=lambda: Worker.ended.append(self))

        def run(self, call):
            return Worker.begun

    monkeypatch.setattr("sgdnoise.reproduce.engine.pool._Worker", Worker)
    for n_calls, expected in ((0, 0), (2, 2), (5, 3)):
        Worker.begun, Worker.ended = 0, []
        with processes(3) as executor:
            for _ in range(n_calls):
                assert executor.submit(abs, -1).result() > 0
        assert (Worker.begun, len(Worker.ended)) == (expected, expected)


COMMANDS = {
    "convert": ["convert", "--learning-rate", "0.1", "--batch-size", "64", "--n-train", "1000", "--to-batch-size", "128"],
    "schedule": [
        "schedule",
        "--learning-rate",
        "0.1",
        "--batch-size",
        "64",
        "--n-train",
        "1000",
        "--milestones",
        "3",
        "--n-epochs",
        "5",
    ],
    "help": ["reproduce", "--help"],
}


@posix
@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize("command", COMMANDS)
def test_standard_output_on_a_full_disk_is_one_clear_error(tmp_path, command, unbuffered):
    import resource

    with open(tmp_path / "out", "w") as out:
        run = subprocess.run(
            [sys.executable, "-m", "sgdnoise", *COMMANDS[command]],
            stdout=out,
            stderr=subprocess.PIPE,
            text=True,
            cwd=ROOT,
            env=os.environ | {"PYTHONUNBUFFERED": unbuffered},
            preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0)),
        )
    if command == "help":  # argparse's own
        assert (run.returncode, run.stderr) == (0, "")
        return
    assert run.returncode == 1
    assert run.stderr == f"sgdnoise {COMMANDS[command][0]}: error: [Errno 27] File too large\n"


@posix
@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize("command", COMMANDS)
def test_a_reader_who_has_gone_is_no_error_buffered_or_not(command, unbuffered):
    read, write = os.pipe()
    os.close(read)
    environment = os.environ | {"PYTHONUNBUFFERED": unbuffered}
    run = subprocess.run(
        [sys.executable, "-m", "sgdnoise", *COMMANDS[command]],
        stdout=write,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env=environment,
    )
    os.close(write)
    assert (run.returncode, run.stderr) == (0 if command == "help" else 141, "")


@posix
@pytest.mark.parametrize("closed", [">&-", "2>&-", ">&- 2>&- <&-"])
def test_streams_that_are_closed_from_the_start_are_no_error(closed):
    argv = " ".join([sys.executable, "-m", "sgdnoise", *COMMANDS["convert"]])
    run = subprocess.run(["sh", "-c", f"{argv} {closed}"], capture_output=True, text=True, cwd=ROOT)
    assert (run.returncode, run.stderr) == (0, "")
    assert bool(run.stdout) == (closed == "2>&-")
