"""Hostile arguments to every public function: a result, or an error that names the argument; no warning, and nothing silent.

Each example takes a call that works and puts one or two hostile values into it. A longer run::

    python tests/test_fuzz.py 20000
"""

import gc
import importlib
import inspect
import re
import sys
import warnings
from decimal import Decimal
from fractions import Fraction
from functools import lru_cache

import numpy as np
import pytest
from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st

import sgdnoise
from sgdnoise import (
    MLP,
    Dataset,
    LogisticRegression,
    Schedule,
    Stage,
    adam,
    boltzmann,
    curves,
    datasets,
    energies,
    fast,
    gradient_noise,
    langevin,
    models,
    noise,
    normals,
    optimizers,
    sampling,
    scaling,
    schedules,
    sgd,
    sgld,
    stationary,
    testing,
    training,
)

MODULES = [boltzmann, curves, datasets, energies, fast, gradient_noise, langevin, models, noise, normals, optimizers]
MODULES += [sampling, scaling, schedules, sgld, stationary, training]

X = np.random.default_rng(0).standard_normal((12, 3))
Y = np.arange(12) % 2
MODEL = MLP(3, (4,), 2)
LOGISTIC = LogisticRegression(3)
W = MODEL.init(0)
V = LOGISTIC.init(0) + 0.1
DATA = Dataset(X, Y, X[:6], Y[:6])
SCHEDULE = Schedule([Stage(1, 0.1, 4), Stage(1, 0.05, 4)])
DECAY = {"learning_rate": 0.1, "batch_size": 4, "n_epochs": 3, "final": 0.01}
GRADIENTS = np.random.default_rng(1).standard_normal((12, 5))
WELL = energies.DoubleWell()
WELLS = energies.GaussianWells()
RUGGED = energies.Rugged()
BOWL = energies.Quadratic(np.diag([1.0, 2.0]))
MIXTURE = energies.MixturePosterior(np.array([0.1, -0.3, 1.2]))
POINTS = np.array([[0.1, 0.2], [0.3, -0.4]])


def trainer(method):
    """A method of a trainer of its own for each call."""

    def call(**arguments):
        return getattr(fast.Trainer(MODEL, X, Y, sgd(0.9), np.stack([W, W])), method)(**arguments)

    return call


def in_place(gradient, learning_rate):
    return fast.in_place(adam(), W.copy())(gradient.copy() if isinstance(gradient, np.ndarray) else gradient, learning_rate)


def bowl(x):
    return x


def energy(x):
    return 0.5 * (x**2).sum(axis=-1)


def parabola(x):
    return 0.5 * x[:, 0] ** 2


def likelihood(theta, batch):
    return -theta * batch.shape[-1]


SGLD = {"grad_log_prior": np.negative, "grad_log_likelihood": likelihood, "x0": np.zeros((2, 1)), "step_size": 0.1}
SGLD |= {"n_steps": 3, "n_train": 8, "batch_size": 2, "rng": 0}
SDE = {"grad_cost": bowl, "noise_root": np.eye(2), "x0": np.zeros((3, 2)), "noise_scale": 1.0, "learning_rate": 0.1}
SDE |= {"n_train": 10, "n_steps": 3, "rng": 0}
TRAIN = {"model": MODEL, "data": DATA, "schedule": SCHEDULE, "optimizer": sgd(0.9), "l2": 0.0, "sampling": "reshuffle"}
TRAIN |= {"params": None, "callback": None, "on_divergence": "raise"}
LOSS = {"params": W, "X": X, "y": Y, "l2": 0.1}
SETTING = {"learning_rate": 0.1, "batch_size": 10, "n_train": 1000, "momentum": 0.5, "replace": False}
RESHUFFLED = {"learning_rate": 0.1, "batch_size": 2, "n_train": 10, "momentum": 0.5, "nesterov": False, "position": 0}
PATH = {"x0": np.zeros((3, 2)), "step_size": 0.1, "n_steps": 3, "temperature": 1.0, "rng": 0, "noise": None, "record_every": 1}


def without(arguments, *names):
    return {name: value for name, value in arguments.items() if name not in names}


