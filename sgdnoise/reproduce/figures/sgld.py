"""Stochastic gradient Langevin dynamics, after Welling and Teh: SGD that turns into a sampler as its step falls.

(a) The posterior of their mixture, by quadrature, and the histogram of many chains' samples weighted by their steps. (b) Why:
the noise of the minibatches, (eps/2)^2 N^2 V/n, falls with the square of the step and the injected noise with the step, so
that below some step the second one rules. (c, d) Logistic regression with a normal prior on two classes of the bundled images:
what the average of a chain's predictions so far is worth on test images, beside the latest sample's and the best fit's. That
the log likelihood of an average of predictions is larger than the average of theirs is Jensen's inequality; by how much, and
whether the average also beats the best fit, is not.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache, partial
from typing import Any

import numpy as np

from ...boltzmann import boltzmann_density
from ..engine.contract import Arrays, Scale
from ..engine.verdicts import Control, Verdict, estimate, standard_error
from ..tasks.sgld import EDGES, TOY, LogisticTask, MixtureTask, window_means
from . import Rows, Run, Verdicts
from .curves import draw_band
from .style import Axes, Figure, canvas, figure_style

TITLE = "SGLD: as the step falls, SGD turns into a sampler of the posterior"

_cited = partial(Verdict, source="Welling and Teh 2011")
_ours = partial(Verdict, source="measured here")
_GRID = np.linspace(-4, 5, 181), np.linspace(-5, 5, 181)
_POINTS = np.stack(np.meshgrid(*_GRID, indexing="ij"), axis=-1)
_CROSSING = 0.0005**0.5 * 0.001**0.5  # the middle of the claimed interval, on a logarithmic scale
_MOMENTS = ("mean of u", "mean of v", "variance of u", "covariance of u, v", "variance of v")
_AXES = {"mean": 0, "second": 0, "upper": 0, "began_upper": 0, "gradient_noise": 1, "injected_noise": 1}  # of the chains
_SCORES = ("average_loglik", "average_accuracy", "sample_loglik", "sample_accuracy")
_STYLES = ("#0072B2", "o"), ("#D55E00", "s")  # colour and marker of either parameter


@dataclass(frozen=True, eq=False)
class Mixture:
    """Settings, moments and shares of the chains beside those by quadrature, and the pooled histogram.

    Moments are of u = theta_1 and v = theta_1 + theta_2/2; the second ones are about the exact mean.
    """

    n_updates: int
    batch_size: int
    first: float
    last: float
    n_chains: int
    moments: Sequence[str]
    measured: np.ndarray
    errors: np.ndarray
    exact: np.ndarray
    at_temperature_2: np.ndarray
    upper: list[float]
    """Share of theta_2 > 0, of chains that began there and of the others."""
    upper_errors: list[float]
    exact_upper: float
    histogram: np.ndarray


@dataclass(frozen=True, eq=False)
class Noises:
    """Variances of both noises along the chains, (2, n_windows), where they cross for either parameter, and where by theory."""

    eps: np.ndarray
    gradient_noise: np.ndarray
    injected_noise: np.ndarray
    crossing: list[float]
    exact_crossing: np.ndarray


@dataclass(frozen=True, eq=False)
class Logistic:
    """Settings, scores on the test images after `step` updates, means over chains and their scatter, and the best fit's."""

    n_train: int
    n_components: int
    n_chains: int
    step: np.ndarray
    average_loglik: np.ndarray
    average_loglik_scatter: np.ndarray
    sample_loglik: np.ndarray
    sample_loglik_scatter: np.ndarray
    average_accuracy: np.ndarray
    average_accuracy_scatter: np.ndarray
    sample_accuracy: np.ndarray
    sample_accuracy_scatter: np.ndarray
    best_loglik: float
    best_accuracy: float

    def scores(self, name: str) -> tuple[np.ndarray, np.ndarray]:
        """Mean and scatter of one of `_SCORES`."""
        return getattr(self, name), getattr(self, f"{name}_scatter")


