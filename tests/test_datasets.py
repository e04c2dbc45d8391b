"""Data: the bundled file, the IDX reader against damaged files, synthetic data, and bad input."""

import gzip
import io
import os
import struct
import sys
import tracemalloc
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from sgdnoise import Dataset, load_fashion, load_idx, make_blobs, make_teacher
from sgdnoise import datasets as module

FILES = {
    "train-images-idx3-ubyte": (np.arange(6 * 4 * 4) % 251).reshape(6, 4, 4),
    "train-labels-idx1-ubyte": np.array([0, 1, 2, 0, 1, 2]),
    "t10k-images-idx3-ubyte": (np.arange(2 * 4 * 4) % 7).reshape(2, 4, 4),
    "t10k-labels-idx1-ubyte": np.array([2, 0]),
}
IMAGES, LABELS = "train-images-idx3-ubyte", "train-labels-idx1-ubyte"
FILES_BY_NAME = dict(zip(("X_train", "y_train", "X_test", "y_test"), FILES, strict=True))


def idx_bytes(array, magic=b"\0\0\x08", n_dims=None, shape=None):
    shape = array.shape if shape is None else shape
    header = magic + bytes([array.ndim if n_dims is None else n_dims]) + struct.pack(f">{len(shape)}I", *shape)
    return header + array.astype(np.uint8).tobytes()


def write(folder, compress=False, **changes):
    """Write the four files, some with other contents; names with - written with _."""
    for name, array in FILES.items():
        content = changes.get(name.replace("-", "_"), idx_bytes(array))
        (folder / (name + ".gz" if compress else name)).write_bytes(gzip.compress(content) if compress else content)
    return folder


def test_bundled_arrays_have_the_recorded_hashes_and_standardisation():
    with np.load(module.BUNDLED, allow_pickle=False) as bundled:
        assert {name: module._sha256(bundled[name]) for name in bundled.files} == module.FASHION14_SHA256
        levels = bundled["X_train"]
    assert (levels.shape, levels.dtype, levels.min(), levels.max()) == ((60_000, 196), np.uint8, 0, 15)
    assert (levels.mean() / 15, levels.std() / 15) == pytest.approx((0.2860, 0.3308), abs=5e-5)
    assert module.BUNDLED.stat().st_size <= 4.6e6


def test_load_fashion():
    data = load_fashion()
    assert (data.n_train, data.n_features, data.n_classes) == (50_000, 196, 10)
    assert (data.X_train.dtype, data.X_test.shape) == (np.float32, (10_000, 196))
    assert abs(data.X_train.mean()) < 0.01
    assert abs(data.X_train.std() - 1) < 0.01
    np.testing.assert_array_equal(load_fashion(100).X_train, data.X_train[:100])
    # Trousers are bright in the middle column and sandals are not: the labels belong to the images.
    means = [data.X_train[data.y_train == c].mean() for c in range(10)]
    assert np.argmin(means) == 5


@pytest.mark.parametrize("compress", [False, True])
def test_load_idx_round_trip(tmp_path, compress):
    data = load_idx(write(tmp_path, compress))
    np.testing.assert_allclose(data.X_train * 255, FILES[IMAGES].reshape(6, 16), rtol=1e-6)
    np.testing.assert_allclose(data.X_test * 255, FILES["t10k-images-idx3-ubyte"].reshape(2, 16), rtol=1e-6)
    np.testing.assert_array_equal(data.y_train, FILES[LABELS])
    assert data.X_train.dtype == np.float32


