# %% [markdown]
# # 7. From optimiser to sampler: how sure are your parameters?
#
# SGD ends at one set of parameters. But the data allow many, and how many is what the posterior says. Could SGD, which is
# noisy anyway, draw from the posterior instead of settling down? How much noise does that take, and does it matter which?
#
# The answer is stochastic gradient Langevin dynamics, SGLD (Welling and Teh, ICML 2011). Add to an update of step size
# $\epsilon$ (not our learning rate $\varepsilon$) a normal random number of variance $\epsilon$, and for small steps it is
# Langevin dynamics on the posterior at the temperature
#
# $$
# k_B T = 1 + \frac{g f}{2}, \qquad g = \frac{N \epsilon}{2} \cdot \frac{N}{n} .
# $$
#
# The 1 is the injected noise, and the right answer. $g f/2$ is the temperature of SGD from
# [tutorial 2](02_sgd_as_langevin.md), and an error. It falls with $\epsilon$: SGD turns into a sampler by itself.
#
# ## What you will learn
#
# - How the posterior is a Boltzmann law at temperature 1, and SGLD the dynamics that comes to rest there.
# - When the injected noise takes over from that of the minibatches, and why step sizes fall.
# - Which wrong posterior each of the common factor mistakes samples.
#
# ## The posterior of two numbers
#
# We take the toy of Welling and Teh. A hundred numbers come from a mixture of two normal laws, one with mean $\theta_1$ and
# one with mean $\theta_1 + \theta_2$, half each, both of variance 2. Which $\theta$ made them? With normal priors of mean 0,
# of variance 10 for $\theta_1$ and 1 for $\theta_2$, Bayes' rule gives the posterior
#
# $$
# p(\theta \mid x) \propto p(\theta) \prod_{i=1}^{N} p(x_i \mid \theta) = e^{-U(\theta)}, \qquad U = - \log p(\theta) - \sum_i \log p(x_i \mid \theta) .
# $$
#
# That is **Boltzmann's law** at $k_B T = 1$ for an energy $U$, the cost $C$ of the earlier pages plus a term for the prior.
# With two parameters we know it on a grid. It has two modes, because the data cannot tell which component is which.

# %%
import matplotlib.pyplot as plt
import numpy as np

from sgdnoise import noise_scale, stationary, temperature
from sgdnoise.boltzmann import boltzmann_density
from sgdnoise.energies import MixturePosterior
from sgdnoise.langevin import overdamped, polynomial_constants, polynomial_step_size, sgld

BLUE, ORANGE, GREEN, BLACK, GREY = "#0072B2", "#D55E00", "#009E73", "#000000", "#999999"
posterior = MixturePosterior.draw(100, rng=3)  # 100 numbers drawn at (0, 1)
N = posterior.n_train
axes = np.linspace(-4, 5, 181), np.linspace(-5, 5, 201)
theta1, theta2 = np.meshgrid(*axes, indexing="ij")


def law(power=1.0, k_t=1.0):
    """Prior times likelihood^power, all to the power 1/k_t, on the grid."""
    return boltzmann_density(lambda t: -posterior.log_prior(t) - power * posterior.log_likelihood(t), k_t, axes)


def width(density):
    """Standard deviation of the mean of the data as theta has it, theta_1 + theta_2/2: the narrow direction."""
    weights, v = density / density.sum(), theta1 + theta2 / 2
    return np.sum(weights * (v - np.sum(weights * v)) ** 2) ** 0.5


exact = law()
upper = exact[theta2 > 0].sum() / exact.sum()
print(f"{upper:.0%} of the posterior is in the mode near (0, 1), the rest near (1, -1)")
print(f"narrow width {width(exact):.3f}")
for sign in (1, -1):
    peak = np.unravel_index(np.argmax(exact * (sign * theta2 > 0)), exact.shape)
    assert np.hypot(theta1[peak] - (1 - sign) / 2, theta2[peak] - sign) < 0.1

