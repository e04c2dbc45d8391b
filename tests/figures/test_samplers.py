"""The figure `samplers`: what its statistics make of data that have the laws, and of data that break them by known amounts."""

import numpy as np
import pytest
from driving import drive, first_tasks, round_trip

from sgdnoise.reproduce import SCALES
from sgdnoise.reproduce.figures import samplers
from sgdnoise.reproduce.figures.samplers import Quadratic
from sgdnoise.reproduce.tasks.minibatch_noise import MinibatchNoiseTask

pytestmark = pytest.mark.usefixtures("few_resamples")

BATCH_SIZES = [1, 10, 100, 400, 495]  # at the quick scale, where 20 batches are drawn, and 40 replicas run
RATES = [0.05, 0.1, 0.2, 0.5, 1.0]


def noise_law(sampling, b):
    """Of 500 examples, in units of S."""
    return 0.998 / b if sampling == "with_replacement" else 1 / b - 0.002


def rest_law(sampling, rate):
    """Of batches of 10 of 100 examples, at curvature 1: independent ones, or at the ends of epochs of ten."""
    q = 1 - rate
    if sampling != "reshuffle":
        return rate**2 * 0.09 / (1 - q**2)
    return rate**2 * ((1 - q**20) / (1 - q**2) / 10 - ((1 - q**10) / (1 - q)) ** 2 / 100) / (1 - q**20)


