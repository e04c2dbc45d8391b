# %% [markdown]
# # 6. How large may a batch be?
#
# [Tutorial 4](04_dont_decay.md) grew the batch instead of decaying the learning rate, and saved most updates. Why begin with
# 32 examples, then? Why stop at $N/10$, as Smith and others did, at 5120 of 50000? Where are the walls?
#
# The answer: let $\rho = \varepsilon/B$ be the ratio that a stage of the schedule prescribes. There are three ceilings,
#
# $$
# B \le \min \left( \frac{N}{10},\ \frac{2 (1 + m)}{\rho\, h},\ \frac{\mathrm{tr}\,S}{|G|^2} \right) ,
# $$
#
# with $h$ the largest curvature of the loss, $S$ the covariance of the per-example gradients and $G$ their mean. Beyond the
# first, $g$ is lost; beyond the second, training is unstable; beyond the third, a step need not gain by a larger batch.
#
# ## What you will learn
#
# - Three ceilings for three reasons, and how to measure each on a model of your own.
# - Which one binds when, and why training begins with small batches and grows them.
# - How hard they are, by experiment: what happens on the other side of each.
#
# ## The first ceiling: the training set
#
# This one needs no measurement. A stage that keeps $\varepsilon/B$ on a batch of $N/10$ has a tenth less of the exact $g$, by
# [tutorial 3](03_scaling_rules.md), and beyond it soon much less. Moreover an epoch has 10 updates, which is what a momentum
# of 0.9 needs to follow a change, by [tutorial 5](05_momentum_and_adam.md): the lag is a whole epoch.

# %%
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
# from side to side, farther with each update. The batch size is not in it. But at a given $\rho$ the learning rate is
# $\rho B$, and so **the limit on the learning rate is one on the batch size**: $\rho B h < 2 (1 + m)$.


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
# A minibatch gradient is the gradient and noise: $E |G_B|^2 = |G|^2 + \mathrm{tr}\,S/B$, for $B \ll N$. The two are equal at
# the **gradient noise scale** $B_s = \mathrm{tr}\,S/|G|^2$. (A batch size, and not our $g$.) What is a step worth? If the
# curvature is $h$ in all directions, a step $\varepsilon$ lowers the loss by
# $\varepsilon |G|^2 - \frac{h \varepsilon^2}{2} \left( |G|^2 + \mathrm{tr}\,S/B \right)$ on average. That is most, and how
# much, at
#
# $$
# \varepsilon = \frac{1}{h} \cdot \frac{1}{1 + B_s/B} : \qquad \frac{|G|^2}{2 h} \cdot \frac{1}{1 + B_s/B} .
# $$
#
# Well below $B_s$ twice the batch wants twice the learning rate, the linear rule once more, and gives twice the progress of a
# step: as much per example, in half the steps. Well above, twice the batch gives nothing. We take the network and the schedule
# of tutorial 4, train, and measure at the end of the first epoch, on 2000 of the examples.

