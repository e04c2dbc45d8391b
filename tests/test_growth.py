"""Any schedule into growth: what each rule keeps, how many updates are left, caps, multiples, restarts, and bad input."""

import json
import math
import re
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sgdnoise import (
    Schedule,
    Stage,
    cosine_decay,
    exponential_decay,
    grow_batch,
    linear_decay,
    scale_up,
    step_decay,
    warm_up,
    warmup_stable_decay,
)

N = 50_000
RULES = ("linear", "exact", "sqrt")
properties = settings(max_examples=150, deadline=None, derandomize=True)


def kept(rule, n_train=N):
    """What a rule keeps, written down once more: learning rate and batch size to one number."""
    return {
        "linear": lambda rate, batch: rate / batch,
        "exact": lambda rate, batch: rate * (n_train - batch) / batch,
        "sqrt": lambda rate, batch: rate / math.sqrt(batch),
    }[rule]


def levels(schedule, rule, n_train=N):
    return np.array([[kept(rule, n_train)(rate, stage.batch_size) for rate in stage.ends] for stage in schedule])


# Shapes.

SHAPES = {
    "cosine": (
        lambda n: cosine_decay(0.4, 32, n_epochs=n, final=0.04),
        lambda t: 0.04 + 0.36 * (1 + np.cos(np.pi * t)) / 2,
        0.22,
    ),
    "cosine to 0": (lambda n: cosine_decay(0.4, 32, n_epochs=n), lambda t: 0.4 * np.cos(np.pi * t / 2) ** 2, 0.2),
    "linear": (lambda n: linear_decay(0.4, 32, n_epochs=n, final=0.1), lambda t: 0.4 - 0.3 * t, 0.25),
    "exponential": (
        lambda n: exponential_decay(0.4, 32, n_epochs=n, final=0.004),
        lambda t: 0.4 * 100.0**-t,
        0.4 * 0.99 / math.log(100),
    ),
    "quarter of a cosine": (
        lambda n: Schedule.from_learning_rates(
            [0.4 * math.cos(math.pi * k / n / 2) for k in range(n)] + [0.0], 32, moving=True
        ),
        lambda t: 0.4 * np.cos(np.pi * t / 2),
        0.8 / math.pi,
    ),
}


@pytest.mark.parametrize("shape", SHAPES)
def test_a_shape_is_the_formula_where_epochs_meet_and_its_mean_rate_is_the_integral(shape):
    make, formula, mean = SHAPES[shape]
    schedule = make(200)
    edges = np.array([schedule.stages[0].ends[0]] + [stage.ends[1] for stage in schedule])
    np.testing.assert_allclose(edges, formula(np.arange(201) / 200), rtol=1e-12, atol=1e-16)
    for before, after in zip(schedule.stages, schedule.stages[1:], strict=False):
        assert before.ends[1] == after.ends[0]
    rates = np.concatenate([stage.learning_rates(7 * stage.n_epochs) for stage in schedule])
    assert rates.mean() == pytest.approx(mean, rel=1e-4)
    assert schedule.n_epochs == 200
    assert {stage.batch_size for stage in schedule} == {32}
    assert make(1).stages[0].ends == pytest.approx(formula(np.array([0.0, 1.0])), abs=1e-16)


def test_warm_up_stable_decay_has_three_parts():
    schedule = warmup_stable_decay(0.3, 16, n_epochs=20, n_warm_up=4, n_decay=3, final=0.03)
    at = [schedule.stage_at(epoch) for epoch in (0, 3, 4, 16, 17, 19)]
    assert [stage.ends for stage in at[:4]] == [(0.0, 0.3), (0.0, 0.3), (0.3, 0.3), (0.3, 0.3)]
    assert at[4].ends == pytest.approx((0.3, 0.21))
    assert at[5].ends == pytest.approx((0.12, 0.03))
    for n_warm_up, n_decay in ((0, 20), (20, 0), (0, 0), (12, 8)):
        assert warmup_stable_decay(0.3, 16, n_epochs=20, n_warm_up=n_warm_up, n_decay=n_decay).n_epochs == 20


