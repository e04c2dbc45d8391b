"""Models: gradients and Hessian-vector products against differences, per-example gradients against their sum."""

import itertools
import re
from fractions import Fraction

import numpy as np
import pytest
from scipy.optimize import approx_fprime
from scipy.special import log_softmax

from sgdnoise import MLP, LogisticRegression

N_FEATURES, N_CLASSES, N_EXAMPLES = 4, 3, 9
DEPTHS = [(), (5,), (6, 5), (5, 4, 6)]
CASES = list(itertools.product(DEPTHS, ["relu", "tanh"], [0.0, 0.3]))


def problem(hidden_layer_sizes, activation, dtype=float):
    rng = np.random.default_rng(5)
    model = MLP(N_FEATURES, hidden_layer_sizes, N_CLASSES, activation)
    params = (model.init(rng) + 0.1 * rng.standard_normal(model.n_params)).astype(dtype)  # biases away from 0
    X = rng.standard_normal((N_EXAMPLES, N_FEATURES)).astype(dtype)
    return model, params, X, rng.integers(N_CLASSES, size=N_EXAMPLES)


def richardson(f, step=1e-3):
    """Derivative of f at 0 with error of order step^6: three central differences, extrapolated."""
    d = [(f(h) - f(-h)) / (2 * h) for h in (step, step / 2, step / 4)]
    e = [(4 * b - a) / 3 for a, b in itertools.pairwise(d)]
    return (16 * e[1] - e[0]) / 15


@pytest.mark.parametrize(("hidden", "activation", "l2"), CASES)
def test_gradient_agrees_with_differences_of_the_loss(hidden, activation, l2):
    model, params, X, y = problem(hidden, activation)
    gradient = model.gradient(params, X, y, l2)
    units = np.eye(model.n_params)
    differences = np.array([richardson(lambda h, u=u: model.loss(params + h * u, X, y, l2)) for u in units])
    assert np.linalg.norm(gradient - differences) <= 1e-7 * np.linalg.norm(gradient)
    loss, same = model.loss_and_gradient(params, X, y, l2)
    assert loss == pytest.approx(model.loss(params, X, y, l2), rel=1e-14)
    np.testing.assert_array_equal(gradient, same)


