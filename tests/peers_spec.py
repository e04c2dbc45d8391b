"""The specification on others' code. Needs ``.[test,peers]`` and is run by its path: ``pytest tests/peers_spec.py``."""

import inspect
from functools import cache

import numpy as np
import pytest

from sgdnoise import Optimizer, load_fashion
from sgdnoise.testing import LawError, check_gradient, check_optimizer, check_sampler


@pytest.fixture(scope="module", autouse=True)
def frameworks():
    """Import them when a test runs: pytest reads this file for doctests, and the tests of the package do without."""
    global jax, jnp, optax, torch
    import jax
    import jax.numpy as jnp
    import optax
    import torch

    jax.config.update("jax_enable_x64", True)


DTYPES = pytest.mark.parametrize("dtype", [np.float64, np.float32])


def from_torch(make):
    def init(params):
        w = torch.tensor(params, requires_grad=True)
        return w, make([w])

    def update(gradient, state, learning_rate):
        w, optimizer = state
        before = w.detach().clone()
        optimizer.param_groups[0]["lr"] = learning_rate
        w.grad = torch.tensor(gradient)
        optimizer.step()
        return (w.detach() - before).numpy(), state

    return Optimizer(init, update)


def from_optax(transform):
    """From a transformation made with a learning rate of 1."""
    compiled = jax.jit(transform.update)

    def update(gradient, state, learning_rate):
        step, state = compiled(jnp.asarray(gradient), state)
        return learning_rate * np.asarray(step), state

    return Optimizer(lambda params: transform.init(jnp.asarray(params)), update)


def torch_sgd(**options):
    return lambda momentum, nesterov: from_torch(
        lambda w: torch.optim.SGD(w, lr=1.0, momentum=momentum, nesterov=nesterov and momentum > 0, **options)
    )


def torch_adam(name="Adam", **options):
    return lambda b1, b2, eps: from_torch(lambda w: getattr(torch.optim, name)(w, lr=1.0, betas=(b1, b2), eps=eps, **options))


SHAPES = ((5,), (2, 3), ())


def test_adapters_are_short():
    for adapter in (from_torch, from_optax):
        lines = inspect.getsource(adapter).splitlines()
        assert sum(bool(line.strip()) for line in lines) <= 12


@DTYPES
@pytest.mark.parametrize("options", [{}, {"foreach": True}])
def test_torch(dtype, options):
    assert len(check_optimizer(torch_sgd(**options), dtype=dtype, shapes=SHAPES)) == 8
    assert len(check_optimizer(torch_adam(**options), dtype=dtype, shapes=SHAPES)) == 7


@DTYPES
def test_optax(dtype):
    sgd = cache(lambda momentum, nesterov: from_optax(optax.sgd(1.0, momentum, nesterov)))
    assert len(check_optimizer(sgd, dtype=dtype, shapes=SHAPES)) == 8
    adam = cache(lambda b1, b2, eps: from_optax(optax.adam(1.0, b1, b2, eps)))
    assert len(check_optimizer(adam, dtype=dtype, shapes=SHAPES)) == 7


@DTYPES
@pytest.mark.parametrize(
    ("factory", "law", "name"),
    [
        (
            lambda momentum: from_torch(lambda w: torch.optim.SGD(w, lr=1.0, momentum=momentum, dampening=0.25)),
            "each gradient enters with weight 1",
            "dampening: the first gradient enters with weight 1, later ones with 0.75",
        ),
        (torch_adam(amsgrad=True), "the path is that of bias-corrected weighted means", "AMSGrad"),
        (
            cache(lambda b1, b2, eps: from_optax(optax.adam(1.0, b1, b2, eps=0.0, eps_root=eps))),
            "eps stands outside the root",
            "Adam with eps inside the root",
        ),
        (
            lambda b1, b2, eps: from_optax(optax.chain(optax.scale_by_lion(b1, b2), optax.scale(-1.0))),
            "the path is that of bias-corrected weighted means",
            "Lion",
        ),
        (torch_adam("NAdam"), "the first step is the learning rate", ""),
        (torch_adam("RAdam"), "the first step is the learning rate", ""),
        (lambda momentum: from_optax(optax.ema(momentum)), "", ""),
    ],
    ids=["dampening", "amsgrad", "eps_root", "lion", "nadam", "radam", "ema"],
)
def test_variants_are_named(factory, law, name, dtype):
    with pytest.raises(LawError) as caught:
        check_optimizer(factory, dtype=dtype)
    assert law in caught.value.law
    assert name in caught.value.hint


# Gradients by automatic differentiation.


class TorchModel:
    """Cross-entropy of a two-layer network on one flat vector."""

    n_features, n_classes = 6, 3
    n_params = 6 * 8 + 8 + 8 * 3

    def __init__(self, **options):
        self.options = options

    def _loss(self, w, X, y, l2):
        hidden = torch.relu(torch.as_tensor(X) @ w[:48].reshape(6, 8) + w[48:56])
        loss = torch.nn.functional.cross_entropy(hidden @ w[56:].reshape(8, 3), torch.as_tensor(y), **self.options)
        return loss + l2 / 2 * w @ w

    def loss(self, params, X, y, l2):
        return self._loss(torch.tensor(params), X, y, l2).item()

    def gradient(self, params, X, y, l2):
        w = torch.tensor(params, requires_grad=True)
        self._loss(w, X, y, l2).backward()
        return w.grad.numpy()


@DTYPES
def test_torch_gradients(dtype):
    assert len(check_gradient(TorchModel(), dtype=dtype)) == 6
    images = load_fashion(500)
    data = images.X_train.reshape(-1, 14, 14)[:, ::6, ::7].reshape(-1, 6), images.y_train % 3
    assert len(check_gradient(TorchModel(), data=data, dtype=dtype)) == 6


@DTYPES
@pytest.mark.parametrize(
    ("options", "law"),
    [
        ({"weight": [1.0, 3.0, 0.5]}, "the gradient of a batch is the mean of its examples' gradients"),
        ({"ignore_index": 2}, "the gradient of a batch is the mean of its examples' gradients"),
        ({"reduction": "sum"}, "the loss is a mean: examples given twice change nothing"),
    ],
    ids=["weight", "ignore_index", "sum"],
)
def test_losses_of_torch_that_are_no_mean_over_the_examples(options, law, dtype):
    if "weight" in options:
        options = {"weight": torch.tensor(options["weight"], dtype=torch.from_numpy(np.zeros(1, dtype)).dtype)}
    with pytest.raises(LawError) as caught:
        check_gradient(TorchModel(**options), dtype=dtype)
    assert caught.value.law == law


# Samplers.


def sampler(drop_last, **options):
    def epoch(n, b, rng):
        generator = torch.Generator().manual_seed(int(rng.integers(2**60)))
        chosen = torch.utils.data.RandomSampler(range(n), generator=generator, **options)
        return torch.utils.data.BatchSampler(chosen, b, drop_last)

    return epoch


@pytest.mark.parametrize("drop_last", [True, False])
def test_torch_samplers(drop_last):
    assert len(check_sampler(sampler(drop_last), drop_last=drop_last)) == 11
    replaced = sampler(drop_last, replacement=True)
    assert len(check_sampler(replaced, sampling="with_replacement", drop_last=drop_last)) == 9


def test_a_loader_of_torch():
    def epoch(n, b, rng):
        generator = torch.Generator().manual_seed(int(rng.integers(2**60)))
        return torch.utils.data.DataLoader(torch.arange(n), b, shuffle=True, generator=generator)

    with pytest.raises(LawError, match="looks like: what drop_last=False checks"):
        check_sampler(epoch)
