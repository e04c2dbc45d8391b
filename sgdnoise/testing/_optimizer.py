"""The laws of SGD with momentum, and of Adam."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from .. import _checks as check
from ..optimizers import Optimizer
from ._adam import adam_laws
from ._diagnosis import adam_hint, sgd_hint
from ._laws import LawError, check_laws, dtype_and_rtol
from ._sgd import sgd_laws
from ._under_test import UnderTest

_NAMES = {"sgd": ("momentum",), "adam": ("b1", "b2", "eps")}
"""What a factory must take."""


def check_optimizer(
    factory: Callable[..., Optimizer],
    *,
    kind: str | None = None,
    shapes: Sequence[tuple[int, ...]] = ((5,),),
    rtol: float | None = None,
    dtype: Any = np.float64,
) -> tuple[str, ...]:
    r"""Check SGD with momentum, or Adam; return the laws that hold, or raise `LawError` with the first that does not.

    Parameters
    ----------
    factory : callable
        Makes an optimizer with ``init(params)`` and ``update(gradient, state, learning_rate) -> (step, state)``: SGD from the
        keyword ``momentum`` and, if it takes it, ``nesterov``; Adam from ``b1``, ``b2`` and ``eps``.
    kind : {"sgd", "adam"}, optional
        Which of the two. Default: Adam if `factory` has a parameter ``b1``, SGD if it has ``momentum``; an error says so. With
        ``**keywords`` it has to be said, and Nesterov is then checked, too.
    shapes : sequence of tuples of int, default ((5,),)
        Shapes of the parameters: an optimizer that treats matrices in another way needs one of each.
    rtol : float, optional
        How far a path may be from the one expected, relative to its farthest point. Default: 1e-9 for float64; 1e-4 for
        float32, where 1 - b2 has lost that much.
    dtype : {float64, float32}, default float64
        Of the parameters and gradients. Learning rates are Python's floats.

    Notes
    -----
    The parameters after each update are compared with sums over all gradients so far; no recursion is involved. All parameters
    get the same gradients, but under the law that each has its own.

    Convention: the trace form of momentum, ``a <- m a + gradient; w <- w - learning_rate * a``, Nesterov with the new a; Adam
    with bias correction and eps outside the root, added after the correction.

    References
    ----------
    Tutorial 9, ``tutorials/09_test_your_own.md``.

    Examples
    --------
    A PyTorch optimizer needs a few lines of adapter::

        def torch_sgd(momentum, nesterov):
            def init(params):
                w = torch.tensor(params, requires_grad=True)
                return w, torch.optim.SGD([w], lr=1.0, momentum=momentum, nesterov=nesterov and momentum > 0)

            def update(gradient, state, learning_rate):
                w, optimizer = state
                before = w.detach().clone()
                optimizer.param_groups[0]["lr"] = learning_rate
                w.grad = torch.tensor(gradient)
                optimizer.step()
                return (w.detach() - before).numpy(), state

            return Optimizer(init, update)

    >>> from sgdnoise import adam, sgd
    >>> print(*check_optimizer(sgd), sep="\n")
    a step has the shape of the parameters
    without momentum it is plain descent
    an impulse moves the parameters by -learning_rate/(1 - m) times itself in all
    each gradient enters with weight 1, the first and every later one
    the learning rate stands outside the accumulator
    Nesterov looks ahead: w <- w - learning_rate (gradient + m a) with the new a
    each parameter moves by its own gradients
    gradients large and small enter whole: nothing is clipped
    >>> len(check_optimizer(adam, dtype=np.float32))
    7
    """
    assumed = _assumed(check.function("factory", factory), kind)
    dtype, rtol = dtype_and_rtol(dtype, rtol, {"float64": 1e-9, "float32": 1e-4})
    under_test = UnderTest(factory, assumed.nesterov, _checked_shapes(shapes), dtype)
    try:
        return check_laws((sgd_laws if assumed.kind == "sgd" else adam_laws)(under_test), rtol)
    except LawError as error:
        looks_like = (sgd_hint if assumed.kind == "sgd" else adam_hint)(under_test.scalar_path, rtol)
        hint = "\n".join(filter(None, (looks_like, assumed.said)))
        raise error.with_hint(hint) from error.__cause__
    except Exception as error:
        if assumed.said:
            error.add_note(assumed.said)
        raise


@dataclass(frozen=True)
class _Assumed:
    """What a factory is taken for, and how that is said if the caller did not say it."""

    kind: str
    nesterov: bool
    said: str


def _assumed(factory: Callable[..., Optimizer], kind: str | None) -> _Assumed:
    """Read from the factory's parameters what the caller did not say."""
    if kind is not None:
        check.choice("kind", kind, tuple(_NAMES))
    try:
        parameters = list(inspect.signature(factory).parameters.values())
    except ValueError:  # some that are written in C have no signature
        parameters = [inspect.Parameter("keywords", inspect.Parameter.VAR_KEYWORD)]
    names = [p.name for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]
    any_keyword = any(p.kind is p.VAR_KEYWORD for p in parameters)
    taken = "(" + ", ".join(str(p).split("=")[0].split(":")[0] for p in parameters) + ")"
    said = ""
    if kind is None:
        found = [(k, name) for k, name in (("adam", "b1"), ("sgd", "momentum")) if name in names]
        if not found:
            raise TypeError(
                f"factory must have a parameter momentum (SGD) or b1 (Adam), or kind must be given, got the parameters {taken}"
                "; an Adam of other names is checked as lambda b1, b2, eps: mine(beta_1=b1, beta_2=b2, epsilon=eps)"
            )
        kind, name = found[0]
        said = f'taken for: kind="{kind}", by its parameter {name}'
    missing = [name for name in _NAMES[kind] if name not in names]
    if missing and not any_keyword:
        raise TypeError(
            f'factory must take the keywords {", ".join(_NAMES[kind])} to be checked as kind="{kind}", got the '
            f"parameters {taken}"
        )
    nesterov = kind == "sgd" and ("nesterov" in names or any_keyword)
    if kind == "sgd" and not nesterov and said:
        said += "; Nesterov not checked, without a parameter nesterov"
    return _Assumed(kind, nesterov, said)


def _checked_shapes(shapes: Any) -> list[tuple[int, ...]]:
    wanted = "shapes must be a sequence of tuples of whole numbers, such as ((5,), (2, 3))"
    if not isinstance(shapes, Sequence) or not shapes or not all(isinstance(shape, tuple) for shape in shapes):
        raise TypeError(f"{wanted}, got {shapes!r}")
    return [tuple(check.integer("a length in shapes", length) for length in shape) for shape in shapes]
