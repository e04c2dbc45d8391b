# %% [markdown]
# # 3. Eight times the workers: what happens to the learning rate?
#
# Your training runs with learning rate $\varepsilon = 0.1$, batch size $B = 128$ and momentum $m = 0.9$ on $N = 50000$
# examples. Now you get eight times as many workers, so that a batch of 1024 takes no longer than one of 128 did. What do you
# do with $\varepsilon$? And what is lost?
#
# The answer: keep the noise scale $g$ of [tutorial 1](01_noise_scale.md). If both $\varepsilon$ and $B$ grow by a factor $K$,
# then
#
# $$
# \frac{g_{\text{after}}}{g_{\text{before}}} = \frac{N - K B}{N - B} .
# $$
#
# ## What you will learn
#
# - The linear rule, the exact rule, and the difference between them.
# - What a larger batch costs even if $g$ is kept, and that momentum is a third knob with a price of its own.
# - Why batches on a training set of 50000 stop growing near 5120, about $N/10$.
# - How to convert your own settings at the command line.
#
# ## Two rules
#
# With $g = \frac{\varepsilon}{1 - m} \left( \frac{N}{B} - 1 \right)$, put $K B$ for $B$ and ask which learning rate
# $\varepsilon'$ leaves $g$ as it was:
#
# $$
# \varepsilon' = K \varepsilon\, \frac{N - B}{N - K B} \qquad \text{(exact rule)}, \qquad\qquad \varepsilon' = K \varepsilon \qquad \text{(linear rule)}.
# $$
#
# The linear rule forgets the $-1$. It keeps $\varepsilon N/B$, and so it loses the fraction $(K - 1) B/(N - B)$ of $g$,
# whatever the momentum.

# %%
import subprocess
import sys
from fractions import Fraction

import matplotlib.pyplot as plt
import numpy as np

from sgdnoise import (
    batch_size_for,
    grow_batch,
    learning_rate_for,
    linear_scaling_error,
    lost_epochs,
    momentum_for,
    noise_scale,
    scale_up,
    stationary,
    step_decay,
)

BLUE, ORANGE, BLACK, GREY = "#0072B2", "#D55E00", "#000000", "#999999"
N, B, m, eps = 50_000, 128, 0.9, 0.1
g = noise_scale(eps, B, N, momentum=m)

print("   K     batch  linear eps  exact eps  g by the linear rule  updates an epoch")
for K in (1, 8, 25, 40, 125, 250, 390):
    exact_eps = learning_rate_for(g, K * B, N, momentum=m)
    change = linear_scaling_error(K, B, N)
    print(f"{K:4} {K * B:9} {K * eps:11.1f} {exact_eps:10.4g} {1 + change:21.1%} {N // (K * B):17}")
    assert np.isclose(exact_eps, K * eps * (N - B) / (N - K * B))
    assert np.isclose(noise_scale(K * eps, K * B, N, momentum=m), g * (1 + change))
    assert np.isclose(change, -(K - 1) * B / (N - B), atol=1e-12)

# %% [markdown]
# So on eight times the batch the learning rate becomes 0.8 by the linear rule and 0.815 by the exact one, and the linear rule
# loses 1.8% of the noise. That is not worth a thought. At $K = 390$, with nearly all the data in one batch, it loses nearly
# all of it, and the exact rule asks for an absurd learning rate to make up for noise that is not there.
#
# ## Does the noise do as it is told?
#
# Let SGD come to rest on a quadratic loss of curvature 1, on $N = 200$ examples, with batches of $B = 2$ drawn afresh. How far
# it spreads is a measure of the noise that acts. Then raise $B$ by a factor $K$ and follow either rule.

# %%
rng = np.random.default_rng(0)
n_small, b_small, eps_small, n_copies = 200, 2, 0.001, 1000
x = rng.standard_normal(n_small)
x -= x.mean()
f = x.var(ddof=1)


def spread(eps, B):
    """Var(w) of SGD at rest: measured with batches drawn without replacement, its standard error, and exact."""
    exact = stationary.sgd_covariance(1.0, (1 / B - 1 / n_small) * f, eps)
    w = np.zeros(n_copies)
    for _ in range(int(3 / eps)):
        w = w - eps * (w - rng.permuted(np.tile(x, (n_copies, 1)), axis=1)[:, :B].mean(axis=1))
    return np.mean(w**2), np.std(w**2) / n_copies**0.5, exact


