"""SGD, its accelerations and the adaptive rules before Adam; Lion."""

from __future__ import annotations

from typing import TYPE_CHECKING, Unpack

from fastreg._core import checks
from fastreg.optim.base import Optimizer
from fastreg.optim.hypers import DECAY, DECAYS, Default, hyper, slot

if TYPE_CHECKING:
    from fastreg._core.types import Hyper, Number, Services, Slot

__all__ = ["SGD", "AdaGrad", "Adadelta", "Lion", "Momentum", "RMSprop"]


class SGD(Optimizer):
    r"""Stochastic gradient descent: :math:`\theta \leftarrow \theta - \eta g`.

    Parameters
    ----------
    learning_rate : float or function of the step, default 0.01
        Step size :math:`\eta`, at least 0.
    **services
        See :class:`Optimizer`.

    References
    ----------
    Robbins & Monro, "A stochastic approximation method", Ann. Math. Stat. 22, 1951.

    Examples
    --------
    >>> params = {"w": np.array([1.0, -1.0])}
    >>> fastreg.SGD(0.5).update(params, {"w": np.array([1.0, 1.0])})
    >>> params["w"]
    array([ 0.5, -1.5])
    """

    _defaults = {"torch": {"learning_rate": 0.001}}

    def __init__(self, learning_rate: Number = Default(0.01), **services: Unpack[Services]) -> None:
        super().__init__("sgd", (), {"learning_rate": learning_rate}, **services)


class Momentum(Optimizer):
    r"""Heavy-ball momentum.

    .. math:: v \leftarrow \mu v + g, \quad \theta \leftarrow \theta - \eta v

    With ``nesterov=True`` the step is :math:`\eta (g + \mu v)`.

    Parameters
    ----------
    learning_rate : float or function of the step, default 0.01
        Step size :math:`\eta`, at least 0.
    momentum : float, default 0.9
        Decay :math:`\mu` of the velocity per step, in [0, 1).
    nesterov : bool, default False
        Whether to take Nesterov's step.
    dampening : float, default 0
        The share :math:`\tau` of each gradient but the first that v is spared, in [0, 1):
        :math:`v \leftarrow \mu v + (1 - \tau) g`, as in torch.
    **services
        See :class:`Optimizer`.

    Attributes
    ----------
    v : mapping
        Velocity by parameter name.

    References
    ----------
    Polyak, "Some methods of speeding up the convergence of iteration methods", 1964;
    Sutskever et al., "On the importance of initialization and momentum", ICML 2013.

    Examples
    --------
    >>> params, optimizer = {"w": np.array([1.0])}, fastreg.Momentum(0.1)
    >>> for _ in range(2):
    ...     optimizer.update(params, {"w": np.array([1.0])})
    >>> params["w"].round(6)
    array([0.71])
    """

    _defaults = {"torch": {"learning_rate": 0.001}}

    _later = {"hyper.dampening": 0.0}

    momentum: Hyper = hyper("momentum", "Decay of the velocity per step.", **DECAY)
    dampening: Hyper = hyper("dampening", "Share of a gradient that v is spared.", **DECAY)
    v: Slot = slot(0, "Velocity, by parameter name.")

    def __init__(
        self,
        learning_rate: Number = Default(0.01),
        momentum: float = 0.9,
        *,
        nesterov: bool = False,
        dampening: float = 0.0,
        **services: Unpack[Services],
    ) -> None:
        hypers = {"learning_rate": learning_rate, "momentum": momentum, "dampening": dampening}
        nesterov = checks.flag("Momentum", "nesterov", nesterov)
        super().__init__("nesterov" if nesterov else "momentum", ("v",), hypers, **services)


