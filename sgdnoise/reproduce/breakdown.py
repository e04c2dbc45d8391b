"""Where scaling the batch breaks down: learning rate and batch times K, up to the whole training set.

The noise scale g = eps (N/B - 1) of K eps and K B is (N - K B)/(N - B) of what it was: the linear rule loses noise as the
batch nears N, and a rule that keeps exact g asks for a learning rate that grows without bound.

(a) Logistic regression at rest near its minimum is a thermometer: its temperature, the mean of N h Var(w) over six directions,
is g f/2 while eps h is small, and exactly so in discrete time after the factor 1/(1 - eps h/2). By the linear rule the
temperature falls along (N - K B)/(N - B). By exact g it stays, until the rate itself becomes too large. With the learning rate
left as it is, it falls as 1/K and faster. (b) Training loss of the network after a fixed number of epochs, by the same rules. A
network in training is not at rest, and its learning rate ends at 2(1 + m)/h_max: there the curves part for a reason of their
own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ..noise import learning_rate_for, linear_scaling_error, noise_scale
from .limits_tasks import ConstantRateTask
from .rest_tasks import N_TRAIN, RestTask, minimum
from .style import figure_style, standard_error
from .tasks import Arrays, Compute, Scale
from .verdicts import Verdict, bootstrap_interval

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

TITLE = "Breakdown: batches near N lose noise by the linear rule, and exact g asks for too large a step"

RULES = {"linear": "linear rule: eps K", "exact": "exact g", "none": "eps left as it is"}
_RATE, _BATCH = 0.01, 20
_FACTORS: dict[str, tuple[int, ...]] = {
    "linear": (1, 2, 5, 10, 18, 25, 32, 40, 47),
    "exact": (5, 10, 18, 25, 32, 38, 41),
    "none": (2, 5),
}
_NETWORK_MOMENTUM = 0.9
_NETWORK_FACTORS: dict[str, tuple[int, ...]] = {
    "linear": (1, 2, 5, 10, 25, 50),
    "exact": (2, 5, 10, 25),
    "none": (2, 5, 10, 25, 50),
}
_STYLES: dict[str, dict[str, Any]] = {
    "linear": {"color": "#0072B2", "marker": "o"},
    "exact": {"color": "#D55E00", "marker": "s"},
    "none": {"color": "#777777", "marker": "^"},
}
_TENTH = 5  # K at which B is N/10, for both panels
_PARTED = 0.9
_SOURCE = "Smith et al. 2018"


def rate(rule: str, factor: int) -> float:
    """Learning rate at K times the batch; the same with momentum, whose factor cancels."""
    if rule == "exact":
        g = noise_scale(_RATE, _BATCH, N_TRAIN)
        return float(learning_rate_for(g, factor * _BATCH, N_TRAIN))
    return _RATE * factor if rule == "linear" else _RATE


def run(scale: Scale, compute: Compute) -> dict[str, Any]:
    """Measure the temperature at rest, and train the network, by each rule."""
    quick = scale.n_seeds == 1
    n_replicas, n_relaxations = (20, 2.0) if quick else (100, 20.0)
    n_epochs, n_seeds = (1, 1) if quick else (60, 2 * scale.n_seeds)
    at_rest = [
        (rule, k, RestTask("without_replacement", rate(rule, k), k * _BATCH, n_replicas, n_relaxations))
        for rule, factors in _FACTORS.items()
        for k in (factors[-2:] if quick and rule == "exact" else factors)
    ]
    training = [
        (
            rule,
            k,
            ConstantRateTask(N_TRAIN, rate(rule, k), k * _BATCH, _NETWORK_MOMENTUM, n_epochs, n_seeds, engine=scale.engine),
        )
        for rule, factors in _NETWORK_FACTORS.items()
        for k in factors
    ]
    results = compute([*(task for _, _, task in at_rest), *(task for _, _, task in training)])
    rest = [_temperature(rule, k, task, r) for (rule, k, task), r in zip(at_rest, results, strict=False)]
    network = [
        {"rule": rule, "factor": k, "learning_rate": task.learning_rate, "train_loss": result["train_loss"].tolist()}
        for (rule, k, task), result in zip(training, results[len(at_rest) :], strict=True)
    ]
    result = {
        "n_train": N_TRAIN,
        "learning_rate": _RATE,
        "batch_size": _BATCH,
        "largest_curvature": float(minimum().curvatures[-1]),
        "network": {"model": "MLP 196-128-10, relu, float32", "momentum": _NETWORK_MOMENTUM, "n_epochs": n_epochs},
        "rest": rest,
        "training": network,
    }
    return result | {"verdicts": _verdicts(result)}


def _temperature(rule: str, factor: int, task: RestTask, result: Arrays) -> dict[str, Any]:
    """Each replica's temperature, and the exact law's."""
    curvatures = minimum().curvatures
    return {
        "rule": rule,
        "factor": factor,
        "learning_rate": task.learning_rate,
        "temperature": (N_TRAIN * curvatures * result["squares"]).mean(axis=1).tolist(),
        "predicted": float((N_TRAIN * curvatures * task.predicted()).mean()),
    }


def law(rule: str, batch_size: Any, n_train: int, first: int) -> Any:
    """Noise scale at a batch size over that at the first one."""
    if rule == "exact":
        return np.ones_like(np.asarray(batch_size, dtype=float))
    ratio = 1 + linear_scaling_error(batch_size / first, first, n_train)
    return ratio if rule == "linear" else ratio * first / batch_size


def parting(batch_sizes: np.ndarray, ratio: np.ndarray, first: int, n_train: int) -> float:
    """Batch size at which the straight line from 1 at the first one through the ratios is down at `_PARTED`; at most N."""
    x = batch_sizes - first
    slope = float((x @ (ratio - 1)) / (x @ x))
    return min(first + (_PARTED - 1) / slope, float(n_train)) if slope < 0 else float(n_train)


def _verdicts(result: dict[str, Any]) -> list[Verdict]:
    n, first = result["n_train"], result["batch_size"]
    rest = {(p["rule"], p["factor"]): p for p in result["rest"]}
    heat = {key: np.array(p["temperature"]) for key, p in rest.items()}
    n_replicas = len(heat["linear", 1])
    replicas = np.arange(n_replicas)
    loss = {(p["rule"], p["factor"]): np.array(p["train_loss"]) for p in result["training"]}
    n_seeds = len(loss["linear", 1])
    seeds = np.arange(n_seeds)
    linear = [k for rule, k in rest if rule == "linear" and k > 1]
    exact = [(k, p) for (rule, k), p in rest.items() if rule == "exact"]
    none = [k for rule, k in rest if rule == "none"]

    def ratio(rule: str, factor: int, draw: np.ndarray) -> float:
        return float(heat[rule, factor][draw].mean() / heat["linear", 1][draw].mean())

    def off_law(draw: np.ndarray, law_of: str = "linear") -> float:
        """Largest distance from the law, as a share of the first temperature, the factor of discrete time taken out."""
        found = []
        for k in linear:
            discrete = (
                rest["linear", k]["predicted"] / rest["linear", 1]["predicted"] / float(law("linear", k * first, n, first))
            )
            found.append(abs(ratio("linear", k, draw) / discrete - float(law(law_of, k * first, n, first))))
        return float(np.max(found))

    def off_exact(draw: np.ndarray, of: str = "exact") -> float:
        """Largest relative distance of the temperature at exact g from its discrete-time law."""
        first_predicted = rest["linear", 1]["predicted"]
        laws = [p["predicted"] if of == "exact" else first_predicted * float(law(of, k * first, n, first)) for k, p in exact]
        level = [np.mean(heat["exact", k][draw]) / at for (k, _), at in zip(exact, laws, strict=True)]
        return float(np.max(np.abs(np.array(level) - 1)))

    def parted(draw: np.ndarray, rule: str = "linear") -> float:
        """Where the rule has lost a tenth, over where it should have."""
        some = [k for k in (linear if rule == "linear" else none) if k * first <= n / 2]
        b = parting(np.array(some) * first, np.array([ratio(rule, k, draw) for k in some]), first, n)
        return float(abs(b / (first + 0.1 * (n - first)) - 1))

    def astray(draw: np.ndarray, rule: str = "linear", factor: int = _TENTH) -> float:
        """Distance of the logarithm of the loss from that at K = 1, over the distance of the run that does not scale."""
        from_first = [
            float(np.log(loss[which, factor][draw].mean() / loss["linear", 1][draw].mean())) for which in (rule, "none")
        ]
        return abs(from_first[0]) / abs(from_first[1])

    def worse(draw: np.ndarray, factor: int = 25) -> float:
        return float(loss["exact", factor][draw].mean() / loss["linear", factor][draw].mean())

    return [
        Verdict(
            claim=f"by the linear rule the noise falls as (N - K B)/(N - B), up to K B = {max(linear) * first / n:g} N",
            source=_SOURCE + ", eq. 4",
            statistic="largest |T(K)/T(1) - law|, discrete time's factor taken out",
            value=off_law(replicas),
            threshold=0.1,
            interval=bootstrap_interval(off_law, n_replicas),
            control="eps/B kept, so noise kept",
            control_value=off_law(replicas, "exact"),
        ),
        Verdict(
            claim="it has lost a tenth at B = B_0 + 0.1 (N - B_0), just above N/10",
            source=_SOURCE + ", which grows B to N/10",
            statistic="|measured/predicted - 1|, by a straight line through K B <= N/2",
            value=parted(replicas),
            threshold=0.25,
            interval=bootstrap_interval(parted, n_replicas),
            control="where the run that does not scale has lost a tenth",
            control_value=parted(replicas, "none"),
        ),
        Verdict(
            claim="exact g keeps the noise, but for the 1/(1 - eps h/2) of steps that grow without bound",
            source="exact discrete-time law",
            statistic="largest |measured/predicted - 1| of the temperature",
            value=off_exact(replicas),
            threshold=0.1,
            interval=bootstrap_interval(off_exact, n_replicas),
            control="the law of the linear rule",
            control_value=off_exact(replicas, "linear"),
        ),
        Verdict(
            claim="a network in training follows the linear rule up to B = N/10",
            source=_SOURCE,
            statistic="|log of the loss over that at K = 1|, over that of the run that does not scale",
            value=astray(seeds),
            threshold=0.1,
            interval=bootstrap_interval(astray, n_seeds),
            control="the linear rule at B = N",
            control_value=astray(seeds, "linear", 50),
        ),
        Verdict(
            claim="at B = N/2 exact g trains it worse than the linear rule: its learning rate is too large",
            source="measured here",
            statistic="training loss, exact g over linear rule",
            value=worse(seeds),
            threshold=1.25,
            relation="at least",
            interval=bootstrap_interval(worse, n_seeds),
            control="the same at B = N/10",
            control_value=worse(seeds, _TENTH),
        ),
    ]


def rows(result: dict[str, Any]) -> list[list[Any]]:
    """One line per rule and factor."""
    lines: list[list[Any]] = [
        ["panel", "rule", "factor", "learning_rate", "batch_size", "predicted", "measured", "standard_error"]
    ]
    for panel, key in (("rest", "temperature"), ("training", "train_loss")):
        for p in result[panel]:
            values = np.array(p[key])
            setting = [panel, p["rule"], p["factor"], p["learning_rate"], p["factor"] * result["batch_size"]]
            lines.append([*setting, p.get("predicted", ""), float(values.mean()), float(standard_error(values))])
    return lines


def plot(result: dict[str, Any]) -> Figure:
    """Draw temperature and training loss against B/N."""
    from matplotlib.figure import Figure

    with figure_style():
        figure = Figure(figsize=(9, 4), layout="constrained")
        rest, training = figure.subplots(1, 2)
        _plot_rest(rest, result)
        _plot_training(training, result)
    return figure


def _plot_rest(axis: Axes, result: dict[str, Any]) -> None:
    n, first = result["n_train"], result["batch_size"]
    share = np.linspace(first / n, 1, 200)
    base = np.mean(next(p["temperature"] for p in result["rest"] if p["factor"] == 1))
    for rule, style in _STYLES.items():
        axis.plot(share, law(rule, share * n, n, first), color=style["color"], linewidth=1)
        some = [p for p in result["rest"] if p["rule"] == rule]
        x = np.array([p["factor"] * first / n for p in some])
        y, error = (
            np.array([[np.mean(p["temperature"]), float(standard_error(np.array(p["temperature"])))] for p in some]).T / base
        )
        axis.errorbar(x, y, error, linestyle="", markersize=5, fillstyle="none", **style)
    exact = sorted((p for p in result["rest"] if p["rule"] == "exact" or p["factor"] == 1), key=lambda p: p["factor"])
    steps = [p["predicted"] / exact[0]["predicted"] for p in exact]
    axis.plot([p["factor"] * first / n for p in exact], steps, color=_STYLES["exact"]["color"], linewidth=1, linestyle="--")
    g = result["learning_rate"] * (n / first - 1)
    limit = 1 / (1 + g * result["largest_curvature"] / 2)
    axis.axvspan(limit, 1, color=_STYLES["exact"]["color"], alpha=0.12, linewidth=0)
    axis.text(0.74, 0.97, "exact g unstable:\neps > 2/h", ha="right", va="top", transform=axis.get_xaxis_transform(),
              color=_STYLES["exact"]["color"])  # fmt: skip
    axis.text(0.14, 1.17, "exact g; dashed:\nits finite steps", color=_STYLES["exact"]["color"], va="bottom")
    axis.text(0.53, 0.52, "linear rule:\n(N - K B)/(N - B)", color=_STYLES["linear"]["color"])
    axis.text(0.2, 0.12, "learning rate left as it is", color="#555555")
    axis.axvline(0.1, color="#999999", linewidth=0.8, linestyle=":")
    axis.text(0.11, 1.93, "N/10", color="#666666", va="top")
    axis.set(xlim=(0, 1), ylim=(0, 2), xlabel="scaled batch size over training-set size, K B/N")
    axis.set_ylabel("temperature over that at K = 1")
    axis.set_title("(a) at rest: the linear rule loses noise, exact g ends")


def _plot_training(axis: Axes, result: dict[str, Any]) -> None:
    n, first = result["n_train"], result["batch_size"]
    start = next(p["train_loss"] for p in result["training"] if p["factor"] == 1)
    for rule, style in _STYLES.items():
        some = [p for p in result["training"] if p["rule"] == rule]
        losses = [np.array(start), *(np.array(p["train_loss"]) for p in some if p["factor"] > 1)]
        x = np.array([1, *(p["factor"] for p in some if p["factor"] > 1)]) * first / n
        y, error = (np.array([f(loss) for loss in losses], dtype=float) for f in (np.mean, standard_error))
        axis.errorbar(
            x,
            y,
            np.minimum(error, 0.9 * y),
            linewidth=1.2,
            markersize=5,
            fillstyle="none",
            capsize=2,
            label=RULES[rule],
            **style,
        )
    axis.axhline(np.mean(start), color="#999999", linewidth=0.8)
    axis.axvline(0.1, color="#999999", linewidth=0.8, linestyle=":")
    axis.set(xscale="log", yscale="log", xlabel="scaled batch size over training-set size, K B/N")
    axis.set_ylabel(f"training loss (nats) after {result['network']['n_epochs']} epochs")
    axis.text(0.104, 0.03, "N/10", color="#666666", transform=axis.get_xaxis_transform())
    axis.set_xticks([0.02, 0.05, 0.1, 0.2, 0.5, 1], ["1/50", "1/20", "1/10", "1/5", "1/2", "1"])
    axis.set_xticks([], minor=True)
    axis.legend(loc="upper left")
    axis.set_title("(b) in training: the linear rule holds up to N/10")
