"""Figure `stability`: its bounds, and what its statistics say on rates and batches that are known."""

import math

import numpy as np
import pytest
from driving import drive, first_tasks, round_trip

from sgdnoise import noise_scale
from sgdnoise.reproduce import SCALES
from sgdnoise.reproduce.figures import stability
from sgdnoise.reproduce.tasks.few_images import StabilityTask

pytestmark = pytest.mark.usefixtures("few_resamples")

EPOCHS, MOMENTA, G = (0, 1, 5, 40), (0.0, 0.5, 0.9), (0.5, 1.0, 2.0, 4.0)
CURVATURES = (20.0, 12.0, 9.0, 7.0)


def one(*_):
    return 1.0


def untrained_is_larger(epoch, _):
    return 8.0 if epoch == 0 else 1.0


def other(seed):
    """Factors by seed of geometric mean 1, and of arithmetic mean 1.018 over eight seeds."""
    return 1.21 if seed % 2 else 1 / 1.21


def made(rate=untrained_is_larger, odds=one, seeds=other, batch_by_seed=one, scale="default"):
    """The figure on the limits by the curvature, times factors by epoch and m or g: of the rate, and of B/(N - B)."""

    def answer(tasks):
        results = []
        for task in tasks:
            h = [curvature * seeds(task.seed) for curvature, _ in zip(CURVATURES, task.checkpoints, strict=False)]
            at = list(zip(task.checkpoints, h, strict=True))
            rates = [[2 * (1 + m) / c * rate(epoch, m) * seeds(task.seed + 1) for m in task.momenta] for epoch, c in at]
            limits = [
                [3.8 / c / (0.1 * g) * odds(epoch, g) * seeds(task.seed + 1) for g in task.noise_scales] for epoch, c in at
            ]
            batches = 1000 * np.array(limits) / (1 + np.array(limits)) * batch_by_seed(task.seed)
            results.append({"curvature": np.array(h), "rate": np.array(rates), "batch": batches})
        return results

    return drive(stability, SCALES[scale], answer)


def failing(verdicts):
    return {key for key, verdict in verdicts.items() if not verdict.holds}


def geometric(values):
    return math.exp(sum(math.log(value) for value in values) / len(values))


def test_the_tasks():
    tasks = first_tasks(stability, SCALES["default"])
    assert tasks == [StabilityTask(seed, EPOCHS, MOMENTA, G, n_updates=40) for seed in range(8)]
    assert first_tasks(stability, SCALES["quick"]) == [StabilityTask(0, EPOCHS[:3], (0.0, 0.9), (0.5, 4.0), n_updates=10)]


def test_the_result():
    result, _ = made()
    assert vars(result.path) == {"n_train": 1000, "learning_rate": 0.02, "batch_size": 50, "momentum": 0.9, "tolerance": 0.2}
    assert (result.seeds, result.checkpoints, result.momenta, result.noise_scales) == (range(8), EPOCHS, MOMENTA, G)
    assert result.curvature[1] == pytest.approx(np.array(CURVATURES) * 1.21)
    assert result.rate.shape == (8, 4, 3)
    assert result.batch.shape == (8, 4, 4)
    assert result.odds == pytest.approx(result.batch / (1000 - result.batch))


def test_bounds_by_the_curvature():
    result, _ = made()
    for s, c in np.ndindex(8, 4):
        h = CURVATURES[c] * other(s)
        assert result.rate_bound[s, c] == pytest.approx([2 / h, 3 / h, 3.8 / h])
        odds = result.odds_bound[s, c]
        assert odds == pytest.approx([38 / h / g for g in G])
        b = stability.batch_of(odds, 1000)
        # at the largest batch exact g makes the learning rate reach its limit
        assert [noise_scale(3.8 / h, size, 1000, momentum=0.9) for size in b] == pytest.approx(G)
    assert stability.batch_of(np.array([0.25, 1.0]), 1000) == pytest.approx([200, 500])