def test_a_warm_up_rises_linearly_by_update_to_the_rate_that_follows():
    """As in arXiv:1706.02677: a constant amount for each update, over five epochs, and then the schedule as it was."""
    plain = step_decay(0.5, 640, milestones=(60, 120), n_epochs=150, factor=5)
    warmed = warm_up(plain, 5, start=0.1)
    per_epoch = N // 640
    rates = warmed.stages[0].learning_rates(5 * per_epoch)
    np.testing.assert_allclose(np.diff(rates), 0.4 / (5 * per_epoch), rtol=1e-9)
    assert rates[0] == pytest.approx(0.1 + 0.2 / (5 * per_epoch))
    assert rates[-1] == pytest.approx(0.5 - 0.2 / (5 * per_epoch))
    assert warmed.part(5, 150) == plain.part(5, 150)
    assert warmed.n_epochs == 150


def test_a_warm_up_of_a_rate_that_moves_or_of_several_batches_rises_to_what_comes_next():
    cosine = cosine_decay(0.4, 32, n_epochs=20)
    warmed = warm_up(cosine, 4)
    top = cosine.stages[4].ends[0]
    np.testing.assert_allclose(
        [stage.ends for stage in warmed.stages[:4]], [[k * top / 4, (k + 1) * top / 4] for k in range(4)]
    )
    assert warmed.stages[4:] == cosine.stages[4:]
    grown = warm_up(Schedule([Stage(2, 0.2, 10), Stage(4, 0.2, 40)]), 3)
    assert [(s.n_epochs, s.batch_size) for s in grown] == [(2, 10), (1, 40), (3, 40)]
    np.testing.assert_allclose([s.ends for s in grown], [(0, 0.4 / 3), (0.4 / 3, 0.2), (0.2, 0.2)])
    whole = warm_up(Schedule([Stage(3, 0.2, 10)]), 3)
    assert whole.stages == (Stage(3, 0.0, 10, 0.2),)


# A rate that moves.


def test_the_rates_of_a_stage_are_the_middles_of_its_updates():
    rates = Stage(2, 0.1, 10, 0.5).learning_rates(8)
    exact = [Fraction(1, 10) + Fraction(4, 10) * Fraction(2 * t + 1, 16) for t in range(8)]
    np.testing.assert_allclose(rates, [float(rate) for rate in exact], rtol=1e-15)
    assert rates.mean() == pytest.approx(0.3)
    np.testing.assert_array_equal(Stage(2, 0.1, 10).learning_rates(3), [0.1] * 3)
    np.testing.assert_array_equal(Stage(2, 0.1, 10, 0.5).learning_rates(8, 3, 6), rates[3:6])
    np.testing.assert_allclose([*Stage(1, 0.1, 10, 0.3).learning_rates(4), *Stage(1, 0.3, 10, 0.5).learning_rates(4)], rates)


def test_a_rate_that_does_not_move_is_constant():
    assert Stage(2, 0.1, 10, 0.1) == Stage(2, 0.1, 10)
    assert Stage(2, 0.1, 10, 0.1).final_learning_rate is None
    assert repr(Stage(2, 0.1, 10)) == "Stage(n_epochs=2, learning_rate=0.1, batch_size=10)"
    assert eval(repr(Stage(2, 0, 10, np.float32(0.5)))) == Stage(2, 0.0, 10, 0.5)


def test_the_noise_scale_and_the_table_show_both_ends():
    schedule = Schedule([Stage(2, 0, 100, 0.2), Stage(1, 0.2, 100), Stage(1, 0.2, 400, 0.0)])
    np.testing.assert_allclose(schedule.noise_scale(1000, 0.5), [0, 0.4 * 9, 0.4 * 1.5])
    np.testing.assert_allclose(schedule.noise_scale(1000, 0.5, at="end"), [0.4 * 9, 0.4 * 9, 0])
    lines = schedule.table(1000).splitlines()
    assert lines[1].split() == ["1-2", "0", "to", "0.2", "100", "0", "to", "1.8", "20"]
    assert lines[3].split() == ["4-4", "0.2", "to", "0", "400", "0.3", "to", "0", "2"]
    assert [line.split()[0] for line in schedule.table(1000, by="examples").splitlines()] == [
        "examples", "1-2000", "2001-3000", "3001-4000",
    ]  # fmt: skip
    long = cosine_decay(0.1, 10, n_epochs=100)
    assert [line.split()[0] for line in long.table(max_rows=4).splitlines()] == [
        "epochs",
        "1-1",
        "2-2",
        "...",
        "99-99",
        "100-100",
    ]
    assert len(long.table(max_rows=100).splitlines()) == 101


