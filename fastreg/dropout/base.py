"""The common part of layers that draw random numbers: a rate, a seed and a count of calls."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from fastreg._core import checks, seeds
from fastreg._core._kernels import MAX_CALL, copy_through, dropout
from fastreg._core.layer import Layer

if TYPE_CHECKING:
    from collections.abc import Callable

    from fastreg._core.types import Array, Saved, Seed

__all__ = ["RandomLayer", "threshold"]

STREAM = 1  # the version of csrc/philox.h and csrc/normal.h


def threshold(drop_rate: float) -> int:
    """The integer below which an element's 32-bit draw keeps it."""
    return round((1.0 - drop_rate) * 2**32)


class RandomLayer(Layer):
    """A layer whose noise is a pure function of (seed, call number, element index).

    The noise of one call is the tuple (key, call, *scalars). Subclasses define the scalars, what
    the noise does to an array (``_noisy``) and to its gradient (``_gradient``), its shape, and
    what happens in inference (``_quiet``).
    """

    _forward: str  # what errors call the methods
    _backward: str
    _names: tuple[str, str] = (
        "X",
        "dout",
    )  # what errors call the arguments of forward and backward
    _rate_below_one = False
    _noisy: Callable[..., Any]  # each class draws its own
    _batch: tuple[str, ...] = ()  # noise is a few numbers, whatever the batch
    _row = 0  # of the batch, with which X begins: that of a shard draws what the batch would

    def __init_subclass__(cls) -> None:
        cls._forward, cls._backward = f"{cls.__name__}.forward", f"{cls.__name__}.backward"

    def __init__(self, drop_rate: float, rng: Seed) -> None:
        super().__init__()
        self.drop_rate = drop_rate
        self._key = None if rng is None else seeds.key(type(self).__name__, rng)
        self._calls = 0
        # _last: (shape, noise, its shape) of the last forward call; inference: no noise
        self._drawn: Any = None  # (noise, its shape, dtype) of the last training call

    @property
    def drop_rate(self) -> float:
        """Probability of dropping."""
        return self._drop_rate

    @drop_rate.setter
    def drop_rate(self, value: float) -> None:
        rate = checks.number(
            type(self).__name__, "drop_rate", value, low=0.0, high=1.0,
            open_high=self._rate_below_one,
        )  # fmt: skip
        self._drop_rate, self._scalars = rate, self._scalars_of(rate)

    def forward(self, X: Array, *, out: Array | None = None) -> Array:
        """Apply the noise of the next call in training; nothing random happens in inference.

        Parameters
        ----------
        X : ndarray
            float32 or float64, any memory layout; integers and truth values count as float64.
        out : ndarray, optional
            C-contiguous array of the shape and dtype of X for the result; may be X.

        Raises
        ------
        TypeError, ValueError
            If an array is of the wrong kind, dtype, shape or layout; nothing is written then.
        """
        where, name = self._forward, self._names[0]
        with self._lock:
            shape = getattr(X, "shape", None)
            if not self.training:
                last = shape, None, self._drop_rate
                result = self._quiet(where, name, X, out, self._drop_rate)
                self._last = last
                return result
            noise_shape = self._noise_shape_of(where, name, X)
            noise = self._next_noise(X)
            after = (
                (shape, noise, noise_shape),
                (noise, noise_shape or shape, getattr(X, "dtype", None)),
                self._calls + 1 & MAX_CALL,
            )
            result = self._noisy(where, name, X, out, noise, noise_shape)
            # No call, and nothing allocated: an interrupt finds all of it done or nothing.
            self._last, self._drawn, self._calls = after
            return result

    def backward(self, dout: Array, *, out: Array | None = None) -> Array:
        """Return the gradient with respect to the input; the last call's noise is drawn again.

        Parameters
        ----------
        dout : ndarray
            Gradient of the loss with respect to the output, of its shape.
        out : ndarray, optional
            Where to write the result; may be dout.

        Raises
        ------
        RuntimeError
            If there was no forward call.
        TypeError, ValueError
            If an array is of the wrong kind, dtype, shape or layout; nothing is written then.
        """
        where, name = self._backward, self._names[1]
        with self._lock:
            shape, noise, extra = self._forwarded(self._last)
            if noise is None:
                return self._quiet(where, name, dout, out, extra, shape)
            return self._gradient(where, name, dout, out, noise, extra, shape)

    def _next_noise(self, X):
        """Return the noise of the next training call on X, without counting the call."""
        if self._key is None:
            self._key = seeds.key("", None)
        return self._key, self._calls, *self._scalars

    def reset(self, *, call: int = 0) -> None:
        """Let the next training call be number ``call``; 0 replays the noise from the start.

        Parameters
        ----------
        call : int, default 0
            From 0 to 2**62 - 1.
        """
        where = f"{type(self).__name__}.reset"
        call = checks.integer(where, "call", call, low=0, high=MAX_CALL)
        with self._lock:
            self._calls = call

    def state_dict(self) -> dict[str, Any]:
        """Return the seed and the number of the next call, as JSON-able values.

        ``key`` is None until it has been drawn from NumPy's global state.
        """
        with self._lock.reading():
            return {"stream": STREAM, "key": self._key, "call": self._calls}

    def load_state_dict(self, state: Saved) -> None:
        """Continue from ``state``, bit for bit; nothing changes unless all of it is valid."""
        where = f"{type(self).__name__}.load_state_dict"
        if not isinstance(state, Mapping):
            raise TypeError(f"{where}: state must be a dict, got {type(state).__name__}")
        names = {"stream", "key", "call"}
        if state.keys() != names:
            raise ValueError(f"{where}: state must have {sorted(names)}, got {sorted(state)}")
        checks.integer(where, "stream", state["stream"], low=STREAM, high=STREAM)
        call = checks.integer(where, "call", state["call"], low=0, high=MAX_CALL)
        key = state["key"]
        if key is not None:
            key = checks.integer(where, "key", key, low=0, high=2**64 - 1)
        with self._lock:
            self._key, self._calls = key, call

    def _scalars_of(self, rate: float) -> tuple[Any, ...]:
        return (threshold(rate),)

    def _noise_shape_of(self, where: str, name: str, X: Any) -> tuple[int, ...] | None:
        """The shape of the noise; None if every element has its own."""
        return None

    def _first(self, X, noise_shape=None):
        """The index of the first element of X's noise."""
        if not self._row or (noise_shape is not None and noise_shape[0] == 1):
            return 0  # all rows have the same
        return self._row * math.prod((np.shape(X) if noise_shape is None else noise_shape)[1:])

    def _gradient(self, where, name, dout, out, noise, noise_shape, shape):
        """The gradient of noise that multiplies: the same factors."""
        return self._noisy(where, name, dout, out, noise, noise_shape, shape)

    def _quiet(self, where, name, X, out, rate, shape=None):
        return copy_through(where, name, X, out, shape)

    def _keep_mask(self) -> Array | None:
        if self._drawn is None:
            return None
        (key, call, threshold, *_), shape, _ = self._drawn
        ones = np.ones(shape, np.float32)
        return dropout("", "mask", ones, ones, key, call, threshold, 1.0).astype(np.int64)