# What is called, by its name in the package, and the arguments with which it works.
CALLS = {
    "noise.noise_scale": (noise.noise_scale, SETTING),
    "noise.learning_rate_for": (noise.learning_rate_for, {"noise_scale": 9.0} | without(SETTING, "learning_rate")),
    "noise.batch_size_for": (noise.batch_size_for, {"noise_scale": 9.0} | without(SETTING, "batch_size")),
    "noise.momentum_for": (noise.momentum_for, {"noise_scale": 99.0} | without(SETTING, "momentum")),
    "noise.linear_scaling_error": (noise.linear_scaling_error, {"factor": 2, "batch_size": 10, "n_train": 1000}),
    "noise.lost_epochs": (noise.lost_epochs, {"batch_size": 10, "n_train": 1000, "momentum": 0.9}),
    "noise.temperature": (noise.temperature, {"noise_scale": 1.0, "gradient_variance": 2.0}),
    "noise.adam_square_root_rule": (
        noise.adam_square_root_rule,
        {"factor": 2, "learning_rate": 0.1, "b1": 0.9, "b2": 0.99, "eps": 1e-8},
    ),
    "schedules.Stage": (Stage, {"n_epochs": 1, "learning_rate": 0.1, "batch_size": 4, "final_learning_rate": 0.2}),
    "schedules.Schedule": (Schedule, {"stages": [Stage(1, 0.1, 4)]}),
    "schedules.Schedule.stage_at": (SCHEDULE.stage_at, {"epoch": 1}),
    "schedules.Schedule.n_updates": (SCHEDULE.n_updates, {"n_train": 100, "drop_last": True}),
    "schedules.Schedule.noise_scale": (SCHEDULE.noise_scale, {"n_train": 100, "momentum": 0.5, "at": "end"}),
    "schedules.Schedule.table": (SCHEDULE.table, {"n_train": 100, "momentum": 0.5, "by": "examples", "max_rows": 2}),
    "schedules.Schedule.by_examples": (SCHEDULE.by_examples, {"n_train": 100}),
    "schedules.Schedule.part": (SCHEDULE.part, {"start": 0, "stop": 1}),
    "schedules.Schedule.to_json": (SCHEDULE.to_json, {}),
    "schedules.Schedule.from_json": (Schedule.from_json, {"text": SCHEDULE.to_json()}),
    "schedules.Schedule.from_learning_rates": (
        Schedule.from_learning_rates,
        {"learning_rates": (0.1, 0.2), "batch_size": 4, "moving": True},
    ),
    "schedules.Stage.to_dict": (Stage(1, 0.1, 4).to_dict, {}),
    "schedules.Stage.learning_rates": (Stage(1, 0.1, 4, 0.2).learning_rates, {"n_updates": 5, "start": 1, "stop": 3}),
    "schedules.Stage.learning_rates_of": (Stage(2, 0.1, 4, 0.2).learning_rates_of, {"epoch": 1, "n_updates": 5}),
    "schedules.linear_decay": (schedules.linear_decay, DECAY),
    "schedules.cosine_decay": (schedules.cosine_decay, DECAY),
    "schedules.exponential_decay": (schedules.exponential_decay, DECAY),
    "schedules.warmup_stable_decay": (schedules.warmup_stable_decay, DECAY | {"n_warm_up": 1, "n_decay": 1}),
    "schedules.warm_up": (schedules.warm_up, {"schedule": SCHEDULE, "n_epochs": 1, "start": 0.01}),
    "schedules.step_decay": (
        schedules.step_decay,
        {"learning_rate": 0.1, "batch_size": 4, "milestones": (1, 2), "n_epochs": 3, "factor": 2},
    ),
    "schedules.grow_batch": (
        schedules.grow_batch,
        {"schedule": SCHEDULE, "n_train": 100, "max_batch_size": 50, "n_drops": 1, "rule": "linear", "multiple_of": 2},
    ),
    "schedules.scale_up": (
        schedules.scale_up,
        {"schedule": SCHEDULE, "n_train": 100, "learning_rate": 0.2, "momentum": 0.5, "to_momentum": 0.9, "max_batch_size": 50},
    ),
    "scaling.convert": (
        scaling.convert,
        {"learning_rate": 0.1, "batch_size": 10, "n_train": 1000, "momentum": 0.5, "to_batch_size": 20},
    ),
    "scaling.convert to a rate": (
        scaling.convert,
        {"learning_rate": 0.1, "batch_size": 10, "n_train": 1000, "to_learning_rate": 0.2},
    ),
    "scaling.convert to a momentum": (
        scaling.convert,
        {"learning_rate": 0.1, "batch_size": 10, "n_train": 1000, "to_momentum": 0.9},
    ),
    "sampling.minibatches": (
        sampling.minibatches,
        {"n_train": 10, "batch_size": 3, "sampling": "reshuffle", "n_chains": None, "rng": 0},
    ),
    "models.MLP": (MLP, {"n_features": 3, "hidden_layer_sizes": (4,), "n_classes": 2, "activation": "relu"}),
    "models.LogisticRegression": (LogisticRegression, {"n_features": 3, "n_classes": 2}),
    "models.MLP.init": (MODEL.init, {"rng": 0, "dtype": float}),
    "models.MLP.unpack": (MODEL.unpack, {"params": W}),
    "models.MLP.logits": (MODEL.logits, {"params": W, "X": X}),
    "models.MLP.predict": (MODEL.predict, {"params": W, "X": X}),
    "models.MLP.evaluate": (MODEL.evaluate, {"params": W, "X": X, "y": Y}),
    "models.MLP.accuracy": (LOGISTIC.accuracy, {"params": V, "X": X, "y": Y}),
    "models.MLP.loss": (MODEL.loss, LOSS),
    "models.MLP.gradient": (MODEL.gradient, LOSS),
    "models.MLP.loss_and_gradient": (MODEL.loss_and_gradient, LOSS),
    "models.MLP.per_example_gradients": (MODEL.per_example_gradients, {"params": W, "X": X, "y": Y}),
    "models.MLP.hessian_vector_product": (MODEL.hessian_vector_product, {"params": W, "v": W, "X": X, "y": Y, "l2": 0.1}),
    "optimizers.Optimizer": (optimizers.Optimizer, {"init": bowl, "update": bowl}),
    "optimizers.sgd": (sgd, {"momentum": 0.9, "nesterov": True}),
    "optimizers.adam": (adam, {"b1": 0.9, "b2": 0.99, "eps": 1e-8}),
    "optimizers.Sgd.init": (sgd(0.9).init, {"params": W}),
    "optimizers.Sgd.update": (sgd(0.9).update, {"gradient": W, "state": sgd(0.9).init(W), "learning_rate": 0.1}),
    "optimizers.Adam.init": (adam().init, {"params": W}),
    "optimizers.Adam.update": (adam().update, {"gradient": W, "state": adam().init(W), "learning_rate": 0.1}),
    "gradient_noise.gradient_covariance": (gradient_noise.gradient_covariance, {"per_example_gradients": GRADIENTS, "ddof": 1}),
    "gradient_noise.minibatch_covariance": (
        gradient_noise.minibatch_covariance,
        {"covariance": np.eye(2), "batch_size": 2, "n_train": 10, "replace": False},
    ),
    "gradient_noise.gradient_noise_scale": (gradient_noise.gradient_noise_scale, {"per_example_gradients": GRADIENTS + 1}),
    "gradient_noise.gradient_noise_scale_from_norms": (
        gradient_noise.gradient_noise_scale_from_norms,
        {"small_squared_norms": 4.0, "large_squared_norms": 1.0, "small_batch_size": 2, "large_batch_size": 10},
    ),
    "gradient_noise.curvature_noise_scale": (
        gradient_noise.curvature_noise_scale,
        {"per_example_gradients": GRADIENTS + 1, "hessian_vector_product": bowl},
    ),
    "gradient_noise.top_hessian_eigenvalue": (
        gradient_noise.top_hessian_eigenvalue,
        {"model": LOGISTIC, "params": V, "X": X, "y": Y, "l2": 0.1},
    ),
    "gradient_noise.NoiseToSignal": (gradient_noise.NoiseToSignal, {"noise": 1.0, "signal": 2.0}),
    "stationary.max_stable_learning_rate": (
        stationary.max_stable_learning_rate,
        {"curvature": 2.0, "momentum": 0.5, "nesterov": False},
    ),
    "stationary.sgd_covariance": (
        stationary.sgd_covariance,
        {"hessian": np.eye(2), "gradient_covariance": np.eye(2), "learning_rate": 0.1, "momentum": 0.5, "nesterov": False},
    ),
    "stationary.sgd_covariance of numbers": (
        stationary.sgd_covariance,
        {"hessian": 1.0, "gradient_covariance": 2.0, "learning_rate": 0.1, "momentum": 0.5, "nesterov": True},
    ),
    "stationary.modified_equation": (
        stationary.modified_equation,
        {"curvature": 1.0, "gradient_variance": 1.0, "learning_rate": 0.1, "order": 2},
    ),
    "stationary.reshuffled_covariance": (
        stationary.reshuffled_covariance,
        RESHUFFLED | {"curvature": 1.0, "gradient_variance": 1.0},
    ),
    "stationary.reshuffled_covariance of directions": (
        stationary.reshuffled_covariance,
        RESHUFFLED | {"curvature": np.array([1.0, 2.0, 3.0]), "gradient_variance": np.ones(3), "nesterov": True},
    ),
    "stationary.reshuffled_covariance of a matrix": (
        stationary.reshuffled_covariance,
        RESHUFFLED | {"curvature": np.eye(2), "gradient_variance": np.eye(2), "position": 3},
    ),
    "stationary.probability_current": (
        stationary.probability_current,
        {"hessian": np.diag([1.0, 2.0]), "gradient_covariance": np.ones((2, 2)), "learning_rate": 0.1},
    ),
    "stationary.entropy_production": (
        stationary.entropy_production,
        {"hessian": np.diag([1.0, 2.0]), "gradient_covariance": np.eye(2) + 1, "learning_rate": 0.1},
    ),
    "stationary.tail_index": (
        stationary.tail_index,
        {"curvatures": np.array([0.5, 1.5, 2.5]), "learning_rate": 1.0, "weights": np.array([1.0, 2.0, 1.0])},
    ),
    "stationary.langevin_covariance": (
        stationary.langevin_covariance,
        {"hessian": np.eye(2), "temperature": 1.0, "mobility": 1.0, "step_size": 0.1},
    ),
    "curves.quadratic": (
        curves.quadratic,
        {"schedule": SCHEDULE, "n_train": 12, "curvature": np.array([1.0, 2.0]), "gradient_variance": 0.5, "start": 1.0}
        | {"momentum": 0.5, "nesterov": True, "sampling": "reshuffle"},
    ),
    "curves.quadratic of a rate that moves": (
        curves.quadratic,
        {
            "schedule": Schedule([Stage(2, 0.1, 3, 0.0)]),
            "n_train": 10,
            "curvature": 1.0,
            "gradient_variance": 0.5,
            "start": 1.0,
        },
    ),
    "curves.linear_regression": (
        curves.linear_regression,
        {"schedule": SCHEDULE, "X": X, "y": Y.astype(float), "start": np.ones(3), "momentum": 0.5, "nesterov": True},
    ),
    "curves.excess_at_rest": (curves.excess_at_rest, {"noise_scale": 9.0, "trace": 2.0, "n_train": 1000}),
    "curves.ema_variance_ratio": (curves.ema_variance_ratio, {"curvature": 2.0, "learning_rate": 0.1, "decay": 0.9}),
    "langevin.overdamped": (langevin.overdamped, {"grad_energy": bowl} | PATH | {"mobility": 1.0, "scheme": "euler-maruyama"}),
    "langevin.underdamped": (langevin.underdamped, {"grad_energy": bowl} | PATH | {"friction": 1.0, "p0": np.zeros((3, 2))}),
    "langevin.sgd_sde": (langevin.sgd_sde, SDE),
    "normals.filler": (normals.filler, {"increments": "normal", "rng": 0}),
    "normals.fill": (lambda out: normals.filler("normal", 0)(out), {"out": np.empty(3)}),
    "normals.fill signs": (lambda out: normals.filler("signs", 0)(out), {"out": np.empty(3)}),
    "normals.fill box-muller": (lambda out: normals.filler("box-muller", 0)(out), {"out": np.empty(3, np.float32)}),
    "energies.MixturePosterior.draw": (energies.MixturePosterior.draw, {"n_train": 5, "theta": (0.0, 1.0), "rng": 0}),
    "sgld.sgld": (sgld.sgld, SGLD),
    "sgld.polynomial_step_size": (sgld.polynomial_step_size, {"a": 1.0, "b": 1.0, "gamma": 0.6}),
    "sgld.polynomial_constants": (sgld.polynomial_constants, {"first": 0.1, "last": 0.01, "n_steps": 100, "gamma": 0.6}),
    "sgld.Samples.average": (sgld.sgld(**SGLD).average, {"function": bowl, "discard": 1}),
    "boltzmann.boltzmann_density": (
        boltzmann.boltzmann_density,
        {"energy": energy, "temperature": 1.0, "axes": [np.linspace(-2, 2, 5), np.linspace(-2, 2, 4)]},
    ),
    "boltzmann.kramers_time": (
        boltzmann.kramers_time,
        {"height": 1.0, "curvature_minimum": 1.0, "curvature_barrier": 1.0, "temperature": 0.3, "mobility": 1.0},
    ),
    "boltzmann.mean_passage_time": (
        boltzmann.mean_passage_time,
        {"energy": parabola, "begin": 0.0, "target": 1.0, "wall": -3.0, "temperature": 0.5, "mobility": 1.0, "n_points": 51},
    ),
    "energies.Quadratic": (energies.Quadratic, {"hessian": np.eye(2)}),
    "energies.Quadratic.energy": (BOWL.energy, {"x": POINTS}),
    "energies.Quadratic.gradient": (BOWL.gradient, {"x": POINTS}),
    "energies.Quadratic.covariance": (BOWL.covariance, {"temperature": 1.0}),
    "energies.DoubleWell": (energies.DoubleWell, {"barrier": 1.0, "tilt": 0.0, "skew": 0.6}),
    "energies.DoubleWell.energy": (WELL.energy, {"x": POINTS[:, :1]}),
    "energies.DoubleWell.gradient": (WELL.gradient, {"x": POINTS[:, :1]}),
    "energies.DoubleWell.occupation": (WELL.occupation, {"temperature": 0.5}),
    "energies.DoubleWell.escape_times": (WELL.escape_times, {"temperature": 0.5, "mobility": 1.0}),
    "energies.DoubleWell.interval": (WELL.interval, {"temperature": 0.5}),
    "energies.Rugged": (energies.Rugged, {"curvature": 0.1, "amplitudes": (1.0, 0.5), "wavelengths": (3.0, 1.1)}),
    "energies.Rugged.energy": (RUGGED.energy, {"x": POINTS[:, :1]}),
    "energies.Rugged.gradient": (RUGGED.gradient, {"x": POINTS[:, :1]}),
    "energies.GaussianWells": (
        energies.GaussianWells,
        {"centres": ((0.0, 1.0), (2.0, 0.0)), "depths": (1.0, 2.0), "widths": (0.5, 0.3), "curvature": 0.2},
    ),
    "energies.GaussianWells.energy": (WELLS.energy, {"x": POINTS}),
    "energies.GaussianWells.gradient": (WELLS.gradient, {"x": POINTS}),
    "energies.MixturePosterior": (
        energies.MixturePosterior,
        {"data": np.array([0.1, -0.3]), "prior_variances": (10.0, 1.0), "variance": 2.0},
    ),
    "energies.MixturePosterior.log_prior": (MIXTURE.log_prior, {"theta": POINTS}),
    "energies.MixturePosterior.log_likelihood": (MIXTURE.log_likelihood, {"theta": POINTS}),
    "energies.MixturePosterior.grad_log_prior": (MIXTURE.grad_log_prior, {"theta": POINTS}),
    "energies.MixturePosterior.grad_log_likelihood": (
        MIXTURE.grad_log_likelihood,
        {"theta": POINTS, "batch": np.array([[0, 1], [1, 2]])},
    ),
    "energies.MixturePosterior.per_example_gradients": (MIXTURE.per_example_gradients, {"theta": POINTS}),
    "energies.MixturePosterior.energy": (MIXTURE.energy, {"theta": POINTS}),
    "energies.MixturePosterior.gradient": (MIXTURE.gradient, {"theta": POINTS}),
    "energies.MixturePosterior.moments": (MIXTURE.moments, {"n_points": 21}),
    "datasets.Dataset": (Dataset, {"X_train": X, "y_train": Y, "X_test": X, "y_test": Y}),
    "datasets.load_fashion": (datasets.load_fashion, {"n_train": 100}),
    "datasets.load_idx": (datasets.load_idx, {"directory": "no such folder"}),
    "datasets.make_teacher": (
        datasets.make_teacher,
        {"n_train": 10, "n_test": 10, "n_features": 3, "n_classes": 2, "signal": 2.0, "rng": 0},
    ),
    "datasets.make_blobs": (
        datasets.make_blobs,
        {"n_train": 10, "n_test": 10, "n_features": 3, "n_classes": 2, "spread": 1.0, "rng": 0},
    ),
    "training.train": (training.train, TRAIN | {"rng": 0, "state": sgd(0.9).init(W)}),
    "fast.train": (fast.train, TRAIN | {"rngs": [0, 1], "state": [sgd(0.9).init(W)] * 2}),
    "fast.Trainer": (
        fast.Trainer,
        {"model": MODEL, "X": X, "y": Y, "optimizer": sgd(0.9), "params": np.stack([W, W]), "l2": 0.1},
    ),
}

