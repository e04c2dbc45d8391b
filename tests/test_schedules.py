"""Schedules: every row of the papers' experiments, conversion invariants, and bad input."""

import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sgdnoise import Schedule, Stage, grow_batch, scale_up, step_decay

N_CIFAR, N_IMAGENET = 50_000, 1_281_167

# Functions, so that everything is computed inside a test.


def paper():
    return step_decay(0.1, 128, milestones=(60, 120, 160), n_epochs=200, factor=5)


def imagenet(to_momentum=0.9):
    return scale_up(
        step_decay(3.0, 8192, milestones=(30, 60, 80), n_epochs=90, factor=10),
        N_IMAGENET,
        momentum=0.9,
        to_momentum=to_momentum,
    )


def raised():
    return scale_up(paper(), N_CIFAR, learning_rate=0.5)


def raised_momentum():
    return scale_up(paper(), N_CIFAR, learning_rate=0.5, momentum=0.9, to_momentum=0.98)


def rates_and_batches(schedule):
    return [(round(stage.learning_rate, 12), stage.batch_size) for stage in schedule]


@pytest.mark.parametrize(
    ("schedule", "stages", "noise_scale"),
    [
        (paper, [(0.1, 128), (0.02, 128), (0.004, 128), (0.0008, 128)], [389.6, 77.9, 15.6, 3.12]),
        (
            lambda: grow_batch(paper(), N_CIFAR, n_drops=1),
            [(0.1, 128), (0.1, 640), (0.02, 640), (0.004, 640)],
            [389.6, 77.1, 15.4, 3.09],
        ),
        (lambda: grow_batch(paper(), N_CIFAR), [(0.1, 128), (0.1, 640), (0.1, 3200), (0.1, 16000)], [389.6, 77.1, 14.6, 2.13]),
    ],
    ids=["decaying", "hybrid", "increasing"],
)
def test_section_5_1(schedule, stages, noise_scale):
    schedule = schedule()
    assert [stage.n_epochs for stage in schedule] == [60, 60, 40, 40]
    assert rates_and_batches(schedule) == stages
    g = schedule.noise_scale(N_CIFAR, momentum=0.9)
    half_a_digit = np.where(np.array(noise_scale) > 4, 0.05001, 0.005001)
    assert np.all(np.abs(g - noise_scale) <= half_a_digit)


def test_exact_g_falls_behind_where_the_batch_is_large():
    ratio = grow_batch(paper(), N_CIFAR).noise_scale(N_CIFAR) / paper().noise_scale(N_CIFAR)
    np.testing.assert_allclose(ratio, [1, 0.990, 0.938, 0.682], atol=5e-4)


@pytest.mark.parametrize(
    ("schedule", "stages", "counts"),
    [
        (paper, [(0.1, 128), (0.02, 128), (0.004, 128), (0.0008, 128)], (78125, 78000, 78200)),
        (lambda: grow_batch(paper(), N_CIFAR, n_drops=1), None, (34375, 34320, 34520)),
        (lambda: grow_batch(paper(), N_CIFAR), None, (28875, 28800, 29000)),
        (
            lambda: grow_batch(paper(), N_CIFAR, max_batch_size=5120),
            [(0.1, 128), (0.1, 640), (0.1, 3200), (0.032, 5120)],
            (29141, 29040, 29240),
        ),
        (
            lambda: grow_batch(raised(), N_CIFAR, max_batch_size=5120),
            [(0.5, 640), (0.5, 3200), (0.16, 5120), (0.032, 5120)],
            (6406, 6300, 6500),
        ),
        (
            lambda: grow_batch(raised_momentum(), N_CIFAR, max_batch_size=5120),
            [(0.5, 3200), (0.16, 5120), (0.032, 5120), (0.0064, 5120)],
            (2305, 2160, 2360),
        ),
    ],
    ids=["original", "hybrid", "increasing", "increasing, capped", "raised learning rate", "raised momentum"],
)
def test_section_5_2_stages_and_update_counts(schedule, stages, counts):
    schedule = schedule()
    if stages is not None:
        assert rates_and_batches(schedule) == stages
    exact, drop_last, keep_last = counts
    assert round(schedule.n_updates(N_CIFAR, drop_last=None)) == exact
    assert schedule.n_updates(N_CIFAR) == drop_last
    assert schedule.n_updates(N_CIFAR, drop_last=False) == keep_last


