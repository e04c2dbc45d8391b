"""One BLAS thread for the tests: their matrices are small, and idle threads spin against whatever else the machine does."""

import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