@pytest.mark.parametrize(("hidden", "activation", "l2"), CASES)
def test_hessian_vector_product(hidden, activation, l2):
    model, params, X, y = problem(hidden, activation)
    v, w = np.random.default_rng(6).standard_normal((2, model.n_params))
    product = model.hessian_vector_product(params, v, X, y, l2)
    differences = richardson(lambda h: model.gradient(params + h * v, X, y, l2), step=1e-4)
    assert np.linalg.norm(product - differences) <= 1e-6 * np.linalg.norm(product)
    # Symmetric and linear, to rounding.
    other = model.hessian_vector_product(params, w, X, y, l2)
    assert w @ product == pytest.approx(v @ other, rel=1e-10)
    combined = model.hessian_vector_product(params, 2 * v - w, X, y, l2)
    np.testing.assert_allclose(combined, 2 * product - other, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize(("hidden", "activation", "l2"), CASES[::2])
def test_per_example_gradients(hidden, activation, l2):
    model, params, X, y = problem(hidden, activation)
    gradients = model.per_example_gradients(params, X, y)
    assert gradients.shape == (N_EXAMPLES, model.n_params)
    np.testing.assert_allclose(gradients.mean(axis=0), model.gradient(params, X, y), rtol=0, atol=1e-12)
    for i in (0, N_EXAMPLES - 1):
        np.testing.assert_allclose(gradients[i], model.gradient(params, X[i : i + 1], y[i : i + 1]), rtol=1e-10, atol=1e-14)


def test_loss_is_the_textbook_formula():
    model, params, X, y = problem((5,), "tanh")
    (weights_1, biases_1), (weights_2, biases_2) = model.unpack(params)
    logits = np.tanh(X @ weights_1 + biases_1) @ weights_2 + biases_2
    expected = -log_softmax(logits, axis=1)[np.arange(N_EXAMPLES), y].mean()
    assert model.loss(params, X, y) == pytest.approx(expected, rel=1e-13)
    penalty = 0.5 * 0.3 * ((weights_1**2).sum() + (weights_2**2).sum())
    assert model.loss(params, X, y, l2=0.3) == pytest.approx(expected + penalty, rel=1e-13)
    np.testing.assert_allclose(model.logits(params, X), logits, rtol=1e-12)
    np.testing.assert_array_equal(model.predict(params, X), logits.argmax(axis=1))
    assert model.accuracy(params, X, y) == np.mean(logits.argmax(axis=1) == y)


def test_l2_does_not_depend_on_the_batch_and_spares_the_biases():
    model, params, X, y = problem((5,), "relu")
    for rows in (slice(0, 1), slice(None)):
        added = model.gradient(params, X[rows], y[rows], l2=0.7) - model.gradient(params, X[rows], y[rows])
        for (d_weights, d_biases), (weights, _) in zip(model.unpack(added), model.unpack(params), strict=True):
            np.testing.assert_allclose(d_weights, 0.7 * weights, rtol=1e-9, atol=1e-12)
            np.testing.assert_allclose(d_biases, 0, atol=1e-12)


@pytest.mark.parametrize("activation", ["relu", "tanh"])
def test_float32_stays_float32_and_agrees(activation):
    model, params, X, y = problem((6, 5), activation, np.float32)
    v = np.ones(model.n_params, np.float32)
    outputs = (
        model.gradient(params, X, y, 0.1),
        model.per_example_gradients(params, X, y),
        model.hessian_vector_product(params, v, X, y, 0.1),
        model.logits(params, X),
    )
    assert {output.dtype for output in outputs} == {np.dtype(np.float32)}
    assert isinstance(model.loss(params, X, y), float)
    expected = model.gradient(params.astype(float), X.astype(float), y, 0.1)
    np.testing.assert_allclose(outputs[0], expected, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(
        outputs[2],
        model.hessian_vector_product(params.astype(float), v.astype(float), X.astype(float), y, 0.1),
        rtol=1e-3,
        atol=1e-5,
    )


def test_evaluation_in_chunks_is_the_mean_over_all():
    model = MLP(3, (4,), 2)
    rng = np.random.default_rng(0)
    params, X, y = model.init(rng), rng.standard_normal((2345, 3)), rng.integers(2, size=2345)
    parts = [model.evaluate(params, X[i : i + 1], y[i : i + 1]) for i in range(2345)]
    np.testing.assert_allclose(model.evaluate(params, X, y), np.mean(parts, axis=0), rtol=1e-12)


def test_evaluation_is_bounded_in_memory_and_sums_in_double():
    import tracemalloc

    model, X = MLP(2, (50,), 2), np.zeros((100_000, 2), np.float32)
    params, y = model.init(0, np.float32), np.zeros(100_000, int)
    params[-2:] = 0.1, 0.2
    tracemalloc.start()
    loss, _ = model.evaluate(params, X, y)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 3e6  # all hidden units at once would be 20 MB
    # A hundred thousand equal losses have the mean of one of them, to the last digit or so.
    assert loss == pytest.approx(model.evaluate(params, X[:1], y[:1])[0], rel=1e-12)


MANY = 300


@pytest.mark.parametrize("model", [MLP(4, (8,), 3), LogisticRegression(4, 3), MLP(4, (6, 5), 3, "tanh")], ids=repr)
@pytest.mark.parametrize("method", ["gradient", "hessian_vector_product", "loss_and_gradient"])
def test_many_examples_in_single_precision_are_added_up_in_double(model, method):
    """Copies change no mean: 300 times 1009 examples, with a class of one, against the 1009 in float64.

    Added up in float32, the gradient by a bias or weight of the rare class is off by 1e-4 or more.
    """
    rng = np.random.default_rng(8)
    X, y = rng.standard_normal((1009, 4)).astype(np.float32), rng.integers(2, size=1009) * 2
    y[0] = 1
    params, v = model.init(rng, np.float32), rng.standard_normal(model.n_params).astype(np.float32)
    params[-3:] = [6, -4, 5]
    extra = (v,) if method == "hessian_vector_product" else ()
    many = getattr(model, method)(params, *extra, np.tile(X, (MANY, 1)), np.tile(y, MANY), 1e-3)
    double = [array.astype(float) for array in (params, *extra, X)]
    few = getattr(model, method)(*double, y, 1e-3)
    if method == "loss_and_gradient":
        assert many[0] == pytest.approx(few[0], rel=1e-6)
        many, few = many[1], few[1]
    assert many.dtype == np.float32
    np.testing.assert_allclose(many, few, rtol=2e-5, atol=1e-7 * np.abs(few).max())


@pytest.mark.parametrize("n", [8192, 8193, 9000, 10_240])
def test_the_last_part_counts_by_its_size(n):
    """All but the last example are alike, so that a last part of the wrong weight would show."""
    model, params = MLP(3, (4,), 2, "tanh"), MLP(3, (4,), 2).init(1)
    X, y = np.ones((n, 3)), np.zeros(n, int)
    X[-1], y[-1] = [-5, 3, 1], 1
    own = model.per_example_gradients(params, X[-2:], y[-2:])
    expected = own[0] * ((n - 1) / n) + own[1] / n
    got = model.gradient(params.astype(np.float32), X.astype(np.float32), y)
    np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-4 * np.abs(own[1]).max() / n)


def test_huge_logits_give_a_finite_loss():
    model = LogisticRegression(1)
    params = np.array([1e4, -1e4, 0.0, 0.0])
    assert model.loss(params, np.array([[1.0]]), np.array([1])) == pytest.approx(2e4)
    assert np.isfinite(model.gradient(params, np.array([[1.0]]), np.array([1]))).all()


def test_logistic_regression_is_the_sigmoid_model():
    rng = np.random.default_rng(1)
    model, X, y = LogisticRegression(3), rng.standard_normal((20, 3)), rng.integers(2, size=20)
    params = model.init(rng)
    assert model == LogisticRegression(3)
    assert repr(model) == "LogisticRegression(3, 2)"
    (weights, biases) = model.unpack(params)[0]
    margin = X @ (weights[:, 1] - weights[:, 0]) + biases[1] - biases[0]
    expected = np.log1p(np.exp(np.where(y == 1, -margin, margin))).mean()
    assert model.loss(params, X, y) == pytest.approx(expected, rel=1e-12)
    # and convex: the Hessian has no negative eigenvalue
    hessian = np.array([model.hessian_vector_product(params, e, X, y) for e in np.eye(model.n_params)])
    assert np.linalg.eigvalsh(hessian).min() > -1e-12
    assert np.abs(hessian - approx_fprime(params, lambda p: model.gradient(p, X, y), 1e-7)).max() < 1e-5


def test_initial_weights_have_the_stated_variance():
    """Sample variances of 40000 normals; the tolerance of 5 standard errors has a false-positive rate of 6e-7."""
    model = MLP(200, (200,), 200)
    (first, biases), (second, _) = model.unpack(model.init(0))
    assert np.var(first) * 200 == pytest.approx(2, rel=5 * np.sqrt(2 / 40_000))
    assert np.var(second) * 200 == pytest.approx(1, rel=5 * np.sqrt(2 / 40_000))
    assert not biases.any()
    (tanh_first, _), _ = MLP(200, (200,), 200, "tanh").unpack(MLP(200, (200,), 200, "tanh").init(0))
    assert np.var(tanh_first) * 200 == pytest.approx(1, rel=5 * np.sqrt(2 / 40_000))


def test_unpack_gives_views_of_a_stack_too():
    model = MLP(2, (3,), 2)
    stack = np.zeros((5, model.n_params))
    layers = model.unpack(stack)
    layers[1][0][4, 0, 0] = 7.0
    assert [layer[0].shape for layer in layers] == [(5, 2, 3), (5, 3, 2)]
    assert stack[4, 9] == 7.0


GOOD = (np.zeros(MLP(2, (3,), 2).n_params), np.zeros((4, 2)), np.zeros(4, int))
METHODS = ["loss", "gradient", "loss_and_gradient", "accuracy", "evaluate", "per_example_gradients"]


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(
    ("params", "X", "y", "error", "message"),
    [
        (np.zeros(3), None, None, ValueError, "params must be a float32 or float64 array of shape"),
        (np.zeros(17, int), None, None, TypeError, "params"),
        ([0.0] * 17, None, None, TypeError, "params"),
        (None, np.zeros((4, 3)), None, ValueError, r"X must be .* of shape \(n, 2\), got shape \(4, 3\)"),
        (None, np.zeros((0, 2)), np.zeros(0, int), ValueError, "X"),
        (None, np.zeros(2), None, ValueError, "X"),
        (None, np.zeros((4, 2), int), None, TypeError, "X"),
        (None, np.full((4, 2), np.nan), None, ValueError, "X must be finite, got 8 values"),
        (None, np.full((4, 2), np.inf), None, ValueError, "X must be finite"),
        (None, None, np.zeros(3, int), ValueError, "y must be .*one label for each row of X"),
        (None, None, np.array([0, 1, 2, 0]), ValueError, "y must be labels from 0 to 1, got labels from 0 to 2"),
        (None, None, np.array([0, 1, -1, 0]), ValueError, "y must be labels from 0 to 1, got labels from -1"),
        (None, None, np.zeros(4), TypeError, "y must be an integer array"),
        (None, None, np.zeros(4, bool), TypeError, "y"),
    ],
)
def test_bad_arrays_are_refused_by_every_method(method, params, X, y, error, message):
    arguments = [good if given is None else given for given, good in zip((params, X, y), GOOD, strict=True)]
    with pytest.raises(error, match=message):
        getattr(MLP(2, (3,), 2), method)(*arguments)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: MLP(0, (3,), 2), ValueError, "n_features"),
        (lambda: MLP(2, (0,), 2), ValueError, "hidden_layer_sizes"),
        (lambda: MLP(2, 3, 2), TypeError, r"hidden_layer_sizes must be a sequence of integers, got 3 of type int; .*\(128,\)"),
        (lambda: MLP(2, (3,), 1), ValueError, "n_classes"),
        (lambda: MLP(2, (3,), 2, "sigmoid"), ValueError, "activation must be one of 'relu', 'tanh', got 'sigmoid'"),
        (lambda: LogisticRegression(2, True), TypeError, "n_classes"),
        (lambda: MLP(2, (3,), 2).init(0, np.int64), TypeError, "dtype must be float32 or float64"),
        (lambda: MLP(2, (3,), 2).unpack(np.zeros(4)), ValueError, "params must have a last axis of n_params=17"),
        (lambda: MLP(2, (3,), 2).loss(*GOOD, l2=-1.0), ValueError, "l2"),
        (lambda: MLP(2, (3,), 2).gradient(*GOOD, l2=float("nan")), ValueError, "l2"),
        (lambda: MLP(2, (3,), 2).hessian_vector_product(GOOD[0], np.zeros(3), *GOOD[1:]), ValueError, "v must be"),
        (
            lambda: MLP(2, (3,), 2).hessian_vector_product(GOOD[0], np.full(17, np.nan), *GOOD[1:]),
            ValueError,
            "v must be finite",
        ),
        (lambda: MLP(2, (3,), 2).logits(GOOD[0], np.zeros((4, 5))), ValueError, "X"),
        (lambda: MLP(2, (3,), 2).predict(GOOD[0], np.zeros((0, 2))), ValueError, "X"),
    ],
)
def test_bad_settings_are_refused_by_name(call, error, message):
    with pytest.raises(error, match=message):
        call()


