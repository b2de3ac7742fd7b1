"""Adam and its descendants."""

from __future__ import annotations

from typing import TYPE_CHECKING, Unpack

from fastreg._core import checks
from fastreg.optim.base import Optimizer
from fastreg.optim.hypers import DECAY, DECAYS, Default, hyper, slot

if TYPE_CHECKING:
    from fastreg._core.types import Hyper, Number, Services, ServicesOfAll, Slot

__all__ = ["Adam", "AdamW", "Adamax", "NAdam", "RAdam"]


def _adam_hypers(learning_rate, beta1, beta2, epsilon):
    return {
        "learning_rate": learning_rate,
        "beta1": beta1,
        "beta2": beta2,
        "epsilon": epsilon,
    }


class Adam(Optimizer):
    r"""Adam: steps scaled by running means of the gradient and of its square.

    .. math::

        m \leftarrow \beta_1 m + (1 - \beta_1) g, \quad
        v \leftarrow \beta_2 v + (1 - \beta_2) g^2, \quad
        \theta \leftarrow \theta - \eta \frac{m / (1 - \beta_1^t)}
        {\sqrt{v / (1 - \beta_2^t)} + \epsilon}

    Parameters
    ----------
    learning_rate : float or function of the step, default 0.001
        Step size :math:`\eta`, at least 0.
    beta1, beta2 : float, default 0.9 and 0.999
        Decay of m and of v per step, in [0, 1).
    epsilon : float, default 1e-8
        Added to the root, at least 0.
    amsgrad : bool, default False
        Divide by the largest v so far.
    **services
        See :class:`Optimizer`.

    Attributes
    ----------
    m, v : mapping
        The running means by parameter name.

    References
    ----------
    Kingma & Ba, "Adam: A method for stochastic optimization", ICLR 2015, algorithm 1; Reddi,
    Kale & Kumar, "On the convergence of Adam and beyond", ICLR 2018 (AMSGrad).

    Examples
    --------
    >>> params, optimizer = {"w": np.array([1.0, -1.0])}, fastreg.Adam(learning_rate=0.1)
    >>> optimizer.update(params, {"w": np.array([0.5, -2.0])})
    >>> params["w"].round(6)
    array([ 0.9, -0.9])
    """

    _defaults = {"keras": {"epsilon": 1e-7}}
    _decays = DECAYS | {"optax": "decoupled"}

    beta1: Hyper = hyper("beta1", "Decay of m per step.", **DECAY)
    beta2: Hyper = hyper("beta2", "Decay of v per step.", **DECAY)
    epsilon: Hyper = hyper("epsilon", "Added to the root.", low=0.0)
    m: Slot = slot(0, "Running mean of the gradient, by parameter name.")
    v: Slot = slot(1, "Running mean of the squared gradient, by parameter name.")

    def __init__(
        self,
        learning_rate: Number = Default(0.001),
        beta1: float = 0.9,
        beta2: float = 0.999,
        epsilon: float = Default(1e-8),
        *,
        amsgrad: bool = False,
        **services: Unpack[Services],
    ) -> None:
        hypers = _adam_hypers(learning_rate, beta1, beta2, epsilon)
        if checks.flag(self._name, "amsgrad", amsgrad):
            self._decays = self._decays | {"optax": "none"}
        slots = ("m", "v", "peak") if amsgrad else ("m", "v")
        super().__init__("amsgrad" if amsgrad else "adam", slots, hypers, **services)


class AdamW(Adam):
    r"""Adam with decoupled weight decay: theta also shrinks by ``learning_rate * weight_decay``.

    Parameters
    ----------
    learning_rate, beta1, beta2, epsilon, amsgrad
        As in :class:`Adam`.
    weight_decay : float or function of the step, default 0.01
        Decay :math:`\lambda` in :math:`\theta \leftarrow (1 - \eta \lambda) \theta - \ldots`.
    **services
        See :class:`Optimizer`.

    References
    ----------
    Loshchilov & Hutter, "Decoupled weight decay regularization", ICLR 2019.

    Examples
    --------
    >>> params = {"w": np.array([1.0])}
    >>> fastreg.AdamW(0.1, weight_decay=0.5).update(params, {"w": np.array([0.0])})
    >>> params["w"]
    array([0.95])
    """

    _defaults = {
        "keras": {"epsilon": 1e-7, "weight_decay": 0.004},
        "optax": {"weight_decay": 1e-4},
    }
    _decays = DECAYS | {"torch": "decoupled", "optax": "decoupled"}

    def __init__(
        self,
        learning_rate: Number = Default(0.001),
        beta1: float = 0.9,
        beta2: float = 0.999,
        epsilon: float = Default(1e-8),
        weight_decay: Number = Default(0.01),
        **services: Unpack[ServicesOfAll],
    ) -> None:
        super().__init__(
            learning_rate, beta1, beta2, epsilon, weight_decay=weight_decay, **services
        )


