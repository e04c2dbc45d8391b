"""Figure 3: momentum and Nesterov momentum on the schedules of figure 2. Its statistics are those of `test_panels`."""

import pytest
from driving import first_tasks

from sgdnoise import sgd
from sgdnoise.reproduce import SCALES, Scale, TrainingTask
from sgdnoise.reproduce.figures import fig2, fig3
from sgdnoise.reproduce.figures.paper import paper_schedules


@pytest.mark.parametrize("scale", ["default", "quick"])
def test_it_trains_figure_2_again_and_the_same_with_nesterov(scale):
    two, three = (first_tasks(figure, SCALES[scale]) for figure in (fig2, fig3))
    assert three[: len(two)] == two
    schedules = paper_schedules(SCALES[scale].n_epochs).values()
    nesterov = [TrainingTask(s, seed, sgd(0.9, nesterov=True)) for s in schedules for seed in range(SCALES[scale].n_seeds)]
    assert three[len(two) :] == nesterov
    assert not set(two) & set(nesterov)


def test_the_engine_is_handed_on():
    assert {task.engine for task in first_tasks(fig3, Scale(5, 1, engine="reference"))} == {"reference"}
