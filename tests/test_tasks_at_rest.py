"""The tasks at rest near the minimum of logistic regression: the minimum, their laws, and loops over the whole model."""

import hashlib
from itertools import permutations

import numpy as np
import pytest
from scipy import stats

from sgdnoise import LogisticRegression, make_teacher, minibatches
from sgdnoise.reproduce.engine.contract import stream
from sgdnoise.reproduce.tasks.at_rest import LangevinRestTask, RestTask, minimum

SETTINGS = [(1.0, 0.01), (0.1, 1e-4)]
EVERYTHING = np.broadcast_to(np.arange(1000), (2, 1000))


def problem(smallest_scale, l2):
    data = make_teacher(1000, 1, n_features=5, signal=1.0, rng=0)
    X = data.X_train * smallest_scale ** (np.arange(5) / 4)
    return LogisticRegression(5), X, data.y_train


@pytest.mark.parametrize("setting", SETTINGS)
def test_coordinates_have_the_models_gradient(setting):
    model, X, y = problem(*setting)
    at = minimum(*setting)
    assert abs(model.gradient(at.params, X, y, setting[1])).max() < 1e-12
    rng = np.random.default_rng(1)
    d, batch = rng.standard_normal((4, 6)), rng.integers(1000, size=(4, 7))
    got, full = at.gradient(d, batch), at.full_gradient(d)
    for r in range(4):
        params = at.params + at.directions @ d[r]
        gradient = model.gradient(params, X[batch[r]], y[batch[r]], setting[1])
        np.testing.assert_allclose(at.directions @ got[r], gradient, atol=1e-12)  # nothing of it points anywhere else
        np.testing.assert_allclose(full[r], at.directions.T @ model.gradient(params, X, y, setting[1]), atol=1e-12)


@pytest.mark.parametrize("setting", SETTINGS)
def test_curvatures_and_gradient_variances_against_the_sigmoids_own_formulas(setting):
    model, X, y = problem(*setting)
    at = minimum(*setting)
    logits = model.logits(at.params, X)
    p = 1 / (1 + np.exp(logits[:, 0] - logits[:, 1]))
    assert (np.diff(at.curvatures) > 0).all()
    np.testing.assert_allclose(at.directions.T @ at.directions, np.eye(6), atol=1e-12)
    for k in range(6):
        v = at.directions[:, k]
        slope = np.diff(model.logits(v, X), axis=1)[:, 0]
        assert at.curvatures[k] == pytest.approx((p * (1 - p) * slope**2).mean() + setting[1] * (v[:10] @ v[:10]))
        assert at.gradient_variances[k] == pytest.approx(np.var((p - y) * slope, ddof=1))
    np.testing.assert_allclose(at.gradient_variances, at.curvatures, rtol=0.1)  # the model is nearly true


