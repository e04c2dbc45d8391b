"""The sweep on a dask cluster of processes. Needs ``.[test,cluster]`` and is run by its path: ``pytest tests/cluster_dask.py``."""

import io
import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from sgdnoise import Schedule, Stage
from sgdnoise.reproduce import TrainingTask
from sgdnoise.reproduce.engine.sweep import Sweep

COMMAND = [sys.executable, "-m", "sgdnoise", "reproduce", "fig2", "--quick"]


@pytest.fixture(scope="module")
def cluster():
    from distributed import LocalCluster

    options = {"processes": True, "threads_per_worker": 1, "host": "127.0.0.1", "dashboard_address": "127.0.0.1:0"}
    with LocalCluster(n_workers=2, **options) as cluster:
        yield cluster


@pytest.fixture
def client(cluster):
    from distributed import Client

    with Client(cluster) as client:
        yield client


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    out = tmp_path_factory.mktemp("undisturbed")
    subprocess.run([*COMMAND, "--jobs", "1", "--out", out], check=True, capture_output=True)
    return contents(out)


def contents(out):
    record = json.loads((out / "fig2-quick.json").read_text(encoding="utf-8"))
    record.pop("run")
    return record


def test_the_executor_gives_the_same_bits_and_lives_on(client, tmp_path):
    tasks = [TrainingTask(Schedule([Stage(1, 0.1, 500)]), seed) for seed in range(5)]
    executor = client.get_executor(pure=False)
    results = Sweep(tmp_path, executor, fresh=False, progress=io.StringIO()).compute(tasks)
    for task, result in zip(tasks, results, strict=True):
        assert all(np.array_equal(result[name], array) for name, array in task.run().items())
    assert executor.submit(abs, -1).result() == 1


def test_the_command_gives_the_same_numbers(cluster, undisturbed, tmp_path):
    subprocess.run([*COMMAND, "--dask", cluster.scheduler_address, "--out", tmp_path], check=True, capture_output=True)
    assert contents(tmp_path) == undisturbed


def test_a_worker_killed_in_the_middle_changes_nothing(cluster, client, undisturbed, tmp_path):
    """The scheduler gives the lost worker's task to another."""
    workers = client.run(os.getpid)
    command = [*COMMAND, "--dask", cluster.scheduler_address, "--out", tmp_path]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    while not list(tmp_path.glob("runs/*.npz")) and process.poll() is None:
        time.sleep(0.01)
    busy = {address for address, tasks in client.processing().items() if tasks}
    assert busy
    os.kill(workers[busy.pop()], signal.SIGKILL)
    output, _ = process.communicate(timeout=120)
    assert process.returncode == 0, output
    assert contents(tmp_path) == undisturbed
    assert client.run(os.getpid) != workers


def test_no_cluster_there_is_one_clear_line(tmp_path):
    command = [*COMMAND, "--dask", "tcp://127.0.0.1:9", "--out", tmp_path]
    environment = {**os.environ, "DASK_DISTRIBUTED__COMM__TIMEOUTS__CONNECT": "1s"}
    run = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert run.returncode == 1
    assert run.stderr.startswith("sgdnoise reproduce: error: ")
    assert len(run.stderr.splitlines()) == 1


@pytest.mark.parametrize("address", ["tcp://127.0.0.1", "smoke://127.0.0.1:8786"])
def test_an_address_that_is_none_is_a_bad_argument(tmp_path, address):
    run = subprocess.run([*COMMAND, "--dask", address, "--out", tmp_path], capture_output=True, text=True)
    assert run.returncode == 2
    assert run.stderr.splitlines()[-1].startswith("sgdnoise reproduce: error: ")
    assert "Traceback" not in run.stderr
