"""Import time of sgdnoise over that of numpy, as whole processes, interleaved: ``python benchmarks/bench_import.py``."""

import statistics
import subprocess
import sys
import time

STATEMENTS = {
    "import numpy": "import numpy",
    "import sgdnoise": "import sgdnoise",
    "from sgdnoise import train": "from sgdnoise import train",
}


def seconds(statement: str) -> float:
    """Wall time of a process that runs one statement."""
    start = time.perf_counter()
    subprocess.run([sys.executable, "-c", statement], check=True)
    return time.perf_counter() - start


def main(repeats: int = 21) -> None:
    """Print medians and their ratio to numpy's."""
    times = {name: [] for name in STATEMENTS}
    for _ in range(repeats):
        for name, statement in STATEMENTS.items():
            times[name].append(seconds(statement))
    medians = {name: statistics.median(values) for name, values in times.items()}
    for name, median in medians.items():
        print(f"{name:28} {1000 * median:6.1f} ms   {median / medians['import numpy']:.2f} of numpy's")


if __name__ == "__main__":
    main()