before = stationary.sgd_covariance(1.0, (1 / b_small - 1 / n_small) * f, eps_small)
g_small = noise_scale(eps_small, b_small, n_small)
factors = (10, 20, 40, 60, 80, 90)
rules = {
    "exact rule": lambda K: learning_rate_for(g_small, K * b_small, n_small),
    "linear rule": lambda K: K * eps_small,
}
measured = {name: np.array([spread(rule(K), K * b_small) for K in factors]) for name, rule in rules.items()}
print("Var(w), after / before\nK B / N    ", *(f"{K * b_small / n_small:15.1f}" for K in factors))
for name, rows in measured.items():
    print(f"{name:11}", *(f"{value / before:6.2f} +- {error / before:.3f}" for value, error, _ in rows))
    assert all(abs(value - exact) < 5 * error for value, error, exact in rows)
change = np.array([linear_scaling_error(K, b_small, n_small) for K in factors])
hotter = (1 - eps_small / 2) / (1 - np.array(factors) * eps_small / 2)  # as large steps are, by tutorial 2
assert np.allclose(measured["linear rule"][:, 2] / before, (1 + change) * hotter)

# %%
figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.6), layout="constrained")
upright = {"rotation": 90, "ha": "center", "va": "center", "fontsize": 8}
for axis in (left, right):
    axis.axvspan(0, 0.1, color=GREY, alpha=0.25, linewidth=0)
    axis.text(0.05, 0.2, "up to N/10", transform=axis.get_xaxis_transform(), **upright)
K, shares = np.linspace(1, 91, 200), np.array(factors) * b_small / n_small
for (name, rule), color, marker in zip(rules.items(), (BLUE, ORANGE), "os", strict=True):
    law = [stationary.sgd_covariance(1.0, (1 / (k * b_small) - 1 / n_small) * f, rule(k)) for k in K]
    left.plot(K * b_small / n_small, np.array(law) / before, color=color, linewidth=1)
    left.errorbar(shares, *(measured[name].T[:2] / before), fmt=marker, color=color, label=name)
left.axhline(1, color=BLACK, linestyle="--", linewidth=1)
left.set(xlabel="K B / N", ylabel="Var(w), after / before", ylim=(0, 2))
left.set_title("(a) noise left on a batch K times as large")
left.legend(loc="upper left", bbox_to_anchor=(0.17, 1))
K = np.linspace(1, 380, 400)
ratios = [learning_rate_for(g, k * B, N, momentum=m) / (k * eps) for k in K]
right.semilogy(K * B / N, ratios, color=BLUE, label="exact rule")
right.axhline(1, color=ORANGE, label="linear rule")
right.set(xlabel="K B / N", ylabel="learning rate / linear rule's", title="(b) what the exact rule asks for")
right.legend(loc="upper left", bbox_to_anchor=(0.17, 1))
# alt: Left, under the linear rule the spread falls on a nearly straight line to zero as the batch approaches all data; under
# the exact rule it stays at its level until the batch is most of the data, and then rises because the learning rate is so
# large. Right, the learning rate of the exact rule over that of the linear rule is near 1 up to N/10, shaded, and grows
# without bound.

# %% [markdown]
# In the shaded part, up to $N/10$, the linear rule loses a tenth of $g$ at most. Beyond, it runs out of noise. The exact rule
# keeps $g$, but at learning rates so large that $g$ is not the whole story: the rise at the right is the factor
# $1/(1 - \varepsilon h/2)$ of [tutorial 2](02_sgd_as_langevin.md).
#
# ## What is lost although g is kept
#
# **The clock.** An epoch takes the time $\varepsilon/(B (1 - m))$, as [tutorial 4](04_dont_decay.md) shows. The linear rule
# keeps that and loses noise. The exact rule keeps $g$, and an epoch takes $(N - B)/(N - K B)$ times as long on this clock:
# 1.8% at $K = 8$. No rule keeps both. In training it was the linear rule that kept the loss, up to $N/10$,
# [at full scale](reproduction.md).
#
# **Stability.** There are $K$ times fewer updates, each $K$ times larger. SGD bears that up to $\varepsilon < 2 (1 + m)/h$,
# with $h$ the largest curvature. A larger batch does not raise this limit, unless $h$ is noisy (tutorial 2).
# [Tutorial 6](06_how_large_a_batch.md) derives and measures it.
#
# **Epochs.** Momentum's accumulator takes about $B/(N (1 - m))$ of them to follow a change
# ([tutorial 5](05_momentum_and_adam.md)), $K$ times more than before. And if momentum is the knob, so that the factor goes
# into $1/(1 - m)$ in place of $\varepsilon$, the two multiply. Here for our eightfold batch, and for a step from 640 to 3200:

