"""The specification of gradients accepts right ones, kinks and all, and rejects known-wrong ones, each for its own law."""

from types import SimpleNamespace

import numpy as np
import pytest

from sgdnoise import MLP, LogisticRegression, load_fashion
from sgdnoise.testing import LawError, check_gradient


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("model", [MLP(3, (), 3), MLP(3, (5, 4), 3, "tanh"), MLP(3, (6,), 2, "relu"), LogisticRegression(4)])
def test_our_models(model, dtype):
    assert len(check_gradient(model, dtype=dtype)) == 9


# Known-wrong gradients.

MODEL = MLP(3, (4,), 2, "tanh")


def scaled_l2(l2, y):
    return l2 / len(y)


MODELS = {
    "a loss that is the sum": (
        SimpleNamespace(
            loss=lambda p, X, y, l2: (len(y) - 1) * MODEL.loss(p, X, y) + MODEL.loss(p, X, y, l2),
            gradient=lambda p, X, y, l2: (
                len(y) * MODEL.gradient(p, X, y) + MODEL.gradient(p, X, y, l2) - MODEL.gradient(p, X, y)
            ),
        ),
        "the loss is a mean: examples given twice change nothing",
    ),
    "the mean for every example": (
        SimpleNamespace(
            loss=MODEL.loss,
            gradient=MODEL.gradient,
            per_example_gradients=lambda p, X, y: np.tile(MODEL.gradient(p, X, y), (len(y), 1)),
        ),
        "each per-example gradient is the gradient of that example alone",
    ),
    "L2 divided by the batch size": (
        SimpleNamespace(
            loss=lambda p, X, y, l2: MODEL.loss(p, X, y, scaled_l2(l2, y)),
            gradient=lambda p, X, y, l2: MODEL.gradient(p, X, y, scaled_l2(l2, y)),
        ),
        "the L2 term does not depend on the batch size",
    ),
    "sum for the mean": (
        SimpleNamespace(loss=MODEL.loss, gradient=lambda p, X, y, l2: len(y) * MODEL.gradient(p, X, y, l2)),
        "the gradient is the derivative of the loss",
    ),
    "L2 forgotten": (
        SimpleNamespace(loss=MODEL.loss, gradient=lambda p, X, y, l2: MODEL.gradient(p, X, y)),
        "the gradient is the derivative of the loss",
    ),
    "per-example gradients divided by n": (
        SimpleNamespace(
            loss=MODEL.loss,
            gradient=MODEL.gradient,
            per_example_gradients=lambda p, X, y: MODEL.per_example_gradients(p, X, y) / len(y),
        ),
        "each per-example gradient is the gradient of that example alone",
    ),
    "Gauss-Newton for the Hessian": (
        SimpleNamespace(
            loss=MODEL.loss,
            gradient=MODEL.gradient,
            hessian_vector_product=lambda p, v, X, y, l2: (
                MODEL.per_example_gradients(p, X, y).T @ (MODEL.per_example_gradients(p, X, y) @ v) / len(y) + l2 * v
            ),
        ),
        "the Hessian-vector product is the derivative of the gradient",
    ),
}


@pytest.mark.parametrize("mutant", MODELS)
def test_wrong_gradients_are_rejected(mutant):
    model, law = MODELS[mutant]
    rng = np.random.default_rng(1)
    data = rng.standard_normal((6, 3)), rng.integers(2, size=6)
    model = SimpleNamespace(n_params=MODEL.n_params, **vars(model))
    with pytest.raises(LawError) as caught:
        check_gradient(model, data=data)
    assert caught.value.law == law


# The gradient of a batch is the mean of its examples' gradients.


def losses(params, X, y):
    """Cross-entropy of each example, by softmax regression, and its gradients: written out anew, so that means can differ."""
    W = params.reshape(X.shape[1], -1)
    z = X @ W
    z = z - z.max(axis=1, keepdims=True)
    p = np.exp(z) / np.exp(z).sum(axis=1, keepdims=True)
    value = -np.log(p[np.arange(len(y)), y])
    p[np.arange(len(y)), y] -= 1
    return value, (X[:, :, None] * p[:, None, :]).reshape(len(y), -1)


def averaged(weights_of, root=False):
    """A model whose loss is a mean with weights that sum to 1, or the root of it."""

    def both(params, X, y, l2):
        weights = weights_of(X, y)
        value, gradients = losses(params, X, y)
        loss, gradient = weights @ value, weights @ gradients
        if root:
            loss, gradient = np.sqrt(loss), gradient / (2 * np.sqrt(loss))
        return loss + l2 / 2 * params @ params, gradient + l2 * params

    return SimpleNamespace(
        n_params=9, loss=lambda *args: both(*args)[0], gradient=lambda *args: both(*args)[1].astype(args[0].dtype)
    )


