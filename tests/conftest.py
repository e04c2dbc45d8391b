"""For all tests: one BLAS thread, and a second core that is not idle."""

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest

# Their matrices are small, and idle threads spin against whatever else the machine does.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")


@pytest.fixture(scope="session", autouse=True)
def begun(request, tmp_path_factory):
    """What modules run in processes of their own, begun before the first test: what ``begin(python, out)`` returned, by module.

    ``python(*arguments)`` is the future of a run of Python as a reader would, warnings being errors. Runs go two at a time and
    give way to the tests: they take the core that these leave free, and are done, or nearly, when their own tests come.
    """
    command = ["nice", sys.executable, "-W", "error"]
    environment = os.environ | {"MPLBACKEND": "agg", "PYTHONPATH": str(request.config.rootpath)}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    running = []

    def run(*arguments):
        with subprocess.Popen([*command, *arguments], env=environment, **pipes) as process:
            running.append(process)
            output = process.communicate()
        return subprocess.CompletedProcess(arguments, process.returncode, *output)

    pool = ThreadPoolExecutor(2)
    modules = dict.fromkeys(item.module for item in request.session.items if hasattr(item, "module"))
    yield {
        module.__name__: module.begin(lambda *arguments: pool.submit(run, *arguments), tmp_path_factory.mktemp("begun"))
        for module in modules
        if hasattr(module, "begin")
    }
    pool.shutdown(wait=False, cancel_futures=True)  # where tests were interrupted, or not all of them were chosen
    for process in running:
        process.kill()
