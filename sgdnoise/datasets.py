"""Data to train on: bundled Fashion-MNIST at 14x14, a reader for the original files, and synthetic classes.

`load_fashion` needs no download. The bundled file holds all 60000 + 10000 images of Fashion-MNIST [1]_, averaged over blocks of
2x2 pixels and rounded to 16 grey levels: level = floor(sum/68 + 1/2) for the sum (0 to 1020) of a block. It is rebuilt from
the four original IDX files by::

    python -m sgdnoise.datasets DIRECTORY

whose arrays have the SHA-256 recorded in `FASHION14_SHA256`. `load_idx` reads those originals, or MNIST's, at full size.

Everything here refuses what is of the wrong type (TypeError), and what is not finite, of the wrong shape or out of its range
(ValueError). ``rng`` is a `numpy.random.Generator`, an int or None, handed to `numpy.random.default_rng`.

References
----------
.. [1] H. Xiao, K. Rasul, R. Vollgraf, "Fashion-MNIST: a Novel Image Dataset for Benchmarking Machine Learning Algorithms",
   arXiv:1708.07747. MIT licence, Zalando SE 2017; see ``sgdnoise/data/LICENSE-fashion-mnist.txt``.
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import math
import os
import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np

from . import _checks as check
from ._files import atomic_write

BUNDLED = Path(__file__).parent / "data" / "fashion14.npz"
FASHION14_SHA256 = {
    "X_train": "48bc6bb45b09edd81683153b8bd61e05704c3b5236c1cde4afdda72aa153eea7",
    "y_train": "657fbd221bfc9f4198cc14b5619cc33ec57c58dd0e47af4d99d6650759e869a7",
    "X_test": "b7172be681bb60c6ab3d841b7ba200d36870ba82b6c135da97a9c1269e5dc505",
    "y_test": "3d0e6c6ea990b53b6f8f500a41cac93881d981b315f84578b7d915342ade01e9",
}

_FASHION_MEAN, _FASHION_DEVIATION = 0.2860, 0.3308
_IDX_FILES = {
    "X_train": ("train-images-idx3-ubyte", 3),
    "y_train": ("train-labels-idx1-ubyte", 1),
    "X_test": ("t10k-images-idx3-ubyte", 3),
    "y_test": ("t10k-labels-idx1-ubyte", 1),
}
_IDX_UNSIGNED_BYTE = 0x08
_IDX_MAX_BYTES = 2**30  # twenty times MNIST: a header that asks for more is damaged


@dataclass(frozen=True, eq=False)
class Dataset:
    """Training and test examples of a classification task.

    Parameters
    ----------
    X_train, X_test : ndarray of shape (n_train, n_features) and (n_test, n_features)
        Features, float32 or float64 and finite.
    y_train, y_test : ndarray of int, shape (n_train,) and (n_test,)
        Classes, counted from 0.
    n_classes : int, optional
        Number of classes; default: one more than the largest label of `y_train`.
    """

    X_train: np.ndarray
    y_train: np.ndarray
    X_test: np.ndarray
    y_test: np.ndarray
    n_classes: int = 0

    def __post_init__(self) -> None:
        """Check that the four arrays fit together."""
        check.float_array("X_train", self.X_train, ("n_train", "n_features"))
        check.float_array("X_test", self.X_test, ("n_test", self.n_features), hint="as many features as X_train")
        n_classes = check.integer("n_classes", self.n_classes, 0) or None
        check.labels("y_train", self.y_train, self.n_train, n_classes)
        object.__setattr__(self, "n_classes", n_classes or int(self.y_train.max()) + 1)
        check.labels("y_test", self.y_test, len(self.X_test), self.n_classes)

    @property
    def n_train(self) -> int:
        """Number N of training examples."""
        return len(self.X_train)

    @property
    def n_features(self) -> int:
        """Number of features of an example."""
        return int(self.X_train.shape[1])


def load_fashion(n_train: int = 50_000) -> Dataset:
    """Load the bundled Fashion-MNIST, pooled to 14x14.

    Parameters
    ----------
    n_train : int, default 50000
        How many training images to take, the first ones; up to 60000. (50000 is CIFAR's number, so that the paper's
        noise scales can be used as they stand.)

    Returns
    -------
    Dataset
        Features of shape (n, 196), float32: grey levels from 0 to 1, less their mean over all pixels and images (0.2860), over
        their standard deviation (0.3308). All 10000 test images.

    Examples
    --------
    >>> data = load_fashion(1000)
    >>> data.X_train.shape, data.X_test.shape, data.n_classes
    ((1000, 196), (10000, 196), 10)
    """
    n_train = check.integer("n_train", n_train, 1, 60_000)
    with np.load(BUNDLED, allow_pickle=False) as bundled:
        arrays = {name: bundled[name] for name in FASHION14_SHA256}

    def standardise(levels: np.ndarray) -> np.ndarray:
        return (levels / np.float32(15) - np.float32(_FASHION_MEAN)) / np.float32(_FASHION_DEVIATION)

    X_train, y_train = arrays["X_train"][:n_train], arrays["y_train"][:n_train]
    return Dataset(standardise(X_train), y_train, standardise(arrays["X_test"]), arrays["y_test"], n_classes=10)


def load_idx(directory: str | os.PathLike[str]) -> Dataset:
    """Load MNIST or Fashion-MNIST from its four original IDX files.

    Parameters
    ----------
    directory : path
        Folder with ``train-images-idx3-ubyte``, ``train-labels-idx1-ubyte`` and the two ``t10k-`` files, each gzipped (``.gz``)
        or not.

    Returns
    -------
    Dataset
        Features of shape (n, rows * columns), float32, from 0 to 1.

    Raises
    ------
    FileNotFoundError
        If a file is missing.
    ValueError
        If a file is not in IDX format, holds another type or number of dimensions, is shorter or longer than its header
        says, or if images and labels do not match. Headers and lengths are compared before memory is taken for the data.

    Notes
    -----
    IDX: two zero bytes, the type (8: unsigned byte), the number of dimensions, each dimension as a big-endian 32-bit
    integer, then the data, last index fastest.
    """
    arrays = _read_idx_directory(directory)
    X_train, X_test = (arrays[name].reshape(len(arrays[name]), -1) / np.float32(255) for name in ("X_train", "X_test"))
    return Dataset(X_train, arrays["y_train"], X_test, arrays["y_test"])


def _read_idx_directory(directory: str | os.PathLike[str]) -> dict[str, np.ndarray]:
    """Read the four files as they are; first all headers, and only if they match the data."""
    paths, shapes = {}, {}
    for name, (stem, n_dims) in _IDX_FILES.items():
        path = next((p for p in (Path(directory, stem), Path(directory, stem + ".gz")) if p.exists()), None)
        if path is None:
            raise FileNotFoundError(f"directory must hold {stem} or {stem}.gz, got {os.fspath(directory)}, which has neither")
        paths[name] = path
        with _opened(path) as file:
            shapes[name] = _read_idx_header(file, path, n_dims)
    for part in ("train", "test"):
        n_images, n_labels = shapes["X_" + part][0], shapes["y_" + part][0]
        if n_images != n_labels:
            raise ValueError(f"images and labels must match, got {n_images} {part} images and {n_labels} labels in {directory}")
    sizes = shapes["X_train"][1:], shapes["X_test"][1:]
    if sizes[0] != sizes[1]:
        raise ValueError(f"training and test images must be of one size, got {sizes[0]} and {sizes[1]} in {directory}")
    return {name: _read_idx_data(path, shapes[name]) for name, path in paths.items()}


@contextmanager
def _opened(path: Path) -> Iterator[IO[bytes]]:
    """Open a file, gzipped or not; damage to the compression is a ValueError."""
    opener: Any = gzip.open if path.suffix == ".gz" else open
    try:
        with opener(path, "rb") as file:
            yield file
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise ValueError(f"{path} must be a whole gzip file, got one that breaks off or is damaged ({error})") from error


def _read_idx_header(file: IO[bytes], path: Path, n_dims: int) -> tuple[int, ...]:
    """Read and check the header; return the dimensions."""
    header = file.read(4 + 4 * n_dims)
    if len(header) < 4 or header[:2] != b"\0\0":
        raise ValueError(f"{path} must start with the magic number of an IDX file, got {header[:4]!r}")
    if header[2] != _IDX_UNSIGNED_BYTE:
        raise ValueError(f"{path} must hold unsigned bytes (IDX type 0x08), got type {header[2]:#04x}")
    if header[3] != n_dims:
        raise ValueError(f"{path} must have {n_dims} dimensions, got {header[3]}")
    if len(header) < 4 + 4 * n_dims:
        raise ValueError(f"{path} must have {4 + 4 * n_dims} bytes of header, got {len(header)}; the file is truncated")
    shape: tuple[int, ...] = struct.unpack(f">{n_dims}I", header[4:])
    if not 0 < math.prod(shape) <= _IDX_MAX_BYTES:
        raise ValueError(f"{path} must hold from 1 to {_IDX_MAX_BYTES} bytes of data, got dimensions {shape}")
    return shape


def _read_idx_data(path: Path, shape: tuple[int, ...]) -> np.ndarray:
    """Read what comes after the header, which has to be as long as the header says."""
    start, size = 4 + 4 * len(shape), math.prod(shape)
    promised = f"{path} must hold {size} bytes of data, as its header says, got"
    length = _length(path) - start
    if length != size:
        raise ValueError(f"{promised} {length}; the file is {'truncated' if length < size else 'not what it says'}")
    with _opened(path) as file:
        file.read(start)
        data = np.empty(size, np.uint8)
        view, filled = data.data, 0
        while filled < size and (n_read := file.readinto(view[filled:])):  # type: ignore[attr-defined]
            filled += n_read
        if filled < size or file.read(1):
            raise ValueError(f"{promised} {'fewer' if filled < size else 'more'}; the file is damaged")
    return data.reshape(shape)


def _length(path: Path) -> int:
    """Length of a file's contents; of gzipped ones as the last four bytes state it."""
    if path.suffix != ".gz":
        return path.stat().st_size
    with open(path, "rb") as file:
        file.seek(-4, os.SEEK_END)
        length: int = struct.unpack("<I", file.read(4))[0]
        return length


