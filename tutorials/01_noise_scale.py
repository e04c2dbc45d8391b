# %% [markdown]
# # 1. How noisy is a minibatch gradient?
#
# SGD does not follow the gradient of the training loss. It follows the gradient of a minibatch, which jitters around it. How
# strong is the jitter, and which one number says so for every learning rate $\varepsilon$, batch size $B$ and training-set
# size $N$?
#
# The answer of this page is the noise scale,
#
# $$
# g = \varepsilon \left(\frac{N}{B} - 1\right) , \qquad \text{with momentum } m: \quad g = \frac{\varepsilon}{1 - m} \left(\frac{N}{B} - 1\right) .
# $$
#
# ## What you will learn
#
# - The variance of a minibatch gradient is exactly $(1/B - 1/N)\,S$, with $S$ the variance among the $N$ examples.
# - Why it, and so $g$, vanishes at $B = N$, and what changes when examples are drawn with replacement.
# - How a variance for each update becomes a noise scale $g$, and why momentum $m$ multiplies it by $1/(1 - m)$.
#
# ## Watch it jitter
#
# We take 300 images, a small network, and the gradient of each image's loss. To have numbers to look at, we project the
# gradients on one direction: that of the mean gradient. This leaves 300 numbers $x_i$, and a minibatch gradient is the mean of
# $B$ of them.

# %%
from fractions import Fraction
from itertools import combinations, product

import matplotlib.pyplot as plt
import numpy as np

from sgdnoise import MLP, learning_rate_for, load_fashion, minibatch_covariance, minibatches, noise_scale, sgd

BLUE, ORANGE, GREEN, BLACK, GREY = "#0072B2", "#D55E00", "#009E73", "#000000", "#999999"
rng = np.random.default_rng(0)

N = 300
data = load_fashion(N)
model = MLP(data.n_features, (16,), data.n_classes)
params = model.init(rng)
mean_gradient = model.gradient(params, data.X_train, data.y_train)
direction = mean_gradient / np.linalg.norm(mean_gradient)
x = model.per_example_gradients(params, data.X_train, data.y_train) @ direction
S = x.var(ddof=1)  # the divisor is N - 1

batch = minibatches(N, 20, rng=rng)[0]
by_network = model.gradient(params, data.X_train[batch], data.y_train[batch]) @ direction
assert np.isclose(by_network, x[batch].mean())  # a minibatch gradient is a mean of per-example gradients


# %%
def batch_means(B, n_draws, replace=False):
    """Means of batches, each drawn afresh: the first B of a shuffled row are a draw without replacement."""
    if replace:
        return x[rng.integers(N, size=(n_draws, B))].mean(axis=1)
    return rng.permuted(np.tile(x, (n_draws, 1)), axis=1)[:, :B].mean(axis=1)


n_draws = 2000
sizes = (1, 20, 40, 80, 120, 180, 240, 285, 300)
without = {B: batch_means(B, n_draws) for B in sizes}
replaced = {B: batch_means(B, n_draws, replace=True) for B in sizes}

# %%
figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.6), layout="constrained")
for B in sizes[1:]:
    left.plot(B + rng.uniform(-5, 5, 80), without[B][:80], ".", color=BLUE, markersize=3)
left.axhline(x.mean(), color=BLACK, linewidth=1)
left.set(xlabel="batch size B", ylabel="minibatch gradient, along one direction", xlim=(0, 310))
left.set_title("(a) 80 batches of each size, about the mean of all 300")
for means, color, marker, label in (
    (replaced, ORANGE, "^", "with replacement"),
    (without, BLUE, "o", "without replacement"),
):
    shown = np.array([B * means[B].var() / S for B in sizes])
    right.errorbar(sizes, shown, shown * (2 / n_draws) ** 0.5, fmt=marker, color=color, label=label)