@pytest.mark.parametrize("compress", [False, True])
@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "must start with the magic number of an IDX file"),
        (b"\x93NUMPY something else", r"must start with the magic number of an IDX file, got b'\\x93NUM'$"),
        (idx_bytes(FILES[IMAGES])[:4], "must have 16 bytes of header, got 4; the file is truncated"),
        (idx_bytes(FILES[IMAGES], magic=b"\0\0\x0d"), "must hold unsigned bytes .* got type 0x0d"),
        (idx_bytes(FILES[LABELS]), "must have 3 dimensions, got 1"),
        (idx_bytes(FILES[IMAGES])[:9], "16 bytes of header, got 9; the file is truncated"),
        (idx_bytes(FILES[IMAGES])[:-1], "must hold 96 bytes of data.*got 95; the file is truncated"),
        (idx_bytes(FILES[IMAGES]) + b"x", "must hold 96 bytes of data.*got more; the file is not what it says"),
        (idx_bytes(FILES[IMAGES], shape=(0, 4, 4))[:16], "from 1 to .* bytes of data, got dimensions"),
        (idx_bytes(FILES[IMAGES], shape=(2**32 - 1,) * 3), "bytes of data, got dimensions"),
        (idx_bytes(FILES[IMAGES], shape=(6, 28, 28)), "must be of one size"),
        (idx_bytes(FILES[IMAGES][:5]), "images and labels must match, got 5 train images and 6 labels"),
        (idx_bytes(FILES[IMAGES].reshape(6, 2, 8)), r"must be of one size, got \(2, 8\) and \(4, 4\)"),
    ],
)
def test_damaged_files_are_refused(tmp_path, compress, content, message):
    write(tmp_path, compress, train_images_idx3_ubyte=content)
    with pytest.raises(ValueError, match=message) as caught:
        load_idx(tmp_path)
    assert str(tmp_path) in str(caught.value)


def test_damaged_gzip_and_missing_files_are_refused(tmp_path):
    write(tmp_path, compress=True)
    path = tmp_path / (IMAGES + ".gz")
    whole = path.read_bytes()
    for content in (whole[:-12], whole[:30] + b"\xff" * 8 + whole[38:], b"not gzip at all"):
        path.write_bytes(content)
        with pytest.raises(ValueError, match=r"must be a whole gzip file|magic number|bytes of data"):
            load_idx(tmp_path)
    path.unlink()
    with pytest.raises(FileNotFoundError, match=IMAGES):
        load_idx(tmp_path)


def test_a_length_that_is_stated_wrongly_is_refused(tmp_path):
    """In the last four bytes of a gzip file."""
    write(tmp_path, compress=True)
    path = tmp_path / (IMAGES + ".gz")
    path.write_bytes(path.read_bytes()[:-4] + b"\xff" * 4)
    with pytest.raises(ValueError, match="must be a whole gzip file, got one that breaks off or is damaged"):
        load_idx(tmp_path)


def assert_refused_in_little_memory(folder, match):
    tracemalloc.start()
    with pytest.raises(ValueError, match=match):
        load_idx(folder)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 4e6


def test_a_gzip_file_of_two_parts_is_refused_without_unpacking_the_rest(tmp_path):
    """The length of the last part alone is stated, and is what the header wants; before it come 64 MB."""
    write(tmp_path, compress=True)
    whole = idx_bytes(FILES[IMAGES])
    (tmp_path / (IMAGES + ".gz")).write_bytes(gzip.compress(whole + bytes(2**26)) + gzip.compress(whole))
    assert_refused_in_little_memory(tmp_path, "must hold 96 bytes of data, as its header says, got more; the file is not what")


def test_a_file_that_comes_in_pieces_is_put_together(tmp_path, monkeypatch):
    """As from a network; here seven bytes at a time."""

    class Slow(io.BytesIO):
        def read(self, size=-1):
            return super().read(size if self.tell() < 16 else min(size, 7))

    monkeypatch.setattr(module, "_opened", lambda path: Slow(path.read_bytes()))
    np.testing.assert_allclose(load_idx(write(tmp_path)).X_train * 255, FILES[IMAGES].reshape(6, 16), rtol=1e-6)


def assert_loaded(data, n_classes=3):
    np.testing.assert_allclose(data.X_train * 255, FILES[IMAGES].reshape(6, 16), rtol=1e-6)
    np.testing.assert_allclose(data.X_test * 255, FILES["t10k-images-idx3-ubyte"].reshape(2, 16), rtol=1e-6)
    np.testing.assert_array_equal(data.y_train, FILES[LABELS])
    np.testing.assert_array_equal(data.y_test, FILES["t10k-labels-idx1-ubyte"])
    assert data.n_classes == n_classes


