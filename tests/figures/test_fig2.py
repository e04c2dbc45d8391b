"""Figure 2: one training curve by epochs; its statistic on made-up curves and what that rejects, and what is recorded."""

import numpy as np
import pytest
from driving import committed_words, drive, first_tasks, round_trip, words

from sgdnoise import Schedule, Stage, sgd
from sgdnoise.reproduce import SCALES, Scale, TrainingTask
from sgdnoise.reproduce.figures import fig2
from sgdnoise.reproduce.figures.paper import paper_schedules
from sgdnoise.reproduce.tasks.training import METRICS

pytestmark = pytest.mark.usefixtures("few_resamples")

EPOCH = np.arange(40)
NAMES = ("decaying", "hybrid", "increasing", "control")


def name_of(task):
    """Of the paper's schedule that a task trains."""
    return next(name for name, schedule in paper_schedules(task.schedule.n_epochs).items() if schedule == task.schedule)


def answer(loss):
    """All four metrics of a task are ``loss(name of the schedule, seed)``, and so much more that they can be told apart."""
    return lambda tasks: [{metric: 10 * i + loss(name_of(t), t.seed) for i, metric in enumerate(METRICS)} for t in tasks]


def spikes(**heights):
    """A loss that falls by .05 an epoch, with a spike in the first epoch after the step, and a larger one before the step."""

    def loss(name, seed):
        height = heights.get(name, 0.0)
        return 2.2 - 0.05 * EPOCH + height * ((EPOCH == 12) + 7.0 * (EPOCH == 11)) + 0.01 * seed

    return answer(loss)


def test_every_schedule_is_trained_with_every_seed_by_the_papers_optimizer():
    schedules = paper_schedules(200)
    expected = [TrainingTask(schedules[name], seed, sgd(momentum=0.9), 1e-4, "fast") for name in NAMES for seed in range(5)]
    assert first_tasks(fig2, SCALES["full"]) == expected
    assert {task.engine for task in first_tasks(fig2, Scale(5, 1, engine="reference"))} == {"reference"}


def test_the_statistic_and_what_it_rejects():
    """A tenth of the control's distance passes, a schedule that follows the control does not."""
    _, verdicts = drive(fig2, SCALES["default"], spikes(control=1.0, hybrid=-0.09, increasing=1.0))
    hybrid, increasing = verdicts["hybrid"], verdicts["increasing"]
    assert list(verdicts) == ["hybrid", "increasing"]
    assert hybrid.value == pytest.approx(0.09)
    assert hybrid.holds
    assert increasing.value == pytest.approx(1.0)
    assert not increasing.holds
    assert str(increasing).startswith(
        "FAILS: increasing has the training curve of decaying, with 5760 updates for 15600 (Smith"
    )
    assert "with 6864 updates for 15600" in hybrid.claim
    # At the end they have made the updates that decaying had made after 6864/390 and 5760/390 epochs, at .05 an epoch.
    assert hybrid.control.value == pytest.approx(0.05 * (40 - 6864 / 390))
    assert increasing.control.value == pytest.approx(0.05 * (40 - 5760 / 390))
    for verdict in (hybrid, increasing):
        assert verdict.control_flagged
        assert verdict.interval == pytest.approx((verdict.value, verdict.value))  # seeds differ by what cancels


def test_the_control_that_is_half_as_far_makes_the_statistic_twice_as_large():
    _, verdicts = drive(fig2, SCALES["default"], spikes(control=-0.5, hybrid=0.04, increasing=0.06))
    assert [verdict.value for verdict in verdicts.values()] == pytest.approx([0.08, 0.12])
    assert [verdict.holds for verdict in verdicts.values()] == [True, False]
    assert verdicts["hybrid"].control.value == pytest.approx(0.05 * (40 - 6864 / 390) / 0.5)


def test_the_control_agrees_if_the_loss_goes_with_updates():
    """Losses that know nothing but the number of updates."""
    per_epoch = {name: [390] * 40 for name in ("decaying", "control")} | {"hybrid": [390] * 12 + [78] * 28}
    per_epoch["increasing"] = [390] * 12 + [78] * 12 + [15] * 8 + [3] * 8

    def loss(name, seed):
        return 1 - 1e-5 * np.cumsum(per_epoch[name]) + (name == "control") * (EPOCH == 12) + 0.01 * seed

    _, verdicts = drive(fig2, SCALES["default"], answer(loss))
    ends = {"hybrid": 0.15600 - 0.06864, "increasing": 0.15600 - 0.05760}
    for name, verdict in verdicts.items():
        assert verdict.control.value == pytest.approx(0, abs=1e-9)
        assert not verdict.control_flagged
        assert verdict.value == pytest.approx(ends[name])


