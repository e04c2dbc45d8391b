# %% [markdown]
# # 8. Can noise help? The best batch size
#
# So far noise was what small batches cost. If it were only that, the largest batch would always generalise best, and it does
# not. Why would a noisier gradient lead to a better model? And if there is a best amount of noise, which batch size has it?
#
# The answer is that of Smith and Le ([arXiv:1710.06451](https://arxiv.org/abs/1710.06451)), with the $-1$ kept: if what you
# care about depends on learning rate, batch size and momentum through the noise scale alone, and is best at $g^*$, then the
# best batch size is the solution of $g = g^*$,
#
# $$
# B_{\text{opt}} = \frac{N}{1 + (1 - m)\, g^*/\varepsilon} \approx \frac{\varepsilon N}{(1 - m)\, g^*} .
# $$
#
# ## What you will learn
#
# - A landscape in which the best temperature can be computed: noise costs training loss and buys test loss.
# - That a network's test accuracy has an optimum in $B$, that it moves with $\varepsilon$ and $m$ as the formula says, and
#   what happens as $N$ grows.
# - Simulated annealing: why one starts with much noise and ends with little, which is what learning-rate schedules do.
#
# ## A wide and a narrow minimum
#
# The training loss is measured on a sample, so that its minima are not quite where those of the test loss are. Let $V$ be a
# training loss with a wide minimum and a narrow one which is slightly deeper, and let the test loss be $V$ shifted by 0.4 to
# either side, half each. In a narrow minimum a shift costs more. Where should SGD come to rest? By
# [tutorial 2](02_sgd_as_langevin.md) its law is Boltzmann's at $\tau = k_B T/N = g f/(2 N)$ (in units of the mean loss, hence
# the $N$), so that both losses can be integrated exactly.

# %%
import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # matrices as small as these are slower on two

import matplotlib.pyplot as plt
import numpy as np

from sgdnoise import MLP, Dataset, Schedule, Stage, fast, load_fashion, sgd
from sgdnoise.boltzmann import boltzmann_density
from sgdnoise.energies import DoubleWell, Rugged
from sgdnoise.langevin import overdamped
from sgdnoise.noise import batch_size_for, learning_rate_for, noise_scale

BLUE, ORANGE, GREEN, BLACK, GREY = "#0072B2", "#D55E00", "#009E73", "#000000", "#999999"
well = DoubleWell(barrier=0.5, tilt=-0.1)
grid = np.linspace(-6, 6, 2401)


def train_loss(w):
    """V at each w."""
    return well.energy(w.reshape(-1, 1)).reshape(w.shape)


def test_loss(w):
    """V shifted to either side."""
    return (train_loss(w - 0.4) + train_loss(w + 0.4)) / 2


def at_rest(loss, tau):
    """Mean of a loss over Boltzmann's law."""
    density = boltzmann_density(well.energy, tau, [grid])
    return np.sum(density * loss(grid)) / np.sum(density)


taus = np.geomspace(0.02, 1, 200)
train_means, test_means = (np.array([at_rest(loss, tau) for tau in taus]) for loss in (train_loss, test_loss))
best = taus[test_means.argmin()]
when_cold, least, when_hot = test_means[0], test_means.min(), test_means[-1]
wide = [well.occupation(tau)[0] for tau in (taus[0], best)]
print(f"test loss {when_cold:.3f} when cold, {least:.3f} at tau = {best:.2f}, {when_hot:.3f} when hot")
print(f"in the wide minimum: {wide[0]:.0%} when cold, {wide[1]:.0%} at the best")
assert np.all(np.diff(train_means) > 0)  # for the training loss, no noise is best
assert least < 0.7 * min(when_cold, test_loss(np.array([well.minima[1]]))[0])
assert least < 0.9 * when_hot

# %% [markdown]
# Cold, SGD sits in the narrow minimum because it is deeper. Hot, it climbs the walls. In between entropy, which counts how
# much room there is, takes it to the wide minimum while the walls are still low. That is a toy of Smith and Le's argument.
#
# Now let SGD do it. Each of $N = 1000$ examples adds a slope of its own to the loss, of standard deviation 20, and a minibatch
# the mean of its slopes, which we draw as a normal number of the right variance. The formula says where the best batch is. All
# walkers begin in the narrow minimum, and run for a time (updates times $\varepsilon/(1 - m)$) of 300.