@pytest.mark.parametrize("cuts", [[40], [0, 9, 9], [2, 16, 100], [112]])
@pytest.mark.parametrize("padding", [0, 1, 1000])
def test_gzip_of_several_members_padded_with_zeros(tmp_path, cuts, padding):
    """As `cat a.gz b.gz`, bgzip and pigz make it, and tapes and block devices: RFC 1952 has a file be a series of members."""
    write(tmp_path, compress=True)
    whole = idx_bytes(FILES[IMAGES])
    ends = zip([0, *cuts], [*cuts, len(whole)], strict=True)
    members = b"".join(gzip.compress(whole[a:b]) for a, b in ends)
    (tmp_path / (IMAGES + ".gz")).write_bytes(members + bytes(padding))
    assert_loaded(load_idx(tmp_path))


@pytest.mark.parametrize(("compress", "suffix"), [(True, ""), (False, ".gz")])
def test_what_a_file_is_counts_and_not_what_it_is_called(tmp_path, compress, suffix):
    """Browsers unpack on the way and keep the name; others take the name's end away."""
    for name, array in FILES.items():
        content = idx_bytes(array)
        (tmp_path / (name + suffix)).write_bytes(gzip.compress(content) if compress else content)
    assert_loaded(load_idx(tmp_path))


@pytest.mark.parametrize("compress", [False, True])
@pytest.mark.parametrize(
    ("content", "came"),
    [
        (b"<!DOCTYPE html><html>404", "a web page; the download gave it in place of the file"),
        (b"\xef\xbb\xbf\r\n <?xml version='1.0'?><Error><Code>AccessDenied</Code></Error>", "a web page; "),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 9", "a pointer of Git LFS; .* git lfs pull"),
        (b"PK\x03\x04 and so on", "a zip archive; unpack it first"),
        (b"\xfd7zXZ\x00 and so on", "an xz archive; unpack it first"),
        (b"BZh91AY&SY", "a bzip2 archive; unpack it first"),
        (gzip.compress(gzip.compress(b"twice")), "gzip within gzip; unpack it once"),
    ],
)
def test_other_formats_are_named(tmp_path, compress, content, came):
    write(tmp_path, compress, t10k_labels_idx1_ubyte=content)
    with pytest.raises(ValueError, match=f"t10k-labels.* must start with the magic number of an IDX file, got {came}"):
        load_idx(tmp_path)


@pytest.mark.parametrize("make", [name for name in ("mkfifo", "mkdir", "symlink") if hasattr(os, name)])
def test_what_is_not_a_file_is_passed_over(tmp_path, make):
    """To open a named pipe would be to wait for whoever writes to it."""
    write(tmp_path, compress=True)
    try:
        getattr(os, make)(*["/nowhere"] * (make == "symlink"), tmp_path / IMAGES)
    except OSError as error:  # on Windows a link takes a right that not everybody has
        pytest.skip(str(error))
    assert_loaded(load_idx(tmp_path))
    (tmp_path / (IMAGES + ".gz")).unlink()
    with pytest.raises(FileNotFoundError, match=f"directory must hold {IMAGES} or {IMAGES}.gz, got .*, wh(ich|ere)") as caught:
        load_idx(tmp_path)
    assert str(caught.value).endswith("which has neither" if make == "symlink" else f"where {IMAGES} is not a file")


def table(labels):
    """QMNIST's: eight 32-bit integers for an image, of which the first is its class."""
    rows = np.full((len(labels), 8), -7)
    rows[:, 0] = labels
    return b"\0\0\x0c\x02" + struct.pack(">2I", *rows.shape) + rows.astype(">i4").tobytes()


