"""Figure 5: its schedules and counts by hand, and what it says of accuracies that are known."""

import numpy as np
import pytest
from driving import drive, first_tasks, round_trip

from sgdnoise import Schedule, Stage, sgd
from sgdnoise.reproduce import SCALES, Scale
from sgdnoise.reproduce.figures import fig2, fig5
from sgdnoise.reproduce.tasks.training import TrainingTask

pytestmark = pytest.mark.usefixtures("few_resamples")

NAMES = ("original", "increasing batch", "raised learning rate", "raised momentum", "control")
PAPER_ENDS = dict(zip(NAMES, (0.943, 0.944, 0.945, 0.933, 0.9), strict=True))
"""The paper's accuracies, which obey its claims, and a control that ends elsewhere."""

STAGES = {
    "original": [(0.1, 128), (0.02, 128), (0.004, 128), (0.0008, 128)],
    "increasing batch": [(0.1, 128), (0.1, 640), (0.1, 3200), (0.032, 5120)],
    "raised learning rate": [(0.5, 640), (0.5, 3200), (0.16, 5120), (0.032, 5120)],
    "raised momentum": [(0.5, 3200), (0.16, 5120), (0.032, 5120), (0.0064, 5120)],
    "control": [(0.1, 128)],
}


def name_of(task):
    """Which schedule a task trains, by its stages."""
    stages = [(pytest.approx(stage.learning_rate), stage.batch_size) for stage in task.schedule]
    (name,) = (name for name in NAMES if STAGES[name] == stages)
    return name


