"""Minibatches: what each sampler promises, exactly where it can be enumerated."""

import tracemalloc
from itertools import combinations, permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from sgdnoise import minibatches
from sgdnoise.sampling import SAMPLINGS, draw


@settings(max_examples=60, deadline=None, derandomize=True)
@given(n_train=st.integers(1, 200), seed=st.integers(0, 2**32 - 1), sampling=st.sampled_from(SAMPLINGS), data=st.data())
def test_shape_range_and_distinctness(n_train, seed, sampling, data):
    batch_size = data.draw(st.integers(1, n_train))
    batches = minibatches(n_train, batch_size, sampling=sampling, rng=seed)
    assert batches.shape == (n_train // batch_size, batch_size)
    assert batches.min() >= 0
    assert batches.max() < n_train
    if sampling != "with_replacement":
        assert all(len(set(batch)) == batch_size for batch in batches.tolist())
    if sampling == "reshuffle":
        assert len(set(batches.ravel().tolist())) == batches.size
    np.testing.assert_array_equal(batches, minibatches(n_train, batch_size, sampling=sampling, rng=seed))


@pytest.mark.parametrize("sampling", ["reshuffle", "without_replacement"])
@pytest.mark.parametrize("row", [0, 1])
def test_every_subset_is_equally_likely(sampling, row):
    """Chi-squared over all subsets; false-positive rate 1e-6 each. Its negative control: batches of neighbours."""
    rng = np.random.default_rng(0)
    n_draws, subsets = 6000, list(combinations(range(6), 3))
    counts = dict.fromkeys(subsets, 0)
    for _ in range(n_draws):
        counts[tuple(sorted(minibatches(6, 3, sampling=sampling, rng=rng)[row].tolist()))] += 1
    assert stats.chisquare(list(counts.values())).pvalue > 1e-6
    neighbours = np.bincount(rng.integers(4, size=n_draws), minlength=len(subsets))
    assert stats.chisquare(neighbours).pvalue < 1e-12


def test_with_replacement_draws_are_uniform_and_independent():
    """Chi-squared over all ordered pairs; false-positive rate 1e-6."""
    rng = np.random.default_rng(1)
    pairs = np.concatenate([minibatches(4, 2, sampling="with_replacement", rng=rng) for _ in range(4000)])
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
    sums = {sampling: values[minibatches(12, 3, sampling=sampling, rng=4)].sum() for sampling in SAMPLINGS}
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
        (lambda: minibatches(10, 2, sampling="shuffle"), ValueError, "sampling must be one of 'reshuffle'"),
        (lambda: minibatches(10, 2, n_chains=0), ValueError, "n_chains must be an integer, at least 1"),
        (lambda: minibatches(10, 2, n_chains=2.0), TypeError, "n_chains"),
        (lambda: minibatches(10, 2, sampling=None), TypeError, "sampling"),
    ],
)
def test_bad_input_is_refused_by_name(call, error, message):
    with pytest.raises(error, match=message):
        call()


# Many chains at once.


@pytest.mark.parametrize("sampling", SAMPLINGS)
def test_many_chains_each_have_an_epoch_of_their_own(sampling):
    batches = minibatches(11, 3, sampling=sampling, n_chains=5, rng=1)
    assert batches.shape == (3, 5, 3)
    assert len({tuple(chain.ravel()) for chain in batches.swapaxes(0, 1)}) == 5
    if sampling != "with_replacement":
        assert all(len(set(batch)) == 3 for batch in batches.reshape(-1, 3).tolist())
    if sampling == "reshuffle":
        assert all(len(set(chain.ravel().tolist())) == 9 for chain in batches.swapaxes(0, 1))
    np.testing.assert_array_equal(batches, minibatches(11, 3, sampling=sampling, n_chains=5, rng=1))


@pytest.mark.parametrize("sampling", ["reshuffle", "with_replacement"])
def test_one_chain_of_many_has_the_numbers_of_one_chain(sampling):
    alone = minibatches(50, 7, sampling=sampling, rng=3)
    np.testing.assert_array_equal(minibatches(50, 7, sampling=sampling, n_chains=1, rng=3)[:, 0], alone)


@pytest.mark.parametrize("size", [2, 3])  # of 5: drawn by rejection, and by permutation
def test_subsets_of_many_chains_are_uniform_in_each_place(size):
    """Chi-squared over all ordered subsets, for the first and the last update; false-positive rate 1e-6 each."""
    drawn = draw(np.random.default_rng(0), 5, size, 2, 12_000, "without_replacement")
    for update in drawn:
        counts = [int((update == wanted).all(axis=1).sum()) for wanted in permutations(range(5), size)]
        assert sum(counts) == 12_000  # no index twice
        assert stats.chisquare(counts).pvalue > 1e-6


def test_an_order_is_permuted_on_and_without_one_each_epoch_begins_anew():
    order = np.tile(np.arange(6), (2, 1))
    epochs = [
        draw(np.random.default_rng(4), 6, 2, 3, 2, "reshuffle", order).swapaxes(0, 1).reshape(2, 6).copy() for _ in range(2)
    ]
    anew = [draw(np.random.default_rng(4), 6, 2, 3, 2, "reshuffle").swapaxes(0, 1).reshape(2, 6) for _ in range(2)]
    np.testing.assert_array_equal(anew[0], anew[1])
    np.testing.assert_array_equal(epochs[0], anew[0])
    np.testing.assert_array_equal(epochs[1], np.take_along_axis(epochs[0], anew[0], axis=1))  # the same permutation, once more
    np.testing.assert_array_equal(order, epochs[1])


def test_many_chains_with_replacement_may_have_batches_of_any_size():
    """Unlike an epoch, which `minibatches` is about."""
    drawn = draw(np.random.default_rng(0), 4, 10, 3, 2, "with_replacement")
    assert drawn.shape == (3, 2, 10)
    assert set(drawn.ravel().tolist()) == set(range(4))


def test_subsets_take_the_memory_of_what_they_give():
    """A permutation of all examples is needed for each, but not of all at once; the numbers are those of one large array."""
    n, size, n_sets = 20_000, 200, 500
    tracemalloc.start()
    drawn = draw(np.random.default_rng(0), n, size, n_sets, 1, "without_replacement")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 3 * drawn.nbytes + 8 * 2 * 10**6
    assert drawn.base is None or drawn.base.nbytes == drawn.nbytes
    at_once = np.random.default_rng(0).permuted(np.tile(np.arange(n), (n_sets, 1)), axis=1)[:, :size]
    np.testing.assert_array_equal(drawn[:, 0], at_once)