def test_a_part_of_a_schedule_has_its_rates():
    schedule = Schedule([Stage(4, 0, 10, 0.4), Stage(3, 0.4, 10), Stage(2, 0.4, 20, 0.1)])
    by_epoch = [tuple(stage.learning_rates(6 * stage.n_epochs).reshape(-1, 6).tolist()) for stage in schedule]
    flat = np.array([rates for stage in by_epoch for rates in stage])
    for start in range(9):
        for stop in range(start + 1, 10):
            part = schedule.part(start, stop)
            assert part.n_epochs == stop - start
            rates = np.concatenate([stage.learning_rates(6 * stage.n_epochs) for stage in part]).reshape(-1, 6)
            np.testing.assert_allclose(rates, flat[start:stop], rtol=1e-12)
            assert [part.stage_at(i).batch_size for i in range(stop - start)] == [
                schedule.stage_at(i).batch_size for i in range(start, stop)
            ]


# Growth.


@pytest.mark.parametrize(
    ("shape", "left"), [("cosine to 0", 0.5), ("quarter of a cosine", 2 / math.pi), ("linear", 0.25 / 0.4), ("cosine", 0.55)]
)
def test_growth_leaves_the_mean_rate_over_the_largest_of_the_updates(shape, left):
    """From a batch of 5120 and over 2000 epochs, where neither rounding nor the length of an epoch counts."""
    n_train, schedule = 10**8, scale_up(SHAPES[shape][0](2000), 10**8, learning_rate=0.4 * 160)
    assert schedule.stages[0].batch_size == 5120
    counts = [each.n_updates(n_train, drop_last=None) for each in (grow_batch(schedule, n_train), schedule)]
    assert counts[0] / counts[1] == pytest.approx(left, rel=1e-3)


def test_what_rounding_down_and_whole_epochs_cost():
    """Of a half cosine over 200 epochs from B = 32, N = 50000: each epoch has the whole part of the batch of its start."""
    ratio = [(1 + math.cos(math.pi * k / 200)) / 2 for k in range(200)]
    batches = [min(N, math.floor(32 / r * (1 + 1e-9))) for r in ratio]
    schedule = cosine_decay(0.1, 32, n_epochs=200)
    grown = grow_batch(schedule, N)
    assert [stage.batch_size for stage in grown] == batches
    assert grown.n_updates(N, None) / schedule.n_updates(N, None) == pytest.approx(0.5077, abs=5e-5)
    assert max(rate for stage in grown for rate in stage.ends) <= 0.1


def test_by_the_square_root_rule_the_batch_follows_the_square_of_the_rate():
    halved = grow_batch(step_decay(0.001, 32, milestones=(1, 2, 3), n_epochs=4, factor=2), N, rule="sqrt")
    assert [(stage.batch_size, stage.learning_rate) for stage in halved] == [
        (32, 0.001),
        (128, 0.001),
        (512, 0.001),
        (2048, 0.001),
    ]
    schedule = cosine_decay(0.001, 32, n_epochs=50, final=0.0001)
    for before, after in zip(schedule, grow_batch(schedule, N, rule="sqrt"), strict=True):
        assert after.batch_size == math.floor(32 * (0.001 / before.ends[0]) ** 2 * (1 + 1e-9))


def restarts(n):
    """Cosines that begin anew: the third one lower than the first."""
    stages = [*cosine_decay(0.4, 32, n_epochs=n), *cosine_decay(0.4, 32, n_epochs=n), *cosine_decay(0.1, 32, n_epochs=n)]
    return Schedule(stages)