def make_teacher(
    n_train: int = 1000,
    n_test: int = 1000,
    *,
    n_features: int = 20,
    n_classes: int = 2,
    signal: float = 2.0,
    rng: np.random.Generator | int | None = None,
) -> Dataset:
    """Draw data whose labels come from a random linear teacher.

    Labels are drawn with the teacher's softmax probabilities, so that logistic regression is the true model. Features are
    independent and standard normal, in float64.

    Parameters
    ----------
    n_train, n_test : int, default 1000
        Numbers of examples.
    n_features, n_classes : int, default 20 and 2
        Numbers of features and of classes.
    signal : float, default 2
        Standard deviation of the teacher's logits; at 0 labels are drawn at random.

    Examples
    --------
    >>> make_teacher(100, 50, n_features=3, rng=0).X_train.shape
    (100, 3)
    """
    n_train, n_test = check.integer("n_train", n_train), check.integer("n_test", n_test)
    n_features, n_classes = check.integer("n_features", n_features), check.integer("n_classes", n_classes, 2)
    signal = check.number("signal", signal, at_least=0)
    rng = check.generator(rng)
    teacher = rng.standard_normal((n_features, n_classes)) * signal / math.sqrt(n_features)
    X = rng.standard_normal((n_train + n_test, n_features))
    # The largest of logits plus independent Gumbel noise is a draw from their softmax.
    y = (X @ teacher + rng.gumbel(size=(len(X), n_classes))).argmax(axis=1)
    return Dataset(X[:n_train], y[:n_train], X[n_train:], y[n_train:], n_classes)


