"""Later rules of Adam's kind."""

from __future__ import annotations

from typing import TYPE_CHECKING, Unpack

from fastreg.optim.adam import _adam_hypers
from fastreg.optim.base import Optimizer
from fastreg.optim.hypers import DECAY, OPTAX_ALONE, hyper, slot

if TYPE_CHECKING:
    from fastreg._core.types import Hyper, Number, Services, Slot

__all__ = ["Adan", "Yogi"]


class Yogi(Optimizer):
    r"""Yogi: Adam whose v moves by a share of :math:`g^2`, however far away it is.

    .. math::

        m \leftarrow \beta_1 m + (1 - \beta_1) g, \quad
        v \leftarrow v - (1 - \beta_2) \operatorname{sign}(v - g^2) g^2, \quad
        \theta \leftarrow \theta - \eta \frac{m / (1 - \beta_1^t)}
        {\sqrt{v / (1 - \beta_2^t)} + \epsilon}

    Where gradients become small, v falls slowly, and the steps do not grow all at once.

    Parameters
    ----------
    learning_rate : float or function of the step, default 0.01
        Step size :math:`\eta`, at least 0.
    beta1, beta2 : float, default 0.9 and 0.999
        Decay of m per step, and what v does not move by, in [0, 1).
    epsilon : float, default 1e-3
        Added to the root, at least 0.
    initial_accumulator : float, default 1e-6
        First value of v, at least 0; in Optax of m, too.
    **services
        See :class:`Optimizer`.

    Attributes
    ----------
    m, v : mapping
        Running mean of the gradient and estimate of its square by parameter name.

    References
    ----------
    Zaheer, Reddi, Sachan, Kale & Kumar, "Adaptive methods for nonconvex optimization", NeurIPS
    2018, algorithm 2, with the bias corrections of its implementations.

    Examples
    --------
    >>> params = {"w": np.array([1.0, 1.0])}
    >>> fastreg.Yogi(0.1).update(params, {"w": np.array([4.0, -0.25])})
    >>> params["w"].round(3)
    array([0.9  , 1.099])
    """

    _decays = OPTAX_ALONE

    beta1: Hyper = hyper("beta1", "Decay of m per step.", **DECAY)
    beta2: Hyper = hyper("beta2", "What v does not move by per step.", **DECAY)
    epsilon: Hyper = hyper("epsilon", "Added to the root.", low=0.0)
    m: Slot = slot(0, "Running mean of the gradient, by parameter name.")
    v: Slot = slot(1, "Estimate of the squared gradient, by parameter name.")

    def __init__(
        self,
        learning_rate: Number = 0.01,
        beta1: float = 0.9,
        beta2: float = 0.999,
        epsilon: float = 1e-3,
        *,
        initial_accumulator: float = 1e-6,
        **services: Unpack[Services],
    ) -> None:
        if services.get("compat") == "optax":
            self._accumulators = ("m", "v")
        hypers = _adam_hypers(learning_rate, beta1, beta2, epsilon)
        hypers["initial_accumulator"] = initial_accumulator
        super().__init__("yogi", ("m", "v"), hypers, **services)


class Adan(Optimizer):
    r"""Adan: Nesterov momentum by the differences of successive gradients.

    .. math::

        m &\leftarrow \beta_1 m + (1 - \beta_1) g, \quad
        v \leftarrow \beta_2 v + (1 - \beta_2) (g - g'), \\
        n &\leftarrow \beta_3 n + (1 - \beta_3) (g + \beta_2 (g - g'))^2, \\
        \theta &\leftarrow \theta - \eta \frac{m / (1 - \beta_1^t) + \beta_2 v / (1 - \beta_2^t)}
        {\sqrt{n / (1 - \beta_3^t)} + \epsilon}

    where :math:`g'` is the gradient of the step before, and :math:`g` itself in the first step.
    With ``compat="optax"`` the differences weigh :math:`1 - \beta_2` instead of
    :math:`\beta_2`, and 1e-8 is added inside the root.

    Parameters
    ----------
    learning_rate : float or function of the step, default 0.001
        Step size :math:`\eta`, at least 0.
    beta1, beta2, beta3 : float, default 0.98, 0.92 and 0.99
        Decay of m, v and n per step, in [0, 1); one less the paper's.
    epsilon : float, default 1e-8
        Added to the root, at least 0.
    **services
        See :class:`Optimizer`.

    Attributes
    ----------
    m, v, n, previous : mapping
        Running means of the gradient, of its difference, and of the square of both together; the
        gradient of the step before; by parameter name.

    References
    ----------
    Xie, Zhou, Li, Lin & Yan, "Adan: Adaptive Nesterov momentum algorithm for faster optimizing
    deep models", arXiv:2208.06677, algorithm 1.

    Examples
    --------
    >>> params, optimizer = {"w": np.array([1.0])}, fastreg.Adan(0.1)
    >>> for _ in range(2):
    ...     optimizer.update(params, {"w": np.array([2.0])})
    >>> params["w"].round(6)
    array([0.8])
    """

    _decays = OPTAX_ALONE | {"optax": "decoupled"}

    beta1: Hyper = hyper("beta1", "Decay of m per step.", **DECAY)
    beta2: Hyper = hyper("beta2", "Decay of v per step.", **DECAY)
    beta3: Hyper = hyper("beta3", "Decay of n per step.", **DECAY)
    epsilon: Hyper = hyper("epsilon", "Added to the root.", low=0.0)
    m: Slot = slot(0, "Running mean of the gradient, by parameter name.")
    v: Slot = slot(1, "Running mean of the gradient's difference, by parameter name.")
    n: Slot = slot(2, "Running mean of the square of both together, by parameter name.")
    previous: Slot = slot(3, "The gradient of the step before, by parameter name.")

    def __init__(
        self,
        learning_rate: Number = 0.001,
        beta1: float = 0.98,
        beta2: float = 0.92,
        beta3: float = 0.99,
        epsilon: float = 1e-8,
        **services: Unpack[Services],
    ) -> None:
        hypers = _adam_hypers(learning_rate, beta1, beta2, epsilon)
        hypers["beta3"] = beta3
        super().__init__("adan", ("m", "v", "n", "previous"), hypers, **services)