# %%
n_slopes, s, n_walkers = 1000, 20.0, 300
f, rng = s**2, np.random.default_rng(0)  # f: the variance of the examples' gradients, divisor N - 1


def rest_of_sgd(eps, m, sizes):
    """Mean test loss in the second half of the time, its standard error, and at rest, by batch size."""
    kick = s * np.sqrt(1 / np.array(sizes) - 1 / n_slopes)[:, None]
    taus = [noise_scale(eps, B, n_slopes, momentum=m) * f / 2 / n_slopes for B in sizes]
    w, n_steps, losses = np.full((len(sizes), n_walkers), well.minima[1]), round(300 * (1 - m) / eps), []
    optimizer = sgd(momentum=m)
    state = optimizer.init(w)
    for t in range(n_steps):
        gradient = well.gradient(w.reshape(-1, 1)).reshape(w.shape) + kick * rng.standard_normal(w.shape)
        step, state = optimizer.update(gradient, state, eps)
        w = w + step
        if t >= n_steps / 2 and t % 50 == 0:
            losses.append(test_loss(w))
    losses = np.mean(losses, axis=0)
    return losses.mean(axis=1), losses.std(axis=1) / n_walkers**0.5, [at_rest(test_loss, tau) for tau in taus]


wells, low, high = {}, (2, 4, 10, 20, 50), (4, 8, 20, 40, 100)
g_best = 2 * n_slopes * best / f
for eps, m, sizes in ((0.01, 0, low), (0.02, 0, high), (0.002, 0.9, high)):
    measured, error, exact = wells[eps, m, sizes] = rest_of_sgd(eps, m, sizes)
    predicted = batch_size_for(g_best, eps, n_slopes, momentum=m)
    losses = (f"{loss:.2f} at {B}" for loss, B in zip(measured, sizes, strict=True))
    print(f"eps = {eps}, m = {m}: best B predicted {predicted:.1f}; loss", ", ".join(losses))
    best_of_all = np.argmin(measured)
    others = np.delete(measured - measured[best_of_all], best_of_all)
    assert np.all(others > 3 * np.hypot(error[best_of_all], np.delete(error, best_of_all)))
    assert sizes[best_of_all] == min(sizes, key=lambda B: abs(B - predicted))
    assert np.all(abs(measured - exact)[:3] < 4 * error[:3] + 0.01)  # the hot ones; 0.01: finite steps

# %% [markdown]
# The lowest loss is where the formula says, in each setting. The hotter runs, on smaller batches, lie on the exact curve. The
# colder ones do not get out of the narrow minimum in this time, or not all of them, which makes them worse still.

# %%
figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.5), layout="constrained")
x = np.linspace(-2.9, 1.9, 400)
left.plot(x, train_loss(x), "--", color=BLACK, label="training loss V")
left.plot(x, test_loss(x), color=BLUE, label="test loss")
left.set(xlabel="w", ylabel="loss", ylim=(-0.15, 1.5))
left.set_title("(a) a wide minimum, and a narrow one a little deeper")
left.legend(loc="upper center", fontsize=8)
right.semilogx(taus, train_means, "--", color=BLACK, label="training, at rest")
right.semilogx(taus, test_means, color=BLUE, label="test, at rest")
looks = zip((BLACK, GREEN, ORANGE), "osd", (9, 6, 3), strict=True)
for ((eps, m, sizes), (measured, error, _)), (color, marker, size) in zip(wells.items(), looks, strict=True):
    x = [noise_scale(eps, B, n_slopes, momentum=m) * f / 2 / n_slopes for B in sizes]
    look = {"fmt": marker, "color": color, "markersize": size, "markerfacecolor": "none" if size > 3 else color}
    right.errorbar(x, measured, error, label=f"SGD, $\\varepsilon$ = {eps}, m = {m}", **look)
right.set(xlabel=r"temperature $\tau = gf/(2N)$", ylabel="mean loss", ylim=(-0.1, 1))
right.set_title("(b) some noise is best for the test loss")
right.legend(fontsize=8, loc="upper left", ncols=2)
# alt: Left, the training loss has a wide minimum and a narrow one that is a little deeper; there the test loss
# is high. Right, the mean training loss at rest rises with temperature, while the mean test loss falls from 0.65
# to a minimum of 0.39 at 0.2 and rises again. SGD at three settings lies on that curve from 0.2 on; colder it is above, at the
# loss of the narrow minimum where it began.

