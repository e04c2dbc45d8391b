# %% [markdown]
# # 9. Is your own implementation right?
#
# You have ported the noise scale to your code base, or written an optimizer, a sampler, a gradient. It runs, and the loss goes
# down. A wrong factor would not stop it. How do you find out, and how far can you trust the answer?
#
# The answer is to state laws that hold for *every* input, and to let a program look for an input that breaks one. An error
# that shows in a fraction $p$ of the inputs goes unseen in $n$ independent draws with probability
#
# $$
# P(\text{missed}) = (1 - p)^n ,
# $$
#
# for small $p$ about $e^{-p n}$. So it matters where inputs are drawn, and not only how many: where $p$ is large.
#
# ## What you will learn
#
# - To run this package's specification on functions and optimizers of your own, and to read what it prints.
# - How property tests work: they draw, and they shrink.
# - To write one for a formula of yours, and what it cannot find.
#
# This page alone needs [Hypothesis](https://hypothesis.readthedocs.io), which comes with `pip install "sgdnoise[test]"`.
#
# ## A right one of each
#
# The module `sgdnoise.testing` takes your implementation as an argument. Here are a noise scale and an optimizer as somebody
# else might write them; the model and the sampler are the package's own.

# %%
from fractions import Fraction
from types import SimpleNamespace

import matplotlib.pyplot as plt
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import t as student

from sgdnoise import MLP, Optimizer, minibatches, noise_scale
from sgdnoise.testing import (
    LawError,
    batches,
    check_gradient,
    check_noise_scale,
    check_optimizer,
    check_sampler,
    learning_rates,
)

BLUE, ORANGE, GREEN, BLACK, GREY = "#0072B2", "#D55E00", "#009E73", "#000000", "#999999"


def my_noise_scale(eps, B, N, *, momentum=0, replace=False):
    """The number of examples left out of a batch, over those in it, times eps/(1 - m)."""
    return eps / (1 - momentum) * (N if replace else N - B) / B


def optimizer(rule):
    """An optimizer is two functions: init(params) -> state, update(gradient, state, eps) -> (step, state)."""
    return lambda momentum=0.0: Optimizer(np.zeros_like, lambda grad, a, eps: rule(momentum, grad, a, eps))


def my_momentum(m, gradient, a, eps):
    """The trace form of momentum: a <- m a + gradient; w <- w - eps a."""
    a = m * a + gradient
    return -eps * a, a


checks = (check_noise_scale, check_optimizer, check_gradient, check_sampler)
model = MLP(3, (4,), 2, "tanh")
for check, mine in zip(checks, (my_noise_scale, optimizer(my_momentum), model, minibatches), strict=True):
    laws = check(mine)
    print(f"{check.__name__}: {len(laws)} laws hold, such as:\n  {laws[2]}")
    assert len(laws) >= 3

# %% [markdown]
# ## Four wrong ones
#
# None of these raises an error of its own. A check stops at the first law that breaks, and shows a small input that breaks it,
# what the law demands there and what came.


# %%
def failure(check, mine):
    """What a check prints."""
    try:
        check(mine)
    except LawError as error:
        print(error)
        return error
    raise RuntimeError("no law broke")