@pytest.mark.parametrize("model", [LogisticRegression(1), MLP(1, (3,), 2), MLP(1, (3, 2), 3, "tanh")])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_what_is_nan_is_no_class(model, dtype):
    """Parameters that are NaN predict nothing: not class 0, whose share here would be all."""
    X, y, params = np.ones((3, 1), dtype), np.zeros(3, int), np.full(model.n_params, np.nan, dtype)
    assert np.isnan(model.evaluate(params, X, y)).all()
    assert np.isnan(model.accuracy(params, X, y))
    assert model.predict(params, X).tolist() == [-1, -1, -1]
    params = model.init(0, dtype)
    params[-1] = np.nan  # the bias of the last class alone
    assert np.isnan(model.accuracy(params, X, y))
    assert model.predict(params, X).tolist() == [-1, -1, -1]


def test_one_example_that_is_nan_makes_the_accuracy_nan():
    """Infinite weights: 0 times infinity is NaN for the one example at 0, beyond the first chunk."""
    params = np.array([1.0, -np.inf, 0.0, 0.0])
    X, y = np.ones((2500, 1)), np.zeros(2500, int)
    assert LogisticRegression(1).evaluate(params, X, y) == (0.0, 1.0)
    assert type(LogisticRegression(1).accuracy(params, X, y)) is float
    X[2300] = 0.0
    assert np.isnan(LogisticRegression(1).evaluate(params, X, y)).all()
    assert np.flatnonzero(LogisticRegression(1).predict(params, X)).tolist() == [2300]
    overflow = np.array([1e300, -1e300, 0.0, 0.0])  # logits that are infinite, of either sign
    assert np.isnan(LogisticRegression(1).evaluate(overflow, 1e10 * X[:3], y[:3])).all()
    assert LogisticRegression(1).predict(overflow, 1e10 * X[:3]).tolist() == [-1, -1, -1]