CALLS |= {
    "fast.in_place": (fast.in_place, {"optimizer": sgd(0.9), "params": W.copy()}),
    "fast.InPlace": (in_place, {"gradient": W, "learning_rate": 0.1}),
    "fast.InPlace.load": (fast.in_place(adam(), W.copy()).load, {"saved": fast.in_place(adam(), W.copy()).save()}),
    "fast.Trainer.run": (trainer("run"), {"batches": np.array([[[0, 1], [2, 3]]] * 2), "learning_rate": 0.1}),
    "fast.Trainer.evaluate": (trainer("evaluate"), {"X": X, "y": Y}),
    "fast.Trainer.load": (trainer("load"), {"saved": trainer("save")()}),
    "training.History.replica": (fast.train(**TRAIN, rngs=[0, 1]).replica, {"i": 1}),
}

HOSTILE = [
    *(None, True, False, np.True_, "1", b"1", "", "reshuffle", 1j, np.complex128(1), Decimal("0.5"), Fraction(1, 3), object()),
    *(
        0,
        1,
        -1,
        2,
        3,
        7,
        10**30,
        -(10**30),
        10**400,
        Fraction(10**400),
        np.int8(5),
        np.uint64(2**63 + 1),
        np.timedelta64(3, "s"),
    ),
    *(
        0.0,
        -0.0,
        0.5,
        -0.5,
        1.0,
        1.5,
        2.0,
        1e-320,
        5e-324,
        1e-200,
        1e200,
        1e308,
        -1e308,
        float("nan"),
        float("inf"),
        -float("inf"),
    ),
    *(np.float16(6e4), np.float16("nan"), np.float32(1e38), np.float32(0.1), np.finfo(np.longdouble).max, np.longdouble("0.5")),
    *(
        (),
        (1,),
        (1.0, 2.0),
        (1, "a"),
        [0.1],
        [[1.0], [1.0, 2.0]],
        {},
        {1.0},
        range(3),
        slice(2),
        lambda *_: 1.0,
        lambda *_: None,
    ),
    *(np.zeros(0), np.zeros((0, 3)), np.zeros((3, 0)), np.array(0.5), np.array([0.5]), np.array([1.0, 2.0]), np.full(3, 0.1)),
    *(np.array([0.1, np.nan]), np.array([np.inf]), np.full((12, 3), np.nan), np.full((12, 3), 1e308), np.full((3, 2), 1e200)),
    *(np.eye(2), -np.eye(2), np.eye(3), np.full((2, 2), 1e308), np.eye(2, dtype=np.float16), np.eye(2, dtype=np.int8)),
    *(np.array([True, False]), np.array(["a", "b"]), np.array([None, 1.0]), np.array([1j]), np.array([3, 5], "m8[s]")),
    *(np.arange(12), np.arange(12) - 3, np.arange(12.0), np.arange(12, dtype=np.uint64), np.arange(36.0).reshape(12, 3)),
    *(np.ma.masked_array([0.1, 0.2], [0, 1]), np.ma.masked, np.ma.masked_array(X, X > 0), np.ones((2, 2)).view(np.matrix)),
    *(
        X.astype(np.float32),
        X.astype(np.float16),
        X.astype(np.longdouble),
        np.asfortranarray(X),
        X[::2],
        W[:-1],
        W.astype("f4"),
    ),
    *(np.array([{"a": 1}]), np.zeros(2, [("a", float)]), "float16", "complex", np.random, MODEL, DATA, SCHEDULE),
    *([Stage(1, 0.1, 4), None], sgd(), [0, 0], [np.nan], "x" * 10**4, np.random.default_rng(0), -np.arange(3)),
]


