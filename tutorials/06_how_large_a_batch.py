# %% [markdown]
# # 6. How large may a batch be?
#
# [Tutorial 4](04_dont_decay.md) grew the batch instead of decaying the learning rate, and saved most updates. How far can that
# go? Why do schedules begin with small batches, and why stop near $N/10$, as Smith and others did in their section 5.2, at
# 5120 of 50000?
#
# The answer: let $\rho = \varepsilon/B$ be the ratio that a stage of the schedule prescribes. There are three ceilings,
#
# $$
# B \le \frac{N}{10}, \qquad B \le \frac{2 (1 + m)}{\rho\, h}, \qquad B \lesssim \frac{\mathrm{tr}\,S}{|G|^2} ,
# $$
#
# with $h$ the largest curvature of the loss, $S$ the covariance of the per-example gradients and $G$ their mean. Beyond the
# first, $g$ is lost; beyond the second, training is unstable. The third is of another kind: where $\varepsilon$ is free, it
# tells from where on a larger batch hardly helps a step.
#
# ## What you will learn
#
# - Three ceilings for three reasons, and how to measure each on a model of your own.
# - Which one is lowest when, and why batches can grow during training.
# - By experiment: what happens on the other side of each.
#
# ## The first ceiling: the training set
#
# This one needs no measurement. A stage that keeps $\varepsilon/B$ on a batch of $N/10$ has a tenth less of the exact $g$, by
# [tutorial 3](03_scaling_rules.md), and beyond it soon much less. Moreover an epoch has 10 updates, which is what a momentum
# of 0.9 needs to follow a change, by [tutorial 5](05_momentum_and_adam.md): the lag is a whole epoch.

# %%
import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # matrices as small as these are slower on two

import matplotlib.pyplot as plt
import numpy as np

from sgdnoise import MLP, Dataset, fast, gradient_noise, load_fashion, noise, schedules, sgd, stationary

BLUE, ORANGE, GREEN, BLACK, GREY = "#0072B2", "#D55E00", "#009E73", "#000000", "#999999"
print("batch     loss of g  epochs lost   (N = 50000, from B = 128, m = 0.9)")
for B in (640, 1600, 5000, 16_000):
    loss_of_g, lost = -noise.linear_scaling_error(B / 128, 128, 50_000), noise.lost_epochs(B, 50_000, 0.9)
    print(f"{B:5} {loss_of_g:13.1%} {lost:12.2f}")
assert np.isclose(noise.linear_scaling_error(5000 / 128, 128, 50_000), -0.1, atol=0.003)
assert np.isclose(noise.lost_epochs(5000, 50_000, 0.9), 1)

# %% [markdown]
# ## The second ceiling: the steepest direction
#
# Along a direction of curvature $h$, one update multiplies $(w, \varepsilon a)$ by the matrix of tutorial 5. Its determinant
# is $m$ and its trace $1 + m - \varepsilon h$. Training is stable as long as both eigenvalues $x$, the roots of
# $x^2 - \text{trace} \cdot x + m$, are less than 1 in size. Where can one get out, as $\varepsilon$ grows? Not as a complex
# pair: their product is $m$, so each has the size $\sqrt m$. Not at $x = 1$, where the polynomial is $\varepsilon h$ and so
# not 0. At $x = -1$, where it is $1 + \text{trace} + m$, which is 0 at $\varepsilon h = 2 (1 + m)$. Beyond that $w$ swings
# from side to side, farther with each update. As long as $h$ itself has no noise (tutorial 2), the batch size is not in it.
# But at a given $\rho$ the learning rate is $\rho B$, and so **the limit on the learning rate is one on the batch size**:
# $\rho B h < 2 (1 + m)$.


# %%
def radius(eps_h, momentum):
    """The factor by which a long run of updates multiplies a deviation, per update."""
    return abs(np.linalg.eigvals(np.array([[1 - eps_h, -momentum], [eps_h, momentum]]))).max()


