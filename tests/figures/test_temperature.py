"""The figure `temperature`: what its statistics make of data that have the laws, and of data that break them by known amounts."""

import numpy as np
import pytest
from driving import drive, first_tasks, round_trip

from sgdnoise.reproduce import SCALES
from sgdnoise.reproduce.figures import temperature
from sgdnoise.reproduce.tasks.at_rest import LangevinRestTask, RestTask, minimum

pytestmark = pytest.mark.usefixtures("few_resamples")

N = 1000
KINDS = ["pair", "pair", "langevin"] * 4 + ["hot"] * 3 + ["rate"] * 6 + ["batch"] * 6 + ["reshuffled"] * 5 + ["own", "one"]
KEYS = {
    "equal g": "pair",
    "Langevin": "langevin",
    "large rates": "rate",
    "large batches": "batch",
    "reshuffling": "reshuffled",
    "anisotropy": "own",
}


def minimum_of(kind):
    """Curvatures and gradient variances along six directions."""
    at = minimum(0.1, 1e-4) if kind in ("own", "one") else minimum()
    return at.curvatures, at.gradient_variances


def continuous_of(kind, rate, b):
    """In continuous time, with replacement."""
    h, f = minimum_of(kind)
    return rate * f * (1 - 1 / N) / b / (2 * h)


def kelvin_of(kind, g=None):
    """Temperature g f/2; in panel (d) g is eps N/B."""
    return (0.1 * N / 20 if kind == "one" else g) * minimum_of(kind)[1].mean() / 2


def law_of(kind, rate, b, kelvin):
    """The variance along each direction."""
    h, f = minimum_of(kind)
    if kelvin:
        return kelvin / (N * h)
    q, m = 1 - rate * h, N // b
    if kind == "reshuffled":
        epoch = (1 - q ** (2 * m)) / (1 - q**2) / b - ((1 - q**m) / (1 - q)) ** 2 / N
        return rate**2 * f * epoch / (1 - q ** (2 * m))
    return rate**2 * f * ((1 - 1 / N) / b if kind in ("rate", "own") else 1 / b - 1 / N) / (1 - q**2)


def law_of_task(kind, task):
    if isinstance(task, LangevinRestTask):
        return law_of(kind, None, None, task.temperature)
    return law_of(kind, task.learning_rate, task.batch_size, None)


