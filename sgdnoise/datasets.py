"""Data to train on: bundled Fashion-MNIST at 14x14, a reader for the original files, and synthetic classes.

`load_fashion` needs no download. The bundled file holds all 60000 + 10000 images of Fashion-MNIST [1]_, averaged over blocks of
2x2 pixels and rounded to 16 grey levels: level = floor(sum/68 + 1/2) for the sum (0 to 1020) of a block. It is rebuilt from
the four original IDX files by::

    python -m sgdnoise.datasets DIRECTORY

whose arrays have the SHA-256 recorded in `FASHION14_SHA256`. `load_idx` reads those originals, or MNIST's, at full size.

Everything here refuses what is of the wrong type (TypeError), and what is not finite, of the wrong shape or out of its range
(ValueError). ``rng`` is handed to `numpy.random.default_rng`: a Generator, BitGenerator, SeedSequence, int or None.

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
import re
import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

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
    "X_train": "train-images-idx3-ubyte",
    "y_train": "train-labels-idx1-ubyte",
    "X_test": "t10k-images-idx3-ubyte",
    "y_test": "t10k-labels-idx1-ubyte",
}
_IDX_NAME = re.compile(r"(?!\.)(.*?)(train|t10k|test)-(images|labels)[-.](?:idx[13]-ubyte|idx2-int)(?:\.gz)?")
_IDX_TYPES = {0x08: ("unsigned bytes", "u1"), 0x0C: ("32-bit integers", ">i4")}
_IDX_DIMENSIONS = {"X": {0x08: 3}, "y": {0x08: 1, 0x0C: 2}}  # of images and of labels of each type; QMNIST's are tables
_IDX_MAX_BYTES = 2**30  # twenty times MNIST: a header that asks for more is damaged
_PIECE = 2**20
_OTHER_FORMATS = {
    b"<": "a web page; the download gave it in place of the file",
    b"version https://git-lfs": "a pointer of Git LFS; fetch the file itself with git lfs pull",
    b"\x1f\x8b": "gzip within gzip; unpack it once",
    b"PK\x03\x04": "a zip archive; unpack it first",
    b"\xfd7zXZ": "an xz archive; unpack it first",
    b"BZh": "a bzip2 archive; unpack it first",
}


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

    Notes
    -----
    Without a test set, ``Dataset(X_train, y_train)``, `X_test` and `y_test` are None, and training records NaN in the place of
    the loss and the accuracy on it.

    Examples
    --------
    >>> Dataset(np.array([[0.5], [2.0], [1.0]]), np.array([0, 1, 0])).n_classes
    2
    """

    X_train: np.ndarray
    y_train: np.ndarray
    X_test: np.ndarray = None  # type: ignore[assignment] # with most data it is there, and nobody should have to ask
    y_test: np.ndarray = None  # type: ignore[assignment]
    n_classes: int = 0

    def __post_init__(self) -> None:
        """Check that the arrays fit together."""
        check.float_array("X_train", self.X_train, ("n_train", "n_features"))
        n_classes = check.integer("n_classes", self.n_classes, 0) or None
        check.labels("y_train", self.y_train, self.n_train, n_classes)
        object.__setattr__(self, "n_classes", n_classes or int(self.y_train.max()) + 1)
        if self.X_test is not None or self.y_test is not None:
            check.float_array("X_test", self.X_test, ("n_test", self.n_features), hint="as many features as X_train")
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


