"""Figure 4: vanilla SGD and Adam on the schedules of figure 2. Its statistics are those of `test_panels`."""

import numpy as np
import pytest
from driving import drive, first_tasks

from sgdnoise import adam, sgd
from sgdnoise.reproduce import SCALES, Scale
from sgdnoise.reproduce.figures import fig2, fig4

STEPS = np.array([1, 0.2, 0.04, 0.008])


def test_vanilla_sgd_has_the_noise_scale_of_momentum():
    two, four = (first_tasks(figure, SCALES["default"]) for figure in (fig2, fig4))
    vanilla, adams = four[: len(two)], four[len(two) :]
    assert len(adams) == len(two)
    assert {task.optimizer for task in vanilla} == {sgd()}
    for mine, momentum in zip(vanilla, two, strict=True):
        assert mine.seed == momentum.seed
        assert mine.schedule.noise_scale(50_000) == pytest.approx(momentum.schedule.noise_scale(50_000, 0.9), rel=1e-12)
    assert [stage.learning_rate for stage in vanilla[0].schedule] == pytest.approx(STEPS)
    assert vanilla[0].schedule.stages[0].learning_rate == 1.0


def test_adam_has_the_papers_settings_and_the_same_schedules():
    two, four = (first_tasks(figure, SCALES["default"]) for figure in (fig2, fig4))
    adams = four[len(two) :]
    assert {task.optimizer for task in adams} == {adam(b1=0.9, b2=0.999, eps=1e-8)}
    for mine, momentum in zip(adams, two, strict=True):
        assert (mine.seed, mine.l2) == (momentum.seed, momentum.l2)
        for stage, theirs in zip(mine.schedule, momentum.schedule, strict=True):
            assert (stage.n_epochs, stage.batch_size) == (theirs.n_epochs, theirs.batch_size)
            assert stage.learning_rate == pytest.approx(theirs.learning_rate / 100)


def test_the_engine_is_handed_on():
    assert {task.engine for task in first_tasks(fig4, Scale(5, 1, engine="reference"))} == {"reference"}


def test_adam_s_accuracies_are_told_from_those_at_the_first_step():
    """Accuracies rise by .01 an epoch, whatever is trained: the control that never changes is not told apart."""

    def answer(tasks):
        rising = {"train_loss": np.arange(40.0), "test_accuracy": 0.5 + 0.01 * np.arange(40)}
        return [
            {name: values + (len(task.schedule) == 1) * (name == "train_loss") for name, values in rising.items()}
            for task in tasks
        ]

    result, verdicts = drive(fig4, Scale(40, 1), answer)
    vanilla, ours = (verdicts[f"{name}: points"] for name in ("vanilla SGD", "Adam"))
    assert (vanilla.control.name, vanilla.control.value) == ("never changes", pytest.approx(0))
    assert (ours.control.name, ours.control.value) == ("stopped at the first step", pytest.approx(0.28))
    printed = [(panel.name, panel.source, panel.optimizer, panel.learning_rate, panel.control) for panel in result.panels]
    assert printed == [
        ("vanilla SGD", "fig. 4a", "sgd(momentum=0.0, nesterov=False)", 1.0, "never changes"),
        ("Adam", "fig. 4b", "adam(b1=0.9, b2=0.999, eps=1e-08)", 0.001, "stopped at the first step"),
    ]