def test_verdicts_on_the_limits():
    _, verdicts = made()
    assert list(verdicts) == ["late in training", "early in training", "untrained", "largest batch", "growth"]
    assert failing(verdicts) == set()
    for verdict in verdicts.values():
        assert verdict.control_flagged, str(verdict)
        assert verdict.interval[0] < verdict.interval[1], str(verdict)
    for key in ("late in training", "early in training"):
        assert verdicts[key].value == pytest.approx(1)
        assert verdicts[key].control.value == pytest.approx(1.9)  # 1 + m
    assert verdicts["untrained"].value == pytest.approx(8)
    assert verdicts["untrained"].control.value == pytest.approx(1)
    assert verdicts["largest batch"].value == pytest.approx(1)
    assert verdicts["largest batch"].control.value == pytest.approx(8)  # the ratio of the noise scales
    assert verdicts["largest batch"].word == "HOLDS WITHIN epochs 5 to 40, g <= 4"
    # the limits are in proportion to the odds 38/(7 g): by seeds' factors 1.21 both ways, of curvature and of the rest
    x = [38 / 7 * other(s + 1) / other(s) for s in range(8)]
    small, large = ([odds / g / (1 + odds / g) for odds in x] for g in (0.5, 4.0))
    assert verdicts["growth"].value == pytest.approx(geometric(small) / geometric(large))
    assert verdicts["growth"].control.value == pytest.approx(small[0] / geometric(small[1:]))
    assert verdicts["growth"].value == pytest.approx(1.59, abs=0.03)


@pytest.mark.parametrize(("epoch", "key"), [(40, "late in training"), (1, "early in training")])
@pytest.mark.parametrize(
    ("factors", "value", "control"),
    [
        ((1.6, 1.0, 1.0), 1.6, 1.9),
        ((1.0, 1.0, 1 / 1.6), 1.6, 1.5),  # were the limit 2/h at every momentum, it would be off by 1, 1.5 and 1.9/1.6
        ((0.4, 1.2, 1.3), 2.5, 2.5),
        ((1.1, 1.2, 1.3), 1.3, 2.47),
        ((1.0, 1 / 1.5, 1 / 1.9), 1.9, 1.0),  # momentum made no difference
    ],
)
def test_factor_between_rates_and_their_limit(epoch, key, factors, value, control):
    by_momentum = dict(zip(MOMENTA, factors, strict=True))
    _, verdicts = made(rate=lambda at, m: by_momentum[m] if at == epoch else untrained_is_larger(at, m))
    assert verdicts[key].value == pytest.approx(value)
    assert verdicts[key].control.value == pytest.approx(control)
    assert failing(verdicts) == ({key} if value > 1.5 else set())
    other_key = {"late in training": "early in training", "early in training": "late in training"}[key]
    assert verdicts[other_key].value == pytest.approx(1)
    assert verdicts["untrained"].control.value == pytest.approx(min(factors) if epoch == 40 else 1)


def test_an_untrained_network_that_takes_no_larger_rates_fails_its_claim():
    _, verdicts = made(rate=lambda epoch, m: {0.0: 3.0, 0.5: 1.4, 0.9: 9.0}[m] if epoch == 0 else 1.0)
    assert verdicts["untrained"].value == pytest.approx(1.4)
    assert failing(verdicts) == {"untrained"}


@pytest.mark.parametrize(
    ("off", "value", "control"),
    [
        ({(40, 4.0): 1.3}, 1.3, 8.0),  # at epoch 5 it is still 8
        ({(5, 2.0): 1 / 1.6}, 1.6, 8.0),
        ({(5, 4.0): 0.7, (40, 4.0): 0.6}, 1 / 0.6, 8 / 0.6),
        ({(1, 4.0): 50.0, (0, 0.5): 0.01}, 1.0, 8.0),  # epochs that do not count
        ({(e, g): g / 0.5 for e in (5, 40) for g in G}, 8.0, 1.0),  # one largest batch for all g
    ],
)
def test_factor_between_batches_and_their_limit(off, value, control):
    _, verdicts = made(odds=lambda epoch, g: off.get((epoch, g), 1.0))
    assert verdicts["largest batch"].value == pytest.approx(value)
    assert verdicts["largest batch"].control.value == pytest.approx(control)
    assert verdicts["largest batch"].holds == (value <= 1.5)
    if control == 1.0:
        assert verdicts["growth"].value == pytest.approx(1)


def test_growth_of_batches_is_that_in_the_end_between_the_smallest_g_and_the_largest():
    """B/(N - B) made 1 at g = .5 and 1/9 at g = 4 after 40 epochs, so that B is 500 and 100."""
    limit = 38 / 7
    wanted = {(40, 0.5): 0.5 / limit, (40, 4.0): 4 / limit / 9}
    _, verdicts = made(odds=lambda epoch, g: wanted.get((epoch, g), 1.0), seeds=one)
    assert verdicts["growth"].value == pytest.approx(5)
    assert verdicts["growth"].control.value == pytest.approx(1)