@dataclass(frozen=True, eq=False)
class Result:
    """What the chains on the mixture gave, the noises in them, and logistic regression."""

    mixture: Mixture
    noises: Noises
    logistic: Logistic


def run(scale: Scale) -> Run[Result]:
    """Run the chains, and compute the posterior by quadrature."""
    n_updates, n_chains, n_tasks, n_logistic = 1_000_000, 64, 2, 100_000
    if scale.quick:
        n_updates, n_chains, n_logistic = 20_000, 50, 4_000
    elif scale.n_seeds > 4:
        n_chains, n_tasks, n_logistic = 128, 8, 400_000
    mixture = [MixtureTask(n_updates, 1, 0.01, 0.0001, n_chains, noises=True, seed=seed) for seed in range(n_tasks)]
    logistic = LogisticTask(n_logistic, 10 if scale.quick else 20)
    *chains, images = yield [*mixture, logistic]
    pool = pooled(chains)
    histogram = np.mean([chain["histogram"] for chain in chains], axis=0).round(7)
    result = Result(_mixture(mixture[0], pool, histogram), noises(pool, mixture[0].batch_size), _logistic(logistic, images))
    last = {name: images[name][-1] for name in _SCORES}
    return result, [*_noise_verdicts(result.noises, pool), *_law_verdicts(result.mixture, pool), *_score_verdicts(result, last)]


def pooled(chains: list[Arrays]) -> Arrays:
    """All chains together: moments (n_chains, 5), shares, starts (n_chains,), noises (n_windows, n_chains, 2) and their eps."""
    pool = {name: np.concatenate([chain[name] for chain in chains], axis=axis) for name, axis in _AXES.items()}
    windows = window_means(pool | {"eps": chains[0]["eps"]})
    return pool | windows | {"moments": moments(pool["mean"], pool["second"])}


def _shares(pool: Arrays) -> list[np.ndarray]:
    """Shares of theta_2 > 0 of the chains that began there, and of the others."""
    return [pool["upper"][pool["began_upper"] == there] for there in (True, False)]


@cache
def posterior(temperature: float = 1.0) -> np.ndarray:
    """Density of the posterior to the power 1/temperature at the points of the grid."""
    return boltzmann_density(TOY.energy, temperature, _GRID)


@cache
def law(temperature: float = 1.0) -> tuple[np.ndarray, np.ndarray, float]:
    """Mean, second moments and the share of theta_2 > 0 of the posterior to the power 1/temperature, by quadrature."""
    weights = posterior(temperature) / posterior(temperature).sum()
    upper = np.heaviside(_POINTS[..., 1], 0.5)
    second = np.einsum("ij,ijk,ijl->kl", weights, _POINTS, _POINTS)
    return np.einsum("ij,ijk->k", weights, _POINTS), second, float((weights * upper).sum())