# %%
m_eight = momentum_for(g, eps, 8 * B, N)
limit = stationary.max_stable_learning_rate(1.0, m)
assert np.isclose(limit, 2 * (1 + m))
print(f"learning rate 0.8: stable for curvatures below {limit / 0.8:.2f}; 0.1: below {limit / 0.1:.0f}")
print("momentum  batch  epochs lost at each change")
for momentum, batch_size in ((0.9, 128), (0.9, 1024), (m_eight, 1024), (0.9, 640), (0.98, 3200)):
    print(f"{momentum:8.4f} {batch_size:6} {lost_epochs(batch_size, N, momentum):7.3f}")
assert np.isclose(lost_epochs(8 * B, N, m_eight) / lost_epochs(B, N, m), 8 * (1 - m) / (1 - m_eight))
assert lost_epochs(8 * B, N, m_eight) > 60 * lost_epochs(B, N, m)

# %% [markdown]
# ## Why 50000 examples stop near 5120
#
# Smith, Kindermans, Ying and Le ([arXiv:1711.00489](https://arxiv.org/abs/1711.00489)) train in four stages. Instead of
# dividing $\varepsilon$ by 5 three times they multiply $B$ by 5: 128, 640, 3200, 16000 (section 5.1). For the fast schedules
# of section 5.2 they stop at 5120 and let $\varepsilon$ take the rest of the factor. They advise to grow the batch to about
# $N/10$, and their rule, $g \approx \varepsilon N/B$, is for $B \ll N$. What would going on to 16000 save, and what would it
# cost?

# %%
decay = step_decay(0.1, 128, milestones=(60, 120, 160), n_epochs=200, factor=5)
for cap in (5120, 16_000):
    grown = grow_batch(decay, N, max_batch_size=cap)
    kept = grown.noise_scale(N, momentum=m) / decay.noise_scale(N, momentum=m)
    listed = ", ".join(f"{ratio:.3f}" for ratio in kept)
    print(grown.table(N, momentum=m))
    print(f"{grown.n_updates(N)} updates; g over that of the decaying schedule: {listed}\n")
saved = grow_batch(decay, N, max_batch_size=5120).n_updates(N) - grown.n_updates(N)
exact_growth = grow_batch(decay, N, rule="exact")
assert exact_growth.stages[-1].batch_size == 12_144
assert np.allclose(exact_growth.noise_scale(N), decay.noise_scale(N), rtol=1e-3)
assert decay.n_updates(N) == 78_000
assert saved == 240
assert np.isclose(kept[-1], (N - 16_000) / (N - 128))

# %% [markdown]
# It would save 240 of 29040 updates, and by the rule that keeps $\varepsilon/B$ cost another quarter of the noise in the last
# stage: 68% of the decaying schedule's $g$ would be left, and not 90%. (Growth at exact g, `grow_batch(..., rule="exact")`,
# would go to 12144, and make an epoch there a third longer on that clock.) That is a cost in noise; harm from it has not been
# seen, [at full scale](reproduction.md) either, and $N/10$ is a convention. At $N/10$ a tenth of $g$ is lost, and there is
# hardly anything left to win. The updates are in the first stage. To save those, start with a larger batch and a larger
# learning rate, if stability allows (in [tutorial 4](04_dont_decay.md) it costs):

# %%
caps = np.unique(np.geomspace(128, 16_000, 60).astype(int))
capped = [grow_batch(decay, N, max_batch_size=int(cap)) for cap in caps]
updates = np.array([schedule.n_updates(N) for schedule in capped])
last = np.array([schedule.noise_scale(N)[-1] for schedule in capped]) / decay.noise_scale(N)[-1]
quick = grow_batch(scale_up(decay, N, learning_rate=0.5), N, max_batch_size=5120)
print(f"{quick.n_updates(N)} updates\n{quick}")
assert quick.n_updates(N) == 6300
assert last[caps <= N // 10].min() > 0.9

# %%
figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.4), layout="constrained")
left.semilogx(caps, updates / 1000, color=BLUE)
left.set(xlabel="largest batch size allowed", ylabel="updates in 200 epochs, thousands", ylim=(0, 85))
left.set_title("(a) what is won")
right.semilogx(caps, last, color=ORANGE)
right.set(xlabel="largest batch size allowed", ylabel="g in the last stage / decaying's", ylim=(0, 1.1))
right.set_title("(b) what is lost")
for axis in (left, right):
    axis.axvline(N / 10, color=BLACK, linestyle="--", linewidth=1)
    axis.text(N / 10 * 0.93, 0.06, "N/10", ha="right", transform=axis.get_xaxis_transform())