def make_blobs(
    n_train: int = 1000,
    n_test: int = 1000,
    *,
    n_features: int = 2,
    n_classes: int = 3,
    spread: float = 1.0,
    rng: np.random.Generator | int | None = None,
) -> Dataset:
    """Draw one isotropic Gaussian cloud for each class.

    The clouds' centres are normal with standard deviation 3; classes are equally likely. Features are in float64.

    Parameters
    ----------
    n_train, n_test : int, default 1000
        Numbers of examples.
    n_features, n_classes : int, default 2 and 3
        Numbers of features and of clouds.
    spread : float, default 1
        Standard deviation of each cloud along each feature.

    Examples
    --------
    >>> sorted(set(make_blobs(100, 50, rng=0).y_train.tolist()))
    [0, 1, 2]
    """
    n_train, n_test = check.integer("n_train", n_train), check.integer("n_test", n_test)
    n_features, n_classes = check.integer("n_features", n_features), check.integer("n_classes", n_classes, 2)
    spread = check.number("spread", spread, above=0)
    rng = check.generator(rng)
    centres = 3 * rng.standard_normal((n_classes, n_features))
    y = rng.integers(n_classes, size=n_train + n_test)
    X = centres[y] + spread * rng.standard_normal((len(y), n_features))
    return Dataset(X[:n_train], y[:n_train], X[n_train:], y[n_train:], n_classes)


