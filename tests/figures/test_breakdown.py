"""Figure `breakdown`: its rules, and what its statistics say on temperatures and losses that are known."""

import math
from dataclasses import replace

import numpy as np
import pytest
from driving import drive, first_tasks, round_trip

from sgdnoise import noise_scale
from sgdnoise.reproduce import SCALES
from sgdnoise.reproduce.figures import breakdown
from sgdnoise.reproduce.tasks.at_rest import RestTask, minimum
from sgdnoise.reproduce.tasks.few_images import ConstantRateTask

pytestmark = pytest.mark.usefixtures("few_resamples")

REST = {"linear": (1, 2, 5, 10, 18, 25, 32, 40, 47), "exact": (5, 10, 18, 25, 32, 38, 41), "none": (2, 5)}
TRAINING = {"linear": (1, 2, 5, 10, 25, 50), "exact": (2, 5, 10, 25), "none": (2, 5, 10, 25, 50)}


def eps(rule, k):
    """Learning rates at K times a batch of 20 out of 1000; g is .01 (1000/20 - 1) = .49."""
    return {"linear": 0.01 * k, "exact": 0.49 / (50 / k - 1) if k < 50 else math.inf, "none": 0.01}[rule]


def noise(rule, k):
    """g over that at K = 1."""
    return {"linear": (50 - k) / 49, "exact": 1.0, "none": (50 - k) / 49 / k}[rule]


def heat(rule, k):
    """The exact temperature: the mean over directions of N h eps C/(h (2 - eps h)) with C = F (1/B - 1/N)."""
    at, rate = minimum(), eps(rule, k)
    shares = [
        1000 * h * rate * f * (1 / (20 * k) - 1 / 1000) / (h * (2 - rate * h))
        for h, f in zip(at.curvatures, at.gradient_variances, strict=True)
    ]
    return sum(shares) / 6


FIRST = heat("linear", 1)


def stepped(rule, k):
    """The factor of discrete time."""
    return heat(rule, k) / FIRST / noise(rule, k)


def loss(rule, k):
    """On the law by the linear rule up to N/10; there, a run that does not scale is a factor e off."""
    known = {("linear", 5): 1.0, ("linear", 25): 1.2, ("linear", 50): math.exp(0.6)}
    known |= {("none", 5): math.e, ("none", 50): math.exp(1.5), ("exact", 5): 0.8, ("exact", 25): 3.0}
    return 0.02 * known.get((rule, k), 1.0)