MADE = {
    "steps": step_decay(0.3, 24, milestones=(2, 5), n_epochs=9, factor=7),
    "cosine": cosine_decay(0.4, 24, n_epochs=9),
    "cosine with a warm-up": warm_up(cosine_decay(0.4, 24, n_epochs=9), 3),
    "exponential": exponential_decay(0.4, 24, n_epochs=9, final=1e-4),
    "warm-up, stable, decay": warmup_stable_decay(0.4, 24, n_epochs=9, n_warm_up=2, n_decay=4),
    "restarts": restarts(5),
    "other batches": Schedule(
        [Stage(1, 0.4, 24), Stage(1, 0.4, 48, 0.1), Stage(2, 0.8, 24), Stage(1, 0.1, 96), Stage(1, 0, 48, 2)]
    ),
}
any_stage = st.builds(
    lambda n, rate, batch, final: Stage(n, rate, batch, final),
    st.integers(1, 5), st.floats(1e-4, 10), st.integers(24, 40) | st.integers(24, 300), st.none() | st.just(0.0) | st.floats(1e-4, 10),
)  # fmt: skip
any_schedule = st.sampled_from(list(MADE.values())) | st.lists(any_stage, min_size=1, max_size=6).map(Schedule)


@properties
@given(
    schedule=any_schedule,
    rule=st.sampled_from(RULES),
    cap=st.none() | st.integers(300, 5000),
    n_drops=st.none() | st.integers(0, 4),
    multiple_of=st.sampled_from([1, 1, 2, 8, 24]),
)
def test_growth_keeps_what_its_rule_keeps_at_both_ends_of_every_stage(schedule, rule, cap, n_drops, multiple_of):
    if schedule.stages[0].batch_size % multiple_of:
        schedule = Schedule([replace(schedule.stages[0], batch_size=48), *schedule.stages[1:]])
    options = {"max_batch_size": cap, "n_drops": n_drops, "rule": rule, "multiple_of": multiple_of}
    grown = grow_batch(schedule, N, **options)
    assert [stage.n_epochs for stage in grown] == [stage.n_epochs for stage in schedule]
    np.testing.assert_allclose(levels(grown, rule), levels(schedule, rule), rtol=1e-9, atol=0)
    assert same(grow_batch(grown, N, **options), grown)

    sizes = np.array([stage.batch_size for stage in grown])
    assert sizes.max() <= (cap or N)
    assert not np.any(sizes % multiple_of)
    assert sizes.min() >= min(stage.batch_size for stage in schedule) // multiple_of * multiple_of
    top = [max(rate for stage in each for rate in stage.ends) for each in (grown, schedule)]
    assert top[0] <= top[1] * (1 + 2e-10)
    peaks = levels(schedule, rule).max(axis=1)
    falls = np.diff(peaks) < 0
    assert np.all(np.diff(sizes)[falls] >= 0)
    growths = np.count_nonzero(np.diff(sizes) > 0)
    assert n_drops is None or growths <= n_drops


def same(one, other):
    """Whether two schedules are the same up to rounding."""
    return all(
        a.batch_size == b.batch_size and a.n_epochs == b.n_epochs and a.ends == pytest.approx(b.ends, rel=1e-9)
        for a, b in zip(one, other, strict=True)
    )


def test_where_the_noise_rises_again_the_batch_shrinks_first():
    def grown(*rates, **options):
        schedule = Schedule([Stage(1, rate, 10) for rate in rates])
        return [(round(stage.learning_rate, 12), stage.batch_size) for stage in grow_batch(schedule, 1000, **options)]

    assert grown(0.1, 0.05, 0.1) == [(0.1, 10), (0.1, 20), (0.1, 10)]
    assert grown(0.1, 0.02, 0.05) == [(0.1, 10), (0.1, 50), (0.1, 20)]
    assert grown(0.1, 0.2, 0.05) == [(0.1, 10), (0.2, 10), (0.2, 40)]  # never below where it began
    # A cap has lowered the rate to .04: the batch shrinks at that rate, and from 10 on the rate rises.
    assert grown(0.1, 0.01, 0.02, 0.1, max_batch_size=40) == [(0.1, 10), (0.04, 40), (0.04, 20), (0.1, 10)]
    assert grown(0.1, 0.05, 0.025, 0.1, n_drops=1) == [(0.1, 10), (0.1, 20), (0.05, 20), (0.1, 10)]