# %% [markdown]
# ## The update
#
# A step of the Langevin equation drifts by $-\lambda\, U'\, \Delta t$ and kicks with variance $2 \lambda\, k_B T\, \Delta t$.
# Put $k_B T = 1$ and name $\epsilon = 2 \lambda\, \Delta t$. The drift is then $-\frac{\epsilon}{2} U'$ and the kick has
# variance $\epsilon$. Estimate the sum over all $N$ examples by $N/n$ times that over a minibatch of $n$, and it is SGLD:
#
# $$
# \theta \leftarrow \theta + \frac{\epsilon}{2} \Big[ \nabla \log p(\theta) + \frac{N}{n} \sum_{i \in \text{batch}} \nabla \log p(x_i \mid \theta) \Big] + \sqrt{\epsilon}\; \xi, \qquad \xi \sim N(0, 1) .
# $$
#
# For the same drift SGD on the mean loss would have the learning rate $\varepsilon = N \epsilon/2$. The function takes the two
# gradients, and many chains at once. Half of ours start in each mode, since it takes them long to cross over.

# %%
chains = np.tile([[0.0, 1.0], [1.0, -1.0]], (100, 1))
n, n_steps, gradients = 10, 12_000, (posterior.grad_log_prior, posterior.grad_log_likelihood)
falling = polynomial_step_size(*polynomial_constants(0.01, 0.0002, n_steps, 0.55), 0.55)  # 0.01 falls to 0.0002
drawing = {"n_train": N, "batch_size": n, "sampling": "with_replacement"}
samples = sgld(*gradients, chains, step_size=falling, n_steps=n_steps, record_every=20, rng=0, **drawing)


def narrow(theta):
    """The narrow direction, theta_1 + theta_2/2."""
    return theta[..., 0] + theta[..., 1] / 2


