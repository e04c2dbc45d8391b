# %% [markdown]
# # 5. Momentum multiplies the noise: why not simply raise it?
#
# The noise scale $g = \frac{\varepsilon}{1 - m} \left( \frac{N}{B} - 1 \right)$ has a third knob. Raise $m$ from 0.9 to 0.98,
# and the batch may be five times as large at the same $\varepsilon$ and $g$: up to five times fewer updates, for nothing.
# Smith, Kindermans, Ying and Le ([arXiv:1711.00489](https://arxiv.org/abs/1711.00489), section 5.2; "the paper" below) tried,
# and their test accuracy fell from 94.5% to 93.3%. Why? And what of Adam, which has momentum too?
#
# The paper's answer is the accumulator. Under a constant gradient $G$ it reads, after $s$ updates and for $m$ near 1,
#
# $$
# A(s) \approx \frac{G}{1 - m} \left( 1 - e^{-(1 - m)\, s} \right) ,
# $$
#
# so it takes some $1/(1 - m)$ updates to follow. That is $\frac{B}{N (1 - m)}$ epochs, where $B$ and $1/(1 - m)$ multiply.
#
# ## What you will learn
#
# - Three forms of momentum, and Nesterov's: which $g$ each has, and which differ when the learning rate changes.
# - What raising $m$ costs, why not even steep directions are spared, and why it may have been too much in the paper.
# - Why Adam has no $g$ in this theory, and when its learning rate should grow like $\sqrt B$ and when like $B$.
#
# ## Which form is yours?
#
# Ours is the trace form, $a \leftarrow m a + \text{gradient}$, $w \leftarrow w - \varepsilon a$; Nesterov's takes the step
# $w \leftarrow w - \varepsilon (\text{gradient} + m a)$ with the new $a$. Others have the learning rate inside,
# $v \leftarrow m v - \varepsilon\,\text{gradient}$, $w \leftarrow w + v$, or an average (EMA),
# $a \leftarrow m a + (1 - m)\,\text{gradient}$.

# %%
import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # matrices as small as these are slower on two

import matplotlib.pyplot as plt
import numpy as np

from sgdnoise import MLP, Optimizer, adam, fast, load_fashion, noise, schedules, sgd, stationary

BLUE, ORANGE, GREEN, BLACK, GREY = "#0072B2", "#D55E00", "#009E73", "#000000", "#999999"
m = 0.9
forms = {
    "trace": sgd(momentum=m),
    "velocity": Optimizer(np.zeros_like, lambda G, v, eps: (m * v - eps * G, m * v - eps * G)),  # w <- w + v
    "Nesterov": sgd(momentum=m, nesterov=True),
    "average": Optimizer(np.zeros_like, lambda G, a, eps: (-eps * (m * a + (1 - m) * G), m * a + (1 - m) * G)),
}


def path(optimizer, gradients, rates):
    """Where one parameter goes from 0 under the gradients given."""
    state, steps = optimizer.init(np.zeros(1)), [np.zeros(1)]
    for gradient, rate in zip(gradients, rates, strict=True):
        step, state = optimizer.update(np.array([gradient]), state, rate)
        steps.append(step)
    return np.cumsum(steps)


impulse = np.eye(1, 400)[0]  # one gradient of 1, then silence
print("form      moves in all, per learning rate  g at eps = 0.1, B = 128, N = 50000")
for name, optimizer in forms.items():
    total = -path(optimizer, impulse, np.full(400, 0.1))[-1] / 0.1
    print(f"{name:8} {total:32.2f} {noise.noise_scale(0.1 * total, 128, 50_000):35.1f}")
    assert np.isclose(total, 1 if name == "average" else 1 / (1 - m))
# %% [markdown]
# Many small kicks add up like their totals, as [tutorial 1](01_noise_scale.md) showed. So a form whose single gradient moves
# the parameters by $\varepsilon q$ in all has the $g$ of plain SGD at $\varepsilon q$: $q = 1/(1 - m)$ for three of them, and
# 1 for the average, which *is* the trace form at $(1 - m)\,\varepsilon$, path by path. Trace and velocity agree while the
# learning rate is constant. When it drops, the trace form obeys at once; the velocity keeps what it accumulated before:

# %%
gradients, constant = np.random.default_rng(0).standard_normal(400), np.full(400, 0.1)
dropped = np.where(np.arange(400) < 200, 0.1, 0.02)
walk = {name: path(optimizer, gradients, constant) for name, optimizer in forms.items()}
assert np.allclose(walk["trace"], walk["velocity"])
assert np.allclose(walk["average"], (1 - m) * walk["trace"])