def moments(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Means and second moments about the exact mean of (theta_1, theta_1 + theta_2/2), from first and second moments of theta.

    Along the second one the posterior is narrow, whatever the modes do.
    """
    rotation, exact_mean = np.array([[1.0, 0.0], [1.0, 0.5]]), law()[0]
    away = first - exact_mean
    cross = exact_mean[:, None] * away[..., None, :]
    about = second - np.outer(exact_mean, exact_mean) - cross - np.swapaxes(cross, -1, -2)
    turned = rotation @ about @ rotation.T
    return np.concatenate([first @ rotation.T, turned[..., [0, 0, 1], [0, 1, 1]]], axis=-1)


def _mixture(task: MixtureTask, pool: Arrays, histogram: np.ndarray) -> Mixture:
    sample = pool["moments"]
    setting = task.n_updates, task.batch_size, task.first, task.last, len(sample), _MOMENTS
    laws = moments(*law()[:2]), moments(*law(2.0)[:2])
    upper, errors = ([float(of(share)) for share in _shares(pool)] for of in (np.mean, standard_error))
    return Mixture(*setting, sample.mean(axis=0), standard_error(sample), *laws, upper, errors, law()[2], histogram)


def noises(pool: Arrays, batch_size: int) -> Noises:
    """Means over the chains, and where theory lets the noises cross, by the posterior's mean variance of the gradients."""
    gradient_noise, injected = pool["gradient_noise"].mean(axis=1), pool["injected_noise"].mean(axis=1)
    density = posterior().ravel()
    chosen = density > 1e-6 * density.max()
    per_example = TOY.per_example_gradients(_POINTS.reshape(-1, 2)[chosen])
    variance = np.average(per_example.var(axis=1), axis=0, weights=density[chosen])
    crossings = [crossing(pool["eps"], gradient_noise[:, k], injected[:, k]) for k in (0, 1)]
    return Noises(pool["eps"], gradient_noise.T, injected.T, crossings, 4 * batch_size / (TOY.n_train**2 * variance))


def crossing(eps: np.ndarray, gradient_noise: np.ndarray, injected: np.ndarray) -> float:
    """Step size at which the straight line through the logarithm of the noises' ratio is 0."""
    slope, offset = np.polyfit(np.log(eps), np.log(gradient_noise / injected), 1)
    return float(np.exp(-offset / slope))


def _logistic(task: LogisticTask, images: Arrays) -> Logistic:
    """Choose moments evenly spaced in the logarithm."""
    keep = np.unique(np.geomspace(1, len(images["step"]), 40).astype(int)) - 1
    scores: dict[str, Any] = {name: images[name][keep].mean(axis=1) for name in _SCORES}
    scores |= {f"{name}_scatter": images[name][keep].std(axis=1, ddof=1) for name in _SCORES}
    scores |= {name: float(images[name]) for name in ("best_loglik", "best_accuracy")}
    return Logistic(task.n_train, task.n_components, task.n_chains, images["step"][keep], **scores)


def _noise_verdicts(result: Noises, pool: Arrays) -> Iterator[Verdict]:
    chains = np.arange(len(pool["moments"]))

    def crossings(draw: np.ndarray, noisier: float) -> np.ndarray:
        gradient_noise, injected = (pool[name][:, draw].mean(axis=1).T for name in ("gradient_noise", "injected_noise"))
        return np.array([crossing(pool["eps"], noisier * a, b) for a, b in zip(gradient_noise, injected, strict=True)])

    def from_middle(draw: np.ndarray, noisier: float = 1.0) -> float:
        return float(abs(np.log(crossings(draw, noisier)[0] / _CROSSING)))

    def off_crossing(draw: np.ndarray, noisier: float = 1.0) -> float:
        return float(abs(crossings(draw, noisier) / result.exact_crossing - 1).max())

    key, within = "between 5e-4 and 1e-3", round(float(np.log(2) / 2), 3)
    claim = "theta_1's gradient noise falls below the injected noise at a step between 5e-4 and 1e-3"
    statistic = f"|log(eps/7.07e-4)| of the crossing at eps = {result.crossing[0]:.2e}"
    measured, control = estimate(from_middle, len(chains)), Control("twice the gradient noise", from_middle(chains, 2.0))
    yield _cited(key=key, claim=claim, statistic=statistic, measured=measured, threshold=within, control=control)

    claim = "the noises cross at eps = 4 n/(N^2 V), V the variance of the examples' gradients over the posterior"
    statistic = "larger of |measured/predicted - 1| for theta_1 and theta_2"
    measured = estimate(off_crossing, len(chains))
    control = Control("a drift of eps in place of eps/2: four times the gradient noise", off_crossing(chains, 4.0))
    yield _cited(key="crossing", claim=claim, statistic=statistic, measured=measured, threshold=0.1, control=control)


def _law_verdicts(result: Mixture, pool: Arrays) -> Iterator[Verdict]:
    sample, starts, exact = pool["moments"], _shares(pool), result.exact_upper

    def deviation(draw: np.ndarray, law: np.ndarray = result.exact) -> float:
        return float((abs(sample[draw].mean(axis=0) - law) / result.errors).max())

    def from_shares(draw: np.ndarray) -> float:
        return float(np.max([abs(shares[draw].mean() - exact) for shares in starts]))

    claim = "weighted by their steps the samples have the posterior's means and covariance"
    statistic, measured = "largest deviation of five moments in standard errors", estimate(deviation, len(sample))
    at_temperature_2 = deviation(np.arange(len(sample)), result.at_temperature_2)
    control = Control("the posterior at temperature 2, which twice the injected variance would give", at_temperature_2)
    yield _cited(key="moments", claim=claim, statistic=statistic, measured=measured, threshold=5.0, control=control)

    claim = "the chains find both modes, whichever they begin in"
    statistic = "larger deviation of the share at theta_2 > 0, of chains from either mode"
    measured = estimate(from_shares, len(starts[0]))
    control = Control("chains that stay in the mode they begin in", max(exact, 1 - exact))
    yield _cited(key="both modes", claim=claim, statistic=statistic, measured=measured, threshold=0.1, control=control)


def _score_verdicts(result: Result, last: Arrays) -> Iterator[Verdict]:
    """Judge the scores of each chain at the end, `last`."""
    best, chains = result.logistic, np.arange(result.logistic.n_chains)

    def over_sample(draw: np.ndarray, of: str = "average", over: np.ndarray | None = None) -> float:
        return float(last[f"{of}_loglik"][draw].mean() - last["sample_loglik"][draw if over is None else over].mean())

    def over_best(draw: np.ndarray, of: str = "average") -> float:
        return float(last[f"{of}_loglik"][draw].mean() - best.best_loglik)

    def in_accuracy(draw: np.ndarray, of: str = "average") -> float:
        return float(abs(last[f"{of}_accuracy"][draw].mean() - best.best_accuracy))

    gain: Any = {"statistic": "gain in test log likelihood, nats per image", "relation": "at least"}
    claim = "the average of a chain's predictions is worth more than a last sample's"
    measured, halves = estimate(over_sample, len(chains)), over_sample(chains[::2], "sample", chains[1::2])
    control = Control("the last samples of half of the chains over those of the other half", halves)
    yield _cited(key="over the sample", claim=claim, measured=measured, threshold=0.02, control=control, **gain)

    claim = "the average of a chain's predictions is worth more than the best fit's"
    measured, control = estimate(over_best, len(chains)), Control("the last sample", over_best(chains, "sample"))
    yield _ours(key="over the best fit", claim=claim, measured=measured, threshold=0.0, control=control, **gain)

    claim = "but its gain is in the probabilities: its accuracy is the best fit's"
    statistic = "|difference of the accuracies| on the test images, whose own standard error is 0.009"
    measured, control = estimate(in_accuracy, len(chains)), Control("the last sample", in_accuracy(chains, "sample"))
    yield _ours(key="accuracy", claim=claim, statistic=statistic, measured=measured, threshold=0.01, control=control)


def rows(result: Result) -> Rows:
    """One line per measured number."""
    mixture, noise, logistic = result.mixture, result.noises, result.logistic
    lines: Rows = [["panel", "quantity", "step_size_or_updates", "predicted", "measured", "standard_error"]]
    numbers = np.array([mixture.exact, mixture.measured, mixture.errors]).T.tolist()
    lines += [["posterior", name, "", *line] for name, line in zip(mixture.moments, numbers, strict=True)]
    for k, parameter in enumerate(("theta_1", "theta_2")):
        measured = np.array([noise.eps, noise.gradient_noise[k], noise.injected_noise[k]]).T.tolist()
        for eps, gradient_noise, injected in measured:
            predicted = eps**2 / float(noise.exact_crossing[k])
            lines.append(["noises", f"gradient noise, {parameter}", eps, predicted, gradient_noise, ""])
            lines.append(["noises", f"injected noise, {parameter}", eps, eps, injected, ""])
    for name in _SCORES:
        mean, scatter = logistic.scores(name)
        columns = np.array([mean, scatter / logistic.n_chains**0.5]).T.tolist()
        lines += [["logistic", name, step, "", *line] for step, line in zip(logistic.step.tolist(), columns, strict=True)]
    return lines


@figure_style()
def plot(result: Result, verdicts: Verdicts) -> Figure:
    """Draw the samples under the posterior's contours, the two noises, and the predictions."""
    figure, ((samples, noise), (loglik, accuracy)) = canvas(7, 2, 2)
    _plot_posterior(samples, result.mixture.histogram)
    _plot_noises(noise, result.noises)
    best = result.logistic.best_loglik
    _plot_scores(loglik, result.logistic, "loglik", best)
    title = "(c) T-shirt or shirt: averages predict best"
    loglik.set(title=title, ylabel="test log likelihood per image", ylim=(1.75 * best, 0.85 * best))
    loglik.legend(loc="lower right")
    _plot_scores(accuracy, result.logistic, "accuracy", result.logistic.best_accuracy)
    accuracy.set(title="(d) in accuracy they only equal the best fit", ylabel="test accuracy", ylim=(0.77, 0.82))
    return figure


def _plot_posterior(axis: Axes, histogram: np.ndarray) -> None:
    axis.pcolormesh(*EDGES, histogram.T, cmap="Blues", rasterized=True)
    ordered = np.sort(posterior().ravel())[::-1]
    mass = np.cumsum(ordered) / ordered.sum()
    levels = [float(ordered[np.searchsorted(mass, share)]) for share in (0.95, 0.8, 0.5, 0.2)]
    axis.contour(*_GRID, posterior().T, levels=levels, colors="#000000", linewidths=0.9)
    axis.set(xlabel=r"$\theta_1$", ylabel=r"$\theta_2$", xlim=(-1, 2), ylim=(-2.8, 2.8))
    text = "lines: posterior (20, 50, 80, 95%)\nshade: SGLD samples"
    axis.text(0.97, 0.97, text, ha="right", va="top", transform=axis.transAxes)
    axis.set_title("(a) SGLD finds both modes of the posterior")


def _plot_noises(axis: Axes, noise: Noises) -> None:
    ends = np.array([noise.eps.min(), noise.eps.max()])
    axis.plot(ends, ends, color="#000000", linewidth=1)
    axis.plot(noise.eps, noise.injected_noise.mean(axis=0), "k.", markersize=4)
    axis.text(ends[0], 2.2 * ends[0], "injected:\neps", ha="right", va="bottom")
    for k, (color, marker) in enumerate(_STYLES):
        axis.plot(ends, ends**2 / noise.exact_crossing[k], color=color, linewidth=1)
        style: Any = {"linestyle": "", "markersize": 4, "fillstyle": "none", "label": rf"$\theta_{k + 1}$"}
        axis.plot(noise.eps, noise.gradient_noise[k], color=color, marker=marker, **style)
    where, color = noise.crossing[0], "#0072B2"
    axis.axvspan(5e-4, 1e-3, color=color, alpha=0.12, linewidth=0)
    note, at, arrow = f"equal at eps = {1e4 * where:.1f}e-4", (where, where), {"arrowstyle": "->", "color": color}
    axis.annotate(note, at, (0.74, 0.82), textcoords="axes fraction", ha="center", color=color, arrowprops=arrow)
    axis.set(xscale="log", yscale="log", xlabel="step size eps (falls along the chain)", ylabel="variance added by an update")
    axis.invert_xaxis()
    axis.legend(loc="lower left", title="minibatch noise:\npoints measured,\nlines (eps N/2)$^2$ V/n")
    axis.set_title("(b) as eps falls, injected noise takes over")


def _plot_scores(axis: Axes, logistic: Logistic, score: str, best: float) -> None:
    axis.axhline(best, color="#000000", linewidth=1, linestyle="--", label="best fit (largest posterior)")
    lines = ("sample", "#E69F00", "^", "latest sample"), ("average", "#0072B2", "o", "average of the predictions so far")
    for kind, color, marker, label in lines:
        style: Any = {"color": color, "marker": marker, "label": label, "linewidth": 1.2, "markersize": 3.5}
        draw_band(axis, logistic.step, *logistic.scores(f"{kind}_{score}"), **style)
    axis.set(xscale="log", xlabel="updates of a chain (band: scatter over chains)")
