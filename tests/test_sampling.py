"""Minibatches: what each method promises, exactly where it can be enumerated."""

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from sgdnoise import minibatches
from sgdnoise.sampling import METHODS


@settings(max_examples=60, deadline=None, derandomize=True)
@given(n_train=st.integers(1, 200), seed=st.integers(0, 2**32 - 1), method=st.sampled_from(METHODS), data=st.data())
def test_shape_range_and_distinctness(n_train, seed, method, data):
    batch_size = data.draw(st.integers(1, n_train))
    batches = minibatches(n_train, batch_size, method=method, rng=seed)
    assert batches.shape == (n_train // batch_size, batch_size)
    assert batches.min() >= 0
    assert batches.max() < n_train
    if method != "with_replacement":
        assert all(len(set(batch)) == batch_size for batch in batches.tolist())
    if method == "reshuffle":
        assert len(set(batches.ravel().tolist())) == batches.size
    np.testing.assert_array_equal(batches, minibatches(n_train, batch_size, method=method, rng=seed))


@pytest.mark.parametrize("method", ["reshuffle", "without_replacement"])
@pytest.mark.parametrize("row", [0, 1])
def test_every_subset_is_equally_likely(method, row):
    """Chi-squared over all subsets; false-positive rate 1e-6 each. Its negative control: batches of neighbours."""
    rng = np.random.default_rng(0)
    n_draws, subsets = 6000, list(combinations(range(6), 3))
    counts = dict.fromkeys(subsets, 0)
    for _ in range(n_draws):
        counts[tuple(sorted(minibatches(6, 3, method=method, rng=rng)[row].tolist()))] += 1
    assert stats.chisquare(list(counts.values())).pvalue > 1e-6
    neighbours = np.bincount(rng.integers(4, size=n_draws), minlength=len(subsets))
    assert stats.chisquare(neighbours).pvalue < 1e-12


def test_with_replacement_draws_are_uniform_and_independent():
    """Chi-squared over all ordered pairs; false-positive rate 1e-6."""
    rng = np.random.default_rng(1)
    pairs = np.concatenate([minibatches(4, 2, method="with_replacement", rng=rng) for _ in range(4000)])
    counts = np.bincount(4 * pairs[:, 0] + pairs[:, 1], minlength=16)
    assert stats.chisquare(counts).pvalue > 1e-6
    assert counts[[0, 5, 10, 15]].min() > 0  # an example can come twice


def test_epochs_differ_and_left_over_examples_take_turns():
    rng = np.random.default_rng(2)
    epochs = [minibatches(7, 3, rng=rng) for _ in range(60)]
    assert len({epoch.tobytes() for epoch in epochs}) == 60
    left_out = {(set(range(7)) - set(epoch.ravel().tolist())).pop() for epoch in epochs}
    assert left_out == set(range(7))


def test_within_an_epoch_only_reshuffled_noise_cancels():
    values = np.random.default_rng(3).standard_normal(12)
    values -= values.mean()
    sums = {method: values[minibatches(12, 3, method=method, rng=4)].sum() for method in METHODS}
    assert abs(sums["reshuffle"]) < 1e-12
    assert min(abs(sums["without_replacement"]), abs(sums["with_replacement"])) > 0.1


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (
            lambda: minibatches(1000, 2000),
            ValueError,
            "batch_size must be an integer from 1 to n_train=1000, got 2000; every example would be used more than once",
        ),
        (lambda: minibatches(1000, 0), ValueError, "batch_size"),
        (lambda: minibatches(0, 1), ValueError, "n_train"),
        (lambda: minibatches(10.0, 1), TypeError, "n_train"),
        (lambda: minibatches(10, True), TypeError, "batch_size"),
        (lambda: minibatches(10, 2, method="shuffle"), ValueError, "method must be one of 'reshuffle'"),
        (lambda: minibatches(10, 2, method=None), TypeError, "method"),
    ],
)
def test_bad_input_is_refused_by_name(call, error, message):
    with pytest.raises(error, match=message):
        call()