# %% [markdown]
# ## A network, with error bars
#
# Does a network have such an optimum? We make a case in which seconds suffice to see it: a small network, 500 images of 7x7
# pixels, and half of their labels drawn again at random, by which four in ten are wrong. To fit those is to learn nonsense by
# heart, which happens at little noise; at too much, nothing is learnt.
#
# Learning rate and momentum are constant, every batch is drawn afresh, and all batch sizes of a curve make the same number of
# updates, up to whole epochs. From curve to curve we keep the *time*, updates times $\varepsilon/(1 - m)$, and ask for the
# same values of $g$ by other means: half the learning rate, or less momentum.

# %%
full = load_fashion(2000)


def pooled(X):
    """14x14 images to 7x7, by means over 2x2 pixels."""
    return X.astype(float).reshape(-1, 7, 2, 7, 2).mean(axis=(2, 4)).reshape(-1, 49)


X_test, y_test = pooled(full.X_test[:4000]), full.y_test[:4000]
X_train, y_train = pooled(full.X_train), full.y_train.copy()
again = np.random.default_rng(0).random(len(y_train)) < 0.5
y_train[again] = np.random.default_rng(1).integers(10, size=again.sum())
model, n_replicas = MLP(49, (32,), 10), 16
print("labels wrong:", *(f"{np.mean(y_train[:n] != full.y_train[:n]):.1%} of {n} " for n in (500, 2000)))


