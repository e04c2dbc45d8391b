# %% [markdown]
# # 4. Why decay the learning rate at all?
#
# Everybody divides the learning rate by 5 or 10 when the loss stops falling. What does that do? If all it does is to lower the
# noise and slow the clock, then a larger batch must do as well: the same curve, epoch by epoch, with fewer updates. How many
# fewer, and what is that worth? It is the question of Smith, Kindermans, Ying and Le, *Don't Decay the Learning Rate, Increase
# the Batch Size* ([arXiv:1711.00489](https://arxiv.org/abs/1711.00489)).
#
# The answer: let stage $i = 0, 1, \dots$ last $n_i$ epochs. Where the usual schedule divides $\varepsilon$ and keeps its batch
# size $B_0$, multiply the batch size, so that $\varepsilon_i/B_i$ is the same in both. Then
#
# $$
# \frac{\text{updates, decaying}}{\text{updates, growing}} = \frac{\sum_i n_i}{\sum_i n_i\, B_0/B_i} .
# $$
#
# ## What you will learn
#
# - Why $\varepsilon/B$ settles a stage: it is the time of an epoch, and $N \varepsilon/B$ is its noise scale.
# - The paper's experiment from `train` and two schedules, with a control that shows that $\varepsilon/B$ matters.
# - What the speed-up is worth: it takes workers. On one core a step takes longer with every example in it.
#
# ## One ratio, two laws
#
# An epoch is $N/B$ updates, and [tutorial 1](01_noise_scale.md) gives each the time $\varepsilon/N$, or
# $\varepsilon/(N (1 - m))$ with momentum. So an epoch takes the time
#
# $$
# \frac{N}{B} \cdot \frac{\varepsilon}{N (1 - m)} = \frac{\varepsilon}{B (1 - m)} ,
# $$
#
# and its noise scale is $g = \frac{\varepsilon}{1 - m} \left( \frac{N}{B} - 1 \right)$. Divide $\varepsilon$ by 5, or multiply
# $B$ by 5: the clock is the same exactly, and the noise but for the $-1$. A run that is the Langevin equation of
# [tutorial 2](02_sgd_as_langevin.md) cannot tell one from the other. It only takes fewer, larger steps.

# %%
import os
from fractions import Fraction

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # matrices as small as these are slower on two

import matplotlib.pyplot as plt
import numpy as np

from sgdnoise import MLP, fast, learning_rate_for, load_fashion, noise_scale, sgd, train
from sgdnoise.schedules import grow_batch, scale_up, step_decay, warm_up

BLUE, ORANGE, GREEN, BLACK, GREY = "#0072B2", "#D55E00", "#009E73", "#000000", "#999999"
eps, B, m = Fraction(1, 10), 128, Fraction(9, 10)


def epoch_time(eps, B):
    """Time of an epoch: updates, times the time of each."""
    return Fraction(50_000, B) * eps / (50_000 * (1 - m))


assert epoch_time(eps / 5, B) == epoch_time(eps, 5 * B)  # exact
settings = ((eps, B), (eps / 5, B), (eps, 5 * B))
g, decayed, grown = (float(noise_scale(*setting, 50_000, momentum=m)) for setting in settings)
print(f"g {g:.1f} becomes {decayed:.1f} or {grown:.1f}")
assert 0.98 < grown / decayed < 1  # the -1 is forgotten: 1% here

# %% [markdown]
# ## The schedules
#
# The paper's experiment (its section 5.1), made small: 10000 images, 20 hidden units, 16 epochs, with steps after epochs 5, 10
# and 13 where the paper has 60, 120 and 160 of 200. A factor of 5 and momentum 0.9 are the paper's. We stop the batch at
# $N/10 = 1000$, for the reason that [tutorial 3](03_scaling_rules.md) gives. From there the learning rate takes over.