class AdaGrad(Optimizer):
    r"""AdaGrad: steps that shrink where gradients have been large.

    .. math:: v \leftarrow v + g^2, \quad \theta \leftarrow \theta - \eta g / \sqrt{v + \epsilon}

    Parameters
    ----------
    learning_rate : float or function of the step, default 0.01
        Step size :math:`\eta`, at least 0.
    epsilon : float, default 1e-8
        Added inside the root, at least 0.
    initial_accumulator : float, default 0
        First value of v, at least 0.
    **services
        See :class:`Optimizer`.

    Attributes
    ----------
    v : mapping
        Sum of squared gradients by parameter name.

    References
    ----------
    Duchi, Hazan & Singer, "Adaptive subgradient methods", JMLR 12, 2011.

    Examples
    --------
    >>> params = {"w": np.array([1.0, 1.0])}
    >>> fastreg.AdaGrad(0.1).update(params, {"w": np.array([4.0, 0.25])})
    >>> params["w"].round(6)
    array([0.9, 0.9])
    """

    _defaults = {
        "torch": {"epsilon": 1e-10},
        "keras": {"learning_rate": 0.001, "epsilon": 1e-7, "initial_accumulator": 0.1},
        "optax": {"epsilon": 1e-7, "initial_accumulator": 0.1},
    }

    epsilon: Hyper = hyper("epsilon", "Added to the sum of squares.", low=0.0)
    v: Slot = slot(0, "Sum of squared gradients, by parameter name.")

    def __init__(
        self,
        learning_rate: Number = Default(0.01),
        epsilon: float = Default(1e-8),
        *,
        initial_accumulator: float = Default(0.0),
        **services: Unpack[Services],
    ) -> None:
        hypers = {
            "learning_rate": learning_rate,
            "epsilon": epsilon,
            "initial_accumulator": initial_accumulator,
        }
        super().__init__("adagrad", ("v",), hypers, **services)


class RMSprop(Optimizer):
    r"""RMSprop: AdaGrad with a running mean of the squared gradient.

    .. math::

        v \leftarrow \beta v + (1 - \beta) g^2, \quad
        \theta \leftarrow \theta - \eta \frac{g}{\sqrt{v + \epsilon}}

    Parameters
    ----------
    learning_rate : float or function of the step, default 0.001
        Step size :math:`\eta`, at least 0.
    beta : float, default 0.9
        Decay of v per step, in [0, 1).
    epsilon : float, default 1e-8
        Added inside the root, at least 0.
    centered : bool, default False
        Divide by the gradient's standard deviation instead: the root of v minus the squared mean.
    momentum : float, default 0
        Decay of a velocity that takes in the scaled gradients, in [0, 1).
    **services
        See :class:`Optimizer`.

    Attributes
    ----------
    v : mapping
        Running mean of the squared gradient by parameter name.
    mean, velocity : mapping
        Running mean of the gradient and velocity, if ``centered`` and ``momentum`` ask for them.

    References
    ----------
    Tieleman & Hinton, lecture 6.5 of "Neural networks for machine learning", 2012; Graves,
    "Generating sequences with recurrent neural networks", 2013 (centered).

    Examples
    --------
    >>> params = {"w": np.array([1.0, 1.0])}
    >>> fastreg.RMSprop(0.1, beta=0.75).update(params, {"w": np.array([4.0, 0.25])})
    >>> params["w"].round(6)
    array([0.8, 0.8])
    """

    _defaults = {
        "torch": {"learning_rate": 0.01, "beta": 0.99},
        "keras": {"epsilon": 1e-7},
    }

    beta: Hyper = hyper("beta", "Decay of v per step.", **DECAY)
    epsilon: Hyper = hyper("epsilon", "Added to the mean square.", low=0.0)
    momentum: Hyper = hyper("momentum", "Decay of the velocity per step.", **DECAY)
    v: Slot = slot(0, "Running mean of the squared gradient, by parameter name.")

    def __init__(
        self,
        learning_rate: Number = Default(0.001),
        beta: float = Default(0.9),
        epsilon: float = Default(1e-8),
        *,
        centered: bool = False,
        momentum: float = 0.0,
        **services: Unpack[Services],
    ) -> None:
        centered = checks.flag("RMSprop", "centered", centered)
        heavy = checks.number("RMSprop", "momentum", momentum, **DECAY) > 0.0
        rule = "rmsprop" + "_centered" * centered + "_momentum" * heavy
        slots = ("v",) + ("mean",) * centered + ("velocity",) * heavy
        hypers = {
            "learning_rate": learning_rate,
            "beta": beta,
            "epsilon": epsilon,
            "momentum": momentum,
        }
        super().__init__(rule, slots, hypers, **services)

    def _checked(self, name, value, place=""):
        value = super()._checked(name, value, place)
        if name == "momentum" and value and "velocity" not in self._slots:
            raise ValueError(
                f"RMSprop{place}: momentum must be 0 without a velocity, got {value!r}; give it to "
                "the constructor"
            )
        return value


