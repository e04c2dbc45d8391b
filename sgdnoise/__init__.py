"""What minibatch noise does in stochastic gradient descent: to understand, to check and to reproduce.

================  ======================================================================================
`noise`           the noise scale g, its inverses, and what scaling does to it
`scaling`         what becomes of a setting at another batch size, learning rate or momentum and equal g
`schedules`       schedules of learning rate and batch size, and the conversion of decay into growth
`sampling`        three ways to draw minibatches
`models`          logistic regression and multilayer perceptron on one flat parameter vector
`optimizers`      SGD with momentum or Nesterov's, and Adam, as pairs of functions
`training`        the training loop
`fast`            the same loop, quick: many replicas at once, in place
`gradient_noise`  measured noise: covariances, tr(S)/|G|^2, the largest curvature
`stationary`      exact stationary laws of SGD and of Langevin dynamics on a quadratic loss
`curves`          exact expected training curves of SGD under a schedule, on a quadratic and on linear regression
`langevin`        Langevin dynamics: overdamped, underdamped, the equation of SGD, SGLD
`normals`         cheap increments for them: Box-Muller in float32, random signs
`boltzmann`       laws at rest and escape times, by quadrature
`energies`        landscapes in which they are known
`testing`         the specification: checks that run on any implementation, yours included
`datasets`        bundled Fashion-MNIST at 14x14, a reader for IDX files, synthetic data
`reproduce`       the papers' figures; ``sgdnoise reproduce`` on the command line
================  ======================================================================================

Public names are imported when they are first used, so that ``import sgdnoise`` costs next to nothing.
"""

from importlib import import_module
from typing import Any

__version__ = "0.1.0"

_PUBLIC = {
    "datasets": ("Dataset", "load_fashion", "load_idx", "make_blobs", "make_teacher"),
    "gradient_noise": (
        "gradient_covariance",
        "gradient_noise_scale",
        "gradient_noise_scale_from_norms",
        "minibatch_covariance",
        "top_hessian_eigenvalue",
    ),
    "models": ("MLP", "LogisticRegression"),
    "noise": (
        "adam_square_root_rule",
        "batch_size_for",
        "learning_rate_for",
        "linear_scaling_error",
        "lost_epochs",
        "momentum_for",
        "noise_scale",
        "temperature",
    ),
    "optimizers": ("Optimizer", "adam", "sgd"),
    "sampling": ("minibatches",),
    "scaling": ("convert",),
    "schedules": (
        "Schedule",
        "Stage",
        "cosine_decay",
        "exponential_decay",
        "grow_batch",
        "linear_decay",
        "scale_up",
        "step_decay",
        "warm_up",
        "warmup_stable_decay",
    ),
    "training": ("DivergenceError", "History", "train"),
    "fast": (),
    "stationary": (),
    "curves": (),
    "langevin": (),
    "normals": (),
    "boltzmann": (),
    "energies": (),
    "testing": (),
    "reproduce": (),
}
"""The public names of each module; `__init__.pyi` shows them to type checkers."""

_HOME = {name: module for module, names in _PUBLIC.items() for name in names}

__all__ = sorted(_HOME)


def __getattr__(name: str) -> Any:
    """Import a module, or a public name from its module, when it is first asked for."""
    if name in _PUBLIC:
        return import_module(f".{name}", __name__)
    if name in _HOME:
        return globals().setdefault(name, getattr(import_module(f".{_HOME[name]}", __name__), name))
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    """List the public names and modules."""
    return sorted({*globals(), *_PUBLIC, *_HOME})