@pytest.mark.parametrize("compress", [False, True])
@pytest.mark.parametrize(
    "rename",
    [
        lambda name: name.replace("-idx", ".idx"),
        lambda name: "emnist-letters-" + name.replace("t10k", "test"),
        lambda name: "kmnist_" + name,
        lambda name: "raw/" + name,
        lambda name: "FashionMNIST/raw/" + name,
        lambda name: "EMNIST/raw/emnist-digits-" + name.replace("t10k", "test"),
        lambda name: "QMNIST/raw/qmnist-" + name.replace("t10k", "test").replace("labels-idx1-ubyte", "labels-idx2-int"),
    ],
    ids=["dot", "emnist", "prefix", "raw", "torchvision", "torchvision-emnist", "qmnist"],
)
def test_names_of_other_data_sets(tmp_path, rename, compress):
    for name, array in FILES.items():
        path = tmp_path / (rename(name) + (".gz" if compress else ""))
        path.parent.mkdir(parents=True, exist_ok=True)
        content = table(array) if "idx2-int" in path.name else idx_bytes(array)
        path.write_bytes(gzip.compress(content) if compress else content)
        (path.parent / f"._{path.name}").write_bytes(b"what a Mac leaves beside each file")
    assert_loaded(load_idx(tmp_path))


def test_of_several_data_sets_one_is_chosen(tmp_path):
    for prefix in ("emnist-letters-", "emnist-digits-"):
        for name, array in FILES.items():
            (tmp_path / (prefix + name)).write_bytes(idx_bytes(array[::-1] if "digits" in prefix else array))
    with pytest.raises(ValueError, match=r"one of 'emnist-digits-', 'emnist-letters-', got None; .* holds them all"):
        load_idx(tmp_path)
    assert_loaded(load_idx(tmp_path, prefix="emnist-letters-"))
    np.testing.assert_array_equal(load_idx(tmp_path, prefix="emnist-digits-").y_train, FILES[LABELS][::-1])
    with pytest.raises(ValueError, match="prefix must be one of 'emnist-digits-', 'emnist-letters-', got 'letters'"):
        load_idx(tmp_path, prefix="letters")
    with pytest.raises(TypeError, match=r"prefix must be one of .*, got 3 of type int"):
        load_idx(tmp_path, prefix=3)
    assert_loaded(load_idx(write(tmp_path)))  # without a prefix there is only one
    (tmp_path / ("emnist-letters-" + LABELS)).unlink()
    with pytest.raises(FileNotFoundError, match=f"directory must hold emnist-letters-{LABELS} or"):
        load_idx(tmp_path, prefix="emnist-letters-")

    root = tmp_path / "root"
    for name in ("MNIST", "KMNIST"):
        (root / name / "raw").mkdir(parents=True)
        write(root / name / "raw")
    with pytest.raises(
        ValueError, match=r"directory must hold one data set, got .*root with several; name one of .*KMNIST.*, "
    ):
        load_idx(root)
    assert_loaded(load_idx(root / "KMNIST"))


@pytest.mark.parametrize(
    ("train", "test", "n_classes", "shift", "expected"),
    [
        ([1, 2, 3, 1, 2, 3], [3, 1], None, 1, 3),  # as EMNIST's letters
        ([1, 2, 3, 1, 2, 3], [3, 1], 3, 1, 3),
        ([1, 2, 3, 1, 2, 3], [3, 1], 4, 0, 4),  # four classes, and none of the first
        ([1, 2, 3, 1, 2, 3], [0, 1], None, 0, 4),  # the first is in the test set alone
        ([1, 2, 3, 1, 2, 3], [4, 1], None, 1, 4),
        ([0, 1, 2, 0, 1, 2], [2, 0], 10, 0, 10),
        ([2, 3, 2, 3, 2, 3], [2, 3], None, 0, 4),
        ([1, 7, 1, 7, 1, 7], [7, 1], None, 0, 8),  # a part of the digits, and not letters
        ([0, 255, 2, 0, 1, 2], [2, 0], None, 0, 256),
    ],
)
def test_classes_are_counted_from_0(tmp_path, train, test, n_classes, shift, expected):
    train, test = np.array(train), np.array(test)
    write(tmp_path, train_labels_idx1_ubyte=idx_bytes(train), t10k_labels_idx1_ubyte=idx_bytes(test))
    data = load_idx(tmp_path, n_classes=n_classes)
    np.testing.assert_array_equal(data.y_train, train - shift)
    np.testing.assert_array_equal(data.y_test, test - shift)
    assert data.n_classes == expected