def test_a_partial_rise_after_a_drop_that_was_kept():
    """The batch shrinks at the rate that the kept drops have left: .05 at 20, .03 at 12, and from 10 on it rises."""
    schedule = Schedule([Stage(1, rate, 10) for rate in (0.1, 0.05, 0.025, 0.04, 0.1)])
    grown = [(round(stage.learning_rate, 12), stage.batch_size) for stage in grow_batch(schedule, 1000, n_drops=1)]
    assert grown == [(0.1, 10), (0.1, 20), (0.05, 20), (0.048, 12), (0.1, 10)]


@pytest.mark.parametrize(
    ("stages", "multiple_of"),
    [
        ([Stage(1, 1 / 30, 27), Stage(3, 0.0238883, 10), Stage(1, 0.1, 38), Stage(1, 0.05, 25)], 1),
        ([Stage(2, 2.344e-6, 28), Stage(2, 0.2, 12), Stage(3, 0.2, 29)], 7),
    ],
)
def test_a_batch_that_shrinks_is_rounded_before_it_is_carried(stages, multiple_of):
    once = grow_batch(Schedule(stages), multiple_of=multiple_of)
    assert same(grow_batch(once, multiple_of=multiple_of), once)


def test_what_needs_no_change_keeps_every_digit():
    schedule = Schedule([Stage(3, 0.2, 906), Stage(2, 0.2, 424), Stage(1, 0.1, 424, 0.05)])
    for rule in RULES:
        assert grow_batch(schedule, 1000, rule=rule).stages[:2] == schedule.stages[:2]
    assert grow_batch(cosine_decay(0.3, 7, n_epochs=9), N).stages[0] == cosine_decay(0.3, 7, n_epochs=9).stages[0]


def test_exact_growth_ends_one_short_of_all_examples_however_far_the_rate_falls():
    schedule = Schedule([Stage(1, 1e300, 1), Stage(1, 1e-300, 1)])
    assert [stage.batch_size for stage in grow_batch(schedule, 100, rule="exact")] == [1, 99]
    assert [stage.batch_size for stage in grow_batch(schedule, 100)] == [1, 100]
    assert [stage.batch_size for stage in grow_batch(schedule, 100, rule="sqrt")] == [1, 100]


def test_a_large_rate_after_a_warm_up_is_the_largest_one():
    warmed = warm_up(cosine_decay(0.1, 8, n_epochs=10), 5)
    scaled = scale_up(warmed, 1000, learning_rate=0.5)
    assert max(rate for stage in scaled for rate in stage.ends) == pytest.approx(0.5)


def test_an_exponential_of_many_decades():
    schedule = exponential_decay(1e20, 8, n_epochs=4, final=1e-308)
    assert [math.log10(stage.ends[1]) for stage in schedule] == pytest.approx([-62, -144, -226, -308])
    assert {stage.ends for stage in exponential_decay(0.1, 8, n_epochs=3, final=0.1)} == {(0.1, 0.1)}


def test_a_warm_up_is_left_as_it_is():
    schedule = warm_up(step_decay(0.4, 32, milestones=(5, 8), n_epochs=10, factor=4), 2)
    grown = grow_batch(schedule, N)
    assert grown.stages[0] == Stage(2, 0.0, 32, 0.4)
    assert [(stage.batch_size, stage.learning_rate) for stage in grown.stages[1:]] == [(32, 0.4), (128, 0.4), (512, 0.4)]


def test_multiples_are_rounded_down_and_the_rate_takes_the_rest():
    grown = grow_batch(step_decay(0.1, 64, milestones=(1, 2, 3), n_epochs=4, factor=1.7), N, multiple_of=32)
    exact = [64 * 1.7**k for k in range(4)]  # 64, 108.8, 184.96, 314.4
    assert [stage.batch_size for stage in grown] == [64, 96, 160, 288]
    np.testing.assert_allclose(
        [s.learning_rate for s in grown], [0.1 * s.batch_size / b for s, b in zip(grown, exact, strict=True)]
    )


