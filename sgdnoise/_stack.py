"""A stack of replicas of a model: forward and backward pass for all of them at once, in buffers made once.

The equations are those of `models`, with a leading axis of R replicas. With h_0 the inputs x, and layers l = 1 .. L::

    z_l = h_(l-1) W_l + b_l,   h_l = relu(z_l) or tanh(z_l),   h_L = z_L the logits
    p = softmax(h_L),          loss = log(sum_k exp h_Lk) - h_Ly
    d_L = weight (p - onehot(y)),     weight = 1/B
    dW_l = h_(l-1)' d_l,  db_l = sum of d_l's rows,  d_(l-1) = (d_l W_l') slope(h_(l-1))

What differs is how they are stored, for n rows of each replica's minibatch (``Buffers``):

================  ==========================  =====================================================================
here              shape                       in `models`
================  ==========================  =====================================================================
``layers[l]``     (R, n_in + 1, n_out)        [W; b], a view of the parameters: the bias is the last row
``inputs[i]``     (R, n, n_features + 1)      [x, 1], gathered; the 1 multiplies the bias, so that b and db need no pass
``hidden[l]``     (R, n, n_out + 1)           [h, 1]; ``units`` is h alone, ``hidden_t`` the transpose
``deltas[l]``     (R, n, n_out + 1)           [d, anything]; ``unit_deltas`` is d alone
``logits``        (R, n_classes, n)           h_L transposed, then p, then d_L, all in one place
``p``, ``flat``   (n_classes, R n), (all,)    the same memory: classes first, so that softmax runs along the long axis
``labels``        (n_updates, R n)            where h_Ly stands in ``flat``
================  ==========================  =====================================================================
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.linalg.blas import get_blas_funcs

from . import _checks as check
from ._in_place import at_work

if TYPE_CHECKING:
    from .models import MLP
    from .optimizers import Optimizer


def swap(matrices: np.ndarray) -> np.ndarray:
    """Transpose each matrix of a stack."""
    return matrices.swapaxes(-1, -2)


def layers_of(model: MLP, params: np.ndarray) -> list[np.ndarray]:
    """View parameters of shape (n_replicas, n_params) as one matrix [W; b] a layer, of shape (n_replicas, n_in + 1, n_out)."""
    layers, start = [], 0
    for n_in, n_out in model.layer_shapes:
        stop = start + (n_in + 1) * n_out
        layers.append(params[:, start:stop].reshape(len(params), n_in + 1, n_out))
        start = stop
    return layers


GATHERED = 256
"""Examples that are gathered at a time: few, so that they are still in the cache when they are used."""


class Buffers:
    """Room for the minibatches of a few updates and for one pass over a minibatch, made once for a batch size.

    Parameters
    ----------
    model : MLP
        Gives the layers' sizes and the activation.
    n_updates, n_replicas, n_rows : int
        Minibatches whose labels and losses are kept, R, and n.
    dtype : dtype
        Of the computation.
    """

    def __init__(self, model: MLP, n_updates: int, n_replicas: int, n_rows: int, dtype: Any) -> None:
        sizes = [n_out for _, n_out in model.layer_shapes[:-1]]
        self.tanh = model.activation == "tanh"
        n_gathered = max(1, min(n_updates, GATHERED // (n_replicas * n_rows)))
        self.inputs = np.empty((n_gathered, n_replicas, n_rows, model.n_features + 1), dtype)
        # Hidden layers end in a column of ones, for the biases of the next. Passes run over that column, too: whole arrays are
        # quicker than views that leave out a column, and relu keeps a 1.
        self.hidden = [np.ones((n_replicas, n_rows, n + 1), dtype) for n in sizes]
        self.deltas = [np.empty_like(h) for h in self.hidden]
        self.slopes = [np.empty_like(h, dtype if self.tanh else bool) for h in self.hidden]
        self.zeros = [np.zeros_like(h) for h in self.hidden]  # NumPy's maximum of two arrays is three times as quick as with 0
        self.units = [h[:, :, :-1] for h in self.hidden]
        self.unit_deltas = [delta[:, :, :-1] for delta in self.deltas]
        self.hidden_t = [swap(h) for h in self.hidden]
        # Classes by (replicas and examples): softmax is along the first axis, and each replica's logits are still a matrix.
        logits = np.empty((model.n_classes, n_replicas, n_rows), dtype)
        self.logits = logits.swapaxes(0, 1)
        self.logits_t = swap(self.logits)
        self.p, self.flat = logits.reshape(model.n_classes, -1), logits.reshape(-1)
        self.top = np.empty(n_replicas * n_rows, dtype)
        self.labels = np.empty((n_updates, n_replicas * n_rows), np.intp)
        self.offsets = np.arange(n_replicas * n_rows).reshape(n_replicas, n_rows)
        self.picked = np.empty(self.labels.shape, dtype)
        self.sums = np.empty(self.labels.shape, dtype)

    def find_labels(self, y: np.ndarray, index: np.ndarray) -> None:
        """Find where in `flat` the class of each example of `index`, of shape (n_updates, n_replicas, n_rows), stands."""
        labels = self.labels[: len(index)].reshape(index.shape)
        y.take(index, out=labels, mode="clip")  # clip: with "raise" NumPy would buffer the output
        np.multiply(labels, self.offsets.size, out=labels)
        np.add(labels, self.offsets, out=labels)

    def gather(self, X: np.ndarray, index: np.ndarray, i: int) -> None:
        """Have the i-th minibatch of `index` in `inputs`: some small ones are fetched at a time, for the call's sake."""
        n = len(self.inputs)
        if i % n == 0:
            rows = index[i : i + n]
            X.take(rows, axis=0, out=self.inputs[: len(rows)], mode="clip")

    def losses(self, n_updates: int) -> np.ndarray:
        """Cross-entropy of the last `n_updates` passes, summed over the rows, of shape (n_updates, n_replicas)."""
        values = np.log(self.sums[:n_updates]) - self.picked[:n_updates]
        summed: np.ndarray = values.reshape(n_updates, *self.offsets.shape).sum(axis=2, dtype=float)
        return summed