def test_too_few_classes_are_refused(tmp_path):
    write(tmp_path)
    with pytest.raises(ValueError, match="y_train must be labels from 0 to 1, got labels from 0 to 2"):
        load_idx(tmp_path, n_classes=2)
    with pytest.raises(ValueError, match="n_classes must be an integer, at least 2, got 0"):
        load_idx(tmp_path, n_classes=0)


def test_the_home_folder_and_what_is_no_path(tmp_path, monkeypatch):
    (tmp_path / "data").mkdir()
    for variable in ("HOME", "USERPROFILE"):  # the second is that of Windows
        monkeypatch.setenv(variable, str(tmp_path))
    write(tmp_path / "data")
    for directory in ("~/data", Path("~/data"), str(tmp_path / "data")):
        assert_loaded(load_idx(directory))
    for directory in ("~nobody-of-this-name/data", "~/data/" + IMAGES, "no\0path"):
        with pytest.raises(FileNotFoundError, match=f"directory must hold {IMAGES} or .* which is no folder"):
            load_idx(directory)
    for directory in (3, None, b"~/data", ["~/data"]):
        with pytest.raises(TypeError, match=r"directory must be a path, a string or a pathlib\.Path, got"):
            load_idx(directory)


def test_no_pickle_is_read_from_the_bundled_file(tmp_path, monkeypatch):
    path = tmp_path / "fashion14.npz"
    np.savez(path, **{name: np.array([print]) for name in module.FASHION14_SHA256})
    monkeypatch.setattr(module, "BUNDLED", path)
    with pytest.raises(ValueError, match="allow_pickle=False"):
        load_fashion(1)


def test_a_header_that_lies_takes_no_memory(tmp_path):
    n = 2**30 // 16
    lies = {"train_images_idx3_ubyte": (n, 4, 4), "train_labels_idx1_ubyte": (n,)}
    write(tmp_path, **{name: idx_bytes(FILES[IMAGES], n_dims=len(shape), shape=shape) for name, shape in lies.items()})
    assert_refused_in_little_memory(tmp_path, "truncated")


def test_the_build_pools_and_is_atomic(tmp_path, monkeypatch):
    images = np.random.default_rng(0).integers(0, 256, (3, 28, 28))
    for name, array in {IMAGES: images, "t10k-images-idx3-ubyte": images[:1], LABELS: np.arange(3)}.items():
        (tmp_path / name).write_bytes(idx_bytes(array))
    (tmp_path / "t10k-labels-idx1-ubyte").write_bytes(idx_bytes(np.zeros(1)))
    out = tmp_path / "out.npz"
    digests = module._build(tmp_path, out)
    with np.load(out, allow_pickle=False) as built:
        # Rounding half up of the mean of each block, in units of 17 grey levels, pixel by pixel.
        expected = [
            int(images[1, 2 * i : 2 * i + 2, 2 * j : 2 * j + 2].mean() / 17 + 0.5) for i in range(14) for j in range(14)
        ]
        np.testing.assert_array_equal(built["X_train"][1], expected)
        assert built["X_train"].dtype == np.uint8
        assert digests["X_train"] == module._sha256(built["X_train"])
    before = out.read_bytes()
    monkeypatch.setattr(np, "savez_compressed", lambda file, **arrays: file.write(b"half") and 1 / 0)
    with pytest.raises(ZeroDivisionError):
        module._build(tmp_path, out)
    assert out.read_bytes() == before
    assert not list(tmp_path.glob("*.tmp"))
    with pytest.raises(ValueError, match=r"images must be 28x28 to be pooled, got \(4, 4\) in"):
        module._build(write(tmp_path), out)


def test_pooling_rounds_every_sum_of_four_pixels_half_up():
    """All sums from 0 to 4 * 255, in units of 4 * 17; spread unevenly over the four pixels."""
    sums = np.arange(6 * 196).clip(max=4 * 255)
    pixels = [np.clip(sums - 255 * i, 0, 255) for i in range(4)]
    images = np.array(pixels, np.uint8).reshape(2, 2, 6, 14, 14).transpose(2, 3, 0, 4, 1).reshape(6, 28, 28)
    pooled = module._pool(images)
    assert (pooled.dtype, pooled.shape) == (np.uint8, (6, 196))
    assert pooled.ravel().tolist() == [int(Fraction(int(s), 4 * 17) + Fraction(1, 2)) for s in sums]