for momentum in (0, 0.5, 0.9, 0.98):
    limit = stationary.max_stable_learning_rate(1.0, momentum)
    assert limit == 2 * (1 + momentum)
    assert radius(0.99 * limit, momentum) < 1 < radius(1.01 * limit, momentum)

# %% [markdown]
# ## The third ceiling: the gradient noise scale
#
# The gradient $G_B$ of a minibatch is the gradient and noise: $E |G_B|^2 = |G|^2 + \mathrm{tr}\,S/B$, for $B \ll N$. The two
# are equal at the **gradient noise scale** $B_s = \mathrm{tr}\,S/|G|^2$ of McCandlish and others
# ([arXiv:1812.06162](https://arxiv.org/abs/1812.06162)). (A batch size, and not our $g$.) What is a step worth? If the
# curvature is $h$ in all directions, a step $\varepsilon$, without momentum, lowers the loss by
# $\varepsilon |G|^2 - \frac{h \varepsilon^2}{2} \left( |G|^2 + \mathrm{tr}\,S/B \right)$ on average. It is largest at the
# first, and then is the second:
#
# $$
# \varepsilon = \frac{1}{h} \cdot \frac{1}{1 + B_s/B} : \qquad \frac{|G|^2}{2 h} \cdot \frac{1}{1 + B_s/B} .
# $$
#
# Well below $B_s$ twice the batch wants twice the learning rate, the linear rule once more, and gives twice the progress of a
# step: as much per example, in half the steps. Well above, twice the batch gives nothing. That is if you choose $\varepsilon$.
# If a schedule prescribes it, as $\rho B$, an *example* lowers the loss by
# $\rho |G|^2 (1 - \varepsilon h/2) - \frac{h \rho^2}{2} \mathrm{tr}\,S$: the batch size counts through $\varepsilon h$ alone,
# which is the second ceiling.
#
# We take the network and the schedule of tutorial 4, train from six seeds, and measure one of them after the first epoch.

# %%
N, m, l2, n_seeds = 10_000, 0.9, 1e-4, 6
raw, model = load_fashion(N), MLP(196, (20,), 10)
data = Dataset(raw.X_train.astype(float), raw.y_train, raw.X_test[:500].astype(float), raw.y_test[:500], 10)
X, y = data.X_train[:2000], data.y_train[:2000]
decaying = schedules.step_decay(0.05, 32, milestones=(5, 10, 13), n_epochs=16, factor=5)
growing = schedules.grow_batch(decaying, N, max_batch_size=N // 10)
places = [np.array([model.init(np.random.default_rng(seed)) for seed in range(n_seeds)])]  # as epochs begin
remember = lambda history: places.append(history.params)
options = {"l2": l2, "sampling": "without_replacement", "rngs": range(n_seeds)}  # each batch is drawn afresh
fast.train(model, data, decaying, sgd(momentum=m), params=places[0], callback=remember, **options)

gradients = model.per_example_gradients(places[1][0], X, y)
measured = gradient_noise.gradient_noise_scale(gradients)
print(f"gradient noise scale after one epoch: {measured}")
rng, G, trace = np.random.default_rng(0), gradients.mean(axis=0), gradients.var(axis=0, ddof=1).sum()
sizes, squares = (8, 32, 128, 512, 1500), {}
for B in sizes:
    weights = rng.permuted(np.tile(np.arange(2000) < B, (100, 1)), axis=1) / B  # a row for each of 100 batches
    squares[B] = ((weights @ gradients) ** 2).sum(axis=1)
    law = G @ G + gradient_noise.minibatch_covariance(trace, B, 2000)  # exact, for batches out of these 2000
    assert np.isclose(law, measured.signal + measured.noise / B)
    assert abs(squares[B].mean() - law) < 5 * squares[B].std() / 100**0.5
assert np.isclose(measured.noise, trace)
assert np.isclose(measured.signal, G @ G - trace / 2000)  # their mean has noise of its own, which is taken off


# %%
figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.5), layout="constrained")
eps_h = np.linspace(0.001, 4.3, 400)
for momentum, color, line in ((0, ORANGE, "--"), (0.5, GREEN, "-."), (0.9, BLUE, "-")):
    left.plot(eps_h, [radius(value, momentum) for value in eps_h], line, color=color, label=f"m = {momentum}")
    left.plot(2 * (1 + momentum), 1, "o", color=color)