def test_the_words_are_those_of_the_committed_results():
    def loss(name, seed):
        return EPOCH + NAMES.index(name) + 0.0

    assert words(drive(fig2, SCALES["default"], answer(loss))[1].values()) == committed_words("fig2")


def test_quick_runs_have_no_interval():
    def loss(name, seed):
        return np.arange(5.0) + NAMES.index(name)

    verdicts = drive(fig2, SCALES["quick"], answer(loss))[1]
    assert [(verdict.value, verdict.interval) for verdict in verdicts.values()] == [
        (pytest.approx(1 / 3), None),
        (pytest.approx(2 / 3), None),
    ]


def test_result_table_and_picture_from_json_alone():
    made = drive(fig2, SCALES["default"], spikes(control=1.0, hybrid=0.01))
    result, verdicts = round_trip(fig2, *made)
    setting = (result.n_train, result.model, result.data, result.sampling, result.optimizer, result.l2, result.first_step)
    words = ("MLP 196-128-10, relu, float32", "Fashion-MNIST 14x14, bundled", "reshuffle", "sgd(momentum=0.9, nesterov=False)")
    assert setting == (50_000, *words, 1e-4, 12)
    assert result.seeds == [0, 1, 2, 3]
    assert list(result.curves) == list(NAMES)
    header, *lines = fig2.rows(result)
    assert header == ["schedule", "seed", "epoch", "n_updates", "train_loss", "train_accuracy", "test_loss", "test_accuracy"]
    assert len(lines) == 4 * 4 * 40
    loss = 2.2 - 0.05 * 39 + 0.02
    assert lines[40 * (4 + 2) + 39] == ["hybrid", 2, 40, 6864, *(pytest.approx(loss + 10 * i) for i in range(4))]

    figure = fig2.plot(result, verdicts)
    figure.draw_without_rendering()
    by_epoch, by_update = figure.axes
    for axis, x in ((by_epoch, EPOCH + 1), (by_update, 390 * (EPOCH + 1))):
        control, decaying, *_ = axis.lines
        assert decaying.get_xdata() == pytest.approx(x)
        assert decaying.get_ydata() == pytest.approx(2.2 - 0.05 * EPOCH + 0.015)  # the mean of four seeds
        assert control.get_ydata()[12] == pytest.approx(2.2 - 0.6 + 0.015 + 1.0)
    assert by_update.lines[3].get_xdata()[-1] == 5760
    assert [text.get_text() for text in by_update.texts] == ["5760 updates", "6864 updates", "15600 updates"]
    assert by_epoch.get_title(loc="left") == "(a) against epochs: one curve"
    assert [text.get_text() for text in by_epoch.texts] == ["mean of 4 seeds; band: one standard error"]


@pytest.mark.parametrize("spoilt", ["hybrid", "increasing"])
def test_the_title_says_when_they_are_not_one_curve(spoilt):
    def loss(name, seed):
        return np.ones(5) + 0.5 * (name == spoilt) + (name == "control")

    axis = fig2.plot(*round_trip(fig2, *drive(fig2, SCALES["quick"], answer(loss)))).axes[0]
    assert axis.get_title(loc="left") == "(a) against epochs: NOT one curve"
    assert [text.get_text() for text in axis.texts] == ["one seed"]


def test_a_training_that_was_really_done():
    """Until the first step, decaying and increasing are one run; after it, runs of equal noise and unequal batches."""
    curves = {}
    for name in ("decaying", "increasing"):
        stages = paper_schedules(5)[name].stages
        shorter = Schedule([Stage(1, stage.learning_rate, stage.batch_size) for stage in stages[:2]])
        curves[name] = TrainingTask(shorter, 0).run()
    decaying, increasing = (curve["train_loss"] for curve in curves.values())
    assert decaying.shape == (2,)
    assert decaying[0] == increasing[0]
    assert decaying[1] != increasing[1]
    assert decaying[1] == pytest.approx(increasing[1], rel=0.05)
    assert curves["decaying"]["test_accuracy"][-1] > 0.8