def test_the_last_drop_under_the_cap_if_exact_g_is_kept():
    # 3200 -> 5120 at the g of .1 and 16000: eps = .1 by eps/B would be .032, by exact g it is .03556 for the paper's stage.
    third = Schedule([Stage(40, 0.1, 3200), Stage(40, 0.02, 3200)])
    assert grow_batch(third, N_CIFAR, max_batch_size=5120).stages[1].learning_rate == pytest.approx(0.032, abs=1e-6)
    exact = grow_batch(paper(), N_CIFAR, max_batch_size=5120, rule="exact")
    assert exact.stages[3].batch_size == 5120
    assert exact.stages[3].learning_rate == pytest.approx(0.03556, abs=5e-6)


@pytest.mark.parametrize(
    ("schedule", "batch_sizes", "count"),
    [
        (imagenet, [8192] * 4, 14040),
        (lambda: grow_batch(imagenet(), N_IMAGENET, max_batch_size=81920), [8192, 81920, 81920, 81920], 5580),
        (lambda: grow_batch(imagenet(), N_IMAGENET, max_batch_size=65536), [8192, 65536, 65536, 65536], 5820),
        (
            lambda: grow_batch(imagenet(0.95), N_IMAGENET, max_batch_size=65536),
            [16384, 65536, 65536, 65536],
            3480,
        ),
        (
            lambda: grow_batch(imagenet(0.975), N_IMAGENET, max_batch_size=65536),
            [32768, 65536, 65536, 65536],
            2310,
        ),
    ],
    ids=["decaying", "cap 81920", "cap 65536", "m .95", "m .975"],
)
def test_section_5_3_imagenet(schedule, batch_sizes, count):
    schedule = schedule()
    assert [stage.batch_size for stage in schedule] == batch_sizes
    assert schedule.n_updates(N_IMAGENET) == count
    ratio = np.array([stage.learning_rate / stage.batch_size for stage in schedule])
    np.testing.assert_allclose(ratio / ratio[0], [1, 0.1, 0.01, 0.001], rtol=1e-9)


# Invariants on any schedule.

schedules = st.lists(
    st.builds(Stage, st.integers(1, 50), st.floats(1e-4, 10), st.integers(1, 300)), min_size=1, max_size=6
).map(Schedule)
properties = settings(max_examples=100, deadline=None, derandomize=True)


@properties
@given(
    schedule=schedules, rate=st.floats(1e-3, 10), before=st.floats(0, 0.95), after=st.floats(0, 0.95), cap=st.integers(1, 5000)
)
def test_scaling_up_keeps_the_ratio_that_the_linear_rule_keeps(schedule, rate, before, after, cap):
    scaled = scale_up(schedule, 5000, learning_rate=rate, momentum=before, to_momentum=after, max_batch_size=cap)
    for old, new in zip(schedule, scaled, strict=True):
        expected = old.learning_rate / (old.batch_size * (1 - before))
        assert new.learning_rate / (new.batch_size * (1 - after)) == pytest.approx(expected, rel=1e-6)
        assert new.batch_size <= cap


@properties
@given(schedule=schedules, epoch=st.integers(0, 299))
def test_stage_at_is_the_stage_written_out_epoch_by_epoch(schedule, epoch):
    written_out = [stage for stage in schedule for _ in range(stage.n_epochs)]
    assert schedule.n_epochs == len(written_out)
    if epoch < len(written_out):
        assert schedule.stage_at(epoch) is written_out[epoch]
    else:
        with pytest.raises(ValueError, match="epoch must be an integer from 0 to n_epochs - 1="):
            schedule.stage_at(epoch)