def test_the_control_of_growing_batches_is_measured():
    """Seeds that differ by more than the threshold at one noise scale are no evidence of its effect."""
    _, verdicts = made(seeds=one, batch_by_seed=lambda seed: 1.0 if seed == 0 else 1 / 1.7)
    assert verdicts["growth"].control.value == pytest.approx(1.7)
    assert not verdicts["growth"].control_flagged


def test_one_seed_has_no_others():
    _, verdicts = made(scale="quick")
    assert verdicts["growth"].control.value == pytest.approx(1)
    assert all(verdict.interval is None for verdict in verdicts.values())
    assert verdicts["largest batch"].scope == "epochs 1 to 5, g <= 4"


def test_rows():
    result, verdicts = made()
    header, *lines = stability.rows(round_trip(stability, result, verdicts)[0])
    assert header == ["seed", "epoch", "curvature", "limit_of", "momentum", "noise_scale", "predicted", "measured"]
    assert len(lines) == 8 * 4 * (3 + 4)
    h = 12 * 1.21  # of seed 1 after an epoch, whose limits are times 1/1.21
    at = (4 + 1) * 7
    assert lines[at + 2][:2] + lines[at + 2][3:6] == [1, 1, "learning rate", 0.9, ""]
    assert [lines[at + 2][i] for i in (2, 6, 7)] == pytest.approx([h, 3.8 / h, 3.8 / h / 1.21])
    assert lines[at + 4][:2] + lines[at + 4][3:6] == [1, 1, "batch size", 0.9, 1.0]
    b = [1000 * odds / (1 + odds) for odds in (38 / h, 38 / h / 1.21)]
    assert [lines[at + 4][i] for i in (2, 6, 7)] == pytest.approx([h, *b])


def test_plot():
    result, verdicts = made()
    figure = stability.plot(*round_trip(stability, result, verdicts))
    figure.draw_without_rendering()
    rates, batches = figure.axes
    bar = 2 * math.log(1.21) / 7**0.5  # one standard error of logarithms that are off by 2 log(1.21) either way
    for i, m in enumerate(MOMENTA):
        limits = [2 * (1 + m) / h for h in CURVATURES]
        drawn = [line for line in rates.lines if len(line.get_xdata()) == 4 and line.get_linestyle() == "-"][i]
        assert drawn.get_ydata() == pytest.approx(limits)
        points = rates.containers[i].lines[0]
        assert points.get_xdata() == pytest.approx(np.arange(4) + 0.05 * (i - 1))
        assert points.get_ydata() == pytest.approx([8 * limits[0], *limits[1:]])
        low, high = rates.containers[i].lines[2][0].get_segments()[1][:, 1]
        assert (low, high) == pytest.approx((limits[1] * math.exp(-bar), limits[1] * math.exp(bar)))
    assert [label.get_text() for label in rates.get_xticklabels()] == ["untrained", "1", "5", "40"]
    for i, c in enumerate((2, 3)):
        g, b = [line for line in batches.lines if len(line.get_xdata()) == 60][i].get_data()
        assert (g[0], g[-1]) == pytest.approx((0.35, 6))
        assert b == pytest.approx(1000 / (1 + g * CURVATURES[c] / 38))
        points = batches.containers[i].lines[0]
        means = [geometric(result.batch[:, c, k].tolist()) for k in range(4)]
        assert points.get_xdata() == pytest.approx(G)
        assert points.get_ydata() == pytest.approx(means)
    (unstable,) = batches.collections[-1:]
    corners = unstable.get_paths()[0].vertices
    assert corners[:, 1].max() == 1000
    assert corners[:, 1].min() == pytest.approx(1000 / (1 + 6 * 7 / 38))
    assert [text.get_text() for text in batches.get_legend().get_texts()] == ["after 5 epochs", "after 40 epochs"]


def test_plot_of_the_quick_scale():
    result, verdicts = made(scale="quick")
    figure = stability.plot(*round_trip(stability, result, verdicts))
    labels = [text.get_text() for text in figure.axes[1].get_legend().get_texts()]
    assert labels == ["after 1 epoch", "after 5 epochs"]
    assert [text.get_text() for text in figure.axes[0].texts] == ["m = 0", "m = 0.9"]
