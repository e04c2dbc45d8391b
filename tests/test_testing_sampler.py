"""The specification of samplers accepts ours and rejects known-wrong ones, each for its own law."""

from functools import partial

import numpy as np
import pytest

from sgdnoise import minibatches
from sgdnoise.testing import LawError, check_sampler


@pytest.mark.parametrize(("sampling", "n_laws"), [("reshuffle", 11), ("without_replacement", 10), ("with_replacement", 9)])
def test_our_samplers(sampling, n_laws):
    assert len(check_sampler(partial(minibatches, sampling=sampling), sampling=sampling)) == n_laws


# Known-wrong samplers.


def repeats_its_permutation(n, b, rng):
    return np.random.default_rng(1).permutation(n)[: n // b * b].reshape(-1, b)


def neighbours(n, b, rng):
    order = (np.arange(n) + rng.integers(n)) % n
    return order[: n // b * b].reshape(-1, b)


def never_the_last(n, b, rng):
    """Shuffles all but the last example to the front whenever there is a last batch to leave it out of."""
    order = rng.permutation(n - 1) if n % b else rng.permutation(n)
    return order[: n // b * b].reshape(-1, b)


SAMPLERS = {
    "with replacement posing as without": (
        partial(minibatches, sampling="with_replacement"),
        "without_replacement",
        "no example comes twice in a batch",
    ),
    "fresh subsets posing as a reshuffle": (
        partial(minibatches, sampling="without_replacement"),
        "reshuffle",
        "no example comes twice in an epoch",
    ),
    "a reshuffle posing as fresh subsets": (minibatches, "without_replacement", "the covariance of two batches of an epoch"),
    "without posing as with replacement": (
        partial(minibatches, sampling="without_replacement"),
        "with_replacement",
        "the variance of a batch's noise",
    ),
    "a reshuffle that repeats its permutation": (
        repeats_its_permutation,
        "reshuffle",
        "every example is equally likely in every batch",
    ),
    "neighbours in place of a permutation": (neighbours, "reshuffle", "the variance of a batch's noise"),
    "an example that never comes": (never_the_last, "reshuffle", "every example is equally likely in every batch"),
    "keeps the last, smaller batch": (
        lambda n, b, rng: np.array_split(rng.permutation(n), range(b, n, b)),
        "reshuffle",
        "an epoch has N // B batches of B",
    ),
    "counts from 1": (lambda n, b, rng: minibatches(n, b, rng=rng) + 1, "reshuffle", "indices are from 0 to N - 1"),
}


@pytest.mark.parametrize("mutant", SAMPLERS)
def test_wrong_samplers_are_rejected(mutant):
    fn, sampling, law = SAMPLERS[mutant]
    with pytest.raises(LawError) as caught:
        check_sampler(fn, sampling=sampling)
    assert caught.value.law == law


def test_an_epoch_dealt_twice_is_not_independent():
    """Each permutation is right, but comes twice: only the comparison between epochs can see it."""
    kept = {}

    def twice(n, b, rng):
        if (n, b) in kept:
            return kept.pop((n, b))
        kept[n, b] = minibatches(n, b, rng=rng)
        return kept[n, b]

    with pytest.raises(LawError) as caught:
        check_sampler(twice)
    assert caught.value.law == "an epoch is independent of the one before"


# What does not show among seven examples.


def dealt(order, b):
    return order[: len(order) // b * b].reshape(-1, b)


def shuffle_buffer(size):
    """Each example drawn from the next so many, as in tf.data's shuffle(size)."""

    def epoch(n, b, rng):
        picks = rng.random(n).tolist()
        buffer, order = list(range(min(size, n))), []
        for i in range(n):
            at = int(picks[i] * len(buffer))
            order.append(buffer[at])
            if i + size < n:
                buffer[at] = i + size
            else:
                buffer[at] = buffer[-1]
                buffer.pop()
        return dealt(np.array(order), b)

    return epoch


def shards(size):
    """The order of the shards is drawn, and the order inside each: of neighbours, or of every so many-th if negative."""

    def epoch(n, b, rng):
        of = np.arange(n) // size if size > 0 else np.arange(n) % -size
        parts = [rng.permutation(np.flatnonzero(of == s)) for s in rng.permutation(of.max() + 1)]
        return dealt(np.concatenate(parts), b)

    return epoch


def in_order_above(largest):
    return lambda n, b, rng: dealt(rng.permutation(n) if n <= largest else np.arange(n), b)


def repeated(at, first, sampling):
    """One batch of an epoch is another one, in another order."""

    def epoch(n, b, rng):
        batches = minibatches(n, b, sampling=sampling, rng=rng).copy()
        if len(batches) > 3:
            batches[at] = rng.permutation(batches[first])
        return batches

    return epoch


EQUALLY, VARIANCE = "every example is equally likely in every batch", "the variance of a batch's noise"
MEET, ANEW = "any two examples are equally likely to meet in a batch", "each batch is drawn anew: none repeats another"
LARGE = {
    "a shuffle buffer of 50": (shuffle_buffer(50), "reshuffle", EQUALLY),
    "a shuffle buffer of 8": (shuffle_buffer(8), "reshuffle", EQUALLY),
    "a shuffle buffer of 1000": (shuffle_buffer(1000), "reshuffle", EQUALLY),
    "shards of 8": (shards(8), "reshuffle", VARIANCE),
    "shards of 100": (shards(100), "reshuffle", VARIANCE),
    "8 shards, each of every 8th": (shards(-8), "reshuffle", VARIANCE + MEET),
    "10 shards, each of every 10th": (shards(-10), "reshuffle", VARIANCE + MEET),
    "in order above 40": (in_order_above(40), "reshuffle", EQUALLY),
    "in order above 1000": (in_order_above(1000), "reshuffle", EQUALLY),
    "the third batch is the first": (repeated(2, 0, "reshuffle"), "reshuffle", "no example comes twice in an epoch"),
    "of fresh subsets": (repeated(2, 0, "without_replacement"), "without_replacement", ANEW),
    "with replacement": (repeated(2, 0, "with_replacement"), "with_replacement", ANEW),
    "the last but one is the second": (repeated(-2, 1, "without_replacement"), "without_replacement", ANEW),
}


@pytest.mark.parametrize("mutant", LARGE)
def test_what_shows_only_in_many_examples(mutant):
    fn, sampling, law = LARGE[mutant]
    with pytest.raises(LawError) as caught:
        check_sampler(fn, sampling=sampling)
    assert caught.value.law in law


def test_the_wrong_ones_are_right_where_they_have_nothing_to_spoil():
    for right in (shuffle_buffer(10**4), shards(10**4), in_order_above(10**4), repeated(2, 2, "reshuffle")):
        assert len(check_sampler(right)) == 11


# A last, smaller batch.


def keeps_the_rest(n, b, rng, sampling="reshuffle"):
    if sampling == "reshuffle":
        return np.split(rng.permutation(n), range(b, n, b))
    draw = {"with_replacement": lambda size: rng.integers(n, size=size)}.get(sampling, lambda size: rng.permutation(n)[:size])
    return [draw(min(b, n - i)) for i in range(0, n, b)]


@pytest.mark.parametrize(("sampling", "n_laws"), [("reshuffle", 11), ("without_replacement", 10), ("with_replacement", 9)])
def test_a_last_smaller_batch(sampling, n_laws):
    fn = partial(keeps_the_rest, sampling=sampling)
    assert len(check_sampler(fn, sampling=sampling, drop_last=False)) == n_laws
    with pytest.raises(LawError, match="looks like: what drop_last=False checks"):
        check_sampler(fn, sampling=sampling)


def rest_from_the_front(n, b, rng):
    """The last batch begins the permutation anew."""
    order = rng.permutation(n)
    return [*dealt(order, b), *([order[: n % b]] if n % b else [])]


def example_0_last(n, b, rng):
    """Example 0 always waits for the smaller batch."""
    order = rng.permutation(n)
    return np.split(np.append(order[order != 0], 0) if n % b else order, range(b, n, b))


def test_each_last_batch_is_looked_at_too():
    """Fresh subsets, but example 0 is in every smaller batch."""

    def epoch(n, b, rng):
        *batches, last = keeps_the_rest(n, b, rng, "without_replacement")
        if len(last) < b and 0 not in last:
            last[0] = 0
        return [*batches, last]

    with pytest.raises(LawError) as caught:
        check_sampler(epoch, sampling="without_replacement", drop_last=False)
    assert caught.value.law == EQUALLY


@pytest.mark.parametrize(
    ("fn", "law"),
    [
        (lambda n, b, rng: minibatches(n, b, rng=rng), "an epoch has N // B batches of B, and one of what is left"),
        (
            lambda n, b, rng: np.array_split(rng.permutation(n), -(-n // b)),
            "an epoch has N // B batches of B, and one of what is left",
        ),
        (rest_from_the_front, "no example comes twice in an epoch"),
        (example_0_last, EQUALLY),
        (lambda n, b, rng: np.split(np.arange(n), range(b, n, b)), EQUALLY),
    ],
    ids=["drops it", "even parts", "from the front", "example 0 last", "in order"],
)
def test_wrong_samplers_with_a_last_smaller_batch(fn, law):
    with pytest.raises(LawError) as caught:
        check_sampler(fn, drop_last=False)
    assert caught.value.law == law


# What a batch is made of.


@pytest.mark.parametrize(
    "convert",
    [
        lambda batch: batch.astype(float),
        lambda batch: batch.astype(np.float32),
        lambda batch: [str(i) for i in batch],
        lambda batch: batch[:, None],
        lambda batch: batch.astype(object),
        lambda batch: batch.astype(bool),
    ],
    ids=["float64", "float32", "strings", "a column", "objects", "a mask"],
)
def test_indices_are_whole_numbers_of_an_integer_type(convert):
    with pytest.raises(LawError) as caught:
        check_sampler(lambda n, b, rng: [convert(batch) for batch in minibatches(n, b, rng=rng)])
    assert caught.value.law == "batches are arrays of whole numbers, of an integer type"


@pytest.mark.parametrize(
    "convert", [np.ndarray.tolist, tuple, lambda batch: batch.astype(np.int32), lambda batch: batch.astype(np.uint16)]
)
def test_any_integer_type_will_do(convert):
    assert len(check_sampler(lambda n, b, rng: (convert(batch) for batch in minibatches(n, b, rng=rng)))) == 11