@properties
@given(schedule=schedules, n_train=st.integers(300, 5000))
def test_update_counts_are_in_order_and_close(schedule, n_train):
    drop, exact, keep = (schedule.n_updates(n_train, mode) for mode in (True, None, False))
    assert drop <= exact * (1 + 1e-12)
    assert exact <= keep * (1 + 1e-12)
    assert keep - drop <= schedule.n_epochs


def test_a_whole_batch_size_leaves_the_learning_rate_untouched():
    assert {stage.learning_rate for stage in grow_batch(paper(), N_CIFAR)} == {0.1}


def test_a_rounded_batch_size_leaves_the_rest_to_the_learning_rate():
    # 0.5/0.1 and .1/.02 are not 5 in floating point: rounding errors are not a rest.
    assert scale_up(paper(), N_CIFAR, momentum=0.9, to_momentum=0.98).stages[0].learning_rate == 0.1
    # Half an example in a million is.
    million = Schedule([Stage(1, 0.1, 10**6), Stage(1, 0.1 / 1.0000005, 10**6)])
    grown = grow_batch(million, 10**7).stages[1]
    assert (grown.learning_rate, grown.batch_size) == (pytest.approx(0.1 / 1.0000005, rel=1e-12), 10**6)
    assert scale_up(million, 10**7, learning_rate=0.10000005).stages[0].learning_rate == pytest.approx(0.1, rel=1e-12)


def test_n_drops_counts_drops_and_nothing_else():
    rates = [0.8, 0.8, 0.4, 0.2, 0.1]
    schedule = Schedule([Stage(1, rate, 10) for rate in rates])
    for n_drops, expected in ((0, [10] * 5), (1, [10, 10, 20, 20, 20]), (2, [10, 10, 20, 40, 40]), (3, [10, 10, 20, 40, 80])):
        assert [stage.batch_size for stage in grow_batch(schedule, 1000, n_drops=n_drops)] == expected


def test_a_rounding_difference_is_not_a_drop():
    stages = Schedule([Stage(1, 0.3, 128), Stage(1, 1.8, 768), Stage(1, 0.36, 768)])
    assert [stage.batch_size for stage in grow_batch(stages, 50_000, n_drops=1)] == [128, 128, 640]


def test_batch_sizes_are_rounded_down_and_the_rate_takes_the_rest():
    for factor, batch_size, rest in ((1.24, 12, 1.2 / 1.24), (1.26, 12, 1.2 / 1.26), (1.3, 13, 1), (1.99, 19, 1.9 / 1.99)):
        stage = grow_batch(step_decay(0.1, 10, milestones=(1,), n_epochs=2, factor=factor), 1000).stages[1]
        assert (stage.batch_size, stage.learning_rate) == (batch_size, pytest.approx(0.1 * rest, rel=1e-12))


def geometric(rate, batch_size, factor, n):
    """A decay by `factor` after each epoch."""
    return Schedule([Stage(1, rate * factor**-k, batch_size) for k in range(n)])


@pytest.mark.parametrize("rule", ["linear", "exact"])
@pytest.mark.parametrize(
    ("batch_size", "factor", "n"),
    [(16, 1 / 0.98, 200), (2, 1.2, 10), (2, 1.0045, 10), (3, 1.2, 10), (1, 1.001, 5000), (100, 1.0000001, 3000), (7, 3, 5)],
)
def test_rounding_is_not_fed_back(batch_size, factor, n, rule):
    """Batch size k is the whole part of the one that the whole decay up to there asks for, whatever was rounded before."""
    decay, exact = geometric(0.1, batch_size, factor, n), rule == "exact"
    grown = grow_batch(decay, 50_000, rule=rule)
    for k, (before, stage) in enumerate(zip(decay, grown, strict=True)):
        # Exact g: N/B - 1 falls by the factor.
        ideal = 50_000 / (1 + (50_000 / batch_size - 1) / factor**k) if exact else batch_size * factor**k
        assert stage.batch_size == int(ideal * (1 + 1e-9))
        assert stage.learning_rate <= 0.1 * (1 + 1e-9)
        kept = [s.learning_rate / s.batch_size * (50_000 - s.batch_size if exact else 1) for s in (before, stage)]
        assert kept[1] == pytest.approx(kept[0], rel=2e-9)