right.plot((0, N), (1 - 1 / N, 1 - 1 / N), color=ORANGE, linewidth=1)
right.plot((0, N), (1, 0), color=BLUE, linewidth=1)
right.set(xlabel="batch size B", ylabel="B Var(minibatch gradient) / S", ylim=(0, 1.15))
right.set_title("(b) points measured, lines derived below")
right.legend(loc="lower left")
# alt: Two panels. Left, minibatch gradients scatter about the full gradient, less and less as the batch grows, and not at all
# at B = N = 300. Right, the variance times B over S falls on a straight line from 1 to 0 at B = N for batches drawn without
# replacement, and stays at 1 for batches drawn with replacement.

# %% [markdown]
# Larger batches jitter less, as expected. But drawn without replacement their variance falls faster than $1/B$, and at $B = N$
# it is gone.
#
# ## Where the minus one comes from
#
# Measure each $x_i$ from the mean of all, so that the $x_i$ sum to 0, and write $\sigma^2 = \frac{1}{N} \sum_i x_i^2$ for the
# variance of one draw. The batch mean has $B$ variances and $B (B - 1)$ covariances of two different draws, all alike, $c$:
#
# $$
# \mathrm{Var}(\text{batch mean}) = \frac{1}{B^2} \left[ B \sigma^2 + B (B - 1)\, c \right] .
# $$
#
# With replacement the draws are independent, $c = 0$, and the variance is $\sigma^2/B$. Without replacement they are not: an
# example that has been drawn cannot come again. To find $c$ we need no combinatorics. The batch of all $N$ examples is always
# the same, so its variance is 0: $N \sigma^2 + N (N - 1)\, c = 0$, and $c = -\sigma^2/(N - 1)$. Put it back in, with
# $S = \sigma^2 N/(N - 1)$:
#
# $$
# \mathrm{Var}(\text{batch mean}) = \frac{\sigma^2}{B}\, \frac{N - B}{N - 1} = \left(\frac{1}{B} - \frac{1}{N}\right) S .
# $$
#
# Nothing was approximated: this holds for any numbers, any $N$ and any $B$. So we can check it without tolerance. Five numbers
# have few enough batches to go through all of them, in rational arithmetic.


# %%
def variance(values):
    """Variance of equally likely values."""
    values = list(values)
    mean = sum(values) / len(values)
    return sum((value - mean) ** 2 for value in values) / len(values)


five = [Fraction(value) for value in (3, -1, 4, 1, 5)]
sigma2 = variance(five)
S5 = sigma2 * 5 / 4
print("B   without replacement   with replacement")
for B in range(1, 6):
    subsets = variance(sum(batch) / B for batch in combinations(five, B))
    sequences = variance(sum(batch) / B for batch in product(five, repeat=B))
    print(f"{B}   {subsets!s:>19}   {sequences!s:>16}")
    assert subsets == (Fraction(1, B) - Fraction(1, 5)) * S5 == minibatch_covariance(S5, B, 5)
    assert sequences == sigma2 / B == minibatch_covariance(sigma2, B, 5, replace=True)

# %% [markdown]
# The last line is the answer to "why does $g$ vanish at $B = N$?": the full batch can only be drawn in one way. With
# replacement even a batch of $N$ misses some examples and repeats others, and keeps the variance $\sigma^2/N$.
#
# Gradients are vectors. Since the law holds along every direction, it holds for covariance matrices: $S$ is then the
# covariance of the per-example gradients (and $\Sigma = S (N - 1)/N$ is the same with divisor $N$). The points of panel (b)
# obey it within their sampling error:

# %%
for means, replace, spread in ((without, False, S), (replaced, True, x.var())):
    for B in sizes:
        law = minibatch_covariance(spread, B, N, replace=replace)
        squares = (means[B] - x.mean()) ** 2
        assert abs(squares.mean() - law) <= 5 * squares.std() / n_draws**0.5 + 1e-20  # 1e-20: for rounding

