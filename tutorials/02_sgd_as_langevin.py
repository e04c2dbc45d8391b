# %% [markdown]
# # 2. What is the temperature of SGD?
#
# A particle in water is pulled down a potential and kicked by molecules. Parameters under SGD are pulled down the loss and
# kicked by minibatches. If that is the same, SGD has a temperature, and physics tells where it rests. Which is it, and when?
#
# The answer: $k_B T = g f/2$, with $g$ from [tutorial 1](01_noise_scale.md) and $f$ the variance of examples' gradients.
#
# ## What you will learn
#
# - Term by term, how an SGD update is a step of the Langevin equation, and what its mobility and temperature are.
# - Where SGD comes to rest: Boltzmann's law, and on a quadratic the exact law for any learning rate.
# - How real minibatch noise differs from white noise: it depends on $w$, and is neither Gaussian nor isotropic.
# - What epoch reshuffling does: from directions that do not forget within an epoch it takes most of the noise out again.
#
# ## Term by term
#
# A particle at $x$ in a potential $U$ obeys the Langevin equation $dx/dt = -\lambda\, U' + \eta(t)$: it drifts downhill, with
# a mobility $\lambda$, and is kicked by white noise of variance $2 \lambda\, k_B T$ per unit of time, with $k_B T$ the
# temperature as an energy.
#
# | | Langevin equation, a step of $\Delta t$ | SGD, an update |
# |---|---|---|
# | what moves | position $x$ | parameters $w$ |
# | energy | potential $U$ | cost $C$, the loss summed over $N$ examples |
# | time step | $\Delta t$ | $\varepsilon/N$ |
# | drift | $-\lambda\, U'\, \Delta t$, mobility $\lambda$ | $-C'\, \varepsilon/N$, so $\lambda = 1$ |
# | variance of the kick | $2 \lambda\, k_B T\, \Delta t$ | $g f\, \varepsilon/N$ |
#
# The last line gives the temperature. With many parameters the covariance $F$ of gradients must be $f$ times the identity.
#
# $$
# k_B T = \frac{g f}{2}
# $$
#
# Where does such a particle come to rest? Its density $p(x)$ flows with the drift, $-\lambda U' p$, and diffuses against its
# own slope, $-\lambda k_B T\, p'$, as kicks make it: half of their variance per unit of time, times $p'$. At rest the two
# cancel: $p' = -p\, U'/k_B T$, which is solved by **Boltzmann's law** $p \propto e^{-U/k_B T}$. Let us try it on SGD. The loss
# of example $i$ is $V(w) - x_i w$, with $V$ a double well: every example pulls its own way, as strongly at any $w$.

# %%
import matplotlib.pyplot as plt
import numpy as np
from scipy.stats import norm

from sgdnoise import MLP, load_fashion, minibatch_covariance, minibatches, noise_scale, sgd, temperature
from sgdnoise.boltzmann import boltzmann_density
from sgdnoise.stationary import langevin_covariance, reshuffled_covariance, sgd_covariance

BLUE, ORANGE, GREEN, BLACK, GREY = "#0072B2", "#D55E00", "#009E73", "#000000", "#999999"
rng = np.random.default_rng(0)
N, B = 100, 1  # with one example a batch, drawing is one random index
x = 14 * rng.standard_normal(N)
x -= x.mean()  # so that V is the mean loss
f = x.var(ddof=1)


def run(gradient, eps, n_updates, n_copies, w=0.0):
    """SGD with batches of one example, many copies at once; gradient(w, i) is that of example i."""
    w = np.full(n_copies, w)
    for _ in range(n_updates):
        w = w - eps * gradient(w, rng.integers(N, size=n_copies))
    return w


eps = 0.005
w = run(lambda w, i: 4 * w * (w**2 - 1) + 0.15 - x[i], eps, 6000, 10_000)
k_t = temperature(noise_scale(eps, B, N), f)
grid = np.linspace(-2.5, 2.5, 501)
density = boltzmann_density(lambda w: N * ((w[:, 0] ** 2 - 1) ** 2 + 0.15 * w[:, 0]), k_t, [grid])
on_the_right = density[grid > 0].sum() * 0.01
print(f"k_B T = {k_t:.1f}, and the barrier of C is about {N}")
print(f"in the right well: {np.mean(w > 0):.3f}, by Boltzmann's law {on_the_right:.3f}")
assert abs(np.mean(w > 0) - on_the_right) < 0.02