# What an error may begin with beside the name of an argument.
DERIVED = ["the result", "shapes must broadcast", "noise", "signal", "the largest eigenvalue"]
# A schedule has batch sizes; of three things to convert to, one is wanted.
DERIVED += [
    "batch_size must be an integer from 1 to n_train",
    "exactly one of to_batch_size",
    "what step_size(t) returns",
    "the step and the next state",
]


def show(value):
    if isinstance(value, np.ma.MaskedArray):
        return "a masked array"
    text = repr(value) if not isinstance(value, int) or abs(value) < 10**50 else "a large int"
    return " ".join(text.split())[:80]


def finite(value):
    """Whether all numbers in a result are finite."""
    if isinstance(value, (np.ma.MaskedArray, np.matrix)):
        return False
    if isinstance(value, np.ndarray):
        return value.dtype.kind in "biufU" and (value.dtype.kind != "f" or bool(np.isfinite(value).all()))
    if isinstance(value, (tuple, list)):
        return all(map(finite, value))
    if isinstance(value, (float, np.floating)):
        return bool(np.isfinite(value))
    if hasattr(value, "__dataclass_fields__"):
        return all(finite(getattr(value, name)) for name in value.__dataclass_fields__)
    return not isinstance(value, complex)


# Of finite arguments, so that divergence can be seen.
MAY_BE_INFINITE = {"fast.InPlace", "fast.Trainer.run", "fast.Trainer.evaluate"}
MAY_BE_INFINITE |= {"stationary.tail_index"}  # of a law without a tail
MAY_BE_INFINITE |= {
    name for name in CALLS if name.startswith("models.MLP.") or (name.startswith("energies.") and "grad" in name)
}