def made_up(ends, own=(0, 0, 0, 0)):
    """Answers: a run ends (last tenth of the epochs) at its schedule's accuracy, plus .01 times its seed.

    `own` is added to the end of each seed of raised momentum.
    """

    def run(task):
        name, n_epochs = name_of(task), task.schedule.n_epochs
        accuracy = np.full(n_epochs, 0.1)
        accuracy[-max(1, n_epochs // 10) :] = ends[name] + 0.01 * task.seed
        if name == "raised momentum":
            accuracy += own[task.seed]
        return {"train_loss": NAMES.index(name) + 0.1 * task.seed + np.arange(n_epochs), "test_accuracy": accuracy}

    return lambda tasks: [run(task) for task in tasks]


def test_the_schedules_of_section_5_2():
    schedules = fig5.schedules_of_section_5_2(200)
    for name, (schedule, _) in schedules.items():
        assert [(pytest.approx(s.learning_rate), s.batch_size) for s in schedule] == STAGES[name]
        assert [stage.n_epochs for stage in schedule] == [60, 60, 40, 40]
    assert [momentum for _, momentum in schedules.values()] == [0.9, 0.9, 0.9, 0.98]
    at_one_noise = [s.stages[0].learning_rate / (s.stages[0].batch_size * (1 - m)) for s, m in schedules.values()]
    assert at_one_noise == pytest.approx([0.1 / 12.8] * 4)


def test_counts_at_200_epochs_whatever_the_scale():
    result, _ = drive(fig5, SCALES["quick"], made_up(PAPER_ENDS))
    counts = {name: (c.paper, c.exact, c.drop_last, c.keep_last) for name, c in result.counts.items()}
    # 50000/128 = 390.625, 50000/640 = 78.125, 50000/3200 = 15.625 and 50000/5120 = 9.765625 updates an epoch.
    assert counts == {
        "original": ("about 80000", 200 * 390.625, 200 * 390, 200 * 391),
        "increasing batch": (
            "about 29000",
            60 * 390.625 + 60 * 78.125 + 40 * 15.625 + 40 * 9.765625,
            60 * 390 + 60 * 78 + 40 * 15 + 40 * 9,
            60 * 391 + 60 * 79 + 40 * 16 + 40 * 10,
        ),
        "raised learning rate": (
            "below 6500",
            60 * 78.125 + 60 * 15.625 + 80 * 9.765625,
            60 * 78 + 60 * 15 + 80 * 9,
            60 * 79 + 60 * 16 + 80 * 10,
        ),
        "raised momentum": ("below 2500", 60 * 15.625 + 140 * 9.765625, 60 * 15 + 140 * 9, 60 * 16 + 140 * 10),
    }
    assert (result.n_epochs, result.paper_epochs, result.n_train) == (5, 200, 50_000)


def test_count_verdicts_and_their_controls():
    _, verdicts = drive(fig5, SCALES["quick"], made_up(PAPER_ENDS))
    expected = {  # value, threshold, control
        "original: updates": (1 - 78125 / 80000, 5000 / 80000, 1 - 39062.5 / 80000),  # control: 200 * 50000/256
        "increasing batch: updates": (29140.625 / 29000 - 1, 500 / 29000, 34375 / 29000 - 1),  # 60 * 390.625 + 140 * 78.125
        "raised learning rate: updates": (6406.25 / 6500, 1, 6875 / 6500),  # 60 * 78.125 + 140 * 15.625
        "raised momentum: updates": (2304.6875 / 2500, 1, 3125 / 2500),  # 200 * 15.625
    }
    found = {key: (v.value, v.threshold, v.control.value) for key, v in verdicts.items() if key.endswith("updates")}
    assert list(found) == list(expected)
    for key, numbers in expected.items():
        assert found[key] == pytest.approx(numbers, rel=1e-12)
        assert verdicts[key].holds
        assert verdicts[key].control_flagged
        assert verdicts[key].interval is None
    assert verdicts["original: updates"].claim == "original takes about 80000 updates: 78125"
    assert verdicts["original: updates"].statistic == "|updates/80000 - 1|"
    assert verdicts["raised momentum: updates"].claim == "raised momentum takes below 2500 updates: 2305"
    assert verdicts["raised momentum: updates"].statistic == "updates/2500"


@pytest.mark.parametrize(
    ("name", "batch_size", "value"),
    [
        ("original", 320, 1 - 31250 / 80000),
        ("increasing batch", 80, 125000 / 29000 - 1),
        ("raised learning rate", 1250, 8000 / 6500),
    ],
)
def test_other_counts_fail(name, batch_size, value):
    schedules = {name: schedule for name, (schedule, _) in fig5.schedules_of_section_5_2(200).items()}
    schedules[name] = Schedule([Stage(200, 0.1, batch_size)])
    verdicts = {verdict.key: verdict for verdict in fig5.count_verdicts(schedules)}
    assert verdicts[f"{name}: updates"].value == pytest.approx(value)
    assert not verdicts[f"{name}: updates"].holds


def test_tasks():
    tasks = first_tasks(fig5, Scale(40, 3))
    assert [(name_of(task), task.seed) for task in tasks] == [(name, seed) for name in NAMES for seed in range(3)]
    momentum = {name_of(task): task.optimizer for task in tasks}
    assert momentum == {name: sgd(momentum=0.98 if name == "raised momentum" else 0.9) for name in NAMES}
    assert {task.engine for task in tasks} == {"fast"}
    assert {task.schedule.n_epochs for task in tasks} == {40}
    assert {task.engine for task in first_tasks(fig5, Scale(5, 1, engine="reference"))} == {"reference"}


def test_runs_shared_with_figure_2():
    shared = set(first_tasks(fig5, SCALES["default"])) & set(first_tasks(fig2, SCALES["default"]))
    assert {(name_of(task), task.seed) for task in shared} == {(name, s) for name in ("original", "control") for s in range(4)}
    assert TrainingTask(Schedule([Stage(40, 0.1, 128)]), 2) in shared


def test_curves_are_those_of_their_schedules_and_seeds():
    result, _ = drive(fig5, SCALES["default"], made_up(PAPER_ENDS))
    for i, name in enumerate(NAMES):
        curve = result.curves[name]
        assert curve.train_loss == pytest.approx(i + 0.1 * np.arange(4)[:, None] + np.arange(40))
        assert curve.final == pytest.approx(PAPER_ENDS[name] + 0.01 * np.arange(4))
        assert [(lr, b) for _, lr, b in curve.stages] == [(pytest.approx(lr), b) for lr, b in STAGES[name]]
        assert curve.momentum == (0.98 if name == "raised momentum" else 0.9)
    # 12, 12, 8 and 8 epochs of 15, 9, 9 and 9 whole batches.
    assert result.curves["raised momentum"].n_updates.tolist() == [*range(15, 181, 15), *range(189, 433, 9)]


def test_accuracies_that_obey_the_paper():
    _, verdicts = drive(fig5, SCALES["default"], made_up(PAPER_ENDS))
    growing, faster, price = (verdicts[f"{name}: accuracy"] for name in NAMES[1:4])
    assert (growing.value, growing.control.value) == pytest.approx((0.001, 0.043))
    assert (faster.value, faster.control.value) == pytest.approx((0.002, 0.043))
    assert (price.value, price.control.value) == pytest.approx((0.01, -0.001))
    assert growing.holds
    assert price.holds
    assert all(verdict.control_flagged for verdict in (growing, faster, price))
    assert growing.claim == "increasing batch ends at the test accuracy of original (paper: 94.4 and 94.3%)"
    # What the seeds share drops out: no resample differs from another.
    for verdict in (growing, faster, price):
        assert verdict.interval == pytest.approx((verdict.value, verdict.value))
        assert verdict.threshold == 0.002


def test_accuracies_that_do_not():
    ends = PAPER_ENDS | {"increasing batch": 0.94, "raised learning rate": 0.95, "raised momentum": 0.953, "control": 0.9435}
    _, verdicts = drive(fig5, SCALES["default"], made_up(ends))
    growing, faster, price = (verdicts[f"{name}: accuracy"] for name in NAMES[1:4])
    assert (growing.value, growing.control.value) == pytest.approx((0.003, 0.0005))
    assert (faster.value, faster.control.value) == pytest.approx((0.007, 0.0005))
    assert (price.value, price.control.value) == pytest.approx((-0.01, 0.003))  # a gain is no price, and this control pays one
    assert not any(verdict.holds or verdict.control_flagged for verdict in (growing, faster, price))


def test_the_price_is_a_mean_over_seeds():
    _, verdicts = drive(fig5, SCALES["default"], made_up(PAPER_ENDS, own=(0.004, 0, 0, -0.008)))
    price = verdicts["raised momentum: accuracy"]
    assert price.value == pytest.approx(0.011)
    low, high = price.interval
    assert 0.006 <= low < 0.011 < high <= 0.018  # the seeds lose .006, .01, .01 and .018
    assert high - low > 0.003


@pytest.mark.parametrize("scale", ["quick", "default"])
def test_table_and_picture_from_json_alone(scale):
    n_epochs, n_seeds = SCALES[scale].n_epochs, SCALES[scale].n_seeds
    result, verdicts = round_trip(fig5, *drive(fig5, SCALES[scale], made_up(PAPER_ENDS)))
    header, *lines = fig5.rows(result)
    assert header == ["schedule", "seed", "epoch", "n_updates", "train_loss", "test_accuracy"]
    assert len(lines) == len(NAMES) * n_seeds * n_epochs
    last_seed = n_seeds - 1
    assert lines[n_seeds * n_epochs - 1] == [
        "original",
        last_seed,
        n_epochs,
        390 * n_epochs,
        pytest.approx(0.1 * last_seed + n_epochs - 1),
        pytest.approx(0.943 + 0.01 * last_seed),
    ]
    assert lines[n_seeds * n_epochs][:4] == ["increasing batch", 0, 1, 390]
    for verdict in verdicts.values():
        assert verdict.source == "Smith et al. 2018, sec. 5.2"
        assert verdict.control
        assert (verdict.interval is None) == (scale == "quick" or "updates" in verdict.key)

    figure = fig5.plot(result, verdicts)
    figure.draw_without_rendering()
    by_update, price = figure.axes
    assert by_update.get_title(loc="left") == f"(a) {n_epochs} epochs each, equal eps N/(B (1 - m))"
    assert by_update.lines[0].get_ydata()[-1] == pytest.approx(94.3 + 0.5 * last_seed)
    whole = 40 * 390 if scale == "default" else 5 * 390
    assert by_update.texts[0].get_text() == f"original\n{whole} updates\n{94.3 + 0.5 * last_seed:.1f}%"
    assert by_update.texts[0].xy == pytest.approx((whole, 94.3 + 0.5 * last_seed))
    dots, diamonds = ([line for line in price.lines if line.get_marker() == marker] for marker in "oD")
    expected = [(0, 0), (0.1, -1), (0.2, -2), (-1, -3)]
    for points, offset in ((dots, -0.13), (diamonds, 0.13)):
        assert [line.get_xdata()[0] for line in points] == pytest.approx([x for x, _ in expected], abs=1e-9)
        assert [line.get_ydata()[0] for line in points] == pytest.approx([y + offset for _, y in expected])
    assert [tick.get_text() for tick in price.get_yticklabels()][1::2] == [
        "increasing batch\n29141 updates\n(paper: about 29000)",
        "raised momentum\n2305 updates\n(paper: below 2500)",
    ]


def test_the_bars_are_standard_errors_of_the_paired_differences():
    result, verdicts = round_trip(fig5, *drive(fig5, SCALES["default"], made_up(PAPER_ENDS, own=(0.004, 0, 0, -0.008))))
    figure = fig5.plot(result, verdicts)
    bars = figure.axes[1].containers
    half = [np.ptp(bar.lines[2][0].get_segments()[0][:, 0]) / 2 for bar in bars]
    # Of raised momentum -.6, -1, -1 and -1.8 points: squared deviations .25, .01, .01 and .49, over 3 and over 4.
    assert half == pytest.approx([0, 0, 0, np.sqrt(0.76 / 12)], abs=1e-9)
