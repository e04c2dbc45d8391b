"""ImageNet: schedules and counts by hand. N = 1281167 is 156.4, 78.2, 39.1, 19.5 and 15.6 batches of 8192, ..., 65536, 81920."""

import pytest
from driving import drive, first_tasks, round_trip

from sgdnoise.reproduce import SCALES
from sgdnoise.reproduce.figures import imagenet

N = 1_281_167

# Momentum, batch sizes of the four stages (30, 30, 20 and 10 epochs), whole batches, and batches with the smaller last one.
COURSES = {
    "decaying, m .9": (0.9, [8192, 8192, 8192, 8192], 90 * 156, 90 * 157),
    "to 81920, m .9": (0.9, [8192, 81920, 81920, 81920], 30 * 156 + 60 * 15, 30 * 157 + 60 * 16),
    "to 65536, m .9": (0.9, [8192, 65536, 65536, 65536], 30 * 156 + 60 * 19, 30 * 157 + 60 * 20),
    "to 65536, m .95": (0.95, [16384, 65536, 65536, 65536], 30 * 78 + 60 * 19, 30 * 79 + 60 * 20),
    "to 65536, m .975": (0.975, [32768, 65536, 65536, 65536], 30 * 39 + 60 * 19, 30 * 40 + 60 * 20),
    "ResNet-50, to 16384": (0.9, [8192, 16384], 30 * 156 + 60 * 78, 30 * 157 + 60 * 79),
}


@pytest.fixture(scope="module")
def made():
    return drive(imagenet, SCALES["default"], lambda tasks: tasks)


def test_nothing_is_trained():
    assert first_tasks(imagenet, SCALES["default"]) == []


def test_counts(made):
    result, _ = made
    assert (result.n_train, result.n_epochs) == (N, 90)
    assert list(result.runs) == list(COURSES)
    for name, (momentum, batch_sizes, n_updates, keep_last) in COURSES.items():
        course, epochs = result.runs[name], [30, 60] if name.startswith("ResNet") else [30, 30, 20, 10]
        stages = [list(stage) for stage in zip(epochs, batch_sizes, strict=True)]
        assert (course.momentum, course.stages) == (momentum, stages)
        assert (course.n_updates, course.keep_last) == (n_updates, keep_last)
        assert course.exact == pytest.approx(sum(n * N / b for n, b in stages), rel=1e-12)
    assert [course.n_updates for course in result.runs.values()] == [14040, 5580, 5820, 3480, 2310, 9360]


def test_the_papers_words(made):
    result, _ = made
    said = {name: (course.paper, course.paper_accuracy) for name, course in result.runs.items()}
    assert said == {
        "decaying, m .9": ("just over 14000", None),
        "to 81920, m .9": ("below 6000", None),
        "to 65536, m .9": ("just under 6000", "78.8"),
        "to 65536, m .95": ("below 3500", "78.1, 77.8"),
        "to 65536, m .975": ("below 2500", "77.5, 76.8"),
        "ResNet-50, to 16384": (None, None),
    }


def test_the_learning_rate_takes_the_rest_of_the_factor_and_the_noise_stays():
    schedules = imagenet.imagenet_schedules()
    rates = {name: [stage.learning_rate for stage in schedule] for name, (schedule, _) in schedules.items()}
    assert rates["decaying, m .9"] == pytest.approx([3, 0.3, 0.03, 0.003])
    assert rates["to 81920, m .9"] == pytest.approx([3, 3, 0.3, 0.03])
    assert rates["to 65536, m .9"] == pytest.approx([3, 2.4, 0.24, 0.024])
    assert rates["to 65536, m .95"] == pytest.approx([3, 1.2, 0.12, 0.012])
    assert rates["to 65536, m .975"] == pytest.approx([3, 0.6, 0.06, 0.006])
    for name, (schedule, momentum) in list(schedules.items())[:-1]:
        noise = [stage.learning_rate / (stage.batch_size * (1 - momentum)) for stage in schedule]
        assert noise == pytest.approx([3 / 819.2 / 10**drop for drop in range(4)]), name
    assert rates["ResNet-50, to 16384"] == [3, 3]


def test_verdicts_and_their_controls(made):
    _, verdicts = made
    expected = {  # value, threshold, control
        "decaying, m .9": (1.025 - 14040 / 14000, 0.025, 1.025 - 7020 / 14000),  # B = 16384: 90 * 78
        "to 81920, m .9": (5580 / 6000, 1, 14040 / 6000),
        "to 65536, m .9": (0.975 - 0.97, 0.025, 0.975 - 0.93),  # 5820/6000 and 5580/6000
        "to 65536, m .95": (3480 / 3500, 1, 7020 / 3500),
        "to 65536, m .975": (2310 / 2500, 1, 3510 / 2500),  # B = 32768: 90 * 39
    }
    assert list(verdicts) == list(expected)
    for key, numbers in expected.items():
        verdict = verdicts[key]
        assert (verdict.value, verdict.threshold, verdict.control.value) == pytest.approx(numbers, rel=1e-12)
        assert verdict.holds
        assert verdict.control_flagged
        assert verdict.interval is None
        assert verdict.source == "Smith et al. 2018, sec. 5.3"
    assert verdicts["decaying, m .9"].claim == "decaying, m .9: just over 14000 updates: 14040"
    assert verdicts["decaying, m .9"].statistic == "|updates/14000 - 1.025|"
    assert verdicts["to 81920, m .9"].statistic == "updates/6000"


def test_the_scale_changes_nothing(made):
    result, verdicts = drive(imagenet, SCALES["quick"], lambda tasks: tasks)
    assert (result, verdicts) == made


def test_table(made):
    header, *lines = imagenet.rows(round_trip(imagenet, *made)[0])
    counts = ["n_updates", "exact", "keep_last", "paper", "paper_accuracy"]
    assert header == ["schedule", "momentum", "stage", "n_epochs", "batch_size", *counts]
    assert len(lines) == 5 * 4 + 2
    exact = pytest.approx(30 * N / 32768 + 60 * N / 65536)
    assert lines[17] == ["to 65536, m .975", 0.975, 2, 30, 65536, 2310, exact, 2400, "below 2500", "77.5, 76.8"]
    assert lines[0][-2:] == ["just over 14000", ""]
    assert lines[21] == [
        "ResNet-50, to 16384",
        0.9,
        2,
        60,
        16384,
        9360,
        pytest.approx(30 * N / 8192 + 60 * N / 16384),
        9450,
        "",
        "",
    ]


def test_picture(made):
    figure = imagenet.plot(*round_trip(imagenet, *made))
    figure.draw_without_rendering()
    (axis,) = figure.axes
    assert [bar.get_width() for bar in axis.patches] == [14040, 5580, 5820, 3480, 2310, 9360]
    assert [bar.get_y() + bar.get_height() / 2 for bar in axis.patches] == pytest.approx([0, -1, -2, -3, -4, -5])
    assert [text.get_text() for text in axis.texts][::5] == ["14040  (paper: just over 14000)", "9360"]
    assert [text.get_position() for text in axis.texts][::5] == [(14160, 0), (9480, -5)]
    labels = [tick.get_text() for tick in axis.get_yticklabels()]
    assert labels[::4] == ["B 8192 throughout, m 0.9", "B 32768 to 65536, m 0.975"]
    assert labels[5] == "ResNet-50, B 8192 to 16384, m 0.9"
    assert axis.get_xlim() == pytest.approx((0, 1.6 * 14040))
    expected = "from 14040 updates to 2310 at one eps N/(B (1 - m)), counted from the schedules"
    assert axis.get_title(loc="left") == expected
