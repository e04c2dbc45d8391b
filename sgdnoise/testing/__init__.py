"""The specification: checks that run on any implementation, yours included.

Each ``check_*`` function takes an implementation and tries the laws it has to obey on many inputs. It returns the names of the
laws that hold, or raises `LawError` with the law that broke, the smallest counterexample and the value expected there::

    from sgdnoise.testing import check_noise_scale
    check_noise_scale(my_noise_scale)

=====================  ===========================================================================================
`check_noise_scale`    g against every possible minibatch of small training sets, and its exact dependence on eps, N, m
`check_optimizer`      SGD, momentum (trace form), Nesterov; or Adam: against impulse responses written out as sums
`check_gradient`       gradients, per-example gradients and Hessian-vector products against differences of the loss
`check_sampler`        minibatches: what they may contain, and the covariances of their noise
=====================  ===========================================================================================

What computes the expected value never is the formula under test: it is an enumeration in rational arithmetic, a sum in place of
a recursion, or a finite difference. Where numbers are compared, `rtol` and `dtype` say how exactly and in what precision.

The inputs are always the same: they depend on the law alone. What is drawn is public, too, as strategies for property tests of
your own with Hypothesis (``pip install "sgdnoise[test]"``; the checks do without, and run inside your tests as they are):
`learning_rates`, `momenta`, `batches`, `gradient_sequences`. Only `check_sampler` has statistical laws: a right sampler breaks
one with probability below 1e-6 over all random seeds, and the seed is fixed.

An ArithmeticError, a warning or, if other inputs are accepted, a ValueError that the implementation raises breaks the law: the
input has a part in it. Any other exception is its own, and comes through as it is with a note on the law and the input.
"""

from ._gradient import check_gradient
from ._laws import LawError
from ._noise_scale import check_noise_scale
from ._optimizer import check_optimizer
from ._sampler import check_sampler
from ._strategies import batches, gradient_sequences, learning_rates, momenta

__all__ = [
    "LawError",
    "batches",
    "check_gradient",
    "check_noise_scale",
    "check_optimizer",
    "check_sampler",
    "gradient_sequences",
    "learning_rates",
    "momenta",
]
