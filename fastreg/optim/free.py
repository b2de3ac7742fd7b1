"""AdamW without a schedule: the weights are an average, and the gradient is taken near it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Unpack

from fastreg.optim.adam import _adam_hypers
from fastreg.optim.base import Optimizer
from fastreg.optim.hypers import DECAY, OPTAX_ALONE, hyper, slot

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fastreg._core.types import Array, Hyper, Number, Services, Slot

__all__ = ["ScheduleFreeAdamW"]


class ScheduleFreeAdamW(Optimizer):
    r"""Schedule-free AdamW: steps of a constant rate, and their average for use.

    .. math::

        v &\leftarrow \beta_2 v + (1 - \beta_2) g^2, \quad
        z \leftarrow z - \eta_t \left(\frac{g}{\sqrt{v / (1 - \beta_2^t)} + \epsilon}
        + \lambda \theta\right), \\
        x &\leftarrow (1 - c_t) x + c_t z, \quad
        \theta \leftarrow (1 - \beta_1) z + \beta_1 x

    Gradients are taken at :math:`\theta`; x is what is to be used, and is found where other
    optimizers keep their moving average: ``swap_ema()`` puts it in the place of the parameters
    before an evaluation, and takes it out again, bit for bit, before the next step. Batch norm's
    running statistics are those of :math:`\theta`; see `fastreg.averages.update_statistics`.

    The rate rises in ``warmup_steps`` steps, :math:`\eta_t = \eta \min(1, t / W)`, and stays. The
    average weighs every step by the square of that factor: :math:`c_t = w_t / \sum_{i \le t}
    w_i, w_t = \min(1, t / W)^2`, t a parameter's own count of steps.

    Parameters
    ----------
    learning_rate : float or function of the step, default 0.0025
        Step size :math:`\eta`, at least 0; larger ones than AdamW's with a schedule are usual.
    beta1, beta2 : float, default 0.9 and 0.999
        Share of x in the parameter, and decay of v per step, in [0, 1).
    epsilon : float, default 1e-8
        Added to the root, at least 0.
    warmup_steps : float, default 0
        Steps :math:`W` until the rate is whole, at least 0.
    **services
        See :class:`Optimizer`. ``weight_decay`` is :math:`\lambda`, of the parameter as it is;
        the proximal L1 penalty shrinks z; ``ema_decay`` makes x an exponential average.

    Attributes
    ----------
    z, v, x : mapping
        The sequence that takes the steps, running mean of the squared gradient, and average of z,
        by parameter name.

    References
    ----------
    Defazio et al., "The road less scheduled", NeurIPS 2024, algorithm 1; numbers as those of the
    authors' package ``schedulefree``.

    Examples
    --------
    >>> params, optimizer = {"w": np.array([1.0])}, fastreg.ScheduleFreeAdamW(0.1, 0.5)
    >>> for _ in range(2):
    ...     optimizer.update(params, {"w": np.array([3.0])})
    >>> params["w"].round(6), optimizer.x["w"].round(6)
    (array([0.825]), array([0.85]))
    >>> optimizer.swap_ema()
    >>> params["w"].round(6)
    array([0.85])
    """

    _decays = OPTAX_ALONE | {"optax": "decoupled"}
    _copies = ("z",)
    _averages = True

    beta1: Hyper = hyper("beta1", "Share of the average in the parameter.", **DECAY)
    beta2: Hyper = hyper("beta2", "Decay of v per step.", **DECAY)
    epsilon: Hyper = hyper("epsilon", "Added to the root.", low=0.0)
    warmup_steps: Hyper = hyper("warmup_steps", "Steps until the rate is whole.", low=0.0)
    z: Slot = slot(0, "What takes the steps, by parameter name.")
    v: Slot = slot(1, "Running mean of the squared gradient, by parameter name.")

    def __init__(
        self,
        learning_rate: Number = 0.0025,
        beta1: float = 0.9,
        beta2: float = 0.999,
        epsilon: float = 1e-8,
        warmup_steps: float = 0.0,
        **services: Unpack[Services],
    ) -> None:
        hypers = _adam_hypers(learning_rate, beta1, beta2, epsilon)
        hypers["warmup_steps"] = warmup_steps
        super().__init__("free_adamw", ("z", "v"), hypers, **services)

    @property
    def x(self) -> Mapping[str, Array]:
        """The average of z, by parameter name."""
        return self.ema
