"""One optimizer update of float32 parameters, the gradient given, one core: ``python benchmarks/bench_update.py``.

The limit is the same traffic and nothing else: the gradient is read; parameters and state are read and written. That is 5
passes over an array for momentum and Nesterov, 7 for Adam. (Whoever makes a temporary array of full size adds 2.)
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from timing import check_agreement, installed, is_peer, main, medians, row

from sgdnoise import Optimizer, adam, fast, sgd

SIZES = (10_000, 100_000, 1_000_000, 10_000_000)
LEARNING_RATE = 0.1
TRAFFIC = "memory traffic alone"


class Rule(NamedTuple):
    """An optimizer: ours, the name of PyTorch's and its arguments, and how many arrays of state it keeps."""

    ours: Optimizer
    torch: str
    arguments: dict[str, Any]
    n_state: int


RULES = {
    "momentum": Rule(sgd(0.9), "SGD", {"momentum": 0.9}, 1),
    "nesterov": Rule(sgd(0.9, nesterov=True), "SGD", {"momentum": 0.9, "nesterov": True}, 1),
    "adam": Rule(adam(), "Adam", {}, 2),
}


class Side(NamedTuple):
    """Puts a gradient into place, makes an update with it, and says where the parameters are."""

    prepare: Callable[[np.ndarray], object]
    run: Callable[[], object]
    params: Callable[[], np.ndarray]


def in_place(rule: Rule, start: np.ndarray) -> Side:
    """`fast.in_place`."""
    params = start.copy()
    here = {"gradient": np.empty_like(start)}
    update = fast.in_place(rule.ours, params)

    def run() -> None:
        here["gradient"] = update(here["gradient"], LEARNING_RATE)

    return Side(lambda gradient: np.copyto(here["gradient"], gradient), run, lambda: params)


def reference(rule: Rule, start: np.ndarray) -> Side:
    """The optimizer's own `update`, and the step added, as in `sgdnoise.train`."""
    here = {"params": start, "state": rule.ours.init(start), "gradient": np.empty_like(start)}

    def run() -> None:
        step, here["state"] = rule.ours.update(here["gradient"], here["state"], LEARNING_RATE)
        here["params"] = here["params"] + step

    return Side(partial(np.copyto, here["gradient"]), run, lambda: here["params"])


def torch_optim(rule: Rule, start: np.ndarray, **how: bool) -> Side:
    """PyTorch's optimizer on one tensor."""
    import torch

    torch.set_num_threads(1)
    params = torch.tensor(start, requires_grad=True)
    params.grad = torch.zeros_like(params)
    gradient = params.grad.numpy()
    optimizer = getattr(torch.optim, rule.torch)([params], lr=LEARNING_RATE, **rule.arguments, **how)
    return Side(partial(np.copyto, gradient), optimizer.step, lambda: params.detach().numpy())


def jax_donated(rule: Rule, start: np.ndarray) -> Side:
    """The reference's own lines in JAX, jitted, with parameters and state donated."""
    import jax
    import jax.numpy as jnp

    if rule.torch == "SGD":
        momentum, nesterov = rule.arguments["momentum"], rule.arguments.get("nesterov", False)

        def update(t: Any, w: Any, state: Any, g: Any) -> Any:
            a = momentum * state[0] + g
            return w - LEARNING_RATE * (g + momentum * a if nesterov else a), [a]
    else:
        b1, b2, eps = 0.9, 0.999, 1e-8

        def update(t: Any, w: Any, state: Any, g: Any) -> Any:
            u, s = b1 * state[0] + (1 - b1) * g, b2 * state[1] + (1 - b2) * g * g
            return w - LEARNING_RATE * (u / (1 - b1**t)) / (jnp.sqrt(s / (1 - b2**t)) + eps), [u, s]

    jitted = jax.jit(update, donate_argnums=(1, 2))
    here: dict[str, Any] = {"t": 0, "w": jnp.array(start), "state": [jnp.zeros_like(start) for _ in range(rule.n_state)]}

    def prepare(gradient: np.ndarray) -> None:
        here["g"] = jax.block_until_ready(jnp.array(gradient))

    def run() -> None:
        here["t"] += 1
        here["w"], here["state"] = jax.block_until_ready(jitted(float(here["t"]), here["w"], here["state"], here["g"]))

    return Side(prepare, run, lambda: np.asarray(here["w"]))


def traffic(rule: Rule, start: np.ndarray) -> Side:
    """Read one array; read and write the others."""
    gradient, arrays = np.ones_like(start), [start.copy() for _ in range(1 + rule.n_state)]

    def run() -> None:
        np.dot(gradient, gradient)
        for array in arrays:
            np.negative(array, out=array)

    return Side(partial(np.copyto, gradient), run, lambda: arrays[0])


SIDES: dict[str, Callable[[Rule, np.ndarray], Side]] = {
    "fast": in_place,
    "reference": reference,
    "torch foreach": partial(torch_optim, foreach=True),
    "torch fused": partial(torch_optim, fused=True),
    "jax jitted": jax_donated,
    TRAFFIC: traffic,
}


class Update:
    """One update by one side, in the shape that asv reads."""

    params = (tuple(RULES), SIZES, tuple(SIDES))
    param_names = ("optimizer", "parameters", "side")
    number = 1  # each call of `time_update` has a `setup` of its own, and so a fresh gradient

    def setup(self, optimizer: str, size: int, side: str) -> None:
        """Make the side and a gradient."""
        if not installed(side):
            raise NotImplementedError  # asv skips it
        here = SIDES[side](RULES[optimizer], np.ones(size, np.float32))
        here.prepare(np.random.default_rng(0).standard_normal(size, dtype=np.float32))
        self.run = here.run

    def time_update(self, optimizer: str, size: int, side: str) -> None:
        """Make the update."""
        self.run()


def check(rule: Rule, sides: dict[str, Callable[[Rule, np.ndarray], Side]], size: int = 1000) -> None:
    """Raise unless all sides take three gradients in the same way."""
    rng = np.random.default_rng(0)
    start = rng.standard_normal(size, dtype=np.float32)
    gradients = rng.standard_normal((3, size), dtype=np.float32)

    def end(make: Callable[[Rule, np.ndarray], Side]) -> np.ndarray:
        side = make(rule, start)
        for gradient in gradients:
            side.prepare(gradient)
            side.run()
        return side.params()

    check_agreement(start, {name: end(make) for name, make in sides.items() if name != TRAFFIC})


def run(smallest: bool = False) -> list[dict[str, Any]]:
    """Time one update of each side; `smallest` is for tests: few parameters, without peers."""
    sides = {name: make for name, make in SIDES.items() if installed(name) and not (smallest and is_peer(name))}
    rows = []
    for name, rule in RULES.items():
        check(rule, sides)
        for size in (1000,) if smallest else SIZES:
            rng = np.random.default_rng(0)
            start, gradient = rng.standard_normal((2, size), dtype=np.float32)
            made = {side: make(rule, start) for side, make in sides.items()}
            times = medians(
                {side: one.run for side, one in made.items()},
                repeats=1 if smallest else max(11, min(301, 30_000_000 // size)),
                prepare={side: partial(one.prepare, gradient) for side, one in made.items()},
            )
            setting = {"optimizer": name, "parameters": size, "passes over an array": 3 + 2 * rule.n_state}
            rows.append(row("update", setting, times, over="fast", sides=SIDES))
    return rows


if __name__ == "__main__":
    main(run)
