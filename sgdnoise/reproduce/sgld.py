"""Stochastic gradient Langevin dynamics, after Welling and Teh: SGD that turns into a sampler as its step falls.

(a) The posterior of their mixture, by quadrature, and the histogram of many chains' samples weighted by their steps. (b) Why:
the noise of the minibatches, (eps/2)^2 N^2 V/n, falls with the square of the step and the injected noise with the step, so
that below some step the second one rules. (c, d) Logistic regression with a normal prior on two classes of the bundled images:
what the average of a chain's predictions so far is worth on test images, beside the latest sample's and the best fit's. That
the log likelihood of an average of predictions is larger than the average of theirs is Jensen's inequality; by how much, and
whether the average also beats the best fit, is not.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np

from ..boltzmann import boltzmann_density
from .sgld_tasks import EDGES, TOY, LogisticTask, MixtureTask, window_means
from .style import figure_style, standard_error
from .tasks import Arrays, Compute, Scale
from .verdicts import Verdict, bootstrap_interval

if TYPE_CHECKING:
    from matplotlib.figure import Figure

TITLE = "SGLD: as the step falls, SGD turns into a sampler of the posterior"

_SOURCE = "Welling and Teh 2011"
_GRID = np.linspace(-4, 5, 181), np.linspace(-5, 5, 181)
_CROSSING = 0.0005**0.5 * 0.001**0.5  # the middle of the claimed interval, on a logarithmic scale
_PARAMETERS = (
    {"color": "#0072B2", "marker": "o", "label": r"$\theta_1$"},
    {"color": "#D55E00", "marker": "s", "label": r"$\theta_2$"},
)


def run(scale: Scale, compute: Compute) -> dict[str, Any]:
    """Run the chains, and compute the posterior by quadrature."""
    n_updates, n_chains, n_tasks, n_logistic = 1_000_000, 64, 2, 100_000
    if scale.n_seeds == 1:
        n_updates, n_chains, n_logistic = 80_000, 50, 4_000
    elif scale.n_seeds > 4:
        n_chains, n_tasks, n_logistic = 128, 8, 400_000
    mixture = [MixtureTask(n_updates, 1, 0.01, 0.0001, n_chains, noises=True, seed=seed) for seed in range(n_tasks)]
    logistic = LogisticTask(n_logistic, 10 if scale.n_seeds == 1 else 20)
    *chains, images = compute([*mixture, logistic])
    task = mixture[0]
    setting = {name: getattr(task, name) for name in ("n_updates", "batch_size", "first", "last")}
    result: dict[str, Any] = {
        "mixture": {**setting, "n_chains": n_tasks * n_chains, **posterior(chains)},
        "noises": noises(chains, task.batch_size),
        "logistic": {
            "n_train": logistic.n_train,
            "n_components": logistic.n_components,
            "n_chains": logistic.n_chains,
            **curves(images),
        },
    }
    return {**result, "verdicts": _verdicts(result, chains, images)}


@cache
def law(temperature: float = 1.0) -> tuple[np.ndarray, np.ndarray, float]:
    """Mean, second moments and the share of theta_2 > 0 of the posterior to the power 1/temperature, by quadrature."""
    density = boltzmann_density(TOY.energy, temperature, _GRID)
    weights = density / density.sum()
    points = np.stack(np.meshgrid(*_GRID, indexing="ij"), axis=-1)
    upper = np.heaviside(points[..., 1], 0.5)
    second = np.einsum("ij,ijk,ijl->kl", weights, points, points)
    return np.einsum("ij,ijk->k", weights, points), second, float((weights * upper).sum())


def posterior(chains: list[Arrays]) -> dict[str, Any]:
    """Moments and shares of the chains beside those by quadrature, and the pooled histogram.

    Moments are of u = theta_1 and v = theta_1 + theta_2/2; the second ones are about the exact mean.
    """
    upper, began = (np.concatenate([chain[name] for chain in chains]) for name in ("upper", "began_upper"))
    exact_mean, exact_second, exact_upper = law()
    hot_mean, hot_second, _ = law(2.0)
    sample = moments(*(np.concatenate([chain[name] for chain in chains]) for name in ("mean", "second")))
    return {
        "moments": ["mean of u", "mean of v", "variance of u", "covariance of u, v", "variance of v"],
        "measured": sample.mean(axis=0).tolist(),
        "errors": standard_error(sample).tolist(),
        "exact": moments(exact_mean, exact_second).tolist(),
        "at_temperature_2": moments(hot_mean, hot_second).tolist(),
        "upper": [float(upper[began == there].mean()) for there in (True, False)],
        "upper_errors": [float(standard_error(upper[began == there])) for there in (True, False)],
        "exact_upper": exact_upper,
        "histogram": np.mean([chain["histogram"] for chain in chains], axis=0).round(7).tolist(),
    }


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


def noises(chains: list[Arrays], batch_size: int) -> dict[str, Any]:
    """Variances of the two noises along the chains, where they cross, and where theory says."""
    eps, *both = pooled(chains)
    gradient_noise, injected = (noise.mean(axis=1) for noise in both)
    density = boltzmann_density(TOY.energy, 1.0, _GRID).ravel()
    chosen = density > 1e-6 * density.max()
    points = np.stack(np.meshgrid(*_GRID, indexing="ij"), axis=-1).reshape(-1, 2)[chosen]
    variance = np.average(TOY.per_example_gradients(points).var(axis=1), axis=0, weights=density[chosen])
    return {
        "eps": eps.tolist(),
        "gradient_noise": gradient_noise.T.tolist(),
        "injected_noise": injected.T.tolist(),
        "crossing": [crossing(eps, gradient_noise[:, k], injected[:, k]) for k in (0, 1)],
        "exact_crossing": (4 * batch_size / (TOY.n_train**2 * variance)).tolist(),
    }


def pooled(chains: list[Arrays]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Step sizes (w,), and the two noises of every chain, (w, n_chains, 2)."""
    means = [window_means(chain) for chain in chains]
    gradient_noise, injected = (
        np.concatenate([m[name] for m in means], axis=1) for name in ("gradient_noise", "injected_noise")
    )
    return means[0]["eps"], gradient_noise, injected