steady = {name: np.diff(path(optimizer, np.ones(400), dropped)) for name, optimizer in forms.items()}
assert np.allclose(steady["trace"][200:], -0.02 / (1 - m), rtol=1e-6)
assert np.allclose(steady["velocity"][200:], -(0.02 + 0.08 * m ** np.arange(1, 201)) / (1 - m), rtol=1e-6)

trace, nesterov = (stationary.sgd_covariance(1.0, 1.0, 1e-3, momentum=m, nesterov=on) for on in (False, True))
assert np.isclose(nesterov, trace, rtol=0.01)  # one g, one Var(w) at rest, for small eps/(1 - m)

# %%
figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.4), layout="constrained")
looks = {
    "trace": {"color": BLUE, "linewidth": 4, "alpha": 0.45},
    "velocity": {"color": BLACK, "linestyle": "--"},
    "Nesterov": {"color": GREEN, "linestyle": "-."},
    "average": {"color": ORANGE},
}
for name, optimizer in forms.items():
    left.plot(-path(optimizer, impulse, constant)[:51] / 0.1, label=name, **looks[name])
    if name != "average":
        right.plot(np.arange(-20, 40), -steady[name][180:240], **looks[name])
left.set(xlabel="updates after a gradient of 1", ylabel="moved, per learning rate")
left.set_title("(a) ten times the gradient, or once")
left.legend(loc="center right", fontsize=9)
right.set(xlabel="updates since the learning rate was divided by 5", ylim=(0, 1.1))
right.set_ylabel("step under a gradient of 1")
right.set_title("(b) the velocity form obeys late")
# alt: Left, after a single gradient the trace, velocity and Nesterov forms move the parameters by ten times the learning rate
# in all, over some 40 updates; the averaging form by one time. Right, when the learning rate is divided by five the steps of
# the trace and Nesterov forms drop at once, those of the velocity form over some 30 updates.

# %% [markdown]
# ## The accumulator
#
# Unroll $a \leftarrow m a + G$ from $a = 0$: after $s$ updates it is
# $(1 + m + \dots + m^{s-1})\, G = \frac{1 - m^s}{1 - m} G$. The formula at the top has $e^{-(1-m) s}$ for $m^s$, which is
# close for $m$ near 1. While $a$ fills up, steps are too short. What is missing adds up to $\sum_s m^s = m/(1 - m)$ whole
# steps, with $N/B$ updates an epoch $m B/(N (1 - m))$ **lost epochs**; the paper leaves out the $m$ in front. The paper counts
# as many whenever the noise changes. Steps are not missing then, since $a$ is full. But it still holds gradients of before,
# those of smaller batches and of other places, and takes as long to forget them.

# %%
for momentum in (0.9, 0.98):
    s = np.arange(1, 1001)
    places = path(sgd(momentum=momentum), np.ones(1000), np.ones(1000))
    assert np.allclose(-np.diff(places), (1 - momentum**s) / (1 - momentum))
    assert np.allclose(1 - momentum**s, 1 - np.exp(-(1 - momentum) * s), atol=0.03)
    behind = 1000 + places[-1] * (1 - momentum)
    print(f"m = {momentum}: behind by {behind:.1f} updates; 1/(1 - m) = {1 / (1 - momentum):.0f}")
    assert np.isclose(behind, momentum / (1 - momentum))

decay = schedules.step_decay(0.1, 128, milestones=(60, 120, 160), n_epochs=200, factor=5)
print("the paper's schedule    updates   epochs of lag, by stage (of 60, 60, 40, 40)")
for momentum in (0.9, 0.98):
    schedule = schedules.scale_up(decay, 50_000, learning_rate=0.5, momentum=0.9, to_momentum=momentum)
    schedule = schedules.grow_batch(schedule, 50_000, max_batch_size=5120)
    lost = [noise.lost_epochs(stage.batch_size, 50_000, momentum) for stage in schedule]
    print(f"with momentum {momentum:<5} {schedule.n_updates(50_000):11}  ", *(f"{value:.2f}" for value in lost))
assert np.allclose((lost[0], 25 * noise.lost_epochs(640, 50_000, 0.9)), 3.2)

