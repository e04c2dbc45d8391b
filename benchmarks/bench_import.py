"""Import time of sgdnoise over that of numpy, as whole processes, interleaved: ``python benchmarks/bench_import.py``."""

import subprocess
import sys
import time
from functools import partial

from timing import medians

STATEMENTS = ("import numpy", "import sgdnoise", "from sgdnoise import train")


def run(statement: str) -> None:
    """Run one statement in a process of its own."""
    subprocess.run([sys.executable, "-c", statement], check=True)


LIMIT = 1.25  # of `import sgdnoise` over `import numpy`

if __name__ == "__main__":
    times = medians({statement: partial(run, statement) for statement in STATEMENTS}, repeats=21, clock=time.perf_counter)
    for statement, seconds in times.items():
        print(f"{statement:28} {1000 * seconds:6.1f} ms   {seconds / times['import numpy']:.2f} of numpy's")
    sys.exit(times["import sgdnoise"] > LIMIT * times["import numpy"])