def _pool(images: np.ndarray) -> np.ndarray:
    """Average 28x28 images over blocks of 2x2 and round to 16 levels; one row of 196 an image."""
    blocks = images.reshape(len(images), 14, 2, 14, 2).sum(axis=(2, 4), dtype=np.uint16)
    levels: np.ndarray = (blocks + 34) // 68
    return levels.astype(np.uint8).reshape(len(images), 196)


def _sha256(array: np.ndarray) -> str:
    return hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest()


def _build(directory: str | os.PathLike[str], out: str | os.PathLike[str]) -> dict[str, str]:
    """Make the bundled file from the original ones; return the SHA-256 of its arrays."""
    arrays = _read_idx_directory(directory)
    for name in ("X_train", "X_test"):
        if arrays[name].shape[1:] != (28, 28):
            raise ValueError(f"images must be 28x28 to be pooled, got {arrays[name].shape[1:]} in {directory}")
        arrays[name] = _pool(arrays[name])
    digests = {name: _sha256(array) for name, array in arrays.items()}
    if digests != FASHION14_SHA256 and Path(out).resolve() == BUNDLED.resolve():
        changed = ", ".join(name for name, digest in digests.items() if digest != FASHION14_SHA256[name])
        raise ValueError(f"{directory} must hold the original Fashion-MNIST, got others ({changed}); nothing is written")
    with atomic_write(out) as file:
        np.savez_compressed(file, **arrays)  # type: ignore[arg-type]
    return digests


def _main() -> None:
    parser = argparse.ArgumentParser(prog="python -m sgdnoise.datasets", description="Rebuild the bundled data file.")
    parser.add_argument("directory", help="folder with the four original Fashion-MNIST IDX files")
    parser.add_argument("--out", default=BUNDLED, help="file to write (default: the bundled one)")
    args = parser.parse_args()
    try:
        for name, digest in _build(args.directory, args.out).items():
            recorded = "as recorded" if digest == FASHION14_SHA256[name] else "NOT as recorded"
            print(f"{name:8} {digest}  {recorded}")
    except (OSError, ValueError) as error:
        parser.exit(1, f"{parser.prog}: error: {error}\n")


if __name__ == "__main__":
    _main()