def uneven(n, *seed):
    """As many numbers of mean 1, half of them above it, in an order of its own."""
    return np.random.default_rng(seed).permutation(1 + 0.02 * np.tile([-1, 1], n // 2))


def made(temperature=heat, loss=loss, scale="default", scatter=uneven):
    """The figure of given mean temperatures and losses, by rule and K."""
    at_rest = [(rule, k) for rule, factors in REST.items() for k in factors]
    training = [(rule, k) for rule, factors in TRAINING.items() for k in factors]

    def answer(tasks):
        assert len(tasks) == len(at_rest) + len(training)
        unit = 1000 * minimum().curvatures
        results = []
        for i, (task, at) in enumerate(zip(tasks, (*at_rest, *training), strict=True)):
            if i < len(at_rest):
                results.append({"squares": temperature(*at) * scatter(task.n_replicas, i)[:, None] / unit})
            else:
                results.append({"train_loss": loss(*at) * uneven(task.n_seeds, i)})
        return results

    return drive(breakdown, SCALES[scale], answer)


@pytest.fixture
def lawful(few_resamples):
    return made()


def failing(verdicts):
    return {key for key, verdict in verdicts.items() if not verdict.holds}


def test_rates_and_noise_of_the_rules():
    for rule, k in [("linear", 1), ("linear", 25), ("exact", 2), ("exact", 25), ("exact", 41), ("none", 5)]:
        rate = breakdown.scaled_rate(rule, k)
        assert rate == pytest.approx(eps(rule, k))
        assert breakdown.noise_ratio(rule, np.array([20.0 * k])) == pytest.approx([noise(rule, k)])
        for m in (0.0, 0.9):
            assert noise_scale(rate, 20 * k, 1000, momentum=m) == pytest.approx(0.49 * noise(rule, k) / (1 - m))
    assert breakdown.scaled_rate("exact", 25) == pytest.approx(0.49)
    assert breakdown.noise_ratio("linear", np.array([20, 510, 1000])) == pytest.approx([1, 0.5, 0])
    assert breakdown.noise_ratio("none", np.array([20, 500])) == pytest.approx([1, 25 / 49 / 25])
    assert breakdown.noise_ratio("exact", np.array([20, 510, 1000])).tolist() == [1, 1, 1]


def test_parting_of_a_straight_line():
    b = np.array([40.0, 100.0, 500.0])
    assert breakdown.parting(b, 1 - (b - 20) / 980) == pytest.approx(118)
    assert breakdown.parting(b, 1 - (b - 20) / 490) == pytest.approx(69)
    assert breakdown.parting(b, 1 - 1e-5 * (b - 20)) == 1000  # it would be at 10 020
    assert breakdown.parting(b, 1 + (b - 20) / 980) == 1000  # never
    # slope by least squares: -(20 * .1 + 80 * 0 + 480 * .2)/(20^2 + 80^2 + 480^2)
    assert breakdown.parting(b, np.array([0.9, 1.0, 0.8])) == pytest.approx(20 + 0.1 * 237_200 / 98)


def test_the_tasks():
    tasks = first_tasks(breakdown, SCALES["default"])
    rest = [RestTask("without_replacement", pytest.approx(eps(r, k)), 20 * k, 100, 20.0) for r in REST for k in REST[r]]
    training = [
        ConstantRateTask(1000, pytest.approx(eps(r, k)), 20 * k, 0.9, 60, 8, 0, "fast") for r in TRAINING for k in TRAINING[r]
    ]
    assert tasks == [*rest, *training]
    quick = first_tasks(breakdown, SCALES["quick"])
    assert [task.batch_size for task in quick[9:11]] == [38 * 20, 41 * 20]
    assert len(quick) == len(tasks) - 5
    assert {(task.n_replicas, task.n_relaxations) for task in quick[:13]} == {(20, 2.0)}
    assert {(task.n_epochs, task.n_seeds) for task in quick[13:]} == {(1, 1)}
    other = first_tasks(breakdown, replace(SCALES["default"], engine="reference"))
    assert {task.engine for task in other[len(rest) :]} == {"reference"}


def test_temperatures_of_squares(lawful):
    """Each replica's is the mean over the directions of N h w^2, whatever the shares of the directions."""
    squares = np.random.default_rng(0).exponential(size=(100, 6))
    losses = np.random.default_rng(1).exponential(size=(len(REST) * 20, 8))

    def answer(tasks):
        return [{"squares": squares, "train_loss": loss} for _, loss in zip(tasks, losses, strict=False)]

    result, _ = drive(breakdown, SCALES["default"], answer)
    h = minimum().curvatures
    expected = [sum(1000 * h[i] * w2[i] for i in range(6)) / 6 for w2 in squares]
    for point in result.rest:
        assert point.temperature == pytest.approx(expected)
        assert point.predicted == pytest.approx(heat(point.rule, point.factor))
        assert point.learning_rate == pytest.approx(eps(point.rule, point.factor))
    assert result.largest_curvature == pytest.approx(max(h))
    assert (result.n_train, result.learning_rate, result.batch_size) == (1000, 0.01, 20)
    assert [(p.rule, p.factor) for p in result.rest] == [(rule, k) for rule in REST for k in REST[rule]]
    network = lawful[0].network
    assert (network.model, network.momentum, network.n_epochs) == ("MLP 196-128-10, relu, float32", 0.9, 60)
    assert [(p.rule, p.factor) for p in lawful[0].training] == [(rule, k) for rule in TRAINING for k in TRAINING[rule]]
    for point in lawful[0].training:
        assert point.train_loss.mean() == pytest.approx(loss(point.rule, point.factor))


def test_verdicts_on_the_laws(lawful):
    verdicts = lawful[1]
    assert list(verdicts) == ["linear rule", "a tenth lost", "exact g", "training to N/10", "training at N/2"]
    assert failing(verdicts) == set()
    for verdict in verdicts.values():
        assert verdict.control_flagged, str(verdict)
        assert verdict.interval[0] < verdict.interval[1], str(verdict)
    assert verdicts["linear rule"].value == pytest.approx(0, abs=1e-9)
    assert verdicts["linear rule"].control.value == pytest.approx(1 - 3 / 49)  # at K = 47
    assert verdicts["linear rule"].claim.endswith("up to K B = 0.94 N")
    assert verdicts["exact g"].value == pytest.approx(0, abs=1e-9)
    assert verdicts["exact g"].control.value == pytest.approx(heat("exact", 41) / FIRST / (9 / 49) - 1)
    assert verdicts["training to N/10"].value == pytest.approx(0, abs=1e-9)
    assert verdicts["training to N/10"].control.value == pytest.approx(0.6 / 1.5)
    assert verdicts["training at N/2"].value == pytest.approx(3.0 / 1.2)
    assert verdicts["training at N/2"].control.value == pytest.approx(0.8)
    x = np.array([20 * k - 20 for k in (2, 5, 10, 18, 25)])
    ((slope,), *_) = np.linalg.lstsq(x[:, None], [heat("linear", k) / FIRST - 1 for k in (2, 5, 10, 18, 25)])
    assert verdicts["a tenth lost"].value == pytest.approx(abs((20 - 0.1 / slope) / 118 - 1))


def test_the_factor_of_discrete_time_is_taken_out():
    """Temperatures without it, in proportion to g, are off by as much: the law itself is not what is measured."""
    verdict = made(lambda rule, k: FIRST * noise(rule, k))[1]["linear rule"]
    off = {k: noise("linear", k) * (1 - 1 / stepped("linear", k)) for k in REST["linear"]}
    assert verdict.value == pytest.approx(max(off.values()))
    assert 0.01 < verdict.value < 0.1
    # and what comes out of twice the temperature at K = 32, with the factor: (50 - 32)/49 of the first
    verdict = made(lambda rule, k: heat(rule, k) * (2 if (rule, k) == ("linear", 32) else 1))[1]["linear rule"]
    assert verdict.value == pytest.approx(18 / 49)


@pytest.mark.parametrize(
    ("k", "factor", "value"),
    [(2, 0.8, 0.2 * 48 / 49), (5, 1.3, 0.3 * 45 / 49), (47, 3.0, 2 * 3 / 49), (47, 0.0, 3 / 49)],
)
def test_distance_from_the_law_of_the_linear_rule(k, factor, value):
    verdicts = made(lambda rule, at: heat(rule, at) * (factor if (rule, at) == ("linear", k) else 1))[1]
    assert verdicts["linear rule"].value == pytest.approx(value)
    assert verdicts["linear rule"].holds == (value <= 0.1)
    assert verdicts["exact g"].value == pytest.approx(0, abs=1e-9)


def test_temperatures_are_compared_with_the_first_one_measured_or_predicted():
    """Twice the temperature at K = 1 halves every ratio of the linear rule; exact g is held against its prediction."""
    verdicts = made(lambda rule, k: heat(rule, k) * (2 if k == 1 else 1))[1]
    assert verdicts["linear rule"].value == pytest.approx(0.5 * 48 / 49)
    assert verdicts["exact g"].value == pytest.approx(0, abs=1e-9)
    assert failing(verdicts) == {"linear rule", "a tenth lost"}


def test_ratios_are_of_the_same_replicas_drawn():
    """Where all temperatures scatter alike, their ratios do not scatter at all."""
    verdicts = made(scatter=lambda n, i: uneven(n, 0))[1]
    assert verdicts["linear rule"].interval == pytest.approx((0, 0), abs=1e-9)
    low, high = verdicts["a tenth lost"].interval
    assert low == pytest.approx(high)


@pytest.mark.parametrize(
    ("steepness", "control", "value"),
    # it has lost a tenth at 20 + 98/steepness, for 118
    [(1.0, 10.0, 0.0), (0.5, 5.0, 98 / 118), (2.0, 49.0, 49 / 118)],
)
def test_where_a_tenth_is_lost(steepness, control, value):
    """Beyond N/2 the straight line does not count."""

    def temperature(rule, k):
        a = {"linear": steepness, "none": control}.get(rule)
        return heat(rule, k) if a is None or 20 * k > 500 else FIRST * (1 - a * (20 * k - 20) / 980)

    verdict = made(temperature)[1]["a tenth lost"]
    assert verdict.value == pytest.approx(value, abs=1e-9)
    assert verdict.holds == (value <= 0.25)
    assert verdict.control.value == pytest.approx(1 - (20 + 98 / control) / 118)


def test_distance_from_the_law_of_exact_g():
    off = {5: 1.1, 41: 0.8}
    verdicts = made(lambda rule, k: heat(rule, k) * (off.get(k, 1.0) if rule == "exact" else 1.0))[1]
    assert verdicts["exact g"].value == pytest.approx(0.2)
    assert verdicts["exact g"].control.value == pytest.approx(0.8 * heat("exact", 41) / FIRST / (9 / 49) - 1)
    assert failing(verdicts) == {"exact g"}
    # temperatures of the linear rule's law: the control is 0, and not flagged; at K = 41 exact g is far hotter
    verdict = made(lambda rule, k: FIRST * (50 - k) / 49 if rule == "exact" else heat(rule, k))[1]["exact g"]
    assert verdict.value == pytest.approx(1 - (9 / 49) / (heat("exact", 41) / FIRST))
    assert verdict.control.value == pytest.approx(0, abs=1e-9)
    assert not verdict.control_flagged


@pytest.mark.parametrize(
    ("linear", "none", "value"), [(0.3, 2.0, 0.15), (-0.3, 2.0, 0.15), (0.3, -1.0, 0.3), (-0.05, -1.0, 0.05)]
)
def test_distance_of_the_network_from_its_loss_at_the_first_batch(linear, none, value):
    """Losses e^`linear` and e^`none` times the first at N/10."""
    off = {("linear", 5): linear, ("none", 5): none}
    verdicts = made(loss=lambda rule, k: 0.02 * math.exp(off[rule, k]) if (rule, k) in off else loss(rule, k))[1]
    assert verdicts["training to N/10"].value == pytest.approx(value)
    assert failing(verdicts) == ({"training to N/10"} if value > 0.1 else set())
    assert verdicts["training at N/2"].control.value == pytest.approx(0.8 * math.exp(-linear))


def test_exact_g_that_trains_as_well_fails_its_claim():
    verdicts = made(loss=lambda rule, k: loss("linear" if rule == "exact" else rule, k))[1]
    assert failing(verdicts) == {"training at N/2"}
    assert verdicts["training at N/2"].value == pytest.approx(1)


def test_rows(lawful):
    header, *lines = breakdown.rows(round_trip(breakdown, *lawful)[0])
    names = ["panel", "rule", "factor", "learning_rate", "batch_size", "predicted", "measured", "standard_error"]
    assert header == names
    assert len(lines) == 18 + 15
    # of numbers of which half are 2% above 1 and half below, with n - 1: .02 sqrt(n/(n - 1))/sqrt(n)
    t = heat("exact", 10)
    assert lines[10][:3] == ["rest", "exact", 10]
    assert lines[10][3:] == pytest.approx([eps("exact", 10), 200, t, t, t * 0.02 / 99**0.5])
    assert lines[-1][:6] == ["training", "none", 50, 0.01, 1000, ""]
    assert lines[-1][6:] == pytest.approx([0.02 * math.exp(1.5), 0.02 * math.exp(1.5) * 0.02 / 7**0.5])


def test_plot(lawful):
    figure = breakdown.plot(*round_trip(breakdown, *lawful))
    figure.draw_without_rendering()
    rest, training = figure.axes
    for rule, container in zip(REST, rest.containers, strict=True):
        line = container.lines[0]
        assert line.get_xdata() == pytest.approx([k / 50 for k in REST[rule]])
        assert line.get_ydata() == pytest.approx([heat(rule, k) / FIRST for k in REST[rule]])
    bars = rest.containers[0].lines[2][0].get_segments()
    assert bars[0][1][1] - bars[0][0][1] == pytest.approx(2 * 0.02 / 99**0.5)
    laws = [line for line in rest.lines if len(line.get_xdata()) == 200]
    for rule, line in zip(REST, laws, strict=True):
        x, y = line.get_data()
        assert (x[0], x[-1], y[0]) == pytest.approx((0.02, 1, 1))
        assert y[100] == pytest.approx(noise(rule, 50 * x[100]))
    (dashed,) = [line for line in rest.lines if line.get_linestyle() == "--"]
    assert dashed.get_xdata() == pytest.approx([k / 50 for k in (1, *REST["exact"])])
    assert dashed.get_ydata() == pytest.approx([heat("exact", k) / FIRST for k in (1, *REST["exact"])])
    # eps = .49/(N/B - 1) is 2/h at N/B = 1 + .49 h/2
    assert rest.patches[0].get_x() == pytest.approx(1 / (1 + 0.49 * max(minimum().curvatures) / 2))
    for rule, container in zip(TRAINING, training.containers, strict=True):
        ks = (1, *(k for k in TRAINING[rule] if k > 1))
        assert container.lines[0].get_xdata() == pytest.approx([k / 50 for k in ks])
        assert container.lines[0].get_ydata() == pytest.approx([loss(rule, k) for k in ks])
        assert container.get_label() == breakdown.RULES[rule]
    assert training.get_ylabel() == "training loss (nats) after 60 epochs"


def test_bars_of_the_training_loss_do_not_reach_0():
    """An error larger than the mean is drawn as nine tenths of it."""
    result, verdicts = made()
    result.training[0].train_loss[:] = [1.0, *[1e-3] * 7]
    figure = breakdown.plot(result, verdicts)
    low, high = figure.axes[1].containers[0].lines[2][0].get_segments()[0][:, 1]
    mean = 1.007 / 8
    assert (low, high) == pytest.approx((0.1 * mean, 1.9 * mean))