def load_idx(directory: str | os.PathLike[str], *, prefix: str | None = None, n_classes: int | None = None) -> Dataset:
    """Load MNIST, or a data set in its format, from its four original IDX files.

    Parameters
    ----------
    directory : path
        Folder with ``train-images-idx3-ubyte``, ``train-labels-idx1-ubyte`` and the two ``t10k-`` files, each gzipped or not;
        or the folder that torchvision makes, which has them in ``raw`` or ``MNIST/raw``. ``~`` is the home folder. The names
        may have a dot for the last hyphen but one (``train-images.idx3-ubyte``), ``test-`` for ``t10k-``, and a prefix, as
        those of EMNIST and QMNIST have.
    prefix : str, optional, keyword-only
        What the names begin with, such as ``"emnist-letters-"``. Default: nothing, or whatever it is if it is but one.
    n_classes : int, optional, keyword-only
        Number of classes. Default: as many as the labels have room for, from the first, 0 or 1, to the last.

    Returns
    -------
    Dataset
        Features of shape (n, rows * columns), float32, from 0 to 1; classes from 0. Labels from 1 to the number of classes, as
        those of EMNIST's letters, are counted from 0.

    Raises
    ------
    FileNotFoundError
        If a file is missing.
    ValueError
        If the folder holds several data sets and it is not said which, a file is not in IDX format, holds another type or
        number of dimensions, is shorter or longer than its header says, or if images and labels do not match. No more memory
        is taken than there are data.

    Notes
    -----
    IDX: two zero bytes, the type (8: unsigned byte, 12: 32-bit integer), the number of dimensions, each dimension as a
    big-endian 32-bit integer, then the data, last index fastest. Of QMNIST's labels, eight integers each, the first is taken.

    Convention: pixels stay in the order of the file. EMNIST's images lie on their side.
    """
    arrays = _read_idx_directory(directory, prefix)
    X_train, X_test = (arrays[name].reshape(len(arrays[name]), -1) / np.float32(255) for name in ("X_train", "X_test"))
    y_train, y_test = arrays["y_train"], arrays["y_test"]
    lowest, highest = min(y_train.min(), y_test.min()), int(max(y_train.max(), y_test.max()))
    if n_classes is not None:
        n_classes = check.integer("n_classes", n_classes, 2)
    all_there = n_classes is None and set(range(1, highest + 1)) == {*y_train.tolist(), *y_test.tolist()}
    if lowest == 1 and (all_there or n_classes == highest):
        y_train, y_test, highest = y_train - lowest, y_test - lowest, highest - 1
    return Dataset(X_train, y_train, X_test, y_test, n_classes or highest + 1)


def _read_idx_directory(directory: str | os.PathLike[str], prefix: str | None = None) -> dict[str, np.ndarray]:
    """Read the four files as they are; first all headers, and only if they match the data."""
    paths, dtypes, shapes = _find_idx_files(directory, prefix), {}, {}
    for name, path in paths.items():
        with _opened(path) as file:
            dtypes[name], shapes[name] = _read_idx_header(file, path, name)
    for part in ("train", "test"):
        n_images, n_labels = shapes["X_" + part][0], shapes["y_" + part][0]
        if n_images != n_labels:
            raise ValueError(f"images and labels must match, got {n_images} {part} images and {n_labels} labels in {directory}")
    sizes = shapes["X_train"][1:], shapes["X_test"][1:]
    if sizes[0] != sizes[1]:
        raise ValueError(f"training and test images must be of one size, got {sizes[0]} and {sizes[1]} in {directory}")
    arrays = {name: _read_idx_data(path, dtypes[name], shapes[name]) for name, path in paths.items()}
    return {name: array[:, 0].astype(np.int64) if array.ndim == 2 else array for name, array in arrays.items()}


def _find_idx_files(directory: str | os.PathLike[str], prefix: str | None) -> dict[str, Path]:
    """Find the four files of a data set, or say which is missing."""
    if not isinstance(directory, (str, os.PathLike)) or isinstance(os.fspath(directory), bytes):
        raise TypeError(f"directory must be a path, a string or a pathlib.Path, got {type(directory).__name__}")
    given = Path(os.path.expanduser(os.fspath(directory)))
    folder, files = given, _idx_files_in(given)
    if not files and given.is_dir():
        found = {raw: some for raw in (given / "raw", *sorted(given.glob("*/raw"))) if (some := _idx_files_in(raw))}
        if len(found) > 1:
            several = ", ".join(map(str, found))
            raise ValueError(f"directory must hold one data set, got {given} with several; name one of {several}")
        folder, files = next(iter(found.items()), (given, files))
    prefixes = sorted({before for before, _ in files})
    if prefix is None and len(prefixes) > 1 and "" not in prefixes:
        raise ValueError(f"prefix must be one of {', '.join(map(repr, prefixes))}, got None; {folder} holds them all")
    if prefix is not None:
        check.choice("prefix", prefix, prefixes or [prefix])
    elif prefixes:
        prefix = prefixes[0]
    paths = {}
    for name, usual in _IDX_FILES.items():
        path = files.get((prefix or "", name))
        if path is None:
            stem = (prefix or "") + usual
            entry = next((folder / n for n in (stem, stem + ".gz") if (folder / n).exists()), None)
            came = "which has neither" if folder.is_dir() else "which is no folder"
            came = f"where {entry.name} is not a file" if entry else came
            raise FileNotFoundError(f"directory must hold {stem} or {stem}.gz, got {folder}, {came}")
        paths[name] = path
    return paths


