r"""Random increments for Langevin dynamics that cost less than NumPy's normals.

In a cheap landscape a step spends most of its time on the noise. `filler` makes the function that fills an array with numbers
of mean 0 and variance 1. Its argument is what the integrators of `langevin` take as ``increments``::

    "normal"      Generator.standard_normal (the ziggurat), in float32 or float64: the default
    "box-muller"  normals in float32, to the resolution of uniforms of 24 bits
    "signs"       +1 or -1, each with probability 1/2

**Box-Muller** [1]_ turns two uniforms into two independent normals. With integers j from 1 to M and k from -M/2 to M/2 - 1,
all equally likely, M = 2^24::

    u = j/M,    r = sqrt(-2 log u),    a = 2 pi k/M
    z = r cos a,    z' = r sin a

u is never 0, and every u is a float32 exactly. So the law is known. No number is beyond sqrt(48 log 2) = 5.77, as one normal in
1.2e8 is. The powers of the cosine have the same averages over equally spaced angles as over the circle (1/2 and 3/8), so that
the moments of the integers' logarithms give, with Stirling's formula for M!::

    E z = E z^3 = E z z' = 0
    E z^2 = 1 - log(2 pi M)/(2 M)                                     5.5e-7 below 1
    E z^4 = 3 - 3 (log(M)^2/2 + log(2 pi) log M + 2.00636)/(2 M)      1.5e-5 below 3

The tail is a staircase: a radius is beyond t for the j below M exp(-t^2/2), which are 186 378 for t = 3, 5628 for 4 and 62 for
5. So |z| > t has the probability sum over j of 2 arccos(t/r_j)/(pi M), short of the normal's by 7e-6, 2.6e-4 and 2% of it.

**Signs** have the normal's moments to the third, and a fourth of 1 where it has 3. That is what the Euler-Maruyama scheme asks
for to keep its weak order 1 (the order of averages; the simplified weak Euler scheme [2]_): over one step of length dt the
fourth moment enters at dt^2, where the scheme's own error is. No scheme of weak order 2 keeps its order with them, and no
path converges to a path of the equation.

References
----------
.. [1] G. E. P. Box, M. E. Muller, "A Note on the Generation of Random Normal Deviates", Annals of Mathematical Statistics
   29, 610-611, 1958.
.. [2] P. E. Kloeden, E. Platen, "Numerical Solution of Stochastic Differential Equations", Springer, 1992, section 14.1.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from . import _checks as check

__all__ = ["BLOCK", "INCREMENTS", "filler"]

INCREMENTS = ("normal", "box-muller", "signs")
"""What `filler` can fill with."""

BLOCK = 1 << 14
"""Pairs of normals made at once: their 384 kB of bits, workspace and results stay in a core's L2 cache."""

_BITS = 24  # a float32 holds every multiple of 2^-24 between 0 and 1

# For every byte the eight signs of its bits.
_SIGNS = 1 - 2 * np.unpackbits(np.arange(256, dtype=np.uint8)[:, None], axis=1).astype(np.int8)


def filler(increments: str, rng: check.Seed = None) -> Callable[[np.ndarray], None]:
    """Return a function that fills an array with random increments of mean 0 and variance 1.

    Parameters
    ----------
    increments : {"normal", "box-muller", "signs"}
        See the module.
    rng : numpy.random.Generator, BitGenerator, SeedSequence, int or None
        Source of the bits, handed to `numpy.random.default_rng`.

    Returns
    -------
    callable
        ``fill(out)``, where `out` is a C-contiguous array, float32 for "box-muller", else float32 or float64; it refuses other
        ones (TypeError). It owns a workspace: call it from one thread at a time.

    Notes
    -----
    The numbers depend on the generator's state and the shape of `out` alone, up to the last bit of float32, in which the
    logarithms, sines and cosines of different processors may differ. The generator gives 64 bits for each two numbers
    ("box-muller") or for each 64 ("signs"), rounded up. A call has a fixed cost, so that Box-Muller pays from about a thousand
    numbers on. Bits are a third of its cost: `numpy.random.SFC64` makes them faster than the default, PCG64.

    Convention: the numbers have variance 1; the integrators multiply them by sqrt(2 lambda T dt) and the like.

    References
    ----------
    Box and Muller 1958; Kloeden and Platen 1992, section 14.1, for the signs.

    Examples
    --------
    >>> out = np.empty((2, 3), np.float32)
    >>> filler("signs", 0)(out)
    >>> bool((abs(out) == 1).all())
    True
    >>> many = np.empty(1_000_000, np.float32)
    >>> filler("box-muller", 0)(many)
    >>> bool(abs(many.mean()) < 0.005 and abs(many.var() - 1) < 0.01)
    True
    """
    make = {"normal": _normal, "box-muller": _box_muller, "signs": _signs}
    return make[check.choice("increments", increments, INCREMENTS)](check.generator(rng))