def crossing(eps: np.ndarray, gradient_noise: np.ndarray, injected: np.ndarray) -> float:
    """Step size at which the straight line through the logarithm of the noises' ratio is 0."""
    slope, offset = np.polyfit(np.log(eps), np.log(gradient_noise / injected), 1)
    return float(np.exp(-offset / slope))


def curves(images: Arrays) -> dict[str, Any]:
    """Means over chains and their scatter, at moments evenly spaced in the logarithm, and the best fit's scores."""
    keep = np.unique(np.geomspace(1, len(images["step"]), 40).astype(int)) - 1
    result: dict[str, Any] = {"step": images["step"][keep].tolist()}
    for name in ("average_loglik", "sample_loglik", "average_accuracy", "sample_accuracy"):
        result[name] = images[name][keep].mean(axis=1).tolist()
        result[name + "_scatter"] = images[name][keep].std(axis=1, ddof=1).tolist()
    return result | {name: float(images[name]) for name in ("best_loglik", "best_accuracy")}


def _verdicts(result: dict[str, Any], chains: list[Arrays], images: Arrays) -> list[Verdict]:
    mixture, noise, logistic = (result[name] for name in ("mixture", "noises", "logistic"))
    eps, gradient_noise, injected = pooled(chains)
    sample = moments(*(np.concatenate([chain[name] for chain in chains]) for name in ("mean", "second")))
    errors = np.array(mixture["errors"])
    upper, began = (np.concatenate([chain[name] for chain in chains]) for name in ("upper", "began_upper"))
    starts = upper[began], upper[~began]
    end = {name: images[name][-1] for name in ("average_loglik", "sample_loglik", "average_accuracy", "sample_accuracy")}
    every, predictors = np.arange(len(sample)), np.arange(logistic["n_chains"])

    def crossings(draw: np.ndarray, noisier: float = 1.0) -> np.ndarray:
        noises = noisier * gradient_noise[:, draw].mean(axis=1), injected[:, draw].mean(axis=1)
        return np.array([crossing(eps, *(values[:, k] for values in noises)) for k in (0, 1)])

    def from_middle(draw: np.ndarray, noisier: float = 1.0) -> float:
        return float(abs(np.log(crossings(draw, noisier)[0] / _CROSSING)))

    def off_crossing(draw: np.ndarray, noisier: float = 1.0) -> float:
        return float(abs(crossings(draw, noisier) / noise["exact_crossing"] - 1).max())

    def deviation(draw: np.ndarray, law: str = "exact") -> float:
        return float((abs(sample[draw].mean(axis=0) - mixture[law]) / errors).max())

    def from_shares(draw: np.ndarray) -> float:
        return float(max(abs(shares[draw].mean() - mixture["exact_upper"]) for shares in starts))

    def over_sample(draw: np.ndarray, of: str = "average", over: np.ndarray | None = None) -> float:
        return float(end[f"{of}_loglik"][draw].mean() - end["sample_loglik"][draw if over is None else over].mean())

    def over_best(draw: np.ndarray, of: str = "average") -> float:
        return float(end[f"{of}_loglik"][draw].mean() - logistic["best_loglik"])

    def in_accuracy(draw: np.ndarray, of: str = "average") -> float:
        return float(abs(end[f"{of}_accuracy"][draw].mean() - logistic["best_accuracy"]))

    return [
        Verdict(
            claim="theta_1's gradient noise falls below the injected noise at a step between 5e-4 and 1e-3",
            source=_SOURCE,
            statistic=f"|log(eps/7.07e-4)| of the crossing at eps = {noise['crossing'][0]:.2e}",
            value=from_middle(every),
            threshold=round(float(np.log(2) / 2), 3),
            interval=bootstrap_interval(from_middle, len(every)),
            control="twice the gradient noise",
            control_value=from_middle(every, 2.0),
        ),
        Verdict(
            claim="the noises cross at eps = 4 n/(N^2 V), V the variance of the examples' gradients over the posterior",
            source=_SOURCE,
            statistic="larger of |measured/predicted - 1| for theta_1 and theta_2",
            value=off_crossing(every),
            threshold=0.1,
            interval=bootstrap_interval(off_crossing, len(every)),
            control="a drift of eps in place of eps/2: four times the gradient noise",
            control_value=off_crossing(every, 4.0),
        ),
        Verdict(
            claim="weighted by their steps the samples have the posterior's means and covariance",
            source=_SOURCE,
            statistic="largest deviation of five moments in standard errors",
            value=deviation(every),
            threshold=5.0,
            interval=bootstrap_interval(deviation, len(every)),
            control="the posterior at temperature 2, which twice the injected variance would give",
            control_value=deviation(every, "at_temperature_2"),
        ),
        Verdict(
            claim="the chains find both modes, whichever they begin in",
            source=_SOURCE,
            statistic="larger deviation of the share at theta_2 > 0, of chains from either mode",
            value=from_shares(every[: len(starts[0])]),
            threshold=0.1,
            interval=bootstrap_interval(from_shares, len(starts[0])),
            control="chains that stay in the mode they begin in",
            control_value=max(mixture["exact_upper"], 1 - mixture["exact_upper"]),
        ),
        Verdict(
            claim="the average of a chain's predictions is worth more than a last sample's",
            source=_SOURCE,
            statistic="gain in test log likelihood, nats per image",
            value=over_sample(predictors),
            threshold=0.02,
            relation="at least",
            interval=bootstrap_interval(over_sample, len(predictors)),
            control="the last samples of half of the chains over those of the other half",
            control_value=over_sample(predictors[::2], "sample", predictors[1::2]),
        ),
        Verdict(
            claim="the average of a chain's predictions is worth more than the best fit's",
            source="measured here",
            statistic="gain in test log likelihood, nats per image",
            value=over_best(predictors),
            threshold=0.0,
            relation="at least",
            interval=bootstrap_interval(over_best, len(predictors)),
            control="the last sample",
            control_value=over_best(predictors, "sample"),
        ),
        Verdict(
            claim="but its gain is in the probabilities: its accuracy is the best fit's",
            source="measured here",
            statistic="|difference of the accuracies| on the test images, whose own standard error is 0.009",
            value=in_accuracy(predictors),
            threshold=0.01,
            interval=bootstrap_interval(in_accuracy, len(predictors)),
            control="the last sample",
            control_value=in_accuracy(predictors, "sample"),
        ),
    ]