class Adadelta(Optimizer):
    r"""Adadelta: steps in the units of the parameters.

    .. math::

        v \leftarrow \rho v + (1 - \rho) g^2, \quad
        \Delta = \sqrt{\frac{d + \epsilon}{v + \epsilon}} g, \quad
        d \leftarrow \rho d + (1 - \rho) \Delta^2, \quad
        \theta \leftarrow \theta - \eta \Delta

    Parameters
    ----------
    learning_rate : float or function of the step, default 1
        Factor :math:`\eta` on the step, at least 0.
    rho : float, default 0.9
        Decay of v and d per step, in [0, 1).
    epsilon : float, default 1e-6
        Added inside both roots, at least 0.
    **services
        See :class:`Optimizer`.

    Attributes
    ----------
    v, d : mapping
        Running means of the squared gradient and of the squared step by parameter name.

    References
    ----------
    Zeiler, "ADADELTA: An adaptive learning rate method", arXiv:1212.5701, 2012.

    Examples
    --------
    >>> params = {"w": np.array([1.0])}
    >>> fastreg.Adadelta().update(params, {"w": np.array([1.0])})
    >>> params["w"].round(4)
    array([0.9968])
    """

    _defaults = {"keras": {"learning_rate": 0.001, "rho": 0.95, "epsilon": 1e-7}}
    _decays = DECAYS | {"optax": "coupled"}

    rho: Hyper = hyper("rho", "Decay of both means per step.", **DECAY)
    epsilon: Hyper = hyper("epsilon", "Added inside both roots.", low=0.0)
    v: Slot = slot(0, "Running mean of the squared gradient, by parameter name.")
    d: Slot = slot(1, "Running mean of the squared step, by parameter name.")

    def __init__(
        self,
        learning_rate: Number = Default(1.0),
        rho: float = Default(0.9),
        epsilon: float = Default(1e-6),
        **services: Unpack[Services],
    ) -> None:
        hypers = {"learning_rate": learning_rate, "rho": rho, "epsilon": epsilon}
        super().__init__("adadelta", ("v", "d"), hypers, **services)


class Lion(Optimizer):
    r"""Lion: the sign of a blend of momentum and gradient.

    .. math::

        \theta \leftarrow \theta - \eta \operatorname{sign}(\beta_1 m + (1 - \beta_1) g), \quad
        m \leftarrow \beta_2 m + (1 - \beta_2) g

    Parameters
    ----------
    learning_rate : float or function of the step, default 1e-4
        Step size :math:`\eta`, at least 0; a tenth of Adam's is usual.
    beta1, beta2 : float, default 0.9 and 0.99
        Weight of m in the blend, and its decay per step, in [0, 1).
    **services
        See :class:`Optimizer`.

    Attributes
    ----------
    m : mapping
        Running mean of the gradient by parameter name.

    References
    ----------
    Chen et al., "Symbolic discovery of optimization algorithms", NeurIPS 2023.

    Examples
    --------
    >>> params = {"w": np.array([1.0, 1.0])}
    >>> fastreg.Lion(0.1).update(params, {"w": np.array([4.0, -0.25])})
    >>> params["w"]
    array([0.9, 1.1])
    """

    _defaults = {"keras": {"learning_rate": 0.001}, "optax": {"weight_decay": 0.001}}
    _decays = DECAYS | {"torch": "no class", "optax": "decoupled"}

    beta1: Hyper = hyper("beta1", "Weight of m in the blend.", **DECAY)
    beta2: Hyper = hyper("beta2", "Decay of m per step.", **DECAY)
    m: Slot = slot(0, "Running mean of the gradient, by parameter name.")

    def __init__(
        self,
        learning_rate: Number = Default(1e-4),
        beta1: float = 0.9,
        beta2: float = 0.99,
        **services: Unpack[Services],
    ) -> None:
        hypers = {"learning_rate": learning_rate, "beta1": beta1, "beta2": beta2}
        super().__init__("lion", ("m",), hypers, **services)