def evenly(X, y):
    return np.full(len(y), 1 / len(y))


def by_class(X, y):
    """PyTorch's cross_entropy(weight=...)."""
    weights = np.array([1.0, 5.0, 0.2])[y]
    return weights / weights.sum()


def by_length(X, y):
    """A mean over tokens: an example weighs as many as it has."""
    tokens = 1.0 + np.abs(np.round(3 * X[:, 0]))
    return tokens / tokens.sum()


MEAN = "the gradient of a batch is the mean of its examples' gradients"


def three_classes(n, order=lambda y: y):
    rng = np.random.default_rng(2)
    return rng.standard_normal((n, 3)), order(rng.integers(3, size=n))


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize(
    "wrong", [averaged(by_class), averaged(by_length), averaged(evenly, root=True)], ids=["class weights", "tokens", "root"]
)
@pytest.mark.parametrize("data", [three_classes(9), three_classes(90, np.sort)], ids=["few", "sorted by class"])
def test_a_loss_that_is_no_mean_over_the_examples(wrong, data, dtype):
    assert len(check_gradient(averaged(evenly), data=data, dtype=dtype)) == 6
    with pytest.raises(LawError) as caught:
        check_gradient(wrong, data=data, dtype=dtype)
    assert caught.value.law == MEAN


def test_a_gradient_that_is_right_for_small_batches_only():
    """An accumulation in chunks of 128 that forgets to weigh the last one, which is shorter."""
    right = averaged(evenly)

    def chunked(params, X, y, l2):
        chunks = [slice(i, i + 128) for i in range(0, len(y), 128)]
        return np.mean([right.gradient(params, X[chunk], y[chunk], l2) for chunk in chunks], axis=0)

    model = SimpleNamespace(n_params=9, loss=right.loss, gradient=chunked)
    assert check_gradient(model, data=three_classes(256))
    with pytest.raises(LawError) as caught:
        check_gradient(model, data=three_classes(300))
    assert caught.value.law == MEAN


# Kinks.


@pytest.fixture(scope="module")
def images():
    data = load_fashion(2000)
    return data.X_train, data.y_train


@pytest.mark.parametrize("options", [{}, {"dtype": np.float32}, {"step": 2.0**-7, "points": 4}], ids=str)
def test_a_relu_network_on_images(images, options):
    assert len(check_gradient(MLP(196, (128,), 10), data=images, **options)) == 9


@pytest.mark.parametrize(
    ("sizes", "n", "scale", "seed", "dtype"),
    [
        ((20, (30, 30), 5), 300, 1.0, 3, "float64"),
        ((3, (40,), 2), 200, 10.0, 3, "float64"),
        ((13, (2, 10), 5), 125, 1.0, 295, "float64"),  # behind two units that are dead for some example at every point
        ((2, (22,), 5), 199, 1.0, 217, "float32"),  # the two sides agree by chance at one step
        ((6, (31,), 3), 52, 0.1, 3, "float32"),
    ],
)
@pytest.mark.parametrize("at", ["init", "normal"])
def test_relu_networks_with_many_kinks(sizes, n, scale, seed, dtype, at):
    """At ``init``, with biases of 0, a layer after one that is dead for an example sits on its kink exactly."""
    rng = np.random.default_rng(seed)
    data = scale * rng.standard_normal((n, sizes[0])), rng.integers(sizes[2], size=n)
    model = MLP(*sizes)
    points = np.array([model.init(seed) for seed in range(8)]) if at == "init" else 8
    assert len(check_gradient(model, data=data, points=points, dtype=dtype)) == 9


def without_first_biases(model):
    def gradient(params, X, y, l2):
        grad = model.gradient(params, X, y, l2)
        model.unpack(grad)[0][1][:] = 0
        return grad

    return gradient


@pytest.mark.parametrize(
    "wrong",
    [
        lambda model: lambda params, X, y, l2: model.gradient(params, X, y, l2) * (1 + 1e-4),
        without_first_biases,
        lambda model: lambda params, X, y, l2: MLP(196, (128,), 10, "tanh").gradient(params, X, y, l2),
    ],
    ids=["1e-4 too large", "no first biases", "slope of tanh"],
)
def test_a_wrong_slope_is_no_kink(images, wrong):
    model = MLP(196, (128,), 10)
    under_test = SimpleNamespace(n_params=model.n_params, loss=model.loss, gradient=wrong(model))
    with pytest.raises(LawError) as caught:
        check_gradient(under_test, data=images)
    assert caught.value.law == "the gradient is the derivative of the loss"


