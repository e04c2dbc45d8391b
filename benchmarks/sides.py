"""Ways to make the same updates of a softmax classifier: ours, the peers', and the matrix products alone.

Each function takes a `Problem` and returns a `Side`. Peers are imported inside, so that one that is missing is missing alone.
The gather of the minibatches is part of every side but the matrix products'.
"""

from collections.abc import Callable, Mapping
from functools import lru_cache, partial
from typing import Any, NamedTuple

import numpy as np
from timing import check_agreement

from sgdnoise import MLP, Dataset, fast, load_fashion, sgd

MOMENTUM = 0.9
L2 = 1e-4
LEARNING_RATE = 0.01
CHECKED_UPDATES = 20


class Problem(NamedTuple):
    """A model, its parameters, data, and the indices of the minibatches: the same for all sides."""

    model: MLP
    params: np.ndarray  # (n_replicas, n_params), float32
    X: np.ndarray
    y: np.ndarray
    batches: np.ndarray  # int, (n_replicas, n_updates, batch_size)


class Side(NamedTuple):
    """Makes the updates of a problem, going on from where it is; says where the parameters are, one row per replica."""

    run: Callable[[], object]
    params: Callable[[], np.ndarray]


def problem(hidden: tuple[int, ...], batch_size: int, n_replicas: int = 1, n_updates: int = CHECKED_UPDATES) -> Problem:
    """Build a problem on the bundled data: all 50000 images, or 10000 for replicas, of which some sides copy the data each."""
    data = _data(50_000 if n_replicas == 1 else 10_000)
    model = MLP(data.n_features, hidden, data.n_classes)
    params = np.stack([model.init(i, np.float32) for i in range(n_replicas)])
    rng = np.random.default_rng(0)
    batches = rng.integers(len(data.X_train), size=(n_replicas, n_updates, batch_size))
    return Problem(model, params, data.X_train, data.y_train.astype(np.int64), batches)


@lru_cache
def _data(n_train: int) -> Dataset:
    return load_fashion(n_train)


def fast_path(p: Problem) -> Side:
    """`sgdnoise.fast`, all replicas at once."""
    trainer = fast.Trainer(p.model, p.X, p.y, sgd(MOMENTUM), p.params, l2=L2)
    return Side(lambda: trainer.run(p.batches, LEARNING_RATE), lambda: trainer.params)


def fast_one_by_one(p: Problem) -> Side:
    """`sgdnoise.fast`, one replica after another."""
    sides = [fast_path(p._replace(params=p.params[i : i + 1], batches=p.batches[i : i + 1])) for i in range(len(p.params))]

    def run() -> None:
        for side in sides:
            side.run()

    return Side(run, lambda: np.concatenate([side.params() for side in sides]))


def reference(p: Problem) -> Side:
    """The lines of `sgdnoise.train`."""
    optimizer = sgd(MOMENTUM)
    params = list(p.params)
    states = [optimizer.init(w) for w in params]

    def run() -> None:
        for i, batches in enumerate(p.batches):
            for batch in batches:
                _, gradient = p.model.loss_and_gradient(params[i], p.X[batch], p.y[batch], L2)
                step, states[i] = optimizer.update(gradient, states[i], LEARNING_RATE)
                params[i] = params[i] + step

    return Side(run, lambda: np.array(params))


def matrix_products(p: Problem) -> Callable[[], object]:
    """The matrix products of the updates alone, on data that is gathered, into buffers that are there.

    Forward ``h W``, and backward ``h' d`` and (but for the first layer) ``d W'``: five for one hidden layer, two for none.
    """
    n_replicas, n_updates, n = p.batches.shape
    layers = [weights for weights, _ in p.model.unpack(p.params)]
    shapes = [w.shape[1:] for w in layers]
    h = [p.X[p.batches[:, 0]], *(np.ones((n_replicas, n, n_out), np.float32) for _, n_out in shapes[:-1])]
    z = [np.ones((n_replicas, n, n_out), np.float32) for _, n_out in shapes]
    d_weights, d_hidden = [np.empty_like(w) for w in layers], [np.empty_like(x) for x in h]
    if n_replicas == 1:  # plain matrices go to BLAS with the least ado
        layers, h, z, d_weights, d_hidden = ([a[0] for a in arrays] for arrays in (layers, h, z, d_weights, d_hidden))

    def run() -> None:
        for _ in range(n_updates):
            for x, w, out in zip(h, layers, z, strict=True):
                np.matmul(x, w, out=out)
            for i in reversed(range(len(layers))):
                np.matmul(h[i].swapaxes(-1, -2), z[i], out=d_weights[i])
                if i:
                    np.matmul(z[i], layers[i].swapaxes(-1, -2), out=d_hidden[i])

    return run


def gather(p: Problem) -> Callable[[], object]:
    """The fetching of the minibatches' rows from all over the data alone, into one buffer."""
    out = np.empty((len(p.batches), p.batches.shape[2], p.X.shape[1]), np.float32)

    def run() -> None:
        for i in range(p.batches.shape[1]):
            p.X.take(p.batches[:, i], axis=0, out=out, mode="clip")

    return run


def torch_eager(p: Problem) -> Side:
    """PyTorch, eager, in its quickest form: plain functions instead of modules, and the fused optimizer."""
    import torch
    from torch.nn.functional import cross_entropy

    torch.set_num_threads(1)
    layers = [[torch.tensor(a) for a in layer] for layer in p.model.unpack(p.params[0])]
    for a in (a for layer in layers for a in layer):
        a.requires_grad_()
    groups = [{"params": [w for w, _ in layers], "weight_decay": L2}, {"params": [b for _, b in layers]}]
    optimizer = torch.optim.SGD(groups, lr=LEARNING_RATE, momentum=MOMENTUM, fused=True)
    X, y, batches = torch.from_numpy(p.X), torch.from_numpy(p.y), list(torch.from_numpy(p.batches[0]))

    def run() -> None:
        for batch in batches:
            h = X.index_select(0, batch)
            for weights, biases in layers[:-1]:
                h = torch.addmm(biases, h, weights).relu()
            loss = cross_entropy(torch.addmm(layers[-1][1], h, layers[-1][0]), y.index_select(0, batch))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()

    return Side(run, lambda: np.concatenate([a.detach().numpy().ravel() for layer in layers for a in layer])[None])