def test_what_overflows_is_seen_and_no_warning():
    model, X = MLP(1, (3,), 2), np.full((2, 1), 1e308)
    params = 10 * np.ones(model.n_params)
    assert not np.isfinite(model.loss(params, X, np.array([0, 1])))
    assert not np.isfinite(model.gradient(params, X, np.array([0, 1]))).all()
    assert not np.isfinite(model.hessian_vector_product(params, params, X, np.array([0, 1]))).all()
    assert model.loss(params, X * 0, np.array([0, 1]), l2=np.float32(1e38)) == pytest.approx(
        0.5e38 * 9 * 100 + np.log(2), rel=1e-6
    )
    assert model.loss(params, X * 0, np.array([0, 1]), l2=Fraction(1, 2)) == model.loss(params, X * 0, np.array([0, 1]), l2=0.5)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: MLP(3, b"12", 3), "hidden_layer_sizes must be a sequence of integers, got b'12' of type bytes"),
        (lambda: MLP(2, (3,), 2).init(0, ""), "dtype must be float32 or float64, got ''"),
        (lambda: MLP(2, (3,), 2).init(0, None), "dtype must be float32 or float64, got "),
        (lambda: MLP(2, (3,), 2).per_example_gradients(*GOOD[:2], None), "y must be an integer array of shape (4,), got None"),
        (lambda: MLP(2, (3,), 2).loss(*GOOD[:2], None), "y must be an integer array of shape (4,), got None"),
        (
            lambda: MLP(2, (3,), 2).unpack(np.ma.masked_array(np.zeros(17), True)),
            "params must be a plain array, got MaskedArray",
        ),
    ],
)
def test_wrong_kinds_are_named(call, message):
    with pytest.raises(TypeError, match="^" + re.escape(message)):
        call()