left.axhline(1, color=BLACK, linewidth=1)
left.set(xlabel="learning rate x curvature, $\\varepsilon h$", ylim=(0, 2))
left.set_ylabel("growth of a deviation per update")
left.set_title("(a) unstable from $\\varepsilon h = 2(1 + m)$, the dots")
left.legend(loc="lower right", fontsize=9)
b = np.geomspace(5, 2000, 100)
right.loglog(b, measured.signal + measured.noise / b, color=BLUE, label="both")
right.loglog(b, measured.noise / b, "--", color=ORANGE, label="noise, tr S/B")
right.axhline(measured.signal, color=GREEN, linestyle="-.", label="gradient, $|G|^2$")
errors = [squares[B].std() / 10 for B in sizes]
right.errorbar(sizes, [squares[B].mean() for B in sizes], errors, fmt="o", color=BLACK, label="measured")
right.axvline(float(measured), color=GREY, linewidth=1)
right.text(float(measured) * 1.1, 6, "$B_s$", color="#666666")
right.set(xlabel="batch size B", ylabel="mean of $|G_B|^2$", ylim=(0.008, 10))
right.set_title("(b) a minibatch gradient after one epoch")
right.legend(loc="lower left", fontsize=9)
# alt: Left, the factor of a deviation per update against learning rate times curvature, for momentum 0, 0.5 and 0.9. Each curve
# crosses 1 at its dot, at 2, 3 and 3.8. Right, the measured squared norm of minibatch gradients lies on the sum of a noise that
# falls like 1/B and a constant gradient; the two are equal near a batch of 300.

# %% [markdown]
# ## All three, during training
#
# $h$ comes from products of the Hessian with vectors, `top_hessian_eigenvalue`. It and $\mathrm{tr}\,S$ are measured on a part
# of the examples. For $|G|^2$ that will not do: late in training it is less than what a part of the examples would have to be
# corrected by. But SGD goes down the loss of the training set, and so we take the gradient over all $N$, in which there is no
# error. We average over the last three epochs of a stage; errors are from the seeds.


# %%
def look(place):
    """The trace of S, on 500 examples, and |G|^2. S does not know of L2, which is the same for all."""
    G = model.gradient(place, data.X_train, data.y_train, l2)
    return model.per_example_gradients(place, X[:500], y[:500]).var(axis=0, ddof=1).sum(), G @ G


ends = np.cumsum([stage.n_epochs for stage in decaying])
rho = np.array([stage.learning_rate / stage.batch_size for stage in decaying])
top = gradient_noise.top_hessian_eigenvalue
h = np.array([np.mean([top(model, place, X, y, l2=l2) for place in places[epoch]]) for epoch in (0, *ends)])
walls, stable = (stationary.max_stable_learning_rate(at, m) / rho for at in (h[:-1], h[1:]))  # at begin, at end
traces, signals = np.array([[look(place) for place in epoch] for epoch in places]).transpose(2, 0, 1)
last = np.array([ends - 2, ends - 1, ends])
trace, signal = traces[last].mean(axis=(0, 2)), signals[last].mean(axis=(0, 2))
error = signals[last].mean(axis=0).std(axis=1, ddof=1) / n_seeds**0.5
useful, at_start = trace / signal, traces[0].mean() / signals[0].mean()
print(f"At the very start h = {h[0]:.1f}: stable up to {walls[0]:.1f}; and B_s = {at_start:.1f}.")
print("stage  h at its end  2(1 + m)/(rho h)  tr S             |G|^2      B_s  N/10  growing schedule")
for i, grown in enumerate(growing):
    values = f"{h[i + 1]:13.2f} {stable[i]:17.1f} {trace[i]:5.1f} {signal[i]:8.5f} +- {error[i]:.5f}"
    print(f"{i + 1:5} {values} {useful[i]:8.1f} {N // 10:5} {grown.batch_size:17}")
    assert grown.batch_size <= min(stable[i], useful[i], N / 10)