def rows(result: dict[str, Any]) -> list[list[Any]]:
    """One line per measured number."""
    mixture, noise, logistic = (result[name] for name in ("mixture", "noises", "logistic"))
    lines: list[list[Any]] = [["panel", "quantity", "step_size_or_updates", "predicted", "measured", "standard_error"]]
    columns = (mixture[name] for name in ("moments", "exact", "measured", "errors"))
    lines += [["posterior", name, "", *numbers] for name, *numbers in zip(*columns, strict=True)]
    for k, parameter in enumerate(("theta_1", "theta_2")):
        for eps, gradient_noise, injected in zip(
            noise["eps"], noise["gradient_noise"][k], noise["injected_noise"][k], strict=True
        ):
            predicted = eps**2 / noise["exact_crossing"][k]
            lines.append(["noises", f"gradient noise, {parameter}", eps, predicted, gradient_noise, ""])
            lines.append(["noises", f"injected noise, {parameter}", eps, eps, injected, ""])
    for kind in ("average", "sample"):
        for score in ("loglik", "accuracy"):
            name = f"{kind}_{score}"
            for step, value, scatter in zip(logistic["step"], logistic[name], logistic[name + "_scatter"], strict=True):
                lines.append(["logistic", name, step, "", value, scatter / logistic["n_chains"] ** 0.5])
    return lines