centre = np.sum(exact * (theta1 + theta2 / 2)) / exact.sum()
share = samples.average(lambda t: t[..., 1] > 0, discard=n_steps // 4)  # of each chain, weighted by step size
square = samples.average(lambda t: (narrow(t) - centre) ** 2, discard=n_steps // 4)
above, below = share[::2].mean(), share[1::2].mean()
print(f"time in the upper mode: begun there {above:.2f}, begun below {below:.2f}; exact {upper:.2f}")
print(f"narrow width {square.mean() ** 0.5:.3f}, exact {width(exact):.3f}")
assert above > upper > below
assert 1 < square.mean() ** 0.5 / width(exact) < 1.1  # a little too hot, which the next section explains

# %% [markdown]
# ## When the injected noise takes over
#
# A minibatch drawn with replacement gives the sum over $N$ examples a variance of $N^2 f/n$, with $f$ the variance (divisor
# $N$) of the examples' gradients. The update multiplies that by $(\epsilon/2)^2$. So the two kicks scale differently:
#
# $$
# \text{minibatch: } \frac{\epsilon^2 N^2 f}{4 n}, \qquad \text{injected: } \epsilon, \qquad \frac{\text{both}}{\text{injected}} = 1 + \frac{\epsilon N^2 f}{4 n} = 1 + \frac{g f}{2} .
# $$
#
# The last step is tutorial 1: $g$ of SGD with learning rate $N \epsilon/2$. The two are equal at $\epsilon^* = 4 n/(N^2 f)$.
# Well above it the update is SGD, well below a sampler. Welling and Teh ran this toy with $n = 1$. Where is our border?

# %%
kept = samples.x[len(samples.x) // 2 :, ::20].reshape(-1, 2)
directions = np.array([[1, 0], [0, 1], [0.8**0.5, 0.2**0.5]]).T  # theta_1, theta_2, the narrow one
f = (posterior.per_example_gradients(kept) @ directions).var(axis=1).mean(axis=0)
border = 4 / (N**2 * f)
print("n = 1: equal noises along theta_1, theta_2, the narrow direction:", *(f"{e:.1e}" for e in border))
assert np.allclose(temperature(noise_scale(N * border / 2, 1, N, replace=True), f), 1)  # g f/2 = 1
assert 5e-4 < border[0] < 1e-3

# %% [markdown]
# To check the temperature without an approximation, take a posterior of one number, $x_i$ normal about $\theta$ and the prior
# normal about 0, both of variance 1. Its energy has the curvature $h = N + 1$, and $f$ is the same everywhere. By tutorial 2
#
# $$
# \mathrm{Var}(\theta) = \frac{1}{h} \Big( 1 + \frac{g f}{2} \Big) \frac{1}{1 - \epsilon h/4} .
# $$

# %%
rng = np.random.default_rng(0)
x = rng.standard_normal(N)
h, f1, mean = N + 1, x.var(), x.sum() / (N + 1)
number = (lambda t: -t, lambda t, batch: x[batch].sum(axis=1, keepdims=True) - t)  # for a batch of one
rates, ratios, start = np.array([1e-4, 3e-4, 1e-3, 3e-3, 1e-2]), [], np.full((2000, 1), mean)
one = {"n_train": N, "batch_size": 1, "sampling": "with_replacement"}
for eps in rates:
    steps = int(8 / (eps * h))
    rest = sgld(*number, start, step_size=eps, n_steps=steps, record_every=steps, rng=1, **one)
    spread = np.mean((rest.x[-1] - mean) ** 2)
    g = noise_scale(N * eps / 2, 1, N, replace=True)
    at_rest = (1 + temperature(g, f1)) / h / (1 - eps * h / 4)
    assert np.isclose(at_rest, stationary.sgd_covariance(h, 4 / eps + N**2 * f1, eps / 2))
    expected = at_rest * (1 - (1 - eps * h / 2) ** (2 * steps))  # the chains began at one point
    assert abs(spread / expected - 1) < 5 * (2 / len(start)) ** 0.5
    ratios.append(spread * h)
print("variance over the posterior's:", *(f"{r:.2f} at {e:.0e}" for r, e in zip(ratios, rates, strict=True)))

# %% [markdown]
# ## Step sizes that fall
#
# A large step is too hot. A small one is nearly right and takes forever to get anywhere: it forgets its start at the rate
# $\epsilon h/2$. Steps that fall do both: first SGD, which finds the place, then a sampler. Their sum must be infinite, or a
# chain could not travel any distance, and they must fall to 0, or it stays too hot. Take $\epsilon_t = a (b + t)^{-\gamma}$
# with $\gamma$ in $(\frac{1}{2}, 1]$, as Welling and Teh do, or less (Teh, Thiery and Vollmer, 2016). Since $\epsilon$ is
# time, averages weigh samples by it. Three runs from a start thirty posterior widths away:

# %%
n_updates = 600
falling = polynomial_step_size(*polynomial_constants(0.01, 0.0001, n_updates, 1.0), 1.0)
plans = {"0.01 throughout": 0.01, "0.0001 throughout": 0.0001, "falling from 0.01 to 0.0001": falling}
distance, far = {}, np.full((400, 1), mean + 30 / h**0.5)
for name, plan in plans.items():
    path = sgld(*number, far, step_size=plan, n_steps=n_updates, record_every=10, rng=2, **one)
    distance[name] = (np.mean((path.x[:, :, 0] - mean) ** 2, axis=1) * h) ** 0.5
    print(f"{name:28} ends {distance[name][-1]:.2f} posterior widths away, where 1 is right")
assert distance["0.01 throughout"][-1] > 4
assert distance["0.0001 throughout"][20] > 5 * distance["falling from 0.01 to 0.0001"][20]
assert abs(distance["falling from 0.01 to 0.0001"][-1] - 1) < 0.3

# %%
figure, (left, middle, right) = plt.subplots(1, 3, figsize=(10, 3.6), layout="constrained")
left.plot(*kept[::3].T, ".", color=BLUE, markersize=2, alpha=0.5)
left.contour(theta1, theta2, exact, levels=exact.max() * np.array([0.05, 0.3, 0.7]), colors=BLACK, linewidths=1)
left.set(xlim=(-1.5, 2.5), ylim=(-3, 3), xlabel=r"$\theta_1$", ylabel=r"$\theta_2$")
left.set_title("(a) SGLD draws the posterior")
e = np.geomspace(7e-5, 1.4e-2, 100)
middle.loglog(rates, ratios, "o", color=BLUE, label="measured")
middle.loglog(e, (1 + e * N**2 * f1 / 4) / (1 - e * h / 4), color=BLUE, linewidth=1, label="exact")
middle.axhline(1, color=BLACK, linestyle="--", label="the posterior's")
middle.axvline(4 / (N**2 * f1), ymax=0.5, color=GREY, linewidth=1)
middle.text(4.6 / (N**2 * f1), 1.35, "equal noises", color="#555555", va="center")
middle.set(xlabel=r"step size of SGLD, n = 1", ylabel="Var / posterior's")
middle.set_title("(b) too hot at large steps")
middle.legend(loc="upper left", fontsize=8)
updates = np.arange(0, n_updates + 1, 10)
for (name, values), color in zip(distance.items(), (ORANGE, GREEN, BLUE), strict=True):
    right.semilogy(updates, values, color=color, label=name)
right.axhline(1, color=BLACK, linestyle="--")
right.set(xlabel="updates", ylabel="distance / posterior's width", ylim=(0.7, 200))
right.set_title("(c) falling steps do both")
right.legend(loc="upper right", fontsize=8)
# alt: Left, samples of SGLD fill the contours of the two-moded posterior. Middle, the variance over the posterior's falls
# from 34 at a step of 0.01 along the exact law towards 1; the noises are equal near 0.0004. Right, from a far start a large
# step arrives at once and stays six widths wide, a small one has not arrived after 600 updates, and falling steps come down to
# one.

# %% [markdown]
# ## The common mistakes, and what each of them samples
#
# None of the mistakes raises an error. We write the update out with each factor open to change, $n = 20$, and expect:
#
# - Noise $\epsilon$ for $\sqrt{\epsilon}$ has a temperature of $\epsilon$, next to none: all but an optimiser.
# - $N/n$ forgotten counts each example $n/N$ times: the likelihood to the power $n/N$, as if there were $n$ examples.
# - Divided by $n$ twice, once in a mean over the batch and once in $N/n$: the likelihood to the power $1/n$.
# - Drift $\epsilon$ for $\epsilon/2$, the noise left alone: temperature $\frac{1}{2}$, the square of the posterior.
#
# And the minibatches' part on top: a drift with $d\, \epsilon$ and the factor $c$ before the sum, and a noise $s\, \xi$, have
# the temperature $k_B T = \frac{s^2}{2 d \epsilon} + \frac{d\, \epsilon\, c^2 n f}{2}$. The width goes with its root.

# %%
n, small, large = 20, 0.0005, 0.004  # the large one where the pull is weak and chains have farther to go


def written_out(eps, drift, spread, factor, n_steps=4000):
    """Positions of 100 chains, every 20 updates after the first half."""
    rng, theta, positions = np.random.default_rng(3), chains[:100], []
    for t in range(n_steps):
        batch = rng.integers(N, size=(len(theta), n))
        slope = posterior.grad_log_prior(theta) + factor * posterior.grad_log_likelihood(theta, batch)
        theta = theta + drift * eps * slope + spread * rng.standard_normal(theta.shape)
        if t >= n_steps / 2 and t % 20 == 0:
            positions.append(theta)
    return np.concatenate(positions)


def law_of_width(eps, drift, spread, factor):
    """The width to expect: the likelihood is taken to the power factor n/N, at the temperature above."""
    k_t = spread**2 / (2 * drift * eps) + drift * eps * factor**2 * n * f[2] / 2
    return k_t**0.5 * width(law(factor * n / N))


cases = {  # the step size; factors of drift, noise and sum
    "right": (small, 1 / 2, small**0.5, N / n),
    "eps for sqrt(eps)": (small, 1 / 2, small, N / n),
    "N/n forgotten": (large, 1 / 2, large**0.5, 1),
    "divided by n twice": (large, 1 / 2, large**0.5, N / n / n),
    "drift eps": (small, 1, small**0.5, N / n),
}
drawn = {name: written_out(*factors) for name, factors in cases.items()}
expected = {name: law_of_width(*factors) for name, factors in cases.items()}
print("                    width  expected  over the posterior's")
for name, theta in drawn.items():
    spread = narrow(theta).std()
    print(f"{name:19} {spread:5.3f} {expected[name]:9.3f} {spread / width(exact):21.2f}")
    assert abs(spread - expected[name]) < 0.06 * expected[name], name

# %%
figure, axes_ = plt.subplots(1, 5, figsize=(11, 2.9), layout="constrained", sharey=True)
for axis, (name, theta) in zip(axes_, drawn.items(), strict=True):
    axis.plot(*theta[::5].T, ".", color=BLUE if name == "right" else ORANGE, markersize=2, alpha=0.4)
    axis.contour(theta1, theta2, exact, levels=exact.max() * np.array([0.05, 0.5]), colors=BLACK, linewidths=1)
    axis.set(xlim=(-2, 3), ylim=(-3.4, 3.4), xlabel=r"$\theta_1$", title=name)
axes_[0].set(ylabel=r"$\theta_2$")
# alt: Five panels of samples over the contours of the posterior. The right update fills them. With eps for its root two
# dots remain, one in each mode. With N/n forgotten the samples spread well outside, divided by n twice they are a cloud
# several times too wide, and with drift eps they are a little too narrow.

# %% [markdown]
# Each mistake has its own wrong law. The last can hardly be seen by eye. One apparent mistake is none: many libraries drift by
# $\epsilon$ and inject $2 \epsilon$: the same update, with half of Welling and Teh's $\epsilon$.

# %%
whole = {"n_steps": 50, "noise": np.random.default_rng(4).standard_normal((50, 4, 2))}
welling_teh = sgld(*gradients, chains[:4], step_size=0.002, n_train=N, batch_size=N, **whole)
library = overdamped(posterior.gradient, chains[:4], step_size=0.001, temperature=1.0, **whole)
assert np.allclose(welling_teh.x, library.x, rtol=0, atol=1e-12)

# %% [markdown]
# ## Where it stops being true
#
# | statement | is |
# |---|---|
# | the posterior is Boltzmann's law at $k_B T = 1$ | exact |
# | minibatch and injected kicks have variances $\epsilon^2 N^2 f/4n$ and $\epsilon$ | exact, for batches drawn with replacement |
# | the law at rest on a normal posterior with constant $f$ | exact for $\epsilon h < 4$ |
# | SGLD draws from the posterior | in the limit of falling steps; at any step it is too hot by about $g f/2$ |
# | one temperature $1 + g f/2$ | approximate: with several parameters $f$ is a matrix, and depends on $\theta$ |
# | the chains have found all modes | **never shown by the chains**: ours began in both, and the grid told us the shares |
#
# With millions of parameters no grid tells. Reshuffled batches heat less where a chain forgets in more than an epoch, as
# tutorial 2 says. What averages over samples are worth on images is [measured at full scale](reproduction.md).
#
# ## Exercises
#
# 1. You have ten times the data and want the same excess temperature at the same $n$. What happens to $\epsilon$, and to the
#    number of passes over the data that forgetting takes?
# 2. Your chains drift by $\epsilon$ and inject $\epsilon$. How far are the error bars of a normal posterior from right?
# 3. Which $n$ halves the excess temperature: twice, or four times the batch? Is it worth it?
#
# ## Answers
#
# **1.** The excess is $\epsilon N^2 f/4n$, so $\epsilon$ falls by 100. The curvature grows by 10. Forgetting takes
# $2/(\epsilon h)$ updates, ten times more, of $n/N$ passes each, ten times less: the number of passes stays.

# %%
settings = ((1e-3, 100), (1e-5, 1000))
passes = [2 / (eps * size) * n / size for eps, size in settings]
excess = [temperature(noise_scale(size * eps / 2, n, size, replace=True), 1.0) for eps, size in settings]
assert np.allclose((passes[0], excess[0]), (passes[1], excess[1]))

# %% [markdown]
# **2.** The temperature is $\frac{1}{2}$, so the variance is half, and error bars are $1/\sqrt{2}$, of what they should be.

# %%
assert np.isclose(stationary.langevin_covariance(h, 0.5), 1 / h / 2)

# %% [markdown]
# **3.** Twice. But an update then costs twice as much, and half the $\epsilon$ would have done the same with twice as many
# updates: per pass over the data there is no difference. What a large batch buys is fewer updates.

# %%
doubled, halved = (noise_scale(N * eps / 2, size, N, replace=True) for eps, size in ((1e-3, 2 * n), (5e-4, n)))
assert np.isclose(doubled, halved)