assert max(stable[0], useful[0]) < N / 10 < min(stable[2], trace[2] / (signal[2] + 2 * error[2]))
assert h[0] > 2 * h[1:].max()  # the steepest place is the first
assert at_start < 32

# %%
figure, axis = plt.subplots(figsize=(9, 4), layout="constrained")
edges = [0, *ends]
axis.stairs(stable, edges, baseline=None, color=ORANGE, linestyle="--", label="stability, $2(1 + m)/(\\rho h)$")
axis.plot(0, walls[0], "o", color=ORANGE, label="the same, at the very start")
axis.stairs(useful, edges, baseline=None, color=GREEN, linestyle="-.", label="gradient noise scale, $B_s$")
for epoch, stage in enumerate(np.searchsorted(ends, np.arange(17))):
    if epoch not in last[:, stage]:
        axis.plot(epoch, traces[epoch].mean() / signals[epoch].mean(), "s", color=GREEN, markersize=4)
axis.axhline(N / 10, color=BLUE, label="N/10")
axis.stairs([s.batch_size for s in growing], edges, color=GREY, fill=True, alpha=0.5, label="growing schedule")
axis.set(yscale="log", xlabel="epochs", ylabel="batch size", ylim=(10, 3e5), xlim=(-0.3, 16.3))
axis.set_title("All ceilings but N/10 rise during training")
axis.legend(loc="upper left", fontsize=9)
# alt: Ceilings on the batch size during training, on a logarithmic scale. Stability is at 200 to 800 in the first stage, the
# gradient noise scale at 90, both below N/10 = 1000, and they rise from stage to stage to far above it; at the very start the gradient
# noise scale is below 20. The growing schedule, 32, 160, 800, 1000, stays below the lines of all.

# %% [markdown]
# At first batches can be no larger than a few hundred: while $\rho$ is large, as it must be to get anywhere soon, a large
# batch needs a large learning rate, which the steepest direction does not bear. That is why training **starts with small
# batches**. (At the very start even 32 is above $B_s$: a free $\varepsilon$ would gain little by more.) Then each step of the
# schedule divides $\rho$ by 5 and lifts the ceiling of stability by 5, and so batches **can grow**. In the end $N/10$ is the
# lowest, and they **stop** there, or near it, as at 5120 of 50000.
#
# That $B_s$ rises too is no accident. Let SGD rest on a quadratic. Along each direction $|G|^2$ is $h^2\,\mathrm{Var}(w)$ on
# average, which by [tutorial 2](02_sgd_as_langevin.md) is $\rho h S/(2 (1 - m))$ at small $\varepsilon$. Their sum has
# $\mathrm{tr}(H S)$, with $H$ the Hessian, so that
#
# $$
# B_s = \frac{2 (1 - m)}{\rho\, \bar h}, \qquad \bar h = \frac{\mathrm{tr}(H S)}{\mathrm{tr}\,S},
# $$
#
# where $\bar h$ is the mean curvature that the noise meets. Like the ceiling of stability it goes with $1/\rho$: the gradient
# that is left is what the noise keeps up. First the formula, then the network, which is no quadratic and not at rest:

# %%
H, S = np.array([[2.0, 0.3], [0.3, 0.5]]), np.array([[0.7, -0.1], [-0.1, 0.2]])
left_over = np.trace(H @ H @ stationary.sgd_covariance(H, S / 10, 1e-5 * 10, momentum=m))  # B = 10, rho = 1e-5
assert np.isclose(np.trace(S) / left_over, 2 * (1 - m) / (1e-5 * np.trace(H @ S) / np.trace(S)), rtol=0.01)


def curvature_met(place):
    """tr(H S)/tr S, with S from 50 examples."""
    some = model.per_example_gradients(place, X[:50], y[:50])
    times_H = lambda v: model.hessian_vector_product(place, v, X[:500], y[:500], l2)
    return gradient_noise.curvature_noise_scale(some, times_H).noise / some.var(axis=0, ddof=1).sum()


