"""SGLD on the mixture and on images: tasks against loops written out, the best fit against another method."""

import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.special import expit

from sgdnoise.reproduce.tasks.sgld import EDGES, TOY, LogisticTask, MixtureTask, best_fit, scores_of, shirts, window_means


def walk(n_updates, batch_size, n_chains, seed, gamma=0.55, first=0.01, last=0.0001):
    """SGLD on the mixture, written out: paths (n + 1, chains, 2), steps (n,), and both noises (n, chains, 2)."""
    rng, order = np.random.default_rng(seed), np.tile(np.arange(100), (n_chains, 1))
    b = n_updates / ((first / last) ** (1 / gamma) - 1)
    eps = first * (1 + np.arange(n_updates) / b) ** -gamma
    theta = [np.array([[0.0, 1.0], [1.0, -1.0]] * (n_chains // 2))]
    gradient_noise, injected = [], []
    for t in range(n_updates):
        i = t % (100 // batch_size)
        if i == 0:
            order = rng.permuted(order, axis=1)
        examples = TOY.per_example_gradients(theta[-1])
        chosen = order[:, i * batch_size : (i + 1) * batch_size]
        likelihood = np.array([100 * examples[chain, chosen[chain]].mean(axis=0) for chain in range(n_chains)])
        gradient_noise.append((eps[t] / 2 * (likelihood - examples.sum(axis=1))) ** 2)
        noise = eps[t] ** 0.5 * rng.standard_normal((n_chains, 2))
        injected.append(noise**2)
        theta.append(theta[-1] + eps[t] / 2 * (likelihood - theta[-1] / [10.0, 1.0]) + noise)
    return np.array(theta), eps, np.array(gradient_noise), np.array(injected)


def test_the_toy_and_the_cells():
    assert len(TOY.data) == 100
    rng = np.random.default_rng(3)
    second = rng.integers(2, size=100)
    np.testing.assert_allclose(TOY.data, second + 2**0.5 * rng.standard_normal(100))
    assert [(edges[0], edges[-1], len(edges)) for edges in EDGES] == [(-1.5, 2.5, 81), (-3, 3, 61)]


def test_mixture_task_is_sgld_written_out():
    result = MixtureTask(300, 5, 0.01, 0.0001, n_chains=4, noises=True, seed=2).run()
    theta, eps, gradient_noise, injected = walk(300, 5, 4, seed=2)
    records = np.arange(80, 301, 10)
    x, weights = theta[records], eps[records - 1] / eps[records - 1].sum()
    np.testing.assert_allclose(result["mean"], np.einsum("t,tck->ck", weights, x))
    np.testing.assert_allclose(result["second"], np.einsum("t,tck,tcl->ckl", weights, x, x))
    np.testing.assert_allclose(result["upper"], weights @ (x[..., 1] > 0))
    np.testing.assert_array_equal(result["began_upper"], [True, False, True, False])
    in_cell = (
        (x[..., 0] >= EDGES[0][20]) & (x[..., 0] < EDGES[0][45]) & (x[..., 1] >= EDGES[1][35]) & (x[..., 1] < EDGES[1][45])
    )
    assert result["histogram"][20:45, 35:45].sum() == pytest.approx((weights[:, None] * in_cell).sum() / 4)
    watched = abs(eps[:, None] - result["eps"]).argmin(axis=0)
    np.testing.assert_allclose(eps[watched], result["eps"])
    assert set(watched[:20]) == set(range(20))
    assert (watched.reshape(-1, 10) - watched[::10, None] == np.arange(10)).all()
    np.testing.assert_allclose(result["gradient_noise"], gradient_noise[watched])
    np.testing.assert_allclose(result["injected_noise"], injected[watched], rtol=1e-6, atol=1e-12)
    means = window_means(result)
    assert len(means["eps"]) == len(watched) // 10
    np.testing.assert_allclose(means["eps"][1], eps[watched[10:20]].mean())
    np.testing.assert_allclose(means["gradient_noise"][1], gradient_noise[watched[10:20]].mean(axis=0))
    np.testing.assert_allclose(means["injected_noise"][1], injected[watched[10:20]].mean(axis=0), rtol=1e-6)


def test_noises_are_measured_only_if_wanted_and_change_nothing():
    quiet, watched = (MixtureTask(200, 10, 0.01, 0.001, 2, noises, seed=1).run() for noises in (False, True))
    assert set(watched) - set(quiet) == {"eps", "gradient_noise", "injected_noise"}
    for name, array in quiet.items():
        np.testing.assert_array_equal(array, watched[name])


def test_the_windows_are_evenly_spaced_in_the_logarithm():
    """Forty of them from the first update to the last 20, of which those that fall on each other are one."""
    eps = MixtureTask(4000, 1, 0.01, 0.0001, 2, noises=True).run()["eps"]
    b = 4000 / (100 ** (1 / 0.55) - 1)
    updates = np.rint(((eps / 0.01) ** (-1 / 0.55) - 1) * b).astype(int)
    starts = updates[::10]
    expected = sorted({int(3980 ** (k / 39) * (1 + 1e-12)) // 10 * 10 for k in range(40)})
    assert starts.tolist() == expected
    assert (updates.reshape(-1, 10) - starts[:, None] == np.arange(10)).all()


def test_best_fit_by_another_method():
    X, y, X_test, y_test = shirts(400, 50)
    assert X.shape == (400, 51)
    assert len(y_test) == len(X_test) == 2000
    np.testing.assert_allclose(X[:, 1:].T @ X[:, 1:] / 400, np.eye(50), atol=1e-9)
    assert (X[:, 0] == 1).all()
    assert set(y) == {0, 1}

    def loss(theta):
        z = X @ theta
        return np.sum(np.logaddexp(0, z) - y * z) + theta @ theta / 2, X.T @ (expit(z) - y) + theta

    found = minimize(loss, np.zeros(51), jac=True, method="BFGS", options={"gtol": 1e-6}).x
    np.testing.assert_allclose(best_fit(X, y), found, atol=1e-5)


def test_logistic_task_is_sgld_written_out():
    result = LogisticTask(60, n_chains=2, seed=4).run()
    X, y, X_test, y_test = shirts(400, 50)
    rng, order = np.random.default_rng(4), np.tile(np.arange(400), (2, 1))
    b = 60 / (100 ** (1 / 0.55) - 1)
    eps = 0.01 * (1 + np.arange(60) / b) ** -0.55
    theta, predicted = np.zeros((2, 51)), []
    for t in range(60):
        if t % 40 == 0:
            order = rng.permuted(order, axis=1)
        chosen = order[:, t % 40 * 10 :][:, :10]
        gradient = np.array([(y[i] - expit(X[i] @ w)) @ X[i] for i, w in zip(chosen, theta, strict=True)])
        theta = theta + eps[t] / 2 * (40 * gradient - theta) + eps[t] ** 0.5 * rng.standard_normal((2, 51))
        predicted.append(expit(theta @ X_test.T))
    assert result["step"].tolist() == list(range(1, 61))
    for done in (1, 7, 60):
        average = np.average(predicted[:done], axis=0, weights=eps[:done])
        for kind, p in (("sample", predicted[done - 1]), ("average", average)):
            loglik = np.mean(y_test * np.log(p) + (1 - y_test) * np.log1p(-p), axis=1)
            np.testing.assert_allclose(result[f"{kind}_loglik"][done - 1], loglik, rtol=1e-6)
            np.testing.assert_allclose(result[f"{kind}_accuracy"][done - 1], np.mean((p > 0.5) == (y_test == 1), axis=1))
    p = expit(X_test @ best_fit(X, y))
    assert result["best_loglik"] == pytest.approx(np.mean(y_test * np.log(p) + (1 - y_test) * np.log1p(-p)))
    assert result["best_accuracy"] == np.mean((p > 0.5) == (y_test == 1))


def test_long_chains_are_recorded_400_times():
    assert LogisticTask(1000, n_chains=1).run()["step"].tolist() == list(range(2, 1001, 2))


def test_scores_do_not_overflow():
    loglik, accuracy = scores_of(np.array([0.0, 1.0, 0.25]), np.array([1.0, 1.0, 0.0]))
    assert loglik == pytest.approx((np.log(1e-300) + np.log(0.75)) / 3)
    assert accuracy == pytest.approx(2 / 3)


def test_costs():
    assert MixtureTask(3000, 5, 0.01, 0.0001, 20).cost == pytest.approx(3000 * (3e-5 + 1e-8 * 20 * 9))
    assert LogisticTask(3000, 20).cost == pytest.approx(3 + 3000 * (2e-5 + 1.2e-6 * 20))