def sample(law, n, factor=1.0, scatter=0.1):
    """n numbers with a mean of factor x law and a standard error of scatter x law."""
    return law * (factor + scatter * np.sqrt(n - 1) * np.tile([-1, 1], n // 2))


def made(scale="quick", noise=lambda sampling, b: {}, rest=lambda sampling, rate: {}, noise_law=noise_law, rest_law=rest_law):
    """Result and verdicts, with the keywords for `sample` that `noise` and `rest` say."""

    def answer(tasks):
        answers = []
        for task in tasks:
            if isinstance(task, MinibatchNoiseTask):
                at = task.sampling, task.batch_size
                answers.append({"trace": sample(3 * noise_law(*at), task.n_draws, **noise(*at)), "S_trace": np.array(3.0)})
            else:
                at = task.sampling, task.learning_rate
                answers.append({"squares": sample(rest_law(*at), task.n_replicas, **rest(*at))})
        return answers

    return drive(samplers, SCALES[scale], answer)


def test_tasks():
    quick = first_tasks(samplers, SCALES["quick"])
    assert [(t.sampling, t.batch_size, t.n_train, t.n_draws) for t in quick[:15]] == [
        (sampling, b, 500, 20) for sampling in ("reshuffle", "without_replacement", "with_replacement") for b in BATCH_SIZES
    ]
    assert [(t.sampling, t.learning_rate, t.n_train, t.batch_size, t.momentum, t.n_replicas) for t in quick[15:]] == [
        (sampling, rate, 100, 10, 0.0, 40) for sampling in ("reshuffle", "without_replacement") for rate in RATES
    ]
    default = first_tasks(samplers, SCALES["default"])
    assert len(default) == 3 * 14 + 2 * 7
    assert {t.batch_size for t in default[:14]} >= {1, 500}
    assert (default[0].n_draws, default[-1].n_replicas) == (300, 200)
    assert [default[42].learning_rate, default[48].learning_rate] == [0.01, 1.0]
    assert default == first_tasks(samplers, SCALES["full"])


def test_points():
    result, _ = made(noise=lambda sampling, b: {"factor": 1.5, "scatter": 0.2})
    assert (result.n_train, result.quadratic) == (500, Quadratic(n_train=100, batch_size=10))
    assert [(p.sampling, p.x) for p in result.noise[5:10]] == [("without_replacement", b) for b in BATCH_SIZES]
    assert [(p.sampling, p.x) for p in result.rest] == [(s, r) for s in ("reshuffle", "without_replacement") for r in RATES]
    for points, law, factor, scatter in ((result.noise, noise_law, 1.5, 0.2), (result.rest, rest_law, 1.0, 0.1)):
        for p in points:
            assert p.predicted == pytest.approx(law(p.sampling, p.x), rel=1e-9)
            assert p.measured == pytest.approx(factor * law(p.sampling, p.x), rel=1e-9)
            assert p.error == pytest.approx(scatter * law(p.sampling, p.x), rel=1e-9)


def test_data_that_have_the_laws():
    _, verdicts = made()
    assert list(verdicts) == ["one batch", "at rest", "epochs cancel"]
    for key in ("one batch", "at rest"):
        assert verdicts[key].value == pytest.approx(0, abs=1e-6)
        assert verdicts[key].interval[1] > 0.1
    assert verdicts["epochs cancel"].value == pytest.approx(rest_law("reshuffle", 0.05) / rest_law("independent", 0.05))
    assert verdicts["epochs cancel"].value == pytest.approx(0.0235, abs=5e-5)
    assert verdicts["epochs cancel"].control.value == pytest.approx(1)
    assert all(verdict.holds and verdict.control_flagged for verdict in verdicts.values())


@pytest.mark.parametrize("factor", [0.6, 1.6])
@pytest.mark.parametrize("where", [("reshuffle", 10), ("without_replacement", 495), ("with_replacement", 1)])
def test_one_batch_size_off_its_law(where, factor):
    """Off by 0.4 or 0.6 of the law, whose standard error is a tenth of it."""
    _, verdicts = made(noise=lambda *at: {"factor": factor if at == where else 1.0})
    assert verdicts["one batch"].value == pytest.approx(10 * abs(factor - 1), rel=1e-6)
    assert [key for key, verdict in verdicts.items() if not verdict.holds] == ["one batch"] * (factor > 1.5)


@pytest.mark.parametrize("factor", [0.6, 1.6])
@pytest.mark.parametrize("where", [("reshuffle", 0.1), ("without_replacement", 1.0)])
def test_one_learning_rate_off_its_law(where, factor):
    _, verdicts = made(rest=lambda *at: {"factor": factor if at == where else 1.0})
    assert verdicts["at rest"].value == pytest.approx(10 * abs(factor - 1), rel=1e-6)
    assert [key for key, verdict in verdicts.items() if not verdict.holds] == ["at rest"] * (factor > 1.5)


def test_the_noise_that_is_left_at_the_smallest_learning_rate():
    factors = {("reshuffle", 0.05): 5.0, ("without_replacement", 0.05): 1.2}
    _, verdicts = made(rest=lambda *at: {"factor": factors.get(at, 1.0), "scatter": 1e3})
    left = rest_law("reshuffle", 0.05) / rest_law("independent", 0.05)
    assert verdicts["epochs cancel"].value == pytest.approx(5 * left)
    assert verdicts["epochs cancel"].control.value == pytest.approx(1.2)
    assert [key for key, verdict in verdicts.items() if not verdict.holds] == ["epochs cancel"]
    _, verdicts = made("default")
    left = rest_law("reshuffle", 0.01) / rest_law("independent", 0.01)
    assert verdicts["epochs cancel"].value == pytest.approx(left)
    assert "at eps h = 0.01" in verdicts["epochs cancel"].claim


# Errors of all other samplers are made large. The other law of the noise is 0.998/495 for 1/495 - 1/500, 99.8 times as much.
@pytest.mark.parametrize(
    ("tight", "control"),
    [("with_replacement", 10 * (1 - 1 / 99.8)), ("without_replacement", 10 * 98.8), ("reshuffle", 10 * 98.8)],
)
def test_the_control_of_one_batch_by_sampler(tight, control):
    _, verdicts = made(noise=lambda sampling, b: {"scatter": 0.1 if sampling == tight else 1e6})
    assert verdicts["one batch"].control.value == pytest.approx(control, rel=1e-6)


@pytest.mark.parametrize(("tight", "other"), [("without_replacement", "reshuffle"), ("reshuffle", "without_replacement")])
def test_the_control_at_rest_by_sampler(tight, other):
    _, verdicts = made(rest=lambda sampling, rate: {"scatter": 0.1 if sampling == tight else 1e6})
    control = 10 * abs(rest_law(other, 0.05) / rest_law(tight, 0.05) - 1)  # the smallest learning rate tells them best
    assert verdicts["at rest"].control.value == pytest.approx(control, rel=1e-6)


def test_a_whole_training_set_has_no_noise_and_the_control_is_the_other_law_over_the_rounding():
    result, verdicts = made("default")
    assert [p.measured for p in result.noise if p.x == 500 and p.sampling != "with_replacement"] == [0, 0]
    assert verdicts["one batch"].value == pytest.approx(0, abs=1e-6)
    assert verdicts["one batch"].control.value == pytest.approx(0.998 / 500 / 1e-12)


def test_samplers_that_are_mixed_up():
    def exchanged(sampling, b):
        return noise_law("without_replacement" if sampling == "with_replacement" else "with_replacement", b)

    _, verdicts = made(noise_law=exchanged)
    assert verdicts["one batch"].value == pytest.approx(10 * 98.8, rel=1e-6)  # of "with", at 495
    assert verdicts["one batch"].control.value == pytest.approx(0, abs=1e-6)
    _, verdicts = made(rest_law=lambda sampling, rate: rest_law("independent", rate))
    assert [key for key, verdict in verdicts.items() if not verdict.holds] == ["at rest", "epochs cancel"]
    assert verdicts["epochs cancel"].value == pytest.approx(1)
    exchange = {"reshuffle": "without_replacement", "without_replacement": "reshuffle"}
    _, verdicts = made(rest_law=lambda sampling, rate: rest_law(exchange[sampling], rate))
    assert verdicts["at rest"].control.value == pytest.approx(0, abs=1e-6)


def test_what_is_not_a_number_fails():
    nan = {"factor": np.nan}
    _, verdicts = made(noise=lambda *at: nan if at == ("reshuffle", 10) else {})
    assert [verdict.holds for verdict in verdicts.values()] == [False, True, True]
    _, verdicts = made(rest=lambda *at: nan if at == ("reshuffle", 0.05) else {})
    assert [verdict.holds for verdict in verdicts.values()] == [True, False, False]


def test_rows():
    header, *lines = samplers.rows(round_trip(samplers, *made())[0])
    assert header == ["panel", "sampling", "batch_size_or_learning_rate", "predicted", "measured", "standard_error"]
    assert len(lines) == 25
    law = pytest.approx(noise_law("with_replacement", 10))
    assert lines[11] == ["noise", "with_replacement", 10, law, law, pytest.approx(0.00998)]
    law = rest_law("reshuffle", 0.1)
    assert lines[16] == ["rest", "reshuffle", 0.1, pytest.approx(law), pytest.approx(law), pytest.approx(0.1 * law)]


def test_plot_draws_points_with_bars_above_0_and_laws_through_them():
    result, verdicts = made("default", noise=lambda *at: {"factor": 1.3, "scatter": 1.5})
    figure = samplers.plot(*round_trip(samplers, result, verdicts))
    figure.draw_without_rendering()
    noise, rest = figure.axes
    drawn = {container.get_label(): container for container in noise.containers}
    assert list(drawn) == ["with replacement", "without replacement", "epoch reshuffling"]
    x, y = drawn["without replacement"].lines[0].get_data()
    assert max(x) == 495  # at 500 the noise is 0
    assert y[0] == pytest.approx(1.3 * 0.998)
    (low, high), *_ = (segment[:, 1] for segment in drawn["without replacement"].lines[2][0].get_segments())
    assert (low, high) == (pytest.approx(0.13 * 0.998), pytest.approx(2.8 * 0.998))
    assert len(rest.containers) == 2
    assert rest.containers[1].lines[0].get_ydata()[-1] == pytest.approx(rest_law("reshuffle", 1.0))
    laws = [line for axis in (noise, rest) for line in axis.lines if line.get_linestyle() == "-"]
    expected = [
        lambda b: noise_law("with_replacement", b),
        lambda b: noise_law("without_replacement", b),
        lambda rate: rest_law("without_replacement", rate),
        lambda rate: rest_law("reshuffle", rate),
    ]
    for line, law in zip(laws, expected, strict=True):
        assert line.get_ydata() == pytest.approx(law(line.get_xdata()), rel=1e-6)
    assert [(line.get_xdata()[0], line.get_xdata()[-1]) for line in laws[1:3]] == [
        pytest.approx((1, 499)),
        pytest.approx((0.01, 1)),
    ]
    assert noise.get_title(loc="left") == "(a) one batch of 500 examples: 1/B, or 1/B - 1/N"