def test_nothing_but_kinks_is_no_verdict():
    """A loss that jumps like dice has no derivative that a gradient could be compared with."""
    rng = np.random.default_rng(0)
    model = SimpleNamespace(
        n_params=2, loss=lambda params, X, y, l2: rng.random(), gradient=lambda params, X, y, l2: np.zeros(2)
    )
    with pytest.raises(ValueError, match="no verdict, as at every point the differences to its two sides disagree"):
        check_gradient(model, data=three_classes(5))


# Points, step, tolerance, precision.


def test_the_user_chooses_points_step_and_tolerance():
    """A loss with a feature a hundredth wide: the step has to be smaller."""
    width = 0.002
    model = SimpleNamespace(
        n_params=1,
        loss=lambda params, X, y, l2: float(np.sin(params[0] / width)) + l2 / 2 * params @ params,
        gradient=lambda params, X, y, l2: np.cos(params / width) / width + l2 * params,
    )
    data = np.zeros((3, 1)), np.zeros(3, int)
    points = np.linspace(0, 0.01, 7)[:, None]
    assert len(check_gradient(model, data=data, points=points, step=1e-5)) == 6
    seen = []
    watched = SimpleNamespace(
        n_params=1, gradient=model.gradient, loss=lambda p, *rest: seen.append(p[0]) or model.loss(p, *rest)
    )
    check_gradient(watched, data=data, points=points, step=1e-5)
    assert {round(x, 12) for x in seen} >= {round(x, 12) for x in points[:, 0]}
    distances = [abs(x - points[:, 0]).min() for x in seen]
    assert all(distance < 1.0001e-5 or distance > 0.98 for distance in distances)  # 1, where the L2 term is looked at alone


@pytest.mark.parametrize("model", [MLP(3, (5, 4), 3, "tanh"), LogisticRegression(4), MLP(3, (6,), 2)])
def test_single_precision_is_checked_for_what_it_can_show(model):
    def gradient(factor):
        return SimpleNamespace(
            n_params=model.n_params,
            n_features=model.n_features,
            n_classes=model.n_classes,
            loss=model.loss,
            gradient=lambda params, X, y, l2: model.gradient(params, X, y, l2) * params.dtype.type(factor),
        )

    assert len(check_gradient(gradient(1 + 1e-5), dtype="float32")) == 6
    for factor, options in ((1.01, {"dtype": "float32"}), (1 + 1e-5, {})):
        with pytest.raises(LawError, match="derivative"):
            check_gradient(gradient(factor), **options)
    assert len(check_gradient(gradient(1 + 1e-5), rtol=1e-4)) == 6


def test_weight_decay_of_the_biases_shows_in_single_precision_too():
    model = MLP(30, (40,), 5)
    wrong = SimpleNamespace(
        n_params=model.n_params,
        n_features=30,
        n_classes=5,
        loss=model.loss,
        gradient=lambda params, X, y, l2: model.gradient(params, X, y) + params.dtype.type(l2) * params,
    )
    with pytest.raises(LawError) as caught:
        check_gradient(wrong, dtype=np.float32)
    assert "L2 term" in caught.value.law or caught.value.law == "the gradient is the derivative of the loss"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("gradient", lambda params, X, y, l2: np.zeros(1)),
        ("gradient", lambda params, X, y, l2: np.zeros((1, len(params)))),
        ("loss", lambda params, X, y, l2: np.zeros(len(y))),
    ],
)
def test_another_shape_is_not_broadcast(name, value):
    functions = {"loss": MODEL.loss, "gradient": MODEL.gradient, name: value}
    model = SimpleNamespace(n_params=MODEL.n_params, n_features=3, n_classes=2, **functions)
    with pytest.raises(LawError, match="the gradient has the shape of the parameters"):
        check_gradient(model)


@pytest.mark.parametrize(
    ("model", "largest", "dtype"),
    [
        (LogisticRegression(3), 30.0, np.float64),
        (LogisticRegression(3), 1000.0, np.float64),
        (LogisticRegression(20, 3), 255, np.float64),
        (LogisticRegression(3), 10.0, np.float32),
    ],
)
def test_features_need_not_be_scaled(model, largest, dtype):
    """Where the softmax is saturated, the Hessian is what is left of larger numbers."""
    rng = np.random.default_rng(1)
    if isinstance(largest, int):  # pixels
        X = rng.integers(0, largest + 1, size=(40, model.n_features)).astype(float)
    else:
        X = largest * rng.standard_normal((40, model.n_features))
    assert len(check_gradient(model, data=(X, np.arange(40) % model.n_classes), dtype=dtype)) == 9