# %% [markdown]
# ## A quadratic, where everything is exact
#
# Let the loss of example $i$ be $\frac{h}{2} w^2 - x_i w$. An update multiplies $w$ by $1 - \varepsilon h$ and adds a kick, so
# the variance obeys $\mathrm{Var} \leftarrow (1 - \varepsilon h)^2\, \mathrm{Var} + \varepsilon^2 (1/B - 1/N) f$. It stops
# changing at
#
# $$
# \mathrm{Var}(w) = \frac{\varepsilon (1/B - 1/N) f}{h (2 - \varepsilon h)} = \frac{k_B T}{N h} \cdot \frac{1}{1 - \varepsilon h/2} .
# $$
#
# The first factor is Boltzmann's law, since $N h$ is the curvature of $C$. The second is the price of finite steps. It tends
# to 1 for small $\varepsilon h$ and to infinity at $\varepsilon h = 2$, where SGD diverges.

# %%
rates, n_copies, ratios = (0.02, 0.1, 0.3, 0.6, 1.0, 1.5), 4000, []
for eps in rates:  # h = 1
    w2 = run(lambda w, i: w - x[i], eps, 30 + int(6 / eps), n_copies) ** 2
    boltzmann = temperature(noise_scale(eps, B, N), f) / N
    exact = sgd_covariance(1.0, (1 / B - 1 / N) * f, eps)
    assert np.isclose(exact, boltzmann / (1 - eps / 2))
    assert abs(w2.mean() - exact) < 5 * w2.std() / n_copies**0.5
    ratios.append(w2.mean() / boltzmann)

# %%
figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.6), layout="constrained")
left.hist(w, 80, range=(-2.2, 2.2), density=True, color=BLUE, alpha=0.4, label="SGD, 10000 copies")
left.plot(grid, density, color=BLACK, label="Boltzmann, $k_BT = gf/2$")
left.set(xlabel="w", ylabel="density", xlim=(-2.2, 2.2), ylim=(0, 1.15), title="(a) SGD in a double well")
left.legend(loc="upper right", fontsize=8)
e = np.linspace(0.01, 1.6, 100)
right.plot(rates, ratios, "o", color=BLUE, label="SGD, measured")
right.plot(e, 1 / (1 - e / 2), color=BLUE, linewidth=1, label="exact: $1/(1 - \\varepsilon h/2)$")
right.axhline(1, color=BLACK, linestyle="--", label="Boltzmann")
right.set(xlabel="learning rate x curvature, $\\varepsilon h$", ylabel="Var(w) / Boltzmann's", ylim=(0, 5))
right.set_title("(b) on a quadratic: large steps are hotter")
right.legend(loc="upper left", fontsize=8)
# alt: Left, the histogram of SGD in a tilted double well lies on Boltzmann's density at k_B T = g f/2, in both wells and on
# the barrier. Right, on a quadratic the measured variance over Boltzmann's follows 1/(1 - eps h/2): 1 at small steps, 2 at
# eps h = 1, 4 at 1.5.

# %% [markdown]
# ## What real minibatch noise is not
#
# So far an example pulled alike everywhere. Real ones do not. Take linear regression with one parameter: the gradient of
# example $i$ is $a_i (a_i w - y_i)$. The loss is still a quadratic, of curvature $h = \overline{a^2}$. But the noise grows
# with $w^2$ away from some place, which by our pairing of $y$ with $-y$ is the minimum. Independent draws, here of one
# example, make it **uncorrelated** from update to update, but not **independent**: a strong kick leads to where the next is
# strong.