def accuracies(N, eps, m, B):
    """Test accuracies of networks trained from different random numbers for a time of 800."""
    data = Dataset(X_train[:N], y_train[:N], X_test[:1], y_test[:1])  # to be tested at the end only
    n_epochs = round(800 * (1 - m) / eps / (N // B))
    schedule = Schedule((Stage(n_epochs, eps, B),))
    trained = fast.train(model, data, schedule, sgd(m), rngs=range(n_replicas), sampling="without_replacement")
    return np.array([model.accuracy(params, X_test, y_test) for params in trained.params])


def mean_and_error(values):
    """Mean and its standard error."""
    return values.mean(), values.std(ddof=1) / len(values) ** 0.5


N, sizes = 500, (16, 32, 64, 125, 250)
scales = [noise_scale(0.2, B, N, momentum=0.9) for B in sizes]
curves = {}
for eps, m, n_sizes in ((0.2, 0.9, 5), (0.1, 0.9, 4), (0.4, 0.8, 4)):  # the largest batch takes long: once only
    batches = [round(batch_size_for(g, eps, N, momentum=m)) for g in scales[:n_sizes]]
    curves[eps, m] = batches, [accuracies(N, eps, m, B) for B in batches]
    print(f"eps = {eps}, m = {m}:", *(f" {a.mean():.3f} at {B}" for B, a in zip(*curves[eps, m], strict=True)))

first = curves[0.2, 0.9][1]
gain, error = mean_and_error(first[2] - first[4])
print(f"accuracy at B = 64 over that at B = 250, half of the data: {gain:+.3f} +- {error:.3f}")
assert gain > 3 * error
assert first[2].mean() > first[1].mean() > first[0].mean()
for _, others in curves.values():
    for a, b in zip(first, others, strict=False):
        assert abs(a.mean() - b.mean()) < 4 * np.hypot(mean_and_error(a)[1], mean_and_error(b)[1]) + 1e-9

# %% [markdown]
# There is an optimum. To either side accuracy is lost. Half the learning rate moves the curve to half the batch size; less
# momentum, made up for by a larger learning rate, leaves it where it was; and against $g$ all three are one curve, within four
# standard errors. So, on our grid of factors of 2, the best batch size goes with $\varepsilon/(1 - m)$.
#
# And $N$? The formula does not say, because $g^*$ may depend on $N$. By tutorial 2, exercise 2, it is $g/N$ that decides where
# SGD comes to rest on the same kind of loss. If nothing else counted, the best $\varepsilon/B$ would be the same for any $N$.
# But a larger training set is a better guide, and may do best with a lower temperature. Four times the data, for as many
# updates (so each example is seen a quarter as often, and a few more labels are wrong, which may be parts of what follows):

# %%
large_sizes = (32, 64, 125, 250)
large = [accuracies(2000, 0.2, 0.9, B) for B in large_sizes]
print("N = 2000:", *(f" {a.mean():.3f} at {B}" for B, a in zip(large_sizes, large, strict=True)))
gain_large, error_large = mean_and_error(large[1] - large[3])
print(f"accuracy at B = 64 over that at B = 250: N = 500 {gain:+.3f} +- {error:.3f},", end=" ")
print(f"N = 2000 {gain_large:+.3f} +- {error_large:.3f}")
assert gain - gain_large > 3 * np.hypot(error, error_large)
assert gain_large < 0 < gain
assert noise_scale(0.2, 125, 2000, momentum=0.9) / 2000 < noise_scale(0.2, 64, 500, momentum=0.9) / 500

# %%
figure, axes = plt.subplots(1, 3, figsize=(10, 3.5), layout="constrained", sharey=True)
looks = zip((BLUE, GREEN, ORANGE), "osd", strict=True)
for ((eps, m), (batch_sizes, values)), (color, marker) in zip(curves.items(), looks, strict=True):
    means, errors = np.transpose([mean_and_error(a) for a in values])
    label = f"$\\varepsilon$ = {eps}, m = {m}"
    line = {"color": color, "marker": marker, "markersize": 4, "label": label, "linewidth": 1}
    axes[0].errorbar(batch_sizes, means, errors, **line)
    axes[1].errorbar([noise_scale(eps, B, N, momentum=m) for B in batch_sizes], means, errors, **line)
line = {"markersize": 4, "linewidth": 1}
sets = ((sizes, first, BLUE, "o", 500), (large_sizes, large, BLACK, "^", 2000))
for batch_sizes, values, color, marker, n in sets:
    means, errors = np.transpose([mean_and_error(a) for a in values])
    axes[2].errorbar(batch_sizes, means, errors, color=color, marker=marker, label=f"N = {n}", **line)
axes[0].set(ylabel="test accuracy", ylim=(0, 0.72), title="(a) there is a best batch size")
axes[1].set_title("(b) against g: one curve")
axes[2].set_title("(c) four times the data")
ranges = (((8, 32, 128), "batch size B"), ((2, 8, 32), "noise scale g"), ((16, 64, 256), "batch size B"))
for axis, (ticks, label) in zip(axes, ranges, strict=True):
    axis.set(xscale="log", xlabel=label)
    axis.set_xticks(ticks, [str(tick) for tick in ticks])
    axis.set_xticks((), minor=True)
    axis.legend(fontsize=8, loc="lower left" if axis is axes[1] else "lower right")
# alt: Left, the network's test accuracy against batch size rises steeply to a peak at 64, or at 34 for half the learning rate,
# and falls slowly behind it. Middle, against g the three curves lie on each other, with their peak near 14. Right, with four
# times the data the accuracy does not fall any more from 125 to 250.

# %% [markdown]
# With four times the data 64 is not the best any more: 125 and 250 are better. The best batch is 125 or more, and there $g/N$
# is lower.
#
# ## Simulated annealing
#
# The best constant noise is a compromise: much finds good minima, little settles in them. Why not one after the other? That is
# simulated annealing. On a rugged landscape we let walkers start anywhere and end at the same low temperature: held cold
# throughout, or cooled from hot slowly. A third group stays hot.

# %%
landscape, hot, cold = Rugged(0.1, (0.8, 0.3), (3.0, 1.1)), 1.5, 0.1
start = np.random.default_rng(0).uniform(-9, 9, (400, 1))
protocols = {
    "held hot": lambda done: np.full_like(done, hot),
    "held cold": lambda done: np.full_like(done, cold),
    "cooled slowly": lambda done: hot * (cold / hot) ** done,
}
courses, ends, lengths = {}, {}, (500, 2000, 8000)
for name, protocol in protocols.items():
    for n_steps in lengths:
        temperatures = protocol(np.arange(n_steps) / n_steps)
        settings = {"step_size": 0.01, "n_steps": n_steps, "record_every": n_steps // 50, "rng": 1}
        path = overdamped(landscape.gradient, start, temperature=temperatures, **settings)
        energies = np.array([landscape.energy(x) for x in path.x])
        courses[name] = path.time, energies.mean(axis=1)  # that of the last, the longest
        ends[name, n_steps] = mean_and_error(energies[-1])
    print(f"{name:14}", *(f" {ends[name, n][0]:.2f} +- {ends[name, n][1]:.2f} after {n}" for n in lengths))
for other in ("held hot", "held cold"):
    assert ends["cooled slowly", 8000][0] < 0.5 * ends[other, 8000][0]
assert ends["cooled slowly", 8000][0] < ends["cooled slowly", 2000][0] < ends["cooled slowly", 500][0]

# %%
figure, (left, middle, right) = plt.subplots(1, 3, figsize=(10, 3.3), layout="constrained")
x = np.linspace(-9, 9, 500)
left.plot(x, landscape.energy(x[:, None]), color=BLACK)
left.set(xlabel="x", ylabel="energy", title="(a) a rugged landscape")
for (name, (time, mean)), color in zip(courses.items(), (ORANGE, BLUE, BLACK), strict=True):
    middle.plot(time, mean, color=color, label=name)
    means, errors = np.transpose([ends[name, n] for n in lengths])
    right.errorbar((5, 20, 80), means, errors, color=color, marker="o", markersize=4, label=name)
middle.set(xlabel="time", ylabel="mean energy", ylim=(0, 3), title="(b) cooling finds the low minima")
right.set(xlabel="time taken", ylabel="mean energy at the end", xscale="log", ylim=(0, 3))
right.set_title("(c) the slower, the lower")
right.set_xticks((5, 20, 80), ("5", "20", "80"))
right.set_xticks((), minor=True)
middle.legend(fontsize=8, loc="upper right")
# alt: Left, a parabola with many local minima. Middle, the mean energy of walkers held hot or cold stays at a level while that
# of walkers cooled slowly falls to a third of it. Right, the longer the cooling takes the lower it ends; for the others, time
# makes little difference.

# %% [markdown]
# Held cold, walkers cross the low barriers and stay behind the high ones. Held hot, none settles. For SGD the temperature is
# $g f/2$, so a falling learning rate is a cooling, and so is a growing batch: [tutorial 4](04_dont_decay.md) tries both.
#
# ## Where it stops being true
#
# | statement | is |
# |---|---|
# | $B_{\text{opt}}$ from $g^*$, at fixed $N$ | exact where results depend on $\varepsilon$, $B$, $m$ through $g$ alone |
# | they do | approximate: small steps, equal time. Measured here to four standard errors, on one small network |
# | the best $B$ grows with $N$ | measured here for four times the data. Smith and Le say *in proportion*; [at full scale](reproduction.md) that failed, it grew more slowly |
# | noise finds wide minima | exact in the two wells at rest; for networks, a picture |
# | noise improves the test accuracy | shown here with four labels in ten wrong, where there is much to gain. **Not a law** |
# | slow cooling finds the lowest minimum | only if slower than the escapes over the barriers. [At full scale](reproduction.md) steps did nearly as well |
#
# ## Exercises
#
# 1. On 1000 images at $\varepsilon = 0.1$, $m = 0.9$ you find $B = 64$ to be best. Where do you look first at
#    $\varepsilon = 0.3$? And how wrong is "three times as large"?
# 2. $\varepsilon$ grows without bound. Where does the best batch size go?
# 3. $N = 50000$. Your batch is limited to 32 by memory, while the best at your learning rate is 128. What do you change?
#
# ## Answers
#
# **1.** At $g^* = 14.6$, so at $B = 170$. The proportional rule gives 192, an eighth too large, because the $-1$ counts.

# %%
g_star = noise_scale(0.1, 64, 1000, momentum=0.9)
answer = batch_size_for(g_star, 0.3, 1000, momentum=0.9)
print(f"g = {g_star:.1f}, batch size {answer:.0f}")
assert np.isclose(answer, 1000 / (1 + (1000 / 64 - 1) / 3))
assert 0.1 < 192 / answer - 1 < 0.15

# %% [markdown]
# **2.** To $N$, where $g$ is 0 at any learning rate; in practice training diverges first.

# %%
assert np.allclose(batch_size_for(g_star, np.array([1e3, 1e6]), 1000, momentum=0.9), 1000, rtol=2e-3)

# %% [markdown]
# **3.** Keep $g$: a learning rate of about a quarter. (Take four times the updates, too, if the time is to be the same.)

# %%
lower = learning_rate_for(noise_scale(0.1, 128, 50_000, momentum=0.9), 32, 50_000, momentum=0.9)
assert np.isclose(lower, 0.1 / 4, rtol=0.01)