def rounded(eps, B, N, *, momentum=0, replace=False):
    """// for /: whole batches only. Right for N = 50000 and B = 100, 200, 250, 500, 1000, ..."""
    return eps / (1 - momentum) * (N // B - (not replace))


error = failure(check_noise_scale, rounded)
assert all(rounded(1, B, 50_000) == noise_scale(1, B, 50_000) for B in (100, 200, 250, 500, 1000, 5000))
assert error.law.startswith("g / eps is N times the batch mean's variance over every possible minibatch")

# %% [markdown]
# Read it from the top. The law is the definition of $g$ from [tutorial 1](01_noise_scale.md). It broke for four examples, in
# batches of three. The value expected was found by going through all batches, and so without the formula. Next, momentum with
# the learning rate inside, as some frameworks have it:


# %%
def velocity_form(m, gradient, v, eps):
    """The learning rate inside: v <- m v - eps gradient; w <- w + v."""
    v = m * v - eps * gradient
    return v, v


error = failure(check_optimizer, optimizer(velocity_form))
assert error.law == "the learning rate stands outside the accumulator"

# %% [markdown]
# The two forms agree as long as the learning rate stays. The counterexample is as short as can be: one gradient, then none, at
# half the learning rate. The old gradient should act at the new rate, and acts at the old one, for some $1/(1 - m)$ updates.
# It is a choice rather than a mistake, but another optimizer than the trace form.
#
# Third, a gradient whose weight decay acts on the biases too, while the loss penalises weights only. Fourth, a shuffle that is
# off by one.


# %%
def decay_all(params, X, y, l2):
    """Weight decay on all parameters."""
    return model.gradient(params, X, y) + l2 * params


def off_by_one(N, B, *, rng):
    """The last example never moves."""
    order = np.arange(N)
    rng.shuffle(order[:-1])
    return [order[i : i + B] for i in range(0, N - B + 1, B)]


wrong = SimpleNamespace(n_params=model.n_params, n_features=3, n_classes=2, loss=model.loss, gradient=decay_all)
error = failure(check_gradient, wrong)
assert error.counterexample["l2"] > 0
error = failure(check_sampler, off_by_one)
assert error.law == "every example is equally likely in every batch"

# %% [markdown]
# The last failure is of another kind. That examples come equally often is true on the average only, so the check measures,
# over 4000 epochs of 7 examples and 100 of 1500, and gives a standard error. It complains beyond 6 of them, which happens to a
# right sampler with a probability below one in a million, if what is averaged is near enough to normal:

# %%
assert 27 * 2 * student.sf(6, df=99) < 1e-6  # it makes at most 27 comparisons, of 100 epochs or more

# %% [markdown]
# ## Draw and shrink
#
# Two ideas are behind those short counterexamples. **Draw**: try random inputs until one breaks the law. **Shrink**: try
# simpler inputs near it, as long as they break it too. In twenty lines, on `rounded`:


# %%
def holds(B, N):
    """The law: g at a learning rate of 1, exactly."""
    return rounded(Fraction(1), B, N) == Fraction(N - B, B)


def simpler(B, N):
    """Simpler inputs, the boldest first."""
    tries = ((B // 2, N // 2), (B // 2, N), (B, N // 2), (B - 1, N - 1), (B - 1, N), (B, N - 1), (B, N - B))
    return [(b, n) for b, n in tries if 1 <= b <= n]


rng = np.random.default_rng(0)
drawn = [(int(rng.integers(1, N + 1)), int(N)) for N in rng.integers(1, 10**6 + 1, size=200)]  # N, then B <= N
path = [next(case for case in drawn if not holds(*case))]
while broken := [case for case in simpler(*path[-1]) if not holds(*case)]:
    path.append(broken[0])
print("drawn: B = {}, N = {}; after {} steps: B = {}, N = {}".format(*path[0], len(path) - 1, *path[-1]))
assert path[-1] == (2, 3)
assert not any(holds(*case) for case in drawn + path)
assert all(holds(B, 50_000) for B in (100, 250, 1000, 5000))

# %% [markdown]
# Nobody would guess the bug from the first. From batches of 2 out of 3 one sees it. The checks and Hypothesis do the same.
#
# ## Where to draw
#
# Take an error that shows in the full batch only, $B = N$. If $N$ is drawn evenly from 1 to $M$ and then $B$ from 1 to $N$, a
# draw hits it with probability $p = \frac{1}{M} \sum_N \frac{1}{N}$. Draws are independent, so all $n$ miss with probability
# $(1 - p)^n$: a small $M$ finds the error soon, a large one hardly ever.

# %%
n_draws, n_repeats = 100, 2000
missed = {}
for M in (10, 100, 1000):
    N_drawn = rng.integers(1, M + 1, size=(n_repeats, n_draws))
    hit = rng.integers(1, N_drawn + 1) == N_drawn
    p = np.mean(1 / np.arange(1, M + 1))
    n = np.arange(1, n_draws + 1)
    missed[M] = p, 1 - np.maximum.accumulate(hit, axis=1).mean(axis=0)
    law = (1 - p) ** n
    assert np.all(abs(missed[M][1] - law) < 5 * np.sqrt(law * (1 - law) / n_repeats) + 1 / n_repeats)
    print(f"N to {M:4}: p = {p:.4f}, missed by {n_draws} draws with probability {law[-1]:.1g}")

seen = []


@settings(max_examples=200, derandomize=True, database=None, deadline=None)
@given(batches(10**6))
def look(case):
    """Take down what Hypothesis draws."""
    seen.append(case)


look()
assert np.mean([B == N for B, N in seen]) > 1 / 5 > 10_000 * np.mean(1 / np.arange(1, 10**6 + 1))

# %% [markdown]
# For $N$ up to a million $p$ is 14 in a million, and 200 even draws would not do. But Hypothesis does not draw evenly. It
# likes small numbers, repeats numbers and tries the ends of intervals: of its 200 draws more than a fifth are full batches, as
# the assert says. And where an edge is known, one does not rely on luck but makes it a law of its own: the first law of
# `check_noise_scale` is that the full batch has no noise.

# %%
figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.8), layout="constrained")
left.loglog(*np.transpose(drawn)[::-1], ".", color=GREY, markersize=3, label="drawn evenly, they break it")
left.loglog((1, 2e6), (1, 2e6), color=BLACK, linewidth=1)
left.text(40, 90, "B = N", ha="right")
label = "one of them shrinks ..."
left.loglog(*np.transpose(path)[::-1], "o-", color=ORANGE, markersize=3, linewidth=1, label=label)
left.loglog(3, 2, "*", color=ORANGE, markersize=14, label="... to N = 3, B = 2")
label = "examples by hand: all pass"
left.loglog([50_000] * 4, (100, 250, 1000, 5000), "s", color=BLUE, markersize=4, label=label)
left.set(xlabel="N", ylabel="B", xlim=(0.8, 2e6), ylim=(0.8, 2e8), title="(a) a law broken by // for /")
left.legend(loc="upper left", fontsize=8)
for (M, (p, values)), color in zip(missed.items(), (BLUE, GREEN, ORANGE), strict=True):
    right.semilogy(n, (1 - p) ** n, color=BLACK, linewidth=1, label="$(1 - p)^n$" if M == 10 else None)
    shown = (values > 0) & (n % 4 == 1)
    right.semilogy(n[shown], values[shown], "o", color=color, markersize=4, label=f"N up to {M}")
right.set(xlabel="draws n", ylabel="an error at B = N missed, probability", ylim=(2e-4, 2))
right.set_title("(b) draw where errors are")
right.legend(loc="lower right", fontsize=8)
# alt: Left, in the plane of N and B the random draws crowd where both are large; a path leads from one of them by halving and
# small steps to N = 3, B = 2, the smallest input that breaks the law, while examples chosen by hand all pass. Right, the
# probability to miss an error at B = N falls to a few per cent within ten draws if N is at most 10, slowly for 100, and hardly for 1000,
# as (1 - p)^n says.

# %% [markdown]
# ## One of your own
#
# Say you have written the exact rule of [tutorial 3](03_scaling_rules.md): on a batch $K$ times as large the learning rate
# that keeps $g$. A property test needs three things. *Inputs*: draw $N$, then $B$, then $K$, each within what the last allows,
# so that none is thrown away. *A law*: $g$ is what it was. *Exact numbers*, if possible: fractions, for which `==` means what
# it says.

# %%
sizes = st.integers(2, 1000).flatmap(lambda N: st.tuples(st.integers(1, N - 1), st.just(N)))
cases = sizes.flatmap(lambda c: st.tuples(st.just(c[0]), st.just(c[1]), st.integers(1, (c[1] - 1) // c[0])))


def check_rule(rule, g=noise_scale):
    """Raise AssertionError with the smallest input found for which a scaling rule does not keep g."""

    @settings(derandomize=True, database=None, deadline=None)
    @given(learning_rates(), cases)
    def keeps_g(eps, case):
        B, N, K = case
        before, after = g(eps, B, N), g(rule(eps, B, N, K), K * B, N)
        assert after == before, f"eps = {eps}, B = {B}, N = {N}, K = {K}: g was {before} and is {after}"

    keeps_g()


def linear_rule(eps, B, N, K):
    """Learning rate and batch by the same factor."""
    return K * eps


check_rule(lambda eps, B, N, K: K * eps * (N - B) / (N - K * B))  # the exact rule
try:
    check_rule(linear_rule)
except AssertionError as error:
    found = str(error).splitlines()[0]
print(found)
assert found == "eps = 1, B = 1, N = 3, K = 2: g was 2 and is 1"

# %% [markdown]
# ## Where it stops being true
#
# | statement | is |
# |---|---|
# | an error that shows in a fraction $p$ of the draws is missed with probability $(1 - p)^n$ | exact, for independent draws. Hypothesis's are not quite |
# | a failure is an error, in the code or in the law | exact for exact laws; for the sampler's, but for one run in a million |
# | no failure means no error | **wrong**: only none where it was looked for |
# | the counterexample is the smallest | nearly always, but shrinking stops where no single step helps |
# | a law checks the formula | only if the value expected comes from elsewhere: exercise 3 |
#
# ## Exercises
#
# 1. Momentum that averages, $a \leftarrow m a + (1 - m)\,\text{gradient}$: which law does it break, and what will the check
#    print as expected and got?
# 2. An error shows in one input of a hundred. How many draws find it with probability 99.9%?
# 3. Which wrong $g$ would let the linear rule pass `check_rule`? What is the moral?
#
# ## Answers
#
# **1.** A unit gradient must move the parameters by $-\varepsilon/(1 - m)$ in all, and moves them by $-\varepsilon$. The
# smallest $m$ drawn is 1/8, so $-8/7$ and $-1$.


# %%
def averaging(m, gradient, a, eps):
    """An average for a sum: a <- m a + (1 - m) gradient; w <- w - eps a."""
    a = m * a + (1 - m) * gradient
    return -eps * a, a


error = failure(check_optimizer, optimizer(averaging))
assert np.allclose((error.expected, error.got), (-8 / 7, -1))

# %% [markdown]
# **2.** $0.99^n = 0.001$, so $n = \ln 1000/0.01005 = 687.3$: it takes 688.

# %%
assert 0.99**687 > 0.001 > 0.99**688

# %% [markdown]
# **3.** $g = \varepsilon N/B$, which without replacement lacks its $-1$. Rule and $g$ are then wrong together and agree. A law
# that compares your code with your code finds contradictions, not errors; so the specification goes through all minibatches
# instead.

# %%
check_rule(linear_rule, g=lambda eps, B, N: eps * N / B)