def test_without_n_the_linear_and_the_square_root_rule_need_no_more():
    schedule = step_decay(0.1, 128, milestones=(1, 2), n_epochs=3, factor=1000)
    assert [stage.batch_size for stage in grow_batch(schedule)] == [128, 128_000, 128_000_000]
    assert [stage.batch_size for stage in grow_batch(schedule, max_batch_size=1000)] == [128, 1000, 1000]
    assert [stage.batch_size for stage in grow_batch(schedule, rule="sqrt")] == [128, 128 * 10**6, 128 * 10**12]
    assert grow_batch(schedule, 10**9) == grow_batch(schedule)


# JSON.


@properties
@given(schedule=any_schedule)
def test_json_there_and_back(schedule):
    assert Schedule.from_json(schedule.to_json()) == schedule
    with_noise = json.loads(schedule.to_json())
    for entry in with_noise["stages"]:
        entry |= {"noise_scale": 1.0, "final_noise_scale": 0.5}
    assert Schedule.from_json(json.dumps({"growing": with_noise, "decaying": 3})) == schedule


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "text must be JSON, got "),
        ("[" * 100_000, "text must be JSON, got "),
        ("[]", 'text must be an object with "stages", a list of objects with batch_size, learning_rate, n_epochs, got '),
        ('{"stages": 3}', 'text must be an object with "stages"'),
        ('{"stages": [[1, 0.1, 3]]}', 'text must be an object with "stages"'),
        ('{"stages": [{"n_epochs": 1, "batch_size": 3}]}', 'text must be an object with "stages"'),
        ('{"stages": [{"n_epochs": 1, "batch_size": 3, "learning_rate": 1, "final_rate": 2}]}', "text must have stages of .*'final_rate'"),
        ('{"stages": []}', "stages must hold at least one Stage"),
        ('{"stages": [{"n_epochs": 0, "batch_size": 3, "learning_rate": 1}]}', "n_epochs must be an integer, at least 1, got 0"),
        ('{"stages": [{"n_epochs": 1, "batch_size": 3, "learning_rate": NaN}]}', "learning_rate must be finite and above 0, got nan"),
    ],
)  # fmt: skip
def test_what_is_no_schedule_in_json_is_refused(text, message):
    with pytest.raises(ValueError, match="^" + message):
        Schedule.from_json(text)


def test_a_schedule_by_examples():
    schedule = Schedule([Stage(2, 0, 32, 0.1), Stage(3, 0.1, 160)])
    assert schedule.by_examples(1000) == [(0, 0.0, 0.1, 32), (2000, 0.1, 0.1, 160)]