def test_predictions_against_iterated_updates():
    """The variance after many updates of a recursion that is written down differently: a sum over impulses."""
    at = minimum()
    n, b, rate = 1000, 250, 0.3
    decay = 1 - rate * at.curvatures
    powers = decay ** np.arange(3000)[:, None]
    independent = {"with_replacement": (1 - 1 / n) / b, "without_replacement": 1 / b - 1 / n}
    for sampling, factor in independent.items():
        summed = rate**2 * factor * at.gradient_variances * (powers**2).sum(axis=0)
        np.testing.assert_allclose(RestTask(sampling, rate, b).predicted(), summed, rtol=1e-9)
    # A reshuffled epoch: batches of one epoch have covariance -S/N, other epochs none.
    weights = powers.reshape(-1, n // b, 6)
    epochs = (weights**2).sum(axis=1) / b - weights.sum(axis=1) ** 2 / n
    summed = rate**2 * at.gradient_variances * epochs.sum(axis=0)
    np.testing.assert_allclose(RestTask("reshuffle", rate, b).predicted(), summed, rtol=1e-9)
    continuous = rate * (1 - 1 / n) / b * at.gradient_variances / (2 * at.curvatures)
    np.testing.assert_allclose(RestTask("reshuffle", rate, b).continuous(), continuous, rtol=1e-12)


def test_predictions_belong_to_the_tasks_own_minimum():
    h, f = minimum(0.1, 1e-4).curvatures, minimum(0.1, 1e-4).gradient_variances
    task = RestTask("with_replacement", 0.1, 20, smallest_scale=0.1, l2=1e-4)
    np.testing.assert_allclose(task.continuous(), 0.1 * (f * 0.999 / 20) / (2 * h), rtol=1e-12)
    np.testing.assert_allclose(task.predicted(), 0.1 * (f * 0.999 / 20) / (h * (2 - 0.1 * h)), rtol=1e-12)
    langevin = LangevinRestTask(0.5, smallest_scale=0.1, l2=1e-4)
    np.testing.assert_allclose(langevin.predicted(), 0.5 / (1000 * h), rtol=1e-12)


@pytest.mark.parametrize(("n", "size"), [(5, 2), (5, 3)])  # by rejection, and by permutation
def test_subsets_of_many_chains_are_uniform(n, size):
    """Chi-squared over all ordered subsets; false-positive rate 1e-6 each."""
    drawn = minibatches(n, size, sampling="without_replacement", n_chains=6000 * size, rng=0)[0]
    counts = [(drawn == wanted).all(axis=1).sum() for wanted in permutations(range(n), size)]
    assert sum(counts) == 6000 * size  # no index twice
    assert stats.chisquare(counts).pvalue > 1e-6


def test_reshuffled_batches_of_many_chains_use_every_example_once():
    batches = minibatches(1000, 200, n_chains=3, rng=0)
    assert batches.shape == (5, 3, 200)
    for r in range(3):
        assert sorted(batches[:, r].ravel()) == list(range(1000))
    assert (batches[:, 0] != batches[:, 1]).any()


def generator(text):
    """The stream of a task with this repr."""
    return np.random.default_rng(list(hashlib.sha256(text.encode()).digest()))


def independent(rng, batch_size):
    return [rng.integers(1000, size=(2, batch_size))]


def permuted(rng, batch_size):
    return [rng.permuted(EVERYTHING, axis=1)[:, :batch_size]]


def redrawn(rng, batch_size):
    """Rows with an example twice are drawn again, all of them at once."""
    batch = rng.integers(1000, size=(2, batch_size))
    while twice := [r for r in range(2) if len(set(batch[r].tolist())) < batch_size]:
        batch[twice] = rng.integers(1000, size=(len(twice), batch_size))
    return [batch]


def dealt(rng, batch_size):
    order = rng.permuted(EVERYTHING, axis=1)
    return [order[:, start : start + batch_size] for start in range(0, 1000, batch_size)]


# The softest curvature is 0.378, and with features of scales 1 to 0.3 it is 0.0410: at the learning rate 0.8 a relaxation takes
# 3.307 updates, and 30.48. Of the former, 4 are 13.2 and 10 are 33.1; an epoch of two batches halves that. Of the latter, 4 are
# 121.9 and 1 is 30.5. A measurement takes 20 looks at least.
@pytest.mark.parametrize(
    ("sampling", "batches", "batch_size", "n_relaxations", "before", "during", "setting"),
    [
        ("with_replacement", independent, 30, 10.0, 14, 34, (1.0, 0.01)),
        ("with_replacement", independent, 30, 1.0, 122, 31, (0.3, 1e-3)),
        ("without_replacement", permuted, 200, 10.0, 14, 34, (1.0, 0.01)),
        ("without_replacement", redrawn, 30, 0.1, 14, 20, (1.0, 0.01)),
        ("reshuffle", dealt, 500, 20.0, 7, 34, (1.0, 0.01)),
    ],
)
def test_rest_task_equals_a_loop_over_the_whole_model(sampling, batches, batch_size, n_relaxations, before, during, setting):
    smallest_scale, l2 = setting
    model, X, y = problem(*setting)
    at = minimum(*setting)
    text = f"RestTask(method='{sampling}', learning_rate=0.8, batch_size={batch_size}, n_replicas=2, "
    rng = generator(f"{text}n_relaxations={n_relaxations}, smallest_scale={smallest_scale}, l2={l2}, seed=3)")
    params = [at.params.copy() for _ in range(2)]
    seen = []
    for _ in range(before + during):
        for batch in batches(rng, batch_size):
            for r in range(2):
                params[r] -= 0.8 * model.gradient(params[r], X[batch[r]], y[batch[r]], l2)
        seen.append([((w - at.params) @ at.directions) ** 2 for w in params])
    task = RestTask(sampling, 0.8, batch_size, 2, n_relaxations, smallest_scale, l2, seed=3)
    result = task.run()
    assert list(result) == ["squares"]
    np.testing.assert_allclose(result["squares"], np.mean(seen[before:], axis=0), rtol=1e-7)


# A step is 0.4 over the largest curvature of the summed cost, 537.9, and a relaxation 0.5379/(0.4 0.3780) = 3.557 steps: of
# those, 4 are 14.2 and 5 are 17.8. With features of scales 1 to 0.3 it is 0.4860/(0.4 0.0410) = 29.63: 4 are 118.5.
@pytest.mark.parametrize(
    ("setting", "n_relaxations", "before", "during"), [((1.0, 0.01), 5.0, 15, 18), ((0.3, 1e-3), 1.0, 119, 30)]
)
def test_langevin_rest_task_equals_a_loop_over_the_whole_model(setting, n_relaxations, before, during):
    smallest_scale, l2 = setting
    model, X, y = problem(*setting)
    at = minimum(*setting)
    text = f"LangevinRestTask(temperature=0.5, n_replicas=2, n_relaxations={n_relaxations}, "
    noise = generator(f"{text}smallest_scale={smallest_scale}, l2={l2}, seed=3)").standard_normal((before + during + 1, 2, 6))
    step = 0.4 / (1000 * at.curvatures.max())
    d, seen = np.zeros((2, 6)), []
    for k in range(before + during):
        gradients = [at.directions.T @ model.gradient(at.params + at.directions @ row, X, y, l2) for row in d]
        d = d - step * 1000 * np.array(gradients) + np.sqrt(2 * 0.5 * step) * (noise[k] + noise[k + 1]) / 2
        seen.append(d**2)
    task = LangevinRestTask(0.5, 2, n_relaxations, smallest_scale, l2, seed=3)
    result = task.run()
    assert list(result) == ["squares"]
    np.testing.assert_allclose(result["squares"], np.mean(seen[before:], axis=0), rtol=1e-7)


def test_langevin_rest_task_agrees_with_boltzmann_and_rejects_a_factor_of_two():
    """5 standard errors from 100 independent replicas, along six directions: false-positive rate below 2e-5."""
    task = LangevinRestTask(0.5, n_relaxations=60.0)
    squares = task.run()["squares"]
    error = squares.std(axis=0, ddof=1) / 10
    law = 0.5 / (1000 * minimum().curvatures)
    assert (abs(squares.mean(axis=0) - law) < 5 * error).all()
    assert (abs(squares.mean(axis=0) - 2 * law) > 5 * error).all()


def test_tasks_of_two_settings_share_no_random_numbers():
    one, other = RestTask("reshuffle", 0.1, 200), RestTask("reshuffle", 0.1, 200, seed=1)
    assert stream(one).integers(1 << 60) == stream(RestTask("reshuffle", 0.1, 200)).integers(1 << 60)
    first = {stream(task).integers(1 << 60) for task in (one, other, RestTask("reshuffle", 0.2, 200), LangevinRestTask(0.1))}
    assert len(first) == 4


def test_costs_grow_with_updates_examples_and_permutations():
    """14 + 34 updates, or 7 + 34 epochs of two; 33 steps."""
    assert RestTask("with_replacement", 0.8, 30, 2, 10.0).cost == pytest.approx(48 * (1e-4 + 2 * 6e-8 * 30))
    assert RestTask("without_replacement", 0.8, 30, 2, 10.0).cost == pytest.approx(48 * (1e-4 + 2 * 6e-8 * 30))
    assert RestTask("without_replacement", 0.8, 200, 2, 10.0).cost == pytest.approx(48 * (1e-4 + 2 * (6e-8 * 200 + 2e-5)))
    assert RestTask("reshuffle", 0.8, 500, 2, 20.0).cost == pytest.approx(41 * 2 * (1e-4 + 2 * 6e-8 * 500))
    assert LangevinRestTask(0.5, 2, 5.0).cost == pytest.approx(33 * 2 * 2e-5)
