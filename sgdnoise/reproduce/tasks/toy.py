"""The figures' network and images."""

from __future__ import annotations

from functools import lru_cache

from ...datasets import Dataset, load_fashion
from ...models import MLP

N_TRAIN = 50_000
"""N of the trainings at full size."""

MODEL = "MLP 196-128-10, relu, float32"
"""The network in words."""

DATA = "Fashion-MNIST 14x14, bundled"
"""The images in words."""


def network() -> MLP:
    """Return the figures' network."""
    return MLP(196, (128,), 10)


@lru_cache(maxsize=4)
def images(n_train: int = N_TRAIN) -> Dataset:
    """Return the bundled images, with the first `n_train` of them to train on."""
    return load_fashion(n_train)