def sklearn(p: Problem) -> Side:
    """scikit-learn: `partial_fit` of all minibatches in one call, in the order in which they are handed over."""
    from sklearn.neural_network import MLPClassifier

    rows = p.batches[0].ravel()
    n = p.batches.shape[2]
    classifier = MLPClassifier(
        p.model.hidden_layer_sizes,
        solver="sgd",
        alpha=L2 * n,  # it divides by the batch size
        batch_size=n,
        learning_rate_init=LEARNING_RATE,
        momentum=MOMENTUM,
        nesterovs_momentum=False,
        shuffle=False,
    )
    classifier.partial_fit(p.X[:n], p.y[:n], classes=np.arange(p.model.n_classes))  # it makes its parameters here
    parts = [(classifier.coefs_[i], classifier.intercepts_[i]) for i in range(len(classifier.coefs_))]
    for ours, theirs in zip(p.model.unpack(p.params[0]), parts, strict=True):
        for a, b in zip(ours, theirs, strict=True):
            b[:] = a
    for velocity in classifier._optimizer.velocities:
        velocity[:] = 0

    def params() -> np.ndarray:
        return np.concatenate([a.ravel() for layer in parts for a in layer])[None]

    return Side(lambda: classifier.partial_fit(p.X[rows], p.y[rows]), params)


def jax_step(p: Problem) -> Side:
    """JAX: one update, jitted, with its parameters donated, called in a loop; over replicas by `vmap`."""
    import jax

    update, X, y, batches, carry = _jax(p)
    jitted = jax.jit(update, donate_argnums=(0,))
    by_update = [batches[..., i, :] for i in range(p.batches.shape[1])]

    def run() -> None:
        for batch in by_update:
            carry[0] = jitted(carry[0], batch, X, y)
        jax.block_until_ready(carry[0])

    return Side(run, partial(_jax_params, carry, p))


def jax_scan(p: Problem) -> Side:
    """JAX: all updates in one compiled loop; over replicas by `vmap`."""
    import jax

    update, X, y, batches, carry = _jax(p)
    over_updates = batches.swapaxes(0, -2) if batches.ndim == 3 else batches

    def all_updates(start: Any, batches: Any, X: Any, y: Any) -> Any:
        return jax.lax.scan(lambda c, batch: (update(c, batch, X, y), None), start, batches)[0]

    jitted = jax.jit(all_updates, donate_argnums=(0,))

    def run() -> None:
        carry[0] = jax.block_until_ready(jitted(carry[0], over_updates, X, y))

    return Side(run, partial(_jax_params, carry, p))


def _jax(p: Problem) -> Any:
    """Return the update ``(carry, batch, X, y) -> carry``, X, y, the minibatches, and a list that holds the carry."""
    import jax
    import jax.numpy as jnp

    def loss(layers: Any, X: Any, y: Any) -> Any:
        h = X
        for weights, biases in layers[:-1]:
            h = jax.nn.relu(h @ weights + biases)
        logits = jax.nn.log_softmax(h @ layers[-1][0] + layers[-1][1])
        penalty = 0.5 * L2 * sum(jnp.vdot(w, w) for w, _ in layers)
        return penalty - jnp.take_along_axis(logits, y[:, None], axis=1).mean()

    def update(carry: Any, batch: Any, X: Any, y: Any) -> Any:
        layers, traces = carry
        rows = [a.at[batch].get(mode="promise_in_bounds") for a in (X, y)]
        gradient = jax.grad(loss)(layers, *rows)
        traces = jax.tree.map(lambda a, g: MOMENTUM * a + g, traces, gradient)
        return jax.tree.map(lambda w, a: w - LEARNING_RATE * a, layers, traces), traces

    batches = jnp.asarray(p.batches.astype(np.int32))
    layers = [tuple(jnp.array(a) for a in layer) for layer in p.model.unpack(p.params)]
    if len(p.params) == 1:
        batches = batches[0]
        layers = [tuple(a[0] for a in layer) for layer in layers]
    else:
        update = jax.vmap(update, in_axes=(0, 0, None, None))
    start = (layers, jax.tree.map(jnp.zeros_like, layers))
    return update, jnp.asarray(p.X), jnp.asarray(p.y.astype(np.int32)), batches, [start]


def _jax_params(carry: list[Any], p: Problem) -> np.ndarray:
    arrays = [np.asarray(a) for layer in carry[0][0] for a in layer]
    return np.concatenate([a.reshape(len(p.params), -1) for a in arrays], axis=1)


def check(p: Problem, sides: Mapping[str, Callable[[Problem], Side]]) -> None:
    """Raise `DisagreementError` unless all sides take the parameters where the reference takes them."""
    p = p._replace(batches=p.batches[:, :CHECKED_UPDATES])
    ends = {}
    for name, make in {"reference": reference, **sides}.items():
        side = make(p)
        side.run()
        ends[name] = side.params()
    check_agreement(p.params, ends)


def network(p: Problem) -> str:
    """Name the architecture, for instance 196-128-10."""
    return "-".join(map(str, (p.model.n_features, *p.model.hidden_layer_sizes, p.model.n_classes)))