def test_a_schedule_from_an_array_of_rates():
    rates = np.array([0.1, 0.2, 0.05])
    assert [stage.ends for stage in Schedule.from_learning_rates(rates, 8)] == [(0.1, 0.1), (0.2, 0.2), (0.05, 0.05)]
    assert [stage.ends for stage in Schedule.from_learning_rates(rates, 8, moving=True)] == [(0.1, 0.2), (0.2, 0.05)]
    assert json.loads(Schedule.from_learning_rates([1, 2], 8).to_json())["stages"][1]["learning_rate"] == 2.0


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: Stage(1, 0, 10, 0), ValueError, "final_learning_rate must be above 0 where learning_rate is 0, got 0"),
        (lambda: Stage(1, 0.1, 10, -0.1), ValueError, "final_learning_rate must be finite and at least 0, got -0.1"),
        (lambda: Stage(1, -0.1, 10, 0.1), ValueError, "learning_rate must be finite and at least 0, got -0.1"),
        (lambda: Stage(1, 0.1, 10, "0"), TypeError, "final_learning_rate must be a number, got '0' of type str"),
        (lambda: Stage(1, 0.1, 10).learning_rates(0), ValueError, "n_updates must be an integer, at least 1, got 0"),
        (lambda: Stage(1, 0.1, 10).learning_rates(5, 4, 3), ValueError, "start must be an integer from 0 to stop=3, got 4"),
        (lambda: cosine_decay(0.1, 8, n_epochs=3, final=0.2), ValueError, "final must be finite and at least 0 and at most learning_rate=0.1, got 0.2"),
        (lambda: linear_decay(0, 8, n_epochs=3), ValueError, "learning_rate must be finite and above 0, got 0"),
        (lambda: exponential_decay(0.1, 8, n_epochs=3, final=0), ValueError, "final must be finite and above 0 and at most learning_rate=0.1, got 0"),
        (lambda: warmup_stable_decay(0.1, 8, n_epochs=3, n_warm_up=2, n_decay=2), ValueError, "n_decay must be an integer from 0 to n_epochs - n_warm_up=1, got 2"),
        (lambda: warm_up(MADE["steps"], 10), ValueError, "n_epochs must be an integer from 1 to schedule.n_epochs=9, got 10"),
        (lambda: warm_up(MADE["steps"], 2, start=0.4), ValueError, "start must be finite and at least 0 and at most the rate that it rises to=0.0428"),
        (lambda: warm_up(0.1, 2), TypeError, "schedule must be a Schedule, got 0.1 of type float"),
        (lambda: grow_batch(MADE["steps"], rule="exact"), ValueError, 'n_train must be given where rule is "exact", got None'),
        (lambda: grow_batch(MADE["steps"], N, rule="g"), ValueError, "rule must be one of 'linear', 'exact', 'sqrt', got 'g'"),
        (lambda: grow_batch(MADE["steps"], N, multiple_of=5), ValueError, "multiple_of must divide the schedule's first batch size, 24, got 5"),
        (lambda: grow_batch(MADE["steps"], N, multiple_of=48), ValueError, "multiple_of must be an integer from 1 to the smallest batch size=24, got 48"),
        (lambda: grow_batch(Schedule([Stage(1, 1e300, 1), Stage(1, 1e-300, 1)])), ValueError, "the batch size must fit into 64 bits, got inf from schedule; give max_batch_size"),
        (lambda: grow_batch(Schedule([Stage(1, 1.0, 1), Stage(1, 1e-30, 1)])), ValueError, "the batch size must fit into 64 bits, got 1e+30 from schedule"),
        (lambda: warm_up(linear_decay(0.1, 8, n_epochs=3), 3), ValueError, "n_epochs must end where the schedule has a learning rate above 0 to rise to, got 3"),
        (lambda: MADE["steps"].part(3, 3), ValueError, "start must be an integer from 0 to stop - 1=2, got 3"),
        (lambda: MADE["steps"].part(3, 10), ValueError, "stop must be an integer from 1 to n_epochs=9, got 10"),
        (lambda: MADE["steps"].noise_scale(N, at="middle"), ValueError, "at must be one of 'start', 'end', got 'middle'"),
        (lambda: MADE["steps"].table(by="examples"), ValueError, 'n_train must be given where by is "examples", got None'),
        (lambda: MADE["steps"].table(N, max_rows=1), ValueError, "max_rows must be an integer, at least 2, got 1"),
        (lambda: Schedule.from_json(3), TypeError, "text must be a string of JSON, got 3 of type int"),
        (lambda: Schedule.from_learning_rates([0.1], 8, moving=True), ValueError, "learning_rates must be at least two where they move, got 1"),
        (lambda: Schedule.from_learning_rates([0.1, 0], 8), ValueError, "learning_rate must be finite and above 0, got 0"),
        (lambda: Schedule.from_learning_rates(0.1, 8), TypeError, "learning_rates must be a sequence of numbers, got 0.1 of type float"),
    ],
)  # fmt: skip
def test_bad_input_is_refused_by_name(call, error, message):
    with pytest.raises(error, match="^" + re.escape(message)):
        call()


@pytest.mark.parametrize("factor", [3, 7, 1.7, 10, 49])
def test_the_rate_that_growth_holds_keeps_every_digit(factor):
    grown = grow_batch(step_decay(0.1, 1000, milestones=(1, 2, 3), n_epochs=4, factor=factor), 10**9)
    whole = [stage for k, stage in enumerate(grown) if math.isclose(1000 * factor**k, round(1000 * factor**k))]
    assert len(whole) >= 3
    assert {stage.learning_rate for stage in whole} == {0.1}


def test_a_batch_never_grows_where_the_noise_rises():
    schedule = Schedule([Stage(1, 0.1, 25), Stage(1, 0.2, 24), Stage(1, 0.4, 25)])
    assert [stage.batch_size for stage in grow_batch(schedule, N)] == [25, 24, 24]