def _normal(rng: np.random.Generator) -> Callable[[np.ndarray], None]:
    """NumPy's own, by the ziggurat."""
    normal: Any = rng.standard_normal

    def fill(out: np.ndarray) -> None:
        flat = _flat(out, np.float32, np.float64)
        normal(dtype=flat.dtype, out=flat)

    return fill


def _box_muller(rng: np.random.Generator) -> Callable[[np.ndarray], None]:
    """The first half of the numbers are cosines, the second half the sines of the same pairs, made in blocks of `BLOCK`."""
    words = _words(rng)
    work = np.empty(2 * BLOCK, np.float32)
    step = 2.0**-_BITS

    def fill(out: np.ndarray) -> None:
        flat = _flat(out, np.float32)
        n_pairs = (len(flat) + 1) // 2
        for first in range(0, n_pairs, BLOCK):
            n = min(BLOCK, n_pairs - first)
            integers = words(n).view(np.int32)
            np.right_shift(integers, 32 - _BITS, out=integers)
            both = work[: 2 * n]
            np.copyto(both, integers, casting="same_kind")
            radius, angle = both[:n], both[n:]
            np.multiply(radius, -step, out=radius)  # in (-1/2, 1/2]
            np.add(radius, 0.5, out=radius)  # u
            np.log(radius, out=radius)
            np.multiply(radius, -2.0, out=radius)
            np.sqrt(radius, out=radius)
            np.multiply(angle, 2 * math.pi * step, out=angle)
            cosines, sines = flat[first : first + n], flat[n_pairs + first : n_pairs + first + n]
            np.cos(angle, out=cosines)
            np.multiply(cosines, radius, out=cosines)
            n = len(sines)  # one less at the end of an odd number
            np.sin(angle[:n], out=sines)
            np.multiply(sines, radius[:n], out=sines)

    return fill


def _signs(rng: np.random.Generator) -> Callable[[np.ndarray], None]:
    """Eight signs are looked up for every byte."""
    words = _words(rng)
    tables = {dtype: _SIGNS.astype(dtype) for dtype in (np.float32, np.float64)}

    def fill(out: np.ndarray) -> None:
        flat = _flat(out, np.float32, np.float64)
        table = tables[flat.dtype.type]
        octets = words((len(flat) + 63) // 64).view(np.uint8)
        n, rest = divmod(len(flat), 8)
        np.take(table, octets[:n], axis=0, out=flat[: 8 * n].reshape(n, 8), mode="clip")
        if rest:
            flat[8 * n :] = table[octets[n], :rest]

    return fill


def _flat(out: np.ndarray, *dtypes: type) -> np.ndarray:
    """Return a flat view of `out`."""
    wanted = f"out must be a C-contiguous array of {' or '.join(dtype.__name__ for dtype in dtypes)}"
    if not check.plain_array(out):
        raise TypeError(f"{wanted}, got one of type {type(out).__name__}")
    if out.dtype.type not in dtypes or not (out.flags.c_contiguous and out.flags.writeable):
        raise TypeError(f"{wanted}, got one of {out.dtype} with strides {out.strides}")
    return out.reshape(-1)


def _words(rng: np.random.Generator) -> Callable[[int], np.ndarray]:
    """Return the function n -> n random uint64, straight from the generator where it makes them."""
    bits = rng.bit_generator
    if isinstance(bits, np.random.MT19937):  # makes 32 bits at a time
        return lambda n: rng.integers(1 << 64, size=n, dtype=np.uint64)
    return bits.random_raw