class Stack:
    """A stack of replicas: views of their parameters, their gradient, and the optimizer at work on them."""

    def __init__(self, model: MLP, params: np.ndarray, optimizer: Optimizer, l2: float) -> None:
        self.params, self.l2 = params, l2
        self.flat = params.reshape(-1)
        self.layers = layers_of(model, params)
        self.layers_t = [swap(layer) for layer in self.layers]
        self.weights = [layer[:, :-1].reshape(len(params), -1) for layer in self.layers]
        position = np.arange(params.size).reshape(params.shape)
        self.biases = np.concatenate([layer[:, -1] for layer in layers_of(model, position)], axis=1)
        self.kept = np.empty(self.biases.shape, params.dtype)
        self.gradient = np.empty_like(params)
        self.part = np.empty_like(params)
        self.views = {id(array): layers_of(model, array) for array in (self.gradient, self.part)}
        self.model = model
        self.axpy = get_blas_funcs("axpy", dtype=params.dtype)
        self.optimizer = at_work(optimizer, params)

    def add_gradient(self, buffers: Buffers, i: int, weight: np.floating, *, fresh: bool) -> None:
        """Backpropagate the i-th minibatch in the buffers, each row with `weight`, into the gradient."""
        if fresh:
            self._backpropagate(buffers, i, weight, self._view(self.gradient))
        else:
            self._backpropagate(buffers, i, weight, self._view(self.part))
            np.add(self.gradient, self.part, out=self.gradient)

    def _view(self, gradient: np.ndarray) -> list[np.ndarray]:
        """Return the gradient as matrices; optimizers may trade one array for another, and there are two or three in all."""
        views = self.views.get(id(gradient))
        if views is None:
            views = self.views[id(gradient)] = layers_of(self.model, gradient)
        return views

    def _backpropagate(self, b: Buffers, i: int, weight: np.floating, gradient: list[np.ndarray]) -> None:
        p, top, sums, labels, layers_t = b.p, b.top, b.sums[i], b.labels[i], self.layers_t
        h = b.inputs[i % len(b.inputs)]
        h_t = inputs_t = swap(h)
        # forward: z_l = [h, 1] [W; b], h_l = relu(z_l) or tanh(z_l)
        for layer, units, z, z_t, zeros in zip(self.layers, b.units, b.hidden, b.hidden_t, b.zeros, strict=False):
            np.matmul(h, layer, units)
            if b.tanh:
                np.tanh(units, units)
            else:
                np.maximum(z, zeros, out=z)
            h, h_t = z, z_t
        np.matmul(layers_t[-1], h_t, b.logits)  # logits' = [W; b]' [h, 1]'
        # loss = log(sum exp(z - max z)) - (z_y - max z)
        np.maximum.reduce(p, axis=0, out=top)
        np.subtract(p, top, p)
        b.flat.take(labels, None, b.picked[i], "clip")
        np.exp(p, p)
        np.add.reduce(p, axis=0, out=sums)
        # d_L = weight (softmax - onehot(y))
        np.divide(weight, sums, top)
        np.multiply(p, top, p)
        b.flat[labels] -= weight
        # backward: [dW; db]_l = [h, 1]' d_l, d_(l-1) = (d_l W_l') slope, with 1 - h^2 for tanh and h > 0 for relu
        np.matmul(h_t, b.logits_t, gradient[-1])
        above = b.logits_t
        for n in range(len(b.hidden) - 1, -1, -1):
            h, delta, slope = b.hidden[n], b.deltas[n], b.slopes[n]
            np.matmul(above, layers_t[n + 1], delta)
            if b.tanh:
                np.multiply(h, h, slope)
                np.subtract(1, slope, slope)
            else:
                np.greater(h, b.zeros[n], slope)
            np.multiply(delta, slope, delta)
            above = b.unit_deltas[n]
            np.matmul(b.hidden_t[n - 1] if n else inputs_t, above, gradient[n])

    def penalty(self) -> np.ndarray:
        """L2 term of every replica's loss; biases have none."""
        squares: np.ndarray = sum(np.vecdot(weights, weights) for weights in self.weights)
        return self.l2 / 2 * squares

    def update(self, learning_rate: float) -> None:
        """Add the gradient of the L2 term, and hand the sum to the optimizer."""
        if self.l2:
            gradient = self.gradient.reshape(-1)
            gradient.take(self.biases, out=self.kept, mode="clip")
            self.axpy(self.flat, gradient, a=self.l2)
            gradient[self.biases] = self.kept
        self.gradient = self.optimizer.advance(self.gradient, learning_rate)

    def save(self) -> Any:
        """Copy parameters and optimizer state."""
        return self.params.copy(), self.optimizer.save()

    def load(self, saved: Any) -> None:
        """Go back to what was saved."""
        params, state = check.two("saved", saved, "from save()")
        params = check.floats("saved[0]", params, self.params)
        self.optimizer.load(state)
        self.params[:] = params