def build(capsys, monkeypatch, *argv):
    """Exit status (None if there was no exit), stdout and stderr of ``python -m sgdnoise.datasets``."""
    monkeypatch.setattr(sys, "argv", ["datasets", *map(str, argv)])
    monkeypatch.setenv("COLUMNS", "120")
    try:
        module._main()
    except SystemExit as exit:
        return exit.code, *capsys.readouterr()
    return None, *capsys.readouterr()


def test_the_build_from_the_command_line(tmp_path, capsys, monkeypatch):
    """It says of each array whether it is the recorded one."""
    for name, array in FILES.items():
        images = np.zeros((len(array), 28, 28)) if array.ndim == 3 else array
        (tmp_path / name).write_bytes(idx_bytes(images))
    out = tmp_path / "out.npz"
    digest = module._sha256(np.zeros((2, 196), np.uint8))
    monkeypatch.setattr(module, "FASHION14_SHA256", module.FASHION14_SHA256 | {"X_test": digest})
    status, printed, errors = build(capsys, monkeypatch, tmp_path, "--out", out)
    assert (status, errors) == (None, "")
    with np.load(out, allow_pickle=False) as built:
        digests = {name: module._sha256(built[name]) for name in built.files}
    verdicts = {name: "as recorded" if name == "X_test" else "NOT as recorded" for name in FILES_BY_NAME}
    assert printed == "".join(f"{name:8} {digests[name]}  {verdict}\n" for name, verdict in verdicts.items())

    monkeypatch.setattr(module, "BUNDLED", out)
    before = out.read_bytes()
    refusal = "python -m sgdnoise.datasets: error: "
    status, printed, errors = build(capsys, monkeypatch, tmp_path)  # by default the bundled file is written
    assert (status, printed) == (1, "")
    assert errors.startswith(f"{refusal}{tmp_path} must hold the original Fashion-MNIST")
    assert errors.endswith("nothing is written\n")
    assert out.read_bytes() == before
    missing = build(capsys, monkeypatch, tmp_path / "nowhere", "--out", out)
    assert missing[0] == 1
    assert missing[2].startswith(f"{refusal}directory must hold {IMAGES}")


def test_help_on_the_build(capsys, monkeypatch):
    status, printed, _ = build(capsys, monkeypatch, "--help")
    assert status == 0
    assert printed.startswith(
        "usage: python -m sgdnoise.datasets [-h] [--out OUT] directory\n\nRebuild the bundled data file.\n"
    )
    assert "  directory   folder with the four original Fashion-MNIST IDX files\n" in printed
    assert "  --out OUT   file to write (default: the bundled one)\n" in printed


def test_the_bundled_file_is_not_overwritten_by_other_data(tmp_path, monkeypatch):
    bundled = tmp_path / "fashion14.npz"
    bundled.write_bytes(b"what is there")
    monkeypatch.setattr(module, "BUNDLED", bundled)
    for name, array in FILES.items():
        images = np.zeros((len(array), 28, 28)) if array.ndim == 3 else array
        (tmp_path / name).write_bytes(idx_bytes(images))
    with pytest.raises(
        ValueError, match=r"must hold the original Fashion-MNIST, got others \(X_train, y_train, X_test, y_test\)"
    ):
        module._build(tmp_path, bundled)
    assert bundled.read_bytes() == b"what is there"
    assert module._build(tmp_path, tmp_path / "other.npz") != module.FASHION14_SHA256


def test_a_gzip_bomb_is_refused_before_it_is_unpacked(tmp_path):
    write(tmp_path, compress=True, train_images_idx3_ubyte=idx_bytes(FILES[IMAGES]) + bytes(2**26))
    assert_refused_in_little_memory(tmp_path, "got more; the file is not what it says")