# %% [markdown]
# Raising $m$ to 0.98 and $B$ with it, from 640 to 3200, makes the lag 25 times as long: 3.2 epochs in place of 0.13.
#
# ## Steep directions are not spared
#
# Could a steep direction not follow faster, pulled by its curvature $h$? An update of the trace form multiplies
# $(w, \varepsilon a)$ by
#
# $$
# \begin{pmatrix} 1 - \varepsilon h & -m \\ \varepsilon h & m \end{pmatrix} , \qquad \text{determinant } m .
# $$
#
# The product of its two eigenvalues is $m$, whatever $h$ is. So one of them is at least $\sqrt m$ in size. A variance goes
# with the square, and in its slowest part forgets **at most the fraction $1 - m$ in an update**. In epochs that is
# $B/(N (1 - m))$ again. (Nesterov's form has the determinant $m (1 - \varepsilon h)$, and spares those not too near its
# limit.) Let the noise fall to a fifth, and see the spread of the trace form follow.


# %%
def relax(momentum, eps_h, n_updates):
    """Variance of w, over its change, after the noise of SGD at rest has fallen to a fifth."""
    update = np.array([[1 - eps_h, -momentum], [eps_h, momentum]])
    kick = np.outer([-1, 1], [-1, 1])
    rest = np.linalg.solve(np.eye(4) - np.kron(update, update), kick.ravel()).reshape(2, 2)
    assert np.isclose(rest[0, 0], stationary.sgd_covariance(eps_h, 1.0, 1.0, momentum=momentum))
    spread, variances = rest, []
    for _ in range(n_updates):
        variances.append((spread / rest)[0, 0])
        spread = update @ spread @ update.T + kick / 5
    return (np.array(variances) - 1 / 5) * 5 / 4


soon, late = (np.flatnonzero(relax(m, 0.1, 400) > 0.05)[-1] * B / 50_000 for m, B in ((0.9, 640), (0.98, 3200)))
print(f"95% of the change takes {soon:.2f} epochs at m = 0.9, B = 640, and {late:.2f} at m = 0.98, B = 3200")
assert 20 < late / soon < 30