for i, end in enumerate(ends):
    at_rest = 2 * (1 - m) / (rho[i] * np.mean([curvature_met(place) for place in places[end]]))
    print(f"stage {i + 1}: B_s at rest would be {at_rest:.1f}, measured {useful[i]:.1f}")
    assert 2 / 3 < useful[i] / at_rest < 3 / 2

# %% [markdown]
# ## How hard are they?
#
# From the places where the first three stages begin, we train for two epochs at the $\rho$ of the stage, with batches small
# and large. If only $\rho$ mattered, the loss would not depend on $B$.

# %%
sizes, loss = np.array([32, 160, 320, 640, 1600, 5000]), {}
print("batch size" + 20 * " " + "".join(f"{B:7}" for B in sizes))
for i, begin in enumerate((0, *ends[:2])):
    settings = [schedules.step_decay(rho[i] * B, int(B), milestones=(), n_epochs=2, factor=5) for B in sizes]
    options |= {"params": places[begin], "on_divergence": "stop"}
    runs = [fast.train(model, data, setting, sgd(momentum=m), **options) for setting in settings]
    loss[i] = np.array([run.train_loss[:, -1] for run in runs])  # not a number, if one of the seeds diverged
    first = np.mean([model.loss(place, data.X_train, data.y_train) for place in places[begin]])
    values, errors = loss[i].mean(axis=1), loss[i].std(axis=1, ddof=1) / n_seeds**0.5
    shown = [f"{value:7.3f}" if value < 2 else "     >2" for value in values]
    print(f"stage {i + 1}, begins at {first:.3f}, loss ", *shown, sep="")
    print(f"  (stable to {walls[i]:7.1f})  errors ", *(f"{e:7.3f}" for e in errors[values < 2]), sep="")
means = {i: np.nan_to_num(values.mean(axis=1), nan=np.inf) for i, values in loss.items()}
assert means[0][1] < 1.2 * means[0][0] < 1.3 * means[0][0] < means[0][2]  # at 160, and at 320
assert means[1][:5].max() < 1.15 * means[1][0] < 1.3 * means[1][0] < means[1][5]  # up to 1600, and at 5000
assert means[2].max() < 1.05 * means[2][0]

# %%
figure, axis = plt.subplots(figsize=(9, 3.8), layout="constrained")
for i, (color, line) in enumerate(((ORANGE, "-"), (BLUE, "--"), (GREEN, "-."))):
    errors = np.nan_to_num(loss[i].std(axis=1, ddof=1) / n_seeds**0.5)
    label = f"from the beginning of stage {i + 1}"
    axis.errorbar(sizes, np.minimum(means[i], 9), errors, linestyle=line, color=color, marker="o", label=label)
    if walls[i] < 6000:
        axis.axvline(walls[i], color=color, linewidth=1)
        style = {"rotation": 90, "va": "top", "ha": "right", "color": color, "fontsize": 8}
        axis.text(walls[i] * 0.95, 1.6, "stable up to here", **style)
axis.axvline(N / 10, color=BLACK, linestyle=":", linewidth=1)
axis.text(N / 10 * 0.95, 1.6, "N/10", rotation=90, va="top", ha="right", fontsize=8)
axis.set(xscale="log", xlabel="batch size, at $\\rho = \\varepsilon/B$", xticks=sizes, xticklabels=sizes)
axis.set(ylabel="training loss after two epochs", ylim=(0.25, 1.65))
axis.set_title("A batch too large for the first stage is fine for the third")
axis.minorticks_off()
axis.legend(loc="center left", fontsize=9)
# alt: Training loss after two epochs against batch size at constant eps/B, for three stages. In the first stage it is a tenth
# higher at 160, 40% higher at 320, beyond the ceiling of stability, and soon leaves the picture. In the second it is nearly the
# same up to 1600 and much higher at 5000, beyond the ceiling. In the third it is flat up to 5000.