class NAdam(Adam):
    r"""Adam with Nesterov momentum.

    .. math::

        \theta \leftarrow \theta - \eta \frac{(1 - \mu_t) g / (1 - \prod_{i \le t} \mu_i)
        + \mu_{t+1} m / (1 - \prod_{i \le t+1} \mu_i)}{\sqrt{v / (1 - \beta_2^t)} + \epsilon},
        \quad \mu_t = \beta_1 (1 - 0.96^{t \psi} / 2)

    Parameters
    ----------
    learning_rate : float or function of the step, default 0.002
        Step size :math:`\eta`, at least 0.
    beta1, beta2, epsilon
        As in :class:`Adam`.
    momentum_decay : float, default 0.004
        The exponent :math:`\psi`, at least 0.
    **services
        See :class:`Optimizer`.

    References
    ----------
    Dozat, "Incorporating Nesterov momentum into Adam", ICLR workshop 2016.

    Examples
    --------
    >>> params = {"w": np.array([1.0])}
    >>> fastreg.NAdam(0.1).update(params, {"w": np.array([2.0])})
    >>> params["w"].round(3)
    array([0.894])
    """

    _defaults = {"keras": {"learning_rate": 0.001, "epsilon": 1e-7, "momentum_decay": 1.0}}

    momentum_decay: Hyper = hyper("momentum_decay", "Exponent of the momentum schedule.", low=0.0)

    def __init__(
        self,
        learning_rate: Number = Default(0.002),
        beta1: float = 0.9,
        beta2: float = 0.999,
        epsilon: float = Default(1e-8),
        *,
        momentum_decay: float = Default(0.004),
        **services: Unpack[Services],
    ) -> None:
        hypers = _adam_hypers(learning_rate, beta1, beta2, epsilon)
        hypers["momentum_decay"] = momentum_decay
        Optimizer.__init__(self, "nadam", ("m", "v"), hypers, **services)


class RAdam(Adam):
    r"""Rectified Adam: plain momentum until the variance of v is tractable, then scaled Adam.

    .. math::

        \rho_t = \rho_\infty - \frac{2 t \beta_2^t}{1 - \beta_2^t}, \quad
        r_t = \sqrt{\frac{(\rho_t - 4)(\rho_t - 2) \rho_\infty}
        {(\rho_\infty - 4)(\rho_\infty - 2) \rho_t}}, \quad
        \rho_\infty = \frac{2}{1 - \beta_2} - 1

    Where :math:`\rho_t > 5` the step is :math:`r_t` times Adam's; before, :math:`\eta m /
    (1 - \beta_1^t)`.

    Parameters
    ----------
    learning_rate, beta1, beta2, epsilon
        As in :class:`Adam`.
    **services
        See :class:`Optimizer`.

    References
    ----------
    Liu et al., "On the variance of the adaptive learning rate and beyond", ICLR 2020.

    Examples
    --------
    >>> params = {"w": np.array([1.0])}
    >>> fastreg.RAdam(0.1).update(params, {"w": np.array([2.0])})
    >>> params["w"].round(6)
    array([0.8])
    """

    _defaults = {}
    _decays = DECAYS | {"keras": "no class"}

    def __init__(
        self,
        learning_rate: Number = 0.001,
        beta1: float = 0.9,
        beta2: float = 0.999,
        epsilon: float = 1e-8,
        **services: Unpack[Services],
    ) -> None:
        hypers = _adam_hypers(learning_rate, beta1, beta2, epsilon)
        Optimizer.__init__(self, "radam", ("m", "v"), hypers, **services)


class Adamax(Optimizer):
    r"""Adam with the infinity norm: steps scaled by a fading maximum of the gradient's size.

    .. math::

        m \leftarrow \beta_1 m + (1 - \beta_1) g, \quad
        u \leftarrow \max(\beta_2 u, |g| + \epsilon), \quad
        \theta \leftarrow \theta - \frac{\eta}{1 - \beta_1^t} \frac{m}{u}

    Parameters
    ----------
    learning_rate : float or function of the step, default 0.002
        Step size :math:`\eta`, at least 0.
    beta1, beta2 : float, default 0.9 and 0.999
        Decay of m and of u per step, in [0, 1).
    epsilon : float, default 1e-8
        Added to the gradient's size, at least 0.
    **services
        See :class:`Optimizer`.

    Attributes
    ----------
    m, u : mapping
        Running mean and fading maximum by parameter name.

    References
    ----------
    Kingma & Ba, "Adam: A method for stochastic optimization", ICLR 2015, algorithm 2.

    Examples
    --------
    >>> params = {"w": np.array([1.0, 1.0])}
    >>> fastreg.Adamax(0.1).update(params, {"w": np.array([4.0, -0.25])})
    >>> params["w"].round(6)
    array([0.9, 1.1])
    """

    _defaults = {"keras": {"learning_rate": 0.001, "epsilon": 1e-7}}
    _decays = DECAYS | {"optax": "decoupled"}

    beta1: Hyper = hyper("beta1", "Decay of m per step.", **DECAY)
    beta2: Hyper = hyper("beta2", "Decay of u per step.", **DECAY)
    epsilon: Hyper = hyper("epsilon", "Added to the gradient's size.", low=0.0)
    m: Slot = slot(0, "Running mean of the gradient, by parameter name.")
    u: Slot = slot(1, "Fading maximum of the gradient's size, by parameter name.")

    def __init__(
        self,
        learning_rate: Number = Default(0.002),
        beta1: float = 0.9,
        beta2: float = 0.999,
        epsilon: float = Default(1e-8),
        **services: Unpack[Services],
    ) -> None:
        hypers = _adam_hypers(learning_rate, beta1, beta2, epsilon)
        super().__init__("adamax", ("m", "u"), hypers, **services)