# %%
figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.8), layout="constrained")
for momentum, B, color, line in ((0.9, 128, GREY, ":"), (0.9, 640, BLUE, "-"), (0.98, 3200, ORANGE, "--")):
    s = np.arange(1, 30 * 50_000 // B)
    label = f"m = {momentum}, B = {B}: {noise.lost_epochs(B, 50_000, momentum):.3f}"
    left.plot(s * B / 50_000, 1 - momentum**s, line, color=color, label=label)
    right.plot(s * B / 50_000, relax(momentum, 0.1, len(s) + 1)[1:], line, color=color)
left.set(xlabel="epochs", ylabel="accumulator / its final value", ylim=(0, 1.05), title="(a) filling up")
figure.legend(loc="outside lower center", ncols=3, title="epochs lost", fontsize=9)
right.set(xlabel="epochs since the noise fell", ylabel="part of the change to come", ylim=(0, 1.05))
right.set_title("(b) Var(w) at $\\varepsilon h$ = 0.1, where w swings")
for axis in (left, right):
    axis.set(xscale="log", xlim=(0.003, 30), xticks=(0.01, 0.1, 1, 10), xticklabels=("0.01", "0.1", "1", "10"))
# alt: Against epochs on a logarithmic scale. Left, the accumulator fills within a fraction of an epoch at momentum 0.9 and
# batch 128 or 640, and takes some ten epochs at momentum 0.98 and batch 3200. Right, after the noise has fallen to a fifth the
# variance of a steep direction follows just as slowly at 0.98: some ten epochs, against less than one.

# %% [markdown]
# ## On a network
#
# Growing schedules as in [tutorial 4](04_dont_decay.md), all with the same $\varepsilon/(B (1 - m))$ at each epoch. The second
# is the paper's: five times the learning rate, and momentum for another five in the batch. The third has the same momentum,
# but spends it on a smaller learning rate. The fourth has the batch of the second, and lets the learning rate pay for it. Each
# begins twice: at a random place, and where the first is after an epoch.

# %%
N, data, model = 10_000, load_fashion(10_000), MLP(196, (20,), 10)
start = schedules.step_decay(0.02, 24, milestones=(5, 10, 13), n_epochs=16, factor=5)
epoch, final = schedules.step_decay(0.02, 24, milestones=(), n_epochs=1, factor=5), []
later = fast.train(model, data, epoch, sgd(momentum=0.9), rngs=range(4)).params
print("learning rate  momentum  first batch  epochs lost there  updates  loss and accuracy   begun later")
for eps, momentum in ((0.02, 0.9), (0.1, 0.98), (0.004, 0.98), (0.5, 0.9)):
    schedule = schedules.scale_up(start, N, learning_rate=eps, momentum=0.9, to_momentum=momentum)
    schedule = schedules.grow_batch(schedule, N, max_batch_size=N // 10)
    runs = [fast.train(model, data, schedule, sgd(momentum), params=at, rngs=range(4)) for at in (None, later)]
    final.append([run.train_loss[:, -1].mean() for run in runs])
    ends = [f"{run.train_loss[:, -1].mean():8.3f} {run.test_accuracy[:, -1].mean():6.1%}" for run in runs]
    B, n_updates = schedule.stages[0].batch_size, runs[0].n_updates[-1]
    print(f"{eps:13} {momentum:9} {B:12} {noise.lost_epochs(B, N, momentum):18.2f} {n_updates:8}   ", *ends)
assert final[2][0] < final[0][0] + 0.05 < final[0][0] + 0.1 < min(final[1][0], final[3][0])
assert max(final[1][1], final[3][1]) < final[0][0] + 0.06

# %% [markdown]
# More momentum alone costs little. With a larger batch it costs dearly, and so does a larger learning rate in its place, if
# training begins that way. An epoch later, with lags as long, both cost half a point. So here most of the price is paid at the
# very start, where a memory of 50 updates, or steps beyond the limit of stability, meet the steepest place
# ([tutorial 6](06_how_large_a_batch.md)). The paper's schedule began that way, too.
#
# ## Adam
#
# Adam divides the step by the root mean square of the gradient, $r$. So it picks a learning rate of its own, $\varepsilon/r$,
# for each parameter, and $r$ depends on the batch size. Where **noise dominates**, $r = \sigma/\sqrt B$. Put
# $\varepsilon \sqrt B/\sigma$ and the kick's variance $\sigma^2/B$ into the law of [tutorial 2](02_sgd_as_langevin.md),
# $\mathrm{Var}(w) = \frac{\text{learning rate} \cdot \text{variance}}{2 h}$:
#
# $$
# \mathrm{Var}(w) = \frac{\varepsilon\, \sigma}{2 h \sqrt B} .
# $$
#
# To keep it, $\varepsilon$ must grow like $\sqrt B$. Where **the gradient dominates**, $r = |G|$ whatever $B$ is: every step
# has the length $\varepsilon$, and for the same progress in an epoch $\varepsilon$ must grow like $B$.

# %%
rng, copies, sigma = np.random.default_rng(0), 1500, 100.0


def adam_variance(eps, B):
    """Var(w) of Adam at rest on a quadratic of curvature 1, in strong noise, averaged over time."""
    optimizer, w = adam(), np.zeros(copies)
    state, squares = optimizer.init(w), []
    for _ in range(2500):
        step, state = optimizer.update(w + sigma / B**0.5 * rng.standard_normal(copies), state, eps)
        w = w + step
        squares.append(np.mean(w**2))
    return np.mean(squares[1250:])


factors, before = np.array([1, 4, 9]), 0.02 * sigma / (2 * 100**0.5)
rules, spread = {"linear": factors, "square root": factors**0.5}, {}
for name, rule in rules.items():
    spread[name] = [adam_variance(0.02 * growth, 100 * K) for growth, K in zip(rule, factors, strict=True)]
    print(f"{name:11} rule: Var(w) at 1, 4 and 9 times the batch:", *(f"{value:.3f}" for value in spread[name]))
    assert np.allclose(spread[name], before * rule / factors**0.5, rtol=0.1)

# %% [markdown]
# In noise the square-root rule is right and the linear one makes $\mathrm{Var}(w)$ grow like $\sqrt K$. By the $g$ of SGD,
# $\varepsilon (N/B - 1)$, the linear rule would keep it. So **there is no $g$ for Adam here**: what must be kept depends on
# the ratio of noise to gradient, which changes from parameter to parameter and during training. Now the network, whose
# gradient is not all noise, on four times the batch. (The square-root rule in full, `adam_square_root_rule`, also multiplies
# $1 - \beta$ by 4 and halves Adam's constant.)

# %%
rule = noise.adam_square_root_rule(4, 1e-3, 0.9, 0.999, 1e-8)
runs = {"batch 32": (32, 1e-3, adam()), "linear rule": (128, 4e-3, adam())}
runs["square-root rule"] = (128, rule.learning_rate, adam(rule.b1, rule.b2, rule.eps))
curves = {}
for name, (B, eps, optimizer) in runs.items():
    schedule = schedules.step_decay(eps, B, milestones=(), n_epochs=6, factor=5)
    curves[name] = fast.train(model, data, schedule, optimizer, rngs=range(3)).train_loss.mean(axis=0)
linear, root = (curves[name] - curves["batch 32"] for name in ("linear rule", "square-root rule"))
print(f"off after epochs 1, 6: linear {linear[0]:+.3f}, {linear[5]:+.3f}; root {root[0]:+.3f}, {root[5]:+.3f}")
assert linear[0] < 0 < root[-1] < -linear[-1] < -linear[0] < root[0]

# %%
figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.4), layout="constrained")
K = np.geomspace(1, 9, 50)
for name, color, marker, law in (("linear", ORANGE, "o", K**0.5), ("square root", BLUE, "s", K**0)):
    left.loglog(K, law, color=color, linewidth=1)
    left.loglog(factors, np.array(spread[name]) / before, marker, color=color, label=f"{name} rule")