# %%
rng = np.random.default_rng(0)
a, y = np.tile(rng.standard_normal(N // 2), 2), rng.standard_normal(N // 2)
y = np.concatenate([y, -y])  # each a comes with y and with -y, so that the minimum is at 0
h, n_copies = np.mean(a**2), 200_000
eps = h / np.mean(a**4)  # half of the largest stable learning rate, which the text below derives
at_rest = run(lambda w, i: a[i] * (a[i] * w - y[i]), eps, 60, n_copies)
kicks, w = [], at_rest
for _ in range(2):
    i = rng.integers(N, size=n_copies)
    kicks.append(a[i] * (a[i] * w - y[i]) - h * w)
    w = w - eps * a[i] * (a[i] * w - y[i])
pairs = kicks[0] * kicks[1]
strong = abs(kicks[0]) > np.quantile(abs(kicks[0]), 0.9)
stronger = np.mean(kicks[1][strong] ** 2) / np.mean(kicks[1][~strong] ** 2)
print(f"correlation of one kick and the next: {pairs.mean() / np.mean(kicks[0] ** 2):.3f}")
print(f"after the strongest tenth of kicks, the next has {stronger:.1f} times the variance it has after others")
assert abs(pairs.mean()) < 5 * pairs.std() / n_copies**0.5
assert stronger > 1.3

keep, pull = 1 - eps * a**2, a * y  # an update takes w to keep * w + eps * pull
exact = eps**2 * np.mean(pull**2) / (1 - np.mean(keep**2))
constant = sgd_covariance(h, np.mean(pull**2), eps)  # the noise of the minimum, everywhere
variance, kurtosis = at_rest.var(), np.mean(at_rest**4) / at_rest.var() ** 2 - 3
print(f"variance {variance:.3f}, exact {exact:.3f}; if the noise were the minimum's everywhere, {constant:.3f}")
print(f"excess kurtosis {kurtosis:.1f}; of a Gaussian, 0")
assert np.isclose(exact, eps * np.mean(pull**2) / (2 * h - eps * np.mean(a**4)))
assert np.isclose(variance, exact, rtol=0.05)
assert kurtosis > 1
assert exact > 1.3 * constant

# %% [markdown]
# The exact variance comes as before, from
# $\mathrm{Var} \leftarrow \overline{(1 - \varepsilon a^2)^2}\, \mathrm{Var} + \varepsilon^2\, \overline{a^2 y^2}$. With
# $\overline{a^4}$ where constant noise has $h^2$, it diverges at a smaller learning rate, $2 h/\overline{a^4}$. Well before
# that, as here at half of it, $w$ has heavy tails: its kurtosis, the fourth moment over the squared variance, exceeds 3.
#
# Now a real network, after five epochs on 500 images. Its examples' gradients, less their mean, span 499 directions at most.
# In how many do they scatter?

# %%
rng = np.random.default_rng(0)
data = load_fashion(500)
X, labels = data.X_train.astype(float), data.y_train
model, optimizer = MLP(data.n_features, (16,), data.n_classes), sgd(momentum=0.9)
params = model.init(rng)
state = optimizer.init(params)
for _ in range(5):
    for batch in minibatches(500, 20, rng=rng):
        step, state = optimizer.update(model.gradient(params, X[batch], labels[batch]), state, 0.05)
        params = params + step
gradients = model.per_example_gradients(params, X, labels)
centred = gradients - gradients.mean(axis=0)
spectrum, vectors = np.linalg.eigh(centred @ centred.T / 499)  # the covariance's eigenvalues that are not 0
share = spectrum[::-1] / spectrum.sum()
along = vectors[:, -1]  # of each example's gradient, the part along the noisiest direction, up to a factor
samples = {B: rng.permuted(np.tile(along, (4000, 1)), axis=1)[:, :B].mean(axis=1) for B in (1, 10, 100)}
kurtoses = {B: np.mean(noise**4) / np.mean(noise**2) ** 2 - 3 for B, noise in samples.items()}
print(f"10 of {model.n_params} directions hold {share[:10].sum():.0%} of the noise")
print("excess kurtosis along the first:", ", ".join(f"{k:.1f} at B = {B}" for B, k in kurtoses.items()))
assert share[:10].sum() > 0.5
assert kurtoses[1] > 5 * kurtoses[10] > 5 * abs(kurtoses[100])

# %%
figure, axes = plt.subplots(1, 3, figsize=(10, 3.6), layout="constrained")
w = np.linspace(-6, 6, 101)
axes[0].hist(at_rest, w, density=True, color=BLUE, alpha=0.4, label="SGD at rest")
axes[0].plot(w, norm.pdf(w, scale=at_rest.std()), color=ORANGE, label="Gaussian of its variance")
axes[0].plot(w, norm.pdf(w, scale=constant**0.5), "--", color=BLACK, label="if noise were constant")
axes[0].set(yscale="log", ylim=(1e-5, 100), xlabel="w", ylabel="density", title="(a) regression: heavy tails")
axes[1].loglog(np.arange(1, 500), share[:-1], color=BLUE, label="network")
axes[1].axhline(1 / 499, color=BLACK, linestyle="--", label="all alike")
axes[1].set(ylim=(1e-6, 1), xlabel="direction, by rank", ylabel="share of the noise")
axes[1].set_title("(b) network: few directions")
k = np.linspace(0, 8, 81)
for (B, noise), color in zip(samples.items(), (ORANGE, GREEN, BLUE), strict=True):
    beyond = [np.mean(abs(noise - noise.mean()) > level * noise.std()) for level in k]
    axes[2].plot(k, beyond, color=color, label=f"B = {B}")
axes[2].plot(k, 2 * norm.sf(k), "--", color=BLACK, label="Gaussian")
axes[2].set(yscale="log", ylim=(2e-4, 1.2), xlabel="k", ylabel="kicks beyond k standard deviations")
axes[2].set_title("(c) network: outliers")
for axis in axes:
    axis.legend(fontsize=8, loc="upper right")
# alt: Left, on a logarithmic scale the law of w in linear regression has tails far above the Gaussian of its variance, and
# farther above the law for constant noise. Middle, the shares of the network's noise fall by orders of magnitude from the
# first direction to the last, where noise alike in all of them would be flat. Right, batches of 1 and of 10 examples kick
# beyond four standard deviations much more often than a Gaussian; batches of 100 hardly do.

# %% [markdown]
# For $B \ll N$ the kick of $B$ examples has about $1/B$ of the excess kurtosis (over 3) of one: nearly Gaussian for larger
# $B$.
#
# And where the noise is not isotropic there is no temperature, only one for each direction, if noise and curvature share their
# axes: $h\,\mathrm{Var}(w)$ follows the noise of that direction. On a quadratic with curvatures 1 and 4, and with noise in the
# same proportion, the steep direction is four times as hot:

# %%
curvatures, eps = np.array([1.0, 4.0]), 1e-3
variances = np.diag(sgd_covariance(np.diag(curvatures), np.diag(curvatures), eps))
assert np.allclose(curvatures * variances, eps / 2 * np.array([1, 4]), rtol=0.01)

# %% [markdown]
# ## What reshuffling does
#
# Hardly anybody draws each batch afresh. One shuffles, and deals out the examples batch by batch, so that each comes once an
# epoch. A batch still has the variance $v = (1/B - 1/N) f$. But the kicks of an epoch now sum to zero, because together its
# batches are the training set. By the argument of [tutorial 1](01_noise_scale.md), $n v + n (n - 1)\, c = 0$ for $n = N/B$
# batches, any two of them have covariance $c = -f/N$. What one batch does, the others undo.

# %%
rng = np.random.default_rng(0)
B, eps, n_copies, n_epochs = 10, 0.05, 2000, 20
assert np.isclose(minibatch_covariance(f, B, N) / (N / B - 1), f / N)
w, squares = np.zeros(n_copies), np.zeros(N // B + 1)
for epoch in range(n_epochs):
    dealt = rng.permuted(np.tile(x, (n_copies, 1)), axis=1).reshape(n_copies, N // B, B).mean(axis=2)
    assert np.allclose(dealt.sum(axis=1), 0)
    for k in range(N // B):
        squares[k] += np.mean(w**2) * (epoch >= 10) / 10
        w = w - eps * (w - dealt[:, k])
squares[-1] = squares[0]
bridge = np.array([reshuffled_covariance(1.0, f, eps, B, N, position=k) for k in range(N // B + 1)])
independent = sgd_covariance(1.0, (1 / B - 1 / N) * f, eps)
print(f"at the ends of epochs the variance is 1/{independent / bridge[0]:.0f} of that of independent batches")
assert np.allclose(squares, bridge, rtol=5 * (2 / n_copies) ** 0.5)
assert bridge.max() < 0.3 * independent

# %%
figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.4), layout="constrained")
left.axhline(independent, color=ORANGE, label="independent batches")
left.plot(bridge, color=BLUE, linewidth=1, label="reshuffled, exact")
left.plot(squares, "o", color=BLUE, label="reshuffled, measured")
left.set(xlabel="updates since the epoch began", ylabel="Var(w)", ylim=(0, 1.35 * independent))
left.set_title("(a) kicks of an epoch cancel")
left.legend(fontsize=8, loc="upper right")
for n, color in ((10, BLUE), (100, GREEN)):
    e = np.geomspace(0.03, min(100, 1.5 * n), 60) / n
    reshuffled = np.array([reshuffled_covariance(1.0, 1.0, eps, 10, 10 * n) for eps in e])
    ratio = reshuffled / [sgd_covariance(1.0, 0.1 - 0.1 / n, eps) for eps in e]
    right.loglog(e * n, ratio, color=color, label=f"N/B = {n}")
right.axhline(1, color=ORANGE, linewidth=1)
right.set(xlabel="$\\varepsilon h$ x updates of an epoch", ylabel="Var(w) / independent batches'")
right.set_title("(b) unless w forgets within an epoch")
right.legend(fontsize=8, loc="lower right")
# alt: Left, within an epoch of ten updates the variance of reshuffled SGD rises and falls like a bridge, everywhere below a
# quarter of the line for independent batches and near zero at both ends. Right, the ratio of the two at the ends of epochs is
# far below 1 where eps h times the updates of an epoch is below 1, and comes to about 1, or a little above, where it is large.

# %% [markdown]
# At the ends of epochs, where one looks, hardly any noise is left in this direction. Why not none? By then the kick of update
# $k$ has been multiplied by $(1 - \varepsilon h)^{n - k}$. Were these factors all alike, the kicks would cancel. What is left
# is the scatter of the factors, which for $\varepsilon h n \ll 1$ go evenly from $1 - \varepsilon h n$ to 1. An even law over
# that width has the variance $(\varepsilon h n)^2/12$, where independent batches have the mean square, about 1. (Here that
# makes 1/48, near the 1/43 above.) Their law comes back only in directions that forget within an epoch,
# $\varepsilon h n \gg 1$. And $g$? Without momentum, with $n \gg 1$ and at the ends of epochs, the noise that is left still
# depends on $\varepsilon N/B$ alone, though not in proportion to it: where $\varepsilon h n \ll 1$, twice the learning rate
# makes it eight times as large.

# %%
one, same, twice = (reshuffled_covariance(1.0, f, k / 1e4, b, 50_000) for k, b in ((1, 50), (5, 250), (2, 50)))
assert np.isclose(one, same, rtol=1e-3)
assert np.isclose(twice / one, 2**3, rtol=0.01)
assert np.isclose(one / sgd_covariance(1.0, (1 / 50 - 1 / 50_000) * f, 1e-4), (1e-4 * 1e3) ** 2 / 12, rtol=0.01)

# %% [markdown]
# ## Where it stops being true
#
# | statement | is |
# |---|---|
# | one update has the mean and the variance of one Langevin step of $\Delta t = \varepsilon/N$, with $F(w)$ for $f$ | exact |
# | $\mathrm{Var}(w)$ on a quadratic with constant noise and independent batches | exact at any stable $\varepsilon$ |
# | Boltzmann's law at $k_B T = g f/2$ | approximate: small $\varepsilon h$, constant and isotropic noise, independent batches |
# | kicks are Gaussian | approximate: good once $B$ is well above the kurtosis of one example's gradient |
# | kicks are independent and identically distributed | **wrong** if the noise depends on $w$ (uncorrelated, yet dependent), or with reshuffling (correlated) |
# | one temperature for all directions | **wrong** for networks |
#
# With all that against it, why use $g$? Because it is for comparing. Two schedules on one network share $F(w)$, its directions
# and its dependence on $w$; what you mean to change is $g$. (Step sizes, kurtosis and $n$ change, too; that this matters
# little must be tried.) [Tutorial 3](03_scaling_rules.md) puts it to use.
#
# ## Exercises
#
# 1. On a quadratic, at which $\varepsilon h$ is SGD twice as hot as Boltzmann's law says?
# 2. You collect twice as many data of the same kind, and keep $\varepsilon$ and $B \ll N$. What happens to $k_B T$, and to
#    where $w$ comes to rest?
# 3. Momentum 0.9 at the same $\varepsilon$ and $B$: how much larger is $\mathrm{Var}(w)$, for small $\varepsilon h$?
#
# ## Answers
#
# **1.** $1/(1 - \varepsilon h/2) = 2$ at $\varepsilon h = 1$, half of the largest stable learning rate.

# %%
assert np.isclose(sgd_covariance(1.0, 1.0, 1.0), 2 * langevin_covariance(1.0, 0.5))

# %% [markdown]
# **2.** $g \approx \varepsilon N/B$ doubles, and with it $k_B T$. But so does $C$, a sum: $C/k_B T$ and the law of $w$ stay.

# %%
once, twice = (temperature(noise_scale(0.1, 10, n), f) for n in (50_000, 100_000))
assert np.isclose(twice / once, 2, rtol=1e-3)

# %% [markdown]
# **3.** $g$ has the factor $1/(1 - m) = 10$, and so has the variance.

# %%
ratio = sgd_covariance(1.0, 1.0, 1e-4, momentum=0.9) / sgd_covariance(1.0, 1.0, 1e-4)
assert np.isclose(ratio, 10, rtol=1e-3)
