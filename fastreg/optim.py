"""Optimizers: a class names its rule and hyper-parameters; one compiled pass does the rest."""

from types import MappingProxyType

from fastreg import _checks
from fastreg._kernels import Updater

__all__ = ["Adam"]


def _hyper(name, doc, **bounds):
    """A hyper-parameter that is checked on assignment and lives where the kernel reads it."""

    def read(self):
        return self._updater.get_hyper(name)

    def write(self, value):
        checked = _checks.number(type(self).__name__, name, value, **bounds)
        self._updater.set_hyper(name, checked)

    return property(read, write, doc=doc)


def _slot(k, doc):
    """A state slot, by parameter name: arrays may be read and changed, entries not replaced."""
    return property(lambda self: MappingProxyType(self._updater.slot(k)), doc=doc)


class Optimizer:
    """What all rules share: parameters change in place, in one pass over memory."""

    _rule = ""

    lr = _hyper("learning_rate", "The learning rate.", low=0.0)

    def __init__(self, **hyper):
        where = type(self).__name__
        self._updater = Updater(where, self._rule, {})
        for name, value in hyper.items():
            setattr(self, "lr" if name == "learning_rate" else name, value)

    @property
    def t(self):
        """Steps taken."""
        return self._updater.t

    @t.setter
    def t(self, value):
        self._updater.t = _checks.integer(type(self).__name__, "t", value, low=0, high=2**62)

    def update(self, params, grads):
        """Advance every parameter by one step, in place.

        Parameters
        ----------
        params : dict or list of ndarray
            float32 or float64 arrays of any shape, C- or F-contiguous, writeable, sharing no
            memory; the two dtypes may be mixed. New names may join at any step. Python floats
            and NumPy scalars are allowed as values; such an entry is replaced by the new number.
        grads : dict or list of ndarray
            One gradient a parameter, of its name, shape and dtype, in any memory layout.

        Raises
        ------
        TypeError
            If a container or an entry is of the wrong kind or dtype.
        ValueError
            If names or shapes differ, or a parameter is read-only, not contiguous, or shares
            memory with another. Nothing has been written then.

        Notes
        -----
        All gradients and parameters are checked before the first is changed, and an interrupt
        (Ctrl-C) takes effect before or after the whole step.
        """
        self._updater.update(params, grads)

    def __repr__(self):
        return f"<{type(self).__name__} lr={self.lr:g} t={self.t}>"


class Adam(Optimizer):
    r"""Adam: steps scaled by running means of the gradient and of its square.

    .. math::

        m \leftarrow \beta_1 m + (1 - \beta_1) g, \quad
        v \leftarrow \beta_2 v + (1 - \beta_2) g^2, \quad
        \theta \leftarrow \theta - \eta \frac{m / (1 - \beta_1^t)}
        {\sqrt{v / (1 - \beta_2^t)} + \epsilon}

    Parameters
    ----------
    learning_rate : float, default 0.001
        Step size, at least 0; also the attribute ``lr``, which may be changed between steps.
    beta1, beta2 : float, default 0.9 and 0.999
        Decay of the two running means per step, in [0, 1).
    epsilon : float, default 1e-8
        Added to the root, at least 0.

    Attributes
    ----------
    m, v : mapping
        The running means by parameter name.
    t : int
        Steps taken.

    Raises
    ------
    TypeError, ValueError
        If a hyper-parameter is not a number, not finite or out of range.

    References
    ----------
    Kingma & Ba, "Adam: A Method for Stochastic Optimization", ICLR 2015, algorithm 1.

    Examples
    --------
    >>> params, optimizer = {"w": np.array([1.0, -1.0])}, Adam(learning_rate=0.1)
    >>> optimizer.update(params, {"w": np.array([0.5, -2.0])})
    >>> params["w"].round(6)
    array([ 0.9, -0.9])
    """

    _rule = "adam"

    beta1 = _hyper("beta1", "Decay of m per step.", low=0.0, high=1.0, open_high=True)
    beta2 = _hyper("beta2", "Decay of v per step.", low=0.0, high=1.0, open_high=True)
    epsilon = _hyper("epsilon", "Added to the root.", low=0.0)
    m = _slot(0, "Running mean of the gradient, by parameter name.")
    v = _slot(1, "Running mean of the squared gradient, by parameter name.")

    def __init__(self, learning_rate=0.001, beta1=0.9, beta2=0.999, epsilon=1e-8):
        super().__init__(learning_rate=learning_rate, beta1=beta1, beta2=beta2, epsilon=epsilon)