left.set(xlabel="batch / first batch", ylabel="Var(w) / first", ylim=(0.7, 4))
left.set_title("(a) all noise: a quadratic")
left.set(xticks=factors, xticklabels=factors, yticks=(1, 2, 3), yticklabels=(1, 2, 3))
left.minorticks_off()
left.legend(loc="upper left", fontsize=9)
for (name, curve), color, line in zip(curves.items(), (BLACK, ORANGE, BLUE), ("-", "--", "-."), strict=True):
    label = name if name == "batch 32" else f"batch 128, {name}"
    right.plot(np.arange(1, 7), curve, line, color=color, label=label)
right.set(xlabel="epochs", ylabel="training loss", title="(b) some gradient: the network")
right.legend(loc="upper right", fontsize=9)
# alt: Left, on a quadratic in strong noise, Adam's variance stays at its level under the square-root rule and
# grows like the root of the batch under the linear rule; points lie on the lines predicted. Right, on the network the curve of
# batch 32 lies between those of batch 128 by the linear rule, below it, and by the square-root rule, above it.

# %% [markdown]
# The true curve lies between the two rules: at first nearer to the linear one, which the paper used and found to work, later
# to the square root. For early in training the gradient is strong, and then noise takes over
# ([tutorial 6](06_how_large_a_batch.md)).
#
# ## Where it stops being true
#
# | statement | is |
# |---|---|
# | $q = 1/(1 - m)$ for trace, velocity and Nesterov, 1 for the average | exact |
# | equal $\varepsilon q$: equal $g$ | exact bookkeeping; Nesterov's $\mathrm{Var}(w)$ differs at the order of $\varepsilon h/(1 - m)$ |
# | velocity is trace | exact at constant $\varepsilon$, **wrong** for $1/(1 - m)$ updates after it changes |
# | $A(s)$ with $m^s$; $m/(1 - m)$ steps lost | exact for a constant gradient; the exponential approximates $m^s$ |
# | variances forget at most the fraction $1 - m$ an update | exact on a quadratic for the trace form; Nesterov's determinant is $m (1 - \varepsilon h)$: its steep directions forget faster, short of the limit of stability |
# | the lag explains the paper's 93.3% | plausible. That it costs most where training begins is shown here on another network. [At full scale](reproduction.md), begun that way, momentum cost 3.7 points, the learning rate alone 0.9 |
# | Adam: $\sqrt B$ in noise, $B$ without | the two limits of an idealised Adam; between them neither |
#
# ## Exercises
#
# 1. Your library averages, $a \leftarrow m a + (1 - m)\,\text{gradient}$. You raise $m$ from 0.9 to 0.98 and leave all else.
#    What happens to $g$? To the lag?
# 2. How large may $m$ be at $B = 5120$, $N = 50000$ for a lag of half an epoch?
# 3. The learning rate is divided by 5, the gradient constant. By how many new steps does velocity overshoot at $m = 0.9$?
#
# ## Answers
#
# **1.** $g$ stays, since $q = 1$: it is the trace form at $(1 - m)\,\varepsilon$. The lag grows fivefold all the same.

# %%
assert np.isclose(*(noise.noise_scale((1 - m) * 0.1, 128, 50_000, momentum=m) for m in (0.9, 0.98)))
assert np.isclose(noise.lost_epochs(128, 50_000, 0.98), 5 * noise.lost_epochs(128, 50_000, 0.9))

# %% [markdown]
# **2.** $m = 1 - 2 B/N$, about 0.8. At the largest batches even 0.9 lags by a whole epoch.

# %%
assert np.isclose(noise.lost_epochs(5120, 50_000, 1 - 5120 / 25_000), 0.5)
assert noise.lost_epochs(5120, 50_000, 0.9) > 1

# %% [markdown]
# **3.** $\sum_k 4 m^{k+1} = 4 m/(1 - m) = 36$ of them.

# %%
too_far = (steady["velocity"] - steady["trace"])[200:].sum() / steady["trace"][-1]
assert np.isclose(too_far, 4 * m / (1 - m))