def test_teacher_labels_are_drawn_with_the_teachers_probabilities():
    """Frequencies against softmax probabilities in ten bins, each within 5 standard errors: false-positive rate 6e-6.

    The teacher is drawn first, so that it can be drawn again here.
    """
    data = make_teacher(40_000, 1, n_features=3, signal=1.5, rng=0)
    teacher = np.random.default_rng(0).standard_normal((3, 2)) * 1.5 / np.sqrt(3)
    margin = data.X_train @ (teacher[:, 1] - teacher[:, 0])
    p = 1 / (1 + np.exp(-margin))
    for members in np.array_split(np.argsort(p), 10):
        expected, n = p[members].mean(), len(members)
        error = np.sqrt((p[members] * (1 - p[members])).sum()) / n
        assert abs(data.y_train[members].mean() - expected) < 5 * error
        # Negative control: with twice the noise the labels would follow half the margin.
        halved = (1 / (1 + np.exp(-margin[members] / 2))).mean()
        assert abs(expected - 0.5) < 0.2 or abs(data.y_train[members].mean() - halved) > 5 * error
    logits = make_teacher(20_000, 1, n_features=50, signal=3.0, rng=1).X_train @ (
        np.random.default_rng(1).standard_normal((50, 2)) * 3 / np.sqrt(50)
    )
    assert logits.std() == pytest.approx(3.0, rel=0.3)  # of one teacher with 100 random weights


def test_labels_of_three_classes_follow_softmax():
    """Frequencies of each class in ten bins of its probability within 5 standard errors: false-positive rate 2e-5.

    With two classes the sign of the Gumbel noise cannot be told; here the other sign is rejected.
    """
    data = make_teacher(60_000, 1, n_features=3, n_classes=3, signal=1.5, rng=2)
    teacher = np.random.default_rng(2).standard_normal((3, 3)) * 1.5 / np.sqrt(3)
    logits = data.X_train @ teacher
    p = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    mirrored = (logits - np.random.default_rng(3).gumbel(size=logits.shape)).argmax(axis=1)
    scores = {"drawn": [], "mirrored": []}
    for c in range(3):
        for members in np.array_split(np.argsort(p[:, c]), 10):
            error = np.sqrt((p[members, c] * (1 - p[members, c])).sum()) / len(members)
            for name, y in (("drawn", data.y_train), ("mirrored", mirrored)):
                scores[name].append((np.mean(y[members] == c) - p[members, c].mean()) / error)
    assert np.abs(scores["drawn"]).max() < 5
    assert np.abs(scores["mirrored"]).max() > 8


def test_without_a_signal_labels_are_drawn_at_random():
    """Correlations with 4 features and the frequency of a class within 5 standard errors: false-positive rate 3e-6."""
    data = make_teacher(10_000, 1, n_features=4, signal=0, rng=0)
    signs = 2 * data.y_train - 1
    assert abs(np.mean(signs)) < 5 / 100
    assert (abs(signs @ data.X_train) < 5 * 100).all()


@pytest.mark.parametrize(
    ("make", "spelled_out"),
    [
        (make_teacher, {"n_train": 1000, "n_test": 1000, "n_features": 20, "n_classes": 2, "signal": 2}),
        (make_blobs, {"n_train": 1000, "n_test": 1000, "n_features": 2, "n_classes": 3, "spread": 1}),
    ],
)
def test_defaults_are_what_is_documented(make, spelled_out):
    data, same = make(rng=0), make(**spelled_out, rng=0)
    for name in ("X_train", "y_train", "X_test", "y_test"):
        np.testing.assert_array_equal(getattr(data, name), getattr(same, name))
    assert (data.X_train.shape, data.n_classes) == ((1000, spelled_out["n_features"]), spelled_out["n_classes"])


def test_small_draws_know_their_number_of_classes():
    for seed in range(5):
        assert make_teacher(2, 50, n_classes=4, rng=seed).n_classes == 4
        assert make_blobs(2, 50, n_classes=4, rng=seed).n_classes == 4
    assert load_fashion(1).n_classes == 10
    assert Dataset(np.zeros((2, 1)), np.array([0, 0]), np.zeros((1, 1)), np.array([2]), n_classes=3).n_classes == 3