# %% [markdown]
# **Stability** is what bites. In the first stage 160 raises the loss by a tenth, 320, beyond the ceiling, by 40%, and 640
# triples it. In the second 5000, beyond it, ends above where it began, in its four updates. (Not that all is lost there: a
# network can leave the steepest place behind, and [at full scale](reproduction.md) an untrained one trained in the end at
# three to seven times the limit.) **Nothing is seen** of $N/10$: in the third stage the training loss hardly changes up to
# 5000. What is lost there is noise, for next to no updates in return. Nor of $B_s$: in the second stage 640 and 1600 are
# beyond it, and end within 6% of the loss at 32, in 20 and 50 times fewer steps. At a prescribed $\rho$ that is as it should
# be.
#
# ## Where it stops being true
#
# | statement | is |
# |---|---|
# | the limit $\varepsilon h < 2 (1 + m)$ | exact on a quadratic, with constant noise or none; noise in $h$ itself lowers it (tutorial 2) |
# | $h$ is a number of the model | **wrong**: it differs from place to place. Here it was largest at the very start. Measure it |
# | $E \lvert G_B \rvert^2 = \lvert G \rvert^2 + \mathrm{tr}\,S/B$ | exact with replacement, with $\Sigma$ for $S$; without, $\mathrm{tr}\,S\,(1/B - 1/N)$ |
# | a step gains in proportion to $1/(1 + B_s/B)$ | exact for one step with the best $\varepsilon$ and one curvature in all directions; for training, a guide |
# | $N/10$ | convention: $g$ is a tenth off there, and nothing breaks |
# | $B_s = 2 (1 - m)/(\rho \bar h)$ at rest | exact to first order on a quadratic, for batches drawn afresh; on the network here within a tenth, but for the first stage. Reshuffling lowers $\lvert G \rvert^2$ at the ends of late epochs |
#
# ## Exercises
#
# 1. In the first stage you get eight times the workers: $B$ from 32 to 256. What do you do with $\varepsilon$, and do all
#    ceilings allow it?
# 2. In tutorial 5 two runs had a batch of 600: with $\varepsilon = 0.1$, $m = 0.98$ and with $\varepsilon = 0.5$, $m = 0.9$.
#    How near was each to the limit of stability?
# 3. You have no per-example gradients. The mean of $|G_B|^2$ is 4.0 at $B = 32$ and 1.3 at $B = 512$. What is $B_s$?
#
# ## Answers
#
# **1.** Eight times $\varepsilon$, 0.4: the linear rule loses 2% of $g$, and $N/10$ is far. Stability allows it once $h$ has
# come down, but at the very start 256 is beyond the ceiling: begin smaller. It is also beyond $B_s$: if each batch had its
# best $\varepsilon$, eight times the batch would save only a third of the factor.

# %%
saved = (1 + useful[0] / 32) / (1 + useful[0] / 256)
print(f"loss of g {-noise.linear_scaling_error(8, 32, N):.1%}; steps saved: a factor of {saved:.1f}")
print(f"stable to {walls[0]:.1f} at the start, to {stable[0]:.1f} later")
assert walls[0] < 256 < stable[0]
assert useful[0] < 256
assert saved < 8 / 2

# %% [markdown]
# **2.** The first was far from it, which leaves momentum's lag, or the mere 190 updates, as a suspect; the second was beyond
# it at the very start.

# %%
for h_then in h[:2]:
    limit_then = [stationary.max_stable_learning_rate(h_then, momentum) for momentum in (0.98, 0.9)]
    print(f"with h = {h_then:.1f}: {0.1 / limit_then[0]:.2f} and {0.5 / limit_then[1]:.2f} of the limit")
    assert 0.1 / limit_then[0] < 0.35 < 0.5 / limit_then[1]

# %% [markdown]
# **3.** Two equations for $|G|^2$ and $\mathrm{tr}\,S$: their difference gives $\mathrm{tr}\,S\,(1/32 - 1/512) = 2.7$.

# %%
answer = gradient_noise.gradient_noise_scale_from_norms(4.0, 1.3, 32, 512)
print(answer)
assert np.allclose((answer.noise * (1 / 32 - 1 / 512), answer.signal + answer.noise / 32), (2.7, 4.0))
