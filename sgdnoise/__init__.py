"""What minibatch noise does in stochastic gradient descent: to understand, to check and to reproduce.

===============  ======================================================================================
`noise`          the noise scale g, its inverses, and what scaling does to it
`schedules`      schedules of learning rate and batch size, and the conversion of decay into growth
`sampling`       three ways to draw minibatches
`models`         logistic regression and multilayer perceptron on one flat parameter vector
`optimizers`     SGD with momentum or Nesterov's, and Adam, as pairs of functions
`training`       the training loop
`datasets`       bundled Fashion-MNIST at 14x14, a reader for IDX files, synthetic data
`reproduce`      the papers' figures; ``sgdnoise reproduce`` on the command line
===============  ======================================================================================

Public names are imported when they are first used, so that ``import sgdnoise`` costs next to nothing.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .datasets import Dataset, load_fashion, load_idx, make_blobs, make_teacher
    from .models import MLP, LogisticRegression
    from .noise import (
        adam_square_root_rule,
        batch_size_for,
        learning_rate_for,
        linear_scaling_error,
        lost_epochs,
        momentum_for,
        noise_scale,
        temperature,
    )
    from .optimizers import Optimizer, adam, sgd
    from .sampling import minibatches
    from .schedules import Schedule, Stage, grow_batch, scale_up, step_decay
    from .training import DivergenceError, History, train

__version__ = "0.1.0"

__all__ = [
    "MLP",
    "Dataset",
    "DivergenceError",
    "History",
    "LogisticRegression",
    "Optimizer",
    "Schedule",
    "Stage",
    "adam",
    "adam_square_root_rule",
    "batch_size_for",
    "grow_batch",
    "learning_rate_for",
    "linear_scaling_error",
    "load_fashion",
    "load_idx",
    "lost_epochs",
    "make_blobs",
    "make_teacher",
    "minibatches",
    "momentum_for",
    "noise_scale",
    "scale_up",
    "sgd",
    "step_decay",
    "temperature",
    "train",
]

_MODULES = ("noise", "schedules", "sampling", "models", "optimizers", "datasets", "training", "reproduce")


def __getattr__(name: str) -> Any:
    """Import a public name, or a module, when it is first asked for."""
    if name in _MODULES:
        return import_module(f".{name}", __name__)
    if name in __all__:
        for module in map(__getattr__, _MODULES):
            if name in vars(module):
                return globals().setdefault(name, vars(module)[name])
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    """List the public names and modules."""
    return sorted([*globals(), *__all__, *_MODULES])