# %%
N, m, l2 = 10_000, 0.9, 1e-4
raw, model = load_fashion(N), MLP(196, (20,), 10)
data = Dataset(raw.X_train.astype(float), raw.y_train, raw.X_test[:500].astype(float), raw.y_test[:500], 10)
X, y = data.X_train[:2000], data.y_train[:2000]
decaying = schedules.step_decay(0.05, 32, milestones=(5, 10, 13), n_epochs=16, factor=5)
growing = schedules.grow_batch(decaying, N, max_batch_size=N // 10)
places = [model.init(np.random.default_rng(0))]  # where each epoch begins
remember = lambda history: places.append(history.params[0])
fast.train(model, data, decaying, sgd(momentum=m), l2=l2, rngs=[0], callback=remember)

gradients = model.per_example_gradients(places[1], X, y)
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
left.set_ylabel("factor of a deviation per update")
left.set_title("(a) unstable from $\\varepsilon h = 2(1 + m)$, the dots")
left.legend(loc="lower right", fontsize=9)
b = np.geomspace(5, 2000, 100)
right.loglog(b, measured.signal + measured.noise / b, color=BLUE, label="both")
right.loglog(b, measured.noise / b, "--", color=ORANGE, label="noise, tr S/B")
right.axhline(measured.signal, color=GREEN, linestyle="-.", label="gradient, $|G|^2$")
right.loglog(sizes, [squares[B].mean() for B in sizes], "o", color=BLACK, label="measured")
right.axvline(float(measured), color=GREY, linewidth=1)
right.text(float(measured) * 1.1, 6, "$B_s$", color="#666666")
right.set(xlabel="batch size B", ylabel="mean of $|G_B|^2$", ylim=(0.02, 10))
right.set_title("(b) a minibatch gradient after one epoch")
right.legend(loc="lower left", fontsize=9)
# alt: Left, the factor of a deviation per update against learning rate times curvature, for momentum 0, 0.5 and 0.9. Each curve
# crosses 1 at its dot, at 2, 3 and 3.8. Right, the measured squared norm of minibatch gradients lies on the sum of a noise that
# falls like 1/B and a constant gradient; the two are equal near a batch of 180.

# %% [markdown]
# ## All three, during training
#
# $h$ comes from products of the Hessian with vectors, `top_hessian_eigenvalue`; it and $\mathrm{tr}\,S$ are measured on the
# 2000 examples. On so few the estimate of $|G|^2$ fails late in training, where it is less than the $\mathrm{tr}\,S/2000$
# taken off. But SGD goes down the loss of the training set, and that has a gradient without any error: the one over all $N$
# examples. It differs from place to place, so we average it over the last three epochs of a stage before we divide.


# %%
def look(place):
    """h, tr S and |G|^2 at a place."""
    G = model.gradient(place, data.X_train, data.y_train, l2)  # S does not know of L2, the same everywhere
    trace = model.per_example_gradients(place, X, y).var(axis=0, ddof=1).sum()
    return gradient_noise.top_hessian_eigenvalue(model, place, X, y, l2=l2), trace, G @ G


ends = np.cumsum([stage.n_epochs for stage in decaying])
rho = np.array([stage.learning_rate / stage.batch_size for stage in decaying])
sharpness, traces, signals = np.array([look(place) for place in places]).T
last = np.array([ends - 2, ends - 1, ends])  # the epochs at the end of each stage
trace, signal = traces[last].mean(axis=0), signals[last].mean(axis=0)
error = signals[last].std(axis=0, ddof=1) / 3**0.5
useful, useful_first = trace / signal, traces[0] / signals[0]
walls, stable = (stationary.max_stable_learning_rate(sharpness[at], m) / rho for at in ([0, *ends[:-1]], ends))
print(f"At the very start h = {sharpness[0]:.1f}: stable up to {walls[0]:.1f}; and B_s = {useful_first:.1f}.")
print("stage  h at its end  2(1 + m)/(rho h)  tr S              |G|^2      B_s  N/10  growing schedule")
for i, grown in enumerate(growing):
    values = f"{sharpness[ends[i]]:13.2f} {stable[i]:17.1f} {trace[i]:5.1f} {signal[i]:8.4f} +- {error[i]:.4f}"
    print(f"{i + 1:5} {values} {useful[i]:8.1f} {N // 10:5} {grown.batch_size:17}")
    assert grown.batch_size <= min(stable[i], useful[i], N / 10)
assert max(stable[0], useful[0]) < N / 10 < stable[2]
assert trace[2] / (signal[2] + 2 * error[2]) > N / 10
assert sharpness[0] > 2 * sharpness[ends].max()  # the steepest place is the first
assert useful_first < 32

# %%
figure, axis = plt.subplots(figsize=(7, 3.9), layout="constrained")
edges, stage_of = [0, *ends], np.searchsorted(ends, np.arange(17))
steep = stationary.max_stable_learning_rate(sharpness, m) / rho[stage_of]
looks = ((stable, steep, ORANGE, "--", "o", "stability, $2(1 + m)/(\\rho h)$"),)
looks += ((useful, traces / signals, GREEN, "-.", "s", "gradient noise scale, $B_s$"),)
for values, each, color, line, marker, label in looks:
    axis.stairs(values, edges, baseline=None, color=color, linestyle=line, linewidth=1.8, label=label)
    axis.plot(range(17), each, marker, color=color, markersize=4, alpha=0.7)
axis.axhline(N / 10, color=BLUE, linewidth=1.8, label="N/10")
axis.stairs([s.batch_size for s in growing], edges, color=GREY, fill=True, alpha=0.5, label="growing schedule")
axis.set(yscale="log", xlabel="epochs", ylabel="batch size", ylim=(10, 3e5), xlim=(-0.3, 16.3))
axis.set_title("All ceilings but N/10 rise from stage to stage")
axis.legend(loc="upper left", fontsize=9)
# alt: Ceilings on the batch size during training, on a logarithmic scale, with points for single epochs. Stability and the
# gradient noise scale are a few hundred in the first stage, below N/10 = 1000, and rise from stage to stage to far above it;
# at the very start the gradient noise scale is 23. The growing schedule, 32, 160, 800, 1000, stays below the lines of all.

# %% [markdown]
# That is why training **starts with small batches**: while $\rho$ is large, a large batch needs a large learning rate, which
# the steepest direction does not bear; and the gradient is still strong, so that a large batch is not worth its price. (At the
# very start even 32 is above $B_s$. That costs some efficiency for an epoch, and no stability.) It is also why it **grows
# them**: each step of the schedule divides $\rho$ by 5 and lifts the ceiling of stability by 5. And it is why it **stops** at
# $N/10$, or near it, as at 5120 of 50000: late in training this ceiling is the lowest.
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
    """tr(H S)/tr S, with S from 200 examples."""
    some = model.per_example_gradients(place, X[:200], y[:200])
    times_H = lambda v: model.hessian_vector_product(place, v, X, y, l2)
    return gradient_noise.curvature_noise_scale(some, times_H).noise / some.var(axis=0, ddof=1).sum()


for i, end in enumerate(ends):
    predicted = 2 * (1 - m) / (rho[i] * curvature_met(places[end]))
    print(f"stage {i + 1}: B_s at rest would be {predicted:.1f}, measured {useful[i]:.1f}")
    assert 1 / 2 < useful[i] / predicted < 2

# %% [markdown]
# ## How hard are they?
#
# From the places where the first three stages begin, we train for two epochs at the $\rho$ of the stage, with batches small
# and large. If only $\rho$ mattered, the loss would not depend on $B$.

# %%
sizes, loss = np.array([32, 160, 320, 640, 1600, 5000]), {}
for i, begin in enumerate((0, *ends[:2])):
    settings = [schedules.step_decay(rho[i] * B, int(B), milestones=(), n_epochs=2, factor=5) for B in sizes]
    options = {"l2": l2, "params": places[begin], "rngs": range(2), "on_divergence": "stop"}
    runs = [fast.train(model, data, setting, sgd(momentum=m), **options) for setting in settings]
    loss[i] = np.array([np.inf if run.diverged.any() else run.train_loss[:, -1].mean() for run in runs])
    wall = walls[i]
    low, high = sizes <= wall / 10, sizes > wall
    shown = (f"{value:.2f}" if value < 1 else ">1" for value in loss[i])
    print(f"stage {i + 1}, stable up to {wall:.1f} where it begins; loss:", *shown)
    assert (abs(loss[i][low] / loss[i][0] - 1) < 0.05).all()
    assert (loss[i][high] / loss[i][0] > 1.2).all()
between = loss[1][(sizes > useful[1]) & (sizes < walls[1] / 2)] / loss[1][0]
assert len(between) == 2
assert max(between) < 1.1

# %%
figure, axis = plt.subplots(figsize=(7, 3.6), layout="constrained")
upright = {"rotation": 90, "va": "top", "ha": "right", "fontsize": 8}
for i, (color, line) in enumerate(((ORANGE, "-"), (BLUE, "--"), (GREEN, "-."))):
    label = f"from the beginning of stage {i + 1}"
    axis.plot(sizes, np.minimum(loss[i], 9), line, color=color, marker="o", label=label)
    if walls[i] < 6000:
        axis.axvline(walls[i], color=color, linewidth=1)
        axis.text(walls[i] * 0.95, 1.27, "stable up to here", color=color, **upright)
axis.axvline(N / 10, color=BLACK, linestyle=":", linewidth=1)
axis.text(N / 10 * 0.95, 1.27, "N/10", **upright)
axis.set(xscale="log", ylim=(0.25, 1.65), xticks=sizes, xticklabels=sizes)
axis.set(xlabel="batch size, at the stage's $\\rho = \\varepsilon/B$", ylabel="training loss after two epochs")
axis.set_title("A batch too large for the first stage is fine for the third")
axis.minorticks_off()
axis.legend(loc="upper left", fontsize=9)
# alt: Training loss after two epochs against batch size at constant eps/B, for three stages. In the first stage it rises from
# its ceiling of stability on, 265, and soon leaves the picture. In the second it rises a little near its ceiling of some 3600
# and is 40% higher beyond. In the third it is flat up to 5000.

# %% [markdown]
# In the first stage **stability is a wall** where the run begins: 160 is fine, 320 is not. In the second 5000 is beyond the
# ceiling and costs 40%, but nothing blows up: a network can move to where it is less steep. **$B_s$ is the softest**: in the
# second stage 640 and 1600 are beyond it, and end within a tenth of the loss at 32, in 20 and 50 times fewer steps. Its
# argument gave all directions one curvature. In flatter ones the best $\varepsilon$ is larger, and larger steps can pay until
# the steepest stops them. **The first is no wall**: crossing $N/10$ does no visible harm to the training loss in the third
# stage. But beyond it a tenth or more of $g$ is lost, for next to no updates.
#
# ## Where it stops being true
#
# | statement | is |
# |---|---|
# | the limit $\varepsilon h < 2 (1 + m)$ | exact on a quadratic, without noise; noise in $h$ itself lowers it (tutorial 2) |
# | $h$ is a number of the model | **wrong**: it differs from place to place, and is largest at the very start. Measure it there |
# | $E \lvert G_B \rvert^2 = \lvert G \rvert^2 + \mathrm{tr}\,S/B$ | exact with replacement, with $\Sigma$ for $S$; without, $\mathrm{tr}\,S\,(1/B - 1/N)$ |
# | a step gains in proportion to $1/(1 + B_s/B)$ | exact for one step with the best $\varepsilon$ and one curvature in all directions; for training, a guide |
# | $N/10$ | convention: $g$ is a tenth off there, and nothing breaks |
# | $B_s = 2 (1 - m)/(\rho \bar h)$ at rest | exact to first order on a quadratic; on the network, in training, within a factor of 2 here |
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
# come down, but at the very start 256 is at the wall: begin smaller. And it is near $B_s$. If steps gain in proportion to
# $1/(1 + B_s/B)$, eight times the batch saves less than eight times the steps.

# %%
saved = (1 + useful[0] / 32) / (1 + useful[0] / 256)
loss_of_g = -noise.linear_scaling_error(8, 32, N)
print(f"loss of g {loss_of_g:.1%}; stable to {walls[0]:.1f} at the start, to {stable[0]:.1f} later")
print(f"steps saved: a factor of {saved:.1f}")
assert walls[0] < 1.2 * 256 < stable[0]
assert 0.5 < useful[0] / 256 < 2
assert saved < 6

# %% [markdown]
# **2.** The first was never near it, so that its trouble was the lag; the second was beyond it at the very start.

# %%
settings = ((0.1, 0.98), (0.5, 0.9))
for h in sharpness[[0, 5]]:
    parts = [eps / stationary.max_stable_learning_rate(h, momentum) for eps, momentum in settings]
    print(f"with h = {h:.1f}: {parts[0]:.2f} and {parts[1]:.2f} of the limit")
    assert parts[0] < 0.3 < parts[1]

# %% [markdown]
# **3.** Two equations for $|G|^2$ and $\mathrm{tr}\,S$: their difference gives $\mathrm{tr}\,S\,(1/32 - 1/512) = 2.7$.

# %%
answer = gradient_noise.gradient_noise_scale_from_norms(4.0, 1.3, 32, 512)
print(answer)
assert np.isclose(answer.noise, 2.7 / (1 / 32 - 1 / 512))
assert np.isclose(answer.signal + answer.noise / 32, 4.0)