def complaint(name, changes):
    """What is wrong with the answer to a call with these arguments; None if nothing is."""
    function, arguments = CALLS[name]
    arguments = arguments | changes
    known = [*arguments, *inspect.signature(function).parameters, *DERIVED]
    names = re.compile(rf"^({'|'.join(map(re.escape, sorted(known, key=len, reverse=True)))})(?!\w)")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            result = function(**arguments)
    except (sgdnoise.DivergenceError, langevin.TrajectoryDivergenceError):
        return None
    except (TypeError, ValueError) as error:
        message = str(error)
        if names.match(message):
            return None
        return f"{type(error).__name__} that names no argument: {message[:150]}"
    except Exception as error:
        if name == "datasets.load_idx" and isinstance(error, OSError):
            return None
        return f"{type(error).__name__}: {str(error)[:150]}"
    if not finite(result) and name not in MAY_BE_INFINITE and all(map(finite, changes.values())):
        return f"a result that is not finite: {show(result)}"
    return None


@lru_cache
def cases():
    return [(name, argument) for name, (_, arguments) in CALLS.items() for argument in arguments]


@seed(0)
@settings(max_examples=1500, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck))
@given(st.integers(0, 10**9), st.integers(0, len(HOSTILE) - 1), st.integers(0, len(HOSTILE) - 1), st.booleans())
def test_hostile_arguments_give_a_result_or_an_error_that_names_them(which, first, second, both):
    name, argument = cases()[which % len(cases())]
    changes = {argument: HOSTILE[first]}
    if both:
        other = [a for a in CALLS[name][1] if a != argument]
        if other:
            changes[other[which // len(cases()) % len(other)]] = HOSTILE[second]
    found = complaint(name, changes)
    assert found is None, f"{name}({', '.join(f'{a}={show(v)}' for a, v in changes.items())}): {found}"


@pytest.mark.parametrize("name", CALLS)
def test_the_calls_work_as_they_are(name):
    assert name == "datasets.load_idx" or complaint(name, {}) is None
    function, arguments = CALLS[name]
    if name != "datasets.load_idx":
        function(**arguments)


CHECKS = [testing.check_noise_scale, testing.check_optimizer, testing.check_gradient, testing.check_sampler]


@pytest.mark.parametrize("specification", CHECKS, ids=lambda check: check.__name__)
def test_checks_of_what_is_no_implementation(specification):
    """They name their argument, or break a law; what is called may raise an error of its own."""
    (name, *_) = inspect.signature(specification).parameters
    for value in HOSTILE:
        if callable(value) or value is MODEL:
            continue
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            with pytest.raises((TypeError, ValueError), match=rf"\b{name}\b"):
                specification(value)


@pytest.mark.parametrize(
    ("specification", "right", "option"),
    [
        (testing.check_noise_scale, noise.noise_scale, "rtol"),
        (testing.check_noise_scale, noise.noise_scale, "dtype"),
        (testing.check_optimizer, sgd, "kind"),
        (testing.check_optimizer, sgd, "shapes"),
        (testing.check_gradient, LOGISTIC, "data"),
        (testing.check_gradient, LOGISTIC, "points"),
        (testing.check_gradient, LOGISTIC, "step"),
        (testing.check_sampler, sampling.minibatches, "sampling"),
        (testing.check_sampler, sampling.minibatches, "drop_last"),
    ],
)
def test_options_of_checks(specification, right, option):
    for value in ("1", 1j, b"1", -1.0, {}, [None], np.ma.masked, np.array([np.nan]), object()):
        with pytest.raises((TypeError, ValueError), match=rf"\b{option}\b"):
            specification(right, **{option: value})


# Not called: what only carries results, is checked where it is used, or has no argument.
CARRIERS = {"AdamSettings", "AdamState", "Conversion", "DivergenceError", "History", "Model", "ModifiedEquation", "Samples"}
CARRIERS |= {"Setting", "SgdState", "Trajectory", "Record", "Adam", "Sgd"}
INTERNAL = {
    "sampling.draw",
    "scaling.past_tenth",
    "training.check_arguments",
    "optimizers.step_of",
    "optimizers.state_for",
}  # on arguments already checked


def test_every_public_function_is_called():
    for module in MODULES:
        name = module.__name__.removeprefix("sgdnoise.")
        for key, value in vars(module).items():
            if key.startswith("_") or getattr(value, "__module__", None) != module.__name__ or not callable(value):
                continue
            full = f"{name}.{key}"
            if key in CARRIERS or full in INTERNAL or isinstance(value, type(st)):
                continue
            assert full in CALLS, full
            if inspect.isclass(value):
                for method, function in vars(value).items():
                    if not method.startswith("_") and inspect.isfunction(function) and f"{full}.{method}" not in INTERNAL:
                        assert len(inspect.signature(function).parameters) == 1 or f"{full}.{method}" in CALLS, method


def main(n, start=0):
    """Make n random calls, and print each kind of complaint once."""
    rng, seen = np.random.default_rng(start), {}
    for i in range(n):
        name, argument = cases()[rng.integers(len(cases()))]
        changes = {argument: HOSTILE[rng.integers(len(HOSTILE))]}
        other = [a for a in CALLS[name][1] if a != argument]
        if other and rng.integers(2):
            changes[other[rng.integers(len(other))]] = HOSTILE[rng.integers(len(HOSTILE))]
        found = complaint(name, changes)
        if found:
            key = name, next(iter(changes)), found[:40]
            seen[key] = seen.get(key, 0) + 1
            if seen[key] == 1:
                print(f"{name}({', '.join(f'{a}={show(v)}' for a, v in changes.items())}): {found}", flush=True)
        if i % 2000 == 0:
            gc.collect()
    print(f"{n} calls, {sum(seen.values())} complaints of {len(seen)} kinds")


if __name__ == "__main__":
    importlib.import_module("sgdnoise")
    main(int(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 0)