# %% [markdown]
# ## From a variance to a time step to g
#
# The loss is a mean over examples. Let the cost $C$ be the *sum*, which like an energy grows with the number of parts, so that
# its gradient is $N$ times the mean gradient. One update is then
#
# $$
# w \leftarrow w - \frac{\varepsilon}{N} \frac{dC}{dw} - \varepsilon \cdot \text{jitter}, \qquad
# \mathrm{Var}(\text{jitter}) = \left(\frac{1}{B} - \frac{1}{N}\right) S .
# $$
#
# The drift is that of $dw/dt = -dC/dw$ over a time step $\Delta t = \varepsilon/N$. So $\varepsilon/N$ is the natural clock.
# How much variance do the kicks bring per unit of it?
#
# $$
# \frac{\varepsilon^2 (1/B - 1/N)\, S}{\varepsilon/N} = \varepsilon \left(\frac{N}{B} - 1\right) S = g\, S .
# $$
#
# That is the whole definition: **$g$ is the variance that minibatches add per unit of time, in units of $S$.** Smith,
# Kindermans, Ying and Le ([arXiv:1711.00489](https://arxiv.org/abs/1711.00489), equation 3) write it as
# $dw/dt = -dC/dw + \eta(t)$, with a noise $\eta$ for which $\langle \eta(t)\, \eta(t') \rangle = g F \delta(t - t')$: kicks at
# different times are independent, and over a time $\Delta t$ they add up to the variance $g F \Delta t$
# ($\langle \cdot \rangle$ is a mean). With $g$ exact their $F$ must be our $S$.
#
# With momentum in the form $a \leftarrow m a + \text{gradient}$, $w \leftarrow w - \varepsilon a$, a gradient acts again and
# again, as $1 + m + m^2 + \dots = 1/(1 - m)$ of itself. Drift, kicks and clock see the learning rate $\varepsilon/(1 - m)$,
# and so does $g$:

# %%
eps = Fraction(1, 10)
assert noise_scale(eps, 20, N) == eps**2 * (Fraction(1, 20) - Fraction(1, N)) / (eps / N)
assert noise_scale(eps, N, N) == 0
assert noise_scale(eps, 20, N, replace=True) / noise_scale(eps, 20, N) == 1 + Fraction(20, N - 20)
assert noise_scale(eps, 20, N, momentum=Fraction(9, 10)) == 10 * noise_scale(eps, 20, N)

optimizer, moved = sgd(momentum=0.9), np.zeros(1)
state = optimizer.init(moved)
for update in range(300):  # a single gradient of 1, then silence
    step, state = optimizer.update(np.array([1.0 if update == 0 else 0.0]), state, 0.1)
    moved += step
assert np.isclose(moved[0], -0.1 / (1 - 0.9))

# %% [markdown]
# To see the bookkeeping at work, let nothing but the kicks act, and count time as the drift would. Four settings share one
# $g$; a fifth has the learning rate of the first and twice its batch size. We follow how far 2000 copies of $w$ have spread.

# %%
g, n_copies, jitter_scale = noise_scale(0.01, 10, N), 2000, S**0.5


def spread_by_kicks(eps, B, m, n_updates):
    """Variance of the sum of kicks after each update, in units of S."""
    optimizer, w, spread = sgd(momentum=m), np.zeros(n_copies), [0.0]
    state = optimizer.init(w)
    for _ in range(n_updates):
        step, state = optimizer.update((batch_means(B, n_copies) - x.mean()) / jitter_scale, state, eps)
        w = w + step
        spread.append(np.mean(w**2))
    return np.array(spread)


settings = [(learning_rate_for(g, B, N, momentum=m), B, m) for B, m in ((10, 0), (50, 0), (100, 0), (10, 0.9))]
settings.append((0.01, 20, 0))
curves = []
for eps, B, m in settings:
    dt = eps / (1 - m) / N
    n_updates = round(1 / (N * dt))  # all for the same time, 1/N
    curves.append(spread_by_kicks(eps, B, m, n_updates))
    done = 1 - m ** np.arange(1, n_updates + 1)  # what a kick has done so far, the latest kick first
    exact = noise_scale(eps, B, N, momentum=m) * dt * (done**2).sum()
    assert abs(curves[-1][-1] / exact - 1) < 5 * (2 / n_copies) ** 0.5

