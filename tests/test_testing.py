"""The specification of the noise scale, and what all checks have in common: inputs, messages, errors of the implementation's own."""

import builtins
import json
import subprocess
import sys
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sgdnoise import MLP, adam, minibatches, noise_scale, sgd
from sgdnoise.testing import (
    LawError,
    batches,
    check_gradient,
    check_noise_scale,
    check_optimizer,
    check_sampler,
    gradient_sequences,
    learning_rates,
    momenta,
)

# Ours.


def test_our_noise_scale():
    laws = check_noise_scale(noise_scale, exact=True)
    assert laws == check_noise_scale(noise_scale)
    assert len(laws) == 7


# Known-wrong implementations of g.


def g(learning_rate, batch_size, n_train, *, momentum=0, replace=False):
    """Right, and short; each mutant differs from it in one place."""
    left_out = n_train if replace else n_train - batch_size
    return learning_rate * left_out / batch_size / (1 - momentum)


NOISE_SCALES = {
    "eps N/B for the exact law": (
        lambda eps, B, N, momentum=0, replace=False: eps * N / B / (1 - momentum),
        "the full batch has no noise",
    ),
    "F of divisor N": (
        lambda eps, B, N, **options: g(eps, B, N, **options) * (1 if options.get("replace") or N == 1 else N / (N - 1)),
        "variance over every possible minibatch",
    ),
    "N/B without the learning rate": (lambda eps, B, N, **options: N / B, "the full batch has no noise"),
    "B/N - 1": (lambda eps, B, N, momentum=0, replace=False: eps * (B / N - 1) / (1 - momentum), "variance over every"),
    "1 + m for 1 - m": (
        lambda eps, B, N, momentum=0, replace=False: g(eps, B, N, replace=replace) / (1 + momentum),
        "momentum multiplies g by 1/(1 - m)",
    ),
    "no momentum": (lambda eps, B, N, momentum=0, replace=False: g(eps, B, N, replace=replace), "momentum multiplies g"),
    "replacement forgotten": (lambda eps, B, N, momentum=0, replace=False: g(eps, B, N, momentum=momentum), "with replacement"),
    "no momentum with replacement": (
        lambda eps, B, N, momentum=0, replace=False: g(eps, B, N, momentum=0 if replace else momentum, replace=replace),
        "with replacement, too, momentum multiplies g by 1/(1 - m)",
    ),
    "1 - m^2 with replacement": (
        lambda eps, B, N, momentum=0, replace=False: g(
            eps, B, N, momentum=momentum**2 if replace else momentum, replace=replace
        ),
        "with replacement, too, momentum multiplies g by 1/(1 - m)",
    ),
    "whole-number division with replacement, of many examples": (
        lambda eps, B, N, momentum=0, replace=False: (
            eps * (N // B) / (1 - momentum) if replace and N > 5 else g(eps, B, N, momentum=momentum, replace=replace)
        ),
        "with replacement, g = eps N/B at any size",
    ),
    "momentum of at most 7/8": (
        lambda eps, B, N, momentum=0, replace=False: g(eps, B, N, momentum=min(momentum, 0.875), replace=replace),
        "momentum multiplies g by 1/(1 - m)",
    ),
    "one half": (lambda eps, B, N, **options: g(eps, B, N, **options) / 2, "variance over every possible minibatch"),
    "whole-number division": (
        lambda eps, B, N, **options: g(eps, B, N, **options) if N < 10 else eps * (N // B - 1),
        "any size",
    ),
}


@pytest.mark.parametrize("mutant", NOISE_SCALES)
def test_wrong_noise_scales_are_rejected(mutant):
    fn, law = NOISE_SCALES[mutant]
    with pytest.raises(LawError) as caught:
        check_noise_scale(fn)
    assert law in caught.value.law


def test_the_test_of_the_mutants_accepts_what_they_are_mutants_of():
    assert len(check_noise_scale(g)) == 7
    for form in (lambda eps, B, N: eps * (N / B - 1), lambda eps, B, N: eps * N / B - eps):
        assert len(check_noise_scale(form, momentum=False, replace=False)) == 3


# What a failure says.


def test_a_failure_names_the_law_the_smallest_counterexample_and_the_expected_value():
    with pytest.raises(LawError) as caught:
        check_noise_scale(lambda eps, B, N, momentum=0: g(eps, B, N) / (1 + momentum), replace=False)
    assert caught.value.counterexample == {
        "learning_rate": 1,
        "batch_size": 1,
        "n_train": 2,
        "momentum": Fraction(1, 8),
    }
    assert caught.value.expected == Fraction(8, 7)
    assert str(caught.value) == (
        "law broken: momentum multiplies g by 1/(1 - m)\n"
        "  counterexample: learning_rate=1, batch_size=1, n_train=2, momentum=1/8\n"
        "  expected: 8/7\n"
        "  got: 0.8888888888888888"
    )
    assert not getattr(caught.value, "__notes__", [])


def test_an_exception_in_the_implementation_is_a_broken_law():
    with pytest.raises(LawError, match="got: ZeroDivisionError") as caught:
        check_noise_scale(lambda eps, B, N: eps / (N - B), momentum=False, replace=False)
    assert isinstance(caught.value.__cause__, ZeroDivisionError)


def test_a_value_error_breaks_the_law_if_it_comes_from_the_input():
    def no_full_batch(eps, B, N):
        if B == N > 1:
            raise ValueError("B must be below N")
        return noise_scale(eps, B, N)

    with pytest.raises(LawError, match="got: ValueError: B must be below N") as caught:
        check_noise_scale(no_full_batch, momentum=False, replace=False)
    assert caught.value.counterexample == {"learning_rate": 1, "batch_size": 2, "n_train": 2}
    with pytest.raises(ValueError, match="could not convert") as error:
        check_noise_scale(lambda *args, **options: float("eps"))
    assert "law: the full batch has no noise\n  learning_rate=1" in error.value.__notes__[0]


@pytest.mark.parametrize(
    ("check", "wrong"),
    [
        (check_noise_scale, lambda eps, B, N, **options: eps + None),
        (check_noise_scale, lambda eps, B: eps),
        (check_optimizer, lambda momentum: sgd(momentum + "")),
        (check_optimizer, lambda b1, b2, eps: adam(b1, b2, eps).nothing),
        (check_sampler, lambda n, b, rng: [undefined]),  # noqa: F821
        (check_gradient, type("Model", (MLP,), {"gradient": lambda self, params, X, y, l2: params["W"]})(3, (4,), 2)),
    ],
    ids=["operand", "arguments", "factory", "attribute", "name", "index"],
)
def test_errors_of_the_code_itself_come_through_as_they_are(check, wrong):
    with pytest.raises((TypeError, AttributeError, NameError, IndexError)) as caught:
        check(wrong)
    assert not isinstance(caught.value, LawError)
    assert caught.value.__notes__[0].startswith("while the implementation was tried on the law: ")


# Precision.


def in_float32(eps, B, N, *, momentum=0, replace=False):
    one = np.float32(1)
    return np.float32(eps) * (np.float32(N) / np.float32(B) - (0 if replace else one)) / (one - np.float32(momentum))


def test_single_precision():
    assert check_noise_scale(in_float32, dtype=np.float32) == check_noise_scale(noise_scale)
    assert check_noise_scale(noise_scale, dtype="float32", rtol=1e-3) == check_noise_scale(noise_scale)
    with pytest.raises(LawError):
        check_noise_scale(in_float32)
    # What is wrong by more than rounding still is.
    for wrong in (lambda *args, **kw: in_float32(*args, **kw) * np.float32(1.0001), NOISE_SCALES["F of divisor N"][0]):
        with pytest.raises(LawError, match="every possible minibatch"):
            check_noise_scale(wrong, dtype=np.float32)


def test_the_tolerance_is_the_callers():
    off = lambda *args, **kw: noise_scale(*args, **kw) * (1 + 1e-7)
    assert len(check_noise_scale(off, rtol=1e-6)) == 7
    with pytest.raises(LawError):
        check_noise_scale(off)
    assert check_noise_scale(noise_scale, rtol=1e-13)


# Inputs.

RECORD = """
import json, sys
sys.path.insert(0, sys.argv[1])
import {module}
import numpy as np
from sgdnoise import noise_scale, sgd
from sgdnoise.testing import check_noise_scale, check_optimizer
seen = []
check_noise_scale(lambda *args, **kw: (seen.append(repr((args, kw))), noise_scale(*args, **kw))[1])
check_optimizer(lambda momentum, nesterov: (seen.append(repr(momentum)), sgd(momentum, nesterov))[1])
print(json.dumps(seen))
"""


def test_inputs_are_always_the_same_whatever_is_imported(tmp_path):
    """Hypothesis would mix the constants of a user's modules into its integers."""
    (tmp_path / "full_of_constants.py").write_text("A = " + repr(list(range(2, 999, 7))), encoding="utf-8")
    (tmp_path / "empty.py").write_text("", encoding="utf-8")
    seen = []
    for module in ("full_of_constants", "empty"):
        command = [sys.executable, "-c", RECORD.format(module=module), tmp_path]
        seen.append(json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout))
    assert seen[0] == seen[1]
    assert len(set(seen[0])) > 100
    here = []
    check_noise_scale(lambda *args, **kw: (here.append(repr((args, kw))), noise_scale(*args, **kw))[1])
    assert here == seen[0][: len(here)]


@settings(max_examples=3, derandomize=True, database=None, deadline=None)
@given(st.floats(0.5, 2), st.booleans())
def test_checks_run_inside_a_property_test(factor, wrong):
    scaled = lambda *args, **kw: (factor if wrong else 1) * noise_scale(*args, **kw)
    try:
        check_noise_scale(scaled)
    except LawError:
        assert wrong
        assert factor != 1


CHECKS = [
    lambda: check_noise_scale(noise_scale),
    lambda: check_optimizer(sgd),
    lambda: check_gradient(MLP(3, (4,), 2)),
    lambda: check_sampler(minibatches),
]


def test_only_the_strategies_need_hypothesis(monkeypatch):
    real = builtins.__import__

    def without(name, *args, **kwargs):
        if name.split(".")[0] == "hypothesis":
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    for check in CHECKS:
        assert check()
    for strategy in (learning_rates, momenta, batches, gradient_sequences):
        with pytest.raises(ModuleNotFoundError, match=r'pip install "sgdnoise\[test\]"'):
            strategy()


@settings(max_examples=50, derandomize=True, database=None, deadline=None)
@given(learning_rates(), momenta(), batches(50), gradient_sequences())
def test_strategies(rate, momentum, batch, sequence):
    assert 0 < rate <= 1000
    assert 0 <= momentum <= Fraction(999, 1000)
    assert 1 <= batch[0] <= batch[1] <= 50
    assert 1 <= len(sequence) <= 8
    assert all(abs(gradient) <= 5 and learning_rate > 0 for gradient, learning_rate in sequence)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: check_sampler(minibatches, sampling="shuffled"), ValueError, "sampling must be one of"),
        (lambda: check_sampler(minibatches, drop_last=0), TypeError, "drop_last must be True or False"),
        (lambda: check_sampler(3), TypeError, "fn must be callable"),
        (lambda: check_noise_scale("g"), TypeError, "fn must be callable"),
        (lambda: check_noise_scale(noise_scale, exact=1), TypeError, "exact must be True or False"),
        (lambda: check_noise_scale(noise_scale, rtol=0), ValueError, "rtol must be finite and above 0"),
        (lambda: check_noise_scale(noise_scale, dtype=np.int64), TypeError, "dtype must be float32 or float64, got int64"),
        (lambda: check_noise_scale(noise_scale, dtype="fast"), TypeError, "dtype must be float32 or float64, got 'fast'"),
        (lambda: check_optimizer(sgd()), TypeError, "factory must be callable"),
        (lambda: check_optimizer(sgd, kind="rmsprop"), ValueError, "kind must be one of 'sgd', 'adam'"),
        (lambda: check_optimizer(sgd, shapes=(5,)), TypeError, "shapes must be a sequence of tuples"),
        (lambda: check_optimizer(sgd, shapes=((0,),)), ValueError, "a length in shapes must be"),
        (lambda: check_optimizer(sgd, rtol=np.nan), ValueError, "rtol must be finite"),
        (lambda: check_gradient(MLP), TypeError, "model must be an object with n_params, loss, gradient"),
        (lambda: check_gradient(MLP(2, (), 2), points=np.zeros((2, 3))), ValueError, r"points must .* \(n_points, 6\)"),
        (lambda: check_gradient(MLP(2, (), 2), points=0), ValueError, "points must be an integer, at least 1"),
        (lambda: check_gradient(MLP(2, (), 2), step=0.0), ValueError, "step must be finite and above 0"),
        (lambda: check_gradient(MLP(2, (), 2), data=3), TypeError, r"data must be a pair \(X, y\)"),
        (lambda: check_gradient(MLP(2, (), 2), data=(np.ones((2, 2)), np.ones(2, int))), ValueError, "at least 3 examples"),
        (lambda: batches(0), ValueError, "max_n_train must be"),
    ],
)
def test_bad_arguments(call, error, message):
    with pytest.raises(error, match=message):
        call()