def made(ratios=None, laws=None, scale=0.02):
    """Result and verdicts at the default scale, on laws, or other `laws`, times the ratio of their kind.

    A ratio is a number, or six of them. Standard errors are the `scale`.
    """

    def answer(tasks):
        answers = []
        for kind, task in zip(KINDS, tasks, strict=True):
            law = (laws or {}).get(kind, law_of_task)(kind, task) * (ratios or {}).get(kind, 1.0)
            scatter = scale * np.sqrt(task.n_replicas - 1) * np.tile([-1, 1], task.n_replicas // 2)
            answers.append({"squares": law * (1 + scatter[:, None])})
        return answers

    return drive(temperature, SCALES["default"], answer)


def test_pairs_and_langevin_dynamics_share_the_noise_scale():
    tasks = first_tasks(temperature, SCALES["default"])
    f = minimum().gradient_variances.mean()
    for i, g in enumerate((1.0, 2.0, 5.0, 10.0, 50.0)):
        small, large, langevin = tasks[3 * i : 3 * i + 3]
        assert (small.batch_size, large.batch_size) == (4, 20)
        for task in (small, large):
            assert task == RestTask("without_replacement", pytest.approx(g / (N / task.batch_size - 1)), task.batch_size, 400)
        assert langevin == LangevinRestTask(pytest.approx(g * f / 2), 200)


def test_the_other_tasks():
    tasks = first_tasks(temperature, SCALES["default"])
    rates = [(0.2, 100), (0.5, 250), (1.0, 500), (1.5, 750), (2.0, 1000), (2.5, 1250)]
    assert tasks[15:21] == [RestTask("with_replacement", rate, b, 100, 200.0) for rate, b in rates]
    assert tasks[21:27] == [RestTask("without_replacement", 0.2, b, 100) for b in (20, 100, 250, 500, 700, 900)]
    assert tasks[27:32] == [RestTask("reshuffle", 0.2, b, 400) for b in (20, 40, 100, 200, 500)]
    assert tasks[32] == RestTask("with_replacement", 0.1, 20, 400, 10.0, 0.1, 1e-4)
    kelvin = 0.1 * N / 20 * minimum(0.1, 1e-4).gradient_variances.mean() / 2
    assert tasks[33:] == [LangevinRestTask(pytest.approx(kelvin), 100, 10.0, 0.1, 1e-4)]
    assert tasks == first_tasks(temperature, SCALES["full"])


def test_the_tasks_of_a_smoke_run():
    tasks = first_tasks(temperature, SCALES["quick"])
    assert [t.n_relaxations for t in tasks] == [15.0] * 6 + [30.0] * 3 + [15.0] * 4 + [5.0] * 2
    assert [t.batch_size for t in tasks if isinstance(t, RestTask)] == [4, 20, 4, 20, 250, 750, 1250, 20, 500, 100, 200, 20]
    assert [t.learning_rate * (N / t.batch_size - 1) for t in (tasks[0], tasks[4])] == pytest.approx([10, 50])
    assert [t.smallest_scale for t in tasks] == [1.0] * 13 + [0.3] * 2
    assert [t.l2 for t in tasks] == [0.01] * 13 + [1e-4] * 2


def test_points():
    result, _ = made({"batch": 1.2})
    h, f = minimum_of("pair")
    assert (result.n_train, result.mean_gradient_variance) == (N, pytest.approx(f.mean()))
    assert len(result.points) == 34 * 6
    for k in range(6):
        p = result.points[6 * 24 + k]  # B = 500 without replacement
        assert (p.panel, p.x, p.dynamics, p.learning_rate, p.batch_size) == ("batch", 0.5, "without_replacement", 0.2, 500)
        assert (p.curvature, p.gradient_variance) == (h[k], f[k])
        law = law_of("batch", 0.2, 500, None)[k]
        assert (p.predicted, p.measured, p.error) == pytest.approx((law, 1.2 * law, 0.02 * 1.2 * law), rel=1e-9)
        assert p.continuous == pytest.approx(continuous_of("batch", 0.2, 500)[k], rel=1e-9)
        p = result.points[6 * 5 + k]  # Langevin dynamics at g = 2
        assert (p.panel, p.x, p.dynamics, p.learning_rate, p.batch_size) == ("equal_g", 2.0, "langevin", 0.0, 0)
        law = kelvin_of("langevin", 2.0) / (N * h[k])
        assert (p.predicted, p.continuous, p.measured) == pytest.approx((law, law, law), rel=1e-9)
    panels = ["equal_g"] * 90 + ["rate"] * 36 + ["batch"] * 66 + ["anisotropic"] * 12
    assert [p.panel for p in result.points] == panels
    assert {p.x for p in result.points if p.panel == "anisotropic"} == {0.1}
    assert [p.x for p in result.points if p.panel == "rate"][::6] == [0.2, 0.5, 1.0, 1.5, 2.0, 2.5]


def test_data_that_have_the_laws_and_all_controls():
    _, verdicts = made({"hot": 2.0})  # which no verdict uses
    assert list(verdicts) == list(KEYS)
    for verdict in verdicts.values():
        assert verdict.value == pytest.approx(0, abs=1e-9)
        assert verdict.interval[1] > 1e-3
        assert verdict.holds
        assert verdict.control_flagged
    h, f = minimum_of("own")
    reshuffled = [law_of("reshuffled", 0.2, b, None) / continuous_of("reshuffled", 0.2, b) for b in (20, 40, 100, 200, 500)]
    controls = {
        "equal g": 0.5,
        "Langevin": 0.5,
        "large rates": 1 / (1 - 2.5 * minimum().curvatures.max() / 2) - 1,  # 2.05
        "large batches": 0.9,
        "reshuffling": np.abs(np.array(reshuffled) - 1).max(),
        "anisotropy": np.abs((1 - 1 / N) * f / f.mean() / (1 - 0.1 * h / 2) - 1).max(),
    }
    assert {key: verdict.control.value for key, verdict in verdicts.items()} == pytest.approx(controls, rel=1e-9)
    assert controls["large rates"] == pytest.approx(2.05, abs=0.01)


@pytest.mark.parametrize("turn", range(6))
def test_laws_that_are_broken_each_in_its_own_way(turn):
    """Each verdict in its turn; the numbers of one are nothing to the others."""
    ratios = [0.85, 1.07, 1.15, np.array([1, 1, 1, 1.05, 1, 0.8]), np.array([1.3, 1, 1, 1, 1, 1]), np.nan]
    off, held = [0.15, 0.07, 0.15, 0.2, 0.3, np.nan], [False, True, False, False, False, False]
    turns = [(i + turn) % 6 for i in range(6)]
    _, verdicts = made({kind: ratios[i] for kind, i in zip(KEYS.values(), turns, strict=True)})
    assert [verdicts[key].value for key in KEYS] == pytest.approx([off[i] for i in turns], abs=1e-9, nan_ok=True)
    assert [verdicts[key].holds for key in KEYS] == [held[i] for i in turns]


@pytest.mark.parametrize("where", [0, 1, 4])
def test_one_setting_of_many_is_enough(where):
    """The pairs at B = 4 and 20 of g = 1, and one of g = 2: a fifth too cold."""
    count = iter(range(100))
    _, verdicts = made(laws={"pair": lambda kind, task: law_of_task(kind, task) * (0.8 if next(count) == where else 1)})
    assert verdicts["equal g"].value == pytest.approx(0.2)


def test_the_interval_is_over_replicas():
    _, verdicts = made({"pair": 1.3}, scale=0)
    assert verdicts["equal g"].interval == pytest.approx((0.3, 0.3))
    _, verdicts = made(scale=0.1)
    low, high = verdicts["equal g"].interval
    assert 0 <= low < 0.1 < high < 0.4


def test_the_controls_are_not_flagged_where_their_laws_hold():
    def twice(kind, task):
        return 2 * law_of_task(kind, task)

    def continuous(kind, task):
        return continuous_of(kind, task.learning_rate, task.batch_size)

    def rule(kind, task):
        return law_of_task(kind, task) / (1 - task.batch_size / N)

    def one_temperature(kind, task):
        return kelvin_of("one") / (N * minimum_of(kind)[0])

    wrong = {"pair": twice, "langevin": twice, "rate": continuous, "batch": rule}
    _, verdicts = made(laws=wrong | {"reshuffled": continuous, "own": one_temperature})
    for verdict in verdicts.values():
        assert verdict.control.value == pytest.approx(0, abs=1e-9)
        assert not verdict.control_flagged
        assert not verdict.holds


def test_rows():
    result, verdicts = made()
    header, *lines = temperature.rows(round_trip(temperature, result, verdicts)[0])
    assert ",".join(header) == (
        "panel,x,dynamics,learning_rate,batch_size,curvature,gradient_variance,predicted,continuous,measured,standard_error"
    )
    assert len(lines) == 204
    h, f = minimum_of("batch")
    law = law_of("batch", 0.2, 500, None)[0]
    assert lines[144][:5] == ["batch", 0.5, "without_replacement", 0.2, 500]
    expected = [h[0], f[0], law, continuous_of("batch", 0.2, 500)[0], law, 0.02 * law]
    assert lines[144][5:] == pytest.approx(expected, rel=1e-9)


@pytest.fixture(scope="module")
def axes():
    """Of data that are a tenth and more off their laws."""
    made_up = made({"langevin": 1.1, "hot": 2.0, "rate": 1.2, "batch": 1.3, "reshuffled": 1.4, "own": 1.5, "one": 1.6})
    figure = temperature.plot(*round_trip(temperature, *made_up))
    figure.draw_without_rendering()
    return figure.axes


def points_of(container):
    """x, y and the half-width of the error bar."""
    x, y = container.lines[0].get_data()
    return x, y, np.array([np.ptp(segment[:, 1]) / 2 for segment in container.lines[2][0].get_segments()])


def test_plot_of_equal_g(axes):
    h, f = minimum().curvatures, minimum().gradient_variances
    drawn = {container.get_label(): points_of(container) for container in axes[0].containers}
    g = np.array([1.0, 2.0, 5.0, 10.0, 50.0])
    x, y, error = drawn["Langevin dynamics"]
    heat = g * f.mean() / 2 * [1.1, 1.1, 1.1, 1.1, 2.0]
    assert x.tolist() == g.tolist()
    assert y == pytest.approx(heat)
    assert error == pytest.approx(0.02 * heat / np.sqrt(6))  # equal along six directions
    for b in (4, 20):
        x, y, error = drawn[f"SGD, B = {b}"]
        rate = g / (N / b - 1)
        exact = np.array([g_ * f / 2 / (1 - eps * h / 2) for g_, eps in zip(g, rate, strict=True)]) * [[1], [1], [1], [1], [2]]
        assert x.tolist() == g.tolist()
        assert y == pytest.approx(exact.mean(axis=1))
        assert error == pytest.approx(0.02 * np.sqrt((exact**2).sum(axis=1)) / 6)
    x, y = axes[0].lines[0].get_data()
    assert y == pytest.approx(f.mean() * x / 2)
    assert any("+100% on the exact law" in text.get_text() for text in axes[0].texts)


def test_plot_of_large_rates(axes):
    h = minimum().curvatures
    x, y, error = points_of(axes[1].containers[0])
    assert x == pytest.approx(np.outer([0.2, 0.5, 1.0, 1.5, 2.0, 2.5], h).ravel())
    assert y == pytest.approx(1.2 / (1 - x / 2))
    assert error == pytest.approx(0.02 * y)
    x, y = axes[1].lines[1].get_data()
    assert y == pytest.approx(1 / (1 - x / 2))


def test_plot_of_batches(axes):
    """Discrete time is taken out."""
    h = minimum().curvatures
    independent, reshuffled = (points_of(container) for container in axes[2].containers)
    x, y, error = independent
    assert x.tolist() == [0.02, 0.1, 0.25, 0.5, 0.7, 0.9]
    assert y == pytest.approx(1.3 * (1 - x) * N / (N - 1))  # the rule of N - 1 in N
    assert error == pytest.approx(0.02 * y / np.sqrt(6))
    x, y, _ = reshuffled
    sizes = (20, 40, 100, 200, 500)
    ratios = [law_of("reshuffled", 0.2, b, None) / continuous_of("reshuffled", 0.2, b) * (1 - 0.2 * h / 2) for b in sizes]
    law = np.mean(ratios, axis=1)
    assert x.tolist() == [0.02, 0.04, 0.1, 0.2, 0.5]
    assert y == pytest.approx(1.4 * law)
    assert axes[2].lines[-1].get_ydata() == pytest.approx(law)


def test_plot_of_anisotropic_noise(axes):
    h, _ = minimum_of("own")
    for container, kind, ratio, arguments in (
        (axes[3].containers[0], "own", 1.5, (0.1, 20, None)),
        (axes[3].containers[1], "one", 1.6, (None, None, kelvin_of("one"))),
    ):
        law = law_of(kind, *arguments)
        x, y, error = points_of(container)
        assert x == pytest.approx(h)
        assert y == pytest.approx(ratio * law)
        assert error == pytest.approx(0.02 * y)
        assert any(line.get_ydata() == pytest.approx(law) for line in axes[3].lines if line.get_linestyle() == "-")