def _idx_files_in(folder: Path) -> dict[tuple[str, str], Path]:
    """Return the files whose names are those of IDX files, by prefix and place; not compressed and with a hyphen rather."""
    files: dict[tuple[str, str], Path] = {}
    for path in sorted(folder.iterdir(), key=lambda p: (p.suffix == ".gz", p.name)) if folder.is_dir() else ():
        match = _IDX_NAME.fullmatch(path.name)
        if match and path.is_file():  # a folder or a pipe is none, and to open a pipe would be to wait for its writer
            before, part, kind = match.groups()
            key = ("X_" if kind == "images" else "y_") + ("train" if part == "train" else "test")
            files.setdefault((before, key), path)
    return files


@contextmanager
def _opened(path: Path) -> Iterator[IO[bytes]]:
    """Open a file, gzipped or not, whatever its name says; damage to the compression is a ValueError."""
    with open(path, "rb") as file:
        compressed = file.read(2) == b"\x1f\x8b"
        file.seek(0)
        if not compressed:
            yield file
            return
        try:
            with gzip.open(file) as contents:
                yield contents  # type: ignore[misc]
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            raise ValueError(f"{path} must be a whole gzip file, got one that breaks off or is damaged ({error})") from error


def _read_idx_header(file: IO[bytes], path: Path, name: str) -> tuple[np.dtype, tuple[int, ...]]:
    """Read and check the header; return the type and the dimensions."""
    start = file.read(4)
    if len(start) < 4 or start[:2] != b"\0\0":
        text = (start + file.read(64)).lstrip(b"\xef\xbb\xbf \r\n\t")
        came = next((what for magic, what in _OTHER_FORMATS.items() if text.startswith(magic)), repr(start))
        raise ValueError(f"{path} must start with the magic number of an IDX file, got {came}")
    if start[2] not in _IDX_DIMENSIONS[name[0]]:
        kinds = " or ".join(f"{_IDX_TYPES[kind][0]} (IDX type {kind:#04x})" for kind in _IDX_DIMENSIONS[name[0]])
        raise ValueError(f"{path} must hold {kinds}, got type {start[2]:#04x}")
    n_dims, dtype = _IDX_DIMENSIONS[name[0]][start[2]], np.dtype(_IDX_TYPES[start[2]][1])
    if start[3] != n_dims:
        raise ValueError(f"{path} must have {n_dims} dimensions, got {start[3]}")
    dimensions = file.read(4 * n_dims)
    if len(dimensions) < 4 * n_dims:
        n_bytes = 4 + len(dimensions)
        raise ValueError(f"{path} must have {4 + 4 * n_dims} bytes of header, got {n_bytes}; the file is truncated")
    shape: tuple[int, ...] = struct.unpack(f">{n_dims}I", dimensions)
    if not 0 < math.prod(shape) * dtype.itemsize <= _IDX_MAX_BYTES:
        raise ValueError(f"{path} must hold from 1 to {_IDX_MAX_BYTES} bytes of data, got dimensions {shape}")
    return dtype, shape


def _read_idx_data(path: Path, dtype: np.dtype, shape: tuple[int, ...]) -> np.ndarray:
    """Read what comes after the header, which has to be as long as the header says."""
    size, data = math.prod(shape) * dtype.itemsize, bytearray()
    with _opened(path) as file:
        file.read(4 + 4 * len(shape))
        while len(data) < size and (piece := file.read(min(_PIECE, size - len(data)))):
            data += piece  # piece by piece: a header that promises more than there is takes no memory
        if len(data) < size or file.read(1):
            came = f"{len(data)}; the file is truncated" if len(data) < size else "more; the file is not what it says"
            raise ValueError(f"{path} must hold {size} bytes of data, as its header says, got {came}")
    return np.frombuffer(data, dtype).reshape(shape)


def make_teacher(
    n_train: int = 1000,
    n_test: int = 1000,
    *,
    n_features: int = 20,
    n_classes: int = 2,
    signal: float = 2.0,
    rng: check.Seed = None,
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
    signal = float(check.number("signal", signal, at_least=0, at_most=1e300))
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
    rng: check.Seed = None,
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
    spread = float(check.number("spread", spread, above=0, at_most=1e300))
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