def test_a_cap_and_kept_drops_change_the_rate_for_all_that_follows():
    decay = geometric(0.1, 3, 1.3, 8)
    capped = grow_batch(decay, 1000, max_batch_size=5)
    assert [s.batch_size for s in capped] == [3, 3, 5, 5, 5, 5, 5, 5]
    np.testing.assert_allclose([s.learning_rate for s in capped][2:], [0.1 * 5 / 3 / 1.3**k for k in range(2, 8)])
    hybrid = grow_batch(decay, 1000, n_drops=2)  # 3, 3.9, 5.07 and no further
    assert [s.batch_size for s in hybrid] == [3, 3, 5, 5, 5, 5, 5, 5]
    np.testing.assert_allclose([s.learning_rate for s in hybrid][2:], [0.1 * 5 / 3 / 1.3**k for k in range(2, 8)])


def test_drifts_smaller_than_rounding_add_up_to_drops():
    decay = geometric(0.1, 1000, 1 + 5e-10, 2001)  # 1e-6 in all, and less than 1e-9 in any step
    assert grow_batch(decay, 10**7).stages[-1].learning_rate == pytest.approx(0.1 / (1 + 5e-10) ** 2000, rel=2e-9)
    larger = Schedule([Stage(1, stage.learning_rate, 10**6) for stage in decay])
    assert grow_batch(larger, 10**8).stages[-1].batch_size == 1_000_001


def test_milestones_may_be_an_array():
    assert step_decay(0.1, 10, milestones=np.array([1, 2]), n_epochs=5, factor=2).n_epochs == 5


def test_exact_growth_stops_one_short_of_the_full_batch():
    schedule = Schedule([Stage(1, 1.0, 10), Stage(1, 1e-9, 10)])
    assert grow_batch(schedule, 100, rule="exact").stages[1].batch_size == 99
    assert grow_batch(schedule, 100).stages[1].batch_size == 100


def test_stages_are_normalised():
    stage = Stage(np.int64(3), np.float32(0.5), np.int32(7))
    assert [type(value) for value in (stage.n_epochs, stage.learning_rate, stage.batch_size)] == [int, float, int]
    assert Schedule([stage]).stages == (stage,)
    assert hash(Schedule([stage])) == hash(Schedule((stage,)))