# %%
N, m, l2 = 10_000, 0.9, 1e-4
data, model = load_fashion(N), MLP(196, (20,), 10)
decaying = step_decay(0.05, 32, milestones=(5, 10, 13), n_epochs=16, factor=5)
growing = grow_batch(decaying, N, max_batch_size=N // 10)
schedules = {
    "control": step_decay(0.05, 32, milestones=(), n_epochs=16, factor=5),  # never changes anything
    "decaying": decaying,
    "hybrid": grow_batch(decaying, N, n_drops=1),  # grows the batch once, then decays
    "growing": growing,
}
for name in ("decaying", "growing"):
    print(f"{name}\n{schedules[name].table(N, momentum=m)}\n")
kept = growing.noise_scale(N) / decaying.noise_scale(N)
print("exact g, growing over decaying:", *(f"{ratio:.3f}" for ratio in kept))
for a, b in zip(decaying, growing, strict=True):
    assert np.isclose(a.learning_rate / a.batch_size, b.learning_rate / b.batch_size)
assert kept.min() > 0.9

# %% [markdown]
# ## The runs
#
# `train` takes a model, data, a schedule and an optimizer. That is all there is to it. (It reshuffles each epoch, as everybody
# does. With momentum and few updates an epoch, what that leaves of the noise is not a matter of $\varepsilon N/B$ alone; that
# the curves agree all the same is a finding.) We want four seeds, and `fast.train` is the same loop for several at once:

# %%
short = step_decay(0.05, 32, milestones=(1,), n_epochs=2, factor=5)
reference = train(model, data, short, sgd(momentum=m), l2=l2, rng=0)
same = fast.train(model, data, short, sgd(momentum=m), l2=l2, rngs=[0])
assert np.allclose(same.train_loss, reference.train_loss, rtol=1e-3)


def run(schedule):
    """Train four networks, from four seeds."""
    return fast.train(model, data, schedule, sgd(momentum=m), l2=l2, rngs=range(4))


runs = {name: run(schedule) for name, schedule in schedules.items()}
after = np.arange(16) >= decaying.stages[0].n_epochs  # epochs after the first step; before it all runs are one


def apart(a, b):
    """Largest distance of two training curves, means over seeds, after the first step."""
    return abs(a.train_loss.mean(axis=0) - b.train_loss.mean(axis=0))[after].max()


print("schedule  updates  training loss  distance / control's  test accuracy, less decaying's")
for name, history in runs.items():
    ratio = apart(history, runs["decaying"]) / apart(runs["control"], runs["decaying"])
    accuracy = 100 * history.test_accuracy[:, -1]
    gain = accuracy - 100 * runs["decaying"].test_accuracy[:, -1]
    scores = f"{accuracy.mean():14.1f}% {gain.mean():+7.2f} +- {gain.std(ddof=1) / 2:.2f}"
    print(f"{name:8} {history.n_updates[-1]:8} {history.train_loss[:, -1].mean():14.2f} {ratio:21.2f} {scores}")
    if name in ("hybrid", "growing"):
        assert ratio < 0.1  # one curve, on the scale of what a change of eps/B does
        assert abs(gain.mean()) < 0.5

# %%
figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.8), layout="constrained", sharey=True)
styles = {
    "control": {"color": GREY, "label": "control: never changes"},
    "decaying": {"color": BLUE, "linewidth": 4.5, "alpha": 0.45, "label": "decaying learning rate"},
    "hybrid": {"color": ORANGE, "linestyle": "--", "label": "hybrid"},
    "growing": {"color": BLACK, "linestyle": ":", "linewidth": 2, "label": "growing batch"},
}
for name, history in runs.items():
    mean = history.train_loss.mean(axis=0)
    left.plot(history.epoch, mean, **styles[name])
    right.plot(history.n_updates, mean, **styles[name])
for name, dy in (("growing", -0.022), ("decaying", -0.022)):
    n_updates = runs[name].n_updates[-1]
    end = (n_updates, runs[name].train_loss[:, -1].mean() + dy)
    right.annotate(f"{n_updates}", end, ha="center", va="top", color=styles[name]["color"])
left.set(xlabel="epochs", ylabel="training loss", ylim=(0.22, 0.6), title="(a) against epochs: one curve")
right.set(xlabel="updates", title="(b) against updates: growing ends first")
left.legend(loc="upper right", fontsize=9)
# alt: Training loss of four schedules. Against epochs the decaying, hybrid and growing schedules lie on one curve, which drops
# after epoch 5 where the noise is lowered, while the control that never changes stays far above. Against updates the growing
# schedule ends after 1936 updates and the decaying one after 4992, at the same loss.

# %% [markdown]
# The steep drop after epoch 5 is what people decay the learning rate for. It comes with the larger batch just as well, and
# with a learning rate that has not changed. The control shows that this is not for free: without a change of $\varepsilon/B$,
# which is noise and clock at once, the curve goes elsewhere. (Distances are from the decaying schedule's curve.)
#
# ## How many updates
#
# In the sum $\sum_i n_i B_0/B_i$ the first stage counts in full and the others hardly: nearly all updates that are left are in
# it. So the factor saved is below $\sum_i n_i/n_0$, here $16/5$, however large the batch may grow. To win more, the first
# stage must begin with a larger batch, and with a larger learning rate. The paper multiplies both by 5.


