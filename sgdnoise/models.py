"""Softmax classifiers on one flat parameter vector: the multilayer perceptron, and logistic regression, which is the
perceptron without hidden layers.

With h_0 = X the forward pass is, for layers l = 1 .. L::

    z_l = h_{l-1} W_l + b_l,    h_l = phi(z_l) for l < L,    p = softmax(z_L)

and the loss is the mean cross-entropy of the n examples plus an L2 term on the weights alone::

    loss = -1/n sum_i log p_i[y_i] + l2/2 sum_l |W_l|^2.

Backpropagation starts from d_L = (p - onehot(y))/n, the derivative by z_L, and goes down::

    dloss/dW_l = h_{l-1}' d_l + l2 W_l,    dloss/db_l = sum_i d_l,    d_{l-1} = (d_l W_l') phi'(z_{l-1}).

The Hessian-vector product differentiates exactly these lines along a direction v (Pearlmutter's R operator): it costs about
two gradients, and no P x P matrix is formed.

References
----------
B. A. Pearlmutter, "Fast Exact Multiplication by the Hessian", Neural Computation 6, 1994.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, cast

import numpy as np

from . import _checks as check

Layers = list[tuple[np.ndarray, np.ndarray]]
"""Weights and biases of each layer."""

ACTIVATIONS = ("relu", "tanh")

_OVERFLOW = np.errstate(over="ignore", invalid="ignore")  # shows in the result

_EVALUATION_CHUNK = 1000  # rows per pass of `evaluate`: bounds its memory, and the activations stay in cache

_ROWS_IN_FLOAT32 = 8192  # above every usual minibatch; a float32 sum over 1e6 rows can lose all but two digits
_ROWS_OF_A_PART = 1024


@dataclass(frozen=True)
class MLP:
    """Multilayer perceptron with a softmax output and cross-entropy loss.

    Holds the architecture only; parameters are one flat vector that every method takes, so that optimizers, samplers and
    physics see a point in R^P.

    Parameters
    ----------
    n_features : int
        Number of inputs.
    hidden_layer_sizes : sequence of int
        Units of each hidden layer; empty for logistic regression.
    n_classes : int
        Number of classes, at least 2.
    activation : {"relu", "tanh"}, default "relu"
        The papers' networks use relu; tanh has a smooth Hessian.

    Notes
    -----
    The methods share these arguments::

        params  (n_params,), float32 or float64   W_1 (row by row, n_in x n_out), b_1, W_2, b_2, ...
        X       (n, n_features), likewise         the examples
        y       (n,), int                         their classes, from 0 to n_classes - 1
        l2      a number of at least 0            coefficient of |weights|^2 / 2; default 0

    They compute in float32 or float64, as the parameters are; means over more than 8192 examples are added up in float64, part
    by part, and then rounded. Everything here refuses what is of the wrong type (`TypeError`), and a wrong shape, no rows,
    features that are not finite, or a number or label out of range (`ValueError`). Parameters may be infinite or NaN, and what
    follows from them is, so that training which diverged can be seen: the accuracy is NaN where the loss is, and the predicted
    class is -1 where the largest logit is not finite.

    Convention: the loss is the MEAN over the examples plus ``l2 / 2 * |weights|^2``. The L2 term leaves the biases out and
    does not depend on the batch size. The papers' cost C is the SUM.

    References
    ----------
    Tutorial 4, ``tutorials/04_dont_decay.md``.

    Examples
    --------
    >>> model = MLP(196, (128,), 10)
    >>> model.n_params
    26506
    >>> params = model.init(rng=0)
    >>> X, y = np.zeros((5, 196)), np.arange(5)
    >>> round(model.loss(params, X, y), 4)  # all biases are 0: log(10)
    2.3026
    """

    n_features: int
    hidden_layer_sizes: tuple[int, ...]
    n_classes: int
    activation: str = "relu"

    def __post_init__(self) -> None:
        """Check the architecture."""
        sizes = check.sequence("hidden_layer_sizes", self.hidden_layer_sizes, "integers", hint="for one layer write (128,)")
        check.integer("n_features", self.n_features)
        check.integer("n_classes", self.n_classes, 2)
        check.choice("activation", self.activation, ACTIVATIONS)
        object.__setattr__(self, "hidden_layer_sizes", tuple(check.integer("hidden_layer_sizes", n) for n in sizes))

    @property
    def layer_shapes(self) -> list[tuple[int, int]]:
        """Shape (n_in, n_out) of each layer's weights."""
        sizes = [self.n_features, *self.hidden_layer_sizes, self.n_classes]
        return list(pairwise(sizes))

    @property
    def n_params(self) -> int:
        """Length P of the parameter vector."""
        return sum((n_in + 1) * n_out for n_in, n_out in self.layer_shapes)

    def init(self, rng: check.Seed = None, dtype: Any = float) -> np.ndarray:
        """Draw initial parameters, of shape (n_params,) and dtype float64 or float32.

        Weights are normal with variance 2/n_in before a relu (He) and 1/n_in otherwise; biases are 0. `rng` is handed to
        `numpy.random.default_rng`.
        """
        dtype, rng = check.precision("dtype", dtype), check.generator(rng)
        params = np.zeros(self.n_params, dtype)
        layers = self.unpack(params)
        for i, (weights, _) in enumerate(layers):
            before_relu = self.activation == "relu" and i < len(layers) - 1
            weights[:] = rng.standard_normal(weights.shape) * np.sqrt((2 if before_relu else 1) / weights.shape[0])
        return params

    def unpack(self, params: np.ndarray) -> Layers:
        """View a flat vector as the weights and biases of each layer.

        Parameters
        ----------
        params : ndarray of shape (..., n_params)
            One vector, or any stack of them.

        Returns
        -------
        list of (weights, biases)
            Of shapes (..., n_in, n_out) and (..., n_out): views, so that writing to them writes to `params`.
        """
        if not check.plain_array(params):
            raise TypeError(f"params must be a plain array, got {type(params).__name__}")
        if params.shape[-1:] != (self.n_params,):
            raise ValueError(f"params must have a last axis of n_params={self.n_params}, got shape {params.shape}")
        layers, start, stack = [], 0, params.shape[:-1]
        for n_in, n_out in self.layer_shapes:
            weights = params[..., start : start + n_in * n_out].reshape(*stack, n_in, n_out)
            start += n_in * n_out
            layers.append((weights, params[..., start : start + n_out]))
            start += n_out
        return layers

    @_OVERFLOW
    def logits(self, params: np.ndarray, X: np.ndarray) -> np.ndarray:
        """Return z_L, the inputs of the softmax, of shape (n, n_classes): log-probabilities up to a constant in each row."""
        self._check(params, X)
        return self._forward(self.unpack(params), X)[-1]

    def predict(self, params: np.ndarray, X: np.ndarray) -> np.ndarray:
        """Return the most probable class of each example, of shape (n,): 0 to n_classes - 1, or -1 (see the class)."""
        logits = self.logits(params, X)
        classes: np.ndarray = np.where(np.isfinite(logits.max(axis=1)), logits.argmax(axis=1), -1)
        return classes

    @_OVERFLOW
    def evaluate(self, params: np.ndarray, X: np.ndarray, y: np.ndarray) -> tuple[float, float]:
        """Return the mean cross-entropy, in nats and without the L2 term, and the fraction predicted right.

        One pass, with bounded memory.
        """
        self._check_labelled(params, X, y)
        layers = self.unpack(params)
        loss, n_right = 0.0, 0
        for start in range(0, len(X), _EVALUATION_CHUNK):
            rows = slice(start, start + _EVALUATION_CHUNK)
            logits = self._forward(layers, X[rows])[-1]
            n_right += int(np.count_nonzero(logits.argmax(axis=1) == y[rows]))
            loss += float(_cross_entropy(logits, y[rows])[0].sum(dtype=np.float64))
        return loss / len(X), math.nan if math.isnan(loss) else n_right / len(X)

    def accuracy(self, params: np.ndarray, X: np.ndarray, y: np.ndarray) -> float:
        """Return the fraction of examples predicted right, from 0 to 1."""
        return self.evaluate(params, X, y)[1]

    @_OVERFLOW
    def loss(self, params: np.ndarray, X: np.ndarray, y: np.ndarray, l2: float = 0.0) -> float:
        """Return the mean cross-entropy plus the L2 term, in nats."""
        l2 = float(check.number("l2", l2, at_least=0))
        return self.evaluate(params, X, y)[0] + self._penalty(self.unpack(params), l2)

    def gradient(self, params: np.ndarray, X: np.ndarray, y: np.ndarray, l2: float = 0.0) -> np.ndarray:
        """Return the gradient of the loss, of shape (n_params,), in the layout of `params`."""
        return self.loss_and_gradient(params, X, y, l2)[1]

    @_OVERFLOW
    def loss_and_gradient(self, params: np.ndarray, X: np.ndarray, y: np.ndarray, l2: float = 0.0) -> tuple[float, np.ndarray]:
        """Return what `loss` and `gradient` return, by backpropagation; the module's docstring has the equations."""
        self._check_labelled(params, X, y)
        l2 = float(check.number("l2", l2, at_least=0))
        loss, gradient = _mean(lambda X, y: self._loss_and_gradient(params, X, y, l2), params.dtype, X, y)
        return loss, gradient

    def _loss_and_gradient(self, params: np.ndarray, X: np.ndarray, y: np.ndarray, l2: float) -> tuple[float, np.ndarray]:
        layers = self.unpack(params)
        hidden = self._forward(layers, X)
        losses, delta = _cross_entropy(hidden.pop(), y)
        delta /= len(X)
        gradient = np.empty_like(params)
        for (weights, _), (d_weights, d_biases), h in self._downwards(layers, self.unpack(gradient), hidden):
            np.matmul(h.T, delta, out=d_weights)
            d_weights += l2 * weights
            delta.sum(axis=0, out=d_biases)
            if h is not X:
                delta = delta @ weights.T * self._slope(h)
        return float(losses.mean()) + self._penalty(layers, l2), gradient

    @_OVERFLOW
    def per_example_gradients(self, params: np.ndarray, X: np.ndarray, y: np.ndarray) -> np.ndarray:
        """Return the gradient of each example's own cross-entropy, of shape (n, n_params): row i is g_i.

        Takes n * n_params numbers of memory.

        Convention: without the L2 term, which belongs to no example. The mean of the rows is `gradient` with l2 = 0; their
        covariance is the F (or S) of the theory.
        """
        self._check_labelled(params, X, y)
        layers = self.unpack(params)
        hidden = self._forward(layers, X)
        delta = _cross_entropy(hidden.pop(), y)[1]
        gradients = np.empty((len(X), self.n_params), params.dtype)
        for (weights, _), (d_weights, d_biases), h in self._downwards(layers, self.unpack(gradients), hidden):
            np.multiply(h[:, :, None], delta[:, None, :], out=d_weights)
            d_biases[:] = delta
            if h is not X:
                delta = delta @ weights.T * self._slope(h)
        return gradients

    @_OVERFLOW
    def hessian_vector_product(
        self, params: np.ndarray, v: np.ndarray, X: np.ndarray, y: np.ndarray, l2: float = 0.0
    ) -> np.ndarray:
        """Return H v, the loss's Hessian times the vector `v`, exact and without forming H; both of shape (n_params,).

        The code is that of `loss_and_gradient`, each line followed by its derivative along v (named ..._v). At a kink of relu
        the one-sided derivative is taken, as in the gradient. Source: Pearlmutter, Neural Computation 6, 1994.
        """
        self._check_labelled(params, X, y)
        check.float_array("v", v, (self.n_params,))
        l2 = float(check.number("l2", l2, at_least=0))
        return _mean(lambda X, y: (0.0, self._hessian_vector_product(params, v, X, y, l2)), params.dtype, X, y)[1]

    def _hessian_vector_product(self, params: np.ndarray, v: np.ndarray, X: np.ndarray, y: np.ndarray, l2: float) -> np.ndarray:
        layers, directions = self.unpack(params), self.unpack(v)
        hidden = self._forward(layers, X)
        # Forward along v: h' = phi'(z) z', with z' = h' W + h V + c.
        h_v = np.zeros_like(X)
        hidden_v = [h_v]
        for (weights, _), (weights_v, biases_v), h, h_next in zip(layers, directions, hidden[:-1], hidden[1:], strict=True):
            h_v = h_v @ weights + h @ weights_v + biases_v
            if h_next is not hidden[-1]:
                h_v = h_v * self._slope(h_next)
            hidden_v.append(h_v)
        logits_v = hidden_v.pop()
        p = _cross_entropy(hidden.pop(), y)[1]
        delta = p / len(X)
        p[np.arange(len(y)), y] += 1
        delta_v = p * (logits_v - (p * logits_v).sum(axis=1, keepdims=True)) / len(X)
        product = np.empty_like(params)
        steps = self._downwards(layers, self.unpack(product), hidden)
        for ((weights, _), (d_weights, d_biases), h), (weights_v, _), h_v in zip(
            steps, directions[::-1], hidden_v[::-1], strict=True
        ):
            d_weights[:] = h_v.T @ delta + h.T @ delta_v + l2 * weights_v
            delta_v.sum(axis=0, out=d_biases)
            if h is not X:
                below, slope = delta @ weights.T, self._slope(h)
                delta_v = (delta_v @ weights.T + delta @ weights_v.T) * slope
                if self.activation == "tanh":
                    # phi''(z) z' = -2 h phi'(z) z' = -2 h h'; for relu phi'' is 0.
                    delta_v += below * -2 * h * h_v
                delta = below * slope
        return product

    def _forward(self, layers: Layers, X: np.ndarray) -> list[np.ndarray]:
        """Return [X, h_1, ..., logits]."""
        hidden = [X]
        for weights, biases in layers[:-1]:
            z = hidden[-1] @ weights
            z += biases
            hidden.append(np.maximum(z, 0, out=z) if self.activation == "relu" else np.tanh(z, out=z))
        hidden.append(hidden[-1] @ layers[-1][0] + layers[-1][1])
        return hidden

    def _downwards(
        self, layers: Layers, gradient: Layers, hidden: list[np.ndarray]
    ) -> Iterator[tuple[tuple[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray], np.ndarray]]:
        """From the last layer to the first: its parameters, their gradient, and its input."""
        return zip(layers[::-1], gradient[::-1], hidden[::-1], strict=True)

    def _slope(self, h: np.ndarray) -> np.ndarray:
        """phi'(z), as a function of h = phi(z)."""
        return h > 0 if self.activation == "relu" else 1 - h * h

    def _penalty(self, layers: Layers, l2: float) -> float:
        return 0.5 * l2 * sum(float(np.vdot(weights, weights)) for weights, _ in layers) if l2 else 0.0

    def _check(self, params: np.ndarray, X: np.ndarray) -> None:
        # Parameters may be infinite or NaN: that is how training finds out that it diverged.
        check.float_array("params", params, (self.n_params,), finite=False)
        check.float_array("X", X, ("n", self.n_features))

    def _check_labelled(self, params: np.ndarray, X: np.ndarray, y: np.ndarray) -> None:
        self._check(params, X)
        check.labels("y", y, len(X), self.n_classes)