# %%
figure, axes = plt.subplots(1, 2, figsize=(9, 3.6), layout="constrained", sharey=True)
styles = ((BLUE, "-"), (ORANGE, "--"), (BLACK, ":o"), (GREEN, "-"), (GREY, "-"))
for (eps, B, m), spread, (color, line) in zip(settings, curves, styles, strict=True):
    updates = np.arange(len(spread))
    label = f"$\\varepsilon$ = {eps:.3g}, B = {B}, m = {m}: g = {noise_scale(eps, B, N, momentum=m):.2g}"
    axes[0].plot(updates, N * spread, line, color=color, markersize=3)
    axes[1].plot(updates * eps / (1 - m), N * spread, line, color=color, label=label, markersize=3)
axes[0].set(xlabel="updates", ylabel="N Var(sum of kicks) / S", ylim=(0, 0.4))
axes[0].set_title("(a) against updates: slopes differ")
axes[1].set_xlabel("N x time = updates x $\\varepsilon$/(1 - m)")
axes[1].set_title("(b) against time: equal g, equal slope")
axes[1].legend(fontsize=8, loc="upper left")
# alt: Spread of the parameters by minibatch kicks for five settings. Against updates the slopes of equal g differ by up to a
# factor of 15. Against time the four settings of equal g lie on one line, the one with momentum a little behind, while the fifth,
# with half that g, has half the slope.

# %% [markdown]
# Momentum starts late, by about $1.5/(1 - m)$ updates for $m$ near 1, because its accumulator begins empty. Then its slope is
# the same.
#
# ## Where it stops being true
#
# | statement | is |
# |---|---|
# | the covariance of a minibatch gradient is $(1/B - 1/N)\,S$ | exact: any $w$, $N$, $B$, drawn without replacement; any model whose batch loss is a mean over examples (so not batch normalisation, nor dropout) |
# | with replacement it is $\Sigma/B$, divisor $N$, and $g = \varepsilon N/B$ | exact |
# | $g S$ is the variance per unit time | exact bookkeeping for independent batches; with momentum after a few times $1/(1-m)$ updates |
# | $g \approx \varepsilon N/B$ | approximate: too large by the fraction $B/(N - B)$, so only for $B \ll N$ |
# | runs of equal $g$ behave alike | approximate: needs small steps. [Tutorial 2](02_sgd_as_langevin.md) measures how small |
# | batches of one reshuffled epoch kick independently | **wrong**: each two have covariance $-S/N$, see tutorial 2 |
#
# And $g$ is only the part of the noise that you set. $S$ depends on where $w$ is, and on the model. Nor is $g$ the "gradient
# noise scale" of the large-batch literature, the trace of $S$ over the squared gradient, which is a batch size and does not
# know the learning rate ([tutorial 6](06_how_large_a_batch.md)).
#
# ## Exercises
#
# 1. At which batch size is the textbook law $S/B$ wrong by a factor of two?
# 2. Your data loader draws with replacement. You set $B = N$. What is $g$?
# 3. Smith and others train on CIFAR-10 ($N = 50000$) with $\varepsilon = 0.1$, $m = 0.9$, $B = 128$. Your framework's momentum
#    averages, $a \leftarrow m a + (1 - m)\,\text{gradient}$. Which learning rate gives the same $g$?
#
# ## Answers
#
# **1.** The ratio of $(1/B - 1/N)\,S$ to $S/B$ is $1 - B/N$: at half of the data.

# %%
assert minibatch_covariance(Fraction(1), N // 2, N) == Fraction(1, N // 2) / 2

# %% [markdown]
# **2.** $g = \varepsilon N/B = \varepsilon$, not 0: a batch of $N$ draws still misses a fraction $(1 - 1/N)^N \approx 1/e$ of
# the data.

# %%
assert noise_scale(0.1, N, N, replace=True) == 0.1
assert abs((1 - 1 / N) ** N - np.exp(-1)) < 1e-3

# %% [markdown]
# **3.** In this form a gradient acts as $(1 - m)(1 + m + m^2 + \dots) = 1$ of itself, so the averaging form has the $g$ of no
# momentum at all. The learning rate must be $1/(1 - m) = 10$ times larger.

# %%
g = noise_scale(0.1, 128, 50_000, momentum=0.9)
eps = learning_rate_for(g, 128, 50_000)
print(f"g = {g:.1f}, learning rate {eps:.2f}")
assert np.isclose(eps, 0.1 / (1 - 0.9))
