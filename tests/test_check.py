"""``sgdnoise check``: its laws hold, and wrong laws fail with status 1."""

from functools import partial
from itertools import islice

import pytest

from sgdnoise.cli import main
from sgdnoise.reproduce import check
from sgdnoise.reproduce.check import Measurement, measure
from sgdnoise.reproduce.tasks.minibatch_noise import MinibatchNoiseTask, StationaryTask


@pytest.fixture(scope="module")
def measurements():
    """Of a quarter of the command's draws."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(check, "MinibatchNoiseTask", partial(MinibatchNoiseTask, n_draws=100))
        return list(measure(jobs=2))


def test_all_laws_hold(measurements):
    """39 rows at 5 standard errors: false-positive rate below 3e-5; the seeds are fixed."""
    assert [str(m) for m in measurements if not m.holds] == []
    assert len(measurements) == 39
    assert sum(m.error > 0 and m.error < 0.2 * abs(m.predicted) for m in measurements) >= 30  # and they say something


def test_results_do_not_depend_on_the_number_of_processes(measurements):
    again = [m for task, interpret in islice(check._stationary_laws(), 0, None, 2) for m in interpret(task.run())]
    assert len(again) == 3
    assert set(again) <= set(measurements)


def test_wrong_laws_are_rejected(measurements):
    """The i.i.d. law for a reshuffled epoch, momentum's for Nesterov, eps N/B at large B, and no correction at small B."""
    by_setting = {(m.law, m.setting): m for m in measurements}

    def z(law, setting, predicted):
        m = by_setting[law, setting]
        return Measurement(law, setting, predicted, m.measured, m.error).z

    rest, trace = "stationary Var(w) on a quadratic", "tr Cov of minibatch gradients"
    independent = by_setting[rest, "without_replacement, eps h=0.1"].predicted
    assert abs(z(rest, "reshuffle, eps h=0.1", independent)) > 50
    momentum = by_setting[rest, "with_replacement, m=0.9, eps h=0.02"].predicted
    assert abs(z(rest, "with_replacement, m=0.9, Nesterov, eps h=0.02", momentum)) > 5
    replaced = by_setting[trace, "with_replacement, B=250, N=500"].predicted
    assert abs(z(trace, "without_replacement, B=250, N=500", replaced)) > 20
    assert abs(z("tr Cov of two batches of an epoch", "reshuffle, B=100, N=500", 0.0)) > 10


@pytest.mark.parametrize(
    ("n_train", "batch_size", "learning_rate"),
    [(20, 1, 0.05), (22, 5, 0.3), (60, 20, 0.1), (100, 10, 0.5), (100, 50, 1.2), (31, 7, 0.02)],
)
def test_the_law_of_reshuffling_over_settings(n_train, batch_size, learning_rate):
    """At epoch ends within 5 standard errors of 150 replicas each, 6 settings: false-positive rate about 1e-5."""
    task = StationaryTask("reshuffle", learning_rate, batch_size, n_train, n_replicas=150)
    assert check._measurement("", "", task.predicted(), task.run()["squares"]).holds


def test_a_law_that_fails_is_named_and_ends_with_status_1(monkeypatch, capsys):
    task = StationaryTask("reshuffle", 0.1, n_replicas=50)
    rows = [
        check._measurement("a right law", "", task.predicted(), task.run()["squares"]),
        Measurement("a wrong law", "for once", 1.0, 2.0, 0.1),
    ]
    monkeypatch.setattr(check, "measure", lambda: iter(rows))
    with pytest.raises(SystemExit) as exit:
        main(["check"])
    out = capsys.readouterr().out.splitlines()
    assert exit.value.code == 1
    assert out[-1] == "1 of 2 laws hold"
    assert out[-2].endswith("10.0  FAILS")
    assert not out[-3].endswith("FAILS")
    assert not Measurement("not a number", "", 1.0, float("nan"), 0.1).holds
    assert not Measurement("no error", "", 1.0, 1.1, 0.0).holds
