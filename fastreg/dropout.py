"""Dropout whose mask is a pure function of (seed, call number, element index)."""

import numpy as np

from fastreg import _checks
from fastreg._kernels import copy_through, dropout
from fastreg._layer import Layer

__all__ = ["Dropout"]


def _draw_key(rng):
    """A 64-bit key from anything ``default_rng`` takes, or from NumPy's global state."""
    if rng is None:
        high, low = np.random.randint(0, 2**32, size=2, dtype=np.uint64)
        return int(high) << 32 | int(low)
    return int(np.random.default_rng(rng).integers(0, 2**64, dtype=np.uint64))


def _odds(rate):
    """The threshold below which a draw is kept, and what a kept value is multiplied by."""
    return round((1.0 - rate) * 2**32), 1.0 / (1.0 - rate) if rate < 1.0 else 0.0


class Dropout(Layer):
    r"""Inverted dropout: zero an element with probability p, scale the others by 1 / (1 - p).

    .. math:: Y = X \odot M, \qquad M_i = \begin{cases} 1 / (1 - p) & \text{with probability }
              1 - p \\ 0 & \text{otherwise} \end{cases}

    Parameters
    ----------
    drop_rate : float, default 0.5
        Probability p of dropping an element, in [0, 1]; 0 keeps and 1 drops everything.
    rng : optional
        Anything :func:`numpy.random.default_rng` takes; it fixes the masks of all calls. Left
        out, the seed is drawn from NumPy's global state at the first training call, so
        ``numpy.random.seed`` governs it.

    Attributes
    ----------
    training : bool
        Whether ``forward`` drops (True at first) or returns its input.
    mask : ndarray or None
        The 0/1 mask of the last training call, drawn again when asked for.

    Raises
    ------
    TypeError, ValueError
        If ``drop_rate`` is not a number in [0, 1].

    Notes
    -----
    Nothing is stored between forward and backward. The mask is a pure function of the seed, the
    number of the call and the element's index in C order: it depends neither on threads nor on
    the instruction set, nor on dtype or memory layout. This stream (version 1) is kept in every
    later release. P(keep) is within 2**-32 of 1 - p.

    References
    ----------
    Srivastava et al., "Dropout: A Simple Way to Prevent Neural Networks from Overfitting",
    JMLR 15, 2014. Random bits: Salmon et al., "Parallel Random Numbers: As Easy as 1, 2, 3",
    SC11 (Philox4x32-10).

    Examples
    --------
    >>> layer = Dropout(0.5, rng=0)
    >>> Y = layer.forward(np.ones((2, 4)))
    >>> bool(np.all(Y == 2.0 * layer.mask))
    True
    """

    def __init__(self, drop_rate=0.5, *, rng=None):
        super().__init__()
        self.drop_rate = drop_rate
        self._key = None if rng is None else _draw_key(rng)
        self._calls = 0
        self._last = None  # (shape, draw) of the last forward call; draw is None in inference
        self._drawn = None  # (draw, shape, dtype) of the last training call

    @property
    def drop_rate(self):
        """Probability of dropping an element."""
        return self._drop_rate

    @drop_rate.setter
    def drop_rate(self, value):
        self._drop_rate = _checks.number("Dropout", "drop_rate", value, low=0.0, high=1.0)

    def forward(self, X, *, out=None):
        """Drop and scale in training; return ``X`` itself otherwise.

        Parameters
        ----------
        X : ndarray
            float32 or float64, any shape and memory layout.
        out : ndarray, optional
            C-contiguous array of the shape and dtype of X for the result; may be X.

        Raises
        ------
        TypeError, ValueError
            If an array is of the wrong kind, dtype, shape or layout; nothing is written then.
        """
        where = "Dropout.forward"
        with self._lock:
            if not self.training:
                result = copy_through(where, "X", X, out)
                self._last = np.shape(X), None
                return result
            if self._key is None:
                self._key = _draw_key(None)
            draw = self._calls, self._drop_rate
            result = self._drop(where, "X", X, out, draw)
            self._count(draw, X)
            return result

    def backward(self, dY, *, out=None):
        """Return dY through the mask of the last forward call.

        Parameters
        ----------
        dY : ndarray
            Gradient of the loss by the output, of its shape.
        out : ndarray, optional
            Where to write dX; may be dY.

        Raises
        ------
        RuntimeError
            If there was no forward call.
        TypeError, ValueError
            If an array is of the wrong kind, dtype, shape or layout; nothing is written then.
        """
        where = "Dropout.backward"
        with self._lock:
            shape, draw = self._forwarded(self._last)
            if draw is None:
                return copy_through(where, "dY", dY, out, shape)
            return self._drop(where, "dY", dY, out, draw, shape)

    @property
    def mask(self):
        """The 0/1 mask of the last training call in its dtype; None before the first."""
        if self._drawn is None:
            return None
        draw, shape, dtype = self._drawn
        return self._drop("Dropout.mask", "mask", np.ones(shape, dtype), None, draw, scale=1.0)

    def _next_draw(self, X):
        """Count a training call on X that a fused kernel makes; return its draw."""
        with self._lock:
            if self._key is None:
                self._key = _draw_key(None)
            draw = self._calls, self._drop_rate
            self._count(draw, X)
            return self._key, draw[0], *_odds(draw[1])

    def _count(self, draw, X):
        self._last, self._drawn = (X.shape, draw), (draw, X.shape, X.dtype)
        self._calls += 1

    def state_dict(self):
        """Return the seed and the number of calls, as JSON-able values."""
        return {"key": self._key, "calls": self._calls}

    def load_state_dict(self, state):
        """Continue the stream of ``state``; nothing changes unless all of it is valid."""
        where = "Dropout.load_state_dict"
        key, calls = state["key"], state["calls"]
        if key is not None:
            key = _checks.integer(where, "key", key, low=0, high=2**64 - 1)
        self._calls = _checks.integer(where, "calls", calls, low=0)
        self._key = key

    def _drop(self, where, name, X, out, draw, shape=None, scale=None):
        call, rate = draw
        threshold, kept = _odds(rate)
        scale = kept if scale is None else scale
        return dropout(where, name, X, out, self._key, call, threshold, scale, shape)
