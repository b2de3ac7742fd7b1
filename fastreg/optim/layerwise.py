"""Rules whose rate is each tensor's own, for large batches."""

from __future__ import annotations

from typing import TYPE_CHECKING, Unpack

from fastreg._core import checks
from fastreg.optim.adam import _adam_hypers
from fastreg.optim.base import Optimizer
from fastreg.optim.hypers import DECAY, OPTAX_ALONE, hyper, slot

if TYPE_CHECKING:
    from fastreg._core.types import Hyper, Number, Services, Slot

__all__ = ["LAMB", "LARS"]


class LAMB(Optimizer):
    r"""LAMB: Adam's step, with decay, scaled by each tensor's norm.

    .. math::

        u = \frac{m / (1 - \beta_1^t)}{\sqrt{v / (1 - \beta_2^t)} + \epsilon} + \lambda \theta,
        \quad \theta \leftarrow \theta - \eta \frac{\|\theta\|}{\|u\|} u

    with :class:`Adam`'s m and v. The norms are of one tensor, an entry of ``params``; where one of
    them is 0 their ratio counts as 1.

    Parameters
    ----------
    learning_rate : float or function of the step, default 0.001
        Step size :math:`\eta`, at least 0.
    beta1, beta2 : float, default 0.9 and 0.999
        Decay of m and of v per step, in [0, 1).
    epsilon : float, default 1e-6
        Added to the root, at least 0.
    **services
        See :class:`Optimizer`. ``weight_decay`` is :math:`\lambda`. What ``exclude`` names has no
        decay and a ratio of 1, as in the authors' code.

    Attributes
    ----------
    m, v : mapping
        The running means by parameter name.

    References
    ----------
    You et al., "Large batch optimization for deep learning: Training BERT in 76 minutes", ICLR
    2020, algorithm 2, with bias corrections.

    Examples
    --------
    >>> params = {"w": np.array([3.0, -4.0])}
    >>> fastreg.LAMB(0.1).update(params, {"w": np.array([1.0, 1.0])})
    >>> params["w"].round(3)  # Adam's step has norm sqrt(2), the parameter 5
    array([ 2.646, -4.354])
    """

    _decays = OPTAX_ALONE | {"optax": "decoupled"}

    beta1: Hyper = hyper("beta1", "Decay of m per step.", **DECAY)
    beta2: Hyper = hyper("beta2", "Decay of v per step.", **DECAY)
    epsilon: Hyper = hyper("epsilon", "Added to the root.", low=0.0)
    m: Slot = slot(0, "Running mean of the gradient, by parameter name.")
    v: Slot = slot(1, "Running mean of the squared gradient, by parameter name.")

    def __init__(
        self,
        learning_rate: Number = 0.001,
        beta1: float = 0.9,
        beta2: float = 0.999,
        epsilon: float = 1e-6,
        **services: Unpack[Services],
    ) -> None:
        hypers = _adam_hypers(learning_rate, beta1, beta2, epsilon)
        super().__init__("lamb", ("m", "v"), hypers, **services)


class LARS(Optimizer):
    r"""LARS: momentum, with the gradient scaled by each tensor's norm.

    .. math::

        u = g + \lambda \theta, \quad
        v \leftarrow \mu v + \eta \kappa \frac{\|\theta\|}{\|u\| + \epsilon} u, \quad
        \theta \leftarrow \theta - v

    The norms are of one tensor, an entry of ``params``; where one of them is 0 the factor
    :math:`\kappa \|\theta\| / (\|u\| + \epsilon)` counts as 1. The paper has :math:`\|g\| +
    \lambda \|\theta\|` for :math:`\|u\|`; this is Optax's form.

    Parameters
    ----------
    learning_rate : float or function of the step, default 1
        Step size :math:`\eta`, at least 0.
    momentum : float, default 0.9
        Decay :math:`\mu` of the velocity per step, in [0, 1).
    trust_coefficient : float, default 0.001
        How far a step may go, :math:`\kappa`, in units of the parameter's norm; above 0.
    epsilon : float, default 0
        Added to the norm of u, at least 0.
    nesterov : bool, default False
        Whether to take Nesterov's step.
    **services
        See :class:`Optimizer`. ``weight_decay`` is :math:`\lambda`. What ``exclude`` names has no
        decay and a factor of 1, as in the authors' code.

    Attributes
    ----------
    v : mapping
        Velocity by parameter name.

    References
    ----------
    You, Gitman & Ginsburg, "Large batch training of convolutional networks", arXiv:1708.03888,
    algorithm 1.

    Examples
    --------
    >>> params = {"w": np.array([3.0, -4.0])}
    >>> fastreg.LARS(trust_coefficient=0.1).update(params, {"w": np.array([0.0, 7.0])})
    >>> params["w"]
    array([ 3. , -4.5])
    """

    _decays = OPTAX_ALONE | {None: "coupled", "optax": "coupled"}

    momentum: Hyper = hyper("momentum", "Decay of the velocity per step.", **DECAY)
    trust_coefficient: Hyper = hyper(
        "trust_coefficient", "A step, in units of the parameter's norm.", low=0.0, open_low=True
    )
    epsilon: Hyper = hyper("epsilon", "Added to the norm of the gradient.", low=0.0)
    v: Slot = slot(0, "Velocity, by parameter name.")

    def __init__(
        self,
        learning_rate: Number = 1.0,
        momentum: float = 0.9,
        trust_coefficient: float = 0.001,
        epsilon: float = 0.0,
        *,
        nesterov: bool = False,
        **services: Unpack[Services],
    ) -> None:
        hypers = {
            "learning_rate": learning_rate,
            "momentum": momentum,
            "trust_coefficient": trust_coefficient,
            "epsilon": epsilon,
        }
        nesterov = checks.flag("LARS", "nesterov", nesterov)
        super().__init__("lars_nesterov" if nesterov else "lars", ("v",), hypers, **services)
