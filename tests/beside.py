"""Runs what its first argument lists, a JSON file of [niceness, path of the result, command], two at a time and in order.

A process of its own, because a thread of pytest's would allocate memory while tests of memory measure.
"""

import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

PARENT = os.getppid()


def run(niceness, path, command):
    if os.getppid() != PARENT:  # the tests were killed
        return
    if hasattr(os, "nice"):  # but on Windows
        command = ["nice", "-n", str(niceness), *command]
    done = subprocess.run(command, capture_output=True, encoding="utf-8")
    unfinished = Path(f"{path}.tmp")
    found = {name: getattr(done, name) for name in ("returncode", "stdout", "stderr")}
    unfinished.write_text(json.dumps(found), encoding="utf-8")
    os.replace(unfinished, path)


if __name__ == "__main__":
    with ThreadPoolExecutor(2) as pool:
        for line in json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")):
            pool.submit(run, *line)