# alt: Left, the updates of a growing-batch schedule fall from 78000 to 29000 as the largest batch allowed rises, and hardly
# fall beyond about 3000. Right, exact g in its last stage, over that of the decaying schedule, stays near 1 and drops fast
# beyond N/10 = 5000, to two thirds at 16000.

# %% [markdown]
# ## Your own numbers
#
# At the command line, `sgdnoise convert` does all this. Put in your setting and what you want of it, `--to-batch-size`,
# `--to-learning-rate` or `--to-momentum`:
#
# ```sh
# sgdnoise convert --learning-rate 0.1 --batch-size 128 --n-train 50000 --momentum 0.9 --to-batch-size 1024
# ```

# %%
yours = {"learning_rate": 0.1, "batch_size": 128, "n_train": 50_000, "momentum": 0.9}
wanted = 1024
options = [f"--{name.replace('_', '-')}={value}" for name, value in yours.items()]
command = [sys.executable, "-m", "sgdnoise", "convert", *options, f"--to-batch-size={wanted}"]
answer = subprocess.run(command, capture_output=True, text=True, check=True).stdout
print(answer)
exact_eps = learning_rate_for(noise_scale(**yours), wanted, yours["n_train"], momentum=yours["momentum"])
assert f"{exact_eps:.5g}" in answer

# %% [markdown]
# ## Where it stops being true
#
# | statement | is |
# |---|---|
# | $g$ changes by $(N - K B)/(N - B)$ under the linear rule | exact, for batches drawn without replacement |
# | the linear rule keeps $g$ | approximate: $K B \ll N$. Exact for batches drawn with replacement |
# | runs of equal $g$ and equal $\varepsilon/(B (1 - m))$ train alike per epoch | approximate: no rule keeps both but for $K B \ll N$; and $\varepsilon$ well below $2 (1 + m)/h$. [Tutorial 4](04_dont_decay.md) tries it |
# | equal $g$ costs nothing | **wrong** near the limit of stability, and where momentum has no time to follow |
# | Adam obeys the same rules | **not claimed**: Adam has no $g$ in this theory |
#
# ## Exercises
#
# 1. $N = 50000$, $B = 1024$, and eight times the workers once more. What does the linear rule lose now, and which factor does
#    the exact rule ask for?
# 2. Your training set doubles. How does $B$ have to change to keep $g$ at the same $\varepsilon$ and $m$?
# 3. The largest curvature of your network is $h = 2$. Starting from $\varepsilon = 0.1$, $B = 128$, $m = 0.9$, how far can the
#    exact rule go on $N = 50000$?
#
# ## Answers
#
# **1.** It loses $7 \cdot 1024/(50000 - 1024) = 14.6\%$. The batch of 8192 is beyond $N/10$. The exact rule asks for
# $8/0.854 = 9.4$.

# %%
print(f"{linear_scaling_error(8, 1024, N):.1%}, factor {8 / (1 + linear_scaling_error(8, 1024, N)):.2f}")
factor = learning_rate_for(noise_scale(0.1, 1024, N), 8192, N) / 0.1
assert np.isclose(factor, 8 / (1 + linear_scaling_error(8, 1024, N)))

# %% [markdown]
# **2.** $g$ depends on $N/B$ alone, so $B$ doubles. This keeps $g$. It does not keep the law of $w$, which goes with $g/N$
# ([tutorial 2](02_sgd_as_langevin.md), exercise 2): for that $B$ stays. [Tutorial 8](08_optimum_batch_size.md) asks which
# wins.

# %%
exact_g = noise_scale(Fraction(1, 10), 128, N)
assert batch_size_for(exact_g, Fraction(1, 10), 2 * N) == 256

# %% [markdown]
# **3.** $K \varepsilon (N - B)/(N - K B)$ must stay below $L = 2 (1 + m)/h = 1.9$. Solve for $K$:
# $K < L N/(\varepsilon (N - B) + L B) = 18$, a batch of about 2300. Stability, and not $N/10$, is the limit here. (There
# $\mathrm{Var}(w)$ is infinite: stay well below.)

# %%
L = stationary.max_stable_learning_rate(2.0, m)
K = L * N / (eps * (N - B) + L * B)
print(f"K = {K:.1f}, batch size {K * B:.0f}")
assert np.isclose(learning_rate_for(g, K * B, N, momentum=m), L)
assert K * B < N / 10