def test_blobs_scatter_by_the_spread():
    """Sample standard deviation of some 10000 normals within 5 standard errors: false-positive rate 6e-7."""
    data = make_blobs(5000, 1, n_classes=2, spread=0.5, rng=0)
    residual = np.concatenate([data.X_train[data.y_train == c] - data.X_train[data.y_train == c].mean(axis=0) for c in (0, 1)])
    centres = [data.X_train[data.y_train == c].mean(axis=0) for c in (0, 1)]
    assert np.abs(centres).max() > 0.5
    assert residual.std() == pytest.approx(0.5, rel=5 / np.sqrt(2 * residual.size))


def test_centres_of_blobs_have_standard_deviation_3():
    """500 centres, each shown by one of its points: sample deviation and mean of 10 000 normals within 5 standard errors.

    False-positive rate 1.2e-6.
    """
    data = make_blobs(10_000, 1, n_features=20, n_classes=500, spread=1e-6, rng=0)
    centres = data.X_train[np.unique(data.y_train, return_index=True)[1]]
    assert centres.shape == (500, 20)
    assert centres.std() == pytest.approx(3, rel=5 / np.sqrt(2 * centres.size))
    assert abs(centres.mean()) < 5 * 3 / np.sqrt(centres.size)


X, Y = np.zeros((3, 2)), np.array([0, 1, 1])


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: load_fashion(0), ValueError, "n_train must be an integer from 1 to 60000, got 0"),
        (lambda: load_fashion(60_001), ValueError, "n_train"),
        (lambda: load_fashion(True), TypeError, "n_train"),
        (lambda: Dataset(X[0], Y, X, Y), ValueError, r"X_train must be .* shape \(n_train, n_features\), got shape \(2,\)"),
        (lambda: Dataset(X, Y, X[:, :1], Y), ValueError, r"X_test must be .* \(n_test, 2\), .*; as many features as X_train"),
        (lambda: Dataset(X, Y, X, Y, n_classes=-1), ValueError, "n_classes must be an integer, at least 0, got -1"),
        (lambda: Dataset(X, Y[:2], X, Y), ValueError, "y_train"),
        (lambda: Dataset(X, Y, X, np.array([0, 1, 2])), ValueError, "y_test must be labels from 0 to 1"),
        (lambda: Dataset(X, np.array([0, -1, 1]), X, Y), ValueError, "y_train must be labels from 0, got labels from -1"),
        (lambda: Dataset(X, Y.astype(float), X, Y), TypeError, "y_train"),
        (lambda: Dataset(X.astype(int), Y, X, Y), TypeError, "X_train"),
        (lambda: Dataset(np.full((3, 2), np.nan), Y, X, Y), ValueError, "X_train must be finite"),
        (lambda: Dataset(X[:0], Y[:0], X, Y), ValueError, "X_train"),
        (lambda: Dataset(X, Y, X, Y, n_classes=1), ValueError, "y_train must be labels from 0 to 0, got labels from 0 to 1"),
        (lambda: make_teacher(rng=True), TypeError, "rng must be an integer, at least 0, got True of type bool"),
        (lambda: make_blobs(rng=-1), ValueError, "rng must be an integer, at least 0, got -1; a seed"),
        (lambda: make_teacher(0), ValueError, "n_train"),
        (lambda: make_teacher(n_test=0), ValueError, "n_test"),
        (lambda: make_teacher(n_features=0), ValueError, "n_features"),
        (lambda: make_teacher(n_classes=1), ValueError, "n_classes must be an integer, at least 2, got 1"),
        (lambda: make_teacher(signal=-1.0), ValueError, "signal"),
        (lambda: make_blobs(0), ValueError, "n_train"),
        (lambda: make_blobs(n_test=0), ValueError, "n_test"),
        (lambda: make_blobs(n_features=0), ValueError, "n_features"),
        (lambda: make_blobs(spread=0.0), ValueError, "spread"),
        (lambda: make_blobs(n_classes=1), ValueError, "n_classes"),
    ],
)
def test_bad_input_is_refused_by_name(call, error, message):
    with pytest.raises(error, match="^" + message):
        call()