# %%
def saving(decaying, growing):
    """The formula at the top of this page: updates of one schedule over those of another."""
    return sum(s.n_epochs / s.batch_size for s in decaying) / sum(s.n_epochs / s.batch_size for s in growing)


large = grow_batch(scale_up(decaying, N, learning_rate=0.25), N, max_batch_size=N // 10)
warmed = warm_up(large, 5)
print(f"{warmed.table(N, momentum=m)}\n")
lost = {}
for name, schedule in (("growing", growing), ("large", large), ("warmed", warmed)):
    history = runs.get(name) or run(schedule)
    counted = runs["decaying"].n_updates[-1] / history.n_updates[-1]
    assert np.isclose(counted, saving(decaying, schedule), rtol=0.05)  # counted are whole batches only
    higher = (history.train_loss - runs["decaying"].train_loss)[:, -1]
    lost[name] = higher.mean()
    saved, error = saving(decaying, schedule), higher.std(ddof=1) / 2
    print(f"{name:8} updates saved: factor {saved:.2f}; final loss higher by {lost[name]:.4f} +- {error:.4f}")
assert saving(decaying, growing) < 16 / 5 < saving(decaying, large) == saving(decaying, warmed)
assert lost["warmed"] < 0.5 * lost["large"]
assert np.isclose(large.noise_scale(N)[0], decaying.noise_scale(N)[0], rtol=0.02)

paper = step_decay(0.1, 128, milestones=(60, 120, 160), n_epochs=200, factor=5)
for start in (0.1, 0.5):
    schedule = grow_batch(scale_up(paper, 50_000, learning_rate=start), 50_000, max_batch_size=5120)
    old, new = paper.n_updates(50_000), schedule.n_updates(50_000)
    print(f"the paper's, from learning rate {start}: {new} updates for {old}")
    assert np.isclose(saving(paper, schedule), old / new, rtol=0.02)

# %% [markdown]
# The updates are saved as computed, but begun at once with the large learning rate ("large") the run does *not* end where the
# others do, though the clock is the same and $g$ is, to 2% at first. What has changed? The steps are five times as large, and
# momentum lags five times as long (tutorial 5). Equal $g$ is a promise for small steps. At the very start, where the loss is
# steepest, these are near the limit of stability, as [tutorial 6](06_how_large_a_batch.md) measures, and much of the harm is
# done there. So let the learning rate rise from 0 in the first epochs, a little with each update. This **warm-up** is how large
# batches are trained since Goyal et al. ([arXiv:1706.02677](https://arxiv.org/abs/1706.02677)), who let it take five epochs of
# ninety. It costs no updates, and wins back half of what was lost or more ("warmed"). The paper's network stood up to a learning
# rate of 0.5 without. Ours gives a reason to *grow* the batch, or else to begin gently.
#
# ## What fewer updates are worth
#
# Not less work: an epoch looks at every example once, whatever the batch. Let a step on $W$ workers cost as much time as
# $c + B/W$ examples do on one: its own overhead (starting it, exchanging gradients) and each worker's share of the batch, as
# if an example could be shared, too, and $c$ did not grow with $W$. An epoch then takes
#
# $$
# \frac{N}{B} \left( c + \frac{B}{W} \right) = \frac{N c}{B} + \frac{N}{W} .
# $$
#
# The batch size is in the first term only. If workers are many, that term is all, and time is saved in proportion to updates.
# On one core the second term is large and no batch size touches it: an example has the same number of multiplications in any
# batch.

# %%
examples = {name: sum(s.n_epochs * (N - N % s.batch_size) for s in schedules[name]) for name in schedules}
print("examples processed:", ", ".join(f"{name} {count}" for name, count in examples.items()))
assert min(examples.values()) > 0.98 * 16 * N  # the rest: the last, smaller batches of epochs


def duration(schedule, workers, c):
    """Time of a schedule on so many workers, in units of an example's."""
    return sum(s.n_epochs * (N // s.batch_size) * (c + s.batch_size / workers) for s in schedule)


def speed_up(workers, c):
    """How many times sooner the growing schedule ends."""
    return duration(decaying, workers, c) / duration(growing, workers, c)


assert speed_up(1, 1) < 1.05  # one core, little overhead: nothing
assert np.isclose(speed_up(10**6, 1), runs["decaying"].n_updates[-1] / runs["growing"].n_updates[-1], rtol=0.01)

# %%
figure, axis = plt.subplots(figsize=(6, 3.6), layout="constrained")
workers = np.geomspace(1, 3000, 100)
for c, color, line in ((100, GREEN, "-."), (10, ORANGE, "--"), (1, BLUE, "-")):
    axis.semilogx(workers, [speed_up(w, c) for w in workers], line, color=color, label=f"c = {c}")
axis.axhline(saving(decaying, growing), color=BLACK, linewidth=1)
axis.text(1.1, saving(decaying, growing) + 0.04, "updates saved", va="bottom")
axis.set(xlabel="workers W", ylabel="speed-up of the growing schedule", ylim=(0.9, 3.1))
axis.set_title("Saved updates save time, given enough workers")
axis.legend(title="overhead, in examples", loc="lower right", fontsize=9)
# alt: Speed-up of the growing schedule against the number of workers, for overheads of 1, 10 and 100 examples. With one worker
# and little overhead it is 1, no gain; it rises with the workers to the factor of updates saved, 2.6. With an overhead of
# 100 examples a good part of it is there from the start.

# %% [markdown]
# A network as small as ours, in Python, has an overhead of tens of examples and more, as measured in
# [the page on speed](../benchmarks/README.md): there even one core gains by larger batches, since it makes fewer calls. If
# examples are expensive, $c$ on one core is small, and there is nothing to be had. Saved updates become saved time on a
# machine of many processors, which a small batch leaves idle.
#
# ## Where it stops being true
#
# | statement | is |
# |---|---|
# | equal $\varepsilon/(B (1 - m))$: an epoch takes the same time of the Langevin equation | exact |
# | equal $\varepsilon/B$: the same $g$ | approximate: $B \ll N$; a tenth off at $N/10$, a third at 16000 of 50000 |
# | equal clock and $g$: the same training curve | approximate, seen here; needs stable, small steps. [Tutorial 6](06_how_large_a_batch.md) has the limits |
# | the ratio of updates | exact, but for an epoch's last, smaller batch |
# | the ratio of updates is the speed-up | only if a step takes the same time at any $B$: enough workers |
# | the curve after a change of $B$ is there at once | approximate: momentum lags by $B/(N (1 - m))$ epochs, see [tutorial 5](05_momentum_and_adam.md) |
#
# That test accuracies agree, to a tenth of a point here and [at full scale](reproduction.md), is a finding, and no theorem:
# the theory says where the parameters go, not what they are good for.
#
# ## Exercises
#
# 1. In a schedule of two stages of equal length, the second divides $\varepsilon$ by 10. How many updates can growth save at
#    most, and how many does it save with $B$ times 10?
# 2. A colleague grows the batch by $\sqrt 5$ at each step where $\varepsilon$ would be divided by 5. What comes out?
# 3. The batch is 3200, the cap 5120, $N = 50000$, $\varepsilon = 0.1$, and noise must fall by 5. Which $\varepsilon$ goes with
#    5120, by the ratio $\varepsilon/B$ and by exact $g$?
#
# ## Answers
#
# **1.** At most half of them, the second stage. With 10 times the batch that stage has a tenth, and 45% are saved.

# %%
two = step_decay(0.1, 100, milestones=(5,), n_epochs=10, factor=10)
left_over = 1 / saving(two, grow_batch(two, 50_000))
print(f"saved: {1 - left_over:.0%}")
assert np.isclose(left_over, (1 + 1 / 10) / 2)

# %% [markdown]
# **2.** Noise falls by $\sqrt 5$ and not by 5, and the curve leaves that of the decaying schedule: higher after the step,
# where noise holds it up, and lower at the end, probably since an epoch takes the time $\varepsilon/B$ and more of it has
# passed. That is another schedule, better or worse; it is not the same one.

# %%
wrong = run(grow_batch(step_decay(0.05, 32, milestones=(5, 10, 13), n_epochs=16, factor=5**0.5), N))
ratio = apart(wrong, runs["decaying"]) / apart(runs["control"], runs["decaying"])
difference = (wrong.train_loss - runs["decaying"].train_loss).mean(axis=0)
step, end = difference[after][0], difference[-1]
print(f"distance / control's {ratio:.1f}; loss after the step {step:+.3f}, at the end {end:+.3f}")
assert ratio > 0.1
assert difference[after][0] > 0 > difference[-1]

# %% [markdown]
# **3.** The batch grows by 1.6, which leaves $5/1.6 = 3.125$ for the learning rate: 0.032. Exact $g$, from $N/B - 1$ in both,
# asks for 4% more.

# %%
by_ratio = 0.1 * (5120 / 3200) / 5
exact = learning_rate_for(noise_scale(0.1, 3200, 50_000) / 5, 5120, 50_000)
print(f"{by_ratio:.4f} by the ratio, {exact:.4f} by exact g of the stage before")
assert np.isclose(exact / by_ratio, (50_000 - 3200) / (50_000 - 5120))