class LogisticRegression(MLP):
    """Multinomial logistic regression: the `MLP` without hidden layers.

    Its loss is convex, and with ``l2 > 0`` strictly so in the weights.

    Parameters
    ----------
    n_features : int
        Number of inputs.
    n_classes : int, default 2
        Number of classes, at least 2.

    Notes
    -----
    Convention: softmax over all classes, even if there are only two; the usual sigmoid weights are then the difference of the
    two columns. Adding one number to all biases (or one vector to all columns of the weights) changes no probability.

    Examples
    --------
    >>> LogisticRegression(2).n_params
    6
    """

    def __init__(self, n_features: int, n_classes: int = 2) -> None:
        super().__init__(n_features, (), n_classes)

    def __repr__(self) -> str:
        """Return the call that makes this model."""
        return f"LogisticRegression({self.n_features}, {self.n_classes})"


def _mean(
    part: Callable[[np.ndarray, np.ndarray], tuple[float, np.ndarray]], dtype: np.dtype, X: np.ndarray, y: np.ndarray
) -> tuple[float, np.ndarray]:
    """Return part(X, y), a mean over the examples; of many in float32 as the mean over parts of them, added up in float64."""
    if len(X) <= _ROWS_IN_FLOAT32 or dtype == np.float64:
        return part(X, y)
    total, means = 0.0, np.zeros(())
    for start in range(0, len(X), _ROWS_OF_A_PART):
        rows = slice(start, start + _ROWS_OF_A_PART)
        number, values = part(X[rows], y[rows])
        weight = len(y[rows]) / len(X)
        total += weight * number
        means = means + np.multiply(values, weight, dtype=np.float64)
    return total, means.astype(dtype)


def _cross_entropy(logits: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Each example's -log p[y], and its derivative p - onehot(y) by the logits, which are overwritten."""
    rows = np.arange(len(y))
    logits -= logits.max(axis=1, keepdims=True)  # the largest exponent is 0: no overflow
    picked = logits[rows, y]
    p = np.exp(logits, out=logits)
    total = p.sum(axis=1)
    losses = np.log(total) - picked
    p /= total[:, None]
    p[rows, y] -= 1
    return cast(np.ndarray, losses), p