def plot(result: dict[str, Any]) -> Figure:
    """Draw the samples under the posterior's contours, the two noises, and the predictions."""
    from matplotlib.figure import Figure

    with figure_style():
        figure = Figure(figsize=(9, 7), layout="constrained")
        (samples, noise), (loglik, accuracy) = figure.subplots(2, 2)
        _plot_posterior(samples, result["mixture"])
        _plot_noises(noise, result["noises"])
        logistic = result["logistic"]
        _plot_scores(loglik, logistic, "loglik")
        loglik.set(
            ylabel="test log likelihood per image", ylim=(1.75 * logistic["best_loglik"], 0.85 * logistic["best_loglik"])
        )
        loglik.set_title("(c) T-shirt or shirt: averages predict best")
        loglik.legend(loc="lower right")
        _plot_scores(accuracy, logistic, "accuracy")
        accuracy.set(ylabel="test accuracy", ylim=(0.77, 0.82))
        accuracy.set_title("(d) in accuracy they only equal the best fit")
    return figure


def _plot_posterior(axis: Any, mixture: dict[str, Any]) -> None:
    histogram = np.array(mixture["histogram"])
    axis.pcolormesh(*EDGES, histogram.T, cmap="Blues", rasterized=True)
    density = boltzmann_density(TOY.energy, 1.0, _GRID)
    ordered = np.sort(density.ravel())[::-1]
    mass = np.cumsum(ordered) / ordered.sum()
    levels = [float(ordered[np.searchsorted(mass, share)]) for share in (0.95, 0.8, 0.5, 0.2)]
    axis.contour(*_GRID, density.T, levels=levels, colors="#000000", linewidths=0.9)
    axis.set(xlabel=r"$\theta_1$", ylabel=r"$\theta_2$", xlim=(-1, 2), ylim=(-2.8, 2.8))
    axis.text(
        0.97, 0.97, "lines: posterior (20, 50, 80, 95%)\nshade: SGLD samples", ha="right", va="top", transform=axis.transAxes
    )
    axis.set_title("(a) SGLD finds both modes of the posterior")


def _plot_noises(axis: Any, noise: dict[str, Any]) -> None:
    eps = np.array(noise["eps"])
    ends = np.array([eps.min(), eps.max()])
    axis.plot(ends, ends, color="#000000", linewidth=1)
    axis.plot(eps, np.mean(noise["injected_noise"], axis=0), "k.", markersize=4)
    axis.text(ends[0], 2.2 * ends[0], "injected:\neps", ha="right", va="bottom")
    for k, style in enumerate(_PARAMETERS):
        axis.plot(ends, ends**2 / noise["exact_crossing"][k], color=style["color"], linewidth=1)
        axis.plot(eps, noise["gradient_noise"][k], linestyle="", markersize=4, fillstyle="none", **style)
    where = noise["crossing"][0]
    axis.axvspan(5e-4, 1e-3, color="#0072B2", alpha=0.12, linewidth=0)
    axis.annotate(
        f"equal at eps = {1e4 * where:.1f}e-4",
        (where, where),
        (0.74, 0.82),
        textcoords="axes fraction",
        ha="center",
        color="#0072B2",
        arrowprops={"arrowstyle": "->", "color": "#0072B2"},
    )
    axis.set(xscale="log", yscale="log", xlabel="step size eps (falls along the chain)", ylabel="variance added by an update")
    axis.invert_xaxis()
    axis.legend(loc="lower left", title="minibatch noise:\npoints measured,\nlines (eps N/2)$^2$ V/n")
    axis.set_title("(b) as eps falls, injected noise takes over")


def _plot_scores(axis: Any, logistic: dict[str, Any], score: str) -> None:
    step = np.array(logistic["step"])
    styles = {
        "sample": {"color": "#E69F00", "marker": "^", "label": "latest sample"},
        "average": {"color": "#0072B2", "marker": "o", "label": "average of the predictions so far"},
    }
    axis.axhline(logistic[f"best_{score}"], color="#000000", linewidth=1, linestyle="--", label="best fit (largest posterior)")
    for kind, style in styles.items():
        y, error = (np.array(logistic[f"{kind}_{score}{suffix}"]) for suffix in ("", "_scatter"))
        axis.fill_between(step, y - error, y + error, color=style["color"], alpha=0.2, linewidth=0)
        axis.plot(step, y, linewidth=1.2, markersize=3.5, **style)
    axis.set(xscale="log", xlabel="updates of a chain (band: scatter over chains)")