def test_str_is_the_table():
    lines = str(grow_batch(paper(), N_CIFAR, max_batch_size=5120)).splitlines()
    assert lines[0].split() == ["epochs", "learning", "rate", "batch", "size"]
    assert lines[-1].split() == ["161-200", "0.032", "5120"]
    assert len({len(line) for line in lines}) == 1
    assert paper().table(N_CIFAR).splitlines()[1].split()[-2:] == ["38.96", "23400"]
    assert paper().table(N_CIFAR, 0.9).splitlines()[0] == "epochs   learning rate  batch size  noise scale  updates"
    assert paper().table(N_CIFAR, 0.9).splitlines()[1].split() == ["1-60", "0.1", "128", "389.6", "23400"]


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (
            lambda: step_decay("0.1", 10, milestones=(2,), n_epochs=5, factor=2),
            TypeError,
            "learning_rate must be a number, got '0.1' of type str",
        ),
        (lambda: Stage(0, 0.1, 10), ValueError, "n_epochs must be an integer, at least 1, got 0"),
        (lambda: Stage(1.5, 0.1, 10), TypeError, "n_epochs must be an integer, at least 1, got 1.5 of type float"),
        (lambda: Stage(True, 0.1, 10), TypeError, "n_epochs must be an integer, at least 1, got True of type bool"),
        (lambda: Stage(1, float("nan"), 10), ValueError, "learning_rate must be finite and above 0, got nan"),
        (lambda: Stage(1, 0.0, 10), ValueError, "learning_rate must be finite and above 0, got 0.0"),
        (lambda: Stage(1, 0.1, 0), ValueError, "batch_size must be an integer, at least 1, got 0"),
        (lambda: Stage(1, 0.1, 10.0), TypeError, "batch_size must be an integer, at least 1, got 10.0 of type float"),
        (lambda: Schedule([]), ValueError, "stages must hold at least one Stage, got none"),
        (lambda: Schedule([(1, 0.1, 10)]), TypeError, "stages must be a sequence of Stage, got [(1, 0.1, 10)]"),
        (lambda: paper().n_updates(100), ValueError, "batch_size must be an integer from 1 to n_train=100, got 128"),
        (lambda: paper().n_updates(True), TypeError, "n_train must be an integer, at least 1, got True of type bool"),
        (lambda: paper().n_updates(1000, drop_last=1), TypeError, "drop_last must be True or False, got 1 of type int"),
        (
            lambda: paper().noise_scale(1000, momentum=1.0),
            ValueError,
            "momentum must be finite and at least 0 and below 1, got 1.0",
        ),
        (lambda: paper().table(100), ValueError, "batch_size must be an integer from 1 to n_train=100, got 128"),
        (lambda: paper().stage_at(-1), ValueError, "epoch must be an integer from 0 to n_epochs - 1=199, got -1"),
        (
            lambda: step_decay(0.1, 10, milestones=(3, 3), n_epochs=5, factor=2),
            ValueError,
            "milestones must be an integer from 4 to n_epochs - 1=4, got 3; they must increase",
        ),
        (
            lambda: step_decay(0.1, 10, milestones=(5,), n_epochs=5, factor=2),
            ValueError,
            "milestones must be an integer from 1 to n_epochs - 1=4, got 5; they must increase",
        ),
        (
            lambda: step_decay(0.1, 10, milestones=(0,), n_epochs=5, factor=2),
            ValueError,
            "milestones must be an integer from 1 to n_epochs - 1=4, got 0; they must increase",
        ),
        (
            lambda: step_decay(0.1, 10, milestones=(2,), n_epochs=5, factor=1),
            ValueError,
            "factor must be finite and above 1, got 1; it divides the learning rate",
        ),
        (
            lambda: step_decay(0.1, 10, milestones=(2,), n_epochs=5, factor=float("inf")),
            ValueError,
            "factor must be finite and above 1, got inf; it divides the learning rate",
        ),
        (lambda: grow_batch(paper(), 100), ValueError, "batch_size must be an integer from 1 to n_train=100, got 128"),
        (
            lambda: grow_batch(paper(), 50_000, max_batch_size=64),
            ValueError,
            "max_batch_size must be an integer from 128 to n_train=50000, got 64",
        ),
        (
            lambda: grow_batch(paper(), 50_000, max_batch_size=60_000),
            ValueError,
            "max_batch_size must be an integer from 128 to n_train=50000, got 60000",
        ),
        (lambda: grow_batch(paper(), 50_000, n_drops=-1), ValueError, "n_drops must be an integer, at least 0, got -1"),
        (
            lambda: scale_up(paper(), 50_000, momentum=0.9),
            ValueError,
            "momentum and to_momentum must be given together, got 0.9 and None",
        ),
        (
            lambda: scale_up(paper(), 50_000, momentum=0.9, to_momentum=1.0),
            ValueError,
            "to_momentum must be finite and at least 0 and below 1, got 1.0",
        ),
        (
            lambda: scale_up(paper(), 50_000, to_momentum=0.9),
            ValueError,
            "momentum and to_momentum must be given together, got None and 0.9",
        ),
        (
            lambda: scale_up(paper(), 50_000, momentum=1.0, to_momentum=0.9),
            ValueError,
            "momentum must be finite and at least 0 and below 1, got 1.0",
        ),
        (
            lambda: scale_up(paper(), 50_000, max_batch_size=0),
            ValueError,
            "max_batch_size must be an integer from 1 to n_train=50000, got 0",
        ),
        (
            lambda: scale_up(paper(), 50_000, max_batch_size=50_001),
            ValueError,
            "max_batch_size must be an integer from 1 to n_train=50000, got 50001",
        ),
        (
            lambda: scale_up(paper(), 100, learning_rate=1),
            ValueError,
            "batch_size must be an integer from 1 to n_train=100, got 128",
        ),
        (
            lambda: scale_up(paper(), 50_000, learning_rate=float("nan")),
            ValueError,
            "learning_rate must be finite and above 0, got nan",
        ),
        (lambda: grow_batch("decay", 50_000), TypeError, "schedule must be a Schedule, got 'decay' of type str"),
        (lambda: scale_up(None, 50_000), TypeError, "schedule must be a Schedule, got None of type NoneType"),
        (
            lambda: grow_batch(Schedule([Stage(1, 0.1, 10)]), 10, rule="exact"),
            ValueError,
            "batch_size must be an integer from 1 to n_train - 1=9, got 10; the full batch has g = 0, which no learning rate keeps",
        ),
        (
            lambda: step_decay(0.1, 10, milestones={2}, n_epochs=5, factor=2),
            TypeError,
            "milestones must be a sequence of integers, got {2} of type set; for a single one write (60,)",
        ),
        (
            lambda: step_decay(0.1, 10, milestones=2, n_epochs=5, factor=2),
            TypeError,
            "milestones must be a sequence of integers, got 2 of type int; for a single one write (60,)",
        ),
        (
            lambda: step_decay(0.1, 10, milestones="2", n_epochs=5, factor=2),
            TypeError,
            "milestones must be a sequence of integers, got '2' of type str; for a single one write (60,)",
        ),
        (
            lambda: step_decay(0.1, 10, milestones=(1, 2), n_epochs=5, factor=1e200),
            ValueError,
            "learning_rate must be finite and above 0, got 0.0",
        ),
        (
            lambda: scale_up(paper(), 50_000, learning_rate=1e308),
            ValueError,
            "the result must be finite and above 0, got inf; it is a batch size, and the change is too large for floating point",
        ),
        (
            lambda: step_decay(-0.1, 10, milestones=(2,), n_epochs=5, factor=2),
            ValueError,
            "learning_rate must be finite and above 0, got -0.1",
        ),
        (
            lambda: step_decay(0.1, 10, milestones=(2,), n_epochs=0, factor=2),
            ValueError,
            "n_epochs must be an integer, at least 1, got 0",
        ),
        (
            lambda: step_decay(0.1, 0, milestones=(2,), n_epochs=5, factor=2),
            ValueError,
            "batch_size must be an integer, at least 1, got 0",
        ),
        (lambda: Schedule("ab"), TypeError, "stages must be a sequence of Stage, got 'ab'"),
        (lambda: Schedule(3), TypeError, "stages must be a sequence of Stage, got 3"),
        (lambda: scale_up(paper(), 50_000, learning_rate=-1), ValueError, "learning_rate must be finite and above 0, got -1"),
    ],
)
def test_bad_input_is_refused_by_name(call, error, message):
    with pytest.raises(error) as caught:
        call()
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("call", "message"),
    [
        pytest.param(
            lambda: Stage(2, np.longdouble("1e4000"), 5),
            "learning_rate must be finite and above 0, got 1e+4000",
            marks=pytest.mark.skipif(np.finfo(np.longdouble).maxexp == 1024, reason="a long double is a double here"),
        ),
        (
            lambda: Stage(10**30, 0.1, 5),
            "n_epochs must be an integer, at least 1, got 1000000000000000000000000000000; it must fit",
        ),
        (lambda: paper().n_updates(10**400), "n_train must be an integer, at least 1, got 1000"),
        (
            lambda: scale_up(Schedule([Stage(1, 1e300, 1)]), 10, learning_rate=1e-300),
            "the result must be finite and above 0",
        ),
        (
            lambda: scale_up(Schedule([Stage(1, 1e-300, 1)]), 10, learning_rate=1e300),
            "the result must be finite and above 0",
        ),
        (lambda: Schedule([Stage(1, 1e308, 1)]).noise_scale(1000), "the result must be finite, got inf"),
    ],
)
def test_what_floating_point_cannot_hold_is_refused(call, message):
    with pytest.raises(ValueError, match="^" + re.escape(message)):
        call()
