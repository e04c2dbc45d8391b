"""What becomes of a setting when its batch size, learning rate or momentum changes at equal noise scale.

`convert` answers by two rules: the well-known linear rule, which keeps eps N/(B (1 - m)), and the exact rule, which keeps
g = eps (N/B - 1)/(1 - m) itself. ``sgdnoise convert`` prints its answer.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from . import _checks as check
from .noise import batch_size_for, learning_rate_for, lost_epochs, noise_scale


@dataclass(frozen=True)
class Setting:
    """A setting of SGD, and what follows from it.

    Parameters
    ----------
    learning_rate : float
        eps, per mean gradient.
    batch_size : int
        B.
    momentum : float
        m, of the trace form.
    noise_scale : float
        g, in the unit of the learning rate.
    noise_scale_change : float
        Its relative change, g/g_before - 1.
    updates_per_epoch : int
        N // B: an epoch's last, smaller batch is dropped.
    lost_epochs : float
        Epochs that momentum takes to catch up with a change.
    """

    learning_rate: float
    batch_size: int
    momentum: float
    noise_scale: float
    noise_scale_change: float
    updates_per_epoch: int
    lost_epochs: float


@dataclass(frozen=True)
class Conversion:
    """The answer of `convert`.

    Parameters
    ----------
    n_train : int
        Training-set size N.
    before : Setting
        The setting to start from.
    linear_rule, exact_rule : Setting or None
        The setting after the change by each rule; None where the rule has no answer.
    warnings : tuple of str
        Why a rule has no answer or misses g by more than 1%, and whether a batch exceeds N/10.
    """

    n_train: int
    before: Setting
    linear_rule: Setting | None
    exact_rule: Setting | None
    warnings: tuple[str, ...]


def convert(
    learning_rate: float,
    batch_size: int,
    n_train: int,
    *,
    momentum: float = 0.0,
    to_batch_size: int | None = None,
    to_learning_rate: float | None = None,
    to_momentum: float | None = None,
) -> Conversion:
    """Convert a setting to another batch size, learning rate or momentum at equal noise scale.

    Parameters
    ----------
    learning_rate : float
        eps, per mean gradient; positive.
    batch_size : int
        B, from 1 to N - 1.
    n_train : int
        Training-set size N.
    momentum : float, default 0
        m, in [0, 1), of the trace form.
    to_batch_size : int, optional
        The batch size wanted, from 1 to N; the learning rate follows. Exactly one of these three must be given.
    to_learning_rate, to_momentum : float, optional
        The learning rate or the momentum wanted; the batch size follows, rounded.

    Returns
    -------
    Conversion
        The setting before, and after by each rule. ``dataclasses.asdict`` makes it what ``sgdnoise convert --json`` prints.

    Raises
    ------
    TypeError, ValueError
        If an argument is of the wrong kind or out of range, or if not exactly one quantity is wanted.

    Notes
    -----
    With eps', B' and m' after the change, the linear rule keeps eps N/(B (1 - m)) and the exact rule g::

        eps' = eps B'/B                      B' = B (eps'/eps) (1 - m)/(1 - m')          (linear rule)
        eps' = g (1 - m) B'/(N - B')         B' = N/(1 + g (1 - m')/eps')                (exact rule)

    The linear rule has no answer if it asks for more than N examples. The exact rule has none for the full batch, which has no
    noise. Where the batch size follows, it is the nearest whole number from 1 to N (to N - 1 by the exact rule).

    Convention: g = eps (N/B - 1)/(1 - m), for batches drawn without replacement; as in `noise_scale`.

    References
    ----------
    Smith et al. 2018, arXiv:1711.00489, equations 4 and 5, section 4.
    Tutorial 3, ``tutorials/03_scaling_rules.md``.

    Examples
    --------
    Eight times the batch:

    >>> answer = convert(0.1, 128, 50_000, momentum=0.9, to_batch_size=1024)
    >>> answer.linear_rule.learning_rate, round(answer.exact_rule.learning_rate, 3)
    (0.8, 0.815)
    >>> f"{answer.linear_rule.noise_scale_change:.1%}"
    '-1.8%'
    """
    n_wanted = sum(wanted is not None for wanted in (to_batch_size, to_learning_rate, to_momentum))
    if n_wanted != 1:
        raise ValueError(f"exactly one of to_batch_size, to_learning_rate and to_momentum must be given, got {n_wanted}")
    learning_rate = float(check.number("learning_rate", learning_rate, above=0))
    momentum = float(check.number("momentum", momentum, at_least=0, below=1))
    g = noise_scale(learning_rate, batch_size, n_train, momentum=momentum)
    batch_size, n_train = check.integer("batch_size", batch_size), check.integer("n_train", n_train)
    if g == 0:
        raise ValueError(f"batch_size must be below n_train={n_train}, got {batch_size}; the full batch has no noise to keep")

    def setting(eps: float, batch: int, m: float) -> Setting:
        g_now = noise_scale(eps, batch, n_train, momentum=m)
        hint = "the two settings are too far apart for floating point"
        change = check.number("the result", g_now / g - 1, hint=hint)
        return Setting(eps, batch, m, g_now, change, n_train // batch, lost_epochs(batch, n_train, m))

    linear, exact, warnings = None, None, []
    if to_batch_size is not None:
        to_batch_size = check.integer("to_batch_size", to_batch_size, 1, ("n_train", n_train))
        linear = setting(learning_rate * to_batch_size / batch_size, to_batch_size, momentum)
        if to_batch_size < n_train:
            exact = setting(learning_rate_for(g, to_batch_size, n_train, momentum=momentum), to_batch_size, momentum)
        else:
            warnings.append("the full batch has no noise: no learning rate keeps g")
    else:
        rate = learning_rate if to_learning_rate is None else float(check.number("to_learning_rate", to_learning_rate, above=0))
        m = momentum if to_momentum is None else float(check.number("to_momentum", to_momentum, at_least=0, below=1))
        wanted = batch_size_for(g, rate, n_train, momentum=m)
        exact = setting(rate, min(max(1, round(wanted)), n_train - 1), m)
        if abs(exact.noise_scale_change) > 0.01:
            warnings.append(f"exact g asks for a batch of {wanted:.3g}; the nearest possible changes g by more than 1%")
        wanted = batch_size * (rate / learning_rate) * (1 - momentum) / (1 - m)
        if wanted <= n_train:
            linear = setting(rate, max(1, round(wanted)), m)
        else:
            warnings.append(f"the linear rule asks for a batch of {wanted:.0f}, more than there are examples")
    warnings += past_tenth(n_train, (after.batch_size for after in (linear, exact) if after))
    return Conversion(n_train, setting(learning_rate, batch_size, momentum), linear, exact, tuple(warnings))


def past_tenth(n_train: int, batch_sizes: Iterable[int]) -> list[str]:
    """Return one warning if any of these batches is above N/10, and else none."""
    if max(batch_sizes) * 10 <= n_train:
        return []
    return [
        f"batch size above N/10 = {n_train / 10:g}: equal g need not mean equal training there; "
        "the paper grows the batch up to about N/10 and then lowers the learning rate"
    ]
